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
use crate::files::{Tensor, floats, read, tensor, write};

/// A folder with a network of digits.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        digits::nearest_mean(&folder.path().join("m.safetensors"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).expect("written");
        self.path(name)
    }

    /// `SUBCOMMAND m.safetensors OPTION PATH …`, on the CPU.
    fn call(&self, subcommand: &str, model: &str, option: &str, path: &Path, more: &str) -> Ran {
        let mut command = program();
        command.arg(subcommand).arg(self.path(model)).arg(option).arg(path);
        command.args(["--device", "cpu"]).args(more.split_whitespace());
        finish(command.current_dir(self.folder.path()))
    }

    fn run(&self, input: &Path, more: &str) -> Ran {
        self.call("run", "m.safetensors", "--input", input, more)
    }

    fn evaluate(&self, data: &Path, more: &str) -> Ran {
        self.call("evaluate", "m.safetensors", "--data", data, more)
    }
}

/// The first digits, as bytes.
fn some_digits(count: usize) -> (Vec<u8>, Vec<u8>) {
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
    let one = outputs(folder.run(&alone, ""));
    assert_eq!(one.len(), 1);
    // A row alone is summed in another order than rows of a batch.
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&one[0], &expected[0]), "{one:?}");
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

/// Exit code 65, and what was expected beside what was found.
#[test]
fn inputs_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let row = |values: &[f32]| -> Vec<u8> {
        let values = values.iter().copied().chain(std::iter::repeat(0.5)).take(64);
        values.flat_map(f32::to_le_bytes).collect()
    };
    let good = npy(1, "<f4", false, "(1, 64)", &row(&[]));
    let cases: [(&str, Vec<u8>, &[&str]); 14] = [
        ("wide", npy(1, "|u1", false, "(2, 65)", &[0; 130]), &["[2, 65]", "has 64 inputs"]),
        ("no rows", npy(1, "|u1", false, "(0, 64)", &[]), &["no rows; at least one"]),
        ("a number", npy(1, "<f4", false, "()", &[0; 4]), &["shape []", "[rows, 64]"]),
        (
            "NaN",
            npy(1, "<f4", false, "(1, 64)", &row(&[0.0, f32::NAN])),
            &["column 1 is NaN", "finite"],
        ),
        (
            "infinity",
            npy(1, "<f4", false, "(1, 64)", &row(&[f32::INFINITY])),
            &["is inf", "finite"],
        ),
        ("pickle", npy(1, "|O", false, "(1,)", &[0; 8]), &["pickled", "astype('float32')"]),
        (
            "complex",
            npy(1, "<c8", false, "(1, 8)", &[0; 64]),
            &["\"<c8\"", "numbers were expected"],
        ),
        ("cut off", good[..good.len() - 1].to_vec(), &["takes 256 bytes", "has 255"]),
        ("IDX cut off", idx(8, &[1, 64], &[0; 60]), &["takes 64 bytes", "has 60"]),
        ("IDX magic", [vec![7], idx(8, &[1, 64], &[0; 64])].concat(), &["first bytes", "IDX"]),
        ("gzip cut off", gzip(&good)[..30].to_vec(), &["x: "]),
        ("npz cut off", npz(&[("x", good.clone())])[..90].to_vec(), &["npz archive"]),
        ("empty", vec![], &["the file is empty"]),
        ("text", b"1,2,3\n4,5,6\n".to_vec(), &["first bytes", ".npy, .npz, .safetensors and IDX"]),
    ];
    for (name, bytes, words) in cases {
        let ran = folder.run(&folder.write("x", &bytes), "");
        assert_refused(name, &ran, 65, words);
        assert_refused(name, &ran, 65, &["x: "]);
    }
    assert_refused("missing", &folder.run(Path::new("nothing.npy"), ""), 66, &["nothing.npy"]);
    assert_refused("a folder", &folder.run(Path::new("."), ""), 66, &[".: "]);
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let folder = Folder::new();
    let (pixels, labels) = some_digits(4);
    let x = npy(1, "|u1", false, "(4, 64)", &pixels);
    let y = |descr, shape: &str, data: &[u8]| npy(1, descr, false, shape, data);
    type Members = Vec<(&'static str, Vec<u8>)>;
    let cases: [(&str, Members, &[&str]); 8] = [
        (
            "a label",
            vec![("x", x.clone()), ("y", y("|u1", "(4,)", &[1, 2, 10, 3]))],
            &["label 2 is 10", "from 0 to 9"],
        ),
        (
            "below",
            vec![("x", x.clone()), ("y", y("|i1", "(4,)", &[1, 2, 3, 255]))],
            &["label 3 is -1", "from 0 to"],
        ),
        (
            "few",
            vec![("x", x.clone()), ("y", y("|u1", "(3,)", &labels[..3]))],
            &["4 inputs and 3 labels"],
        ),
        (
            "floats",
            vec![("x", x.clone()), ("y", y("<f4", "(4,)", &[0; 16]))],
            &["whole numbers were expected"],
        ),
        (
            "one-hot",
            vec![("x", x.clone()), ("y", y("|u1", "(4, 10)", &[0; 40]))],
            &["[4, 10]", "[rows] of integers"],
        ),
        (
            "no labels",
            vec![("x", x.clone()), ("z", y("|u1", "(4,)", &labels))],
            &["an array \"y\"", "holds x, z"],
        ),
        (
            "none",
            vec![("x", npy(1, "|u1", false, "(0, 64)", &[])), ("y", y("|u1", "(0,)", &[]))],
            &["no rows"],
        ),
        (
            "wide",
            vec![("x", npy(1, "|u1", false, "(4, 8)", &[0; 32])), ("y", y("|u1", "(4,)", &labels))],
            &["[4, 8]", "64 inputs"],
        ),
    ];
    for (name, members, words) in cases {
        let data = folder.write("d.npz", &npz(&members));
        for subcommand in ["evaluate", "sweep"] {
            let ran = folder.call(subcommand, "m.safetensors", "--data", &data, "-q");
            assert_refused(name, &ran, 65, words);
            assert_refused(name, &ran, 65, &["d.npz: "]);
        }
    }
    assert_refused(
        "npy",
        &folder.evaluate(&folder.write("x.npy", &x), ""),
        65,
        &["\"x\"", "without a name"],
    );
    let images = idx(8, &[4, 8, 8], &pixels);
    folder.write("t10k-images-idx3-ubyte", &images);
    folder.write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(8, &[4], &labels)));
    folder.evaluate(folder.folder.path(), "").succeeded();
    let ran = folder.evaluate(folder.folder.path(), "--split train");
    assert_refused("no train", &ran, 66, &["train-images-idx3-ubyte.gz", "is there"]);
    folder.write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(8, &[4], &labels))[..20]);
    let ran = folder.evaluate(folder.folder.path(), "");
    assert_refused("labels cut off", &ran, 65, &["t10k-labels-idx1-ubyte.gz: "]);
}

