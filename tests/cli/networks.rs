//! `run` and `evaluate`: what they read, print and write, and what they refuse.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tensorpress::io::{Array, ArrayData, DataSet, Split};
use tensorpress::tensor::DType;

use crate::arrays::{gzip, idx, npy, npz};
use crate::bad_input::assert_refused;
use crate::command::{Ran, finish, program};
use crate::digits;
use crate::files::{Tensor, read, tensor, write};

/// A folder with a network of digits.
pub struct Folder {
    pub folder: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        digits::nearest_mean(&folder.path().join("m.safetensors"));
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).expect("written");
        self.path(name)
    }

    /// `SUBCOMMAND m.safetensors OPTION PATH …`, on the CPU.
    pub fn call(
        &self,
        subcommand: &str,
        model: &str,
        option: &str,
        path: &Path,
        more: &str,
    ) -> Ran {
        let mut command = program();
        command.arg(subcommand).arg(self.path(model)).arg(option).arg(path);
        command.args(["--device", "cpu"]).args(more.split_whitespace());
        finish(command.current_dir(self.folder.path()))
    }

    pub fn run(&self, input: &Path, more: &str) -> Ran {
        self.call("run", "m.safetensors", "--input", input, more)
    }

    pub fn evaluate(&self, data: &Path, more: &str) -> Ran {
        self.call("evaluate", "m.safetensors", "--data", data, more)
    }
}

/// The first digits, as bytes.
pub fn some_digits(count: usize) -> (Vec<u8>, Vec<u8>) {
    let data = DataSet::open(&digits::data(), Split::Test).expect("digits");
    let ArrayData::U8(pixels) = data.inputs.data else { panic!("bytes") };
    (pixels[..count * 64].to_vec(), data.labels[..count].iter().map(|l| *l as u8).collect())
}

fn outputs(ran: Ran) -> Vec<Vec<f64>> {
    serde_json::from_value(ran.succeeded().json()["outputs"].clone()).expect("rows of numbers")
}

/// The same digits in every kind of file, as bytes and as floats, give the same outputs.
#[test]
fn inputs_of_every_kind_give_the_same() {
    let folder = Folder::new();
    let (pixels, _) = some_digits(3);
    let scaled: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
    let le: Vec<u8> = scaled.iter().flat_map(|v| v.to_le_bytes()).collect();
    let doubles: Vec<u8> = scaled.iter().flat_map(|v| f64::from(*v).to_be_bytes()).collect();
    let bytes = npy(1, "|u1", false, "(3, 8, 8)", &pixels);
    let inputs = [
        folder.write("a.npy", &bytes),
        folder.write("b.npy", &npy(1, "<f4", false, "(3, 64)", &le)),
        folder.write("c.npy", &npy(2, ">f8", false, "(3, 8, 8)", &doubles)),
        folder.write("d.npz", &npz(&[("other", bytes.clone()), ("x", bytes.clone())])),
        folder.write("e.npy.gz", &gzip(&bytes)),
        folder.write("f-idx3-ubyte", &idx(8, &[3, 8, 8], &pixels)),
        folder.write("g-idx3-ubyte.gz", &gzip(&idx(8, &[3, 8, 8], &pixels))),
        folder.path("h.safetensors"),
    ];
    write(&inputs[7], &[], &[tensor("t", DType::U8, &[3, 64], &pixels)]);
    let expected = outputs(folder.run(&inputs[0], ""));
    assert_eq!(expected.len(), 3);
    assert!(expected.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-5));
    for input in &inputs[1..] {
        assert_eq!(outputs(folder.run(input, "")), expected, "{}", input.display());
    }
    let named = folder.write("i.npz", &npz(&[("a", bytes.clone()), ("b", bytes)]));
    assert_eq!(outputs(folder.run(&named, "--name b")), expected);
    assert_refused("npz", &folder.run(&named, ""), 65, &["holds a, b", "--name"]);
    assert_refused("npz", &folder.run(&named, "--name c"), 65, &["\"c\"", "holds a, b"]);
    assert_refused("npy", &folder.run(&inputs[0], "--name x"), 65, &["without a name"]);
    // A picture that was stored alone, and batches of any size.
    let alone = folder.write("j.npy", &npy(1, "|u1", false, "(8, 8)", &pixels[..64]));
    // The CPU sums a row alone in another order than the rows of a batch.
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    let each_alone = outputs(folder.run(&inputs[0], "--batch-size 1"));
    assert_eq!(outputs(folder.run(&alone, "")), each_alone[..1]);
    for size in [1, 2, 1000] {
        let more = format!("--batch-size {size}");
        for (a, b) in outputs(folder.run(&inputs[0], &more)).iter().zip(&expected) {
            assert!(near(a, b));
        }
    }
}

