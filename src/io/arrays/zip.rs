//! `.npz`: a zip file of `.npy` files, as `numpy.savez` and `numpy.savez_compressed` write it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;

use super::{Array, Limit, one_of, single};
use crate::error::{ArrayProblem, Error, Result};

pub(super) fn read(path: &Path, name: Option<&str>, limit: Limit) -> Result<Array> {
    let input = |source| Error::Input { path: path.to_owned(), source };
    let damaged = |error: zip::result::ZipError| -> Error {
        ArrayProblem::Archive { reason: error.to_string() }.into()
    };
    let file = BufReader::new(File::open(path).map_err(input)?);
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let all = archive.file_names().map(|name| name.map(|name| name.into_owned()));
    let all: Vec<String> = all.collect::<Result<_, _>>().map_err(damaged)?;
    let names: Vec<&str> = all.iter().filter_map(|name| name.strip_suffix(".npy")).collect();
    let name = one_of(&names, name)?;
    single(archive.by_name(&format!("{name}.npy")).map_err(damaged)?, limit)
}
