//! Losses with their gradients.

use super::linear::{self, stride};
use super::stream::Target;
use super::values::ELSEWHERE;
use super::{Backend, Batch, Indices, Stream, Values};
use crate::cpu;
use crate::error::{Result, UsageError};
use crate::gpu::{Buffer, Gpu, Kernel};

const CROSS_ENTROPY: Kernel =
    Kernel { file: "loss.wgsl", entry: "cross_entropy", constants: &[], estimates: false };
const DISTILLATION: Kernel = Kernel { entry: "distillation", ..CROSS_ENTROPY };
const SQUARED_ERROR: Kernel = Kernel { entry: "squared_error", ..CROSS_ENTROPY };

/// What a network learns from: a loss of its logits `[batch, outputs]`, the mean over the rows of a
/// batch. Labels, targets and the teacher's logits have a row for each of the data set.
#[derive(Clone, Copy, Debug)]
pub enum Loss<'a> {
    /// Of the softmax of the logits: `log Σ exp(x) − x_y`, gradient (p − e_y) / batch.
    CrossEntropy {
        /// Class of each row.
        labels: &'a Indices,
    },
    /// Mean over the outputs of (output − target)², as Keras has it.
    SquaredError {
        /// What the outputs should be.
        targets: Targets<'a>,
        /// Whether the outputs are the softmax of the logits, or the logits themselves.
        softmax: bool,
    },
    /// `(1 − alpha) · cross-entropy + alpha · T² · KL(teacher ‖ student)`, the last of both softmaxes
    /// at temperature T (Hinton, Vinyals and Dean 2015); gradient
    /// ((1 − alpha)(p − e_y) + alpha · T · (p_T − q_T)) / batch.
    Distillation {
        /// Class of each row.
        labels: &'a Indices,
        /// The teacher's logits `[data rows, outputs]`.
        teacher: &'a Values,
        /// T, from 0.01 to 1000.
        temperature: f32,
        /// Weight of the teacher's part, from 0 to 1.
        alpha: f32,
    },
}

/// What the outputs should be.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// 1 for the class of the row, 0 for the others.
    Labels(&'a Indices),
    /// `[data rows, outputs]`
    Dense(&'a Values),
}

/// Loss and prediction of each row of an epoch, in the order of its batches, on a backend.
#[derive(Debug)]
pub struct Metrics {
    rows: usize,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Cpu(Vec<[f32; 2]>),
    Gpu(Gpu, Buffer),
}

/// One row of [`Metrics`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowMetrics {
    /// Its loss; NaN where a logit was not finite.
    pub loss: f32,
    /// Whether the largest logit, the first among equals, is that of the label.
    pub correct: bool,
}

impl Metrics {
    /// For `rows` rows, none of which has a loss yet.
    ///
    /// # Errors
    /// A device error.
    pub fn new(backend: &Backend, rows: usize) -> Result<Self> {
        let held = match backend {
            Backend::Cpu => Held::Cpu(vec![[0.0; 2]; rows]),
            Backend::Gpu(gpu) => {
                let mut recorder = gpu.recorder();
                let buffer = recorder.zeros(rows as u64 * 8)?;
                recorder.run()?;
                Held::Gpu(gpu.clone(), buffer)
            }
        };
        Ok(Self { rows, held })
    }

    /// Reads the first `rows` of them.
    ///
    /// # Errors
    /// A device error.
    pub fn read(&self, rows: usize) -> Result<Vec<RowMetrics>> {
        let rows = rows.min(self.rows);
        let row = |[loss, correct]: &[f32; 2]| RowMetrics { loss: *loss, correct: *correct > 0.0 };
        match &self.held {
            Held::Cpu(metrics) => Ok(metrics[..rows].iter().map(row).collect()),
            Held::Gpu(..) if rows == 0 => Ok(vec![]),
            Held::Gpu(gpu, buffer) => {
                let mut recorder = gpu.recorder();
                recorder.download(buffer, rows * 8)?;
                let bytes = recorder.run()?.downloads.swap_remove(0);
                Ok(bytemuck::pod_collect_to_vec::<u8, [f32; 2]>(&bytes).iter().map(row).collect())
            }
        }
    }

    fn cpu_mut(&mut self) -> Result<&mut [[f32; 2]]> {
        match &mut self.held {
            Held::Cpu(metrics) => Ok(metrics),
            Held::Gpu(..) => Err(ELSEWHERE),
        }
    }

    fn gpu(&self) -> Result<&Buffer> {
        match &self.held {
            Held::Gpu(_, buffer) => Ok(buffer),
            Held::Cpu(_) => Err(ELSEWHERE),
        }
    }
}

