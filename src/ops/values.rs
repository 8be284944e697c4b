//! Matrices that stay on a device while a network is trained.

use super::linear::stride;
use super::{Backend, words};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Recorder};

/// An `f32` matrix `[rows, cols]` on a backend: activations, weights `[outputs, inputs]`, a bias
/// `[1, outputs]`, gradients and moments.
///
/// On the CPU its rows follow each other. On a GPU they are [`stride`]`(cols)` floats apart, and
/// what lies between them is zero: every operation that writes such a matrix keeps it so, because
/// the kernels read eight floats at a time.
///
/// The operations of a [`super::Stream`] give their results the shape that they need. A matrix
/// keeps its memory where that suffices, so a loop allocates in its first round only.
#[derive(Debug)]
pub struct Values {
    rows: usize,
    cols: usize,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Cpu(Vec<f32>),
    Gpu(Gpu, Buffer),
}

impl Values {
    /// An empty matrix, for an operation to fill.
    ///
    /// # Errors
    /// A device error.
    pub fn empty(backend: &Backend) -> Result<Self> {
        Self::zeros(backend, 0, 0)
    }

    /// Zeros `[rows, cols]`.
    ///
    /// # Errors
    /// A device error.
    pub fn zeros(backend: &Backend, rows: usize, cols: usize) -> Result<Self> {
        let held = match backend {
            Backend::Cpu => Held::Cpu(vec![0.0; rows * cols]),
            Backend::Gpu(gpu) => {
                let mut recorder = gpu.recorder();
                let buffer = recorder.zeros(device_bytes(rows, cols))?;
                recorder.run()?;
                Held::Gpu(gpu.clone(), buffer)
            }
        };
        Ok(Self { rows, cols, held })
    }

    /// A copy of `values`, row-major `[rows, cols]`.
    ///
    /// # Errors
    /// [`crate::error::FormatProblem::ShapeSize`] where they are not so many, or a device error.
    pub fn new(backend: &Backend, values: &[f32], (rows, cols): (usize, usize)) -> Result<Self> {
        if rows.checked_mul(cols) != Some(values.len()) {
            return Err(super::linear::shape_error(&[rows, cols], values.len()));
        }
        let held = match backend {
            Backend::Cpu => Held::Cpu(values.to_vec()),
            Backend::Gpu(gpu) => {
                let padded = super::linear::pad(values, rows, cols);
                let buffer = super::linear::upload(gpu, bytemuck::cast_slice(&padded))?;
                Held::Gpu(gpu.clone(), buffer)
            }
        };
        Ok(Self { rows, cols, held })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// True where there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, row-major without padding. Waits for what was submitted before; what is only
    /// recorded is not seen.
    ///
    /// # Errors
    /// A device error.
    pub fn read(&self) -> Result<Vec<f32>> {
        match &self.held {
            Held::Cpu(values) => Ok(values.clone()),
            Held::Gpu(..) if self.is_empty() => Ok(vec![]),
            Held::Gpu(gpu, buffer) => {
                let mut recorder = gpu.recorder();
                recorder.download(buffer, device_bytes(self.rows, self.cols) as usize)?;
                let bytes = recorder.run()?.downloads.swap_remove(0);
                let padded = words(&bytes);
                let rows = padded.chunks_exact(stride(self.cols));
                let values = rows.flat_map(|row| &row[..self.cols]);
                Ok(values.map(|bits| f32::from_bits(*bits)).collect())
            }
        }
    }

    /// The elements of a matrix on the CPU.
    pub(super) fn cpu(&self) -> Result<&[f32]> {
        match &self.held {
            Held::Cpu(values) => Ok(values),
            Held::Gpu(..) => Err(ELSEWHERE),
        }
    }

    pub(super) fn cpu_mut(&mut self) -> Result<&mut [f32]> {
        match &mut self.held {
            Held::Cpu(values) => Ok(values),
            Held::Gpu(..) => Err(ELSEWHERE),
        }
    }

    /// The rows of a matrix on a GPU.
    pub(super) fn gpu(&self) -> Result<&Buffer> {
        match &self.held {
            Held::Gpu(_, buffer) => Ok(buffer),
            Held::Cpu(_) => Err(ELSEWHERE),
        }
    }

    /// Makes it `[rows, cols]` with arbitrary content, which the caller must write whole.
    pub(super) fn reshape(
        &mut self,
        recorder: Option<&mut Recorder>,
        rows: usize,
        cols: usize,
    ) -> Result<()> {
        match (&mut self.held, recorder) {
            (Held::Cpu(values), None) => values.resize(rows * cols, 0.0),
            (Held::Gpu(_, buffer), Some(recorder)) => {
                let bytes = device_bytes(rows, cols);
                if bytes > buffer.size() {
                    *buffer = recorder.storage(bytes)?;
                }
            }
            _ => return Err(ELSEWHERE),
        }
        (self.rows, self.cols) = (rows, cols);
        Ok(())
    }

    /// Makes it `[rows, cols]` with what `buffer` holds, padded as its own would be.
    pub(super) fn replace(&mut self, buffer: Buffer, rows: usize, cols: usize) -> Result<()> {
        match &mut self.held {
            Held::Gpu(_, own) => *own = buffer,
            Held::Cpu(_) => return Err(ELSEWHERE),
        }
        (self.rows, self.cols) = (rows, cols);
        Ok(())
    }

    /// Fails where it is not `[rows, cols]`.
    pub(super) fn expect(&self, rows: usize, cols: usize) -> Result<()> {
        if (self.rows, self.cols) == (rows, cols) {
            Ok(())
        } else {
            Err(super::linear::shape_error(&[rows, cols], self.len()))
        }
    }
}

pub(super) const ELSEWHERE: Error =
    Error::Bug { what: "an operation was given values of another backend" };

fn device_bytes(rows: usize, cols: usize) -> u64 {
    (rows * stride(cols)) as u64 * 4
}
