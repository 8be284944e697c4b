//! Networks from a description in the metadata.

use proptest::prelude::*;
use serde_json::{Value, json};
use tensorpress::nn::{Network, Origin};
use tensorpress::scheme::Activation;
use tensorpress::tensor::DType;

use crate::files::tensor;
use crate::{assert_bad, made, two_layers, zeros};

fn valid() -> Value {
    json!({
        "version": 1,
        "layers": [
            {"name": "first", "weight": "fc1.weight", "bias": "fc1.bias", "activation": "gelu"},
            {"name": "second", "weight": "fc2.weight", "activation": "leaky-relu:0.25"},
        ],
        "output": "logits",
    })
}

#[test]
fn descriptions_are_read_and_written() {
    let tensors = [two_layers(), vec![zeros("left.out", &[3])]].concat();
    let (network, origin) = made(Some(&valid().to_string()), &tensors).expect("a network");
    let explanation =
        "described in the metadata:\nfirst: 6 → 5, gelu\nsecond: 5 → 4, leaky-relu:0.25";
    assert_eq!(origin, Origin::Described(explanation.into()));
    assert_eq!((network.layers[1].bias.as_deref(), network.softmax), (None, false));
    assert_eq!(serde_json::from_str::<Value>(&network.to_json()).expect("JSON"), valid());

    let built = Network::new()
        .dense("fc1", 6, 5, Activation::GeluTanh)
        .and_then(|network| network.dense("fc2", 5, 4, Activation::Identity))
        .expect("it chains")
        .softmax();
    assert_eq!(made(Some(&built.to_json()), &two_layers()).expect("a network").0, built);

    // An order of its own, and kernels as Keras stores them.
    let keras = [zeros("dense/kernel", &[5, 4]), zeros("dense_1/kernel", &[6, 5])];
    let description = json!({"version": 1, "output": "softmax", "layers": [
        {"name": "a", "weight": "dense_1/kernel", "bias": null, "activation": "none"},
        {"name": "b", "weight": "dense/kernel", "activation": "silu"},
    ]});
    let (network, _) = made(Some(&description.to_string()), &keras).expect("a network");
    assert_eq!(network.to_string(), "a: 6 → 5, identity\nb: 5 → 4, silu, softmax");
}

/// The example and the names of FORMAT.md are read.
#[test]
fn the_documented_form_is_read() {
    let text = std::fs::read_to_string(crate::files::own("FORMAT.md")).expect("a document");
    let (_, after) = text.split_once("```json\n").expect("an example");
    let (json, rest) = after.split_once("```").expect("its end");
    let (network, _) = made(Some(json), &two_layers()).expect("a network");
    assert_eq!(network.to_string(), "fc1: 6 → 5, relu\nfc2: 5 → 4, softmax");
    let (_, names) = rest.split_once("- `activation`: ").expect("names");
    let names: Vec<&str> = names.split('`').skip(1).step_by(2).take(9).collect();
    assert_eq!((names[0], names[8]), ("identity", "tanh"));
    for name in names {
        name.replace("SLOPE", "0.2").parse::<Activation>().expect(name);
    }
}

