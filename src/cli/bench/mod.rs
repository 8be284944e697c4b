//! `tensorpress bench`: the roofline of a device, then operations or a network against it.

mod network;
mod operations;

pub(super) use network::BATCHES;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::device::TunedDevice;
use super::network::Int8Activations;
use super::{Common, output};
use crate::error::Result;
use crate::gpu::GpuOptions;
use crate::ops::Backend;
use crate::ops::measure::{self, Clock, Roofline};

/// Measure a device against its own roofline, beside the CPU
///
/// First the roofline, copy bandwidth and multiply-add rate; then every operation in GB/s and as a
/// share of the copy bandwidth, or with --model a network over batch sizes, dense beside quantized
/// beside pruned. Each result is checked before it is timed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
GB/s counts the bytes that an operation must at least move (each input read once, each output
written once), so 100 % is a plain copy. Operations that do more than move bytes stay below;
those whose arithmetic counts show it in GFLOP/s. A network's share is that of the least time that
bytes and arithmetic allow; weights that stay in a cache can be faster than memory.

Examples:
  tensorpress bench                     the device that auto takes, beside the CPU
  tensorpress bench --op quantize       one operation
  tensorpress bench --model model.safetensors --batches 1,64,1024
  tensorpress bench --model model.safetensors --int8-activations   the same with 8-bit activations
  tensorpress bench --device gpu:0 --size 64M --json")]
pub(super) struct Arguments {
    /// Only this operation, by its stem (stats, prune, quantize …)
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Weights in each operation: a number, or one with K, M or G
    #[arg(long, value_name = "N", default_value = "16M", value_parser = parse_size)]
    size: usize,
    /// Measure this network instead: a .safetensors file or a model directory
    #[arg(long, value_name = "MODEL", conflicts_with = "op")]
    model: Option<PathBuf>,
    /// Rows that the network computes at once, comma separated
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "model")]
    #[arg(default_values_t = BATCHES, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batches: Vec<u32>,
    #[command(flatten)]
    int8: Int8Activations,
    #[command(flatten)]
    device: TunedDevice,
}

fn parse_size(text: &str) -> std::result::Result<usize, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| (1 << 12..=1 << 28).contains(n))
        .ok_or_else(|| "a number from 4K to 256M".into())
}

pub(super) fn run(args: &Arguments, common: &Common) -> Result<()> {
    match &args.model {
        None => operations::run(args, common),
        Some(model) => network::run(args, model, common),
    }
}

/// A device that is measured.
struct Target {
    backend: Backend,
    roofline: Roofline,
}

impl Target {
    /// The CPU, and the device that the arguments name where that is another.
    fn all(args: &Arguments, common: &Common) -> Result<Vec<Self>> {
        let options = GpuOptions { timed: true, ..GpuOptions::default() };
        let device = args.device.open_with(common, options)?;
        let mut backends = vec![Backend::Cpu];
        backends.extend(Some(device).filter(|device| matches!(device, Backend::Gpu(_))));
        let target = |backend| {
            let roofline = measure::roofline(&backend, args.size * 4)?;
            Ok(Self { backend, roofline })
        };
        backends.into_iter().map(target).collect()
    }

    fn is_software(&self) -> bool {
        matches!(&self.backend, Backend::Gpu(gpu) if gpu.is_software())
    }

    /// Its name without what the driver adds.
    fn short_name(&self) -> &str {
        self.backend.name().split(" (").next().unwrap_or_default()
    }

    /// One line about what it can do.
    fn as_text(&self) -> String {
        format!(
            "{}: copy {:.1} GB/s, multiply-add {:.1} GFLOP/s ({}){}\n",
            self.backend.name(),
            self.roofline.copy_gb_s,
            self.roofline.gflop_s,
            clock(self.roofline.clock),
            if self.is_software() { "; a software adapter: no GPU figure" } else { "" },
        )
    }

    /// The same as an object, with `figures` under `key`.
    fn as_json(&self, key: &str, figures: Value) -> Value {
        let mut object = Map::new();
        object.insert("device".into(), json!(self.backend.name()));
        object.insert("software".into(), json!(self.is_software()));
        object.insert("copy_gb_per_s".into(), json!(self.roofline.copy_gb_s));
        object.insert("gflop_per_s".into(), json!(self.roofline.gflop_s));
        object.insert("clock".into(), json!(clock(self.roofline.clock)));
        object.insert(key.into(), figures);
        Value::Object(object)
    }
}

fn clock(clock: Clock) -> &'static str {
    match clock {
        Clock::Device => "device timestamps",
        Clock::Wall => "wall clock",
    }
}
