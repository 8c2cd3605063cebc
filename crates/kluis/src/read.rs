//! Reading: nothing is given out before it was authenticated, and what depends
//! on the length of an object is given out only after its last chunk was.

use crate::access::{Control, Located};
use crate::backend::{BodyReader, Source, read_file_at};
use crate::buffer::{Buffer, Pool};
use crate::device::blocking;
use crate::object::{self, ObjectInfo};
use crate::vault::Vault;
use crate::write::cores;
use crate::{Error, Result};
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use kluis_crypto::{
    CHUNK_LENGTH, GROUP_CHUNKS, HEADER_LENGTH, LEAF_LENGTH, Layout, Opener, SEALED_CHUNK_LENGTH,
    Suite, TAG_LENGTH, Tail,
};
use object_store::path::Path;
use object_store::{Attributes, GetRange, ObjectMeta};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Chunks that are opened in one go: 1 MiB.
const UNIT_CHUNKS: u64 = 64;
/// What is fetched together with a header if the wanted range lies that near.
const NEAR: u64 = 64 << 10;
/// Chunks between two ranges that are fetched along rather than asked for apart.
const GAP_CHUNKS: u64 = 4;
/// What is fetched together with a header if nothing else is: an object of one chunk.
const ONE_CHUNK: u64 = 17 << 10;
/// Sealed bytes that are opened where they are: in less time than another thread
/// takes to wake up.
const INLINE: usize = 4 * SEALED_CHUNK_LENGTH;
/// Bytes of hashes that are allocated at first.
const PART: usize = 64 << 10;
/// Ranges that are fetched at a time.
const RANGES_AT_ONCE: usize = 8;
/// Signed objects of which all is fetched before anything is given out: about a unit.
const SIGNED_AT_ONCE: u64 = HEADER_LENGTH as u64 + (UNIT_CHUNKS + 1) * SEALED_CHUNK_LENGTH as u64;

/// One object, or a part of one, that was found and is still to be read.
pub struct Object {
    info: ObjectInfo,
    range: Range<u64>,
    stream: BoxStream<'static, Result<Bytes>>,
}

impl Object {
    /// What is known of the whole object.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The bytes of the content that are read.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Reads all of it into memory.
    ///
    /// # Errors
    /// `Tampered`, and nothing is given out.
    pub async fn bytes(self) -> Result<Bytes> {
        let mut stream = self.stream;
        let Some(first) = stream.try_next().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = stream.try_next().await? else {
            return Ok(first);
        };
        // The end of a range is a claim of the store: it does not decide what is
        // allocated.
        let mut all = BytesMut::with_capacity(4 * first.len());
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = stream.try_next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// Reads it in pieces of about 1 MiB in bounded memory. Each piece is
    /// authentic when it comes; one that is not ends the stream with an error, so
    /// that what came before is a beginning of the content, to be thrown away.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        self.stream
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("info", &self.info)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads an object, whole or as a stream. A small one costs one request, one
    /// above 1 MiB two, for its end is authenticated first.
    ///
    /// # Errors
    /// `NotFound`; `Tampered`, in a signed vault also for an object that none of those has
    /// signed to whom the owner gave the right to write; `Stale` where the object proves that the store
    /// hides decisions of the owner.
    pub async fn get(&self, path: impl AsRef<str>) -> Result<Object> {
        self.read(path.as_ref(), None).await
    }

    /// Reads a part of an object: the general form of [`get_range`](Self::get_range).
    ///
    /// # Errors
    /// `InvalidInput` for a range that begins behind the end; otherwise as [`get`](Self::get).
    pub async fn get_part(&self, path: impl AsRef<str>, range: GetRange) -> Result<Object> {
        self.read(path.as_ref(), Some(range)).await
    }

    /// Reads bytes `range.start..range.end`, cut at the end of the object. Fetches
    /// the header and the chunks that are needed.
    ///
    /// # Errors
    /// As [`get_part`](Self::get_part).
    pub async fn get_range(&self, path: impl AsRef<str>, range: Range<u64>) -> Result<Bytes> {
        self.get_part(path, GetRange::Bounded(range))
            .await?
            .bytes()
            .await
    }

    /// Reads several ranges of one object: its header once, and ranges that lie
    /// near each other in one request.
    ///
    /// # Errors
    /// As [`get_range`](Self::get_range); one range that fails fails the call.
    pub async fn get_ranges(
        &self,
        path: impl AsRef<str>,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        for range in ranges {
            not_empty(range)?;
        }
        match self.ranges_once(path.as_ref(), ranges).await {
            Err(Error::Conflict { .. }) => self.ranges_once(path.as_ref(), ranges).await,
            other => other,
        }
    }

    async fn ranges_once(&self, text: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let found = Found::open(self, text, ONE_CHUNK).await?;
        let length = found.content_length(self).await?;
        let mut wanted = Vec::with_capacity(ranges.len());
        for range in ranges {
            wanted.push(resolve(&GetRange::Bounded(range.clone()), length, &found, self).await?);
        }
        let groups = group(&wanted);
        let found = Arc::new(found);
        let fetches = groups
            .into_iter()
            .map(|group| Found::fetch(Arc::clone(&found), self.clone(), group).boxed());
        let fetched: Vec<(Range<u64>, Bytes)> = futures_util::stream::iter(fetches)
            .buffered(RANGES_AT_ONCE)
            .try_collect()
            .await?;
        let cut = |range: Range<u64>| {
            let Some((group, text)) = fetched
                .iter()
                .find(|(g, _)| g.start <= range.start && range.end <= g.end)
            else {
                return Bytes::new();
            };
            let at = |offset: u64| usize::try_from(offset - group.start).unwrap_or(usize::MAX);
            text.slice(at(range.start)..at(range.end))
        };
        Ok(wanted.into_iter().map(cut).collect())
    }

    /// What is known of an object, from its header.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn head(&self, path: impl AsRef<str>) -> Result<ObjectInfo> {
        match self.head_once(path.as_ref()).await {
            Err(Error::Conflict { .. }) => self.head_once(path.as_ref()).await,
            other => other,
        }
    }

