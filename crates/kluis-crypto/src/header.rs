//! The vault header: who may open the vault, and the secrets under its root key
//! (docs/FORMAT.md, section 3).

use crate::authority::{Authorities, Authority, AuthoritySeed, vault_id};
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{Credential, KdfCeiling};
use crate::kdf::{self, Label, domain};
use crate::ledger::OwnerKey;
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::slot::Slot;
use crate::{Error, Position, RecordHash, Result, SlotId, VaultId};
use hmac::{Hmac, Mac};
use sha2::Sha256;

secret_key! {
    /// The root of all keys of a vault, VRK: random, made once, replaced only by
    /// a root rotation.
    pub(crate) struct RootKey;
}
secret_key! {
    /// Seals what a device remembers of a vault.
    pub(crate) struct StateKey;
}
secret_key! {
    struct MacKey;
}
secret_key! {
    struct WrapKey;
}

/// The kind of every object of a vault, fixed at its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suite {
    /// HKDF-SHA-256 and ChaCha20-Poly1305.
    V1,
}

impl Suite {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
        }
    }

    pub(crate) fn from_number(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::V1),
            2 => Err(Error::UnsupportedFormat("suite 2, signed vaults")),
            _ => Err(Error::UnsupportedFormat("suite")),
        }
    }
}

/// Everything that the root key protects: what an open vault holds.
#[derive(Debug)]
pub struct VaultSecrets {
    vault: VaultId,
    root: RootKey,
    authority: AuthoritySeed,
    state: StateKey,
    /// OK_0, OK_1, …; the last is in force.
    owners: Vec<OwnerKey>,
}

impl VaultSecrets {
    const MAX_OWNERS: usize = 256;

    /// The secrets of a new vault.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn make() -> Result<Self> {
        let authority = AuthoritySeed::make()?;
        Ok(Self {
            vault: vault_id(&authority.public_key()),
            root: RootKey::make()?,
            authority,
            state: StateKey::make()?,
            owners: vec![OwnerKey::make()?],
        })
    }

    /// The secrets after a root rotation: a new root key, a new owner key for
    /// what is decided from now on, everything else kept.
    ///
    /// # Errors
    /// `Randomness`; `LimitExceeded` after 256 rotations.
    pub fn rotated(&self) -> Result<Self> {
        if self.owners.len() == Self::MAX_OWNERS {
            return Err(Error::LimitExceeded("root rotations of one vault"));
        }
        let mut owners: Vec<_> = self.owners.iter().map(OwnerKey::duplicate).collect();
        owners.push(OwnerKey::make()?);
        Ok(Self {
            vault: self.vault,
            root: RootKey::make()?,
            authority: self.authority.duplicate(),
            state: self.state.duplicate(),
            owners,
        })
    }

    pub(crate) fn authority(&self) -> &AuthoritySeed {
        &self.authority
    }

    pub(crate) fn owners(&self) -> &[OwnerKey] {
        &self.owners
    }

    /// Whose secrets these are.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    fn header_mac(root: &RootKey, vault: &VaultId, signed: &[u8]) -> Hmac<Sha256> {
        let key = MacKey::derive(root.expose_secret(), Label::HEADER_MAC, &[vault.as_bytes()]);
        kdf::hmac(key.expose_secret()).chain_update(signed)
    }

    fn wrap_key(root: &RootKey, vault: &VaultId) -> WrapKey {
        WrapKey::derive(root.expose_secret(), Label::WRAP, &[vault.as_bytes()])
    }
}

/// What is sealed in a header beside the slots.
struct Wrapped {
    authority: AuthoritySeed,
    state: StateKey,
    owners: Vec<OwnerKey>,
}

