//! What a configuration must be, beyond the types of its values. All faults are reported at once.

use super::{Config, Fault, WORKERS_MAX, not_expected};

const BYTES_MIN: u64 = 1024;

impl Config {
    /// Everything that is wrong with this configuration; nothing if it can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !self.listen.is_local() && !self.insecure {
            faults.push(Fault::new(
                format!("{} can be reached from other machines, and there is no protection yet: whoever reaches the server can run programs as its user", self.listen),
                "listen on 127.0.0.1, or add --insecure (COV_INSECURE=true) if everybody in that network may do that",
            ));
        }
        faults.extend(self.trigger_faults());
        if self.workers == 0 || self.workers > WORKERS_MAX {
            faults.push(out_of_range("workers", self.workers));
        }
        if self.limits.nodes == 0 || u32::try_from(self.limits.nodes).is_err() {
            faults.push(out_of_range("limits.nodes", self.limits.nodes));
        }
        for (key, bytes) in [
            ("limits.manifest_bytes", self.limits.manifest_bytes),
            ("limits.upload_bytes", self.limits.upload_bytes),
        ] {
            if bytes < BYTES_MIN {
                faults.push(out_of_range(key, bytes));
            }
        }
        if self.data_dir.as_os_str().is_empty() || self.data_dir.is_file() {
            let shown = self.data_dir.display().to_string();
            faults.push(not_expected("data_dir", &shown, "no folder"));
        }
        if let Err(error) = crate::telemetry::directives(&self.log_level) {
            faults.push(not_expected("log_level", &self.log_level, &error.to_string()));
        }
        let bad_hosts = self.allowed_hosts.iter().filter(|host| !is_host_name(host));
        faults.extend(bad_hosts.map(|host| not_expected("allowed_hosts", host, "no host name")));
        faults
    }
}

impl Config {
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

fn out_of_range(key: &str, value: impl std::fmt::Display) -> Fault {
    not_expected(key, &value.to_string(), "out of range")
}

/// A name or an address without brackets, port or path.
fn is_host_name(host: &str) -> bool {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    is_address || (!host.is_empty() && host.bytes().all(legal))
}
