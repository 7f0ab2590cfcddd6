//! A cgroup for each process that the keeper starts, where the system lets this user make some
//! (version 2 of cgroups only).
//!
//! All that is in a cgroup is killed by one write, together with what is born in that moment, and a
//! process stays in it whatever it forks and however it leaves its session. Where there are none
//! everything here does nothing, and the processes are looked for instead: whether something is
//! left is decided by that look in either case.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation};

use super::{now, pause};

/// As the cgroups of Python runners, so that whoever starts next ends what either left.
const PREFIX: &str = "cov-";
const PART: &str = "runner-";
const STALE_MAX: Duration = Duration::from_secs(1);
const STALE_PAUSE: Duration = Duration::from_millis(2);

/// A cgroup: its folder, and its name in /proc/PID/cgroup.
#[derive(Debug, Clone)]
struct Place {
    folder: PathBuf,
    name: String,
}

/// The cgroups of one starter's processes; all without effect where there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Cgroups {
    place: Option<Place>,
}

impl Place {
    fn below(&self, part: &str) -> Self {
        let name = format!("{}/{part}", self.name.trim_end_matches('/'));
        Self { folder: self.folder.join(part), name }
    }

    fn kill(&self) {
        // Not of every process of this user's own; the look at processes does without.
        fs::write(self.folder.join("cgroup.kill"), "1").ok();
    }
}

impl Cgroups {
    /// Makes a cgroup to hold those of processes, named after this process. Those whose owner was
    /// killed, and what lives in them, are ended here.
    pub(super) fn create() -> Self {
        let Some(own) = own() else { return Self::default() };
        clear_stale(&own);
        let place = own.below(&format!("{PREFIX}{}", std::process::id()));
        if fs::create_dir(&place.folder).is_err() {
            return Self::default();
        }
        let kill = place.folder.join("cgroup.kill");
        if rustix::fs::access(kill, Access::WRITE_OK).is_err() {
            // A kernel before 5.14.
            remove(&place.folder);
            return Self::default();
        }
        Self { place: Some(place) }
    }

    /// What [`Cgroups::create`] made in another process.
    pub(super) fn made_by(pid: u32) -> Self {
        let place = own().map(|own| own.below(&format!("{PREFIX}{pid}")));
        Self { place: place.filter(|place| place.folder.is_dir()) }
    }

    /// Shows others that this process, which made them, lives, for as long as the answer is held.
    pub(super) fn lock(&self) -> Option<File> {
        let file = File::open(&self.place.as_ref()?.folder).ok()?;
        rustix::fs::flock(&file, FlockOperation::LockShared).ok()?;
        Some(file)
    }

    /// Where they are made, if they are.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.place.as_ref().map(|place| &*place.folder)
    }

    /// Makes the cgroup of a process; returns its folder.
    pub(super) fn add(&self, number: u64) -> Option<PathBuf> {
        let folder = self.part(number)?.folder;
        fs::create_dir(&folder).is_ok().then_some(folder)
    }

    /// Kills all that a process started and, if it is there, the process.
    pub(super) fn kill(&self, number: u64) {
        self.part(number).iter().for_each(Place::kill);
    }

    /// Kills all processes and all that they started.
    pub(super) fn kill_all(&self) {
        self.place.iter().for_each(Place::kill);
    }

    /// Removes the cgroup of a process that is gone with all that it started.
    pub(super) fn remove(&self, number: u64) {
        self.part(number).iter().for_each(|part| remove(&part.folder));
    }

    /// Removes everything, when all processes are gone.
    pub(super) fn remove_all(&self) {
        self.place.iter().for_each(|place| remove(&place.folder));
    }

    /// Which process started the one with this id, if that can be told. Also of one that has ended.
    pub(super) fn owner(&self, pid: i32) -> Option<u64> {
        let prefix = format!("{}/{PART}", self.place.as_ref()?.name);
        let name = name_of(Path::new(&format!("/proc/{pid}/cgroup")))?;
        let rest = name.strip_prefix(&prefix)?;
        rest.split('/').next()?.parse().ok()
    }

    fn part(&self, number: u64) -> Option<Place> {
        self.place.as_ref().map(|place| place.below(&format!("{PART}{number}")))
    }
}

/// Takes the calling process into a cgroup. It may be forbidden although making it was not.
pub(super) fn enter(folder: &Path) {
    fs::write(folder.join("cgroup.procs"), "0").ok();
}

/// The cgroup of this process, if it can be seen in the file system.
fn own() -> Option<Place> {
    let name = name_of(Path::new("/proc/self/cgroup"))?;
    if name.starts_with("/..") {
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, mounted_at) = (fields.next()?, fields.next()?);
        let root = root.trim_end_matches('/');
        let rest = name.strip_prefix(root)?;
        let fits = rest.is_empty() || rest.starts_with('/');
        let readable = after.starts_with("cgroup2 ") && !before.contains('\\');
        (fits && readable).then(|| Place {
            folder: Path::new(mounted_at).join(rest.trim_start_matches('/')),
            name: name.clone(),
        })
    })
}

fn name_of(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// Removes a cgroup and those that a task made in it, as far as they are empty.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(folder).ok();
}

fn clear_stale(own: &Place) {
    for entry in fs::read_dir(&own.folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            end_stale(&own.below(&name)).ok();
        }
    }
}

/// Ends what is left in a cgroup whose owner was killed. Another's process ids may mean others
/// than ours: that nobody holds the lock is what counts.
fn end_stale(place: &Place) -> io::Result<()> {
    let lock = File::open(&place.folder)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    drop(lock);
    place.kill();
    let begin = now();
    while place.folder.is_dir() && begin.elapsed() < STALE_MAX {
        remove(&place.folder);
        pause(STALE_PAUSE);
    }
    Ok(())
}
