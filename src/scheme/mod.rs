//! What compressed bytes mean: bits, ranges, granularity, packing and masks, on any device; and the
//! activations of layers.

mod activation;
mod choice;
mod presets;
mod quant;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, UsageError};

pub use activation::Activation;
pub use choice::{SchemeChoice, Sharing};
pub use quant::{Arithmetic, Bits, Granularity, QuantParams, QuantScheme, Range};

/// Magnitude statistics of one segment (a tensor, a row or a group), over its finite values.
///
/// A segment without finite values has 0 for all three floats. Among zeros, `-0 < +0`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SegmentStats {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Largest magnitude.
    pub abs_max: f32,
    /// Count of NaN and infinite values.
    pub non_finite: u64,
    /// Count of zeros of either sign.
    pub zeros: u64,
}

/// Which elements magnitude pruning keeps: those whose magnitude key is above `key`, and of those
/// equal to `key` the ones with an index below `ties_below`.
///
/// The magnitude key of a weight is `bits & 0x7fff_ffff` of its exact `f32` value: a total order
/// by magnitude that needs no float comparison. Non-finite weights have the largest keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The magnitude key at which ties are settled by index.
    pub key: u32,
    /// Row-major index (in the tensor, or in the model for a global cut) below which ties survive.
    pub ties_below: u64,
}

impl Cut {
    /// Keeps `|w| > threshold` (numpy's `where(abs(w) > t, w, 0)`).
    pub fn above(threshold: f32) -> Self {
        Self { key: threshold.to_bits() & 0x7fff_ffff, ties_below: 0 }
    }

    /// Keeps `|w| >= threshold`.
    pub fn at_least(threshold: f32) -> Self {
        Self { key: threshold.to_bits() & 0x7fff_ffff, ties_below: u64::MAX }
    }
}

/// N:M sparsity along the input dimension: the `keep` largest magnitudes of every `of`
/// consecutive weights stay; ties keep the lower index; a short last block keeps `min(keep, len)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmPattern {
    /// Weights kept of every block.
    pub keep: usize,
    /// Weights in a block, at most 32.
    pub of: usize,
}

impl fmt::Display for NmPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.keep, self.of)
    }
}

impl FromStr for NmPattern {
    type Err = Error;

    /// # Errors
    /// [`UsageError::OutOfRange`] where the text is not two numbers.
    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers = text.split_once(':');
        let numbers = numbers.and_then(|(n, m)| Some((n.parse().ok()?, m.parse().ok()?)));
        let (keep, of) = numbers.ok_or_else(|| UsageError::OutOfRange {
            what: "--nm",
            value: text.to_owned(),
            expected: "N:M, for example 2:4",
        })?;
        Ok(Self { keep, of })
    }
}

/// One digit of the radix select over magnitude keys: 11, 10, then 10 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadixDigit {
    /// Lowest bit of the digit.
    pub shift: u32,
    /// Number of bits of the digit.
    pub bits: u32,
    /// Only keys whose bits above the digit equal this (`key >> (shift + bits) == prefix`) count.
    pub prefix: u32,
}
