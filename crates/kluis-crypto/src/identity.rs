//! Identities: what a person or a device holds, so that others can seal to it and
//! know what it signed (docs/FORMAT.md, section 11).

use crate::armor::Armor;
use crate::card::{Body, Card, IdentitySuite, PublicKeys, Replacement, grant_place};
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{KdfCeiling, KdfParams, Password, random_bytes, stretch};
use crate::header::check_magic;
use crate::kdf::domain;
use crate::kem::{ExportedKey, KemSeed};
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::{Error, RecordHash, Result, VaultId, signature};
use std::fmt;
use zeroize::Zeroizing;

secret_key! {
    /// Seed of an identity's signing key.
    struct SigningSeed;
}

/// The secret half of a [`Card`]: opens what was sealed to it, and signs.
pub struct Identity {
    signing: SigningSeed,
    sealing: KemSeed,
    card: Card,
}

/// What an identity is made from; its card follows from it.
struct Secrets {
    suite: IdentitySuite,
    signing: SigningSeed,
    sealing: KemSeed,
    created: u64,
    replaces: Option<Replacement>,
}

impl Record for Secrets {
    fn write(&self, to: &mut Writer) {
        to.array(5)
            .uint(self.suite.number().into())
            .bytes(self.signing.expose_secret())
            .bytes(self.sealing.expose_secret())
            .uint(self.created);
        Replacement::write(self.replaces.as_ref(), to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(5)?;
        let suite = IdentitySuite::from_number(from.uint()?)?;
        let (signing, sealing) = (from.fixed()?, from.fixed()?);
        Ok(Self {
            suite,
            signing: SigningSeed::init_with(|out| *out = *signing),
            sealing: KemSeed::init_with(|out| *out = *sealing),
            created: from.uint()?,
            replaces: Replacement::read(from)?,
        })
    }
}

impl Secrets {
    fn make(suite: IdentitySuite, now: u64) -> Result<Self> {
        Ok(Self {
            suite,
            signing: SigningSeed::make()?,
            sealing: KemSeed::make()?,
            created: now,
            replaces: None,
        })
    }

    fn public_keys(&self) -> Result<PublicKeys> {
        Ok(PublicKeys {
            suite: self.suite,
            signing: signature::public_key(self.signing.expose_secret()),
            sealing: self.suite.public_key(&self.sealing)?,
        })
    }
}

impl Identity {
    /// A new identity. `now` is in microseconds since 1970.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn make(suite: IdentitySuite, now: u64) -> Result<Self> {
        Self::of(Secrets::make(suite, now)?)
    }

    /// A new identity of the same suite whose card says, signed by this one, that it
    /// follows it. What was sealed to the old one stays with the old one.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn replaced(&self, now: u64) -> Result<Self> {
        let mut secrets = Secrets::make(self.card.suite(), now)?;
        let new = secrets.public_keys()?;
        let sign = |domain, message: &[&[u8]]| self.sign(domain, message);
        secrets.replaces = Some(Replacement::make(&self.card, sign, &new));
        Self::of(secrets)
    }

    fn of(secrets: Secrets) -> Result<Self> {
        let body = Body {
            keys: secrets.public_keys()?,
            created: secrets.created,
            replaces: secrets.replaces,
        };
        let seed = secrets.signing.expose_secret();
        let card = Card::make(body, |domain, message| {
            signature::sign(seed, domain, message)
        });
        Ok(Self {
            signing: secrets.signing,
            sealing: secrets.sealing,
            card,
        })
    }

    /// The public half.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The one encoding of the secrets, from which the whole identity follows.
    pub(crate) fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        Secrets {
            suite: self.card.suite(),
            signing: self.signing.duplicate(),
            sealing: self.sealing.duplicate(),
            created: self.card.created(),
            replaces: self.card.replaces().cloned(),
        }
        .encode()
    }

    /// # Errors
    /// `UnsupportedFormat` of a later version, otherwise `Tampered`.
    pub(crate) fn from_secret_bytes(bytes: &[u8]) -> Result<Self> {
        let identity = Self::of(Secrets::decode(bytes)?)?;
        // A replacement is as much a stranger's claim here as on a card.
        Card::parse(identity.card.as_bytes())?;
        Ok(identity)
    }

    /// Signs `domain ‖ message`.
    pub(crate) fn sign(&self, domain: &'static [u8], message: &[&[u8]]) -> [u8; 64] {
        signature::sign(self.signing.expose_secret(), domain, message)
    }

    /// Opens what [`Card::seal`] sealed to this identity in this place of this vault.
    /// It does not say who sealed it.
    ///
    /// # Errors
    /// `Tampered`, whatever is wrong.
    pub fn open(&self, vault: &VaultId, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let suite = self.card.suite();
        let (encapsulated, record) = sealed
            .split_at_checked(suite.encapsulated_length())
            .ok_or(Error::Tampered)?;
        let info = self.card.info(domain::GRANT, &[vault.as_bytes()]);
        let key = self.decapsulate(encapsulated, &info)?;
        message::open(key.expose_secret(), &grant_place(vault, place), record)
    }

    /// The key that [`Card::encapsulate`] made.
    pub(crate) fn decapsulate(&self, encapsulated: &[u8], info: &[u8]) -> Result<ExportedKey> {
        self.card
            .suite()
            .decapsulate(&self.sealing, encapsulated, info)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.card.fingerprint())
            .finish_non_exhaustive()
    }
}

