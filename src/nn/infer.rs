//! A network from the names and shapes of tensors.

use std::collections::HashSet;

use super::network::{Layer, Network};
use super::order::{Orders, natural, orders};
use super::read::{Tensors, check_bias, sizes};
use crate::error::{NetworkProblem, Result};
use crate::scheme::Activation;
use crate::stored::{Catalog, StoredTensor, is_embedding, parts};
use crate::tensor::FloatType;

/// The chain of dense layers that all tensors together are, and how it was found.
pub(super) fn infer(catalog: &Catalog, tensors: &Tensors<'_>) -> Result<(Network, String)> {
    if catalog.tensors.is_empty() {
        return Err(NetworkProblem::NoTensors.into());
    }
    let weights = catalog.tensors.iter().filter(|tensor| is_dense_weight(tensor));
    let layers: Vec<Layer> = weights.map(|weight| layer(weight, tensors)).collect::<Result<_>>()?;
    check_complete(catalog, &layers)?;
    let mut network = Network { layers, softmax: true };
    let heading = network.put_in_order()?;
    let between = network.layers.len() - 1;
    for layer in &mut network.layers[..between] {
        layer.activation = Activation::Relu;
    }
    network.check()?;
    Ok((network, heading))
}

/// Whether a tensor is the weight of a dense layer, as far as name, dimensions and type say.
fn is_dense_weight(tensor: &StoredTensor) -> bool {
    is_weight(&tensor.name)
        && tensor.shape.len() == 2
        && FloatType::from_dtype(tensor.dtype).is_some()
        && !is_embedding(&tensor.name)
}

fn is_weight(name: &str) -> bool {
    matches!(parts(name).next_back(), Some("weight" | "kernel"))
}

/// The layer of a weight, with the bias beside it.
fn layer(weight: &StoredTensor, tensors: &Tensors<'_>) -> Result<Layer> {
    let tensor = &weight.name;
    let stem = tensor.strip_suffix("weight").or_else(|| tensor.strip_suffix("kernel"));
    let stem = stem.unwrap_or_default();
    // A layer that was stored alone has no name of its own.
    let name = stem.strip_suffix(['.', '/']).unwrap_or(tensor).to_owned();
    let (inputs, outputs) = sizes(&name, weight)?;
    let bias = tensors.get(&*format!("{stem}bias"));
    if let Some(bias) = bias {
        check_bias(&name, bias, outputs)?;
    }
    let (weight, bias) = (tensor.clone(), bias.map(|bias| bias.name.clone()));
    Ok(Layer { name, weight, bias, inputs, outputs, activation: Activation::Identity })
}

/// Fails where a tensor belongs to no layer: without it, it would be another network.
fn check_complete(catalog: &Catalog, layers: &[Layer]) -> Result<()> {
    let own: HashSet<&String> = layers
        .iter()
        .flat_map(|layer| [Some(&layer.weight), layer.bias.as_ref()])
        .flatten()
        .collect();
    let foreign = catalog.tensors.iter().filter(|tensor| !own.contains(&tensor.name));
    let tensors: Vec<String> = foreign
        .map(|t| format!("{:?} {:?} {} ({})", t.name, t.shape, t.dtype.name(), seems(t)))
        .collect();
    if tensors.is_empty() { Ok(()) } else { Err(NetworkProblem::Foreign { tensors }.into()) }
}

/// What a tensor that belongs to no dense layer seems to be.
fn seems(tensor: &StoredTensor) -> &'static str {
    match (parts(&tensor.name).next_back(), tensor.shape.len()) {
        _ if FloatType::from_dtype(tensor.dtype).is_none() => "not F32, F16 or BF16",
        (Some("bias"), _) => "a bias without a dense weight",
        _ if !is_weight(&tensor.name) => "neither a weight nor a bias by its name",
        (_, 0 | 1) => "a norm or a scale",
        (_, 2) => "an embedding",
        _ => "a convolution",
    }
}

impl Network {
    /// Whether the names tell the order, so that it is inferred again whatever the sizes are.
    pub(crate) fn is_named_in_order(&self) -> bool {
        self.layers.is_sorted_by(|a, b| natural(&a.name, &b.name).is_le())
    }

    /// Orders the layers by name, or else by what chains.
    fn put_in_order(&mut self) -> Result<String> {
        self.layers.sort_by(|a, b| natural(&a.name, &b.name));
        let Some((layer, next)) = self.break_in_chain() else {
            return Ok("inferred from the names and shapes of the tensors".to_owned());
        };
        let sizes: Vec<_> = self.layers.iter().map(|l| (l.inputs, l.outputs)).collect();
        let others = match orders(&sizes) {
            Orders::One(order) => {
                self.layers = order.into_iter().map(|place| self.layers[place].clone()).collect();
                return Ok("inferred from the shapes of the tensors, in the only order in which \
                           the layers fit each other"
                    .to_owned());
            }
            Orders::None => "they fit each other in no other order",
            Orders::Several => "they fit each other in several other orders",
            Orders::Untried => "they are too many to try other orders",
        };
        Err(NetworkProblem::Order {
            layer: layer.name.clone(),
            outputs: layer.outputs,
            next: next.name.clone(),
            inputs: next.inputs,
            others,
        }
        .into())
    }
}
