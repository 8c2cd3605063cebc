//! Listing and deleting: stored names are decrypted folder by folder. What does
//! not decrypt is passed over and counted, and named by `check`.

use crate::access::{self, Control};
use crate::backend::{Backend, stored};
use crate::cache::locked;
use crate::vault::Vault;
use crate::{Error, Result};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use kluis_crypto::{DecodedSegment, FolderNames, Layout, StoredPath, Suite};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// Heads that are fetched at a time where padding hides sizes.
const HEADS_AT_ONCE: usize = 16;
/// Entries of one folder that are held in memory.
const MAX_CHILDREN: usize = 1 << 22;

/// What lies below a folder and has no place in its listing, by number.
/// [`Vault::check`] names each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unlisted {
    /// Objects whose name, or a folder's on the way, is longer than 127 bytes and
    /// whose record of it is missing or damaged. Nothing of them is lost: whoever
    /// knows the name reads them by it, and writing one again writes the record.
    pub nameless: u64,
    /// What is not of this vault, or of it under a stored name that was altered.
    pub foreign: u64,
}

/// A listing under way: a stream of objects, which knows what it left out.
///
/// ```
/// # use kluis::{Password, Vault, object_store::memory::InMemory};
/// # use futures_util::TryStreamExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kluis::Result<()> {
/// # let store = std::sync::Arc::new(InMemory::new());
/// # let vault = Vault::create(store, Password::new("correct horse battery staple")).await?;
/// let mut listing = vault.list(None);
/// while let Some(object) = listing.try_next().await? {
///     println!("{}", object.location);
/// }
/// assert_eq!(listing.unlisted().nameless, 0);
/// # Ok(())
/// # }
/// ```
#[must_use = "a listing makes no request before it is polled"]
pub struct Listing {
    objects: BoxStream<'static, Result<ObjectMeta>>,
    unlisted: Arc<Counts>,
}

impl Listing {
    /// What was left out so far; all of it once the stream has ended.
    pub fn unlisted(&self) -> Unlisted {
        self.unlisted.so_far()
    }
}

impl Stream for Listing {
    type Item = Result<ObjectMeta>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.objects.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listing")
            .field("unlisted", &self.unlisted())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counts {
    nameless: AtomicU64,
    foreign: AtomicU64,
}

impl Counts {
    fn so_far(&self) -> Unlisted {
        Unlisted {
            nameless: self.nameless.load(Ordering::Relaxed),
            foreign: self.foreign.load(Ordering::Relaxed),
        }
    }

    fn nameless(&self) {
        self.nameless.fetch_add(1, Ordering::Relaxed);
    }

    fn foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }
}

impl Vault {
    /// Lists every object below a folder, or in the vault, in the order of the
    /// store, which is that of the encrypted names. Sizes are those of the
    /// contents, by the store's word; times, e-tags and versions are the store's.
    /// What has no readable name is counted: see [`Listing::unlisted`].
    ///
    /// # Errors
    /// `InvalidInput` for a prefix that is no path; otherwise those of the store.
    ///
    /// # Security
    /// Names and places are authentic, the list is not: the store can leave
    /// objects out, and show ones that fail when they are read.
    pub fn list(&self, prefix: Option<&str>) -> Listing {
        let vault = self.clone();
        let prefix = prefix.map(str::to_owned);
        let unlisted = Arc::<Counts>::default();
        let counts = Arc::clone(&unlisted);
        let listing = async move {
            let control = vault.control()?;
            let folders = control.folders(prefix.as_deref())?;
            let objects = match prefix {
                None => vault.shared_objects(&control).await?,
                Some(_) => Vec::new(),
            };
            let objects = futures_util::stream::iter(objects.into_iter().map(Ok));
            let listings = folders.into_iter().map(move |folder| {
                let padded = folder.padded;
                let metas = vault.backend().list(Some(&folder.stored));
                let state = (metas, Names::of(folder), vault.clone(), Arc::clone(&counts));
                let decoded = futures_util::stream::try_unfold(
                    state,
                    async |(mut metas, mut names, vault, counts)| {
                        while let Some(meta) = metas.try_next().await? {
                            let object = names.object(vault.backend(), meta, &counts);
                            if let Some(meta) = object.await? {
                                return Ok(Some((meta, (metas, names, vault, counts))));
                            }
                        }
                        Ok(None)
                    },
                );
                if padded {
                    vault.clone().with_true_sizes(decoded.boxed())
                } else {
                    decoded.boxed()
                }
            });
            let below = futures_util::stream::iter(listings).flatten();
            Ok::<_, Error>(objects.chain(below))
        };
        Listing {
            objects: futures_util::stream::once(listing).try_flatten().boxed(),
            unlisted,
        }
    }

