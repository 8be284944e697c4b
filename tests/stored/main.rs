//! Compressed models read back: decompress, inspect and compare, on real and on broken files.

mod compare;
mod damaged_codes;
#[path = "../common/files.rs"]
mod files;
mod kept_codes;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use files::{Tensor, find, floats, own, read, tensor, trained, write, write_shards};
use tensorpress::compress::{Execution, Format, OnIndivisible, Pruning, Recipe, decompress};
use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::io::Model;
use tensorpress::ops::Backend;
use tensorpress::scheme::{Bits, Granularity, NmPattern, QuantScheme, Range};
use tensorpress::tensor::{DType, FloatType};

static GPU: LazyLock<Backend> = LazyLock::new(|| {
    Backend::open(&DeviceChoice::Gpu, GpuOptions::default()).expect("an adapter; see scripts/test")
});

fn backends() -> [&'static Backend; 2] {
    [&Backend::Cpu, &GPU]
}

fn open(path: &Path) -> Model {
    Model::open(path).unwrap_or_else(|e| panic!("{e}"))
}

fn unpack(from: &Path, to: &Path, backend: &Backend) -> Vec<Tensor> {
    decompress(&open(from), to, true, &Execution::new(backend)).unwrap_or_else(|e| panic!("{e}"));
    read(to)
}

fn recipes() -> Vec<Recipe> {
    let new = |bits, granularity| QuantScheme::new(bits, granularity);
    let asymmetric = |scheme| QuantScheme { symmetric: false, ..scheme };
    let group = new(Bits::Four, Granularity::Group(28));
    let quantized = [
        QuantScheme::int8(),
        asymmetric(QuantScheme::int8()),
        group,
        asymmetric(group),
        asymmetric(new(Bits::Two, Granularity::Group(4))),
        new(Bits::Eight, Granularity::Tensor),
        asymmetric(new(Bits::Four, Granularity::Tensor)),
        QuantScheme { range: Range::Narrow, ..QuantScheme::int8() },
        QuantScheme { range: Range::Multiplier(50), ..new(Bits::Eight, Granularity::Tensor) },
    ];
    let bitmask = || Recipe::new().format(Format::SparseBitmask);
    let pattern = Pruning::Nm(NmPattern { keep: 2, of: 4 });
    let mut recipes: Vec<Recipe> = quantized.map(|s| Recipe::new().quantize(s)).to_vec();
    recipes.push(Recipe::new().sparsity(0.5).quantize(group));
    recipes.extend([
        bitmask(),
        bitmask().sparsity(0.9),
        bitmask().sparsity(1.0),
        bitmask().prune(pattern),
        bitmask().quantize(QuantScheme::int8()),
        bitmask().sparsity(0.9).quantize(asymmetric(group)),
        bitmask().sparsity(0.6).quantize(asymmetric(new(Bits::Two, Granularity::Tensor))),
        bitmask().sparsity(1.0).quantize(group),
    ]);
    recipes.into_iter().map(|r| r.on_indivisible(OnIndivisible::Channel).force(true)).collect()
}

/// The trained models, one of several slabs a tensor, and one of hardly anything.
fn models(folder: &Path) -> Vec<PathBuf> {
    let large = folder.join("large");
    let (first, second) = (files::noise(3, 1200 * 1120), files::noise(4, 560 * 2400));
    let tensors = [
        floats("fc1.weight", &[1200, 1120], &first),
        floats("dense/kernel", &[560, 2400], &second),
    ];
    write(&large, &[], &tensors);
    let empty = folder.join("empty");
    let tensors = [
        floats("no_rows.weight", &[0, 5], &[]),
        floats("no_columns.weight", &[5, 0], &[]),
        floats("one.weight", &[1, 1], &[-2.5]),
    ];
    write(&empty, &[], &tensors);
    trained().into_iter().chain([large, empty]).collect()
}

/// Compressing and decompressing gives the very bytes that `--format dense` writes at once.
#[test]
fn decompressed_is_what_dense_output_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let [packed, dense, back] = ["packed", "dense", "back"].map(|name| folder.path().join(name));
    for path in models(folder.path()) {
        let model = open(&path);
        for recipe in recipes() {
            recipe.compress(&model, &packed, &Backend::Cpu).expect("compressed");
            let whole = recipe.clone().format(Format::Dense);
            // A mask without pruning is dense as it is.
            match whole.compress(&model, &dense, &Backend::Cpu) {
                Ok(_) => {}
                Err(error) if error.exit_code() == 2 => {
                    std::fs::copy(&path, &dense).expect("a copy");
                }
                Err(error) => panic!("{error}"),
            }
            for backend in backends() {
                let (got, expected) = (unpack(&packed, &back, backend), read(&dense));
                assert_eq!(got.len(), expected.len());
                for tensor in &expected {
                    let got = find(&got, &tensor.name);
                    assert_eq!((&got.shape, got.dtype), (&tensor.shape, tensor.dtype));
                    let same = got.data == without_signed_zeros(tensor);
                    assert!(
                        same || got.data == tensor.data,
                        "{} of {} after {recipe:?} on {}",
                        tensor.name,
                        path.display(),
                        backend.name()
                    );
                }
            }
        }
    }
}

