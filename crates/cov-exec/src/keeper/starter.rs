//! The starter: starts processes, is their parent, adopts what they leave behind, and sees to it
//! that they end.
//!
//! One thread, one loop. When the server goes, however it goes, the control connection closes: the
//! starter then kills everything and ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::time::{Duration, Instant};

use cov_core::frames::{self, Exit, FromZygote, Hello, Launch, Message as _, ToKeeper};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::SIGCHLD;

use super::cgroups::Cgroups;
use super::{launch, now, processes};

/// When to look again after the process table could not be read.
const BLIND: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 64 * 1024;
const STREAMS: usize = 3;

/// Serves the control connection on descriptor 0 until the server is gone; returns the exit code.
pub(super) fn main(arguments: &[OsString]) -> i32 {
    let served = Starter::open(arguments).and_then(|mut starter| {
        let served = starter.serve();
        starter.end_all();
        served
    });
    match served {
        Ok(()) => 0,
        Err(error) => {
            writeln!(io::stderr(), "the starter failed: {error}").ok();
            1
        }
    }
}

/// A process, as its parent sees it.
#[derive(Debug)]
struct Child {
    /// Its id, which is also that of its group.
    pid: i32,
    /// Until when a process that shall end, and all that it started, may take its time.
    deadline: Option<Instant>,
    forced: bool,
    exit: Option<Exit>,
}

#[derive(Debug)]
struct Starter {
    control: UnixStream,
    wake: UnixStream,
    groups: Cgroups,
    children: BTreeMap<u64, Child>,
    received: Vec<u8>,
    streams: VecDeque<OwnedFd>,
    /// When to look for what is left, if nothing else happens before.
    look_in: Option<Duration>,
}

impl Starter {
    fn open(arguments: &[OsString]) -> io::Result<Self> {
        rustix::thread::set_name(c"cov-starter")?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let parent = parent_id();
        if arguments.first().and_then(|pid| pid.to_str()) != Some(&parent.to_string()) {
            return Err(io::Error::other("the guard is gone"));
        }
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, waker)?;
        let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self {
            control,
            wake,
            groups: Cgroups::made_by(parent),
            children: BTreeMap::new(),
            received: Vec::new(),
            streams: VecDeque::new(),
            look_in: None,
        })
    }

    /// Says hello, then serves until the control connection closes.
    fn serve(&mut self) -> io::Result<()> {
        let place =
            self.groups.folder().map_or_else(|| "none".into(), |at| at.display().to_string());
        writeln!(io::stderr(), "cgroups of processes: {place}").ok();
        self.tell(&FromZygote::Hello(Hello {
            version: frames::VERSION,
            pid: std::process::id(),
            python: String::new(),
            cloudpickle: String::new(),
            covalent: String::new(),
        }));
        loop {
            self.wait()?;
            if !self.receive()? {
                return Ok(());
            }
            self.settle();
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.patience().map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut sources =
            [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        match rustix::event::poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut drained = [0; 256];
        while self.wake.read(&mut drained).is_ok_and(|count| count > 0) {}
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        let waiting = self.children.values().filter(|child| !child.forced);
        let deadlines = waiting.filter_map(|child| child.deadline);
        let waits = deadlines.map(|at| at.saturating_duration_since(now()));
        waits.chain(self.look_in).min()
    }

    /// Takes what the server sent. False when it is gone.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = vec![0; READ_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4 * STREAMS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let count = match rustix::net::recvmsg(&self.control, parts, &mut ancillary, flags) {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
            Err(Errno::CONNRESET) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(streams) = message {
                self.streams.extend(streams);
            }
        }
        self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
        let mut taken = 0;
        while let Some((request, used)) =
            ToKeeper::from_frame(self.received.get(taken..).unwrap_or_default())
                .map_err(io::Error::other)?
        {
            taken += used;
            self.take(request);
        }
        self.received.drain(..taken);
        Ok(count > 0)
    }

    fn take(&mut self, request: ToKeeper) {
        match request {
            ToKeeper::Start { process, launch } => {
                let report = match self.start(process, &launch) {
                    Ok(pid) => FromZygote::Forked { runner: process, pid },
                    Err(message) => {
                        self.groups.remove(process);
                        FromZygote::ForkFailed { runner: process, message }
                    }
                };
                self.tell(&report);
            }
            ToKeeper::Kill { process, grace_ms } => {
                self.kill(process, Duration::from_millis(grace_ms));
            }
        }
    }

    fn start(&mut self, number: u64, launch: &Launch) -> Result<u32, String> {
        let mut stream = || self.streams.pop_front().ok_or("too many open files");
        let (input, output, errors) = (stream()?, stream()?, stream()?);
        let cgroup = self.groups.add(number);
        let spawned = launch::launcher(launch, cgroup.as_deref())
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn();
        let pid = match spawned {
            Ok(child) => child.id(),
            Err(error) => return Err(error.to_string()),
        };
        let child = Child {
            pid: i32::try_from(pid).unwrap_or(0),
            deadline: None,
            forced: false,
            exit: None,
        };
        self.children.insert(number, child);
        Ok(pid)
    }

    fn kill(&mut self, number: u64, grace: Duration) {
        let Some(child) = self.children.get_mut(&number) else { return };
        let deadline = now() + grace;
        let first = child.deadline.is_none();
        child.deadline = Some(child.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        if first && !grace.is_zero() && child.exit.is_none() {
            ask_to_end(child.pid);
        }
    }

    /// Takes every process that is dying one step on.
    fn settle(&mut self) {
        self.look_in = None;
        for (number, child) in &mut self.children {
            watch(*number, child, &self.groups);
        }
        if self.children.values().all(|child| child.exit.is_none()) {
            return;
        }
        // What cannot be seen may be there.
        let Ok(waiting) = self.look() else { return self.look_in = Some(BLIND) };
        let gone = |(number, child): (&u64, &Child)| {
            child.exit.filter(|_| !waiting.contains(number)).map(|exit| (*number, exit))
        };
        let gone: Vec<(u64, Exit)> = self.children.iter().filter_map(gone).collect();
        for (number, exit) in gone {
            self.children.remove(&number);
            self.groups.remove(number);
            self.tell(&FromZygote::Exited { runner: number, exit });
        }
    }

    /// Looks for what dead processes left, and kills it if its time is over.
    ///
    /// Returns the numbers of those of which it found something, were it only a process that had
    /// ended: that one can have started another, which this look did not see yet.
    fn look(&mut self) -> io::Result<BTreeSet<u64>> {
        let me = processes::own_pid();
        let table = processes::parents()?;
        let found: HashMap<i32, Vec<u64>> = table
            .iter()
            .filter(|(pid, parent)| **parent == me && self.is_orphan(**pid))
            .map(|(pid, _)| (*pid, self.owners(*pid)))
            .collect();
        let doomed: Vec<i32> = found
            .iter()
            .filter(|(_, owners)| self.any_forced(owners))
            .map(|(pid, _)| *pid)
            .collect();
        let below = processes::below(&doomed, &table);
        doomed.iter().chain(&below).for_each(|pid| processes::send(*pid, Signal::KILL));
        let left: Vec<i32> = found.keys().copied().filter(|pid| !processes::reaped(*pid)).collect();
        if !found.is_empty() && left.is_empty() {
            // No signal will tell when to look again.
            self.look_in = Some(Duration::ZERO);
        }
        if doomed.iter().any(|pid| !left.contains(pid)) {
            processes::chase(me, |branch| {
                !(self.is_orphan(branch) && self.any_forced(&self.owners(branch)))
            })?;
        }
        Ok(found.into_values().flatten().collect())
    }

    fn is_orphan(&self, pid: i32) -> bool {
        self.children.values().all(|child| pid != child.pid || child.exit.is_some())
    }

    /// Whose an orphan is: of one dead process, of a living one, or else of all the dead.
    fn owners(&self, pid: i32) -> Vec<u64> {
        let owner = self.groups.owner(pid);
        let owner = owner.and_then(|number| Some((number, self.children.get(&number)?)));
        match owner {
            Some((number, child)) if child.exit.is_some() => vec![number],
            Some(_) => Vec::new(),
            None => {
                let dead = self.children.iter().filter(|(_, child)| child.exit.is_some());
                dead.map(|(number, _)| *number).collect()
            }
        }
    }

    fn any_forced(&self, owners: &[u64]) -> bool {
        owners.iter().any(|number| self.children.get(number).is_some_and(|child| child.forced))
    }

    fn end_all(&mut self) {
        for child in self.children.values().filter(|child| child.exit.is_none()) {
            processes::send_group(child.pid, Signal::KILL);
        }
        self.groups.kill_all();
        processes::end_all(None);
    }

    fn tell(&mut self, report: &FromZygote) {
        let sent = report.to_frame().map_err(io::Error::other);
        // The server is gone; the loop learns it from the next read.
        sent.and_then(|frame| self.control.write_all(&frame)).ok();
    }
}

