//! Files of numbers: what is read, and what is refused and how.

#[path = "common/arrays.rs"]
mod arrays;
#[path = "common/files.rs"]
mod files;

use std::path::Path;

use arrays::{gzip, idx, npy, npz, with_header};
use files::{floats, tensor, write};
use proptest::prelude::*;
use tensorpress::io::{Array, ArrayData, DataSet, Split, write_npy};
use tensorpress::tensor::DType;

fn le<const N: usize>(values: &[[u8; N]]) -> Vec<u8> {
    values.concat()
}

fn read(bytes: &[u8]) -> Result<Array, tensorpress::Error> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    Array::read(file.path())
}

#[test]
fn every_kind_is_read() {
    let f32s = le(&[1.0_f32, -2.5, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes));
    let rows = vec![1.0, -2.5, 3.0, 4.0, 5.0, 6.0];
    let (floats, ints, bytes) = (ArrayData::F32, ArrayData::I64, ArrayData::U8);
    let cases: Vec<(&str, Vec<u8>, Vec<usize>, ArrayData)> = vec![
        ("f4", npy(1, "<f4", false, "(2, 3)", &f32s), vec![2, 3], floats(rows.clone())),
        ("version 2", npy(2, "<f4", false, "(6,)", &f32s), vec![6], floats(rows.clone())),
        ("version 3", npy(3, "<f4", false, "(6,)", &f32s), vec![6], floats(rows.clone())),
        ("scalar", npy(1, "<f4", false, "()", &f32s[..4]), vec![], floats(vec![1.0])),
        ("empty", npy(1, "<f4", false, "(0, 3)", &[]), vec![0, 3], floats(vec![])),
        (
            "Fortran order",
            npy(1, "<f4", true, "(2, 3)", &f32s),
            vec![2, 3],
            floats(vec![1.0, 3.0, 5.0, -2.5, 4.0, 6.0]),
        ),
        (
            "big endian",
            npy(1, ">f4", false, "(1,)", &2.5_f32.to_be_bytes()),
            vec![1],
            floats(vec![2.5]),
        ),
        ("f2", npy(1, "<f2", false, "(1,)", &[0, 0x3e]), vec![1], floats(vec![1.5])),
        (
            "f8",
            npy(1, "<f8", false, "(1,)", &0.1_f64.to_le_bytes()),
            vec![1],
            floats(vec![0.1_f64 as f32]),
        ),
        ("u1", npy(1, "|u1", false, "(2,)", &[1, 255]), vec![2], bytes(vec![1, 255])),
        // Truth values are no bytes of images: they stay 0 and 1.
        ("bool", npy(1, "|b1", false, "(2,)", &[1, 0]), vec![2], ints(vec![1, 0])),
        ("i1", npy(1, "|i1", false, "(1,)", &[255]), vec![1], ints(vec![-1])),
        ("i2", npy(1, ">i2", false, "(1,)", &[255, 254]), vec![1], ints(vec![-2])),
        ("u2", npy(1, "<u2", false, "(1,)", &[255, 255]), vec![1], ints(vec![65535])),
        ("u4", npy(1, ">u4", false, "(1,)", &[255, 0, 0, 1]), vec![1], ints(vec![0xff00_0001])),
        ("i4", npy(1, "<i4", false, "(1,)", &[254, 255, 255, 255]), vec![1], ints(vec![-2])),
        (
            "big endian, Fortran order, doubles",
            npy(2, ">f8", true, "(2, 2)", &le(&[1.0_f64, 2.0, 3.0, 4.0].map(f64::to_be_bytes))),
            vec![2, 2],
            floats(vec![1.0, 3.0, 2.0, 4.0]),
        ),
        (
            "Fortran order, three dimensions",
            npy(1, "|u1", true, "(2, 2, 2)", &[0, 4, 2, 6, 1, 5, 3, 7]),
            vec![2, 2, 2],
            bytes((0..8).collect()),
        ),
        // numpy's other ways to write a header: another order, and more room.
        (
            "other spaces",
            with_header("{'shape':(2,) ,'fortran_order':False, 'descr':'<i2'}\n", &[1, 0, 2, 0]),
            vec![2],
            ints(vec![1, 2]),
        ),
        ("i8", npy(1, "<i8", false, "(1,)", &(-5_i64).to_le_bytes()), vec![1], ints(vec![-5])),
        ("u8", npy(1, "<u8", false, "(1,)", &7_u64.to_le_bytes()), vec![1], ints(vec![7])),
        ("IDX bytes", idx(8, &[2, 2], &[1, 2, 3, 4]), vec![2, 2], bytes(vec![1, 2, 3, 4])),
        ("IDX floats", idx(0x0d, &[1], &2.0_f32.to_be_bytes()), vec![1], floats(vec![2.0])),
        ("IDX gzipped", gzip(&idx(8, &[2], &[5, 6])), vec![2], bytes(vec![5, 6])),
        ("npy gzipped", gzip(&npy(1, "<f4", false, "(6,)", &f32s)), vec![6], floats(rows.clone())),
        ("IDX without dimensions", idx(8, &[], &[7]), vec![], bytes(vec![7])),
        ("npz", npz(&[("a", npy(1, "<f4", false, "(6,)", &f32s))]), vec![6], floats(rows.clone())),
        (
            "npz of several, of which one is x",
            npz(&[
                ("y", npy(1, "|u1", false, "(1,)", &[3])),
                ("x", npy(1, "<f4", false, "(6,)", &f32s)),
            ]),
            vec![6],
            floats(rows),
        ),
    ];
    for (name, content, shape, data) in cases {
        let array = read(&content).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((array.shape, array.data), (shape, data), "{name}");
    }
    let scaled = Array { shape: vec![2], data: ArrayData::U8(vec![0, 255]) };
    assert_eq!(scaled.scaled()[..], [0.0, 1.0]);
}

