//! Files: what is read, and what is refused and how.

mod output;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tensorpress::error::FormatProblem;
use tensorpress::io::{Header, Model};

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Header, FormatProblem> {
    Header::parse(bytes, bytes.len() as u64)
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[0,3],"data_offsets":[8,8]}}"#;

#[test]
fn a_good_header_is_read() {
    let header = parse(&file(GOOD, &[0; 8])).expect("good");
    assert_eq!(header.metadata["format"], "pt");
    let names: Vec<_> = header.tensors.iter().map(|t| (t.name.as_str(), t.bytes())).collect();
    assert_eq!(names, [("a", 8), ("b", 0)]);
    assert_eq!(header.data_start, 8 + GOOD.len() as u64);
}

/// The length comes first in the file, and some lengths look like another format's mark.
#[test]
fn a_header_of_any_length_is_read() {
    for length in (GOOD.len()..1000).chain([0x8002, 0x1_0280, 0x0403_4b50]) {
        let mut header = GOOD.to_owned();
        header.extend(std::iter::repeat_n(' ', length - GOOD.len()));
        let parsed = parse(&file(&header, &[0; 8])).unwrap_or_else(|e| panic!("{length}: {e}"));
        assert_eq!(parsed.data_start, 8 + length as u64);
    }
}

/// Header, data, and a part of the message: what was wrong and what to do.
fn malformed() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let one = |entry: &str| file(&format!("{{\"a\":{entry}}}"), &[0; 8]);
    let two = |a: &str, b: &str| {
        let entry = |name, offsets| {
            format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{offsets}}}")
        };
        file(&format!("{{{},{}}}", entry("a", a), entry("b", b)), &[0; 8])
    };
    let mut huge = 100_000_001_u64.to_le_bytes().to_vec();
    huge.extend(b"{}");
    let mut beyond = 1000_u64.to_le_bytes().to_vec();
    beyond.extend(b"{}");
    let not_utf8 = {
        let mut bytes = file("{\"a?\":{}}", &[]);
        bytes[11] = 0xff;
        bytes
    };
    vec![
        ("empty", vec![], "empty"),
        ("short", vec![1, 2, 3], "too few"),
        (
            "LFS",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "git lfs pull",
        ),
        ("zip", b"PK\x03\x04.............".to_vec(), "save_file"),
        ("GGUF", b"GGUF\x03\0\0\0........".to_vec(), "GGUF"),
        ("header over 100 MB", huge, "100000000"),
        ("header beyond the file", beyond, "cut off"),
        ("array", file("[]", &[]), "begin with {"),
        ("truncated JSON", file("{\"a\":", &[]), "not valid"),
        ("no UTF-8", not_utf8, "utf-8"),
        ("cut data", file(GOOD, &[0; 7]), "fetch it again"),
        ("trailing data", file(GOOD, &[0; 9]), "describes 8 bytes"),
        ("overlap", two("[0,4]", "[2,6]"), "overlap"),
        ("hole", two("[0,4]", "[5,9]"), "hole"),
        ("late start", one(r#"{"dtype":"U8","shape":[4],"data_offsets":[4,8]}"#), "hole"),
        ("backwards", one(r#"{"dtype":"U8","shape":[4],"data_offsets":[8,4]}"#), "overlap"),
        (
            "duplicate",
            file(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#,
                &[0; 8],
            ),
            "occurs twice",
        ),
        (
            "escaped duplicate",
            file(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\u0061":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#,
                &[0; 8],
            ),
            "occurs twice",
        ),
        ("duplicate metadata", file(r#"{"__metadata__":{"x":"1","\u0078":"2"}}"#, &[]), "twice"),
        ("metadata number", file(r#"{"__metadata__":{"x":1}}"#, &[]), "string"),
        (
            "wrong product",
            one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#),
            "takes 12 bytes",
        ),
        ("half a byte", one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,8]}"#), "takes 2 bytes"),
        (
            "overflowing product",
            one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#),
            "too large",
        ),
        (
            "overflowing bits",
            one(r#"{"dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,8]}"#),
            "too large",
        ),
        ("negative", one(r#"{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}"#), "not valid"),
        ("unknown type", one(r#"{"dtype":"Q4","shape":[8],"data_offsets":[0,8]}"#), "unknown type"),
        (
            "unknown field",
            one(r#"{"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1}"#),
            "not valid",
        ),
        ("missing field", one(r#"{"dtype":"U8","shape":[8]}"#), "not valid"),
    ]
}

#[test]
fn malformed_files_are_refused_with_a_reason() {
    for (what, bytes, part) in malformed() {
        let error = parse(&bytes).expect_err(what);
        assert!(error.to_string().contains(part), "{what}: {error}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        fs::write(&path, &bytes).expect("written");
        let error = Model::open(&path).expect_err(what);
        assert_eq!(error.exit_code(), 65, "{what}");
        assert!(error.to_string().starts_with(path.to_str().expect("UTF-8")), "{what}: {error}");
    }
}

#[test]
fn a_missing_file_is_another_exit_code() {
    let error = Model::open(Path::new("no/such/file.safetensors")).expect_err("missing");
    assert_eq!(error.exit_code(), 66);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn mutated_headers_never_panic(
        at in 0..GOOD.len(),
        byte in any::<u8>(),
        cut in 0..GOOD.len() + 16,
        length in any::<u64>(),
        keep in any::<bool>(),
    ) {
        let mut bytes = file(GOOD, &[0; 8]);
        bytes[8 + at] = byte;
        if !keep {
            bytes[..8].copy_from_slice(&length.to_le_bytes());
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(header) = parse(&bytes) {
            let data = bytes.len() as u64 - header.data_start;
            prop_assert!(header.tensors.iter().all(|t| t.start <= t.end && t.end <= data));
        }
    }

    #[test]
    fn random_shapes_never_overflow(
        shape in proptest::collection::vec(any::<u64>(), 0..5),
        begin in any::<u64>(),
        end in any::<u64>(),
    ) {
        let entry = format!(
            "{{\"a\":{{\"dtype\":\"F16\",\"shape\":{shape:?},\"data_offsets\":[{begin},{end}]}}}}"
        );
        let _ = parse(&file(&entry, &[0; 16]));
    }
}

/// A directory with two shards, `index` in place of its index, and the files of `drop` left out.
fn sharded(index: &str, leave_out: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("model");
    fs::create_dir(&root).expect("created");
    for (name, tensor) in [("model-1.safetensors", "a"), ("model-2.safetensors", "b")] {
        if !leave_out.contains(&name) {
            let header = format!(
                "{{\"{tensor}\":{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}}}"
            );
            fs::write(root.join(name), file(&header, &[1, 2, 3, 4])).expect("written");
        }
    }
    fs::write(root.join("model.safetensors.index.json"), index).expect("written");
    (folder, root)
}

const INDEX: &str = r#"{"metadata":{"total_size":8},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;

#[test]
fn a_sharded_directory_opens() {
    let (_folder, root) = sharded(INDEX, &[]);
    fs::write(root.join("config.json"), "{\"x\":1}").expect("written");
    fs::create_dir(root.join("sub")).expect("created");
    fs::write(root.join("sub/tokenizer.json"), "{}").expect("written");
    let model = Model::open(&root).expect("opens");
    assert_eq!(model.shard_names(), ["model-1.safetensors", "model-2.safetensors"]);
    assert_eq!(model.other_files(), [PathBuf::from("sub/tokenizer.json")]);
    assert_eq!(model.find("b").expect("there").0, 1);
    assert_eq!(model.config().expect("there")["x"], 1);
    assert_eq!(model.tensors().count(), 2);
}

#[test]
fn a_broken_directory_is_refused_with_a_reason() {
    let map = |entries: &str| format!("{{\"weight_map\":{{{entries}}}}}");
    let rows = [
        (map(r#""a":"../model-1.safetensors""#), vec![], "plain"),
        (map(r#""a":"/tmp/model-1.safetensors""#), vec![], "plain"),
        (map(r#""a":"..\\model-1.safetensors""#), vec![], "plain"),
        (map(r#""a":"x\u0000.safetensors""#), vec![], "plain"),
        (map(r#""a":"model-1.safetensors""#), vec!["model-1.safetensors"], "fetch it too"),
        (INDEX.to_owned(), vec!["model-2.safetensors"], "model-2"),
        (map(r#""a":"model-1.safetensors","c":"model-1.safetensors""#), vec![], "lacks it"),
        (map(r#""a":"model-2.safetensors""#), vec![], "lacks it"),
        (r#"{"weight_map":[]}"#.to_owned(), vec![], "weight_map"),
        (map(r#""a":7"#), vec![], "weight_map"),
        ("{".to_owned(), vec![], "JSON"),
    ];
    for (index, leave_out, part) in rows {
        let (_folder, root) = sharded(&index, &leave_out);
        let error = Model::open(&root).expect_err(&index);
        assert_eq!(error.exit_code(), 65, "{index}");
        assert!(error.to_string().contains(part), "{index}: {error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Model::open(folder.path()).expect_err("no model").exit_code(), 65);
}

#[cfg(unix)]
#[test]
fn a_snapshot_of_links_opens() {
    let (_folder, root) = sharded(INDEX, &[]);
    let snapshot = root.parent().expect("a parent").join("snapshot");
    fs::create_dir(&snapshot).expect("created");
    for name in output::names(&root) {
        std::os::unix::fs::symlink(root.join(&name), snapshot.join(&name)).expect("linked");
    }
    assert_eq!(Model::open(&snapshot).expect("opens").tensors().count(), 2);
}
