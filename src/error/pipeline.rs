use std::fmt;

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its line.
    pub line: usize,
    /// Its character in the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a recipe cannot be followed. Every message says where and what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PipelineProblem {
    /// Text that is no TOML.
    #[error("{place}: not valid TOML: {reason}; correct it")]
    Syntax {
        /// Where.
        place: Place,
        /// The parser's words.
        reason: String,
    },
    /// A key that means nothing there.
    #[error("{place}: {owner} has no {key:?}; it takes {known}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// Whose key it would be.
        owner: String,
        /// The key.
        key: String,
        /// The keys that there are, comma separated.
        known: String,
    },
    /// A key that must be there.
    #[error("{place}: {owner} lacks {key}; add it, for example {example}")]
    MissingKey {
        /// Where.
        place: Place,
        /// Who lacks it.
        owner: String,
        /// The key.
        key: &'static str,
        /// How it could look.
        example: &'static str,
    },
    /// A value of another type or outside its range, or values that exclude each other.
    #[error("{place}: {owner}: {reason}")]
    Value {
        /// Where.
        place: Place,
        /// Whose value it is.
        owner: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A recipe without steps.
    #[error("there is no [[step]]; begin with one that says do = \"load\" or do = \"train\"")]
    NoSteps,
    /// A name that is taken, or that no file can have.
    #[error("{place}: the name {name:?} {reason}")]
    Name {
        /// Where.
        place: Place,
        /// The name.
        name: String,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// A step that works on nothing.
    #[error(
        "{place}: {owner} needs a network, and no step before it gives one; begin with do = \"load\" or do = \"train\""
    )]
    NoNetwork {
        /// Where.
        place: Place,
        /// The step.
        owner: String,
    },
    /// A step that names another that is not there.
    #[error("{place}: no step before it is called {name:?}; {known}")]
    NoSuchStep {
        /// Where.
        place: Place,
        /// The name.
        name: String,
        /// What there is.
        known: String,
    },
    /// A step without data.
    #[error(
        "{place}: {owner} needs data; give data = \"PATH\" at the top for all steps, or in this one"
    )]
    NoData {
        /// Where.
        place: Place,
        /// The step.
        owner: String,
    },
    /// A step that works on dense weights after one that stores them otherwise.
    #[error("{place}: {owner} needs dense weights, and step {from:?} stores {stored}; {advice}")]
    Stored {
        /// Where.
        place: Place,
        /// The step.
        owner: String,
        /// The step that stores them so.
        from: String,
        /// How they are stored.
        stored: String,
        /// What to do.
        advice: &'static str,
    },
}
