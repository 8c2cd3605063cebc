//! Listing and deleting: stored names are decrypted folder by folder. What does
//! not decrypt is foreign: passed over, and named by `check`.

use crate::backend::{Backend, stored};
use crate::vault::{Vault, path};
use crate::{Error, Result};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use kluis_crypto::{DecodedSegment, FolderNames, objects_prefix, plaintext_length};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta};
use std::sync::Arc;

/// Heads that are fetched at a time where padding hides sizes.
const HEADS_AT_ONCE: usize = 16;
/// Entries of one folder that are held in memory.
const MAX_CHILDREN: usize = 1 << 22;

impl Vault {
    /// Lists every object below a folder, or in the vault, in the order of the
    /// store, which is that of the encrypted names. Sizes are those of the
    /// contents, by the store's word; times, e-tags and versions are the store's.
    ///
    /// # Errors
    /// `InvalidInput` for a prefix that is no path; otherwise those of the store.
    ///
    /// # Security
    /// Names and places are authentic, the list is not: the store can leave
    /// objects out, and show ones that fail when they are read.
    pub fn list(&self, prefix: Option<&str>) -> BoxStream<'static, Result<ObjectMeta>> {
        let vault = self.clone();
        let prefix = prefix.map(str::to_owned);
        let listing = async move {
            let control = vault.control()?;
            let (under, names) = match &prefix {
                None => (
                    objects_prefix().to_owned(),
                    Names::root(FolderNames::of(control.ledger.root())),
                ),
                Some(prefix) => {
                    let folder = path(prefix)?;
                    let stored = control
                        .ledger
                        .root()
                        .store_path(&folder)
                        .map_err(|e| Error::core(e, prefix))?;
                    let mut names = FolderNames::of(control.ledger.root());
                    for segment in folder.segments() {
                        names = names.child(segment);
                    }
                    (
                        stored.path.clone(),
                        Names::below(stored.path, folder.as_str().to_owned(), names),
                    )
                }
            };
            let padded = control.ledger.root().is_padded();
            let metas = vault.backend().list(Some(&under));
            let state = (metas, names, vault.clone());
            let decoded =
                futures_util::stream::try_unfold(state, async |(mut metas, mut names, vault)| {
                    while let Some(meta) = metas.try_next().await? {
                        if let Some(meta) = names.object(vault.backend(), meta).await? {
                            return Ok(Some((meta, (metas, names, vault))));
                        }
                    }
                    Ok(None)
                });
            Ok::<_, Error>(if padded {
                vault.with_true_sizes(decoded.boxed())
            } else {
                decoded.boxed()
            })
        };
        futures_util::stream::once(listing).try_flatten().boxed()
    }

    /// Replaces the padded sizes of a listing by the true ones: a head for each.
    fn with_true_sizes(
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

    /// Lists the objects and folders directly in a folder, each sorted by name.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_with_delimiter(&self, prefix: Option<&str>) -> Result<ListResult> {
        let control = self.control()?;
        let mut names = FolderNames::of(control.ledger.root());
        let mut under = objects_prefix().to_owned();
        if let Some(prefix) = prefix {
            let folder = path(prefix)?;
            under = control
                .ledger
                .root()
                .store_path(&folder)
                .map_err(|e| Error::core(e, prefix))?
                .path;
            for segment in folder.segments() {
                names = names.child(segment);
            }
        }
        let below = self.backend().list_with_delimiter(&under).await?;
        if below.objects.len() + below.common_prefixes.len() > MAX_CHILDREN {
            return Err(Error::LimitExceeded {
                what: "the listing of one folder".to_owned(),
            });
        }
        let mut names = match prefix {
            Some(prefix) => Names::below(under, prefix.to_owned(), names),
            None => Names::root(names),
        };
        let mut objects = Vec::new();
        for meta in below.objects {
            objects.extend(names.object(self.backend(), meta).await?);
        }
        let mut common_prefixes = Vec::new();
        for folder in below.common_prefixes {
            if let Decoded::Path(path) = names.decode(self.backend(), folder.as_ref()).await? {
                common_prefixes.extend(Path::parse(path).ok());
            }
        }
        if control.ledger.root().is_padded() {
            let listed = futures_util::stream::iter(objects.into_iter().map(Ok)).boxed();
            objects = self.clone().with_true_sizes(listed).try_collect().await?;
        }
        objects.sort_unstable_by(|a: &ObjectMeta, b| a.location.cmp(&b.location));
        common_prefixes.sort_unstable();
        Ok(ListResult {
            common_prefixes,
            objects,
            extensions: Default::default(),
        })
    }

    /// Deletes an object. Its older versions are the store's to keep or not.
    ///
    /// # Errors
    /// `NotFound` where the store says so; S3 does not.
    pub async fn delete(&self, path: impl AsRef<str>) -> Result<()> {
        let text = path.as_ref();
        let path = crate::vault::path(text)?;
        let control = self.control()?;
        let place = control
            .ledger
            .root()
            .store_path(&path)
            .map_err(|e| Error::core(e, text))?;
        let deleted = self.backend().delete(&stored(&place.path), text).await;
        if !matches!(deleted, Ok(()) | Err(Error::NotFound { .. })) {
            return deleted;
        }
        // Also behind one that is gone: whoever deleted it may have died here.
        for (record, _) in place.long_names.iter().rev() {
            let long = record.strip_suffix('~').unwrap_or(record);
            if self.is_named(long, long != place.path).await? {
                break;
            }
            match self.backend().delete(&stored(record), text).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        deleted
    }

    /// Whether anything lies below a stored folder, or is an object of its name.
    async fn is_named(&self, folder: &str, or_object: bool) -> Result<bool> {
        if self
            .backend()
            .list(Some(folder))
            .try_next()
            .await?
            .is_some()
        {
            return Ok(true);
        }
        if !or_object {
            return Ok(false);
        }
        match self.backend().head(&stored(folder), folder).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a stream of objects, some at a time, and gives each path back.
    pub fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let vault = self.clone();
        paths
            .map(move |path| {
                let vault = vault.clone();
                async move {
                    let path = path?;
                    vault.delete(&path).await.map(|()| path)
                }
                .boxed()
            })
            .buffered(HEADS_AT_ONCE)
            .boxed()
    }
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
}

