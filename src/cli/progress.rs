//! A progress bar on standard error, where that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::Common;

/// A bar over the bytes that all passes together read.
pub(super) fn bar(common: &Common) -> ProgressBar {
    let template =
        "{bar:30} {percent:>3}% of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
    shown(common, template)
}

/// A bar over so many steps.
pub(super) fn steps(common: &Common, count: u64) -> ProgressBar {
    let bar = shown(common, "{bar:30} {pos} of {len}, {eta} left");
    bar.set_length(count);
    bar
}

/// A bar over the steps of a training, with a message.
pub(super) fn training(common: &Common) -> ProgressBar {
    shown(common, "{bar:30} {msg}, {per_sec}, {eta} left")
}

/// A bar that looks like `template`, or none where nobody would see it.
fn shown(common: &Common, template: &str) -> ProgressBar {
    if common.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
