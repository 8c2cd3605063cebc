//! The ledger: one chain of signed entries in which everything stands that the
//! owner decides about keys (docs/FORMAT.md, section 4).

mod action;
mod decide;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod histories;

use crate::authority::Authorities;
use crate::cbor::{Reader, Record, Writer};
use crate::chain::OwnersCopy;
use crate::collection::{Collection, Epoch, NameKey};
use crate::contact::Contact;
use crate::grant::{GrantRecord, LetterName, MailboxSecret};
use crate::group::Group;
use crate::header::{Header, Suite, VaultSecrets, check_magic};
use crate::kdf::{Label, domain};
use crate::link::{LinkObject, LinkRecord, OpenedLink};
use crate::message::{self, Place};
use crate::name::{VaultPath, objects_prefix};
use crate::secret::secret_key;
use crate::tree::{Scope, Tree};
use crate::{CollectionId, Error, GrantId, LinkId, Position, RecordHash, Result, VaultId};
pub(crate) use action::{Action, Actions, State};
pub use decide::{Appended, Decision, MIN_LEASE};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

secret_key! {
    /// Seals the owner's parts of ledger entries; a root rotation makes a new one.
    pub(crate) struct OwnerKey;
}
secret_key! {
    struct PartKey;
}

/// Every entry with a multiple of this sequence holds the whole state before it.
const SNAPSHOT_EVERY: u64 = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Audience {
    /// Who holds this owner key.
    Owner(u64),
    /// Who holds a collection's key of an epoch.
    Members(CollectionId, u32),
    /// Who holds a key that this follows from: that of an object in an epoch, or what
    /// the grantee of a version shares with the owner.
    Holders([u8; 16]),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Body {
    vault: VaultId,
    sequence: u64,
    written: u64,
    previous: Option<RecordHash>,
    header: Option<Position>,
    settled: Vec<RecordHash>,
    parts: Vec<(Audience, Vec<u8>)>,
}

impl Body {
    /// Each object that was shared by itself in a collection has one of its own when
    /// an epoch of that ends; so many fill an entry.
    const MAX_PARTS: usize = 16_384;
    const MAX_SETTLED: usize = 4_096;
}

impl Record for Body {
    fn write(&self, to: &mut Writer) {
        to.array(7)
            .bytes(self.vault.as_bytes())
            .uint(self.sequence)
            .uint(self.written);
        to.bytes(self.previous.as_ref().map_or(&[][..], |h| h.as_bytes()));
        match &self.header {
            Some(header) => to
                .array(2)
                .uint(header.sequence)
                .bytes(header.hash.as_bytes()),
            None => to.array(0),
        };
        to.array(self.settled.len());
        for hash in &self.settled {
            to.bytes(hash.as_bytes());
        }
        to.array(self.parts.len());
        for (audience, sealed) in &self.parts {
            to.array(2);
            match audience {
                Audience::Owner(generation) => to.array(2).uint(0).uint(*generation),
                Audience::Members(id, epoch) => to
                    .array(3)
                    .uint(1)
                    .bytes(id.as_bytes())
                    .uint((*epoch).into()),
                Audience::Holders(label) => to.array(2).uint(2).bytes(label),
            };
            to.bytes(sealed);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let vault = VaultId(*from.fixed()?);
        let sequence = from.uint()?;
        // The stamp of an object has 32 bits.
        if sequence > u32::MAX.into() {
            return Err(Error::LimitExceeded("entries of one ledger"));
        }
        let written = from.uint()?;
        let previous = from.fixed_or_empty()?.copied().map(RecordHash);
        let header = match from.array_of_any(2)? {
            0 => None,
            2 => Some(Position {
                sequence: from.uint()?,
                hash: RecordHash(*from.fixed()?),
            }),
            _ => return Err(Error::Tampered),
        };
        if previous.is_some() != (sequence > 0) || header.is_some() != (sequence > 0) {
            return Err(Error::Tampered);
        }
        let mut settled: Vec<RecordHash> = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX_SETTLED)? {
            let hash = RecordHash(*from.fixed()?);
            if settled.last().is_some_and(|last| *last >= hash) {
                return Err(Error::Tampered);
            }
            settled.push(hash);
        }
        let mut parts = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX_PARTS)? {
            from.array(2)?;
            let length = from.array_of_any(usize::MAX)?;
            let audience = match (from.uint()?, length) {
                (0, 2) => Audience::Owner(from.uint()?),
                (1, 3) => Audience::Members(CollectionId(*from.fixed()?), from.uint_u32()?),
                (2, 2) => Audience::Holders(*from.fixed()?),
                (0..=2, _) => return Err(Error::Tampered),
                _ => return Err(Error::UnsupportedFormat("audience of a ledger entry")),
            };
            parts.push((audience, from.bytes(Entry::MAX_LENGTH)?.to_vec()));
        }
        Ok(Self {
            vault,
            sequence,
            written,
            previous,
            header,
            settled,
            parts,
        })
    }
}

/// One entry of the ledger, its signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    body: Body,
    record: Vec<u8>,
    position: Position,
}

impl Entry {
    /// A longer record is not an entry.
    pub const MAX_LENGTH: usize = 4 << 20;
    /// The first bytes of an entry of this version.
    pub const MAGIC: [u8; 4] = *b"KLE1";

