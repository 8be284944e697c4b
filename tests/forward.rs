//! Networks run from their files: dense and compressed, on the CPU and on a GPU.

#[path = "common/files.rs"]
mod files;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use files::{find, read, trained};
use tensorpress::compress::{Format, OnIndivisible, Recipe};
use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::io::{Array, ArrayData, DataSet, Model, Split};
use tensorpress::nn::{Loaded, Network, Outputs, agreement, evaluate};
use tensorpress::ops::Backend;
use tensorpress::scheme::{Activation, Bits, Granularity, QuantScheme, Range};
use tensorpress::tensor::FloatType;

static GPU: LazyLock<Backend> = LazyLock::new(|| {
    Backend::open(&DeviceChoice::Gpu, GpuOptions::default()).expect("an adapter; see scripts/test")
});

fn load(path: &Path, backend: &Backend) -> Loaded {
    let model = Model::open(path).expect("a model");
    let (network, _) = Network::read(&model, None).expect("a network");
    Loaded::new(backend, &model, network).expect("loaded")
}

/// Rows of pixels, some dark and some bright.
fn inputs(rows: usize) -> Vec<f32> {
    files::noise(5, rows * 784).iter().map(|v| (v * 0.3 + 0.2).clamp(0.0, 1.0)).collect()
}

/// The network 784 → 100 → 10 in f64, from the dense weights of a file.
fn reference(path: &Path, x: &[f32]) -> Vec<f64> {
    let tensors = read(path);
    let keras = tensors.iter().any(|t| t.name.starts_with("dense"));
    let names = if keras {
        [("dense/kernel", "dense/bias"), ("dense_1/kernel", "dense_1/bias")]
    } else {
        [("fc1.weight", "fc1.bias"), ("fc2.weight", "fc2.bias")]
    };
    let values = |name: &str| -> Vec<f64> {
        let tensor = find(&tensors, name);
        let float = FloatType::from_dtype(tensor.dtype).expect("floats");
        let count = tensor.data.len() / float.size();
        (0..count).map(|i| f64::from(float.load(&tensor.data, i))).collect()
    };
    let mut current: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    for (layer, (weight, bias)) in names.into_iter().enumerate() {
        let (w, b) = (values(weight), values(bias));
        let (outputs, inputs) = (b.len(), w.len() / b.len());
        let at = |o: usize, i: usize| if keras { w[i * outputs + o] } else { w[o * inputs + i] };
        let rows = current.chunks(inputs).flat_map(|x| {
            let sum =
                |o: usize| x.iter().enumerate().map(|(i, x)| x * at(o, i)).sum::<f64>() + b[o];
            (0..outputs)
                .map(sum)
                .map(|z| if layer == 0 { z.max(0.0) } else { z })
                .collect::<Vec<_>>()
        });
        current = rows.collect();
    }
    current
}

#[test]
fn a_pass_owes_nothing_to_those_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.safetensors");
    // Buffers that shrink and grow from one layer to the next.
    let widths = [784, 40, 130, 20, 10];
    let layers = widths.windows(2).enumerate().map(|(number, widths)| {
        let name = format!("fc{number}.weight");
        files::floats(
            &name,
            &[widths[1], widths[0]],
            &files::noise(number as u64, widths[0] * widths[1]),
        )
    });
    files::write(&path, &[], &layers.collect::<Vec<_>>());
    let loaded = load(&path, &Backend::Cpu);
    for rows in [1, 64, 3, 200, 64, 1] {
        let x = inputs(rows);
        let [found, expected] = [&loaded, &load(&path, &Backend::Cpu)]
            .map(|loaded| loaded.forward(&x, Outputs::Logits).expect("outputs"));
        assert!(found == expected, "{rows}");
    }
}

