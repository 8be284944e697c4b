//! The written model: shards with new tensors, the rewritten index and configuration, and every
//! other file carried over.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config;
use super::plan::OutputTensor;
use crate::error::{Error, Result};
use crate::io::{Model, SafetensorsWriter};

/// Metadata of a file.
pub(super) type Metadata = Vec<(String, String)>;

/// A model that is being written.
pub(super) struct Output<'a> {
    model: &'a Model,
    path: PathBuf,
}

impl<'a> Output<'a> {
    /// Begins; nothing is visible at `path` until [`Output::commit`].
    pub(super) fn begin(model: &'a Model, path: &Path, force: bool) -> Result<Self> {
        let same = std::fs::canonicalize(path).ok() == std::fs::canonicalize(model.path()).ok();
        if path.exists() && same {
            return Err(Error::OutputIsInput { path: path.to_owned() });
        }
        if path.exists() && !force {
            return Err(Error::Exists { path: path.to_owned() });
        }
        if model.is_directory() {
            std::fs::create_dir_all(path).map_err(|source| Error::Create {
                path: path.to_owned(),
                source,
                advice: "check the folder",
            })?;
        }
        Ok(Self { model, path: path.to_owned() })
    }

    /// A writer for shard `number`.
    pub(super) fn shard(
        &self,
        number: usize,
        tensors: &[&OutputTensor],
        metadata: &Metadata,
    ) -> Result<SafetensorsWriter> {
        let tensors: Vec<_> = tensors.iter().map(|t| (&*t.name, t.dtype, &*t.shape)).collect();
        let path = match self.model.shard_names().get(number) {
            Some(name) => self.path.join(name),
            None => self.path.clone(),
        };
        SafetensorsWriter::create(&path, &tensors, metadata)
    }

    /// Ends a shard.
    pub(super) fn finish(&self, _writer: SafetensorsWriter) -> Result<()> {
        Ok(())
    }

    /// Writes what is not tensors and makes the output visible.
    ///
    /// `tensors` are the shard and the description of each tensor; `quantization` goes into
    /// `config.json`, or is taken out of it.
    pub(super) fn commit<'t>(
        self,
        tensors: impl Iterator<Item = (usize, &'t OutputTensor)>,
        quantization: Option<&Value>,
    ) -> Result<()> {
        if !self.model.is_directory() {
            return Ok(());
        }
        let write = |name: &Path, bytes: &[u8]| {
            let path = self.path.join(name);
            std::fs::write(&path, bytes).map_err(|source| Error::Write { path, source })
        };
        for name in self.model.other_files() {
            let from = self.model.path().join(name);
            let bytes =
                std::fs::read(&from).map_err(|source| Error::Input { path: from, source })?;
            write(name, &bytes)?;
        }
        if let Some(config) = self.model.config() {
            write(
                "config.json".as_ref(),
                pretty(&with_quantization(config, quantization)).as_bytes(),
            )?;
        }
        if let Some(index) = self.model.index() {
            let names = self.model.shard_names();
            let tensors = tensors.map(|(shard, t)| (&*t.name, &*names[shard], t.bytes()));
            let index = config::index(Some(index), tensors);
            write("model.safetensors.index.json".as_ref(), pretty(&index).as_bytes())?;
        }
        Ok(())
    }
}

/// `config.json` with, or without, `quantization_config`.
fn with_quantization(config: &Value, quantization: Option<&Value>) -> Value {
    let mut config = config.clone();
    if let Some(object) = config.as_object_mut() {
        object.shift_remove(config::QUANTIZATION);
        if let Some(quantization) = quantization {
            object.insert(config::QUANTIZATION.to_owned(), quantization.clone());
        }
    }
    config
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
