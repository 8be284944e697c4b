//! The safetensors header, read strictly: nothing in the file is trusted before it is checked.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::error::FormatProblem;
use crate::tensor::DType;

/// Most dimensions of a tensor: those of numpy and PyTorch. A header of 100 MB could hold millions.
const MAX_DIMENSIONS: usize = 64;

/// Largest product of the other extents where one is 0.
pub(crate) const MAX_EMPTY: u64 = 1 << 32;

/// Longest header that the format allows.
pub const MAX_HEADER: u64 = 100_000_000;

/// A tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extent of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// First byte in the data.
    pub start: u64,
    /// Byte after the last in the data.
    pub end: u64,
}

impl TensorInfo {
    /// Bytes of data.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A checked header.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// All tensors in the order of their data, then by name.
    pub tensors: Vec<TensorInfo>,
    /// `__metadata__`; empty where there is none.
    pub metadata: BTreeMap<String, String>,
    /// Where in the file the data begins.
    pub data_start: u64,
}

impl Header {
    /// Reads the header of a file of which `file` is all, or at least everything up to the data,
    /// and whose whole length is `file_len`.
    ///
    /// # Errors
    /// The [`FormatProblem`] that was found first.
    pub fn parse(file: &[u8], file_len: u64) -> Result<Self, FormatProblem> {
        recognise(file)?;
        let length: [u8; 8] = file
            .get(..8)
            .and_then(|b| b.try_into().ok())
            .ok_or(FormatProblem::TooShort { bytes: file_len })?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(FormatProblem::HeaderTooLong { bytes: length, limit: MAX_HEADER });
        }
        let beyond = FormatProblem::HeaderBeyondEnd { header: length, file: file_len };
        if 8 + length > file_len {
            return Err(beyond);
        }
        let text = file.get(8..8 + length as usize).ok_or(beyond)?;
        let syntax = |reason: String| FormatProblem::HeaderSyntax { reason };
        if text.first() != Some(&b'{') {
            return Err(syntax("it does not begin with {".into()));
        }
        let text = std::str::from_utf8(text).map_err(|e| syntax(e.to_string()))?;
        let raw: RawHeader = serde_json::from_str(text).map_err(|e| syntax(e.to_string()))?;
        if let Some(name) = raw.duplicate {
            return Err(FormatProblem::DuplicateName { name });
        }
        let mut tensors =
            raw.tensors.into_iter().map(check).collect::<Result<Vec<_>, FormatProblem>>()?;
        tensors.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
        let data_start = 8 + length;
        check_cover(&tensors, file_len - data_start)?;
        Ok(Self { tensors, metadata: raw.metadata, data_start })
    }
}

/// Names the files that people mistake for safetensors.
fn recognise(file: &[u8]) -> Result<(), FormatProblem> {
    let other = |kind, advice| Err(FormatProblem::OtherFormat { kind, advice });
    if file.is_empty() {
        Err(FormatProblem::Empty)
    } else if is_lfs_pointer(file) {
        Err(FormatProblem::LfsPointer)
    } else if begins_as_safetensors(file) {
        // First, because the length of a header may happen to look like another format's mark:
        // 640 bytes begin as a pickle does.
        Ok(())
    } else if file.starts_with(b"PK\x03\x04") || matches!(file, [0x80, 2..=5, ..]) {
        other("PyTorch pickle", "save it with safetensors.torch.save_file")
    } else if file.starts_with(b"GGUF") {
        other("GGUF", "use the model's safetensors files")
    } else if file.starts_with(b"\x89HDF") {
        other("HDF5 (Keras)", "save its weights as safetensors")
    } else if file[..file.len().min(16)].iter().all(|b| matches!(b, b'\t'..=b'\r' | b' '..=b'~')) {
        other(
            "text",
            "it may be a server's message instead of the model: look at it, fetch it again",
        )
    } else {
        Ok(())
    }
}