/// Each is exit code 65 with a message that names what was expected and what was found.
#[test]
fn broken_files_are_refused() {
    let good = npy(1, "<f4", false, "(2,)", &[0; 8]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let huge = "(18446744073709551615, 18446744073709551615)";
    // Four gigabytes, of which none is there.
    let claim = npy(1, "<f4", false, "(1073741824,)", &[]);
    let noise: Vec<u8> = files::noise(1, 2000).iter().flat_map(|v| v.to_le_bytes()).collect();
    let noise = npy(1, "<f4", false, "(2000,)", &noise);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "the file is empty"),
        ("text", b"hello, world".to_vec(), "first bytes"),
        ("magic alone", good[..4].to_vec(), "npy header"),
        ("half a header", good[..40].to_vec(), "npy header"),
        (
            "half the data",
            good[..good.len() - 3].to_vec(),
            "takes 8 bytes of data and the file has 5",
        ),
        ("more data", [&good[..], &[0]].concat(), "more than 8"),
        ("version 9", with(6, 9), "version 9 and 1, 2 or 3 was expected"),
        ("a long header", with(9, 255), "npy header"),
        ("pickled", npy(1, "|O", false, "(2,)", &[0; 8]), "pickled"),
        ("text elements", npy(1, "<U5", false, "(2,)", &[0; 8]), "numbers were expected"),
        ("complex", npy(1, "<c8", false, "(1,)", &[0; 8]), "numbers were expected"),
        ("overflow", npy(1, "<f4", false, huge, &[]), "68719476736 bytes that are read"),
        ("no rows, and a row that overflows", npy(1, "<f4", false, "(0, 2)", &[0]), "more than 0"),
        (
            "IDX whose extents overflow",
            idx(8, &[u32::MAX; 3], &[0; 9]),
            "[4294967295, 4294967295, 4294967295] is larger than",
        ),
        ("IDX of doubles that overflow", idx(0x0e, &[u32::MAX, u32::MAX], &[]), "is larger than"),
        (
            "a structure",
            with_header(
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
                &[0; 4],
            ),
            "a structure",
        ),
        ("no order", with_header("{'descr': '<f4', 'shape': (1,)}", &[0; 4]), "'fortran_order'"),
        ("dates", npy(1, "<M8[ns]", false, "(1,)", &[0; 8]), "numbers were expected"),
        ("bfloat16 as bytes", npy(1, "|V2", false, "(1,)", &[0; 2]), "numbers were expected"),
        ("long doubles", npy(1, "<f16", false, "(1,)", &[0; 16]), "numbers were expected"),
        ("integers of three bytes", npy(1, "<i3", false, "(1,)", &[0; 3]), "\"<i3\""),
        (
            "a header of 4 GB",
            {
                let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
                bytes.extend(u32::MAX.to_le_bytes());
                bytes
            },
            "4294967295 bytes long and at most 65536 were expected",
        ),
        ("a negative extent", npy(1, "<f4", false, "(-1,)", &[]), "'shape'"),
        ("a large integer", npy(1, "<u8", false, "(1,)", &[255; 8]), "64-bit"),
        ("IDX of no type", idx(0x0a, &[1], &[0]), "the type 0x0a"),
        (
            "IDX of another magic",
            [vec![0, 1], idx(8, &[1], &[0])[2..].to_vec()].concat(),
            "first bytes are [00, 01, 08",
        ),
        ("IDX cut off", idx(8, &[2, 2], &[0; 3]), "takes 4 bytes of data and the file has 3"),
        ("IDX of 255 dimensions", vec![0, 0, 8, 255, 0, 0], "IDX header"),
        ("gzip of text", gzip(b"hello"), "first bytes"),
        ("gzip cut off in the header", gzip(&good)[..20].to_vec(), "header"),
        ("gzip cut off in the data", gzip(&noise)[..3000].to_vec(), "the data cannot be unpacked"),
        ("gzip without its checksum", short_of(gzip(&good), 8), "the data cannot be unpacked"),
        ("gzip of another checksum", flipped(gzip(&good), 8), "the data cannot be unpacked"),
        ("gzip that would fill memory", gzip(&claim), "268435456 bytes that are unpacked from"),
        ("gzip of more data", gzip(&[&good[..], &[0; 1 << 24]].concat()), "more than 8"),
        ("npz of several", npz(&[("a", good.clone()), ("y", good.clone())]), "holds a, y"),
        ("npz that would fill memory", npz(&[("x", claim.clone())]), "268435456 bytes that are"),
        ("npz of pickles", npz(&[("x", npy(1, "|O", false, "(1,)", &[0; 8]))]), "pickled"),
        ("npz of text", npz(&[("x", b"hello".to_vec())]), "first bytes"),
        ("npz with a password", with_member(npz(&[("x", good.clone())]), 6, 1), "assword"),
        ("npz of another method", with_member(npz(&[("x", good.clone())]), 8, 12), "not supported"),
        ("npz of other bytes", flipped(npz(&[("x", good.clone())]), 80), "unpacked"),
        ("npz of none", npz(&[]), "holds none"),
        ("zip cut off", npz(&[("x", good.clone())])[..30].to_vec(), "npz archive"),
    ];
    for (name, content, words) in cases {
        let error = read(&content).expect_err(name);
        assert_eq!(error.exit_code(), 65, "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    let missing = Array::read(Path::new("/nonexistent.npy")).expect_err("missing");
    assert_eq!(missing.exit_code(), 66);
}

/// `bytes` without the last `count`.
fn short_of(mut bytes: Vec<u8>, count: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - count);
    bytes
}

