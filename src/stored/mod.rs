//! Tensors as they are stored, compressed or not, and their weights as dense rows.

mod catalog;
mod config;
mod kept;
mod names;
mod scheme;
mod weight;

use std::borrow::Cow;
use std::ops::Range;

pub(crate) use catalog::Catalog;
pub(crate) use config::{NAMES, QUANTIZATION, TRANSPOSED, format_of};
pub(crate) use kept::{Kept, split};
pub(crate) use names::{is_embedding, is_kernel, module, parts, plain};
pub(crate) use weight::Weight;

use crate::cpu::bitmask::Bitmask;
use crate::cpu::bitmask_codes::KeptCodes;
use crate::cpu::pack;
use crate::error::{Error, FormatProblem, Result};
use crate::io::{Model, TensorInfo};
use crate::ops::{self, Backend};
use crate::scheme::{Granularity, QuantParams, QuantScheme};
use crate::tensor::{DType, FloatType};

/// A tensor by what it means: one name and one dense shape, whatever it is made of on disk.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor {
    /// The name of the dense tensor.
    pub name: String,
    /// Its shape as a dense tensor of this name is stored (a Keras kernel as `[in, out]`).
    pub shape: Vec<usize>,
    /// Its type as a dense tensor.
    pub dtype: DType,
    pub form: Form,
}

/// What a tensor is made of on disk.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Dense(Part),
    /// Integer codes with scales and, where asymmetric, zero points.
    Codes {
        weight: Weight,
        scheme: QuantScheme,
        codes: Codes,
        scale: Part,
        zero_point: Option<Part>,
    },
    /// Non-zero weights, a bit mask, and the number of kept weights before each row.
    Bitmask {
        weight: Weight,
        compressed: Part,
        bitmask: Part,
        row_offsets: Part,
    },
}

/// Packed codes `[out, words]` with what they mean.
pub(crate) type Packed = (Vec<u32>, QuantParams, QuantScheme);

/// Where the codes of a quantized weight are.
#[derive(Clone, Debug)]
pub(crate) enum Codes {
    /// All of them: `[out, words]` I32 in bit streams, or `[out, in]` I8.
    All(Part),
    /// Those that are not their zero point.
    Kept(Box<Kept>),
}

impl Codes {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        let (all, kept) = match self {
            Self::All(part) => (Some(part), None),
            Self::Kept(kept) => (None, Some(kept.parts())),
        };
        all.into_iter().chain(kept.into_iter().flatten())
    }
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub shard: usize,
    pub info: TensorInfo,
}

impl Part {
    fn bytes<'a>(&self, model: &'a Model, range: Range<usize>) -> &'a [u8] {
        model.shards()[self.shard].bytes(&self.info, range)
    }

    fn release(&self, model: &Model, range: Range<usize>) {
        model.shards()[self.shard].release(&self.info, range);
    }
}

impl StoredTensor {
    /// The shard that the dense tensor belongs to.
    pub(crate) fn shard(&self) -> usize {
        match &self.form {
            Form::Dense(part) => part.shard,
            Form::Codes { codes: Codes::All(part), .. } => part.shard,
            Form::Codes { codes: Codes::Kept(kept), .. } => kept.compressed.shard,
            Form::Bitmask { compressed, .. } => compressed.shard,
        }
    }

