//! The command line: one file a subcommand.

mod compress;
mod output;
mod progress;
mod recipe;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::gpu::{DeviceChoice, GpuOptions};
use crate::ops::Backend;

/// Makes trained neural networks small, on any GPU or on the CPU.
///
/// Prunes and quantizes safetensors models and writes files that other tools load.
#[derive(Debug, Parser)]
#[command(name = "tensorpress", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  tensorpress compress model.safetensors -o small.safetensors --quantize int4
  tensorpress compress ./Llama-3.2-1B -o ./Llama-3.2-1B-W4A16 --quantize int4
  tensorpress compress model.safetensors -o sparse.safetensors --sparsity 0.5 --dry-run
  tensorpress inspect small.safetensors

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
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more; twice for everything (RUST_LOG overrides)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Where it is computed.
#[derive(Clone, Debug, Args)]
struct Device {
    /// auto, cpu, gpu, gpu:INDEX or gpu:NAME-PART; `tensorpress devices` lists what there is
    ///
    /// auto takes a hardware GPU if there is one and otherwise the CPU backend; gpu takes the
    /// best adapter, emulated ones included. The result is the same on all of them.
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "TENSORPRESS_DEVICE")]
    device: String,
    /// Let shaders check bounds and loops: slower, for suspected driver faults
    #[arg(long)]
    checked: bool,
}

impl Device {
    fn open(&self, common: &Common) -> Result<Backend> {
        let choice: DeviceChoice = self.device.parse()?;
        let options = GpuOptions { checked: self.checked, ..GpuOptions::default() };
        let backend = Backend::open(&choice, options)?;
        match &backend {
            Backend::Cpu if choice == DeviceChoice::Auto => {
                output::note(common, "no hardware GPU found; using the CPU backend");
            }
            Backend::Gpu(gpu) if gpu.is_software() => {
                let text = format!(
                    "{} is emulated on the CPU; --device cpu is faster and gives the same result",
                    gpu.label()
                );
                output::warn(common, &text);
            }
            _ => {}
        }
        Ok(backend)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Compress(compress::Arguments),
}

/// Parses the arguments, runs, prints an error, and gives the exit code.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no errors; a closed pipe is none.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    start_log(&cli.common);
    let result = match &cli.command {
        Command::Compress(arguments) => compress::run(arguments, &cli.common),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Stdout { source }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
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
