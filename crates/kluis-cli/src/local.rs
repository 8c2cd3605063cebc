//! Writing into local folders names that somebody else chose.
//!
//! Below the folder that the user named, nothing is followed: every component
//! is opened relative to its parent and must be a real folder, so that neither
//! a name nor a symbolic link, however quickly swapped in, leads out of it. A
//! file appears under its name complete or not at all.

use crate::exit::{Exit, Failure, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps,
    fchmod, flock, fstat, futimens, mkdirat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Unfinished files now open; an interrupt waits for them to be removed.
static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn unfinished() -> usize {
    UNFINISHED.load(Ordering::SeqCst)
}

/// A folder that the user named.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// None for one that a dry run would have made.
    fd: Option<Arc<OwnedFd>>,
    shown: PathBuf,
}

impl Folder {
    /// Opens it, following links: the user chose this path. Makes it if need be.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        if create {
            std::fs::create_dir_all(path).map_err(|e| {
                Failure::io(format!("cannot make the folder {}", path.display()), &e)
            })?;
        }
        let fd = openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| {
            Failure::io(
                format!("cannot open the folder {}", path.display()),
                &e.into(),
            )
        })?;
        Ok(Self {
            fd: Some(Arc::new(fd)),
            shown: path.to_owned(),
        })
    }

    /// A folder that is not there, for a dry run.
    pub(crate) fn missing(path: &Path) -> Self {
        Self {
            fd: None,
            shown: path.to_owned(),
        }
    }

    /// The path of a file below it, for messages.
    pub(crate) fn shown(&self, relative: &str) -> PathBuf {
        self.shown.join(relative)
    }

    /// The folder that holds `relative`, without following anything; its last
    /// segment is left to the caller.
    fn parent_of<'a>(
        &self,
        relative: &'a str,
        create: bool,
    ) -> Result<Option<(Arc<OwnedFd>, &'a str)>> {
        let mut segments = relative.split('/');
        let name = segments.next_back().unwrap_or_default();
        check_name(name)?;
        let Some(mut dir) = self.fd.clone() else {
            return Ok(None);
        };
        for segment in segments {
            check_name(segment)?;
            let open = || {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(&dir, segment, flags, Mode::empty())
            };
            let next = match open() {
                Err(Errno::NOENT) if !create => return Ok(None),
                Err(Errno::NOENT) => match mkdirat(&dir, segment, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => open(),
                    Err(e) => Err(e),
                },
                opened => opened,
            };
            dir = Arc::new(next.map_err(|e| self.in_the_way(segment, e))?);
        }
        Ok(Some((dir, name)))
    }

    fn in_the_way(&self, segment: &str, error: Errno) -> Failure {
        match error {
            // NOFOLLOW with DIRECTORY says either of a symbolic link.
            Errno::LOOP | Errno::NOTDIR | Errno::MLINK => Failure::exists(
                format!(
                    "{segment} is in the way: it is no folder, or a symbolic link, which kluis does not write through"
                ),
                "remove it, or choose another target",
            ),
            e => Failure::io(format!("cannot open the folder {segment}"), &e.into()),
        }
    }

    /// The place of a file below it, its folder opened if that is there.
    pub(crate) fn spot<'a>(&'a self, relative: &'a str) -> Result<Spot<'a>> {
        let found = self.parent_of(relative, false)?;
        Ok(Spot {
            folder: self,
            relative,
            found,
        })
    }
}

/// A place below a folder that the user named.
pub(crate) struct Spot<'a> {
    folder: &'a Folder,
    relative: &'a str,
    /// The folder that holds it, and its name there.
    found: Option<(Arc<OwnedFd>, &'a str)>,
}

