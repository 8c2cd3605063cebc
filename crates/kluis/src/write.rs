//! Writing: content is read into buffers that already have room for the tags,
//! sealed in place on all cores, and handed to the store without a copy.

use crate::backend::{Backend, stored};
use crate::buffer::{Buffer, Pool};
use crate::device::blocking;
use crate::object::{self, PutOptions};
use crate::vault::Vault;
use crate::{Error, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt};
use kluis_crypto::{
    CHUNK_LENGTH, Layout, SEALED_CHUNK_LENGTH, Sealer, StoredPath, TAG_LENGTH, Trailer,
};
use object_store::path::Path;
use object_store::{
    Attributes, Extensions, GetOptions, MultipartUpload, PutMode, PutMultipartOptions, PutPayload,
    PutResult,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Chunks that are sealed in one go: 1 MiB, a millisecond of work.
const UNIT_CHUNKS: usize = 64;
const UNIT_TEXT: usize = UNIT_CHUNKS * CHUNK_LENGTH;
const UNIT_SEALED: usize = UNIT_CHUNKS * SEALED_CHUNK_LENGTH;
/// Content in memory up to this is sealed where it is: about 50 microseconds.
const SMALL: usize = 64 << 10;
/// Parts of a multipart upload: at least 5 MiB (S3 insists), and of one size but
/// for the last where the length is known (some stores insist).
const PART: usize = 8 << 20;
/// S3 counts parts to 10,000: content of a known length is cut into fewer, other
/// content into larger ones behind every 2,500, which makes 293 GiB there.
const MAX_PARTS: u64 = 9_500;
const PARTS_OF_A_SIZE: usize = 2_500;
/// Bytes on their way to the store at a time, or one part if that is larger. With
/// what waits behind them an upload stays below 64 MiB up to 140 GiB (290 GiB of a
/// known length); behind that only larger parts fit into the 10,000.
const IN_FLIGHT: usize = 24 << 20;
/// Streams of more than this, 8 MiB, cannot be written with a condition: stores
/// take conditions with a single request only, and its content is held whole.
pub const MAX_CONDITIONAL_STREAM: usize = 8 << 20;

/// What takes no longer is at its end what it was at its beginning.
const LONG: Duration = Duration::from_secs(1);

impl Vault {
    /// Writes an object, replacing one that is there.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is none, `Conflict` where the vault's root
    /// was rotated by another client, or where the keys it was written with were closed
    /// during a write of more than a second: write it again.
    pub async fn put(
        &self,
        path: impl AsRef<str>,
        data: impl Into<PutPayload>,
    ) -> Result<PutResult> {
        self.put_opts(path, data, PutOptions::default()).await
    }

    /// Writes an object from memory.
    ///
    /// # Errors
    /// `AlreadyExists` and `Conflict` where the mode says so, `Unsupported` where
    /// the store lacks the mode; otherwise as [`put`](Self::put).
    pub async fn put_opts(
        &self,
        path: impl AsRef<str>,
        data: impl Into<PutPayload>,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.put_payload(path.as_ref(), data.into(), options, Extensions::new())
            .await
    }

    pub(crate) async fn put_payload(
        &self,
        text: &str,
        data: PutPayload,
        options: PutOptions,
        extensions: Extensions,
    ) -> Result<PutResult> {
        let options = PutOptions {
            size_hint: Some(data.content_length() as u64),
            ..options
        };
        let length = data.content_length();
        let reader = PayloadReader {
            pieces: data.into_iter().collect(),
            next: 0,
        };
        let content = if length <= SMALL {
            Content::Small(reader)
        } else {
            Content::Reader(Box::new(reader))
        };
        self.write(text, content, options, None, extensions).await
    }

    /// Writes an object from a stream of any length in bounded memory. Nothing is
    /// visible before the whole is there.
    ///
    /// # Errors
    /// `Io` with the stream's own error; `Unsupported` for a conditional write of
    /// more than [`MAX_CONDITIONAL_STREAM`] bytes; otherwise as [`put_opts`](Self::put_opts).
    pub async fn put_stream(
        &self,
        path: impl AsRef<str>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        options: PutOptions,
    ) -> Result<PutResult> {
        let stream = stream.boxed();
        self.put_pieces(path.as_ref(), stream, options, Extensions::new())
            .await
    }

    pub(crate) async fn put_pieces(
        &self,
        text: &str,
        stream: BoxStream<'static, io::Result<Bytes>>,
        options: PutOptions,
        extensions: Extensions,
    ) -> Result<PutResult> {
        let max_conditional = Some(MAX_CONDITIONAL_STREAM as u64);
        let content = Content::Stream(stream);
        self.write(text, content, options, max_conditional, extensions)
            .await
    }

    /// As [`put_stream`](Self::put_stream) from a blocking reader, such as a file.
    /// The fastest way in: it is read on blocking threads, straight into the
    /// buffers that are sealed. A dropped call ends after the read it is in.
    ///
    /// # Errors
    /// As [`put_stream`](Self::put_stream).
    pub async fn put_reader(
        &self,
        path: impl AsRef<str>,
        reader: impl Read + Send + 'static,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.write(
            path.as_ref(),
            Content::Reader(Box::new(reader)),
            options,
            Some(MAX_CONDITIONAL_STREAM as u64),
            Extensions::new(),
        )
        .await
    }

    async fn write(
        &self,
        text: &str,
        content: Content,
        options: PutOptions,
        max_conditional: Option<u64>,
        extensions: Extensions,
    ) -> Result<PutResult> {
        // What is no path is refused before any request.
        self.control()?.locate_to_write(text)?;
        let metadata = object::to_metadata(&options)?;
        let begun = Instant::now();
        let control = self.fresh_control().await?;
        let core = |error| Error::core(error, text);
        let located = control.locate_leased(text)?;
        let place = located.store_path(text)?;
        let padded = located.tree.is_padded(&located.path).map_err(core)?;
        let version = self.next_version();
        let length = options.size_hint;
        let suite = control.suite();
        let sealer = Sealer::new(
            (&self.id(), suite),
            located.tree,
            &located.path,
            control.identity()?,
            version,
            &metadata,
            length,
        )
        .map_err(core)?;
        let sealer = Arc::new(sealer);
        let sealed_length = |content| {
            let layout = Layout::of_plaintext(suite, content);
            layout.map(|layout| layout.stored_length())
        };
        write_long_names(self.backend(), &place, text).await?;
        let write = Write {
            store: self.backend(),
            place: stored(&place.path),
            what: text,
            attributes: object::outside(sealer.attributes_outside(), &options.attributes),
            extensions,
            mode: options.mode.clone(),
            max_conditional: match max_conditional {
                Some(content) if padded => sealed_length(content + content / 8 + 8),
                Some(content) => sealed_length(content),
                None => Ok(u64::MAX),
            }
            .map_err(core)?,
            length,
        };
        let sealed = *sealer.header();
        let header = Bytes::copy_from_slice(&sealed);
        let units = units(content, &sealer, length);
        let units = with_trailer(units, sealer, place.path.clone());
        let done = write.run(header, units).await;
        self.heads().forget(text);
        let done = done?;
        // What took long ends under keys that may have been closed meanwhile. It is not
        // acknowledged then: they may be refused before long.
        if begun.elapsed() > self.staleness().max(LONG) {
            let control = self.fresh_control().await?;
            let located = control.locate_to_write(text)?;
            let is_of_now = located.tree.is_of_now(&located.path, &sealed);
            if !is_of_now.map_err(core)? {
                if options.mode != PutMode::Overwrite {
                    // It is there: no condition has failed.
                    let source = object_store::Error::Generic {
                        store: "Kluis",
                        source: "it was written under keys that were closed meanwhile".into(),
                    };
                    return Err(Error::Store { source });
                }
                return Err(Error::Conflict {
                    what: text.to_owned(),
                });
            }
        }
        // Who deleted the last object beside this one meanwhile took the records
        // of long names along.
        write_long_names(self.backend(), &place, text).await?;
        Ok(done)
    }

    /// Copies an object inside the vault, replacing the target. It is read, checked
    /// and sealed again as a stream, for its place is part of its encryption.
    ///
    /// # Errors
    /// `NotFound`; otherwise those of reading and writing.
    pub async fn copy(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        self.copy_as(from.as_ref(), to.as_ref(), PutMode::Overwrite)
            .await
    }

    pub(crate) async fn copy_as(&self, from: &str, to: &str, mode: PutMode) -> Result<()> {
        // A target that cannot be is refused before anything is read.
        self.control()?.locate_to_write(to)?.store_path(to)?;
        let object = self.get(from).await?;
        let options = PutOptions {
            mode,
            ..object::options_of(object.info())
        };
        let stream = object
            .into_stream()
            .map(|piece| piece.map_err(io::Error::other));
        self.put_stream(to, stream, options)
            .await
            .map_err(from_inside)?;
        Ok(())
    }

    /// Moves an object inside the vault, replacing the target: a copy, then a
    /// delete. Interrupted, it leaves the source, or both.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub async fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        self.rename_as(from.as_ref(), to.as_ref(), PutMode::Overwrite)
            .await
    }

    pub(crate) async fn rename_as(&self, from: &str, to: &str, mode: PutMode) -> Result<()> {
        // By two names it may be one object, of which nothing is to be deleted.
        let control = self.control()?;
        let source = control.locate(from)?.stored(from)?;
        if source == control.locate_to_write(to)?.stored(to)? {
            self.head(from).await?;
            return match mode {
                PutMode::Overwrite => Ok(()),
                _ => Err(Error::AlreadyExists {
                    path: to.to_owned(),
                }),
            };
        }
        self.copy_as(from, to, mode).await?;
        self.delete(from).await
    }
}

