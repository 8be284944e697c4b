//! How fast a network is on a device, over batch sizes.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::forward::{Loaded, Outputs};
use crate::error::{Error, Result};
use crate::ops::measure::{Roofline, median};

/// How fast a network computes a batch.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Rows computed at once.
    pub batch: usize,
    /// Median time of a forward pass, uploads and downloads included, in seconds.
    pub seconds: f64,
    /// Rows a second.
    pub rows_per_second: f64,
    /// Multiplications and additions a second, in 10⁹, those with weights that are zero counted.
    pub gflop_per_second: f64,
    /// The least time that the device's roofline allows over the time taken. Above 1 where the
    /// weights stay in a cache that is faster than the memory that the roofline was measured on.
    pub share_of_roofline: f64,
}

/// What a network should give.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `[batch, outputs]`
    outputs: Vec<f32>,
    /// What an output may be off by, for other reasons than the order of sums.
    within: f32,
}

impl Expected {
    /// What `loaded` makes of the rows that [`speed`] feeds it. `exact` is the same network
    /// with inputs that are not rounded: where `loaded` may round some, other devices may round
    /// fewer or none, and outputs then lie about as far from each other as these two do.
    ///
    /// # Errors
    /// A device error.
    pub fn new(loaded: &Loaded, exact: Option<&Loaded>, batch: usize) -> Result<Self> {
        let outputs_of = |loaded: &Loaded| loaded.forward(&inputs(loaded, batch), Outputs::Logits);
        let outputs = outputs_of(loaded)?;
        let within = match exact {
            None => 0.0,
            Some(exact) => 2.0 * furthest(&outputs, &outputs_of(exact)?),
        };
        Ok(Self { outputs, within })
    }
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |most, (a, b)| (a - b).abs().max(most))
}

/// Times forward passes of `batch` rows, and compares the outputs with `expected`, where that is
/// given, of the same network elsewhere.
///
/// # Errors
/// [`Error::Check`] where the outputs are not `expected`; a device error.
pub fn speed(
    loaded: &Loaded,
    batch: usize,
    roofline: &Roofline,
    expected: Option<&Expected>,
) -> Result<Speed> {
    let x = inputs(loaded, batch);
    if let Some(expected) = expected {
        check(loaded, &loaded.forward(&x, Outputs::Logits)?, expected)?;
    }
    let time = median(|| {
        let start = Instant::now();
        loaded.forward(&x, Outputs::Logits)?;
        Ok(start.elapsed())
    })?;
    let flops = flops(loaded, batch);
    let seconds = time.max(Duration::from_nanos(1)).as_secs_f64();
    Ok(Speed {
        batch,
        seconds,
        rows_per_second: batch as f64 / seconds,
        gflop_per_second: flops / seconds / 1e9,
        share_of_roofline: floor(loaded, batch, roofline) / seconds,
    })
}

/// Rows in 0 … 1, like scaled images: a Weyl sequence, which repeats nothing.
fn inputs(loaded: &Loaded, batch: usize) -> Vec<f32> {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (0..batch * loaded.network().inputs()).map(|i| (i as f64 * GOLDEN).fract() as f32).collect()
}

fn flops(loaded: &Loaded, batch: usize) -> f64 {
    let layers = loaded.network().layers.iter();
    let products: usize = layers.map(|layer| layer.inputs * layer.outputs).sum();
    2.0 * products as f64 * batch as f64
}

/// Seconds that the device needs at least: every weight is read once, as it is stored, and what
/// goes in and comes out is moved once, or else the arithmetic takes longer than that.
fn floor(loaded: &Loaded, batch: usize, roofline: &Roofline) -> f64 {
    let network = loaded.network();
    let ends = 4 * batch * (network.inputs() + network.outputs());
    let bytes = loaded.weight_bytes() as f64 + ends as f64;
    let moved = bytes / (roofline.copy_gb_s * 1e9);
    moved.max(flops(loaded, batch) / (roofline.gflop_s * 1e9))
}

/// A wrong kernel is far off; how near a right one must be, the tests of the operations say.
const TOLERANCE: f32 = 1e-3;

fn check(loaded: &Loaded, found: &[f32], expected: &Expected) -> Result<()> {
    let Expected { outputs: expected, within } = expected;
    let scale = expected.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * scale + within;
    if found.len() == expected.len() && found.iter().zip(expected).all(near) {
        return Ok(());
    }
    let what = format!("the network's outputs on {} are not the CPU's", loaded.backend().name());
    Err(Error::Check { what })
}
