//! The arguments that say where it is computed.

use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::{Common, output, progress};
use crate::compress::{Advance, Execution};
use crate::error::Result;
use crate::gpu::{self, DeviceChoice, GpuOptions};
use crate::ops::Backend;

#[derive(Clone, Debug, Args)]
pub(super) struct Device {
    /// auto, cpu, gpu, gpu:INDEX or gpu:NAME-PART; `tensorpress devices` lists what there is
    ///
    /// auto takes a hardware GPU if there is one and otherwise the CPU backend; gpu takes the
    /// best adapter, emulated ones included. The result is the same on all of them.
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "TENSORPRESS_DEVICE")]
    #[arg(help_heading = "Device")]
    device: DeviceChoice,
    /// Let shaders check bounds and loops: slower, for suspected driver faults
    #[arg(long, help_heading = "Device")]
    checked: bool,
}

/// The arguments of the commands that run networks.
#[derive(Clone, Debug, Args)]
pub(super) struct TunedDevice {
    #[command(flatten)]
    device: Device,
    /// Take the fixed choices of kernels: time none, and neither read nor write the cache
    ///
    /// By itself the kernels of a GPU are timed the first time that a class of layers comes, and
    /// what is fastest is kept in the user's cache folder; `tensorpress tune` does it ahead.
    #[arg(long, env = "TENSORPRESS_NO_TUNE", value_parser = FalseyValueParser::new())]
    #[arg(help_heading = "Device")]
    no_tune: bool,
}

impl TunedDevice {
    /// [`Device::open`], with kernels that are chosen by measurement.
    pub(super) fn open(&self, common: &Common) -> Result<Backend> {
        self.open_with(common, GpuOptions::default())
    }

    pub(super) fn open_with(&self, common: &Common, options: GpuOptions) -> Result<Backend> {
        Ok(match self.device.open_with(common, options)? {
            Backend::Gpu(gpu) if !self.no_tune => {
                Backend::Gpu(gpu.tuned(gpu::cache_folder().as_deref()))
            }
            backend => backend,
        })
    }
}

/// The arguments of the commands that work a whole model through.
#[derive(Clone, Debug, Args)]
pub(super) struct Work {
    #[command(flatten)]
    device: Device,
    /// Worker threads; the result does not depend on it
    #[arg(long, value_name = "N", help_heading = "Device")]
    threads: Option<NonZeroUsize>,
}

impl Work {
    /// Runs `work` with a progress bar.
    pub(super) fn run<T>(
        &self,
        common: &Common,
        work: impl FnOnce(&Execution<'_>) -> Result<T>,
    ) -> Result<T> {
        let backend = self.device.open(common)?;
        with_progress(common, &backend, self.threads, work)
    }
}

/// Runs `work` on `backend` with a progress bar.
pub(super) fn with_progress<T>(
    common: &Common,
    backend: &Backend,
    threads: Option<NonZeroUsize>,
    work: impl FnOnce(&Execution<'_>) -> Result<T>,
) -> Result<T> {
    let bar = progress::bar(common);
    let advance = |step| match step {
        Advance::Begin { bytes } => bar.set_length(bytes),
        Advance::Read { bytes } => bar.inc(bytes),
    };
    let result = work(&Execution { backend, threads, progress: &advance });
    bar.finish_and_clear();
    result
}

impl Device {
    /// Opens the device and tells what a user who did not ask for it should know.
    pub(super) fn open(&self, common: &Common) -> Result<Backend> {
        self.open_with(common, GpuOptions::default())
    }

    pub(super) fn open_with(&self, common: &Common, options: GpuOptions) -> Result<Backend> {
        let choice = &self.device;
        let backend = Backend::open(choice, GpuOptions { checked: self.checked, ..options })?;
        match &backend {
            Backend::Cpu if *choice == DeviceChoice::Auto => {
                output::note(common, "no hardware GPU found; using the CPU backend");
            }
            Backend::Gpu(gpu) if gpu.is_software() => {
                let text =
                    format!("{} is emulated on the CPU; --device cpu is faster", gpu.label());
                output::warn(common, &text);
            }
            _ => {}
        }
        Ok(backend)
    }
}
