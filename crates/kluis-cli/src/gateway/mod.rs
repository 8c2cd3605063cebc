//! The gateway: a vault as S3, for programs that know nothing of Kluis.
//!
//! `http` takes connections and refuses what must not come through, s3s parses requests and checks
//! their signatures, and here each becomes a call of `ObjectStore`. One bucket is one vault, or a
//! folder of it.

mod body;
mod error;
mod http;
mod key;
mod listing;
mod uploads;

use body::{Claims, Content};
use data_encoding::HEXLOWER;
use error::{of_store, of_write, refuse};
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{ETAG, HeaderValue};
use key::{Key, inward, outward, url_encoded};
use kluis::object_store::path::Path;
use kluis::object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, GetRange, GetResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, UpdateVersion,
};
use listing::{Item, Listings, Page, Query};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, StdError, s3_error};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use uploads::{Completed, Demands, LARGEST_PART, Room, Uploads};

/// What is larger goes to the store in parts of this size.
const PIECE: u64 = 8 << 20;
/// So many of them are on their way at once.
const PIECES: usize = 2;
/// The largest object that is put under a condition: in one request, and held whole before.
const LARGEST_CONDITIONAL: u64 = LARGEST_PART;
/// The most keys of a page, as S3 has it.
const PAGE: i32 = 1000;
/// Completing an upload is answered at its end, or from then on with signs of life.
const PATIENCE: Duration = Duration::from_secs(5);
/// Uploads that nobody goes on with are looked for so often.
const SWEEP: Duration = Duration::from_secs(600);

/// What was cut off has so long to take back what it began.
const TAKING_BACK: Duration = Duration::from_secs(2);

/// What a gateway serves, and to whom.
pub(crate) struct Settings {
    pub(crate) bucket: String,
    pub(crate) access_key: String,
    pub(crate) secret: SecretKey,
    pub(crate) read_only: bool,
    /// Bytes of memory for parts that came before their turn.
    pub(crate) memory: usize,
    /// Is told of every failure that is not the client's.
    pub(crate) report: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Serves a store until `stop` turns true.
pub(crate) async fn serve(
    store: Arc<dyn ObjectStore>,
    settings: Settings,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    let auth = OneKey {
        access_key: settings.access_key.clone(),
        secret: settings.secret.clone(),
    };
    let gateway = Gateway::new(store, settings);
    let uploads = gateway.uploads.clone();
    let mut builder = S3ServiceBuilder::new(gateway);
    builder.set_auth(auth);
    let mut config = S3Config::default();
    // 10,000 parts, or 1,000 keys to delete.
    config.xml_max_body_size = 4 << 20;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    let sweeping = async {
        loop {
            tokio::time::sleep(SWEEP).await;
            uploads.sweep().await;
        }
    };
    let cut = tokio::select! {
        cut = http::serve(listener, tls, builder.build(), stop) => cut,
        () = sweeping => false,
    };
    uploads.stop().await;
    if cut {
        // Uploads that were dropped are taken back meanwhile.
        tokio::time::sleep(TAKING_BACK).await;
    }
}

/// Whether a bucket can have this name.
pub(crate) fn is_bucket_name(name: &str) -> bool {
    s3s::path::check_bucket_name(name)
}

struct OneKey {
    access_key: String,
    secret: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key != self.access_key {
            return Err(s3_error!(
                InvalidAccessKeyId,
                "kluis serve was started with another access key"
            ));
        }
        Ok(self.secret.clone())
    }
}

struct Gateway {
    store: Arc<dyn ObjectStore>,
    settings: Settings,
    room: Arc<Room>,
    uploads: Arc<Uploads>,
    listings: Arc<Listings>,
    started: SystemTime,
}

impl Gateway {
    fn new(store: Arc<dyn ObjectStore>, settings: Settings) -> Self {
        let room = Arc::new(Room::new(settings.memory));
        let listings = Arc::new(Listings::default());
        let uploads = Uploads::new(store.clone(), room.clone(), listings.clone());
        Self {
            uploads: Arc::new(uploads),
            store,
            settings,
            room,
            listings,
            started: SystemTime::now(),
        }
    }

    fn bucket(&self, name: &str) -> S3Result<()> {
        if name == self.settings.bucket {
            return Ok(());
        }
        Err(s3_error!(
            NoSuchBucket,
            "kluis serve has one bucket, {}",
            self.settings.bucket
        ))
    }

    /// The bucket, for a request that changes something.
    fn writable(&self, bucket: &str) -> S3Result<()> {
        self.bucket(bucket)?;
        if self.settings.read_only {
            return Err(s3_error!(
                AccessDenied,
                "kluis serve was started with --read-only"
            ));
        }
        Ok(())
    }

    /// Tells the person who serves what the client cannot mend.
    fn told<T>(&self, result: S3Result<T>) -> S3Result<T> {
        if let Err(error) = &result {
            let status = error.status_code().map_or(500, |status| status.as_u16());
            if status >= 500 && *error.code() != S3ErrorCode::NotImplemented {
                (self.settings.report)(error.message().unwrap_or("an internal error"));
            }
        }
        result
    }

    async fn head(&self, path: &Path) -> S3Result<ObjectMeta> {
        self.store.head(path).await.map_err(of_store)
    }

    // -- reading

