//! The one thread that writes, and commits in groups.
//!
//! A client waits for the commit of the group that its write is in, never for a timer: a group is what arrived while the last one was
//! committed. Each write has a savepoint of its own, so that one that is refused leaves the others of its group alone.

use std::sync::Mutex;
use std::thread::JoinHandle;

use rusqlite::{Connection, Savepoint, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{File, closed, failure, rows};
use crate::storage::{Outcome, StoreError, Write, outer_parents, replayed};

/// How many writes may wait. Beyond it clients wait before their write is accepted, which slows them down instead of filling the memory.
const QUEUE: usize = 1024;

/// How many writes one commit has at most, so that the first does not wait for a stream that never ends.
const GROUP: usize = 128;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Store(Write, Reply<Outcome>),
    Ping(Reply<()>),
}

/// The way to the writing thread.
pub(super) struct Writer {
    // taken away to close
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, file: File) -> std::io::Result<Writer> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || run(connection, &file, queue))?;
        Ok(Writer { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn store(&self, write: Write) -> Result<Outcome, StoreError> {
        self.ask(|reply| Job::Store(write, reply)).await
    }

    /// Whether the thread lives and can lock the file for writing.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        self.ask(Job::Ping).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let jobs = self.jobs.lock().map_err(|_| closed())?.clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(job(reply)).await.map_err(|_| closed())?;
        drop(jobs);
        answer.await.map_err(|_| closed())?
    }

    /// Ends the thread once it has done what is in the queue.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        drop(self.jobs.lock().map_err(|_| closed())?.take());
        let thread = self.thread.lock().map_err(|_| closed())?.take();
        if let Some(thread) = thread {
            let ended = tokio::task::spawn_blocking(|| thread.join().is_ok()).await;
            if !matches!(ended, Ok(true)) {
                return Err(StoreError::Failed("the writing thread panicked".to_owned()));
            }
        }
        Ok(())
    }
}

fn run(mut connection: Connection, file: &File, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let (mut writes, mut replies) = (Vec::new(), Vec::new());
        let mut pings = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Store(write, reply) => {
                    writes.push(write);
                    replies.push(reply);
                }
                Job::Ping(reply) => pings.push(reply),
            }
            next = if writes.len() < GROUP { queue.try_recv().ok() } else { None };
        }
        // a group without writes still begins a transaction: that is the ping
        let results = match file.check().and_then(|()| commit(&mut connection, &writes).map_err(failure)) {
            Ok(results) => {
                pings.into_iter().for_each(|reply| answer(reply, Ok(())));
                results
            }
            Err(error) => {
                pings.into_iter().for_each(|reply| answer(reply, Err(error.clone())));
                vec![Err(error); writes.len()]
            }
        };
        replies.into_iter().zip(results).for_each(|(reply, result)| answer(reply, result));
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    // a client that left does not wait for its answer; what it wrote stays
    drop(reply.send(result));
}

/// Stores a group. An error is that of the group, of which nothing is then stored.
fn commit(connection: &mut Connection, writes: &[Write]) -> rusqlite::Result<Vec<Result<Outcome, StoreError>>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(writes.len());
    for write in writes {
        // rolls back when dropped
        let savepoint = transaction.savepoint()?;
        results.push(match store(&savepoint, write) {
            Ok(outcome) => {
                savepoint.commit()?;
                Ok(outcome)
            }
            Err(Problem::Refused(error)) => Err(error),
            Err(Problem::Database(error)) => return Err(error),
        });
    }
    transaction.commit()?;
    Ok(results)
}

enum Problem {
    Refused(StoreError),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Problem {
        Problem::Database(error)
    }
}

fn store(savepoint: &Savepoint<'_>, write: &Write) -> Result<Outcome, Problem> {
    if let Some(key) = &write.key
        && !rows::take_key(savepoint, key)?
        && let Some(used) = rows::used(savepoint, &key.key)?
    {
        return replayed(used, &key.used.fingerprint).map_err(Problem::Refused);
    }
    for (index, parent) in outer_parents(&write.events) {
        if !rows::exists(savepoint, parent)? {
            return Err(Problem::Refused(StoreError::UnknownParent(index, parent)));
        }
    }
    for (index, event) in write.events.iter().enumerate() {
        if !rows::insert(savepoint, event)? {
            return Err(Problem::Refused(StoreError::Duplicate(index, event.event_id)));
        }
    }
    Ok(Outcome::Stored)
}