/// Every layout and type, dense and in every compressed form, straight from the compressed
/// weights, against f64 on the dequantized ones.
#[test]
fn networks_give_what_their_weights_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let [packed, dense] = ["packed", "dense"].map(|name| folder.path().join(name));
    let scheme = |bits, granularity| QuantScheme::new(bits, granularity);
    let asymmetric = |s: QuantScheme| QuantScheme { symmetric: false, ..s };
    let new = || Recipe::new().force(true).on_indivisible(OnIndivisible::Channel);
    let recipes = [
        new().sparsity(0.0),
        new().quantize(QuantScheme::int8()),
        new().quantize(asymmetric(scheme(Bits::Four, Granularity::Group(16)))),
        new().quantize(scheme(Bits::Two, Granularity::Group(4))),
        new().quantize(asymmetric(scheme(Bits::Eight, Granularity::Tensor))),
        new().sparsity(0.6).format(Format::SparseBitmask),
        new()
            .sparsity(0.9)
            .quantize(asymmetric(scheme(Bits::Four, Granularity::Channel)))
            .format(Format::SparseBitmask),
    ];
    for path in trained().into_iter().filter(|path| path.to_string_lossy().contains("n-100-10")) {
        let model = Model::open(&path).expect("a model");
        for recipe in &recipes {
            recipe.compress(&model, &packed, &Backend::Cpu).expect("compressed");
            recipe
                .clone()
                .format(Format::Dense)
                .compress(&model, &dense, &Backend::Cpu)
                .expect("dense");
            let half = find(&read(&dense), &read(&dense)[0].name).dtype.bits() == 16;
            for rows in [1, 3, 70] {
                let x = inputs(rows);
                let expected = reference(&dense, &x);
                for backend in [&Backend::Cpu, &GPU] {
                    let got = load(&packed, backend).forward(&x, Outputs::Logits).expect("runs");
                    assert_eq!(got.len(), expected.len());
                    // Codes times scales are not rounded to 16 bits in a forward pass, dense
                    // weights are.
                    let bound = if half { 0.05 } else { 2e-5 };
                    let worst = got.iter().zip(&expected).map(|(g, e)| (f64::from(*g) - e).abs());
                    let worst = worst.fold(0.0, f64::max);
                    assert!(worst < bound, "{} {recipe:?}: {worst}", path.display());
                }
            }
        }
    }
}

#[test]
fn probabilities_sum_to_one_and_batches_do_not_matter() {
    let path = files::own("examples/fashion-100-10.safetensors");
    let x = inputs(33);
    for backend in [&Backend::Cpu, &GPU] {
        let loaded = load(&path, backend);
        let whole = loaded.forward(&x, Outputs::AsDescribed).expect("runs");
        for row in whole.chunks(10) {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5 && row.iter().all(|p| *p >= 0.0), "{row:?}");
        }
        let parts =
            x.chunks(784 * 7).flat_map(|x| loaded.forward(x, Outputs::AsDescribed).expect("runs"));
        for (whole, part) in whole.iter().zip(parts) {
            assert!((whole - part).abs() < 1e-5);
        }
        assert!(loaded.forward(&[], Outputs::Logits).expect("no rows").is_empty());
        assert_eq!(loaded.forward(&x[1..], Outputs::Logits).expect_err("no rows").exit_code(), 65);
    }
}

#[test]
fn evaluation_counts() {
    let loaded = load(&files::own("examples/fashion-100-10.safetensors"), &Backend::Cpu);
    let x = inputs(40);
    let logits = loaded.forward(&x, Outputs::Logits).expect("runs");
    let best =
        |row: &[f32]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("ten") as u32;
    let predictions: Vec<u32> = logits.chunks(10).map(best).collect();
    // Every fourth label is wrong on purpose.
    let labels: Vec<u32> = predictions
        .iter()
        .enumerate()
        .map(|(i, p)| if i % 4 == 0 { (p + 1) % 10 } else { *p })
        .collect();
    let inputs = Array { shape: vec![40, 28, 28], data: ArrayData::F32(x) };
    let data = DataSet { inputs, labels };
    let evaluation = evaluate(&loaded, &data, 7).expect("runs");
    assert_eq!((evaluation.rows, evaluation.correct), (40, 30));
    assert_eq!(evaluation.accuracy, 0.75);
    assert_eq!(evaluation.predictions, predictions);
    let total: u64 = evaluation.confusion.iter().flatten().sum();
    assert_eq!(total, 40);
    let entropy: f64 = logits
        .chunks(10)
        .zip(&data.labels)
        .map(|(row, label)| {
            let sum: f64 = row.iter().map(|z| f64::from(*z).exp()).sum();
            sum.ln() - f64::from(row[*label as usize])
        })
        .sum();
    assert!((evaluation.cross_entropy - entropy / 40.0).abs() < 1e-5);
    let same = agreement(&evaluation, &evaluation, &data.labels);
    assert_eq!((same.agreement, same.accuracy_difference), (1.0, 0.0));
    // 40 rows without a difference leave room for one.
    let half = 1.96 * 2_f64.sqrt() / 42.0;
    assert!((same.confidence_95[0] + half).abs() < 1e-12, "{same:?}");
    assert!((same.confidence_95[1] - half).abs() < 1e-12, "{same:?}");
    // Right alone in 10 rows, and never wrong alone.
    let mut other = evaluation.clone();
    other.predictions.copy_from_slice(&data.labels);
    let better = agreement(&other, &evaluation, &data.labels);
    assert_eq!((better.agreement, better.accuracy_difference), (0.75, 0.25));
    // (11 − 1) / 42 ± 1.96 · √((12 / 42 − (10 / 42)²) / 42), worked out by hand.
    let [low, high] = better.confidence_95;
    assert!((low - 0.093_360_5).abs() < 1e-6 && (high - 0.382_830).abs() < 1e-6, "{better:?}");
    let wide = Array { shape: vec![40, 785], data: ArrayData::F32(vec![0.0; 40 * 785]) };
    let wide = DataSet { inputs: wide, ..data.clone() };
    let error = evaluate(&loaded, &wide, 7).expect_err("another width");
    assert!(error.to_string().contains("785") && error.to_string().contains("784"), "{error}");
}

