//! Work as data: uploads, dispatches and downloads, recorded, then submitted at once.

use std::sync::atomic::Ordering;

use futures_intrusive::channel::shared::oneshot_channel;

use super::buffers::{Buffer, Role};
use super::context::Gpu;
use super::grid::Grid;
use super::pipeline::{Kernel, Pipeline};
use super::readback::{Outcome, Pending};
use super::timing::Clock;
use crate::error::{DeviceError, Result};
use std::sync::Arc;

pub(super) enum Command {
    Copy { source: Buffer, target: Buffer, bytes: u64 },
    Clear(Buffer),
    Dispatch { pipeline: Arc<Pipeline>, bindings: Vec<(u32, Buffer)>, grid: Grid },
}

/// Collects commands; [`Recorder::submit`] runs them in order.
pub struct Recorder {
    gpu: Gpu,
    commands: Vec<Command>,
    uploads: Vec<Buffer>,
    parameters: Vec<Parameters>,
    downloads: Vec<(Buffer, usize)>,
    timed: bool,
}

/// Parameters of many dispatches in one buffer. They are known before anything runs, so they are
/// copied first, and no copy lies between two dispatches.
struct Parameters {
    target: Buffer,
    data: Vec<u8>,
}

/// Bytes of one such buffer: some dozens of dispatches, wherever parameters must be aligned.
const PARAMETER_BYTES: usize = 16 << 10;

impl Recorder {
    pub(super) fn new(gpu: Gpu) -> Self {
        let timed = gpu.inner.options.timed && gpu.has_timestamps();
        let (commands, uploads, parameters, downloads) = (vec![], vec![], vec![], vec![]);
        Self { gpu, commands, uploads, parameters, downloads, timed }
    }

    /// The device that it is for.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Measures the device time from the first dispatch to the last, where the adapter can.
    pub fn timed(&mut self) {
        self.timed = self.gpu.has_timestamps();
    }

