//! The same command gives the same bytes: on every run, with any number of threads, on the CPU and
//! on a GPU. And what a dry run foretells comes true.

use std::fs;
use std::path::Path;

use tensorpress::tensor::FloatType;

use crate::command::{compress, finish, names, snapshot};
use crate::files::{read, trained_here};
use crate::raw::{file, weight};

const PRUNINGS: [&str; 7] = [
    "",
    "--sparsity 0.5",
    "--sparsity 0.7 --global",
    "--threshold 0.05",
    "--threshold-ratio 0.1",
    "--nm 2:4",
    "--nm 3:7",
];

const SCHEMES: [&str; 13] = [
    "",
    "--quantize int8",
    "--quantize int8 --granularity tensor",
    "--quantize int8 --granularity tensor --asymmetric",
    "--quantize int8 --granularity tensor --scale 64",
    "--quantize int8 --group-size 28 --match compressed-tensors",
    "--quantize int4 --granularity channel --narrow-range",
    "--quantize int4 --granularity tensor --match compressed-tensors",
    "--quantize int4 --group-size 16 --asymmetric",
    "--quantize int4 --group-size 56 --asymmetric --match compressed-tensors",
    "--quantize int2 --granularity channel --scale 3",
    "--quantize int2 --group-size 49 --asymmetric",
    "--quantize int2 --granularity tensor --narrow-range",
];

/// Every pruning with every scheme in every format that goes with it.
fn recipes() -> Vec<String> {
    let mut all = vec![];
    for (number, pruning) in PRUNINGS.into_iter().enumerate() {
        for (at, scheme) in SCHEMES.into_iter().enumerate() {
            let formats: &[&str] = match (pruning, scheme) {
                ("", "") => &["sparse-bitmask"],
                (_, "") => &["dense", "sparse-bitmask"],
                // A third of them is enough to meet every scheme and every pruning.
                _ if (number + at) % 3 == 0 => &["compressed-tensors", "dense", "sparse-bitmask"],
                _ => &["compressed-tensors", "dense"],
            };
            for format in formats {
                all.push(format!("{pruning} {scheme} --format {format} --on-indivisible channel"));
            }
        }
    }
    let others = ["", "--quantize int4 --group-size 4", "--format sparse-bitmask --sparsity 0.5"];
    all.extend(others.map(|o| format!("--keep-neurons 0.37 {o} --on-indivisible channel")));
    all
}

/// The file that `arguments` make of `input`.
#[track_caller]
fn compressed(input: &Path, folder: &Path, arguments: &str) -> Vec<u8> {
    let out = folder.join("out.safetensors");
    finish(&mut compress(input, &out, &format!("{arguments} --force --quiet"))).succeeded();
    fs::read(&out).expect("written")
}

#[test]
fn on_the_cpu_and_on_a_gpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = trained_here();
    for (number, recipe) in recipes().iter().enumerate() {
        // Each recipe on two models, one of each layout, so that every model meets every part.
        let first = (number * 7 + number / 6) % models.len();
        let second = (first + models.len() / 2) % models.len();
        for (model, device) in [(first, "--device gpu"), (second, "--device gpu --checked")] {
            let model = &models[model];
            let on_cpu = compressed(model, folder.path(), recipe);
            let on_gpu = compressed(model, folder.path(), &format!("{recipe} {device}"));
            assert!(on_cpu == on_gpu, "{}: {recipe} {device}", model.display());
        }
    }
}

/// Weights of several slabs in both layouts and two types, and one that is carried over.
fn large() -> Vec<u8> {
    file(&[
        weight("a.weight", FloatType::F32, &[1100, 1024]),
        weight("dense/kernel", FloatType::F32, &[1030, 1100]),
        weight("half.weight", FloatType::BF16, &[2100, 1030]),
        weight("embed_tokens.weight", FloatType::F32, &[1030, 1100]),
    ])
}

#[test]
fn with_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("large.safetensors");
    fs::write(&input, large()).expect("written");
    let schemes = [
        "--quantize int4 --group-size 32 --asymmetric --on-indivisible channel",
        "--quantize int8 --granularity tensor --asymmetric",
        "--format sparse-bitmask",
        "--format sparse-bitmask --quantize int4 --granularity channel --asymmetric",
        "--format dense",
    ];
    for (number, pruning) in PRUNINGS[1..].iter().enumerate() {
        // Each pruning with two of the schemes.
        for scheme in [schemes[number % 5], schemes[(number + number / 5 + 3) % 5]] {
            let recipe = format!("{pruning} {scheme}");
            let one = compressed(&input, folder.path(), &format!("{recipe} --threads 1"));
            for threads in ["--threads 7", "--threads 7", ""] {
                let many = compressed(&input, folder.path(), &format!("{recipe} {threads}"));
                assert!(one == many, "{recipe} {threads}");
            }
        }
    }
}

#[test]
fn of_large_weights_on_a_gpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("large.safetensors");
    fs::write(&input, large()).expect("written");
    for recipe in [
        "--sparsity 0.6 --global --quantize int4 --group-size 32 --asymmetric --on-indivisible channel",
        "--threshold-ratio 0.2 --quantize int8 --granularity tensor",
        "--nm 2:4 --format sparse-bitmask",
        "--sparsity 0.9 --quantize int2 --group-size 32 --on-indivisible channel --format sparse-bitmask",
    ] {
        let on_cpu = compressed(&input, folder.path(), recipe);
        let on_gpu = compressed(&input, folder.path(), &format!("{recipe} --device gpu"));
        assert!(on_cpu == on_gpu, "{recipe}");
    }
}

#[test]
fn a_dry_run_foretells_the_sizes_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    let models = trained_here();
    for (number, recipe) in recipes().iter().enumerate() {
        let model = &models[number % models.len()];
        let run = |more: &str| {
            let arguments = format!("{recipe} --json --quiet {more}");
            finish(&mut compress(model, &out, &arguments)).succeeded().json()
        };
        let dry = run("--dry-run");
        assert_eq!(names(folder.path()), [""; 0], "{recipe}");
        assert!(dry["output"].is_null(), "{dry}");
        let real = run("");
        let stored: usize = read(&out).iter().map(|tensor| tensor.data.len()).sum();
        assert_eq!(dry["bytes_after"], stored, "{recipe}");
        for key in ["bytes_before", "bytes_after", "bits_per_weight", "format", "input"] {
            assert_eq!(dry[key], real[key], "{recipe}: {key}");
        }
        let sizes = |report: &serde_json::Value| -> Vec<[serde_json::Value; 3]> {
            let tensors = report["tensors"].as_array().expect("a list");
            tensors
                .iter()
                .map(|t| ["name", "action", "bytes_after"].map(|k| t[k].clone()))
                .collect()
        };
        assert_eq!(sizes(&dry), sizes(&real), "{recipe}");
        let before = snapshot(folder.path());
        run("--dry-run");
        assert!(snapshot(folder.path()) == before, "{recipe}");
        fs::remove_file(&out).expect("removed");
    }
}
