//! Client-side encrypted storage on any object store.
//!
//! Objects are encrypted on this machine before they reach the store, under keys
//! that come from the user's password, so that the provider holds nothing but
//! ciphertext and every change it makes is noticed when it is read.
//!
//! ```
//! # use std::sync::Arc;
//! use kluis::{Password, Vault, object_store::memory::InMemory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> kluis::Result<()> {
//! let store = Arc::new(InMemory::new());
//! let vault = Vault::create(store.clone(), Password::new("correct horse battery staple")).await?;
//! vault.put("photos/cat.jpg", "not really a picture").await?;
//!
//! let vault = Vault::open(store, Password::new("correct horse battery staple")).await?;
//! let first = vault.get_range("photos/cat.jpg", 0..3).await?;
//! assert_eq!(&first[..], b"not");
//! # Ok(())
//! # }
//! ```
//!
//! The types to know are [`Vault`], [`Password`] (or another [`Credential`]),
//! [`Object`] and [`Error`]; [`VaultOptions`] holds what can be chosen. Methods
//! have the names and meanings of [`object_store`].
//!
//! # Keys
//!
//! A password is stretched with Argon2id and opens a key slot of the vault header;
//! in it lies the root key, and below that everything else (docs/FORMAT.md).
//! Changing a password rewrites one small record. There is no other way in: who
//! loses every credential has lost the data.
//!
//! # Runtime
//!
//! What takes long (files, Argon2id, the cipher) runs on tokio's blocking threads and
//! on all cores. Where there is no tokio, it runs where it is waited for, with any
//! executor; a store in a folder needs no more, one across a network needs tokio.
//!
//! # Compatibility
//!
//! Format version 1 will stay readable. The API may still change in 0.x.
#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests fail by panicking"
    )
)]

mod access;
mod address;
mod backend;
mod buffer;
mod cache;
mod check;
mod clock;
mod control;
mod device;
mod encrypted_store;
mod error;
mod link;
mod list;
mod object;
mod pin;
mod read;
mod reencrypt;
mod resharing;
mod sharing;
mod vault;
mod write;

pub use address::Address;
pub use check::{Check, Finding, Verdict};
pub use device::{DeviceState, FileState, MemoryState, PinsChange};
pub use encrypted_store::{EncryptedStore, PaginatedStore};
pub use error::{Error, Result};
pub use kluis_crypto::{
    Accepted, Card, Contact, Credential, Fingerprint, GrantFile, GrantId, Identity, IdentityFile,
    IdentitySuite, KdfCeiling, KdfParams, Keyfile, LetterName, LinkId, LinkObject, LinkTerms,
    Password, Past, Pins, Recipient, RecoveryKit, RecoveryPhrase, SlotId, SlotKind, Terms, Trust,
    VaultId,
};
pub use link::{FoundLink, Link, LinkInfo, LinkOptions, MadeLink, OpenLink, Signer};
pub use list::{Listing, Unlisted};
pub use object::{ObjectInfo, PutOptions, Writer};
pub use object_store;
pub use pin::LedgerPin;
pub use read::Object;
pub use reencrypt::{Receipt, Reencrypted};
pub use resharing::{GivenOn, ToFile};
pub use sharing::{
    AccessPeriod, AccessStatement, Giver, Grant, Granted, GroupInfo, GroupMember, Invitation, Kind,
    Lease, LinkPeriod, Prefixes, Received, Revoked,
};
pub use vault::{AddedSlot, FoundVault, SlotInfo, Vault, VaultOptions};
pub use write::MAX_CONDITIONAL_STREAM;
