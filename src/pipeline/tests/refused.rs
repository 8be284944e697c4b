//! Recipes that are refused, with place and words.

use super::{Overrides, Pipeline, parsed, refused};
use crate::error::Place;

/// Each is the one thing that is wrong with the third step of a recipe.
#[test]
fn bad_steps_are_refused_where_they_are_bad() {
    let before = "data = 'd'\n[[step]]\ndo = 'train'\nhidden = [4]\n[[step]]\n";
    let cases: &[(&str, usize, usize, &[&str])] = &[
        ("hidden = [3]", 5, 1, &["this step lacks do", "do = \"train\""]),
        ("do = 'melt'", 6, 6, &["unknown variant `melt`", "`prune`"]),
        ("do = 7", 6, 6, &["do: ", "wanted string"]),
        ("do = 'train'", 5, 1, &["this train step lacks hidden", "hidden = [300, 100]"]),
        ("do = 'train'\nhidden = [3]\nepoch = 4", 8, 1, &["no \"epoch\"", "epochs", "l2"]),
        ("do = 'train'\nhidden = 3", 7, 10, &["hidden: ", "expected a sequence"]),
        ("do = 'train'\nhidden = [3, -1]", 7, 14, &["hidden: "]),
        ("do = 'train'\nhidden = [3, 0]", 7, 10, &["0 neurons"]),
        ("do = 'train'\nhidden = []\nactivation = 'swish'", 8, 14, &["no activation \"swish\""]),
        ("do = 'train'\nhidden = []\ninitializer = 'xavier'", 8, 15, &["he-uniform"]),
        ("do = 'train'\nhidden = []\n  dropout = 1.0", 8, 13, &["dropout is 1; it must be"]),
        ("do = 'train'\nhidden = []\nlearning-rate = nan", 8, 17, &["learning-rate is NaN"]),
        ("do = 'train'\nhidden = []\nloss = 'mae'", 8, 8, &["no loss \"mae\"", "mse"]),
        ("do = 'train'\nhidden = []\nmomentum = 0.9", 8, 12, &["momentum", "optimizer sgd"]),
        ("do = 'train'\nhidden = []\nweight-decay = 0.9", 8, 16, &["weight-decay", "adamw"]),
        ("do = 'train'\nhidden = []\nnesterov = true", 8, 12, &["nesterov", "momentum"]),
        ("do = 'train'\nhidden = []\npatience = 2", 8, 12, &["validation-split"]),
        ("do = 'train'\ninit = 'm'\nhidden = []", 8, 1, &["no \"hidden\"", "init"]),
        ("do = 'train'\nhidden = []\nepochs = 1.5", 8, 10, &["epochs: ", "floating point `1.5`"]),
        ("do = 'train'\nhidden = []\ndecay = 'fast'", 8, 9, &["no decay \"fast\"", "cosine"]),
        ("do = 'finetune'\nschedule = 'constant:1'", 7, 12, &["S is 1", "polynomial:S0"]),
        ("do = 'finetune'\nscope = 'global'", 7, 9, &["scope", "schedule"]),
        ("do = 'finetune'\nsparsity = { fc1 = 1 }", 7, 12, &["sparsity is 1", "below 1"]),
        ("do = 'finetune'\nsparsity = 0.5", 7, 12, &["sparsity: ", "map"]),
        ("do = 'finetune'\nschedule = 'polynomial:0:0.9:9:3'", 7, 12, &["ends at step 3"]),
        ("do = 'finetune'\nsparsity = {a = 0.5}\nnm = '2:4'", 8, 6, &["nm does not go with"]),
        ("do = 'finetune'\nquantize = 'int3'", 7, 12, &["`int3`", "`int4`"]),
        ("do = 'finetune'\ngroup-size = 4", 7, 14, &["group-size", "quantize = \"int4\""]),
        ("do = 'finetune'\nexclude = ['fc1']", 7, 11, &["exclude", "schedule"]),
        ("do = 'prune'\nsparsity = 0\nexclude = ['(']", 8, 11, &["exclude", "unclosed group"]),
        ("do = 'finetune'\nfrom = 'first'", 7, 8, &["\"first\"", "there are train"]),
        ("do = 'distill'\nhidden = []\nalpha = 2", 8, 9, &["alpha is 2", "0 to 1"]),
        ("do = 'distill'\nhidden = []\ntemperature = 0", 8, 15, &["temperature is 0"]),
        ("do = 'slim'", 5, 1, &["this slim step lacks keep-neurons"]),
        ("do = 'slim'\nkeep-neurons = 0", 7, 16, &["keep-neurons is 0", "above 0"]),
        ("do = 'prune'", 5, 1, &["sparsity, threshold", "sparsity = 0.9"]),
        ("do = 'prune'\nsparsity = 2", 7, 12, &["sparsity is 2"]),
        ("do = 'prune'\nnm = '4:2'", 7, 6, &["nm is 4:2"]),
        ("do = 'prune'\nnm = 'x'", 7, 6, &["nm is x", "2:4"]),
        ("do = 'prune'\nsparsity = 0.5\nnm = '2:4'", 6, 6, &["exclude each other"]),
        ("do = 'prune'\nnm = '2:4'\nscope = 'global'", 8, 9, &["scope", "sparsity"]),
        ("do = 'prune'\nsparsity = 0.5\nformat = 'zip'", 8, 10, &["`zip`", "`sparse-bitmask`"]),
        ("do = 'quantize'", 5, 1, &["this quantize step lacks to", "to = \"int4\""]),
        ("do = 'quantize'\nto = 'int4'\ngroup-size = 0", 8, 14, &["group-size is 0"]),
        (
            "do = 'quantize'\nto = 'int4'\nscale = 3\nasymmetric = true",
            9,
            14,
            &["asymmetric does not go with narrow-range or scale"],
        ),
        ("do = 'evaluate'\nsplit = 'all'", 7, 9, &["split is all", "train or test"]),
        ("do = 'evaluate'\nbatch-size = 0", 7, 14, &["batch-size is 0"]),
        ("do = 'load'", 5, 1, &["this load step lacks model"]),
        ("do = 'load'\nmodel = 'm'\nfrom = 'train'", 8, 1, &["this load step has no \"from\""]),
        ("do = 'load'\nmodel = 'm'\nname = 'train'", 8, 8, &["", ""]),
        ("do = 'load'\nmodel = 'm'\nname = '../up'", 8, 8, &["\"../up\"", "letters"]),
        ("do = 'load'\nmodel = 'm'\nname = ''", 8, 8, &["\"\"", "letters"]),
    ];
    for (step, line, column, parts) in cases {
        let text = format!("{before}{step}\n");
        if parts == &["", ""] {
            // The step before gets another name then.
            assert_eq!(parsed(&text).steps[0].name, "train-2");
            continue;
        }
        let message = refused(&text);
        let place = Place { line: *line, column: *column };
        assert!(message.starts_with(&format!("{place}: ")), "{step}: {message}");
        for part in *parts {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("--"), "keys have no hyphens before them: {message}");
    }
}

