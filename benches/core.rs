//! The core's speed beside that of the bare primitives: `cargo bench -p kluis-benches`,
//! and with `--features kluis-crypto/ring` as the command has it, while the bare cipher
//! stays the one in Rust.
//!
//! What is compared runs by turns in one process, so that a busy machine slows
//! all of it alike: trust the ratios more than the numbers. One core each.
#![forbid(unsafe_code)]

use argon2::Argon2;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use kluis_crypto::{
    CHUNK_LENGTH, Credential, DecodedSegment, Entry, Header, Identity, KdfCeiling, KdfParams,
    Ledger, Metadata, Opener, Password, SEALED_CHUNK_LENGTH, Sealer, Suite, VaultPath,
    VaultSecrets, make_slot,
};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Instant;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
/// Does some work, and fails if it did not work.
type Work<'a> = Box<dyn FnMut() -> Result + 'a>;

/// Chunks of a unit, as files are sealed: 1 MiB.
const UNIT: usize = 64;
/// Units of a turn.
const UNITS: usize = 16;
const MEGABYTES: f64 = (UNITS * UNIT * CHUNK_LENGTH) as f64 / 1e6;
const NAMES: u32 = 10_000;

fn main() -> Result {
    let credential = Credential::from(Password::new("correct horse battery staple"));
    println!("| one core | median | min–max | ratio |");
    println!("|---|---|---|---|");
    for (suite, what) in [(Suite::V1, ""), (Suite::V2, ", signed")] {
        let secrets = VaultSecrets::make(0)?;
        let entry = Entry::first(&secrets, suite, false, 0)?;
        let slot = make_slot(&secrets, &credential, KdfParams::default(), 0)?;
        let header = Header::first(&secrets, suite, entry.position(), slot, 0)?;
        let ledger = Ledger::read(entry.position(), [entry], &header, &secrets)?;
        contents(&header, &ledger, secrets.identity(), what)?;
        if suite == Suite::V1 {
            names(&ledger)?;
            slots(&header, &credential)?;
        }
    }
    hashes()
}

/// What signed objects are signed over, and what could have been.
fn hashes() -> Result {
    let chunks = vec![1; UNIT * SEALED_CHUNK_LENGTH];
    let sha: Work = Box::new(|| {
        for chunk in black_box(&chunks).chunks(SEALED_CHUNK_LENGTH) {
            black_box(Sha256::digest(chunk));
        }
        Ok(())
    });
    let blake: Work = Box::new(|| {
        for chunk in black_box(&chunks).chunks(SEALED_CHUNK_LENGTH) {
            black_box(blake3::hash(chunk));
        }
        Ok(())
    });
    let both = [("chunks, SHA-256", sha), ("chunks, BLAKE3", blake)];
    report("MB/s", MEGABYTES, UNITS, both)
}

/// Objects, by units of 1 MiB.
fn contents(header: &Header, ledger: &Ledger, writer: &Identity, what: &str) -> Result {
    let path = VaultPath::parse("folder/object")?;
    let vault = header.vault();
    let sealer = Sealer::new(
        (&vault, header.suite()),
        ledger.tree(),
        &path,
        writer,
        1,
        &Metadata::default(),
        None,
    )?;
    let opener = Opener::new(
        sealer.header(),
        &vault,
        header.suite(),
        ledger.tree(),
        &path,
    )?;
    let bare = ChaCha20Poly1305::new(&[7; 32].into());

    let mut sealed = vec![1; UNIT * SEALED_CHUNK_LENGTH];
    let mut work = sealed.clone();
    let mut plain = vec![1; UNIT * CHUNK_LENGTH];
    let mut text = plain.clone();
    let mut tags = Vec::new();
    for (index, chunk) in plain.chunks_mut(CHUNK_LENGTH).enumerate() {
        let tag = bare.encrypt_inout_detached(&nonce(index), b"", InOutBuf::from(chunk));
        tags.push(tag.map_err(|_| "sealing")?);
    }
    let cipher = plain.clone();
    let leaves = sealer.seal(0, &mut sealed)?;

    let seal_bare: Work = Box::new(|| {
        for (index, chunk) in plain.chunks_mut(CHUNK_LENGTH).enumerate() {
            let tag = bare.encrypt_inout_detached(&nonce(index), b"", InOutBuf::from(chunk));
            black_box(tag.map_err(|_| "sealing")?);
        }
        Ok(())
    });
    let seal: Work = Box::new(|| Ok(black_box(sealer.seal(0, &mut work)).map(drop)?));
    report(
        "MB/s",
        MEGABYTES,
        UNITS,
        [
            ("seal, bare primitive", seal_bare),
            (&format!("seal{what}"), seal),
        ],
    )?;

    let mut out = text.clone();
    let open_bare: Work = Box::new(|| {
        let chunks = cipher
            .chunks(CHUNK_LENGTH)
            .zip(out.chunks_mut(CHUNK_LENGTH));
        for (index, ((chunk, out), tag)) in chunks.zip(&tags).enumerate() {
            let both = InOutBuf::new(chunk, out).map_err(|_| "lengths")?;
            let opened = bare.decrypt_inout_detached(&nonce(index), b"", both, tag);
            opened.map_err(|_| "opening")?;
        }
        Ok(())
    });
    let open: Work = Box::new(|| Ok(opener.open(0, &sealed, &leaves, black_box(&mut text))?));
    report(
        "MB/s",
        MEGABYTES,
        UNITS,
        [
            ("open, bare primitive", open_bare),
            (&format!("open{what}"), open),
        ],
    )
}

