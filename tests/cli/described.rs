//! Every network that is written says what it is.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tensorpress::io::Model;
use tensorpress::tensor::FloatType;

use crate::bad_input::assert_refused;
use crate::command::{compress, finish, program, run};
use crate::files::{floats, own, write};
use crate::raw::{EXAMPLE, file, sharded, small, weight, write_all};

/// The descriptions in the files of a model.
fn descriptions(path: &Path) -> Vec<Value> {
    let model = Model::open(path).expect("a model");
    let texts = model.shards().iter().filter_map(|file| file.metadata().get("network"));
    texts.map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

/// What `small` is.
fn described(first: &str, output: &str) -> Value {
    json!({
        "version": 1,
        "layers": [
            {"name": "fc1", "weight": "fc1.weight", "bias": "fc1.bias", "activation": first},
            {"name": "fc2", "weight": "fc2.weight", "activation": "identity"},
        ],
        "output": output,
    })
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn compressing_describes_what_can_be_inferred() {
    let folder = Folder::new();
    let [model, out, dense] = ["m.safetensors", "out", "dense"].map(|name| folder.path(name));
    std::fs::write(&model, file(&small())).expect("written");
    for options in ["--quantize int8", "--sparsity 0.5 --format sparse-bitmask", "--nm 2:4"] {
        let ran = finish(&mut compress(&model, &out, &format!("{options} --force"))).succeeded();
        assert!(ran.stderr.contains("fc1: 8 → 4, relu; fc2: 4 → 3, softmax"), "{}", ran.stderr);
        assert_eq!(descriptions(&out), [described("relu", "softmax")], "{options}");
    }
    // What is there already is carried over, and nothing is said.
    let [again, other] = ["again", "other"].map(|name| folder.path(name));
    let ran = finish(&mut compress(&out, &again, "--quantize int4 --granularity channel"));
    assert!(!ran.succeeded().stderr.contains("inferred"));
    assert_eq!(descriptions(&again), [described("relu", "softmax")]);
    // What is given goes before both.
    finish(&mut compress(&out, &other, "--quantize int8 --activations tanh")).succeeded();
    assert_eq!(descriptions(&other), [described("tanh", "softmax")]);
    let paths = [&other, &dense].map(|path| path.display().to_string());
    run(["decompress", &paths[0], "-o", &paths[1], "--activations", "gelu,none"]).succeeded();
    assert_eq!(descriptions(&dense), [described("gelu", "logits")]);
}

/// A file that another program quantized, with no word about a network.
#[test]
fn decompressing_describes_it_too() {
    let folder = Folder::new();
    let [model, small_path, bare, out] = ["m", "small", "bare", "out"].map(|n| folder.path(n));
    std::fs::write(&model, file(&small())).expect("written");
    finish(&mut compress(&model, &small_path, "--quantize int8")).succeeded();
    let metadata = Model::open(&small_path).expect("a model").shards()[0].metadata().clone();
    let others = metadata.iter().filter(|(key, _)| *key != "network");
    let others: Vec<(&str, &str)> = others.map(|(key, value)| (&**key, &**value)).collect();
    write(&bare, &others, &crate::files::read(&small_path));
    assert_eq!(descriptions(&bare), [] as [Value; 0]);
    let paths = [&bare, &out].map(|path| path.display().to_string());
    run(["decompress", &paths[0], "-o", &paths[1], "--device", "cpu"]).succeeded();
    assert_eq!(descriptions(&out), [described("relu", "softmax")]);
}

#[test]
fn what_is_another_model_gets_no_description() {
    let folder = Folder::new();
    let embedding = weight("embed_tokens.weight", FloatType::F32, &[9, 8]);
    let [whole, llama, plain] = ["m.safetensors", "llama", "plain"].map(|name| folder.path(name));
    std::fs::write(&whole, file(&[&small()[..], &[embedding]].concat())).expect("written");
    let (first, second) = (&small()[..2], &small()[2..]);
    write_all(&llama, &sharded(first, second));
    let unnamed: Vec<_> =
        sharded(first, second).into_iter().filter(|(name, _)| *name != "config.json").collect();
    write_all(&plain, &unnamed);
    for (model, expected) in [(&whole, 0), (&llama, 0), (&plain, 1)] {
        let out = model.with_extension("out");
        let ran = finish(&mut compress(model, &out, "--quantize int8")).succeeded();
        assert_eq!(descriptions(&out).len(), expected, "{}", model.display());
        assert_eq!(ran.stderr.contains("inferred"), expected == 1, "{}", ran.stderr);
    }
    // Whoever says what the activations are means a network.
    let ran =
        finish(&mut compress(&whole, &folder.path("o"), "--quantize int8 --activations relu"));
    assert_refused("embedding", &ran, 65, &["embed_tokens.weight", "cannot be inferred"]);
    let ran = finish(&mut compress(&plain, &folder.path("o"), "--quantize int8 --activations a"));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let ran =
        finish(&mut compress(&llama, &folder.path("o"), "--quantize int8 --activations silu"));
    assert_eq!(ran.succeeded().code, Some(0));
    assert_eq!(descriptions(&folder.path("o")), [described("silu", "softmax")]);
}

/// Layers have the names that the description gives them, and need no pattern to be found.
#[test]
fn described_weights_are_compressed_whatever_their_names() {
    let folder = Folder::new();
    let [model, out] = ["m.safetensors", "out"].map(|name| folder.path(name));
    let description = json!({
        "version": 1,
        "layers": [
            {"name": "x", "weight": "a", "activation": "gelu"},
            {"name": "y", "weight": "lm_head.weight", "activation": "identity"},
        ],
        "output": "softmax",
    });
    let description = description.to_string();
    let values = crate::files::noise(1, 64);
    let tensors = [
        floats("a", &[8, 4], &values[..32]),
        floats("lm_head.weight", &[3, 8], &values[32..56]),
        floats("b", &[2, 4], &values[56..]),
    ];
    write(&model, &[("network", &description)], &tensors);
    let report = finish(&mut compress(&model, &out, "--quantize int8 --json")).succeeded().json();
    for tensor in report["tensors"].as_array().expect("tensors") {
        // What is left out by its name is left out when it is described, too.
        let expected = if tensor["name"] == "a" { "int8" } else { "copied" };
        let action = tensor["action"].as_str().expect("an action");
        assert!(action.starts_with(expected), "{tensor}");
    }
    let paths = [&model, &out].map(|path| path.display().to_string());
    for path in &paths {
        let bench = ["bench", "--model", path, "--batches", "1", "--device", "cpu", "--json"];
        run(bench).succeeded();
    }
}

#[test]
fn compressed_networks_run_without_options() {
    let folder = Folder::new();
    let [small_path, input] = ["small.safetensors", "x.npy"].map(|name| folder.path(name));
    let activations = "tanh,identity";
    let compressing = format!("--quantize int8 --activations {activations}");
    finish(&mut compress(&own(EXAMPLE), &small_path, &compressing)).succeeded();
    let values: Vec<f32> = (0..784 * 3).map(|i| (i % 97) as f32 / 97.0).collect();
    tensorpress::io::write_npy(&input, &[3, 784], &values, false).expect("written");
    let outputs = |more: &[&str]| {
        let mut command = program();
        command.arg("run").arg(&small_path).arg("--input").arg(&input).args(["--device", "cpu"]);
        finish(command.args(more)).succeeded().json()
    };
    assert_eq!(outputs(&[]), outputs(&["--activations", activations]));
    assert_ne!(outputs(&[]), outputs(&["--activations", "relu,identity"]));
}
