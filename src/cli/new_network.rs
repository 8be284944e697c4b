//! The arguments that describe a new network.

use clap::Args;

use crate::error::{Result, UsageError};
use crate::nn::Init;
use crate::pipeline::NewNetwork;
use crate::scheme::Activation;

#[derive(Clone, Debug, Args)]
pub(super) struct NewNetworkArguments {
    /// Neurons of the hidden layers, comma separated; without, the network is a single layer
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Network")]
    hidden: Vec<usize>,
    /// What is applied between the layers
    #[arg(long, value_name = "NAME", default_value = "relu", help_heading = "Network")]
    #[arg(value_parser = super::network::activation)]
    activation: Activation,
    /// How first weights are drawn: glorot-uniform, he-uniform or zeros
    #[arg(long, value_name = "NAME", default_value = "glorot-uniform", help_heading = "Network")]
    initializer: Init,
}

impl NewNetworkArguments {
    pub(super) fn network(&self) -> Result<NewNetwork> {
        if self.hidden.contains(&0) {
            let (what, value) = ("--hidden", "0".to_owned());
            let expected = "a list of layers with at least 1 neuron each";
            return Err(UsageError::OutOfRange { what, value, expected }.into());
        }
        let Self { hidden, activation, initializer } = self.clone();
        Ok(NewNetwork { hidden, activation, initializer })
    }
}
