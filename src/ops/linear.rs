//! Dense layers that stay on a device: weights are uploaded once, in whatever form they have.

use crate::cpu::bitmask::Bitmask;
use crate::cpu::dense_masked::MaskedWeights;
use crate::cpu::dense_packed::PackedWeights;
use crate::error::{Error, FormatProblem, Result};
use crate::gpu::{Buffer, Gpu, Recorder};
use crate::scheme::{Activation, QuantParams, QuantScheme};
use crate::tensor::{DType, FloatType, Matrix};

use super::{Backend, dense, dense_masked, dense_packed, words};

/// Bytes of weights in one binding, at most: below every adapter's limit, and short enough that
/// one dispatch does not take long.
pub(super) const CHUNK_BYTES: usize = 64 << 20;

/// How a layer is computed on a GPU. Which is fastest depends on the device and the batch; the
/// result stays within the same bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// 64 × 64 tiles in workgroup memory: for large batches on GPUs.
    Tiled,
    /// Registers only: for adapters that are emulated on a CPU.
    Direct,
    /// A workgroup an output: for batches of a few rows.
    Vector,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tiled, Self::Direct, Self::Vector];

    /// The usual choice.
    pub fn usual(batch: usize, software: bool) -> Self {
        match (batch, software) {
            (_, true) => Self::Direct,
            (..=4, false) => Self::Vector,
            (_, false) => Self::Tiled,
        }
    }

    /// Workgroups for a chunk.
    pub(super) fn workgroups(self, batch: usize, outputs: usize) -> u64 {
        let (rows, columns) = match self {
            Self::Tiled => (batch.div_ceil(64), outputs.div_ceil(64)),
            Self::Direct => (batch.div_ceil(8), outputs.div_ceil(64)),
            Self::Vector => (batch.div_ceil(4), outputs),
        };
        rows as u64 * columns as u64
    }
}

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
    weights: Held,
}

/// Weights where they are used.
#[derive(Debug)]
enum Held {
    Cpu { weights: Owned, bias: Option<Vec<f32>> },
    Gpu { chunks: Vec<Chunk>, bias: Buffer, software: bool },
}

/// Weights in memory, in the form in which they came.
#[derive(Debug)]
enum Owned {
    /// f32 is kept as such, so that it is aligned.
    F32(Vec<f32>),
    Half(FloatType, Vec<u8>),
    Packed(Vec<u32>, QuantParams, QuantScheme),
    Masked(FloatType, Bitmask),
}

/// Rows of the weights on a GPU.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The kernels, in the order of [`Variant::ALL`].
    pub kernels: [crate::gpu::Kernel; 3],
    /// Bindings before bias, inputs, results and parameters.
    pub buffers: Vec<Buffer>,
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
                let chunks = match weights {
                    LayerWeights::Dense(weights) => dense::upload(gpu, weights)?,
                    LayerWeights::Packed(weights) => dense_packed::upload(gpu, &weights)?,
                    LayerWeights::Masked(weights) => dense_masked::upload(gpu, &weights)?,
                };
                let zeros = vec![0.0; outputs];
                let bias = upload(gpu, bytemuck::cast_slice(bias.unwrap_or(&zeros)))?;
                Held::Gpu { chunks, bias, software: gpu.is_software() }
            }
        };
        Ok(Self { inputs, outputs, bytes, activation, weights: held })
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
        out.clear();
        out.resize(batch * self.outputs, 0.0);
        let bias = bias.as_deref();
        let (rows, cols) = (self.outputs, self.inputs);
        match weights {
            Owned::F32(data) => {
                let data = bytemuck::cast_slice(data);
                let weights = Matrix { float: FloatType::F32, rows, cols, data };
                crate::cpu::dense::dense(x, weights, bias, self.activation, out);
            }
            Owned::Half(float, data) => {
                let weights = Matrix { float: *float, rows, cols, data };
                crate::cpu::dense::dense(x, weights, bias, self.activation, out);
            }
            Owned::Packed(words, params, scheme) => {
                let weights = PackedWeights { words, rows, cols, params, scheme };
                crate::cpu::dense_packed::dense_packed(x, &weights, bias, self.activation, out);
            }
            Owned::Masked(float, mask) => {
                let weights = MaskedWeights { float: *float, mask, cols };
                crate::cpu::dense_masked::dense_masked(x, &weights, bias, self.activation, out);
            }
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
        let Held::Gpu { chunks, bias, software } = &self.weights else {
            return Err(Error::Bug { what: "a layer on the CPU was asked to run on a GPU" });
        };
        let stride = if followed { stride(self.outputs) } else { self.outputs };
        let variant = variant.unwrap_or(Variant::usual(batch, *software));
        let results = recorder.storage((batch * stride * 4) as u64)?;
        let (activation, slope) = self.activation.code();
        for (number, chunk) in chunks.iter().enumerate() {
            let last = number + 1 == chunks.len();
            let padding = if last { stride - self.outputs } else { 0 };
            let mut params = vec![
                ("batch", batch as u32),
                ("eights", (self.inputs.div_ceil(8)) as u32),
                ("outputs", chunk.outputs as u32),
                ("padded_outputs", (chunk.outputs + padding) as u32),
                ("first_output", chunk.first_output as u32),
                ("stride", stride as u32),
                ("activation", activation),
                ("slope", slope.to_bits()),
            ];
            params.extend(&chunk.params);
            let mut bindings: Vec<&Buffer> = chunk.buffers.iter().collect();
            bindings.extend([bias, x, &results]);
            let kernel = &chunk.kernels[variant as usize];
            let workgroups = variant.workgroups(batch, chunk.outputs + padding);
            recorder.dispatch(kernel, &bindings, &params, workgroups, 1)?;
        }
        Ok(results)
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
        LayerWeights::Dense(Matrix { float: FloatType::F32, data, .. }) => {
            let mut values = vec![0.0; data.len() / 4];
            FloatType::F32.decode(data, &mut values);
            Owned::F32(values)
        }
        LayerWeights::Dense(Matrix { float, data, .. }) => Owned::Half(float, data.to_vec()),
        LayerWeights::Packed(PackedWeights { words, params, scheme, .. }) => {
            Owned::Packed(words.to_vec(), params.clone(), *scheme)
        }
        LayerWeights::Masked(MaskedWeights { float, mask, .. }) => {
            Owned::Masked(float, mask.clone())
        }
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

/// Rows of weights of so many bytes each that fit a chunk.
pub(super) fn chunk_rows(row_bytes: usize) -> usize {
    (CHUNK_BYTES / row_bytes.max(1)).max(1)
}

pub(super) fn shape_error(shape: &[usize], floats: usize) -> Error {
    let bytes = floats as u64 * 4;
    FormatProblem::ShapeSize { shape: shape.to_vec(), dtype: DType::F32, bytes }.into()
}