struct Folder {
    /// Stored segment; empty for the first.
    stored: String,
    /// Path in the vault; empty for the root.
    path: String,
    names: Arc<FolderNames>,
}

impl Names {
    pub(crate) fn root(names: FolderNames) -> Self {
        Self::below(objects_prefix().to_owned(), String::new(), names)
    }

    fn below(under: String, path: String, names: FolderNames) -> Self {
        Self {
            under,
            folders: vec![Folder {
                stored: String::new(),
                path,
                names: Arc::new(names),
            }],
        }
    }

    /// The entry of a listing as the vault's user knows it. One with an authentic
    /// name and a length that no object has is listed as empty, so that who copies
    /// or reads it is told that it was altered.
    async fn object(&mut self, store: &Backend, meta: ObjectMeta) -> Result<Option<ObjectMeta>> {
        let Decoded::Path(path) = self.decode(store, meta.location.as_ref()).await? else {
            return Ok(None);
        };
        let size = plaintext_length(meta.size).unwrap_or(0);
        Ok(Path::parse(path).ok().map(|location| ObjectMeta {
            location,
            size,
            ..meta
        }))
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
                            Err(_) => return Ok(Decoded::Nameless),
                        },
                        Ok(None) | Err(Error::LimitExceeded { .. }) => {
                            return Ok(Decoded::Nameless);
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

/// Where a piece of a text begins in it.
fn offset_of(text: &str, piece: &str) -> usize {
    piece.as_ptr().addr() - text.as_ptr().addr()
}