impl Loss<'_> {
    /// Fails where it does not fit `classes` outputs of `rows` rows.
    fn check(&self, classes: usize) -> Result<()> {
        let labels = |labels: &Indices| labels.check_labels(classes);
        match *self {
            Self::CrossEntropy { labels: all } => labels(all),
            Self::SquaredError { targets: Targets::Labels(all), .. } => labels(all),
            Self::SquaredError { targets: Targets::Dense(targets), .. } => {
                targets.expect(targets.rows(), classes)
            }
            Self::Distillation { labels: all, teacher, temperature, alpha } => {
                labels(all)?;
                teacher.expect(teacher.rows(), classes)?;
                let refuse = |what, value: f32, expected| {
                    Err(UsageError::OutOfRange { what, value: value.to_string(), expected }.into())
                };
                if !(0.01..=1000.0).contains(&temperature) {
                    return refuse("the temperature", temperature, "from 0.01 to 1000");
                }
                if !(0.0..=1.0).contains(&alpha) {
                    return refuse("alpha", alpha, "from 0 to 1");
                }
                Ok(())
            }
        }
    }

    /// Rows of the data set that it knows.
    fn data_rows(&self) -> usize {
        match *self {
            Self::CrossEntropy { labels } => labels.len(),
            Self::SquaredError { targets: Targets::Labels(labels), .. } => labels.len(),
            Self::SquaredError { targets: Targets::Dense(targets), .. } => targets.rows(),
            Self::Distillation { labels, teacher, .. } => labels.len().min(teacher.rows()),
        }
    }

    fn on_cpu(&self, rows: cpu::loss::Rows<'_>) -> Result<()> {
        match *self {
            Self::CrossEntropy { labels } => cpu::loss::cross_entropy(rows, labels.cpu()?),
            Self::SquaredError { targets, softmax } => {
                let targets = match targets {
                    Targets::Labels(labels) => cpu::loss::Targets::Labels(labels.cpu()?),
                    Targets::Dense(targets) => cpu::loss::Targets::Dense(targets.cpu()?),
                };
                cpu::loss::squared_error(rows, targets, softmax);
            }
            Self::Distillation { labels, teacher, temperature, alpha } => {
                let (labels, teacher) = (labels.cpu()?, teacher.cpu()?);
                cpu::loss::distillation(rows, labels, teacher, temperature, alpha);
            }
        }
        Ok(())
    }
}

impl Stream {
    /// The loss of each row of `batch` from its `logits` `[batch rows, outputs]`: `gradient` becomes
    /// that of the mean over the batch with respect to the logits, and the rows of `metrics` from
    /// `batch.first` on what there is to say of each.
    ///
    /// A row with a logit that is not finite has no loss: its metrics and gradient become NaN.
    ///
    /// # Errors
    /// [`crate::error::ArrayProblem::Label`] for a label beyond the outputs,
    /// [`crate::error::FormatProblem::ShapeSize`] where shapes do not fit,
    /// [`UsageError::OutOfRange`] for a row that is not there or a factor out of range, or a device
    /// error.
    pub fn loss(
        &mut self,
        loss: Loss<'_>,
        logits: &Values,
        batch: Batch<'_>,
        gradient: &mut Values,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let (rows, cols) = (batch.rows, logits.cols());
        logits.expect(rows, cols)?;
        batch.check(loss.data_rows())?;
        loss.check(cols)?;
        if batch.first + rows > metrics.rows {
            return Err(linear::shape_error(&[batch.first + rows, 2], metrics.rows * 2));
        }
        self.reshape(gradient, rows, cols)?;
        let recorder = match self.target() {
            Target::Cpu => {
                let metrics = &mut metrics.cpu_mut()?[batch.first..][..rows];
                let (logits, order, gradient) = (logits.cpu()?, batch.cpu()?, gradient.cpu_mut()?);
                return loss.on_cpu(cpu::loss::Rows { logits, order, gradient, metrics });
            }
            Target::Gpu(recorder) => recorder,
        };
        let (order, logits) = (batch.order.gpu()?, logits.gpu()?);
        // What a kernel does not read is bound to something that it reads anyway.
        let (kernel, labels, others) = match loss {
            Loss::CrossEntropy { labels } => (&CROSS_ENTROPY, labels.gpu()?, None),
            Loss::SquaredError { targets: Targets::Labels(labels), .. } => {
                (&SQUARED_ERROR, labels.gpu()?, Some(logits))
            }
            Loss::SquaredError { targets: Targets::Dense(targets), .. } => {
                (&SQUARED_ERROR, order, Some(targets.gpu()?))
            }
            Loss::Distillation { labels, teacher, .. } => {
                (&DISTILLATION, labels.gpu()?, Some(teacher.gpu()?))
            }
        };
        let params = recorder.params(kernel, &params(&loss, batch, cols))?;
        let mut bindings = vec![(0, logits), (1, order), (2, labels)];
        bindings.extend(others.map(|others| (3, others)));
        bindings.extend([(4, gradient.gpu()?), (5, metrics.gpu()?), (6, &params)]);
        recorder.dispatch_at(kernel, &bindings, rows as u64, 64)
    }
}

