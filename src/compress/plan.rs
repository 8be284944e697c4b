//! What a recipe means for a model: what happens to every tensor, and how large the result is.

use std::collections::HashSet;

use super::Pruning;
use super::neurons::{Neurons, Slim};
use super::recipe::{Format, Recipe};
use super::scan::Kept;
use crate::error::{Result, UsageError};
use crate::io::{Model, TensorInfo, TensorSpec};
use crate::nn::{self, Origin};
use crate::scheme::{Granularity, QuantScheme};
use crate::stored::{self, Weight, is_kernel};
use crate::tensor::{DType, FloatType};

/// What happens to every tensor of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the shards and, in each, of their data.
    pub tensors: Vec<TensorPlan>,
    /// What is written.
    pub format: Format,
    /// Which neurons go, before anything else.
    pub(super) neurons: Option<Neurons>,
    /// Which weights become zero.
    pub prune: Option<Pruning>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What happens to one tensor.
#[derive(Clone, Debug)]
pub struct TensorPlan {
    /// Number of the shard.
    pub shard: usize,
    /// The tensor as it is.
    pub input: TensorInfo,
    /// What neurons that go leave of it; `None` where it stays whole.
    pub(super) slim: Option<Slim>,
    /// `None` where what stays of it is carried over.
    pub(super) work: Option<Work>,
    /// What is written instead of it.
    pub outputs: Vec<TensorSpec>,
}

/// How one tensor is compressed.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub weight: Weight,
    pub scheme: Option<QuantScheme>,
    pub form: Form,
}

/// What a weight looks like on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Dense,
    /// Packed, shape, scale and, where asymmetric, zero point, in this order.
    Packed,
    /// Shape, compressed, bitmask, row offsets, in this order.
    Bitmask,
    /// Those of [`Form::Bitmask`], bytemask, scale and, where asymmetric, zero point, in this order.
    KeptCodes,
}

impl Form {
    /// Whether what is not zero is counted before it is written.
    pub(super) fn has_mask(self) -> bool {
        matches!(self, Self::Bitmask | Self::KeptCodes)
    }
}

impl TensorPlan {
    /// Bytes of all that is written for it.
    pub fn bytes_after(&self) -> u64 {
        self.outputs.iter().map(TensorSpec::bytes).sum()
    }

    /// Outputs and inputs of a weight that is compressed.
    pub fn features(&self) -> Option<(usize, usize)> {
        self.work.as_ref().map(|work| (work.weight.rows, work.weight.cols))
    }

    /// Whether single weights of it change, or how they are stored; otherwise it is carried over,
    /// or what stays of it where neurons go.
    pub fn is_selected(&self) -> bool {
        self.work.is_some()
    }

    /// The shape of the tensor afterwards, as a dense one of its name is stored.
    pub fn shape_after(&self) -> Vec<usize> {
        let before = &self.input.shape;
        self.slim.map_or_else(|| before.clone(), |slim| slim.shape(before))
    }

    /// The matrix that is read, where the tensor is not just copied.
    pub(super) fn whole(&self) -> Option<Weight> {
        let work = self.work.as_ref().map(|work| work.weight);
        self.slim.map(|slim| slim.whole).or(work)
    }

    /// Bytes of what stays of it, before they are compressed.
    pub(super) fn bytes_kept(&self) -> u64 {
        self.slim.map_or(self.input.bytes(), |slim| slim.rest.bytes() as u64)
    }
}

