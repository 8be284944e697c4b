//! The same seed, device and data give the same bytes, on the CPU with any number of threads.

use tensorpress::ops::{Backend, Batch, Features, Indices, Loss, Optimizer, Stream};
use tensorpress::scheme::Activation;

use super::both;
use super::chain::{Chain, Recipe, Start};

/// Large enough that products and updates are shared among threads.
fn trained(backend: &Backend, inputs: usize, hidden: usize, batch: usize) -> Vec<Vec<f32>> {
    let (rows, classes) = (2 * batch, 7);
    let noise = |count: usize, scale: f32| -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 * scale - scale).collect()
    };
    let bytes = (0..rows * inputs).map(|i| (i * 31 % 251) as u8).collect();
    let features = Features::bytes(backend, bytes, (rows, inputs)).expect("uploads");
    let labels: Vec<u32> = (0..rows as u32).map(|row| row * 5 % classes).collect();
    let labels = Indices::new(backend, &labels).expect("uploads");
    let order: Vec<u32> = (0..rows as u32).rev().collect();
    let order = Indices::new(backend, &order).expect("uploads");
    let start = [
        Start {
            weights: noise(hidden * inputs, 0.05),
            bias: vec![0.0; hidden],
            activation: Activation::Gelu,
        },
        Start {
            weights: noise(classes as usize * hidden, 0.05),
            bias: vec![0.0; classes as usize],
            activation: Activation::Identity,
        },
    ];
    let recipe = Recipe {
        features: &features,
        loss: Loss::CrossEntropy { labels: &labels },
        dropout: (0.2, 9),
        l2: 1e-4,
        learning_rate: 1e-3,
        hold_zeros: true,
    };
    let mut chain = Chain::new(backend, &start, Optimizer::ADAM_W, rows);
    chain.train(backend, &recipe, &order, batch, 5);
    let parameters = chain.parameters();
    assert!(parameters.iter().flatten().all(|p| p.is_finite()));
    parameters
}

fn bits(parameters: &[Vec<f32>]) -> Vec<u32> {
    parameters.iter().flatten().map(|p| p.to_bits()).collect()
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| bits(&trained(&Backend::Cpu, 300, 400, 96)))
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

/// The last batch of an epoch is smaller: what a larger one left behind it must not be seen.
#[test]
fn a_smaller_batch_sees_nothing_of_a_larger_one() {
    for backend in both() {
        let (rows, inputs) = (21, 11);
        let noise = |count: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 7919 + 5) % 211) as f32 / 105.5 - 1.0).collect()
        };
        let features = Features::floats(&backend, &noise(rows * inputs), (rows, inputs));
        let features = features.expect("uploads");
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 3).collect();
        let labels = Indices::new(&backend, &labels).expect("uploads");
        let order = Indices::new(&backend, &(0..rows as u32).collect::<Vec<_>>()).expect("uploads");
        let start = || {
            [(9, inputs, Activation::Sigmoid), (3, 9, Activation::Identity)].map(
                |(rows, cols, activation)| Start {
                    weights: noise(rows * cols),
                    bias: noise(rows),
                    activation,
                },
            )
        };
        let recipe = Recipe {
            features: &features,
            loss: Loss::CrossEntropy { labels: &labels },
            dropout: (0.0, 0),
            l2: 0.0,
            learning_rate: 0.0,
            hold_zeros: false,
        };
        let gradients = |sizes: &[usize]| {
            let mut chain = Chain::new(&backend, &start(), Optimizer::SGD, rows);
            let mut stream = Stream::new(&backend);
            for size in sizes {
                let batch = Batch { order: &order, first: rows - size, rows: *size };
                chain.gradients(&mut stream, &recipe, batch, 1).expect("records");
            }
            stream.finish().expect("runs");
            let all = chain.layers.iter().flat_map(|layer| [&layer.weights, &layer.bias]);
            all.map(|p| p.gradient.read().expect("reads")).collect::<Vec<_>>()
        };
        assert_eq!(bits(&gradients(&[21, 16, 5])), bits(&gradients(&[5])), "{}", backend.name());
    }
}

#[test]
fn a_device_repeats_itself() {
    for backend in both() {
        let first = bits(&trained(&backend, 33, 20, 17));
        assert_eq!(bits(&trained(&backend, 33, 20, 17)), first, "{}", backend.name());
    }
}
