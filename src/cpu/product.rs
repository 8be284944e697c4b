//! X · Wᵀ over weights in any form: what the dense layers share.
#![expect(clippy::needless_range_loop, reason = "registers have numbers")]

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::blocks::{Finish, ROWS, Shape};
use super::dense::{Element, F32};
use super::simd::{Floats, Kernel, LANES, Simd};

/// Weights `[outputs, inputs]` in panels of [`LANES`] outputs; a last panel may have lanes that
/// nobody reads.
pub(super) trait Panels: Sync {
    /// Inputs whose weights are multiplied before their sums are added to those of the inputs
    /// before them.
    const BLOCK: usize;
    /// Whether [`Panels::tile`] needs a buffer.
    const DECODED: bool;
    /// Panels that one row of inputs reads side by side, at most: 1, 2 or 4. See [`Simd::STREAMS`].
    const STREAMS: usize;

    /// Output features.
    fn outputs(&self) -> usize;
    /// Input features.
    fn inputs(&self) -> usize;
    /// Bytes that are read to multiply all of them.
    fn bytes(&self) -> usize;
    /// The weights of a panel and of `inputs`, which begin at a multiple of [`Panels::BLOCK`] and
    /// are at most so many: a vector of outputs for each input. `buffer` has room for them.
    fn tile<'a, S: Simd>(
        &'a self,
        simd: S,
        panel: usize,
        inputs: Range<usize>,
        buffer: &'a mut [Floats],
    ) -> &'a [Floats];
    /// One row of inputs times `P` panels, into as many sums.
    fn side_by_side<S: Simd, const P: usize>(
        &self,
        simd: S,
        panel: usize,
        x: &[f32],
        sums: &mut [Floats],
    );
}

/// Panels of one type of float or another, chosen when they are made: the kernels are compiled for
/// each, and only the call of a product goes through a pointer.
pub(super) trait Product: std::fmt::Debug + Send + Sync {
    /// As [`run`].
    fn run(&self, x: &[f32], finish: Finish<'_>, out: &mut [f32]);
}

impl<W: Panels + std::fmt::Debug + Send> Product for W {
    fn run(&self, x: &[f32], finish: Finish<'_>, out: &mut [f32]) {
        run(self, x, finish, out);
    }
}

/// act(X · Wᵀ + b): `x` is `[batch, inputs]`, `out` `[batch, outputs]`.
pub(super) fn run<W: Panels>(weights: &W, x: &[f32], finish: Finish<'_>, out: &mut [f32]) {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    let batch = out.len().checked_div(outputs).unwrap_or(0);
    if out.is_empty() {
        return;
    }
    assert_eq!(x.len(), batch * inputs);
    let (side_by_side, together) = finish.level.panels();
    let shape = Shape {
        batch,
        outputs,
        products: batch * outputs.next_multiple_of(LANES) * inputs,
        bytes: weights.bytes(),
        group: if batch == 1 { side_by_side } else { together },
        row_group: if W::DECODED { ROWS / 2 } else { 8 },
    };
    shape.run(finish, out, |rows, span, sums| {
        let x = &x[rows.start * inputs..rows.end * inputs];
        finish.level.run(Part { weights, x, single: batch == 1, span, sums });
    });
}

/// Some rows times some panels.
struct Part<'a, W> {
    weights: &'a W,
    /// `[rows, inputs]`
    x: &'a [f32],
    /// Whether there is one row of inputs in all.
    single: bool,
    span: Range<usize>,
    /// `[rows, span]`
    sums: &'a mut [Floats],
}

impl<W: Panels> Kernel for Part<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        if self.single {
            return self.vectors(simd);
        }
        let mut buffer = vec![Floats::zeroed(); if W::DECODED { W::BLOCK * S::PANELS } else { 0 }];
        let mut panel = self.span.start;
        while panel < self.span.end {
            panel += match self.span.end - panel {
                3.. if S::PANELS >= 3 => self.group::<S, 3, false>(simd, panel, &mut buffer),
                1 if S::HALVES && self.weights.outputs() - panel * LANES <= LANES / 2 => {
                    self.group::<S, 1, true>(simd, panel, &mut buffer)
                }
                _ => self.group::<S, 1, false>(simd, panel, &mut buffer),
            };
        }
    }
}

