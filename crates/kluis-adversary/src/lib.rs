//! An object store that lies on demand, to test encrypted storage against its
//! own provider.
//!
//! Whoever encrypts before uploading claims that the store need not be
//! trusted. [`HostileStore`] puts that claim to the test. It wraps any
//! [`ObjectStore`](object_store::ObjectStore), behaves perfectly until told
//! otherwise, and then does what a malicious provider can do: alter, shorten,
//! swap and roll back objects, hide them, invent others, lose writes while
//! saying OK, break off at any moment. It knows nothing about the application
//! under test, only about the trait.
//!
//! Three things to know:
//!
//! - A [`Rule`] is a [`Lie`] with the places and the moments where it is told.
//!   [`HostileStore::add`] puts it in force, [`HostileStore::remove`] takes it
//!   back. Lies about reading change answers only: what is stored stays what
//!   the application wrote, so that once the rule is gone the same call must
//!   succeed, which a test should check too.
//! - The [`Journal`] holds every call in order. It answers how many requests
//!   an operation costs, and [`Journal::find`] whether a byte of plaintext was
//!   ever sent, in a body, a path, an attribute or a tag.
//! - [`HostileStore::crash`] ends a client at its k-th call, so that a test can
//!   cut an operation at every point and see what a fresh client makes of it.
//!
//! All of it is deterministic: what is drawn depends on the seed, the rule and
//! how often it was told, and on nothing that happens in between.
//!
//! # Testing an application
//!
//! The application below is not ours. It keeps notes with a checksum and
//! believes that this protects them from the provider. It survives bad disks,
//! and fails where the provider serves one note for another, or an old one.
//!
//! ```
//! use kluis_adversary::{Cut, HostileStore, Lie, Op};
//! use object_store::{ObjectStoreExt, Result, memory::InMemory, path::Path};
//!
//! fn checksum(text: &[u8]) -> u8 {
//!     text.iter().fold(1, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte))
//! }
//!
//! /// The application: saves a note with its checksum in front.
//! async fn save(store: &impl ObjectStoreExt, name: &str, text: &str) -> Result<()> {
//!     let mut note = vec![checksum(text.as_bytes())];
//!     note.extend_from_slice(text.as_bytes());
//!     store.put(&Path::from(name), note.into()).await?;
//!     Ok(())
//! }
//!
//! /// The application: reads a note, `None` if the checksum is wrong.
//! async fn load(store: &impl ObjectStoreExt, name: &str) -> Result<Option<String>> {
//!     let note = store.get(&Path::from(name)).await?.bytes().await?;
//!     Ok(match note.split_first() {
//!         Some((sum, text)) if *sum == checksum(text) => String::from_utf8(text.into()).ok(),
//!         _ => None,
//!     })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let store = HostileStore::new(InMemory::new());
//! save(&store, "notes/mon", "meet at noon").await?;
//! save(&store, "notes/tue", "stay at home").await?;
//!
//! // Every single flipped bit is noticed ...
//! for bit in 0..13 * 8 {
//!     let rule = store.add(Lie::FlipBit(bit).at("notes/*"));
//!     assert_eq!(load(&store, "notes/mon").await?, None);
//!     assert_eq!(store.uses(rule), 1, "a rule that nobody met proves nothing");
//!     store.remove(rule);
//! }
//! assert_eq!(load(&store, "notes/mon").await?.as_deref(), Some("meet at noon"));
//!
//! // ... but another note in its place is not, nor is last week's.
//! let swap = store.add(Lie::SwapWith(Path::from("notes/tue")).at("notes/mon"));
//! assert_eq!(load(&store, "notes/mon").await?.as_deref(), Some("stay at home"));
//! store.remove(swap);
//!
//! save(&store, "notes/mon", "do not come!").await?;
//! let rollback = store.add(Lie::Version(0).at("notes/mon"));
//! assert_eq!(load(&store, "notes/mon").await?.as_deref(), Some("meet at noon"));
//! store.remove(rollback);
//!
//! // A save costs one request, and the provider reads all of it.
//! assert_eq!(store.count(Op::Put), 3);
//! assert!(!store.journal().find(b"meet at noon").is_empty());
//!
//! // A client that dies in the middle of a save has saved nothing.
//! let phone = store.client("phone");
//! phone.crash(Cut::Before(0));
//! assert!(save(&phone, "notes/wed", "back at six").await.is_err());
//! assert!(load(&store, "notes/wed").await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! It sits at the `ObjectStore` trait. What a provider can do to the HTTP
//! client below (a claimed `Content-Length`, a broken XML listing) is out of
//! its reach. It keeps every byte ever sent in memory: use it for tests.

#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod answer;
mod journal;
mod rule;
mod store;

pub use journal::{Call, Journal, Op, Outcome, Place, Sighting, Version};
pub use rule::{Change, Fault, Func, Lie, Rule, RuleId, Target};
pub use store::{Cut, HostileStore};
