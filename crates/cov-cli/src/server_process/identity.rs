//! Whether a remembered process still lives. A process id alone does not say so: the system gives
//! it to another program some time later. Where the system tells, the moment of the start counts.

use std::time::Duration;

use super::Record;

/// When a process started, in clock ticks since the machine did. `None` when there is no such
/// process, it has ended and waits to be collected, or the system does not tell.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads state and start from a line of `/proc/PID/stat`. The name, in brackets, may hold
/// anything, brackets and blanks too.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let ended = matches!(state, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !ended)
}

/// Whether the process of a record is gone.
pub(crate) fn has_ended(record: &Record) -> bool {
    match record.started_ticks {
        Some(ticks) => start_ticks(record.pid) != Some(ticks),
        None => !is_there(record.pid),
    }
}

fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// How long the process of a record has been running, if the system tells.
pub(crate) fn uptime(record: &Record) -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let machine: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    let machine = Duration::try_from_secs_f64(machine).ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let started = Duration::from_millis(record.started_ticks?.checked_mul(1000)? / per_second);
    Some(machine.saturating_sub(started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_misleads_nobody() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        assert_eq!(parse_stat(&format!("42 (a) b (c)) S {rest}")), Some(777));
        assert_eq!(parse_stat(&format!("42 (cov) Z {rest}")), None);
        assert_eq!(parse_stat("42 (cov) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_lives_and_a_later_one_of_its_number_is_another() {
        let pid = std::process::id();
        let record = Record { pid, started_ticks: start_ticks(pid), ..Record::default() };
        assert!(!has_ended(&record));
        let other = Record { started_ticks: record.started_ticks.map(|ticks| ticks + 1), ..record };
        assert_eq!(has_ended(&other), other.started_ticks.is_some());
    }
}
