//! What the names of tensors say.

use std::borrow::Cow;

/// `text` on one line and without what a terminal would obey: names in a file are anybody's words.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    // Some marks end a line, others turn the direction of writing, so that a name poses as another.
    let obeyed = |c: char| {
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
        let directions = ['\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        c.is_control() || marks.contains(&c) || directions.iter().any(|range| range.contains(&c))
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| match c {
        c if obeyed(c) => c.escape_default().to_string(),
        c => c.to_string(),
    });
    Cow::Owned(escaped.collect())
}

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
