//! The bounded reader between Kluis and the store, which is hostile: every byte
//! is counted, nothing is allocated from a claim, and what is asked for is what
//! is given out, or an error.

use crate::{Error, Result};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, Extensions, GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion,
};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// A small record that was read whole.
pub(crate) struct Record {
    pub(crate) bytes: Bytes,
    pub(crate) meta: ObjectMeta,
}

impl Record {
    /// How this record is overwritten and no other, where the store can tell.
    pub(crate) fn update_mode(&self) -> PutMode {
        let (e_tag, version) = (self.meta.e_tag.clone(), self.meta.version.clone());
        if e_tag.is_none() && version.is_none() {
            return PutMode::Overwrite;
        }
        PutMode::Update(UpdateVersion { e_tag, version })
    }
}

/// The store below a vault.
#[derive(Debug, Clone)]
pub(crate) struct Backend(Arc<dyn ObjectStore>);

impl Backend {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    /// Reads a record of at most `max` bytes whole; `None` where there is none.
    pub(crate) async fn record(&self, path: &str, max: usize) -> Result<Option<Record>> {
        let body = match self
            .open(&stored(path), path, None, GetOptions::default())
            .await
        {
            Err(Error::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let meta = body.meta.clone();
        let mut reader = body.reader();
        let mut bytes = Vec::new();
        while let Some(piece) = reader.piece(path).await? {
            if bytes.len() + piece.len() > max {
                return Err(Error::LimitExceeded {
                    what: path.to_owned(),
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(Record {
            bytes: bytes.into(),
            meta,
        }))
    }

    /// Opens an object, or a range of its stored bytes, under the conditions of
    /// `options`. `what` names it in errors.
    pub(crate) async fn open(
        &self,
        path: &Path,
        what: &str,
        range: Option<Range<u64>>,
        options: GetOptions,
    ) -> Result<Body> {
        let options = GetOptions {
            range: range.clone().map(GetRange::Bounded),
            head: false,
            ..options
        };
        let found = match self.0.get_opts(path, options).await {
            Ok(found) => found,
            Err(error) => return Err(self.explain(error, path, what, range.as_ref()).await),
        };
        let expected = range.unwrap_or(0..found.meta.size);
        // A store may answer with less at the end of the object, and with
        // nothing else than what was asked for.
        if found.range.start != expected.start || found.range.end > expected.end {
            return Err(Error::tampered(what));
        }
        Ok(Body {
            meta: found.meta,
            attributes: found.attributes,
            range: found.range,
            extensions: found.extensions,
            payload: found.payload,
        })
    }

    /// Stores answer a range behind the end in many ways. An object that is too
    /// short to be one was altered.
    async fn explain(
        &self,
        error: object_store::Error,
        path: &Path,
        what: &str,
        range: Option<&Range<u64>>,
    ) -> Error {
        if matches!(error, object_store::Error::NotModified { .. }) {
            return Error::store(error, what);
        }
        let error = Error::store(error, what);
        if let (Error::Store { .. }, Some(range)) = (&error, range)
            && let Ok(meta) = self.0.head(path).await
            && meta.size <= range.start
        {
            return Error::tampered(what);
        }
        error
    }

    pub(crate) async fn put(
        &self,
        path: &Path,
        what: &str,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0
            .put_opts(path, payload, options)
            .await
            .map_err(|error| Error::store(error, what))
    }

    /// Writes a control record.
    pub(crate) async fn put_record(
        &self,
        path: &str,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<PutResult> {
        self.put(&stored(path), path, bytes.into(), mode.into())
            .await
    }

    pub(crate) async fn delete(&self, path: &Path, what: &str) -> Result<()> {
        self.0
            .delete(path)
            .await
            .map_err(|error| Error::store(error, what))
    }

    /// Whether the store shows an object.
    pub(crate) async fn head(&self, path: &Path, what: &str) -> Result<ObjectMeta> {
        let found = self.0.head(path).await;
        found.map_err(|error| Error::store(error, what))
    }

    /// Whether anything lies below a stored folder, or is an object of its name.
    pub(crate) async fn is_named(&self, folder: &str, or_object: bool) -> Result<bool> {
        if self.list(Some(folder)).try_next().await?.is_some() {
            return Ok(true);
        }
        if !or_object {
            return Ok(false);
        }
        match self.head(&stored(folder), folder).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists stored objects below a prefix of whole segments.
    pub(crate) fn list(&self, prefix: Option<&str>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0
            .list(prefix.map(stored).as_ref())
            .map_err(|error| Error::store(error, "the listing"))
            .boxed()
    }

    pub(crate) async fn list_with_delimiter(
        &self,
        prefix: &str,
    ) -> Result<object_store::ListResult> {
        self.0
            .list_with_delimiter(Some(&stored(prefix)))
            .await
            .map_err(|error| Error::store(error, "the listing"))
    }

    pub(crate) fn inner(&self) -> &dyn ObjectStore {
        &*self.0
    }
}

/// A path that this crate made: lower-case letters, digits, `-`, `~`, `.` and `/`,
/// taken as it is. `Path::from` would write `~` as `%7E`.
pub(crate) fn stored(path: &str) -> Path {
    Path::parse(path).unwrap_or_else(|_| Path::from(path))
}

/// An answer of the store: what it claims, and a body that is still to be read.
pub(crate) struct Body {
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
    pub(crate) range: Range<u64>,
    /// What the store's client says beside the answer.
    pub(crate) extensions: Extensions,
    payload: GetResultPayload,
}

/// Where the bytes of a body come from.
pub(crate) enum Source {
    /// A file of a local store, to be read at any offset.
    File(Arc<File>),
    /// Bytes in order, from the start of the range.
    Stream(BodyReader),
}

impl Body {
    pub(crate) fn source(self) -> Source {
        match self.payload {
            GetResultPayload::File(file, _) => Source::File(Arc::new(file)),
            payload => Source::Stream(Self { payload, ..self }.reader()),
        }
    }

    pub(crate) fn reader(self) -> BodyReader {
        let stream = object_store::GetResult {
            payload: self.payload,
            meta: self.meta,
            range: self.range,
            attributes: self.attributes,
            extensions: self.extensions,
        }
        .into_stream();
        BodyReader {
            stream,
            rest: Bytes::new(),
        }
    }
}

/// Reads a body piece by piece.
pub(crate) struct BodyReader {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    rest: Bytes,
}

impl BodyReader {
    /// Bytes that are here already.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            stream: futures_util::stream::empty().boxed(),
            rest: bytes,
        }
    }

    /// Empty pieces in a row before a store counts as broken.
    const MAX_EMPTY: usize = 1_024;

    /// The next bytes, not empty; `None` at the end.
    async fn piece(&mut self, what: &str) -> Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        for _ in 0..Self::MAX_EMPTY {
            match self
                .stream
                .try_next()
                .await
                .map_err(|error| Error::store(error, what))?
            {
                None => return Ok(None),
                Some(piece) if piece.is_empty() => {}
                Some(piece) => return Ok(Some(piece)),
            }
        }
        Err(Error::LimitExceeded {
            what: format!("{what} (empty pieces of a body)"),
        })
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// `Tampered` where the body ends before.
    pub(crate) async fn fill(&mut self, out: &mut [u8], what: &str) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let mut piece = self
                .piece(what)
                .await?
                .ok_or_else(|| Error::tampered(what))?;
            let taken = piece.len().min(out.len() - filled);
            out[filled..filled + taken].copy_from_slice(&piece[..taken]);
            filled += taken;
            self.rest = piece.split_off(taken);
        }
        Ok(())
    }

    /// Checks that nothing follows.
    pub(crate) async fn end(&mut self, what: &str) -> Result<()> {
        match self.piece(what).await? {
            None => Ok(()),
            Some(_) => Err(Error::tampered(what)),
        }
    }
}

/// Reads exactly `out` from a file of a local store.
pub(crate) fn read_file_at(file: &File, out: &mut [u8], offset: u64, what: &str) -> Result<()> {
    let read = {
        #[cfg(unix)]
        {
            std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Read, Seek, SeekFrom};
            let mut file = file.try_clone()?;
            // Handles share their position: readers of one file take turns.
            static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
            let _turn = TURN
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.read_exact(out))
        }
    };
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::tampered(what),
        _ => Error::from(error),
    })
}