    /// What is at a key, under the conditions of a request.
    async fn fetch(&self, path: &Path, conditions: &Conditions, read: Read) -> S3Result<GetResult> {
        let mut options = GetOptions {
            head: matches!(read, Read::Head),
            ..GetOptions::default()
        };
        conditions.set(&mut options)?;
        let Read::Range(range) = read else {
            let result = self.store.get_opts(path, options).await;
            let result = result.map_err(of_store)?;
            conditions.times(&result.meta)?;
            return Ok(result);
        };
        options.range = Some(match range {
            Range::Int { first, last: None } => GetRange::Offset(first),
            Range::Int {
                first,
                last: Some(last),
            } => GetRange::Bounded(first..last.saturating_add(1)),
            Range::Suffix { length } => GetRange::Suffix(length),
        });
        let conditional = options.clone();
        let failed = match self.store.get_opts(path, options).await {
            // Nothing is a range of nothing.
            Ok(result) if !result.range.is_empty() => {
                conditions.times(&result.meta)?;
                return Ok(result);
            }
            Ok(result) => result.meta,
            Err(error) => {
                // Stores have no name for a range that is not there.
                let options = GetOptions {
                    range: None,
                    head: true,
                    ..conditional
                };
                let whole = self.store.get_opts(path, options).await.map_err(of_store)?;
                if range.check(whole.meta.size).is_ok() && whole.meta.size > 0 {
                    return Err(of_store(error));
                }
                whole.meta
            }
        };
        let mut error = s3_error!(InvalidRange, "the object ends before this range");
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::try_from(format!("bytes */{}", failed.size)) {
            headers.insert(hyper::header::CONTENT_RANGE, value);
        }
        error.set_headers(headers);
        Err(error)
    }

    /// What was fetched, on its way. A later piece that cannot be authenticated ends it: less
    /// comes than was said.
    async fn content(&self, result: GetResult) -> S3Result<StreamingBlob> {
        let report = self.settings.report.clone();
        let mut pieces = result.into_stream();
        // As long as nothing was answered an error can be.
        let first = pieces.try_next().await.map_err(of_store)?;
        let pieces = stream::iter(first.map(Ok)).chain(pieces);
        let frames = pieces.map(move |piece| match piece {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(error) => {
                let error = of_store(error);
                report(error.message().unwrap_or("an internal error"));
                Err(StdError::from(error))
            }
        });
        let body = Body::http_body_unsync(StreamBody::new(frames));
        Ok(StreamingBlob::from(body))
    }

    /// A folder answers as an empty object where something lies in it.
    async fn folder(&self, folder: &str) -> S3Result<()> {
        let path = Path::parse(folder)
            .map_err(|_| s3_error!(InvalidArgument, "a vault has no such names as this key"))?;
        let mut inside = self.store.list(Some(&path));
        match inside.try_next().await.map_err(of_store)? {
            Some(_) => Ok(()),
            None => Err(s3_error!(NoSuchKey, "nothing lies in this folder")),
        }
    }

    // -- writing

    /// The store's form of a condition on what is replaced.
    async fn mode(
        &self,
        path: &Path,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<Option<PutMode>> {
        match (if_match, if_none_match) {
            (None, None) => Ok(None),
            (None, Some(ETagCondition::Any)) => Ok(Some(PutMode::Create)),
            (Some(ETagCondition::ETag(e_tag)), None) => {
                // Some stores compare a version beside the e-tag.
                let meta = self.head(path).await?;
                if meta.e_tag.is_none() || inward(e_tag) != meta.e_tag {
                    return Err(s3_error!(
                        PreconditionFailed,
                        "it is not the object of the condition"
                    ));
                }
                Ok(Some(PutMode::Update(UpdateVersion {
                    e_tag: meta.e_tag,
                    version: meta.version,
                })))
            }
            _ => Err(s3_error!(
                NotImplemented,
                "writing is conditional by If-None-Match: * or by If-Match with an e-tag"
            )),
        }
    }

    /// Writes what a request brings.
    async fn write(
        &self,
        path: &Path,
        attributes: Attributes,
        mode: Option<PutMode>,
        mut content: Content,
    ) -> S3Result<(PutResult, Checksum)> {
        let length = content.length();
        if mode.is_none() && length > PIECE {
            return self.write_large(path, attributes, content).await;
        }
        if length > LARGEST_CONDITIONAL {
            return Err(s3_error!(
                NotImplemented,
                "writing under a condition takes at most {} MiB; no store takes a condition with more",
                LARGEST_CONDITIONAL >> 20
            ));
        }
        let place = self.room.direct(length).await?;
        let mut pieces = Vec::new();
        loop {
            let more = content.next(usize::MAX).await?;
            if more.is_empty() {
                break;
            }
            pieces.extend(more);
        }
        let verified = content.finish().await?;
        let options = PutOptions {
            mode: mode.unwrap_or_default(),
            attributes,
            ..PutOptions::default()
        };
        let payload = pieces.into_iter().collect::<PutPayload>();
        let kept = !options.attributes.is_empty();
        let put = self.store.put_opts(path, payload, options).await;
        drop(place);
        Ok((put.map_err(|e| of_write(e, kept))?, verified.checksum))
    }

    async fn write_large(
        &self,
        path: &Path,
        attributes: Attributes,
        mut content: Content,
    ) -> S3Result<(PutResult, Checksum)> {
        let _place = self.room.direct(PIECE * (PIECES as u64 + 1)).await?;
        let mut upload = self.begin(path, attributes).await?;
        let piece = usize::try_from(PIECE).unwrap_or(usize::MAX);
        loop {
            let pieces = content.next(piece).await?;
            if pieces.is_empty() {
                break;
            }
            upload.put(pieces.into_iter().collect()).await?;
        }
        // Before anything is visible.
        let verified = content.finish().await?;
        Ok((upload.complete().await?, verified.checksum))
    }

    async fn begin(&self, path: &Path, attributes: Attributes) -> S3Result<Begun> {
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let kept = !options.attributes.is_empty();
        let upload = self.store.put_multipart_opts(path, options).await;
        Ok(Begun {
            upload: Some(upload.map_err(|e| of_write(e, kept))?),
            writes: stream::FuturesUnordered::new(),
            kept,
        })
    }

    /// Writes what is elsewhere in the vault: whole, as of one moment, and encrypted anew.
    async fn write_copy(
        &self,
        from: GetResult,
        to: &Path,
        attributes: Attributes,
    ) -> S3Result<PutResult> {
        let _place = self.room.direct(PIECE * (PIECES as u64 + 1)).await?;
        let length = from.range.end - from.range.start;
        let mut pieces = from.into_stream();
        if length <= PIECE {
            let payload: Vec<_> = pieces.try_collect().await.map_err(of_store)?;
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            let payload = payload.into_iter().collect::<PutPayload>();
            let kept = !options.attributes.is_empty();
            let put = self.store.put_opts(to, payload, options).await;
            return put.map_err(|e| of_write(e, kept));
        }
        let mut upload = self.begin(to, attributes).await?;
        let (mut waiting, mut size) = (Vec::new(), 0);
        while let Some(piece) = pieces.try_next().await.map_err(of_store)? {
            size += piece.len() as u64;
            waiting.push(piece);
            if size >= PIECE {
                upload.put(waiting.drain(..).collect()).await?;
                size = 0;
            }
        }
        upload.put(waiting.into_iter().collect()).await?;
        upload.complete().await
    }

    /// The object that a copy is made of.
    async fn source(
        &self,
        source: &CopySource,
        conditions: &Conditions,
        range: Option<Range>,
    ) -> S3Result<GetResult> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(
                NotImplemented,
                "a copy is made of an object of the same bucket"
            ));
        };
        self.bucket(bucket)?;
        version(version_id.as_deref())?;
        let path = Key::object(key)?;
        let read = range.map_or(Read::Whole, Read::Range);
        let result = self.fetch(&path, conditions, read).await;
        result.map_err(|error| match error.code() {
            S3ErrorCode::NotModified => {
                s3_error!(PreconditionFailed, "it is not the object of the condition")
            }
            _ => error,
        })
    }

    // -- listing

    async fn page(&self, query: Query, most: i32) -> S3Result<Page> {
        let most = usize::try_from(most)
            .map_err(|_| s3_error!(InvalidArgument, "max-keys is from 0 to 2147483647"))?;
        let page = self.listings.page(&*self.store, query, most).await;
        page.map_err(of_store)
    }

    async fn delete_one(&self, key: &str) -> S3Result<()> {
        // A folder ends with what lies in it.
        let Key::Object(path) = Key::parse(key)? else {
            return Ok(());
        };
        match self.store.delete(&path).await.map_err(of_store) {
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => {}
            result => result?,
        }
        self.listings.changed(key);
        Ok(())
    }
}

