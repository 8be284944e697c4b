//! Measuring devices and operations: the roofline first, then every operation against it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::{Backend, Case, Operation, Work};
use crate::cpu::peak::multiply_adds;
use crate::cpu::simd::Level;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Kernel};

/// What a device can do at most, measured.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Bytes read plus bytes written a second by a copy, in 10⁹.
    pub copy_gb_s: f64,
    /// Single-precision multiply-adds a second, two operations each, in 10⁹.
    pub gflop_s: f64,
    /// How it was timed.
    pub clock: Clock,
}

/// Which clock a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Timestamps that the device wrote around its dispatches.
    Device,
    /// The host's clock, with submission and waiting in it.
    Wall,
}

/// One operation on one device.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Stem of the operation.
    pub stem: &'static str,
    /// Median time of one run.
    pub time: Duration,
    /// The least that the operation must do.
    pub work: Work,
    /// The bytes of that work a second, in 10⁹.
    pub gb_s: f64,
    /// Its floating-point operations a second, in 10⁹, where it counts them.
    pub gflop_s: Option<f64>,
    /// `gb_s` over the roofline's copy bandwidth.
    pub share: f64,
    /// How it was timed.
    pub clock: Clock,
}

/// A measurement takes at least this long, and this many runs.
const MIN_TIME: Duration = Duration::from_millis(50);
const MIN_RUNS: usize = 20;
/// Runs of a slow operation, at least.
const FEW_RUNS: usize = 5;
/// Longest that one measurement goes on after those.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Median time of `run`, by the clock that it reports.
pub(crate) fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    run()?; // the first run compiles, allocates and touches pages
    let start = Instant::now();
    let mut times = vec![];
    loop {
        times.push(run()?);
        let spent = start.elapsed();
        let enough = times.len() >= MIN_RUNS && spent >= MIN_TIME;
        if enough || (times.len() >= FEW_RUNS && spent >= MAX_TIME) {
            break;
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Copy bandwidth and multiply-add rate of `backend`, over `bytes` of source data.
///
/// # Errors
/// A device error.
pub fn roofline(backend: &Backend, bytes: usize) -> Result<Roofline> {
    let (copy, flops, clock) = match backend {
        Backend::Cpu => {
            let (copy, flops) = cpu_roofline(bytes)?;
            (copy, flops, Clock::Wall)
        }
        Backend::Gpu(gpu) => gpu_roofline(gpu, bytes)?,
    };
    Ok(Roofline { copy_gb_s: copy / 1e9, gflop_s: flops / 1e9, clock })
}

fn cpu_roofline(bytes: usize) -> Result<(f64, f64)> {
    let source = vec![1_u8; bytes];
    let mut target = vec![0_u8; bytes];
    let chunk = bytes.div_ceil(rayon::current_num_threads()).max(1);
    let time = median(|| {
        let start = Instant::now();
        target.par_chunks_mut(chunk).zip(source.par_chunks(chunk)).for_each(|(t, s)| {
            t.copy_from_slice(s);
        });
        black_box(&mut target);
        Ok(start.elapsed())
    })?;
    let copy = 2.0 * bytes as f64 / time.as_secs_f64();

    let threads = rayon::current_num_threads();
    let mut operations = 0;
    let time = median(|| {
        let start = Instant::now();
        let of_thread = |seed| black_box(multiply_adds(Level::best(), seed as f32, ROUNDS)).1;
        operations = (0..threads).into_par_iter().map(of_thread).sum();
        Ok(start.elapsed())
    })?;
    Ok((copy, operations as f64 / time.as_secs_f64()))
}

/// Rounds of multiply-adds of a thread: about two milliseconds.
const ROUNDS: u32 = 1_000_000;

const COPY: Kernel =
    Kernel { file: "roofline/copy.wgsl", entry: "copy", constants: &[], estimates: false };
const FMA: Kernel =
    Kernel { file: "roofline/fma.wgsl", entry: "fma_rate", constants: &[], estimates: false };

fn gpu_roofline(gpu: &Gpu, bytes: usize) -> Result<(f64, f64, Clock)> {
    let vectors = (bytes / 16) as u32;
    let mut clock = Clock::Device;
    let mut time_of = |kernel: &Kernel, count: u32, items: u64, per: u64, sizes: &[u64]| {
        median(|| {
            let mut recorder = gpu.recorder();
            recorder.timed();
            let mut buffers = vec![];
            for size in sizes {
                buffers.push(recorder.storage(*size)?);
            }
            buffers.push(recorder.upload(bytemuck::cast_slice(&[count]))?);
            let bindings: Vec<_> = (0..).zip(&buffers).collect();
            recorder.dispatch_at(kernel, &bindings, items, per)?;
            let start = Instant::now();
            let time = recorder.run()?.device_time;
            if time.is_none() {
                clock = Clock::Wall;
            }
            Ok(time.unwrap_or_else(|| start.elapsed()))
        })
    };
    let size = u64::from(vectors) * 16;
    let time = time_of(&COPY, vectors, vectors.into(), 1024, &[size, size])?;
    let copy = 2.0 * size as f64 / time.as_secs_f64();

    // 16 multiply-adds an invocation and round; rounds grow until one run takes long enough to
    // be measured and stays far below what a driver would kill.
    let invocations: u64 = 1 << if gpu.is_software() { 12 } else { 20 };
    let mut rounds = 64_u32;
    loop {
        let time = time_of(&FMA, rounds, invocations, 256, &[invocations * 4])?;
        if time >= Duration::from_millis(5) || rounds >= 1 << 16 {
            let flops = 2.0 * 16.0 * f64::from(rounds) * invocations as f64 / time.as_secs_f64();
            return Ok((copy, flops, clock));
        }
        rounds *= 4;
    }
}

/// Measures `operation` on about `elements` weights, after checking its result as the tests do:
/// against the CPU reference, or against the `f64` reference where floats have a bound.
///
/// The CPU backend runs one slab a thread, as compression does; its figure is all threads'.
///
/// # Errors
/// [`Error::Check`] where the result is not the reference's; a device error.
pub fn operation(
    backend: &Backend,
    operation: &Operation,
    elements: usize,
    roofline: &Roofline,
) -> Result<Measurement> {
    let case = (operation.bench)(elements);
    check(backend, operation, &case)?;
    let (time, times, clock) = match backend {
        Backend::Cpu => {
            let threads = rayon::current_num_threads();
            let time = median(|| {
                let start = Instant::now();
                (0..threads).into_par_iter().try_for_each(|_| (case.run)(backend).map(drop))?;
                Ok(start.elapsed())
            })?;
            (time, threads as u64, Clock::Wall)
        }
        Backend::Gpu(gpu) => {
            let mut clock = Clock::Device;
            gpu.take_device_time();
            let time = median(|| {
                let start = Instant::now();
                (case.run)(backend)?;
                let wall = start.elapsed();
                Ok(gpu.take_device_time().unwrap_or_else(|| {
                    clock = Clock::Wall;
                    wall
                }))
            })?;
            (time, 1, clock)
        }
    };
    let bytes = (case.work.read + case.work.written) * times;
    let gb_s = bytes as f64 / time.as_secs_f64() / 1e9;
    let gflop_s =
        (case.work.flops > 0).then(|| (case.work.flops * times) as f64 / time.as_secs_f64() / 1e9);
    Ok(Measurement {
        stem: operation.stem,
        time,
        work: case.work,
        gb_s,
        gflop_s,
        share: gb_s / roofline.copy_gb_s,
        clock,
    })
}

/// Compares a result as the tests do. A CPU result without an `f64` reference would be compared
/// with itself.
fn check(backend: &Backend, operation: &Operation, case: &Case) -> Result<()> {
    if matches!(backend, Backend::Cpu) && case.reference.is_none() {
        return Ok(());
    }
    let difference = case.expected()?.difference(&(case.run)(backend)?);
    difference.map_or(Ok(()), |difference| {
        let (stem, name) = (operation.stem, backend.name());
        let what = format!("{stem} on {name} is not the reference's: {difference}");
        Err(Error::Check { what })
    })
}
