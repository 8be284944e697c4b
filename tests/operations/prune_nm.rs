use tensorpress::ops::prune_nm::apply;
use tensorpress::scheme::NmPattern;
use tensorpress::tensor::FloatType;

use super::{both, f32_bytes, f32_values};

#[test]
fn two_of_four_with_ties_and_a_short_last_block() {
    let rows = [1.0, -4.0, 2.0, 3.0, 5.0, 6.0, 1.0, 1.0, 1.0, 1.0, 0.0, -7.0];
    for backend in both() {
        let mut data = f32_bytes(&rows);
        let pattern = NmPattern { keep: 2, of: 4 };
        apply(&backend, FloatType::F32, &mut data, 6, pattern).expect("runs");
        let expected = [0.0, -4.0, 0.0, 3.0, 5.0, 6.0, 1.0, 1.0, 0.0, 0.0, 0.0, -7.0];
        assert_eq!(f32_values(&data), expected, "{}", backend.name());
    }
}

#[test]
fn a_pattern_that_keeps_nothing_is_refused() {
    for backend in both() {
        for (keep, of) in [(0, 4), (5, 4), (1, 33)] {
            let pattern = NmPattern { keep, of };
            let error = apply(&backend, FloatType::F32, &mut [], 4, pattern).expect_err("bad");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
