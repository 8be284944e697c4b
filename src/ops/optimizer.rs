//! Optimizers: what a step makes of weights, given their gradient.

use std::fmt;
use std::str::FromStr;

use super::linear::stride;
use super::stream::Target;
use super::{Backend, Stream, Values};
use crate::cpu;
use crate::cpu::optimizer::{Adam, Common, Sgd};
use crate::error::{Error, Result, UsageError};
use crate::gpu::Kernel;

const ADAM: Kernel =
    Kernel { file: "optimizer.wgsl", entry: "adam", constants: &[], estimates: false };
const SGD: Kernel = Kernel { entry: "sgd", ..ADAM };

/// An optimizer as Keras 3 defines it. `g` is the gradient, `t` the number of the step from 1.
///
/// Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019): before each step
/// `w −= w · weight_decay · learning_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Kingma and Ba 2015, with epsilon outside the corrected root:
    /// `m += (g − m)(1 − β₁)`, `v += (g² − v)(1 − β₂)`,
    /// `w −= learning_rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)`.
    Adam {
        /// β₁
        beta_1: f64,
        /// β₂
        beta_2: f64,
        /// ε
        epsilon: f64,
        /// 0 for Adam itself; AdamW otherwise.
        weight_decay: f64,
    },
    /// Stochastic gradient descent: `m = momentum · m − learning_rate · g`, `w += m`; with
    /// Nesterov's momentum `w += momentum · m − learning_rate · g`.
    Sgd {
        /// From 0 to 1.
        momentum: f64,
        /// Nesterov's momentum.
        nesterov: bool,
        /// 0 for none.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// Adam with Keras' defaults: β₁ 0.9, β₂ 0.999, ε 1e-7.
    pub const ADAM: Self =
        Self::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay: 0.0 };
    /// [`Optimizer::ADAM`] with Keras' default weight decay, 0.004.
    pub const ADAM_W: Self =
        Self::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay: 0.004 };
    /// Plain gradient descent.
    pub const SGD: Self = Self::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };

    /// [`Optimizer::ADAM_W`] with another weight decay.
    pub const fn adam_w(weight_decay: f64) -> Self {
        Self::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay }
    }

    /// Checks the ranges of its parts.
    ///
    /// # Errors
    /// [`UsageError::OutOfRange`].
    pub fn validate(&self) -> Result<()> {
        let (shares, others) = match *self {
            Self::Adam { beta_1, beta_2, epsilon, weight_decay } => (
                vec![("beta_1", beta_1), ("beta_2", beta_2)],
                [("epsilon", epsilon), ("the weight decay", weight_decay)],
            ),
            Self::Sgd { momentum, weight_decay, .. } => {
                (vec![("the momentum", momentum)], [("the weight decay", weight_decay); 2])
            }
        };
        for (what, value) in shares {
            in_range(what, value, (0.0..1.0).contains(&value), "from 0 to below 1")?;
        }
        for (what, value) in others {
            in_range(what, value, value.is_finite() && value >= 0.0, "a number from 0 on")?;
        }
        Ok(())
    }

    /// Moments of no step yet for weights `[rows, cols]`.
    ///
    /// # Errors
    /// A device error.
    pub fn moments(&self, backend: &Backend, rows: usize, cols: usize) -> Result<Moments> {
        let first = Values::zeros(backend, rows, cols)?;
        let second = match self {
            Self::Adam { .. } => Values::zeros(backend, rows, cols)?,
            Self::Sgd { .. } => Values::empty(backend)?,
        };
        Ok(Moments { first, second })
    }

    fn weight_decay(&self) -> f64 {
        match *self {
            Self::Adam { weight_decay, .. } | Self::Sgd { weight_decay, .. } => weight_decay,
        }
    }
}

impl Optimizer {
    /// What can be parsed, for messages.
    pub const KNOWN: &str = "adam, adamw and sgd";
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adam { weight_decay: 0.0, .. } => f.write_str("adam"),
            Self::Adam { weight_decay, .. } => write!(f, "adamw (weight decay {weight_decay})"),
            Self::Sgd { momentum: 0.0, .. } => f.write_str("sgd"),
            Self::Sgd { momentum, .. } => write!(f, "sgd (momentum {momentum})"),
        }
    }
}

impl FromStr for Optimizer {
    type Err = Error;

    /// The optimizer with Keras' defaults.
    ///
    /// # Errors
    /// [`UsageError::UnknownName`], which names the known ones.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "adam" => Ok(Self::ADAM),
            "adamw" => Ok(Self::ADAM_W),
            "sgd" => Ok(Self::SGD),
            _ => {
                let (wanted, known) = (text.to_owned(), Self::KNOWN);
                Err(UsageError::UnknownName { what: "optimizer", wanted, known }.into())
            }
        }
    }
}

fn in_range(what: &'static str, value: f64, fits: bool, expected: &'static str) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(UsageError::OutOfRange { what, value: value.to_string(), expected }.into())
}

/// What an optimizer remembers of a matrix of weights.
#[derive(Debug)]
pub struct Moments {
    /// Adam: mean of the gradients. SGD: velocity.
    pub first: Values,
    /// Adam: mean of their squares. SGD: empty.
    pub second: Values,
}

/// A step of an optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub number: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Factor λ of the penalty λ · Σ w², as in Keras: adds 2 λ w to the gradient.
    pub l2: f64,
    /// Weights that are zero stay zero, and so do their moments: how pruned weights are held.
    /// Pruning ([`Stream::prune`]) sets weights to zero; no mask is kept beside them, so weights
    /// and moments are all that a checkpoint needs.
    pub hold_zeros: bool,
}

