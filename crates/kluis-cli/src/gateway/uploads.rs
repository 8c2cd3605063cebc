//! Uploads in parts.
//!
//! A store takes parts in one order, and what is encrypted is one stream: parts go on to the store
//! in the order of their numbers. One that arrives before its turn waits in memory. All that wait
//! have one bounded room together; a part is read from its connection only when it has its place,
//! so that TCP holds the client back. The part whose turn it is takes its place elsewhere, and so
//! always finds one: whatever the order that parts come in, the next of them can move.

use super::body::{Content, Verified, compute, named};
use super::error::{of_store, of_write};
use super::listing::Listings;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use kluis::object_store::path::Path;
use kluis::object_store::{
    Attributes, MultipartUpload, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, CompletedPart, ETag};
use s3s::{S3Error, S3Result, s3_error};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

/// The largest part. At 10,000 parts an object has more than a tebibyte.
pub(super) const LARGEST_PART: u64 = 128 << 20;
/// The last number of a part.
const LAST_PART: i32 = 10_000;
/// As many uploads may be open.
const MOST_UPLOADS: usize = 256;
/// As many small ones are kept in memory as long as they are small.
const HEADS: usize = 8;
/// An upload that nobody went on with for so long is aborted.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// A part that found no place for so long, while no other moved either, is sent back.
const STUCK: Duration = Duration::from_secs(10);
/// As many uploads that were completed are remembered, for clients that ask again.
const REMEMBERED: usize = 1000;

/// The memory that contents may take while they pass through.
pub(super) struct Room {
    /// For parts that wait for their turn.
    ahead: Arc<Semaphore>,
    /// For what moves by itself.
    direct: Arc<Semaphore>,
    heads: Arc<Semaphore>,
    /// Counts what found a place.
    moved: AtomicU64,
    stuck: Duration,
}

impl Room {
    /// `ahead` bytes for parts that wait for their turn.
    pub(super) fn new(ahead: usize) -> Self {
        let largest = usize::try_from(LARGEST_PART).unwrap_or(usize::MAX);
        Self {
            ahead: Arc::new(Semaphore::new(ahead)),
            direct: Arc::new(Semaphore::new(2 * largest)),
            heads: Arc::new(Semaphore::new(HEADS)),
            moved: AtomicU64::new(0),
            stuck: STUCK,
        }
    }

    /// A place for what moves by itself, of [`LARGEST_PART`] at most.
    pub(super) async fn direct(&self, bytes: u64) -> S3Result<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(LARGEST_PART)).unwrap_or(u32::MAX);
        let permit = self.direct.clone().acquire_many_owned(bytes).await;
        self.moved.fetch_add(1, Ordering::Relaxed);
        permit.map_err(|_| stopping())
    }
}

fn stopping() -> S3Error {
    s3_error!(ServiceUnavailable, "kluis serve is stopping")
}

/// Which uploads are open.
pub(super) struct Uploads {
    store: Arc<dyn ObjectStore>,
    room: Arc<Room>,
    listings: Arc<Listings>,
    open: Mutex<HashMap<String, Arc<Upload>>>,
    completed: Mutex<VecDeque<(String, Completed)>>,
}

/// One upload in parts.
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) key: String,
    path: Path,
    pub(super) initiated: SystemTime,
    attributes: Attributes,
    /// The algorithm of the checksums, and whether that of the object is over all its bytes.
    pub(super) checksum: Option<String>,
    pub(super) full_object: bool,
    touched: Mutex<Instant>,
    /// A part got its turn, or there is no going on.
    moved: Notify,
    state: Arc<tokio::sync::Mutex<State>>,
}

struct State {
    sink: Sink,
    /// Whose turn it is.
    next: i32,
    parts: BTreeMap<i32, Part>,
    /// What was handed to the store and is on its way.
    writes: JoinSet<bool>,
    /// Over everything that was handed on, where the client wants one.
    hasher: ChecksumHasher,
    failed: bool,
}

