//! Models as bytes, good ones and broken ones; unlike `files`, nothing checks them.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::path::Path;

use tensorpress::tensor::FloatType;

use super::files::{Tensor, noise, tensor};

/// A safetensors file of this header and data, whether they fit or not.
pub fn raw(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

/// A safetensors file with these tensors, in this order.
pub fn file(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::json!({ "__metadata__": { "format": "pt" } });
    let mut data = vec![];
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.data);
        header[&tensor.name] = serde_json::json!({
            "dtype": tensor.dtype.name(),
            "shape": tensor.shape,
            "data_offsets": [start, data.len()],
        });
    }
    raw(header.to_string(), &data)
}

/// A tensor of these values.
pub fn values(name: &str, float: FloatType, shape: &[usize], values: &[f32]) -> Tensor {
    let mut data = vec![];
    float.encode(values, &mut data);
    tensor(name, float.dtype(), shape, &data)
}

/// A tensor of noise.
pub fn weight(name: &str, float: FloatType, shape: &[usize]) -> Tensor {
    values(name, float, shape, &noise(name.len() as u64 + 1, shape.iter().product()))
}

/// Two weights of 4 × 8 and 3 × 4, and a bias.
pub fn small() -> Vec<Tensor> {
    vec![
        weight("fc1.weight", FloatType::F32, &[4, 8]),
        weight("fc1.bias", FloatType::F32, &[4]),
        weight("fc2.weight", FloatType::F32, &[3, 4]),
    ]
}

/// Writes these files below `folder`, which is made.
pub fn write_all(folder: &Path, files: &[(&str, Vec<u8>)]) {
    fs::create_dir_all(folder).expect("created");
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, content).expect("written");
    }
}

pub const INDEX: &str = "model.safetensors.index.json";
pub const SHARDS: [&str; 2] =
    ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// An index that places each tensor.
pub fn index(places: &[(&str, &str)]) -> Vec<u8> {
    let mut index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": {} });
    for (tensor, shard) in places {
        index["weight_map"][tensor] = (*shard).into();
    }
    index.to_string().into_bytes()
}

/// The files of a model with two shards, `first` and `second`, and what else a directory has.
pub fn sharded(first: &[Tensor], second: &[Tensor]) -> Vec<(&'static str, Vec<u8>)> {
    let placed = [(SHARDS[0], first), (SHARDS[1], second)];
    let places: Vec<(&str, &str)> = placed
        .iter()
        .flat_map(|(shard, tensors)| tensors.iter().map(|t| (t.name.as_str(), *shard)))
        .collect();
    vec![
        (SHARDS[0], file(first)),
        (SHARDS[1], file(second)),
        (INDEX, index(&places)),
        ("config.json", br#"{"model_type":"llama","hidden_size":8}"#.to_vec()),
        ("tokenizer.json", br#"{"version":"1.0"}"#.to_vec()),
        ("original/params.json", br#"{"dim":8}"#.to_vec()),
    ]
}

/// The trained model, as it lies in this repository.
pub const EXAMPLE: &str = "examples/fashion-100-10.safetensors";
