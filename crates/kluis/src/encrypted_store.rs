//! The drop-in: a vault as an [`ObjectStore`], which whoever takes one cannot tell from a
//! plain one. Nothing is decided here: each method says in the words of `object_store`
//! what the vault's own method of that name does.

use crate::access::OUTSIDE;
use crate::list::Names;
use crate::object::PutOptions;
use crate::vault::Vault;
use crate::write::from_inside;
use crate::{Error, Result, access};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error as StoreError, Extensions, GetOptions, GetRange, GetResult,
    GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode,
    Result as StoreResult, UploadPart,
};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// A vault, or a folder of one, as an [`ObjectStore`]: see [`Vault::object_store`].
///
/// ```
/// # use kluis::{Password, Vault, object_store::memory::InMemory};
/// use kluis::object_store::{ObjectStore, ObjectStoreExt};
/// # use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bare = InMemory::new();
/// let store: Arc<dyn ObjectStore> = Arc::new(bare);
/// // This line is what makes it end-to-end encrypted.
/// let store: Arc<dyn ObjectStore> =
///     Vault::create(store, Password::new("correct horse battery staple")).await?.object_store();
///
/// store.put(&"reports/2026.csv".into(), "a,b\n1,2\n".into()).await?;
/// assert_eq!(store.head(&"reports/2026.csv".into()).await?.size, 8);
/// # Ok(())
/// # }
/// ```
///
/// Sizes and ranges are those of the content; e-tags, versions and times are the store's,
/// and conditions on them are carried out by the store. Attributes are sealed. Paths are
/// the vault's: a [`Path`] is taken as it is, so that what `Path::from` has escaped is
/// escaped in the vault too.
///
/// What is different from the store below:
/// - Ranges count from the length that the store claims until the end of the object was
///   read; what comes of them is authentic, and a false length is an error.
/// - The first read of an object's range takes a request more, for its header
///   ([`VaultOptions::header_cache`](crate::VaultOptions::header_cache)); so does the first
///   whole read of one above 1 MiB, for its end.
/// - A write whose condition is refused takes one request more, to see whether it was
///   this very write that came first, its answer lost.
/// - Copies and renames read and write, for an object's place is part of its encryption;
///   and `list_with_offset` lists all, for the order of the store is not that of the names.
/// - Objects of 8 MiB and more go up in parts, unless there is a condition. A copy that may
///   not replace is possible up to [`MAX_CONDITIONAL_STREAM`](crate::MAX_CONDITIONAL_STREAM).
/// - Tags are for the store to read, and not sent: nothing of an object is to be in clear.
///   A storage class goes to the store as it is; copies do not keep it.
///
/// # Errors
/// Of `object_store`, with the paths that were asked for. What that has no word for, such
/// as [`Error::Tampered`], is `Generic`; [`Error::of`] gives back the vault's own error, but
/// for `NotImplemented` and `NotModified`, which say all there is.
///
/// # Security
/// That of the vault: nothing that was not authenticated is given out, listings can be
/// incomplete, and sizes in them are the store's word.
#[derive(Clone)]
pub struct EncryptedStore {
    vault: Vault,
    /// Empty for the whole vault.
    root: Arc<str>,
}

impl Vault {
    /// The vault as an [`ObjectStore`] for programs that take one. It stays the same
    /// vault: what the owner decides counts, and when the vault is locked, it is locked.
    pub fn object_store(&self) -> Arc<EncryptedStore> {
        Arc::new(EncryptedStore {
            vault: self.clone(),
            root: Arc::from(""),
        })
    }

    /// A folder of the vault as an [`ObjectStore`], which reaches nothing outside of it:
    /// also one that was received, by the name that it has here.
    ///
    /// # Errors
    /// `InvalidInput` for what is no path.
    pub fn object_store_at(&self, folder: impl AsRef<str>) -> Result<Arc<EncryptedStore>> {
        let folder = access::path(folder.as_ref())?;
        Ok(Arc::new(EncryptedStore {
            vault: self.clone(),
            root: Arc::from(folder.as_str()),
        }))
    }
}

impl Error {
    /// The vault's error behind one that came out of its [`ObjectStore`], through whatever
    /// else has wrapped it.
    pub fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref() {
                return Some(error);
            }
            cause = error.source();
        }
        None
    }
}

impl EncryptedStore {
    /// The same with pages, of whoever has a store with pages: `inner` has to be what the
    /// vault was opened in.
    ///
    /// # Security
    /// As of other listings; the page tokens are the store's, in clear.
    pub fn paginated(&self, inner: Arc<dyn PaginatedListStore>) -> PaginatedStore {
        PaginatedStore {
            store: self.clone(),
            inner,
        }
    }

