//! The kernel of a layer by measurement, on devices that are [tuned](crate::gpu::Gpu::tuned).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::product::Product;
use super::variant::{Form, Shape, Variant};
use crate::error::Result;
use crate::gpu::{Choice, Gpu, Recorder};
use crate::tensor::FloatType;

/// What one layer runs on a device, and what else was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The class of shapes, for example `"f32 weights, batch 64, 1024 -> 128"`: what is larger
    /// than the next smaller class, up to this.
    pub class: String,
    /// The kernel that is taken where nothing is measured.
    pub usual: Variant,
    /// The kernel that was chosen.
    pub chosen: Variant,
    /// Time of every candidate.
    pub times: Vec<(Variant, Duration)>,
}

/// Products of more multiplications than this are measured on fewer rows: by then a device is
/// busy, and its kernels do not change places. On hardware, and on software adapters.
const MOST_PRODUCTS: usize = 1 << 32;
const MOST_PRODUCTS_SOFTWARE: usize = 1 << 26;

/// A candidate is timed so often, and the median counts.
const ROUNDS: usize = 5;
/// Passes of one submit take about this long together, so that clocks can tell them apart.
const SUBMIT: Duration = Duration::from_millis(1);
const MOST_PASSES: usize = 32;
/// What takes so many times as long as the best in its first pass is not timed again.
const GIVE_UP: u32 = 2;
/// The usual kernel stays unless another takes at most this share of its time: less is noise.
const WORTHWHILE: f64 = 0.95;

impl Product<'_> {
    /// Records it in the variant that is given, or the one that was measured to be the fastest, or
    /// the usual one.
    pub fn record_best(&self, recorder: &mut Recorder, given: Option<Variant>) -> Result<()> {
        let gpu = recorder.gpu().clone();
        let variant = match given {
            Some(variant) => variant,
            None => self.chosen(&gpu)?,
        };
        self.record(recorder, variant)
    }

    fn chosen(&self, gpu: &Gpu) -> Result<Variant> {
        let candidates = self.candidates(gpu);
        let usual = candidates[0];
        let (Some(choices), [_, _, ..]) = (gpu.choices(), &candidates[..]) else {
            return Ok(usual);
        };
        let find = |name: &str| candidates.iter().find(|c| c.name() == name).copied();
        let shape = measured_shape(self.shape, gpu.is_software());
        let class = self.class(gpu);
        let measure = || Ok(self.measure(gpu, shape, &candidates)?.0);
        let kernel = choices.kernel(&class, |name| find(name).is_some(), measure)?;
        Ok(find(&kernel).unwrap_or(usual))
    }

    /// Measures it, whatever is known, and keeps the choice where the device is tuned.
    pub fn tune(&self, gpu: &Gpu) -> Result<Tuned> {
        let candidates = self.candidates(gpu);
        let shape = measured_shape(self.shape, gpu.is_software());
        let class = self.class(gpu);
        let mut times = vec![];
        let mut measure = || {
            let (choice, measured) = self.measure(gpu, shape, &candidates)?;
            times = measured;
            Ok(choice)
        };
        let choice = match gpu.choices() {
            Some(choices) => choices.measured(&class, measure)?,
            None => measure()?,
        };
        let usual = candidates[0];
        let chosen = candidates.into_iter().find(|c| c.name() == choice.kernel).unwrap_or(usual);
        Ok(Tuned { class, usual, chosen, times })
    }

    /// The class of its shape on such a device.
    pub fn class(&self, gpu: &Gpu) -> String {
        let class = class(self.form, measured_shape(self.shape, gpu.is_software()));
        if self.int8 { format!("{class}, int8 inputs allowed") } else { class }
    }

    /// The usual kernel, then the others that are worth a try on such a device.
    fn candidates(&self, gpu: &Gpu) -> Vec<Variant> {
        let shape = measured_shape(self.shape, gpu.is_software());
        Variant::candidates(self.form, shape, gpu, self.int8)
    }

    fn measure(
        &self,
        gpu: &Gpu,
        shape: Shape,
        candidates: &[Variant],
    ) -> Result<(Choice, Vec<(Variant, Duration)>)> {
        let mut recorder = gpu.recorder();
        let x = recorder.zeros((shape.batch * shape.fours * 16) as u64)?;
        let results = recorder.storage((shape.batch * self.stride * 4) as u64)?;
        recorder.run()?;
        let product = Product { x: &x, results: &results, shape, ..*self };
        let mut times: Vec<(Variant, Duration)> = vec![];
        for candidate in candidates {
            let best = times.iter().map(|(_, time)| *time).min();
            times.push((*candidate, product.time(gpu, *candidate, best)?));
        }
        let (usual, usual_time) = times[0];
        let (fastest, time) =
            times.iter().copied().min_by_key(|(_, time)| *time).unwrap_or(times[0]);
        let worthwhile = time.as_secs_f64() <= usual_time.as_secs_f64() * WORTHWHILE;
        let kernel = if worthwhile { fastest } else { usual }.name().to_owned();
        let seconds = times.iter().map(|(v, time)| (v.name().to_owned(), time.as_secs_f64()));
        Ok((Choice { kernel, seconds: seconds.collect::<BTreeMap<_, _>>() }, times))
    }

    /// Median time of a pass; of the first one after compiling where that is hopeless.
    fn time(&self, gpu: &Gpu, variant: Variant, best: Option<Duration>) -> Result<Duration> {
        let run = |passes: usize| {
            let mut recorder = gpu.recorder();
            recorder.timed();
            for _ in 0..passes {
                self.record(&mut recorder, variant)?;
            }
            let start = Instant::now();
            let device = recorder.run()?.device_time;
            Ok::<_, crate::Error>(device.unwrap_or_else(|| start.elapsed()) / passes as u32)
        };
        // The first run compiles.
        run(1)?;
        let first = run(1)?;
        if best.is_some_and(|best| first > best * GIVE_UP) {
            return Ok(first);
        }
        let passes = SUBMIT.as_nanos() / first.as_nanos().max(1);
        let passes = usize::try_from(passes).unwrap_or(MOST_PASSES).clamp(1, MOST_PASSES);
        let mut times = (0..ROUNDS).map(|_| run(passes)).collect::<Result<Vec<_>>>()?;
        times.sort();
        Ok(times[ROUNDS / 2])
    }
}

/// The shape that stands for `shape` where it is measured.
fn measured_shape(shape: Shape, software: bool) -> Shape {
    let most = if software { MOST_PRODUCTS_SOFTWARE } else { MOST_PRODUCTS };
    let rows = most / (shape.outputs * shape.fours * 4).max(1);
    Shape { batch: shape.batch.min(rows.max(if software { 32 } else { 256 })), ..shape }
}

/// The name of all shapes that share a choice: each extent up to the next power of two.
fn class(form: Form, shape: Shape) -> String {
    let form = match form {
        Form::Dense(float) => format!("{} weights", name(float)),
        Form::RowMajor => "f32 weights by row".to_owned(),
        Form::Packed { bits, uneven } => {
            format!("int{} codes{}", bits as u32, if uneven { " in uneven groups" } else { "" })
        }
        Form::Masked(float) => format!("{} weights under a mask", name(float)),
    };
    let Shape { batch, outputs, fours } = shape;
    let [batch, inputs, outputs] = [batch, fours * 4, outputs].map(usize::next_power_of_two);
    format!("{form}, batch {batch}, {inputs} -> {outputs}")
}

fn name(float: FloatType) -> &'static str {
    match float {
        FloatType::F32 => "f32",
        FloatType::F16 => "f16",
        FloatType::BF16 => "bf16",
    }
}
