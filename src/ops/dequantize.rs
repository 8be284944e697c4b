//! Packed codes back to weights.

use super::quant_params::{self, Recorded};
use super::{Backend, download, element_words, kernel, quantize, segmentation};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Recorder};
use crate::scheme::{QuantParams, QuantScheme};
use crate::tensor::FloatType;

/// Records the kernel.
pub(super) fn record(
    recorder: &mut Recorder,
    float: FloatType,
    packed: &Buffer,
    (rows, cols): (usize, usize),
    params: &Recorded,
    scheme: &QuantScheme,
) -> Result<Buffer> {
    let words = element_words(float, rows * cols);
    let (segment_len, segments_per_row) = segmentation(scheme, cols);
    let values = [
        ("count", (rows * cols) as u32),
        ("words", words as u32),
        ("cols", cols as u32),
        ("words_per_row", scheme.words_per_row(cols) as u32),
        ("segment_len", segment_len),
        ("segments_per_row", segments_per_row),
        ("bits", scheme.bits as u32),
    ];
    let result = recorder.storage(words as u64 * 4)?;
    recorder.dispatch(
        &kernel("dequantize.wgsl", "dequantize", float),
        &[packed, &params.scale, &params.zero_point, &result],
        &values,
        words as u64,
        256,
    )?;
    Ok(result)
}

/// `(code - zero_point) · scale` in `float`, little-endian `[rows, cols]`.
///
/// # Errors
/// [`crate::error::UsageError`] where scheme, parameters and shape do not fit,
/// [`crate::error::FormatProblem::ShapeSize`] where `words` is not `[rows, words_per_row]`, or a
/// device error.
pub fn dense(
    backend: &Backend,
    float: FloatType,
    words: &[u32],
    (rows, cols): (usize, usize),
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<Vec<u8>> {
    quantize::check_packed(words, (rows, cols), params, scheme)?;
    let gpu = match backend {
        Backend::Cpu => {
            return Ok(cpu::dequantize::dense(float, words, rows, cols, params, scheme));
        }
        Backend::Gpu(gpu) => gpu,
    };
    download(gpu, rows * cols * float.size(), |recorder| {
        let packed = recorder.upload(bytemuck::cast_slice(words))?;
        let params = quant_params::upload(recorder, params)?;
        record(recorder, float, &packed, (rows, cols), &params, scheme)
    })
}