/// `bytes` with a bit flipped, so far from the end.
fn flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    bytes
}

/// A zip file with another value in a field of its one member, in both of its headers.
fn with_member(mut bytes: Vec<u8>, field: usize, value: u8) -> Vec<u8> {
    // In the central directory the fields come two bytes later.
    for (mark, field) in [(b"PK\x03\x04", field), (b"PK\x01\x02", field + 2)] {
        let at = bytes.windows(4).position(|window| window == mark).expect("a header");
        bytes[at + field] |= value;
    }
    bytes
}

/// Every type of a safetensors file that holds numbers.
#[test]
fn tensors_of_every_type_are_arrays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.safetensors");
    let (floats, ints) = (ArrayData::F32, ArrayData::I64);
    let cases: [(DType, &[u8], ArrayData); 12] = [
        (DType::F16, &[0, 0x3e], floats(vec![1.5])),
        (DType::BF16, &[0xc0, 0x3f], floats(vec![1.5])),
        (DType::F32, &1.5_f32.to_le_bytes(), floats(vec![1.5])),
        (DType::F64, &1.5_f64.to_le_bytes(), floats(vec![1.5])),
        (DType::U8, &[200], ArrayData::U8(vec![200])),
        (DType::Bool, &[1], ints(vec![1])),
        (DType::I8, &[200], ints(vec![-56])),
        (DType::I16, &[254, 255], ints(vec![-2])),
        (DType::U16, &[254, 255], ints(vec![65534])),
        (DType::I32, &[254, 255, 255, 255], ints(vec![-2])),
        (DType::I64, &(-3_i64).to_le_bytes(), ints(vec![-3])),
        (DType::U64, &3_u64.to_le_bytes(), ints(vec![3])),
    ];
    for (dtype, data, expected) in cases {
        write(&path, &[], &[tensor("t", dtype, &[1], data)]);
        assert_eq!(Array::read(&path).expect("an array").data, expected, "{dtype:?}");
    }
    for (dtype, data, words) in [
        (DType::F8E4M3, &[0][..], "numbers were expected"),
        (DType::U64, &u64::MAX.to_le_bytes(), "64-bit"),
    ] {
        write(&path, &[], &[tensor("t", dtype, &[1], data)]);
        let error = Array::read(&path).expect_err(words);
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn rows_are_counted_without_overflow() {
    let huge = format!("(0, {0}, {0})", 1_u64 << 40);
    let array = read(&npy(1, "<f4", false, &huge, &[])).expect("no elements");
    assert_eq!(array.rows(), (0, usize::MAX));
    let array =
        |shape: &[usize], len| Array { shape: shape.to_vec(), data: ArrayData::U8(vec![0; len]) };
    // A row that was stored alone is a batch of one.
    assert_eq!(array(&[6], 6).batched(6).shape, [1, 6]);
    assert_eq!(array(&[2, 3], 6).batched(6).shape, [1, 2, 3]);
    for (shape, len, width) in
        [(vec![6], 6, 1), (vec![2, 3], 6, 3), (vec![7], 7, 6), (vec![0], 0, 6)]
    {
        assert_eq!(array(&shape, len).batched(width).shape, shape);
    }
}

#[test]
fn what_numpy_reads_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("y.npy");
    write_npy(&path, &[2, 1], &[1.0, -2.0], false).expect("written");
    let expected = npy(1, "<f4", false, "(2, 1)", &le(&[1.0_f32, -2.0].map(f32::to_le_bytes)));
    assert_eq!(std::fs::read(&path).expect("there"), expected);
    assert_eq!(write_npy(&path, &[0], &[], false).expect_err("there").exit_code(), 73);
    write_npy(&path, &[1], &[3.0], true).expect("replaced");
    let array = Array::read(&path).expect("read");
    assert_eq!((array.shape, array.data), (vec![1], ArrayData::F32(vec![3.0])));
}

