//! How long to wait before something is tried again.

use std::time::Duration;

/// The waits of firings that failed.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// The `tries`-th wait after a failure, the first being 1: `first` doubled each time up to
/// `longest`, and then up to a fifth shorter, by a share that depends on `name` and `tries` only.
pub(crate) fn backoff(name: &str, tries: u32, first: Duration, longest: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
    let wait = first.saturating_mul(factor).min(longest);
    let fifth = u64::try_from(wait.as_micros() / 5).unwrap_or(u64::MAX).max(1);
    wait - Duration::from_micros(hash(&[name.as_bytes(), &tries.to_le_bytes()]) % fifth)
}

/// The delay of an event under a jitter of at most `longest`: always the same for the same event
/// of the same trigger.
pub(super) fn jitter(trigger: &str, key: &str, longest: Duration) -> Duration {
    let Ok(longest) = u64::try_from(longest.as_micros()) else {
        return Duration::ZERO;
    };
    if longest == 0 {
        return Duration::ZERO;
    }
    let hash = hash(&[trigger.as_bytes(), &[0xff], key.as_bytes()]);
    Duration::from_micros(hash % longest.saturating_add(1))
}

/// FNV-1a with a last mix: spreads short texts evenly, and is the same in every version.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}
