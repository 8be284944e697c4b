/// What is wrong with a file of numbers. Every message says what was expected and what was found.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ArrayProblem {
    /// A file of none of the known kinds.
    #[error(
        "this is no array that tensorpress reads: its first bytes are {found:02x?}; it reads .npy, .npz, .safetensors and IDX, the first and the last also gzipped"
    )]
    Kind {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// A header that does not parse.
    #[error("the {kind} header is not valid: {reason}; write the file again")]
    Header {
        /// Which format.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An array of Python objects.
    #[error(
        "the array holds pickled Python objects ({descr}), which are programs and are not read; save it with a number type, as in numpy.save(path, array.astype('float32'))"
    )]
    Pickled {
        /// The type as the header names it.
        descr: String,
    },
    /// A type without meaning here.
    #[error(
        "the array's type is {found:?} and numbers were expected: float16, float32, float64, bool or integers"
    )]
    Type {
        /// The type as the file names it.
        found: String,
    },
    /// Data that do not unpack.
    #[error(
        "the data cannot be unpacked ({reason}); the file is cut off or damaged, fetch it again"
    )]
    Unpack {
        /// What is wrong.
        reason: String,
    },
    /// A zip file that cannot be opened.
    #[error("the npz archive cannot be read: {reason}; save it again with numpy.savez")]
    Archive {
        /// What is wrong.
        reason: String,
    },
    /// Labels that are no whole numbers.
    #[error(
        "the labels are floating point numbers and whole numbers were expected; save them as integers, as in y.astype('int64')"
    )]
    FloatLabels,
    /// Fewer or more bytes than the shape takes.
    #[error(
        "shape {shape:?} takes {expected} bytes of data and the file has {}{found}; the file is cut off or damaged, fetch it again",
        if *.more { "more than " } else { "" }
    )]
    Size {
        /// The shape.
        shape: Vec<u64>,
        /// Bytes of the shape.
        expected: u64,
        /// Bytes that are there.
        found: u64,
        /// Whether there are more.
        more: bool,
    },
    /// A shape too large for memory.
    #[error(
        "shape {shape:?} is larger than the {limit} bytes that are {} at once; {}",
        if *.packed { "unpacked from a file of this size" } else { "read" },
        if *.packed { "if it is meant, store it without compression" } else { "split the file" }
    )]
    TooLarge {
        /// The shape.
        shape: Vec<u64>,
        /// Bytes that are read at most.
        limit: u64,
        /// Whether they are unpacked from fewer.
        packed: bool,
    },
    /// An integer beyond 64 bits with sign.
    #[error("element {index} is {value}, beyond what a 64-bit integer with a sign holds")]
    Integer {
        /// Which one.
        index: usize,
        /// Its value.
        value: u64,
    },
    /// Several arrays and no name, or a name that is not there.
    #[error("expected {}; the file holds {available}", asked_for(.wanted.as_deref()))]
    Name {
        /// The name that was asked for.
        wanted: Option<String>,
        /// The names that are there, comma separated.
        available: String,
    },
    /// Shapes that do not fit the use.
    #[error("{what} has shape {found:?}; expected {expected}")]
    Shape {
        /// Which array.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected.
        expected: String,
    },
    /// As many labels as there are no inputs.
    #[error("there are {inputs} inputs and {labels} labels; a label for each input was expected")]
    Counts {
        /// Rows of inputs.
        inputs: usize,
        /// Labels.
        labels: usize,
    },
    /// A label that is no class.
    #[error("label {index} is {value}; expected a whole number from 0 to {}", .classes.saturating_sub(1))]
    Label {
        /// Which label.
        index: usize,
        /// Its value.
        value: String,
        /// How many classes there are.
        classes: usize,
    },
    /// A label that is no class of any network.
    #[error(
        "label {index} is {value}; expected the number of a class, from 0 to one less than the \
         network has outputs"
    )]
    NoLabel {
        /// Which label.
        index: usize,
        /// Its value.
        value: String,
    },
    /// Nothing to work on.
    #[error("there are no rows; at least one was expected")]
    Empty,
}

fn asked_for(name: Option<&str>) -> String {
    match name {
        None => "one array, or one of them to be chosen with --name".to_owned(),
        Some(name) => format!("an array {name:?}"),
    }
}
