//! Following a recipe, from the first step that is not done.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Pipeline;
use super::data::DataSets;
use super::files::{Files, Resume};
use super::job::{Given, JobProgress};
use super::outcome::{Outcome, Report, StepReport};
use super::record::{Finished, Identity, Record, Status};
use super::step::{Action, Evaluate, Source};
use crate::error::{Error, Result, UsageError};
use crate::io::Model;
use crate::ops::Backend;
use crate::scheme::Activation;

/// How a recipe is followed.
#[derive(Clone, Copy, Debug)]
pub struct Following<'a> {
    /// Where it is computed.
    pub backend: &'a Backend,
    /// The steps from this one on, counted from 0, are done again.
    pub again_from: Option<usize>,
    /// Replaces files that are in the way and that no step wrote.
    pub force: bool,
    /// Epochs of a training from one checkpoint to the next.
    pub checkpoint_every: u64,
}

/// What a watcher is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step begins.
    Begins {
        /// Its number, from 0.
        step: usize,
        /// Why it is done.
        status: &'a Status,
    },
    /// The training of this step has come so far.
    Training(JobProgress<'a>),
    /// A step has ended, or was done before.
    Ended {
        /// Its number, from 0.
        step: usize,
        /// What came of it.
        report: &'a StepReport,
    },
}

/// Is told how far it has come, and may interrupt it.
pub type Watch<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + Send + 'a;

impl<'a> Following<'a> {
    /// Does what is not done; with a checkpoint after each epoch.
    pub fn new(backend: &'a Backend) -> Self {
        Self { backend, again_from: None, force: false, checkpoint_every: 1 }
    }

    fn advice(&self) -> &'static str {
        match self.again_from {
            None => "the same command goes on from there",
            Some(_) => "the same command without --from and --restart goes on from there",
        }
    }
}

impl Pipeline {
    /// The number of the step called `name`, from 0.
    ///
    /// # Errors
    /// [`UsageError::UnknownStep`].
    pub fn number_of(&self, name: &str) -> Result<usize> {
        self.steps.iter().position(|step| step.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.steps.iter().map(|step| &*step.name).collect();
            UsageError::UnknownStep { wanted: name.to_owned(), available: names.join(", ") }.into()
        })
    }

    /// Which steps would be done, and why. Reads all that they depend on and writes nothing.
    ///
    /// # Errors
    /// Where files are missing or not valid, or [`Error::Exists`] as for [`Pipeline::run`].
    pub fn statuses(&self, following: &Following<'_>) -> Result<Vec<Status>> {
        let mut run = Run::new(self, following)?;
        for number in 0..self.steps.len() {
            let (status, _) = run.status(number)?;
            let done = match (&status, &self.steps[number].action) {
                (Status::Unchanged, _) | (_, Action::Load { .. }) => run.done_before(number)?,
                _ => None,
            };
            run.done.push(done);
            run.statuses.push(status);
        }
        Ok(run.statuses)
    }

    /// Does the steps that are not done or of which something has changed, in their order.
    ///
    /// Beside the network of each step lies a record with all that it depends on: its options, and
    /// checksums of its data and of the networks that it works on. A step whose record says the
    /// same is not done again. A training that was interrupted goes on from its checkpoint, and
    /// what comes of it is the same as without the interruption.
    ///
    /// # Errors
    /// [`Error::Exists`], before anything is done, where a network would replace a file that no
    /// step wrote; [`Error::Locked`] where another run is writing to the same folder;
    /// [`Error::Interrupted`] where `watch` breaks; and whatever the steps fail with. The steps
    /// that have ended stay done.
    pub fn run(&self, following: &Following<'_>, watch: &mut Watch<'_>) -> Result<Report> {
        self.check_files()?;
        fs::create_dir_all(&self.output).map_err(|source| {
            let advice = "choose an output folder that can be written to";
            Error::Create { path: self.output.clone(), source, advice }
        })?;
        let _lock = lock(&self.output)?;
        let mut run = Run::new(self, following)?;
        let mut steps = vec![];
        for number in 0..self.steps.len() {
            let report = run.step(number, watch)?;
            if watch(Event::Ended { step: number, report: &report }).is_break() {
                return Err(run.interrupted());
            }
            steps.push(report);
        }
        let output = self.output.display().to_string();
        let device = following.backend.name().to_owned();
        Ok(Report { schema_version: 1, output, device, steps })
    }
}

