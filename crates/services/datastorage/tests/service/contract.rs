//! The contract that the E2E suites rely on, here on each database.

use std::sync::{Arc, Mutex, Weak};

use e2e_suite::datastorage_contract;

use crate::support::{Database, Server};

/// A service that tests share as long as one of them runs, as consumers do. A plain static would never be dropped, and leave its file
/// behind.
struct Shared(Mutex<Weak<Server>>);

impl Shared {
    fn get(&self, database: impl FnOnce() -> Option<Database>) -> Option<Arc<Server>> {
        let mut running = self.0.lock().unwrap();
        if let Some(server) = running.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Server::start_owned(database()?));
        *running = Arc::downgrade(&server);
        Some(server)
    }
}

fn on_sqlite() -> Option<Arc<Server>> {
    static SERVER: Shared = Shared(Mutex::new(Weak::new()));
    SERVER.get(|| Some(Database::sqlite()))
}

fn on_postgres() -> Option<Arc<Server>> {
    static SERVER: Shared = Shared(Mutex::new(Weak::new()));
    SERVER.get(Database::postgres)
}

datastorage_contract!(mod sqlite, super::on_sqlite());
datastorage_contract!(mod postgres, super::on_postgres());
