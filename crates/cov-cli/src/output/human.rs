//! Reports for people.

use super::{Report, Restored, Running};

pub(super) fn text(report: &Report) -> String {
    match report {
        Report::Started { address, pid, log } => {
            format!("The server is ready at {address} (process {pid}). Its log: {}", log.display())
        }
        Report::AlreadyRunning { address, pid } => {
            format!("A server runs already at {address} (process {pid}).")
        }
        Report::Stopped { under_way, .. } => stopped(*under_way),
        Report::NotRunning => "No server runs in the background.".to_owned(),
        Report::Status(running) => status(running),
        Report::Purged { dry_run, dispatches, contents, bytes } => {
            let verb = if *dry_run { "Would remove" } else { "Removed" };
            format!("{verb} {dispatches} dispatches and {contents} contents of {bytes} bytes.")
        }
        Report::BackedUp { file, contents, bytes } => format!(
            "Wrote the database and {contents} large contents, {bytes} bytes, to {}.",
            file.display()
        ),
        Report::Restored(Restored { data_dir, dispatches, contents, .. }) => format!(
            "Restored {dispatches} dispatches and {contents} large contents into {}.",
            data_dir.display()
        ),
        Report::Version { client, server_installed, server_running } => {
            versions(client, server_installed.as_deref(), server_running.as_deref())
        }
    }
}

fn stopped(under_way: Option<u64>) -> String {
    let rest = match under_way {
        None => "Dispatches that have not ended go on at the next start.".to_owned(),
        Some(0) => "No dispatch was under way.".to_owned(),
        Some(1) => {
            "1 dispatch was under way; unless it ended meanwhile, it goes on at the next start."
                .to_owned()
        }
        Some(count) => {
            format!(
                "{count} dispatches were under way; those that have not ended meanwhile go on at the next start."
            )
        }
    };
    format!("The server has stopped. {rest}")
}

fn status(running: &Running) -> String {
    let state = if running.ready { "ready" } else { "stopping" };
    let uptime = running.uptime_seconds.map_or("unknown".to_owned(), duration);
    let version = running.version.as_deref().unwrap_or("unknown");
    let Running { address, pid, dispatches_under_way, .. } = running;
    format!(
        "state                 {state}\n\
         address               {address}\n\
         process               {pid}\n\
         up for                {uptime}\n\
         version               {version}\n\
         dispatches under way  {dispatches_under_way}"
    )
}

fn versions(client: &str, installed: Option<&str>, running: Option<&str>) -> String {
    let installed = installed.unwrap_or("none found");
    let running = running.unwrap_or("none");
    format!(
        "cov                 {client}\ncov-server          {installed}\nserver that runs    {running}"
    )
}

/// The two largest units of a span of time.
fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let parts = units.map(|(unit, length)| {
        let count = rest / length;
        rest %= length;
        (count, unit)
    });
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let shown = parts[first..].iter().take(2).map(|(count, unit)| format!("{count} {unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_661, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn what_remains_is_said_in_whole_sentences() {
        assert!(stopped(Some(1)).contains("1 dispatch was"));
        assert!(stopped(Some(2)).contains("2 dispatches were"));
        assert!(stopped(None).ends_with("go on at the next start."));
    }
}
