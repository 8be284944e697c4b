//! Which tensors of the files belong together.

use std::collections::{HashMap, HashSet};

use super::config::{self, names_under, quantization_of};
use super::scheme::{self, Shapes};
use super::weight::Weight;
use super::{Codes, Form, Kept, Part, StoredTensor};
use crate::error::{Error, FormatProblem, Result};
use crate::io::{MAX_EMPTY, Model};
use crate::tensor::{DType, FloatType};

/// The tensors of a model by what they mean.
pub(crate) struct Catalog {
    /// In the order of the shards and their data.
    pub tensors: Vec<StoredTensor>,
}

/// Ends of the names of the parts that describe others.
const CODES: &str = "_packed";
const BITMASK: &str = ".bitmask";
const BYTEMASK: &str = ".bytemask";

impl Catalog {
    /// Reads headers, and the few bytes of the tensors that hold shapes.
    ///
    /// Integers of pack-quantized, int-quantized and naive-quantized models and the masks of
    /// sparse-bitmask, also of codes, are understood; every other tensor counts as dense.
    ///
    /// # Errors
    /// [`FormatProblem::Compressed`] where parts are missing or do not fit each other, or where two
    /// tensors mean the same one.
    pub(crate) fn new(model: &Model) -> Result<Self> {
        let finder = Finder::new(model);
        let mut tensors = vec![];
        // A tensor that a compressed one claims as its part is none of its own.
        let mut claimed = HashSet::new();
        for (shard, info) in model.tensors() {
            let path = model.shards()[shard].path();
            let found = finder.compressed(&info.name).map_err(|e| e.in_file(path))?;
            if let Some((tensor, parts)) = found {
                claimed.extend(parts);
                tensors.push(tensor);
            } else {
                let (name, shape, dtype) = (info.name.clone(), info.shape.clone(), info.dtype);
                let form = Form::Dense(Part { shard, info: info.clone() });
                tensors.push(StoredTensor { name, shape, dtype, form });
            }
        }
        tensors.retain(|t| !matches!(&t.form, Form::Dense(_)) || !claimed.contains(&t.name));
        check_names(model, &tensors)?;
        Ok(Self { tensors })
    }

    /// Fails where a part of a compressed weight is left over, because its form is not known here.
    ///
    /// # Errors
    /// [`FormatProblem::Compressed`].
    pub(crate) fn check_understood(&self) -> Result<()> {
        let dense = self.tensors.iter().filter(|t| matches!(t.form, Form::Dense(_)));
        match dense.map(|t| &t.name).find(|name| is_part(name)) {
            Some(name) => Err(problem(
                name,
                "it belongs to a compressed weight of a form that tensorpress does not read; it \
                 reads pack-quantized, int-quantized and naive-quantized integers, \
                 sparse-bitmask and sparse-bitmask-quantized",
            )),
            None => Ok(()),
        }
    }

    /// Whether nothing in it is compressed.
    pub(crate) fn is_dense(&self) -> bool {
        self.tensors.iter().all(|tensor| matches!(tensor.form, Form::Dense(_)))
    }
}

/// Fails where a tensor is there twice, dense and compressed or in two forms: the names in a header
/// differ then, and none of them says which of the two is meant.
fn check_names(model: &Model, tensors: &[StoredTensor]) -> Result<()> {
    let mut names = HashSet::new();
    match tensors.iter().find(|tensor| !names.insert(&*tensor.name)) {
        None => Ok(()),
        Some(twice) => {
            let reason = "it is there twice, in two forms, and nothing says which is meant; remove one of them";
            Err(problem(&twice.name, reason).in_file(model.shards()[twice.shard()].path()))
        }
    }
}

/// Whether a tensor of this name describes a compressed weight.
fn is_part(name: &str) -> bool {
    let ends = ["weight_packed", "weight_scale", "weight_global_scale", ".bitmask", ".bytemask"];
    ends.iter().any(|end| name.ends_with(end))
}

/// Looks parts up by name.
struct Finder<'a> {
    model: &'a Model,
    places: HashMap<&'a str, usize>,
    transposed: HashSet<String>,
    odd_names: HashSet<String>,
    config: Option<serde_json::Value>,
}

type Found = Option<(StoredTensor, Vec<String>)>;

impl<'a> Finder<'a> {
    fn new(model: &'a Model) -> Self {
        Self {
            model,
            places: model.tensors().map(|(shard, info)| (&*info.name, shard)).collect(),
            transposed: names_under(model, config::TRANSPOSED).into_iter().collect(),
            odd_names: names_under(model, config::NAMES).into_iter().collect(),
            config: quantization_of(model),
        }
    }

