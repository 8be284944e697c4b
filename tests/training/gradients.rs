//! Gradients of a whole network against central differences of its loss in f64.

use tensorpress::ops::{
    Backend, Batch, Dropout, Features, Indices, Loss, Optimizer, Stream, Targets, Values,
    activation,
};
use tensorpress::scheme::Activation;

use super::both;
use super::chain::{Chain, Recipe, Start};

const INPUTS: usize = 5;
const HIDDEN: usize = 4;
const CLASSES: usize = 3;
const ROWS: usize = 7;
const ORDER: [u32; ROWS] = [6, 2, 4, 0, 3, 5, 1];

const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::LeakyRelu(0.2),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    CrossEntropy,
    SoftmaxSquared,
    /// Of outputs with an activation, against dense targets.
    Squared(Activation),
    Distillation,
}

/// SplitMix64, spread over -1 … 1.
fn random(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let share = |index: u64| {
        let mut z = (seed << 32).wrapping_add(index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count as u64).map(|index| share(index) * scale).collect()
}

fn activate(kind: Activation, z: f64) -> f64 {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    match kind {
        Activation::Identity => z,
        Activation::Relu => z.max(0.0),
        Activation::Gelu => 0.5 * z * (1.0 + libm::erf(z / 2_f64.sqrt())),
        Activation::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044_715 * z.powi(3));
            0.5 * z * (1.0 + u.tanh())
        }
        Activation::Silu => z * sigmoid(z),
        Activation::Sigmoid => sigmoid(z),
        Activation::Tanh => z.tanh(),
        Activation::LeakyRelu(slope) => z * if z > 0.0 { 1.0 } else { f64::from(slope) },
    }
}

