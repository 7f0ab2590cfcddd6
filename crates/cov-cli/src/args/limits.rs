//! Options of the server about callers and limits. The values are checked by the server itself.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident, $flag:literal, $value:literal;)*) => {
        /// Who may call, and how much at once.
        #[derive(Debug, Default, ClapArgs)]
        pub(crate) struct AccessOptions {
            /// Certificate for TLS, in PEM; with it, the address speaks https and nothing else
            /// [env: COV_TLS_CERT]
            #[arg(long, value_name = "FILE")]
            tls_cert: Option<PathBuf>,
            /// Private key of the certificate, in PEM [env: COV_TLS_KEY]
            #[arg(long, value_name = "FILE")]
            tls_key: Option<PathBuf>,
            $($(#[$doc])* #[arg(long = $flag, value_name = $value)] $name: Option<String>,)*
        }

        impl AccessOptions {
            /// The options as words of a command line. Paths are made absolute.
            pub(super) fn words(&self) -> std::io::Result<Vec<OsString>> {
                let mut words = Vec::new();
                for (flag, path) in [("--tls-cert", &self.tls_cert), ("--tls-key", &self.tls_key)] {
                    if let Some(path) = path {
                        words.extend([flag.into(), std::path::absolute(path)?.into_os_string()]);
                    }
                }
                $(if let Some(text) = &self.$name {
                    words.extend([concat!("--", $flag).into(), text.into()]);
                })*
                Ok(words)
            }
        }
    };
}

options! {
    /// Who needs a token: remote or always [default: remote] [env: COV_LOGIN]
    login, "login", "WHO";
    /// How long rows of the audit are kept [default: 365] [env: COV_AUDIT_DAYS]
    audit_days, "audit-days", "DAYS";
    /// How many copies of the database from before upgrades are kept [default: 2]
    /// [env: COV_UPGRADE_COPIES]
    upgrade_copies, "upgrade-copies", "N";
    /// Memory that bodies may take together, in bytes [env: COV_LIMITS__BODY_MEMORY_BYTES]
    body_memory_bytes, "limits-body-memory-bytes", "BYTES";
    /// Most connections at once [default: 4096] [env: COV_LIMITS__CONNECTIONS]
    connections, "limits-connections", "N";
    /// Most connections at once from one address [default: 2048]
    /// [env: COV_LIMITS__CONNECTIONS_PER_ADDRESS]
    connections_per_address, "limits-connections-per-address", "N";
    /// Most workflows that are taken in at once [default: 256] [env: COV_LIMITS__REGISTRATIONS]
    registrations, "limits-registrations", "N";
    /// Most uploads at once [default: 1024] [env: COV_LIMITS__UPLOADS]
    uploads, "limits-uploads", "N";
    /// Most other requests at once [default: 2048] [env: COV_LIMITS__REQUESTS]
    requests, "limits-requests", "N";
    /// Most requests of one token or address in a second [default: 2000]
    /// [env: COV_LIMITS__REQUESTS_PER_SECOND]
    requests_per_second, "limits-requests-per-second", "N";
    /// Most refused tokens of one address in a minute [default: 60]
    /// [env: COV_LIMITS__REFUSALS_PER_MINUTE]
    refusals_per_minute, "limits-refusals-per-minute", "N";
    /// Longest wait for a request, and for a client that reads nothing [default: 30]
    /// [env: COV_LIMITS__IDLE_SECONDS]
    idle_seconds, "limits-idle-seconds", "SECONDS";
    /// Longest wait for the next bytes of a body [default: 30] [env: COV_LIMITS__BODY_SECONDS]
    body_seconds, "limits-body-seconds", "SECONDS";
    /// What a client that sends a body has to keep up [default: 1024]
    /// [env: COV_LIMITS__BODY_BYTES_PER_SECOND]
    body_bytes_per_second, "limits-body-bytes-per-second", "BYTES";
    /// How long the signed address of an asset is valid [default: 86400]
    /// [env: COV_LIMITS__ADDRESS_SECONDS]
    address_seconds, "limits-address-seconds", "SECONDS";
    /// What may be kept in the data directory, in bytes [default: 0, no limit]
    /// [env: COV_LIMITS__DISK_BYTES]
    disk_bytes, "limits-disk-bytes", "BYTES";
    /// How large the database may become, in bytes [default: 0, no limit]
    /// [env: COV_LIMITS__DATABASE_BYTES]
    database_bytes, "limits-database-bytes", "BYTES";
    /// What stays free on the disk, in bytes [default: 134217728] [env: COV_LIMITS__FREE_BYTES]
    free_bytes, "limits-free-bytes", "BYTES";
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        access: AccessOptions,
    }

    #[test]
    fn every_option_is_handed_on() {
        let given = [
            "--tls-cert",
            "/c.pem",
            "--tls-key",
            "/k.pem",
            "--login",
            "always",
            "--audit-days",
            "1",
            "--upgrade-copies",
            "0",
            "--limits-body-memory-bytes",
            "2",
            "--limits-connections",
            "3",
            "--limits-connections-per-address",
            "4",
            "--limits-registrations",
            "5",
            "--limits-uploads",
            "6",
            "--limits-requests",
            "7",
            "--limits-requests-per-second",
            "8",
            "--limits-refusals-per-minute",
            "9",
            "--limits-idle-seconds",
            "10",
            "--limits-body-seconds",
            "11",
            "--limits-body-bytes-per-second",
            "12",
            "--limits-address-seconds",
            "13",
            "--limits-disk-bytes",
            "14",
            "--limits-database-bytes",
            "15",
            "--limits-free-bytes",
            "16",
        ];
        let line = Line::try_parse_from(["cov"].iter().chain(&given)).unwrap();
        assert_eq!(line.access.words().unwrap(), given);
        assert_eq!(AccessOptions::default().words().unwrap(), Vec::<OsString>::new());
    }
}
