//! Inputs, data and files that no network can be run on.

use crate::arrays::{gzip, idx, npy, npz};
use crate::bad_input::assert_refused;
use crate::command::{finish, program};
use crate::files::{Tensor, floats, write};
use crate::networks::{Folder, some_digits};
use std::path::Path;

/// Exit code 65, and what was expected beside what was found.
#[test]
fn inputs_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let row = |values: &[f32]| -> Vec<u8> {
        let values = values.iter().copied().chain(std::iter::repeat(0.5)).take(64);
        values.flat_map(f32::to_le_bytes).collect()
    };
    let good = npy(1, "<f4", false, "(1, 64)", &row(&[]));
    let cases: [(&str, Vec<u8>, &[&str]); 14] = [
        ("wide", npy(1, "|u1", false, "(2, 65)", &[0; 130]), &["[2, 65]", "has 64 inputs"]),
        ("no rows", npy(1, "|u1", false, "(0, 64)", &[]), &["no rows; at least one"]),
        ("a number", npy(1, "<f4", false, "()", &[0; 4]), &["shape []", "[rows, 64]"]),
        (
            "NaN",
            npy(1, "<f4", false, "(1, 64)", &row(&[0.0, f32::NAN])),
            &["column 1 is NaN", "finite"],
        ),
        (
            "infinity",
            npy(1, "<f4", false, "(1, 64)", &row(&[f32::INFINITY])),
            &["is inf", "finite"],
        ),
        ("pickle", npy(1, "|O", false, "(1,)", &[0; 8]), &["pickled", "astype('float32')"]),
        (
            "complex",
            npy(1, "<c8", false, "(1, 8)", &[0; 64]),
            &["\"<c8\"", "numbers were expected"],
        ),
        ("cut off", good[..good.len() - 1].to_vec(), &["takes 256 bytes", "has 255"]),
        ("IDX cut off", idx(8, &[1, 64], &[0; 60]), &["takes 64 bytes", "has 60"]),
        ("IDX magic", [vec![7], idx(8, &[1, 64], &[0; 64])].concat(), &["first bytes", "IDX"]),
        ("gzip cut off", gzip(&good)[..30].to_vec(), &["x: "]),
        ("npz cut off", npz(&[("x", good.clone())])[..90].to_vec(), &["npz archive"]),
        ("empty", vec![], &["the file is empty"]),
        ("text", b"1,2,3\n4,5,6\n".to_vec(), &["first bytes", ".npy, .npz, .safetensors and IDX"]),
    ];
    for (name, bytes, words) in cases {
        let ran = folder.run(&folder.write("x", &bytes), "");
        assert_refused(name, &ran, 65, words);
        assert_refused(name, &ran, 65, &["x: "]);
    }
    assert_refused("missing", &folder.run(Path::new("nothing.npy"), ""), 66, &["nothing.npy"]);
    assert_refused("a folder", &folder.run(Path::new("."), ""), 66, &[".: "]);
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let folder = Folder::new();
    let (pixels, labels) = some_digits(4);
    let x = npy(1, "|u1", false, "(4, 64)", &pixels);
    let y = |descr, shape: &str, data: &[u8]| npy(1, descr, false, shape, data);
    type Members = Vec<(&'static str, Vec<u8>)>;
    let cases: [(&str, Members, &[&str]); 8] = [
        (
            "a label",
            vec![("x", x.clone()), ("y", y("|u1", "(4,)", &[1, 2, 10, 3]))],
            &["label 2 is 10", "from 0 to 9"],
        ),
        (
            "below",
            vec![("x", x.clone()), ("y", y("|i1", "(4,)", &[1, 2, 3, 255]))],
            &["label 3 is -1", "from 0 to"],
        ),
        (
            "few",
            vec![("x", x.clone()), ("y", y("|u1", "(3,)", &labels[..3]))],
            &["4 inputs and 3 labels"],
        ),
        (
            "floats",
            vec![("x", x.clone()), ("y", y("<f4", "(4,)", &[0; 16]))],
            &["whole numbers were expected"],
        ),
        (
            "one-hot",
            vec![("x", x.clone()), ("y", y("|u1", "(4, 10)", &[0; 40]))],
            &["[4, 10]", "[rows] of integers"],
        ),
        (
            "no labels",
            vec![("x", x.clone()), ("z", y("|u1", "(4,)", &labels))],
            &["an array \"y\"", "holds x, z"],
        ),
        (
            "none",
            vec![("x", npy(1, "|u1", false, "(0, 64)", &[])), ("y", y("|u1", "(0,)", &[]))],
            &["no rows"],
        ),
        (
            "wide",
            vec![("x", npy(1, "|u1", false, "(4, 8)", &[0; 32])), ("y", y("|u1", "(4,)", &labels))],
            &["[4, 8]", "64 inputs"],
        ),
    ];
    for (name, members, words) in cases {
        let data = folder.write("d.npz", &npz(&members));
        for subcommand in ["evaluate", "sweep"] {
            let ran = folder.call(subcommand, "m.safetensors", "--data", &data, "-q");
            assert_refused(name, &ran, 65, words);
            assert_refused(name, &ran, 65, &["d.npz: "]);
        }
    }
    assert_refused(
        "npy",
        &folder.evaluate(&folder.write("x.npy", &x), ""),
        65,
        &["\"x\"", "without a name"],
    );
    let images = idx(8, &[4, 8, 8], &pixels);
    folder.write("t10k-images-idx3-ubyte", &images);
    folder.write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(8, &[4], &labels)));
    folder.evaluate(folder.folder.path(), "").succeeded();
    let ran = folder.evaluate(folder.folder.path(), "--split train");
    assert_refused("no train", &ran, 66, &["train-images-idx3-ubyte.gz", "is there"]);
    folder.write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(8, &[4], &labels))[..20]);
    let ran = folder.evaluate(folder.folder.path(), "");
    assert_refused("labels cut off", &ran, 65, &["t10k-labels-idx1-ubyte.gz: "]);
}