impl Plan {
    /// Plans `recipe` for `model`. Reads headers only.
    ///
    /// # Errors
    /// A [`UsageError`] where the recipe contradicts itself or does not fit the model.
    pub fn new(model: &Model, recipe: &Recipe) -> Result<Self> {
        recipe.validate()?;
        if let Some(format) = stored::format_of(model) {
            return Err(UsageError::AlreadyCompressed { format }.into());
        }
        let mut plan = Self {
            tensors: vec![],
            format: recipe.output_format(),
            neurons: recipe.keep_neurons.map(|s| Neurons::plan(model, s)).transpose()?,
            prune: recipe.prune,
            warnings: vec![],
        };
        let (mut matched, mut weights) = (0, 0);
        let described = nn::described_weights(model);
        for (shard, file) in model.shards().iter().enumerate() {
            for input in file.tensors() {
                let chosen = recipe.selection.matches(&input.name, &described);
                matched += usize::from(chosen);
                let slim = plan.neurons.as_ref().and_then(|neurons| neurons.slim(&input.name));
                let weight = weight_of(input).filter(|_| chosen);
                let weight = weight.map(|weight| slim.map_or(weight, |slim| slim.rest));
                weights += usize::from(weight.is_some());
                let work = weight.and_then(|weight| plan_weight(recipe, weight));
                let (input, outputs) = (input.clone(), vec![]);
                let mut tensor = TensorPlan { shard, input, slim, work, outputs };
                tensor.outputs = outputs_of(&tensor);
                plan.tensors.push(tensor);
            }
        }
        if let Some(quantization) = recipe.quantization() {
            let weights = plan.selected();
            quantization.check(weights.map(|(_, t, work)| (&*t.input.name, work.weight.cols)))?;
        }
        if recipe.touches_weights() && !plan.tensors.iter().any(TensorPlan::is_selected) {
            let tensors = plan.tensors.len();
            return Err(match recipe.quantize.map(|scheme| scheme.granularity) {
                Some(Granularity::Group(group)) if weights > 0 => UsageError::AllSkipped { group },
                _ => UsageError::NothingSelected { tensors, matched },
            }
            .into());
        }
        plan.check_names()?;
        Ok(plan)
    }

    fn check_names(&self) -> Result<()> {
        let mut names = HashSet::new();
        for output in self.outputs() {
            if !names.insert(&output.name) {
                return Err(UsageError::NameTaken { name: output.name.clone() }.into());
            }
        }
        Ok(())
    }

    /// Every tensor of the output.
    pub fn outputs(&self) -> impl Iterator<Item = &TensorSpec> {
        self.tensors.iter().flat_map(|tensor| &tensor.outputs)
    }

    /// What the model is taken for, and why, where neurons are to go.
    pub fn network(&self) -> Option<&Origin> {
        self.neurons.as_ref().map(|neurons| &neurons.origin)
    }

    /// Bytes of all tensors of the model.
    pub fn bytes_before(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.input.bytes()).sum()
    }

    /// Bytes of all tensors of the output.
    pub fn bytes_after(&self) -> u64 {
        self.tensors.iter().map(TensorPlan::bytes_after).sum()
    }

    /// The selected tensors, with their place in `tensors`.
    pub(super) fn selected(&self) -> impl Iterator<Item = (usize, &TensorPlan, &Work)> {
        let tensors = self.tensors.iter().enumerate();
        tensors.filter_map(|(i, tensor)| Some((i, tensor, tensor.work.as_ref()?)))
    }
}

pub(super) fn spec(name: String, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name, dtype, shape: shape.to_vec() }
}

/// The weight that a tensor is, where it can be compressed.
fn weight_of(input: &TensorInfo) -> Option<Weight> {
    let float = FloatType::from_dtype(input.dtype)?;
    let &[first, second] = &input.shape[..] else { return None };
    let transposed = is_kernel(&input.name);
    let (rows, cols) = if transposed { (second, first) } else { (first, second) };
    Some(Weight { float, rows, cols, transposed })
}

/// How `weight` is compressed; `None` where it is left alone after all.
fn plan_weight(recipe: &Recipe, weight: Weight) -> Option<Work> {
    let scheme = recipe.quantization().and_then(|quantization| quantization.of_rows(weight.cols));
    let form = match (recipe.output_format(), scheme) {
        (Format::SparseBitmask, None) => Form::Bitmask,
        (Format::SparseBitmask, Some(_)) => Form::KeptCodes,
        (Format::CompressedTensors, Some(_)) => Form::Packed,
        (Format::Dense | Format::CompressedTensors, _) => Form::Dense,
    };
    let idle = scheme.is_none() && recipe.prune.is_none() && form == Form::Dense;
    (!idle).then_some(Work { weight, scheme, form })
}

