//! The command line as a user has it: the built program, on this workspace and on a copy of it.
//!
//! Runs are real: they compile, deploy and test. They share one target directory, so that only the first is slow, and
//! go one after the other ([`kit::Real`]): two processors are busy with one of them.

mod cli;
mod damage;
mod failures;
mod fifth;
mod freshness;
mod keep;
mod kind;
mod kit;
mod product;
mod ran;
mod select;
mod signals;
mod together;
mod whole;
