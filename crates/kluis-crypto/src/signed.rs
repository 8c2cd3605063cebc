//! Signed objects, suite 2: who reads knows the keys that writing takes, so that only
//! a signature tells a writer from a reader (docs/FORMAT.md, section 7).
//!
//! What is hashed is ciphertext: who knows the key can make two chunks with one tag.

use crate::identity::SigningSeed;
use crate::kdf::{domain, length_prefix};
use crate::layout::GROUP_CHUNKS;
use crate::{Error, Result, VaultId, signature};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const HASH: usize = 32;
/// The writer's key and the signature.
pub(crate) const SIGNER: usize = 32 + 64;

/// BLAKE3 of `bytes ‖ level`. What is hashed on one level is none of another's: it ends
/// in another byte.
fn hash(bytes: &[u8], level: u8) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes).update(&[level]);
    hasher.finalize().into()
}

/// `leaf = BLAKE3(sealed chunk ‖ 0x00)`
pub(crate) fn leaf(chunk: &[u8]) -> [u8; HASH] {
    hash(chunk, 0)
}

/// `group = BLAKE3(its leaves ‖ 0x01)`
fn group(leaves: &[u8]) -> [u8; HASH] {
    hash(leaves, 1)
}

/// `root = BLAKE3(all groups ‖ 0x02)`
fn root(groups: &[u8]) -> [u8; HASH] {
    hash(groups, 2)
}

/// Who signs an object.
pub(crate) struct Signer {
    pub(crate) seed: SigningSeed,
    pub(crate) key: [u8; 32],
}

/// Who may write to a collection, in a signed vault: signing keys, each from one epoch
/// on until before another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Writers(pub(crate) BTreeMap<([u8; 32], u32), Option<u32>>);

impl Writers {
    pub(crate) const MAX: usize = 65_536;

    pub(crate) fn may_write(&self, key: &[u8; 32], epoch: u32) -> bool {
        let before = self.0.range((*key, 0)..=(*key, epoch)).next_back();
        before.is_some_and(|(_, until)| until.is_none_or(|until| epoch < until))
    }

    /// Whether a key may write in the last epoch.
    pub(crate) fn may_still_write(&self, key: &[u8; 32]) -> bool {
        let last = self.0.range((*key, 0)..=(*key, u32::MAX)).next_back();
        last.is_some_and(|(_, until)| until.is_none())
    }

    /// Those of the last epoch.
    pub(crate) fn current(&self) -> BTreeSet<[u8; 32]> {
        let current = self.0.iter().filter(|(_, until)| until.is_none());
        current.map(|((key, _), _)| *key).collect()
    }

    /// Lets a key write from an epoch on.
    ///
    /// # Errors
    /// `Tampered` for one that may, or that may from a later one.
    pub(crate) fn add(&mut self, key: [u8; 32], from: u32) -> Result<()> {
        let last = self.0.range((key, 0)..=(key, u32::MAX)).next_back();
        let ended = last.is_none_or(|((_, since), until)| {
            until.is_some_and(|until| *since < until && until <= from)
        });
        if !ended {
            return Err(Error::Tampered);
        }
        self.0.insert((key, from), None);
        Ok(())
    }

    /// Lets a key write no more from an epoch on.
    ///
    /// # Errors
    /// `Tampered` for one that may not, or that may since this epoch.
    pub(crate) fn remove(&mut self, key: [u8; 32], until: u32) -> Result<()> {
        let last = self.0.range_mut((key, 0)..=(key, u32::MAX)).next_back();
        match last {
            Some(((_, from), end @ None)) if *from < until => {
                *end = Some(until);
                Ok(())
            }
            _ => Err(Error::Tampered),
        }
    }

    /// Whether the same key is nowhere twice at a time.
    pub(crate) fn is_sound(&self) -> bool {
        let mut again = Self::default();
        self.0.iter().all(|((key, from), until)| {
            again.add(*key, *from).is_ok()
                && until.is_none_or(|until| again.remove(*key, until).is_ok())
        })
    }

