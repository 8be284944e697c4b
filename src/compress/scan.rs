//! What must be known of whole tensors before the first slab is written: cuts, scales of whole
//! tensors, and how many weights stay.

use super::pass::{Context, Loaded, slabs};
use super::plan::{Form, Plan, Work};
use super::recipe::Pruning;
use super::select_cut;
use crate::cpu::{
    self,
    slab::{Prune, SlabStep},
};
use crate::error::Result;
use crate::ops;
use crate::scheme::{Cut, Granularity, QuantParams, SegmentStats};

/// What the passes before the last one found for a tensor.
#[derive(Clone, Debug, Default)]
pub(super) struct TensorScan {
    /// For the slab whose first element is the tensor's first.
    pub prune: Option<Prune>,
    /// Where one scale serves the whole tensor.
    pub params: Option<QuantParams>,
    /// What is kept before each slab and, last, in all, where a bit mask is written.
    pub kept: Vec<Kept>,
}

/// What a mask keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Weights, or their codes.
    pub weights: u64,
    /// Bytes of the mask that are not 0; counted for codes only.
    pub mask_bytes: u64,
}

impl Kept {
    /// That of the mask `bitmask`.
    fn by(bitmask: &[u8]) -> Self {
        let bits = bitmask.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let bytes = bitmask.iter().filter(|byte| **byte != 0).count() as u64;
        Self { weights: bits, mask_bytes: bytes }
    }
}

impl std::ops::Add for Kept {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            mask_bytes: self.mask_bytes + other.mask_bytes,
        }
    }
}

impl TensorScan {
    /// The step for a slab.
    pub(super) fn step<'a>(&'a self, loaded: &Loaded<'a>, dense: bool) -> SlabStep<'a> {
        let scheme = loaded.work.scheme.as_ref();
        SlabStep {
            prune: self.prune_at(loaded.first_index()),
            quantize: scheme.map(|scheme| (scheme, self.params.as_ref())),
            dense,
        }
    }

    fn prune_at(&self, index: u64) -> Option<Prune> {
        self.prune.map(|prune| match prune {
            Prune::Cut { cut, first_index } => Prune::Cut { cut, first_index: first_index + index },
            Prune::Nm(pattern) => Prune::Nm(pattern),
        })
    }

    /// What stays, in all.
    pub(super) fn kept_in_all(&self) -> Kept {
        self.kept.last().copied().unwrap_or_default()
    }
}

/// Makes all passes but the last; one entry for each tensor of the plan.
pub(super) fn run(context: &Context<'_>, plan: &Plan) -> Result<Vec<TensorScan>> {
    let mut scans = vec![TensorScan::default(); plan.tensors.len()];
    prune(context, plan, &mut scans)?;
    whole_tensor_params(context, plan, &mut scans)?;
    count_kept(context, plan, &mut scans)?;
    Ok(scans)
}

/// Bytes that [`run`] reads.
pub(super) fn bytes_to_read(plan: &Plan) -> u64 {
    let pruning = match plan.prune {
        None | Some(Pruning::Nm(_) | Pruning::Threshold(_)) => 0,
        Some(Pruning::ThresholdRatio(_)) => 1,
        Some(Pruning::Sparsity { .. }) => select_cut::passes(plan),
    };
    let each = plan.selected().map(|(_, _, work)| {
        let passes = pruning + u64::from(whole_tensor(work)) + u64::from(work.form.has_mask());
        passes * work.weight.bytes() as u64
    });
    each.sum()
}

/// Whether one scale serves the whole tensor.
fn whole_tensor(work: &Work) -> bool {
    work.scheme.is_some_and(|scheme| scheme.granularity == Granularity::Tensor)
}

