//! `cov start` takes what `cov-server` takes.

use std::collections::BTreeSet;
use std::process::Command;

use crate::place::{Place, server};

/// The flags in a help text, each with the name of its value.
fn flags(help: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8(help.to_vec()).unwrap();
    let lines = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines
        .map(|line| line.split("  ").next().unwrap().trim_start_matches("-h, ").to_owned())
        .collect()
}

#[test]
fn both_programs_take_the_same_options() {
    let place = Place::new();
    let cov = flags(&place.command("start -h").output().unwrap().stdout);
    let server = flags(&Command::new(server()).arg("-h").output().unwrap().stdout);
    let only_cov: Vec<_> = cov.difference(&server).collect();
    let only_server: Vec<_> = server.difference(&cov).collect();
    assert_eq!(only_cov, ["--color <WHEN>", "--json", "--server <URL>"]);
    // `cov restore` is its own command.
    assert_eq!(
        only_server,
        ["--create-token <NAME>", "--print-config", "--restore <FILE>", "-V, --version"]
    );
    assert!(cov.contains("--listen <ADDRESS>"), "{cov:?}");
}

#[test]
fn a_command_line_that_cannot_be_read_has_its_own_exit_code() {
    let place = Place::new();
    for line in ["", "begin", "start --port 1", "stop --later"] {
        assert_eq!(place.cov(line).code, 2, "{line}");
    }
    let help = place.cov("--help");
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes:"), "{}", help.out);
}
