//! `tune`, and `--no-tune`.

use std::path::Path;
use std::process::Command;

use crate::arrays::npy;
use crate::command::{finish, names, program};

/// With a cache folder of its own, in which a driver's compiled shaders need not be made anew.
fn tuning(cache: &Path) -> Command {
    let mut command = program();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let usual = std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| Path::new(&home).join(".cache"), Into::into);
    command.env("XDG_CACHE_HOME", cache).env("LOCALAPPDATA", cache);
    command.env("MESA_SHADER_CACHE_DIR", usual).env_remove("TENSORPRESS_NO_TUNE");
    command
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-100-10.safetensors");

#[test]
fn tune_measures_each_class_once_and_keeps_the_choices() {
    let folder = tempfile::tempdir().expect("a folder");
    let tune = ["tune", MODEL, "--device", "gpu", "--batches", "1,2,2", "--json"];
    let report = finish(tuning(folder.path()).args(tune)).succeeded().json();
    let classes = report["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), 4, "{report}");
    for class in classes {
        let candidates = class["candidates"].as_array().expect("candidates");
        assert!(candidates.len() > 1, "{class}");
        let known = |kernel: &serde_json::Value| candidates.iter().any(|c| c["kernel"] == *kernel);
        assert!(known(&class["kernel"]) && known(&class["fixed"]), "{class}");
        assert!(candidates.iter().all(|c| c["seconds"].as_f64() > Some(0.0)), "{class}");
    }
    let cache = Path::new(report["cache"].as_str().expect("a path"));
    let kept = std::fs::read_to_string(cache).expect("kept");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    for class in classes {
        let choice = &kept["choices"][class["class"].as_str().expect("text")];
        assert_eq!(choice["kernel"], class["kernel"]);
    }
}

#[test]
fn run_keeps_what_it_measures_unless_told_not_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("x.npy");
    let bytes = npy(1, "<f4", false, "(1, 784)", &[0; 784 * 4]);
    std::fs::write(&input, bytes).expect("writes");
    let cache = folder.path().join("cache");
    let run = |more: &[&str]| {
        let mut command = tuning(&cache);
        command.args(["run", MODEL, "--device", "gpu", "--input"]).arg(&input);
        finish(command.args(more)).succeeded().json()
    };
    let fixed = run(&["--no-tune"]);
    assert!(!cache.join("tensorpress").exists(), "--no-tune wrote");
    run(&[]);
    assert_eq!(names(&cache.join("tensorpress")).len(), 1);
    // Whatever is fastest, the answer is the same but for rounding.
    let value = |answer: &serde_json::Value| answer["outputs"][0][0].as_f64().expect("a number");
    assert!((value(&fixed) - value(&run(&[]))).abs() < 1e-5, "{fixed}");
}

#[test]
fn choices_that_cannot_be_kept_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    std::fs::write(&cache, b"a file").expect("writes");
    let tune = ["tune", MODEL, "--device", "gpu", "--batches", "1"];
    let ran = finish(tuning(&cache).args(tune)).succeeded();
    assert!(ran.stderr.contains("the choices could not be kept in "), "{}", ran.stderr);
    assert!(ran.stdout.contains("nothing is kept"), "{}", ran.stdout);
    let ran = finish(tuning(&cache).args(tune).arg("--json")).succeeded();
    assert!(ran.json()["cache"].is_null(), "{}", ran.stdout);
}

#[test]
fn the_cpu_has_nothing_to_tune() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = finish(tuning(folder.path()).args(["tune", "--device", "cpu", "--json"])).succeeded();
    assert!(ran.stderr.contains("nothing to tune"), "{}", ran.stderr);
    assert_eq!(ran.json()["classes"].as_array().map(Vec::len), Some(0));
}