impl Spot<'_> {
    /// What is there, links not followed.
    pub(crate) fn look(&self) -> Result<Existing> {
        let Some((dir, name)) = &self.found else {
            return Ok(Existing::Nothing);
        };
        match statat(dir, *name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Existing::Nothing),
            Err(e) => Err(Failure::io("cannot look at it", &e.into())),
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Existing::File {
                    size: stat.st_size.try_into().unwrap_or(0),
                    mtime: modified(&stat),
                },
                FileType::Directory => Existing::Folder,
                _ => Existing::Other,
            }),
        }
    }

    /// Opens an existing regular file, to compare it.
    pub(crate) fn read(&self) -> Result<File> {
        let missing = || Failure::not_found("it has just gone", "run the command again");
        let (dir, name) = self.found.as_ref().ok_or_else(missing)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(dir, *name, flags, Mode::empty())
            .map_err(|e| Failure::io("cannot read it", &e.into()))?;
        Ok(File::from(fd))
    }

    /// Begins a file that is not there yet under its name, and makes its folder.
    pub(crate) fn begin(self) -> Result<NewFile> {
        let missing = || Failure::not_found("its folder has just gone", "run the command again");
        let found = match self.found {
            None => self.folder.parent_of(self.relative, true)?,
            found => found,
        };
        let (dir, name) = found.ok_or_else(missing)?;
        let temporary = partial_name(name);
        let failed = |e: Errno| Failure::io("cannot write", &e.into());
        // A file of this name is left from a copy that was killed, or belongs
        // to one that is running; only the latter holds the lock.
        for _ in 0..3 {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&dir, &temporary, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => {
                    UNFINISHED.fetch_add(1, Ordering::SeqCst);
                    let file = NewFile {
                        file: File::from(fd),
                        dir,
                        temporary,
                        name: name.to_owned(),
                        armed: true,
                    };
                    // Some file systems have no locks; then nobody holds one.
                    return match flock(&file.file, FlockOperation::NonBlockingLockExclusive) {
                        Err(Errno::WOULDBLOCK) => Err(Self::busy()),
                        _ => Ok(file),
                    };
                }
                Err(Errno::EXIST) => {
                    let flags =
                        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    if let Ok(stale) = openat(&dir, &temporary, flags, Mode::empty()) {
                        let lock = flock(&stale, FlockOperation::NonBlockingLockExclusive);
                        if lock == Err(Errno::WOULDBLOCK) {
                            return Err(Self::busy());
                        }
                        let same = match (
                            fstat(&stale),
                            statat(&dir, &temporary, AtFlags::SYMLINK_NOFOLLOW),
                        ) {
                            (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
                            _ => false,
                        };
                        if !same {
                            // Its writer has just finished it or begun another.
                            continue;
                        }
                    }
                    match unlinkat(&dir, &temporary, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(e) => return Err(failed(e)),
                    }
                }
                Err(e) => return Err(failed(e)),
            }
        }
        Err(Self::busy())
    }

    fn busy() -> Failure {
        let message = "another kluis is writing this file";
        Failure::new(
            Exit::Conflict,
            "conflict",
            message,
            "wait for it to end and run this again",
        )
    }
}

/// What stands at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Nothing,
    File {
        size: u64,
        mtime: SystemTime,
    },
    Folder,
    /// A symbolic link or a device.
    Other,
}

/// A file under a temporary name beside its target, private while it is
/// partial; dropped unfinished, it is removed.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    dir: Arc<OwnedFd>,
    temporary: String,
    name: String,
    armed: bool,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile {
    /// Makes it durable, gives it its time and the rights of any new file, and
    /// its name. Without `replace` a file that came up meanwhile stays.
    pub(crate) fn publish(
        mut self,
        mtime: Option<SystemTime>,
        replace: bool,
        umask: Mode,
    ) -> Result<()> {
        let failed = |e: io::Error| Failure::io("cannot write", &e);
        if let Some(mtime) = mtime.and_then(timespec) {
            let times = Timestamps {
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: rustix::fs::UTIME_NOW,
                },
                last_modification: mtime,
            };
            futimens(&self.file, &times).map_err(|e| failed(e.into()))?;
        }
        let rights = Mode::from_raw_mode(0o666) & !umask;
        fchmod(&self.file, rights).map_err(|e| failed(e.into()))?;
        self.file.sync_all().map_err(failed)?;
        let renamed = if replace {
            renameat(&self.dir, &self.temporary, &self.dir, &self.name)
        } else {
            self.rename_if_absent()
        };
        match renamed {
            Ok(()) => {
                self.armed = false;
                Ok(())
            }
            Err(Errno::EXIST) => Err(exists()),
            Err(Errno::ISDIR) => Err(folder_in_the_way()),
            Err(e) => Err(failed(e.into())),
        }
    }

    fn rename_if_absent(&self) -> Result<(), Errno> {
        match renameat_with(
            &self.dir,
            &self.temporary,
            &self.dir,
            &self.name,
            RenameFlags::NOREPLACE,
        ) {
            // Not on this file system: look, then rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(Errno::EXIST),
                    Err(_) => renameat(&self.dir, &self.temporary, &self.dir, &self.name),
                }
            }
            other => other,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.armed {
            let _ = unlinkat(&self.dir, &self.temporary, AtFlags::empty());
        }
        UNFINISHED.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn exists() -> Failure {
    Failure::exists(
        "it exists already and differs",
        "give --overwrite to replace it",
    )
}

