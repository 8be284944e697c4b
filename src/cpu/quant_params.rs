//! Scales and zero points from segment statistics.
use crate::scheme::{Arithmetic, QuantParams, QuantScheme, Range, SegmentStats};
use crate::tensor::FloatType;

/// One scale (and zero point) a segment.
pub fn compute(float: FloatType, stats: &[SegmentStats], scheme: &QuantScheme) -> QuantParams {
    let mut params = QuantParams::default();
    for segment in stats {
        push(&mut params, float, segment, scheme);
    }
    params
}

/// Appends the scale (and zero point) of one segment.
pub(super) fn push(
    params: &mut QuantParams,
    float: FloatType,
    stats: &SegmentStats,
    scheme: &QuantScheme,
) {
    // A step that rounds to infinity would make every weight NaN or 0.
    let step = float.round(step(float, stats, scheme)).min(float.largest());
    if !scheme.symmetric {
        params.zero_point.push(zero_point(float, stats.min.min(0.0), step, scheme));
    }
    params.scale.push(if step == 0.0 { float.epsilon() } else { step });
}

/// The step before it is rounded to the weight's type (FORMATS.md, "Formulas").
fn step(float: FloatType, stats: &SegmentStats, scheme: &QuantScheme) -> f32 {
    let (qmin, qmax) = (scheme.qmin() as f32, scheme.qmax() as f32);
    match scheme.range {
        Range::Full if scheme.symmetric => stats.abs_max / ((qmax - qmin) / 2.0),
        Range::Full => {
            let span = stats.max.max(0.0) - stats.min.min(0.0);
            rounded(float, span, scheme) / (qmax - qmin)
        }
        Range::Narrow => stats.abs_max / qmax,
        Range::Multiplier(n) => 1.0 / n as f32,
    }
}

/// `round(clamp(qmin - min / step))`, half to even.
///
/// compressed-tensors replaces a step of 0 only afterwards, so a segment of zeros has 0 / 0, which
/// its conversion to an integer (and Rust's) makes 0; the golden files hold that.
fn zero_point(float: FloatType, min: f32, step: f32, scheme: &QuantScheme) -> i8 {
    let (qmin, qmax) = (scheme.qmin() as f32, scheme.qmax() as f32);
    let offset = rounded(float, min / step, scheme);
    rounded(float, qmin - offset, scheme).clamp(qmin, qmax).round_ties_even() as i8
}

/// `value` rounded to the weight's type where the scheme computes in it.
fn rounded(float: FloatType, value: f32, scheme: &QuantScheme) -> f32 {
    match scheme.arithmetic {
        Arithmetic::F32 => value,
        Arithmetic::WeightType => float.round(value),
    }
}
