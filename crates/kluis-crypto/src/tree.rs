//! Trees of folders, and which keys apply where in them (docs/FORMAT.md,
//! sections 4 and 5): the whole vault for its owner, a shared folder or object for
//! others.

use crate::cbor::{Reader, Record, Writer};
use crate::collection::{Collection, ContentKey, Epoch, MessageKey, NameKey, ObjectKey};
use crate::kdf::Label;
use crate::layout::HEADER_LENGTH;
use crate::ledger::Action;
use crate::name::{FolderNames, StoredPath, StoredSegment, VaultPath, objects_prefix};
use crate::object::Opener;
use crate::signed::Writers;
use crate::{CollectionId, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A folder, or without one the whole vault: what it holds, and what comes.
    Folder(Option<VaultPath>),
    /// One object: what it is, and what is written in its place.
    Object(VaultPath),
    /// One write of an object, by its commitment.
    Version(VaultPath, [u8; 32]),
    /// Being a member of a group, with its name.
    Group(CollectionId, VaultPath),
}

impl Scope {
    const FOLDER: u64 = 0;
    const OBJECT: u64 = 1;
    const VERSION: u64 = 2;
    const GROUP: u64 = 3;

    /// Where it is; nowhere for the whole vault and for a group.
    pub fn path(&self) -> Option<&VaultPath> {
        match self {
            Self::Folder(folder) => folder.as_ref(),
            Self::Object(path) | Self::Version(path, _) => Some(path),
            Self::Group(..) => None,
        }
    }

    /// Its own name; empty for the whole vault.
    pub fn name(&self) -> &str {
        match self {
            Self::Group(_, name) => name.as_str(),
            _ => self.path().map_or("", VaultPath::name),
        }
    }

    /// Whether who has this reaches all of another, now and later.
    pub(crate) fn reaches(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Version(..)) | (Self::Version(..), _) => false,
            (Self::Group(own, _), Self::Group(other, _)) => own == other,
            (_, Self::Group(..)) | (Self::Group(..), _) => false,
            (Self::Object(own), Self::Object(other)) => own == other,
            (Self::Object(_), Self::Folder(_)) => false,
            (Self::Folder(folder), other) => {
                let below = other.path().and_then(|path| path.below(folder.as_ref()));
                below.is_some() || self == other
            }
        }
    }

    /// What of it a statement tells: its own name in the place of its path.
    pub(crate) fn own(&self) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.as_ref().map(VaultPath::own)),
            Self::Object(path) => Self::Object(path.own()),
            Self::Version(path, commitment) => Self::Version(path.own(), *commitment),
            Self::Group(..) => self.clone(),
        }
    }
}

/// `[0, folder or ""]`, `[1, path]`, `[2, path, commitment]` or `[3, group id, name]`
impl Record for Scope {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::Folder(folder) => to
                .array(2)
                .uint(Self::FOLDER)
                .text(mount_text(folder.as_ref())),
            Self::Object(path) => to.array(2).uint(Self::OBJECT).text(path.as_str()),
            Self::Version(path, commitment) => to
                .array(3)
                .uint(Self::VERSION)
                .text(path.as_str())
                .bytes(commitment),
            Self::Group(id, name) => to
                .array(3)
                .uint(Self::GROUP)
                .bytes(id.as_bytes())
                .text(name.as_str()),
        };
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let length = from.array_of_any(3)?;
        match (from.uint()?, length) {
            (Self::FOLDER, 2) => Ok(Self::Folder(read_mount(from)?)),
            (Self::OBJECT, 2) => Ok(Self::Object(read_path(from)?)),
            (Self::VERSION, 3) => Ok(Self::Version(read_path(from)?, *from.fixed()?)),
            (Self::GROUP, 3) => Ok(Self::Group(CollectionId(*from.fixed()?), read_name(from)?)),
            (Self::FOLDER..=Self::GROUP, _) => Err(Error::Tampered),
            _ => Err(Error::UnsupportedFormat("kind of a grant")),
        }
    }
}

/// What the keys of a tree's collections are keys of.
#[derive(Debug)]
enum Top {
    /// A folder with this name key.
    Folder(NameKey),
    /// One object, with its name: IKs.
    Object(VaultPath),
    /// One write of an object, its name and commitment: one MK.
    Version(VaultPath, [u8; 32]),
}

impl Top {
    fn duplicate(&self) -> Self {
        match self {
            Self::Folder(names) => Self::Folder(names.duplicate()),
            Self::Object(name) => Self::Object(name.clone()),
            Self::Version(name, commitment) => Self::Version(name.clone(), *commitment),
        }
    }
}

/// `[0, NK]`, `[1, name]` or `[2, name, commitment]`
impl Record for Top {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::Folder(names) => to.array(2).uint(Scope::FOLDER).bytes(names.expose_secret()),
            Self::Object(name) => to.array(2).uint(Scope::OBJECT).text(name.as_str()),
            Self::Version(name, commitment) => to
                .array(3)
                .uint(Scope::VERSION)
                .text(name.as_str())
                .bytes(commitment),
        };
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let length = from.array_of_any(3)?;
        match (from.uint()?, length) {
            (Scope::FOLDER, 2) => Ok(Self::Folder(read_name_key(from)?)),
            (Scope::OBJECT, 2) => Ok(Self::Object(read_name(from)?)),
            (Scope::VERSION, 3) => Ok(Self::Version(read_name(from)?, *from.fixed()?)),
            _ => Err(Error::Tampered),
        }
    }
}

