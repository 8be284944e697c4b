//! `apply`: a recipe is followed, gone on with, and only what has changed is done again.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::bad_input::assert_refused;
use crate::command::{Ran, finish, names, program, snapshot};
use crate::digits;
use crate::files::own;
#[cfg(unix)]
use crate::training::interrupt;

const RECIPE: &str = "
seed = 2
[[step]]
do = 'train'
name = 'dense'
hidden = [24]
epochs = 100
batch-size = 16
[[step]]
do = 'slim'
keep-neurons = 0.5
[[step]]
do = 'finetune'
name = 'sparse'
epochs = 100
batch-size = 16
schedule = 'polynomial:0:0.8:0:500'
[[step]]
do = 'quantize'
to = 'int4'
granularity = 'channel'
[[step]]
do = 'distill'
teacher = 'dense'
hidden = [8]
epochs = 2
[[step]]
do = 'evaluate'
from = 'quantize'
";

/// `apply r.toml --data DIGITS -o OUTPUT MORE` in `folder`, not yet started.
fn command(folder: &Path, output: &str, more: &str) -> std::process::Command {
    let mut command = program();
    command.current_dir(folder).args(["apply", "r.toml", "--device", "cpu", "-o", output]);
    command.arg("--data").arg(digits::data()).args(more.split_whitespace());
    command
}

fn apply(folder: &Path, output: &str, more: &str) -> Ran {
    finish(&mut command(folder, output, more))
}

/// A folder with `recipe`.
fn with(recipe: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("r.toml"), recipe).expect("written");
    folder
}

/// Names of the steps that were done, not kept.
fn done(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().expect("a list").iter();
    let again = steps.filter(|step| step["status"] != "unchanged");
    again.map(|step| step["name"].as_str().expect("a name")).collect()
}

/// The networks in `folder`, by name.
fn networks(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = names(folder).into_iter().filter(|name| name.ends_with(".safetensors"));
    names.map(|name| (name.clone(), fs::read(folder.join(name)).expect("there"))).collect()
}

/// Ctrl-C in a training, at two of the steps, and the same command again.
#[cfg(unix)]
#[test]
fn an_interrupted_recipe_goes_on_to_the_same_bytes() {
    let folder = with(RECIPE);
    let root = folder.path();
    let whole = apply(root, "whole", "--json").succeeded().json();
    assert_eq!(done(&whole).len(), 6);
    for (step, checkpoint) in [("dense: epoch   2", "dense"), ("sparse: epoch   2", "sparse")] {
        let ran = interrupt(&mut command(root, "parts", "-v"), step);
        assert_refused(step, &ran, 130, &["interrupted", "the same command goes on from there"]);
        let left = names(&root.join("parts"));
        let expected = format!("{checkpoint}.safetensors.checkpoint");
        assert!(left.contains(&expected), "{left:?}");
        assert!(!left.contains(&format!("{checkpoint}.safetensors")), "{left:?}");
    }
    let ran = apply(root, "parts", "--json").succeeded();
    assert_eq!(done(&ran.json()), ["sparse", "quantize", "distill", "evaluate"]);
    for words in ["dense: unchanged", "slim: unchanged", "sparse: goes on from its checkpoint"] {
        assert!(ran.stderr.contains(words), "no {words:?} in {}", ran.stderr);
    }
    assert!(networks(&root.join("parts")) == networks(&root.join("whole")), "other bytes");
    let left = names(&root.join("parts"));
    assert!(left.iter().all(|name| !name.contains("checkpoint")), "{left:?}");
    for (a, b) in ran.json()["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(whole["steps"].as_array().expect("a list"))
    {
        assert_eq!((&a["test"], &a["network"]), (&b["test"], &b["network"]));
    }
}

/// What is done again is what has changed and what follows from it.
#[test]
fn only_what_has_changed_is_done_again() {
    let short = RECIPE.replace("epochs = 100\nbatch-size = 16", "epochs = 2");
    let folder = with(&short);
    let root = folder.path();
    let plan = apply(root, "out", "--dry-run").succeeded();
    assert_eq!(plan.stdout.matches("[new]").count(), 1, "{}", plan.stdout);
    assert_eq!(names(root), ["r.toml"], "a dry run writes nothing");
    let first = apply(root, "out", "").succeeded();
    for words in ["accuracy", "zeros", "bits/w", "size", "× smaller", "time", "500 test rows"] {
        assert!(first.stdout.contains(words), "no {words:?} in {}", first.stdout);
    }
    let before = snapshot(&root.join("out"));
    let again = |more: &str| apply(root, "out", &format!("{more} --json")).succeeded().json();
    let report = again("");
    assert_eq!(done(&report), [""; 0]);
    assert!(snapshot(&root.join("out")) == before, "nothing is written again");
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["steps"][3]["network"]["weights"], 12 * 64 + 10 * 12);

    let write = |recipe: String| fs::write(root.join("r.toml"), recipe).expect("written");
    write(short.replace("to = 'int4'", "to = 'int8'"));
    let report = again("");
    assert_eq!(done(&report), ["quantize", "evaluate"]);
    let why = report["steps"][3]["status"]["changed"].to_string();
    assert!(why.contains("int4") && why.contains("int8"), "{why}");
    write(short.replace("keep-neurons = 0.5", "keep-neurons = 0.25"));
    assert_eq!(done(&again("")), ["slim", "sparse", "quantize", "evaluate"]);
    write(short.clone());
    again("");
    assert!(
        networks(&root.join("out"))
            .iter()
            .all(|(name, bytes)| { before[Path::new(name)] == *bytes })
    );
    assert_eq!(done(&again("--from distill")), ["distill", "evaluate"]);
    assert_eq!(done(&again("--restart")).len(), 6);
    fs::remove_file(root.join("out/slim.safetensors")).expect("there");
    // The same network comes of it, so that nothing else changes.
    assert_eq!(done(&again("")), ["slim"]);
}

