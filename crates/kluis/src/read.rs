//! Reading: nothing is given out before it was authenticated, and what depends
//! on the length of an object is given out only after its last chunk was.

use crate::access::{Control, Located};
use crate::backend::{Body, BodyReader, Source, read_file_at};
use crate::buffer::{Buffer, Pool};
use crate::cache::TailKey;
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
use object_store::{Extensions, GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta};
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

/// Chunks that are opened in one go: 1 MiB.
const UNIT_CHUNKS: u64 = 64;
/// What is fetched together with a header if the wanted range lies that near.
const NEAR: u64 = 64 << 10;
/// Chunks between two ranges that are fetched along rather than asked for apart.
const GAP_CHUNKS: u64 = 4;
/// Bytes between two ranges that are fetched along from a store across a network, where
/// a request takes longer: those of `object_store`.
const FAR_GAP: u64 = OBJECT_STORE_COALESCE_DEFAULT;
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
    extensions: Extensions,
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
        collect(self.stream).await
    }

    /// Reads it in pieces of about 1 MiB in bounded memory. Each piece is
    /// authentic when it comes; one that is not ends the stream with an error, so
    /// that what came before is a beginning of the content, to be thrown away.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        self.stream
    }

    /// What the store's client says beside its answer.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        std::mem::take(&mut self.extensions)
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

