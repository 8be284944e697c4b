//! A dense layer straight from a bit mask and the weights that are not zero.

use super::linear::{self, Chunk, LayerWeights, Linear, Variant};
use super::variant::Form;
use super::{Backend, bitmask};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::scheme::Activation;

pub use crate::cpu::dense_masked::MaskedWeights;

/// act(X · Wᵀ + b): `x` is `[batch, cols]`, `bias` `[rows]`, the result `[batch, rows]`. Only kept
/// weights are read. The bound is that of [`super::dense::dense`].
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] where mask, offsets and shape do not fit, or a device
/// error.
pub fn dense_masked(
    backend: &Backend,
    x: &[f32],
    weights: MaskedWeights<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    variant: Option<Variant>,
) -> Result<Vec<f32>> {
    let batch = x.len().checked_div(weights.cols).unwrap_or(0);
    let layer = Linear::new(backend, LayerWeights::Masked(weights), bias, activation)?;
    layer.run(backend, x, batch, variant)
}

/// Takes mask and kept weights to a GPU, in chunks of rows.
pub(super) fn upload(gpu: &Gpu, weights: &MaskedWeights<'_>) -> Result<(Form, Vec<Chunk>)> {
    let MaskedWeights { float, mask, cols } = *weights;
    let rows = mask.row_offsets.len();
    let size = float.size();
    let kept_in_all = mask.compressed.len() / size;
    let words_per_row = cols.div_ceil(32).max(1);
    // As if nothing were pruned: then no chunk is too large.
    let step = linear::chunk_rows(cols * size);
    let mut chunks = vec![];
    for first in (0..rows).step_by(step) {
        let outputs = step.min(rows - first);
        let offset = |row: usize| mask.row_offsets.get(row).map_or(kept_in_all, |o| *o as usize);
        let kept = offset(first)..offset(first + outputs);
        let bytes = cols.div_ceil(8);
        let bits = &mask.bitmask[first * bytes..(first + outputs) * bytes];
        let masks = bitmask::mask_words(bits, cols);
        let (before, _) = bitmask::prefix_sum(&masks);
        let buffers = vec![
            linear::upload(gpu, &mask.compressed[kept.start * size..kept.end * size])?,
            linear::upload(gpu, bytemuck::cast_slice(&linear::quads(&masks, words_per_row)))?,
            linear::upload(gpu, bytemuck::cast_slice(&linear::quads(&before, words_per_row)))?,
        ];
        let params = vec![
            ("words_per_row", words_per_row as u32),
            // At least one, because the kernel reads the last one where there is none.
            ("kept", kept.len().max(1) as u32),
        ];
        let units = linear::stride(cols) / 4;
        chunks.push(Chunk { buffers, units, outputs, first_output: first, params });
    }
    Ok((Form::Masked(float), chunks))
}