/// A mask keeps no sign of a zero.
fn without_signed_zeros(tensor: &Tensor) -> Vec<u8> {
    let Some(float) = FloatType::from_dtype(tensor.dtype) else { return tensor.data.clone() };
    let mut data = vec![];
    let values = (0..tensor.data.len() / float.size()).map(|i| float.load(&tensor.data, i));
    let values: Vec<f32> = values.map(|v| if v == 0.0 { 0.0 } else { v }).collect();
    float.encode(&values, &mut data);
    data
}

/// Files of compressed-tensors itself, in all their forms, become the weights that it made of them.
#[test]
fn files_of_compressed_tensors_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut read_back = 0;
    for entry in std::fs::read_dir(own("tests/golden")).expect("golden files") {
        let path = entry.expect("an entry").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ct_")) {
            continue;
        }
        for backend in backends() {
            let got = unpack(&path, &folder.path().join("dense"), backend);
            let (weight, expected) = (find(&got, "weight"), find(&got, "_dequant"));
            assert_eq!(weight.shape, expected.shape);
            assert_eq!(weight.dtype, expected.dtype);
            let same = weight.data == expected.data
                || without_signed_zeros(weight) == without_signed_zeros(expected);
            assert!(same, "{} on {}", path.display(), backend.name());
        }
        read_back += 1;
    }
    assert_eq!(read_back, 36);
}

#[test]
fn a_sharded_model_with_parts_in_other_shards_is_decompressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, packed, split, back) = (
        folder.path().join("in"),
        folder.path().join("packed.safetensors"),
        folder.path().join("split"),
        folder.path().join("back"),
    );
    let weights = files::noise(1, 64 * 96);
    write(&input, &[], &[floats("a.weight", &[64, 96], &weights)]);
    let scheme =
        QuantScheme { symmetric: false, ..QuantScheme::new(Bits::Four, Granularity::Group(32)) };
    let model = open(&input);
    Recipe::new().quantize(scheme).compress(&model, &packed, &Backend::Cpu).expect("compressed");
    let config = open(&packed).shards()[0].metadata()["quantization_config"].clone();
    let parts = read(&packed);
    let other = floats("b.bias", &[3], &[1.0, 2.0, 3.0]);
    let (codes, rest): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|t| t.name == "a.weight_packed");
    let second: Vec<_> = rest.into_iter().chain([other.clone()]).collect();
    let config = format!("{{\"hidden_size\":96,\"quantization_config\":{config},\"z\":1}}");
    write_shards(&split, &[codes, second], &config);
    std::fs::write(split.join("tokenizer.json"), "{}").expect("written");

    decompress(&open(&split), &back, false, &Execution::new(&Backend::Cpu)).expect("decompressed");
    let back_model = open(&back);
    assert_eq!(back_model.shard_names(), open(&split).shard_names());
    let (shard, _) = back_model.find("a.weight").expect("there");
    assert_eq!(shard, 0);
    let tensors = read(&back);
    assert_eq!(tensors.len(), 2);
    assert_eq!(find(&tensors, "b.bias").data, other.data);
    assert_eq!(std::fs::read_to_string(back.join("tokenizer.json")).expect("kept"), "{}");
    let config = std::fs::read_to_string(back.join("config.json")).expect("config");
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config, serde_json::json!({ "hidden_size": 96, "z": 1 }));
    let index = back_model.index().expect("an index");
    assert_eq!(index["metadata"]["total_size"], 64 * 96 * 4 + 12);

    let dense = folder.path().join("dense");
    let recipe = Recipe::new().quantize(scheme).format(Format::Dense);
    recipe.compress(&model, &dense, &Backend::Cpu).expect("dense");
    assert_eq!(find(&tensors, "a.weight").data, find(&read(&dense), "a.weight").data);
}

/// Writers up to compressed-tensors 0.8 called the parts `W.weight.bitmask` and so on.
#[test]
fn old_names_of_bit_masks_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old");
    let shape: Vec<u8> = [2_i64, 9].iter().flat_map(|n| n.to_le_bytes()).collect();
    let offsets: Vec<u8> = [0_i64, 2].iter().flat_map(|n| n.to_le_bytes()).collect();
    let parts = [
        tensor("fc.weight.shape", DType::I64, &[2], &shape),
        floats("fc.weight.compressed", &[3], &[1.0, -2.0, 3.0]),
        tensor("fc.weight.bitmask", DType::U8, &[2, 2], &[0b0000_0010, 1, 0, 1]),
        tensor("fc.weight.row_offsets", DType::I64, &[2], &offsets),
    ];
    write(&path, &[], &parts);
    let got = unpack(&path, &folder.path().join("dense"), &Backend::Cpu);
    let mut expected = vec![0.0; 18];
    (expected[1], expected[8], expected[17]) = (1.0, -2.0, 3.0);
    assert_eq!(find(&got, "fc.weight").data, floats("", &[], &expected).data);
}

