//! `tensorpress run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::Common;
use super::network::NetworkArguments;
use super::output;
use crate::error::{FormatProblem, Result, UsageError};
use crate::io::{Array, OutputFile, SafetensorsWriter, TensorSpec, refuse_same, write_npy};
use crate::nn::{self, Outputs};
use crate::ops::{Backend, top_k};
use crate::tensor::DType;

/// Run a network on inputs
///
/// The network is run straight from its compressed weights. Inputs are .npy, .npz, .safetensors or
/// IDX files (.npy and IDX also gzipped), [rows, …] or a single row. Bytes (u8), as images have
/// them, are scaled to 0 … 1; other integers and truth values stay what they are; floats of 16 and
/// 64 bits become floats of 32.
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
    /// Which array of a file that holds several; by itself the one called x
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write to an .npy or .safetensors file (tensor y) instead of printing JSON
    #[arg(short, long, value_name = "Y")]
    output: Option<PathBuf>,
    /// Replace Y if it exists
    #[arg(long)]
    force: bool,
    /// What is there before the softmax
    #[arg(long)]
    logits: bool,
    /// Only the K largest of each row, the largest first, with the numbers of their outputs
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=64))]
    top_k: Option<u8>,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let named = &arguments.network;
    let kind = arguments.output.as_deref().map(|path| check_output(arguments, path)).transpose()?;
    let backend = named.open_device(common)?;
    let loaded = named.load(&backend, common)?;
    let (width, classes) = (loaded.network().inputs(), loaded.network().outputs());
    if let Some(k) = arguments.top_k().filter(|k| *k > classes) {
        let expected = "at most the number of the network's outputs";
        return Err(
            UsageError::OutOfRange { what: "--top-k", value: k.to_string(), expected }.into()
        );
    }
    let input = match &arguments.name {
        Some(name) => Array::read_named(&arguments.input, name)?,
        None => Array::read(&arguments.input)?,
    };
    let input = input.batched(width);
    nn::check_inputs(&input, width).map_err(|error| error.in_file(&arguments.input))?;
    let outputs = if arguments.logits { Outputs::Logits } else { Outputs::AsDescribed };
    let y = loaded.forward_batches(&input.scaled(), outputs, named.batch_size());
    let y = y.map_err(|error| error.in_file(&arguments.input))?;
    let int8_layers = loaded.int8_layers();
    let answers = Answers::new(y, classes, arguments.top_k(), int8_layers)?;
    let (Some(path), Some(kind)) = (&arguments.output, kind) else {
        answers.check_finite()?;
        return output::json(&answers.to_json());
    };
    match kind {
        Kind::Npy => write_npy(path, &answers.shape(), &answers.values, arguments.force)?,
        Kind::Safetensors => answers.write(path, arguments.force)?,
    }
    let ([rows, columns], path) = (answers.shape(), path.display().to_string());
    if common.json {
        output::json(&json!({
            "schema_version": 1,
            "output": path,
            "shape": [rows, columns],
            "int8_layers": int8_layers,
        }))
    } else {
        output::print(&format!("wrote {path}: {rows} rows of {columns}\n"))
    }
}

impl Arguments {
    fn top_k(&self) -> Option<usize> {
        self.top_k.map(usize::from)
    }
}

/// What the network says.
struct Answers {
    /// `[rows, columns]`.
    values: Vec<f32>,
    columns: usize,
    /// The outputs that `values` are of, where they are not all in order.
    classes: Option<Vec<u32>>,
    /// Layers whose inputs might be rounded to 8 bits.
    int8_layers: usize,
}

impl Answers {
    fn new(values: Vec<f32>, columns: usize, k: Option<usize>, int8_layers: usize) -> Result<Self> {
        let Some(k) = k else { return Ok(Self { values, columns, classes: None, int8_layers }) };
        let (classes, values) = top_k::top_k(&Backend::Cpu, &values, columns, k)?;
        Ok(Self { values, columns: k, classes: Some(classes), int8_layers })
    }

    fn shape(&self) -> [usize; 2] {
        [self.values.len() / self.columns, self.columns]
    }

    /// Fails where JSON cannot hold a value.
    fn check_finite(&self) -> Result<()> {
        let Some(at) = self.values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let (row, column) = (at / self.columns, at % self.columns);
        let expected = "finite to be printed as JSON; write it to a file with --output";
        let value = self.values[at];
        Err(FormatProblem::Value { what: "outputs", row, column, value, expected }.into())
    }

    fn to_json(&self) -> Value {
        let values = self.values.chunks(self.columns);
        let answer = |key: &str, rows: Value| json!({ "schema_version": 1, "int8_layers": self.int8_layers, key: rows });
        let Some(classes) = &self.classes else {
            return answer("outputs", values.map(|row| json!(row)).collect());
        };
        let rows = classes.chunks(self.columns).zip(values).map(|(classes, values)| {
            let best = classes.iter().zip(values);
            best.map(|(class, value)| json!({ "class": class, "value": value })).collect::<Value>()
        });
        answer("top_k", rows.collect())
    }

    /// `y`, and the outputs that it is of as `classes`.
    fn write(&self, path: &Path, force: bool) -> Result<()> {
        let spec = |name: &str, dtype| TensorSpec {
            name: name.to_owned(),
            dtype,
            shape: self.shape().to_vec(),
        };
        let mut specs = vec![spec("y", DType::F32)];
        specs.extend(self.classes.as_ref().map(|_| spec("classes", DType::I64)));
        let writer = SafetensorsWriter::create(specs, &BTreeMap::new(), |size| {
            OutputFile::create(path, size, force)
        })?;
        let values: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write_at(0, 0, &values)?;
        if let Some(classes) = &self.classes {
            let classes: Vec<u8> =
                classes.iter().flat_map(|class| i64::from(*class).to_le_bytes()).collect();
            writer.write_at(1, 0, &classes)?;
        }
        writer.finish()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Npy,
    Safetensors,
}

/// Fails where the output could not be written, before anything is computed.
fn check_output(arguments: &Arguments, path: &Path) -> Result<Kind> {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => Kind::Npy,
        Some("safetensors") => Kind::Safetensors,
        _ => {
            return Err(UsageError::OutOfRange {
                what: "--output",
                value: path.display().to_string(),
                expected: "a name that ends in .npy or .safetensors",
            }
            .into());
        }
    };
    if arguments.top_k.is_some() && kind == Kind::Npy {
        return Err(UsageError::Conflict {
            first: "--top-k",
            second: "an .npy file, which holds one array",
            advice: "name a .safetensors file, or leave --output out for JSON",
        }
        .into());
    }
    refuse_same(&arguments.network.model, path)?;
    refuse_same(&arguments.input, path)?;
    OutputFile::check(path, arguments.force)?;
    Ok(kind)
}
