//! What a panic said, where, and on the way from where.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Frames of a backtrace below the task's own code begin with this one.
const OWN_FRAME: &str = "cov::runner::";

/// Notes panics from now on, and with `prints` prints them as ever.
pub(super) fn install(prints: bool) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if prints {
            usual(info);
        }
        LAST.with_borrow_mut(|last| *last = Some(describe(info)));
    }));
}

/// Runs `f`; a panic in it is returned as a text.
pub(super) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    LAST.with_borrow_mut(Option::take);
    // Whatever the task left half done goes with it: nothing of it is used again.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let noted = LAST.with_borrow_mut(Option::take);
        noted.unwrap_or_else(|| format!("the task panicked: {}", message(&*payload)))
    })
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let said = message(info.payload());
    let backtrace = Backtrace::force_capture().to_string();
    format!("panicked at {place}:\n{said}\n\nbacktrace:\n{}", users_part(&backtrace))
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(the panic has no text)")
}

/// The frames from the panic down to those of the runner.
fn users_part(backtrace: &str) -> String {
    let lines: Vec<&str> = backtrace.lines().collect();
    let is_frame =
        |line: &str, name: &str| line.split_once(": ").is_some_and(|(_, at)| at.contains(name));
    let begin = lines.iter().rposition(|line| {
        ["begin_panic_handler", "rust_begin_unwind", "core::panicking::", "__rustc::"]
            .iter()
            .any(|name| is_frame(line, name))
    });
    // Each frame may have a second line with its place.
    let begin = begin.map_or(0, |at| {
        let second = lines.get(at + 1).is_some_and(|line| line.trim_start().starts_with("at "));
        at + 1 + usize::from(second)
    });
    let rest = lines.get(begin..).unwrap_or_default();
    let end = rest.iter().position(|line| is_frame(line, OWN_FRAME)).unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest).join("\n")
}
