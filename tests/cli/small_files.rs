//! How small a pruned and quantized network is on disk, header and all.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Ran, compress, finish, program};
use crate::files::{find, floats, noise, read, write};

/// Inputs and outputs of LeNet-300-100's layers.
const LAYERS: [(usize, usize); 3] = [(784, 300), (300, 100), (100, 10)];

/// The network with weights that no mask finds in runs, unlike those of a trained one.
fn write_lenet(path: &Path) {
    let layer = |(number, (inputs, outputs)): (usize, (usize, usize))| {
        let name = |part: &str| format!("fc{}.{part}", number + 1);
        let weights = noise(number as u64, inputs * outputs);
        let bias = noise(number as u64 + 9, outputs);
        [
            floats(&name("weight"), &[outputs, inputs], &weights),
            floats(&name("bias"), &[outputs], &bias),
        ]
    };
    write(path, &[], &LAYERS.into_iter().enumerate().flat_map(layer).collect::<Vec<_>>());
}

#[track_caller]
fn compressed(input: &Path, output: &Path, arguments: &str) -> Ran {
    finish(&mut compress(input, output, arguments)).succeeded()
}

/// 12 times fewer weights, of 4 bits each: at least 20 times smaller than the weights and biases
/// in f32.
#[test]
fn lenet_takes_less_than_a_twentieth() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let parameters: usize = LAYERS.iter().map(|(inputs, outputs)| (inputs + 1) * outputs).sum();
    assert_eq!(parameters, 266_610);
    write_lenet(&path("dense"));
    let mut pruned = path("dense");
    for (layer, sparsity) in [(1, 0.92), (2, 0.91), (3, 0.74)] {
        let next = path(&format!("pruned {layer}"));
        compressed(&pruned, &next, &format!("--include ^fc{layer} --sparsity {sparsity}"));
        pruned = next;
    }
    let [masked, packed] = ["masked", "packed"].map(path);
    let arguments = "--quantize int4 --granularity channel --json";
    let report = compressed(&pruned, &masked, &format!("{arguments} --format sparse-bitmask"));
    assert!(!report.stderr.contains("warning"), "{}", report.stderr);
    compressed(&pruned, &packed, arguments);

    let size = |path: &Path| fs::metadata(path).expect("written").len() as usize;
    let (small, dense) = (size(&masked), parameters * 4);
    assert!(small * 20 <= dense, "{small} of {dense} bytes");
    assert!(size(&packed) * 20 > dense, "all codes take more");

    // The report is true to the file.
    let report = report.json();
    let stored: usize = read(&masked).iter().map(|tensor| tensor.data.len()).sum();
    assert_eq!(report["bytes_after"], stored);
    let biases = 410 * 4;
    let bits = (stored - biases) as f64 * 8.0 / 266_200.0;
    assert!((report["bits_per_weight"].as_f64().expect("a number") - bits).abs() < 1e-9);

    // And it runs as the other does.
    let x: Vec<f32> = (0..784 * 3).map(|i| (i % 89) as f32 / 89.0).collect();
    tensorpress::io::write_npy(&path("x.npy"), &[3, 784], &x, false).expect("written");
    let outputs = |model: &Path| -> Value {
        let mut command = program();
        command.arg("run").arg(model).arg("--input").arg(path("x.npy")).args(["--device", "cpu"]);
        let mut said = finish(command.arg("--json")).succeeded().json();
        said["model"] = Value::Null;
        said
    };
    assert_eq!(outputs(&masked), outputs(&packed));

    // Dense again it is what the codes say.
    let dense_of = |model: &Path, name: &str| {
        let mut command = program();
        command.arg("decompress").arg(model).arg("-o").arg(path(name)).args(["--device", "cpu"]);
        finish(&mut command).succeeded();
        read(&path(name))
    };
    let (back, expected) = (dense_of(&masked, "back"), dense_of(&packed, "expected"));
    for tensor in &expected {
        assert_eq!(find(&back, &tensor.name).data, tensor.data, "{}", tensor.name);
    }
}

#[test]
fn a_mask_that_is_larger_than_what_it_saves_is_warned_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let [dense, out] = ["dense", "out"].map(|name| folder.path().join(name));
    write_lenet(&dense);
    let masked = "--granularity channel --format sparse-bitmask --force";
    for (arguments, warned) in [
        ("--quantize int8", true),
        ("--quantize int4", true),
        ("--quantize int4 --dry-run", true),
        ("--quantize int4 --sparsity 0.5", false),
        ("--quantize int8 --sparsity 0.5 --dry-run", false),
    ] {
        let ran = compressed(&dense, &out, &format!("{arguments} {masked}"));
        let told = ran.stderr.contains("too few weights are zero for a mask");
        assert_eq!(told, warned, "{arguments}: {}", ran.stderr);
    }
}
