//! Models made by hand, good ones and broken ones.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use tensorpress::tensor::FloatType;

/// A tensor for [`file`].
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

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
    file_with(&serde_json::json!({ "format": "pt" }), tensors)
}

/// A safetensors file with these tensors and `__metadata__`.
pub fn file_with(metadata: &serde_json::Value, tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::json!({ "__metadata__": metadata });
    let mut data = vec![];
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.data);
        header[&tensor.name] = serde_json::json!({
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, data.len()],
        });
    }
    raw(header.to_string(), &data)
}

/// Numbers that look random and are the same on every run: xorshift.
pub fn noise(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // 24 bits, in -1..1
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// A weight of noise.
pub fn weight(name: &str, float: FloatType, shape: &[usize]) -> Tensor {
    let values: Vec<f32> =
        noise(name.len() as u64 + 1).take(shape.iter().product::<usize>()).collect();
    tensor(name, float, shape, &values)
}

/// A tensor of these values.
pub fn tensor(name: &str, float: FloatType, shape: &[usize], values: &[f32]) -> Tensor {
    let mut data = vec![];
    float.encode(values, &mut data);
    Tensor { name: name.into(), dtype: float.dtype().name(), shape: shape.into(), data }
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
    let place = |shard| move |t: &Tensor| (t.name.clone(), shard);
    let places: Vec<(String, &str)> =
        first.iter().map(place(SHARDS[0])).chain(second.iter().map(place(SHARDS[1]))).collect();
    let places: Vec<(&str, &str)> = places.iter().map(|(t, s)| (t.as_str(), *s)).collect();
    vec![
        (SHARDS[0], file(first)),
        (SHARDS[1], file(second)),
        (INDEX, index(&places)),
        ("config.json", br#"{"model_type":"llama","hidden_size":8}"#.to_vec()),
        ("tokenizer.json", br#"{"version":"1.0"}"#.to_vec()),
        ("original/params.json", br#"{"dim":8}"#.to_vec()),
    ]
}

/// A model of this repository.
pub fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub const EXAMPLE: &str = "examples/fashion-100-10.safetensors";