    /// Parses a stored entry of this vault and checks that the authority of its
    /// time signed it.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version, `LimitExceeded`, otherwise `Tampered`.
    pub fn parse(record: &[u8], vault: &VaultId, authorities: &Authorities) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a ledger entry"));
        }
        let body = check_magic(record, Self::MAGIC)?;
        let (signed, signature) = record.split_last_chunk::<64>().ok_or(Error::Tampered)?;
        let (body, _) = body.split_last_chunk::<64>().ok_or(Error::Tampered)?;
        let mut start = Reader::new(body);
        start.array_up_to(64)?;
        if start.fixed()? != vault.as_bytes() {
            return Err(Error::Tampered);
        }
        // Before anything else is looked at: an entry of a later version is one that
        // the authority signed.
        authorities.verify_at(start.uint()?, domain::LEDGER, &[signed], signature)?;
        let body = Body::decode(body)?;
        let position = Position {
            sequence: body.sequence,
            hash: RecordHash::of(record),
        };
        Ok(Self {
            body,
            record: record.to_vec(),
            position,
        })
    }

    fn write(body: Body, secrets: &VaultSecrets) -> Result<Self> {
        let mut record = Self::MAGIC.to_vec();
        record.extend_from_slice(&body.encode());
        let signature = secrets.authority().sign(domain::LEDGER, &[&record]);
        record.extend_from_slice(&signature);
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a ledger entry"));
        }
        let position = Position {
            sequence: body.sequence,
            hash: RecordHash::of(&record),
        };
        Ok(Self {
            body,
            record,
            position,
        })
    }

    /// The first entry of a vault: the collection at its top.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn first(secrets: &VaultSecrets, suite: Suite, padded: bool, now: u64) -> Result<Self> {
        let top = Collection::make(None, padded)?;
        let collection = top.id;
        let mut actions = vec![Action::Collection(Some(NameKey::make()?), top)];
        if suite == Suite::V2 {
            actions.push(Action::Writers {
                collection,
                added: BTreeSet::from([*secrets.identity().card().signing_key()]),
                removed: BTreeSet::new(),
            });
        }
        let actions = Actions(actions);
        let body = Body {
            vault: secrets.vault(),
            sequence: 0,
            written: now,
            previous: None,
            header: None,
            settled: Vec::new(),
            parts: vec![owner_part(secrets, 0, &actions)?],
        };
        Self::write(body, secrets)
    }

    /// The same entry, signed all right, with the last bit of a part flipped.
    #[cfg(test)]
    pub(crate) fn with_damaged_part(&self, index: usize, secrets: &VaultSecrets) -> Self {
        let mut body = self.body.clone();
        *body.parts[index].1.last_mut().unwrap() ^= 1;
        Self::write(body, secrets).unwrap()
    }

    /// The entry after this one, with one part for the owner that holds these actions.
    #[cfg(test)]
    pub(crate) fn followed_by(&self, actions: &[u8], secrets: &VaultSecrets) -> Self {
        let (vault, sequence) = (secrets.vault(), self.position.sequence + 1);
        let owner = secrets.owners().last().unwrap();
        let place = part_place(sequence, 0);
        let context = part_context(&vault, &place);
        let key = owner_key(owner, &vault);
        let sealed = message::seal(key.expose_secret(), &context, actions).unwrap();
        let body = Body {
            vault,
            sequence,
            written: 5,
            previous: Some(self.position.hash),
            header: self.body.header,
            settled: Vec::new(),
            parts: vec![(Audience::Owner(secrets.owners().len() as u64 - 1), sealed)],
        };
        Self::write(body, secrets).unwrap()
    }

    /// Its place in the ledger.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.record
    }

    /// Time, hash of the entry before, header, and settled orphans.
    #[cfg(test)]
    #[allow(clippy::type_complexity, reason = "a view for the test vectors")]
    pub(crate) fn fields(&self) -> (u64, Option<RecordHash>, Option<Position>, &[RecordHash]) {
        let body = &self.body;
        (body.written, body.previous, body.header, &body.settled)
    }

    /// When it was written, in microseconds since 1970, by the clock of who wrote it.
    pub fn written(&self) -> u64 {
        self.body.written
    }

    /// The hash of the entry before it.
    pub fn previous(&self) -> Option<RecordHash> {
        self.body.previous
    }

    /// The newest header that its writer knew.
    pub fn header(&self) -> Option<Position> {
        self.body.header
    }

    /// The newest owner key that sealed a part.
    fn generation(&self) -> u64 {
        let owners = self
            .body
            .parts
            .iter()
            .filter_map(|(audience, _)| match audience {
                Audience::Owner(generation) => Some(*generation),
                Audience::Members(..) | Audience::Holders(_) => None,
            });
        owners.max().unwrap_or(0)
    }

    /// The plaintext of the owner's parts.
    pub(crate) fn owner_parts(&self, secrets: &VaultSecrets) -> Result<Vec<Zeroizing<Vec<u8>>>> {
        let mut parts = Vec::new();
        for (index, (audience, sealed)) in self.body.parts.iter().enumerate() {
            let Audience::Owner(generation) = audience else {
                continue;
            };
            let owner = usize::try_from(*generation)
                .ok()
                .and_then(|generation| secrets.owners().get(generation))
                // Only a header newer than ours holds that key.
                .ok_or(Error::Stale("vault header"))?;
            let place = part_place(self.body.sequence, index);
            let key = owner_key(owner, &self.body.vault);
            parts.push(open_part(&key, &self.body.vault, &place, sealed)?);
        }
        Ok(parts)
    }

    /// The actions of the owner's parts.
    pub(crate) fn actions(&self, secrets: &VaultSecrets) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        for part in self.owner_parts(secrets)? {
            actions.append(&mut Actions::decode(&part)?.0);
        }
        Ok(actions)
    }

    /// What the entry says to those who hold the keys of a tree, with paths as they are
    /// in that tree.
    pub(crate) fn notices(&self, tree: &Tree, mailbox: &MailboxSecret) -> Result<Vec<Action>> {
        let vault = &self.body.vault;
        let holder = Holder::of(tree, mailbox, vault);
        let mut notices = Vec::new();
        for (index, (audience, sealed)) in self.body.parts.iter().enumerate() {
            let found = match (audience, &holder) {
                (Audience::Members(id, number), None) => {
                    let collection = tree.written().find(|c| c.id == *id);
                    collection.and_then(|collection| {
                        let mut epochs = collection.epochs.iter();
                        let epoch = epochs.find(|e| e.number == *number && !e.orphan)?;
                        let key = notice_key(epoch.key.expose_secret(), vault);
                        let is_last = collection.last().is_some_and(|e| e.number == *number);
                        Some((collection, key, is_last))
                    })
                }
                (Audience::Holders(label), Some(holder)) if *label == holder.label => {
                    Some((holder.collection, holder.key.duplicate(), true))
                }
                _ => None,
            };
            let Some((collection, key, is_last)) = found else {
                continue;
            };
            let id = &collection.id;
            let place = part_place(self.body.sequence, index);
            let part = open_part(&key, vault, &place, sealed)?;
            for action in Actions::decode(&part)?.0 {
                let news = match action {
                    // Nothing is mounted in an object, and its keys come by letters.
                    Action::Collection(..) | Action::Epoch { .. } if holder.is_some() => {
                        return Err(Error::Tampered);
                    }
                    Action::Collection(None, mut inner) => {
                        let mount = inner.mount.as_ref().ok_or(Error::Tampered)?;
                        inner.mount = Some(VaultPath::join(collection.mount.as_ref(), mount));
                        let known = tree.get(&inner.id).is_some();
                        (!known).then_some(Action::Collection(None, inner))
                    }
                    Action::Epoch {
                        collection,
                        number,
                        key,
                    } => {
                        let last = tree.get(&collection).and_then(Collection::last);
                        let known = last.is_some_and(|last| last.number >= number);
                        (!known).then_some(Action::Epoch {
                            collection,
                            number,
                            key,
                        })
                    }
                    Action::Writers {
                        collection,
                        mut added,
                        mut removed,
                    } => {
                        if let Some(known) = tree.get(&collection) {
                            added.retain(|key| !known.writers.may_still_write(key));
                            removed.retain(|key| known.writers.may_still_write(key));
                        }
                        let news = !added.is_empty() || !removed.is_empty();
                        news.then_some(Action::Writers {
                            collection,
                            added,
                            removed,
                        })
                    }
                    Action::Closed { collection, .. } if collection != *id => {
                        return Err(Error::Tampered);
                    }
                    // Who came with the entry that closes it has the next one.
                    Action::Closed { .. } => is_last.then_some(action),
                    Action::Floor { .. } | Action::Lease { .. } | Action::Filed(_) => Some(action),
                    Action::Revoke(_) if holder.is_some() => Some(action),
                    _ => return Err(Error::Tampered),
                };
                notices.extend(news);
            }
        }
        // A person may hold the keys of several collections that are told the same.
        let mut told = BTreeSet::new();
        notices.retain(|action| match action {
            Action::Collection(_, collection) => told.insert((collection.id, 0)),
            Action::Epoch {
                collection, number, ..
            } => told.insert((*collection, *number)),
            Action::Writers { collection, .. } => told.insert((*collection, u32::MAX)),
            _ => true,
        });
        Ok(notices)
    }

    /// What the entry says to everybody below grants with these chain keys.
    pub(crate) fn notices_below<'a>(
        &self,
        vault: &VaultId,
        keys: impl Iterator<Item = &'a [u8; 32]>,
    ) -> Result<Vec<Action>> {
        let mut notices = Vec::new();
        for key in keys {
            let label = Audience::Holders(holder_label(key, vault));
            let parts = self.body.parts.iter().enumerate();
            for (index, (_, sealed)) in parts.filter(|(_, (audience, _))| *audience == label) {
                let place = part_place(self.body.sequence, index);
                let part = open_part(&notice_key(key, vault), vault, &place, sealed)?;
                notices.append(&mut Actions::decode(&part)?.0);
            }
        }
        Ok(notices)
    }
}

/// The place of a part: `u64(sequence) ‖ u32(index)`.
fn part_place(sequence: u64, index: usize) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&sequence.to_be_bytes());
    place[8..].copy_from_slice(&(index as u32).to_be_bytes());
    place
}

/// The key of an owner's part: `KDF(OK, "owner", vault id)`.
fn owner_key(owner: &OwnerKey, vault: &VaultId) -> PartKey {
    PartKey::derive(
        owner.expose_secret(),
        Label::OWNER_PART,
        &[vault.as_bytes()],
    )
}

/// The key of a part for those who hold another key, such as that of an epoch:
/// `KDF(CK, "notice", vault id)`.
fn notice_key(held: &[u8; 32], vault: &VaultId) -> PartKey {
    PartKey::derive(held, Label::NOTICE, &[vault.as_bytes()])
}

/// What such a part is found by where its key has no number:
/// `KDF(IK, "holder", vault id)[..16]`.
fn holder_label(held: &[u8; 32], vault: &VaultId) -> [u8; 16] {
    let label = PartKey::derive(held, Label::HOLDER, &[vault.as_bytes()]);
    let mut out = [0; 16];
    out.copy_from_slice(&label.expose_secret()[..16]);
    out
}

/// Somebody who holds the key of one object, or of one version of it.
struct Holder<'a> {
    collection: &'a Collection,
    label: [u8; 16],
    key: PartKey,
}

