//! The E2E suite of signalprocessing: what it decides about a signal, and what DataStorage then knows of it.
//!
//! The tests run at the same time against one service. Each uses remediation requests of its own.

mod signalprocessing;

e2e_suite::datastorage_contract!();
