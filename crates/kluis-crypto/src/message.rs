//! C2SP chunked encryption (<https://c2sp.org/chunked-encryption>) with
//! ChaCha20-Poly1305 and SHA-256: the body of every object, and the envelope of
//! every sealed control record.

use crate::aead::{Aead, Nonce, TAG};
use crate::kdf::{self, Label, domain, length_prefix};
use crate::{Error, Result, VaultId, random};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Plaintext of a full chunk.
pub(crate) const CHUNK: usize = 16_384;
/// A full chunk as it is stored.
pub(crate) const SEALED_CHUNK: usize = CHUNK + TAG;
/// The specification's limit on the number of chunks.
pub(crate) const MAX_CHUNKS: u64 = 1 << 38;
pub(crate) const SALT: usize = 24;
pub(crate) const COMMITMENT: usize = 32;

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_CHACHA20_POLY1305\0";

/// The keys of one message.
///
/// `key ‖ base nonce ‖ commitment = HKDF-Expand(input key, info ‖ salt ‖ context, 76)`
pub(crate) struct MessageCipher {
    aead: Aead,
    base_nonce: Nonce,
}

impl MessageCipher {
    /// The cipher and commitment of the message with this salt and context.
    pub(crate) fn derive(
        input_key: &[u8; 32],
        salt: &[u8; SALT],
        context: &[&[u8]],
    ) -> (Self, [u8; COMMITMENT]) {
        let mut info: Vec<&[u8]> = Vec::with_capacity(2 + context.len());
        info.push(INFO);
        info.push(salt);
        info.extend_from_slice(context);
        let mut okm = Zeroizing::new([0u8; 76]);
        kdf::expand(input_key, &info, &mut okm[..]);
        let mut key = Zeroizing::new([0u8; 32]);
        key.copy_from_slice(&okm[..32]);
        let mut base_nonce = [0; 12];
        base_nonce.copy_from_slice(&okm[32..44]);
        let mut commitment = [0; COMMITMENT];
        commitment.copy_from_slice(&okm[44..]);
        (
            Self {
                aead: Aead::new(&key),
                base_nonce,
            },
            commitment,
        )
    }

    /// As `derive`, for a reader: nothing can be opened before the stored
    /// commitment was found equal, in constant time.
    pub(crate) fn verify(
        input_key: &[u8; 32],
        salt: &[u8; SALT],
        context: &[&[u8]],
        commitment: &[u8; COMMITMENT],
    ) -> Result<Self> {
        let (cipher, expected) = Self::derive(input_key, salt, context);
        if bool::from(expected.ct_eq(commitment)) {
            Ok(cipher)
        } else {
            Err(Error::Tampered)
        }
    }

    /// `nonce = base nonce XOR index` (big-endian, in the last bytes).
    ///
    /// Unique under the key: the key is fresh for every message, and the index
    /// is checked against the limit of 2^38, so no nonce repeats.
    fn nonce(&self, index: u64) -> Result<Nonce> {
        if index >= MAX_CHUNKS {
            return Err(Error::LimitExceeded("chunks of one message"));
        }
        let mut nonce = self.base_nonce;
        for (n, i) in nonce[4..].iter_mut().zip(index.to_be_bytes()) {
            *n ^= i;
        }
        Ok(nonce)
    }

    /// Seals the first bytes of `slot` in place; its last 16 take the tag.
    pub(crate) fn seal_chunk(&self, index: u64, slot: &mut [u8]) -> Result<()> {
        let nonce = self.nonce(index)?;
        let Some((text, tag)) = slot.split_last_chunk_mut::<TAG>() else {
            return Err(Error::invalid("a chunk needs 16 bytes for its tag"));
        };
        self.aead.seal(&nonce, &[], text, tag)
    }