    /// A buffer on the device of at least `bytes`, content arbitrary.
    ///
    /// # Errors
    /// [`DeviceError::Limit`] or [`DeviceError::OutOfMemory`].
    pub fn storage(&mut self, bytes: u64) -> Result<Buffer> {
        self.gpu.buffer(Role::Storage, bytes)
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// As [`Recorder::storage`].
    pub fn zeros(&mut self, bytes: u64) -> Result<Buffer> {
        let buffer = self.storage(bytes)?;
        self.commands.push(Command::Clear(buffer.clone()));
        Ok(buffer)
    }

    /// A buffer that holds `bytes`, zero padded to a multiple of 16.
    ///
    /// # Errors
    /// As [`Recorder::storage`].
    pub fn upload(&mut self, bytes: &[u8]) -> Result<Buffer> {
        let target = self.storage(bytes.len() as u64)?;
        let copy = self.stage(bytes, target.clone())?;
        self.commands.push(copy);
        Ok(target)
    }

    /// The copy that brings `bytes` to `target`.
    fn stage(&mut self, bytes: &[u8], target: Buffer) -> Result<Command> {
        let source = self.gpu.buffer(Role::Upload, bytes.len() as u64)?;
        self.gpu.scoped("uploading", || {
            let whole = bytes.len() & !15;
            let mut tail = [0_u8; 16];
            tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            // The pool keeps upload buffers mapped; only a lost device unmaps one.
            if let Ok(mut view) = source.lease.raw().get_mapped_range_mut(..source.size) {
                view.slice(..whole).copy_from_slice(&bytes[..whole]);
                if source.size as usize > whole {
                    view.slice(whole..whole + 16).copy_from_slice(&tail);
                }
            } else {
                source.lease.spoiled.store(true, Ordering::Relaxed);
            }
        })?;
        if source.lease.spoiled.load(Ordering::Relaxed) {
            return Err(self.gpu.lost("an upload buffer is not mapped"));
        }
        let bytes = source.size;
        self.uploads.push(source.clone());
        Ok(Command::Copy { source, target, bytes })
    }

    /// Runs `kernel` on `bindings` (binding 0, 1, …; `params` goes last) for `items` pieces of
    /// work at `per_workgroup` each. Nothing is recorded for no items.
    ///
    /// # Errors
    /// A [`DeviceError`] where the pipeline cannot be made or the grid is too large.
    pub fn dispatch(
        &mut self,
        kernel: &Kernel<'_>,
        bindings: &[&Buffer],
        params: &[(&'static str, u32)],
        items: u64,
        per_workgroup: u64,
    ) -> Result<()> {
        let mut all: Vec<(u32, &Buffer)> = (0..).zip(bindings.iter().copied()).collect();
        let params = self.params(kernel, params)?;
        all.push((all.len() as u32, &params));
        self.dispatch_at(kernel, &all, items, per_workgroup)
    }

    /// A buffer with the parameters of `kernel`: the fields of its `Params` struct, in order.
    ///
    /// # Errors
    /// As [`Recorder::storage`].
    ///
    /// # Panics
    /// In debug builds, where the names are not those of the shader.
    pub fn params(
        &mut self,
        kernel: &Kernel<'_>,
        params: &[(&'static str, u32)],
    ) -> Result<Buffer> {
        #[cfg(debug_assertions)]
        {
            let names: Vec<_> = params.iter().map(|p| p.0.to_owned()).collect();
            assert_eq!(kernel.param_names(), names, "Params of {}", kernel.file);
        }
        let _ = kernel;
        let bytes = (params.len() * 4).max(1).next_multiple_of(16);
        let alignment = self.gpu.inner.limits.min_storage_buffer_offset_alignment.max(16) as usize;
        let room = |at: &Parameters| {
            at.data.len().next_multiple_of(alignment) + bytes <= at.target.size as usize
        };
        if !self.parameters.last().is_some_and(room) {
            let target = self.storage(PARAMETER_BYTES.max(bytes) as u64)?;
            self.parameters.push(Parameters { target, data: vec![] });
        }
        let Parameters { target, data } = self.parameters.last_mut().expect("just pushed");
        let offset = data.len().next_multiple_of(alignment);
        data.resize(offset, 0);
        data.extend(params.iter().flat_map(|(_, value)| value.to_le_bytes()));
        data.resize(offset + bytes, 0);
        Ok(target.part(offset as u64, bytes as u64))
    }

    /// [`Recorder::dispatch`] without parameters and with explicit binding numbers, which must
    /// be those that the entry point uses.
    ///
    /// # Errors
    /// As [`Recorder::dispatch`].
    pub fn dispatch_at(
        &mut self,
        kernel: &Kernel<'_>,
        bindings: &[(u32, &Buffer)],
        items: u64,
        per_workgroup: u64,
    ) -> Result<()> {
        if items == 0 {
            return Ok(());
        }
        let grid = Grid::cover(items, per_workgroup).ok_or_else(|| DeviceError::Limit {
            adapter: self.gpu.label().to_owned(),
            what: "a dispatch in workgroups",
            needed: items.div_ceil(per_workgroup),
            limit: 65_535 * 65_535,
        })?;
        let pipeline = self.gpu.pipeline(kernel)?;
        let bindings = bindings.iter().map(|(number, buffer)| (*number, (*buffer).clone()));
        self.commands.push(Command::Dispatch { pipeline, bindings: bindings.collect(), grid });
        Ok(())
    }

    /// Asks for the first `bytes` of `source` as they are at this point; [`Pending::wait`] gives
    /// the downloads in the order of these calls.
    ///
    /// # Errors
    /// As [`Recorder::storage`].
    pub fn download(&mut self, source: &Buffer, bytes: usize) -> Result<()> {
        let target = self.gpu.buffer(Role::Download, bytes as u64)?;
        self.commands.push(Command::Copy {
            source: source.clone(),
            target: target.clone(),
            bytes: (bytes as u64).next_multiple_of(4),
        });
        self.downloads.push((target, bytes));
        Ok(())
    }

    /// Submits everything at once.
    ///
    /// # Errors
    /// A [`DeviceError`] where the driver refuses or the device is lost.
    pub fn submit(mut self) -> Result<Pending> {
        self.gpu.check()?;
        for Parameters { target, data } in std::mem::take(&mut self.parameters).into_iter().rev() {
            let copy = self.stage(&data, target)?;
            self.commands.insert(0, copy);
        }
        let Self { gpu, commands, uploads, downloads, timed, .. } = self;
        let clock = timed.then(|| Clock::new(&gpu)).transpose()?;
        // Until a mapping is known to have succeeded its buffer must not be reused.
        let lent = uploads.iter().chain(downloads.iter().map(|(buffer, _)| buffer));
        for buffer in lent.chain(clock.iter().map(|clock| &clock.ticks)) {
            buffer.lease.spoiled.store(true, Ordering::Relaxed);
        }
        let submission = gpu.scoped("submitting", || {
            for upload in &uploads {
                upload.lease.raw().unmap();
            }
            let encoder = encode(&gpu, &commands, clock.as_ref());
            gpu.inner.queue.submit([encoder.finish()])
        })?;
        let read: usize = downloads.iter().map(|(_, bytes)| bytes).sum();
        gpu.inner.submits.fetch_add(1, Ordering::Relaxed);
        gpu.inner.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        // Mapping is asked for at once, so that one poll serves all of it. Upload buffers are
        // mapped again before they go back to the pool.
        let mapped = |buffer: &Buffer, mode| {
            let (sender, receiver) = oneshot_channel();
            buffer.lease.raw().map_async(mode, .., move |result| {
                let _ = sender.send(result);
            });
            receiver
        };
        let (up, down, ticks) = gpu.scoped("mapping", || {
            let up: Vec<_> = uploads.iter().map(|b| mapped(b, wgpu::MapMode::Write)).collect();
            let down: Vec<_> =
                downloads.iter().map(|(b, _)| mapped(b, wgpu::MapMode::Read)).collect();
            let ticks = clock.as_ref().map(|c| mapped(&c.ticks, wgpu::MapMode::Read));
            (up, down, ticks)
        })?;
        Ok(Pending {
            gpu,
            submission,
            uploads: uploads.into_iter().zip(up).collect(),
            downloads: downloads.into_iter().zip(down).collect(),
            clock: clock.zip(ticks),
            _commands: commands,
        })
    }

    /// [`Recorder::submit`] and [`Pending::wait`].
    ///
    /// # Errors
    /// As those.
    pub fn run(self) -> Result<Outcome> {
        self.submit()?.wait()
    }
}

fn encode(gpu: &Gpu, commands: &[Command], clock: Option<&Clock>) -> wgpu::CommandEncoder {
    let device = &gpu.inner.device;
    let mut encoder = device.create_command_encoder(&Default::default());
    let dispatches = |c: &Command| matches!(c, Command::Dispatch { .. });
    let first = commands.iter().position(dispatches);
    let last = commands.iter().rposition(dispatches);
    let mut at = 0;
    while at < commands.len() {
        match &commands[at] {
            Command::Copy { source, target, bytes } => {
                encoder.copy_buffer_to_buffer(
                    source.lease.raw(),
                    source.offset,
                    target.lease.raw(),
                    target.offset,
                    Some(*bytes),
                );
                at += 1;
            }
            Command::Clear(buffer) => {
                encoder.clear_buffer(buffer.lease.raw(), buffer.offset, Some(buffer.size));
                at += 1;
            }
            Command::Dispatch { .. } => {
                let end = at + commands[at..].iter().take_while(|c| dispatches(c)).count();
                let timestamps = clock.map(|clock| wgpu::ComputePassTimestampWrites {
                    query_set: &clock.set,
                    beginning_of_pass_write_index: (first == Some(at)).then_some(0),
                    end_of_pass_write_index: (last == Some(end - 1)).then_some(1),
                });
                let timestamps = timestamps.filter(|t| {
                    t.beginning_of_pass_write_index.is_some() || t.end_of_pass_write_index.is_some()
                });
                encode_pass(device, &mut encoder, &commands[at..end], timestamps);
                at = end;
            }
        }
    }
    if let Some(clock) = clock {
        encoder.resolve_query_set(&clock.set, 0..2, &clock.resolved, 0);
        encoder.copy_buffer_to_buffer(&clock.resolved, 0, clock.ticks.lease.raw(), 0, Some(16));
    }
    encoder
}

/// Encodes `dispatches` as one compute pass.
fn encode_pass(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    dispatches: &[Command],
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
) {
    let mut pass =
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
    for command in dispatches {
        let Command::Dispatch { pipeline, bindings, grid } = command else { continue };
        let entries: Vec<_> = bindings
            .iter()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: wgpu::BindingResource::Buffer(buffer.binding()),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&pipeline.key),
            layout: &pipeline.layout,
            entries: &entries,
        });
        pass.set_pipeline(&pipeline.compute);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(grid.x, grid.y, 1);
    }
}
