//! What the commands that train have in common.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use regex::Regex;
use serde::Serialize;

use super::device::Device;
use super::network::temporary_folder;
use super::output::{self, bytes, figure, percent};
use super::{Common, progress};
use crate::compress::Recipe;
use crate::error::{Error, Result, UsageError};
use crate::io::{DataSet, Model, OutputFile, Split, refuse_same};
use crate::nn::train::{Checkpoints, Ended, Loss, Progress, Training, TrainingOptions};
use crate::nn::{self, Decay, EpochRecord, Evaluation, Loaded, Network};
use crate::ops::{Backend, Optimizer};

#[derive(Clone, Debug, Args)]
pub(super) struct TrainingArguments {
    /// A directory of IDX files (MNIST, Fashion-MNIST), or an .npz or .safetensors file
    #[arg(long, value_name = "DATA")]
    pub data: PathBuf,
    /// The model to write
    #[arg(short, long, value_name = "MODEL", help_heading = "Output")]
    pub output: PathBuf,
    /// Replace the output if it exists
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    /// Write what each epoch gave, as .csv or .json
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    history: Option<PathBuf>,
    /// What is made small
    #[arg(long, value_name = "LOSS", default_value = "sparse-categorical-crossentropy")]
    #[arg(help_heading = "Training")]
    loss: Loss,
    /// How weights follow from gradients; the defaults are those of Keras
    #[arg(long, value_name = "NAME", default_value = "adam", help_heading = "Training")]
    optimizer: OptimizerName,
    /// Learning rate of the first step [default: 0.001; of sgd 0.01]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    learning_rate: Option<f64>,
    /// What becomes of the learning rate
    #[arg(long, value_name = "DECAY", default_value = "constant", help_heading = "Training")]
    decay: Decay,
    /// Momentum of sgd
    #[arg(long, value_name = "M", help_heading = "Training")]
    momentum: Option<f64>,
    /// Nesterov's momentum
    #[arg(long, requires = "momentum", help_heading = "Training")]
    nesterov: bool,
    /// Decoupled weight decay of adamw [default: 0.004]
    #[arg(long, value_name = "D", help_heading = "Training")]
    weight_decay: Option<f64>,
    /// Rows a step
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Training")]
    batch_size: usize,
    /// Times that all rows are seen
    #[arg(long, value_name = "N", help_heading = "Training")]
    epochs: Option<u64>,
    /// Stop after so many steps
    #[arg(long, value_name = "N", help_heading = "Training")]
    steps: Option<u64>,
    /// Learn from the first N rows only
    #[arg(long, value_name = "N", help_heading = "Training")]
    limit: Option<usize>,
    /// Share of the hidden outputs that are dropped in each step
    #[arg(long, value_name = "RATE", default_value_t = 0.0, help_heading = "Training")]
    dropout: f64,
    /// Factor of the penalty on squared weights
    #[arg(long, value_name = "L", default_value_t = 0.0, help_heading = "Training")]
    l2: f64,
    /// Seed of first weights, order of rows and dropout: the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub seed: u64,
    /// Take the rows in their order
    #[arg(long, help_heading = "Training")]
    no_shuffle: bool,
    /// Keep this share of the rows, the last ones, apart to validate
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Training")]
    validation_split: f64,
    /// Stop where the validation loss has not improved for N epochs, and go back to the best
    #[arg(long, value_name = "N", help_heading = "Training")]
    patience: Option<u64>,

    /// Write a checkpoint every N epochs, and when interrupted (Ctrl-C)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Checkpoints")]
    checkpoint_every: u64,
    /// Go on from the checkpoint that an interrupted run of the same command left
    #[arg(long, help_heading = "Checkpoints")]
    resume: bool,
    #[command(flatten)]
    device: Device,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Adamw,
    Sgd,
}

/// What a training gave, printed or as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub schema_version: u32,
    pub model: String,
    pub network: String,
    pub parameters: usize,
    pub bytes: u64,
    /// "finished", "stopped early" or "interrupted"
    pub ended: &'static str,
    pub steps: u64,
    pub seconds: f64,
    pub device: String,
    pub sparsity: f64,
    pub epochs: Vec<EpochRecord>,
    /// On the test rows, where the data has some.
    pub test: Option<Evaluation>,
    /// The same of the network that was trained on, before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Evaluation>,
    /// The same of the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Evaluation>,
    /// The same of the student that learnt from the labels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Evaluation>,
}

impl TrainingArguments {
    /// Fails before any work where the output must not be written, or is `input`.
    pub(super) fn check_output(&self, input: Option<&Path>) -> Result<()> {
        if let Some(input) = input {
            refuse_same(input, &self.output)?;
        }
        let written = [Some(&self.output), self.history.as_ref()];
        written.into_iter().flatten().try_for_each(|path| {
            let force = self.force || self.resume && path != &self.output;
            OutputFile::check(path, force)
        })
    }

