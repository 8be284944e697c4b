//! What is written, and what stands when writing fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use tensorpress::error::Error;
use tensorpress::io::{
    OutputDirectory, OutputFile, SafetensorsFile, SafetensorsWriter, TensorSpec, fault, refuse_same,
};
use tensorpress::tensor::DType;

/// Injected faults hit the whole process, so every test that writes holds this.
static WRITING: Mutex<()> = Mutex::new(());

fn writing() -> std::sync::MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn specs() -> Vec<TensorSpec> {
    let spec = |name: &str, dtype, shape: &[usize]| TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    };
    vec![
        spec("z", DType::U8, &[3]),
        spec("b", DType::F32, &[2, 2]),
        spec("a", DType::F32, &[]),
        spec("c", DType::I64, &[2]),
    ]
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

/// Tensor k holds bytes of k + 1; written back to front in two pieces.
fn write(path: &Path, force: bool) -> Result<(), Error> {
    let writer = SafetensorsWriter::create(specs(), &metadata(), |size| {
        OutputFile::create(path, size, force)
    })?;
    for (index, spec) in specs().iter().enumerate().rev() {
        let bytes = vec![index as u8 + 1; spec.bytes() as usize];
        let (first, second) = bytes.split_at(bytes.len() / 2);
        writer.write_at(index, first.len() as u64, second)?;
        writer.write_at(index, 0, first)?;
    }
    writer.finish()
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_official_reader_agrees() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    write(&path, false).expect("writes");
    let bytes = fs::read(&path).expect("reads");
    assert_eq!(bytes.len() as u64, SafetensorsWriter::size_of(&specs(), &metadata()));
    let official = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
    let ours = SafetensorsFile::open(&path).expect("valid");
    for (index, spec) in specs().iter().enumerate() {
        let view = official.tensor(&spec.name).expect("there");
        assert_eq!(view.shape(), spec.shape);
        assert_eq!(view.data(), vec![index as u8 + 1; spec.bytes() as usize]);
        assert_eq!(ours.view(ours.tensor(&spec.name).expect("there")).data, view.data());
    }
    let order: Vec<_> = ours.tensors().iter().map(|t| t.name.clone()).collect();
    assert_eq!(order, ["c", "a", "b", "z"], "wide types first, then by name");
    assert_eq!(ours.metadata(), &metadata());
    assert_eq!(names(folder.path()), ["out.safetensors"]);
}

/// So that tensors may be used where they lie.
#[test]
fn the_data_is_aligned_whatever_the_header_holds() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    for length in 0..8 {
        let metadata = BTreeMap::from([("key".to_owned(), "x".repeat(length))]);
        let open = |size| OutputFile::create(&path, size, true);
        SafetensorsWriter::create(vec![], &metadata, open).expect("opens").finish().expect("ends");
        let bytes = fs::read(&path).expect("reads");
        assert_eq!(bytes.len() % 8, 0, "{length}");
        assert_eq!(SafetensorsFile::open(&path).expect("valid").metadata(), &metadata);
    }
}

#[test]
fn a_full_disk_at_any_write_leaves_the_old_file() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    let mut failed = 0;
    for after in 0.. {
        fs::write(&path, b"the old file").expect("written");
        fault::fail_writes(Some(after));
        let outcome = write(&path, true);
        fault::fail_writes(None);
        match outcome {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.exit_code(), 74, "{error}");
                assert_eq!(fs::read(&path).expect("there"), b"the old file");
                assert_eq!(names(folder.path()), ["out.safetensors"], "after {after} writes");
                failed += 1;
            }
        }
    }
    // creation, header, two pieces of four tensors, sync, rename
    assert_eq!(failed, 12);
    assert!(SafetensorsFile::open(&path).is_ok());
}

fn fill(output: &OutputDirectory, source: &Path) -> Result<(), Error> {
    output.write("config.json", b"{}")?;
    output.copy(source, Path::new("sub/other.txt"))?;
    output.write("model.safetensors.index.json", b"{\"new\":1}")
}

#[test]
fn a_full_disk_at_any_write_leaves_the_old_directory() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.txt");
    fs::write(&source, "carried over").expect("written");
    let target = folder.path().join("out");
    fs::create_dir(&target).expect("created");
    fs::write(target.join("old.safetensors"), "old").expect("written");
    let mut failed = 0;
    for after in 0.. {
        fault::fail_writes(Some(after));
        let outcome = OutputDirectory::create(&target, 100, true).and_then(|output| {
            fill(&output, &source)?;
            output.commit()
        });
        fault::fail_writes(None);
        match outcome {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.exit_code(), 74, "{error}");
                assert_eq!(names(&target), ["old.safetensors"]);
                assert_eq!(names(folder.path()), ["out", "source.txt"]);
                failed += 1;
            }
        }
    }
    assert!(failed >= 10, "{failed}");
    assert_eq!(names(&target), ["config.json", "model.safetensors.index.json", "sub"]);
    assert_eq!(names(folder.path()), ["out", "source.txt"]);
}

