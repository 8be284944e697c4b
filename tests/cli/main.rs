//! The program as a user runs it.

#[path = "../common/arrays.rs"]
mod arrays;
#[path = "../common/command.rs"]
mod command;
#[path = "../common/digits.rs"]
mod digits;
#[path = "../common/files.rs"]
mod files;
#[path = "../common/raw.rs"]
mod raw;

mod apply;
mod bad_arguments;
mod bad_input;
mod bad_networks;
mod bad_output;
mod carried;
mod config;
mod described;
mod documents;
mod faults;
mod int8_activations;
mod networks;
mod output;
mod report;
mod same_bytes;
mod small_files;
mod sweep;
mod training;
mod tune;
