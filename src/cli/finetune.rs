//! `tensorpress finetune`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::network::Activations;
use super::recipe::{OutputFormat, QuantizeArguments};
use super::training::{TrainingArguments, Written, test};
use super::{Common, output};
use crate::compress::{Format, OnIndivisible, Recipe};
use crate::error::{Result, UsageError};
use crate::io::Model;
use crate::nn::train::{PruneOptions, Training, TrainingOptions};
use crate::nn::{Network, Parameters, PruningSchedule};
use crate::scheme::{Granularity, NmPattern, QuantScheme};

/// Train a compressed network on, so that it recovers
///
/// Weights that are zero stay exactly zero, so a pruned network keeps its sparsity or its N:M
/// pattern. With --schedule weights are pruned while the network learns to do without them, and
/// with --quantize it learns with its weights rounded, as they will be written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # prune in one go, then recover
  tensorpress compress model.safetensors -o pruned.safetensors --sparsity 0.9 --global
  tensorpress finetune pruned.safetensors --data fashion-mnist --epochs 3 -o recovered.safetensors

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

/// Epochs where nothing else is asked for.
const EPOCHS: u64 = 3;

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let shared = &arguments.training;
    arguments.quantize.scheme()?;
    shared.check_output(Some(&arguments.model))?;
    let model = Model::open(&arguments.model)?;
    let (network, origin) = Network::read(&model, arguments.activations.given())?;
    output::note(common, &format!("{}: {origin}", arguments.model.display()));
    let options = arguments.options(&network)?;
    let parameters = Parameters::read(&model, &network)?;
    let data = shared.training_data()?;
    let backend = shared.open_device(common)?;
    let before = test(&model, &network, &shared.data, &backend)?;
    let start = Instant::now();
    let written = arguments.written(&network)?;
    let mut training = Training::new(&backend, network, parameters, data, options)
        .map_err(|error| error.in_file(&shared.data))?;
    let ended = shared.fit(&mut training, common)?;
    let seconds = start.elapsed().as_secs_f64();
    written.write(&training, &shared.output, shared.force)?;
    let mut report = shared.finish(&training, ended, &backend, seconds)?;
    report.before = before;
    report.print(common)
}

impl Arguments {
    fn options(&self, network: &Network) -> Result<TrainingOptions> {
        let options = TrainingOptions {
            hold_zeros: true,
            pruning: self.pruning()?,
            nm: self.nm,
            quantize: self.schemes(network)?,
            ..self.training.options(EPOCHS)?
        };
        options.check()?;
        Ok(options)
    }

    /// The scheme of each layer that is quantized.
    fn schemes(&self, network: &Network) -> Result<BTreeMap<String, QuantScheme>> {
        let Some(scheme) = self.quantize.scheme()? else { return Ok(BTreeMap::new()) };
        let (mut schemes, mut indivisible) = (BTreeMap::new(), vec![]);
        for layer in &network.layers {
            match (scheme.granularity, self.quantize.on_indivisible()) {
                (Granularity::Group(size), what) if !layer.inputs.is_multiple_of(size) => {
                    indivisible.push((layer.weight.clone(), layer.inputs));
                    if what == OnIndivisible::Channel {
                        let granularity = Granularity::Channel;
                        schemes.insert(layer.name.clone(), QuantScheme { granularity, ..scheme });
                    }
                }
                _ => {
                    schemes.insert(layer.name.clone(), scheme);
                }
            }
        }
        match (scheme.granularity, self.quantize.on_indivisible()) {
            (Granularity::Group(group), OnIndivisible::Error) if !indivisible.is_empty() => {
                Err(UsageError::Indivisible { group, tensors: indivisible }.into())
            }
            _ => Ok(schemes),
        }
    }

    /// How the network is written.
    fn written(&self, network: &Network) -> Result<Written> {
        let format = self.format.map(Format::from);
        let Some(scheme) = self.quantize.scheme()? else {
            let sparse = format.filter(|format| *format != Format::Dense);
            return Ok(Written::new(network, sparse.map(|format| Recipe::new().format(format))));
        };
        let mut recipe =
            Recipe::new().quantize(scheme).on_indivisible(self.quantize.on_indivisible());
        if let Some(format) = format {
            recipe = recipe.format(format);
        }
        recipe.validate()?;
        Ok(Written::new(network, Some(recipe)))
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
        let schedule = match self.schedule {
            Some(schedule) => schedule,
            None if layers.is_empty() => return Ok(None),
            None => {
                let sparsity = layers.values().copied().fold(0.0, f64::max);
                return Ok(Some(PruneOptions {
                    schedule: PruningSchedule::Constant { sparsity },
                    global: false,
                    layers,
                    others: false,
                    exclude: vec![],
                }));
            }
        };
        let global = matches!(self.scope, Scope::Global);
        let exclude = self.exclude.clone();
        Ok(Some(PruneOptions { schedule, global, layers, others: true, exclude }))
    }
}
