//! What is in a model.

use std::collections::BTreeMap;

use serde::Serialize;

use super::execution::{Advance, Execution};
use super::{report, workers};
use crate::error::Result;
use crate::io::Model;
use crate::ops;
use crate::scheme::SegmentStats;
use crate::stored::{Catalog, Form, StoredTensor, format_of};

/// One tensor.
#[derive(Clone, Debug, Serialize)]
pub struct InspectedTensor {
    /// Its name as a dense tensor.
    pub name: String,
    /// The file that holds it.
    pub file: String,
    /// Its shape as a dense tensor.
    pub shape: Vec<usize>,
    /// Its type as a dense tensor.
    pub dtype: &'static str,
    /// How it is stored, for example `"int4 group 128"`, or `"dense"`.
    pub stored: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bits on disk a weight, scales and masks included; `None` where it has no elements.
    pub bits_per_weight: Option<f64>,
    /// `None` where it holds no floats or statistics were not asked for.
    pub statistics: Option<Statistics>,
}

/// Statistics of the dense weights, over finite ones.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// Share of zeros.
    pub sparsity: f64,
    /// Smallest.
    pub min: f32,
    /// Largest.
    pub max: f32,
    /// Largest magnitude.
    pub abs_max: f32,
    /// Count of NaN and infinite weights.
    pub non_finite: u64,
}

/// What is in a model.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Version of this form.
    pub schema_version: u32,
    /// The model.
    pub model: String,
    /// What the model says of its compression; `None` for a dense one.
    pub format: Option<String>,
    /// The files that hold tensors.
    pub files: Vec<String>,
    /// Each tensor, in the order of the files and their data.
    pub tensors: Vec<InspectedTensor>,
    /// Elements of all tensors as dense ones.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Bytes that they would take as dense ones.
    pub dense_bytes: u64,
    /// `__metadata__` of the first file.
    pub metadata: BTreeMap<String, String>,
}

/// Describes `model`; with `statistics` all weights are read, otherwise headers only.
///
/// # Errors
/// [`crate::error::FormatProblem::Compressed`] for tensors that do not fit together.
pub fn inspect(model: &Model, statistics: bool, execution: &Execution<'_>) -> Result<Inspection> {
    let catalog = Catalog::new(model)?;
    let mut stats = vec![None; catalog.tensors.len()];
    if statistics {
        stats = compute(model, &catalog, execution)?;
    }
    let tensors: Vec<InspectedTensor> = catalog
        .tensors
        .iter()
        .zip(&stats)
        .map(|(t, stats)| row(model, t, stats.as_ref()))
        .collect();
    Ok(Inspection {
        schema_version: 1,
        model: model.root().display().to_string(),
        format: format_of(model),
        files: model.shard_names().to_vec(),
        parameters: tensors.iter().map(|t| t.shape.iter().product::<usize>() as u64).sum(),
        bytes: model.tensors().map(|(_, tensor)| tensor.bytes()).sum(),
        dense_bytes: catalog.tensors.iter().map(StoredTensor::dense_bytes).sum(),
        tensors,
        metadata: model.shards().first().map(|f| f.metadata().clone()).unwrap_or_default(),
    })
}

fn row(model: &Model, tensor: &StoredTensor, stats: Option<&SegmentStats>) -> InspectedTensor {
    let elements = tensor.shape.iter().product::<usize>() as f64;
    let bytes = tensor.bytes();
    InspectedTensor {
        name: tensor.name.clone(),
        file: model.shard_names()[tensor.shard()].clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype.name(),
        stored: report::form_name(&tensor.form),
        bytes,
        bits_per_weight: (elements > 0.0).then(|| bytes as f64 * 8.0 / elements),
        statistics: stats.map(|stats| Statistics {
            sparsity: if elements > 0.0 { stats.zeros as f64 / elements } else { 0.0 },
            min: stats.min,
            max: stats.max,
            abs_max: stats.abs_max,
            non_finite: stats.non_finite,
        }),
    }
}

/// Statistics of every tensor that holds floats.
fn compute(
    model: &Model,
    catalog: &Catalog,
    execution: &Execution<'_>,
) -> Result<Vec<Option<SegmentStats>>> {
    let mut jobs = vec![];
    for (number, tensor) in catalog.tensors.iter().enumerate() {
        if let Some(weight) = tensor.weight() {
            // The order within a tensor does not matter, so a dense one is read as it lies.
            let weight = match tensor.form {
                Form::Dense(_) => weight.as_stored(),
                _ => weight,
            };
            jobs.extend(weight.slabs().map(|rows| (number, weight, rows)));
        }
    }
    let bytes = jobs.iter().map(|(_, weight, rows)| weight.slab_bytes(rows)).sum();
    (execution.progress)(Advance::Begin { bytes });
    let parts = workers::map(execution.threads(), &jobs, |(number, weight, rows)| {
        let tensor = &catalog.tensors[*number];
        let path = model.shards()[tensor.shard()].path();
        let backend = execution.backend;
        let data =
            tensor.rows(model, backend, weight, rows).map_err(|error| error.in_file(path))?;
        let len = (rows.len() * weight.cols).max(1);
        let stats = ops::stats::segments(backend, weight.float, &data, len)?;
        tensor.release(model, weight, rows);
        (execution.progress)(Advance::Read { bytes: data.len() as u64 });
        Ok(stats.first().copied().unwrap_or_default())
    })?;
    let mut stats: Vec<Option<SegmentStats>> = vec![None; catalog.tensors.len()];
    for ((number, ..), part) in jobs.iter().zip(parts) {
        let total = &mut stats[*number];
        *total = Some(total.map_or(part, |total| ops::stats::join(total, part)));
    }
    Ok(stats)
}
