//! The same 100 steps as Keras, from the same weights.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use serde_json::Value;
use tensorpress::io::{Array, ArrayData, DataSet, SafetensorsFile};
use tensorpress::nn::train::{Ended, Loss, Training, TrainingOptions};
use tensorpress::nn::{LayerParameters, Network, Parameters};
use tensorpress::ops::Optimizer;
use tensorpress::scheme::Activation;
use tensorpress::tensor::FloatType;

use super::both;
use super::files::{self, find, own, read};

/// What Keras made of small networks in 100 steps; benches/peers/keras_steps.py writes it.
struct Keras {
    tensors: Vec<files::Tensor>,
    cases: serde_json::Map<String, Value>,
    data: DataSet,
}

static KERAS: LazyLock<Keras> = LazyLock::new(|| {
    let path = own("tests/fixtures/keras_steps.safetensors");
    let tensors = read(&path);
    let file = SafetensorsFile::open(&path).expect("a file");
    let cases = serde_json::from_str(&file.metadata()["cases"]).expect("JSON");
    let x = find(&tensors, "x");
    let inputs = Array { shape: x.shape.clone(), data: ArrayData::U8(x.data.clone()) };
    let labels = find(&tensors, "y").data.iter().map(|label| u32::from(*label)).collect();
    let data = DataSet { inputs, labels };
    Keras { tensors, cases, data }
});

impl Keras {
    /// Weights of a case, before or after.
    fn parameters(&self, case: &str, when: &str) -> Parameters {
        let values = |layer: usize, part: &str| {
            let tensor = find(&self.tensors, &format!("{case}/{when}/fc{layer}.{part}"));
            let floats = tensor.data.as_chunks::<4>().0;
            floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
        };
        let layer = |layer| LayerParameters {
            weight: values(layer, "weight"),
            bias: Some(values(layer, "bias")),
            float: FloatType::F32,
        };
        Parameters { layers: vec![layer(1), layer(2)] }
    }
}

fn options(case: &Value) -> TrainingOptions {
    let number = |key: &str| case[key].as_f64();
    let optimizer = match case["optimizer"].as_str().expect("a name") {
        "adam" => Optimizer::ADAM,
        "adamw" => Optimizer::ADAM_W,
        _ => Optimizer::Sgd {
            momentum: number("momentum").unwrap_or(0.0),
            nesterov: false,
            weight_decay: 0.0,
        },
    };
    let loss = match case["loss"].as_str().expect("a name") {
        "mse" => Loss::Mse,
        _ => Loss::SparseCategoricalCrossentropy,
    };
    TrainingOptions {
        loss,
        optimizer,
        learning_rate: number("learning_rate").expect("a rate"),
        l2: number("l2").expect("a factor"),
        shuffle: false,
        epochs: 10,
        ..TrainingOptions::default()
    }
}

fn network(hidden: Activation) -> Network {
    let network = Network::new().dense("fc1", 64, 24, hidden).expect("a layer");
    network.dense("fc2", 24, 10, Activation::Identity).expect("a chain").softmax()
}

fn largest_difference(a: &Parameters, b: &Parameters) -> f32 {
    let all = |p: &Parameters| -> Vec<f32> {
        let parts =
            p.layers.iter().flat_map(|l| [l.weight.clone(), l.bias.clone().expect("biases")]);
        parts.flatten().collect()
    };
    all(a).iter().zip(all(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// After 100 steps from the same weights, without shuffling, every weight is within 1e-5 of
/// Keras's.
#[test]
fn a_hundred_steps_end_where_keras_ends() {
    assert_eq!(KERAS.cases.len(), 6);
    for (name, case) in &KERAS.cases {
        let hidden = case["activation"].as_str().expect("a name").parse().expect("known");
        let (before, after) = (KERAS.parameters(name, "initial"), KERAS.parameters(name, "final"));
        assert!(largest_difference(&before, &after) > 0.05, "{name} learnt nothing");
        for backend in &both() {
            let data = KERAS.data.clone();
            let mut training =
                Training::new(backend, network(hidden), before.clone(), data, options(case))
                    .expect("fits");
            let ended = training.run(None, &mut |_| ControlFlow::Continue(())).expect("trains");
            assert_eq!(ended, Ended::Finished);
            let found = training.parameters().expect("read");
            let difference = largest_difference(&found, &after);
            assert!(difference < 1e-5, "{name} on {}: {difference:e}", backend.name());
        }
    }
}
