//! The arguments that name a network.

use std::path::{Path, PathBuf};

use clap::Args;

use super::device::Device;
use super::{Common, output};
use crate::error::Result;
use crate::io::Model;
use crate::nn::{Loaded, Network};
use crate::scheme::Activation;

#[derive(Debug, Args)]
pub(super) struct NetworkArguments {
    /// A .safetensors file or a model directory, dense or compressed
    pub model: PathBuf,
    /// Activations of the layers, comma separated, in place of what is described or inferred
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = activation)]
    activations: Vec<Activation>,
    /// Rows computed at once
    #[arg(long, value_name = "N", default_value_t = crate::nn::BATCH)]
    pub batch_size: usize,
    #[command(flatten)]
    device: Device,
}

pub(super) fn activation(text: &str) -> std::result::Result<Activation, String> {
    text.parse::<Activation>().map_err(|error| error.to_string())
}

impl NetworkArguments {
    /// Opens the device and loads the network; says what it is.
    pub(super) fn load(&self, common: &Common) -> Result<Loaded> {
        self.load_from(&self.model, common)
    }

    /// The same with another model.
    pub(super) fn load_from(&self, path: &Path, common: &Common) -> Result<Loaded> {
        let model = Model::open(path)?;
        let activations = Some(&self.activations[..]).filter(|list| !list.is_empty());
        let (network, origin) = Network::read(&model, activations)?;
        output::note(common, &format!("{}: {origin}", path.display()));
        let backend = self.device.open(common)?;
        Loaded::new(&backend, &model, network)
    }
}
