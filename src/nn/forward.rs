//! A network on a device.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::network::{Layer, Network};
use crate::cpu::{self, softmax::Scaling};
use crate::error::{Error, FormatProblem, Result};
use crate::gpu::Gpu;
use crate::io::Model;
use crate::ops::dense_masked::MaskedWeights;
use crate::ops::dense_packed::PackedWeights;
use crate::ops::linear::{self, LayerWeights, Linear};
use crate::ops::{Backend, softmax};
use crate::stored::{Catalog, StoredTensor};
use crate::tensor::{FloatType, Matrix, finite};

/// What a forward pass ends in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outputs {
    /// What the network says: probabilities where it ends in a softmax.
    #[default]
    AsDescribed,
    /// What is there before a softmax at the end.
    Logits,
}

/// A network whose weights lie on a device, in the form in which they are stored: codes stay codes
/// and masks stay masks.
///
/// ```no_run
/// use tensorpress::{io::Model, nn::{Loaded, Outputs}, ops::Backend};
///
/// # fn main() -> tensorpress::Result<()> {
/// let model = Model::open("small.safetensors".as_ref())?;
/// let (network, origin) = tensorpress::nn::Network::read(&model, None)?;
/// eprintln!("{origin}");
/// let loaded = Loaded::new(&Backend::Cpu, &model, network)?;
/// let probabilities = loaded.forward(&vec![0.5; 784], Outputs::AsDescribed)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loaded {
    backend: Backend,
    network: Network,
    layers: Vec<Linear>,
    /// Activations of passes on the CPU that are over, kept because memory that is new costs more
    /// than a small network.
    unused: Mutex<Vec<Vec<f32>>>,
}

/// Bytes of the largest activations of one submit.
const ACTIVATION_BYTES: usize = 32 << 20;

