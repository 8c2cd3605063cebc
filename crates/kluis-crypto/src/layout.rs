//! Where the parts of an object lie in the store (docs/FORMAT.md, section 7).

use crate::aead::TAG;
use crate::header::Suite;
use crate::message::{CHUNK, MAX_CHUNKS, SEALED_CHUNK};
use crate::signed::{HASH, SIGNER};
use crate::{Error, Result};
use std::ops::Range;

/// Bytes before the first chunk.
pub const HEADER_LENGTH: usize = 256;
/// Plaintext of a full chunk.
pub const CHUNK_LENGTH: usize = CHUNK;
/// A full chunk as it is stored.
pub const SEALED_CHUNK_LENGTH: usize = SEALED_CHUNK;
/// What each chunk grows by.
pub const TAG_LENGTH: usize = TAG;

/// Chunks whose hashes lie together, in a signed vault.
pub const GROUP_CHUNKS: u64 = 256;
/// What is known of each chunk, in a signed vault.
pub const LEAF_LENGTH: usize = HASH;

/// The offsets of one object, which follow from its suite and its length.
///
/// A length that comes from the store is a claim: until the last chunk was opened, or
/// in a signed vault the signature verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    suite: Suite,
    plaintext: u64,
}

impl Layout {
    /// Of an object with this many bytes of plaintext, padding included.
    ///
    /// # Errors
    /// `LimitExceeded` above 2^38 chunks, or 2^29 in a signed vault.
    pub fn of_plaintext(suite: Suite, plaintext: u64) -> Result<Self> {
        if plaintext / CHUNK as u64 >= max_chunks(suite) {
            return Err(Error::LimitExceeded("length of an object"));
        }
        Ok(Self { suite, plaintext })
    }

    /// Of an object of this stored length.
    ///
    /// # Errors
    /// `Tampered` for a length that no object has, `LimitExceeded` as
    /// [`of_plaintext`](Self::of_plaintext).
    pub fn of_stored(suite: Suite, stored: u64) -> Result<Self> {
        let least = (HEADER_LENGTH + TAG) as u64;
        let (group, chunk, smallest) = match suite {
            // Without groups, a chunk is all there is to count.
            Suite::V1 => (u64::MAX, SEALED_CHUNK as u64, least),
            Suite::V2 => (
                GROUP_CHUNKS * (SEALED_CHUNK + HASH) as u64 + HASH as u64,
                (SEALED_CHUNK + HASH) as u64,
                least + (2 * HASH + SIGNER) as u64,
            ),
        };
        let body = stored.checked_sub(smallest).ok_or(Error::Tampered)?;
        let groups = body / group;
        let more = ((body - groups * group) / chunk).min(match suite {
            Suite::V1 => u64::MAX,
            Suite::V2 => GROUP_CHUNKS - 1,
        });
        let last = body - groups * group - more * chunk;
        if last >= CHUNK as u64 {
            return Err(Error::Tampered);
        }
        let full = groups.saturating_mul(GROUP_CHUNKS).saturating_add(more);
        if full >= max_chunks(suite) {
            return Err(Error::LimitExceeded("length of an object"));
        }
        let plaintext = full * CHUNK as u64 + last;
        Ok(Self { suite, plaintext })
    }

    /// Bytes of plaintext, padding included.
    pub fn plaintext_length(&self) -> u64 {
        self.plaintext
    }

    /// Bytes in the store.
    pub fn stored_length(&self) -> u64 {
        self.tail().end
    }

    /// How many chunks there are; at least one.
    pub fn chunks(&self) -> u64 {
        self.plaintext / CHUNK as u64 + 1
    }