/// Held by one run at a time; `None` where the system does not lock folders.
fn lock(folder: &Path) -> Result<Option<File>> {
    let Ok(file) = File::open(folder) else { return Ok(None) };
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked { path: folder.to_owned() }),
        _ => Ok(Some(file)),
    }
}

/// A recipe that is being followed.
pub(super) struct Run<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) following: &'a Following<'a>,
    pub(super) data: DataSets,
    /// Checksums of the networks that lie at the outputs of the steps.
    found: Vec<Option<u32>>,
    records: Vec<Option<Record>>,
    /// Each step so far: what it gave, where that is known.
    done: Vec<Option<Done>>,
    statuses: Vec<Status>,
    /// Bytes of the first network, dense.
    first_bytes: Option<u64>,
}

/// A network that a step gave.
#[derive(Clone, Debug)]
pub(super) struct Done {
    path: PathBuf,
    activations: Option<Vec<Activation>>,
    checksum: u32,
}

impl Done {
    pub(super) fn open(&self) -> Result<Given> {
        Given::open(&self.path, self.activations.as_deref())
    }
}

impl<'a> Run<'a> {
    /// # Errors
    /// [`Error::Exists`] where a file that no step wrote is in the way.
    fn new(pipeline: &'a Pipeline, following: &'a Following<'a>) -> Result<Self> {
        let (mut found, mut records) = (vec![], vec![]);
        for (number, step) in pipeline.steps.iter().enumerate() {
            let record = Record::open(&Record::path(&pipeline.output, &step.name));
            let path = pipeline.network_path(number);
            let there = path.as_ref().filter(|path| fs::symlink_metadata(path).is_ok());
            let checksum = there.and_then(|path| Model::open(path).ok()?.checksum().ok());
            let own = record.as_ref().is_some_and(|record| match &record.result {
                Some(finished) => finished.checksum == checksum,
                None => true,
            });
            if let (Some(path), false, false) = (there, own, following.force) {
                return Err(Error::Exists { path: path.clone() });
            }
            found.push(checksum);
            records.push(record);
        }
        Ok(Self {
            pipeline,
            following,
            data: DataSets::default(),
            found,
            records,
            done: vec![],
            statuses: vec![],
            first_bytes: None,
        })
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { at: self.pipeline.output.clone(), advice: self.following.advice() }
    }

    /// Does the step, unless it is done.
    fn step(&mut self, number: usize, watch: &mut Watch<'_>) -> Result<StepReport> {
        let (status, identity) = self.status(number)?;
        let kept = self.records[number].take().and_then(|record| record.result);
        let outcome = match kept.filter(|_| status == Status::Unchanged) {
            Some(finished) => {
                let done = self.done_with(number, finished.checksum)?;
                self.done.push(done);
                finished.outcome
            }
            None => {
                if watch(Event::Begins { step: number, status: &status }).is_break() {
                    return Err(self.interrupted());
                }
                self.perform_recorded(number, &status, identity, watch)?
            }
        };
        let figures = outcome.network.as_ref();
        if let (None, Some(figures)) = (self.first_bytes, figures) {
            self.first_bytes = Some(figures.dense_bytes);
        }
        let first = self.first_bytes.map(|bytes| bytes as f64);
        Ok(StepReport {
            planned: self.pipeline.plan_of(number),
            status,
            times_smaller: figures.zip(first).map(|(now, first)| first / now.bytes.max(1) as f64),
            outcome,
        })
    }

