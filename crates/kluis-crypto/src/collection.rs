//! Collections: one content key for each epoch (docs/FORMAT.md, section 5).

use crate::kdf::Label;
use crate::name::VaultPath;
use crate::secret::secret_key;
use crate::signed::Writers;
use crate::{CollectionId, Error, Result, random};
use std::sync::Arc;
use subtle::ConstantTimeEq;

secret_key! {
    /// Name key of a folder, D.
    pub(crate) struct NameKey;
}
secret_key! {
    /// Content key of a folder in one epoch, CK and T.
    pub(crate) struct ContentKey;
}
secret_key! {
    /// Key of one object in one epoch, IK.
    pub(crate) struct ObjectKey;
}
secret_key! {
    /// Key of one write of one object, MK.
    pub(crate) struct MessageKey;
}

impl ObjectKey {
    /// `MK = KDF(IK, "msg", salt)`
    pub(crate) fn message_key(&self, salt: &[u8]) -> MessageKey {
        MessageKey::derive(self.expose_secret(), Label::MESSAGE, &[salt])
    }

    /// In the place of a content key: in the tree of one object.
    pub(crate) fn into_content_key(self) -> ContentKey {
        ContentKey::init_with(|key| *key = *self.expose_secret())
    }
}

impl ContentKey {
    /// `T_{i+1} = KDF(T_i, "sub", segment)`
    pub(crate) fn folder<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut folder = self.duplicate();
        for segment in segments {
            folder = Self::derive(folder.expose_secret(), Label::SUB, &[segment.as_bytes()]);
        }
        folder
    }

    /// `IK = KDF(T_parent, "obj", last segment)`
    pub(crate) fn object_key(&self, path: &VaultPath) -> ObjectKey {
        let (folders, last) = path.split_last();
        let parent = self.folder(folders);
        ObjectKey::derive(parent.expose_secret(), Label::OBJECT, &[last.as_bytes()])
    }
}

/// One content key and the ledger entry that opened it.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) number: u32,
    pub(crate) opened: u64,
    /// Made by an entry outside the chain: read with, never written with.
    pub(crate) orphan: bool,
    /// CK; in the tree of one object its IK of the epoch, in that of one version MK.
    pub(crate) key: ContentKey,
}

impl Epoch {
    /// Ascending by number; of one number, orphans first.
    fn order(&self) -> (u32, bool, u64) {
        (self.number, !self.orphan, self.opened)
    }
}

impl Epoch {
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            key: self.key.duplicate(),
            ..*self
        }
    }
}

/// Objects that are shared and revoked together: those below the folder that the
/// collection is mounted at. A vault begins with one, at its top.
#[derive(Debug)]
pub struct Collection {
    pub(crate) id: CollectionId,
    /// The folder that it begins at; none at the top of its tree. A mount is for ever.
    pub(crate) mount: Option<VaultPath>,
    pub(crate) padded: bool,
    /// Epochs below are refused, and with the first of them all that the
    /// collection took over from the one around it.
    pub(crate) floor: u32,
    /// Nothing is written any more under the keys that are held here since this
    /// ledger sequence: the folder was mounted apart, or its epoch closed and the
    /// next key did not come.
    pub(crate) closed: Option<u64>,
    /// In the order of `Epoch::order`. Not empty.
    pub(crate) epochs: Vec<Epoch>,
    /// Who may write, in a signed vault.
    pub(crate) writers: Arc<Writers>,
    /// Seconds after the newest entry of the ledger in which writers go on.
    pub(crate) lease: Option<u32>,
}

impl Collection {
    /// The first epoch of a collection at the top of a vault. That of a mounted one
    /// has the next number, and 0 stands for what it took over.
    const FIRST_AT_TOP: u32 = 0;

    pub(crate) fn make(mount: Option<VaultPath>, padded: bool) -> Result<Self> {
        let mut id = CollectionId([0; 16]);
        random::fill(&mut id.0)?;
        Ok(Self::with_key(id, mount, padded, 0, ContentKey::make()?))
    }

