//! A model: one safetensors file, or a directory in the layout of the Hugging Face hub.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::Crc;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::header::{TensorInfo, UniqueStrings, is_lfs_pointer};
use super::reader::SafetensorsFile;
use crate::error::{Error, FormatProblem, Result};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// An open model.
#[derive(Debug)]
pub struct Model {
    root: PathBuf,
    directory: bool,
    names: Vec<String>,
    shards: Vec<SafetensorsFile>,
    index: Option<Value>,
    config: Option<Value>,
    others: Vec<PathBuf>,
}

impl Model {
    /// Opens a file or directory and checks all headers, and the index against them.
    ///
    /// # Errors
    /// [`Error::Input`] where something cannot be read, [`Error::Format`] where it is not valid.
    pub fn open(path: &Path) -> Result<Self> {
        let input = |source| Error::Input { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(input)?.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Self {
                root: path.to_owned(),
                directory: false,
                names: vec![name],
                shards: vec![SafetensorsFile::open(path)?],
                index: None,
                config: None,
                others: vec![],
            });
        }
        let (names, shards, index) = if path.join(INDEX).exists() {
            sharded(path)?
        } else {
            let name = lone_file(path)?;
            let file = SafetensorsFile::open(&path.join(&name))?;
            (vec![name], vec![file], None)
        };
        let config = path.join(CONFIG);
        let config = if config.exists() { Some(read_config(&config)?) } else { None };
        let mut others = vec![];
        collect_others(path, Path::new(""), &mut others)?;
        others.retain(|p| {
            let own = p.to_str().is_some_and(|p| p == INDEX || p == CONFIG);
            !own && !names.iter().any(|name| p == Path::new(name))
        });
        others.sort();
        Ok(Self { root: path.to_owned(), directory: true, names, shards, index, config, others })
    }

    /// The file or directory that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The safetensors files.
    pub fn shards(&self) -> &[SafetensorsFile] {
        &self.shards
    }

    /// Their names, in the same order.
    pub fn shard_names(&self) -> &[String] {
        &self.names
    }

    /// `model.safetensors.index.json`, where there is one.
    pub fn index(&self) -> Option<&Value> {
        self.index.as_ref()
    }

    /// `config.json`, where there is one.
    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }

    /// Files that are carried over unchanged, relative to the directory.
    pub fn other_files(&self) -> &[PathBuf] {
        &self.others
    }

    /// CRC-32 of all its safetensors files, to know them again.
    ///
    /// # Errors
    /// [`Error::Input`] where a file cannot be read.
    pub fn checksum(&self) -> Result<u32> {
        let mut crc = Crc::new();
        let mut buffer = vec![0; 1 << 20];
        for shard in &self.shards {
            let path = shard.path();
            let input = |source| Error::Input { path: path.to_owned(), source };
            let mut file = fs::File::open(path).map_err(input)?;
            loop {
                match file.read(&mut buffer).map_err(input)? {
                    0 => break,
                    read => crc.update(&buffer[..read]),
                }
            }
        }
        Ok(crc.sum())
    }

    /// Bytes of all its safetensors files on disk, headers included.
    pub fn file_bytes(&self) -> u64 {
        let files = self.shards.iter().map(|shard| fs::metadata(shard.path()));
        files.map(|file| file.map_or(0, |file| file.len())).sum()
    }

    /// All tensors with the number of their shard, in the order of the shards and their data.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &TensorInfo)> {
        self.shards
            .iter()
            .enumerate()
            .flat_map(|(shard, file)| file.tensors().iter().map(move |tensor| (shard, tensor)))
    }

    /// The tensor of this name with the number of its shard.
    pub fn find(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        self.shards
            .iter()
            .enumerate()
            .find_map(|(shard, file)| file.tensor(name).map(|tensor| (shard, tensor)))
    }
}

/// The text of a JSON file.
fn read_text(path: &Path) -> Result<Vec<u8>> {
    let text = fs::read(path).map_err(|source| Error::Input { path: path.to_owned(), source })?;
    if is_lfs_pointer(&text) {
        return Err(Error::Format { path: path.to_owned(), problem: FormatProblem::LfsPointer });
    }
    Ok(text)
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, text: &'a [u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|e| {
        let problem = FormatProblem::Json { reason: e.to_string() };
        Error::Format { path: path.to_owned(), problem }
    })
}