impl Record for Wrapped {
    fn write(&self, to: &mut Writer) {
        to.array(4)
            .bytes(self.authority.expose_secret())
            .bytes(self.state.expose_secret());
        to.array(self.owners.len());
        for owner in &self.owners {
            to.bytes(owner.expose_secret());
        }
        to.array(0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(4)?;
        let authority = from.fixed()?;
        let state = from.fixed()?;
        let count = from.array_up_to(VaultSecrets::MAX_OWNERS)?;
        let mut owners = Vec::with_capacity(count);
        for _ in 0..count {
            let owner = from.fixed()?;
            owners.push(OwnerKey::init_with(|out| *out = *owner));
        }
        if owners.is_empty() {
            return Err(Error::Tampered);
        }
        if from.array_up_to(usize::MAX)? != 0 {
            return Err(Error::UnsupportedFormat("further secrets in the header"));
        }
        Ok(Self {
            authority: AuthoritySeed::init_with(|out| *out = *authority),
            state: StateKey::init_with(|out| *out = *state),
            owners,
        })
    }
}

/// What a header says, without its MAC and signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Body {
    suite: Suite,
    vault: VaultId,
    authorities: Vec<Authority>,
    sequence: u64,
    previous: Option<RecordHash>,
    written: u64,
    ledger: Position,
    wrapped: Vec<u8>,
    slots: Vec<Slot>,
}

impl Body {
    const NAME_PROFILE: u64 = 1;
    const MAX_SLOTS: usize = 32;
}

impl Record for Body {
    fn write(&self, to: &mut Writer) {
        to.array(12)
            .uint(self.suite.number().into())
            .bytes(self.vault.as_bytes());
        to.array(self.authorities.len());
        for authority in &self.authorities {
            to.array(3).bytes(&authority.key).uint(authority.from);
            to.bytes(authority.signature.as_ref().map_or(&[][..], |s| &s[..]));
        }
        to.uint(self.sequence)
            .bytes(self.previous.as_ref().map_or(&[][..], |h| h.as_bytes()));
        to.uint(self.written)
            .uint(self.ledger.sequence)
            .bytes(self.ledger.hash.as_bytes());
        to.uint(Self::NAME_PROFILE)
            .array(0)
            .bytes(&self.wrapped)
            .array(self.slots.len());
        for slot in &self.slots {
            slot.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(12)?;
        let suite = Suite::from_number(from.uint()?)?;
        let vault = VaultId(*from.fixed()?);
        let mut authorities = Vec::new();
        for _ in 0..from.array_up_to(Authorities::MAX)? {
            from.array(3)?;
            authorities.push(Authority {
                key: *from.fixed()?,
                from: from.uint()?,
                signature: from.fixed_or_empty()?.copied(),
            });
        }
        let sequence = from.uint()?;
        let previous = from.fixed_or_empty()?.copied().map(RecordHash);
        if previous.is_some() != (sequence > 0) {
            return Err(Error::Tampered);
        }
        let written = from.uint()?;
        let ledger = Position {
            sequence: from.uint()?,
            hash: RecordHash(*from.fixed()?),
        };
        if from.uint()? != Self::NAME_PROFILE {
            return Err(Error::UnsupportedFormat("name profile"));
        }
        if from.array_up_to(usize::MAX)? != 0 {
            return Err(Error::UnsupportedFormat("policy in the header"));
        }
        let wrapped = from.bytes(Header::MAX_LENGTH)?.to_vec();
        let mut slots = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX_SLOTS)? {
            slots.push(Slot::read(from)?);
        }
        check_slots(&slots, || Error::LimitExceeded("key slots of one kind"))?;
        if slots.is_empty() {
            return Err(Error::Tampered);
        }
        Ok(Self {
            suite,
            vault,
            authorities,
            sequence,
            previous,
            written,
            ledger,
            wrapped,
            slots,
        })
    }
}

/// Bounds the Argon2 runs of one opening.
fn check_slots(slots: &[Slot], error: impl Fn() -> Error) -> Result<()> {
    for slot in slots.iter().filter(|s| s.kind().is_stretched()) {
        if slots.iter().filter(|s| s.kind() == slot.kind()).count() > Slot::MAX_STRETCHED {
            return Err(error());
        }
    }
    Ok(())
}

/// A vault header whose signature is good. Its MAC is checked when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    body: Body,
    authorities: Authorities,
    record: Vec<u8>,
    position: Position,
}

impl Header {
    /// A longer record is not a header.
    pub const MAX_LENGTH: usize = 65_536;
    const MAGIC: [u8; 4] = *b"KLV1";
    const TRAILER: usize = 32 + 64;

