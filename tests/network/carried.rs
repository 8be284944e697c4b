//! Compressing and decompressing keeps networks as they are.

use std::path::Path;

use tensorpress::Error;
use tensorpress::compress::{Execution, Format, OnIndivisible, Pruning, Recipe, decompress};
use tensorpress::error::UsageError;
use tensorpress::nn::{Network, Origin};
use tensorpress::ops::Backend;
use tensorpress::scheme::{Activation, Bits, Granularity, NmPattern, QuantScheme};

use crate::files::{read, trained, trained_here, write, write_shards};
use crate::{layers, network_of, open};

/// Every form that is written.
fn recipes() -> Vec<Recipe> {
    let bits = [Bits::Two, Bits::Four, Bits::Eight];
    let granularities = [Granularity::Tensor, Granularity::Channel, Granularity::Group(4)];
    let mut recipes = vec![];
    for (bits, granularity) in bits.into_iter().flat_map(|b| granularities.map(|g| (b, g))) {
        for symmetric in [true, false] {
            let scheme = QuantScheme { symmetric, ..QuantScheme::new(bits, granularity) };
            recipes.push(Recipe::new().quantize(scheme));
        }
    }
    let pattern = Pruning::Nm(NmPattern { keep: 2, of: 4 });
    recipes.extend([
        Recipe::new().sparsity(0.5),
        Recipe::new().format(Format::SparseBitmask),
        Recipe::new().format(Format::SparseBitmask).sparsity(1.0),
        Recipe::new().format(Format::SparseBitmask).prune(pattern),
        Recipe::new().format(Format::SparseBitmask).sparsity(0.9).quantize(QuantScheme::int8()),
        Recipe::new().format(Format::Dense).quantize(QuantScheme::int8()),
    ]);
    recipes.into_iter().map(|r| r.on_indivisible(OnIndivisible::Channel).force(true)).collect()
}

/// Compresses and decompresses `model` in every form; each time the network is the same, and
/// described where it was.
fn assert_carried(model: &Path, folder: &Path) {
    let (before, origin) = network_of(model).unwrap_or_else(|e| panic!("{e}"));
    let [small, dense] = ["small", "dense"].map(|name| folder.join(name));
    for recipe in recipes() {
        let said = format!("{}: {recipe:?}", model.display());
        recipe.compress(&open(model), &small, &Backend::Cpu).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(network_of(&small).expect(&said), (before.clone(), origin.clone()), "{said}");
        let execution = Execution::new(&Backend::Cpu);
        match decompress(&open(&small), &dense, true, &execution) {
            Ok(_) => {
                let after = network_of(&dense).expect(&said);
                assert_eq!(after, (before.clone(), origin.clone()), "{said}");
            }
            Err(error) => {
                let dense = matches!(error, Error::Usage(UsageError::NotCompressed { .. }));
                assert!(dense, "{said}: {error}");
            }
        }
    }
}

#[test]
fn compressed_models_hold_the_same_network() {
    let folder = tempfile::tempdir().expect("a folder");
    for model in trained() {
        assert_carried(&model, folder.path());
    }
}

#[test]
fn descriptions_are_carried_through() {
    let folder = tempfile::tempdir().expect("a folder");
    for from in trained_here() {
        let activations = [Activation::LeakyRelu(0.1), Activation::Tanh];
        let (network, _) = Network::read(&open(&from), Some(&activations)).expect("a network");
        let model = folder.path().join("described");
        write(&model, &[(Network::KEY, &network.to_json())], &read(&from));
        assert!(
            matches!(network_of(&model), Ok((found, Origin::Described(_))) if found == network)
        );
        assert_carried(&model, folder.path());
    }
}

#[test]
fn layers_of_a_directory_may_lie_in_several_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, small] = ["model", "small"].map(|name| folder.path().join(name));
    let shards = [layers(&[("fc2", 8, 4)]), layers(&[("fc1", 8, 8)])];
    write_shards(&model, &shards, "{}");
    let (network, _) = network_of(&model).expect("a network");
    assert_eq!(network.to_string(), "fc1: 8 → 8, relu\nfc2: 8 → 4, softmax");

    let mut built = Network::new();
    for (name, outputs) in [("fc1", 8), ("fc2", 4)] {
        built = built.dense(name, 8, outputs, Activation::Silu).expect("it chains");
    }
    let file = |number| model.join(format!("model-0000{number}-of-00002.safetensors"));
    write(&file(2), &[(Network::KEY, &built.to_json())], &shards[1]);
    let recipe = Recipe::new().quantize(QuantScheme::int8());
    recipe.compress(&open(&model), &small, &Backend::Cpu).expect("compressed");
    for folder in [&model, &small] {
        let (network, origin) = network_of(folder).expect("a network");
        assert!(network == built && matches!(origin, Origin::Described(_)));
    }

    write(&file(1), &[(Network::KEY, &built.softmax().to_json())], &shards[0]);
    let error = network_of(&model).expect_err("two descriptions");
    assert_eq!(error.exit_code(), 65);
    let message = error.to_string();
    assert!(message.contains("00001-of") && message.contains("00002-of"), "{message}");
}