/// Folders from one of them down, with the collections that are mounted there; or one
/// object, with the collections that its keys are of, all of them right at the top.
///
/// Paths are relative to its top, that of a single object is its own name. What lies at a path is written under the current
/// epoch of the collection that is mounted nearest above it, and under no other: a
/// mount is for ever, and there is no way back to the keys around it.
#[derive(Debug)]
pub struct Tree {
    /// Where its top lies in the store, below the vault's prefix.
    stored: String,
    top: Top,
    past: Past,
    /// The last ledger sequence that its reader has checked.
    head: u64,
    /// Whether its reader goes on to read the ledger, so that a stamp above `head`
    /// shows that something is hidden from him.
    follows: bool,
    /// Whether the owner may not know of its reader, who is told less then.
    unfiled: bool,
    collections: BTreeMap<CollectionId, Collection>,
    /// Those that can be written to, by their mounts.
    mounts: BTreeMap<Option<VaultPath>, CollectionId>,
}

/// A collection's keys for one object.
pub(crate) struct Held<'a> {
    pub(crate) collection: &'a Collection,
    way: Way,
}

/// From the keys of a collection to those of an object.
enum Way {
    /// Its path below the mount.
    Below(VaultPath),
    /// They are the object's.
    Object,
    /// They are those of one write of it.
    Version,
}

impl Held<'_> {
    /// The keys of one epoch: one of the chain, and those of orphans.
    pub(crate) fn of_epoch(&self, number: u32) -> impl Iterator<Item = &Epoch> {
        let epochs = self.collection.epochs.iter();
        epochs.filter(move |epoch| epoch.number == number)
    }

    /// None where only one write of it was shared.
    pub(crate) fn object_key(&self, epoch: &Epoch) -> Option<ObjectKey> {
        match &self.way {
            Way::Below(path) => Some(epoch.key.object_key(path)),
            Way::Object => Some(ObjectKey::init_with(|key| {
                *key = *epoch.key.expose_secret()
            })),
            Way::Version => None,
        }
    }

    pub(crate) fn message_key(&self, epoch: &Epoch, salt: &[u8]) -> MessageKey {
        match self.object_key(epoch) {
            Some(key) => key.message_key(salt),
            None => MessageKey::init_with(|key| *key = *epoch.key.expose_secret()),
        }
    }
}

impl Tree {
    pub(crate) const MAX_COLLECTIONS: usize = 65_536;
    pub(crate) const MAX_EPOCHS: usize = 65_536;
    pub(crate) const MAX_STORED: usize = 1_024;

    pub(crate) fn new(stored: String, names: NameKey) -> Self {
        Self::with_top(stored, Top::Folder(names))
    }

    fn with_top(stored: String, top: Top) -> Self {
        Self {
            stored,
            top,
            past: Past::Shared,
            head: 0,
            follows: true,
            unfiled: false,
            collections: BTreeMap::new(),
            mounts: BTreeMap::new(),
        }
    }

    /// The tree of a vault's owner, without its collections.
    pub(crate) fn of_vault(names: NameKey) -> Self {
        Self::new(objects_prefix().to_owned(), names)
    }

    /// # Errors
    /// `Tampered` for a second collection of one id, or at one mount.
    pub(crate) fn insert(&mut self, collection: Collection) -> Result<()> {
        if self.collections.contains_key(&collection.id) {
            return Err(Error::Tampered);
        }
        if collection.current().is_some()
            && self
                .mounts
                .insert(collection.mount.clone(), collection.id)
                .is_some()
        {
            return Err(Error::Tampered);
        }
        self.collections.insert(collection.id, collection);
        Ok(())
    }

