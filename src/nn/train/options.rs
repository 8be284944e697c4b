//! How a network is trained.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::error::{Result, UsageError};
use crate::nn::{Decay, Length, PruningSchedule};
use crate::ops::Optimizer;
use crate::scheme::QuantScheme;

/// What is made small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// Cross-entropy of the softmax of the outputs with the labels.
    #[default]
    CrossEntropy,
    /// Mean of the squared differences of the outputs from 1 for the label and 0 for the rest.
    SquaredError,
}

/// Which weights become zero while a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneOptions {
    /// How many at which step, counted from 0.
    pub schedule: PruningSchedule,
    /// The smallest of all layers together, instead of those of each.
    pub global: bool,
    /// Layers with a sparsity of their own: the schedule's values are scaled so that it ends there.
    pub layers: BTreeMap<String, f64>,
    /// Layers that keep all their weights.
    pub exclude: Vec<String>,
}

/// How a network is trained. The defaults are those of Keras: Adam with a learning rate of 0.001
/// on batches of 32.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// What is made small.
    pub objective: Objective,
    /// How the weights follow from the gradients.
    pub optimizer: Optimizer,
    /// Learning rate of the first step.
    pub learning_rate: f64,
    /// What becomes of it.
    pub decay: Decay,
    /// Rows a step; the last step of an epoch has what is left.
    pub batch_size: usize,
    /// Times that all rows are seen.
    pub epochs: usize,
    /// Steps after which training ends even so.
    pub steps: Option<u64>,
    /// Share of the hidden outputs that become zero in each step.
    pub dropout: f32,
    /// Factor λ of a penalty λ · Σ w² a layer, biases excepted.
    pub l2: f64,
    /// Seed of the order of the rows and of dropout.
    pub seed: u64,
    /// Whether the rows come in another order each epoch.
    pub shuffle: bool,
    /// Share of the rows, the last ones, that are kept apart to validate.
    pub validation_split: f64,
    /// Ends where the validation loss has not improved for so many epochs, and goes back to the
    /// best.
    pub patience: Option<usize>,
    /// Whether weights that are zero stay so.
    pub hold_zeros: bool,
    /// Which weights become zero meanwhile.
    pub pruning: Option<PruneOptions>,
    /// Computes with weights as this scheme rounds them, so that the network learns to do with
    /// them; the gradient goes straight through the rounding (Bengio, Léonard and Courville 2013).
    pub quantize: Option<QuantScheme>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            objective: Objective::CrossEntropy,
            optimizer: Optimizer::ADAM,
            learning_rate: 1e-3,
            decay: Decay::Constant,
            batch_size: 32,
            epochs: 10,
            steps: None,
            dropout: 0.0,
            l2: 0.0,
            seed: 0,
            shuffle: true,
            validation_split: 0.0,
            patience: None,
            hold_zeros: false,
            pruning: None,
            quantize: None,
        }
    }
}

fn in_range<T: PartialOrd + ToString>(
    what: &'static str,
    value: T,
    range: RangeInclusive<T>,
    expected: &'static str,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(UsageError::OutOfRange { what, value: value.to_string(), expected }.into())
}

impl TrainOptions {
    /// Checks that each is in its range and that they go together.
    ///
    /// # Errors
    /// A [`UsageError`].
    pub fn validate(&self) -> Result<()> {
        self.optimizer.validate()?;
        let below_1 = 1.0_f64.next_down();
        in_range("--learning-rate", self.learning_rate, f64::MIN_POSITIVE..=1e6, "above 0")?;
        in_range("--batch-size", self.batch_size, 1..=1 << 24, "from 1 to 16777216")?;
        in_range("--epochs", self.epochs, 1..=1 << 30, "at least 1")?;
        in_range("--steps", self.steps.unwrap_or(1), 1..=u64::MAX, "at least 1")?;
        in_range("--dropout", self.dropout, 0.0..=1.0_f32.next_down(), "from 0 to below 1")?;
        in_range("--l2", self.l2, 0.0..=1e6, "from 0 on")?;
        in_range("--validation-split", self.validation_split, 0.0..=below_1, "from 0 to below 1")?;
        if self.patience.is_some() && self.validation_split == 0.0 {
            return Err(UsageError::Conflict {
                first: "--early-stopping",
                second: "training on all rows",
                advice: "add --validation-split, for example 0.1, so that there is a validation loss",
            }
            .into());
        }
        if let Some(scheme) = &self.quantize {
            scheme.validate()?;
        }
        if let Some(pruning) = &self.pruning {
            for share in pruning.layers.values() {
                in_range("--sparsity", *share, 0.0..=below_1, "a share from 0 to below 1")?;
            }
        }
        Ok(())
    }

    /// The learning rate of step `step`, counted from 0.
    pub(super) fn rate_at(&self, step: u64, steps_per_epoch: usize) -> f64 {
        let length =
            Length { steps_per_epoch: steps_per_epoch as u64, epochs: self.epochs as u64 };
        self.decay.rate(self.learning_rate, step, length)
    }

    /// Every option with its value, for a checkpoint to be compared with.
    pub(super) fn described(&self) -> BTreeMap<String, String> {
        let Self { objective, optimizer, learning_rate, decay, batch_size, epochs, .. } = self;
        let Self { steps, dropout, l2, seed, shuffle, validation_split, patience, .. } = self;
        let Self { hold_zeros, pruning, quantize, .. } = self;
        let all = [
            ("loss", format!("{objective:?}")),
            ("optimizer", format!("{optimizer:?}")),
            ("learning rate", learning_rate.to_string()),
            ("learning rate decay", decay.to_string()),
            ("batch size", batch_size.to_string()),
            ("epochs", epochs.to_string()),
            ("steps", format!("{steps:?}")),
            ("dropout", dropout.to_string()),
            ("L2 factor", l2.to_string()),
            ("seed", seed.to_string()),
            ("shuffling", shuffle.to_string()),
            ("validation split", validation_split.to_string()),
            ("early stopping", format!("{patience:?}")),
            ("held zeros", hold_zeros.to_string()),
            ("pruning", format!("{pruning:?}")),
            ("quantization", format!("{quantize:?}")),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
