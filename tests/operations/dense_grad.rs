//! Gradients against values worked out by hand.

use super::both;
use tensorpress::ops::dense_grad::{Variant, dense_grad, dense_grad_with};

#[test]
fn a_layer_by_hand() {
    // Two rows, three inputs, two outputs.
    let x = [1.0, 2.0, 3.0, -1.0, 0.0, 0.5];
    let weights = [1.0, 0.0, -2.0, 0.5, 4.0, 1.0];
    let dz = [1.0, -1.0, 2.0, 0.5];
    for backend in both() {
        for variant in [Variant::Direct, Variant::Tiled { splits: 1 }, Variant::Tiled { splits: 2 }]
        {
            let found = dense_grad_with(&backend, &x, &weights, &dz, (2, 3, 2), Some(variant));
            let found = found.expect("runs");
            assert_eq!(found.inputs, [0.5, -4.0, -3.0, 2.25, 2.0, -3.5]);
            assert_eq!(found.weights, [-1.0, 2.0, 4.0, -1.5, -2.0, -2.75]);
            assert_eq!(found.bias, [3.0, -0.5]);
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for backend in both() {
        let run = |x: &[f32], weights: &[f32], dz: &[f32]| {
            dense_grad(&backend, x, weights, dz, (2, 3, 1)).map_err(|e| e.exit_code())
        };
        assert_eq!(run(&[1.0; 5], &[1.0; 3], &[1.0; 2]).err(), Some(65));
        assert_eq!(run(&[1.0; 6], &[1.0; 4], &[1.0; 2]).err(), Some(65));
        assert_eq!(run(&[1.0; 6], &[1.0; 3], &[1.0; 3]).err(), Some(65));
        assert_eq!(run(&[1.0; 6], &[1.0; 3], &[1.0; 2]).expect("fits").bias, [2.0]);
    }
}
