//! `tensorpress compress`

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::device::Work;
use super::network::{Activations, Description};
use super::output::{self, bytes, figure, percent, shape};
use super::recipe::RecipeArguments;
use crate::compress::{Plan, Report, TensorReport};
use crate::error::Result;
use crate::io::Model;

/// Prune and quantize a model
///
/// MODEL is a .safetensors file or a Hugging Face directory; OUT becomes the same. Every
/// two-dimensional weight is compressed, except norms, embeddings and lm_head; every other tensor
/// and file is carried over unchanged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # 4-bit weights, a scale every 128 inputs: loads in transformers and vLLM
  tensorpress compress ./model -o ./model-w4a16 --quantize int4

  # half of the weights to zero, stored without the zeros
  tensorpress compress m.safetensors -o sparse.safetensors --sparsity 0.5 --format sparse-bitmask

  # 2:4 sparsity and 8-bit codes; the sizes first
  tensorpress compress m.safetensors --nm 2:4 --quantize int8 --dry-run

  # half of the hidden neurons, then 4-bit codes for what is left
  tensorpress compress mlp.safetensors -o small.safetensors --keep-neurons 0.5 --quantize int4

  # all layers but the first, as JSON
  tensorpress compress m.safetensors -o out.safetensors --quantize int8 --exclude '^fc1' --json")]
pub(super) struct Arguments {
    /// A .safetensors file or a model directory
    model: PathBuf,
    /// The file or directory to write
    #[arg(short, long, value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    activations: Activations,
    #[command(flatten)]
    work: Work,
    /// Replace OUT if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Print what would be done, with sizes, and write nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let mut recipe = arguments.recipe.recipe()?.force(arguments.force);
    let model = Model::open(&arguments.model)?;
    // Whatever does not fit the model is told before a device is opened.
    let plan = Plan::new(&model, &recipe)?;
    if let Some(origin) = plan.network() {
        output::note(common, &format!("{}: {origin}", arguments.model.display()));
    }
    let description = Description::new(&model, &arguments.activations)?;
    for (key, value) in &description.metadata {
        recipe = recipe.metadata(key, value.clone());
    }
    let report = arguments.work.run(common, |execution| {
        match (&arguments.output, arguments.dry_run) {
            (Some(out), false) => recipe.compress_with(&model, out, execution),
            // The parser asks for an output unless this is a dry run.
            (None, _) | (_, true) => recipe.dry_run(&model, execution),
        }
    })?;
    for warning in &report.warnings {
        output::warn(common, warning);
    }
    if report.output.is_some() {
        description.tell(common);
    }
    if common.json { output::json(&report) } else { output::print(&text(&report)) }
}

/// "100×784", or "100×784 → 50×784".
fn shapes(row: &TensorReport) -> String {
    let mut text = shape(&row.shape);
    if row.shape_after != row.shape {
        text += &format!(" → {}", shape(&row.shape_after));
    }
    text
}

fn text(report: &Report) -> String {
    let header = [
        "tensor",
        "shape",
        "dtype",
        "done",
        "zeros",
        "bits/w",
        "SQNR dB",
        "max error",
        "saturated",
        "before",
        "after",
    ];
    let rows = report.tensors.iter().map(|row| {
        vec![
            row.name.clone(),
            shapes(row),
            row.dtype.to_owned(),
            row.action.clone(),
            figure(row.sparsity, percent),
            figure(row.bits_per_weight, |bits| format!("{bits:.2}")),
            figure(row.sqnr_db, |db| format!("{db:.1}")),
            figure(row.max_error, |error| format!("{error:.3e}")),
            figure(row.saturated, |n| n.to_string()),
            bytes(row.bytes_before),
            bytes(row.bytes_after),
        ]
    });
    let mut text = output::table(&header, 4, rows.collect());
    let (before, after) = (report.bytes_before, report.bytes_after);
    let ratio = before as f64 / after.max(1) as f64;
    let change = if ratio > 1.0 { format!("{ratio:.2}× smaller") } else { "not smaller".into() };
    text += &format!("\n{} → {} ({change})", bytes(before), bytes(after));
    text += &figure(report.bits_per_weight, |bits| format!(", {bits:.2} bits per weight"));
    text += &figure(report.sparsity, |share| format!(", {} zeros", percent(share)));
    text += &figure(report.sqnr_db, |db| format!(", SQNR {db:.1} dB"));
    let time = format!("{:.2} s, {:.2} GB/s", report.seconds, report.gb_per_second);
    match &report.output {
        Some(path) => {
            text += &format!("\n{} on {} in {time}\nwrote {path}\n", report.format, report.device)
        }
        None => text += "\ndry run: nothing was written\n",
    }
    text
}
