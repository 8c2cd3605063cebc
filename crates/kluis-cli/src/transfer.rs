//! Copying many files: find them, compare, move the bytes, count what became of each.
//!
//! One thread finds what there is to copy and fills a queue; N threads take
//! from it. They are threads and not tasks because most of what they do is
//! ordinary blocking work on local files, and a thread may do that where it
//! stands. What they ask of a remote vault, or of any for a large file, runs on
//! the async runtime; a small file of a vault in a folder is one straight run of
//! system calls on its thread, for to change threads takes longer than any of
//! them. Nothing but the names in the queue grows with the number of files, and a
//! budget of bytes keeps many files of medium size from doing together what one
//! large file may not.

mod exclude;
mod find;

pub(crate) use exclude::Exclude;

use crate::address::join;
use crate::exit::{Exit, Failure, Result, Tally};
use crate::local::{self, Existing, Folder};
use crate::progress::Progress;
use crate::session::Opened;
use crate::terminal::{Message, ObjectMessage, SummaryMessage, Terminal, human_bytes};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::Peekable;
use kluis::object_store::PutMode;
use kluis::{Listing, ObjectInfo, PutOptions};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Up to here a file is read, sealed and sent in one piece.
const SMALL: u64 = 1 << 20;
/// Up to here the store itself refuses to replace what came up meanwhile. What
/// is sent in parts cannot be conditional: there we look once more just before.
const CONDITIONAL: u64 = 8 << 20;
/// Bytes of all files under way at once, in units; a larger file goes alone.
const BUDGET_UNIT: u64 = 64 << 10;
const BUDGET_UNITS: u32 = 512;
/// Names found but not yet taken.
const QUEUE: usize = 16 << 10;
/// Failures of the store in a row after which the rest is not tried.
const GIVE_UP: u32 = 16;

/// Threads that still have something to clean up.
static BUSY: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn busy() -> bool {
    BUSY.load(Ordering::SeqCst) > 0 || local::unfinished() > 0
}

struct Busy;

impl Busy {
    fn new() -> Self {
        BUSY.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How to copy.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) verb: &'static str,
    pub(crate) done: &'static str,
    pub(crate) overwrite: bool,
    pub(crate) checksum: bool,
    pub(crate) dry_run: bool,
    pub(crate) follow: bool,
    /// Remove each source once its target is there: `mv`.
    pub(crate) remove_source: bool,
    pub(crate) exclude: Exclude,
    pub(crate) transfers: usize,
    /// A vault of it is not in a folder of this machine.
    pub(crate) remote: bool,
    pub(crate) umask: Mode,
    /// More than one file may come of it.
    pub(crate) many: bool,
}

/// One source and where it goes.
pub(crate) struct Job {
    pub(crate) from: From,
    pub(crate) to: To,
    pub(crate) walk: Walk,
}

/// The source: a file or object itself, or the root of a tree of them.
pub(crate) enum From {
    Local(PathBuf),
    Vault(Arc<InVault>),
}

/// The target of the source itself, or the root of where its tree goes.
pub(crate) enum To {
    Local { folder: Folder, path: String },
    Vault(Arc<InVault>),
}

/// A place in an open vault.
pub(crate) struct InVault {
    pub(crate) opened: Arc<Opened>,
    /// `NAME`, or nothing for `:`.
    pub(crate) name: String,
    pub(crate) path: String,
}

impl InVault {
    fn at(&self, relative: &str) -> String {
        if relative.is_empty() {
            self.path.clone()
        } else {
            join(&self.path, relative)
        }
    }

    fn shown(&self, relative: &str) -> String {
        format!("{}:{}", self.name, self.at(relative))
    }
}

/// What there is to find in a source.
pub(crate) enum Walk {
    /// The source itself.
    Itself,
    /// All files below the local folder.
    LocalTree,
    /// All objects of this listing.
    Listing(Mutex<Option<Peekable<Listing>>>),
}