    fn part(&self, name: &str) -> Option<Part> {
        let shard = *self.places.get(name)?;
        let info = self.model.shards()[shard].tensor(name)?.clone();
        Some(Part { shard, info })
    }

    /// The compressed tensor whose main part is called `name`, and the names of its parts.
    fn compressed(&self, name: &str) -> Result<Found> {
        if let Some(weight) = name.strip_suffix(CODES) {
            return self.packed(weight);
        }
        if let Some(module) = name.strip_suffix(BITMASK) {
            return self.bitmask(module);
        }
        if let Some(module) = name.strip_suffix(BYTEMASK)
            && self.part(&format!("{module}{BITMASK}")).is_none()
        {
            return Err(incomplete(module));
        }
        self.plain_codes(name)
    }

    /// pack-quantized: `W_packed`, `W_scale`, `W_shape` and perhaps `W_zero_point`.
    fn packed(&self, name: &str) -> Result<Found> {
        let own = |part: &str| format!("{name}_{part}");
        let (Some(codes), Some(shape)) = (self.part(&own("packed")), self.part(&own("shape")))
        else {
            return Ok(None);
        };
        if self.part(&own("g_idx")).is_some() {
            return Err(problem(
                name,
                "its columns are reordered (weight_g_idx), which tensorpress does not read yet; quantize it without actorder",
            ));
        }
        let scale = self.part(&own("scale")).ok_or_else(|| {
            problem(name, "it has codes and no scale that tensorpress reads; the model is incomplete or of another format")
        })?;
        let (rows, cols) = self.shape_in(&shape, name)?;
        let zero_point = self.part(&own("zero_point"));
        let shapes =
            Shapes { rows, cols, codes: Some(&codes), scale: &scale, zero_point: &zero_point };
        let scheme = scheme::of(name, &shapes, self.config.as_ref())?;
        let weight = self.weight(name, &scale, rows, cols)?;
        let parts = ["packed", "shape", "scale", "zero_point"].map(own);
        let codes = Codes::All(codes);
        let form = Form::Codes { weight, scheme, codes, scale, zero_point };
        Ok(Some((self.tensor(name.to_owned(), weight, form), parts.to_vec())))
    }

    /// int-quantized and naive-quantized: I8 `W` with `W_scale` and perhaps `W_zero_point`.
    fn plain_codes(&self, name: &str) -> Result<Found> {
        let codes = self.part(name).filter(|part| part.info.dtype == DType::I8);
        let (Some(codes), Some(scale)) = (codes, self.part(&format!("{name}_scale"))) else {
            return Ok(None);
        };
        let &[rows, cols] = &codes.info.shape[..] else { return Ok(None) };
        let zero_point = self.part(&format!("{name}_zero_point"));
        let shapes =
            Shapes { rows, cols, codes: Some(&codes), scale: &scale, zero_point: &zero_point };
        let scheme = scheme::of(name, &shapes, self.config.as_ref())?;
        let weight = self.weight(name, &scale, rows, cols)?;
        let parts = ["_scale", "_zero_point"].map(|part| format!("{name}{part}"));
        let codes = Codes::All(codes);
        let form = Form::Codes { weight, scheme, codes, scale, zero_point };
        Ok(Some((self.tensor(name.to_owned(), weight, form), parts.to_vec())))
    }

    /// sparse-bitmask: `M.compressed`, `M.bitmask`, `M.row_offsets` and `M.shape`, where M is the
    /// module or, from old writers and for weights of other names, the weight itself.
    fn bitmask(&self, module: &str) -> Result<Found> {
        let own = |part: &str| format!("{module}.{part}");
        let all = ["compressed", "bitmask", "row_offsets", "shape"].map(own);
        let bytemask = self.part(&own("bytemask"));
        let [Some(compressed), Some(bitmask), Some(row_offsets), Some(shape)] =
            all.each_ref().map(|name| self.part(name))
        else {
            return if bytemask.is_some() { Err(incomplete(module)) } else { Ok(None) };
        };
        let itself = self.odd_names.contains(module) || module.ends_with(".weight");
        let name = if itself { module.to_owned() } else { format!("{module}.weight") };
        let (rows, cols) = self.shape_in(&shape, &name)?;
        if bytemask.is_some() || compressed.info.dtype == DType::I32 {
            let bytemask = bytemask.ok_or_else(|| incomplete(module))?;
            let kept = Kept { compressed, bitmask, bytemask, row_offsets };
            let mut parts = all.to_vec();
            parts.push(own("bytemask"));
            return self.kept_codes(name, kept, (rows, cols), parts);
        }
        let weight = self.weight(&name, &compressed, rows, cols)?;
        let fits = bitmask.info.dtype == DType::U8
            && bitmask.info.shape == [rows, cols.div_ceil(8)]
            && row_offsets.info.dtype == DType::I64
            && row_offsets.info.shape.iter().product::<usize>() == rows
            && compressed.info.shape.len() == 1;
        if !fits {
            return Err(problem(
                &name,
                "mask, row offsets and shape do not fit each other; the file is damaged, fetch it again",
            ));
        }
        let form = Form::Bitmask { weight, compressed, bitmask, row_offsets };
        Ok(Some((self.tensor(name, weight, form), all.to_vec())))
    }

