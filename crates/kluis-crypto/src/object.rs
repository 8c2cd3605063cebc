//! One object: its header, metadata frame and chunks (docs/FORMAT.md, section 7).

use crate::aead::{Aead, TAG};
use crate::cbor::{Reader, Record, Writer};
use crate::collection::MessageKey;
use crate::header::Suite;
use crate::identity::Identity;
use crate::kdf::{Label, domain};
use crate::layout::{HEADER_LENGTH, Layout};
use crate::message::{self, CHUNK, COMMITMENT, MessageCipher, Place, SALT, SEALED_CHUNK};
use crate::name::VaultPath;
use crate::padding::padme;
use crate::secret::secret_key;
use crate::signed::{HASH, Signed, Signer, Tail, Trailer, Writers, leaf};
use crate::tree::Tree;
use crate::{CollectionId, Error, Result, VaultId};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

secret_key! {
    struct MetadataKey;
}
secret_key! {
    struct AttributesKey;
}

const MAGIC: [u8; 4] = *b"KLO1";
const FLAG_PADDED: u8 = 1;
/// Magic to collection id.
const PREFIX: usize = 40;
const FRAME: usize = 144;
const FRAME_END: usize = PREFIX + FRAME + TAG;
const SALT_END: usize = FRAME_END + SALT;

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
    vault: VaultId,
    header: [u8; HEADER_LENGTH],
    cipher: MessageCipher,
    length: TrueLength,
    attributes: Option<Vec<u8>>,
    signer: Option<Signer>,
}

impl Sealer {
    /// Longest sealed attributes: what fits into the metadata of every provider.
    pub const MAX_OUTSIDE: usize = 1_500;

    /// Draws a salt and writes the header.
    ///
    /// `version` is in microseconds and above every version of this object that
    /// the writer knows. `length` is the length of the content where it is known.
    /// In a signed vault `writer` signs.
    ///
    /// # Errors
    /// `AccessDenied` where the key in force is not at hand, or to whom the owner has
    /// not given the right to write in a signed vault; `InvalidInput` for metadata that
    /// cannot be written; `Randomness`.
    pub fn new(
        (vault, suite): (&VaultId, Suite),
        tree: &Tree,
        path: &VaultPath,
        writer: &Identity,
        version: u64,
        metadata: &Metadata,
        length: Option<u64>,
    ) -> Result<Self> {
        let (held, epoch) = tree.writer(path)?;
        let collection = held.collection;
        let key = held.object_key(epoch).ok_or(Error::AccessDenied(
            "one version was shared, and nothing can be written",
        ))?;
        let signer = match suite {
            Suite::V1 => None,
            Suite::V2 => Some(writer.signer()),
        };
        if let Some(signer) = &signer
            && !collection.writers.may_write(&signer.key, epoch.number)
        {
            return Err(Error::AccessDenied("only who may write signs objects here"));
        }
        let salt = message::fresh_salt(key.expose_secret(), &version.to_be_bytes())?;

        let mut header = [0; HEADER_LENGTH];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = suite.number();
        header[5] = if collection.is_padded() {
            FLAG_PADDED
        } else {
            0
        };
        header[8..12].copy_from_slice(&epoch.number.to_be_bytes());
        // A ledger with more entries is refused when it is read.
        let stamp = u32::try_from(tree.head())
            .map_err(|_| Error::LimitExceeded("entries of one ledger"))?;
        header[12..16].copy_from_slice(&stamp.to_be_bytes());
        header[16..24].copy_from_slice(&version.to_be_bytes());
        header[24..PREFIX].copy_from_slice(collection.id().as_bytes());
        header[FRAME_END..SALT_END].copy_from_slice(&salt);
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header[..PREFIX]);