    /// Opens the sealed chunk into `plaintext`, 16 bytes shorter.
    pub(crate) fn open_chunk(&self, index: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<()> {
        let nonce = self.nonce(index)?;
        let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or(Error::Tampered)?;
        self.aead.open(&nonce, &[], text, tag, plaintext)
    }
}

/// A salt that does not repeat under `key`:
/// `KDF(key, "salt", 32 random bytes, hedge, u64(counter))[..24]`.
///
/// Where the randomness of a cloned machine repeats, the counter still differs
/// within a process, the key between places, and between two clones the hedge:
/// the version of an object, the hash of a sealed record's plaintext.
pub(crate) fn fresh_salt(key: &[u8; 32], hedge: &[u8]) -> Result<[u8; SALT]> {
    let mut random = Zeroizing::new([0u8; 32]);
    random::fill(&mut random[..])?;
    let mut out = [0; 32];
    let counter = random::next_counter().to_be_bytes();
    kdf::derive(key, Label::SALT, &[&random[..], hedge, &counter], &mut out);
    let mut salt = [0; SALT];
    salt.copy_from_slice(&out[..SALT]);
    Ok(salt)
}

/// The place of a sealed control record, which its authentication covers.
pub(crate) struct Place<'a> {
    pub(crate) kind: &'static str,
    pub(crate) vault: &'a VaultId,
    pub(crate) place: &'a [u8],
}

impl Place<'_> {
    /// `"kluis/v1/record" ‖ 0x00 ‖ lp(kind) ‖ lp(vault id) ‖ lp(place)`
    pub(crate) fn with_context<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let kind = self.kind.as_bytes();
        let vault = self.vault.as_bytes();
        with(&[
            domain::RECORD,
            &length_prefix(kind),
            kind,
            &length_prefix(vault),
            vault,
            &length_prefix(self.place),
            self.place,
        ])
    }
}

/// Seals a control record: `salt ‖ commitment ‖ chunks`.
pub(crate) fn seal(key: &[u8; 32], place: &Place<'_>, plaintext: &[u8]) -> Result<Vec<u8>> {
    let salt = fresh_salt(key, &Sha256::digest(plaintext))?;
    let (cipher, commitment) =
        place.with_context(|context| MessageCipher::derive(key, &salt, context));
    let chunks = plaintext.len() / CHUNK + 1;
    let mut sealed = Vec::with_capacity(SALT + COMMITMENT + plaintext.len() + TAG * chunks);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(&commitment);
    for index in 0..chunks {
        let text = &plaintext[index * CHUNK..plaintext.len().min((index + 1) * CHUNK)];
        let start = sealed.len();
        sealed.extend_from_slice(text);
        sealed.extend_from_slice(&[0; TAG]);
        cipher.seal_chunk(index as u64, &mut sealed[start..])?;
    }
    Ok(sealed)
}

/// Opens a sealed control record. The caller has bounded its length.
pub(crate) fn open(key: &[u8; 32], place: &Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (salt, rest) = sealed.split_first_chunk::<SALT>().ok_or(Error::Tampered)?;
    let (commitment, body) = rest
        .split_first_chunk::<COMMITMENT>()
        .ok_or(Error::Tampered)?;
    let cipher =
        place.with_context(|context| MessageCipher::verify(key, salt, context, commitment))?;
    // The last chunk is shorter than the others, and only the last: a body of
    // whole chunks has lost its end.
    if body.len() % SEALED_CHUNK < TAG {
        return Err(Error::Tampered);
    }
    let chunks = body.len() / SEALED_CHUNK + 1;
    let mut plaintext = Zeroizing::new(vec![0; body.len() - TAG * chunks]);
    for (index, (sealed, text)) in body
        .chunks(SEALED_CHUNK)
        .zip(ChunksMut::new(&mut plaintext))
        .enumerate()
    {
        cipher.open_chunk(index as u64, sealed, text)?;
    }
    Ok(plaintext)
}

/// Whether a record commits to this key in this place: what a wrong password and
/// damage are told apart by.
pub(crate) fn commits(key: &[u8; 32], place: &Place<'_>, sealed: &[u8]) -> bool {
    let Some((salt, rest)) = sealed.split_first_chunk::<SALT>() else {
        return false;
    };
    rest.first_chunk::<COMMITMENT>().is_some_and(|commitment| {
        place
            .with_context(|context| MessageCipher::verify(key, salt, context, commitment))
            .is_ok()
    })
}

/// `chunks_mut` that ends with one shorter chunk, empty if need be.
struct ChunksMut<'a>(Option<&'a mut [u8]>);

