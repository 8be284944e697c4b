//! Operations in a row on one backend, so that what is made of them is written once.

use super::values::Values;
use super::{Backend, dense};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Gpu, Outcome, Pending, Recorder};
use crate::scheme::Activation;
use crate::tensor::{FloatType, Matrix};

/// Takes operations on [`Values`] in order. On the CPU each runs at once. On a GPU each is
/// recorded, and all are submitted together by [`Stream::submit`] or [`Stream::finish`]; one
/// stream may hold many steps of a training loop.
///
/// Results lie in the values that the operations were given, and are read from there once the
/// stream has ended. Given the same arguments, an operation gives the same bytes every time on one
/// device; on the CPU whatever the number of threads.
///
/// On the CPU, large operations share out their work among the threads of rayon's pool. A loop of
/// many small ones runs best on one of these threads itself, inside `rayon::scope` for example:
/// another thread would have to wake the pool, and to sleep meanwhile, for each of them.
///
/// ```
/// use tensorpress::ops::{Backend, Stream, Values};
///
/// # fn main() -> tensorpress::Result<()> {
/// let backend = Backend::Cpu;
/// let x = Values::new(&backend, &[1.0, 2.0], (1, 2))?;
/// let weights = Values::new(&backend, &[3.0, 4.0, 5.0, 6.0], (2, 2))?;
/// let bias = Values::zeros(&backend, 1, 2)?;
/// let mut z = Values::empty(&backend)?;
/// let mut stream = Stream::new(&backend);
/// stream.dense(&x, &weights, &bias, &mut z)?;
/// stream.finish()?;
/// assert_eq!(z.read()?, [11.0, 17.0]);
/// # Ok(())
/// # }
/// ```
pub struct Stream {
    on: On,
}

enum On {
    Cpu,
    Gpu(Gpu, Recorder),
}

/// What [`Stream::submit`] started.
#[must_use = "a GPU may still be at work; wait for it"]
pub struct Submitted(Option<Pending>);

/// Where an operation goes.
pub(super) enum Target<'a> {
    Cpu,
    Gpu(&'a mut Recorder),
}

impl Stream {
    /// An empty one.
    pub fn new(backend: &Backend) -> Self {
        let on = match backend {
            Backend::Cpu => On::Cpu,
            Backend::Gpu(gpu) => On::Gpu(gpu.clone(), gpu.recorder()),
        };
        Self { on }
    }

    /// Submits what was recorded and does not wait. A next stream may be recorded meanwhile; the
    /// device keeps the order.
    ///
    /// # Errors
    /// A device error.
    pub fn submit(self) -> Result<Submitted> {
        match self.on {
            On::Cpu => Ok(Submitted(None)),
            On::Gpu(_, recorder) => Ok(Submitted(Some(recorder.submit()?))),
        }
    }

    /// Submits what was recorded and waits until it is done.
    ///
    /// # Errors
    /// A device error.
    pub fn finish(self) -> Result<()> {
        self.submit()?.wait()
    }

    pub(super) fn target(&mut self) -> Target<'_> {
        match &mut self.on {
            On::Cpu => Target::Cpu,
            On::Gpu(_, recorder) => Target::Gpu(recorder),
        }
    }

    /// Whether it records for an adapter that is emulated on a CPU.
    pub(super) fn is_software(&self) -> bool {
        matches!(&self.on, On::Gpu(gpu, _) if gpu.is_software())
    }

    /// Gives `values` this shape, with arbitrary content.
    pub(super) fn reshape(&mut self, values: &mut Values, rows: usize, cols: usize) -> Result<()> {
        match &mut self.on {
            On::Cpu => values.reshape(None, rows, cols),
            On::Gpu(_, recorder) => values.reshape(Some(recorder), rows, cols),
        }
    }

    /// `z` becomes X · Wᵀ + b, without activation: `x` is `[batch, inputs]`, `weights`
    /// `[outputs, inputs]`, `bias` `[1, outputs]`, `z` `[batch, outputs]`. As [`dense::dense`].
    ///
    /// # Errors
    /// [`crate::error::FormatProblem::ShapeSize`] where the shapes do not fit, or a device error.
    pub fn dense(
        &mut self,
        x: &Values,
        weights: &Values,
        bias: &Values,
        z: &mut Values,
    ) -> Result<()> {
        let (batch, inputs, outputs) = (x.rows(), x.cols(), weights.rows());
        weights.expect(outputs, inputs)?;
        bias.expect(1, outputs)?;
        self.reshape(z, batch, outputs)?;
        let software = self.is_software();
        match self.target() {
            Target::Cpu => {
                let data = bytemuck::cast_slice(weights.cpu()?);
                let weights = Matrix { float: FloatType::F32, rows: outputs, cols: inputs, data };
                let (bias, none) = (bias.cpu()?, Activation::Identity);
                cpu::dense::dense(x.cpu()?, weights, Some(bias), none, z.cpu_mut()?);
                Ok(())
            }
            Target::Gpu(recorder) => {
                let buffers = [weights.gpu()?, bias.gpu()?, x.gpu()?, z.gpu()?];
                dense::record_f32(recorder, buffers, (batch, inputs, outputs), software)
            }
        }
    }
}

impl Submitted {
    /// Waits until it is done.
    ///
    /// # Errors
    /// A device error.
    pub fn wait(self) -> Result<()> {
        self.0.map_or(Ok(Outcome::default()), Pending::wait).map(drop)
    }
}
