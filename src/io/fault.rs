//! Injected faults, for tests: after so many writes, every further one finds the disk full.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

/// Writes that still succeed; negative = no fault.
static REMAINING: AtomicI64 = AtomicI64::new(-1);

/// Makes write number `after` (from 0) of this process and all later ones fail; `None` ends that.
pub fn fail_writes(after: Option<u32>) {
    REMAINING.store(after.map_or(-1, i64::from), Ordering::SeqCst);
}

/// Called before each write.
pub(super) fn check() -> io::Result<()> {
    let update = |left: i64| (left > 0).then(|| left - 1);
    match REMAINING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update) {
        Err(0) => Err(io::ErrorKind::StorageFull.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
