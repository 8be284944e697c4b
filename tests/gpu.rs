//! The runtime: choice, limits, errors, loss, threads, reuse.

use std::process::{Command, Output};
use std::sync::OnceLock;

use tensorpress::error::{DeviceError, Error};
use tensorpress::gpu::{DeviceChoice, Gpu, GpuOptions, Kernel};
use tensorpress::ops::{Backend, prune, stats};
use tensorpress::scheme::Cut;
use tensorpress::tensor::FloatType;

fn open() -> Gpu {
    Gpu::open(&DeviceChoice::Gpu, GpuOptions::default())
        .expect("a Vulkan, Metal or DX12 adapter; scripts/test installs a software one")
        .expect("gpu is never the CPU backend")
}

fn shared() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(open)
}

const COPY: Kernel =
    Kernel { file: "roofline/copy.wgsl", entry: "copy", constants: &[], estimates: false };

#[test]
fn an_unknown_device_is_refused_with_the_list() {
    for choice in [
        DeviceChoice::Index(99),
        DeviceChoice::Name("no such gpu".into()),
        DeviceChoice::Name(String::new()),
    ] {
        let error = Gpu::open(&choice, GpuOptions::default()).expect_err("no such device");
        assert_eq!(error.exit_code(), 69);
        let text = error.to_string();
        assert!(text.contains(&choice.to_string()) && text.contains("gpu:0 "), "{text}");
    }
}

#[test]
fn a_part_of_the_name_finds_the_adapter() {
    let adapters = tensorpress::gpu::list();
    let part: String = adapters[0].info.name.chars().take(6).collect::<String>().to_uppercase();
    let gpu = Gpu::open(&DeviceChoice::Name(part), GpuOptions::default()).expect("opens");
    assert!(gpu.expect("a GPU").label().contains(&adapters[0].info.name));
}

#[test]
fn the_cpu_backend_opens_no_adapter() {
    assert!(Gpu::open(&DeviceChoice::Cpu, GpuOptions::default()).expect("always").is_none());
}

#[test]
fn a_buffer_over_the_limit_is_refused_before_it_is_allocated() {
    let options = GpuOptions { portable_limits: true, ..GpuOptions::default() };
    let gpu = Gpu::open(&DeviceChoice::Gpu, options).expect("opens").expect("a GPU");
    assert_eq!(gpu.max_buffer_bytes(), 128 << 20);
    let before = gpu.allocated_bytes();
    let error = gpu.recorder().storage((128 << 20) + 1).expect_err("too large");
    assert!(matches!(error, Error::Device(DeviceError::Limit { .. })), "{error}");
    assert_eq!(error.exit_code(), 69);
    assert_eq!(gpu.allocated_bytes(), before);
}

#[test]
fn a_lost_device_is_an_error_and_no_panic() {
    let gpu = open();
    let backend = Backend::Gpu(gpu.clone());
    let data = vec![0_u8; 4096];
    stats::segments(&backend, FloatType::F32, &data, 128).expect("works before");
    gpu.destroy();
    for _ in 0..2 {
        let error = stats::segments(&backend, FloatType::F32, &data, 128).expect_err("lost");
        assert!(matches!(error, Error::Device(DeviceError::Lost { .. })), "{error}");
        assert_eq!(error.exit_code(), 75);
    }
}

#[test]
fn work_lost_between_submit_and_wait_is_an_error() {
    let gpu = open();
    let mut recorder = gpu.recorder();
    let buffer = recorder.upload(&[7; 64]).expect("uploads");
    recorder.download(&buffer, 64).expect("records");
    let pending = recorder.submit().expect("submits");
    gpu.destroy();
    // The device may have finished before it went away; anything but an error or the data is wrong.
    match pending.wait() {
        Ok(outcome) => assert_eq!(outcome.downloads, [vec![7; 64]]),
        Err(error) => assert_eq!(error.exit_code(), 75, "{error}"),
    }
}

#[test]
fn commands_run_in_order_and_downloads_see_their_moment() {
    let gpu = shared();
    let mut recorder = gpu.recorder();
    let first = recorder.upload(&[1; 64]).expect("uploads");
    let second = recorder.upload(&[2; 64]).expect("uploads");
    let count = recorder.upload(bytemuck::cast_slice(&[4_u32])).expect("uploads");
    recorder.download(&second, 61).expect("records");
    let bindings = [(0, &first), (1, &second), (2, &count)];
    recorder.dispatch_at(&COPY, &bindings, 4, 1024).expect("records");
    recorder.download(&second, 64).expect("records");
    let cleared = recorder.zeros(64).expect("records");
    recorder.download(&cleared, 64).expect("records");
    let outcome = recorder.run().expect("runs");
    assert_eq!(outcome.downloads, [vec![2; 61], vec![1; 64], vec![0; 64]]);
}

