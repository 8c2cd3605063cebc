//! One object: its header, metadata frame and chunks (docs/FORMAT.md, section 7).

use crate::aead::{Aead, TAG};
use crate::cbor::{Reader, Record, Writer};
use crate::collection::ObjectKey;
use crate::header::Suite;
use crate::kdf::{Label, domain};
use crate::ledger::Ledger;
use crate::message::{
    self, CHUNK, COMMITMENT, MAX_CHUNKS, MessageCipher, Place, SALT, SEALED_CHUNK,
};
use crate::name::VaultPath;
use crate::padding::padme;
use crate::secret::secret_key;
use crate::{CollectionId, Error, Result, VaultId};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

secret_key! {
    /// Key of one write of one object, MK.
    struct MessageKey;
}
secret_key! {
    struct MetadataKey;
}
secret_key! {
    struct AttributesKey;
}

/// Bytes before the first chunk.
pub const HEADER_LENGTH: usize = 256;
/// Plaintext of a full chunk.
pub const CHUNK_LENGTH: usize = CHUNK;
/// A full chunk as it is stored.
pub const SEALED_CHUNK_LENGTH: usize = SEALED_CHUNK;
/// What each chunk grows by.
pub const TAG_LENGTH: usize = TAG;

const MAGIC: [u8; 4] = *b"KLO1";
const FLAG_PADDED: u8 = 1;
/// Magic to collection id.
const PREFIX: usize = 40;
const FRAME: usize = 144;
const FRAME_END: usize = PREFIX + FRAME + TAG;
const SALT_END: usize = FRAME_END + SALT;

/// The stored length of an object with this many bytes of plaintext.
///
/// # Errors
/// `LimitExceeded` above 2^38 chunks.
pub fn sealed_length(plaintext: u64) -> Result<u64> {
    let chunks = plaintext / CHUNK as u64 + 1;
    if chunks > MAX_CHUNKS {
        return Err(Error::LimitExceeded("length of an object"));
    }
    Ok(HEADER_LENGTH as u64 + plaintext + TAG as u64 * chunks)
}

/// The bytes of plaintext in an object of this stored length. A claim of the
/// store until the last chunk was opened.
///
/// # Errors
/// `Tampered` for a length that no object has, `LimitExceeded` above 2^38 chunks.
pub fn plaintext_length(sealed: u64) -> Result<u64> {
    let body = sealed
        .checked_sub(HEADER_LENGTH as u64)
        .ok_or(Error::Tampered)?;
    let (full, last) = (body / SEALED_CHUNK as u64, body % SEALED_CHUNK as u64);
    if last < TAG as u64 {
        return Err(Error::Tampered);
    }
    if full >= MAX_CHUNKS {
        return Err(Error::LimitExceeded("length of an object"));
    }
    Ok(full * CHUNK as u64 + last - TAG as u64)
}

/// Where a chunk begins in the store.
pub fn chunk_offset(index: u64) -> u64 {
    // No object has a chunk with a number for which this is not exact.
    (HEADER_LENGTH as u64).saturating_add(index.saturating_mul(SEALED_CHUNK as u64))
}

/// A time of modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970-01-01T00:00:00Z, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below 10^9.
    pub nanoseconds: u32,
}

/// What an object says of itself beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// When the content was last changed.
    pub mtime: Option<Mtime>,
    /// When it may be deleted, in microseconds since 1970.
    pub expires: Option<u64>,
    /// `content-type` and the like, and `meta:…` for the user's own.
    pub attributes: BTreeMap<String, String>,
}

/// Attributes in their one encoding.
struct AttributeList(BTreeMap<String, String>);

impl AttributeList {
    const MAX: usize = 64;
    const KNOWN: [&str; 5] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
    ];
}

