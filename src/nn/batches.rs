//! In which order the rows of a data set are learnt from.

use chacha20::rand_core::Rng;

use super::random::{Purpose, stream};
use crate::error::{Result, UsageError};

/// In which order the rows of a data set are learnt from, epoch by epoch.
///
/// An epoch takes every row once, in batches of the same size but for the last, which has what is
/// left over, as in Keras. Its order follows from the seed and the number of the epoch alone, so
/// that a training is continued without the orders of the epochs before:
///
/// `rows` numbers from 0 are shuffled by Fisher and Yates: for i from `rows` − 1 down to 1, number
/// i is swapped with number ⌊x (i + 1) / 2⁶⁴⌋, x being the next 64 bits (two words, the lower
/// first) of ChaCha8 with the seed in the first 8 bytes of the key and a 2 in the next 8, both
/// little-endian, zeros after them, and the epoch, from 0, as nonce. No place is likelier than
/// another by more than `rows` / 2⁶⁴.
///
/// ```
/// use tensorpress::nn::Batches;
/// let batches = Batches::new(10, 4, Some(7))?;
/// let order = batches.order(0);
/// assert_eq!(order, [8, 2, 3, 4, 6, 1, 0, 7, 5, 9]);
/// let sizes: Vec<usize> = order.chunks(batches.size()).map(<[u32]>::len).collect();
/// assert_eq!((sizes, batches.per_epoch()), (vec![4, 4, 2], 3));
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    rows: u32,
    size: usize,
    seed: Option<u64>,
}

impl Batches {
    /// Batches of `size` of `rows` rows, shuffled by `seed`, or in their own order without one.
    ///
    /// # Errors
    /// [`UsageError::BatchSize`] where `size` is 0 or larger than `rows`, and
    /// [`UsageError::OutOfRange`] for 2³² rows or more.
    pub fn new(rows: usize, size: usize, seed: Option<u64>) -> Result<Self> {
        if size == 0 || size > rows {
            return Err(UsageError::BatchSize { size, rows }.into());
        }
        let rows = u32::try_from(rows).map_err(|_| UsageError::OutOfRange {
            what: "the number of rows",
            value: rows.to_string(),
            expected: "below 4294967296; split the data set",
        })?;
        Ok(Self { rows, size, seed })
    }

    /// Rows of a batch; the last may have fewer.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Batches of an epoch.
    pub fn per_epoch(&self) -> usize {
        (self.rows as usize).div_ceil(self.size)
    }

    /// The rows in the order of epoch `epoch`, counted from 0.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.rows).collect();
        let Some(seed) = self.seed else { return order };
        let mut numbers = stream(seed, Purpose::Order, epoch);
        for last in (1..order.len()).rev() {
            let place = u128::from(numbers.next_u64()) * (last as u128 + 1);
            order.swap(last, (place >> 64) as usize);
        }
        order
    }
}

/// How many of `rows` rows are learnt from where the share `validation` is kept back: the first
/// ⌊rows (1 − validation)⌋. The rows after them, as they lie in the data set, before anything is
/// shuffled, are what the network is judged by after each epoch, as in Keras.
///
/// # Errors
/// [`UsageError::OutOfRange`] for a share outside [0, 1), and [`UsageError::ValidationSplit`] where
/// it leaves no row on one side.
pub fn training_rows(rows: usize, validation: f64) -> Result<usize> {
    if !(0.0..1.0).contains(&validation) {
        return Err(UsageError::OutOfRange {
            what: "--validation-split",
            value: validation.to_string(),
            expected: "a share from 0 to below 1",
        }
        .into());
    }
    if validation == 0.0 {
        return Ok(rows);
    }
    let training = (rows as f64 * (1.0 - validation)).floor() as usize;
    if training == 0 || training == rows {
        return Err(UsageError::ValidationSplit { share: validation, rows }.into());
    }
    Ok(training)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn orders_never_change() {
        let batches = Batches::new(10, 4, Some(7)).expect("fits");
        // From a program of its own, in another language.
        assert_eq!(batches.order(0), [8, 2, 3, 4, 6, 1, 0, 7, 5, 9]);
        assert_eq!(batches.order(1), [6, 5, 0, 1, 8, 4, 3, 7, 2, 9]);
        assert_eq!(batches.order(2), [2, 5, 6, 7, 3, 8, 9, 0, 4, 1]);
        let unshuffled = Batches::new(5, 5, None).expect("fits");
        assert_eq!((unshuffled.order(0), unshuffled.per_epoch()), (vec![0, 1, 2, 3, 4], 1));
    }

    #[test]
    fn every_row_comes_to_every_place_equally_often() {
        let batches = Batches::new(6, 1, Some(1)).expect("fits");
        let mut counts = [[0_u32; 6]; 6];
        for epoch in 0..6000 {
            for (place, row) in batches.order(epoch).into_iter().enumerate() {
                counts[place][row as usize] += 1;
            }
        }
        // Four and a half deviations of a binomial of 6000 and ⅙ are 130.
        assert!(counts.as_flattened().iter().all(|c| c.abs_diff(1000) < 130), "{counts:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (rows, size) in [(10, 0), (10, 11), (0, 1)] {
            let error = Batches::new(rows, size, None).expect_err("does not fit");
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            assert!(message.contains(&format!("{size}")), "{message}");
            assert!(message.contains(&format!("{rows} rows")), "{message}");
        }
        for (rows, share) in [(10, 1.0), (10, -0.1), (10, f64::NAN), (10, 0.99), (1, 0.5), (0, 0.5)]
        {
            assert_eq!(training_rows(rows, share).expect_err("no split").exit_code(), 2);
        }
        // The numbers that Keras gives, its rounding included: 100 · (1 − 0.9) is below 10.
        for (rows, share, expected) in
            [(10, 0.0, 10), (10, 0.2, 8), (60_000, 0.1, 54_000), (7, 0.3, 4), (100, 0.9, 9)]
        {
            assert_eq!(training_rows(rows, share).expect("a split"), expected, "{rows} {share}");
        }
    }

    proptest! {
        #[test]
        fn any_order_is_a_permutation(rows in 1..300_usize, size in 1..300_usize, seed: u64, epoch: u64) {
            prop_assume!(size <= rows);
            let batches = Batches::new(rows, size, Some(seed)).expect("fits");
            let order = batches.order(epoch);
            prop_assert_eq!(&batches.order(epoch), &order);
            prop_assert_eq!(order.chunks(size).count(), batches.per_epoch());
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert!((0..rows as u32).eq(sorted));
        }
    }
}
