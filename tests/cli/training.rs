//! `train`, `finetune` and `distill`: what they write, how they go on after Ctrl-C, and what they
//! refuse.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::arrays::{npy, npz};
use crate::bad_input::assert_refused;
use crate::command::{Ran, finish, names, program, snapshot};
use crate::digits;

/// `tensorpress ARGUMENTS --data DATA --device cpu` in `folder`, not yet started.
fn command(folder: &Path, data: &Path, arguments: &str) -> Command {
    let mut command = program();
    command.current_dir(folder).args(arguments.split_whitespace());
    command.arg("--data").arg(data).args(["--device", "cpu"]);
    command
}

/// The same on the digits, run to its end.
fn run(folder: &Path, arguments: &str) -> Ran {
    finish(&mut command(folder, &digits::data(), arguments))
}

/// Runs `command` until a line of its standard error has `sign`, and sends it SIGINT, as Ctrl-C.
#[cfg(unix)]
pub fn interrupt(command: &mut Command, sign: &str) -> Ran {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.expect("starts");
    let mut errors = BufReader::new(child.stderr.take().expect("piped"));
    let mut stderr = String::new();
    while !stderr.lines().last().is_some_and(|line| line.contains(sign)) {
        let read = errors.read_line(&mut stderr).expect("UTF-8");
        assert!(read > 0, "it ended before {sign:?}: {stderr}");
    }
    let signal = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &signal]).status().expect("a shell").success());
    errors.read_to_string(&mut stderr).expect("UTF-8");
    let mut stdout = String::new();
    let output = child.stdout.as_mut().expect("piped");
    output.read_to_string(&mut stdout).expect("UTF-8");
    Ran { code: child.wait().expect("ends").code(), stdout, stderr }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Epochs enough for a signal to come in time.
const LONG: &str = "--epochs 150 --batch-size 16 --validation-split 0.1 --dropout 0.1";

/// After Ctrl-C there is a checkpoint and no network; with `--resume` it comes to the bytes of a
/// training that nobody interrupted, and takes the checkpoint away.
#[cfg(unix)]
#[test]
fn an_interrupted_training_is_resumed_to_the_same_bytes() {
    let folder = folder();
    let root = folder.path();
    run(root, "train --hidden 24 --epochs 5 -o teacher.safetensors").succeeded();
    for (name, arguments) in [
        ("train", "train --hidden 24"),
        ("finetune", "finetune teacher.safetensors --schedule polynomial:0:0.8:0:600"),
        ("distill", "distill --teacher teacher.safetensors --hidden 12"),
    ] {
        let (whole, parts) = (format!("{name}.safetensors"), format!("{name}-parts.safetensors"));
        let arguments = format!("{arguments} {LONG} -o");
        run(root, &format!("{arguments} {whole}")).succeeded();
        let before = names(root);
        let mut interrupted = command(root, &digits::data(), &format!("{arguments} {parts}"));
        let ran = interrupt(&mut interrupted, "epoch   2");
        assert_refused(name, &ran, 130, &["interrupted", "--resume"]);
        let checkpoint = format!("{parts}.checkpoint");
        let left: Vec<String> =
            names(root).into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(left, [checkpoint]);
        let ran = run(root, &format!("{arguments} {parts} --resume")).succeeded();
        assert!(ran.stderr.contains("goes on from its checkpoint"), "{}", ran.stderr);
        let read = |name| fs::read(root.join(name)).expect("written");
        assert!(read(whole) == read(parts), "{name}: other bytes");
        assert_eq!(names(root).len(), before.len() + 1, "{:?}", names(root));
    }
}

