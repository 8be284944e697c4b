use tensorpress::ops::bitmask::{decode, encode};
use tensorpress::tensor::FloatType;

use super::{both, f32_bytes, f32_values};

#[test]
fn worked_by_hand() {
    let rows =
        [0.0, 1.0, -0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0];
    for backend in both() {
        let mask = encode(&backend, FloatType::F32, &f32_bytes(&rows), 9).expect("runs");
        assert_eq!(f32_values(&mask.compressed), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mask.bitmask, [0b0000_1010, 1, 0b1000_0001, 0]);
        assert_eq!(mask.row_offsets, [0, 3]);
        let dense = decode(&backend, FloatType::F32, &mask, 9).expect("runs");
        assert_eq!(f32_values(&dense), rows, "-0 comes back as +0, which compares equal");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good =
        encode(&both()[0], FloatType::F32, &f32_bytes(&[1.0, 0.0, 2.0, 3.0]), 2).expect("runs");
    let mut short = good.clone();
    short.compressed.truncate(4);
    let mut moved = good.clone();
    moved.row_offsets[1] = 0;
    let mut beyond = good.clone();
    beyond.bitmask[0] |= 0b1000;
    let mut missing = good;
    missing.bitmask.pop();
    for backend in both() {
        for bad in [&short, &moved, &beyond, &missing] {
            let error = decode(&backend, FloatType::F32, bad, 2).expect_err("broken");
            assert_eq!(error.exit_code(), 65);
        }
    }
}