impl Record for AttributeList {
    fn write(&self, to: &mut Writer) {
        to.array(2 * self.0.len());
        for (name, value) in &self.0 {
            to.text(name).text(value);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let length = from.array_up_to(2 * Self::MAX)?;
        let mut list = BTreeMap::new();
        // An odd or empty list, one out of order or with a name twice is not
        // what comes out when it is written again.
        for _ in 0..length / 2 {
            let name = from.text(Sealer::MAX_OUTSIDE)?.to_owned();
            if !Self::KNOWN.contains(&name.as_str())
                && name.strip_prefix("meta:").is_none_or(str::is_empty)
            {
                return Err(Error::Tampered);
            }
            list.insert(name, from.text(Sealer::MAX_OUTSIDE)?.to_owned());
        }
        if list.is_empty() {
            Err(Error::Tampered)
        } else {
            Ok(Self(list))
        }
    }
}

/// How the true length of a padded object is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrueLength {
    Unpadded,
    InFrame(u64),
    InTail,
}

/// The 144 bytes of the metadata frame.
struct Frame {
    mtime: Option<Mtime>,
    expires: Option<u64>,
    length: TrueLength,
    /// Attributes in the frame; empty where there are none or they are outside.
    inside: Vec<u8>,
    /// Hash of the sealed attributes outside.
    outside: Option<[u8; 32]>,
}

impl Frame {
    const VERSION: u8 = 1;
    const MTIME: u8 = 1;
    const EXPIRES: u8 = 2;
    const LENGTH_IN_FRAME: u8 = 4;
    const LENGTH_IN_TAIL: u8 = 8;
    const OUTSIDE: u8 = 16;
    const INSIDE_AT: usize = 64;
    const MAX_INSIDE: usize = FRAME - Self::INSIDE_AT;

    fn write(&self) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        let mut flags = 0;
        if let Some(mtime) = self.mtime {
            flags |= Self::MTIME;
            frame[4..8].copy_from_slice(&mtime.nanoseconds.to_be_bytes());
            frame[8..16].copy_from_slice(&mtime.seconds.to_be_bytes());
        }
        if let Some(expires) = self.expires {
            flags |= Self::EXPIRES;
            frame[16..24].copy_from_slice(&expires.to_be_bytes());
        }
        match self.length {
            TrueLength::Unpadded => {}
            TrueLength::InFrame(length) => {
                flags |= Self::LENGTH_IN_FRAME;
                frame[24..32].copy_from_slice(&length.to_be_bytes());
            }
            TrueLength::InTail => flags |= Self::LENGTH_IN_TAIL,
        }
        if let Some(hash) = &self.outside {
            flags |= Self::OUTSIDE;
            frame[32..64].copy_from_slice(hash);
        }
        frame[0] = Self::VERSION;
        frame[1] = flags;
        // At most 80.
        frame[2..4].copy_from_slice(&(self.inside.len() as u16).to_be_bytes());
        frame[Self::INSIDE_AT..Self::INSIDE_AT + self.inside.len()].copy_from_slice(&self.inside);
        frame
    }

    /// Reads an authentic frame, and refuses one that is not the one encoding of
    /// what it says.
    fn read(frame: &[u8; FRAME], padded: bool) -> Result<Self> {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&frame[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        let flags = frame[1];
        if frame[0] != Self::VERSION || flags >= 32 {
            return Err(Error::UnsupportedFormat("metadata frame"));
        }
        let has = |flag: u8| flags & flag != 0;
        let nanoseconds = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let seconds = number(8).cast_signed();
        if nanoseconds >= 1_000_000_000 {
            return Err(Error::Tampered);
        }
        let length = match (
            padded,
            has(Self::LENGTH_IN_FRAME),
            has(Self::LENGTH_IN_TAIL),
        ) {
            (false, false, false) => TrueLength::Unpadded,
            (true, true, false) => TrueLength::InFrame(number(24)),
            (true, false, true) => TrueLength::InTail,
            _ => return Err(Error::Tampered),
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(&frame[32..64]);
        let inside = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
        let inside = frame
            .get(Self::INSIDE_AT..Self::INSIDE_AT + inside)
            .ok_or(Error::Tampered)?;
        let parsed = Self {
            mtime: has(Self::MTIME).then_some(Mtime {
                seconds,
                nanoseconds,
            }),
            expires: has(Self::EXPIRES).then(|| number(16)),
            length,
            inside: inside.to_vec(),
            outside: has(Self::OUTSIDE).then_some(hash),
        };
        let excluded = parsed.outside.is_some() && !parsed.inside.is_empty();
        if excluded || parsed.write() != *frame {
            Err(Error::Tampered)
        } else {
            Ok(parsed)
        }
    }
}

/// `context = "kluis/v1/object" ‖ 0x00 ‖ vault id ‖ bytes 0..40 ‖ H(bytes 40..200)`
fn with_context<T>(
    vault: &VaultId,
    prefix: &[u8; PREFIX],
    frame: &[u8],
    with: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let hash = Sha256::digest(frame);
    with(&[domain::OBJECT, vault.as_bytes(), prefix, &hash])
}

/// `AAD = bytes 0..40 ‖ salt`
fn frame_aad(prefix: &[u8; PREFIX], salt: &[u8; SALT]) -> [u8; PREFIX + SALT] {
    let mut aad = [0; PREFIX + SALT];
    aad[..PREFIX].copy_from_slice(prefix);
    aad[PREFIX..].copy_from_slice(salt);
    aad
}

fn attributes_place<'a>(vault: &'a VaultId, place: &'a [u8; PREFIX + SALT]) -> Place<'a> {
    Place {
        kind: "attributes",
        vault,
        place,
    }
}

/// Zeros, and in a stream the true length, that follow the content of a padded
/// object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filler {
    /// Zero bytes after the content.
    pub zeros: u64,
    /// What stands behind them.
    pub tail: Option<[u8; 8]>,
}

