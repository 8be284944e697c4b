//! A recipe from TOML.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Pipeline;
use super::chain::Chain;
use super::fields::{Fields, document};
use super::step::{Action, Distill, Evaluate, FineTune, Kind, Step, Student, Teacher, Train};
use crate::compress::{Format, Pruning, Recipe, pattern};
use crate::error::{PipelineProblem, Result};
use crate::io::Split;
use crate::nn::train::TrainingOptions;
use crate::nn::{self, PruningSchedule};
use crate::ops::Optimizer;
use crate::scheme::{Activation, Bits, QuantScheme, SchemeChoice};

/// What stands at the top, for all steps.
struct Top {
    folder: PathBuf,
    output: PathBuf,
    data: Option<String>,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    PerTensor,
    Global,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tool {
    CompressedTensors,
}

pub(super) fn pipeline(text: &str, path: &Path) -> Result<Pipeline> {
    let mut fields = document(text)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let output: Option<String> = fields.take("output")?;
    let output = output.map_or_else(|| path.with_extension(""), |output| folder.join(output));
    let top =
        Top { folder, output, data: fields.take("data")?, seed: fields.take("seed")?.unwrap_or(0) };
    let tables = fields.tables("step")?;
    fields.end()?;
    if tables.is_empty() {
        return Err(PipelineProblem::NoSteps.into());
    }
    let (mut chain, mut warnings) = (Chain::default(), vec![]);
    for (name, kind, mut fields) in named(tables)? {
        let (action, from) = action(kind, &mut fields, &top, &chain)?;
        let writes = !matches!(action, Action::Load { .. } | Action::Evaluate(_));
        let output = writes.then(|| top.output.join(format!("{name}.safetensors")));
        let step = Step { name, kind, action, from, output };
        chain.push(&fields, step)?;
        fields.end()?;
        warnings.extend(chain.steps.last().and_then(warning));
    }
    Ok(Pipeline { output: top.output, steps: chain.steps, warnings })
}

/// Each step with its kind and a name of its own: the one that it gives itself, or that of its
/// kind, with a number where it is taken.
fn named(tables: Vec<Fields<'_>>) -> Result<Vec<(String, Kind, Fields<'_>)>> {
    let mut read = vec![];
    let mut taken = HashSet::new();
    for mut fields in tables {
        fields.owner = "this step".to_owned();
        let kind: Kind = fields.require("do", "do = \"train\"")?;
        fields.owner = format!("this {kind} step");
        let name: Option<String> = fields.take("name")?;
        if let Some(name) = &name {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let usable =
                name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain);
            let reason = match usable {
                false => {
                    "is no name of a file: use letters, digits, - and _, a letter or digit first"
                }
                true if !taken.insert(name.clone()) => "is taken by another step; choose another",
                true => "",
            };
            if !reason.is_empty() {
                let (place, name) = (fields.place_of("name"), name.clone());
                return Err(PipelineProblem::Name { place, name, reason }.into());
            }
        }
        read.push((name, kind, fields));
    }
    let steps = read.into_iter().map(|(name, kind, fields)| {
        let numbered = (1..).map(|n| if n == 1 { kind.to_string() } else { format!("{kind}-{n}") });
        let name = name.or_else(|| numbered.into_iter().find(|name| taken.insert(name.clone())));
        (name.unwrap_or_default(), kind, fields)
    });
    Ok(steps.collect())
}

/// What a step does, and the step whose network it works on.
fn action(
    kind: Kind,
    fields: &mut Fields<'_>,
    top: &Top,
    chain: &Chain,
) -> Result<(Action, Option<usize>)> {
    Ok(match kind {
        Kind::Load => {
            let model: String = fields.require("model", "model = \"model.safetensors\"")?;
            (Action::Load { model: top.folder.join(model) }, None)
        }
        Kind::Train => (Action::Train(train(fields, top)?), None),
        Kind::Distill => (Action::Distill(distill(fields, top, chain)?), None),
        Kind::Finetune => {
            let from = chain.network(fields)?;
            (Action::FineTune(fine_tune(fields, top)?), Some(from))
        }
        Kind::Slim | Kind::Prune | Kind::Quantize => {
            let from = chain.network(fields)?;
            let recipe = match kind {
                Kind::Slim => Recipe::new()
                    .keep_neurons(fields.require("keep-neurons", "keep-neurons = 0.5")?),
                Kind::Prune => prune(fields)?,
                _ => quantize(fields)?,
            };
            fields.located("do", recipe.validate())?;
            (Action::Compress(recipe), Some(from))
        }
        Kind::Evaluate => {
            let from = chain.network(fields)?;
            let data = data(fields, top)?;
            let split = fields.parse::<Split>("split")?.unwrap_or_default();
            let batch_size = fields.take("batch-size")?.unwrap_or(nn::BATCH);
            if batch_size == 0 {
                return Err(
                    fields.wrong("batch-size", "batch-size is 0; it must be at least 1".to_owned())
                );
            }
            (Action::Evaluate(Evaluate { data, split, batch_size }), Some(from))
        }
    })
}

