//! The written model: shards with new tensors, the rewritten index and configuration, and every
//! other file carried over.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config;
use crate::error::{Error, Result};
use crate::io::{Model, OutputDirectory, OutputFile, SafetensorsWriter, TensorSpec, refuse_same};
use crate::stored::QUANTIZATION;

/// Metadata of a file.
pub type Metadata = BTreeMap<String, String>;

/// A model that is being written: a file where `model` is one, otherwise a directory.
///
/// Nothing is visible at its path until [`Output::commit`], and nothing stays if it is dropped.
pub(super) struct Output<'a> {
    model: &'a Model,
    path: PathBuf,
    force: bool,
    directory: Option<OutputDirectory>,
    file: Option<SafetensorsWriter>,
}

impl<'a> Output<'a> {
    /// Fails where `path` must not be written. Nothing is created yet.
    pub(super) fn check(model: &Model, path: &Path, force: bool) -> Result<()> {
        refuse_same(model.root(), path)?;
        if model.is_directory() && (lies_in(path, model.root()) || holds_any_of(path, model)) {
            return Err(Error::OutputIsInput { path: path.to_owned() });
        }
        for (name, _) in model.shard_names().iter().zip(model.shards()) {
            if model.is_directory() {
                refuse_same(&model.root().join(name), &path.join(name))?;
            }
        }
        if model.is_directory() {
            return OutputDirectory::check(path, force);
        }
        OutputFile::check(path, force)
    }

    /// Begins to write about `bytes` bytes of tensors.
    pub(super) fn begin(model: &'a Model, path: &Path, force: bool, bytes: u64) -> Result<Self> {
        let others = model.other_files().iter();
        let others = others.filter_map(|name| fs::metadata(model.root().join(name)).ok());
        let bytes = bytes + others.map(|file| file.len()).sum::<u64>();
        let directory = model
            .is_directory()
            .then(|| OutputDirectory::create(path, bytes, force))
            .transpose()?;
        Ok(Self { model, path: path.to_owned(), force, directory, file: None })
    }

    /// A writer for shard `number`.
    pub(super) fn shard(
        &self,
        number: usize,
        tensors: Vec<TensorSpec>,
        metadata: &Metadata,
    ) -> Result<SafetensorsWriter> {
        SafetensorsWriter::create(tensors, metadata, |size| match &self.directory {
            Some(directory) => directory.file(&self.model.shard_names()[number], size),
            None => OutputFile::create(&self.path, size, self.force),
        })
    }

    /// Ends a shard. A single file is kept back until [`Output::commit`].
    pub(super) fn finish(&mut self, writer: SafetensorsWriter) -> Result<()> {
        match self.directory {
            Some(_) => writer.finish(),
            None => {
                self.file = Some(writer);
                Ok(())
            }
        }
    }

    /// Writes what is not tensors and makes the output visible.
    ///
    /// `tensors` are the shard and the description of each tensor; `quantization` goes into
    /// `config.json`, or is taken out of it.
    pub(super) fn commit<'t>(
        self,
        tensors: impl Iterator<Item = (usize, &'t TensorSpec)>,
        quantization: Option<&Value>,
    ) -> Result<()> {
        let Some(directory) = self.directory else {
            return self.file.map_or(Ok(()), SafetensorsWriter::finish);
        };
        for name in self.model.other_files() {
            directory.copy(&self.model.root().join(name), name)?;
        }
        if let Some(config) = self.model.config() {
            let config = with_quantization(config, quantization);
            directory.write("config.json", pretty(&config).as_bytes())?;
        }
        if let Some(index) = self.model.index() {
            let names = self.model.shard_names();
            let tensors = tensors.map(|(shard, t)| (&*t.name, &*names[shard], t.bytes()));
            let index = config::index(index, tensors);
            directory.write("model.safetensors.index.json", pretty(&index).as_bytes())?;
        }
        directory.commit()
    }
}

/// Puts `entries` into the metadata of the first shard, and takes what they replace out of others.
pub(super) fn set_metadata(metadata: &mut Metadata, entries: &Metadata, shard: usize) {
    metadata.retain(|key, _| !entries.contains_key(key));
    if shard == 0 {
        metadata.extend(entries.clone());
    }
}

/// Whether the model or a file that its shards lead to lies in the folder `path`, and would be
/// removed when that is replaced.
fn holds_any_of(path: &Path, model: &Model) -> bool {
    let shards = model.shard_names().iter().map(|name| model.root().join(name));
    let mut inputs = shards.chain([model.root().to_owned()]);
    inputs.any(|input| input.canonicalize().is_ok_and(|input| lies_in(&input, path)))
}

/// Bytes of a carried-over tensor that a worker takes at once.
const COPY_BYTES: usize = 4 << 20;

/// The pieces in which `bytes` bytes are copied.
pub(super) fn copy_ranges(bytes: usize) -> impl Iterator<Item = Range<usize>> {
    (0..bytes).step_by(COPY_BYTES).map(move |start| start..bytes.min(start + COPY_BYTES))
}

/// Whether `path`, which need not exist, lies in `folder`.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().filter_map(|a| a.canonicalize().ok()).any(|a| a == folder)
}

/// `config.json` with, or without, `quantization_config`.
fn with_quantization(config: &Value, quantization: Option<&Value>) -> Value {
    let mut config = config.clone();
    if let Some(object) = config.as_object_mut() {
        object.shift_remove(QUANTIZATION);
        if let Some(quantization) = quantization {
            object.insert(QUANTIZATION.to_owned(), quantization.clone());
        }
    }
    config
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
