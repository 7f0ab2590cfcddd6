//! Counts the words of text files: one electron for each file, one that adds up.
//!
//! ```text
//! cargo run --example word_count -- *.md
//! ```

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use cov::{Client, Node, blocking, electron, lattice};

type Counts = BTreeMap<String, u64>;

#[electron(retries = 1)]
fn count(file: PathBuf) -> std::io::Result<Counts> {
    let mut counts = Counts::new();
    for word in std::fs::read_to_string(file)?.split(|c: char| !c.is_alphanumeric()) {
        if !word.is_empty() {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    Ok(counts)
}

#[electron]
fn most_frequent(all: Vec<Counts>, top: usize) -> Vec<(String, u64)> {
    let mut total = Counts::new();
    for (word, times) in all.into_iter().flatten() {
        *total.entry(word).or_default() += times;
    }
    let mut words: Vec<_> = total.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    words.truncate(top);
    words
}

#[lattice]
fn word_count(files: Vec<PathBuf>, top: usize) -> Node<Vec<(String, u64)>> {
    most_frequent::node(count::map(files), top)
}

fn main() -> Result<(), cov::Error> {
    cov::runner::init();
    let files = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let lattice = word_count::build(files, 10)?;
    match std::env::var("COV_ADDRESS") {
        Ok(address) => {
            let client = blocking::Client::new(Client::builder(address))?;
            println!("{:?}", lattice.run(&client)?);
        }
        Err(_) => println!("{lattice:?}; COV_ADDRESS names no server that runs it"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn electrons_are_functions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text");
        std::fs::write(&file, "The cat. The dog!").unwrap();
        let counts = count(file).unwrap();
        assert_eq!(counts["the"], 2);
        assert_eq!(most_frequent(vec![counts], 1), [("the".to_owned(), 2)]);
    }
}
