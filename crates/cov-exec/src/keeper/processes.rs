//! Which processes there are and whose they are, read from /proc; and the end of whole families.
//! Decides nothing about tasks.
//!
//! A process whose parent ends becomes a child of the nearest ancestor that adopts orphans. So of
//! everything that was started below such an ancestor, as long as any of it is left, there is one
//! that is its own child, and stays in the process table until it waits for it. A look that begins
//! then and reads all of /proc must meet that one: a look that finds no child proves that nothing
//! is left. To find some and to have seen the end of each proves nothing.
//!
//! `python/cov_runner/processes.py` does the same for Python runners.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::{now, pause};

const PAUSE_MAX: Duration = Duration::from_millis(20);
const PAUSE_FIRST: Duration = Duration::from_micros(500);
/// More than what stands before the parent: numbers, and a name of 64 bytes at most.
const STAT_BYTES_MAX: usize = 512;
const CHASES: usize = 20;
/// How far up a family is followed from its newest process.
const DEPTH_MAX: usize = 64;

/// Every process with its parent.
pub(super) type Table = BTreeMap<i32, i32>;

/// The parent of a process; `None` if there is no such process, or it is not to be seen.
fn parent_of(pid: i32) -> io::Result<Option<i32>> {
    let mut stat = [0; STAT_BYTES_MAX];
    let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut stat));
    let length = match read {
        Ok(length) => length,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = stat.get(..length).unwrap_or_default();
    // The name in parentheses may hold anything, so count from its end.
    let rest = stat.rsplit(|byte| *byte == b')').next().unwrap_or_default();
    let parent = rest.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).nth(1);
    let parent = parent.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    parent.map(Some).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat cannot be read")))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Every process with its parent.
///
/// What is there from the beginning of the call to its end is in the answer; what is born or ends
/// meanwhile may be missing.
///
/// # Errors
/// The table cannot be read in full.
pub(super) fn parents() -> io::Result<Table> {
    // Not from /proc/PID/task/TID/children, which leaves out some while others end.
    let mut pids: Vec<i32> = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    pids.sort_unstable_by(|a, b| b.cmp(a));
    let mut table = Table::new();
    for pid in pids {
        if let Some(parent) = parent_of(pid)? {
            table.insert(pid, parent);
        }
    }
    Ok(table)
}

/// Everything that descends from these.
pub(super) fn below(tops: &[i32], table: &Table) -> HashSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in table {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = HashSet::new();
    let mut waiting = tops.to_vec();
    while let Some(top) = waiting.pop() {
        // The table is not of one moment; should it hold a circle, that ends here.
        let new = children.remove(&top).unwrap_or_default();
        found.extend(new.iter().copied());
        waiting.extend(new);
    }
    found
}

/// Which child of `top` a process descends from, or is; `None` if it does not.
fn branch_of(mut pid: i32, top: i32) -> io::Result<Option<i32>> {
    for _ in 0..DEPTH_MAX {
        match parent_of(pid)? {
            Some(parent) if parent == top => return Ok(Some(pid)),
            None | Some(0) => return Ok(None),
            Some(parent) => pid = parent,
        }
    }
    Ok(None)
}

/// Kills the newest process again and again, if it descends from `top`, by a child not spared.
///
/// A process that starts the next and ends at once is dead before a look at all processes comes to
/// it. The system tells the id that it gave out last: nothing is nearer to the one that lives.
///
/// # Errors
/// /proc cannot be read.
pub(super) fn chase(top: i32, spared: impl Fn(i32) -> bool) -> io::Result<()> {
    for _ in 0..CHASES {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let newest = load.split_whitespace().next_back().and_then(|digits| digits.parse().ok());
        let Some(newest) = newest else { return Ok(()) };
        if branch_of(newest, top)?.is_some_and(|branch| !spared(branch)) {
            send(newest, Signal::KILL);
        }
    }
    Ok(())
}

/// A signal for a process that may be gone, or be another user's.
pub(super) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// A signal for a process group that may be gone.
pub(super) fn send_group(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        rustix::process::kill_process_group(pid, signal).ok();
    }
}

/// Waits for a child that has ended. False if it has not.
pub(super) fn reaped(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    !matches!(rustix::process::waitpid(Some(pid), WaitOptions::NOHANG), Ok(None))
}

/// The process id of this process.
pub(super) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Kills everything below this process, which must adopt orphans, and waits for it, if need be
/// for `patience` (`None`: without end). False if something is left after that time: what waits
/// for a device, or belongs to another user.
pub(super) fn end_all(patience: Option<Duration>) -> bool {
    let me = own_pid();
    let begin = now();
    let mut time = Duration::ZERO;
    loop {
        // Too many files are open, say; they become fewer with every process that ends.
        if let Ok(table) = parents() {
            below(&[me], &table).into_iter().for_each(|pid| send(pid, Signal::KILL));
        }
        chase(me, |_| false).ok();
        if reap_all() {
            // The kernel itself says that there is no child.
            return true;
        }
        if patience.is_some_and(|patience| begin.elapsed() >= patience) {
            return false;
        }
        pause(time);
        time = (2 * time + PAUSE_FIRST).min(PAUSE_MAX);
    }
}

/// Waits for all children that have ended; whether there is none left at all.
fn reap_all() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_below_its_ancestors() {
        let table = parents().unwrap();
        let me = own_pid();
        let parent = table.get(&me).copied().unwrap();
        assert_eq!(parent, i32::try_from(std::os::unix::process::parent_id()).unwrap());
        assert!(below(&[parent], &table).contains(&me));
        assert!(!below(&[me], &table).contains(&me));
        assert_eq!(branch_of(me, parent).unwrap(), Some(me));
        assert_eq!(branch_of(parent, me).unwrap(), None);
        assert_eq!(parent_of(i32::MAX).unwrap(), None);
    }

    #[test]
    fn a_circle_in_a_table_that_is_not_of_one_moment_ends() {
        let table = Table::from([(2, 3), (3, 2), (4, 3)]);
        assert_eq!(below(&[2], &table), HashSet::from([2, 3, 4]));
    }
}
