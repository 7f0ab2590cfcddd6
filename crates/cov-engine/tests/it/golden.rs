//! Committed texts that a test generates again. `UPDATE=1` rewrites them.

use std::path::Path;

/// Compares `text` with the committed file at `path`, relative to the crate.
pub(crate) fn compare(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    if committed == text {
        return;
    }
    let differing = committed
        .lines()
        .zip(text.lines())
        .enumerate()
        .find(|(_, (old, new))| old != new)
        .map_or_else(
            || "one is longer than the other".to_owned(),
            |(index, (old, new))| {
                format!("line {}:\n  committed  {old}\n  now        {new}", index + 1)
            },
        );
    panic!("{path} is not what the code does; UPDATE=1 rewrites it; {differing}");
}
