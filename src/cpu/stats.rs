//! Magnitude statistics.
use super::convert::{self, BLOCK, INFINITE_KEY, KEY_MASK};
use crate::scheme::{Granularity, SegmentStats};
use crate::tensor::{FloatType, Matrix};
use multiversion::multiversion;

/// Statistics of each run of `segment_len` consecutive elements of `data`; the last may be short.
pub fn segments(float: FloatType, data: &[u8], segment_len: usize) -> Vec<SegmentStats> {
    if data.is_empty() {
        return Vec::new();
    }
    let mut buffer = vec![0.0; BLOCK.min(segment_len)];
    data.chunks(segment_len * float.size()).map(|s| segment(float, s, &mut buffer)).collect()
}

/// Statistics of each segment of `weights`, in row-major order; the last group of a row may be
/// short. There is one a tensor and one a row even where these are empty.
pub fn matrix(weights: Matrix<'_>, granularity: Granularity) -> Vec<SegmentStats> {
    let row_bytes = weights.cols * weights.float.size();
    match granularity {
        Granularity::Tensor if weights.is_empty() => vec![SegmentStats::default()],
        Granularity::Tensor => segments(weights.float, weights.data, weights.len()),
        Granularity::Channel if weights.is_empty() => vec![SegmentStats::default(); weights.rows],
        Granularity::Channel => segments(weights.float, weights.data, weights.cols),
        Granularity::Group(_) if weights.is_empty() => Vec::new(),
        Granularity::Group(size) => weights
            .data
            .chunks(row_bytes)
            .flat_map(|row| segments(weights.float, row, size))
            .collect(),
    }
}

fn segment(float: FloatType, data: &[u8], buffer: &mut [f32]) -> SegmentStats {
    let mut partial = Partial::default();
    for block in data.chunks(buffer.len() * float.size()) {
        let values = &mut buffer[..block.len() / float.size()];
        convert::decode(float, block, values);
        partial.add(values);
    }
    partial.finish()
}

const LANES: usize = 16;

/// Running statistics; the order of the values cannot matter.
pub(super) struct Partial {
    min: i32,
    max: i32,
    non_finite: u64,
    zeros: u64,
    len: u64,
}

impl Default for Partial {
    fn default() -> Self {
        Self { min: i32::MAX, max: i32::MIN, non_finite: 0, zeros: 0, len: 0 }
    }
}

impl Partial {
    pub(super) fn add(&mut self, values: &[f32]) {
        // The counters of one call are 32 bits wide, for speed.
        for block in values.chunks(1 << 24) {
            add(self, block);
        }
    }

    pub(super) fn finish(&self) -> SegmentStats {
        let (non_finite, zeros) = (self.non_finite, self.zeros);
        if self.non_finite == self.len {
            return SegmentStats { non_finite, zeros, ..SegmentStats::default() };
        }
        let min = f32::from_bits(ordered(self.min) as u32);
        let max = f32::from_bits(ordered(self.max) as u32);
        SegmentStats { min, max, abs_max: min.abs().max(max.abs()), non_finite, zeros }
    }
}

/// Maps `f32` bits to integers of the same order, with -0 just below +0; its own inverse.
#[inline(always)]
fn ordered(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & KEY_MASK as i32)
}

/// What one value adds: its order for the minimum and for the maximum, where it is finite, and
/// whether it is not finite or a zero.
#[inline(always)]
fn terms(value: f32) -> (i32, i32, u32, u32) {
    let bits = value.to_bits();
    let key = bits & KEY_MASK;
    let infinite = key >= INFINITE_KEY;
    let order = ordered(bits as i32);
    let low = if infinite { i32::MAX } else { order };
    let high = if infinite { i32::MIN } else { order };
    (low, high, u32::from(infinite), u32::from(key == 0))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add(partial: &mut Partial, values: &[f32]) {
    let (mut min, mut max) = ([i32::MAX; LANES], [i32::MIN; LANES]);
    let (mut non_finite, mut zeros) = ([0_u32; LANES], [0_u32; LANES]);
    let chunks = values.chunks_exact(LANES);
    for &value in chunks.remainder() {
        let (low, high, infinite, zero) = terms(value);
        (partial.min, partial.max) = (partial.min.min(low), partial.max.max(high));
        partial.non_finite += u64::from(infinite);
        partial.zeros += u64::from(zero);
    }
    for chunk in chunks {
        for i in 0..LANES {
            let (low, high, infinite, zero) = terms(chunk[i]);
            (min[i], max[i]) = (min[i].min(low), max[i].max(high));
            non_finite[i] += infinite;
            zeros[i] += zero;
        }
    }
    partial.min = min.into_iter().fold(partial.min, i32::min);
    partial.max = max.into_iter().fold(partial.max, i32::max);
    partial.non_finite += u64::from(non_finite.iter().sum::<u32>());
    partial.zeros += u64::from(zeros.iter().sum::<u32>());
    partial.len += values.len() as u64;
}
