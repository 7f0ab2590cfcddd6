//! Electrons that a server is tried with. They stand in the program that runs them and in the test
//! that dispatches them, which is why each has a name of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use cov::{Sublattice, electron};

#[electron(name = "add")]
pub(crate) fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[electron(name = "total")]
pub(crate) fn total(numbers: Vec<i64>) -> i64 {
    numbers.into_iter().sum()
}

/// A graph whose size another electron has computed.
#[electron(name = "doubles")]
pub(crate) fn doubles(count: i64) -> Result<Sublattice<Vec<i64>>, cov::Error> {
    Sublattice::build("doubles", || add::map(0..count, count))
}

/// Which process runs it.
#[electron(name = "process")]
pub(crate) fn process(_turn: i64) -> u32 {
    std::process::id()
}

#[electron(name = "panics")]
#[cfg_attr(not(test), expect(clippy::panic, reason = "this is what the electron is for"))]
pub(crate) fn panics() -> i64 {
    panic!("no way on")
}

#[electron(name = "refuses")]
pub(crate) fn refuses() -> Result<i64, io::Error> {
    Err(io::Error::other("not today"))
}

#[electron(name = "aborts")]
pub(crate) fn aborts() -> i64 {
    writeln!(io::stdout(), "last words").ok();
    std::process::abort()
}

#[electron(name = "exits")]
#[expect(clippy::exit, reason = "this is what the electron is for")]
pub(crate) fn exits() -> i64 {
    std::process::exit(3)
}

#[electron(name = "allocates", memory_limit_mb = 512)]
pub(crate) fn allocates() -> usize {
    vec![1_u8; 1 << 30].iter().filter(|byte| **byte == 1).count()
}

/// Writes its process and that of a child with a session of its own, and never ends.
#[electron(name = "spins")]
pub(crate) fn spins(place: String) -> Result<i64, io::Error> {
    let child = Command::new("setsid").args(["sleep", "3600"]).spawn()?;
    note(&place, &format!("{} {}", std::process::id(), child.id()))?;
    loop {
        std::hint::spin_loop();
    }
}

/// Fails until it was called `times` times.
#[electron(name = "flaky", retries = 5)]
pub(crate) fn flaky(place: String, times: usize) -> Result<usize, String> {
    note(&place, "called").map_err(|error| error.to_string())?;
    let calls = std::fs::read_to_string(&place).unwrap_or_default().lines().count();
    match calls < times {
        true => Err(format!("call {calls}")),
        false => Ok(calls),
    }
}

/// Writes down that it ran, and returns what it was given.
#[electron(name = "notes")]
pub(crate) fn notes(place: String, value: i64) -> Result<i64, io::Error> {
    note(&place, &value.to_string())?;
    Ok(value)
}

/// Writes down that it ran, and returns what it was given when the gate, a named pipe, is opened.
#[electron(name = "waits")]
pub(crate) fn waits(place: String, gate: String, value: i64) -> Result<i64, io::Error> {
    note(&place, &value.to_string())?;
    File::open(Path::new(&gate))?;
    Ok(value)
}

fn note(place: &str, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(place)?;
    file.write_all(format!("{text}\n").as_bytes())
}