/// Each broken file is an error of exit code 65 (2 for a dense model) that names the tensor, and
/// nothing is written.
#[test]
fn broken_parts_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, out] = ["in", "out"].map(|name| folder.path().join(name));
    let i64s =
        |values: &[i64]| -> Vec<u8> { values.iter().flat_map(|n| n.to_le_bytes()).collect() };
    let codes =
        |words: usize| tensor("m.weight_packed", DType::I32, &[2, words], &vec![0; words * 8]);
    let scale =
        |shape: &[usize]| floats("m.weight_scale", shape, &vec![1.0; shape.iter().product()]);
    let sizes = |rows, cols| tensor("m.weight_shape", DType::I64, &[2], &i64s(&[rows, cols]));
    let mask = |offsets: &[i64], kept: usize, bits: &[u8]| {
        vec![
            tensor("m.shape", DType::I64, &[2], &i64s(&[2, 8])),
            floats("m.compressed", &[kept], &vec![1.0; kept]),
            tensor("m.bitmask", DType::U8, &[2, 1], bits),
            tensor("m.row_offsets", DType::I64, &[2], &i64s(offsets)),
        ]
    };
    let zero_point = tensor("m.weight_zero_point", DType::I32, &[2, 1], &[0; 8]);
    let reordered = tensor("m.weight_g_idx", DType::I32, &[8], &[0; 32]);
    let fp8 = tensor("m.weight", DType::F8E4M3, &[2, 2], &[0; 4]);
    let cases: Vec<(&str, Vec<Tensor>)> = vec![
        ("no scale", vec![codes(1), sizes(2, 8)]),
        (
            "codes of another type",
            vec![
                tensor("m.weight_packed", DType::I8, &[2, 4], &[0; 8]),
                scale(&[2, 1]),
                sizes(2, 8),
            ],
        ),
        ("codes of another shape", vec![codes(3), scale(&[2, 1]), sizes(2, 8)]),
        ("scales of another shape", vec![codes(1), scale(&[3, 1]), sizes(2, 8)]),
        ("groups that do not divide", vec![codes(1), scale(&[2, 3]), sizes(2, 8)]),
        ("negative sizes", vec![codes(1), scale(&[2, 1]), sizes(-2, 8)]),
        ("sizes that overflow", vec![codes(1), scale(&[2, 1]), sizes(1 << 62, 1 << 62)]),
        ("zero points of another shape", vec![codes(1), scale(&[2, 1]), sizes(2, 8), zero_point]),
        ("reordered columns", vec![codes(1), scale(&[2, 1]), sizes(2, 8), reordered]),
        (
            "scales of integers",
            vec![codes(1), tensor("m.weight_scale", DType::I32, &[2, 1], &[0; 8]), sizes(2, 8)],
        ),
        ("offsets beyond the end", mask(&[0, 9], 3, &[3, 1])),
        ("negative offsets", mask(&[0, -1], 3, &[3, 1])),
        ("offsets that run back", mask(&[2, 0], 3, &[3, 1])),
        ("offsets that the mask denies", mask(&[0, 1], 3, &[3, 1])),
        ("too few kept", mask(&[0, 2], 2, &[3, 1])),
        ("a dense tensor of the same name", {
            let mut parts = vec![codes(1), scale(&[2, 1]), sizes(2, 8)];
            parts.push(floats("m.weight", &[2, 8], &[1.0; 16]));
            parts
        }),
        ("codes and a mask of the same name", {
            let mut parts = mask(&[0, 2], 3, &[3, 1]);
            parts.extend([codes(1), scale(&[2, 1]), sizes(2, 8)]);
            parts
        }),
        ("another form beside a known one", {
            let mut parts = mask(&[0, 2], 3, &[3, 1]);
            parts.extend([
                tensor("x.weight", DType::F8E4M3, &[2, 2], &[0; 4]),
                floats("x.weight_scale", &[2, 1], &[1.0; 2]),
            ]);
            parts
        }),
        ("another form", vec![fp8, scale(&[2, 1])]),
        ("dense", vec![floats("m.weight", &[1, 1], &[1.0])]),
    ];
    for (name, parts) in cases {
        write(&path, &[], &parts);
        let decompressed = Model::open(&path)
            .and_then(|m| decompress(&m, &out, false, &Execution::new(&Backend::Cpu)));
        let error = decompressed.expect_err(name);
        let nothing = ["another form", "dense"].contains(&name);
        assert_eq!(error.exit_code(), if nothing { 2 } else { 65 }, "{name}: {error}");
        if !nothing {
            let text = error.to_string();
            assert!(text.contains("m.weight") || text.contains("x.weight"), "{name}: {text}");
            assert!(text.starts_with(&path.display().to_string()), "{name}: {text}");
        }
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "{name}: nothing but the input is there");
    }
}
