//! What there is to copy: one thread walks the sources and fills the queue.

use super::{Busy, From, InVault, Item, Job, Presence, To, Transfer, Walk, vault_path};
use crate::exit::{Exit, Failure, Result};
use crate::local;
use futures_util::StreamExt;
use futures_util::stream::Peekable;
use kluis::Listing;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

/// From so many files on, one listing of the destination is cheaper than a
/// look at each target.
const FEW: usize = 64;

impl Transfer {
    pub(super) fn find(&self, queue: &SyncSender<Item>) {
        let _busy = Busy::new();
        // A listing that was begun on the runtime needs it to go on.
        let _on_runtime = self.runtime.enter();
        for (number, job) in self.jobs.iter().enumerate() {
            let mut sink = Sink {
                transfer: self,
                queue,
                job: number,
                held: Vec::new(),
                open: true,
                presence: None,
            };
            match &job.walk {
                Walk::Itself => {
                    let size = match &job.from {
                        From::Local(path) => std::fs::metadata(path).map_or(0, |m| m.len()),
                        From::Vault(_) => 0,
                    };
                    sink.put(String::new(), size);
                }
                Walk::LocalTree => {
                    if let From::Local(root) = &job.from {
                        self.walk_local(root, &mut sink);
                    }
                }
                Walk::Listing(listing) => {
                    let listing = listing
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    if let (From::Vault(root), Some(listing)) = (&job.from, listing) {
                        self.walk_vault(root, listing, &mut sink);
                    }
                }
            }
            sink.finish();
            if self.stopped() {
                return;
            }
        }
        self.progress.total_known.store(true, Ordering::Relaxed);
    }

    fn walk_local(&self, root: &Path, sink: &mut Sink<'_>) {
        let vaults = self.local_vaults();
        let walk = walkdir::WalkDir::new(root)
            .follow_links(self.options.follow)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| {
                let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
                below.as_os_str().is_empty()
                    || !self.options.exclude.matches(&below.to_string_lossy())
            });
        let mut walk = walk;
        while let Some(entry) = walk.next() {
            if !sink.open || self.stopped() {
                return;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    let path = e.path().unwrap_or(root).display().to_string();
                    let failure = match e.io_error() {
                        Some(e) => Failure::io("cannot read it", e),
                        None => Failure::new(
                            Exit::Error,
                            "io",
                            e.to_string(),
                            "remove the loop of links",
                        ),
                    };
                    self.failed(failure.at(path));
                    continue;
                }
            };
            let kind = entry.file_type();
            let skip = |why: &str| {
                self.terminal
                    .warn(&format!("{}: skipped, {why}", entry.path().display()));
            };
            if kind.is_dir() {
                let id = entry.metadata().ok().map(|m| (m.dev(), m.ino()));
                if id.is_some_and(|id| vaults.contains(&id)) {
                    skip("it is the vault itself");
                    walk.skip_current_dir();
                } else if std::fs::read_dir(entry.path()).is_ok_and(|mut d| d.next().is_none()) {
                    skip("an empty folder, which a vault does not have");
                }
                continue;
            }
            if kind.is_symlink() {
                skip("a symbolic link; -L follows links");
                continue;
            }
            if !kind.is_file() {
                skip("not a regular file");
                continue;
            }
            if entry
                .file_name()
                .to_str()
                .is_some_and(local::is_partial_name)
            {
                skip("an unfinished download");
                continue;
            }
            let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
            match vault_path(below.as_os_str()) {
                Ok(relative) => {
                    sink.put(relative.to_owned(), entry.metadata().map_or(0, |m| m.len()))
                }
                Err(failure) => self.failed(failure.at(entry.path().display().to_string())),
            }
        }
    }

    /// The folders that are vaults of this command: copying one into itself
    /// would never end.
    fn local_vaults(&self) -> HashSet<(u64, u64)> {
        let folder = |job: &Job| match &job.to {
            To::Vault(to) => to.opened.store.folder.clone(),
            To::Local { .. } => None,
        };
        let metadata = |path: PathBuf| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        self.jobs
            .iter()
            .filter_map(folder)
            .filter_map(metadata)
            .collect()
    }

    fn walk_vault(&self, root: &InVault, mut listing: Peekable<Listing>, sink: &mut Sink<'_>) {
        while sink.open && !self.stopped() {
            match self.wait(listing.next()) {
                Err(_) => return,
                Ok(None) => {
                    let (unlisted, place) = (listing.get_ref().unlisted(), root.shown(""));
                    self.terminal.foreign(unlisted.foreign, &place);
                    let failure = self.lock_tally().left_out(unlisted, &place);
                    if let Some(failure) = failure {
                        self.terminal.failure(&failure);
                    }
                    return;
                }
                Ok(Some(Err(e))) => return self.failed(Failure::from(e).at(root.shown(""))),
                Ok(Some(Ok(meta))) => {
                    let path = meta.location.as_ref();
                    let relative = match root.path.as_str() {
                        "" => Some(path),
                        prefix => path.strip_prefix(prefix).and_then(|p| p.strip_prefix('/')),
                    };
                    let Some(relative) = relative else { continue };
                    if !self.options.exclude.covers(relative) {
                        sink.put(relative.to_owned(), meta.size);
                    }
                }
            }
        }
    }

    /// What is below the target, by one listing. Only hashes are kept: a wrong
    /// "there" costs one look.
    fn list_target(&self, to: &InVault) -> Result<Listed> {
        let mut listed = Listed {
            hasher: RandomState::new(),
            paths: HashSet::new(),
            complete: false,
        };
        let prefix = (!to.path.is_empty()).then_some(to.path.as_str());
        let mut listing = to.opened.vault.list(prefix);
        while let Some(meta) = self.wait(listing.next())? {
            let meta = meta.map_err(|e| Failure::from(e).at(to.shown("")))?;
            listed
                .paths
                .insert(listed.hasher.hash_one(meta.location.as_ref()));
        }
        listed.complete = listing.unlisted().nameless == 0;
        Ok(listed)
    }
}

