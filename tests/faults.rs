//! A disk that is full at any one write of a whole compression: the old output stands and no
//! temporary stays. A test binary of its own, because the faults hit every write of the process.

#[path = "common/command.rs"]
mod command;
#[path = "common/files.rs"]
mod files;
#[path = "common/raw.rs"]
mod raw;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use command::{Snapshot, snapshot};
use files::Tensor;
use raw::{file, sharded, values, weight, write_all};
use tensorpress::compress::{self, Execution, Format, Recipe};
use tensorpress::error::Error;
use tensorpress::io::{Model, fault};
use tensorpress::ops::Backend;
use tensorpress::scheme::{Granularity, QuantScheme};
use tensorpress::tensor::FloatType;

static WRITING: Mutex<()> = Mutex::new(());

/// What is tried: it writes a model, or fails.
type Work<'a> = &'a dyn Fn(&Model, &Path) -> Result<(), Error>;

/// Runs `work` with the disk full from write 0, from write 1 and so on until it succeeds, and
/// gives the number of failures.
fn fail_everywhere(name: &str, folder: &Path, input: &Path, out: &Path, work: Work<'_>) -> u32 {
    let model = Model::open(input).expect("a model");
    let old = snapshot(folder);
    for after in 0..1000 {
        fault::fail_writes(Some(after));
        let outcome = work(&model, out);
        fault::fail_writes(None);
        let now = snapshot(folder);
        let Err(error) = outcome else {
            let out = out.strip_prefix(folder).expect("below");
            let elsewhere = |all: &Snapshot| -> Snapshot {
                let all = all.iter().filter(|(path, _)| !path.starts_with(out));
                all.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
            };
            assert!(now != old, "{name}: the output is new");
            assert!(elsewhere(&now) == elsewhere(&old), "{name}: {:?}", now.keys());
            return after;
        };
        let text = error.to_string();
        assert_eq!(error.exit_code(), 74, "{name}, {after} writes: {text}");
        let out = out.display().to_string();
        assert!(text.starts_with(&out) && text.contains("nothing was replaced"), "{text}");
        assert!(now == old, "{name}, {after} writes: {:?}", now.keys());
    }
    panic!("{name} never succeeds");
}

/// A weight of several slabs, one that is stored transposed, and one that is carried over.
fn tensors() -> [Vec<Tensor>; 2] {
    let first = vec![
        weight("fc1.weight", FloatType::F32, &[1030, 1024]),
        weight("fc1.bias", FloatType::F32, &[1030]),
    ];
    let second = vec![
        weight("dense/kernel", FloatType::BF16, &[16, 24]),
        values("counts", FloatType::F16, &[3], &[1.0, 2.0, 3.0]),
    ];
    [first, second]
}

fn recipes() -> [(&'static str, Recipe); 6] {
    let asymmetric = |granularity| {
        let scheme = QuantScheme { symmetric: false, granularity, ..QuantScheme::w4a16() };
        Recipe::new().force(true).quantize(scheme)
    };
    let recipe = || Recipe::new().force(true);
    [
        ("int8", recipe().quantize(QuantScheme::int8())),
        ("zero points", asymmetric(Granularity::Group(8))),
        ("one scale and zero point", asymmetric(Granularity::Tensor)),
        ("bit mask", recipe().sparsity(0.5).format(Format::SparseBitmask)),
        (
            "codes behind a mask",
            asymmetric(Granularity::Channel).sparsity(0.8).format(Format::SparseBitmask),
        ),
        ("dense", recipe().sparsity(0.5)),
    ]
}

/// Compresses and decompresses `input` by each recipe, over an output that `put_old` puts there.
fn fail_all(folder: &Path, input: &Path, put_old: &dyn Fn(&Path), least: u32) {
    let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let execution = Execution { threads: NonZeroUsize::new(3), ..Execution::new(&Backend::Cpu) };
    for (name, recipe) in recipes() {
        let (out, back) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.back")));
        put_old(&out);
        let work =
            |model: &Model, out: &Path| recipe.compress_with(model, out, &execution).map(|_| ());
        let failures = fail_everywhere(name, folder, input, &out, &work);
        assert!(failures >= least, "{name}: {failures}");
        if name == "dense" {
            continue;
        }
        put_old(&back);
        let work = |model: &Model, out: &Path| {
            compress::decompress(model, out, true, &execution).map(|_| ())
        };
        let failures = fail_everywhere(name, folder, &out, &back, &work);
        assert!(failures >= least, "{name} back: {failures}");
    }
}

#[test]
fn a_single_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in");
    std::fs::write(&input, file(&tensors().concat())).expect("written");
    let put_old = |path: &Path| std::fs::write(path, "the old file").expect("written");
    // Creation, header, sync and rename; two slabs, a transposed weight, two copied tensors.
    fail_all(folder.path(), &input, &put_old, 9);
}

#[test]
fn a_network_that_loses_neurons() {
    let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let [input, out] = ["in", "out"].map(|name| folder.path().join(name));
    let tensors = [
        weight("fc1.weight", FloatType::F32, &[4, 8]),
        weight("fc1.bias", FloatType::F32, &[4]),
        weight("fc2.weight", FloatType::F32, &[3, 4]),
    ];
    std::fs::write(&input, file(&tensors)).expect("written");
    std::fs::write(&out, "the old file").expect("written");
    let recipe = Recipe::new().force(true).keep_neurons(0.5);
    let work = |model: &Model, out: &Path| recipe.compress(model, out, &Backend::Cpu).map(|_| ());
    // Creation, header, sync and rename; three tensors.
    let failures = fail_everywhere("neurons", folder.path(), &input, &out, &work);
    assert!(failures >= 7, "{failures}");
}

#[test]
fn a_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in");
    let [first, second] = tensors();
    write_all(&input, &sharded(&first, &second));
    let put_old = |path: &Path| {
        let files = [("model.safetensors", b"the old model".to_vec()), ("x/y", b"z".to_vec())];
        write_all(path, &files);
    };
    // The lock; each of two shards as above; two copied files; configuration and index, four
    // each; the exchange of the folders.
    fail_all(folder.path(), &input, &put_old, 25);
}
