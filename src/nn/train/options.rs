//! How a network is trained.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, UsageError};
use crate::nn::{Decay, Length, PruningSchedule};
use crate::ops::Optimizer;
use crate::scheme::{NmPattern, QuantScheme};

/// What is made small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// −ln of the probability that softmax gives the label (natural logarithm), for classes.
    #[default]
    SparseCategoricalCrossentropy,
    /// The mean of the squared differences.
    Mse,
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
    /// Whether the layers without a sparsity of their own are pruned too.
    pub others: bool,
    /// Layers that keep all their weights.
    pub exclude: Vec<String>,
}

/// How a network is trained. The defaults are those of Keras: Adam with a learning rate of 0.001
/// on batches of 32.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingOptions {
    /// What is made small.
    pub loss: Loss,
    /// How the weights follow from the gradients.
    pub optimizer: Optimizer,
    /// Learning rate of the first step.
    pub learning_rate: f64,
    /// What becomes of it.
    pub decay: Decay,
    /// Rows a step; the last step of an epoch has what is left.
    pub batch_size: usize,
    /// Times that all rows are seen.
    pub epochs: u64,
    /// Steps after which training ends even so.
    pub steps: Option<u64>,
    /// Learns from the first so many rows of the data set alone.
    pub limit: Option<usize>,
    /// Share of the hidden outputs that become zero in each step.
    pub dropout: f64,
    /// Factor λ of a penalty λ · Σ w² a layer, biases excepted.
    pub l2: f64,
    /// Seed of the order of the rows and of dropout.
    pub seed: u64,
    /// Whether the rows come in another order each epoch.
    pub shuffle: bool,
    /// Share of the rows, the last ones, that are kept apart to validate.
    pub validation_split: f64,
    /// Ends where the validation loss has not improved for so many epochs, and goes back to the
    /// best of those after pruning.
    pub patience: Option<u64>,
    /// Whether weights that are zero stay so.
    pub hold_zeros: bool,
    /// Which weights become zero meanwhile.
    pub pruning: Option<PruneOptions>,
    /// The pattern that the weights of all layers are pruned to before the first step.
    pub nm: Option<NmPattern>,
    /// Layers, by name, that compute with their weights as a scheme rounds them, so that the
    /// network learns to do with those; the gradient goes straight through the rounding (Bengio,
    /// Léonard and Courville 2013).
    pub quantize: BTreeMap<String, QuantScheme>,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            loss: Loss::default(),
            optimizer: Optimizer::ADAM,
            learning_rate: 1e-3,
            decay: Decay::Constant,
            batch_size: 32,
            epochs: 10,
            steps: None,
            limit: None,
            dropout: 0.0,
            l2: 0.0,
            seed: 0,
            shuffle: true,
            validation_split: 0.0,
            patience: None,
            hold_zeros: false,
            pruning: None,
            nm: None,
            quantize: BTreeMap::new(),
        }
    }
}

impl TrainingOptions {
    /// Checks every range, and that the parts go together.
    ///
    /// # Errors
    /// [`UsageError::OutOfRange`] or [`UsageError::Conflict`].
    pub fn check(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let none_or_more = |value: f64| value.is_finite() && value >= 0.0;
        let share = |value: f64| (0.0..1.0).contains(&value);
        let counts = [
            ("--batch-size", Some(self.batch_size as u64)),
            ("--epochs", Some(self.epochs)),
            ("--steps", self.steps),
            ("--limit", self.limit.map(|limit| limit as u64)),
            ("--patience", self.patience),
        ];
        for (what, count) in counts {
            require(what, count != Some(0), 0, "at least 1")?;
        }
        let below_one = "a share from 0 to below 1";
        require("--learning-rate", positive(self.learning_rate), self.learning_rate, "above 0")?;
        require("--dropout", share(self.dropout), self.dropout, below_one)?;
        require("--l2", none_or_more(self.l2), self.l2, "0 or more")?;
        let split = self.validation_split;
        require("--validation-split", share(split), split, below_one)?;
        self.optimizer.validate()?;
        if self.patience.is_some() && split == 0.0 {
            return Err(UsageError::Conflict {
                first: "--patience",
                second: "--validation-split 0",
                advice: "keep some rows back to judge by, for example --validation-split 0.1",
            }
            .into());
        }
        self.quantize.values().try_for_each(QuantScheme::validate)?;
        for sparsity in self.pruning.iter().flat_map(|pruning| pruning.layers.values()) {
            require("--sparsity", share(*sparsity), *sparsity, below_one)?;
        }
        Ok(())
    }

    /// Whether weights that are zero stay so: pruned ones always do.
    pub(super) fn holds_zeros(&self) -> bool {
        self.hold_zeros || self.pruning.is_some() || self.nm.is_some()
    }

