//! Layers from a bit mask against values worked out by hand.

use super::{both, f32_bytes};
use tensorpress::cpu::bitmask::Bitmask;
use tensorpress::ops::dense_masked::{MaskedWeights, dense_masked};
use tensorpress::ops::linear::Variant;
use tensorpress::scheme::Activation;
use tensorpress::tensor::FloatType;

#[test]
fn a_layer_by_hand() {
    // [0, 2, 0 … 0, 3] and a row of zeros, 9 wide
    let mask = Bitmask {
        compressed: f32_bytes(&[2.0, 3.0]),
        bitmask: vec![0b10, 1, 0, 0],
        row_offsets: vec![0, 2],
    };
    let weights = MaskedWeights { float: FloatType::F32, mask: &mask, cols: 9 };
    let x: Vec<f32> = (1..=9).map(|i| i as f32).collect();
    for backend in both() {
        for variant in Variant::ALL {
            let y = dense_masked(&backend, &x, weights, None, Activation::Identity, Some(variant));
            assert_eq!(y.expect("runs"), [2.0 * 2.0 + 3.0 * 9.0, 0.0]);
        }
        let damaged = Bitmask { row_offsets: vec![0, 1], ..mask.clone() };
        let weights = MaskedWeights { mask: &damaged, ..weights };
        let refused = dense_masked(&backend, &x, weights, None, Activation::Identity, None);
        assert_eq!(refused.expect_err("offsets that the mask denies").exit_code(), 65);
    }
}
