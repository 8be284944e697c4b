//! When work is worth sharing among the threads of the pool.

/// Work of less than so many nanoseconds is not shared by a thread of the pool, nor by another one,
/// which has to wake the pool and to sleep meanwhile.
const LEAST: (u64, u64) = (10_000, 200_000);

/// Whether work that takes one thread about so long is worth sharing. The answer must not change
/// the result.
pub(super) fn worth_sharing(nanoseconds: u64) -> bool {
    let (in_pool, outside) = LEAST;
    let least = if rayon::current_thread_index().is_some() { in_pool } else { outside };
    nanoseconds >= least && rayon::current_num_threads() > 1
}
