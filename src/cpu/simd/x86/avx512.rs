//! 512 bits.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::{LANES, Simd};

/// 512 bits; with `VNNI` also `vpdpbusd`.
#[derive(Clone, Copy)]
pub struct Avx512<const VNNI: bool>(pub(super) ());

impl<const VNNI: bool> Simd for Avx512<VNNI> {
    type F = __m512;
    type I = __m512i;

    const ROWS: usize = 8;
    const PANELS: usize = 3;
    const CENTER: i32 = 0;
    const CHAINS: usize = 8;
    const STREAMS: usize = 1;
    const HALVES: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> __m512 {
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn store_half(self, value: __m512, to: &mut [f32; LANES / 2]) {
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm512_castps512_ps256(value)) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn load_f16(self, bits: &[u16; LANES]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, bits: &[u16; LANES]) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bits.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn expand(self, mask: u16, values: __m512, _: __m512) -> __m512 {
        unsafe { _mm512_maskz_expand_ps(mask, in_register(values)) }
    }

    #[inline(always)]
    fn centered(self, words: __m512i, at: u32, bits: u32) -> __m512 {
        unsafe {
            // The bits stay where they are and become the end of a mantissa: 2^(23 − at) + field,
            // exactly. Mantissas have 23 bits, so the upper half of a word must come down first.
            let upper = at / 16 * 16;
            let (words, at) = (_mm512_srlv_epi32(words, _mm512_set1_epi32(upper as i32)), at % 16);
            let mask = _mm512_set1_epi32((((1_u32 << bits) - 1) << at) as i32);
            let exponent = _mm512_set1_epi32(((127 + 23 - at) << 23) as i32);
            // (words and mask) or exponent
            let biased = _mm512_ternarylogic_epi32::<0xea>(words, mask, exponent);
            let bias = (1_u32 << (23 - at)) as f32 + (1_u32 << (bits - 1)) as f32;
            _mm512_sub_ps(_mm512_castsi512_ps(biased), _mm512_set1_ps(bias))
        }
    }

    #[inline(always)]
    fn centered_unit(_: u32) -> f32 {
        1.0
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn splat_i(self, value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn load_i(self, words: &[u32; LANES]) -> __m512i {
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[cfg(test)]
    #[inline(always)]
    fn store_i(self, value: __m512i, to: &mut [u32; LANES]) {
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) }
    }

    #[inline(always)]
    fn sub_i(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn mul_i(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn field(self, words: __m512i, shift: u32, mask: u32) -> __m512i {
        unsafe {
            let shifted = _mm512_srlv_epi32(words, _mm512_set1_epi32(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi32(mask as i32))
        }
    }

    #[inline(always)]
    fn to_f32(self, value: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(value) }
    }

    #[inline(always)]
    fn dot4(self, sum: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        unsafe {
            if VNNI {
                return _mm512_dpbusd_epi32(sum, unsigned, signed);
            }
            // Products of 7 bits and 8 fit 16 bits in pairs: 2 · 127 · 128. The eighth bit is
            // multiplied apart and counts 128.
            let low = _mm512_and_si512(unsigned, _mm512_set1_epi8(0x7f));
            let high = _mm512_and_si512(_mm512_srli_epi16::<7>(unsigned), _mm512_set1_epi8(1));
            let low = _mm512_maddubs_epi16(low, signed);
            let high = _mm512_maddubs_epi16(high, signed);
            let low = _mm512_madd_epi16(low, _mm512_set1_epi16(1));
            let high = _mm512_madd_epi16(high, _mm512_set1_epi16(128));
            _mm512_add_epi32(sum, _mm512_add_epi32(low, high))
        }
    }

    #[inline(always)]
    fn dot4_low(self, sum: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        unsafe {
            if VNNI {
                return _mm512_dpbusd_epi32(sum, unsigned, signed);
            }
            let pairs = _mm512_maddubs_epi16(unsigned, signed);
            _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

/// Keeps a load from becoming part of the instruction after it: Zen 4 and 5 take three times as
/// long to expand from memory as to load and then expand.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_register(mut value: __m512) -> __m512 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(zmm_reg) value, options(pure, nomem, nostack)) };
    value
}
