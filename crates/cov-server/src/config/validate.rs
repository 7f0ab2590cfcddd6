//! What a configuration must be, beyond the types of its values. All faults are reported at once.

use super::{Config, Fault, Login, WORKERS_MAX, not_expected};

/// Most copies of older databases.
const UPGRADE_COPIES_MAX: usize = 100;

impl Config {
    /// Everything that is wrong with this configuration; nothing if it can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        faults.extend(self.trigger_faults());
        if self.workers == 0 || self.workers > WORKERS_MAX {
            faults.push(out_of_range("workers", self.workers));
        }
        if self.upgrade_copies > UPGRADE_COPIES_MAX {
            faults.push(out_of_range("upgrade_copies", self.upgrade_copies));
        }
        faults.extend(self.limits.faults());
        faults.extend(self.login_fault());
        if self.data_dir.as_os_str().is_empty() || self.data_dir.is_file() {
            let shown = self.data_dir.display().to_string();
            faults.push(not_expected("data_dir", &shown, "no folder"));
        }
        if let Err(error) = crate::telemetry::directives(&self.log_level) {
            faults.push(not_expected("log_level", &self.log_level, &error.to_string()));
        }
        if let Some(folder) = self.executor_dir.as_ref().filter(|folder| !folder.is_dir()) {
            let shown = folder.display().to_string();
            faults.push(not_expected("executor_dir", &shown, "no folder"));
        }
        if let Some(address) = self.dask.as_ref().filter(|address| !address.contains("://")) {
            faults.push(not_expected("dask", address, "no address of a scheduler"));
        }
        if let Some(url) = self.public_url.as_ref().filter(|url| public_host(url).is_none()) {
            faults.push(not_expected("public_url", url, "no address of a server"));
        }
        let bad_hosts = self.allowed_hosts.iter().filter(|host| !is_host_name(host));
        faults.extend(bad_hosts.map(|host| not_expected("allowed_hosts", host, "no host name")));
        faults
    }
}

impl Config {
    /// Whether the server would be open to others: nobody can have a token for a data directory
    /// that does not exist yet.
    pub(super) fn exposure(&self) -> Option<Fault> {
        let is_new = !self.data_dir.join(cov_store::DATABASE).exists();
        (self.is_exposed() && is_new).then(|| self.no_token())
    }

    /// Whether tokens are all that keeps others out.
    pub(crate) fn is_exposed(&self) -> bool {
        !self.insecure && (!self.listen.is_local() || self.login == Login::Always)
    }

    /// What is wrong with a server that nobody can log in to.
    pub(crate) fn no_token(&self) -> Fault {
        let listen = &self.listen;
        let message = match listen.is_local() {
            true => format!("every caller at {listen} needs a token, and there is none"),
            false => {
                format!(
                    "{listen} can be reached from other machines, and there is no token to log in with"
                )
            }
        };
        Fault::new(
            message,
            "make a token with `cov-server --create-token NAME`, or listen on 127.0.0.1; --insecure (COV_INSECURE=true) asks nobody, and lets everybody who reaches the server run programs as its user",
        )
    }

    fn login_fault(&self) -> Option<Fault> {
        let fault = |message: &str, hint: &str| Some(Fault::new(message, hint));
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) | (None, Some(_)) => fault(
                "TLS needs a certificate and its key",
                "give both, --tls-cert and --tls-key, or neither",
            ),
            (Some(_), Some(_)) if self.listen.tcp().is_none() => fault(
                "a Unix socket speaks no TLS",
                "leave --tls-cert and --tls-key out, or listen on an address",
            ),
            _ if self.insecure && self.login == Login::Always => fault(
                "`insecure` and `login = always` contradict each other",
                "give one of the two",
            ),
            _ => None,
        }
    }

    fn trigger_faults(&self) -> Option<Fault> {
        let fault = |message: &str, hint: &str| Some(Fault::new(message, hint));
        match (&self.dispatcher, self.triggers_only, self.no_triggers) {
            (_, true, true) => fault(
                "`triggers_only` and `no_triggers` leave nothing to run",
                "give one of the two",
            ),
            (None, true, _) => fault(
                "`triggers_only` needs the server on which the dispatches are",
                "give --dispatcher or COV_DISPATCHER, such as http://127.0.0.1:48008",
            ),
            (Some(_), false, _) => fault(
                "`dispatcher` means something only with `triggers_only`",
                "add --triggers-only, or leave --dispatcher out",
            ),
            (Some(address), true, _) if cov_client::Client::builder(address).build().is_err() => {
                Some(not_expected("dispatcher", address, "no address"))
            }
            _ => None,
        }
    }
}

impl Config {
    /// The host names that requests may name, beyond those that every server has.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let public = self.public_url.as_deref().and_then(public_host);
        self.allowed_hosts.iter().cloned().chain(public.map(str::to_owned)).collect()
    }
}

/// The host of `https://host:port`, if that is what `url` is.
fn public_host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) | None => rest,
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    is_host_name(host).then_some(host)
}

fn out_of_range(key: &str, value: impl std::fmt::Display) -> Fault {
    not_expected(key, &value.to_string(), "out of range")
}

/// A name or an address without brackets, port or path.
fn is_host_name(host: &str) -> bool {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    is_address || (!host.is_empty() && host.bytes().all(legal))
}
