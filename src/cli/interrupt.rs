//! Ctrl-C while something goes on that can be continued, or that leaves something behind.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::error::Result;
use crate::io;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C, or a signal to end, is noted. A second one ends the program at once.
pub(super) fn watch() {
    // Where no handler can be set, Ctrl-C ends the program as it does anyway.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
}

/// Breaks where there was one.
pub(super) fn flow() -> ControlFlow<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// A folder that is gone when the program ends, also where Ctrl-C or a signal ends it. For commands
/// that do not [`watch`].
pub(super) fn temporary_folder() -> Result<TempDir> {
    let folder = io::temporary_folder()?;
    let path = folder.path().to_owned();
    // Where no handler can be set, the folder stays behind.
    let _ = ctrlc::set_handler(move || {
        // What is written at the same time may come between.
        for _ in 0..10 {
            if fs::remove_dir_all(&path).is_ok() {
                break;
            }
        }
        std::process::exit(130);
    });
    Ok(folder)
}
