//! Magnitude pruning by a cut: by threshold, by ratio, or to an exact sparsity.

use super::{Backend, count, download, element_words, kernel};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Recorder};
use crate::scheme::Cut;
use crate::tensor::FloatType;

/// Vectors of four words that a workgroup handles.
const VECTORS: u64 = 1024;

/// Records the kernel, in place.
pub(super) fn record(
    recorder: &mut Recorder,
    float: FloatType,
    weights: &Buffer,
    count: usize,
    cut: Cut,
    first_index: u64,
) -> Result<()> {
    // A pruned pad stays a pad, so whole vectors may be handled.
    let vectors = element_words(float, count).div_ceil(4) as u64;
    let ties_below = cut.ties_below.saturating_sub(first_index).min(count as u64);
    let params = [("vectors", vectors as u32), ("key", cut.key), ("ties_below", ties_below as u32)];
    recorder.dispatch(&kernel("prune.wgsl", "prune", float), &[weights], &params, vectors, VECTORS)
}

/// Zeroes the weights that `cut` does not keep; the first of `data` has index `first_index`.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] for a part of a weight, or a device error.
pub fn apply(
    backend: &Backend,
    float: FloatType,
    data: &mut [u8],
    cut: Cut,
    first_index: u64,
) -> Result<()> {
    let count = count(float, data)? as usize;
    let gpu = match backend {
        Backend::Cpu => {
            cpu::prune::apply(float, data, cut, first_index);
            return Ok(());
        }
        Backend::Gpu(gpu) => gpu,
    };
    let result = download(gpu, data.len(), |recorder| {
        let weights = recorder.upload(data)?;
        record(recorder, float, &weights, count, cut, first_index)?;
        Ok(weights)
    })?;
    data.copy_from_slice(&result);
    Ok(())
}
