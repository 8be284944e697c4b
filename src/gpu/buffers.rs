//! Device buffers, reused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::context::{Gpu, Inner, lock};
use crate::error::{DeviceError, Result};

/// What a buffer is for; pooled buffers are only reused for the same purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Bound to kernels.
    Storage,
    /// Written by the host; pooled while mapped for writing.
    Upload,
    /// Read by the host.
    Download,
}

impl Role {
    fn usage(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as U;
        match self {
            Self::Storage => U::STORAGE | U::COPY_SRC | U::COPY_DST,
            Self::Upload => U::MAP_WRITE | U::COPY_SRC,
            Self::Download => U::MAP_READ | U::COPY_DST,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

/// Idle buffers by role and size.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<(Role, u64), Vec<wgpu::Buffer>>>,
    idle_bytes: AtomicU64,
    allocated: AtomicU64,
}

/// Idle buffers above this are destroyed rather than kept.
const MAX_IDLE_BYTES: u64 = 256 << 20;

impl Pool {
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    fn take(&self, role: Role, capacity: u64) -> Option<wgpu::Buffer> {
        let buffer = lock(&self.idle).get_mut(&(role, capacity))?.pop()?;
        self.idle_bytes.fetch_sub(capacity, Ordering::Relaxed);
        Some(buffer)
    }

    fn put(&self, role: Role, buffer: wgpu::Buffer) {
        let capacity = buffer.size();
        if self.idle_bytes.load(Ordering::Relaxed) + capacity > MAX_IDLE_BYTES {
            self.forget(capacity);
            buffer.destroy();
            return;
        }
        self.idle_bytes.fetch_add(capacity, Ordering::Relaxed);
        lock(&self.idle).entry((role, capacity)).or_default().push(buffer);
    }

    fn forget(&self, capacity: u64) {
        self.allocated.fetch_sub(capacity, Ordering::Relaxed);
    }
}

/// A device buffer; dropping it gives it back to the pool once nothing recorded needs it.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) lease: Arc<Lease>,
    /// Where it begins in the lease: several small buffers may share one.
    pub(super) offset: u64,
    /// Bytes in use; a multiple of 16, so that kernels may view it as vectors.
    pub(super) size: u64,
}

impl Buffer {
    /// Bytes in use, a multiple of 16.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What a kernel sees of it.
    pub(super) fn binding(&self) -> wgpu::BufferBinding<'_> {
        let size = std::num::NonZeroU64::new(self.size);
        wgpu::BufferBinding { buffer: self.lease.raw(), offset: self.offset, size }
    }

    /// A part of it.
    pub(super) fn part(&self, offset: u64, size: u64) -> Self {
        Self { lease: Arc::clone(&self.lease), offset: self.offset + offset, size }
    }
}

/// A buffer out of the pool.
#[derive(Debug)]
pub(super) struct Lease {
    buffer: Option<wgpu::Buffer>,
    role: Role,
    owner: Arc<Inner>,
    /// Set where the buffer must not be reused: its mapping did not succeed.
    pub spoiled: std::sync::atomic::AtomicBool,
}

impl Lease {
    pub fn raw(&self) -> &wgpu::Buffer {
        self.buffer.as_ref().expect("present until drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let buffer = self.buffer.take().expect("present until drop");
        if *self.spoiled.get_mut() {
            self.owner.pool.forget(buffer.size());
            buffer.destroy();
        } else {
            self.owner.pool.put(self.role, buffer);
        }
    }
}

impl Gpu {
    /// A buffer of at least `bytes`; its content is arbitrary.
    pub(super) fn buffer(&self, role: Role, bytes: u64) -> Result<Buffer> {
        let size = bytes.max(16).next_multiple_of(16);
        let limit = self.max_buffer_bytes();
        if size > limit {
            return Err(DeviceError::Limit {
                adapter: self.inner.label.clone(),
                what: "a buffer",
                needed: size,
                limit,
            }
            .into());
        }
        // Eight sizes an octave: reuse is likely and at most an eighth is wasted.
        let step = (size.next_power_of_two() / 16).max(256);
        let capacity = size.next_multiple_of(step).min(self.inner.limits.max_buffer_size & !15);
        let buffer = match self.inner.pool.take(role, capacity) {
            Some(buffer) => buffer,
            None => {
                let made = self.scoped("allocating a buffer", || {
                    self.inner.device.create_buffer(&wgpu::BufferDescriptor {
                        label: Some(role.label()),
                        size: capacity,
                        usage: role.usage(),
                        mapped_at_creation: role == Role::Upload,
                    })
                })?;
                self.inner.pool.allocated.fetch_add(capacity, Ordering::Relaxed);
                made
            }
        };
        let lease = Lease {
            buffer: Some(buffer),
            role,
            owner: Arc::clone(&self.inner),
            spoiled: false.into(),
        };
        Ok(Buffer { lease: Arc::new(lease), offset: 0, size })
    }
}
