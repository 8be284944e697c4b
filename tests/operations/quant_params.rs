use tensorpress::ops::quant_params::compute;
use tensorpress::scheme::{Arithmetic, Bits, Granularity, QuantScheme, Range, SegmentStats};
use tensorpress::tensor::FloatType;

use super::both;

const INT4: QuantScheme = QuantScheme {
    bits: Bits::Four,
    symmetric: true,
    granularity: Granularity::Channel,
    range: Range::Full,
    arithmetic: Arithmetic::F32,
};

fn stats(min: f32, max: f32) -> SegmentStats {
    SegmentStats { min, max, abs_max: max.abs().max(min.abs()), non_finite: 0, zeros: 0 }
}

#[test]
fn scales_worked_by_hand() {
    let segments = [stats(-3.0, 15.0), stats(0.0, 0.0)];
    let cases = [
        (INT4, vec![2.0, f32::EPSILON], vec![]),
        (QuantScheme { range: Range::Narrow, ..INT4 }, vec![15.0 / 7.0, f32::EPSILON], vec![]),
        (QuantScheme { range: Range::Multiplier(4), ..INT4 }, vec![0.25, 0.25], vec![]),
        // (15 - -3) / 15 = 1.2; -8 - -3 / 1.2 = -5.5, and the tie goes to the even -6
        (QuantScheme { symmetric: false, ..INT4 }, vec![1.2, f32::EPSILON], vec![-6, 0]),
    ];
    for backend in both() {
        for (scheme, scale, zero_point) in &cases {
            let got = compute(&backend, FloatType::F32, &segments, scheme).expect("runs");
            assert_eq!(&got.scale, scale, "{scheme:?} on {}", backend.name());
            assert_eq!(&got.zero_point, zero_point, "{scheme:?} on {}", backend.name());
        }
    }
}

#[test]
fn scales_are_rounded_to_the_weights_type() {
    for backend in both() {
        for float in [FloatType::F16, FloatType::BF16] {
            let got = compute(&backend, float, &[stats(-1.0, 0.0)], &INT4).expect("runs");
            assert_eq!(got.scale, [float.round(1.0 / 7.5)]);
            assert_ne!(got.scale[0], 1.0 / 7.5);
        }
    }
}

#[test]
fn an_asymmetric_narrow_range_is_refused() {
    let scheme = QuantScheme { symmetric: false, range: Range::Narrow, ..INT4 };
    for backend in both() {
        let error = compute(&backend, FloatType::F32, &[], &scheme).expect_err("contradiction");
        assert_eq!(error.exit_code(), 2);
    }
}