    /// Where a chunk lies.
    pub fn chunk(&self, index: u64) -> Range<u64> {
        // No object has a chunk with a number for which this is not exact.
        let start = (HEADER_LENGTH as u64)
            .saturating_add(index.saturating_mul(SEALED_CHUNK as u64))
            .saturating_add(match self.suite {
                Suite::V1 => 0,
                Suite::V2 => (index / GROUP_CHUNKS).saturating_mul(GROUP_CHUNKS * HASH as u64),
            });
        let length = match self
            .plaintext
            .checked_sub(index.saturating_mul(CHUNK as u64))
        {
            Some(rest) => rest.min(CHUNK as u64) + TAG as u64,
            None => 0,
        };
        start..start.saturating_add(length)
    }

    /// How many groups of chunks there are; none in a vault that is not signed.
    pub fn groups(&self) -> u64 {
        match self.suite {
            Suite::V1 => 0,
            Suite::V2 => self.chunks().div_ceil(GROUP_CHUNKS),
        }
    }

    /// Where the hashes of a group's chunks lie: behind the last of them.
    pub fn leaves(&self, group: u64) -> Range<u64> {
        let first = group * GROUP_CHUNKS;
        let behind = self.chunks().min(first + GROUP_CHUNKS);
        let start = self.chunk(behind - 1).end;
        start..start + HASH as u64 * (behind - first)
    }

    /// Where the hashes of the groups and the signature lie; empty in a vault that is
    /// not signed.
    pub fn tail(&self) -> Range<u64> {
        let groups = self.groups();
        if groups == 0 {
            let end = self.chunk(self.chunks() - 1).end;
            return end..end;
        }
        let start = self.leaves(groups - 1).end;
        start..start + HASH as u64 * groups + SIGNER as u64
    }
}