fn softmax(x: &[f64], temperature: f64) -> Vec<f64> {
    let powers: Vec<f64> = x.iter().map(|x| (x / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// The problem, and what both sides are given.
struct Problem {
    hidden: Activation,
    kind: Kind,
    x: Vec<f32>,
    labels: Vec<u32>,
    others: Vec<f32>,
    /// What dropout multiplies the hidden units of each row with.
    factors: Vec<f32>,
}

const TEMPERATURE: f32 = 2.0;
const ALPHA: f32 = 0.75;

impl Problem {
    fn outputs(&self) -> Activation {
        match self.kind {
            Kind::Squared(activation) => activation,
            _ => Activation::Identity,
        }
    }

    /// The mean loss over the rows, naively, for parameters in the order weights, bias, weights, bias.
    fn loss(&self, parameters: &[f64]) -> f64 {
        let (w1, rest) = parameters.split_at(HIDDEN * INPUTS);
        let (b1, rest) = rest.split_at(HIDDEN);
        let (w2, b2) = rest.split_at(CLASSES * HIDDEN);
        let layer = |x: &[f64], w: &[f64], b: &[f64], kind| -> Vec<f64> {
            let rows = w.chunks_exact(x.len()).zip(b);
            rows.map(|(w, b)| activate(kind, w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b))
                .collect()
        };
        let losses = ORDER.iter().enumerate().map(|(place, row)| {
            let row = *row as usize;
            let wide = |values: &[f32], width| -> Vec<f64> {
                values[row * width..][..width].iter().map(|v| f64::from(*v)).collect()
            };
            let mut hidden = layer(&wide(&self.x, INPUTS), w1, b1, self.hidden);
            for (unit, factor) in hidden.iter_mut().zip(&self.factors[place * HIDDEN..]) {
                *unit *= f64::from(*factor);
            }
            let outputs = layer(&hidden, w2, b2, self.outputs());
            let label = self.labels[row] as usize;
            let others = wide(&self.others, CLASSES);
            self.row_loss(&outputs, label, &others)
        });
        losses.sum::<f64>() / ROWS as f64
    }

    fn row_loss(&self, outputs: &[f64], label: usize, others: &[f64]) -> f64 {
        let mean_square = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64
        };
        let cross_entropy = -softmax(outputs, 1.0)[label].ln();
        match self.kind {
            Kind::CrossEntropy => cross_entropy,
            Kind::SoftmaxSquared => {
                let one_hot: Vec<f64> =
                    (0..CLASSES).map(|i| f64::from(u8::from(i == label))).collect();
                mean_square(&softmax(outputs, 1.0), &one_hot)
            }
            Kind::Squared(_) => mean_square(outputs, others),
            Kind::Distillation => {
                let (t, alpha) = (f64::from(TEMPERATURE), f64::from(ALPHA));
                let (p, q) = (softmax(outputs, t), softmax(others, t));
                let divergence: f64 = p.iter().zip(&q).map(|(p, q)| q * (q / p).ln()).sum();
                (1.0 - alpha) * cross_entropy + alpha * t * t * divergence
            }
        }
    }

    fn differences(&self, parameters: &[f32]) -> Vec<f64> {
        let parameters: Vec<f64> = parameters.iter().map(|p| f64::from(*p)).collect();
        let step = 1e-5;
        let at = |index: usize, by: f64| {
            let mut moved = parameters.clone();
            moved[index] += by;
            self.loss(&moved)
        };
        (0..parameters.len()).map(|i| (at(i, step) - at(i, -step)) / (2.0 * step)).collect()
    }

    /// The loss and its gradient, made of operations.
    fn chain(&self, backend: &Backend, start: &[Start], dropout: (f32, u64)) -> (f64, Vec<f32>) {
        let values = |data: &[f32], shape| Values::new(backend, data, shape).expect("uploads");
        let features = Features::floats(backend, &self.x, (ROWS, INPUTS)).expect("uploads");
        let labels = Indices::new(backend, &self.labels).expect("uploads");
        let order = Indices::new(backend, &ORDER).expect("uploads");
        let others = values(&self.others, (ROWS, CLASSES));
        let loss = match self.kind {
            Kind::CrossEntropy => Loss::CrossEntropy { labels: &labels },
            Kind::SoftmaxSquared => super::chain::squared(&labels, true),
            Kind::Squared(_) => {
                Loss::SquaredError { targets: Targets::Dense(&others), softmax: false }
            }
            Kind::Distillation => Loss::Distillation {
                labels: &labels,
                teacher: &others,
                temperature: TEMPERATURE,
                alpha: ALPHA,
            },
        };
        let recipe = Recipe {
            features: &features,
            loss,
            dropout,
            l2: 0.0,
            learning_rate: 0.1,
            hold_zeros: false,
        };
        let mut chain = Chain::new(backend, start, Optimizer::SGD, ROWS);
        let mut stream = Stream::new(backend);
        chain.gradients(&mut stream, &recipe, Batch::all(&order), 1).expect("records");
        stream.finish().expect("runs");
        let metrics = chain.metrics.read(ROWS).expect("reads");
        let loss = metrics.iter().map(|row| f64::from(row.loss)).sum::<f64>() / ROWS as f64;
        let parameters = chain.layers.iter().flat_map(|layer| [&layer.weights, &layer.bias]);
        let gradients = parameters.flat_map(|p| p.gradient.read().expect("reads"));
        (loss, gradients.collect())
    }
}

#[test]
fn every_activation_and_loss_has_the_gradient_of_its_differences() {
    let dropout = (0.4, 11);
    let kinds = [Kind::CrossEntropy, Kind::SoftmaxSquared, Kind::Distillation];
    let mut pairs: Vec<_> =
        ACTIVATIONS.into_iter().flat_map(|hidden| kinds.map(|kind| (hidden, kind))).collect();
    pairs.extend(ACTIVATIONS.map(|outputs| (Activation::Tanh, Kind::Squared(outputs))));
    for backend in both() {
        // What is dropped does not depend on the values, so it can be seen on ones.
        let ones = [1.0; ROWS * HIDDEN];
        let (rate, seed) = dropout;
        let same = Dropout { rate, seed, step: 1, layer: 0 };
        let factors = activation::activation(&backend, Activation::Identity, &same, &ones, HIDDEN);
        let factors = factors.expect("runs");
        assert!(factors.contains(&0.0) && factors.iter().any(|f| *f > 1.0));
        for (number, (hidden, kind)) in pairs.iter().copied().enumerate() {
            let seed = 10 * number as u64;
            let problem = Problem {
                hidden,
                kind,
                x: random(seed, ROWS * INPUTS, 1.5),
                labels: (0..ROWS as u32).map(|row| row % CLASSES as u32).collect(),
                others: random(seed + 1, ROWS * CLASSES, 2.0),
                factors: factors.clone(),
            };
            let start = [
                Start {
                    weights: random(seed + 2, HIDDEN * INPUTS, 0.8),
                    bias: random(seed + 3, HIDDEN, 0.5),
                    activation: hidden,
                },
                Start {
                    weights: random(seed + 4, CLASSES * HIDDEN, 0.8),
                    bias: random(seed + 5, CLASSES, 0.5),
                    activation: problem.outputs(),
                },
            ];
            let parameters: Vec<f32> =
                start.iter().flat_map(|s| [&s.weights[..], &s.bias]).flatten().copied().collect();
            let (loss, found) = problem.chain(&backend, &start, dropout);
            let what = format!("{hidden}, {kind:?} on {}", backend.name());
            let wide: Vec<f64> = parameters.iter().map(|p| f64::from(*p)).collect();
            assert!((loss - problem.loss(&wide)).abs() < 2e-6, "{what}: loss {loss}");
            let expected = problem.differences(&parameters);
            assert_eq!(found.len(), expected.len());
            assert!(expected.iter().filter(|g| g.abs() > 1e-3).count() > expected.len() / 3);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(error < 2e-6, "{what}: parameter {index} has {found}, expected {expected}");
            }
        }
    }
}
