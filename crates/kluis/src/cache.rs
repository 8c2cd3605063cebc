//! What was read of objects and is kept, so that it is asked for once. All of it is
//! bounded, and what was used least recently is forgotten first.

use crate::read::Head;
use bytes::Bytes;
use kluis_crypto::{Layout, Tail};
use object_store::path::Path;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Values of bounded size together.
#[derive(Debug)]
struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// From the least recently used.
    order: BTreeMap<u64, K>,
    clock: u64,
    size: usize,
    max: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: u64,
    size: usize,
}

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    fn new(max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            size: 0,
            max,
        }
    }

    fn get<Q>(&mut self, key: &Q) -> Option<&mut Entry<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let found = self.entries.get_mut(key)?;
        self.clock += 1;
        if let Some(key) = self.order.remove(&found.used) {
            self.order.insert(self.clock, key);
        }
        found.used = self.clock;
        Some(found)
    }

    fn insert(&mut self, key: K, value: V, size: usize) {
        self.remove(&key);
        self.clock += 1;
        self.order.insert(self.clock, key.clone());
        let used = self.clock;
        self.entries.insert(key, Entry { value, used, size });
        self.grow(size);
    }

    fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(gone) = self.entries.remove(key) {
            self.order.remove(&gone.used);
            self.size -= gone.size;
        }
    }

    /// Makes room for what has come.
    fn grow(&mut self, size: usize) {
        self.size += size;
        while self.size > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            let gone = self.entries.remove(&oldest);
            self.size -= gone.map_or(0, |gone| gone.size);
        }
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Headers of objects, checked, by the path that the caller names them by: whoever reads
/// ranges of one object asks for its header once. Each holds the keys of its object, so
/// that they go when the vault is locked.
#[derive(Debug)]
pub(crate) struct Heads(Mutex<Lru<String, Arc<Head>>>);

impl Heads {
    /// Room for so many of them; none at all for 0.
    pub(crate) fn new(count: usize) -> Self {
        Self(Mutex::new(Lru::new(count)))
    }

    /// The header of an object as it was last seen.
    pub(crate) fn get(&self, text: &str) -> Option<Arc<Head>> {
        let mut heads = locked(&self.0);
        heads.get(text).map(|entry| Arc::clone(&entry.value))
    }

    /// Keeps a header, unless the vault was locked meanwhile.
    pub(crate) fn keep(&self, text: &str, head: Arc<Head>, held: impl Fn() -> bool) {
        let mut heads = locked(&self.0);
        if heads.max > 0 && held() {
            heads.insert(text.to_owned(), head, 1);
        }
    }

    pub(crate) fn forget(&self, text: &str) {
        locked(&self.0).remove(text);
    }

    pub(crate) fn clear(&self) {
        let mut heads = locked(&self.0);
        *heads = Lru::new(heads.max);
    }
}

/// Ends of signed objects, and hashes of their chunks: they are no secrets, and bound to
/// the header that the signature is about.
#[derive(Debug)]
pub(crate) struct Tails(Mutex<Lru<TailKey, Signed>>);

/// The header's hash, and where the object lies.
pub(crate) type TailKey = ([u8; 32], Path);

#[derive(Debug)]
struct Signed {
    layout: Layout,
    tail: Arc<Tail>,
    /// By their groups, each checked against the tail.
    leaves: BTreeMap<u64, Bytes>,
}

impl Default for Tails {
    fn default() -> Self {
        Self(Mutex::new(Lru::new(Self::MAX)))
    }
}

impl Tails {
    /// Bytes of them, of one object a quarter of it.
    const MAX: usize = 8 << 20;
    /// What an object or a group takes beside its hashes, about.
    const EACH: usize = 512;

    pub(crate) fn get(&self, key: &TailKey) -> Option<(Layout, Arc<Tail>)> {
        let mut kept = locked(&self.0);
        let found = &kept.get(key)?.value;
        Some((found.layout, Arc::clone(&found.tail)))
    }

    pub(crate) fn keep(&self, key: TailKey, layout: Layout, tail: Arc<Tail>) {
        let mut kept = locked(&self.0);
        let size = tail.size() + Self::EACH;
        if size > Self::MAX / 4 || kept.entries.contains_key(&key) {
            return;
        }
        let leaves = BTreeMap::new();
        let object = Signed {
            layout,
            tail,
            leaves,
        };
        kept.insert(key, object, size);
    }

    /// The hashes of a group, if they are known.
    pub(crate) fn leaves(&self, key: &TailKey, group: u64) -> Option<Bytes> {
        let kept = locked(&self.0);
        kept.entries.get(key)?.value.leaves.get(&group).cloned()
    }

    pub(crate) fn keep_leaves(&self, key: &TailKey, group: u64, leaves: Bytes) {
        let mut kept = locked(&self.0);
        let Some(object) = kept.entries.get_mut(key) else {
            return;
        };
        let size = leaves.len() + Self::EACH;
        if object.size + size <= Self::MAX / 4
            && object.value.leaves.insert(group, leaves).is_none()
        {
            object.size += size;
            kept.grow(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kluis_crypto::Suite;

    fn size<K: Clone + Eq + Hash, V>(kept: &Lru<K, V>) -> usize {
        assert_eq!(kept.order.len(), kept.entries.len());
        kept.entries.values().map(|entry| entry.size).sum()
    }

    async fn tail() -> Arc<Tail> {
        let phrase = kluis_crypto::RecoveryPhrase::generate().unwrap();
        let store = Arc::new(object_store::memory::InMemory::new());
        let options = crate::VaultOptions::new().signed(true);
        let vault = options.create(store, phrase).await.unwrap();
        vault.put("x", "x").await.unwrap();
        vault.get("x").await.unwrap();
        let kept = locked(&vault.tails().0);
        Arc::clone(&kept.entries.values().next().unwrap().value.tail)
    }

    /// However many objects are read, and however large they are.
    #[tokio::test]
    async fn what_is_kept_of_signed_objects_is_bounded() {
        let tails = Tails::default();
        let layout = Layout::of_plaintext(Suite::V2, 1 << 30).unwrap();
        let tail = tail().await;
        let key = |n: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_be_bytes());
            (hash, Path::from("o/x"))
        };
        for n in 0..20_000 {
            tails.keep(key(n), layout, Arc::clone(&tail));
            tails.keep(key(n), layout, Arc::clone(&tail));
            // The one that is always used stays.
            assert!(tails.get(&key(0)).is_some(), "{n}");
            for group in 0..if n % 5_000 == 0 { 1_000 } else { 1 } {
                tails.keep_leaves(&key(n), group, vec![0; 8_192].into());
            }
            let kept = locked(&tails.0);
            assert_eq!(kept.size, size(&kept));
            assert!(kept.size <= Tails::MAX);
        }
        assert!(tails.get(&key(1)).is_none());
        assert!(tails.leaves(&key(0), 3).is_some());
        assert!(tails.leaves(&key(0), 999).is_none(), "a quarter for one");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new(3);
        for n in 0..3 {
            lru.insert(n, n, 1);
        }
        lru.get(&0);
        lru.insert(3, 3, 1);
        lru.insert(3, 4, 1);
        let left = |lru: &Lru<i32, i32>| {
            let mut keys: Vec<_> = lru.entries.keys().copied().collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!((left(&lru), size(&lru)), (vec![0, 2, 3], 3));
        assert_eq!(lru.get(&3).unwrap().value, 4);
        lru.remove(&2);
        assert_eq!((left(&lru), lru.size, size(&lru)), (vec![0, 3], 2, 2));
    }
}
