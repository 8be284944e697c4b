//! What goes wrong from outside: no room, a kill at any moment, a reader that went away.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tensorpress::tensor::DType;

use crate::command::{Snapshot, compress, finish, names, program, snapshot};
use crate::files::{self, own};
use crate::raw::{EXAMPLE, INDEX, SHARDS, file, index, sharded, small, write_all};

/// `command` where no file may become larger than 64 KiB: writing fails as on a full disk.
#[cfg(unix)]
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", r#"ulimit -f 64; trap "" XFSZ; exec "$0" "$@""#]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_grow_leaves_the_old_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let mut files = sharded(&small()[..2], &small()[2..]);
    files.push(("large.txt", vec![b'x'; 100_000]));
    write_all(&root.join("model"), &files);
    write_all(root, &[("out", b"old".to_vec()), ("dir/model.safetensors", b"old".to_vec())]);
    for (input, out) in [(own(EXAMPLE), "out"), (root.join("model"), "dir")] {
        let before = snapshot(root);
        let command = compress(&input, &root.join(out), "--quantize int8 --force");
        let ran = finish(&mut limited(&command));
        assert_eq!(ran.code, Some(74), "{}", ran.stderr);
        for word in ["error: ", out, "nothing was replaced"] {
            assert!(ran.stderr.contains(word), "{}", ran.stderr);
        }
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(snapshot(root) == before, "{:?}", names(root));
        finish(&mut compress(&input, &root.join(out), "--quantize int8 --force")).succeeded();
    }
}

/// Writes a file of weights of `rows` × 1024.
fn write_weights(path: &Path, names: &[&str], rows: usize) {
    let noise = files::noise(1, rows * 1024);
    let data: Vec<u8> = noise.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = |name: &&str| files::tensor(name, DType::F32, &[rows, 1024], &data);
    files::write(path, &[], &names.iter().map(tensor).collect::<Vec<_>>());
}

/// The content of `path`, file or folder.
fn content(path: &Path) -> Snapshot {
    if path.is_dir() {
        return snapshot(path);
    }
    [(PathBuf::new(), fs::read(path).expect("there"))].into()
}

/// An interrupted run.
struct Interrupted<'a> {
    folder: &'a Path,
    input: &'a Path,
    out: PathBuf,
    old: Snapshot,
    new: Snapshot,
    /// Time of a run that nothing interrupts.
    time: Duration,
}

const ARGUMENTS: &str = "--sparsity 0.5 --quantize int4 --asymmetric --threads 2 --force";

impl<'a> Interrupted<'a> {
    fn new(folder: &'a Path, input: &'a Path, put_old: &dyn Fn(&Path)) -> Self {
        let (reference, out) = (folder.join("reference"), folder.join("out"));
        let start = Instant::now();
        finish(&mut compress(input, &reference, ARGUMENTS)).succeeded();
        let time = start.elapsed();
        put_old(&out);
        let (old, new) = (content(&out), content(&reference));
        Self { folder, input, out, old, new, time }
    }

    fn start(&self) -> Child {
        let mut command = compress(self.input, &self.out, ARGUMENTS);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
    }

    fn temporaries(&self) -> usize {
        let names = names(self.folder);
        names.iter().filter(|name| name.ends_with(".tensorpress-tmp")).count()
    }

    /// Interrupts runs at moments spread over their time, until enough of them left something
    /// behind to show that they were in the middle of writing.
    fn repeat(&self, interrupt: &dyn Fn(&mut Child), put_old: &dyn Fn(&Path)) {
        const MOMENTS: u32 = 16;
        let (mut in_the_middle, mut replaced) = (0, 0);
        for moment in 0..MOMENTS {
            let mut child = self.start();
            sleep(self.time * moment / (MOMENTS - 2));
            interrupt(&mut child);
            child.wait().expect("ended");
            in_the_middle += u32::from(self.temporaries() > 0);
            let found = content(&self.out);
            if found == self.new {
                replaced += 1;
                if self.out.is_dir() {
                    fs::remove_dir_all(&self.out).expect("removed");
                }
                put_old(&self.out);
            } else {
                assert!(found == self.old, "neither the old nor the new output at {moment}");
            }
            // The next run clears what this one left, so that it does not pile up.
            // A folder has a lock beside it.
            assert!(self.temporaries() <= 2, "{:?}", names(self.folder));
        }
        assert!(in_the_middle > 0, "no run was interrupted while it was writing");
        assert!(replaced < MOMENTS, "every run ended before it was interrupted");
        let end = self.start().wait().expect("ended");
        assert!(end.success());
        assert!(content(&self.out) == self.new);
        assert_eq!(self.temporaries(), 0, "{:?}", names(self.folder));
    }
}

fn kill(child: &mut Child) {
    child.kill().expect("killed, or at its end");
}

fn put_old_file(path: &Path) {
    fs::write(path, b"the old file").expect("written");
}

