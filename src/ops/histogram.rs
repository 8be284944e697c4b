//! Counts of one radix digit of the magnitude keys: a step of the exact-sparsity selection.

use super::{Backend, count, download, kernel, words};
use crate::cpu;
use crate::error::{Result, UsageError};
use crate::scheme::RadixDigit;
use crate::tensor::FloatType;

/// Weights a workgroup counts before it adds its bins to the result.
const CHUNK: u64 = 1 << 14;
/// Bins that fit a workgroup's memory everywhere.
const MAX_BITS: u32 = 11;

/// `1 << digit.bits` counts.
///
/// # Errors
/// [`UsageError::OutOfRange`] for a digit of more than 11 bits, or a device error.
pub fn count_digit(
    backend: &Backend,
    float: FloatType,
    data: &[u8],
    digit: RadixDigit,
) -> Result<Vec<u32>> {
    let count = count(float, data)?;
    if !(1..=MAX_BITS).contains(&digit.bits) || digit.shift + digit.bits > 31 {
        return Err(UsageError::OutOfRange {
            what: "a radix digit",
            value: format!("{} bits at {}", digit.bits, digit.shift),
            expected: "1 to 11 of the lowest 31 bits",
        }
        .into());
    }
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::histogram::count(float, data, digit)),
        Backend::Gpu(gpu) => gpu,
    };
    let mask = (1_u32 << digit.bits) - 1;
    let bytes = download(gpu, 4 << digit.bits, |recorder| {
        let weights = recorder.upload(data)?;
        let counts = recorder.zeros(4 << digit.bits)?;
        let upper = digit.shift + digit.bits;
        let params = [
            ("count", count),
            ("shift", digit.shift),
            ("mask", mask),
            ("upper_shift", upper),
            ("prefix", digit.prefix),
            ("chunk", CHUNK as u32),
        ];
        let kernel = kernel("histogram.wgsl", "histogram", float);
        recorder.dispatch(&kernel, &[&weights, &counts], &params, count.into(), CHUNK)?;
        Ok(counts)
    })?;
    Ok(words(&bytes))
}
