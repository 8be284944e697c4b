//! Networks from names and shapes.

use proptest::prelude::*;
use tensorpress::nn::{Layer, Network, Origin};
use tensorpress::scheme::Activation;
use tensorpress::tensor::DType;

use crate::files::{Tensor, floats, tensor, trained};
use crate::{assert_bad, layers, made, network_of, two_layers, zeros};

fn inferred(tensors: &[Tensor]) -> Network {
    let (network, origin) = made(None, tensors).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(origin, Origin::Inferred(_)));
    assert!(origin.to_string().ends_with(&network.to_string()), "{origin}");
    network
}

fn names(network: &Network) -> Vec<&str> {
    network.layers.iter().map(|layer| &*layer.name).collect()
}

#[test]
fn trained_models_are_inferred_with_relu_and_softmax() {
    for path in trained() {
        let (network, origin) = network_of(&path).unwrap_or_else(|e| panic!("{e}"));
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!((network.inputs(), network.outputs()), (784, 10), "{name}");
        if name.contains("fashion-100-10") {
            let keras = name.contains("keras");
            let [first, second] = if keras { ["dense", "dense_1"] } else { ["fc1", "fc2"] };
            assert_eq!(
                origin.to_string(),
                format!(
                    "inferred from the names and shapes of the tensors:\n\
                     {first}: 784 → 100, relu\n{second}: 100 → 10, softmax"
                )
            );
            let end = if keras { "/kernel" } else { ".weight" };
            assert_eq!(network.layers[1].weight, format!("{second}{end}"));
        }
    }
}

