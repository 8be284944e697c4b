//! What is carried over unchanged, and how paths and links are taken.

use crate::command::{compress, finish, names, snapshot};
use crate::files::{Tensor, own, read, tensor, write};
use crate::raw::{EXAMPLE, INDEX, SHARDS, file, sharded, small, values, weight, write_all};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tensorpress::io::SafetensorsFile;
use tensorpress::tensor::{DType, FloatType};

/// Tensors that are never selected, one of each kind.
fn others() -> Vec<Tensor> {
    vec![
        values("model.norm.weight", FloatType::BF16, &[3], &[1.0, f32::NAN, 1e-40]),
        weight("model.embed_tokens.weight", FloatType::F16, &[5, 8]),
        weight("lm_head.weight", FloatType::F32, &[5, 8]),
        weight("conv.weight", FloatType::F32, &[2, 2, 3]),
        tensor("rotary.inv_freq", DType::F64, &[2], &[7; 16]),
        tensor("ids.weight", DType::I64, &[1, 2], &[9; 16]),
        tensor("mask.weight", DType::Bool, &[2, 2], &[0, 1, 1, 0]),
        tensor("empty.bias", DType::F32, &[0, 4], &[]),
        tensor("scalar", DType::F32, &[], &[1, 2, 3, 4]),
        tensor("../up/../../quoted\"\n\u{1f600}.bias", DType::U8, &[3], &[1, 2, 3]),
    ]
}

/// Three of a directory's kinds of result.
const KINDS: [&str; 3] =
    ["--quantize int4 --group-size 4 --asymmetric", "--nm 2:4 --format sparse-bitmask", "--nm 2:4"];

/// The tensors of one file and its metadata.
fn open(path: &Path) -> (BTreeMap<String, Tensor>, BTreeMap<String, String>) {
    let tensors = read(path).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let metadata = SafetensorsFile::open(path).expect("valid").metadata().clone();
    (tensors, metadata)
}

#[track_caller]
pub fn assert_same(a: &Tensor, b: &Tensor) {
    assert_eq!((&a.name, a.dtype, &a.shape), (&b.name, b.dtype, &b.shape));
    assert!(a.data == b.data, "{}", a.name);
}

#[test]
fn a_single_file_keeps_its_other_tensors_and_metadata() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let own_metadata = [("format", "pt"), ("author", "someone \u{e9}\n"), ("empty", "")];
    write(&input, &own_metadata, &[small(), others()].concat());
    for arguments in KINDS {
        finish(&mut compress(&input, &out, &format!("{arguments} --force"))).succeeded();
        let (tensors, metadata) = open(&out);
        for other in others().iter().chain(small().iter().filter(|t| t.name.ends_with("bias"))) {
            assert_same(&tensors[&other.name], other);
        }
        for (key, value) in own_metadata {
            assert_eq!(metadata[key], value, "{arguments}");
        }
        let says = metadata.contains_key("quantization_config");
        assert_eq!(says, arguments != KINDS[2], "{arguments}: {metadata:?}");
        assert_eq!(names(folder.path()), ["in", "out"]);
    }
}

/// `config.json` with what other programs' parsers get wrong: order, large and long numbers.
fn config() -> String {
    let long: Vec<String> =
        crate::files::noise(5, 300).iter().map(|x| format!("{:?}", f64::from(*x) / 3.0)).collect();
    let config = r#"{
  "zeta": 1,
  "architectures": ["LlamaForCausalLM"],
  "alpha": {"y": [1, 2.5, null, true], "b": {}},
  "rms_norm_eps": 1e-05,
  "rope_theta": 500000.0,
  "seed": 18446744073709551615,
  "name": "é \"quoted\" \\ / \u0001",
  "long": [LONG],
  "torch_dtype": "bfloat16"
}"#;
    config.replace("LONG", &long.join(", "))
}

/// The numbers of the list `long`, read without a JSON parser.
fn long_numbers(config: &str) -> Vec<f64> {
    let (_, rest) = config.split_once("\"long\"").expect("there");
    let (_, rest) = rest.split_once('[').expect("a list");
    let (list, _) = rest.split_once(']').expect("its end");
    list.split(',').map(|number| number.trim().parse().expect("a number")).collect()
}

/// A model with two shards, other tensors in both, and other files.
fn directory(folder: &Path) -> PathBuf {
    let first = [vec![weight("fc1.weight", FloatType::F32, &[4, 8])], others()].concat();
    let second = vec![
        weight("fc2.weight", FloatType::BF16, &[6, 12]),
        weight("fc2.bias", FloatType::BF16, &[6]),
    ];
    let mut files = sharded(&first, &second);
    let mut index: Value = serde_json::from_slice(&files[2].1).expect("JSON");
    index["metadata"]["note"] = "kept".into();
    index["extra"] = json!([1, 2]);
    files[2].1 = index.to_string().into_bytes();
    files[3].1 = config().into_bytes();
    files.push(("model.bin", vec![0, 159, 146, 150]));
    files.push((".gitattributes", b"*.safetensors filter=lfs\n".to_vec()));
    let path = folder.join("model");
    write_all(&path, &files);
    path
}

