//! Keys for somebody else: HPKE (RFC 9180) in base mode with HKDF-SHA-256,
//! export-only. What comes out is the input key of a sealed record or of a slot,
//! both of which commit to it; HPKE's own AEADs do not.

use crate::secret::secret_key;
use crate::signature::is_canonical;
use crate::{Error, IdentitySuite, Result, random};
use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use hpke::{setup_receiver, setup_sender_with_rng};
use std::convert::Infallible;

secret_key! {
    /// The secret half of what is sealed to: the seed of an X-Wing key or an
    /// X25519 key, by the suite of its identity.
    pub(crate) struct KemSeed;
}
secret_key! {
    /// What both sides derive. Fresh for each encapsulation.
    pub(crate) struct ExportedKey;
}

/// An X25519 key stands at the end of every public key and encapsulated key.
const POINT: usize = 32;

impl IdentitySuite {
    /// Bytes of an encapsulated key.
    pub(crate) fn encapsulated_length(self) -> usize {
        match self {
            Self::XWing => 1_088 + POINT,
            Self::X25519 => POINT,
        }
    }

    /// The public key of a seed.
    pub(crate) fn public_key(self, seed: &KemSeed) -> Result<Vec<u8>> {
        match self {
            Self::XWing => public_key::<XWing>(seed),
            Self::X25519 => public_key::<X25519HkdfSha256>(seed),
        }
    }

    /// Whether a stranger's public key can be sealed to: the ML-KEM part as FIPS
    /// 203, section 7.2 has it, the X25519 part in its one encoding and not of
    /// small order.
    pub(crate) fn is_sound(self, key: &[u8]) -> bool {
        let parsed = match self {
            Self::XWing => <XWing as Kem>::PublicKey::from_bytes(key).is_ok(),
            Self::X25519 => key.len() == POINT,
        };
        parsed && ends_in_point(key)
    }

    /// Makes a key for the holder of `public_key` and what he needs to derive it.
    ///
    /// # Errors
    /// `Randomness`; `Tampered` for a key that is not sound.
    pub(crate) fn encapsulate(
        self,
        public_key: &[u8],
        info: &[u8],
    ) -> Result<(Vec<u8>, ExportedKey)> {
        if !self.is_sound(public_key) {
            return Err(Error::Tampered);
        }
        match self {
            Self::XWing => encapsulate::<XWing>(public_key, info),
            Self::X25519 => encapsulate::<X25519HkdfSha256>(public_key, info),
        }
    }

    /// Derives the key again. Another encapsulated key, seed or info gives another
    /// key, not an error: what the key opens has to commit to it.
    ///
    /// # Errors
    /// `Tampered` for a wrong length, or a point of small order or in another
    /// encoding.
    pub(crate) fn decapsulate(
        self,
        seed: &KemSeed,
        encapsulated: &[u8],
        info: &[u8],
    ) -> Result<ExportedKey> {
        #[cfg(test)]
        tests::DECAPSULATED.with(|n| n.set(n.get() + 1));
        if encapsulated.len() != self.encapsulated_length() || !ends_in_point(encapsulated) {
            return Err(Error::Tampered);
        }
        match self {
            Self::XWing => decapsulate::<XWing>(seed, encapsulated, info),
            Self::X25519 => decapsulate::<X25519HkdfSha256>(seed, encapsulated, info),
        }
    }
}

/// Whether the last 32 bytes are the one encoding of a point that every clamped
/// scalar takes to something else than zero (RFC 7748, section 6.1): the secret
/// shared with one of small order is known to everybody.
///
/// One scalar tells for all: a clamped scalar is a multiple of the cofactor, so
/// that points of small order vanish, and below the order of curve and twist
/// times the cofactor, so that no other does.
fn ends_in_point(key: &[u8]) -> bool {
    key.last_chunk::<POINT>().is_some_and(|point| {
        is_canonical(point) && x25519_dalek::x25519([1; 32], *point) != [0; 32]
    })
}

fn public_key<K: Kem>(seed: &KemSeed) -> Result<Vec<u8>> {
    let key = K::PrivateKey::from_bytes(seed.expose_secret()).map_err(|_| Error::Tampered)?;
    Ok(K::sk_to_pk(&key).to_bytes().to_vec())
}

