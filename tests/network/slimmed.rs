//! Networks that lose neurons.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use proptest::prelude::*;
use tensorpress::compress::{Execution, Format, OnIndivisible, Recipe, Report};
use tensorpress::nn::{Network, Origin};
use tensorpress::ops::Backend;
use tensorpress::scheme::{Activation, Bits, Granularity, QuantScheme};
use tensorpress::tensor::FloatType;

use crate::files::{Tensor, find, noise, read, tensor, trained_here, write, write_shards};
use crate::{layers, network_of, open};

/// A dense layer: its weight as rows of `[outputs, inputs]`, and its bias.
#[derive(Clone, Debug)]
pub struct Layer {
    pub name: String,
    pub kernel: bool,
    pub float: FloatType,
    pub rows: Vec<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
}

impl Layer {
    pub fn tensors(&self) -> Vec<Tensor> {
        let (rows, cols) = (self.rows.len(), self.rows[0].len());
        let mut data = vec![];
        let (separator, part, shape) = if self.kernel {
            for col in 0..cols {
                let column: Vec<f32> = self.rows.iter().map(|row| row[col]).collect();
                self.float.encode(&column, &mut data);
            }
            ("/", "kernel", [cols, rows])
        } else {
            self.rows.iter().for_each(|row| self.float.encode(row, &mut data));
            (".", "weight", [rows, cols])
        };
        let name = |part: &str| format!("{}{separator}{part}", self.name);
        let mut all = vec![tensor(&name(part), self.float.dtype(), &shape, &data)];
        if let Some(bias) = &self.bias {
            let mut data = vec![];
            self.float.encode(bias, &mut data);
            all.push(tensor(&name("bias"), self.float.dtype(), &[rows], &data));
        }
        all
    }
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// What is left of `layers`, naively.
fn slimmed(layers: &[Layer], share: f64) -> Vec<Layer> {
    let mut left = layers.to_vec();
    for number in 0..layers.len() - 1 {
        let (own, next) = (&layers[number], &layers[number + 1]);
        let mut neurons: Vec<(f64, usize)> = (0..own.rows.len())
            .map(|n| {
                let inwards = norm(own.rows[n].iter().copied());
                (inwards * norm(next.rows.iter().map(|row| row[n])), n)
            })
            .collect();
        neurons.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let count = (neurons.len() as f64 * share).round_ties_even().max(1.0) as usize;
        let mut kept: Vec<usize> = neurons[..count].iter().map(|(_, n)| *n).collect();
        kept.sort_unstable();
        // Each list is picked from where the layer before has left it.
        let rows = kept.iter().map(|n| left[number].rows[*n].clone()).collect();
        left[number].rows = rows;
        left[number].bias =
            own.bias.as_ref().map(|bias| kept.iter().map(|n| bias[*n]).collect::<Vec<_>>());
        for row in &mut left[number + 1].rows {
            *row = kept.iter().map(|n| row[*n]).collect();
        }
    }
    left
}

pub fn all(layers: &[Layer]) -> Vec<Tensor> {
    layers.iter().flat_map(Layer::tensors).collect()
}

/// Compresses `model` to `out` and gives the report.
#[track_caller]
pub fn compressed(recipe: Recipe, model: &Path, out: &Path) -> Report {
    let recipe = recipe.force(true).on_indivisible(OnIndivisible::Channel);
    recipe.compress(&open(model), out, &Backend::Cpu).unwrap_or_else(|e| panic!("{e}"))
}

/// Fails unless `out` holds exactly these tensors.
#[track_caller]
fn assert_holds(out: &Path, expected: &[Tensor], said: &str) {
    let found = read(out);
    assert_eq!(found.len(), expected.len(), "{said}");
    for tensor in expected {
        let found = find(&found, &tensor.name);
        assert_eq!(
            (found.dtype, &found.shape, &found.data),
            (tensor.dtype, &tensor.shape, &tensor.data),
            "{said}: {}",
            tensor.name
        );
    }
}

/// Norms of the rows 5, 1, 2, 2 and of the next layer's columns ⅛, 5, 1, 1: scores ⅝, 5, 2, 2.
pub fn by_hand(kernel: bool, float: FloatType) -> [Layer; 2] {
    let rows = |rows: &[&[f32]]| rows.iter().map(|row| row.to_vec()).collect();
    let [first, second] = if kernel { ["dense", "dense_1"] } else { ["fc1", "fc2"] };
    [
        Layer {
            name: first.to_owned(),
            kernel,
            float,
            rows: rows(&[&[3.0, -4.0], &[1.0, 0.0], &[0.0, 2.0], &[-2.0, 0.0]]),
            bias: Some(vec![10.0, 20.0, 30.0, 40.0]),
        },
        Layer {
            name: second.to_owned(),
            kernel,
            float,
            rows: rows(&[&[0.125, 3.0, 1.0, 0.0], &[0.0, 4.0, 0.0, -1.0]]),
            bias: Some(vec![50.0, 60.0]),
        },
    ]
}

#[test]
fn the_neurons_that_matter_most_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["model", "out"].map(|name| folder.path().join(name));
    // Of the two equal ones the first stays.
    let cases: [(f64, &[usize]); 5] =
        [(0.1, &[1]), (0.5, &[1, 2]), (0.75, &[1, 2, 3]), (0.625, &[1, 2]), (1.0, &[0, 1, 2, 3])];
    for kernel in [false, true] {
        for float in FloatType::ALL {
            let whole = by_hand(kernel, float);
            write(&model, &[], &all(&whole));
            for (share, kept) in cases {
                let said = format!("{float:?}, kernel {kernel}, {share}");
                let report = compressed(Recipe::new().keep_neurons(share), &model, &out);
                let mut left = whole.clone();
                left[0].rows = kept.iter().map(|n| whole[0].rows[*n].clone()).collect();
                let bias = whole[0].bias.as_ref().expect("a bias");
                left[0].bias = Some(kept.iter().map(|n| bias[*n]).collect());
                for row in &mut left[1].rows {
                    *row = kept.iter().map(|n| row[*n]).collect();
                }
                assert_holds(&out, &all(&left), &said);

                let (network, _) = network_of(&out).expect(&said);
                let sizes: Vec<_> = network.layers.iter().map(|l| (l.inputs, l.outputs)).collect();
                assert_eq!(sizes, [(2, kept.len()), (kept.len(), 2)], "{said}");
                for row in &report.tensors {
                    let stored = find(&all(&left), &row.name).shape.clone();
                    assert_eq!(row.shape_after, stored, "{said}: {}", row.name);
                    assert_eq!(row.shape, find(&all(&whole), &row.name).shape, "{said}");
                    let last = row.shape == [2];
                    assert_eq!(row.action == "copied", last, "{said}: {}", row.action);
                }
                let bytes: usize = all(&left).iter().map(|t| t.data.len()).sum();
                assert_eq!(report.bytes_after, bytes as u64, "{said}");
                assert_eq!(report.warnings.len(), usize::from(kept.len() == 4), "{said}");
            }
        }
    }
}

