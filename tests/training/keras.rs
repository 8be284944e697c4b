//! The same 100 steps as Keras, from the same weights: the file that benches/peers/keras_steps.py
//! writes.

use std::collections::HashMap;

use safetensors::SafeTensors;
use tensorpress::ops::{Features, Indices, Loss, Optimizer};
use tensorpress::scheme::Activation;

use super::both;
use super::chain::{Chain, Recipe, Start, squared};

const BATCH: usize = 32;
/// What the issue asks for.
const LIMIT: f32 = 1e-5;

#[test]
fn a_hundred_steps_end_where_keras_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keras_steps.safetensors");
    let file = std::fs::read(path).expect("the fixture");
    let (_, header) = SafeTensors::read_metadata(&file).expect("a header");
    let metadata = header.metadata().as_ref().expect("metadata");
    let cases: serde_json::Value = serde_json::from_str(&metadata["cases"]).expect("JSON");
    let tensors = SafeTensors::deserialize(&file).expect("tensors");
    let bytes = |name: &str| tensors.tensor(name).expect(name).data().to_vec();
    let floats = |name: &str| -> Vec<f32> {
        bytes(name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let (x, y) = (bytes("x"), bytes("y"));
    let (rows, labels) = (y.len(), y.iter().map(|y| u32::from(*y)).collect::<Vec<_>>());
    let cases = cases.as_object().expect("cases");
    assert!(cases.len() >= 6);
    for backend in both() {
        let features = Features::bytes(&backend, x.clone(), (rows, x.len() / rows));
        let features = features.expect("uploads");
        let labels = Indices::new(&backend, &labels).expect("uploads");
        let order = Indices::new(&backend, &(0..rows as u32).collect::<Vec<_>>()).expect("uploads");
        for (case, what) in cases {
            let number = |key: &str| what[key].as_f64().unwrap_or(0.0);
            let optimizer = match what["optimizer"].as_str() {
                Some("adam") => Optimizer::ADAM,
                Some("adamw") => Optimizer::Adam {
                    beta_1: 0.9,
                    beta_2: 0.999,
                    epsilon: 1e-7,
                    weight_decay: number("weight_decay"),
                },
                Some("sgd") => Optimizer::Sgd {
                    momentum: number("momentum"),
                    nesterov: false,
                    weight_decay: 0.0,
                },
                other => panic!("{other:?}"),
            };
            let hidden: Activation =
                what["activation"].as_str().expect("a name").parse().expect("known");
            let start =
                [("fc1", hidden), ("fc2", Activation::Identity)].map(|(layer, activation)| {
                    let tensor = |part: &str| floats(&format!("{case}/initial/{layer}.{part}"));
                    Start { weights: tensor("weight"), bias: tensor("bias"), activation }
                });
            let loss = match what["loss"].as_str() {
                Some("mse") => squared(&labels, true),
                _ => Loss::CrossEntropy { labels: &labels },
            };
            let recipe = Recipe {
                features: &features,
                loss,
                dropout: (0.0, 0),
                l2: number("l2"),
                learning_rate: number("learning_rate"),
                hold_zeros: false,
            };
            let mut chain = Chain::new(&backend, &start, optimizer, rows);
            chain.train(&backend, &recipe, &order, BATCH, 100);
            let names = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];
            let found: HashMap<_, _> = names.into_iter().zip(chain.parameters()).collect();
            for (name, found) in found {
                let expected = floats(&format!("{case}/final/{name}"));
                let errors = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                let worst = errors.fold(0.0, f32::max);
                assert!(worst <= LIMIT, "{case} {name} on {}: off by {worst}", backend.name());
            }
        }
    }
}
