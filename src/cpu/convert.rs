//! Decoding, encoding and rounding in forms without branches, so that they vectorise.
use crate::tensor::FloatType;
use multiversion::multiversion;

/// Elements decoded at a time where a function walks over flat data: 16 KiB of `f32`.
pub(super) const BLOCK: usize = 4096;

/// The bits that make up the magnitude key of an `f32`.
pub(super) const KEY_MASK: u32 = 0x7fff_ffff;

/// The magnitude key of infinity: finite values have smaller keys, NaN has larger ones.
pub(super) const INFINITE_KEY: u32 = 0x7f80_0000;

/// The `f32` bits of the binary16 number `half`, exactly; NaN becomes quiet, as F16C does it.
#[inline(always)]
pub(super) fn f16_to_f32_bits(half: u16) -> u32 {
    let magnitude = u32::from(half & 0x7fff);
    let sign = u32::from(half & 0x8000) << 16;
    // Exponents are rebiased from 15 to 127; infinity and NaN move to the largest exponent.
    let normal = (magnitude << 13) + ((127 - 15) << 23);
    let special = (magnitude << 13) | INFINITE_KEY | (u32::from(magnitude > 0x7c00) << 22);
    // A subnormal is an integer times 2^-24, and both steps are exact.
    let subnormal = (magnitude as i32 as f32 * (1.0 / 16_777_216.0)).to_bits();
    let finite = if magnitude < 0x0400 { subnormal } else { normal };
    sign | if magnitude >= 0x7c00 { special } else { finite }
}

/// A number rounded half to even to binary16, as the `f32` of equal value.
#[inline(always)]
pub(super) fn round_f16(value: f32) -> f32 {
    let bits = value.to_bits();
    let magnitude = bits & KEY_MASK;
    let normal = (magnitude + 0x0fff + ((magnitude >> 13) & 1)) & !0x1fff;
    // Below 2^-14 the step is 2^-24, the step of f32 between 1/2 and 1.
    let subnormal = ((f32::from_bits(magnitude) + 0.5) - 0.5).to_bits();
    let rounded = if magnitude < 0x3880_0000 { subnormal } else { normal };
    // 65520 and above round to infinity.
    let rounded = if magnitude >= 0x477f_f000 { INFINITE_KEY } else { rounded };
    f32::from_bits((bits & !KEY_MASK) | rounded)
}

/// A number rounded half to even to bfloat16, as the `f32` of equal value.
#[inline(always)]
pub(super) fn round_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

/// A float type as a generic parameter, so that inner loops are compiled once a type.
pub(super) trait Rounding {
    /// `value`, which is not NaN, rounded half to even to the type.
    fn round(value: f32) -> f32;
}

/// Rounds to nothing narrower than `f32`.
pub(super) struct ToF32;
/// Rounds to binary16.
pub(super) struct ToF16;
/// Rounds to bfloat16.
pub(super) struct ToBf16;

impl Rounding for ToF32 {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        value
    }
}

impl Rounding for ToF16 {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        round_f16(value)
    }
}

impl Rounding for ToBf16 {
    #[inline(always)]
    fn round(value: f32) -> f32 {
        round_bf16(value)
    }
}

/// Decodes all of `data` into `out`, which holds as many elements.
pub(super) fn decode(float: FloatType, data: &[u8], out: &mut [f32]) {
    if float == FloatType::F16 { decode_f16(data, out) } else { float.decode(data, out) }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn decode_f16(data: &[u8], out: &mut [f32]) {
    assert_eq!(data.len(), out.len() * 2);
    for (o, b) in out.iter_mut().zip(data.chunks_exact(2)) {
        *o = f32::from_bits(f16_to_f32_bits(u16::from_le_bytes([b[0], b[1]])));
    }
}

/// The binary16 bits of a number that is one, and not NaN.
#[inline(always)]
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let magnitude = bits & KEY_MASK;
    let normal = (magnitude >> 13).wrapping_sub((127 - 15) << 10);
    // Between 1/2 and 1 the last bit of an f32 counts 2^-24, as that of a subnormal does.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let rounded = if magnitude == INFINITE_KEY { 0x7c00 } else { finite };
    (bits >> 16 & 0x8000) as u16 | rounded as u16
}

/// Appends `values`, each already rounded to `float` and none of them NaN, to `out`.
pub(super) fn encode_rounded(float: FloatType, values: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * float.size(), 0);
    encode_into(float, values, &mut out[start..]);
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn encode_into(float: FloatType, values: &[f32], bytes: &mut [u8]) {
    match float {
        FloatType::F32 => {
            for (b, v) in bytes.chunks_exact_mut(4).zip(values) {
                b.copy_from_slice(&v.to_le_bytes());
            }
        }
        FloatType::BF16 => encode_16(values, bytes, |v| (v.to_bits() >> 16) as u16),
        FloatType::F16 => encode_16(values, bytes, f16_bits),
    }
}

#[inline(always)]
fn encode_16(values: &[f32], bytes: &mut [u8], bits: impl Fn(f32) -> u16) {
    for (b, v) in bytes.chunks_exact_mut(2).zip(values) {
        b.copy_from_slice(&bits(*v).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn every_half_decodes_as_the_half_crate_decodes_it_and_comes_back() {
        for h in 0..=u16::MAX {
            let value = f16::from_bits(h).to_f32();
            assert_eq!(f16_to_f32_bits(h), value.to_bits(), "{h:#06x}");
            assert!(value.is_nan() || f16_bits(value) == h, "{h:#06x}");
        }
    }

    #[test]
    fn rounding_agrees_with_the_half_crate_at_and_beside_every_midpoint() {
        for h in 0..0x7c00_u16 {
            let low = f16_to_f32_bits(h);
            let high = if h == 0x7bff { 65536.0_f32.to_bits() } else { f16_to_f32_bits(h + 1) };
            let middle =
                ((f64::from(f32::from_bits(low)) + f64::from(f32::from_bits(high))) / 2.0) as f32;
            for bits in [low, low + 1, middle.to_bits() - 1, middle.to_bits(), middle.to_bits() + 1]
            {
                for value in [f32::from_bits(bits), -f32::from_bits(bits)] {
                    let expected = f16::from_f32(value).to_f32().to_bits();
                    assert_eq!(round_f16(value).to_bits(), expected, "{value:e}");
                }
            }
        }
        for bits in (0..=u32::MAX).step_by(0x4000 - 1).chain([0x7f7f_8000, 0x7f80_0000]) {
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                let expected = bf16::from_f32(value).to_f32().to_bits();
                assert_eq!(round_bf16(value).to_bits(), expected, "{value:e}");
                let expected = f16::from_f32(value).to_f32().to_bits();
                assert_eq!(round_f16(value).to_bits(), expected, "{value:e}");
            }
        }
    }
}