/// The data of a step, or those of all steps.
fn data(fields: &mut Fields<'_>, top: &Top) -> Result<PathBuf> {
    let own: Option<String> = fields.take("data")?;
    let path = own.as_ref().or(top.data.as_ref()).ok_or_else(|| {
        let (place, owner) = (fields.place(), fields.owner.clone());
        PipelineProblem::NoData { place, owner }
    })?;
    Ok(top.folder.join(path))
}

fn seed(fields: &mut Fields<'_>, top: &Top) -> Result<u64> {
    Ok(fields.take("seed")?.unwrap_or(top.seed))
}

fn train(fields: &mut Fields<'_>, top: &Top) -> Result<Train> {
    let hidden: Vec<usize> = fields.require("hidden", "hidden = [300, 100]")?;
    if hidden.contains(&0) {
        let reason = "hidden has a layer of 0 neurons; each must have at least 1";
        return Err(fields.wrong("hidden", reason.to_owned()));
    }
    let activation = fields.parse("activation")?.unwrap_or(Activation::Relu);
    let init = fields.parse("init")?.unwrap_or_default();
    let network = Student { hidden, activation, init };
    let (data, seed) = (data(fields, top)?, seed(fields, top)?);
    Ok(Train { network, data, seed, options: options(fields)? })
}

fn options(fields: &mut Fields<'_>) -> Result<TrainingOptions> {
    let default = TrainingOptions::default();
    let mut optimizer = fields.parse("optimizer")?.unwrap_or(default.optimizer);
    for (key, value) in [
        ("weight-decay", fields.take::<f64>("weight-decay")?),
        ("momentum", fields.take::<f64>("momentum")?),
    ] {
        match (&mut optimizer, key, value) {
            (_, _, None) => {}
            (Optimizer::Adam { weight_decay: own, .. }, "weight-decay", Some(value))
                if *own > 0.0 =>
            {
                *own = value;
            }
            (Optimizer::Sgd { momentum: own, .. }, "momentum", Some(value)) => *own = value,
            (other, _, Some(_)) => {
                let owner = if key == "momentum" { "sgd" } else { "adamw" };
                let reason =
                    format!("{key} does not go with {other}; it is for optimizer = {owner:?}");
                return Err(fields.wrong(key, reason));
            }
        }
    }
    let options = TrainingOptions {
        loss: fields.parse("loss")?.unwrap_or(default.loss),
        optimizer,
        learning_rate: fields.take("learning-rate")?.unwrap_or(default.learning_rate),
        decay: fields.parse("decay")?.unwrap_or(default.decay),
        batch_size: fields.take("batch-size")?.unwrap_or(default.batch_size),
        epochs: fields.take("epochs")?.unwrap_or(default.epochs),
        steps: fields.take("steps")?,
        limit: fields.take("limit")?,
        dropout: fields.take("dropout")?.unwrap_or(default.dropout),
        l2: fields.take("l2")?.unwrap_or(default.l2),
        validation_split: fields.take("validation-split")?.unwrap_or(default.validation_split),
        patience: fields.take("patience")?,
        shuffle: fields.take("shuffle")?.unwrap_or(default.shuffle),
        ..default
    };
    fields.located("patience", options.check())?;
    Ok(options)
}

fn fine_tune(fields: &mut Fields<'_>, top: &Top) -> Result<FineTune> {
    let (data, seed) = (data(fields, top)?, seed(fields, top)?);
    let options = options(fields)?;
    let schedule = fields.parse::<PruningSchedule>("schedule")?;
    let scope: Option<Scope> = fields.take("scope")?;
    if scope.is_some() && schedule.is_none() {
        return Err(
            fields.wrong("scope", "scope says what a schedule is about; give one".to_owned())
        );
    }
    let exclude = patterns(fields, "exclude")?;
    let bits: Option<Bits> = fields.take("quantize")?;
    let quantize = scheme(fields, bits, "quantize")?;
    let global = scope == Some(Scope::Global);
    Ok(FineTune { data, seed, options, schedule, global, exclude, quantize })
}

fn distill(fields: &mut Fields<'_>, top: &Top, chain: &Chain) -> Result<Distill> {
    let teacher = match fields.take::<String>("teacher")? {
        Some(name) => match chain.find(&name) {
            Some(step) => Teacher::Step(step),
            None => Teacher::Model(top.folder.join(name)),
        },
        None => Teacher::Step(chain.network(fields)?),
    };
    let student = train(fields, top)?;
    let temperature: f64 = fields.take("temperature")?.unwrap_or(2.0);
    if !(temperature.is_finite() && temperature > 0.0) {
        let reason = format!("temperature is {temperature}; it must be above 0");
        return Err(fields.wrong("temperature", reason));
    }
    let alpha: f64 = fields.take("alpha")?.unwrap_or(0.9);
    if !(0.0..=1.0).contains(&alpha) {
        return Err(
            fields.wrong("alpha", format!("alpha is {alpha}; it must be a share from 0 to 1"))
        );
    }
    let baseline = fields.take("baseline")?.unwrap_or(false);
    Ok(Distill { teacher, student, temperature, alpha, baseline })
}

