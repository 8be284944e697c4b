use clap::Parser;

use super::*;
use crate::cli::recipe::RecipeArguments;

#[derive(Parser)]
struct Given {
    #[command(flatten)]
    choice: Choice,
}

#[derive(Debug, Parser)]
struct Parsed {
    #[command(flatten)]
    recipe: RecipeArguments,
}

fn variants(options: &str, group: Option<usize>) -> Vec<Variant> {
    let words = ["sweep"].into_iter().chain(options.split_whitespace());
    Given::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).choice.variants(group)
}

fn names(options: &str, group: Option<usize>) -> Vec<String> {
    variants(options, group).into_iter().map(|variant| variant.name).collect()
}

#[test]
fn options_choose_what_is_tried() {
    let usual = names("", Some(16));
    assert_eq!(usual.len(), 28);
    assert_eq!(
        usual[..8],
        [
            "dense",
            "int8 tensor",
            "int8 channel",
            "int4 tensor",
            "int4 channel",
            "int4 group 16",
            "int2 group 16",
            "50% by layer"
        ]
    );
    assert_eq!(usual[27], "95% int4 group 16");
    // Where no group fits, nothing is tried twice.
    assert_eq!(names("", None).len(), 27);
    let cases: [(&str, &[&str]); 8] = [
        ("--quantize int8", &["int8 tensor", "int8 channel"]),
        (
            "--quantize int4 --group-size 32,64",
            &["int4 tensor", "int4 channel", "int4 group 64", "int4 group 32"],
        ),
        ("--quantize int8 --granularity group,channel", &["int8 channel", "int8 group 16"]),
        ("--quantize int2 --granularity channel", &["int2 channel"]),
        ("--sparsity 0.125,0.3", &["12.5% by layer", "30% by layer", "12.5% global", "30% global"]),
        (
            "--sparsity 0.5 --scope global --quantize int2",
            &["int2 group 16", "50% global", "50% int2 group 16"],
        ),
        ("--nm 2:4,1:4", &["2:4", "1:4"]),
        ("--threshold-ratio 0.05", &["|w| ≥ 0.05 max"]),
    ];
    for (options, expected) in cases {
        assert_eq!(names(options, Some(16))[1..], *expected, "{options}");
    }
}

/// What is shown to be given to `compress` is what was done.
#[test]
fn options_of_a_recipe_parse_to_it() {
    let cases = [
        "",
        "--asymmetric",
        "--narrow-range --include ^fc --exclude fc2$ --exclude x",
        "--quantize int8 --group-size 64 --sparsity 0.123",
    ];
    for variant in cases.iter().flat_map(|options| variants(options, Some(32))) {
        let options = variant.recipe.options();
        let words = ["compress"].into_iter().chain(options.iter().map(String::as_str));
        let parsed = Parsed::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(format!("{:?}", parsed.recipe), format!("{:?}", variant.recipe));
    }
}

#[test]
fn contradictions_are_usage_errors() {
    for options in ["--asymmetric --narrow-range", "--sparsity 1.5", "--nm 4:4", "--group-size 0"] {
        let all = variants(options, None);
        let error = all.iter().find_map(|variant| variant.recipe.recipe().err()).expect(options);
        assert_eq!(error.exit_code(), 2, "{options}");
    }
}

fn weight(outputs: usize, inputs: usize) -> Weight {
    Weight { name: format!("{inputs} in"), outputs, inputs }
}

#[test]
fn the_usual_group_is_the_largest_that_fits() {
    let size = |sizes: &[(usize, usize)]| {
        let weights: Vec<Weight> = sizes.iter().map(|(o, i)| weight(*o, *i)).collect();
        group_size(&weights)
    };
    assert_eq!(size(&[(100, 784), (10, 100)]), Some(16));
    assert_eq!(size(&[(512, 4096), (10, 512)]), Some(128));
    assert_eq!(size(&[(64, 64)]), Some(64));
    // It fits more weights than any other, though not all.
    assert_eq!(size(&[(1000, 256), (10, 96)]), Some(32));
    assert_eq!(size(&[(5, 7)]), None);
    let weights = [weight(100, 784), weight(10, 100)];
    let found = notes(&variants("--quantize int4 --group-size 16,64", None), &weights);
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("group 64:") && found[0].contains("784 in (784 inputs), 100 in"));
    assert!(!found[1].contains("784"), "{}", found[1]);
}

/// A row with a size and a number of right answers.
fn figures(bytes: u64, correct: u64) -> Row {
    Row {
        name: String::new(),
        kind: Kind::Quantized,
        options: vec![],
        accuracy: correct as f64 / 100.0,
        correct,
        cross_entropy: 0.0,
        agreement: Agreement { agreement: 1.0, accuracy_difference: 0.0, confidence_95: [0.0; 2] },
        sparsity: None,
        bits_per_weight: None,
        bytes,
        times_smaller: 1.0,
        sqnr_db: None,
        rows_per_second: 1.0,
        int8_layers: 0,
        pareto: false,
    }
}

#[test]
fn what_nothing_beats_is_marked() {
    let cases = [
        ((100, 90), true),
        ((100, 90), true),
        ((100, 89), false),
        ((101, 90), false),
        ((50, 80), true),
        ((50, 79), false),
        ((60, 79), false),
        ((10, 5), true),
        ((200, 91), true),
    ];
    let mut rows: Vec<Row> =
        cases.iter().map(|((bytes, correct), _)| figures(*bytes, *correct)).collect();
    mark_pareto(&mut rows);
    for (row, (figures, expected)) in rows.iter().zip(cases) {
        assert_eq!(row.pareto, expected, "{figures:?}");
    }
}

#[test]
fn shells_take_the_options_as_they_are() {
    let cases = [
        ("--nm", "--nm"),
        ("2:4", "2:4"),
        ("^fc[12]$", "'^fc[12]$'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
    ];
    for (text, expected) in cases {
        assert_eq!(show::word(text), expected);
    }
}
