//! The E2E suite of workflowexecution: what an execution does, as its clients and the audit log see it.

#[path = "suite/ends.rs"]
mod ends;
#[path = "suite/input.rs"]
mod input;
#[path = "suite/runs.rs"]
mod runs;
#[path = "suite/support.rs"]
mod support;

e2e_suite::datastorage_contract!();
