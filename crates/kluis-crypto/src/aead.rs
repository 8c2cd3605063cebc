//! The one seam behind which the cipher sits: ChaCha20-Poly1305, RFC 8439.
//! Whatever implements it must give the same bytes.
//!
//! There are two: the crate `chacha20poly1305`, in Rust throughout, and with the
//! feature `ring` that crate, in assembler, which is nearly twice as fast.

use crate::{Error, Result};

#[cfg(feature = "ring")]
use assembler::Key;
#[cfg(not(feature = "ring"))]
use portable::Key;

pub(crate) const TAG: usize = 16;
pub(crate) type Nonce = [u8; 12];

/// A key that is ready to seal and open. Wiped on drop.
pub(crate) struct Aead(Key);

impl Aead {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Key::new(key))
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
        *tag = self
            .0
            .seal(nonce, aad, buffer)
            .ok_or(Error::LimitExceeded("message of one AEAD call"))?;
        Ok(())
    }

    /// Checks the tag and decrypts `ciphertext` into `plaintext`, which is as long.
    /// When the tag is wrong nothing decrypted is left there: it holds what it held
    /// before, or zeros.
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
        if ciphertext.len() != plaintext.len() {
            return Err(Error::Tampered);
        }
        self.0
            .open(nonce, aad, ciphertext, tag, plaintext)
            .ok_or(Error::Tampered)
    }
}

#[cfg(any(test, not(feature = "ring")))]
mod portable {
    use super::{Nonce, TAG};
    use chacha20poly1305::aead::inout::InOutBuf;
    use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag};

    pub(super) struct Key(ChaCha20Poly1305);

    impl Key {
        pub(super) fn new(key: &[u8; 32]) -> Self {
            Self(ChaCha20Poly1305::new(key.into()))
        }

        pub(super) fn seal(
            &self,
            nonce: &Nonce,
            aad: &[u8],
            buffer: &mut [u8],
        ) -> Option<[u8; TAG]> {
            let buffer = InOutBuf::from(buffer);
            let tag = self.0.encrypt_inout_detached(nonce.into(), aad, buffer);
            tag.ok().map(Into::into)
        }

        pub(super) fn open(
            &self,
            nonce: &Nonce,
            aad: &[u8],
            ciphertext: &[u8],
            tag: &[u8; TAG],
            plaintext: &mut [u8],
        ) -> Option<()> {
            let buffer = InOutBuf::new(ciphertext, plaintext).ok()?;
            let tag = Tag::from(*tag);
            self.0
                .decrypt_inout_detached(nonce.into(), aad, buffer, &tag)
                .ok()
        }
    }
}