    pub(crate) fn set_head(&mut self, head: u64) {
        self.head = head;
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Whoever has a link does not read the ledger.
    pub(crate) fn set_unfollowed(&mut self) {
        self.follows = false;
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.follows
    }

    pub(crate) fn set_unfiled(&mut self, unfiled: bool) {
        self.unfiled = unfiled;
    }

    pub(crate) fn is_unfiled(&self) -> bool {
        self.unfiled
    }

    #[cfg(test)]
    pub(crate) fn name_key(&self) -> &NameKey {
        match &self.top {
            Top::Folder(names) => names,
            _ => panic!("the tree of one object"),
        }
    }

    pub(crate) fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    pub(crate) fn get(&self, id: &CollectionId) -> Option<&Collection> {
        self.collections.get(id)
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self {
            stored: self.stored.clone(),
            top: self.top.duplicate(),
            past: self.past,
            head: self.head,
            follows: self.follows,
            unfiled: self.unfiled,
            collections: self
                .collections
                .iter()
                .map(|(id, collection)| (*id, collection.duplicate()))
                .collect(),
            mounts: self.mounts.clone(),
        }
    }

    /// Collections that are mounted below this one.
    pub(crate) fn nested<'a>(
        &'a self,
        collection: &'a Collection,
    ) -> impl Iterator<Item = &'a Collection> {
        self.written().filter(|other| encloses(collection, other))
    }

    /// Collections that this one is mounted below.
    pub(crate) fn around<'a>(
        &'a self,
        collection: &'a Collection,
    ) -> impl Iterator<Item = &'a Collection> {
        self.written().filter(|other| encloses(other, collection))
    }

    /// Collections that are or were written to in this tree, and not taken over.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Collection> {
        self.mounts
            .values()
            .filter_map(|id| self.collections.get(id))
    }

    /// Goes on by what the entry with this sequence decides about collections.
    ///
    /// # Errors
    /// `Tampered` for what contradicts the state before.
    pub(crate) fn apply(&mut self, action: Action, sequence: u64) -> Result<()> {
        match action {
            Action::Collection(None, mut collection) => {
                let mount = collection.mount.as_ref().ok_or(Error::Tampered)?;
                if self.mounted(Some(mount)).is_some() {
                    return Err(Error::Tampered);
                }
                for epoch in &mut collection.epochs {
                    epoch.opened = sequence;
                }
                self.insert(collection)
            }
            Action::Epoch {
                collection,
                number,
                key,
            } => {
                let collection = self.get_mut(&collection).ok_or(Error::Tampered)?;
                collection.open(number, sequence, key)
            }
            Action::Floor { collection, floor } => {
                let collection = self.get_mut(&collection).ok_or(Error::Tampered)?;
                let last = collection.last().ok_or(Error::Tampered)?.number;
                if floor < collection.floor || floor > last {
                    return Err(Error::Tampered);
                }
                collection.floor = floor;
                Ok(())
            }
            Action::Lease {
                collection,
                seconds,
            } => {
                let collection = self.get_mut(&collection).ok_or(Error::Tampered)?;
                collection.lease = seconds;
                Ok(())
            }
            Action::Writers {
                collection,
                added,
                removed,
            } => {
                let collection = self.get_mut(&collection).ok_or(Error::Tampered)?;
                let epoch = collection.last().ok_or(Error::Tampered)?.number;
                let writers = Arc::make_mut(&mut collection.writers);
                for key in added {
                    writers.add(key, epoch)?;
                }
                for key in removed {
                    writers.remove(key, epoch)?;
                }
                Ok(())
            }
            _ => Err(Error::Tampered),
        }
    }

    /// Nothing more is read or written since this ledger sequence.
    pub(crate) fn close(&mut self, sequence: u64) {
        for collection in self.collections.values_mut() {
            collection.closed = Some(sequence);
        }
    }

    pub(crate) fn get_mut(&mut self, id: &CollectionId) -> Option<&mut Collection> {
        self.collections.get_mut(id)
    }

    /// The collection that begins at this folder.
    pub fn mounted(&self, folder: Option<&VaultPath>) -> Option<&Collection> {
        self.collections.get(self.mounts.get(&folder.cloned())?)
    }

    /// The collections of a folder, or of the whole tree, that take something below
    /// their current epoch, and that epoch. Empty for a folder that is no collection of
    /// its own.
    pub fn floors_to_raise(&self, folder: Option<&VaultPath>) -> Vec<(CollectionId, u32)> {
        let Some(own) = self.mounted(folder) else {
            return Vec::new();
        };
        let behind = |c: &Collection| {
            let current = c.current()?.number;
            (c.floor < current).then_some((c.id, current))
        };
        self.nested(own).chain([own]).filter_map(behind).collect()
    }

    /// The collections that can be written to and are mounted on the way to an
    /// object, from the top down.
    fn on_the_way<'a, 'p>(
        &'a self,
        path: &'p VaultPath,
    ) -> impl Iterator<Item = &'a Collection> + use<'a, 'p> {
        let at = |mount: &Option<VaultPath>| self.collections.get(self.mounts.get(mount)?);
        let folders = path.folders().map(Some);
        std::iter::once(None)
            .chain(folders)
            .filter_map(move |mount| at(&mount))
    }

    /// The collection that is mounted nearest above a folder.
    pub(crate) fn written_at(&self, folder: &VaultPath) -> Option<&Collection> {
        self.on_the_way(folder).last()
    }

    /// The collection that a new object belongs to.
    ///
    /// # Errors
    /// `AccessDenied` where the key that is in force is not at hand.
    pub(crate) fn writer(&self, path: &VaultPath) -> Result<(Held<'_>, &Epoch)> {
        let no_key = || Error::AccessDenied("no key that may be written with there is at hand");
        let collection = self.nearest(path).ok_or_else(no_key)?;
        let epoch = collection.current().ok_or_else(no_key)?;
        let way = self.way(collection, path).ok_or_else(no_key)?;
        if let Way::Version = way {
            return Err(Error::AccessDenied(
                "one version was shared, and nothing can be written",
            ));
        }
        Ok((Held { collection, way }, epoch))
    }

    /// The collection with the nearest mount above an object.
    pub(crate) fn nearest(&self, path: &VaultPath) -> Option<&Collection> {
        self.on_the_way(path).last()
    }

    fn way(&self, collection: &Collection, path: &VaultPath) -> Option<Way> {
        match &self.top {
            Top::Folder(_) => path.below(collection.mount.as_ref()).map(Way::Below),
            Top::Object(name) => (name == path).then_some(Way::Object),
            Top::Version(name, _) => (name == path).then_some(Way::Version),
        }
    }

    /// The keys that are held of a collection, for an object below its mount.
    pub(crate) fn held(&self, id: &CollectionId, path: &VaultPath) -> Option<Held<'_>> {
        let collection = self.collections.get(id)?;
        let way = self.way(collection, path)?;
        Some(Held { collection, way })
    }

    /// The name of the one object that it is the tree of.
    pub fn object(&self) -> Option<&VaultPath> {
        match &self.top {
            Top::Folder(_) => None,
            Top::Object(name) | Top::Version(name, _) => Some(name),
        }
    }

    /// The commitment of the one write that it is the tree of.
    pub(crate) fn version(&self) -> Option<&[u8; 32]> {
        match &self.top {
            Top::Version(_, commitment) => Some(commitment),
            _ => None,
        }
    }

    /// Whether it is a tree of what a statement says that was shared.
    pub(crate) fn is_of(&self, scope: &Scope) -> bool {
        match (&self.top, scope) {
            (Top::Folder(_), Scope::Folder(_)) => true,
            (Top::Object(name), Scope::Object(own)) => name == own,
            (Top::Version(name, commitment), Scope::Version(own, stated)) => {
                name == own && commitment == stated
            }
            _ => false,
        }
    }

    /// The sequence of the entry since which nothing is written at this path under
    /// an epoch of this collection: another epoch was opened, or a folder on the
    /// way mounted apart.
    pub(crate) fn closed_at(
        &self,
        collection: &Collection,
        epoch: &Epoch,
        path: &VaultPath,
    ) -> Option<u64> {
        let depth_of_it = depth(collection.mount.as_ref());
        let apart = self
            .on_the_way(path)
            .filter(|c| depth(c.mount.as_ref()) > depth_of_it)
            .map(Collection::opened);
        apart.chain(collection.closed_at(epoch)).min()
    }

    /// Whether the owner refuses this epoch at this path.
    pub(crate) fn is_below_floor(
        &self,
        collection: &Collection,
        epoch: &Epoch,
        path: &VaultPath,
    ) -> bool {
        let depth_of_it = depth(collection.mount.as_ref());
        self.on_the_way(path)
            .filter(|c| depth(c.mount.as_ref()) >= depth_of_it)
            .any(|c| {
                if c.id == collection.id {
                    c.is_refused(epoch)
                } else {
                    c.floor > 0
                }
            })
    }

    /// Whether keys of the past were held back, so that what they would open is no
    /// sign of tampering.
    pub(crate) fn is_partial(&self) -> bool {
        self.past == Past::HeldBack
    }

    /// Whether a writer may go on who knows nothing of the owner that is newer than an
    /// entry of this time, both times in microseconds since 1970.
    ///
    /// # Errors
    /// `AccessDenied` where nothing can be written there, or the lease is over.
    pub fn check_lease(&self, path: &VaultPath, newest: u64, now: u64) -> Result<()> {
        let lease = self.writer(path)?.0.collection.lease_ends(newest);
        if lease.is_some_and(|end| now > end) {
            return Err(Error::AccessDenied(
                "the owner's newest decision that the store shows is older than a writer may go by here; try again when a client of the owner has renewed it",
            ));
        }
        Ok(())
    }

    /// Where writers keep to a lease, and to how many seconds: folders from the top of
    /// the tree down.
    pub fn leases(&self) -> impl Iterator<Item = (Option<&VaultPath>, u32)> {
        self.written()
            .filter_map(|collection| Some((collection.mount.as_ref(), collection.lease?)))
    }

    /// Whether an object with this header was written under the epoch that is written
    /// under at this path now.
    ///
    /// # Errors
    /// `AccessDenied` where nothing can be written there.
    pub fn is_of_now(&self, path: &VaultPath, header: &[u8; HEADER_LENGTH]) -> Result<bool> {
        let (held, epoch) = self.writer(path)?;
        let epoch = epoch.number.to_be_bytes();
        Ok(header[8..12] == epoch && header[24..40] == *held.collection.id.as_bytes())
    }

    /// Whether new objects at this path are padded.
    ///
    /// # Errors
    /// `AccessDenied` where nothing can be written there.
    pub fn is_padded(&self, path: &VaultPath) -> Result<bool> {
        Ok(self.writer(path)?.0.collection.padded)
    }

    /// Whether any object is padded, so that a listing does not tell sizes.
    pub fn has_padding(&self) -> bool {
        self.collections.values().any(Collection::is_padded)
    }

    /// Where an object, or a folder, lies in the store.
    ///
    /// # Errors
    /// `InvalidInput` where the stored path is longer than 1,024 bytes; `NotFound` for
    /// another than the one object that was shared.
    pub fn store_path(&self, path: &VaultPath) -> Result<StoredPath> {
        if self.object() == Some(path) {
            return Ok(StoredPath {
                path: self.stored.clone(),
                long_names: Vec::new(),
            });
        }
        let mut names = self.names(None).ok_or(Error::NotFound("object"))?;
        let mut stored = StoredPath {
            path: self.stored.clone(),
            long_names: Vec::new(),
        };
        let mut segments = path.segments().peekable();
        while let Some(segment) = segments.next() {
            let StoredSegment { name, long_name } = names.encrypt(segment);
            stored.path.push('/');
            stored.path.push_str(&name);
            if let Some(record) = long_name {
                stored
                    .long_names
                    .push((format!("{}~", stored.path), record));
            }
            if segments.peek().is_some() {
                names = names.child(segment);
            }
        }
        // The object beside a long last segment has the longest path.
        let beside = stored.long_names.last().map_or(0, |(path, _)| path.len());
        if stored.path.len().max(beside) > Self::MAX_STORED {
            return Err(Error::invalid(
                "the path is too long: encrypted it takes more than the 1,024 bytes that stores allow; use shorter or fewer folders",
            ));
        }
        Ok(stored)
    }

    /// Where its top lies in the store.
    pub fn top(&self) -> &str {
        &self.stored
    }

    /// The names of a folder; none in the tree of one object.
    pub fn names(&self, folder: Option<&VaultPath>) -> Option<FolderNames> {
        self.folder_names(folder).map(FolderNames::new)
    }

    fn folder_names(&self, folder: Option<&VaultPath>) -> Option<NameKey> {
        let Top::Folder(names) = &self.top else {
            return None;
        };
        let mut key = names.duplicate();
        for segment in folder.into_iter().flat_map(VaultPath::segments) {
            key = NameKey::derive(key.expose_secret(), Label::DIR, &[segment.as_bytes()]);
        }
        Some(key)
    }

    /// What somebody gets who may read a mounted folder, or one object: its keys, those
    /// of what is mounted below, and those that it took over from the collections
    /// around it; or only those of epochs that were opened by the entry `since` or later.
    ///
    /// # Errors
    /// `InvalidInput` for a folder that is not mounted, and for a version: see
    /// [`of_version`](Self::of_version).
    pub(crate) fn part(&self, scope: &Scope, since: Option<u64>) -> Result<Self> {
        let no_keys = || Error::invalid("only what has keys of its own can be shared");
        let (own, top) = match scope {
            Scope::Folder(folder) => (
                self.mounted(folder.as_ref()),
                self.folder_names(folder.as_ref()).map(Top::Folder),
            ),
            Scope::Object(path) => (self.nearest(path), Some(Top::Object(path.own()))),
            Scope::Version(..) | Scope::Group(..) => (None, None),
        };
        let (own, top) = own.zip(top).ok_or_else(no_keys)?;
        let stored = match scope.path() {
            Some(path) => self.store_path(path)?.path,
            None => self.stored.clone(),
        };
        let mut tree = Self::with_top(stored, top);
        tree.head = self.head;
        if since.is_some() {
            tree.past = Past::HeldBack;
        }
        for collection in self.collections.values() {
            let Some(mut part) = self.part_of(collection, own, scope) else {
                continue;
            };
            part.epochs.retain(|epoch| {
                !collection.is_refused(epoch) && since.is_none_or(|since| epoch.opened >= since)
            });
            tree.insert_some(part)?;
        }
        Ok(tree)
    }

    /// What somebody gets of it to whom its holder gives it on.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub(crate) fn part_given_on(&self, scope: &Scope) -> Result<Self> {
        let mut part = self.part(scope, None)?;
        part.past = self.past;
        Ok(part)
    }

    /// Takes in what is left of a collection, if anything is, with the writers of that.
    fn insert_some(&mut self, mut part: Collection) -> Result<()> {
        let (Some(first), Some(last)) = (part.epochs.first(), part.epochs.last()) else {
            return Ok(());
        };
        let within = part.writers.within(first.number..=last.number);
        if within != *part.writers {
            part.writers = Arc::new(within);
        }
        self.insert(part)
    }

    /// A collection's keys for a folder or object whose own collection is another, or
    /// this; none if it reaches nothing there.
    fn part_of(
        &self,
        collection: &Collection,
        own: &Collection,
        scope: &Scope,
    ) -> Option<Collection> {
        let mount = collection.mount.as_ref();
        let part = match scope {
            Scope::Folder(folder) if mount == folder.as_ref() => collection.duplicate(),
            Scope::Folder(folder) => {
                if let Some(mount) = mount.and_then(|mount| mount.below(folder.as_ref())) {
                    return Some(Collection {
                        mount: Some(mount),
                        ..collection.duplicate()
                    });
                }
                let way = folder.as_ref()?.below(mount)?;
                self.taken_over(collection, scope, |key| key.folder(way.segments()))?
            }
            Scope::Object(path) => {
                let way = path.below(mount)?;
                let key = |key: &ContentKey| key.object_key(&way).into_content_key();
                if depth(mount) < depth(own.mount.as_ref()) {
                    self.taken_over(collection, scope, key)?
                } else {
                    with_keys(collection, collection.epochs.iter(), key)
                }
            }
            Scope::Version(..) | Scope::Group(..) => return None,
        };
        Some(Collection {
            mount: None,
            ..part
        })
    }

    /// Collections that are mounted in this one, on the way to a folder or object, or
    /// right there.
    fn between<'a>(
        &'a self,
        collection: &'a Collection,
        scope: &'a Scope,
    ) -> impl Iterator<Item = &'a Collection> {
        let leads_there = move |c: &&Collection| match scope {
            Scope::Folder(Some(folder)) if c.mount.as_ref() == Some(folder) => true,
            scope => scope
                .path()
                .is_some_and(|path| path.below(c.mount.as_ref()).is_some()),
        };
        let depth_of_it = depth(collection.mount.as_ref());
        self.written()
            .filter(move |c| depth(c.mount.as_ref()) > depth_of_it)
            .filter(leads_there)
    }

    /// A collection's keys for what was mounted apart in it, or lies in what was; none
    /// if a floor refuses everything that was taken over from it.
    fn taken_over(
        &self,
        collection: &Collection,
        scope: &Scope,
        key: impl Fn(&ContentKey) -> ContentKey,
    ) -> Option<Collection> {
        if self.between(collection, scope).any(|c| c.floor > 0) {
            return None;
        }
        let closed = self.between(collection, scope).map(Collection::opened);
        let closed = closed.chain(collection.closed).min();
        // What was opened later never sealed anything there.
        let before = |epoch: &&Epoch| closed.is_none_or(|closed| epoch.opened < closed);
        Some(Collection {
            floor: 0,
            closed,
            ..with_keys(collection, collection.epochs.iter().filter(before), key)
        })
    }

    /// What somebody gets who may read one write of an object, as its header has it.
    ///
    /// # Errors
    /// As [`store_path`](Self::store_path); `Tampered` for a write of another tree.
    pub(crate) fn of_version(&self, path: &VaultPath, write: &Opener) -> Result<Self> {
        let (id, key) = write.key();
        let collection = self.get(id).ok_or(Error::Tampered)?;
        let top = Top::Version(path.own(), *write.commitment());
        let mut tree = Self::with_top(self.store_path(path)?.path, top);
        tree.head = self.head;
        tree.insert(Collection {
            id: *id,
            mount: None,
            padded: collection.padded,
            floor: 0,
            closed: None,
            epochs: vec![Epoch {
                number: write.epoch(),
                opened: 0,
                orphan: false,
                key: ContentKey::init_with(|out| *out = *key.expose_secret()),
            }],
            writers: Arc::new(collection.writers.within(write.epoch()..=write.epoch())),
            lease: None,
        })?;
        Ok(tree)
    }
}

