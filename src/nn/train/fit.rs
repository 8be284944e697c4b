//! The loop over epochs and batches.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::data::TrainData;
use super::options::TrainingOptions;
use super::pruning::Pruning;
use super::running::Running;
use super::state::{State, Task, Teacher};
use crate::error::{Error, Result, TrainProblem};
use crate::io::DataSet;
use crate::nn::network::Network;
use crate::nn::parameters::Parameters;
use crate::nn::{Batches, EpochRecord, History};
use crate::ops::{Backend, Batch, Dropout, Indices, Metrics, Step, Stream, Submitted, Values};

/// Steps that are submitted to a GPU at once.
const STEPS_A_SUBMIT: usize = 16;
/// Rows that validate at once.
const VALIDATION_BATCH: usize = 256;
/// How often whoever watches is told, and with it the metrics are read.
const INTERVAL: Duration = Duration::from_millis(200);

/// A network that is being trained.
///
/// Given the same parameters, data, options and device, training gives the same bytes, and goes on
/// from a checkpoint as if it had not been interrupted.
pub struct Training {
    pub(super) network: Network,
    pub(super) options: TrainingOptions,
    pub(super) backend: Backend,
    pub(super) state: State,
    pub(super) data: TrainData,
    batches: Batches,
    pruning: Option<Pruning>,
    teacher: Option<Taught>,
    x: Values,
    metrics: Metrics,
    pub(super) position: Position,
    pub(super) running: Running,
    pub(super) history: History,
    pub(super) best: Option<Best>,
    /// Whether there is a checkpoint.
    pub(super) saved: bool,
    /// Types and shapes of the parameters.
    pub(super) like: Parameters,
}

/// A teacher's answers.
pub struct Distillation {
    /// Its logits for every row of the data, `[rows, outputs]`.
    pub logits: Vec<f32>,
    /// T: how much both are softened.
    pub temperature: f32,
    /// Weight of the teacher against the labels, from 0 to 1.
    pub alpha: f32,
}

/// [`Distillation`] on the backend.
struct Taught {
    logits: Values,
    temperature: f32,
    alpha: f32,
}

/// How far training has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Epochs that are done.
    pub epoch: u64,
    /// Steps of the next one that are done.
    pub step_in_epoch: usize,
    /// Steps that are done in all.
    pub step: u64,
}

/// The parameters of the epoch with the least validation loss.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub epoch: u64,
    pub loss: f64,
    pub parameters: Parameters,
}

/// What a watcher is told while training goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Some steps are done.
    Steps {
        /// The epoch, from 1.
        epoch: u64,
        /// Rows of it that were seen.
        rows: usize,
        /// Rows that an epoch has.
        rows_an_epoch: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Share of the rows so far that were classified right, each before it was learnt from.
        accuracy: f64,
        /// Steps that are done, and all steps.
        steps: (u64, u64),
    },
    /// An epoch is done.
    Epoch(&'a EpochRecord),
}

/// Is told how far training has come, and may end it.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send + 'a;

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After all epochs or steps.
    Finished,
    /// Because the validation loss had not improved; this epoch, from 1, was the best, and its
    /// parameters are back.
    Early {
        /// The best epoch.
        best: u64,
    },
    /// Because the watcher asked for it. It can go on.
    Interrupted,
}

/// Where checkpoints go.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The file.
    pub path: PathBuf,
    /// Written after so many epochs, and where training is interrupted.
    pub every: u64,
}

