//! What the system says of this process, under the names that Prometheus has for it. Where there
//! is no `/proc`, nothing is said.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cov_core::time::Clock as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};

use crate::clock::SystemClock;

/// Parts of a second in which the system counts a process's time. The same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory, descriptors and time of this process.
#[derive(Debug, Default)]
pub(super) struct Process {
    memory: Gauge,
    files: Gauge,
    files_max: Gauge,
    cpu: Counter<f64, AtomicU64>,
}

/// One look at it.
#[derive(Debug, Default, PartialEq)]
struct Look {
    memory: i64,
    files: i64,
    cpu: f64,
}

impl Process {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let process = Self::default();
        let begun: Gauge<f64, AtomicU64> = Gauge::default();
        let now = u64::try_from(SystemClock.now().as_micros()).unwrap_or(0);
        begun.set(Duration::from_micros(now).as_secs_f64());
        for (name, help, gauge) in [
            ("process_resident_memory_bytes", "Resident memory", &process.memory),
            ("process_open_fds", "Open file descriptors", &process.files),
            ("process_max_fds", "File descriptors that may be open", &process.files_max),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register("process_cpu_seconds", "Time on processors", process.cpu.clone());
        registry.register("process_start_time_seconds", "When the server started", begun);
        process
    }

    pub(super) async fn measure(&self) {
        let Ok(Some(look)) = tokio::task::spawn_blocking(look).await else { return };
        self.memory.set(look.memory);
        self.files.set(look.files);
        self.cpu.inc_by((look.cpu - self.cpu.get()).max(0.0));
        let most = getrlimit(Resource::Nofile).current;
        self.files_max.set(most.map_or(i64::MAX, |most| i64::try_from(most).unwrap_or(i64::MAX)));
    }
}

fn look() -> Option<Look> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(Look {
        memory: memory_in(&status)?,
        // Without the one that looks.
        files: i64::try_from(files).ok()?.saturating_sub(1),
        cpu: cpu_in(&stat)?,
    })
}

fn memory_in(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Time in user code and in the system, which come as the twelfth and thirteenth word after the
/// name; the name may hold anything, and ends with the last parenthesis.
fn cpu_in(stat: &str) -> Option<f64> {
    let (_, words) = stat.rsplit_once(')')?;
    let mut times = words.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(memory_in("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t3\n"), Some(2 << 20));
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 1 0 100 1 2";
        assert_eq!(cpu_in(stat), Some(2.0));
        assert_eq!(cpu_in("7 (cut off"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_descriptors() {
        let look = look().unwrap();
        assert!(look.memory > 1 << 20 && look.files > 2, "{look:?}");
    }
}