struct Item {
    job: usize,
    /// Below the source; empty for the source itself.
    relative: String,
    size: u64,
    presence: Presence,
}

/// What is known about the target before anybody looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Absent,
    Unknown,
}

enum Outcome {
    Copied(u64),
    Replaced(u64),
    Skipped,
}

/// A copy of one or many files under way.
pub(crate) struct Transfer {
    options: Options,
    jobs: Vec<Job>,
    terminal: Arc<Terminal>,
    progress: Arc<Progress>,
    runtime: Handle,
    cancel: watch::Receiver<bool>,
    tally: Mutex<Tally>,
    budget: Semaphore,
    store_failures: AtomicU32,
    given_up: AtomicBool,
}

impl Transfer {
    pub(crate) fn new(
        options: Options,
        jobs: Vec<Job>,
        terminal: Arc<Terminal>,
        cancel: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let tally = Tally::new(options.many);
        Arc::new(Self {
            options,
            jobs,
            terminal,
            progress: Arc::default(),
            runtime: Handle::current(),
            cancel,
            tally: Mutex::new(tally),
            budget: Semaphore::new(BUDGET_UNITS as usize),
            store_failures: AtomicU32::new(0),
            given_up: AtomicBool::new(false),
        })
    }

    /// Copies everything and reports it.
    pub(crate) async fn run(self: Arc<Self>) -> Result<()> {
        let start = Instant::now();
        let ticker = self.terminal.show(&self.progress);
        let copying = self.clone();
        let lost = tokio::task::spawn_blocking(move || copying.copy_all()).await;
        drop(ticker);
        if *self.cancel.borrow() {
            return Err(Failure::interrupted());
        }
        if lost.is_err() {
            let message = "a thread ended that should not have";
            return Err(Failure::new(
                Exit::Error,
                "internal",
                message,
                "please report this",
            ));
        }
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        if tally.failed == 0 || tally.many {
            self.summarise(&tally, start)?;
        }
        tally.end(self.options.done)
    }

    fn summarise(&self, tally: &Tally, start: Instant) -> Result<()> {
        let would = if self.options.dry_run {
            "would have been "
        } else {
            ""
        };
        let mut text = format!(
            "{}{} {} ({})",
            would,
            self.options.done,
            plural(tally.done, "file"),
            human_bytes(tally.bytes)
        );
        if tally.skipped > 0 {
            text.push_str(&format!(", {} skipped", tally.skipped));
        }
        if tally.failed > 0 {
            text.push_str(&format!(", {} failed", tally.failed));
        }
        let summary = SummaryMessage {
            command: self.options.verb,
            items: tally.done,
            bytes: tally.bytes,
            skipped: tally.skipped,
            failed: tally.failed,
            nameless: Some(tally.nameless),
            foreign: Some(tally.foreign),
            dry_run: self.options.dry_run,
            seconds: start.elapsed().as_secs_f64(),
            ..SummaryMessage::default()
        };
        self.terminal.summary(&text, summary)
    }

    // ------------------------------------------------------------- working

    /// On threads of its own, which the runtime does not know.
    fn copy_all(&self) {
        let (send, receive) = sync_channel(QUEUE);
        let receive = Arc::new(Mutex::new(receive));
        std::thread::scope(|threads| {
            threads.spawn(move || self.find(&send));
            for _ in 0..self.options.transfers {
                let queue = receive.clone();
                threads.spawn(move || self.work(&queue));
            }
            // The last worker to end takes the queue along, and so ends the finding.
            drop(receive);
        });
    }

