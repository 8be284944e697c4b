//! What the steps so far have come to.

use super::fields::Fields;
use super::step::{Action, Step};
use crate::compress::Format;
use crate::error::{PipelineProblem, Result};

/// The steps so far, and what their networks are.
#[derive(Default)]
pub(super) struct Chain {
    pub steps: Vec<Step>,
    networks: Vec<Network>,
}

/// What a step gives.
#[derive(Clone, Debug)]
struct Network {
    /// The step that makes it; another than the one that gives it where that only measures.
    step: usize,
    /// How it is stored where that is not dense, as far as the recipe tells.
    stored: Option<Stored>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stored {
    Codes,
    Bitmask,
}

impl Chain {
    /// The step that makes the network that the step called `name` gives.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let step = self.steps.iter().position(|step| step.name == name)?;
        Some(self.networks[step].step)
    }

    /// The step that makes the network that the step `fields` works on: that of `from`, or of the
    /// step before.
    pub(super) fn network(&self, fields: &mut Fields<'_>) -> Result<usize> {
        let Some(name) = fields.take::<String>("from")? else {
            let (place, owner) = (fields.place(), fields.owner.clone());
            let last = self.networks.last().map(|network| network.step);
            return last.ok_or_else(|| PipelineProblem::NoNetwork { place, owner }.into());
        };
        self.find(&name).ok_or_else(|| {
            let (place, known) = (fields.place_of("from"), self.known());
            PipelineProblem::NoSuchStep { place, name, known }.into()
        })
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.steps.iter().map(|step| &*step.name).collect();
        if names.is_empty() {
            return "it is the first".to_owned();
        }
        format!("there are {}", names.join(", "))
    }

    /// Adds a step, which may not want dense weights where there are none.
    pub(super) fn push(&mut self, fields: &Fields<'_>, step: Step) -> Result<()> {
        if let Some(from) = step.from
            && let Some(stored) = &self.networks[from].stored
            && let Some(advice) = objection(&step, stored)
        {
            return Err(PipelineProblem::Stored {
                place: fields.place(),
                owner: fields.owner.clone(),
                from: self.steps[from].name.clone(),
                stored: match stored {
                    Stored::Codes => "codes".to_owned(),
                    Stored::Bitmask => "bit masks".to_owned(),
                },
                advice,
            }
            .into());
        }
        let own = self.steps.len();
        self.networks.push(match (&step.action, step.from) {
            (Action::Evaluate(_), Some(from)) => self.networks[from].clone(),
            (Action::Compress(recipe), _) => {
                let stored = match recipe.output_format() {
                    Format::Dense => None,
                    Format::CompressedTensors => Some(Stored::Codes),
                    Format::SparseBitmask => Some(Stored::Bitmask),
                };
                Network { step: own, stored }
            }
            _ => Network { step: own, stored: None },
        });
        self.steps.push(step);
        Ok(())
    }
}

/// Why `step` does not work on weights that are stored so, if it does not: what to do.
fn objection(step: &Step, stored: &Stored) -> Option<&'static str> {
    match &step.action {
        Action::Compress(_) => Some("put this step before that one"),
        Action::FineTune(tuning) if *stored == Stored::Codes && tuning.quantize.is_none() => Some(
            "put this step before that one, or train with rounded weights, for example with \
             quantize = \"int4\"",
        ),
        _ => None,
    }
}
