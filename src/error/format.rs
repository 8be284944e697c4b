use super::{ArrayProblem, NetworkProblem, PipelineProblem};
use crate::tensor::DType;

/// What is wrong with a file's content. Every message ends in what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum FormatProblem {
    /// A byte count that does not match shape and type.
    #[error(
        "shape {shape:?} of {dtype} does not take {bytes} bytes; the file is damaged, fetch it again"
    )]
    ShapeSize {
        /// The shape.
        shape: Vec<usize>,
        /// The element type.
        dtype: DType,
        /// The bytes that are there.
        bytes: u64,
    },
    /// A weight that is NaN or infinite.
    #[error(
        "tensor {tensor:?}: element {index} is {value} ({count} non-finite in all); repair the model, or compress it as it is with --allow-non-finite"
    )]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Row-major index of the first one.
        index: u64,
        /// The first one.
        value: f32,
        /// How many there are.
        count: u64,
    },
    /// A value of a matrix that an operation cannot take.
    #[error("{what}: row {row}, column {column} is {value}; it must be {expected}")]
    Value {
        /// Which matrix.
        what: &'static str,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
    /// A row of logits that leaves nothing to choose from.
    #[error("logits: every column of row {row} is -inf (masked); leave at least one")]
    MaskedRow {
        /// The row.
        row: usize,
    },
    /// The file has no bytes.
    #[error("the file is empty; fetch it again")]
    Empty,
    /// A pointer that Git LFS left instead of the file.
    #[error("this is a Git LFS pointer, not the file; run `git lfs pull` where it was cloned")]
    LfsPointer,
    /// A file of another kind.
    #[error("this is a {kind} file, not safetensors; {advice}")]
    OtherFormat {
        /// Which kind.
        kind: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Too short to hold the length of a header.
    #[error("the file has {bytes} bytes, too few for a safetensors file; fetch it again")]
    TooShort {
        /// Bytes that are there.
        bytes: u64,
    },
    /// A header over the format's limit.
    #[error(
        "the header claims {bytes} bytes and the format allows {limit}; this is no safetensors file, or it is damaged: fetch it again"
    )]
    HeaderTooLong {
        /// Bytes claimed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A header that goes beyond the end.
    #[error(
        "the header claims {header} bytes and the file has {file}; the download was cut off, fetch it again"
    )]
    HeaderBeyondEnd {
        /// Bytes claimed.
        header: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// A header that is not JSON of the right form.
    #[error("the header is not valid: {reason}; the file is damaged, fetch it again")]
    HeaderSyntax {
        /// The parser's words.
        reason: String,
    },
    /// Two tensors of one name.
    #[error(
        "the name {name:?} occurs twice in the header; other readers would use either, write the file again with distinct names"
    )]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An element type that nobody knows.
    #[error("tensor {tensor:?} has the unknown type {dtype:?}; a newer tensorpress may know it")]
    UnknownType {
        /// The tensor.
        tensor: String,
        /// The type's name.
        dtype: String,
    },
    /// A shape whose size overflows.
    #[error(
        "tensor {tensor:?}: shape {shape:?} is too large for any file; the file is damaged, fetch it again"
    )]
    ShapeOverflow {
        /// The tensor.
        tensor: String,
        /// The shape.
        shape: Vec<u64>,
    },
    /// Offsets that do not match the shape.
    #[error(
        "tensor {tensor:?}: shape {shape:?} of {dtype} takes {expected} bytes and its offsets span {found}; the file is damaged, fetch it again"
    )]
    TensorSize {
        /// The tensor.
        tensor: String,
        /// The shape.
        shape: Vec<usize>,
        /// The element type.
        dtype: DType,
        /// Bytes of the shape.
        expected: u64,
        /// Bytes of the offsets.
        found: u64,
    },
    /// Offsets that leave a hole, overlap, or run backwards.
    #[error(
        "tensor {tensor:?} begins at byte {found} of the data and the one before it ends at {expected}; the file has a hole or an overlap, write it again"
    )]
    Offsets {
        /// The tensor.
        tensor: String,
        /// Where the data before it ends.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// More or fewer bytes than the header describes.
    #[error(
        "the header describes {expected} bytes of data and the file has {found}; the download was cut off or the file is damaged, fetch it again"
    )]
    DataSize {
        /// Bytes described.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// A directory without a model.
    #[error(
        "no model in this directory: it has neither model.safetensors.index.json nor exactly one .safetensors file; give the file itself"
    )]
    NoModel,
    /// JSON that does not parse, or is not of the right form.
    #[error("not valid JSON of the expected form: {reason}; fetch it again")]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// A shard whose name would leave the directory.
    #[error(
        "the index names the shard {name:?}, which is not a plain .safetensors file name; do not trust this model"
    )]
    ShardName {
        /// The name.
        name: String,
    },
    /// A shard that is not there.
    #[error("the index names the shard {name:?}, which is not there; fetch it too")]
    MissingShard {
        /// The name.
        name: String,
    },
    /// A tensor that the index promises and the shard lacks.
    #[error(
        "the index places tensor {tensor:?} in {shard:?}, which lacks it; fetch the model again"
    )]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A tensor of a shard that the index does not know there.
    #[error(
        "{shard:?} holds tensor {tensor:?}, which the index does not place there; fetch the model again"
    )]
    UnindexedTensor {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Compressed tensors that do not fit together, or whose scheme is not known here.
    #[error("tensor {tensor:?}: {reason}")]
    Compressed {
        /// The tensor.
        tensor: String,
        /// What does not fit, and what to do.
        reason: &'static str,
    },
    /// A history of a training that does not parse.
    #[error("no history of a training, line {line}: {reason}; remove the file to begin a new one")]
    History {
        /// Where in the file, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A model that is no network that can be run.
    #[error(transparent)]
    Network(#[from] NetworkProblem),
    /// A recipe that cannot be followed.
    #[error(transparent)]
    Pipeline(Box<PipelineProblem>),
    /// A file of numbers that is not valid, or does not fit its use.
    #[error(transparent)]
    Array(#[from] ArrayProblem),
}
