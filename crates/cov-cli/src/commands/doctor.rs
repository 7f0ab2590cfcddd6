//! `cov doctor`: looks at everything that tasks need, and says what to do about what is amiss.
//! Changes nothing.

mod places;

use std::path::{Path, PathBuf};

use cov_client::{Client, RetryPolicy};

use crate::args::{Doctor, ServerOptions};
use crate::commands::config::settings;
use crate::commands::{ANSWER_TIMEOUT, version};
use crate::context::Context;
use crate::error::{Code, Error};
use crate::server_process::{program, python};
use crate::view::upkeep::{Check, Diagnosis, Settings};

const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The oldest Python that runs tasks.
const PYTHON_OLDEST: [u32; 2] = [3, 8];

/// The SDK that this server is made for.
const SDK_VERSION: &str = "0.240.0";

pub(super) async fn run(context: &Context, asked: &Doctor) -> Result<Code, Error> {
    let mut checks = vec![programs().await];
    let settings = match settings(context, &ServerOptions::default()).await {
        Ok(settings) => Some(settings),
        Err(Error::NoServerProgram { .. }) => None,
        Err(error) => {
            let advice = match &error {
                Error::ServerProgram { said, .. } => said.trim().to_owned(),
                other => other.to_string(),
            };
            checks.push(Check::bad("settings", error.to_string(), advice));
            None
        }
    };
    let value = |key: &str| settings.as_ref().and_then(|settings| value(settings, key));
    let (reached, server) = server(context).await?;
    checks.push(server);
    if !reached {
        checks.extend(value("listen").map(|listen| places::port(&listen)));
    }
    let chosen = asked.python.clone().or_else(|| value("python").map(PathBuf::from));
    checks.extend(python_checks(&chosen.unwrap_or_else(python::usual)).await);
    checks.extend(places::sdk(&context.address()?));
    if let Some(data) = value("data_dir") {
        checks.extend(places::data(Path::new(&data)));
    }
    checks.push(places::state(&context.state.log()));
    checks.push(places::open_files());
    let diagnosis = Diagnosis { checks };
    context.printer.print(&diagnosis)?;
    Ok(if diagnosis.is_bad() { Code::Failed } else { Code::Done })
}

/// A setting as text.
fn value(settings: &Settings, key: &str) -> Option<String> {
    let found = settings.settings.iter().find(|setting| setting.key == key)?.value.clone()?;
    // Texts in TOML are written as in JSON, as far as settings go.
    Some(serde_json::from_str::<String>(&found).unwrap_or(found))
}

async fn programs() -> Check {
    const NAME: &str = "programs";
    let Ok(path) = program() else {
        let advice = "install both programs into the same folder, or put cov-server on PATH";
        return Check::bad(NAME, "there is no cov-server", advice);
    };
    let path = path.display();
    match version::installed().await {
        Some(version) if version == OWN_VERSION => {
            Check::good(NAME, format!("cov and cov-server {version}"))
        }
        Some(version) => Check::warning(
            NAME,
            format!("cov is {OWN_VERSION}, {path} is {version}"),
            "install both programs from the same release",
        ),
        None => Check::bad(NAME, format!("{path} does not run"), "install it again"),
    }
}

/// Whether the server is there, and of which version.
async fn server(context: &Context) -> Result<(bool, Check), Error> {
    const NAME: &str = "server";
    let address = context.address()?;
    let client = Client::builder(address.as_str())
        .retry(RetryPolicy::never())
        .try_timeout(ANSWER_TIMEOUT)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let advice = "name a server with --server or COV_SERVER";
            return Ok((false, Check::bad(NAME, error.to_string(), advice)));
        }
    };
    let health = match client.health().await {
        Ok(health) => health,
        Err(_) => {
            let record = context.state.running()?;
            let check = match record {
                Some(record) => Check::bad(
                    NAME,
                    format!("process {} runs and does not answer at {address}", record.pid),
                    "`cov logs` shows what it does; `cov restart` starts it anew",
                ),
                None => Check::warning(
                    NAME,
                    format!("none can be reached at {address}"),
                    "`cov start` starts one",
                ),
            };
            return Ok((false, check));
        }
    };
    let version = health.version.unwrap_or_else(|| "of unknown version".to_owned());
    let is_ready = client.ready().await.unwrap_or(false);
    let found = format!("{address}, {version}");
    let check = match (is_ready, version == OWN_VERSION) {
        (false, _) => Check::warning(
            NAME,
            format!("{found}, takes no work now"),
            "it starts or stops; look again in a moment",
        ),
        (true, true) => Check::good(NAME, format!("ready at {found}")),
        (true, false) => Check::warning(
            NAME,
            format!("ready at {found}, and cov is {OWN_VERSION}"),
            "`cov restart` starts the version that is installed",
        ),
    };
    Ok((true, check))
}

/// The Python that tasks run with, and its packages.
async fn python_checks(path: &Path) -> Vec<Check> {
    let shown = path.display();
    let said = match python::ask(path).await {
        Ok(said) => said,
        Err(why) => {
            let advice = "install Python 3.8 or newer, or name one: `cov restart --python PYTHON`";
            return vec![Check::bad("python", format!("{shown} cannot be run: {why}"), advice)];
        }
    };
    let [major, minor, patch] = said.version;
    let executable = said.executable.display();
    let found = format!("{major}.{minor}.{patch}, {executable}");
    if [major, minor] < PYTHON_OLDEST {
        let advice = "tasks need 3.8 or newer; name one: `cov restart --python PYTHON`";
        return vec![Check::bad("python", found, advice)];
    }
    let install = |package: &str| format!("{executable} -m pip install {package}");
    let cloudpickle = match &said.cloudpickle {
        Some(version) => Check::good("cloudpickle", version.as_str()),
        None => Check::bad(
            "cloudpickle",
            "it is not installed, and no task runs without it",
            install("cloudpickle"),
        ),
    };
    let covalent = match said.covalent.as_deref() {
        Some(SDK_VERSION) => Check::good("covalent", SDK_VERSION),
        Some(other) => Check::warning(
            "covalent",
            format!("{other}; this server is made for {SDK_VERSION}"),
            install(&format!("covalent=={SDK_VERSION}")),
        ),
        None => Check::warning(
            "covalent",
            "it is not installed; tasks of most SDK workflows need it, others do not",
            install(&format!("covalent=={SDK_VERSION}")),
        ),
    };
    vec![Check::good("python", found), cloudpickle, covalent]
}
