//! The E2E suite of the gateway: what becomes of a signal, and what DataStorage then knows of it.
//!
//! The tests run at the same time against one gateway. Each uses alert names of its own, so that no other test's signal can be
//! the same problem.

mod gateway;

e2e_suite::datastorage_contract!();
