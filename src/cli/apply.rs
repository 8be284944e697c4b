//! `tensorpress apply`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::device::Device;
use super::output::{self, bytes, figure, percent};
use super::training_progress::Bar;
use super::{Common, interrupt};
use crate::error::Result;
use crate::pipeline::{
    Event, Following, Outcome, Overrides, Pipeline, Report, Score, Status, StepReport,
};

/// Follow a recipe: train or load a network, and make it smaller step by step
///
/// RECIPE is a TOML file with the steps, each of which has the options of a command. The network of
/// each step is written to OUTPUT/NAME.safetensors, which every other command takes, and one table
/// shows what all came to. Run again, the steps that are done and of which nothing has changed are
/// not done again, and a training that was interrupted goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = "\
A recipe:
  data = \"digits.npz\"           # paths are relative to the recipe
  [[step]]
  do = \"train\"                  # load, train, finetune, distill, slim, prune, quantize, evaluate
  hidden = [300, 100]           # as --hidden 300,100 of tensorpress train
  [[step]]
  do = \"finetune\"
  name = \"sparse\"               # written to OUTPUT/sparse.safetensors
  schedule = \"polynomial:0:0.9:0:1000\"

Examples:
  tensorpress apply examples/recipe.toml --dry-run
  tensorpress apply examples/recipe.toml
  tensorpress apply examples/fashion-mnist.toml --data fashion-mnist --seed 2 -o seed-2
  tensorpress apply recipe.toml --from sparse")]
pub(super) struct Arguments {
    /// A .toml file
    recipe: PathBuf,
    /// Data in place of what the recipe names at its top
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// Seed in place of that at the top of the recipe
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Folder of the networks in place of what the recipe names at its top
    #[arg(short, long, value_name = "FOLDER", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Replace files in the way that no step wrote
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Print the steps and which of them would be done, and write nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
    /// Do this step and all after it, whether they are done or not
    #[arg(long, value_name = "STEP", conflicts_with = "restart", help_heading = "Steps")]
    from: Option<String>,
    /// Do all steps, whether they are done or not
    #[arg(long, help_heading = "Steps")]
    restart: bool,
    /// Write a checkpoint every N epochs of a training, and when interrupted (Ctrl-C)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Steps")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    #[command(flatten)]
    device: Device,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let Arguments { data, output, seed, .. } = arguments;
    let overrides = Overrides { data: data.clone(), output: output.clone(), seed: *seed };
    let pipeline = Pipeline::open(&arguments.recipe, &overrides)?;
    for warning in &pipeline.warnings {
        output::warn(common, warning);
    }
    pipeline.check_files()?;
    let from = arguments.from.as_ref().map(|name| pipeline.number_of(name)).transpose()?;
    let backend = arguments.device.open(common)?;
    let following = Following {
        again_from: if arguments.restart { Some(0) } else { from },
        force: arguments.force,
        checkpoint_every: arguments.checkpoint_every,
        ..Following::new(&backend)
    };
    if arguments.dry_run {
        return plan(&pipeline, &pipeline.statuses(&following)?, common);
    }
    interrupt::watch();
    let mut progress = Progress { pipeline: &pipeline, common, bar: None };
    let report = pipeline.run(&following, &mut |event| {
        progress.show(event);
        interrupt::flow()
    });
    if let Some(bar) = &progress.bar {
        bar.clear();
    }
    let report = report?;
    if common.json { output::json(&report) } else { output::print(&text(&report)) }
}

/// What goes on, on standard error.
struct Progress<'a> {
    pipeline: &'a Pipeline,
    common: &'a Common,
    bar: Option<Bar<'a>>,
}

impl Progress<'_> {
    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Begins { step, status } => {
                let why = match status {
                    Status::New => String::new(),
                    status => format!(" ({status})"),
                };
                let what = &self.pipeline.plan()[step];
                output::note(self.common, &format!("{}: {}{why}", self.name(step), what.what));
                self.bar = Some(Bar::new(self.common, &self.name(step)));
            }
            Event::Training(now) => {
                if let Some(bar) = &self.bar {
                    bar.show(now, self.common.verbose > 0);
                }
            }
            Event::Ended { step, report } => {
                if let Some(bar) = self.bar.take() {
                    bar.clear();
                }
                let line = format!("{}: {}", self.name(step), summary(report));
                output::note(self.common, &line);
            }
        }
    }

    /// "[2/5] sparse"
    fn name(&self, step: usize) -> String {
        let steps = &self.pipeline.steps;
        format!("[{}/{}] {}", step + 1, steps.len(), steps[step].name)
    }
}

/// "unchanged", or what it came to.
fn summary(report: &StepReport) -> String {
    let Outcome { test, network, seconds, .. } = &report.outcome;
    let parts = [
        test.as_ref().map(|test| format!("accuracy {:.4}", test.accuracy)),
        network.as_ref().map(|network| bytes(network.bytes)),
        Some(format!("{seconds:.1} s")),
    ];
    let done = if report.status == Status::Unchanged { "unchanged" } else { "done" };
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{done}, {}", parts.join(", "))
}

fn plan(pipeline: &Pipeline, statuses: &[Status], common: &Common) -> Result<()> {
    let plan = pipeline.plan();
    if common.json {
        let steps: Vec<_> = plan
            .iter()
            .zip(statuses)
            .map(|(step, status)| json!({ "planned": step, "status": status }))
            .collect();
        let output = pipeline.output.display().to_string();
        return output::json(&json!({ "schema_version": 1, "output": output, "steps": steps }));
    }
    let lines = pipeline.to_string();
    let mut text = String::new();
    for (line, status) in lines.lines().zip(statuses) {
        text += &format!("{line}  [{status}]\n");
    }
    output::print(&(text + "dry run: nothing was written\n"))
}

fn text(report: &Report) -> String {
    let header = ["step", "does", "accuracy", "zeros", "bits/w", "size", "× smaller", "time", ""];
    let mut rows = vec![];
    for step in &report.steps {
        let Outcome { network, test, baseline, seconds, .. } = &step.outcome;
        let network = network.as_ref();
        let accuracy = |score: &Score| format!("{:.2}%", score.accuracy * 100.0);
        rows.push(vec![
            step.planned.name.clone(),
            step.planned.kind.to_string(),
            figure(test.as_ref(), accuracy),
            figure(network, |network| percent(network.sparsity)),
            figure(network, |network| format!("{:.2}", network.bits_per_weight)),
            figure(network, |network| bytes(network.bytes)),
            figure(step.times_smaller, |times| format!("{times:.2}")),
            format!("{seconds:.1} s"),
            if step.status == Status::Unchanged { "unchanged".into() } else { String::new() },
        ]);
        if let Some(baseline) = baseline {
            let mut row = vec![String::new(); header.len()];
            row[1] = "labels alone".to_owned();
            row[2] = accuracy(baseline);
            rows.push(row);
        }
    }
    let mut text = output::table(&header, 2, rows);
    text += &format!("\non {}; × smaller than the first network, dense\n", report.device);
    let tests = report.steps.iter().filter_map(|step| Some(step.outcome.test.as_ref()?.rows));
    let mut tests: Vec<u64> = tests.collect();
    tests.dedup();
    match tests[..] {
        [] => text += "the data has no test rows\n",
        [rows] => text += &format!("accuracy on {rows} test rows\n"),
        _ => {}
    }
    text + &format!("wrote networks to {}\n", report.output)
}
