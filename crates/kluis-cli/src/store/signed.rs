//! What a store hands out by URLs that it signed, as a store that can be read.
//!
//! A link is from a stranger as often as from a friend: only the server that its own
//! URL names is asked, with GET, without credentials, cookies or a referrer, and no
//! redirection is followed. A signed URL is as good as credentials, so that no error
//! and no name shows one.

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use kluis::LinkObject;
use kluis::object_store::path::Path;
use kluis::object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode, redirect};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;
use url::Url;

/// What errors call the store.
const NAME: &str = "signed URLs";
/// A request that failed on its way, or at a busy server, is made again.
const TRIES: u32 = 4;

pub(crate) struct SignedStore {
    client: Client,
    /// The first of all, which alone says which server is asked.
    record: Url,
    record_path: Path,
    objects: RwLock<BTreeMap<Path, (u64, Url)>>,
    opened: OnceLock<DateTime<Utc>>,
}

impl SignedStore {
    /// One that has a link's record, and nothing else yet.
    pub(crate) fn new(record: Url, record_path: Path) -> Result<Self> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("kluis/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(failed)?;
        Ok(Self {
            client,
            record,
            record_path,
            objects: RwLock::default(),
            opened: OnceLock::new(),
        })
    }

    /// Hands out these as well.
    ///
    /// # Errors
    /// `NotSupported` where one lies on another server.
    pub(crate) fn add(&self, objects: &[LinkObject]) -> Result<()> {
        let mut known = BTreeMap::new();
        for object in objects {
            let url = Url::parse(&object.url).map_err(|_| elsewhere())?;
            let path = Path::parse(&object.path).map_err(|_| elsewhere())?;
            if url.origin() != self.record.origin() || !url.username().is_empty() {
                return Err(elsewhere());
            }
            known.insert(path, (object.size, url));
        }
        let _ = self.opened.set(Utc::now());
        *self.objects.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    fn url(&self, path: &Path) -> Result<Url> {
        if *path == self.record_path {
            return Ok(self.record.clone());
        }
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let found = objects.get(path).map(|(_, url)| url.clone());
        found.ok_or_else(|| Error::NotFound {
            path: path.to_string(),
            source: "the link does not lead to it".into(),
        })
    }

    async fn ask(&self, path: &Path, options: &GetOptions) -> Result<Response> {
        let mut request = self.client.get(self.url(path)?);
        if let Some(range) = &options.range {
            let range = match range {
                GetRange::Bounded(Range { start, end }) => {
                    format!("bytes={start}-{}", end.saturating_sub(1))
                }
                GetRange::Offset(start) => format!("bytes={start}-"),
                GetRange::Suffix(count) => format!("bytes=-{count}"),
            };
            request = request.header(RANGE, range);
        }
        if let Some(tag) = &options.if_match {
            request = request.header(IF_MATCH, tag);
        }
        let request = request.build().map_err(failed)?;
        let mut wait = Duration::from_millis(200);
        for last in (0..TRIES).map(|n| n + 1 == TRIES) {
            // One without a body can be cloned.
            let again = request.try_clone().ok_or_else(|| generic("no request"))?;
            match self.client.execute(again).await {
                Ok(answer) if !is_passing(answer.status()) || last => return Ok(answer),
                Err(error) if last || error.is_builder() => return Err(failed(error)),
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(generic("the server does not answer"))
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn elsewhere() -> Error {
    Error::NotSupported {
        source: "the link leads to another server than its own".into(),
    }
}

fn generic(what: impl Into<String>) -> Error {
    Error::Generic {
        store: NAME,
        source: what.into().into(),
    }
}

/// Without the URL, which such an error would show.
fn failed(error: reqwest::Error) -> Error {
    Error::Generic {
        store: NAME,
        source: Box::new(error.without_url()),
    }
}

fn refused() -> Error {
    Error::PermissionDenied {
        path: String::new(),
        source: "a link is for reading".into(),
    }
}

/// The length of an answer's body, and of the whole object.
fn lengths(answer: &Response, whole: bool) -> Result<(Range<u64>, u64)> {
    let header = |name| answer.headers().get(name)?.to_str().ok();
    if whole {
        let length: Option<u64> = header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| generic("an answer without its length"))?;
        return Ok((0..length, length));
    }
    let parse = |text: &str| {
        let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (start, last) = range.split_once('-')?;
        let end = last.parse::<u64>().ok()?.checked_add(1)?;
        Some((start.parse().ok()?..end, size.parse().ok()?))
    };
    header(CONTENT_RANGE)
        .and_then(parse)
        .ok_or_else(|| generic("an answer without its range"))
}

impl fmt::Debug for SignedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedStore").finish_non_exhaustive()
    }
}

impl fmt::Display for SignedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

#[async_trait::async_trait]
impl ObjectStore for SignedStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.ask(location, &options).await?;
        let path = || location.to_string();
        let source = || format!("the server answers {}", answer.status());
        match answer.status() {
            StatusCode::OK if options.range.is_none() => {}
            StatusCode::PARTIAL_CONTENT if options.range.is_some() => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::NotFound {
                    path: path(),
                    source: source().into(),
                });
            }
            StatusCode::PRECONDITION_FAILED => {
                return Err(Error::Precondition {
                    path: path(),
                    source: source().into(),
                });
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                return Err(Error::PermissionDenied {
                    path: path(),
                    source: source().into(),
                });
            }
            _ => return Err(generic(source())),
        }
        let (range, size) = lengths(&answer, options.range.is_none())?;
        let header = |name| answer.headers().get(name)?.to_str().ok();
        let time = header(LAST_MODIFIED).and_then(|t| DateTime::parse_from_rfc2822(t).ok());
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: time.map_or(DateTime::UNIX_EPOCH, |time| time.with_timezone(&Utc)),
            size,
            e_tag: header(ETAG).map(str::to_owned),
            version: None,
        };
        // Only GET is signed: of a head the body is not read.
        let body = (!options.head).then_some(answer);
        let pieces = stream::try_unfold(body, async |answer| {
            let Some(mut answer) = answer else {
                return Ok(None);
            };
            let piece = answer.chunk().await.map_err(failed)?;
            Ok(piece.map(|piece| (piece, Some(answer))))
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(pieces.boxed()),
            meta,
            range,
            attributes: Attributes::new(),
            extensions: Default::default(),
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let time = *self.opened.get().unwrap_or(&DateTime::UNIX_EPOCH);
        let below = objects.iter().filter(|(path, _)| {
            prefix.is_none_or(|prefix| *path != prefix && path.prefix_matches(prefix))
        });
        let listed = below.map(|(path, (size, _))| {
            Ok(ObjectMeta {
                location: path.clone(),
                last_modified: time,
                size: *size,
                e_tag: None,
                version: None,
            })
        });
        stream::iter(listed.collect::<Vec<_>>()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut folders = BTreeSet::new();
        let mut objects = Vec::new();
        let root = Path::default();
        let mut listing = self.list(prefix);
        while let Some(meta) = listing.next().await {
            let meta = meta?;
            let parts = meta.location.prefix_match(prefix.unwrap_or(&root));
            let mut parts = parts.into_iter().flatten();
            match (parts.next(), parts.next()) {
                (Some(folder), Some(_)) => {
                    let above = prefix.unwrap_or(&root).parts();
                    folders.insert(above.chain([folder]).collect());
                }
                _ => {
                    drop(parts);
                    objects.push(meta);
                }
            }
        }
        Ok(ListResult {
            common_prefixes: folders.into_iter().collect(),
            objects,
            extensions: Default::default(),
        })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(refused())
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(refused()) }).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused())
    }
}
