//! What a step of training works on: weights and moments on a backend, and what passes between
//! the layers.

use super::options::{Loss, TrainingOptions};
use crate::error::Result;
use crate::nn::network::{Layer, Network};
use crate::nn::parameters::{LayerParameters, Parameters};
use crate::ops::{
    self, Backend, Batch, Dropout, Indices, Metrics, Moments, Optimizer, Step, Stream, Targets,
    Values,
};
use crate::scheme::{Activation, NmPattern, QuantScheme};

/// A network while it is trained.
pub(super) struct State {
    pub layers: Vec<LayerState>,
    softmax: bool,
}

/// A layer while it is trained.
pub(super) struct LayerState {
    /// `[outputs, inputs]`
    pub weight: Values,
    /// `[1, outputs]`; zeros where the layer has no bias.
    pub bias: Values,
    pub weight_moments: Moments,
    /// Where the layer has a bias.
    pub bias_moments: Option<Moments>,
    activation: Activation,
    /// Whether `y` is `z`, and stays empty: no activation and no dropout.
    plain: bool,
    /// The weights as a scheme rounds them, `[outputs, inputs]`.
    rounded: Option<(QuantScheme, Values)>,
    /// Before the activation, `[batch, outputs]`.
    z: Values,
    /// After it.
    y: Values,
    /// The gradient of `y`, then of `z`.
    gradient: Values,
    weight_gradient: Values,
    bias_gradient: Values,
}

/// What a batch is to learn.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub loss: Loss,
    pub labels: &'a Indices,
    pub teacher: Option<Teacher<'a>>,
}

/// What a teacher says of the same rows.
#[derive(Clone, Copy)]
pub(super) struct Teacher<'a> {
    /// `[data rows, outputs]`
    pub logits: &'a Values,
    pub temperature: f32,
    pub alpha: f32,
}

impl State {
    pub(super) fn new(
        backend: &Backend,
        network: &Network,
        parameters: &Parameters,
        options: &TrainingOptions,
    ) -> Result<Self> {
        let last = network.layers.len() - 1;
        let layers = network.layers.iter().zip(&parameters.layers).enumerate();
        let layers = layers.map(|(number, (layer, own))| {
            let drops = number < last && options.dropout > 0.0;
            LayerState::new(backend, layer, own, options, drops)
        });
        Ok(Self { layers: layers.collect::<Result<_>>()?, softmax: network.softmax })
    }

    /// Records the outputs for `x` `[batch, inputs]`: logits where a softmax follows.
    pub(super) fn forward(
        &mut self,
        stream: &mut Stream,
        x: &Values,
        dropout: impl Fn(u32) -> Dropout,
    ) -> Result<()> {
        let last = self.layers.len() - 1;
        for number in 0..self.layers.len() {
            let (before, rest) = self.layers.split_at_mut(number);
            let input = before.last().map_or(x, LayerState::output);
            let dropout = if number == last { Dropout::NONE } else { dropout(number as u32) };
            rest[0].forward(stream, input, &dropout)?;
        }
        Ok(())
    }

    /// Records the loss of the last forward pass and, in the layers, its gradients.
    pub(super) fn backward(
        &mut self,
        stream: &mut Stream,
        x: &Values,
        task: Task<'_>,
        batch: Batch<'_>,
        metrics: &mut Metrics,
        dropout: impl Fn(u32) -> Dropout,
    ) -> Result<()> {
        self.loss(stream, task, batch, metrics)?;
        let last = self.layers.len() - 1;
        for number in (0..self.layers.len()).rev() {
            let (before, rest) = self.layers.split_at_mut(number);
            let layer = &mut rest[0];
            let dropout = if number == last { Dropout::NONE } else { dropout(number as u32) };
            if !layer.plain {
                let LayerState { activation, z, gradient, .. } = &mut *layer;
                stream.activation_grad(*activation, &dropout, z, gradient)?;
            }
            let input = before.last().map_or(x, LayerState::output);
            let LayerState { gradient, weight_gradient, bias_gradient, .. } = layer;
            stream.dense_grad_weights(input, gradient, weight_gradient, bias_gradient)?;
            if let Some(below) = before.last_mut() {
                let weight = layer.rounded.as_ref().map_or(&layer.weight, |(_, weight)| weight);
                stream.dense_grad_inputs(&layer.gradient, weight, &mut below.gradient)?;
            }
        }
        Ok(())
    }

