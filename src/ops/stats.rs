//! Magnitude statistics: smallest, largest, largest magnitude, non-finite values, zeros.

use super::{Backend, count, download, kernel, words};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Recorder};
use crate::scheme::SegmentStats;
use crate::tensor::FloatType;

/// Longer segments are cut for the device and their parts joined here; joining is exact.
const MAX_SEGMENT: usize = 1 << 16;
/// Words that the kernel writes for a segment.
const WORDS: usize = 5;

/// How segments lie: runs of `segment_len` in rows of `row_len`; the last of a row may be short.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub count: usize,
    pub row_len: usize,
    pub segment_len: usize,
}

impl Layout {
    fn per_row(&self) -> usize {
        self.row_len.div_ceil(self.segment_len.max(1))
    }

    pub(super) fn segments(&self) -> usize {
        self.count.div_ceil(self.row_len.max(1)) * self.per_row()
    }
}

/// Records the kernel; the result is `[segments, 5]` words.
pub(super) fn record(
    recorder: &mut Recorder,
    float: FloatType,
    weights: &Buffer,
    layout: Layout,
) -> Result<Buffer> {
    let segments = layout.segments();
    let result = recorder.storage((segments * WORDS * 4) as u64)?;
    let lanes = layout.segment_len.div_ceil(4).next_power_of_two().clamp(1, 256);
    let params = [
        ("count", layout.count as u32),
        ("row_len", layout.row_len as u32),
        ("segment_len", layout.segment_len as u32),
        ("segments_per_row", layout.per_row() as u32),
        ("segments", segments as u32),
        ("lanes", lanes as u32),
    ];
    let kernel = kernel("stats.wgsl", "stats", float);
    let per_workgroup = (256 / lanes) as u64;
    recorder.dispatch(&kernel, &[weights, &result], &params, segments as u64, per_workgroup)?;
    Ok(result)
}

/// Statistics of each run of `segment_len` consecutive weights; the last may be short.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] for a part of a weight, or a device error.
///
/// # Panics
/// Where `segment_len` is 0.
pub fn segments(
    backend: &Backend,
    float: FloatType,
    data: &[u8],
    segment_len: usize,
) -> Result<Vec<SegmentStats>> {
    assert!(segment_len > 0, "a segment has at least one weight");
    let count = count(float, data)? as usize;
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::stats::segments(float, data, segment_len)),
        Backend::Gpu(gpu) => gpu,
    };
    if count == 0 {
        return Ok(vec![]);
    }
    let row_len = segment_len.min(count);
    let layout = Layout { count, row_len, segment_len: row_len.min(MAX_SEGMENT) };
    let bytes = download(gpu, layout.segments() * WORDS * 4, |recorder| {
        let weights = recorder.upload(data)?;
        record(recorder, float, &weights, layout)
    })?;
    Ok(words(&bytes)
        .chunks_exact(WORDS * layout.per_row())
        .map(|parts| parts.chunks_exact(WORDS).map(decode).reduce(join).unwrap_or_default())
        .collect())
}

fn decode(words: &[u32]) -> SegmentStats {
    SegmentStats {
        min: f32::from_bits(words[0]),
        max: f32::from_bits(words[1]),
        abs_max: f32::from_bits(words[2]),
        non_finite: words[3].into(),
        zeros: words[4].into(),
    }
}

/// The statistics of two neighbouring parts. A part without finite values reads as three zeros,
/// which must not take part; its largest magnitude and its count of zeros are then both 0, which
/// no part with a finite value shows.
pub fn join(a: SegmentStats, b: SegmentStats) -> SegmentStats {
    let has_finite = |s: &SegmentStats| s.abs_max > 0.0 || s.zeros > 0;
    let counts = |s: SegmentStats| SegmentStats {
        non_finite: a.non_finite + b.non_finite,
        zeros: a.zeros + b.zeros,
        ..s
    };
    match (has_finite(&a), has_finite(&b)) {
        (_, false) => counts(a),
        (false, true) => counts(b),
        (true, true) => counts(SegmentStats {
            // total_cmp, because -0 comes before +0.
            min: if b.min.total_cmp(&a.min).is_lt() { b.min } else { a.min },
            max: if b.max.total_cmp(&a.max).is_gt() { b.max } else { a.max },
            abs_max: a.abs_max.max(b.abs_max),
            ..a
        }),
    }
}
