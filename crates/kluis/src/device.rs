use crate::sharing::Instead;
use crate::{Address, Error, Result};
use futures_util::TryFutureExt;
use futures_util::future::Either;
use kluis_crypto::{Accepted, DeviceKey, Header, Pins, Position, RecordHash};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a device remembers of the vaults it has seen, so that a store can never
/// show it an older state again, nor another vault under a known address.
///
/// Losing it is safe but for that: the next opening trusts what it is shown.
pub trait DeviceState: Send + Sync + fmt::Debug {
    /// The pins of an address.
    ///
    /// # Errors
    /// Those of the device. A damaged state is an error: without it a rolled-back
    /// vault would pass.
    fn load(&self, address: &str) -> io::Result<Option<Pins>>;

    /// Keeps the pins of an address in place of the ones before.
    ///
    /// # Errors
    /// Those of the device.
    fn save(&self, address: &str, pins: &Pins) -> io::Result<()>;

    /// Gives the pins of an address to `change`, and keeps what comes back, if anything
    /// does. It may be asked again about newer pins; its last word counts.
    ///
    /// # Errors
    /// Those of the device, and of `change`.
    ///
    /// # Security
    /// As it is provided it loads and saves, for a state that nobody else changes
    /// meanwhile. Of two who do, one undoes what the other has seen or accepted.
    fn update(&self, address: &str, change: &mut PinsChange<'_>) -> io::Result<()> {
        match change(self.load(address)?)? {
            Some(pins) => self.save(address, &pins),
            None => Ok(()),
        }
    }
}

/// What becomes of pins: see [`DeviceState::update`].
pub type PinsChange<'a> = dyn FnMut(Option<Pins>) -> io::Result<Option<Pins>> + 'a;

/// Device state in memory, for programs that pin for the time they run.
#[derive(Debug, Default)]
pub struct MemoryState(Mutex<HashMap<String, Pins>>);

impl MemoryState {
    /// No pins yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl DeviceState for MemoryState {
    fn load(&self, address: &str) -> io::Result<Option<Pins>> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(address)
            .cloned())
    }

    fn save(&self, address: &str, pins: &Pins) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.to_owned(), pins.clone());
        Ok(())
    }

    fn update(&self, address: &str, change: &mut PinsChange<'_>) -> io::Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pins) = change(all.get(address).cloned())? {
            all.insert(address.to_owned(), pins);
        }
        Ok(())
    }
}

/// Device state in a folder of files, sealed under a key that lies beside them:
/// a copy of single files says nothing of addresses, and an altered one is refused.
/// Processes that share the folder change it one after another, where the file system
/// has locks.
#[derive(Debug)]
pub struct FileState {
    folder: PathBuf,
}

impl FileState {
    const KEY: &str = "device.key";
    const LOCK: &str = "device.lock";

