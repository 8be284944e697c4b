//! Every compressed-tensors golden file, byte for byte: scales, zero points, codes, and the
//! weights that compressed-tensors itself decompressed from them.

#[path = "common/files.rs"]
mod files;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::{Path, PathBuf};
use tensorpress::cpu::slab::{self, SlabStep};
use tensorpress::cpu::{dequantize, pack, quant_params, quantize, stats};
use tensorpress::scheme::{Arithmetic, Bits, Granularity, QuantParams, QuantScheme, Range};
use tensorpress::tensor::{FloatType, Matrix};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Scheme by the name between `ct_` and `__` in a file's name.
fn scheme(name: &str, arithmetic: Arithmetic) -> QuantScheme {
    use {Bits::*, Granularity::*};
    let (bits, symmetric, granularity) = match name {
        "W2A16_g128" => (Two, true, Group(128)),
        "W4A16_g128" => (Four, true, Group(128)),
        "W4A16_ASYM_g128" => (Four, false, Group(128)),
        "W4_channel_sym" => (Four, true, Channel),
        "W4_channel_asym" => (Four, false, Channel),
        "W4_g32_sym" => (Four, true, Group(32)),
        "W4_tensor_sym" => (Four, true, Tensor),
        "W8A16_g128" => (Eight, true, Group(128)),
        "W8A8_int_channel" => (Eight, true, Channel),
        "W8_channel_asym_pack" => (Eight, false, Channel),
        "W8_tensor_asym_naive" => (Eight, false, Tensor),
        "W8_tensor_sym_naive" => (Eight, true, Tensor),
        other => panic!("no scheme is known for {other}"),
    };
    QuantScheme { bits, symmetric, granularity, range: Range::Full, arithmetic }
}

/// The tensor `last`, or the one whose name ends in `.last`.
fn find<'a>(file: &'a SafeTensors<'_>, last: &str) -> Option<TensorView<'a>> {
    let suffix = format!(".{last}");
    let name = file.names().into_iter().find(|n| *n == last || n.ends_with(&suffix))?;
    Some(file.tensor(name).expect("a listed tensor"))
}

fn matrix<'a>(tensor: &'a TensorView<'_>) -> Matrix<'a> {
    let float = match tensor.dtype() {
        Dtype::F32 => FloatType::F32,
        Dtype::BF16 => FloatType::BF16,
        other => panic!("no golden input has type {other:?}"),
    };
    Matrix::new(float, tensor.shape()[0], tensor.shape()[1], tensor.data()).expect("a matrix")
}

fn words(tensor: &TensorView<'_>) -> Vec<u32> {
    let word = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("four bytes"));
    tensor.data().chunks_exact(4).map(word).collect()
}

fn signed(data: &[u8]) -> Vec<i8> {
    data.iter().map(|b| *b as i8).collect()
}

fn check(file: &str, name: &str, input: &str, arithmetic: Arithmetic) {
    let bytes = std::fs::read(folder().join(file)).expect(file);
    let golden = SafeTensors::deserialize(&bytes).expect(file);
    let inputs = std::fs::read(folder().join("inputs.safetensors")).expect("inputs");
    let inputs = SafeTensors::deserialize(&inputs).expect("inputs");
    let input = inputs.tensor(input).expect("an input");
    let weights = matrix(&input);
    let scheme = scheme(name, arithmetic);

    let stats = stats::matrix(weights, scheme.granularity);
    let params = quant_params::compute(weights.float, &stats, &scheme);
    let mut scale = Vec::new();
    weights.float.encode(&params.scale, &mut scale);
    let expected = find(&golden, "weight_scale").expect("a scale");
    assert_eq!(scale, expected.data(), "{file}: scale");
    check_zero_point(file, &golden, &params, weights, &scheme);

    let (packed, _) = quantize::packed(weights, &params, &scheme);
    match find(&golden, "weight_packed") {
        Some(expected) => assert_eq!(packed, words(&expected), "{file}: packed"),
        None => {
            let expected = find(&golden, "weight").expect("codes");
            let codes = pack::unpack(&packed, weights.cols, scheme.bits);
            assert_eq!(codes, signed(expected.data()), "{file}: codes");
        }
    }
    let (float, rows, cols) = (weights.float, weights.rows, weights.cols);
    let dense = dequantize::dense(float, &packed, rows, cols, &params, &scheme);
    let expected = find(&golden, "_dequant").expect("dequantized weights");
    assert_eq!(canonical(float, &dense), canonical(float, expected.data()), "{file}: dequantized");

    let step = SlabStep { prune: None, quantize: Some((&scheme, None)), dense: true };
    let output = slab::run(weights, &step);
    assert_eq!(output.packed, packed, "{file}: packed in one pass");
    assert_eq!(output.params, params, "{file}: scales in one pass");
    assert_eq!(output.dense, dense, "{file}: dequantized in one pass");
}

/// The bits of the values; kept apart so that a difference prints as a number.
fn canonical(float: FloatType, data: &[u8]) -> Vec<u32> {
    (0..data.len() / float.size()).map(|i| float.load(data, i).to_bits()).collect()
}

