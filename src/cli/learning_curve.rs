//! What a training came to, epoch by epoch, as charts.

use std::path::Path;

use super::output::percent;
use super::plot::{Axis, Chart, Color, Marker, Point, Series, short};
use crate::nn::EpochRecord;
use crate::pipeline::Trained;

/// Loss and accuracy over the epochs and, where weights become zero, sparsity.
pub(super) fn charts(trained: &Trained, model: &Path) -> Vec<Chart> {
    let epochs = &trained.history.epochs;
    let name = model.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let sizes: Vec<String> =
        trained.network.layers.iter().map(|layer| layer.outputs.to_string()).collect();
    let layers = format!("{}-{}", trained.network.inputs(), sizes.join("-"));
    let mut charts = vec![
        loss(epochs, format!("{name}: loss"), layers),
        accuracy(epochs, trained.test.as_ref().map(|test| test.accuracy)),
    ];
    let sparsity = |epoch: &EpochRecord| epoch.sparsity;
    if epochs.iter().any(|epoch| sparsity(epoch) != sparsity(&epochs[0])) {
        charts.push(Chart {
            title: "Sparsity".to_owned(),
            subtitle: String::new(),
            x: over_epochs(epochs),
            y: axis("zeros among the weights", (0.0, 100.0), |share| format!("{share:.0}%")),
            series: vec![series("", Color::Green, epochs, |epoch| Some(epoch.sparsity * 100.0))],
            reference: None,
        });
    }
    charts
}

fn loss(epochs: &[EpochRecord], title: String, subtitle: String) -> Chart {
    let series = vec![
        series("training", Color::Blue, epochs, |epoch| Some(epoch.loss)),
        series("validation", Color::Orange, epochs, |epoch| epoch.validation_loss),
    ];
    let (least, most) = extent(&series);
    // Over decades, equal steps are equal factors.
    let logarithmic = least > 0.0 && most > 20.0 * least;
    let range = if logarithmic { (least / 1.2, most * 1.2) } else { (0.0, most * 1.05) };
    Chart {
        title,
        subtitle,
        x: over_epochs(epochs),
        y: Axis { logarithmic, ..axis("mean loss", range, short) },
        series: with_points(series),
        reference: None,
    }
}

fn accuracy(epochs: &[EpochRecord], test: Option<f64>) -> Chart {
    let share = |share: Option<f64>| share.map(|share| share * 100.0);
    let series = vec![
        series("training, while it learns", Color::Blue, epochs, |epoch| share(epoch.accuracy)),
        series("validation", Color::Orange, epochs, |epoch| share(epoch.validation_accuracy)),
    ];
    let (least, most) = extent(&series);
    let all = [Some(least), Some(most), share(test)].into_iter().flatten();
    let (least, most) = all.fold((100.0_f64, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
    // Room for the lines, and never more than all.
    let space = ((most - least) * 0.08).max(0.5);
    let range = ((least - space).max(0.0), (most + space).min(100.0));
    Chart {
        title: "Accuracy".to_owned(),
        subtitle: String::new(),
        x: over_epochs(epochs),
        y: axis("classified right", range, |share| short(share) + "%"),
        series: with_points(series),
        reference: test.map(|test| (test * 100.0, format!("test {}", percent(test)))),
    }
}

fn over_epochs(epochs: &[EpochRecord]) -> Axis {
    let last = epochs.last().map_or(1, |epoch| epoch.epoch);
    // Epochs are counted; there is none and a half.
    let tick = |epoch: f64| if epoch.fract() == 0.0 { format!("{epoch}") } else { String::new() };
    axis("epoch", (0.0, last as f64), tick)
}

fn axis(name: &str, range: (f64, f64), tick: fn(f64) -> String) -> Axis {
    Axis { name: name.to_owned(), logarithmic: false, range, tick }
}

/// Epochs beyond which points would run into each other.
const POINTS: usize = 40;

fn series(
    name: &str,
    color: Color,
    epochs: &[EpochRecord],
    value: impl Fn(&EpochRecord) -> Option<f64>,
) -> Series {
    let points = epochs.iter().filter_map(|epoch| {
        let (x, y) = (epoch.epoch as f64, value(epoch)?);
        Some(Point { x, y, label: String::new(), strong: false })
    });
    let marker = if epochs.len() > POINTS { Marker::None } else { Marker::Circle };
    Series { name: name.to_owned(), color, marker, line: true, points: points.collect() }
}

fn with_points(series: Vec<Series>) -> Vec<Series> {
    series.into_iter().filter(|series| !series.points.is_empty()).collect()
}

fn extent(series: &[Series]) -> (f64, f64) {
    let values = series.iter().flat_map(|series| &series.points).map(|point| point.y);
    values.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)))
}