/// The accuracies that other tools measured for the same files and weights.
#[test]
fn accuracy_on_fashion_mnist_where_it_is_there() {
    let shared = std::env::var_os("TENSORPRESS_SHARED").unwrap_or_default();
    let shared = Path::new(&shared);
    let Ok(data) = DataSet::open(&shared.join("data/fashion-mnist"), Split::Test) else {
        println!("skipped: Fashion-MNIST (TENSORPRESS_SHARED names no folder with it)");
        return;
    };
    let accuracy = |path: &Path, backend: &Backend| {
        evaluate(&load(path, backend), &data, 256).expect("runs").correct
    };
    let model = |name: &str| shared.join(format!("models/{name}.safetensors"));
    let cpu = &Backend::Cpu;
    for (name, correct, backends) in [
        ("fashion-100-10", 8814, [cpu, &GPU].as_slice()),
        ("fashion-100-10.f16", 8813, &[cpu, &GPU]),
        ("fashion-100-10.bf16", 8811, &[cpu, &GPU]),
        ("fashion-100-10.keras-layout", 8814, &[cpu, &GPU]),
        ("fashion-100-10.keras-layout.f16", 8813, &[cpu]),
        ("fashion-100-10.keras-layout.bf16", 8811, &[&GPU]),
        ("fashion-30-10-hard", 8643, &[cpu]),
    ] {
        for backend in backends {
            let found = accuracy(&model(name), backend);
            assert_eq!(found, correct, "{name} on {}", backend.name());
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let narrow = |bits, granularity| {
        let scheme = QuantScheme::new(bits, granularity);
        Recipe::new().force(true).quantize(QuantScheme { range: Range::Narrow, ..scheme })
    };
    let sparse = Recipe::new().force(true).sparsity(0.5).format(Format::SparseBitmask);
    // What the CPU makes of the others, the tests of `sweep` look at.
    for (layout, recipe, correct, backend) in [
        ("", narrow(Bits::Eight, Granularity::Tensor), 8819, &*GPU),
        ("", narrow(Bits::Eight, Granularity::Channel), 8809, &GPU),
        ("", narrow(Bits::Four, Granularity::Tensor), 8541, &GPU),
        ("", narrow(Bits::Four, Granularity::Channel), 8564, &GPU),
        ("", sparse.clone(), 7794, &GPU),
        (".keras-layout", narrow(Bits::Four, Granularity::Channel), 8564, &GPU),
        (".keras-layout", narrow(Bits::Four, Granularity::Channel), 8564, cpu),
        (".keras-layout", sparse, 7794, cpu),
    ] {
        let opened = Model::open(&model(&format!("fashion-100-10{layout}"))).expect("a model");
        recipe.compress(&opened, &out, cpu).expect("compressed");
        let found = accuracy(&out, backend);
        // Another order of summation may turn an answer.
        assert!(found.abs_diff(correct) <= 1, "{recipe:?} on {}: {found}", backend.name());
    }
    for (name, slimmed) in [
        ("fashion-100-10", [(0.75, 8451), (0.5, 7079), (0.25, 4307)]),
        ("fashion-100-10.keras-layout", [(0.75, 8451), (0.5, 7079), (0.25, 4307)]),
        ("fashion-1200-1200-10", [(0.75, 8873), (0.5, 8853), (0.25, 8738)]),
    ] {
        let opened = Model::open(&model(name)).expect("a model");
        for (share, correct) in slimmed {
            let recipe = Recipe::new().force(true).keep_neurons(share);
            recipe.compress(&opened, &out, &Backend::Cpu).expect("compressed");
            assert_eq!(accuracy(&out, &Backend::Cpu), correct, "{name}: {share} of its neurons");
        }
    }
}

/// Every form in which compressed-tensors stores integers is run as what it decompresses to.
#[test]
fn files_of_compressed_tensors_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.safetensors");
    let mut formats = BTreeSet::new();
    for entry in std::fs::read_dir(files::own("tests/golden")).expect("golden files") {
        let golden = entry.expect("an entry").path();
        if !golden.to_string_lossy().ends_with("__w_gauss.safetensors") {
            continue;
        }
        let mut tensors = read(&golden);
        let place = tensors.iter().position(|t| t.name == "_dequant").expect("dense weights");
        let dense = tensors.swap_remove(place);
        // In files of their own such tensors have a module's name.
        tensors.iter_mut().for_each(|t| t.name = format!("fc.{}", t.name));
        let opened = Model::open(&golden).expect("a model");
        let metadata = opened.shards()[0].metadata();
        let scheme: serde_json::Value = serde_json::from_str(&metadata["scheme"]).expect("JSON");
        let config = serde_json::json!({
            "quant_method": "compressed-tensors",
            "format": metadata["format"],
            "config_groups": { "group_0": scheme },
        });
        formats.insert(metadata["format"].clone());
        files::write(&path, &[("quantization_config", &config.to_string())], &tensors);
        let [outputs, inputs] = dense.shape[..] else { panic!("two dimensions") };
        let weights: Vec<f64> =
            (0..outputs * inputs).map(|i| f64::from(FloatType::F32.load(&dense.data, i))).collect();
        let x = files::noise(9, inputs * 5);
        for backend in [&Backend::Cpu, &GPU] {
            let got = load(&path, backend).forward(&x, Outputs::Logits).expect("runs");
            assert_eq!(got.len(), outputs * 5);
            for (at, got) in got.iter().enumerate() {
                let row = &x[at / outputs * inputs..][..inputs];
                let products = row.iter().zip(&weights[at % outputs * inputs..][..inputs]);
                let (sum, size) = products.fold((0.0, 0.0), |(sum, size), (x, w)| {
                    let product = f64::from(*x) * w;
                    (sum + product, size + product.abs())
                });
                let bound = 2.0 * (inputs as f64 + 4.0) * 2_f64.powi(-24) * size;
                let error = (f64::from(*got) - sum).abs();
                assert!(error <= bound, "{} at {at}: {error} > {bound}", golden.display());
            }
        }
    }
    let all = ["int-quantized", "naive-quantized", "pack-quantized"];
    assert!(formats.iter().eq(&all), "{formats:?}");
}

/// Weights and inputs are finite and sums are not: an answer made of those would be none. Rows are
/// numbered in all of the input, however it is divided.
#[test]
fn sums_that_overflow_give_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.safetensors");
    let infinite = [files::floats("fc.weight", &[2, 1], &[1e30, 1.0])];
    // Infinity less infinity is not hidden by what is behind it.
    let cancelled = [
        files::floats("fc1.weight", &[2, 1], &[1e30, 1e30]),
        files::floats("fc2.weight", &[1, 2], &[1.0, -1.0]),
        files::floats("fc3.weight", &[2, 1], &[1.0, 2.0]),
    ];
    let mut x = [1.0; 7];
    x[5] = 1e30;
    let kinds = "identity relu gelu gelu-tanh silu sigmoid tanh leaky-relu".split(' ');
    let kinds = kinds.map(|kind| kind.parse::<Activation>().expect("known"));
    let given = kinds.map(|kind| (&cancelled[..], vec![Activation::Identity, kind]));
    for (tensors, activations) in given.chain([(&infinite[..], vec![])]) {
        files::write(&path, &[], tensors);
        for backend in [&Backend::Cpu, &GPU] {
            let model = Model::open(&path).expect("a model");
            let (network, _) = Network::read(&model, Some(&activations)).expect("a network");
            let loaded = Loaded::new(backend, &model, network).expect("loaded");
            for batch in [1, 2, 7] {
                let error = loaded.forward_batches(&x, Outputs::AsDescribed, batch);
                let error = error.expect_err("no probabilities").to_string();
                assert!(error.starts_with("probabilities: row 5, column 0 is NaN"), "{error}");
            }
            let logits = loaded.forward_batches(&x, Outputs::Logits, 2).expect("runs");
            let finite: Vec<bool> = logits.chunks(2).map(|row| row[0].is_finite()).collect();
            assert_eq!(finite, [true, true, true, true, true, false, true]);
        }
    }
}