    /// Bytes of all its parts on disk, the shape tensor of a few bytes excepted.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts().map(|part| part.info.bytes()).sum()
    }

    /// Bytes that it takes as a dense tensor.
    pub(crate) fn dense_bytes(&self) -> u64 {
        let elements = self.shape.iter().map(|extent| *extent as u64).product::<u64>();
        (elements * u64::from(self.dtype.bits())).div_ceil(8)
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        let (codes, parts) = match &self.form {
            Form::Dense(part) => (None, [Some(part), None, None]),
            Form::Codes { codes, scale, zero_point, .. } => {
                (Some(codes.parts()), [Some(scale), zero_point.as_ref(), None])
            }
            Form::Bitmask { compressed, bitmask, row_offsets, .. } => {
                (None, [Some(compressed), Some(bitmask), Some(row_offsets)])
            }
        };
        codes.into_iter().flatten().chain(parts.into_iter().flatten())
    }

    /// The bytes of its parts.
    pub(crate) fn raw<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a [u8]> {
        self.parts().map(|part| part.bytes(model, 0..part.info.bytes() as usize))
    }

    /// The tensor as a matrix of floats; `None` where it does not hold floats.
    ///
    /// A tensor of any but two dimensions is `[product of all but the last, last]`, and one of a
    /// single dimension a column.
    pub(crate) fn weight(&self) -> Option<Weight> {
        if let Form::Codes { weight, .. } | Form::Bitmask { weight, .. } = &self.form {
            return Some(*weight);
        }
        let float = FloatType::from_dtype(self.dtype)?;
        let weight = |rows, cols| Weight { float, rows, cols, transposed: false };
        Some(match &self.shape[..] {
            [] => weight(1, 1),
            [len] => weight(*len, 1),
            [first, second] if is_kernel(&self.name) => {
                Weight { transposed: true, ..weight(*second, *first) }
            }
            [outer @ .., last] => weight(outer.iter().product(), *last),
        })
    }

    /// Rows `rows` of [`StoredTensor::weight`], little-endian `[rows, cols]` in its type.
    ///
    /// # Errors
    /// [`FormatProblem::Compressed`] where the parts contradict each other, or a device error.
    pub(crate) fn rows<'a>(
        &self,
        model: &'a Model,
        backend: &Backend,
        weight: &Weight,
        rows: &Range<usize>,
    ) -> Result<Cow<'a, [u8]>> {
        match &self.form {
            Form::Dense(part) => Ok(weight.read(&model.shards()[part.shard], &part.info, rows)),
            Form::Codes { scheme, codes, .. } => {
                let params = self.params(model, rows);
                let (float, shape) = (weight.float, (rows.len(), weight.cols));
                let dense = match codes {
                    Codes::All(part) => {
                        let words = codes_of(model, part, weight, scheme, rows);
                        ops::dequantize::dense(backend, float, &words, shape, &params, scheme)
                    }
                    Codes::Kept(kept) => {
                        let kept = self.kept(model, kept, scheme, rows)?;
                        let cols = weight.cols;
                        ops::bitmask_codes::dense(backend, float, &kept, cols, &params, scheme)
                            .map_err(|error| self.misfit(error))
                    }
                };
                dense.map(Cow::Owned)
            }
            Form::Bitmask { .. } => {
                let mask = self.mask(model, rows)?;
                ops::bitmask::decode(backend, weight.float, &mask, weight.cols)
                    .map(Cow::Owned)
                    .map_err(|error| self.misfit(error))
            }
        }
    }

    /// Codes, scales and zero points of the whole weight, where it is stored as codes. Those that
    /// were left out are there again: a code that is 0 takes no more room than another.
    pub(crate) fn packed(&self, model: &Model) -> Option<Result<Packed>> {
        let Form::Codes { weight, scheme, codes, .. } = &self.form else { return None };
        let rows = 0..weight.rows;
        let params = self.params(model, &rows);
        let words = match codes {
            Codes::All(part) => Ok(codes_of(model, part, weight, scheme, &rows)),
            Codes::Kept(kept) => self.kept(model, kept, scheme, &rows).and_then(|kept| {
                ops::bitmask_codes::decode(&Backend::Cpu, &kept, weight.cols, &params, scheme)
                    .map_err(|error| self.misfit(error))
            }),
        };
        Some(words.map(|words| (words, params, *scheme)))
    }

    /// The kept codes of some rows.
    fn kept(
        &self,
        model: &Model,
        kept: &Kept,
        scheme: &QuantScheme,
        rows: &Range<usize>,
    ) -> Result<KeptCodes> {
        let weight = self.weight().ok_or(Error::Bug { what: "codes that are of no weight" })?;
        kept.read(model, &weight, scheme, rows).ok_or_else(|| {
            self.problem(
                "masks, row offsets and kept codes do not fit each other; the file is damaged, fetch it again",
            )
        })
    }

    /// Mask and kept weights of the whole weight, where it is stored so.
    pub(crate) fn masked(&self, model: &Model) -> Option<Result<Bitmask>> {
        let Form::Bitmask { weight, .. } = &self.form else { return None };
        Some(self.mask(model, &(0..weight.rows)))
    }

    /// Scales and zero points of some rows.
    fn params(&self, model: &Model, rows: &Range<usize>) -> QuantParams {
        let Form::Codes { weight, scheme, scale, zero_point, .. } = &self.form else {
            return QuantParams::default();
        };
        let groups = weight.groups(scheme);
        let per_tensor = scheme.granularity == Granularity::Tensor;
        let segments = if per_tensor { 0..1 } else { rows.start * groups..rows.end * groups };
        let size = weight.float.size();
        let bytes = scale.bytes(model, segments.start * size..segments.end * size);
        let mut params = QuantParams { scale: vec![0.0; segments.len()], zero_point: vec![] };
        weight.float.decode(bytes, &mut params.scale);
        let Some(part) = zero_point else { return params };
        params.zero_point = if part.info.dtype == DType::I8 {
            part.bytes(model, segments).iter().map(|zp| *zp as i8).collect()
        } else {
            // Packed along the rows: begin where a word does.
            let per_word = scheme.codes_per_word();
            let first = rows.start / per_word;
            let words = first * groups * 4..rows.end.div_ceil(per_word) * groups * 4;
            let words = words_of(part.bytes(model, words));
            let (skip, end) = (rows.start - first * per_word, rows.end - first * per_word);
            let all = pack::unpack_zero_points(&words, end, groups, scheme.bits);
            all[skip * groups..].to_vec()
        };
        params
    }

    /// The bit mask of some rows, with offsets from the first of them.
    fn mask(&self, model: &Model, rows: &Range<usize>) -> Result<Bitmask> {
        let Form::Bitmask { weight, compressed, bitmask, row_offsets } = &self.form else {
            return Ok(Bitmask::default());
        };
        let size = weight.float.size();
        let kept_in_all = compressed.info.bytes() as usize / size;
        let offset = |row: usize| -> Option<usize> {
            if row == weight.rows {
                return Some(kept_in_all);
            }
            let bytes = row_offsets.bytes(model, row * 8..row * 8 + 8);
            let offset = i64::from_le_bytes(bytes.try_into().ok()?);
            usize::try_from(offset).ok().filter(|offset| *offset <= kept_in_all)
        };
        let damaged = || {
            self.problem(
                "the row offsets do not fit the kept weights; the file is damaged, fetch it again",
            )
        };
        let first = offset(rows.start).ok_or_else(damaged)?;
        let end = offset(rows.end).filter(|end| *end >= first).ok_or_else(damaged)?;
        let offsets = rows.clone().map(|row| offset(row).map(|o| o as i64 - first as i64));
        let bytes_per_row = weight.cols.div_ceil(8);
        Ok(Bitmask {
            compressed: compressed.bytes(model, first * size..end * size).to_vec(),
            bitmask: bitmask
                .bytes(model, rows.start * bytes_per_row..rows.end * bytes_per_row)
                .to_vec(),
            row_offsets: offsets.collect::<Option<_>>().ok_or_else(damaged)?,
        })
    }

    /// Takes what `rows` read out of memory.
    pub(crate) fn release(&self, model: &Model, weight: &Weight, rows: &Range<usize>) {
        let share = |part: &Part| {
            let (bytes, all) = (part.info.bytes() as usize, weight.rows.max(1));
            // By share, as a hint; u128 because the product may overflow.
            let at = |row: usize| (bytes as u128 * row as u128 / all as u128) as usize;
            part.release(model, at(rows.start)..at(rows.end));
        };
        match &self.form {
            Form::Dense(part) => weight.release(&model.shards()[part.shard], &part.info, rows),
            Form::Codes { codes, scale, .. } => {
                codes.parts().chain([scale]).for_each(share);
            }
            Form::Bitmask { compressed, bitmask, row_offsets, .. } => {
                [compressed, bitmask, row_offsets].into_iter().for_each(share);
            }
        }
    }

    /// What `error` of an operation on the mask, the offsets and the zero points says about a file.
    fn misfit(&self, error: Error) -> Error {
        match error {
            Error::Data(_) | Error::Usage(_) => self.problem(
                "the mask does not fit the row offsets or the zero points; the file is damaged, fetch it again",
            ),
            other => other,
        }
    }

    fn problem(&self, reason: &'static str) -> Error {
        FormatProblem::Compressed { tensor: self.name.clone(), reason }.into()
    }
}

/// Packed words of some rows, from either layout.
fn codes_of(
    model: &Model,
    codes: &Part,
    weight: &Weight,
    scheme: &QuantScheme,
    rows: &Range<usize>,
) -> Vec<u32> {
    if codes.info.dtype == DType::I8 {
        let bytes = codes.bytes(model, rows.start * weight.cols..rows.end * weight.cols);
        let codes: Vec<i8> = bytes.iter().map(|code| *code as i8).collect();
        return pack::pack(&codes, weight.cols, scheme.bits);
    }
    let row_bytes = scheme.words_per_row(weight.cols) * 4;
    words_of(codes.bytes(model, rows.start * row_bytes..rows.end * row_bytes))
}

fn words_of(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}
