//! Fused steps give what the single operations give, on either backend.

use tensorpress::cpu::slab::Prune;
use tensorpress::ops::slab::{SlabStep, run};
use tensorpress::ops::{Backend, dequantize, prune, prune_nm, quant_params, quantize, stats};
use tensorpress::scheme::{
    Arithmetic, Bits, Cut, Granularity, NmPattern, QuantParams, QuantScheme, Range,
};
use tensorpress::tensor::{FloatType, Matrix};

use super::both;

fn weights(float: FloatType) -> Vec<u8> {
    let values: Vec<f32> =
        (0..24 * 96).map(|i: i32| (((i * 7919) % 2003) - 1001) as f32 / 700.0).collect();
    let mut data = vec![];
    float.encode(&values, &mut data);
    data
}

fn schemes() -> Vec<QuantScheme> {
    let plain = QuantScheme {
        bits: Bits::Four,
        symmetric: true,
        granularity: Granularity::Group(32),
        range: Range::Full,
        arithmetic: Arithmetic::F32,
    };
    vec![
        plain,
        QuantScheme { symmetric: false, ..plain },
        QuantScheme { bits: Bits::Eight, granularity: Granularity::Channel, ..plain },
        QuantScheme { bits: Bits::Two, arithmetic: Arithmetic::WeightType, ..plain },
        QuantScheme { granularity: Granularity::Tensor, range: Range::Narrow, ..plain },
        QuantScheme { range: Range::Multiplier(3), ..plain },
    ]
}

/// The steps one by one.
fn composed(
    backend: &Backend,
    matrix: Matrix<'_>,
    pruning: Option<Prune>,
    scheme: &QuantScheme,
) -> (Vec<u32>, QuantParams, u64, Vec<u8>) {
    let Matrix { float, rows, cols, .. } = matrix;
    let mut data = matrix.data.to_vec();
    match pruning {
        Some(Prune::Cut { cut, first_index }) => {
            prune::apply(backend, float, &mut data, cut, first_index).expect("runs");
        }
        Some(Prune::Nm(pattern)) => {
            prune_nm::apply(backend, float, &mut data, cols, pattern).expect("runs");
        }
        None => {}
    }
    let segment = scheme.segment_len(rows, cols);
    let found = stats::segments(backend, float, &data, segment).expect("runs");
    let params = quant_params::compute(backend, float, &found, scheme).expect("runs");
    let pruned = Matrix::new(float, rows, cols, &data).expect("the same shape");
    let (packed, saturated) = quantize::packed(backend, pruned, &params, scheme).expect("runs");
    let dense =
        dequantize::dense(backend, float, &packed, (rows, cols), &params, scheme).expect("runs");
    (packed, params, saturated, dense)
}

#[test]
fn a_slab_is_its_steps() {
    let prunings = [
        None,
        Some(Prune::Cut { cut: Cut::above(0.6), first_index: 0 }),
        Some(Prune::Nm(NmPattern { keep: 2, of: 4 })),
    ];
    for float in FloatType::ALL {
        let data = weights(float);
        let matrix = Matrix::new(float, 24, 96, &data).expect("24 rows of 96");
        for scheme in schemes() {
            for pruning in prunings {
                let step =
                    SlabStep { prune: pruning, quantize: Some((&scheme, None)), dense: true };
                let mut outputs = vec![];
                for backend in both() {
                    let output = run(&backend, matrix, &step).expect("runs");
                    let (packed, params, saturated, dense) =
                        composed(&backend, matrix, pruning, &scheme);
                    let name = format!("{float:?} {scheme:?} {pruning:?} on {}", backend.name());
                    assert_eq!(output.packed, packed, "{name}");
                    assert_eq!(output.params, params, "{name}");
                    assert_eq!(output.sums.saturated, saturated, "{name}");
                    assert_eq!(output.dense, dense, "{name}");
                    assert!(output.sums.signal > 0.0 && output.sums.error > 0.0, "{name}");
                    outputs.push(output);
                }
                assert_eq!(outputs[0], outputs[1], "the report does not depend on the device");
            }
        }
    }
}

#[test]
fn pruning_alone_reports_what_it_removed() {
    let data = weights(FloatType::F32);
    let matrix = Matrix::new(FloatType::F32, 24, 96, &data).expect("24 rows of 96");
    let cut = Cut::above(0.6);
    let step =
        SlabStep { prune: Some(Prune::Cut { cut, first_index: 0 }), quantize: None, dense: true };
    for backend in both() {
        let output = run(&backend, matrix, &step).expect("runs");
        let removed = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .filter(|v| v.abs() <= 0.6);
        let (mut count, mut energy) = (0, 0.0);
        for value in removed {
            count += 1;
            energy += f64::from(value).powi(2);
        }
        assert_eq!(output.sums.zeros, count);
        assert!((output.sums.error / energy - 1.0).abs() < 1e-5, "{}", output.sums.error);
        assert!(output.packed.is_empty());
    }
}
