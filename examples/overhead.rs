//! What a network costs beside its arithmetic: a forward pass of 784-100-10 at batch 1 on the CPU,
//! and the same two products, biases, relu and softmax called one after the other on panels that
//! lie ready, into buffers that are there. Beside them the time in which the weights can be read
//! at all. Prints microseconds as JSON.
//!
//! ```text
//! cargo run --release --example overhead
//! ```

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use tensorpress::cpu::dense::DensePanels;
use tensorpress::cpu::simd::Level;
use tensorpress::cpu::softmax::{Scaling, softmax};
use tensorpress::io::Model;
use tensorpress::nn::{Loaded, Network, Outputs};
use tensorpress::ops::Backend;
use tensorpress::scheme::Activation;
use tensorpress::tensor::{FloatType, Matrix};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-100-10.safetensors");
const INPUTS: usize = 784;
const HIDDEN: usize = 100;
const CLASSES: usize = 10;

/// A sample is so many passes, and the median sample counts.
const PASSES: u32 = 200;
const SAMPLES: usize = 101;

fn main() -> tensorpress::Result<()> {
    let model = Model::open(Path::new(MODEL))?;
    let (network, _) = Network::read(&model, None)?;
    let loaded = Loaded::new(&Backend::Cpu, &model, network)?;
    let x: Vec<f32> = (0..INPUTS).map(|i| (i as f32 * 0.618_034).fract()).collect();

    let bytes = |name: &str| {
        let file = &model.shards()[0];
        let tensor = file.tensors().iter().find(|tensor| tensor.name == name);
        file.view(tensor.expect("a tensor of the example")).data
    };
    let panels = |name, rows, cols| {
        Matrix::new(FloatType::F32, rows, cols, bytes(name)).map(DensePanels::new)
    };
    let floats = |name: &str| -> Vec<f32> {
        bytes(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let layers = [panels("fc1.weight", HIDDEN, INPUTS)?, panels("fc2.weight", CLASSES, HIDDEN)?];
    let biases = [floats("fc1.bias"), floats("fc2.bias")];
    let level = Level::best();
    let (mut hidden, mut logits) = (vec![0.0; HIDDEN], vec![0.0; CLASSES]);
    let mut bare = || {
        layers[0].forward(level, &x, Some(&biases[0]), Activation::Relu, &mut hidden);
        layers[1].forward(level, &hidden, Some(&biases[1]), Activation::Identity, &mut logits);
        softmax(&logits, CLASSES, Scaling::new(1.0))
    };
    let network = || loaded.forward(&x, Outputs::AsDescribed);
    assert_eq!(bare(), network()?, "both compute the same");

    let weights = [floats("fc1.weight"), floats("fc2.weight")].concat();
    let read = || {
        let mut sums = [0_u32; 64];
        for weights in black_box(&weights).chunks_exact(64) {
            sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum ^= w.to_bits());
        }
        sums
    };

    let mut times = [(); 3].map(|()| vec![]);
    for _ in 0..SAMPLES {
        // In turn, so that what else the machine does meets all of them.
        times[0].push(sample(|| drop(black_box(network()))));
        times[1].push(sample(|| drop(black_box(bare()))));
        times[2].push(sample(|| {
            black_box(read());
        }));
    }
    let [network, bare, read] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[SAMPLES / 2]
    });
    println!(
        "{{\"network_microseconds\": {network:.3}, \"bare_microseconds\": {bare:.3}, \
         \"read_microseconds\": {read:.3}}}"
    );
    Ok(())
}

/// Microseconds of a pass.
fn sample(mut pass: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..PASSES {
        pass();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(PASSES)
}
