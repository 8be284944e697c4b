//! Tensors as data and nothing else: element types, shapes and borrowed views.

mod dtype;
pub(crate) mod finite;
mod float;

pub use dtype::DType;
pub use float::FloatType;

use crate::error::{FormatProblem, Result};

/// A borrowed, row-major, little-endian tensor.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Element type as it is stored.
    pub dtype: DType,
    /// Extent of each dimension, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements, `shape.product() * dtype.bits() / 8` bytes.
    pub data: &'a [u8],
}

/// Borrowed floating-point weights, row-major `[rows, cols]`: `[out_features, in_features]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Element type.
    pub float: FloatType,
    /// Number of rows (output features).
    pub rows: usize,
    /// Number of columns (input features).
    pub cols: usize,
    /// `rows * cols * float.size()` bytes, little-endian.
    pub data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Wraps `data` as `[rows, cols]`.
    ///
    /// # Errors
    /// [`FormatProblem::ShapeSize`] when `data` is not exactly `rows * cols` elements long.
    pub fn new(float: FloatType, rows: usize, cols: usize, data: &'a [u8]) -> Result<Self> {
        let expected = rows.checked_mul(cols).and_then(|n| n.checked_mul(float.size()));
        if expected != Some(data.len()) {
            return Err(FormatProblem::ShapeSize {
                shape: vec![rows, cols],
                dtype: float.dtype(),
                bytes: data.len() as u64,
            }
            .into());
        }
        Ok(Self { float, rows, cols, data })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// True where there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
