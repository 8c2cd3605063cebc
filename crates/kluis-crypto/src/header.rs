//! The vault header: who may open the vault, and the secrets under its root key
//! (docs/FORMAT.md, section 3).

use crate::authority::{self, Authorities, Authority, AuthoritySeed, vault_id};
use crate::card::IdentitySuite;
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{Credential, KdfCeiling};
use crate::identity::Identity;
use crate::kdf::{self, Label, domain};
use crate::ledger::OwnerKey;
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::slot::{Slot, SlotKind};
use crate::{Card, Error, Position, RecordHash, Result, SlotId, VaultId};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::sync::Arc;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suite {
    /// HKDF-SHA-256 and ChaCha20-Poly1305.
    #[default]
    V1,
    /// The same, and every object is signed by its writer: Ed25519 over BLAKE3.
    V2,
}

impl Suite {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    pub(crate) fn from_number(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
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
    /// Who grants access.
    identity: Arc<Identity>,
}

impl VaultSecrets {
    const MAX_OWNERS: usize = 256;

    /// The secrets of a new vault. `now` is in microseconds since 1970.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn make(now: u64) -> Result<Self> {
        let authority = AuthoritySeed::make()?;
        Ok(Self {
            vault: vault_id(&authority.public_key()),
            root: RootKey::make()?,
            authority,
            state: StateKey::make()?,
            owners: vec![OwnerKey::make()?],
            identity: Arc::new(Identity::make(IdentitySuite::XWing, now)?),
        })
    }

    /// The secrets after a root rotation: a new root key, a new authority, a new
    /// identity and a new owner key for what is decided from now on. Whoever held the old ones can
    /// neither read nor sign what comes.
    ///
    /// # Errors
    /// `Randomness`; `LimitExceeded` after 255 rotations.
    pub fn rotated(&self, now: u64) -> Result<Self> {
        if self.owners.len() == Self::MAX_OWNERS {
            return Err(Error::LimitExceeded("root rotations of one vault"));
        }
        let mut owners: Vec<_> = self.owners.iter().map(OwnerKey::duplicate).collect();
        owners.push(OwnerKey::make()?);
        Ok(Self {
            vault: self.vault,
            root: RootKey::make()?,
            authority: AuthoritySeed::make()?,
            state: self.state.duplicate(),
            owners,
            identity: Arc::new(self.identity.replaced(now)?),
        })
    }

