//! Steps that train, from TOML.

use std::collections::BTreeMap;

use super::chain::Chain;
use super::fields::Fields;
use super::read::{Scope, Top, joined};
use super::read_compression::quantization;
use super::step::{Beginning, Distill, FineTune, NewNetwork, Source, Train};
use crate::error::Result;
use crate::nn::PruningSchedule;
use crate::nn::train::{OptimizerChoice, PruneOptions, TrainingOptions};
use crate::scheme::{Activation, Bits};

pub(super) fn train(fields: &mut Fields<'_>, top: &Top, chain: &Chain) -> Result<Train> {
    let beginning = match fields.take::<String>("init")? {
        Some(name) => Beginning::Given(source(name, top, chain)),
        None => Beginning::New(new_network(fields)?),
    };
    let options = options(fields, top, TrainingOptions::default().epochs)?;
    Ok(Train { beginning, options })
}

pub(super) fn distill(fields: &mut Fields<'_>, top: &Top, chain: &Chain) -> Result<Distill> {
    let teacher = match fields.take::<String>("teacher")? {
        Some(name) => source(name, top, chain),
        None => Source::Step(chain.network(fields)?),
    };
    let network = new_network(fields)?;
    let options = options(fields, top, TrainingOptions::default().epochs)?;
    let distill = Distill {
        teacher,
        network,
        options,
        temperature: fields.take("temperature")?.unwrap_or(Distill::TEMPERATURE),
        alpha: fields.take("alpha")?.unwrap_or(Distill::ALPHA),
        baseline: fields.take("baseline")?.unwrap_or(false),
    };
    fields.located("do", distill.check())?;
    Ok(distill)
}

pub(super) fn fine_tune(fields: &mut Fields<'_>, top: &Top) -> Result<FineTune> {
    let options = options(fields, top, FineTune::EPOCHS)?;
    let pruning = pruning(fields)?;
    let bits: Option<Bits> = fields.take("quantize")?;
    let quantize = quantization(fields, bits, "quantize")?;
    let nm = fields.parse("nm")?;
    let options = TrainingOptions { hold_zeros: true, pruning, quantize, nm, ..options };
    fields.located("nm", options.check())?;
    Ok(FineTune { options, format: fields.take("format")? })
}

/// The step of this name, or else the model in this file or directory.
fn source(name: String, top: &Top, chain: &Chain) -> Source {
    chain.find(&name).map_or_else(|| Source::Model(joined(&top.folder, &name)), Source::Step)
}

fn new_network(fields: &mut Fields<'_>) -> Result<NewNetwork> {
    let hidden: Vec<usize> = fields.require("hidden", "hidden = [300, 100]")?;
    if hidden.contains(&0) {
        let reason = "hidden has a layer of 0 neurons; each must have at least 1";
        return Err(fields.wrong("hidden", reason.to_owned()));
    }
    let activation = fields.parse("activation")?.unwrap_or(Activation::Relu);
    let initializer = fields.parse("initializer")?.unwrap_or_default();
    Ok(NewNetwork { hidden, activation, initializer })
}

fn options(fields: &mut Fields<'_>, top: &Top, epochs: u64) -> Result<TrainingOptions> {
    let default = TrainingOptions::default();
    let choice = OptimizerChoice {
        optimizer: fields.parse("optimizer")?.unwrap_or(default.optimizer),
        momentum: fields.take("momentum")?,
        nesterov: fields.take("nesterov")?.unwrap_or(false),
        weight_decay: fields.take("weight-decay")?,
    };
    let (optimizer, rate) = fields.located("optimizer", choice.optimizer())?;
    let options = TrainingOptions {
        loss: fields.parse("loss")?.unwrap_or(default.loss),
        optimizer,
        learning_rate: fields.take("learning-rate")?.unwrap_or(rate),
        decay: fields.parse("decay")?.unwrap_or(default.decay),
        batch_size: fields.take("batch-size")?.unwrap_or(default.batch_size),
        epochs: fields.take("epochs")?.unwrap_or(epochs),
        steps: fields.take("steps")?,
        limit: fields.take("limit")?,
        dropout: fields.take("dropout")?.unwrap_or(default.dropout),
        l2: fields.take("l2")?.unwrap_or(default.l2),
        seed: fields.take("seed")?.unwrap_or(top.seed),
        validation_split: fields.take("validation-split")?.unwrap_or(default.validation_split),
        patience: fields.take("patience")?,
        shuffle: fields.take("shuffle")?.unwrap_or(default.shuffle),
        ..default
    };
    fields.located("do", options.check())?;
    Ok(options)
}

fn pruning(fields: &mut Fields<'_>) -> Result<Option<PruneOptions>> {
    let schedule = fields.parse::<PruningSchedule>("schedule")?;
    let layers: BTreeMap<String, f64> = fields.take("sparsity")?.unwrap_or_default();
    let scope: Option<Scope> = fields.take("scope")?;
    let exclude: Option<Vec<String>> = fields.take("exclude")?;
    for (key, given) in [("scope", scope.is_some()), ("exclude", exclude.is_some())] {
        if given && schedule.is_none() {
            return Err(fields.wrong(key, format!("{key} says what a schedule is about; give one")));
        }
    }
    let global = scope == Some(Scope::Global);
    let exclude = exclude.unwrap_or_default();
    Ok(PruneOptions::new(schedule, layers).map(|pruning| PruneOptions {
        global,
        exclude,
        ..pruning
    }))
}
