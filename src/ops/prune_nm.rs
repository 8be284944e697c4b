//! N:M pruning along the input dimension.

use super::{Backend, count, download, element_words, kernel, rows};
use crate::cpu;
use crate::error::{Result, UsageError};
use crate::gpu::{Buffer, Recorder};
use crate::scheme::NmPattern;
use crate::tensor::FloatType;

/// Records the kernel; the result is a new buffer.
pub(super) fn record(
    recorder: &mut Recorder,
    float: FloatType,
    weights: &Buffer,
    count: usize,
    cols: usize,
    pattern: NmPattern,
) -> Result<Buffer> {
    let words = element_words(float, count);
    let result = recorder.storage(words as u64 * 4)?;
    let params = [
        ("count", count as u32),
        ("cols", cols as u32),
        ("keep", pattern.keep as u32),
        ("block", pattern.of as u32),
        ("words", words as u32),
    ];
    let kernel = kernel("prune_nm.wgsl", "prune_nm", float);
    recorder.dispatch(&kernel, &[weights, &result], &params, words as u64, 256)?;
    Ok(result)
}

/// Fails for a pattern that keeps none, more than there are, or spans more than 32.
pub(super) fn check(pattern: NmPattern) -> Result<()> {
    if pattern.keep == 0 || pattern.keep > pattern.of || pattern.of > 32 {
        return Err(UsageError::OutOfRange {
            what: "--nm",
            value: format!("{}:{}", pattern.keep, pattern.of),
            expected: "N:M with 1 <= N <= M <= 32",
        }
        .into());
    }
    Ok(())
}

/// Keeps `pattern.keep` of every `pattern.of` consecutive weights of each row of `cols`.
///
/// # Errors
/// [`UsageError::OutOfRange`] for a pattern that keeps none, more than there are, or spans more
/// than 32; [`crate::error::FormatProblem::ShapeSize`] where `data` is not whole rows.
pub fn apply(
    backend: &Backend,
    float: FloatType,
    data: &mut [u8],
    cols: usize,
    pattern: NmPattern,
) -> Result<()> {
    check(pattern)?;
    rows(float, data, cols)?;
    let count = count(float, data)? as usize;
    let gpu = match backend {
        Backend::Cpu => {
            cpu::prune_nm::apply(float, data, cols, pattern);
            return Ok(());
        }
        Backend::Gpu(gpu) => gpu,
    };
    let result = download(gpu, data.len(), |recorder| {
        let weights = recorder.upload(data)?;
        record(recorder, float, &weights, count, cols, pattern)
    })?;
    data.copy_from_slice(&result);
    Ok(())
}
