//! Training on disk, to go on from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fit::{Position, Training};
use super::running::Running;
use super::state::LayerState;
use super::validate::Best;
use crate::error::{Error, Result, TrainProblem};
use crate::io::{OutputFile, SafetensorsFile, SafetensorsWriter, TensorSpec};
use crate::nn::parameters::{LayerParameters, Parameters};
use crate::nn::{EpochRecord, History};
use crate::ops::{Moments, Values};
use crate::tensor::{DType, FloatType};

/// Key of the metadata that says how far training had come.
const KEY: &str = "tensorpress.training";
const VERSION: u32 = 1;

/// All but the tensors.
#[derive(Serialize, Deserialize)]
struct Described {
    version: u32,
    network: String,
    options: BTreeMap<String, String>,
    rows: usize,
    checksum: u32,
    /// Checksum of the parameters that training began with.
    beginning: u32,
    teacher: Option<String>,
    epoch: u64,
    step_in_epoch: usize,
    step: u64,
    /// Rows, sum of losses and right answers of the epoch so far.
    running: (usize, f64, usize),
    /// Seconds of the epoch so far.
    spent: f64,
    history: Vec<EpochRecord>,
    /// Number and validation loss of the best epoch.
    best: Option<(u64, f64)>,
}

impl Training {
    /// Writes a checkpoint to `path`, whole or not at all, over an older one.
    ///
    /// # Errors
    /// Those of the file, or a device error.
    pub fn save(&mut self, path: &Path) -> Result<()> {
        let mut tensors = vec![];
        for (number, layer) in self.state.layers.iter().enumerate() {
            for (part, values) in parts(layer) {
                tensors.push((format!("{number}.{part}"), values.read()?));
            }
        }
        for (number, layer) in self.best.iter().flat_map(|b| b.parameters.layers.iter().enumerate())
        {
            tensors.push((format!("best.{number}.weight"), layer.weight.clone()));
            let bias =
                layer.bias.as_ref().map(|bias| (format!("best.{number}.bias"), bias.clone()));
            tensors.extend(bias);
        }
        let described = serde_json::to_string(&self.described());
        let described = described.map_err(|_| Error::Bug { what: "a checkpoint without JSON" })?;
        let metadata = BTreeMap::from([(KEY.to_owned(), described)]);
        let specs = tensors.iter().map(|(name, values)| TensorSpec {
            name: name.clone(),
            dtype: DType::F32,
            shape: vec![values.len()],
        });
        let writer = SafetensorsWriter::create(specs.collect(), &metadata, |size| {
            OutputFile::create(path, size, true)
        })?;
        for (number, (_, values)) in tensors.iter().enumerate() {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            writer.write_at(number, 0, &bytes)?;
        }
        writer.finish()?;
        self.saved = true;
        Ok(())
    }

    fn described(&self) -> Described {
        let Running { rows, loss, correct } = self.running;
        Described {
            version: VERSION,
            network: self.network.to_json(),
            options: self.options.described(),
            rows: self.data.rows,
            checksum: self.data.checksum,
            beginning: self.beginning,
            teacher: self.teacher.as_ref().map(ToString::to_string),
            epoch: self.position.epoch,
            step_in_epoch: self.position.step_in_epoch,
            step: self.position.step,
            running: (rows, loss, correct),
            spent: self.spent,
            history: self.history.epochs.clone(),
            best: self.best.as_ref().map(|best| (best.epoch, best.loss)),
        }
    }

