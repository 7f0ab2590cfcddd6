//! Makes the runners of one program: lays down its executable and has the keeper start it, once
//! for each runner. What a runner then does is the same for all kinds.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cov_core::asset::ContentDigest;
use cov_core::frames::Launch;
use tokio::sync::mpsc;

use super::INLINE_BYTES_MAX;
use super::capture::{self, Files};
use super::pool::{Pool, Request};
use crate::{Payload, Program};

/// How often idle runners are looked for, as a part of the time they may be idle.
const LOOKS_PER_IDLE: u32 = 4;

const CHUNK_BYTES: usize = 256 * 1024;

/// A runner is killed by hand, by a cancellation, by its end: each once at most.
const KILLS_MAX: usize = 8;

/// Serves the pool's requests until nothing is left to do or the executor stops.
pub(super) async fn run(pool: Arc<Pool>, program: Program) {
    pool.common.options.metrics.maker_started(pool.kind.word());
    let executable = match install(&pool, &program).await {
        Ok(executable) => executable,
        Err(message) => {
            tracing::error!(message, program = %program.digest, "a program cannot run");
            return pool.maker_failed(&message).await;
        }
    };
    let (requests, received) = mpsc::channel(pool.requests_max());
    pool.maker_up(requests);
    Maker { pool: Arc::clone(&pool), program, executable, kills: HashMap::new() }
        .serve(received)
        .await;
}

/// Lays down the executable, if it does not stand there; returns where. The error says what is
/// wrong.
async fn install(pool: &Pool, program: &Program) -> Result<PathBuf, String> {
    pool.common.prepare().await?;
    // A pool for each limit: they do not share the file, since each removes its own.
    let limit = program.memory_bytes_max.unwrap_or_default();
    let path = pool.common.programs().join(format!("{}-{limit}", program.digest));
    let (program, place) = (program.clone(), path.clone());
    let installed = tokio::task::spawn_blocking(move || lay_down(&program, &place)).await;
    let installed = installed.unwrap_or_else(|error| Err(io::Error::other(error)));
    match installed {
        Ok(true) => Ok(path),
        Ok(false) => Err("The program in the store is not the one that the task names, or is \
                          damaged: dispatch it again."
            .to_owned()),
        Err(error) => Err(format!("The program could not be laid down to be run: {error}")),
    }
}

/// Returns whether the program has the digest that it should have.
fn lay_down(program: &Program, path: &Path) -> io::Result<bool> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(path)?;
    let mut content: Box<dyn Read> = match &program.content {
        Payload::Bytes(bytes) => Box::new(&bytes[..]),
        Payload::File(path) => Box::new(File::open(path)?),
    };
    let mut digest = ContentDigest::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = content.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        let bytes = chunk.get(..count).unwrap_or_default();
        digest.update(bytes);
        file.write_all(bytes)?;
    }
    let is_right = digest.finish().id == program.digest;
    if !is_right {
        capture::remove(path);
    }
    Ok(is_right)
}

struct Maker {
    pool: Arc<Pool>,
    program: Program,
    executable: PathBuf,
    /// How those who tend runners are told to end them.
    kills: HashMap<u64, mpsc::Sender<Duration>>,
}

impl Maker {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let stopping = self.pool.common.stopping.clone();
        let idle = self.pool.common.options.program_idle;
        let mut looks =
            tokio::time::interval((idle / LOOKS_PER_IDLE).max(Duration::from_millis(1)));
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                request = requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                _ = looks.tick() => {
                    self.kills.retain(|_, kills| !kills.is_closed());
                    if self.pool.end_idle(idle) {
                        capture::remove(&self.executable);
                        return self.pool.maker_left();
                    }
                }
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Make { runner, socket } => {
                let (kills, killed) = mpsc::channel(KILLS_MAX);
                self.kills.insert(runner, kills);
                let launch = self.launch(runner);
                let pool = Arc::clone(&self.pool);
                self.pool.common.tasks.spawn(tend(pool, runner, socket, launch, killed));
            }
            Request::Kill { runner, grace } => {
                if let Some(kills) = self.kills.get(&runner) {
                    // It has ended by itself, or was told before.
                    kills.try_send(grace).ok();
                }
            }
        }
    }

    fn launch(&self, runner: u64) -> Launch {
        let options = &self.pool.common.options;
        let files = Files::of(&options.run_dir, runner);
        let variable = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let path = |name: &str, path: &Path| variable(name, path.as_os_str().as_bytes());
        let login = options.login.variables();
        let login = login.iter().map(|(name, value)| variable(name, value.as_bytes()));
        Launch {
            program: self.executable.as_os_str().as_bytes().to_vec(),
            arguments: Vec::new(),
            variables: [
                variable("COV_RUNNER", b"1"),
                path("COV_RUNNER_STDOUT", files.out()),
                path("COV_RUNNER_STDERR", files.err()),
                path("COV_RUNNER_SPOOL", &options.spool_dir),
                variable("COV_RUNNER_INLINE_BYTES_MAX", INLINE_BYTES_MAX.to_string().as_bytes()),
                variable("COV_PROGRAM", self.program.digest.to_string().as_bytes()),
                variable("COVALENT_DISPATCHER_URL", options.dispatcher_url.as_bytes()),
            ]
            .into_iter()
            .chain(login)
            .collect(),
            folder: None,
            memory_bytes_max: self.program.memory_bytes_max,
        }
    }
}

/// Starts a runner's process and stays with it to its end.
async fn tend(
    pool: Arc<Pool>,
    runner: u64,
    socket: OwnedFd,
    launch: Launch,
    mut killed: mpsc::Receiver<Duration>,
) {
    let files = Files::of(&pool.common.options.run_dir, runner);
    // What it says before it catches its streams itself is why it did not come up.
    let streams = files.create().map(|(out, err)| [socket, out, err]);
    let started = match streams {
        Ok(streams) => pool.common.keeper.start(launch, streams).await.map_err(|e| e.to_string()),
        Err(error) => Err(pool.common.unusable(&error)),
    };
    let mut process = match started {
        Ok(process) => process,
        Err(message) => return pool.fork_failed(runner, &message).await,
    };
    pool.forked(runner, process.pid());
    loop {
        tokio::select! {
            exit = process.ended() => {
                return match exit {
                    Some(exit) => pool.exited(runner, exit),
                    None => pool.lost(runner),
                };
            }
            Some(grace) = killed.recv() => process.kill(grace).await,
        }
    }
}
