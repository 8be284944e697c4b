use tensorpress::ops::prune::apply;
use tensorpress::scheme::Cut;
use tensorpress::tensor::FloatType;

use super::{both, f32_bytes, f32_values};

fn pruned(values: &[f32], cut: Cut, first_index: u64) -> Vec<Vec<f32>> {
    both()
        .iter()
        .map(|backend| {
            let mut data = f32_bytes(values);
            apply(backend, FloatType::F32, &mut data, cut, first_index).expect("runs");
            f32_values(&data)
        })
        .collect()
}

#[test]
fn a_threshold_keeps_what_is_strictly_above() {
    for got in pruned(&[0.5, -0.5, 0.6, -0.6, 0.0], Cut::above(0.5), 0) {
        assert_eq!(got, [0.0, 0.0, 0.6, -0.6, 0.0]);
    }
}

#[test]
fn a_ratio_of_one_keeps_the_largest() {
    for got in pruned(&[0.5, -2.0, 2.0, 1.0], Cut::at_least(2.0), 0) {
        assert_eq!(got, [0.0, -2.0, 2.0, 0.0]);
    }
}

#[test]
fn ties_keep_the_lower_index_across_slabs() {
    let cut = Cut { key: 1.0_f32.to_bits(), ties_below: 102 };
    for got in pruned(&[1.0, -1.0, 1.0, 3.0, -1.0], cut, 100) {
        assert_eq!(got, [1.0, -1.0, 0.0, 3.0, 0.0]);
    }
}

#[test]
fn pruned_weights_become_plus_zero() {
    for got in pruned(&[-0.25, -0.0], Cut::above(0.5), 0) {
        assert!(got.iter().all(|v| v.to_bits() == 0), "{got:?}");
    }
}
