//! Arguments that contradict each other or the model, and models that they are not for.

use crate::bad_input::{Input, assert_all_refused, assert_refused, row};
use crate::command::{compress, finish, names, snapshot};
use crate::raw::{file, small, weight};
use tensorpress::tensor::FloatType;

#[test]
fn arguments_that_make_no_sense() {
    let model = || Input::File("m.safetensors", file(&small()));
    let rows: [(&str, i32, &[&str]); 31] = [
        ("--keep-neurons 0", 2, &["--keep-neurons", "above 0"]),
        ("--keep-neurons 1.5", 2, &["--keep-neurons", "1.5", "at most 1"]),
        ("--keep-neurons half", 2, &["--keep-neurons", "'half'"]),
        (
            "--keep-neurons 0.5 --format compressed-tensors",
            2,
            &["--format compressed-tensors", "neurons", "add --quantize"],
        ),
        ("--sparsity 1.5", 2, &["--sparsity", "1.5", "from 0 to 1"]),
        ("--sparsity=-0.1", 2, &["--sparsity", "-0.1", "from 0 to 1"]),
        ("--sparsity nan", 2, &["--sparsity", "NaN", "from 0 to 1"]),
        ("--sparsity x", 2, &["--sparsity", "'x'"]),
        ("--threshold=-1", 2, &["--threshold", "0 or more"]),
        ("--threshold inf", 2, &["--threshold", "finite"]),
        ("--threshold -1", 2, &["--threshold", "0 or more"]),
        ("--threshold-ratio 2", 2, &["--threshold-ratio", "from 0 to 1"]),
        ("--nm 4:2", 2, &["--nm", "4:2", "N < M"]),
        ("--nm 2", 2, &["--nm", "'2'", "2:4"]),
        ("--sparsity 0.5 --nm 2:4", 2, &["--sparsity", "--nm", "cannot be used with"]),
        ("--global --quantize int8", 2, &["--sparsity"]),
        ("--global --nm 2:4", 2, &["--global", "--nm", "cannot be used with"]),
        ("--global --threshold 0.1", 2, &["--global", "--threshold", "cannot be used with"]),
        ("--quantize int8 --group-size 0", 2, &["--group-size", "at least 1"]),
        ("--quantize int3", 2, &["--quantize", "int3", "int8, int4, int2"]),
        (
            "--quantize int8 --granularity channel --group-size 4",
            2,
            &["--group-size", "--granularity", "give one"],
        ),
        ("--quantize int8 --scale 0", 2, &["--scale", "from 1 to"]),
        ("--quantize int8 --scale 127 --asymmetric", 2, &["--scale", "--asymmetric", "give one"]),
        (
            "--quantize int8 --scale 127 --match compressed-tensors",
            2,
            &["--scale", "--match", "leave one"],
        ),
        ("--quantize int8 --threads 0", 2, &["--threads"]),
        ("--quantize int8 --include (fc", 2, &["--include", "\"(fc\"", "unclosed group"]),
        ("--quantize int8 --exclude [", 2, &["--exclude", "\"[\"", "regular expression"]),
        (
            "--sparsity 0.5 --format compressed-tensors",
            2,
            &["--format compressed-tensors", "add --quantize"],
        ),
        ("", 2, &["nothing to do", "--quantize", "--keep-neurons"]),
        ("--quantize int8 --include nothing", 2, &["no tensor is selected", "--include"]),
        (
            "--quantize int8 --device gpu:no-such-thing",
            69,
            &["gpu:no-such-thing", "cpu", "devices"],
        ),
    ];
    let rows = rows.map(|(arguments, code, words)| row(arguments, model(), arguments, code, words));
    assert_all_refused(rows.into());
}

#[test]
fn rows_that_are_not_whole_groups_are_all_listed() {
    let model = vec![
        weight("fc1.weight", FloatType::F32, &[4, 8]),
        weight("fc2.weight", FloatType::F32, &[4, 12]),
        weight("fc3.weight", FloatType::F32, &[4, 16]),
        weight("dense/kernel", FloatType::F32, &[20, 4]),
    ];
    let words = [
        "group size 8",
        "fc2.weight (12 wide)",
        "dense/kernel (20 wide)",
        "--group-size",
        "--on-indivisible",
    ];
    let input = Input::File("m.safetensors", file(&model));
    assert_all_refused(vec![row(
        "indivisible",
        input,
        "--quantize int4 --group-size 8",
        2,
        &words,
    )]);

    let folder = tempfile::tempdir().expect("a folder");
    let input = Input::File("m.safetensors", file(&model)).make(folder.path());
    let out = folder.path().join("out");
    let ran = finish(&mut compress(&input, &out, "--quantize int4 --group-size 8"));
    for divisible in ["fc1", "fc3"] {
        assert!(!ran.stderr.contains(divisible), "{}", ran.stderr);
    }
    for what in ["channel", "skip"] {
        let more = format!("--quantize int4 --group-size 8 --on-indivisible {what} --force");
        finish(&mut compress(&input, &out, &more)).succeeded();
    }
}

/// Weights are there and selected; it is the group size that leaves all of them out.
#[test]
fn a_group_size_that_skips_every_weight_is_named() {
    let input = Input::File("m.safetensors", file(&small()));
    assert_all_refused(vec![row(
        "all skipped",
        input,
        "--quantize int4 --group-size 7 --on-indivisible skip",
        2,
        &["group size 7", "no selected weight", "--group-size", "--on-indivisible channel"],
    )]);
}

#[test]
fn neurons_go_from_networks_alone() {
    let llama = || {
        let names = ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"];
        let tensors =
            [weight(names[0], FloatType::BF16, &[16, 8]), weight(names[1], FloatType::BF16, &[8])];
        Input::Folder(vec![
            ("model.safetensors", file(&tensors)),
            ("config.json", b"{\"model_type\":\"llama\"}".to_vec()),
        ])
    };
    let one_layer = Input::File("m.safetensors", file(&small()[..2]));
    let words = ["--keep-neurons", "chain of dense layers", "model.norm.weight", "describe it"];
    assert_all_refused(vec![
        row("no network", llama(), "--keep-neurons 0.5", 2, &words),
        row("one layer", one_layer, "--keep-neurons 0.5", 2, &["only layer", "leave"]),
        row(
            "groups that do not divide what is left",
            Input::File("m.safetensors", file(&small())),
            "--keep-neurons 0.75 --quantize int4 --group-size 2",
            2,
            &["group size 2", "fc2.weight (3 wide)"],
        ),
    ]);
}

#[test]
fn a_model_that_is_compressed_already() {
    for (first, format) in [
        ("--quantize int8", "pack-quantized"),
        ("--sparsity 0.5 --format sparse-bitmask", "sparse-bitmask"),
        ("--quantize int8 --format sparse-bitmask", "sparse-bitmask-quantized"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let single = Input::File("m.safetensors", file(&small())).make(folder.path());
        let directory = Input::Folder(vec![
            ("model.safetensors", file(&small())),
            ("config.json", b"{}".to_vec()),
        ])
        .make(folder.path());
        for (input, name) in [(single, "once"), (directory, "once-dir")] {
            let once = folder.path().join(name);
            finish(&mut compress(&input, &once, first)).succeeded();
            let before = snapshot(folder.path());
            let twice = folder.path().join("twice");
            let ran = finish(&mut compress(&once, &twice, "--quantize int4 --group-size 4"));
            let words = ["compressed already", format, "tensorpress decompress"];
            assert_refused(name, &ran, 2, &words);
            assert!(snapshot(folder.path()) == before, "{:?}", names(folder.path()));
        }
    }
}