/// The factors of one step.
pub(super) enum Factors {
    Adam(Adam),
    Sgd(Sgd),
}

impl Factors {
    pub(super) fn new(optimizer: &Optimizer, step: &Step) -> Self {
        let rate = step.learning_rate as f32;
        let common = Common {
            l2: (2.0 * step.l2) as f32,
            decay: (optimizer.weight_decay() * step.learning_rate) as f32,
            hold_zeros: step.hold_zeros,
        };
        match *optimizer {
            Optimizer::Adam { beta_1, beta_2, epsilon, .. } => {
                // Keras has the powers of the rounded betas, and 1 - beta before it is rounded.
                let number = i32::try_from(step.number).unwrap_or(i32::MAX);
                let power = |beta: f64| f64::from(beta as f32).powi(number) as f32;
                let corrected = rate * (1.0 - power(beta_2)).sqrt() / (1.0 - power(beta_1));
                Self::Adam(Adam {
                    rate: corrected,
                    first_share: (1.0 - beta_1) as f32,
                    second_share: (1.0 - beta_2) as f32,
                    epsilon: epsilon as f32,
                    common,
                })
            }
            Optimizer::Sgd { momentum, nesterov, .. } => {
                Self::Sgd(Sgd { rate, momentum: momentum as f32, nesterov, common })
            }
        }
    }

    fn common(&self) -> Common {
        match self {
            Self::Adam(Adam { common, .. }) | Self::Sgd(Sgd { common, .. }) => *common,
        }
    }

    fn params(&self, vectors: usize) -> [(&'static str, u32); 9] {
        let (rate, first_share, second_share, epsilon, nesterov) = match *self {
            Self::Adam(Adam { rate, first_share, second_share, epsilon, .. }) => {
                (rate, first_share, second_share, epsilon, false)
            }
            Self::Sgd(Sgd { rate, momentum, nesterov, .. }) => (rate, momentum, 0.0, 0.0, nesterov),
        };
        let Common { l2, decay, hold_zeros } = self.common();
        [
            ("vectors", vectors as u32),
            ("rate", rate.to_bits()),
            ("l2", l2.to_bits()),
            ("decay", decay.to_bits()),
            ("first_share", first_share.to_bits()),
            ("second_share", second_share.to_bits()),
            ("epsilon", epsilon.to_bits()),
            ("nesterov", u32::from(nesterov)),
            ("hold_zeros", u32::from(hold_zeros)),
        ]
    }
}

impl Stream {
    /// Moves `weights` by one step along `gradient`, and `moments` with them; all of one shape.
    ///
    /// # Errors
    /// [`crate::error::FormatProblem::ShapeSize`] where the shapes differ, [`UsageError`] for
    /// factors out of range, or a device error.
    pub fn update(
        &mut self,
        optimizer: &Optimizer,
        step: &Step,
        weights: &mut Values,
        gradient: &Values,
        moments: &mut Moments,
    ) -> Result<()> {
        optimizer.validate()?;
        let (rows, cols) = (weights.rows(), weights.cols());
        let Moments { first, second } = moments;
        gradient.expect(rows, cols)?;
        first.expect(rows, cols)?;
        let factors = Factors::new(optimizer, step);
        match factors {
            Factors::Adam(_) => second.expect(rows, cols)?,
            Factors::Sgd(_) => {}
        }
        match self.target() {
            Target::Cpu => {
                let (w, g, m) = (weights.cpu_mut()?, gradient.cpu()?, first.cpu_mut()?);
                match factors {
                    Factors::Adam(step) => {
                        cpu::optimizer::adam(step, w, g, m, second.cpu_mut()?);
                    }
                    Factors::Sgd(step) => cpu::optimizer::sgd(step, w, g, m),
                }
                Ok(())
            }
            Target::Gpu(recorder) => {
                let vectors = rows * stride(cols) / 4;
                let params = factors.params(vectors);
                let (w, g, m) = (weights.gpu()?, gradient.gpu()?, first.gpu()?);
                match factors {
                    Factors::Adam(_) => {
                        let buffers = [w, g, m, second.gpu()?];
                        recorder.dispatch(&ADAM, &buffers, &params, vectors as u64, 256)
                    }
                    Factors::Sgd(_) => {
                        let params = recorder.params(&SGD, &params)?;
                        let bindings = [(0, w), (1, g), (2, m), (4, &params)];
                        recorder.dispatch_at(&SGD, &bindings, vectors as u64, 256)
                    }
                }
            }
        }
    }
}

/// Moves `weights` by one step along `gradient`, in place, with the moments `first` and `second`,
/// which have as many elements; SGD leaves the second ones alone.
///
/// # Errors
/// As [`Stream::update`].
pub fn update(
    backend: &Backend,
    optimizer: &Optimizer,
    step: &Step,
    weights: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) -> Result<()> {
    let shape = (1, weights.len());
    let mut values = Values::new(backend, weights, shape)?;
    let gradient = Values::new(backend, gradient, shape)?;
    let mut moments = Moments {
        first: Values::new(backend, first, shape)?,
        second: Values::new(backend, second, shape)?,
    };
    let mut stream = Stream::new(backend);
    stream.update(optimizer, step, &mut values, &gradient, &mut moments)?;
    stream.finish()?;
    weights.copy_from_slice(&values.read()?);
    first.copy_from_slice(&moments.first.read()?);
    second.copy_from_slice(&moments.second.read()?);
    Ok(())
}
