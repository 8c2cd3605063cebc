//! Kluis in one minute: real files go to a store that can read nothing of them,
//! come back bit for bit, and whatever the store changes is noticed.
//!
//! ```sh
//! cargo run --release --example quickstart
//! ```
//!
//! The store is a folder, so that we can break into it at the end. Everything
//! that is printed with a `+` was checked in that moment; the first thing that
//! does not hold ends the program with an error.
#![forbid(unsafe_code)]

use futures_util::TryStreamExt;
use kluis::object_store::local::LocalFileSystem;
use kluis::{Error, Password, Vault};
use kluis_adversary::{HostileStore, Op};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs, io};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const PASSWORD: &str = "correct horse battery staple";

#[tokio::main]
async fn main() -> Result {
    let folder = tempfile::tempdir()?;
    // Only here to count: it stands before the folder and keeps every request.
    // An application gives the `LocalFileSystem`, or an S3 bucket, to the vault.
    let store = HostileStore::new(LocalFileSystem::new_with_prefix(&folder)?);

    title("A vault, and real files in it");
    let vault = Vault::create(Arc::new(store.clone()), Password::new(PASSWORD)).await?;
    println!("  vault {} in {}", vault.id(), folder.path().display());

    let files = source_files()?;
    let before = store.mark();
    for (path, content) in &files {
        vault.put(path, content.clone()).await?;
    }
    let sent = store.journal().since(before);
    let listed: Vec<_> = vault.list(None).try_collect().await?;
    let known = |path: &str, size: u64| files.get(path).is_some_and(|f| f.len() as u64 == size);
    held(
        &format!("{} files went up, and are listed", files.len()),
        listed.len() == files.len() && listed.iter().all(|o| known(o.location.as_ref(), o.size)),
    )?;

    title("What the provider sees                  What the owner sees");
    // Each file was one request, in their order.
    let puts = sent.only(|call| call.op == Op::Put);
    let places: BTreeMap<&str, String> = files
        .keys()
        .map(String::as_str)
        .zip(puts.calls().iter().map(|put| put.path.to_string()))
        .collect();
    for (path, place) in places.iter().step_by(places.len() / 8 + 1) {
        let stored = fs::metadata(folder.path().join(place))?.len();
        let (place, size) = (abbreviated(place), files[*path].len());
        println!("  {place:<26} {stored:>8}   {path:<38} {size:>8}");
    }
    println!("  The tree's shape, sizes and times are seen; names and contents are not:");
    let names = files.keys().filter_map(|path| path.rsplit('/').next());
    let lines = files.values().filter_map(|file| longest_line(file));
    let readable = |text: &[u8]| text.len() > 5 && !sent.find(text).is_empty();
    held(
        "no file's name, and no file's longest line, was ever sent",
        !names.map(str::as_bytes).chain(lines).any(readable),
    )?;

    title("A few bytes of a large object");
    let log: String = (0..3_000_000).map(|n| format!("entry {n:>8}\n")).collect();
    vault.put("large.log", log.clone()).await?;
    let before = store.mark();
    let entry = vault.get_range("large.log", 22_500_000..22_500_015).await?;
    let reads = store.journal().since(before);
    let fetched: u64 = reads.calls().iter().map(|call| call.received).sum();
    println!("  {:?}", String::from_utf8_lossy(&entry));
    held(
        &format!(
            "{} bytes out of {} MB cost {fetched} bytes fetched",
            entry.len(),
            log.len() / 1_000_000
        ),
        *entry == log.as_bytes()[22_500_000..22_500_015] && fetched < 20_000,
    )?;

    title("Another machine, with the password");
    let store = Arc::new(LocalFileSystem::new_with_prefix(&folder)?);
    let vault = Vault::open(store.clone(), Password::new(PASSWORD)).await?;
    let mut same = read(&vault, "large.log").await? == log.as_bytes();
    for (path, content) in &files {
        same &= read(&vault, path).await? == *content;
    }
    held("every file came back bit for bit", same)?;

    title("What is refused");
    let stranger = Vault::open(store, Password::new("correct horse battery stable")).await;
    held(
        "a wrong password",
        matches!(stranger, Err(Error::WrongCredentials)),
    )?;

    let mut two = places
        .iter()
        .map(|(path, place)| (*path, folder.path().join(place)));
    let (Some((one, here)), Some((other, there))) = (two.next(), two.next()) else {
        return Err("two files are needed".into());
    };
    let intact = fs::read(&here)?;
    let mut flipped = intact.clone();
    flipped[intact.len() / 2] ^= 1;
    fs::write(&here, &flipped)?;
    held("one flipped bit", is_tampered(&vault, one).await)?;
    fs::write(&here, &intact)?;

    swap(&here, &there)?;
    held(
        "two objects that changed places",
        is_tampered(&vault, one).await && is_tampered(&vault, other).await,
    )?;
    swap(&here, &there)?;
    held(
        "and nothing else: put back, both are read again",
        read(&vault, one).await? == files[one] && read(&vault, other).await? == files[other],
    )?;

    println!("\nall of it held");
    Ok(())
}

async fn read(vault: &Vault, path: &str) -> kluis::Result<Vec<u8>> {
    Ok(vault.get(path).await?.bytes().await?.into())
}

async fn is_tampered(vault: &Vault, path: &str) -> bool {
    matches!(read(vault, path).await, Err(Error::Tampered { .. }))
}

fn swap(one: &Path, other: &Path) -> io::Result<()> {
    let aside = one.with_extension("aside");
    fs::rename(one, &aside)?;
    fs::rename(other, one)?;
    fs::rename(aside, other)
}

/// The sources of Kluis, by their paths; a few notes where they are not at hand.
fn source_files() -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        for folder in ["crates", "docs", "examples"] {
            collect(&root.join(folder), folder, &mut files)?;
        }
    }
    if files.len() < 2 {
        for day in 1..=31 {
            let note = format!("On day {day} I wrote nothing that others should read.\n");
            files.insert(format!("diary/2026/{day:02}.txt"), note.repeat(day).into());
        }
    }
    Ok(files)
}

fn collect(folder: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &name, files)?;
        } else if kind.is_file() {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

fn longest_line(file: &[u8]) -> Option<&[u8]> {
    file.split(|byte| *byte == b'\n')
        .max_by_key(|line| line.len())
}

/// `o/8f3k…/1c0d…` for a stored path, whose segments are long.
fn abbreviated(place: &str) -> String {
    let short = |segment: &str| match segment.get(..4) {
        Some(start) => format!("{start}…"),
        None => segment.to_owned(),
    };
    place.split('/').map(short).collect::<Vec<_>>().join("/")
}

fn title(text: &str) {
    println!("\n{text}");
}

fn held(what: &str, held: bool) -> Result {
    if !held {
        return Err(format!("this does not hold: {what}").into());
    }
    println!("  + {what}");
    Ok(())
}