        let message = key.message_key(&salt);
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
            vault: *vault,
            header,
            cipher,
            length,
            attributes,
            signer,
        })
    }

    /// Whether something has to follow the chunks.
    pub fn is_signed(&self) -> bool {
        self.signer.is_some()
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
    /// bytes, and at the very end of the object one that is shorter. Gives out their
    /// hashes for the [`Trailer`]: none in a vault that is not signed.
    ///
    /// # Errors
    /// `LimitExceeded` above 2^38 chunks.
    pub fn seal(&self, first: u64, chunks: &mut [u8]) -> Result<Vec<u8>> {
        let mut leaves = Vec::new();
        for (index, chunk) in (first..).zip(chunks.chunks_mut(SEALED_CHUNK)) {
            self.cipher.seal_chunk(index, chunk)?;
            // While it is in the cache.
            if self.signer.is_some() {
                leaves.extend_from_slice(&leaf(chunk));
            }
        }
        Ok(leaves)
    }

    /// What follows the last chunk: the last hashes, and the signature for this path in
    /// the store and this length of the plaintext, padding included. Nothing in a vault
    /// that is not signed.
    pub fn finish(&self, trailer: Trailer, stored: &str, plaintext: u64) -> Vec<u8> {
        let Some(signer) = &self.signer else {
            return Vec::new();
        };
        let place = Signed {
            vault: &self.vault,
            stored,
            header: &Sha256::digest(self.header).into(),
            plaintext,
        };
        trailer.finish(signer, &place)
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
    message: MessageKey,
    vault: VaultId,
    place: [u8; PREFIX + SALT],
    collection: CollectionId,
    epoch: u32,
    closed: bool,
    version: u64,
    commitment: [u8; COMMITMENT],
    /// H of the header.
    header: [u8; 32],
    /// Who may have signed it; none where nobody signs.
    writers: Option<Arc<Writers>>,
    ahead: bool,
}

impl Opener {
    /// Checks a header. The commitment is compared before anything is decrypted.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version. `AccessDenied` for what was written
    /// before access to it was given. `NotFound` for another write than the one version
    /// that was shared. `Stale` where the writer had seen
    /// more of the ledger than is at hand: read it again, and if it stays `Stale`
    /// the store hides a part of it. Otherwise `Tampered`.
    pub fn new(
        header: &[u8; HEADER_LENGTH],
        vault: &VaultId,
        suite: Suite,
        tree: &Tree,
        path: &VaultPath,
    ) -> Result<Self> {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header[..PREFIX]);
        crate::header::check_magic(&prefix, MAGIC)?;
        match prefix[4] {
            number if number == suite.number() => {}
            // A suite that is known and not the vault's.
            1 | 2 => return Err(Error::Tampered),
            _ => return Err(Error::UnsupportedFormat("suite")),
        }
        if prefix[5] & !FLAG_PADDED != 0 || prefix[6..8] != [0, 0] {
            return Err(Error::UnsupportedFormat("flag of an object"));
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
        if tree.version().is_some_and(|shared| *shared != commitment) {
            return Err(Error::NotFound(
                "version any more as was shared: another one lies there now",
            ));
        }

        let known = u64::from(stamp) <= tree.head();
        let stale = Error::Stale("ledger");
        let held = tree.held(&collection, path);
        // Entries that are not at hand may hold the key; where the chain's key of
        // the epoch is at hand and does not fit, the object is not what was written.
        let has_key = held
            .as_ref()
            .is_some_and(|held| held.of_epoch(epoch).any(|e| !e.orphan));
        let refused = match (has_key, known) {
            (false, true) if tree.is_partial() => {
                Error::AccessDenied("written before access was given")
            }
            // A folder was mounted around what was given on, which nobody told its reader.
            (false, true) if tree.is_unfiled() => Error::AccessDenied(
                "written with keys of later: what was given on waits for the owner to file it",
            ),
            (true, _) | (false, true) => Error::Tampered,
            (false, false) => stale.clone(),
        };
        let Some(held) = held else {
            return Err(refused);
        };
        let mut candidates = held.of_epoch(epoch).map(|candidate| {
            let message = held.message_key(candidate, &salt);
            let cipher = with_context(vault, &prefix, &header[PREFIX..FRAME_END], |context| {
                MessageCipher::verify(message.expose_secret(), &salt, context, &commitment)
            })?;
            Ok((candidate, message, cipher))
        });
        let found = candidates.find_map(|c: Result<_>| c.ok());
        let (matching, message, cipher) = found.ok_or(refused)?;

        let closed = tree.closed_at(held.collection, matching, path);
        if tree.is_below_floor(held.collection, matching, path)
            || closed.is_some_and(|closed| closed <= stamp.into())
        {
            return Err(Error::Tampered);
        }
        if !known && tree.is_followed() {
            return Err(stale);
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
            message,
            vault: *vault,
            place,
            collection,
            epoch,
            closed: closed.is_some(),
            version,
            commitment,
            header: Sha256::digest(header).into(),
            writers: match suite {
                Suite::V1 => None,
                Suite::V2 => Some(Arc::clone(&held.collection.writers)),
            },
            ahead: !known,
        })
    }

    /// Whether a writer has signed the object: then its [`tail`](Self::tail) comes first.
    pub fn is_signed(&self) -> bool {
        self.writers.is_some()
    }

    /// Whether its writer, for all that whoever has a link knows, may be one who was
    /// added since: the link's record has to be read again.
    pub fn may_be_by_a_newer_writer(&self) -> bool {
        self.is_signed() && self.ahead
    }

    /// Names the header that was checked.
    pub fn header_hash(&self) -> &[u8; 32] {
        &self.header
    }

    /// Checks the end of a signed object, `bytes` being what [`Layout::tail`] says. From
    /// then on its length is no claim any more. Nothing of a signed object may be given
    /// out before, its metadata included.
    ///
    /// # Errors
    /// `Tampered` where nobody signed it who could write there in its epoch, or for
    /// another place or length.
    pub fn tail(&self, stored: &str, layout: &Layout, bytes: &[u8]) -> Result<Tail> {
        let writers = self.writers.as_ref().ok_or(Error::Tampered)?;
        let place = Signed {
            vault: &self.vault,
            stored,
            header: &self.header,
            plaintext: layout.plaintext_length(),
        };
        place.verify(writers, self.epoch, layout.groups(), bytes)
    }

    /// Opens consecutive chunks, as `Sealer::seal` takes them, into `plaintext`,
    /// which is shorter by 16 bytes a chunk. `leaves` are their hashes in a signed vault,
    /// which [`Tail::check`] has found to be right, and else empty. After an error nothing
    /// in `plaintext` may be used.
    ///
    /// # Errors
    /// `Tampered`.
    pub fn open(
        &self,
        first: u64,
        chunks: &[u8],
        leaves: &[u8],
        plaintext: &mut [u8],
    ) -> Result<()> {
        let count = chunks.len().div_ceil(SEALED_CHUNK);
        let hashes = if self.is_signed() { count * HASH } else { 0 };
        if plaintext.len() + TAG * count != chunks.len() || leaves.len() != hashes {
            return Err(Error::Tampered);
        }
        // An empty last chunk opens into nothing.
        let texts = plaintext
            .chunks_mut(CHUNK)
            .chain(std::iter::once_with(|| &mut [][..]));
        let mut known = leaves.chunks(HASH);
        for ((index, chunk), text) in (first..).zip(chunks.chunks(SEALED_CHUNK)).zip(texts) {
            if self.is_signed() && known.next() != Some(&leaf(chunk)[..]) {
                return Err(Error::Tampered);
            }
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
                let prefix = &self.place[..PREFIX];
                let key = AttributesKey::derive(
                    self.message.expose_secret(),
                    Label::ATTRIBUTES,
                    &[prefix],
                );
                let place = attributes_place(&self.vault, &self.place);
                let list = message::open(key.expose_secret(), &place, sealed)?;
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

    /// Its collection, and the key of this write and no other.
    pub(crate) fn key(&self) -> (&CollectionId, &MessageKey) {
        (&self.collection, &self.message)
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Ledger;
    use crate::aead::tests::OPENED;
    use crate::collection::{ContentKey, Epoch};
    use crate::layout::GROUP_CHUNKS;
    use crate::random::scripted::{self, Source};
    use crate::testing::{Vault, flips, pattern, phrase};
    use crate::two_keys::{Way, two_keys};
    use proptest::prelude::*;

    fn path(text: &str) -> VaultPath {
        VaultPath::parse(text).unwrap()
    }

    /// A whole object, and its attributes where they are outside. `known` says
    /// whether the length is known when the header is written.
    pub(crate) fn put(
        vault: &Vault,
        at: &str,
        version: u64,
        metadata: &Metadata,
        content: &[u8],
        known: bool,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let (id, ledger) = (vault.secrets.vault(), vault.ledger());
        let writer = (&id, vault.header().suite(), &**vault.secrets.identity());
        put_in(writer, ledger.tree(), at, version, metadata, content, known)
    }

    /// As `put`, with the keys and the ledger that a tree has.
    pub(crate) fn put_in(
        (id, suite, writer): (&VaultId, Suite, &Identity),
        tree: &Tree,
        at: &str,
        version: u64,
        metadata: &Metadata,
        content: &[u8],
        known: bool,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let length = known.then_some(content.len() as u64);
        let place = tree.store_path(&path(at)).unwrap().path;
        let vault = (id, suite);
        let sealer =
            Sealer::new(vault, tree, &path(at), writer, version, metadata, length).unwrap();
        let mut text = content.to_vec();
        let filler = sealer.filler(content.len() as u64).unwrap();
        text.resize(text.len() + filler.zeros as usize, 0);
        text.extend(filler.tail.iter().flatten());
        let object = seal_chunks(&sealer, &place, &text);
        let layout = Layout::of_plaintext(suite, text.len() as u64).unwrap();
        assert_eq!(layout.stored_length(), object.len() as u64);
        (object, sealer.attributes_outside().map(<[u8]>::to_vec))
    }

    pub(crate) fn seal_chunks(sealer: &Sealer, stored: &str, text: &[u8]) -> Vec<u8> {
        let mut object = sealer.header().to_vec();
        let mut trailer = Trailer::default();
        for index in 0..=text.len() / CHUNK {
            let mut chunk = text[index * CHUNK..text.len().min((index + 1) * CHUNK)].to_vec();
            chunk.extend_from_slice(&[0; TAG]);
            let leaves = sealer.seal(index as u64, &mut chunk).unwrap();
            object.extend_from_slice(&chunk);
            object.extend_from_slice(&trailer.push(&leaves));
        }
        object.extend_from_slice(&sealer.finish(trailer, stored, text.len() as u64));
        object
    }

    fn opener(vault: &Vault, at: &str, object: &[u8]) -> Result<Opener> {
        let header = object.first_chunk().ok_or(Error::Tampered)?;
        let id = vault.secrets.vault();
        let ledger = vault.ledger();
        // What counts from here on is the object's.
        OPENED.set(0);
        Opener::new(
            header,
            &id,
            vault.header().suite(),
            ledger.tree(),
            &path(at),
        )
    }

    /// What a careful reader does: header, length, signature, all of it.
    pub(crate) fn get(
        opener: &Opener,
        suite: Suite,
        place: &str,
        object: &[u8],
    ) -> Result<Vec<u8>> {
        let layout = Layout::of_stored(suite, object.len() as u64)?;
        let part = |range: std::ops::Range<u64>| &object[range.start as usize..range.end as usize];
        let signed = match opener.is_signed() {
            true => Some(opener.tail(place, &layout, part(layout.tail()))?),
            false => None,
        };
        let stored = layout.plaintext_length();
        let mut text = vec![0; stored as usize];
        for index in 0..layout.chunks() {
            let mut leaves = &[][..];
            if let Some(tail) = &signed {
                let block = part(layout.leaves(index / GROUP_CHUNKS));
                tail.check(index / GROUP_CHUNKS, block)?;
                leaves = &block[HASH * (index % GROUP_CHUNKS) as usize..][..HASH];
            }
            let start = index as usize * CHUNK;
            let end = text.len().min(start + CHUNK);
            opener.open(
                index,
                part(layout.chunk(index)),
                leaves,
                &mut text[start..end],
            )?;
        }
        let tail = text.last_chunk::<8>().copied();
        let length = opener.true_length(stored, tail)? as usize;
        let end = if opener.needs_tail() {
            text.len() - 8
        } else {
            text.len()
        };
        if text[length..end].iter().any(|byte| *byte != 0) {
            return Err(Error::Tampered);
        }
        text.truncate(length);
        Ok(text)
    }

    fn read(vault: &Vault, at: &str, object: &[u8]) -> Result<Vec<u8>> {
        let place = stored(vault, at);
        get(
            &opener(vault, at, object)?,
            vault.header().suite(),
            &place,
            object,
        )
    }

    fn stored(vault: &Vault, at: &str) -> String {
        vault.ledger().tree().store_path(&path(at)).unwrap().path
    }

    fn plain() -> Vault {
        Vault::make(false, &phrase(1))
    }

    fn signed() -> Vault {
        Vault::make_in(Suite::V2, false, &phrase(1))
    }

    fn simple(vault: &Vault, content: &[u8]) -> Vec<u8> {
        put(vault, "a/b", 7, &Metadata::default(), content, true).0
    }

    #[test]
    fn sizes_around_a_chunk() {
        for padded in [false, true] {
            let vault = Vault::make(padded, &phrase(1));
            for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
                for known in [true, false] {
                    let content = pattern(size);
                    let (object, _) = put(&vault, "a/b", 7, &Metadata::default(), &content, known);
                    assert_eq!(read(&vault, "a/b", &object), Ok(content));
                    let opener = opener(&vault, "a/b", &object).unwrap();
                    assert_eq!(opener.version(), 7);
                    assert_eq!(opener.needs_tail(), padded && !known);
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        for padded in [false, true] {
            let vault = Vault::make(padded, &phrase(1));
            for size in [0, 1, 33] {
                let object = simple(&vault, &pattern(size));
                for (at, changed) in flips(&object) {
                    let error = read(&vault, "a/b", &changed).unwrap_err();
                    match at {
                        3..=7 => assert!(matches!(
                            error,
                            Error::UnsupportedFormat(_) | Error::Tampered
                        )),
                        _ => assert_eq!(error, Error::Tampered, "byte {at}"),
                    }
                    // The commitment covers all of the header: no AEAD call.
                    let calls = if at < HEADER_LENGTH { 0 } else { 2 };
                    assert_eq!(OPENED.get(), calls, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let vault = plain();
        for size in [0, 1, 33] {
            let object = simple(&vault, &pattern(size));
            for length in 0..object.len() {
                assert_eq!(read(&vault, "a/b", &object[..length]), Err(Error::Tampered));
            }
            for more in [1, 15, 16, 17, SEALED_CHUNK] {
                let longer = [&object[..], &vec![0; more]].concat();
                assert_eq!(read(&vault, "a/b", &longer), Err(Error::Tampered));
            }
            let twice = [&object[..], &object].concat();
            assert_eq!(read(&vault, "a/b", &twice), Err(Error::Tampered));
        }
        let long = simple(&vault, &pattern(3 * CHUNK + 17));
        for chunks in 0..=3 {
            let border = HEADER_LENGTH + chunks * SEALED_CHUNK;
            for length in border - 20..border + 40 {
                if length < long.len() {
                    assert_eq!(
                        read(&vault, "a/b", &long[..length]),
                        Err(Error::Tampered),
                        "{length}"
                    );
                }
            }
        }
    }

    #[test]
    fn chunks_and_headers_do_not_mix() {
        let vault = plain();
        let content = pattern(3 * CHUNK + 17);
        let objects = [simple(&vault, &content), simple(&vault, &content)];
        let chunks = |object: &[u8]| -> Vec<Vec<u8>> {
            let chunks = object[HEADER_LENGTH..].chunks(SEALED_CHUNK);
            chunks.map(<[u8]>::to_vec).collect()
        };
        let (ours, theirs) = (chunks(&objects[0]), chunks(&objects[1]));
        let whole = |header: usize, chunks: &[Vec<u8>]| {
            [&objects[header][..HEADER_LENGTH], &chunks.concat()].concat()
        };
        assert_eq!(read(&vault, "a/b", &whole(0, &ours)), Ok(content));
        assert!(read(&vault, "a/b", &whole(1, &ours)).is_err());
        // Every mix of two versions but the two themselves.
        for mask in 1..15u8 {
            let mixed: Vec<Vec<u8>> = (0..4)
                .map(|i| if mask & 1 << i == 0 { &ours } else { &theirs }[i].clone())
                .collect();
            assert_eq!(
                read(&vault, "a/b", &whole(0, &mixed)),
                Err(Error::Tampered),
                "{mask:04b}"
            );
        }
        for i in 0..4 {
            for j in 0..i {
                let mut swapped = ours.clone();
                swapped.swap(i, j);
                assert!(read(&vault, "a/b", &whole(0, &swapped)).is_err());
            }
            let mut dropped = ours.clone();
            dropped.remove(i);
            assert!(read(&vault, "a/b", &whole(0, &dropped)).is_err());
            let mut doubled = ours.clone();
            doubled.insert(i, ours[i].clone());
            assert!(read(&vault, "a/b", &whole(0, &doubled)).is_err());
        }
    }

    #[test]
    fn an_object_opens_in_its_place_alone() {
        let vault = plain();
        let object = simple(&vault, b"x");
        for other in ["a", "b", "a/c", "b/b", "a/b/b", "ab", "a/B"] {
            assert_eq!(
                read(&vault, other, &object),
                Err(Error::Tampered),
                "{other}"
            );
            assert_eq!(OPENED.get(), 0);
        }
        // Another vault has neither the collection nor its key.
        assert_eq!(read(&plain(), "a/b", &object), Err(Error::Tampered));
        // The same keys under another vault id.
        let id = plain().secrets.vault();
        let header = object.first_chunk().unwrap();
        let ledger = vault.ledger();
        OPENED.set(0);
        let found = Opener::new(header, &id, Suite::V1, ledger.tree(), &path("a/b"));
        assert_eq!(found.unwrap_err(), Error::Tampered);
        assert_eq!(OPENED.get(), 0);
    }

    #[test]
    fn l07_epochs_close() {
        let mut vault = plain();
        let old = simple(&vault, b"old");
        let key = vault.ledger().root().epochs[0].key.duplicate();
        vault.rotate(&[phrase(1)]);
        vault.append();
        let new = simple(&vault, b"new");
        assert_eq!(read(&vault, "a/b", &old).as_deref(), Ok(&b"old"[..]));
        assert_eq!(read(&vault, "a/b", &new).as_deref(), Ok(&b"new"[..]));
        let old = opener(&vault, "a/b", &old).unwrap();
        assert_eq!((old.epoch(), old.is_closed()), (0, true));
        let opened = opener(&vault, "a/b", &new).unwrap();
        assert_eq!((opened.epoch(), opened.is_closed()), (1, false));

        // Someone who kept the old key writes under it, with the stamp of a
        // ledger that says it is closed, and as if he had not seen that.
        vault.append();
        let mut ledger = vault.ledger();
        ledger.root_mut().epochs = vec![crate::collection::Epoch {
            number: 0,
            opened: 0,
            orphan: false,
            key,
        }];
        let id = vault.secrets.vault();
        let forged = |ledger: &Ledger| {
            let sealer = Sealer::new(
                (&id, Suite::V1),
                ledger.tree(),
                &path("a/b"),
                vault.secrets.identity(),
                9,
                &Metadata::default(),
                None,
            )
            .unwrap();
            seal_chunks(&sealer, "o", b"late")
        };
        assert_eq!(read(&vault, "a/b", &forged(&ledger)), Err(Error::Tampered));
        ledger.set_head(1);
        assert_eq!(read(&vault, "a/b", &forged(&ledger)), Err(Error::Tampered));
        ledger.set_head(0);
        assert!(
            read(&vault, "a/b", &forged(&ledger)).is_ok(),
            "a frozen writer"
        );
        // A stamp beyond the ledger at hand: read it again.
        ledger.set_head(3);
        ledger.root_mut().epochs[0].number = 2;
        let beyond = forged(&ledger);
        assert_eq!(
            read(&vault, "a/b", &beyond),
            Err(Error::Stale("ledger")),
            "a key that is not ours yet"
        );
        let mut ledger = vault.ledger();
        ledger.set_head(3);
        assert_eq!(
            read(&vault, "a/b", &forged(&ledger)),
            Err(Error::Stale("ledger"))
        );
    }

    #[test]
    fn l07_epochs_below_the_floor_are_refused() {
        let mut vault = plain();
        let object = simple(&vault, b"x");
        vault.rotate(&[phrase(1)]);
        vault.append();
        let header = object.first_chunk().unwrap();
        let id = vault.secrets.vault();
        let mut ledger = vault.ledger();
        let open = |ledger: &Ledger| {
            Opener::new(header, &id, Suite::V1, ledger.tree(), &path("a/b")).map(drop)
        };
        assert_eq!(open(&ledger), Ok(()));
        ledger.root_mut().floor = 1;
        assert_eq!(open(&ledger), Err(Error::Tampered));
    }

    #[test]
    fn one_of_several_keys_of_an_epoch_opens() {
        let vault = plain();
        let object = simple(&vault, b"x");
        let header = object.first_chunk().unwrap();
        let id = vault.secrets.vault();
        let mut ledger = vault.ledger();
        for _ in 0..3 {
            let key = ContentKey::make().unwrap();
            ledger.root_mut().insert(Epoch {
                number: 0,
                opened: 0,
                orphan: true,
                key,
            });
        }
        assert_eq!(ledger.root().epochs.len(), 4);
        let opener = Opener::new(header, &id, Suite::V1, ledger.tree(), &path("a/b")).unwrap();
        assert_eq!(
            get(&opener, Suite::V1, "o", &object).as_deref(),
            Ok(&b"x"[..])
        );
    }

    /// A writer who would show one object to two readers with two contents: he gives
    /// them other keys, under which the cipher takes the frame, or the content.
    #[test]
    fn g01_g02_l13_two_readers_of_one_object_see_one_content() {
        let vault = plain();
        let (id, ledger) = (vault.secrets.vault(), vault.ledger());
        let collection = ledger.root().id();
        let trees = [1, 2].map(|byte| {
            let mut tree = ledger.tree().duplicate();
            let key = ContentKey::init_with(|key| *key = [byte; 32]);
            tree.get_mut(&collection).unwrap().epochs[0].key = key;
            tree
        });
        let open = |object: &[u8], tree: &Tree| {
            OPENED.set(0);
            let header = object.first_chunk().unwrap();
            let opener = Opener::new(header, &id, Suite::V1, tree, &path("a"))?;
            get(&opener, Suite::V1, "o/a", object)
        };
        let read_by = |object: &[u8], tree: &Tree| (open(object, tree), OPENED.get());
        for n in 0..1_000usize {
            let (version, length) = (n as u64, 32 + n % 100);
            let writer = vault.secrets.identity();
            let metadata = Metadata::default();
            let to = (&id, Suite::V1);
            let sealer = Sealer::new(to, &trees[0], &path("a"), writer, version, &metadata, None);
            let mut header = *sealer.unwrap().header();
            let prefix: [u8; PREFIX] = header[..PREFIX].try_into().unwrap();
            let salt: [u8; SALT] = header[FRAME_END..SALT_END].try_into().unwrap();
            let messages = trees.each_ref().map(|tree| {
                let key = &tree.get(&collection).unwrap().epochs[0].key;
                key.object_key(&path("a")).message_key(&salt)
            });
            let forged_frame = n % 2 == 1;
            if forged_frame {
                let ways = messages.each_ref().map(|message| Way {
                    key: *MetadataKey::derive(message.expose_secret(), Label::METADATA, &[&prefix])
                        .expose_secret(),
                    nonce: [0; 12],
                    aad: frame_aad(&prefix, &salt).to_vec(),
                });
                let frame = two_keys([&ways[0], &ways[1]], vec![0; FRAME]);
                header[PREFIX..FRAME_END].copy_from_slice(&frame);
            }
            let made = messages.each_ref().map(|message| {
                with_context(&id, &prefix, &header[PREFIX..FRAME_END], |context| {
                    Way::message(message.expose_secret(), &salt, context)
                })
            });
            let body = two_keys([&made[0].0, &made[1].0], vec![0; length]);
            for committed in [0, 1] {
                header[SALT_END..].copy_from_slice(&made[committed].1);
                let object = [&header[..], &body].concat();
                let (right, wrong) = (&trees[committed], &trees[1 - committed]);
                assert_eq!(read_by(&object, wrong), (Err(Error::Tampered), 0));
                let (found, opened) = read_by(&object, right);
                if forged_frame || committed == 1 {
                    // One call, of the frame, which is none.
                    assert!(found.is_err() && opened == 1, "{found:?}");
                    continue;
                }
                let stream = made[0].0.stream(length);
                let text: Vec<u8> = stream.iter().zip(&body).map(|(a, b)| a ^ b).collect();
                assert_eq!((found.as_ref(), opened), (Ok(&text), 2));
                // Who holds both keys, by two letters or an orphan, reads the same.
                let mut both = right.duplicate();
                let Epoch { number, opened, .. } = right.get(&collection).unwrap().epochs[0];
                both.get_mut(&collection).unwrap().insert(Epoch {
                    number,
                    opened,
                    orphan: true,
                    key: wrong.get(&collection).unwrap().epochs[0].key.duplicate(),
                });
                assert_eq!(open(&object, &both).as_ref(), Ok(&text));
                // And so it is with grants of this one version.
                let first = object.first_chunk().unwrap();
                let write = Opener::new(first, &id, Suite::V1, right, &path("a")).unwrap();
                let mut version = right.of_version(&path("a"), &write).unwrap();
                version.set_head(right.head());
                assert_eq!(open(&object, &version).as_ref(), Ok(&text));
                let key = ContentKey::init_with(|key| *key = *messages[1].expose_secret());
                version.get_mut(&collection).unwrap().epochs[0].key = key;
                assert_eq!(read_by(&object, &version), (Err(Error::Tampered), 0));
            }
        }
    }

    /// An entry that lost its number gave its key to somebody who was revoked since: the
    /// chain's epoch of the same number closes that one, and a floor refuses it.
    #[test]
    fn f12_l07_the_key_of_an_orphan_is_closed_by_the_epoch_in_its_place() {
        let vault = plain();
        let (id, ledger) = (vault.secrets.vault(), vault.ledger());
        let collection = ledger.root().id();
        let [lost, won] = [7, 8].map(|byte| move || ContentKey::init_with(|key| *key = [byte; 32]));
        let tree_at = |head: u64, opened: u64, key: ContentKey| {
            let mut tree = ledger.tree().duplicate();
            tree.get_mut(&collection)
                .unwrap()
                .open(1, opened, key)
                .unwrap();
            tree.set_head(head);
            tree
        };
        let write = |tree: &Tree| {
            let to = (&id, Suite::V1);
            let (writer, metadata) = (vault.secrets.identity(), Metadata::default());
            let sealer = Sealer::new(to, tree, &path("a"), writer, 1, &metadata, None);
            *sealer.unwrap().header()
        };
        let mut ours = tree_at(5, 3, won());
        ours.get_mut(&collection).unwrap().insert(Epoch {
            number: 1,
            opened: 2,
            orphan: true,
            key: lost(),
        });
        let open = |header: &[u8; HEADER_LENGTH], ours: &Tree| {
            Opener::new(header, &id, Suite::V1, ours, &path("a")).map(|opener| opener.closed)
        };
        let [in_time, planted] = [2, 3].map(|stamp| write(&tree_at(stamp, 2, lost())));
        let good = write(&tree_at(5, 3, won()));
        assert_eq!(open(&in_time, &ours), Ok(true));
        assert_eq!(open(&planted, &ours), Err(Error::Tampered));
        assert_eq!(open(&good, &ours), Ok(false));
        // At the orphan's own number somebody wrote who had read its claim back.
        let mut same = tree_at(5, 2, won());
        same.get_mut(&collection).unwrap().insert(Epoch {
            number: 1,
            opened: 2,
            orphan: true,
            key: lost(),
        });
        assert_eq!(open(&in_time, &same), Ok(true));
        ours.get_mut(&collection).unwrap().floor = 1;
        assert_eq!(open(&in_time, &ours), Err(Error::Tampered));
        assert_eq!(open(&good, &ours), Ok(false));
        let whole = ours.part(&crate::tree::Scope::Folder(None), None).unwrap();
        assert_eq!(
            whole.get(&collection).unwrap().epochs.len(),
            1,
            "in no letter"
        );
    }

    /// A time is the writer's word: the first and the last that there is are read, and
    /// what is written later, by the honest clock, takes the place of either.
    #[test]
    fn l10_a_version_of_any_time_is_read_and_bound() {
        let vault = plain();
        for version in [0, 1, u64::MAX - 1, u64::MAX] {
            let (object, _) = put(&vault, "a/b", version, &Metadata::default(), b"x", true);
            assert_eq!(opener(&vault, "a/b", &object).unwrap().version(), version);
            assert_eq!(read(&vault, "a/b", &object), Ok(b"x".to_vec()));
            for bit in 16 * 8..24 * 8 {
                let mut changed = object.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&vault, "a/b", &changed), Err(Error::Tampered));
            }
        }
    }

    #[test]
    fn headers_of_other_versions() {
        let vault = plain();
        let object = simple(&vault, b"x");
        for (at, right) in object[..8].iter().enumerate() {
            for byte in (0..=255).filter(|byte| byte != right) {
                let mut changed = object.clone();
                changed[at] = byte;
                let found = read(&vault, "a/b", &changed);
                // The flag for padding and suite 2 are known, and not this object's.
                if at < 3 || (at, byte) == (4, 2) || (at, byte) == (5, 1) {
                    assert_eq!(found, Err(Error::Tampered), "{at} {byte}");
                } else {
                    assert!(
                        matches!(found, Err(Error::UnsupportedFormat(_))),
                        "{at} {byte}"
                    );
                }
            }
        }
    }

    fn with_attributes(size: usize) -> Metadata {
        // The array, "meta:x" and the length of its value take 10 bytes.
        let value = "v".repeat(size);
        Metadata {
            attributes: [("meta:x".to_owned(), value)].into(),
            ..Metadata::default()
        }
    }

    #[test]
    fn metadata_comes_back() {
        let mtime = |seconds, nanoseconds| {
            Some(Mtime {
                seconds,
                nanoseconds,
            })
        };
        let attributes = |pairs: &[(&str, &str)]| {
            let own = pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            own.collect::<BTreeMap<_, _>>()
        };
        let several = attributes(&[("content-type", "text/plain"), ("meta:", "")]);
        assert!(several.len() == 2);
        for padded in [false, true] {
            let vault = Vault::make(padded, &phrase(1));
            for metadata in [
                Metadata::default(),
                Metadata {
                    mtime: mtime(0, 0),
                    expires: Some(0),
                    attributes: BTreeMap::new(),
                },
                Metadata {
                    mtime: mtime(-1, 999_999_999),
                    expires: Some(u64::MAX),
                    attributes: attributes(&[("content-type", "text/plain"), ("meta:é", "")]),
                },
                Metadata {
                    mtime: mtime(i64::MIN, 1),
                    ..with_attributes(1_300)
                },
                Metadata {
                    mtime: mtime(i64::MAX, 0),
                    ..with_attributes(60)
                },
            ] {
                let (object, outside) = put(&vault, "a", 1, &metadata, b"x", false);
                let opener = opener(&vault, "a", &object).unwrap();
                assert_eq!(opener.metadata(outside.as_deref()), Ok(metadata));
            }
        }
    }

    #[test]
    fn attributes_move_outside_above_80_bytes() {
        let vault = plain();
        let length = |m: &Metadata| AttributeList(m.attributes.clone()).encode().len();
        let fits = (0..200)
            .rfind(|n| length(&with_attributes(*n)) <= 80)
            .unwrap();
        let inside = with_attributes(fits);
        let outside = with_attributes(fits + 1);
        assert_eq!((length(&inside), length(&outside)), (80, 81));
        let (object, none) = put(&vault, "a", 1, &inside, b"", true);
        assert_eq!(none, None);
        let found = opener(&vault, "a", &object).unwrap();
        assert_eq!(found.metadata(None), Ok(inside.clone()));
        // Attributes that nobody announced are not believed.
        assert_eq!(found.metadata(Some(b"x")), Ok(inside));

        let (object, sealed) = put(&vault, "a", 1, &outside, b"", true);
        let sealed = sealed.unwrap();
        let found = opener(&vault, "a", &object).unwrap();
        assert_eq!(found.metadata(Some(&sealed)), Ok(outside.clone()));
        assert_eq!(found.metadata(None), Err(Error::Tampered));
        for (_, changed) in flips(&sealed) {
            assert_eq!(found.metadata(Some(&changed)), Err(Error::Tampered));
        }
        for length in 0..sealed.len() {
            assert_eq!(
                found.metadata(Some(&sealed[..length])),
                Err(Error::Tampered)
            );
        }
        let (_, other) = put(&vault, "a", 1, &outside, b"", true);
        assert_eq!(
            found.metadata(other.as_deref()),
            Err(Error::Tampered),
            "of another write"
        );
        assert!(matches!(
            found.metadata(Some(&[0; 1_501])),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn attributes_that_cannot_be_written() {
        let vault = plain();
        let id = vault.secrets.vault();
        let new = |metadata: &Metadata| {
            Sealer::new(
                (&id, Suite::V1),
                vault.ledger().tree(),
                &path("a"),
                vault.secrets.identity(),
                1,
                metadata,
                None,
            )
            .map(drop)
        };
        assert_eq!(new(&with_attributes(1_400)), Ok(()));
        let pair = |name: &str| Metadata {
            attributes: [(name.to_owned(), "v".to_owned())].into(),
            ..Metadata::default()
        };
        let many = Metadata {
            attributes: (0..65)
                .map(|i| (format!("meta:{i}"), String::new()))
                .collect(),
            ..Metadata::default()
        };
        let time = Metadata {
            mtime: Some(Mtime {
                seconds: 0,
                nanoseconds: 1_000_000_000,
            }),
            ..Metadata::default()
        };
        for bad in [
            with_attributes(1_600),
            with_attributes(100_000),
            pair("meta:"),
            pair("Content-Type"),
            pair("x"),
            pair(""),
            many,
            time,
        ] {
            assert!(matches!(new(&bad), Err(Error::InvalidInput(_))), "{bad:?}");
        }
    }

    /// A sealer whose frame is any 144 bytes: what a writer could do who holds
    /// the keys and not the rules.
    pub(crate) fn seal_with_frame(
        vault: &Vault,
        at: &str,
        frame: &[u8; FRAME],
        text: &[u8],
    ) -> Vec<u8> {
        seal_with(vault, at, |_, _, _| *frame, text)
    }

    /// As `seal_with_frame`, where the frame depends on the keys of the write.
    fn seal_with(
        vault: &Vault,
        at: &str,
        frame: impl FnOnce(&MessageKey, &[u8; PREFIX], &[u8; PREFIX + SALT]) -> [u8; FRAME],
        text: &[u8],
    ) -> Vec<u8> {
        let id = vault.secrets.vault();
        let ledger = vault.ledger();
        let metadata = Metadata::default();
        let sealer = Sealer::new(
            (&id, Suite::V1),
            ledger.tree(),
            &path(at),
            vault.secrets.identity(),
            1,
            &metadata,
            Some(0),
        )
        .unwrap();
        let mut header = *sealer.header();
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header[..PREFIX]);
        let salt: [u8; SALT] = header[FRAME_END..SALT_END].try_into().unwrap();
        let key = ledger.root().current().unwrap().key.object_key(&path(at));
        let message = MessageKey::derive(key.expose_secret(), Label::MESSAGE, &[&salt]);
        let key = MetadataKey::derive(message.expose_secret(), Label::METADATA, &[&prefix]);
        let mut sealed = frame(&message, &prefix, &frame_aad(&prefix, &salt));
        let mut tag = [0; TAG];
        Aead::new(key.expose_secret())
            .seal(&[0; 12], &frame_aad(&prefix, &salt), &mut sealed, &mut tag)
            .unwrap();
        header[PREFIX..PREFIX + FRAME].copy_from_slice(&sealed);
        header[PREFIX + FRAME..FRAME_END].copy_from_slice(&tag);
        let (cipher, commitment) = with_context(&id, &prefix, &header[PREFIX..FRAME_END], |c| {
            MessageCipher::derive(message.expose_secret(), &salt, c)
        });
        header[SALT_END..].copy_from_slice(&commitment);
        let sealer = Sealer {
            vault: id,
            signer: None,
            header,
            cipher,
            length: TrueLength::Unpadded,
            attributes: None,
        };
        seal_chunks(&sealer, "o", text)
    }

    #[test]
    fn every_rule_of_the_frame() {
        let vaults = [plain(), Vault::make(true, &phrase(1))];
        let base = |padded: usize| {
            let mut frame = [0; FRAME];
            frame[0] = 1;
            frame[1] = if padded == 1 { 4 } else { 0 };
            frame
        };
        let check = |padded: usize, change: &dyn Fn(&mut [u8; FRAME])| {
            let mut frame = base(padded);
            change(&mut frame);
            let object = seal_with_frame(&vaults[padded], "a", &frame, b"");
            let opener = opener(&vaults[padded], "a", &object)?;
            opener.metadata(None)?;
            get(&opener, Suite::V1, "o", &object)
        };
        for padded in [0, 1] {
            assert_eq!(check(padded, &|_| ()), Ok(Vec::new()));
            // A byte that no flag announces.
            for at in 2..FRAME {
                if padded == 1 && (24..32).contains(&at) {
                    continue;
                }
                assert_eq!(
                    check(padded, &|f| f[at] = 1),
                    Err(Error::Tampered),
                    "byte {at}"
                );
            }
            for version in [0, 2, 255] {
                assert!(matches!(
                    check(padded, &|f| f[0] = version),
                    Err(Error::UnsupportedFormat(_))
                ));
            }
            for flag in [32, 64, 128] {
                assert!(matches!(
                    check(padded, &|f| f[1] |= flag),
                    Err(Error::UnsupportedFormat(_))
                ));
            }
            // Flags of what may be zero.
            assert_eq!(check(padded, &|f| f[1] |= 3), Ok(Vec::new()));
            // Nanoseconds.
            let time = |n: u32| {
                check(padded, &move |f| {
                    f[1] |= 1;
                    f[4..8].copy_from_slice(&n.to_be_bytes());
                })
            };
            assert_eq!(time(999_999_999), Ok(Vec::new()));
            assert_eq!(time(1_000_000_000), Err(Error::Tampered));
            assert_eq!(time(u32::MAX), Err(Error::Tampered));
            // Attributes: longer than their place, empty, and in both places.
            let list = AttributeList(with_attributes(3).attributes).encode();
            let attributes = |length: u16, flags: u8| {
                let list = list.clone();
                check(padded, &move |f| {
                    f[1] |= flags;
                    f[2..4].copy_from_slice(&length.to_be_bytes());
                    f[64..64 + list.len()].copy_from_slice(&list);
                })
            };
            let length = list.len() as u16;
            assert_eq!(attributes(length, 0), Ok(Vec::new()));
            for (length, flags) in [
                (length - 1, 0),
                (length + 1, 0),
                (80, 0),
                (81, 0),
                (u16::MAX, 0),
                (length, 16),
            ] {
                assert_eq!(attributes(length, flags), Err(Error::Tampered));
            }
            assert_eq!(check(padded, &|f| f[1] |= 16), Err(Error::Tampered));
        }
        for (padded, flags) in [(0, 4), (0, 8), (0, 12), (1, 0), (1, 12)] {
            assert_eq!(
                check(padded, &|f| f[1] = flags),
                Err(Error::Tampered),
                "{padded} {flags}"
            );
        }
        for list in [
            &[0x80][..],
            &[0x81, 0x61, b'a'],
            &[0x82, 0x61, b'a', 0x60],
            &[0x82, 0x65, b'm', b'e', b't', b'a', b':', 0x60],
            &[
                0x84, 0x66, b'm', b'e', b't', b'a', b':', b'b', 0x60, 0x66, b'm', b'e', b't', b'a',
                b':', b'a', 0x60,
            ],
            &[
                0x84, 0x66, b'm', b'e', b't', b'a', b':', b'a', 0x60, 0x66, b'm', b'e', b't', b'a',
                b':', b'a', 0x60,
            ],
            &[0x82, 0x66, b'm', b'e', b't', b'a', b':', b'a', 0x61, 0xff],
        ] {
            let found = check(0, &|f| {
                f[3] = list.len() as u8;
                f[64..64 + list.len()].copy_from_slice(list);
            });
            assert_eq!(found, Err(Error::Tampered), "{list:x?}");
        }
    }

    /// Attributes have one place: what fits inside is not taken from outside,
    /// also if a holder of the keys put it there.
    #[test]
    fn short_attributes_outside_are_refused() {
        let vault = plain();
        let id = vault.secrets.vault();
        for (size, expected) in [(10, Err(Error::Tampered)), (100, Ok(()))] {
            let mut outside = Vec::new();
            let frame = |message: &MessageKey, prefix: &[u8; PREFIX], place: &_| {
                let key =
                    AttributesKey::derive(message.expose_secret(), Label::ATTRIBUTES, &[prefix]);
                let list = AttributeList(with_attributes(size).attributes).encode();
                let place = attributes_place(&id, place);
                outside = message::seal(key.expose_secret(), &place, &list).unwrap();
                let frame = Frame {
                    mtime: None,
                    expires: None,
                    length: TrueLength::Unpadded,
                    inside: Vec::new(),
                    outside: Some(Sha256::digest(&outside).into()),
                };
                frame.write()
            };
            let object = seal_with(&vault, "a", frame, b"");
            let opener = opener(&vault, "a", &object).unwrap();
            assert_eq!(opener.metadata(Some(&outside)).map(drop), expected);
        }
    }

    #[test]
    fn a_frame_names_one_place_for_attributes() {
        let frame = |inside: Vec<u8>, outside| Frame {
            mtime: None,
            expires: None,
            length: TrueLength::Unpadded,
            inside,
            outside,
        };
        let hash = Some([1; 32]);
        for (frame, is_good) in [
            (frame(vec![1], None), true),
            (frame(Vec::new(), hash), true),
            (frame(vec![1], hash), false),
        ] {
            assert_eq!(Frame::read(&frame.write(), false).is_ok(), is_good);
        }
    }

    #[test]
    fn every_rule_of_padding() {
        let vault = Vault::make(true, &phrase(1));
        let known = |length: u64, text: &[u8]| {
            let mut frame = [0; FRAME];
            frame[..2].copy_from_slice(&[1, 4]);
            frame[24..32].copy_from_slice(&length.to_be_bytes());
            read(&vault, "a", &seal_with_frame(&vault, "a", &frame, text))
        };
        let stream = |text: &[u8], length: u64| {
            let mut frame = [0; FRAME];
            frame[..2].copy_from_slice(&[1, 8]);
            let text = [text, &length.to_be_bytes()].concat();
            read(&vault, "a", &seal_with_frame(&vault, "a", &frame, &text))
        };
        // Nine become ten.
        assert_eq!(known(9, &[5, 5, 5, 5, 5, 5, 5, 5, 5, 0]), Ok(vec![5; 9]));
        assert_eq!(known(9, &[5; 10]), Err(Error::Tampered), "filler");
        assert_eq!(known(9, &[5; 9]), Err(Error::Tampered), "not padded");
        assert_eq!(known(8, &[0; 10]), Err(Error::Tampered), "too much");
        assert_eq!(known(11, &[0; 10]), Err(Error::Tampered), "beyond the end");
        assert_eq!(known(u64::MAX, &[0; 10]), Err(Error::Tampered));
        // 1 + 8 become ten: one byte, one zero, eight of length.
        assert_eq!(stream(&[5, 0], 1), Ok(vec![5]));
        assert_eq!(stream(&[5, 5], 1), Err(Error::Tampered), "filler");
        assert_eq!(stream(&[5, 5], 2), Ok(vec![5, 5]));
        assert_eq!(stream(&[], 0), Ok(vec![]));
        assert_eq!(stream(&[0, 0], 0), Err(Error::Tampered), "too much");
        assert_eq!(stream(&[0, 0], 3), Err(Error::Tampered), "beyond the end");
        assert_eq!(stream(&[0, 0], u64::MAX), Err(Error::Tampered));
        assert_eq!(stream(&[0, 0], u64::MAX - 7), Err(Error::Tampered));
        // No room for the length.
        let mut frame = [0; FRAME];
        frame[..2].copy_from_slice(&[1, 8]);
        let short = seal_with_frame(&vault, "a", &frame, &[0; 7]);
        assert_eq!(read(&vault, "a", &short), Err(Error::Tampered));
    }

    #[test]
    fn the_content_is_as_long_as_was_announced() {
        let vault = Vault::make(true, &phrase(1));
        let id = vault.secrets.vault();
        let metadata = Metadata::default();
        let new = |length| {
            Sealer::new(
                (&id, Suite::V1),
                vault.ledger().tree(),
                &path("a"),
                vault.secrets.identity(),
                1,
                &metadata,
                length,
            )
            .unwrap()
        };
        let known = new(Some(9));
        assert_eq!(
            known.filler(9),
            Ok(Filler {
                zeros: 1,
                tail: None
            })
        );
        for other in [0, 8, 10, u64::MAX] {
            assert!(matches!(known.filler(other), Err(Error::InvalidInput(_))));
        }
        assert!(matches!(
            new(None).filler(u64::MAX),
            Err(Error::LimitExceeded(_))
        ));
        assert!(new(None).filler(u64::MAX - 8).is_ok());
        assert!(new(Some(u64::MAX)).filler(u64::MAX).is_ok());
    }

    #[test]
    fn l22_two_writes_of_one_path_share_nothing_even_if_randomness_repeats() {
        let vault = plain();
        let id = vault.secrets.vault();
        let ledger = vault.ledger();
        let write = |version, content: &[u8]| {
            let metadata = Metadata::default();
            let sealer = Sealer::new(
                (&id, Suite::V1),
                ledger.tree(),
                &path("a"),
                vault.secrets.identity(),
                version,
                &metadata,
                None,
            )
            .unwrap();
            seal_chunks(&sealer, "o", content)
        };
        let salt = |object: &[u8]| object[FRAME_END..SALT_END].to_vec();
        // One process: the counter tells its writes apart.
        let (a, b) = scripted::with(Source::Constant(0), || {
            (write(5, b"same"), write(5, b"same"))
        });
        assert_ne!(salt(&a), salt(&b));
        assert_ne!(a[HEADER_LENGTH..], b[HEADER_LENGTH..]);
        // Two clones of one machine: the clock does.
        let clone = |version| scripted::with(Source::Constant(0), || write(version, b"same"));
        assert_ne!(salt(&clone(5)), salt(&clone(6)));
        // And where nothing differs, the whole object is the same one.
        assert_eq!(clone(5), clone(5));
        scripted::with(Source::Broken, || {
            let metadata = Metadata::default();
            let found = Sealer::new(
                (&id, Suite::V1),
                ledger.tree(),
                &path("a"),
                vault.secrets.identity(),
                1,
                &metadata,
                None,
            );
            assert_eq!(found.unwrap_err(), Error::Randomness);
        });
    }

    #[test]
    fn buffers_of_another_length_are_refused() {
        let vault = plain();
        let object = simple(&vault, &pattern(CHUNK + 5));
        let opener = opener(&vault, "a/b", &object).unwrap();
        let chunks = &object[HEADER_LENGTH..];
        for length in [0, 5, CHUNK, CHUNK + 4, CHUNK + 6, 3 * CHUNK] {
            OPENED.set(0);
            let mut text = vec![0xaa; length];
            assert_eq!(opener.open(0, chunks, &[], &mut text), Err(Error::Tampered));
            assert_eq!(OPENED.get(), 0);
            assert_eq!(text, vec![0xaa; length]);
        }
        let mut text = vec![0; 5];
        opener
            .open(1, &chunks[SEALED_CHUNK..], &[], &mut text)
            .unwrap();
        assert_eq!(text, pattern(CHUNK + 5)[CHUNK..]);
        assert_eq!(
            opener.open(0, &chunks[SEALED_CHUNK..], &[], &mut text),
            Err(Error::Tampered)
        );
        assert_eq!(opener.open(0, &[], &[], &mut []), Ok(()));
        for length in 1..TAG {
            let short = &chunks[..length];
            assert_eq!(opener.open(0, short, &[], &mut []), Err(Error::Tampered));
        }
    }

    #[test]
    fn every_bit_of_a_signed_object_counts_and_every_length() {
        let vault = signed();
        for size in [0, 1, 33, CHUNK] {
            let object = simple(&vault, &pattern(size));
            assert_eq!(read(&vault, "a/b", &object), Ok(pattern(size)));
            for (at, changed) in flips(&object) {
                if size == CHUNK && (300..HEADER_LENGTH + CHUNK).contains(&at) && at % 97 > 0 {
                    continue;
                }
                let error = read(&vault, "a/b", &changed).unwrap_err();
                if !(3..8).contains(&at) {
                    assert_eq!(error, Error::Tampered, "byte {at}");
                }
                // Before what is damaged is decrypted: the metadata's frame was, and a
                // chunk before it.
                let before = usize::from(at >= HEADER_LENGTH + SEALED_CHUNK && size == CHUNK);
                assert!(OPENED.get() as usize <= 1 + before, "byte {at}");
            }
            for length in 0..object.len() {
                assert_eq!(read(&vault, "a/b", &object[..length]), Err(Error::Tampered));
            }
        }
    }

    /// A reader has every key but no writer's, and makes up a chunk, an
    /// object, a signature of his own.
    #[test]
    fn f06_f07_f09_l09_who_may_not_write_signs_nothing_that_counts() {
        let vault = signed();
        let (id, ledger) = (vault.secrets.vault(), vault.ledger());
        let reader = Identity::make(crate::IdentitySuite::XWing, 1).unwrap();
        let write = |identity: &Identity, ledger: &Ledger, at: &str| {
            let writer = (&id, Suite::V2, identity);
            put_in(
                writer,
                ledger.tree(),
                at,
                9,
                &Metadata::default(),
                b"forged",
                true,
            )
            .0
        };
        let no = Sealer::new(
            (&id, Suite::V2),
            ledger.tree(),
            &path("a/b"),
            &reader,
            9,
            &Metadata::default(),
            None,
        );
        assert!(matches!(no, Err(Error::AccessDenied(_))));
        // What he would write who changed his own copy of the list.
        let mut his = vault.ledger();
        let key = *reader.card().signing_key();
        let writers = &mut his.root_mut().writers;
        Arc::make_mut(writers).add(key, 0).unwrap();
        let forged = write(&reader, &his, "a/b");
        assert_eq!(read(&vault, "a/b", &forged), Err(Error::Tampered));
        // With the owner's key in the place of his, and with the owner's signature of
        // another object.
        let real = simple(&vault, b"forged");
        let end = forged.len();
        for from in [end - 96, end - 64] {
            let mixed = [&forged[..from], &real[from..]].concat();
            assert_eq!(read(&vault, "a/b", &mixed), Err(Error::Tampered));
        }
        // Under the owner's header with the owner's tail: another content.
        let at = HEADER_LENGTH;
        let mixed = [&real[..at], &forged[at..end - 128], &real[end - 128..]].concat();
        assert_eq!(read(&vault, "a/b", &mixed), Err(Error::Tampered));
        // Once he may write, from that epoch on only.
        let mut later = vault.ledger();
        let writers = &mut later.root_mut().writers;
        Arc::make_mut(writers).add(key, 1).unwrap();
        let opened = |ledger: &Ledger, object: &[u8], at: &str| {
            let header = object.first_chunk().unwrap();
            let opener = Opener::new(header, &id, Suite::V2, ledger.tree(), &path(at))?;
            get(&opener, Suite::V2, &stored(&vault, at), object)
        };
        assert_eq!(opened(&later, &forged, "a/b"), Err(Error::Tampered));
        assert!(opened(&his, &forged, "a/b").is_ok());
        // For its place alone.
        assert_eq!(opened(&his, &forged, "a/c"), Err(Error::Tampered));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_content_comes_back_and_any_range_of_it(
            content in proptest::collection::vec(any::<u8>(), 0..70_000),
            padded: bool,
            signed: bool,
            known: bool,
            at in "[^/\\pC]{1,20}(/[^/\\pC]{1,20}){0,3}",
            version: u64,
            from in 0usize..70_000,
            length in 0usize..40_000,
        ) {
            prop_assume!(VaultPath::parse(&at).is_ok());
            let suite = if signed { Suite::V2 } else { Suite::V1 };
            let vault = Vault::make_in(suite, padded, &phrase(1));
            let (object, _) = put(&vault, &at, version, &Metadata::default(), &content, known);
            prop_assert_eq!(read(&vault, &at, &object), Ok(content.clone()));
            let layout = Layout::of_stored(suite, object.len() as u64).unwrap();
            let leaves = |first: usize, last: usize| match signed {
                true => &object[layout.leaves(0).start as usize..][HASH * first..HASH * (last + 1)],
                false => &[],
            };

            // A range opens the chunks that it lies in and no other.
            let opener = opener(&vault, &at, &object).unwrap();
            prop_assert_eq!(opener.version(), version);
            let from = from.min(content.len());
            let to = (from + length).min(content.len());
            let (first, last) = (from / CHUNK, to / CHUNK);
            let start = layout.chunk(first as u64).start as usize;
            let end = layout.chunk(last as u64).end as usize;
            let chunks = &object[start..end];
            let mut text = vec![0; chunks.len() - TAG * (last + 1 - first)];
            OPENED.set(0);
            opener.open(first as u64, chunks, leaves(first, last), &mut text).unwrap();
            prop_assert_eq!(OPENED.get() as usize, last + 1 - first);
            let skip = first * CHUNK;
            prop_assert_eq!(&text[from - skip..to - skip], &content[from..to]);
        }

        #[test]
        fn any_header_is_an_error(header in proptest::collection::vec(any::<u8>(), 252)) {
            let vault = plain();
            let object = [b"KLO1", &header[..]].concat();
            prop_assert!(opener(&vault, "a", &object).is_err());
        }

        #[test]
        fn any_frame_is_refused_or_the_one_encoding(
            flags: u8, padded: bool, bytes in proptest::collection::vec(any::<u8>(), FRAME - 2)
        ) {
            let mut frame = [0; FRAME];
            frame[..2].copy_from_slice(&[1, flags]);
            frame[2..].copy_from_slice(&bytes);
            if let Ok(read) = Frame::read(&frame, padded) {
                prop_assert_eq!(read.write(), frame);
            }
        }
    }
}
