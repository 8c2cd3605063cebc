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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentitySuite {
    /// X-Wing: X25519 and ML-KEM-768 together, so that what is recorded today is
    /// not opened by a quantum computer later. The default.
    #[default]
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
    /// Of these bits.
    pub fn from_bytes(bits: [u8; 16]) -> Self {
        Self(bits)
    }

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

    /// The key that signed it.
    #[cfg(test)]
    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
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

    /// The Ed25519 key that it signs with.
    pub fn signing_key(&self) -> &[u8; 32] {
        &self.body.keys.signing
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
        from.array_of_any(64)?;
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

    /// A card out of the owner's own records, which were authenticated: it was parsed
    /// before it came there, so that the work on its keys and signatures is not done
    /// again, a thousand times for a thousand people at every look at the ledger. Nothing
    /// is sealed to it before its key was checked all the same.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn known(record: &[u8]) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded(Self::ARMOR.over));
        }
        let signed = check_magic(record, Self::MAGIC)?;
        let (body, _) = signed.split_last_chunk::<64>().ok_or(Error::Tampered)?;
        let body = Body::decode(body)?;
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

    #[cfg(test)]
    pub(crate) fn keys(&self) -> &PublicKeys {
        &self.body.keys
    }

    /// Checks a signature of the identity.
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

    /// See [`info`].
    pub(crate) fn info(&self, domain: &'static [u8], context: &[&[u8]]) -> Vec<u8> {
        info(domain, context, &self.hash())
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

/// `domain ‖ vault id ‖ … ‖ H(card)`
pub(crate) fn info(domain: &'static [u8], context: &[&[u8]], card: &RecordHash) -> Vec<u8> {
    let mut info = domain.to_vec();
    for part in context {
        info.extend_from_slice(part);
    }
    info.extend_from_slice(card.as_bytes());
    info
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Identity;
    use crate::primitives::bad_points;
    use crate::testing::{SUITES, flips};
    use proptest::prelude::*;

    const SEED: [u8; 32] = [7; 32];

    /// What a holder of the signing key could write.
    pub(crate) fn signed_by(seed: &[u8; 32], body: &[u8]) -> Vec<u8> {
        let mut record = [&Card::MAGIC[..], body].concat();
        let signature = signature::sign(seed, domain::CARD, &[&record]);
        record.extend_from_slice(&signature);
        record
    }

    fn signed(body: &[u8]) -> Vec<u8> {
        signed_by(&SEED, body)
    }

    fn body(suite: IdentitySuite, sealing: &[u8]) -> Body {
        Body {
            keys: PublicKeys {
                suite,
                signing: signature::public_key(&SEED),
                sealing: sealing.to_vec(),
            },
            created: 5,
            replaces: None,
        }
    }

    fn sealing(suite: IdentitySuite) -> Vec<u8> {
        let identity = Identity::make(suite, 1).unwrap();
        identity.card().body.keys.sealing.clone()
    }

    fn parsed(suite: IdentitySuite, sealing: &[u8]) -> Result<Card> {
        Card::parse(&signed(&body(suite, sealing).encode()))
    }

    #[test]
    fn a_card_survives_being_written_down() {
        for suite in SUITES {
            let first = Identity::make(suite, 7).unwrap();
            for identity in [first.replaced(9).unwrap(), first] {
                let card = identity.card();
                assert_eq!(Card::parse(card.as_bytes()).as_ref(), Ok(card));
                let text = card.to_armor();
                assert!(text.lines().all(|line| line.len() <= 64));
                for text in [
                    text.clone(),
                    text.replace('\n', "\r\n"),
                    format!("Hi,\nmy card:\n{text}\nBob"),
                ] {
                    assert_eq!(Card::from_armor(&text).as_ref(), Ok(card));
                }
                assert_eq!(card.suite(), suite);
                assert!(card.as_bytes().len() < 1_500);
            }
        }
        let card = Identity::make(IdentitySuite::X25519, 7).unwrap();
        let text = card.card().to_armor();
        for bad in [
            String::new(),
            format!("{text}{text}"),
            text.replace("CARD", "IDENTITY"),
            text.replace("-----END KLUIS CARD-----", ""),
        ] {
            let found = Card::from_armor(&bad);
            assert!(matches!(found, Err(Error::InvalidInput(_))), "{bad}");
        }
        let long = "x".repeat(Card::MAX_TEXT + 1);
        assert!(matches!(
            Card::from_armor(&long),
            Err(Error::LimitExceeded(_))
        ));
        let long = Card::ARMOR.write(&[b'K'; Card::MAX_LENGTH + 1]);
        assert!(matches!(
            Card::from_armor(&long),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        for suite in SUITES {
            let identity = Identity::make(suite, 7).unwrap().replaced(8).unwrap();
            let card = identity.card().as_bytes();
            for (at, changed) in flips(card) {
                match Card::parse(&changed) {
                    Err(Error::Tampered) => {}
                    Err(Error::UnsupportedFormat(_)) if at == 3 => {}
                    other => panic!("byte {at}: {other:?}"),
                }
            }
            for length in 0..card.len() {
                assert_eq!(Card::parse(&card[..length]), Err(Error::Tampered));
            }
            let longer = [card, b"\0"].concat();
            assert_eq!(Card::parse(&longer), Err(Error::Tampered));
            let later = [b"KLC2", &card[4..]].concat();
            assert!(matches!(
                Card::parse(&later),
                Err(Error::UnsupportedFormat(_))
            ));
            let long = [card, &[0; Card::MAX_LENGTH]].concat();
            assert!(matches!(Card::parse(&long), Err(Error::LimitExceeded(_))));
        }
    }

    /// What is signed all right and cannot be sealed to.
    #[test]
    fn f03_keys_that_everybody_shares_a_secret_with_are_refused() {
        let [hybrid, classical] = SUITES;
        let good = sealing(hybrid);
        assert!(parsed(hybrid, &good).is_ok());
        for point in bad_points() {
            assert_eq!(parsed(classical, &point), Err(Error::Tampered));
            let bad = [&good[..1_184], &point].concat();
            assert_eq!(parsed(hybrid, &bad), Err(Error::Tampered));
        }
    }

    /// And one suite in the place of the other.
    #[test]
    fn k03_keys_of_another_form_are_refused() {
        let [hybrid, classical] = SUITES;
        let good = sealing(hybrid);
        let point = sealing(classical);
        // The first coefficient is 4,095, above the modulus.
        let overflow = [&[0xff, good[1] | 0x0f], &good[2..]].concat();
        for (suite, bad) in [
            (hybrid, &overflow[..]),
            (hybrid, &[]),
            (hybrid, &good[..1_184]),
            (hybrid, &good[1..]),
            (hybrid, &[&good[..], b"\0"].concat()),
            (hybrid, &point),
            (classical, &good),
            (classical, &point[1..]),
            (classical, &[&point[..], b"\0"].concat()),
            (classical, &[]),
        ] {
            assert_eq!(parsed(suite, bad), Err(Error::Tampered));
        }
        let mut body = body(hybrid, &good).encode();
        for suite in [0, 3, 23] {
            body[1] = suite;
            assert!(matches!(
                Card::parse(&signed(&body)),
                Err(Error::UnsupportedFormat(_))
            ));
        }
        // A later suite that nobody signed is damage.
        let mut damaged = signed(&body);
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(Card::parse(&damaged), Err(Error::Tampered));
    }

    #[test]
    fn a_signed_body_of_another_form_is_refused() {
        let good = body(IdentitySuite::X25519, &sealing(IdentitySuite::X25519)).encode();
        assert!(Card::parse(&signed(&good)).is_ok());
        for bad in [
            [&good[..], b"\0"].concat(),
            [b"\x86", &good[1..], b"\0"].concat(),
            [b"\x84", &good[1..good.len() - 1]].concat(),
            [b"\x85\x18\x02", &good[2..]].concat(),
            [&good[..good.len() - 1], b"\x81\0"].concat(),
            good[..good.len() - 1].to_vec(),
        ] {
            assert_eq!(Card::parse(&signed(&bad)), Err(Error::Tampered), "{bad:x?}");
        }
        // A key of small order verifies loosely over everything.
        let mut weak = good.to_vec();
        weak[4..36].fill(0);
        weak[4] = 1;
        let mut record = [&Card::MAGIC[..], &weak].concat();
        record.extend_from_slice(&[0; 64]);
        let at = record.len() - 64;
        record[at] = 1;
        assert_eq!(Card::parse(&record), Err(Error::Tampered));
    }

    #[test]
    fn a_replacement_is_of_the_key_that_it_names() {
        let suite = IdentitySuite::X25519;
        let (old, other) = (
            Identity::make(suite, 1).unwrap(),
            Identity::make(suite, 2).unwrap(),
        );
        let new = old.replaced(3).unwrap();
        let replaced = new.card().replaces().unwrap();
        assert_eq!(replaced.fingerprint(), old.card().fingerprint());
        assert!(new.card().is_replacement_of(old.card()));
        assert!(!new.card().is_replacement_of(other.card()));
        assert!(!new.card().is_replacement_of(new.card()));
        assert!(!old.card().is_replacement_of(new.card()));
        let newest = new.replaced(4).unwrap();
        assert!(newest.card().is_replacement_of(new.card()));
        assert!(!newest.card().is_replacement_of(old.card()));

        let sealing = sealing(suite);
        let with = |replaces: Replacement| {
            let mut body = body(suite, &sealing);
            body.replaces = Some(replaces);
            Card::parse(&signed(&body.encode()))
        };
        let made = |old: &Identity, by: &Identity| {
            let keys = body(suite, &sealing).keys;
            Replacement::make(
                old.card(),
                |domain, message| by.sign(domain, message),
                &keys,
            )
        };
        assert!(
            with(made(&old, &old))
                .unwrap()
                .is_replacement_of(old.card())
        );
        // Signed by somebody else; of other new keys; naming another card, or key.
        assert_eq!(with(made(&old, &other)), Err(Error::Tampered));
        assert_eq!(with(replaced.clone()), Err(Error::Tampered));
        let mut named = made(&old, &old);
        named.fingerprint = other.card().fingerprint();
        assert_eq!(with(named), Err(Error::Tampered));
        let mut keyed = made(&old, &old);
        keyed.key = other.card().body.keys.signing;
        assert_eq!(with(keyed), Err(Error::Tampered));
        // A key of small order, under which everything is signed.
        let mut weak = made(&old, &old);
        (weak.key, weak.signature) = ([0; 32], [0; 64]);
        (weak.key[0], weak.signature[0]) = (1, 1);
        assert_eq!(with(weak), Err(Error::Tampered));
        // One that was signed for another card of the same key is not this card's,
        // though the key is.
        let mut moved = body(suite, &sealing);
        moved.replaces = Some(made(&old, &old));
        moved.keys.sealing = super::tests::sealing(suite);
        assert_eq!(Card::parse(&signed(&moved.encode())), Err(Error::Tampered));
    }

    #[test]
    fn a_fingerprint_survives_being_read_out() {
        let card = Identity::make(IdentitySuite::XWing, 1).unwrap();
        let fingerprint = card.card().fingerprint();
        let words = fingerprint.to_string();
        assert_eq!(words.split(' ').count(), 12);
        assert_eq!(format!("{fingerprint:?}"), format!("Fingerprint({words})"));
        let shouted = format!("  {}\n", words.to_uppercase().replace(' ', " \t\n"));
        assert_eq!(shouted.parse(), Ok(fingerprint));
        let (rest, last) = words.rsplit_once(' ').unwrap();
        for bad in [
            String::new(),
            rest.to_owned(),
            format!("{words} {last}"),
            format!("{last} {rest}"),
            format!("{rest} kluis"),
            "abandon ".repeat(12),
            "abandon ".repeat(23) + "art",
            "x".repeat(100_000),
            "a ".repeat(100_000),
        ] {
            // Of a word moved to the front one checksum in sixteen is right.
            match bad.parse::<Fingerprint>() {
                Err(Error::InvalidInput(_)) => {}
                Ok(other) => assert_ne!(other, fingerprint),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_fingerprint_is_of_both_keys_and_the_suite() {
        let suite = IdentitySuite::X25519;
        let keys = body(suite, &sealing(suite)).keys;
        let mut seen = std::collections::HashSet::from([keys.fingerprint()]);
        for change in [
            |keys: &mut PublicKeys| keys.suite = IdentitySuite::XWing,
            |keys: &mut PublicKeys| keys.signing[31] ^= 1,
            |keys: &mut PublicKeys| keys.sealing[31] ^= 1,
            |keys: &mut PublicKeys| keys.sealing.push(0),
        ] {
            let mut other = keys.clone();
            change(&mut other);
            assert!(seen.insert(other.fingerprint()));
        }
        // The time and what is replaced are no keys: they change the hash alone.
        let cards = [1, 2].map(|created| {
            let mut body = body(suite, &keys.sealing);
            body.created = created;
            Card::parse(&signed(&body.encode())).unwrap()
        });
        assert_eq!(cards[0].fingerprint(), cards[1].fingerprint());
        assert_ne!(cards[0].hash(), cards[1].hash());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Card::parse(&bytes).is_err());
            prop_assert!(Card::parse(&[b"KLC1", &bytes[..]].concat()).is_err());
            prop_assert!(Card::parse(&signed(&bytes)).is_err());
        }
    }
}