fn prune(fields: &mut Fields<'_>) -> Result<Recipe> {
    let sparsity: Option<f64> = fields.take("sparsity")?;
    let scope: Option<Scope> = fields.take("scope")?;
    if scope.is_some() && sparsity.is_none() {
        return Err(fields.wrong("scope", "scope says what sparsity is about; give one".to_owned()));
    }
    let global = scope == Some(Scope::Global);
    let kinds = [
        sparsity.map(|share| Pruning::Sparsity { share, global }),
        fields.take("threshold")?.map(Pruning::Threshold),
        fields.take("threshold-ratio")?.map(Pruning::ThresholdRatio),
        fields.parse("nm")?.map(Pruning::Nm),
    ];
    let given: Vec<Pruning> = kinds.into_iter().flatten().collect();
    let mut recipe = selection(fields)?;
    let format: Option<Format> = fields.take("format")?;
    if let Some(format) = format {
        recipe = recipe.format(format);
    }
    match given[..] {
        [] if format.is_none_or(|format| format == Format::Dense) => Err(fields.missing(
            "sparsity, threshold, threshold-ratio, nm or format = \"sparse-bitmask\"",
            "sparsity = 0.9",
        )),
        [] => Ok(recipe),
        [pruning] => Ok(recipe.prune(pruning)),
        _ => {
            let reason = "sparsity, threshold, threshold-ratio and nm exclude each other; give one";
            Err(fields.wrong("do", reason.to_owned()))
        }
    }
}

fn quantize(fields: &mut Fields<'_>) -> Result<Recipe> {
    let bits: Bits = fields.require("to", "to = \"int4\"")?;
    let mut recipe = selection(fields)?;
    if let Some(scheme) = scheme(fields, Some(bits), "to")? {
        recipe = recipe.quantize(scheme);
    }
    if let Some(what) = fields.take("on-indivisible")? {
        recipe = recipe.on_indivisible(what);
    }
    if let Some(format) = fields.take("format")? {
        recipe = recipe.format(format);
    }
    Ok(recipe)
}

/// The scheme of so many bits; its keys mean nothing without them.
fn scheme(
    fields: &mut Fields<'_>,
    bits: Option<Bits>,
    key: &'static str,
) -> Result<Option<QuantScheme>> {
    let keys = ["granularity", "group-size", "asymmetric", "narrow-range", "scale", "match"];
    let choice = SchemeChoice {
        bits: bits.unwrap_or(Bits::Eight),
        granularity: fields.take(keys[0])?,
        group_size: fields.take(keys[1])?,
        asymmetric: fields.take(keys[2])?.unwrap_or(false),
        narrow_range: fields.take(keys[3])?.unwrap_or(false),
        multiplier: fields.take(keys[4])?,
        weight_type: fields.take::<Tool>(keys[5])?.is_some(),
    };
    if bits.is_some() {
        return fields.located(key, choice.scheme()).map(Some);
    }
    match keys.into_iter().find(|key| fields.has_taken(key)) {
        None => Ok(None),
        Some(other) => {
            Err(fields
                .wrong(other, format!("{other} goes with {key}, for example {key} = \"int4\"")))
        }
    }
}

/// A recipe for the tensors that are selected.
fn selection(fields: &mut Fields<'_>) -> Result<Recipe> {
    let mut recipe = Recipe::new();
    for name in patterns(fields, "include")? {
        recipe = recipe.include(name);
    }
    for name in patterns(fields, "exclude")? {
        recipe = recipe.exclude(name);
    }
    Ok(recipe)
}

fn patterns(fields: &mut Fields<'_>, key: &'static str) -> Result<Vec<regex::Regex>> {
    let texts: Vec<String> = fields.take(key)?.unwrap_or_default();
    texts.iter().map(|text| fields.located(key, pattern(key, text))).collect()
}

/// What should be known of a step that can be followed.
fn warning(step: &Step) -> Option<String> {
    let Action::FineTune(FineTune { schedule: Some(schedule), .. }) = &step.action else {
        return None;
    };
    let PruningSchedule::Polynomial { to, .. } = *schedule else { return None };
    let (reached, last) = (schedule.last_sparsity(), schedule.last_step()?);
    (reached < to).then(|| {
        format!(
            "step {:?}: the schedule {schedule} chooses weights for the last time at step {last}, \
             and comes to {reached:.4} then, not to {to}; let END − BEGIN be a multiple of EVERY",
            step.name
        )
    })
}