    async fn head_once(&self, text: &str) -> Result<ObjectInfo> {
        let found = Found::open(self, text, 0).await?;
        let length = found.content_length(self).await?;
        found.info(self, length)
    }

    /// The header of an object, checked.
    pub(crate) async fn header_of(&self, text: &str) -> Result<Box<[u8; HEADER_LENGTH]>> {
        Ok(Box::new(Found::open(self, text, 0).await?.header))
    }

    /// A read of several requests runs again, once, if the object was replaced
    /// between two of them.
    async fn read(&self, text: &str, range: Option<GetRange>) -> Result<Object> {
        if let Some(GetRange::Bounded(range)) = &range {
            not_empty(range)?;
        }
        match self.read_once(text, range.as_ref()).await {
            Err(Error::Conflict { .. }) => self.read_once(text, range.as_ref()).await,
            other => other,
        }
    }

    async fn read_once(&self, text: &str, range: Option<&GetRange>) -> Result<Object> {
        let Some(range) = range else {
            return self.read_whole(text).await;
        };
        let near = match range {
            GetRange::Bounded(range) if range.end <= NEAR => {
                HEADER_LENGTH as u64
                    + (range.end / CHUNK_LENGTH as u64 + 1) * SEALED_CHUNK_LENGTH as u64
            }
            _ => 0,
        };
        let found = Found::open(self, text, near).await?;
        let length = found.content_length(self).await?;
        let range = resolve(range, length, &found, self).await?;
        let info = found.info(self, length)?;
        let stream = found
            .stream(self, range.clone(), range.end == length)
            .await?;
        Ok(Object {
            info,
            range,
            stream,
        })
    }

    async fn read_whole(&self, text: &str) -> Result<Object> {
        let control = self.control()?;
        let place = control.locate(text)?.stored(text)?;
        let body = self.backend().open(&place, text, None, None).await?;
        let (meta, attributes) = (body.meta.clone(), body.attributes.clone());
        let suite = control.suite();
        let layout = Layout::of_stored(suite, meta.size).map_err(|e| Error::core(e, text))?;
        let mut source = body.source();
        let mut near = None;
        let at_once = match (&source, suite) {
            // A small file is read in one go.
            (Source::File(_), Suite::V1) => (HEADER_LENGTH + INLINE) as u64,
            (Source::Stream(_), Suite::V1) => 0,
            // Its end comes before its beginning.
            _ => SIGNED_AT_ONCE,
        };
        if meta.size <= at_once {
            let mut all = vec![0; usize::try_from(meta.size).unwrap_or(0)];
            read_source(&mut source, &mut all, 0, text).await?;
            if let Source::Stream(reader) = &mut source {
                reader.end(text).await?;
            }
            let all = Bytes::from(all);
            near = Some(all.slice(HEADER_LENGTH..));
            source = Source::Stream(BodyReader::of(all));
        }
        let mut header = [0; HEADER_LENGTH];
        read_source(&mut source, &mut header, 0, text).await?;
        let opener = self.opener(&control, &header, text).await?;
        let mut found = Found {
            text: text.to_owned(),
            place,
            meta,
            attributes,
            header,
            opener: Arc::new(opener),
            layout,
            tail: None,
            filler: OnceLock::new(),
            near,
        };
        found.verify(self).await?;
        let length = found.content_length(self).await?;
        let info = found.info(self, length)?;
        // Its last chunk is in the first unit, and nothing of that is given out before.
        if layout.plaintext_length() >= UNIT_CHUNKS * CHUNK_LENGTH as u64 {
            match &source {
                Source::File(file) => found.check_end(Source::File(Arc::clone(file))).await?,
                Source::Stream(_) => found.read_end(self).await?,
            }
        }
        let stream = found.units(source, 0..layout.chunks(), Span::Whole, 0..length);
        Ok(Object {
            info,
            range: 0..length,
            stream,
        })
    }