#[test]
fn bad_recipes_are_refused() {
    let step = "[[step]]\ndo = 'load'\nmodel = 'm'\n";
    for (text, parts) in [
        (String::new(), &["no [[step]]", "do = \"load\""][..]),
        ("data = 'd'".to_owned(), &["no [[step]]"]),
        ("step = 3".to_owned(), &["line 1, column 8", "[[step]]"]),
        ("[step]\ndo = 'load'".to_owned(), &["line 1, column 1", "[[step]]"]),
        (
            format!("seeds = 1\n{step}"),
            &["line 1, column 1", "no \"seeds\"", "data, output, seed, step"],
        ),
        (format!("seed = -1\n{step}"), &["line 1, column 8", "seed: "]),
        (
            format!("data = 'd'\ndata = 'e'\n{step}"),
            &["line 2, column 1", "not valid TOML", "duplicate"],
        ),
        (format!("{step}name = "), &["line 4, column 8", "not valid TOML"]),
        (format!("{step}# ü\n'ü' = 1 1"), &["line 5, column 7", "not valid TOML"]),
        (
            format!("{step}name = 'a'\n{step}name = 'a'"),
            &["line 8, column 8", "\"a\" is taken by another step"],
        ),
    ] {
        let message = refused(&text);
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    let error = Pipeline::open("nowhere/recipe.toml".as_ref(), &Overrides::default())
        .expect_err("not there");
    assert_eq!(error.exit_code(), 66);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("r.toml");
    std::fs::write(&path, "x = 1").expect("written");
    let message = Pipeline::open(&path, &Overrides::default()).expect_err("no recipe").to_string();
    assert!(message.starts_with(&*path.to_string_lossy()), "{message}");
}
