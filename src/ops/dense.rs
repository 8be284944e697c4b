//! A dense layer: act(X · Wᵀ + b).

use super::Backend;
use super::linear::{self, Chunk, LayerWeights, Linear, Variant};
use super::product::Product;
use super::variant::{Form, Shape};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Recorder};
use crate::scheme::Activation;
use crate::tensor::Matrix;

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
/// padded with zeros. For weights in a buffer that something else changes, as training does.
pub(super) fn record_f32(
    recorder: &mut Recorder,
    buffers: [&Buffer; 4],
    sizes: (usize, usize, usize),
    software: bool,
) -> Result<()> {
    let product = row_major(buffers, sizes);
    product.record(recorder, Variant::usual(product.form, product.shape, software))
}

/// The product that [`record_f32`] records.
pub(super) fn row_major<'a>(
    [weights, bias, x, results]: [&'a Buffer; 4],
    (batch, inputs, outputs): (usize, usize, usize),
) -> Product<'a> {
    let (stride, fours) = (linear::stride(outputs), linear::stride(inputs) / 4);
    Product {
        form: Form::RowMajor,
        weights: std::slice::from_ref(weights),
        bias,
        x,
        results,
        shape: Shape { batch, outputs: stride, fours },
        units: fours,
        outputs,
        first_output: 0,
        stride,
        activation: Activation::Identity,
        int8: false,
        params: &[],
    }
}

/// Takes weights to a GPU, rows padded to whole eights.
pub(super) fn upload(gpu: &Gpu, weights: Matrix<'_>) -> Result<(Form, Vec<Chunk>)> {
    let Matrix { float, rows, cols, data } = weights;
    let row_bytes = cols * float.size();
    let words_per_row = linear::stride(cols) * float.size() / 4;
    let step = linear::chunk_rows(words_per_row * 4);
    let mut chunks = vec![];
    for first in (0..rows).step_by(step) {
        let outputs = step.min(rows - first);
        let own = &data[first * row_bytes..(first + outputs) * row_bytes];
        let words = padded(own, row_bytes, words_per_row * 4, outputs);
        let quads = linear::quads(&words, words_per_row);
        let buffers = vec![linear::upload(gpu, bytemuck::cast_slice(&quads))?];
        let units = linear::stride(cols) / 4;
        chunks.push(Chunk { buffers, units, outputs, first_output: first, params: vec![] });
    }
    Ok((Form::Dense(float), chunks))
}

/// Rows of bytes as words, each padded with zeros.
fn padded(data: &[u8], row_bytes: usize, padded_bytes: usize, rows: usize) -> Vec<u32> {
    let mut out = vec![0; rows * padded_bytes / 4];
    if row_bytes > 0 {
        let to: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
        for (to, from) in to.chunks_exact_mut(padded_bytes).zip(data.chunks_exact(row_bytes)) {
            to[..row_bytes].copy_from_slice(from);
        }
    }
    out
}

/// The bound of DESIGN.md on sums of K products.
pub fn bound(inputs: usize, magnitudes: f64) -> f64 {
    2.0 * (inputs as f64 + 4.0) * 2.0_f64.powi(-24) * magnitudes
}