#[test]
fn outputs_are_written_as_they_are_printed() {
    let folder = Folder::new();
    let (pixels, _) = some_digits(4);
    let input = folder.write("x.npy", &npy(1, "|u1", false, "(4, 64)", &pixels));
    let logits = outputs(folder.run(&input, "--logits"));
    let probabilities = outputs(folder.run(&input, ""));
    for (logits, probabilities) in logits.iter().zip(&probabilities) {
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        for (z, p) in logits.iter().zip(probabilities) {
            assert!((z.exp() / sum - p).abs() < 1e-5, "{z} and {p}");
        }
    }
    for (name, more, expected) in
        [("y.npy", "--logits", &logits), ("y.safetensors", "", &probabilities)]
    {
        let ran = folder.run(&input, &format!("{more} -o {name}")).succeeded();
        assert_eq!(ran.stdout, format!("wrote {name}: 4 rows of 10\n"));
        let array = Array::read(&folder.path(name)).expect("an array");
        assert_eq!(array.shape, [4, 10]);
        let ArrayData::F32(values) = array.data else { panic!("floats") };
        assert!(values.iter().zip(expected.iter().flatten()).all(|(a, b)| *a == *b as f32));
        let again = folder.run(&input, &format!("{more} -o {name}"));
        assert_refused(name, &again, 73, &["--force"]);
        let report = folder.run(&input, &format!("-o {name} --force --json")).succeeded().json();
        assert_eq!((&report["schema_version"], &report["output"]), (&1.into(), &name.into()));
    }

    let top = folder.run(&input, "--top-k 3").succeeded().json();
    let top = top["top_k"].as_array().expect("rows").clone();
    folder.run(&input, "--top-k 3 -o top.safetensors").succeeded();
    let tensors = read(&folder.path("top.safetensors"));
    let written: Vec<&Tensor> = tensors.iter().collect();
    assert_eq!(written.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["classes", "y"]);
    for (row, (best, all)) in top.iter().zip(&probabilities).enumerate() {
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
        for (place, class) in order[..3].iter().enumerate() {
            assert_eq!(best[place]["class"], *class);
            assert_eq!(best[place]["value"].as_f64(), Some(all[*class]));
            let at = (row * 3 + place) * 8;
            assert_eq!(written[0].data[at..at + 8], (*class as i64).to_le_bytes());
        }
    }
    let large: Vec<u8> = [f32::MAX; 64].iter().flat_map(|v| v.to_le_bytes()).collect();
    let large = folder.write("large.npy", &npy(1, "<f4", false, "(1, 64)", &large));
    assert_refused("infinite", &folder.run(&large, "--logits"), 65, &["is inf", "--output"]);
    folder.run(&large, "--logits -o large-y.npy").succeeded();
    for (more, code, words) in [
        ("--top-k 0", 2, "--top-k"),
        ("--top-k 11", 2, "--top-k is 11"),
        ("--top-k 3 -o top.npy", 2, ".safetensors"),
        ("-o y.txt", 2, ".npy or .safetensors"),
        ("-o x.npy --force", 2, "is the input, lies in it"),
        ("-o m.safetensors --force", 2, "is the input, lies in it"),
        ("-o nowhere/y.npy", 73, "nowhere"),
        ("--batch-size 0", 2, "--batch-size"),
        ("--activations relu,swish", 2, "no activation \"swish\""),
        ("--activations relu,relu,relu", 2, "3 activations for a network of 1"),
    ] {
        let ran = folder.run(&input, more);
        assert_eq!(ran.code, Some(code), "{more}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{more}: {}", ran.stderr);
    }
}

#[test]
fn evaluation_is_what_the_predictions_say() {
    let folder = Folder::new();
    let ran = folder.evaluate(&digits::data(), "--json --against m.safetensors").succeeded();
    let report = ran.json();
    let data = DataSet::open(&digits::data(), Split::Test).expect("digits");
    let ArrayData::U8(pixels) = &data.inputs.data else { panic!("bytes") };
    let input = folder.write("x.npy", &npy(1, "|u1", false, "(500, 8, 8)", pixels));
    let predictions: Vec<usize> = outputs(folder.run(&input, "--logits"))
        .iter()
        .map(|row| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("ten"))
        .collect();
    let count = |f: &dyn Fn(usize, usize) -> bool| {
        let pairs = data.labels.iter().zip(&predictions);
        pairs.filter(|(label, prediction)| f(**label as usize, **prediction)).count() as f64
    };
    assert_eq!(report["correct"].as_f64(), Some(count(&|l, p| l == p)));
    assert_eq!(report["accuracy"].as_f64(), Some(count(&|l, p| l == p) / 500.0));
    for class in 0..10 {
        let right = count(&|l, p| l == class && p == class);
        let row = &report["classes"][class];
        assert_eq!(row["precision"].as_f64(), Some(right / count(&|_, p| p == class)));
        assert_eq!(row["recall"].as_f64(), Some(right / count(&|l, _| l == class)));
        for other in 0..10 {
            let expected = count(&|l, p| l == class && p == other);
            assert_eq!(report["confusion"][class][other].as_f64(), Some(expected));
        }
    }
    let against = &report["against"];
    assert_eq!(against["agreement"], 1.0);
    assert_eq!(against["accuracy_difference"], 0.0);
    assert!(report["latency_p50"].as_f64() <= report["latency_p99"].as_f64());
    assert!(report["rows_per_second"].as_f64() > Some(0.0));
    let text = folder.evaluate(&digits::data(), "--confusion --split train").succeeded().stdout;
    for words in ["of 1297)", "label \\ predicted", "rows/s on CPU", "(p99)", "precision"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

/// A device is opened and told of once, however many networks run on it.
#[test]
fn the_device_is_told_of_once() {
    let folder = Folder::new();
    let mut command = program();
    command.arg("evaluate").arg(folder.path("m.safetensors")).arg("--data").arg(digits::data());
    command.arg("--against").arg(folder.path("m.safetensors"));
    command.args(["--device", "gpu"]);
    let ran = finish(&mut command).succeeded();
    assert!(ran.stderr.matches("emulated").count() <= 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("inferred from").count(), 2, "{}", ran.stderr);
}

/// What one would send to another program.
#[test]
fn json_names_model_and_data() {
    let folder = Folder::new();
    let report = folder.evaluate(&digits::data(), "--json").succeeded().json();
    let text = |key: &str| report[key].as_str().map(str::to_owned).expect("text");
    assert!(text("model").ends_with("m.safetensors") && text("data").ends_with("digits.npz"));
    assert_eq!(report["schema_version"], Value::from(1));
    assert_eq!(report["device"], "CPU");
}
