//! Addresses that carry their own permission: the method, the path and an end, under a key that
//! only the server has. For what a client fetches and stores without a header.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::store::access::HASH_BYTES;

const SECOND: i64 = 1_000_000;

/// What an address allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// To fetch.
    Read,
    /// To store.
    Write,
}

/// Signs addresses and checks them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Signer(Arc<Parts>);

struct Parts {
    key: [u8; HASH_BYTES],
    clock: Arc<dyn Clock>,
    life: Duration,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn new(key: [u8; HASH_BYTES], clock: Arc<dyn Clock>, life: Duration) -> Self {
        Self(Arc::new(Parts { key, clock, life }))
    }

    /// The query that makes `path` an address for `right`, from now on.
    pub(crate) fn query(&self, right: Right, path: &str) -> String {
        let end = self.0.clock.now().after(self.0.life).as_micros() / SECOND;
        let signature = URL_SAFE_NO_PAD.encode(self.signature(right, path, end).as_bytes());
        format!("?expires={end}&signature={signature}")
    }

    /// Whether `query` makes `path` an address for `right`.
    pub(crate) fn admits(&self, right: Right, path: &str, query: &str) -> bool {
        let Some((end, given)) = read(query) else { return false };
        let is_over = Timestamp::from_micros(end.saturating_mul(SECOND)) <= self.0.clock.now();
        // Constant time.
        !is_over && self.signature(right, path, end) == given
    }

    fn signature(&self, right: Right, path: &str, end: i64) -> blake3::Hash {
        let right = match right {
            Right::Read => "read",
            Right::Write => "write",
        };
        let signed = format!("{right}\n{end}\n{path}");
        blake3::keyed_hash(&self.0.key, signed.as_bytes())
    }
}

fn read(query: &str) -> Option<(i64, blake3::Hash)> {
    let (expires, signature) = query.split_once('&')?;
    let digits = expires.strip_prefix("expires=")?;
    // One way to write a number, so that nothing is signed in two ways.
    let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    let end = digits.parse().ok().filter(|_| canonical)?;
    let bytes = URL_SAFE_NO_PAD.decode(signature.strip_prefix("signature=")?).ok()?;
    Some((end, blake3::Hash::from_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Seconds(AtomicI64);

    impl Clock for Seconds {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed) * SECOND)
        }
    }

    fn signer() -> (Signer, Arc<Seconds>) {
        let clock = Arc::new(Seconds(AtomicI64::new(1_000)));
        let signer = Signer::new([3; 32], Arc::clone(&clock) as _, Duration::from_secs(60));
        (signer, clock)
    }

    #[test]
    fn an_address_is_for_one_path_one_right_and_one_time() {
        let (signer, clock) = signer();
        let query = signer.query(Right::Read, "/a");
        let query = query.strip_prefix('?').unwrap();
        assert!(signer.admits(Right::Read, "/a", query));
        assert!(!signer.admits(Right::Write, "/a", query));
        assert!(!signer.admits(Right::Read, "/b", query));
        let other = Signer::new([4; 32], Arc::clone(&clock) as _, Duration::from_secs(60));
        assert!(!other.admits(Right::Read, "/a", query), "another key");
        clock.0.store(1_059, Ordering::Relaxed);
        assert!(signer.admits(Right::Read, "/a", query));
        clock.0.store(1_060, Ordering::Relaxed);
        assert!(!signer.admits(Right::Read, "/a", query), "its time is over");
    }

    #[test]
    fn no_byte_of_an_address_can_be_changed() {
        let (signer, _clock) = signer();
        let query = signer.query(Right::Read, "/a");
        let query = query.strip_prefix('?').unwrap();
        for at in 0..query.len() {
            for byte in [b'0', b'A', b'&', b'='] {
                let mut changed = query.as_bytes().to_vec();
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(signer.admits(Right::Read, "/a", &changed), changed == query);
            }
        }
        for changed in
            [String::new(), format!("{query}x"), format!("{query}&x=1"), query.replace('=', "=0")]
        {
            assert!(!signer.admits(Right::Read, "/a", &changed), "{changed}");
        }
    }
}
