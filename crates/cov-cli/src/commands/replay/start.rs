//! How a replayed task is started: as a script that people can read and start themselves, and as
//! a process in the foreground.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use cov_core::command::Quote;
use tokio::process::Command;

use crate::error::Error;

/// The name of the script.
pub(super) const SCRIPT: &str = "run.sh";

/// A process in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Start {
    /// The program and its arguments.
    pub(super) words: Vec<String>,
    /// Variables beside those of this process.
    pub(super) variables: Vec<(String, String)>,
    /// Where it runs; here, if nowhere else.
    pub(super) folder: Option<PathBuf>,
    /// What it reads; the terminal, if nothing is named.
    pub(super) stdin: Option<PathBuf>,
}

impl Start {
    /// The same as a script for `sh`.
    pub(super) fn script(&self) -> String {
        let word = |text: &str| Quote::Bare.apply(text).into_owned();
        let path = |path: &Path| word(&path.to_string_lossy());
        let mut lines = vec!["#!/bin/sh".to_owned(), "# The task as it ran.".to_owned()];
        if let Some(folder) = &self.folder {
            lines.push(format!("cd {} || exit 1", path(folder)));
        }
        let variables = self.variables.iter();
        lines.extend(variables.map(|(name, value)| format!("export {name}={}", word(value))));
        let words: Vec<String> = self.words.iter().map(|text| word(text)).collect();
        let stdin = self.stdin.as_deref().map(|stdin| format!(" < {}", path(stdin)));
        lines.push(format!("exec {}{}", words.join(" "), stdin.unwrap_or_default()));
        lines.join("\n") + "\n"
    }

    /// Runs it, and waits for its end. An interrupt at the terminal is for it alone.
    pub(super) async fn run(&self) -> Result<ExitStatus, Error> {
        let Some((program, arguments)) = self.words.split_first() else {
            return Err(Error::Impossible {
                said: "the command has no program".to_owned(),
                hint: "`--keep DIR` writes what there is into a folder".to_owned(),
            });
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(path) = &self.stdin {
            let file = std::fs::File::open(path);
            let file = file.map_err(|source| Error::File {
                what: "the input",
                path: path.clone(),
                source,
            })?;
            command.stdin(Stdio::from(file));
        }
        let mut child = command.spawn().map_err(|source| Error::File {
            what: "the program",
            path: PathBuf::from(program),
            source,
        })?;
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended,
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        ended.map_err(|source| Error::System { what: "waiting for a program", source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_does_the_same() {
        let start = Start {
            words: ["sh", "-c", "echo \"it's $A\""].map(str::to_owned).into(),
            variables: vec![("A".into(), "a b".into())],
            folder: Some("/tmp/a folder".into()),
            stdin: Some("/dev/null".into()),
        };
        insta::assert_snapshot!(start.script(), @r#"
        #!/bin/sh
        # The task as it ran.
        cd '/tmp/a folder' || exit 1
        export A='a b'
        exec sh -c 'echo "it'\''s $A"' < /dev/null
        "#);
    }
}
