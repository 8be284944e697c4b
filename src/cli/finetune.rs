//! `tensorpress finetune`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Common;
use super::network::{self, Activations};
use super::recipe::{OutputFormat, QuantizeArguments};
use super::training::TrainingArguments;
use crate::compress::Format;
use crate::error::{Result, UsageError};
use crate::nn::PruningSchedule;
use crate::nn::train::{PruneOptions, TrainingOptions};
use crate::pipeline::FineTune;
use crate::scheme::NmPattern;

/// Train a compressed network on, so that it recovers
///
/// Weights that are zero stay exactly zero, so a pruned network keeps its sparsity or its N:M
/// pattern. With --schedule weights are pruned while the network learns to do without them, and
/// with --quantize it learns with its weights rounded, as they will be written.
#[derive(Debug, Args)]
#[command(after_help = "\
A schedule counts steps, that is batches, from 0. constant:S prunes to S before the first step and
again every 100. polynomial:S0:S1:BEGIN:END prunes from S0 to S1, quickly at first, and chooses
weights every 100 steps (EVERY): let END - BEGIN be a multiple of that. A layer with a --sparsity of
its own follows the same curve to its own end.

Examples:
  # prune in one go, then recover
  tensorpress compress model.safetensors -o pruned.safetensors --sparsity 0.9 --global
  tensorpress finetune pruned.safetensors --data fashion-mnist -o recovered.safetensors

  # prune slowly, most of the weights early, then let it settle
  tensorpress finetune model.safetensors --data fashion-mnist --epochs 4 \\
      --schedule polynomial:0:0.9:0:5000 --scope global -o pruned.safetensors

  # 2 bits a weight, learnt
  tensorpress finetune model.safetensors --data fashion-mnist --quantize int2 --granularity channel \\
      --learning-rate 1e-4 -o int2.safetensors")]
pub(super) struct Arguments {
    /// A .safetensors file or a model directory, dense or compressed
    model: PathBuf,
    #[command(flatten)]
    activations: Activations,
    /// Prune while training: constant:S or polynomial:S0:S1:BEGIN:END[:EVERY[:POWER]], in steps
    #[arg(long, value_name = "SCHEDULE", help_heading = "Pruning")]
    schedule: Option<PruningSchedule>,
    /// Of what the schedule's sparsity is taken
    #[arg(long, default_value = "per-tensor", requires = "schedule", help_heading = "Pruning")]
    scope: Scope,
    /// A sparsity of its own for a layer, which the schedule then ends at (repeatable); without a
    /// schedule these layers alone are pruned, at once
    #[arg(long, value_name = "LAYER=S", value_parser = layer_sparsity, help_heading = "Pruning")]
    sparsity: Vec<(String, f64)>,
    /// Leave the weights of this layer alone (repeatable)
    #[arg(long, value_name = "LAYER", requires = "schedule", help_heading = "Pruning")]
    exclude: Vec<String>,
    /// Keep the N largest of every M consecutive inputs, for example 2:4, from the first step on
    #[arg(long, value_name = "N:M", conflicts_with_all = ["schedule", "sparsity"])]
    #[arg(help_heading = "Pruning")]
    nm: Option<NmPattern>,
    #[command(flatten)]
    quantize: QuantizeArguments,
    /// What the weights look like on disk; by default compressed-tensors when quantizing
    #[arg(long, help_heading = "Output")]
    format: Option<OutputFormat>,
    #[command(flatten)]
    training: TrainingArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    /// Each layer
    PerTensor,
    /// All layers together: some lose more, some less
    Global,
}

fn layer_sparsity(text: &str) -> std::result::Result<(String, f64), String> {
    let parsed = text.rsplit_once('=').and_then(|(layer, s)| Some((layer, s.parse().ok()?)));
    let (layer, share) = parsed.ok_or("expected LAYER=S, for example fc1=0.9")?;
    Ok((layer.to_owned(), share))
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let Arguments { model, activations, training, .. } = arguments;
    let tuning = arguments.fine_tune()?;
    training.check_output(Some(model))?;
    let given = network::open(model, activations.given(), common)?;
    let job = tuning.job(given, training.data()?)?;
    training.run(job, common)
}

impl Arguments {
    fn fine_tune(&self) -> Result<FineTune> {
        let options = TrainingOptions {
            hold_zeros: true,
            pruning: self.pruning()?,
            nm: self.nm,
            quantize: self.quantize.quantization()?,
            ..self.training.options(FineTune::EPOCHS)?
        };
        options.check()?;
        Ok(FineTune { options, format: self.format.map(Format::from) })
    }

    fn pruning(&self) -> Result<Option<PruneOptions>> {
        let layers: BTreeMap<String, f64> = self.sparsity.iter().cloned().collect();
        if layers.len() < self.sparsity.len() {
            return Err(UsageError::Conflict {
                first: "--sparsity",
                second: "--sparsity of the same layer",
                advice: "give each layer once",
            }
            .into());
        }
        let (global, exclude) = (matches!(self.scope, Scope::Global), self.exclude.clone());
        let pruning = PruneOptions::new(self.schedule, layers);
        Ok(pruning.map(|pruning| PruneOptions { global, exclude, ..pruning }))
    }
}