    fn work(&self, queue: &Mutex<Receiver<Item>>) {
        let _busy = Busy::new();
        loop {
            let item = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(item) = item else { return };
            if self.stopped() {
                if *self.cancel.borrow() {
                    return;
                }
                let hint = "run the same command again when the store answers";
                let failure = Failure::new(Exit::Unreachable, "store", "not tried", hint);
                self.lock_tally().fail(failure);
                continue;
            }
            let job = &self.jobs[item.job];
            let weight = match (&job.from, item.relative.as_str()) {
                // An object whose size nobody has looked up: as if it were large.
                (From::Vault(_), "") => BUDGET_UNITS,
                _ => u32::try_from(item.size.div_ceil(BUDGET_UNIT)).unwrap_or(BUDGET_UNITS),
            };
            let weight = weight.clamp(1, BUDGET_UNITS);
            let Ok(permit) = self.wait(self.budget.acquire_many(weight)) else {
                return;
            };
            let on_runtime = (item.size > SMALL || self.options.remote || item.relative.is_empty())
                .then(|| self.runtime.enter());
            let outcome = self.copy(job, &item);
            drop((on_runtime, permit));
            match outcome {
                Ok(outcome) => self.succeeded(job, &item, &outcome),
                Err(failure) if failure.exit == Exit::Interrupted => return,
                Err(failure) => self.failed(failure.at(self.source_shown(job, &item.relative))),
            }
        }
    }

    fn succeeded(&self, job: &Job, item: &Item, outcome: &Outcome) {
        self.store_failures.store(0, Ordering::Relaxed);
        self.progress.items_done.fetch_add(1, Ordering::Relaxed);
        let (action, size) = match outcome {
            Outcome::Copied(size) => (self.options.done, *size),
            Outcome::Replaced(size) => ("replaced", *size),
            Outcome::Skipped => ("skipped", item.size),
        };
        {
            let mut tally = self.lock_tally();
            if let Outcome::Skipped = outcome {
                tally.skipped += 1;
                self.progress.advance(item.size);
            } else {
                tally.done += 1;
                tally.bytes += size;
            }
        }
        let (source, target) = (
            self.source_shown(job, &item.relative),
            self.target_shown(job, &item.relative),
        );
        if self.terminal.json() {
            // The copy goes on for its own sake when the reader has gone.
            let _ = self
                .terminal
                .message(&Message::Object(Box::new(ObjectMessage {
                    action: Some(action),
                    source: Some(&source),
                    path: &target,
                    size,
                    ..ObjectMessage::default()
                })));
        } else if self.options.dry_run && action != "skipped" {
            self.terminal
                .note(&format!("{source} would be {action} to {target}"));
        } else {
            self.terminal.detail(|| match action {
                "skipped" => format!("{source}: skipped, {target} is identical"),
                _ => format!("{source}: {action} to {target} ({})", human_bytes(size)),
            });
        }
    }

    fn failed(&self, failure: Failure) {
        if self.options.many {
            self.terminal.failure(&failure);
        }
        if matches!(failure.exit, Exit::Unreachable | Exit::Denied) {
            if self.store_failures.fetch_add(1, Ordering::Relaxed) + 1 >= GIVE_UP
                && !self.given_up.swap(true, Ordering::Relaxed)
            {
                self.terminal
                    .warn("the store refuses everything; the rest is not tried");
            }
        } else {
            self.store_failures.store(0, Ordering::Relaxed);
        }
        self.progress.items_done.fetch_add(1, Ordering::Relaxed);
        self.lock_tally().fail(failure);
    }

    fn copy(&self, job: &Job, item: &Item) -> Result<Outcome> {
        let outcome = match (&job.from, &job.to) {
            (From::Local(root), To::Vault(to)) => {
                let path = if item.relative.is_empty() {
                    root.clone()
                } else {
                    root.join(&item.relative)
                };
                self.upload(&path, to, item)?
            }
            (From::Vault(from), To::Local { folder, path }) => {
                let relative = match (path.as_str(), item.relative.as_str()) {
                    (path, "") => path.to_owned(),
                    ("", relative) => relative.to_owned(),
                    (path, relative) => join(path, relative),
                };
                let result = self.download(from, folder, &relative, item);
                self.explain_missing(job, from, result)?
            }
            (From::Vault(from), To::Vault(to)) => {
                let result = self.re_encrypt(from, to, item);
                self.explain_missing(job, from, result)?
            }
            (From::Local(_), To::Local { .. }) => {
                return Err(Failure::usage(
                    "both places are local",
                    "use cp, not kluis cp",
                ));
            }
        };
        if let (true, false, From::Vault(from)) =
            (self.options.remove_source, self.options.dry_run, &job.from)
        {
            self.ask(from.opened.vault.delete(from.at(&item.relative)))?;
        }
        Ok(outcome)
    }

