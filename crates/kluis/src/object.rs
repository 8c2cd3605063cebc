//! What an object says of itself, in the words of `object_store`.

use crate::clock::{from_micros, to_micros};
use crate::{Error, Result};
use data_encoding::BASE64URL_NOPAD;
use kluis_crypto::{Fingerprint, Metadata, Mtime};
use object_store::{Attribute, Attributes, ObjectMeta, PutMode};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How an object is written.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Whether an object that is there is replaced. `Create` and `Update` are
    /// carried out by the store, in one request: a store that cannot is
    /// [`Error::Unsupported`], never a silent overwrite.
    pub mode: PutMode,
    /// Content type and the like, and metadata of your own. They are sealed; a
    /// little goes into the object, more into the store's own metadata, which a
    /// local folder does not have. `StorageClass` is what the store is asked to do with
    /// the object, and goes to it as it is.
    pub attributes: Attributes,
    /// When the content was last changed.
    pub mtime: Option<SystemTime>,
    /// When the object may be deleted.
    pub expires: Option<SystemTime>,
    /// How many bytes a stream or reader will give, where it is known. It has to
    /// be right in a padded vault, and is a hint otherwise.
    pub size_hint: Option<u64>,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Path, size of the content in bytes, and by the store's word the time of
    /// writing, e-tag and version. The size is exact for an honest store, and
    /// authenticated once the end of the object was read.
    pub meta: ObjectMeta,
    /// When the content was last changed, by the writer's word.
    pub mtime: Option<SystemTime>,
    /// When the object may be deleted.
    pub expires: Option<SystemTime>,
    /// Content type and the like.
    pub attributes: Attributes,
    /// The writer's clock when it wrote.
    pub version: SystemTime,
    /// The epoch of the keys it is encrypted under.
    pub epoch: u32,
    /// Whether that epoch is closed: who once held its keys can still read this.
    pub closed: bool,
    /// Bytes in the store.
    pub stored_size: u64,
    /// Who wrote it: in a signed vault whoever's signature it bears, else nobody knows.
    pub writer: Option<Writer>,
}

/// Who signed an object of a signed vault: one of those whom the ledger lists for its
/// epoch. Whose key it is, is said as far as whoever has opened the vault knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// The Ed25519 key.
    pub key: [u8; 32],
    /// Whether it is that of the identity by which the vault is open: for its owner, and
    /// on the owner's devices, of the vault's own.
    pub own: bool,
    /// The name of a contact with this key, or of whom a grant in force was given to; the
    /// owner's alone to see. It may hold any character but controls.
    pub name: Option<String>,
    /// The fingerprint of the card with this key, if it is one's own, a contact's, a
    /// grantee's, or of who shared what this vault was opened by.
    pub fingerprint: Option<Fingerprint>,
}

const KLUIS: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("kluis"));

/// The store's own metadata, with sealed attributes in it, and what it is told in clear.
pub(crate) fn outside(sealed: Option<&[u8]>, asked: &Attributes) -> Attributes {
    let mut attributes = Attributes::new();
    if let Some(class) = asked.get(&Attribute::StorageClass) {
        attributes.insert(Attribute::StorageClass, class.clone());
    }
    if let Some(sealed) = sealed {
        attributes.insert(KLUIS, BASE64URL_NOPAD.encode(sealed).into());
    }
    attributes
}

/// The sealed attributes in the store's own metadata.
pub(crate) fn sealed_outside(attributes: &Attributes) -> Option<Vec<u8>> {
    let encoded = attributes.get(&KLUIS)?;
    // Longer than any that we write.
    if encoded.len() > 4_096 {
        return None;
    }
    BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()
}

pub(crate) fn to_metadata(options: &PutOptions) -> Result<Metadata> {
    let mut attributes = BTreeMap::new();
    for (attribute, value) in &options.attributes {
        let name = match attribute {
            Attribute::CacheControl => "cache-control".to_owned(),
            Attribute::ContentDisposition => "content-disposition".to_owned(),
            Attribute::ContentEncoding => "content-encoding".to_owned(),
            Attribute::ContentLanguage => "content-language".to_owned(),
            Attribute::ContentType => "content-type".to_owned(),
            Attribute::Metadata(name) => format!("meta:{name}"),
            Attribute::StorageClass => continue,
            other => {
                return Err(Error::invalid(format!(
                    "the attribute {other:?} cannot be sealed"
                )));
            }
        };
        attributes.insert(name, value.to_string());
    }
    Ok(Metadata {
        mtime: options.mtime.map(to_mtime),
        expires: options.expires.map(to_micros),
        attributes,
    })
}

pub(crate) fn to_attributes(list: BTreeMap<String, String>) -> Attributes {
    let pairs = list.into_iter().map(|(name, value)| {
        let attribute = match name.as_str() {
            "cache-control" => Attribute::CacheControl,
            "content-disposition" => Attribute::ContentDisposition,
            "content-encoding" => Attribute::ContentEncoding,
            "content-language" => Attribute::ContentLanguage,
            "content-type" => Attribute::ContentType,
            // The core gives out no other names.
            name => {
                Attribute::Metadata(name.strip_prefix("meta:").unwrap_or(name).to_owned().into())
            }
        };
        (attribute, object_store::AttributeValue::from(value))
    });
    pairs.collect()
}

fn to_mtime(time: SystemTime) -> Mtime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Mtime {
            seconds: since.as_secs().cast_signed(),
            nanoseconds: since.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => Mtime {
                    seconds: -before.as_secs().cast_signed(),
                    nanoseconds: 0,
                },
                nanos => Mtime {
                    seconds: -before.as_secs().cast_signed() - 1,
                    nanoseconds: 1_000_000_000 - nanos,
                },
            }
        }
    }
}

fn from_mtime(mtime: Mtime) -> Option<SystemTime> {
    let seconds = Duration::from_secs(mtime.seconds.unsigned_abs());
    let base = if mtime.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    base?.checked_add(Duration::from_nanos(mtime.nanoseconds.into()))
}

/// Puts together what is known of an object.
pub(crate) fn info(
    meta: ObjectMeta,
    stored_size: u64,
    opener: &kluis_crypto::Opener,
    metadata: Metadata,
    writer: Option<Writer>,
) -> ObjectInfo {
    ObjectInfo {
        meta,
        mtime: metadata.mtime.and_then(from_mtime),
        expires: metadata.expires.map(from_micros),
        attributes: to_attributes(metadata.attributes),
        version: from_micros(opener.version()),
        epoch: opener.epoch(),
        closed: opener.is_closed(),
        stored_size,
        writer,
    }
}

/// The options that write an object as it is.
pub(crate) fn options_of(info: &ObjectInfo) -> PutOptions {
    PutOptions {
        mode: PutMode::Overwrite,
        attributes: info.attributes.clone(),
        mtime: info.mtime,
        expires: info.expires,
        size_hint: Some(info.meta.size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_round_trip() {
        for (seconds, nanos) in [(0, 0), (1, 5), (1_700_000_000, 999_999_999)] {
            let offset = Duration::new(seconds, nanos);
            for time in [UNIX_EPOCH + offset, UNIX_EPOCH - offset] {
                assert_eq!(from_mtime(to_mtime(time)), Some(time));
            }
        }
    }
}
