//! `tensorpress compare`

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::device::Work;
use super::output::{self, figure, shape};
use crate::compress::{self, ComparedTensor, Comparison, Difference};
use crate::error::{Error, Result};
use crate::io::Model;

/// Measure how far two models are apart, tensor by tensor
///
/// Either side may be compressed. Without limits the command only reports; with --max-error or
/// --min-sqnr it exits with 1 where a tensor is beyond one. Tensors that only one model has, or
/// whose shapes differ, always fail.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress compare model.safetensors small.safetensors
  tensorpress compare model.safetensors small.safetensors --min-sqnr 18
  tensorpress compare a.safetensors b.safetensors --max-error 0    every element is the same")]
pub(super) struct Arguments {
    /// The original: a .safetensors file or a model directory
    first: PathBuf,
    /// What is measured against it
    second: PathBuf,
    /// Fail where |a − b| of an element is above this
    #[arg(long, value_name = "E", value_parser = limit)]
    max_error: Option<f64>,
    /// Fail where the signal-to-noise ratio of a tensor is below so many decibels
    #[arg(long, value_name = "DB", allow_negative_numbers = true, value_parser = number)]
    min_sqnr: Option<f64>,
    #[command(flatten)]
    work: Work,
}

fn number(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| "expected a number".to_owned())
}

fn limit(text: &str) -> std::result::Result<f64, String> {
    number(text).ok().filter(|n| *n >= 0.0).ok_or_else(|| "expected a number, 0 or more".to_owned())
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let (first, second) = (Model::open(&arguments.first)?, Model::open(&arguments.second)?);
    let report =
        arguments.work.run(common, |execution| compress::compare(&first, &second, execution))?;
    if common.json {
        output::json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    let failures: Vec<String> =
        report.tensors.iter().filter_map(|tensor| failure(arguments, tensor)).collect();
    match &failures[..] {
        [] => Ok(()),
        [first] => Err(Error::Check { what: first.clone() }),
        [first, rest @ ..] => {
            Err(Error::Check { what: format!("{first}; and {} more tensors", rest.len()) })
        }
    }
}

/// What is beyond a limit in a tensor.
fn failure(arguments: &Arguments, tensor: &ComparedTensor) -> Option<String> {
    let name = &tensor.name;
    let limited = arguments.max_error.is_some() || arguments.min_sqnr.is_some();
    match &tensor.difference {
        Difference::Equal => None,
        Difference::Missing { from: 1 } => Some(format!("{name} is only in the second model")),
        Difference::Missing { .. } => Some(format!("{name} is only in the first model")),
        Difference::Shape { second } => {
            Some(format!("{name} is {} and {}", shape(&tensor.shape), shape(second)))
        }
        Difference::Bytes => limited.then(|| format!("{name} has other bytes")),
        Difference::Different(figures) => {
            let error = f64::from(figures.max_error);
            if limited && figures.non_finite > 0 {
                return Some(format!("{name} differs in {} NaN or Inf", figures.non_finite));
            }
            if let Some(limit) = arguments.max_error.filter(|limit| error > *limit) {
                return Some(format!("{name}: largest error {error:e} is above {limit}"));
            }
            // All signal lost where there is no ratio: an all-zero original that changed.
            let sqnr = figures.sqnr_db.unwrap_or(f64::NEG_INFINITY);
            let limit = arguments.min_sqnr.filter(|limit| sqnr < *limit && error > 0.0)?;
            Some(format!("{name}: {sqnr:.2} dB is below {limit}"))
        }
    }
}

fn text(report: &Comparison) -> String {
    let rows = report.tensors.iter().map(|tensor| {
        let mut row = vec![tensor.name.clone(), shape(&tensor.shape)];
        let blank = || [String::new(), String::new(), String::new()];
        let (status, figures) = match &tensor.difference {
            Difference::Equal => ("equal".to_owned(), blank()),
            Difference::Bytes => ("other bytes".to_owned(), blank()),
            Difference::Missing { from: 1 } => ("only in the second".to_owned(), blank()),
            Difference::Missing { .. } => ("only in the first".to_owned(), blank()),
            Difference::Shape { second } => (format!("shape {}", shape(second)), blank()),
            Difference::Different(figures) => {
                let status = match figures.non_finite {
                    0 => "different".to_owned(),
                    count => format!("different, {count} NaN or Inf"),
                };
                let sqnr = figure(figures.sqnr_db, |db| format!("{db:.2}"));
                let cosine = figure(figures.cosine, |cosine| format!("{cosine:.6}"));
                (status, [sqnr, format!("{:.3e}", figures.max_error), cosine])
            }
        };
        row.push(status);
        row.extend(figures);
        row
    });
    let header = ["tensor", "shape", "status", "SQNR dB", "max error", "cosine"];
    let mut text = output::table(&header, 3, rows.collect());
    text += &match report.sqnr_db {
        Some(db) => format!("\nall: SQNR {db:.2} dB, largest error {:.3e}\n", report.max_error),
        None => format!("\nall: largest error {:.3e}\n", report.max_error),
    };
    text
}
