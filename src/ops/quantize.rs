//! Quantization to packed integer codes.

use super::quant_params::{self, Recorded};
use super::{Backend, kernel, segment_count, segmentation, words};
use crate::cpu;
use crate::error::{FormatProblem, Result, UsageError};
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::scheme::{Arithmetic, Granularity, QuantParams, QuantScheme, Range};
use crate::tensor::{DType, FloatType, Matrix};

/// Packed codes and the number of saturated weights, on the device.
pub(super) struct Packed {
    pub packed: Buffer,
    pub saturated: Buffer,
}

/// Records the kernel.
pub(super) fn record(
    recorder: &mut Recorder,
    float: FloatType,
    weights: &Buffer,
    (rows, cols): (usize, usize),
    params: &Recorded,
    scheme: &QuantScheme,
) -> Result<Packed> {
    let words_per_row = scheme.words_per_row(cols);
    let words = rows * words_per_row;
    let (segment_len, segments_per_row) = segmentation(scheme, cols);
    let multiplier = match scheme.range {
        Range::Multiplier(n) => n as f32,
        Range::Full | Range::Narrow => 0.0,
    };
    let values = [
        ("words", words as u32),
        ("words_per_row", words_per_row as u32),
        ("cols", cols as u32),
        ("segment_len", segment_len),
        ("segments_per_row", segments_per_row),
        ("bits", scheme.bits as u32),
        ("qmin", scheme.qmin() as u32),
        ("qmax", scheme.qmax() as u32),
        ("asymmetric", u32::from(!scheme.symmetric)),
        (
            "weight_type",
            u32::from(scheme.arithmetic == Arithmetic::WeightType && float != FloatType::F32),
        ),
        ("multiplier", multiplier.to_bits()),
    ];
    let result =
        Packed { packed: recorder.storage(words as u64 * 4)?, saturated: recorder.zeros(4)? };
    let kernel = Kernel { estimates: true, ..kernel("quantize.wgsl", "quantize", float) };
    recorder.dispatch(
        &kernel,
        &[weights, &params.scale, &params.zero_point, &result.packed, &result.saturated],
        &values,
        words as u64,
        256,
    )?;
    Ok(result)
}

/// Checks that there is a scale (and zero point) for every segment.
pub(super) fn check(
    rows: usize,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<()> {
    scheme.validate()?;
    let mut segments = segment_count(scheme, rows, cols);
    if rows * cols == 0 && scheme.granularity == Granularity::Tensor && params.scale.len() == 1 {
        // A file has a scale for a whole tensor even where that is empty.
        segments = 1;
    }
    let zero_points = if scheme.symmetric { 0 } else { segments };
    if params.scale.len() != segments || params.zero_point.len() != zero_points {
        return Err(UsageError::OutOfRange {
            what: "the number of scales and zero points",
            value: format!("{} and {}", params.scale.len(), params.zero_point.len()),
            expected: "one scale a segment, and one zero point where asymmetric",
        }
        .into());
    }
    Ok(())
}

/// [`check`], and that `words` are packed codes `[rows, words_per_row]`.
pub(super) fn check_packed(
    words: &[u32],
    (rows, cols): (usize, usize),
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<()> {
    check(rows, cols, params, scheme)?;
    let words_per_row = scheme.words_per_row(cols);
    if words.len() == rows * words_per_row {
        return Ok(());
    }
    let (shape, dtype) = (vec![rows, words_per_row], DType::I32);
    Err(FormatProblem::ShapeSize { shape, dtype, bytes: words.len() as u64 * 4 }.into())
}

/// Packed codes `[rows, words_per_row]` and the number of saturated weights: those that lie more
/// than half a step outside the range.
///
/// # Errors
/// [`UsageError`] where scheme, parameters and shape do not fit, or a device error.
pub fn packed(
    backend: &Backend,
    weights: Matrix<'_>,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<(Vec<u32>, u64)> {
    check(weights.rows, weights.cols, params, scheme)?;
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::quantize::packed(weights, params, scheme)),
        Backend::Gpu(gpu) => gpu,
    };
    let shape = (weights.rows, weights.cols);
    let mut recorder = gpu.recorder();
    let buffer = recorder.upload(weights.data)?;
    let params = quant_params::upload(&mut recorder, params)?;
    let result = record(&mut recorder, weights.float, &buffer, shape, &params, scheme)?;
    recorder.download(&result.packed, weights.rows * scheme.words_per_row(weights.cols) * 4)?;
    recorder.download(&result.saturated, 4)?;
    let downloads = recorder.run()?.downloads;
    Ok((words(&downloads[0]), words(&downloads[1])[0].into()))
}
