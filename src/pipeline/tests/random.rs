use std::fmt::Write;

use proptest::prelude::*;

use super::parse;

/// Text of keys that mean something and values that may not.
fn recipes() -> impl Strategy<Value = String> {
    let keys = [
        "do",
        "name",
        "from",
        "data",
        "seed",
        "hidden",
        "epochs",
        "schedule",
        "sparsity",
        "to",
        "model",
        "keep-neurons",
        "scope",
        "teacher",
        "nm",
        "format",
        "x",
    ];
    let values = [
        "'train'",
        "'load'",
        "'finetune'",
        "'prune'",
        "'slim'",
        "'quantize'",
        "'distill'",
        "'evaluate'",
        "'d'",
        "0",
        "0.5",
        "[3]",
        "-1",
        "inf",
        "true",
        "'int4'",
        "'constant:0.5'",
        "'2:4'",
        "{}",
        "'",
        "'global'",
        "'sparse-bitmask'",
    ];
    let line = prop_oneof![
        1 => Just("[[step]]\n".to_owned()),
        2 => prop::sample::select(values[..8].to_vec()).prop_map(|kind| format!("[[step]]\ndo = {kind}\n")),
        4 => (prop::sample::select(keys.to_vec()), prop::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn any_text_is_a_recipe_or_refused(text in prop_oneof![4 => recipes(), 1 => ".{0,60}"]) {
        match parse(&text) {
            Ok(pipeline) => {
                let mut printed = String::new();
                write!(printed, "{pipeline}").expect("memory");
                prop_assert_eq!(printed.lines().count(), pipeline.steps.len());
                let names: std::collections::HashSet<_> =
                    pipeline.steps.iter().map(|step| &step.name).collect();
                prop_assert_eq!(names.len(), pipeline.steps.len());
            }
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 65);
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
