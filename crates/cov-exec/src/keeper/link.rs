//! The server's end of the keeper: starts it when it is first needed, asks it for processes and
//! for their end, and hears what became of them. Knows no tasks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cov_core::frames::{self, Exit, FromZygote, Launch, Message as _, ToKeeper};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::WITHOUT_CGROUPS;
use super::{GUARD, OWN_PROGRAM, command, is_ready};

/// How long the keeper may take to come up. It has nothing to load.
const START_MAX: Duration = Duration::from_secs(20);

/// How long the keeper may take to end everything.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Requests that wait to be sent; whoever has more waits as well.
const REQUESTS_MAX: usize = 256;

/// Starts processes, and ends them with all that they started. Comes up with the first of them.
#[derive(Debug)]
pub struct Keeper {
    program: Option<PathBuf>,
    log: PathBuf,
    cgroups: bool,
    stopping: CancellationToken,
    tasks: TaskTracker,
    link: Mutex<Option<Link>>,
}

/// A keeper that is up.
#[derive(Debug, Clone)]
struct Link {
    requests: mpsc::Sender<Request>,
    numbers: Arc<AtomicU64>,
}

/// A process that was started. Dropping it lets it run.
#[derive(Debug)]
pub struct Process {
    number: u64,
    pid: u32,
    requests: mpsc::Sender<Request>,
    exit: oneshot::Receiver<Exit>,
}

/// Why a process was not started, in a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unstarted(String);

#[derive(Debug)]
enum Request {
    Start(Box<Start>),
    Kill { number: u64, grace: Duration },
}

#[derive(Debug)]
struct Start {
    number: u64,
    launch: Launch,
    streams: [OwnedFd; 3],
    watcher: Watcher,
}

/// Who is told of a process.
#[derive(Debug)]
struct Watcher {
    started: Option<oneshot::Sender<Result<u32, String>>>,
    exit: oneshot::Sender<Exit>,
    pid: Option<u32>,
}

impl Keeper {
    /// A keeper that is not up yet. `program` calls [`init`](super::init) first and is to be the
    /// keeper; without it, this program is. What it says, if it says something, goes to
    /// `keeper.log` in `run_dir`, which exists when the first process is started. When `stopping`
    /// is cancelled, everything is ended; `tasks` has ended when everything is gone.
    #[must_use]
    pub fn new(
        program: Option<PathBuf>,
        run_dir: &Path,
        cgroups: bool,
        stopping: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let log = run_dir.join("keeper.log");
        Self { program, log, cgroups, stopping, tasks, link: Mutex::new(None) }
    }

    /// Starts a process in a group of its own, with these as its standard input, output and error
    /// stream. It is not known yet whether it could become the program: if not, it says so on its
    /// error stream and exits with code 126 or 127, as under a shell.
    ///
    /// # Errors
    /// The keeper does not come up, or the system makes no process.
    pub async fn start(&self, launch: Launch, streams: [OwnedFd; 3]) -> Result<Process, Unstarted> {
        let Link { requests, numbers } = self.link().await?;
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let (started, pid) = oneshot::channel();
        let (ended, exit) = oneshot::channel();
        let watcher = Watcher { started: Some(started), exit: ended, pid: None };
        let start = Start { number, launch, streams, watcher };
        // Dropped with the request when the keeper is gone, which the answer then tells.
        requests.send(Request::Start(Box::new(start))).await.ok();
        let lost =
            || Unstarted("the keeper of processes ended; the next task starts another".into());
        let pid = pid.await.map_err(|_closed| lost())?;
        let pid = pid.map_err(|error| Unstarted(format!("no process could be made: {error}")))?;
        Ok(Process { number, pid, requests, exit })
    }

    async fn link(&self) -> Result<Link, Unstarted> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.requests.is_closed()) {
            return Ok(link.clone());
        }
        let mut connection = Connection::open(self)?;
        let greeted = tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err("the executor is stopping".to_owned()),
            greeted = tokio::time::timeout(START_MAX, connection.greeting()) => {
                greeted.unwrap_or_else(|_| Err("it was not ready in time".to_owned()))
            }
        };
        if let Err(how) = greeted {
            connection.end().await;
            let log = self.log.display();
            return Err(Unstarted(format!(
                "The keeper of processes, without which no program is started, did not come up: \
                 {how}. See {log}."
            )));
        }
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        self.tasks.spawn(connection.run(received, self.stopping.clone()));
        Ok(link.insert(Link { requests, numbers: Arc::default() }).clone())
    }
}

impl Process {
    /// Its id, which is also that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Has it and all that it started get SIGTERM, and SIGKILL after `grace`. Asking again can
    /// only make the time shorter.
    pub async fn kill(&self, grace: Duration) {
        // Without a keeper it is dead already.
        self.requests.send(Request::Kill { number: self.number, grace }).await.ok();
    }

    /// How it ended, when it and all that it started is gone. `None` when it was ended because the
    /// keeper died. Cancelling the wait is safe.
    pub async fn ended(&mut self) -> Option<Exit> {
        (&mut self.exit).await.ok()
    }
}

/// The control connection, and the guard at its other end.
#[derive(Debug)]
struct Connection {
    child: Child,
    control: UnixStream,
    received: BytesMut,
    watchers: HashMap<u64, Watcher>,
}

