//! How far two models are apart.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use super::execution::{Advance, Execution};
use super::report::decibels;
use super::workers;
use crate::cpu::slab::{self, ReportSums};
use crate::error::Result;
use crate::io::Model;
use crate::stored::{Catalog, StoredTensor, Weight};

/// One tensor of the first model against that of the same name in the second.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedTensor {
    /// Its name.
    pub name: String,
    /// Its shape in the first model, or in the second where only that has it.
    pub shape: Vec<usize>,
    /// How they compare.
    #[serde(flatten)]
    pub difference: Difference,
}

/// How two tensors compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Difference {
    /// Every element is the same.
    Equal,
    /// Some elements are not.
    Different(Figures),
    /// They hold no floats and their bytes differ.
    Bytes,
    /// Their shapes differ.
    Shape {
        /// The shape in the second model.
        second: Vec<usize>,
    },
    /// Only one of the models has it.
    Missing {
        /// Which model lacks it: 1 or 2.
        from: u8,
    },
}

/// By how much two tensors differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// 10 log₁₀ (Σ a² / Σ (a − b)²), over elements that are finite in both.
    pub sqnr_db: Option<f64>,
    /// max |a − b|, over elements that are finite in both.
    pub max_error: f32,
    /// Σ a·b / √(Σ a² · Σ b²); `None` where one of them is all zeros.
    pub cosine: Option<f64>,
    /// Elements of which one or both are NaN or infinite and that differ.
    pub non_finite: u64,
}

/// How far two models are apart.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Version of this form.
    pub schema_version: u32,
    /// The first model.
    pub first: String,
    /// The second model.
    pub second: String,
    /// Each tensor of the first, then those that only the second has.
    pub tensors: Vec<ComparedTensor>,
    /// Signal to noise of all float tensors together; `None` where nothing differs.
    pub sqnr_db: Option<f64>,
    /// Largest |a − b| of all float tensors.
    pub max_error: f32,
}

/// Sums of a slab or a tensor.
#[derive(Clone, Copy, Default)]
struct Sums {
    both: ReportSums,
    /// Σ b².
    second: f64,
    non_finite: u64,
    /// Whether any element differs.
    differs: bool,
}

/// Compares tensors of the same name, decompressed where they are compressed.
///
/// # Errors
/// [`crate::error::FormatProblem::Compressed`] for tensors that do not fit together.
pub fn compare(first: &Model, second: &Model, execution: &Execution<'_>) -> Result<Comparison> {
    let (a, b) = (Catalog::new(first)?, Catalog::new(second)?);
    let by_name: HashMap<&str, &StoredTensor> =
        b.tensors.iter().map(|tensor| (&*tensor.name, tensor)).collect();
    let pairs: Vec<(&StoredTensor, Option<&StoredTensor>)> =
        a.tensors.iter().map(|tensor| (tensor, by_name.get(&*tensor.name).copied())).collect();
    let sums = compute(first, second, &pairs, execution)?;
    let mut all = ReportSums::default();
    let mut tensors = vec![];
    for ((a, b), sums) in pairs.iter().zip(&sums) {
        if let Some(sums) = sums {
            super::report::add(&mut all, &sums.both);
        }
        let (name, shape) = (a.name.clone(), a.shape.clone());
        let difference = difference((first, a), *b, second, sums.as_ref());
        tensors.push(ComparedTensor { name, shape, difference });
    }
    let names: std::collections::HashSet<&str> = a.tensors.iter().map(|t| &*t.name).collect();
    for tensor in b.tensors.iter().filter(|tensor| !names.contains(&*tensor.name)) {
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        tensors.push(ComparedTensor { name, shape, difference: Difference::Missing { from: 1 } });
    }
    Ok(Comparison {
        schema_version: 1,
        first: first.root().display().to_string(),
        second: second.root().display().to_string(),
        tensors,
        sqnr_db: decibels(all.signal, all.error),
        max_error: all.max_error,
    })
}