#[test]
fn data_sets_fit_or_say_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let open = || DataSet::open(root, Split::Test);
    assert_eq!(open().expect_err("nothing there").exit_code(), 66);
    std::fs::write(root.join("t10k-images-idx3-ubyte"), idx(8, &[2, 1, 2], &[0, 255, 51, 0]))
        .expect("written");
    std::fs::write(root.join("t10k-labels-idx1-ubyte.gz"), gzip(&idx(8, &[2], &[3, 1])))
        .expect("written");
    let data = open().expect("whole");
    assert_eq!(data.inputs.rows(), (2, 2));
    assert_eq!(data.inputs.scaled()[..], [0.0, 1.0, 0.2, 0.0]);
    assert_eq!(data.labels, [3, 1]);
    data.check_labels(4).expect("all below 4");
    let error = data.check_labels(3).expect_err("3 is no class of three");
    assert!(error.to_string().contains("label 0 is 3; expected a whole number from 0 to 2"));

    let file = root.join("d.safetensors");
    let x = floats("x", &[2, 2], &[0.0; 4]);
    let refused = |y, words: &str| {
        write(&file, &[], &[x.clone(), y]);
        let error = DataSet::open(&file, Split::Test).expect_err(words);
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(tensor("y", DType::U8, &[3], &[0; 3]), "2 inputs and 3 labels");
    refused(tensor("y", DType::I8, &[2], &[0, 255]), "label 1 is -1");
    refused(floats("y", &[2], &[0.0; 2]), "whole numbers were expected");
    refused(tensor("y", DType::U8, &[2, 2], &[0; 4]), "[2, 2]; expected [rows] of integers");
    refused(tensor("z", DType::U8, &[2], &[0; 2]), "expected an array \"y\"; the file holds");
}

