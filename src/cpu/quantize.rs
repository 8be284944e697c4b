//! Quantization to packed integer codes.
use crate::scheme::{QuantParams, QuantScheme};
use crate::tensor::Matrix;

/// Packed codes `[rows, scheme.words_per_row(cols)]` and the number of saturated weights: those
/// whose quotient (plus zero point) lies more than half a step outside the range.
pub fn packed(weights: Matrix<'_>, params: &QuantParams, scheme: &QuantScheme) -> (Vec<u32>, u64) {
    todo!("{weights:?} {params:?} {scheme:?}")
}
