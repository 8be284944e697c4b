//! Worker threads that take one job after the other; the results come in the order of the jobs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// Runs `work` on every job. After an error no further job is taken, and of several errors the
/// one of the first job is given.
pub(super) fn map<J: Sync, T: Send>(
    threads: usize,
    jobs: &[J],
    work: impl Fn(&J) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { break };
            let result = work(job);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            lock(&done).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A poisoned lock only means that another worker panicked; the scope panics then.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_are_in_order_and_the_first_error_wins() {
        let jobs: Vec<usize> = (0..1000).collect();
        for threads in [1, 2, 7] {
            let doubled = map(threads, &jobs, |job| Ok(job * 2)).expect("no error");
            assert!(doubled.iter().enumerate().all(|(i, n)| *n == i * 2));
            let failed = map(threads, &jobs, |job| match job {
                500.. => Err(Error::Check { what: job.to_string() }),
                _ => Ok(()),
            });
            assert!(matches!(failed, Err(Error::Check { what }) if what == "500"));
        }
        assert!(map(3, &[] as &[()], |()| Ok(())).expect("no error").is_empty());
    }
}
