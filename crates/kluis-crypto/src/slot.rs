//! Key slots, as in LUKS: each wraps the vault root key for one credential, so
//! that changing a password rewrites one small record and no data.

use crate::aead::{Aead, TAG};
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{Credential, KdfCeiling, KdfParams, Kek, random_bytes, stretch};
use crate::header::RootKey;
use crate::kdf::{self, Label, domain, length_prefix};
use crate::{Card, Error, Identity, IdentitySuite, Result, SlotId, VaultId};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SlotKind {
    /// A password alone.
    Password,
    /// A password and a keyfile, both.
    PasswordAndKeyfile,
    /// 24 words.
    RecoveryPhrase,
    /// The identity of a device.
    DeviceIdentity,
    /// A secret in the system's keychain.
    Keychain,
}

impl SlotKind {
    fn number(self) -> u32 {
        match self {
            Self::Password => 1,
            Self::PasswordAndKeyfile => 2,
            Self::RecoveryPhrase => 3,
            Self::DeviceIdentity => 4,
            Self::Keychain => 5,
        }
    }

    fn from_number(number: u64) -> Result<Self> {
        Ok(match number {
            1 => Self::Password,
            2 => Self::PasswordAndKeyfile,
            3 => Self::RecoveryPhrase,
            4 => Self::DeviceIdentity,
            5 => Self::Keychain,
            _ => return Err(Error::UnsupportedFormat("kind of key slot")),
        })
    }

    /// Whether a guess at this slot costs an Argon2 run.
    pub(crate) fn is_stretched(self) -> bool {
        matches!(self, Self::Password | Self::PasswordAndKeyfile)
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "password",
            Self::PasswordAndKeyfile => "password + keyfile",
            Self::RecoveryPhrase => "recovery phrase",
            Self::DeviceIdentity => "device",
            Self::Keychain => "keychain",
        })
    }
}

impl Credential {
    /// The kind of slot that this credential opens, and no other.
    pub fn slot_kind(&self) -> SlotKind {
        match self {
            Self::Password(_) => SlotKind::Password,
            Self::PasswordAndKeyfile(..) => SlotKind::PasswordAndKeyfile,
            Self::RecoveryPhrase(_) => SlotKind::RecoveryPhrase,
            Self::Identity(_) => SlotKind::DeviceIdentity,
        }
    }
}

/// One slot of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    id: SlotId,
    kind: SlotKind,
    created: u64,
    params: Option<KdfParams>,
    device: Option<Encapsulated>,
    salt: [u8; 32],
    commitment: [u8; 32],
    sealed: Vec<u8>,
}

/// From what a device derives the KEK. It does not say which device: each tries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Encapsulated {
    suite: IdentitySuite,
    key: Vec<u8>,
}

impl Slot {
    const MAX_SEALED: usize = 2_048;
    /// At most this many slots of a kind that costs an Argon2 run, which bounds
    /// the runs of one opening.
    pub(crate) const MAX_STRETCHED: usize = 4;

    /// Wraps the root key for a credential.
    ///
    /// # Errors
    /// `InvalidInput` for an unusable password, `Randomness`, `LimitExceeded`
    /// where memory for Argon2id is short.
    pub(crate) fn make(
        credential: &Credential,
        params: KdfParams,
        vault: &VaultId,
        root: &RootKey,
        now: u64,
    ) -> Result<Self> {
        if let Credential::Identity(identity) = credential {
            return Self::for_device(identity.card(), vault, root, now);
        }
        let kind = credential.slot_kind();
        let mut slot = Self::empty(kind, now)?;
        slot.params = kind.is_stretched().then_some(params);
        let kek = slot.kek(credential, vault)?;
        slot.wrap(&kek, vault, root)?;
        Ok(slot)
    }

    /// Wraps the root key for the device that has the identity of a card.
    ///
    /// # Errors
    /// `Randomness`.
    pub(crate) fn for_device(
        card: &Card,
        vault: &VaultId,
        root: &RootKey,
        now: u64,
    ) -> Result<Self> {
        let mut slot = Self::empty(SlotKind::DeviceIdentity, now)?;
        let (key, exported) = card.encapsulate(&slot.device_info(card, vault))?;
        slot.device = Some(Encapsulated {
            suite: card.suite(),
            key,
        });
        let kek = Kek::init_with(|kek| *kek = *exported.expose_secret());
        slot.wrap(&kek, vault, root)?;
        Ok(slot)
    }

