//! Every case of the table on the CPU and on a GPU: the same bytes, or floats within their bound of
//! the `f64` reference; checked and trusted, with the adapter's limits and with WebGPU's, and with
//! every estimate perturbed.

mod activation;
mod bitmask;
mod bitmask_codes;
mod comparator;
mod dense;
mod dense_grad;
mod dense_masked;
mod dense_packed;
mod dequantize;
mod fake_quantize;
mod gather;
mod histogram;
mod loss;
mod optimizer;
mod pack;
mod prune;
mod prune_exact;
mod prune_nm;
mod quant_params;
mod quantize;
mod slab;
mod softmax;
mod stats;
mod top_k;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::ops::{Backend, Bound, Expected, Operation, TABLE};

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

/// What every case must give, computed once.
fn expected(operation: &'static Operation) -> &'static [(String, Expected)] {
    type Results = HashMap<&'static str, &'static [(String, Expected)]>;
    static DONE: OnceLock<Mutex<Results>> = OnceLock::new();
    let mut done = DONE.get_or_init(Mutex::default).lock().expect("no panic in a reference");
    done.entry(operation.stem).or_insert_with(|| {
        let results = (operation.cases)()
            .into_iter()
            .map(|case| {
                let expected = case.expected().expect("the reference runs");
                (case.name, expected)
            })
            .collect::<Vec<_>>();
        Box::leak(results.into_boxed_slice())
    })
}

/// The CPU and a GPU.
fn both() -> [Backend; 2] {
    [Backend::Cpu, gpu(GpuOptions::default())]
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f32_values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn compare_all(options: GpuOptions) {
    let backend = gpu(options);
    let mut failures = vec![];
    let mut compared = 0;
    for operation in TABLE {
        for (case, (name, expected)) in (operation.cases)().iter().zip(expected(operation)) {
            assert_eq!(&case.name, name);
            let got = (case.run)(&backend).unwrap_or_else(|e| panic!("{}: {e}", operation.stem));
            if let Some(what) = expected.difference(&got) {
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
fn the_cpu_keeps_to_its_bounds() {
    for operation in TABLE {
        for (name, expected) in expected(operation) {
            let float = operation.bound == Bound::Float;
            assert_eq!(float, !expected.references.is_empty(), "{} {name}", operation.stem);
            assert_eq!(expected.difference(&expected.output), None, "{} {name}", operation.stem);
        }
    }
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

#[test]
fn every_stem_has_its_four_files() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stems: Vec<_> = TABLE.iter().map(|operation| operation.stem.to_owned()).collect();
    for stem in &stems {
        for file in [
            format!("shaders/{stem}.wgsl"),
            format!("src/cpu/{stem}.rs"),
            format!("src/ops/{stem}.rs"),
            format!("tests/operations/{stem}.rs"),
        ] {
            assert!(root.join(&file).is_file(), "{file} is missing");
        }
    }
    let mut shaders: Vec<_> = tensorpress::gpu::sources()
        .iter()
        .filter_map(|(path, _)| path.strip_suffix(".wgsl").filter(|stem| !stem.contains('/')))
        .map(str::to_owned)
        .collect();
    stems.sort();
    shaders.sort();
    assert_eq!(stems, shaders, "every shader is in the table");
}
