use super::first_of;
use crate::scheme::Activation;

/// Why a model is no network that can be run. Every message ends in what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NetworkProblem {
    /// A description that is not JSON of the right form.
    #[error(
        "the description of the network (metadata key \"network\") is not valid: {reason}; correct it, or remove it to have the network inferred"
    )]
    Description {
        /// The parser's words.
        reason: String,
    },
    /// A description of another version.
    #[error(
        "the description of the network has version {found} and version 1 was expected; a newer tensorpress may know it"
    )]
    Version {
        /// The version that it gives.
        found: u64,
    },
    /// Two files of a model that describe it differently.
    #[error(
        "{first:?} and {second:?} describe different networks; keep one description in the metadata"
    )]
    TwoDescriptions {
        /// One file.
        first: String,
        /// Another.
        second: String,
    },
    /// A description without layers.
    #[error("the network has no layers; describe one at least")]
    NoLayers,
    /// An activation that nobody knows.
    #[error(
        "layer {layer:?} has the unknown activation {wanted:?}; there are {}",
        Activation::KNOWN
    )]
    Activation {
        /// The layer.
        layer: String,
        /// What it asks for.
        wanted: String,
    },
    /// Two layers of one name.
    #[error("two layers are called {layer:?}; give each its own name")]
    DuplicateLayer {
        /// The name.
        layer: String,
    },
    /// A tensor that is used twice.
    #[error(
        "layer {layer:?} uses the tensor {tensor:?}, which is used already; give each layer its own tensors"
    )]
    SharedTensor {
        /// The second layer that uses it.
        layer: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that a layer names and the model lacks.
    #[error(
        "layer {layer:?} wants the {part} {tensor:?}, and the model has no tensor of this name; see `tensorpress inspect` for the names there are"
    )]
    MissingTensor {
        /// The layer.
        layer: String,
        /// "weight" or "bias".
        part: &'static str,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that cannot be the weight of a dense layer.
    #[error(
        "layer {layer:?}: the weight {tensor:?} has shape {shape:?} of {dtype}, and two dimensions of at least 1, of F32, F16 or BF16, were expected; only dense layers can be run"
    )]
    Weight {
        /// The layer.
        layer: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its element type.
        dtype: &'static str,
    },
    /// A tensor that cannot be the bias of its layer.
    #[error(
        "layer {layer:?} gives {outputs} outputs, so that its bias {tensor:?} was expected to have shape [{outputs}] of F32, F16 or BF16; it has {shape:?} of {dtype}; repair the model"
    )]
    Bias {
        /// The layer.
        layer: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its element type.
        dtype: &'static str,
        /// Outputs of the layer.
        outputs: usize,
    },
    /// A layer without inputs or outputs.
    #[error(
        "layer {layer:?} has {inputs} inputs and {outputs} outputs; it must have 1 at least of both"
    )]
    NoSize {
        /// The layer.
        layer: String,
        /// Its inputs.
        inputs: usize,
        /// Its outputs.
        outputs: usize,
    },
    /// Layers that do not fit each other.
    #[error(
        "layer {layer:?} gives {outputs} outputs and the next, {next:?}, wants {inputs} inputs; put the layers in an order in which these agree"
    )]
    Chain {
        /// The first of the two.
        layer: String,
        /// Its outputs.
        outputs: usize,
        /// The second.
        next: String,
        /// Its inputs.
        inputs: usize,
    },
    /// Weights whose order cannot be told from names and shapes.
    #[error(
        "the network cannot be inferred: by their names, layer {layer:?} gives {outputs} outputs and the next, {next:?}, wants {inputs} inputs, and {others}; describe the network in the metadata (key \"network\"; FORMAT.md shows how)"
    )]
    Order {
        /// The first of the two.
        layer: String,
        /// Its outputs.
        outputs: usize,
        /// The second.
        next: String,
        /// Its inputs.
        inputs: usize,
        /// What came of other orders.
        others: &'static str,
    },
    /// A model without tensors.
    #[error("the model has no tensors, so no network; give another file")]
    NoTensors,
    /// Tensors that belong to no dense layer.
    #[error(
        "the network cannot be inferred: {} of its tensors {} no part of a chain of dense layers: {}; only such chains can be run; if the model holds one, describe it in the metadata (key \"network\"; FORMAT.md shows how)",
        .tensors.len(),
        if .tensors.len() == 1 { "is" } else { "are" },
        first_of(.tensors)
    )]
    Foreign {
        /// Each with its shape and type, and what it seems to be.
        tensors: Vec<String>,
    },
}