fn difference(
    (first, a): (&Model, &StoredTensor),
    b: Option<&StoredTensor>,
    second: &Model,
    sums: Option<&Sums>,
) -> Difference {
    let Some(b) = b else { return Difference::Missing { from: 2 } };
    if a.shape != b.shape {
        return Difference::Shape { second: b.shape.clone() };
    }
    match sums {
        None if a.dtype == b.dtype && a.raw(first).eq(b.raw(second)) => Difference::Equal,
        None => Difference::Bytes,
        Some(sums) if !sums.differs => Difference::Equal,
        Some(sums) => Difference::Different(figures(sums)),
    }
}

fn figures(sums: &Sums) -> Figures {
    let ReportSums { signal, error, max_error, .. } = sums.both;
    // From Σ (a − b)² = Σ a² + Σ b² − 2 Σ ab.
    let product = (signal + sums.second - error) / 2.0;
    let norm = (signal * sums.second).sqrt();
    Figures {
        sqnr_db: decibels(signal, error),
        max_error,
        cosine: (norm > 0.0).then(|| (product / norm).clamp(-1.0, 1.0)),
        non_finite: sums.non_finite,
    }
}

/// The weights of a pair that can be compared as floats.
fn weights(a: &StoredTensor, b: &StoredTensor) -> Option<(Weight, Weight)> {
    let (first, second) = (a.weight()?, b.weight()?);
    // A kernel and its transpose are compared as they are stored.
    let fits = a.shape == b.shape && first.transposed == second.transposed;
    fits.then_some((first, second))
}

/// The sums of each pair of float tensors of the same shape.
fn compute(
    first: &Model,
    second: &Model,
    pairs: &[(&StoredTensor, Option<&StoredTensor>)],
    execution: &Execution<'_>,
) -> Result<Vec<Option<Sums>>> {
    let mut jobs: Vec<(usize, Weight, Weight, Range<usize>)> = vec![];
    for (number, (a, b)) in pairs.iter().enumerate() {
        if let Some((wa, wb)) = b.and_then(|b| weights(a, b)) {
            jobs.extend(wa.slabs().map(|rows| (number, wa, wb, rows)));
        }
    }
    let bytes = |(_, a, b, rows): &(usize, Weight, Weight, Range<usize>)| {
        a.slab_bytes(rows) + b.slab_bytes(rows)
    };
    (execution.progress)(Advance::Begin { bytes: jobs.iter().map(bytes).sum() });
    let rows_of = |model: &Model, tensor: &StoredTensor, weight: &Weight, rows: &Range<usize>| {
        let path = model.shards()[tensor.shard()].path();
        let data = tensor.rows(model, execution.backend, weight, rows);
        let data = data.map_err(|error| error.in_file(path))?;
        let mut values = vec![0.0; rows.len() * weight.cols];
        weight.float.decode(&data, &mut values);
        (execution.progress)(Advance::Read { bytes: data.len() as u64 });
        tensor.release(model, weight, rows);
        Ok::<_, crate::Error>(values)
    };
    let parts = workers::map(execution.threads(), &jobs, |(number, wa, wb, rows)| {
        let (a, b) = pairs[*number];
        let Some(b) = b else { return Ok(Sums::default()) };
        Ok(sums(rows_of(first, a, wa, rows)?, rows_of(second, b, wb, rows)?))
    })?;
    let mut totals: Vec<Option<Sums>> = vec![None; pairs.len()];
    for ((number, ..), part) in jobs.iter().zip(parts) {
        let total = totals[*number].get_or_insert_default();
        super::report::add(&mut total.both, &part.both);
        total.second += part.second;
        total.non_finite += part.non_finite;
        total.differs |= part.differs;
    }
    Ok(totals)
}

fn sums(mut a: Vec<f32>, mut b: Vec<f32>) -> Sums {
    let mut sums = Sums { differs: a != b, ..Sums::default() };
    // Folded rather than stopped at the first, so that it vectorises.
    if a.iter().chain(&b).fold(false, |found, value| found | !value.is_finite()) {
        // NaN is not equal to itself, so these are compared by their bits.
        sums.differs = false;
        for (a, b) in a.iter_mut().zip(&mut b) {
            let same = a.to_bits() == b.to_bits() || *a == *b;
            sums.differs |= !same;
            if !a.is_finite() || !b.is_finite() {
                sums.non_finite += u64::from(!same);
                (*a, *b) = (0.0, 0.0);
            }
        }
    }
    sums.both = slab::difference(&a, &b);
    sums.second = slab::difference(&b, &b).signal;
    sums
}
