use super::both;
use tensorpress::ops::activation::{activation, activation_grad};
use tensorpress::ops::{Backend, Dropout};
use tensorpress::scheme::Activation;

#[test]
fn worked_by_hand() {
    let z = [-2.0, 0.0, 0.5, 3.0];
    let dy = [1.0, 2.0, 4.0, -1.0];
    for backend in both() {
        let forward = |kind| activation(&backend, kind, &Dropout::NONE, &z, 4).expect("runs");
        let backward =
            |kind| activation_grad(&backend, kind, &Dropout::NONE, &z, &dy, 4).expect("runs");
        assert_eq!(forward(Activation::Identity), z);
        assert_eq!(backward(Activation::Identity), dy);
        assert_eq!(forward(Activation::Relu), [0.0, 0.0, 0.5, 3.0]);
        assert_eq!(backward(Activation::Relu), [0.0, 0.0, 4.0, -1.0]);
        assert_eq!(forward(Activation::LeakyRelu(0.25)), [-0.5, 0.0, 0.5, 3.0]);
        assert_eq!(backward(Activation::LeakyRelu(0.25)), [0.25, 0.5, 4.0, -1.0]);
        assert_eq!(backward(Activation::Sigmoid)[1], 0.5);
        assert_eq!(backward(Activation::Tanh)[1], 2.0);
        for kind in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            assert!((backward(kind)[1] - 1.0).abs() < 1e-6, "{kind} on {}", backend.name());
        }
    }
}

/// Far from zero a derivative is 0 or 1, and no product of infinity and 0 arises on the way there.
#[test]
fn derivatives_far_from_zero() {
    let z = [-1e30, -200.0, 200.0, 1e30];
    for backend in both() {
        for kind in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let slopes = activation_grad(&backend, kind, &Dropout::NONE, &z, &[1.0; 4], 4);
            let slopes = slopes.expect("runs");
            for (slope, expected) in slopes.iter().zip([0.0, 0.0, 1.0, 1.0]) {
                assert!(
                    (slope - expected).abs() < 1e-6,
                    "{kind} on {}: {slopes:?}",
                    backend.name()
                );
            }
        }
    }
}

#[test]
fn dropout_keeps_its_share_and_the_mean() {
    let (rows, cols) = (300, 101);
    let ones = vec![1.0; rows * cols];
    let run = |backend: &Backend, dropout: &Dropout| {
        activation(backend, Activation::Identity, dropout, &ones, cols).expect("runs")
    };
    for backend in both() {
        for rate in [0.1, 0.5, 0.9] {
            let dropout = Dropout { rate, seed: 3, step: 4, layer: 0 };
            let y = run(&backend, &dropout);
            let kept = y.iter().filter(|y| **y != 0.0).count() as f64;
            assert!(y.iter().all(|y| *y == 0.0 || *y == 1.0 / (1.0 - rate)));
            let (n, p) = (y.len() as f64, f64::from(1.0 - rate));
            let deviations = (kept - n * p) / (n * p * (1.0 - p)).sqrt();
            assert!(deviations.abs() < 4.0, "{rate}: {deviations} standard deviations");
            // No column and no neighbours are alike, and other steps, layers and seeds differ.
            for other in [
                Dropout { step: 5, ..dropout },
                Dropout { layer: 1, ..dropout },
                Dropout { seed: 3 + (1 << 32), ..dropout },
            ] {
                let differ = run(&backend, &other).iter().zip(&y).filter(|(a, b)| a != b).count();
                let expected = n * 2.0 * p * (1.0 - p);
                assert!((differ as f64) > 0.9 * expected, "{other:?}");
            }
        }
    }
}

/// The backward pass drops what the forward pass dropped, and both devices drop the same.
#[test]
fn dropout_is_the_same_everywhere() {
    let (rows, cols) = (33, 27);
    let ones = vec![1.0; rows * cols];
    let dropout = Dropout { rate: 0.3, seed: 1, step: 2, layer: 3 };
    let [cpu, gpu] = both();
    let y = activation(&cpu, Activation::Relu, &dropout, &ones, cols).expect("runs");
    for backend in [cpu, gpu] {
        assert_eq!(activation(&backend, Activation::Relu, &dropout, &ones, cols).expect("runs"), y);
        let dz = activation_grad(&backend, Activation::Relu, &dropout, &ones, &ones, cols);
        assert_eq!(dz.expect("runs"), y);
    }
}

#[test]
fn a_rate_out_of_range_is_refused() {
    for backend in both() {
        for rate in [-0.1, 1.0, f32::NAN] {
            let dropout = Dropout { rate, ..Dropout::NONE };
            let error = activation(&backend, Activation::Relu, &dropout, &[1.0], 1);
            let error = error.expect_err("refused");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("dropout rate"), "{error}");
        }
    }
}
