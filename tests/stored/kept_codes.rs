//! Pruned and quantized weights as FORMAT.md describes them: bytes by hand, a naive reader,
//! and damage.

use std::path::Path;

use tensorpress::compress::{Execution, Format, OnIndivisible, Recipe, inspect};
use tensorpress::cpu::pack;
use tensorpress::nn::{Loaded, Network};
use tensorpress::ops::Backend;
use tensorpress::scheme::{Bits, Granularity, QuantScheme};
use tensorpress::tensor::DType;

use crate::files::{self, Tensor, find, floats, own, read, tensor, write};
use crate::{backends, open, unpack};

fn asymmetric(bits: Bits, granularity: Granularity) -> QuantScheme {
    QuantScheme { symmetric: false, ..QuantScheme::new(bits, granularity) }
}

pub fn i32s(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|n| n.to_le_bytes()).collect()
}

pub fn i64s(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// What the file says of itself.
pub const CONFIG: &str = r#"{"quant_method":"tensorpress","format":"sparse-bitmask-quantized",
    "config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int",
    "symmetric":false,"strategy":"channel"}}},
    "sparsity_config":{"format":"sparse-bitmask-quantized"}}"#;

/// Two rows of 20. The first has steps of 0.5 and the zero point 0, the second steps of 2 and the
/// zero point -8.
fn dense_by_hand() -> Tensor {
    let mut values = vec![0.0; 40];
    (values[3], values[17], values[20]) = (3.5, -4.0, 30.0);
    floats("fc.weight", &[2, 20], &values)
}

/// The example of FORMAT.md.
pub fn by_hand() -> Vec<Tensor> {
    vec![
        tensor("fc.shape", DType::I64, &[2], &i64s(&[2, 20])),
        // Codes 7 and -8, then 7: the nibbles f, 0, f.
        tensor("fc.compressed", DType::I32, &[1], &i32s(&[0xf0f])),
        // Columns 3 and 17, then column 0; the bytes between are 0 and left out.
        tensor("fc.bitmask", DType::U8, &[3], &[0b1000, 0b10, 0b1]),
        tensor("fc.bytemask", DType::U8, &[2, 1], &[0b101, 0b1]),
        tensor("fc.row_offsets", DType::I32, &[3, 2], &i32s(&[0, 0, 2, 2, 3, 3])),
        floats("fc.weight_scale", &[2, 1], &[0.5, 2.0]),
        tensor("fc.weight_zero_point", DType::I32, &[1, 1], &i32s(&[0x08])),
    ]
}

pub fn write_by_hand(path: &Path, tensors: &[Tensor]) {
    write(path, &[("quantization_config", CONFIG)], tensors);
}

#[test]
fn written_and_read_as_worked_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let [dense, packed, back] = ["dense", "packed", "back"].map(|name| folder.path().join(name));
    write(&dense, &[], &[dense_by_hand()]);
    let recipe = Recipe::new()
        .quantize(asymmetric(Bits::Four, Granularity::Channel))
        .format(Format::SparseBitmask)
        .force(true);
    for backend in backends() {
        let report = recipe.compress(&open(&dense), &packed, backend).expect("compressed");
        let written = read(&packed);
        let expected = by_hand();
        assert_eq!(written.len(), expected.len());
        for expected in &expected {
            let got = find(&written, &expected.name);
            assert_eq!((got.dtype, &got.shape), (expected.dtype, &expected.shape));
            assert_eq!(got.data, expected.data, "{}", got.name);
        }
        // 16 + 4 + 3 + 2 + 24 + 8 + 4 bytes.
        assert_eq!(report.bytes_after, 61);
        assert_eq!(report.bits_per_weight, Some(61.0 * 8.0 / 40.0));
        assert_eq!(report.sparsity, Some(37.0 / 40.0));

        write_by_hand(&packed, &expected);
        let got = unpack(&packed, &back, backend);
        assert_eq!(find(&got, "fc.weight").data, dense_by_hand().data);
        let inspection = inspect(&open(&packed), true, &Execution::new(backend)).expect("read");
        assert_eq!(inspection.format.as_deref(), Some("sparse-bitmask-quantized"));
        let [row] = &inspection.tensors[..] else { panic!("{:?}", inspection.tensors) };
        assert_eq!(row.stored, "int4 asymmetric channel, sparse-bitmask");
        assert_eq!((row.bytes, row.shape.as_slice()), (45, &[2, 20][..]));
        assert_eq!(row.statistics.as_ref().expect("floats").sparsity, 37.0 / 40.0);
    }
}

