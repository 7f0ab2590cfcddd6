//! A process of the program `cov-server`. It does not outlive the test.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Program {
    child: Child,
    out: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<String>,
    pub(crate) errors: String,
}

impl Program {
    /// Starts the program with these options and an empty environment.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_with(options, &[])
    }

    /// Starts the program with these options and these environment variables, and no others.
    pub(crate) fn start_with(options: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cov-server"))
            .args(options)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = lines(child.stdout.take().unwrap());
        let errors = lines(child.stderr.take().unwrap());
        Self { child, out, errors }
    }

    /// Starts a server on a free port, without a usable Python, and waits until it is ready.
    pub(crate) fn serve(data: &Path, options: &[&str]) -> (Self, SocketAddr) {
        let data = data.to_str().unwrap();
        let listen: &[&str] =
            if options.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let fixed = ["--data-dir", data, "--python", "/no/python"];
        let program = Self::start(&[listen, &fixed, options].concat());
        let line = program.out.recv_timeout(SOON).expect("the server is ready soon");
        let address = line.strip_prefix("cov-server ready at http://").expect(&line);
        (program, address.parse().expect(address))
    }

    pub(crate) fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the log has a line with this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        while !self.errors.recv_timeout(SOON).expect(text).contains(text) {}
    }

    /// Waits until the process ends.
    pub(crate) fn end(mut self) -> Ended {
        // Both streams end with the process, so nothing is waited for blindly.
        let errors: Vec<_> = drain(&self.errors);
        let out = drain(&self.out);
        let status: ExitStatus = self.child.wait().unwrap();
        Ended { code: status.code(), out, errors: errors.join("\n") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn drain(lines: &mpsc::Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match lines.recv_timeout(SOON) {
            Ok(line) => all.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return all,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the process does not end: {all:?}"),
        }
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends a whole request and returns the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    get_with(address, path, "")
}

/// As [`get`], with further lines in the head.
pub(crate) fn get_with(address: SocketAddr, path: &str, head: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n{head}connection: close\r\n\r\n")
        .unwrap();
    answer(stream)
}

/// Begins a request whose body is one byte short. The server is at work on it on return: it has
/// asked for the body.
pub(crate) fn begin_request(address: SocketAddr) -> TcpStream {
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut stream = connect(address);
    let head = format!(
        "POST /api/v2/dispatches HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; GO_ON.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, GO_ON);
    stream.write_all(b"{").unwrap();
    stream
}

/// What comes back until the connection is closed.
pub(crate) fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}