    /// The path in the vault.
    fn text(&self, location: &Path) -> String {
        match (&*self.root, location.as_ref()) {
            (_, "") | ("", _) => location.as_ref().to_owned(),
            (root, below) => format!("{root}/{below}"),
        }
    }

    fn folder(&self, prefix: Option<&Path>) -> Option<String> {
        let prefix = prefix.map_or("", |prefix| prefix.as_ref());
        match (&*self.root, prefix) {
            ("", "") => None,
            (root, "") => Some(root.to_owned()),
            ("", below) => Some(below.to_owned()),
            (root, below) => Some(format!("{root}/{below}")),
        }
    }

    /// The path below the root of a path in the vault.
    fn below(&self, path: Path) -> Option<Path> {
        if self.root.is_empty() {
            return Some(path);
        }
        let below = path.as_ref().strip_prefix(&*self.root)?.strip_prefix('/')?;
        Path::parse(below).ok()
    }

    fn listed(&self, meta: ObjectMeta) -> Option<ObjectMeta> {
        let location = self.below(meta.location)?;
        Some(ObjectMeta { location, ..meta })
    }
}

/// The error in the words of `object_store`, about a path as it was asked for.
fn refused(error: Error, location: &Path) -> StoreError {
    let path = location.to_string();
    match error {
        Error::NotFound { .. } => StoreError::NotFound {
            path,
            source: error.into(),
        },
        Error::AlreadyExists { .. } => StoreError::AlreadyExists {
            path,
            source: error.into(),
        },
        Error::Conflict { .. } => StoreError::Precondition {
            path,
            source: error.into(),
        },
        Error::AccessDenied { .. } => StoreError::PermissionDenied {
            path,
            source: error.into(),
        },
        Error::Unsupported { what } => StoreError::NotImplemented {
            operation: what,
            implementer: "Kluis".to_owned(),
        },
        Error::Store {
            source: StoreError::NotModified { .. },
        } => StoreError::NotModified {
            path,
            source: "it is as the conditions say".into(),
        },
        error => generic(error),
    }
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Generic {
        store: "Kluis",
        source: source.into(),
    }
}

impl fmt::Display for EncryptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kluis({})", self.vault.id())
    }
}

