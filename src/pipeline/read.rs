//! A recipe from TOML.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::chain::Chain;
use super::fields::{Fields, document};
use super::read_compression::{prune, quantize};
use super::read_training::{distill, fine_tune, train};
use super::step::{Action, Evaluate, Kind, Step};
use super::{Overrides, Pipeline};
use crate::compress::Recipe;
use crate::error::{PipelineProblem, Result};
use crate::io::Split;
use crate::nn::{self, PruningSchedule};
use crate::scheme::Activation;

/// What stands at the top, for all steps.
pub(super) struct Top {
    /// What paths are relative to.
    pub folder: PathBuf,
    output: PathBuf,
    data: Option<PathBuf>,
    pub seed: u64,
}

/// Of what a sparsity is taken.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scope {
    PerTensor,
    Global,
}

pub(super) fn pipeline(text: &str, path: &Path, overrides: &Overrides) -> Result<Pipeline> {
    let mut fields = document(text)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let output: Option<String> = fields.take("output")?;
    let output = output.map_or_else(|| path.with_extension(""), |output| joined(&folder, &output));
    let data: Option<String> = fields.take("data")?;
    let data = data.map(|data| joined(&folder, &data));
    let seed: Option<u64> = fields.take("seed")?;
    let Overrides { data: other_data, output: other_output, seed: other_seed } = overrides;
    let top = Top {
        output: other_output.clone().unwrap_or(output),
        data: other_data.clone().or(data),
        seed: other_seed.or(seed).unwrap_or(0),
        folder,
    };
    let tables = fields.tables("step")?;
    fields.end()?;
    if tables.is_empty() {
        return Err(PipelineProblem::NoSteps.into());
    }
    let (mut chain, mut warnings) = (Chain::default(), vec![]);
    for (name, kind, mut fields) in named(tables)? {
        let data = data_of(&mut fields, &top)?;
        let (action, from) = action(kind, &mut fields, &top, &chain)?;
        let writes = !matches!(action, Action::Load { .. } | Action::Evaluate(_));
        let output = writes.then(|| top.output.join(format!("{name}.safetensors")));
        let step = Step { name, kind, action, from, data, output };
        let needs_data = step.trains() || kind == Kind::Evaluate;
        if needs_data && step.data.is_none() {
            let (place, owner) = (fields.place(), fields.owner.clone());
            return Err(PipelineProblem::NoData { place, owner }.into());
        }
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
            let model = joined(&top.folder, &model);
            (Action::Load { model, activations: activations(fields)? }, None)
        }
        Kind::Train => (Action::Train(train(fields, top, chain)?), None),
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
            let split = fields.parse::<Split>("split")?.unwrap_or_default();
            let batch_size = fields.take("batch-size")?.unwrap_or(nn::BATCH);
            if batch_size == 0 {
                return Err(
                    fields.wrong("batch-size", "batch-size is 0; it must be at least 1".to_owned())
                );
            }
            (Action::Evaluate(Evaluate { split, batch_size }), Some(from))
        }
    })
}

/// `path` of a recipe that lies in `folder`. A folder that `path` leaves at once is left out:
/// `../target` of `examples` is `target`. Not where it is a link, whose parent may be elsewhere.
pub(super) fn joined(folder: &Path, path: &str) -> PathBuf {
    let (mut folder, mut path) = (folder.to_owned(), Path::new(path));
    let left = |folder: &Path| {
        let named = matches!(folder.components().next_back(), Some(Component::Normal(_)));
        named && std::fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir())
    };
    while let Ok(rest) = path.strip_prefix("..") {
        if !left(&folder) {
            break;
        }
        folder.pop();
        path = rest;
    }
    match (folder.as_os_str().is_empty(), path.as_os_str().is_empty()) {
        (true, true) => PathBuf::from("."),
        (false, true) => folder,
        _ => folder.join(path),
    }
}

/// The data of a step, or those of all steps.
fn data_of(fields: &mut Fields<'_>, top: &Top) -> Result<Option<PathBuf>> {
    let own: Option<String> = fields.take("data")?;
    Ok(own.map(|path| joined(&top.folder, &path)).or_else(|| top.data.clone()))
}

fn activations(fields: &mut Fields<'_>) -> Result<Option<Vec<Activation>>> {
    let names: Option<Vec<String>> = fields.take("activations")?;
    let parsed = names.map(|names| names.iter().map(|name| name.parse::<Activation>()).collect());
    parsed.map(|parsed| fields.located("activations", parsed)).transpose()
}

/// What should be known of a step that can be followed.
fn warning(step: &Step) -> Option<String> {
    let schedule = step.options()?.pruning.as_ref()?.schedule;
    let PruningSchedule::Polynomial { to, .. } = schedule else { return None };
    let (reached, last) = (schedule.last_sparsity(), schedule.last_step()?);
    (reached < to).then(|| {
        format!(
            "step {:?}: the schedule {schedule} chooses weights for the last time at step {last}, \
             and comes to {reached:.4} then, not to {to}; let END − BEGIN be a multiple of EVERY",
            step.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_left_again_are_left_out() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        assert_eq!(joined(&root.join("a/b"), "../c/d"), root.join("a/c/d"));
        assert_eq!(joined(&root.join("a/b"), "../../c"), root.join("c"));
        assert_eq!(joined(&root.join("a"), ".."), root);
        assert_eq!(joined(&root.join("a"), "c"), root.join("a/c"));
        assert_eq!(joined(&root.join("a"), "/c"), Path::new("/c"));
        // As `tensorpress apply examples/recipe.toml` has it; tests run in the repository.
        assert_eq!(joined(Path::new("examples"), "../target/digits"), Path::new("target/digits"));
        assert_eq!(joined(Path::new("examples"), ".."), Path::new("."));
        // What is above is not known, or is no folder.
        for folder in ["", ".", "..", "none", "Cargo.toml"] {
            assert_eq!(joined(Path::new(folder), "../c"), Path::new(folder).join("../c"));
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).expect("made");
            let link = root.join("link");
            assert_eq!(joined(&link, "../c"), link.join("../c"));
        }
    }
}