/// Keras's data sets have both splits in one file.
#[test]
fn a_file_may_hold_both_splits() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits.npz");
    for (split, rows) in [(Split::Train, 1297), (Split::Test, 500)] {
        let data = DataSet::open(&example, split).expect("whole");
        assert_eq!(data.inputs.shape, [rows, 8, 8]);
        data.check_labels(10).expect("ten classes");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("d.safetensors");
    write(&file, &[], &[floats("x_train", &[1, 2], &[0.0; 2])]);
    let message = |split| DataSet::open(&file, split).expect_err("a part is missing").to_string();
    assert!(
        message(Split::Train).contains("expected an array \"y_train\"; the file holds x_train")
    );
    assert!(message(Split::Test).contains("expected an array \"x\"; the file holds x_train"));
}

proptest! {
    /// Whatever the bytes, there is an array or an error, in little memory.
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..6) {
        let bytes = match kind {
            0 => bytes,
            1 => [b"\x93NUMPY\x01\x00v\x00".to_vec(), bytes].concat(),
            2 => [vec![0, 0, 8], bytes].concat(),
            3 => gzip(&bytes),
            4 => npz(&[("x", bytes)]),
            _ => npy(1, "<f4", false, &String::from_utf8_lossy(&bytes), &[]),
        };
        let _ = read(&bytes);
    }

    /// Some bytes of a good file of each kind changed, and its end cut off.
    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        kind in 0..6,
    ) {
        let data: Vec<u8> = (0..48).collect();
        let array = npy(1, ">f4", true, "(2, 2, 3)", &data);
        let mut bytes = match kind {
            0 => array,
            1 => npy(3, "<u2", false, "(24,)", &data),
            2 => idx(0x0c, &[3, 4], &data),
            3 => gzip(&idx(8, &[6, 8], &data)),
            4 => npz(&[("x", array)]),
            _ => npz(&[("x", array), ("y", npy(1, "|u1", false, "(2,)", &[0, 1]))]),
        };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let outcome = read(&bytes).map(|array| array.rows());
        prop_assert!(outcome.map_or_else(|error| error.exit_code() == 65, |_| true));
    }
}

#[test]
fn fashion_mnist_where_it_is_there() {
    let shared = std::env::var_os("TENSORPRESS_SHARED").unwrap_or_default();
    let folder = Path::new(&shared).join("data/fashion-mnist");
    if !folder.is_dir() {
        println!("skipped: Fashion-MNIST (TENSORPRESS_SHARED names no folder with it)");
        return;
    }
    for (split, rows) in [(Split::Train, 60_000), (Split::Test, 10_000)] {
        let data = DataSet::open(&folder, split).expect("whole");
        assert_eq!(data.inputs.shape, [rows, 28, 28]);
        data.check_labels(10).expect("ten classes");
    }
}
