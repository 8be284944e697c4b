//! `tensorpress run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Common;
use super::network::NetworkArguments;
use super::output;
use crate::error::{Result, UsageError};
use crate::io::{Array, OutputFile, SafetensorsWriter, TensorSpec, write_npy};
use crate::nn::{self, Outputs};
use crate::ops::{Backend, top_k};
use crate::tensor::DType;

/// Run a network on inputs
///
/// The network is run straight from its compressed weights. Inputs are .npy, .npz, .safetensors or
/// IDX files, [rows, …]; bytes are scaled to 0 … 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress run model.safetensors --input images.npy -o probabilities.npy
  tensorpress run model.safetensors --input t10k-images-idx3-ubyte.gz --top-k 3
  tensorpress run small.safetensors --input batch.npz --name x --logits")]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// The inputs
    #[arg(long, value_name = "X")]
    input: PathBuf,
    /// Which array of a file that holds several
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write to an .npy or .safetensors file instead of printing JSON
    #[arg(short, long, value_name = "Y")]
    output: Option<PathBuf>,
    /// Replace Y if it exists
    #[arg(long)]
    force: bool,
    /// What is there before the softmax
    #[arg(long)]
    logits: bool,
    /// Only the K largest of each row, with their numbers
    #[arg(long, value_name = "K", conflicts_with = "output")]
    top_k: Option<usize>,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let kind = arguments.output.as_deref().map(kind).transpose()?;
    let network = &arguments.network;
    let backend = network.open_device(common)?;
    let loaded = network.load(&network.model, &backend, common)?;
    let input = match &arguments.name {
        Some(name) => Array::read_named(&arguments.input, name)?,
        None => Array::read(&arguments.input)?,
    };
    let (width, classes) = (loaded.network().inputs(), loaded.network().outputs());
    nn::check_inputs(&input, width).map_err(|error| error.in_file(&arguments.input))?;
    let outputs = if arguments.logits { Outputs::Logits } else { Outputs::AsDescribed };
    let x = input.scaled();
    let mut y = vec![];
    for x in x.chunks(network.batch_size() * width) {
        y.extend(loaded.forward(x, outputs)?);
    }
    let rows = y.len() / classes.max(1);
    match (&arguments.output, kind) {
        (Some(path), Some(Kind::Npy)) => write_npy(path, &[rows, classes], &y, arguments.force),
        (Some(path), _) => write_safetensors(path, [rows, classes], &y, arguments.force),
        (None, _) => print(arguments, &y, classes),
    }
}

fn print(arguments: &Arguments, y: &[f32], classes: usize) -> Result<()> {
    let Some(k) = arguments.top_k else {
        let rows: Vec<&[f32]> = y.chunks(classes.max(1)).collect();
        return output::json(&json!({ "schema_version": 1, "outputs": rows }));
    };
    let (indices, values) = top_k::top_k(&Backend::Cpu, y, classes, k)?;
    let rows = indices.chunks(k).zip(values.chunks(k)).map(|(indices, values)| {
        let best = indices.iter().zip(values);
        best.map(|(index, value)| json!({ "class": index, "value": value })).collect::<Vec<_>>()
    });
    output::json(&json!({ "schema_version": 1, "top_k": rows.collect::<Vec<_>>() }))
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Npy,
    Safetensors,
}

fn kind(path: &Path) -> Result<Kind> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => Ok(Kind::Npy),
        Some("safetensors") => Ok(Kind::Safetensors),
        _ => Err(UsageError::OutOfRange {
            what: "--output",
            value: path.display().to_string(),
            expected: "a name that ends in .npy or .safetensors",
        }
        .into()),
    }
}

fn write_safetensors(path: &Path, shape: [usize; 2], y: &[f32], force: bool) -> Result<()> {
    let spec = TensorSpec { name: "y".to_owned(), dtype: DType::F32, shape: shape.to_vec() };
    let writer = SafetensorsWriter::create(vec![spec], &BTreeMap::new(), |size| {
        OutputFile::create(path, size, force)
    })?;
    let bytes: Vec<u8> = y.iter().flat_map(|value| value.to_le_bytes()).collect();
    writer.write_at(0, 0, &bytes)?;
    writer.finish()
}
