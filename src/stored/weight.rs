//! A weight as `[out_features, in_features]`, however it is stored, and the slabs it is cut into.

use std::borrow::Cow;
use std::ops::Range;

use crate::io::{SafetensorsFile, TensorInfo};
use crate::scheme::{Granularity, QuantScheme};
use crate::tensor::{FloatType, Matrix};

/// Bytes of weights that a worker takes at once.
pub(crate) const SLAB_BYTES: usize = 4 << 20;
/// Bytes of a transposed weight's file that are mapped in before they are released.
const WINDOW_BYTES: usize = 16 << 20;

/// Type and true shape of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    pub float: FloatType,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// Stored `[in, out]`, as Keras does.
    pub transposed: bool,
}

impl Weight {
    pub(crate) fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len() * self.float.size()
    }

    /// Bytes of some rows as a dense weight.
    pub(crate) fn slab_bytes(&self, rows: &Range<usize>) -> u64 {
        (rows.len() * self.row_bytes()) as u64
    }

    fn row_bytes(&self) -> usize {
        self.cols * self.float.size()
    }

    /// Scales of a row.
    pub(crate) fn groups(&self, scheme: &QuantScheme) -> usize {
        match scheme.granularity {
            Granularity::Tensor | Granularity::Channel => 1,
            Granularity::Group(size) => self.cols.div_ceil(size),
        }
    }

    /// The same elements in the order in which they lie, not transposed.
    pub(crate) fn as_stored(&self) -> Self {
        let (rows, cols) =
            if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) };
        Self { rows, cols, transposed: false, ..*self }
    }

    /// Rows of one slab: whole rows, about [`SLAB_BYTES`], at least one.
    ///
    /// A multiple of 16 where possible, so that reads of a transposed weight are whole cache lines.
    pub(crate) fn slab_rows(&self) -> usize {
        let rows = SLAB_BYTES / self.row_bytes().max(1);
        (if rows > 16 { rows / 16 * 16 } else { rows }).max(1)
    }

    /// The slabs, in order. A weight without elements has one, so that it is seen at all.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, step) = (self.rows, self.slab_rows());
        (0..rows.div_ceil(step).max(1)).map(move |i| i * step..((i + 1) * step).min(rows))
    }

    /// Rows `rows` of the weight, little-endian `[rows, cols]`.
    pub(crate) fn read<'a>(
        &self,
        file: &'a SafetensorsFile,
        info: &TensorInfo,
        rows: &Range<usize>,
    ) -> Cow<'a, [u8]> {
        let row_bytes = self.row_bytes();
        if !self.transposed {
            return Cow::Borrowed(file.bytes(info, rows.start * row_bytes..rows.end * row_bytes));
        }
        let mut slab = vec![0; rows.len() * row_bytes];
        match self.float.size() {
            2 => self.gather::<2>(file, info, rows, &mut slab),
            _ => self.gather::<4>(file, info, rows, &mut slab),
        }
        Cow::Owned(slab)
    }

    fn gather<const SIZE: usize>(
        &self,
        file: &SafetensorsFile,
        info: &TensorInfo,
        rows: &Range<usize>,
        slab: &mut [u8],
    ) {
        let (slab, _) = slab.as_chunks_mut::<SIZE>();
        let mut window = 0;
        for input in 0..self.cols {
            let run = self.run(input, rows);
            let (source, _) = file.bytes(info, run.clone()).as_chunks::<SIZE>();
            for (row, element) in source.iter().enumerate() {
                slab[row * self.cols + input] = *element;
            }
            if run.end - window >= WINDOW_BYTES {
                file.release(info, window..run.end);
                window = run.end;
            }
        }
    }

    /// The elements at `rows` and `cols`, both ascending, little-endian `[rows, cols]`. What was
    /// read is released.
    pub(crate) fn read_some(
        &self,
        file: &SafetensorsFile,
        info: &TensorInfo,
        rows: &[usize],
        cols: &[usize],
    ) -> Vec<u8> {
        match self.float.size() {
            2 => self.pick::<2>(file, info, rows, cols),
            _ => self.pick::<4>(file, info, rows, cols),
        }
    }

    fn pick<const SIZE: usize>(
        &self,
        file: &SafetensorsFile,
        info: &TensorInfo,
        rows: &[usize],
        cols: &[usize],
    ) -> Vec<u8> {
        let mut picked = vec![0; rows.len() * cols.len() * SIZE];
        let (elements, _) = picked.as_chunks_mut::<SIZE>();
        // Line by line as they lie in the file.
        let (lines, places) = if self.transposed { (cols, rows) } else { (rows, cols) };
        let line_bytes = self.as_stored().row_bytes();
        let mut window = lines.first().map_or(0, |line| line * line_bytes);
        for (i, line) in lines.iter().enumerate() {
            let end = (line + 1) * line_bytes;
            let (source, _) = file.bytes(info, end - line_bytes..end).as_chunks::<SIZE>();
            for (j, place) in places.iter().enumerate() {
                let (row, col) = if self.transposed { (j, i) } else { (i, j) };
                elements[row * cols.len() + col] = source[*place];
            }
            if end - window >= WINDOW_BYTES || i + 1 == lines.len() {
                file.release(info, window..end);
                window = end;
            }
        }
        picked
    }

    /// Where input feature `input` of output features `rows` lies in a transposed weight.
    fn run(&self, input: usize, rows: &Range<usize>) -> Range<usize> {
        let size = self.float.size();
        (input * self.rows + rows.start) * size..(input * self.rows + rows.end) * size
    }

    /// Calls `write` with the offset and the bytes of each piece of dense `rows`, as stored.
    pub(crate) fn scatter<E>(
        &self,
        rows: &Range<usize>,
        dense: &[u8],
        mut write: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.transposed {
            return write(rows.start * self.row_bytes(), dense);
        }
        let size = self.float.size();
        let stored = transpose(dense, rows.len(), self.cols, size);
        if rows.len() == self.rows {
            return write(0, &stored);
        }
        for (input, piece) in stored.chunks_exact((rows.len() * size).max(1)).enumerate() {
            write(self.run(input, rows).start, piece)?;
        }
        Ok(())
    }

    /// Tells the system that `rows` will not be read again soon.
    pub(crate) fn release(&self, file: &SafetensorsFile, info: &TensorInfo, rows: &Range<usize>) {
        if self.transposed {
            file.release(info, 0..self.bytes());
        } else {
            file.release(info, rows.start * self.row_bytes()..rows.end * self.row_bytes());
        }
    }

    pub(crate) fn matrix<'a>(&self, rows: &Range<usize>, data: &'a [u8]) -> Matrix<'a> {
        Matrix { float: self.float, rows: rows.len(), cols: self.cols, data }
    }
}