impl fmt::Debug for EncryptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedStore({})", self.vault.id())
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for EncryptedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: object_store::PutOptions,
    ) -> StoreResult<PutResult> {
        let put = PutOptions {
            mode: options.mode,
            attributes: options.attributes,
            ..Default::default()
        };
        let text = self.text(location);
        let done = self
            .vault
            .put_payload(&text, payload, put, options.extensions);
        done.await.map_err(|error| refused(error, location))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let text = self.text(location);
        let upload = Upload::begin(self.vault.clone(), text, location.clone(), options);
        Ok(Box::new(upload.await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let text = self.text(location);
        let fail = |error| refused(error, location);
        let range = options.range.clone();
        if options.head {
            let found = self.vault.head_opts(&text, &options).await;
            let (info, extensions) = found.map_err(fail)?;
            let meta = ObjectMeta {
                location: location.clone(),
                ..info.meta
            };
            let range = match range {
                Some(range) => range.as_range(meta.size).map_err(generic)?,
                None => 0..meta.size,
            };
            return Ok(GetResult {
                payload: GetResultPayload::Stream(futures_util::stream::empty().boxed()),
                meta,
                range,
                attributes: info.attributes,
                extensions,
            });
        }
        let mut object = self.vault.read(&text, options).await.map_err(fail)?;
        let extensions = object.take_extensions();
        let (info, given) = (object.info().clone(), object.range());
        // Nothing behind the end is an answer of the vault, and none of a store.
        if let Some(GetRange::Offset(start)) = range
            && start == info.meta.size
        {
            let error = Error::invalid(format!("the range begins at the end, {start}"));
            return Err(refused(error, location));
        }
        let asked = location.clone();
        let stream = object
            .into_stream()
            .map_err(move |error| refused(error, &asked));
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream.boxed()),
            meta: ObjectMeta {
                location: location.clone(),
                ..info.meta
            },
            range: given,
            attributes: info.attributes,
            extensions,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let ranges = self.vault.get_ranges(self.text(location), ranges).await;
        ranges.map_err(|error| refused(error, location))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let (asking, answering) = (self.clone(), self.clone());
        let paths = locations.map(move |location| match location {
            // No path, and the vault says so.
            Ok(location) => Ok(Path::parse(asking.text(&location)).unwrap_or_default()),
            Err(source) => Err(Error::Store { source }),
        });
        let deleted = self.vault.delete_each(paths.boxed());
        deleted
            .map(move |(path, deleted)| {
                let location = path.and_then(|path| answering.below(path));
                match (deleted, location) {
                    (Ok(()), Some(location)) => Ok(location),
                    (Err(Error::Store { source }), None) => Err(source),
                    (Err(error), location) => Err(refused(error, &location.unwrap_or_default())),
                    (Ok(()), None) => Err(generic("a path that was not asked for")),
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let store = self.clone();
        let asked = prefix.cloned().unwrap_or_default();
        self.vault
            .list(self.folder(prefix).as_deref())
            .filter_map(move |meta| {
                std::future::ready(match meta {
                    Ok(meta) => store.listed(meta).map(Ok),
                    // A folder that is not there is an empty one.
                    Err(Error::NotFound { .. }) => None,
                    Err(error) => Some(Err(refused(error, &asked))),
                })
            })
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let offset = offset.clone();
        self.list(prefix)
            .try_filter(move |meta| std::future::ready(meta.location > offset))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let folder = self.folder(prefix);
        match self.vault.list_with_delimiter(folder.as_deref()).await {
            Ok(list) => Ok(self.listing(list)),
            Err(Error::NotFound { .. }) => Ok(self.listing(ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
                extensions: Extensions::new(),
            })),
            Err(error) => Err(refused(error, &prefix.cloned().unwrap_or_default())),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        let mode = match options.mode {
            CopyMode::Overwrite => PutMode::Overwrite,
            CopyMode::Create => PutMode::Create,
        };
        let (source, target) = (self.text(from), self.text(to));
        let copied = self.vault.copy_as(&source, &target, mode);
        copied
            .await
            .map_err(|error| refused_of_two(error, from, to))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => PutMode::Overwrite,
            RenameTargetMode::Create => PutMode::Create,
        };
        let (source, target) = (self.text(from), self.text(to));
        let renamed = self.vault.rename_as(&source, &target, mode);
        renamed
            .await
            .map_err(|error| refused_of_two(error, from, to))
    }
}

impl EncryptedStore {
    fn listing(&self, list: ListResult) -> ListResult {
        let folders = list.common_prefixes.into_iter();
        let objects = list.objects.into_iter();
        ListResult {
            common_prefixes: folders.filter_map(|folder| self.below(folder)).collect(),
            objects: objects.filter_map(|meta| self.listed(meta)).collect(),
            extensions: list.extensions,
        }
    }
}

/// What is not there is the source, and what is in the way the target.
fn refused_of_two(error: Error, from: &Path, to: &Path) -> StoreError {
    let is_target = |path: &str| path.ends_with(OUTSIDE);
    let is_source = matches!(&error, Error::NotFound { path } if !is_target(path));
    refused(error, if is_source { from } else { to })
}

/// An upload in parts of any size: they are one stream to the vault, which cuts its own
/// parts. Their order is that in which they were given.
struct Upload {
    location: Path,
    /// Until the upload is completed or given up.
    parts: Option<mpsc::UnboundedSender<Given>>,
    done: Shared<BoxFuture<'static, Option<PutResult>>>,
    failure: Failure,
}

/// Why an upload failed, for the first who asks.
type Failure = Arc<Mutex<Option<Error>>>;

enum Given {
    /// A part, and who waits for it to be taken.
    Part(PutPayload, oneshot::Sender<()>),
    /// Nothing comes any more, and all of it is good.
    End,
}

impl Upload {
    /// Begins an upload. What cannot be written is refused here, before there is a part.
    async fn begin(
        vault: Vault,
        text: String,
        location: Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (begins, mut begun) = oneshot::channel();
        let failure = Failure::default();
        let failed = Arc::clone(&failure);
        let put = PutOptions {
            attributes: options.attributes,
            ..Default::default()
        };
        let write = async move {
            let pieces = pieces(receiver, begins);
            let done = vault.put_pieces(&text, pieces, put, options.extensions);
            match done.await.map_err(from_inside) {
                Ok(done) => Some(done),
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            }
        };
        // On its own where there is tokio, so that parts go up while others are made;
        // elsewhere whoever waits for a part drives it.
        let done = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.spawn(write).map(|done| done.ok().flatten()).boxed(),
            Err(_) => write.boxed(),
        };
        let mut done = done.shared();
        tokio::select! {
            biased;
            Ok(()) = &mut begun => {}
            _ = &mut done => return Err(Self::failure(&failure, &location)),
        }
        Ok(Self {
            location,
            parts: Some(sender),
            done,
            failure,
        })
    }

    fn failure(failure: &Failure, location: &Path) -> StoreError {
        let first = failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match first {
            Some(error) => refused(error, location),
            None => generic("the upload has ended already"),
        }
    }
}

/// The parts as they come, from when they are first asked for. Where they stop before
/// their end, the upload is given up.
fn pieces(
    receiver: mpsc::UnboundedReceiver<Given>,
    begins: oneshot::Sender<()>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let state = (receiver, Vec::new().into_iter(), Some(begins));
    futures_util::stream::try_unfold(state, async |(mut receiver, mut part, mut waits)| {
        loop {
            let piece: Option<Bytes> = part.next();
            // Who gave the part is told when its last piece is taken.
            if part.len() == 0
                && let Some(waits) = waits.take()
            {
                let _ = waits.send(());
            }
            if let Some(piece) = piece {
                return Ok(Some((piece, (receiver, part, waits))));
            }
            match receiver.recv().await {
                Some(Given::Part(payload, waiting)) => {
                    part = payload.into_iter().collect::<Vec<_>>().into_iter();
                    waits = Some(waiting);
                }
                Some(Given::End) => return Ok(None),
                None => return Err(io::Error::other(Error::Cancelled)),
            }
        }
    })
    .boxed()
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (sender, mut taken) = oneshot::channel();
        // An upload that has ended says so below.
        if let Some(parts) = &self.parts {
            drop(parts.send(Given::Part(data, sender)));
        }
        let (mut done, failure) = (self.done.clone(), Arc::clone(&self.failure));
        let location = self.location.clone();
        async move {
            let is_taken = tokio::select! {
                biased;
                told = &mut taken => told.is_ok(),
                _ = &mut done => taken.try_recv().is_ok(),
            };
            if is_taken {
                return Ok(());
            }
            done.await;
            Err(Self::failure(&failure, &location))
        }
        .boxed()
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        match self.parts.take() {
            // One that failed says so below.
            Some(parts) => drop(parts.send(Given::End)),
            None => return Err(generic("the upload has ended already")),
        }
        let done = self.done.clone().await;
        done.ok_or_else(|| Self::failure(&self.failure, &self.location))
    }

    async fn abort(&mut self) -> StoreResult<()> {
        // Whoever gave up waiting for the end learns here how it ended.
        self.parts = None;
        if self.done.clone().await.is_some() {
            return Err(generic("the upload was completed already"));
        }
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            None | Some(Error::Cancelled) => Ok(()),
            Some(error) => Err(refused(error, &self.location)),
        }
    }
}

