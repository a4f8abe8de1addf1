//! The phases of a remediation and the edges between them.
//!
//! The graph has no cycle, so a remediation ends after at most five moves and its history needs no bound of its own.

use serde::{Deserialize, Serialize};

/// Where a remediation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accepted, nobody works on it yet.
    Pending,
    /// The signal is enriched and classified.
    Processing,
    /// The cause is looked for and a workflow is chosen.
    Analyzing,
    /// A person decides whether the workflow may run.
    AwaitingApproval,
    /// The workflow runs.
    Executing,
    /// The workflow succeeded.
    Completed,
    /// The work failed.
    Failed,
    /// A phase or the whole took too long.
    TimedOut,
    /// Somebody stopped it.
    Cancelled,
    /// Approval was refused.
    Rejected,
}

impl Phase {
    /// The phases that may follow; none after an end.
    pub fn next(self) -> &'static [Phase] {
        use Phase::{
            Analyzing, AwaitingApproval, Cancelled, Completed, Executing, Failed, Pending, Processing, Rejected,
            TimedOut,
        };
        match self {
            Pending => &[Processing, Failed, TimedOut, Cancelled],
            Processing => &[Analyzing, Failed, TimedOut, Cancelled],
            Analyzing => &[AwaitingApproval, Executing, Failed, TimedOut, Cancelled],
            // Nothing runs while a person decides, so nothing can fail.
            AwaitingApproval => &[Executing, Rejected, TimedOut, Cancelled],
            Executing => &[Completed, Failed, TimedOut, Cancelled],
            Completed | Failed | TimedOut | Cancelled | Rejected => &[],
        }
    }

    /// Whether nothing can follow.
    pub fn is_end(self) -> bool {
        self.next().is_empty()
    }

    /// The name as the API writes it.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 10] = [
            "pending",
            "processing",
            "analyzing",
            "awaiting_approval",
            "executing",
            "completed",
            "failed",
            "timed_out",
            "cancelled",
            "rejected",
        ];
        NAMES[self as usize]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every phase in the order of their definition.
    pub(crate) const ALL: [Phase; 10] = [
        Phase::Pending,
        Phase::Processing,
        Phase::Analyzing,
        Phase::AwaitingApproval,
        Phase::Executing,
        Phase::Completed,
        Phase::Failed,
        Phase::TimedOut,
        Phase::Cancelled,
        Phase::Rejected,
    ];

    /// The edges again, written independently: a row is where from, a column where to, both in the order of `ALL`.
    const EDGES: [&str; 10] = [
        ".X....XXX.", // pending
        "..X...XXX.", // processing
        "...XX.XXX.", // analyzing
        "....X..XXX", // awaiting_approval
        ".....XXXX.", // executing
        "..........", // completed
        "..........", // failed
        "..........", // timed_out
        "..........", // cancelled
        "..........", // rejected
    ];

    #[test]
    fn every_pair_of_phases_is_an_edge_or_not() {
        for (from, row) in ALL.into_iter().zip(EDGES) {
            for (to, mark) in ALL.into_iter().zip(row.chars()) {
                assert_eq!(from.next().contains(&to), mark == 'X', "{} -> {}", from.name(), to.name());
            }
        }
    }

    #[test]
    fn names_are_those_that_serde_writes() {
        for phase in ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
        }
    }
}
