//! NumPy's format (numpy.lib.format, versions 1.0, 2.0 and 3.0).
//!
//! The header is parsed here because it comes from strangers: it is short, and the crates for it
//! trust its sizes.

use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use half::f16;
use regex::Regex;

use super::{Array, ArrayData, Limit, payload, read_exactly, sizes, unsigned};
use crate::error::{ArrayProblem, Result};
use crate::io::OutputFile;

/// A longer header than any that NumPy writes for numbers.
const MAX_HEADER: u32 = 1 << 16;

/// Type, order and shape.
struct Header {
    big_endian: bool,
    kind: char,
    size: u64,
    fortran: bool,
    shape: Vec<u64>,
}

/// Reads what follows the first four bytes.
pub(super) fn read(mut stream: impl Read, limit: Limit) -> Result<Array> {
    let header = read_header(&mut stream)?;
    let mut bytes = payload(&mut stream, &header.shape, header.size, limit)?;
    if header.big_endian {
        bytes.chunks_exact_mut(header.size as usize).for_each(<[u8]>::reverse);
    }
    let data = decode(&header, &bytes)?;
    let shape = sizes(&header.shape);
    let data = if header.fortran && shape.len() > 1 {
        match data {
            ArrayData::F32(values) => ArrayData::F32(to_row_major(&values, &shape)),
            ArrayData::U8(values) => ArrayData::U8(to_row_major(&values, &shape)),
            ArrayData::I64(values) => ArrayData::I64(to_row_major(&values, &shape)),
        }
    } else {
        data
    };
    Ok(Array { shape, data })
}

fn problem(reason: impl Into<String>) -> ArrayProblem {
    ArrayProblem::Header { kind: "npy", reason: reason.into() }
}

fn read_header(stream: &mut impl Read) -> Result<Header> {
    let mut start = [0; 4];
    read_exactly(stream, &mut start, "npy")?;
    let [b'P', b'Y', version, _] = start else {
        return Err(problem("the magic bytes are not \\x93NUMPY").into());
    };
    let mut length = [0; 4];
    let length_bytes = match version {
        1 => 2,
        2 | 3 => 4,
        _ => return Err(problem(format!("version {version} and 1, 2 or 3 was expected")).into()),
    };
    read_exactly(stream, &mut length[..length_bytes], "npy")?;
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(
            problem(format!("{length} bytes long and at most {MAX_HEADER} were expected")).into()
        );
    }
    let mut text = vec![0; length as usize];
    read_exactly(stream, &mut text, "npy")?;
    let text = String::from_utf8(text).map_err(|_| problem("it is not text"))?;
    parse(text.trim())
}

static DESCR: LazyLock<Regex> = LazyLock::new(|| regex(r"'descr'\s*:\s*'([^']*)'"));
static ORDER: LazyLock<Regex> = LazyLock::new(|| regex(r"'fortran_order'\s*:\s*(True|False)"));
static SHAPE: LazyLock<Regex> = LazyLock::new(|| regex(r"'shape'\s*:\s*\(([0-9, ]*)\)"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// A Python literal, for example `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(text: &str) -> Result<Header> {
    let field = |pattern: &Regex, name: &str| {
        let found = pattern.captures(text).and_then(|captures| captures.get(1));
        found.map(|m| m.as_str()).ok_or_else(|| problem(format!("{name} was expected in {text:?}")))
    };
    if text.contains("'descr': [") {
        return Err(ArrayProblem::Type { found: "a structure".to_owned() }.into());
    }
    let descr = field(&DESCR, "'descr'")?;
    let shape = field(&SHAPE, "'shape'")?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let shape: Vec<u64> = extents
        .map(|extent| extent.parse().map_err(|_| problem(format!("the extent {extent}"))))
        .collect::<Result<_, _>>()?;
    if descr.contains('O') {
        return Err(ArrayProblem::Pickled { descr: descr.to_owned() }.into());
    }
    let known = || ArrayProblem::Type { found: descr.to_owned() };
    let mut letters = descr.chars();
    let (order, kind) = (letters.next().ok_or_else(known)?, letters.next().ok_or_else(known)?);
    let size: u64 = letters.as_str().parse().map_err(|_| known())?;
    let valid = match kind {
        'f' => [2, 4, 8].contains(&size),
        'i' | 'u' => [1, 2, 4, 8].contains(&size),
        'b' => size == 1,
        _ => false,
    };
    if !valid || !['<', '>', '|', '='].contains(&order) {
        return Err(known().into());
    }
    let fortran = field(&ORDER, "'fortran_order'")? == "True";
    Ok(Header { big_endian: order == '>', kind, size, fortran, shape })
}

fn decode(header: &Header, bytes: &[u8]) -> Result<ArrayData> {
    fn map<const SIZE: usize, T>(bytes: &[u8], f: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
        bytes.as_chunks::<SIZE>().0.iter().map(|element| f(*element)).collect()
    }
    Ok(match (header.kind, header.size) {
        ('f', 2) => ArrayData::F32(map(bytes, |b| f16::from_le_bytes(b).to_f32())),
        ('f', 4) => ArrayData::F32(map(bytes, f32::from_le_bytes)),
        ('f', _) => ArrayData::F32(map(bytes, |b| f64::from_le_bytes(b) as f32)),
        ('b', _) => ArrayData::I64(bytes.iter().map(|b| i64::from(*b != 0)).collect()),
        ('u', 1) => ArrayData::U8(bytes.to_vec()),
        ('i', 1) => ArrayData::I64(map(bytes, |b| i64::from(i8::from_le_bytes(b)))),
        ('i', 2) => ArrayData::I64(map(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        ('i', 4) => ArrayData::I64(map(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        ('i', _) => ArrayData::I64(map(bytes, i64::from_le_bytes)),
        ('u', 2) => ArrayData::I64(map(bytes, |b| i64::from(u16::from_le_bytes(b)))),
        ('u', 4) => ArrayData::I64(map(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        (_, _) => unsigned(&map(bytes, u64::from_le_bytes))?,
    })
}

/// From the order in which the first dimension is the innermost.
fn to_row_major<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = vec![1; shape.len()];
    for dimension in 1..shape.len() {
        strides[dimension] = strides[dimension - 1] * shape[dimension - 1];
    }
    let mut place = vec![0; shape.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at: usize = place.iter().zip(&strides).map(|(place, stride)| place * stride).sum();
        out.push(values[at]);
        for dimension in (0..shape.len()).rev() {
            place[dimension] += 1;
            if place[dimension] < shape[dimension] {
                break;
            }
            place[dimension] = 0;
        }
    }
    out
}

/// Writes `values` of `shape` as version 1.0, as `numpy.save` does.
///
/// # Errors
/// Those of [`OutputFile`].
pub fn write_npy(path: &Path, shape: &[usize], values: &[f32], force: bool) -> Result<()> {
    let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let shape = match &extents[..] {
        [one] => format!("({one},)"),
        all => format!("({})", all.join(", ")),
    };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take ten bytes; the data begins at a multiple of 64.
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let file = OutputFile::create(path, bytes.len() as u64, force)?;
    file.write_at(0, &bytes)?;
    file.commit()
}
