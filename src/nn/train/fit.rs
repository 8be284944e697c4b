//! The loop over epochs and batches.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use flate2::Crc;

use super::data::TrainData;
use super::options::TrainingOptions;
use super::pruning::Pruning;
use super::running::Running;
use super::state::{State, Task, Teacher};
use super::validate::Best;
use super::watch::{Checkpoints, Ended, Progress, Watch};
use crate::error::{Error, Result, TrainProblem};
use crate::io::DataSet;
use crate::nn::network::Network;
use crate::nn::parameters::Parameters;
use crate::nn::{Batches, EpochRecord, History};
use crate::ops::{Backend, Batch, Dropout, Indices, Metrics, Step, Stream, Submitted, Values};

/// Steps that are submitted to a GPU at once.
const STEPS_A_SUBMIT: usize = 16;
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
    pub(super) pruning: Option<Pruning>,
    pub(super) teacher: Option<Taught>,
    pub(super) x: Values,
    metrics: Metrics,
    pub(super) position: Position,
    pub(super) running: Running,
    pub(super) history: History,
    pub(super) best: Option<Best>,
    /// Whether there is a checkpoint.
    pub(super) saved: bool,
    /// Seconds that earlier runs took for the epoch that is not done.
    pub(super) spent: f64,
    /// Checksum of the parameters that training began with.
    pub(super) beginning: u32,
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
pub(super) struct Taught {
    logits: Values,
    temperature: f32,
    alpha: f32,
    /// Of the logits, to know them again.
    checksum: u32,
}

/// "temperature 2, alpha 0.9, logits 1234567890"
impl fmt::Display for Taught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { temperature, alpha, checksum, .. } = self;
        write!(f, "temperature {temperature}, alpha {alpha}, logits {checksum}")
    }
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
            spent: 0.0,
            beginning: parameters.checksum(),
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
        let mut crc = Crc::new();
        crc.update(bytemuck::cast_slice(&teacher.logits));
        self.teacher = Some(Taught {
            checksum: crc.sum(),
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

    /// Seconds that the steps so far took, those before a checkpoint included.
    pub fn seconds(&self) -> f64 {
        self.history.epochs.iter().map(|epoch| epoch.seconds).sum::<f64>() + self.spent
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
        let start = Instant::now();
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
                self.spent += start.elapsed().as_secs_f64();
                return Ok(ControlFlow::Break(()));
            }
        }
        pending.map_or(Ok(()), Submitted::wait)?;
        self.collect()?;
        let record = self.finish_epoch(start)?;
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
    fn finish_epoch(&mut self, start: Instant) -> Result<EpochRecord> {
        let parameters = self.parameters()?;
        if !parameters.are_finite() {
            return Err(self.diverged(self.position.step));
        }
        let seconds = std::mem::take(&mut self.spent) + start.elapsed().as_secs_f64();
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
            rows_per_second: self.running.rows as f64 / seconds.max(1e-9),
            seconds,
        };
        self.history.epochs.push(record.clone());
        self.running = Running::default();
        self.position.epoch += 1;
        self.position.step_in_epoch = 0;
        Ok(record)
    }
}

pub(super) fn task<'a>(
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