fn put_old_folder(path: &Path) {
    write_all(path, &[("model.safetensors", b"the old model".to_vec()), ("a/b", b"c".to_vec())]);
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("model.safetensors");
    write_weights(&input, &["a.weight", "b.weight", "c.weight", "d.weight"], 4096);
    let run = Interrupted::new(folder.path(), &input, &put_old_file);
    run.repeat(&kill, &put_old_file);
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("model");
    let places = [("a.weight", SHARDS[0]), ("b.weight", SHARDS[1])];
    let config = b"{\"model_type\":\"llama\"}".to_vec();
    write_all(&input, &[(INDEX, index(&places)), ("config.json", config), ("x/y", vec![0; 99])]);
    for (name, shard) in places {
        write_weights(&input.join(shard), &[name], 8192);
    }
    let run = Interrupted::new(folder.path(), &input, &put_old_folder);
    run.repeat(&kill, &put_old_folder);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_the_old_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("model.safetensors");
    write_weights(&input, &["a.weight", "b.weight"], 4096);
    let run = Interrupted::new(folder.path(), &input, &put_old_file);
    let interrupt = |child: &mut Child| {
        let id = child.id().to_string();
        // It may have ended meanwhile; then there is nobody to tell.
        let _ = Command::new("kill").args(["-INT", &id]).stderr(Stdio::null()).status();
    };
    run.repeat(&interrupt, &put_old_file);
}

/// Runs that want the same output at once: each writes all of it or says that it has to wait.
#[test]
fn several_runs_at_once_write_one_whole_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    write_all(root, &[("model.safetensors", file(&small()))]);
    write_all(&root.join("model"), &sharded(&small()[..2], &small()[2..]));
    for (input, out) in [("model.safetensors", "file"), ("model", "dir")] {
        let out = root.join(out);
        let command = || compress(&root.join(input), &out, "--quantize int8 --force --quiet");
        finish(&mut command()).succeeded();
        let whole = content(&out);
        let mut succeeded = 0;
        for _ in 0..40 {
            let start = |_| {
                let mut command = command();
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts")
            };
            let children: Vec<Child> = (0..4).map(start).collect();
            for child in children {
                let ended = child.wait_with_output().expect("ended");
                let text = String::from_utf8_lossy(&ended.stderr);
                match ended.status.code() {
                    Some(0) => succeeded += 1,
                    code => {
                        assert_eq!(code, Some(75), "{text}");
                        assert!(text.contains("wait for that run to end"), "{text}");
                    }
                }
            }
            assert!(content(&out) == whole, "{:?}", names(root));
        }
        assert!(succeeded >= 40, "at least the first of each four: {succeeded}");
    }
    finish(&mut compress(&root.join("model"), &root.join("dir"), "--quantize int8 --force"))
        .succeeded();
    assert_eq!(names(root), ["dir", "file", "model", "model.safetensors"]);
}

/// Every command that prints, with what it needs.
fn printing(out: &Path) -> Vec<Command> {
    let quantize = "--quantize int8 --force";
    let mut commands = vec![
        compress(&own(EXAMPLE), out, quantize),
        compress(&own(EXAMPLE), out, &format!("{quantize} --json")),
        compress(&own(EXAMPLE), out, "--quantize int8 --dry-run"),
    ];
    let example = own(EXAMPLE).display().to_string();
    for arguments in [
        "--help",
        "compress --help",
        "--version",
        "devices",
        "devices --json",
        "completions bash",
        "man",
        "inspect MODEL",
        "inspect MODEL --json",
        "compare MODEL MODEL --device cpu",
    ] {
        let mut command = program();
        command.args(arguments.split(' ').map(|a| if a == "MODEL" { &*example } else { a }));
        commands.push(command);
    }
    commands
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    for mut command in printing(&out) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ran = finish(command.stdout(writer));
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("error"), "{command:?}: {}", ran.stderr);
    }
    let table = fs::read(&out).expect("the compression itself was done");
    finish(&mut compress(&own(EXAMPLE), &out, "--quantize int8 --force")).succeeded();
    assert!(fs::read(&out).expect("there") == table);
}

#[test]
fn standard_error_that_went_away_changes_no_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    let example = own(EXAMPLE);
    for (mut command, code) in [
        // With a warning, with a note, and with errors of the arguments and of the input.
        (compress(&example, &out, "--sparsity 0.5 --force"), 0),
        (compress(&example, &out, "--quantize int8 --force --device auto"), 0),
        (compress(&example, &out, "--sparsity 2"), 2),
        (compress(&example, &out, "--sparsity x"), 2),
        (compress(&folder.path().join("nothing"), &out, "--quantize int8 --force"), 66),
    ] {
        let (mut reader, probe) = std::io::pipe().expect("a pipe");
        let (gone, writer) = std::io::pipe().expect("a pipe");
        drop(gone);
        let status = command.stdout(probe).stderr(writer).status().expect("starts");
        assert_eq!(status.code(), Some(code), "{command:?}");
        drop(command);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).expect("UTF-8");
        assert_eq!(printed.is_empty(), code != 0, "{printed}");
    }
}

#[test]
fn standard_output_that_is_full_is_an_error() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full");
        return;
    };
    assert!((&full).write_all(b"x").is_err(), "/dev/full takes no byte");
    let folder = tempfile::tempdir().expect("a folder");
    for mut command in printing(&folder.path().join("out.safetensors")) {
        let ran = finish(command.stdout(full.try_clone().expect("cloned")));
        assert_eq!(ran.code, Some(74), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error: standard output: "), "{command:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}
