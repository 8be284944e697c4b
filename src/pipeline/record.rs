//! What lies beside the network of a step: what made it, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::error::{Error, Result};
use crate::io::OutputFile;

/// Version of the form.
const VERSION: u32 = 1;

/// All that a step depends on, by name: its options, and checksums of what it reads.
pub(super) type Identity = BTreeMap<String, String>;

/// The record of a step, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    schema_version: u32,
    /// What it was made from.
    pub made_from: Identity,
    /// What came of it; `None` where it has begun and not ended.
    pub result: Option<Finished>,
}

/// A step that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finished {
    /// CRC-32 of the network's files, where the step makes one.
    pub checksum: Option<u32>,
    pub outcome: Outcome,
}

/// Whether a step is done again, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was done, and nothing that it depends on has changed.
    Unchanged,
    /// It has not been done.
    New,
    /// It was begun and not ended.
    Begun,
    /// Something that it depends on has changed.
    Changed {
        /// What.
        what: String,
        /// As it was.
        before: String,
        /// As it is.
        now: String,
    },
    /// The step of this name, whose network it works on, is done again.
    Follows(String),
    /// Its network is not there any more, or not as it was written.
    Lost,
    /// It was asked for.
    Asked,
}

impl Record {
    /// Where the record of the step called `name` lies.
    pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.json"))
    }

    pub(super) fn new(made_from: Identity, result: Option<Finished>) -> Self {
        Self { schema_version: VERSION, made_from, result }
    }

    /// The record at `path`; `None` where there is none that is understood.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (record.schema_version == VERSION).then_some(record)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|_| Error::Bug { what: "a record that does not serialize" })?;
        let text = text + "\n";
        let file = OutputFile::create(path, text.len() as u64, true)?;
        file.write_at(0, text.as_bytes())?;
        file.commit()
    }

    /// What has changed since, if anything has.
    pub(super) fn change(&self, now: &Identity) -> Option<Status> {
        let names = self.made_from.keys().chain(now.keys());
        let value = |identity: &Identity, name: &String| {
            identity.get(name).cloned().unwrap_or_else(|| "none".to_owned())
        };
        names.into_iter().find_map(|name| {
            let (before, now) = (value(&self.made_from, name), value(now, name));
            (before != now).then(|| Status::Changed { what: name.clone(), before, now })
        })
    }
}

/// "not done yet", and so on.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("unchanged"),
            Self::New => f.write_str("new"),
            Self::Begun => f.write_str("was interrupted"),
            Self::Changed { what, before, now } => write!(f, "{what} was {before} and is {now}"),
            Self::Follows(step) => write!(f, "{step} is done again"),
            Self::Lost => f.write_str("its network is not as it was written"),
            Self::Asked => f.write_str("asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(values: &[(&str, &str)]) -> Identity {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn records_tell_what_has_changed() {
        let record = Record::new(identity(&[("epochs", "3"), ("seed", "1")]), None);
        assert_eq!(record.change(&identity(&[("epochs", "3"), ("seed", "1")])), None);
        for (now, expected) in [
            (identity(&[("epochs", "4"), ("seed", "1")]), "epochs was 3 and is 4"),
            (identity(&[("epochs", "3")]), "seed was 1 and is none"),
            (
                identity(&[("epochs", "3"), ("seed", "1"), ("teacher", "2")]),
                "teacher was none and is 2",
            ),
        ] {
            assert_eq!(record.change(&now).expect("a change").to_string(), expected);
        }
    }

    #[test]
    fn records_are_read_back_and_others_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = Record::path(folder.path(), "step");
        assert!(Record::open(&path).is_none());
        Record::new(identity(&[("epochs", "3")]), None).write(&path).expect("written");
        assert_eq!(Record::open(&path).expect("a record").made_from["epochs"], "3");
        let text = std::fs::read_to_string(&path).expect("there");
        for broken in [text.replace("\": 1", "\": 2"), text.replace("made_", "un"), String::new()] {
            std::fs::write(&path, broken).expect("written");
            assert!(Record::open(&path).is_none());
        }
    }
}
