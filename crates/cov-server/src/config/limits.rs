//! The limits, each with its default and its range. What they mean is said in the table of
//! settings.

use super::{Fault, Reader, not_expected};

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $default:expr, $range:expr;)*) => {
        /// What one client may ask for, and all of them together.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $name: $kind,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            pub(super) fn read(&mut self, reader: &mut Reader<'_>) {
                $(reader.put(concat!("limits.", stringify!($name)), &mut self.$name);)*
            }

            /// A value as TOML writes it.
            pub(super) fn toml_value(&self, key: &str) -> Option<String> {
                match key.strip_prefix("limits.")? {
                    $(stringify!($name) => Some(self.$name.to_string()),)*
                    _ => None,
                }
            }

            pub(super) fn faults(&self) -> Vec<Fault> {
                let mut faults = Vec::new();
                $(if !($range).contains(&self.$name) {
                    let key = concat!("limits.", stringify!($name));
                    faults.push(not_expected(key, &self.$name.to_string(), "out of range"));
                })*
                if self.body_memory_bytes < self.manifest_bytes {
                    let reason = "less than limits.manifest_bytes";
                    let value = self.body_memory_bytes.to_string();
                    faults.push(not_expected("limits.body_memory_bytes", &value, reason));
                }
                faults
            }
        }
    };
}

limits! {
    /// Most nodes of one workflow.
    nodes: usize = 2_000_000, 1..=u32::MAX as usize;
    /// Longest registration. Bytes.
    manifest_bytes: u64 = 512 << 20, 1024..;
    /// Longest upload. Bytes.
    upload_bytes: u64 = 16 << 30, 1024..;
    /// What bodies may take together while they are read. Bytes.
    body_memory_bytes: u64 = 1 << 30, 1024..=1 << 41;
    /// Most connections at once.
    connections: usize = 4_096, 1..=1_000_000;
    /// Most connections at once from one address.
    connections_per_address: usize = 2_048, 1..=1_000_000;
    /// Most registrations at once.
    registrations: usize = 256, 1..=1_000_000;
    /// Most uploads at once.
    uploads: usize = 1_024, 1..=1_000_000;
    /// Most other requests at once.
    requests: usize = 2_048, 1..=1_000_000;
    /// Most requests of one token or address. For a second; 0 is no limit.
    requests_per_second: u32 = 2_000, 0..;
    /// Most refused tokens of one address. For a minute; 0 is no limit.
    refusals_per_minute: u32 = 60, 0..;
    /// Longest wait for a request, and for a client that reads nothing. Seconds.
    idle_seconds: u64 = 30, 1..=86_400;
    /// Longest wait for the next bytes of a body. Seconds.
    body_seconds: u64 = 30, 1..=86_400;
    /// What a sender of a body has to keep up. Bytes for a second.
    body_bytes_per_second: u64 = 1_024, 0..;
    /// How long a signed address is valid. Seconds.
    address_seconds: u64 = 86_400, 60..=31_536_000;
    /// What may be kept in the data directory. Bytes; 0 is no limit.
    disk_bytes: u64 = 0, 0..;
    /// How large the database may become. Bytes; 0 is no limit.
    database_bytes: u64 = 0, 0..;
    /// What stays free on the disk. Bytes; 0 is no floor.
    free_bytes: u64 = 128 << 20, 0..;
}
