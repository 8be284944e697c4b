//! A dense layer on the CPU.

use std::ops::Range;

use bytemuck::Pod;

use super::blocks::Finish;
use super::product::{self, Panels, Product, fill_panels, multiply, prefetch, room, total};
use super::simd::{Floats, Halves, LANES, Level, Simd};
use super::{convert, dense_grad};
use crate::scheme::Activation;
use crate::tensor::{FloatType, Matrix};

/// act(X · Wᵀ + b): `x` is `[batch, cols]`, `weights` `[rows, cols]`, `bias` `[rows]` and `out`
/// `[batch, rows]`. For weights that are used once: [`DensePanels`] are faster after that.
pub fn dense(
    x: &[f32],
    weights: Matrix<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let finish = Finish { bias, activation, level: Level::best() };
    // Data of a mapped file lies at any address, and gemm wants aligned floats. To transpose rows
    // for one use, as panels do, takes longer than a small product: training does little else.
    let floats = (weights.float == FloatType::F32).then(|| bytemuck::try_cast_slice(weights.data));
    let Some(Ok(floats)) = floats else { return product::run(&weights, x, finish, out) };
    if out.is_empty() {
        return;
    }
    let (batch, outputs, inputs) = (out.len() / weights.rows, weights.rows, weights.cols);
    dense_grad::product((batch, outputs, inputs), (x, inputs, 1), (floats, 1, inputs), out);
    out.chunks_exact_mut(outputs).for_each(|row| finish.apply(row, 0..outputs));
}

/// Weights in the order in which the CPU multiplies them: sixteen outputs side by side.
#[derive(Debug)]
pub struct DensePanels(Box<dyn Product>);

impl DensePanels {
    /// Rearranges weights `[rows, cols]`.
    pub fn new(weights: Matrix<'_>) -> Self {
        Self(match weights.float {
            FloatType::F32 => Box::new(Of::<F32>::new(weights, f32::from_le_bytes)),
            FloatType::F16 => Box::new(Of::<F16>::new(weights, u16::from_le_bytes)),
            FloatType::BF16 => Box::new(Of::<BF16>::new(weights, u16::from_le_bytes)),
        })
    }

    /// act(X · Wᵀ + b), as [`dense`].
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

/// How a weight is stored.
pub(super) trait Element: Send + Sync + 'static {
    /// One weight.
    type Bits: Pod + Send + Sync;
    /// Sixteen, aligned.
    type Vector: Pod + Send + Sync + AsRef<[Self::Bits; LANES]> + AsMut<[Self::Bits; LANES]>;
    /// Sixteen as floats.
    fn load<S: Simd>(simd: S, bits: &[Self::Bits; LANES]) -> S::F;
    /// The vectors themselves, where they are floats.
    fn as_floats(_: &[Self::Vector]) -> Option<&[Floats]> {
        None
    }
}

#[derive(Debug)]
pub(super) struct F32;
#[derive(Debug)]
pub(super) struct F16;
#[derive(Debug)]
pub(super) struct BF16;

impl Element for F32 {
    type Bits = f32;
    type Vector = Floats;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bits: &[f32; LANES]) -> S::F {
        simd.load(bits)
    }

    #[inline(always)]
    fn as_floats(vectors: &[Floats]) -> Option<&[Floats]> {
        Some(vectors)
    }
}

impl Element for F16 {
    type Bits = u16;
    type Vector = Halves;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bits: &[u16; LANES]) -> S::F {
        simd.load_f16(bits)
    }
}

impl Element for BF16 {
    type Bits = u16;
    type Vector = Halves;

    #[inline(always)]
    fn load<S: Simd>(simd: S, bits: &[u16; LANES]) -> S::F {
        simd.load_bf16(bits)
    }
}

/// Panels of one type.
#[derive(Debug)]
struct Of<E: Element> {
    outputs: usize,
    inputs: usize,
    /// `[panels, inputs]`
    vectors: Vec<E::Vector>,
}

