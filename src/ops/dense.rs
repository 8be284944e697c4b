//! A dense layer: act(X · Wᵀ + b).

use super::linear::{self, Chunk, LayerWeights, Linear, Variant};
use super::{Backend, kernel};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Recorder};
use crate::scheme::Activation;
use crate::tensor::{FloatType, Matrix};

/// act(X · Wᵀ + b): `x` is `[batch, cols]`, `weights` `[rows, cols]`, `bias` `[rows]`, the result
/// `[batch, rows]`. Sums are f32 whatever the weights' type; before the activation they lie within
/// `2(K+4)·2⁻²⁴·Σ|x·w|` of the exact ones, K being `cols`.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] where the shapes do not fit, or a device error.
pub fn dense(
    backend: &Backend,
    x: &[f32],
    weights: Matrix<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
) -> Result<Vec<f32>> {
    dense_with(backend, x, weights, bias, activation, None)
}

/// [`dense`] with a given variant of the kernel.
///
/// # Errors
/// As [`dense`].
pub fn dense_with(
    backend: &Backend,
    x: &[f32],
    weights: Matrix<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    variant: Option<Variant>,
) -> Result<Vec<f32>> {
    let batch = x.len().checked_div(weights.cols).unwrap_or(0);
    let layer = Linear::new(backend, LayerWeights::Dense(weights), bias, activation)?;
    layer.run(backend, x, batch, variant)
}

/// Records a layer of `f32` weights without activation: `weights` `[outputs, stride(inputs)]`,
/// `bias` `[outputs]`, `x` `[batch, stride(inputs)]` and the result `[batch, stride(outputs)]`, all
/// padded with zeros.
pub(super) fn record_f32(
    recorder: &mut Recorder,
    [weights, bias, x, results]: [&Buffer; 4],
    (batch, inputs, outputs): (usize, usize, usize),
    software: bool,
) -> Result<()> {
    let variant = Variant::usual(batch, software);
    let stride = linear::stride(outputs);
    let params = [
        ("batch", batch as u32),
        ("eights", inputs.div_ceil(8) as u32),
        ("outputs", outputs as u32),
        ("padded_outputs", stride as u32),
        ("first_output", 0),
        ("stride", stride as u32),
        ("activation", Activation::Identity.code().0),
        ("slope", 0),
    ];
    let kernel = kernel("dense.wgsl", ENTRIES[variant as usize], FloatType::F32);
    let workgroups = variant.workgroups(batch, stride);
    recorder.dispatch(&kernel, &[weights, bias, x, results], &params, workgroups, 1)
}

/// In the order of [`Variant::ALL`].
const ENTRIES: [&str; 3] = ["dense", "dense_direct", "dense_vector"];

/// Takes weights to a GPU, rows padded to whole eights.
pub(super) fn upload(gpu: &Gpu, weights: Matrix<'_>) -> Result<Vec<Chunk>> {
    let Matrix { float, rows, cols, data } = weights;
    let (row_bytes, padded_bytes) = (cols * float.size(), linear::stride(cols) * float.size());
    let step = linear::chunk_rows(padded_bytes);
    let kernels = ENTRIES.map(|entry| kernel("dense.wgsl", entry, float));
    let mut chunks = vec![];
    for first in (0..rows).step_by(step) {
        let outputs = step.min(rows - first);
        let own = &data[first * row_bytes..(first + outputs) * row_bytes];
        let buffer = if padded_bytes == row_bytes {
            linear::upload(gpu, own)?
        } else {
            linear::upload(gpu, &padded(own, row_bytes, padded_bytes, outputs))?
        };
        let (buffers, params) = (vec![buffer], vec![]);
        chunks.push(Chunk { kernels, buffers, outputs, first_output: first, params });
    }
    Ok(chunks)
}

fn padded(data: &[u8], row_bytes: usize, padded_bytes: usize, rows: usize) -> Vec<u8> {
    let mut out = vec![0; rows * padded_bytes];
    if row_bytes > 0 {
        for (to, from) in out.chunks_exact_mut(padded_bytes).zip(data.chunks_exact(row_bytes)) {
            to[..row_bytes].copy_from_slice(from);
        }
    }
    out
}

/// The bound of DESIGN.md on sums of K products.
pub fn bound(inputs: usize, magnitudes: f64) -> f64 {
    2.0 * (inputs as f64 + 4.0) * 2.0_f64.powi(-24) * magnitudes
}