    /// State in this folder, which is made when something is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Forgets the vault of an address, which was removed: what lies there next is
    /// trusted as it was the first time.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forget(&self, address: &Address) -> io::Result<()> {
        match std::fs::remove_file(self.pin_file(address.url().as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn pin_file(&self, address: &str) -> PathBuf {
        self.folder
            .join(format!("{}.pins", RecordHash::of(address.as_bytes())))
    }

    fn key(&self) -> io::Result<Option<DeviceKey>> {
        match std::fs::read(self.folder.join(Self::KEY)) {
            Ok(bytes) => {
                let bytes = zeroize::Zeroizing::new(bytes);
                DeviceKey::from_bytes(&bytes)
                    .map(Some)
                    .map_err(io::Error::other)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn key_or_new(&self) -> io::Result<DeviceKey> {
        if let Some(key) = self.key()? {
            return Ok(key);
        }
        std::fs::create_dir_all(&self.folder)?;
        let key = DeviceKey::make().map_err(io::Error::other)?;
        // Two processes that make one: the link decides, and both read it back.
        let (file, staged) = staged(&self.folder)?;
        write_whole(file, key.expose_bytes())?;
        let linked = std::fs::hard_link(&staged, self.folder.join(Self::KEY));
        std::fs::remove_file(&staged)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self
                .key()?
                .ok_or_else(|| io::Error::other("the device key was removed")),
        }
    }
}

impl DeviceState for FileState {
    fn load(&self, address: &str) -> io::Result<Option<Pins>> {
        self.load_pins(address).map_err(|error| self.told(&error))
    }

    fn save(&self, address: &str, pins: &Pins) -> io::Result<()> {
        let saved = self.save_pins(address, pins);
        saved.map_err(|error| self.told(&error))
    }

    fn update(&self, address: &str, change: &mut PinsChange<'_>) -> io::Result<()> {
        let updated = self.update_pins(address, change);
        updated.map_err(|error| self.told(&error))
    }
}

impl FileState {
    /// Names the folder: nobody looks for the cause there who asked for a vault.
    fn told(&self, error: &io::Error) -> io::Error {
        let text = format!("device state in {}: {error}", self.folder.display());
        io::Error::new(error.kind(), text)
    }

    fn update_pins(&self, address: &str, change: &mut PinsChange<'_>) -> io::Result<()> {
        // Mostly nothing changes: that takes no lock, nor a folder that can be written.
        if change(self.load_pins(address)?)?.is_none() {
            return Ok(());
        }
        let _held = self.lock()?;
        match change(self.load_pins(address)?)? {
            Some(pins) => self.save_pins(address, &pins),
            None => Ok(()),
        }
    }

    /// Held until it is dropped, or its process ends.
    fn lock(&self) -> io::Result<std::fs::File> {
        std::fs::create_dir_all(&self.folder)?;
        let mut options = own_file();
        let file = options.create(true).open(self.folder.join(Self::LOCK))?;
        match file.lock() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(file),
        }
    }

    fn load_pins(&self, address: &str) -> io::Result<Option<Pins>> {
        let bytes = match std::fs::read(self.pin_file(address)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = self.key()?.ok_or_else(|| {
            io::Error::other("the pins of this vault are there and the device key beside them is gone; remove both to trust what the store shows")
        })?;
        Pins::open(&bytes, &key, address).map(Some).map_err(|error| {
            let file = self.pin_file(address);
            let file = file.file_name().unwrap_or_default().display();
            io::Error::other(format!(
                "{file}: {error}; if nobody but you has touched it, remove it: this device then trusts what it is shown next, and grants are accepted again"
            ))
        })
    }

    fn save_pins(&self, address: &str, pins: &Pins) -> io::Result<()> {
        let key = self.key_or_new()?;
        let sealed = pins.seal(&key, address).map_err(io::Error::other)?;
        let (file, staged) = staged(&self.folder)?;
        write_whole(file, &sealed)?;
        std::fs::rename(&staged, self.pin_file(address))
    }
}

/// Files that nobody else can read.
fn own_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A fresh file of our own beside the target.
fn staged(folder: &Path) -> io::Result<(std::fs::File, PathBuf)> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut options = own_file();
    options.create_new(true);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".staged-{}-{number}", std::process::id()));
        match options.open(&path) {
            Ok(file) => return Ok((file, path)),
            // Left by a process that died under our number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_whole(mut file: std::fs::File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// The pins of one address, on the device of the caller.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) state: Arc<dyn DeviceState>,
    pub(crate) address: String,
}

impl Device {
    pub(crate) async fn load(&self) -> Result<Option<Pins>> {
        let Self { state, address } = self.clone();
        Ok(blocking(move || state.load(&address)).await??)
    }

    /// Remembers what was seen. Pins never go back: another process may have
    /// seen more meanwhile.
    pub(crate) async fn save(&self, header: &Header, ledger: Position) -> Result<()> {
        let now = Pins {
            vault: header.vault(),
            authority: *header.authorities().current(),
            header: header.position(),
            ledger,
            // Headers are signed, so a cheaper slot is the owner's own choice.
            kdf_floor: None,
            unconfirmed: Vec::new(),
            accepted: Vec::new(),
        };
        self.update(move |pins| {
            let mut seen = now.clone();
            if let Some(pinned) = pins.filter(|pinned| pinned.vault == seen.vault) {
                if pinned.header.sequence > seen.header.sequence {
                    seen.authority = pinned.authority;
                }
                seen.accepted = pinned.accepted;
                seen.header = newer(pinned.header, seen.header);
                seen.ledger = newer(pinned.ledger, seen.ledger);
                if (seen.header, seen.ledger) == (pinned.header, pinned.ledger) {
                    return Ok((None, ()));
                }
            }
            Ok((Some(seen), ()))
        })
        .await
    }

    /// Remembers a grant that was accepted, by this name or else the one that it has.
    /// What it takes the place of is forgotten, with what came by that alone.
    ///
    /// # Errors
    /// `AlreadyExists` where another has the name.
    pub(crate) async fn accept(
        &self,
        accepted: Accepted,
        name: Option<String>,
        instead: Option<Instead>,
    ) -> Result<()> {
        let taken = self.update(move |pins| {
            let mut pins =
                pins.ok_or_else(|| io::Error::other("the vault is not known here yet"))?;
            let is_it = |other: &Accepted| other.letter == accepted.letter;
            let kept = pins.accepted.iter().find(|other| is_it(other));
            let kept = kept.map(|kept| kept.name.clone());
            let name = name.clone().or(kept);
            let name = name.unwrap_or_else(|| accepted.name.clone());
            if let Some(instead) = &instead {
                for other in &mut pins.accepted {
                    if other.place == Some(instead.letter)
                        && instead.comes_anew.contains(&other.letter)
                    {
                        other.place = Some(accepted.letter);
                    }
                }
                let goes = |a: &Accepted| a.place == Some(instead.letter);
                pins.accepted
                    .retain(|other| other.letter != instead.letter && !goes(other));
            }
            let mut others = pins.accepted.iter().filter(|other| !is_it(other));
            if others.any(|other| other.name == name) {
                return Ok((None, Some(name)));
            }
            pins.accepted.retain(|other| !is_it(other));
            pins.accepted.push(Accepted {
                name,
                ..accepted.clone()
            });
            Ok((Some(pins), None))
        });
        match taken.await? {
            Some(path) => Err(Error::AlreadyExists { path }),
            None => Ok(()),
        }
    }

    /// Forgets a grant that was accepted, and of a place in a group what came by it: the
    /// names of it all.
    pub(crate) async fn forget(&self, name: &str) -> Result<Vec<String>> {
        let gone = name.to_owned();
        let forgotten = self.update(move |pins| {
            let Some(mut pins) = pins else {
                return Ok((None, Vec::new()));
            };
            let named = pins.accepted.iter().find(|a| a.name == gone);
            let Some(letter) = named.map(|named| named.letter) else {
                return Ok((None, Vec::new()));
            };
            let goes = |a: &mut Accepted| a.letter == letter || a.place == Some(letter);
            let gone: Vec<_> = pins.accepted.extract_if(.., goes).collect();
            Ok((Some(pins), gone.into_iter().map(|a| a.name).collect()))
        });
        let forgotten = forgotten.await?;
        if forgotten.is_empty() {
            return Err(Error::NotFound {
                path: name.to_owned(),
            });
        }
        Ok(forgotten)
    }

    /// Changes the pins, and says what came of the change in the end.
    async fn update<T: Send + 'static>(
        &self,
        change: impl Fn(Option<Pins>) -> io::Result<(Option<Pins>, T)> + Send + 'static,
    ) -> Result<T> {
        let Self { state, address } = self.clone();
        let updated = blocking(move || {
            let mut outcome = None;
            state.update(&address, &mut |pins| {
                let (pins, came) = change(pins)?;
                outcome = Some(came);
                Ok(pins)
            })?;
            outcome.ok_or_else(|| io::Error::other("the device state was not asked"))
        });
        Ok(updated.await??)
    }
}

fn newer(pinned: Position, seen: Position) -> Position {
    if pinned.sequence > seen.sequence {
        pinned
    } else {
        seen
    }
}

/// Checks what the store shows against what this device has seen of the header.
pub(crate) fn check_header(pins: &Pins, header: &Header) -> Result<()> {
    let what = || crate::control::HEADER.to_owned();
    if pins.vault != header.vault() {
        return Err(Error::other_vault(pins.vault, header.vault()));
    }
    // A successor of the pinned authority names it; a rival successor does not name
    // the one that this device has seen.
    if !header.authorities().contains(&pins.authority) {
        let older = header.position().sequence < pins.header.sequence;
        return Err(if older {
            Error::Stale { what: what() }
        } else {
            Error::Forked { what: what() }
        });
    }
    let found = header.position();
    if found.sequence < pins.header.sequence {
        return Err(Error::Stale { what: what() });
    }
    if found.sequence == pins.header.sequence && found.hash != pins.header.hash {
        return Err(Error::Forked { what: what() });
    }
    Ok(())
}

/// Runs blocking work off the runtime's own threads, and begins it at once. Where
/// there is no runtime nothing else waits for this thread: it runs here, when it is
/// waited for.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            let io = |error| Error::Io {
                source: io::Error::other(error),
            };
            Either::Left(runtime.spawn_blocking(work).map_err(io))
        }
        Err(_) => Either::Right(async { Ok(work()) }),
    }
}
