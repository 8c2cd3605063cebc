//! Pages of keys, sorted as S3 sorts them, from a store that sorts by nothing.
//!
//! Encrypted names have no useful order, so that a page costs the listing of everything under its
//! prefix. What of it follows on the page is kept for whoever asks for the next: at most [`WINDOW`]
//! names a listing, so that it costs bounded memory, and one listing of the store for as many.

use crate::address::check_path;
use futures_util::TryStreamExt;
use kluis::object_store::path::Path;
use kluis::object_store::{ObjectMeta, ObjectStore, Result};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many names are kept for the next pages of a listing.
const WINDOW: usize = 100_000;
/// As many for all listings together.
const KEPT: usize = 400_000;
/// As long is what is kept good for the next page.
const FRESH: Duration = Duration::from_secs(120);

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) prefix: String,
    /// None and empty mean the same to S3.
    pub(super) delimiter: Option<String>,
    /// Only what sorts behind it; empty for everything.
    pub(super) after: String,
}

/// One line of a listing.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Object(ObjectMeta),
    /// Everything that begins with it, up to a delimiter.
    Prefix,
}

#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<(String, Item)>,
    /// There is more behind the last one.
    pub(super) truncated: bool,
}

#[derive(Debug)]
pub(super) struct Listings {
    kept: Mutex<Kept>,
    window: usize,
}

impl Default for Listings {
    fn default() -> Self {
        Self::with_window(WINDOW)
    }
}

#[derive(Debug, Default)]
struct Kept {
    rests: VecDeque<Rest>,
    /// Listings that are being made, and whether something was written meanwhile that they
    /// should show.
    making: Vec<(Query, Arc<AtomicBool>)>,
}

/// What follows on a page that was given out; the query's `after` is its last name.
#[derive(Debug)]
struct Rest {
    query: Query,
    items: VecDeque<(String, Item)>,
    /// Nothing lies behind the items.
    whole: bool,
    made: Instant,
}

impl Query {
    fn shows(&self, key: &str) -> bool {
        key.starts_with(&self.prefix) && key > self.after.as_str()
    }

    /// The folder that everything of it lies in, or none where there is no such.
    fn folder(&self) -> Option<Option<Path>> {
        match self.prefix.rsplit_once('/') {
            None => Some(None),
            Some((folder, _)) => {
                check_path(folder).ok()?;
                Some(Some(Path::parse(folder).ok()?))
            }
        }
    }

    /// The line that a key is on.
    fn line(&self, key: &str) -> Option<(usize, bool)> {
        let rest = key.strip_prefix(self.prefix.as_str())?;
        let delimiter = self.delimiter.as_deref().filter(|d| !d.is_empty());
        match delimiter.and_then(|d| Some(rest.find(d)? + d.len())) {
            Some(end) => Some((self.prefix.len() + end, true)),
            None => Some((key.len(), false)),
        }
    }
}

