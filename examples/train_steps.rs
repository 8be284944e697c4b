//! Trains a network of two layers with the operations of a stream, and says how long a step takes:
//!
//! ```text
//! cargo run --release --example train_steps -- [--batch N] [--seconds S] [--device D] [--data DIR]
//! ```
//!
//! `DIR` is MNIST or Fashion-MNIST; without it the data are random bytes of the same shape.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::io::{ArrayData, DataSet, Split};
use tensorpress::ops::{
    Backend, Batch, Dropout, Features, Indices, Loss, Metrics, Moments, Optimizer, Step, Stream,
    Values,
};
use tensorpress::scheme::Activation;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long, default_value_t = 100)]
    hidden: usize,
    /// How long to train, at least one epoch
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Steps that go to a GPU at once
    #[arg(long, default_value_t = 16)]
    submit: usize,
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

const ROWS: usize = 60_000;
const INPUTS: usize = 784;
const CLASSES: usize = 10;

fn main() -> tensorpress::Result<()> {
    let arguments = Arguments::parse();
    // On a thread of the pool, which the operations of a step need not wake then.
    rayon::scope(|_| train(&arguments))
}

fn train(arguments: &Arguments) -> tensorpress::Result<()> {
    let Arguments { batch, hidden, .. } = *arguments;
    let backend = Backend::open(&arguments.device, GpuOptions::default())?;
    let mut random = Random(1);
    let (bytes, labels) = data(arguments.data.as_deref(), &mut random)?;
    let labels = Indices::new(&backend, &labels)?;
    let features = Features::bytes(&backend, bytes, (ROWS, INPUTS))?;
    let order: Vec<u32> = (0..ROWS as u32).collect();
    let order = Indices::new(&backend, &order)?;
    let mut network = Network::new(&backend, hidden, &mut random)?;

    let a_submit: Vec<usize> = (0..ROWS / batch).collect();
    let start = Instant::now();
    let (mut epochs, mut elapsed) = (0, Duration::ZERO);
    while elapsed.as_secs_f64() < arguments.seconds || epochs == 0 {
        let mut before = None;
        for steps in a_submit.chunks(arguments.submit) {
            let mut stream = Stream::new(&backend);
            for number in steps {
                let rows = Batch { order: &order, first: number * batch, rows: batch };
                network.step(&mut stream, &features, &labels, rows)?;
            }
            // One submit is recorded while the one before runs.
            if let Some(before) = before.replace(stream.submit()?) {
                before.wait()?;
            }
        }
        before.map_or(Ok(()), |last| last.wait())?;
        (epochs, elapsed) = (epochs + 1, start.elapsed());
    }
    let metrics = network.metrics.read(ROWS / batch * batch)?;
    let rows = metrics.len() as f64;
    let loss = metrics.iter().map(|row| f64::from(row.loss)).sum::<f64>() / rows;
    let accuracy = metrics.iter().filter(|row| row.correct).count() as f64 / rows;
    let a_step = elapsed.as_secs_f64() / (epochs * a_submit.len()) as f64;
    if arguments.json {
        println!("{{\"schema_version\": 1, \"seconds_a_step\": {a_step}, \"loss\": {loss}}}");
    } else {
        let (name, us, s) = (backend.name(), a_step * 1e6, a_step * a_submit.len() as f64);
        println!("{name}, batch {batch}: {us:.1} us a step, {s:.3} s an epoch");
        println!("epoch {epochs}: loss {loss:.4}, accuracy {accuracy:.4}");
    }
    Ok(())
}

/// A parameter with what its updates need.
struct Parameter {
    values: Values,
    gradient: Values,
    moments: Moments,
}

impl Parameter {
    fn new(
        backend: &Backend,
        values: &[f32],
        (rows, cols): (usize, usize),
    ) -> tensorpress::Result<Self> {
        Ok(Self {
            values: Values::new(backend, values, (rows, cols))?,
            gradient: Values::empty(backend)?,
            moments: Optimizer::ADAM.moments(backend, rows, cols)?,
        })
    }

