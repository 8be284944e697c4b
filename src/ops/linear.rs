//! Dense layers that stay on a device: weights are uploaded once, in whatever form they have.

use crate::cpu::dense::DensePanels;
use crate::cpu::dense_masked::{MaskedPanels, MaskedWeights};
use crate::cpu::dense_packed::{PackedPanels, PackedWeights};
use crate::cpu::simd::Level;
use crate::error::{Error, FormatProblem, Result};
use crate::gpu::{Buffer, Gpu, Recorder};
use crate::scheme::Activation;
use crate::tensor::{DType, Matrix};

use super::product::Product;
use super::variant::{Form, Shape};
use super::{Backend, dense, dense_masked, dense_packed, words};

pub use super::tuning::Tuned;
pub use super::variant::{Launch, Variant, launches};

/// Bytes of weights in one binding, at most: below every adapter's limit, and short enough that
/// one dispatch does not take long.
pub(super) const CHUNK_BYTES: usize = 64 << 20;

/// Inputs of a layer whose products of integers of 8 bits surely fit 32 bits.
const MOST_INT8_INPUTS: usize = 1 << 16;

/// The weights of a layer as they are.
#[derive(Clone, Copy, Debug)]
pub enum LayerWeights<'a> {
    /// `[outputs, inputs]`.
    Dense(Matrix<'a>),
    /// Codes.
    Packed(PackedWeights<'a>),
    /// A bit mask and the weights that are not zero.
    Masked(MaskedWeights<'a>),
}

impl LayerWeights<'_> {
    /// Output features.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Dense(weights) => weights.rows,
            Self::Packed(weights) => weights.rows,
            Self::Masked(weights) => weights.mask.row_offsets.len(),
        }
    }

    /// Input features.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Dense(weights) => weights.cols,
            Self::Packed(weights) => weights.cols,
            Self::Masked(weights) => weights.cols,
        }
    }

    /// Bytes that they take, as they are.
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Dense(weights) => weights.data.len(),
            Self::Packed(PackedWeights { words, params, .. }) => {
                words.len() * 4 + params.scale.len() * 4 + params.zero_point.len()
            }
            Self::Masked(MaskedWeights { mask, .. }) => {
                mask.compressed.len() + mask.bitmask.len() + mask.row_offsets.len() * 8
            }
        };
        bytes as u64
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Dense(_) => Ok(()),
            Self::Packed(weights) => dense_packed::check(weights),
            Self::Masked(weights) => {
                super::bitmask::check(weights.float, weights.mask, weights.cols)
            }
        }
    }
}

/// A dense layer on a backend: act(X · Wᵀ + b).
#[derive(Debug)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    bytes: u64,
    activation: Activation,
    int8_activations: bool,
    weights: Held,
}

/// Weights where they are used.
#[derive(Debug)]
enum Held {
    Cpu { weights: Owned, bias: Option<Vec<f32>> },
    Gpu { form: Form, chunks: Vec<Chunk>, bias: Buffer },
}

/// Weights in memory, in the form in which they came.
#[derive(Debug)]
enum Owned {
    Dense(DensePanels),
    Packed(PackedPanels),
    Masked(MaskedPanels),
}

/// Rows of the weights on a GPU, in quads: four rows, whose words for the same inputs lie side by
/// side, so that one load gives what one step of four sums needs.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Bindings before bias, inputs, results and parameters.
    pub buffers: Vec<Buffer>,
    /// What kernels decode at once, a row.
    pub units: usize,
    pub outputs: usize,
    pub first_output: usize,
    /// Parameters after the common ones.
    pub params: Vec<(&'static str, u32)>,
}

/// Floats between rows of activations on a GPU: kernels read eight at a time.
pub fn stride(features: usize) -> usize {
    features.next_multiple_of(8)
}

impl Linear {
    /// Takes the weights to `backend`. `bias` is `[outputs]`.
    ///
    /// # Errors
    /// [`FormatProblem`] where the parts do not fit each other, or a device error.
    pub fn new(
        backend: &Backend,
        weights: LayerWeights<'_>,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Self> {
        weights.check()?;
        let (inputs, outputs, bytes) = (weights.inputs(), weights.outputs(), weights.bytes());
        if let Some(bias) = bias.filter(|bias| bias.len() != outputs) {
            return Err(shape_error(&[outputs], bias.len()));
        }
        let held = match backend {
            Backend::Cpu => Held::Cpu { weights: own(weights), bias: bias.map(<[f32]>::to_vec) },
            Backend::Gpu(gpu) => {
                let (form, chunks) = match weights {
                    LayerWeights::Dense(weights) => dense::upload(gpu, weights)?,
                    LayerWeights::Packed(weights) => dense_packed::upload(gpu, &weights)?,
                    LayerWeights::Masked(weights) => dense_masked::upload(gpu, &weights)?,
                };
                let zeros = vec![0.0; outputs];
                let bias = upload(gpu, bytemuck::cast_slice(bias.unwrap_or(&zeros)))?;
                Held::Gpu { form, chunks, bias }
            }
        };
        Ok(Self { inputs, outputs, bytes, activation, int8_activations: false, weights: held })
    }

