//! What is going to be done, in words.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Pipeline;
use super::step::{
    Action, Beginning, Distill, Evaluate, FineTune, Kind, NewNetwork, Source, Step, Train,
};
use crate::nn::train::TrainingOptions;

/// What a step is going to do.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// What it does, by name.
    pub kind: Kind,
    /// What it does, in words.
    pub what: String,
    /// Name of the step whose network it works on, where there is one.
    pub from: Option<String>,
    /// Where its network will be written, where it makes one.
    pub output: Option<PathBuf>,
}

impl Pipeline {
    /// What each step is going to do.
    pub fn plan(&self) -> Vec<PlannedStep> {
        (0..self.steps.len()).map(|number| self.plan_of(number)).collect()
    }

    pub(super) fn plan_of(&self, number: usize) -> PlannedStep {
        let step = &self.steps[number];
        PlannedStep {
            name: step.name.clone(),
            kind: step.kind,
            what: self.what(step),
            from: step.from.map(|number| self.steps[number].name.clone()),
            output: self.network_path(number),
        }
    }

    /// Where the network of a step lies. A model that was loaded from a directory stays one while
    /// it is compressed, and then has no ending.
    pub(super) fn network_path(&self, number: usize) -> Option<PathBuf> {
        let output = self.steps[number].output.as_ref()?;
        Some(if self.is_directory(number) { output.with_extension("") } else { output.clone() })
    }

    fn is_directory(&self, number: usize) -> bool {
        match (&self.steps[number].action, self.steps[number].from) {
            (Action::Load { model, .. }, _) => model.is_dir(),
            (Action::Compress(_), Some(from)) => self.is_directory(from),
            _ => false,
        }
    }

    fn what(&self, step: &Step) -> String {
        let name = |source: &Source| match source {
            Source::Step(number) => self.steps[*number].name.clone(),
            Source::Model(path) => path.display().to_string(),
        };
        match &step.action {
            Action::Load { model, activations } => {
                let listed = activations.as_ref().map(|list| {
                    let names: Vec<String> = list.iter().map(ToString::to_string).collect();
                    format!(" with {}", names.join(", "))
                });
                format!("{}{}", model.display(), listed.unwrap_or_default())
            }
            Action::Train(Train { beginning, options }) => {
                let beginning = match beginning {
                    Beginning::New(network) => new(network),
                    Beginning::Given(source) => format!("from {}", name(source)),
                };
                format!("{beginning}, {}", training(options))
            }
            Action::FineTune(FineTune { options, format }) => {
                let format = format.map(|format| format!(", {}", format.name()));
                format!("{}{}", training(options), format.unwrap_or_default())
            }
            Action::Distill(distill) => {
                let Distill { network, temperature, alpha, baseline, .. } = distill;
                let beside = if *baseline { ", beside the same on labels alone" } else { "" };
                let (teacher, student) = (name(&distill.teacher), new(network));
                let training = training(&distill.options);
                format!(
                    "from {teacher}, temperature {temperature}, alpha {alpha}: {student}, \
                     {training}{beside}"
                )
            }
            Action::Compress(recipe) => recipe.to_string(),
            Action::Evaluate(Evaluate { split, .. }) => {
                let data = step.data.as_ref().map(|data| data.display().to_string());
                format!("{} ({split})", data.unwrap_or_default())
            }
        }
    }
}

/// A line a step.
impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan();
        let width = plan.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        for (number, step) in plan.iter().enumerate() {
            let PlannedStep { name, kind, what, from, output } = step;
            write!(f, "{:>2}. {name:width$}  {kind}", number + 1)?;
            if let Some(from) = from {
                write!(f, " {from}")?;
            }
            write!(f, ": {what}")?;
            if let Some(output) = output {
                write!(f, " → {}", output.display())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn new(network: &NewNetwork) -> String {
    let NewNetwork { hidden, activation, initializer } = network;
    let sizes: Vec<String> = hidden.iter().map(ToString::to_string).collect();
    let hidden = match &sizes[..] {
        [] => "no hidden layer".to_owned(),
        sizes => format!("hidden {} ({activation})", sizes.join(", ")),
    };
    format!("{hidden}, {initializer}")
}

/// What is most worth knowing of how it trains.
fn training(options: &TrainingOptions) -> String {
    let TrainingOptions { epochs, batch_size, optimizer, learning_rate, decay, .. } = options;
    let mut text = format!(
        "{epochs} epochs in batches of {batch_size}, {optimizer}, learning rate {learning_rate} \
         {decay}"
    );
    let TrainingOptions { limit, pruning, nm, quantize, .. } = options;
    let parts = [
        limit.map(|limit| format!("first {limit} rows")),
        pruning.as_ref().map(ToString::to_string),
        nm.map(|nm| nm.to_string()),
        quantize.map(|quantization| format!("rounded to {quantization}")),
    ];
    parts.into_iter().flatten().for_each(|part| text += &format!(", {part}"));
    text
}
