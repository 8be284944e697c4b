//! Arrays of numbers: inputs of networks, labels, and results.

mod data_set;
mod idx;
mod npy;
mod zip;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

pub use data_set::{DataSet, Split};
pub use npy::write_npy;

use super::SafetensorsFile;
use crate::error::{ArrayProblem, Error, FormatProblem, Result};
use crate::tensor::{DType, FloatType};

/// Numbers of a file, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: ArrayData,
}

/// Elements as they are used: every float becomes `f32` and every wide integer `i64`.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// Floats.
    F32(Vec<f32>),
    /// Bytes, as images have them, and truth values.
    U8(Vec<u8>),
    /// All other integers.
    I64(Vec<i64>),
}

impl Array {
    /// Reads the one array of a file, whose kind is told by its content: `.npy` (NumPy's format
    /// 1 to 3), `.npz`, `.safetensors` or IDX; `.npy` and IDX also gzipped.
    ///
    /// # Errors
    /// [`Error::Input`], or [`ArrayProblem`] where the file is not valid or holds several.
    pub fn read(path: &Path) -> Result<Self> {
        Self::find(path, None)
    }

    /// Reads the array `name` of a file that holds several.
    ///
    /// # Errors
    /// As [`Array::read`], and [`ArrayProblem::Name`].
    pub fn read_named(path: &Path, name: &str) -> Result<Self> {
        Self::find(path, Some(name))
    }

    fn find(path: &Path, name: Option<&str>) -> Result<Self> {
        let input = |source| Error::Input { path: path.to_owned(), source };
        let file = File::open(path).map_err(input)?;
        let limit = Limit::packed(file.metadata().map_err(input)?.len());
        let mut file = BufReader::new(file);
        let mut start = vec![];
        file.by_ref().take(8).read_to_end(&mut start).map_err(input)?;
        let whole = std::io::Cursor::new(start.clone()).chain(file);
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return from_safetensors(path, name);
        }
        let array = match &start[..] {
            [] => Err(FormatProblem::Empty.into()),
            [0x1f, 0x8b, ..] | [0x93, b'N', ..] | [0, 0, 8..=14, ..] if name.is_some() => {
                let available = "one array without a name".to_owned();
                Err(ArrayProblem::Name { wanted: name.map(str::to_owned), available }.into())
            }
            [b'P', b'K', 3 | 5, ..] => zip::read(path, name, limit),
            [0x1f, 0x8b, ..] => single(flate2::read::MultiGzDecoder::new(whole), limit),
            [0x93, b'N', ..] | [0, 0, 8..=14, ..] => single(whole, Limit::PLAIN),
            // The length of a header, of which the upper half is 0.
            [_, _, _, _, 0, 0, 0, 0] => return from_safetensors(path, name),
            _ => Err(ArrayProblem::Kind { found: start }.into()),
        };
        array.map_err(|error| error.in_file(path))
    }

    /// Elements as floats: bytes, as images have them, become 0 … 1; truth values and all other
    /// integers stay what they are.
    pub fn scaled(&self) -> Cow<'_, [f32]> {
        match &self.data {
            ArrayData::F32(values) => values.into(),
            ArrayData::U8(values) => values.iter().map(|v| f32::from(*v) / 255.0).collect(),
            ArrayData::I64(values) => values.iter().map(|v| *v as f32).collect(),
        }
    }

    /// Rows and elements a row, all dimensions but the first together.
    pub fn rows(&self) -> (usize, usize) {
        match &self.shape[..] {
            [] => (1, 1),
            // No rows may have any width.
            [rows, rest @ ..] => (*rows, rest.iter().fold(1, |n: usize, e| n.saturating_mul(*e))),
        }
    }

    /// The same where its rows are `width` wide, and a batch of one row where it is a single row,
    /// as a picture that was stored alone is.
    #[must_use]
    pub fn batched(mut self, width: usize) -> Self {
        let elements = match &self.data {
            ArrayData::F32(values) => values.len(),
            ArrayData::U8(values) => values.len(),
            ArrayData::I64(values) => values.len(),
        };
        if self.rows().1 != width && elements == width {
            self.shape.insert(0, 1);
        }
        self
    }
}

/// NPY or IDX from a stream.
fn single(mut stream: impl Read, limit: Limit) -> Result<Array> {
    let mut start = [0; 4];
    read_exactly(&mut stream, &mut start, "array")?;
    match start {
        [0x93, b'N', b'U', b'M'] => npy::read(stream, limit),
        [0, 0, kind, dimensions] => idx::read(stream, kind, dimensions, limit),
        _ => Err(ArrayProblem::Kind { found: start.to_vec() }.into()),
    }
}

fn read_exactly(stream: &mut impl Read, bytes: &mut [u8], kind: &'static str) -> Result<()> {
    stream
        .read_exact(bytes)
        .map_err(|e| ArrayProblem::Header { kind, reason: e.to_string() }.into())
}