/// Where the parts go.
enum Sink {
    /// A small one is kept, so that it can still be put under a condition.
    Head(Vec<Bytes>, OwnedSemaphorePermit),
    Store(Box<dyn MultipartUpload>),
    /// Not begun, and it is not kept either.
    Unopened,
    Closed,
}

/// One part that was received whole.
pub(super) struct Part {
    pub(super) size: u64,
    digest: [u8; 32],
    pub(super) modified: SystemTime,
    pub(super) checksum: Checksum,
    /// Its content, while it waits for its turn.
    held: Option<(Vec<Bytes>, OwnedSemaphorePermit)>,
}

impl Part {
    pub(super) fn e_tag(&self) -> ETag {
        ETag::Strong(HEXLOWER.encode(&self.digest))
    }
}

/// What came of an upload.
#[derive(Clone)]
pub(super) struct Completed {
    pub(super) key: String,
    pub(super) e_tag: Option<String>,
    pub(super) checksum: Checksum,
    pub(super) full_object: bool,
}

/// What completing insists on.
#[derive(Default)]
pub(super) struct Demands {
    pub(super) parts: Vec<CompletedPart>,
    pub(super) mode: Option<PutMode>,
    pub(super) size: Option<i64>,
    pub(super) checksum: Checksum,
}

fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "no upload has this id: it was completed or aborted, or kluis serve was started anew"
    )
}

fn broken() -> S3Error {
    s3_error!(
        InternalError,
        "the store did not take a part of this upload; abort it and begin again"
    )
}