#[test]
fn networks_that_are_none_are_refused() {
    let folder = Folder::new();
    let (pixels, _) = some_digits(1);
    let input = folder.write("x.npy", &npy(1, "|u1", false, "(1, 64)", &pixels));
    let layer = |name: &str, outputs: usize, inputs: usize, value: f32| {
        floats(&format!("{name}.weight"), &[outputs, inputs], &vec![value; outputs * inputs])
    };
    let mut nan = layer("fc2", 10, 9, 1.0);
    nan.data[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    let bias = floats("fc2.bias", &[10], &[f32::INFINITY; 10]);
    let describe = |activation: &str| {
        format!(
            r#"{{"version":1,"output":"softmax","layers":[
                {{"name":"one","weight":"fc1.weight","activation":"{activation}"}}]}}"#
        )
    };
    let (unknown, first) = (describe("swish"), layer("fc1", 9, 64, 1.0));
    let cases: [(&str, &str, Vec<Tensor>, &[&str]); 5] = [
        (
            "a break",
            "",
            vec![first.clone(), layer("fc2", 10, 8, 1.0)],
            &["gives 9 outputs", "wants 8 inputs"],
        ),
        ("an activation", &unknown, vec![first.clone()], &["\"one\"", "\"swish\"", "gelu"]),
        ("JSON", "{", vec![first.clone()], &["\"network\"", "not valid"]),
        ("a NaN", "", vec![first.clone(), nan], &["\"fc2.weight\"", "element 10 is NaN"]),
        (
            "a bias",
            "",
            vec![first, layer("fc2", 10, 9, 1.0), bias],
            &["\"fc2.bias\"", "element 0 is inf"],
        ),
    ];
    for (name, description, tensors, words) in cases {
        let metadata: &[(&str, &str)] =
            if description.is_empty() { &[] } else { &[("network", description)] };
        write(&folder.path("bad.safetensors"), metadata, &tensors);
        for device in ["cpu", "gpu"] {
            let mut command = program();
            command.arg("run").arg(folder.path("bad.safetensors")).arg("--input").arg(&input);
            let ran = finish(command.args(["-q", "--device", device]));
            assert_refused(name, &ran, 65, words);
            assert_refused(name, &ran, 65, &["bad.safetensors: "]);
        }
    }
}