    /// sparse-bitmask-quantized, which `FORMAT.md` describes: the parts of sparse-bitmask with
    /// codes for weights, `M.bytemask`, `W_scale` and perhaps `W_zero_point`.
    fn kept_codes(
        &self,
        name: String,
        kept: Kept,
        (rows, cols): (usize, usize),
        mut parts: Vec<String>,
    ) -> Result<Found> {
        let damaged = "masks, row offsets and shape do not fit each other; the file is damaged, fetch it again";
        if !kept.fits(rows, cols) {
            return Err(problem(&name, damaged));
        }
        let [scale, zero_point] = ["scale", "zero_point"].map(|part| format!("{name}_{part}"));
        parts.extend([scale.clone(), zero_point.clone()]);
        let zero_point = self.part(&zero_point);
        let scale = self.part(&scale).ok_or_else(|| incomplete(&name))?;
        let shapes = Shapes { rows, cols, codes: None, scale: &scale, zero_point: &zero_point };
        let scheme = scheme::of(&name, &shapes, self.config.as_ref())?;
        let weight = self.weight(&name, &scale, rows, cols)?;
        let form =
            Form::Codes { weight, scheme, codes: Codes::Kept(kept.into()), scale, zero_point };
        Ok(Some((self.tensor(name, weight, form), parts)))
    }

    /// The two numbers in a shape tensor.
    fn shape_in(&self, part: &Part, name: &str) -> Result<(usize, usize)> {
        let damaged = || {
            problem(name, "its shape tensor is not two sizes; the file is damaged, fetch it again")
        };
        let integers: Vec<usize> = match part.info.dtype {
            DType::I64 if part.info.bytes() == 16 => {
                let bytes = part.bytes(self.model, 0..16).as_chunks::<8>().0;
                let sizes = bytes.iter().map(|b| usize::try_from(i64::from_le_bytes(*b)));
                sizes.collect::<Result<_, _>>().map_err(|_| damaged())?
            }
            DType::I32 if part.info.bytes() == 8 => {
                let bytes = part.bytes(self.model, 0..8).as_chunks::<4>().0;
                let sizes = bytes.iter().map(|b| usize::try_from(i32::from_le_bytes(*b)));
                sizes.collect::<Result<_, _>>().map_err(|_| damaged())?
            }
            _ => return Err(damaged()),
        };
        // As in a header.
        let small = |rows: usize, cols: usize| {
            let elements = rows.max(1).checked_mul(cols.max(1))?;
            let possible = rows.min(cols) > 0 || elements as u64 <= MAX_EMPTY;
            elements.checked_mul(8).filter(|_| possible)
        };
        match integers[..] {
            [rows, cols] if small(rows, cols).is_some() => Ok((rows, cols)),
            _ => Err(damaged()),
        }
    }

    fn weight(&self, name: &str, typed: &Part, rows: usize, cols: usize) -> Result<Weight> {
        let float = FloatType::from_dtype(typed.info.dtype).ok_or_else(|| {
            problem(name, "its weights or scales are not f32, f16 or bf16, which tensorpress does not read yet")
        })?;
        Ok(Weight { float, rows, cols, transposed: self.transposed.contains(name) })
    }

    fn tensor(&self, name: String, weight: Weight, form: Form) -> StoredTensor {
        let Weight { rows, cols, transposed, float } = weight;
        let shape = if transposed { vec![cols, rows] } else { vec![rows, cols] };
        StoredTensor { name, shape, dtype: float.dtype(), form }
    }
}

fn incomplete(tensor: &str) -> Error {
    problem(
        tensor,
        "some of the tensors that it is made of are missing; the model is incomplete, fetch it again",
    )
}

pub(super) fn problem(tensor: &str, reason: &'static str) -> Error {
    FormatProblem::Compressed { tensor: tensor.to_owned(), reason }.into()
}
