//! Pruning between the steps of training.

use super::fit::Training;
use crate::error::Result;

impl Training {
    /// Prunes where the schedule says so for the next step.
    pub(super) fn prune_where_due(&mut self) -> Result<()> {
        let Some(pruning) = &self.options.pruning else { return Ok(()) };
        let Some(_share) = pruning.schedule.sparsity_at(self.position.step) else { return Ok(()) };
        Ok(())
    }

    /// How many of the next `steps` steps come before the schedule prunes again; the first is one.
    pub(super) fn steps_until_pruning(&self, steps: usize) -> usize {
        let Some(pruning) = &self.options.pruning else { return steps };
        let due = |after: &usize| {
            pruning.schedule.sparsity_at(self.position.step + *after as u64).is_some()
        };
        (1..steps).find(due).unwrap_or(steps)
    }
}
