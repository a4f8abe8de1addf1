//! Locks on files, waited for as long as the run is not cancelled.

use std::fs::{File, TryLockError};
use std::time::Duration;

use supervise::Cancel;

/// How often it is looked whether the holder has given the lock back.
const LOOK: Duration = Duration::from_millis(20);

/// Takes the lock of a file (flock(2)), which is held until the file is closed.
///
/// # Errors
/// If the file system has no locks, or the run is cancelled first.
pub fn lock_file(file: &File, cancel: &Cancel) -> anyhow::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {
                cancel.wait(LOOK);
                cancel.check()?;
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_lock_gets_it_or_the_cancellation() {
        let path = std::env::temp_dir().join(format!("flock-{}", crate::RunId::new()));
        let (first, second) = (File::create(&path).unwrap(), File::create(&path).unwrap());
        let cancel = Cancel::new();
        lock_file(&first, &cancel).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock_file(&second, &cancel));
            drop(first);
            waiting.join().unwrap().unwrap();
        });
        let third = File::create(&path).unwrap();
        cancel.cancel();
        assert!(lock_file(&third, &cancel).unwrap_err().is::<supervise::Cancelled>());
        std::fs::remove_file(path).unwrap();
    }
}