pub(crate) fn folder_in_the_way() -> Failure {
    Failure::exists(
        "a folder of this name is in the way",
        "remove it, or choose another target",
    )
}

/// One segment, and nothing that means another place. The vault refuses to
/// decode such names; here it is checked where it would do harm.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty()
        || name == "."
        || name == ".."
        || name.contains('/')
        || name.chars().any(char::is_control)
    {
        return Err(Failure::new(
            Exit::NotAsWritten,
            "tampered",
            "its name would lead out of the target folder or hide itself",
            "no client of this vault writes such a name; look at it with `kluis ls --json`",
        ));
    }
    Ok(())
}

/// `.kluis-` and the hash of the target's name: short enough for any file
/// system, and the same again when a killed copy is run again, which then
/// clears it away.
fn partial_name(name: &str) -> String {
    // FNV-1a: no secret, no adversary, only the same name on every run.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!(".kluis-{hash:016x}.partial")
}

/// Whether a file is what a killed download left behind.
pub(crate) fn is_partial_name(name: &str) -> bool {
    name.strip_prefix(".kluis-")
        .and_then(|n| n.strip_suffix(".partial"))
        .is_some_and(|hash| {
            hash.len() == 16 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
}

#[allow(
    clippy::unnecessary_cast,
    reason = "signed on some systems, never negative"
)]
fn modified(stat: &Stat) -> SystemTime {
    let whole = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let base = if stat.st_mtime < 0 {
        SystemTime::UNIX_EPOCH - whole
    } else {
        SystemTime::UNIX_EPOCH + whole
    };
    base + Duration::from_nanos(stat.st_mtime_nsec as u64)
}

