//! The ledger: one chain of signed entries in which everything stands that the
//! owner decides about keys (docs/FORMAT.md, section 4).

use crate::authority::Authorities;
use crate::cbor::{Reader, Record, Writer};
use crate::collection::{Collection, ContentKey, Epoch, NameKey};
use crate::header::{Header, VaultSecrets, check_magic};
use crate::kdf::{Label, domain};
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::{CollectionId, Error, Position, RecordHash, Result, VaultId};
use std::collections::{BTreeMap, BTreeSet};
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

/// What an entry decides.
pub(crate) enum Action {
    Collection(Collection),
    Epoch {
        collection: CollectionId,
        number: u32,
        key: ContentKey,
    },
    Snapshot(Vec<Collection>),
}

/// The actions of one part.
struct Actions(Vec<Action>);

impl Actions {
    const MAX: usize = 4_096;
    const MAX_COLLECTIONS: usize = 65_536;
    const MAX_EPOCHS: usize = 65_536;
}

fn write_collection(collection: &Collection, to: &mut Writer) {
    to.bytes(collection.id.as_bytes())
        .text("")
        .uint(collection.padded.into());
    to.bytes(collection.name_key.expose_secret());
}

fn read_collection(from: &mut Reader<'_>) -> Result<Collection> {
    let id = CollectionId(*from.fixed()?);
    if !from.text(4_096)?.is_empty() {
        return Err(Error::UnsupportedFormat("collection of a folder"));
    }
    let padded = match from.uint()? {
        0 => false,
        1 => true,
        _ => return Err(Error::UnsupportedFormat("option of a collection")),
    };
    let name_key = *from.fixed()?;
    let name_key = NameKey::init_with(|out| *out = name_key);
    Ok(Collection {
        id,
        padded,
        name_key,
        floor: 0,
        epochs: Vec::new(),
    })
}

fn read_content_key(from: &mut Reader<'_>) -> Result<ContentKey> {
    let key = from.fixed()?;
    Ok(ContentKey::init_with(|out| *out = *key))
}

