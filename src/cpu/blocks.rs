//! How a product is divided among threads, and what happens to its sums.

use std::ops::Range;

use bytemuck::Zeroable;
use rayon::prelude::*;

use super::activation;
use super::simd::{Floats, Kernel, LANES, Level, Simd};
use super::team;
use crate::scheme::Activation;

/// What follows the sums of a layer.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// `[outputs]`, added to every row.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
    /// The instructions that compute it all.
    pub level: Level,
}

/// `[batch, outputs]` sums, the outputs in panels of [`LANES`].
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub batch: usize,
    pub outputs: usize,
    /// Multiplications, of which each takes one thread about 20 ps.
    pub products: usize,
    /// Bytes of the weights.
    pub bytes: usize,
    /// Panels that are worth computing together.
    pub group: usize,
    /// Rows that are worth computing together, 8 or more of them: many where weights are decoded
    /// for each part.
    pub row_group: usize,
}

/// Cost below which threads cost more than they save: about 30 µs.
const PARALLEL_FROM: usize = 3 << 19;
/// Cost of a part that is worth handing out.
const PART_FROM: usize = 1 << 19;
/// Parts a thread: many, so that none waits long for one that began late or was interrupted.
const PARTS: usize = 16;
/// Rows of a part, at most: their inputs should stay in the second cache.
pub(super) const ROWS: usize = 128;
/// Vectors of sums of a part, at most: they should stay in the second cache.
const SUMS: usize = 1024;
/// Bytes of weights that each part may read all of: they should stay in the second cache.
const SMALL: usize = 1 << 19;

impl Shape {
    fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// What it takes, in units of about 20 ps: a multiplication, or a byte.
    fn cost(&self) -> usize {
        self.products + self.bytes
    }

    /// Rows and panels of a part.
    fn part(&self, threads: usize) -> (usize, usize) {
        let (group, panels) = (self.group, self.panels());
        let most = |rows: usize| panels.min((SUMS / rows / group).max(1) * group);
        let rows = self.batch.min(ROWS);
        if threads == 1 {
            return (rows, most(rows));
        }
        let wanted = (threads * PARTS).min(self.cost() / PART_FROM).max(1);
        // The more rows a part has, the fewer times are weights read and decoded.
        let by_row = match self.bytes {
            ..=SMALL => wanted.min(self.batch.div_ceil(self.row_group)),
            _ => self.batch.div_ceil(ROWS),
        };
        // Multiples of eight, so that the order of sums does not depend on the number of parts.
        let rows = self.batch.div_ceil(by_row).next_multiple_of(8).min(rows);
        let by_panel = wanted.div_ceil(self.batch.div_ceil(rows)).min(panels.div_ceil(group));
        (rows, most(rows).min(panels.div_ceil(by_panel).next_multiple_of(group)))
    }

    /// Lets `sum` add up parts, in parallel where that is worth it, and finishes them into `out`
    /// `[batch, outputs]`. `sum` gets the rows, the panels and zeros `[rows, panels]`.
    pub(super) fn run(
        &self,
        finish: Finish<'_>,
        out: &mut [f32],
        sum: impl Fn(Range<usize>, Range<usize>, &mut [Floats]) + Sync,
    ) {
        let Self { batch, outputs, .. } = *self;
        assert_eq!(out.len(), batch * outputs);
        assert!(finish.bias.is_none_or(|bias| bias.len() == outputs), "a bias an output");
        if out.is_empty() {
            return;
        }
        let threads = threads(self.cost());
        let panels = self.panels();
        let (rows, span) = self.part(threads);
        let across = panels.div_ceil(span);
        let target = Target(out.as_mut_ptr());
        let part = |number: usize| {
            let (row, panel) = (number / across * rows, number % across * span);
            let rows = row..batch.min(row + rows);
            let span = panel..panels.min(panel + span);
            let mut sums = vec![Floats::zeroed(); rows.len() * span.len()];
            sum(rows.clone(), span.clone(), &mut sums);
            finish.apply_panels(&mut sums, span.clone());
            let columns = span.start * LANES..outputs.min(span.end * LANES);
            for (row, sums) in rows.zip(sums.chunks_exact(span.len())) {
                let values = &bytemuck::cast_slice(sums)[..columns.len()];
                // SAFETY: row < batch and columns.end <= outputs, and no other part has both.
                unsafe { target.write(row * outputs + columns.start, values) };
            }
        };
        share(threads, batch.div_ceil(rows) * across, &part);
    }
}

/// Threads that are worth starting for work of this cost.
pub(super) fn threads(cost: usize) -> usize {
    if cost < PARALLEL_FROM { 1 } else { rayon::current_num_threads() }
}

/// Runs `part` for each number below `parts`.
pub(super) fn share(threads: usize, parts: usize, part: &(impl Fn(usize) + Sync + Send)) {
    if threads == 1 || parts == 1 {
        (0..parts).for_each(part);
    } else if rayon::current_thread_index().is_some() {
        // This is one of several threads that share some other work.
        (0..parts).into_par_iter().with_max_len(1).for_each(part);
    } else {
        team::run(parts, part);
    }
}

impl Finish<'_> {
    /// The bias and the activation of some columns of a row.
    #[inline]
    pub fn apply(&self, values: &mut [f32], columns: Range<usize>) {
        if let Some(bias) = self.bias {
            values.iter_mut().zip(&bias[columns]).for_each(|(value, bias)| *value += bias);
        }
        activation::apply(self.activation, values);
    }

    /// The same of sums `[rows, span]`; lanes that nobody reads get anything.
    fn apply_panels(&self, sums: &mut [Floats], span: Range<usize>) {
        if let Some(bias) = self.bias {
            let values = bias[span.start * LANES..].iter().take(span.len() * LANES);
            let mut bias = vec![Floats::zeroed(); span.len()];
            bytemuck::cast_slice_mut(&mut bias).iter_mut().zip(values).for_each(|(to, b)| *to = *b);
            self.level.run(AddToRows { sums, bias: &bias });
        }
        activation::apply(self.activation, bytemuck::cast_slice_mut(sums));
    }
}

/// Adds the same to each row.
struct AddToRows<'a> {
    /// `[rows, panels]`
    sums: &'a mut [Floats],
    /// `[panels]`
    bias: &'a [Floats],
}

impl Kernel for AddToRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for sums in self.sums.chunks_exact_mut(self.bias.len()) {
            for (sum, bias) in sums.iter_mut().zip(self.bias) {
                simd.store(simd.add(simd.load(&sum.0), simd.load(&bias.0)), &mut sum.0);
            }
        }
    }
}

/// A buffer that several threads write different elements of.
struct Target(*mut f32);

// SAFETY: the callers of `write` write disjoint elements.
unsafe impl Sync for Target {}
// SAFETY: as above.
unsafe impl Send for Target {}

impl Target {
    /// # Safety
    /// Within the buffer, and touched by nobody else.
    unsafe fn write(&self, at: usize, values: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(at).copy_from_nonoverlapping(values.as_ptr(), values.len()) }
    }
}
