//! Everything this program prints goes through here.
//!
//! Results and progress go to stdout, faults to stderr. No colours: the output is read in logs as often as on screens.

/// Prints one line of progress or of results.
#[expect(clippy::print_stdout, reason = "a command-line tool talks on stdout")]
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// Prints a remark where it does not mix with what another program prints on stdout.
#[expect(clippy::print_stderr, reason = "stdout belongs to somebody else")]
pub(crate) fn aside(text: &str) {
    eprintln!("{text}");
}

/// Prints one fault.
#[expect(clippy::print_stderr, reason = "a command-line tool complains on stderr")]
pub(crate) fn error(text: &str) {
    eprintln!("error: {text}");
}

/// Prints the findings of a check, each on its own line, and turns them into the check's verdict.
///
/// # Errors
///
/// One error that counts the findings, if there are any.
pub(crate) fn verdict(check: &str, findings: &[String], clean: &str) -> anyhow::Result<()> {
    if findings.is_empty() {
        line(&format!("{check}: {clean}"));
        return Ok(());
    }
    for finding in findings {
        line(&format!("{check}: {finding}"));
    }
    anyhow::bail!("{check}: {} finding(s)", findings.len())
}