impl Record for Actions {
    fn write(&self, to: &mut Writer) {
        to.array(self.0.len());
        for action in &self.0 {
            match action {
                Action::Collection(collection) => {
                    to.array(6).uint(1);
                    write_collection(collection, to);
                    let first = collection.epochs.first();
                    to.bytes(first.map_or(&[][..], |epoch| epoch.key.expose_secret()));
                }
                Action::Epoch {
                    collection,
                    number,
                    key,
                } => {
                    to.array(4).uint(2).bytes(collection.as_bytes());
                    to.uint((*number).into()).bytes(key.expose_secret());
                }
                Action::Snapshot(collections) => {
                    to.array(2).uint(3).array(collections.len());
                    for collection in collections {
                        to.array(6);
                        write_collection(collection, to);
                        to.uint(collection.floor.into())
                            .array(collection.epochs.len());
                        for epoch in &collection.epochs {
                            to.array(4).uint(epoch.number.into()).uint(epoch.opened);
                            to.uint(epoch.orphan.into())
                                .bytes(epoch.key.expose_secret());
                        }
                    }
                }
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let mut actions = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX)? {
            // An action of a later version may be longer than ours.
            let length = from.array_of_any(usize::MAX)?;
            actions.push(match (from.uint()?, length) {
                (1, 6) => {
                    let mut collection = read_collection(from)?;
                    let key = read_content_key(from)?;
                    collection.epochs.push(Epoch {
                        number: 0,
                        opened: 0,
                        orphan: false,
                        key,
                    });
                    Action::Collection(collection)
                }
                (2, 4) => Action::Epoch {
                    collection: CollectionId(*from.fixed()?),
                    number: from.uint_u32()?,
                    key: read_content_key(from)?,
                },
                (3, 2) => {
                    let mut collections = Vec::new();
                    for _ in 0..from.array_up_to(Self::MAX_COLLECTIONS)? {
                        from.array(6)?;
                        let mut collection = read_collection(from)?;
                        collection.floor = from.uint_u32()?;
                        for _ in 0..from.array_up_to(Self::MAX_EPOCHS)? {
                            from.array(4)?;
                            collection.epochs.push(Epoch {
                                number: from.uint_u32()?,
                                opened: from.uint()?,
                                orphan: match from.uint()? {
                                    0 => false,
                                    1 => true,
                                    _ => return Err(Error::Tampered),
                                },
                                key: read_content_key(from)?,
                            });
                        }
                        if collection.current().is_none() {
                            return Err(Error::Tampered);
                        }
                        collections.push(collection);
                    }
                    Action::Snapshot(collections)
                }
                (1..=3, _) => return Err(Error::Tampered),
                _ => return Err(Error::UnsupportedFormat("action in the ledger")),
            });
        }
        Ok(Self(actions))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Audience {
    /// Who holds this owner key.
    Owner(u64),
    /// Who holds a collection's key of an epoch.
    Members(CollectionId, u32),
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
    const MAX_PARTS: usize = 256;
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
                (0 | 1, _) => return Err(Error::Tampered),
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
    pub const MAX_LENGTH: usize = 1 << 20;
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

    /// The first entry of a vault: its root collection.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn first(secrets: &VaultSecrets, padded: bool, now: u64) -> Result<Self> {
        let actions = Actions(vec![Action::Collection(Collection::make(padded)?)]);
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
                Audience::Members(..) => None,
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
            parts.push(open_part(owner, &self.body.vault, &place, sealed)?);
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
}

fn part_place(sequence: u64, index: usize) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&sequence.to_be_bytes());
    // At most 256 parts.
    place[8..].copy_from_slice(&(index as u32).to_be_bytes());
    place
}

fn part_key(owner: &OwnerKey, vault: &VaultId) -> PartKey {
    PartKey::derive(
        owner.expose_secret(),
        Label::OWNER_PART,
        &[vault.as_bytes()],
    )
}

fn open_part(
    owner: &OwnerKey,
    vault: &VaultId,
    place: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let place = Place {
        kind: "ledger",
        vault,
        place,
    };
    message::open(part_key(owner, vault).expose_secret(), &place, sealed)
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
    let place = Place {
        kind: "ledger",
        vault: &vault,
        place: &place,
    };
    let sealed = message::seal(
        part_key(owner, &vault).expose_secret(),
        &place,
        &actions.encode(),
    )?;
    Ok((Audience::Owner(secrets.owners().len() as u64 - 1), sealed))
}

/// What the entries of a ledger add up to.
#[derive(Debug)]
pub struct Ledger {
    head: Position,
    /// The entries that were read, from the last snapshot to the head.
    chain: Vec<Position>,
    header: Option<Position>,
    generation: u64,
    collections: BTreeMap<CollectionId, Collection>,
    root: CollectionId,
    orphans: BTreeSet<RecordHash>,
    settled: BTreeSet<RecordHash>,
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
            chain: chain.iter().rev().map(|entry| entry.position).collect(),
            header: None,
            generation: 0,
            collections: BTreeMap::new(),
            root: CollectionId([0; 16]),
            orphans: BTreeSet::new(),
            settled: BTreeSet::new(),
        };
        for entry in chain.iter().rev() {
            ledger.apply(entry, secrets)?;
        }
        if ledger.collections.is_empty() {
            return Err(Error::Tampered);
        }
        for (position, orphan) in entries {
            // Whoever held the authority before could make orphans of the past for
            // ever, and with them keys of the epochs of today.
            let of_today = position.sequence >= authority_from;
            if of_today && !ledger.settled.contains(&position.hash) {
                ledger.adopt_keys(&orphan, secrets)?;
                ledger.orphans.insert(position.hash);
            }
        }

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
        for (index, action) in entry.actions(secrets)?.into_iter().enumerate() {
            match action {
                Action::Snapshot(collections)
                    if index == 0 && sequence > 0 && sequence.is_multiple_of(SNAPSHOT_EVERY) =>
                {
                    let ascending = collections.windows(2).all(|c| c[0].id < c[1].id);
                    if !ascending || !collections.iter().all(|c| c.is_in_order(sequence)) {
                        return Err(Error::Tampered);
                    }
                    self.collections = collections.into_iter().map(|c| (c.id, c)).collect();
                    self.root = self
                        .collections
                        .keys()
                        .next()
                        .copied()
                        .ok_or(Error::Tampered)?;
                }
                Action::Collection(mut collection)
                    if self.collections.is_empty() && sequence == 0 =>
                {
                    collection
                        .epochs
                        .iter_mut()
                        .for_each(|epoch| epoch.opened = sequence);
                    self.root = collection.id;
                    self.collections.insert(collection.id, collection);
                }
                Action::Epoch {
                    collection,
                    number,
                    key,
                } => {
                    let collection = self
                        .collections
                        .get_mut(&collection)
                        .ok_or(Error::Tampered)?;
                    let last = collection.current().ok_or(Error::Tampered)?.number;
                    if last.checked_add(1) != Some(number) {
                        return Err(Error::Tampered);
                    }
                    collection.insert(Epoch {
                        number,
                        opened: sequence,
                        orphan: false,
                        key,
                    });
                }
                Action::Snapshot(_) | Action::Collection(_) => return Err(Error::Tampered),
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

    /// An orphan's keys may have sealed objects; its writer never came to claim it.
    fn adopt_keys(&mut self, orphan: &Entry, secrets: &VaultSecrets) -> Result<()> {
        let actions = match orphan.actions(secrets) {
            Ok(actions) => actions,
            // Written under a root that never came into force.
            Err(Error::Stale(_) | Error::Tampered) => return Ok(()),
            Err(error) => return Err(error),
        };
        for action in actions {
            if let Action::Epoch {
                collection,
                number,
                key,
            } = action
                && let Some(collection) = self.collections.get_mut(&collection)
            {
                let opened = orphan.position.sequence;
                collection.insert(Epoch {
                    number,
                    opened,
                    orphan: true,
                    key,
                });
            }
        }
        Ok(())
    }

    /// The entry that follows: it names the header, opens new epochs if the root
    /// was rotated since, and holds a snapshot where one is due.
    ///
    /// # Errors
    /// `Randomness`, `LimitExceeded`.
    pub fn next(&self, header: &Header, secrets: &VaultSecrets, now: u64) -> Result<Entry> {
        let sequence = self.head.sequence + 1;
        if sequence > u32::MAX.into() {
            return Err(Error::LimitExceeded("entries of one ledger"));
        }
        let mut actions = Vec::new();
        let mut settled = Vec::new();
        if sequence.is_multiple_of(SNAPSHOT_EVERY) {
            actions.push(Action::Snapshot(
                self.collections.values().map(duplicate).collect(),
            ));
            settled.extend(self.orphans.iter().copied());
        }
        if self.generation < secrets.owners().len() as u64 - 1 {
            for collection in self.collections.values() {
                let last = collection.current().ok_or(Error::Tampered)?.number;
                let number = last
                    .checked_add(1)
                    .ok_or(Error::LimitExceeded("epochs of one collection"))?;
                actions.push(Action::Epoch {
                    collection: collection.id,
                    number,
                    key: ContentKey::make()?,
                });
            }
        }
        let body = Body {
            vault: secrets.vault(),
            sequence,
            written: now,
            previous: Some(self.head.hash),
            header: Some(header.position()),
            settled,
            parts: vec![owner_part(secrets, sequence, &Actions(actions))?],
        };
        Entry::write(body, secrets)
    }

    /// Whether the ledger is behind the header: it does not name it, or the
    /// epochs of its root key are not opened. Then an entry has to be appended.
    pub fn is_behind(&self, header: &Header, secrets: &VaultSecrets) -> bool {
        let named = match self.header {
            Some(named) => named == header.position(),
            // A vault's first header needs no entry of its own.
            None => header.position().sequence == 0,
        };
        !named || self.generation < secrets.owners().len() as u64 - 1
    }

    /// The newest entry.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Whether another entry than this one stands at its sequence, as far as the
    /// entries reach that were read.
    pub fn contradicts(&self, seen: Position) -> bool {
        self.chain
            .iter()
            .any(|position| position.sequence == seen.sequence && *position != seen)
    }

    /// The collection that holds the vault's objects.
    pub fn root(&self) -> &Collection {
        // `read` refuses a ledger without it.
        &self.collections[&self.root]
    }

    #[cfg(test)]
    pub(crate) fn of_one(collection: Collection, sequence: u64) -> Self {
        let hash = RecordHash([0; 32]);
        Self {
            head: Position { sequence, hash },
            chain: Vec::new(),
            header: None,
            generation: 0,
            root: collection.id,
            collections: [(collection.id, collection)].into(),
            orphans: BTreeSet::new(),
            settled: BTreeSet::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn root_mut(&mut self) -> &mut Collection {
        self.collections.get_mut(&self.root).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn set_head(&mut self, sequence: u64) {
        self.head.sequence = sequence;
    }

    pub(crate) fn collection(&self, id: &CollectionId) -> Option<&Collection> {
        self.collections.get(id)
    }
}

fn duplicate(collection: &Collection) -> Collection {
    Collection {
        id: collection.id,
        padded: collection.padded,
        name_key: collection.name_key.duplicate(),
        floor: collection.floor,
        epochs: collection
            .epochs
            .iter()
            .map(|e| Epoch {
                number: e.number,
                opened: e.opened,
                orphan: e.orphan,
                key: e.key.duplicate(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            assert!(!ledger.is_behind(vault.header(), &vault.secrets));
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
        let names = *vault.ledger().root().name_key.expose_secret();
        let mut expected = epochs(&vault.ledger());
        for sequence in 1..=140 {
            if [3, 63, 64, 65, 100, 128, 139].contains(&sequence) {
                vault.rotate(&[phrase(1)]);
                assert!(vault.ledger().is_behind(vault.header(), &vault.secrets));
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
            assert_eq!(*ledger.root().name_key.expose_secret(), names);
            assert!(!ledger.is_behind(vault.header(), &vault.secrets));
        }
        assert_eq!(Ledger::window_start(63), 0);
        assert_eq!(Ledger::window_start(64), 64);
        assert_eq!(Ledger::window_start(140), 128);
        // The epoch before each is closed by the entry that opened the next.
        let ledger = vault.ledger();
        for (at, epoch) in expected.iter().enumerate() {
            let closed = expected.get(at + 1).map(|next| next.1);
            assert_eq!(ledger.root().closed_at(epoch.0), closed);
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
        assert_eq!(ledger.root().closed_at(0), None, "an orphan closes nothing");
        let mut found: Vec<_> = epochs(&ledger).into_iter().skip(1).collect();
        found.sort();
        assert_eq!(
            found,
            [(1, 1, true, [0xa; 32]), (1, 1, true, [0xb; 32])],
            "both keys"
        );
        // A rotation ends it: whoever held the authority before could make such
        // orphans for ever.
        vault.rotate(&[phrase(1)]);
        let next = ledger.next(vault.header(), &vault.secrets, 9).unwrap();
        let mut all: Vec<&Entry> = base.iter().collect();
        all.extend([&next, &orphans[0], &orphans[1]]);
        let ledger = reads(&vault, next.position(), &all).unwrap();
        assert_eq!(epochs(&ledger).len(), 2);
        let current = ledger.root().current().unwrap();
        assert_eq!((current.number, current.orphan), (1, false));
        assert_eq!(ledger.root().closed_at(0), Some(2));
    }

    #[test]
    fn who_held_the_root_before_a_rotation_decides_nothing_after_it() {
        let mut vault = vault();
        vault.append();
        let (mut thief, before) = (VaultSecrets::make().unwrap(), vault.ledger());
        std::mem::swap(&mut thief, &mut vault.secrets);
        // The owner goes on with what the thief has not.
        let old_header = vault.header().clone();
        let after = thief.rotated().unwrap();
        let slot = crate::make_slot(&after, &phrase(1), crate::testing::cheap(), 1).unwrap();
        let head = vault.head().position();
        let header = old_header
            .rotated(&thief, &after, head, vec![slot], 1)
            .unwrap();
        let entry = before.next(&header, &after, 2).unwrap();
        let id = after.vault();
        let authorities = header.authorities();
        assert!(Entry::parse(entry.as_bytes(), &id, authorities).is_ok());
        // An entry of his in its place, or behind it, is none.
        let forged = before.next(&old_header, &thief, 3).unwrap();
        assert_eq!(
            Entry::parse(forged.as_bytes(), &id, authorities),
            Err(Error::Tampered)
        );
        // Before it the chain stands still, and an orphan of his adds no key.
        let mut all = vault.entries.clone();
        all.push(entry.clone());
        all.push(Entry::first(&thief, false, 4).unwrap());
        let ledger = Ledger::read(entry.position(), all, &header, &after).unwrap();
        assert!(ledger.orphans.is_empty());
        assert_eq!(epochs(&ledger).len(), 2);
        assert_eq!(ledger.root().current().unwrap().number, 1);
    }

    #[test]
    fn a_snapshot_settles_orphans() {
        let mut vault = vault();
        let orphan = after(&vault, vec![epoch(&vault.ledger(), 1, 0xa)]);
        while vault.entries.len() < 64 {
            vault.append();
        }
        let mut all: Vec<&Entry> = vault.entries.iter().collect();
        all.push(&orphan);
        let ledger = reads(&vault, vault.head().position(), &all).unwrap();
        let next = ledger.next(vault.header(), &vault.secrets, 9).unwrap();
        assert_eq!(next.position().sequence, 64);
        assert_eq!(next.body.settled, [orphan.position().hash]);
        for shown in [&[&next][..], &[&next, &orphan]] {
            let ledger = reads(&vault, next.position(), shown).unwrap();
            assert_eq!(epochs(&ledger)[1], (1, 1, true, [0xa; 32]));
            assert_eq!(epochs(&ledger).len(), 2, "once");
            assert_eq!(ledger.root().current().unwrap().number, 0);
            assert!(ledger.orphans.is_empty());
        }
    }

    #[test]
    fn an_orphan_of_a_root_that_never_came_is_passed_over() {
        let mut vault = vault();
        let secrets = vault.secrets.rotated().unwrap();
        let ledger = vault.ledger();
        let orphan = ledger.next(vault.header(), &secrets, 9).unwrap();
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
            vec![Action::Collection(Collection::make(false).unwrap())],
            vec![Action::Snapshot(vec![duplicate(ledger.root())])],
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
            let mut collection = duplicate(ledger.root());
            change(&mut collection);
            Action::Snapshot(vec![collection])
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
            vec![Action::Snapshot(vec![])],
            vec![snapshot(&|c| c.epochs.clear())],
            vec![snapshot(&|c| c.epochs[0].orphan = true)],
            vec![snapshot(&add(0, 3, false))],
            vec![snapshot(&add(0, 3, true))],
            vec![snapshot(&add(1, 64, false))],
            vec![Action::Snapshot(vec![
                duplicate(ledger.root()),
                duplicate(ledger.root()),
            ])],
        ] {
            assert_eq!(make(actions), Err(Error::Tampered));
        }
    }

    /// Parts of an entry with any plaintext, sealed by a holder of the owner key.
    fn with_plaintext(vault: &Vault, sequence: u64, plaintext: &[u8]) -> Result<()> {
        let id = vault.secrets.vault();
        let place = part_place(sequence, 0);
        let key = part_key(&vault.secrets.owners()[0], &id);
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
            &[0x81, 0x81, 4],
            &[0x81, 0x89, 4, 0, 0, 0, 0, 0, 0, 0, 0],
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
            ledger.next(vault.header(), &vault.secrets, 0),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn without_randomness_nothing_is_appended() {
        let vault = vault();
        let ledger = vault.ledger();
        scripted::with(Source::Broken, || {
            assert!(matches!(
                Entry::first(&vault.secrets, false, 0),
                Err(Error::Randomness)
            ));
            assert!(matches!(
                ledger.next(vault.header(), &vault.secrets, 0),
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
            prop_assert!(!ledger.is_behind(vault.header(), &vault.secrets));
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