impl Uploads {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        room: Arc<Room>,
        listings: Arc<Listings>,
    ) -> Self {
        Self {
            store,
            room,
            listings,
            open: Mutex::default(),
            completed: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Upload>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn create(
        &self,
        id: String,
        key: String,
        path: Path,
        attributes: Attributes,
        checksum: Option<String>,
        full_object: bool,
    ) -> S3Result<()> {
        let mut hasher = ChecksumHasher::default();
        if let (Some(algorithm), true) = (&checksum, full_object) {
            compute(&mut hasher, &algorithm.to_ascii_lowercase());
        }
        let head = self.room.heads.clone().try_acquire_owned();
        let upload = Upload {
            id: id.clone(),
            key,
            path,
            initiated: SystemTime::now(),
            attributes,
            checksum,
            full_object,
            touched: Mutex::new(Instant::now()),
            moved: Notify::new(),
            state: Arc::new(tokio::sync::Mutex::new(State {
                sink: match head {
                    Ok(permit) => Sink::Head(Vec::new(), permit),
                    Err(_) => Sink::Unopened,
                },
                next: 1,
                parts: BTreeMap::new(),
                writes: JoinSet::new(),
                hasher,
                failed: false,
            })),
        };
        let mut open = self.open();
        if open.len() >= MOST_UPLOADS {
            return Err(s3_error!(
                SlowDown,
                "{MOST_UPLOADS} uploads are open; complete or abort some"
            ));
        }
        open.insert(id, Arc::new(upload));
        Ok(())
    }

    pub(super) fn find(&self, id: &str, key: &str) -> S3Result<Arc<Upload>> {
        let upload = self.open().get(id).cloned();
        let upload = upload.filter(|upload| upload.key == key);
        let upload = upload.ok_or_else(no_such_upload)?;
        upload.touch();
        Ok(upload)
    }

    /// All that are open, by key and id.
    pub(super) fn list(&self) -> Vec<Arc<Upload>> {
        let mut all: Vec<_> = self.open().values().cloned().collect();
        all.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        all
    }

    /// Aborts what nobody went on with.
    pub(super) async fn sweep(&self) {
        let idle: Vec<_> = self.open().values().filter(|u| u.idle()).cloned().collect();
        for upload in idle {
            let _ = self.abort(&upload).await;
        }
    }

    /// Aborts everything.
    pub(super) async fn stop(&self) {
        for upload in self.list() {
            let _ = self.abort(&upload).await;
        }
    }

    pub(super) async fn abort(&self, upload: &Upload) -> S3Result<()> {
        self.open().remove(&upload.id);
        let mut state = upload.state.lock().await;
        state.close().await.map_err(of_store)?;
        upload.moved.notify_waiters();
        Ok(())
    }

    /// Takes in one part.
    pub(super) async fn part(
        &self,
        upload: &Arc<Upload>,
        number: i32,
        mut content: Content,
    ) -> S3Result<(ETag, Checksum)> {
        if !(1..=LAST_PART).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "parts have numbers from 1 to {LAST_PART}"
            ));
        }
        if content.length() > LARGEST_PART {
            return Err(s3_error!(
                EntityTooLarge,
                "kluis serve takes parts of {} MiB at most; set a smaller part size",
                LARGEST_PART >> 20
            ));
        }
        let permit = self.place(upload, number, content.length()).await?;
        let most = usize::try_from(LARGEST_PART).unwrap_or(usize::MAX);
        let mut pieces = Vec::new();
        loop {
            let more = content.next(most).await?;
            if more.is_empty() {
                break;
            }
            pieces.extend(more);
        }
        let size = content.length();
        let Verified { checksum, digest } = content.finish().await?;
        let part = Part {
            size,
            digest: digest.unwrap_or_default(),
            modified: SystemTime::now(),
            checksum: checksum.clone(),
            held: Some((pieces, permit)),
        };
        let e_tag = part.e_tag();
        // Whoever sent the part waits until the store has it, if it was its turn.
        if let Some(written) = upload.take_in(&self.store, number, part).await? {
            written.await.unwrap_or_else(|_| Err(broken()))?;
        }
        self.room.moved.fetch_add(1, Ordering::Relaxed);
        Ok((e_tag, checksum))
    }

    /// A place in memory for a part.
    async fn place(
        &self,
        upload: &Upload,
        number: i32,
        length: u64,
    ) -> S3Result<OwnedSemaphorePermit> {
        let bytes = u32::try_from(length).unwrap_or(u32::MAX);
        let mut seen = self.room.moved.load(Ordering::Relaxed);
        loop {
            let moved = upload.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let state = upload.state.lock().await;
                state.check()?;
                if number <= state.next {
                    drop(state);
                    return self.room.direct(length).await;
                }
            }
            let ahead = self.room.ahead.clone();
            tokio::select! {
                permit = ahead.acquire_many_owned(bytes) => {
                    self.room.moved.fetch_add(1, Ordering::Relaxed);
                    return permit.map_err(|_| stopping());
                }
                () = &mut moved => {}
                () = tokio::time::sleep(self.room.stuck) => {
                    let now = self.room.moved.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(s3_error!(
                            SlowDown,
                            "parts wait for those before them and there is no room for more; send the parts in order"
                        ));
                    }
                    seen = now;
                }
            }
        }
    }

    /// Makes the object of the parts that the client names.
    ///
    /// Goes on to its end also where whoever asked has gone.
    pub(super) fn complete(
        self: &Arc<Self>,
        upload: Arc<Upload>,
        demands: Demands,
    ) -> oneshot::Receiver<S3Result<Completed>> {
        let (send, receive) = oneshot::channel();
        let uploads = self.clone();
        tokio::spawn(async move {
            let state = upload.state.clone().lock_owned().await;
            let result = uploads.finish(&upload, state, demands).await;
            upload.moved.notify_waiters();
            let _ = send.send(result);
        });
        receive
    }

    /// What came of an upload that was completed before.
    pub(super) fn completed(&self, id: &str, key: &str) -> Option<Completed> {
        let completed = self.completed.lock();
        let completed = completed.unwrap_or_else(PoisonError::into_inner);
        let found = completed
            .iter()
            .find(|(known, c)| known == id && c.key == key);
        found.map(|(_, completed)| completed.clone())
    }

    async fn finish(
        &self,
        upload: &Upload,
        mut state: OwnedMutexGuard<State>,
        demands: Demands,
    ) -> S3Result<Completed> {
        state.check()?;
        state.compare(&demands)?;
        let small = matches!(state.sink, Sink::Head(..));
        let size: u64 = demands
            .parts
            .iter()
            .filter_map(|part| Some(state.parts.get(&part.part_number?)?.size))
            .sum();
        if demands
            .size
            .is_some_and(|said| u64::try_from(said) != Ok(size))
        {
            return Err(s3_error!(
                InvalidRequest,
                "the parts have another size together"
            ));
        }
        if demands.mode.is_some() && !(small && size <= kluis::MAX_CONDITIONAL_STREAM as u64) {
            return Err(s3_error!(
                NotImplemented,
                "completing under a condition takes at most {} MiB; no store takes a condition with more",
                kluis::MAX_CONDITIONAL_STREAM >> 20
            ));
        }
        // From here on it ends, well or not.
        self.open().remove(&upload.id);
        let (put, checksum) = match state.assemble(&self.store, upload, &demands).await {
            Ok(made) => made,
            Err(error) => {
                let _ = state.close().await;
                return Err(error);
            }
        };
        self.listings.changed(&upload.key);
        state.sink = Sink::Closed;
        state.parts.clear();
        let done = Completed {
            key: upload.key.clone(),
            e_tag: put.e_tag,
            checksum,
            full_object: upload.full_object,
        };
        let mut completed = self
            .completed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        completed.push_back((upload.id.clone(), done.clone()));
        if completed.len() > REMEMBERED {
            completed.pop_front();
        }
        Ok(done)
    }
}

