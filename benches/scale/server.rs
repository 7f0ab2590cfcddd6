//! The server as a process: started, asked over one connection, and read from the outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(600);

pub(crate) struct Server {
    child: Child,
    /// `http://host:port`.
    pub(crate) url: String,
    /// From the start of the process to the first answer.
    pub(crate) answered_after: Duration,
}

impl Server {
    pub(crate) fn start(folder: &Path) -> Self {
        let begin = Instant::now();
        let mut child = Command::new(binary())
            .args(["--listen", "127.0.0.1:0", "--python", "/no/python", "--log-level", "error"])
            .arg("--data-dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("cov-server ready at ").unwrap().to_owned();
        let mut server = Self { child, url, answered_after: Duration::ZERO };
        server.connect().get("/healthz");
        server.answered_after = begin.elapsed();
        server
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        Connection { stream: BufReader::new(stream) }
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// A line of `/proc/PID/status`, in its own unit.
    pub(crate) fn status(&self, key: &str) -> u64 {
        let text = self.proc("status");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Resident memory. MiB.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS") / 1024
    }

    /// Most resident memory ever, since [`Self::reset_peak`]. MiB.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM") / 1024
    }

    pub(crate) fn reset_peak(&self) {
        // Refused to who may not; then the peak is that of the whole life.
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").ok();
    }

    /// Processor time in user and in system mode. Runners are other processes.
    pub(crate) fn cpu(&self) -> Duration {
        let text = self.proc("stat");
        let mut fields = text.rsplit_once(") ").unwrap().1.split(' ').skip(11);
        let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
        // Ticks of 10 ms.
        Duration::from_millis((next() + next()) * 10)
    }

    /// Bytes that were written to disk.
    pub(crate) fn written(&self) -> u64 {
        let text = self.proc("io");
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        line.parse().unwrap()
    }

    /// How often threads of the server were woken up.
    pub(crate) fn switches(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |thread: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        threads.map(of).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One connection that is kept.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn get(&mut self, path: &str) -> Vec<u8> {
        self.call("GET", path, "")
    }

    /// The body of an answer with a good status.
    pub(crate) fn call(&mut self, method: &str, path: &str, json: &str) -> Vec<u8> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{json}",
            json.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.stream.read_line(&mut head).unwrap() > 0, "{method} {path}: cut off");
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        let is_good = head.starts_with("http/1.1 2");
        assert!(is_good, "{method} {path}: {head}{}", String::from_utf8_lossy(&body));
        body
    }
}

fn binary() -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().unwrap();
        own.ancestors().nth(2).unwrap().join("cov-server")
    };
    std::env::var_os("COV_SERVER_BIN").map_or_else(beside, PathBuf::from)
}