    pub(crate) fn with_key(
        id: CollectionId,
        mount: Option<VaultPath>,
        padded: bool,
        opened: u64,
        key: ContentKey,
    ) -> Self {
        let number = Self::FIRST_AT_TOP + u32::from(mount.is_some());
        Self {
            id,
            mount,
            padded,
            floor: 0,
            closed: None,
            epochs: vec![Epoch {
                number,
                opened,
                orphan: false,
                key,
            }],
            writers: Arc::default(),
            lease: None,
        }
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self {
            mount: self.mount.clone(),
            epochs: self.epochs.iter().map(Epoch::duplicate).collect(),
            writers: Arc::clone(&self.writers),
            ..*self
        }
    }

    /// The newest epoch of the chain.
    pub(crate) fn last(&self) -> Option<&Epoch> {
        self.epochs.iter().rfind(|epoch| !epoch.orphan)
    }

    /// The epoch that is written under.
    pub(crate) fn current(&self) -> Option<&Epoch> {
        self.last().filter(|_| self.closed.is_none())
    }

    /// Opens the epoch after the last one, which closes.
    ///
    /// # Errors
    /// `Tampered` for another number.
    pub(crate) fn open(&mut self, number: u32, opened: u64, key: ContentKey) -> Result<()> {
        let last = self.last().ok_or(Error::Tampered)?.number;
        if last.checked_add(1) != Some(number) {
            return Err(Error::Tampered);
        }
        self.closed = None;
        self.insert(Epoch {
            number,
            opened,
            orphan: false,
            key,
        });
        Ok(())
    }

    pub(crate) fn insert(&mut self, epoch: Epoch) {
        // The key counts: two writers may have lost the same number.
        let known = |e: &Epoch| {
            let key = e.key.expose_secret().ct_eq(epoch.key.expose_secret());
            e.number == epoch.number && (epoch.orphan || !e.orphan) && bool::from(key)
        };
        if !self.epochs.iter().any(known) {
            let at = self.epochs.partition_point(|e| e.order() <= epoch.order());
            self.epochs.insert(at, epoch);
        }
    }

    /// Whether the keys stand in their one order, and those of the chain could
    /// have come from entries before this one.
    pub(crate) fn is_in_order(&self, sequence: u64) -> bool {
        let chain: Vec<&Epoch> = self.epochs.iter().filter(|e| !e.orphan).collect();
        self.epochs.is_sorted_by_key(Epoch::order)
            && chain.last().is_none_or(|last| last.opened < sequence)
            && chain
                .windows(2)
                .all(|e| e[0].number < e[1].number && e[0].opened <= e[1].opened)
    }

    /// The sequence of the ledger entry that closed an epoch. That of an orphan is closed
    /// by the one that the chain has in its place too, and not before somebody could
    /// have written with it who took it for the chain's.
    pub(crate) fn closed_at(&self, epoch: &Epoch) -> Option<u64> {
        let first = epoch.number.saturating_add(u32::from(!epoch.orphan));
        let next = self.epochs.iter().find(|e| !e.orphan && e.number >= first);
        let closed = next.map(|e| e.opened).into_iter().chain(self.closed).min();
        closed.map(|closed| closed.max(epoch.opened.saturating_add(epoch.orphan.into())))
    }

    /// Whether the owner refuses an epoch; that of an orphan with those before the one
    /// that the chain has in its place.
    pub(crate) fn is_refused(&self, epoch: &Epoch) -> bool {
        let last = epoch.number.saturating_add(u32::from(!epoch.orphan));
        self.floor > 0 && last <= self.floor
    }

    /// The sequence of the entry that mounted it.
    pub(crate) fn opened(&self) -> u64 {
        self.epochs.first().map_or(0, |epoch| epoch.opened)
    }

    /// The time from which nothing is written, if no entry comes that is newer than one
    /// of this time; in microseconds.
    pub(crate) fn lease_ends(&self, newest: u64) -> Option<u64> {
        let lease = u64::from(self.lease?) * 1_000_000;
        Some(newest.saturating_add(lease))
    }

    /// Its id.
    pub fn id(&self) -> CollectionId {
        self.id
    }

    /// Whether its objects are padded.
    pub fn is_padded(&self) -> bool {
        self.padded
    }
}