/// How much of an object is wanted.
enum Read {
    Head,
    Whole,
    Range(Range),
}

/// An upload that is aborted if it is not completed.
struct Begun {
    upload: Option<Box<dyn MultipartUpload>>,
    writes: stream::FuturesUnordered<kluis::object_store::UploadPart>,
    /// Headers are to be kept with it.
    kept: bool,
}

impl Begun {
    async fn put(&mut self, payload: PutPayload) -> S3Result<()> {
        if let Some(upload) = &mut self.upload {
            self.writes.push(upload.put_part(payload));
        }
        while self.writes.len() > PIECES {
            self.written().await?;
        }
        Ok(())
    }

    async fn written(&mut self) -> S3Result<bool> {
        let written = self.writes.try_next().await;
        let written = written.map_err(|e| of_write(e, self.kept))?;
        Ok(written.is_some())
    }

    async fn complete(mut self) -> S3Result<PutResult> {
        while self.written().await? {}
        let Some(upload) = &mut self.upload else {
            return Err(s3_error!(InternalError, "there is no upload"));
        };
        let put = upload.complete().await;
        let put = put.map_err(|e| of_write(e, self.kept))?;
        self.upload = None;
        Ok(put)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else {
            return;
        };
        // Also where the client went away, and the runtime is still there.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = upload.abort().await;
            });
        }
    }
}

/// The conditions of a request on what it reads.
#[derive(Default)]
struct Conditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    fn set(&self, options: &mut GetOptions) -> S3Result<()> {
        match &self.if_match {
            // Whatever is there.
            None | Some(ETagCondition::Any) => {}
            Some(ETagCondition::ETag(e_tag)) => match inward(e_tag) {
                Some(e_tag) => options.if_match = Some(e_tag),
                None => {
                    return Err(s3_error!(
                        PreconditionFailed,
                        "no object of this bucket has such an e-tag"
                    ));
                }
            },
        }
        options.if_none_match = match &self.if_none_match {
            None => None,
            Some(ETagCondition::Any) => Some("*".to_owned()),
            // What no object has, none is excluded by.
            Some(ETagCondition::ETag(e_tag)) => inward(e_tag),
        };
        Ok(())
    }

    /// The conditions on times, which stores compare in units of their own. One on an e-tag says
    /// more, and counts in place of its like.
    fn times(&self, meta: &ObjectMeta) -> S3Result<()> {
        let later = |than: &Timestamp| whole_second(than).map(|end| meta.last_modified > end);
        let modified = self.if_modified_since.as_ref().and_then(later);
        if self.if_none_match.is_none() && modified == Some(false) {
            return Err(S3Error::new(S3ErrorCode::NotModified));
        }
        let modified = self.if_unmodified_since.as_ref().and_then(later);
        if self.if_match.is_none() && modified == Some(true) {
            return Err(s3_error!(
                PreconditionFailed,
                "it is not the object of the condition"
            ));
        }
        Ok(())
    }
}

/// Times in headers have seconds, those of stores have more: the end of the second is meant.
fn whole_second(time: &Timestamp) -> Option<chrono::DateTime<chrono::Utc>> {
    let mut text = Vec::new();
    time.format(TimestampFormat::DateTime, &mut text).ok()?;
    let time = chrono::DateTime::parse_from_rfc3339(std::str::from_utf8(&text).ok()?).ok()?;
    let seconds = chrono::DateTime::from_timestamp(time.timestamp(), 999_999_999)?;
    Some(seconds)
}

