//! Steps of the optimizers against Keras 3.15 (values computed with its optimizers on the torch
//! backend) and by hand.

use super::both;
use tensorpress::ops::Backend;
use tensorpress::ops::optimizer::{Optimizer, Step, update};

const GRADIENTS: [[f32; 3]; 4] =
    [[0.1, -0.2, 0.0], [0.3, 0.1, -1.0], [-0.5, 0.25, 2.0], [0.02, -0.03, 1e-6]];

fn step(number: u64) -> Step {
    Step { number, learning_rate: 0.01, l2: 0.0, hold_zeros: false }
}

/// Weights after the steps of `GRADIENTS` from 0.5, -0.25, 1.
fn after(backend: &Backend, optimizer: Optimizer) -> [f32; 3] {
    let (mut w, mut m, mut v) = ([0.5, -0.25, 1.0], [0.0; 3], [0.0; 3]);
    for (number, gradient) in (1..).zip(GRADIENTS) {
        let step = step(number);
        update(backend, &optimizer, &step, &mut w, &gradient, &mut m, &mut v).expect("runs");
    }
    w
}

#[test]
fn four_steps_as_keras_makes_them() {
    let momentum =
        |nesterov, weight_decay| Optimizer::Sgd { momentum: 0.9, nesterov, weight_decay };
    let expected = [
        (Optimizer::ADAM, [0.483_552_75, -0.242_977_2, 1.001_724]),
        (Optimizer::ADAM_W, [0.483_474_64, -0.242_938_5, 1.001_563_5]),
        (Optimizer::SGD, [0.500_800_1, -0.251_200_02, 0.99]),
        (momentum(false, 0.0), [0.497_731_03, -0.250_282, 0.989_1]),
        (momentum(true, 0.0), [0.498_757_9, -0.251_453_82, 0.980_19]),
        (momentum(true, 0.1), [0.496_773_3, -0.250_462_06, 0.976_188]),
    ];
    for backend in both() {
        for (optimizer, expected) in expected {
            let found = after(&backend, optimizer);
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(
                    error < 2e-7,
                    "{optimizer:?} on {}: {found} for {expected}",
                    backend.name()
                );
            }
        }
    }
}

#[test]
fn the_penalty_adds_to_the_gradient() {
    for backend in both() {
        let (mut w, mut m) = ([2.0, -1.0], [0.0; 2]);
        let step = Step { learning_rate: 0.5, l2: 0.25, ..step(1) };
        update(&backend, &Optimizer::SGD, &step, &mut w, &[1.0, 0.0], &mut m, &mut [0.0; 2])
            .expect("runs");
        // 2 - 0.5 (1 + 2 · 0.25 · 2), -1 - 0.5 (2 · 0.25 · -1)
        assert_eq!(w, [1.0, -0.75]);
    }
}

/// Pruned weights have gradients and moments like others; none of it may move them.
#[test]
fn zeros_are_held_with_their_moments() {
    for backend in both() {
        for optimizer in
            [Optimizer::ADAM_W, Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.1 }]
        {
            let (mut w, mut m, mut v) = ([0.0, -0.0, 1.0], [0.3; 3], [0.2; 3]);
            let step = Step { hold_zeros: true, l2: 0.1, ..step(2) };
            let gradient = [1.0, f32::INFINITY, 1.0];
            update(&backend, &optimizer, &step, &mut w, &gradient, &mut m, &mut v).expect("runs");
            assert_eq!([w[0].to_bits(), w[1].to_bits()], [0, 0], "{optimizer:?}");
            assert_eq!(m[..2], [0.0, 0.0]);
            assert!(w[2] != 1.0 && m[2] != 0.3);
            if matches!(optimizer, Optimizer::Adam { .. }) {
                assert_eq!(v[..2], [0.0, 0.0]);
            }
        }
    }
}

#[test]
fn factors_out_of_range_are_refused() {
    let run = |optimizer: Optimizer| {
        let mut one = [[1.0]; 3];
        let [w, m, v] = &mut one;
        update(&Backend::Cpu, &optimizer, &step(1), w, &[1.0], m, v).map_err(|e| e.to_string())
    };
    let adam =
        |beta_1, epsilon| Optimizer::Adam { beta_1, beta_2: 0.999, epsilon, weight_decay: 0.0 };
    assert!(run(adam(1.0, 1e-7)).expect_err("beta").contains("beta_1 is 1"));
    assert!(run(adam(0.9, f64::NAN)).expect_err("epsilon").contains("epsilon"));
    let sgd = Optimizer::Sgd { momentum: -0.1, nesterov: false, weight_decay: 0.0 };
    assert!(run(sgd).expect_err("momentum").contains("from 0 to below 1"));
    let mut v = [1.0];
    let short =
        update(&Backend::Cpu, &Optimizer::ADAM, &step(1), &mut [1.0], &[], &mut [1.0], &mut v);
    assert_eq!(short.expect_err("no gradient").exit_code(), 65);
}
