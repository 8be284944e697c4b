//! Files of codes behind masks that are damaged.

use crate::files::{Tensor, floats, tensor, write};
use crate::kept_codes::{CONFIG, by_hand, i32s, i64s, write_by_hand};
use crate::{backends, open};
use std::path::Path;
use tensorpress::compress::{Execution, decompress};
use tensorpress::io::Model;
use tensorpress::nn::{Loaded, Network};
use tensorpress::ops::Backend;
use tensorpress::tensor::DType;

/// Each broken file is an error of exit code 65 that names the tensor, for those who decompress
/// and for those who run a network.
#[test]
fn damage_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, out] = ["in", "out"].map(|name| folder.path().join(name));
    let with = |changed: Tensor| {
        let mut parts = by_hand();
        parts.retain(|part| part.name != changed.name);
        parts.push(changed);
        parts
    };
    let without = |name: &str| {
        let mut parts = by_hand();
        parts.retain(|part| part.name != format!("fc.{name}"));
        parts
    };
    let stream =
        |words: &[i32]| with(tensor("fc.compressed", DType::I32, &[words.len()], &i32s(words)));
    let mask = |bytes: &[u8]| with(tensor("fc.bitmask", DType::U8, &[bytes.len()], bytes));
    let marks = |bytes: &[u8]| with(tensor("fc.bytemask", DType::U8, &[2, 1], bytes));
    let offsets = |all: [i32; 6]| with(tensor("fc.row_offsets", DType::I32, &[3, 2], &i32s(&all)));
    let scale = |shape: &[usize]| {
        with(floats("fc.weight_scale", shape, &vec![1.0; shape.iter().product()]))
    };
    let zero_point = |dtype, shape: &[usize], bytes: &[u8]| {
        with(tensor("fc.weight_zero_point", dtype, shape, bytes))
    };
    let cases = [
        ("no scale", without("weight_scale")),
        ("no codes", without("compressed")),
        ("no mask", without("bitmask")),
        ("no mask of the mask", without("bytemask")),
        ("no offsets", without("row_offsets")),
        ("no shape", without("shape")),
        ("a word too few", stream(&[])),
        ("a word too many", stream(&[0xf0f, 0])),
        ("a bit too many", mask(&[0b1000, 0b10, 0b11])),
        ("a bit beyond the row", mask(&[0b1000, 0b1_0010, 0b1])),
        ("a mask byte too few", mask(&[0b1000, 0b10])),
        ("a mask byte too many", mask(&[0b1000, 0b10, 0b1, 0b1])),
        ("a mark too few", marks(&[0b101, 0])),
        ("a mark too many", marks(&[0b111, 0b1])),
        ("a mark beyond the row", marks(&[0b1100, 0b1])),
        ("marks in the wrong row", marks(&[0b1, 0b101])),
        ("offsets that run back", offsets([2, 2, 0, 0, 3, 3])),
        ("negative offsets", offsets([0, 0, -2, 2, 3, 3])),
        ("offsets beyond the end", offsets([0, 0, 2, i32::MAX, 3, 3])),
        ("mask offsets beyond the end", offsets([0, 0, i32::MAX, 2, 3, 3])),
        ("more codes in all than bits", offsets([0, 0, 2, 2, 3, 4])),
        ("more mask bytes in all than there are", offsets([0, 0, 2, 2, 4, 3])),
        ("a row that begins too late", offsets([0, 0, 2, 1, 3, 3])),
        ("a first row that does not begin at 0", offsets([0, 1, 2, 3, 3, 4])),
        (
            "offsets of another shape",
            with(tensor("fc.row_offsets", DType::I32, &[3], &i32s(&[0, 2, 3]))),
        ),
        ("sizes of another weight", with(tensor("fc.shape", DType::I64, &[2], &i64s(&[2, 80])))),
        (
            "sizes that overflow",
            with(tensor("fc.shape", DType::I64, &[2], &i64s(&[1 << 61, 1 << 61]))),
        ),
        ("scales of another shape", scale(&[3, 1])),
        ("groups that do not divide", scale(&[2, 3])),
        ("zero points of another shape", zero_point(DType::I32, &[2, 1], &[0; 8])),
        ("a zero point that is no code", zero_point(DType::I8, &[2, 1], &[0, 8])),
        ("float codes", with(floats("fc.compressed", &[1], &[1.0]))),
    ];
    for (name, parts) in cases {
        write_by_hand(&path, &parts);
        assert_refused(name, &path, &out, 65);
    }
    write(&path, &[], &by_hand());
    assert_refused("nothing says how wide the codes are", &path, &out, 65);
    let wide = CONFIG.replace(":4", ":3");
    write(&path, &[("quantization_config", &wide)], &by_hand());
    assert_refused("codes of 3 bits", &path, &out, 65);
}

fn assert_refused(name: &str, path: &Path, out: &Path, code: u8) {
    for backend in backends() {
        let execution = Execution::new(backend);
        let error = decompress(&open(path), out, false, &execution).expect_err(name);
        assert_eq!(error.exit_code(), code, "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains("tensor \"fc"), "{name}: {text}");
        assert!(text.starts_with(&path.display().to_string()), "{name}: {text}");
        assert!(!out.exists(), "{name}");
    }
    let error = load(path).expect_err(name);
    assert_eq!(error.exit_code(), code, "{name}: {error}");
}

fn load(path: &Path) -> tensorpress::Result<Loaded> {
    let model = Model::open(path)?;
    let (network, _) = Network::read(&model, None)?;
    Loaded::new(&Backend::Cpu, &model, network)
}

/// Whatever single bit of the data flips, the file is read or refused.
#[test]
fn no_flipped_bit_is_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, out] = ["in", "out"].map(|name| folder.path().join(name));
    write_by_hand(&path, &by_hand());
    let good = std::fs::read(&path).expect("written");
    let data = good.len() - 61;
    let (mut read, mut refused) = (0, 0);
    for bit in data * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).expect("written");
        let execution = Execution::new(&Backend::Cpu);
        match decompress(&open(&path), &out, true, &execution) {
            Ok(_) => read += 1,
            Err(error) => {
                assert_eq!(error.exit_code(), 65, "bit {bit}: {error}");
                refused += 1;
            }
        }
        // A scale may have become infinite, which a network refuses and a file does not.
        if let Err(error) = load(&path) {
            assert_eq!(error.exit_code(), 65, "bit {bit}: {error}");
        }
    }
    // Codes, scales and zero points mean something whatever they are, masks and offsets do not.
    assert!(read > 100 && refused > 200, "{read} read, {refused} refused");
}
