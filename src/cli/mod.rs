//! The command line: one file a subcommand.

mod apply;
mod bench;
mod compare;
mod compress;
mod decompress;
mod device;
mod devices;
mod distill;
mod evaluate;
mod finetune;
mod generate;
mod inspect;
mod interrupt;
mod learning_curve;
mod network;
mod new_network;
mod output;
mod plot;
mod progress;
mod recipe;
mod run;
mod sweep;
mod train;
mod training;
mod training_progress;
mod training_report;
mod tune;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};

/// Makes trained neural networks small, on any GPU or on the CPU
///
/// Prunes and quantizes safetensors models and writes files that other tools load.
#[derive(Debug, Parser)]
#[command(name = "tensorpress", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  tensorpress compress model.safetensors -o small.safetensors --quantize int4
  tensorpress compress ./Llama-3.2-1B -o ./Llama-3.2-1B-W4A16 --quantize int4
  tensorpress compress model.safetensors -o sparse.safetensors --sparsity 0.5 --dry-run
  tensorpress compare model.safetensors small.safetensors
  tensorpress decompress small.safetensors -o dense.safetensors
  tensorpress sweep model.safetensors --data fashion-mnist --plot sweep.svg

Exit codes: 0 ok, 1 a check failed, 2 usage, 65 bad data, 66 missing input, 69 no such device,
70 a defect, 73 cannot create the output, 74 I/O, 75 try again.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every subcommand takes.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Print the result as one JSON object on standard output
    #[arg(long, global = true, help_heading = "Messages")]
    json: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Messages")]
    quiet: bool,
    /// Print more; twice for everything (RUST_LOG overrides)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Messages")]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compress(compress::Arguments),
    Decompress(decompress::Arguments),
    Inspect(inspect::Arguments),
    Compare(compare::Arguments),
    Run(run::Arguments),
    Evaluate(evaluate::Arguments),
    Sweep(sweep::Arguments),
    Train(train::Arguments),
    Finetune(finetune::Arguments),
    Distill(distill::Arguments),
    Apply(apply::Arguments),
    Devices(devices::Arguments),
    Bench(bench::Arguments),
    Tune(tune::Arguments),
    Completions(generate::Completions),
    Man(generate::Man),
}

/// Parses the arguments, runs, prints an error, and gives the exit code.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return print_clap(&error),
    };
    start_log(&cli.common);
    end(dispatch(&cli))
}

/// Prints what clap has to say: help and version, which are no errors, or what is wrong with the
/// arguments.
fn print_clap(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(source) if !error.use_stderr() => end(Err(Error::Stdout { source })),
        Ok(()) | Err(_) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

/// Prints an error and gives the exit code.
fn end(outcome: Result<()>) -> ExitCode {
    interrupt::wait_where_ending();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed the pipe has read enough.
        Err(Error::Stdout { source }) if source.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: &Cli) -> Result<()> {
    let common = &cli.common;
    match &cli.command {
        Command::Compress(arguments) => compress::run(arguments, common),
        Command::Decompress(arguments) => decompress::run(arguments, common),
        Command::Inspect(arguments) => inspect::run(arguments, common),
        Command::Compare(arguments) => compare::run(arguments, common),
        Command::Run(arguments) => run::run(arguments, common),
        Command::Evaluate(arguments) => evaluate::run(arguments, common),
        Command::Sweep(arguments) => sweep::run(arguments, common),
        Command::Train(arguments) => train::run(arguments, common),
        Command::Finetune(arguments) => finetune::run(arguments, common),
        Command::Distill(arguments) => distill::run(arguments, common),
        Command::Apply(arguments) => apply::run(arguments, common),
        Command::Devices(arguments) => devices::run(arguments, common),
        Command::Bench(arguments) => bench::run(arguments, common),
        Command::Tune(arguments) => tune::run(arguments, common),
        Command::Completions(arguments) => generate::completions(arguments, common),
        Command::Man(arguments) => generate::man(arguments, common),
    }
}

fn start_log(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => "tensorpress=warn,error",
        (false, 1) => "tensorpress=debug,warn",
        (false, _) => "debug",
    };
    let environment = env_logger::Env::default().default_filter_or(level);
    // A second call in one process (tests) keeps the first logger.
    let _ = env_logger::Builder::from_env(environment).format_timestamp(None).try_init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