/// A collection with some of its epochs, and other keys in them.
fn with_keys<'a>(
    collection: &Collection,
    epochs: impl Iterator<Item = &'a Epoch>,
    key: impl Fn(&ContentKey) -> ContentKey,
) -> Collection {
    let epochs = epochs.map(|epoch| Epoch {
        key: key(&epoch.key),
        ..*epoch
    });
    Collection {
        mount: collection.mount.clone(),
        epochs: epochs.collect(),
        writers: Arc::clone(&collection.writers),
        ..*collection
    }
}

fn encloses(outer: &Collection, inner: &Collection) -> bool {
    let below = inner
        .mount
        .as_ref()
        .map(|mount| mount.below(outer.mount.as_ref()));
    outer.id != inner.id && below.flatten().is_some()
}

/// Whether a share reaches what was written before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Everything that the folder holds.
    Shared,
    /// What is written from now on.
    HeldBack,
}

fn depth(mount: Option<&VaultPath>) -> usize {
    mount.map_or(0, |mount| mount.segments().count())
}

/// Options of a collection: bit 0 padded.
pub(crate) fn write_options(collection: &Collection, to: &mut Writer) {
    to.uint(collection.padded.into());
}

pub(crate) fn read_options(from: &mut Reader<'_>) -> Result<bool> {
    match from.uint()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::UnsupportedFormat("option of a collection")),
    }
}

