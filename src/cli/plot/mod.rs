//! Charts of points and lines, as SVG: text, so that the same chart is the same bytes everywhere.

mod draw;
mod labels;

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::io::OutputFile;

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub title: String,
    /// What is below the title, in small letters.
    pub subtitle: String,
    pub x: Axis,
    pub y: Axis,
    /// In the order of the legend. Later ones are drawn over earlier ones.
    pub series: Vec<Series>,
    /// A horizontal line at a value, with what it is called.
    pub reference: Option<(f64, String)>,
}

/// An axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub name: String,
    /// Whether equal steps are equal factors.
    pub logarithmic: bool,
    /// Lowest and highest value. Points below the lowest are drawn at the edge as arrows.
    pub range: (f64, f64),
    /// How a value is written at its tick.
    pub tick: fn(f64) -> String,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub name: String,
    pub color: Color,
    pub marker: Marker,
    /// Whether a line joins the points.
    pub line: bool,
    pub points: Vec<Point>,
}

/// A point.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    /// What is written beside it.
    pub label: String,
    /// Drawn larger, with a label whatever is in its way.
    pub strong: bool,
}

/// Colors that are told apart on white and on black, also by those who see few colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Grey,
    Blue,
    Orange,
    Green,
}

/// Shapes of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Diamond,
    Triangle,
    Ring,
}

/// Takes file names that end in `.svg`.
pub(super) fn file_name(text: &str) -> std::result::Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.extension().is_some_and(|extension| extension == "svg") {
        return Ok(path);
    }
    Err("a name that ends in .svg was expected; programs like rsvg-convert make a PNG of it".into())
}

/// Fails where `path` must not be written.
pub(super) fn check(path: &Path, force: bool) -> Result<()> {
    OutputFile::check(path, force)
}

/// Draws `chart` into a file.
pub(super) fn write(chart: &Chart, path: &Path, force: bool) -> Result<()> {
    let svg = draw::svg(chart)?;
    let file = OutputFile::create(path, svg.len() as u64, force)?;
    file.write_at(0, svg.as_bytes())?;
    file.commit()
}

impl Axis {
    /// Where a value lies, from 0 at the lowest to 1 at the highest.
    fn place(&self, value: f64) -> f64 {
        let at = |value: f64| if self.logarithmic { value.log10() } else { value };
        let (low, high) = self.range;
        (at(value) - at(low)) / (at(high) - at(low))
    }

    /// Values that are easy to read, at most about as many as `wanted`.
    fn ticks(&self, wanted: usize) -> Vec<f64> {
        let (low, high) = self.range;
        if self.logarithmic {
            let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
            let steps = |steps: &'static [f64]| {
                let all =
                    decades.clone().flat_map(|n| steps.iter().map(move |s| s * 10_f64.powi(n)));
                all.filter(|tick| (low..=high).contains(tick)).collect::<Vec<_>>()
            };
            let sets: [&[f64]; 2] = [&[1.0, 2.0, 5.0], &[1.0]];
            // Less than a factor of two or so is as good as linear.
            if let Some(ticks) =
                sets.map(steps).into_iter().find(|t| (2..=wanted).contains(&t.len()))
            {
                return ticks;
            }
        }
        let mut decade = 10_f64.powf((high - low).log10().floor() - 2.0);
        loop {
            for step in [1.0, 2.0, 5.0].map(|step| step * decade) {
                let (first, last) = ((low / step).ceil(), (high / step + 1e-9).floor());
                if last - first < wanted as f64 {
                    return (0..=(last - first) as usize)
                        .map(|i| (first + i as f64) * step)
                        .collect();
                }
            }
            decade *= 10.0;
        }
    }
}

#[cfg(test)]
mod tests;
