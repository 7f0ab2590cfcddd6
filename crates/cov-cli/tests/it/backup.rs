//! `cov backup` and `cov restore` with the real programs.

use std::fs;

use insta::assert_snapshot;

use crate::place::Place;

#[test]
fn a_running_server_is_backed_up_and_restored_elsewhere() {
    let place = Place::new();
    assert_eq!(place.cov("backup all.tar").code, 3);
    assert!(!place.path("all.tar").exists());
    assert_eq!(place.cov("start").code, 0);
    let written = place.cov("--json backup all.tar");
    assert_eq!(written.code, 0, "{}", written.errors);
    assert_snapshot!(written.out, @r#"{"event":"backed_up","file":"[HOME]/all.tar","contents":0,"bytes":[N]}"#);

    let refused = place.cov("backup all.tar");
    assert_eq!(refused.code, 1);
    assert_snapshot!(refused.errors, @"
      × all.tar exists
      help: choose another name, or replace it with --force
    ");
    let before = fs::read(place.path("all.tar")).unwrap();
    assert_eq!(place.cov("backup --force all.tar").code, 0);
    assert_eq!(place.cov("backup no/such/folder/all.tar").code, 1);
    let mut names: Vec<_> =
        fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".local", "all.tar"], "nothing unfinished is left");

    let used = place.cov("restore all.tar");
    assert_eq!(used.code, 1);
    assert_snapshot!(used.errors, @"
      × the backup was not restored (exit status: 1)
      help: all.tar is not restored
              because: [HOME]/.local/share/cov is not empty; a backup is restored into an empty folder
              hint: nothing was changed; choose another backup, or another folder with --data-dir
    ");
    let restored = place.cov("restore all.tar --data-dir elsewhere");
    assert_eq!(restored.code, 0, "{}", restored.errors);
    assert_snapshot!(restored.out, @"Restored 0 dispatches and 0 large contents into [HOME]/elsewhere.");
    assert_eq!(place.cov("stop").code, 0);
    assert_eq!(place.cov("start --data-dir elsewhere").code, 0);
    assert_eq!(place.cov("stop").code, 0);

    fs::write(place.path("short.tar"), &before[..before.len() - 700]).unwrap();
    let cut_off = place.cov("restore short.tar --data-dir third");
    assert_eq!(cut_off.code, 1);
    assert!(cut_off.errors.contains("short.tar cannot be used: it is cut off"), "{cut_off:?}");
    assert!(!place.path("third").exists());
    let missing = place.cov("restore none.tar --data-dir third");
    assert!(missing.errors.contains("none.tar cannot be read"), "{missing:?}");
}