pub(crate) fn read_mount(from: &mut Reader<'_>) -> Result<Option<VaultPath>> {
    match from.text(VaultPath::MAX_MOUNT)? {
        "" => Ok(None),
        mount => VaultPath::parse(mount)
            .map(Some)
            .map_err(|_| Error::Tampered),
    }
}

fn read_path(from: &mut Reader<'_>) -> Result<VaultPath> {
    read_mount(from)?.ok_or(Error::Tampered)
}

pub(crate) fn read_name(from: &mut Reader<'_>) -> Result<VaultPath> {
    let name = read_path(from)?;
    if name.segments().count() == 1 {
        Ok(name)
    } else {
        Err(Error::Tampered)
    }
}

pub(crate) fn mount_text(mount: Option<&VaultPath>) -> &str {
    mount.map_or("", VaultPath::as_str)
}

pub(crate) fn read_content_key(from: &mut Reader<'_>) -> Result<ContentKey> {
    let key = from.fixed()?;
    Ok(ContentKey::init_with(|out| *out = *key))
}

pub(crate) fn read_name_key(from: &mut Reader<'_>) -> Result<NameKey> {
    let key = from.fixed()?;
    Ok(NameKey::init_with(|out| *out = *key))
}

/// `[id, mount, options, floor, closed, [[epoch, opened, orphan, CK], …], [[signing key,
/// from, until], …], lease]`
pub(crate) fn write_collection(collection: &Collection, to: &mut Writer) {
    to.array(8)
        .bytes(collection.id.as_bytes())
        .text(mount_text(collection.mount.as_ref()));
    write_options(collection, to);
    to.uint(collection.floor.into());
    match collection.closed {
        Some(closed) => to.array(1).uint(closed),
        None => to.array(0),
    };
    to.array(collection.epochs.len());
    for epoch in &collection.epochs {
        to.array(4).uint(epoch.number.into()).uint(epoch.opened);
        to.uint(epoch.orphan.into())
            .bytes(epoch.key.expose_secret());
    }
    to.array(collection.writers.0.len());
    for ((key, from), until) in &collection.writers.0 {
        to.array(3).bytes(key).uint((*from).into());
        to.uint(until.unwrap_or(0).into());
    }
    to.uint(collection.lease.unwrap_or(0).into());
}

