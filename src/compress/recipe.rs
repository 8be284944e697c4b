//! What is to be done to a model.

use std::fmt;

use regex::Regex;
use serde::Deserialize;

use super::output::Metadata;
use super::report::pruning_name;
use super::select::Selection;
use crate::error::{Result, UsageError};
use crate::scheme::{Granularity, NmPattern, QuantScheme};

/// Which weights become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pruning {
    /// Exactly this share, smallest magnitudes first: of each tensor, or of all selected tensors
    /// together.
    Sparsity {
        /// From 0 to 1.
        share: f64,
        /// Of all selected tensors together.
        global: bool,
    },
    /// Where |w| ≤ T.
    Threshold(f32),
    /// Where |w| < α · max |W| of the tensor.
    ThresholdRatio(f32),
    /// All but N of every M consecutive weights of a row.
    Nm(NmPattern),
}

/// What the compressed weights look like on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Weights of the original type, under their own names.
    Dense,
    /// compressed-tensors, pack-quantized.
    CompressedTensors,
    /// Non-zero weights and a bit mask.
    SparseBitmask,
}

impl Format {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::CompressedTensors => "compressed-tensors",
            Self::SparseBitmask => "sparse-bitmask",
        }
    }
}

/// What happens to a tensor whose rows are not whole groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnIndivisible {
    /// Nothing is compressed; all such tensors are listed.
    #[default]
    Error,
    /// It gets one scale a row.
    Channel,
    /// It is not quantized (but pruned, where the recipe prunes).
    Skip,
}

/// What is to be done to a model. Nothing is checked until it is planned or run.
///
/// ```no_run
/// use tensorpress::{compress::Recipe, io::Model, ops::Backend, scheme::QuantScheme};
///
/// # fn main() -> tensorpress::Result<()> {
/// let model = Model::open("model.safetensors".as_ref())?;
/// let recipe = Recipe::new().sparsity(0.5).quantize(QuantScheme::w4a16());
/// let report = recipe.compress(&model, "small.safetensors".as_ref(), &Backend::Cpu)?;
/// println!("{} -> {} bytes", report.bytes_before, report.bytes_after);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    pub(super) keep_neurons: Option<f64>,
    pub(super) prune: Option<Pruning>,
    pub(super) quantize: Option<QuantScheme>,
    pub(super) selection: Selection,
    pub(super) on_indivisible: OnIndivisible,
    pub(super) format: Option<Format>,
    pub(super) allow_non_finite: bool,
    pub(super) force: bool,
    pub(super) metadata: Metadata,
}

impl Recipe {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes neurons, before anything else: of each hidden layer of n neurons, `share` · n stay,
    /// rounded half to even and at least one. Weights and biases really shrink.
    ///
    /// Those stay whose ‖w_in‖₂ · ‖w_out‖₂ is largest: the norm of the neuron's row of its own
    /// layer's weight times that of its column of the next layer's. Of equal ones the first stay,
    /// and all keep their order. The model must be a network that [`crate::nn::Network::read`]
    /// reads. Its description is carried over; where it has none and the sizes of the tensors told
    /// the order of the layers, which other sizes might not, one is written.
    ///
    /// [`Recipe::include`] and [`Recipe::exclude`] say what is pruned and quantized, not where
    /// neurons go.
    #[must_use]
    pub fn keep_neurons(mut self, share: f64) -> Self {
        self.keep_neurons = Some(share);
        self
    }

    /// Prunes.
    #[must_use]
    pub fn prune(mut self, pruning: Pruning) -> Self {
        self.prune = Some(pruning);
        self
    }

    /// Prunes each tensor to exactly this share of zeros.
    #[must_use]
    pub fn sparsity(self, share: f64) -> Self {
        self.prune(Pruning::Sparsity { share, global: false })
    }

    /// Quantizes, after pruning.
    #[must_use]
    pub fn quantize(mut self, scheme: QuantScheme) -> Self {
        self.quantize = Some(scheme);
        self
    }

    /// Selects tensors whose name matches, instead of the default selection. Repeatable.
    #[must_use]
    pub fn include(mut self, name: Regex) -> Self {
        self.selection.include.push(name);
        self
    }

    /// Leaves tensors out whose name matches. Repeatable.
    #[must_use]
    pub fn exclude(mut self, name: Regex) -> Self {
        self.selection.exclude.push(name);
        self
    }

    /// What happens to a tensor whose rows are not whole groups.
    #[must_use]
    pub fn on_indivisible(mut self, what: OnIndivisible) -> Self {
        self.on_indivisible = what;
        self
    }