    /// Checks a header, reading the ledger again if its writer knew more of it.
    async fn opener(
        &self,
        control: &Control,
        header: &[u8; HEADER_LENGTH],
        text: &str,
    ) -> Result<Opener> {
        let check = |control: &Control| {
            let Located { tree, path } = control.locate(text)?;
            Ok::<_, Error>(Opener::new(
                header,
                &self.id(),
                control.suite(),
                tree,
                &path,
            ))
        };
        match check(control)? {
            Err(kluis_crypto::Error::Stale(_)) => check(&*self.refresh().await?)?,
            Ok(opener) if opener.may_be_by_a_newer_writer() => check(&*self.refresh().await?)?,
            other => other,
        }
        .map_err(|error| match error {
            // Of the version that was shared, not of the object.
            kluis_crypto::Error::NotFound(_) => Error::NotFound {
                path: format!("{text} of the version that was shared: another one lies there now"),
            },
            error => Error::core(error, text),
        })
    }
}

/// An object whose header was checked.
pub(crate) struct Found {
    text: String,
    place: Path,
    meta: ObjectMeta,
    attributes: Attributes,
    header: [u8; HEADER_LENGTH],
    opener: Arc<Opener>,
    /// By the store's word until the end was read, or the signature verified.
    layout: Layout,
    /// The end of a signed object.
    tail: Option<Arc<Tail>>,
    /// What has to be zeros between the content and the end.
    filler: OnceLock<Range<u64>>,
    /// Stored bytes behind the header that came along with it.
    near: Option<Bytes>,
}

impl Found {
    /// Fetches the header, and up to `near` stored bytes with it.
    pub(crate) async fn open(vault: &Vault, text: &str, near: u64) -> Result<Self> {
        let control = vault.control()?;
        let place = control.locate(text)?.stored(text)?;
        let suite = control.suite();
        let near = match suite {
            Suite::V1 => near,
            _ => near.max(ONE_CHUNK),
        };
        let wanted = 0..near.max(HEADER_LENGTH as u64);
        let body = vault
            .backend()
            .open(&place, text, Some(wanted), None)
            .await?;
        let (meta, attributes, got) = (
            body.meta.clone(),
            body.attributes.clone(),
            body.range.clone(),
        );
        let layout = Layout::of_stored(suite, meta.size).map_err(|e| Error::core(e, text))?;
        let mut source = body.source();
        let mut header = [0; HEADER_LENGTH];
        read_source(&mut source, &mut header, 0, text).await?;
        let more = got
            .end
            .min(meta.size)
            .saturating_sub(HEADER_LENGTH as u64)
            .min(near);
        let near = match usize::try_from(more).unwrap_or(0) {
            0 => None,
            more => {
                let mut bytes = vec![0; more];
                read_source(&mut source, &mut bytes, HEADER_LENGTH as u64, text).await?;
                Some(Bytes::from(bytes))
            }
        };
        let opener = Arc::new(vault.opener(&control, &header, text).await?);
        let mut found = Self {
            text: text.to_owned(),
            place,
            meta,
            attributes,
            header,
            opener,
            layout,
            tail: None,
            filler: OnceLock::new(),
            near,
        };
        found.verify(vault).await?;
        Ok(found)
    }

