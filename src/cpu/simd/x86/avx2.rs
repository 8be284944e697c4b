//! 256 bits.

use std::arch::x86_64::*;

use super::super::{LANES, Simd, tops};

/// Twice 256 bits, with fused multiply-add; with `VNNI` also `vpdpbusd`.
#[derive(Clone, Copy)]
pub struct Avx2<const VNNI: bool>(pub(super) ());

/// For each mask of eight bits, which of the values each lane takes: the number of bits below it.
/// Lanes that take none are negative.
static RANKS: [[i32; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut mask = 0_usize;
    while mask < 256 {
        let mut lane = 0;
        while lane < 8 {
            let below = (mask & ((1 << lane) - 1)).count_ones() as i32;
            table[mask][lane] = if mask >> lane & 1 == 1 { below } else { -1 };
            lane += 1;
        }
        mask += 1;
    }
    table
};

/// The first values, each at the place of the next set bit; 0 elsewhere.
#[inline(always)]
unsafe fn expand_half(mask: u8, values: __m256) -> __m256 {
    unsafe {
        let ranks = _mm256_loadu_si256(RANKS[usize::from(mask)].as_ptr().cast());
        let expanded = _mm256_permutevar8x32_ps(values, ranks);
        _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_srai_epi32::<31>(ranks)), expanded)
    }
}

impl<const VNNI: bool> Avx2<VNNI> {
    #[inline(always)]
    fn dot4_half(self, sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                return _mm256_dpbusd_avx_epi32(sum, unsigned, signed);
            }
            // The magnitude of a signed byte is up to 128, and the other takes its sign: pairs of
            // products fit 16 bits, 2 · 128 · 127.
            let centered = _mm256_xor_si256(unsigned, _mm256_set1_epi8(i8::MIN));
            let signed = _mm256_sign_epi8(signed, centered);
            self.dot4_low_half(sum, _mm256_abs_epi8(centered), signed)
        }
    }

    /// For unsigned bytes up to 127, or up to 128 where no signed one is −128.
    #[inline(always)]
    fn dot4_low_half(self, sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                return _mm256_dpbusd_avx_epi32(sum, unsigned, signed);
            }
            let pairs = _mm256_maddubs_epi16(unsigned, signed);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type F = [__m256; 2];
    type I = [__m256i; 2];

    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const CENTER: i32 = if VNNI { 0 } else { 128 };
    const CHAINS: usize = 4;
    const STREAMS: usize = 4;
    const HALVES: bool = true;

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
    fn store_half(self, value: Self::F, to: &mut [f32; LANES / 2]) {
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value[0]) }
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
    fn expand(self, mask: u16, values: Self::F, upper: Self::F) -> Self::F {
        let [low, high] = mask.to_le_bytes();
        unsafe { [expand_half(low, values[0]), expand_half(high, upper[0])] }
    }

    #[inline(always)]
    fn centered(self, words: Self::I, at: u32, bits: u32) -> Self::F {
        unsafe {
            // With its sign turned, a field at the top of a word is a signed number. Fields move
            // to the top of their bytes, several by the same shift, and a shuffle takes one byte to
            // the top of its word, with zeros below. A fifth faster than to mask each field, to
            // make a mantissa of it and to subtract: registers for constants are few.
            let turn = _mm256_set1_epi32(tops(bits) as i32);
            let up = _mm256_set1_epi32((8 - bits - at % 8) as i32);
            let mask = _mm256_set1_epi8((0xff_u8 << (8 - bits)) as i8);
            let byte = (at / 8) as i32;
            let word = |first: i32| (first + byte) << 24 | 0x0080_8080;
            let bytes = _mm_setr_epi32(word(0), word(4), word(8), word(12));
            let bytes = _mm256_broadcastsi128_si256(bytes);
            let low = _mm256_sllv_epi32(_mm256_xor_si256(words[0], turn), up);
            let high = _mm256_sllv_epi32(_mm256_xor_si256(words[1], turn), up);
            [
                _mm256_cvtepi32_ps(_mm256_shuffle_epi8(_mm256_and_si256(low, mask), bytes)),
                _mm256_cvtepi32_ps(_mm256_shuffle_epi8(_mm256_and_si256(high, mask), bytes)),
            ]
        }
    }

    #[inline(always)]
    fn centered_unit(bits: u32) -> f32 {
        (1_u32 << (32 - bits)) as f32
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

    #[inline(always)]
    fn dot4_low(self, sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I {
        [
            self.dot4_low_half(sum[0], unsigned[0], signed[0]),
            self.dot4_low_half(sum[1], unsigned[1], signed[1]),
        ]
    }
}
