//! The examples that people start from, each sent to a real server by its own program.

use std::process::Command;

use cov::core::ids::DispatchId;
use cov::core::status::Status;
use cov_client::Filter;

use super::server::{PATIENCE, Server};
use crate::program::example;

/// What an example prints.
fn said(server: &Server, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(example(name));
    let output = command.args(arguments).env("COV_ADDRESS", &server.address).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn words_of_files_are_counted() {
    let server = Server::start();
    let texts = [("one", "The cat. The dog!"), ("two", "A dog, the end")];
    let paths = texts.map(|(name, text)| {
        std::fs::write(server.path(name), text).unwrap();
        server.text_path(name)
    });
    let counted = said(&server, "word_count", &[&paths[0], &paths[1]]);
    assert!(counted.starts_with(r#"[("the", 3), ("dog", 2), ("a", 1)"#), "{counted}");
}

#[test]
fn the_best_parameter_is_found() {
    let server = Server::start();
    let best = said(&server, "parameter_sweep", &[]);
    assert!(best.starts_with("Trial { step: 0.") && best.contains("steps: Some("), "{best}");
}

#[tokio::test]
async fn files_that_arrive_are_counted_without_being_asked() {
    let server = Server::start();
    let folder = server.text_path("incoming");
    std::fs::create_dir(&folder).unwrap();
    let original: DispatchId = said(&server, "new_files", &[&folder]).parse().unwrap();
    std::fs::write(server.path("incoming/first"), "1\n2\n").unwrap();
    // The first event runs what was registered.
    assert_eq!(server.result::<usize>(&original).await, 2);
    std::fs::write(server.path("incoming/second"), "3\n").unwrap();
    let again = async {
        loop {
            let filter = Filter {
                statuses: vec![Status::Completed],
                name: Some("new files".to_owned()),
                ..Filter::default()
            };
            let page = server.client.list(&filter).await.unwrap();
            let mut found = page.dispatches.into_iter();
            if let Some(found) = found.find(|one| one.dispatch_id != original) {
                return found.dispatch_id;
            }
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await.expect("no second run");
    assert_eq!(server.result::<usize>(&again).await, 3);
}
