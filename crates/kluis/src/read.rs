//! Reading: nothing is given out before it was authenticated, and what depends
//! on the length of an object is given out only after its last chunk was.

use crate::access::{Control, Located};
use crate::backend::{BodyReader, Source, read_file_at};
use crate::buffer::Pool;
use crate::device::blocking;
use crate::object::{self, ObjectInfo};
use crate::vault::Vault;
use crate::write::cores;
use crate::{Error, Result};
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use kluis_crypto::{
    CHUNK_LENGTH, HEADER_LENGTH, Opener, SEALED_CHUNK_LENGTH, TAG_LENGTH, chunk_offset,
    plaintext_length, sealed_length,
};
use object_store::path::Path;
use object_store::{Attributes, GetRange, ObjectMeta};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Chunks that are opened in one go: 1 MiB.
const UNIT_CHUNKS: u64 = 64;
/// What is fetched together with a header if the wanted range lies that near.
const NEAR: u64 = 64 << 10;
/// Chunks between two ranges that are fetched along rather than asked for apart.
const GAP_CHUNKS: u64 = 4;
/// Sealed bytes that are opened where they are: in less time than another thread
/// takes to wake up.
const INLINE: usize = 4 * SEALED_CHUNK_LENGTH;
/// Ranges that are fetched at a time.
const RANGES_AT_ONCE: usize = 8;

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
    /// `NotFound`; `Tampered`; `Stale` where the object proves that the store
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
        let found = Found::open(self, text, chunk_offset(1)).await?;
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
        found.info(length)
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
                chunk_offset(range.end / CHUNK_LENGTH as u64 + 1)
            }
            _ => 0,
        };
        let found = Found::open(self, text, near).await?;
        let length = found.content_length(self).await?;
        let range = resolve(range, length, &found, self).await?;
        let info = found.info(length)?;
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
        let padded = plaintext_length(meta.size).map_err(|e| Error::core(e, text))?;
        let mut source = body.source();
        let mut near = None;
        if let Source::File(_) = &source
            && meta.size <= (HEADER_LENGTH + INLINE) as u64
        {
            // A small file is read in one go.
            let mut all = vec![0; usize::try_from(meta.size).unwrap_or(0)];
            read_source(&mut source, &mut all, 0, text).await?;
            let all = Bytes::from(all);
            near = Some(all.slice(HEADER_LENGTH..));
            source = Source::Stream(BodyReader::of(all));
        }
        let mut header = [0; HEADER_LENGTH];
        read_source(&mut source, &mut header, 0, text).await?;
        let opener = self.opener(&control, &header, text).await?;
        let found = Found {
            text: text.to_owned(),
            place,
            meta,
            attributes,
            opener: Arc::new(opener),
            padded,
            filler: OnceLock::new(),
            near,
        };
        let length = found.content_length(self).await?;
        let info = found.info(length)?;
        // Its last chunk is in the first unit, and nothing of that is given out before.
        if padded >= UNIT_CHUNKS * CHUNK_LENGTH as u64 {
            match &source {
                Source::File(file) => found.check_end(Source::File(Arc::clone(file))).await?,
                Source::Stream(_) => found.read_end(self).await?,
            }
        }
        let stream = found.units(source, 0..found.chunks(), true, 0..length);
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
                control.header.suite(),
                tree,
                &path,
            ))
        };
        match check(control)? {
            Err(kluis_crypto::Error::Stale(_)) => check(&*self.refresh().await?)?,
            other => other,
        }
        .map_err(|error| Error::core(error, text))
    }
}