/// Seals one write of one object: made once, with a fresh salt, and never for a
/// second content. A retry sends the same bytes again.
pub struct Sealer {
    header: [u8; HEADER_LENGTH],
    cipher: MessageCipher,
    length: TrueLength,
    attributes: Option<Vec<u8>>,
}

impl Sealer {
    /// Longest sealed attributes: what fits into the metadata of every provider.
    pub const MAX_OUTSIDE: usize = 1_500;

    /// Draws a salt and writes the header.
    ///
    /// `version` is in microseconds and above every version of this object that
    /// the writer knows. `length` is the length of the content where it is known.
    ///
    /// # Errors
    /// `InvalidInput` for metadata that cannot be written, `Randomness`.
    pub fn new(
        vault: &VaultId,
        ledger: &Ledger,
        path: &VaultPath,
        version: u64,
        metadata: &Metadata,
        length: Option<u64>,
    ) -> Result<Self> {
        let collection = ledger.root();
        let epoch = collection.current().ok_or(Error::Tampered)?;
        let key = epoch.key.object_key(path);
        let salt = message::fresh_salt(key.expose_secret(), version)?;

        let mut header = [0; HEADER_LENGTH];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = Suite::V1.number();
        header[5] = if collection.is_padded() {
            FLAG_PADDED
        } else {
            0
        };
        header[8..12].copy_from_slice(&epoch.number.to_be_bytes());
        // A ledger with more entries is refused when it is read.
        let stamp = u32::try_from(ledger.head().sequence)
            .map_err(|_| Error::LimitExceeded("entries of one ledger"))?;
        header[12..16].copy_from_slice(&stamp.to_be_bytes());
        header[16..24].copy_from_slice(&version.to_be_bytes());
        header[24..PREFIX].copy_from_slice(collection.id().as_bytes());
        header[FRAME_END..SALT_END].copy_from_slice(&salt);
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header[..PREFIX]);

