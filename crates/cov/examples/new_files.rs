//! A workflow that runs by itself: whenever a file in a folder has been written, its lines are
//! counted with those of all others. The program registers both and ends; the server does the rest.
//!
//! ```text
//! COV_ADDRESS=http://127.0.0.1:48008 cargo run --example new_files -- /data/incoming
//! cov triggers history
//! ```

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::path::PathBuf;

use cov::{Client, Node, blocking, electron, lattice};
use serde_json::json;

/// The files of the folder, in the order of their names.
#[electron]
fn files(folder: PathBuf) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[electron(retries = 2)]
fn lines(file: PathBuf) -> std::io::Result<usize> {
    Ok(std::fs::read_to_string(file)?.lines().count())
}

#[electron]
fn total(counts: Vec<usize>) -> usize {
    counts.into_iter().sum()
}

#[lattice(name = "new files")]
fn count_all(folder: PathBuf) -> Node<usize> {
    total::node(lines::each(files::node(folder)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    cov::runner::init();
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which folder?")?;
    let folder = folder.canonicalize()?;
    let client = blocking::Client::new(Client::builder(std::env::var("COV_ADDRESS")?))?;
    let workflow = count_all::build(folder.clone())?.into_workflow()?;
    let registered = client.register(&workflow)?;
    let trigger = json!({ "name": "DirTrigger", "dir_path": folder, "event_names": ["closed"] });
    let fields = trigger.as_object().cloned().unwrap_or_default();
    client.register_triggers(&[fields], &registered.dispatch_id)?;
    println!("{}", registered.dispatch_id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_files_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b", "1\n2\n"), ("a", "3\n")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let found = files(folder.path().to_owned()).unwrap();
        let counts = found.into_iter().map(|file| lines(file).unwrap()).collect();
        assert_eq!(counts, [1, 2]);
        assert_eq!(total(counts), 3);
    }
}