impl Upload {
    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> bool {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.elapsed() > IDLE
    }

    /// The parts that were received, from the one behind `marker`.
    pub(super) async fn parts<T>(
        &self,
        marker: i32,
        each: impl Fn(i32, &Part) -> T,
    ) -> S3Result<Vec<T>> {
        let state = self.state.lock().await;
        state.check()?;
        let behind = state.parts.range(marker.saturating_add(1)..);
        Ok(behind.map(|(number, part)| each(*number, part)).collect())
    }

    /// Keeps a part, and hands on what has its turn. Gives what to wait for where that is the
    /// part itself.
    async fn take_in(
        &self,
        store: &Arc<dyn ObjectStore>,
        number: i32,
        part: Part,
    ) -> S3Result<Option<oneshot::Receiver<S3Result<()>>>> {
        let mut state = self.state.lock().await;
        state.check()?;
        if let Some(earlier) = state.parts.get(&number).filter(|p| p.held.is_none()) {
            // It is with the store already.
            if earlier.digest == part.digest && earlier.size == part.size {
                return Ok(None);
            }
            return Err(s3_error!(
                InvalidRequest,
                "part {number} was sent before with other content, which is written already; abort the upload and begin again"
            ));
        }
        state.parts.insert(number, part);
        let mut own = None;
        while state.parts.contains_key(&state.next) {
            let turn = state.next;
            let written = state.hand_on(store, self, turn).await?;
            state.next += 1;
            if turn == number {
                own = written;
            }
        }
        // Others may have their turn now.
        self.moved.notify_waiters();
        Ok(own)
    }
}

impl State {
    fn check(&self) -> S3Result<()> {
        if matches!(self.sink, Sink::Closed) {
            return Err(no_such_upload());
        }
        if self.failed {
            return Err(broken());
        }
        Ok(())
    }

    /// The parts are those that the client means.
    fn compare(&self, demands: &Demands) -> S3Result<()> {
        let mut last = 0;
        for listed in &demands.parts {
            let number = listed.part_number.unwrap_or_default();
            if number <= last {
                return Err(s3_error!(
                    InvalidPartOrder,
                    "the parts are not listed in the order of their numbers"
                ));
            }
            last = number;
            let claimed = Checksum {
                checksum_crc32: listed.checksum_crc32.clone(),
                checksum_crc32c: listed.checksum_crc32c.clone(),
                checksum_crc64nvme: listed.checksum_crc64nvme.clone(),
                checksum_sha1: listed.checksum_sha1.clone(),
                checksum_sha256: listed.checksum_sha256.clone(),
                checksum_type: None,
            };
            let same = self.parts.get(&number).is_some_and(|part| {
                let known = named(&part.checksum);
                let claims = named(&claimed).into_iter().zip(known);
                let same = |(claimed, known): (Option<&str>, Option<&str>)| {
                    claimed.is_none() || known.is_none() || claimed == known
                };
                listed.e_tag.as_ref().is_none_or(|tag| *tag == part.e_tag())
                    && claims.into_iter().all(|((_, c), (_, k))| same((c, k)))
            });
            if !same {
                return Err(s3_error!(
                    InvalidPart,
                    "part {number} was not received, or with other content"
                ));
            }
        }
        if demands.parts.is_empty() {
            return Err(s3_error!(MalformedXML, "an object has at least one part"));
        }
        let listed = |number: i32| demands.parts.iter().any(|p| p.part_number == Some(number));
        let written = self.parts.iter().filter(|(_, part)| part.held.is_none());
        if let Some((number, _)) = written.into_iter().find(|(number, _)| !listed(**number)) {
            return Err(s3_error!(
                InvalidPart,
                "part {number} is not listed, and is written already; list it, or abort the upload and begin again"
            ));
        }
        Ok(())
    }