/// What one listing of the target found.
struct Listed {
    hasher: RandomState,
    paths: HashSet<u64>,
    /// Everything there has a name, so that what is not listed is not there.
    complete: bool,
}

/// Takes what was found for one job and decides when a listing of the target pays.
struct Sink<'a> {
    transfer: &'a Transfer,
    queue: &'a SyncSender<Item>,
    job: usize,
    held: Vec<(String, u64)>,
    presence: Option<Listed>,
    /// Somebody still takes from the queue.
    open: bool,
}

impl Sink<'_> {
    fn put(&mut self, relative: String, size: u64) {
        self.transfer.progress.found(size);
        let To::Vault(to) = &self.transfer.jobs[self.job].to else {
            return self.send(relative, size, Presence::Unknown);
        };
        if self.presence.is_some() {
            let presence = self.presence_of(&relative);
            return self.send(relative, size, presence);
        }
        self.held.push((relative, size));
        if self.held.len() > FEW {
            match self.transfer.list_target(to) {
                Ok(listed) => self.presence = Some(listed),
                Err(failure) => {
                    self.open = false;
                    self.held.clear();
                    return self.transfer.failed(failure);
                }
            }
            self.release();
        }
    }

    fn presence_of(&self, relative: &str) -> Presence {
        match (&self.presence, &self.transfer.jobs[self.job].to) {
            (Some(listed), To::Vault(to)) => {
                let hash = listed.hasher.hash_one(to.at(relative).as_str());
                if listed.paths.contains(&hash) || !listed.complete {
                    Presence::Unknown
                } else {
                    Presence::Absent
                }
            }
            _ => Presence::Unknown,
        }
    }

    fn release(&mut self) {
        for (relative, size) in std::mem::take(&mut self.held) {
            let presence = self.presence_of(&relative);
            self.send(relative, size, presence);
        }
    }

    fn send(&mut self, relative: String, size: u64, presence: Presence) {
        self.open &= self
            .queue
            .send(Item {
                job: self.job,
                relative,
                size,
                presence,
            })
            .is_ok();
    }

    fn finish(mut self) {
        self.release();
    }
}
