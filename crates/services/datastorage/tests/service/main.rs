//! The whole service over TCP, on both databases.
//!
//! One test binary, since linking is what takes time. PostgreSQL comes from Debian's package; without it its tests say so once and pass.

mod contract;
mod database;
mod durability;
mod support;