pub(crate) fn read_collection(from: &mut Reader<'_>) -> Result<Collection> {
    from.array(8)?;
    let id = CollectionId(*from.fixed()?);
    let mount = read_mount(from)?;
    let padded = read_options(from)?;
    let floor = from.uint_u32()?;
    let closed = match from.array_of_any(1)? {
        0 => None,
        _ => Some(from.uint()?),
    };
    let mut epochs = Vec::new();
    for _ in 0..from.array_up_to(Tree::MAX_EPOCHS)? {
        from.array(4)?;
        epochs.push(Epoch {
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
    if epochs.is_empty() {
        return Err(Error::Tampered);
    }
    let mut writers = Writers::default();
    for _ in 0..from.array_up_to(Writers::MAX)? {
        from.array(3)?;
        let (key, since) = (*from.fixed()?, from.uint_u32()?);
        let until = from.uint_u32()?;
        // Out of order, or one twice, is not what comes out when it is written again.
        writers.0.insert((key, since), (until > 0).then_some(until));
    }
    if !writers.is_sound() {
        return Err(Error::Tampered);
    }
    let lease = from.uint_u32()?;
    Ok(Collection {
        id,
        mount,
        padded,
        floor,
        closed,
        epochs,
        writers: Arc::new(writers),
        lease: (lease > 0).then_some(lease),
    })
}

/// `[stored path of the top, top, past held back, [collection, …]]`, collections in ascending
/// order of their ids.
impl Record for Tree {
    fn write(&self, to: &mut Writer) {
        to.array(4).text(&self.stored);
        self.top.write(to);
        to.uint((self.past == Past::HeldBack).into())
            .array(self.collections.len());
        for collection in self.collections.values() {
            write_collection(collection, to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(4)?;
        let stored = from.text(Self::MAX_STORED)?;
        // It becomes a path in the store: what a stored segment can hold, and
        // nothing else.
        let (top, below) = stored.split_once('/').unwrap_or((stored, "0"));
        let is_stored = |segment: &str| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'v' | b'~'))
        };
        if top != objects_prefix() || !below.split('/').all(is_stored) {
            return Err(Error::Tampered);
        }
        let mut tree = Self::with_top(stored.to_owned(), Top::read(from)?);
        tree.past = match from.uint()? {
            0 => Past::Shared,
            1 => Past::HeldBack,
            _ => return Err(Error::Tampered),
        };
        for _ in 0..from.array_up_to(Self::MAX_COLLECTIONS)? {
            let collection = read_collection(from)?;
            if !collection.is_in_order(u64::MAX) {
                return Err(Error::Tampered);
            }
            // Nothing is mounted in an object.
            if tree.object().is_some() && collection.mount.is_some() {
                return Err(Error::Tampered);
            }
            tree.insert(collection)?;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::put;
    use crate::testing::{Vault, phrase};
    use crate::{Metadata, Suite};

    fn collection(id: u8, mount: &str) -> Collection {
        let mount = (!mount.is_empty()).then(|| VaultPath::parse(mount).unwrap());
        let key = ContentKey::init_with(|key| *key = [id; 32]);
        Collection::with_key(CollectionId([id; 16]), mount, false, 1, key)
    }

    /// A record with any stored path, and collections in any order.
    fn record(stored: &str, collections: &[Collection]) -> Result<Tree> {
        let mut to = Writer::new();
        to.array(4).text(stored);
        Top::Folder(NameKey::init_with(|key| *key = [7; 32])).write(&mut to);
        to.uint(0);
        to.array(collections.len());
        for collection in collections {
            write_collection(collection, &mut to);
        }
        Tree::decode(&to.finish())
    }

    #[test]
    fn trees_that_nobody_writes_are_refused() {
        let [top, a] = [collection(1, ""), collection(2, "a")];
        let two = [top.duplicate(), a.duplicate()];
        let tree = record("o/0v~/~a", &two).unwrap();
        assert_eq!(
            Tree::decode(&tree.encode()).unwrap().encode(),
            tree.encode()
        );
        for stored in [
            "",
            "/",
            "o/",
            "o//a",
            "/o",
            "O",
            "p",
            "k/g",
            "kluis.vault",
            "o/../k",
            "o/.",
            "o/A",
            "o/w",
            "o/a/",
            "o/a b",
            "o/é",
            "oo",
            "o\\a",
        ] {
            assert!(record(stored, &two).is_err(), "{stored}");
        }
        let mut closed = collection(3, "");
        closed.closed = Some(1);
        for (good, collections) in [
            (true, vec![top.duplicate(), closed]),
            (false, vec![a.duplicate(), top.duplicate()]),
            (false, vec![top.duplicate(), top.duplicate()]),
            (false, vec![top.duplicate(), collection(3, "")]),
            (false, vec![a.duplicate(), collection(3, "a")]),
            (
                false,
                vec![Collection {
                    epochs: Vec::new(),
                    ..top.duplicate()
                }],
            ),
        ] {
            assert_eq!(record("o", &collections).is_ok(), good, "{collections:?}");
        }
    }

    #[test]
    fn g02_l13_a_version_is_opened_by_one_key_under_one_commitment() {
        let vault = Vault::make(false, &phrase(1));
        let (id, ledger) = (vault.secrets.vault(), vault.ledger());
        let path = |text: &str| VaultPath::parse(text).unwrap();
        let (object, _) = put(&vault, "a/b", 7, &Metadata::default(), b"x", true);
        let header = object.first_chunk().unwrap();
        let open = |tree: &Tree, at: &str| Opener::new(header, &id, Suite::V1, tree, &path(at));
        let write = open(ledger.tree(), "a/b").unwrap();
        let tree = ledger.tree().of_version(&path("a/b"), &write).unwrap();
        let tree = Tree::decode(&tree.encode()).unwrap();
        let refused = |tree: &Tree, at: &str| open(tree, at).unwrap_err();
        let mut here = tree.duplicate();
        here.set_head(ledger.head().sequence);
        assert!(open(&here, "b").is_ok());
        for at in ["a", "a/b", "c", "b/b"] {
            assert_eq!(refused(&here, at), Error::Tampered, "{at}");
            assert!(here.store_path(&path(at)).is_err(), "{at}");
        }
        assert!(matches!(
            here.writer(&path("b")),
            Err(Error::AccessDenied(_))
        ));
        // Whoever grants cannot give somebody another key for the same commitment.
        for at in 0..32 {
            let mut other = here.duplicate();
            let collection = other.collections.values_mut().next().unwrap();
            let key = *collection.epochs[0].key.expose_secret();
            collection.epochs[0].key = ContentKey::init_with(|out| {
                *out = key;
                out[at] ^= 1;
            });
            assert_eq!(refused(&other, "b"), Error::Tampered, "{at}");
            let mut other = here.duplicate();
            if let Top::Version(_, commitment) = &mut other.top {
                commitment[at] ^= 1;
            }
            assert!(matches!(refused(&other, "b"), Error::NotFound(_)), "{at}");
        }
        // The next write is another version, and no tampering.
        let (next, _) = put(&vault, "a/b", 8, &Metadata::default(), b"x", true);
        let next = next.first_chunk().unwrap();
        let found = Opener::new(next, &id, Suite::V1, &here, &path("b"));
        assert!(matches!(found, Err(Error::NotFound(_))));
    }

    #[test]
    fn the_tree_of_one_object_has_nothing_mounted_in_it() {
        let make = |top: &dyn Fn(&mut Writer), collections: &[Collection]| {
            let mut to = Writer::new();
            to.array(4).text("o/a");
            top(&mut to);
            to.uint(0).array(collections.len());
            for collection in collections {
                write_collection(collection, &mut to);
            }
            Tree::decode(&to.finish()).map(|tree| tree.encode())
        };
        let object = |name: &'static str| {
            move |to: &mut Writer| {
                to.array(2).uint(1).text(name);
            }
        };
        let version = |length: usize| {
            move |to: &mut Writer| {
                to.array(3).uint(2).text("x").bytes(&vec![1; length]);
            }
        };
        assert!(make(&object("x"), &[collection(1, "")]).is_ok());
        assert!(make(&version(32), &[collection(1, "")]).is_ok());
        for (top, mount) in [
            (&object("x") as &dyn Fn(&mut Writer), "a"),
            (&object(""), ""),
            (&object("a/x"), ""),
            (&object(".."), ""),
            (&version(31), ""),
            (&version(0), ""),
        ] {
            assert!(make(top, &[collection(1, mount)]).is_err());
        }
    }

    #[test]
    fn l01_below_a_mount_nothing_is_written_with_keys_of_above() {
        let mut tree = record("o", &[collection(1, ""), collection(2, "a")]).unwrap();
        let path = |text: &str| VaultPath::parse(text).unwrap();
        let id = |tree: &Tree, text: &str| tree.writer(&path(text)).map(|w| w.0.collection.id.0[0]);
        assert_eq!((id(&tree, "x"), id(&tree, "a")), (Ok(1), Ok(1)));
        assert_eq!((id(&tree, "a/x"), id(&tree, "a/b/x")), (Ok(2), Ok(2)));
        tree.get_mut(&CollectionId([2; 16])).unwrap().closed = Some(5);
        for lost in ["a/x", "a/b/x"] {
            assert!(matches!(id(&tree, lost), Err(Error::AccessDenied(_))));
            assert!(tree.is_padded(&path(lost)).is_err());
        }
        assert_eq!(id(&tree, "ab/x"), Ok(1));
    }
}
