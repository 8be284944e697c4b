//! `--int8-activations`: what it changes, where it reaches, and that it is told.

use std::path::Path;

use serde_json::Value;
use tensorpress::io::{Array, ArrayData};

use crate::arrays::npy;
use crate::command::{compress, finish, run};
use crate::digits;
use crate::files::{floats, noise, read, write};
use crate::networks::Folder;

/// What `run --logits` gives, and what it says on standard error.
fn logits(model: &Path, input: &Path, more: &str) -> (Vec<f32>, String) {
    let output = input.with_file_name("logits.npy");
    let paths = [model, input, &output].map(|path| path.display().to_string());
    let arguments =
        ["run", &paths[0], "--input", &paths[1], "-o", &paths[2], "--force", "--logits"];
    let ran = run(arguments.into_iter().chain(more.split_whitespace())).succeeded();
    let ArrayData::F32(values) = Array::read(&output).expect("an array").data else {
        panic!("floats")
    };
    (values, ran.stderr)
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| (a - b).abs().max(most))
}

/// A layer of 1024 inputs and outputs, which an emulated adapter multiplies in integers, the same
/// as codes, and three rows for it.
fn wide(folder: &Folder, quantize: &str) -> [std::path::PathBuf; 3] {
    const WIDTH: usize = 1024;
    let [dense, small] = ["wide.safetensors", "wide-small.safetensors"].map(|n| folder.path(n));
    write(&dense, &[], &[floats("fc.weight", &[WIDTH, WIDTH], &noise(1, WIDTH * WIDTH))]);
    finish(&mut compress(&dense, &small, quantize)).succeeded();
    let rows: Vec<u8> = noise(2, 3 * WIDTH).iter().flat_map(|v| v.to_le_bytes()).collect();
    let input = folder.write("wide.npy", &npy(1, "<f4", false, "(3, 1024)", &rows));
    [dense, small, input]
}

/// The error of every output is at most half a step of its row's inputs times the weights that it
/// meets, and the CPU and a GPU round alike.
#[test]
fn outputs_change_by_what_rounding_explains() {
    let folder = Folder::new();
    for quantize in ["--quantize int8", "--quantize int4", "--quantize int4 --asymmetric"] {
        let [_, small, input] = wide(&folder, &format!("{quantize} --force"));
        let dense = folder.path("decoded.safetensors");
        let paths = [&small, &dense].map(|path| path.display().to_string());
        run(["decompress", &paths[0], "-o", &paths[1], "--force"]).succeeded();
        let weights = decoded(&read(&dense)[0].data);
        let x = noise(2, 3 * 1024);

        let (exact, quiet) = logits(&small, &input, "--device cpu");
        assert!(!quiet.contains("8 bits"), "{quiet}");
        let (rounded, told) = logits(&small, &input, "--device cpu --int8-activations");
        assert!(told.contains("1 of 1 layers are rounded to 8 bits"), "{told}");
        let (on_gpu, told) = logits(&small, &input, "--device gpu --int8-activations");
        assert!(told.contains("measured to be faster"), "{told}");
        for (name, found) in [("CPU", &rounded), ("GPU", &on_gpu)] {
            assert!(furthest(found, &exact) > 0.0, "{quantize}: the {name} rounded nothing");
            for (row, x) in x.chunks(1024).enumerate() {
                let step = x.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
                for (column, weights) in weights.chunks(1024).enumerate() {
                    let magnitudes: f32 = weights.iter().map(|weight| weight.abs()).sum();
                    let error = (found[row * 1024 + column] - exact[row * 1024 + column]).abs();
                    let bound = (0.5 + 2.0_f32.powi(-13)) * step * magnitudes;
                    assert!(error <= bound, "{name} {quantize}: {error} above {bound}");
                }
            }
        }
        // Codes differ where an input lies almost in the middle of two, as good as never.
        let (apart, lost) = (furthest(&on_gpu, &rounded), furthest(&rounded, &exact));
        assert!(apart <= lost / 10.0, "{quantize}: {apart} apart where rounding lost {lost}");
    }
}

