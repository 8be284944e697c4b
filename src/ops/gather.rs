//! Rows of a data set in the order of a batch.

use super::batch::check_rows;
use super::linear::{self, shape_error, stride};
use super::stream::Target;
use super::values::ELSEWHERE;
use super::{Backend, Batch, Indices, Stream, Values};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Kernel};

const BYTES: Kernel =
    Kernel { file: "gather.wgsl", entry: "gather_bytes", constants: &[], estimates: false };
const FLOATS: Kernel = Kernel { entry: "gather_floats", ..BYTES };

/// The inputs of a data set `[rows, cols]` on a backend, from which batches are taken.
#[derive(Debug)]
pub struct Features {
    rows: usize,
    cols: usize,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Floats(Values),
    Bytes(Vec<u8>),
    /// Rows padded to the stride, and byte / 255 for every byte.
    GpuBytes(Buffer, Buffer),
}

impl Features {
    /// Bytes, such as grey values, that stand for their 255th part: four times smaller than floats.
    ///
    /// # Errors
    /// [`crate::error::FormatProblem::ShapeSize`] where they are not `[rows, cols]`, or a device
    /// error: one binding of a GPU must hold them.
    pub fn bytes(backend: &Backend, bytes: Vec<u8>, (rows, cols): (usize, usize)) -> Result<Self> {
        if rows.checked_mul(cols) != Some(bytes.len()) {
            return Err(shape_error(&[rows, cols], bytes.len()));
        }
        let held = match backend {
            Backend::Cpu => Held::Bytes(bytes),
            Backend::Gpu(gpu) => {
                let shares: Vec<f32> = (0..=255_u8).map(|byte| f32::from(byte) / 255.0).collect();
                let padded = padded(&bytes, cols);
                Held::GpuBytes(
                    linear::upload(gpu, &padded)?,
                    linear::upload(gpu, bytemuck::cast_slice(&shares))?,
                )
            }
        };
        Ok(Self { rows, cols, held })
    }

    /// Floats as they are.
    ///
    /// # Errors
    /// As [`Features::bytes`].
    pub fn floats(backend: &Backend, values: &[f32], shape: (usize, usize)) -> Result<Self> {
        let (rows, cols) = shape;
        Ok(Self { rows, cols, held: Held::Floats(Values::new(backend, values, shape)?) })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// Rows of bytes, each padded with zeros to the stride.
fn padded(bytes: &[u8], cols: usize) -> Vec<u8> {
    let mut padded = Vec::with_capacity(bytes.len() / cols.max(1) * stride(cols));
    for row in bytes.chunks_exact(cols.max(1)) {
        padded.extend_from_slice(row);
        padded.resize(padded.len().next_multiple_of(8), 0);
    }
    padded
}

impl Stream {
    /// `x` `[batch rows, cols]` becomes the rows of `features` that `batch` names. The same bytes
    /// on every device.
    ///
    /// # Errors
    /// [`crate::error::UsageError::OutOfRange`] for a row that is not there, or a device error.
    pub fn gather(&mut self, features: &Features, batch: Batch<'_>, x: &mut Values) -> Result<()> {
        batch.check(features.rows)?;
        let (rows, cols) = (batch.rows, features.cols);
        self.reshape(x, rows, cols)?;
        let recorder = match self.target() {
            Target::Cpu => {
                let (order, x) = (batch.cpu()?, x.cpu_mut()?);
                match &features.held {
                    Held::Floats(values) => cpu::gather::floats(values.cpu()?, cols, order, x),
                    Held::Bytes(bytes) => cpu::gather::bytes(bytes, cols, order, x),
                    Held::GpuBytes(..) => return Err(ELSEWHERE),
                }
                return Ok(());
            }
            Target::Gpu(recorder) => recorder,
        };
        let quads = stride(cols) / 4;
        let params =
            [("rows", rows as u32), ("first", batch.first as u32), ("quads", quads as u32)];
        let (order, x) = (batch.order.gpu()?, x.gpu()?);
        let items = (rows * quads) as u64;
        match &features.held {
            Held::Floats(values) => {
                let params = recorder.params(&FLOATS, &params)?;
                let bindings = [(0, order), (2, values.gpu()?), (4, x), (5, &params)];
                recorder.dispatch_at(&FLOATS, &bindings, items, 256)
            }
            Held::GpuBytes(bytes, shares) => {
                let params = recorder.params(&BYTES, &params)?;
                let bindings = [(0, order), (1, bytes), (3, shares), (4, x), (5, &params)];
                recorder.dispatch_at(&BYTES, &bindings, items, 256)
            }
            Held::Bytes(_) => Err(ELSEWHERE),
        }
    }
}

/// The rows of `values` `[rows, cols]` that `order` names.
///
/// # Errors
/// [`crate::error::UsageError::OutOfRange`] for a row that is not there,
/// [`crate::error::FormatProblem::ShapeSize`] for a part of a row, or a device error.
pub fn floats(backend: &Backend, values: &[f32], cols: usize, order: &[u32]) -> Result<Vec<f32>> {
    let shape = whole_rows(values.len(), cols)?;
    check_rows(order, shape.0)?;
    if let Backend::Gpu(_) = backend {
        return run(backend, &Features::floats(backend, values, shape)?, order);
    }
    let mut x = vec![0.0; order.len() * cols];
    cpu::gather::floats(values, cols, order, &mut x);
    Ok(x)
}

/// The rows of `bytes` `[rows, cols]` that `order` names, each byte divided by 255.
///
/// # Errors
/// As [`floats`].
pub fn bytes(backend: &Backend, bytes: &[u8], cols: usize, order: &[u32]) -> Result<Vec<f32>> {
    let shape = whole_rows(bytes.len(), cols)?;
    check_rows(order, shape.0)?;
    if let Backend::Gpu(_) = backend {
        return run(backend, &Features::bytes(backend, bytes.to_vec(), shape)?, order);
    }
    let mut x = vec![0.0; order.len() * cols];
    cpu::gather::bytes(bytes, cols, order, &mut x);
    Ok(x)
}

/// The shape of so many elements in rows of `cols`.
fn whole_rows(len: usize, cols: usize) -> Result<(usize, usize)> {
    let rows = len.checked_div(cols).unwrap_or(0);
    if rows * cols == len { Ok((rows, cols)) } else { Err(shape_error(&[rows, cols], len)) }
}

fn run(backend: &Backend, features: &Features, order: &[u32]) -> Result<Vec<f32>> {
    let order = Indices::new(backend, order)?;
    let mut x = Values::empty(backend)?;
    let mut stream = Stream::new(backend);
    stream.gather(features, Batch::all(&order), &mut x)?;
    stream.finish()?;
    x.read()
}
