//! What a compressed model says of itself, as compressed-tensors and transformers read it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tensorpress::io::SafetensorsFile;
use tensorpress::tensor::FloatType;

use crate::command::{compress, finish, run};
use crate::files::Tensor;
use crate::raw::{file, weight, write_all};

/// A decoder's tensors, without a head: it uses the embedding's weight.
fn decoder() -> Vec<Tensor> {
    let names = [
        ("model.embed_tokens.weight", [5, 8]),
        ("model.layers.0.q_proj.weight", [4, 8]),
        ("model.layers.0.up_proj.weight", [4, 12]),
    ];
    let mut tensors = names.map(|(name, shape)| weight(name, FloatType::F32, &shape)).to_vec();
    tensors.push(weight("model.norm.weight", FloatType::F32, &[8]));
    tensors
}

/// The `quantization_config` of the directory that `arguments` make of `tensors`.
#[track_caller]
fn config_of(tensors: &[Tensor], config: &str, arguments: &str) -> Option<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let files = [("model.safetensors", file(tensors)), ("config.json", config.into())];
    write_all(&input, &files);
    finish(&mut compress(&input, &out, arguments)).succeeded();
    let text = fs::read(out.join("config.json")).expect("there");
    let mut config: Value = serde_json::from_slice(&text).expect("JSON");
    config.as_object_mut().expect("an object").remove("quantization_config")
}

fn weights(bits: u32, symmetric: bool, strategy: &str, group: Option<u32>) -> Value {
    json!({
        "num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy,
        "group_size": group, "dynamic": false, "actorder": null, "observer": "minmax",
        "observer_kwargs": {}, "block_structure": null,
    })
}

fn group(targets: &[&str], weights: &Value) -> Value {
    json!({
        "targets": targets, "input_activations": null, "output_activations": null,
        "weights": weights,
    })
}

fn packed(ignore: &[&str], groups: &Value) -> Value {
    json!({
        "quant_method": "compressed-tensors", "version": "0.14.0", "format": "pack-quantized",
        "quantization_status": "compressed", "global_compression_ratio": null,
        "kv_cache_scheme": null, "ignore": ignore, "config_groups": groups,
    })
}

#[test]
fn every_scheme_is_described() {
    for (arguments, weights) in [
        ("int4 --group-size 4", weights(4, true, "group", Some(4))),
        ("int2 --group-size 2 --asymmetric", weights(2, false, "group", Some(2))),
        ("int8", weights(8, true, "channel", None)),
        ("int4 --granularity channel --asymmetric", weights(4, false, "channel", None)),
        ("int8 --granularity tensor", weights(8, true, "tensor", None)),
        ("int8 --scale 100", weights(8, true, "tensor", None)),
    ] {
        let config = config_of(&decoder(), "{}", &format!("--quantize {arguments}"));
        let groups = json!({ "group_0": group(&["Linear"], &weights) });
        // The head has no tensor, and readers would look for its codes.
        let expected = packed(&["model.embed_tokens", "lm_head"], &groups);
        assert_eq!(config, Some(expected), "{arguments}");
    }
}

#[test]
fn modules_that_stay_dense_are_named() {
    let arguments = "--quantize int8 --exclude up_proj";
    let ignored = |tensors: &[Tensor], arguments: &str| {
        config_of(tensors, "{}", arguments).expect("one")["ignore"].clone()
    };
    let up = "model.layers.0.up_proj";
    assert_eq!(ignored(&decoder(), arguments), json!(["model.embed_tokens", up, "lm_head"]));
    let mut with_head = decoder();
    with_head.push(weight("lm_head.weight", FloatType::F32, &[5, 8]));
    let all = json!(["model.embed_tokens", up, "lm_head"]);
    assert_eq!(ignored(&with_head, arguments), all, "once");
    let head_too = format!("{arguments} --include proj|head");
    assert_eq!(ignored(&with_head, &head_too), json!(["model.embed_tokens", up]));
    let without_embedding = &decoder()[1..];
    assert_eq!(ignored(without_embedding, arguments), json!([up]));
    let skipped = "--quantize int4 --group-size 8 --on-indivisible skip";
    assert_eq!(ignored(without_embedding, skipped), json!([up]));
}