impl Listings {
    fn with_window(window: usize) -> Self {
        Self {
            kept: Mutex::default(),
            window,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next lines of a listing, at most `most`.
    pub(super) async fn page(
        &self,
        store: &dyn ObjectStore,
        query: Query,
        most: usize,
    ) -> Result<Page> {
        if most == 0 {
            return Ok(Page {
                items: Vec::new(),
                truncated: false,
            });
        }
        let kept = self.take(&query);
        let (mut rest, making) = match kept {
            Some(rest) => (rest, None),
            None => {
                let written = Arc::new(AtomicBool::new(false));
                let making = Making {
                    listings: self,
                    written: written.clone(),
                };
                self.kept().making.push((query.clone(), written));
                let rest = self.make(store, query).await?;
                (rest, Some(making))
            }
        };
        let count = most.min(rest.items.len());
        let items: Vec<_> = rest.items.drain(..count).collect();
        let truncated = !rest.items.is_empty() || !rest.whole;
        if let (true, Some((last, _))) = (!rest.items.is_empty(), items.last()) {
            rest.query.after.clone_from(last);
            let mut kept = self.kept();
            let making = making.as_ref();
            if !making.is_some_and(|making| making.written.load(Ordering::Relaxed)) {
                kept.rests.push_back(rest);
            }
            while kept.rests.iter().map(|r| r.items.len()).sum::<usize>() > KEPT {
                kept.rests.pop_front();
            }
        }
        Ok(Page { items, truncated })
    }

    fn take(&self, query: &Query) -> Option<Rest> {
        let mut kept = self.kept();
        kept.rests.retain(|rest| rest.made.elapsed() < FRESH);
        let at = kept.rests.iter().position(|rest| rest.query == *query)?;
        kept.rests.remove(at)
    }

    /// Something was written or removed here: whoever lists from now on sees it.
    pub(super) fn changed(&self, key: &str) {
        let mut kept = self.kept();
        kept.rests.retain(|rest| !rest.query.shows(key));
        for (query, written) in &kept.making {
            if query.shows(key) {
                written.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Lists the store once and keeps the first names of it.
    async fn make(&self, store: &dyn ObjectStore, query: Query) -> Result<Rest> {
        let mut first = BTreeMap::new();
        let mut whole = true;
        let mut keep = |name: String, item: Item| {
            first.insert(name, item);
            if first.len() > self.window {
                first.pop_last();
                whole = false;
            }
        };
        match query.folder() {
            // No vault holds such a name.
            None => {}
            Some(folder) if query.delimiter.as_deref() == Some("/") => {
                let level = store.list_with_delimiter(folder.as_ref()).await?;
                for meta in level.objects {
                    let key = meta.location.to_string();
                    if query.shows(&key) {
                        keep(key, Item::Object(meta));
                    }
                }
                for path in level.common_prefixes {
                    let name = format!("{path}/");
                    if name.starts_with(&query.prefix)
                        && query.line(&name).is_some_and(|(_, folder)| folder)
                        && Self::reaches(store, &query, &name, &path).await?
                    {
                        keep(name, Item::Prefix);
                    }
                }
            }
            Some(folder) => {
                let mut listing = store.list(folder.as_ref());
                while let Some(meta) = listing.try_next().await? {
                    let key = meta.location.to_string();
                    if !query.shows(&key) {
                        continue;
                    }
                    match query.line(&key) {
                        Some((end, true)) if key[..end] != query.after => {
                            keep(key[..end].to_owned(), Item::Prefix);
                        }
                        Some((_, false)) => keep(key, Item::Object(meta)),
                        _ => {}
                    }
                }
            }
        }
        Ok(Rest {
            query,
            items: first.into_iter().collect(),
            whole,
            made: Instant::now(),
        })
    }

    /// Whether anything in a folder sorts behind what the query begins after.
    async fn reaches(
        store: &dyn ObjectStore,
        query: &Query,
        name: &str,
        path: &Path,
    ) -> Result<bool> {
        let after = query.after.as_str();
        if name == after || !after.starts_with(name) {
            return Ok(name > after);
        }
        let mut inside = store.list(Some(path));
        while let Some(meta) = inside.try_next().await? {
            if meta.location.as_ref() > after {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Takes its listing off the list, also where it was given up.
struct Making<'a> {
    listings: &'a Listings,
    written: Arc<AtomicBool>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut kept = self.listings.kept();
        let own = |other: &Arc<AtomicBool>| Arc::ptr_eq(other, &self.written);
        kept.making.retain(|(_, written)| !own(written));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kluis::object_store::ObjectStoreExt;
    use kluis::object_store::memory::InMemory;

    async fn store(keys: &[&str]) -> InMemory {
        let store = InMemory::new();
        for key in keys {
            let path = Path::parse(key).unwrap();
            store.put(&path, "x".into()).await.unwrap();
        }
        store
    }

    fn query(prefix: &str, delimiter: &str, after: &str) -> Query {
        Query {
            prefix: prefix.to_owned(),
            delimiter: Some(delimiter.to_owned()),
            after: after.to_owned(),
        }
    }

    /// All lines, in pages of `most`, and how often the store was listed.
    async fn all(listings: &Listings, store: &InMemory, query: &Query, most: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut query = query.clone();
        loop {
            let page = listings.page(store, query.clone(), most).await.unwrap();
            assert!(page.items.len() <= most);
            for (name, item) in page.items {
                let ends = matches!(item, Item::Prefix);
                lines.push(if ends { format!("{name} …") } else { name });
            }
            if !page.truncated {
                return lines;
            }
            let last = lines.last().unwrap();
            query.after = last.trim_end_matches(" …").to_owned();
        }
    }

    const KEYS: [&str; 9] = ["a", "a b", "a/b/c", "a/b/d", "a/x", "a+", "aé", "b/c", "z"];

    #[tokio::test]
    async fn keys_come_sorted_by_bytes_whatever_the_page() {
        let store = store(&KEYS).await;
        for most in 1..=10 {
            for (prefix, delimiter, expected) in [
                ("", "", "a|a b|a+|a/b/c|a/b/d|a/x|aé|b/c|z"),
                ("", "/", "a|a b|a+|a/ …|aé|b/ …|z"),
                ("a", "/", "a|a b|a+|a/ …|aé"),
                ("a/", "/", "a/b/ …|a/x"),
                ("a/b", "/", "a/b/ …"),
                ("a/b/", "", "a/b/c|a/b/d"),
                ("a/b/c", "/", "a/b/c"),
                ("", "b", "a|a b …|a+|a/b …|a/x|aé|b …|z"),
                ("a", "/b/", "a|a b|a+|a/b/ …|a/x|aé"),
                ("c", "/", ""),
                ("a//", "/", ""),
                ("../", "", ""),
            ] {
                let listings = Listings::default();
                let lines = all(&listings, &store, &query(prefix, delimiter, ""), most).await;
                assert_eq!(lines.join("|"), expected, "{prefix:?} {delimiter:?} {most}");
                // And where no window holds everything.
                let listings = Listings::with_window(2);
                let lines = all(&listings, &store, &query(prefix, delimiter, ""), most).await;
                assert_eq!(lines.join("|"), expected, "{prefix:?} {delimiter:?} {most}");
            }
        }
    }

    #[tokio::test]
    async fn a_listing_may_begin_anywhere() {
        let store = store(&KEYS).await;
        let listings = Listings::default();
        for (prefix, delimiter, after, expected) in [
            ("", "", "a/b/c", "a/b/d|a/x|aé|b/c|z"),
            ("", "/", "a/", "aé|b/ …|z"),
            // Inside a folder: there is more of it, or there is not.
            ("", "/", "a/b/c", "a/ …|aé|b/ …|z"),
            ("", "/", "a/x", "aé|b/ …|z"),
            ("", "b", "a/b", "a/x|aé|b …|z"),
            ("", "b", "a/b/c", "a/b …|a/x|aé|b …|z"),
            ("", "", "zz", ""),
        ] {
            let lines = all(&listings, &store, &query(prefix, delimiter, after), 3).await;
            assert_eq!(
                lines.join("|"),
                expected,
                "{prefix:?} {delimiter:?} {after:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_store_is_listed_once_and_again_after_a_write() {
        let names: Vec<_> = (0..10).map(|n| format!("k{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let store = store(&names).await;
        let listings = Listings::default();
        let first = listings.page(&store, query("", "", ""), 4).await.unwrap();
        assert!(first.truncated);
        // What is removed behind our back is still on the next page: it was listed before.
        store.delete(&"k5".into()).await.unwrap();
        let next = query("", "", "k3");
        let second = listings.page(&store, next, 4).await.unwrap();
        assert_eq!(second.items[1].0, "k5");
        // What is written here is not missed, and what lies before the page changes nothing.
        listings.changed("k1");
        assert_eq!(listings.kept().rests.len(), 1);
        store.put(&"k71".into(), "x".into()).await.unwrap();
        listings.changed("k71");
        assert!(listings.kept().rests.is_empty());
        let third = listings.page(&store, query("", "", "k7"), 4).await.unwrap();
        assert_eq!(third.items[0].0, "k71");
        assert!(!third.truncated && listings.kept().making.is_empty());
    }
}