    fn update(&mut self, stream: &mut Stream, step: &Step) -> tensorpress::Result<()> {
        let Self { values, gradient, moments } = self;
        stream.update(&Optimizer::ADAM, step, values, gradient, moments)
    }
}

/// Two layers, relu between them, and everything that a step computes.
struct Network {
    weights: [Parameter; 2],
    biases: [Parameter; 2],
    x: Values,
    z: [Values; 2],
    y: Values,
    dz: [Values; 2],
    metrics: Metrics,
    steps: u64,
}

impl Network {
    fn new(backend: &Backend, hidden: usize, random: &mut Random) -> tensorpress::Result<Self> {
        let empty = || Values::empty(backend);
        let mut weights = |outputs: usize, inputs: usize| {
            let limit = (6.0 / (outputs + inputs) as f32).sqrt();
            let values: Vec<f32> =
                (0..outputs * inputs).map(|_| (random.share() * 2.0 - 1.0) * limit).collect();
            Parameter::new(backend, &values, (outputs, inputs))
        };
        let bias = |outputs: usize| Parameter::new(backend, &vec![0.0; outputs], (1, outputs));
        Ok(Self {
            weights: [weights(hidden, INPUTS)?, weights(CLASSES, hidden)?],
            biases: [bias(hidden)?, bias(CLASSES)?],
            x: empty()?,
            z: [empty()?, empty()?],
            y: empty()?,
            dz: [empty()?, empty()?],
            metrics: Metrics::new(backend, ROWS)?,
            steps: 0,
        })
    }

    fn step(
        &mut self,
        stream: &mut Stream,
        features: &Features,
        labels: &Indices,
        rows: Batch<'_>,
    ) -> tensorpress::Result<()> {
        let Self { weights: [w0, w1], biases: [b0, b1], x, z: [z0, z1], y, dz: [d0, d1], .. } =
            self;
        stream.gather(features, rows, x)?;
        stream.dense(x, &w0.values, &b0.values, z0)?;
        stream.activation(Activation::Relu, &Dropout::NONE, z0, y)?;
        stream.dense(y, &w1.values, &b1.values, z1)?;
        stream.loss(Loss::CrossEntropy { labels }, z1, rows, d1, &mut self.metrics)?;
        stream.dense_grad_weights(y, d1, &mut w1.gradient, &mut b1.gradient)?;
        stream.dense_grad_inputs(d1, &w1.values, d0)?;
        stream.activation_grad(Activation::Relu, &Dropout::NONE, z0, d0)?;
        stream.dense_grad_weights(x, d0, &mut w0.gradient, &mut b0.gradient)?;
        self.steps += 1;
        let step = Step { number: self.steps, learning_rate: 1e-3, l2: 0.0, hold_zeros: false };
        for parameter in [w0, b0, w1, b1] {
            parameter.update(stream, &step)?;
        }
        Ok(())
    }
}

/// A 64-bit congruential generator: enough for a benchmark.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn share(&mut self) -> f32 {
        (self.word() >> 8) as f32 / (1 << 24) as f32
    }
}

fn data(path: Option<&Path>, random: &mut Random) -> tensorpress::Result<(Vec<u8>, Vec<u32>)> {
    let Some(path) = path else {
        let bytes = (0..ROWS * INPUTS).map(|_| (random.word() >> 24) as u8).collect();
        let labels = (0..ROWS).map(|_| random.word() % CLASSES as u32).collect();
        return Ok((bytes, labels));
    };
    let set = DataSet::open(path, Split::Train)?;
    match set.inputs.data {
        ArrayData::U8(bytes) if bytes.len() == ROWS * INPUTS => Ok((bytes, set.labels)),
        _ => panic!("this example wants {ROWS} images of {INPUTS} bytes"),
    }
}
