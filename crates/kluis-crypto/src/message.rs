//! C2SP chunked encryption (<https://c2sp.org/chunked-encryption>) with
//! ChaCha20-Poly1305 and SHA-256: the body of every object, and the envelope of
//! every sealed control record.

use crate::aead::{Aead, Nonce, TAG};
use crate::kdf::{self, Label, domain, length_prefix};
use crate::{Error, Result, VaultId, random};
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
/// `KDF(key, "salt", 32 random bytes, u64(version), u64(counter))[..24]`.
///
/// Where the randomness of a cloned machine repeats, version and counter still
/// differ within a process, and the key between places.
pub(crate) fn fresh_salt(key: &[u8; 32], version: u64) -> Result<[u8; SALT]> {
    let mut random = Zeroizing::new([0u8; 32]);
    random::fill(&mut random[..])?;
    let mut out = [0; 32];
    let counter = random::next_counter().to_be_bytes();
    kdf::derive(
        key,
        Label::SALT,
        &[&random[..], &version.to_be_bytes(), &counter],
        &mut out,
    );
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
    fn with_context<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
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
    let salt = fresh_salt(key, 0)?;
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
