//! The part of the table that is about limits.

use super::{Setting, Shape};

const fn limit(
    key: &'static str,
    unit: &'static str,
    default: &'static str,
    expects: &'static str,
    help: &'static str,
    more: &'static str,
) -> Setting {
    Setting { key, shape: Shape::Value(unit), default, expects, help, more }
}

const MANY: &str = "a number from 1 to 1000000";
const BYTES: &str = "a number of bytes of at least 1024";

pub(super) const LIMITS: [Setting; 18] = [
    limit(
        "limits.nodes",
        "N",
        "2000000",
        "a number from 1 to 4294967295",
        "Most nodes of one workflow",
        "A larger one is refused with 413.",
    ),
    limit(
        "limits.manifest_bytes",
        "BYTES",
        "536870912",
        BYTES,
        "Longest registration of a workflow, in bytes",
        "The SDK writes the printed form of arguments into it, several times over. A longer \
         one is refused with 413.",
    ),
    limit(
        "limits.upload_bytes",
        "BYTES",
        "17179869184",
        BYTES,
        "Longest upload of one asset, in bytes",
        "A longer one is refused with 413.",
    ),
    limit(
        "limits.body_memory_bytes",
        "BYTES",
        "1073741824",
        "a number of bytes of at least `limits.manifest_bytes`",
        "Memory that bodies may take together while they are read, in bytes",
        "A body for which there is no room is refused with 503 and `Retry-After`. Uploads are \
         streamed and take none.",
    ),
    limit(
        "limits.connections",
        "N",
        "4096",
        MANY,
        "Most connections at once",
        "Who comes then waits for a second, and is answered 503 with `Retry-After`.",
    ),
    limit(
        "limits.connections_per_address",
        "N",
        "2048",
        MANY,
        "Most connections at once from one address",
        "Further ones are answered 503. A proxy in front of the server is one address.",
    ),
    limit(
        "limits.registrations",
        "N",
        "256",
        MANY,
        "Most workflows that are taken in at once",
        "Further ones wait for 5 seconds, and are refused with 503 and `Retry-After` then.",
    ),
    limit(
        "limits.uploads",
        "N",
        "1024",
        MANY,
        "Most uploads at once",
        "Further ones wait for 5 seconds, and are refused with 503 and `Retry-After` then.",
    ),
    limit(
        "limits.requests",
        "N",
        "2048",
        MANY,
        "Most other requests at once",
        "Requests that wait for the end of a dispatch, and streams of events, are not counted. \
         Further ones wait for 5 seconds, and are refused with 503 and `Retry-After` then.",
    ),
    limit(
        "limits.requests_per_second",
        "N",
        "2000",
        "a number; 0 is no limit",
        "Most requests of one token or address in a second",
        "Twice as many at once are fine. Further ones are refused with 429 and `Retry-After`. \
         Callers who need no token are not counted.",
    ),
    limit(
        "limits.refusals_per_minute",
        "N",
        "60",
        "a number; 0 is no limit",
        "Most refused tokens of one address in a minute",
        "After that, its tokens are not even looked at, and are refused with 429.",
    ),
    limit(
        "limits.idle_seconds",
        "SECONDS",
        "30",
        "a number of seconds from 1 to 86400",
        "Longest wait for a request, and for a client that reads nothing",
        "It counts from the begin of the connection or the end of the last answer to the end of \
         the headers. A connection that takes longer is closed.",
    ),
    limit(
        "limits.body_seconds",
        "SECONDS",
        "30",
        "a number of seconds from 1 to 86400",
        "Longest wait for the next bytes of a body",
        "A body that takes longer is refused.",
    ),
    limit(
        "limits.body_bytes_per_second",
        "BYTES",
        "1024",
        "a number of bytes; 0 is no limit",
        "What a client that sends a body has to keep up, in bytes for a second",
        "It counts after the first `limits.body_seconds`. A slower one is refused.",
    ),
    limit(
        "limits.address_seconds",
        "SECONDS",
        "86400",
        "a number of seconds from 60 to 31536000",
        "How long the signed address of an asset is valid",
        "Callers with a token get signed addresses, since the SDK sends no token with files. The \
         life has to be longer than the largest result takes to be fetched.",
    ),
    limit(
        "limits.disk_bytes",
        "BYTES",
        "0",
        "a number of bytes; 0 is no limit",
        "What may be kept in the data directory, in bytes",
        "Beyond it, new workflows and uploads are refused with 507; what runs goes on. It is \
         measured about once a second, so it may be overrun by what comes in that time.",
    ),
    limit(
        "limits.database_bytes",
        "BYTES",
        "0",
        "a number of bytes; 0 is no limit",
        "How large the database may become, in bytes",
        "Beyond it, new workflows and uploads are refused with 507; what runs goes on.",
    ),
    limit(
        "limits.free_bytes",
        "BYTES",
        "134217728",
        "a number of bytes; 0 is no floor",
        "What stays free on the disk of the data directory, in bytes",
        "Below it, new workflows and uploads are refused with 507, so that what runs can end and \
         its results are kept.",
    ),
];
