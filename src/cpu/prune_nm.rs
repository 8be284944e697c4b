//! N:M pruning along the rows of a matrix.
use crate::scheme::NmPattern;
use crate::tensor::FloatType;

/// Keeps `pattern.keep` of every `pattern.of` consecutive weights of each row of `cols`.
pub fn apply(float: FloatType, data: &mut [u8], cols: usize, pattern: NmPattern) {
    todo!("{float:?} {} {cols} {pattern:?}", data.len())
}
