//! Running the program and looking at what it leaves.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails the test unless the run succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The one JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.stdout).expect("one JSON value");
        assert!(value.is_object(), "{value}");
        value
    }
}

/// The program, in surroundings that do not change what it does or prints.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tensorpress"));
    command.env_remove("TENSORPRESS_DEVICE").env_remove("RUST_LOG");
    // Nothing is timed, and nothing is written to the user's cache.
    command.env("TENSORPRESS_NO_TUNE", "1");
    command.stdin(Stdio::null());
    command
}

/// Runs `command` to its end.
pub fn finish(command: &mut Command) -> Ran {
    let output = command.output().expect("starts");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Runs the program with `arguments`.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    finish(program().args(arguments))
}

/// `compress input -o output`, not yet started; `more` is split at spaces. It runs on the CPU
/// where `more` does not say otherwise.
pub fn compress(input: &Path, output: &Path, more: &str) -> Command {
    let mut command = program();
    command.arg("compress").arg(input).arg("-o").arg(output);
    if !more.contains("--device") {
        command.args(["--device", "cpu"]);
    }
    command.args(more.split_whitespace());
    command
}

/// Every file, link and empty folder below `folder` with its content.
pub type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

/// All that is below `folder` now. A link's content is where it leads to.
pub fn snapshot(folder: &Path) -> Snapshot {
    fn add(root: &Path, folder: &Path, found: &mut Snapshot) {
        let mut empty = true;
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let kind = fs::symlink_metadata(&path).expect("there").file_type();
            empty = false;
            if kind.is_dir() {
                add(root, &path, found);
                continue;
            }
            let content = if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                format!("-> {}", target.display()).into_bytes()
            } else {
                fs::read(&path).expect("readable")
            };
            found.insert(path.strip_prefix(root).expect("below").to_owned(), content);
        }
        if empty && folder != root {
            let path = folder.strip_prefix(root).expect("below").join("(empty)");
            found.insert(path, vec![]);
        }
    }
    let mut found = Snapshot::new();
    add(folder, folder, &mut found);
    found
}

/// Names of all that is in `folder`, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}
