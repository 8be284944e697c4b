//! Layers from codes against values worked out by hand.

use super::both;
use tensorpress::ops::dense_packed::{PackedWeights, dense_packed};
use tensorpress::ops::linear::Variant;
use tensorpress::ops::pack::pack;
use tensorpress::scheme::{Activation, Bits, Granularity, QuantParams, QuantScheme};

#[test]
fn a_layer_by_hand() {
    let scheme =
        QuantScheme { symmetric: false, ..QuantScheme::new(Bits::Four, Granularity::Group(2)) };
    // (code − zero point) · scale: [2, 4, -3, 0] and [0, 0.5, 12, -4]
    let codes = [0, 1, -4, -1, 3, 4, 7, -1];
    let params = QuantParams { scale: vec![2.0, 1.0, 0.5, 2.0], zero_point: vec![-1, -1, 3, 1] };
    for backend in both() {
        let words = pack(&backend, &codes, 4, Bits::Four).expect("packs");
        let weights =
            PackedWeights { words: &words, rows: 2, cols: 4, params: &params, scheme: &scheme };
        for variant in Variant::ALL {
            let run = |x: &[f32]| {
                let activation = Activation::Identity;
                dense_packed(&backend, x, weights, Some(&[1.0, 0.0]), activation, Some(variant))
            };
            assert_eq!(run(&[1.0, 1.0, 1.0, 1.0]).expect("runs"), [4.0, 8.5]);
            assert_eq!(run(&[0.0, 0.0, 0.0, 1.0]).expect("runs"), [1.0, -4.0]);
        }
        let short = PackedWeights { words: &words[1..], ..weights };
        let refused = dense_packed(&backend, &[1.0; 4], short, None, Activation::Identity, None);
        assert_eq!(refused.expect_err("too few words").exit_code(), 65);
    }
}
