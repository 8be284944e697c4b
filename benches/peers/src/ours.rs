//! tensorpress.

use std::collections::BTreeMap;

use tensorpress::gpu::Gpu;
use tensorpress::io::{Model, OutputFile, SafetensorsWriter, TensorSpec};
use tensorpress::nn::{Loaded, Network, Outputs};
use tensorpress::ops::Backend;
use tensorpress::ops::linear::{self, LayerWeights, Linear};
use tensorpress::scheme::Activation;
use tensorpress::tensor::{DType, FloatType, Matrix};

use crate::Side;
use crate::problem::Problem;

/// X · Wᵀ, both on the device already.
pub fn product<'a>(gpu: &'a Gpu, problem: &Problem) -> Side<'a> {
    let (inputs, outputs) = (problem.widths[0], problem.widths[1]);
    let data = bytemuck::cast_slice(&problem.weights[0]);
    let weights = Matrix::new(FloatType::F32, outputs, inputs, data).expect("a matrix");
    let backend = Backend::Gpu(gpu.clone());
    let layer = Linear::new(&backend, LayerWeights::Dense(weights), None, Activation::Identity)
        .expect("uploads");
    let batch = problem.batch;
    let mut recorder = gpu.recorder();
    let padded = linear::pad(&problem.x, batch, inputs);
    let x = recorder.upload(bytemuck::cast_slice(&padded)).expect("uploads");
    recorder.run().expect("runs");
    Box::new(move |passes, wanted| {
        let mut recorder = gpu.recorder();
        for pass in 1..=passes {
            let y = layer.record(&mut recorder, &x, batch, false, None).expect("records");
            if wanted && pass == passes {
                recorder.download(&y, batch * outputs * 4).expect("records");
            }
        }
        let downloads = recorder.run().expect("runs").downloads;
        downloads.concat().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    })
}

/// The network from rows in memory to logits in memory.
pub fn network<'a>(gpu: &Gpu, problem: &'a Problem) -> Side<'a> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("network.safetensors");
    let mut network = Network::new();
    let (mut specs, mut data) = (vec![], vec![]);
    for (layer, weight) in problem.weights.iter().enumerate() {
        let (inputs, outputs) = (problem.widths[layer], problem.widths[layer + 1]);
        let last = layer + 1 == problem.weights.len();
        let activation = if last { Activation::Identity } else { Activation::Relu };
        network = network.dense(&format!("fc{layer}"), inputs, outputs, activation).expect("fits");
        let parts = [
            ("weight", vec![outputs, inputs], weight),
            ("bias", vec![outputs], &problem.biases[layer]),
        ];
        for (part, shape, values) in parts {
            specs.push(TensorSpec { name: format!("fc{layer}.{part}"), dtype: DType::F32, shape });
            data.push(values);
        }
    }
    let writer = SafetensorsWriter::create(specs, &BTreeMap::new(), |size| {
        OutputFile::create(&path, size, false)
    })
    .expect("creates");
    for (tensor, values) in data.into_iter().enumerate() {
        writer.write_at(tensor, 0, bytemuck::cast_slice(values)).expect("writes");
    }
    writer.finish().expect("writes");
    let model = Model::open(&path).expect("a model");
    let loaded = Loaded::new(&Backend::Gpu(gpu.clone()), &model, network).expect("loads");
    Box::new(move |passes, _| {
        let pass = |_| loaded.forward(&problem.x, Outputs::Logits).expect("runs");
        (0..passes).map(pass).last().unwrap_or_default()
    })
}
