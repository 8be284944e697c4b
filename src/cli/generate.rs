//! `tensorpress completions` and `tensorpress man`: written by the binary from its own arguments.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
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

pub(super) fn completions(arguments: &Completions) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(arguments.shell, &mut Cli::command(), "tensorpress", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(arguments: &Man) -> Result<()> {
    let Some(folder) = &arguments.output else {
        let mut page = vec![];
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|source| Error::Stdout { source })?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|source| Error::Write { path: folder.clone(), source })
}