#[test]
fn a_directory_keeps_everything_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = directory(folder.path());
    let before = snapshot(&input);
    for arguments in KINDS {
        let out = folder.path().join("out");
        let ran = finish(&mut compress(&input, &out, &format!("{arguments} --force --json")));
        let report = ran.succeeded().json();
        assert!(snapshot(&input) == before, "the input is as it was");
        let after = snapshot(&out);
        assert!(after.keys().eq(before.keys()), "the same files: {:?}", after.keys());
        let rewritten = [SHARDS[0], SHARDS[1], INDEX, "config.json"].map(PathBuf::from);
        for (path, bytes) in before.iter().filter(|(path, _)| !rewritten.contains(path)) {
            assert!(after[path] == *bytes, "{}", path.display());
        }

        let mut placed = BTreeMap::new();
        let mut total = 0;
        for shard in SHARDS {
            let (was, _) = open(&input.join(shard));
            let (now, _) = open(&out.join(shard));
            for (name, tensor) in &now {
                placed.insert(name.clone(), shard);
                total += tensor.data.len();
                let module = name.split('.').next().expect("a part");
                let same_module = |old: &String| old.starts_with(module);
                assert!(was.keys().any(same_module), "{name} stays in its shard");
            }
            for (name, tensor) in
                was.iter().filter(|(n, _)| !["fc1.weight", "fc2.weight"].contains(&n.as_str()))
            {
                assert_same(&now[name], tensor);
            }
        }

        let index: Value = serde_json::from_slice(&after[Path::new(INDEX)]).expect("JSON");
        assert_eq!(index["metadata"]["total_size"], total, "{arguments}");
        assert_eq!(report["bytes_after"], total, "{arguments}");
        assert_eq!(index["metadata"]["note"], "kept");
        assert_eq!(index["extra"], json!([1, 2]));
        assert_eq!(index["weight_map"], json!(placed), "{arguments}");

        let text = String::from_utf8(after[Path::new("config.json")].clone()).expect("UTF-8");
        let (was, now): (Value, Value) = (
            serde_json::from_str(&config()).expect("JSON"),
            serde_json::from_str(&text).expect("JSON"),
        );
        let entries = |config: &Value| -> Vec<(String, Value)> {
            let entries = config.as_object().expect("an object").iter();
            let entries = entries.filter(|(key, _)| *key != "quantization_config");
            entries.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        assert_eq!(entries(&now), entries(&was), "every key, in its order");
        assert!(long_numbers(&text) == long_numbers(&config()), "to the last digit");
        let says = now.get("quantization_config").is_some();
        assert_eq!(says, arguments != KINDS[2], "{arguments}");
    }
}

#[cfg(unix)]
#[test]
fn a_snapshot_of_links_is_a_model() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let plain = directory(folder.path());
    let expected = folder.path().join("expected");
    finish(&mut compress(&plain, &expected, KINDS[0])).succeeded();

    // As a hub cache lays it out: snapshots/REVISION/NAME -> ../../blobs/HASH
    let hub = folder.path().join("hub");
    let revision = hub.join("snapshots/abc");
    fs::create_dir_all(hub.join("blobs")).expect("created");
    for (number, (name, content)) in snapshot(&plain).iter().enumerate() {
        fs::write(hub.join(format!("blobs/{number}")), content).expect("written");
        let up = "../".repeat(1 + name.components().count());
        let link = revision.join(name);
        fs::create_dir_all(link.parent().expect("a parent")).expect("created");
        symlink(format!("{up}blobs/{number}"), link).expect("linked");
    }
    let before = snapshot(&hub);
    let out = folder.path().join("out");
    finish(&mut compress(&revision, &out, KINDS[0])).succeeded();
    assert!(snapshot(&hub) == before, "the cache is as it was");
    assert!(snapshot(&out) == snapshot(&expected), "whole files, no links");

    let single = folder.path().join("single.safetensors");
    symlink("hub/snapshots/abc/model.safetensors", &single).expect("linked");
    write_all(&hub, &[("blobs/one", file(&small()))]);
    symlink("../../blobs/one", revision.join("model.safetensors")).expect("linked");
    finish(&mut compress(&single, &folder.path().join("from-link"), KINDS[0])).succeeded();
}

#[cfg(unix)]
#[test]
fn an_output_that_is_a_link_is_replaced_and_not_followed() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let model = directory(root);
    write_all(root, &[("precious", b"x".to_vec()), ("kept/precious", b"x".to_vec())]);
    symlink("precious", root.join("link")).expect("linked");
    symlink("kept", root.join("link-dir")).expect("linked");
    finish(&mut compress(&own(EXAMPLE), &root.join("link"), "--quantize int8 --force")).succeeded();
    finish(&mut compress(&model, &root.join("link-dir"), &format!("{} --force", KINDS[0])))
        .succeeded();
    for name in ["precious", "kept/precious"] {
        assert_eq!(fs::read(root.join(name)).expect("there"), b"x", "{name}");
    }
    assert!(!root.join("link").is_symlink() && !root.join("link-dir").is_symlink());
    assert_eq!(names(root), ["kept", "link", "link-dir", "model", "precious"]);
}

// Other systems' file systems take no such names.
#[cfg(target_os = "linux")]
#[test]
fn paths_may_be_relative_and_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().expect("a folder");
    let odd = |bytes| Path::new(OsStr::from_bytes(bytes)).to_owned();
    let (input, out) = (odd(b"in \xff.safetensors"), odd(b"out \xfe\n.safetensors"));
    fs::write(folder.path().join(&input), file(&small())).expect("written");
    let mut command = compress(&input, &out, "--quantize int8 --json");
    finish(command.current_dir(folder.path())).succeeded().json();
    assert!(folder.path().join(&out).exists());
    let model = directory(folder.path());
    for (input, out) in [("model", "out"), ("model/", "out/"), ("./model/.", "./new/../out")] {
        fs::create_dir_all(folder.path().join("new")).expect("created");
        let arguments = format!("{} --force", KINDS[0]);
        let mut command = compress(Path::new(input), Path::new(out), &arguments);
        finish(command.current_dir(folder.path())).succeeded();
        assert_eq!(snapshot(&folder.path().join("out")).len(), snapshot(&model).len());
    }
}