    /// The single objects that were shared, where they are.
    async fn shared_objects(&self, control: &Control) -> Result<Vec<ObjectMeta>> {
        let mut objects = Vec::new();
        for (name, place) in control.objects() {
            let found = self.head(name).await;
            // One that is gone, or overwritten where a version was shared, is not there;
            // any other has an authentic name, and reading it says what is wrong.
            let found = match found {
                Ok(info) => Ok(info.meta),
                Err(
                    Error::Tampered { .. } | Error::UnsupportedFormat { .. } | Error::Stale { .. },
                ) => {
                    let meta = self.backend().head(&place, name).await;
                    meta.map(|meta| ObjectMeta {
                        size: claimed_size(control.suite(), meta.size),
                        ..meta
                    })
                }
                Err(error) => Err(error),
            };
            let location = Path::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
            match found {
                Ok(meta) => objects.push(ObjectMeta { location, ..meta }),
                // Who may not list cannot be told by every store what is absent.
                Err(Error::NotFound { .. } | Error::AccessDenied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(objects)
    }

    /// Replaces the padded sizes of a listing by the true ones: a head for each.
    pub(crate) fn with_true_sizes(
        self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let head = move |meta: ObjectMeta| {
            let vault = self.clone();
            async move {
                match vault.head(meta.location.as_ref()).await {
                    Ok(info) => Ok(Some(ObjectMeta {
                        size: info.meta.size,
                        ..meta
                    })),
                    // Deleted since it was listed.
                    Err(Error::NotFound { .. }) => Ok(None),
                    // Its name is authentic; reading it says what is wrong with it.
                    Err(
                        Error::Tampered { .. }
                        | Error::UnsupportedFormat { .. }
                        | Error::Stale { .. },
                    ) => Ok(Some(meta)),
                    Err(error) => Err(error),
                }
            }
            .boxed()
        };
        listing
            .map_ok(head)
            .try_buffered(HEADS_AT_ONCE)
            .try_filter_map(|meta| std::future::ready(Ok(meta)))
            .boxed()
    }

    /// Lists the objects and folders directly in a folder, each sorted by name. The
    /// extensions of the result hold an [`Unlisted`]: what has no readable name.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_with_delimiter(&self, prefix: Option<&str>) -> Result<ListResult> {
        let control = self.control()?;
        let mut folders = control.folders(prefix)?;
        let folder = match (folders.pop(), prefix) {
            (Some(folder), _)
                if folders.is_empty() && folder.path == prefix.unwrap_or_default() =>
            {
                folder
            }
            // A vault of which parts were shared: each is a folder or an object.
            (last, _) => {
                let names = folders.into_iter().chain(last).map(|folder| folder.path);
                return Ok(ListResult {
                    common_prefixes: names.filter_map(|name| Path::parse(name).ok()).collect(),
                    objects: match prefix {
                        None => self.shared_objects(&control).await?,
                        Some(_) => Vec::new(),
                    },
                    extensions: Default::default(),
                });
            }
        };
        let padded = folder.padded;
        let below = self.backend().list_with_delimiter(&folder.stored).await?;
        if below.objects.len() + below.common_prefixes.len() > MAX_CHILDREN {
            return Err(Error::LimitExceeded {
                what: "the listing of one folder".to_owned(),
            });
        }
        let mut list = Names::of(folder).listing(self.backend(), below).await?;
        if padded {
            let listed = futures_util::stream::iter(list.objects.into_iter().map(Ok));
            let true_sizes = self.clone().with_true_sizes(listed.boxed());
            list.objects = true_sizes.try_collect().await?;
        }
        list.objects
            .sort_unstable_by(|a, b| a.location.cmp(&b.location));
        list.common_prefixes.sort_unstable();
        Ok(list)
    }

    /// Deletes an object. Its older versions are the store's to keep or not.
    ///
    /// # Errors
    /// `NotFound` where the store says so; S3 does not.
    pub async fn delete(&self, path: impl AsRef<str>) -> Result<()> {
        let text = path.as_ref();
        let place = self.place_to_delete(text).await?;
        let deleted = self.backend().delete(&stored(&place.path), text).await;
        self.deleted(text, &place, deleted).await
    }

    /// Where an object lies that may be deleted.
    async fn place_to_delete(&self, text: &str) -> Result<StoredPath> {
        let mut control = self.control()?;
        if control.locate_to_write(text).is_ok() && control.locate_now(text).is_err() {
            control = self.refresh().await?;
        }
        control.locate_now(text)?.store_path(text)
    }

    /// Puts away what lies beside an object for its name.
    async fn deleted(&self, text: &str, place: &StoredPath, deleted: Result<()>) -> Result<()> {
        self.heads().forget(text);
        if !matches!(deleted, Ok(()) | Err(Error::NotFound { .. })) {
            return deleted;
        }
        // Also behind one that is gone: whoever deleted it may have died here.
        for (record, _) in place.long_names.iter().rev() {
            let long = record.strip_suffix('~').unwrap_or(record);
            if self.backend().is_named(long, long != place.path).await? {
                break;
            }
            match self.backend().delete(&stored(record), text).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        deleted
    }

    /// Deletes a stream of objects, in as many requests as the store needs for as many,
    /// and gives each path back, in the order in which they came.
    pub fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let each = self.delete_each(paths);
        each.map(|(path, deleted)| deleted.map(|()| path.unwrap_or_default()))
            .boxed()
    }

    /// The same, and tells of which path an error is, where it is one's.
    pub(crate) fn delete_each(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, (Option<Path>, Result<()>)> {
        // What was asked for, until its answer comes: the store knows it by other names.
        let asked = Arc::<Mutex<VecDeque<Asked>>>::default();
        let (vault, asking) = (self.clone(), Arc::clone(&asked));
        let stored_paths = paths.filter_map(move |path| {
            let (vault, asking) = (vault.clone(), Arc::clone(&asking));
            async move {
                let place = match &path {
                    Ok(path) => vault.place_to_delete(path.as_ref()).await,
                    Err(_) => Err(Error::Cancelled),
                };
                let (asked, sent) = match (path, place) {
                    (Ok(path), Ok(place)) => {
                        let sent = stored(&place.path);
                        (Asked::Sent(path, place, sent.clone()), Some(Ok(sent)))
                    }
                    (Ok(path), Err(error)) => (Asked::Refused(Some(path), error), None),
                    (Err(error), _) => (Asked::Refused(None, error), None),
                };
                locked(&asking).push_back(asked);
                sent
            }
        });
        let answers = self.backend().inner().delete_stream(stored_paths.boxed());
        let state = (self.clone(), asked, answers.fuse(), None);
        futures_util::stream::unfold(state, async |(vault, asked, mut answers, mut answer)| {
            // What was refused here comes in its turn, between what was sent.
            let is_refused = || locked(&asked).front().is_some_and(Asked::is_refused);
            if answer.is_none() && !is_refused() {
                answer = answers.next().await;
            }
            let first = locked(&asked).pop_front()?;
            let done = match first {
                Asked::Refused(path, error) => (path, Err(error)),
                Asked::Sent(path, place, sent) => {
                    let text = path.as_ref();
                    let deleted = match answer.take() {
                        Some(Ok(gone)) if gone == sent => Ok(()),
                        Some(Err(error)) => Err(Error::store(error, text)),
                        // One error may stand for a whole request of many: what comes next
                        // is the answer to a later path.
                        other => {
                            let is_later =
                                |gone: &Path| locked(&asked).iter().any(|a| a.is_sent_as(gone));
                            answer = other.filter(|gone| gone.as_ref().is_ok_and(is_later));
                            Err(Error::store(unanswered(), text))
                        }
                    };
                    let done = vault.deleted(text, &place, deleted).await;
                    (Some(path), done)
                }
            };
            Some((done, (vault, asked, answers, answer)))
        })
        .boxed()
    }
}

fn unanswered() -> object_store::Error {
    object_store::Error::Generic {
        store: "Kluis",
        source: "the store did not say whether it was deleted".into(),
    }
}

/// One path of a stream of those that are to be deleted.
enum Asked {
    /// With the path that the store knows it by.
    Sent(Path, StoredPath, Path),
    Refused(Option<Path>, Error),
}

impl Asked {
    fn is_sent_as(&self, path: &Path) -> bool {
        matches!(self, Self::Sent(_, _, sent) if sent == path)
    }

    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(..))
    }
}

/// The length of an object by the store's word; nothing of one that no object has.
pub(crate) fn claimed_size(suite: Suite, stored: u64) -> u64 {
    Layout::of_stored(suite, stored).map_or(0, |layout| layout.plaintext_length())
}

/// What a stored path turns out to be.
pub(crate) enum Decoded {
    /// The path of an object or folder.
    Path(String),
    /// The record of a long name.
    LongNameRecord,
    /// A long name whose record is missing or altered: reachable by its name only.
    Nameless,
    /// Not of this vault, or damaged.
    Foreign,
}

/// Decrypts stored paths, remembering the folders on the way to the last one.
pub(crate) struct Names {
    /// The stored path that everything lies below.
    under: String,
    /// The names of that folder, and the folders below it on the way.
    folders: Vec<Folder>,
    suite: Suite,
}

struct Folder {
    /// Stored segment; empty for the first.
    stored: String,
    /// Path in the vault; empty for the root.
    path: String,
    names: Arc<FolderNames>,
}

impl Names {
    pub(crate) fn of(folder: access::Folder) -> Self {
        Self {
            under: folder.stored,
            folders: vec![Folder {
                stored: String::new(),
                path: folder.path,
                names: Arc::new(folder.names),
            }],
            suite: folder.suite,
        }
    }

