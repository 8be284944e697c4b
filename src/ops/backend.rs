use crate::error::Result;
use crate::gpu::{DeviceChoice, Gpu, GpuOptions};

/// Where operations run.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The CPU, through the reference of each operation.
    Cpu,
    /// A GPU, or a software adapter, through wgpu.
    Gpu(Gpu),
}

impl Backend {
    /// Opens what `choice` means.
    ///
    /// # Errors
    /// A [`crate::error::DeviceError`] for an unknown device, or one whose driver refuses.
    pub fn open(choice: &DeviceChoice, options: GpuOptions) -> Result<Self> {
        Ok(Gpu::open(choice, options)?.map_or(Self::Cpu, Self::Gpu))
    }

    /// "CPU" or the adapter with backend and driver.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu(gpu) => gpu.label(),
        }
    }
}
