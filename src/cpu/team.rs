//! Threads that share the parts of a product and wait a moment for the next one.
//!
//! A product of a small network takes tens of microseconds, and to wake a thread takes about as
//! long. So the helpers stay awake for [`AWAKE`] after their last part, and a caller never waits
//! for one that comes too late: it works on the parts itself and then closes the job, to which
//! nobody comes in any more.
//!
//! Each thread has a range of parts and works from its start, so that it reads memory in order; who
//! is done takes parts from the ends of the others' ranges.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps.
const AWAKE: Duration = Duration::from_micros(100);

/// Runs `part` for every number below `parts`, on this thread and on as many more as rayon would
/// use.
pub(super) fn run(parts: usize, part: &(impl Fn(usize) + Sync)) {
    static TEAM: OnceLock<Mutex<Team>> = OnceLock::new();
    let team = TEAM.get_or_init(|| Mutex::new(Team::new(rayon::current_num_threads() - 1)));
    // Whoever comes while the helpers are busy gets none.
    match team.try_lock() {
        Ok(team) => team.run(parts, part),
        Err(_) => (0..parts).for_each(part),
    }
}

struct Team {
    shared: &'static Shared,
    helpers: Vec<Thread>,
}

/// What is to be done.
#[derive(Clone, Copy)]
struct Job {
    /// Calls the closure that `data` points to with a part's number.
    call: unsafe fn(*const (), usize),
    data: *const (),
}

struct Shared {
    job: UnsafeCell<Job>,
    /// Parts that nobody has begun, by thread; this one's are the first.
    ranges: Box<[Line]>,
    /// Ranges that have a thread.
    taken: AtomicUsize,
    /// [`OPEN`] while helpers may come in, plus [`ONE`] for each that is in.
    state: AtomicUsize,
    /// Changes with every job.
    epoch: AtomicUsize,
    /// Helpers that sleep, or are about to.
    asleep: AtomicUsize,
    /// Whether a part has panicked on a helper.
    panicked: AtomicBool,
}

/// A range of parts, its end in the upper half, on a cache line of its own.
#[repr(align(64))]
struct Line(AtomicU64);

impl Line {
    fn set(&self, range: Range<usize>) {
        self.0.store(range.start as u64 | (range.end as u64) << 32, Ordering::Relaxed);
    }

    /// Takes a part from the start of the range, or from its end.
    fn take(&self, first: bool) -> Option<usize> {
        let unpack = |range: u64| (range & u64::from(u32::MAX), range >> 32);
        let rest = |range| match unpack(range) {
            (start, end) if start >= end => None,
            (start, end) if first => Some((start + 1) | (end << 32)),
            (start, end) => Some(start | ((end - 1) << 32)),
        };
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).ok()?;
        let (start, end) = unpack(taken);
        Some(if first { start } else { end - 1 } as usize)
    }
}

const OPEN: usize = 1;
const ONE: usize = 2;

// SAFETY: `job` is written only while `state` is 0, and read only by those who came in after it
// became open; the closure behind it is `Sync` and outlives that.
unsafe impl Sync for Shared {}