    /// The part goes to the store, if it has not yet. Gives what to wait for.
    async fn hand_on(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        upload: &Upload,
        number: i32,
    ) -> S3Result<Option<oneshot::Receiver<S3Result<()>>>> {
        let part = self.parts.get(&number).filter(|part| part.held.is_some());
        let Some(size) = part.map(|part| part.size) else {
            return Ok(None);
        };
        let is_kept_back = match &self.sink {
            Sink::Head(head, _) => {
                let before: usize = head.iter().map(Bytes::len).sum();
                before as u64 + size <= kluis::MAX_CONDITIONAL_STREAM as u64
            }
            _ => false,
        };
        // Whoever waits here may be gone, and sends the part again: until the store is open
        // nothing is taken out, and nothing counts as written.
        if !is_kept_back && !matches!(self.sink, Sink::Store(_)) {
            let options = PutMultipartOptions {
                attributes: upload.attributes.clone(),
                ..PutMultipartOptions::default()
            };
            let opened = store.put_multipart_opts(&upload.path, options).await;
            let opened = opened.map_err(|error| {
                self.failed = true;
                of_write(error, !upload.attributes.is_empty())
            })?;
            let before = std::mem::replace(&mut self.sink, Sink::Store(opened));
            if let Sink::Head(head, permit) = before {
                self.write(head, permit);
            }
        }
        let Some((pieces, permit)) = self.parts.get_mut(&number).and_then(|p| p.held.take()) else {
            return Ok(None);
        };
        for piece in &pieces {
            self.hasher.update(piece);
        }
        match &mut self.sink {
            Sink::Head(head, _) if is_kept_back => {
                head.extend(pieces);
                Ok(None)
            }
            _ => Ok(self.write(pieces, permit)),
        }
    }

    /// The order of these calls is the order of the bytes; what they begin goes on by itself.
    fn write(
        &mut self,
        pieces: Vec<Bytes>,
        permit: OwnedSemaphorePermit,
    ) -> Option<oneshot::Receiver<S3Result<()>>> {
        let Sink::Store(store) = &mut self.sink else {
            return None;
        };
        // What has been written long ago need not be remembered.
        while let Some(written) = self.writes.try_join_next() {
            self.failed |= !matches!(written, Ok(true));
        }
        let write = store.put_part(pieces.into_iter().collect::<PutPayload>());
        let (send, receive) = oneshot::channel();
        self.writes.spawn(async move {
            let result = write.await.map_err(of_store);
            drop(permit);
            let good = result.is_ok();
            let _ = send.send(result);
            good
        });
        Some(receive)
    }

    /// Hands on what is still here and makes the object.
    async fn assemble(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        upload: &Upload,
        demands: &Demands,
    ) -> S3Result<(PutResult, Checksum)> {
        // What the client does not name is not part of it.
        let listed = |number: &i32| demands.parts.iter().any(|p| p.part_number == Some(*number));
        self.parts.retain(|number, _| listed(number));
        let numbers: Vec<_> = self.parts.keys().copied().collect();
        for number in numbers {
            self.hand_on(store, upload, number).await?;
        }
        while let Some(written) = self.writes.join_next().await {
            self.failed |= !matches!(written, Ok(true));
        }
        self.check()?;
        let checksum = self.checksum(upload, demands)?;
        let put = self.commit(store, upload, demands.mode.clone()).await;
        Ok((
            put.map_err(|e| of_write(e, !upload.attributes.is_empty()))?,
            checksum,
        ))
    }