    /// Who grants access to this vault, and opens what is granted to its owner.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn authority(&self) -> &AuthoritySeed {
        &self.authority
    }

    pub(crate) fn owners(&self) -> &[OwnerKey] {
        &self.owners
    }

    /// Someone who holds owner keys and nothing else.
    #[cfg(test)]
    pub(crate) fn of_owners(vault: VaultId, owners: Vec<OwnerKey>) -> Self {
        Self {
            vault,
            root: RootKey::init_with(|_| {}),
            authority: AuthoritySeed::init_with(|_| {}),
            state: StateKey::init_with(|_| {}),
            owners,
            identity: Arc::new(Identity::make(IdentitySuite::X25519, 0).unwrap()),
        }
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &StateKey {
        &self.state
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
    identity: Arc<Identity>,
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
        to.bytes(&self.identity.to_secret_bytes());
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
        Ok(Self {
            authority: AuthoritySeed::init_with(|out| *out = *authority),
            state: StateKey::init_with(|out| *out = *state),
            owners,
            identity: Arc::new(Identity::from_secret_bytes(
                from.bytes(Identity::MAX_SECRET)?,
            )?),
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
        authority::write_list(&self.authorities, to);
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
        let authorities = authority::read_list(from)?;
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
        if only_devices(&slots) {
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

/// Vault id and authorities, which stand first in every version's header.
fn read_signer(from: &mut Reader<'_>) -> Result<(VaultId, Vec<Authority>)> {
    from.array_up_to(64)?;
    from.uint()?;
    let vault = VaultId(*from.fixed()?);
    Ok((vault, authority::read_list(from)?))
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

/// Whether no slot, or none but those of devices, is there: a vault does not go
/// with the last device.
fn only_devices(slots: &[Slot]) -> bool {
    slots
        .iter()
        .all(|slot| slot.kind() == SlotKind::DeviceIdentity)
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
        let (body, authorities) = Self::envelope(record)?;
        let body = Body::decode(body)?;
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

    /// The vault whose authority signed a header, whatever else stands in it: one
    /// that is `UnsupportedFormat` and signed was written by a later version, one
    /// that is not signed is damage.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn signer(record: &[u8]) -> Result<VaultId> {
        let (body, _) = Self::envelope(record)?;
        Ok(read_signer(&mut Reader::new(body))?.0)
    }

    /// The body, once its signature was checked.
    fn envelope(record: &[u8]) -> Result<(&[u8], Authorities)> {
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
        let (vault, list) = read_signer(&mut Reader::new(body))?;
        let authorities = Authorities::verify(list, &vault)?;
        authorities.verify_current(domain::HEADER, &[signed, mac], signature)?;
        Ok((body, authorities))
    }

    /// The first header of a vault.
    ///
    /// # Errors
    /// `InvalidInput` for a slot of a device, `Randomness`.
    pub fn first(
        secrets: &VaultSecrets,
        suite: Suite,
        ledger: Position,
        slot: Slot,
        now: u64,
    ) -> Result<Self> {
        if only_devices(std::slice::from_ref(&slot)) {
            return Err(Error::invalid(
                "a vault is made with a password or a recovery phrase; add devices afterwards",
            ));
        }
        let body = Body {
            suite,
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
    /// The header after this one under the secrets of a root rotation, with its
    /// authority, which takes over behind `ledger` and is signed by the one before.
    ///
    /// # Errors
    /// As `next`.
    pub fn rotated(
        &self,
        before: &VaultSecrets,
        after: &VaultSecrets,
        ledger: Position,
        slots: Vec<Slot>,
        now: u64,
    ) -> Result<Self> {
        let (key, from) = (after.authority.public_key(), ledger.sequence + 1);
        let message: [&[u8]; 3] = [self.body.vault.as_bytes(), &key, &from.to_be_bytes()];
        let signature = Some(before.authority.sign(domain::SUCCESSION, &message));
        let mut successor = self.clone();
        successor.body.authorities.push(Authority {
            key,
            from,
            signature,
        });
        successor.following(self.position, after, ledger, slots, now)
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
        if only_devices(&slots) {
            return Err(Error::invalid(
                "a vault needs a key slot that is not a device's; add another before removing the last",
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
            identity: Arc::clone(&secrets.identity),
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
            identity,
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
            identity,
        })
    }

    /// Hash of the header before, and time.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> (Option<RecordHash>, u64, &[u8]) {
        (self.body.previous, self.body.written, &self.body.wrapped)
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

/// Wraps the root key of `secrets` for the device whose card this is, which need
/// not be there.
///
/// # Errors
/// `Randomness`.
pub fn make_device_slot(secrets: &VaultSecrets, card: &Card, now: u64) -> Result<Slot> {
    Slot::for_device(card, &secrets.vault, &secrets.root, now)
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::KdfParams;
    use crate::aead::tests::OPENED;
    use crate::credential::tests::STRETCHED;
    use crate::kem::tests::DECAPSULATED;
    use crate::random::scripted::{self, Source};
    use crate::testing::{SUITES, Vault, cheap, flips, password, phrase};
    use crate::two_keys;
    use crate::{Identity, IdentitySuite};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn open(header: &Header, credential: &Credential) -> Result<VaultSecrets> {
        let (secrets, _) = header.open(credential, KdfCeiling::default())?;
        Ok(secrets)
    }

    fn same(a: &VaultSecrets, b: &VaultSecrets) -> bool {
        let keys = |s: &VaultSecrets| {
            let mut keys = vec![
                *s.root.expose_secret(),
                *s.authority.expose_secret(),
                *s.state.expose_secret(),
            ];
            keys.extend(s.owners.iter().map(|owner| *owner.expose_secret()));
            (s.vault, keys)
        };
        keys(a) == keys(b)
    }

    /// MAC and signature over any body: what a holder of the secrets could write.
    fn signed(body: &[u8], secrets: &VaultSecrets) -> Vec<u8> {
        let mut record = [&Header::MAGIC[..], body].concat();
        let mac = VaultSecrets::header_mac(&secrets.root, &secrets.vault, &record);
        record.extend_from_slice(&mac.finalize().into_bytes());
        let signature = secrets.authority.sign(domain::HEADER, &[&record]);
        record.extend_from_slice(&signature);
        record
    }

    /// The header with other slots, whatever they are.
    pub(crate) fn with_slots(vault: &Vault, slots: Vec<Slot>) -> Vec<u8> {
        let mut body = vault.header().body.clone();
        body.slots = slots;
        signed(&body.encode(), &vault.secrets)
    }

    #[test]
    fn create_parse_open() {
        let vault = Vault::make(false, &phrase(1));
        let header = Header::parse(vault.header().as_bytes()).unwrap();
        assert_eq!(&header, vault.header());
        assert_eq!(header.vault(), vault.secrets.vault());
        assert_eq!(header.position().sequence, 0);
        assert_eq!(
            header.position().hash,
            RecordHash::of(vault.header().as_bytes())
        );
        assert_eq!(header.ledger(), vault.head().position());
        assert!(same(&open(&header, &phrase(1)).unwrap(), &vault.secrets));
        assert!(same(
            &header.reopen(&vault.secrets).unwrap(),
            &vault.secrets
        ));
        assert!(matches!(
            open(&header, &phrase(2)),
            Err(Error::WrongCredentials)
        ));
    }

    #[test]
    fn the_next_header_has_other_slots_and_the_same_secrets() {
        let mut vault = Vault::make(false, &phrase(1));
        vault.change_slots(&[phrase(2), phrase(3)]);
        let header = Header::parse(vault.header().as_bytes()).unwrap();
        assert_eq!(header.position().sequence, 1);
        assert_eq!(header.body.previous, Some(vault.headers[0].position.hash));
        for (credential, at) in [(phrase(2), 0), (phrase(3), 1)] {
            let (secrets, slot) = header.open(&credential, KdfCeiling::default()).unwrap();
            assert!(same(&secrets, &vault.secrets));
            assert_eq!(slot, header.slots()[at].id());
        }
        assert!(open(&header, &phrase(1)).is_err());
        // The old header is still what it was: freshness is the ledger's matter.
        assert!(open(&vault.headers[0], &phrase(1)).is_ok());
    }

    #[test]
    fn a_rotation_changes_the_root_and_adds_an_owner_key() {
        let mut vault = Vault::make(false, &phrase(1));
        let old = vault.headers[0].clone();
        let before = open(&old, &phrase(1)).unwrap();
        vault.rotate(&[phrase(1)]);
        let after = open(vault.header(), &phrase(1)).unwrap();
        assert!(same(&after, &vault.secrets));
        assert_ne!(before.root.expose_secret(), after.root.expose_secret());
        assert_eq!(before.state.expose_secret(), after.state.expose_secret());
        assert_eq!(after.owners.len(), 2);
        assert_eq!(
            before.owners[0].expose_secret(),
            after.owners[0].expose_secret()
        );
        assert!(matches!(
            vault.header().reopen(&before),
            Err(Error::Tampered)
        ));
        // Slots of the old root do not open the new header, and say so.
        let slots = old.slots().to_vec();
        let mixed = vault.header().next(&after, old.ledger(), slots, 5).unwrap();
        assert!(matches!(open(&mixed, &phrase(1)), Err(Error::Tampered)));
    }

    #[test]
    fn rotations_are_bounded() {
        let mut vault = Vault::make(false, &phrase(1));
        for sequence in 1..256 {
            let after = vault.secrets.rotated(0).unwrap();
            let slot = make_slot(&after, &phrase(1), cheap(), 1).unwrap();
            // As if each rotation's entry had been appended.
            let ledger = Position {
                sequence,
                hash: RecordHash::MIN,
            };
            let next = vault
                .header()
                .rotated(&vault.secrets, &after, ledger, vec![slot], 1);
            vault.headers.push(next.unwrap());
            vault.secrets = after;
        }
        assert!(matches!(
            vault.secrets.rotated(0),
            Err(Error::LimitExceeded(_))
        ));
        let header = Header::parse(vault.header().as_bytes()).unwrap();
        assert!(same(&open(&header, &phrase(1)).unwrap(), &vault.secrets));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused_without_a_kdf() {
        let mut vault = Vault::make(false, &password("a"));
        vault.change_slots(&[phrase(1), password("a")]);
        let record = vault.header().as_bytes();
        STRETCHED.set(0);
        OPENED.set(0);
        for (at, changed) in flips(record) {
            let error = Header::parse(&changed).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Tampered | Error::UnsupportedFormat(_) | Error::LimitExceeded(_)
                ),
                "byte {at}: {error:?}"
            );
        }
        for length in 0..record.len() {
            assert_eq!(Header::parse(&record[..length]), Err(Error::Tampered));
        }
        for more in [&b"\0"[..], record] {
            let longer = [record, more].concat();
            assert_eq!(Header::parse(&longer), Err(Error::Tampered));
        }
        assert_eq!((STRETCHED.get(), OPENED.get()), (0, 0));
    }

    #[test]
    fn versions() {
        let record = Vault::make(false, &phrase(1)).header().as_bytes().to_vec();
        for at in 0..4 {
            for byte in (0..=255).filter(|byte| *byte != record[at]) {
                let mut changed = record.clone();
                changed[at] = byte;
                let found = Header::parse(&changed).unwrap_err();
                assert_eq!(
                    matches!(found, Error::UnsupportedFormat(_)),
                    at == 3,
                    "{found:?}"
                );
            }
        }
        assert!(matches!(
            Header::parse(&vec![0; Header::MAX_LENGTH + 1]),
            Err(Error::LimitExceeded(_))
        ));
    }

    /// Bytes of the body that a holder of the secrets changed and signed again.
    fn changed(vault: &Vault, change: impl FnOnce(&mut Body)) -> Result<Header> {
        let mut body = vault.header().body.clone();
        change(&mut body);
        Header::parse(&signed(&body.encode(), &vault.secrets))
    }

    #[test]
    fn what_is_signed_still_has_to_be_a_header() {
        let vault = Vault::make(false, &phrase(1));
        assert_eq!(changed(&vault, |_| ()).as_ref(), Ok(vault.header()));
        let slot = vault.header().slots()[0].clone();
        assert_eq!(
            changed(&vault, |b| b.sequence = 1),
            Err(Error::Tampered),
            "no hash of the header before"
        );
        assert_eq!(
            changed(&vault, |b| b.previous = Some(RecordHash([1; 32]))),
            Err(Error::Tampered)
        );
        assert_eq!(changed(&vault, |b| b.slots.clear()), Err(Error::Tampered));
        assert!(matches!(
            changed(&vault, |b| b.slots = vec![slot.clone(); 33]),
            Err(Error::LimitExceeded(_))
        ));
        assert!(changed(&vault, |b| b.slots = vec![slot.clone(); 32]).is_ok());
        assert_eq!(
            changed(&vault, |b| b.authorities.clear()),
            Err(Error::Tampered)
        );
        let first = vault.header().body.authorities[0].clone();
        assert_eq!(
            changed(&vault, |b| b.authorities = vec![first.clone(); 2]),
            Err(Error::Tampered)
        );
        assert!(matches!(
            changed(&vault, |b| b.authorities = vec![first; 258]),
            Err(Error::LimitExceeded(_))
        ));
        assert_eq!(
            changed(&vault, |b| b.vault = VaultId([0; 16])),
            Err(Error::Tampered)
        );
        // The wrapped secrets of another place do not open.
        let other = changed(&vault, |b| {
            b.sequence = 1;
            b.previous = Some(RecordHash([1; 32]));
        });
        assert!(matches!(
            open(&other.unwrap(), &phrase(1)),
            Err(Error::Tampered)
        ));
    }

    #[test]
    fn numbers_that_version_1_does_not_know() {
        let vault = Vault::make(false, &phrase(1));
        let body = vault.header().body.encode();
        let parse = |at: usize, from: &[u8], to: &[u8]| {
            assert_eq!(body[at..at + from.len()], *from);
            let body = [&body[..at], to, &body[at + from.len()..]].concat();
            Header::parse(&signed(&body, &vault.secrets))
        };
        // Array of 12, then the suite.
        for suite in [0, 3, 23] {
            assert!(matches!(
                parse(1, &[1], &[suite]),
                Err(Error::UnsupportedFormat(_))
            ));
        }
        // Name profile and empty policy stand before the wrapped secrets.
        let wrapped = vault.header().body.wrapped.clone();
        let at = body
            .windows(wrapped.len())
            .position(|w| w == wrapped)
            .unwrap()
            - 3;
        assert_eq!(
            parse(at - 1, &[1, 0x80], &[1, 0x80]).as_ref(),
            Ok(vault.header())
        );
        for (profile, policy) in [
            (&[0][..], &[0x80][..]),
            (&[2], &[0x80]),
            (&[1], &[0x81, 0x82, 1, 1]),
        ] {
            assert!(matches!(
                parse(at - 1, &[1, 0x80], &[profile, policy].concat()),
                Err(Error::UnsupportedFormat(_))
            ));
        }
        // Thirteen or eleven elements, and a longer encoding of the suite.
        assert_eq!(parse(0, &[0x8c], &[0x8d]), Err(Error::Tampered));
        assert_eq!(parse(0, &[0x8c], &[0x8b]), Err(Error::Tampered));
        assert_eq!(parse(0, &[0x8c], &[0x98, 12]), Err(Error::Tampered));
        assert_eq!(parse(1, &[1], &[0x18, 1]), Err(Error::Tampered));
    }

    #[test]
    fn slots_of_a_kind_that_costs_are_few() {
        let vault = Vault::make(false, &password("a"));
        let next = |slots: Vec<Slot>| {
            let head = vault.head().position();
            vault.header().next(&vault.secrets, head, slots, 9)
        };
        let slot = vault.header().slots()[0].clone();
        assert!(next(vec![slot.clone(); 4]).is_ok());
        assert!(matches!(
            next(vec![slot.clone(); 5]),
            Err(Error::InvalidInput(_))
        ));
        assert!(matches!(next(Vec::new()), Err(Error::InvalidInput(_))));
        let cheap_slot = make_slot(&vault.secrets, &phrase(1), cheap(), 1).unwrap();
        assert!(next(vec![cheap_slot.clone(); 32]).is_ok());
        assert!(matches!(
            next(vec![cheap_slot; 33]),
            Err(Error::InvalidInput(_))
        ));
        STRETCHED.set(0);
        assert!(matches!(
            changed(&vault, |b| b.slots = vec![slot; 5]),
            Err(Error::LimitExceeded(_))
        ));
        assert_eq!(STRETCHED.get(), 0);
    }

    #[test]
    fn a_slot_that_costs_too_much_does_not_hide_the_others() {
        let vault = Vault::make(false, &password("a"));
        let dear = KdfParams::new(20 << 10, 2).unwrap();
        let slots = vec![
            make_slot(&vault.secrets, &password("b"), dear, 1).unwrap(),
            make_slot(&vault.secrets, &password("a"), cheap(), 1).unwrap(),
        ];
        let header = vault
            .header()
            .next(&vault.secrets, vault.head().position(), slots, 9)
            .unwrap();
        let ceiling = KdfCeiling::memory_kib(19 << 10);
        assert!(header.open(&password("a"), ceiling).is_ok());
        for wrong in ["b", "c"] {
            assert!(matches!(
                header.open(&password(wrong), ceiling),
                Err(Error::LimitExceeded(_))
            ));
        }
    }

    #[test]
    fn one_argon2_run_a_slot_of_its_kind() {
        let mut vault = Vault::make(false, &phrase(1));
        vault.change_slots(&[phrase(1), password("a"), password("b"), phrase(2)]);
        for (credential, runs) in [
            (phrase(2), 0),
            (phrase(9), 0),
            (password("a"), 1),
            (password("b"), 2),
            (password("c"), 2),
        ] {
            STRETCHED.set(0);
            let _ = open(vault.header(), &credential);
            assert_eq!(STRETCHED.get(), runs);
        }
    }

    #[test]
    fn a_header_of_another_authority_is_another_vault() {
        let vault = Vault::make(false, &phrase(1));
        let thief = Vault::make(false, &phrase(2));
        // His key under our id.
        let mut body = vault.header().body.clone();
        body.authorities = thief.header().body.authorities.clone();
        let forged = signed(&body.encode(), &thief.secrets);
        assert_eq!(Header::parse(&forged), Err(Error::Tampered));
        // His signature under our key.
        let forged = signed(&vault.header().body.encode(), &thief.secrets);
        assert_eq!(Header::parse(&forged), Err(Error::Tampered));
        // A succession that ours did not sign.
        let mut body = vault.header().body.clone();
        let key = thief.secrets.authority.public_key();
        let from = 1u64;
        let message: [&[u8]; 3] = [vault.secrets.vault.as_bytes(), &key, &from.to_be_bytes()];
        let signature = Some(thief.secrets.authority.sign(domain::SUCCESSION, &message));
        body.authorities.push(Authority {
            key,
            from,
            signature,
        });
        let forged = signed(&body.encode(), &thief.secrets);
        assert_eq!(Header::parse(&forged), Err(Error::Tampered));
        // Our slots under his id: a good header, of a vault that is not ours, in
        // which they open nothing.
        let mut body = thief.header().body.clone();
        body.slots = vault.header().slots().to_vec();
        let forged = Header::parse(&signed(&body.encode(), &thief.secrets)).unwrap();
        assert_ne!(forged.vault(), vault.header().vault());
        assert!(matches!(
            open(&forged, &phrase(1)),
            Err(Error::WrongCredentials)
        ));
    }

    #[test]
    fn a_new_authority_signed_by_the_old_one_takes_over() {
        let vault = Vault::make(false, &phrase(1));
        let mut secrets = vault.secrets.rotated(0).unwrap();
        secrets.authority = AuthoritySeed::make().unwrap();
        let key = secrets.authority.public_key();
        let succession = |from: u64, signed_from: u64| {
            let message: [&[u8]; 3] = [secrets.vault.as_bytes(), &key, &signed_from.to_be_bytes()];
            let signature = vault.secrets.authority.sign(domain::SUCCESSION, &message);
            let mut body = vault.header().body.clone();
            body.authorities.push(Authority {
                key,
                from,
                signature: Some(signature),
            });
            let slot = make_slot(&secrets, &phrase(1), cheap(), 1).unwrap();
            body.slots = vec![slot];
            Header::write(body, &secrets)
        };
        let header = Header::parse(succession(7, 7).unwrap().as_bytes()).unwrap();
        assert_eq!(header.authorities().current(), &key);
        assert!(same(&open(&header, &phrase(1)).unwrap(), &secrets));
        assert_eq!(succession(7, 8).unwrap_err(), Error::Tampered);
        assert_eq!(succession(0, 0).unwrap_err(), Error::Tampered);
        // Each ledger entry is its time's.
        let old = vault.secrets.authority.sign(domain::LEDGER, &[b"x"]);
        let new = secrets.authority.sign(domain::LEDGER, &[b"x"]);
        for sequence in [0, 6, 7, 1_000] {
            let check = |signature| {
                let authorities = header.authorities();
                authorities.verify_at(sequence, domain::LEDGER, &[b"x"], signature)
            };
            assert_eq!(check(&old).is_ok(), sequence < 7);
            assert_eq!(check(&new).is_ok(), sequence >= 7);
        }
        // A seed that is not the authority's in force is refused on opening.
        let mut wrong = secrets.rotated(0).unwrap();
        wrong.authority = vault.secrets.authority.duplicate();
        assert!(matches!(
            header.next(&wrong, header.ledger(), header.slots().to_vec(), 1),
            Err(Error::InvalidInput(_))
        ));
    }

    /// Two passwords with a root key each, and secrets that both of these decrypt.
    #[test]
    fn g01_secrets_that_two_root_keys_decrypt_are_opened_by_the_one_that_wrote_them() {
        let vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault;
        let place = 0u64.to_be_bytes();
        let place = Place {
            kind: "wrap",
            vault: &id,
            place: &place,
        };
        for n in 0..250usize {
            let roots = [1, 2].map(|of| RootKey::init_with(|key| *key = [n as u8 ^ of; 32]));
            let keys = roots
                .each_ref()
                .map(|root| VaultSecrets::wrap_key(root, &id));
            let keys = keys.each_ref().map(|key| key.expose_secret());
            let records = two_keys::records(keys, &place, [n as u8; 24], 64);
            for (committed, wrapped) in records.into_iter().enumerate() {
                let mut body = vault.header().body.clone();
                body.wrapped = wrapped;
                for (wrote, writer) in roots.iter().enumerate() {
                    let mut record = [&Header::MAGIC[..], &body.encode()].concat();
                    let mac = VaultSecrets::header_mac(writer, &id, &record);
                    record.extend_from_slice(&mac.finalize().into_bytes());
                    let signature = vault.secrets.authority.sign(domain::HEADER, &[&record]);
                    record.extend_from_slice(&signature);
                    let header = Header::parse(&record).unwrap();
                    for (reads, root) in roots.iter().enumerate() {
                        OPENED.set(0);
                        let found = header.unwrap(root.duplicate()).map(drop);
                        assert_eq!(found, Err(Error::Tampered), "they are no secrets");
                        let all = reads == committed && reads == wrote;
                        assert_eq!(OPENED.get(), u64::from(all));
                    }
                }
            }
        }
    }

    /// Who knows a card, or the root key that a lost device held, makes a slot that
    /// opens, and still no header with it: only the authority signs what slots there are.
    #[test]
    fn c12_a_slot_that_somebody_adds_or_takes_away_is_refused() {
        let credentials = [phrase(1), phrase(2)];
        let mut vault = Vault::make(false, &credentials[0]);
        vault.change_slots(&credentials);
        let header = vault.header();
        let (id, root) = (vault.secrets.vault, &vault.secrets.root);
        let thief = Arc::new(Identity::make(IdentitySuite::X25519, 1).unwrap());
        let slot = |credential: &Credential, root| {
            let slot = Slot::make(credential, cheap(), &id, root, 1).unwrap();
            assert!(slot.open(credential, &id, KdfCeiling::default()).is_ok());
            slot
        };
        let own = RootKey::init_with(|key| *key = [9; 32]);
        let theirs = Vault::make(false, &phrase(3));
        let theirs = (&theirs.secrets, theirs.header());
        let with = |more: &[Slot]| [header.slots(), more].concat();
        for slots in [
            with(&[slot(&phrase(3), &own)]),
            with(&[slot(&phrase(3), root)]),
            with(&[slot(&Credential::from(thief.clone()), &own)]),
            with(&[slot(&Credential::from(thief.clone()), root)]),
            vec![slot(&phrase(3), &own)],
            header.slots()[1..].to_vec(),
            header.slots()[..1].to_vec(),
            header.slots().iter().rev().cloned().collect(),
        ] {
            let mut body = header.body.clone();
            body.slots = slots;
            let record = [&Header::MAGIC[..], &body.encode()].concat();
            let mac = |root: &RootKey| -> Vec<u8> {
                let mac = VaultSecrets::header_mac(root, &id, &record);
                mac.finalize().into_bytes().to_vec()
            };
            let trailer = &header.record[header.record.len() - Header::TRAILER..];
            for mac in [&trailer[..32], &mac(&own), &mac(root)] {
                let signed = [&record[..], mac].concat();
                let signature = theirs.0.authority.sign(domain::HEADER, &[&signed]);
                for signature in [&trailer[32..], &signature] {
                    let forged = [&signed[..], signature].concat();
                    assert_eq!(Header::parse(&forged), Err(Error::Tampered));
                }
            }
            // With an authority of their own it is the header of another vault.
            body.authorities.clone_from(&theirs.1.body.authorities);
            let forged = signed(&body.encode(), theirs.0);
            assert_eq!(Header::parse(&forged), Err(Error::Tampered));
            // By the authority it is a header: nothing else was wrong.
            body.authorities.clone_from(&header.body.authorities);
            assert!(Header::parse(&signed(&body.encode(), &vault.secrets)).is_ok());
        }
    }

    /// Wrapped secrets that the root key sealed and its holder signed, and that
    /// are not those of this vault or not a record of version 1.
    #[test]
    fn wrapped_secrets_of_another_form_are_refused() {
        let vault = Vault::make(false, &phrase(1));
        let with = |plaintext: &[u8]| {
            let id = vault.secrets.vault;
            let key = VaultSecrets::wrap_key(&vault.secrets.root, &id);
            let place = 0u64.to_be_bytes();
            let place = Place {
                kind: "wrap",
                vault: &id,
                place: &place,
            };
            let wrapped = message::seal(key.expose_secret(), &place, plaintext).unwrap();
            let header = changed(&vault, |body| body.wrapped = wrapped).unwrap();
            open(&header, &phrase(1)).map(drop)
        };
        let secrets = |authority: &AuthoritySeed, owners: usize| Wrapped {
            authority: authority.duplicate(),
            state: vault.secrets.state.duplicate(),
            owners: (0..owners)
                .map(|_| vault.secrets.owners[0].duplicate())
                .collect(),
            identity: Arc::clone(&vault.secrets.identity),
        };
        let good = secrets(&vault.secrets.authority, 1).encode();
        assert_eq!(with(&good), Ok(()));
        let other = AuthoritySeed::make().unwrap();
        assert_eq!(with(&secrets(&other, 1).encode()), Err(Error::Tampered));
        let none = secrets(&vault.secrets.authority, 0).encode();
        assert_eq!(with(&none), Err(Error::Tampered));
        let many = secrets(&vault.secrets.authority, 257).encode();
        assert!(matches!(with(&many), Err(Error::LimitExceeded(_))));
        // An identity that is cut short.
        let identity = vault.secrets.identity.to_secret_bytes();
        let at = good.len() - identity.len();
        let cut = [&good[..at - 2], &[0x42], &identity[..2]].concat();
        assert_eq!(with(&cut), Err(Error::Tampered));
        for length in 0..good.len() {
            assert_eq!(with(&good[..length]), Err(Error::Tampered));
        }
    }

    fn device(suite: IdentitySuite) -> Arc<Identity> {
        Arc::new(Identity::make(suite, 1).unwrap())
    }

    #[test]
    fn a_device_opens_the_header_with_its_identity() {
        let vault = Vault::make(false, &phrase(1));
        let devices = [SUITES[0], SUITES[1], SUITES[0]].map(device);
        let mut slots = vault.header().slots().to_vec();
        for device in &devices {
            slots.push(make_device_slot(&vault.secrets, device.card(), 5).unwrap());
        }
        let ledger = vault.head().position();
        let next = vault.header().next(&vault.secrets, ledger, slots, 6);
        let header = Header::parse(next.unwrap().as_bytes()).unwrap();
        assert!(same(&open(&header, &phrase(1)).unwrap(), &vault.secrets));
        for (i, device) in devices.iter().enumerate() {
            let credential = device.clone().into();
            let (secrets, slot) = header.open(&credential, KdfCeiling::default()).unwrap();
            assert!(same(&secrets, &vault.secrets));
            assert_eq!(slot, header.slots()[1 + i].id());
        }
        let stranger = device(SUITES[0]).into();
        assert_eq!(
            open(&header, &stranger).map(drop),
            Err(Error::WrongCredentials)
        );
    }

    /// As many as a header holds, and each tried once; of the other suite none.
    #[test]
    fn trials_of_a_device_are_bounded() {
        let vault = Vault::make(false, &phrase(1));
        let (mine, other) = (device(SUITES[0]), device(SUITES[1]));
        let mut slots = vault.header().slots().to_vec();
        while slots.len() < Body::MAX_SLOTS {
            let stranger = device(SUITES[0]);
            slots.push(make_device_slot(&vault.secrets, stranger.card(), 5).unwrap());
        }
        let next = |slots| {
            let ledger = vault.head().position();
            vault.header().next(&vault.secrets, ledger, slots, 6)
        };
        let header = Header::parse(next(slots.clone()).unwrap().as_bytes()).unwrap();
        for (device, tried) in [(mine, 31), (other, 0)] {
            DECAPSULATED.set(0);
            OPENED.set(0);
            let found = open(&header, &device.into()).map(drop);
            assert_eq!(found, Err(Error::WrongCredentials));
            assert_eq!((DECAPSULATED.get(), OPENED.get()), (tried, 0));
        }
        DECAPSULATED.set(0);
        assert!(open(&header, &phrase(1)).is_ok());
        assert_eq!(DECAPSULATED.get(), 0);
        slots.push(slots[1].clone());
        assert!(matches!(next(slots), Err(Error::InvalidInput(_))));
    }

    #[test]
    fn a_vault_does_not_go_with_its_last_device() {
        let vault = Vault::make(false, &phrase(1));
        let device = device(SUITES[0]);
        let slot = make_device_slot(&vault.secrets, device.card(), 5).unwrap();
        let ledger = vault.head().position();
        let invalid = |found: Result<Header>| matches!(found, Err(Error::InvalidInput(_)));
        assert!(invalid(Header::first(
            &vault.secrets,
            Suite::V1,
            ledger,
            slot.clone(),
            1
        )));
        let slots = vec![slot.clone()];
        assert!(invalid(vault.header().next(
            &vault.secrets,
            ledger,
            slots,
            1
        )));
        let found = changed(&vault, |body| body.slots = vec![slot]);
        assert_eq!(found.map(drop), Err(Error::Tampered));
    }

    #[test]
    fn without_randomness_there_is_no_vault() {
        let vault = Vault::make(false, &phrase(1));
        scripted::with(Source::Broken, || {
            assert!(matches!(VaultSecrets::make(0), Err(Error::Randomness)));
            assert!(matches!(vault.secrets.rotated(0), Err(Error::Randomness)));
            assert!(matches!(
                make_slot(&vault.secrets, &phrase(1), cheap(), 1),
                Err(Error::Randomness)
            ));
            let slots = vault.header().slots().to_vec();
            let head = vault.head().position();
            assert!(matches!(
                Header::first(&vault.secrets, Suite::V1, head, slots[0].clone(), 1),
                Err(Error::Randomness)
            ));
            assert!(matches!(
                vault.header().next(&vault.secrets, head, slots, 1),
                Err(Error::Randomness)
            ));
        });
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Header::parse(&body).is_err());
            prop_assert!(Header::parse(&[b"KLV1", &body[..]].concat()).is_err());
        }

        /// Whatever a body says, it has one encoding.
        #[test]
        fn parsing_and_writing_are_inverse(
            written: u64,
            ledger: u64,
            sequence in 1u64..,
            hash: [u8; 32],
            wrapped in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let vault = Vault::make(false, &phrase(1));
            let mut body = vault.header().body.clone();
            body.written = written;
            body.ledger = Position { sequence: ledger, hash: RecordHash(hash) };
            body.sequence = sequence;
            body.previous = Some(RecordHash(hash));
            body.wrapped = wrapped;
            let encoded = body.encode();
            prop_assert_eq!(Body::decode(&encoded), Ok(body.clone()));
            let record = signed(&encoded, &vault.secrets);
            let header = Header::parse(&record).unwrap();
            prop_assert_eq!(&header.body, &body);
            prop_assert_eq!(header.as_bytes(), &record[..]);
        }
    }
}
