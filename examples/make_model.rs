//! Writes a model of random weights, as large as asked for, in little memory: for benchmarks and
//! for trying things out.
//!
//! ```text
//! cargo run --release --example make_model -- OUT --tensor a.weight=4096x4096 [--tensor …]
//!     [--dtype f32|f16|bf16] [--shards N] [--seed N]
//! ```
//!
//! One shard gives a file, several a directory with index and config.json; the tensors are dealt
//! to the shards in order, each to the one with the fewest bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use rayon::prelude::*;
use tensorpress::io::{OutputFile, SafetensorsWriter, TensorSpec};
use tensorpress::tensor::{DType, FloatType};

#[derive(Parser)]
struct Arguments {
    /// The file or, with several shards, the directory to write
    out: PathBuf,
    /// NAME=ROWSxCOLS; repeatable
    #[arg(long = "tensor", required = true, value_parser = parse_tensor)]
    tensors: Vec<(String, Vec<usize>)>,
    /// f32, f16 or bf16
    #[arg(long, default_value = "f32", value_parser = parse_type)]
    dtype: FloatType,
    #[arg(long, default_value_t = 1)]
    shards: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn parse_tensor(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, shape) = text.split_once('=').ok_or("expected NAME=ROWSxCOLS")?;
    let shape: Result<Vec<usize>, _> = shape.split('x').map(str::parse).collect();
    Ok((name.to_owned(), shape.map_err(|e| e.to_string())?))
}

fn parse_type(text: &str) -> Result<FloatType, String> {
    let dtype = DType::from_name(&text.to_uppercase());
    dtype.and_then(FloatType::from_dtype).ok_or_else(|| "f32, f16 or bf16".to_owned())
}

/// Elements that are made at once.
const BLOCK: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let spec = |(name, shape): &(String, Vec<usize>)| TensorSpec {
        name: name.clone(),
        dtype: arguments.dtype.dtype(),
        shape: shape.clone(),
    };
    let specs: Vec<TensorSpec> = arguments.tensors.iter().map(spec).collect();
    if arguments.shards <= 1 {
        return write(&arguments.out, specs, arguments.dtype, arguments.seed);
    }
    std::fs::create_dir_all(&arguments.out)?;
    let mut shards: Vec<(u64, Vec<TensorSpec>)> = vec![(0, vec![]); arguments.shards];
    for spec in specs {
        let Some(shard) = shards.iter_mut().min_by_key(|(bytes, _)| *bytes) else { continue };
        shard.0 += spec.bytes();
        shard.1.push(spec);
    }
    let total: u64 = shards.iter().map(|(bytes, _)| bytes).sum();
    let mut map = serde_json::Map::new();
    for (number, (_, specs)) in shards.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, arguments.shards);
        for spec in &specs {
            map.insert(spec.name.clone(), name.clone().into());
        }
        let seed = mix(arguments.seed, number as u64);
        write(&arguments.out.join(name), specs, arguments.dtype, seed)?;
    }
    let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": map });
    std::fs::write(arguments.out.join("model.safetensors.index.json"), format!("{index:#}"))?;
    std::fs::write(arguments.out.join("config.json"), "{\n  \"model_type\": \"random\"\n}\n")?;
    Ok(())
}

fn write(
    path: &Path,
    specs: Vec<TensorSpec>,
    float: FloatType,
    seed: u64,
) -> Result<(), Box<dyn Error>> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let writer =
        SafetensorsWriter::create(specs, &metadata, |size| OutputFile::create(path, size, false))?;
    for (number, spec) in writer.specs().iter().enumerate() {
        let elements: usize = spec.shape.iter().product();
        // Like a trained layer: a standard deviation of 1 over the square root of the inputs.
        let deviation = 1.0 / (spec.shape.last().copied().unwrap_or(1).max(1) as f32).sqrt();
        (0..elements.div_ceil(BLOCK)).into_par_iter().try_for_each(|block| {
            let first = block * BLOCK;
            let seed = mix(mix(seed, number as u64), block as u64);
            let values = gaussian(seed, BLOCK.min(elements - first), deviation);
            let mut bytes = Vec::with_capacity(values.len() * float.size());
            float.encode(&values, &mut bytes);
            writer.write_at(number, (first * float.size()) as u64, &bytes)
        })?;
    }
    Ok(writer.finish()?)
}

/// What SplitMix64 adds at every step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output for a state.
fn scramble(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed for part `number` of what `seed` makes. Scrambled, because every SplitMix64 sequence is a
/// stretch of the same cycle: seeds that lie steps apart would give shifted copies of each other.
fn mix(seed: u64, number: u64) -> u64 {
    scramble(scramble(seed.wrapping_add(STEP)).wrapping_add(number))
}

/// Box–Muller over a SplitMix64 sequence.
fn gaussian(seed: u64, count: usize, deviation: f32) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(STEP);
        // In (0, 1], so that its logarithm is finite.
        ((scramble(state) >> 40) + 1) as f32 / (1 << 24) as f32
    };
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = deviation * (-2.0 * uniform().ln()).sqrt();
        let (sine, cosine) = (std::f32::consts::TAU * uniform()).sin_cos();
        values.extend([radius * cosine, radius * sine]);
    }
    values.truncate(count);
    values
}