fn params(loss: &Loss<'_>, batch: Batch<'_>, cols: usize) -> [(&'static str, u32); 10] {
    let (temperature, alpha) = match *loss {
        Loss::Distillation { temperature, alpha, .. } => (temperature, alpha),
        Loss::CrossEntropy { .. } | Loss::SquaredError { .. } => (1.0, 0.0),
    };
    let softmax = matches!(loss, Loss::SquaredError { softmax: true, .. });
    let dense = matches!(loss, Loss::SquaredError { targets: Targets::Dense(_), .. });
    [
        ("rows", batch.rows as u32),
        ("cols", cols as u32),
        ("stride", stride(cols) as u32),
        ("first", batch.first as u32),
        ("scale", (1.0 / batch.rows as f32).to_bits()),
        ("sharpness", (1.0 / temperature).to_bits()),
        ("temperature", temperature.to_bits()),
        ("alpha", alpha.to_bits()),
        ("softmax", u32::from(softmax)),
        ("dense", u32::from(dense)),
    ]
}

/// What the losses of plain rows give.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLosses {
    /// Of each row.
    pub metrics: Vec<RowMetrics>,
    /// That of the mean over the rows with respect to the logits, `[rows, cols]`.
    pub gradient: Vec<f32>,
}

/// [`Loss::CrossEntropy`] of `logits` `[rows, cols]` with a label for each row.
///
/// # Errors
/// As [`Stream::loss`].
pub fn cross_entropy(
    backend: &Backend,
    logits: &[f32],
    cols: usize,
    labels: &[u32],
) -> Result<RowLosses> {
    let labels = Indices::new(backend, labels)?;
    run(backend, Loss::CrossEntropy { labels: &labels }, logits, cols)
}

/// [`Loss::SquaredError`] of `logits` `[rows, cols]`.
///
/// # Errors
/// As [`Stream::loss`].
pub fn squared_error(
    backend: &Backend,
    logits: &[f32],
    cols: usize,
    targets: cpu::loss::Targets<'_>,
    softmax: bool,
) -> Result<RowLosses> {
    match targets {
        cpu::loss::Targets::Labels(labels) => {
            let labels = Indices::new(backend, labels)?;
            let targets = Targets::Labels(&labels);
            run(backend, Loss::SquaredError { targets, softmax }, logits, cols)
        }
        cpu::loss::Targets::Dense(targets) => {
            let shape = (targets.len().checked_div(cols).unwrap_or(0), cols);
            let targets = Values::new(backend, targets, shape)?;
            let targets = Targets::Dense(&targets);
            run(backend, Loss::SquaredError { targets, softmax }, logits, cols)
        }
    }
}

/// [`Loss::Distillation`] of `logits` `[rows, cols]` with a label and logits of the teacher for each
/// row.
///
/// # Errors
/// As [`Stream::loss`].
pub fn distillation(
    backend: &Backend,
    logits: &[f32],
    cols: usize,
    labels: &[u32],
    teacher: &[f32],
    temperature: f32,
    alpha: f32,
) -> Result<RowLosses> {
    let labels = Indices::new(backend, labels)?;
    let shape = (teacher.len().checked_div(cols).unwrap_or(0), cols);
    let teacher = Values::new(backend, teacher, shape)?;
    let loss = Loss::Distillation { labels: &labels, teacher: &teacher, temperature, alpha };
    run(backend, loss, logits, cols)
}

fn run(backend: &Backend, loss: Loss<'_>, logits: &[f32], cols: usize) -> Result<RowLosses> {
    let rows = logits.len().checked_div(cols).unwrap_or(0);
    let logits = Values::new(backend, logits, (rows, cols))?;
    let order = Indices::new(backend, &(0..rows as u32).collect::<Vec<_>>())?;
    let mut gradient = Values::empty(backend)?;
    let mut metrics = Metrics::new(backend, rows)?;
    let mut stream = Stream::new(backend);
    stream.loss(loss, &logits, Batch::all(&order), &mut gradient, &mut metrics)?;
    stream.finish()?;
    Ok(RowLosses { metrics: metrics.read(rows)?, gradient: gradient.read()? })
}