#[test]
fn bad_descriptions_name_layer_and_problem() {
    let cases: [(&str, Value, &[&str]); 16] = [
        ("/version", json!(2), &["version 2", "version 1 was expected"]),
        ("/version", json!("1"), &["expected u64"]),
        ("/output", json!("probabilities"), &["`probabilities`", "`softmax`", "`logits`"]),
        ("/layers", json!([]), &["no layers"]),
        ("/layers", json!({}), &["expected a sequence"]),
        ("/layers/1/activation", json!("swish"), &["layer \"second\"", "\"swish\"", "silu"]),
        ("/layers/1/activation", json!(null), &["layer \"second\"", "expected a string"]),
        ("/layers/1/name", json!(7), &["layer number 2", "integer `7`"]),
        ("/layers/1/name", json!("first"), &["two layers are called \"first\""]),
        (
            "/layers/0/weight",
            json!("fc9.weight"),
            &["layer \"first\" wants the weight \"fc9.weight\"", "no tensor"],
        ),
        ("/layers/0/bias", json!("fc9.bias"), &["layer \"first\" wants the bias \"fc9.bias\""]),
        (
            "/layers/0/bias",
            json!("fc2.bias"),
            &["layer \"first\" gives 5", "[5]", "has [4] of F32"],
        ),
        (
            "/layers/0/weight",
            json!("fc1.bias"),
            &["layer \"first\"", "shape [5] of F32", "two dimensions"],
        ),
        (
            "/layers/1/weight",
            json!("fc1.weight"),
            &["layer \"second\" uses the tensor \"fc1.weight\""],
        ),
        (
            "/layers/1/weight",
            json!("other"),
            &["layer \"first\" gives 5 outputs", "\"second\", wants 8 inputs"],
        ),
        ("/layers/1/weight", json!("ints"), &["layer \"second\"", "shape [4, 5] of I8"]),
    ];
    let mut tensors = two_layers();
    tensors.extend([zeros("other", &[4, 8]), tensor("ints", DType::I8, &[4, 5], &[0; 20])]);
    for (place, value, expected) in cases {
        let mut description = valid();
        *description.pointer_mut(place).expect("a place") = value;
        assert_bad(made(Some(&description.to_string()), &tensors), expected);
    }
    for (place, field) in [("", "extra"), ("/layers/0", "units")] {
        let mut description = valid();
        description.pointer_mut(place).expect("a place")[field] = json!(1);
        let expected = format!("unknown field `{field}`");
        assert_bad(made(Some(&description.to_string()), &tensors), &[&expected]);
    }
    for (place, field) in [
        ("", "output"),
        ("", "layers"),
        ("", "version"),
        ("/layers/0", "name"),
        ("/layers/0", "activation"),
    ] {
        let mut description = valid();
        let object = description.pointer_mut(place).and_then(Value::as_object_mut);
        object.expect("an object").shift_remove(field);
        let expected = format!("missing field `{field}`");
        assert_bad(made(Some(&description.to_string()), &tensors), &[&expected]);
    }
    let twice = valid().to_string().replacen("\"name\"", "\"name\":\"zero\",\"name\"", 1);
    assert_bad(made(Some(&twice), &tensors), &["duplicate field `name`"]);
    for text in ["", "{", "[]", "null", "{}", "{\"version\":1} x"] {
        assert_bad(made(Some(text), &tensors), &["metadata key \"network\"", "correct it"]);
    }
}

/// Words that descriptions are made of, and others.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "version",
        "layers",
        "output",
        "name",
        "weight",
        "bias",
        "activation",
        "softmax",
        "logits",
        "fc1",
        "fc2",
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
        "relu",
        "leaky-relu:1e9",
    ];
    prop_oneof![9 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => (0..3_u64).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        6 => word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A valid description with some of its places overwritten.
fn changed() -> impl Strategy<Value = Value> {
    let places = [
        "/version",
        "/layers",
        "/output",
        "/layers/0",
        "/layers/1",
        "/layers/0/name",
        "/layers/0/weight",
        "/layers/0/bias",
        "/layers/0/activation",
        "/layers/1/weight",
    ];
    let place = prop::sample::select(places.to_vec());
    prop::collection::vec((place, value()), 0..3).prop_map(|changes| {
        let mut description = valid();
        for (place, value) in changes {
            if let Some(at) = description.pointer_mut(place) {
                *at = value;
            }
        }
        description
    })
}

proptest! {
    /// Whatever the metadata hold, the network is sound or the error is one of bad data.
    #[test]
    fn any_description_is_read_or_refused(
        json in prop_oneof![
            value().prop_map(|v| v.to_string()),
            changed().prop_map(|v| v.to_string()),
            ".{0,40}",
        ],
    ) {
        match made(Some(&json), &two_layers()) {
            Ok((network, _)) => {
                network.check()?;
                let again = made(Some(&network.to_json()), &two_layers()).expect("its own JSON");
                prop_assert_eq!(again.0, network);
            }
            Err(error) => prop_assert_eq!(error.exit_code(), 65),
        }
    }
}
