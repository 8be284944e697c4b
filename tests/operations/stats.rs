use tensorpress::ops::stats::{join, segments};
use tensorpress::scheme::SegmentStats;
use tensorpress::tensor::FloatType;

use super::{both, f32_bytes};

#[test]
fn worked_by_hand() {
    let data = f32_bytes(&[-3.0, 2.0, -0.0, f32::NAN, 0.5, f32::INFINITY, f32::NEG_INFINITY]);
    for backend in both() {
        let found = segments(&backend, FloatType::F32, &data, 4).expect("runs");
        let first = SegmentStats { min: -3.0, max: 2.0, abs_max: 3.0, non_finite: 1, zeros: 1 };
        let second = SegmentStats { min: 0.5, max: 0.5, abs_max: 0.5, non_finite: 2, zeros: 0 };
        assert_eq!(found, [first, second], "{}", backend.name());
    }
}

#[test]
fn joined_parts_equal_the_whole() {
    let values: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 - 60.0).collect();
    let mut values = values;
    values[..10].fill(f32::NAN);
    values[500..510].fill(-0.0);
    let data = f32_bytes(&values);
    for backend in both() {
        let whole = segments(&backend, FloatType::F32, &data, 1000).expect("runs")[0];
        let parts = segments(&backend, FloatType::F32, &data, 10).expect("runs");
        assert_eq!(parts.into_iter().reduce(join), Some(whole));
    }
}

#[test]
fn minus_zero_comes_before_zero() {
    let data = f32_bytes(&[0.0, -0.0]);
    for backend in both() {
        let found = segments(&backend, FloatType::F32, &data, 2).expect("runs")[0];
        assert!(found.min.is_sign_negative() && found.max.is_sign_positive());
    }
}

#[test]
fn half_a_weight_is_refused() {
    for backend in both() {
        let error = segments(&backend, FloatType::F32, &[0; 7], 1).expect_err("7 bytes");
        assert_eq!(error.exit_code(), 65);
    }
}
