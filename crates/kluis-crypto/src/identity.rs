//! Identities: what a person or a device holds, so that others can seal to it and
//! know what it signed (docs/FORMAT.md, section 11).

use crate::aead::TAG;
use crate::armor::Armor;
use crate::card::{Body, Card, IdentitySuite, PublicKeys, Replacement, grant_place, info};
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{KdfCeiling, KdfParams, Kek, Password, random_bytes, stretch};
use crate::header::check_magic;
use crate::kdf::domain;
use crate::kem::{ExportedKey, KemSeed};
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::signed::Signer;
use crate::{Error, RecordHash, Result, VaultId, signature};
use std::fmt;
use zeroize::Zeroizing;

secret_key! {
    /// Seed of an identity's signing key.
    pub(crate) struct SigningSeed;
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

    /// The identity of a group in one of its generations.
    pub(crate) fn of_seeds(
        suite: IdentitySuite,
        signing: SigningSeed,
        sealing: KemSeed,
        created: u64,
    ) -> Result<Self> {
        Self::of(Secrets {
            suite,
            signing,
            sealing,
            created,
            replaces: None,
        })
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

    /// Bytes of the longest encoding of the secrets.
    pub(crate) const MAX_SECRET: usize = 1_024;

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

    /// Signs objects.
    pub(crate) fn signer(&self) -> Signer {
        Signer {
            seed: self.signing.duplicate(),
            key: *self.card.signing_key(),
        }
    }

    /// Opens what [`Card::seal`] sealed to this identity in this place of this vault.
    /// It does not say who sealed it.
    ///
    /// # Errors
    /// `Tampered`, whatever is wrong.
    pub fn open(&self, vault: &VaultId, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let to = (self.card.suite(), &self.card.hash(), &self.sealing);
        open_sealed(to, vault, place, sealed)
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

/// Opens what was sealed to the card with this hash: what takes no signing key.
pub(crate) fn open_sealed(
    (suite, card, seed): (IdentitySuite, &RecordHash, &KemSeed),
    vault: &VaultId,
    place: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let (encapsulated, record) = sealed
        .split_at_checked(suite.encapsulated_length())
        .ok_or(Error::Tampered)?;
    let info = info(domain::GRANT, &[vault.as_bytes()], card);
    let key = suite.decapsulate(seed, encapsulated, &info)?;
    message::open(key.expose_secret(), &grant_place(vault, place), record)
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
    const MIN_SEALED: usize = message::SALT + message::COMMITMENT + TAG;
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

    /// The file that somebody with the password could write.
    #[cfg(test)]
    pub(crate) fn with_secrets(&self, password: &Password, secrets: &[u8]) -> Self {
        let kek = stretch(password, &self.salt, self.params).unwrap();
        let sealed = Self::with_place(&self.card.hash(), |place| {
            message::seal(kek.expose_secret(), place, secrets).unwrap()
        });
        Self {
            sealed,
            ..self.clone()
        }
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
        self.unwrap(&stretch(password, &self.salt, self.params)?)
    }

    fn unwrap(&self, kek: &Kek) -> Result<Identity> {
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
        let salt = *from.fixed()?;
        let sealed = from.bytes(Self::MAX_SEALED)?.to_vec();
        if sealed.len() < Self::MIN_SEALED {
            return Err(Error::Tampered);
        }
        Ok(Self {
            card,
            params,
            salt,
            sealed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::tests::OPENED;
    use crate::credential::tests::STRETCHED;
    use crate::kem::tests::DECAPSULATED;
    use crate::primitives::{bad_points, hpke};
    use crate::random::scripted::{self, Source};
    use crate::testing::{SUITES, cheap, flips, pattern};
    use crate::two_keys;

    const VAULT: VaultId = VaultId([4; 16]);
    const OTHER_VAULT: VaultId = VaultId([5; 16]);

    fn make(suite: IdentitySuite) -> Identity {
        Identity::make(suite, 7).unwrap()
    }

    fn seal(identity: &Identity, plaintext: &[u8]) -> Vec<u8> {
        identity.card().seal(&VAULT, b"place", plaintext).unwrap()
    }

    fn open(identity: &Identity, sealed: &[u8]) -> Result<Vec<u8>> {
        let opened = identity.open(&VAULT, b"place", sealed)?;
        Ok(opened.to_vec())
    }

    #[test]
    fn what_is_sealed_to_a_card_its_identity_opens() {
        for suite in SUITES {
            let identity = make(suite);
            let enc = suite.encapsulated_length();
            for size in [0, 1, 16_383, 16_384, 40_000] {
                let sealed = seal(&identity, &pattern(size));
                let record = 56 + size + 16 * (size / 16_384 + 1);
                assert_eq!(sealed.len(), enc + record);
                assert_eq!(open(&identity, &sealed), Ok(pattern(size)));
            }
            // F14: nothing of the recipient, and nothing twice.
            let windows = |sealed: &[u8]| -> std::collections::HashSet<Vec<u8>> {
                sealed.windows(8).map(<[u8]>::to_vec).collect()
            };
            let (one, two) = (seal(&identity, b"x"), seal(&identity, b"x"));
            assert!(windows(&one).is_disjoint(&windows(&two)));
            assert!(windows(&one).is_disjoint(&windows(identity.card().as_bytes())));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        for suite in SUITES {
            let identity = make(suite);
            let sealed = seal(&identity, b"text");
            let record = suite.encapsulated_length();
            for (bit, (at, changed)) in flips(&sealed).enumerate() {
                // One bit a byte of the lattice, which takes its time.
                if at + 32 < record && bit % 8 != at % 8 {
                    continue;
                }
                OPENED.set(0);
                assert_eq!(open(&identity, &changed), Err(Error::Tampered));
                let committed = at >= record + message::SALT + message::COMMITMENT;
                assert_eq!(OPENED.get(), u64::from(committed), "byte {at}");
            }
            for length in 0..sealed.len() {
                assert_eq!(open(&identity, &sealed[..length]), Err(Error::Tampered));
            }
            let longer = [&sealed[..], b"\0"].concat();
            assert_eq!(open(&identity, &longer), Err(Error::Tampered));
        }
    }

    /// Of all recipients, vaults and places one opens it, and no AEAD call tells the
    /// others.
    #[test]
    fn f04_what_was_moved_is_refused() {
        let people: Vec<_> = SUITES.into_iter().chain(SUITES).map(make).collect();
        let places: [(&VaultId, &[u8]); 4] = [
            (&VAULT, b"place"),
            (&OTHER_VAULT, b"place"),
            (&VAULT, b"plac"),
            (&VAULT, b""),
        ];
        for (i, recipient) in people.iter().enumerate() {
            for (j, (vault, place)) in places.into_iter().enumerate() {
                let sealed = recipient.card().seal(vault, place, b"text").unwrap();
                for (k, reader) in people.iter().enumerate() {
                    for (l, (vault, place)) in places.into_iter().enumerate() {
                        OPENED.set(0);
                        let found = reader.open(vault, place, &sealed);
                        let meant = (i, j) == (k, l);
                        assert_eq!(OPENED.get(), u64::from(meant));
                        assert_eq!(found.is_ok(), meant);
                        assert!(meant || found == Err(Error::Tampered));
                    }
                }
            }
        }
    }

    /// One letter for two people, which the cipher would open for both of them.
    #[test]
    fn g01_g02_a_letter_that_two_people_could_decrypt_is_opened_by_one() {
        for suite in SUITES {
            let people = [make(suite), make(suite)];
            let place = grant_place(&VAULT, b"place");
            for n in 0..500usize {
                let info = |of: usize| people[of].card().info(domain::GRANT, &[VAULT.as_bytes()]);
                let (enc, _) = people[0].card().encapsulate(&info(0)).unwrap();
                let keys = [0, 1].map(|of| people[of].decapsulate(&enc, &info(of)).unwrap());
                let keys = keys.each_ref().map(|key| key.expose_secret());
                let records = two_keys::records(keys, &place, [n as u8; 24], 64);
                let right = n % 2;
                let sealed = [&enc[..], &records[right]].concat();
                OPENED.set(0);
                assert_eq!(open(&people[1 - right], &sealed), Err(Error::Tampered));
                assert_eq!(OPENED.get(), 0);
                assert!(open(&people[right], &sealed).is_ok());
            }
        }
    }

    /// The record of one grant behind the encapsulated key of another.
    #[test]
    fn g03_grants_are_not_pasted_together() {
        for suite in SUITES {
            let identity = make(suite);
            let (one, two) = (seal(&identity, b"one"), seal(&identity, b"two"));
            let at = suite.encapsulated_length();
            let pasted = [&one[..at], &two[at..]].concat();
            assert_eq!(open(&identity, &pasted), Err(Error::Tampered));
        }
    }

    /// The same keys on a card that says something else: another card.
    #[test]
    fn a_grant_is_to_one_card() {
        let identity = make(IdentitySuite::XWing);
        let sealed = seal(&identity, b"text");
        let mut secrets = Secrets::decode(&identity.to_secret_bytes()).unwrap();
        secrets.created += 1;
        let other = Identity::of(secrets).unwrap();
        assert_eq!(other.card().fingerprint(), identity.card().fingerprint());
        assert_eq!(open(&other, &sealed), Err(Error::Tampered));
    }

    /// The X25519 half of an X-Wing key is a key of suite 2, and what is sealed
    /// to it in that suite is good but for the suite.
    #[test]
    fn k02_a_hybrid_identity_opens_nothing_classical() {
        let identity = make(IdentitySuite::XWing);
        let card = identity.card();
        let key = IdentitySuite::XWing.public_key(&identity.sealing).unwrap();
        let half = &key[1_184..];
        let info = card.info(domain::GRANT, &[VAULT.as_bytes()]);
        let (enc, exported) = IdentitySuite::X25519.encapsulate(half, &info).unwrap();
        let place = grant_place(&VAULT, b"place");
        let record = message::seal(exported.expose_secret(), &place, b"text").unwrap();
        for filled in [0, 1_088] {
            let sealed = [&vec![0; filled], &enc[..], &record].concat();
            OPENED.set(0);
            assert_eq!(open(&identity, &sealed), Err(Error::Tampered));
            assert_eq!(OPENED.get(), 0);
        }
        // One seed in two suites is two identities.
        let secrets = Secrets {
            suite: IdentitySuite::X25519,
            ..Secrets::decode(&identity.to_secret_bytes()).unwrap()
        };
        let other = Identity::of(secrets).unwrap();
        assert_ne!(other.card().fingerprint(), card.fingerprint());
        assert_eq!(open(&other, &seal(&identity, b"x")), Err(Error::Tampered));
        assert_eq!(open(&identity, &seal(&other, b"x")), Err(Error::Tampered));
    }

    /// With a point of small order everybody knows the shared secret, so that
    /// everything but the check of the point would let this pass.
    #[test]
    fn f03_what_everybody_can_seal_is_refused() {
        let identity = make(IdentitySuite::X25519);
        let key = IdentitySuite::X25519.public_key(&identity.sealing).unwrap();
        let info = identity.card().info(domain::GRANT, &[VAULT.as_bytes()]);
        let place = grant_place(&VAULT, b"place");
        for point in bad_points() {
            let shared = hpke::dhkem(&[0; 32], &point, &key);
            let exported = hpke::exported(0x20, &shared, &info);
            let record = message::seal(&exported, &place, b"text").unwrap();
            let sealed = [&point[..], &record].concat();
            OPENED.set(0);
            assert_eq!(open(&identity, &sealed), Err(Error::Tampered));
            assert_eq!(OPENED.get(), 0);
        }
        let hybrid = make(IdentitySuite::XWing);
        let sealed = seal(&hybrid, b"text");
        for point in bad_points() {
            let mut bad = sealed.clone();
            bad[1_088..1_120].copy_from_slice(&point);
            assert_eq!(open(&hybrid, &bad), Err(Error::Tampered));
        }
    }

    #[test]
    fn what_is_too_short_costs_nothing() {
        DECAPSULATED.set(0);
        let identity = make(IdentitySuite::XWing);
        assert_eq!(open(&identity, &[0; 1_119]), Err(Error::Tampered));
        assert_eq!(DECAPSULATED.get(), 0);
    }

    #[test]
    fn an_identity_follows_from_its_secrets() {
        for suite in SUITES {
            let first = make(suite);
            for identity in [first.replaced(9).unwrap(), first] {
                let bytes = identity.to_secret_bytes();
                let again = Identity::from_secret_bytes(&bytes).unwrap();
                assert_eq!(again.card(), identity.card());
                assert_eq!(again.to_secret_bytes(), bytes);
                assert_eq!(open(&again, &seal(&identity, b"x")), Ok(b"x".to_vec()));
                for length in 0..bytes.len() {
                    assert!(Identity::from_secret_bytes(&bytes[..length]).is_err());
                }
                let longer = [&bytes[..], b"\0"].concat();
                let found = Identity::from_secret_bytes(&longer);
                assert!(matches!(found, Err(Error::Tampered)));
            }
        }
        let old = make(IdentitySuite::X25519);
        let mut secrets = old.replaced(9).unwrap().to_secret_bytes();
        *secrets.last_mut().unwrap() ^= 1;
        let found = Identity::from_secret_bytes(&secrets);
        assert!(matches!(found, Err(Error::Tampered)), "a forged claim");
        let mut later = old.to_secret_bytes();
        later[1] = 3;
        let found = Identity::from_secret_bytes(&later);
        assert!(matches!(found, Err(Error::UnsupportedFormat(_))));
    }

    #[test]
    fn what_an_identity_signed_its_card_verifies() {
        let (one, two) = (make(IdentitySuite::XWing), make(IdentitySuite::XWing));
        let signature = one.sign(domain::GRANT, &[b"a", b"b"]);
        let verify =
            |by: &Identity, domain, message| by.card().verify(domain, &[message], &signature);
        assert_eq!(verify(&one, domain::GRANT, b"ab"), Ok(()));
        let tampered = Err(Error::Tampered);
        assert_eq!(verify(&one, domain::GRANT, b"ac"), tampered);
        assert_eq!(verify(&one, domain::DEVICE, b"ab"), tampered);
        assert_eq!(verify(&two, domain::GRANT, b"ab"), tampered);
    }

    #[test]
    fn nothing_is_made_without_randomness() {
        let identity = make(IdentitySuite::XWing);
        let password = Password::new("x");
        scripted::with(Source::Broken, || {
            for suite in SUITES {
                let found = Identity::make(suite, 1).map(drop);
                assert_eq!(found, Err(Error::Randomness));
            }
            assert!(matches!(identity.replaced(1), Err(Error::Randomness)));
            let found = identity.card().seal(&VAULT, b"", b"");
            assert_eq!(found, Err(Error::Randomness));
            let found = IdentityFile::seal(&identity, &password, cheap());
            assert_eq!(found, Err(Error::Randomness));
        });
    }

    #[test]
    fn two_identities_share_nothing() {
        let (one, two) = (make(IdentitySuite::XWing), make(IdentitySuite::XWing));
        assert_ne!(one.signing.expose_secret(), two.signing.expose_secret());
        assert_ne!(one.sealing.expose_secret(), two.sealing.expose_secret());
        assert_ne!(one.sealing.expose_secret(), one.signing.expose_secret());
    }

    #[test]
    fn an_identity_prints_its_fingerprint_alone() {
        let identity = make(IdentitySuite::XWing);
        let fingerprint = identity.card().fingerprint();
        assert_eq!(
            format!("{identity:?}"),
            format!("Identity {{ fingerprint: Fingerprint({fingerprint}), .. }}")
        );
    }

    // The identity file.

    const CEILING: fn() -> KdfCeiling = KdfCeiling::default;

    fn file(identity: &Identity) -> IdentityFile {
        IdentityFile::seal(identity, &Password::new("pass"), cheap()).unwrap()
    }

    fn bytes(file: &IdentityFile) -> Vec<u8> {
        IdentityFile::ARMOR.read(&file.to_armor()).unwrap()
    }

    fn parse(bytes: &[u8]) -> Result<IdentityFile> {
        IdentityFile::parse(&IdentityFile::ARMOR.write(bytes))
    }

    #[test]
    fn an_identity_file_opens_with_its_password() {
        for suite in SUITES {
            let first = make(suite);
            for identity in [first.replaced(9).unwrap(), first] {
                let file = file(&identity);
                let text = format!("My identity\n{}", file.to_armor());
                let found = IdentityFile::parse(&text.replace('\n', "\r\n")).unwrap();
                assert_eq!(found, file);
                assert_eq!(found.card(), identity.card());
                assert_eq!(found.kdf_params(), cheap());
                let opened = found.open(&Password::new("pass"), CEILING()).unwrap();
                assert_eq!(opened.to_secret_bytes(), identity.to_secret_bytes());
                let wrong = found.open(&Password::new("pasS"), CEILING());
                assert!(matches!(wrong, Err(Error::WrongCredentials)));
                assert!(bytes(&file).len() < 2_000);
            }
        }
        let identity = make(IdentitySuite::X25519);
        for bad in ["", "a\nb"] {
            let found = IdentityFile::seal(&identity, &Password::new(bad), cheap());
            assert!(matches!(found, Err(Error::InvalidInput(_))));
        }
        let text = file(&identity).to_armor();
        for bad in ["", &text.replace("IDENTITY", "CARD"), &text.repeat(2)] {
            let found = IdentityFile::parse(bad);
            assert!(matches!(found, Err(Error::InvalidInput(_))));
        }
        let long = "x".repeat(IdentityFile::MAX_TEXT + 1);
        let found = IdentityFile::parse(&long);
        assert!(matches!(found, Err(Error::LimitExceeded(_))));
        let found = parse(&[b'K'; IdentityFile::MAX_LENGTH + 1]);
        assert!(matches!(found, Err(Error::LimitExceeded(_))));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_of_a_file_is_refused() {
        let identity = make(IdentitySuite::XWing).replaced(9).unwrap();
        let file = file(&identity);
        let bytes = bytes(&file);
        let password = Password::new("pass");
        let kek = stretch(&password, &file.salt, file.params).unwrap();
        let sealed = bytes.len() - file.sealed.len();
        let salt = sealed - 2 - 32;
        let (mut parsed, mut stretched) = (0, 0);
        for (bit, (at, changed)) in flips(&bytes).enumerate() {
            OPENED.set(0);
            let found = match parse(&changed) {
                Err(_) => continue,
                Ok(found) => found,
            };
            parsed += 1;
            if (found.salt, found.params) == (file.salt, file.params) {
                // Damage behind the commitment is no wrong password.
                let committed = at >= sealed + message::SALT + message::COMMITMENT;
                let expected = if committed {
                    Error::Tampered
                } else {
                    Error::WrongCredentials
                };
                assert_eq!(found.unwrap(&kek).map(drop), Err(expected), "byte {at}");
                assert_eq!(OPENED.get(), u64::from(committed));
            } else if bit % 8 == at % 8 {
                let found = found.open(&password, CEILING()).map(drop);
                assert_eq!(found, Err(Error::WrongCredentials), "byte {at}");
                stretched += 1;
            }
        }
        assert!(parsed >= 8 * (32 + file.sealed.len()));
        assert!(stretched >= 32 && salt > 1_200);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Err(Error::Tampered));
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!(parse(&longer), Err(Error::Tampered));
        let later = [b"KLI2", &bytes[4..]].concat();
        assert!(matches!(parse(&later), Err(Error::UnsupportedFormat(_))));
        // A sealed part that is none.
        for length in [0, 24, 55, 56, 71] {
            let short = IdentityFile {
                sealed: file.sealed[..length].to_vec(),
                ..file.clone()
            };
            assert_eq!(IdentityFile::parse(&short.to_armor()), Err(Error::Tampered));
            assert!(short.unwrap(&kek).is_err());
        }
    }

    #[test]
    fn costs_are_bounded_before_anything_is_stretched() {
        let identity = make(IdentitySuite::X25519);
        let file = file(&identity);
        let bytes = bytes(&file);
        let good = [0x83, 0x19, 0x4c, 0, 2, 1];
        let at = bytes.windows(6).position(|w| w == good).unwrap();
        STRETCHED.set(0);
        let with = |costs: &[u8]| parse(&[&bytes[..at], costs, &bytes[at + 6..]].concat());
        for costs in [
            &[0x83, 0x19, 0x4b, 0xff, 2, 1][..],
            &[0x83, 0x19, 0x4c, 0, 1, 1],
            &[0x83, 0x19, 0x4c, 0, 11, 1],
            &[0x83, 0x19, 0x4c, 0, 2, 0],
            &[0x83, 0x19, 0x4c, 0, 2, 2],
            &[0x83, 0x1a, 0, 0x10, 0, 1, 2, 1],
            &[0x83, 0x1a, 0xff, 0xff, 0xff, 0xff, 2, 1],
            &[0x83, 0x1b, 0, 0, 0, 1, 0, 0, 0x4c, 0, 2, 1],
        ] {
            let found = with(costs);
            assert!(matches!(found, Err(Error::LimitExceeded(_))), "{costs:x?}");
        }
        for costs in [&[0x80][..], &[0x82, 0x19, 0x4c, 0, 2], &[0x40]] {
            assert_eq!(with(costs), Err(Error::Tampered));
        }
        let low = KdfCeiling::memory_kib((19 << 10) - 1);
        let found = file.open(&Password::new("pass"), low);
        assert!(matches!(found, Err(Error::LimitExceeded(_))));
        assert_eq!(STRETCHED.get(), 0);
        let enough = KdfCeiling::memory_kib(19 << 10);
        assert!(file.open(&Password::new("pass"), enough).is_ok());
        assert_eq!(STRETCHED.get(), 1);
    }

    #[test]
    fn the_card_of_a_file_is_the_identitys() {
        let (one, two) = (make(IdentitySuite::XWing), make(IdentitySuite::XWing));
        let good = file(&one);
        let kek = stretch(&Password::new("pass"), &good.salt, cheap()).unwrap();
        // Another card in front of it, by somebody without the password.
        let swapped = IdentityFile {
            card: two.card().clone(),
            ..good.clone()
        };
        assert_eq!(swapped.unwrap(&kek).map(drop), Err(Error::WrongCredentials));
        // By somebody with it: other secrets, and what is no secrets.
        let with = |secrets: &[u8]| {
            let sealed = IdentityFile::with_place(&one.card().hash(), |place| {
                message::seal(kek.expose_secret(), place, secrets).unwrap()
            });
            let file = IdentityFile {
                sealed,
                ..good.clone()
            };
            file.unwrap(&kek).map(drop)
        };
        assert_eq!(with(&one.to_secret_bytes()), Ok(()));
        assert_eq!(with(&two.to_secret_bytes()), Err(Error::Tampered));
        assert_eq!(with(b""), Err(Error::Tampered));
    }
}