fn watch(number: u64, child: &mut Child, groups: &Cgroups) {
    if !child.forced && child.deadline.is_some_and(|deadline| now() >= deadline) {
        force(number, child, groups);
    }
    let Some(pid) = Pid::from_raw(child.pid).filter(|_| child.exit.is_none()) else { return };
    // The process is looked at first and waited for last: until then its id, which is also its
    // group's, cannot come to name another.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let ended = rustix::process::waitid(WaitId::Pid(pid), options | WaitIdOptions::NOWAIT);
    if !matches!(ended, Ok(Some(_))) {
        return;
    }
    if child.deadline.is_none() || child.forced {
        force(number, child, groups);
    }
    if let Ok(Some(status)) = rustix::process::waitid(WaitId::Pid(pid), options) {
        let number = |raw: Option<i32>| raw.and_then(|raw| u32::try_from(raw).ok());
        child.exit = Some(match number(status.terminating_signal()) {
            Some(signal) => Exit::Signal(signal),
            None => Exit::Code(number(status.exit_status()).unwrap_or_default()),
        });
    }
}

fn force(number: u64, child: &mut Child, groups: &Cgroups) {
    child.forced = true;
    if child.exit.is_none() {
        processes::send_group(child.pid, Signal::KILL);
    }
    groups.kill(number);
}

/// SIGTERM for a process and all below it, also for what left its group.
fn ask_to_end(pid: i32) {
    // If they cannot be seen, they can be asked no more, but killed later.
    let table = processes::parents().unwrap_or_default();
    processes::send_group(pid, Signal::TERM);
    for other in processes::below(&[pid], &table) {
        let group = rustix::process::getpgid(Pid::from_raw(other));
        if group.is_ok_and(|group| group.as_raw_nonzero().get() != pid) {
            processes::send(other, Signal::TERM);
        }
    }
}
