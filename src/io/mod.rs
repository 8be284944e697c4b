//! Files: safetensors, model directories, atomic writing. (A stand-in until the real one lands.)
#![allow(missing_docs)]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, FormatProblem, Result};
use crate::tensor::DType;

#[derive(Clone, Debug)]
pub struct TensorInfo {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    offset: Range<usize>,
}

impl TensorInfo {
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    pub fn bytes(&self) -> u64 {
        self.offset.len() as u64
    }
}

#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    map: memmap2::Mmap,
    data: usize,
    tensors: Vec<TensorInfo>,
    metadata: Vec<(String, String)>,
}

impl SafetensorsFile {
    pub fn open(path: &Path) -> Result<Self> {
        let input = |source| Error::Input { path: path.to_owned(), source };
        let file = File::open(path).map_err(input)?;
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(input)?;
        let bad = || {
            Error::Data(FormatProblem::Compressed { tensor: String::new(), reason: "bad header" })
                .in_file(path)
        };
        let len = map.get(..8).ok_or_else(bad)?.try_into().map(u64::from_le_bytes).unwrap_or(0);
        let header = map.get(8..8 + len as usize).ok_or_else(bad)?;
        let header: Map<String, Value> = serde_json::from_slice(header).map_err(|_| bad())?;
        let (mut tensors, mut metadata) = (vec![], vec![]);
        for (name, value) in header {
            if name == "__metadata__" {
                for (key, value) in value.as_object().ok_or_else(bad)? {
                    metadata.push((key.clone(), value.as_str().unwrap_or_default().to_owned()));
                }
                continue;
            }
            let number = |v: &Value| v.as_u64().map(|n| n as usize);
            let list = |key: &str| -> Option<Vec<usize>> {
                value.get(key)?.as_array()?.iter().map(number).collect()
            };
            let dtype = value.get("dtype").and_then(Value::as_str).and_then(DType::from_name);
            let offsets = list("data_offsets").ok_or_else(bad)?;
            tensors.push(TensorInfo {
                dtype: dtype.ok_or_else(bad)?,
                shape: list("shape").ok_or_else(bad)?,
                offset: offsets[0]..offsets[1],
                name,
            });
        }
        tensors.sort_by_key(|t: &TensorInfo| t.offset.start);
        Ok(Self { path: path.to_owned(), data: 8 + len as usize, map, tensors, metadata })
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }
    pub fn bytes(&self, info: &TensorInfo, range: Range<usize>) -> &[u8] {
        let start = self.data + info.offset.start;
        &self.map[start + range.start..start + range.end]
    }
    pub fn release(&self, _info: &TensorInfo, _range: Range<usize>) {}
    pub fn prefetch(&self, _info: &TensorInfo, _range: Range<usize>) {}
}

#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    directory: bool,
    shards: Vec<SafetensorsFile>,
    names: Vec<String>,
    index: Option<Value>,
    config: Option<Value>,
    other: Vec<PathBuf>,
}

impl Model {
    pub fn open(path: &Path) -> Result<Self> {
        let mut model = Self {
            path: path.to_owned(),
            directory: path.is_dir(),
            shards: vec![],
            names: vec![],
            index: None,
            config: None,
            other: vec![],
        };
        if !model.directory {
            model.shards.push(SafetensorsFile::open(path)?);
            return Ok(model);
        }
        let input = |source| Error::Input { path: path.to_owned(), source };
        let mut entries: Vec<_> =
            std::fs::read_dir(path).map_err(input)?.collect::<Result<_, _>>().map_err(input)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let read =
                || std::fs::read(entry.path()).ok().and_then(|b| serde_json::from_slice(&b).ok());
            if name.ends_with(".safetensors") {
                model.shards.push(SafetensorsFile::open(&entry.path())?);
                model.names.push(name);
            } else if name == "model.safetensors.index.json" {
                model.index = read();
            } else if name == "config.json" {
                model.config = read();
            } else {
                model.other.push(name.into());
            }
        }
        Ok(model)
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn is_directory(&self) -> bool {
        self.directory
    }
    pub fn shards(&self) -> &[SafetensorsFile] {
        &self.shards
    }
    pub fn shard_names(&self) -> &[String] {
        &self.names
    }
    pub fn index(&self) -> Option<&Value> {
        self.index.as_ref()
    }
    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }
    pub fn other_files(&self) -> &[PathBuf] {
        &self.other
    }
}

#[derive(Debug)]
pub struct SafetensorsWriter {
    file: File,
    path: PathBuf,
    places: HashMap<String, u64>,
}

impl SafetensorsWriter {
    pub fn create(
        path: &Path,
        tensors: &[(&str, DType, &[usize])],
        metadata: &[(String, String)],
    ) -> Result<Self> {
        let write = |source| Error::Write { path: path.to_owned(), source };
        let mut sorted: Vec<_> = tensors.to_vec();
        sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut header = Map::new();
        let metadata: Map<String, Value> =
            metadata.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        header.insert("__metadata__".into(), metadata.into());
        let (mut at, mut places) = (0_u64, HashMap::new());
        for (name, dtype, shape) in sorted {
            let len = shape.iter().product::<usize>() as u64 * u64::from(dtype.bits()) / 8;
            let value =
                json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [at, at + len]});
            header.insert(name.into(), value);
            places.insert(name.to_owned(), at);
            at += len;
        }
        let mut text = Value::from(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        for place in places.values_mut() {
            *place += 8 + text.len() as u64;
        }
        let mut file = File::create(path).map_err(write)?;
        file.write_all(&(text.len() as u64).to_le_bytes()).map_err(write)?;
        file.write_all(&text).map_err(write)?;
        file.set_len(8 + text.len() as u64 + at).map_err(write)?;
        Ok(Self { file, path: path.to_owned(), places })
    }
    pub fn write_at(&self, tensor: &str, offset: u64, data: &[u8]) -> Result<()> {
        let at = self.places[tensor] + offset;
        self.file
            .write_all_at(data, at)
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}
