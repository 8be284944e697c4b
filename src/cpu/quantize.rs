//! Quantization to packed integer codes.
use super::convert::{self, INFINITE_KEY, KEY_MASK, Rounding, ToBf16, ToF16, ToF32};
use super::pack;
use crate::scheme::{Arithmetic, Granularity, QuantParams, QuantScheme, Range};
use crate::tensor::{FloatType, Matrix};
use multiversion::multiversion;

/// Packed codes `[rows, scheme.words_per_row(cols)]` and the number of saturated weights: those
/// whose quotient (plus zero point) lies more than half a step outside the range.
///
/// NaN becomes the zero point, an infinity the end of the range on its side.
pub fn packed(weights: Matrix<'_>, params: &QuantParams, scheme: &QuantScheme) -> (Vec<u32>, u64) {
    let Matrix { float, rows, cols, data } = weights;
    let mut words = Vec::with_capacity(rows * scheme.words_per_row(cols));
    let mut saturated = 0;
    if weights.is_empty() {
        return (words, saturated);
    }
    let mut values = vec![0.0; cols];
    let mut codes = vec![0; cols];
    let size = row_segment_len(cols, scheme);
    for (row, bytes) in data.chunks_exact(cols * float.size()).enumerate() {
        convert::decode(float, bytes, &mut values);
        let segments = codes.chunks_mut(size).zip(values.chunks(size));
        for (group, (codes, values)) in segments.enumerate() {
            let index = segment_index(row, group, cols, scheme);
            saturated += Coding::new(float, params, index, scheme).encode(values, codes);
        }
        pack::pack_row(&codes, scheme.bits, &mut words);
    }
    (words, saturated)
}

/// Weights of one row that share a scale; at least 1, the last segment may be short.
pub(super) fn row_segment_len(cols: usize, scheme: &QuantScheme) -> usize {
    match scheme.granularity {
        Granularity::Tensor | Granularity::Channel => cols.max(1),
        Granularity::Group(size) => size,
    }
}

/// Which scale the segment `group` of row `row` has.
pub(super) fn segment_index(row: usize, group: usize, cols: usize, scheme: &QuantScheme) -> usize {
    match scheme.granularity {
        Granularity::Tensor => 0,
        Granularity::Channel => row,
        Granularity::Group(size) => row * cols.div_ceil(size) + group,
    }
}

/// How the weights of one segment become codes and codes become weights.
#[derive(Clone, Copy)]
pub(super) struct Coding {
    scale: f32,
    /// The textbook form multiplies by this instead of dividing by `scale`.
    multiplier: Option<f32>,
    zero_point: i8,
    qmin: f32,
    qmax: f32,
    /// The type in which codes are computed.
    computed_in: FloatType,
    /// The type of the dequantized weights.
    stored_in: FloatType,
}

impl Coding {
    pub(super) fn new(
        float: FloatType,
        params: &QuantParams,
        segment: usize,
        scheme: &QuantScheme,
    ) -> Self {
        Self {
            scale: params.scale[segment],
            multiplier: match scheme.range {
                Range::Multiplier(n) => Some(n as f32),
                Range::Full | Range::Narrow => None,
            },
            zero_point: if scheme.symmetric { 0 } else { params.zero_point[segment] },
            qmin: scheme.qmin() as f32,
            qmax: scheme.qmax() as f32,
            computed_in: match scheme.arithmetic {
                Arithmetic::F32 => FloatType::F32,
                Arithmetic::WeightType => float,
            },
            stored_in: float,
        }
    }

    /// Fills `codes` and returns how many of `values` saturated.
    pub(super) fn encode(&self, values: &[f32], codes: &mut [i8]) -> u64 {
        let mut saturated = 0;
        // The counters of one call are 32 bits wide, for speed.
        for (values, codes) in values.chunks(1 << 24).zip(codes.chunks_mut(1 << 24)) {
            saturated += u64::from(encode(self, values, codes));
        }
        saturated
    }

    /// Fills `values` with the weights that `codes` stand for, rounded to the weight's type.
    pub(super) fn decode(&self, codes: &[i8], values: &mut [f32]) {
        decode(self, codes, values);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn encode(coding: &Coding, values: &[f32], codes: &mut [i8]) -> u32 {
    match coding.computed_in {
        FloatType::F32 => encode_in::<ToF32>(coding, values, codes),
        FloatType::F16 => encode_in::<ToF16>(coding, values, codes),
        FloatType::BF16 => encode_in::<ToBf16>(coding, values, codes),
    }
}

#[inline(always)]
fn encode_in<R: Rounding>(coding: &Coding, values: &[f32], codes: &mut [i8]) -> u32 {
    match coding.multiplier {
        None => encode_as::<R>(coding, values, codes, |w| w / coding.scale),
        Some(multiplier) => encode_as::<R>(coding, values, codes, |w| w * multiplier),
    }
}

/// Adding this rounds |y| < 2^22 half to even and leaves the integer in the low bits, because
/// the step of `f32` above 1.5 · 2^23 is 1.
const ROUNDER: f32 = 12_582_912.0;

#[inline(always)]
fn encode_as<R: Rounding>(
    coding: &Coding,
    values: &[f32],
    codes: &mut [i8],
    quotient: impl Fn(f32) -> f32,
) -> u32 {
    let zero_point = f32::from(coding.zero_point);
    let (qmin, qmax) = (coding.qmin, coding.qmax);
    let mut saturated = 0;
    for (code, &w) in codes.iter_mut().zip(values) {
        let y = R::round(R::round(quotient(w)) + zero_point);
        let y = if w.to_bits() & KEY_MASK > INFINITE_KEY { zero_point } else { y };
        saturated += u32::from((y > qmax + 0.5) | (y < qmin - 0.5));
        let y = if y < qmin { qmin } else { y };
        let y = if y > qmax { qmax } else { y };
        *code = (y + ROUNDER).to_bits() as i8;
    }
    saturated
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn decode(coding: &Coding, codes: &[i8], values: &mut [f32]) {
    match coding.stored_in {
        FloatType::F32 => decode_in::<ToF32>(coding, codes, values),
        FloatType::F16 => decode_in::<ToF16>(coding, codes, values),
        FloatType::BF16 => decode_in::<ToBf16>(coding, codes, values),
    }
}

#[inline(always)]
fn decode_in<R: Rounding>(coding: &Coding, codes: &[i8], values: &mut [f32]) {
    for (value, &code) in values.iter_mut().zip(codes) {
        let difference = i32::from(code) - i32::from(coding.zero_point);
        *value = R::round(difference as f32 * coding.scale);
    }
}