    /// Allows inputs to be rounded to 8 bits where that is faster: each row x becomes s · q with
    /// integers q from −127 to 127 and s the row's largest magnitude over 127, so that products are
    /// integers (dynamic quantization of activations). A sum then lies within
    /// `(1/2 + 2⁻¹⁶)·s·Σ|w|` more of the exact one.
    ///
    /// On a GPU that becomes `(1/2 + 2⁻¹³)·s·Σ|w|`, because division is less exact there.
    ///
    /// It is faster on the CPU for packed codes, and done there; on a GPU for packed codes in
    /// groups of whole words, where it was measured to be faster: on a [tuned](Gpu::tuned) device,
    /// and on one that is emulated. Other layers take `f32` inputs all the same.
    #[must_use]
    pub fn int8_activations(self, allowed: bool) -> Self {
        Self { int8_activations: allowed, ..self }
    }

    /// Whether its inputs may be rounded to 8 bits: it is allowed, and there are kernels for it.
    pub fn takes_int8(&self) -> bool {
        let there = match &self.weights {
            Held::Cpu { weights, .. } => matches!(weights, Owned::Packed(_)),
            Held::Gpu { form, .. } => form.takes_int8() && self.inputs <= MOST_INT8_INPUTS,
        };
        self.int8_activations && there
    }

    /// Input features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of its weights, as they are held.
    pub fn weight_bytes(&self) -> u64 {
        self.bytes
    }

    /// `x` is `[batch, inputs]`, `out` becomes `[batch, outputs]`. For layers on the CPU.
    ///
    /// # Errors
    /// [`FormatProblem::ShapeSize`] where `x` is not whole rows, [`Error::Bug`] on a GPU layer.
    pub fn forward(&self, x: &[f32], batch: usize, out: &mut Vec<f32>) -> Result<()> {
        if Some(x.len()) != self.inputs.checked_mul(batch) {
            return Err(shape_error(&[batch, self.inputs], x.len()));
        }
        let Held::Cpu { weights, bias } = &self.weights else {
            return Err(Error::Bug { what: "a layer on a GPU was asked to run on the CPU" });
        };
        // All of it is written over.
        out.resize(batch * self.outputs, 0.0);
        let bias = bias.as_deref();
        let level = Level::best();
        match weights {
            Owned::Dense(panels) => panels.forward(level, x, bias, self.activation, out),
            Owned::Packed(panels) if self.int8_activations => {
                panels.forward_int8(level, x, bias, self.activation, out);
            }
            Owned::Packed(panels) => panels.forward(level, x, bias, self.activation, out),
            Owned::Masked(panels) => panels.forward(level, x, bias, self.activation, out),
        }
        Ok(())
    }

