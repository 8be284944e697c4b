//! `tensorpress decompress`

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::device::Work;
use super::network::{Activations, Description};
use super::output::{self, bytes, shape};
use crate::compress::{self, Decompressed};
use crate::error::Result;
use crate::io::Model;

/// Write a compressed model with dense weights
///
/// Reads integers in pack-quantized, int-quantized and naive-quantized form and sparse-bitmask,
/// from tensorpress or from compressed-tensors. Every other tensor and file is carried over.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress decompress small.safetensors -o dense.safetensors
  tensorpress decompress ./Llama-3.2-1B-W4A16 -o ./Llama-3.2-1B-dense")]
pub(super) struct Arguments {
    /// A .safetensors file or a model directory
    model: PathBuf,
    /// The file or directory to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    activations: Activations,
    #[command(flatten)]
    work: Work,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let model = Model::open(&arguments.model)?;
    let description = Description::new(&model, &arguments.activations)?;
    let report = arguments.work.run(common, |execution| {
        let (out, force) = (&arguments.output, arguments.force);
        compress::decompress_with(&model, out, force, &description.metadata, execution)
    })?;
    description.tell(common);
    if common.json { output::json(&report) } else { output::print(&text(&report)) }
}

fn text(report: &Decompressed) -> String {
    let rows = report.tensors.iter().map(|row| {
        vec![
            row.name.clone(),
            shape(&row.shape),
            row.dtype.to_owned(),
            row.stored.clone(),
            bytes(row.bytes_before),
            bytes(row.bytes_after),
        ]
    });
    let header = ["tensor", "shape", "dtype", "was", "before", "after"];
    let mut text = output::table(&header, 4, rows.collect());
    text += &format!(
        "\n{} → {} on {} in {:.2} s, {:.2} GB/s\nwrote {}\n",
        bytes(report.bytes_before),
        bytes(report.bytes_after),
        report.device,
        report.seconds,
        report.gb_per_second,
        report.output
    );
    text
}
