//! Key slots, as in LUKS: each wraps the vault root key for one credential, so
//! that changing a password rewrites one small record and no data.

use crate::aead::{Aead, TAG};
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{Credential, KdfCeiling, KdfParams, Kek, random_bytes, stretch};
use crate::header::RootKey;
use crate::kdf::{self, Label, domain, length_prefix};
use crate::{Error, Result, SlotId, VaultId};
use hkdf::Hkdf;
use sha2::Sha256;
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
    salt: [u8; 32],
    commitment: [u8; 32],
    sealed: Vec<u8>,
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
        let kind = credential.slot_kind();
        let mut slot = Self {
            id: SlotId(random_bytes()?),
            kind,
            created: now,
            params: kind.is_stretched().then_some(params),
            salt: random_bytes()?,
            commitment: [0; 32],
            sealed: Vec::new(),
        };
        let kek = slot.kek(credential, vault)?;
        let okm = slot.expand(&kek, vault);
        let (key, commitment) = halves(&okm);
        slot.commitment = *commitment;
        // The key is used once, for a salt is: a slot is never written again.
        let mut sealed = root.expose_secret().to_vec();
        let mut tag = [0; TAG];
        Aead::new(key).seal(&[0; 12], &[], &mut sealed, &mut tag)?;
        sealed.extend_from_slice(&tag);
        slot.sealed = sealed;
        Ok(slot)
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
        let kek = self.kek(credential, vault)?;
        let okm = self.expand(&kek, vault);
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

    fn kek(&self, credential: &Credential, vault: &VaultId) -> Result<Kek> {
        match (credential, self.params) {
            (Credential::Password(password), Some(params)) => stretch(password, &self.salt, params),
            (Credential::PasswordAndKeyfile(password, keyfile), Some(params)) => {
                let stretched = stretch(password, &self.salt, params)?;
                // RFC 5869, section 2.2: Extract(salt = Argon2id(…), ikm = keyfile)
                let (prk, _) = Hkdf::<Sha256>::extract(
                    Some(stretched.expose_secret()),
                    keyfile.expose_secret(),
                );
                let prk = Zeroizing::new(<[u8; 32]>::from(prk));
                Ok(Kek::init_with(|out| *out = *prk))
            }
            (Credential::RecoveryPhrase(phrase), None) => Ok(Kek::derive(
                phrase.expose_secret(),
                Label::PHRASE,
                &[vault.as_bytes(), &self.salt],
            )),
            _ => Err(Error::WrongCredentials),
        }
    }

    /// `key ‖ commitment = Expand(KEK, "kluis/v1/slot" ‖ 0x00 ‖ lp(vault id) ‖ lp(slot id)
    /// ‖ lp(kind) ‖ lp(parameters) ‖ lp(salt), 64)`
    fn expand(&self, kek: &Kek, vault: &VaultId) -> Zeroizing<[u8; 64]> {
        let kind = self.kind.number().to_be_bytes();
        let mut params = Writer::new();
        KdfParams::write(self.params, &mut params);
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
        KdfParams::write(self.params, to);
        to.bytes(&self.salt)
            .bytes(&self.commitment)
            .bytes(&self.sealed);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let id = SlotId(*from.fixed()?);
        let kind = SlotKind::from_number(from.uint()?)?;
        let created = from.uint()?;
        let params = KdfParams::read(from)?;
        if params.is_some() != kind.is_stretched() {
            return Err(Error::Tampered);
        }
        let salt = *from.fixed()?;
        let commitment = *from.fixed()?;
        let sealed = from.bytes(Self::MAX_SEALED)?.to_vec();
        if kind != SlotKind::DeviceIdentity && sealed.len() != 32 + TAG {
            return Err(Error::Tampered);
        }
        Ok(Self {
            id,
            kind,
            created,
            params,
            salt,
            commitment,
            sealed,
        })
    }
}