impl<'a> Holder<'a> {
    fn of(tree: &'a Tree, mailbox: &MailboxSecret, vault: &VaultId) -> Option<Self> {
        let name = tree.object()?;
        let collection = tree.mounted(None)?;
        let held = tree.held(&collection.id, name)?;
        // Who holds a version knows no key that comes with an epoch.
        let key = held.object_key(collection.last()?);
        let key = key
            .as_ref()
            .map_or(mailbox.expose_secret(), |key| key.expose_secret());
        Some(Self {
            collection,
            label: holder_label(key, vault),
            key: notice_key(key, vault),
        })
    }
}

fn part_context<'a>(vault: &'a VaultId, place: &'a [u8; 12]) -> Place<'a> {
    Place {
        kind: "ledger",
        vault,
        place,
    }
}

fn open_part(
    key: &PartKey,
    vault: &VaultId,
    place: &[u8; 12],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    message::open(key.expose_secret(), &part_context(vault, place), sealed)
}

fn seal_part(
    key: &PartKey,
    vault: &VaultId,
    place: &[u8; 12],
    actions: &Actions,
) -> Result<Vec<u8>> {
    let context = part_context(vault, place);
    message::seal(key.expose_secret(), &context, &actions.encode())
}

/// The first part of an entry, sealed for the owner key in force.
fn owner_part(
    secrets: &VaultSecrets,
    sequence: u64,
    actions: &Actions,
) -> Result<(Audience, Vec<u8>)> {
    let owner = secrets.owners().last().ok_or(Error::Tampered)?;
    let vault = secrets.vault();
    let place = part_place(sequence, 0);
    let sealed = seal_part(&owner_key(owner, &vault), &vault, &place, actions)?;
    Ok((Audience::Owner(secrets.owners().len() as u64 - 1), sealed))
}

/// What the entries of a ledger add up to, for the owner of the vault.
#[derive(Debug)]
pub struct Ledger {
    head: Position,
    /// When the newest entry was written.
    written: u64,
    /// The entries that were read, from the last snapshot to the head.
    chain: Vec<Position>,
    header: Option<Position>,
    generation: u64,
    suite: Suite,
    state: State,
    /// Valid entries outside the chain that no entry has settled, with what of
    /// them is to be decided again.
    orphans: BTreeMap<RecordHash, Closings>,
    settled: BTreeSet<RecordHash>,
    owed: OwedLinks,
}

/// What has to be done in the store for links because of the newest entry. Whoever
/// appended an earlier one has seen to it before, so that nothing older is owed.
#[derive(Debug, Default)]
struct OwedLinks {
    seal: BTreeSet<LinkId>,
    remove: Vec<LetterName>,
}

/// Everything that the chain ever gave to others, in the order in which it did.
#[derive(Debug, Default)]
pub struct History {
    /// Grants.
    pub grants: Vec<GrantPeriod>,
    /// Links.
    pub links: Vec<LinkPeriod>,
}

/// A link, from the entry that made it to the one that withdrew it.
#[derive(Debug)]
pub struct LinkPeriod {
    /// What was given.
    pub link: LinkRecord,
    /// The ledger sequence that withdrew it, and when, in microseconds since 1970 by
    /// the clock of who wrote it.
    pub ended: Option<(u64, u64)>,
}

/// A grant, from the entry that filed it to the one that took it back.
#[derive(Debug)]
pub struct GrantPeriod {
    /// What was given.
    pub grant: GrantRecord,
    /// For a grant to a group: its name, and what made one of them a member.
    pub through: Option<(String, GrantRecord)>,
    /// The ledger sequence that took it back, or ended the membership, and when, in
    /// microseconds since 1970 by the clock of who wrote it.
    pub ended: Option<(u64, u64)>,
}

impl GrantPeriod {
    /// What of a grant to a group a member had, if he was ever in it meanwhile.
    fn of(&self, group: &str, member: &GrantPeriod) -> Option<Self> {
        let begins = self.grant.filed.max(member.grant.filed);
        let ended = self.ended.into_iter().chain(member.ended).min();
        let overlap = ended.is_none_or(|(end, _)| begins < end);
        overlap.then(|| Self {
            grant: self.grant.duplicate(),
            through: Some((group.to_owned(), member.grant.duplicate())),
            ended,
        })
    }
}

/// What an orphan closed or took back: it counts, and is decided again.
#[derive(Debug, Default)]
struct Closings {
    collections: Vec<CollectionId>,
    revoked: Vec<GrantId>,
    withdrawn: Vec<LinkId>,
}

impl Closings {
    fn are_owed(&self) -> bool {
        let Self {
            collections,
            revoked,
            withdrawn,
        } = self;
        !(collections.is_empty() && revoked.is_empty() && withdrawn.is_empty())
    }
}

impl Ledger {
    /// The first sequence that a reader needs if the head has this one.
    pub fn window_start(head: u64) -> u64 {
        head - head % SNAPSHOT_EVERY
    }

    /// Reads the ledger that ends at `head` from entries in any order: those of
    /// its chain from `window_start` on, and valid ones outside the chain.
    ///
    /// # Errors
    /// `Tampered` where an entry of the chain is missing or contradicts the
    /// others; `Stale` or `Forked` where header and ledger contradict each other.
    pub fn read(
        head: Position,
        entries: impl IntoIterator<Item = Entry>,
        header: &Header,
        secrets: &VaultSecrets,
    ) -> Result<Self> {
        let from = header.authorities().current_from();
        Self::assemble(
            head,
            entries,
            header.position(),
            header.ledger(),
            from,
            header.suite(),
            secrets,
        )
    }

    /// As `read`, with the place of the header at hand, the entry it names, and the
    /// sequence from which its authority signs.
    pub(crate) fn assemble(
        head: Position,
        entries: impl IntoIterator<Item = Entry>,
        header: Position,
        named: Position,
        authority_from: u64,
        suite: Suite,
        secrets: &VaultSecrets,
    ) -> Result<Self> {
        let mut entries: BTreeMap<Position, Entry> = entries
            .into_iter()
            .map(|entry| (entry.position, entry))
            .collect();

        let mut chain = Vec::new();
        let mut next = Some(head);
        while let Some(position) = next {
            let in_window = position.sequence >= Self::window_start(head.sequence);
            let Some(entry) = entries.remove(&position) else {
                if in_window {
                    return Err(Error::Tampered);
                }
                break;
            };
            next = entry.body.previous.map(|hash| Position {
                // Entry 0 alone has none before it.
                sequence: position.sequence - 1,
                hash,
            });
            // Older entries that are shown are of the chain too, not orphans.
            if in_window {
                chain.push(entry);
            }
        }

        // The header was written by someone who had checked this entry: a chain
        // that does not hold it is an older or another one.
        if named.sequence >= Self::window_start(head.sequence)
            && !chain.iter().any(|entry| entry.position == named)
        {
            return Err(Error::Stale("ledger"));
        }

        let mut ledger = Self {
            head,
            written: chain.first().map_or(0, Entry::written),
            chain: chain.iter().rev().map(|entry| entry.position).collect(),
            header: None,
            generation: 0,
            suite,
            state: State::new(Tree::of_vault(NameKey::init_with(|_| {}))),
            orphans: BTreeMap::new(),
            settled: BTreeSet::new(),
            owed: OwedLinks::default(),
        };
        for entry in chain.iter().rev() {
            ledger.apply(entry, secrets)?;
        }
        if ledger.state.tree.mounted(None).is_none() {
            return Err(Error::Tampered);
        }
        for (position, orphan) in entries {
            // Whoever held the authority before could make orphans of the past for
            // ever, and with them keys of the epochs of today.
            let of_today = position.sequence >= authority_from;
            if of_today {
                // The keys also of what is settled: somebody may have written with them.
                let closings = ledger.adopt(&orphan, secrets)?;
                if !ledger.settled.contains(&position.hash) {
                    ledger.orphans.insert(position.hash, closings);
                }
            }
        }
        ledger.state.tree.set_head(head.sequence);

        match ledger.header {
            Some(newest) if newest.sequence > header.sequence => Err(Error::Stale("vault header")),
            Some(newest) if newest.sequence == header.sequence && newest != header => {
                Err(Error::Forked("vault header"))
            }
            _ => Ok(ledger),
        }
    }

