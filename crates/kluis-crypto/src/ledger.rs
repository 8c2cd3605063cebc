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
enum Action {
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
    const MAGIC: [u8; 4] = *b"KLE1";

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
        let body = Body::decode(body)?;
        if body.vault != *vault {
            return Err(Error::Tampered);
        }
        authorities.verify_at(body.sequence, domain::LEDGER, &[signed], signature)?;
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

    /// The actions of the owner's parts.
    fn actions(&self, secrets: &VaultSecrets) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
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
            let plaintext = open_part(owner, &self.body.vault, &place, sealed)?;
            actions.append(&mut Actions::decode(&plaintext)?.0);
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
) -> Result<zeroize::Zeroizing<Vec<u8>>> {
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
        let mut entries: BTreeMap<Position, Entry> = entries
            .into_iter()
            .map(|entry| (entry.position, entry))
            .collect();

        let mut chain = Vec::new();
        let mut next = head;
        loop {
            let entry = entries.remove(&next).ok_or(Error::Tampered)?;
            let previous = entry.body.previous;
            chain.push(entry);
            match previous {
                Some(hash) if next.sequence > Self::window_start(head.sequence) => {
                    next = Position {
                        sequence: next.sequence - 1,
                        hash,
                    };
                }
                _ => break,
            }
        }

        // The header was written by someone who had checked this entry: a chain
        // that does not hold it is an older or another one.
        let named = header.ledger();
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
            if !ledger.settled.contains(&position.hash) {
                ledger.adopt_keys(&orphan, secrets)?;
                ledger.orphans.insert(position.hash);
            }
        }

        match ledger.header {
            Some(named) if named.sequence > header.position().sequence => {
                Err(Error::Stale("vault header"))
            }
            Some(named)
                if named.sequence == header.position().sequence && named != header.position() =>
            {
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
        self.generation = self.generation.max(entry.generation());
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