fn max_chunks(suite: Suite) -> u64 {
    match suite {
        Suite::V1 => MAX_CHUNKS,
        // Its reader holds 32 bytes for every 256: 64 MiB.
        Suite::V2 => 1 << 29,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUITES: [Suite; 2] = [Suite::V1, Suite::V2];

    fn sealed_length(plaintext: u64) -> Result<u64> {
        Layout::of_plaintext(Suite::V1, plaintext).map(|layout| layout.stored_length())
    }

    fn plaintext_length(sealed: u64) -> Result<u64> {
        Layout::of_stored(Suite::V1, sealed).map(|layout| layout.plaintext_length())
    }

    fn chunk_offset(index: u64) -> u64 {
        let layout = Layout::of_plaintext(Suite::V1, 0).unwrap();
        layout.chunk(index).start
    }

    /// The formulas of suite 2 as docs/FORMAT.md, section 7, has them.
    mod suite_2 {
        pub(super) fn stored(plaintext: u64) -> u64 {
            let n = plaintext / 16_384 + 1;
            256 + plaintext + 48 * n + 32 * n.div_ceil(256) + 96
        }

        pub(super) fn plaintext(stored: u64) -> Option<u64> {
            let x = stored.checked_sub(432)?;
            let a = x / 4_206_624;
            let b = 255.min((x - 4_206_624 * a) / 16_432);
            let r = x - 4_206_624 * a - 16_432 * b;
            (r < 16_384).then_some(16_384 * (256 * a + b) + r)
        }

        pub(super) fn chunk(index: u64) -> u64 {
            256 + 16_400 * index + 8_192 * (index / 256)
        }
    }

    fn lengths() -> impl Iterator<Item = u64> {
        let borders = [0, 1, 2, 255, 256, 257, 511, 512, 1 << 20, (1 << 38) - 2];
        let around = borders
            .into_iter()
            .flat_map(|n| (n * 16_384u64).saturating_sub(20)..n * 16_384 + 20);
        around.chain((0..400_000).step_by(61))
    }

    #[test]
    fn each_length_has_one_stored_length() {
        for length in lengths() {
            let stored = sealed_length(length).unwrap();
            assert_eq!(plaintext_length(stored), Ok(length));
            let n = length / 16_384;
            assert_eq!(
                chunk_offset(n) + length % 16_384 + 16,
                stored,
                "the last chunk ends the object"
            );
            let stored = suite_2::stored(length);
            assert_eq!(suite_2::plaintext(stored), Some(length));
            // Chunks of the last group, their hashes, a hash a group, and the tail.
            let groups = n / 256 + 1;
            assert_eq!(
                suite_2::chunk(n) + length % 16_384 + 16 + 32 * (n % 256 + 1) + 32 * groups + 96,
                stored
            );
        }
        // Whatever is taken for valid is the length of one object.
        for stored in (0..70_000).chain(4_200_000..4_210_000) {
            if let Ok(length) = plaintext_length(stored) {
                assert_eq!(sealed_length(length), Ok(stored));
            }
            if let Some(length) = suite_2::plaintext(stored) {
                assert_eq!(suite_2::stored(length), stored);
            }
        }
        for short in 0..272 {
            assert_eq!(plaintext_length(short), Err(Error::Tampered));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let most = (1 << 52) - 1;
        assert_eq!(plaintext_length(sealed_length(most).unwrap()), Ok(most));
        for over in [most + 1, u64::MAX] {
            assert!(matches!(sealed_length(over), Err(Error::LimitExceeded(_))));
        }
        let stored = sealed_length(most).unwrap();
        assert_eq!(plaintext_length(stored + 1), Err(Error::Tampered));
        assert!(matches!(
            plaintext_length(stored + 17),
            Err(Error::LimitExceeded(_))
        ));
        for huge in u64::MAX - 40_000..=u64::MAX {
            assert!(plaintext_length(huge).is_err());
        }
        assert_eq!(chunk_offset(u64::MAX), u64::MAX);
    }

    #[test]
    fn every_stored_length_has_one_plaintext_or_none() {
        for suite in SUITES {
            let mut valid = 0;
            for stored in 0..80_000 {
                let Ok(layout) = Layout::of_stored(suite, stored) else {
                    continue;
                };
                assert_eq!(layout.stored_length(), stored);
                assert_eq!(Layout::of_plaintext(suite, valid), Ok(layout));
                valid += 1;
            }
            assert!(valid > 60_000);
        }
    }

    #[test]
    fn limits() {
        for (suite, chunks) in [(Suite::V1, 1 << 38), (Suite::V2, 1 << 29)] {
            let largest = Layout::of_plaintext(suite, chunks * CHUNK as u64 - 1).unwrap();
            assert_eq!(largest.chunks(), chunks);
            let stored = largest.stored_length();
            assert_eq!(Layout::of_stored(suite, stored), Ok(largest));
            let limit = Err(Error::LimitExceeded("length of an object"));
            assert_eq!(Layout::of_plaintext(suite, chunks * CHUNK as u64), limit);
            assert!(Layout::of_stored(suite, u64::MAX).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_parts_lie_one_behind_the_other(plaintext in 0_u64..1 << 40) {
            for suite in SUITES {
                let layout = Layout::of_plaintext(suite, plaintext).unwrap();
                prop_assert_eq!(Layout::of_stored(suite, layout.stored_length()), Ok(layout));
                prop_assert_eq!(layout.chunk(0).start, HEADER_LENGTH as u64);
                let last = layout.chunks() - 1;
                for index in [0, 254, 255, 256, last / 2, last.saturating_sub(1)] {
                    if index >= last {
                        continue;
                    }
                    let next = layout.chunk(index + 1).start;
                    let group = index / GROUP_CHUNKS;
                    if suite == Suite::V2 && (index + 1).is_multiple_of(GROUP_CHUNKS) {
                        prop_assert_eq!(layout.leaves(group), layout.chunk(index).end..next);
                    } else {
                        prop_assert_eq!(layout.chunk(index).end, next);
                    }
                }
                let end = match suite {
                    Suite::V1 => layout.chunk(last).end,
                    Suite::V2 => layout.leaves(layout.groups() - 1).end,
                };
                prop_assert_eq!(layout.tail().start, end);
            }
        }
    }
}