    /// Goes on from the checkpoint at `path`, which a training with the same network, options and
    /// data wrote.
    ///
    /// # Errors
    /// [`TrainProblem::NoCheckpoint`] where nothing is there, [`TrainProblem::Checkpoint`] where
    /// the file is none, [`TrainProblem::Changed`] where something is not as it was, or a device
    /// error. After an error nothing has changed.
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        if !path.exists() {
            return Err(TrainProblem::NoCheckpoint { path: path.to_owned() }.into());
        }
        let file = SafetensorsFile::open(path).map_err(|error| match error {
            Error::Format { path, problem } => {
                TrainProblem::Checkpoint { path, reason: problem.to_string() }.into()
            }
            other => other,
        })?;
        self.restore(&file)
    }

    fn restore(&mut self, file: &SafetensorsFile) -> Result<()> {
        let json = file.metadata().get(KEY).ok_or_else(|| no(file, "it holds no training"))?;
        let found: Described =
            serde_json::from_str(json).map_err(|error| no(file, error.to_string()))?;
        if found.version != VERSION {
            return Err(no(file, "another version of tensorpress wrote it"));
        }
        self.check_same(&found)?;
        // All is read before anything is replaced.
        let mut all = vec![];
        for (number, layer) in self.state.layers.iter().enumerate() {
            for (part, values) in parts(layer) {
                let shape = (values.rows(), values.cols());
                let read = floats(file, &format!("{number}.{part}"), values.len())?;
                all.push(Values::new(&self.backend, &read, shape)?);
            }
        }
        let best = match found.best {
            None => None,
            Some((epoch, loss)) => {
                Some(Best { epoch, loss, parameters: best_parameters(file, &self.like)? })
            }
        };
        let places = self.state.layers.iter_mut().flat_map(parts_mut);
        places.zip(all).for_each(|((_, place), values)| *place = values);
        self.best = best;
        let Described { epoch, step_in_epoch, step, history, spent, .. } = found;
        let (rows, loss, correct) = found.running;
        self.position = Position { epoch, step_in_epoch, step };
        self.running = Running { rows, loss, correct };
        self.spent = spent;
        self.history = History { epochs: history };
        self.saved = true;
        Ok(())
    }

    fn check_same(&self, found: &Described) -> Result<()> {
        let now = self.described();
        // Options first: where they differ, the data that is left of `limit` does too.
        let mut pairs: Vec<(String, String, String)> = now
            .options
            .iter()
            .map(|(name, value)| {
                let before = found.options.get(name).cloned();
                (name.clone(), before.unwrap_or_else(|| "not given".to_owned()), value.clone())
            })
            .collect();
        let teacher = |described: &Described| described.teacher.clone().unwrap_or("none".into());
        let mut pair = |what: &str, before: &dyn ToString, now: &dyn ToString| {
            pairs.push((what.to_owned(), before.to_string(), now.to_string()));
        };
        pair("network", &found.network, &now.network);
        pair("number of rows", &found.rows, &now.rows);
        pair("data's checksum", &found.checksum, &now.checksum);
        pair("checksum of the first weights", &found.beginning, &now.beginning);
        pair("teacher", &teacher(found), &teacher(&now));
        match pairs.into_iter().find(|(_, before, now)| before != now) {
            None => Ok(()),
            Some((what, before, now)) => Err(TrainProblem::Changed { what, before, now }.into()),
        }
    }
}

/// What is kept of a layer.
const PARTS: [&str; 6] =
    ["weight", "weight.first", "weight.second", "bias", "bias.first", "bias.second"];

fn parts(layer: &LayerState) -> impl Iterator<Item = (&'static str, &Values)> {
    let LayerState { weight, bias, weight_moments, bias_moments, .. } = layer;
    let Moments { first, second } = weight_moments;
    let of_bias = bias_moments.as_ref();
    let bias = of_bias.map(|_| bias);
    let [bias_first, bias_second] = [of_bias.map(|m| &m.first), of_bias.map(|m| &m.second)];
    let all = [Some(weight), Some(first), Some(second), bias, bias_first, bias_second];
    PARTS.into_iter().zip(all).filter_map(|(name, values)| Some((name, values?)))
}

fn parts_mut(layer: &mut LayerState) -> impl Iterator<Item = (&'static str, &mut Values)> {
    let LayerState { weight, bias, weight_moments, bias_moments, .. } = layer;
    let Moments { first, second } = weight_moments;
    let bias = bias_moments.is_some().then_some(bias);
    let [bias_first, bias_second] = match bias_moments {
        Some(Moments { first, second }) => [Some(first), Some(second)],
        None => [None, None],
    };
    let all = [Some(weight), Some(first), Some(second), bias, bias_first, bias_second];
    PARTS.into_iter().zip(all).filter_map(|(name, values)| Some((name, values?)))
}

/// The tensor `name` of so many elements, all finite.
fn floats(file: &SafetensorsFile, name: &str, count: usize) -> Result<Vec<f32>> {
    let info =
        file.tensor(name).ok_or_else(|| no(file, format!("it lacks the tensor {name:?}")))?;
    if info.dtype != DType::F32 || info.shape != [count] {
        return Err(no(file, format!("the tensor {name:?} is not F32 [{count}]")));
    }
    let mut values = vec![0.0; count];
    FloatType::F32.decode(file.view(info).data, &mut values);
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(no(file, format!("the tensor {name:?} is not finite")))
}

fn no(file: &SafetensorsFile, reason: impl Into<String>) -> Error {
    TrainProblem::Checkpoint { path: file.path().to_owned(), reason: reason.into() }.into()
}

fn best_parameters(file: &SafetensorsFile, like: &Parameters) -> Result<Parameters> {
    let layers = like.layers.iter().enumerate().map(|(number, layer)| {
        let read =
            |part: &str, like: &[f32]| floats(file, &format!("best.{number}.{part}"), like.len());
        Ok(LayerParameters {
            weight: read("weight", &layer.weight)?,
            bias: layer.bias.as_ref().map(|bias| read("bias", bias)).transpose()?,
            float: layer.float,
        })
    });
    Ok(Parameters { layers: layers.collect::<Result<_>>()? })
}
