//! What signatures cost: CPU time of writes and range reads in a signed vault beside an
//! unsigned one, `cargo bench -p kluis-benches --bench signed`, and with `--features
//! kluis-crypto/ring` with the cipher that the command has.
//!
//! Both lie in a folder in memory and run by turns in one process. CPU time is that of
//! the process, all threads together; Linux only.
#![forbid(unsafe_code)]

use kluis::object_store::local::LocalFileSystem;
use kluis::{Credential, PutOptions, RecoveryPhrase, Vault, VaultOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const TURNS: usize = 7;
const WRITE: u64 = 256 << 20;
const OBJECT: u64 = 64 << 20;
const RANGE: u64 = 64 << 10;
const RANGES: u64 = 1_500;

fn main() -> Result {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        println!("left out: there is no folder in memory");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let folders = [tempfile::tempdir_in(memory)?, tempfile::tempdir_in(memory)?];
    let vaults = runtime.block_on(async {
        let mut vaults = Vec::new();
        for (folder, signed) in folders.iter().zip([false, true]) {
            let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
            let phrase: Credential = RecoveryPhrase::generate()?.into();
            let options = VaultOptions::new().signed(signed);
            vaults.push(options.create(store, phrase).await?);
        }
        Ok::<_, Box<dyn std::error::Error>>(vaults)
    })?;
    println!("| CPU time of the process | unsigned | signed | ratio |");
    println!("|---|---|---|---|");
    runtime.block_on(async {
        report("256 MiB written", &vaults, async |vault, _| {
            let reader = Pattern(WRITE);
            vault
                .put_reader("new", reader, PutOptions::default())
                .await?;
            Ok(())
        })
        .await?;
        for vault in &vaults {
            let reader = Pattern(OBJECT);
            vault.put_reader("x", reader, PutOptions::default()).await?;
            // The signature is known from here on.
            vault.get_range("x", 0..1).await?;
        }
        report(
            "1,500 ranges of 64 KiB read",
            &vaults,
            async |vault, turn| {
                for n in 0..RANGES {
                    let start = (n * 7_919 + turn * 104_729) * 4_099 % (OBJECT - RANGE);
                    vault.get_range("x", start..start + RANGE).await?;
                }
                Ok(())
            },
        )
        .await
    })
}

async fn report(what: &str, vaults: &[Vault], work: impl AsyncFn(&Vault, u64) -> Result) -> Result {
    let mut times = [Vec::new(), Vec::new()];
    // The first turn warms up.
    for turn in 0..=TURNS {
        for (vault, times) in vaults.iter().zip(&mut times) {
            let before = cpu()?;
            work(vault, turn as u64).await?;
            if turn > 0 {
                times.push(cpu()? - before);
            }
        }
    }
    let mut ratios: Vec<f64> = times[1].iter().zip(&times[0]).map(|(s, u)| s / u).collect();
    let [mut unsigned, mut signed] = times;
    for list in [&mut unsigned, &mut signed, &mut ratios] {
        list.sort_unstable_by(f64::total_cmp);
    }
    println!(
        "| {what} | {:.2} s | {:.2} s | {:.2} ({:.2}–{:.2}) |",
        unsigned[TURNS / 2],
        signed[TURNS / 2],
        ratios[TURNS / 2],
        ratios[0],
        ratios[TURNS - 1]
    );
    Ok(())
}

/// Seconds of all threads, those that ended too.
fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the process may hold anything; behind it come numbers.
    let (_, numbers) = stat.rsplit_once(')').ok_or("no stat")?;
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let ticks: u64 = numbers[11].parse::<u64>()? + numbers[12].parse::<u64>()?;
    // USER_HZ, 100 on Linux.
    Ok(ticks as f64 / 100.0)
}

/// So many bytes that cost next to nothing.
struct Pattern(u64);

impl Read for Pattern {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        out[..length].fill(0x5a);
        self.0 -= length as u64;
        Ok(length)
    }
}
