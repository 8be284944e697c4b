//! Trainings, from what was read to a stored network: what `train`, `finetune` and `distill` do, as
//! commands and as steps.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files::{Files, Resume};
use super::step::{Beginning, Distill, FineTune, NewNetwork, Train};
use super::storage::Storage;
use crate::error::{Error, Result, TrainProblem};
use crate::io::{DataSet, Model, Split, temporary_folder};
use crate::nn::train::{Checkpoints, Distillation, Ended, Progress, Training, TrainingOptions};
use crate::nn::{self, Evaluation, History, Loaded, Network, Origin, Outputs, Parameters};
use crate::ops::Backend;
use crate::scheme::Activation;

/// Labelled data: rows to learn from and, where there are some apart from those, to be judged by.
#[derive(Clone, Debug)]
pub struct Data {
    /// Where it was read.
    pub path: PathBuf,
    /// What is learnt from.
    pub train: DataSet,
    /// What a network is judged by.
    pub test: Option<DataSet>,
}

impl Data {
    /// Reads both parts of the data at `path`.
    ///
    /// # Errors
    /// As [`DataSet::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let (train, test) = (DataSet::open(path, Split::Train)?, DataSet::open_test(path)?);
        Ok(Self { path: path.to_owned(), train, test })
    }
}

/// A network that is there, dense or compressed.
#[derive(Debug)]
pub struct Given {
    /// What holds it.
    pub model: Model,
    /// What it is.
    pub network: Network,
    /// How that is known.
    pub origin: Origin,
}

impl Given {
    /// Opens the model at `path`; `activations` as for [`Network::read`].
    ///
    /// # Errors
    /// As [`Model::open`] and [`Network::read`].
    pub fn open(path: &Path, activations: Option<&[Activation]>) -> Result<Self> {
        let model = Model::open(path)?;
        let (network, origin) = Network::read(&model, activations)?;
        Ok(Self { model, network, origin })
    }
}

/// A training that can begin: all that it needs was read, and fits.
pub struct Job {
    network: Network,
    parameters: Parameters,
    data: Data,
    options: TrainingOptions,
    storage: Storage,
    /// The network that is trained further, to be judged too.
    before: Option<Model>,
    teacher: Option<Teacher>,
}

/// Whom a student learns from, and how.
struct Teacher {
    given: Given,
    temperature: f32,
    alpha: f32,
    baseline: bool,
}

/// What a watcher of a [`Job`] is told.
#[derive(Clone, Copy, Debug)]
pub enum JobProgress<'a> {
    /// It goes on from a checkpoint.
    Resumed {
        /// Epochs that were done.
        epochs: usize,
    },
    /// The training has come so far.
    Training(Progress<'a>),
    /// The training on labels alone, to compare with, has come so far.
    Baseline(Progress<'a>),
}

/// Is told how far a [`Job`] has come, and may interrupt it.
pub type JobWatch<'a> = dyn FnMut(JobProgress<'_>) -> ControlFlow<()> + Send + 'a;

/// What a [`Job`] gave, apart from the network that it stored.
#[derive(Clone, Debug)]
pub struct Trained {
    /// What was trained.
    pub network: Network,
    /// Weights and biases.
    pub parameters: usize,
    /// Share of the weights that are zero, before they are rounded.
    pub sparsity: f64,
    /// How it ended.
    pub ended: Ended,
    /// Each epoch.
    pub history: History,
    /// Wall-clock time of the training in this run.
    pub seconds: f64,
    /// That of earlier runs, which were interrupted.
    pub earlier_seconds: f64,
    /// On the test rows, where there are some; as it was stored.
    pub test: Option<Evaluation>,
    /// The same of the network that was trained further, before that.
    pub before: Option<Evaluation>,
    /// The same of the teacher.
    pub teacher: Option<Evaluation>,
    /// The same of the student that learnt from labels alone.
    pub baseline: Option<Evaluation>,
}

impl NewNetwork {
    /// The network from `inputs` to `outputs` that ends in a softmax, with its first parameters.
    ///
    /// # Errors
    /// [`crate::error::NetworkProblem`] for a layer of no neurons.
    pub fn network(
        &self,
        (inputs, outputs): (usize, usize),
        seed: u64,
    ) -> Result<(Network, Parameters)> {
        let mut network = Network::new();
        let mut before = inputs;
        for (number, neurons) in self.hidden.iter().enumerate() {
            let name = format!("fc{}", number + 1);
            network = network.dense(&name, before, *neurons, self.activation)?;
            before = *neurons;
        }
        let name = format!("fc{}", self.hidden.len() + 1);
        let network = network.dense(&name, before, outputs, Activation::Identity)?.softmax();
        let parameters = network.initial(self.initializer, seed);
        Ok((network, parameters))
    }
}