    /// The entry of a listing as the vault's user knows it. One with an authentic
    /// name and a length that no object has is listed as empty, so that who copies
    /// or reads it is told that it was altered.
    async fn object(
        &mut self,
        store: &Backend,
        meta: ObjectMeta,
        counts: &Counts,
    ) -> Result<Option<ObjectMeta>> {
        let path = self.path(store, meta.location.as_ref(), counts).await?;
        let size = claimed_size(self.suite, meta.size);
        Ok(path.map(|location| ObjectMeta {
            location,
            size,
            ..meta
        }))
    }

    /// What was listed as the vault's user knows it, and an [`Unlisted`] beside it.
    pub(crate) async fn listing(
        &mut self,
        store: &Backend,
        below: ListResult,
    ) -> Result<ListResult> {
        let counts = Counts::default();
        let mut list = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: below.extensions,
        };
        for meta in below.objects {
            list.objects
                .extend(self.object(store, meta, &counts).await?);
        }
        for folder in below.common_prefixes {
            let path = self.path(store, folder.as_ref(), &counts).await?;
            list.common_prefixes.extend(path);
        }
        list.extensions.insert(counts.so_far());
        Ok(list)
    }

    /// The path of an object or folder; what has none is counted.
    async fn path(
        &mut self,
        store: &Backend,
        stored_path: &str,
        counts: &Counts,
    ) -> Result<Option<Path>> {
        match self.decode(store, stored_path).await? {
            Decoded::Path(path) => {
                let path = Path::parse(path).ok();
                if path.is_none() {
                    counts.foreign();
                }
                return Ok(path);
            }
            Decoded::LongNameRecord => {}
            // Unless it was deleted with its record since it was listed.
            Decoded::Nameless if !store.is_named(stored_path, true).await? => {}
            Decoded::Nameless => counts.nameless(),
            Decoded::Foreign => counts.foreign(),
        }
        Ok(None)
    }

