//! Rows of a data set in the order of a batch.
use multiversion::multiversion;

/// `result` `[order, cols]` becomes the rows of `bytes` `[rows, cols]` that `order` names, each byte
/// divided by 255.
pub fn bytes(bytes: &[u8], cols: usize, order: &[u32], result: &mut [f32]) {
    for (result, row) in rows(order, cols, result) {
        shares(&bytes[row * cols..][..cols], result);
    }
}

/// `result` `[order, cols]` becomes the rows of `values` `[rows, cols]` that `order` names.
pub fn floats(values: &[f32], cols: usize, order: &[u32], result: &mut [f32]) {
    for (result, row) in rows(order, cols, result) {
        result.copy_from_slice(&values[row * cols..][..cols]);
    }
}

fn rows<'a>(
    order: &'a [u32],
    cols: usize,
    result: &'a mut [f32],
) -> impl Iterator<Item = (&'a mut [f32], usize)> {
    result.chunks_exact_mut(cols.max(1)).zip(order.iter().map(|row| *row as usize))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn shares(bytes: &[u8], result: &mut [f32]) {
    for (result, byte) in result.iter_mut().zip(bytes) {
        *result = f32::from(*byte) / 255.0;
    }
}
