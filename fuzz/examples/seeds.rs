//! Makes the sample vault and the first inputs of every target anew:
//!
//! ```sh
//! cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! ```
//!
//! Inputs that were added to the corpora by hand stay, but those that hold
//! records of the sample vault before lead nowhere any more.

use data_encoding::HEXLOWER;
use futures_util::TryStreamExt;
use kluis::object_store::memory::InMemory;
use kluis::object_store::{ObjectStore, ObjectStoreExt};
use kluis::{Credential, KdfParams, Keyfile, Password, RecoveryPhrase, Vault, VaultOptions};
use kluis_crypto::{Accepted, DeviceKey, Fingerprint, Header, Layout, Pins, RecordHash};
use kluis_fuzz::{DEVICE, LONG, OBJECTS, pattern};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fmt::Write, fs};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(run())
}

async fn run() -> Result {
    let store = Arc::new(InMemory::new());
    let phrase = RecoveryPhrase::generate()?;
    let words = phrase.expose_words().to_string();
    let credential = || RecoveryPhrase::parse(&words);
    let cheap = KdfParams::new(19 << 10, 2)?;

    // Two epochs, and several headers and entries.
    let vault = Vault::create(store.clone(), phrase).await?;
    let (early, late) = OBJECTS.split_at(2);
    for (path, length) in early {
        vault.put(path, pattern(*length)).await?;
    }
    let keys = vec![
        (Password::new("a password").into(), cheap),
        (credential()?.into(), cheap),
    ];
    vault.rotate_root(keys).await?;
    let keyfile = Keyfile::generate()?;
    vault
        .add_slot(
            Credential::PasswordAndKeyfile(Password::new("another"), keyfile),
            cheap,
        )
        .await?;
    for (path, length) in late {
        vault.put(path, pattern(*length)).await?;
    }
    let vault = VaultOptions::new()
        .id(vault.id())
        .open(store.clone(), credential()?)
        .await?;

    let mut records = BTreeMap::new();
    for meta in store.list(None).try_collect::<Vec<_>>().await? {
        let bytes = store.get(&meta.location).await?.bytes().await?;
        records.insert(meta.location.to_string(), bytes.to_vec());
    }
    let mut text = words.clone();
    for (path, bytes) in &records {
        write!(text, "\n{path} {}", HEXLOWER.encode(bytes))?;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::write(folder.join("vault.txt"), text + "\n")?;

    let seed = |target: &str, name: &str, parts: &[&[u8]]| {
        let corpus = folder.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        fs::write(corpus.join(name), parts.concat())
    };
    for (number, (path, bytes)) in records.iter().enumerate() {
        let name = format!("{number}");
        if path.starts_with("k/h/") && path.contains('-') {
            seed("header", &name, &[bytes])?;
        } else if path.starts_with("k/l/") && path.contains('-') {
            seed("entry", &name, &[bytes])?;
        }
        // Large ones are among the objects.
        if bytes.len() < 4_096 {
            seed("vault", &name, &[&[number as u8], bytes])?;
        }
        for segment in path
            .split('/')
            .skip(1)
            .filter(|s| path.starts_with("o/") && !s.is_empty())
        {
            let beside = records
                .get(&format!("{path}~"))
                .cloned()
                .unwrap_or_default();
            let start = &segment[..8.min(segment.len())];
            match beside.is_empty() {
                true => seed("name", start, &[segment.as_bytes()])?,
                false => seed("name", "long", &[segment.as_bytes(), b"\n", &beside])?,
            }
        }
    }
    let header = Header::parse(&records["kluis.vault"])?;
    let objects: Vec<_> = records
        .iter()
        .filter(|(path, _)| path.starts_with("o/"))
        .collect();
    for (number, (_, bytes)) in objects.iter().enumerate() {
        for (place, (_, length)) in OBJECTS.iter().enumerate() {
            let layout = Layout::of_plaintext(header.suite(), *length as u64);
            if layout.is_ok_and(|layout| layout.stored_length() == bytes.len() as u64) {
                let start = [place as u8, number as u8, 1];
                seed("object", &format!("{place}-{number}"), &[&start, bytes])?;
            }
        }
    }
    for (number, path) in ["notes.txt", "a/b/ü/.hidden", LONG, "..", "a//b"]
        .iter()
        .enumerate()
    {
        seed("name", &format!("path-{number}"), &[path.as_bytes()])?;
    }
    let addresses = [
        format!("s3://bucket/some/prefix#{}", vault.id()),
        "file:///home/me/vault".to_owned(),
        "az://container/a%20b".to_owned(),
        "https://user:secret@host:8080/x?sig=1#00".to_owned(),
    ];
    for (number, address) in addresses.iter().enumerate() {
        seed("address", &format!("{number}"), &[address.as_bytes()])?;
    }
    let kit = vault.recovery_kit().await?.to_string();
    seed("kit", "kit", &[kit.as_bytes()])?;
    seed(
        "kit",
        "letter",
        &[b"Keep this.\r\n\r\n", kit.replace('\n', " \r\n").as_bytes()],
    )?;

    let pins = Pins {
        vault: header.vault(),
        authority: *header.authorities().current(),
        header: header.position(),
        ledger: header.ledger(),
        kdf_floor: Some(cheap),
        unconfirmed: vec![RecordHash::of(b"an entry")],
        accepted: vec![Accepted {
            name: "photos".to_owned(),
            letter: "0123456789abcdef0123456789abcdef".parse()?,
            grantor: Fingerprint::from_bytes([3; 16]),
            record: b"KLG1".to_vec(),
            place: Some("fedcba9876543210fedcba9876543210".parse()?),
        }],
    };
    let key = DeviceKey::from_bytes(&DEVICE.1)?;
    seed("pins", "pins", &[&pins.seal(&key, DEVICE.0)?])?;
    Ok(())
}
