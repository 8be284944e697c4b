//! AVX2 and AVX-512, each with and without the dot products of VNNI.
//!
//! Every `unsafe` block here calls an instruction that the value of the type vouches for: only the
//! `run_` functions make one, which are compiled for it and called where it was found. Loads and
//! stores go through references of the right size.

use std::arch::x86_64::*;
use std::arch::{asm, is_x86_feature_detected as has};

use super::{Kernel, LANES, Simd, exponent};

pub(super) fn has_avx2() -> bool {
    has!("avx2") && has!("fma") && has!("f16c") && has!("popcnt") && has!("bmi2")
}

pub(super) fn has_avx_vnni() -> bool {
    has_avx2() && has!("avxvnni")
}

pub(super) fn has_avx512() -> bool {
    let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    has_avx2() && wide
}

pub(super) fn has_avx512_vnni() -> bool {
    has_avx512() && has!("avx512vnni")
}

/// # Safety
/// For processors that [`has_avx2`] accepts.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<false>(()))
}

/// # Safety
/// For processors that [`has_avx_vnni`] accepts.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2,avxvnni")]
pub(super) unsafe fn run_avx_vnni<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<true>(()))
}

/// # Safety
/// For processors that [`has_avx512`] accepts.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<false>(()))
}

/// # Safety
/// For processors that [`has_avx512_vnni`] accepts.
#[target_feature(
    enable = "avx2,fma,f16c,popcnt,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
)]
pub(super) unsafe fn run_avx512_vnni<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<true>(()))
}

/// 512 bits; with `VNNI` also `vpdpbusd`.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const VNNI: bool>(());

impl<const VNNI: bool> Simd for Avx512<VNNI> {
    type F = __m512;
    type I = __m512i;

    const ROWS: usize = 8;
    const PANELS: usize = 3;
    const CHAINS: usize = 8;

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
    fn expand(self, mask: u16, values: __m512) -> __m512 {
        unsafe { _mm512_maskz_expand_ps(mask, in_register(values)) }
    }

    #[inline(always)]
    fn biased(self, words: __m512i, at: u32, mask: u32) -> __m512 {
        unsafe {
            let mask = _mm512_set1_epi32((mask << at) as i32);
            let exponent = _mm512_set1_epi32(exponent(at) as i32);
            // (words and mask) or exponent
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xea>(words, mask, exponent))
        }
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

/// Twice 256 bits, with fused multiply-add; with `VNNI` also `vpdpbusd`.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

/// For each mask of eight bits, which of the values each lane takes: the number of bits below it.
static RANKS: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let mut lane = 0;
        while lane < 8 {
            table[mask][lane] = (mask & ((1 << lane) - 1)).count_ones() as u8;
            lane += 1;
        }
        mask += 1;
    }
    table
};

/// All bits of the lanes whose bit in `mask` is set.
#[inline(always)]
unsafe fn lanes_of(mask: u8) -> __m256 {
    unsafe {
        let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let set = _mm256_and_si256(_mm256_set1_epi32(i32::from(mask)), bits);
        _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bits))
    }
}

#[inline(always)]
unsafe fn ranks(mask: u8) -> __m256i {
    unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(RANKS[usize::from(mask)].as_ptr().cast())) }
}

