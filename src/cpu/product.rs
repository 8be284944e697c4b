//! X · Wᵀ over rows of weights in any form: what the dense layers share.
use crate::scheme::Activation;
use rayon::prelude::*;
use std::ops::Range;

use super::activation;

/// Rows of weights `[outputs, inputs]` that can be multiplied.
pub(super) trait Rows: Sync {
    /// Output features.
    fn outputs(&self) -> usize;
    /// Input features.
    fn inputs(&self) -> usize;
    /// All rows as they lie in memory, where that is `f32`.
    fn as_f32(&self) -> Option<&[f32]> {
        None
    }
    /// Row `row` as `f32`.
    fn decode(&self, row: usize, out: &mut [f32]);
    /// An input in the order in which [`Rows::dot`] wants it.
    fn arrange(&self, x: &[f32]) -> Vec<f32> {
        x.to_vec()
    }
    /// Row `row` times an arranged input.
    fn dot(&self, row: usize, arranged: &[f32]) -> f32;
}

/// At most so many inputs are multiplied row by row; more are worth a matrix product.
const MATRIX_FROM: usize = 6;
/// Rows that are decoded at once for a matrix product.
const TILE_ROWS: usize = 64;
/// Multiplications below which threads cost more than they save.
const PARALLEL_FROM: usize = 1 << 17;

/// act(X · Wᵀ + b): `x` is `[batch, inputs]`, the result `[batch, outputs]`.
pub(super) fn run(
    rows: &impl Rows,
    x: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let (inputs, outputs) = (rows.inputs(), rows.outputs());
    let batch = out.len().checked_div(outputs).unwrap_or(0);
    if batch == 0 {
        return;
    }
    if inputs == 0 {
        out.fill(0.0);
    } else if batch < MATRIX_FROM {
        vectors(rows, x, out);
    } else if let Some(weights) = rows.as_f32() {
        let parallel = batch * weights.len() >= PARALLEL_FROM;
        // SAFETY: x is [batch, inputs], weights [outputs, inputs] and out [batch, outputs].
        unsafe { product(batch, outputs, inputs, x, weights, out.as_mut_ptr(), outputs, parallel) }
    } else {
        tiles(rows, x, out);
    }
    finish(out, outputs, bias, activation);
}

/// Adds the bias and applies the activation.
fn finish(out: &mut [f32], outputs: usize, bias: Option<&[f32]>, activation: Activation) {
    let row = |out: &mut [f32]| {
        if let Some(bias) = bias {
            out.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        activation::apply(activation, out);
    };
    if out.len() < 1 << 14 {
        out.chunks_exact_mut(outputs).for_each(row);
    } else {
        out.par_chunks_exact_mut(outputs).for_each(row);
    }
}

/// Row by row, each row once for all inputs.
fn vectors(rows: &impl Rows, x: &[f32], out: &mut [f32]) {
    let (inputs, outputs) = (rows.inputs(), rows.outputs());
    let arranged: Vec<Vec<f32>> = x.chunks_exact(inputs).map(|x| rows.arrange(x)).collect();
    let target = Target(out.as_mut_ptr());
    let block = |range: Range<usize>| {
        for row in range {
            for (number, x) in arranged.iter().enumerate() {
                let y = rows.dot(row, x);
                // SAFETY: each (number, row) is written once, by whoever has this row.
                unsafe { target.write(number * outputs + row, y) };
            }
        }
    };
    parallel_rows(outputs, inputs * arranged.len(), 1, block);
}

/// Tiles of rows, decoded and then multiplied.
fn tiles(rows: &impl Rows, x: &[f32], out: &mut [f32]) {
    let (inputs, outputs) = (rows.inputs(), rows.outputs());
    let batch = out.len() / outputs;
    let target = Target(out.as_mut_ptr());
    parallel_rows(outputs, inputs * batch, TILE_ROWS, |range| {
        let mut tile = vec![0.0; TILE_ROWS.min(range.len()) * inputs];
        for start in range.clone().step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(range.end - start);
            let tile = &mut tile[..count * inputs];
            for (row, tile) in (start..).zip(tile.chunks_exact_mut(inputs)) {
                rows.decode(row, tile);
            }
            // SAFETY: columns start..start + count of out, which nobody else writes.
            unsafe { product(batch, count, inputs, x, tile, target.at(start), outputs, false) }
        }
    });
}

/// Runs `work` on ranges of rows that begin at multiples of `multiple`, in parallel where `cost`
/// multiplications a row make that worth it.
fn parallel_rows(
    rows: usize,
    cost: usize,
    multiple: usize,
    work: impl Fn(Range<usize>) + Sync + Send,
) {
    let threads = rayon::current_num_threads();
    if threads == 1 || rows * cost < PARALLEL_FROM || rows <= multiple {
        return work(0..rows);
    }
    // A few ranges a thread, so that a thread that starts late does not hold up the rest.
    let step = rows.div_ceil(threads * 4).next_multiple_of(multiple);
    (0..rows.div_ceil(step))
        .into_par_iter()
        .for_each(|i| work(i * step..((i + 1) * step).min(rows)));
}

/// A place that several threads write different elements of.
struct Target(*mut f32);

// SAFETY: the callers of `write` and `at` write disjoint elements.
unsafe impl Sync for Target {}
// SAFETY: as above.
unsafe impl Send for Target {}

impl Target {
    /// # Safety
    /// Within the buffer, and written by nobody else.
    unsafe fn write(&self, index: usize, value: f32) {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index).write(value) }
    }

    /// # Safety
    /// Within the buffer.
    unsafe fn at(&self, index: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

/// `out[batch, count] = x[batch, inputs] · weights[count, inputs]ᵀ`, rows of `out` being `stride`
/// apart.
///
/// # Safety
/// `out` must have room for them, and nobody else may touch them.
#[expect(clippy::too_many_arguments, reason = "the shape of a matrix product")]
unsafe fn product(
    batch: usize,
    count: usize,
    inputs: usize,
    x: &[f32],
    weights: &[f32],
    out: *mut f32,
    stride: usize,
    parallel: bool,
) {
    assert!(x.len() == batch * inputs && weights.len() == count * inputs);
    let parallelism = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    let (row, inputs_stride) = (stride as isize, inputs as isize);
    // SAFETY: the sizes were checked above; the rest is the caller's promise.
    unsafe {
        gemm::gemm(
            batch,
            count,
            inputs,
            out,
            1,
            row,
            false,
            x.as_ptr(),
            1,
            inputs_stride,
            weights.as_ptr(),
            inputs_stride,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