    /// Finds out who wrote a signed object, before anything of it counts.
    async fn verify(&mut self, vault: &Vault) -> Result<()> {
        if !self.opener.is_signed() {
            return Ok(());
        }
        let key = self.key();
        let place = self.layout.tail();
        let here = self.near.as_ref().map_or(0, Bytes::len) + HEADER_LENGTH;
        let known = vault.tails().get(&key);
        if let Some((layout, tail)) = &known
            && place.end > here as u64
        {
            if *layout != self.layout {
                return Err(Error::tampered(&self.text));
            }
            self.tail = Some(Arc::clone(tail));
            return Ok(());
        }
        let end = self.part(vault, place).await?;
        if let Some((_, tail)) = known
            && tail.as_bytes() == end
        {
            self.tail = Some(tail);
            return Ok(());
        }
        let tail = self
            .opener
            .tail(self.place.as_ref(), &self.layout, &end)
            .map_err(|e| Error::core(e, &self.text))?;
        let tail = Arc::new(tail);
        vault.tails().keep(key, self.layout, Arc::clone(&tail));
        self.tail = Some(tail);
        Ok(())
    }

    /// Names this write of the object.
    fn key(&self) -> TailKey {
        (*self.opener.header_hash(), self.place.clone())
    }

    /// Number of chunks, by the store's word.
    fn chunks(&self) -> u64 {
        self.layout.chunks()
    }

    fn padded(&self) -> u64 {
        self.layout.plaintext_length()
    }

    /// The length of the content.
    pub(crate) async fn content_length(&self, vault: &Vault) -> Result<u64> {
        let tail = if self.opener.needs_tail() {
            let start = self
                .padded()
                .checked_sub(8)
                .ok_or_else(|| Error::tampered(&self.text))?;
            let bytes = self.read_text(vault, start..self.padded()).await?;
            Some(<[u8; 8]>::try_from(&bytes[..]).map_err(|_| Error::tampered(&self.text))?)
        } else {
            None
        };
        let length = self
            .opener
            .true_length(self.padded(), tail)
            .map_err(|e| Error::core(e, &self.text))?;
        let tail = if tail.is_some() { 8 } else { 0 };
        self.filler.get_or_init(|| length..self.padded() - tail);
        Ok(length)
    }

    pub(crate) fn info(&self, vault: &Vault, length: u64) -> Result<ObjectInfo> {
        let metadata = self
            .opener
            .metadata(object::sealed_outside(&self.attributes).as_deref())
            .map_err(|e| Error::core(e, &self.text))?;
        let location =
            Path::parse(&self.text).map_err(|error| Error::invalid(error.to_string()))?;
        let meta = ObjectMeta {
            location,
            size: length,
            ..self.meta.clone()
        };
        let writer = match &self.tail {
            Some(tail) => Some(vault.control()?.writer(&tail.writer())),
            None => None,
        };
        let (size, opener) = (self.meta.size, &self.opener);
        Ok(object::info(meta, size, opener, metadata, writer))
    }

    /// Stored bytes, of the same write as the header.
    async fn source(&self, vault: &Vault, bytes: Range<u64>) -> Result<Source> {
        if let Some(near) = &self.near {
            let start = usize::try_from(bytes.start - HEADER_LENGTH as u64).unwrap_or(usize::MAX);
            let end = usize::try_from(bytes.end - HEADER_LENGTH as u64).unwrap_or(usize::MAX);
            if end <= near.len() {
                return Ok(Source::Stream(BodyReader::of(near.slice(start..end))));
            }
        }
        let body = vault
            .backend()
            .open(
                &self.place,
                &self.text,
                Some(bytes.clone()),
                self.meta.e_tag.clone(),
            )
            .await?;
        if body.range != bytes || body.meta.size != self.meta.size {
            return Err(Error::tampered(&self.text));
        }
        Ok(body.source())
    }

