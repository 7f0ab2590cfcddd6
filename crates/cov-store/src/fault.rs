//! Sorts the faults of the layers below into the kinds of [`Error`]. Handles none of them.

use std::error::Error as StdError;
use std::io;

use crate::Error;

/// A fault of ours, in a sentence.
pub(crate) fn internal(sentence: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Internal(sentence.into())
}

/// Something stored does not pass its check.
pub(crate) fn corrupt(what: impl ToString, reason: impl ToString) -> Error {
    Error::Corrupt { what: what.to_string(), reason: reason.to_string() }
}

/// A fault of the file system.
pub(crate) fn from_io(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(error.into()),
        _ => Error::Unavailable(error.into()),
    }
}

/// What a task on the blocking pool returned, or the fault that ended it.
#[cfg(feature = "sqlite")]
pub(crate) fn flatten<T>(
    joined: Result<Result<T, Error>, tokio::task::JoinError>,
) -> Result<T, Error> {
    match joined {
        Ok(result) => result,
        // Cancelled, because the runtime is going down, or panicked.
        Err(error) if error.is_cancelled() => Err(Error::Unavailable(error.into())),
        Err(error) => Err(internal(error)),
    }
}

/// A fault of SQLite or of the library in front of it.
#[cfg(feature = "sqlite")]
pub(crate) fn from_sql(error: sqlx::Error) -> Error {
    use sqlx::Error as Sql;
    match error {
        Sql::Database(ref fault) => {
            let code = fault.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0);
            from_sqlite_code(code, error)
        }
        Sql::Io(fault) => from_io(fault),
        Sql::PoolTimedOut | Sql::PoolClosed | Sql::WorkerCrashed => {
            Error::Unavailable(error.into())
        }
        Sql::ColumnDecode { .. } | Sql::Decode(_) => corrupt("a row", error),
        _ => internal(error),
    }
}

/// The primary code is the low byte of the extended one: <https://sqlite.org/rescode.html>.
#[cfg(feature = "sqlite")]
fn from_sqlite_code(code: i32, error: sqlx::Error) -> Error {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;
    const NOTADB: i32 = 26;
    match code & 0xff {
        FULL => Error::Full(error.into()),
        BUSY | LOCKED | READONLY | IOERR | CANTOPEN | PROTOCOL => Error::Unavailable(error.into()),
        CORRUPT | NOTADB => corrupt("the database", error),
        _ => internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = from_io(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, Error::Full(_)), "{full:?}");
        let broken = from_io(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(broken, Error::Unavailable(_)), "{broken:?}");
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn extended_codes_are_sorted_by_their_primary_code() {
        let sort = |code| from_sqlite_code(code, sqlx::Error::RowNotFound);
        for (code, transient) in [(13, true), (5, true), (261, true), (778, true), (14, true)] {
            assert_eq!(sort(code).is_transient(), transient, "{code}");
        }
        assert!(matches!(sort(13), Error::Full(_)));
        assert!(matches!(sort(267), Error::Corrupt { .. }));
        assert!(matches!(sort(2067), Error::Internal(_)));
    }
}
