//! `cov purge` with the real programs.

use insta::assert_snapshot;

use crate::place::Place;

#[test]
fn a_running_server_is_purged() {
    let place = Place::new();
    assert_eq!(place.cov("purge --older-than 30d").code, 3);
    assert_eq!(place.cov("purge --older-than 30").code, 2);
    assert_eq!(place.cov("purge --older-than 1d --status RUNNING").code, 2);
    let named = place.cov("purge --older-than 30d --server http://127.0.0.1:1");
    assert_eq!(named.code, 3, "the server that is named, and no other: {}", named.errors);
    assert_eq!(place.cov("start").code, 0);
    let named = place.cov("purge --older-than 30d --server http://127.0.0.1:1");
    assert_eq!(named.code, 3, "{}", named.errors);
    let dry = place.cov("purge --older-than 30d --status COMPLETED --dry-run");
    assert_eq!(dry.code, 0, "{}", dry.errors);
    assert_snapshot!(dry.out, @"Would remove 0 dispatches and 0 contents of 0 B.");
    let json = place.cov("--json purge --older-than 0s --status failed --status CANCELLED");
    assert_eq!(json.code, 0, "{}", json.errors);
    assert_snapshot!(json.out, @r#"{"event":"purged","dry_run":false,"dispatches":0,"contents":0,"bytes":0}"#);
    assert_eq!(place.cov("stop").code, 0);
}
