use crate::scheme::Activation;

/// A request that contradicts itself or does not fit the model.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A value outside its range.
    #[error("{what} is {value}; it must be {expected}")]
    OutOfRange {
        /// Which argument.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Two arguments that exclude each other, or one that needs another.
    #[error("{first} does not go with {second}; {advice}")]
    Conflict {
        /// One argument.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A recipe that changes nothing.
    #[error(
        "nothing to do; give --keep-neurons, --sparsity, --threshold, --threshold-ratio, --nm, --quantize or --format sparse-bitmask"
    )]
    NothingToDo,
    /// Neurons are to go from a model that is no network.
    #[error(
        "--keep-neurons removes neurons from the hidden layers of a chain of dense layers: {reason}"
    )]
    NoNetwork {
        /// Why the model is none, and what to do.
        reason: String,
    },
    /// Neurons are to go from a network that has none but its outputs.
    #[error(
        "--keep-neurons removes neurons from hidden layers, and the only layer of this network gives its outputs; leave --keep-neurons out"
    )]
    NoHiddenLayer,
    /// A selection that selects nothing.
    #[error(
        "no tensor is selected: of {tensors}, {matched} match by name and none of these is a two-dimensional f32, f16 or bf16 weight; see `tensorpress inspect` and --include"
    )]
    NothingSelected {
        /// Tensors in the model.
        tensors: usize,
        /// Those whose name matches.
        matched: usize,
    },
    /// A selection of which no weight can be quantized in groups.
    #[error(
        "the group size {group} divides the rows of no selected weight; choose another --group-size, or --on-indivisible channel"
    )]
    AllSkipped {
        /// The group size.
        group: usize,
    },
    /// A regular expression that does not parse.
    #[error("{argument} {pattern:?} is not a regular expression: {reason}")]
    Pattern {
        /// Which argument.
        argument: &'static str,
        /// The expression.
        pattern: String,
        /// Where it fails.
        reason: String,
    },
    /// Rows that are not whole groups.
    #[error(
        "the group size {group} does not divide the rows of {}; choose another --group-size, or --on-indivisible channel or skip",
        list(.tensors)
    )]
    Indivisible {
        /// The group size.
        group: usize,
        /// Each such tensor with the width of its rows.
        tensors: Vec<(String, usize)>,
    },
    /// The model is compressed already.
    #[error(
        "the model is compressed already ({format}); start from the original weights, or run `tensorpress decompress` first"
    )]
    AlreadyCompressed {
        /// Which format.
        format: String,
    },
    /// A model without anything to decompress.
    #[error("there is nothing to decompress: {}", not_compressed(.format.as_deref()))]
    NotCompressed {
        /// What the model calls its format, where it says that it is compressed.
        format: Option<String>,
    },
    /// A new tensor would take the name of one that is there.
    #[error("the output needs the name {name:?} twice; leave one of the two out with --exclude")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No operation has this name.
    #[error("no operation {wanted:?}; there are {available}")]
    UnknownOperation {
        /// What was asked for.
        wanted: String,
        /// What there is, comma separated.
        available: String,
    },
    /// No step of the recipe has this name.
    #[error("the recipe has no step {wanted:?}; it has {available}")]
    UnknownStep {
        /// What was asked for.
        wanted: String,
        /// What there is, comma separated.
        available: String,
    },
    /// No activation has this name.
    #[error("no activation {wanted:?}; there are {}", Activation::KNOWN)]
    UnknownActivation {
        /// What was asked for.
        wanted: String,
    },
    /// Nothing of some kind has this name.
    #[error("no {what} {wanted:?}; there are {known}")]
    UnknownName {
        /// The kind.
        what: &'static str,
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: &'static str,
    },
    /// A schedule that does not parse or contradicts itself.
    #[error("the schedule {given:?} cannot be followed: {problem}; {form}")]
    Schedule {
        /// The schedule.
        given: String,
        /// What is wrong.
        problem: String,
        /// What can be written.
        form: &'static str,
    },
    /// Batches that the rows of a data set do not fill.
    #[error(
        "batches of {size} cannot be made of {rows} rows; choose a --batch-size from 1 to {rows}, or give more data"
    )]
    BatchSize {
        /// Rows of a batch.
        size: usize,
        /// Rows of the data set.
        rows: usize,
    },
    /// A split that leaves one side without rows.
    #[error(
        "--validation-split {share} of {rows} rows leaves no row on one side; choose another share, or give more data"
    )]
    ValidationSplit {
        /// The share that is kept back.
        share: f64,
        /// Rows of the data set.
        rows: usize,
    },
    /// As many activations as fit neither the layers nor the places between them.
    #[error(
        "{given} activations for a network of {layers} layers; give {}, one between each two layers, or {layers}, the last for the outputs",
        .layers.saturating_sub(1)
    )]
    ActivationCount {
        /// How many were given.
        given: usize,
        /// Layers of the network.
        layers: usize,
    },
}

fn not_compressed(format: Option<&str>) -> String {
    match format {
        None => "the model is dense already".to_owned(),
        Some(format) => format!(
            "the model is {format}, and tensorpress reads pack-quantized, int-quantized and \
             naive-quantized integers, sparse-bitmask and sparse-bitmask-quantized"
        ),
    }
}

fn list(tensors: &[(String, usize)]) -> String {
    let each = tensors.iter().map(|(name, width)| format!("{name} ({width} wide)"));
    each.collect::<Vec<_>>().join(", ")
}