/// Networks of two to four layers with small whole weights, so that many neurons are equal.
fn networks() -> impl Strategy<Value = Vec<Layer>> {
    prop::collection::vec(1..8_usize, 3..6).prop_flat_map(|sizes| {
        let layers =
            sizes.windows(2).enumerate().map(|(number, size)| {
                let (inputs, outputs) = (size[0], size[1]);
                let row = prop::collection::vec((-2..3_i8).prop_map(f32::from), inputs);
                let rows = prop::collection::vec(row, outputs);
                let bias = prop::option::of(prop::collection::vec(-9.0..9.0_f32, outputs));
                let float = prop::sample::select(FloatType::ALL.to_vec());
                (rows, bias, any::<bool>(), float).prop_map(move |(rows, bias, kernel, float)| {
                    Layer { name: format!("layer{number}"), kernel, float, rows, bias }
                })
            });
        layers.collect::<Vec<_>>()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Neurons go as a naive program says, and what follows is done to the smaller network.
    #[test]
    fn any_network_loses_what_a_naive_program_says(
        layers in networks(),
        share in prop_oneof![0.01..=1.0, prop::sample::select(vec![0.25, 0.5, 0.75, 1.0])],
        next in 0..5_usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let [model, slim, once, twice] =
            ["model", "slim", "once", "twice"].map(|name| folder.path().join(name));
        write(&model, &[("note", "carried")], &all(&layers));
        compressed(Recipe::new().keep_neurons(share), &model, &slim);
        assert_holds(&slim, &all(&slimmed(&layers, share)), "naive");

        let int4 = QuantScheme::new(Bits::Four, Granularity::Group(2));
        let recipe = match next {
            0 => Recipe::new().sparsity(0.5),
            1 => Recipe::new().sparsity(0.4).format(Format::SparseBitmask),
            2 => Recipe::new().quantize(QuantScheme { symmetric: false, ..int4 }),
            3 => Recipe::new().sparsity(0.3).quantize(QuantScheme::int8()),
            _ => Recipe::new().format(Format::SparseBitmask),
        };
        let report = compressed(recipe.clone().keep_neurons(share), &model, &once);
        let expected = compressed(recipe, &slim, &twice);
        prop_assert!(fs::read(&once).expect("there") == fs::read(&twice).expect("there"));
        prop_assert_eq!(
            (report.bytes_after, report.bits_per_weight, report.sqnr_db, report.sparsity),
            (expected.bytes_after, expected.bits_per_weight, expected.sqnr_db, expected.sparsity)
        );
    }
}

#[test]
fn large_weights_are_read_slab_by_slab_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["model", "out"].map(|name| folder.path().join(name));
    let layer = |name: &str, kernel, float, inputs: usize, outputs: usize| Layer {
        name: name.to_owned(),
        kernel,
        float,
        rows: noise(inputs as u64, inputs * outputs).chunks(inputs).map(<[f32]>::to_vec).collect(),
        bias: None,
    };
    let mut whole = [
        layer("a", false, FloatType::F32, 700, 2100),
        layer("b", true, FloatType::F32, 2100, 1100),
        layer("c", false, FloatType::BF16, 1100, 40),
    ];
    for row in &mut whole[2].rows {
        row.iter_mut().for_each(|w| *w = FloatType::BF16.round(*w));
    }
    write(&model, &[], &all(&whole));
    let expected = all(&slimmed(&whole, 0.3));
    let mut files = vec![];
    for threads in [1, 2, 7] {
        let execution =
            Execution { threads: NonZeroUsize::new(threads), ..Execution::new(&Backend::Cpu) };
        let recipe = Recipe::new().keep_neurons(0.3).force(true);
        recipe.compress_with(&open(&model), &out, &execution).expect("compressed");
        files.push(fs::read(&out).expect("written"));
    }
    assert_holds(&out, &expected, "naive");
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn what_a_network_is_is_carried_over_or_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out, dense] = ["model", "out", "dense"].map(|name| folder.path().join(name));
    for from in trained_here() {
        let (inferred, _) = network_of(&from).expect("a network");
        let (described, _) = Network::read(&open(&from), Some(&[Activation::Tanh])).expect("one");
        for (metadata, before) in
            [(vec![], &inferred), (vec![(Network::KEY, described.to_json())], &described)]
        {
            let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (*k, &**v)).collect();
            write(&model, &metadata, &read(&from));
            let recipe = Recipe::new().keep_neurons(0.25).quantize(QuantScheme::int8());
            compressed(recipe, &model, &out);
            let execution = Execution::new(&Backend::Cpu);
            tensorpress::compress::decompress(&open(&out), &dense, true, &execution).expect("back");
            for path in [&out, &dense] {
                let (after, origin) = network_of(path).expect("a network");
                assert_eq!(matches!(origin, Origin::Described(_)), !metadata.is_empty());
                let mut expected = before.clone();
                expected.layers[0].outputs = 25;
                expected.layers[1].inputs = 25;
                assert_eq!(after, expected);
            }
        }
    }

    // Sizes tell the order, and afterwards no longer would.
    write(&model, &[], &layers(&[("a", 5, 3), ("b", 4, 5), ("c", 6, 4), ("d", 3, 2)]));
    let (before, _) = network_of(&model).expect("a network");
    compressed(Recipe::new().keep_neurons(0.01), &model, &out);
    let (after, origin) = network_of(&out).expect("still a network");
    assert!(matches!(origin, Origin::Described(_)), "{origin}");
    let names = |network: &Network| -> Vec<(String, Activation)> {
        network.layers.iter().map(|l| (l.name.clone(), l.activation)).collect()
    };
    assert_eq!((names(&after), after.softmax), (names(&before), before.softmax));
    write(&model, &[], &read(&out));
    network_of(&model).expect_err("without the description nobody knows");
}