impl Training {
    /// Prepares to train `network` from `parameters` on `data`.
    ///
    /// # Errors
    /// A usage error for options that do not go together, [`crate::error::ArrayProblem`] where the
    /// data does not fit the network, or a device error.
    pub fn new(
        backend: &Backend,
        network: Network,
        parameters: Parameters,
        data: DataSet,
        options: TrainingOptions,
    ) -> Result<Self> {
        options.check()?;
        network.check()?;
        let state = State::new(backend, &network, &parameters, &options)?;
        let sizes = (network.inputs(), network.outputs());
        let data = TrainData::new(backend, data, sizes, &options)?;
        let pruning = options.pruning.as_ref().map(|pruning| Pruning::new(pruning, &network));
        let pruning = pruning.transpose()?;
        let shuffled_by = options.shuffle.then_some(options.seed);
        Ok(Self {
            state,
            batches: Batches::new(data.train, options.batch_size, shuffled_by)?,
            x: Values::empty(backend)?,
            metrics: Metrics::new(backend, data.rows)?,
            data,
            pruning,
            backend: backend.clone(),
            network,
            options,
            teacher: None,
            position: Position::default(),
            running: Running::default(),
            history: History::default(),
            best: None,
            saved: false,
            like: parameters,
        })
    }
}

impl Training {
    /// Learns from a teacher as well as from the labels, instead of from the labels alone.
    ///
    /// # Errors
    /// [`TrainProblem::Teacher`] where the teacher has other classes than the network, or rows.
    pub fn teacher(&mut self, teacher: Distillation) -> Result<()> {
        let (rows, classes) = (self.data.rows, self.network.outputs());
        if teacher.logits.len() != rows * classes {
            let found = teacher.logits.len().checked_div(rows).unwrap_or(0);
            return Err(TrainProblem::Teacher { teacher: found, student: classes }.into());
        }
        self.teacher = Some(Taught {
            logits: Values::new(&self.backend, &teacher.logits, (rows, classes))?,
            temperature: teacher.temperature,
            alpha: teacher.alpha,
        });
        Ok(())
    }

    /// What is trained.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The epochs so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The parameters as they are now, in the types of those that training began with.
    ///
    /// # Errors
    /// A device error.
    pub fn parameters(&self) -> Result<Parameters> {
        self.state.parameters(&self.like)
    }

    /// Steps of an epoch, and of the whole training.
    fn steps(&self) -> (usize, u64) {
        let an_epoch = self.batches.per_epoch();
        let all = (an_epoch as u64).saturating_mul(self.options.epochs);
        (an_epoch, self.options.steps.map_or(all, |steps| steps.min(all)))
    }

    /// Trains to the end, or until `watch` breaks.
    ///
    /// # Errors
    /// [`TrainProblem::Diverged`] where a loss is not finite; the last checkpoint then stands.
    /// What a checkpoint's file says, or a device error.
    pub fn run(
        &mut self,
        checkpoints: Option<&Checkpoints>,
        watch: &mut Watch<'_>,
    ) -> Result<Ended> {
        // On a thread of the pool, which the operations of a step need not wake then.
        rayon::scope(|_| self.run_here(checkpoints, watch))
    }

    fn run_here(
        &mut self,
        checkpoints: Option<&Checkpoints>,
        watch: &mut Watch<'_>,
    ) -> Result<Ended> {
        let (_, all) = self.steps();
        while self.position.step < all {
            let flow = self.epoch(watch)?;
            let record = match flow {
                ControlFlow::Continue(record) => record,
                ControlFlow::Break(()) => {
                    if let Some(checkpoints) = checkpoints {
                        self.save(&checkpoints.path)?;
                    }
                    return Ok(Ended::Interrupted);
                }
            };
            if let Some(best) = self.ends_early(&record)? {
                return Ok(Ended::Early { best });
            }
            let due = |every: u64| self.position.epoch.is_multiple_of(every.max(1));
            if let Some(checkpoints) = checkpoints.filter(|c| due(c.every)) {
                self.save(&checkpoints.path)?;
            }
            let _ = watch(Progress::Epoch(&record));
        }
        if let Some(best) = self.best.clone() {
            self.state.set(&self.backend, &best.parameters)?;
        }
        Ok(Ended::Finished)
    }

