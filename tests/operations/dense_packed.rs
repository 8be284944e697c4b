//! Layers from codes against values worked out by hand.

use super::{both, gpu};
use tensorpress::gpu::GpuOptions;
use tensorpress::ops::Backend;
use tensorpress::ops::dense::bound;
use tensorpress::ops::dense_packed::{PackedWeights, dense_packed};
use tensorpress::ops::linear::{LayerWeights, Linear, Variant};
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

/// Codes, scales and zero points that use their whole range.
fn layer(scheme: &QuantScheme, rows: usize, cols: usize) -> (Vec<u32>, QuantParams, Vec<f64>) {
    let group = match scheme.granularity {
        Granularity::Group(size) => size,
        _ => cols,
    };
    let groups = if scheme.granularity == Granularity::Tensor { 0 } else { cols.div_ceil(group) };
    let half = 1 << (scheme.bits as u32 - 1);
    let code = |i: usize| (i * 7919 % (2 * half)) as i32 - half as i32;
    let codes: Vec<i8> = (0..rows * cols).map(|i| code(i) as i8).collect();
    let count = (rows * groups).max(1);
    let scale: Vec<f32> = (0..count).map(|i| 0.01 + (i % 7) as f32 * 0.003).collect();
    let zero = |i: usize| if scheme.symmetric { 0 } else { code(i * 3 + 1) as i8 };
    let zero_point: Vec<i8> = (0..count).map(zero).collect();
    let weights = (0..rows * cols).map(|i| {
        let at = if groups == 0 { 0 } else { i / cols * groups + i % cols / group };
        f64::from(i32::from(codes[i]) - i32::from(zero_point[at])) * f64::from(scale[at])
    });
    let weights = weights.collect();
    let words = pack(&Backend::Cpu, &codes, cols, scheme.bits).expect("packs");
    let zero_point = if scheme.symmetric { vec![] } else { zero_point };
    (words, QuantParams { scale, zero_point }, weights)
}

/// Rounded inputs cost half a step each, and no more.
#[test]
fn int8_inputs_keep_their_bound() {
    use {
        Bits::{Eight, Four, Two},
        Granularity::{Channel, Group, Tensor},
    };
    let mut layers = vec![];
    for (bits, granularity) in [
        (Eight, Channel),
        (Eight, Group(16)),
        (Four, Group(32)),
        (Four, Tensor),
        (Two, Channel),
        (Two, Group(16)),
    ] {
        for symmetric in [true, false] {
            let scheme = QuantScheme { symmetric, ..QuantScheme::new(bits, granularity) };
            layers.extend([(scheme, 1, 1), (scheme, 5, 48), (scheme, 131, 200)]);
        }
    }
    for checked in [false, true] {
        let backend = gpu(GpuOptions { checked, ..GpuOptions::default() });
        for (scheme, rows, cols) in &layers {
            let (words, params, weights) = layer(scheme, *rows, *cols);
            let packed =
                PackedWeights { words: &words, rows: *rows, cols: *cols, params: &params, scheme };
            let bias: Vec<f32> = (0..*rows).map(|i| i as f32 * 0.1 - 2.0).collect();
            let linear = Linear::new(
                &backend,
                LayerWeights::Packed(packed),
                Some(&bias),
                Activation::Identity,
            );
            let linear = linear.expect("uploads").int8_activations(true);
            for (batch, variant) in [
                (1, Variant::Int8),
                (9, Variant::Int8),
                (1, Variant::Int8Vector),
                (3, Variant::Int8Vector),
            ] {
                let x: Vec<f32> = (0..batch * cols)
                    .map(|i| (i as f32 * 0.618).sin() * (1 + i / cols) as f32)
                    .collect();
                let y = linear.run(&backend, &x, batch, Some(variant)).expect("runs");
                let mut rounded = false;
                for (at, found) in y.iter().enumerate() {
                    let (row, output) = (at / rows, at % rows);
                    let (x, w) = (&x[row * cols..][..*cols], &weights[output * cols..][..*cols]);
                    let step =
                        f64::from(x.iter().fold(0.0_f32, |most, x| most.max(x.abs()))) / 127.0;
                    let exact = w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>()
                        + f64::from(bias[output]);
                    let total = w.iter().map(|w| w.abs()).sum::<f64>();
                    let most = w
                        .iter()
                        .zip(x)
                        .map(|(w, x)| w.abs() * (f64::from(x.abs()) + step))
                        .sum::<f64>();
                    let sums = bound(cols + 1, most + f64::from(bias[output].abs()));
                    let error = (f64::from(*found) - exact).abs();
                    let allowed = (0.5 + 2.0_f64.powi(-13)) * step * total + sums;
                    assert!(
                        error <= allowed,
                        "{scheme:?} {rows}x{cols} {variant:?} {row} {output}: {error:e} > {allowed:e}"
                    );
                    rounded |= error > sums;
                }
                assert!(rounded || *cols < 48, "{scheme:?} {variant:?}: nothing was rounded");
            }
        }
    }
}

/// Who did not allow it gets `f32` inputs, and a row that is not finite no finite output.
#[test]
fn int8_inputs_are_for_those_who_allow_them() {
    let backend = gpu(GpuOptions::default());
    let scheme = QuantScheme::new(Bits::Eight, Granularity::Channel);
    let (words, params, _) = layer(&scheme, 8, 64);
    let weights =
        PackedWeights { words: &words, rows: 8, cols: 64, params: &params, scheme: &scheme };
    let mut x: Vec<f32> = (0..64).map(|i| (i as f32).cos()).collect();
    let linear = || {
        Linear::new(&backend, LayerWeights::Packed(weights), None, Activation::Identity)
            .expect("uploads")
    };
    let run =
        |linear: &Linear, x: &[f32], variant| linear.run(&backend, x, 1, variant).expect("runs");
    let plain = run(&linear(), &x, None);
    assert_eq!(run(&linear(), &x, Some(Variant::Int8)), plain, "not allowed");
    let allowed = linear().int8_activations(true);
    assert_ne!(run(&allowed, &x, Some(Variant::Int8)), plain);
    x[5] = f32::INFINITY;
    for variant in [Variant::Int8, Variant::Int8Vector] {
        assert!(run(&allowed, &x, Some(variant)).iter().all(|y| !y.is_finite()), "{variant:?}");
    }
}
