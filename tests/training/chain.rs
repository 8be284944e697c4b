//! A network of dense layers made of the operations of a stream, as a training loop would.

use tensorpress::ops::{
    Backend, Batch, Dropout, Features, Indices, Loss, Metrics, Moments, Optimizer, Step, Stream,
    Targets, Values,
};
use tensorpress::scheme::Activation;

pub struct Parameter {
    pub values: Values,
    pub gradient: Values,
    moments: Moments,
}

pub struct Layer {
    pub weights: Parameter,
    pub bias: Parameter,
    activation: Activation,
    z: Values,
    y: Values,
    dz: Values,
}

pub struct Chain {
    pub layers: Vec<Layer>,
    pub metrics: Metrics,
    optimizer: Optimizer,
    x: Values,
}

/// Starting values of a layer: weights `[outputs, inputs]` and bias.
pub struct Start {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub activation: Activation,
}

impl Parameter {
    fn new(backend: &Backend, values: &[f32], rows: usize, optimizer: &Optimizer) -> Self {
        let cols = values.len() / rows;
        Self {
            values: Values::new(backend, values, (rows, cols)).expect("uploads"),
            gradient: Values::empty(backend).expect("allocates"),
            moments: optimizer.moments(backend, rows, cols).expect("allocates"),
        }
    }
}

/// What does not change from step to step.
pub struct Recipe<'a> {
    pub features: &'a Features,
    pub loss: Loss<'a>,
    /// Rate and seed of the dropout of the hidden layers.
    pub dropout: (f32, u64),
    pub l2: f64,
    pub learning_rate: f64,
    pub hold_zeros: bool,
}

impl Chain {
    pub fn new(backend: &Backend, start: &[Start], optimizer: Optimizer, rows: usize) -> Self {
        let empty = || Values::empty(backend).expect("allocates");
        let layers = start.iter().map(|start| Layer {
            weights: Parameter::new(backend, &start.weights, start.bias.len(), &optimizer),
            bias: Parameter::new(backend, &start.bias, 1, &optimizer),
            activation: start.activation,
            z: empty(),
            y: empty(),
            dz: empty(),
        });
        let layers = layers.collect();
        let metrics = Metrics::new(backend, rows).expect("allocates");
        Self { layers, metrics, optimizer, x: empty() }
    }

    /// Forward and backward; step numbers begin at 1.
    pub fn gradients(
        &mut self,
        stream: &mut Stream,
        recipe: &Recipe<'_>,
        batch: Batch<'_>,
        step: u64,
    ) -> tensorpress::Result<()> {
        stream.gather(recipe.features, batch, &mut self.x)?;
        let last = self.layers.len() - 1;
        for number in 0..=last {
            let (before, layer) = self.layers.split_at_mut(number);
            let x = before.last().map_or(&self.x, |layer| &layer.y);
            let Layer { weights, bias, activation, z, y, .. } = &mut layer[0];
            stream.dense(x, &weights.values, &bias.values, z)?;
            stream.activation(*activation, &dropout(recipe, number, last, step), z, y)?;
        }
        let end = &mut self.layers[last];
        stream.loss(recipe.loss, &end.y, batch, &mut end.dz, &mut self.metrics)?;
        for number in (0..=last).rev() {
            let (before, layer) = self.layers.split_at_mut(number);
            let Layer { weights, bias, activation, z, dz, .. } = &mut layer[0];
            stream.activation_grad(*activation, &dropout(recipe, number, last, step), z, dz)?;
            match before.last_mut() {
                Some(before) => {
                    stream.dense_grad_weights(
                        &before.y,
                        dz,
                        &mut weights.gradient,
                        &mut bias.gradient,
                    )?;
                    stream.dense_grad_inputs(dz, &weights.values, &mut before.dz)?;
                }
                None => {
                    stream.dense_grad_weights(
                        &self.x,
                        dz,
                        &mut weights.gradient,
                        &mut bias.gradient,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Moves every parameter. Biases have no penalty, as Keras has it by default.
    pub fn update(
        &mut self,
        stream: &mut Stream,
        recipe: &Recipe<'_>,
        step: u64,
    ) -> tensorpress::Result<()> {
        let Recipe { l2, learning_rate, hold_zeros, .. } = *recipe;
        for layer in &mut self.layers {
            let step = Step { number: step, learning_rate, l2, hold_zeros };
            let biases = Step { l2: 0.0, hold_zeros: false, ..step };
            for (parameter, step) in [(&mut layer.weights, step), (&mut layer.bias, biases)] {
                let Parameter { values, gradient, moments } = parameter;
                stream.update(&self.optimizer, &step, values, gradient, moments)?;
            }
        }
        Ok(())
    }

    /// So many steps over batches of `order`, several a submit.
    pub fn train(
        &mut self,
        backend: &Backend,
        recipe: &Recipe<'_>,
        order: &Indices,
        batch: usize,
        steps: u64,
    ) {
        let batches = (order.len() / batch) as u64;
        let numbers: Vec<u64> = (0..steps).collect();
        for numbers in numbers.chunks(10) {
            let mut stream = Stream::new(backend);
            for number in numbers {
                let first = (number % batches) as usize * batch;
                let rows = Batch { order, first, rows: batch };
                self.gradients(&mut stream, recipe, rows, number + 1).expect("records");
                self.update(&mut stream, recipe, number + 1).expect("records");
            }
            stream.finish().expect("runs");
        }
    }

    /// Weights and bias of each layer.
    pub fn parameters(&self) -> Vec<Vec<f32>> {
        let all = self.layers.iter().flat_map(|layer| [&layer.weights, &layer.bias]);
        all.map(|parameter| parameter.values.read().expect("reads")).collect()
    }
}

fn dropout(recipe: &Recipe<'_>, layer: usize, last: usize, step: u64) -> Dropout {
    let (rate, seed) = recipe.dropout;
    let rate = if layer == last { 0.0 } else { rate };
    Dropout { rate, seed, step, layer: layer as u32 }
}

/// `Targets` with its labels, for messages.
pub fn squared(labels: &Indices, softmax: bool) -> Loss<'_> {
    Loss::SquaredError { targets: Targets::Labels(labels), softmax }
}
