//! Waits for space on a disk that is full. What a task made exists nowhere else, and the task must
//! not pay for the server's disk; every other fault of the disk is the caller's.

use std::io::{self, ErrorKind};
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What `write` returns; it is called again for as long as it meets a full disk.
pub(super) fn when_there_is_space<T>(mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut pause = FIRST_PAUSE;
    loop {
        match write() {
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {}
            ended => return ended,
        }
        pause_for(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "no event tells that a disk has space again")]
fn pause_for(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_waited_for_and_another_fault_is_not() {
        let mut tries = 0;
        let written = when_there_is_space(|| {
            tries += 1;
            if tries < 3 { Err(ErrorKind::StorageFull.into()) } else { Ok(tries) }
        });
        assert_eq!(written.unwrap(), 3);
        let refused = when_there_is_space(|| Err::<(), _>(ErrorKind::PermissionDenied.into()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
