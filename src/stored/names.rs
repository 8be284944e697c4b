//! What the names of tensors say.

/// A name's parts: PyTorch separates them by `.`, Keras by `/`.
pub(crate) fn parts(name: &str) -> impl DoubleEndedIterator<Item = &str> {
    name.split(['.', '/'])
}

/// Whether the last part of a name says that this is a Keras kernel, stored `[in, out]`.
pub(crate) fn is_kernel(name: &str) -> bool {
    parts(name).next_back() == Some("kernel")
}

/// The module that a weight belongs to, as configurations name it.
pub(crate) fn module(name: &str) -> &str {
    name.strip_suffix(".weight").or_else(|| name.strip_suffix("/kernel")).unwrap_or(name)
}

/// Whether the part before the last says that this weight belongs to an embedding.
pub(crate) fn is_embedding(name: &str) -> bool {
    let module = parts(name).rev().nth(1).unwrap_or_default().to_lowercase();
    module.contains("embed") || ["wte", "wpe", "shared"].contains(&&*module)
}