/// Whether this is what Git LFS leaves in place of a file that was not fetched.
pub(super) fn is_lfs_pointer(file: &[u8]) -> bool {
    file.starts_with(b"version https://git-lfs")
}

/// Whether a length that the format allows and an opening brace are there.
fn begins_as_safetensors(file: &[u8]) -> bool {
    let length = file.first_chunk().is_some_and(|b| u64::from_le_bytes(*b) <= MAX_HEADER);
    length && file.get(8) == Some(&b'{')
}

/// Every shape fits its bytes; no product overflows.
fn check((name, raw): (String, RawTensor)) -> Result<TensorInfo, FormatProblem> {
    let Some(dtype) = DType::from_name(&raw.dtype) else {
        return Err(FormatProblem::UnknownType { tensor: name, dtype: raw.dtype });
    };
    let dimensions = raw.shape.len();
    if dimensions > MAX_DIMENSIONS {
        let limit = MAX_DIMENSIONS;
        return Err(FormatProblem::Dimensions { tensor: name, dimensions, limit });
    }
    let [start, end] = raw.data_offsets;
    let bits = bits_of(&raw.shape, dtype);
    let shape: Option<Vec<usize>> =
        raw.shape.iter().map(|extent| usize::try_from(*extent).ok()).collect();
    let (Some(bits), Some(shape)) = (bits, shape) else {
        return Err(FormatProblem::ShapeOverflow { tensor: name, shape: raw.shape });
    };
    let Some(found) = end.checked_sub(start) else {
        return Err(FormatProblem::Offsets { tensor: name, expected: start, found: end });
    };
    if !bits.is_multiple_of(8) || bits / 8 != found {
        let expected = bits.div_ceil(8);
        return Err(FormatProblem::TensorSize { tensor: name, shape, dtype, expected, found });
    }
    Ok(TensorInfo { name, dtype, shape, start, end })
}

/// Bits that a shape takes; `None` where it is too large, or would be if no extent were 0: products
/// of some of its extents must not overflow later, and rows of nothing must not be too many to visit.
fn bits_of(shape: &[u64], dtype: DType) -> Option<u64> {
    let mut extents = shape.iter().map(|extent| (*extent).max(1));
    let elements = extents.try_fold(1_u64, |product, extent| product.checked_mul(extent))?;
    let bits = elements.checked_mul(dtype.bits().into())?;
    match shape.contains(&0) {
        false => Some(bits),
        true => (elements <= MAX_EMPTY).then_some(0),
    }
}

/// The tensors cover the data exactly.
fn check_cover(tensors: &[TensorInfo], data: u64) -> Result<(), FormatProblem> {
    let mut end = 0;
    for tensor in tensors {
        if tensor.start != end {
            return Err(FormatProblem::Offsets {
                tensor: tensor.name.clone(),
                expected: end,
                found: tensor.start,
            });
        }
        end = tensor.end;
    }
    if end != data {
        return Err(FormatProblem::DataSize { expected: end, found: data });
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header before its values are checked. The names are collected by hand, because a map type
/// would let the last of two equal names win; serde_json has undone all escapes by then.
#[derive(Default)]
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        header.duplicate.get_or_insert(name.clone());
                    }
                    if name == "__metadata__" {
                        let UniqueStrings(entries) = map
                            .next_value()
                            .map_err(|e| A::Error::custom(format!("__metadata__: {e}")))?;
                        header.metadata = entries;
                    } else {
                        let tensor = map
                            .next_value::<RawTensor>()
                            .map_err(|e| A::Error::custom(format!("tensor {name:?}: {e}")))?;
                        header.tensors.push((name, tensor));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// An object of strings with each key once: a map type would let the last of two equal keys win, and
/// other readers may take the first.
pub(super) struct UniqueStrings(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = UniqueStrings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueStrings, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if entries.insert(key.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{key:?} is there twice")));
                    }
                }
                Ok(UniqueStrings(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