    /// Records the layer: `x` is `[batch, stride(inputs)]`, padded with zeros, and the result
    /// likewise `[batch, stride(outputs)]` where another layer follows, else `[batch, outputs]`.
    /// For layers on a GPU.
    ///
    /// # Errors
    /// A device error, or [`Error::Bug`] on a CPU layer.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        x: &Buffer,
        batch: usize,
        followed: bool,
        variant: Option<Variant>,
    ) -> Result<Buffer> {
        let stride = if followed { stride(self.outputs) } else { self.outputs };
        let results = recorder.storage((batch * stride * 4) as u64)?;
        for product in self.products(x, &results, batch, stride)? {
            product.record_best(recorder, variant)?;
        }
        Ok(results)
    }

    /// Measures the kernels that the layer may run for `batch` rows, whatever is known, and keeps
    /// the choice where the device is [tuned](Gpu::tuned): for each chunk of the weights whose
    /// class of shapes is `wanted`. For layers on a GPU; `followed` as in [`Linear::record`].
    ///
    /// # Errors
    /// A device error, or [`Error::Bug`] on a CPU layer.
    pub fn tune(
        &self,
        gpu: &Gpu,
        batch: usize,
        followed: bool,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Vec<Tuned>> {
        let stride = if followed { stride(self.outputs) } else { self.outputs };
        // Measuring takes buffers of its own.
        let unused = gpu.recorder().storage(16)?;
        let products = self.products(&unused, &unused, batch, stride)?;
        products
            .iter()
            .filter(|product| wanted(&product.class(gpu)))
            .map(|product| product.tune(gpu))
            .collect()
    }

    /// The products of a forward pass, one a chunk.
    fn products<'a>(
        &'a self,
        x: &'a Buffer,
        results: &'a Buffer,
        batch: usize,
        stride: usize,
    ) -> Result<Vec<Product<'a>>> {
        let Held::Gpu { form, chunks, bias } = &self.weights else {
            return Err(Error::Bug { what: "a layer on the CPU was asked to run on a GPU" });
        };
        let fours = self.inputs.div_ceil(8) * 2;
        let product = |(number, chunk): (usize, &'a Chunk)| {
            let last = number + 1 == chunks.len();
            let padding = if last { stride - self.outputs } else { 0 };
            Product {
                form: *form,
                weights: &chunk.buffers,
                bias,
                x,
                results,
                shape: Shape { batch, outputs: chunk.outputs + padding, fours },
                units: chunk.units,
                outputs: chunk.outputs,
                first_output: chunk.first_output,
                stride,
                activation: self.activation,
                int8: self.takes_int8(),
                params: &chunk.params,
            }
        };
        Ok(chunks.iter().enumerate().map(product).collect())
    }

    /// [`Linear::forward`] on either backend, with uploads and downloads.
    ///
    /// # Errors
    /// As those.
    pub fn run(
        &self,
        backend: &Backend,
        x: &[f32],
        batch: usize,
        variant: Option<Variant>,
    ) -> Result<Vec<f32>> {
        let gpu = match backend {
            Backend::Cpu => {
                let mut out = vec![];
                self.forward(x, batch, &mut out)?;
                return Ok(out);
            }
            Backend::Gpu(gpu) => gpu,
        };
        if Some(x.len()) != self.inputs.checked_mul(batch) {
            return Err(shape_error(&[batch, self.inputs], x.len()));
        }
        if batch == 0 || self.outputs == 0 {
            return Ok(vec![]);
        }
        let mut recorder = gpu.recorder();
        let x = recorder.upload(bytemuck::cast_slice(&pad(x, batch, self.inputs)))?;
        let results = self.record(&mut recorder, &x, batch, false, variant)?;
        recorder.download(&results, batch * self.outputs * 4)?;
        let bytes = recorder.run()?.downloads.swap_remove(0);
        Ok(words(&bytes).into_iter().map(f32::from_bits).collect())
    }
}

/// Rows of `features` floats, each padded with zeros to the stride. At least one stride, because
/// there is no empty buffer.
pub fn pad(x: &[f32], batch: usize, features: usize) -> Vec<f32> {
    let stride = stride(features).max(8);
    let mut padded = vec![0.0; batch.max(1) * stride];
    if features > 0 {
        for (to, from) in padded.chunks_exact_mut(stride).zip(x.chunks_exact(features)) {
            to[..features].copy_from_slice(from);
        }
    }
    padded
}

fn own(weights: LayerWeights<'_>) -> Owned {
    match weights {
        LayerWeights::Dense(weights) => Owned::Dense(DensePanels::new(weights)),
        LayerWeights::Packed(weights) => Owned::Packed(PackedPanels::new(&weights)),
        LayerWeights::Masked(weights) => Owned::Masked(MaskedPanels::new(&weights)),
    }
}

/// A buffer that stays.
pub(super) fn upload(gpu: &Gpu, bytes: &[u8]) -> Result<Buffer> {
    let mut recorder = gpu.recorder();
    // A binding must have a size.
    let buffer = recorder.upload(if bytes.is_empty() { &[0; 16] } else { bytes })?;
    recorder.run()?;
    Ok(buffer)
}

/// Rows of weights of so many bytes each that fit a chunk: whole quads.
pub(super) fn chunk_rows(row_bytes: usize) -> usize {
    ((CHUNK_BYTES / row_bytes.max(1)) & !3).max(4)
}

/// Words `[rows, per_row]` in quads: `[rows / 4, per_row, 4]`, rows that are missing zero.
pub(super) fn quads(words: &[u32], per_row: usize) -> Vec<u32> {
    let rows = words.len() / per_row.max(1);
    let mut quads = vec![0; rows.next_multiple_of(4) * per_row];
    if per_row > 0 {
        for (quad, rows) in quads.chunks_exact_mut(per_row * 4).zip(words.chunks(per_row * 4)) {
            for (lane, row) in rows.chunks_exact(per_row).enumerate() {
                for (to, word) in quad.iter_mut().skip(lane).step_by(4).zip(row) {
                    *to = *word;
                }
            }
        }
    }
    quads
}

pub(super) fn shape_error(shape: &[usize], floats: usize) -> Error {
    let bytes = floats as u64 * 4;
    FormatProblem::ShapeSize { shape: shape.to_vec(), dtype: DType::F32, bytes }.into()
}
