//! Gradients of a dense layer.

use super::linear::{shape_error, stride};
use super::stream::Target;
use super::{Backend, Stream, Values};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Kernel, Recorder};

const WEIGHTS: Kernel = Kernel {
    file: "dense_grad.wgsl",
    entry: "dense_grad_weights",
    constants: &[],
    estimates: false,
};
const WEIGHTS_DIRECT: Kernel = Kernel { entry: "dense_grad_weights_direct", ..WEIGHTS };
const INPUTS: Kernel = Kernel { entry: "dense_grad_inputs", ..WEIGHTS };
const INPUTS_DIRECT: Kernel = Kernel { entry: "dense_grad_inputs_direct", ..WEIGHTS };
const SUM: Kernel = Kernel { entry: "dense_grad_sum", ..WEIGHTS };

/// How the gradients are computed on a GPU. The result stays within the same bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// 64 × 64 tiles in workgroup memory. The batch of the weights' gradient is split into so many
    /// parts, which are summed up afterwards: for layers of few tiles and many rows.
    Tiled {
        /// At least 1.
        splits: usize,
    },
    /// Registers only: for adapters that are emulated on a CPU.
    Direct,
}

impl Variant {
    /// The usual choice.
    pub fn usual(batch: usize, inputs: usize, outputs: usize, software: bool) -> Self {
        if software {
            return Self::Direct;
        }
        // A GPU has dozens of places for a workgroup; a part should still be worth its start.
        let tiles = outputs.div_ceil(64) * inputs.div_ceil(64);
        Self::Tiled { splits: (64 / tiles.max(1)).min(batch / 128).max(1) }
    }
}

/// What [`dense_grad`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// dX `[batch, inputs]`.
    pub inputs: Vec<f32>,
    /// dW `[outputs, inputs]`.
    pub weights: Vec<f32>,
    /// db `[outputs]`.
    pub bias: Vec<f32>,
}

impl Stream {
    /// The gradients of a [`Stream::dense`] with respect to its weights and bias, given that of its
    /// result: `dw` `[outputs, inputs]` becomes dZᵀ · X and `db` `[1, outputs]` the column sums of
    /// dZ. `x` is `[batch, inputs]`, `dz` `[batch, outputs]`. Sums are `f32`, within the bound of
    /// [`super::dense::dense`].
    ///
    /// # Errors
    /// [`crate::error::FormatProblem::ShapeSize`] where the shapes do not fit, or a device error.
    pub fn dense_grad_weights(
        &mut self,
        x: &Values,
        dz: &Values,
        dw: &mut Values,
        db: &mut Values,
    ) -> Result<()> {
        let variant = self.variant(x.rows(), x.cols(), dz.cols());
        self.weights_by(variant, x, dz, dw, db)
    }

    /// The gradient of a [`Stream::dense`] with respect to its inputs, given that of its result:
    /// `dx` `[batch, inputs]` becomes dZ · W. `dz` is `[batch, outputs]`, `weights`
    /// `[outputs, inputs]`. Sums are `f32`, within the bound of [`super::dense::dense`].
    ///
    /// # Errors
    /// As [`Stream::dense_grad_weights`].
    pub fn dense_grad_inputs(
        &mut self,
        dz: &Values,
        weights: &Values,
        dx: &mut Values,
    ) -> Result<()> {
        let variant = self.variant(dz.rows(), weights.cols(), dz.cols());
        self.inputs_by(variant, dz, weights, dx)
    }

    fn variant(&self, batch: usize, inputs: usize, outputs: usize) -> Variant {
        Variant::usual(batch, inputs, outputs, self.is_software())
    }

    fn weights_by(
        &mut self,
        variant: Variant,
        x: &Values,
        dz: &Values,
        dw: &mut Values,
        db: &mut Values,
    ) -> Result<()> {
        let shape = Shape { batch: x.rows(), inputs: x.cols(), outputs: dz.cols() };
        dz.expect(shape.batch, shape.outputs)?;
        self.reshape(dw, shape.outputs, shape.inputs)?;
        self.reshape(db, 1, shape.outputs)?;
        match self.target() {
            Target::Cpu => {
                let (dw, db) = (dw.cpu_mut()?, db.cpu_mut()?);
                cpu::dense_grad::weights(x.cpu()?, dz.cpu()?, shape.batch, dw, db);
                Ok(())
            }
            Target::Gpu(recorder) => {
                shape.record_weights(recorder, variant, [dz.gpu()?, x.gpu()?, dw.gpu()?, db.gpu()?])
            }
        }
    }