fn check_zero_point(
    file: &str,
    golden: &SafeTensors<'_>,
    params: &QuantParams,
    weights: Matrix<'_>,
    scheme: &QuantScheme,
) {
    let Some(expected) = find(golden, "weight_zero_point") else {
        assert!(scheme.symmetric, "{file}: no zero point");
        return;
    };
    if expected.dtype() == Dtype::I8 {
        assert_eq!(params.zero_point, signed(expected.data()), "{file}: zero point");
        return;
    }
    let groups = params.zero_point.len() / weights.rows;
    let packed = pack::pack_zero_points(&params.zero_point, weights.rows, groups, scheme.bits);
    let expected = words(&expected);
    assert_eq!(packed, expected, "{file}: packed zero point");
    let unpacked = pack::unpack_zero_points(&expected, weights.rows, groups, scheme.bits);
    assert_eq!(unpacked, params.zero_point, "{file}: unpacked zero point");
}

/// Checks every golden file of one input.
fn check_all(input: &str, arithmetic: Arithmetic) {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder()).expect("golden files") {
        let file = entry.expect("an entry").file_name().into_string().expect("an ASCII name");
        let stem = file.strip_suffix(".safetensors").unwrap_or(&file);
        let Some((name, of)) = stem.strip_prefix("ct_").and_then(|s| s.split_once("__")) else {
            continue;
        };
        if of == input {
            check(&file, name, input, arithmetic);
            checked += 1;
        }
    }
    assert_eq!(checked, 12, "golden files of {input}");
}

#[test]
fn gaussian_weights() {
    check_all("w_gauss", Arithmetic::F32);
}

#[test]
fn edge_cases() {
    check_all("w_edge", Arithmetic::F32);
    check_all("w_edge", Arithmetic::WeightType);
}

#[test]
fn bf16_weights_in_the_arithmetic_of_the_weight_type() {
    check_all("w_bf16", Arithmetic::WeightType);
}

#[test]
fn f32_arithmetic_is_no_worse_than_that_of_the_weight_type() {
    let inputs = std::fs::read(folder().join("inputs.safetensors")).expect("inputs");
    let inputs = SafeTensors::deserialize(&inputs).expect("inputs");
    let input = inputs.tensor("w_bf16").expect("an input");
    let weights = matrix(&input);
    for name in
        ["W2A16_g128", "W4A16_g128", "W4A16_ASYM_g128", "W8A16_g128", "W8_tensor_asym_naive"]
    {
        let [plain, narrow] = [Arithmetic::F32, Arithmetic::WeightType].map(|arithmetic| {
            let scheme = scheme(name, arithmetic);
            let step = SlabStep { prune: None, quantize: Some((&scheme, None)), dense: false };
            let sums = slab::run(weights, &step).sums;
            10.0 * (sums.signal / sums.error).log10()
        });
        println!("{name}: {plain:.2} dB in f32, {narrow:.2} dB in bf16");
        assert!(plain >= narrow, "{name}: {plain} dB in f32, {narrow} dB in bf16");
    }
}

/// A model in, a model out: every tensor of the written file has name, type, shape and bytes of
/// the file that compressed-tensors wrote. Files with unpacked codes hold the same codes.
#[test]
fn whole_models_equal_the_golden_files() {
    use files::{find as tensor_of, read, tensor, write};
    use tensorpress::compress::Recipe;
    use tensorpress::gpu::{DeviceChoice, GpuOptions};
    use tensorpress::{io::Model, ops::Backend};

    let scratch = tempfile::tempdir().expect("a folder");
    let [model, out] = ["model", "out"].map(|name| scratch.path().join(name));
    let gpu = Backend::open(&DeviceChoice::Gpu, GpuOptions::default()).expect("an adapter");
    let inputs = read(&folder().join("inputs.safetensors"));
    let mut packed_files = 0;
    for entry in std::fs::read_dir(folder()).expect("golden files") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let Some((name, of)) = stem.strip_prefix("ct_").and_then(|s| s.split_once("__")) else {
            continue;
        };
        let input = tensor_of(&inputs, of);
        write(&model, &[], &[tensor("weight", input.dtype, &input.shape, &input.data)]);
        let arithmetic = if of == "w_bf16" { Arithmetic::WeightType } else { Arithmetic::F32 };
        let recipe = Recipe::new().quantize(scheme(name, arithmetic)).force(true);
        let golden = read(&path);
        for backend in [&Backend::Cpu, &gpu] {
            let opened = Model::open(&model).expect("a model");
            recipe.compress(&opened, &out, backend).unwrap_or_else(|e| panic!("{stem}: {e}"));
            let written = read(&out);
            let is_packed = golden.iter().any(|t| t.name == "weight_packed");
            for expected in golden.iter().filter(|t| t.name != "_dequant" && t.name != "weight") {
                let got = tensor_of(&written, &expected.name);
                // A zero point of unpacked codes is unpacked too.
                let comparable = is_packed || expected.name == "weight_scale";
                if comparable {
                    assert_eq!(got.dtype, expected.dtype, "{stem}: {}", expected.name);
                    assert_eq!(got.shape, expected.shape, "{stem}: {}", expected.name);
                    assert!(got.data == expected.data, "{stem}: {}", expected.name);
                }
            }
            if is_packed {
                assert_eq!(written.len(), golden.len() - 1, "{stem}: no other tensors");
                packed_files += 1;
            } else {
                let words = tensor_of(&written, "weight_packed").data.as_chunks::<4>().0.iter();
                let words: Vec<u32> = words.map(|w| u32::from_le_bytes(*w)).collect();
                let codes = pack::unpack(&words, input.shape[1], Bits::Eight);
                let expected = signed(&tensor_of(&golden, "weight").data);
                assert_eq!(codes, expected, "{stem}: codes");
            }
        }
    }
    assert_eq!(packed_files, 2 * 27, "files with packed codes");
}
