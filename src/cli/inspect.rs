//! `tensorpress inspect`

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::device::with_progress;
use super::output::{self, bytes, figure, percent, plain, shape};
use crate::compress::{self, Inspection};
use crate::error::Result;
use crate::io::Model;
use crate::ops::Backend;

/// List a model's tensors, their statistics and how they are compressed
///
/// Never opens a GPU. Statistics read all weights; --headers reads headers alone and answers at
/// once however large the model is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress inspect model.safetensors
  tensorpress inspect ./Llama-3.2-1B-W4A16 --headers
  tensorpress inspect model.safetensors --json | jq '.tensors[] | select(.stored != \"dense\")'")]
pub(super) struct Arguments {
    /// A .safetensors file or a model directory
    model: PathBuf,
    /// Read headers only: no statistics
    #[arg(long)]
    headers: bool,
    /// Worker threads; the result does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let model = Model::open(&arguments.model)?;
    let report = with_progress(common, &Backend::Cpu, arguments.threads, |execution| {
        compress::inspect(&model, !arguments.headers, execution)
    })?;
    if common.json { output::json(&report) } else { output::print(&text(&report)) }
}

fn text(report: &Inspection) -> String {
    let rows = report.tensors.iter().map(|row| {
        let statistics = row.statistics.as_ref();
        vec![
            row.name.clone(),
            shape(&row.shape),
            row.dtype.to_owned(),
            row.stored.clone(),
            figure(statistics, |s| percent(s.sparsity)),
            figure(statistics, |s| format!("{:.4}", s.min)),
            figure(statistics, |s| format!("{:.4}", s.max)),
            figure(statistics, |s| format!("{:.4}", s.abs_max)),
            figure(statistics, |s| s.non_finite.to_string()),
            figure(row.bits_per_weight, |bits| format!("{bits:.2}")),
            bytes(row.bytes),
        ]
    });
    let header = [
        "tensor", "shape", "dtype", "stored", "zeros", "min", "max", "max |w|", "NaN/Inf",
        "bits/w", "bytes",
    ];
    let mut text = output::table(&header, 4, rows.collect());
    let files = match &report.files[..] {
        [_] => String::new(),
        files => format!(" in {} files", files.len()),
    };
    text += &format!(
        "\n{} tensors, {} parameters, {}{files}\n",
        report.tensors.len(),
        report.parameters,
        bytes(report.bytes)
    );
    text += &format!("format: {}\n", report.format.as_deref().unwrap_or("dense"));
    for (key, value) in &report.metadata {
        text += &format!("metadata {}: {}\n", plain(key), plain(value));
    }
    text
}
