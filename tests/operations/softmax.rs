use tensorpress::ops::Backend;
use tensorpress::ops::softmax::{log_softmax, softmax};

use super::both;

#[test]
fn worked_by_hand() {
    let (ln2, ln3) = (2_f32.ln(), 3_f32.ln());
    let logits = [0.0, ln2, ln3, 5.0, 5.0, f32::NEG_INFINITY];
    for backend in both() {
        let shares = softmax(&backend, &logits, 3, 1.0).expect("runs");
        let expected = [1.0 / 6.0, 1.0 / 3.0, 0.5, 0.5, 0.5, 0.0];
        for (share, expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 1e-6, "{shares:?} on {}", backend.name());
        }
        assert_eq!(shares[5].to_bits(), 0);
        // A temperature of 1/2 squares the powers: 1, 4, 9.
        let shares = softmax(&backend, &logits[..3], 3, 0.5).expect("runs");
        for (share, expected) in shares.iter().zip([1.0 / 14.0, 4.0 / 14.0, 9.0 / 14.0]) {
            assert!((share - expected).abs() < 1e-6, "{shares:?} on {}", backend.name());
        }
        let logs = log_softmax(&backend, &logits, 3, 1.0).expect("runs");
        let ln6 = 6_f32.ln();
        for (log, expected) in logs.iter().zip([-ln6, ln2 - ln6, ln3 - ln6, -ln2, -ln2]) {
            assert!((log - expected).abs() < 2e-6, "{logs:?} on {}", backend.name());
        }
        assert_eq!(logs[5], f32::NEG_INFINITY);
    }
}

/// The largest logits that there are: without the row maximum, or with the plain difference,
/// these overflow.
#[test]
fn huge_logits_do_not_overflow() {
    let logits = [f32::MAX, f32::MIN, 1e38, f32::MAX];
    for backend in both() {
        let shares = softmax(&backend, &logits, 4, 1.0).expect("runs");
        assert_eq!(shares, [0.5, 0.0, 0.0, 0.5], "{}", backend.name());
        let logs = log_softmax(&backend, &logits, 4, 4.0).expect("runs");
        assert!((logs[1] / (f32::MIN / 2.0) - 1.0).abs() < 1e-6, "{logs:?}");
        let logs = log_softmax(&backend, &logits, 4, 1.0).expect("runs");
        assert_eq!(logs[1], -3.4e38, "{}", backend.name());
    }
}

#[test]
fn rows_sum_to_one() {
    for cols in [1, 2, 7, 32, 33, 1000, 50_257] {
        let logits: Vec<f32> =
            (0..4 * cols).map(|i| ((i * 7919) % 1009) as f32 / 50.0 - 10.0).collect();
        for backend in both() {
            let shares = softmax(&backend, &logits, cols, 1.5).expect("runs");
            for row in shares.chunks_exact(cols) {
                let error = row.iter().copied().map(f64::from).sum::<f64>() - 1.0;
                let bound = cols as f64 / f64::from(1 << 23);
                assert!(error.abs() <= bound, "{cols} columns on {}: {error:e}", backend.name());
            }
        }
    }
}

#[test]
fn the_logarithm_reaches_where_softmax_underflows() {
    let logits = [0.0, -2000.0];
    for backend in both() {
        assert_eq!(softmax(&backend, &logits, 2, 1.0).expect("runs")[1], 0.0);
        assert_eq!(log_softmax(&backend, &logits, 2, 1.0).expect("runs")[1], -2000.0);
    }
}

#[test]
fn a_temperature_out_of_range_is_refused() {
    let too_small = 2_f32.powi(-65);
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY, too_small, 1e30] {
        for backend in both() {
            let error = softmax(&backend, &[1.0], 1, temperature).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains("temperature"), "{error}");
        }
    }
}

#[test]
fn broken_logits_are_refused_with_their_place() {
    let masked = f32::NEG_INFINITY;
    for backend in both() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            let logits = [1.0, 2.0, 3.0, masked, 5.0, bad];
            for function in [softmax, log_softmax] {
                let error = function(&backend, &logits, 3, 1.0).expect_err("refused");
                assert_eq!(error.exit_code(), 65);
                assert!(error.to_string().contains("row 1, column 2"), "{error}");
            }
        }
        let error = softmax(&backend, &[1.0, masked, masked, masked], 2, 1.0).expect_err("masked");
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("row 1"), "{error}");
        let error = softmax(&backend, &[1.0; 7], 2, 1.0).expect_err("half a row");
        assert_eq!(error.exit_code(), 65);
        assert!(softmax(&backend, &[], 0, 1.0).expect("nothing to do").is_empty());
    }
}

/// A network may hand over anything; a row that has no softmax must not look as if it had one.
#[test]
fn the_reference_gives_nan_where_the_operation_refuses() {
    use tensorpress::cpu::softmax::{Scaling, log_softmax, softmax};
    let masked = f32::NEG_INFINITY;
    for bad in [[0.0, f32::NAN], [-f32::NAN, 0.0], [f32::INFINITY, 0.0], [masked, masked]] {
        for function in [softmax, log_softmax] {
            let result = function(&[bad, [0.0, 1.0]].concat(), 2, Scaling::new(1.0));
            assert!(result[..2].iter().all(|v| v.is_nan()), "{bad:?}: {result:?}");
            assert!(result[2..].iter().all(|v| v.is_finite()));
        }
    }
}

/// 256 rows a workgroup, and more workgroups than a dimension of a dispatch holds. The second
/// result lies in a buffer that held the first.
#[test]
fn more_than_65535_workgroups() {
    let logits: Vec<f32> = (0..65_600 * 256).map(|i| (i % 1000) as f32).collect();
    let [_, gpu]: [Backend; 2] = both();
    let shares = softmax(&gpu, &logits, 1, 1.0).expect("runs");
    assert!(shares.iter().all(|share| *share == 1.0));
    let logs = log_softmax(&gpu, &logits, 1, 1.0).expect("runs");
    assert!(logs.len() == logits.len() && logs.iter().all(|log| log.abs() < 1e-6));
}
