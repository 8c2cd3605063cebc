//! The one place where randomness enters.

use crate::{Error, Result};

/// Fills `out` with randomness of the operating system.
#[cfg(not(test))]
pub(crate) fn fill(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|_| Error::Randomness)
}

/// The number of salts this process has drawn: two salts differ even where the
/// operating system repeats itself (a cloned machine).
#[cfg(not(test))]
pub(crate) fn next_counter() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
pub(crate) use scripted::{fill, next_counter};

/// In this crate's own tests randomness can be scripted, a thread at a time, so
/// that vectors are reproducible and its failure can be tested.
#[cfg(test)]
pub(crate) mod scripted {
    use super::{Error, Result};
    use sha2::{Digest, Sha256};
    use std::cell::RefCell;

    pub(crate) enum Source {
        System,
        /// SHA-256 of the seed and a block counter, a block at a time.
        Seeded {
            seed: String,
            block: u64,
        },
        Constant(u8),
        /// These bytes, and nothing after them.
        Bytes(Vec<u8>),
        Broken,
    }

    thread_local! {
        static SOURCE: RefCell<(Source, u64)> = const { RefCell::new((Source::System, 0)) };
    }

    /// Runs `f` with this source, and with the system's again afterwards, also
    /// when it panics: tests may share a thread.
    pub(crate) fn with<T>(source: Source, f: impl FnOnce() -> T) -> T {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                SOURCE.set((Source::System, 0));
            }
        }
        let _restore = Restore;
        SOURCE.set((source, 0));
        f()
    }

    pub(crate) fn seeded<T>(seed: &str, f: impl FnOnce() -> T) -> T {
        let seed = seed.into();
        with(Source::Seeded { seed, block: 0 }, f)
    }

    pub(crate) fn fill(out: &mut [u8]) -> Result<()> {
        SOURCE.with_borrow_mut(|(source, _)| match source {
            Source::System => getrandom::fill(out).map_err(|_| Error::Randomness),
            Source::Seeded { seed, block } => {
                for piece in out.chunks_mut(32) {
                    let digest = Sha256::new()
                        .chain_update(seed.as_bytes())
                        .chain_update(block.to_be_bytes())
                        .finalize();
                    *block += 1;
                    piece.copy_from_slice(&digest[..piece.len()]);
                }
                Ok(())
            }
            Source::Constant(byte) => {
                out.fill(*byte);
                Ok(())
            }
            Source::Bytes(bytes) => {
                if bytes.len() < out.len() {
                    return Err(Error::Randomness);
                }
                out.copy_from_slice(&bytes[..out.len()]);
                bytes.drain(..out.len());
                Ok(())
            }
            Source::Broken => Err(Error::Randomness),
        })
    }

    pub(crate) fn next_counter() -> u64 {
        SOURCE.with_borrow_mut(|(_, counter)| {
            *counter += 1;
            *counter - 1
        })
    }
}