    /// Records the loss of the last forward pass, and the gradient of the last layer's output.
    pub(super) fn loss(
        &mut self,
        stream: &mut Stream,
        task: Task<'_>,
        batch: Batch<'_>,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let labels = task.labels;
        let loss = match (task.teacher, task.loss) {
            (Some(Teacher { logits: teacher, temperature, alpha }), _) => {
                ops::Loss::Distillation { labels, teacher, temperature, alpha }
            }
            (None, Loss::SparseCategoricalCrossentropy) => ops::Loss::CrossEntropy { labels },
            (None, Loss::Mse) => {
                let targets = Targets::Labels(labels);
                ops::Loss::SquaredError { targets, softmax: self.softmax }
            }
        };
        let LayerState { z, y, gradient, plain, .. } =
            self.layers.last_mut().expect("a network has a layer");
        stream.loss(loss, if *plain { z } else { y }, batch, gradient, metrics)
    }

    /// Records the pruning of every layer to a pattern along its inputs.
    pub(super) fn prune_nm(&mut self, stream: &mut Stream, pattern: NmPattern) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| stream.prune_nm(&mut layer.weight, pattern))
    }

    /// Records one step of the optimizer.
    pub(super) fn update(
        &mut self,
        stream: &mut Stream,
        optimizer: &Optimizer,
        step: &Step,
    ) -> Result<()> {
        // Biases begin at zero and are never pruned; nor are they penalised.
        let of_bias = Step { hold_zeros: false, l2: 0.0, ..*step };
        for layer in &mut self.layers {
            let LayerState { weight, weight_gradient, weight_moments, .. } = layer;
            stream.update(optimizer, step, weight, weight_gradient, weight_moments)?;
            let LayerState { bias, bias_gradient, bias_moments, .. } = layer;
            if let Some(moments) = bias_moments {
                stream.update(optimizer, &of_bias, bias, bias_gradient, moments)?;
            }
        }
        Ok(())
    }

    /// Replaces the weights and biases; the moments stay.
    pub(super) fn set(&mut self, backend: &Backend, parameters: &Parameters) -> Result<()> {
        for (layer, own) in self.layers.iter_mut().zip(&parameters.layers) {
            let shape = (layer.weight.rows(), layer.weight.cols());
            layer.weight = Values::new(backend, &own.weight, shape)?;
            if let Some(bias) = &own.bias {
                layer.bias = Values::new(backend, bias, (1, shape.0))?;
            }
        }
        Ok(())
    }

    /// The weights and biases as they are now, in the types of `like`.
    pub(super) fn parameters(&self, like: &Parameters) -> Result<Parameters> {
        let layers = self.layers.iter().zip(&like.layers).map(|(layer, like)| {
            let bias = layer.bias_moments.as_ref().map(|_| layer.bias.read()).transpose()?;
            Ok(LayerParameters { weight: layer.weight.read()?, bias, float: like.float })
        });
        Ok(Parameters { layers: layers.collect::<Result<_>>()? })
    }
}

impl LayerState {
    fn new(
        backend: &Backend,
        layer: &Layer,
        parameters: &LayerParameters,
        options: &TrainingOptions,
        drops: bool,
    ) -> Result<Self> {
        let (rows, cols) = (layer.outputs, layer.inputs);
        let bias = match &parameters.bias {
            Some(bias) => Values::new(backend, bias, (1, rows))?,
            None => Values::zeros(backend, 1, rows)?,
        };
        let moments = |rows, cols| options.optimizer.moments(backend, rows, cols);
        let empty = || Values::empty(backend);
        let scheme = options.quantize.get(&layer.name).copied();
        let rounded = scheme.map(|scheme| Ok::<_, crate::Error>((scheme, empty()?)));
        Ok(Self {
            weight: Values::new(backend, &parameters.weight, (rows, cols))?,
            bias,
            weight_moments: moments(rows, cols)?,
            bias_moments: parameters.bias.as_ref().map(|_| moments(1, rows)).transpose()?,
            activation: layer.activation,
            plain: layer.activation == Activation::Identity && !drops,
            rounded: rounded.transpose()?,
            z: empty()?,
            y: empty()?,
            gradient: empty()?,
            weight_gradient: empty()?,
            bias_gradient: empty()?,
        })
    }

    /// What the layer gave.
    fn output(&self) -> &Values {
        if self.plain { &self.z } else { &self.y }
    }

    fn forward(&mut self, stream: &mut Stream, x: &Values, dropout: &Dropout) -> Result<()> {
        let weight = match &mut self.rounded {
            None => &self.weight,
            Some((scheme, rounded)) => {
                stream.fake_quantize(&self.weight, scheme, rounded)?;
                rounded
            }
        };
        stream.dense(x, weight, &self.bias, &mut self.z)?;
        if !self.plain {
            stream.activation(self.activation, dropout, &self.z, &mut self.y)?;
        }
        Ok(())
    }
}