        let message = MessageKey::derive(key.expose_secret(), Label::MESSAGE, &[&salt]);
        let length = match (collection.is_padded(), length) {
            (false, _) => TrueLength::Unpadded,
            (true, Some(length)) => TrueLength::InFrame(length),
            (true, None) => TrueLength::InTail,
        };
        let aad = frame_aad(&prefix, &salt);
        let (inside, attributes) = seal_attributes(vault, &message, &prefix, &aad, metadata)?;
        if metadata
            .mtime
            .is_some_and(|m| m.nanoseconds >= 1_000_000_000)
        {
            return Err(Error::invalid("a time has fewer than 10^9 nanoseconds"));
        }
        let frame = Frame {
            mtime: metadata.mtime,
            expires: metadata.expires,
            length,
            inside,
            outside: attributes
                .as_ref()
                .map(|sealed| Sha256::digest(sealed).into()),
        };
        header[PREFIX..PREFIX + FRAME].copy_from_slice(&frame.write());
        let mut tag = [0; TAG];
        // Zero nonce: the key is of this message alone.
        let key = MetadataKey::derive(message.expose_secret(), Label::METADATA, &[&prefix]);
        let frame = &mut header[PREFIX..PREFIX + FRAME];
        Aead::new(key.expose_secret()).seal(&[0; 12], &aad, frame, &mut tag)?;
        header[PREFIX + FRAME..FRAME_END].copy_from_slice(&tag);

        let (cipher, commitment) =
            with_context(vault, &prefix, &header[PREFIX..FRAME_END], |context| {
                MessageCipher::derive(message.expose_secret(), &salt, context)
            });
        header[SALT_END..].copy_from_slice(&commitment);
        Ok(Self {
            header,
            cipher,
            length,
            attributes,
        })
    }

    /// The first bytes of the object.
    pub fn header(&self) -> &[u8; HEADER_LENGTH] {
        &self.header
    }

    /// Sealed attributes that have to travel in the store's own metadata.
    pub fn attributes_outside(&self) -> Option<&[u8]> {
        self.attributes.as_deref()
    }

    /// What has to follow the content, now that its length is known.
    ///
    /// # Errors
    /// `InvalidInput` where it is another than the header says.
    pub fn filler(&self, length: u64) -> Result<Filler> {
        match self.length {
            TrueLength::Unpadded => Ok(Filler {
                zeros: 0,
                tail: None,
            }),
            TrueLength::InFrame(announced) if announced != length => Err(Error::invalid(
                "the content is not as long as was announced; did it change while it was read?",
            )),
            TrueLength::InFrame(_) => Ok(Filler {
                zeros: padme(length) - length,
                tail: None,
            }),
            TrueLength::InTail => {
                let content = length
                    .checked_add(8)
                    .ok_or(Error::LimitExceeded("length of an object"))?;
                Ok(Filler {
                    zeros: padme(content) - content,
                    tail: Some(length.to_be_bytes()),
                })
            }
        }
    }

    /// Seals consecutive chunks in place. `chunks` holds them as they will be
    /// stored, the last 16 bytes of each free for its tag: full chunks of 16,400
    /// bytes, and at the very end of the object one that is shorter.
    ///
    /// # Errors
    /// `LimitExceeded` above 2^38 chunks.
    pub fn seal(&self, first: u64, chunks: &mut [u8]) -> Result<()> {
        for (index, chunk) in (first..).zip(chunks.chunks_mut(SEALED_CHUNK)) {
            self.cipher.seal_chunk(index, chunk)?;
        }
        Ok(())
    }
}

fn seal_attributes(
    vault: &VaultId,
    message: &MessageKey,
    prefix: &[u8; PREFIX],
    place: &[u8; PREFIX + SALT],
    metadata: &Metadata,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    if metadata.attributes.is_empty() {
        return Ok((Vec::new(), None));
    }
    let encoded = AttributeList(metadata.attributes.clone()).encode();
    if AttributeList::decode(&encoded).is_err() {
        return Err(Error::invalid(
            "attributes are cache-control, content-disposition, content-encoding, content-language, content-type, and named ones of your own; 64 at most, about 1,400 bytes in all",
        ));
    }
    if encoded.len() <= Frame::MAX_INSIDE {
        return Ok((encoded.to_vec(), None));
    }
    let key = AttributesKey::derive(message.expose_secret(), Label::ATTRIBUTES, &[prefix]);
    let sealed = message::seal(
        key.expose_secret(),
        &attributes_place(vault, place),
        &encoded,
    )?;
    if sealed.len() > Sealer::MAX_OUTSIDE {
        return Err(Error::invalid(
            "the attributes are too long; about 1,400 bytes in all fit",
        ));
    }
    Ok((Vec::new(), Some(sealed)))
}

