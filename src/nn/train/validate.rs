//! Validation, and what ends a training early.

use super::fit::{Training, task};
use super::running::Running;
use crate::error::Result;
use crate::nn::EpochRecord;
use crate::nn::parameters::Parameters;
use crate::ops::{Batch, Dropout, Indices, Metrics, Stream};

/// Rows that validate at once.
const VALIDATION_BATCH: usize = 256;

/// The parameters of the epoch with the least validation loss.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub epoch: u64,
    pub loss: f64,
    pub parameters: Parameters,
}

impl Training {
    /// Loss and accuracy on the rows that validate, where there are any.
    pub(super) fn validate(&mut self) -> Result<Option<Running>> {
        let rows = self.data.train..self.data.rows;
        if rows.is_empty() {
            return Ok(None);
        }
        let order: Vec<u32> = rows.clone().map(|row| row as u32).collect();
        let on_backend = Indices::new(&self.backend, &order)?;
        let mut metrics = Metrics::new(&self.backend, order.len())?;
        for first in (0..order.len()).step_by(VALIDATION_BATCH) {
            let count = VALIDATION_BATCH.min(order.len() - first);
            let batch = Batch { order: &on_backend, first, rows: count };
            let ready = self.data.ready(&order, first..first + count)?;
            let task = task(&self.options, &self.data, self.teacher.as_ref());
            let Self { state, x, .. } = self;
            let mut stream = Stream::new(&self.backend);
            ready.gather(&mut stream, batch, x)?;
            state.forward(&mut stream, x, |_| Dropout::NONE)?;
            state.loss(&mut stream, task, batch, &mut metrics)?;
            stream.finish()?;
        }
        let mut sums = Running::default();
        sums.add(&metrics.read(order.len())?);
        Ok(Some(sums))
    }

    /// The best epoch, from 1, where training ends because the validation loss does not improve
    /// any more; its parameters are then back.
    pub(super) fn ends_early(&mut self, record: &EpochRecord) -> Result<Option<u64>> {
        let patience = self.options.patience;
        let (Some(patience), Some(loss)) = (patience, record.validation_loss) else {
            return Ok(None);
        };
        // While weights are still being pruned, an epoch is no better for being earlier.
        if self.pruning.as_ref().is_some_and(|pruning| pruning.goes_on(self.position.step)) {
            return Ok(None);
        }
        if self.best.as_ref().is_none_or(|best| loss < best.loss) {
            let parameters = self.parameters()?;
            self.best = Some(Best { epoch: record.epoch, loss, parameters });
        }
        match &self.best {
            Some(best) if record.epoch - best.epoch >= patience => {
                self.state.set(&self.backend, &best.parameters)?;
                Ok(Some(best.epoch))
            }
            _ => Ok(None),
        }
    }
}
