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
        "tensor {tensor:?}: element {index} is {value} ({count} non-finite in all); repair the model or pass --allow-non-finite"
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
    /// Compressed tensors that do not fit together, or whose scheme is not known here.
    #[error("tensor {tensor:?}: {reason}")]
    Compressed {
        /// The tensor.
        tensor: String,
        /// What does not fit, and what to do.
        reason: &'static str,
    },
}
