//! How the learning rate falls while a network is trained.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use super::schedule_text::ScheduleText;
use crate::error::{Error, Result};

/// How the learning rate falls from the initial one, r₀.
///
/// Text and value go both ways:
///
/// ```
/// use tensorpress::nn::{Decay, Length};
/// let length = Length { steps_per_epoch: 100, epochs: 10 };
/// let decay: Decay = "linear:0.0001".parse()?;
/// assert_eq!(decay.rate(0.001, 500, length), 0.00055);
/// assert_eq!("cosine".parse::<Decay>()?.to_string(), "cosine");
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decay {
    /// `constant`: r₀.
    #[default]
    Constant,
    /// `linear:TO`: r₀ + (TO − r₀) t / T at step t of T (Keras's `PolynomialDecay` of power 1).
    Linear {
        /// The rate that the end would have.
        to: f64,
    },
    /// `cosine`: r₀ (1 + cos(π t / T)) / 2 (Loshchilov and Hutter 2017; Keras's `CosineDecay`).
    Cosine,
    /// `step:EVERY:FACTOR`: r₀ · FACTOR^⌊e / EVERY⌋ in epoch e, from 0 (PyTorch's `StepLR`).
    Step {
        /// Epochs from one fall to the next.
        every: u64,
        /// Above 0, at most 1.
        factor: f64,
    },
    /// `exponential:FACTOR`: r₀ · FACTOR^(t / n), n being the steps of an epoch (Keras's
    /// `ExponentialDecay`).
    Exponential {
        /// What an epoch leaves of the rate: above 0, at most 1.
        factor: f64,
    },
}

/// How long a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Epochs in all.
    pub epochs: u64,
}

impl Decay {
    /// What can be parsed, for messages.
    pub const FORM: &str =
        "write constant, linear:TO, cosine, step:EVERY:FACTOR or exponential:FACTOR";

    /// The learning rate of `step`, counted from 0, where the initial one is `initial`.
    pub fn rate(&self, initial: f64, step: u64, length: Length) -> f64 {
        let steps_per_epoch = length.steps_per_epoch.max(1);
        let all = steps_per_epoch.saturating_mul(length.epochs).max(1);
        let share = (step as f64 / all as f64).min(1.0);
        // libm's functions, because they give the same digits on every system.
        match *self {
            Self::Constant => initial,
            Self::Linear { to } => initial + (to - initial) * share,
            Self::Cosine => initial * (1.0 + libm::cos(PI * share)) / 2.0,
            Self::Step { every, factor } => {
                let falls = step / steps_per_epoch / every.max(1);
                initial * libm::pow(factor, falls as f64)
            }
            Self::Exponential { factor } => {
                initial * libm::pow(factor, step as f64 / steps_per_epoch as f64)
            }
        }
    }
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Linear { to } => write!(f, "linear:{to}"),
            Self::Cosine => f.write_str("cosine"),
            Self::Step { every, factor } => write!(f, "step:{every}:{factor}"),
            Self::Exponential { factor } => write!(f, "exponential:{factor}"),
        }
    }
}

impl FromStr for Decay {
    type Err = Error;

