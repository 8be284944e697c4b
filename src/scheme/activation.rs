use std::fmt;
use std::str::FromStr;

use crate::error::{Error, UsageError};

/// The function that a layer applies to each of its outputs.
///
/// It is read from text with [`str::parse`] and printed with [`fmt::Display`], which gives text
/// that parses to the same value:
///
/// ```
/// use tensorpress::scheme::Activation;
/// assert_eq!("gelu-tanh".parse::<Activation>()?, Activation::GeluTanh);
/// assert_eq!("leaky-relu:0.2".parse::<Activation>()?.to_string(), "leaky-relu:0.2");
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`; also parsed from `none`.
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x · (1 + erf(x / √2)) / 2`, exact.
    Gelu,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2`, the usual approximation of
    /// [`Activation::Gelu`].
    GeluTanh,
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    /// `1 / (1 + exp(−x))`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
    /// `x` where `x > 0`, otherwise `slope · x`. The slope is finite, and
    /// [`Activation::LEAKY_SLOPE`] where `leaky-relu` is parsed without one.
    LeakyRelu(f32),
}

/// Each name with what it means; the slope of `leaky-relu` is parsed apart.
const NAMES: [(&str, Activation); 9] = [
    ("identity", Activation::Identity),
    ("none", Activation::Identity),
    ("relu", Activation::Relu),
    ("gelu", Activation::Gelu),
    ("gelu-tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("leaky-relu", Activation::LeakyRelu(Activation::LEAKY_SLOPE)),
];

impl Activation {
    /// Slope of `leaky-relu` where none is given.
    pub const LEAKY_SLOPE: f32 = 0.01;

    /// What can be parsed, for messages.
    pub const KNOWN: &str = "identity (or none), relu, gelu, gelu-tanh, silu, sigmoid, tanh, \
                             leaky-relu and leaky-relu:SLOPE";

    /// Its name, without the slope of a leaky relu.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu-tanh",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::LeakyRelu(_) => "leaky-relu",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The shortest digits that give the same `f32`.
            Self::LeakyRelu(slope) => write!(f, "leaky-relu:{slope}"),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for Activation {
    type Err = Error;

    /// # Errors
    /// [`UsageError::UnknownActivation`], which names the known ones.
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, activation)| *activation);
        let leaky = || {
            let slope: f32 = text.strip_prefix("leaky-relu:")?.parse().ok()?;
            slope.is_finite().then_some(Self::LeakyRelu(slope))
        };
        known
            .or_else(leaky)
            .ok_or_else(|| UsageError::UnknownActivation { wanted: text.to_owned() }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_and_prints() {
        for (name, activation) in NAMES {
            assert_eq!(name.parse::<Activation>().expect("known"), activation);
            let printed = activation.to_string();
            assert_eq!(printed.parse::<Activation>().expect("known"), activation);
            assert!(printed.starts_with(activation.name()));
            assert!(Activation::KNOWN.contains(name), "{name}");
        }
        for slope in [0.2_f32, 0.0, -1.5, 1e-30, 0.1 + 0.2] {
            let activation = Activation::LeakyRelu(slope);
            assert_eq!(activation.to_string().parse::<Activation>().expect("known"), activation);
        }
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        for text in
            ["", "Relu", "swish", "leaky-relu:", "leaky-relu:nan", "leaky-relu:1e99", "relu:1"]
        {
            let error = text.parse::<Activation>().expect_err("unknown");
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
            assert!(message.contains("gelu-tanh"), "{message}");
        }
    }
}
