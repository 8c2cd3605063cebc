//! What the tests of engines share: the stores they run on, and what a store was asked for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

pub mod tpch;

use kluis_adversary::{HostileStore, Op};
use object_store::local::LocalFileSystem;
use object_store::{GetRange, ObjectStore};
use std::ops::Range;
use std::sync::Arc;
use tempfile::TempDir;

/// How near each other two ranges of one call are fetched at once, as the stores of the clouds do.
const NEAR: u64 = object_store::OBJECT_STORE_COALESCE_DEFAULT;

/// A store that counts what it is asked for, of a kind that has a name.
pub struct Place {
    /// What kind it is of.
    pub name: &'static str,
    /// The store as its provider has it.
    pub below: HostileStore,
    _folder: Option<TempDir>,
}

impl Place {
    /// A fresh local folder.
    ///
    /// # Panics
    /// If there is none to be had.
    pub fn folder() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("a local store");
        Self {
            name: "folder",
            below: HostileStore::new(store),
            _folder: Some(folder),
        }
    }

    /// A fresh prefix on the S3 server, if there is one.
    pub fn s3() -> Option<Self> {
        let store = kluis_tests::s3()?;
        Some(Self {
            name: "s3",
            below: HostileStore::new(store),
            _folder: None,
        })
    }

    /// A fresh one of each kind.
    pub fn all() -> Vec<Self> {
        [Self::folder()].into_iter().chain(Self::s3()).collect()
    }

    /// Another fresh one of this kind.
    ///
    /// # Panics
    /// If there is none to be had.
    pub fn again(&self) -> Self {
        match self.name {
            "folder" => Self::folder(),
            _ => Self::s3().expect("the S3 server"),
        }
    }

    /// The store as it is.
    pub fn plain(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.below.clone())
    }

    /// The store of a fresh vault in it.
    ///
    /// # Panics
    /// If there is a vault already.
    pub async fn encrypted(&self) -> Arc<dyn ObjectStore> {
        kluis_tests::vault(&self.plain()).await.object_store()
    }

    /// The one or the other.
    pub async fn store(&self, is_encrypted: bool) -> Arc<dyn ObjectStore> {
        if is_encrypted {
            self.encrypted().await
        } else {
            self.plain()
        }
    }

    /// What it was asked for while this ran.
    pub async fn cost<T>(&self, run: impl Future<Output = T>) -> (Cost, T) {
        let mark = self.below.mark();
        let value = run.await;
        (Cost::since(&self.below, mark), value)
    }
}

/// What was read from a store. Ranges of one call that lie near each other count as one, gaps
/// included, since that is what the clouds are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// How often content was asked for.
    pub reads: u64,
    /// How often only the metadata of an object was.
    pub heads: u64,
    /// How often a folder was listed.
    pub listings: u64,
    /// Bytes of content received.
    pub bytes: u64,
}

impl Cost {
    /// How often the store was asked for anything.
    pub fn requests(&self) -> u64 {
        self.reads + self.heads + self.listings
    }

    fn since(store: &HostileStore, mark: u64) -> Self {
        let mut cost = Self {
            reads: 0,
            heads: 0,
            listings: 0,
            bytes: 0,
        };
        for call in store.journal().since(mark).calls() {
            match call.op {
                Op::Get => {
                    cost.reads += 1;
                    cost.bytes += call.received;
                }
                Op::GetRanges => {
                    for range in together(&call.ranges) {
                        cost.reads += 1;
                        cost.bytes += range.end - range.start;
                    }
                }
                Op::Head => cost.heads += 1,
                op if op.lists() => cost.listings += 1,
                _ => {}
            }
        }
        cost
    }
}

/// The ranges that are fetched for these.
fn together(ranges: &[GetRange]) -> Vec<Range<u64>> {
    let bounded = ranges.iter().map(|range| match range {
        GetRange::Bounded(range) => range.clone(),
        open => panic!("a range of several is bounded: {open:?}"),
    });
    let mut ranges: Vec<_> = bounded.collect();
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(NEAR) => {
                last.end = last.end.max(range.end);
            }
            _ => all.push(range),
        }
    }
    all
}
