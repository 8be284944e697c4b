//! The arguments that say what is done to a model.

use clap::{ArgGroup, Args, ValueEnum};
use regex::Regex;

use crate::compress::{Format, OnIndivisible, Pruning, Recipe};
use crate::error::{Result, UsageError};
use crate::scheme::{Arithmetic, Bits, Granularity, NmPattern, QuantScheme, Range};

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("pruning").multiple(false))]
pub(super) struct RecipeArguments {
    /// Zero exactly this share of each weight, smallest magnitudes first (0.5 is half)
    #[arg(long, value_name = "S", group = "pruning", help_heading = "Pruning")]
    #[arg(allow_negative_numbers = true)]
    sparsity: Option<f64>,
    /// Take --sparsity of all selected weights together: some lose more, some less
    // The group alone does not do: a rival of --sparsity would satisfy `requires`.
    #[arg(long, requires = "sparsity", help_heading = "Pruning")]
    #[arg(conflicts_with_all = ["threshold", "threshold_ratio", "nm"])]
    global: bool,
    /// Zero where |w| ≤ T
    #[arg(long, value_name = "T", group = "pruning", help_heading = "Pruning")]
    #[arg(allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Zero where |w| < A × the largest |w| of the tensor (a ratio is not a sparsity)
    #[arg(long, value_name = "A", group = "pruning", help_heading = "Pruning")]
    #[arg(allow_negative_numbers = true)]
    threshold_ratio: Option<f32>,
    /// Keep the N largest of every M consecutive inputs, for example 2:4
    #[arg(long, value_name = "N:M", group = "pruning", value_parser = pattern, help_heading = "Pruning")]
    nm: Option<NmPattern>,

    /// Quantize to integers of 8, 4 or 2 bits
    #[arg(long, value_name = "TYPE", help_heading = "Quantizing")]
    quantize: Option<Integer>,
    /// How many weights share a scale; by default int8 channel, int4 and int2 group, and with
    /// --scale tensor
    #[arg(long, requires = "quantize", help_heading = "Quantizing")]
    granularity: Option<Share>,
    /// Weights in a group (128 where groups are used)
    #[arg(long, value_name = "N", requires = "quantize", help_heading = "Quantizing")]
    group_size: Option<usize>,
    /// Store zero points, so that the range need not be symmetric
    #[arg(long, requires = "quantize", help_heading = "Quantizing")]
    asymmetric: bool,
    /// Use codes −127…127 (−7…7, −1…1) and a step of absmax / 127
    #[arg(long, requires = "quantize", help_heading = "Quantizing")]
    narrow_range: bool,
    /// Codes are round(w × N), clamped; stored as a step of 1/N
    #[arg(
        long,
        value_name = "N",
        requires = "quantize",
        conflicts_with = "narrow_range",
        help_heading = "Quantizing"
    )]
    scale: Option<u32>,
    /// Reproduce another tool's bytes (f16 and bf16 weights are rounded in their own type)
    #[arg(long = "match", value_name = "TOOL", requires = "quantize", help_heading = "Quantizing")]
    matching: Option<Tool>,
    /// When a row is not whole groups: list such tensors and stop, use a scale a row, or skip
    #[arg(long, value_name = "WHAT", default_value = "error", help_heading = "Quantizing")]
    on_indivisible: Indivisible,

    /// Compress tensors whose name matches (replaces the default selection; repeatable)
    #[arg(long, value_name = "REGEX", help_heading = "Selection")]
    include: Vec<String>,
    /// Leave out tensors whose name matches (repeatable)
    #[arg(long, value_name = "REGEX", help_heading = "Selection")]
    exclude: Vec<String>,

    /// What the weights look like on disk; by default compressed-tensors when quantizing
    #[arg(long, help_heading = "Output")]
    format: Option<OutputFormat>,
    /// Let NaN and infinite weights pass
    #[arg(long)]
    allow_non_finite: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Integer {
    Int8,
    Int4,
    Int2,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Share {
    /// One scale a tensor
    Tensor,
    /// One scale a row (output feature)
    Channel,
    /// One scale every --group-size weights of a row
    Group,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tool {
    CompressedTensors,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Indivisible {
    Error,
    Channel,
    Skip,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    /// Weights of the original type
    Dense,
    /// Packed integers (pack-quantized)
    CompressedTensors,
    /// Non-zero weights and a bit mask
    SparseBitmask,
}

fn pattern(text: &str) -> Result<NmPattern, String> {
    let numbers = text.split_once(':').and_then(|(n, m)| Some((n.parse().ok()?, m.parse().ok()?)));
    let (keep, of) = numbers.ok_or("expected N:M, for example 2:4")?;
    Ok(NmPattern { keep, of })
}

fn regex(argument: &'static str, pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error:").trim();
        let reason = reason.to_owned();
        UsageError::Pattern { argument, pattern: pattern.to_owned(), reason }.into()
    })
}

impl RecipeArguments {
    pub(super) fn recipe(&self) -> Result<Recipe> {
        let mut recipe = Recipe::new().allow_non_finite(self.allow_non_finite).on_indivisible(
            match self.on_indivisible {
                Indivisible::Error => OnIndivisible::Error,
                Indivisible::Channel => OnIndivisible::Channel,
                Indivisible::Skip => OnIndivisible::Skip,
            },
        );
        if let Some(pruning) = self.pruning() {
            recipe = recipe.prune(pruning);
        }
        if let Some(scheme) = self.scheme()? {
            recipe = recipe.quantize(scheme);
        }
        for pattern in &self.include {
            recipe = recipe.include(regex("--include", pattern)?);
        }
        for pattern in &self.exclude {
            recipe = recipe.exclude(regex("--exclude", pattern)?);
        }
        if let Some(format) = self.format {
            recipe = recipe.format(match format {
                OutputFormat::Dense => Format::Dense,
                OutputFormat::CompressedTensors => Format::CompressedTensors,
                OutputFormat::SparseBitmask => Format::SparseBitmask,
            });
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

    fn scheme(&self) -> Result<Option<QuantScheme>> {
        let Some(integer) = self.quantize else { return Ok(None) };
        let (bits, share) = match integer {
            Integer::Int8 => (Bits::Eight, Share::Channel),
            Integer::Int4 => (Bits::Four, Share::Group),
            Integer::Int2 => (Bits::Two, Share::Group),
        };
        // A group size alone asks for groups, and a fixed step is the same for all weights.
        let asked = self.granularity.or(self.group_size.map(|_| Share::Group));
        let share = asked.or(self.scale.map(|_| Share::Tensor)).unwrap_or(share);
        let granularity = match (share, self.group_size) {
            (Share::Group, size) => Granularity::Group(size.unwrap_or(128)),
            (Share::Tensor | Share::Channel, Some(_)) => {
                return Err(UsageError::Conflict {
                    first: "--group-size",
                    second: "--granularity tensor or channel",
                    advice: "give one of them",
                }
                .into());
            }
            (Share::Tensor, None) => Granularity::Tensor,
            (Share::Channel, None) => Granularity::Channel,
        };
        let range = match (self.scale, self.narrow_range) {
            (Some(n), _) => Range::Multiplier(n),
            (None, true) => Range::Narrow,
            (None, false) => Range::Full,
        };
        let arithmetic = match self.matching {
            Some(Tool::CompressedTensors) => Arithmetic::WeightType,
            None => Arithmetic::F32,
        };
        let symmetric = !self.asymmetric;
        Ok(Some(QuantScheme { bits, symmetric, granularity, range, arithmetic }))
    }
}
