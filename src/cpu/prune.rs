//! Magnitude pruning by a cut.
use crate::scheme::Cut;
use crate::tensor::FloatType;

/// Zeroes what `cut` does not keep; the first element of `data` has index `first_index`.
pub fn apply(float: FloatType, data: &mut [u8], cut: Cut, first_index: u64) {
    todo!("{float:?} {} {cut:?} {first_index}", data.len())
}
