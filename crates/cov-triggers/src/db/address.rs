//! Reads the connection strings of SQLAlchemy, in which the seed's users write where their
//! database is. Connects to nothing; never shows a password.

use std::fmt;
use std::path::PathBuf;

/// A database that can be reached from here.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// What it speaks.
    pub dialect: Dialect,
    /// Who asks.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The machine; `None` is the usual place of the dialect.
    pub host: Option<String>,
    /// The port; `None` is the usual one of the dialect.
    pub port: Option<u16>,
    /// The database; a path for SQLite.
    pub database: String,
    /// Further settings: names and values that [`Address::parse`] knows.
    pub settings: Vec<(Setting, String)>,
}

/// What a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// A file of SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// A setting of a connection that makes a difference here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Whether and how strictly TLS is used, in the words of PostgreSQL.
    SslMode,
    /// The file with the authorities that a server's certificate is checked against.
    SslRoot,
    /// The file with the client's certificate.
    SslCertificate,
    /// The file with the client's key.
    SslKey,
    /// The path of a local socket.
    Socket,
    /// How this client calls itself.
    ApplicationName,
    /// Options for the server's session.
    Options,
    /// How long connecting may take, in seconds.
    ConnectTimeout,
    /// How texts are compared.
    Collation,
}

/// Why a connection string is no address. Never holds the string itself: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has another form.
    #[error("is no connection string like `postgresql://user:password@host:5432/database`")]
    Form,
    /// Nobody here speaks that.
    #[error("names the dialect `{dialect}`, which is not spoken here; known are {known}")]
    Dialect {
        /// What it names.
        dialect: String,
        /// What is spoken.
        known: String,
    },
    /// A part of it is impossible.
    #[error("{0}")]
    Part(String),
}

/// Drivers of Python by dialect. Which one it is makes no difference here.
const DRIVERS: &[(&str, Dialect, &[&str])] = &[
    ("sqlite", Dialect::Sqlite, &["pysqlite", "aiosqlite"]),
    (
        "postgresql",
        Dialect::Postgres,
        &["psycopg2", "psycopg", "psycopg_async", "asyncpg", "pg8000", "psycopg2cffi", "pygresql"],
    ),
    ("postgres", Dialect::Postgres, &[]),
    ("mysql", Dialect::MySql, MYSQL_DRIVERS),
    ("mariadb", Dialect::MySql, MYSQL_DRIVERS),
];
const MYSQL_DRIVERS: &[&str] = &[
    "pymysql",
    "mysqldb",
    "mysqlconnector",
    "mariadbconnector",
    "asyncmy",
    "aiomysql",
    "cymysql",
    "oursql",
];

/// What Python's drivers are told, and nobody needs here.
const IGNORED: &[&str] = &[
    "check_same_thread",
    "isolation_level",
    "detect_types",
    "cached_statements",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "async_fallback",
    "use_unicode",
    "local_infile",
    "autocommit",
    "binary_prefix",
    "read_timeout",
    "write_timeout",
];

impl Dialect {
    /// The dialects that this build speaks.
    pub const SPOKEN: &'static [Self] = &[
        #[cfg(feature = "sqlite")]
        Self::Sqlite,
        #[cfg(feature = "postgres")]
        Self::Postgres,
        #[cfg(feature = "mysql")]
        Self::MySql,
    ];

    /// How connection strings of this dialect begin.
    #[must_use]
    pub fn names(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
            Self::MySql => "mysql, mariadb",
        }
    }
}