/// An error that went through an `io::Error` comes out as itself.
pub(crate) fn from_inside(error: Error) -> Error {
    match error {
        Error::Io { source } => match source.downcast::<Error>() {
            Ok(inner) => inner,
            Err(source) => Error::Io { source },
        },
        other => other,
    }
}

/// The objects that hold long names are written before what lies below them.
async fn write_long_names(store: &Backend, place: &StoredPath, what: &str) -> Result<()> {
    for (path, record) in &place.long_names {
        let (path, name) = (stored(path), path);
        let put = |mode: PutMode| {
            let payload = Bytes::copy_from_slice(record).into();
            store.put(&path, what, payload, mode.into())
        };
        match put(PutMode::Create).await {
            Ok(_) => continue,
            Err(
                Error::AlreadyExists { .. } | Error::Conflict { .. } | Error::Unsupported { .. },
            ) => {}
            Err(error) => return Err(error),
        }
        // One that is there and damaged would leave the object without a name.
        let found = match store.record(name, record.len()).await {
            Err(Error::LimitExceeded { .. }) => None,
            other => other?,
        };
        if found.is_none_or(|found| found.bytes != *record) {
            put(PutMode::Overwrite).await?;
        }
    }
    Ok(())
}

struct PayloadReader {
    pieces: Vec<Bytes>,
    next: usize,
}

