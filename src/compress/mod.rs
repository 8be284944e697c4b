//! Recipe → plan → run → report: a whole model at a time.