impl Team {
    fn new(helpers: usize) -> Self {
        unsafe fn nothing(_: *const (), _: usize) {}
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            job: UnsafeCell::new(Job { call: nothing, data: std::ptr::null() }),
            ranges: (0..=helpers).map(|_| Line(AtomicU64::new(0))).collect(),
            taken: AtomicUsize::new(0),
            state: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        }));
        let spawn = |number| {
            let name = format!("tensorpress-{number}");
            // Where no thread is to be had, the caller does it all.
            thread::Builder::new().name(name).spawn(|| shared.help()).ok()
        };
        let helpers = (0..helpers).map_while(spawn).map(|handle| handle.thread().clone());
        Self { shared, helpers: helpers.collect() }
    }

    fn run<F: Fn(usize) + Sync>(&self, parts: usize, part: &F) {
        /// # Safety
        /// `data` must come from a `&F` that is still valid.
        unsafe fn call<F: Fn(usize)>(data: *const (), number: usize) {
            // SAFETY: the caller's promise.
            unsafe { (*data.cast::<F>())(number) }
        }
        let shared = self.shared;
        let job = Job { call: call::<F>, data: std::ptr::from_ref(part).cast() };
        // SAFETY: the lock on the team makes this the only caller, and the one before closed its
        // job and waited until all had left: `state` is 0.
        unsafe { *shared.job.get() = job };
        let at = |range| parts * range / shared.ranges.len();
        for (number, range) in shared.ranges.iter().enumerate() {
            range.set(at(number)..at(number + 1));
        }
        shared.taken.store(1, Ordering::Relaxed);
        shared.state.store(OPEN, Ordering::Release);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            self.helpers.iter().take(parts.saturating_sub(1)).for_each(Thread::unpark);
        }
        // Closes the job whatever happens: `part` must not be called after this function.
        let close = Close(shared);
        shared.work(job, 0);
        drop(close);
        if shared.panicked.swap(false, Ordering::Relaxed) {
            panic!("a part of a product panicked");
        }
    }
}

struct Close(&'static Shared);

impl Drop for Close {
    fn drop(&mut self) {
        let state = &self.0.state;
        if state.fetch_and(!OPEN, Ordering::AcqRel) != OPEN {
            wait_while(|| state.load(Ordering::Acquire) != 0, Duration::MAX);
        }
    }
}

impl Shared {
    /// Does parts until all have been begun, those of range `own` first.
    fn work(&self, job: Job, own: usize) {
        let count = self.ranges.len();
        let next = || {
            let own_range = self.ranges[own].take(true);
            own_range
                .or_else(|| (1..count).find_map(|i| self.ranges[(own + i) % count].take(false)))
        };
        while let Some(number) = next() {
            // SAFETY: the job is open, or this thread is in it: its closure is valid.
            unsafe { (job.call)(job.data, number) };
        }
    }

    /// What a helper does for ever.
    fn help(&self) {
        let mut seen = 0;
        loop {
            self.wait_for_job(seen);
            seen = self.epoch.load(Ordering::SeqCst);
            let come_in = |state| (state & OPEN != 0).then_some(state + ONE);
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            if self.state.fetch_update(success, failure, come_in).is_err() {
                continue;
            }
            // SAFETY: whoever is in reads a job that is written before it is opened, and not again
            // until all have left.
            let job = unsafe { *self.job.get() };
            let own = self.taken.fetch_add(1, Ordering::Relaxed) % self.ranges.len();
            if catch_unwind(AssertUnwindSafe(|| self.work(job, own))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(ONE, Ordering::Release);
        }
    }

    /// Returns when the epoch is not `seen` any more.
    fn wait_for_job(&self, seen: usize) {
        let none = || self.epoch.load(Ordering::SeqCst) == seen;
        while wait_while(none, AWAKE) {
            // Whoever changes the epoch after this looks at `asleep` and unparks.
            self.asleep.fetch_add(1, Ordering::SeqCst);
            if none() {
                thread::park();
            }
            self.asleep.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Spins while `condition` holds, for `limit` at most; whether it still holds. Lets others run
/// now and then, who may be what it waits for.
fn wait_while(condition: impl Fn() -> bool, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if !condition() {
                return false;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > limit {
            return true;
        }
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team() -> Team {
        Team::new(3)
    }

    #[test]
    fn every_part_is_done_once() {
        let team = team();
        for parts in [0, 1, 2, 3, 7, 100, 1000] {
            for pause in [0, 0, 0, 300] {
                let done: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                team.run(parts, &|number| {
                    done[number].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1), "{parts}");
                thread::sleep(Duration::from_micros(pause));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = team();
        for bad in [0, 50, 99] {
            let run = || {
                team.run(100, &|number| {
                    thread::sleep(Duration::from_micros(20));
                    assert_ne!(number, bad, "meant to fail");
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        }
        every_part_is_done_once();
    }
}
