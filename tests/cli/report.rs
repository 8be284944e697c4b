//! Every figure of the report against a naive count over what was written, and its warnings.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tensorpress::tensor::FloatType;

use crate::command::{compress, finish, run};
use crate::files::{Tensor, find, own, read, trained_here};
use crate::raw::{EXAMPLE, file, values};

/// What a weight was and what became of it.
struct Pair {
    name: String,
    before: Vec<f32>,
    after: Vec<f32>,
    bytes_before: usize,
    bytes_after: usize,
}

fn decoded(tensor: &Tensor) -> Vec<f32> {
    let float = FloatType::from_dtype(tensor.dtype).expect("floats");
    (0..tensor.data.len() / float.size()).map(|i| float.load(&tensor.data, i)).collect()
}

/// The weights of `model`, which was compressed to `out`, in the order of the report.
fn pairs(model: &Path, out: &Path, dense: &Path) -> Vec<Pair> {
    let (before, written) = (read(model), read(out));
    let [from, to] = [out, dense].map(|path| path.to_str().expect("UTF-8"));
    let unpacked = run(["decompress", from, "-o", to, "--force", "--device", "cpu"]);
    let after = if unpacked.code == Some(0) { read(dense) } else { read(out) };
    let weights = before.iter().filter(|t| t.shape.len() == 2);
    let pairs = weights.map(|tensor| {
        let name = &tensor.name;
        let module = name.strip_suffix("weight").unwrap_or("no such part");
        let parts = written.iter().filter(|part| {
            let mask = ["shape", "compressed", "bitmask", "row_offsets"];
            let own = part.name.strip_prefix(module).is_some_and(|rest| mask.contains(&rest));
            own || part.name.starts_with(&**name)
        });
        Pair {
            name: name.clone(),
            before: decoded(tensor),
            after: decoded(find(&after, name)),
            bytes_before: tensor.data.len(),
            bytes_after: parts.map(|part| part.data.len()).sum(),
        }
    });
    pairs.collect()
}

/// Σ w², Σ (w − w')², zeros, and the number of weights.
fn sums<'a>(pairs: impl Iterator<Item = &'a Pair>) -> [f64; 4] {
    let mut sums = [0.0; 4];
    for (w, r) in pairs.flat_map(|pair| pair.before.iter().zip(&pair.after)) {
        let (w, r) = (f64::from(*w), f64::from(*r));
        let terms = [w * w, (w - r) * (w - r), f64::from(u8::from(r == 0.0)), 1.0];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }
    sums
}

#[track_caller]
fn assert_figure(report: &Value, key: &str, expected: f64, what: &str) {
    let found = report[key].as_f64().unwrap_or_else(|| panic!("{what}: {key}: {report}"));
    let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
    assert!(close, "{what}: {key} is {found} and not {expected}");
}

/// What a tensor and all of them together have in common.
#[track_caller]
fn assert_sums(report: &Value, pairs: &[&Pair], what: &str) {
    let [signal, error, zeros, count] = sums(pairs.iter().copied());
    let bytes: usize = pairs.iter().map(|pair| pair.bytes_after).sum();
    assert_figure(report, "sqnr_db", 10.0 * (signal / error).log10(), what);
    assert_figure(report, "sparsity", zeros / count, what);
    assert_figure(report, "bits_per_weight", bytes as f64 * 8.0 / count, what);
}

#[test]
fn figures_are_those_of_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let [out, dense] = ["out", "dense"].map(|name| folder.path().join(name));
    let recipes = [
        "--quantize int8",
        "--quantize int4 --group-size 4 --asymmetric",
        "--sparsity 0.7",
        "--sparsity 0.7 --global --quantize int4 --granularity channel",
        "--nm 2:4 --format sparse-bitmask --exclude kernel",
        "--threshold-ratio 0.2 --quantize int8 --scale 300",
    ];
    let models = trained_here();
    for (model, recipe) in models.iter().flat_map(|m| recipes.map(|r| (m, r))) {
        let kernels = model.display().to_string().contains("keras");
        if kernels && recipe.contains("exclude kernel") {
            continue;
        }
        let what = format!("{} {recipe}", model.display());
        let ran = finish(&mut compress(model, &out, &format!("{recipe} --json --force -q")));
        let report = ran.succeeded().json();
        let pairs = pairs(model, &out, &dense);
        let all: Vec<&Pair> = pairs.iter().collect();
        assert_sums(&report, &all, &what);
        let bytes = |path: &Path| read(path).iter().map(|t| t.data.len()).sum::<usize>();
        assert_eq!(report["bytes_before"], bytes(model), "{what}");
        assert_eq!(report["bytes_after"], bytes(&out), "{what}");
        let rate = bytes(model) as f64 / 1e9 / report["seconds"].as_f64().expect("seconds");
        assert_figure(&report, "gb_per_second", rate, &what);
        for pair in &pairs {
            let rows = report["tensors"].as_array().expect("a list");
            let row = rows.iter().find(|row| row["name"] == pair.name).expect("a row");
            assert_sums(row, &[pair], &what);
            let errors = pair.before.iter().zip(&pair.after).map(|(w, r)| (w - r).abs());
            assert_figure(row, "max_error", errors.fold(0.0, f32::max).into(), &what);
            assert_eq!(row["bytes_before"], pair.bytes_before, "{what}");
            assert_eq!(row["bytes_after"], pair.bytes_after, "{what}");
        }
    }
}