    fn apply(&mut self, entry: &Entry, secrets: &VaultSecrets) -> Result<()> {
        let sequence = entry.position.sequence;
        self.owed = OwedLinks::default();
        for (index, action) in entry.actions(secrets)?.into_iter().enumerate() {
            let is_empty = self.state.tree.mounted(None).is_none();
            match action {
                Action::Snapshot(state)
                    if index == 0 && sequence > 0 && sequence.is_multiple_of(SNAPSHOT_EVERY) =>
                {
                    if state.tree.top() != objects_prefix() || !state.is_of_before(sequence) {
                        return Err(Error::Tampered);
                    }
                    self.state = *state;
                }
                Action::Collection(Some(names), collection)
                    if is_empty && sequence == 0 && collection.mount.is_none() =>
                {
                    self.state.tree = Tree::of_vault(names);
                    self.state.tree.insert(collection)?;
                }
                Action::Snapshot(_) | Action::Collection(Some(_), _) => {
                    return Err(Error::Tampered);
                }
                _ if is_empty => return Err(Error::Tampered),
                action => {
                    self.owe(&entry.body.vault, &action);
                    self.state.apply(action, sequence)?;
                }
            }
        }
        if let Some(header) = entry.body.header {
            match self.header {
                Some(newest) if newest.sequence > header.sequence => return Err(Error::Tampered),
                Some(newest) if newest.sequence == header.sequence && newest != header => {
                    return Err(Error::Forked("vault header"));
                }
                _ => self.header = Some(header),
            }
        }
        // Owner keys only go forward: who holds an older one decides nothing more.
        if entry.generation() < self.generation {
            return Err(Error::Tampered);
        }
        self.generation = entry.generation();
        self.settled.extend(&entry.body.settled);
        Ok(())
    }

    /// What an action means for links, before it is applied.
    fn owe(&mut self, vault: &VaultId, action: &Action) {
        let tree = &self.state.tree;
        let mount = |id| tree.get(id).map(|c| c.mount.clone());
        let changed = match action {
            Action::Link(link) => {
                self.owed.seal.insert(link.id);
                return;
            }
            Action::Withdraw(id) => {
                self.owed.seal.remove(id);
                let link = self.state.links.get(id);
                self.owed
                    .remove
                    .extend(link.map(|link| link.secret.name(vault)));
                return;
            }
            Action::Collection(_, collection) => Some(collection.mount.clone()),
            Action::Epoch { collection, .. }
            | Action::Writers { collection, .. }
            | Action::Floor { collection, .. } => mount(collection),
            _ => return,
        };
        let Some(changed) = changed else { return };
        let is_below = |inner: &Option<VaultPath>, outer: &Option<VaultPath>| {
            inner == outer
                || inner
                    .as_ref()
                    .is_some_and(|inner| inner.below(outer.as_ref()).is_some())
        };
        // Around a link's collection only a floor changes what it leads to.
        let is_floor = matches!(action, Action::Floor { .. });
        let concerned = self.state.links.values().filter(|link| match &link.scope {
            Scope::Folder(folder) => {
                is_below(&changed, folder) || is_floor && is_below(folder, &changed)
            }
            // What it lies in now, or by this action.
            Scope::Object(path) => {
                let nearest = || tree.nearest(path).and_then(|c| c.mount.clone());
                path.below(changed.as_ref()).is_some()
                    && (is_floor || is_below(&changed, &nearest()))
            }
            Scope::Version(..) | Scope::Group(..) => false,
        });
        self.owed.seal.extend(concerned.map(LinkRecord::id));
    }

    /// An orphan's keys may have sealed objects; its writer never came to claim it.
    fn adopt(&mut self, orphan: &Entry, secrets: &VaultSecrets) -> Result<Closings> {
        let mut closings = Closings::default();
        let actions = match orphan.actions(secrets) {
            Ok(actions) => actions,
            // Written under a root that never came into force.
            Err(Error::Stale(_) | Error::Tampered) => return Ok(closings),
            Err(error) => return Err(error),
        };
        let opened = orphan.position.sequence;
        let mut mounted = BTreeSet::new();
        for action in actions {
            match action {
                Action::Epoch {
                    collection,
                    number,
                    key,
                } => {
                    let last = self
                        .state
                        .collection(&collection)
                        .and_then(Collection::last);
                    // Where the chain has closed that epoch too, nothing is owed.
                    if last.is_some_and(|last| last.opened < opened) {
                        closings.collections.push(collection);
                    }
                    // Nothing that counts was sealed to a generation of a group outside
                    // the chain.
                    if let Some(known) = self.state.tree.get_mut(&collection) {
                        known.insert(Epoch {
                            number,
                            opened,
                            orphan: true,
                            key,
                        });
                    }
                }
                Action::Collection(None, mut collection) => {
                    for epoch in &mut collection.epochs {
                        (epoch.opened, epoch.orphan) = (opened, true);
                    }
                    let id = collection.id;
                    // One of that id is of the chain, which counts.
                    if self.state.tree.insert(collection).is_ok() {
                        mounted.insert(id);
                    }
                }
                Action::Writers {
                    collection, added, ..
                } if mounted.contains(&collection) => {
                    // All its epochs are orphans.
                    if let Some(known) = self.state.tree.get_mut(&collection)
                        && let Some(first) = known.epochs.first().map(|epoch| epoch.number)
                    {
                        let writers = Arc::make_mut(&mut known.writers);
                        for key in added {
                            let _ = writers.add(key, first);
                        }
                    }
                }
                Action::Revoke(grant) if self.state.grant(&grant).is_some() => {
                    closings.revoked.push(grant);
                }
                Action::Withdraw(link) if self.state.links.contains_key(&link) => {
                    closings.withdrawn.push(link);
                }
                _ => {}
            }
        }
        Ok(closings)
    }

    /// Whether the ledger is behind the header: it does not name it, or the
    /// epochs of its root key are not opened; or behind an entry outside its chain,
    /// whose closings are to be decided again; or a grant has ended by the clock of
    /// the caller, in microseconds since 1970, or a lease is half over. Then an entry has to be appended.
    pub fn is_behind(&self, header: &Header, secrets: &VaultSecrets, now: u64) -> bool {
        let named = match self.header {
            Some(named) => named == header.position(),
            // A vault's first header needs no entry of its own.
            None => header.position().sequence == 0,
        };
        !named
            || self.generation < secrets.owners().len() as u64 - 1
            || self.orphans.values().any(Closings::are_owed)
            || self.ended_grants(now).next().is_some()
            || self.ended_links(now).next().is_some()
            || self.owes_a_lease(now)
    }

    /// Links whose time is over.
    fn ended_links(&self, now: u64) -> impl Iterator<Item = &LinkRecord> {
        let ended = move |link: &&LinkRecord| link.terms.not_after.is_some_and(|end| end < now);
        self.state.links.values().filter(ended)
    }

    /// Whether half the time is over in which writers go on without a newer entry.
    fn owes_a_lease(&self, now: u64) -> bool {
        let leases = self.state.tree.written().filter_map(|c| c.lease);
        let shortest = leases.min().map(|seconds| u64::from(seconds) * 500_000);
        shortest.is_some_and(|half| now > self.written.saturating_add(half))
    }

    /// Grants whose time is over.
    fn ended_grants(&self, now: u64) -> impl Iterator<Item = &GrantRecord> {
        let ended = move |grant: &&GrantRecord| grant.terms.not_after.is_some_and(|end| end < now);
        self.state.grants.values().filter(ended)
    }

    /// The newest entry.
    pub fn head(&self) -> Position {
        self.head
    }

    /// When the newest entry was written, in microseconds since 1970.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether another entry than this one stands at its sequence, as far as the
    /// entries reach that were read.
    pub fn contradicts(&self, seen: Position) -> bool {
        self.chain
            .iter()
            .any(|position| position.sequence == seen.sequence && *position != seen)
    }

    /// The folders and keys of the vault.
    pub fn tree(&self) -> &Tree {
        &self.state.tree
    }

