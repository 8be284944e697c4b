//! The arguments that describe a new network.

use clap::Args;

use crate::error::Result;
use crate::io::DataSet;
use crate::nn::{Init, Network, Parameters};
use crate::scheme::Activation;

#[derive(Clone, Debug, Args)]
pub(super) struct NewNetworkArguments {
    /// Outputs of the hidden layers, comma separated; without, the network is a single layer
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Network")]
    hidden: Vec<usize>,
    /// What is applied between the layers
    #[arg(long, value_name = "NAME", default_value = "relu", help_heading = "Network")]
    #[arg(value_parser = super::network::activation)]
    activation: Activation,
    /// How first weights are drawn
    #[arg(long, value_name = "NAME", default_value = "glorot-uniform", help_heading = "Network")]
    initializer: Init,
}

impl NewNetworkArguments {
    /// A network of dense layers for `data` that ends in a softmax, with its first parameters.
    pub(super) fn network(&self, data: &DataSet, seed: u64) -> Result<(Network, Parameters)> {
        let classes = data.labels.iter().max().map_or(0, |label| *label as usize + 1);
        let mut network = Network::new();
        let mut inputs = data.inputs.rows().1;
        for (number, outputs) in self.hidden.iter().enumerate() {
            network =
                network.dense(&format!("fc{}", number + 1), inputs, *outputs, self.activation)?;
            inputs = *outputs;
        }
        let name = format!("fc{}", self.hidden.len() + 1);
        let network = network.dense(&name, inputs, classes, Activation::Identity)?.softmax();
        let parameters = network.initial(self.initializer, seed);
        Ok((network, parameters))
    }
}
