//! Trees of folders, and which keys apply where in them (docs/FORMAT.md,
//! sections 4 and 5): the whole vault for its owner, a shared folder for others.

use crate::cbor::{Reader, Record, Writer};
use crate::collection::{Collection, ContentKey, Epoch, NameKey, ObjectKey};
use crate::kdf::Label;
use crate::ledger::Action;
use crate::name::{FolderNames, StoredPath, StoredSegment, VaultPath, objects_prefix};
use crate::signed::Writers;
use crate::{CollectionId, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Folders from one of them down, with the collections that are mounted there.
///
/// Paths are relative to its top. What lies at a path is written under the current
/// epoch of the collection that is mounted nearest above it, and under no other: a
/// mount is for ever, and there is no way back to the keys around it.
#[derive(Debug)]
pub struct Tree {
    /// Where its top lies in the store, below the vault's prefix.
    stored: String,
    /// Name key of its top.
    names: NameKey,
    past: Past,
    /// The last ledger sequence that its reader has checked.
    head: u64,
    /// Whether its reader goes on to read the ledger, so that a stamp above `head`
    /// shows that something is hidden from him.
    follows: bool,
    collections: BTreeMap<CollectionId, Collection>,
    /// Those that can be written to, by their mounts.
    mounts: BTreeMap<Option<VaultPath>, CollectionId>,
}

/// A collection's keys for one object.
pub(crate) struct Held<'a> {
    pub(crate) collection: &'a Collection,
    /// The object's path below the mount.
    below: VaultPath,
}

impl Held<'_> {
    /// The keys of one epoch: one of the chain, and those of orphans.
    pub(crate) fn of_epoch(&self, number: u32) -> impl Iterator<Item = &Epoch> {
        let epochs = self.collection.epochs.iter();
        epochs.filter(move |epoch| epoch.number == number)
    }

    pub(crate) fn object_key(&self, epoch: &Epoch) -> ObjectKey {
        epoch.key.object_key(&self.below)
    }
}

impl Tree {
    pub(crate) const MAX_COLLECTIONS: usize = 65_536;
    pub(crate) const MAX_EPOCHS: usize = 65_536;
    const MAX_STORED: usize = 1_024;