#[test]
fn networks_that_are_none_are_refused() {
    let folder = Folder::new();
    let (pixels, _) = some_digits(1);
    let input = folder.write("x.npy", &npy(1, "|u1", false, "(1, 64)", &pixels));
    let layer = |name: &str, outputs: usize, inputs: usize, value: f32| {
        floats(&format!("{name}.weight"), &[outputs, inputs], &vec![value; outputs * inputs])
    };
    let mut nan = layer("fc2", 10, 9, 1.0);
    nan.data[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    let bias = floats("fc2.bias", &[10], &[f32::INFINITY; 10]);
    let describe = |activation: &str| {
        format!(
            r#"{{"version":1,"output":"softmax","layers":[
                {{"name":"one","weight":"fc1.weight","activation":"{activation}"}}]}}"#
        )
    };
    let (unknown, first) = (describe("swish"), layer("fc1", 9, 64, 1.0));
    let cases: [(&str, &str, Vec<Tensor>, &[&str]); 5] = [
        (
            "a break",
            "",
            vec![first.clone(), layer("fc2", 10, 8, 1.0)],
            &["gives 9 outputs", "wants 8 inputs"],
        ),
        ("an activation", &unknown, vec![first.clone()], &["\"one\"", "\"swish\"", "gelu"]),
        ("JSON", "{", vec![first.clone()], &["\"network\"", "not valid"]),
        ("a NaN", "", vec![first.clone(), nan], &["\"fc2.weight\"", "element 10 is NaN"]),
        (
            "a bias",
            "",
            vec![first, layer("fc2", 10, 9, 1.0), bias],
            &["\"fc2.bias\"", "element 0 is inf"],
        ),
    ];
    for (name, description, tensors, words) in cases {
        let metadata: &[(&str, &str)] =
            if description.is_empty() { &[] } else { &[("network", description)] };
        write(&folder.path("bad.safetensors"), metadata, &tensors);
        for device in ["cpu", "gpu"] {
            let mut command = program();
            command.arg("run").arg(folder.path("bad.safetensors")).arg("--input").arg(&input);
            let ran = finish(command.args(["-q", "--device", device]));
            assert_refused(name, &ran, 65, words);
            assert_refused(name, &ran, 65, &["bad.safetensors: "]);
        }
    }
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
