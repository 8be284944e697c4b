//! `tensorpress train`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::training::TrainingArguments;
use super::{Common, output};
use crate::error::Result;
use crate::io::{DataSet, Model};
use crate::nn::train::Training;
use crate::nn::{Init, Network, Parameters};
use crate::scheme::Activation;

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
      --early-stopping 5 --history history.csv -o model.safetensors
  tensorpress train --data fashion-mnist --init model.safetensors --learning-rate 1e-4 -o more.safetensors")]
pub(super) struct Arguments {
    /// Outputs of the hidden layers, comma separated; none for a single layer
    #[arg(long, value_name = "LIST", value_delimiter = ',', required_unless_present = "init")]
    hidden: Vec<usize>,
    /// What is applied between the layers
    #[arg(long, value_name = "NAME", default_value = "relu", value_parser = super::network::activation)]
    activation: Activation,
    /// How first weights are drawn
    #[arg(long, value_name = "NAME", default_value = "glorot-uniform", value_parser = initialiser)]
    initializer: Init,
    /// Begin with the network and the weights of this model
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["hidden", "activation", "initializer"])]
    init: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingArguments,
}

fn initialiser(text: &str) -> std::result::Result<Init, String> {
    text.parse::<Init>().map_err(|error| error.to_string())
}

/// Epochs where nothing else is asked for.
const EPOCHS: u64 = 10;

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let options = arguments.training.options(EPOCHS)?;
    arguments.training.check_output()?;
    let data = arguments.training.training_data()?;
    let (network, parameters) = arguments.beginning(&data, common)?;
    let backend = arguments.training.open_device(common)?;
    let start = Instant::now();
    let mut training = Training::new(&backend, network, parameters, data, options)
        .map_err(|error| error.in_file(&arguments.training.data))?;
    let ended = arguments.training.fit(&mut training, common)?;
    let seconds = start.elapsed().as_secs_f64();
    let path = &arguments.training.output;
    training.parameters()?.write(training.network(), path, arguments.training.force)?;
    let report = arguments.training.finish(&training, ended, &backend, seconds)?;
    if common.json { output::json(&report) } else { output::print(&report.text()) }
}

impl Arguments {
    /// The network and its first parameters.
    fn beginning(&self, data: &DataSet, common: &Common) -> Result<(Network, Parameters)> {
        if let Some(path) = &self.init {
            let model = Model::open(path)?;
            let (network, origin) = Network::read(&model, None)?;
            output::note(common, &format!("{}: {origin}", path.display()));
            let parameters = Parameters::read(&model, &network)?;
            return Ok((network, parameters));
        }
        let classes = data.labels.iter().max().map_or(0, |label| *label as usize + 1);
        let mut network = Network::new();
        let mut inputs = data.inputs.rows().1;
        for (number, outputs) in self.hidden.iter().enumerate() {
            let name = format!("fc{}", number + 1);
            network = network.dense(&name, inputs, *outputs, self.activation)?;
            inputs = *outputs;
        }
        let name = format!("fc{}", self.hidden.len() + 1);
        network = network.dense(&name, inputs, classes, Activation::Identity)?.softmax();
        let parameters = network.initial(self.initializer, self.training.seed);
        Ok((network, parameters))
    }
}
