//! `tensorpress tune`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::bench::BATCHES;
use super::device::Device;
use super::{Common, output, progress};
use crate::error::Result;
use crate::gpu::{self, Choices, Gpu};
use crate::io::Model;
use crate::nn::{Loaded, Network};
use crate::ops::Backend;
use crate::ops::linear::{LayerWeights, Linear, Tuned, Variant};
use crate::scheme::Activation;
use crate::tensor::{FloatType, Matrix};

/// Measure which kernels are fastest on a GPU, ahead of their first use
///
/// run, evaluate, sweep and bench do the same for each class of layers when it first comes, unless
/// --no-tune is given; this takes the time now, and measures again what is known. Choices are kept
/// in the user's cache folder, a file for each adapter, driver and version of tensorpress. Training
/// always takes the fixed choices, so that it gives the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress tune model.safetensors           the layers of this network
  tensorpress tune small.safetensors --batches 1,64
  tensorpress tune --device gpu:0 --json       layers of usual sizes, f32")]
pub(super) struct Arguments {
    /// A .safetensors file or a model directory, dense or compressed; by itself layers of usual
    /// sizes
    model: Option<PathBuf>,
    /// Rows computed at once, comma separated
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = BATCHES)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batches: Vec<u32>,
    #[command(flatten)]
    device: Device,
}

/// Inputs and outputs of the layers that are measured without a model.
const USUAL: [(usize, usize); 5] =
    [(784, 128), (1024, 16), (1024, 1024), (4096, 1024), (4096, 4096)];

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    device: String,
    /// Where the choices are kept, if there is a folder for them that can be written to.
    cache: Option<PathBuf>,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: String,
    kernel: &'static str,
    /// What is taken without measuring.
    fixed: &'static str,
    /// Seconds of each candidate.
    candidates: Vec<Candidate>,
    /// The fixed choice's time over that of the chosen one.
    times_faster: f64,
}

#[derive(Serialize)]
struct Candidate {
    kernel: &'static str,
    seconds: f64,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let backend = arguments.device.open(common)?;
    let device = backend.name().to_owned();
    let mut report = Report { schema_version: 1, device, cache: None, classes: vec![] };
    let model = arguments.model.as_deref().map(|path| -> Result<_> {
        let model = Model::open(path)?;
        let (network, _) = Network::read(&model, None)?;
        Ok((model, network))
    });
    let model = model.transpose()?;
    if let Backend::Gpu(gpu) = &backend {
        let gpu = gpu.tuned(gpu::cache_folder().as_deref());
        report.classes = match model {
            Some((model, network)) => {
                let loaded = Loaded::new(&backend, &model, network)?;
                measure(&gpu, loaded.layers(), true, arguments, common)?
            }
            None => measure(&gpu, &usual(&backend)?, false, arguments, common)?,
        };
        let file = gpu.choices().and_then(Choices::file);
        match (file, gpu.choices().and_then(Choices::problem)) {
            (Some(file), Some(problem)) => {
                let file = file.display();
                let text = format!(
                    "the choices could not be kept in {file}: {problem}; make it a place that you \
                     may write to, or name another one in XDG_CACHE_HOME"
                );
                output::warn(common, &text);
            }
            (file, _) => report.cache = file.map(Path::to_owned),
        }
    } else {
        output::note(common, "the CPU backend has nothing to tune; --device gpu takes an adapter");
    }
    if common.json { output::json(&report) } else { output::print(&text(&report)) }
}

fn usual(backend: &Backend) -> Result<Vec<Linear>> {
    let layers = USUAL.iter().map(|(inputs, outputs)| {
        let zeros = vec![0; inputs * outputs * 4];
        let weights = Matrix::new(FloatType::F32, *outputs, *inputs, &zeros)?;
        Linear::new(backend, LayerWeights::Dense(weights), None, Activation::Identity)
    });
    layers.collect()
}

/// Each class of shapes once. Layers of a `chain` are followed by the next.
fn measure(
    gpu: &Gpu,
    layers: &[Linear],
    chain: bool,
    arguments: &Arguments,
    common: &Common,
) -> Result<Vec<Class>> {
    let bar = progress::steps(common, (layers.len() * arguments.batches.len()) as u64);
    let (mut seen, mut classes) = (BTreeSet::new(), vec![]);
    for (number, layer) in layers.iter().enumerate() {
        let followed = chain && number + 1 < layers.len();
        for batch in &arguments.batches {
            let wanted = |class: &str| seen.insert(class.to_owned());
            let tuned = layer.tune(gpu, *batch as usize, followed, wanted)?;
            classes.extend(tuned.into_iter().map(Class::new));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(classes)
}

impl Class {
    fn new(tuned: Tuned) -> Self {
        let Tuned { class, usual, chosen, times } = tuned;
        let seconds = |of: Variant| {
            let found = times.iter().find(|(variant, _)| *variant == of);
            found.map_or(0.0, |(_, time)| time.as_secs_f64())
        };
        let times_faster = seconds(usual) / seconds(chosen).max(1e-9);
        let candidates = times.iter().map(|(variant, time)| Candidate {
            kernel: variant.name(),
            seconds: time.as_secs_f64(),
        });
        let (kernel, fixed, candidates) = (chosen.name(), usual.name(), candidates.collect());
        Self { class, kernel, fixed, candidates, times_faster }
    }
}

fn text(report: &Report) -> String {
    let rows = report.classes.iter().map(|class| {
        let mut candidates: Vec<&Candidate> = class.candidates.iter().collect();
        candidates.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let all = candidates.iter().map(|c| format!("{} {:.3}", c.kernel, c.seconds * 1e3));
        vec![
            class.class.clone(),
            class.kernel.to_owned(),
            class.fixed.to_owned(),
            all.collect::<Vec<_>>().join(", "),
            format!("{:.2}", class.times_faster),
        ]
    });
    let header = ["class", "chosen", "fixed choice", "milliseconds", "× faster"];
    let mut text = output::table(&header, 4, rows.collect());
    if !report.classes.is_empty() {
        let kept = report.cache.as_ref().map_or_else(
            || "nothing is kept: no cache folder can be written to".to_owned(),
            |file| format!("kept in {}", file.display()),
        );
        text = format!("{}\n{text}\n{kept}\n", report.device);
    }
    text
}
