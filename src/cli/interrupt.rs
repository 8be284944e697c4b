//! Ctrl-C while something goes on that can be continued, or that leaves something behind.

use std::fs;
use std::ops::ControlFlow;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::error::Result;
use crate::io;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Set where the program ends for it, whatever the rest of it comes to.
static ENDING: AtomicBool = AtomicBool::new(false);

/// As a shell reports a process that Ctrl-C ended.
const CODE: i32 = 130;

/// From now on Ctrl-C, or a signal to end, is noted. A second one ends the program at once.
pub(super) fn watch() {
    handle(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            exit(CODE);
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

/// A folder that is gone when the program ends, also where Ctrl-C or a signal ends it, unless the
/// system keeps files that are in use. For commands that do not [`watch`].
pub(super) fn temporary_folder() -> Result<TempDir> {
    let folder = io::temporary_folder()?;
    let path = folder.path().to_owned();
    handle(move || {
        // First, so that nobody hears of files that are missing for it.
        ENDING.store(true, Ordering::SeqCst);
        // What is written at the same time may come between.
        for _ in 0..10 {
            if fs::remove_dir_all(&path).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        exit(CODE);
    });
    Ok(folder)
}

/// Leaves the end of the program to a handler that is about to end it.
pub(super) fn wait_where_ending() {
    if ENDING.load(Ordering::SeqCst) {
        // Far longer than it takes to remove a folder.
        std::thread::sleep(Duration::from_secs(10));
        exit(CODE);
    }
}

/// Sets a handler for Ctrl-C and signals to end, except for those that are ignored, as under nohup.
/// Where none can be set, they end the program as they do anyway.
fn handle(handler: impl FnMut() + Send + 'static) {
    #[cfg(unix)]
    let ignored = ignored();
    let _ = ctrlc::set_handler(handler);
    #[cfg(unix)]
    for signal in ignored {
        // SAFETY: to ignore a signal that was ignored before is sound at any time.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Signals to end that this program was started to ignore.
#[cfg(unix)]
fn ignored() -> Vec<libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: this asks only; `action` is a place for the answer, and all zeros are valid.
        let action = unsafe {
            libc::sigaction(*signal, std::ptr::null(), action.as_mut_ptr());
            action.assume_init()
        };
        action.sa_sigaction == libc::SIG_IGN
    };
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(is_ignored).collect()
}
