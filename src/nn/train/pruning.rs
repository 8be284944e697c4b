//! Pruning while a network is trained.

use super::options::PruneOptions;
use super::state::State;
use crate::error::{Result, TrainProblem};
use crate::nn::PruningSchedule;
use crate::nn::network::Network;
use crate::ops::{Stream, Values};

/// [`PruneOptions`] for the layers of a network.
pub(super) struct Pruning {
    schedule: PruningSchedule,
    groups: Vec<Group>,
}

/// Layers whose weights are pruned together.
struct Group {
    layers: Vec<usize>,
    /// What the schedule's sparsity is multiplied by.
    factor: f64,
}

impl Pruning {
    /// # Errors
    /// [`TrainProblem::NoLayer`] for a layer that is named and not there.
    pub(super) fn new(options: &PruneOptions, network: &Network) -> Result<Self> {
        let place = |wanted: &String| {
            let found = network.layers.iter().position(|layer| layer.name == *wanted);
            found.ok_or_else(|| {
                let names: Vec<&str> = network.layers.iter().map(|layer| &*layer.name).collect();
                let (wanted, available) = (wanted.clone(), names.join(", "));
                TrainProblem::NoLayer { wanted, available }
            })
        };
        let excluded = options.exclude.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let last = options.schedule.last_sparsity();
        let mut own = vec![];
        for (name, share) in &options.layers {
            // A schedule that ends at 0 prunes nothing, whatever it is multiplied by.
            let factor = if last > 0.0 { share / last } else { 0.0 };
            own.push(Group { layers: vec![place(name)?], factor });
        }
        let left = (0..network.layers.len()).filter(|layer| {
            options.others
                && !excluded.contains(layer)
                && !own.iter().any(|group| group.layers.contains(layer))
        });
        let mut groups: Vec<Group> = if options.global {
            vec![Group { layers: left.collect(), factor: 1.0 }]
        } else {
            left.map(|layer| Group { layers: vec![layer], factor: 1.0 }).collect()
        };
        groups.extend(own);
        Ok(Self { schedule: options.schedule, groups })
    }

    /// Whether the schedule prunes at step `step` or later.
    pub(super) fn goes_on(&self, step: u64) -> bool {
        self.schedule.last_step().is_some_and(|last| last >= step)
    }

    /// Records the pruning that comes before step `step`, counted from 0, where there is one.
    pub(super) fn record(&self, stream: &mut Stream, state: &mut State, step: u64) -> Result<()> {
        let Some(share) = self.schedule.sparsity_at(step) else { return Ok(()) };
        for group in &self.groups {
            let layers = state.layers.iter_mut().enumerate();
            let chosen = layers.filter(|(number, _)| group.layers.contains(number));
            let mut weights: Vec<&mut Values> =
                chosen.map(|(_, layer)| &mut layer.weight).collect();
            stream.prune(&mut weights, (share * group.factor).min(1.0))?;
        }
        Ok(())
    }
}