    /// What of it concerns these epochs.
    pub(crate) fn within(&self, epochs: std::ops::RangeInclusive<u32>) -> Self {
        let concerns = |(key, until): (&([u8; 32], u32), &Option<u32>)| {
            let (first, last) = (*epochs.start(), *epochs.end());
            key.1 <= last && until.is_none_or(|until| first < until)
        };
        let all = self.0.iter().filter(|(k, u)| concerns((k, u)));
        Self(all.map(|(key, until)| (*key, *until)).collect())
    }
}

/// What follows the chunks of an object that is being written, as it comes to be.
/// In a vault that is not signed nothing does.
#[derive(Debug, Default)]
pub struct Trailer {
    pending: Vec<u8>,
    groups: Vec<u8>,
}

impl Trailer {
    /// Takes the hashes of the next chunks, up to the end of their group at most, and
    /// gives out what follows the last of them in the store: often nothing.
    pub fn push(&mut self, leaves: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(leaves);
        if (self.pending.len() / HASH) as u64 >= GROUP_CHUNKS {
            self.block()
        } else {
            Vec::new()
        }
    }

    fn block(&mut self) -> Vec<u8> {
        self.groups.extend_from_slice(&group(&self.pending));
        std::mem::take(&mut self.pending)
    }

    pub(crate) fn finish(mut self, signer: &Signer, place: &Signed<'_>) -> Vec<u8> {
        let mut rest = Vec::new();
        if !self.pending.is_empty() {
            rest = self.block();
        }
        rest.extend_from_slice(&self.groups);
        rest.extend_from_slice(&signer.key);
        rest.extend_from_slice(&place.sign(&signer.seed, &root(&self.groups)));
        rest
    }
}

/// What a signature is about beside the content.
pub(crate) struct Signed<'a> {
    pub(crate) vault: &'a VaultId,
    /// Where the object lies below the vault's prefix.
    pub(crate) stored: &'a str,
    /// H of its header.
    pub(crate) header: &'a [u8; 32],
    /// Bytes of plaintext, padding included.
    pub(crate) plaintext: u64,
}

impl Signed<'_> {
    /// `vault id ‖ lp(path in the store) ‖ H(bytes 0..256) ‖ u64(P) ‖ root`
    fn with<T>(&self, root: &[u8; HASH], with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let stored = self.stored.as_bytes();
        with(&[
            self.vault.as_bytes(),
            &length_prefix(stored),
            stored,
            self.header,
            &self.plaintext.to_be_bytes(),
            root,
        ])
    }

    fn sign(&self, seed: &SigningSeed, root: &[u8; HASH]) -> [u8; 64] {
        self.with(root, |message| {
            signature::sign(seed.expose_secret(), domain::OBJECT_SIGNATURE, message)
        })
    }

    /// Checks a tail of as many groups as the length says.
    ///
    /// # Errors
    /// `Tampered` for a signature that is not that of a writer.
    pub(crate) fn verify(
        &self,
        writers: &Writers,
        epoch: u32,
        groups: u64,
        tail: &[u8],
    ) -> Result<Tail> {
        let split = tail.split_last_chunk::<64>();
        let (rest, signature) = split.ok_or(Error::Tampered)?;
        let (hashes, writer) = rest.split_last_chunk::<32>().ok_or(Error::Tampered)?;
        let fits = (hashes.len() as u64).is_multiple_of(HASH as u64)
            && hashes.len() as u64 / HASH as u64 == groups;
        if !fits || !writers.may_write(writer, epoch) {
            return Err(Error::Tampered);
        }
        self.with(&root(hashes), |message| {
            signature::verify(writer, domain::OBJECT_SIGNATURE, message, signature)
        })?;
        Ok(Tail {
            bytes: tail.to_vec(),
        })
    }
}

/// The end of a signed object whose signature was that of one of its writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// As it is stored.
    bytes: Vec<u8>,
}

impl Tail {
    /// Checks the hashes of a group's chunks.
    ///
    /// # Errors
    /// `Tampered`.
    pub fn check(&self, index: u64, leaves: &[u8]) -> Result<()> {
        let (groups, _) = self.split();
        let at = usize::try_from(index)
            .ok()
            .and_then(|i| i.checked_mul(HASH));
        let known = at.and_then(|at| groups.get(at..)?.get(..HASH));
        if known == Some(&group(leaves)[..]) {
            Ok(())
        } else {
            Err(Error::Tampered)
        }
    }

