//! Sums of the metrics of an epoch.

use crate::ops::RowMetrics;

/// Loss and right answers of the rows so far, added in their order, so that the sums do not depend
/// on when they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Running {
    pub rows: usize,
    pub loss: f64,
    pub correct: usize,
}

impl Running {
    /// Adds those of `metrics`, which begin with the epoch, that are new. Gives the first row whose
    /// loss is not finite.
    pub(super) fn add(&mut self, metrics: &[RowMetrics]) -> Option<usize> {
        for (row, metrics) in metrics.iter().enumerate().skip(self.rows) {
            if !metrics.loss.is_finite() {
                return Some(row);
            }
            self.loss += f64::from(metrics.loss);
            self.correct += usize::from(metrics.correct);
            self.rows += 1;
        }
        None
    }

    /// Their mean; 0 of none.
    pub(super) fn loss(&self) -> f64 {
        self.loss / self.rows.max(1) as f64
    }

    /// Share of right answers; 0 of none.
    pub(super) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.rows.max(1) as f64
    }
}
