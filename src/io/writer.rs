//! A safetensors file as output: laid out first, then filled in any order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::atomic::OutputFile;
use crate::error::{Error, Result};
use crate::tensor::DType;

/// A tensor that a file will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extent of each dimension, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Bytes of data.
    pub fn bytes(&self) -> u64 {
        let bits =
            self.shape.iter().map(|e| *e as u64).product::<u64>() * u64::from(self.dtype.bits());
        bits.div_ceil(8)
    }
}

/// Header and places of the tensors.
struct Layout {
    /// Length, JSON and padding.
    header: Vec<u8>,
    /// Where each tensor begins in the file, in the order of the specifications.
    starts: Vec<u64>,
    /// Bytes of the file.
    size: u64,
}

/// The official writer's order: wide types first, so that every tensor is aligned, then by name.
fn lay_out(specs: &[TensorSpec], metadata: &BTreeMap<String, String>) -> Layout {
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&specs[*a], &specs[*b]);
        b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name))
    });
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut starts = vec![0; specs.len()];
    let mut end = 0;
    for index in order {
        let spec = &specs[index];
        starts[index] = end;
        end += spec.bytes();
        entries.insert(
            spec.name.clone(),
            json!({
                "dtype": spec.dtype.name(),
                "shape": spec.shape,
                "data_offsets": [starts[index], end],
            }),
        );
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    let data = header.len() as u64;
    starts.iter_mut().for_each(|start| *start += data);
    Layout { header, starts, size: data + end }
}

/// Writes a safetensors file. Tensors may be written in any order and by several threads.
#[derive(Debug)]
pub struct SafetensorsWriter {
    output: OutputFile,
    specs: Vec<TensorSpec>,
    starts: Vec<u64>,
    written: Vec<AtomicU64>,
}

impl SafetensorsWriter {
    /// Bytes of the file with these tensors.
    pub fn size_of(specs: &[TensorSpec], metadata: &BTreeMap<String, String>) -> u64 {
        lay_out(specs, metadata).size
    }

    /// Starts a file; `open` makes the output of the given size.
    ///
    /// # Errors
    /// Those of `open`, and [`Error::Write`].
    pub fn create(
        specs: Vec<TensorSpec>,
        metadata: &BTreeMap<String, String>,
        open: impl FnOnce(u64) -> Result<OutputFile>,
    ) -> Result<Self> {
        let layout = lay_out(&specs, metadata);
        let output = open(layout.size)?;
        output.write_at(0, &layout.header)?;
        let written = specs.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { output, specs, starts: layout.starts, written })
    }

    /// The tensors, in the order they were given.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Writes `bytes` at `offset` of tensor number `tensor`; every byte exactly once.
    ///
    /// # Errors
    /// [`Error::Write`], or [`Error::Bug`] beyond the tensor's end.
    pub fn write_at(&self, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        if offset + length > self.specs[tensor].bytes() {
            return Err(Error::Bug { what: "a write beyond the end of a tensor" });
        }
        self.output.write_at(self.starts[tensor] + offset, bytes)?;
        self.written[tensor].fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that every byte was written, and puts the file in place.
    ///
    /// # Errors
    /// [`Error::Write`], or [`Error::Bug`] where bytes are missing.
    pub fn finish(self) -> Result<()> {
        let whole = self
            .specs
            .iter()
            .zip(&self.written)
            .all(|(spec, written)| spec.bytes() == written.load(Ordering::Relaxed));
        if !whole {
            return Err(Error::Bug { what: "a tensor was not written whole" });
        }
        self.output.commit()
    }
}
