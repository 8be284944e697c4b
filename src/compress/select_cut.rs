//! The cut of an exact sparsity: a radix select over magnitude keys in at most three passes.

use std::sync::Mutex;

use super::pass::{Context, Slab, slabs};
use super::plan::Plan;
use super::workers::lock;
use crate::cpu::slab::Prune;
use crate::error::{Error, Result};
use crate::ops;
use crate::scheme::{Cut, RadixDigit};
use crate::tensor::FloatType;

/// Shift and width of the digits. Keys of 16-bit types have no bits in the last one.
const DIGITS: [(u32, u32); 3] = [(20, 11), (10, 10), (0, 10)];

/// Tensors that share one cut, and how far its selection has come.
struct Group {
    tensors: Vec<usize>,
    /// Number of the wanted key among those with the current prefix, from 1; 0 prunes nothing.
    rank: u64,
    prefix: u32,
    /// Weights whose key is the wanted one.
    ties: u64,
}

/// A cut for every selected tensor that loses a weight: the smallest `share` of each or, where
/// `global`, of all together.
pub(super) fn run(
    context: &Context<'_>,
    plan: &Plan,
    share: f64,
    global: bool,
) -> Result<Vec<(usize, Prune)>> {
    let mut groups = groups(plan, share, global);
    let slabs = slabs(plan, |_, _| true);
    let mut group_of = vec![0; plan.tensors.len()];
    for (number, group) in groups.iter().enumerate() {
        for tensor in &group.tensors {
            group_of[*tensor] = number;
        }
    }
    let digits = digits(plan);
    let lowest = digits.last().map_or(0, |(shift, _)| *shift);
    let mut last: Vec<SparseCounts> = vec![];
    for &(shift, bits) in digits {
        let totals: Vec<Mutex<Vec<u64>>> =
            groups.iter().map(|_| Mutex::new(vec![0; 1 << bits])).collect();
        last = context.map(plan, &slabs, |loaded| {
            let number = group_of[loaded.slab.tensor];
            let group = &groups[number];
            if group.rank == 0 {
                return Ok(vec![]);
            }
            let digit = RadixDigit { shift, bits, prefix: group.prefix };
            let float = loaded.work.weight.float;
            let counts = ops::histogram::count_digit(context.backend, float, &loaded.data, digit)?;
            add(&mut lock(&totals[number]), &counts);
            Ok(if shift == lowest { sparse(&counts) } else { vec![] })
        })?;
        for (group, total) in groups.iter_mut().zip(&totals).filter(|(g, _)| g.rank > 0) {
            group.narrow(bits, &lock(total))?;
        }
    }
    let mut cuts = vec![];
    for (number, group) in groups.iter().enumerate().filter(|(_, g)| g.rank > 0) {
        let own = slabs.iter().zip(&last).filter(|(slab, _)| group_of[slab.tensor] == number);
        let bin = group.prefix & ((1 << digits[digits.len() - 1].1) - 1);
        let ties = own.map(|(slab, counts)| {
            let found = counts.binary_search_by_key(&bin, |(bin, _)| *bin);
            (slab, found.map_or(0, |at| u64::from(counts[at].1)))
        });
        cuts.extend(group.cut(context, plan, lowest, ties)?);
    }
    Ok(cuts)
}

/// The digits that the keys of the selected weights have; one reading pass each.
fn digits(plan: &Plan) -> &'static [(u32, u32)] {
    let wide = plan.selected().any(|(_, _, work)| work.weight.float == FloatType::F32);
    if wide { &DIGITS } else { &DIGITS[..2] }
}

/// Reading passes that [`run`] makes.
pub(super) fn passes(plan: &Plan) -> u64 {
    digits(plan).len() as u64
}

/// Bins that are not empty, with their counts. Few of a slab's weights share all but the last digit
/// with the cut, so that what is kept of a slab is far smaller than its histogram.
type SparseCounts = Vec<(u32, u32)>;

fn sparse(counts: &[u32]) -> SparseCounts {
    let bins = (0..).zip(counts);
    bins.filter(|(_, count)| **count > 0).map(|(bin, count)| (bin, *count)).collect()
}

fn add(total: &mut [u64], counts: &[u32]) {
    for (total, count) in total.iter_mut().zip(counts) {
        *total += u64::from(*count);
    }
}

fn groups(plan: &Plan, share: f64, global: bool) -> Vec<Group> {
    let group = |tensors: Vec<usize>, weights: u64| Group {
        tensors,
        rank: (weights as f64 * share).round_ties_even() as u64,
        prefix: 0,
        ties: 0,
    };
    let each = plan.selected().map(|(tensor, _, work)| (tensor, work.weight.len() as u64));
    if global {
        let (tensors, lens): (Vec<_>, Vec<_>) = each.unzip();
        vec![group(tensors, lens.iter().sum())]
    } else {
        each.map(|(tensor, len)| group(vec![tensor], len)).collect()
    }
}

impl Group {
    /// Extends the prefix by one digit, given its counts.
    fn narrow(&mut self, bits: u32, total: &[u64]) -> Result<()> {
        for (digit, count) in total.iter().enumerate() {
            if self.rank <= *count {
                self.prefix = self.prefix << bits | digit as u32;
                self.ties = *count;
                return Ok(());
            }
            self.rank -= count;
        }
        Err(Error::Bug { what: "a rank beyond the number of weights" })
    }

    /// The cut of each tensor. Of the ties, the first so many stay; `ties` tells how many lie in
    /// each slab, so that only the slab with the last one is read again.
    fn cut<'a>(
        &self,
        context: &Context<'_>,
        plan: &Plan,
        shift: u32,
        ties: impl Iterator<Item = (&'a Slab, u64)>,
    ) -> Result<Vec<(usize, Prune)>> {
        let key = self.prefix << shift;
        let mut first_index = vec![];
        let mut len = 0;
        for tensor in &self.tensors {
            first_index.push(len);
            let work = plan.tensors[*tensor].work.as_ref();
            len += work.map_or(0, |work| work.weight.len() as u64);
        }
        let mut keep = self.ties - self.rank;
        let mut ties_below = 0;
        if keep > 0 {
            for (slab, count) in ties {
                if keep < count {
                    let place = self.tensors.iter().position(|tensor| *tensor == slab.tensor);
                    let base = first_index[place.unwrap_or_default()];
                    ties_below = base + nth_tie(context, plan, slab, key, keep)?;
                    break;
                }
                keep -= count;
            }
        }
        let cut = Cut { key, ties_below };
        let each = self.tensors.iter().zip(first_index);
        Ok(each.map(|(tensor, first_index)| (*tensor, Prune::Cut { cut, first_index })).collect())
    }
}

/// Index in its tensor of the weight of `slab` with this key that has `before` others before it.
fn nth_tie(context: &Context<'_>, plan: &Plan, slab: &Slab, key: u32, before: u64) -> Result<u64> {
    context.load(plan, slab, |loaded| {
        let (float, count) = (loaded.work.weight.float, loaded.matrix().len());
        let key_at = |i: &usize| float.load(&loaded.data, *i).to_bits() & 0x7fff_ffff;
        let mut ties = (0..count).filter(|i| key_at(i) == key);
        match ties.nth(before as usize) {
            Some(index) => Ok(loaded.first_index() + index as u64),
            None => Err(Error::Bug { what: "ties that were counted are not there" }),
        }
    })
}