impl Train {
    /// The training on `data`; `given` is what it begins with, unless it begins with a new network.
    ///
    /// # Errors
    /// A usage error for options that do not go together, or data that does not fit the network.
    pub fn job(&self, given: Option<&Given>, data: Data) -> Result<Job> {
        let (network, parameters) = match (&self.beginning, given) {
            (Beginning::New(new), None) => {
                let sizes = (data.train.inputs.rows().1, data.train.classes());
                new.network(sizes, self.options.seed)?
            }
            (Beginning::Given(_), Some(Given { model, network, .. })) => {
                (network.clone(), Parameters::read(model, network)?)
            }
            _ => return Err(Error::Bug { what: "a training that begins with another network" }),
        };
        Job::new(network, parameters, data, &self.options, None)
    }
}

impl FineTune {
    /// The training of `given` on `data`.
    ///
    /// # Errors
    /// As [`Train::job`].
    pub fn job(&self, given: Given, data: Data) -> Result<Job> {
        let Given { model, network, .. } = given;
        let parameters = Parameters::read(&model, &network)?;
        let options = TrainingOptions { hold_zeros: true, ..self.options.clone() };
        let job = Job::new(network, parameters, data, &options, self.format)?;
        Ok(Job { before: Some(model), ..job })
    }
}

impl Distill {
    /// The training of a student on `data`, with `teacher` as its teacher, whose classes it has.
    ///
    /// # Errors
    /// As [`Train::job`], and [`TrainProblem::Teacher`] where the data has more classes than the
    /// teacher.
    pub fn job(&self, teacher: Given, data: Data) -> Result<Job> {
        let (classes, known) = (data.train.classes(), teacher.network.outputs());
        if classes > known {
            return Err(TrainProblem::Teacher { teacher: known, student: classes }.into());
        }
        let sizes = (data.train.inputs.rows().1, known);
        let (network, parameters) = self.network.network(sizes, self.options.seed)?;
        let mut job = Job::new(network, parameters, data, &self.options, None)?;
        nn::check_inputs(&job.data.train.inputs, teacher.network.inputs())
            .map_err(|error| error.in_file(&job.data.path))?;
        // The teacher need not answer what nobody asks.
        job.data.train.truncate(self.options.limit.unwrap_or(usize::MAX));
        let Self { temperature, alpha, baseline, .. } = *self;
        job.teacher = Some(Teacher { given: teacher, temperature, alpha, baseline });
        Ok(job)
    }
}

impl Job {
    fn new(
        network: Network,
        parameters: Parameters,
        data: Data,
        options: &TrainingOptions,
        format: Option<crate::compress::Format>,
    ) -> Result<Self> {
        options.check()?;
        if let Some(quantization) = &options.quantize {
            let layers = network.layers.iter();
            quantization.check(layers.map(|layer| (&*layer.weight, layer.inputs)))?;
        }
        let storage = Storage::new(&network, options.quantize, format)?;
        let options = options.clone();
        Ok(Self { network, parameters, data, options, storage, before: None, teacher: None })
    }

    /// What is trained.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Rows that are learnt from, those that validate included.
    pub fn rows(&self) -> usize {
        let limit = self.options.limit.unwrap_or(usize::MAX);
        self.data.train.labels.len().min(limit)
    }

