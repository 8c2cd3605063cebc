//! A folder of this machine as a store.
//!
//! `LocalFileSystem` does the work, but for what others can put into a folder and
//! no store has: it ends a listing at the first name that is not UTF-8 or holds a
//! control character (Finder makes `Icon\r`) and at a loop of links, leaves pipes
//! and devices out, and waits for ever where one of these is opened. Here each of
//! them is an entry: under an escaped name, and empty, which nothing is that was
//! written. So what is not of the vault is counted, and what lies in the place of
//! something that is, is found damaged.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kluis::object_store::local::LocalFileSystem;
use kluis::object_store::path::Path;
use kluis::object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{Metadata, metadata, symlink_metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};
use std::time::SystemTime;
use tokio::runtime::Handle;
use walkdir::{DirEntry, IntoIter, WalkDir};

/// What errors call the store; kluis tells by it that a disk failed and no network.
const NAME: &str = "LocalFileSystem";
/// Entries that one thread reads before it hands them on.
const BATCH: usize = 1_024;

#[derive(Debug)]
pub(super) struct LocalFolder {
    files: LocalFileSystem,
    root: PathBuf,
}

impl LocalFolder {
    pub(super) fn open(folder: &FilePath) -> Result<Self> {
        let files = LocalFileSystem::new_with_prefix(folder)?
            // What `cp` reports as copied survives a power cut.
            .with_fsync(true)
            // A folder that lost its last object is gone, as on other stores.
            .with_automatic_cleanup(true);
        let root = folder.canonicalize().map_err(failed)?;
        Ok(Self { files, root })
    }

    fn walk(&self, prefix: Option<&Path>) -> Result<Walk> {
        let folder = match prefix {
            Some(prefix) => self.files.path_to_filesystem(prefix)?,
            None => self.root.clone(),
        };
        let entries = WalkDir::new(folder).min_depth(1).follow_links(true);
        Ok(Walk {
            entries,
            root: self.root.clone(),
        })
    }
}

/// Where a listing begins.
struct Walk {
    entries: WalkDir,
    root: PathBuf,
}

/// One entry of a listing.
enum Found {
    Folder(Path),
    Object(ObjectMeta),
}

impl Found {
    fn new(entry: walkdir::Result<DirEntry>, root: &FilePath) -> Option<Result<Self>> {
        let (path, about) = match entry {
            Ok(entry) => match entry.metadata() {
                Ok(about) => (entry.into_path(), about),
                Err(error) => return Self::unreadable(error, root),
            },
            Err(error) => return Self::unreadable(error, root),
        };
        let location = location(&path, root)?;
        if about.is_dir() {
            return Some(Ok(Self::Folder(location)));
        }
        Some(Ok(Self::Object(object(location, &about))))
    }

    /// A link that leads nowhere or in circles is an entry; what was removed
    /// meanwhile is none; the rest is a fault of the disk.
    fn unreadable(error: walkdir::Error, root: &FilePath) -> Option<Result<Self>> {
        let path = error.path()?.to_owned();
        match symlink_metadata(&path) {
            Ok(about) if about.is_symlink() => {
                let location = location(&path, root)?;
                Some(Ok(Self::Object(object(location, &about))))
            }
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
            _ => Some(Err(failed(error.into()))),
        }
    }
}

/// The path of a file below the root as a store would call it. Nothing for an upload
/// that has not ended.
fn location(path: &FilePath, root: &FilePath) -> Option<Path> {
    let below = path.strip_prefix(root).ok()?.to_string_lossy();
    let name = below.rsplit('/').next()?;
    let staged = name.split_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    // An escaped name holds a `%`, which no name of ours does.
    (!staged).then(|| Path::parse(&below).unwrap_or_else(|_| Path::from(below.as_ref())))
}

/// Only a regular file has content.
fn object(location: Path, about: &Metadata) -> ObjectMeta {
    let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    ObjectMeta {
        location,
        last_modified: modified.into(),
        size: if about.is_file() { about.len() } else { 0 },
        e_tag: about.is_file().then(|| e_tag(about)),
        version: None,
    }
}

/// The same as where `LocalFileSystem` is asked for the object itself.
fn e_tag(about: &Metadata) -> String {
    let modified = about.modified().ok();
    let since = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let micros = since.unwrap_or_default().as_micros();
    format!("\"{:x}-{micros:x}-{:x}\"", about.ino(), about.len())
}

fn failed(source: io::Error) -> Error {
    Error::Generic {
        store: NAME,
        source: Box::new(source),
    }
}

/// A listing in batches, each read on a thread that may block; where there is no
/// runtime the caller's may.
fn in_batches(entries: IntoIter, root: PathBuf) -> BoxStream<'static, Result<Found>> {
    let found = entries.filter_map(move |entry| Found::new(entry, &root));
    if Handle::try_current().is_err() {
        return futures_util::stream::iter(found).boxed();
    }
    futures_util::stream::unfold(Some(found), |found| async {
        let mut found = found?;
        let read = move || {
            let batch: Vec<_> = found.by_ref().take(BATCH).collect();
            (batch, found)
        };
        match tokio::task::spawn_blocking(read).await {
            Ok((batch, _)) if batch.is_empty() => None,
            Ok((batch, found)) => Some((futures_util::stream::iter(batch), Some(found))),
            Err(error) => {
                let failed = vec![Err(failed(error.into()))];
                Some((futures_util::stream::iter(failed), None))
            }
        }
    })
    .flatten()
    .boxed()
}

impl fmt::Display for LocalFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for LocalFolder {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = self.files.path_to_filesystem(location)?;
        let about = metadata(&path).or_else(|_| symlink_metadata(&path));
        match about {
            Ok(about) if !about.is_file() && !about.is_dir() => Ok(GetResult {
                payload: GetResultPayload::Stream(futures_util::stream::empty().boxed()),
                meta: object(location.clone(), &about),
                range: 0..0,
                attributes: Default::default(),
                extensions: Default::default(),
            }),
            _ => self.files.get_opts(location, options).await,
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let walk = match self.walk(prefix) {
            Ok(walk) => walk,
            Err(error) => return futures_util::stream::iter([Err(error)]).boxed(),
        };
        in_batches(walk.entries.into_iter(), walk.root)
            .filter_map(async |found| match found {
                Ok(Found::Folder(_)) => None,
                Ok(Found::Object(meta)) => Some(Ok(meta)),
                Err(error) => Some(Err(error)),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let walk = self.walk(prefix)?;
        let mut children = in_batches(walk.entries.max_depth(1).into_iter(), walk.root);
        let mut folders = BTreeSet::new();
        let mut objects = Vec::new();
        while let Some(found) = children.next().await {
            match found? {
                Found::Folder(path) => drop(folders.insert(path)),
                Found::Object(meta) => objects.push(meta),
            }
        }
        Ok(ListResult {
            common_prefixes: folders.into_iter().collect(),
            objects,
            extensions: Default::default(),
        })
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}