#[test]
fn bad_recipes_are_refused() {
    let folder = with("data = 'nothing.npz'\n[[step]]\ndo = 'train'\nhidden = [4]\nepochs = 1\n");
    let root = folder.path();
    let own = |recipe: &str| {
        let mut command = program();
        finish(command.current_dir(root).args(["apply", recipe, "--device", "cpu"]))
    };
    assert_refused("no data", &own("r.toml"), 66, &["nothing.npz"]);
    assert_refused("no recipe", &own("none.toml"), 66, &["none.toml"]);
    assert_eq!(names(root), ["r.toml"]);
    let step = apply(root, "out", "--from dense");
    assert_refused("no such step", &step, 2, &["\"dense\"", "train"]);
    fs::create_dir(root.join("out")).expect("new");
    fs::write(root.join("out/train.safetensors"), "somebody's").expect("written");
    let before = snapshot(root);
    assert_refused("in the way", &apply(root, "out", ""), 73, &["train.safetensors", "--force"]);
    assert!(snapshot(root) == before, "{:?}", names(root));
    apply(root, "out", "--force").succeeded();
    for (text, code, words) in [
        ("[[step]]\ndo = 'fly'", 65, &["r.toml", "line 2, column 6", "fly", "train"][..]),
        ("[[step]]\ndo = 'train'\nhidden = [3]\nepoch = 4", 65, &["line 4", "\"epoch\""]),
        ("[[step]]\ndo = 'slim'\nkeep-neurons = 0.5", 65, &["line 1", "slim"]),
        (
            "[[step]]\ndo = 'train'\nhidden = [3]\n[[step]]\ndo = 'finetune'\n\
             schedule = 'polynomial:0:0.9:9:3'",
            65,
            &["line 6, column 12", "ends at step 3"],
        ),
        (
            "[[step]]\ndo = 'train'\nhidden = [3]\nepochs = 1\n[[step]]\ndo = 'finetune'\n\
             sparsity = { fc7 = 0.5 }",
            2,
            &["no layer \"fc7\"", "fc1, fc2"],
        ),
        (
            "[[step]]\ndo = 'train'\nhidden = [4]\noptimizer = 'sgd'\nlearning-rate = 1e30",
            1,
            &["not finite at step 2"],
        ),
    ] {
        fs::write(root.join("r.toml"), text).expect("written");
        assert_refused(text, &apply(root, "other", ""), code, words);
    }
}

/// The recipes of the repository: one is followed, and one is read, as its data is not here.
#[test]
fn the_examples_can_be_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let follow = |recipe: &str, more: &[&str]| {
        let mut command = program();
        command.arg("apply").arg(own(recipe)).args(["--device", "cpu", "--json", "-o"]);
        finish(command.arg(folder.path()).args(more)).succeeded().json()
    };
    let report = follow("examples/recipe.toml", &[]);
    let step = |name: &str| {
        let steps = report["steps"].as_array().expect("a list");
        steps.iter().find(|step| step["name"] == name).expect("a step").clone()
    };
    let accuracy = |name: &str| step(name)["test"]["accuracy"].as_f64().expect("a number");
    assert!(accuracy("dense") > 0.9 && accuracy("int4") > accuracy("dense") - 0.02);
    let times = step("int4")["times_smaller"].as_f64().expect("a number");
    assert!(times > 20.0, "{times} times smaller");
    let data = digits::data();
    let data = data.to_str().expect("UTF-8");
    let plan = follow("examples/fashion-mnist.toml", &["--data", data, "--dry-run"]);
    assert_eq!(plan["steps"].as_array().map(Vec::len), Some(4));
}
