//! Layers against values worked out by hand.

use super::{both, f32_bytes, gpu};
use tensorpress::gpu::GpuOptions;
use tensorpress::ops::Backend;
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

/// The kernel that a device takes is the one that its cache names.
#[test]
fn a_choice_is_measured_kept_and_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let Backend::Gpu(plain) = gpu(GpuOptions::default()) else { panic!("the CPU") };
    let (x, data) = (vec![0.5; 3 * 72], f32_bytes(&vec![0.25; 40 * 72]));
    let run = || {
        let tuned = plain.tuned(Some(folder.path()));
        let backend = Backend::Gpu(tuned.clone());
        let (w, none) = (weights(40, 72, &data), Activation::Identity);
        assert_eq!(dense(&backend, &x, w, None, none).expect("runs"), [9.0; 3 * 40]);
        tuned
    };
    let choices = |tuned: &tensorpress::gpu::Gpu| tuned.choices().expect("tuned").known();
    let first = run();
    let measured = choices(&first);
    assert_eq!(measured.len(), 1, "{measured:?}");
    let (class, choice) = measured.first_key_value().expect("one");
    assert_eq!(class, "f32 weights, batch 4, 128 -> 64");
    assert!(choice.seconds.len() > 1 && choice.seconds.contains_key(&choice.kernel), "{choice:?}");
    assert_eq!(choices(&run()), measured, "it was measured again");

    // Another kernel that there is stays; one that there is not is measured.
    let file = first.choices().and_then(|choices| choices.file()).expect("a file").to_owned();
    let text = std::fs::read_to_string(&file).expect("kept");
    let own = format!("\"kernel\": \"{}\"", choice.kernel);
    let other = choice.seconds.keys().find(|k| **k != choice.kernel).expect("two");
    for (name, stays) in [(other.as_str(), true), ("of another version", false)] {
        let changed = text.replace(&own, &format!("\"kernel\": \"{name}\""));
        std::fs::write(&file, changed).expect("writes");
        let kernel = choices(&run())[class].kernel.clone();
        assert_eq!(kernel == name, stays, "{kernel}");
    }
    assert!(plain.choices().is_none(), "a handle of its own");
}
