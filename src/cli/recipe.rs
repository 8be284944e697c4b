//! The arguments that say what is done to a model.

use clap::{ArgGroup, Args, ValueEnum};

use crate::compress::{Format, Pruning, Recipe, pattern};
use crate::error::Result;
use crate::scheme::{
    Bits, NmPattern, OnIndivisible, QuantScheme, Quantization, SchemeChoice, Sharing,
};

#[derive(Clone, Debug, Default, Args)]
#[command(group = ArgGroup::new("pruning").multiple(false))]
pub(super) struct RecipeArguments {
    /// Remove hidden neurons for good, first of all: keep this share of each hidden layer
    ///
    /// Those with the largest |inputs| x |outputs| stay: the norm of the neuron's row of its
    /// layer's weight times that of its column of the next one's. Weights and biases shrink. Works
    /// on chains of dense layers, as `tensorpress run` does.
    #[arg(long, value_name = "R", help_heading = "Pruning")]
    pub(super) keep_neurons: Option<f64>,
    /// Zero exactly this share of each weight, smallest magnitudes first (0.5 is half)
    #[arg(long, value_name = "S", group = "pruning", help_heading = "Pruning")]
    #[arg(allow_negative_numbers = true)]
    pub(super) sparsity: Option<f64>,
    /// Take --sparsity of all selected weights together: some lose more, some less
    // The group alone does not do: a rival of --sparsity would satisfy `requires`.
    #[arg(long, requires = "sparsity", help_heading = "Pruning")]
    #[arg(conflicts_with_all = ["threshold", "threshold_ratio", "nm"])]
    pub(super) global: bool,
    /// Zero where |w| ≤ T
    #[arg(long, value_name = "T", group = "pruning", help_heading = "Pruning")]
    #[arg(allow_negative_numbers = true)]
    pub(super) threshold: Option<f32>,
    /// Zero where |w| < A × the largest |w| of the tensor (a ratio is not a sparsity)
    #[arg(long, value_name = "A", group = "pruning", help_heading = "Pruning")]
    #[arg(allow_negative_numbers = true)]
    pub(super) threshold_ratio: Option<f32>,
    /// Keep the N largest of every M consecutive inputs, for example 2:4
    #[arg(long, value_name = "N:M", group = "pruning", help_heading = "Pruning")]
    pub(super) nm: Option<NmPattern>,

    #[command(flatten)]
    pub(super) codes: QuantizeArguments,

    /// Compress tensors whose name matches (replaces the default selection; repeatable)
    ///
    /// By itself those are the two-dimensional tensors with names that end in weight or kernel, or
    /// that a description of the network names, but not embeddings, norms and lm_head.
    #[arg(long, value_name = "REGEX", help_heading = "Selection")]
    pub(super) include: Vec<String>,
    /// Leave out tensors whose name matches (repeatable)
    #[arg(long, value_name = "REGEX", help_heading = "Selection")]
    pub(super) exclude: Vec<String>,

    /// What the weights look like on disk; by default compressed-tensors when quantizing
    #[arg(long, help_heading = "Output")]
    pub(super) format: Option<OutputFormat>,
    /// Let NaN and infinite weights pass
    #[arg(long)]
    pub(super) allow_non_finite: bool,
}

