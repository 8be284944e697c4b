//! Every case of the table on the CPU and on a GPU: the same bytes, checked and trusted, with the
//! adapter's limits and with WebGPU's, and with every estimate perturbed.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::ops::{Backend, Operation, Output, TABLE};

/// One device an option set, shared by all tests. Fails where no adapter is found.
fn gpu(options: GpuOptions) -> Backend {
    static OPEN: OnceLock<Mutex<HashMap<String, Backend>>> = OnceLock::new();
    let mut open = OPEN.get_or_init(Mutex::default).lock().expect("no panic while opening");
    open.entry(format!("{options:?}"))
        .or_insert_with(|| {
            Backend::open(&DeviceChoice::Gpu, options)
                .expect("a Vulkan, Metal or DX12 adapter; scripts/test installs a software one")
        })
        .clone()
}

/// The reference's results, computed once.
fn reference(operation: &'static Operation) -> &'static [(String, Output)] {
    type Results = HashMap<&'static str, &'static [(String, Output)]>;
    static DONE: OnceLock<Mutex<Results>> = OnceLock::new();
    let mut done = DONE.get_or_init(Mutex::default).lock().expect("no panic in a reference");
    done.entry(operation.stem).or_insert_with(|| {
        let results = (operation.cases)()
            .into_iter()
            .map(|case| (case.name, (case.run)(&Backend::Cpu).expect("the reference runs")))
            .collect::<Vec<_>>();
        Box::leak(results.into_boxed_slice())
    })
}

fn difference(got: &Output, expected: &Output) -> Option<String> {
    if got.parts.len() != expected.parts.len() {
        return Some("another number of parts".into());
    }
    for ((name, got), (_, expected)) in got.parts.iter().zip(&expected.parts) {
        if got.len() != expected.len() {
            return Some(format!("{name}: {} bytes, expected {}", got.len(), expected.len()));
        }
        if let Some(at) = (0..got.len()).find(|i| got[*i] != expected[*i]) {
            let word = at & !3;
            let end = (word + 4).min(got.len());
            return Some(format!(
                "{name}: byte {at} differs: {:02x?}, expected {:02x?}",
                &got[word..end],
                &expected[word..end]
            ));
        }
    }
    None
}

fn compare_all(options: GpuOptions) {
    let backend = gpu(options);
    let mut failures = vec![];
    let mut compared = 0;
    for operation in TABLE {
        for (case, (name, expected)) in (operation.cases)().iter().zip(reference(operation)) {
            assert_eq!(&case.name, name);
            let got = (case.run)(&backend).unwrap_or_else(|e| panic!("{}: {e}", operation.stem));
            if let Some(what) = difference(&got, expected) {
                failures.push(format!("{} {name}: {what}", operation.stem));
            }
            compared += 1;
        }
    }
    assert!(compared > 1000, "the table lost its cases: {compared}");
    assert!(
        failures.is_empty(),
        "{} of {compared} cases differ on {}:\n{}",
        failures.len(),
        backend.name(),
        failures[..failures.len().min(20)].join("\n")
    );
}

#[test]
fn trusted_shaders_agree() {
    compare_all(GpuOptions::default());
}

#[test]
fn checked_shaders_agree() {
    compare_all(GpuOptions { checked: true, ..GpuOptions::default() });
}

#[test]
fn webgpu_default_limits_suffice() {
    compare_all(GpuOptions { portable_limits: true, ..GpuOptions::default() });
}

#[test]
fn estimates_may_err_by_four_ulp() {
    for perturb_ulp in [-4, 4] {
        compare_all(GpuOptions { perturb_ulp, ..GpuOptions::default() });
    }
}
