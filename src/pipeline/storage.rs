//! How a trained network is stored.

use std::path::Path;

use regex::Regex;

use crate::compress::{Format, Recipe};
use crate::error::Result;
use crate::io::{Model, temporary_folder};
use crate::nn::{Network, Parameters};
use crate::ops::Backend;
use crate::scheme::Quantization;

/// How a trained network is stored.
pub(super) struct Storage {
    network: Network,
    /// What is done to the dense weights, where anything is.
    recipe: Option<Recipe>,
}

impl Storage {
    /// Dense, or rounded and in the format that is asked for.
    ///
    /// # Errors
    /// A usage error where these do not go together or with the network.
    pub(super) fn new(
        network: &Network,
        quantize: Option<Quantization>,
        format: Option<Format>,
    ) -> Result<Self> {
        let mut recipe = Recipe::new();
        if let Some(Quantization { scheme, on_indivisible }) = quantize {
            recipe = recipe.quantize(scheme).on_indivisible(on_indivisible);
        }
        if let Some(format) = format {
            recipe = recipe.format(format);
        }
        let changes = quantize.is_some() || format.is_some_and(|format| format != Format::Dense);
        if changes {
            recipe.validate()?;
        }
        let names = network.layers.iter();
        let names = names
            .filter_map(|layer| Regex::new(&format!("^{}$", regex::escape(&layer.weight))).ok());
        let recipe = changes.then(|| names.fold(recipe, Recipe::include));
        Ok(Self { network: network.clone(), recipe })
    }

    /// Writes `parameters` to `path`.
    pub(super) fn write(&self, parameters: &Parameters, path: &Path, force: bool) -> Result<()> {
        let Some(recipe) = &self.recipe else {
            return parameters.write(&self.network, path, force);
        };
        let folder = temporary_folder()?;
        let dense = folder.path().join("dense.safetensors");
        parameters.write(&self.network, &dense, false)?;
        let recipe = recipe.clone().force(force);
        recipe.compress(&Model::open(&dense)?, path, &Backend::Cpu).map(drop)
    }
}