fn outputs_of(tensor: &TensorPlan) -> Vec<TensorSpec> {
    let name = &tensor.input.name;
    let dense = || vec![spec(name.clone(), tensor.input.dtype, &tensor.shape_after())];
    let Some(work) = &tensor.work else { return dense() };
    match (work.form, &work.scheme) {
        (Form::Packed, Some(scheme)) => packed_outputs(name, work.weight, scheme),
        (Form::KeptCodes, Some(scheme)) => {
            let (all, bytes) = (work.weight.len(), work.weight.rows * work.weight.cols.div_ceil(8));
            let all = Kept { weights: all as u64, mask_bytes: bytes as u64 };
            kept_codes_outputs(name, work.weight, scheme, all)
        }
        (Form::Bitmask, _) => bitmask_outputs(name, work.weight, work.weight.len()),
        (Form::Dense | Form::Packed | Form::KeptCodes, _) => dense(),
    }
}

/// compressed-tensors, pack-quantized.
pub(super) fn packed_outputs(name: &str, weight: Weight, scheme: &QuantScheme) -> Vec<TensorSpec> {
    let words = scheme.words_per_row(weight.cols);
    let mut outputs = vec![
        spec(format!("{name}_packed"), DType::I32, &[weight.rows, words]),
        spec(format!("{name}_shape"), DType::I64, &[2]),
    ];
    outputs.extend(params_outputs(name, weight, scheme));
    outputs
}

/// Scale and, where asymmetric, zero point.
fn params_outputs(name: &str, weight: Weight, scheme: &QuantScheme) -> Vec<TensorSpec> {
    let (rows, groups) = (weight.rows, weight.groups(scheme));
    let tensor = |suffix, dtype, shape: &[usize]| spec(format!("{name}_{suffix}"), dtype, shape);
    let per_tensor = scheme.granularity == Granularity::Tensor;
    let scale: &[usize] = if per_tensor { &[1] } else { &[rows, groups] };
    let mut outputs = vec![tensor("scale", weight.float.dtype(), scale)];
    if !scheme.symmetric {
        outputs.push(if per_tensor {
            tensor("zero_point", DType::I8, &[1])
        } else {
            tensor("zero_point", DType::I32, &[rows.div_ceil(scheme.codes_per_word()), groups])
        });
    }
    outputs
}

/// sparse-bitmask-quantized, as `FORMAT.md` describes it.
pub(super) fn kept_codes_outputs(
    name: &str,
    weight: Weight,
    scheme: &QuantScheme,
    kept: Kept,
) -> Vec<TensorSpec> {
    let Weight { rows, cols, .. } = weight;
    let words = (kept.weights as usize).div_ceil(scheme.codes_per_word());
    // The counts of one tensor nearly always fit, and half of the room counts in small ones.
    let narrow = kept.weights.max(kept.mask_bytes) <= i32::MAX as u64;
    let offset = if narrow { DType::I32 } else { DType::I64 };
    let mut outputs = mask_outputs(
        name,
        (DType::I32, words),
        &[kept.mask_bytes as usize],
        (offset, &[rows + 1, 2]),
    );
    let bytemask = [rows, cols.div_ceil(8).div_ceil(8)];
    outputs.push(spec(format!("{}.bytemask", owner(name)), DType::U8, &bytemask));
    outputs.extend(params_outputs(name, weight, scheme));
    outputs
}

/// compressed-tensors, sparse-bitmask.
pub(super) fn bitmask_outputs(name: &str, weight: Weight, kept: usize) -> Vec<TensorSpec> {
    let mask = [weight.rows, weight.cols.div_ceil(8)];
    mask_outputs(name, (weight.float.dtype(), kept), &mask, (DType::I64, &[weight.rows]))
}

/// What both forms with a mask have.
fn mask_outputs(
    name: &str,
    (compressed, kept): (DType, usize),
    mask: &[usize],
    (offset, offsets): (DType, &[usize]),
) -> Vec<TensorSpec> {
    let tensor =
        |part, dtype, shape: &[usize]| spec(format!("{}.{part}", owner(name)), dtype, shape);
    vec![
        tensor("shape", DType::I64, &[2]),
        tensor("compressed", compressed, &[kept]),
        tensor("bitmask", DType::U8, mask),
        tensor("row_offsets", offset, offsets),
    ]
}

/// What the parts of a masked weight are named after: the module, or the weight itself where its
/// name does not tell the module.
fn owner(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}
