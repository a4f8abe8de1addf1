//! Images of Containerfiles, as their users see them: what is built again, what is the same, what is left behind, and what is
//! said when it does not work.

mod builds;
mod failures;
mod fake;
mod kept;
mod kit;
