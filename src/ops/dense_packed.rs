//! A dense layer straight from packed codes.

use super::linear::{self, Chunk, LayerWeights, Linear, Variant};
use super::variant::Form;
use super::{Backend, quantize, segmentation};
use crate::error::{FormatProblem, Result};
use crate::gpu::Gpu;
use crate::scheme::{Activation, Granularity};
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

/// Takes codes, scales and zero points to a GPU.
pub(super) fn upload(gpu: &Gpu, weights: &PackedWeights<'_>) -> Result<(Form, Vec<Chunk>)> {
    let PackedWeights { words, rows, cols, params, scheme } = *weights;
    let words_per_row = scheme.words_per_row(cols);
    let (segment_len, groups) = match segmentation(scheme, cols) {
        // One scale for all rows.
        (_, 0) => (cols, 1),
        (length, groups) => (length as usize, groups as usize),
    };
    let shared = scheme.granularity == Granularity::Tensor;
    let offset = 1 << (scheme.bits as u32 - 1);
    let offsets = params.zero_point.iter().map(|zero| (offset + i32::from(*zero)) as u32);
    let offsets: Vec<u32> =
        if scheme.symmetric { vec![offset as u32; 4] } else { in_quads(offsets, groups, shared) };
    let scales = in_quads(params.scale.iter().map(|scale| scale.to_bits()), groups, shared);
    let scales = linear::upload(gpu, bytemuck::cast_slice(&scales))?;
    let offsets = linear::upload(gpu, bytemuck::cast_slice(&offsets))?;
    let codes = scheme.codes_per_word();
    let words_per_group = segment_len / codes;
    let whole_row = segment_len >= cols;
    let even = segment_len.is_multiple_of(codes) && words_per_group.is_power_of_two();
    let form = Form::Packed { bits: scheme.bits, uneven: !whole_row && !even };
    let common = vec![
        ("groups", groups as u32),
        ("quad_groups", if shared { 0 } else { groups as u32 }),
        ("group_shift", if whole_row { 31 } else { words_per_group.max(1).ilog2() }),
        ("group_len", segment_len.max(1) as u32),
        ("symmetric", u32::from(scheme.symmetric)),
    ];
    let step = linear::chunk_rows(words_per_row * 4);
    let mut chunks = vec![];
    for first in (0..rows).step_by(step) {
        let outputs = step.min(rows - first);
        let own = &words[first * words_per_row..(first + outputs) * words_per_row];
        let quads = linear::quads(own, words_per_row);
        let codes = linear::upload(gpu, bytemuck::cast_slice(&quads))?;
        let buffers = vec![codes, scales.clone(), offsets.clone()];
        let (units, params) = (words_per_row, common.clone());
        chunks.push(Chunk { buffers, units, outputs, first_output: first, params });
    }
    Ok((form, chunks))
}

/// One word a segment in quads of rows; one that serves all rows stands for a quad.
fn in_quads(words: impl Iterator<Item = u32>, groups: usize, shared: bool) -> Vec<u32> {
    let words: Vec<u32> = words.collect();
    if shared {
        return words.into_iter().flat_map(|word| [word; 4]).collect();
    }
    linear::quads(&words, groups)
}
