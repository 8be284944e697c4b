//! An open device: limits, captured errors, loss, and what is shared between recordings.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::adapter::{self, DeviceChoice};
use super::buffers::Pool;
use super::pipeline::Pipeline;
use super::recorder::Recorder;
use super::tuning::{Choices, Identity};
use crate::error::{DeviceError, Result};

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Shaders check bounds and loops. Slower; for tests and for suspected driver faults.
    pub checked: bool,
    /// Ask for WebGPU's default limits and no optional feature, whatever the adapter has.
    pub portable_limits: bool,
    /// Moves the estimates of kernels that settle rounding exactly by so many ULP. Results must
    /// not change; tests prove it.
    pub perturb_ulp: i32,
    /// Measure the device time of every submit, where the adapter can; see
    /// [`Gpu::take_device_time`].
    pub timed: bool,
}

/// An open GPU. Cheap to clone; usable from several threads.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(super) inner: Arc<Inner>,
    pub(super) choices: Option<Arc<Choices>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub label: String,
    pub identity: Identity,
    pub software: bool,
    pub options: GpuOptions,
    pub limits: wgpu::Limits,
    pub pool: Pool,
    pub pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    pub faults: Arc<Mutex<Faults>>,
    pub device_nanos: AtomicU64,
    pub submits: AtomicU64,
    pub read_bytes: AtomicU64,
}

/// What the driver said outside of any error scope.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub lost: Option<String>,
    pub uncaptured: Option<String>,
}

/// A poisoned lock only means that another thread panicked; the data is still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter that `choice` means; `None` where that is the CPU backend.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`] with what there is, [`DeviceError::Open`] where the driver
    /// refuses.
    pub fn open(choice: &DeviceChoice, options: GpuOptions) -> Result<Option<Self>> {
        pollster::block_on(Self::open_async(choice, options))
    }

    /// [`Gpu::open`] for async callers.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub async fn open_async(choice: &DeviceChoice, options: GpuOptions) -> Result<Option<Self>> {
        let Some(adapter) = adapter::choose(choice).await? else { return Ok(None) };
        let info = adapter.get_info();
        let (features, limits) = if options.portable_limits {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            (adapter.features() & wgpu::Features::TIMESTAMP_QUERY, adapter.limits())
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("tensorpress"),
                required_features: features,
                required_limits: limits.clone(),
                experimental_features: wgpu::ExperimentalFeatures::disabled(),
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                trace: wgpu::Trace::Off,
            })
            .await
            .map_err(|e| DeviceError::Open {
                adapter: adapter::label(&info),
                reason: e.to_string(),
            })?;

        let faults = Arc::new(Mutex::new(Faults::default()));
        let uncaptured = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("GPU: {error}");
            lock(&uncaptured).uncaptured.get_or_insert(error.to_string());
        }));
        let lost = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            lock(&lost).lost.get_or_insert(format!("{reason:?}: {message}"));
        });
        let software = adapter::is_software(&info);
        if software {
            log::info!(
                "{} runs on the CPU: right, but far slower than --device cpu",
                adapter::label(&info)
            );
        }
        let inner = Inner {
            label: adapter::label(&info),
            identity: Identity::new(&info),
            pool: Pool::default(),
            pipelines: Mutex::default(),
            device,
            queue,
            software,
            options,
            limits,
            faults,
            device_nanos: AtomicU64::new(0),
            submits: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
        };
        Ok(Some(Self { inner: Arc::new(inner), choices: None }))
    }

    /// Adapter, backend and driver.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// Whether the adapter is emulated on the CPU.
    pub fn is_software(&self) -> bool {
        self.inner.software
    }

    /// How it was opened.
    pub fn options(&self) -> GpuOptions {
        self.inner.options
    }

    /// Whether dispatches can be timed on the device.
    pub fn has_timestamps(&self) -> bool {
        self.inner.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Device time of the dispatches since the last call; `None` where nothing was measured:
    /// the device was not opened with [`GpuOptions::timed`], or it has no usable timestamps.
    pub fn take_device_time(&self) -> Option<Duration> {
        let nanos = self.inner.device_nanos.swap(0, Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Bytes that one buffer may hold: the binding limit, and at most 1 GiB.
    pub fn max_buffer_bytes(&self) -> u64 {
        self.inner
            .limits
            .max_storage_buffer_binding_size
            .min(self.inner.limits.max_buffer_size)
            .min(1 << 30)
    }

    /// Fails where workgroups of so many invocations, in one dimension, or with so much workgroup
    /// memory are more than the device has. wgpu does not check sizes that `override` constants
    /// give.
    ///
    /// # Errors
    /// [`DeviceError::Limit`].
    pub fn allows(&self, invocations: u32, workgroup_bytes: u32) -> Result<()> {
        let limits = &self.inner.limits;
        let most =
            limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
        let bytes = limits.max_compute_workgroup_storage_size;
        let checks = [
            ("a workgroup in invocations", invocations, most),
            ("workgroup memory", workgroup_bytes, bytes),
        ];
        match checks.into_iter().find(|(_, needed, limit)| needed > limit) {
            None => Ok(()),
            Some((what, needed, limit)) => Err(DeviceError::Limit {
                adapter: self.inner.label.clone(),
                what,
                needed: needed.into(),
                limit: limit.into(),
            }
            .into()),
        }
    }

    /// Pipelines that exist so far, by key.
    pub fn pipeline_keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = lock(&self.inner.pipelines).keys().cloned().collect();
        keys.sort();
        keys
    }

    /// Bytes of buffers alive, in use or pooled.
    pub fn allocated_bytes(&self) -> u64 {
        self.inner.pool.allocated_bytes()
    }

    /// Submits so far.
    pub fn submits(&self) -> u64 {
        self.inner.submits.load(Ordering::Relaxed)
    }

    /// Bytes that submits so far read back.
    pub fn read_bytes(&self) -> u64 {
        self.inner.read_bytes.load(Ordering::Relaxed)
    }

    /// A new, empty recording.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.clone())
    }

    /// Makes the device unusable, as a driver reset would. For tests of that case.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.inner.device.destroy();
    }

    /// Fails where the device is lost or reported an error outside of any scope.
    pub(super) fn check(&self) -> Result<()> {
        let faults = lock(&self.inner.faults);
        if let Some(reason) = &faults.lost {
            return Err(DeviceError::Lost {
                adapter: self.inner.label.clone(),
                reason: reason.clone(),
            }
            .into());
        }
        if let Some(reason) = &faults.uncaptured {
            return Err(DeviceError::Validation {
                adapter: self.inner.label.clone(),
                doing: "a command".into(),
                reason: reason.clone(),
            }
            .into());
        }
        Ok(())
    }

    /// Runs `work` inside error scopes: what the driver objects to becomes an [`crate::Error`].
    pub(super) fn scoped<T>(&self, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
        let device = &self.inner.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        let (validation, internal, memory) = (validation.pop(), internal.pop(), memory.pop());
        let error = pollster::block_on(async {
            let (v, i, m) = (validation.await, internal.await, memory.await);
            m.or(v).or(i)
        });
        // A lost device makes later calls fail to validate; the loss is the cause to report.
        self.check()?;
        let adapter = self.inner.label.clone();
        let doing = doing.to_owned();
        match error {
            None => Ok(value),
            Some(error @ wgpu::Error::OutOfMemory { .. }) => {
                Err(DeviceError::OutOfMemory { adapter, doing, reason: error.to_string() }.into())
            }
            Some(error) => {
                Err(DeviceError::Validation { adapter, doing, reason: error.to_string() }.into())
            }
        }
    }
}
