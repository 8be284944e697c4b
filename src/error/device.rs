/// What went wrong with a compute device.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No adapter answers to the name.
    #[error("no device {wanted:?}; available: {available}; `tensorpress devices` describes them")]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// What there is, comma separated.
        available: String,
    },
    /// The driver did not give a device.
    #[error("{adapter}: the driver gave no device ({reason}); try --device cpu")]
    Open {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// More than the device can hold or bind.
    #[error(
        "{adapter}: {what} needs {needed} and the limit is {limit}; use smaller slabs or --device cpu"
    )]
    Limit {
        /// The adapter's name.
        adapter: String,
        /// Which resource.
        what: &'static str,
        /// What is needed.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// The device's memory is full.
    #[error(
        "{adapter}: out of memory while {doing} ({reason}); close other programs or use --device cpu"
    )]
    OutOfMemory {
        /// The adapter's name.
        adapter: String,
        /// Which step.
        doing: String,
        /// The driver's words.
        reason: String,
    },
    /// A shader or a command did not validate: a defect.
    #[error("{adapter}: {doing} failed: {reason}; please report it, and try --device cpu")]
    Validation {
        /// The adapter's name.
        adapter: String,
        /// Which step, with the kernel's key.
        doing: String,
        /// The validator's words.
        reason: String,
    },
    /// The device was lost: reset, unplugged or timed out.
    #[error("{adapter}: device lost ({reason}); try again, or use --device cpu")]
    Lost {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
}

impl DeviceError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::Open { .. } | Self::Limit { .. } => 69,
            Self::OutOfMemory { .. } | Self::Lost { .. } => 75,
            Self::Validation { .. } => 70,
        }
    }
}
