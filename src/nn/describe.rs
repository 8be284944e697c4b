//! A network as JSON in the metadata of a model's file.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::network::{Layer, Network};
use super::read::{Tensors, check_bias, sizes};
use crate::error::{NetworkProblem, Result};
use crate::io::Model;
use crate::scheme::Activation;

/// Version of the form that is written, and the only one that is read.
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u64,
    layers: Vec<DescribedLayer>,
    output: Output,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedLayer {
    name: String,
    weight: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bias: Option<String>,
    activation: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Output {
    Softmax,
    Logits,
}

impl Network {
    /// Key of the description in a safetensors file's `__metadata__`.
    pub const KEY: &str = "network";

    /// The description that [`Network::read`] reads, for [`Network::KEY`] of the metadata.
    ///
    /// ```json
    /// {
    ///   "version": 1,
    ///   "layers": [
    ///     {"name": "fc1", "weight": "fc1.weight", "bias": "fc1.bias", "activation": "relu"},
    ///     {"name": "fc2", "weight": "fc2.weight", "bias": "fc2.bias", "activation": "identity"}
    ///   ],
    ///   "output": "softmax"
    /// }
    /// ```
    ///
    /// `layers` are in the order in which they are applied. `weight` and `bias` name tensors by
    /// their dense names, also where the file holds them compressed; a layer without a bias leaves
    /// `bias` out. Sizes follow from the tensors: a weight is `[outputs, inputs]`, or
    /// `[inputs, outputs]` where its name ends in `kernel`, as Keras stores it. `activation` is
    /// one of [`Activation::KNOWN`]. `output` is `"softmax"` where one follows the last layer's
    /// activation, and `"logits"` where none does. Nothing else is allowed.
    pub fn to_json(&self) -> String {
        let layers = self.layers.iter().map(|layer| DescribedLayer {
            name: layer.name.clone(),
            weight: layer.weight.clone(),
            bias: layer.bias.clone(),
            activation: layer.activation.to_string(),
        });
        let output = if self.softmax { Output::Softmax } else { Output::Logits };
        let description = Description { version: VERSION, layers: layers.collect(), output };
        serde_json::to_string(&description).expect("strings and numbers alone")
    }
}

/// The description that a model holds, with the file that holds it.
pub(super) fn description(model: &Model) -> Result<Option<(&Path, &str)>> {
    let mut found: Option<(&Path, &str)> = None;
    for file in model.shards() {
        let Some(json) = file.metadata().get(Network::KEY) else { continue };
        match found {
            Some((first, known)) if known != json => {
                let name = |path: &Path| path.display().to_string();
                let (first, second) = (name(first), name(file.path()));
                return Err(NetworkProblem::TwoDescriptions { first, second }.into());
            }
            Some(_) => {}
            None => found = Some((file.path(), json)),
        }
    }
    Ok(found)
}

/// The network that `json` describes.
pub(super) fn parse(json: &str, tensors: &Tensors<'_>) -> Result<Network> {
    let description = description_in(json)?;
    let layers = description.layers.into_iter().map(|layer| read_layer(layer, tensors));
    let softmax = matches!(description.output, Output::Softmax);
    let network = Network { layers: layers.collect::<Result<_>>()?, softmax };
    network.check()?;
    Ok(network)
}

/// Names of the weights in the description that a model holds; none where it holds none, or none
/// that can be read.
pub(crate) fn described_weights(model: &Model) -> HashSet<String> {
    let json = description(model).ok().flatten().map(|(_, json)| json);
    let layers = json.and_then(|json| description_in(json).ok()).map(|found| found.layers);
    layers.unwrap_or_default().into_iter().map(|layer| layer.weight).collect()
}

fn description_in(json: &str) -> Result<Description, NetworkProblem> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let invalid = |e: &dyn ToString| NetworkProblem::Description { reason: e.to_string() };
    // First, because a later version may have other fields.
    let Version { version } = serde_json::from_str(json).map_err(|e| invalid(&e))?;
    if version != VERSION {
        return Err(NetworkProblem::Version { found: version });
    }
    serde_json::from_str(json).map_err(|e| invalid(&in_layer(json).unwrap_or(e.to_string())))
}

/// The error in the first layer that is not valid, with its name, which the parser does not know.
fn in_layer(json: &str) -> Option<String> {
    let json: Value = serde_json::from_str(json).ok()?;
    json.get("layers")?.as_array()?.iter().enumerate().find_map(|(number, layer)| {
        let error = DescribedLayer::deserialize(layer).err()?;
        let name = match layer.get("name") {
            Some(Value::String(name)) => format!("{name:?}"),
            _ => format!("number {}", number + 1),
        };
        Some(format!("layer {name}: {error}"))
    })
}

fn read_layer(layer: DescribedLayer, tensors: &Tensors<'_>) -> Result<Layer> {
    let DescribedLayer { name, weight, bias, activation } = layer;
    let Ok(activation) = activation.parse::<Activation>() else {
        return Err(NetworkProblem::Activation { layer: name, wanted: activation }.into());
    };
    let find = |part, tensor: &str| {
        tensors.get(tensor).copied().ok_or_else(|| {
            let (layer, tensor) = (name.clone(), tensor.to_owned());
            NetworkProblem::MissingTensor { layer, part, tensor }
        })
    };
    let (inputs, outputs) = sizes(&name, find("weight", &weight)?)?;
    if let Some(bias) = &bias {
        check_bias(&name, find("bias", bias)?, outputs)?;
    }
    Ok(Layer { name, weight, bias, inputs, outputs, activation })
}