impl Loaded {
    /// Takes the weights of `network`, which was read from `model`, to `backend`.
    ///
    /// # Errors
    /// [`FormatProblem`] where tensors do not fit the network or hold values that are not finite,
    /// or a device error.
    pub fn new(backend: &Backend, model: &Model, network: Network) -> Result<Self> {
        network.check()?;
        let catalog = Catalog::new(model)?;
        let tensors: HashMap<&str, &StoredTensor> =
            catalog.tensors.iter().map(|tensor| (&*tensor.name, tensor)).collect();
        let layers = network.layers.iter().map(|layer| load(backend, model, &tensors, layer));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { backend: backend.clone(), network, layers, unused: Mutex::default() })
    }

    /// Allows inputs of layers to be rounded to 8 bits where that is faster: see
    /// [`Linear::int8_activations`].
    #[must_use]
    pub fn int8_activations(self, allowed: bool) -> Self {
        let layers = self.layers.into_iter().map(|layer| layer.int8_activations(allowed));
        Self { layers: layers.collect(), ..self }
    }

    /// Layers whose inputs may be rounded to 8 bits, because that is allowed and they hold codes
    /// that are multiplied so. On a GPU it is done where it was measured to be faster.
    pub fn int8_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.takes_int8()).count()
    }

    /// What was loaded.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Its layers on that device.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// Where it lies.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Bytes of its weights, as they are held.
    pub fn weight_bytes(&self) -> u64 {
        self.layers.iter().map(Linear::weight_bytes).sum()
    }

    /// The outputs `[batch, outputs]` for inputs `[batch, inputs]`. On a GPU the whole network is
    /// one submit, or one a batch that fits the device where there are many rows.
    ///
    /// # Errors
    /// [`FormatProblem::ShapeSize`] where `x` is not whole rows, [`FormatProblem::Value`] where a row
    /// has no probabilities because its sums overflow, or a device error.
    pub fn forward(&self, x: &[f32], outputs: Outputs) -> Result<Vec<f32>> {
        let inputs = self.network.inputs();
        if !x.len().is_multiple_of(inputs.max(1)) {
            let shape = vec![x.len() / inputs.max(1), inputs];
            let bytes = x.len() as u64 * 4;
            let dtype = crate::tensor::DType::F32;
            return Err(FormatProblem::ShapeSize { shape, dtype, bytes }.into());
        }
        let softmax = self.network.softmax && outputs == Outputs::AsDescribed;
        let result = match &self.backend {
            Backend::Cpu => self.on_cpu(x, softmax)?,
            Backend::Gpu(gpu) => {
                let widest = self.layers.iter().map(Linear::outputs).max().unwrap_or(0).max(inputs);
                let rows = (ACTIVATION_BYTES / 4 / linear::stride(widest).max(1)).max(1);
                let parts = x.chunks(rows * inputs.max(1));
                let parts = parts.map(|x| self.on_gpu(gpu, x, softmax));
                parts.collect::<Result<Vec<_>>>()?.concat()
            }
        };
        let nan = softmax.then(|| result.iter().position(|value| value.is_nan()));
        match nan.flatten() {
            None => Ok(result),
            Some(at) => Err(FormatProblem::Value {
                what: "probabilities",
                row: at / self.network.outputs(),
                column: at % self.network.outputs(),
                value: f32::NAN,
                expected: "a number: sums of this row overflow f32, or all its logits are -inf",
            }
            .into()),
        }
    }

    /// [`Loaded::forward`], `batch` rows at once.
    ///
    /// # Errors
    /// The same, with rows numbered in all of `x`.
    pub fn forward_batches(&self, x: &[f32], outputs: Outputs, batch: usize) -> Result<Vec<f32>> {
        let batch = batch.max(1);
        let mut all = vec![];
        for (number, x) in x.chunks(batch * self.network.inputs().max(1)).enumerate() {
            let result = self.forward(x, outputs);
            all.extend(result.map_err(|error| error.rows_later(number * batch))?);
        }
        Ok(all)
    }

    fn on_cpu(&self, x: &[f32], end: bool) -> Result<Vec<f32>> {
        let batch = x.len() / self.network.inputs().max(1);
        let Some((last, others)) = self.layers.split_last() else {
            return Ok(self.end(x.to_vec(), end));
        };
        let (mut current, mut next) = (self.buffer(), self.buffer());
        for (number, layer) in others.iter().enumerate() {
            layer.forward(if number == 0 { x } else { &current }, batch, &mut next)?;
            std::mem::swap(&mut current, &mut next);
        }
        let mut result = vec![];
        last.forward(if others.is_empty() { x } else { &current }, batch, &mut result)?;
        self.keep([current, next]);
        Ok(self.end(result, end))
    }

    /// The softmax of `logits` where one ends the network: NaN where it is none, as on a GPU.
    fn end(&self, logits: Vec<f32>, softmax: bool) -> Vec<f32> {
        if !softmax {
            return logits;
        }
        cpu::softmax::softmax(&logits, self.network.outputs(), Scaling::new(1.0))
    }

    /// Room for activations, of any length.
    fn buffer(&self) -> Vec<f32> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Keeps buffers for passes to come, unless they are large.
    fn keep(&self, buffers: [Vec<f32>; 2]) {
        let small = |buffer: &Vec<f32>| buffer.capacity() * size_of::<f32>() <= ACTIVATION_BYTES;
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.extend(buffers.into_iter().filter(small));
    }

    fn on_gpu(&self, gpu: &Gpu, x: &[f32], end: bool) -> Result<Vec<f32>> {
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let batch = x.len() / inputs.max(1);
        let mut recorder = gpu.recorder();
        let mut current = recorder.upload(bytemuck::cast_slice(&linear::pad(x, batch, inputs)))?;
        for (number, layer) in self.layers.iter().enumerate() {
            let followed = number + 1 < self.layers.len();
            current = layer.record(&mut recorder, &current, batch, followed, None)?;
        }
        if end {
            let form = softmax::Form::Shares;
            current = softmax::record(&mut recorder, form, &current, (batch, outputs), 1.0)?;
        }
        recorder.download(&current, batch * outputs * 4)?;
        let bytes = recorder.run()?.downloads.swap_remove(0);
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

fn load(
    backend: &Backend,
    model: &Model,
    tensors: &HashMap<&str, &StoredTensor>,
    layer: &Layer,
) -> Result<Linear> {
    let find = |name: &str| {
        tensors.get(name).copied().ok_or(Error::Bug { what: "a layer without its tensor" })
    };
    let tensor = find(&layer.weight)?;
    let in_file = |error: Error| error.in_file(model.shards()[tensor.shard()].path());
    let bias = layer.bias.as_deref().map(|name| bias_of(model, find(name)?)).transpose()?;
    let bias = bias.as_deref();
    let weight = tensor.weight().ok_or(Error::Bug { what: "a weight that holds no floats" })?;
    let (rows, cols, float) = (weight.rows, weight.cols, weight.float);
    let linear = |weights| Linear::new(backend, weights, bias, layer.activation);
    if let Some(packed) = tensor.packed(model) {
        let (words, params, scheme) = packed.map_err(in_file)?;
        check_finite(
            &format!("{} (scale)", tensor.name),
            FloatType::F32,
            bytemuck::cast_slice(&params.scale),
        )
        .map_err(in_file)?;
        let weights = PackedWeights { words: &words, rows, cols, params: &params, scheme: &scheme };
        return linear(LayerWeights::Packed(weights)).map_err(in_file);
    }
    if let Some(mask) = tensor.masked(model) {
        let mask = mask.map_err(in_file)?;
        check_finite(&tensor.name, float, &mask.compressed).map_err(in_file)?;
        let weights = MaskedWeights { float, mask: &mask, cols };
        return linear(LayerWeights::Masked(weights)).map_err(in_file);
    }
    let data = tensor.rows(model, &Backend::Cpu, &weight, &(0..rows)).map_err(in_file)?;
    check_finite(&tensor.name, float, &data).map_err(in_file)?;
    linear(LayerWeights::Dense(Matrix::new(float, rows, cols, &data)?)).map_err(in_file)
}

fn bias_of(model: &Model, tensor: &StoredTensor) -> Result<Vec<f32>> {
    let weight = tensor.weight().ok_or(Error::Bug { what: "a bias that holds no floats" })?;
    let data = tensor.rows(model, &Backend::Cpu, &weight, &(0..weight.rows))?;
    let in_file = |error: Error| error.in_file(model.shards()[tensor.shard()].path());
    check_finite(&tensor.name, weight.float, &data).map_err(in_file)?;
    let mut values = vec![0.0; weight.len()];
    weight.float.decode(&data, &mut values);
    Ok(values)
}

/// Values that are not finite would spread into the padding of rows, and nothing that they give is
/// an answer. `data` are little-endian elements.
fn check_finite(tensor: &str, float: FloatType, data: &[u8]) -> Result<()> {
    if !finite::any_non_finite(float, data) {
        return Ok(());
    }
    match finite::non_finite(float, data) {
        None => Ok(()),
        Some((index, value, count)) => {
            let (tensor, index) = (tensor.to_owned(), index as u64);
            Err(FormatProblem::NonFinite { tensor, index, value, count }.into())
        }
    }
}