/// An [`EncryptedStore`] with pages: see [`EncryptedStore::paginated`].
///
/// Prefixes may end within a name; what else lies in that folder is fetched and left out,
/// so that a page may hold less than was asked for. There is no offset, for the order of
/// the store is not that of the names, and no delimiter but `/`.
#[derive(Clone)]
pub struct PaginatedStore {
    store: EncryptedStore,
    inner: Arc<dyn PaginatedListStore>,
}

impl fmt::Debug for PaginatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaginatedStore({})", self.store.vault.id())
    }
}

impl PaginatedStore {
    async fn page(
        &self,
        prefix: &str,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let is_flat = match options.delimiter.as_deref() {
            None => true,
            Some("/") => false,
            Some(_) => return Err(unsupported("pages with another delimiter than /")),
        };
        if options.offset.is_some() {
            return Err(unsupported("pages from an offset: names are encrypted"));
        }
        let (store, vault) = (&self.store, &self.store.vault);
        let above = prefix.rsplit_once('/').map_or("", |(above, _)| above);
        let above = Path::parse(above).map_err(|error| Error::invalid(error.to_string()))?;
        let folder = store.folder(Some(&above));
        let mut folders = vault.control()?.folders(folder.as_deref())?;
        let asked = folder.as_deref().unwrap_or_default().to_owned();
        let only = folders.pop().filter(|only| only.path == asked);
        let (Some(folder), true) = (only, folders.is_empty()) else {
            return Err(unsupported("pages of what was shared, all together"));
        };
        let padded = folder.padded;
        let stored = format!("{}/", folder.stored);
        let page = self.inner.list_paginated(Some(&stored), options).await;
        let page = page.map_err(|error| Error::store(error, "the listing"))?;
        let mut list = Names::of(folder)
            .listing(vault.backend(), page.result)
            .await?;
        if padded {
            let listed = futures_util::stream::iter(list.objects.into_iter().map(Ok));
            let true_sizes = vault.clone().with_true_sizes(listed.boxed());
            list.objects = true_sizes.try_collect().await?;
        }
        let mut list = store.listing(list);
        list.objects
            .retain(|meta| meta.location.as_ref().starts_with(prefix));
        list.common_prefixes
            .retain(|folder| !is_flat && folder.as_ref().starts_with(prefix));
        Ok(PaginatedListResult {
            result: list,
            page_token: page.page_token,
        })
    }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported {
        what: what.to_owned(),
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl PaginatedListStore for PaginatedStore {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        opts: PaginatedListOptions,
    ) -> StoreResult<PaginatedListResult> {
        let prefix = prefix.unwrap_or_default();
        let page = self.page(prefix, opts).await;
        page.map_err(|error| refused(error, &Path::parse(prefix).unwrap_or_default()))
    }
}