impl Address {
    /// Reads a connection string of SQLAlchemy, like `postgresql+psycopg2://user@host/database`.
    ///
    /// Names of Python's drivers are accepted and make no difference. User and password may be
    /// percent-encoded. `sqlite:///below` is relative to where this process runs,
    /// `sqlite:////var/x.db` is not.
    ///
    /// # Errors
    /// It has another form, names a dialect that is not spoken here, or asks for something that
    /// would be ignored.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Form)?;
        let dialect = dialect(scheme)?;
        let (user, password, rest) = split_user(rest);
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let (place, database) = match place.split_once('/') {
            Some((place, database)) => (place, Some(database)),
            None => (place, None),
        };
        let (host, port) = split_host(place)?;
        let mut address = Self {
            dialect,
            user: user.map(|text| decoded(text, "user")).transpose()?,
            password: password.map(|text| decoded(text, "password")).transpose()?,
            host: host.map(ToOwned::to_owned),
            port,
            database: database.unwrap_or_default().to_owned(),
            settings: Vec::new(),
        };
        for (name, value) in form_pairs(query.unwrap_or_default()) {
            address.set(&name, value)?;
        }
        address.checked()
    }

    /// A file of SQLite, by its path.
    ///
    /// # Errors
    /// It names no file.
    pub fn file(path: &str) -> Result<Self, AddressError> {
        let address = Self {
            dialect: Dialect::Sqlite,
            user: None,
            password: None,
            host: None,
            port: None,
            database: path.to_owned(),
            settings: Vec::new(),
        };
        address.checked()
    }

    /// The value of a setting.
    #[must_use]
    pub fn setting(&self, setting: Setting) -> Option<&str> {
        let mut values = self.settings.iter().filter(|(name, _)| *name == setting);
        values.next_back().map(|(_, value)| value.as_str())
    }

    /// The path of a SQLite file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.database)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), AddressError> {
        if IGNORED.contains(&name) {
            return Ok(());
        }
        let setting = match (self.dialect, name) {
            (Dialect::Sqlite, "timeout") => return Ok(()),
            (Dialect::Postgres, "host" | "unix_sock") if value.starts_with('/') => Setting::Socket,
            (Dialect::Postgres, "host" | "hostaddr") if !value.contains(',') => {
                self.host = Some(value);
                return Ok(());
            }
            (Dialect::Postgres, "port") => {
                self.port = Some(port(&value)?);
                return Ok(());
            }
            (Dialect::Postgres, "user") => {
                self.user = Some(value);
                return Ok(());
            }
            (Dialect::Postgres, "password") => {
                self.password = Some(value);
                return Ok(());
            }
            (Dialect::Postgres, "dbname") => {
                self.database = value;
                return Ok(());
            }
            (Dialect::Postgres, "sslmode" | "ssl") => return self.set_ssl(&value),
            (Dialect::Postgres, "sslrootcert") | (Dialect::MySql, "ssl_ca") => Setting::SslRoot,
            (Dialect::Postgres, "sslcert") | (Dialect::MySql, "ssl_cert") => {
                Setting::SslCertificate
            }
            (Dialect::Postgres, "sslkey") | (Dialect::MySql, "ssl_key") => Setting::SslKey,
            (Dialect::Postgres, "application_name") => Setting::ApplicationName,
            (Dialect::Postgres, "options") => Setting::Options,
            (Dialect::Postgres | Dialect::MySql, "connect_timeout") => Setting::ConnectTimeout,
            (Dialect::MySql, "charset") if value.starts_with("utf8") => return Ok(()),
            (Dialect::MySql, "collation") => Setting::Collation,
            (Dialect::MySql, "unix_socket") => Setting::Socket,
            (Dialect::MySql, "ssl_mode") => return self.set_ssl(&value),
            (Dialect::MySql, "ssl_disabled") if is_yes(&value) => return self.set_ssl("disable"),
            (Dialect::MySql, "ssl_verify_identity") if is_yes(&value) => {
                return self.set_ssl("verify-full");
            }
            (Dialect::MySql, "ssl_disabled" | "ssl_verify_identity") => return Ok(()),
            _ => return Err(unknown_setting(name)),
        };
        if setting == Setting::ConnectTimeout && value.parse::<u16>().is_err() {
            return Err(AddressError::Part("has a `connect_timeout` that is no number".to_owned()));
        }
        self.settings.push((setting, value));
        Ok(())
    }

    fn set_ssl(&mut self, value: &str) -> Result<(), AddressError> {
        let mode = match value.to_ascii_lowercase().replace('_', "-").as_str() {
            "disable" | "disabled" | "false" => "disable",
            "allow" => "allow",
            "prefer" | "preferred" => "prefer",
            "require" | "required" | "true" => "require",
            "verify-ca" => "verify-ca",
            "verify-full" | "verify-identity" => "verify-full",
            _ => {
                let words = "disable, allow, prefer, require, verify-ca, verify-full";
                return Err(AddressError::Part(format!(
                    "has an unknown TLS mode; known are {words}"
                )));
            }
        };
        self.settings.push((Setting::SslMode, mode.to_owned()));
        Ok(())
    }

    fn checked(self) -> Result<Self, AddressError> {
        let refused = |reason: &str| Err(AddressError::Part(reason.to_owned()));
        if !Dialect::SPOKEN.contains(&self.dialect) {
            return Err(not_spoken(self.dialect.names()));
        }
        if self.database.contains('\0') {
            return refused("holds a character of value 0");
        }
        if self.dialect != Dialect::Sqlite {
            return Ok(self);
        }
        if self.host.is_some() {
            return refused("names a machine; a path begins after three slashes: sqlite:///x.db");
        }
        if self.database.is_empty() || self.database == ":memory:" {
            return refused("names no file, and a database in memory is seen by nobody else");
        }
        if self.database.starts_with("file:") {
            return refused("is a URI of SQLite; a path is expected: sqlite:////var/x.db");
        }
        Ok(self)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("dialect", &self.dialect)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

fn dialect(scheme: &str) -> Result<Dialect, AddressError> {
    let lower = scheme.to_ascii_lowercase();
    let (name, driver) = match lower.split_once('+') {
        Some((name, driver)) => (name, Some(driver)),
        None => (lower.as_str(), None),
    };
    let well_formed = !name.is_empty()
        && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte));
    if !well_formed {
        return Err(AddressError::Form);
    }
    let known = DRIVERS.iter().find(|(known, _, _)| *known == name);
    let Some((_, dialect, _)) =
        known.filter(|(_, _, drivers)| driver.is_none_or(|driver| drivers.contains(&driver)))
    else {
        return Err(not_spoken(&lower));
    };
    Ok(*dialect)
}

