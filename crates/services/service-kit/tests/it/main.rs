//! What clients and DataStorage see of a service made with the kit.

mod audit;
mod http;
mod shutdown;