    pub(super) fn open_device(&self, common: &Common) -> Result<Backend> {
        self.device.open(common)
    }

    /// The rows that are learnt from.
    pub(super) fn training_data(&self) -> Result<DataSet> {
        DataSet::open(&self.data, Split::Train)
    }

    /// The options that the arguments mean.
    pub(super) fn options(&self, epochs: u64) -> Result<TrainingOptions> {
        let (optimizer, rate) = self.optimizer()?;
        let options = TrainingOptions {
            loss: self.loss,
            optimizer,
            learning_rate: self.learning_rate.unwrap_or(rate),
            decay: self.decay,
            batch_size: self.batch_size,
            epochs: self.epochs.unwrap_or(epochs),
            steps: self.steps,
            limit: self.limit,
            dropout: self.dropout,
            l2: self.l2,
            seed: self.seed,
            shuffle: !self.no_shuffle,
            validation_split: self.validation_split,
            patience: self.patience,
            ..TrainingOptions::default()
        };
        options.check()?;
        Ok(options)
    }

    /// The optimizer and its usual learning rate.
    fn optimizer(&self) -> Result<(Optimizer, f64)> {
        let conflict = |first, advice| {
            let second = "this --optimizer";
            Err(UsageError::Conflict { first, second, advice }.into())
        };
        match (self.optimizer, self.momentum, self.weight_decay) {
            (OptimizerName::Adam | OptimizerName::Adamw, Some(_), _) => {
                conflict("--momentum", "give --optimizer sgd, or leave it out")
            }
            (OptimizerName::Adam | OptimizerName::Sgd, _, Some(_)) => {
                conflict("--weight-decay", "give --optimizer adamw, or use --l2")
            }
            (OptimizerName::Adam, ..) => Ok((Optimizer::ADAM, 1e-3)),
            (OptimizerName::Adamw, _, None) => Ok((Optimizer::ADAM_W, 1e-3)),
            (OptimizerName::Adamw, _, Some(decay)) => Ok((Optimizer::adam_w(decay), 1e-3)),
            (OptimizerName::Sgd, momentum, None) => {
                let (momentum, nesterov) = (momentum.unwrap_or(0.0), self.nesterov);
                Ok((Optimizer::Sgd { momentum, nesterov, weight_decay: 0.0 }, 1e-2))
            }
        }
    }

    /// Beside the output.
    fn checkpoint(&self) -> PathBuf {
        let mut name = self.output.as_os_str().to_owned();
        name.push(".checkpoint");
        name.into()
    }