    fn empty(kind: SlotKind, now: u64) -> Result<Self> {
        Ok(Self {
            id: SlotId(random_bytes()?),
            kind,
            created: now,
            params: None,
            device: None,
            salt: random_bytes()?,
            commitment: [0; 32],
            sealed: Vec::new(),
        })
    }

    /// `"kluis/v1/device" ‖ 0x00 ‖ vault id ‖ slot id ‖ H(card)`
    fn device_info(&self, card: &Card, vault: &VaultId) -> Vec<u8> {
        card.info(domain::DEVICE, &[vault.as_bytes(), self.id.as_bytes()])
    }

    fn write_params(&self, to: &mut Writer) {
        match &self.device {
            Some(device) => {
                to.array(1).uint(device.suite.number().into());
            }
            None => KdfParams::write(self.params, to),
        }
    }

    fn wrap(&mut self, kek: &Kek, vault: &VaultId, root: &RootKey) -> Result<()> {
        let okm = self.expand(kek, vault);
        let (key, commitment) = halves(&okm);
        self.commitment = *commitment;
        // The key is used once, for a salt is: a slot is never written again.
        let mut sealed = root.expose_secret().to_vec();
        let mut tag = [0; TAG];
        Aead::new(key).seal(&[0; 12], &[], &mut sealed, &mut tag)?;
        sealed.extend_from_slice(&tag);
        self.sealed = sealed;
        Ok(())
    }

    /// Unwraps the root key.
    ///
    /// # Errors
    /// `WrongCredentials` for another password and for a damaged slot alike.
    pub(crate) fn open(
        &self,
        credential: &Credential,
        vault: &VaultId,
        ceiling: KdfCeiling,
    ) -> Result<RootKey> {
        if credential.slot_kind() != self.kind {
            return Err(Error::WrongCredentials);
        }
        if let Some(params) = self.params {
            ceiling.check(params)?;
        }
        self.unwrap(&self.kek(credential, vault)?, vault)
    }

    pub(crate) fn unwrap(&self, kek: &Kek, vault: &VaultId) -> Result<RootKey> {
        let okm = self.expand(kek, vault);
        let (key, commitment) = halves(&okm);
        if !bool::from(commitment.ct_eq(&self.commitment)) {
            return Err(Error::WrongCredentials);
        }
        // The credential is right; what fails from here on was altered.
        let (text, tag) = self
            .sealed
            .split_last_chunk::<TAG>()
            .ok_or(Error::Tampered)?;
        let mut opened = Ok(());
        let root = RootKey::init_with(|out| {
            opened = Aead::new(key).open(&[0; 12], &[], text, tag, &mut out[..]);
        });
        opened.map(|()| root)
    }

    pub(crate) fn kek(&self, credential: &Credential, vault: &VaultId) -> Result<Kek> {
        match (credential, self.params) {
            (Credential::Password(password), Some(params)) => stretch(password, &self.salt, params),
            (Credential::PasswordAndKeyfile(password, keyfile), Some(params)) => {
                let stretched = stretch(password, &self.salt, params)?;
                Ok(stretched.extract(keyfile.expose_secret()))
            }
            (Credential::RecoveryPhrase(phrase), None) => Ok(Kek::derive(
                phrase.expose_secret(),
                Label::PHRASE,
                &[vault.as_bytes(), &self.salt],
            )),
            (Credential::Identity(identity), None) => self.device_kek(identity, vault),
            _ => Err(Error::WrongCredentials),
        }
    }

    /// `HPKE.Export("", 32)` of the encapsulated key. An identity tries slots of its own
    /// suite alone: one of X-Wing opens nothing that was sealed to an X25519 key.
    fn device_kek(&self, identity: &Identity, vault: &VaultId) -> Result<Kek> {
        let card = identity.card();
        let device = self
            .device
            .as_ref()
            .filter(|device| device.suite == card.suite())
            .ok_or(Error::WrongCredentials)?;
        let exported = identity
            .decapsulate(&device.key, &self.device_info(card, vault))
            .map_err(|_| Error::WrongCredentials)?;
        Ok(Kek::init_with(|kek| *kek = *exported.expose_secret()))
    }

