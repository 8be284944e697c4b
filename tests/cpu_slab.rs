//! One pass over a slab against the single operations one after the other.

#[path = "common/weights.rs"]
mod weights;

use proptest::prelude::*;
use tensorpress::cpu::slab::{self, Prune, SlabOutput, SlabStep};
use tensorpress::cpu::{dequantize, prune, prune_nm, quant_params, quantize, stats};
use tensorpress::scheme::{
    Arithmetic, Bits, Cut, Granularity, NmPattern, QuantParams, QuantScheme, Range,
};
use tensorpress::tensor::{FloatType, Matrix};
use weights::{Weights, key, quant_schemes, weights};

/// `step` done by the single operations.
fn composed(weights: Matrix<'_>, step: &SlabStep<'_>) -> SlabOutput {
    let Matrix { float, rows, cols, data } = weights;
    let mut dense = data.to_vec();
    match step.prune {
        None => {}
        Some(Prune::Cut { cut, first_index }) => prune::apply(float, &mut dense, cut, first_index),
        Some(Prune::Nm(pattern)) => prune_nm::apply(float, &mut dense, cols, pattern),
    }
    let mut output = SlabOutput::default();
    let mut saturated = 0;
    if let Some((scheme, given)) = step.quantize {
        let pruned = Matrix { float, rows, cols, data: &dense };
        let stats = stats::matrix(pruned, scheme.granularity);
        let computed = quant_params::compute(float, &stats, scheme);
        let params = given.unwrap_or(&computed);
        (output.packed, saturated) = quantize::packed(pruned, params, scheme);
        dense = dequantize::dense(float, &output.packed, rows, cols, params, scheme);
        output.params = if given.is_some() { QuantParams::default() } else { computed };
    }
    output.sums = slab::report_sums(weights, &dense);
    output.sums.saturated = saturated;
    if step.dense {
        output.dense = dense;
    }
    output
}

fn pruning() -> impl Strategy<Value = Option<Prune>> {
    prop_oneof![
        Just(None),
        (any::<f32>(), 0..9000_u64, 0..5000_u64).prop_map(|(t, ties_below, first_index)| Some(
            Prune::Cut { cut: Cut { key: key(t), ties_below }, first_index }
        )),
        (-1.0..1.0_f32, 0..99_u64)
            .prop_map(|(t, first_index)| Some(Prune::Cut { cut: Cut::above(t), first_index })),
        prop::sample::select(vec![(2, 4), (1, 4), (4, 8), (3, 7), (1, 1), (0, 5), (16, 32)])
            .prop_map(|(keep, of)| Some(Prune::Nm(NmPattern { keep, of }))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn one_pass_equals_the_operations_one_by_one(
        w in weights(),
        prune in pruning(),
        scheme in prop::option::of(quant_schemes()),
        given in any::<bool>(),
        dense in any::<bool>(),
    ) {
        let mut params = QuantParams::default();
        if let Some(scheme) = &scheme && given {
            let stats = stats::matrix(w.matrix(), scheme.granularity);
            params = quant_params::compute(w.float, &stats, scheme);
        }
        let quantize = scheme.as_ref().map(|s| (s, given.then_some(&params)));
        let step = SlabStep { prune, quantize, dense };
        let (got, expected) = (slab::run(w.matrix(), &step), composed(w.matrix(), &step));
        // NaN sums are equal here, so the printed forms are compared.
        prop_assert_eq!(format!("{got:?}"), format!("{expected:?}"));
    }

    #[test]
    fn report_sums_are_what_they_say(w in weights(), other in weights()) {
        let size = w.data.len().min(other.data.len()) / 4 * 4;
        let (before, after) = (&w.data[..size], &other.data[..size]);
        let float = w.float;
        let cols = size / float.size();
        let sums = slab::report_sums(Matrix { float, rows: 1, cols, data: before }, after);
        let (mut signal, mut error, mut max_error, mut zeros) = (0.0, 0.0, 0.0_f32, 0);
        for i in 0..cols {
            let (a, b) = (float.load(before, i), float.load(after, i));
            zeros += u64::from(b == 0.0);
            if a.is_finite() && b.is_finite() {
                signal += f64::from(a).powi(2);
                error += (f64::from(a) - f64::from(b)).powi(2);
                max_error = max_error.max((a - b).abs());
            }
        }
        prop_assert_eq!(sums.zeros, zeros);
        if (0..cols).all(|i| float.load(after, i).is_finite()) {
            prop_assert!((sums.signal - signal).abs() <= 1e-12 * signal);
            prop_assert!((sums.error - error).abs() <= 1e-12 * error);
            prop_assert_eq!(sums.max_error, max_error);
        }
    }
}

#[test]
fn a_slab_without_elements_has_the_parameters_of_its_shape() {
    let empty = Weights { float: FloatType::BF16, rows: 3, cols: 0, data: Vec::new() };
    let count = [(Granularity::Tensor, 1), (Granularity::Channel, 3), (Granularity::Group(8), 0)];
    for (granularity, count) in count {
        let (bits, range, arithmetic) = (Bits::Four, Range::Full, Arithmetic::F32);
        let scheme = QuantScheme { bits, symmetric: false, granularity, range, arithmetic };
        let step = SlabStep { prune: None, quantize: Some((&scheme, None)), dense: true };
        let output = slab::run(empty.matrix(), &step);
        assert_eq!(output.params.scale, vec![FloatType::BF16.epsilon(); count]);
        assert_eq!(output.params.zero_point, vec![0; count]);
        assert!(output.packed.is_empty() && output.dense.is_empty());
    }
}
