use std::fmt;

use serde::Deserialize;

use crate::error::{Result, UsageError};

/// Width of a quantized code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Bits {
    /// −2 … 1
    #[serde(rename = "int2")]
    Two = 2,
    /// −8 … 7
    #[serde(rename = "int4")]
    Four = 4,
    /// −128 … 127
    #[serde(rename = "int8")]
    Eight = 8,
}

/// How many weights share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole tensor; scale `[1]`.
    Tensor,
    /// One row (output feature); scale `[out, 1]`.
    Channel,
    /// So many consecutive weights of a row; scale `[out, in / group]`.
    Group(usize),
}

/// Which codes are used and how the step follows from the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// compressed-tensors: `absmax / ((qmax - qmin) / 2)`, codes −2^(b−1) … 2^(b−1)−1.
    Full,
    /// `absmax / qmax`, codes −qmax … qmax (TFLite's weights).
    Narrow,
    /// The textbook form `round(w · N)`: the step is `1 / N` whatever the weights are.
    Multiplier(u32),
}

/// In which type quantization is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `f32`; only the scale is rounded to the weight's type, as it is stored.
    F32,
    /// Every step is rounded to the weight's type: the bytes that compressed-tensors writes.
    WeightType,
}

/// An integer quantization scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuantScheme {
    /// Width of a code.
    pub bits: Bits,
    /// No zero point.
    pub symmetric: bool,
    /// How many weights share one scale.
    pub granularity: Granularity,
    /// Which codes are used.
    pub range: Range,
    /// In which type it is computed.
    pub arithmetic: Arithmetic,
}

impl QuantScheme {
    /// Checks that the parts go together.
    ///
    /// # Errors
    /// [`UsageError::Conflict`] for an asymmetric narrow range or multiplier,
    /// [`UsageError::OutOfRange`] for a group size of 0 or a multiplier outside 1 … 2^24.
    pub fn validate(&self) -> Result<()> {
        if !self.symmetric && self.range != Range::Full {
            return Err(UsageError::Conflict {
                first: "--asymmetric",
                second: "--narrow-range or --scale",
                advice: "give one of them",
            }
            .into());
        }
        if self.granularity == Granularity::Group(0) {
            return Err(UsageError::OutOfRange {
                what: "--group-size",
                value: "0".into(),
                expected: "at least 1",
            }
            .into());
        }
        if let Range::Multiplier(n) = self.range
            && !(1..=1 << 24).contains(&n)
        {
            return Err(UsageError::OutOfRange {
                what: "--scale",
                value: n.to_string(),
                expected: "an integer from 1 to 16777216",
            }
            .into());
        }
        Ok(())
    }

    /// Smallest code.
    pub fn qmin(&self) -> i32 {
        match self.range {
            Range::Narrow => -self.qmax(),
            Range::Full | Range::Multiplier(_) => -(1 << (self.bits as u32 - 1)),
        }
    }

    /// Largest code.
    pub fn qmax(&self) -> i32 {
        (1 << (self.bits as u32 - 1)) - 1
    }

    /// Codes in one 32-bit word.
    pub fn codes_per_word(&self) -> usize {
        32 / self.bits as usize
    }

    /// Words that a packed row of `cols` codes takes.
    pub fn words_per_row(&self, cols: usize) -> usize {
        cols.div_ceil(self.codes_per_word())
    }

    /// Weights that share one scale in a `[rows, cols]` matrix.
    pub fn segment_len(&self, rows: usize, cols: usize) -> usize {
        match self.granularity {
            Granularity::Tensor => rows * cols,
            Granularity::Channel => cols,
            Granularity::Group(size) => size,
        }
    }
}

/// "int4 asymmetric group 128".
impl fmt::Display for QuantScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "int{}", self.bits as u32)?;
        if !self.symmetric {
            f.write_str(" asymmetric")?;
        }
        match self.range {
            Range::Full => {}
            Range::Narrow => f.write_str(" narrow")?,
            Range::Multiplier(n) => write!(f, " ×{n}")?,
        }
        match self.granularity {
            Granularity::Tensor => f.write_str(" tensor"),
            Granularity::Channel => f.write_str(" channel"),
            Granularity::Group(size) => write!(f, " group {size}"),
        }
    }
}

/// Scales and zero points of a matrix, one a segment, in row-major order of the segments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantParams {
    /// Steps, each already rounded to the weight's type.
    pub scale: Vec<f32>,
    /// Zero points; empty when symmetric.
    pub zero_point: Vec<i8>,
}