/// The selection is about single weights; neurons go everywhere. What belongs to no layer of a
/// described network stays as it is.
#[test]
fn weights_that_are_left_out_lose_neurons_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, slim, out, expected] =
        ["model", "slim", "out", "expected"].map(|name| folder.path().join(name));
    let network = by_hand(false, FloatType::F32);
    write(&model, &[], &all(&network));
    let (described, _) = network_of(&model).expect("a network");
    let other = tensor("other.weight", FloatType::F32.dtype(), &[4, 1], &[1; 16]);
    let metadata = [(Network::KEY, &*described.to_json())];
    write(&model, &metadata, &[all(&network), vec![other.clone()]].concat());
    compressed(Recipe::new().keep_neurons(0.5), &model, &slim);
    let left = [all(&slimmed(&network, 0.5)), vec![other]].concat();
    assert_holds(&slim, &left, "naive");
    let fc1 = || regex::Regex::new("fc1").expect("a pattern");
    for recipe in [
        Recipe::new().sparsity(0.5).exclude(fc1()),
        Recipe::new().quantize(QuantScheme::int8()).include(fc1()),
        Recipe::new().format(Format::SparseBitmask).exclude(fc1()),
    ] {
        compressed(recipe.clone().keep_neurons(0.5), &model, &out);
        compressed(recipe, &slim, &expected);
        assert!(fs::read(&out).expect("there") == fs::read(&expected).expect("there"));
    }
}

#[test]
fn directories_lose_neurons_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let [model, out] = ["model", "out"].map(|name| folder.path().join(name));
    let [first, second] = by_hand(false, FloatType::F32);
    write_shards(&model, &[second.tensors(), first.tensors()], "{\"kept\":1}");
    compressed(Recipe::new().keep_neurons(0.5), &model, &out);
    assert_holds(&out, &all(&slimmed(&[first, second], 0.5)), "naive");
    let index = fs::read_to_string(out.join("model.safetensors.index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    assert_eq!(index["metadata"]["total_size"], 4 * (4 + 2 + 4 + 2));
}