#[test]
fn layers_are_inferred_in_natural_order() {
    let keras = [
        zeros("dense_1/kernel", &[5, 4]),
        zeros("dense/kernel", &[6, 5]),
        zeros("dense/bias", &[5]),
    ];
    let network = inferred(&keras);
    assert_eq!(names(&network), ["dense", "dense_1"]);
    assert_eq!(network.layers[0].bias.as_deref(), Some("dense/bias"));
    assert_eq!(network.layers[1].bias, None);

    type Case<'a> = (&'a [(&'a str, usize, usize)], &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        (&[("fc10", 4, 4), ("fc2", 4, 4), ("fc1", 4, 4)], &["fc1", "fc2", "fc10"]),
        (&[("0.2", 5, 4), ("0.0", 6, 5), ("0.10", 4, 3)], &["0.0", "0.2", "0.10"]),
        (&[("model.b.l", 5, 4), ("model.a.l", 6, 5)], &["model.a.l", "model.b.l"]),
        // An encoder and a decoder chain in both orders.
        (&[("decoder.0", 2, 6), ("encoder.0", 6, 2)], &["encoder.0", "decoder.0"]),
        (&[("output", 3, 2), ("hidden", 4, 3), ("input", 5, 4)], &["input", "hidden", "output"]),
        // The names say nothing and the sizes all.
        (&[("a", 4, 3), ("b", 6, 5), ("c", 5, 4)], &["b", "c", "a"]),
        (&[("a", 5, 3), ("b", 6, 5), ("c", 5, 5)], &["b", "c", "a"]),
        (&[("only", 6, 1)], &["only"]),
    ];
    for (given, expected) in cases {
        assert_eq!(names(&inferred(&layers(given))), expected);
    }

    // A layer that was stored alone.
    let alone = inferred(&[zeros("weight", &[3, 2]), zeros("bias", &[3])]);
    let expected = Layer {
        name: "weight".into(),
        weight: "weight".into(),
        bias: Some("bias".into()),
        inputs: 2,
        outputs: 3,
        activation: Activation::Identity,
    };
    assert_eq!(alone, Network { layers: vec![expected], softmax: true });
}

#[test]
fn what_is_no_chain_of_dense_layers_is_named() {
    let with = |more: &[Tensor]| [&two_layers()[..], more].concat();
    let cases: Vec<(Vec<Tensor>, &[&str])> = vec![
        (vec![], &["no tensors"]),
        (
            layers(&[("fc1", 6, 5), ("fc2", 7, 4)]),
            &["\"fc1\" gives 5 outputs", "\"fc2\", wants 7 inputs", "no other order"],
        ),
        (
            layers(&[("a", 5, 4), ("b", 6, 5), ("c", 5, 5), ("d", 5, 5)]),
            &["\"a\" gives 4 outputs", "\"b\", wants 6 inputs", "several other orders", "metadata"],
        ),
        (
            with(&[zeros("conv1.weight", &[8, 1, 3, 3])]),
            &["1 of its tensors is no part", "\"conv1.weight\" [8, 1, 3, 3] F32 (a convolution)"],
        ),
        (
            with(&[
                zeros("bn.weight", &[5]),
                zeros("bn.bias", &[5]),
                tensor("bn.seen", DType::I64, &[], &[0; 8]),
            ]),
            &[
                "3 of its tensors are",
                "\"bn.weight\" [5] F32 (a norm",
                "\"bn.bias\" [5] F32 (a bias without",
                "\"bn.seen\" [] I64 (not F32",
            ],
        ),
        (
            with(&[zeros("word_embeddings.weight", &[9, 6])]),
            &["\"word_embeddings.weight\" [9, 6] F32 (an embedding)"],
        ),
        (with(&[zeros("scale", &[4])]), &["\"scale\" [4] F32 (neither"]),
        (with(&[zeros("W3", &[4, 4])]), &["\"W3\" [4, 4] F32 (neither"]),
        (
            with(&[tensor("fc3.weight", DType::F64, &[1, 4], &[0; 32])]),
            &["\"fc3.weight\" [1, 4] F64 (not F32"],
        ),
        (
            (0..12).map(|i| zeros(&format!("t{i}"), &[1])).collect(),
            &["12 of its tensors are", "and 4 more"],
        ),
        (
            vec![zeros("fc1.weight", &[5, 6]), zeros("fc1.bias", &[6])],
            &[
                "\"fc1\" gives 5 outputs",
                "\"fc1.bias\" was expected to have shape [5]",
                "has [6] of F32",
            ],
        ),
        (vec![zeros("fc1.weight", &[5, 6]), zeros("fc1.bias", &[1, 5])], &["has [1, 5] of F32"]),
        (
            vec![zeros("fc1.weight", &[5, 0])],
            &["\"fc1.weight\" has shape [5, 0] of F32", "at least 1"],
        ),
        (
            vec![zeros("a.weight", &[2, 2]), zeros("a.kernel", &[2, 2])],
            &["two layers are called \"a\""],
        ),
        (vec![zeros("a.weight_scale", &[2, 1])], &["\"a.weight_scale\"", "does not read"]),
        (
            vec![
                zeros("a.weight", &[2, 64]),
                tensor("a.weight_packed", DType::I32, &[2, 4], &[0; 32]),
                zeros("a.weight_scale", &[2, 1]),
                tensor(
                    "a.weight_shape",
                    DType::I64,
                    &[2],
                    [2_i64, 64].map(i64::to_le_bytes).as_flattened(),
                ),
            ],
            &["\"a.weight\"", "in two forms"],
        ),
    ];
    for (tensors, expected) in cases {
        assert_bad(made(None, &tensors), expected);
    }
}

/// Integers that are not packed: int-quantized and naive-quantized.
#[test]
fn plain_integers_are_weights_too() {
    let mut tensors = vec![];
    for (name, inputs, outputs) in [("fc1", 6, 5), ("fc2", 5, 4)] {
        let own = |part: &str| format!("{name}.{part}");
        let codes = vec![1; inputs * outputs];
        tensors.push(tensor(&own("weight"), DType::I8, &[outputs, inputs], &codes));
        tensors.push(floats(&own("weight_scale"), &[1], &[0.5]));
        tensors.push(tensor(&own("weight_zero_point"), DType::I8, &[1], &[3]));
        tensors.push(zeros(&own("bias"), &[outputs]));
    }
    assert_eq!(inferred(&tensors).to_string(), "fc1: 6 → 5, relu\nfc2: 5 → 4, softmax");
    tensors.retain(|tensor| !tensor.name.ends_with("zero_point"));
    tensors[1] = floats("fc1.weight_scale", &[5, 1], &[0.5; 5]);
    assert_eq!(inferred(&tensors).inputs(), 6);
}

proptest! {
    /// Whatever the tensors are called, a network that is inferred uses each of them once.
    #[test]
    fn any_tensors_are_a_network_or_named(
        all in prop::collection::btree_map(
            "(a|b|10|2|é)?(\\.|/)?(weight|kernel|bias|x)?(_packed|_scale)?",
            prop::collection::vec(0..3_usize, 0..4),
            0..6,
        ),
    ) {
        let tensors: Vec<Tensor> = all.iter().map(|(name, shape)| zeros(name, shape)).collect();
        match made(None, &tensors) {
            Ok((network, _)) => {
                network.check()?;
                let biases = network.layers.iter().filter(|layer| layer.bias.is_some()).count();
                prop_assert_eq!(network.layers.len() + biases, tensors.len());
            }
            Err(error) => prop_assert_eq!(error.exit_code(), 65),
        }
    }
}