    /// The object's own checksum, as S3 answers it, compared where the client has one.
    fn checksum(&mut self, upload: &Upload, demands: &Demands) -> S3Result<Checksum> {
        let computed = if upload.full_object {
            std::mem::take(&mut self.hasher).finalize()
        } else {
            let mut over = ChecksumHasher::default();
            if let Some(algorithm) = &upload.checksum {
                compute(&mut over, &algorithm.to_ascii_lowercase());
            }
            let mut complete = true;
            for part in self.parts.values() {
                let known = upload.checksum.as_ref().and_then(|algorithm| {
                    let known = named(&part.checksum);
                    let of =
                        |(name, _): &&(&str, Option<&str>)| algorithm.eq_ignore_ascii_case(name);
                    BASE64.decode(known.iter().find(of)?.1?.as_bytes()).ok()
                });
                match known {
                    Some(bytes) => over.update(&bytes),
                    None => complete = false,
                }
            }
            let count = self.parts.len();
            let composed = |sum: Option<String>| {
                let sum = sum.filter(|_| complete)?;
                Some(format!("{sum}-{count}"))
            };
            let over = over.finalize();
            Checksum {
                checksum_crc32: composed(over.checksum_crc32),
                checksum_crc32c: composed(over.checksum_crc32c),
                checksum_crc64nvme: composed(over.checksum_crc64nvme),
                checksum_sha1: composed(over.checksum_sha1),
                checksum_sha256: composed(over.checksum_sha256),
                checksum_type: None,
            }
        };
        let claims = named(&demands.checksum);
        for ((name, computed), (_, claimed)) in named(&computed).into_iter().zip(claims) {
            match (claimed, computed) {
                (Some(claimed), Some(computed)) if claimed != computed => {
                    return Err(s3_error!(BadDigest, "the object has another {name}"));
                }
                (Some(_), None) => {
                    return Err(s3_error!(
                        InvalidRequest,
                        "the {name} of the whole has to be announced when the upload is created"
                    ));
                }
                _ => {}
            }
        }
        Ok(computed)
    }

    async fn commit(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        upload: &Upload,
        mode: Option<PutMode>,
    ) -> Result<PutResult, kluis::object_store::Error> {
        match &mut self.sink {
            Sink::Store(store) => store.complete().await,
            Sink::Head(head, _) => {
                let options = PutOptions {
                    mode: mode.unwrap_or_default(),
                    attributes: upload.attributes.clone(),
                    ..PutOptions::default()
                };
                let payload = head.iter().cloned().collect::<PutPayload>();
                store.put_opts(&upload.path, payload, options).await
            }
            // All parts are empty, or one would have opened it.
            Sink::Unopened | Sink::Closed => {
                let options = PutOptions {
                    attributes: upload.attributes.clone(),
                    ..PutOptions::default()
                };
                store
                    .put_opts(&upload.path, PutPayload::new(), options)
                    .await
            }
        }
    }

