//! One test binary. Each module has its own folder to work in and drives the library or the program from outside.

mod support;

mod bad_input;
mod commands;
mod golden;
mod samples;
mod search;
mod streamed;
mod together;
