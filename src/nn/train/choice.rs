//! Optimizers as people ask for them.

use crate::error::{Result, UsageError};
use crate::ops::Optimizer;

/// An optimizer as people ask for it, on the command line or in a recipe: a name, and what is to be
/// other than Keras has it.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerChoice {
    /// As its name says, with Keras' defaults.
    pub optimizer: Optimizer,
    /// For sgd.
    pub momentum: Option<f64>,
    /// Nesterov's momentum, for sgd with a momentum.
    pub nesterov: bool,
    /// For adamw.
    pub weight_decay: Option<f64>,
}

impl OptimizerChoice {
    /// The optimizer that is asked for, and the learning rate that Keras gives it.
    ///
    /// # Errors
    /// [`UsageError::Conflict`] for what the optimizer does not have, and as
    /// [`Optimizer::validate`].
    pub fn optimizer(&self) -> Result<(Optimizer, f64)> {
        let Self { optimizer, momentum, nesterov, weight_decay } = *self;
        if nesterov && momentum.is_none() {
            return conflict("--nesterov", "no momentum", "add --momentum, for example 0.9");
        }
        let (chosen, rate) = match (optimizer, momentum, weight_decay) {
            (Optimizer::Adam { .. }, Some(_), _) => {
                return conflict("--momentum", "this --optimizer", "it is for --optimizer sgd");
            }
            (Optimizer::Adam { weight_decay: 0.0, .. } | Optimizer::Sgd { .. }, _, Some(_)) => {
                let advice = "it is for --optimizer adamw; --l2 goes with all";
                return conflict("--weight-decay", "this --optimizer", advice);
            }
            (Optimizer::Adam { .. }, _, Some(decay)) => (Optimizer::adam_w(decay), 1e-3),
            (Optimizer::Adam { .. }, ..) => (optimizer, 1e-3),
            (Optimizer::Sgd { weight_decay, .. }, ..) => {
                let momentum = momentum.unwrap_or(0.0);
                (Optimizer::Sgd { momentum, nesterov, weight_decay }, 1e-2)
            }
        };
        chosen.validate()?;
        Ok((chosen, rate))
    }
}

fn conflict<T>(first: &'static str, second: &'static str, advice: &'static str) -> Result<T> {
    Err(UsageError::Conflict { first, second, advice }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_keras_has_it() {
        let new = |name: &str| OptimizerChoice {
            optimizer: name.parse().expect("known"),
            momentum: None,
            nesterov: false,
            weight_decay: None,
        };
        let sgd = |momentum, nesterov| Optimizer::Sgd { momentum, nesterov, weight_decay: 0.0 };
        let momentum = Some(0.5);
        for (choice, expected, rate) in [
            (new("adam"), Optimizer::ADAM, 1e-3),
            (new("adamw"), Optimizer::ADAM_W, 1e-3),
            (new("sgd"), Optimizer::SGD, 1e-2),
            (
                OptimizerChoice { weight_decay: Some(0.5), ..new("adamw") },
                Optimizer::adam_w(0.5),
                1e-3,
            ),
            (OptimizerChoice { momentum, ..new("sgd") }, sgd(0.5, false), 1e-2),
            (OptimizerChoice { momentum, nesterov: true, ..new("sgd") }, sgd(0.5, true), 1e-2),
        ] {
            assert_eq!(choice.optimizer().expect("goes together"), (expected, rate));
        }
        for (choice, word) in [
            (OptimizerChoice { momentum, ..new("adam") }, "--momentum"),
            (OptimizerChoice { momentum, ..new("adamw") }, "--momentum"),
            (OptimizerChoice { nesterov: true, ..new("sgd") }, "--nesterov"),
            (OptimizerChoice { weight_decay: Some(0.1), ..new("adam") }, "--weight-decay"),
            (OptimizerChoice { weight_decay: Some(0.1), ..new("sgd") }, "--weight-decay"),
            (OptimizerChoice { momentum: Some(1.0), ..new("sgd") }, "momentum is 1"),
        ] {
            let error = choice.optimizer().expect_err(word);
            assert!(error.exit_code() == 2 && error.to_string().contains(word), "{error}");
        }
    }
}
