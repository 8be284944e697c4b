//! `tensorpress completions` and `tensorpress man`: written by the binary from its own arguments.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::{Cli, Common, output};
use crate::error::{Error, Result};

/// Print a script that completes arguments in a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress completions bash > ~/.local/share/bash-completion/completions/tensorpress
  tensorpress completions zsh > ~/.zfunc/_tensorpress
  tensorpress completions fish > ~/.config/fish/completions/tensorpress.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write one for every command
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress man | man -l -
  tensorpress man --output ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Write tensorpress.1 and a page a subcommand into this folder
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(super) fn completions(arguments: &Completions, common: &Common) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(arguments.shell, &mut Cli::command(), "tensorpress", &mut script);
    let script = String::from_utf8_lossy(&script);
    if common.json {
        let shell = arguments.shell.to_string();
        return output::json(&json!({ "schema_version": 1, "shell": shell, "script": script }));
    }
    output::print(&script)
}

pub(super) fn man(arguments: &Man, common: &Common) -> Result<()> {
    if let Some(folder) = &arguments.output {
        clap_mangen::generate_to(Cli::command(), folder)
            .map_err(|source| Error::Write { path: folder.clone(), source })?;
        let folder = folder.display().to_string();
        let report = json!({ "schema_version": 1, "folder": folder });
        return if common.json { output::json(&report) } else { Ok(()) };
    }
    let mut page = vec![];
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|source| Error::Stdout { source })?;
    let page = String::from_utf8_lossy(&page);
    if common.json {
        return output::json(&json!({ "schema_version": 1, "page": page }));
    }
    output::print(&page)
}
