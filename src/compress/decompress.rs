//! A compressed model back to dense weights.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::execution::{Advance, Execution};
use super::output::{Metadata, Output, copy_ranges, set_metadata};
use super::{report, workers};
use crate::error::{Result, UsageError};
use crate::io::{Model, SafetensorsWriter, TensorSpec};
use crate::stored::{self, Catalog, Form, StoredTensor, Weight, format_of};

/// What became of one tensor.
#[derive(Clone, Debug, Serialize)]
pub struct DecompressedTensor {
    /// Its dense name.
    pub name: String,
    /// Its dense shape.
    pub shape: Vec<usize>,
    /// Its dense type.
    pub dtype: &'static str,
    /// How it was stored, for example `"int4 group 128"`, or `"dense"`.
    pub stored: String,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
}

/// What decompressing did.
#[derive(Clone, Debug, Serialize)]
pub struct Decompressed {
    /// Version of this form.
    pub schema_version: u32,
    /// The model.
    pub input: String,
    /// What was written.
    pub output: String,
    /// Where it was computed.
    pub device: String,
    /// Each tensor, in the order of the model.
    pub tensors: Vec<DecompressedTensor>,
    /// Bytes of all tensors before.
    pub bytes_before: u64,
    /// Bytes of all tensors after.
    pub bytes_after: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Output bytes a second, in 10⁹.
    pub gb_per_second: f64,
}

/// Writes `model` to `output` with dense weights of the type that they had: a file where the model
/// is one, otherwise a directory. `force` replaces an output that exists.
///
/// # Errors
/// [`UsageError::NotCompressed`] where there is nothing to decompress,
/// [`crate::error::FormatProblem::Compressed`] for tensors that do not fit together or whose form
/// is not known, a device error, or an output that cannot be written. Whatever stood at `output`
/// still stands then.
pub fn decompress(
    model: &Model,
    output: &Path,
    force: bool,
    execution: &Execution<'_>,
) -> Result<Decompressed> {
    decompress_with(model, output, force, &Metadata::new(), execution)
}

/// [`decompress`] that puts `entries` into the metadata of the first file, whatever was there.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_with(
    model: &Model,
    output: &Path,
    force: bool,
    entries: &Metadata,
    execution: &Execution<'_>,
) -> Result<Decompressed> {
    let start = Instant::now();
    let catalog = Catalog::new(model)?;
    if catalog.is_dense() {
        let format = format_of(model);
        return Err(UsageError::NotCompressed { format }.into());
    }
    catalog.check_understood().map_err(|error| error.in_file(model.root()))?;
    Output::check(model, output, force)?;
    let specs: Vec<TensorSpec> = catalog.tensors.iter().map(spec).collect();
    let bytes_after = specs.iter().map(TensorSpec::bytes).sum();
    (execution.progress)(Advance::Begin { bytes: bytes_after });
    let mut writing = Output::begin(model, output, force, bytes_after)?;
    for shard in 0..model.shards().len() {
        let here: Vec<usize> =
            (0..specs.len()).filter(|i| catalog.tensors[*i].shard() == shard).collect();
        let own = here.iter().map(|i| specs[*i].clone()).collect();
        let mut metadata = metadata(model, shard);
        set_metadata(&mut metadata, entries, shard);
        let writer = writing.shard(shard, own, &metadata)?;
        let pass = Pass { model, catalog: &catalog, writer: &writer, here: &here };
        pass.run(execution)?;
        writing.finish(writer)?;
    }
    let tensors = catalog.tensors.iter().zip(&specs).map(|(tensor, spec)| (tensor.shard(), spec));
    writing.commit(tensors, None)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Decompressed {
        schema_version: 1,
        input: model.root().display().to_string(),
        output: output.display().to_string(),
        device: execution.backend.name().to_owned(),
        tensors: catalog.tensors.iter().zip(&specs).map(|(t, spec)| row(t, spec)).collect(),
        bytes_before: model.tensors().map(|(_, tensor)| tensor.bytes()).sum(),
        bytes_after,
        seconds,
        gb_per_second: bytes_after as f64 / 1e9 / seconds.max(1e-9),
    })
}

fn spec(tensor: &StoredTensor) -> TensorSpec {
    TensorSpec { name: tensor.name.clone(), dtype: tensor.dtype, shape: tensor.shape.clone() }
}

fn row(tensor: &StoredTensor, spec: &TensorSpec) -> DecompressedTensor {
    DecompressedTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype.name(),
        stored: report::form_name(&tensor.form),
        bytes_before: tensor.bytes(),
        bytes_after: spec.bytes(),
    }
}

/// The metadata of a shard without what only compressed files say.
fn metadata(model: &Model, shard: usize) -> Metadata {
    let ours = [stored::QUANTIZATION, stored::TRANSPOSED, stored::NAMES];
    let all: &BTreeMap<String, String> = model.shards()[shard].metadata();
    let kept = all.iter().filter(|(key, _)| !ours.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The pass over one shard.
struct Pass<'a> {
    model: &'a Model,
    catalog: &'a Catalog,
    writer: &'a SafetensorsWriter,
    /// The tensors of this shard, in the order of the writer.
    here: &'a [usize],
}

enum Job {
    /// Rows of a compressed tensor; `place` is that in the writer.
    Rows { place: usize, weight: Weight, rows: Range<usize> },
    /// Bytes of a dense one.
    Copy { place: usize, range: Range<usize> },
}

impl Pass<'_> {
    fn run(&self, execution: &Execution<'_>) -> Result<()> {
        let mut jobs = vec![];
        for (place, number) in self.here.iter().enumerate() {
            let tensor = &self.catalog.tensors[*number];
            match (&tensor.form, tensor.weight()) {
                (Form::Codes { .. } | Form::Bitmask { .. }, Some(weight)) => {
                    jobs.extend(weight.slabs().map(|rows| Job::Rows { place, weight, rows }));
                }
                _ => {
                    let ranges = copy_ranges(tensor.bytes() as usize);
                    jobs.extend(ranges.map(|range| Job::Copy { place, range }));
                }
            }
        }
        workers::map(execution.threads(), &jobs, |job| self.work(execution, job))?;
        Ok(())
    }

    fn work(&self, execution: &Execution<'_>, job: &Job) -> Result<()> {
        let (Job::Rows { place, .. } | Job::Copy { place, .. }) = job;
        let tensor = &self.catalog.tensors[self.here[*place]];
        let write = |at: usize, bytes: &[u8]| self.writer.write_at(*place, at as u64, bytes);
        match (job, &tensor.form) {
            (Job::Rows { weight, rows, .. }, _) => {
                let path = self.model.shards()[tensor.shard()].path();
                let dense = tensor
                    .rows(self.model, execution.backend, weight, rows)
                    .map_err(|e| e.in_file(path))?;
                weight.scatter(rows, &dense, write)?;
                tensor.release(self.model, weight, rows);
                (execution.progress)(Advance::Read { bytes: dense.len() as u64 });
                Ok(())
            }
            (Job::Copy { range, .. }, Form::Dense(part)) => {
                let file = &self.model.shards()[part.shard];
                write(range.start, file.bytes(&part.info, range.clone()))?;
                file.release(&part.info, range.clone());
                (execution.progress)(Advance::Read { bytes: range.len() as u64 });
                Ok(())
            }
            (Job::Copy { .. }, _) => Ok(()),
        }
    }
}