    /// `key ‖ commitment = Expand(KEK, "kluis/v1/slot" ‖ 0x00 ‖ lp(vault id) ‖ lp(slot id)
    /// ‖ lp(kind) ‖ lp(parameters) ‖ lp(salt), 64)`
    pub(crate) fn expand(&self, kek: &Kek, vault: &VaultId) -> Zeroizing<[u8; 64]> {
        let kind = self.kind.number().to_be_bytes();
        let mut params = Writer::new();
        self.write_params(&mut params);
        let params = params.finish();
        let parts: [&[u8]; 5] = [
            vault.as_bytes(),
            self.id.as_bytes(),
            &kind,
            &params,
            &self.salt,
        ];
        let lengths = parts.map(length_prefix);
        let mut info: Vec<&[u8]> = vec![domain::SLOT];
        for (length, part) in lengths.iter().zip(parts) {
            info.extend([&length[..], part]);
        }
        let mut okm = Zeroizing::new([0; 64]);
        kdf::expand(kek.expose_secret(), &info, &mut okm[..]);
        okm
    }

    /// A keychain slot, which no credential makes yet.
    #[cfg(test)]
    pub(crate) fn keychain(secret: &[u8; 32], vault: &VaultId, root: &RootKey) -> Result<Self> {
        let mut slot = Self::empty(SlotKind::Keychain, 0)?;
        slot.wrap(&slot.keychain_kek(secret, vault), vault, root)?;
        Ok(slot)
    }

    #[cfg(test)]
    pub(crate) fn keychain_kek(&self, secret: &[u8; 32], vault: &VaultId) -> Kek {
        Kek::derive(secret, Label::CHAIN_SECRET, &[vault.as_bytes(), &self.salt])
    }

    /// Salt, commitment and sealed key.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> (&[u8; 32], &[u8; 32], &[u8]) {
        (&self.salt, &self.commitment, &self.sealed)
    }

    /// Names the slot.
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// What opens it.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// When it was made, in microseconds since 1970, by the clock of who made it.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The cost of a guess, where it has one.
    pub fn kdf_params(&self) -> Option<KdfParams> {
        self.params
    }
}

fn halves(okm: &[u8; 64]) -> (&[u8; 32], &[u8; 32]) {
    let (key, commitment) = okm.split_at(32);
    // Both halves have 32 bytes.
    match (key.try_into(), commitment.try_into()) {
        (Ok(key), Ok(commitment)) => (key, commitment),
        _ => (&[0; 32], &[0; 32]),
    }
}

