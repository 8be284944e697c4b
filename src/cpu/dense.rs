//! A dense layer on the CPU.
use super::convert;
use super::product::{self, Rows};
use crate::scheme::Activation;
use crate::tensor::{FloatType, Matrix};
use multiversion::multiversion;

/// act(X · Wᵀ + b): `x` is `[batch, cols]`, `weights` `[rows, cols]`, `bias` `[rows]` and `out`
/// `[batch, rows]`.
pub fn dense(
    x: &[f32],
    weights: Matrix<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    product::run(&weights, x, bias, activation, out);
}

impl Rows for Matrix<'_> {
    fn outputs(&self) -> usize {
        self.rows
    }

    fn inputs(&self) -> usize {
        self.cols
    }

    fn as_f32(&self) -> Option<&[f32]> {
        // Data of a mapped file lies at any address, and gemm wants aligned floats.
        if self.float == FloatType::F32 { bytemuck::try_cast_slice(self.data).ok() } else { None }
    }

    fn decode(&self, row: usize, out: &mut [f32]) {
        convert::decode(self.float, self.row(row), out);
    }

    fn dot(&self, row: usize, x: &[f32]) -> f32 {
        match self.float {
            FloatType::F32 => dot_f32(self.row(row).as_chunks().0, x),
            FloatType::F16 => dot_f16(self.row(row).as_chunks().0, x),
            FloatType::BF16 => dot_bf16(self.row(row).as_chunks().0, x),
        }
    }
}

impl Matrix<'_> {
    fn row(&self, row: usize) -> &[u8] {
        let bytes = self.cols * self.float.size();
        &self.data[row * bytes..][..bytes]
    }
}

/// Partial sums: enough that the latency of an addition does not bound the speed.
const LANES: usize = 64;

/// Σ w·x with `load` decoding a weight.
#[inline(always)]
fn dot<const SIZE: usize>(w: &[[u8; SIZE]], x: &[f32], load: impl Fn([u8; SIZE]) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (w_blocks, w_rest) = w.as_chunks::<LANES>();
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    for (w, x) in w_blocks.iter().zip(x_blocks) {
        for lane in 0..LANES {
            sums[lane] += load(w[lane]) * x[lane];
        }
    }
    let rest: f32 = w_rest.iter().zip(x_rest).map(|(w, x)| load(*w) * x).sum();
    total(&mut sums) + rest
}

/// The sum of the lanes, in halves.
#[inline(always)]
pub(super) fn total(sums: &mut [f32]) -> f32 {
    let mut half = sums.len() / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn dot_f32(w: &[[u8; 4]], x: &[f32]) -> f32 {
    dot(w, x, f32::from_le_bytes)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn dot_bf16(w: &[[u8; 2]], x: &[f32]) -> f32 {
    dot(w, x, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn dot_f16(w: &[[u8; 2]], x: &[f32]) -> f32 {
    dot(w, x, |bytes| f32::from_bits(convert::f16_to_f32_bits(u16::from_le_bytes(bytes))))
}