    /// Does the step between two records: one claims the files, the other says what came of it.
    fn perform_recorded(
        &mut self,
        number: usize,
        status: &Status,
        identity: Identity,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome> {
        let (pipeline, following) = (self.pipeline, self.following);
        let step = &pipeline.steps[number];
        let path = Record::path(&pipeline.output, &step.name);
        Record::new(identity.clone(), None).write(&path)?;
        let start = Instant::now();
        let output = pipeline.network_path(number).unwrap_or_default();
        let resume = if *status == Status::Asked { Resume::Never } else { Resume::IfThere };
        let mut files = Files::new(&output, resume);
        // Whether it may be replaced was asked before anything was done.
        files.force = true;
        files.checkpoint_every = following.checkpoint_every;
        files.advice = following.advice();
        let mut outcome = self.perform(number, &files, watch)?;
        outcome.seconds += start.elapsed().as_secs_f64();
        outcome.device = following.backend.name().to_owned();
        let written = step.output.as_ref().map(|_| Model::open(&output)?.checksum());
        let checksum = written.transpose()?;
        let outcome = Finished { checksum, outcome };
        let record = Record::new(identity, Some(outcome.clone()));
        record.write(&path)?;
        files.remove_checkpoints();
        let done = self.done_with(number, checksum)?;
        self.done.push(done);
        Ok(outcome.outcome)
    }

    /// Whether the step is done again, and what it depends on, as far as that is known.
    fn status(&mut self, number: usize) -> Result<(Status, Identity)> {
        let step = &self.pipeline.steps[number];
        let sources = step.inputs();
        if let Some(source) = sources.into_iter().find(|source| self.done[*source].is_none()) {
            let name = self.pipeline.steps[source].name.clone();
            return Ok((Status::Follows(name), Identity::new()));
        }
        let identity = self.identity(number)?;
        let asked = self.following.again_from.is_some_and(|from| number >= from);
        let status = match &self.records[number] {
            _ if asked => Status::Asked,
            None => Status::New,
            Some(record) => match (record.change(&identity), &record.result) {
                (Some(change), _) => change,
                (None, None) => Status::Begun,
                (None, Some(finished)) if finished.checksum != self.found[number] => Status::Lost,
                (None, Some(_)) => Status::Unchanged,
            },
        };
        Ok((status, identity))
    }

    /// The network that the step has given, whatever may have to be done.
    fn done_before(&self, number: usize) -> Result<Option<Done>> {
        let finished = self.records[number].as_ref().and_then(|record| record.result.as_ref());
        self.done_with(number, finished.and_then(|finished| finished.checksum))
    }

    fn done_with(&self, number: usize, checksum: Option<u32>) -> Result<Option<Done>> {
        if let Action::Load { model, activations } = &self.pipeline.steps[number].action {
            let checksum = Model::open(model)?.checksum()?;
            let (path, activations) = (model.clone(), activations.clone());
            return Ok(Some(Done { path, activations, checksum }));
        }
        let path = self.pipeline.network_path(number);
        Ok(path.zip(checksum).map(|(path, checksum)| Done { path, activations: None, checksum }))
    }

    pub(super) fn source(&self, source: &Source) -> Result<Done> {
        match source {
            Source::Step(number) => {
                let done = self.done.get(*number).cloned().flatten();
                done.ok_or(Error::Bug { what: "a step before its network" })
            }
            Source::Model(path) => {
                let checksum = Model::open(path)?.checksum()?;
                Ok(Done { path: path.clone(), activations: None, checksum })
            }
        }
    }

    /// All that the step depends on.
    fn identity(&mut self, number: usize) -> Result<Identity> {
        let step = &self.pipeline.steps[number];
        let mut identity = step.described();
        let mut put = |name: &str, value: String| identity.insert(name.to_owned(), value);
        if let Some(from) = step.from {
            put("network", self.source(&Source::Step(from))?.checksum.to_string());
        }
        match (&step.action, step.source()) {
            (Action::Load { model, .. }, _) => {
                put("network", Model::open(model)?.checksum()?.to_string());
            }
            (Action::Distill(_), Some(source)) => {
                put("teacher", self.source(source)?.checksum.to_string());
            }
            (_, Some(source)) => {
                put("first network", self.source(source)?.checksum.to_string());
            }
            _ => {}
        }
        let Some(path) = &step.data else { return Ok(identity) };
        if let Action::Evaluate(Evaluate { split, .. }) = &step.action {
            put("data", self.data.split(path, *split)?.checksum.to_string());
            return Ok(identity);
        }
        if step.trains() {
            put("data", self.data.train(path)?.checksum.to_string());
        }
        if let Some(test) = self.data.test(path)? {
            put("test data", test.checksum.to_string());
        }
        Ok(identity)
    }
}
