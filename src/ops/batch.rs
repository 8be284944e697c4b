//! Which rows of a data set make a batch.

use super::values::ELSEWHERE;
use super::{Backend, linear};
use crate::error::{ArrayProblem, Error, Result, UsageError};
use crate::gpu::Buffer;

/// Row numbers or class labels on a backend.
#[derive(Debug)]
pub struct Indices {
    len: usize,
    /// Place and value of the largest.
    largest: Option<(usize, u32)>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Cpu(Vec<u32>),
    Gpu(Buffer),
}

impl Indices {
    /// A copy of `indices`.
    ///
    /// # Errors
    /// A device error.
    pub fn new(backend: &Backend, indices: &[u32]) -> Result<Self> {
        let held = match backend {
            Backend::Cpu => Held::Cpu(indices.to_vec()),
            Backend::Gpu(gpu) => Held::Gpu(linear::upload(gpu, bytemuck::cast_slice(indices))?),
        };
        let largest = indices.iter().copied().enumerate().max_by_key(|(_, index)| *index);
        Ok(Self { len: indices.len(), largest, held })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fails where one is no label of so many classes: a kernel must not read there.
    pub(super) fn check_labels(&self, classes: usize) -> Result<()> {
        match self.largest.filter(|(_, label)| *label as usize >= classes) {
            None => Ok(()),
            Some((index, label)) => {
                Err(ArrayProblem::Label { index, value: label.to_string(), classes }.into())
            }
        }
    }

    pub(super) fn cpu(&self) -> Result<&[u32]> {
        match &self.held {
            Held::Cpu(indices) => Ok(indices),
            Held::Gpu(_) => Err(ELSEWHERE),
        }
    }

    pub(super) fn gpu(&self) -> Result<&Buffer> {
        match &self.held {
            Held::Gpu(buffer) => Ok(buffer),
            Held::Cpu(_) => Err(ELSEWHERE),
        }
    }
}

/// The rows `order[first..first + rows]` of a data set.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Row numbers, for example those of an epoch, shuffled.
    pub order: &'a Indices,
    /// Where the batch begins in them.
    pub first: usize,
    /// How many rows it has.
    pub rows: usize,
}

impl<'a> Batch<'a> {
    /// All rows of `order`.
    pub fn all(order: &'a Indices) -> Self {
        Self { order, first: 0, rows: order.len() }
    }

    /// Fails where a row is none of a data set of so many.
    pub(super) fn check(&self, rows: usize) -> Result<()> {
        let end = self.first.saturating_add(self.rows);
        if end > self.order.len() {
            return Err(refused("the end of a batch", end, "within the order of its rows"));
        }
        self.order.largest.map_or(Ok(()), |(_, row)| check_row(row, rows))
    }

    /// Its row numbers.
    pub(super) fn cpu(&self) -> Result<&'a [u32]> {
        Ok(&self.order.cpu()?[self.first..][..self.rows])
    }
}

/// Fails where a row of `order` is none of a data set of so many.
pub(super) fn check_rows(order: &[u32], rows: usize) -> Result<()> {
    order.iter().max().map_or(Ok(()), |row| check_row(*row, rows))
}

fn check_row(row: u32, rows: usize) -> Result<()> {
    if (row as usize) < rows {
        return Ok(());
    }
    Err(refused("a row of a batch", row as usize, "a row of the data set"))
}

fn refused(what: &'static str, value: usize, expected: &'static str) -> Error {
    UsageError::OutOfRange { what, value: value.to_string(), expected }.into()
}