/// A pruned network stays pruned, a rounded one is as good as the report says, and all can be read
/// by other commands.
#[test]
fn networks_are_trained_fine_tuned_and_distilled() {
    let folder = folder();
    let root = folder.path();
    let json = |arguments: &str| run(root, &format!("{arguments} --json")).succeeded().json();
    let test = |report: &Value| number(&report["test"]["accuracy"]);
    let evaluated = |model: &str| number(&json(&format!("evaluate {model}"))["accuracy"]);
    let dense = json("train --hidden 48,24 --epochs 15 --seed 3 -o dense.safetensors");
    assert_eq!(dense["schema_version"], 1);
    assert_eq!(dense["epochs"].as_array().map(Vec::len), Some(15));
    assert!(test(&dense) > 0.85, "{}", test(&dense));
    assert_eq!(test(&dense), evaluated("dense.safetensors"));

    let sparse = json(
        "finetune dense.safetensors --schedule constant:0.5 --sparsity fc1=0.75 --epochs 4 \
         --format sparse-bitmask -o sparse.safetensors",
    );
    let weights = [64.0 * 48.0, 48.0 * 24.0, 24.0 * 10.0];
    let zeros = 0.75 * weights[0] + 0.5 * (weights[1] + weights[2]);
    let share = zeros / weights.iter().sum::<f64>();
    assert!((number(&sparse["sparsity"]) - share).abs() < 1e-9, "{}", sparse["sparsity"]);
    assert!(number(&sparse["bytes"]) < 0.5 * number(&dense["bytes"]));
    assert_eq!(test(&sparse), evaluated("sparse.safetensors"));

    let int4 = json(
        "finetune sparse.safetensors --quantize int4 --granularity channel --epochs 2 \
         --format sparse-bitmask -o int4.safetensors",
    );
    assert!(number(&int4["sparsity"]) >= share - 1e-9);
    // Of files so small a good part is the header.
    assert!(number(&int4["bytes"]) < 0.7 * number(&sparse["bytes"]), "{}", int4["bytes"]);
    assert_eq!(test(&int4), evaluated("int4.safetensors"));
    assert_eq!(number(&int4["before"]["accuracy"]), test(&sparse));
    assert!(test(&int4) > test(&sparse) - 0.05, "{} after {}", test(&int4), test(&sparse));

    // The teacher is the compressed network.
    let student = json(
        "distill --teacher int4.safetensors --hidden 12 --epochs 10 --baseline \
         -o student.safetensors",
    );
    assert_eq!(number(&student["teacher"]["accuracy"]), test(&int4));
    assert!(number(&student["baseline"]["accuracy"]) > 0.5);
    assert_eq!(test(&student), evaluated("student.safetensors"));
    assert_ne!(student["baseline"]["cross_entropy"], student["test"]["cross_entropy"]);
}

/// The history as CSV and JSON, and the plot, say what the report says.
#[test]
fn histories_and_plots_are_written() {
    let folder = folder();
    let root = folder.path();
    run(root, "train --hidden 8 --epochs 2 -o m.safetensors").succeeded();
    for (name, arguments) in [
        ("train", "train --hidden 8"),
        ("finetune", "finetune m.safetensors --schedule constant:0.5"),
        ("distill", "distill --teacher m.safetensors --hidden 4"),
    ] {
        let common = "--epochs 3 --validation-split 0.2 --seed 2 --force --json -o out.safetensors";
        let csv = format!("{arguments} {common} --history h.csv --plot {name}.svg");
        let report = run(root, &csv).succeeded().json();
        run(root, &format!("{arguments} {common} --history h.json")).succeeded();
        let read = |name: &str| fs::read_to_string(root.join(name)).expect("written");
        let json: Value = serde_json::from_str(&read("h.json")).expect("JSON");
        let epochs = json["epochs"].as_array().expect("a list");
        assert_eq!(epochs.len(), 3);
        let csv = read("h.csv");
        let mut lines = csv.lines();
        let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
        for (number, line) in lines.enumerate() {
            let row: Vec<&str> = line.split(',').collect();
            for (name, text) in header.iter().zip(row) {
                let reported = &report["epochs"][number][*name];
                // Times are those of another run.
                if !["seconds", "rows_per_second"].contains(name) {
                    let value: f64 = text.parse().expect("a number");
                    assert_eq!(reported.as_f64(), Some(value), "{name}");
                    assert_eq!(epochs[number][*name].as_f64(), Some(value), "{name}");
                }
            }
        }
        let plot = read(&format!("{name}.svg"));
        for word in ["<svg", "loss", "Accuracy", "validation", "epoch", "test"] {
            assert!(plot.contains(word), "{name}: no {word:?} in the plot");
        }
        assert!(!plot.contains("Sparsity"), "{name}: it does not change");
    }
}

