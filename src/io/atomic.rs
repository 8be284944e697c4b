//! Output that appears whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::fault;
use crate::error::{Error, Result};

/// Ends the name of every temporary file and folder.
const SUFFIX: &str = ".tensorpress-tmp";
/// Ends the name of a temporary folder; that of its lock has [`SUFFIX`] instead.
const FOLDER_SUFFIX: &str = ".folder.tensorpress-tmp";

/// A file under a temporary name beside its target. [`OutputFile::commit`] puts it in place;
/// dropping it without that removes it, and the old file stands.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    /// What errors call it: the path at which a user will find it.
    shown: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

impl OutputFile {
    /// Fails where `target` must not or cannot be written.
    ///
    /// # Errors
    /// [`Error::Exists`] where it is there and `force` is not given, or [`Error::Create`] where it
    /// is or names a folder, leads to a pipe, a device or an open file of a process, or its folder
    /// takes no files.
    pub fn check(target: &Path, force: bool) -> Result<()> {
        if !force && fs::symlink_metadata(target).is_ok() {
            return Err(Error::Exists { path: target.to_owned() });
        }
        if target.is_dir() || target.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(create_error(target, io::ErrorKind::IsADirectory.into()));
        }
        // Renaming over them would take /dev/null or /dev/stdout from all other programs.
        if fs::metadata(target).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(create_error(target, io::Error::other("a pipe or device")));
        }
        if leads_to_open_file(target) {
            return Err(create_error(target, io::Error::other("a link to a file that is open")));
        }
        check_folder(target)
    }

    /// Starts a file of `size` bytes that will become `target`.
    ///
    /// # Errors
    /// [`Error::Exists`] where `target` is there and `force` is not given, [`Error::Locked`] where
    /// another run is writing it, [`Error::NoSpace`], or [`Error::Create`].
    pub fn create(target: &Path, size: u64, force: bool) -> Result<Self> {
        Self::check(target, force)?;
        Self::create_shown(target, target, size)
    }

    /// [`OutputFile::create`] of a file that a user will find at `shown`.
    pub(super) fn create_shown(target: &Path, shown: &Path, size: u64) -> Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| create_error(shown, io::ErrorKind::InvalidFilename.into()))?;
        let folder = parent(target);
        clear_stale(&folder, name, shown)?;
        check_space(&folder, size)?;
        let (temporary, file) = create_temporary(&folder, name, shown)?;
        let (target, shown) = (target.to_owned(), shown.to_owned());
        let output = Self { target, shown, temporary, file: Some(file) };
        output.open().set_len(size).map_err(|e| output.write_error(e))?;
        Ok(output)
    }

    /// The path that it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    fn open(&self) -> &File {
        self.file.as_ref().expect("open until committed")
    }

    fn write_error(&self, source: io::Error) -> Error {
        Error::Write { path: self.shown.clone(), source }
    }

    /// Writes `bytes` at `offset`. Several threads may write at once.
    ///
    /// # Errors
    /// [`Error::Write`], for example where the disk is full.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        fault::check()
            .and_then(|()| write_all_at(self.open(), offset, bytes))
            .map_err(|e| self.write_error(e))
    }

    /// Makes the file durable and puts it in place of its target.
    ///
    /// # Errors
    /// [`Error::Write`]; the old file then stands.
    pub fn commit(mut self) -> Result<()> {
        fault::check().and_then(|()| self.open().sync_all()).map_err(|e| self.write_error(e))?;
        // Windows does not rename open files. Elsewhere the lock is held until the name is gone, so
        // that no other run takes the file for one that was left behind.
        if cfg!(windows) {
            self.file = None;
        }
        rename(&self.temporary, &self.target).map_err(|e| self.write_error(e))?;
        sync_folder(&parent(&self.target));
        Ok(())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        self.file = None;
        // After a commit there is nothing of this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// A folder for what is only tried; it goes when it is dropped.
///
/// # Errors
/// [`Error::Create`].
pub fn temporary_folder() -> Result<TempDir> {
    TempDir::new().map_err(|source| {
        let advice = "set TMPDIR to a folder that you may write to";
        Error::Create { path: std::env::temp_dir(), source, advice }
    })
}

/// Fails where `output` is `input`, also through links.
///
/// # Errors
/// [`Error::OutputIsInput`].
pub fn refuse_same(input: &Path, output: &Path) -> Result<()> {
    let same = match (fs::canonicalize(input), fs::canonicalize(output)) {
        (Ok(a), Ok(b)) => a == b || same_inode(&a, &b),
        _ => false,
    };
    if same { Err(Error::OutputIsInput { path: output.to_owned() }) } else { Ok(()) }
}

#[cfg(unix)]
fn same_inode(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_inode(_: &Path, _: &Path) -> bool {
    false
}

pub(super) fn create_error(path: &Path, source: io::Error) -> Error {
    let advice = match source.kind() {
        io::ErrorKind::NotFound => "create the folder first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder that you may write to"
        }
        io::ErrorKind::DirectoryNotEmpty => {
            "it holds files and no model, so --force does not replace it"
        }
        io::ErrorKind::IsADirectory => "give a file name, not a folder",
        _ => "choose another path",
    };
    Error::Create { path: path.to_owned(), source, advice }
}

/// Whether `path` is a link, perhaps by way of others, to an open file of a process, as /dev/stdout
/// is. What it leads to may be a file like any other.
fn leads_to_open_file(path: &Path) -> bool {
    let mut path = path.to_owned();
    // Links may form a circle.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { return false };
        path = parent(&path).join(target);
        if ["/proc", "/dev/fd"].iter().any(|folder| path.starts_with(folder)) {
            return true;
        }
    }
    false
}