    /// The address book.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.state.contacts.values()
    }

    /// A contact.
    pub fn contact(&self, name: &str) -> Option<&Contact> {
        self.state.contacts.get(name)
    }

    /// The grants in force.
    pub fn grants(&self) -> impl Iterator<Item = &GrantRecord> {
        self.state.grants.values()
    }

    /// A grant in force.
    pub fn grant(&self, id: &GrantId) -> Option<&GrantRecord> {
        self.state.grant(id)
    }

    /// Whether these grants, and memberships in groups, can be taken back without others.
    ///
    /// # Errors
    /// `InvalidInput` where the same people keep access by another road, which it names.
    pub fn check_revoke(&self, grants: &[GrantId]) -> Result<()> {
        let below = grants.iter().flat_map(|id| self.grants_below(id));
        let gone = below.map(|g| g.id).chain(grants.iter().copied()).collect();
        self.state
            .check_roads(&grants.iter().copied().collect(), &gone)
    }

    /// The grants that fall when one is taken back, from those right below it on.
    pub fn grants_below(&self, id: &GrantId) -> Vec<&GrantRecord> {
        let mut all: Vec<&GrantRecord> = self.state.below(*id).collect();
        let mut at = 0;
        while let Some(next) = all.get(at) {
            all.extend(self.state.below(next.id));
            at += 1;
        }
        all
    }

    /// The grant in force that one hangs below that somebody gave on, and what it is
    /// for, if it may be filed: everything that its copy says is held against this ledger.
    ///
    /// # Errors
    /// `NotFound` where the grant above is not in force; `AccessDenied` for what that one
    /// does not allow, what has ended, and keys that are not those of now any more;
    /// `InvalidInput` for what is filed already; `Stale` where the grantor knew a newer
    /// ledger; `Tampered`.
    pub fn examine(&self, copy: &OwnersCopy, now: u64) -> Result<(&GrantRecord, Scope)> {
        let (above, scope) = copy.examine(&self.state, (self.suite, self.head), now)?;
        if self.contradicts(copy.before()) {
            return Err(Error::Tampered);
        }
        let above = self.state.grants.get(&above).ok_or(Error::Tampered)?;
        Ok((above, scope))
    }

    /// The links in force.
    pub fn links(&self) -> impl Iterator<Item = &LinkRecord> {
        self.state.links.values()
    }

    /// A link in force.
    pub fn link(&self, id: &LinkId) -> Option<&LinkRecord> {
        self.state.links.get(id)
    }

    /// Links whose records in the store may be behind the newest entry, to be sealed
    /// anew where they are.
    pub fn links_to_seal(&self) -> impl Iterator<Item = &LinkRecord> {
        let owed = self.owed.seal.iter();
        owed.filter_map(|id| self.state.links.get(id))
    }

    /// Where records of links lie that the newest entry withdrew.
    pub fn links_to_remove(&self) -> impl Iterator<Item = String> {
        self.owed.remove.iter().map(LetterName::path)
    }

    /// Where a link's record lies below the vault's prefix.
    pub fn link_path(link: &LinkRecord, secrets: &VaultSecrets) -> String {
        link.secret.name(&secrets.vault()).path()
    }

    /// The record of a link as it has to be now.
    ///
    /// # Errors
    /// `LimitExceeded`, `Randomness`.
    pub fn seal_link(
        &self,
        link: &LinkRecord,
        header: &Header,
        secrets: &VaultSecrets,
        objects: Vec<LinkObject>,
    ) -> Result<Vec<u8>> {
        let tree = self.state.tree.part(&link.scope, None)?;
        let keys = (self.suite, tree, self.head);
        link.seal(secrets, header.authorities(), keys, objects)
    }

    /// What a stored record of a link holds.
    ///
    /// # Errors
    /// `Tampered` for what is no record of this link.
    pub fn open_link(
        link: &LinkRecord,
        secrets: &VaultSecrets,
        record: &[u8],
    ) -> Result<OpenedLink> {
        link.open(secrets.vault(), record)
    }

    /// The groups, in the order of their names.
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.state.groups.values().collect();
        groups.sort_by_key(|group| group.name());
        groups
    }

    /// The group with this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.state
            .groups
            .values()
            .find(|group| group.name() == name)
    }

    /// The group that a grant was made to.
    pub fn grantee(&self, grant: &GrantRecord) -> Option<&Group> {
        self.state.group_of(&grant.card)
    }

    /// The grants by which a grant reaches something: itself, or for what makes somebody
    /// a member of a group those to the group.
    pub fn reach_of<'a>(&'a self, grant: &'a GrantRecord) -> Vec<&'a GrantRecord> {
        match &grant.scope {
            Scope::Group(id, _) => self.state.given_to(id).collect(),
            _ => vec![grant],
        }
    }

    /// Every grant that the chain ever filed, and every link, and how they ended, in the
    /// order in which they were filed; a grant to a group once for each of its members, as long as
    /// he was in it. `chain` is all of it, from entry 0 on.
    ///
    /// # Errors
    /// `Tampered` where an entry of the chain is missing or contradicts the others.
    pub fn history(chain: &[Entry], secrets: &VaultSecrets) -> Result<History> {
        let mut history = History::default();
        let mut groups: Vec<Box<Group>> = Vec::new();
        let mut before = None;
        for (sequence, entry) in (0..).zip(chain) {
            let follows = entry.position.sequence == sequence && entry.body.previous == before;
            if !follows {
                return Err(Error::Tampered);
            }
            before = Some(entry.position.hash);
            for action in entry.actions(secrets)? {
                match action {
                    Action::Grant(grant) => history.grants.push(GrantPeriod {
                        grant: *grant,
                        through: None,
                        ended: None,
                    }),
                    Action::Revoke(id) => {
                        let of_it = |p: &&mut GrantPeriod| p.grant.id == id && p.ended.is_none();
                        let mut periods = history.grants.iter_mut();
                        let period = periods.find(of_it).ok_or(Error::Tampered)?;
                        period.ended = Some((sequence, entry.body.written));
                    }
                    Action::Link(link) => history.links.push(LinkPeriod {
                        link: *link,
                        ended: None,
                    }),
                    Action::Withdraw(id) => {
                        let of_it = |p: &&mut LinkPeriod| p.link.id == id && p.ended.is_none();
                        let mut periods = history.links.iter_mut();
                        let period = periods.find(of_it).ok_or(Error::Tampered)?;
                        period.ended = Some((sequence, entry.body.written));
                    }
                    Action::Group(group) => groups.push(group),
                    _ => {}
                }
            }
        }
        let (memberships, given): (Vec<_>, Vec<_>) = history
            .grants
            .into_iter()
            .partition(|p| matches!(p.grant.scope, Scope::Group(..)));
        history.grants = Vec::new();
        for period in given {
            let key = *period.grant.card.signing_key();
            let Some(group) = groups.iter().find(|g| g.signing_key() == key) else {
                history.grants.push(period);
                continue;
            };
            let scope = group.scope();
            let of_it = memberships.iter().filter(|m| m.grant.scope == scope);
            let of_it = of_it.filter_map(|member| period.of(group.name(), member));
            history.grants.extend(of_it);
        }
        Ok(history)
    }

    #[cfg(test)]
    pub(crate) fn of_one(collection: Collection, sequence: u64) -> Self {
        let hash = RecordHash([0; 32]);
        let mut tree = Tree::of_vault(NameKey::init_with(|_| {}));
        tree.insert(collection).unwrap();
        tree.set_head(sequence);
        Self {
            head: Position { sequence, hash },
            written: 0,
            chain: Vec::new(),
            header: None,
            generation: 0,
            suite: Suite::V1,
            state: State::new(tree),
            orphans: BTreeMap::new(),
            settled: BTreeSet::new(),
            owed: OwedLinks::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn catch_up(
        &self,
        header: &Header,
        secrets: &VaultSecrets,
        now: u64,
    ) -> Result<Entry> {
        let next = self.next(header, secrets, now, Decision::CatchUp);
        next.map(|appended| appended.entry)
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> &Collection {
        self.state.tree.mounted(None).unwrap()
    }

    /// Lets a key sign, in this copy of the ledger alone.
    #[cfg(test)]
    pub(crate) fn list_writer(&mut self, folder: &str, key: [u8; 32]) {
        let folder = VaultPath::parse(folder).unwrap();
        let collection = self.state.tree.mounted(Some(&folder)).unwrap().id;
        let (added, removed) = (BTreeSet::from([key]), BTreeSet::new());
        let action = Action::Writers {
            collection,
            added,
            removed,
        };
        self.state.tree.apply(action, self.head.sequence).unwrap();
    }

    #[cfg(test)]
    pub(crate) fn root_mut(&mut self) -> &mut Collection {
        let id = self.root().id;
        self.state.tree.get_mut(&id).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn set_head(&mut self, sequence: u64) {
        self.head.sequence = sequence;
        self.state.tree.set_head(sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::ContentKey;
    use crate::random::scripted::{self, Source};
    use crate::testing::{Vault, flips, phrase};
    use proptest::prelude::*;

    fn vault() -> Vault {
        Vault::make(false, &phrase(1))
    }

    /// (number, opened, orphan, key) of the root collection.
    fn epochs(ledger: &Ledger) -> Vec<(u32, u64, bool, [u8; 32])> {
        let epochs = ledger.root().epochs.iter();
        epochs
            .map(|e| (e.number, e.opened, e.orphan, *e.key.expose_secret()))
            .collect()
    }

    fn reads(vault: &Vault, head: Position, entries: &[&Entry]) -> Result<Ledger> {
        let entries = entries.iter().map(|e| (*e).clone());
        Ledger::read(head, entries, vault.header(), &vault.secrets)
    }

    /// An entry that a holder of the authority's key signed, whatever it says.
    fn entry(
        vault: &Vault,
        sequence: u64,
        previous: Option<RecordHash>,
        actions: Vec<Action>,
    ) -> Entry {
        let header = (sequence > 0).then(|| vault.header().position());
        let body = Body {
            vault: vault.secrets.vault(),
            sequence,
            written: 5,
            previous,
            header,
            settled: Vec::new(),
            parts: vec![owner_part(&vault.secrets, sequence, &Actions(actions)).unwrap()],
        };
        Entry::write(body, &vault.secrets).unwrap()
    }

    fn after(vault: &Vault, actions: Vec<Action>) -> Entry {
        let head = vault.head().position();
        entry(vault, head.sequence + 1, Some(head.hash), actions)
    }

    fn empty_tree() -> Tree {
        Tree::of_vault(NameKey::init_with(|key| *key = [5; 32]))
    }

    fn snapshot_of(collection: Collection) -> Action {
        let mut tree = empty_tree();
        tree.insert(collection).unwrap();
        Action::Snapshot(Box::new(State::new(tree)))
    }

    fn epoch(ledger: &Ledger, number: u32, key: u8) -> Action {
        Action::Epoch {
            collection: ledger.root().id,
            number,
            key: ContentKey::init_with(|out| *out = [key; 32]),
        }
    }

    #[test]
    fn the_first_entry_holds_the_root_collection() {
        for padded in [false, true] {
            let vault = Vault::make(padded, &phrase(1));
            let ledger = vault.ledger();
            assert_eq!(ledger.head(), vault.entries[0].position());
            assert_eq!(ledger.root().is_padded(), padded);
            assert_eq!(epochs(&ledger).len(), 1);
            assert!(!ledger.is_behind(vault.header(), &vault.secrets, 0));
            let again = Entry::parse(
                vault.entries[0].as_bytes(),
                &vault.secrets.vault(),
                vault.header().authorities(),
            );
            assert_eq!(again.as_ref(), Ok(&vault.entries[0]));
        }
    }

    #[test]
    fn a_long_ledger_is_read_from_its_last_snapshot() {
        let mut vault = vault();
        let names = *vault.ledger().tree().name_key().expose_secret();
        let mut expected = epochs(&vault.ledger());
        for sequence in 1..=140 {
            if [3, 63, 64, 65, 100, 128, 139].contains(&sequence) {
                vault.rotate(&[phrase(1)]);
                assert!(vault.ledger().is_behind(vault.header(), &vault.secrets, 0));
                vault.append();
                let ledger = vault.ledger();
                let last = *epochs(&ledger).last().unwrap();
                assert_eq!(
                    (last.0, last.1, last.2),
                    (expected.len() as u32, sequence, false)
                );
                expected.push(last);
            } else {
                vault.append();
            }
            let ledger = vault.ledger();
            assert_eq!(ledger.head().sequence, sequence);
            assert_eq!(epochs(&ledger), expected);
            assert_eq!(*ledger.tree().name_key().expose_secret(), names);
            assert!(!ledger.is_behind(vault.header(), &vault.secrets, 0));
        }
        assert_eq!(Ledger::window_start(63), 0);
        assert_eq!(Ledger::window_start(64), 64);
        assert_eq!(Ledger::window_start(140), 128);
        // The epoch before each is closed by the entry that opened the next.
        let ledger = vault.ledger();
        for (at, epoch) in expected.iter().enumerate() {
            let closed = expected.get(at + 1).map(|next| next.1);
            let known = &ledger.root().epochs[at];
            assert_eq!(
                (known.number, ledger.root().closed_at(known)),
                (epoch.0, closed)
            );
        }
        // Entries before the window change nothing, if they are shown.
        let all: Vec<&Entry> = vault.entries.iter().collect();
        let whole = reads(&vault, vault.head().position(), &all).unwrap();
        assert_eq!(epochs(&whole), expected);
        assert!(whole.orphans.is_empty());
    }

    #[test]
    fn a_missing_predecessor_is_tampering() {
        let mut vault = vault();
        for _ in 0..70 {
            vault.append();
        }
        let head = vault.head().position();
        let window: Vec<&Entry> = vault.entries[64..].iter().collect();
        assert!(reads(&vault, head, &window).is_ok());
        for missing in 0..window.len() {
            let mut some = window.clone();
            some.remove(missing);
            assert!(
                matches!(reads(&vault, head, &some), Err(Error::Tampered)),
                "{missing}"
            );
        }
        // Another order is the same ledger.
        let turned: Vec<&Entry> = window.iter().rev().copied().collect();
        assert!(reads(&vault, head, &turned).is_ok());
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_refused() {
        let mut vault = vault();
        vault.rotate(&[phrase(1)]);
        vault.append();
        let id = vault.secrets.vault();
        let authorities = vault.header().authorities();
        for record in [vault.entries[0].as_bytes(), vault.entries[1].as_bytes()] {
            for (at, changed) in flips(record) {
                let error = Entry::parse(&changed, &id, authorities).unwrap_err();
                assert!(
                    matches!(
                        error,
                        Error::Tampered | Error::UnsupportedFormat(_) | Error::LimitExceeded(_)
                    ),
                    "byte {at}"
                );
            }
            for length in 0..record.len() {
                let found = Entry::parse(&record[..length], &id, authorities);
                assert_eq!(found, Err(Error::Tampered));
            }
            let longer = [record, b"\0"].concat();
            assert_eq!(
                Entry::parse(&longer, &id, authorities),
                Err(Error::Tampered)
            );
            let mut later = record.to_vec();
            later[3] = b'2';
            assert!(matches!(
                Entry::parse(&later, &id, authorities),
                Err(Error::UnsupportedFormat(_))
            ));
        }
        let long = vec![b'K'; Entry::MAX_LENGTH + 1];
        assert!(matches!(
            Entry::parse(&long, &id, authorities),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn an_entry_of_another_vault_is_refused() {
        let (ours, other) = (vault(), vault());
        let entry = other.entries[0].as_bytes();
        let found = Entry::parse(entry, &ours.secrets.vault(), ours.header().authorities());
        assert_eq!(found, Err(Error::Tampered));
        let found = Entry::parse(entry, &other.secrets.vault(), ours.header().authorities());
        assert_eq!(found, Err(Error::Tampered));
    }

    #[test]
    fn a_rolled_back_header_is_stale() {
        let mut vault = vault();
        vault.change_slots(&[phrase(2)]);
        vault.append();
        let entries: Vec<Entry> = vault.entries.clone();
        let head = vault.head().position();
        let read = |header: &Header, secrets: &VaultSecrets| {
            Ledger::read(head, entries.clone(), header, secrets)
        };
        assert!(read(vault.header(), &vault.secrets).is_ok());
        assert_eq!(
            read(&vault.headers[0], &vault.secrets).unwrap_err(),
            Error::Stale("vault header")
        );
        // After a rotation the old header has not even the key.
        let old = vault.header().clone();
        let before = old.reopen(&vault.secrets).unwrap();
        vault.rotate(&[phrase(2)]);
        vault.append();
        let head = vault.head().position();
        let found = Ledger::read(head, vault.entries.clone(), &old, &before);
        assert_eq!(found.unwrap_err(), Error::Stale("vault header"));
    }

    #[test]
    fn a_forked_header_is_told_apart() {
        let mut vault = vault();
        let first = vault.headers[0].clone();
        vault.change_slots(&[phrase(2)]);
        vault.append();
        let head = first.ledger();
        let slots = first.slots().to_vec();
        let fork = first.next(&vault.secrets, head, slots, 9).unwrap();
        let entries = vault.entries.clone();
        let found = Ledger::read(vault.head().position(), entries, &fork, &vault.secrets);
        assert_eq!(found.unwrap_err(), Error::Forked("vault header"));
        // Two entries of one chain that name two headers of one number.
        let first_named = vault.headers.pop().unwrap();
        vault.headers.push(fork);
        let next = after(&vault, vec![]);
        vault.entries.push(next);
        assert_eq!(vault.read().unwrap_err(), Error::Forked("vault header"));
        vault.headers.push(first_named);
        assert_eq!(vault.read().unwrap_err(), Error::Forked("vault header"));
    }

    #[test]
    fn headers_do_not_go_back_along_the_chain() {
        let mut vault = vault();
        let first = vault.headers[0].clone();
        vault.change_slots(&[phrase(2)]);
        vault.append();
        let newest = vault.header().clone();
        vault.headers.push(first);
        let back = after(&vault, vec![]);
        vault.entries.push(back);
        vault.headers.push(newest);
        assert_eq!(vault.read().unwrap_err(), Error::Tampered);
    }

    #[test]
    fn a_rolled_back_ledger_is_stale() {
        let mut vault = vault();
        vault.append();
        vault.append();
        vault.change_slots(&[phrase(2)]);
        assert_eq!(vault.header().ledger().sequence, 2);
        let all = vault.entries.clone();
        let all: Vec<&Entry> = all.iter().collect();
        for head in [0, 1] {
            let position = all[head].position();
            for shown in [&all[..=head], &all[..]] {
                // Also where the named entry is shown, but outside the chain.
                let found = reads(&vault, position, shown);
                assert_eq!(found.unwrap_err(), Error::Stale("ledger"), "{head}");
            }
        }
        // A fork of the same length, without the entry that the header names.
        let first = all[1].position();
        let fork = entry(&vault, 2, Some(first.hash), vec![]);
        let found = reads(&vault, fork.position(), &[all[0], all[1], &fork, all[2]]);
        assert_eq!(found.unwrap_err(), Error::Stale("ledger"));
    }

    #[test]
    fn the_keys_of_orphans_are_read_and_never_written_with() {
        let mut vault = vault();
        let ledger = vault.ledger();
        // Two writers lost the same number to a third.
        let orphans = [
            after(&vault, vec![epoch(&ledger, 1, 0xa)]),
            after(&vault, vec![epoch(&ledger, 1, 0xb)]),
        ];
        vault.append();
        let head = vault.head().position();
        let base = vault.entries.clone();
        let with = |more: &[&Entry]| {
            let mut all: Vec<&Entry> = base.iter().collect();
            all.extend(more);
            reads(&vault, head, &all).unwrap()
        };
        let ledger = with(&[&orphans[0], &orphans[1]]);
        assert_eq!(ledger.root().current().unwrap().number, 0);
        let closed_at = |ledger: &Ledger, at: usize| {
            let root = ledger.root();
            root.closed_at(&root.epochs[at])
        };
        assert_eq!(closed_at(&ledger, 0), None, "an orphan closes nothing");
        let mut found: Vec<_> = epochs(&ledger).into_iter().skip(1).collect();
        found.sort();
        assert_eq!(
            found,
            [(1, 1, true, [0xa; 32]), (1, 1, true, [0xb; 32])],
            "both keys"
        );
        // Settled by the chain's next epoch, which closes theirs, they are read still.
        let settling = ledger.catch_up(vault.header(), &vault.secrets, 9).unwrap();
        let mut all: Vec<&Entry> = base.iter().collect();
        all.extend([&settling, &orphans[0], &orphans[1]]);
        let after = reads(&vault, settling.position(), &all).unwrap();
        assert!(after.orphans.is_empty());
        let root = after.root();
        let found: Vec<_> = root.epochs.iter().map(|e| root.closed_at(e)).collect();
        let at = Some(settling.position().sequence);
        assert_eq!(found, [at, at, at, None]);
        // A rotation ends it: whoever held the authority before could make such
        // orphans for ever.
        vault.rotate(&[phrase(1)]);
        let next = ledger.catch_up(vault.header(), &vault.secrets, 9).unwrap();
        let mut all: Vec<&Entry> = base.iter().collect();
        all.extend([&next, &orphans[0], &orphans[1]]);
        let ledger = reads(&vault, next.position(), &all).unwrap();
        assert_eq!(epochs(&ledger).len(), 2);
        let current = ledger.root().current().unwrap();
        assert_eq!((current.number, current.orphan), (1, false));
        assert_eq!(closed_at(&ledger, 0), Some(2));
    }

    #[test]
    fn who_held_the_root_before_a_rotation_decides_nothing_after_it() {
        let mut vault = vault();
        vault.append();
        let (mut thief, before) = (VaultSecrets::make(0).unwrap(), vault.ledger());
        std::mem::swap(&mut thief, &mut vault.secrets);
        // The owner goes on with what the thief has not.
        let old_header = vault.header().clone();
        let after = thief.rotated(0).unwrap();
        let slot = crate::make_slot(&after, &phrase(1), crate::testing::cheap(), 1).unwrap();
        let head = vault.head().position();
        let header = old_header
            .rotated(&thief, &after, head, vec![slot], 1)
            .unwrap();
        let entry = before.catch_up(&header, &after, 2).unwrap();
        let id = after.vault();
        let authorities = header.authorities();
        assert!(Entry::parse(entry.as_bytes(), &id, authorities).is_ok());
        // An entry of his in its place, or behind it, is none.
        let forged = before.catch_up(&old_header, &thief, 3).unwrap();
        assert_eq!(
            Entry::parse(forged.as_bytes(), &id, authorities),
            Err(Error::Tampered)
        );
        // Before it the chain stands still, and an orphan of his adds no key.
        let mut all = vault.entries.clone();
        all.push(entry.clone());
        all.push(Entry::first(&thief, Suite::V1, false, 4).unwrap());
        let ledger = Ledger::read(entry.position(), all, &header, &after).unwrap();
        assert!(ledger.orphans.is_empty());
        assert_eq!(epochs(&ledger).len(), 2);
        assert_eq!(ledger.root().current().unwrap().number, 1);
    }

    #[test]
    fn an_orphans_closing_is_decided_again_and_a_snapshot_settles_it() {
        let mut vault = vault();
        let orphan = after(&vault, vec![epoch(&vault.ledger(), 1, 0xa)]);
        while vault.entries.len() < 64 {
            vault.append();
        }
        let mut all: Vec<&Entry> = vault.entries.iter().collect();
        all.push(&orphan);
        let ledger = reads(&vault, vault.head().position(), &all).unwrap();
        let next = ledger.catch_up(vault.header(), &vault.secrets, 9).unwrap();
        assert_eq!(next.position().sequence, 64);
        assert_eq!(next.body.settled, [orphan.position().hash]);
        for shown in [&[&next][..], &[&next, &orphan]] {
            let ledger = reads(&vault, next.position(), shown).unwrap();
            assert_eq!(epochs(&ledger)[1], (1, 1, true, [0xa; 32]));
            // What the orphan closed is closed again, in the chain.
            assert_eq!(epochs(&ledger).len(), 3, "once");
            let current = ledger.root().current().unwrap();
            assert_eq!((current.number, current.opened), (1, 64));
            assert!(ledger.orphans.is_empty());
            assert!(!ledger.is_behind(vault.header(), &vault.secrets, 0));
        }
    }

    #[test]
    fn an_orphan_of_a_root_that_never_came_is_passed_over() {
        let mut vault = vault();
        let secrets = vault.secrets.rotated(0).unwrap();
        let ledger = vault.ledger();
        let orphan = ledger.catch_up(vault.header(), &secrets, 9).unwrap();
        vault.append();
        let mut all: Vec<&Entry> = vault.entries.iter().collect();
        all.push(&orphan);
        let ledger = reads(&vault, vault.head().position(), &all).unwrap();
        assert_eq!(epochs(&ledger).len(), 1);
    }

    #[test]
    fn what_is_signed_still_has_to_follow() {
        let vault = vault();
        let ledger = vault.ledger();
        let make = |actions| {
            let entry = after(&vault, actions);
            let all = [&vault.entries[0], &entry];
            reads(&vault, entry.position(), &all).map(drop)
        };
        assert_eq!(make(vec![]), Ok(()));
        assert_eq!(make(vec![epoch(&ledger, 1, 1)]), Ok(()));
        assert_eq!(
            make(vec![epoch(&ledger, 1, 1), epoch(&ledger, 2, 2)]),
            Ok(())
        );
        let unknown = Action::Epoch {
            collection: CollectionId([9; 16]),
            number: 1,
            key: ContentKey::make().unwrap(),
        };
        for actions in [
            vec![epoch(&ledger, 0, 1)],
            vec![epoch(&ledger, 2, 1)],
            vec![epoch(&ledger, u32::MAX, 1)],
            vec![epoch(&ledger, 1, 1), epoch(&ledger, 1, 1)],
            vec![unknown],
            vec![Action::Collection(
                Some(NameKey::make().unwrap()),
                Collection::make(None, false).unwrap(),
            )],
            vec![snapshot_of(ledger.root().duplicate())],
        ] {
            assert_eq!(make(actions), Err(Error::Tampered));
        }
    }

    #[test]
    fn an_entry_at_a_snapshots_place_has_to_hold_a_good_one() {
        let vault = vault();
        let ledger = vault.ledger();
        let hash = Some(RecordHash([1; 32]));
        let make = |actions| {
            let entry = entry(&vault, 64, hash, actions);
            reads(&vault, entry.position(), &[&entry]).map(|ledger| epochs(&ledger).len())
        };
        let snapshot = |change: &dyn Fn(&mut Collection)| {
            let mut collection = ledger.root().duplicate();
            change(&mut collection);
            snapshot_of(collection)
        };
        let add = |number, opened, orphan| {
            move |collection: &mut Collection| {
                collection.epochs.push(Epoch {
                    number,
                    opened,
                    orphan,
                    key: ContentKey::make().unwrap(),
                });
            }
        };
        assert_eq!(make(vec![snapshot(&|_| ())]), Ok(1));
        assert_eq!(make(vec![snapshot(&add(1, 63, false))]), Ok(2));
        assert_eq!(make(vec![snapshot(&add(7, 90, true))]), Ok(2));
        assert_eq!(make(vec![snapshot(&|_| ()), epoch(&ledger, 1, 1)]), Ok(2));
        for actions in [
            vec![],
            vec![epoch(&ledger, 1, 1)],
            vec![epoch(&ledger, 1, 1), snapshot(&|_| ())],
            vec![snapshot(&|_| ()), snapshot(&|_| ())],
            vec![Action::Snapshot(Box::new(State::new(empty_tree())))],
            vec![snapshot(&|c| c.epochs.clear())],
            vec![snapshot(&|c| c.epochs[0].orphan = true)],
            vec![snapshot(&add(0, 3, false))],
            vec![snapshot(&add(0, 3, true))],
            vec![snapshot(&add(1, 64, false))],
        ] {
            assert_eq!(make(actions), Err(Error::Tampered));
        }
    }

    /// Parts of an entry with any plaintext, sealed by a holder of the owner key.
    fn with_plaintext(vault: &Vault, sequence: u64, plaintext: &[u8]) -> Result<()> {
        let id = vault.secrets.vault();
        let place = part_place(sequence, 0);
        let key = owner_key(&vault.secrets.owners()[0], &id);
        let sealed = message::seal(
            key.expose_secret(),
            &Place {
                kind: "ledger",
                vault: &id,
                place: &place,
            },
            plaintext,
        )?;
        let head = vault.head().position();
        let body = Body {
            vault: id,
            sequence,
            written: 5,
            previous: Some(head.hash),
            header: Some(vault.header().position()),
            settled: Vec::new(),
            parts: vec![(Audience::Owner(0), sealed)],
        };
        let entry = Entry::write(body, &vault.secrets)?;
        let again = Entry::parse(entry.as_bytes(), &id, vault.header().authorities())?;
        reads(vault, again.position(), &[&vault.entries[0], &again]).map(drop)
    }

    #[test]
    fn actions_that_version_1_does_not_know() {
        let vault = vault();
        assert_eq!(with_plaintext(&vault, 1, &[0x80]), Ok(()));
        for unknown in [
            &[0x81, 0x81, 0][..],
            &[0x81, 0x81, 23],
            &[0x81, 0x89, 23, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(matches!(
                with_plaintext(&vault, 1, unknown),
                Err(Error::UnsupportedFormat(_))
            ));
        }
        for damaged in [
            &[][..],
            &[0x81],
            &[0x81, 0x81, 2],
            &[0x81, 0x80],
            &[0x80, 0],
        ] {
            assert_eq!(
                with_plaintext(&vault, 1, damaged),
                Err(Error::Tampered),
                "{damaged:x?}"
            );
        }
        assert!(matches!(
            with_plaintext(&vault, 1, &[0x9a, 0xff, 0xff, 0xff, 0xff]),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn parts_for_others_are_passed_over() {
        let mut vault = vault();
        let mut body = after(&vault, vec![epoch(&vault.ledger(), 1, 1)]).body;
        let audience = Audience::Members(CollectionId([3; 16]), 4);
        body.parts.push((audience, vec![7; 100]));
        let entry = Entry::write(body.clone(), &vault.secrets).unwrap();
        let id = vault.secrets.vault();
        let entry = Entry::parse(entry.as_bytes(), &id, vault.header().authorities()).unwrap();
        vault.entries.push(entry);
        assert_eq!(epochs(&vault.ledger()).len(), 2);
        // A part is bound to its number: moved behind, it does not open.
        body.parts.reverse();
        let moved = Entry::write(body, &vault.secrets).unwrap();
        let all = [&vault.entries[0], &moved];
        let found = reads(&vault, moved.position(), &all);
        assert_eq!(found.unwrap_err(), Error::Tampered);
    }

    #[test]
    fn ledgers_end_where_stamps_do() {
        let vault = vault();
        let last = entry(&vault, u32::MAX.into(), Some(RecordHash([1; 32])), vec![]);
        let id = vault.secrets.vault();
        let parse =
            |entry: &Entry| Entry::parse(entry.as_bytes(), &id, vault.header().authorities());
        assert!(parse(&last).is_ok());
        let beyond = entry(&vault, 1 << 32, Some(RecordHash([1; 32])), vec![]);
        assert!(matches!(parse(&beyond), Err(Error::LimitExceeded(_))));
        let mut ledger = vault.ledger();
        ledger.head.sequence = u32::MAX.into();
        assert!(matches!(
            ledger.catch_up(vault.header(), &vault.secrets, 0),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn without_randomness_nothing_is_appended() {
        let vault = vault();
        let ledger = vault.ledger();
        scripted::with(Source::Broken, || {
            assert!(matches!(
                Entry::first(&vault.secrets, Suite::V1, false, 0),
                Err(Error::Randomness)
            ));
            assert!(matches!(
                ledger.catch_up(vault.header(), &vault.secrets, 0),
                Err(Error::Randomness)
            ));
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Any sequence of changes reads back, whatever part of it is read, and
        /// equals a model that only counts.
        #[test]
        fn any_history_reads_back(steps in proptest::collection::vec(0u8..4, 1..90)) {
            let mut vault = vault();
            let mut opened = vec![0];
            for step in steps {
                match step {
                    0 => vault.rotate(&[phrase(1)]),
                    1 => vault.change_slots(&[phrase(1)]),
                    _ => {}
                }
                vault.append();
                if step == 0 {
                    opened.push(vault.head().position().sequence);
                }
            }
            let ledger = vault.ledger();
            let found: Vec<u64> = ledger.root().epochs.iter().map(|e| e.opened).collect();
            prop_assert_eq!(found, opened);
            prop_assert_eq!(ledger.head(), vault.head().position());
            prop_assert!(!ledger.is_behind(vault.header(), &vault.secrets, 0));
        }

        #[test]
        fn any_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let vault = vault();
            let id = vault.secrets.vault();
            let authorities = vault.header().authorities();
            prop_assert!(Entry::parse(&bytes, &id, authorities).is_err());
            let bytes = [b"KLE1", &bytes[..]].concat();
            prop_assert!(Entry::parse(&bytes, &id, authorities).is_err());
        }

        #[test]
        fn any_actions_decode_to_what_they_encode(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(actions) = Actions::decode(&bytes) {
                prop_assert_eq!(&**actions.encode(), &bytes[..]);
            }
        }
    }
}
