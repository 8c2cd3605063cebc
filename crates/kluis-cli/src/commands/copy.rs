//! `cp` and `mv`: what the arguments mean; the work is in `transfer`.

use super::read::to_stdout;
use crate::address::{Place, VaultPath, join};
use crate::args::{Cp, Mv, TransferArgs};
use crate::exit::{Exit, Failure, Result};
use crate::local::{self, Folder};
use crate::progress::Progress;
use crate::session::{Opened, Session, nothing_at};
use crate::terminal::{Message, ObjectMessage, human_bytes};
use crate::transfer::{Exclude, From, InVault, Job, Options, To, Transfer, Walk, now, vault_path};
use futures_util::StreamExt;
use kluis::PutOptions;
use kluis::object_store::PutMode;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

pub(super) async fn cp(session: &Session, args: Cp) -> Result<()> {
    let sources = args
        .sources
        .iter()
        .map(|s| Place::parse(s))
        .collect::<Result<Vec<_>>>()?;
    let destination = Place::parse(&args.destination)?;
    let exclude = Exclude::new(&args.exclude)?;
    if sources.contains(&Place::Stdio) || destination == Place::Stdio {
        return through_a_pipe(session, &args, &sources, &destination).await;
    }
    let local = |p: &Place| matches!(p, Place::Local(_));
    if local(&destination) && sources.iter().any(local) {
        let hint = "put `:` before a path in the vault; between local paths use cp";
        return Err(Failure::usage(
            "source and destination are both local",
            hint,
        ));
    }
    let plan = Plan {
        session,
        recursive: args.recursive,
        moves: false,
        follow: args.dereference,
        dry_run: args.transfer.dry_run,
    };
    let jobs = plan.jobs(&sources, &destination).await?;
    let options = Options {
        verb: "cp",
        done: "copied",
        checksum: args.checksum,
        follow: args.dereference,
        remove_source: false,
        exclude,
        ..base(session, &args.transfer, &jobs)
    };
    Transfer::new(options, jobs, session.terminal.clone(), session.cancel())
        .run()
        .await
}

pub(super) async fn mv(session: &Session, args: Mv) -> Result<()> {
    let parse = |argument| VaultPath::parse(argument).map(Place::Vault);
    let sources = args
        .sources
        .iter()
        .map(|s| parse(s))
        .collect::<Result<Vec<_>>>()?;
    let destination = parse(&args.destination)?;
    for source in &sources {
        if let Place::Vault(path) = source
            && path.is_root()
        {
            let hint = "name the folders or objects to move";
            return Err(Failure::usage("a vault's root cannot be moved", hint));
        }
    }
    let plan = Plan {
        session,
        recursive: true,
        moves: true,
        follow: false,
        dry_run: args.transfer.dry_run,
    };
    let jobs = plan.jobs(&sources, &destination).await?;
    let options = Options {
        verb: "mv",
        done: "moved",
        remove_source: true,
        ..base(session, &args.transfer, &jobs)
    };
    Transfer::new(options, jobs, session.terminal.clone(), session.cancel())
        .run()
        .await
}

pub(super) fn base(session: &Session, args: &TransferArgs, jobs: &[Job]) -> Options {
    let is_remote = |place: &InVault| place.opened.store.is_remote();
    let remote = jobs.iter().any(|job| {
        matches!(&job.from, From::Vault(v) if is_remote(v))
            || matches!(&job.to, To::Vault(v) if is_remote(v))
    });
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let many = jobs.len() > 1 || jobs.iter().any(|job| !matches!(job.walk, Walk::Itself));
    let default = if remote { 16 } else { 2 * cores };
    Options {
        verb: "",
        done: "",
        overwrite: args.overwrite,
        checksum: false,
        dry_run: args.dry_run,
        follow: false,
        remove_source: false,
        exclude: Exclude::default(),
        transfers: if many {
            args.transfers.map_or(default, usize::from)
        } else {
            1
        },
        remote,
        umask: session.umask,
        many,
    }
}

/// From the arguments to what goes where, by the rules of "What a copy means"
/// in docs/CLI.md. What a vault holds never changes the meaning of a target.
struct Plan<'a> {
    session: &'a Session,
    recursive: bool,
    /// `mv` takes folders without -r and looks what a source is.
    moves: bool,
    follow: bool,
    dry_run: bool,
}