    /// The learning rate of step `step`, counted from 0.
    pub(super) fn rate_at(&self, step: u64, steps_per_epoch: usize) -> f64 {
        let length = Length { steps_per_epoch: steps_per_epoch as u64, epochs: self.epochs };
        self.decay.rate(self.learning_rate, step, length)
    }

    /// Every option with its value, for a checkpoint to be compared with.
    pub(super) fn described(&self) -> BTreeMap<String, String> {
        let Self { loss, optimizer, learning_rate, decay, batch_size, epochs, .. } = self;
        let Self { steps, limit, dropout, l2, seed, shuffle, validation_split, patience, .. } =
            self;
        let Self { hold_zeros, pruning, nm, quantize, .. } = self;
        let all = [
            ("loss", loss.to_string()),
            ("optimizer", format!("{optimizer:?}")),
            ("learning rate", learning_rate.to_string()),
            ("learning rate decay", decay.to_string()),
            ("batch size", batch_size.to_string()),
            ("epochs", epochs.to_string()),
            ("steps", format!("{steps:?}")),
            ("row limit", format!("{limit:?}")),
            ("dropout", dropout.to_string()),
            ("L2 factor", l2.to_string()),
            ("seed", seed.to_string()),
            ("shuffling", shuffle.to_string()),
            ("validation split", validation_split.to_string()),
            ("early stopping", format!("{patience:?}")),
            ("held zeros", hold_zeros.to_string()),
            ("pruning", format!("{pruning:?}")),
            ("pattern", format!("{nm:?}")),
            ("quantization", format!("{quantize:?}")),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn require(
    what: &'static str,
    holds: bool,
    value: impl ToString,
    expected: &'static str,
) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(UsageError::OutOfRange { what, value: value.to_string(), expected }.into())
}

impl Loss {
    /// What can be parsed, for messages.
    pub const KNOWN: &str = "sparse-categorical-crossentropy and mse";
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SparseCategoricalCrossentropy => "sparse-categorical-crossentropy",
            Self::Mse => "mse",
        })
    }
}

impl FromStr for Loss {
    type Err = Error;

    /// # Errors
    /// [`UsageError::UnknownName`], which names the known ones.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "sparse-categorical-crossentropy" => Ok(Self::SparseCategoricalCrossentropy),
            "mse" => Ok(Self::Mse),
            _ => {
                let (wanted, known) = (text.to_owned(), Self::KNOWN);
                Err(UsageError::UnknownName { what: "loss", wanted, known }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        let new = TrainingOptions::default;
        new().check().expect("the defaults go together");
        let sgd = |momentum| TrainingOptions {
            optimizer: Optimizer::Sgd { momentum, nesterov: false, weight_decay: 0.0 },
            ..new()
        };
        let adamw =
            |weight_decay| TrainingOptions { optimizer: Optimizer::adam_w(weight_decay), ..new() };
        for (options, part) in [
            (TrainingOptions { batch_size: 0, ..new() }, "--batch-size is 0"),
            (TrainingOptions { epochs: 0, ..new() }, "--epochs is 0"),
            (TrainingOptions { steps: Some(0), ..new() }, "--steps is 0"),
            (TrainingOptions { limit: Some(0), ..new() }, "--limit is 0"),
            (TrainingOptions { learning_rate: 0.0, ..new() }, "--learning-rate is 0"),
            (TrainingOptions { learning_rate: f64::NAN, ..new() }, "--learning-rate is NaN"),
            (TrainingOptions { dropout: 1.0, ..new() }, "--dropout is 1"),
            (TrainingOptions { l2: -1.0, ..new() }, "--l2 is -1"),
            (TrainingOptions { validation_split: 1.0, ..new() }, "--validation-split is 1"),
            (TrainingOptions { patience: Some(2), ..new() }, "--patience does not go with"),
            (sgd(1.0), "the momentum is 1"),
            (adamw(f64::INFINITY), "the weight decay is inf"),
        ] {
            let error = options.check().expect_err(part);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{error}");
        }
        let patient = TrainingOptions { patience: Some(2), validation_split: 0.1, ..new() };
        patient.check().expect("goes together");
        for options in [sgd(0.0), sgd(0.9), adamw(0.0)] {
            options.check().expect("in range");
        }
    }

    #[test]
    fn losses_parse_and_print() {
        for name in ["sparse-categorical-crossentropy", "mse"] {
            assert_eq!(name.parse::<Loss>().expect("known").to_string(), name);
        }
        let loss = "mae".parse::<Loss>().expect_err("unknown").to_string();
        assert!(loss.contains("no loss \"mae\"") && loss.contains(Loss::KNOWN), "{loss}");
    }
}