fn timespec(time: SystemTime) -> Option<Timespec> {
    let (tv_sec, tv_nsec) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).ok()?, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds - 1, 1_000_000_000 - nanos),
            }
        }
    };
    Some(Timespec {
        tv_sec,
        tv_nsec: tv_nsec.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("in"), true).unwrap();
        (dir, folder)
    }

    fn write(folder: &Folder, relative: &str, replace: bool) -> Result<()> {
        let mut file = folder.spot(relative)?.begin()?;
        file.write_all(b"content").unwrap();
        file.publish(
            Some(SystemTime::UNIX_EPOCH + Duration::new(5, 7)),
            replace,
            Mode::from_raw_mode(0o027),
        )
    }

    #[test]
    fn a_file_appears_whole_with_time_and_rights_or_not_at_all() {
        let (dir, folder) = folder();
        write(&folder, "a/b/c", false).unwrap();
        let path = dir.path().join("in/a/b/c");
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o640);
        assert_eq!(
            about.modified().unwrap(),
            SystemTime::UNIX_EPOCH + Duration::new(5, 7)
        );
        assert!(matches!(
            folder.spot("a/b/c").unwrap().look().unwrap(),
            Existing::File { size: 7, .. }
        ));
        assert_eq!(
            folder.spot("a/b").unwrap().look().unwrap(),
            Existing::Folder
        );
        assert_eq!(
            folder.spot("x/y").unwrap().look().unwrap(),
            Existing::Nothing
        );

        assert_eq!(
            write(&folder, "a/b/c", false).unwrap_err().exit,
            Exit::Exists
        );
        write(&folder, "a/b/c", true).unwrap();
        assert_eq!(write(&folder, "a/b", true).unwrap_err().exit, Exit::Exists);

        let file = folder.spot("d").unwrap().begin().unwrap();
        let private = std::fs::metadata(dir.path().join("in").join(partial_name("d"))).unwrap();
        assert_eq!(private.permissions().mode() & 0o777, 0o600);
        drop(file);
        let left: Vec<_> = std::fs::read_dir(dir.path().join("in")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_killed_download_is_cleared_away_and_a_running_one_is_not() {
        let (dir, folder) = folder();
        let partial = dir.path().join("in").join(partial_name("x"));
        std::fs::write(&partial, b"half").unwrap();
        write(&folder, "x", false).unwrap();
        assert!(!partial.exists());

        let running = folder.spot("y").unwrap().begin().unwrap();
        assert_eq!(
            folder.spot("y").unwrap().begin().err().unwrap().exit,
            Exit::Conflict
        );
        running.publish(None, false, Mode::empty()).unwrap();

        // A link planted under the temporary name is not written through.
        let outside = dir.path().join("outside");
        std::fs::write(&outside, b"mine").unwrap();
        symlink(&outside, dir.path().join("in").join(partial_name("z"))).unwrap();
        write(&folder, "z", false).unwrap();
        assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
        assert!(is_partial_name(&partial_name("x")) && !is_partial_name(".kluis-x.partial"));
    }

    #[test]
    fn no_name_and_no_link_leads_out() {
        let (dir, folder) = folder();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, dir.path().join("in/link")).unwrap();
        symlink("/etc/passwd", dir.path().join("in/file")).unwrap();
        for name in [
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "../../etc/passwd",
            "a/b/../../..",
            "/x",
            "/etc/passwd",
            "//",
            "///x",
            "/..",
            "/../x",
            "",
            "a//b",
            "a/",
            ".",
            "./x",
            "a/./b",
            "a/../b",
            "a\nb",
            "..\n",
            "\n/..",
            "\r",
            "a\tb",
            "a\0b",
            "a/\0",
            "..\0",
            "a\u{1b}[2J",
            "\u{1b}]0;t\u{7}",
            "\u{8}\u{8}x",
            "a\u{7f}",
            "\u{85}",
            "\u{9b}x/y",
            "x\u{1}",
        ] {
            assert_eq!(
                write(&folder, name, true).unwrap_err().exit,
                Exit::NotAsWritten,
                "{name:?}"
            );
        }
        assert_eq!(
            write(&folder, "link/x", true).unwrap_err().exit,
            Exit::Exists
        );
        assert_eq!(
            write(&folder, "link/a/b", true).unwrap_err().exit,
            Exit::Exists
        );
        assert_eq!(
            write(&folder, "file", false).unwrap_err().exit,
            Exit::Exists
        );
        assert_eq!(
            folder.spot("file").unwrap().look().unwrap(),
            Existing::Other
        );
        // Replaced is the link itself, not what it points to.
        write(&folder, "file", true).unwrap();
        assert!(
            std::fs::symlink_metadata(dir.path().join("in/file"))
                .unwrap()
                .is_file()
        );
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        for name in [
            "...",
            "....",
            "..x",
            "x..",
            "%2e%2e",
            "%2f",
            "..%2fx",
            "..\\x",
            "C:\\x",
            "\\\\host\\x",
            "\u{ff0e}\u{ff0e}",
            "\u{2025}",
            "\u{2215}etc",
            "\u{202e}gpj",
            "\u{200b}",
            "\u{2028}",
            "\u{fffd}",
            "e\u{301}",
            "\u{e9}",
            "~",
            "~root",
            "-",
            "-rf",
            "--help",
            "$(id)",
            "`id`",
            ";id",
            "|id",
            "*",
            "?",
            "con",
            "NUL",
            "aux.txt",
            ".ssh",
            "a b",
            " ",
            &"x".repeat(255),
        ] {
            write(&folder, name, false).unwrap();
        }
    }

    /// A folder on the way is swapped for a link and back, as fast as it goes.
    #[test]
    fn a_link_swapped_in_meanwhile_does_not_lead_out() {
        let (dir, folder) = folder();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::create_dir(inside.join("a")).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = renameat_with(
                        CWD,
                        inside.join("a"),
                        CWD,
                        inside.join("link"),
                        RenameFlags::EXCHANGE,
                    );
                }
            });
            let (mut tried, mut written) = (0, 0);
            // On a busy machine the swapping may rest for as long as many tries take.
            while tried < 2_000 || written == 0 {
                written += usize::from(write(&folder, &format!("a/{tried}"), true).is_ok());
                tried += 1;
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
