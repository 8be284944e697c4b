//! What the documents and the comments of the sources name exists.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::files::own;

/// All files with one of these endings below a folder of the repository.
fn below(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                below(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// What `text` names and is not there. A relative link of Markdown is relative to its file; a path
/// in backticks also to the repository, its sources or its shaders. `x` stands for any operation.
fn missing(text: &str, markdown: bool, folder: &Path, root: &Path) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)#\s]+)[^)]*\)").expect("a pattern");
    let named = Regex::new(r"`([\w./-]+\.(?:md|rs|toml|py|wgsl))`").expect("a pattern");
    let found = |pattern: &Regex| -> Vec<String> {
        pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    // Those of comments lead to items, and rustdoc follows them.
    let mut links = if markdown { found(&link) } else { vec![] };
    links.retain(|target| !target.contains("://") && !folder.join(target).exists());
    let mut named = found(&named);
    // The name of a source file need not tell its folder.
    named.retain(|target| target.contains('/') || target.ends_with(".md"));
    named.retain(|target| !target.contains("/x."));
    let roots = [folder, root, &root.join("src"), &root.join("shaders")];
    named.retain(|target| !roots.iter().any(|root| root.join(target).exists()));
    links.append(&mut named);
    links
}

#[test]
fn every_file_that_a_document_names_exists() {
    let root = own(".");
    let mut files = vec![];
    below(&root, &[".md", ".rs"], &mut files);
    assert!(files.len() > 100, "{}", files.len());
    let mut wrong = vec![];
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let markdown = file.extension().is_some_and(|ending| ending == "md");
        let comments: String = text
            .lines()
            .filter(|line| markdown || line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let folder = file.parent().expect("a folder");
        let found = missing(&comments, markdown, folder, &root);
        wrong.extend(found.into_iter().map(|target| format!("{}: {target}", file.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_name_of_nothing_is_noticed() {
    let root = own(".");
    let text = "`FORMAT.md`, [a](README.md#tests), [b](https://example.org/x.md), `nowhere/a.rs`, [c](gone.md)";
    assert_eq!(missing(text, true, &root, &root), ["gone.md", "nowhere/a.rs"]);
}