    fn upload(&self, path: &Path, to: &InVault, item: &Item) -> Result<Outcome> {
        let failed = |e: io::Error| Failure::io("cannot read it", &e);
        let link = if self.options.follow || item.relative.is_empty() {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | link;
        let mut file =
            File::from(openat(CWD, path, flags, Mode::empty()).map_err(|e| failed(e.into()))?);
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(changed());
        }
        let (size, mtime) = (about.len(), about.modified().map_err(failed)?);
        let target = to.at(&item.relative);
        let replaces = match self.present(to, &target, item.presence)? {
            Found::Nothing => false,
            Found::Damaged(_) if self.options.overwrite => true,
            Found::Damaged(failure) => return Err(failure.at(to.shown(&item.relative))),
            Found::Object(info) => {
                let same = if self.options.checksum || info.mtime.is_none() {
                    info.meta.size == size && {
                        let same = self.same_as_file(to, &target, &mut file)?;
                        rewind(&mut file)?;
                        same
                    }
                } else {
                    info.meta.size == size && info.mtime == Some(mtime)
                };
                if same {
                    return Ok(Outcome::Skipped);
                }
                if !self.options.overwrite {
                    return Err(local::exists().at(to.shown(&item.relative)));
                }
                true
            }
        };
        if self.options.dry_run {
            return Ok(outcome(replaces, size));
        }
        let options = PutOptions {
            mode: self.mode(to, &target, size)?,
            mtime: Some(mtime),
            size_hint: Some(size),
            ..PutOptions::default()
        };
        let unchanged = |file: &File| {
            let now = file.metadata().map_err(failed)?;
            let same = now.len() == size && now.modified().map_err(failed)? == mtime;
            if same { Ok(()) } else { Err(changed()) }
        };
        let put = if size <= SMALL {
            let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            // What says that it is empty may not be: files of /proc do.
            let most = if size == 0 { SMALL + 1 } else { size };
            (&mut file)
                .take(most)
                .read_to_end(&mut content)
                .map_err(failed)?;
            // Here nothing has been sent yet, so nothing torn is stored.
            unchanged(&file)?;
            if content.len() as u64 > SMALL {
                let hint = "copy it through a pipe, as `kluis cp - :NAME`";
                let message = "it holds more than it says, and would be cut";
                return Err(Failure::new(Exit::Error, "io", message, hint));
            }
            self.progress.advance(size);
            self.ask(
                to.opened
                    .vault
                    .put_opts(&target, Bytes::from(content), options),
            )
        } else {
            let watched = file.try_clone().map_err(failed)?;
            let reader = Counted {
                inner: file,
                progress: self.progress.clone(),
            };
            let put = self.ask(to.opened.vault.put_reader(&target, reader, options));
            if put.is_ok() {
                unchanged(&watched)?;
            }
            put
        };
        put.map_err(|f| self.already_there(f, to, &item.relative))?;
        Ok(outcome(replaces, size))
    }