fn decoded(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn a_network_without_codes_is_told_that_nothing_changes() {
    let folder = Folder::new();
    let [dense, _, input] = wide(&folder, "--quantize int8");
    let masked = folder.path("masked.safetensors");
    let options = "--sparsity 0.5 --format sparse-bitmask";
    finish(&mut compress(&dense, &masked, options)).succeeded();
    for model in [dense, masked] {
        for device in ["--device cpu", "--device gpu"] {
            let (plain, _) = logits(&model, &input, device);
            let (asked, told) = logits(&model, &input, &format!("{device} --int8-activations"));
            assert_eq!(plain, asked);
            assert!(told.contains("changes nothing here: none of the 1 layers"), "{told}");
        }
    }
}

/// Every report says for how many layers it was on.
#[test]
fn json_says_how_many_layers_round() {
    let folder = Folder::new();
    let small = folder.path("small.safetensors");
    let quantize = "--quantize int4 --group-size 16";
    finish(&mut compress(&folder.path("m.safetensors"), &small, quantize)).succeeded();
    let input = folder.write("x.npy", &npy(1, "|u1", false, "(1, 64)", &[7; 64]));
    for (option, layers) in [("", 0), ("--int8-activations", 1)] {
        let layers = Value::from(layers);
        let model = "small.safetensors";
        let run = |more: &str| {
            let more = format!("--json {option} {more}");
            folder.call("run", model, "--input", &input, &more).succeeded().json()
        };
        for more in ["", "--top-k 2", "-o y.npy --force"] {
            assert_eq!(run(more)["int8_layers"], layers, "run {more} {option}");
        }
        let more = format!("--json {option} --against {}", small.display());
        let evaluation = folder.call("evaluate", model, "--data", &digits::data(), &more);
        let evaluation = evaluation.succeeded().json();
        assert_eq!(evaluation["int8_layers"], layers);
        // What it is compared with is not rounded, or the comparison would tell nothing.
        assert_eq!(evaluation["against"]["evaluation"]["int8_layers"], 0);
        let same =
            evaluation["cross_entropy"] == evaluation["against"]["evaluation"]["cross_entropy"];
        assert_eq!(same, option.is_empty());

        let more = format!("--json {option} --quantize int8 --sparsity 0.5 --limit 100");
        let sweep = folder.call("sweep", "m.safetensors", "--data", &digits::data(), &more);
        for row in sweep.succeeded().json()["rows"].as_array().expect("rows") {
            let kind = row["kind"].as_str().expect("a kind");
            let expected = if kind.contains("quantized") { layers.clone() } else { 0.into() };
            assert_eq!(row["int8_layers"], expected, "{row}");
        }
    }
    let more = "--int8-activations --sparsity 0.5 --limit 100";
    let sweep = folder.call("sweep", "m.safetensors", "--data", &digits::data(), more).succeeded();
    for text in [&sweep.stdout, &sweep.stderr] {
        assert!(text.contains("--int8-activations changes nothing"), "{text}");
    }
}

#[test]
fn bench_measures_codes_with_and_without() {
    let folder = Folder::new();
    let [_, small, _] = wide(&folder, "--quantize int8");
    let small = small.display().to_string();
    let bench = ["bench", "--batches", "1,3", "--size", "4K", "--int8-activations"];
    let report = run(bench.into_iter().chain(["--model", &small, "--device", "gpu", "--json"]));
    let report = report.succeeded().json();
    let devices = report["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 2);
    for device in devices {
        let forms = device["forms"].as_array().expect("forms");
        let forms = forms.iter().map(|form| {
            let layers = form["int8_layers"].as_u64().expect("a number");
            (form["form"].as_str().expect("a name"), layers)
        });
        let expected = [
            ("dense", 0),
            ("as stored", 0),
            ("as stored, int8 activations", 1),
            ("int8", 0),
            ("int8, int8 activations", 1),
            ("int4", 0),
            ("int4, int8 activations", 1),
            ("50 % pruned", 0),
        ];
        assert_eq!(forms.collect::<Vec<_>>(), expected);
    }
    let without = run(["bench", "--int8-activations"]);
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("--model"), "{}", without.stderr);
}
