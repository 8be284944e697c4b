//! The program as a user runs it.

#[path = "../common/command.rs"]
mod command;
#[path = "../common/models.rs"]
mod models;

mod bad_input;
