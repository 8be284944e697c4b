//! The arguments that name a network, and what commands that try networks share.

use std::path::{Path, PathBuf};

use clap::Args;

use super::device::TunedDevice;
use super::{Common, output};
use crate::compress::{Execution, Metadata, decompress};
use crate::error::Result;
use crate::io::{DataSet, Model};
use crate::nn::{Loaded, Network, Origin};
use crate::ops::Backend;
use crate::pipeline::Given;
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
    int8: Int8Activations,
    #[command(flatten)]
    device: TunedDevice,
}

/// Whether layers may round their inputs.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Int8Activations {
    /// Round what goes into quantized layers to 8 bits: faster, a little less accurate
    ///
    /// Each row of a layer's inputs gets a scale of its own, the largest magnitude over 127, and
    /// is multiplied as integers with the codes of the weights. What that loses adds to what the
    /// codes have lost: at most 0.05 percentage points of accuracy in nine quantized networks for
    /// Fashion-MNIST, more where a few inputs are far larger than the rest; evaluate --against the
    /// same model tells. It is for layers that are stored as codes (int8, int4, int2); others stay
    /// as they are. On the CPU all those use it, on a GPU those that were measured to be faster so,
    /// which --no-tune leaves out on hardware. bench --model shows what it gains.
    #[arg(long, requires = "model")]
    int8_activations: bool,
}

impl Int8Activations {
    /// Whether it was asked for.
    pub(super) fn allowed(self) -> bool {
        self.int8_activations
    }

    /// Lets `loaded` do it, if it was asked for, and says how far that reaches.
    pub(super) fn apply(self, loaded: Loaded, path: &Path, common: &Common) -> Loaded {
        if !self.int8_activations {
            return loaded;
        }
        let loaded = loaded.int8_activations(true);
        let (path, layers) = (path.display(), loaded.layers().len());
        match (loaded.int8_layers(), loaded.backend()) {
            (0, _) => output::warn(
                common,
                &format!(
                    "{path}: --int8-activations changes nothing here: none of the {layers} layers \
                     holds codes that can be multiplied so; compress --quantize makes some"
                ),
            ),
            (_, Backend::Gpu(gpu)) if gpu.choices().is_none() && !gpu.is_software() => {
                let text = "--int8-activations changes nothing with --no-tune on this GPU: it is \
                            used where it was measured to be faster";
                output::warn(common, text);
            }
            (some, backend) => {
                let measured = match backend {
                    Backend::Cpu => "",
                    Backend::Gpu(_) => ", where that was measured to be faster",
                };
                let text = format!(
                    "{path}: activations into {some} of {layers} layers are rounded to 8 bits\
                     {measured}"
                );
                output::note(common, &text);
            }
        }
        loaded
    }
}

/// Labelled data.
#[derive(Debug, Args)]
pub(super) struct DataArguments {
    /// A directory of IDX files, or an .npz or .safetensors file with x and y
    #[arg(long = "data", value_name = "DATA")]
    pub path: PathBuf,
    /// train or test, where DATA has both
    #[arg(long, default_value = "test")]
    split: String,
}

impl DataArguments {
    pub(super) fn open(&self) -> Result<DataSet> {
        DataSet::open(&self.path, self.split.parse()?)
    }
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

pub(super) fn activation(text: &str) -> std::result::Result<Activation, String> {
    text.parse::<Activation>().map_err(|error| error.to_string())
}

impl Activations {
    pub(super) fn given(&self) -> Option<&[Activation]> {
        Some(&self.activations[..]).filter(|list| !list.is_empty())
    }
}

/// Opens a network, and says what it is.
pub(super) fn open(
    path: &Path,
    activations: Option<&[Activation]>,
    common: &Common,
) -> Result<Given> {
    let given = Given::open(path, activations)?;
    output::note(common, &format!("{}: {}", path.display(), given.origin));
    Ok(given)
}

impl NetworkArguments {
    /// Opens the device.
    pub(super) fn open_device(&self, common: &Common) -> Result<Backend> {
        self.device.open(common)
    }

    /// Reads a network, and says what it is.
    pub(super) fn read(&self, path: &Path, common: &Common) -> Result<(Model, Network)> {
        let Given { model, network, .. } = open(path, self.activations.given(), common)?;
        Ok((model, network))
    }

    /// The named network with its weights on a device, its inputs rounded if that was asked for.
    pub(super) fn load(&self, backend: &Backend, common: &Common) -> Result<Loaded> {
        let loaded = self.load_exact(&self.model, backend, common)?;
        Ok(self.int8.apply(loaded, &self.model, common))
    }

    /// Another network, to compare with: its inputs are never rounded.
    pub(super) fn load_exact(
        &self,
        path: &Path,
        backend: &Backend,
        common: &Common,
    ) -> Result<Loaded> {
        let (model, network) = self.read(path, common)?;
        Loaded::new(backend, &model, network)
    }

    /// Whether inputs of quantized layers are to be rounded.
    pub(super) fn int8_activations(&self) -> bool {
        self.int8.allowed()
    }

    /// What `compress` is given to describe the network with the same activations.
    pub(super) fn description(&self) -> Vec<String> {
        let Some(given) = self.activations.given() else { return vec![] };
        let list: Vec<String> = given.iter().map(ToString::to_string).collect();
        vec!["--activations".to_owned(), list.join(",")]
    }

    pub(super) fn batch_size(&self) -> usize {
        self.batch_size as usize
    }
}

/// What a model that is written says about its network.
#[derive(Default)]
pub(super) struct Description {
    /// For the metadata; empty where there is nothing to say, or nothing new.
    pub metadata: Metadata,
    /// What was inferred.
    inferred: Option<String>,
}

impl Description {
    /// Of the network that the tensors of `model` are, as far as that can be told, with the
    /// activations that are given. A description that is there is carried over as it is.
    pub(super) fn new(model: &Model, activations: &Activations) -> Result<Self> {
        let given = activations.given();
        let (network, origin) = match Network::read(model, given) {
            Ok(read) => read,
            // Most models are no such networks.
            Err(_) if given.is_none() => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let described = matches!(origin, Origin::Described(_));
        if given.is_none() && (described || is_of_other_kind(model)) {
            return Ok(Self::default());
        }
        let metadata = Metadata::from([(Network::KEY.to_owned(), network.to_json())]);
        let inferred = given.is_none().then(|| network.to_string().replace('\n', "; "));
        Ok(Self { metadata, inferred })
    }

    /// Says what was written that nobody gave.
    pub(super) fn tell(&self, common: &Common) {
        if let Some(layers) = &self.inferred {
            let text = format!(
                "inferred the network and wrote it into the metadata: {layers}; --activations \
                 changes it"
            );
            output::note(common, &text);
        }
    }
}

/// Whether a configuration says that another program knows what the tensors are.
fn is_of_other_kind(model: &Model) -> bool {
    let says = |key| model.config().is_some_and(|config| config.get(key).is_some());
    says("model_type") || says("architectures")
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