/// Data of `rows` rows with the labels 0 … `classes` − 1.
fn classes(path: &Path, rows: usize, classes: usize) {
    let pixels: Vec<u8> = (0..rows * 64).map(|i| (i * 37 % 251) as u8).collect();
    let labels: Vec<u8> = (0..rows).map(|row| (row % classes) as u8).collect();
    let x = npy(1, "|u1", false, &format!("({rows}, 64)"), &pixels);
    let y = npy(1, "|u1", false, &format!("({rows},)"), &labels);
    fs::write(path, npz(&[("x_train", x), ("y_train", y)])).expect("written");
}

/// Each with its exit code and the words that help; nothing is written.
#[test]
fn bad_input_is_refused() {
    let folder = folder();
    let root = folder.path();
    run(root, "train --hidden 8 --epochs 1 -o m.safetensors").succeeded();
    let path = |name: &str| -> PathBuf { root.join(name) };
    classes(&path("twelve.npz"), 96, 12);
    classes(&path("few.npz"), 20, 10);
    let digits = digits::data();
    let (digits, twelve, few) = (&*digits, &*path("twelve.npz"), &*path("few.npz"));
    let rows: &[(&str, &Path, i32, &[&str])] = &[
        (
            "distill --teacher m.safetensors --hidden 4",
            twelve,
            65,
            &["the teacher has 10 outputs", "student 12", "same classes"],
        ),
        ("train --init m.safetensors", twelve, 65, &["twelve.npz", "label", "10"]),
        ("finetune m.safetensors", twelve, 65, &["twelve.npz", "label", "10"]),
        (
            "finetune m.safetensors --schedule polynomial:0:0.9:90:30",
            digits,
            2,
            &["ends at step 30, and begins at step 90", "polynomial:S0:S1:BEGIN:END"],
        ),
        ("finetune m.safetensors --schedule constant:1", digits, 2, &["S is 1", "0 ≤ S < 1"]),
        ("finetune m.safetensors --schedule polynomial:-0.1:0.9:0:30", digits, 2, &["-0.1"]),
        ("finetune m.safetensors --sparsity fc1=1", digits, 2, &["--sparsity is 1", "below 1"]),
        ("finetune m.safetensors --sparsity fc1=nan", digits, 2, &["--sparsity is NaN"]),
        ("finetune m.safetensors --sparsity fc9=0.5", digits, 2, &["no layer \"fc9\"", "fc1, fc2"]),
        ("finetune m.safetensors --sparsity 0.5", digits, 2, &["LAYER=S", "fc1=0.9"]),
        ("finetune m.safetensors --sparsity fc1=0.5 --sparsity fc1=0.6", digits, 2, &["once"]),
        (
            "finetune m.safetensors --quantize int4 --group-size 7",
            digits,
            2,
            &["group size 7", "fc1.weight (64 wide)", "--on-indivisible"],
        ),
        ("train --hidden 4", few, 2, &["batches of 32", "20 rows", "--batch-size from 1 to 20"]),
        ("train --hidden 4 --limit 9", digits, 2, &["batches of 32", "9 rows"]),
        ("train --hidden 4 --batch-size 0", digits, 2, &["--batch-size is 0", "at least 1"]),
        ("train --hidden 4 --learning-rate -1", digits, 2, &["--learning-rate"]),
        ("train --hidden 0", digits, 2, &["0"]),
        ("train --hidden 4 --patience 3", digits, 2, &["--validation-split 0.1"]),
        ("train --hidden 4 --momentum 0.9", digits, 2, &["--momentum", "--optimizer sgd"]),
        ("train --hidden 4 --resume", digits, 66, &["no checkpoint", "without --resume"]),
        ("train --hidden 4 --plot curve.png", digits, 2, &[".svg"]),
        ("train --hidden 4 --history h.txt", digits, 2, &["h.txt", ".csv or .json"]),
        ("train --hidden 4 --history json", digits, 2, &["json", ".csv or .json"]),
        ("train --hidden 4", &path("none.npz"), 66, &["none.npz"]),
        ("distill --teacher none.safetensors --hidden 4", digits, 66, &["none.safetensors"]),
        ("distill --teacher m.safetensors --hidden 4 --alpha 2", digits, 2, &["--alpha is 2"]),
        (
            "distill --teacher m.safetensors --hidden 4 --temperature 0",
            digits,
            2,
            &["--temperature is 0"],
        ),
        (
            "distill --teacher m.safetensors --hidden 4 --loss mse",
            digits,
            2,
            &["--loss does not go with a teacher", "leave it out"],
        ),
        (
            "train --hidden 4 --optimizer sgd --learning-rate 1e30",
            digits,
            1,
            &["not finite at step 2, in epoch 1", "lower --learning-rate"],
        ),
    ];
    let before = snapshot(root);
    for (arguments, data, code, words) in rows {
        let mut command = command(root, data, &format!("{arguments} -o out.safetensors"));
        assert_refused(arguments, &finish(&mut command), *code, words);
        assert!(snapshot(root) == before, "{arguments}: {:?}", names(root));
    }
    // The model and the data stand, whatever is forced.
    let onto = "finetune m.safetensors --force -o m.safetensors";
    assert_refused(onto, &run(root, onto), 2, &["m.safetensors"]);
    let onto = "train --hidden 4 -o m.safetensors";
    assert_refused(onto, &run(root, onto), 73, &["already exists", "--force"]);
    let mut onto = command(root, twelve, "train --hidden 4 --force -o twelve.npz");
    assert_refused("data", &finish(&mut onto), 2, &["twelve.npz"]);
    assert!(snapshot(root) == before, "{:?}", names(root));
}

