//! The rows that a network is trained on.

use std::ops::Range;

use super::options::TrainingOptions;
use crate::error::Result;
use crate::io::{ArrayData, DataSet};
use crate::nn::{check_inputs, training_rows};
use crate::ops::linear::stride;
use crate::ops::{Backend, Batch, Features, Indices, Stream, Values};

/// A data set for training: on the backend where that holds it, else batches of it go there as
/// they are needed.
pub(super) struct TrainData {
    backend: Backend,
    inputs: Inputs,
    cols: usize,
    /// The class of each row.
    pub labels: Indices,
    /// Rows that are learnt from, from the first on.
    pub train: usize,
    /// All rows; those behind the ones that are learnt from validate.
    pub rows: usize,
    /// Of inputs and labels, to know them again.
    pub checksum: u32,
}

enum Inputs {
    Held(Features),
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The rows of some batches, where the backend can gather them.
pub(super) enum Ready<'a> {
    /// All rows, in the order of the data set.
    All(&'a Features),
    /// Those of the batches alone, in the order of the batches, the first of which begins at
    /// `start` of the epoch.
    Part { features: Features, order: Indices, start: usize },
}

impl TrainData {
    /// Takes the rows of `data` for a network from `inputs` to `classes`.
    ///
    /// # Errors
    /// [`crate::error::ArrayProblem`] where they do not fit the network.
    pub(super) fn new(
        backend: &Backend,
        data: DataSet,
        (inputs, classes): (usize, usize),
        options: &TrainingOptions,
    ) -> Result<Self> {
        check_inputs(&data.inputs, inputs)?;
        data.check_labels(classes)?;
        let (rows, cols) = data.inputs.rows();
        let rows = options.limit.map_or(rows, |limit| limit.min(rows));
        let train = training_rows(rows, options.validation_split)?;
        let labels = &data.labels[..rows];
        let inputs = match data.inputs.data {
            ArrayData::U8(mut bytes) => {
                bytes.truncate(rows * cols);
                Inputs::Bytes(bytes)
            }
            other => {
                let array = crate::io::Array { shape: data.inputs.shape, data: other };
                Inputs::Floats(array.scaled()[..rows * cols].to_vec())
            }
        };
        let checksum = checksum(&inputs, labels);
        let labels = Indices::new(backend, labels)?;
        let inputs = hold(backend, inputs, rows, cols)?;
        Ok(Self { backend: backend.clone(), inputs, cols, labels, train, rows, checksum })
    }

    /// Makes the rows `order[span]` ready to be gathered.
    pub(super) fn ready(&self, order: &[u32], span: Range<usize>) -> Result<Ready<'_>> {
        let shape = (span.len(), self.cols);
        let features = match &self.inputs {
            Inputs::Held(features) => return Ok(Ready::All(features)),
            Inputs::Bytes(bytes) => {
                let bytes = rows_of(bytes, self.cols, &order[span.clone()]);
                Features::bytes(&self.backend, bytes, shape)?
            }
            Inputs::Floats(floats) => {
                let floats = rows_of(floats, self.cols, &order[span.clone()]);
                Features::floats(&self.backend, &floats, shape)?
            }
        };
        let own: Vec<u32> = (0..span.len() as u32).collect();
        let order = Indices::new(&self.backend, &own)?;
        Ok(Ready::Part { features, order, start: span.start })
    }
}

impl Ready<'_> {
    /// Records the inputs of `batch`, one of those that it was made for.
    pub(super) fn gather(
        &self,
        stream: &mut Stream,
        batch: Batch<'_>,
        x: &mut Values,
    ) -> Result<()> {
        match self {
            Self::All(features) => stream.gather(features, batch, x),
            Self::Part { features, order, start } => {
                let batch = Batch { order, first: batch.first - start, rows: batch.rows };
                stream.gather(features, batch, x)
            }
        }
    }
}

/// Takes the inputs to the backend where one buffer of it holds them.
fn hold(backend: &Backend, inputs: Inputs, rows: usize, cols: usize) -> Result<Inputs> {
    let element = if matches!(inputs, Inputs::Bytes(_)) { 1 } else { 4 };
    let fits = match backend {
        Backend::Cpu => true,
        Backend::Gpu(gpu) => (rows * stride(cols) * element) as u64 <= gpu.max_buffer_bytes(),
    };
    match inputs {
        Inputs::Bytes(bytes) if fits => {
            Ok(Inputs::Held(Features::bytes(backend, bytes, (rows, cols))?))
        }
        Inputs::Floats(floats) if fits => {
            Ok(Inputs::Held(Features::floats(backend, &floats, (rows, cols))?))
        }
        other => {
            log::info!("the data set is larger than a buffer of the device; batches go there");
            Ok(other)
        }
    }
}

fn rows_of<T: Copy>(all: &[T], cols: usize, rows: &[u32]) -> Vec<T> {
    let mut found = Vec::with_capacity(rows.len() * cols);
    for row in rows {
        found.extend_from_slice(&all[*row as usize * cols..][..cols]);
    }
    found
}

/// CRC-32 of all of them.
fn checksum(inputs: &Inputs, labels: &[u32]) -> u32 {
    let mut crc = flate2::Crc::new();
    match inputs {
        Inputs::Bytes(bytes) => crc.update(bytes),
        Inputs::Floats(floats) => crc.update(bytemuck::cast_slice(floats)),
        Inputs::Held(_) => {}
    }
    crc.update(bytemuck::cast_slice(labels));
    crc.sum()
}