/// The numbers in an I32 or I64 tensor.
fn numbers(tensor: &Tensor) -> Vec<usize> {
    let bytes = &tensor.data;
    match tensor.dtype {
        DType::I32 => {
            let words = bytes.as_chunks::<4>().0.iter();
            words.map(|b| u32::from_le_bytes(*b) as usize).collect()
        }
        _ => bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as usize).collect(),
    }
}

/// The codes of a weight, read as the description says and in no other way.
fn naive_codes(
    file: &[Tensor],
    module: &str,
    bits: usize,
    zero_of: impl Fn(usize, usize) -> i32,
) -> Vec<i32> {
    let part = |name: &str| find(file, &format!("{module}.{name}"));
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (at % 8) & 1 == 1;
    let [rows, cols] = numbers(part("shape"))[..] else { panic!("two sizes") };
    let stream = numbers(part("compressed"));
    let offsets = numbers(part("row_offsets"));
    let width = cols.div_ceil(8).div_ceil(8);
    let (mut mask_bytes, mut place) = (0, 0);
    let mut codes = vec![];
    for row in 0..rows {
        assert_eq!(offsets[row * 2..][..2], [mask_bytes, place], "row {row}");
        let marks = &part("bytemask").data[row * width..][..width];
        let mut mask = vec![];
        for byte in 0..cols.div_ceil(8) {
            mask.push(if bit(marks, byte) { part("bitmask").data[mask_bytes] } else { 0 });
            mask_bytes += usize::from(bit(marks, byte));
        }
        for col in 0..cols {
            if !bit(&mask, col) {
                codes.push(zero_of(row, col));
                continue;
            }
            let unsigned = stream[place * bits / 32] >> (place * bits % 32) & ((1 << bits) - 1);
            codes.push(unsigned as i32 - (1 << (bits - 1)));
            place += 1;
        }
    }
    assert_eq!(offsets[rows * 2..], [mask_bytes, place]);
    assert_eq!(part("bitmask").data.len(), mask_bytes);
    assert!(!part("bitmask").data.contains(&0));
    assert_eq!(stream.len(), (place * bits).div_ceil(32));
    codes
}

/// Weights of several slabs: the streams of neighbouring slabs meet inside a word.
#[test]
fn a_naive_reader_finds_the_codes_of_the_packed_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let [dense, packed, masked] =
        ["dense", "packed", "masked"].map(|name| folder.path().join(name));
    let (rows, cols) = (1201, 1111);
    write(&dense, &[], &[floats("fc.weight", &[rows, cols], &files::noise(9, rows * cols))]);
    for (sparsity, scheme) in [
        (0.92, asymmetric(Bits::Four, Granularity::Channel)),
        (0.6, asymmetric(Bits::Two, Granularity::Group(101))),
        (0.3, QuantScheme::int8()),
        (0.997, asymmetric(Bits::Four, Granularity::Tensor)),
    ] {
        let recipe = Recipe::new().sparsity(sparsity).quantize(scheme).force(true);
        recipe.compress(&open(&dense), &packed, &Backend::Cpu).expect("compressed");
        let recipe = recipe.format(Format::SparseBitmask);
        recipe.compress(&open(&dense), &masked, &Backend::Cpu).expect("compressed");
        let (packed, masked) = (read(&packed), read(&masked));
        for same in ["fc.weight_scale", "fc.weight_zero_point"] {
            let of = |file: &[Tensor]| file.iter().find(|t| t.name == same).map(|t| t.data.clone());
            assert_eq!(of(&packed), of(&masked), "{same}");
        }
        let words = numbers(find(&packed, "fc.weight_packed"));
        let words: Vec<u32> = words.into_iter().map(|word| word as u32).collect();
        let expected = pack::unpack(&words, cols, scheme.bits);
        let zero_points = match (scheme.symmetric, scheme.granularity) {
            (true, _) => vec![],
            (_, Granularity::Tensor) => vec![find(&packed, "fc.weight_zero_point").data[0] as i8],
            (_, granularity) => {
                let groups =
                    if let Granularity::Group(size) = granularity { cols / size } else { 1 };
                let words = numbers(find(&packed, "fc.weight_zero_point"));
                let words: Vec<u32> = words.into_iter().map(|word| word as u32).collect();
                pack::unpack_zero_points(&words, rows, groups, scheme.bits)
            }
        };
        let zero_of = |row: usize, col: usize| match scheme.granularity {
            _ if scheme.symmetric => 0,
            Granularity::Tensor => zero_points[0].into(),
            Granularity::Channel => zero_points[row].into(),
            Granularity::Group(size) => zero_points[row * (cols / size) + col / size].into(),
        };
        let got = naive_codes(&masked, "fc", scheme.bits as usize, zero_of);
        assert!(got.iter().zip(&expected).all(|(a, b)| *a == i32::from(*b)), "{scheme:?}");
        let bytes = |file: &[Tensor]| file.iter().map(|tensor| tensor.data.len()).sum::<usize>();
        assert_eq!(bytes(&masked) < bytes(&packed), sparsity > 0.3 || scheme.bits == Bits::Eight);
    }
}

