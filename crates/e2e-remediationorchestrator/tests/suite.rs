//! The E2E suite of remediationorchestrator: what a remediation does, as its clients and the audit log see it.

#[path = "suite/approval.rs"]
mod approval;
#[path = "suite/input.rs"]
mod input;
#[path = "suite/life.rs"]
mod life;
#[path = "suite/support.rs"]
mod support;
#[path = "suite/timeouts.rs"]
mod timeouts;

e2e_suite::datastorage_contract!();