    /// What is left of an epoch.
    fn epoch(&mut self, watch: &mut Watch<'_>) -> Result<ControlFlow<(), EpochRecord>> {
        let (start, before) = (Instant::now(), self.running.rows);
        let order = self.batches.order(self.position.epoch);
        let on_backend = Indices::new(&self.backend, &order)?;
        let (an_epoch, all) = self.steps();
        let mut pending: Option<Submitted> = None;
        let mut told = Instant::now();
        while self.position.step_in_epoch < an_epoch && self.position.step < all {
            let left =
                (an_epoch - self.position.step_in_epoch).min((all - self.position.step) as usize);
            let submitted = self.submit(left.min(STEPS_A_SUBMIT), &order, &on_backend)?;
            if let Some(before) = pending.replace(submitted) {
                before.wait()?;
            }
            if told.elapsed() >= INTERVAL {
                self.collect()?;
                told = Instant::now();
            }
            if watch(self.progress()).is_break() {
                pending.map_or(Ok(()), Submitted::wait)?;
                self.collect()?;
                return Ok(ControlFlow::Break(()));
            }
        }
        pending.map_or(Ok(()), Submitted::wait)?;
        self.collect()?;
        let record = self.finish_epoch(start, before)?;
        Ok(ControlFlow::Continue(record))
    }

    /// Starts the next `steps` steps.
    fn submit(&mut self, steps: usize, order: &[u32], on_backend: &Indices) -> Result<Submitted> {
        let size = self.options.batch_size;
        let first = self.position.step_in_epoch * size;
        let span = first..(first + steps * size).min(self.data.train);
        let ready = self.data.ready(order, span)?;
        let mut stream = Stream::new(&self.backend);
        let (an_epoch, _) = self.steps();
        for _ in 0..steps {
            let first = self.position.step_in_epoch * size;
            let batch = Batch { order: on_backend, first, rows: size.min(self.data.train - first) };
            let (rate, seed) = (self.options.dropout as f32, self.options.seed);
            let step = self.position.step;
            let dropout = |layer| Dropout { rate, seed, step, layer };
            let task = task(&self.options, &self.data, self.teacher.as_ref());
            let Self { state, x, metrics, pruning, .. } = self;
            if let Some(pruning) = pruning {
                pruning.record(&mut stream, state, step)?;
            }
            if let (0, Some(pattern)) = (step, self.options.nm) {
                state.prune_nm(&mut stream, pattern)?;
            }
            ready.gather(&mut stream, batch, x)?;
            state.forward(&mut stream, x, dropout)?;
            state.backward(&mut stream, x, task, batch, metrics, dropout)?;
            let step = Step {
                number: step + 1,
                learning_rate: self.options.rate_at(step, an_epoch),
                l2: self.options.l2,
                hold_zeros: self.options.holds_zeros(),
            };
            state.update(&mut stream, &self.options.optimizer, &step)?;
            self.position.step += 1;
            self.position.step_in_epoch += 1;
        }
        stream.submit()
    }

    /// Adds the metrics of the rows that were seen since the last time.
    fn collect(&mut self) -> Result<()> {
        let size = self.options.batch_size;
        let seen = (self.position.step_in_epoch * size).min(self.data.train);
        let metrics = self.metrics.read(seen)?;
        let bad = self.running.add(&metrics);
        match bad {
            None => Ok(()),
            Some(row) => {
                let before = self.position.step - self.position.step_in_epoch as u64;
                let step = before + (row / size) as u64 + 1;
                Err(self.diverged(step))
            }
        }
    }

    fn diverged(&self, step: u64) -> Error {
        let (epoch, checkpoint) = (self.position.epoch + 1, self.saved);
        TrainProblem::Diverged { step, epoch, checkpoint }.into()
    }

