//! What cannot lose neurons.

use crate::files::{find, read, tensor, write};
use crate::slimmed::{all, by_hand, compressed};
use crate::{layers, open};
use std::fs;
use tensorpress::Error;
use tensorpress::compress::{Execution, Recipe};
use tensorpress::error::UsageError;
use tensorpress::ops::Backend;
use tensorpress::scheme::QuantScheme;
use tensorpress::tensor::FloatType;

#[test]
fn what_is_no_network_or_has_no_neurons_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["model", "out"].map(|name| folder.path().join(name));
    let refused = |recipe: Recipe| -> UsageError {
        match recipe.keep_neurons(0.5).dry_run(&open(&model), &Execution::new(&Backend::Cpu)) {
            Err(Error::Usage(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let network = by_hand(false, FloatType::F32);
    write(&model, &[], &network[1].tensors());
    assert!(matches!(refused(Recipe::new()), UsageError::NoHiddenLayer));

    let norm = tensor("norm.weight", FloatType::F32.dtype(), &[4], &[0; 16]);
    write(&model, &[], &[all(&network), vec![norm]].concat());
    let message = refused(Recipe::new()).to_string();
    for part in ["--keep-neurons", "norm.weight", "metadata"] {
        assert!(message.contains(part), "{message}");
    }

    write(&model, &[], &all(&network));
    let unknown = regex::Regex::new("nothing").expect("a pattern");
    let error = refused(Recipe::new().sparsity(0.5).include(unknown));
    assert!(matches!(error, UsageError::NothingSelected { .. }), "{error}");

    // With and without the configuration that says so.
    let wide = layers(&[("fc1", 64, 4), ("fc2", 4, 2)]);
    write(&model, &[], &wide);
    let fc1 = regex::Regex::new("fc1").expect("a pattern");
    compressed(Recipe::new().quantize(QuantScheme::int8()).include(fc1), &model, &out);
    let codes = read(&out);
    fs::rename(&out, &model).expect("renamed");
    assert!(matches!(refused(Recipe::new()), UsageError::AlreadyCompressed { .. }));
    write(&model, &[], &codes);
    let message = refused(Recipe::new()).to_string();
    assert!(message.contains("fc1.weight is int8 channel"), "{message}");
    assert!(message.contains("tensorpress decompress"), "{message}");
}

#[test]
fn weights_that_are_not_finite_are_refused_or_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["model", "out"].map(|name| folder.path().join(name));
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        for kernel in [false, true] {
            let mut network = by_hand(kernel, FloatType::F32);
            network[1].rows[1][0] = value;
            write(&model, &[], &all(&network));
            let recipe = Recipe::new().keep_neurons(0.25).force(true);
            let error = recipe.clone().compress(&open(&model), &out, &Backend::Cpu);
            let error = error.expect_err("not finite");
            assert_eq!(error.exit_code(), 65);
            let message = error.to_string();
            let place = format!("element {} is {text} (1 ", if kernel { 1 } else { 4 });
            for part in [if kernel { "dense_1/kernel" } else { "fc2.weight" }, &place] {
                assert!(message.contains(part), "{part}: {message}");
            }
            compressed(recipe.allow_non_finite(true), &model, &out);
            // The neuron that it belongs to.
            let bias = find(&read(&out), if kernel { "dense/bias" } else { "fc1.bias" }).clone();
            assert_eq!(bias.data, 10.0_f32.to_le_bytes());
        }
    }
}
