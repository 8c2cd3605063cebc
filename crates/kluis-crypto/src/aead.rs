//! The one seam behind which the cipher sits: ChaCha20-Poly1305, RFC 8439.
//! Whatever implements it must give the same bytes.

use crate::{Error, Result};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag};

pub(crate) const TAG: usize = 16;
pub(crate) type Nonce = [u8; 12];

/// A key that is ready to seal and open. Wiped on drop.
pub(crate) struct Aead(ChaCha20Poly1305);

impl Aead {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts `buffer` in place and writes the tag.
    ///
    /// The caller proves that `nonce` is used once under this key.
    ///
    /// # Errors
    /// `LimitExceeded` above 256 GiB, the limit of RFC 8439.
    pub(crate) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &mut [u8; TAG],
    ) -> Result<()> {
        let sealed = self
            .0
            .encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer))
            .map_err(|_| Error::LimitExceeded("message of one AEAD call"))?;
        *tag = sealed.into();
        Ok(())
    }

    /// Checks the tag, then decrypts `ciphertext` into `plaintext`, which is as
    /// long. When the tag is wrong nothing is written.
    pub(crate) fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG],
        plaintext: &mut [u8],
    ) -> Result<()> {
        #[cfg(test)]
        tests::OPENED.with(|n| n.set(n.get() + 1));
        let buffer = InOutBuf::new(ciphertext, plaintext).map_err(|_| Error::Tampered)?;
        self.0
            .decrypt_inout_detached(nonce.into(), aad, buffer, &Tag::from(*tag))
            .map_err(|_| Error::Tampered)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// Counts attempts to open, so that tests can prove that a commitment
        /// was checked before any.
        pub(crate) static OPENED: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn a_wrong_tag_writes_nothing() {
        let aead = Aead::new(&[1; 32]);
        let mut text = *b"attack at dawn";
        let mut tag = [0; TAG];
        aead.seal(&[0; 12], b"", &mut text, &mut tag).unwrap();
        tag[0] ^= 1;
        let mut out = [0xaa; 14];
        assert_eq!(
            aead.open(&[0; 12], b"", &text, &tag, &mut out),
            Err(Error::Tampered)
        );
        assert_eq!(out, [0xaa; 14]);
    }
}