/// How weights are quantized.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct QuantizeArguments {
    /// Quantize to integers of 8, 4 or 2 bits
    #[arg(long, value_name = "TYPE", help_heading = "Quantizing")]
    pub(super) quantize: Option<Integer>,
    /// How many weights share a scale; by default int8 channel, int4 and int2 group, and with
    /// --scale tensor
    #[arg(long, requires = "quantize", help_heading = "Quantizing")]
    pub(super) granularity: Option<Share>,
    /// Weights in a group (128 where groups are used)
    #[arg(long, value_name = "N", requires = "quantize", help_heading = "Quantizing")]
    pub(super) group_size: Option<usize>,
    /// Store zero points, so that the range need not be symmetric
    #[arg(long, requires = "quantize", help_heading = "Quantizing")]
    pub(super) asymmetric: bool,
    /// Use codes −127…127 (−7…7, −1…1) and a step of absmax / 127
    #[arg(long, requires = "quantize", help_heading = "Quantizing")]
    pub(super) narrow_range: bool,
    /// Codes are round(w × N), clamped; stored as a step of 1/N
    #[arg(
        long,
        value_name = "N",
        requires = "quantize",
        conflicts_with = "narrow_range",
        help_heading = "Quantizing"
    )]
    pub(super) scale: Option<u32>,
    /// Reproduce another tool's bytes (f16 and bf16 weights are rounded in their own type)
    #[arg(long = "match", value_name = "TOOL", requires = "quantize", help_heading = "Quantizing")]
    pub(super) matching: Option<Tool>,
    /// When a row is not whole groups: list such tensors and stop, use a scale a row, or skip
    #[arg(long, value_name = "WHAT", default_value = "error", help_heading = "Quantizing")]
    pub(super) on_indivisible: Indivisible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Integer {
    Int8,
    Int4,
    Int2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Share {
    /// One scale a tensor
    Tensor,
    /// One scale a row (output feature)
    Channel,
    /// One scale every --group-size weights of a row
    Group,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Tool {
    CompressedTensors,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
pub(super) enum Indivisible {
    #[default]
    Error,
    Channel,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum OutputFormat {
    /// Weights of the original type
    Dense,
    /// Packed integers (pack-quantized)
    CompressedTensors,
    /// Non-zero weights and a bit mask
    SparseBitmask,
}

/// The name of a value on the command line.
pub(super) fn value_name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl RecipeArguments {
    /// The options that parse to these arguments.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = vec![];
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                options.extend([format!("--{name}"), value]);
            }
        };
        option("keep-neurons", self.keep_neurons.map(|share| share.to_string()));
        option("sparsity", self.sparsity.map(|share| share.to_string()));
        option("threshold", self.threshold.map(|threshold| threshold.to_string()));
        option("threshold-ratio", self.threshold_ratio.map(|ratio| ratio.to_string()));
        option("nm", self.nm.map(|pattern| format!("{}:{}", pattern.keep, pattern.of)));
        let codes = &self.codes;
        option("quantize", codes.quantize.as_ref().map(value_name));
        option("granularity", codes.granularity.as_ref().map(value_name));
        option("group-size", codes.group_size.map(|size| size.to_string()));
        option("scale", codes.scale.map(|scale| scale.to_string()));
        option("match", codes.matching.as_ref().map(value_name));
        let indivisible = Some(&codes.on_indivisible).filter(|what| **what != Indivisible::Error);
        option("on-indivisible", indivisible.map(value_name));
        self.include.iter().for_each(|pattern| option("include", Some(pattern.clone())));
        self.exclude.iter().for_each(|pattern| option("exclude", Some(pattern.clone())));
        option("format", self.format.as_ref().map(value_name));
        let switches = [
            ("global", self.global),
            ("asymmetric", codes.asymmetric),
            ("narrow-range", codes.narrow_range),
            ("allow-non-finite", self.allow_non_finite),
        ];
        let set = switches.into_iter().filter(|(_, set)| *set);
        options.extend(set.map(|(name, _)| format!("--{name}")));
        options
    }

    pub(super) fn recipe(&self) -> Result<Recipe> {
        let mut recipe = Recipe::new().allow_non_finite(self.allow_non_finite);
        if let Some(share) = self.keep_neurons {
            recipe = recipe.keep_neurons(share);
        }
        if let Some(pruning) = self.pruning() {
            recipe = recipe.prune(pruning);
        }
        if let Some(Quantization { scheme, on_indivisible }) = self.codes.quantization()? {
            recipe = recipe.quantize(scheme).on_indivisible(on_indivisible);
        }
        for text in &self.include {
            recipe = recipe.include(pattern("--include", text)?);
        }
        for text in &self.exclude {
            recipe = recipe.exclude(pattern("--exclude", text)?);
        }
        if let Some(format) = self.format {
            recipe = recipe.format(format.into());
        }
        recipe.validate()?;
        Ok(recipe)
    }

    fn pruning(&self) -> Option<Pruning> {
        let sparsity = self.sparsity.map(|share| Pruning::Sparsity { share, global: self.global });
        sparsity
            .or(self.threshold.map(Pruning::Threshold))
            .or(self.threshold_ratio.map(Pruning::ThresholdRatio))
            .or(self.nm.map(Pruning::Nm))
    }
}

impl QuantizeArguments {
    /// The scheme, where weights are quantized.
    fn scheme(&self) -> Result<Option<QuantScheme>> {
        let Some(integer) = self.quantize else { return Ok(None) };
        let choice = SchemeChoice {
            bits: match integer {
                Integer::Int8 => Bits::Eight,
                Integer::Int4 => Bits::Four,
                Integer::Int2 => Bits::Two,
            },
            granularity: self.granularity.map(|share| match share {
                Share::Tensor => Sharing::Tensor,
                Share::Channel => Sharing::Channel,
                Share::Group => Sharing::Group,
            }),
            group_size: self.group_size,
            asymmetric: self.asymmetric,
            narrow_range: self.narrow_range,
            multiplier: self.scale,
            weight_type: self.matching.is_some(),
        };
        choice.scheme().map(Some)
    }

    /// The scheme, and what happens to the weights that it does not fit.
    pub(super) fn quantization(&self) -> Result<Option<Quantization>> {
        let on_indivisible = self.on_indivisible();
        Ok(self.scheme()?.map(|scheme| Quantization { scheme, on_indivisible }))
    }

    fn on_indivisible(&self) -> OnIndivisible {
        match self.on_indivisible {
            Indivisible::Error => OnIndivisible::Error,
            Indivisible::Channel => OnIndivisible::Channel,
            Indivisible::Skip => OnIndivisible::Skip,
        }
    }
}

impl From<OutputFormat> for Format {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Dense => Self::Dense,
            OutputFormat::CompressedTensors => Self::CompressedTensors,
            OutputFormat::SparseBitmask => Self::SparseBitmask,
        }
    }
}
