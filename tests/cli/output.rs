//! What a run prints and what it leaves on disk.

use std::fs;

use tensorpress::tensor::{DType, FloatType};

use crate::carried::assert_same;
use crate::command::{compress, finish, names, program, run};
use crate::files::{find, own, read, tensor, write};
use crate::raw::{EXAMPLE, file, small, weight};

#[test]
fn json_is_one_object_on_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    for (arguments, warnings) in [
        ("--quantize int8 --json --force", 0),
        ("--quantize int8 --json --dry-run", 0),
        ("--json --sparsity 0.5 --force", 1),
        ("--json --sparsity 0.5 --force --quiet", 1),
    ] {
        let ran = finish(&mut compress(&own(EXAMPLE), &out, arguments)).succeeded();
        let report = ran.json();
        assert_eq!(report["schema_version"], 1, "{arguments}");
        assert_eq!(report["tensors"].as_array().map(Vec::len), Some(4), "{arguments}");
        assert_eq!(report["bytes_before"], 318_040, "{arguments}");
        assert_eq!(report["warnings"].as_array().map(Vec::len), Some(warnings), "{arguments}");
        assert!(!ran.stderr.contains('{'), "{}", ran.stderr);
    }
    let example = own(EXAMPLE).display().to_string();
    for arguments in [
        vec!["devices", "--json"],
        vec!["--json", "devices"],
        vec!["inspect", &example, "--json"],
        vec!["compare", &example, &example, "--json", "--device", "cpu"],
        vec!["bench", "--op", "stats", "--size", "4K", "--json", "--device", "cpu"],
        vec!["completions", "fish", "--json"],
        vec!["man", "--json"],
    ] {
        let report = run(&arguments).succeeded().json();
        assert_eq!(report["schema_version"], 1, "{arguments:?}");
    }
}

#[test]
fn a_network_is_measured_in_every_form_on_both_devices() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = folder.path().join("small.safetensors");
    finish(&mut compress(&own(EXAMPLE), &small, "--quantize int4 --on-indivisible channel"))
        .succeeded();
    let derived = ["int8", "int4", "50 % pruned"];
    for (model, first) in [(own(EXAMPLE), vec!["dense"]), (small, vec!["dense", "as stored"])] {
        let model = model.display().to_string();
        let ran = run(["bench", "--model", &model, "--batches", "1,3", "--size", "4K"]
            .into_iter()
            .chain(["--device", "gpu", "--json"]))
        .succeeded();
        let report = ran.json();
        let devices = report["devices"].as_array().expect("devices");
        assert_eq!(devices.len(), 2);
        for device in devices {
            let forms = device["forms"].as_array().expect("forms");
            let names: Vec<_> = forms.iter().map(|form| form["form"].as_str()).collect();
            let expected = first.iter().chain(&derived).map(|name| Some(*name));
            assert_eq!(names, expected.collect::<Vec<_>>());
            for form in forms {
                let batches = form["batches"].as_array().expect("batches");
                let rows: Vec<_> = batches.iter().map(|speed| speed["batch"].as_u64()).collect();
                assert_eq!(rows, [Some(1), Some(3)]);
                assert!(batches.iter().all(|speed| speed["rows_per_second"].as_f64() > Some(0.0)));
            }
            let bytes = |at: usize| forms[at]["weight_bytes"].as_u64().expect("bytes");
            assert_eq!(bytes(0), 79_400 * 4);
            assert!(bytes(forms.len() - 2) < bytes(0) / 6, "int4 stays packed");
        }
    }
}

#[test]
fn quiet_leaves_standard_error_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    for arguments in [
        "--quantize int8",
        // With a warning, with a note, with a warning about the device.
        "--sparsity 0.5",
        "--quantize int8 --device auto",
        "--quantize int8 --device gpu",
    ] {
        for quiet in ["-q", "--quiet"] {
            let more = format!("{arguments} {quiet} --force");
            let ran = finish(&mut compress(&own(EXAMPLE), &out, &more)).succeeded();
            assert_eq!(ran.stderr, "", "{more}");
            assert!(ran.stdout.contains("fc1.weight"), "{}", ran.stdout);
        }
    }
    let ran = finish(&mut compress(&own(EXAMPLE), &out, "--sparsity 0.5 --force")).succeeded();
    assert!(ran.stderr.starts_with("warning: "), "without it there is one: {}", ran.stderr);
    let ran = finish(&mut compress(&own(EXAMPLE), &out, "--sparsity 0.5 -q"));
    assert!(ran.stderr.starts_with("error: "), "errors are printed still: {}", ran.stderr);
}