impl Read for PayloadReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.get_mut(self.next) {
            if piece.is_empty() {
                self.next += 1;
                continue;
            }
            let taken = piece.len().min(out.len());
            out[..taken].copy_from_slice(&piece.split_to(taken));
            return Ok(taken);
        }
        Ok(0)
    }
}

enum Content {
    /// Bytes in memory, so few that sealing them is not worth another thread.
    Small(PayloadReader),
    Reader(Box<dyn Read + Send>),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

/// A unit as it will lie in the store, with the hashes of its chunks.
struct Sealed {
    bytes: Bytes,
    leaves: Vec<u8>,
    text: usize,
}

/// Units in order, and between and behind them what signs them.
fn with_trailer(
    units: BoxStream<'static, Result<Sealed>>,
    sealer: Arc<Sealer>,
    stored: String,
) -> BoxStream<'static, Result<Bytes>> {
    if !sealer.is_signed() {
        return units.map_ok(|unit| unit.bytes).boxed();
    }
    let state = Some((units, Trailer::default(), 0));
    let pieces = futures_util::stream::try_unfold(state, move |state| {
        let (sealer, stored) = (Arc::clone(&sealer), stored.clone());
        async move {
            let Some((mut units, mut trailer, length)) = state else {
                return Ok::<_, Error>(None);
            };
            let Some(unit) = units.next().await.transpose()? else {
                let end = Bytes::from(sealer.finish(trailer, &stored, length));
                return Ok(Some(([end, Bytes::new()], None)));
            };
            let block = Bytes::from(trailer.push(&unit.leaves));
            let state = Some((units, trailer, length + unit.text as u64));
            Ok(Some(([unit.bytes, block], state)))
        }
    });
    pieces
        .map_ok(|pieces| futures_util::stream::iter(pieces.map(Ok)))
        .try_flatten()
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
        .boxed()
}

