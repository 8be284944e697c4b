//! Which of several kernels is fastest on a device: measured once, and kept on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

use super::context::{Gpu, lock};
use crate::error::Result;

/// The version of the form of the file.
const SCHEMA_VERSION: u32 = 1;

/// A larger file was not written here.
const MOST_BYTES: u64 = 16 << 20;

/// The device and the program that a choice is for: a file of another is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    schema_version: u32,
    tensorpress: String,
    adapter: String,
    backend: String,
    driver: String,
}

/// What was measured for a class of shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The kernel that is taken.
    pub kernel: String,
    /// Seconds of every candidate, those that were given up early rounded up.
    pub seconds: BTreeMap<String, f64>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    identity: Identity,
    choices: BTreeMap<String, Choice>,
}

/// Choices of one device, and the file that keeps them.
#[derive(Debug)]
pub struct Choices {
    identity: Identity,
    file: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Choice>>,
    /// Held while measuring: two measurements at once would disturb each other.
    measuring: Mutex<()>,
    /// Of the last writing.
    problem: Mutex<Option<io::Error>>,
}

impl Identity {
    pub(super) fn new(info: &wgpu::AdapterInfo) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            tensorpress: env!("CARGO_PKG_VERSION").to_owned(),
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        }
    }

    /// A name that differs where any part does, as far as letters and digits go; what is in the
    /// file decides.
    fn file_name(&self) -> String {
        let Self { tensorpress, adapter, backend, driver, .. } = self;
        let text = format!("{tensorpress} {backend} {adapter} {driver}").to_lowercase();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let mut name = words.join("-");
        name.truncate(150);
        format!("kernels-{name}.json")
    }
}

impl Gpu {
    /// This device with kernels chosen by measurement: the first time that a class of shapes
    /// comes, its candidates are timed, which takes from milliseconds to a few seconds where
    /// shaders have to be compiled. What was chosen is kept in `folder`, or where that is `None`
    /// only as long as the handle and its clones live.
    ///
    /// Results keep the bounds of their operations whichever kernel is chosen, but not their bytes.
    /// A file in `folder` that is corrupt, or of another device, driver or version, is replaced;
    /// where nothing can be written, the choices are forgotten at the end.
    ///
    /// ```no_run
    /// use tensorpress::gpu::{self, DeviceChoice, Gpu, GpuOptions};
    ///
    /// # fn main() -> tensorpress::Result<()> {
    /// if let Some(gpu) = Gpu::open(&DeviceChoice::Gpu, GpuOptions::default())? {
    ///     let gpu = gpu.tuned(gpu::cache_folder().as_deref());
    /// #   drop(gpu);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tuned(&self, folder: Option<&Path>) -> Self {
        let identity = self.inner.identity.clone();
        let file = folder.map(|folder| folder.join(identity.file_name()));
        let known = Mutex::new(file.as_deref().map_or_else(BTreeMap::new, |f| read(f, &identity)));
        let (measuring, problem) = (Mutex::default(), Mutex::default());
        let choices = Choices { identity, file, known, measuring, problem };
        Self { choices: Some(Arc::new(choices)), ..self.clone() }
    }

    /// This device with the fixed choices of kernels, as it is opened.
    #[must_use]
    pub fn untuned(&self) -> Self {
        Self { choices: None, ..self.clone() }
    }

    /// Where [`Gpu::tuned`] was asked for.
    pub fn choices(&self) -> Option<&Choices> {
        self.choices.as_deref()
    }
}

impl Choices {
    /// What is known, by class of shapes.
    pub fn known(&self) -> BTreeMap<String, Choice> {
        lock(&self.known).clone()
    }

    /// The file that keeps them.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Why the last choice could not be written to the file, where it could not.
    pub fn problem(&self) -> Option<String> {
        lock(&self.problem).as_ref().map(ToString::to_string)
    }

    /// The kernel for `class`, measured by `measure` where it is not known yet, or where what is
    /// known satisfies not `usable`.
    pub(crate) fn kernel(
        &self,
        class: &str,
        usable: impl Fn(&str) -> bool,
        measure: impl FnOnce() -> Result<Choice>,
    ) -> Result<String> {
        let find = || lock(&self.known).get(class).map(|choice| choice.kernel.clone());
        let find = || find().filter(|kernel| usable(kernel));
        if let Some(kernel) = find() {
            return Ok(kernel);
        }
        let measuring = lock(&self.measuring);
        // Another thread may have been faster.
        if let Some(kernel) = find() {
            return Ok(kernel);
        }
        let choice = measure()?;
        drop(measuring);
        let kernel = choice.kernel.clone();
        log::debug!("{class}: {kernel} {:?}", choice.seconds);
        self.keep(class, choice);
        Ok(kernel)
    }