#[test]
fn without_a_gpu_auto_takes_the_cpu_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    let without_gpu = |arguments: &str| {
        let mut command = compress(&own(EXAMPLE), &out, arguments);
        command.env("WGPU_BACKEND", "vulkan").env_remove("WGPU_ADAPTER_NAME");
        for drivers in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(drivers, "/nonexistent");
        }
        finish(&mut command)
    };
    let ran = without_gpu("--quantize int8 --device auto --json").succeeded();
    assert!(ran.stderr.contains("using the CPU backend"), "{}", ran.stderr);
    assert_eq!(ran.json()["device"], "CPU");
    assert!(out.exists());
    let ran = without_gpu("--quantize int8 --device gpu --force");
    assert_eq!(ran.code, Some(69), "{}", ran.stderr);
    assert!(ran.stderr.contains("available: cpu;"), "{}", ran.stderr);
}

#[test]
fn devices_are_listed_although_the_environment_asks_for_another() {
    let list = |more: &[&str]| {
        let mut command = program();
        command.arg("devices").args(more).env("WGPU_ADAPTER_NAME", "no-such-thing");
        finish(&mut command).succeeded()
    };
    let text = list(&[]).stdout;
    assert!(text.contains("gpu:0") && text.contains("no-such-thing"), "{text}");
    let json = list(&["--json"]).json();
    assert!(json["auto"].is_null() && json["adapters"][0]["device"] == "gpu:0", "{json}");
}

#[test]
fn a_backend_that_nobody_has_is_named() {
    let mut command = program();
    let text = finish(command.arg("devices").env("WGPU_BACKEND", "vulcan")).succeeded().stdout;
    assert!(text.contains("WGPU_BACKEND=vulcan") && !text.contains("install"), "{text}");
}

#[test]
fn the_device_may_come_from_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program();
    command.arg("compress").arg(own(EXAMPLE)).args(["--quantize", "int8", "-o"]);
    command.arg(folder.path().join("out")).env("TENSORPRESS_DEVICE", "gpu:no-such-thing");
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(69), "{}", ran.stderr);
}

#[test]
fn completions_manual_and_version() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(["completions", shell]).succeeded().stdout;
        for word in ["tensorpress", "compress", "devices", "sparsity", "group-size"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let page = run(["man"]).succeeded().stdout;
    assert!(page.contains(".TH tensorpress 1") && page.contains("compress"), "{page}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    run(["man", "--output", path]).succeeded();
    let pages = names(folder.path());
    for page in ["tensorpress.1", "tensorpress-compress.1", "tensorpress-devices.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} in {pages:?}");
    }
    let page = fs::read_to_string(folder.path().join("tensorpress-compress.1")).expect("there");
    assert!(page.contains("group\\-size"), "{page}");
    let version = format!("tensorpress {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(["--version"]).succeeded().stdout, version);
    let help = run(["--help"]).succeeded();
    assert!(help.stdout.contains("Examples:") && help.stderr.is_empty(), "{}", help.stdout);
    let nothing = run::<&str>([]);
    assert_eq!(nothing.code, Some(2), "no command is a mistake");
}

/// Names in a file are anybody's words: nothing that a terminal would obey is printed.
#[test]
fn names_and_metadata_print_as_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let name = "a\u{1b}[2J\u{9b}1m\r\nerror: \u{202e}b.weight";
    let metadata = [("key\u{7}", "\u{1b}]0;x\u{7}\n")];
    write(&input, &metadata, &[weight(name, FloatType::F32, &[2, 12])]);
    let path = input.to_str().expect("UTF-8");
    let done = finish(&mut compress(&input, &out, "--threshold-ratio 1 --json")).succeeded();
    assert_eq!(done.json()["tensors"][0]["name"], name, "JSON has its own escapes");
    for ran in [
        run(["inspect", path]),
        finish(&mut compress(&input, &out, "--threshold-ratio 1 --force")),
        run(["compare", path, path, "--device", "cpu"]),
        finish(&mut compress(&input, &out, "--quantize int4 --group-size 8 --force")),
    ] {
        let text = ran.stdout + &ran.stderr;
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: \\u")), "{text}");
        assert!(text.contains("[2J"), "{text}");
    }
}

/// A tensor that is stored compressed has a name that nobody else may have.
#[test]
fn a_name_that_the_output_needs_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let mut tensors = small();
    tensors.push(tensor("fc1.weight_scale", DType::F32, &[1], &[0; 4]));
    fs::write(&input, file(&tensors)).expect("written");
    let ran = finish(&mut compress(&input, &out, "--quantize int8"));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    for word in ["\"fc1.weight_scale\"", "--exclude"] {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    finish(&mut compress(&input, &out, "--quantize int8 --exclude fc1")).succeeded();
    assert_same(find(&read(&out), "fc1.weight_scale"), &tensors[3]);
}