/// An object whose header was checked.
pub(crate) struct Found {
    text: String,
    place: Path,
    meta: ObjectMeta,
    attributes: Attributes,
    opener: Arc<Opener>,
    /// Plaintext with its padding, by the store's word until the end was read.
    padded: u64,
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
        let padded = plaintext_length(meta.size).map_err(|e| Error::core(e, text))?;
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
        Ok(Self {
            text: text.to_owned(),
            place,
            meta,
            attributes,
            opener,
            padded,
            filler: OnceLock::new(),
            near,
        })
    }

    /// Number of chunks, by the store's word.
    fn chunks(&self) -> u64 {
        self.padded / CHUNK_LENGTH as u64 + 1
    }

    /// The length of the content.
    pub(crate) async fn content_length(&self, vault: &Vault) -> Result<u64> {
        let tail = if self.opener.needs_tail() {
            let start = self
                .padded
                .checked_sub(8)
                .ok_or_else(|| Error::tampered(&self.text))?;
            let bytes = self.read_text(vault, start..self.padded).await?;
            Some(<[u8; 8]>::try_from(&bytes[..]).map_err(|_| Error::tampered(&self.text))?)
        } else {
            None
        };
        let length = self
            .opener
            .true_length(self.padded, tail)
            .map_err(|e| Error::core(e, &self.text))?;
        let tail = if tail.is_some() { 8 } else { 0 };
        self.filler.get_or_init(|| length..self.padded - tail);
        Ok(length)
    }

    pub(crate) fn info(&self, length: u64) -> Result<ObjectInfo> {
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
        Ok(object::info(meta, self.meta.size, &self.opener, metadata))
    }

    /// Chunks from the store, of the same write as the header.
    async fn source(&self, vault: &Vault, chunks: Range<u64>) -> Result<Source> {
        let bytes = chunk_offset(chunks.start)..chunk_offset(chunks.end).min(self.meta.size);
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

    /// Authenticates the last chunk, and with it the length.
    pub(crate) async fn read_end(&self, vault: &Vault) -> Result<()> {
        let source = self.source(vault, self.chunks() - 1..self.chunks()).await?;
        self.check_end(source).await
    }

    async fn check_end(&self, source: Source) -> Result<()> {
        let last = self.chunks() - 1;
        let all = self.units(
            source,
            last..last + 1,
            true,
            last * CHUNK_LENGTH as u64..self.padded,
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
        if end || range.end >= self.padded {
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
        let source = self.source(vault, first..behind).await?;
        Ok(self.units(source, first..behind, false, range))
    }

    /// Opens chunks unit by unit on all cores, and cuts `range` out of them. With
    /// `whole`, nothing may follow the last.
    fn units(
        &self,
        source: Source,
        chunks: Range<u64>,
        whole: bool,
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
            plain: pool(CHUNK_LENGTH, self.padded),
            // A file is read by whoever opens, at any offset.
            source,
            next: chunks.start,
            chunks: chunks.end,
            size: self.meta.size,
            filler: self.filler.get().cloned().unwrap_or(0..0),
            whole,
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

/// Chunks on their way from the store.
struct Reading {
    opener: Arc<Opener>,
    text: Arc<str>,
    sealed: Arc<Pool>,
    plain: Arc<Pool>,
    source: Source,
    next: u64,
    chunks: u64,
    /// Stored length of the object.
    size: u64,
    filler: Range<u64>,
    whole: bool,
}

impl Reading {
    /// The next unit: its bytes fetched in order, its opening still to be waited for.
    async fn next(&mut self) -> Result<Option<Opened>> {
        if self.next == self.chunks {
            if let (Source::Stream(reader), true) = (&mut self.source, self.whole) {
                reader.end(&self.text).await?;
            }
            return Ok(None);
        }
        let first = self.next;
        let behind = self.chunks.min(first + UNIT_CHUNKS);
        self.next = behind;
        let offset = chunk_offset(first);
        let length = usize::try_from(chunk_offset(behind).min(self.size).saturating_sub(offset))
            .unwrap_or(0);
        let chunks = usize::try_from(behind - first).unwrap_or(0);
        let Some(plain_length) = length.checked_sub(chunks * TAG_LENGTH) else {
            return Err(Error::tampered(&*self.text));
        };
        let mut sealed = self.sealed.take();
        let file = match &mut self.source {
            Source::File(file) => Some(Arc::clone(file)),
            Source::Stream(reader) => {
                reader
                    .fill(&mut sealed.as_mut()[..length], &self.text)
                    .await?;
                None
            }
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
                .open(first, sealed, &mut plain.as_mut()[..plain_length])
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

/// Whether an object of this stored length can be one.
pub(crate) fn is_object_length(stored: u64) -> bool {
    plaintext_length(stored)
        .is_ok_and(|plain| sealed_length(plain).is_ok_and(|again| again == stored))
}