    fn download(
        &self,
        from: &InVault,
        folder: &Folder,
        relative: &str,
        item: &Item,
    ) -> Result<Outcome> {
        let vault = &from.opened.vault;
        let source = from.at(&item.relative);
        let shown = folder.shown(relative).display().to_string();
        let at_target = |f: Failure| f.at(shown.clone());
        let spot = folder.spot(relative).map_err(at_target)?;
        let replaces = match spot.look().map_err(at_target)? {
            Existing::Nothing => false,
            Existing::Folder => return Err(local::folder_in_the_way().at(shown)),
            Existing::Other if self.options.overwrite => true,
            Existing::Other => {
                let hint = "give --overwrite to replace it";
                return Err(Failure::exists("it is a link or a device", hint).at(shown));
            }
            Existing::File { size, mtime } => {
                let info = self.ask(vault.head(&source))?;
                let same = info.meta.size == size
                    && match info.mtime {
                        Some(sealed) if !self.options.checksum => sealed == mtime,
                        _ => self.same_as_file(from, &source, &mut spot.read()?)?,
                    };
                if same {
                    return Ok(Outcome::Skipped);
                }
                if !self.options.overwrite {
                    return Err(local::exists().at(shown));
                }
                true
            }
        };
        if self.options.dry_run {
            let size = match job_size(item) {
                Some(size) => size,
                None => self.ask(vault.head(&source))?.meta.size,
            };
            return Ok(outcome(replaces, size));
        }
        let object = self.ask(vault.get(&source))?;
        let (size, mtime) = (object.info().meta.size, object.info().mtime);
        self.learned(item, size);
        let written = |e: io::Error| Failure::io("cannot write", &e).at(shown.clone());
        let mut file;
        if size <= SMALL {
            let content = self.ask(object.bytes())?;
            file = spot.begin().map_err(at_target)?;
            file.write_all(&content).map_err(written)?;
            self.progress.advance(size);
        } else {
            file = spot.begin().map_err(at_target)?;
            let mut chunks = object.into_stream();
            while let Some(chunk) = self.wait(chunks.next())? {
                let chunk = chunk?;
                file.write_all(&chunk).map_err(written)?;
                self.progress.advance(chunk.len() as u64);
            }
        }
        file.publish(mtime, replaces, self.options.umask)
            .map_err(at_target)?;
        Ok(outcome(replaces, size))
    }

