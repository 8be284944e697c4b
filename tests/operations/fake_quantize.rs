//! What training sees must be what compression writes.

use super::{both, f32_bytes, f32_values};
use tensorpress::cpu::slab::SlabStep;
use tensorpress::ops::fake_quantize::fake_quantize;
use tensorpress::ops::{Backend, slab};
use tensorpress::scheme::{Arithmetic, Bits, Granularity, QuantScheme, Range};
use tensorpress::tensor::{FloatType, Matrix};

fn schemes() -> Vec<QuantScheme> {
    let mut all = vec![];
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        for granularity in [
            Granularity::Tensor,
            Granularity::Channel,
            Granularity::Group(32),
            Granularity::Group(10),
        ] {
            let (range, arithmetic) = (Range::Full, Arithmetic::F32);
            let plain = QuantScheme { bits, symmetric: true, granularity, range, arithmetic };
            all.push(plain);
            all.push(QuantScheme { symmetric: false, ..plain });
            all.push(QuantScheme { range: Range::Narrow, ..plain });
        }
    }
    all
}

#[test]
fn training_sees_what_compression_writes() {
    for (rows, cols) in [(1, 1), (3, 7), (10, 100), (9, 65), (400, 300)] {
        // One-sided rows, zeros, and values far apart.
        let weights: Vec<f32> = (0..rows * cols)
            .map(|i| {
                let value = ((i * 7919 % 2003) as f32 / 1001.5 - 1.0) * 0.3;
                match i % 11 {
                    0 => 0.0,
                    1 => -0.0,
                    2 => value * 10.0,
                    _ if i / cols % 3 == 1 => value.abs() + 0.1,
                    _ => value,
                }
            })
            .collect();
        let data = f32_bytes(&weights);
        let matrix = Matrix::new(FloatType::F32, rows, cols, &data).expect("a matrix");
        for scheme in schemes() {
            let step = SlabStep { prune: None, quantize: Some((&scheme, None)), dense: true };
            let written = slab::run(&Backend::Cpu, matrix, &step).expect("runs").dense;
            for backend in both() {
                let seen = fake_quantize(&backend, &weights, (rows, cols), &scheme);
                let seen = seen.expect("runs");
                let what = format!("[{rows}, {cols}] {scheme:?} on {}", backend.name());
                assert_eq!(f32_bytes(&seen), written, "{what}");
                let zeros = weights.iter().zip(&seen).filter(|(w, _)| **w == 0.0);
                assert!(
                    zeros.clone().count() == 0 || zeros.into_iter().all(|(_, q)| q.to_bits() == 0)
                );
            }
        }
        assert_eq!(f32_values(&data), weights);
    }
}

#[test]
fn nothing_and_nonsense() {
    let plain = schemes()[0];
    for backend in both() {
        assert!(fake_quantize(&backend, &[], (0, 5), &plain).expect("runs").is_empty());
        let error = fake_quantize(&backend, &[1.0; 5], (2, 2), &plain).expect_err("five of four");
        assert_eq!(error.exit_code(), 65);
        let nonsense = QuantScheme { granularity: Granularity::Group(0), ..plain };
        let error = fake_quantize(&backend, &[1.0], (1, 1), &nonsense).expect_err("no group");
        assert_eq!(error.exit_code(), 2);
    }
}