    /// Hashes, in memory.
    async fn part(&self, vault: &Vault, bytes: Range<u64>) -> Result<Vec<u8>> {
        let mut source = self.source(vault, bytes.clone()).await?;
        let length = usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX);
        // The length is a claim: no more is allocated at a time than has come.
        let mut all = Vec::new();
        while all.len() < length {
            let at = all.len();
            all.resize(length.min(at + at.max(PART)), 0);
            let offset = bytes.start + at as u64;
            read_source(&mut source, &mut all[at..], offset, &self.text).await?;
        }
        Ok(all)
    }

    /// Authenticates the last chunk, and with it the length, which in a signed object
    /// is signed.
    pub(crate) async fn read_end(&self, vault: &Vault) -> Result<()> {
        if self.tail.is_some() {
            return Ok(());
        }
        let last = self.layout.chunk(self.chunks() - 1);
        let source = self.source(vault, last).await?;
        self.check_end(source).await
    }

    async fn check_end(&self, source: Source) -> Result<()> {
        if self.tail.is_some() {
            return Ok(());
        }
        let last = self.chunks() - 1;
        let all = self.units(
            source,
            last..last + 1,
            Span::Whole,
            last * CHUNK_LENGTH as u64..self.padded(),
        );
        all.try_for_each(|_| std::future::ready(Ok(()))).await
    }

    async fn fetch(
        self: Arc<Self>,
        vault: Vault,
        group: Range<u64>,
    ) -> Result<(Range<u64>, Bytes)> {
        let text = self.read_text(&vault, group.clone()).await?;
        Ok((group, text))
    }

    /// Reads a part of the padded plaintext into memory.
    async fn read_text(&self, vault: &Vault, range: Range<u64>) -> Result<Bytes> {
        let mut stream = self.stream(vault, range, false).await?;
        let mut all = BytesMut::new();
        while let Some(piece) = stream.try_next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// A part of the padded plaintext as a stream. With `end`, the last chunk is
    /// authenticated before anything is given out.
    async fn stream(
        &self,
        vault: &Vault,
        range: Range<u64>,
        end: bool,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let first = range.start / CHUNK_LENGTH as u64;
        let mut behind = match range.is_empty() {
            true => first,
            false => range.end.div_ceil(CHUNK_LENGTH as u64),
        };
        if self.tail.is_none() && (end || range.end >= self.padded()) {
            // In one request where the last chunk is near and all of it one unit.
            let chunks = self.chunks();
            if !range.is_empty() && chunks - behind <= GAP_CHUNKS && chunks - first < UNIT_CHUNKS {
                behind = chunks;
            } else {
                self.read_end(vault).await?;
            }
        }
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let Some(tail) = &self.tail else {
            let bytes = self.layout.chunk(first).start..self.layout.chunk(behind - 1).end;
            let source = self.source(vault, bytes).await?;
            return Ok(self.units(source, first..behind, Span::Chunks, range));
        };
        // The hashes of the last group come along where they are near.
        let last = (behind - 1) / GROUP_CHUNKS;
        let known = vault.tails().leaves(&self.key(), last);
        let group_end = self.chunks().min((last + 1) * GROUP_CHUNKS);
        if known.is_none() && group_end - behind <= GAP_CHUNKS {
            let bytes = self.layout.chunk(first).start..self.layout.leaves(last).end;
            let source = self.source(vault, bytes).await?;
            return Ok(self.units(source, first..group_end, Span::Groups(behind), range));
        }
        let bytes = self.layout.chunk(first).start..self.layout.chunk(behind - 1).end;
        let source = self.source(vault, bytes);
        let (source, leaves) = match known {
            Some(leaves) => (source.await?, leaves),
            None => {
                let place = self.layout.leaves(last);
                let (source, leaves) = futures_util::try_join!(source, self.part(vault, place))?;
                tail.check(last, &leaves)
                    .map_err(|e| Error::core(e, &self.text))?;
                let leaves = Bytes::from(leaves);
                vault.tails().keep_leaves(&self.key(), last, leaves.clone());
                (source, leaves)
            }
        };
        let span = Span::And(last, leaves);
        Ok(self.units(source, first..behind, span, range))
    }

    /// Opens chunks unit by unit on all cores, and cuts `range` out of them.
    fn units(
        &self,
        source: Source,
        chunks: Range<u64>,
        span: Span,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes>> {
        let unit = (chunks.end - chunks.start).min(UNIT_CHUNKS);
        let pool = |chunk: usize, all: u64| {
            Pool::new(usize::try_from((unit * chunk as u64).min(all)).unwrap_or(chunk))
        };
        let state = Reading {
            opener: Arc::clone(&self.opener),
            text: Arc::from(self.text.as_str()),
            sealed: pool(SEALED_CHUNK_LENGTH, self.meta.size),
            plain: pool(CHUNK_LENGTH, self.padded()),
            // A file is read by whoever opens, at any offset.
            source,
            next: chunks.start,
            chunks: chunks.end,
            layout: self.layout,
            tail: self.tail.clone(),
            span,
            ready: VecDeque::new(),
            filler: self.filler.get().cloned().unwrap_or(0..0),
        };
        let units = futures_util::stream::try_unfold(state, async |mut reading| {
            Ok::<_, Error>(reading.next().await?.map(|work| (work, reading)))
        });
        let cut = move |(at, text): (u64, Bytes)| {
            let end = at + text.len() as u64;
            let (from, to) = (range.start.clamp(at, end), range.end.clamp(at, end));
            // Within the piece, which is in memory.
            text.slice((from - at) as usize..(to - at) as usize)
        };
        units
            .try_buffered(cores() + 1)
            .map_ok(cut)
            .try_filter(|piece| std::future::ready(!piece.is_empty()))
            .boxed()
    }
}

type Opened = futures_util::future::BoxFuture<'static, Result<(u64, Bytes)>>;

/// What a source holds beside the chunks that are wanted.
enum Span {
    /// Chunks alone.
    Chunks,
    /// The object to its end.
    Whole,
    /// The hashes of every group, and on the way to the last of them chunks that are not
    /// wanted, from this one on.
    Groups(u64),
    /// Those of every group but this one, whose hashes came apart and were checked.
    And(u64, Bytes),
}

/// A unit of chunks that were fetched, or that whoever opens them reads from a file.
struct Unit {
    chunks: Range<u64>,
    sealed: Buffer,
    leaves: Bytes,
}

/// Chunks on their way from the store.
struct Reading {
    opener: Arc<Opener>,
    text: Arc<str>,
    sealed: Arc<Pool>,
    plain: Arc<Pool>,
    source: Source,
    next: u64,
    chunks: u64,
    layout: Layout,
    tail: Option<Arc<Tail>>,
    span: Span,
    /// Fetched, and their hashes checked against the signature.
    ready: VecDeque<Unit>,
    filler: Range<u64>,
}

impl Reading {
    /// Fetches the next unit; in a signed object whose hashes follow it, a whole group.
    ///
    /// # Errors
    /// `Tampered`.
    async fn fetch(&mut self) -> Result<()> {
        let Some(tail) = self.tail.clone() else {
            let unit = self.unit(self.chunks).await?;
            self.ready.push_back(unit);
            return Ok(());
        };
        let group = self.next / GROUP_CHUNKS;
        let behind = self.chunks.min((group + 1) * GROUP_CHUNKS);
        let place = self.layout.leaves(group);
        let known = match (&self.span, &self.source) {
            (Span::And(of, leaves), _) if *of == group => Some(leaves.clone()),
            (_, Source::File(file)) => {
                let mut leaves = vec![0; usize::try_from(place.end - place.start).unwrap_or(0)];
                read_file_at(file, &mut leaves, place.start, &self.text)?;
                Some(self.checked(&tail, group, leaves)?)
            }
            _ => None,
        };
        let mut units = Vec::new();
        while self.next < behind {
            units.push(self.unit(behind).await?);
            // One at a time is enough where the hashes are here already.
            if known.is_some() && !matches!(self.source, Source::File(_)) {
                break;
            }
        }
        let leaves = match known {
            Some(leaves) => leaves,
            None => {
                let mut leaves = vec![0; usize::try_from(place.end - place.start).unwrap_or(0)];
                read_source(&mut self.source, &mut leaves, place.start, &self.text).await?;
                self.checked(&tail, group, leaves)?
            }
        };
        let wanted = match self.span {
            Span::Groups(behind) => behind,
            _ => self.chunks,
        };
        for mut unit in units {
            unit.chunks.end = unit.chunks.end.min(wanted);
            if unit.chunks.is_empty() {
                continue;
            }
            let at = |chunk: u64| {
                usize::try_from(chunk - group * GROUP_CHUNKS).unwrap_or(0) * LEAF_LENGTH
            };
            unit.leaves = leaves.slice(at(unit.chunks.start)..at(unit.chunks.end));
            self.ready.push_back(unit);
        }
        Ok(())
    }

    fn checked(&self, tail: &Tail, group: u64, leaves: Vec<u8>) -> Result<Bytes> {
        tail.check(group, &leaves)
            .map_err(|error| Error::core(error, &*self.text))?;
        Ok(leaves.into())
    }

    async fn unit(&mut self, behind: u64) -> Result<Unit> {
        let chunks = self.next..behind.min(self.next + UNIT_CHUNKS);
        self.next = chunks.end;
        let mut sealed = self.sealed.take();
        if let Source::Stream(reader) = &mut self.source {
            let length = stored_length(&self.layout, &chunks);
            reader
                .fill(&mut sealed.as_mut()[..length], &self.text)
                .await?;
        }
        Ok(Unit {
            chunks,
            sealed,
            leaves: Bytes::new(),
        })
    }

    /// Behind the last unit of a whole object comes the signature, and then nothing.
    async fn end(&mut self) -> Result<()> {
        if let (Source::Stream(reader), Span::Whole) = (&mut self.source, &self.span) {
            let mut buffer = [0; 4_096];
            let signed = self.tail.as_ref().map_or(&[][..], |tail| tail.as_bytes());
            for expected in signed.chunks(buffer.len()) {
                let found = &mut buffer[..expected.len()];
                reader.fill(found, &self.text).await?;
                if found != expected {
                    return Err(Error::tampered(&*self.text));
                }
            }
            reader.end(&self.text).await?;
        }
        Ok(())
    }

    /// The next unit: its bytes fetched in order, its opening still to be waited for.
    async fn next(&mut self) -> Result<Option<Opened>> {
        if self.ready.is_empty() {
            if self.next == self.chunks {
                self.end().await?;
                return Ok(None);
            }
            self.fetch().await?;
        }
        let Some(Unit {
            chunks,
            mut sealed,
            leaves,
        }) = self.ready.pop_front()
        else {
            return Ok(None);
        };
        let first = chunks.start;
        let offset = self.layout.chunk(first).start;
        let length = stored_length(&self.layout, &chunks);
        let count = usize::try_from(chunks.end - first).unwrap_or(0);
        let Some(plain_length) = length.checked_sub(count * TAG_LENGTH) else {
            return Err(Error::tampered(&*self.text));
        };
        let file = match &self.source {
            Source::File(file) => Some(Arc::clone(file)),
            Source::Stream(_) => None,
        };
        let (opener, text, mut plain) = (
            Arc::clone(&self.opener),
            Arc::clone(&self.text),
            self.plain.take(),
        );
        let filler = self.filler.clone();
        let in_memory = file.is_none();
        let open = move || {
            let sealed = &mut sealed.as_mut()[..length];
            if let Some(file) = file {
                read_file_at(&file, sealed, offset, &text)?;
            }
            opener
                .open(first, sealed, &leaves, &mut plain.as_mut()[..plain_length])
                .map_err(|error| Error::core(error, &*text))?;
            let at = first * CHUNK_LENGTH as u64;
            let within = |offset: u64| offset.clamp(at, at + plain_length as u64) - at;
            // Within the unit, which is in memory.
            let zeros = within(filler.start) as usize..within(filler.end) as usize;
            if plain.as_mut()[zeros].iter().any(|byte| *byte != 0) {
                return Err(Error::tampered(&*text));
            }
            Ok((at, plain.freeze(plain_length)))
        };
        if in_memory && length <= INLINE {
            return Ok(Some(std::future::ready(open()).boxed()));
        }
        // Started now, so that it runs while the next bytes are fetched.
        let opened = blocking(open);
        Ok(Some(opened.map(|opened| opened?).boxed()))
    }
}

async fn read_source(source: &mut Source, out: &mut [u8], offset: u64, what: &str) -> Result<()> {
    match source {
        Source::Stream(reader) => reader.fill(out, what).await,
        // Two changes of threads take longer than a few pages of a file that was
        // just opened.
        Source::File(file) if out.len() <= HEADER_LENGTH + INLINE => {
            read_file_at(file, out, offset, what)
        }
        Source::File(file) => {
            let (file, length, what) = (Arc::clone(file), out.len(), what.to_owned());
            let read = blocking(move || {
                let mut bytes = vec![0; length];
                read_file_at(&file, &mut bytes, offset, &what).map(|()| bytes)
            });
            out.copy_from_slice(&read.await??);
            Ok(())
        }
    }
}

/// Refuses a range that is none before any request.
fn not_empty(range: &Range<u64>) -> Result<()> {
    if range.is_empty() {
        let Range { start, end } = range;
        return Err(Error::invalid(format!("the range {start}..{end} is empty")));
    }
    Ok(())
}

/// A range of the content, as object_store defines them. One that depends on the
/// length is given out after the length was authenticated.
async fn resolve(
    range: &GetRange,
    length: u64,
    found: &Found,
    vault: &Vault,
) -> Result<Range<u64>> {
    let behind = |start: u64| {
        Error::invalid(format!(
            "the range begins at {start}, behind the end of {} at {length}",
            found.text
        ))
    };
    match *range {
        GetRange::Bounded(Range { start, .. }) | GetRange::Offset(start) if start >= length => {
            // An empty rest is an answer, if the length is true.
            found.read_end(vault).await?;
            if start == length && matches!(range, GetRange::Offset(_)) {
                Ok(length..length)
            } else {
                Err(behind(start))
            }
        }
        GetRange::Bounded(Range { start, end }) => Ok(start..end.min(length)),
        GetRange::Offset(start) => Ok(start..length),
        GetRange::Suffix(count) => Ok(length.saturating_sub(count)..length),
    }
}

/// Ranges that lie near each other become one, so that no chunk is fetched twice.
fn group(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut groups: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match groups.last_mut() {
            Some(last) if range.start <= last.end + GAP_CHUNKS * CHUNK_LENGTH as u64 => {
                last.end = last.end.max(range.end);
            }
            _ => groups.push(range),
        }
    }
    groups
}

