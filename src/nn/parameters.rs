//! The weights of a network in memory.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::Path;

use super::network::{Layer, Network};
use crate::error::{Error, FormatProblem, Result};
use crate::io::{Model, OutputFile, SafetensorsWriter, TensorSpec};
use crate::ops::Backend;
use crate::stored::{Catalog, StoredTensor, Weight, is_kernel};
use crate::tensor::FloatType;

/// Weights and bias of a layer, as `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerParameters {
    /// `[outputs, inputs]`, also where a file holds a kernel `[inputs, outputs]`.
    pub weight: Vec<f32>,
    /// `[outputs]`, where the layer has a bias.
    pub bias: Option<Vec<f32>>,
    /// The type in which they are stored.
    pub float: FloatType,
}

impl LayerParameters {
    fn values(&self) -> impl Iterator<Item = &[f32]> {
        std::iter::once(&self.weight[..]).chain(self.bias.as_deref())
    }
}

/// The parameters of a network, a layer each.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// In the order of the network's layers.
    pub layers: Vec<LayerParameters>,
}

impl Parameters {
    /// Those that `model` holds, dense or compressed, for `network`, which was read from it.
    ///
    /// # Errors
    /// [`FormatProblem`] where compressed parts do not fit each other, or for a value that is not
    /// finite.
    pub fn read(model: &Model, network: &Network) -> Result<Self> {
        let catalog = Catalog::new(model)?;
        let tensors: HashMap<&str, &StoredTensor> =
            catalog.tensors.iter().map(|tensor| (&*tensor.name, tensor)).collect();
        let values = |name: &str| -> Result<(Vec<f32>, FloatType)> {
            let tensor =
                tensors.get(name).ok_or(Error::Bug { what: "a layer without a tensor" })?;
            dense_values(model, tensor)
                .map_err(|error| error.in_file(model.shards()[tensor.shard()].path()))
        };
        let layer = |layer: &Layer| {
            let (weight, float) = values(&layer.weight)?;
            let bias = layer.bias.as_deref().map(values).transpose()?;
            Ok(LayerParameters { weight, bias: bias.map(|(bias, _)| bias), float })
        };
        Ok(Self { layers: network.layers.iter().map(layer).collect::<Result<_>>()? })
    }

    /// Writes them as a safetensors file that describes `network`. A weight whose name ends in
    /// `kernel` is written `[inputs, outputs]`, as Keras stores it.
    ///
    /// # Errors
    /// [`Error::Exists`] where `path` is there and `force` is not given, or where it cannot be
    /// written.
    pub fn write(&self, network: &Network, path: &Path, force: bool) -> Result<()> {
        let tensors = self.tensors(network);
        let metadata = BTreeMap::from([
            ("format".to_owned(), "pt".to_owned()),
            (Network::KEY.to_owned(), network.to_json()),
        ]);
        let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let writer = SafetensorsWriter::create(specs, &metadata, |size| {
            OutputFile::create(path, size, force)
        })?;
        for (number, (_, data)) in tensors.iter().enumerate() {
            writer.write_at(number, 0, data)?;
        }
        writer.finish()
    }

    /// What is written: each tensor with its bytes.
    fn tensors(&self, network: &Network) -> Vec<(TensorSpec, Vec<u8>)> {
        let mut tensors = vec![];
        for (layer, parameters) in network.layers.iter().zip(&self.layers) {
            let LayerParameters { weight, bias, float } = parameters;
            let mut encode = |name: &str, shape: &[usize], values: &[f32], transposed| {
                let mut data = vec![];
                float.encode(values, &mut data);
                if transposed {
                    data = transposed_back(layer, *float, &data);
                }
                let spec = TensorSpec {
                    name: name.to_owned(),
                    dtype: float.dtype(),
                    shape: shape.to_vec(),
                };
                tensors.push((spec, data));
            };
            let (inputs, outputs) = (layer.inputs, layer.outputs);
            let transposed = is_kernel(&layer.weight);
            let shape = if transposed { [inputs, outputs] } else { [outputs, inputs] };
            encode(&layer.weight, &shape, weight, transposed);
            if let (Some(name), Some(bias)) = (&layer.bias, bias) {
                encode(name, &[outputs], bias, false);
            }
        }
        tensors
    }

    /// Number of weights and biases.
    pub fn count(&self) -> usize {
        self.values().map(<[f32]>::len).sum()
    }

    /// Share of the weights that are zero, biases not counted; 0 where there are none.
    pub fn sparsity(&self) -> f64 {
        let (mut zeros, mut all) = (0_usize, 0);
        for layer in &self.layers {
            zeros += layer.weight.iter().filter(|weight| **weight == 0.0).count();
            all += layer.weight.len();
        }
        zeros as f64 / all.max(1) as f64
    }

    /// Whether all of them are finite.
    pub fn are_finite(&self) -> bool {
        self.values().flatten().all(|value| value.is_finite())
    }

    fn values(&self) -> impl Iterator<Item = &[f32]> {
        self.layers.iter().flat_map(LayerParameters::values)
    }
}

/// `data` `[outputs, inputs]` as a kernel `[inputs, outputs]`.
fn transposed_back(layer: &Layer, float: FloatType, data: &[u8]) -> Vec<u8> {
    let (rows, cols) = (layer.outputs, layer.inputs);
    let weight = Weight { float, rows, cols, transposed: true };
    let mut stored = vec![0; data.len()];
    let write = |at: usize, piece: &[u8]| {
        stored[at..][..piece.len()].copy_from_slice(piece);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = weight.scatter(&(0..rows), data, write);
    stored
}

/// A tensor as dense floats, `[outputs, inputs]` where it is a weight.
fn dense_values(model: &Model, tensor: &StoredTensor) -> Result<(Vec<f32>, FloatType)> {
    let weight = tensor.weight().ok_or(Error::Bug { what: "a parameter that holds no floats" })?;
    let data = tensor.rows(model, &Backend::Cpu, &weight, &(0..weight.rows))?;
    let mut values = vec![0.0; weight.len()];
    weight.float.decode(&data, &mut values);
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok((values, weight.float)),
        Some(index) => Err(FormatProblem::NonFinite {
            tensor: tensor.name.clone(),
            index: index as u64,
            value: values[index],
            count: values.iter().filter(|value| !value.is_finite()).count() as u64,
        }
        .into()),
    }
}