/// How many bytes of data are read at most.
#[derive(Clone, Copy)]
struct Limit {
    bytes: u64,
    /// Whether it is due to the file's own size.
    packed: bool,
}

impl Limit {
    /// As they are in the file, of which there cannot be more.
    const PLAIN: Self = Self { bytes: 64 << 30, packed: false };

    /// For a file of `size` bytes that is unpacked. Pictures and sparse rows become a few to some
    /// hundred times larger; a small file may do so as it likes, and no file fill the memory.
    fn packed(size: u64) -> Self {
        let bytes = size.saturating_mul(300).clamp(256 << 20, Self::PLAIN.bytes);
        Self { bytes, packed: true }
    }
}

/// Exactly the bytes of `shape`: memory grows as they arrive, so that a header alone cannot take
/// it, and what a compressed file has beyond them is not unpacked.
fn payload(stream: &mut impl Read, shape: &[u64], size: u64, limit: Limit) -> Result<Vec<u8>> {
    let Limit { bytes: most, packed } = limit;
    let too_large = || ArrayProblem::TooLarge { shape: shape.to_vec(), limit: most, packed };
    let elements = shape.iter().try_fold(1_u64, |n, extent| n.checked_mul(*extent));
    let expected = elements.and_then(|n| n.checked_mul(size)).filter(|n| *n <= most);
    let expected = expected.ok_or_else(too_large)?;
    let mut bytes = vec![];
    let read = stream.by_ref().take(expected + 1).read_to_end(&mut bytes);
    read.map_err(|e| ArrayProblem::Unpack { reason: e.to_string() })?;
    let found = bytes.len() as u64;
    if found == expected {
        return Ok(bytes);
    }
    let more = found > expected;
    let found = found.min(expected);
    Err(ArrayProblem::Size { shape: shape.to_vec(), expected, found, more }.into())
}

fn sizes(shape: &[u64]) -> Vec<usize> {
    // Each is at most the number of bytes, which was checked; an empty array may have any.
    shape.iter().map(|extent| usize::try_from(*extent).unwrap_or(usize::MAX)).collect()
}

/// Integers without a sign, as far as there are such with one.
fn unsigned(values: &[u64]) -> Result<ArrayData> {
    let signed = values.iter().enumerate().map(|(index, value)| {
        i64::try_from(*value).map_err(|_| ArrayProblem::Integer { index, value: *value }.into())
    });
    Ok(ArrayData::I64(signed.collect::<Result<_>>()?))
}

fn from_safetensors(path: &Path, name: Option<&str>) -> Result<Array> {
    let file = SafetensorsFile::open(path)?;
    let names: Vec<&str> = file.tensors().iter().map(|tensor| &*tensor.name).collect();
    let name = one_of(&names, name).map_err(|error| error.in_file(path))?;
    let Some(info) = file.tensor(name) else {
        return Err(Error::Bug { what: "a tensor that was listed is not there" });
    };
    let (data, shape) = (file.view(info).data, info.shape.clone());
    let integers = |size: usize, value: fn(&[u8]) -> i64| {
        ArrayData::I64(data.chunks_exact(size).map(value).collect())
    };
    let data = match (FloatType::from_dtype(info.dtype), info.dtype) {
        (Some(float), _) => {
            let mut values = vec![0.0; data.len() / float.size()];
            float.decode(data, &mut values);
            ArrayData::F32(values)
        }
        (_, DType::U8) => ArrayData::U8(data.to_vec()),
        (_, DType::Bool) => integers(1, |b| i64::from(b[0] != 0)),
        (_, DType::I8) => integers(1, |b| i64::from(b[0] as i8)),
        (_, DType::I16) => integers(2, |b| i64::from(i16::from_le_bytes([b[0], b[1]]))),
        (_, DType::U16) => integers(2, |b| i64::from(u16::from_le_bytes([b[0], b[1]]))),
        (_, DType::I32) => integers(4, |b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        (_, DType::U32) => integers(4, |b| i64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        (_, DType::U64) => {
            let values: Vec<u64> =
                data.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
            unsigned(&values).map_err(|error| error.in_file(path))?
        }
        (_, DType::I64) => integers(8, |b| i64::from_le_bytes(b.try_into().unwrap_or_default())),
        (_, DType::F64) => ArrayData::F32(
            data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        ),
        (_, other) => {
            let problem = ArrayProblem::Type { found: other.name().to_owned() };
            return Err(Error::from(problem).in_file(path));
        }
    };
    Ok(Array { shape, data })
}

/// The name that is meant: `wanted`, or the only one, or "x", as data sets call their inputs.
fn one_of<'a>(names: &[&'a str], wanted: Option<&str>) -> Result<&'a str> {
    let found = match (wanted, names) {
        (None, [only]) => Some(*only),
        (None, _) => names.iter().copied().find(|name| *name == "x"),
        (Some(wanted), _) => names.iter().copied().find(|name| *name == wanted),
    };
    found.ok_or_else(|| {
        let available = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ArrayProblem::Name { wanted: wanted.map(str::to_owned), available }.into()
    })
}
