//! Counts of one radix digit of the magnitude keys.
use crate::scheme::RadixDigit;
use crate::tensor::FloatType;

/// `1 << digit.bits` counts.
pub fn count(float: FloatType, data: &[u8], digit: RadixDigit) -> Vec<u32> {
    todo!("{float:?} {} {digit:?}", data.len())
}
