//! What the commands that train have in common.

use std::path::{Path, PathBuf};

use clap::Args;

use super::device::Device;
use super::training_report::Report;
use super::{Common, interrupt, learning_curve, output, plot, training_progress};
use crate::error::Result;
use crate::io::{OutputFile, refuse_same};
use crate::nn::Decay;
use crate::nn::train::{Loss, OptimizerChoice, TrainingOptions};
use crate::ops::Optimizer;
use crate::pipeline::{Data, Files, Job, Resume};

#[derive(Clone, Debug, Args)]
pub(super) struct TrainingArguments {
    /// A directory of IDX files (MNIST, Fashion-MNIST), or an .npz or .safetensors file
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// The model to write
    #[arg(short, long, value_name = "MODEL", help_heading = "Output")]
    output: PathBuf,
    /// Replace what is written where it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Write what each epoch gave, as a .csv or .json file
    #[arg(long, value_name = "FILE", value_parser = history_name, help_heading = "Output")]
    history: Option<PathBuf>,
    /// Draw loss and accuracy over the epochs, as an .svg file
    #[arg(long, value_name = "FILE", value_parser = plot::file_name, help_heading = "Output")]
    plot: Option<PathBuf>,
    /// What is made small: sparse-categorical-crossentropy or mse
    #[arg(long, value_name = "LOSS", default_value = "sparse-categorical-crossentropy")]
    #[arg(help_heading = "Training")]
    loss: Loss,
    /// How weights follow from gradients: adam, adamw or sgd, with Keras' defaults
    #[arg(long, value_name = "NAME", default_value = "adam", help_heading = "Training")]
    optimizer: Optimizer,
    /// Learning rate of the first step [default: 0.001; of sgd 0.01]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[arg(allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// What becomes of the learning rate: constant, linear:TO, cosine, step:EVERY:FACTOR (every so
    /// many epochs) or exponential:FACTOR (an epoch)
    #[arg(long, value_name = "DECAY", default_value = "constant", help_heading = "Training")]
    decay: Decay,
    /// Momentum of sgd
    #[arg(long, value_name = "M", help_heading = "Training")]
    #[arg(allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Nesterov's momentum
    #[arg(long, requires = "momentum", help_heading = "Training")]
    nesterov: bool,
    /// Decoupled weight decay of adamw [default: 0.004]
    #[arg(long, value_name = "D", help_heading = "Training")]
    #[arg(allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Rows a step
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Training")]
    batch_size: usize,
    /// Times that all rows are seen [default: 10; of finetune 3]
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
    #[arg(allow_negative_numbers = true)]
    dropout: f64,
    /// Factor of the penalty on squared weights
    #[arg(long, value_name = "L", default_value_t = 0.0, help_heading = "Training")]
    #[arg(allow_negative_numbers = true)]
    l2: f64,
    /// Seed of first weights, order of rows and dropout: the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    seed: u64,
    /// Take the rows in their order
    #[arg(long, help_heading = "Training")]
    no_shuffle: bool,
    /// Keep this share of the rows, the last ones, apart to validate
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Training")]
    #[arg(allow_negative_numbers = true)]
    validation_split: f64,
    /// Stop where the validation loss has not improved for N epochs, and go back to the best
    #[arg(long, value_name = "N", help_heading = "Training")]
    patience: Option<u64>,

    /// Write a checkpoint every N epochs, and when interrupted (Ctrl-C)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Checkpoints")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Go on from the checkpoint that an interrupted run of the same command left
    #[arg(long, help_heading = "Checkpoints")]
    resume: bool,
    #[command(flatten)]
    device: Device,
}

/// Takes file names that end as [`crate::nn::History::write`] knows them.
fn history_name(text: &str) -> std::result::Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let ends =
        |ending: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    if ends("csv") || ends("json") {
        return Ok(path);
    }
    Err("a name that ends in .csv or .json was expected".into())
}

impl TrainingArguments {
    /// Fails before any work where an output must not be written, or is `input`.
    pub(super) fn check_output(&self, input: Option<&Path>) -> Result<()> {
        let outputs = [Some(&self.output), self.history.as_ref(), self.plot.as_ref()];
        outputs.into_iter().flatten().try_for_each(|path| {
            input.map_or(Ok(()), |input| refuse_same(input, path))?;
            refuse_same(&self.data, path)?;
            OutputFile::check(path, self.force)
        })
    }

    pub(super) fn data(&self) -> Result<Data> {
        Data::open(&self.data)
    }

    /// The options that the arguments mean.
    pub(super) fn options(&self, epochs: u64) -> Result<TrainingOptions> {
        let choice = OptimizerChoice {
            optimizer: self.optimizer,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
        };
        let (optimizer, rate) = choice.optimizer()?;
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

    /// Trains with a progress bar, writes all that is asked for, and reports.
    pub(super) fn run(&self, job: Job, common: &Common) -> Result<()> {
        let backend = self.device.open(common)?;
        let resume = if self.resume { Resume::Must } else { Resume::Never };
        let mut files = Files::new(&self.output, resume);
        files.force = self.force;
        files.checkpoint_every = self.checkpoint_every;
        interrupt::watch();
        let layers = job.network().to_string().replace('\n', "; ");
        output::note(common, &format!("training {layers} on {} rows", job.rows()));
        let bar = training_progress::Bar::new(common, "");
        let trained = job.run(&backend, &files, &mut |now| {
            bar.show(now, true);
            interrupt::flow()
        });
        bar.clear();
        let trained = trained?;
        if let Some(path) = &self.history {
            trained.history.write(path)?;
        }
        if let Some(path) = &self.plot {
            let chart = learning_curve::charts(&trained, &self.output);
            plot::write(&chart, path, true)?;
        }
        files.remove_checkpoints();
        Report::new(&trained, &self.output, backend.name()).print(common)
    }
}
