//! Cards: the public half of an identity, and the fingerprint by which people
//! verify it (docs/FORMAT.md, section 11).

use crate::armor::Armor;
use crate::cbor::{Reader, Record, Writer};
use crate::header::check_magic;
use crate::kdf::domain;
use crate::kem::ExportedKey;
use crate::message::{self, Place};
use crate::signature;
use crate::{Error, RecordHash, Result, VaultId};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// How things are sealed to an identity. One for each identity, and nothing is
/// negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentitySuite {
    /// X-Wing: X25519 and ML-KEM-768 together, so that what is recorded today is
    /// not opened by a quantum computer later. The default.
    XWing,
    /// X25519 alone, for peers that cannot do the other.
    X25519,
}

impl IdentitySuite {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::XWing => 1,
            Self::X25519 => 2,
        }
    }

    pub(crate) fn from_number(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::XWing),
            2 => Ok(Self::X25519),
            _ => Err(Error::UnsupportedFormat("suite of an identity")),
        }
    }

    /// Whether what is sealed to it is kept from a quantum computer too.
    pub fn is_post_quantum(self) -> bool {
        matches!(self, Self::XWing)
    }
}

/// 128 bits of a hash of an identity's public keys, shown as 12 words (BIP-39,
/// English): what two people compare to be sure of a card.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The bits themselves.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 16 bytes are a length that BIP-39 knows.
        let words = bip39::Mnemonic::from_entropy(&self.0).map_err(|_| fmt::Error)?;
        for (i, word) in words.words().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{word}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    /// 12 words; case and spacing do not matter.
    fn from_str(words: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("a fingerprint has 12 words; one is misspelt, missing or out of order")
        };
        let mut normal = String::new();
        for word in words.split_whitespace() {
            if normal.len() > 12 * 9 {
                return Err(wrong());
            }
            if !normal.is_empty() {
                normal.push(' ');
            }
            normal.push_str(&word.to_ascii_lowercase());
        }
        let words = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &normal)
            .map_err(|_| wrong())?;
        match words.to_entropy_array() {
            (entropy, 16) => entropy[..16].try_into().map(Self).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

/// What a fingerprint is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKeys {
    pub(crate) suite: IdentitySuite,
    /// Ed25519.
    pub(crate) signing: [u8; 32],
    pub(crate) sealing: Vec<u8>,
}

impl PublicKeys {
    /// `u32(suite) ‖ signing key ‖ sealing key`, whose lengths follow from the suite.
    fn hashed(&self) -> [Vec<u8>; 3] {
        [
            self.suite.number().to_be_bytes().to_vec(),
            self.signing.to_vec(),
            self.sealing.clone(),
        ]
    }

    /// `SHA-256("kluis/v1/fingerprint" ‖ 0x00 ‖ keys)[..16]`
    fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new().chain_update(domain::FINGERPRINT);
        for part in self.hashed() {
            hash.update(part);
        }
        let mut bits = [0; 16];
        bits.copy_from_slice(&hash.finalize()[..16]);
        Fingerprint(bits)
    }
}

/// Says that one identity follows another: signed by the older one.
///
/// # Security
/// Whoever stole the older identity signs such a thing as well. It is shown to the
/// person who verifies the new card and never suffices by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    fingerprint: Fingerprint,
    key: [u8; 32],
    signature: [u8; 64],
}