impl<W: Panels> Part<'_, W> {
    /// One row times all panels.
    #[inline(always)]
    fn vectors<S: Simd>(self, simd: S) {
        let streams = if S::STREAMS < W::STREAMS { S::STREAMS } else { W::STREAMS };
        let mut panel = self.span.start;
        while panel < self.span.end {
            let sums = &mut self.sums[panel - self.span.start..];
            panel += match self.span.end - panel {
                4.. if streams >= 4 => {
                    self.weights.side_by_side::<S, 4>(simd, panel, self.x, sums);
                    4
                }
                2.. if streams >= 2 => {
                    self.weights.side_by_side::<S, 2>(simd, panel, self.x, sums);
                    2
                }
                _ => {
                    self.weights.side_by_side::<S, 1>(simd, panel, self.x, sums);
                    1
                }
            };
        }
    }

    /// All rows times `P` panels, or the first half of their lanes where nobody reads the others.
    #[inline(always)]
    fn group<S: Simd, const P: usize, const HALF: bool>(
        &mut self,
        simd: S,
        panel: usize,
        buffer: &mut [Floats],
    ) -> usize {
        let inputs = self.weights.inputs();
        let rows = self.sums.len() / self.span.len();
        let mut start = 0;
        while start < inputs {
            let block = start..inputs.min(start + W::BLOCK);
            let mut tiles: [&[Floats]; P] = [&[]; P];
            let mut buffers = buffer.chunks_mut(W::BLOCK);
            for p in 0..P {
                let buffer = buffers.next().unwrap_or_default();
                tiles[p] = self.weights.tile(simd, panel + p, block.clone(), buffer);
            }
            let mut row = 0;
            while row < rows {
                // Half a vector of sums leaves registers for twice the rows.
                let most = if HALF { 2 * S::ROWS } else { S::ROWS };
                let at = (row, panel, &block);
                row += match rows - row {
                    8.. if most >= 8 => self.rows::<S, 8, P, HALF>(simd, at, tiles),
                    4.. if most >= 4 => self.rows::<S, 4, P, HALF>(simd, at, tiles),
                    2.. => self.rows::<S, 2, P, HALF>(simd, at, tiles),
                    _ => self.rows::<S, 1, P, HALF>(simd, at, tiles),
                };
            }
            start = block.end;
        }
        P
    }

    /// `M` rows times `P` tiles, added to the sums.
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const P: usize, const HALF: bool>(
        &mut self,
        simd: S,
        (row, panel, block): (usize, usize, &Range<usize>),
        tiles: [&[Floats]; P],
    ) -> usize {
        let inputs = self.weights.inputs();
        let mut x: [&[f32]; M] = [&[]; M];
        for m in 0..M {
            x[m] = &self.x[(row + m) * inputs..][block.clone()];
        }
        let products = multiply::<S, F32, M, P>(simd, x, tiles);
        let width = self.span.len();
        for m in 0..M {
            let sums = &mut self.sums[(row + m) * width + panel - self.span.start..][..P];
            for p in 0..P {
                let sum = simd.add(simd.load(&sums[p].0), products[m][p]);
                match sums[p].0.first_chunk_mut() {
                    // What computes the other half is unused then, and the compiler drops it.
                    Some(half) if HALF => simd.store_half(sum, half),
                    _ => simd.store(sum, &mut sums[p].0),
                }
            }
        }
        M
    }
}

/// `M` rows of inputs times `P` tiles, added up in an order that depends on `M` and `P`
/// alone.
#[inline(always)]
pub(super) fn multiply<S: Simd, E: Element, const M: usize, const P: usize>(
    simd: S,
    x: [&[f32]; M],
    tiles: [&[E::Vector]; P],
) -> [[S::F; P]; M] {
    // Several sums of an output where there are few, so that an addition need not wait for the one
    // before it.
    match (S::CHAINS >> (M * P).ilog2()).max(1) {
        8.. => multiply_by::<S, E, M, P, 8>(simd, x, tiles, 8),
        chains => multiply_by::<S, E, M, P, 4>(simd, x, tiles, chains),
    }
}