fn timestamp(time: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp::from(SystemTime::from(time))
}

/// There are no versions but what is there now, which S3 calls `null`.
fn version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null" | "") => Ok(()),
        Some(_) => Err(s3_error!(
            NoSuchVersion,
            "kluis serve shows no versions of objects"
        )),
    }
}

/// What a request asks of an object beside its content.
#[derive(Default)]
struct Wishes<'a> {
    acl: Option<&'a ObjectCannedACL>,
    grants: bool,
    storage_class: Option<&'a StorageClass>,
    encryption: Option<&'a ServerSideEncryption>,
    customer_key: bool,
    key_id: bool,
    lock: bool,
    tags: bool,
    redirect: bool,
    expires: bool,
}

impl Wishes<'_> {
    /// Accepts what is so anyway, refuses what would be a lie.
    fn check(&self) -> S3Result<()> {
        let private = |acl: &&ObjectCannedACL| {
            matches!(
                acl.as_str(),
                "private" | "bucket-owner-full-control" | "bucket-owner-read"
            )
        };
        refuse(!self.acl.as_ref().is_none_or(private), "public access")?;
        refuse(self.grants, "access for others by headers")?;
        let standard = |class: &&StorageClass| class.as_str() == "STANDARD";
        refuse(
            !self.storage_class.as_ref().is_none_or(standard),
            "a storage class",
        )?;
        // Everything is encrypted before it leaves this machine.
        let plain = |sse: &&ServerSideEncryption| sse.as_str() == "AES256";
        refuse(
            !self.encryption.as_ref().is_none_or(plain),
            "encryption by KMS",
        )?;
        refuse(self.key_id, "encryption by KMS")?;
        refuse(self.customer_key, "encryption with customer keys")?;
        refuse(self.lock, "object lock")?;
        refuse(self.tags, "object tags")?;
        refuse(self.redirect, "redirection")?;
        refuse(self.expires, "the Expires header (Cache-Control is kept)")
    }
}

/// The headers that stay with an object.
struct Kept<'a> {
    content_type: Option<&'a String>,
    cache_control: Option<&'a String>,
    content_disposition: Option<&'a String>,
    content_encoding: Option<&'a String>,
    content_language: Option<&'a String>,
    metadata: Option<&'a HashMap<String, String>>,
}

impl Kept<'_> {
    fn attributes(&self) -> S3Result<Attributes> {
        let mut attributes = Attributes::new();
        // How a body came is not how the object is encoded.
        let encoding = self.content_encoding.map(|encoding| {
            let parts = encoding.split(',').map(str::trim);
            let own: Vec<_> = parts
                .filter(|p| *p != "aws-chunked" && !p.is_empty())
                .collect();
            own.join(",")
        });
        for (attribute, value) in [
            (Attribute::ContentType, self.content_type),
            (Attribute::CacheControl, self.cache_control),
            (Attribute::ContentDisposition, self.content_disposition),
            (Attribute::ContentEncoding, encoding.as_ref()),
            (Attribute::ContentLanguage, self.content_language),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                attributes.insert(attribute, AttributeValue::from(value.clone()));
            }
        }
        let mut size = 0;
        for (name, value) in self.metadata.into_iter().flatten() {
            size += name.len() + value.len();
            let name = Attribute::Metadata(name.to_ascii_lowercase().into());
            attributes.insert(name, AttributeValue::from(value.clone()));
        }
        if size > 2048 {
            return Err(s3_error!(MetadataTooLarge, "metadata has at most 2 KiB"));
        }
        Ok(attributes)
    }
}

/// The headers of an object, as they were kept.
#[derive(Default)]
struct Shown {
    content_type: Option<String>,
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    metadata: HashMap<String, String>,
}

impl Shown {
    fn new(attributes: &Attributes) -> Self {
        let mut shown = Self::default();
        for (attribute, value) in attributes {
            let value = value.to_string();
            match attribute {
                Attribute::ContentType => shown.content_type = Some(value),
                Attribute::CacheControl => shown.cache_control = Some(value),
                Attribute::ContentDisposition => shown.content_disposition = Some(value),
                Attribute::ContentEncoding => shown.content_encoding = Some(value),
                Attribute::ContentLanguage => shown.content_language = Some(value),
                Attribute::Metadata(name) => {
                    shown.metadata.insert(name.to_string(), value);
                }
                _ => {}
            }
        }
        // What S3 says where nothing was said.
        shown
            .content_type
            .get_or_insert_with(|| "binary/octet-stream".to_owned());
        shown
    }
}

/// An error that says which object is there, as an answer of 304 has to.
fn with_e_tag(mut error: S3Error, e_tag: Option<&ETagCondition>) -> S3Error {
    if *error.code() == S3ErrorCode::NotModified
        && let Some(ETagCondition::ETag(e_tag)) = e_tag
        && let Ok(value) = e_tag.to_http_header()
    {
        error.set_headers(HeaderMap::from_iter([(ETAG, value)]));
    }
    error
}

fn random_id() -> S3Result<String> {
    let mut id = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut id)
        .map_err(|_| s3_error!(InternalError, "no random numbers are to be had"))?;
    Ok(HEXLOWER.encode(&id))
}

fn owner() -> Owner {
    Owner {
        display_name: Some("kluis".to_owned()),
        id: Some("kluis".to_owned()),
    }
}

/// `encoding-type=url`.
struct Encoding(bool);

impl Encoding {
    fn new(wanted: Option<&EncodingType>) -> S3Result<Self> {
        match wanted.map(EncodingType::as_str) {
            None => Ok(Self(false)),
            Some("url") => Ok(Self(true)),
            Some(_) => Err(s3_error!(
                InvalidArgument,
                "encoding-type is url or nothing"
            )),
        }
    }

