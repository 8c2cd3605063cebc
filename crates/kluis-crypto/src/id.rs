//! Public identifiers: random or hashes, never secret.

use crate::{Error, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) [u8; $length]);

        impl $name {
            /// The bytes of the identifier.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Lower-case hexadecimal, whole.
            fn from_str(text: &str) -> Result<Self> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or(Error::invalid($what))
            }
        }
    };
}

id! {
    /// Names a vault: the hash of its first authority key, so that whoever pins
    /// the id has pinned the key.
    VaultId, 16, "a vault id has 32 digits 0-9 a-f"
}
id! {
    /// Names a collection: random.
    CollectionId, 16, "a collection id has 32 digits 0-9 a-f"
}
id! {
    /// Names a key slot: random.
    SlotId, 16, "a slot id has 32 digits 0-9 a-f"
}
id! {
    /// Names a grant: random.
    GrantId, 16, "the id of a grant has 32 digits 0-9 a-f"
}
id! {
    /// Names a link to its owner: random, and no part of the link.
    LinkId, 16, "the id of a link has 32 digits 0-9 a-f"
}
id! {
    /// SHA-256 of a whole control record.
    RecordHash, 32, "a hash has 64 digits 0-9 a-f"
}

impl RecordHash {
    /// Sorts before every hash.
    pub const MIN: Self = Self([0; 32]);
    /// Sorts behind every hash.
    pub const MAX: Self = Self([0xff; 32]);

    /// A hash of 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash of these bytes.
    pub fn of(record: &[u8]) -> Self {
        Self(Sha256::digest(record).into())
    }
}

/// The place of a control record in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Its number.
    pub sequence: u64,
    /// Its hash.
    pub hash: RecordHash,
}
