//! Packed codes back to weights.
use crate::scheme::{QuantParams, QuantScheme};
use crate::tensor::FloatType;

/// `(code - zero_point) * scale` in `float`, little-endian `[rows, cols]`.
pub fn dense(
    float: FloatType,
    words: &[u32],
    rows: usize,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Vec<u8> {
    todo!("{float:?} {} {rows} {cols} {params:?} {scheme:?}", words.len())
}