    /// Parses a stored header and checks that its authority signed it and that
    /// the vault id is the authority's.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version, `LimitExceeded`, otherwise `Tampered`.
    ///
    /// # Security
    /// Whoever knows no vault id to compare with trusts the header he is shown.
    pub fn parse(record: &[u8]) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of the vault header"));
        }
        let body = check_magic(record, Self::MAGIC)?;
        let (signed, trailer) = record
            .split_at_checked(record.len().wrapping_sub(Self::TRAILER))
            .ok_or(Error::Tampered)?;
        let body = body
            .get(..body.len().wrapping_sub(Self::TRAILER))
            .ok_or(Error::Tampered)?;
        let (mac, signature) = trailer.split_at(32);
        let signature: &[u8; 64] = signature.try_into().map_err(|_| Error::Tampered)?;
        let body = Body::decode(body)?;
        let authorities = Authorities::verify(body.authorities.clone(), &body.vault)?;
        authorities.verify_current(domain::HEADER, &[signed, mac], signature)?;
        let position = Position {
            sequence: body.sequence,
            hash: RecordHash::of(record),
        };
        Ok(Self {
            body,
            authorities,
            record: record.to_vec(),
            position,
        })
    }

    /// The first header of a vault.
    ///
    /// # Errors
    /// `InvalidInput` for an unusable password, `Randomness`, `LimitExceeded`.
    pub fn first(secrets: &VaultSecrets, ledger: Position, slot: Slot, now: u64) -> Result<Self> {
        let body = Body {
            suite: Suite::V1,
            vault: secrets.vault,
            authorities: Authorities::first(secrets.authority.public_key())
                .list()
                .to_vec(),
            sequence: 0,
            previous: None,
            written: now,
            ledger,
            wrapped: Vec::new(),
            slots: vec![slot],
        };
        Self::write(body, secrets)
    }

    /// The header after this one, with other slots, under `secrets` (which differ
    /// from the old ones after a root rotation).
    ///
    /// # Errors
    /// `InvalidInput` without a slot or with too many; `Randomness`.
    pub fn next(
        &self,
        secrets: &VaultSecrets,
        ledger: Position,
        slots: Vec<Slot>,
        now: u64,
    ) -> Result<Self> {
        self.following(self.position, secrets, ledger, slots, now)
    }

    /// As `next`, behind a header of this vault that is known by its place only:
    /// what restores a recovery kit.
    ///
    /// # Errors
    /// As `next`.
    pub fn following(
        &self,
        last: Position,
        secrets: &VaultSecrets,
        ledger: Position,
        slots: Vec<Slot>,
        now: u64,
    ) -> Result<Self> {
        if slots.is_empty() {
            return Err(Error::invalid(
                "a vault needs a key slot that opens it; add another before removing the last",
            ));
        }
        if slots.len() > Body::MAX_SLOTS {
            return Err(Error::invalid(
                "a vault has at most 32 key slots; remove one first",
            ));
        }
        check_slots(&slots, || {
            Error::invalid(
                "a vault has at most 4 key slots of each kind with a password; remove one first",
            )
        })?;
        let sequence = last
            .sequence
            .checked_add(1)
            .ok_or(Error::LimitExceeded("headers of one vault"))?;
        let body = Body {
            sequence,
            previous: Some(last.hash),
            written: now,
            ledger,
            wrapped: Vec::new(),
            slots,
            ..self.body.clone()
        };
        Self::write(body, secrets)
    }

    fn write(mut body: Body, secrets: &VaultSecrets) -> Result<Self> {
        let authorities = Authorities::verify(body.authorities.clone(), &body.vault)?;
        if secrets.vault != body.vault || secrets.authority.public_key() != *authorities.current() {
            return Err(Error::invalid("these are the secrets of another vault"));
        }
        let wrapped = Wrapped {
            authority: secrets.authority.duplicate(),
            state: secrets.state.duplicate(),
            owners: secrets.owners.iter().map(OwnerKey::duplicate).collect(),
        };
        let key = VaultSecrets::wrap_key(&secrets.root, &body.vault);
        let place = body.sequence.to_be_bytes();
        let place = Place {
            kind: "wrap",
            vault: &body.vault,
            place: &place,
        };
        body.wrapped = message::seal(key.expose_secret(), &place, &wrapped.encode())?;

        let mut record = Self::MAGIC.to_vec();
        record.extend_from_slice(&body.encode());
        let mac = VaultSecrets::header_mac(&secrets.root, &body.vault, &record)
            .finalize()
            .into_bytes();
        record.extend_from_slice(&mac);
        let signature = secrets.authority.sign(domain::HEADER, &[&record]);
        record.extend_from_slice(&signature);
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of the vault header"));
        }
        let position = Position {
            sequence: body.sequence,
            hash: RecordHash::of(&record),
        };
        Ok(Self {
            body,
            authorities,
            record,
            position,
        })
    }

    /// Opens the header with a credential, trying the slots of its kind, and
    /// checks the MAC before any of the wrapped secrets is used. One KDF a slot.
    ///
    /// # Errors
    /// `WrongCredentials`; `Tampered` where the credential is right and the
    /// header is not; `LimitExceeded` where no slot opens and one was passed over
    /// because it costs more memory than the caller allows or the machine has.
    pub fn open(
        &self,
        credential: &Credential,
        ceiling: KdfCeiling,
    ) -> Result<(VaultSecrets, SlotId)> {
        let mut refused = Error::WrongCredentials;
        for slot in &self.body.slots {
            match slot.open(credential, &self.body.vault, ceiling) {
                Ok(root) => return Ok((self.unwrap(root)?, slot.id())),
                Err(Error::WrongCredentials) => {}
                // Another slot of this credential may be cheaper.
                Err(error @ Error::LimitExceeded(_)) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Opens the header with the root key of an open vault, without a credential.
    ///
    /// # Errors
    /// `Tampered` where the root key was rotated since, or the header is not ours.
    pub fn reopen(&self, secrets: &VaultSecrets) -> Result<VaultSecrets> {
        self.unwrap(secrets.root.duplicate())
    }

    fn unwrap(&self, root: RootKey) -> Result<VaultSecrets> {
        let vault = &self.body.vault;
        let (signed, trailer) = self.record.split_at(self.record.len() - Self::TRAILER);
        let key = VaultSecrets::wrap_key(&root, vault);
        let place = self.body.sequence.to_be_bytes();
        let place = Place {
            kind: "wrap",
            vault,
            place: &place,
        };
        // The MAC comes first: nothing of the header is used under a root key
        // that did not write all of it.
        VaultSecrets::header_mac(&root, vault, signed)
            .verify_slice(&trailer[..32])
            .map_err(|_| Error::Tampered)?;
        let wrapped = message::open(key.expose_secret(), &place, &self.body.wrapped)?;
        let Wrapped {
            authority,
            state,
            owners,
        } = Wrapped::decode(&wrapped)?;
        if authority.public_key() != *self.authorities.current() {
            return Err(Error::Tampered);
        }
        Ok(VaultSecrets {
            vault: *vault,
            root,
            authority,
            state,
            owners,
        })
    }

    /// Whose header this is.
    pub fn vault(&self) -> VaultId {
        self.body.vault
    }

    /// The suite of every object of the vault.
    pub fn suite(&self) -> Suite {
        self.body.suite
    }

    /// Its place in the chain of headers.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The ledger entry that its writer had checked.
    pub fn ledger(&self) -> Position {
        self.body.ledger
    }

    /// Who signs.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The key slots.
    pub fn slots(&self) -> &[Slot] {
        &self.body.slots
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.record
    }
}

/// Wraps the root key of `secrets` for a credential.
///
/// # Errors
/// `InvalidInput` for an unusable password, `Randomness`, `LimitExceeded` where
/// memory for Argon2id is short.
pub fn make_slot(
    secrets: &VaultSecrets,
    credential: &Credential,
    params: crate::KdfParams,
    now: u64,
) -> Result<Slot> {
    Slot::make(credential, params, &secrets.vault, &secrets.root, now)
}

/// The bytes behind the magic. Three good bytes and another fourth are a later
/// version; anything else is damage.
pub(crate) fn check_magic(record: &[u8], magic: [u8; 4]) -> Result<&[u8]> {
    match record.split_first_chunk::<4>() {
        Some((found, rest)) if *found == magic => Ok(rest),
        Some((found, _)) if found[..3] == magic[..3] => {
            Err(Error::UnsupportedFormat("version of a stored record"))
        }
        _ => Err(Error::Tampered),
    }
}
