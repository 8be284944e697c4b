//! The sparse-bitmask form.
use crate::tensor::FloatType;

/// A matrix without its zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bitmask {
    /// Kept elements, row-major, in the weight's type. An element is kept when it is not ±0.
    pub compressed: Vec<u8>,
    /// `[rows, ceil(cols / 8)]`; bit k of byte j is column 8j + k; 1 = kept.
    pub bitmask: Vec<u8>,
    /// Kept elements before each row.
    pub row_offsets: Vec<i64>,
}

/// Encodes `[data.len() / size / cols, cols]`.
pub fn encode(float: FloatType, data: &[u8], cols: usize) -> Bitmask {
    todo!("{float:?} {} {cols}", data.len())
}

/// Decodes; kept elements go back to their places and the rest is +0.
pub fn decode(float: FloatType, mask: &Bitmask, cols: usize) -> Vec<u8> {
    todo!("{float:?} {mask:?} {cols}")
}