fn prune(context: &Context<'_>, plan: &Plan, scans: &mut [TensorScan]) -> Result<()> {
    let everywhere = |scans: &mut [TensorScan], prune| {
        for (tensor, ..) in plan.selected() {
            scans[tensor].prune = Some(prune);
        }
    };
    match plan.prune {
        None => {}
        Some(Pruning::Nm(pattern)) => everywhere(scans, Prune::Nm(pattern)),
        Some(Pruning::Threshold(threshold)) => {
            everywhere(scans, Prune::Cut { cut: Cut::above(threshold), first_index: 0 });
        }
        Some(Pruning::ThresholdRatio(ratio)) => {
            let stats = stats(context, plan, |_| true, None)?;
            for (tensor, ..) in plan.selected() {
                let cut = Cut::at_least(ratio * stats[tensor].abs_max);
                scans[tensor].prune = Some(Prune::Cut { cut, first_index: 0 });
            }
        }
        Some(Pruning::Sparsity { share, global }) => {
            for (tensor, cut) in select_cut::run(context, plan, share, global)? {
                scans[tensor].prune = Some(cut);
            }
        }
    }
    Ok(())
}

/// Scales of whole tensors, from what pruning leaves.
fn whole_tensor_params(context: &Context<'_>, plan: &Plan, scans: &mut [TensorScan]) -> Result<()> {
    if !plan.selected().any(|(_, _, work)| whole_tensor(work)) {
        return Ok(());
    }
    let stats = stats(context, plan, whole_tensor, Some(scans))?;
    for (tensor, _, work) in plan.selected() {
        if let Some(scheme) = &work.scheme
            && whole_tensor(work)
        {
            let stats = &stats[tensor..=tensor];
            let float = work.weight.float;
            scans[tensor].params =
                Some(ops::quant_params::compute(context.backend, float, stats, scheme)?);
        }
    }
    Ok(())
}

/// Statistics of whole tensors: as they are, or as `scans` prunes them.
fn stats(
    context: &Context<'_>,
    plan: &Plan,
    wanted: impl Fn(&Work) -> bool,
    scans: Option<&[TensorScan]>,
) -> Result<Vec<SegmentStats>> {
    let slabs = slabs(plan, |_, work| wanted(work));
    let parts = context.map(plan, &slabs, |loaded| {
        let pruned = match scans.map(|scans| &scans[loaded.slab.tensor]) {
            Some(scan) if scan.prune.is_some() => {
                let step = SlabStep { quantize: None, ..scan.step(loaded, true) };
                Some(ops::slab::run(context.backend, loaded.matrix(), &step)?.dense)
            }
            _ => None,
        };
        let data = pruned.as_deref().unwrap_or(&loaded.data);
        let float = loaded.work.weight.float;
        let len = loaded.matrix().len().max(1);
        let stats = ops::stats::segments(context.backend, float, data, len)?;
        Ok(stats.first().copied().unwrap_or_default())
    })?;
    let mut stats = vec![SegmentStats::default(); plan.tensors.len()];
    for (slab, part) in slabs.iter().zip(parts) {
        stats[slab.tensor] = ops::stats::join(stats[slab.tensor], part);
    }
    Ok(stats)
}

/// What stays, where a bit mask is written.
fn count_kept(context: &Context<'_>, plan: &Plan, scans: &mut [TensorScan]) -> Result<()> {
    let slabs = slabs(plan, |_, work| work.form.has_mask());
    let counts = context.map(plan, &slabs, |loaded| {
        let scan = &scans[loaded.slab.tensor];
        let matrix = loaded.matrix();
        let output = ops::slab::run(context.backend, matrix, &scan.step(loaded, false))?;
        match &loaded.work.scheme {
            Some(scheme) if loaded.work.form == Form::KeptCodes => {
                let params = scan.params.as_ref().unwrap_or(&output.params);
                let (rows, cols) = (matrix.rows, matrix.cols);
                let mask = cpu::bitmask_codes::mask(&output.packed, rows, cols, params, scheme);
                Ok(Kept::by(&mask))
            }
            _ => Ok(Kept { weights: matrix.len() as u64 - output.sums.zeros, mask_bytes: 0 }),
        }
    })?;
    for (slab, count) in slabs.iter().zip(counts) {
        let kept = &mut scans[slab.tensor].kept;
        if slab.number == 0 {
            kept.push(Kept::default());
        }
        kept.push(kept[slab.number] + count);
    }
    Ok(())
}
