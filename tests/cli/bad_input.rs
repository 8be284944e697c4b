//! What is refused: with which exit code, in which words, and without touching anything.

use std::fs;
use std::path::{Path, PathBuf};

use tensorpress::tensor::FloatType;

use crate::command::{Ran, compress, finish, names, snapshot};
use crate::files::Tensor;
use crate::raw::{INDEX, SHARDS, file, index, raw, sharded, small, values, weight, write_all};

/// What the program is given.
pub enum Input {
    /// One file of this name.
    File(&'static str, Vec<u8>),
    /// A folder called `model` with these files.
    Folder(Vec<(&'static str, Vec<u8>)>),
    /// A path where nothing is.
    Nothing,
}

impl Input {
    /// Puts it into `folder` and gives its path.
    pub fn make(&self, folder: &Path) -> PathBuf {
        match self {
            Self::File(name, bytes) => {
                fs::write(folder.join(name), bytes).expect("written");
                folder.join(name)
            }
            Self::Folder(files) => {
                write_all(&folder.join("model"), files);
                folder.join("model")
            }
            Self::Nothing => folder.join("nothing.safetensors"),
        }
    }
}

/// One thing that must be refused.
pub struct Row {
    name: String,
    input: Input,
    arguments: &'static str,
    code: i32,
    /// All in the message: which file, which tensor, what is wrong, what to do.
    words: Vec<String>,
}

pub fn row(
    name: impl Into<String>,
    input: Input,
    arguments: &'static str,
    code: i32,
    words: &[&str],
) -> Row {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Row { name: name.into(), input, arguments, code, words }
}

/// One `error:` line, with all of `words`, and nothing that a panic prints.
#[track_caller]
pub fn assert_refused(name: &str, ran: &Ran, code: i32, words: &[impl AsRef<str>]) {
    assert_eq!(ran.code, Some(code), "{name}: {}", ran.stderr);
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{name}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{name}: {}", ran.stderr);
    assert_eq!(ran.stdout, "", "{name}");
    for word in words {
        let word = word.as_ref();
        assert!(ran.stderr.contains(word), "{name}: no {word:?} in {}", ran.stderr);
    }
}

/// Runs every row over an output that exists, which must stand.
#[track_caller]
pub fn assert_all_refused(rows: Vec<Row>) {
    for Row { name, input, arguments, code, words } in rows {
        let folder = tempfile::tempdir().expect("a folder");
        let input = input.make(folder.path());
        let out = folder.path().join("out");
        if input.is_dir() {
            write_all(&out, &[("model.safetensors", b"an old model".to_vec())]);
        } else {
            fs::write(&out, "an old model").expect("written");
        }
        let before = snapshot(folder.path());
        let ran = finish(&mut compress(&input, &out, &format!("--force {arguments}")));
        assert_refused(&name, &ran, code, &words);
        assert!(snapshot(folder.path()) == before, "{name}: {:?}", names(folder.path()));
    }
}

/// A file with two U8 tensors of 4 bytes, at these offsets.
fn two(names: [&str; 2], offsets: [&str; 2]) -> Vec<u8> {
    let entry = |i: usize| {
        let (name, offsets) = (names[i], offsets[i]);
        format!(r#""{name}":{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#)
    };
    raw(format!("{{{},{}}}", entry(0), entry(1)), &[0; 8])
}

/// A file with one tensor of 8 bytes.
fn one(entry: &str) -> Vec<u8> {
    raw(format!(r#"{{"fc1.weight":{entry}}}"#), &[0; 8])
}

#[test]
fn files_that_are_no_valid_safetensors() {
    let good = file(&small());
    let mut too_long = 100_000_001_u64.to_le_bytes().to_vec();
    too_long.extend(b"{}");
    let cut_header = good[..100].to_vec();
    let not_utf8 = raw(b"{\"a\xff\":{}}", &[]);
    let lfs =
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 318368\n".to_vec();
    let bytes: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("truncated", good[..good.len() - 5].to_vec(), &["describes", "fetch it again"]),
        ("bytes after the data", [&good[..], &[0]].concat(), &["describes", "fetch it again"]),
        ("header longer than the file", cut_header, &["the header claims", "fetch it again"]),
        ("header over 100 MB", too_long, &["100000001", "100000000", "fetch it again"]),
        ("header not UTF-8", not_utf8, &["utf-8", "fetch it again"]),
        ("three bytes", vec![1, 2, 3], &["3 bytes", "fetch it again"]),
        ("empty", vec![], &["empty", "fetch it again"]),
        ("Git LFS pointer", lfs, &["git lfs pull"]),
        ("overlap", two(["a", "b"], ["[0,4]", "[2,6]"]), &["\"b\"", "overlap", "write it again"]),
        ("gap", two(["a", "b"], ["[0,4]", "[5,9]"]), &["\"b\"", "hole", "write it again"]),
        (
            "duplicate name",
            two(["same", "same"], ["[0,4]", "[4,8]"]),
            &["\"same\"", "twice", "distinct names"],
        ),
        (
            "duplicate name, once escaped",
            two(["same", r"s\u0061me"], ["[0,4]", "[4,8]"]),
            &["\"same\"", "twice", "distinct names"],
        ),
        (
            "wrong product",
            one(r#"{"dtype":"F32","shape":[3,1],"data_offsets":[0,8]}"#),
            &["\"fc1.weight\"", "[3, 1]", "12 bytes", "fetch it again"],
        ),
        (
            "overflow",
            one(r#"{"dtype":"F32","shape":[9223372036854775808,4],"data_offsets":[0,8]}"#),
            &["\"fc1.weight\"", "[9223372036854775808, 4]", "too large", "fetch it again"],
        ),
        (
            "overflow of bits alone",
            one(r#"{"dtype":"F64","shape":[288230376151711745],"data_offsets":[0,8]}"#),
            &["\"fc1.weight\"", "too large", "fetch it again"],
        ),
        (
            "overflow hidden by a zero",
            one(r#"{"dtype":"U8","shape":[0,9223372036854775808,4],"data_offsets":[0,0]}"#),
            &["\"fc1.weight\"", "too large", "fetch it again"],
        ),
        (
            "rows of nothing that nobody could visit",
            one(r#"{"dtype":"U8","shape":[1099511627776,0],"data_offsets":[0,0]}"#),
            &["\"fc1.weight\"", "too large", "fetch it again"],
        ),
        (
            "more dimensions than anybody has",
            one(&format!(
                r#"{{"dtype":"U8","shape":[8{}],"data_offsets":[0,8]}}"#,
                ",1".repeat(64)
            )),
            &["\"fc1.weight\"", "65 dimensions", "fetch it again"],
        ),
        (
            "unknown type",
            one(r#"{"dtype":"Q4_K","shape":[8],"data_offsets":[0,8]}"#),
            &["\"fc1.weight\"", "\"Q4_K\"", "newer tensorpress"],
        ),
    ];
    let mut rows: Vec<Row> = bytes
        .into_iter()
        .map(|(name, bytes, words)| {
            let words = [&["m.safetensors"], words].concat();
            row(name, Input::File("m.safetensors", bytes), "--quantize int8", 65, &words)
        })
        .collect();
    let page = b"<!DOCTYPE html><html><body>Not found</body></html>";
    let others: [(&str, &[u8], [&str; 2]); 6] = [
        ("pytorch_model.bin", b"PK\x03\x04\0\0\x08\x08\0\0", ["pickle", "save_file"]),
        ("model.pt", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9", ["pickle", "save_file"]),
        ("model.pkl", b"\x80\x04\x95\x0a\0\0\0\0\0", ["pickle", "save_file"]),
        ("model.safetensors", page, ["text", "look at it"]),
        ("model.gguf", b"GGUF\x03\0\0\0\x01\0\0\0", ["GGUF", "safetensors files"]),
        ("model.h5", b"\x89HDF\r\n\x1a\n\0\0", ["HDF5", "save its weights"]),
    ];
    rows.extend(others.map(|(name, bytes, words)| {
        let words = [name, words[0], words[1]];
        row(name, Input::File(name, bytes.to_vec()), "--quantize int8", 65, &words)
    }));
    rows.push(row(
        "nothing there",
        Input::Nothing,
        "--quantize int8",
        66,
        &["nothing.safetensors", "check the path"],
    ));
    assert_all_refused(rows);
}

/// Opening a pipe that nobody writes to waits for ever.
#[cfg(unix)]
#[test]
fn pipes_are_no_models() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("starts").success());
    let path = pipe.to_str().expect("UTF-8");
    for arguments in [["inspect", path].as_slice(), &["decompress", path, "-o", "out"]] {
        let mut command = crate::command::program();
        command.args(arguments).current_dir(folder.path()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
        let start = Instant::now();
        while child.try_wait().expect("a status").is_none() {
            if start.elapsed() > Duration::from_secs(60) {
                child.kill().expect("killed");
                panic!("it waits for the pipe");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().expect("ended");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        let ran = Ran { code: output.status.code(), stdout: String::new(), stderr };
        assert_refused("a pipe", &ran, 66, &["pipe", "a file was expected"]);
    }
}

#[test]
fn directories_that_are_no_valid_model() {
    let weights = |name: &str| vec![weight(name, FloatType::F32, &[4, 8])];
    let (first, second) = (weights("fc1.weight"), weights("fc2.weight"));
    let good = || sharded(&first, &second);
    let with_index = |places: &[(&str, &str)]| {
        let mut files = good();
        files[2].1 = index(places);
        Input::Folder(files)
    };
    let without = |name: &str| Input::Folder(good().into_iter().filter(|f| f.0 != name).collect());
    let in_shards = |second| with_index(&[("fc1.weight", SHARDS[0]), ("fc2.weight", second)]);
    let distrust = [INDEX, "do not trust"];
    let two_files = vec![("a.safetensors", file(&first)), ("b.safetensors", file(&second))];
    let mut broken_index = good();
    broken_index[2].1 = b"{\"weight_map\":".to_vec();
    let mut broken_config = good();
    broken_config[3].1 = b"{\"model_type\":".to_vec();
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n";
    let mut placed_twice = good();
    placed_twice[2].1 = format!(
        r#"{{"weight_map":{{"fc1.weight":"{0}","fc2.weight":"{1}","fc2.w\u0065ight":"{1}"}}}}"#,
        SHARDS[0], SHARDS[1]
    )
    .into_bytes();
    let mut index_not_fetched = good();
    index_not_fetched[2].1 = lfs.to_vec();
    let mut broken_shard = good();
    broken_shard[1].1.pop();
    let none: &[(&str, &str)] = &[];
    let mut unindexed = good();
    unindexed[0].1 = file(&small()[..2]);
    let rows = [
        ("no file", Input::Folder(vec![]), vec!["model", "no model", "give the file itself"]),
        (
            "pickles only",
            Input::Folder(vec![("pytorch_model.bin", b"PK\x03\x04".to_vec())]),
            vec!["model", "no model", "give the file itself"],
        ),
        ("two files, no index", Input::Folder(two_files), vec!["model", "give the file itself"]),
        ("missing shard", without(SHARDS[1]), vec![INDEX, SHARDS[1], "fetch it too"]),
        (
            "missing tensor",
            with_index(&[
                ("fc1.weight", SHARDS[0]),
                ("fc2.weight", SHARDS[1]),
                ("fc3.weight", SHARDS[1]),
            ]),
            vec![INDEX, "\"fc3.weight\"", SHARDS[1], "fetch the model again"],
        ),
        (
            "tensor in another shard",
            in_shards(SHARDS[0]),
            vec![INDEX, "\"fc2.weight\"", SHARDS[0], "fetch the model again"],
        ),
        (
            "tensor that the index lacks",
            Input::Folder(unindexed),
            vec![INDEX, SHARDS[0], "\"fc1.bias\"", "fetch the model again"],
        ),
        ("no tensor in the index", with_index(none), vec![INDEX, "weight_map"]),
        (
            "an index that is a list",
            {
                let mut files = good();
                files[2].1 = format!(r#"[{{"fc1.weight":"{0}"}}]"#, SHARDS[0]).into_bytes();
                Input::Folder(files)
            },
            vec![INDEX, "an object", "weight_map"],
        ),
        (
            "tensor that the index places twice",
            Input::Folder(placed_twice),
            vec![INDEX, "\"fc2.weight\"", "twice"],
        ),
        ("name that leads up", in_shards("../model.safetensors"), distrust.to_vec()),
        ("absolute name", in_shards("/etc/model.safetensors"), distrust.to_vec()),
        ("name with a folder", in_shards("original/model.safetensors"), distrust.to_vec()),
        ("name with a backslash", in_shards(r"..\model.safetensors"), distrust.to_vec()),
        ("name with two dots", in_shards("model..safetensors"), distrust.to_vec()),
        ("name of another kind of file", in_shards("tokenizer.json"), distrust.to_vec()),
        ("index cut off", Input::Folder(broken_index), vec![INDEX, "not valid JSON", "fetch it"]),
        (
            "config cut off",
            Input::Folder(broken_config),
            vec!["config.json", "not valid JSON", "fetch it"],
        ),
        (
            "index that Git LFS did not fetch",
            Input::Folder(index_not_fetched),
            vec![INDEX, "git lfs pull"],
        ),
        ("shard cut off", Input::Folder(broken_shard), vec![SHARDS[1], "fetch it again"]),
    ];
    let rows = rows.map(|(name, input, words)| row(name, input, "--quantize int8", 65, &words));
    assert_all_refused(rows.into());
}

/// A model whose second weight has these values at these places.
fn spoilt(float: FloatType, spots: &[(usize, f32)]) -> Vec<Tensor> {
    let mut second = vec![0.25; 12];
    spots.iter().for_each(|(at, value)| second[*at] = *value);
    vec![weight("fc1.weight", float, &[4, 8]), values("fc2.weight", float, &[3, 4], &second)]
}

#[test]
fn weights_that_are_not_finite() {
    let mut rows = vec![];
    for float in FloatType::ALL {
        for (value, text) in
            [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")]
        {
            for arguments in ["--quantize int8", "--sparsity 0.5", "--nm 2:4", "--threshold 0.1"] {
                let bytes = file(&spoilt(float, &[(7, value), (9, f32::INFINITY)]));
                let name = format!("{text} in {float:?} with {arguments}");
                let words = [
                    "m.safetensors",
                    "\"fc2.weight\"",
                    &format!("element 7 is {text} (2 "),
                    "--allow-non-finite",
                ];
                rows.push(row(name, Input::File("m.safetensors", bytes), arguments, 65, &words));
            }
        }
    }
    assert_all_refused(rows);
}

#[test]
fn weights_that_are_not_finite_pass_when_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("m.safetensors"), folder.path().join("out"));
    for float in FloatType::ALL {
        for value in [f32::NAN, f32::INFINITY] {
            fs::write(&input, file(&spoilt(float, &[(7, value)]))).expect("written");
            for arguments in [
                "--quantize int8",
                "--quantize int4 --granularity tensor --asymmetric",
                "--sparsity 0.5",
                "--nm 2:4 --format sparse-bitmask",
                "--quantize int4 --granularity channel --asymmetric --format sparse-bitmask",
            ] {
                let more = format!("{arguments} --allow-non-finite --force");
                finish(&mut compress(&input, &out, &more)).succeeded();
            }
        }
    }
    // What is not selected is carried over, and nobody minds.
    let excluded = "--quantize int8 --exclude fc2 --force";
    finish(&mut compress(&input, &out, excluded)).succeeded();
}