    pub(crate) async fn decode(&mut self, store: &Backend, stored_path: &str) -> Result<Decoded> {
        let Some(below) = stored_path
            .strip_prefix(&self.under)
            .and_then(|p| p.strip_prefix('/'))
        else {
            return Ok(Decoded::Foreign);
        };
        let mut segments = below.split('/').peekable();
        let mut depth = 0;
        loop {
            let Some(segment) = segments.next() else {
                return Ok(Decoded::Foreign);
            };
            let last = segments.peek().is_none();
            if !last
                && self
                    .folders
                    .get(depth + 1)
                    .is_some_and(|folder| folder.stored == segment)
            {
                depth += 1;
                continue;
            }
            self.folders.truncate(depth + 1);
            let Some(folder) = self.folders.last() else {
                return Ok(Decoded::Foreign);
            };
            let name = match folder.names.decrypt(segment) {
                DecodedSegment::Name(name) => name,
                DecodedSegment::LongNameRecord if last => return Ok(Decoded::LongNameRecord),
                DecodedSegment::Long => {
                    let parent = stored_path.len() - below.len() + offset_of(below, segment);
                    let record = format!("{}{segment}~", &stored_path[..parent]);
                    match store.record(&record, FolderNames::MAX_LONG_NAME).await {
                        Ok(Some(found)) => match folder.names.decrypt_long(segment, &found.bytes) {
                            Ok(name) => name,
                            Err(_) => return Ok(nameless(stored_path)),
                        },
                        Ok(None) | Err(Error::LimitExceeded { .. }) => {
                            return Ok(nameless(stored_path));
                        }
                        Err(error) => return Err(error),
                    }
                }
                DecodedSegment::LongNameRecord | DecodedSegment::Foreign => {
                    return Ok(Decoded::Foreign);
                }
            };
            let path = if folder.path.is_empty() {
                name.clone()
            } else {
                format!("{}/{name}", folder.path)
            };
            if last {
                return Ok(Decoded::Path(path));
            }
            let names = Arc::new(folder.names.child(&name));
            self.folders.push(Folder {
                stored: segment.to_owned(),
                path,
                names,
            });
            depth += 1;
        }
    }
}

/// What lies at a path with a segment of no name: the record of another name further
/// down is no object.
fn nameless(stored_path: &str) -> Decoded {
    if stored_path.ends_with('~') {
        Decoded::LongNameRecord
    } else {
        Decoded::Nameless
    }
}

/// Where a piece of a text begins in it.
fn offset_of(text: &str, piece: &str) -> usize {
    piece.as_ptr().addr() - text.as_ptr().addr()
}
