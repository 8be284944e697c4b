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
}