    fn re_encrypt(&self, from: &InVault, to: &InVault, item: &Item) -> Result<Outcome> {
        let (source, target) = (from.at(&item.relative), to.at(&item.relative));
        let object = self.ask(from.opened.vault.get(&source))?;
        let info = object.info().clone();
        let size = info.meta.size;
        self.learned(item, size);
        let replaces = match self.present(to, &target, item.presence)? {
            Found::Nothing => false,
            Found::Damaged(_) if self.options.overwrite => true,
            Found::Damaged(failure) => return Err(failure.at(to.shown(&item.relative))),
            Found::Object(existing) => {
                // Before a source is removed its content must be known to be there.
                let by_content = self.options.checksum
                    || self.options.remove_source
                    || info.mtime.is_none()
                    || existing.mtime.is_none();
                let same = existing.meta.size == size
                    && if by_content {
                        self.same_as_object(from, &source, to, &target)?
                    } else {
                        existing.mtime == info.mtime
                    };
                if same {
                    return Ok(Outcome::Skipped);
                }
                if !self.options.overwrite {
                    return Err(local::exists().at(to.shown(&item.relative)));
                }
                true
            }
        };
        if self.options.dry_run {
            return Ok(outcome(replaces, size));
        }
        let options = PutOptions {
            mode: self.mode(to, &target, size)?,
            attributes: info.attributes,
            mtime: info.mtime,
            expires: info.expires,
            size_hint: Some(size),
        };
        let vault = &to.opened.vault;
        let put = if size <= SMALL {
            let content = self.ask(object.bytes())?;
            self.progress.advance(size);
            self.ask(vault.put_opts(&target, content, options))
        } else {
            // A failure of the reading side reaches us through the writing
            // side, which knows it only as a broken reader.
            let broken = Arc::new(Mutex::new(None));
            let (note, progress) = (broken.clone(), self.progress.clone());
            let stream = object.into_stream().map(move |chunk| match chunk {
                Ok(chunk) => {
                    progress.advance(chunk.len() as u64);
                    Ok(chunk)
                }
                Err(e) => {
                    *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                    Err(io::Error::other("the source could not be read to its end"))
                }
            });
            let put = self.ask(vault.put_stream(&target, stream, options));
            if let Some(e) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(e.into());
            }
            put
        };
        put.map_err(|f| self.already_there(f, to, &item.relative))?;
        Ok(outcome(replaces, size))
    }

    /// How to write what was not there, or is to be replaced.
    fn mode(&self, to: &InVault, target: &str, size: u64) -> Result<PutMode> {
        if self.options.overwrite {
            return Ok(PutMode::Overwrite);
        }
        if size <= CONDITIONAL {
            return Ok(PutMode::Create);
        }
        match self.present(to, target, Presence::Unknown)? {
            Found::Nothing => Ok(PutMode::Overwrite),
            _ => Err(local::exists()),
        }
    }

    // ----------------------------------------------------------- comparing

    fn present(&self, to: &InVault, target: &str, presence: Presence) -> Result<Found> {
        if presence == Presence::Absent {
            return Ok(Found::Nothing);
        }
        match self.ask(to.opened.vault.head(target)) {
            Ok(info) => Ok(Found::Object(Box::new(info))),
            Err(f) if f.exit == Exit::NotFound => Ok(Found::Nothing),
            Err(f) if f.exit == Exit::NotAsWritten => Ok(Found::Damaged(f)),
            Err(f) => Err(f),
        }
    }

    fn same_as_file(&self, vault: &InVault, path: &str, file: &mut File) -> Result<bool> {
        let mut chunks = self.ask(vault.opened.vault.get(path))?.into_stream();
        let mut buffer = Vec::new();
        while let Some(chunk) = self.wait(chunks.next())? {
            let chunk = chunk?;
            buffer.clear();
            file.take(chunk.len() as u64)
                .read_to_end(&mut buffer)
                .map_err(|e| Failure::io("cannot read it", &e))?;
            if buffer != *chunk {
                return Ok(false);
            }
        }
        let rest = file
            .read(&mut [0; 1])
            .map_err(|e| Failure::io("cannot read it", &e))?;
        Ok(rest == 0)
    }

    fn same_as_object(&self, a: &InVault, a_path: &str, b: &InVault, b_path: &str) -> Result<bool> {
        let mut a = self.ask(a.opened.vault.get(a_path))?.into_stream();
        let mut b = self.ask(b.opened.vault.get(b_path))?.into_stream();
        let (mut left, mut right) = (Bytes::new(), Bytes::new());
        loop {
            for (rest, stream) in [(&mut left, &mut a), (&mut right, &mut b)] {
                while rest.is_empty() {
                    match self.wait(stream.next())? {
                        Some(chunk) => *rest = chunk?,
                        None => break,
                    }
                }
            }
            let common = left.len().min(right.len());
            if common == 0 {
                return Ok(left.is_empty() && right.is_empty());
            }
            if left[..common] != right[..common] {
                return Ok(false);
            }
            left.advance(common);
            right.advance(common);
        }
    }

    /// The store refused to replace what it has there.
    fn already_there(&self, failure: Failure, to: &InVault, relative: &str) -> Failure {
        if failure.exit != Exit::Exists {
            return failure;
        }
        let why = match self.present(to, &to.at(relative), Presence::Unknown) {
            // A store that is laid out as files.
            Ok(Found::Nothing) => Failure::exists(
                "a folder of this name is there, and this store cannot hold both",
                "choose another name",
            ),
            // Somebody else was quicker.
            _ => local::exists(),
        };
        why.at(to.shown(relative))
    }

    /// An object asked for by name that is in truth a folder.
    fn explain_missing(
        &self,
        job: &Job,
        from: &InVault,
        result: Result<Outcome>,
    ) -> Result<Outcome> {
        match (result, &job.walk) {
            (Err(f), Walk::Itself) if f.exit == Exit::NotFound && f.path.is_none() => {
                let mut below = from.opened.vault.list(Some(&from.path));
                match self.wait(below.next())? {
                    Some(Ok(_)) => Err(Failure::usage("it is a folder", "give -r to copy folders")),
                    _ => {
                        let folder = from.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                        let hint =
                            format!("see what is there with `kluis ls {}:{folder}`", from.name);
                        Err(Failure::not_found("there is nothing at this path", hint))
                    }
                }
            }
            (result, _) => result,
        }
    }

    // ------------------------------------------------------------- helpers

    /// Waits for the vault, or for the user's interrupt.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        let mut cancel = self.cancel.clone();
        block_on(async {
            tokio::select! {
                biased;
                out = future => Ok(out),
                _ = cancel.wait_for(|c| *c) => Err(Failure::interrupted()),
            }
        })
    }

    fn ask<T>(&self, future: impl Future<Output = kluis::Result<T>>) -> Result<T> {
        Ok(self.wait(future)??)
    }

    /// The size of an object that was named, not found in a listing.
    fn learned(&self, item: &Item, size: u64) {
        if item.relative.is_empty() {
            self.progress.bytes_total.fetch_add(size, Ordering::Relaxed);
        }
    }

    fn stopped(&self) -> bool {
        *self.cancel.borrow() || self.given_up.load(Ordering::Relaxed)
    }

    fn lock_tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source_shown(&self, job: &Job, relative: &str) -> String {
        match &job.from {
            From::Local(root) if relative.is_empty() => root.display().to_string(),
            From::Local(root) => root.join(relative).display().to_string(),
            From::Vault(from) => from.shown(relative),
        }
    }

    fn target_shown(&self, job: &Job, relative: &str) -> String {
        match &job.to {
            To::Local { folder, path } => {
                let below = match (path.as_str(), relative) {
                    (path, "") => path.to_owned(),
                    ("", relative) => relative.to_owned(),
                    (path, relative) => join(path, relative),
                };
                folder.shown(&below).display().to_string()
            }
            To::Vault(to) => to.shown(relative),
        }
    }
}

