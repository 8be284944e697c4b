//! How a network is trained.

use std::fmt;
use std::str::FromStr;

use super::decay::Decay;
use crate::error::{Error, Result, UsageError};

/// What is made small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// −ln of the probability that softmax gives the label (natural logarithm), for classes.
    #[default]
    SparseCategoricalCrossentropy,
    /// The mean of the squared differences.
    Mse,
}

/// How weights follow from gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015) as Keras has it, with β₁ 0.9, β₂ 0.999 and ε 1e-7.
    Adam,
    /// Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019).
    AdamW {
        /// Times the learning rate, the share of each weight that goes at every step.
        weight_decay: f64,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// The share of the last change that is made again.
        momentum: f64,
    },
}

/// How a network is trained, with the defaults of Keras.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingOptions {
    /// What is made small.
    pub loss: Loss,
    /// How weights follow from gradients.
    pub optimizer: Optimizer,
    /// The rate of the first step.
    pub learning_rate: f64,
    /// How it falls.
    pub decay: Decay,
    /// Rows of a step.
    pub batch_size: usize,
    /// Times that every row is learnt from.
    pub epochs: u64,
    /// Ends the training after so many steps, if earlier.
    pub steps: Option<u64>,
    /// Learns from the first so many rows of the data set alone.
    pub limit: Option<usize>,
    /// Share of the outputs of hidden layers that are dropped at a step.
    pub dropout: f64,
    /// Times the sum of squares of the weights, what is added to the loss.
    pub l2: f64,
    /// Share of the rows that are kept back to judge by.
    pub validation_split: f64,
    /// Ends the training after so many epochs in which the validation loss did not fall.
    pub patience: Option<u64>,
    /// Whether rows come in another order in each epoch.
    pub shuffle: bool,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            loss: Loss::default(),
            optimizer: Optimizer::Adam,
            learning_rate: 1e-3,
            decay: Decay::Constant,
            batch_size: 32,
            epochs: 10,
            steps: None,
            limit: None,
            dropout: 0.0,
            l2: 0.0,
            validation_split: 0.0,
            patience: None,
            shuffle: true,
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
        match self.optimizer {
            Optimizer::Adam => {}
            Optimizer::AdamW { weight_decay } => {
                require("--weight-decay", none_or_more(weight_decay), weight_decay, "0 or more")?;
            }
            Optimizer::Sgd { momentum } => {
                require("--momentum", share(momentum), momentum, below_one)?;
            }
        }
        if self.patience.is_some() && split == 0.0 {
            return Err(UsageError::Conflict {
                first: "--patience",
                second: "--validation-split 0",
                advice: "keep some rows back to judge by",
            }
            .into());
        }
        Ok(())
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

impl Optimizer {
    /// What can be parsed, for messages.
    pub const KNOWN: &str = "adam, adamw and sgd";
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adam => f.write_str("adam"),
            Self::AdamW { weight_decay } => write!(f, "adamw (weight decay {weight_decay})"),
            Self::Sgd { momentum: 0.0 } => f.write_str("sgd"),
            Self::Sgd { momentum } => write!(f, "sgd (momentum {momentum})"),
        }
    }
}

impl FromStr for Optimizer {
    type Err = Error;

    /// The optimizer with the weight decay or momentum that Keras gives it: 0.004 and 0.
    ///
    /// # Errors
    /// [`UsageError::UnknownName`], which names the known ones.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "adam" => Ok(Self::Adam),
            "adamw" => Ok(Self::AdamW { weight_decay: 0.004 }),
            "sgd" => Ok(Self::Sgd { momentum: 0.0 }),
            _ => {
                let (wanted, known) = (text.to_owned(), Self::KNOWN);
                Err(UsageError::UnknownName { what: "optimizer", wanted, known }.into())
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
        let sgd = |momentum| TrainingOptions { optimizer: Optimizer::Sgd { momentum }, ..new() };
        let adamw = |weight_decay| TrainingOptions {
            optimizer: Optimizer::AdamW { weight_decay },
            ..new()
        };
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
            (sgd(1.0), "--momentum is 1"),
            (adamw(f64::INFINITY), "--weight-decay is inf"),
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
    fn names_parse_and_print() {
        for name in ["sparse-categorical-crossentropy", "mse"] {
            assert_eq!(name.parse::<Loss>().expect("known").to_string(), name);
        }
        for name in ["adam", "adamw", "sgd"] {
            let printed = name.parse::<Optimizer>().expect("known").to_string();
            assert!(printed.starts_with(name), "{printed}");
        }
        let loss = "mae".parse::<Loss>().expect_err("unknown").to_string();
        assert!(loss.contains("no loss \"mae\"") && loss.contains(Loss::KNOWN), "{loss}");
        let optimizer = "lamb".parse::<Optimizer>().expect_err("unknown").to_string();
        assert!(optimizer.contains(Optimizer::KNOWN), "{optimizer}");
    }
}
