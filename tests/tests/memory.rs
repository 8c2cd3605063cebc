//! Bounded memory: an object of any length passes through a few buffers.
//!
//! The high-water mark of a process never falls, so each measurement is a child
//! of this test: the same program, told by its environment what to do.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use kluis::Error;
use kluis::object_store::ObjectStore;
use kluis::object_store::local::LocalFileSystem;
use kluis_adversary::{HostileStore, Lie};
use kluis_tests::{phrase, words};
use std::io::Read;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of content: far more than may be held.
const LENGTH: u64 = 256 << 20;
/// What the issue allows above the baseline.
const MOST: u64 = 64 << 20;
const WHAT: &str = "KLUIS_TEST_MEMORY_OF";

/// A field of /proc/self/status in bytes.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// So many bytes of nothing.
struct Content(u64);

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = out.len().min(usize::try_from(self.0).unwrap());
        out[..length].fill(0);
        self.0 -= length as u64;
        Ok(length)
    }
}

fn pieces() -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    const PIECE: u64 = 1 << 20;
    stream::iter(0..LENGTH / PIECE).map(|_| Ok(Bytes::from(vec![7; PIECE as usize])))
}

async fn child(what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(local);
    let options = kluis::VaultOptions::new().padded(what.contains("padded"));
    let by = words();
    let vault = options
        .create(Arc::clone(&store), phrase(&by))
        .await
        .unwrap();
    if !what.starts_with("put") {
        let content = Content(LENGTH);
        vault
            .put_reader("x", content, Default::default())
            .await
            .unwrap();
    }
    reset_high_water_mark();
    let before = status("VmRSS:");
    match what {
        "put_reader" | "put_reader padded" => {
            vault
                .put_reader("x", Content(LENGTH), Default::default())
                .await
                .unwrap();
        }
        "put_stream" => {
            vault
                .put_stream("x", pieces(), Default::default())
                .await
                .unwrap();
        }
        "get" | "get slowly" => {
            let mut stream = vault.get("x").await.unwrap().into_stream();
            let mut length = 0;
            while let Some(piece) = stream.try_next().await.unwrap() {
                length += piece.len() as u64;
                if what == "get slowly" && length.is_multiple_of(16 << 20) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            assert_eq!(length, LENGTH);
        }
        "copy" => vault.copy("x", "y").await.unwrap(),
        "endless" => {
            // A store that promises what it has, and sends for ever.
            let endless = HostileStore::new(Arc::clone(&store));
            let vault = kluis::Vault::open(Arc::new(endless.clone()), phrase(&by));
            let vault = vault.await.unwrap();
            vault.put("small", "x").await.unwrap();
            endless.add(Lie::Endless);
            let got = vault.get("small").await.unwrap().bytes().await;
            assert!(matches!(got, Err(Error::Tampered { .. })), "{got:?}");
            for copy in ["kluis.vault", "k/h/**"] {
                let rule = endless.add(Lie::NotFound.at(copy));
                let opened = kluis::Vault::open(Arc::new(endless.clone()), phrase(&by)).await;
                assert!(
                    matches!(opened, Err(Error::LimitExceeded { .. })),
                    "{opened:?}"
                );
                endless.remove(rule);
            }
        }
        other => panic!("{other}"),
    }
    let most = status("VmHWM:");
    let grown = most.saturating_sub(before);
    println!("{what}: {} KiB above {} KiB", grown >> 10, before >> 10);
    assert!(
        grown <= MOST,
        "{what}: {} KiB above the baseline",
        grown >> 10
    );
}

/// Linux forgets the mark of a process that asks it to.
fn reset_high_water_mark() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[test]
fn memory_is_bounded_whatever_the_length() {
    if let Ok(what) = std::env::var(WHAT) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(child(&what));
    }
    for what in [
        "put_reader",
        "put_reader padded",
        "put_stream",
        "get",
        "get slowly",
        "copy",
        "endless",
    ] {
        let run = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "memory_is_bounded_whatever_the_length",
            ])
            .env(WHAT, what)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&run.stdout);
        assert!(
            run.status.success(),
            "{output}{}",
            String::from_utf8_lossy(&run.stderr)
        );
        assert!(output.contains("KiB above"), "{output}");
    }
}