/// One unit on its way: text in the places where it will be sealed.
struct Unit {
    buffer: Buffer,
    index: u64,
    text: usize,
}

impl Unit {
    /// Room for text, at most up to the end of the current chunk; empty when full.
    fn room(&mut self) -> &mut [u8] {
        let (chunk, at) = (self.text / CHUNK_LENGTH, self.text % CHUNK_LENGTH);
        let start = chunk * SEALED_CHUNK_LENGTH + at;
        if start + TAG_LENGTH >= self.buffer.as_mut().len() && !self.is_full() {
            self.grow();
        }
        let buffer = self.buffer.as_mut();
        let end = (start - at + CHUNK_LENGTH).min(buffer.len() - TAG_LENGTH);
        buffer.get_mut(start..end).unwrap_or_default()
    }

    /// More came than was announced.
    fn grow(&mut self) {
        let mut larger = Pool::new(UNIT_SEALED).take();
        let old = self.buffer.as_mut();
        larger.as_mut()[..old.len()].copy_from_slice(old);
        self.buffer = larger;
    }

    fn is_full(&self) -> bool {
        self.text == UNIT_TEXT
    }

    /// Takes what fits from `text`.
    fn push(&mut self, text: &[u8]) -> usize {
        let room = self.room();
        let taken = room.len().min(text.len());
        room[..taken].copy_from_slice(&text[..taken]);
        self.text += taken;
        taken
    }

    /// A unit that is not full ends the object: its last chunk is short.
    fn seal(mut self, sealer: &Sealer) -> Result<(u64, Sealed)> {
        let sealed = if self.is_full() {
            UNIT_SEALED
        } else {
            self.text + TAG_LENGTH * (self.text / CHUNK_LENGTH + 1)
        };
        let first = self.index * UNIT_CHUNKS as u64;
        let leaves = sealer
            .seal(first, &mut self.buffer.as_mut()[..sealed])
            .map_err(of_object)?;
        let unit = Sealed {
            bytes: self.buffer.freeze(sealed),
            leaves,
            text: self.text,
        };
        Ok((self.index, unit))
    }
}

fn of_object(error: kluis_crypto::Error) -> Error {
    Error::core(error, "the object")
}

/// Cuts content into units, and adds the padding once its length is known.
struct Feed {
    sealer: Arc<Sealer>,
    pool: Arc<Pool>,
    next: u64,
    content: u64,
    /// Zeros, and bytes behind them, that are still to come.
    filler: Option<(u64, Vec<u8>)>,
    done: bool,
}

impl Feed {
    fn new(sealer: Arc<Sealer>, length: Option<u64>) -> Self {
        // Small objects take small buffers; one byte more shows that they ended.
        let size = length.map_or(UNIT_SEALED, |length| {
            let filler = sealer.filler(length).map_or(0, |filler| filler.zeros);
            let text = usize::try_from(length.saturating_add(filler)).unwrap_or(UNIT_TEXT);
            let room = text.min(UNIT_TEXT) + 1;
            UNIT_SEALED.min(room + TAG_LENGTH * (room / CHUNK_LENGTH + 1))
        });
        Self {
            sealer,
            pool: Pool::new(size),
            next: 0,
            content: 0,
            filler: None,
            done: false,
        }
    }

    fn unit(&mut self) -> Unit {
        self.next += 1;
        Unit {
            buffer: self.pool.take(),
            index: self.next - 1,
            text: 0,
        }
    }

