//! The formats and keys of Kluis.
//!
//! This crate is pure: it does no I/O, has no clock, and draws randomness in one
//! place. `docs/FORMAT.md` is the authority on every byte that it writes; the
//! crate `kluis` puts it on an object store and is what applications use.
//!
//! From the root down: a [`Credential`] opens a [`Slot`] of the vault [`Header`]
//! and yields [`VaultSecrets`]; with them the [`Ledger`] is read, whose root
//! [`Collection`] holds the keys of names ([`FolderNames`]) and of objects
//! ([`Sealer`], [`Opener`]).
//!
//! Between people: an [`Identity`] opens what was sealed to its [`Card`], which two of
//! them compare by its [`Fingerprint`]. A device opens a vault with one, and an
//! [`IdentityFile`] keeps one under a password.
//!
//! # Security
//!
//! Every key is one newtype, on the heap and wiped on drop. Whatever is parsed is
//! bounded before it is allocated and authenticated before it is used, and there
//! is one error for every failed decryption.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests fail by panicking"
    )
)]

mod aead;
mod armor;
mod authority;
mod card;
mod cbor;
mod chain;
mod collection;
mod contact;
mod credential;
mod device;
mod error;
mod grant;
mod grant_file;
mod group;
mod header;
mod id;
mod identity;
mod kdf;
mod kem;
mod kit;
mod layout;
mod ledger;
mod link;
mod message;
mod name;
mod object;
mod padding;
#[cfg(test)]
mod primitives;
mod random;
mod secret;
mod signature;
mod signed;
mod slot;
#[cfg(test)]
mod testing;
mod tree;
#[cfg(test)]
mod two_keys;
#[cfg(test)]
mod vectors;

pub use authority::Authorities;
pub use card::{Card, Fingerprint, IdentitySuite, Replacement};
pub use chain::{GiveOn, GivenOn, MAX_CHAIN, OwnersCopy};
pub use collection::Collection;
pub use contact::{Contact, Recipient, Trust};
pub use credential::{Credential, KdfCeiling, KdfParams, Keyfile, Password, RecoveryPhrase};
pub use device::{Accepted, DeviceKey, Pins};
pub use error::{Error, Result};
pub use grant::{GrantRecord, LetterName, Share, Statement, Terms, bundle_path};
pub use grant_file::GrantFile;
pub use group::Group;
pub use header::{Header, Suite, VaultSecrets, make_device_slot, make_slot};
pub use id::{CollectionId, GrantId, LinkId, Position, RecordHash, SlotId, VaultId};
pub use identity::{Identity, IdentityFile};
pub use kit::RecoveryKit;
pub use layout::{
    CHUNK_LENGTH, GROUP_CHUNKS, HEADER_LENGTH, LEAF_LENGTH, Layout, SEALED_CHUNK_LENGTH, TAG_LENGTH,
};
pub use ledger::{Appended, Decision, Entry, GrantPeriod, History, Ledger, LinkPeriod, MIN_LEASE};
pub use link::{LinkFragment, LinkObject, LinkRecord, LinkTerms, NewLink, OpenedLink, SealedLink};
pub use name::{DecodedSegment, FolderNames, StoredPath, StoredSegment, VaultPath, objects_prefix};
pub use object::{Filler, Metadata, Mtime, Opener, Sealer};
pub use signed::{Tail, Trailer};
pub use slot::{Slot, SlotKind};
pub use tree::{Past, Scope, Tree};
