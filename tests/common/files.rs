//! Safetensors files made in tests.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tensorpress::io::{Model, OutputFile, SafetensorsFile, SafetensorsWriter, TensorSpec};
use tensorpress::tensor::DType;

/// A tensor with its bytes.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

pub fn tensor(name: &str, dtype: DType, shape: &[usize], data: &[u8]) -> Tensor {
    Tensor { name: name.to_owned(), dtype, shape: shape.to_vec(), data: data.to_vec() }
}

pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, DType::F32, shape, &data)
}

/// Every tensor of a model, in the order of the files.
pub fn read(model: &Path) -> Vec<Tensor> {
    let model = Model::open(model).expect("a model");
    let all = model.shards().iter().flat_map(|file: &SafetensorsFile| {
        file.tensors().iter().map(|t| tensor(&t.name, t.dtype, &t.shape, file.view(t).data))
    });
    all.collect()
}

/// The tensor of this name.
pub fn find<'a>(tensors: &'a [Tensor], name: &str) -> &'a Tensor {
    tensors.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
}

pub fn write(path: &Path, metadata: &[(&str, &str)], tensors: &[Tensor]) {
    let specs = tensors.iter().map(|t| TensorSpec {
        name: t.name.clone(),
        dtype: t.dtype,
        shape: t.shape.clone(),
    });
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let writer = SafetensorsWriter::create(specs.collect(), &metadata, |size| {
        OutputFile::create(path, size, true)
    });
    let writer = writer.expect("a writer");
    for (number, tensor) in tensors.iter().enumerate() {
        writer.write_at(number, 0, &tensor.data).expect("room");
    }
    writer.finish().expect("a file");
}

/// Writes a directory with shards, an index and a configuration.
pub fn write_shards(folder: &Path, shards: &[Vec<Tensor>], config: &str) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut map = serde_json::Map::new();
    let mut total = 0;
    for (number, tensors) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write(&folder.join(&name), &[("format", "pt")], tensors);
        for tensor in tensors {
            map.insert(tensor.name.clone(), name.clone().into());
            total += tensor.data.len();
        }
    }
    let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": map });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("index");
    std::fs::write(folder.join("config.json"), config).expect("config");
}

/// A file of this repository.
pub fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The trained model of this repository in every layout and type and, where a folder of more
/// models is there, those too.
pub fn trained() -> Vec<PathBuf> {
    let mut all = trained_here();
    let shared = std::env::var_os("TENSORPRESS_SHARED").unwrap_or_default();
    match std::fs::read_dir(Path::new(&shared).join("models")) {
        Ok(entries) => {
            let paths = entries.map(|entry| entry.expect("an entry").path());
            all.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "safetensors")));
        }
        Err(_) => {
            println!("skipped: extra models (TENSORPRESS_SHARED names no folder with models)")
        }
    }
    all
}

/// Those that lie in this repository.
pub fn trained_here() -> Vec<PathBuf> {
    let layouts = ["", ".bf16", ".f16", ".keras-layout", ".keras-layout.bf16", ".keras-layout.f16"];
    let path = |layout: &str| match layout {
        "" => own("examples/fashion-100-10.safetensors"),
        _ => own(&format!("tests/models/fashion-100-10{layout}.safetensors")),
    };
    layouts.map(path).to_vec()
}

/// A cheap pseudo-random sequence, roughly normal.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (0..6).map(|_| next()).sum::<f32>() - 3.0).collect()
}