/// [`multiply`] in steps of `U` inputs and with `chains` sums of an output, of which `U` is a
/// multiple.
#[inline(always)]
fn multiply_by<S: Simd, E: Element, const M: usize, const P: usize, const U: usize>(
    simd: S,
    x: [&[f32]; M],
    tiles: [&[E::Vector]; P],
    chains: usize,
) -> [[S::F; P]; M] {
    let terms = tiles[0].len();
    assert!(x.iter().all(|x| x.len() == terms) && tiles.iter().all(|tile| tile.len() == terms));
    let mut sums = [[[simd.splat(0.0); P]; M]; U];
    // Loops instead of closures: `map` of eight elements is not inlined.
    let mut steps: [&[[f32; U]]; M] = [&[]; M];
    let mut tile_steps: [&[[E::Vector; U]]; P] = [&[]; P];
    for m in 0..M {
        steps[m] = x[m].as_chunks().0;
    }
    for p in 0..P {
        tile_steps[p] = tiles[p].as_chunks().0;
    }
    for step in 0..terms / U {
        for i in 0..U {
            let sums = &mut sums[i % chains];
            let mut weights = [simd.splat(0.0); P];
            for p in 0..P {
                weights[p] = weight::<S, E, M, P>(simd, &tile_steps[p][step][i]);
            }
            for m in 0..M {
                add_products(simd, steps[m][step][i], weights, &mut sums[m]);
            }
        }
    }
    for k in terms / U * U..terms {
        let mut weights = [simd.splat(0.0); P];
        for p in 0..P {
            weights[p] = weight::<S, E, M, P>(simd, &tiles[p][k]);
        }
        for m in 0..M {
            add_products(simd, x[m][k], weights, &mut sums[0][m]);
        }
    }
    for m in 0..M {
        for p in 0..P {
            let mut parts = [simd.splat(0.0); U];
            for chain in 0..chains {
                parts[chain] = sums[chain][m][p];
            }
            sums[0][m][p] = total(simd, &mut parts[..chains]);
        }
    }
    sums[0]
}

/// The sum of a power of two of vectors.
#[inline(always)]
pub(super) fn total<S: Simd>(simd: S, parts: &mut [S::F]) -> S::F {
    let mut half = parts.len() / 2;
    while half > 0 {
        for i in 0..half {
            parts[i] = simd.add(parts[i], parts[i + half]);
        }
        half /= 2;
    }
    parts[0]
}

/// Bytes ahead of those in use that are asked for: what memory delivers while it takes to answer.
const AHEAD: usize = 16 << 10;

/// Asks for what follows `vector` in its stream.
#[inline(always)]
pub(super) fn prefetch<S: Simd, T>(simd: S, vector: &T) {
    if S::STREAMS == 1 {
        simd.prefetch(std::ptr::from_ref(vector).cast::<u8>().wrapping_add(AHEAD));
    }
}

/// A vector of weights. One that is used once may come from memory.
#[inline(always)]
fn weight<S: Simd, E: Element, const M: usize, const P: usize>(simd: S, bits: &E::Vector) -> S::F {
    if M * P == 1 {
        prefetch(simd, bits);
    }
    E::load(simd, bits.as_ref())
}

/// Adds the products of one input.
#[inline(always)]
fn add_products<S: Simd, const P: usize>(
    simd: S,
    x: f32,
    weights: [S::F; P],
    sums: &mut [S::F; P],
) {
    let x = simd.splat(x);
    for p in 0..P {
        sums[p] = simd.mul_add(x, weights[p], sums[p]);
    }
}

/// Room for panels, zeroed.
pub(super) fn room<T: Pod>(len: usize) -> Vec<T> {
    let room = vec![T::zeroed(); len];
    // Weights that come from memory come faster where pages are large: fewer are looked up.
    #[cfg(target_os = "linux")]
    if size_of_val(&room[..]) >= 4 << 20 {
        use rustix::mm::{Advice, madvise};
        const PAGE: usize = 4096;
        let start = room.as_ptr().addr().next_multiple_of(PAGE);
        let len = (room.as_ptr_range().end.addr() - start) / PAGE * PAGE;
        // SAFETY: this advice changes nothing that a program can see, and the range lies within
        // `room`. Kernels that do not follow it say so, which does not matter.
        let _ =
            unsafe { madvise(std::ptr::without_provenance_mut(start), len, Advice::LinuxHugepage) };
    }
    room
}

/// Runs `each` for every panel of `outputs` outputs and its part of `data`, which holds `len`
/// elements a panel, in parallel where there are many.
pub(super) fn fill_panels<T: Send>(
    outputs: usize,
    data: &mut [T],
    len: usize,
    each: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    use rayon::prelude::*;
    if len == 0 {
        return;
    }
    let each = |(panel, data): (usize, &mut [T])| {
        let first = panel * LANES;
        each(first..outputs.min(first + LANES), data);
    };
    if data.len() < 1 << 14 {
        data.chunks_exact_mut(len).enumerate().for_each(each);
    } else {
        data.par_chunks_exact_mut(len).enumerate().for_each(each);
    }
}
