//! Waiting for submitted work and reading its results.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_intrusive::channel::shared::OneshotReceiver;

use super::buffers::Buffer;
use super::context::Gpu;
use super::recorder::Command;
use super::timing::{Clock, elapsed};
use crate::error::{DeviceError, Result};

/// How long one submit may take before the device counts as hung.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) type Mapping = OneshotReceiver<Result<(), wgpu::BufferAsyncError>>;

/// Submitted work.
pub struct Pending {
    pub(super) gpu: Gpu,
    pub(super) submission: wgpu::SubmissionIndex,
    pub(super) uploads: Vec<(Buffer, Mapping)>,
    pub(super) downloads: Vec<((Buffer, usize), Mapping)>,
    pub(super) clock: Option<(Clock, Mapping)>,
    /// Keeps the buffers out of the pool until the device is done with them.
    pub(super) _commands: Vec<Command>,
}

/// What a submit gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The downloads, in the order they were asked for.
    pub downloads: Vec<Vec<u8>>,
    /// Device time of the dispatches, where it was asked for and the adapter measures it.
    pub device_time: Option<Duration>,
}

impl Pending {
    /// Blocks until the work is done.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] where the device is lost or hangs.
    pub fn wait(self) -> Result<Outcome> {
        pollster::block_on(self.receive())
    }

    /// [`Pending::wait`] for async callers; on native platforms it polls the device itself.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub async fn receive(self) -> Result<Outcome> {
        let Self { gpu, submission, uploads, downloads, clock, _commands } = self;
        gpu.inner
            .device
            .poll(wgpu::PollType::Wait {
                submission_index: Some(submission),
                timeout: Some(PATIENCE),
            })
            .map_err(|e| gpu.lost(&e.to_string()))?;
        gpu.check()?;
        for (buffer, mapping) in uploads {
            settle(&gpu, mapping).await?;
            buffer.lease.spoiled.store(false, Ordering::Relaxed);
        }
        let mut outcome = Outcome::default();
        for ((buffer, bytes), mapping) in downloads {
            settle(&gpu, mapping).await?;
            outcome.downloads.push(read(&gpu, &buffer, bytes)?);
            buffer.lease.spoiled.store(false, Ordering::Relaxed);
        }
        if let Some((clock, mapping)) = clock {
            settle(&gpu, mapping).await?;
            let ticks = read(&gpu, &clock.ticks, 16)?;
            clock.ticks.lease.spoiled.store(false, Ordering::Relaxed);
            outcome.device_time = elapsed(&ticks, gpu.inner.queue.get_timestamp_period());
            let nanos = outcome.device_time.map_or(0, |time| time.as_nanos() as u64);
            gpu.inner.device_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
        Ok(outcome)
    }
}

async fn settle(gpu: &Gpu, mapping: Mapping) -> Result<()> {
    match mapping.receive().await {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(gpu.lost(&error.to_string())),
        None => Err(gpu.lost("a mapping was dropped")),
    }
}

fn read(gpu: &Gpu, buffer: &Buffer, bytes: usize) -> Result<Vec<u8>> {
    let raw = buffer.lease.raw();
    let data = match raw.get_mapped_range(..buffer.size) {
        Ok(view) => view[..bytes].to_vec(),
        Err(error) => return Err(gpu.lost(&error.to_string())),
    };
    raw.unmap();
    Ok(data)
}

impl Gpu {
    /// The error of a device that no longer answers, with the driver's reason where it gave one.
    pub(super) fn lost(&self, reason: &str) -> crate::Error {
        match self.check() {
            Err(error) => error,
            Ok(()) => {
                DeviceError::Lost { adapter: self.label().to_owned(), reason: reason.to_owned() }
                    .into()
            }
        }
    }
}