impl<const VNNI: bool> Avx2<VNNI> {
    #[inline(always)]
    fn dot4_half(self, sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                return _mm256_dpbusd_avx_epi32(sum, unsigned, signed);
            }
            // As with AVX-512.
            let low = _mm256_and_si256(unsigned, _mm256_set1_epi8(0x7f));
            let high = _mm256_and_si256(_mm256_srli_epi16::<7>(unsigned), _mm256_set1_epi8(1));
            let low = _mm256_maddubs_epi16(low, signed);
            let high = _mm256_maddubs_epi16(high, signed);
            let low = _mm256_madd_epi16(low, _mm256_set1_epi16(1));
            let high = _mm256_madd_epi16(high, _mm256_set1_epi16(128));
            _mm256_add_epi32(sum, _mm256_add_epi32(low, high))
        }
    }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type F = [__m256; 2];
    type I = [__m256i; 2];

    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const CHAINS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        let (halves, _) = values.as_chunks::<{ LANES / 2 }>();
        unsafe { [_mm256_loadu_ps(halves[0].as_ptr()), _mm256_loadu_ps(halves[1].as_ptr())] }
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        let (halves, _) = to.as_chunks_mut::<{ LANES / 2 }>();
        unsafe {
            _mm256_storeu_ps(halves[0].as_mut_ptr(), value[0]);
            _mm256_storeu_ps(halves[1].as_mut_ptr(), value[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn load_f16(self, bits: &[u16; LANES]) -> Self::F {
        let (halves, _) = bits.as_chunks::<{ LANES / 2 }>();
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(halves[0].as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(halves[1].as_ptr().cast())),
            ]
        }
    }

    #[inline(always)]
    fn load_bf16(self, bits: &[u16; LANES]) -> Self::F {
        let (halves, _) = bits.as_chunks::<{ LANES / 2 }>();
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves[0].as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves[1].as_ptr().cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
    }

    #[inline(always)]
    fn expand(self, mask: u16, values: Self::F) -> Self::F {
        let [low, high] = mask.to_le_bytes();
        unsafe {
            let first = _mm256_permutevar8x32_ps(values[0], ranks(low));
            // The upper lanes go on where the lower ones stopped, in either half.
            let from = _mm256_set1_epi32(low.count_ones() as i32);
            let from = _mm256_add_epi32(ranks(high), from);
            let second = _mm256_blendv_ps(
                _mm256_permutevar8x32_ps(values[0], from),
                _mm256_permutevar8x32_ps(values[1], from),
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(from, _mm256_set1_epi32(7))),
            );
            [_mm256_and_ps(first, lanes_of(low)), _mm256_and_ps(second, lanes_of(high))]
        }
    }

    #[inline(always)]
    fn biased(self, words: Self::I, at: u32, mask: u32) -> Self::F {
        unsafe {
            let mask = _mm256_set1_epi32((mask << at) as i32);
            let exponent = _mm256_set1_epi32(exponent(at) as i32);
            [
                _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(words[0], mask), exponent)),
                _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(words[1], mask), exponent)),
            ]
        }
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn splat_i(self, value: i32) -> Self::I {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    fn load_i(self, words: &[u32; LANES]) -> Self::I {
        let (halves, _) = words.as_chunks::<{ LANES / 2 }>();
        unsafe {
            [
                _mm256_loadu_si256(halves[0].as_ptr().cast()),
                _mm256_loadu_si256(halves[1].as_ptr().cast()),
            ]
        }
    }

    #[cfg(test)]
    #[inline(always)]
    fn store_i(self, value: Self::I, to: &mut [u32; LANES]) {
        let (halves, _) = to.as_chunks_mut::<{ LANES / 2 }>();
        unsafe {
            _mm256_storeu_si256(halves[0].as_mut_ptr().cast(), value[0]);
            _mm256_storeu_si256(halves[1].as_mut_ptr().cast(), value[1]);
        }
    }

    #[inline(always)]
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I {
        unsafe { [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul_i(self, a: Self::I, b: Self::I) -> Self::I {
        unsafe { [_mm256_mullo_epi32(a[0], b[0]), _mm256_mullo_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    fn field(self, words: Self::I, shift: u32, mask: u32) -> Self::I {
        unsafe {
            let (shift, mask) = (_mm256_set1_epi32(shift as i32), _mm256_set1_epi32(mask as i32));
            [
                _mm256_and_si256(_mm256_srlv_epi32(words[0], shift), mask),
                _mm256_and_si256(_mm256_srlv_epi32(words[1], shift), mask),
            ]
        }
    }

    #[inline(always)]
    fn to_f32(self, value: Self::I) -> Self::F {
        unsafe { [_mm256_cvtepi32_ps(value[0]), _mm256_cvtepi32_ps(value[1])] }
    }

    #[inline(always)]
    fn dot4(self, sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I {
        [
            self.dot4_half(sum[0], unsigned[0], signed[0]),
            self.dot4_half(sum[1], unsigned[1], signed[1]),
        ]
    }
}