    fn progress(&self) -> Progress<'static> {
        let (_, all) = self.steps();
        Progress::Steps {
            epoch: self.position.epoch + 1,
            rows: (self.position.step_in_epoch * self.options.batch_size).min(self.data.train),
            rows_an_epoch: self.data.train,
            loss: self.running.loss(),
            accuracy: self.running.accuracy(),
            steps: (self.position.step, all),
        }
    }

    /// Validates, and notes the epoch.
    fn finish_epoch(&mut self, start: Instant, before: usize) -> Result<EpochRecord> {
        let parameters = self.parameters()?;
        if !parameters.are_finite() {
            return Err(self.diverged(self.position.step));
        }
        let seconds = start.elapsed().as_secs_f64();
        let validation = self.validate()?;
        let (an_epoch, _) = self.steps();
        let record = EpochRecord {
            epoch: self.position.epoch + 1,
            step: self.position.step,
            loss: self.running.loss(),
            accuracy: Some(self.running.accuracy()),
            validation_loss: validation.as_ref().map(Running::loss),
            validation_accuracy: validation.as_ref().map(Running::accuracy),
            learning_rate: self.options.rate_at(self.position.step - 1, an_epoch),
            sparsity: parameters.sparsity(),
            rows_per_second: (self.running.rows - before) as f64 / seconds.max(1e-9),
            seconds,
        };
        self.history.epochs.push(record.clone());
        self.running = Running::default();
        self.position.epoch += 1;
        self.position.step_in_epoch = 0;
        Ok(record)
    }

    /// Loss and accuracy on the rows that validate, where there are any.
    fn validate(&mut self) -> Result<Option<Running>> {
        let rows = self.data.train..self.data.rows;
        if rows.is_empty() {
            return Ok(None);
        }
        let order: Vec<u32> = rows.clone().map(|row| row as u32).collect();
        let on_backend = Indices::new(&self.backend, &order)?;
        let mut metrics = Metrics::new(&self.backend, order.len())?;
        for first in (0..order.len()).step_by(VALIDATION_BATCH) {
            let count = VALIDATION_BATCH.min(order.len() - first);
            let batch = Batch { order: &on_backend, first, rows: count };
            let ready = self.data.ready(&order, first..first + count)?;
            let task = task(&self.options, &self.data, self.teacher.as_ref());
            let Self { state, x, .. } = self;
            let mut stream = Stream::new(&self.backend);
            ready.gather(&mut stream, batch, x)?;
            state.forward(&mut stream, x, |_| Dropout::NONE)?;
            state.loss(&mut stream, task, batch, &mut metrics)?;
            stream.finish()?;
        }
        let mut sums = Running::default();
        sums.add(&metrics.read(order.len())?);
        Ok(Some(sums))
    }

    /// The best epoch, from 1, where training ends because the validation loss does not improve
    /// any more; its parameters are then back.
    fn ends_early(&mut self, record: &EpochRecord) -> Result<Option<u64>> {
        let (Some(patience), Some(loss)) = (self.options.patience, record.validation_loss) else {
            return Ok(None);
        };
        // While weights are still being pruned, an epoch is no better for being earlier.
        if self.pruning.as_ref().is_some_and(|pruning| pruning.goes_on(self.position.step)) {
            return Ok(None);
        }
        if self.best.as_ref().is_none_or(|best| loss < best.loss) {
            let parameters = self.parameters()?;
            self.best = Some(Best { epoch: record.epoch, loss, parameters });
        }
        match &self.best {
            Some(best) if record.epoch - best.epoch >= patience => {
                self.state.set(&self.backend, &best.parameters)?;
                Ok(Some(best.epoch))
            }
            _ => Ok(None),
        }
    }
}

fn task<'a>(
    options: &TrainingOptions,
    data: &'a TrainData,
    teacher: Option<&'a Taught>,
) -> Task<'a> {
    Task {
        loss: options.loss,
        labels: &data.labels,
        teacher: teacher.map(|teacher| Teacher {
            logits: &teacher.logits,
            temperature: teacher.temperature,
            alpha: teacher.alpha,
        }),
    }
}