#[test]
fn timestamps_are_plausible_where_the_adapter_has_them() {
    let gpu = shared();
    let mut recorder = gpu.recorder();
    recorder.timed();
    let bytes = 1 << 22;
    let first = recorder.storage(bytes).expect("allocates");
    let second = recorder.storage(bytes).expect("allocates");
    let vectors = (bytes / 16) as u32;
    let count = recorder.upload(bytemuck::cast_slice(&[vectors])).expect("uploads");
    let bindings = [(0, &first), (1, &second), (2, &count)];
    recorder.dispatch_at(&COPY, &bindings, vectors.into(), 1024).expect("records");
    let start = std::time::Instant::now();
    let outcome = recorder.run().expect("runs");
    match outcome.device_time {
        Some(time) => assert!(time <= start.elapsed(), "{time:?}"),
        None => println!("{} has no usable timestamps", gpu.label()),
    }
}

#[test]
fn threads_share_a_device() {
    let gpu = shared();
    let backend = Backend::Gpu(gpu.clone());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let backend = &backend;
            scope.spawn(move || {
                for round in 0..20_usize {
                    let value = f32::from(thread) + 1.0;
                    let data: Vec<u8> =
                        (0..1000 + round).flat_map(|_| value.to_le_bytes()).collect();
                    let found = stats::segments(backend, FloatType::F32, &data, 100).expect("runs");
                    assert!(found.iter().all(|s| s.min == value && s.max == value));
                }
            });
        }
    });
}

#[test]
fn one_pipeline_a_kernel_and_memory_that_does_not_grow() {
    let gpu = open();
    let backend = Backend::Gpu(gpu.clone());
    let mut data = vec![0x3f_u8; 1 << 20];
    let mut round = || {
        prune::apply(&backend, FloatType::F32, &mut data, Cut::above(0.5), 0).expect("runs");
        gpu.allocated_bytes()
    };
    let first = round();
    for _ in 0..10 {
        assert_eq!(round(), first, "buffers are reused");
    }
    assert_eq!(gpu.pipeline_keys(), ["prune/DTYPE=0"]);
}

#[test]
fn a_recording_that_is_never_submitted_leaves_nothing() {
    let gpu = open();
    let bytes = |gpu: &Gpu| {
        let mut recorder = gpu.recorder();
        recorder.upload(&[0; 5000]).expect("uploads");
        gpu.allocated_bytes()
    };
    let first = bytes(&gpu);
    assert_eq!(bytes(&gpu), first, "a mapped upload buffer goes back to the pool");
    let mut recorder = gpu.recorder();
    let buffer = recorder.upload(&[9; 5000]).expect("uploads");
    recorder.download(&buffer, 5000).expect("records");
    drop(recorder.submit().expect("submits"));
    let mut recorder = gpu.recorder();
    let buffer = recorder.upload(&[8; 5000]).expect("uploads after an abandoned submit");
    recorder.download(&buffer, 5000).expect("records");
    assert_eq!(recorder.run().expect("runs").downloads, [vec![8; 5000]]);
}

/// Runs this test binary again with other environment variables, for what a process decides once.
fn again(test: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture", "--ignored"])
        .envs(variables.iter().copied())
        .output()
        .expect("starts")
}

#[test]
#[ignore = "run by the_environment_is_honoured in another process"]
fn in_another_process() {
    let adapters = tensorpress::gpu::list();
    println!("adapters={}", adapters.len());
    match Gpu::open(&DeviceChoice::Auto, GpuOptions::default()) {
        Ok(None) => println!("auto=cpu"),
        Ok(Some(gpu)) => println!("auto={}", gpu.label()),
        Err(error) => println!("auto failed {}: {error}", error.exit_code()),
    }
}

#[test]
fn the_environment_is_honoured() {
    // A backend that no desktop has: nothing is found, and auto falls back to the CPU.
    let output = again("in_another_process", &[("WGPU_BACKEND", "webgpu")]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("adapters=0") && text.contains("auto=cpu"), "{text}");
    // Variables that are set to nothing ask for nothing.
    let empty = [("WGPU_BACKEND", ""), ("WGPU_ADAPTER_NAME", "")];
    let output = again("in_another_process", &empty);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("adapters=0"), "{text}");
    let output = again("in_another_process", &[("WGPU_ADAPTER_NAME", "no such adapter")]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("auto failed 69") && text.contains("no such adapter"), "{text}");
}
