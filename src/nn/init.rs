//! The weights that a training begins with.

use std::fmt;
use std::str::FromStr;

use chacha20::rand_core::Rng;

use super::network::{Layer, Network};
use super::parameters::{LayerParameters, Parameters};
use super::random::{Purpose, stream};
use crate::error::{Error, UsageError};
use crate::tensor::FloatType;

/// How first weights are drawn; the limits are those of Keras. Biases are zeros.
///
/// Weights are uniform in [−limit, limit). Anybody can draw the same: layer `l` of a network,
/// counted from 0, takes the 32-bit words of ChaCha8 (8 rounds, 64-bit counter from 0) with the
/// seed in the first 8 bytes of the key and a 1 in the next 8, both little-endian, zeros after
/// them, and the nonce `l`. Each word gives one weight, `limit · (⌊word / 2⁸⌋ · 2⁻²³ − 1)`, of
/// which only the product is rounded, to `f32`, as is the limit. The weights are drawn in
/// row-major order of `[outputs, inputs]`. So they depend neither on other layers nor on threads.
///
/// ```
/// use tensorpress::nn::Init;
/// assert_eq!("he-uniform".parse::<Init>()?, Init::HeUniform);
/// assert_eq!(Init::default().limit(784, 100), (6.0_f64 / 884.0).sqrt());
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// √(6 / (inputs + outputs)) (Glorot and Bengio 2010, as Keras's `GlorotUniform`), for layers
    /// of any kind.
    #[default]
    GlorotUniform,
    /// √(6 / inputs) (He et al. 2015, as Keras's `HeUniform`), for deep networks of relu.
    HeUniform,
    /// Every weight is 0. A network of several such layers learns nothing but its last biases.
    Zeros,
}

const NAMES: [(&str, Init); 3] = [
    ("glorot-uniform", Init::GlorotUniform),
    ("he-uniform", Init::HeUniform),
    ("zeros", Init::Zeros),
];

impl Init {
    /// What can be parsed, for messages.
    pub const KNOWN: &str = "glorot-uniform, he-uniform and zeros";

    /// Weights of a layer lie in [−limit, limit).
    pub fn limit(self, inputs: usize, outputs: usize) -> f64 {
        match self {
            Self::GlorotUniform => (6.0 / (inputs + outputs).max(1) as f64).sqrt(),
            Self::HeUniform => (6.0 / inputs.max(1) as f64).sqrt(),
            Self::Zeros => 0.0,
        }
    }

    /// The parameters of `layer`, which is number `number` of its network.
    fn layer(self, layer: &Layer, seed: u64, number: u64) -> LayerParameters {
        let Layer { inputs, outputs, .. } = *layer;
        let limit = self.limit(inputs, outputs) as f32;
        let mut words = stream(seed, Purpose::Weights, number);
        let mut weight = vec![0.0; inputs * outputs];
        if limit > 0.0 {
            const STEP: f32 = 1.0 / (1 << 23) as f32;
            weight.fill_with(|| limit * ((words.next_u32() >> 8) as f32 * STEP - 1.0));
        }
        let bias = layer.bias.as_ref().map(|_| vec![0.0; outputs]);
        LayerParameters { weight, bias, float: FloatType::F32 }
    }
}

impl Network {
    /// First parameters of each layer; the same for the same seed.
    pub fn initial(&self, init: Init, seed: u64) -> Parameters {
        let layers = (0..).zip(&self.layers);
        Parameters {
            layers: layers.map(|(number, layer)| init.layer(layer, seed, number)).collect(),
        }
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, init)| init == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for Init {
    type Err = Error;

    /// # Errors
    /// [`UsageError::UnknownName`], which names the known ones.
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, init)| *init);
        known.ok_or_else(|| {
            let (wanted, known) = (text.to_owned(), Self::KNOWN);
            UsageError::UnknownName { what: "initialiser", wanted, known }.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Activation;

    fn network() -> Network {
        let network = Network::new().dense("fc1", 300, 200, Activation::Relu).expect("one layer");
        network.dense("fc2", 200, 10, Activation::Identity).expect("it chains")
    }

    #[test]
    fn weights_are_uniform_within_the_limits() {
        for (init, limit) in
            [(Init::GlorotUniform, (6.0_f64 / 500.0).sqrt()), (Init::HeUniform, 0.02_f64.sqrt())]
        {
            assert_eq!(init.limit(300, 200), limit);
            let first = &network().initial(init, 3).layers[0];
            assert_eq!((first.weight.len(), &first.bias), (60_000, &Some(vec![0.0; 200])));
            let share = |w: &f32| f64::from(*w) / limit;
            let n = first.weight.len() as f64;
            let mean = first.weight.iter().map(share).sum::<f64>() / n;
            let square = first.weight.iter().map(|w| share(w).powi(2)).sum::<f64>() / n;
            // Four deviations: 1/√(3n) of the mean, √(4/45n) of the square.
            assert!(mean.abs() < 4.0 / (3.0 * n).sqrt(), "{mean}");
            assert!((square - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / n).sqrt(), "{square}");
            // Uniform up to the ends, and not beyond.
            let [low, high] = [-limit as f32, limit as f32];
            let (least, most) =
                first.weight.iter().fold((0.0_f32, 0.0_f32), |(l, m), w| (l.min(*w), m.max(*w)));
            assert!(least >= low && most < high, "{least} {most}");
            assert!(least < low * 0.999 && most > high * 0.999, "{least} {most}");
        }
        let zeros = network().initial(Init::Zeros, 3);
        assert!(zeros.layers.iter().all(|layer| layer.weight.iter().all(|w| *w == 0.0)));
    }

    #[test]
    fn a_seed_gives_the_same_weights_for_ever() {
        let drawn = |network: Network, seed| network.initial(Init::GlorotUniform, seed).layers;
        let layers = drawn(network(), 42);
        // From a program of its own, in another language.
        assert_eq!(layers[0].weight[..4], [0.024858741, 0.00533629, 0.05907774, -0.07642687]);
        assert_eq!(layers[1].weight[..4], [0.0020809358, -0.017074807, -0.13099964, 0.09380155]);
        assert_eq!(drawn(network(), 42), layers);
        let other = drawn(network(), 43);
        assert!((0..2).all(|layer| other[layer].weight != layers[layer].weight));
        // A layer does not depend on those before it, only on how many they are.
        let mut wider = network();
        (wider.layers[0].inputs, wider.layers[0].bias) = (301, None);
        let wider = drawn(wider, 42);
        assert_eq!((&wider[1], &wider[0].bias), (&layers[1], &None));
    }

    #[test]
    fn names_parse_and_print() {
        for (name, init) in NAMES {
            assert_eq!(name.parse::<Init>().expect("known"), init);
            assert_eq!(init.to_string(), name);
            assert!(Init::KNOWN.contains(name));
        }
        let message = "xavier".parse::<Init>().expect_err("unknown").to_string();
        assert!(message.contains("\"xavier\"") && message.contains(Init::KNOWN), "{message}");
    }
}
