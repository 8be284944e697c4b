//! One reading pass over the selected weights, slab by slab.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::execution::{Advance, Execution, Progress};
use super::neurons::Slim;
use super::plan::{Plan, TensorPlan, Work};
use super::workers;
use crate::error::{Error, FormatProblem, Result};
use crate::io::{Model, SafetensorsFile};
use crate::ops::Backend;
use crate::tensor::{FloatType, Matrix, finite};

/// What every pass needs.
pub(super) struct Context<'a> {
    pub model: &'a Model,
    pub backend: &'a Backend,
    pub threads: usize,
    pub progress: Progress<'a>,
    /// Whether every selected weight is known to be finite, or need not be.
    finite: AtomicBool,
}

/// Whole rows of one tensor.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    /// Place in the plan.
    pub tensor: usize,
    /// Place among the tensor's slabs.
    pub number: usize,
    pub rows: Range<usize>,
}

/// A slab as a pass sees it.
pub(super) struct Loaded<'a> {
    pub slab: &'a Slab,
    pub work: &'a Work,
    pub data: Cow<'a, [u8]>,
}

impl Loaded<'_> {
    pub(super) fn matrix(&self) -> Matrix<'_> {
        self.work.weight.matrix(&self.slab.rows, &self.data)
    }

    /// Index of the first element in the tensor.
    pub(super) fn first_index(&self) -> u64 {
        (self.slab.rows.start * self.work.weight.cols) as u64
    }
}

/// The slabs of the selected tensors that `wanted` wants, in order.
pub(super) fn slabs(plan: &Plan, wanted: impl Fn(&TensorPlan, &Work) -> bool) -> Vec<Slab> {
    let selected = plan.selected().filter(|(_, tensor, work)| wanted(tensor, work));
    selected
        .flat_map(|(tensor, _, work)| {
            let rows = work.weight.slabs().enumerate();
            rows.map(move |(number, rows)| Slab { tensor, number, rows })
        })
        .collect()
}

impl<'a> Context<'a> {
    pub(super) fn new(model: &'a Model, execution: &Execution<'a>, allow_non_finite: bool) -> Self {
        let finite = AtomicBool::new(allow_non_finite);
        let Execution { backend, progress, .. } = *execution;
        Self { model, backend, threads: execution.threads(), progress, finite }
    }

    /// Tells that so many bytes have been worked through.
    pub(super) fn read(&self, bytes: usize) {
        (self.progress)(Advance::Read { bytes: bytes as u64 });
    }

    /// Whether `data` holds weights that are not finite and must be.
    pub(super) fn refuses(&self, float: FloatType, data: &[u8]) -> bool {
        !self.finite.load(Ordering::Relaxed) && finite::any_non_finite(float, data)
    }

    pub(super) fn file(&self, tensor: &TensorPlan) -> &'a SafetensorsFile {
        &self.model.shards()[tensor.shard]
    }

    /// Reads `slabs` and runs `work` on each; the results are in the order of `slabs`.
    pub(super) fn map<T: Send>(
        &self,
        plan: &Plan,
        slabs: &[Slab],
        work: impl Fn(&Loaded<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let results = workers::map(self.threads, slabs, |slab| {
            self.load(plan, slab, |loaded| {
                let result = work(loaded)?;
                self.read(loaded.data.len());
                Ok(result)
            })
        });
        if slabs.len() == self::slabs(plan, |_, _| true).len() && results.is_ok() {
            self.finite.store(true, Ordering::Relaxed);
        }
        results
    }

    /// Reads one slab and runs `work` on it.
    pub(super) fn load<T>(
        &self,
        plan: &Plan,
        slab: &Slab,
        work: impl Fn(&Loaded<'_>) -> Result<T>,
    ) -> Result<T> {
        let tensor = &plan.tensors[slab.tensor];
        let Some(how) = &tensor.work else {
            return Err(Error::Bug { what: "a slab of a tensor that is not selected" });
        };
        let data = match &tensor.slim {
            Some(slim) => Cow::Owned(self.kept(plan, tensor, slim, &slab.rows)?),
            None => how.weight.read(self.file(tensor), &tensor.input, &slab.rows),
        };
        if self.refuses(how.weight.float, &data) {
            return Err(self.describe_non_finite(plan));
        }
        let loaded = Loaded { slab, work: how, data };
        let result = work(&loaded)?;
        if tensor.slim.is_none() {
            how.weight.release(self.file(tensor), &tensor.input, &slab.rows);
        }
        Ok(result)
    }

    /// Rows `rows` of what stays of a tensor that loses neurons.
    pub(super) fn kept(
        &self,
        plan: &Plan,
        tensor: &TensorPlan,
        slim: &Slim,
        rows: &Range<usize>,
    ) -> Result<Vec<u8>> {
        match &plan.neurons {
            Some(neurons) => neurons.read(self.file(tensor), tensor, slim, rows),
            None => Err(Error::Bug { what: "a tensor that loses neurons of no network" }),
        }
    }

    /// The error for the first tensor that has non-finite weights, whichever thread found one.
    pub(super) fn describe_non_finite(&self, plan: &Plan) -> Error {
        for (tensor, whole) in plan.tensors.iter().filter_map(|t| Some((t, t.whole()?))) {
            let (file, info) = (self.file(tensor), &tensor.input);
            // In the order of the file, also where the weight is stored transposed.
            let as_stored = whole.as_stored();
            let (mut first, mut total) = (None, 0);
            for rows in as_stored.slabs() {
                let data = as_stored.read(file, info, &rows);
                if let Some((at, value, count)) = finite::non_finite(as_stored.float, &data) {
                    first.get_or_insert(((rows.start * as_stored.cols + at) as u64, value));
                    total += count;
                }
                as_stored.release(file, info, &rows);
            }
            if let Some((index, value)) = first {
                let tensor = info.name.clone();
                let problem = FormatProblem::NonFinite { tensor, index, value, count: total };
                return Error::from(problem).in_file(file.path());
            }
        }
        Error::Bug { what: "a non-finite weight that is not there any more" }
    }
}
