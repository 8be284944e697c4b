//! A sweep as text and as a chart.

use super::{Arguments, Kind, Row, Sweep};
use crate::cli::output::{self, figure, percent};
use crate::cli::plot::{Axis, Chart, Color, Marker, Point, Series, short};

pub(super) fn text(sweep: &Sweep, arguments: &Arguments) -> String {
    let header = [
        "",
        "variant",
        "accuracy",
        "to dense",
        "95 % interval",
        "same",
        "zeros",
        "bits/w",
        "bytes",
        "× smaller",
        "SQNR dB",
        "rows/s",
    ];
    let rows = sweep.rows.iter().map(|row| {
        let [low, high] = row.agreement.confidence_95;
        let points = |share: f64| format!("{:+.2}", share * 100.0);
        let mut cells = vec![
            if row.pareto { "*" } else { "" }.to_owned(),
            row.name.clone(),
            format!("{:.2}%", row.accuracy * 100.0),
            points(row.agreement.accuracy_difference),
            format!("{} to {}", points(low), points(high)),
            percent(row.agreement.agreement),
            figure(row.sparsity, percent),
            figure(row.bits_per_weight, |bits| format!("{bits:.2}")),
            output::bytes(row.bytes),
            format!("{:.2}", row.times_smaller),
            figure(row.sqnr_db, |db| format!("{db:.1}")),
            format!("{:.0}", row.rows_per_second),
        ];
        if row.kind == Kind::Dense {
            cells[3..6].fill(String::new());
        }
        cells
    });
    let mut text = output::table(&header, 2, rows.collect());
    text += &format!(
        "\n{} rows of {} on {}, {} at once; to dense in percentage points; \
         same: the share of rows with the same answer as dense\n",
        sweep.data_rows, sweep.data, sweep.device, sweep.batch_size
    );
    text.extend(sweep.notes.iter().map(|note| format!("{}\n", output::plain(note))));
    if sweep.rows.iter().any(|row| row.kind == Kind::PrunedAndQuantized) {
        text += "packed codes take the same room whether they are zero or not, so that pruning \
                 does not make quantized files smaller\n";
    }
    text += "* no other row is smaller and as accurate, or more accurate and as small; to write \
             one, ";
    let mut model = word(&sweep.model);
    if sweep.rows.iter().any(|row| row.kind == Kind::Stored) {
        text += &format!("tensorpress decompress {model} -o DENSE, then ");
        "DENSE".clone_into(&mut model);
    }
    text += &format!("tensorpress compress {model} -o OUT and:\n");
    let best = sweep.rows.iter().filter(|row| row.pareto && !row.options.is_empty());
    let best = best.map(|row| {
        let options: Vec<String> = row.options.iter().map(|option| word(option)).collect();
        vec!["".to_owned(), row.name.clone(), options.join(" ")]
    });
    text += &output::lines(best.collect());
    if let Some(path) = &arguments.plot {
        text += &format!("wrote {}\n", path.display());
    }
    text
}

/// A word as a shell takes it.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Accuracy over size.
pub(super) fn chart(sweep: &Sweep) -> Chart {
    let size = |row: &Row| row.bytes as f64 / 1e3;
    let accuracy = |row: &Row| row.accuracy * 100.0;
    let rows = || sweep.rows.iter();
    let (small, large) =
        rows().map(size).fold((f64::MAX, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
    let dense = rows().find(|row| row.kind == Kind::Dense).map_or(0.0, accuracy);
    let best = rows().map(accuracy).fold(dense, f64::max);
    let worst = rows().map(accuracy).fold(dense, f64::min).max(dense - SHOWN);
    let space = (best - worst).max(1.0) * 0.06;
    Chart {
        title: format!(
            "Accuracy and size of {} in {} forms",
            file_name(&sweep.model),
            rows().count()
        ),
        subtitle: format!(
            "on {} rows of {}; large: no other form is smaller and as accurate",
            sweep.data_rows,
            file_name(&sweep.data)
        ),
        x: Axis {
            name: "size of the weights (logarithmic)".to_owned(),
            logarithmic: true,
            range: (small / 1.15, large * 1.12),
            tick: |kilobytes| output::bytes((kilobytes * 1e3).round() as u64).replace(".0 ", " "),
        },
        y: Axis {
            name: "accuracy".to_owned(),
            logarithmic: false,
            range: (worst - space, (best + space).min(100.0)),
            tick: |percent| short(percent) + "%",
        },
        series: SERIES
            .iter()
            .map(|(kind, name, color, marker, line)| Series {
                name: (*name).to_owned(),
                color: *color,
                marker: *marker,
                line: *line,
                points: rows()
                    .filter(|row| row.kind == *kind)
                    .map(|row| Point {
                        x: size(row),
                        y: accuracy(row),
                        label: label(row, worst - space),
                        strong: row.pareto,
                    })
                    .collect(),
            })
            .filter(|series| !series.points.is_empty())
            .collect(),
        reference: Some((dense, format!("dense {dense:.2}%"))),
    }
}

/// Percentage points below dense that are shown; nobody chooses what loses more.
const SHOWN: f64 = 25.0;

const SERIES: [(Kind, &str, Color, Marker, bool); 8] = [
    (Kind::PrunedAndQuantized, "pruned and quantized", Color::Green, Marker::Diamond, false),
    (Kind::PrunedByLayer, "pruned by layer", Color::Orange, Marker::Ring, true),
    (Kind::PrunedGlobally, "pruned globally", Color::Orange, Marker::Square, true),
    (Kind::PrunedByRatio, "pruned below a ratio", Color::Orange, Marker::Triangle, true),
    (Kind::PrunedByPattern, "N:M", Color::Orange, Marker::Diamond, false),
    (Kind::Quantized, "quantized", Color::Blue, Marker::Circle, false),
    (Kind::Stored, "as stored", Color::Grey, Marker::Square, false),
    (Kind::Dense, "dense", Color::Grey, Marker::Circle, false),
];

fn label(row: &Row, lowest: f64) -> String {
    let name = row.name.replace("group ", "g").replace(" by layer", "").replace(" global", "");
    let name = name.replace("|w| ≥ ", "").replace("dense", "");
    if row.accuracy * 100.0 < lowest {
        format!("{name} ↓ {:.0}%", row.accuracy * 100.0)
    } else {
        name
    }
}

fn file_name(path: &str) -> &str {
    let name = std::path::Path::new(path).file_name().and_then(|name| name.to_str());
    name.map_or(path, |name| name.trim_end_matches(".safetensors"))
}