#[test]
fn several_schemes_name_their_modules() {
    let arguments = "--quantize int4 --group-size 8 --on-indivisible channel";
    let mut tensors = decoder();
    tensors.push(weight("dense/kernel", FloatType::F32, &[16, 3]));
    let groups = json!({
        "group_0": group(&["dense", "model.layers.0.q_proj"], &weights(4, true, "group", Some(8))),
        "group_1": group(&["model.layers.0.up_proj"], &weights(4, true, "channel", None)),
    });
    let config = config_of(&tensors, "{}", arguments).expect("one");
    assert_eq!(config["config_groups"]["group_1"], groups["group_1"]);
    let mut targets: Vec<&str> = config["config_groups"]["group_0"]["targets"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    targets.sort_unstable();
    assert_eq!(json!(targets), groups["group_0"]["targets"]);
    assert_eq!(config["config_groups"]["group_0"]["weights"], groups["group_0"]["weights"]);
}

/// The class Linear, which stands for all modules elsewhere, leaves embeddings out.
#[test]
fn an_embedding_is_named() {
    let arguments = "--quantize int8 --include embed_tokens --include q_proj";
    let config = config_of(&decoder(), "{}", arguments).expect("quantized");
    let targets = &config["config_groups"]["group_0"]["targets"];
    assert_eq!(targets, &json!(["model.embed_tokens", "model.layers.0.q_proj"]));
}

#[test]
fn bit_masks_are_described() {
    for (pruning, structure) in [("--sparsity 0.5", "unstructured"), ("--nm 2:4", "2:4")] {
        let arguments = format!("{pruning} --format sparse-bitmask");
        let expected = json!({
            "quant_method": "compressed-tensors", "version": "0.14.0", "format": "dense",
            "quantization_status": "compressed", "ignore": [], "config_groups": {},
            "sparsity_config": {
                "format": "sparse-bitmask", "global_sparsity": 0.5,
                "sparsity_structure": structure, "targets": ["Linear"],
                "ignore": ["model.embed_tokens", "lm_head"],
            },
        });
        assert_eq!(config_of(&decoder(), "{}", &arguments), Some(expected), "{pruning}");
    }
}

#[test]
fn a_configuration_of_null_is_none() {
    let config = r#"{"a": 1, "quantization_config": null}"#;
    assert!(config_of(&decoder(), config, "--quantize int8").expect("one").is_object());
    assert_eq!(config_of(&decoder(), config, "--nm 2:4"), None);
}

/// The `quantization_config` in the metadata of a file.
fn in_metadata(path: &Path) -> Value {
    let metadata = SafetensorsFile::open(path).expect("valid").metadata().clone();
    serde_json::from_str(&metadata["quantization_config"]).expect("JSON")
}

/// Rows so short that codes of 2, 4 and 8 bits all take one word: only the configuration tells
/// them apart, which must then name kernels as it names them when it is read.
#[test]
fn short_rows_of_kernels_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let [input, packed, dense, expected] =
        ["in", "packed", "dense", "expected"].map(|name| folder.path().join(name));
    let short = ["b/kernel", "c.kernel", "kernel", "d.weight", "odd"];
    let mut tensors = vec![weight("a/kernel", FloatType::F32, &[8, 3])];
    tensors.extend(short.map(|name| weight(name, FloatType::F32, &[3, 3])));
    fs::write(&input, file(&tensors)).expect("written");
    for bits in ["int4", "int2", "int8"] {
        let recipe = format!("--quantize {bits} --group-size 8 --on-indivisible channel --force");
        let all = format!("{recipe} --include .");
        finish(&mut compress(&input, &packed, &all)).succeeded();
        assert_eq!(in_metadata(&packed)["config_groups"].as_object().map(|g| g.len()), Some(2));
        finish(&mut compress(&input, &expected, &format!("{all} --format dense"))).succeeded();
        let [packed, dense] = [&packed, &dense].map(|path| path.to_str().expect("UTF-8"));
        run(["decompress", packed, "-o", dense, "--force", "--device", "cpu"]).succeeded();
        assert!(fs::read(dense).expect("there") == fs::read(&expected).expect("there"), "{bits}");
    }
}
