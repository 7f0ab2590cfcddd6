//! A session in a real pseudo-terminal: what a person sees on the screen, while it changes.

use std::io::{Read as _, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::dispatches::{run, send, served};
use crate::place::Place;

/// Longer than anything here may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pieces of output that are looked at before the wait is given up. Bars are drawn ten times a
/// second.
const PIECES_MAX: usize = 600;

/// Runs a program, tells how it ended between two marks, and stays until a line is typed. A terminal
/// whose session ends drops what nobody has read yet.
const STAY: &str = r#"trap : INT; "$@"; printf '\001%s\002' "$?"; read -r _"#;

/// Two tasks wait for a file; the third comes behind them.
fn gated_flow(place: &Place) -> String {
    let go = place.path("go");
    let wait = format!("until test -e {}; do sleep 0.05; done", go.display());
    format!(
        "name = \"gated\"\n[tasks.first]\nrun = \"{wait}\"\n[tasks.second]\nrun = \"{wait}\"\n\
         [tasks.third]\nrun = \"echo done\"\nneeds = [\"first\", \"second\"]\n"
    )
}

/// A program in a terminal, and the screen of it.
struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

impl Terminal {
    fn open(place: &Place, line: &str, columns: u16, colors: bool) -> Self {
        let size = PtySize { rows: 24, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new("/bin/sh");
        command.args(["-c", STAY, "sh", env!("CARGO_BIN_EXE_cov")]);
        command.args(line.split_ascii_whitespace());
        command.env_clear();
        command.env("HOME", place.path(""));
        command.env("TERM", "xterm-256color");
        command.env("TZ", "UTC");
        if !colors {
            command.env("NO_COLOR", "1");
        }
        command.cwd(place.path(""));
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = sync_channel(64);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // A terminal whose program is gone ends with an error.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = vt100::Parser::new(24, columns, 200);
        let keyboard = pair.master.take_writer().unwrap();
        Self { master: pair.master, keyboard, child, output, screen, raw: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        // What the shell says stands behind all that the program has drawn.
        let drawn = bytes.split(|byte| *byte == 1).next().unwrap_or_default();
        self.screen.process(drawn);
        self.raw.extend(bytes);
    }

    fn contents(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads until the screen is as wanted.
    fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) {
        for _ in 0..PIECES_MAX {
            if is_so(&self.contents()) {
                return;
            }
            let Ok(bytes) = self.output.recv_timeout(PATIENCE) else { break };
            self.take(&bytes);
        }
        panic!("{what}: the screen shows\n{}", self.contents());
    }

    /// Reads to the end; the exit code.
    fn end(&mut self) -> u32 {
        for _ in 0..PIECES_MAX {
            if let Some(code) = self.code() {
                self.type_in(b"\n");
                self.child.wait().unwrap();
                return code;
            }
            let Ok(bytes) = self.output.recv_timeout(PATIENCE) else { break };
            self.take(&bytes);
        }
        panic!("it does not end: the screen shows\n{}", self.contents());
    }

    /// The exit code, once it was told.
    fn code(&self) -> Option<u32> {
        let begin = self.raw.iter().rposition(|byte| *byte == 1)?;
        let told = self.raw[begin..].strip_suffix(b"\x02")?;
        str::from_utf8(&told[1..]).ok()?.parse().ok()
    }

    fn resize(&mut self, columns: u16) {
        let size = PtySize { rows: 24, cols: columns, pixel_width: 0, pixel_height: 0 };
        self.master.resize(size).unwrap();
        self.screen.screen_mut().set_size(24, columns);
    }

    fn type_in(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).unwrap();
    }
}

fn gated() -> Place {
    let place = Place::new();
    assert_eq!(place.cov("start --workers 2").code, 0);
    send(&place, &gated_flow(&place));
    place
}

#[test]
fn progress_is_drawn_and_gives_way_to_what_came_of_it() {
    let place = gated();
    let mut terminal = Terminal::open(&place, "watch", 100, true);
    terminal.until("both tasks are drawn", |screen| {
        screen.contains("0 first") && screen.contains("1 second") && screen.contains("2 running")
    });
    let screen = terminal.contents();
    let bar = screen.lines().find(|line| line.contains("gated")).unwrap();
    assert!(bar.contains("0/4") && bar.contains('╌'), "{screen}");
    assert!(terminal.raw.windows(2).any(|two| two == b"\x1b["), "it has colours and moves");

    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(terminal.end(), 0);
    let last = terminal.contents();
    assert!(last.contains("COMPLETED") && last.contains("shows what it returned"), "{last}");
    assert!(!last.contains('╌') && !last.contains("running"), "no bar is left:\n{last}");
}

/// What was on its way when the terminal changed is drawn for the old one, and may leave a trace.
#[test]
fn a_terminal_that_becomes_narrower_is_drawn_for_what_it_is() {
    let place = gated();
    let mut terminal = Terminal::open(&place, "watch", 100, true);
    terminal.until("both tasks are drawn", |screen| screen.contains("2 running"));
    terminal.resize(60);
    let drawn = terminal.raw.len();
    // The next thing that changes is the time that tasks have taken.
    terminal.until("it is drawn anew", |screen| {
        screen.lines().any(|line| line.contains("first") && line.trim_end().ends_with(" s"))
    });
    assert!(terminal.raw.len() > drawn);
    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(terminal.end(), 0);
    let last = terminal.contents();
    assert!(last.contains("COMPLETED") && last.contains("shows what it returned"), "{last}");
}

#[test]
fn a_run_is_drawn_as_it_goes_and_leaves_its_result() {
    let place = Place::new();
    std::fs::write(place.path("gated.toml"), gated_flow(&place)).unwrap();
    let mut terminal = Terminal::open(&place, "run gated.toml --workers 2", 100, true);
    terminal.until("both tasks are drawn", |screen| {
        screen.contains("0 first") && screen.contains("1 second") && screen.contains('╌')
    });
    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(terminal.end(), 0);
    let last = terminal.contents();
    assert!(last.contains("COMPLETED after") && last.contains("\ndone"), "{last}");
    assert!(!last.contains('╌') && !last.contains("running"), "no bar is left:\n{last}");
}

#[test]
fn an_interrupt_ends_a_run_and_all_that_it_started() {
    let place = Place::new();
    std::fs::write(place.path("gated.toml"), gated_flow(&place)).unwrap();
    let mut terminal = Terminal::open(&place, "run gated.toml --workers 2", 100, true);
    terminal.until("both tasks are drawn", |screen| screen.contains("2 running"));
    terminal.type_in(b"\x03");
    assert_eq!(terminal.end(), 130);
    let last = terminal.contents();
    assert!(last.contains("CANCELLED") && last.contains("--resume"), "{last}");
}

#[test]
fn an_interrupt_ends_the_watching_and_not_the_dispatch() {
    let place = gated();
    let mut terminal = Terminal::open(&place, "watch", 100, true);
    terminal.until("both tasks are drawn", |screen| screen.contains("2 running"));
    terminal.type_in(b"\x03");
    assert_eq!(terminal.end(), 130);
    let last = terminal.contents();
    assert!(last.contains("The dispatch goes on"), "{last}");
    assert!(place.cov("ls").out.contains("RUNNING"));
    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(place.cov("watch").code, 0);
}

#[test]
fn lists_fit_the_terminal_and_have_colors_only_where_they_are_wanted() {
    let place = served();
    let name = "a rather long name of a workflow that does not fit into a narrow terminal";
    let flow = format!("name = \"{name}\"\n[tasks.hi]\nrun = \"echo hi\"\n");
    let (id, _) = run(&place, &flow);
    let shown = |line: &str, columns, colors| {
        let mut terminal = Terminal::open(&place, line, columns, colors);
        assert_eq!(terminal.end(), 0);
        (terminal.contents(), terminal.raw)
    };
    let (wide, raw) = shown("ls", 140, true);
    assert!(wide.contains(name) && wide.contains(&id[..8]) && !wide.contains(&id), "{wide}");
    assert!(String::from_utf8_lossy(&raw).contains("\u{1b}[32mCOMPLETED"));
    let (narrow, raw) = shown("ls", 60, false);
    assert!(narrow.contains('…') && narrow.lines().count() == 2, "{narrow}");
    assert!(!raw.contains(&0x1b), "NO_COLOR is respected");
    let (_, raw) = shown("ls --color never", 60, true);
    assert!(!raw.contains(&0x1b), "--color never is respected");
    let (explained, _) = shown("explain", 100, true);
    assert!(explained.contains("Critical path: 2 of 2 nodes"), "{explained}");
    let piped = place.command("ls --color always").output().unwrap();
    assert!(piped.stdout.contains(&0x1b), "--color always is respected");
}
