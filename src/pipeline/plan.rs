//! What is going to be done, in words.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Pipeline;
use super::step::{Action, Distill, FineTune, Kind, Step, Student, Teacher, Train};
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
        let name = |number: usize| self.steps[number].name.clone();
        let steps = self.steps.iter().map(|step| PlannedStep {
            name: step.name.clone(),
            kind: step.kind,
            what: self.what(step),
            from: step.from.map(name),
            output: step.output.clone(),
        });
        steps.collect()
    }

    fn what(&self, step: &Step) -> String {
        match &step.action {
            Action::Load { model } => model.display().to_string(),
            Action::Train(train) => training(train),
            Action::FineTune(tuning) => fine_tuning(tuning),
            Action::Distill(distill) => {
                let teacher = match &distill.teacher {
                    Teacher::Step(number) => self.steps[*number].name.clone(),
                    Teacher::Model(path) => path.display().to_string(),
                };
                let Distill { temperature, alpha, baseline, .. } = distill;
                let beside = if *baseline { ", beside the same on labels alone" } else { "" };
                let student = training(&distill.student);
                format!(
                    "from {teacher}, temperature {temperature}, alpha {alpha}: {student}{beside}"
                )
            }
            Action::Compress(recipe) => recipe.to_string(),
            Action::Evaluate(evaluate) => evaluate.data.display().to_string(),
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

fn training(train: &Train) -> String {
    let Student { hidden, activation, init } = &train.network;
    let sizes: Vec<String> = hidden.iter().map(ToString::to_string).collect();
    let hidden = match &sizes[..] {
        [] => "no hidden layer".to_owned(),
        sizes => format!("hidden {} ({activation})", sizes.join(", ")),
    };
    format!("{hidden}, {init}, {}", options(&train.options))
}

fn fine_tuning(tuning: &FineTune) -> String {
    let mut text = options(&tuning.options);
    if let Some(schedule) = &tuning.schedule {
        let scope = if tuning.global { "global" } else { "per tensor" };
        text += &format!(", {schedule} {scope}");
    }
    if let Some(scheme) = &tuning.quantize {
        text += &format!(", rounded to {scheme}");
    }
    text
}

fn options(options: &TrainingOptions) -> String {
    let TrainingOptions { epochs, batch_size, optimizer, learning_rate, decay, .. } = options;
    format!(
        "{epochs} epochs in batches of {batch_size}, {optimizer}, learning rate {learning_rate} \
         {decay}"
    )
}