impl<E: Element> Of<E> {
    fn new<const SIZE: usize>(weights: Matrix<'_>, load: fn([u8; SIZE]) -> E::Bits) -> Self {
        let Matrix { rows: outputs, cols: inputs, data, .. } = weights;
        let mut vectors: Vec<E::Vector> = room(outputs.div_ceil(LANES) * inputs);
        let (data, _) = data.as_chunks::<SIZE>();
        fill_panels(outputs, &mut vectors, inputs, |rows, vectors| {
            for (lane, row) in rows.enumerate() {
                let row = &data[row * inputs..][..inputs];
                for (vector, bits) in vectors.iter_mut().zip(row) {
                    vector.as_mut()[lane] = load(*bits);
                }
            }
        });
        Self { outputs, inputs, vectors }
    }

    #[inline(always)]
    fn panel(&self, panel: usize) -> &[E::Vector] {
        &self.vectors[panel * self.inputs..][..self.inputs]
    }
}

impl<E: Element> Panels for Of<E> {
    const BLOCK: usize = if Self::DECODED { 256 } else { 1024 };
    const DECODED: bool = size_of::<E::Bits>() < 4;
    const STREAMS: usize = 4;

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.vectors[..])
    }

    #[inline(always)]
    fn tile<'a, S: Simd>(
        &'a self,
        simd: S,
        panel: usize,
        inputs: Range<usize>,
        buffer: &'a mut [Floats],
    ) -> &'a [Floats] {
        let vectors = &self.panel(panel)[inputs];
        if let Some(floats) = E::as_floats(vectors) {
            return floats;
        }
        let buffer = &mut buffer[..vectors.len()];
        for (vector, to) in vectors.iter().zip(buffer.iter_mut()) {
            prefetch(simd, vector);
            simd.store(E::load(simd, vector.as_ref()), &mut to.0);
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
        let mut panels: [&[E::Vector]; P] = [&[]; P];
        for (p, vectors) in panels.iter_mut().enumerate() {
            *vectors = self.panel(panel + p);
        }
        let [products] = multiply::<S, E, 1, P>(simd, [x], panels);
        for p in 0..P {
            simd.store(products[p], &mut sums[p].0);
        }
    }
}

/// Rows as they lie in memory: a tile is transposed when it is used.
impl Panels for Matrix<'_> {
    const BLOCK: usize = 256;
    const DECODED: bool = true;
    const STREAMS: usize = 1;

    fn outputs(&self) -> usize {
        self.rows
    }

    fn inputs(&self) -> usize {
        self.cols
    }

    fn bytes(&self) -> usize {
        self.data.len()
    }

    #[inline(always)]
    fn tile<'a, S: Simd>(
        &'a self,
        _: S,
        panel: usize,
        inputs: Range<usize>,
        buffer: &'a mut [Floats],
    ) -> &'a [Floats] {
        let buffer = &mut buffer[..inputs.len()];
        let size = self.float.size();
        let mut values = [0.0; Self::BLOCK];
        let values = &mut values[..inputs.len()];
        let first = panel * LANES;
        for (lane, row) in (first..self.rows.min(first + LANES)).enumerate() {
            let from = (row * self.cols + inputs.start) * size;
            convert::decode(self.float, &self.data[from..][..values.len() * size], values);
            for (vector, value) in buffer.iter_mut().zip(&*values) {
                vector.0[lane] = *value;
            }
        }
        buffer
    }

    /// Row by row, without transposing.
    #[inline(always)]
    fn side_by_side<S: Simd, const P: usize>(
        &self,
        simd: S,
        panel: usize,
        x: &[f32],
        sums: &mut [Floats],
    ) {
        let size = self.float.size();
        let mut values = [0.0; Self::BLOCK];
        let sums: &mut [f32] = bytemuck::cast_slice_mut(&mut sums[..P]);
        for (sum, row) in sums.iter_mut().zip(panel * LANES..self.rows) {
            let row = &self.data[row * self.cols * size..][..self.cols * size];
            for (x, row) in x.chunks(Self::BLOCK).zip(row.chunks(Self::BLOCK * size)) {
                let values = &mut values[..x.len()];
                convert::decode(self.float, row, values);
                *sum += dot(simd, x, values);
            }
        }
    }
}

/// Σ a·b.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    // Several sums, so that an addition need not wait for the one before it.
    let mut sums = [simd.splat(0.0); 4];
    for (a, b) in a.chunks(4).zip(b.chunks(4)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = simd.mul_add(simd.load(a), simd.load(b), *sum);
        }
    }
    let mut lanes = [0.0; LANES];
    simd.store(total(simd, &mut sums), &mut lanes);
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}
