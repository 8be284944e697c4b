//! Outputs that are refused: with which exit code, in which words, and without touching anything.

use std::fs;
use std::path::PathBuf;

use tensorpress::tensor::FloatType;

use crate::bad_input::{Input, assert_refused};
use crate::command::{compress, finish, names, snapshot};
use crate::raw::{file, sharded, small, values, write_all};

/// `--force` must not help here.
#[test]
fn an_output_that_is_the_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let input = Input::File("m.safetensors", file(&small())).make(root);
    let model = Input::Folder(sharded(&small()[..2], &small()[2..])).make(root);
    fs::create_dir(root.join("sub")).expect("created");
    fs::hard_link(&input, root.join("hard.safetensors")).expect("linked");
    let mut outputs = vec![
        (input.clone(), root.join("m.safetensors")),
        (input.clone(), root.join("sub/../m.safetensors")),
        (input.clone(), root.join("hard.safetensors")),
        (model.clone(), root.join("model")),
        (model.clone(), root.join("model/")),
        (model.clone(), root.join("sub/../model")),
        (model.clone(), root.join("model/out")),
        (model.clone(), root.join("model/original/out")),
        (model.clone(), root.join("model/new/out")),
        // Replacing this folder would remove the input with it.
        (model.clone(), root.to_owned()),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(&input, root.join("soft.safetensors")).expect("linked");
        symlink(&model, root.join("soft")).expect("linked");
        outputs.push((input.clone(), root.join("soft.safetensors")));
        outputs.push((root.join("soft.safetensors"), input.clone()));
        outputs.push((model.clone(), root.join("soft")));
        outputs.push((model.clone(), root.join("soft/out")));
        outputs.push((root.join("soft"), model.clone()));
        // A snapshot of links: its weights lie elsewhere, in the folder that would be replaced.
        write_all(&root.join("hub/blobs"), &[("abc", file(&small()))]);
        fs::create_dir(root.join("snapshot")).expect("created");
        symlink("../hub/blobs/abc", root.join("snapshot/model.safetensors")).expect("linked");
        outputs.push((root.join("snapshot"), root.join("hub")));
        outputs.push((root.join("snapshot"), root.join("hub/blobs")));
    }
    let before = snapshot(root);
    for (input, out) in outputs {
        let name = format!("{} -o {}", input.display(), out.display());
        let ran = finish(&mut compress(&input, &out, "--quantize int8 --force"));
        let file = out.file_name().expect("a name").to_str().expect("UTF-8");
        assert_refused(
            &name,
            &ran,
            2,
            &[file, "is the input, lies in it, or holds it", "another output path"],
        );
        assert!(snapshot(root) == before, "{name}: {:?}", names(root));
    }
}

#[test]
fn an_output_that_cannot_be_created() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let input = Input::File("m.safetensors", file(&small())).make(root);
    let model = Input::Folder(sharded(&small()[..2], &small()[2..])).make(root);
    write_all(root, &[("a-file", b"x".to_vec()), ("full/old.txt", b"old".to_vec())]);
    let missing = "create the folder first";
    let force = "--force";
    let mut rows = vec![
        (&input, root.join("no/out"), "", vec!["no/out", missing]),
        (&model, root.join("no/out"), "", vec!["no/out", missing]),
        (&input, root.join("a-file/out"), force, vec!["a-file/out", "choose another path"]),
        (&model, root.join("a-file/out"), force, vec!["a-file/out", "choose another path"]),
        (&input, root.join("a-file"), "", vec!["a-file", "already exists", force]),
        (&input, root.join("folder/"), "", vec!["folder/", "give a file name"]),
        (&input, root.join("full"), "", vec!["full", "already exists"]),
        (&input, root.join("full"), force, vec!["full", "give a file name"]),
        (&model, root.join("full"), "", vec!["full", "already exists", force]),
        (&model, root.join("full"), force, vec!["full", "holds files and no model"]),
        (&model, root.join("a-file"), "", vec!["a-file", "choose another path"]),
        (&model, root.join("a-file"), force, vec!["a-file", "choose another path"]),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
        symlink("nowhere", root.join("dangling")).expect("linked");
        rows.push((&input, root.join("dangling"), "", vec!["dangling", "already exists", force]));
        rows.push((&model, root.join("dangling"), force, vec!["dangling", "choose another path"]));
        let closed = root.join("closed");
        fs::create_dir(&closed).expect("created");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closed");
        // Permissions do not stop root; there, a file system that takes no files does.
        let unwritable = match fs::metadata(&closed).expect("there").uid() {
            0 => PathBuf::from("/proc"),
            _ => closed,
        };
        if unwritable.exists() {
            for input in [&input, &model] {
                let words = vec!["out", "cannot create"];
                rows.push((input, unwritable.join("out"), "", words));
            }
        }
    }
    let before = snapshot(root);
    for (input, out, arguments, words) in rows {
        let name = format!("{} -o {} {arguments}", input.display(), out.display());
        let ran = finish(&mut compress(input, &out, &format!("--quantize int8 {arguments}")));
        assert_refused(&name, &ran, 73, &words);
        assert!(snapshot(root) == before, "{name}: {:?}", names(root));
    }
}

/// Renaming over them would take them from all other programs.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_not_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::process::Command;

    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let input = Input::File("m.safetensors", file(&small())).make(root);
    let pipe = root.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("starts").success());
    symlink("/dev/null", root.join("null")).expect("linked");
    for name in ["pipe", "null"] {
        let ran = finish(&mut compress(&input, &root.join(name), "--quantize int8 --force"));
        assert_refused(name, &ran, 73, &[name, "pipe or device", "choose another path"]);
    }
    assert!(fs::metadata(&pipe).expect("there").file_type().is_fifo());
    assert!(root.join("null").is_symlink());
    assert_eq!(names(root), ["m.safetensors", "null", "pipe"]);
}

/// /dev/stdout is a link to where a process writes. Where that is a file, the name looks like any
/// link to a file, and replacing it would take it from all other programs.
#[cfg(target_os = "linux")]
#[test]
fn links_to_open_files_are_not_replaced() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let input = Input::File("m.safetensors", file(&small())).make(root);
    symlink("/proc/self/fd/1", root.join("stdout")).expect("linked");
    symlink("stdout", root.join("link")).expect("linked");
    for name in ["stdout", "link"] {
        let printed = fs::File::create(root.join("printed")).expect("created");
        let mut command = compress(&input, &root.join(name), "--quantize int8 --force");
        let ran = finish(command.stdout(printed));
        assert_refused(name, &ran, 73, &[name, "choose another path"]);
        assert!(root.join(name).is_symlink(), "{name}");
    }
    assert_eq!(names(root), ["link", "m.safetensors", "printed", "stdout"]);
}

/// The weights here would be refused as soon as they are read.
#[test]
fn a_folder_that_is_not_there_is_told_before_weights_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let tensors = || vec![values("fc1.weight", FloatType::F32, &[2, 2], &[f32::NAN; 4])];
    let input = Input::File("m.safetensors", file(&tensors())).make(root);
    let model = Input::Folder(vec![("model.safetensors", file(&tensors()))]).make(root);
    for input in [input, model] {
        let arguments = "--sparsity 0.5 --quantize int8";
        let ran = finish(&mut compress(&input, &root.join("no/out"), arguments));
        assert_refused("no folder", &ran, 73, &["no/out", "create the folder first"]);
    }
}
