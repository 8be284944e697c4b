//! `tensorpress train`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::new_network::NewNetworkArguments;
use super::training::{TrainingArguments, Written};
use super::{Common, output};
use crate::error::Result;
use crate::io::{DataSet, Model};
use crate::nn::train::Training;
use crate::nn::{Network, Parameters};

/// Train a network on labelled data
///
/// Builds a chain of dense layers that ends in a softmax, or takes one from a model with --init,
/// trains it on the CPU or a GPU, and writes it as a safetensors file, which every other command
/// takes. DATA is a directory with the IDX files of MNIST or Fashion-MNIST, or an .npz or
/// .safetensors file with x and y, or with x_train, y_train, x_test and y_test. Bytes are scaled to
/// 0 … 1.
#[derive(Debug, Args)]
#[command(after_help = "\
The same arguments, data and device give the same bytes. Ctrl-C leaves a checkpoint beside the
output; the same command with --resume goes on to the bytes that it would have given.

Examples:
  tensorpress train --data fashion-mnist --hidden 100 -o model.safetensors
  tensorpress train --data digits.npz --hidden 300,100 --epochs 30 --validation-split 0.1 \\
      --patience 5 --history history.csv -o model.safetensors
  tensorpress train --data fashion-mnist --init model.safetensors --learning-rate 1e-4 -o more.safetensors")]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NewNetworkArguments,
    /// Begin with the network and the weights of this model
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["hidden", "activation", "initializer"])]
    init: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingArguments,
}

/// Epochs where nothing else is asked for.
const EPOCHS: u64 = 10;

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let shared = &arguments.training;
    let options = shared.options(EPOCHS)?;
    shared.check_output(arguments.init.as_deref())?;
    let data = shared.training_data()?;
    let (network, parameters) = arguments.beginning(&data, common)?;
    let backend = shared.open_device(common)?;
    let start = Instant::now();
    let written = Written::new(&network, None);
    let mut training = Training::new(&backend, network, parameters, data, options)
        .map_err(|error| error.in_file(&shared.data))?;
    let ended = shared.fit(&mut training, common)?;
    let seconds = start.elapsed().as_secs_f64();
    written.write(&training, &shared.output, shared.force)?;
    shared.finish(&training, ended, &backend, seconds)?.print(common)
}

impl Arguments {
    /// The network and its first parameters.
    fn beginning(&self, data: &DataSet, common: &Common) -> Result<(Network, Parameters)> {
        let Some(path) = &self.init else {
            return self.network.network(data, self.training.seed);
        };
        let model = Model::open(path)?;
        let (network, origin) = Network::read(&model, None)?;
        output::note(common, &format!("{}: {origin}", path.display()));
        let parameters = Parameters::read(&model, &network)?;
        Ok((network, parameters))
    }
}
