//! A safetensors file, memory-mapped.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::header::{Header, TensorInfo};
use crate::error::{Error, FormatProblem, Result};
use crate::tensor::TensorView;

/// An open safetensors file. The data is mapped, so opening touches the header alone.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    header: Header,
    by_name: HashMap<String, usize>,
    map: Mmap,
}

impl SafetensorsFile {
    /// Opens `path` and checks its header.
    ///
    /// The file must not be changed while it is open; tensorpress itself replaces files by
    /// renaming and never writes through one that is mapped.
    ///
    /// # Errors
    /// [`Error::Input`] where the file cannot be read, [`Error::Format`] where it is not a valid
    /// safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        let input = |source| Error::Input { path: path.to_owned(), source };
        // Before it is opened, because opening a pipe waits for whoever writes to it.
        check_regular(&fs::metadata(path).map_err(input)?).map_err(input)?;
        let file = File::open(path).map_err(input)?;
        let metadata = file.metadata().map_err(input)?;
        let format = |problem| Error::Format { path: path.to_owned(), problem };
        if metadata.len() == 0 {
            return Err(format(FormatProblem::Empty));
        }
        // SAFETY: the mapping is private and read-only. A file that another process truncates
        // meanwhile would raise SIGBUS, as it does for every reader of mapped models; that is
        // the documented condition above.
        let map = unsafe { MmapOptions::new().map(&file) }.map_err(input)?;
        let header = Header::parse(&map, map.len() as u64).map_err(format)?;
        let by_name = header.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Self { path: path.to_owned(), header, by_name, map })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.map.len() as u64
    }

    /// All tensors in the order of their data.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|index| &self.header.tensors[*index])
    }

    /// A tensor's elements. `info` must come from this file.
    pub fn view<'a>(&'a self, info: &'a TensorInfo) -> TensorView<'a> {
        let data = self.bytes(info, 0..info.bytes() as usize);
        TensorView { dtype: info.dtype, shape: &info.shape, data }
    }

    /// Some bytes of a tensor's data. `info` must come from this file.
    ///
    /// # Panics
    /// Where `range` goes beyond the tensor.
    pub fn bytes(&self, info: &TensorInfo, range: Range<usize>) -> &[u8] {
        &self.map[self.place(info, &range)]
    }

    /// Takes these bytes out of the process's memory; reading them again maps them again. Keeps
    /// the resident set bounded by what is being worked on.
    pub fn release(&self, info: &TensorInfo, range: Range<usize>) {
        #[cfg(unix)]
        {
            let place = self.place(info, &range);
            // SAFETY: for a private, read-only mapping of a file this drops clean pages, which
            // the next access reads from the file again; no data can be lost.
            let _ = unsafe {
                self.map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    place.start,
                    place.len(),
                )
            };
        }
        #[cfg(not(unix))]
        let _ = (info, range);
    }

    fn place(&self, info: &TensorInfo, range: &Range<usize>) -> Range<usize> {
        assert!(range.start <= range.end && range.end as u64 <= info.bytes(), "within the tensor");
        let start = (self.header.data_start + info.start) as usize;
        start + range.start..start + range.end
    }
}

/// Fails for what cannot be mapped: folders, pipes and devices.
fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("a pipe or device, and a file was expected"));
    }
    Ok(())
}
