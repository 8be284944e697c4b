//! `tensorpress train`

use std::path::PathBuf;

use clap::Args;

use super::new_network::NewNetworkArguments;
use super::training::TrainingArguments;
use super::{Common, network};
use crate::error::Result;
use crate::nn::train::TrainingOptions;
use crate::pipeline::{Beginning, Source, Train};

/// Train a network on labelled data
///
/// Builds a chain of dense layers that ends in a softmax, or takes one from a model with --init,
/// trains it on the CPU or a GPU, and writes it as a safetensors file, which every other command
/// takes. DATA is a directory with the IDX files of MNIST or Fashion-MNIST, or an .npz or
/// .safetensors file with x and y, or with x_train, y_train, x_test and y_test. Bytes are scaled to
/// 0 … 1. Where DATA has test rows, the network is judged by them in the end.
#[derive(Debug, Args)]
#[command(after_help = "\
The same arguments, data and device give the same bytes. Ctrl-C leaves a checkpoint beside the
output; the same command with --resume goes on to the bytes that it would have given.

Examples:
  tensorpress train --data fashion-mnist --hidden 100 -o model.safetensors
  tensorpress train --data digits.npz --hidden 300,100 --epochs 30 --validation-split 0.1 \\
      --patience 5 --plot curve.svg -o model.safetensors
  tensorpress train --data fashion-mnist --init model.safetensors --learning-rate 1e-4 \\
      -o more.safetensors")]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NewNetworkArguments,
    /// Begin with the network and the weights of this model
    #[arg(long, value_name = "MODEL", help_heading = "Network")]
    #[arg(conflicts_with_all = ["hidden", "activation", "initializer"])]
    init: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingArguments,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let Arguments { network: new, init, training } = arguments;
    let beginning = match init {
        Some(path) => Beginning::Given(Source::Model(path.clone())),
        None => Beginning::New(new.network()?),
    };
    let options = training.options(TrainingOptions::default().epochs)?;
    let train = Train { beginning, options };
    training.check_output(init.as_deref())?;
    let given = init.as_ref().map(|path| network::open(path, None, common)).transpose()?;
    let job = train.job(given.as_ref(), training.data()?)?;
    training.run(job, common)
}