    /// Trains, and stores the network. Checkpoints stay until [`Files::remove_checkpoints`].
    ///
    /// # Errors
    /// [`Error::Interrupted`] where `watch` breaks, with a checkpoint then; as [`Training::new`],
    /// [`Training::resume`] and [`Training::run`]; and where the network cannot be written.
    pub fn run(
        self,
        backend: &Backend,
        files: &Files<'_>,
        watch: &mut JobWatch<'_>,
    ) -> Result<Trained> {
        let Self { network, parameters, data, options, storage, before, teacher } = self;
        let Data { path, train, test } = data;
        let in_data = |error: Error| error.in_file(&path);
        let judge = Judge { backend, test: test.as_ref(), path: &path };
        let before = judge.evaluate_some(before.as_ref().map(|model| (model, &network)))?;
        let start = Instant::now();
        let logits = teacher.as_ref().map(|teacher| teacher.answers(backend, &train));
        let again = teacher.as_ref().filter(|teacher| teacher.baseline).map(|_| train.clone());
        let begin = |data| {
            let (network, parameters) = (network.clone(), parameters.clone());
            Training::new(backend, network, parameters, data, options.clone()).map_err(in_data)
        };
        let mut training = begin(train)?;
        if let Some(logits) = logits {
            training.teacher(logits.map_err(in_data)?)?;
        }
        let (ended, earlier) = fit(&mut training, files, watch)?;
        let mut baseline = None;
        if let Some(data) = again {
            // So that an interruption from here on does not undo what is done.
            training.save(&files.checkpoint())?;
            let mut alone = begin(data)?;
            fit(&mut alone, &files.of_baseline(), &mut |now| match now {
                JobProgress::Training(progress) => watch(JobProgress::Baseline(progress)),
                other => watch(other),
            })?;
            let folder = temporary_folder()?;
            let stored = folder.path().join("baseline.safetensors");
            storage.write(&alone.parameters()?, &stored, false)?;
            baseline = judge.evaluate(&Model::open(&stored)?, &network)?;
        }
        let parameters = training.parameters()?;
        storage.write(&parameters, files.output, files.force)?;
        let seconds = start.elapsed().as_secs_f64();
        let given = teacher.as_ref().map(|teacher| &teacher.given);
        Ok(Trained {
            parameters: parameters.count(),
            sparsity: parameters.sparsity(),
            ended,
            history: training.history().clone(),
            seconds,
            earlier_seconds: earlier,
            test: judge.evaluate(&Model::open(files.output)?, &network)?,
            before,
            teacher: judge.evaluate_some(given.map(|given| (&given.model, &given.network)))?,
            baseline,
            network,
        })
    }
}

/// Trains to the end. Gives how it ended, and the seconds that earlier runs took.
fn fit(
    training: &mut Training,
    files: &Files<'_>,
    watch: &mut JobWatch<'_>,
) -> Result<(Ended, f64)> {
    let checkpoint = files.checkpoint();
    let resumed = match files.resume {
        Resume::Never => false,
        Resume::Must => training.resume(&checkpoint).map(|()| true)?,
        Resume::IfThere => match training.resume(&checkpoint) {
            Ok(()) => true,
            Err(Error::Train(
                TrainProblem::NoCheckpoint { .. }
                | TrainProblem::Checkpoint { .. }
                | TrainProblem::Changed { .. },
            )) => false,
            Err(error) => return Err(error),
        },
    };
    let earlier = training.seconds();
    let interrupted = || Error::Interrupted { at: checkpoint.clone(), advice: files.advice };
    if resumed && watch(JobProgress::Resumed { epochs: training.history().epochs.len() }).is_break()
    {
        return Err(interrupted());
    }
    let checkpoints = Checkpoints { path: checkpoint.clone(), every: files.checkpoint_every };
    let watch = &mut |now: Progress<'_>| watch(JobProgress::Training(now));
    match training.run(Some(&checkpoints), watch)? {
        Ended::Interrupted => Err(interrupted()),
        ended => Ok((ended, earlier)),
    }
}

/// Judges networks by the test rows.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub backend: &'a Backend,
    pub test: Option<&'a DataSet>,
    /// Where they were read.
    pub path: &'a Path,
}

impl Judge<'_> {
    /// How the network that `model` holds does; `None` where there are no test rows.
    pub(super) fn evaluate(&self, model: &Model, network: &Network) -> Result<Option<Evaluation>> {
        let Some(test) = self.test else { return Ok(None) };
        let loaded = Loaded::new(self.backend, model, network.clone())?;
        nn::evaluate(&loaded, test, nn::BATCH).map(Some).map_err(|error| error.in_file(self.path))
    }

    fn evaluate_some(&self, given: Option<(&Model, &Network)>) -> Result<Option<Evaluation>> {
        let evaluation = given.map(|(model, network)| self.evaluate(model, network));
        Ok(evaluation.transpose()?.flatten())
    }
}

impl Teacher {
    /// Its logits for every row.
    fn answers(&self, backend: &Backend, data: &DataSet) -> Result<Distillation> {
        let Self { given: Given { model, network, .. }, temperature, alpha, .. } = self;
        let loaded = Loaded::new(backend, model, network.clone())?;
        let inputs = data.inputs.scaled();
        let batches = inputs.chunks(nn::BATCH * network.inputs());
        let logits = batches.map(|x| loaded.forward(x, Outputs::Logits));
        let logits = logits.collect::<Result<Vec<_>>>()?.concat();
        Ok(Distillation { logits, temperature: *temperature, alpha: *alpha })
    }
}