/// An identity under a password, as a text: what its owner keeps in a file.
///
/// `"KLI1" ‖ [card, [m, t, 1], salt, Seal(Argon2id(password, salt), "identity",
/// 16 zero bytes, H(card), secrets)]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFile {
    card: Card,
    params: KdfParams,
    salt: [u8; 32],
    sealed: Vec<u8>,
}

/// The vault of what belongs to none.
const NO_VAULT: VaultId = VaultId([0; 16]);

impl IdentityFile {
    /// Bytes of the longest identity file, before they are written as text.
    pub const MAX_LENGTH: usize = 4_096;
    /// Longer texts are not looked at.
    pub const MAX_TEXT: usize = 16_384;
    const MAX_SEALED: usize = 1_024;
    const MAGIC: [u8; 4] = *b"KLI1";
    const ARMOR: Armor = Armor {
        label: "IDENTITY",
        name: ("an", "identity file"),
        max: Self::MAX_LENGTH,
        over: "length of an identity file",
        max_text: Self::MAX_TEXT,
    };

    /// Protects an identity with a password.
    ///
    /// # Errors
    /// `InvalidInput` for an unusable password, `Randomness`, `LimitExceeded` where
    /// memory for Argon2id is short.
    pub fn seal(identity: &Identity, password: &Password, params: KdfParams) -> Result<Self> {
        let salt = random_bytes()?;
        let kek = stretch(password, &salt, params)?;
        let card = identity.card.clone();
        let sealed = Self::with_place(&card.hash(), |place| {
            message::seal(kek.expose_secret(), place, &identity.to_secret_bytes())
        })?;
        Ok(Self {
            card,
            params,
            salt,
            sealed,
        })
    }

    fn with_place<T>(card: &RecordHash, with: impl FnOnce(&Place<'_>) -> T) -> T {
        with(&Place {
            kind: "identity",
            vault: &NO_VAULT,
            place: card.as_bytes(),
        })
    }

    /// Reads the text of an identity file; lines before and after it are for people.
    ///
    /// # Errors
    /// `InvalidInput` where the text does not hold exactly one; `UnsupportedFormat`
    /// of a later version; `LimitExceeded`; otherwise `Tampered`.
    pub fn parse(text: &str) -> Result<Self> {
        let file = Self::ARMOR.read(text)?;
        Self::decode(check_magic(&file, Self::MAGIC)?)
    }

    /// The text to write into a file.
    pub fn to_armor(&self) -> String {
        let mut file = Self::MAGIC.to_vec();
        file.extend_from_slice(&self.encode());
        Self::ARMOR.write(&file)
    }

    /// The public half, which needs no password.
    ///
    /// # Security
    /// What the file says: that the secrets are this card's is checked when it is
    /// opened.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The cost of a guess.
    pub fn kdf_params(&self) -> KdfParams {
        self.params
    }

    /// Opens the file. One Argon2id run, whose cost is within the limits of the format
    /// and the ceiling of the caller.
    ///
    /// # Errors
    /// `WrongCredentials`; `InvalidInput` for an unusable password; `LimitExceeded`;
    /// `Tampered` where the password is right and the file is not.
    pub fn open(&self, password: &Password, ceiling: KdfCeiling) -> Result<Identity> {
        ceiling.check(self.params)?;
        let kek = stretch(password, &self.salt, self.params)?;
        let secrets = Self::with_place(&self.card.hash(), |place| {
            if message::commits(kek.expose_secret(), place, &self.sealed) {
                message::open(kek.expose_secret(), place, &self.sealed)
            } else {
                Err(Error::WrongCredentials)
            }
        })?;
        let identity = Identity::from_secret_bytes(&secrets)?;
        if identity.card == self.card {
            Ok(identity)
        } else {
            Err(Error::Tampered)
        }
    }
}

impl Record for IdentityFile {
    fn write(&self, to: &mut Writer) {
        to.array(4).bytes(self.card.as_bytes());
        KdfParams::write(Some(self.params), to);
        to.bytes(&self.salt).bytes(&self.sealed);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(4)?;
        let card = Card::parse(from.bytes(Card::MAX_LENGTH)?)?;
        let params = KdfParams::read(from)?.ok_or(Error::Tampered)?;
        Ok(Self {
            card,
            params,
            salt: *from.fixed()?,
            sealed: from.bytes(Self::MAX_SEALED)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const SUITES: [IdentitySuite; 2] = [IdentitySuite::XWing, IdentitySuite::X25519];
    const VAULT: VaultId = VaultId([4; 16]);

    #[test]
    fn what_is_sealed_to_a_card_its_identity_opens() {
        for suite in SUITES {
            let identity = Identity::make(suite, 7).unwrap();
            let card = Card::parse(identity.card().as_bytes()).unwrap();
            assert_eq!(&card, identity.card());
            let sealed = card.seal(&VAULT, b"place", b"text").unwrap();
            let opened = identity.open(&VAULT, b"place", &sealed).unwrap();
            assert_eq!(**opened, *b"text");
            let again = Identity::from_secret_bytes(&identity.to_secret_bytes()).unwrap();
            assert_eq!(again.card(), identity.card());
            assert!(again.open(&VAULT, b"place", &sealed).is_ok());

            let next = identity.replaced(8).unwrap();
            let next_card = Card::parse(next.card().as_bytes()).unwrap();
            assert!(next_card.is_replacement_of(&card));
            let again = Identity::from_secret_bytes(&next.to_secret_bytes()).unwrap();
            assert_eq!(again.card(), next.card());
            let words = card.fingerprint().to_string();
            assert_eq!(words.split(' ').count(), 12);
            assert_eq!(words.parse(), Ok(card.fingerprint()));
        }
    }
}