    /// Fills up a unit in which the content ended, or of which nothing is content.
    fn end(&mut self, unit: &mut Unit) -> Result<()> {
        let (mut zeros, mut tail) = match self.filler.take() {
            Some(filler) => filler,
            None => {
                let filler = self.sealer.filler(self.content).map_err(of_object)?;
                (filler.zeros, filler.tail.map(Vec::from).unwrap_or_default())
            }
        };
        while zeros > 0 && !unit.is_full() {
            let block = [0; CHUNK_LENGTH];
            let wanted = block
                .len()
                .min(usize::try_from(zeros).unwrap_or(usize::MAX));
            zeros -= unit.push(&block[..wanted]) as u64;
        }
        while zeros == 0 && !tail.is_empty() && !unit.is_full() {
            tail.drain(..unit.push(&tail));
        }
        // A full unit is never the last: an empty chunk follows it, as it does
        // behind the last full chunk of another, which has to have room for it.
        self.done = !unit.is_full();
        unit.room();
        self.filler = Some((zeros, tail));
        Ok(())
    }

    /// Reads the next unit on a blocking thread.
    fn read(&mut self, reader: &mut dyn Read) -> Result<Option<Unit>> {
        if self.done {
            return Ok(None);
        }
        let mut unit = self.unit();
        while self.filler.is_none() && !unit.is_full() {
            let room = unit.room();
            let length = room.len();
            match reader.read(room) {
                Ok(0) => self.end(&mut unit)?,
                Ok(read) => {
                    unit.text += read.min(length);
                    self.content += read.min(length) as u64;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            return Ok(Some(unit));
        }
        if self.filler.is_some() {
            self.end(&mut unit)?;
        }
        Ok(Some(unit))
    }

    /// Fills the next unit from a stream, whose last piece may be left over.
    async fn receive(
        &mut self,
        stream: &mut BoxStream<'static, io::Result<Bytes>>,
        rest: &mut Bytes,
    ) -> Result<Option<Unit>> {
        if self.done {
            return Ok(None);
        }
        let mut unit = self.unit();
        while self.filler.is_none() && !unit.is_full() {
            if rest.is_empty() {
                match stream.next().await {
                    Some(piece) => *rest = piece?,
                    None => {
                        self.end(&mut unit)?;
                        return Ok(Some(unit));
                    }
                }
            }
            let taken = unit.push(rest);
            self.content += taken as u64;
            *rest = rest.split_off(taken);
        }
        if self.filler.is_some() {
            self.end(&mut unit)?;
        }
        Ok(Some(unit))
    }
}

/// Sealed units in order.
fn units(
    content: Content,
    sealer: &Arc<Sealer>,
    length: Option<u64>,
) -> BoxStream<'static, Result<Sealed>> {
    let feed = Feed::new(Arc::clone(sealer), length);
    let sealer = Arc::clone(sealer);
    let needed = length.map_or(usize::MAX, |l| {
        usize::try_from(l / UNIT_TEXT as u64 + 1).unwrap_or(usize::MAX)
    });
    let at_once = (cores() + 1).min(needed);
    match content {
        Content::Small(mut reader) => {
            let sealed = seal_small(feed, &mut reader, &sealer);
            futures_util::stream::iter([sealed]).boxed()
        }
        Content::Reader(reader) => Reading {
            source: Arc::new(Mutex::new((feed, reader))),
            sealer,
            tasks: FuturesUnordered::new(),
            at_once,
            ready: BTreeMap::new(),
            next: 0,
            ended: false,
        }
        .into_stream(),
        Content::Stream(stream) => {
            let state = (feed, stream, Bytes::new());
            let filled = futures_util::stream::try_unfold(
                state,
                async |(mut feed, mut stream, mut rest)| {
                    let unit = feed.receive(&mut stream, &mut rest).await?;
                    Ok::<_, Error>(unit.map(|unit| (unit, (feed, stream, rest))))
                },
            );
            filled
                .map(move |unit| {
                    let sealer = Arc::clone(&sealer);
                    async move {
                        let unit = unit?;
                        blocking(move || unit.seal(&sealer))
                            .await?
                            .map(|(_, sealed)| sealed)
                    }
                })
                .buffered(at_once)
                .boxed()
        }
    }
}

/// At most one unit, and that the last.
fn seal_small(mut feed: Feed, reader: &mut PayloadReader, sealer: &Sealer) -> Result<Sealed> {
    let unit = feed.read(reader)?.ok_or(Error::Cancelled)?;
    Ok(unit.seal(sealer)?.1)
}

/// How many units are worked on at a time.
pub(crate) fn cores() -> usize {
    // Asking takes a dozen system calls, and small objects come by the thousand.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| {
        std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(16)
    })
}

