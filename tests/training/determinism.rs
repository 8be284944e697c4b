//! The same seed, device and data give the same bytes, on the CPU with any number of threads.

use tensorpress::ops::{Backend, Features, Indices, Loss, Optimizer};
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

#[test]
fn a_device_repeats_itself() {
    for backend in both() {
        let first = bits(&trained(&backend, 33, 20, 17));
        assert_eq!(bits(&trained(&backend, 33, 20, 17)), first, "{}", backend.name());
    }
}
