//! Magnitude statistics.
use crate::scheme::SegmentStats;
use crate::tensor::FloatType;

/// Statistics of each run of `segment_len` consecutive elements of `data`; the last may be short.
pub fn segments(float: FloatType, data: &[u8], segment_len: usize) -> Vec<SegmentStats> {
    todo!("{float:?} {} {segment_len}", data.len())
}