/// What a local destination means.
pub(super) struct Target {
    folder: PathBuf,
    /// The name in it; empty for what becomes the folder.
    name: String,
}

impl Target {
    /// Whether a file keeps its name in it.
    pub(super) fn is_folder(path: &Path) -> bool {
        path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir()
    }

    pub(super) fn of_folder(folder: PathBuf) -> Self {
        Self {
            folder,
            name: String::new(),
        }
    }

    /// A file of this path, or in this folder of a name that it keeps.
    pub(super) fn of_file(path: &Path, keeps: Option<&str>) -> Result<Self> {
        if let Some(name) = keeps {
            return Ok(Self {
                folder: path.to_owned(),
                name: name.to_owned(),
            });
        }
        let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| {
            Failure::usage("the destination's name is not UTF-8", "choose another name")
                .at(path.display().to_string())
        })?;
        Ok(Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            name: name.to_owned(),
        })
    }

    /// A dry run makes no folder, and one that is not there holds nothing.
    pub(super) fn open(self, dry_run: bool) -> Result<To> {
        let folder = &self.folder;
        let missing = dry_run && !folder.as_os_str().is_empty() && !folder.exists();
        Ok(To::Local {
            folder: if missing {
                Folder::missing(folder)
            } else {
                Folder::open(folder, !dry_run)?
            },
            path: self.name,
        })
    }
}

/// Where copies go.
enum Destination {
    Local { path: PathBuf, into: bool },
    Vault { place: InVault, into: bool },
}