/// `config.json`, into which `quantization_config` must fit.
fn read_config(path: &Path) -> Result<Value> {
    let config: Value = parse(path, &read_text(path)?)?;
    if config.is_object() {
        return Ok(config);
    }
    let reason = "an object was expected".to_owned();
    Err(Error::Format { path: path.to_owned(), problem: FormatProblem::Json { reason } })
}

/// The one safetensors file of a directory without an index.
fn lone_file(root: &Path) -> Result<String> {
    if root.join(SINGLE).exists() {
        return Ok(SINGLE.into());
    }
    let input = |source| Error::Input { path: root.to_owned(), source };
    let mut found: Vec<String> = fs::read_dir(root)
        .map_err(input)?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".safetensors") && !name.starts_with('.'))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(Error::Format { path: root.to_owned(), problem: FormatProblem::NoModel }),
    }
}

/// What must be known of an index: the shard of each tensor.
#[derive(Deserialize)]
struct Index {
    #[serde(deserialize_with = "weight_map")]
    weight_map: UniqueStrings,
}

/// The map, with its name in front of what is wrong with it.
fn weight_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UniqueStrings, D::Error> {
    UniqueStrings::deserialize(deserializer)
        .map_err(|e| D::Error::custom(format!("weight_map: {e}")))
}

type Sharded = (Vec<String>, Vec<SafetensorsFile>, Option<Value>);

fn sharded(root: &Path) -> Result<Sharded> {
    let path = root.join(INDEX);
    let format = |problem| Error::Format { path: path.clone(), problem };
    let text = read_text(&path)?;
    let index: Value = parse(&path, &text)?;
    let Index { weight_map: UniqueStrings(map) } = parse(&path, &text)?;
    // A list would do for a structure of one field.
    if map.is_empty() || !index.is_object() {
        let reason = "an object whose weight_map names tensors was expected".into();
        return Err(format(FormatProblem::Json { reason }));
    }
    let mut names: Vec<String> = map.values().cloned().collect();
    names.sort();
    names.dedup();
    let mut shards = vec![];
    for name in &names {
        check_shard_name(name).map_err(format)?;
        if !root.join(name).exists() {
            return Err(format(FormatProblem::MissingShard { name: name.clone() }));
        }
        shards.push(SafetensorsFile::open(&root.join(name))?);
    }
    for (tensor, shard) in &map {
        let number = names.binary_search(shard).expect("from the same map");
        if shards[number].tensor(tensor).is_none() {
            let (tensor, shard) = (tensor.clone(), shard.clone());
            return Err(format(FormatProblem::MissingTensor { tensor, shard }));
        }
    }
    for (name, shard) in names.iter().zip(&shards) {
        for tensor in shard.tensors() {
            if map.get(&tensor.name) != Some(name) {
                let (tensor, shard) = (tensor.name.clone(), name.clone());
                return Err(format(FormatProblem::UnindexedTensor { tensor, shard }));
            }
        }
    }
    Ok((names, shards, Some(index)))
}

/// By its letters alone: links inside a directory are followed, because hub caches consist of
/// them, but a name must not lead out of it.
fn check_shard_name(name: &str) -> Result<(), FormatProblem> {
    let plain = name.ends_with(".safetensors")
        && !name.contains(['/', '\\', '\0', ':'])
        && !name.contains("..")
        && !name.starts_with('.');
    if plain { Ok(()) } else { Err(FormatProblem::ShardName { name: name.into() }) }
}

/// All files below `root`, temporary ones of unfinished runs excepted. Links to files count as
/// files; links to folders are not followed, because they may form a circle.
fn collect_others(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let folder = root.join(below);
    let input = |source| Error::Input { path: folder.clone(), source };
    for entry in fs::read_dir(&folder).map_err(input)? {
        let entry = entry.map_err(input)?;
        let relative = below.join(entry.file_name());
        let kind = entry.file_type().map_err(input)?;
        if entry.file_name().as_encoded_bytes().ends_with(b".tensorpress-tmp") {
            continue;
        }
        if kind.is_dir() {
            collect_others(root, &relative, found)?;
        } else if kind.is_file() || root.join(&relative).is_file() {
            found.push(relative);
        }
    }
    Ok(())
}