#[cfg(feature = "ring")]
mod assembler {
    use super::{Nonce, TAG};
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Tag, UnboundKey};
    use zeroize::optimization_barrier;

    /// None for a key of a wrong length, which this is not.
    pub(super) struct Key(Option<LessSafeKey>);

    impl Key {
        pub(super) fn new(key: &[u8; 32]) -> Self {
            Self(Self::of(key))
        }

        fn of(key: &[u8; 32]) -> Option<LessSafeKey> {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
            Some(LessSafeKey::new(key))
        }

        pub(super) fn seal(
            &self,
            nonce: &Nonce,
            aad: &[u8],
            buffer: &mut [u8],
        ) -> Option<[u8; TAG]> {
            let (nonce, aad) = of_ring(nonce, aad);
            let key = self.0.as_ref()?;
            let tag = key.seal_in_place_separate_tag(nonce, aad, buffer).ok()?;
            tag.as_ref().try_into().ok()
        }

        /// Decrypts while it checks, and wipes what it decrypted if the tag is wrong.
        pub(super) fn open(
            &self,
            nonce: &Nonce,
            aad: &[u8],
            ciphertext: &[u8],
            tag: &[u8; TAG],
            plaintext: &mut [u8],
        ) -> Option<()> {
            let (nonce, aad) = of_ring(nonce, aad);
            let key = self.0.as_ref()?;
            plaintext.copy_from_slice(ciphertext);
            key.open_in_place_separate_tag(nonce, aad, Tag::from(*tag), plaintext, 0..)
                .ok()
                .map(drop)
        }
    }

    fn of_ring<'a>(nonce: &Nonce, aad: &'a [u8]) -> (ring::aead::Nonce, Aad<&'a [u8]>) {
        let nonce = ring::aead::Nonce::assume_unique_for_key(*nonce);
        (nonce, Aad::from(aad))
    }

    impl Drop for Key {
        fn drop(&mut self) {
            // ring does not wipe its keys. Another one in the same place does, and
            // the barrier keeps it there.
            self.0 = Self::of(&[0; 32]);
            optimization_barrier(&self.0);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::pattern;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// Counts attempts to open, so that tests can prove that a commitment
        /// was checked before any.
        pub(crate) static OPENED: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn a_wrong_tag_decrypts_nothing() {
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
        assert!(out == [0xaa; 14] || out == [0; 14]);
        assert_eq!(
            aead.open(&[0; 12], b"", &text, &tag, &mut out[..13]),
            Err(Error::Tampered)
        );
    }

    /// Seals and opens with what is behind the seam and with the portable one, which
    /// with the feature `ring` are two.
    fn both_agree(key: &[u8; 32], nonce: &Nonce, aad: &[u8], text: &[u8], flip: usize) {
        let (seam, portable) = (Aead::new(key), portable::Key::new(key));
        let (mut sealed, mut expected) = (text.to_vec(), text.to_vec());
        let mut tag = [0; TAG];
        seam.seal(nonce, aad, &mut sealed, &mut tag).unwrap();
        let expected_tag = portable.seal(nonce, aad, &mut expected).unwrap();
        assert_eq!((&sealed, tag), (&expected, expected_tag), "{}", text.len());

        let mut out = vec![1; text.len()];
        seam.open(nonce, aad, &sealed, &tag, &mut out).unwrap();
        assert_eq!(out, text);
        // One bit of the ciphertext, the tag, the additional data or the nonce.
        let (mut nonce, mut aad) = (*nonce, aad.to_vec());
        let all = sealed
            .iter_mut()
            .chain(&mut tag)
            .chain(&mut aad)
            .chain(&mut nonce);
        let mut all: Vec<&mut u8> = all.collect();
        let at = flip % (8 * all.len());
        *all[at / 8] ^= 1 << (at % 8);
        let opened = seam.open(&nonce, &aad, &sealed, &tag, &mut out);
        assert_eq!(opened, Err(Error::Tampered), "bit {at}");
        let mut out = vec![1; text.len()];
        assert_eq!(portable.open(&nonce, &aad, &sealed, &tag, &mut out), None);
    }

    /// Every length up to a kilobyte, where the assembler has its borders, and
    /// around a chunk.
    #[test]
    fn what_implements_the_seam_gives_the_same_bytes_for_every_length() {
        let borders = [2_048, 4_096, 8_192, 16_384, 32_768];
        let around = |border: usize| border - 65..border + 65;
        for length in (0..1_100).chain(borders.into_iter().flat_map(around)) {
            let (key, nonce) = ([length as u8; 32], [(length >> 8) as u8; 12]);
            let aad = pattern(length % 70);
            both_agree(&key, &nonce, &aad, &pattern(length), length * 31);
        }
    }

    proptest! {
        #[test]
        fn what_implements_the_seam_gives_the_same_bytes(
            key: [u8; 32],
            nonce: Nonce,
            aad in prop::collection::vec(any::<u8>(), 0..300),
            text in prop::collection::vec(any::<u8>(), 0..40_000),
            flip: usize,
        ) {
            both_agree(&key, &nonce, &aad, &text, flip);
        }
    }
}
