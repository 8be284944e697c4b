//! Scales and zero points from segment statistics.
use crate::scheme::{QuantParams, QuantScheme, SegmentStats};
use crate::tensor::FloatType;

/// One scale (and zero point) a segment.
pub fn compute(float: FloatType, stats: &[SegmentStats], scheme: &QuantScheme) -> QuantParams {
    todo!("{float:?} {} {scheme:?}", stats.len())
}
