//! Collections: a name key, and one content key for each epoch
//! (docs/FORMAT.md, section 5).

use crate::kdf::Label;
use crate::name::VaultPath;
use crate::secret::secret_key;
use crate::{CollectionId, Result, random};
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

impl ContentKey {
    /// `T_{i+1} = KDF(T_i, "sub", segment)`, `IK = KDF(T_parent, "obj", last segment)`
    pub(crate) fn object_key(&self, path: &VaultPath) -> ObjectKey {
        let (folders, last) = path.split_last();
        let mut parent: Option<ContentKey> = None;
        for folder in folders {
            let key = parent.as_ref().unwrap_or(self);
            parent = Some(ContentKey::derive(
                key.expose_secret(),
                Label::SUB,
                &[folder.as_bytes()],
            ));
        }
        let parent = parent.as_ref().unwrap_or(self);
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
    pub(crate) key: ContentKey,
}

impl Epoch {
    /// Ascending by number; of one number, orphans first.
    fn order(&self) -> (u32, bool, u64) {
        (self.number, !self.orphan, self.opened)
    }
}

/// A collection of objects that are shared and revoked together. A vault begins
/// with one, its root.
#[derive(Debug)]
pub struct Collection {
    pub(crate) id: CollectionId,
    pub(crate) padded: bool,
    pub(crate) name_key: NameKey,
    /// Epochs below are refused.
    pub(crate) floor: u32,
    /// In the order of `Epoch::order`. Not empty.
    pub(crate) epochs: Vec<Epoch>,
}

impl Collection {
    pub(crate) fn make(padded: bool) -> Result<Self> {
        let mut id = CollectionId([0; 16]);
        random::fill(&mut id.0)?;
        let epoch = Epoch {
            number: 0,
            opened: 0,
            orphan: false,
            key: ContentKey::make()?,
        };
        Ok(Self {
            id,
            padded,
            name_key: NameKey::make()?,
            floor: 0,
            epochs: vec![epoch],
        })
    }

    pub(crate) fn current(&self) -> Option<&Epoch> {
        self.epochs.iter().rfind(|epoch| !epoch.orphan)
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
            && chain.last().is_some_and(|last| last.opened < sequence)
            && chain
                .windows(2)
                .all(|e| e[0].number < e[1].number && e[0].opened <= e[1].opened)
    }

    /// The sequence of the ledger entry that closed an epoch.
    pub(crate) fn closed_at(&self, number: u32) -> Option<u64> {
        self.epochs
            .iter()
            .find(|e| !e.orphan && e.number > number)
            .map(|e| e.opened)
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
