//! A model directory as output: staged whole beside its target, then put in place in one step.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{
    OutputFile, check_folder, check_space, clear_stale, create_error, create_temporary, folder_of,
    parent, rename, sync_folder,
};
use super::fault;
use crate::error::{Error, Result};

/// A folder under a temporary name beside its target. [`OutputDirectory::commit`] puts it in place
/// at once, so that at any moment the target is the whole old model or the whole new one; dropping
/// it without that removes it.
#[derive(Debug)]
pub struct OutputDirectory {
    target: PathBuf,
    staging: PathBuf,
    /// A temporary file beside it, there and locked as long as the staging folder is.
    lock: PathBuf,
    locked: Option<File>,
}

impl OutputDirectory {
    /// Fails where `target` must not be replaced: where it has content and `force` is not given,
    /// where it is a file, and where it has content but no model in it, because someone who
    /// replaces a model does not mean to lose a home folder to a slip of the hand. And where it
    /// cannot be made, because its folder takes no files.
    ///
    /// # Errors
    /// [`Error::Exists`] or [`Error::Create`].
    pub fn check(target: &Path, force: bool) -> Result<()> {
        if fs::symlink_metadata(target).is_ok() && !target.is_dir() {
            return Err(create_error(target, io::ErrorKind::NotADirectory.into()));
        }
        let names: Vec<_> = fs::read_dir(target)
            .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
            .unwrap_or_default();
        if !force && !names.is_empty() {
            return Err(Error::Exists { path: target.to_owned() });
        }
        let model = names.iter().any(|name| name.as_encoded_bytes().ends_with(b".safetensors"));
        // A link is replaced and what it points to stays.
        if !names.is_empty() && !model && !target.is_symlink() {
            return Err(create_error(target, io::ErrorKind::DirectoryNotEmpty.into()));
        }
        check_folder(target)
    }

    /// Starts a folder with about `size` bytes of files that will become `target`.
    ///
    /// # Errors
    /// As [`OutputDirectory::check`]; [`Error::Locked`], [`Error::NoSpace`] or [`Error::Create`].
    pub fn create(target: &Path, size: u64, force: bool) -> Result<Self> {
        Self::check(target, force)?;
        // "out/" and "out" are one folder; a name is needed for the one beside it.
        let target: PathBuf = target.components().collect();
        let name = target
            .file_name()
            .ok_or_else(|| create_error(&target, io::ErrorKind::InvalidFilename.into()))?;
        let folder = parent(&target);
        clear_stale(&folder, name, &target)?;
        check_space(&folder, size)?;
        let (lock, file) = create_temporary(&folder, name, &target)?;
        let output = Self { target, staging: folder_of(&lock), lock, locked: Some(file) };
        fs::create_dir(&output.staging).map_err(|e| create_error(&output.target, e))?;
        Ok(output)
    }

    fn write_error(&self, source: io::Error) -> Error {
        Error::Write { path: self.target.clone(), source }
    }

    /// Starts a file of `size` bytes in the folder; commit it before the folder.
    ///
    /// # Errors
    /// As [`OutputFile::create`].
    pub fn file(&self, name: &str, size: u64) -> Result<OutputFile> {
        let shown = self.target.join(name);
        OutputFile::create_shown(&self.staging.join(name), &shown, size)
    }

    /// Writes a small file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let file = self.file(name, content.len() as u64)?;
        file.write_at(0, content)?;
        file.commit()
    }

    /// Copies `source` to `relative`, which must stay inside the folder, with its permissions.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn copy(&self, source: &Path, relative: &Path) -> Result<()> {
        let target = self.staging.join(relative);
        fault::check()
            .and_then(|()| fs::create_dir_all(parent(&target)))
            .and_then(|()| fs::copy(source, &target))
            .and_then(|_| File::open(&target)?.sync_all())
            .map_err(|e| self.write_error(e))
    }

    /// Puts the folder in place of its target.
    ///
    /// # Errors
    /// [`Error::Write`]; the old folder then stands.
    pub fn commit(self) -> Result<()> {
        sync_folder(&self.staging);
        let outcome = if self.target.exists() {
            exchange(&self.staging, &self.target)
        } else {
            rename(&self.staging, &self.target)
        };
        outcome.map_err(|e| self.write_error(e))?;
        sync_folder(&parent(&self.target));
        Ok(())
    }
}

impl Drop for OutputDirectory {
    fn drop(&mut self) {
        // After a commit over an old folder this name is that old folder; after one to a new
        // name there is nothing here.
        let _ = fs::remove_dir_all(&self.staging);
        if cfg!(windows) {
            self.locked = None;
        }
        let _ = fs::remove_file(&self.lock);
    }
}

/// Swaps two folders in one step, so that no moment is without a model.
#[cfg(target_os = "linux")]
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    fault::check()?;
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // File systems without it.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => replace(new, old),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    replace(new, old)
}

/// Two renames; a kill between them leaves the old model under the `.old` name.
fn replace(new: &Path, old: &Path) -> io::Result<()> {
    let mut aside = new.as_os_str().to_owned();
    aside.push(".old");
    rename(old, Path::new(&aside))?;
    match rename(new, old) {
        Ok(()) => fs::rename(&aside, new),
        Err(error) => {
            fs::rename(&aside, old)?;
            Err(error)
        }
    }
}