impl<'a> ChunksMut<'a> {
    fn new(text: &'a mut [u8]) -> Self {
        Self(Some(text))
    }
}

impl<'a> Iterator for ChunksMut<'a> {
    type Item = &'a mut [u8];

    fn next(&mut self) -> Option<&'a mut [u8]> {
        let rest = self.0.take()?;
        if rest.len() < CHUNK {
            return Some(rest);
        }
        let (chunk, rest) = rest.split_at_mut(CHUNK);
        self.0 = Some(rest);
        Some(chunk)
    }
}

impl Drop for MessageCipher {
    fn drop(&mut self) {
        self.base_nonce.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::tests::OPENED;
    use crate::random::scripted::{self, Source};
    use crate::testing::{flips, pattern};
    use crate::two_keys;
    use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};

    const KEY: [u8; 32] = [9; 32];
    const VAULT: VaultId = VaultId([4; 16]);
    const PLACE: Place<'static> = Place {
        kind: "test",
        vault: &VAULT,
        place: b"here",
    };
    const BODY: usize = SALT + COMMITMENT;
    const SIZES: [usize; 6] = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17];

    fn sealed(length: usize) -> Vec<u8> {
        seal(&KEY, &PLACE, &pattern(length)).unwrap()
    }

    /// The specification once more, with nothing of the code above.
    fn open_by_the_specification(sealed: &[u8]) -> Vec<u8> {
        let mut info = b"c2sp.org/chunked-encryption@v1+AEAD_CHACHA20_POLY1305\0".to_vec();
        info.extend_from_slice(&sealed[..24]);
        info.extend_from_slice(b"kluis/v1/record\0");
        info.extend_from_slice(b"\0\0\0\x04test\0\0\0\x10");
        info.extend_from_slice(&[4; 16]);
        info.extend_from_slice(b"\0\0\0\x04here");
        let mut okm = [0; 76];
        hkdf::Hkdf::<sha2::Sha256>::from_prk(&KEY)
            .unwrap()
            .expand(&info, &mut okm)
            .unwrap();
        assert_eq!(okm[44..], sealed[24..56]);
        let cipher = ChaCha20Poly1305::new_from_slice(&okm[..32]).unwrap();
        let mut base = [0; 16];
        base[4..].copy_from_slice(&okm[32..44]);
        let chunks = sealed[56..].chunks(16_400).enumerate();
        let texts = chunks.map(|(i, chunk)| {
            let nonce = (u128::from_be_bytes(base) ^ i as u128).to_be_bytes();
            let nonce = Nonce::try_from(&nonce[4..]).unwrap();
            let (text, tag) = chunk.split_last_chunk().unwrap();
            let mut text = text.to_vec();
            cipher
                .decrypt_inout_detached(&nonce, b"", (&mut text[..]).into(), &Tag::from(*tag))
                .unwrap();
            text
        });
        texts.collect::<Vec<_>>().concat()
    }

    #[test]
    fn sizes_around_a_chunk() {
        for size in SIZES {
            let sealed = sealed(size);
            assert_eq!(sealed.len(), 56 + size + 16 * (size / 16_384 + 1));
            assert_eq!(*open(&KEY, &PLACE, &sealed).unwrap(), pattern(size));
            assert_eq!(open_by_the_specification(&sealed), pattern(size));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_and_the_commitment_comes_first() {
        for size in [0, 1, 40] {
            for (at, changed) in flips(&sealed(size)) {
                OPENED.set(0);
                assert_eq!(open(&KEY, &PLACE, &changed), Err(Error::Tampered));
                assert_eq!(OPENED.get(), u64::from(at >= BODY), "byte {at}");
            }
        }
        // In a long message every byte that could be special, and a sample.
        let long = sealed(3 * CHUNK + 17);
        let special = |at: usize| at < BODY || (at - BODY) % SEALED_CHUNK > CHUNK - 2;
        for at in (0..long.len()).filter(|at| special(*at) || at % 499 == 0) {
            let mut changed = long.clone();
            changed[at] ^= 1 << (at % 8);
            OPENED.set(0);
            assert_eq!(open(&KEY, &PLACE, &changed), Err(Error::Tampered));
            // The chunks before the changed one, and the changed one.
            let opened = at.checked_sub(BODY).map_or(0, |at| at / SEALED_CHUNK + 1);
            assert_eq!(OPENED.get(), opened as u64);
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        for size in [0, 1, 40] {
            let sealed = sealed(size);
            for length in 0..sealed.len() {
                assert_eq!(open(&KEY, &PLACE, &sealed[..length]), Err(Error::Tampered));
            }
        }
        let long = sealed(3 * CHUNK + 17);
        let near =
            |n: usize| n < BODY + 40 || (n - BODY) % SEALED_CHUNK < 40 || n.is_multiple_of(499);
        for length in (0..long.len()).filter(|n| near(*n)) {
            assert_eq!(open(&KEY, &PLACE, &long[..length]), Err(Error::Tampered));
        }
        for size in SIZES {
            let sealed = sealed(size);
            for more in [1, 15, 16, 17, CHUNK, SEALED_CHUNK, SEALED_CHUNK + 16] {
                let longer = [&sealed[..], &vec![0; more]].concat();
                assert_eq!(open(&KEY, &PLACE, &longer), Err(Error::Tampered));
            }
            let twice = [&sealed[..], &sealed].concat();
            assert_eq!(open(&KEY, &PLACE, &twice), Err(Error::Tampered));
            let again = [&sealed[..], &sealed[BODY..]].concat();
            assert_eq!(open(&KEY, &PLACE, &again), Err(Error::Tampered));
        }
    }

    /// Someone who holds the key seals a chunk more behind the last one.
    #[test]
    fn a_valid_chunk_behind_the_last_one_is_refused() {
        let sealed = sealed(5);
        let salt = sealed[..SALT].try_into().unwrap();
        let (cipher, _) = PLACE.with_context(|c| MessageCipher::derive(&KEY, &salt, c));
        let mut chunk = [0; 7 + TAG];
        cipher.seal_chunk(1, &mut chunk).unwrap();
        let longer = [&sealed[..], &chunk].concat();
        assert_eq!(open(&KEY, &PLACE, &longer), Err(Error::Tampered));
        // A full last chunk: its end is missing.
        let mut full = [&sealed[..BODY], &[0; SEALED_CHUNK]].concat();
        cipher.seal_chunk(0, &mut full[BODY..]).unwrap();
        assert_eq!(open(&KEY, &PLACE, &full), Err(Error::Tampered));
    }

    #[test]
    fn chunks_keep_their_places() {
        let sealed = sealed(5 * CHUNK + 3);
        let chunks: Vec<&[u8]> = sealed[BODY..].chunks(SEALED_CHUNK).collect();
        let whole = |chunks: &[&[u8]]| [&sealed[..BODY], &chunks.concat()].concat();
        assert!(open(&KEY, &PLACE, &whole(&chunks)).is_ok());
        for i in 0..chunks.len() {
            for j in 0..i {
                let mut swapped = chunks.clone();
                swapped.swap(i, j);
                assert_eq!(open(&KEY, &PLACE, &whole(&swapped)), Err(Error::Tampered));
            }
            let mut dropped = chunks.clone();
            dropped.remove(i);
            assert_eq!(open(&KEY, &PLACE, &whole(&dropped)), Err(Error::Tampered));
            let mut doubled = chunks.clone();
            doubled.insert(i, chunks[i]);
            assert_eq!(open(&KEY, &PLACE, &whole(&doubled)), Err(Error::Tampered));
        }
        // Chunks of another message under the same key and in the same place.
        let other = super::seal(&KEY, &PLACE, &pattern(5 * CHUNK + 3)).unwrap();
        for (i, chunk) in other[BODY..].chunks(SEALED_CHUNK).enumerate() {
            let mut mixed = chunks.clone();
            mixed[i] = chunk;
            assert_eq!(open(&KEY, &PLACE, &whole(&mixed)), Err(Error::Tampered));
        }
    }

    #[test]
    fn a_record_opens_in_its_place_alone() {
        let sealed = sealed(10);
        let other = VaultId([5; 16]);
        for (kind, vault, place) in [
            ("Test", &VAULT, &b"here"[..]),
            ("test", &other, b"here"),
            ("test", &VAULT, b"her"),
            ("test", &VAULT, b"here\0"),
            ("tes", &VAULT, b"there"),
        ] {
            let place = Place { kind, vault, place };
            OPENED.set(0);
            assert_eq!(open(&KEY, &place, &sealed), Err(Error::Tampered));
            assert_eq!(OPENED.get(), 0);
        }
        assert_eq!(open(&[8; 32], &PLACE, &sealed), Err(Error::Tampered));
    }

    #[test]
    fn g01_g05_a_record_that_two_keys_decrypt_is_opened_by_the_one_it_commits_to() {
        for n in 0..1_000u32 {
            let key = |of: u8| [&[of; 28][..], &n.to_le_bytes()].concat();
            let keys = [1, 2].map(|of| <[u8; 32]>::try_from(key(of)).unwrap());
            let length = 32 + n as usize % 200;
            let salt = [n as u8; SALT];
            let records = two_keys::records(keys.each_ref(), &PLACE, salt, length);
            for (i, record) in records.iter().enumerate() {
                let (right, wrong) = (&keys[i], &keys[1 - i]);
                // The cipher would have opened it.
                let (cipher, _) = PLACE.with_context(|c| MessageCipher::derive(wrong, &salt, c));
                let mut text = vec![0; length];
                cipher.open_chunk(0, &record[BODY..], &mut text).unwrap();
                OPENED.set(0);
                assert_eq!(open(wrong, &PLACE, record), Err(Error::Tampered));
                assert_eq!(OPENED.get(), 0);
                assert!(open(right, &PLACE, record).is_ok());
                assert!(commits(right, &PLACE, record) && !commits(wrong, &PLACE, record));
            }
        }
    }

    #[test]
    fn no_nonce_repeats_and_none_is_beyond_the_limit() {
        let (cipher, _) = MessageCipher::derive(&KEY, &[1; SALT], &[]);
        let mut seen = std::collections::HashSet::new();
        let indices = (0..70_000)
            .chain((17..38).flat_map(|e| [(1u64 << e) - 1, 1 << e]))
            .chain([MAX_CHUNKS - 1]);
        let indices: std::collections::BTreeSet<u64> =
            indices.filter(|i| *i < MAX_CHUNKS).collect();
        for index in indices {
            assert!(seen.insert(cipher.nonce(index).unwrap()), "{index}");
        }
        let mut chunk = [0; TAG];
        cipher.seal_chunk(MAX_CHUNKS - 1, &mut chunk).unwrap();
        cipher.open_chunk(MAX_CHUNKS - 1, &chunk, &mut []).unwrap();
        for index in [MAX_CHUNKS, MAX_CHUNKS + 1, u64::MAX] {
            let limit = Err(Error::LimitExceeded("chunks of one message"));
            assert_eq!(cipher.seal_chunk(index, &mut [0; TAG]), limit);
            assert_eq!(cipher.open_chunk(index, &chunk, &mut []), limit);
        }
    }

    #[test]
    fn l22_salts_differ_where_randomness_repeats() {
        scripted::with(Source::Constant(7), || {
            let mut seen = std::collections::HashSet::new();
            for version in 0..100 {
                assert!(seen.insert(fresh_salt(&KEY, &[version % 3]).unwrap()));
            }
            let one = seal(&KEY, &PLACE, b"one").unwrap();
            let two = seal(&KEY, &PLACE, b"two").unwrap();
            assert_ne!(one[..SALT], two[..SALT]);
        });
        // A cloned machine: the counter repeats too, the clock does not.
        let at = |key, version| {
            scripted::with(Source::Constant(7), || {
                fresh_salt(key, &u64::to_be_bytes(version)).unwrap()
            })
        };
        assert_eq!(at(&KEY, 1), at(&KEY, 1));
        assert_ne!(at(&KEY, 1), at(&KEY, 2));
        assert_ne!(at(&KEY, 1), at(&[8; 32], 1));
    }

    #[test]
    fn without_randomness_nothing_is_sealed() {
        scripted::with(Source::Broken, || {
            assert_eq!(fresh_salt(&KEY, &[]), Err(Error::Randomness));
            assert_eq!(seal(&KEY, &PLACE, b"x"), Err(Error::Randomness));
        });
    }
}