impl Plan<'_> {
    async fn jobs(&self, sources: &[Place], destination: &Place) -> Result<Vec<Job>> {
        // All mistakes in the arguments come before the first question.
        for place in sources.iter().chain([destination]) {
            if let Place::Vault(path) = place {
                self.session.target(path).await?;
            }
        }
        for source in sources {
            if let (Place::Vault(path), false) = (source, self.recursive)
                && path.as_folder
            {
                return Err(Failure::usage("it is a folder", "give -r to copy folders")
                    .at(path.to_string()));
            }
        }
        let several = sources.len() > 1;
        let into = match destination {
            Place::Vault(path) => path.as_folder,
            Place::Local(path) => Target::is_folder(path),
            Place::Stdio => false,
        };
        if several && !into {
            let hint = "end the destination in `/` to make it a folder";
            return Err(Failure::usage(
                "several sources need a folder to go to",
                hint,
            ));
        }
        let mut locals = Vec::new();
        for source in sources {
            locals.push(match source {
                Place::Local(path) => self.look_at_local(path)?,
                _ => None,
            });
        }
        let destination = match destination {
            Place::Vault(path) => Destination::Vault {
                place: self.place(path).await?,
                into,
            },
            Place::Local(path) => Destination::Local {
                path: path.clone(),
                into,
            },
            Place::Stdio => {
                return Err(Failure::usage("`-` stands alone", "copy one object to `-`"));
            }
        };
        let mut jobs = Vec::new();
        for (source, local) in sources.iter().zip(locals) {
            let job = match (source, local) {
                (Place::Local(path), Some(kind)) => {
                    self.local_job(path, kind, &destination, several)?
                }
                (Place::Local(_), None) => continue,
                (Place::Vault(path), _) => self.vault_job(path, &destination, several).await?,
                (Place::Stdio, _) => {
                    return Err(Failure::usage("`-` stands alone", "copy `-` by itself"));
                }
            };
            jobs.extend(job);
        }
        Ok(jobs)
    }

    async fn place(&self, path: &VaultPath) -> Result<InVault> {
        Ok(InVault {
            opened: self.session.open_shared(path).await?,
            name: path.vault.clone().unwrap_or_default(),
            path: path.path.clone(),
        })
    }

    /// Whether a local source is a folder; nothing for what is skipped.
    fn look_at_local(&self, path: &Path) -> Result<Option<LocalKind>> {
        let failed =
            |e: io::Error| Failure::io("cannot read it", &e).at(path.display().to_string());
        let mut about = std::fs::symlink_metadata(path).map_err(failed)?;
        if about.is_symlink() && self.follow {
            about = std::fs::metadata(path).map_err(failed)?;
        }
        if about.is_dir() {
            if !self.recursive {
                let failure = Failure::usage("it is a folder", "give -r to copy folders");
                return Err(failure.at(path.display().to_string()));
            }
            return Ok(Some(LocalKind::Folder));
        }
        if about.is_file() {
            return Ok(Some(LocalKind::File));
        }
        let what = if about.is_symlink() {
            "a symbolic link; -L follows links"
        } else {
            "not a regular file"
        };
        self.session
            .terminal
            .warn(&format!("{}: skipped, {what}", path.display()));
        Ok(None)
    }

    fn local_job(
        &self,
        path: &Path,
        kind: LocalKind,
        destination: &Destination,
        several: bool,
    ) -> Result<Option<Job>> {
        let Destination::Vault { place, into } = destination else {
            return Ok(None);
        };
        let last = || {
            let at = |f: Failure| f.at(path.display().to_string());
            match path.file_name() {
                Some(name) => vault_path(name).map_err(at),
                None => Err(at(Failure::usage(
                    "it has no name of its own",
                    "name the folder it is",
                ))),
            }
        };
        let (target, walk) = match kind {
            LocalKind::File if *into => (join(&place.path, last()?), Walk::Itself),
            LocalKind::File => (place.path.clone(), Walk::Itself),
            LocalKind::Folder if several => (join(&place.path, last()?), Walk::LocalTree),
            LocalKind::Folder => (place.path.clone(), Walk::LocalTree),
        };
        let to = InVault {
            opened: place.opened.clone(),
            name: place.name.clone(),
            path: target,
        };
        Ok(Some(Job {
            from: From::Local(path.to_owned()),
            to: To::Vault(Arc::new(to)),
            walk,
        }))
    }

    async fn vault_job(
        &self,
        path: &VaultPath,
        destination: &Destination,
        several: bool,
    ) -> Result<Option<Job>> {
        let from = self.place(path).await?;
        let walk = if self.recursive {
            self.walk(path, &from).await?
        } else {
            Walk::Itself
        };
        let itself = matches!(walk, Walk::Itself);
        let last = || {
            path.name().ok_or_else(|| {
                Failure::usage("a vault's root has no name of its own", "copy it by itself")
                    .at(path.to_string())
            })
        };
        let to = match destination {
            Destination::Vault { place, into } => {
                let keeps_name = if itself { *into } else { several };
                let target = if keeps_name {
                    join(&place.path, last()?)
                } else {
                    place.path.clone()
                };
                let to = InVault {
                    opened: place.opened.clone(),
                    name: place.name.clone(),
                    path: target,
                };
                self.overlap(&from, &to, itself)?;
                To::Vault(Arc::new(to))
            }
            Destination::Local { path: target, into } => {
                let keeps_name = if itself { *into } else { several };
                let target = match (itself, keeps_name) {
                    (true, false) => Target::of_file(target, None)?,
                    (_, true) => Target::of_file(target, Some(last()?))?,
                    (false, false) => Target::of_folder(target.clone()),
                };
                target.open(self.dry_run)?
            }
        };
        Ok(Some(Job {
            from: From::Vault(Arc::new(from)),
            to,
            walk,
        }))
    }

    /// Whether a source is an object or a folder, found by one listing that is
    /// then used. A folder wins: it was asked for with -r; for `mv` the object.
    async fn walk(&self, path: &VaultPath, from: &InVault) -> Result<Walk> {
        let vault = &from.opened.vault;
        if path.is_root() {
            let listing = vault.list(None).peekable();
            return Ok(Walk::Listing(Mutex::new(Some(listing))));
        }
        let is_object = async || match vault.head(&path.path).await.map_err(Failure::from) {
            Ok(_) => Ok(true),
            // It is there, damaged: let the copy say so.
            Err(f) if f.exit == Exit::NotAsWritten => Ok(true),
            Err(f) if f.exit == Exit::NotFound => Ok(false),
            Err(f) => Err(f.at(path.to_string())),
        };
        if self.moves && !path.as_folder && is_object().await? {
            return Ok(Walk::Itself);
        }
        let mut listing = vault.list(path.prefix()).peekable();
        let failed = Pin::new(&mut listing).next_if(Result::is_err).await;
        if let Some(Err(error)) = failed {
            return Err(Failure::from(error).at(path.to_string()));
        }
        let listed = Pin::new(&mut listing).peek().await.is_some();
        if listed || listing.get_ref().unlisted().nameless > 0 {
            return Ok(Walk::Listing(Mutex::new(Some(listing))));
        }
        if !self.moves && !path.as_folder && is_object().await? {
            return Ok(Walk::Itself);
        }
        Err(nothing_at(path))
    }

    /// Nothing is copied onto or into itself.
    fn overlap(&self, from: &InVault, to: &InVault, itself: bool) -> Result<()> {
        let same_vault = from.opened.vault.id() == to.opened.vault.id();
        // Copies of one vault at two addresses have one id. To move between
        // them is refused as well: they may be one store by two names.
        let same_store = self.moves || from.opened.address.url() == to.opened.address.url();
        let inside = from.path.is_empty()
            || to.path == from.path
            || (!itself
                && to
                    .path
                    .strip_prefix(&from.path)
                    .is_some_and(|rest| rest.starts_with('/')));
        if same_vault && same_store && (to.path == from.path || (!itself && inside)) {
            let shown = format!("{}:{}", from.name, from.path);
            let failure = Failure::usage(
                "it would be copied onto or into itself",
                "choose another destination",
            );
            return Err(failure.at(shown));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum LocalKind {
    File,
    Folder,
}

/// `cp - :x` and `cp :x -`.
async fn through_a_pipe(
    session: &Session,
    args: &Cp,
    sources: &[Place],
    destination: &Place,
) -> Result<()> {
    match (sources, destination) {
        ([Place::Vault(path)], Place::Stdio) if !args.recursive => {
            session.terminal.stdout_is_content();
            let opened = session.open_for(path).await?;
            if args.transfer.dry_run {
                return Ok(());
            }
            to_stdout(&opened, path, None).await
        }
        ([Place::Stdio], Place::Vault(path)) if !args.recursive => {
            from_stdin(session, args, path).await
        }
        _ => {
            let hint = "write `kluis cp - :PATH` or `kluis cp :PATH -`";
            Err(Failure::usage("`-` goes to or comes from one object", hint))
        }
    }
}

async fn from_stdin(session: &Session, args: &Cp, path: &VaultPath) -> Result<()> {
    let target = session.target(path).await?;
    if path.as_folder {
        let failure = Failure::usage("stdin has no name", "give the full path of the object");
        return Err(failure.at(path.to_string()));
    }
    if session.common.secrets.password_fd == Some(0) {
        let failure = Failure::usage(
            "stdin cannot be the password and the data",
            "use --password-file",
        );
        return Err(failure);
    }
    let opened: Opened = session.open(&target).await?;
    // Better now than after an hour of input.
    let existing = opened.vault.head(&path.path).await.map_err(Failure::from);
    match existing {
        Err(f) if f.exit == Exit::NotFound => {}
        Err(f) if f.exit == Exit::NotAsWritten && args.transfer.overwrite => {}
        Err(f) => return Err(f.at(path.to_string())),
        Ok(_) if args.transfer.overwrite => {}
        Ok(_) => return Err(local::exists().at(path.to_string())),
    }
    if args.transfer.dry_run {
        session
            .terminal
            .note(&format!("stdin would be copied to {path}"));
        return Ok(());
    }
    let progress = Arc::new(Progress::default());
    let ticker = session.terminal.show(&progress);
    let options = PutOptions {
        // Of unknown length, and so perhaps in parts, which cannot be conditional;
        // that nothing is there was seen above.
        mode: PutMode::Overwrite,
        mtime: Some(now()),
        ..PutOptions::default()
    };
    let reader = Stdin(progress.clone());
    let put = opened.vault.put_reader(&path.path, reader, options).await;
    drop(ticker);
    put.map_err(|e| match Failure::from(e) {
        f if f.exit == Exit::Exists => local::exists().at(path.to_string()),
        f => f.at(path.to_string()),
    })?;
    let size = progress
        .bytes_done
        .load(std::sync::atomic::Ordering::Relaxed);
    session
        .terminal
        .message(&Message::Object(Box::new(ObjectMessage {
            action: Some("copied"),
            source: Some("-"),
            path: &path.to_string(),
            size,
            ..ObjectMessage::default()
        })))?;
    session
        .terminal
        .note(&format!("copied 1 file ({})", human_bytes(size)));
    Ok(())
}

struct Stdin(Arc<Progress>);

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = io::stdin().lock().read(buffer)?;
        self.0.advance(n as u64);
        Ok(n)
    }
}