/// Offsets may be I64, as in weights that keep more than an I32 counts.
#[test]
fn wide_offsets_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, back] = ["in", "back"].map(|name| folder.path().join(name));
    let mut parts = by_hand();
    parts[4] = tensor("fc.row_offsets", DType::I64, &[3, 2], &i64s(&[0, 0, 2, 2, 3, 3]));
    write_by_hand(&path, &parts);
    let got = unpack(&path, &back, &Backend::Cpu);
    assert_eq!(find(&got, "fc.weight").data, dense_by_hand().data);
}

/// The network gives the very outputs of the same codes in pack-quantized form.
#[test]
fn a_network_gives_what_all_of_its_codes_give() {
    let folder = tempfile::tempdir().expect("a folder");
    let [packed, masked] = ["packed", "masked"].map(|name| folder.path().join(name));
    let model = open(&own("examples/fashion-100-10.safetensors"));
    let x: Vec<f32> = (0..784 * 5).map(|i| (i % 97) as f32 / 97.0).collect();
    for scheme in [
        QuantScheme::new(Bits::Four, Granularity::Channel),
        asymmetric(Bits::Two, Granularity::Group(4)),
        asymmetric(Bits::Eight, Granularity::Tensor),
    ] {
        let recipe = Recipe::new().sparsity(0.8).quantize(scheme);
        let recipe = recipe.on_indivisible(OnIndivisible::Channel).force(true);
        recipe.compress(&model, &packed, &Backend::Cpu).expect("compressed");
        let recipe = recipe.format(Format::SparseBitmask);
        recipe.compress(&model, &masked, &Backend::Cpu).expect("compressed");
        for backend in backends() {
            let [packed, masked] = [&packed, &masked].map(|path| {
                let model = open(path);
                let (network, _) = Network::read(&model, None).expect("a network");
                let loaded = Loaded::new(backend, &model, network).expect("loaded");
                (loaded.weight_bytes(), loaded.forward(&x, Default::default()).expect("runs"))
            });
            assert_eq!(packed, masked, "{scheme:?} on {}", backend.name());
        }
    }
}

/// Where rows are no whole groups and are left as they are, both forms of mask are in one file.
#[test]
fn weights_and_codes_behind_masks_lie_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let [dense, masked, whole] = ["dense", "masked", "whole"].map(|name| folder.path().join(name));
    let tensors = [
        floats("a.weight", &[6, 16], &files::noise(1, 96)),
        floats("b.weight", &[6, 15], &files::noise(2, 90)),
        floats("head.weight", &[3, 6], &files::noise(3, 18)),
    ];
    write(&dense, &[], &tensors);
    let recipe = Recipe::new()
        .sparsity(0.75)
        .quantize(asymmetric(Bits::Four, Granularity::Group(8)))
        .on_indivisible(OnIndivisible::Skip)
        .exclude(regex::Regex::new("head").expect("a pattern"))
        .force(true);
    let of = |format| recipe.clone().format(format);
    let model = open(&dense);
    of(Format::SparseBitmask).compress(&model, &masked, &Backend::Cpu).expect("compressed");
    of(Format::Dense).compress(&model, &whole, &Backend::Cpu).expect("compressed");
    let written = open(&masked);
    let config = &written.shards()[0].metadata()["quantization_config"];
    let config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    assert_eq!(config["quant_method"], "tensorpress");
    assert_eq!(config["ignore"], serde_json::json!(["b", "head"]));
    assert_eq!(config["sparsity_config"]["ignore"], serde_json::json!(["head"]));
    let inspection = inspect(&written, false, &Execution::new(&Backend::Cpu)).expect("read");
    let stored = |name: &str| {
        let row = inspection.tensors.iter().find(|tensor| tensor.name == name);
        row.expect("a tensor").stored.clone()
    };
    assert_eq!(stored("a.weight"), "int4 asymmetric group 8, sparse-bitmask");
    assert_eq!(stored("b.weight"), "sparse-bitmask");
    assert_eq!(stored("head.weight"), "dense");
    let got = unpack(&masked, &folder.path().join("back"), &Backend::Cpu);
    for expected in read(&whole) {
        assert_eq!(find(&got, &expected.name).data, expected.data, "{}", expected.name);
    }
}
