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
use crate::error::{ArrayProblem, Error, Result};
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
        let mut file = BufReader::new(File::open(path).map_err(input)?);
        let mut start = vec![];
        file.by_ref().take(8).read_to_end(&mut start).map_err(input)?;
        let whole = std::io::Cursor::new(start.clone()).chain(file);
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return from_safetensors(path, name);
        }
        let array = match &start[..] {
            [b'P', b'K', 3 | 5, ..] => zip::read(path, name),
            [0x1f, 0x8b, ..] => single(flate2::read::MultiGzDecoder::new(whole)),
            [0x93, b'N', ..] | [0, 0, 8..=14, ..] => single(whole),
            // The length of a header, of which the upper half is 0.
            [_, _, _, _, 0, 0, 0, 0] => return from_safetensors(path, name),
            _ => Err(ArrayProblem::Kind { found: start }.into()),
        };
        array.map_err(|error| error.in_file(path))
    }

    /// Elements as floats; bytes of images become 0 … 1, other integers themselves.
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
            [rows, rest @ ..] => (*rows, rest.iter().product()),
        }
    }
}

/// NPY or IDX from a stream.
fn single(mut stream: impl Read) -> Result<Array> {
    let mut start = [0; 4];
    read_exactly(&mut stream, &mut start, "array")?;
    match start {
        [0x93, b'N', b'U', b'M'] => npy::read(stream),
        [0, 0, kind, dimensions] => idx::read(stream, kind, dimensions),
        _ => Err(ArrayProblem::Kind { found: start.to_vec() }.into()),
    }
}

fn read_exactly(stream: &mut impl Read, bytes: &mut [u8], kind: &'static str) -> Result<()> {
    stream
        .read_exact(bytes)
        .map_err(|e| ArrayProblem::Header { kind, reason: e.to_string() }.into())
}

/// Bytes that are read at once, at most.
const MAX_BYTES: u64 = 64 << 30;

/// Exactly the bytes of `shape`: memory grows as they arrive, so that a header alone cannot take
/// it, and what a compressed file has beyond them is not unpacked.
fn payload(stream: &mut impl Read, shape: &[u64], size: u64) -> Result<Vec<u8>> {
    let too_large = || ArrayProblem::TooLarge { shape: shape.to_vec() };
    let elements = shape.iter().try_fold(1_u64, |n, extent| n.checked_mul(*extent));
    let expected = elements.and_then(|n| n.checked_mul(size)).filter(|n| *n <= MAX_BYTES);
    let expected = expected.ok_or_else(too_large)?;
    let mut bytes = vec![];
    let read = stream.by_ref().take(expected + 1).read_to_end(&mut bytes);
    read.map_err(|e| ArrayProblem::Header { kind: "data", reason: e.to_string() })?;
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
        (_, DType::U8 | DType::Bool) => ArrayData::U8(data.to_vec()),
        (_, DType::I8) => integers(1, |b| i64::from(b[0] as i8)),
        (_, DType::I32) => integers(4, |b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        (_, DType::U32) => integers(4, |b| i64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
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

/// The name that is meant: `wanted`, or the only one.
fn one_of<'a>(names: &[&'a str], wanted: Option<&str>) -> Result<&'a str> {
    let found = match (wanted, names) {
        (None, [only]) => Some(*only),
        (None, _) => None,
        (Some(wanted), _) => names.iter().copied().find(|name| *name == wanted),
    };
    found.ok_or_else(|| {
        let available = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ArrayProblem::Name { wanted: wanted.map(str::to_owned), available }.into()
    })
}