/// Opens one object, or any part of it, once its header was found to be the one
/// its writer sealed for this vault, path and epoch.
pub struct Opener {
    cipher: MessageCipher,
    frame: Frame,
    attributes_key: AttributesKey,
    vault: VaultId,
    place: [u8; PREFIX + SALT],
    epoch: u32,
    closed: bool,
    version: u64,
    commitment: [u8; COMMITMENT],
}

impl Opener {
    /// Checks a header. The commitment is compared before anything is decrypted.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version. `Stale` where the writer had seen
    /// more of the ledger than is at hand: read it again, and if it stays `Stale`
    /// the store hides a part of it. Otherwise `Tampered`.
    pub fn new(
        header: &[u8; HEADER_LENGTH],
        vault: &VaultId,
        suite: Suite,
        ledger: &Ledger,
        path: &VaultPath,
    ) -> Result<Self> {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header[..PREFIX]);
        crate::header::check_magic(&prefix, MAGIC)?;
        let found = Suite::from_number(prefix[4].into())?;
        if prefix[5] & !FLAG_PADDED != 0 || prefix[6..8] != [0, 0] {
            return Err(Error::UnsupportedFormat("flag of an object"));
        }
        if found != suite {
            return Err(Error::Tampered);
        }
        let word = |at: usize| {
            u32::from_be_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]])
        };
        let (epoch, stamp) = (word(8), word(12));
        let version = u64::from(word(16)) << 32 | u64::from(word(20));
        let mut collection = CollectionId([0; 16]);
        collection.0.copy_from_slice(&prefix[24..]);
        let mut salt = [0; SALT];
        salt.copy_from_slice(&header[FRAME_END..SALT_END]);
        let mut commitment = [0; COMMITMENT];
        commitment.copy_from_slice(&header[SALT_END..]);

        let known = u64::from(stamp) <= ledger.head().sequence;
        let refused = if known {
            Error::Tampered
        } else {
            Error::Stale("ledger")
        };
        let Some(collection) = ledger.collection(&collection) else {
            return Err(refused);
        };
        let mut candidates =
            collection
                .epochs
                .iter()
                .filter(|e| e.number == epoch)
                .map(|candidate| {
                    let key: ObjectKey = candidate.key.object_key(path);
                    let message = MessageKey::derive(key.expose_secret(), Label::MESSAGE, &[&salt]);
                    let cipher =
                        with_context(vault, &prefix, &header[PREFIX..FRAME_END], |context| {
                            MessageCipher::verify(
                                message.expose_secret(),
                                &salt,
                                context,
                                &commitment,
                            )
                        })?;
                    Ok((message, cipher))
                });
        let (message, cipher) = candidates
            .find_map(|c: Result<_>| c.ok())
            .ok_or(refused.clone())?;

        let closed = collection.closed_at(epoch);
        if epoch < collection.floor || closed.is_some_and(|closed| closed <= stamp.into()) {
            return Err(Error::Tampered);
        }
        if !known {
            return Err(refused);
        }

        let place = frame_aad(&prefix, &salt);
        let key = MetadataKey::derive(message.expose_secret(), Label::METADATA, &[&prefix]);
        let mut frame = [0; FRAME];
        let (sealed, tag) = header[PREFIX..FRAME_END]
            .split_last_chunk::<TAG>()
            .ok_or(Error::Tampered)?;
        Aead::new(key.expose_secret()).open(&[0; 12], &place, sealed, tag, &mut frame)?;
        Ok(Self {
            cipher,
            frame: Frame::read(&frame, prefix[5] & FLAG_PADDED != 0)?,
            attributes_key: AttributesKey::derive(
                message.expose_secret(),
                Label::ATTRIBUTES,
                &[&prefix],
            ),
            vault: *vault,
            place,
            epoch,
            closed: closed.is_some(),
            version,
            commitment,
        })
    }

    /// Opens consecutive chunks, as `Sealer::seal` takes them, into `plaintext`,
    /// which is shorter by 16 bytes a chunk. After an error nothing in it may be
    /// used.
    ///
    /// # Errors
    /// `Tampered`.
    pub fn open(&self, first: u64, chunks: &[u8], plaintext: &mut [u8]) -> Result<()> {
        let count = chunks.len().div_ceil(SEALED_CHUNK);
        if plaintext.len() + TAG * count != chunks.len() {
            return Err(Error::Tampered);
        }
        // An empty last chunk opens into nothing.
        let texts = plaintext
            .chunks_mut(CHUNK)
            .chain(std::iter::once_with(|| &mut [][..]));
        for ((index, chunk), text) in (first..).zip(chunks.chunks(SEALED_CHUNK)).zip(texts) {
            self.cipher.open_chunk(index, chunk, text)?;
        }
        Ok(())
    }

    /// What the object says of itself. Attributes outside the object come from
    /// the store's own metadata, where the header says that there are some.
    ///
    /// # Errors
    /// `Tampered` where they are missing or not the ones that were written.
    pub fn metadata(&self, outside: Option<&[u8]>) -> Result<Metadata> {
        let attributes = match (&self.frame.outside, outside) {
            (None, _) if self.frame.inside.is_empty() => BTreeMap::new(),
            (None, _) => AttributeList::decode(&self.frame.inside)?.0,
            (Some(_), Some(sealed)) if sealed.len() > Sealer::MAX_OUTSIDE => {
                return Err(Error::LimitExceeded("attributes outside an object"));
            }
            (Some(hash), Some(sealed)) => {
                if <[u8; 32]>::from(Sha256::digest(sealed)) != *hash {
                    return Err(Error::Tampered);
                }
                let place = attributes_place(&self.vault, &self.place);
                let list = message::open(self.attributes_key.expose_secret(), &place, sealed)?;
                // Shorter ones have one place only, and that is inside.
                if list.len() <= Frame::MAX_INSIDE {
                    return Err(Error::Tampered);
                }
                AttributeList::decode(&list)?.0
            }
            (Some(_), None) => return Err(Error::Tampered),
        };
        Ok(Metadata {
            mtime: self.frame.mtime,
            expires: self.frame.expires,
            attributes,
        })
    }

    /// Whether the last 8 bytes of the plaintext are needed to know its true length.
    pub fn needs_tail(&self) -> bool {
        self.frame.length == TrueLength::InTail
    }

    /// The length of the content in `stored` bytes of plaintext, the last 8 of
    /// which are `tail`.
    ///
    /// # Errors
    /// `Tampered` unless `stored` is what the content is padded to.
    pub fn true_length(&self, stored: u64, tail: Option<[u8; 8]>) -> Result<u64> {
        let (length, padded) = match (self.frame.length, tail) {
            (TrueLength::Unpadded, _) => (stored, stored),
            (TrueLength::InFrame(length), _) => (length, padme(length)),
            (TrueLength::InTail, Some(tail)) => {
                let length = u64::from_be_bytes(tail);
                (length, padme(length.checked_add(8).ok_or(Error::Tampered)?))
            }
            (TrueLength::InTail, None) => return Err(Error::Tampered),
        };
        if padded == stored {
            Ok(length)
        } else {
            Err(Error::Tampered)
        }
    }

    /// The epoch of its collection.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether that epoch is closed: nothing new is written under it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The writer's clock in microseconds.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Names this write and no other.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("epoch", &self.epoch)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
