//! A dense layer straight from a bit mask and the weights that are not zero.

use std::ops::Range;

use super::bitmask::Bitmask;
use super::blocks::Finish;
use super::dense::{BF16, Element, F16, F32};
use super::product::{Panels, Product, fill_panels, prefetch, room, total};
use super::simd::{Floats, LANES, Level, Simd};
use crate::scheme::Activation;
use crate::tensor::FloatType;

/// Weights `[rows, cols]` without their zeros.
#[derive(Clone, Copy, Debug)]
pub struct MaskedWeights<'a> {
    /// Type of the kept weights.
    pub float: FloatType,
    /// What is kept.
    pub mask: &'a Bitmask,
    /// Input features.
    pub cols: usize,
}

/// Kept weights in the order in which the CPU multiplies them: for each input those of sixteen
/// outputs, and a mask that tells which outputs they belong to.
#[derive(Debug)]
pub struct MaskedPanels(Box<dyn Product>);

impl MaskedPanels {
    /// Rearranges weights, whose mask and kept weights must fit each other.
    pub fn new(weights: &MaskedWeights<'_>) -> Self {
        Self(match weights.float {
            FloatType::F32 => Box::new(Of::<F32>::new(weights, f32::from_le_bytes)),
            FloatType::F16 => Box::new(Of::<F16>::new(weights, u16::from_le_bytes)),
            FloatType::BF16 => Box::new(Of::<BF16>::new(weights, u16::from_le_bytes)),
        })
    }

    /// act(X · Wᵀ + b): `x` is `[batch, inputs]`, `bias` `[outputs]` and `out` `[batch, outputs]`.
    /// Only kept weights are read; for larger batches they are decoded a tile at a time.
    pub fn forward(
        &self,
        level: Level,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
    ) {
        self.0.run(x, Finish { bias, activation, level }, out);
    }
}

/// Panels of one type.
#[derive(Debug)]
struct Of<E: Element> {
    outputs: usize,
    inputs: usize,
    /// `[panels, inputs]`: which outputs have a weight.
    masks: Vec<u16>,
    /// `[panels, blocks]`: kept weights before each block of inputs.
    starts: Vec<usize>,
    /// The kept weights, and a window more that vectors may reach into.
    values: Vec<E::Bits>,
}

impl<E: Element> Of<E> {
    fn new<const SIZE: usize>(
        weights: &MaskedWeights<'_>,
        load: fn([u8; SIZE]) -> E::Bits,
    ) -> Self {
        let MaskedWeights { mask, cols: inputs, .. } = *weights;
        let outputs = mask.row_offsets.len();
        let panels = outputs.div_ceil(LANES);
        let mut masks: Vec<u16> = room(panels * inputs);
        fill_panels(outputs, &mut masks, inputs, |rows, masks| {
            for (lane, row) in rows.enumerate() {
                for_each_kept(mask, inputs, row, |col| masks[col] |= 1 << lane);
            }
        });
        let blocks = inputs.div_ceil(Self::BLOCK);
        let mut starts = Vec::with_capacity(panels * blocks);
        let mut kept = 0;
        for masks in masks.chunks_exact(inputs.max(1)) {
            for block in masks.chunks(Self::BLOCK) {
                starts.push(kept);
                kept += block.iter().map(|mask| mask.count_ones() as usize).sum::<usize>();
            }
        }
        let mut values: Vec<E::Bits> = room(kept + WINDOW);
        let (compressed, _) = mask.compressed.as_chunks::<SIZE>();
        let mut places = vec![0; inputs];
        for (panel, masks) in masks.chunks_exact(inputs.max(1)).enumerate() {
            let mut place = starts[panel * blocks];
            for (slot, mask) in places.iter_mut().zip(masks) {
                *slot = place;
                place += mask.count_ones() as usize;
            }
            // Lanes come in order, so that each finds its place behind those below it.
            for row in panel * LANES..outputs.min((panel + 1) * LANES) {
                let mut from = mask.row_offsets[row] as usize;
                for_each_kept(mask, inputs, row, |col| {
                    values[places[col]] = load(compressed[from]);
                    places[col] += 1;
                    from += 1;
                });
            }
        }
        Self { outputs, inputs, masks, starts, values }
    }

    #[inline(always)]
    fn masks(&self, panel: usize) -> &[u16] {
        &self.masks[panel * self.inputs..][..self.inputs]
    }