impl Replacement {
    /// The card that is replaced.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// `signature = Ed25519(old key; "kluis/v1/replacement" ‖ 0x00 ‖ old fingerprint ‖ new keys)`
    pub(crate) fn make(
        old: &Card,
        sign: impl FnOnce(&'static [u8], &[&[u8]]) -> [u8; 64],
        new: &PublicKeys,
    ) -> Self {
        let fingerprint = old.fingerprint();
        let [suite, signing, sealing] = new.hashed();
        Self {
            fingerprint,
            key: old.body.keys.signing,
            signature: sign(
                domain::REPLACEMENT,
                &[&fingerprint.0, &suite, &signing, &sealing],
            ),
        }
    }

    fn verify(&self, new: &PublicKeys) -> Result<()> {
        if !signature::is_sound(&self.key) {
            return Err(Error::Tampered);
        }
        let [suite, signing, sealing] = new.hashed();
        signature::verify(
            &self.key,
            domain::REPLACEMENT,
            &[&self.fingerprint.0, &suite, &signing, &sealing],
            &self.signature,
        )
    }

    pub(crate) fn write(replaces: Option<&Self>, to: &mut Writer) {
        match replaces {
            None => to.array(0),
            Some(replaced) => to
                .array(3)
                .bytes(&replaced.fingerprint.0)
                .bytes(&replaced.key)
                .bytes(&replaced.signature),
        };
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Option<Self>> {
        match from.array_of_any(3)? {
            0 => Ok(None),
            3 => Ok(Some(Self {
                fingerprint: Fingerprint(*from.fixed()?),
                key: *from.fixed()?,
                signature: *from.fixed()?,
            })),
            _ => Err(Error::Tampered),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) keys: PublicKeys,
    /// Microseconds since 1970, by the clock of who made it.
    pub(crate) created: u64,
    pub(crate) replaces: Option<Replacement>,
}

impl Record for Body {
    fn write(&self, to: &mut Writer) {
        to.array(5)
            .uint(self.keys.suite.number().into())
            .bytes(&self.keys.signing)
            .bytes(&self.keys.sealing)
            .uint(self.created);
        Replacement::write(self.replaces.as_ref(), to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(5)?;
        let suite = IdentitySuite::from_number(from.uint()?)?;
        let keys = PublicKeys {
            suite,
            signing: *from.fixed()?,
            sealing: from.bytes(Card::MAX_LENGTH)?.to_vec(),
        };
        Ok(Self {
            keys,
            created: from.uint()?,
            replaces: Replacement::read(from)?,
        })
    }
}

/// The public half of an identity, signed by itself: what others need to seal to
/// it and to check what it signed.
///
/// # Security
/// A card says nothing about whose it is. Compare its [`fingerprint`] with the
/// one its owner shows before anything is sealed to it.
///
/// [`fingerprint`]: Self::fingerprint
#[derive(Clone, PartialEq, Eq)]
pub struct Card {
    body: Body,
    fingerprint: Fingerprint,
    record: Vec<u8>,
}

impl Card {
    /// A longer record is not a card.
    pub const MAX_LENGTH: usize = 2_048;
    /// Longer texts are not looked at.
    pub const MAX_TEXT: usize = 16_384;
    const MAGIC: [u8; 4] = *b"KLC1";
    const ARMOR: Armor = Armor {
        label: "CARD",
        name: ("a", "card"),
        max: Self::MAX_LENGTH,
        over: "length of a card",
        max_text: Self::MAX_TEXT,
    };

    /// `card = "KLC1" ‖ body ‖ Ed25519("kluis/v1/card" ‖ 0x00 ‖ "KLC1" ‖ body)`
    pub(crate) fn make(body: Body, sign: impl FnOnce(&'static [u8], &[&[u8]]) -> [u8; 64]) -> Self {
        let mut record = Self::MAGIC.to_vec();
        record.extend_from_slice(&body.encode());
        let signature = sign(domain::CARD, &[&record]);
        record.extend_from_slice(&signature);
        Self {
            fingerprint: body.keys.fingerprint(),
            body,
            record,
        }
    }

    /// Parses a card of a stranger: its signatures are good and its keys are of the
    /// kind that can be used.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version, `LimitExceeded`, otherwise `Tampered`.
    pub fn parse(record: &[u8]) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded(Self::ARMOR.over));
        }
        check_magic(record, Self::MAGIC)?;
        let (signed, signature) = record.split_last_chunk::<64>().ok_or(Error::Tampered)?;
        let body = signed.get(Self::MAGIC.len()..).ok_or(Error::Tampered)?;
        // Suite and signing key stand first in every version's card: what a later
        // one wrote is signed.
        let mut from = Reader::new(body);
        from.array_up_to(64)?;
        from.uint()?;
        let key = from.fixed()?;
        if !signature::is_sound(key) {
            return Err(Error::Tampered);
        }
        signature::verify(key, domain::CARD, &[signed], signature)?;

        let body = Body::decode(body)?;
        if !body.keys.suite.is_sound(&body.keys.sealing) {
            return Err(Error::Tampered);
        }
        if let Some(replaced) = &body.replaces {
            replaced.verify(&body.keys)?;
        }
        Ok(Self {
            fingerprint: body.keys.fingerprint(),
            body,
            record: record.to_vec(),
        })
    }

    /// Reads the text of a card; lines before and after it are for people.
    ///
    /// # Errors
    /// `InvalidInput` where the text does not hold exactly one card; otherwise as
    /// [`parse`](Self::parse).
    pub fn from_armor(text: &str) -> Result<Self> {
        Self::parse(&Self::ARMOR.read(text)?)
    }

    /// The card as a text, to be sent or put on a page.
    pub fn to_armor(&self) -> String {
        Self::ARMOR.write(&self.record)
    }

    /// What two people compare to be sure of this card.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The hash of the whole card.
    pub fn hash(&self) -> RecordHash {
        RecordHash::of(&self.record)
    }

    /// How things are sealed to it.
    pub fn suite(&self) -> IdentitySuite {
        self.body.keys.suite
    }

    /// When it was made, in microseconds since 1970, by the clock of who made it.
    pub fn created(&self) -> u64 {
        self.body.created
    }

    /// The card that this one says it replaces.
    pub fn replaces(&self) -> Option<&Replacement> {
        self.body.replaces.as_ref()
    }

    /// Whether the holder of `old` signed that this card follows it; see
    /// [`Replacement`] for what that is worth.
    pub fn is_replacement_of(&self, old: &Card) -> bool {
        self.replaces().is_some_and(|replaced| {
            replaced.fingerprint == old.fingerprint && replaced.key == old.body.keys.signing
        })
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.record
    }

    /// Checks a signature of the identity.
    #[allow(dead_code, reason = "grants are to come")]
    pub(crate) fn verify(
        &self,
        domain: &'static [u8],
        message: &[&[u8]],
        signature: &[u8; 64],
    ) -> Result<()> {
        signature::verify(&self.body.keys.signing, domain, message, signature)
    }

    /// Makes a key for the holder of the card: the encapsulated key and what it exports.
    pub(crate) fn encapsulate(&self, info: &[u8]) -> Result<(Vec<u8>, ExportedKey)> {
        self.suite().encapsulate(&self.body.keys.sealing, info)
    }

    /// `domain ‖ vault id ‖ … ‖ H(card)`
    pub(crate) fn info(&self, domain: &'static [u8], context: &[&[u8]]) -> Vec<u8> {
        let mut info = domain.to_vec();
        for part in context {
            info.extend_from_slice(part);
        }
        info.extend_from_slice(self.hash().as_bytes());
        info
    }

    /// Seals something for the holder of the card, in one place of one vault. It
    /// does not say who sealed it: sign what is inside.
    ///
    /// `sealed = enc ‖ Seal(exported key, "grant", vault id, place, plaintext)` with
    /// the info `"kluis/v1/grant" ‖ 0x00 ‖ vault id ‖ H(card)`
    ///
    /// # Errors
    /// `Randomness`.
    pub fn seal(&self, vault: &VaultId, place: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let info = self.info(domain::GRANT, &[vault.as_bytes()]);
        let (mut sealed, key) = self.encapsulate(&info)?;
        let record = message::seal(key.expose_secret(), &grant_place(vault, place), plaintext)?;
        sealed.extend_from_slice(&record);
        Ok(sealed)
    }
}

pub(crate) fn grant_place<'a>(vault: &'a VaultId, place: &'a [u8]) -> Place<'a> {
    Place {
        kind: "grant",
        vault,
        place,
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("suite", &self.suite())
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}
