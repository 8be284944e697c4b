//! `sweep`: what its rows say, and that they say what other tools found.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Ran, compress, finish, names, program, run};
use crate::digits;

fn sweep(model: &Path, data: &Path, more: &str) -> Ran {
    let paths = [model, data].map(|path| path.display().to_string());
    let arguments = ["sweep", &paths[0], "--data", &paths[1]];
    let device = if more.contains("--device") { "" } else { "--device cpu" };
    run(arguments.into_iter().chain(device.split_whitespace()).chain(more.split_whitespace()))
}

/// The rows as JSON.
fn rows(model: &Path, data: &Path, more: &str) -> Vec<Value> {
    let report = sweep(model, data, &format!("{more} --json")).succeeded().json();
    assert_eq!(report["schema_version"], 1);
    report["rows"].as_array().expect("rows").clone()
}

/// Compressing with the options of a row and evaluating the result gives the row.
#[test]
fn a_row_is_what_its_options_make() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["m.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    digits::nearest_mean(&model);
    let options = "--sparsity 0.8 --nm 2:4 --threshold-ratio 0.3 --quantize int4,int2 --asymmetric";
    let rows = rows(&model, &digits::data(), options);
    // Two types, one of them in three granularities, two scopes, and both types pruned.
    assert_eq!(rows.len(), 1 + 4 + 2 + 1 + 1 + 2);
    assert_eq!(rows[0]["name"], "dense");
    assert!(rows[0]["accuracy"].as_f64() > Some(0.85), "{}", rows[0]);
    for row in &rows[1..] {
        let options = row["options"].as_array().expect("options");
        let options: Vec<&str> = options.iter().map(|o| o.as_str().expect("a word")).collect();
        let more = format!("{} --force --json", options.join(" "));
        let report = finish(&mut compress(&model, &out, &more)).succeeded().json();
        let paths = [&out, &digits::data(), &model].map(|path| path.display().to_string());
        let arguments = ["evaluate", &paths[0], "--data", &paths[1], "--against", &paths[2]];
        let more = ["--json", "--device", "cpu"];
        let evaluation = run(arguments.into_iter().chain(more)).succeeded().json();
        for (figure, expected) in [
            ("bytes", &report["bytes_after"]),
            ("bits_per_weight", &report["bits_per_weight"]),
            ("sparsity", &report["sparsity"]),
            ("sqnr_db", &report["sqnr_db"]),
            ("correct", &evaluation["correct"]),
            ("accuracy", &evaluation["accuracy"]),
            ("agreement", &evaluation["against"]["agreement"]),
            ("accuracy_difference", &evaluation["against"]["accuracy_difference"]),
            ("confidence_95", &evaluation["against"]["confidence_95"]),
        ] {
            assert_eq!(&row[figure], expected, "{figure} of {row}");
        }
    }
}

/// What is given besides the ways of compressing is part of what makes a row.
#[test]
fn options_make_the_network_that_was_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["m.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    digits::nearest_mean(&model);
    let more = "--activations sigmoid --quantize int8 --granularity tensor";
    let row = rows(&model, &digits::data(), more).swap_remove(1);
    let options: Vec<String> = serde_json::from_value(row["options"].clone()).expect("words");
    assert_eq!(options.join(" "), "--quantize int8 --granularity tensor --activations sigmoid");
    finish(&mut compress(&model, &out, &options.join(" "))).succeeded();
    let paths = [&out, &digits::data()].map(|path| path.display().to_string());
    let evaluate = ["evaluate", &paths[0], "--data", &paths[1], "--json", "--device", "cpu"];
    let evaluation = run(evaluate).succeeded().json();
    assert_eq!(row["cross_entropy"], evaluation["cross_entropy"]);
    let text = sweep(&model, &digits::data(), more).succeeded().stdout;
    assert!(text.contains("--granularity tensor --activations sigmoid\n"), "{text}");
}