    fn inputs_by(
        &mut self,
        variant: Variant,
        dz: &Values,
        weights: &Values,
        dx: &mut Values,
    ) -> Result<()> {
        let shape = Shape { batch: dz.rows(), inputs: weights.cols(), outputs: dz.cols() };
        weights.expect(shape.outputs, shape.inputs)?;
        self.reshape(dx, shape.batch, shape.inputs)?;
        match self.target() {
            Target::Cpu => {
                cpu::dense_grad::inputs(dz.cpu()?, weights.cpu()?, shape.batch, dx.cpu_mut()?);
                Ok(())
            }
            Target::Gpu(recorder) => {
                shape.record_inputs(recorder, variant, [dz.gpu()?, weights.gpu()?, dx.gpu()?])
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    inputs: usize,
    outputs: usize,
}

impl Shape {
    fn params(self, split_rows: usize) -> [(&'static str, u32); 5] {
        [
            ("batch", self.batch as u32),
            ("outputs", self.outputs as u32),
            ("output_quads", (stride(self.outputs) / 4) as u32),
            ("input_quads", (stride(self.inputs) / 4) as u32),
            ("split_rows", split_rows as u32),
        ]
    }

    fn record_weights(
        self,
        recorder: &mut Recorder,
        variant: Variant,
        [dz, x, dw, db]: [&Buffer; 4],
    ) -> Result<()> {
        let (kernel, across, down, splits) = match variant {
            Variant::Tiled { splits } => (&WEIGHTS, 64, 64, splits),
            Variant::Direct => (&WEIGHTS_DIRECT, 128, 8, 1),
        };
        let (row, weights) = (stride(self.outputs), stride(self.inputs) * self.outputs);
        let vectors = ((row + weights) / 4) as u64;
        if self.batch == 0 || self.inputs == 0 {
            // No products. Every row of dZ is a part of db.
            return recorder.dispatch(&SUM, &[dz, x, dw, db], &self.params(1), vectors, 256);
        }
        // Every part has a row at least.
        let split_rows = self.batch.div_ceil(splits);
        let splits = self.batch.div_ceil(split_rows);
        let tiles = stride(self.inputs).div_ceil(across) * self.outputs.div_ceil(down);
        let params = self.params(split_rows);
        if splits == 1 {
            return recorder.dispatch(kernel, &[dz, x, dw, db], &params, tiles as u64, 1);
        }
        let mut parts = |len: usize| recorder.storage((splits * len * 4) as u64);
        let (dw_parts, db_parts) = (parts(weights)?, parts(row)?);
        let buffers = [dz, x, &dw_parts, &db_parts];
        recorder.dispatch(kernel, &buffers, &params, (tiles * splits) as u64, 1)?;
        recorder.dispatch(&SUM, &[&db_parts, &dw_parts, dw, db], &params, vectors, 256)
    }

    fn record_inputs(
        self,
        recorder: &mut Recorder,
        variant: Variant,
        [dz, weights, dx]: [&Buffer; 3],
    ) -> Result<()> {
        let (kernel, across, down) = match variant {
            Variant::Tiled { .. } => (&INPUTS, 64, 64),
            Variant::Direct => (&INPUTS_DIRECT, 64, 8),
        };
        let tiles = stride(self.inputs).div_ceil(across) * self.batch.div_ceil(down);
        let params = recorder.params(kernel, &self.params(self.batch))?;
        let bindings = [(0, dz), (1, weights), (2, dx), (4, &params)];
        recorder.dispatch_at(kernel, &bindings, tiles as u64, 1)
    }
}

/// The gradients of act-free Z = X · Wᵀ + b with respect to inputs, weights and bias, given dZ:
/// `x` is `[batch, inputs]`, `weights` `[outputs, inputs]`, `dz` `[batch, outputs]`, where
/// `(batch, inputs, outputs)` is `shape`.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] where the shapes do not fit, or a device error.
pub fn dense_grad(
    backend: &Backend,
    x: &[f32],
    weights: &[f32],
    dz: &[f32],
    shape: (usize, usize, usize),
) -> Result<Gradients> {
    dense_grad_with(backend, x, weights, dz, shape, None)
}

/// [`dense_grad`] with a given variant of the kernels.
///
/// # Errors
/// As [`dense_grad`].
pub fn dense_grad_with(
    backend: &Backend,
    x: &[f32],
    weights: &[f32],
    dz: &[f32],
    (batch, inputs, outputs): (usize, usize, usize),
    variant: Option<Variant>,
) -> Result<Gradients> {
    if let Backend::Cpu = backend {
        let fits = |floats: &[f32], shape: [usize; 2]| match floats.len() == shape[0] * shape[1] {
            true => Ok(()),
            false => Err(shape_error(&shape, floats.len())),
        };
        fits(x, [batch, inputs])?;
        fits(weights, [outputs, inputs])?;
        fits(dz, [batch, outputs])?;
        let zeros = |len| vec![0.0; len];
        let (dx, dw, db) = (zeros(batch * inputs), zeros(outputs * inputs), zeros(outputs));
        let mut found = Gradients { inputs: dx, weights: dw, bias: db };
        cpu::dense_grad::weights(x, dz, batch, &mut found.weights, &mut found.bias);
        cpu::dense_grad::inputs(dz, weights, batch, &mut found.inputs);
        return Ok(found);
    }
    let x = Values::new(backend, x, (batch, inputs))?;
    let weights = Values::new(backend, weights, (outputs, inputs))?;
    let dz = Values::new(backend, dz, (batch, outputs))?;
    let empty = || Values::empty(backend);
    let (mut dx, mut dw, mut db) = (empty()?, empty()?, empty()?);
    let mut stream = Stream::new(backend);
    let variant = variant.unwrap_or_else(|| stream.variant(batch, inputs, outputs));
    stream.weights_by(variant, &x, &dz, &mut dw, &mut db)?;
    stream.inputs_by(variant, &dz, &weights, &mut dx)?;
    stream.finish()?;
    Ok(Gradients { inputs: dx.read()?, weights: dw.read()?, bias: db.read()? })
}
