//! Device time from timestamps.

use std::time::Duration;

use super::buffers::{Buffer, Role};
use super::context::Gpu;
use crate::error::Result;

/// Two timestamps around the dispatches.
pub(super) struct Clock {
    pub set: wgpu::QuerySet,
    pub resolved: wgpu::Buffer,
    pub ticks: Buffer,
}

impl Clock {
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let ticks = gpu.buffer(Role::Download, 16)?;
        gpu.scoped("creating a timer", || Self {
            set: gpu.inner.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timer"),
                size: 16,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            ticks,
        })
    }
}

/// Some drivers answer with zeros or run backwards; such readings are no measurement.
pub(super) fn elapsed(ticks: &[u8], period_ns: f32) -> Option<Duration> {
    let tick = |at: usize| u64::from_le_bytes(ticks[at..at + 8].try_into().expect("eight bytes"));
    let (begin, end) = (tick(0), tick(8));
    let ticks = end.checked_sub(begin).filter(|t| *t > 0 && begin > 0)?;
    Some(Duration::from_nanos((ticks as f64 * f64::from(period_ns)) as u64))
}