fn not_spoken(dialect: &str) -> AddressError {
    let spoken: Vec<&str> = Dialect::SPOKEN.iter().map(|dialect| dialect.names()).collect();
    AddressError::Dialect { dialect: dialect.chars().take(40).collect(), known: spoken.join(", ") }
}

/// Splits `user:password@rest` the way SQLAlchemy does: a password ends at the first `@`, and a
/// user without a password at the last one.
fn split_user(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let stop = text.find([':', '/']).unwrap_or(text.len());
    let (start, tail) = text.split_at(stop);
    if let Some((password, rest)) = tail.strip_prefix(':').and_then(|tail| tail.split_once('@')) {
        return (Some(start), Some(password), rest);
    }
    match start.rfind('@') {
        Some(at) => (text.get(..at), None, text.get(at + 1..).unwrap_or_default()),
        None => (None, None, text),
    }
}

fn split_host(place: &str) -> Result<(Option<&str>, Option<u16>), AddressError> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or(AddressError::Form)?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let number = match rest.strip_prefix(':') {
        Some("") => None,
        Some(number) => Some(port(number)?),
        None if rest.is_empty() => None,
        None => return Err(AddressError::Form),
    };
    Ok(((!host.is_empty()).then_some(host), number))
}

fn port(text: &str) -> Result<u16, AddressError> {
    let number = text.parse().map_err(|_source: std::num::ParseIntError| {
        AddressError::Part("has a port that is no number up to 65535".to_owned())
    });
    number.and_then(|number: u16| if number == 0 { Err(AddressError::Form) } else { Ok(number) })
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "True", "yes"].contains(&value)
}

fn unknown_setting(name: &str) -> AddressError {
    let name: String = name.chars().take(40).collect();
    AddressError::Part(format!("has the parameter `{name}`, which would make no difference here"))
}

/// Names and values of a query, in the encoding of forms.
fn form_pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let text = |part: &str| lossy(&unescaped(&part.replace('+', " ")));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (text(name), text(value))
    };
    pairs.map(pair).filter(|(_, value)| !value.is_empty()).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn decoded(text: &str, part: &str) -> Result<String, AddressError> {
    let wrong = |what: &str| AddressError::Part(format!("has a {part} {what}"));
    let text = String::from_utf8(unescaped(text))
        .map_err(|_source| wrong("that is no text once its percent signs are decoded"))?;
    if text.contains('\0') {
        return Err(wrong("with a character of value 0"));
    }
    Ok(text)
}

/// Undoes `%XX`. A percent sign that begins nothing stands for itself.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|pair| {
            let digits = pair.iter().all(u8::is_ascii_hexdigit);
            std::str::from_utf8(pair).ok().filter(|_| digits)
        });
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