async fn collect(mut stream: BoxStream<'static, Result<Bytes>>) -> Result<Bytes> {
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

impl Vault {
    /// Reads an object, whole or as a stream. A small one costs one request, one
    /// above 1 MiB two when it is read for the first time, for its end is authenticated
    /// first; in a folder, one.
    ///
    /// # Errors
    /// `NotFound`; `Tampered`, in a signed vault also for an object that none of those has
    /// signed to whom the owner gave the right to write; `Stale` where the object proves that the store
    /// hides decisions of the owner.
    pub async fn get(&self, path: impl AsRef<str>) -> Result<Object> {
        self.read(path.as_ref(), GetOptions::default()).await
    }

    /// Reads a part of an object: the general form of [`get_range`](Self::get_range).
    ///
    /// # Errors
    /// `InvalidInput` for a range that begins behind the end; otherwise as [`get`](Self::get).
    pub async fn get_part(&self, path: impl AsRef<str>, range: GetRange) -> Result<Object> {
        let options = GetOptions::new().with_range(Some(range));
        self.read(path.as_ref(), options).await
    }

    /// Reads bytes `range.start..range.end`, cut at the end of the object. Fetches
    /// the header, unless it is known from before
    /// ([`VaultOptions::header_cache`](crate::VaultOptions::header_cache)), and the
    /// chunks that are needed.
    ///
    /// # Errors
    /// As [`get_part`](Self::get_part).
    pub async fn get_range(&self, path: impl AsRef<str>, range: Range<u64>) -> Result<Bytes> {
        self.get_part(path, GetRange::Bounded(range))
            .await?
            .bytes()
            .await
    }

    /// Reads several ranges of one object: its header at most once, and ranges that lie
    /// near each other in one request.
    ///
    /// # Errors
    /// As [`get_range`](Self::get_range); one range that fails fails the call.
    pub async fn get_ranges(
        &self,
        path: impl AsRef<str>,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        let (text, options) = (path.as_ref(), GetOptions::default());
        for range in ranges {
            not_empty(range)?;
        }
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut tries = Tries::new(self, text, &options);
        loop {
            let known = tries.next();
            match self.ranges_once(text, ranges, &options, known).await {
                Err(error) if tries.again(&error) => {}
                other => return other,
            }
        }
    }

    async fn ranges_once(
        &self,
        text: &str,
        ranges: &[Range<u64>],
        options: &GetOptions,
        known: Option<Arc<Head>>,
    ) -> Result<Vec<Bytes>> {
        let found = match known {
            Some(head) => Found::known(self, text, head, options).await?,
            None => Found::open_with(self, text, ONE_CHUNK, options).await?,
        };
        let length = found.content_length(self).await?;
        let mut wanted = Vec::with_capacity(ranges.len());
        for range in ranges {
            wanted.push(resolve(&GetRange::Bounded(range.clone()), length, &found, self).await?);
        }
        let gap = match found.head.in_a_file {
            true => GAP_CHUNKS * CHUNK_LENGTH as u64,
            false => FAR_GAP,
        };
        let mut groups = group(&wanted, gap).into_iter();
        let found = Arc::new(found);
        let fetch = |group| Found::fetch(Arc::clone(&found), self.clone(), group).boxed();
        let mut fetched: Vec<(Range<u64>, Bytes)> = Vec::with_capacity(groups.len());
        // A file is opened once, and then read wherever it is wanted.
        if found.head.in_a_file
            && let Some(first) = groups.next()
        {
            fetched.push(fetch(first).await?);
        }
        let mut rest = futures_util::stream::iter(groups.map(fetch)).buffered(RANGES_AT_ONCE);
        while let Some(group) = rest.try_next().await? {
            fetched.push(group);
        }
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
        let (info, _) = self
            .head_opts(path.as_ref(), &GetOptions::default())
            .await?;
        Ok(info)
    }

    pub(crate) async fn head_opts(
        &self,
        text: &str,
        options: &GetOptions,
    ) -> Result<(ObjectInfo, Extensions)> {
        let mut tries = Tries::cold(self, text, options);
        loop {
            match self.head_once(text, options).await {
                Err(error) if tries.again(&error) => {}
                other => return other,
            }
        }
    }

    async fn head_once(
        &self,
        text: &str,
        options: &GetOptions,
    ) -> Result<(ObjectInfo, Extensions)> {
        let found = Found::open_with(self, text, 0, options).await?;
        let length = found.content_length(self).await?;
        Ok((found.info(self, length)?, found.extensions()))
    }

    /// The header of an object, checked.
    pub(crate) async fn header_of(&self, text: &str) -> Result<Box<[u8; HEADER_LENGTH]>> {
        Ok(Box::new(Found::open(self, text, 0).await?.head.header))
    }

    /// Reads under conditions, which are the store's to check in its first answer.
    pub(crate) async fn read(&self, text: &str, options: GetOptions) -> Result<Object> {
        if let Some(GetRange::Bounded(range)) = &options.range {
            not_empty(range)?;
        }
        // The whole brings its header along.
        let mut tries = match &options.range {
            Some(_) => Tries::new(self, text, &options),
            None => Tries::cold(self, text, &options),
        };
        loop {
            let known = tries.next();
            match self.read_once(text, &options, known).await {
                Err(error) if tries.again(&error) => {}
                other => return other,
            }
        }
    }

    async fn read_once(
        &self,
        text: &str,
        options: &GetOptions,
        known: Option<Arc<Head>>,
    ) -> Result<Object> {
        let Some(range) = &options.range else {
            return self.read_whole(text, options).await;
        };
        let near = match range {
            GetRange::Bounded(range) if range.end <= NEAR => {
                HEADER_LENGTH as u64
                    + (range.end / CHUNK_LENGTH as u64 + 1) * SEALED_CHUNK_LENGTH as u64
            }
            _ => 0,
        };
        let is_known = known.is_some();
        let found = match known {
            Some(head) => Found::known(self, text, head, options).await?,
            None => Found::open_with(self, text, near, options).await?,
        };
        let length = found.content_length(self).await?;
        let range = resolve(range, length, &found, self).await?;
        // Nothing would be asked for, and nobody has said that the object is still the one
        // that is known.
        if is_known && range.is_empty() {
            return Err(Error::Conflict {
                what: text.to_owned(),
            });
        }
        let info = found.info(self, length)?;
        let mut stream = found
            .stream(self, range.clone(), range.end == length)
            .await?;
        // Whether the object is still the one that is known shows in its first chunk.
        if is_known && range.end - range.start <= (UNIT_CHUNKS - 1) * CHUNK_LENGTH as u64 {
            let bytes = collect(stream).await?;
            stream = futures_util::stream::once(std::future::ready(Ok(bytes))).boxed();
        }
        Ok(Object {
            info,
            range,
            stream,
            extensions: found.extensions(),
        })
    }

    async fn read_whole(&self, text: &str, options: &GetOptions) -> Result<Object> {
        let control = self.control()?;
        let place = control.locate(text)?.stored(text)?;
        let body = self
            .backend()
            .open(&place, text, None, options.clone())
            .await?;
        let (mut answer, mut source) = Answer::of(&control, place, text, body)?;
        let size = answer.meta.size;
        let at_once = match (&source, control.suite()) {
            // A small file is read in one go.
            (Source::File(_), Suite::V1) => (HEADER_LENGTH + INLINE) as u64,
            (Source::Stream(_), Suite::V1) => 0,
            // Its end comes before its beginning.
            _ => SIGNED_AT_ONCE,
        };
        if size <= at_once {
            let mut all = vec![0; usize::try_from(size).unwrap_or(0)];
            read_source(&mut source, &mut all, 0, text).await?;
            if let Source::Stream(reader) = &mut source {
                reader.end(text).await?;
            }
            let all = Bytes::from(all);
            answer.near = Some(all.slice(HEADER_LENGTH..));
            source = Source::Stream(BodyReader::of(all));
        }
        let mut header = [0; HEADER_LENGTH];
        read_source(&mut source, &mut header, 0, text).await?;
        let found = Found::check(self, &control, text, answer, header, options).await?;
        let length = found.content_length(self).await?;
        let info = found.info(self, length)?;
        // Its last chunk is in the first unit, and nothing of that is given out before.
        if found.padded() >= UNIT_CHUNKS * CHUNK_LENGTH as u64 {
            match &source {
                Source::File(file) => {
                    found
                        .check_end(self, Source::File(Arc::clone(file)))
                        .await?
                }
                Source::Stream(_) => found.read_end(self).await?,
            }
        }
        let stream = found.units(self, source, 0..found.chunks(), Span::Whole, 0..length);
        Ok(Object {
            info,
            range: 0..length,
            stream,
            extensions: found.extensions(),
        })
    }

    /// Checks a header, reading the ledger again if its writer knew more of it.
    async fn opener(
        &self,
        control: &Arc<Control>,
        header: &[u8; HEADER_LENGTH],
        text: &str,
    ) -> Result<(Opener, Arc<Control>)> {
        let check = |control: &Arc<Control>| {
            let Located { tree, path } = control.locate(text)?;
            let opener = Opener::new(header, &self.id(), control.suite(), tree, &path);
            Ok::<_, Error>(opener.map(|opener| (opener, Arc::clone(control))))
        };
        match check(control)? {
            Err(kluis_crypto::Error::Stale(_)) => check(&self.refresh().await?)?,
            Ok((opener, _)) if opener.may_be_by_a_newer_writer() => check(&self.refresh().await?)?,
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

/// How often a read is begun: by a header that is known, then without it, and then once
/// more if the object was replaced between two requests.
struct Tries<'a> {
    vault: &'a Vault,
    text: &'a str,
    known: Option<Arc<Head>>,
    by_known: bool,
    left: u8,
}

impl<'a> Tries<'a> {
    fn new(vault: &'a Vault, text: &'a str, options: &GetOptions) -> Self {
        let known = vault.heads().get(text).filter(|head| head.serves(options));
        Self {
            known,
            ..Self::cold(vault, text, options)
        }
    }

    fn cold(vault: &'a Vault, text: &'a str, options: &GetOptions) -> Self {
        // What the caller's own conditions refuse stays refused.
        let is_bound = options.if_match.is_some() || options.if_unmodified_since.is_some();
        Self {
            vault,
            text,
            known: None,
            by_known: false,
            left: if is_bound { 0 } else { 1 },
        }
    }

    fn next(&mut self) -> Option<Arc<Head>> {
        let known = self.known.take();
        self.by_known = known.is_some();
        known
    }

    /// Whether to begin again after this error.
    fn again(&mut self, error: &Error) -> bool {
        if self.by_known {
            // The object may be another one by now, or the store has lied before.
            self.vault.heads().forget(self.text);
            return matches!(
                error,
                Error::Conflict { .. } | Error::Tampered { .. } | Error::InvalidInput { .. }
            );
        }
        let again = self.left > 0 && matches!(error, Error::Conflict { .. });
        self.left -= u8::from(again);
        again
    }
}

/// The header of one write of an object, checked, and what became known of its end.
#[derive(Debug)]
pub(crate) struct Head {
    place: Path,
    /// Of the stored object, by the store's word.
    meta: ObjectMeta,
    /// Sealed attributes in the store's own metadata.
    outside: Option<Vec<u8>>,
    header: [u8; HEADER_LENGTH],
    opener: Arc<Opener>,
    /// What the vault knew when it was checked.
    control: Weak<Control>,
    /// By the store's word until the end was read, or the signature verified.
    layout: Layout,
    /// The length of the content, and what has to be zeros between it and the end.
    length: OnceLock<(u64, Range<u64>)>,
    /// The last chunk was authentic, and so is the length.
    ended: OnceLock<()>,
    in_a_file: bool,
}

impl Head {
    /// What the store may claim of an object that is kept.
    const MAX_CLAIMS: usize = 1 << 10;

    /// Whether a read on these conditions can begin with the chunks. The data request
    /// bears the e-tag of this header, and what the caller asks beside that.
    fn serves(&self, options: &GetOptions) -> bool {
        let own = |asked: &Option<String>| asked.is_none() || *asked == self.meta.e_tag;
        options.version.is_none() && options.if_unmodified_since.is_none() && own(&options.if_match)
    }

    fn is_of(&self, control: &Arc<Control>) -> bool {
        std::ptr::eq(self.control.as_ptr(), Arc::as_ptr(control))
    }

    /// The same under a newer state of the vault. What its end showed stays true.
    fn checked_again(&self, place: Path, opener: Opener, control: &Arc<Control>) -> Self {
        Self {
            place,
            meta: self.meta.clone(),
            outside: self.outside.clone(),
            header: self.header,
            opener: Arc::new(opener),
            control: Arc::downgrade(control),
            layout: self.layout,
            length: self.length.clone(),
            ended: self.ended.clone(),
            in_a_file: self.in_a_file,
        }
    }

    /// Whether it can be kept: by its e-tag it is known again.
    fn is_lasting(&self) -> bool {
        let claims = [&self.meta.e_tag, &self.meta.version];
        let claims = claims.into_iter().flatten().map(String::len).sum::<usize>();
        self.meta.e_tag.is_some() && claims <= Self::MAX_CLAIMS
    }
}

/// What a store answered first, nothing of it checked.
struct Answer {
    place: Path,
    meta: ObjectMeta,
    outside: Option<Vec<u8>>,
    layout: Layout,
    file: OnceLock<Arc<File>>,
    extensions: Extensions,
    /// Stored bytes behind the header that came along with it.
    near: Option<Bytes>,
}

impl Answer {
    fn of(control: &Control, place: Path, text: &str, body: Body) -> Result<(Self, Source)> {
        let layout = Layout::of_stored(control.suite(), body.meta.size);
        let (meta, extensions) = (body.meta.clone(), body.extensions.clone());
        let outside = object::sealed_outside(&body.attributes);
        let source = body.source();
        let file = OnceLock::new();
        if let Source::File(opened) = &source {
            file.get_or_init(|| Arc::clone(opened));
        }
        let answer = Self {
            place,
            meta,
            outside,
            layout: layout.map_err(|e| Error::core(e, text))?,
            file,
            extensions,
            near: None,
        };
        Ok((answer, source))
    }
}

/// An object whose header was checked, for one read of it.
pub(crate) struct Found {
    text: String,
    head: Arc<Head>,
    /// The end of a signed object.
    tail: Option<Arc<Tail>>,
    near: Option<Bytes>,
    file: OnceLock<Arc<File>>,
    /// What the caller asks of every request, and of the first one.
    options: GetOptions,
    extensions: OnceLock<Extensions>,
}

impl Found {
    /// Fetches the header, and up to `near` stored bytes with it.
    pub(crate) async fn open(vault: &Vault, text: &str, near: u64) -> Result<Self> {
        Self::open_with(vault, text, near, &GetOptions::default()).await
    }

    async fn open_with(vault: &Vault, text: &str, near: u64, options: &GetOptions) -> Result<Self> {
        let control = vault.control()?;
        let place = control.locate(text)?.stored(text)?;
        let near = match control.suite() {
            Suite::V1 => near,
            _ => near.max(ONE_CHUNK),
        };
        let wanted = 0..near.max(HEADER_LENGTH as u64);
        let body = vault
            .backend()
            .open(&place, text, Some(wanted), options.clone())
            .await?;
        let got = body.range.clone();
        let (mut answer, mut source) = Answer::of(&control, place, text, body)?;
        let mut header = [0; HEADER_LENGTH];
        read_source(&mut source, &mut header, 0, text).await?;
        let more = got
            .end
            .min(answer.meta.size)
            .saturating_sub(HEADER_LENGTH as u64)
            .min(near);
        if let more @ 1.. = usize::try_from(more).unwrap_or(0) {
            let mut bytes = vec![0; more];
            read_source(&mut source, &mut bytes, HEADER_LENGTH as u64, text).await?;
            answer.near = Some(Bytes::from(bytes));
        }
        Self::check(vault, &control, text, answer, header, options).await
    }

    /// Checks the header that came, and keeps it.
    async fn check(
        vault: &Vault,
        control: &Arc<Control>,
        text: &str,
        answer: Answer,
        header: [u8; HEADER_LENGTH],
        options: &GetOptions,
    ) -> Result<Self> {
        let kept = vault.heads().get(text).filter(|head| {
            head.header == header
                && head.meta.e_tag == answer.meta.e_tag
                && head.meta.version == answer.meta.version
                && head.outside == answer.outside
                && head.is_of(control)
        });
        let (meta, layout) = (answer.meta, answer.layout);
        let head = match kept {
            Some(head) if head.meta.size == meta.size => head,
            // A length that was authentic for this very write.
            Some(head) if head.ended.get().is_some() => return Err(Error::tampered(text)),
            _ => {
                let (opener, control) = vault.opener(control, &header, text).await?;
                Arc::new(Head {
                    place: answer.place,
                    meta,
                    outside: answer.outside,
                    header,
                    opener: Arc::new(opener),
                    control: Arc::downgrade(&control),
                    layout,
                    length: OnceLock::new(),
                    ended: OnceLock::new(),
                    in_a_file: answer.file.get().is_some(),
                })
            }
        };
        let mut found = Self {
            text: text.to_owned(),
            head,
            tail: None,
            near: answer.near,
            file: answer.file,
            options: after_the_first(options),
            extensions: OnceLock::from(answer.extensions),
        };
        found.verify(vault).await?;
        // One that was asked for by its version is not the one that is there.
        if found.head.is_lasting() && options.version.is_none() {
            let head = Arc::clone(&found.head);
            vault.heads().keep(text, head, || vault.control().is_ok());
        }
        Ok(found)
    }

    /// An object whose header is known from before, by what the vault knows now.
    async fn known(
        vault: &Vault,
        text: &str,
        head: Arc<Head>,
        options: &GetOptions,
    ) -> Result<Self> {
        let control = vault.control()?;
        // It may not be had any more, or not be there any more.
        let place = control.locate(text)?.stored(text)?;
        let head = if head.is_of(&control) && head.place == place {
            head
        } else {
            let (opener, control) = vault.opener(&control, &head.header, text).await?;
            let again = Arc::new(head.checked_again(place, opener, &control));
            vault
                .heads()
                .keep(text, Arc::clone(&again), || vault.control().is_ok());
            again
        };
        let mut found = Self {
            text: text.to_owned(),
            head,
            tail: None,
            near: None,
            file: OnceLock::new(),
            options: options.clone(),
            extensions: OnceLock::new(),
        };
        found.verify(vault).await?;
        Ok(found)
    }

    /// What the store's client said beside its first answer.
    fn extensions(&self) -> Extensions {
        self.extensions.get().cloned().unwrap_or_default()
    }

    /// Finds out who wrote a signed object, before anything of it counts.
    async fn verify(&mut self, vault: &Vault) -> Result<()> {
        if !self.head.opener.is_signed() {
            return Ok(());
        }
        let key = self.key();
        let place = self.head.layout.tail();
        let here = self.near.as_ref().map_or(0, Bytes::len) + HEADER_LENGTH;
        let known = vault.tails().get(&key);
        if let Some((layout, tail)) = &known
            && place.end > here as u64
        {
            if *layout != self.head.layout {
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
            .head
            .opener
            .tail(self.head.place.as_ref(), &self.head.layout, &end)
            .map_err(|e| Error::core(e, &self.text))?;
        let tail = Arc::new(tail);
        vault.tails().keep(key, self.head.layout, Arc::clone(&tail));
        self.tail = Some(tail);
        Ok(())
    }

    /// Names this write of the object.
    fn key(&self) -> TailKey {
        (*self.head.opener.header_hash(), self.head.place.clone())
    }

    /// Number of chunks, by the store's word.
    fn chunks(&self) -> u64 {
        self.head.layout.chunks()
    }

    fn padded(&self) -> u64 {
        self.head.layout.plaintext_length()
    }

    /// The length of the content.
    pub(crate) async fn content_length(&self, vault: &Vault) -> Result<u64> {
        if let Some((length, _)) = self.head.length.get() {
            return Ok(*length);
        }
        let tail = if self.head.opener.needs_tail() {
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
            .head
            .opener
            .true_length(self.padded(), tail)
            .map_err(|e| Error::core(e, &self.text))?;
        let tail = if tail.is_some() { 8 } else { 0 };
        let filler = length..self.padded() - tail;
        Ok(self.head.length.get_or_init(|| (length, filler)).0)
    }

    fn filler(&self) -> Range<u64> {
        self.head
            .length
            .get()
            .map_or(0..0, |(_, filler)| filler.clone())
    }

    pub(crate) fn info(&self, vault: &Vault, length: u64) -> Result<ObjectInfo> {
        let metadata = self
            .head
            .opener
            .metadata(self.head.outside.as_deref())
            .map_err(|e| Error::core(e, &self.text))?;
        let location =
            Path::parse(&self.text).map_err(|error| Error::invalid(error.to_string()))?;
        let meta = ObjectMeta {
            location,
            size: length,
            ..self.head.meta.clone()
        };
        let writer = match &self.tail {
            Some(tail) => Some(vault.control()?.writer(&tail.writer())),
            None => None,
        };
        let (size, opener) = (self.head.meta.size, &self.head.opener);
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
        if let Some(file) = self.file.get() {
            return Ok(Source::File(Arc::clone(file)));
        }
        let is_first = self.extensions.get().is_none();
        let e_tag = &self.head.meta.e_tag;
        let options = GetOptions {
            if_match: e_tag.clone(),
            ..self.options.clone()
        };
        let body = vault
            .backend()
            .open(&self.head.place, &self.text, Some(bytes.clone()), options)
            .await?;
        // A store without conditions answers with whatever is there now.
        let is_same = body.meta.e_tag == *e_tag && body.meta.version == self.head.meta.version;
        if is_first && !is_same {
            return Err(Error::Conflict {
                what: self.text.clone(),
            });
        }
        if body.range != bytes || body.meta.size != self.head.meta.size {
            return Err(Error::tampered(&self.text));
        }
        self.extensions.get_or_init(|| body.extensions.clone());
        let source = body.source();
        if let Source::File(file) = &source {
            self.file.get_or_init(|| Arc::clone(file));
        }
        Ok(source)
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
        if self.has_end() {
            return Ok(());
        }
        let last = self.head.layout.chunk(self.chunks() - 1);
        let source = self.source(vault, last).await?;
        self.check_end(vault, source).await
    }

    /// Whether the length is known to be true.
    fn has_end(&self) -> bool {
        self.tail.is_some() || self.head.ended.get().is_some()
    }

    async fn check_end(&self, vault: &Vault, source: Source) -> Result<()> {
        if self.has_end() {
            return Ok(());
        }
        let last = self.chunks() - 1;
        let end = last * CHUNK_LENGTH as u64..self.padded();
        let all = self.units(vault, source, last..last + 1, Span::Whole, end);
        all.try_for_each(|_| std::future::ready(Ok(()))).await?;
        self.head.ended.get_or_init(|| ());
        Ok(())
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
        if !self.has_end() && (end || range.end >= self.padded()) {
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
            let bytes = self.head.layout.chunk(first).start..self.head.layout.chunk(behind - 1).end;
            let source = self.source(vault, bytes).await?;
            return Ok(self.units(vault, source, first..behind, Span::Chunks, range));
        };
        // The hashes of the last group come along where they are near.
        let last = (behind - 1) / GROUP_CHUNKS;
        let known = vault.tails().leaves(&self.key(), last);
        let group_end = self.chunks().min((last + 1) * GROUP_CHUNKS);
        if known.is_none() && group_end - behind <= GAP_CHUNKS {
            let bytes = self.head.layout.chunk(first).start..self.head.layout.leaves(last).end;
            let source = self.source(vault, bytes).await?;
            return Ok(self.units(vault, source, first..group_end, Span::Groups(behind), range));
        }
        let bytes = self.head.layout.chunk(first).start..self.head.layout.chunk(behind - 1).end;
        let source = self.source(vault, bytes);
        let (source, leaves) = match known {
            Some(leaves) => (source.await?, leaves),
            None => {
                let place = self.head.layout.leaves(last);
                let (source, leaves) = futures_util::try_join!(source, self.part(vault, place))?;
                tail.check(last, &leaves)
                    .map_err(|e| Error::core(e, &self.text))?;
                let leaves = Bytes::from(leaves);
                vault.tails().keep_leaves(&self.key(), last, leaves.clone());
                (source, leaves)
            }
        };
        let span = Span::And(last, leaves);
        Ok(self.units(vault, source, first..behind, span, range))
    }

    /// Opens chunks unit by unit on all cores, and cuts `range` out of them.
    fn units(
        &self,
        vault: &Vault,
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
            opener: Arc::clone(&self.head.opener),
            text: Arc::from(self.text.as_str()),
            sealed: pool(SEALED_CHUNK_LENGTH, self.head.meta.size),
            plain: pool(CHUNK_LENGTH, self.padded()),
            // A file is read by whoever opens, at any offset.
            source,
            next: chunks.start,
            chunks: chunks.end,
            layout: self.head.layout,
            tail: self.tail.clone(),
            span,
            ready: VecDeque::new(),
            filler: self.filler(),
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
        let (vault, text) = (vault.clone(), self.text.clone());
        units
            .try_buffered(cores() + 1)
            .map_ok(cut)
            // What does not fit to its header is not asked for by it again.
            .inspect_err(move |_| vault.heads().forget(&text))
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

/// What is asked of the requests behind the first: the conditions of the caller were
/// checked by that one, and the others bear its e-tag.
fn after_the_first(options: &GetOptions) -> GetOptions {
    GetOptions {
        version: options.version.clone(),
        extensions: options.extensions.clone(),
        ..Default::default()
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
fn group(ranges: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut groups: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match groups.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => {
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
