//! Layers against values worked out by hand.

use super::{both, f32_bytes};
use tensorpress::ops::dense::{dense, dense_with};
use tensorpress::ops::linear::Variant;
use tensorpress::scheme::Activation;
use tensorpress::tensor::{FloatType, Matrix};

fn weights(rows: usize, cols: usize, data: &[u8]) -> Matrix<'_> {
    Matrix::new(FloatType::F32, rows, cols, data).expect("a matrix")
}

#[test]
fn a_layer_by_hand() {
    let data = f32_bytes(&[1.0, 2.0, 3.0, -1.0, 0.0, 0.5]);
    let w = weights(2, 3, &data);
    let x = [1.0, 1.0, 1.0, 2.0, 0.0, -2.0];
    for backend in both() {
        for variant in Variant::ALL {
            let run = |bias: Option<&[f32]>, activation| {
                dense_with(&backend, &x, w, bias, activation, Some(variant)).expect("runs")
            };
            assert_eq!(run(None, Activation::Identity), [6.0, -0.5, -4.0, -3.0]);
            assert_eq!(run(Some(&[1.0, 10.0]), Activation::Relu), [7.0, 9.5, 0.0, 7.0]);
            assert_eq!(run(None, Activation::LeakyRelu(0.5)), [6.0, -0.25, -2.0, -1.5]);
        }
    }
}

/// Far from zero nothing overflows: NaN would spread through a network.
#[test]
fn activations_far_from_zero() {
    let data = f32_bytes(&[1.0]);
    let w = weights(1, 1, &data);
    let x = [-1e4, -200.0, 200.0, 1e4];
    for backend in both() {
        let run = |activation| dense(&backend, &x, w, None, activation).expect("runs");
        let y = run(Activation::Sigmoid);
        assert!(y[..2].iter().all(|y| (0.0..1e-30).contains(y)) && y[2..] == [1.0, 1.0], "{y:?}");
        assert_eq!(run(Activation::Tanh), [-1.0, -1.0, 1.0, 1.0]);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let y = run(activation);
            assert_eq!(y[2..], x[2..], "{activation}");
            assert!(y[..2].iter().all(|y| y.abs() < 1e-30), "{activation}: {y:?}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let data = f32_bytes(&[1.0; 6]);
    let w = weights(2, 3, &data);
    for backend in both() {
        let run = |x: &[f32], bias: Option<&[f32]>| {
            dense(&backend, x, w, bias, Activation::Identity).map_err(|e| e.exit_code())
        };
        assert_eq!(run(&[1.0; 4], None), Err(65), "no whole rows");
        assert_eq!(run(&[1.0; 3], Some(&[1.0; 3])), Err(65), "another bias");
        assert_eq!(run(&[], None), Ok(vec![]), "no rows");
    }
}
