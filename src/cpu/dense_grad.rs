//! Gradients of a dense layer Z = X · Wᵀ + b.
use super::threads::worth_sharing;
use multiversion::multiversion;

/// dW = dZᵀ · X `[outputs, inputs]` and db = column sums of dZ `[outputs]`: `x` is `[batch, inputs]`,
/// `gradient`, dZ, `[batch, outputs]`.
pub fn weights(x: &[f32], gradient: &[f32], batch: usize, weights: &mut [f32], bias: &mut [f32]) {
    bias.fill(0.0);
    let outputs = bias.len();
    if outputs == 0 {
        return;
    }
    let inputs = weights.len() / outputs;
    product((outputs, inputs, batch), (gradient, 1, outputs), (x, inputs, 1), weights);
    sum_rows(gradient, bias);
}

/// dX = dZ · W `[batch, inputs]`: `gradient`, dZ, is `[batch, outputs]`, `weights`
/// `[outputs, inputs]`.
pub fn inputs(gradient: &[f32], weights: &[f32], batch: usize, result: &mut [f32]) {
    if batch == 0 {
        return;
    }
    let (inputs, outputs) = (result.len() / batch, gradient.len() / batch);
    product((batch, inputs, outputs), (gradient, outputs, 1), (weights, inputs, 1), result);
}

/// Adds the rows of `values` to `sums`, in their order.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn sum_rows(values: &[f32], sums: &mut [f32]) {
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// A matrix as its elements and the distances between its rows and its columns.
type Strided<'a> = (&'a [f32], usize, usize);

/// `result[rows, cols] = left[rows, terms] · right[terms, cols]`.
///
/// gemm adds the terms of an element in an order that depends on the three sizes and the caches of
/// the machine alone: threads share out whole tiles of the result, never the terms. It is always
/// called with the whole product, so the bytes do not depend on the number of threads.
pub(super) fn product(
    (rows, cols, terms): (usize, usize, usize),
    (left, left_row, left_column): Strided<'_>,
    (right, right_row, right_column): Strided<'_>,
    result: &mut [f32],
) {
    assert!(left.len() == rows * terms && right.len() == terms * cols);
    assert!(result.len() == rows * cols);
    let stride = |n: usize| n as isize;
    // SAFETY: the sizes were checked, and both layouts of a dense matrix stay within it.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            terms,
            result.as_mut_ptr(),
            1,
            stride(cols),
            false,
            left.as_ptr(),
            stride(left_column),
            stride(left_row),
            right.as_ptr(),
            stride(right_column),
            stride(right_row),
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism(rows * cols * terms),
        );
    }
}

fn parallelism(multiplications: usize) -> gemm::Parallelism {
    // About a hundred of them take a nanosecond.
    if worth_sharing(multiplications as u64 / 100) {
        gemm::Parallelism::Rayon(0)
    } else {
        gemm::Parallelism::None
    }
}