    pub(crate) fn new(stored: String, names: NameKey) -> Self {
        Self {
            stored,
            names,
            past: Past::Shared,
            head: 0,
            follows: true,
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

    #[cfg(test)]
    pub(crate) fn name_key(&self) -> &NameKey {
        &self.names
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
            names: self.names.duplicate(),
            past: self.past,
            head: self.head,
            follows: self.follows,
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

    pub(crate) fn get_mut(&mut self, id: &CollectionId) -> Option<&mut Collection> {
        self.collections.get_mut(id)
    }

    /// The collection that begins at this folder.
    pub fn mounted(&self, folder: Option<&VaultPath>) -> Option<&Collection> {
        self.collections.get(self.mounts.get(&folder.cloned())?)
    }

    /// The collections of a folder, or of the whole tree, that take something below
    /// their current epoch. Empty for a folder that is no collection of its own.
    pub fn floors_to_raise(&self, folder: Option<&VaultPath>) -> Vec<CollectionId> {
        let Some(own) = self.mounted(folder) else {
            return Vec::new();
        };
        let behind = |c: &&Collection| c.current().is_some_and(|epoch| c.floor < epoch.number);
        let all = self.nested(own).chain([own]);
        all.filter(behind).map(Collection::id).collect()
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

    /// The collection that a new object belongs to.
    ///
    /// # Errors
    /// `AccessDenied` where the key that is in force is not at hand.
    pub(crate) fn writer(&self, path: &VaultPath) -> Result<(Held<'_>, &Epoch)> {
        let no_key = || Error::AccessDenied("no key that may be written with there is at hand");
        let collection = self.on_the_way(path).last().ok_or_else(no_key)?;
        let epoch = collection.current().ok_or_else(no_key)?;
        let below = path.below(collection.mount.as_ref()).ok_or_else(no_key)?;
        Ok((Held { collection, below }, epoch))
    }

    /// The keys that are held of a collection, for an object below its mount.
    pub(crate) fn held(&self, id: &CollectionId, path: &VaultPath) -> Option<Held<'_>> {
        let collection = self.collections.get(id)?;
        let below = path.below(collection.mount.as_ref())?;
        Some(Held { collection, below })
    }

    /// The sequence of the entry since which nothing is written at this path under
    /// an epoch of this collection: another epoch was opened, or a folder on the
    /// way mounted apart.
    pub(crate) fn closed_at(
        &self,
        collection: &Collection,
        epoch: u32,
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
        epoch: u32,
        path: &VaultPath,
    ) -> bool {
        let depth_of_it = depth(collection.mount.as_ref());
        self.on_the_way(path)
            .filter(|c| depth(c.mount.as_ref()) >= depth_of_it)
            .any(|c| {
                if c.id == collection.id {
                    epoch < c.floor
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
    /// `InvalidInput` where the stored path is longer than 1,024 bytes.
    pub fn store_path(&self, path: &VaultPath) -> Result<StoredPath> {
        let mut names = self.names(None);
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

    /// The names of a folder.
    pub fn names(&self, folder: Option<&VaultPath>) -> FolderNames {
        FolderNames::new(self.folder_names(folder))
    }

    fn folder_names(&self, folder: Option<&VaultPath>) -> NameKey {
        let mut key = self.names.duplicate();
        for segment in folder.into_iter().flat_map(VaultPath::segments) {
            key = NameKey::derive(key.expose_secret(), Label::DIR, &[segment.as_bytes()]);
        }
        key
    }

    /// What somebody gets who may read a mounted folder: its keys, those of what is
    /// mounted below, and those that it took over from the collections around it; or
    /// only those of epochs that were opened by the entry `since` or later.
    ///
    /// # Errors
    /// `InvalidInput` for a folder that is not mounted.
    pub(crate) fn below(&self, folder: Option<&VaultPath>, since: Option<u64>) -> Result<Self> {
        if self.mounted(folder).is_none() {
            return Err(Error::invalid(
                "only a folder with keys of its own can be shared",
            ));
        }
        let stored = match folder {
            Some(folder) => self.store_path(folder)?.path,
            None => self.stored.clone(),
        };
        let mut tree = Self::new(stored, self.folder_names(folder));
        tree.head = self.head;
        if since.is_some() {
            tree.past = Past::HeldBack;
        }
        for collection in self.collections.values() {
            let inside = match (collection.mount.as_ref(), folder) {
                (mount, folder) if mount == folder => Some(None),
                (Some(mount), folder) => mount.below(folder).map(Some),
                (None, _) => None,
            };
            if let Some(mount) = inside {
                let mut part = collection.duplicate();
                part.mount = mount;
                part.epochs.retain(|epoch| {
                    epoch.number >= part.floor && since.is_none_or(|since| epoch.opened >= since)
                });
                tree.insert_some(part)?;
                continue;
            }
            let above = match (collection.mount.as_ref(), folder) {
                (None, Some(folder)) => Some(folder.clone()),
                (Some(mount), Some(folder)) => folder.below(Some(mount)),
                (_, None) => None,
            };
            if let (Some(way), None) = (above, since)
                && let Some(folder) = folder
                && !self.is_cut_off(collection, folder)
            {
                let mut part = self.taken_over(collection, folder, &way);
                part.epochs.retain(|epoch| epoch.number >= collection.floor);
                tree.insert_some(part)?;
            }
        }
        Ok(tree)
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

    /// Collections that are mounted in this one, on the way to a folder or right there.
    fn between<'a>(
        &'a self,
        collection: &'a Collection,
        folder: &'a VaultPath,
    ) -> impl Iterator<Item = &'a Collection> {
        let leads_there = move |c: &&Collection| {
            c.mount.as_ref() == Some(folder) || folder.below(c.mount.as_ref()).is_some()
        };
        let depth_of_it = depth(collection.mount.as_ref());
        self.written()
            .filter(move |c| depth(c.mount.as_ref()) > depth_of_it)
            .filter(leads_there)
    }

    /// Whether a floor refuses everything that a folder took over from this collection.
    fn is_cut_off(&self, collection: &Collection, folder: &VaultPath) -> bool {
        self.between(collection, folder).any(|c| c.floor > 0)
    }

    /// A collection's keys for a folder that was mounted apart in it, `way` below
    /// its own mount.
    fn taken_over(
        &self,
        collection: &Collection,
        folder: &VaultPath,
        way: &VaultPath,
    ) -> Collection {
        let closed = self.between(collection, folder).map(Collection::opened);
        let closed = closed.chain(collection.closed).min();
        // What was opened later never sealed anything there.
        let before = |epoch: &&Epoch| closed.is_none_or(|closed| epoch.opened < closed);
        let epochs = collection.epochs.iter().filter(before).map(|epoch| Epoch {
            key: epoch.key.folder(way.segments()),
            ..*epoch
        });
        Collection {
            mount: None,
            floor: 0,
            closed,
            epochs: epochs.collect(),
            writers: Arc::clone(&collection.writers),
            ..*collection
        }
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
/// from, until], …]]`
pub(crate) fn write_collection(collection: &Collection, to: &mut Writer) {
    to.array(7)
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
}

pub(crate) fn read_collection(from: &mut Reader<'_>) -> Result<Collection> {
    from.array(7)?;
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
    Ok(Collection {
        id,
        mount,
        padded,
        floor,
        closed,
        epochs,
        writers: Arc::new(writers),
    })
}

/// `[stored path of the top, NK, past held back, [collection, …]]`, collections in ascending order
/// of their ids.
impl Record for Tree {
    fn write(&self, to: &mut Writer) {
        to.array(4)
            .text(&self.stored)
            .bytes(self.names.expose_secret())
            .uint((self.past == Past::HeldBack).into())
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
        let mut tree = Self::new(stored.to_owned(), read_name_key(from)?);
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
            tree.insert(collection)?;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(id: u8, mount: &str) -> Collection {
        let mount = (!mount.is_empty()).then(|| VaultPath::parse(mount).unwrap());
        let key = ContentKey::init_with(|key| *key = [id; 32]);
        Collection::with_key(CollectionId([id; 16]), mount, false, 1, key)
    }

    /// A record with any stored path, and collections in any order.
    fn record(stored: &str, collections: &[Collection]) -> Result<Tree> {
        let mut to = Writer::new();
        to.array(4).text(stored).bytes(&[7; 32]).uint(0);
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
    fn below_a_mount_nothing_is_written_with_keys_of_above() {
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