    fn of(&self, text: String) -> String {
        if self.0 { url_encoded(&text) } else { text }
    }

    fn lines(&self, page: Page, owners: bool) -> (Vec<Object>, Vec<CommonPrefix>) {
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for (name, item) in page.items {
            let name = Some(self.of(name));
            match item {
                Item::Prefix => prefixes.push(CommonPrefix { prefix: name }),
                Item::Object(meta) => objects.push(Object {
                    key: name,
                    e_tag: meta.e_tag.as_deref().map(outward),
                    last_modified: Some(timestamp(meta.last_modified)),
                    size: i64::try_from(meta.size).ok(),
                    storage_class: Some(ObjectStorageClass::from_static(
                        ObjectStorageClass::STANDARD,
                    )),
                    owner: owners.then(owner),
                    ..Object::default()
                }),
            }
        }
        (objects, prefixes)
    }
}

/// A page goes on behind its last name; the token is that name.
fn token_of(name: &str) -> String {
    HEXLOWER.encode(name.as_bytes())
}

fn name_of(token: &str) -> S3Result<String> {
    let name = HEXLOWER.decode(token.as_bytes()).ok();
    let name = name.and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))
}

#[async_trait::async_trait]
impl S3 for Gateway {
    // -- the bucket

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = request.input.prefix.unwrap_or_default();
        let name = self.settings.bucket.clone();
        let buckets = name.starts_with(&prefix).then(|| Bucket {
            name: Some(name),
            creation_date: Some(Timestamp::from(self.started)),
            ..Bucket::default()
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.into_iter().collect()),
            owner: Some(owner()),
            ..ListBucketsOutput::default()
        }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = &request.input.bucket;
        if *bucket != self.settings.bucket {
            return Err(s3_error!(
                NotImplemented,
                "kluis serve has one bucket, {}; start another for another folder",
                self.settings.bucket
            ));
        }
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{bucket}")),
        }))
    }

    // -- objects

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.bucket(&input.bucket)?;
        version(input.version_id.as_deref())?;
        refuse(input.part_number.is_some(), "reading one part of an object")?;
        refuse(
            input.sse_customer_key.is_some(),
            "encryption with customer keys",
        )?;
        let path = match Key::parse(&input.key)? {
            Key::Object(path) => path,
            Key::Folder(folder) => {
                self.told(self.folder(&folder).await)?;
                return Ok(S3Response::new(GetObjectOutput {
                    content_length: Some(0),
                    content_type: Some("application/x-directory".to_owned()),
                    ..GetObjectOutput::default()
                }));
            }
        };
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let read = input.range.map_or(Read::Whole, Read::Range);
        let result = self.told(self.fetch(&path, &conditions, read).await);
        let result = result.map_err(|e| with_e_tag(e, conditions.if_none_match.as_ref()))?;
        let range = result.range.clone();
        let meta = result.meta.clone();
        let shown = Shown::new(&result.attributes);
        let length = range.end - range.start;
        let content_range = input.range.map(|_| {
            let last = range.end.saturating_sub(1);
            format!("bytes {}-{last}/{}", range.start, meta.size)
        });
        let body = self.told(self.content(result).await)?;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: meta.e_tag.as_deref().map(outward),
            last_modified: Some(timestamp(meta.last_modified)),
            content_type: shown.content_type,
            cache_control: shown.cache_control,
            content_disposition: shown.content_disposition,
            content_encoding: shown.content_encoding,
            content_language: shown.content_language,
            metadata: Some(shown.metadata),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        self.bucket(&input.bucket)?;
        version(input.version_id.as_deref())?;
        refuse(input.part_number.is_some(), "reading one part of an object")?;
        refuse(
            input.sse_customer_key.is_some(),
            "encryption with customer keys",
        )?;
        let path = match Key::parse(&input.key)? {
            Key::Object(path) => path,
            Key::Folder(folder) => {
                self.told(self.folder(&folder).await)?;
                return Ok(S3Response::new(HeadObjectOutput {
                    content_length: Some(0),
                    content_type: Some("application/x-directory".to_owned()),
                    ..HeadObjectOutput::default()
                }));
            }
        };
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let result = self.told(self.fetch(&path, &conditions, Read::Head).await);
        let result = result.map_err(|e| with_e_tag(e, conditions.if_none_match.as_ref()))?;
        let meta = result.meta;
        let shown = Shown::new(&result.attributes);
        let mut length = meta.size;
        let mut content_range = None;
        if let Some(range) = input.range {
            let range = range.check(meta.size)?;
            content_range = Some(format!(
                "bytes {}-{}/{}",
                range.start,
                range.end.saturating_sub(1),
                meta.size
            ));
            length = range.end - range.start;
        }
        let mut response = S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(length).ok(),
            e_tag: meta.e_tag.as_deref().map(outward),
            last_modified: Some(timestamp(meta.last_modified)),
            content_type: shown.content_type,
            cache_control: shown.cache_control,
            content_disposition: shown.content_disposition,
            content_encoding: shown.content_encoding,
            content_language: shown.content_language,
            metadata: Some(shown.metadata),
            ..HeadObjectOutput::default()
        });
        if content_range.is_some() {
            response.status = Some(hyper::StatusCode::PARTIAL_CONTENT);
            response.output.content_range = content_range;
        }
        Ok(response)
    }

    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let body = request.input.body.take();
        let input = &request.input;
        self.writable(&input.bucket)?;
        Wishes {
            acl: input.acl.as_ref(),
            grants: input.grant_full_control.is_some()
                || input.grant_read.is_some()
                || input.grant_read_acp.is_some()
                || input.grant_write_acp.is_some(),
            storage_class: input.storage_class.as_ref(),
            encryption: input.server_side_encryption.as_ref(),
            customer_key: input.sse_customer_algorithm.is_some()
                || input.sse_customer_key.is_some(),
            key_id: input.ssekms_key_id.is_some(),
            lock: input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some(),
            tags: input.tagging.is_some(),
            redirect: input.website_redirect_location.is_some(),
            expires: input.expires.is_some(),
        }
        .check()?;
        refuse(input.write_offset_bytes.is_some(), "appending to an object")?;
        let claims = Claims {
            length: input.content_length,
            md5: input.content_md5.clone(),
            checksum: Checksum {
                checksum_crc32: input.checksum_crc32.clone(),
                checksum_crc32c: input.checksum_crc32c.clone(),
                checksum_crc64nvme: input.checksum_crc64nvme.clone(),
                checksum_sha1: input.checksum_sha1.clone(),
                checksum_sha256: input.checksum_sha256.clone(),
                checksum_type: None,
            },
        };
        let content = Content::new(&request, body, claims)?;
        let path = match Key::parse(&input.key)? {
            Key::Object(path) => path,
            Key::Folder(_) if content.length() == 0 => {
                content.finish().await?;
                return Ok(S3Response::new(PutObjectOutput {
                    e_tag: Some(outward("folder")),
                    ..PutObjectOutput::default()
                }));
            }
            Key::Folder(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "a key that ends in / stands for a folder, which has no content; use another key"
                ));
            }
        };
        let attributes = Kept {
            content_type: input.content_type.as_ref(),
            cache_control: input.cache_control.as_ref(),
            content_disposition: input.content_disposition.as_ref(),
            content_encoding: input.content_encoding.as_ref(),
            content_language: input.content_language.as_ref(),
            metadata: input.metadata.as_ref(),
        }
        .attributes()?;
        let (matches, none) = (input.if_match.as_ref(), input.if_none_match.as_ref());
        let mode = self.told(self.mode(&path, matches, none).await)?;
        let written = self.write(&path, attributes, mode, content).await;
        let (put, checksum) = self.told(written)?;
        self.listings.changed(&input.key);
        Ok(S3Response::new(PutObjectOutput {
            e_tag: put.e_tag.as_deref().map(outward),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..PutObjectOutput::default()
        }))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        // s3s does not know them here, and a condition that is passed over overwrites.
        const CONDITIONS: [&str; 4] = [
            "if-match",
            "if-none-match",
            "cf-copy-destination-if-match",
            "cf-copy-destination-if-none-match",
        ];
        let has = |name: &&str| request.headers.contains_key(*name);
        refuse(
            CONDITIONS.iter().any(has),
            "copying onto a key under a condition",
        )?;
        let input = request.input;
        self.writable(&input.bucket)?;
        let replace = match input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str)
        {
            None | Some("COPY") => false,
            Some("REPLACE") => true,
            Some(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "the metadata directive is unknown"
                ));
            }
        };
        let tagging = input
            .tagging_directive
            .as_ref()
            .map(TaggingDirective::as_str);
        Wishes {
            acl: input.acl.as_ref(),
            grants: input.grant_full_control.is_some()
                || input.grant_read.is_some()
                || input.grant_read_acp.is_some()
                || input.grant_write_acp.is_some(),
            storage_class: input.storage_class.as_ref(),
            encryption: input.server_side_encryption.as_ref(),
            customer_key: input.sse_customer_algorithm.is_some()
                || input.copy_source_sse_customer_algorithm.is_some(),
            key_id: input.ssekms_key_id.is_some(),
            lock: input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some(),
            tags: input.tagging.is_some() && tagging == Some("REPLACE"),
            redirect: input.website_redirect_location.is_some(),
            expires: input.expires.is_some(),
        }
        .check()?;
        refuse(input.checksum_algorithm.is_some(), "a checksum of a copy")?;
        let conditions = Conditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let to = Key::object(&input.key)?;
        let from = self.source(&input.copy_source, &conditions, None).await;
        let from = self.told(from)?;
        let attributes = if replace {
            Kept {
                content_type: input.content_type.as_ref(),
                cache_control: input.cache_control.as_ref(),
                content_disposition: input.content_disposition.as_ref(),
                content_encoding: input.content_encoding.as_ref(),
                content_language: input.content_language.as_ref(),
                metadata: input.metadata.as_ref(),
            }
            .attributes()?
        } else {
            if from.meta.location == to {
                return Err(s3_error!(
                    InvalidRequest,
                    "an object is copied onto itself only with other metadata"
                ));
            }
            from.attributes.clone()
        };
        let put = self.told(self.write_copy(from, &to, attributes).await)?;
        self.listings.changed(&input.key);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: put.e_tag.as_deref().map(outward),
                last_modified: Some(Timestamp::from(SystemTime::now())),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.writable(&input.bucket)?;
        version(input.version_id.as_deref())?;
        refuse(
            input.if_match.is_some()
                || input.if_match_size.is_some()
                || input.if_match_last_modified_time.is_some(),
            "deleting under a condition",
        )?;
        self.told(self.delete_one(&input.key).await)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        self.writable(&input.bucket)?;
        let objects = input.delete.objects;
        if objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "at most 1,000 keys at once"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let conditional = |object: &ObjectIdentifier| {
            object.e_tag.is_some() || object.last_modified_time.is_some() || object.size.is_some()
        };
        let results = stream::iter(objects.into_iter().map(|object| async move {
            let deleted = async {
                version(object.version_id.as_deref())?;
                refuse(conditional(&object), "deleting under a condition")?;
                self.delete_one(&object.key).await
            };
            let deleted = self.told(deleted.await);
            (object.key, deleted)
        }));
        let mut results = results.buffered(16);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        while let Some((key, result)) = results.next().await {
            match result {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(key),
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(s3s::dto::Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    // -- listings

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.bucket(&input.bucket)?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let max_keys = input.max_keys.unwrap_or(PAGE);
        let after = match &input.continuation_token {
            Some(token) => name_of(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after,
        };
        let page = self.told(self.page(query, max_keys.min(PAGE)).await)?;
        let truncated = page.truncated;
        let next = page.items.last().map(|(name, _)| token_of(name));
        let owners = input.fetch_owner.unwrap_or(false);
        let (contents, common_prefixes) = encoding.lines(page, owners);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.of(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|text| encoding.of(text)),
            start_after: input.start_after.map(|text| encoding.of(text)),
            continuation_token: input.continuation_token,
            next_continuation_token: next.filter(|_| truncated),
            max_keys: Some(max_keys),
            key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
            is_truncated: Some(truncated),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        self.bucket(&input.bucket)?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let max_keys = input.max_keys.unwrap_or(PAGE);
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().unwrap_or_default(),
        };
        let page = self.told(self.page(query, max_keys.min(PAGE)).await)?;
        let truncated = page.truncated;
        let next = page.items.last().map(|(name, _)| encoding.of(name.clone()));
        let (contents, common_prefixes) = encoding.lines(page, true);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.of(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|text| encoding.of(text)),
            marker: Some(encoding.of(input.marker.unwrap_or_default())),
            next_marker: next.filter(|_| truncated),
            max_keys: Some(max_keys),
            is_truncated: Some(truncated),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    // -- uploads in parts

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        self.writable(&input.bucket)?;
        Wishes {
            acl: input.acl.as_ref(),
            grants: input.grant_full_control.is_some()
                || input.grant_read.is_some()
                || input.grant_read_acp.is_some()
                || input.grant_write_acp.is_some(),
            storage_class: input.storage_class.as_ref(),
            encryption: input.server_side_encryption.as_ref(),
            customer_key: input.sse_customer_algorithm.is_some(),
            key_id: input.ssekms_key_id.is_some(),
            lock: input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some(),
            tags: input.tagging.is_some(),
            redirect: input.website_redirect_location.is_some(),
            expires: input.expires.is_some(),
        }
        .check()?;
        let path = Key::object(&input.key)?;
        let attributes = Kept {
            content_type: input.content_type.as_ref(),
            cache_control: input.cache_control.as_ref(),
            content_disposition: input.content_disposition.as_ref(),
            content_encoding: input.content_encoding.as_ref(),
            content_language: input.content_language.as_ref(),
            metadata: input.metadata.as_ref(),
        }
        .attributes()?;
        let algorithm = input
            .checksum_algorithm
            .as_ref()
            .map(|a| a.as_str().to_owned());
        // Of CRC64NVME there is no other.
        let full = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
            Some(wanted) => wanted == ChecksumType::FULL_OBJECT,
            None => algorithm.as_deref() == Some(ChecksumAlgorithm::CRC64NVME),
        };
        let id = random_id()?;
        let checksum_type = algorithm.is_some().then(|| checksum_type(full));
        self.uploads.create(
            id.clone(),
            input.key.clone(),
            path,
            attributes,
            algorithm,
            full,
        )?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let body = request.input.body.take();
        let input = &request.input;
        self.writable(&input.bucket)?;
        refuse(
            input.sse_customer_key.is_some(),
            "encryption with customer keys",
        )?;
        let upload = self.uploads.find(&input.upload_id, &input.key)?;
        let claims = Claims {
            length: input.content_length,
            md5: input.content_md5.clone(),
            checksum: Checksum {
                checksum_crc32: input.checksum_crc32.clone(),
                checksum_crc32c: input.checksum_crc32c.clone(),
                checksum_crc64nvme: input.checksum_crc64nvme.clone(),
                checksum_sha1: input.checksum_sha1.clone(),
                checksum_sha256: input.checksum_sha256.clone(),
                checksum_type: None,
            },
        };
        let content = Content::new(&request, body, claims)?.with_digest();
        let part = self.uploads.part(&upload, input.part_number, content).await;
        let (e_tag, checksum) = self.told(part)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(e_tag),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..UploadPartOutput::default()
        }))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = &request.input;
        self.writable(&input.bucket)?;
        refuse(
            input.sse_customer_key.is_some() || input.copy_source_sse_customer_key.is_some(),
            "encryption with customer keys",
        )?;
        let upload = self.uploads.find(&input.upload_id, &input.key)?;
        let conditions = Conditions {
            if_match: input.copy_source_if_match.clone(),
            if_none_match: input.copy_source_if_none_match.clone(),
            if_modified_since: input.copy_source_if_modified_since.clone(),
            if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
        };
        let range = input.copy_source_range.as_deref().map(Range::parse);
        let range = range.transpose().map_err(|_| {
            s3_error!(
                InvalidArgument,
                "x-amz-copy-source-range is bytes=FIRST-LAST"
            )
        })?;
        let from = self.source(&input.copy_source, &conditions, range).await;
        let from = self.told(from)?;
        let length = from.range.end - from.range.start;
        let claims = Claims {
            length: i64::try_from(length).ok(),
            ..Claims::default()
        };
        let body = self.told(self.content(from).await)?;
        let content = Content::new(&request, Some(body), claims)?.with_digest();
        let part = self.uploads.part(&upload, input.part_number, content).await;
        let (e_tag, _) = self.told(part)?;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(e_tag),
                last_modified: Some(Timestamp::from(SystemTime::now())),
                ..CopyPartResult::default()
            }),
            ..UploadPartCopyOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        self.writable(&input.bucket)?;
        refuse(
            input.sse_customer_key.is_some(),
            "encryption with customer keys",
        )?;
        let path = Key::object(&input.key)?;
        // The answer may have been lost on its way.
        if let Some(completed) = self.uploads.completed(&input.upload_id, &input.key) {
            return Ok(S3Response::new(answer_of(input.bucket, completed)));
        }
        let upload = self.uploads.find(&input.upload_id, &input.key)?;
        let (matches, none) = (input.if_match.as_ref(), input.if_none_match.as_ref());
        let demands = Demands {
            mode: self.told(self.mode(&path, matches, none).await)?,
            parts: input
                .multipart_upload
                .and_then(|u| u.parts)
                .unwrap_or_default(),
            size: input.mpu_object_size,
            checksum: Checksum {
                checksum_crc32: input.checksum_crc32,
                checksum_crc32c: input.checksum_crc32c,
                checksum_crc64nvme: input.checksum_crc64nvme,
                checksum_sha1: input.checksum_sha1,
                checksum_sha256: input.checksum_sha256,
                checksum_type: None,
            },
        };
        let bucket = input.bucket;
        let mut completing = self.uploads.complete(upload, demands);
        let lost = || s3_error!(ServiceUnavailable, "kluis serve is stopping");
        match tokio::time::timeout(PATIENCE, &mut completing).await {
            Ok(completed) => {
                let completed = completed.unwrap_or_else(|_| Err(lost()));
                let completed = self.told(completed)?;
                Ok(S3Response::new(answer_of(bucket, completed)))
            }
            // It takes long: the client sees that it goes on.
            Err(_) => {
                let future = async move {
                    let completed = completing.await.unwrap_or_else(|_| Err(lost()))?;
                    Ok(answer_of(bucket, completed))
                };
                Ok(S3Response::new(CompleteMultipartUploadOutput {
                    future: Some(Box::pin(future)),
                    ..CompleteMultipartUploadOutput::default()
                }))
            }
        }
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.writable(&input.bucket)?;
        let upload = self.uploads.find(&input.upload_id, &input.key)?;
        self.told(self.uploads.abort(&upload).await)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        self.bucket(&input.bucket)?;
        let upload = self.uploads.find(&input.upload_id, &input.key)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let most = input.max_parts.unwrap_or(PAGE).clamp(0, PAGE);
        let parts = upload.parts(marker, |number, part| Part {
            part_number: Some(number),
            e_tag: Some(part.e_tag()),
            size: i64::try_from(part.size).ok(),
            last_modified: Some(Timestamp::from(part.modified)),
            checksum_crc32: part.checksum.checksum_crc32.clone(),
            checksum_crc32c: part.checksum.checksum_crc32c.clone(),
            checksum_crc64nvme: part.checksum.checksum_crc64nvme.clone(),
            checksum_sha1: part.checksum.checksum_sha1.clone(),
            checksum_sha256: part.checksum.checksum_sha256.clone(),
        });
        let mut parts = parts.await?;
        let count = usize::try_from(most).unwrap_or(0);
        let truncated = parts.len() > count;
        parts.truncate(count);
        let next = parts.last().and_then(|part| part.part_number);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            part_number_marker: Some(marker),
            next_part_number_marker: next.filter(|_| truncated),
            max_parts: Some(most),
            is_truncated: Some(truncated),
            parts: Some(parts),
            checksum_algorithm: upload.checksum.clone().map(ChecksumAlgorithm::from),
            checksum_type: upload
                .checksum
                .is_some()
                .then(|| checksum_type(upload.full_object)),
            owner: Some(owner()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..ListPartsOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        self.bucket(&input.bucket)?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let delimiter = input.delimiter.as_deref().filter(|d| !d.is_empty());
        refuse(delimiter.is_some(), "listing uploads with a delimiter")?;
        let prefix = input.prefix.unwrap_or_default();
        let key_marker = input.key_marker.unwrap_or_default();
        let id_marker = input.upload_id_marker.unwrap_or_default();
        let most = input.max_uploads.unwrap_or(PAGE).clamp(0, PAGE);
        let count = usize::try_from(most).unwrap_or(0);
        let behind = |upload: &Arc<uploads::Upload>| {
            upload.key > key_marker
                || upload.key == key_marker && !id_marker.is_empty() && upload.id > id_marker
        };
        let all = self.uploads.list().into_iter();
        let mut shown: Vec<_> = all
            .filter(|upload| upload.key.starts_with(&prefix) && behind(upload))
            .collect();
        let truncated = shown.len() > count;
        shown.truncate(count);
        let last = shown.last().filter(|_| truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encoding.of(prefix)),
            next_key_marker: last.map(|upload| encoding.of(upload.key.clone())),
            next_upload_id_marker: last.map(|upload| upload.id.clone()),
            key_marker: Some(encoding.of(key_marker)),
            upload_id_marker: Some(id_marker),
            max_uploads: Some(most),
            is_truncated: Some(truncated),
            encoding_type: input.encoding_type,
            uploads: Some(
                shown
                    .iter()
                    .map(|upload| s3s::dto::MultipartUpload {
                        key: Some(encoding.of(upload.key.clone())),
                        upload_id: Some(upload.id.clone()),
                        initiated: Some(Timestamp::from(upload.initiated)),
                        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                        owner: Some(owner()),
                        ..s3s::dto::MultipartUpload::default()
                    })
                    .collect(),
            ),
            ..ListMultipartUploadsOutput::default()
        }))
    }
}

fn checksum_type(full: bool) -> ChecksumType {
    ChecksumType::from_static(if full {
        ChecksumType::FULL_OBJECT
    } else {
        ChecksumType::COMPOSITE
    })
}

fn answer_of(bucket: String, completed: Completed) -> CompleteMultipartUploadOutput {
    let checksum = completed.checksum;
    let any = body::named(&checksum).iter().any(|(_, sum)| sum.is_some());
    CompleteMultipartUploadOutput {
        location: Some(format!("/{bucket}/{}", url_encoded(&completed.key))),
        bucket: Some(bucket),
        key: Some(completed.key),
        e_tag: completed.e_tag.as_deref().map(outward),
        checksum_type: any.then(|| checksum_type(completed.full_object)),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        ..CompleteMultipartUploadOutput::default()
    }
}
