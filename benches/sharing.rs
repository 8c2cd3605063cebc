//! What revoking costs, and how fast `reencrypt` is beside a copy:
//! `cargo bench -p kluis-benches --bench sharing`.
//!
//! Against a store in memory, so that what is measured is ours. CPU time is that of the
//! process, on all of its threads, as Linux counts it in steps of 10 ms.
#![forbid(unsafe_code)]

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use kluis::object_store::memory::InMemory;
use kluis::{
    Identity, IdentitySuite, KdfParams, Recipient, RecoveryPhrase, Terms, Vault, VaultOptions,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const MEMBERS: usize = 1_000;
/// Objects that `reencrypt` and `copy` have in hand at a time.
const AT_ONCE: usize = 8;

#[tokio::main]
async fn main() -> Result {
    revoking().await?;
    for (what, objects, size) in [
        ("4,000 objects of 4 KiB", 4_000, 4 << 10),
        ("8 objects of 64 MiB", 8, 64 << 20),
    ] {
        reencrypting(what, objects, size).await?;
    }
    Ok(())
}

async fn vault() -> Result<Vault> {
    let options = VaultOptions::new().kdf(KdfParams::MOBILE);
    let phrase = RecoveryPhrase::generate()?;
    Ok(options.create(Arc::new(InMemory::new()), phrase).await?)
}

fn person() -> Result<Recipient> {
    let identity = Identity::make(IdentitySuite::XWing, 1)?;
    Ok(Recipient::trusted_on_first_use(identity.card().clone()))
}

/// User and system time of this process; nothing where it cannot be told.
fn cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name in brackets the third field is the first; ticks are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

/// One of a thousand members, three times: a second of CPU at the most.
async fn revoking() -> Result {
    let vault = vault().await?;
    let mut grants = Vec::new();
    for _ in 0..MEMBERS {
        grants.push(
            vault
                .share("folder", &person()?, Terms::reading())
                .await?
                .id,
        );
    }
    println!("| revoke one of {MEMBERS} | CPU | wall |");
    println!("|---|---|---|");
    for (turn, grant) in grants.iter().take(3).enumerate() {
        let (used, start) = (cpu(), Instant::now());
        vault.revoke(&[*grant]).await?;
        let wall = start.elapsed();
        let used = cpu().zip(used).map(|(after, before)| after - before);
        let used = used.map_or_else(|| "?".to_owned(), |used| format!("{used:?}"));
        println!("| turn {} | {used} | {wall:.0?} |", turn + 1);
    }
    println!();
    Ok(())
}

/// Everything in a folder, read and written: by `reencrypt` after a revocation, and by
/// copying each object to another place in the same vault, by turns.
async fn reencrypting(what: &str, objects: usize, size: usize) -> Result {
    const TURNS: usize = 5;
    let vault = vault().await?;
    let content = Bytes::from(vec![7; size]);
    for n in 0..objects {
        vault.put(&format!("folder/{n}"), content.clone()).await?;
    }
    let mut ratios = Vec::new();
    let mut speeds = [Vec::new(), Vec::new()];
    let megabytes = (objects * size) as f64 / 1e6;
    for turn in 0..=TURNS {
        let start = Instant::now();
        stream::iter(0..objects)
            .map(|n| {
                let vault = vault.clone();
                async move {
                    let (from, to) = (format!("folder/{n}"), format!("copy/{n}"));
                    vault.copy(&from, &to).await
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(async |_| Ok(()))
            .await?;
        let copied = start.elapsed();
        let grant = vault.share("folder", &person()?, Terms::reading()).await?;
        vault.revoke(&[grant.id]).await?;
        let start = Instant::now();
        let steps: Vec<_> = vault.reencrypt(Some("folder")).try_collect().await?;
        let written = start.elapsed();
        assert_eq!(steps.len(), objects);
        assert!(vault.receipt(Some("folder")).await?.is_empty());
        // The first turn warms up.
        if turn > 0 {
            ratios.push(copied.as_secs_f64() / written.as_secs_f64());
            speeds[0].push(megabytes / copied.as_secs_f64());
            speeds[1].push(megabytes / written.as_secs_f64());
        }
    }
    let [copy, reencrypt] = speeds.map(|mut speeds| median(&mut speeds));
    println!("| {what} | median | ratio |");
    println!("|---|---|---|");
    println!("| copy | {copy:.0} MB/s | 1 |");
    println!(
        "| reencrypt | {reencrypt:.0} MB/s | {:.2} |",
        median(&mut ratios)
    );
    println!();
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
