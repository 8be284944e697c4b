//! Training steps made of operations: gradients against central differences, weights against Keras,
//! and the same bytes again.

#[path = "../common/files.rs"]
mod files;

mod chain;
mod determinism;
mod gradients;
mod keras;
mod run;

use std::sync::OnceLock;

use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::ops::Backend;

/// The CPU and a GPU, which all tests share. Fails where no adapter is found.
fn both() -> [Backend; 2] {
    static GPU: OnceLock<Backend> = OnceLock::new();
    let gpu = GPU.get_or_init(|| {
        Backend::open(&DeviceChoice::Gpu, GpuOptions::default())
            .expect("a Vulkan, Metal or DX12 adapter; scripts/test installs a software one")
    });
    [Backend::Cpu, gpu.clone()]
}
