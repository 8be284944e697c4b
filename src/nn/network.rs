//! What a network is.

use std::collections::HashSet;
use std::fmt;

use crate::error::{NetworkProblem, Result, UsageError};
use crate::scheme::Activation;
use crate::stored::plain;

/// A chain of dense layers: each takes what the one before it gives.
///
/// Printed, it takes one line a layer: name, inputs → outputs, activation.
///
/// ```
/// use tensorpress::nn::Network;
/// use tensorpress::scheme::Activation;
///
/// let network = Network::new()
///     .dense("fc1", 784, 100, Activation::Relu)?
///     .dense("fc2", 100, 10, Activation::Identity)?
///     .softmax();
/// assert_eq!(network.to_string(), "fc1: 784 → 100, relu\nfc2: 100 → 10, softmax");
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// In the order in which they are applied.
    pub layers: Vec<Layer>,
    /// Whether a softmax follows the last layer's activation. The logits are what is there before
    /// it.
    pub softmax: bool,
}

/// A dense layer: `activation(x · weightᵀ + bias)`, from `[batch, inputs]` to `[batch, outputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its own name, unlike those of the other layers.
    pub name: String,
    /// Name of the tensor `[outputs, inputs]`; a Keras kernel is stored `[inputs, outputs]`.
    pub weight: String,
    /// Name of the tensor `[outputs]`, where there is one.
    pub bias: Option<String>,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
    /// What is applied to each output.
    pub activation: Activation,
}

impl Network {
    /// A network without layers, whose output are logits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dense layer with the tensors `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// [`NetworkProblem`]: `inputs` is not the number of outputs of the layer before, one of the
    /// two is 0, or the name is taken.
    pub fn dense(
        mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        activation: Activation,
    ) -> Result<Self> {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let (name, bias) = (name.to_owned(), Some(bias));
        self.layers.push(Layer { name, weight, bias, inputs, outputs, activation });
        self.check()?;
        Ok(self)
    }

    /// Ends the network in a softmax.
    #[must_use]
    pub fn softmax(self) -> Self {
        Self { softmax: true, ..self }
    }

    /// Features that the first layer takes; 0 without layers.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Features that the last layer gives; 0 without layers.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// Fails unless there are layers, which have distinct names and tensors, and sizes that fit
    /// each other.
    ///
    /// # Errors
    /// [`NetworkProblem`].
    pub fn check(&self) -> Result<()> {
        if self.layers.is_empty() {
            return Err(NetworkProblem::NoLayers.into());
        }
        let (mut names, mut tensors) = (HashSet::new(), HashSet::new());
        for layer in &self.layers {
            let Layer { name, inputs, outputs, .. } = layer;
            if !names.insert(name) {
                return Err(NetworkProblem::DuplicateLayer { layer: name.clone() }.into());
            }
            if *inputs == 0 || *outputs == 0 {
                let (layer, inputs, outputs) = (name.clone(), *inputs, *outputs);
                return Err(NetworkProblem::NoSize { layer, inputs, outputs }.into());
            }
            for tensor in [Some(&layer.weight), layer.bias.as_ref()].into_iter().flatten() {
                if !tensors.insert(tensor) {
                    let (layer, tensor) = (name.clone(), tensor.clone());
                    return Err(NetworkProblem::SharedTensor { layer, tensor }.into());
                }
            }
        }
        match self.break_in_chain() {
            Some((layer, next)) => Err(NetworkProblem::Chain {
                layer: layer.name.clone(),
                outputs: layer.outputs,
                next: next.name.clone(),
                inputs: next.inputs,
            }
            .into()),
            None => Ok(()),
        }
    }

    /// The first two neighbours that do not fit each other.
    pub(super) fn break_in_chain(&self) -> Option<(&Layer, &Layer)> {
        let pairs = self.layers.windows(2).map(|pair| (&pair[0], &pair[1]));
        pairs.into_iter().find(|(layer, next)| layer.outputs != next.inputs)
    }

    /// Replaces the activations: all of them, and the softmax with the last, or those between the
    /// layers.
    pub(super) fn set_activations(&mut self, activations: &[Activation]) -> Result<()> {
        let (given, layers) = (activations.len(), self.layers.len());
        if given != layers && given + 1 != layers {
            return Err(UsageError::ActivationCount { given, layers }.into());
        }
        for (layer, activation) in self.layers.iter_mut().zip(activations) {
            layer.activation = *activation;
        }
        self.softmax &= given != layers;
        Ok(())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, layer) in self.layers.iter().enumerate() {
            let Layer { name, inputs, outputs, activation, .. } = layer;
            let last = number + 1 == self.layers.len();
            // Names in a file are anybody's words: one line a layer, whatever they hold.
            write!(f, "{}: {inputs} → {outputs}, ", plain(name))?;
            match (last && self.softmax, activation) {
                (true, Activation::Identity) => write!(f, "softmax")?,
                (true, activation) => write!(f, "{activation}, softmax")?,
                (false, activation) => write!(f, "{activation}")?,
            }
            if !last {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