fn encapsulate<K: Kem>(public_key: &[u8], info: &[u8]) -> Result<(Vec<u8>, ExportedKey)> {
    let key = K::PublicKey::from_bytes(public_key).map_err(|_| Error::Tampered)?;
    let mut source = Source(Ok(()));
    let made = setup_sender_with_rng::<ExportOnlyAead, HkdfSha256, K>(
        &OpModeS::Base,
        &key,
        info,
        &mut source,
    );
    // What was made from bytes that are not random goes no further.
    source.0?;
    let (encapsulated, context) = made.map_err(|_| Error::Tampered)?;
    let exported = exported(|out| context.export(&[], out))?;
    Ok((encapsulated.to_bytes().to_vec(), exported))
}

fn decapsulate<K: Kem>(seed: &KemSeed, encapsulated: &[u8], info: &[u8]) -> Result<ExportedKey> {
    let key = K::PrivateKey::from_bytes(seed.expose_secret()).map_err(|_| Error::Tampered)?;
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| Error::Tampered)?;
    let context =
        setup_receiver::<ExportOnlyAead, HkdfSha256, K>(&OpModeR::Base, &key, &encapsulated, info)
            .map_err(|_| Error::Tampered)?;
    exported(|out| context.export(&[], out))
}

/// `Context.Export("", 32)`
fn exported<E>(
    export: impl FnOnce(&mut [u8]) -> std::result::Result<(), E>,
) -> Result<ExportedKey> {
    let mut done = Ok(());
    let key = ExportedKey::init_with(|out| done = export(out).map_err(|_| Error::Tampered));
    done.map(|()| key)
}

/// Our one source of randomness, in the shape that the crate wants, which knows no
/// failure: the first one is kept.
struct Source(Result<()>);

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), Infallible> {
        if self.0.is_ok() {
            self.0 = random::fill(out);
        }
        Ok(())
    }
}

impl TryCryptoRng for Source {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::random::scripted::{self, Source};
    use crate::testing::SUITES;
    use std::cell::Cell;

    thread_local! {
        /// Counts decapsulations.
        pub(crate) static DECAPSULATED: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn both_sides_derive_one_key() {
        for suite in SUITES {
            let seed = KemSeed::make().unwrap();
            let key = suite.public_key(&seed).unwrap();
            let (enc, made) = suite.encapsulate(&key, b"info").unwrap();
            assert_eq!(enc.len(), suite.encapsulated_length());
            let again = suite.decapsulate(&seed, &enc, b"info").unwrap();
            assert_eq!(made.expose_secret(), again.expose_secret());
            let other = suite.decapsulate(&seed, &enc, b"Info").unwrap();
            assert_ne!(made.expose_secret(), other.expose_secret());
            let (_, other) = suite.encapsulate(&key, b"info").unwrap();
            assert_ne!(made.expose_secret(), other.expose_secret());
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        for suite in SUITES {
            let seed = KemSeed::make().unwrap();
            let key = suite.public_key(&seed).unwrap();
            let (enc, _) = suite.encapsulate(&key, b"").unwrap();
            for length in (0..enc.len()).chain([enc.len() + 1, 2 * enc.len()]) {
                let mut other = enc.clone();
                other.resize(length, 1);
                let found = suite.decapsulate(&seed, &other, b"");
                assert!(matches!(found, Err(Error::Tampered)));
            }
            for length in (0..key.len()).chain([key.len() + 1]) {
                let mut other = key.clone();
                other.resize(length, 1);
                assert!(!suite.is_sound(&other));
            }
        }
    }

    /// A ciphertext of ML-KEM that was altered is another key and no error.
    #[test]
    fn k03_another_encapsulated_key_gives_another_key() {
        let suite = IdentitySuite::XWing;
        let seed = KemSeed::make().unwrap();
        let (enc, made) = suite
            .encapsulate(&suite.public_key(&seed).unwrap(), b"")
            .unwrap();
        let mut seen = std::collections::HashSet::from([*made.expose_secret()]);
        for at in (0..1_088).step_by(64) {
            let mut other = enc.clone();
            other[at] ^= 1;
            let found = suite.decapsulate(&seed, &other, b"").unwrap();
            assert!(seen.insert(*found.expose_secret()));
        }
    }

    /// Randomness that ends in the middle.
    #[test]
    fn without_randomness_nothing_is_encapsulated() {
        for (suite, needed) in SUITES.into_iter().zip([64, 32]) {
            let key = suite.public_key(&KemSeed::make().unwrap()).unwrap();
            for there in [0, 1, needed - 1, needed] {
                let found = scripted::with(Source::Bytes(vec![7; there]), || {
                    suite.encapsulate(&key, b"")
                });
                match found {
                    Ok(_) => assert_eq!(there, needed),
                    Err(error) => {
                        assert_eq!(error, Error::Randomness);
                        assert!(there < needed);
                    }
                }
            }
        }
    }
}