/// Nothing is left behind.
#[cfg(unix)]
#[test]
fn an_interrupted_sweep_takes_its_files_away() {
    use std::process::Command;
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("m.safetensors");
    digits::nearest_mean(&model);
    for signal in ["INT", "TERM"] {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut command = program();
        command.arg("sweep").arg(&model).arg("--data").arg(digits::data());
        // Hundreds of rows, so that it takes long enough.
        let sparsities: Vec<String> = (1..400).map(|n| format!("0.{n:03}")).collect();
        command.args(["--device", "cpu", "--sparsity", &sparsities.join(",")]);
        command.args(["--batch-size", "1", "--quiet"]).stderr(std::process::Stdio::piped());
        let mut child = command.env("TMPDIR", temporary.path()).spawn().expect("starts");
        let written = || {
            let folders = names(temporary.path());
            folders.iter().any(|name| temporary.path().join(name).join("compressed").exists())
        };
        while !written() {
            assert!(child.try_wait().expect("a child").is_none(), "it ended before {signal}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "what was removed is not missed");
        assert_eq!(names(temporary.path()), [] as [String; 0]);
    }
}

#[test]
fn a_plot_is_written_once_and_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, plot] = ["m.safetensors", "plot.svg"].map(|name| folder.path().join(name));
    digits::nearest_mean(&model);
    let options = format!("--limit 200 --plot {}", plot.display());
    let ran = sweep(&model, &digits::data(), &options).succeeded();
    assert!(ran.stdout.contains("200 rows of ") && ran.stdout.contains("wrote "), "{}", ran.stdout);
    let marked = ran.stdout.lines().filter(|line| line.starts_with(" * ")).count();
    assert!((2..20).contains(&marked), "{}", ran.stdout);
    assert!(ran.stdout.contains("--quantize int8 --granularity tensor"), "{}", ran.stdout);
    let first = fs::read_to_string(&plot).expect("written");
    assert!(first.starts_with("<svg") && first.contains("int8 channel"), "{first}");
    let again = sweep(&model, &digits::data(), &options);
    assert_eq!(again.code, Some(73), "{}", again.stderr);
    sweep(&model, &digits::data(), &format!("{options} --force")).succeeded();
    assert_eq!(fs::read_to_string(&plot).expect("written"), first);
    for (name, code) in [("plot.png", 2), ("m.safetensors", 2), ("nowhere/plot.svg", 73)] {
        let options = format!("--force --plot {}", folder.path().join(name).display());
        let ran = sweep(&model, &digits::data(), &options);
        assert_eq!(ran.code, Some(code), "{name}: {}", ran.stderr);
    }
}

#[test]
fn compressed_networks_are_swept_beside_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, small] =
        ["m.safetensors", "small.safetensors"].map(|name| folder.path().join(name));
    digits::nearest_mean(&model);
    finish(&mut compress(&model, &small, "--quantize int4 --granularity channel")).succeeded();
    let rows = rows(&small, &digits::data(), "--quantize int4 --granularity channel");
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str()).collect();
    assert_eq!(names, [Some("dense"), Some("as stored"), Some("int4 channel")]);
    // Codes of codes are the same codes.
    assert_eq!(rows[1]["bytes"], rows[2]["bytes"]);
    assert_eq!(rows[0]["correct"], rows[1]["correct"]);
    assert_eq!(rows[1]["agreement"], 1.0);
    let text = sweep(&small, &digits::data(), "--quantize int8").succeeded().stdout;
    let (before, after) = text.split_once("tensorpress decompress ").expect("advice");
    assert!(before.ends_with("to write one, "), "{before}");
    assert!(after.contains(" -o DENSE, then tensorpress compress DENSE -o OUT and:"), "{after}");
}

#[test]
fn a_gpu_gives_the_same_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("m.safetensors");
    digits::nearest_mean(&model);
    let options = "--sparsity 0.5 --scope layer --quantize int8 --granularity channel";
    let answers = |device: &str| -> Vec<Value> {
        let rows = rows(&model, &digits::data(), &format!("{options} --device {device}"));
        rows.into_iter().map(|row| row["correct"].clone()).collect()
    };
    assert_eq!(answers("gpu"), answers("cpu"));
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("m.safetensors");
    digits::nearest_mean(&model);
    for (more, code, words) in [
        ("--sparsity 1.5", 2, "--sparsity is 1.5"),
        ("--sparsity x", 2, "invalid value"),
        ("--nm 4:4", 2, "--nm is 4:4"),
        ("--asymmetric --narrow-range", 2, "does not go with"),
        ("--limit 0", 2, "--limit"),
        ("--split best", 2, "train or test"),
        ("--include nothing", 2, "no tensor is selected"),
        ("--activations relu,relu", 2, "2 activations for a network of 1 layers"),
    ] {
        let ran = sweep(&model, &digits::data(), more);
        assert_eq!(ran.code, Some(code), "{more}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{more}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{more}");
    }
    let ran = sweep(&model, Path::new("nowhere"), "");
    assert_eq!(ran.code, Some(66), "{}", ran.stderr);
}