/// `[rows, cols]` elements of `size` bytes to `[cols, rows]`.
fn transpose(data: &[u8], rows: usize, cols: usize, size: usize) -> Vec<u8> {
    let mut out = vec![0; data.len()];
    for row in 0..rows {
        for col in 0..cols {
            let (from, to) = ((row * cols + col) * size, (col * rows + row) * size);
            out[to..to + size].copy_from_slice(&data[from..from + size]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_whole_rows_and_cover_the_weight() {
        for (rows, cols) in [(0, 5), (5, 0), (1, 1), (3, 3 << 20), (10_000, 1000), (100, 1 << 21)] {
            let weight = Weight { float: FloatType::F32, rows, cols, transposed: false };
            let slabs: Vec<_> = weight.slabs().collect();
            assert_eq!(slabs[0].start, 0);
            assert_eq!(slabs.last().expect("one at least").end, rows);
            assert!(slabs.windows(2).all(|w| w[0].end == w[1].start));
            assert!(slabs.iter().all(|s| s.len() <= 1 || s.len() * cols * 4 <= SLAB_BYTES));
        }
    }

    #[test]
    fn scatter_puts_a_transposed_slab_back() {
        let weight = Weight { float: FloatType::BF16, rows: 4, cols: 3, transposed: true };
        let mut stored = [0_u8; 24];
        for rows in [0..3, 3..4] {
            let dense: Vec<u8> =
                rows.clone().flat_map(|r| (0..3).flat_map(move |c| [r as u8, c as u8])).collect();
            let put = |at: usize, piece: &[u8]| {
                stored[at..][..piece.len()].copy_from_slice(piece);
                Ok::<_, ()>(())
            };
            weight.scatter(&rows, &dense, put).expect("never fails");
        }
        let expected: Vec<u8> =
            (0..3).flat_map(|c| (0..4).flat_map(move |r| [r as u8, c as u8])).collect();
        assert_eq!(stored[..], expected);
    }
}
