//! What every command gets: where to print, which server is meant, and the way to it.

use std::time::Duration;

use cov_client::{Builder, Client, Kind, RetryPolicy};
use cov_core::error::ErrorCode;

use crate::error::Error;
use crate::output::Printer;
use crate::server_process::State;

/// Where a server listens that was started with no options.
const ADDRESS_DEFAULT: &str = "http://127.0.0.1:48008";

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client in the making for `address`. It logs in with the token in `COV_TOKEN`, and trusts the
/// certificates in the file that `COV_CA_FILE` names beside those of the system. Both are not
/// options, since others can see a command line.
pub(crate) fn builder(address: &str) -> Builder {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let mut builder = Client::builder(address);
    if let Some(token) = set("COV_TOKEN") {
        builder = builder.token(token);
    }
    if let Some(path) = set("COV_CA_FILE") {
        match std::fs::read(&path) {
            Ok(pem) => builder = builder.certificates(pem),
            Err(error) => tell(&path, &error),
        }
    }
    builder
}

/// The command goes on: the system may trust the certificate.
fn tell(path: &str, error: &std::io::Error) {
    use std::io::Write as _;
    // Nobody is left to tell if the error stream is closed.
    writeln!(std::io::stderr(), "cov: COV_CA_FILE: {path} cannot be read: {error}").ok();
}

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) state: State,
    /// The server that was named on the command line.
    server: Option<String>,
}

/// How often a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Once.
    Once,
    /// Until a server that restarts is there again.
    OverRestarts,
}

impl Context {
    pub(crate) fn new(printer: Printer, server: Option<String>) -> Result<Self, Error> {
        Ok(Self { printer, state: State::of_user()?, server })
    }

    /// The address of the server: the one that was named, else that of the server in the
    /// background, else the usual one.
    pub(crate) fn address(&self) -> Result<String, Error> {
        if let Some(named) = &self.server {
            return Ok(named.clone());
        }
        let running = self.state.running()?.map(|record| record.address);
        Ok(running.unwrap_or_else(|| ADDRESS_DEFAULT.to_owned()))
    }

    /// A client for a call that may take long, asked once; `None` when no server was named and
    /// none runs in the background.
    pub(crate) fn client_for(&self, limit: Duration) -> Result<Option<Client>, Error> {
        if self.server.is_none() && self.state.running()?.is_none() {
            return Ok(None);
        }
        let builder = builder(&self.address()?).try_timeout(limit).retry(RetryPolicy::never());
        builder.build().map(Some).map_err(|error| unusable(&error))
    }

    /// A client for that server.
    pub(crate) fn client(&self, patience: Patience) -> Result<Client, Error> {
        let address = self.address()?;
        let builder = builder(&address).try_timeout(ANSWER_TIMEOUT);
        let builder = match patience {
            Patience::Once => builder.retry(RetryPolicy::never()),
            Patience::OverRestarts => builder,
        };
        builder.build().map_err(|error| unusable(&error))
    }

    /// An error of the client, as this program tells it.
    pub(crate) fn told(&self, error: cov_client::Error) -> Error {
        match error.kind() {
            Kind::Unreachable | Kind::TimedOut => Error::Unreachable {
                address: self.address().unwrap_or_default(),
                hint: self.hint(),
                cause: error,
            },
            Kind::NotFound => {
                let (said, hint) = words(&error);
                Error::NotFound { said, hint }
            }
            _ => {
                let (said, hint) = words(&error);
                Error::Answered { said, hint }
            }
        }
    }

    fn hint(&self) -> &'static str {
        match &self.server {
            Some(_) => {
                "it was named by --server or COV_SERVER; `cov status` shows the server in the background"
            }
            None => "`cov start` starts a server; --server names another one",
        }
    }
}

/// An address that is none.
fn unusable(error: &cov_client::Error) -> Error {
    Error::Usage {
        said: error.to_string(),
        hint: "name a server with --server or COV_SERVER".to_owned(),
    }
}

/// What the server said, and what to do about it.
fn words(error: &cov_client::Error) -> (String, String) {
    let said = match error.problem() {
        Some(problem) => format!("{} ({})", problem.detail.trim_end_matches('.'), problem.code),
        None => {
            let causes = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", causes.unwrap_or_default())
        }
    };
    (said, hint_of(error))
}

/// What to do about what the server said.
pub(crate) fn hint_of(error: &cov_client::Error) -> String {
    let Some(problem) = error.problem() else {
        return "`cov logs` shows what the server says of it".to_owned();
    };
    let code = problem.code;
    match code {
        ErrorCode::Unauthenticated => {
            "set COV_TOKEN to a token; on the server's machine, `cov token create NAME` makes one"
                .to_owned()
        }
        ErrorCode::ScopeMissing => {
            "set COV_TOKEN to a token with that scope; `cov token create NAME --scope SCOPE` makes \
             one"
            .to_owned()
        }
        _ => problem.hint.clone().unwrap_or_else(|| {
            format!("`cov logs` shows what the server says of it; the book explains {code}")
        }),
    }
}