/// Polls a future on this thread until it is ready, whether or not it is one that
/// has entered the runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut context) {
            return out;
        }
        std::thread::park();
    }
}

enum Found {
    Nothing,
    /// It is there but cannot be read; only --overwrite may replace it.
    Damaged(Failure),
    Object(Box<ObjectInfo>),
}

/// Counts what is read, for the progress.
struct Counted {
    inner: File,
    progress: Arc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}

/// A local name as a vault would hold it.
pub(crate) fn vault_path(name: &OsStr) -> Result<&str> {
    let hint = "rename it, or leave it out with --exclude";
    let text = name
        .to_str()
        .ok_or_else(|| Failure::usage("its name is not UTF-8", hint))?;
    crate::address::check_path(text).map_err(|f| Failure {
        hint: hint.to_owned(),
        ..f
    })?;
    Ok(text)
}

fn job_size(item: &Item) -> Option<u64> {
    (!item.relative.is_empty()).then_some(item.size)
}

fn outcome(replaces: bool, size: u64) -> Outcome {
    if replaces {
        Outcome::Replaced(size)
    } else {
        Outcome::Copied(size)
    }
}

fn changed() -> Failure {
    let message = "it changed while it was read";
    Failure::new(
        Exit::Conflict,
        "conflict",
        message,
        "copy it again with --overwrite when it is at rest",
    )
}

fn rewind(file: &mut File) -> Result<()> {
    io::Seek::rewind(file).map_err(|e| Failure::io("cannot read it", &e))
}

pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Now, for content that has no time of its own.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_that_a_vault_cannot_hold_fail_by_name() {
        assert!(vault_path(OsStr::from_bytes(b"a\xff")).is_err());
        assert!(vault_path(OsStr::new("a\nb")).is_err());
        assert_eq!(
            vault_path(OsStr::new("ünï/cødé :x")).unwrap(),
            "ünï/cødé :x"
        );
    }
}
