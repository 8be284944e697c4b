//! Arrays, which the compiler turns into whatever vectors the target has.

use std::array;

use super::{LANES, Simd};
use crate::cpu::convert;

/// See the module.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Portable;

/// Sixteen results of `f`.
#[inline(always)]
fn each<T>(f: impl FnMut(usize) -> T) -> [T; LANES] {
    array::from_fn(f)
}

impl Simd for Portable {
    type F = [f32; LANES];
    type I = [u32; LANES];

    // A vector takes four registers of 128 bits; x86 has sixteen of them and other targets more.
    const ROWS: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };
    const PANELS: usize = 1;
    const CENTER: i32 = 0;
    const CHAINS: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };
    const STREAMS: usize = 1;
    const HALVES: bool = true;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        *values
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn store_half(self, value: Self::F, to: &mut [f32; LANES / 2]) {
        to.copy_from_slice(&value[..LANES / 2]);
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Fused only where that is one instruction: elsewhere it is a slow function.
        if cfg!(target_arch = "aarch64") {
            each(|i| a[i].mul_add(b[i], c[i]))
        } else {
            each(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    fn load_f16(self, bits: &[u16; LANES]) -> Self::F {
        each(|i| f32::from_bits(convert::f16_to_f32_bits(bits[i])))
    }

    #[inline(always)]
    fn load_bf16(self, bits: &[u16; LANES]) -> Self::F {
        each(|i| f32::from_bits(u32::from(bits[i]) << 16))
    }

    #[inline(always)]
    fn expand(self, mask: u16, values: Self::F, _: Self::F) -> Self::F {
        let mut expanded = [0.0; LANES];
        let (mut rest, mut next) = (mask, 0);
        while rest != 0 {
            expanded[rest.trailing_zeros() as usize] = values[next % LANES];
            rest &= rest - 1;
            next += 1;
        }
        expanded
    }

    #[inline(always)]
    fn centered(self, words: Self::I, at: u32, bits: u32) -> Self::F {
        each(|i| ((words[i] >> at & ((1 << bits) - 1)) as i32 - (1 << (bits - 1))) as f32)
    }

    #[inline(always)]
    fn centered_unit(_: u32) -> f32 {
        1.0
    }

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}

    #[inline(always)]
    fn splat_i(self, value: i32) -> Self::I {
        [value as u32; LANES]
    }

    #[inline(always)]
    fn load_i(self, words: &[u32; LANES]) -> Self::I {
        *words
    }

    #[cfg(test)]
    #[inline(always)]
    fn store_i(self, value: Self::I, to: &mut [u32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I {
        each(|i| a[i].wrapping_sub(b[i]))
    }

    #[inline(always)]
    fn mul_i(self, a: Self::I, b: Self::I) -> Self::I {
        each(|i| a[i].wrapping_mul(b[i]))
    }

    #[inline(always)]
    fn field(self, words: Self::I, shift: u32, mask: u32) -> Self::I {
        each(|i| words[i] >> shift & mask)
    }

    #[inline(always)]
    fn to_f32(self, value: Self::I) -> Self::F {
        each(|i| value[i] as i32 as f32)
    }

    #[inline(always)]
    fn dot4_low(self, sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I {
        self.dot4(sum, unsigned, signed)
    }

    #[inline(always)]
    fn dot4(self, sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I {
        each(|i| {
            let product = |byte: u32| {
                let (u, s) = (unsigned[i] >> (8 * byte), signed[i] >> (8 * byte));
                i32::from(u as u8) * i32::from(s as i8)
            };
            let sums = product(0) + product(1) + product(2) + product(3);
            sum[i].wrapping_add(sums as u32)
        })
    }
}