/// The folder that holds `path`.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `.NAME.` begins the name of every temporary of a target called NAME.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

fn temporary_path(folder: &Path, name: &OsStr) -> PathBuf {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut file = prefix(name);
    file.push(format!("{}-{nanos:x}{SUFFIX}", std::process::id()));
    folder.join(file)
}

/// The temporary folder whose lock is the temporary file `lock`.
pub(super) fn folder_of(lock: &Path) -> PathBuf {
    lock.with_extension(FOLDER_SUFFIX.trim_start_matches('.'))
}

/// The file whose lock tells that the writer of `temporary` lives: itself, or that of a folder.
fn lock_of(temporary: &Path) -> PathBuf {
    let bytes = temporary.as_os_str().as_encoded_bytes();
    if bytes.ends_with(FOLDER_SUFFIX.as_bytes()) {
        temporary.with_extension("").with_extension(SUFFIX.trim_start_matches('.'))
    } else {
        temporary.to_owned()
    }
}

/// Creates and locks a temporary file. The lock tells other runs that its writer lives; the system
/// releases it however the process ends.
pub(super) fn create_temporary(
    folder: &Path,
    name: &OsStr,
    target: &Path,
) -> Result<(PathBuf, File)> {
    loop {
        let path = temporary_path(folder, name);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                if let Err(error) = fault::check() {
                    drop(file);
                    let _ = fs::remove_file(&path);
                    return Err(Error::Write { path: target.to_owned(), source: error });
                }
                // A file system without locks only loses the clearing of stale files.
                let lost = matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock));
                if !lost && path.exists() {
                    return Ok((path, file));
                }
                // Another run saw it before it was locked, and is clearing it or has done so.
                let _ = fs::remove_file(&path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(create_error(target, error)),
        }
    }
}

/// Removes what killed runs left for this target, and fails where a live one is writing it.
pub(super) fn clear_stale(folder: &Path, name: &OsStr, target: &Path) -> Result<()> {
    let prefix = prefix(name);
    let entries = fs::read_dir(folder).map_err(|e| create_error(target, e))?;
    for entry in entries.flatten() {
        let found = entry.file_name();
        let ours = found.as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
            && found.as_encoded_bytes().ends_with(SUFFIX.as_bytes());
        if !ours {
            continue;
        }
        let path = entry.path();
        // Held until the file is removed, so that a writer who was just about to lock it notices.
        let lock = match File::open(lock_of(&path)) {
            Ok(file) if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) => {
                return Err(Error::Locked { path: target.to_owned() });
            }
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Another user's; whether that run lives cannot be told.
            Err(_) => continue,
        };
        log::info!("removing {}, left by a run that did not end", path.display());
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        let _ = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        drop(lock);
    }
    Ok(())
}

/// Fails where nothing can be made beside `target`, so that no one waits to learn it at the end.
pub(super) fn check_folder(target: &Path) -> Result<()> {
    let folder = parent(target);
    let metadata = fs::metadata(&folder).map_err(|e| create_error(target, e))?;
    if !metadata.is_dir() {
        return Err(create_error(target, io::ErrorKind::NotADirectory.into()));
    }
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|e| create_error(target, e.into()))?;
    }
    Ok(())
}

/// Fails where `folder` has less than `size` bytes left.
pub(super) fn check_space(folder: &Path, size: u64) -> Result<()> {
    #[cfg(unix)]
    if let Ok(space) = rustix::fs::statvfs(folder) {
        let available = space.f_bavail.saturating_mul(space.f_frsize);
        // Some file systems in user space and virtual ones do not tell their size.
        if space.f_blocks > 0 && available < size {
            return Err(Error::NoSpace { path: folder.to_owned(), needed: size, available });
        }
    }
    #[cfg(not(unix))]
    let _ = (folder, size);
    Ok(())
}

/// Renames, subject to injected faults.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::check()?;
    fs::rename(from, to)
}

/// Makes renames in `folder` durable, where the system offers that.
pub(super) fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}
