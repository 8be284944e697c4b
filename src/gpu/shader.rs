//! Shader sources and `//!include`.

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../shaders/", $path)))),*]
    };
}

/// Every shader file: its path below `shaders/` and its text.
pub fn sources() -> &'static [(&'static str, &'static str)] {
    sources![
        "common/activation.wgsl",
        "common/element.wgsl",
        "common/float_bits.wgsl",
        "common/grid.wgsl",
        "common/product.wgsl",
        "common/order.wgsl",
        "common/random.wgsl",
        "activation.wgsl",
        "bitmask.wgsl",
        "bitmask_codes.wgsl",
        "dense.wgsl",
        "dense_grad.wgsl",
        "dense_masked.wgsl",
        "dense_packed.wgsl",
        "dequantize.wgsl",
        "gather.wgsl",
        "histogram.wgsl",
        "loss.wgsl",
        "optimizer.wgsl",
        "pack.wgsl",
        "prune.wgsl",
        "prune_exact.wgsl",
        "prune_nm.wgsl",
        "quant_params.wgsl",
        "quantize.wgsl",
        "roofline/copy.wgsl",
        "roofline/fma.wgsl",
        "softmax.wgsl",
        "stats.wgsl",
        "top_k.wgsl",
    ]
}

/// An `//!include` that cannot be followed: a defect in a shader file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShaderError {
    /// No such file among the sources.
    #[error("shaders/{from}: //!include {path}: no such file")]
    Missing {
        /// The including file.
        from: String,
        /// The included one.
        path: String,
    },
    /// A file that includes itself, directly or through others.
    #[error("shaders/{path} includes itself")]
    Cycle {
        /// The file.
        path: String,
    },
}

/// The text of `path` with every `//!include` replaced by that file, once a file.
///
/// # Errors
/// [`ShaderError`] for a missing file or a cycle.
pub fn expand(path: &str) -> Result<String, ShaderError> {
    let mut done = Vec::new();
    let mut open = Vec::new();
    let mut out = String::new();
    append(path, path, &mut done, &mut open, &mut out)?;
    Ok(out)
}

fn append(
    from: &str,
    path: &str,
    done: &mut Vec<String>,
    open: &mut Vec<String>,
    out: &mut String,
) -> Result<(), ShaderError> {
    if open.iter().any(|p| p == path) {
        return Err(ShaderError::Cycle { path: path.into() });
    }
    if done.iter().any(|p| p == path) {
        return Ok(());
    }
    let Some((_, text)) = sources().iter().find(|(p, _)| *p == path) else {
        return Err(ShaderError::Missing { from: from.into(), path: path.into() });
    };
    open.push(path.into());
    for line in text.lines() {
        match line.strip_prefix("//!include ") {
            Some(included) => append(path, included.trim(), done, open, out)?,
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    open.pop();
    done.push(path.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_and_expands() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let mut found = Vec::new();
        for folder in ["", "common", "roofline"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("shaders").flatten() {
                let name = entry.file_name().into_string().expect("UTF-8");
                if name.ends_with(".wgsl") {
                    found.push(if folder.is_empty() { name } else { format!("{folder}/{name}") });
                }
            }
        }
        let mut listed: Vec<_> = sources().iter().map(|s| s.0.to_owned()).collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
        for path in listed {
            assert!(!expand(&path).expect("expands").contains("//!include"));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        assert_eq!(
            expand("nothing.wgsl"),
            Err(ShaderError::Missing { from: "nothing.wgsl".into(), path: "nothing.wgsl".into() })
        );
    }
}
