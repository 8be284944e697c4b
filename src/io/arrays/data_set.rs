//! Inputs with their labels.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::Crc;

use super::{Array, ArrayData};
use crate::error::{ArrayProblem, Error, FormatProblem, Result, UsageError};

/// Inputs `[rows, …]` with a label each.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// What is classified.
    pub inputs: Array,
    /// The class of each row.
    pub labels: Vec<u32>,
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// What a network learns from.
    Train,
    /// What it is judged by.
    #[default]
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "train" => Ok(Self::Train),
            "test" => Ok(Self::Test),
            _ => Err(UsageError::OutOfRange {
                what: "--split",
                value: text.to_owned(),
                expected: "train or test",
            }
            .into()),
        }
    }
}

impl DataSet {
    /// Reads a directory with the four IDX files of MNIST or Fashion-MNIST, gzipped or not, or an
    /// `.npz` or `.safetensors` file with `x` and `y`, which has no splits, or, as the files of
    /// Keras, with `x_train`, `y_train`, `x_test` and `y_test`.
    ///
    /// # Errors
    /// [`Error::Input`] where files are missing, [`ArrayProblem`] where they are not valid or do
    /// not fit each other.
    pub fn open(path: &Path, split: Split) -> Result<Self> {
        let (inputs, labels, place) = if path.is_dir() {
            let stem = match split {
                Split::Train => "train",
                Split::Test => "t10k",
            };
            let images = one_file(path, &format!("{stem}-images-idx3-ubyte"))?;
            let labels = one_file(path, &format!("{stem}-labels-idx1-ubyte"))?;
            (Array::read(&images)?, Array::read(&labels)?, labels)
        } else {
            let (inputs, labels) = pair(path, split)?;
            (inputs, labels, path.to_owned())
        };
        Self::new(inputs, &labels).map_err(|error| error.in_file(&place))
    }

    /// The test rows, where the data has any apart from those that are learnt from.
    ///
    /// # Errors
    /// As [`DataSet::open`].
    pub fn open_test(path: &Path) -> Result<Option<Self>> {
        let apart = if path.is_dir() {
            one_file(path, "t10k-images-idx3-ubyte").is_ok()
        } else {
            match Array::read_named(path, "x_test") {
                Ok(_) => true,
                Err(error) if is_name(&error) => false,
                Err(error) => return Err(error),
            }
        };
        apart.then(|| Self::open(path, Split::Test)).transpose()
    }

    fn new(inputs: Array, labels: &Array) -> Result<Self> {
        let values: Vec<i64> = match (&labels.data, labels.rows()) {
            (ArrayData::U8(values), (_, 1)) => values.iter().map(|v| i64::from(*v)).collect(),
            (ArrayData::I64(values), (_, 1)) => values.clone(),
            (ArrayData::F32(_), (_, 1)) => return Err(ArrayProblem::FloatLabels.into()),
            _ => {
                return Err(ArrayProblem::Shape {
                    what: "the array of labels".to_owned(),
                    found: labels.shape.clone(),
                    expected: "[rows] of integers".to_owned(),
                }
                .into());
            }
        };
        let (rows, _) = inputs.rows();
        if rows != values.len() {
            return Err(ArrayProblem::Counts { inputs: rows, labels: values.len() }.into());
        }
        if rows == 0 {
            return Err(ArrayProblem::Empty.into());
        }
        let labels = values.iter().enumerate().map(|(index, value)| {
            u32::try_from(*value).map_err(|_| {
                let value = value.to_string();
                ArrayProblem::NoLabel { index, value }.into()
            })
        });
        Ok(Self { inputs, labels: labels.collect::<Result<_>>()? })
    }

    /// The same with its inputs as floats, so that they are converted once only.
    #[must_use]
    pub fn into_floats(mut self) -> Self {
        if let ArrayData::U8(_) | ArrayData::I64(_) = self.inputs.data {
            self.inputs.data = ArrayData::F32(self.inputs.scaled().into_owned());
        }
        self
    }

    /// Leaves the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        let (all, width) = self.inputs.rows();
        if rows >= all {
            return;
        }
        self.labels.truncate(rows);
        if let Some(extent) = self.inputs.shape.first_mut() {
            *extent = rows;
        }
        match &mut self.inputs.data {
            ArrayData::F32(values) => values.truncate(rows * width),
            ArrayData::U8(values) => values.truncate(rows * width),
            ArrayData::I64(values) => values.truncate(rows * width),
        }
    }

    /// CRC-32 of inputs and labels, to know them again.
    pub fn checksum(&self) -> u32 {
        let mut crc = Crc::new();
        let extents: Vec<u64> = self.inputs.shape.iter().map(|extent| *extent as u64).collect();
        crc.update(bytemuck::cast_slice(&extents));
        match &self.inputs.data {
            ArrayData::F32(values) => crc.update(bytemuck::cast_slice(values)),
            ArrayData::U8(values) => crc.update(values),
            ArrayData::I64(values) => crc.update(bytemuck::cast_slice(values)),
        }
        crc.update(bytemuck::cast_slice(&self.labels));
        crc.sum()
    }

    /// One more than the largest label.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |label| *label as usize + 1)
    }

    /// Fails where a label is none of `classes` classes.
    ///
    /// # Errors
    /// [`ArrayProblem::Label`].
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        match self.labels.iter().position(|label| *label as usize >= classes) {
            None => Ok(()),
            Some(index) => {
                let value = self.labels[index].to_string();
                Err(ArrayProblem::Label { index, value, classes }.into())
            }
        }
    }
}

/// `x` and `y` of a file, or those of the split where it has splits.
fn pair(path: &Path, split: Split) -> Result<(Array, Array)> {
    let [x, y] = match split {
        Split::Train => ["x_train", "y_train"],
        Split::Test => ["x_test", "y_test"],
    };
    match Array::read_named(path, "x") {
        Ok(inputs) => Ok((inputs, Array::read_named(path, "y")?)),
        Err(error) if is_name(&error) => match Array::read_named(path, x) {
            Ok(inputs) => Ok((inputs, Array::read_named(path, y)?)),
            // Neither is there: "x" is what to call it.
            Err(other) if is_name(&other) => Err(error),
            Err(other) => Err(other),
        },
        Err(error) => Err(error),
    }
}

/// Whether an array of the wanted name is not there.
fn is_name(error: &Error) -> bool {
    let problem = match error {
        Error::Data(problem) | Error::Format { problem, .. } => problem,
        _ => return false,
    };
    matches!(problem, FormatProblem::Array(ArrayProblem::Name { .. }))
}

/// `stem` or `stem.gz` in `folder`; some copies have a dot instead of the second hyphen.
fn one_file(folder: &Path, stem: &str) -> Result<PathBuf> {
    let dotted = stem.replace("-idx", ".idx");
    let names = [stem.to_owned(), format!("{stem}.gz"), dotted.clone(), format!("{dotted}.gz")];
    let paths = names.iter().map(|name| folder.join(name));
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let text = format!("none of {} is there", names.join(", "));
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, text);
        Error::Input { path: folder.to_owned(), source }
    })
}
