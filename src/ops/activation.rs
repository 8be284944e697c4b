//! Activations of a layer with dropout, forward and backward.

use super::linear::{shape_error, stride};
use super::stream::Target;
use super::{Backend, Stream, Values, rows};
use crate::cpu;
use crate::cpu::random::threefry;
use crate::error::{Result, UsageError};
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::scheme::Activation;
use crate::tensor::FloatType;

const FORWARD: Kernel =
    Kernel { file: "activation.wgsl", entry: "activation", constants: &[], estimates: false };
const BACKWARD: Kernel = Kernel { entry: "activation_grad", ..FORWARD };

/// Dropout (Srivastava et al. 2014): each element becomes 0 with probability `rate`, and what stays
/// is divided by 1 − rate.
///
/// Which elements stay is a function of the other fields and of an element's place alone, the same
/// on every device, so the backward pass needs nothing but the same fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// From 0 to below 1.
    pub rate: f32,
    /// Seed of the training.
    pub seed: u64,
    /// Number of the step.
    pub step: u64,
    /// Number of the layer.
    pub layer: u32,
}

impl Dropout {
    /// None at all.
    pub const NONE: Self = Self { rate: 0.0, seed: 0, step: 0, layer: 0 };

    /// As a device wants it.
    pub(super) fn on_device(&self) -> Result<cpu::activation::Dropout> {
        if !(0.0..1.0).contains(&self.rate) {
            return Err(UsageError::OutOfRange {
                what: "the dropout rate",
                value: self.rate.to_string(),
                expected: "from 0 to below 1",
            }
            .into());
        }
        let words = |value: u64| [value as u32, (value >> 32) as u32];
        let key = threefry(threefry(words(self.seed), words(self.step)), [self.layer, 0]);
        Ok(cpu::activation::Dropout {
            dropped_below: (f64::from(self.rate) * 2_f64.powi(32)).round_ties_even() as u32,
            scale: 1.0 / (1.0 - self.rate),
            key,
        })
    }
}

impl Stream {
    /// `y` becomes activation(z) with `dropout`, in the shape of `z`.
    ///
    /// # Errors
    /// [`UsageError::OutOfRange`] for a rate outside 0 … 1, or a device error.
    pub fn activation(
        &mut self,
        activation: Activation,
        dropout: &Dropout,
        z: &Values,
        y: &mut Values,
    ) -> Result<()> {
        let dropout = dropout.on_device()?;
        self.reshape(y, z.rows(), z.cols())?;
        match self.target() {
            Target::Cpu => {
                let y = y.cpu_mut()?;
                y.copy_from_slice(z.cpu()?);
                cpu::activation::apply(activation, y);
                dropout.apply(y, z.cols());
                Ok(())
            }
            Target::Gpu(recorder) => {
                let shape = (z.rows(), z.cols());
                record(recorder, &FORWARD, activation, &dropout, [z.gpu()?, y.gpu()?], shape)
            }
        }
    }

    /// The gradient of [`Stream::activation`]: `gradient`, that of its result, becomes that of `z`.
    ///
    /// # Errors
    /// [`crate::error::FormatProblem::ShapeSize`] where the shapes differ; as
    /// [`Stream::activation`].
    pub fn activation_grad(
        &mut self,
        activation: Activation,
        dropout: &Dropout,
        z: &Values,
        gradient: &mut Values,
    ) -> Result<()> {
        let dropout = dropout.on_device()?;
        gradient.expect(z.rows(), z.cols())?;
        match self.target() {
            Target::Cpu => {
                let gradient = gradient.cpu_mut()?;
                cpu::activation::gradient(activation, z.cpu()?, gradient);
                dropout.apply(gradient, z.cols());
                Ok(())
            }
            Target::Gpu(recorder) => {
                let (buffers, shape) = ([z.gpu()?, gradient.gpu()?], (z.rows(), z.cols()));
                record(recorder, &BACKWARD, activation, &dropout, buffers, shape)
            }
        }
    }
}

fn record(
    recorder: &mut Recorder,
    kernel: &Kernel,
    activation: Activation,
    dropout: &cpu::activation::Dropout,
    buffers: [&Buffer; 2],
    (rows, cols): (usize, usize),
) -> Result<()> {
    let (activation, slope) = activation.code();
    let vectors = rows * stride(cols) / 4;
    let params = [
        ("vectors", vectors as u32),
        ("quads", (stride(cols) / 4) as u32),
        ("cols", cols as u32),
        ("activation", activation),
        ("slope", slope.to_bits()),
        ("dropped_below", dropout.dropped_below),
        ("scale", dropout.scale.to_bits()),
        ("key_low", dropout.key[0]),
        ("key_high", dropout.key[1]),
    ];
    recorder.dispatch(kernel, &buffers, &params, vectors as u64, 256)
}

/// activation(z) with `dropout`: `z` and the result are `[rows, cols]`.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] where `z` is not whole rows; as
/// [`Stream::activation`].
pub fn activation(
    backend: &Backend,
    activation: Activation,
    dropout: &Dropout,
    z: &[f32],
    cols: usize,
) -> Result<Vec<f32>> {
    let rows = rows(FloatType::F32, bytemuck::cast_slice(z), cols)?;
    if let Backend::Cpu = backend {
        let (dropout, mut y) = (dropout.on_device()?, z.to_vec());
        cpu::activation::apply(activation, &mut y);
        dropout.apply(&mut y, cols);
        return Ok(y);
    }
    let z = Values::new(backend, z, (rows, cols))?;
    let mut y = Values::empty(backend)?;
    let mut stream = Stream::new(backend);
    stream.activation(activation, dropout, &z, &mut y)?;
    stream.finish()?;
    y.read()
}

/// The gradient of [`activation`] with respect to `z`, given that of its result.
///
/// # Errors
/// As [`activation`].
pub fn activation_grad(
    backend: &Backend,
    activation: Activation,
    dropout: &Dropout,
    z: &[f32],
    gradient: &[f32],
    cols: usize,
) -> Result<Vec<f32>> {
    let rows = rows(FloatType::F32, bytemuck::cast_slice(z), cols)?;
    if gradient.len() != z.len() {
        return Err(shape_error(&[rows, cols], gradient.len()));
    }
    if let Backend::Cpu = backend {
        let (dropout, mut gradient) = (dropout.on_device()?, gradient.to_vec());
        cpu::activation::gradient(activation, z, &mut gradient);
        dropout.apply(&mut gradient, cols);
        return Ok(gradient);
    }
    let z = Values::new(backend, z, (rows, cols))?;
    let mut gradient = Values::new(backend, gradient, (rows, cols))?;
    let mut stream = Stream::new(backend);
    stream.activation_grad(activation, dropout, &z, &mut gradient)?;
    stream.finish()?;
    gradient.read()
}