#[test]
fn saturated_weights_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for scale in [100.0, 300.0, 1000.0] {
        let arguments = format!("--quantize int8 --scale {scale} --json --force -q");
        let ran = finish(&mut compress(&own(EXAMPLE), &out, &arguments)).succeeded();
        let report = ran.json();
        for tensor in read(&own(EXAMPLE)).iter().filter(|t| t.shape.len() == 2) {
            let outside = |w: &f32| w * scale > 127.5 || w * scale < -128.5;
            let expected = decoded(tensor).iter().filter(|w| outside(w)).count();
            let rows = report["tensors"].as_array().expect("a list");
            let row = rows.iter().find(|row| row["name"] == tensor.name).expect("a row");
            assert_eq!(row["saturated"], expected, "{} × {scale}", tensor.name);
            assert!(scale < 300.0 || expected > 0);
        }
    }
}

/// The warnings of `arguments` on one weight of these values.
fn warnings(weights: &[f32], arguments: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let tensor = values("fc.weight", FloatType::F32, &[1, weights.len()], weights);
    fs::write(&input, file(&[tensor])).expect("written");
    let report = finish(&mut compress(&input, &out, &format!("{arguments} --json"))).json();
    let all = report["warnings"].as_array().expect("a list").iter();
    all.map(|text| text.as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_ratio_that_removes_more_than_nine_tenths_is_told() {
    let with_small = |count: usize| -> Vec<f32> {
        (0..100).map(|i| if i < count { 0.1 } else { 1.0 }).collect()
    };
    let told = |count, arguments: &str| {
        let all = warnings(&with_small(count), arguments);
        all.iter().any(|text| text.contains("more than 90% of fc.weight"))
    };
    let ratio = "--threshold-ratio 0.5 --quantize int8";
    assert!(!told(90, ratio) && told(91, ratio));
    assert!(!told(91, "--threshold 0.5 --quantize int8"), "only a ratio surprises");
}

/// The code of -max is -128, which is half a step more than -max is.
#[test]
fn codes_that_stand_for_infinity_are_told() {
    for (largest, told) in [(f32::MAX, 1), (f32::MAX / 2.0, 0)] {
        let all = warnings(&[-largest; 64], "--quantize int8");
        assert_eq!(all.len(), told, "{all:?}");
        assert!(all.iter().all(|text| text.contains("infinity") && text.contains("--exclude")));
    }
}

#[test]
fn a_file_that_is_not_smaller_is_told_with_what_makes_it_smaller() {
    let weights: Vec<f32> = (1..=64).map(|i| i as f32).collect();
    for (arguments, words) in [
        ("--sparsity 0.5", &["zeros take as much room", "--format sparse-bitmask"][..]),
        ("--sparsity 0.5 --quantize int8 --format dense", &["leave --format dense out"]),
        ("--quantize int8 --format dense", &["leave --format dense out"]),
        ("--sparsity 0 --format sparse-bitmask", &["bit mask", "--quantize int4"]),
    ] {
        let told = warnings(&weights, arguments);
        let [text] = &told[..] else { panic!("{arguments}: {told:?}") };
        assert!(words.iter().all(|word| text.contains(word)), "{arguments}: {text}");
    }
    for arguments in ["--sparsity 0.9 --format sparse-bitmask", "--quantize int8"] {
        assert_eq!(warnings(&weights, arguments), [""; 0], "{arguments}");
    }
}