    fn start(&self, panel: usize, input: usize) -> usize {
        self.starts[panel * self.inputs.div_ceil(Self::BLOCK) + input / Self::BLOCK]
    }

    /// The weights of a panel for four inputs at `place`, which moves on.
    #[inline(always)]
    fn next<S: Simd>(&self, simd: S, masks: [u16; 4], place: &mut usize) -> [S::F; 4] {
        // One look whether all of it is there: no mask can lead out of the window.
        let window: &[E::Bits; WINDOW] = self.values[*place..].first_chunk().expect("a window");
        let mut weights = [simd.splat(0.0); 4];
        let mut at = 0;
        for i in 0..4 {
            let upper = at + (masks[i] as u8).count_ones() as usize;
            let values = [window[at..].first_chunk(), window[upper..].first_chunk()];
            if let [Some(lower), Some(upper)] = values {
                let (lower, upper) = (E::load(simd, lower), E::load(simd, upper));
                weights[i] = simd.expand(masks[i], lower, upper);
            }
            at += masks[i].count_ones() as usize;
        }
        *place += at;
        weights
    }
}

/// Values that four masks may keep, and a vector behind them.
const WINDOW: usize = 5 * LANES;

/// The masks of four inputs, or of those that are left.
#[inline(always)]
fn four(masks: &[u16]) -> [u16; 4] {
    let mut four = [0; 4];
    four[..masks.len()].copy_from_slice(masks);
    four
}

/// Calls `each` with the columns of a row that have a weight.
fn for_each_kept(mask: &Bitmask, cols: usize, row: usize, mut each: impl FnMut(usize)) {
    let bytes = cols.div_ceil(8);
    for (number, part) in mask.bitmask[row * bytes..][..bytes].chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        let mut bits = u64::from_le_bytes(word);
        while bits != 0 {
            each(number * 64 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

impl<E: Element> Panels for Of<E> {
    const BLOCK: usize = 256;
    const DECODED: bool = true;
    const STREAMS: usize = 1;

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.values[..]) + size_of_val(&self.masks[..])
    }

    #[inline(always)]
    fn tile<'a, S: Simd>(
        &'a self,
        simd: S,
        panel: usize,
        inputs: Range<usize>,
        buffer: &'a mut [Floats],
    ) -> &'a [Floats] {
        let mut place = self.start(panel, inputs.start);
        let masks = &self.masks(panel)[inputs];
        let buffer = &mut buffer[..masks.len()];
        let mut buffers = buffer.chunks_exact_mut(4);
        let (masks, masks_rest) = masks.as_chunks();
        for (masks, buffer) in masks.iter().zip(buffers.by_ref()) {
            prefetch(simd, &self.values[place]);
            let weights = self.next(simd, *masks, &mut place);
            for i in 0..4 {
                simd.store(weights[i], &mut buffer[i].0);
            }
        }
        let weights = self.next(simd, four(masks_rest), &mut place);
        for (weights, to) in weights.into_iter().zip(buffers.into_remainder()) {
            simd.store(weights, &mut to.0);
        }
        buffer
    }

    #[inline(always)]
    fn side_by_side<S: Simd, const P: usize>(
        &self,
        simd: S,
        panel: usize,
        x: &[f32],
        sums: &mut [Floats],
    ) {
        for (sum, panel) in sums[..P].iter_mut().zip(panel..) {
            simd.store(self.vector(simd, panel, x), &mut sum.0);
        }
    }
}

impl<E: Element> Of<E> {
    /// One row of inputs times a panel.
    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, panel: usize, x: &[f32]) -> S::F {
        // Four sums, so that an addition need not wait for the one before it.
        let mut sums = [simd.splat(0.0); 4];
        if x.is_empty() {
            return sums[0];
        }
        let mut place = self.start(panel, 0);
        let (masks, masks_rest) = self.masks(panel).as_chunks::<4>();
        let (inputs, inputs_rest) = x.as_chunks::<4>();
        for (masks, x) in masks.iter().zip(inputs) {
            prefetch(simd, &self.values[place]);
            let weights = self.next(simd, *masks, &mut place);
            for i in 0..4 {
                sums[i] = simd.mul_add(simd.splat(x[i]), weights[i], sums[i]);
            }
        }
        let weights = self.next(simd, four(masks_rest), &mut place);
        for (i, x) in inputs_rest.iter().enumerate() {
            sums[i] = simd.mul_add(simd.splat(*x), weights[i], sums[i]);
        }
        total(simd, &mut sums)
    }
}