impl Record for Slot {
    fn write(&self, to: &mut Writer) {
        to.array(7)
            .bytes(self.id.as_bytes())
            .uint(self.kind.number().into())
            .uint(self.created);
        self.write_params(to);
        to.bytes(&self.salt).bytes(&self.commitment);
        match &self.device {
            Some(device) => to.bytes(&[&device.key[..], &self.sealed].concat()),
            None => to.bytes(&self.sealed),
        };
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let id = SlotId(*from.fixed()?);
        let kind = SlotKind::from_number(from.uint()?)?;
        let created = from.uint()?;
        let (mut params, mut suite) = (None, None);
        if kind == SlotKind::DeviceIdentity {
            from.array(1)?;
            suite = Some(IdentitySuite::from_number(from.uint()?)?);
        } else {
            params = KdfParams::read(from)?;
        }
        if params.is_some() != kind.is_stretched() {
            return Err(Error::Tampered);
        }
        let salt = *from.fixed()?;
        let commitment = *from.fixed()?;
        let mut sealed = from.bytes(Self::MAX_SEALED)?;
        let mut device = None;
        if let Some(suite) = suite {
            let (key, rest) = sealed
                .split_at_checked(suite.encapsulated_length())
                .ok_or(Error::Tampered)?;
            device = Some(Encapsulated {
                suite,
                key: key.to_vec(),
            });
            sealed = rest;
        }
        if sealed.len() != 32 + TAG {
            return Err(Error::Tampered);
        }
        Ok(Self {
            id,
            kind,
            created,
            params,
            device,
            salt,
            commitment,
            sealed: sealed.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::tests::OPENED;
    use crate::credential::tests::STRETCHED;
    use crate::testing::{cheap, flips, password, phrase};
    use crate::two_keys::{Way, two_keys};
    use crate::{Keyfile, Password};

    const VAULT: VaultId = VaultId([4; 16]);

    fn root() -> RootKey {
        RootKey::init_with(|key| *key = [6; 32])
    }

    fn both(text: &str, byte: u8) -> Credential {
        let keyfile = Keyfile::from_bytes(&[byte; 32]).unwrap();
        Credential::PasswordAndKeyfile(Password::new(text), keyfile)
    }

    fn make(credential: &Credential) -> Slot {
        Slot::make(credential, cheap(), &VAULT, &root(), 77).unwrap()
    }

    fn open(slot: &Slot, credential: &Credential) -> Result<[u8; 32]> {
        let root = slot.open(credential, &VAULT, KdfCeiling::default())?;
        Ok(*root.expose_secret())
    }

    #[test]
    fn each_kind_opens_by_its_own_credential() {
        let credentials = [password("a"), both("a", 1), phrase(1)];
        for credential in &credentials {
            let slot = make(credential);
            assert_eq!(open(&slot, credential), Ok([6; 32]));
            assert_eq!(slot.kind(), credential.slot_kind());
            assert_eq!(slot.created(), 77);
            assert_eq!(
                slot.kdf_params(),
                slot.kind().is_stretched().then_some(cheap())
            );
            assert_eq!(Slot::decode(&slot.encode()), Ok(slot));
        }
        let wrong = Err(Error::WrongCredentials);
        let slots = credentials.each_ref().map(make);
        assert_eq!(open(&slots[0], &password("b")), wrong);
        assert_eq!(open(&slots[0], &password("A")), wrong);
        assert_eq!(open(&slots[1], &both("b", 1)), wrong);
        assert_eq!(open(&slots[1], &both("a", 2)), wrong);
        assert_eq!(open(&slots[2], &phrase(2)), wrong);
        assert!(open(&slots[0], &password("a ")).is_err());
    }

    #[test]
    fn the_kind_of_credential_selects_the_kind_of_slot() {
        let credentials = [password("a"), both("a", 1), phrase(1)];
        for slot in credentials.each_ref().map(make) {
            for other in &credentials {
                if other.slot_kind() != slot.kind() {
                    STRETCHED.set(0);
                    OPENED.set(0);
                    assert_eq!(open(&slot, other), Err(Error::WrongCredentials));
                    assert_eq!((STRETCHED.get(), OPENED.get()), (0, 0));
                }
            }
        }
        STRETCHED.set(0);
        assert!(open(&make(&password("a")), &password("a")).is_ok());
        assert_eq!(STRETCHED.get(), 2, "the counter counts");
    }

    #[test]
    fn the_ceiling_of_the_caller_holds_before_anything_is_stretched() {
        let slot = make(&password("a"));
        STRETCHED.set(0);
        let low = KdfCeiling::memory_kib((19 << 10) - 1);
        let found = slot.open(&password("a"), &VAULT, low);
        assert!(matches!(found, Err(Error::LimitExceeded(_))));
        assert_eq!(STRETCHED.get(), 0);
        let enough = KdfCeiling::memory_kib(19 << 10);
        assert!(slot.open(&password("a"), &VAULT, enough).is_ok());
    }

    /// All bits but those of the time of creation, which the MAC and signature of
    /// the header cover; the sealed key alone is tampering, for there the
    /// credential was right.
    #[test]
    fn every_flipped_bit_is_refused() {
        let slot = make(&phrase(1));
        let encoded = slot.encode();
        let created = 1 + 17 + 1;
        let sealed = encoded.len() - 48;
        let mut parsed = 0;
        for (at, changed) in flips(&encoded) {
            let Ok(found) = Slot::decode(&changed) else {
                continue;
            };
            if (created..created + 2).contains(&at) {
                assert_eq!(open(&found, &phrase(1)), Ok([6; 32]));
                continue;
            }
            parsed += 1;
            OPENED.set(0);
            let expected = if at >= sealed {
                Error::Tampered
            } else {
                Error::WrongCredentials
            };
            assert_eq!(open(&found, &phrase(1)), Err(expected), "byte {at}");
            assert_eq!(OPENED.get(), u64::from(at >= sealed));
        }
        assert!(parsed >= 8 * (16 + 32 + 32 + 48));
        // Parameters: a flip within the limits gives another key.
        let slot = make(&password("a"));
        let other = KdfParams::new(20 << 10, 2).unwrap();
        let params = Some(other);
        assert_eq!(
            open(&Slot { params, ..slot }, &password("a")),
            Err(Error::WrongCredentials)
        );
    }

    #[test]
    fn a_slot_is_not_cut_and_pasted() {
        let (a, b) = (make(&phrase(1)), make(&phrase(1)));
        let other = VaultId([5; 16]);
        assert!(matches!(
            a.open(&phrase(1), &other, KdfCeiling::default()),
            Err(Error::WrongCredentials)
        ));
        let wrong = Err(Error::WrongCredentials);
        let pasted = [
            Slot {
                id: b.id,
                ..a.clone()
            },
            Slot {
                salt: b.salt,
                ..a.clone()
            },
            Slot {
                commitment: b.commitment,
                ..a.clone()
            },
            Slot {
                kind: SlotKind::Keychain,
                ..a.clone()
            },
        ];
        for slot in pasted {
            assert_eq!(open(&slot, &phrase(1)), wrong);
        }
        let sealed = b.sealed.clone();
        assert_eq!(
            open(&Slot { sealed, ..a }, &phrase(1)),
            Err(Error::Tampered)
        );
        // A password slot does not turn into one with a keyfile, nor back.
        let kind = SlotKind::PasswordAndKeyfile;
        let turned = Slot {
            kind,
            ..make(&password("a"))
        };
        assert_eq!(open(&turned, &both("a", 1)), wrong);
        let kind = SlotKind::Password;
        let turned = Slot {
            kind,
            ..make(&both("a", 1))
        };
        assert_eq!(open(&turned, &password("a")), wrong);
    }

    /// A ciphertext that two keys decrypt is possible (ChaCha20-Poly1305 commits
    /// to no key); a slot that two credentials open is not, for the commitment
    /// is one hash and each credential has its own.
    #[test]
    fn one_credential_a_slot() {
        let slot = make(&phrase(1));
        for byte in 2..=255 {
            OPENED.set(0);
            assert_eq!(open(&slot, &phrase(byte)), Err(Error::WrongCredentials));
            assert_eq!(OPENED.get(), 0, "no AEAD call tells keys apart");
        }
    }

    /// The store's guess at two passwords with one slot.
    #[test]
    fn g01_g05_a_slot_that_two_keys_decrypt_is_opened_by_one_credential() {
        let forge = |credentials: [&Credential; 2], committed: usize| {
            let mut slot = Slot::empty(credentials[0].slot_kind(), 77).unwrap();
            slot.params = slot.kind.is_stretched().then_some(cheap());
            let okm = credentials.map(|credential| {
                let kek = slot.kek(credential, &VAULT).unwrap();
                slot.expand(&kek, &VAULT)
            });
            let ways = okm.each_ref().map(|okm| Way::plain(*halves(okm).0));
            slot.commitment = *halves(&okm[committed]).1;
            slot.sealed = two_keys([&ways[0], &ways[1]], vec![0; 32]);
            for way in ways {
                let (text, tag) = slot.sealed.split_last_chunk().unwrap();
                let aead = Aead::new(&way.key);
                aead.open(&way.nonce, &[], text, tag, &mut [0; 32]).unwrap();
            }
            Slot::decode(&slot.encode()).unwrap()
        };
        for n in 0..1_000usize {
            let credentials = [phrase(n as u8), phrase(n as u8 ^ 0x55)];
            let slot = forge(credentials.each_ref(), n % 2);
            let (right, wrong) = (&credentials[n % 2], &credentials[1 - n % 2]);
            OPENED.set(0);
            assert_eq!(open(&slot, wrong), Err(Error::WrongCredentials));
            assert_eq!(OPENED.get(), 0);
            assert!(open(&slot, right).is_ok());
        }
        // One attempt tells no more than whether it is this one word.
        let words = ["correct", "horse", "battery", "staple"];
        for committed in [0, 1] {
            let credentials = words.map(password);
            let slot = forge([&credentials[1], &credentials[2]], committed);
            let opened = credentials.each_ref().map(|word| open(&slot, word).is_ok());
            let expected = [false, committed == 0, committed == 1, false];
            assert_eq!(opened, expected);
        }
    }

    #[test]
    fn two_slots_share_nothing() {
        let (a, b) = (make(&phrase(1)), make(&phrase(1)));
        assert_ne!(a.id, b.id);
        assert_ne!(a.salt, b.salt);
        assert_ne!(a.commitment, b.commitment);
        assert_ne!(a.sealed, b.sealed);
    }

    fn encoded(kind: u64, params: &[u64], sealed: usize) -> Zeroizing<Vec<u8>> {
        let mut to = Writer::new();
        to.array(7).bytes(&[1; 16]).uint(kind).uint(5);
        to.array(params.len());
        for param in params {
            to.uint(*param);
        }
        to.bytes(&[2; 32]).bytes(&[3; 32]).bytes(&vec![4; sealed]);
        to.finish()
    }

    #[test]
    fn costs_outside_the_limits_are_refused_when_the_slot_is_read() {
        let ok = [19 << 10, 2, 1];
        assert!(Slot::decode(&encoded(1, &ok, 48)).is_ok());
        STRETCHED.set(0);
        for params in [
            [(19 << 10) - 1, 2, 1],
            [19 << 10, 1, 1],
            [19 << 10, 2, 0],
            [19 << 10, 2, 2],
            [0, 0, 0],
            [(1 << 20) + 1, 2, 1],
            [1 << 20, 5, 1],
            [19 << 10, 11, 1],
            [1 << 32 | 19 << 10, 2, 1],
            [19 << 10, 1 << 32 | 2, 1],
            [19 << 10, 2, 1 << 32 | 1],
            [u64::MAX; 3],
        ] {
            for kind in [1, 2] {
                let found = Slot::decode(&encoded(kind, &params, 48));
                assert!(
                    matches!(found, Err(Error::LimitExceeded(_))),
                    "{params:?} {found:?}"
                );
            }
        }
        assert_eq!(STRETCHED.get(), 0);
    }

    #[test]
    fn slots_of_another_form_are_refused() {
        let costs = [19 << 10, 2, 1];
        let tampered = [
            encoded(1, &[], 48),
            encoded(1, &costs[..2], 48),
            encoded(1, &[19 << 10, 2, 1, 0], 48),
            encoded(3, &costs, 48),
            encoded(5, &costs, 48),
            encoded(1, &costs, 47),
            encoded(2, &costs, 49),
            encoded(3, &[], 0),
            encoded(5, &[], 64),
        ];
        for slot in tampered {
            assert_eq!(Slot::decode(&slot), Err(Error::Tampered));
        }
        for kind in [0, 6, 7, 255, u64::MAX] {
            assert!(matches!(
                Slot::decode(&encoded(kind, &[], 48)),
                Err(Error::UnsupportedFormat(_))
            ));
        }
        assert!(matches!(
            Slot::decode(&encoded(3, &[], 2_049)),
            Err(Error::LimitExceeded(_))
        ));
        for (suite, sealed) in [(1, 1_168), (2, 80)] {
            let bytes = encoded(4, &[suite], sealed);
            let device = Slot::decode(&bytes).unwrap();
            assert_eq!(device.encode(), bytes);
            assert_eq!(device.kdf_params(), None);
            assert_eq!(open(&device, &phrase(1)), Err(Error::WrongCredentials));
            for sealed in [0, 48, sealed - 1, sealed + 1, 2_048] {
                let bytes = encoded(4, &[suite], sealed);
                assert_eq!(Slot::decode(&bytes), Err(Error::Tampered));
            }
        }
        for params in [&[][..], &[1, 1]] {
            assert_eq!(
                Slot::decode(&encoded(4, params, 1_168)),
                Err(Error::Tampered)
            );
        }
        for suite in [0, 3, u64::MAX] {
            assert!(matches!(
                Slot::decode(&encoded(4, &[suite], 1_168)),
                Err(Error::UnsupportedFormat(_))
            ));
        }
    }

    #[test]
    fn unusable_passwords_and_broken_randomness_make_no_slot() {
        use crate::random::scripted::{self, Source};
        for bad in ["", "a\nb"] {
            let found = Slot::make(&password(bad), cheap(), &VAULT, &root(), 0);
            assert!(matches!(found, Err(Error::InvalidInput(_))));
        }
        scripted::with(Source::Broken, || {
            let found = Slot::make(&phrase(1), cheap(), &VAULT, &root(), 0);
            assert_eq!(found, Err(Error::Randomness));
        });
    }

    mod devices {
        use super::*;
        use crate::kem::tests::DECAPSULATED;
        use crate::random::scripted::{self, Source};
        use crate::testing::SUITES;
        use std::sync::Arc;

        fn identity(suite: IdentitySuite) -> Arc<Identity> {
            Arc::new(Identity::make(suite, 1).unwrap())
        }

        fn for_device(identity: &Identity) -> Slot {
            Slot::for_device(identity.card(), &VAULT, &root(), 77).unwrap()
        }

        fn open_as(slot: &Slot, identity: &Arc<Identity>) -> Result<[u8; 32]> {
            open(slot, &identity.clone().into())
        }

        #[test]
        fn a_device_opens_the_slot_that_was_made_for_its_card() {
            for suite in SUITES {
                let (one, two) = (identity(suite), identity(suite));
                let credential = Credential::from(one.clone());
                // Made with the card alone, and with the identity at hand.
                for slot in [for_device(&one), make(&credential)] {
                    assert_eq!(slot.kind(), SlotKind::DeviceIdentity);
                    assert_eq!((slot.created(), slot.kdf_params()), (77, None));
                    assert_eq!(Slot::decode(&slot.encode()).as_ref(), Ok(&slot));
                    assert_eq!(open_as(&slot, &one), Ok([6; 32]));
                    OPENED.set(0);
                    let wrong = Err(Error::WrongCredentials);
                    assert_eq!(open_as(&slot, &two), wrong);
                    assert_eq!(open(&slot, &phrase(1)), wrong);
                    assert_eq!(open(&make(&phrase(1)), &credential), wrong);
                    assert_eq!(OPENED.get(), 0);
                }
            }
        }

        #[test]
        fn f14_a_slot_does_not_say_whose_it_is() {
            for suite in SUITES {
                let device = identity(suite);
                let windows = |bytes: &[u8]| -> std::collections::HashSet<Vec<u8>> {
                    bytes.windows(8).map(<[u8]>::to_vec).collect()
                };
                let [one, two] = [0, 1].map(|_| {
                    let slot = for_device(&device);
                    assert_eq!(slot.sealed.len(), 48);
                    let device = slot.device.unwrap();
                    let fields = [
                        &device.key,
                        &slot.salt[..],
                        &slot.commitment,
                        &slot.sealed,
                        slot.id.as_bytes(),
                    ];
                    windows(&fields.concat())
                });
                assert!(one.is_disjoint(&two));
                assert!(one.is_disjoint(&windows(device.card().as_bytes())));
                assert!(one.is_disjoint(&windows(device.card().hash().as_bytes())));
            }
        }

        /// A slot that was sealed to the X25519 half of the card, as suite 2.
        #[test]
        fn k02_a_hybrid_device_opens_no_classical_slot() {
            let hybrid = identity(IdentitySuite::XWing);
            let classical = identity(IdentitySuite::X25519);
            let mut slot = for_device(&classical);
            DECAPSULATED.set(0);
            let wrong = Err(Error::WrongCredentials);
            assert_eq!(open_as(&slot, &hybrid), wrong);
            assert_eq!(open_as(&for_device(&hybrid), &classical), wrong);
            assert_eq!(DECAPSULATED.get(), 0);

            let half = hybrid.card().as_bytes();
            let at = half.len() - 64 - 2 - 32;
            let half = &half[at..][..32];
            assert!(IdentitySuite::X25519.is_sound(half));
            let info = slot.device_info(hybrid.card(), &VAULT);
            let (key, exported) = IdentitySuite::X25519.encapsulate(half, &info).unwrap();
            slot.device = Some(Encapsulated {
                suite: IdentitySuite::X25519,
                key,
            });
            let kek = Kek::init_with(|kek| *kek = *exported.expose_secret());
            slot.wrap(&kek, &VAULT, &root()).unwrap();
            assert_eq!(open_as(&slot, &hybrid), wrong);
            assert_eq!(DECAPSULATED.get(), 0);
        }

        #[test]
        fn every_flipped_bit_is_refused() {
            for suite in SUITES {
                let device = identity(suite);
                let encoded = for_device(&device).encode();
                let created = 1 + 17 + 1;
                let sealed = encoded.len() - 48;
                let lattice = sealed.saturating_sub(32)..sealed;
                for (bit, (at, changed)) in flips(&encoded).enumerate() {
                    // One bit a byte of the encapsulated key, which takes its time.
                    if at < lattice.start && bit % 8 != at % 8 {
                        continue;
                    }
                    let Ok(found) = Slot::decode(&changed) else {
                        continue;
                    };
                    if (created..created + 2).contains(&at) {
                        assert_eq!(open_as(&found, &device), Ok([6; 32]));
                        continue;
                    }
                    OPENED.set(0);
                    let expected = if at >= sealed {
                        Error::Tampered
                    } else {
                        Error::WrongCredentials
                    };
                    assert_eq!(open_as(&found, &device), Err(expected), "byte {at}");
                    assert_eq!(OPENED.get(), u64::from(at >= sealed));
                }
            }
        }

        #[test]
        fn a_slot_of_a_device_is_not_cut_and_pasted() {
            let device = identity(IdentitySuite::XWing);
            let (a, b) = (for_device(&device), for_device(&device));
            let other = VaultId([5; 16]);
            assert!(matches!(
                a.open(&device.clone().into(), &other, KdfCeiling::default()),
                Err(Error::WrongCredentials)
            ));
            for pasted in [
                Slot {
                    id: b.id,
                    ..a.clone()
                },
                Slot {
                    salt: b.salt,
                    ..a.clone()
                },
                Slot {
                    device: b.device.clone(),
                    ..a.clone()
                },
                Slot {
                    commitment: b.commitment,
                    ..a.clone()
                },
            ] {
                assert_eq!(open_as(&pasted, &device), Err(Error::WrongCredentials));
            }
            let pasted = Slot {
                sealed: b.sealed,
                ..a
            };
            assert_eq!(open_as(&pasted, &device), Err(Error::Tampered));
        }

        /// Points that everybody shares a secret with, as what is encapsulated.
        #[test]
        fn f03_what_everybody_can_seal_is_refused() {
            use crate::primitives::{bad_points, hpke};
            let device = identity(IdentitySuite::X25519);
            let card = device.card().as_bytes();
            let at = card.len() - 64 - 2 - 32;
            let key = &card[at..][..32];
            for point in bad_points() {
                let mut slot = Slot::empty(SlotKind::DeviceIdentity, 1).unwrap();
                slot.device = Some(Encapsulated {
                    suite: IdentitySuite::X25519,
                    key: point.to_vec(),
                });
                let info = slot.device_info(device.card(), &VAULT);
                let shared = hpke::dhkem(&[0; 32], &point, key);
                let exported = hpke::exported(0x20, &shared, &info);
                let kek = Kek::init_with(|kek| *kek = exported);
                slot.wrap(&kek, &VAULT, &root()).unwrap();
                assert_eq!(open_as(&slot, &device), Err(Error::WrongCredentials));
            }
        }

        #[test]
        fn no_slot_is_made_without_randomness() {
            let device = identity(IdentitySuite::XWing);
            // Id and salt, and then nothing for what is encapsulated.
            for source in [Source::Broken, Source::Bytes(vec![1; 16 + 32 + 63])] {
                scripted::with(source, || {
                    let found = Slot::for_device(device.card(), &VAULT, &root(), 1);
                    assert_eq!(found, Err(Error::Randomness));
                });
            }
        }
    }
}