    /// Trains with a progress bar and, where it is interrupted, a checkpoint.
    pub(super) fn fit(&self, training: &mut Training, common: &Common) -> Result<Ended> {
        let path = self.checkpoint();
        if self.resume {
            training.resume(&path)?;
        }
        let checkpoints = Checkpoints { path: path.clone(), every: self.checkpoint_every };
        let bar = progress::training(common);
        let interrupted = interruption();
        let ended = training.run(Some(&checkpoints), &mut |now| {
            show(&bar, common, now);
            if interrupted.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        bar.finish_and_clear();
        if ended.as_ref().is_ok_and(|ended| *ended == Ended::Interrupted) {
            return Err(Error::Interrupted { checkpoint: path });
        }
        ended
    }

    /// Writes history and plot, removes the checkpoint, and judges what was written by the test
    /// rows.
    pub(super) fn finish(
        &self,
        training: &Training,
        ended: Ended,
        backend: &Backend,
        seconds: f64,
    ) -> Result<Report> {
        if let Some(path) = &self.history {
            training.history().write(path)?;
        }
        let _ = std::fs::remove_file(self.checkpoint());
        let parameters = training.parameters()?;
        let epochs = training.history().epochs.clone();
        Ok(Report {
            schema_version: 1,
            model: self.output.display().to_string(),
            network: training.network().to_string(),
            parameters: parameters.count(),
            bytes: std::fs::metadata(&self.output).map_or(0, |m| m.len()),
            ended: match ended {
                Ended::Finished => "finished",
                Ended::Early { .. } => "stopped early",
                Ended::Interrupted => "interrupted",
            },
            steps: epochs.last().map_or(0, |epoch| epoch.step),
            seconds,
            device: backend.name().to_owned(),
            sparsity: parameters.sparsity(),
            epochs,
            test: test(&Model::open(&self.output)?, training.network(), &self.data, backend)?,
            before: None,
            teacher: None,
            baseline: None,
        })
    }
}

/// Set where the user presses Ctrl-C. A second time ends the program at once.
fn interruption() -> &'static AtomicBool {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    // Where no handler can be set, Ctrl-C ends the program as it does anyway.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    &INTERRUPTED
}

fn show(bar: &ProgressBar, common: &Common, now: Progress<'_>) {
    match now {
        Progress::Steps { epoch, rows, rows_an_epoch, loss, accuracy, steps: (done, all) } => {
            bar.set_length(all);
            bar.set_position(done);
            let share = percent(rows as f64 / rows_an_epoch as f64);
            bar.set_message(format!(
                "epoch {epoch} {share}, loss {loss:.4}, accuracy {}",
                percent(accuracy)
            ));
        }
        Progress::Epoch(record) => {
            let line = epoch_line(record);
            bar.suspend(|| output::note(common, &line));
        }
    }
}

fn epoch_line(record: &EpochRecord) -> String {
    let mut line = format!("epoch {:>3}: loss {:.4}", record.epoch, record.loss);
    line += &figure(record.accuracy, |share| format!(", accuracy {share:.4}"));
    line += &figure(record.validation_loss, |loss| format!(", validation loss {loss:.4}"));
    line += &figure(record.validation_accuracy, |share| format!(", accuracy {share:.4}"));
    if record.sparsity > 0.0 {
        line += &format!(", {} zeros", percent(record.sparsity));
    }
    line + &format!(", {:.0} rows/s", record.rows_per_second)
}

/// How a network does on the test rows, where the data has some.
pub(super) fn test(
    model: &Model,
    network: &Network,
    data: &Path,
    backend: &Backend,
) -> Result<Option<Evaluation>> {
    let Some(test) = DataSet::open_test(data)? else { return Ok(None) };
    let loaded = Loaded::new(backend, model, network.clone())?;
    nn::evaluate(&loaded, &test, nn::BATCH).map(Some).map_err(|error| error.in_file(data))
}

/// How a trained network is written.
pub(super) struct Written {
    network: Network,
    /// What is done to the dense weights, where anything is.
    recipe: Option<Recipe>,
}

impl Written {
    /// As `recipe` makes it of the dense weights; dense without one.
    pub(super) fn new(network: &Network, recipe: Option<Recipe>) -> Self {
        let names = network.layers.iter();
        let names =
            names.filter_map(|l| Regex::new(&format!("^{}$", regex::escape(&l.weight))).ok());
        let recipe = recipe.map(|recipe| names.fold(recipe, Recipe::include));
        Self { network: network.clone(), recipe }
    }

    /// Writes the parameters as they are now.
    pub(super) fn write(&self, training: &Training, path: &Path, force: bool) -> Result<()> {
        let parameters = training.parameters()?;
        let Some(recipe) = &self.recipe else {
            return parameters.write(&self.network, path, force);
        };
        let folder = temporary_folder()?;
        let dense = folder.path().join("dense.safetensors");
        parameters.write(&self.network, &dense, false)?;
        let recipe = recipe.clone().force(force);
        recipe.compress(&Model::open(&dense)?, path, &Backend::Cpu).map(drop)
    }

    /// How the parameters do on the test rows, written in a temporary place.
    pub(super) fn test(
        &self,
        training: &Training,
        data: &Path,
        backend: &Backend,
    ) -> Result<Option<Evaluation>> {
        let folder = temporary_folder()?;
        let path = folder.path().join("model.safetensors");
        self.write(training, &path, false)?;
        test(&Model::open(&path)?, &self.network, data, backend)
    }
}

impl Report {
    pub(super) fn print(&self, common: &Common) -> Result<()> {
        if common.json { output::json(self) } else { output::print(&self.text()) }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.network);
        text += &format!("{} weights and biases, ", self.parameters);
        if self.sparsity > 0.0 {
            text += &format!("{} of the weights zero, ", percent(self.sparsity));
        }
        text += &format!("{}\n", bytes(self.bytes));
        text += &format!(
            "{} after {} steps in {:.1} s on {}\n",
            self.ended, self.steps, self.seconds, self.device
        );
        let rows = [
            ("before", &self.before),
            ("teacher", &self.teacher),
            ("from labels alone", &self.baseline),
            ("test", &self.test),
        ];
        for (name, test) in rows {
            text += &figure(test.as_ref(), |test| {
                format!(
                    "{name} accuracy {:.4} ({} of {}), cross-entropy {:.4}\n",
                    test.accuracy, test.correct, test.rows, test.cross_entropy
                )
            });
        }
        if self.test.is_none() {
            text += "the data has no test rows\n";
        }
        text + &format!("wrote {}\n", self.model)
    }
}
