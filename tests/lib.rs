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
use kluis::object_store::path::Path;
use kluis::object_store::prefix::PrefixStore;
use kluis::object_store::{ObjectStore, ObjectStoreExt, parse_url_opts};
use kluis::{Credential, KdfParams, Password, RecoveryPhrase, Result, Vault, VaultOptions};
use kluis_adversary::HostileStore;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// Bytes of content in a full chunk.
pub const CHUNK: usize = 16_384;
/// Stored bytes before the first chunk.
pub const HEADER: usize = 256;
/// Stored bytes of a full chunk.
pub const SEALED: usize = CHUNK + 16;

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

/// Another one.
pub fn other_password() -> Password {
    Password::new("purple elephants sing softly")
}

/// The words of a fresh recovery phrase: a credential that costs no Argon2 run.
///
/// # Panics
/// If there is no randomness.
pub fn words() -> String {
    let phrase = RecoveryPhrase::generate().expect("randomness");
    phrase.expose_words().to_string()
}

/// The credential of these words.
///
/// # Panics
/// If they are no phrase.
pub fn phrase(words: &str) -> Credential {
    RecoveryPhrase::parse(words).expect("a phrase").into()
}

/// Options with the cheapest password; those of signed vaults where `KLUIS_TEST_SIGNED`
/// is set, and without a cache of headers where `KLUIS_TEST_COLD` is, with which
/// `./test signed cold` runs these tests again.
pub fn options() -> VaultOptions {
    let options = VaultOptions::new().kdf(cheap()).signed(is_signed());
    if is_cold() {
        options.header_cache(0)
    } else {
        options
    }
}

/// Whether nothing is known of an object when it is read.
pub fn is_cold() -> bool {
    std::env::var_os("KLUIS_TEST_COLD").is_some()
}

/// Bytes in the store of an object with so many of content and padding.
pub fn stored_length(content: usize) -> u64 {
    let chunks = content / CHUNK + 1;
    let signed = 32 * chunks + 32 * chunks.div_ceil(256) + 96;
    (HEADER + content + 16 * chunks + if is_signed() { signed } else { 0 }) as u64
}

/// Whether the tests run on signed vaults.
pub fn is_signed() -> bool {
    std::env::var_os("KLUIS_TEST_SIGNED").is_some()
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

/// A new vault in memory, in a store that lies on demand.
///
/// # Panics
/// If it cannot be made.
pub async fn hostile_vault() -> (HostileStore, Vault) {
    let store = HostileStore::new(InMemory::new());
    let vault = vault(&as_store(&store)).await;
    (store, vault)
}

/// The same store as the vault takes it.
pub fn as_store(store: &HostileStore) -> Arc<dyn ObjectStore> {
    Arc::new(store.clone())
}

/// Opens a vault with the password of every test.
///
/// # Errors
/// Those of opening.
pub async fn open(store: &HostileStore) -> Result<Vault> {
    open_with(store, password()).await
}

/// Opens a vault.
///
/// # Errors
/// Those of opening.
pub async fn open_with(store: &HostileStore, by: impl Into<Credential>) -> Result<Vault> {
    options().open(as_store(store), by).await
}

/// The whole content of an object.
///
/// # Errors
/// Those of reading.
pub async fn read(vault: &Vault, path: &str) -> Result<Vec<u8>> {
    Ok(vault.get(path).await?.bytes().await?.to_vec())
}

/// A store of its own with these objects in it.
///
/// # Panics
/// Never: memory takes them.
pub async fn store_of(objects: &BTreeMap<String, Vec<u8>>) -> HostileStore {
    let store = InMemory::new();
    for (path, bytes) in objects {
        let path = Path::parse(path).expect("a path");
        let bytes = bytes.clone();
        store.put(&path, bytes.into()).await.expect("in memory");
    }
    HostileStore::new(store)
}

/// Puts an object into the store behind everyone's back.
///
/// # Panics
/// If the store does not take it.
pub async fn plant(store: &HostileStore, path: &str, bytes: &[u8]) {
    let path = Path::parse(path).expect("a path");
    let bytes = bytes.to_vec();
    let put = store.inner().put(&path, bytes.into()).await;
    put.expect("the store takes it");
}

/// Removes an object behind everyone's back.
///
/// # Panics
/// If the store does not let it.
pub async fn unplant(store: &HostileStore, path: &str) {
    let path = Path::parse(path).expect("a path");
    let deleted = store.inner().delete(&path).await;
    deleted.expect("the store removes it");
}

/// All that lies in a store, without a trace in its journal.
///
/// # Panics
/// Never: memory gives it out.
pub async fn contents(store: &HostileStore) -> BTreeMap<String, Vec<u8>> {
    let contents = store.contents().await.expect("in memory");
    contents
        .into_iter()
        .map(|(path, bytes)| (path.to_string(), bytes.to_vec()))
        .collect()
}

/// Bytes that depend on their place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 7 + i / 251) % 256) as u8)
        .collect()
}

/// A store, and the name of its kind.
pub type Named = (&'static str, Arc<dyn ObjectStore>);

/// A fresh store of each kind: memory, a local folder, and the S3 server that
/// the test command starts, where it did.
///
/// # Panics
/// If one cannot be made.
pub fn stores() -> (Vec<Named>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = LocalFileSystem::new_with_prefix(folder.path()).expect("a local store");
    let mut all: Vec<Named> = vec![
        ("memory", Arc::new(InMemory::new())),
        ("folder", Arc::new(local)),
    ];
    if let Some(store) = s3() {
        all.push(("s3", store));
    }
    (all, folder)
}

/// A fresh prefix on the S3 server of `KLUIS_TEST_S3_URL`. Without one the test says
/// what it leaves out, and fails in `./test`, which starts a server.
///
/// # Panics
/// If the URL is not one of a store, or missing where it is required.
pub fn s3() -> Option<Arc<dyn ObjectStore>> {
    server("KLUIS_TEST_S3_URL")
}

/// The same on the Azure server of `KLUIS_TEST_AZURE_URL`.
///
/// # Panics
/// As [`s3`].
pub fn azure() -> Option<Arc<dyn ObjectStore>> {
    server("KLUIS_TEST_AZURE_URL")
}

fn server(variable: &str) -> Option<Arc<dyn ObjectStore>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let Ok(url) = std::env::var(variable) else {
        let required = std::env::var_os("KLUIS_TEST_SERVERS_REQUIRED").is_some();
        assert!(!required, "{variable} is not set");
        let test = std::thread::current();
        let test = test.name().unwrap_or("a test");
        // Not by `eprintln`, which is shown for failures only.
        let _ = writeln!(
            std::io::stderr(),
            "{test}: not on that server: {variable} is not set"
        );
        return None;
    };
    // A second installation finds the first, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.parse().expect("the URL of a server");
    let (store, _) = parse_url_opts(&url, std::env::vars()).expect("the server");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("test-{}-{number}", std::process::id());
    Some(Arc::new(PrefixStore::new(store, prefix)))
}