    /// The format on disk. By default compressed-tensors when quantizing, dense when only pruning.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Lets NaN and infinite weights pass.
    #[must_use]
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.allow_non_finite = allow;
        self
    }

    /// Replaces an output that exists.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Writes `value` under `key` of the metadata of the first file, whatever was there. It is how
    /// a model gets the description of its network:
    ///
    /// ```no_run
    /// use tensorpress::{compress::Recipe, io::Model, nn::Network};
    ///
    /// # fn main() -> tensorpress::Result<()> {
    /// let model = Model::open("model.safetensors".as_ref())?;
    /// let (network, _) = Network::read(&model, None)?;
    /// let recipe = Recipe::new().sparsity(0.5).metadata(Network::KEY, network.to_json());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metadata(mut self, key: &str, value: String) -> Self {
        self.metadata.insert(key.to_owned(), value);
        self
    }

    /// The format that will be written.
    pub fn output_format(&self) -> Format {
        self.format.unwrap_or(match self.quantize {
            Some(_) => Format::CompressedTensors,
            None => Format::Dense,
        })
    }

    /// Checks that the parts go together.
    ///
    /// # Errors
    /// A [`UsageError`].
    pub fn validate(&self) -> Result<()> {
        match (self.prune, self.quantize, self.format) {
            (None, None, None | Some(Format::Dense)) if self.keep_neurons.is_none() => {
                return Err(UsageError::NothingToDo.into());
            }
            (_, None, Some(Format::CompressedTensors)) => {
                return Err(UsageError::Conflict {
                    first: "--format compressed-tensors",
                    second: "removing weights or neurons alone",
                    advice: "add --quantize, or choose --format dense or sparse-bitmask",
                }
                .into());
            }
            _ => {}
        }
        if let Some(share) = self.keep_neurons.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return out_of_range("--keep-neurons", share.to_string(), "a share above 0, at most 1");
        }
        if let Some(pruning) = self.prune {
            validate_pruning(pruning)?;
        }
        if let Some(scheme) = self.quantize {
            scheme.validate()?;
        }
        Ok(())
    }

    /// Whether single weights change, or how they are stored; without it neurons may go still.
    pub(super) fn touches_weights(&self) -> bool {
        let stored = self.output_format() != Format::Dense;
        self.prune.is_some() || self.quantize.is_some() || stored
    }

    /// The group size, where weights are quantized in groups.
    pub(super) fn group_size(&self) -> Option<usize> {
        match self.quantize?.granularity {
            Granularity::Group(size) => Some(size),
            Granularity::Tensor | Granularity::Channel => None,
        }
    }
}

/// "neurons kept 0.5, sparsity 0.9, int4 group 128", and the format where it was chosen.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let neurons = self.keep_neurons.map(|share| format!("neurons kept {share}"));
        let pruned = self.prune.map(pruning_name);
        let quantized = self.quantize.as_ref().map(ToString::to_string);
        let format = self.format.map(|format| format.name().to_owned());
        let parts = [neurons, pruned, quantized, format].into_iter().flatten();
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

fn out_of_range(what: &'static str, value: String, expected: &'static str) -> Result<()> {
    Err(UsageError::OutOfRange { what, value, expected }.into())
}

fn validate_pruning(pruning: Pruning) -> Result<()> {
    match pruning {
        Pruning::Sparsity { share, .. } if !(0.0..=1.0).contains(&share) => {
            out_of_range("--sparsity", share.to_string(), "a share from 0 to 1")
        }
        Pruning::Threshold(t) if !t.is_finite() || t.is_sign_negative() => {
            out_of_range("--threshold", t.to_string(), "a finite number, 0 or more")
        }
        Pruning::ThresholdRatio(ratio) if !(0.0..=1.0).contains(&ratio) => {
            out_of_range("--threshold-ratio", ratio.to_string(), "a share from 0 to 1")
        }
        Pruning::Nm(NmPattern { keep, of }) if keep == 0 || keep >= of || of > 32 => {
            out_of_range("--nm", format!("{keep}:{of}"), "N:M with 1 ≤ N < M ≤ 32")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_says_what_it_does() {
        let recipe = Recipe::new().keep_neurons(0.5).sparsity(0.9).quantize(QuantScheme::w4a16());
        assert_eq!(recipe.to_string(), "neurons kept 0.5, sparsity 0.9, int4 group 128");
        let recipe = Recipe::new().format(Format::SparseBitmask);
        assert_eq!(recipe.to_string(), "sparse-bitmask");
    }

    #[test]
    fn contradictions_are_usage_errors() {
        let nm = |keep, of| Recipe::new().prune(Pruning::Nm(NmPattern { keep, of }));
        let bad = [
            Recipe::new(),
            Recipe::new().format(Format::Dense),
            Recipe::new().sparsity(1.5),
            Recipe::new().sparsity(f64::NAN),
            Recipe::new().prune(Pruning::Threshold(-1.0)),
            Recipe::new().prune(Pruning::Threshold(f32::INFINITY)),
            Recipe::new().prune(Pruning::ThresholdRatio(2.0)),
            nm(0, 4),
            nm(4, 4),
            nm(1, 33),
            nm(40, 50),
            Recipe::new().sparsity(0.5).format(Format::CompressedTensors),
            Recipe::new().keep_neurons(0.5).format(Format::CompressedTensors),
            Recipe::new().keep_neurons(0.0),
            Recipe::new().keep_neurons(1.1),
            Recipe::new().keep_neurons(f64::NAN),
        ];
        for recipe in bad {
            assert_eq!(recipe.validate().expect_err("contradiction").exit_code(), 2, "{recipe:?}");
        }
        let good = [
            Recipe::new().format(Format::SparseBitmask),
            Recipe::new().sparsity(0.0),
            Recipe::new().sparsity(1.0),
            Recipe::new().keep_neurons(1.0),
            Recipe::new().keep_neurons(1e-9).format(Format::Dense),
            Recipe::new().keep_neurons(0.5).format(Format::SparseBitmask),
            nm(2, 4),
            nm(31, 32),
            Recipe::new().quantize(QuantScheme::w4a16()).format(Format::Dense),
            Recipe::new().quantize(QuantScheme::int8()).format(Format::SparseBitmask),
        ];
        for recipe in good {
            recipe.validate().expect("fine");
        }
    }
}