    /// As it lies in the store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The Ed25519 key that signed: that on the writer's card.
    pub fn writer(&self) -> [u8; 32] {
        let mut writer = [0; 32];
        writer.copy_from_slice(&self.split().1[..32]);
        writer
    }

    /// The hashes of the groups, and who signed.
    fn split(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.bytes.len() - SIGNER)
    }

    /// Bytes in memory.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_level_hashes_to_what_another_does() {
        let bytes = [7; HASH];
        let hashes = [leaf(&bytes), group(&bytes), root(&bytes)];
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
        assert_eq!(
            leaf(&bytes),
            *blake3::hash(&[&bytes[..], &[0]].concat()).as_bytes()
        );
    }

    #[test]
    fn writers_come_and_go() {
        let (a, b) = ([1; 32], [2; 32]);
        let mut writers = Writers::default();
        writers.add(a, 0).unwrap();
        writers.add(b, 2).unwrap();
        writers.remove(a, 3).unwrap();
        writers.add(a, 5).unwrap();
        let who = |epoch| [a, b].map(|key| writers.may_write(&key, epoch));
        assert_eq!(who(0), [true, false]);
        assert_eq!(who(2), [true, true]);
        assert_eq!(who(3), [false, true]);
        assert_eq!(who(4), [false, true]);
        assert_eq!(who(5), [true, true]);
        assert_eq!(who(u32::MAX), [true, true]);
        assert_eq!(writers.current(), BTreeSet::from([a, b]));
        assert!(writers.is_sound());
        let mut same = writers.clone();
        for refused in [
            same.add(a, 6),
            same.add(a, 1),
            same.remove([3; 32], 9),
            same.remove(a, 5),
            same.remove(a, 2),
        ] {
            assert_eq!(refused, Err(Error::Tampered));
        }
        assert_eq!(same, writers);
        // What somebody learns who holds these epochs.
        assert_eq!(writers.within(0..=1).0.len(), 1);
        assert_eq!(writers.within(3..=4).0.len(), 1);
        assert_eq!(writers.within(2..=2).0.len(), 2);
        assert_eq!(writers.within(0..=9), writers);
        for (unsound, entries) in [
            ("ends before it begins", vec![((a, 3), Some(3))]),
            ("twice at a time", vec![((a, 1), None), ((a, 2), None)]),
            (
                "one inside the other",
                vec![((a, 1), Some(5)), ((a, 4), None)],
            ),
        ] {
            let writers = Writers(entries.into_iter().collect());
            assert!(!writers.is_sound(), "{unsound}");
        }
    }

    proptest! {
        #[test]
        fn a_trailer_is_the_same_however_it_is_fed(
            count in 1_usize..900,
            steps in proptest::collection::vec(1_usize..=64, 1..20),
        ) {
            let leaves: Vec<u8> = (0..count * HASH).map(|i| (i / 7) as u8).collect();
            let feed = |steps: &mut dyn Iterator<Item = usize>| {
                let mut trailer = Trailer::default();
                let mut out = Vec::new();
                let mut at = 0;
                while at < count {
                    // To the end of the group at most, as units are.
                    let room = GROUP_CHUNKS as usize - at % GROUP_CHUNKS as usize;
                    let step = steps.next().unwrap_or(64).min(room).min(count - at);
                    out.extend(trailer.push(&leaves[at * HASH..(at + step) * HASH]));
                    at += step;
                }
                (out, trailer.pending, trailer.groups)
            };
            let (out, pending, groups) = feed(&mut steps.iter().copied());
            let same = feed(&mut std::iter::repeat(64));
            prop_assert_eq!((&out, &pending, &groups), (&same.0, &same.1, &same.2));
            prop_assert_eq!([out, pending].concat(), leaves);
            prop_assert_eq!(groups.len(), count / GROUP_CHUNKS as usize * HASH);
        }
    }
}
