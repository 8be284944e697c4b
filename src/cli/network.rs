//! The arguments that name a network, and what commands that try networks share.

use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;

use super::device::Device;
use super::{Common, output};
use crate::compress::{Execution, decompress};
use crate::error::{Error, Result};
use crate::io::Model;
use crate::nn::{Loaded, Network};
use crate::ops::Backend;
use crate::scheme::Activation;
use crate::stored::format_of;

#[derive(Debug, Args)]
pub(super) struct NetworkArguments {
    /// A .safetensors file or a model directory, dense or compressed
    pub model: PathBuf,
    #[command(flatten)]
    activations: Activations,
    /// Rows computed at once
    #[arg(long, value_name = "N", default_value_t = crate::nn::BATCH as u64)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    batch_size: u64,
    #[command(flatten)]
    device: Device,
}

/// What is not told by tensors.
#[derive(Clone, Debug, Args)]
pub(super) struct Activations {
    /// Activations of the layers, comma separated, in place of what is described or inferred
    ///
    /// One less than there are layers: those between the layers, and a softmax stays at the end
    /// where there is one. As many as there are layers: the last replaces the softmax.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = activation)]
    activations: Vec<Activation>,
}

fn activation(text: &str) -> std::result::Result<Activation, String> {
    text.parse::<Activation>().map_err(|error| error.to_string())
}

impl Activations {
    pub(super) fn given(&self) -> Option<&[Activation]> {
        Some(&self.activations[..]).filter(|list| !list.is_empty())
    }
}

impl NetworkArguments {
    /// Opens the device.
    pub(super) fn open_device(&self, common: &Common) -> Result<Backend> {
        self.device.open(common)
    }

    /// Reads a network, and says what it is.
    pub(super) fn read(&self, path: &Path, common: &Common) -> Result<(Model, Network)> {
        let model = Model::open(path)?;
        let (network, origin) = Network::read(&model, self.activations.given())?;
        output::note(common, &format!("{}: {origin}", path.display()));
        Ok((model, network))
    }

    /// The same, with its weights on a device.
    pub(super) fn load(&self, path: &Path, backend: &Backend, common: &Common) -> Result<Loaded> {
        let (model, network) = self.read(path, common)?;
        Loaded::new(backend, &model, network)
    }

    pub(super) fn batch_size(&self) -> usize {
        self.batch_size as usize
    }
}

/// A folder for what is tried; it goes when it is dropped.
pub(super) fn temporary_folder() -> Result<TempDir> {
    TempDir::new().map_err(|source| {
        let advice = "set TMPDIR to a folder that you may write to";
        Error::Create { path: std::env::temp_dir(), source, advice }
    })
}

/// A model with dense weights, and as it was stored, where it was compressed.
pub(super) fn dense_and_stored(model: Model, folder: &Path) -> Result<(Model, Option<Model>)> {
    if format_of(&model).is_none() {
        return Ok((model, None));
    }
    let dense = folder.join("dense");
    decompress(&model, &dense, false, &Execution::new(&Backend::Cpu))?;
    Ok((Model::open(&dense)?, Some(model)))
}
