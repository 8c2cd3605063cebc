//! What encryption costs a program that uses an `object_store`: the vault beside the bare
//! store, and beside `anda_object_store`, which encrypts too.
//!
//!     cargo run --release --manifest-path benches/peers/Cargo.toml [--features ring]
//!
//! All lie in a folder in memory and run by turns in one process, so that a busy machine
//! slows all of them alike: trust the ratios. Needs 5 GiB of memory. What comes back is
//! compared bit for bit.

use anda_object_store::EncryptedStoreBuilder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use kluis::{Credential, RecoveryPhrase, VaultOptions};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
type Store = Arc<dyn ObjectStore>;

const TURNS: usize = 5;
const LARGE: usize = 256 << 20;
const HUGE: usize = 1 << 30;
const READS: u64 = 10_000;
const READ: u64 = 4 << 10;
const OBJECTS: usize = 100_000;
const FOLDERS: usize = 100;

struct Peer {
    name: &'static str,
    store: Store,
    _folder: tempfile::TempDir,
}

async fn peers() -> Result<Vec<Peer>> {
    let memory = std::path::Path::new("/dev/shm");
    let mut peers = Vec::new();
    for name in ["bare", "kluis", "anda_object_store"] {
        let folder = tempfile::tempdir_in(memory)?;
        let local = LocalFileSystem::new_with_prefix(folder.path())?;
        let store: Store = match name {
            "kluis" => {
                let phrase: Credential = RecoveryPhrase::generate()?.into();
                let vault = VaultOptions::new().create(Arc::new(local), phrase).await?;
                vault.object_store()
            }
            "anda_object_store" => {
                let secret = EncryptedStoreBuilder::with_secret(local, 200_000, [7; 32]);
                Arc::new(secret.build())
            }
            _ => Arc::new(local),
        };
        peers.push(Peer {
            name,
            store,
            _folder: folder,
        });
    }
    Ok(peers)
}

fn pattern(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(length);
    content.into()
}

/// Medians of what each peer takes, by turns; the first turn warms up.
async fn measure(
    what: &str,
    target: &str,
    peers: &[Peer],
    work: impl AsyncFn(&Store, u64) -> Result,
) -> Result {
    let mut times = vec![Vec::new(); peers.len()];
    for turn in 0..=TURNS {
        for (peer, times) in peers.iter().zip(&mut times) {
            let start = Instant::now();
            work(&peer.store, turn as u64)
                .await
                .map_err(|error| format!("{what}, {}: {error}", peer.name))?;
            if turn > 0 {
                times.push(start.elapsed());
            }
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let medians: Vec<f64> = times.iter_mut().map(median).collect();
    println!(
        "| {what} | {:.3} s | {:.3} s | {:.3} s | {:.2} ({target}) | {:.2} |",
        medians[0],
        medians[1],
        medians[2],
        medians[0] / medians[1],
        medians[2] / medians[1],
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result {
    let peers = peers().await?;
    println!(
        "| work | bare | kluis | anda_object_store | speed beside bare (target) | times as fast as anda |"
    );
    println!("|---|---|---|---|---|---|");
    let large = pattern(LARGE);
    let (at, huge) = (Path::from("large"), Path::from("huge"));
    measure(
        "256 MiB put",
        "≥ 0.6, ring 0.75",
        &peers,
        async |store, _| {
            store.put(&at, large.clone().into()).await?;
            Ok(())
        },
    )
    .await?;
    measure(
        "256 MiB got",
        "≥ 0.6, ring 0.75",
        &peers,
        async |store, _| {
            let got = store.get(&at).await?.bytes().await?;
            if got != large {
                return Err("something else came back".into());
            }
            Ok(())
        },
    )
    .await?;
    let content = pattern(HUGE);
    for peer in &peers {
        peer.store.delete(&at).await?;
        peer.store.put(&huge, content.clone().into()).await?;
    }
    measure(
        "10,000 random reads of 4 KiB in 1 GiB",
        "≥ 0.6",
        &peers,
        async |store, turn| {
            for n in 0..READS {
                let start = (n * 7_919 + turn * 104_729) * 4_099 % (HUGE as u64 - READ);
                let got = store.get_range(&huge, start..start + READ).await?;
                if got != content[start as usize..][..READ as usize] {
                    return Err("something else came back".into());
                }
            }
            Ok(())
        },
    )
    .await?;
    for peer in &peers {
        peer.store.delete(&huge).await?;
        for n in 0..OBJECTS {
            let at = Path::from(format!("many/{}/object-{n}.bin", n % FOLDERS));
            peer.store
                .put(&at, Bytes::from_static(b"content").into())
                .await?;
        }
    }
    measure(
        "100,000 objects listed",
        "≥ 0.67",
        &peers,
        async |store, _| {
            let listed: Vec<_> = store.list(None).try_collect().await?;
            if listed.len() != OBJECTS || listed.iter().any(|meta| meta.size != 7) {
                return Err("the list is another".into());
            }
            Ok(())
        },
    )
    .await
}