#[test]
fn an_existing_output_needs_force() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    fs::write(&path, "old").expect("written");
    let error = write(&path, false).expect_err("exists");
    assert_eq!(error.exit_code(), 73);
    assert!(error.to_string().contains("--force"));
    let target = folder.path().join("dir");
    fs::create_dir(&target).expect("created");
    OutputDirectory::create(&target, 0, false).expect("an empty folder is no obstacle");
    fs::write(target.join("x"), "").expect("written");
    assert_eq!(OutputDirectory::create(&target, 0, false).expect_err("exists").exit_code(), 73);
}

#[test]
fn a_missing_folder_and_a_full_disk_are_told_before_any_work() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let error = OutputFile::create(&folder.path().join("no/out"), 1, false).expect_err("no folder");
    assert_eq!(error.exit_code(), 73);
    let error = OutputFile::create(&folder.path().join("out"), u64::MAX / 2, false)
        .expect_err("too large for any disk");
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_a_killed_run_left_is_cleared_and_a_live_one_is_respected() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    let stale = folder.path().join(".out.safetensors.123-abc.tensorpress-tmp");
    let unrelated = folder.path().join(".other.123-abc.tensorpress-tmp");
    fs::write(&stale, "half a file").expect("written");
    fs::write(&unrelated, "another's").expect("written");
    let stale_folder = folder.path().join(".out.safetensors.124-abd.tensorpress-tmp");
    fs::create_dir(&stale_folder).expect("created");
    let live = OutputFile::create(&path, 10, false).expect("creates");
    assert!(!stale.exists() && !stale_folder.exists() && unrelated.exists());
    let error = OutputFile::create(&path, 10, false).expect_err("locked");
    assert_eq!(error.exit_code(), 75);
    drop(live);
    write(&path, false).expect("writes once the other is gone");

    let target = folder.path().join("dir");
    let live = OutputDirectory::create(&target, 10, false).expect("creates");
    assert_eq!(OutputDirectory::create(&target, 10, false).expect_err("locked").exit_code(), 75);
    drop(live);
    OutputDirectory::create(&target, 10, false).expect("creates");
}

#[test]
fn missing_bytes_are_a_defect_and_nothing_is_replaced() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    let writer = SafetensorsWriter::create(specs(), &metadata(), |size| {
        OutputFile::create(&path, size, false)
    })
    .expect("creates");
    assert_eq!(writer.write_at(0, 2, &[1, 2]).expect_err("beyond").exit_code(), 70);
    assert_eq!(writer.finish().expect_err("missing").exit_code(), 70);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_output_must_not_be_the_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    fs::write(&path, "x").expect("written");
    let roundabout = folder.path().join(".").join("a");
    assert_eq!(refuse_same(&path, &roundabout).expect_err("same").exit_code(), 2);
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        refuse_same(&path, &link).expect_err("same");
        let hard = folder.path().join("hard");
        fs::hard_link(&path, &hard).expect("linked");
        refuse_same(&path, &hard).expect_err("same");
    }
    refuse_same(&path, &folder.path().join("b")).expect("another");
}

/// Only systems that swap two folders in one step promise it.
#[cfg(target_os = "linux")]
#[test]
fn no_moment_is_without_a_model() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("out");
    let replace = || {
        let output = OutputDirectory::create(&target, 1, true)?;
        output.write("model.safetensors", b"x")?;
        output.commit()
    };
    replace().expect("writes");
    let (done, file) = (AtomicBool::new(false), target.join("model.safetensors"));
    let missed = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut missed = 0;
            while !done.load(Ordering::Relaxed) {
                missed += u32::from(!file.exists());
            }
            missed
        });
        (0..200).try_for_each(|_| replace()).expect("writes");
        done.store(true, Ordering::Relaxed);
        reader.join().expect("reads")
    });
    assert_eq!(missed, 0);
}

#[test]
fn released_bytes_can_be_read_again() {
    let _writing = writing();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.safetensors");
    write(&path, false).expect("writes");
    let file = SafetensorsFile::open(&path).expect("opens");
    for info in file.tensors() {
        let all = 0..info.bytes() as usize;
        let before = file.bytes(info, all.clone()).to_vec();
        file.release(info, all.clone());
        assert_eq!(file.bytes(info, all), before);
    }
}