/// Bytes of consecutive chunks of one group.
fn stored_length(layout: &Layout, chunks: &Range<u64>) -> usize {
    let end = layout.chunk(chunks.end - 1).end;
    usize::try_from(end - layout.chunk(chunks.start).start).unwrap_or(usize::MAX)
}

/// Ends of signed objects, and hashes of their chunks, so that they are asked for once:
/// they are no secrets, and bound to the header that the signature is about.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<Kept>);

/// The header's hash, and where the object lies.
type TailKey = ([u8; 32], Path);

#[derive(Debug, Default)]
struct Kept {
    objects: HashMap<TailKey, Signed>,
    /// From the least recently used.
    order: BTreeMap<u64, TailKey>,
    clock: u64,
    size: usize,
}

#[derive(Debug)]
struct Signed {
    used: u64,
    layout: Layout,
    tail: Arc<Tail>,
    /// By their groups, each checked against the tail.
    leaves: BTreeMap<u64, Bytes>,
    size: usize,
}

impl Tails {
    /// Bytes of them, of one object a quarter of it.
    const MAX: usize = 8 << 20;
    /// What an object or a group takes beside its hashes, about.
    const EACH: usize = 512;

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &TailKey) -> Option<(Layout, Arc<Tail>)> {
        let mut kept = self.kept();
        let Kept {
            objects,
            order,
            clock,
            ..
        } = &mut *kept;
        let found = objects.get_mut(key)?;
        *clock += 1;
        order.remove(&found.used);
        order.insert(*clock, key.clone());
        found.used = *clock;
        Some((found.layout, Arc::clone(&found.tail)))
    }

    fn keep(&self, key: TailKey, layout: Layout, tail: Arc<Tail>) {
        let mut kept = self.kept();
        let size = tail.size() + Self::EACH;
        if size > Self::MAX / 4 || kept.objects.contains_key(&key) {
            return;
        }
        kept.clock += 1;
        let used = kept.clock;
        kept.order.insert(used, key.clone());
        let leaves = BTreeMap::new();
        let object = Signed {
            used,
            layout,
            tail,
            leaves,
            size,
        };
        kept.objects.insert(key, object);
        kept.grow(size);
    }

    /// The hashes of a group, if they are known.
    fn leaves(&self, key: &TailKey, group: u64) -> Option<Bytes> {
        self.kept().objects.get(key)?.leaves.get(&group).cloned()
    }

    fn keep_leaves(&self, key: &TailKey, group: u64, leaves: Bytes) {
        let mut kept = self.kept();
        let Some(object) = kept.objects.get_mut(key) else {
            return;
        };
        let size = leaves.len() + Self::EACH;
        if object.size + size <= Self::MAX / 4 && object.leaves.insert(group, leaves).is_none() {
            object.size += size;
            kept.grow(size);
        }
    }
}

impl Kept {
    /// Forgets the least recently used for what has come.
    fn grow(&mut self, size: usize) {
        self.size += size;
        while self.size > Tails::MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            let gone = self.objects.remove(&oldest);
            self.size -= gone.map_or(0, |object| object.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail() -> Arc<Tail> {
        let phrase = kluis_crypto::RecoveryPhrase::generate().unwrap();
        let store = Arc::new(object_store::memory::InMemory::new());
        let options = crate::VaultOptions::new().signed(true);
        let vault = options.create(store, phrase).await.unwrap();
        vault.put("x", "x").await.unwrap();
        vault.get("x").await.unwrap();
        let kept = vault.tails().kept();
        Arc::clone(&kept.objects.values().next().unwrap().tail)
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
            let kept = tails.kept();
            let size: usize = kept.objects.values().map(|object| object.size).sum();
            assert_eq!((kept.size, kept.order.len()), (size, kept.objects.len()));
            assert!(size <= Tails::MAX);
        }
        assert!(tails.get(&key(1)).is_none());
        assert!(tails.leaves(&key(0), 3).is_some());
        assert!(tails.leaves(&key(0), 999).is_none(), "a quarter for one");
    }
}