/// Reads and seals one unit; none behind the end.
type Task = BoxFuture<'static, Result<Option<(u64, Sealed)>>>;

/// Units of a blocking reader: whoever is free reads the next one under a lock
/// and seals it while it is in its cache.
struct Reading {
    source: Arc<Mutex<(Feed, Box<dyn Read + Send>)>>,
    sealer: Arc<Sealer>,
    tasks: FuturesUnordered<Task>,
    at_once: usize,
    /// Units that were ready before their turn.
    ready: BTreeMap<u64, Sealed>,
    next: u64,
    ended: bool,
}

impl Reading {
    fn into_stream(self) -> BoxStream<'static, Result<Sealed>> {
        futures_util::stream::try_unfold(self, async |mut reading| {
            Ok(reading.next().await?.map(|unit| (unit, reading)))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Sealed>> {
        loop {
            if let Some(unit) = self.ready.remove(&self.next) {
                self.next += 1;
                return Ok(Some(unit));
            }
            while !self.ended && self.tasks.len() + self.ready.len() < self.at_once {
                self.tasks.push(self.task());
            }
            match self.tasks.next().await {
                Some(Ok(Some((index, unit)))) => {
                    self.ready.insert(index, unit);
                }
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    fn task(&self) -> Task {
        let (source, sealer) = (Arc::clone(&self.source), Arc::clone(&self.sealer));
        let work = move || {
            let unit = {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                let (feed, reader) = &mut *source;
                let unit = feed.read(reader);
                if unit.is_err() {
                    // Nobody reads on behind an error.
                    feed.done = true;
                }
                unit?
            };
            unit.map(|unit| unit.seal(&sealer)).transpose()
        };
        blocking(work)
            .map(|done| done.and_then(|unit| unit))
            .boxed()
    }
}

/// One object on its way into the store.
struct Write<'a> {
    store: &'a Backend,
    place: Path,
    what: &'a str,
    attributes: Attributes,
    extensions: Extensions,
    mode: PutMode,
    /// Sealed bytes of the longest content that may be written with a condition.
    max_conditional: u64,
    length: Option<u64>,
}

impl Write<'_> {
    /// Sends a small object, or a conditional write, in one request, and others
    /// in parts. The store's own commit is ours.
    async fn run(
        self,
        header: Bytes,
        mut units: BoxStream<'static, Result<Bytes>>,
    ) -> Result<PutResult> {
        let mut queue = Queue::default();
        queue.push(header);
        let conditional = self.mode != PutMode::Overwrite;
        // Whether the store takes attributes is seen before the content is asked for.
        if self.length.is_none() && !conditional && !self.attributes.is_empty() {
            return self.in_parts(queue, units).await;
        }
        while let Some(unit) = units.next().await {
            queue.push(unit?);
            if conditional && queue.length as u64 > self.max_conditional {
                return Err(Error::Unsupported {
                    what: format!(
                        "a conditional write of a stream of more than {} MiB",
                        MAX_CONDITIONAL_STREAM >> 20
                    ),
                });
            }
            if !conditional && queue.length >= PART {
                return self.in_parts(queue, units).await;
            }
        }
        let header = queue.pieces.front().cloned().unwrap_or_default();
        let mut payload = queue.take(usize::MAX);
        if payload.content_length() <= SMALL {
            // To copy it takes less time than a second call of the system.
            payload = Bytes::from(payload).into();
        }
        let options = object_store::PutOptions {
            mode: self.mode.clone(),
            attributes: self.attributes.clone(),
            extensions: self.extensions.clone(),
            ..Default::default()
        };
        match self
            .store
            .put(&self.place, self.what, payload, options)
            .await
        {
            Err(error @ (Error::AlreadyExists { .. } | Error::Conflict { .. })) if conditional => {
                self.own_write(&header).await.ok_or(error)
            }
            other => other,
        }
    }

    fn part_size(&self, sent: usize) -> usize {
        let wanted = self.length.unwrap_or(0).div_ceil(MAX_PARTS);
        let known = usize::try_from(wanted.next_multiple_of(1 << 20)).unwrap_or(PART);
        let size = PART.max(known);
        // Behind what was announced, and where nothing was, parts grow.
        let announced = self
            .length
            .is_some_and(|length| (sent * size) as u64 <= length);
        if announced {
            size
        } else {
            size << (sent / PARTS_OF_A_SIZE).min(3)
        }
    }

    /// A condition that failed may have failed against our own write: the first
    /// try was carried out, its answer lost, and the store's client tried again.
    /// Every write has a salt of its own, by which it is known.
    async fn own_write(&self, header: &Bytes) -> Option<PutResult> {
        let range = 0..header.len() as u64;
        let body = self
            .store
            .open(&self.place, self.what, Some(range), GetOptions::default())
            .await
            .ok()?;
        let meta = body.meta.clone();
        let mut found = vec![0; header.len()];
        body.reader().fill(&mut found, self.what).await.ok()?;
        (found == *header).then(|| PutResult {
            e_tag: meta.e_tag,
            version: meta.version,
            extensions: Default::default(),
        })
    }

    async fn in_parts(
        self,
        mut queue: Queue,
        mut units: BoxStream<'static, Result<Bytes>>,
    ) -> Result<PutResult> {
        let failed = |error| Error::store(error, self.what);
        let options = PutMultipartOptions {
            attributes: self.attributes.clone(),
            extensions: self.extensions.clone(),
            ..Default::default()
        };
        let upload = self
            .store
            .inner()
            .put_multipart_opts(&self.place, options)
            .await
            .map_err(failed)?;
        let mut upload = Upload(Some(upload));
        match self.send_parts(&mut upload, &mut queue, &mut units).await {
            // What the caller gave failed, not the store: the store is rid of it at once.
            Err(error @ Error::Io { .. }) => {
                if let Some(mut upload) = upload.0.take() {
                    upload.abort().await.map_err(failed)?;
                }
                return Err(error);
            }
            other => other?,
        }
        let done = upload.get()?.complete().await.map_err(failed)?;
        upload.0 = None;
        Ok(done)
    }

    async fn send_parts(
        &self,
        upload: &mut Upload,
        queue: &mut Queue,
        units: &mut BoxStream<'static, Result<Bytes>>,
    ) -> Result<()> {
        let failed = |error| Error::store(error, self.what);
        let mut parts = FuturesUnordered::new();
        let mut sent = 0;
        let mut in_flight = 0;
        let mut ended = false;
        while !ended || queue.length > 0 || !parts.is_empty() {
            let size = self.part_size(sent);
            let room = in_flight == 0 || in_flight + size <= IN_FLIGHT;
            if room && (queue.length >= size || ended && queue.length > 0) {
                sent += 1;
                let part = queue.take(size);
                let length = part.content_length();
                in_flight += length;
                parts.push(upload.get()?.put_part(part).map_ok(move |()| length));
                continue;
            }
            tokio::select! {
                Some(part) = parts.next() => in_flight -= part.map_err(failed)?,
                unit = units.next(), if !ended && queue.length < size => match unit {
                    Some(unit) => queue.push(unit?),
                    None => ended = true,
                },
            }
        }
        Ok(())
    }
}

/// Sealed bytes that wait to be sent. Cutting them to parts copies nothing.
#[derive(Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Queue {
    fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push_back(piece);
    }

    fn take(&mut self, length: usize) -> PutPayload {
        let mut taken = Vec::new();
        let mut wanted = length.min(self.length);
        self.length -= wanted;
        while wanted > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > wanted {
                self.pieces.push_front(piece.split_off(wanted));
            }
            wanted -= piece.len();
            taken.push(piece);
        }
        taken.into_iter().collect()
    }
}

/// An upload in parts that is aborted if it is dropped before it was completed,
/// so that nothing of it stays in the store.
struct Upload(Option<Box<dyn MultipartUpload>>);

impl Upload {
    fn get(&mut self) -> Result<&mut Box<dyn MultipartUpload>> {
        self.0.as_mut().ok_or(Error::Cancelled)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "an unfinished upload could not be aborted");
                }
            });
        }
    }
}
