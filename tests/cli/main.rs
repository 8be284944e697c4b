//! The program as a user runs it.

#[path = "../common/command.rs"]
mod command;
#[path = "../common/files.rs"]
mod files;
#[path = "../common/raw.rs"]
mod raw;

mod bad_input;
mod bad_output;
mod config;
mod faults;
mod output;
mod same_bytes;