fn nonce(index: usize) -> chacha20poly1305::Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(index as u64).to_be_bytes());
    nonce.into()
}

/// Names of a folder, as a listing decrypts them.
fn names(ledger: &Ledger) -> Result {
    let names = ledger
        .tree()
        .names(None)
        .ok_or("the tree of a vault has names")?;
    let stored: Vec<_> = (0..NAMES)
        .map(|number| names.encrypt(&format!("IMG_{number:06}.jpg")).name)
        .collect();
    let decrypt: Work = Box::new(|| {
        let is_name = |name: &String| matches!(names.decrypt(name), DecodedSegment::Name(_));
        match stored.iter().all(is_name) {
            true => Ok(()),
            false => Err("a foreign name".into()),
        }
    });
    let encrypt: Work = Box::new(|| {
        for number in 0..NAMES {
            black_box(names.encrypt(&format!("IMG_{number:06}.jpg")));
        }
        Ok(())
    });
    report(
        "names/s",
        NAMES.into(),
        1,
        [("names encrypted", encrypt), ("names decrypted", decrypt)],
    )
}

/// Opening a header by password: what a guess costs, and what it costs us.
fn slots(header: &Header, credential: &Credential) -> Result {
    let argon2: Work = Box::new(|| {
        let cost = KdfParams::default();
        let params = argon2::Params::new(cost.memory_kib(), cost.passes(), 1, None)?;
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut key = [0; 32];
        Ok(argon2.hash_password_into(b"a password", &[7; 32], &mut key)?)
    });
    let open: Work = Box::new(|| {
        header.open(credential, KdfCeiling::default())?;
        Ok(())
    });
    report(
        "1/s",
        1.0,
        1,
        [
            ("Argon2id, bare primitive", argon2),
            ("header opened by password", open),
        ],
    )
}

/// Runs two kinds of work by turns, and prints how much of `amount` each does in
/// a second, and how the second compares with the first.
fn report(unit: &str, amount: f64, repeat: usize, mut both: [(&str, Work); 2]) -> Result {
    const TURNS: usize = 15;
    let mut speeds = [Vec::new(), Vec::new()];
    // The first turn warms up.
    for turn in 0..=TURNS {
        for ((_, work), speeds) in both.iter_mut().zip(&mut speeds) {
            let start = Instant::now();
            for _ in 0..repeat {
                work()?;
            }
            if turn > 0 {
                speeds.push(amount / start.elapsed().as_secs_f64());
            }
        }
    }
    let mut ratios: Vec<_> = speeds[1]
        .iter()
        .zip(&speeds[0])
        .map(|(b, a)| b / a)
        .collect();
    for (number, ((what, _), speeds)) in both.iter().zip(&mut speeds).enumerate() {
        let ratio = match number {
            0 => "1".to_owned(),
            _ => format!("{:.2}", median(&mut ratios)),
        };
        let middle = median(speeds);
        let (min, max) = (speeds[0], speeds[speeds.len() - 1]);
        let digits = if max < 100.0 { 1 } else { 0 };
        println!("| {what} | {middle:.digits$} {unit} | {min:.digits$}–{max:.digits$} | {ratio} |");
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
