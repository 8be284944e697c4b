//! The data of all steps, each read once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::job::Data;
use crate::error::{Error, Result};
use crate::io::{DataSet, Split};

/// Data sets by their path.
#[derive(Default)]
pub(super) struct DataSets {
    train: BTreeMap<PathBuf, Known>,
    test: BTreeMap<PathBuf, Option<Known>>,
}

/// A data set with its checksum.
pub(super) struct Known {
    pub data: DataSet,
    pub checksum: u32,
}

impl Known {
    fn new(data: DataSet) -> Self {
        Self { checksum: data.checksum(), data }
    }
}

impl DataSets {
    /// The rows that are learnt from.
    pub(super) fn train(&mut self, path: &Path) -> Result<&Known> {
        if !self.train.contains_key(path) {
            let known = Known::new(DataSet::open(path, Split::Train)?);
            self.train.insert(path.to_owned(), known);
        }
        Ok(&self.train[path])
    }

    /// The rows that networks are judged by, where there are some apart from those.
    pub(super) fn test(&mut self, path: &Path) -> Result<Option<&Known>> {
        if !self.test.contains_key(path) {
            let known = DataSet::open_test(path)?.map(Known::new);
            self.test.insert(path.to_owned(), known);
        }
        Ok(self.test[path].as_ref())
    }

    /// The rows of a split; all, where a file has no splits.
    pub(super) fn split(&mut self, path: &Path, split: Split) -> Result<&Known> {
        let apart = split == Split::Test && self.test(path)?.is_some();
        if !apart && split == Split::Test && path.is_dir() {
            // It tells which files are missing.
            DataSet::open(path, split)?;
        }
        if !apart {
            return self.train(path);
        }
        self.test(path)?.ok_or(Error::Bug { what: "test rows that are gone" })
    }

    /// Both parts, for a training.
    pub(super) fn both(&mut self, path: &Path) -> Result<Data> {
        let train = self.train(path)?.data.clone();
        let test = self.test(path)?.map(|known| known.data.clone());
        Ok(Data { path: path.to_owned(), train, test })
    }
}