/// Where the loss turns non-finite, the last checkpoint stands, and is not resumed with other
/// options.
#[test]
fn a_checkpoint_outlives_a_loss_that_is_not_finite() {
    let folder = folder();
    let root = folder.path();
    let arguments = "train --hidden 4 --optimizer sgd --learning-rate 1e30 --batch-size 1297 \
                     -o m.safetensors";
    let words = ["not finite at step 2, in epoch 2", "lower --learning-rate", "last checkpoint"];
    assert_refused("diverged", &run(root, arguments), 1, &words);
    assert_eq!(names(root), ["m.safetensors.checkpoint"]);
    let before = snapshot(root);
    for (more, words) in [
        ("--learning-rate 0.01", ["learning rate was 1000", "is 0.01", "--resume"]),
        ("--learning-rate 1e30 --seed 4", ["seed was 0", "is 4", "same command"]),
        ("--learning-rate 1e30 --hidden 4,4", ["was", "is", "same command"]),
    ] {
        let kept = arguments.replace("--learning-rate 1e30", "").replace("--hidden 4 ", "");
        let hidden = if more.contains("--hidden") { "" } else { "--hidden 4" };
        let ran = run(root, &format!("{kept} {hidden} {more} --resume"));
        assert_refused(more, &ran, 2, &words);
        assert!(snapshot(root) == before, "{more}: {:?}", names(root));
    }
    fs::write(root.join("m.safetensors.checkpoint"), "something else").expect("written");
    let ran = run(root, &format!("{arguments} --resume"));
    assert_refused("damaged", &ran, 65, &["m.safetensors.checkpoint", "is no checkpoint"]);
}