/// What other tools measured for the same files: the row's name, correct answers of 10 000, and
/// SQNR where they give it.
type Known = (&'static str, u64, Option<f64>);

const SMALL: [Known; 16] = [
    ("int8 tensor", 8819, Some(35.0)),
    ("int8 channel", 8809, Some(40.3)),
    ("int4 tensor", 8541, Some(9.7)),
    ("int4 channel", 8564, Some(15.2)),
    ("50% by layer", 7794, None),
    ("80% by layer", 5660, None),
    ("90% by layer", 3762, None),
    ("95% by layer", 2660, None),
    ("50% global", 8717, None),
    ("80% global", 7716, None),
    ("90% global", 5779, None),
    ("95% global", 4215, None),
    ("|w| ≥ 0.01 max", 8821, None),
    ("|w| ≥ 0.05 max", 8761, None),
    ("|w| ≥ 0.1 max", 8526, None),
    ("|w| ≥ 0.2 max", 5462, None),
];

const LARGE: [Known; 16] = [
    ("int8 tensor", 8868, Some(32.9)),
    ("int8 channel", 8865, Some(39.9)),
    ("int4 tensor", 8708, Some(7.5)),
    ("int4 channel", 8834, Some(14.8)),
    ("50% by layer", 8838, None),
    ("80% by layer", 8147, None),
    ("90% by layer", 5788, None),
    ("95% by layer", 3320, None),
    ("50% global", 8862, None),
    ("80% global", 8753, None),
    ("90% global", 7695, None),
    ("95% global", 4795, None),
    ("|w| ≥ 0.01 max", 8869, None),
    ("|w| ≥ 0.05 max", 8858, None),
    ("|w| ≥ 0.1 max", 8526, None),
    ("|w| ≥ 0.2 max", 3786, None),
];

/// Their codes go from −127 to 127.
const AS_OTHERS: &str = "--narrow-range --quantize int8,int4 --granularity tensor,channel,group \
                         --group-size 64 --sparsity 0.5,0.8,0.9,0.95 --threshold-ratio 0.01,0.05,0.1,0.2";

/// Fails unless `options` give what is `known`, and the dense network `dense` right answers.
fn assert_known(name: &str, options: &str, dense: u64, known: &[Known]) {
    let shared = std::env::var_os("TENSORPRESS_SHARED").unwrap_or_default();
    let data = Path::new(&shared).join("data/fashion-mnist");
    let model = Path::new(&shared).join(format!("models/{name}.safetensors"));
    if !data.is_dir() || !model.is_file() {
        println!("skipped: sweep of {name} (TENSORPRESS_SHARED names no folder with it)");
        return;
    }
    let rows = rows(&model, &data, options);
    let of = |wanted: &str| {
        let row = rows.iter().find(|row| row["name"] == wanted);
        row.unwrap_or_else(|| panic!("{name}: no {wanted}"))
    };
    let correct = |row: &Value| row["correct"].as_u64().expect("a count");
    for (wanted, expected, sqnr) in known.iter().chain([&("dense", dense, None)]) {
        let row = of(wanted);
        // Another order of summation may turn an answer, not more.
        assert!(correct(row).abs_diff(*expected) <= 2, "{name}, {wanted}: {row}, not {expected}");
        if let Some(expected) = sqnr {
            // Theirs is the first layer's.
            let found = row["sqnr_db"].as_f64().expect("a figure");
            assert!((found - expected).abs() < 0.15, "{name}, {wanted}: {found}, not {expected}");
        }
    }
    // Others let the last group of a row be short (784 = 12 · 64 + 16); no format that is written
    // here has that, so that such weights get a scale a row instead.
    if options.contains("--group-size 64") {
        assert_eq!(correct(of("int4 group 64")), correct(of("int4 channel")));
    }
}

#[test]
fn fashion_100_10_is_what_other_tools_found() {
    assert_known("fashion-100-10", AS_OTHERS, 8814, &SMALL);
}

/// A scheme, a sparsity and a ratio; all of them take a while.
#[test]
fn fashion_1200_1200_10_is_what_other_tools_found() {
    let options = "--narrow-range --quantize int4 --granularity channel";
    assert_known("fashion-1200-1200-10", options, 8872, &[LARGE[3]]);
    assert_known("fashion-1200-1200-10", "--sparsity 0.8 --scope global", 8872, &[LARGE[9]]);
}

#[test]
#[ignore = "takes most of a minute in a debug build"]
fn all_of_fashion_1200_1200_10_is_what_other_tools_found() {
    assert_known("fashion-1200-1200-10", AS_OTHERS, 8872, &LARGE);
}
