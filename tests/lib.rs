//! What the tests share: a store of each kind, and cheap passwords.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::local::LocalFileSystem;
use kluis::object_store::memory::InMemory;
use kluis::object_store::prefix::PrefixStore;
use kluis::object_store::{ObjectStore, parse_url_opts};
use kluis::{KdfParams, Password, Vault, VaultOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// The cheapest Argon2id that a header may ask for.
///
/// # Panics
/// Never: the numbers are in range.
pub fn cheap() -> KdfParams {
    KdfParams::new(19 << 10, 2).expect("in range")
}

/// The password of every test.
pub fn password() -> Password {
    Password::new("correct horse battery staple")
}

/// Options with the cheapest password.
pub fn options() -> VaultOptions {
    VaultOptions::new().kdf(cheap())
}

/// A new vault with the cheapest password.
///
/// # Panics
/// If it cannot be made.
pub async fn vault(store: &Arc<dyn ObjectStore>) -> Vault {
    options()
        .create(Arc::clone(store), password())
        .await
        .expect("a new vault")
}

/// Bytes that depend on their place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 7 + i / 251) % 256) as u8)
        .collect()
}

/// A fresh store of each kind: memory, a local folder, and the S3 server that
/// the test command starts, where it did.
///
/// # Panics
/// If one cannot be made.
pub fn stores() -> (Vec<(&'static str, Arc<dyn ObjectStore>)>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = LocalFileSystem::new_with_prefix(folder.path()).expect("a local store");
    let mut all: Vec<(&'static str, Arc<dyn ObjectStore>)> = vec![
        ("memory", Arc::new(InMemory::new())),
        ("folder", Arc::new(local)),
    ];
    if let Some(store) = s3() {
        all.push(("s3", store));
    }
    (all, folder)
}

/// A fresh prefix on the S3 server of `KLUIS_TEST_S3_URL`.
///
/// # Panics
/// If the URL is not one of a store.
pub fn s3() -> Option<Arc<dyn ObjectStore>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let url = std::env::var("KLUIS_TEST_S3_URL").ok()?;
    // A second installation finds the first, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.parse().expect("KLUIS_TEST_S3_URL");
    let (store, _) = parse_url_opts(&url, std::env::vars()).expect("the S3 server");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("test-{}-{number}", std::process::id());
    Some(Arc::new(PrefixStore::new(store, prefix)))
}
