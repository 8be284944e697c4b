//! The network that a model holds.

use std::collections::HashMap;
use std::fmt;

use super::network::Network;
use super::{describe, infer};
use crate::error::{NetworkProblem, Result};
use crate::io::Model;
use crate::scheme::Activation;
use crate::stored::{Catalog, StoredTensor};
use crate::tensor::FloatType;

/// How it is known what a network is, with an explanation to print: a heading, and below it one
/// line a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The model describes it.
    Described(String),
    /// It was inferred from the names and shapes of the tensors.
    Inferred(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Described(explanation) | Self::Inferred(explanation)) = self;
        f.write_str(explanation)
    }
}

impl Network {
    /// The network that `model` holds, dense or compressed.
    ///
    /// Where the metadata of a file of the model describes it (see [`Network::to_json`]), that is
    /// what it is. Otherwise it is inferred: every tensor must be the weight of a dense layer, with
    /// two dimensions and a name that ends in `.weight` or `/kernel`, or the bias beside it. Layers
    /// follow each other in the natural order of their names (`fc2` before `fc10`), or, where that
    /// does not chain and exactly one other order does, in that one. A relu is between the layers
    /// and a softmax at the end.
    ///
    /// `activations` replace those: one a layer, where the last replaces the softmax too, or one
    /// less, where the end of the network stays as it is.
    ///
    /// # Errors
    /// [`NetworkProblem`] where there is no such network, [`FormatProblem::Compressed`](crate::error::FormatProblem::Compressed) where
    /// compressed tensors cannot be read, and [`crate::error::UsageError::ActivationCount`].
    pub fn read(model: &Model, activations: Option<&[Activation]>) -> Result<(Self, Origin)> {
        let catalog = Catalog::new(model)?;
        catalog.check_understood().map_err(|e| e.in_file(model.root()))?;
        let tensors = by_name(&catalog);
        let description = describe::description(model).map_err(|e| e.in_file(model.root()))?;
        let (mut network, mut heading) = match description {
            Some((path, json)) => {
                let network = describe::parse(json, &tensors).map_err(|e| e.in_file(path))?;
                (network, "described in the metadata".to_owned())
            }
            None => infer::infer(&catalog, &tensors).map_err(|e| e.in_file(model.root()))?,
        };
        if let Some(activations) = activations {
            network.set_activations(activations)?;
            heading += ", with the activations that were given";
        }
        let explanation = format!("{heading}:\n{network}");
        let origin = match description {
            Some(_) => Origin::Described(explanation),
            None => Origin::Inferred(explanation),
        };
        Ok((network, origin))
    }
}

/// The tensors of a model by their dense names.
pub(super) type Tensors<'a> = HashMap<&'a str, &'a StoredTensor>;

/// Each name is there once: the catalog refuses the others.
fn by_name(catalog: &Catalog) -> Tensors<'_> {
    catalog.tensors.iter().map(|tensor| (&*tensor.name, tensor)).collect()
}

/// Inputs and outputs of the layer whose weight `tensor` is.
pub(super) fn sizes(layer: &str, tensor: &StoredTensor) -> Result<(usize, usize)> {
    match (tensor.weight(), &tensor.shape[..]) {
        (Some(weight), [first, second]) if *first > 0 && *second > 0 => {
            Ok((weight.cols, weight.rows))
        }
        _ => Err(NetworkProblem::Weight {
            layer: layer.to_owned(),
            tensor: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype.name(),
        }
        .into()),
    }
}

/// Fails unless `tensor` can be the bias of a layer of so many outputs.
pub(super) fn check_bias(layer: &str, tensor: &StoredTensor, outputs: usize) -> Result<()> {
    if tensor.shape == [outputs] && FloatType::from_dtype(tensor.dtype).is_some() {
        return Ok(());
    }
    Err(NetworkProblem::Bias {
        layer: layer.to_owned(),
        tensor: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype.name(),
        outputs,
    }
    .into())
}
