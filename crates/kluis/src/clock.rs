use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 by this machine's clock.
pub(crate) fn now() -> u64 {
    to_micros(SystemTime::now())
}

pub(crate) fn to_micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn from_micros(micros: u64) -> SystemTime {
    // 2^64 microseconds are 584,000 years, which every platform's time holds.
    UNIX_EPOCH
        .checked_add(Duration::from_micros(micros))
        .unwrap_or(UNIX_EPOCH)
}

/// Object versions: the clock, and always more than the last.
#[derive(Debug, Default)]
pub(crate) struct Versions(AtomicU64);

impl Versions {
    pub(crate) fn next(&self) -> u64 {
        let now = now();
        let last = self.0.fetch_max(now, Ordering::Relaxed);
        if last < now {
            return now;
        }
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
