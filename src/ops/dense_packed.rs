//! A dense layer straight from packed codes.

use super::linear::{self, Chunk, LayerWeights, Linear, Variant};
use super::{Backend, quantize, segment_count, segmentation};
use crate::error::{FormatProblem, Result};
use crate::gpu::{Gpu, Kernel};
use crate::scheme::Activation;
use crate::tensor::DType;

pub use crate::cpu::dense_packed::PackedWeights;

/// act(X · Wᵀ + b) with W = (code − zero point) · scale, not rounded to the weights' type: `x` is
/// `[batch, cols]`, `bias` `[rows]`, the result `[batch, rows]`. Codes are decoded inside the
/// kernel; there is never a dense copy of the weights. The bound is that of [`super::dense::dense`]
/// against the dequantized weights.
///
/// # Errors
/// [`FormatProblem::ShapeSize`] or [`crate::error::UsageError`] where words, parameters and shape
/// do not fit, or a device error.
pub fn dense_packed(
    backend: &Backend,
    x: &[f32],
    weights: PackedWeights<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    variant: Option<Variant>,
) -> Result<Vec<f32>> {
    let batch = x.len().checked_div(weights.cols).unwrap_or(0);
    let layer = Linear::new(backend, LayerWeights::Packed(weights), bias, activation)?;
    layer.run(backend, x, batch, variant)
}

/// Fails where the parts do not fit each other, because kernels trust them.
pub(super) fn check(weights: &PackedWeights<'_>) -> Result<()> {
    let PackedWeights { words, rows, cols, params, scheme } = weights;
    quantize::check(*rows, *cols, params, scheme)?;
    if words.len() != rows * scheme.words_per_row(*cols) {
        let bytes = words.len() as u64 * 4;
        let shape = vec![*rows, *cols];
        return Err(FormatProblem::ShapeSize { shape, dtype: DType::I32, bytes }.into());
    }
    Ok(())
}

/// Takes codes and their segments to a GPU.
pub(super) fn upload(gpu: &Gpu, weights: &PackedWeights<'_>) -> Result<Vec<Chunk>> {
    let PackedWeights { words, rows, cols, params, scheme } = *weights;
    let words_per_row = scheme.words_per_row(cols);
    let (segment_len, segments_per_row) = segmentation(scheme, cols);
    let offset = 1 << (scheme.bits as u32 - 1);
    let zero_point = |i: usize| params.zero_point.get(i).map_or(0, |zp| i32::from(*zp));
    let segments: Vec<[u32; 2]> = (0..segment_count(scheme, rows, cols))
        .map(|i| [params.scale[i].to_bits(), (offset + zero_point(i)) as u32])
        .collect();
    let segments = linear::upload(gpu, bytemuck::cast_slice(&segments))?;
    let kernels = ["dense_packed", "dense_packed_direct", "dense_packed_vector"];
    let kernels = kernels.map(|entry| Kernel {
        file: "dense_packed.wgsl",
        entry,
        constants: &[],
        estimates: false,
    });
    let step = linear::chunk_rows(words_per_row * 4);
    let mut chunks = vec![];
    for first in (0..rows).step_by(step) {
        let outputs = step.min(rows - first);
        let own = &words[first * words_per_row..(first + outputs) * words_per_row];
        let codes = linear::upload(gpu, bytemuck::cast_slice(own))?;
        let params = vec![
            ("bits", scheme.bits as u32),
            ("words_per_row", words_per_row as u32),
            ("segment_len", segment_len),
            ("segments_per_row", segments_per_row),
            ("first_segment", first as u32 * segments_per_row),
        ];
        let buffers = vec![codes, segments.clone()];
        chunks.push(Chunk { kernels, buffers, outputs, first_output: first, params });
    }
    Ok(chunks)
}