    /// Nothing of it stays.
    async fn close(&mut self) -> Result<(), kluis::object_store::Error> {
        self.parts.clear();
        self.writes.abort_all();
        while self.writes.join_next().await.is_some() {}
        match std::mem::replace(&mut self.sink, Sink::Closed) {
            Sink::Store(mut store) => store.abort().await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::{of_length, sent};
    use super::*;
    use kluis::object_store::ObjectStoreExt;
    use kluis::object_store::memory::InMemory;

    struct World {
        store: Arc<InMemory>,
        uploads: Arc<Uploads>,
    }

    impl World {
        fn new(ahead: usize) -> Self {
            let store = Arc::new(InMemory::new());
            let room = Room {
                stuck: Duration::from_millis(20),
                ..Room::new(ahead)
            };
            let uploads = Uploads::new(store.clone(), Arc::new(room), Arc::default());
            Self {
                store,
                uploads: Arc::new(uploads),
            }
        }

        fn begin(&self, id: &str) -> Arc<Upload> {
            let (key, path) = (id.to_owned(), Path::from(id));
            let created = self
                .uploads
                .create(id.into(), key, path, Attributes::new(), None, false);
            created.unwrap();
            self.uploads.find(id, id).unwrap()
        }

        async fn send(&self, upload: &Arc<Upload>, number: i32, bytes: &[u8]) -> S3Result<ETag> {
            let content = sent(bytes, of_length(bytes), &[])?.with_digest();
            Ok(self.uploads.part(upload, number, content).await?.0)
        }

        async fn complete(&self, upload: &Arc<Upload>, parts: &[(i32, ETag)]) -> S3Result<()> {
            let listed = parts.iter().map(|(number, e_tag)| CompletedPart {
                part_number: Some(*number),
                e_tag: Some(e_tag.clone()),
                ..CompletedPart::default()
            });
            let demands = Demands {
                parts: listed.collect(),
                ..Demands::default()
            };
            let done = self.uploads.complete(upload.clone(), demands);
            done.await.unwrap().map(drop)
        }

        async fn content(&self, id: &str) -> Bytes {
            let got = self.store.get(&Path::from(id)).await.unwrap();
            got.bytes().await.unwrap()
        }
    }

    /// Whoever sends a part may go while the store is being opened, and send it again.
    #[tokio::test]
    async fn a_part_whose_sender_has_gone_is_not_lost() {
        let phrase = kluis::RecoveryPhrase::generate().unwrap();
        let vault = kluis::Vault::create(Arc::new(InMemory::new()), phrase).await;
        let store = vault.unwrap().object_store();
        let room = Arc::new(Room::new(64 << 20));
        let uploads = Arc::new(Uploads::new(store.clone(), room, Arc::default()));
        let path = Path::from("x");
        let created = uploads.create(
            "x".into(),
            "x".into(),
            path.clone(),
            Attributes::new(),
            None,
            false,
        );
        created.unwrap();
        let upload = uploads.find("x", "x").unwrap();
        let parts: Vec<_> = (1..=3).map(|n| part(n, 6 << 20)).collect();
        let content = |n: usize| {
            sent(&parts[n], of_length(&parts[n]), &[])
                .unwrap()
                .with_digest()
        };
        uploads.part(&upload, 1, content(0)).await.unwrap();
        let mut sending = Box::pin(uploads.part(&upload, 2, content(1)));
        for _ in 0..8 {
            assert!(futures_util::poll!(&mut sending).is_pending());
        }
        drop(sending);
        let mut listed = Vec::new();
        for (n, number) in [(0, 1), (1, 2), (2, 3)] {
            let (e_tag, _) = uploads.part(&upload, number, content(n)).await.unwrap();
            listed.push(CompletedPart {
                part_number: Some(number),
                e_tag: Some(e_tag),
                ..CompletedPart::default()
            });
        }
        let demands = Demands {
            parts: listed,
            ..Demands::default()
        };
        uploads.complete(upload, demands).await.unwrap().unwrap();
        let got = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert!(got == parts.concat());
    }

    fn part(number: i32, size: usize) -> Vec<u8> {
        vec![u8::try_from(number).unwrap(); size]
    }

    fn code<T>(result: S3Result<T>) -> String {
        match result {
            Ok(_) => "none".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_the_order_the_bytes_are_in_theirs() {
        // Small ones are kept and put at once, large ones handed on.
        for (round, size) in [(0, 100), (1, 100), (2, 3 << 20), (3, 3 << 20)] {
            let world = World::new(64 << 20);
            let id = format!("u{round}");
            let upload = world.begin(&id);
            let mut order = vec![4, 1, 7, 3, 6, 2, 5];
            order.rotate_left(round);
            let bodies: Vec<_> = order
                .iter()
                .map(|n| (*n, part(*n, size + *n as usize)))
                .collect();
            let sending = bodies.iter().map(|(n, body)| world.send(&upload, *n, body));
            let mut parts: Vec<_> = futures_util::future::join_all(sending)
                .await
                .into_iter()
                .zip(&order)
                .map(|(e_tag, number)| (*number, e_tag.unwrap()))
                .collect();
            parts.sort_by_key(|(number, _)| *number);
            world.complete(&upload, &parts).await.unwrap();
            let whole: Vec<u8> = (1..=7).flat_map(|n| part(n, size + n as usize)).collect();
            assert!(world.content(&id).await == whole);
            assert_eq!(world.uploads.room.ahead.available_permits(), 64 << 20);
            assert_eq!(world.uploads.room.heads.available_permits(), HEADS);
            assert_eq!(code(world.send(&upload, 8, b"x").await), "NoSuchUpload");
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_the_next_always_moves() {
        let world = World::new(250);
        let upload = world.begin("u");
        let mut parts = Vec::new();
        for number in [3, 2] {
            parts.push((
                number,
                world
                    .send(&upload, number, &part(number, 100))
                    .await
                    .unwrap(),
            ));
        }
        assert_eq!(
            code(world.send(&upload, 4, &part(4, 100)).await),
            "SlowDown"
        );
        // Larger than the room: it is never ahead, and may be next.
        assert_eq!(
            code(world.send(&upload, 4, &part(4, 300)).await),
            "SlowDown"
        );
        parts.push((1, world.send(&upload, 1, &part(1, 300)).await.unwrap()));
        parts.push((4, world.send(&upload, 4, &part(4, 300)).await.unwrap()));
        parts.sort_by_key(|(number, _)| *number);
        world.complete(&upload, &parts).await.unwrap();
        assert_eq!(world.content("u").await.len(), 800);
        // One that waits gets its place when another upload gives its up.
        let (one, other) = (world.begin("one"), world.begin("other"));
        world.send(&one, 2, &part(2, 200)).await.unwrap();
        let (waiting, _) = tokio::join!(world.send(&other, 2, &[0; 100]), async {
            tokio::task::yield_now().await;
            world.uploads.abort(&one).await.unwrap();
        });
        waiting.unwrap();
    }

    #[tokio::test]
    async fn a_part_is_sent_again_or_refused() {
        let world = World::new(1 << 20);
        let upload = world.begin("u");
        let first = world.send(&upload, 1, b"first").await.unwrap();
        assert_eq!(world.send(&upload, 1, b"first").await.unwrap(), first);
        assert_eq!(
            code(world.send(&upload, 1, b"other").await),
            "InvalidRequest"
        );
        world.send(&upload, 3, b"third").await.unwrap();
        let third = world.send(&upload, 3, b"THIRD").await.unwrap();
        let mut parts = vec![(3, third.clone())];
        assert_eq!(code(world.complete(&upload, &parts).await), "InvalidPart");
        parts = vec![(3, third.clone()), (1, first.clone())];
        assert_eq!(
            code(world.complete(&upload, &parts).await),
            "InvalidPartOrder"
        );
        parts = vec![(1, third.clone()), (3, third.clone())];
        assert_eq!(code(world.complete(&upload, &parts).await), "InvalidPart");
        assert_eq!(code(world.complete(&upload, &[]).await), "MalformedXML");
        parts = vec![(1, first), (3, third)];
        world.complete(&upload, &parts).await.unwrap();
        assert_eq!(world.content("u").await, "firstTHIRD");
        for number in [0, -1, LAST_PART + 1] {
            assert_eq!(
                code(world.send(&upload, number, b"").await),
                "InvalidArgument"
            );
        }
    }

    #[tokio::test]
    async fn open_uploads_are_counted() {
        let world = World::new(1);
        for n in 0..MOST_UPLOADS {
            world.begin(&n.to_string());
        }
        let more = world.uploads.create(
            "more".into(),
            "more".into(),
            Path::from("more"),
            Attributes::new(),
            None,
            false,
        );
        assert_eq!(code(more), "SlowDown");
        world.uploads.stop().await;
        assert!(world.uploads.list().is_empty());
        assert!(world.store.head(&Path::from("0")).await.is_err());
        world.begin("more");
    }
}