impl Connection {
    fn open(keeper: &Keeper) -> Result<Self, Unstarted> {
        let own = Path::new(OWN_PROGRAM);
        let program = keeper.program.as_deref().or_else(|| is_ready().then_some(own));
        let Some(program) = program else {
            return Err(Unstarted(
                "This server starts no programs: `cov_server::init()` must be the first line of \
                 its `main`, so that it can keep what it started."
                    .to_owned(),
            ));
        };
        let spawned = (|| {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let control = UnixStream::from_std(ours)?;
            let log = File::create(&keeper.log)?;
            let mut command = command(program, GUARD);
            command
                .args((!keeper.cgroups).then_some(WITHOUT_CGROUPS))
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::from(log.try_clone()?))
                .stderr(Stdio::from(log))
                // A terminal's Ctrl-C is for the server, which then decides about its processes.
                .process_group(0);
            Ok((Command::from(command).spawn()?, control))
        })();
        let (child, control) = spawned.map_err(|error: io::Error| {
            Unstarted(format!("The keeper of processes could not be started: {error}"))
        })?;
        Ok(Self { child, control, received: BytesMut::new(), watchers: HashMap::new() })
    }

    async fn greeting(&mut self) -> Result<(), String> {
        match self.next().await {
            Some(FromZygote::Hello(hello)) if hello.version == frames::VERSION => Ok(()),
            Some(_) => Err("it is another program".to_owned()),
            None => Err("it ended".to_owned()),
        }
    }

    /// Serves until the keeper is gone or the executor stops.
    async fn run(mut self, requests: mpsc::Receiver<Request>, stopping: CancellationToken) {
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            () = self.serve(requests) => {
                tracing::error!("the keeper of processes died");
                self.watchers.values().filter_map(|watcher| watcher.pid).for_each(end_group);
            }
        }
        self.end().await;
    }

    async fn serve(&mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if let Err(error) = self.send(request).await {
                        tracing::debug!(%error, "the keeper cannot be spoken with");
                        return;
                    }
                }
                report = self.next() => match report {
                    Some(report) => self.take(report),
                    None => return,
                }
            }
        }
    }

    /// The next report; `None` when there will be none.
    async fn next(&mut self) -> Option<FromZygote> {
        loop {
            match FromZygote::from_frame(&self.received) {
                Ok(Some((report, used))) => {
                    self.received.advance(used);
                    return Some(report);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the keeper sent what is no frame");
                    return None;
                }
            }
            match self.control.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self, request: Request) -> io::Result<()> {
        let (message, streams) = match request {
            Request::Start(start) => {
                let Start { number, launch, streams, watcher } = *start;
                self.watchers.insert(number, watcher);
                (ToKeeper::Start { process: number, launch }, Some((number, streams)))
            }
            Request::Kill { number, grace } => {
                let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                (ToKeeper::Kill { process: number, grace_ms }, None)
            }
        };
        let frame = match (message.to_frame(), &streams) {
            (Ok(frame), _) => frame,
            (Err(error), Some((number, _))) => {
                self.not_started(*number, error.to_string());
                return Ok(());
            }
            (Err(error), None) => return Err(io::Error::other(error)),
        };
        let sent = match &streams {
            Some((_, streams)) => send_with(&self.control, &frame, streams).await?,
            None => 0,
        };
        self.control.write_all(frame.get(sent..).unwrap_or_default()).await
    }

    fn take(&mut self, report: FromZygote) {
        match report {
            FromZygote::Hello(_) => {}
            FromZygote::Forked { runner, pid } => {
                let Some(watcher) = self.watchers.get_mut(&runner) else { return };
                watcher.pid = Some(pid);
                if let Some(started) = watcher.started.take() {
                    // Whoever asked may have left.
                    started.send(Ok(pid)).ok();
                }
            }
            FromZygote::Exited { runner, exit } => {
                if let Some(watcher) = self.watchers.remove(&runner) {
                    watcher.exit.send(exit).ok();
                }
            }
            FromZygote::ForkFailed { runner, message } => self.not_started(runner, message),
        }
    }

    fn not_started(&mut self, number: u64, message: String) {
        let watcher = self.watchers.remove(&number);
        if let Some(started) = watcher.and_then(|watcher| watcher.started) {
            started.send(Err(message)).ok();
        }
    }

    /// Ends the keeper, and with it all processes.
    async fn end(self) {
        let Self { mut child, control, watchers, .. } = self;
        // The starter takes the end of the connection as the order to end everything.
        drop(control);
        match tokio::time::timeout(STOP_MAX, child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the keeper cannot be waited for"),
            Err(_) => {
                tracing::warn!("the keeper does not end and is killed");
                child.kill().await.ok();
            }
        }
        // Only now does anybody learn of it: everything is gone.
        drop(watchers);
    }
}

/// Sends the beginning of a frame with descriptors attached; returns how much was sent.
async fn send_with(
    control: &UnixStream,
    frame: &[u8],
    streams: &[OwnedFd; 3],
) -> io::Result<usize> {
    let attempt = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = streams.each_ref().map(|stream| stream.as_fd());
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let parts = [IoSlice::new(frame)];
        let flags = SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(control, &parts, &mut ancillary, flags)?)
    };
    control.async_io(Interest::WRITABLE, attempt).await
}

/// Kills what is left of a process group whose leader died with the keeper.
fn end_group(group: u32) {
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // Usually it is gone already.
        rustix::process::kill_process_group(pid, Signal::KILL).ok();
    }
}