    /// # Errors
    /// [`crate::error::UsageError::Schedule`], which says what is wrong and what can be written.
    fn from_str(given: &str) -> Result<Self> {
        let (kind, mut text) = ScheduleText::new(given, Self::FORM);
        let decay = match kind {
            "constant" => Self::Constant,
            "linear" => Self::Linear { to: text.number("TO")? },
            "cosine" => Self::Cosine,
            "step" => Self::Step { every: text.number("EVERY")?, factor: text.number("FACTOR")? },
            "exponential" => Self::Exponential { factor: text.number("FACTOR")? },
            _ => return Err(text.problem(format!("there is no decay {kind:?}"))),
        };
        text.end()?;
        match decay {
            Self::Linear { to } if !(to.is_finite() && to >= 0.0) => {
                Err(text.problem(format!("TO is {to}, and a rate of 0 or more was expected")))
            }
            Self::Step { every: 0, .. } => {
                Err(text.problem("EVERY is 0, and at least 1 epoch was expected".to_owned()))
            }
            Self::Step { factor, .. } | Self::Exponential { factor }
                if !(factor > 0.0 && factor <= 1.0) =>
            {
                Err(text.problem(format!("FACTOR is {factor}, and 0 < FACTOR ≤ 1 was expected")))
            }
            decay => Ok(decay),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Decay {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn rates_by_hand() {
        let length = Length { steps_per_epoch: 4, epochs: 5 };
        let cases: [(&str, [f64; 5]); 6] = [
            ("constant", [0.8, 0.8, 0.8, 0.8, 0.8]),
            ("linear:0", [0.8, 0.64, 0.4, 0.2, 0.0]),
            ("linear:0.4", [0.8, 0.72, 0.6, 0.5, 0.4]),
            (
                "cosine",
                [0.8, 0.4 * (1.0 + (PI / 5.0).cos()), 0.4, 0.4 * (1.0 - 0.5_f64.sqrt()), 0.0],
            ),
            ("step:2:0.5", [0.8, 0.8, 0.4, 0.4, 0.2]),
            ("exponential:0.25", [0.8, 0.2, 0.8 / 32.0, 0.8 * 0.25_f64.powf(3.75), 0.8 / 1024.0]),
        ];
        for (text, expected) in cases {
            for (step, expected) in [0, 4, 10, 15, 20].into_iter().zip(expected) {
                let rate = parsed(text).rate(0.8, step, length);
                assert!(
                    (rate - expected).abs() < 1e-15,
                    "{text} at {step}: {rate}, not {expected}"
                );
            }
        }
        // Beyond the end, and of no length at all, rates stay rates.
        for text in ["constant", "linear:0", "cosine", "step:2:0.5", "exponential:0.25"] {
            let rate = parsed(text).rate(0.8, 99, length);
            assert!((0.0..=0.8).contains(&rate), "{text}: {rate}");
            let none = Length { steps_per_epoch: 0, epochs: 0 };
            assert_eq!(parsed(text).rate(0.8, 0, none), 0.8, "{text}");
        }
    }

    #[test]
    fn errors_teach() {
        for (text, expected) in [
            ("", "no decay \"\""),
            ("sqrt", "no decay \"sqrt\""),
            ("constant:1", "\"1\" is one number too many"),
            ("linear", "TO is missing"),
            ("linear:-1", "TO is -1"),
            ("linear:inf", "TO is inf"),
            ("step:0:0.5", "EVERY is 0"),
            ("step:2", "FACTOR is missing"),
            ("step:2.5:0.5", "EVERY is \"2.5\""),
            ("step:2:1.5", "FACTOR is 1.5"),
            ("exponential:0", "FACTOR is 0"),
            ("exponential:NaN", "FACTOR is NaN"),
        ] {
            let error = text.parse::<Decay>().expect_err(text);
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            for part in [expected, Decay::FORM] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }

    fn decays() -> impl Strategy<Value = Decay> {
        prop_oneof![
            Just(Decay::Constant),
            Just(Decay::Cosine),
            (0.0..1.0_f64).prop_map(|to| Decay::Linear { to }),
            (1..9_u64, 0.001..=1.0_f64).prop_map(|(every, factor)| Decay::Step { every, factor }),
            (0.001..=1.0_f64).prop_map(|factor| Decay::Exponential { factor }),
        ]
    }

    proptest! {
        #[test]
        fn any_decay_parses_prints_and_is_the_formula(
            decay in decays(),
            steps_per_epoch in 1..50_u64,
            epochs in 1..20_u64,
            at in 0.0..1.0_f64,
            initial in 1e-6..1.0_f64,
        ) {
            prop_assert_eq!(parsed(&decay.to_string()), decay);
            let all = steps_per_epoch * epochs;
            let step = (at * all as f64) as u64;
            let (t, n) = (step as f64, steps_per_epoch as f64);
            let naive = match decay {
                Decay::Constant => initial,
                Decay::Linear { to } => initial * (1.0 - t / all as f64) + to * (t / all as f64),
                Decay::Cosine => initial * 0.5 * (1.0 + (PI * t / all as f64).cos()),
                Decay::Step { every, factor } => (0..(t / n) as u64 / every).fold(initial, |r, _| r * factor),
                Decay::Exponential { factor } => initial * (factor.ln() * t / n).exp(),
            };
            let rate = decay.rate(initial, step, Length { steps_per_epoch, epochs });
            prop_assert!((rate - naive).abs() < 1e-12 * initial.max(naive), "{rate} {naive}");
        }
    }
}
