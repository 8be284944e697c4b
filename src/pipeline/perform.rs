//! What each kind of step does.

use super::files::Files;
use super::job::{Data, Given, Job, Judge};
use super::outcome::{Figures, Outcome, Score, TrainingOutcome};
use super::run::{Event, Run, Watch};
use super::step::{Action, Evaluate, Source, Step};
use crate::error::{Error, Result};
use crate::nn::{self, Loaded, Network};

impl Run<'_> {
    /// Does the step, and measures what comes of it.
    pub(super) fn perform(
        &mut self,
        number: usize,
        files: &Files<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome> {
        let step = &self.pipeline.steps[number];
        let from = step.from.map(|from| self.source(&Source::Step(from))?.open()).transpose()?;
        let source = step.source().map(|source| self.source(source)?.open()).transpose()?;
        let job = match (&step.action, from, source) {
            (Action::Train(train), _, given) => train.job(given.as_ref(), self.both(step)?)?,
            (Action::Distill(distill), _, Some(teacher)) => {
                distill.job(teacher, self.both(step)?)?
            }
            (Action::FineTune(tuning), Some(given), _) => tuning.job(given, self.both(step)?)?,
            (Action::Load { model, activations }, ..) => {
                return self.measure(step, &Given::open(model, activations.as_deref())?);
            }
            (Action::Compress(recipe), Some(given), _) => {
                let description = given.network.to_json();
                let recipe = recipe.clone().force(true).metadata(Network::KEY, description);
                recipe.compress(&given.model, files.output, self.following.backend)?;
                return self.measure(step, &Given::open(files.output, None)?);
            }
            (Action::Evaluate(evaluate), Some(given), _) => {
                return self.evaluate(step, evaluate, given);
            }
            _ => return Err(Error::Bug { what: "a step without its network" }),
        };
        self.train(job, files, watch)
    }

    fn both(&mut self, step: &Step) -> Result<Data> {
        let path = step.data.as_ref().ok_or(Error::Bug { what: "a training without data" })?;
        self.data.both(path)
    }

    fn train(&self, job: Job, files: &Files<'_>, watch: &mut Watch<'_>) -> Result<Outcome> {
        let trained =
            job.run(self.following.backend, files, &mut |now| watch(Event::Training(now)))?;
        let given = Given::open(files.output, None)?;
        Ok(Outcome {
            // The time of this run is added to it.
            seconds: trained.earlier_seconds,
            network: Some(Figures::of(&given.model, &given.network)?),
            test: trained.test.as_ref().map(Score::from),
            baseline: trained.baseline.as_ref().map(Score::from),
            training: Some(TrainingOutcome::from(&trained)),
            ..Outcome::default()
        })
    }

    /// The figures of a network, and how it does on the test rows.
    fn measure(&mut self, step: &Step, given: &Given) -> Result<Outcome> {
        let backend = self.following.backend;
        let path = step.data.clone().unwrap_or_default();
        let test = if step.data.is_some() { self.data.test(&path)? } else { None };
        let judge = Judge { backend, test: test.map(|known| &known.data), path: &path };
        Ok(Outcome {
            network: Some(Figures::of(&given.model, &given.network)?),
            test: judge.evaluate(&given.model, &given.network)?.as_ref().map(Score::from),
            ..Outcome::default()
        })
    }

    fn evaluate(&mut self, step: &Step, evaluate: &Evaluate, given: Given) -> Result<Outcome> {
        let path = step.data.as_ref().ok_or(Error::Bug { what: "an evaluation without data" })?;
        let data = self.data.split(path, evaluate.split)?;
        let loaded = Loaded::new(self.following.backend, &given.model, given.network)?;
        let evaluation = nn::evaluate(&loaded, &data.data, evaluate.batch_size)
            .map_err(|error| error.in_file(path))?;
        Ok(Outcome { test: Some(Score::from(&evaluation)), ..Outcome::default() })
    }
}