    /// Measures `class` in any case.
    pub(crate) fn measured(
        &self,
        class: &str,
        measure: impl FnOnce() -> Result<Choice>,
    ) -> Result<Choice> {
        let measuring = lock(&self.measuring);
        let choice = measure()?;
        drop(measuring);
        self.keep(class, choice.clone());
        Ok(choice)
    }

    /// Remembers a choice, here and in the file.
    fn keep(&self, class: &str, choice: Choice) {
        let mut known = lock(&self.known);
        let Some(file) = &self.file else {
            known.insert(class.to_owned(), choice);
            return;
        };
        // Other processes may have added theirs.
        for (class, choice) in read(file, &self.identity) {
            known.entry(class).or_insert(choice);
        }
        known.insert(class.to_owned(), choice);
        let stored = Stored { identity: self.identity.clone(), choices: known.clone() };
        let problem = write(file, &stored).err();
        if let Some(error) = &problem {
            log::debug!("{}: cannot keep the choices of kernels: {error}", file.display());
        }
        *lock(&self.problem) = problem;
    }
}

/// The folder for [`Gpu::tuned`]: `tensorpress` in the user's cache folder. `None` where there is
/// no home.
pub fn cache_folder() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    Some(folders.cache_dir().join("tensorpress"))
}

/// The choices in `file`; none where it is missing, corrupt or foreign.
fn read(file: &Path, identity: &Identity) -> BTreeMap<String, Choice> {
    match parse(file) {
        Ok(stored) if stored.identity == *identity => stored.choices,
        Ok(_) => {
            log::debug!("{}: choices of another device or version; ignored", file.display());
            BTreeMap::new()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            log::debug!("{}: {error}; ignored", file.display());
            BTreeMap::new()
        }
    }
}

fn parse(file: &Path) -> io::Result<Stored> {
    // Opening a pipe would wait for whoever writes to it.
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(io::Error::other("not a file of choices"));
    }
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// Whole or not at all: a process that reads at the same time sees the old or the new file.
fn write(file: &Path, stored: &Stored) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut temporary, stored)?;
    temporary.write_all(b"\n")?;
    temporary.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            schema_version: SCHEMA_VERSION,
            tensorpress: "0.1.0".into(),
            adapter: "A (LLVM 15)/../x".into(),
            backend: "Vulkan".into(),
            driver: "1.2".into(),
        }
    }

    fn choices(folder: &Path) -> Choices {
        let identity = identity();
        let file = folder.join(identity.file_name());
        let known = Mutex::new(read(&file, &identity));
        let (measuring, problem) = (Mutex::default(), Mutex::default());
        Choices { identity, file: Some(file), known, measuring, problem }
    }

    fn choose(choices: &Choices, class: &str, kernel: &str) -> String {
        let measure = || Ok(Choice { kernel: kernel.into(), seconds: BTreeMap::new() });
        choices.kernel(class, |kernel| kernel != "gone", measure).expect("measures")
    }

    #[test]
    fn choices_are_kept_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("not/there");
        assert_eq!(choose(&choices(&deep), "class", "tiled"), "tiled");
        let again = choices(&deep);
        assert_eq!(choose(&again, "class", "other"), "tiled", "measured again");
        assert_eq!(choose(&again, "another", "gone"), "gone");
        assert_eq!(choose(&again, "another", "new"), "new", "no such kernel any more");
        // What another process has added meanwhile is not lost.
        let (one, other) = (choices(&deep), choices(&deep));
        choose(&one, "one", "a");
        choose(&other, "other", "b");
        assert_eq!(choices(&deep).known().len(), 4);
    }

    #[test]
    fn corrupt_and_foreign_files_are_ignored_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        choose(&choices(at), "class", "tiled");
        let file = choices(at).file().expect("a file").to_owned();
        let good = fs::read_to_string(&file).expect("there");
        let broken = [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"0.1.0\"", "\"0.0.9\""),
            good.replace("\"1.2\"", "\"1.3\""),
            good.replace("\"schema_version\": 1", "\"schema_version\": 2"),
            good.replace("\"tiled\"", "7"),
        ];
        for text in broken {
            assert_ne!(text, good);
            fs::write(&file, &text).expect("writes");
            let choices = choices(at);
            assert!(choices.known().is_empty(), "{text}");
            assert_eq!(choose(&choices, "class", "other"), "other");
            let stored = parse(&file).expect("replaced");
            assert_eq!((stored.identity, stored.choices.len()), (identity(), 1));
        }
    }

    #[test]
    fn a_folder_that_takes_no_files_only_costs_the_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "in the way").expect("writes");
        let choices = choices(&file.join("below"));
        assert_eq!(choose(&choices, "class", "tiled"), "tiled");
        assert_eq!(choose(&choices, "class", "other"), "tiled");
    }

    #[test]
    fn a_file_name_is_plain() {
        assert_eq!(identity().file_name(), "kernels-0.1.0-vulkan-a-llvm-15-..-x-1.2.json");
    }
}
