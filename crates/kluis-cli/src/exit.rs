//! How a command ends: one code for the shell, one line for the person.

use kluis::Unlisted;
use std::borrow::Cow;
use std::fmt;
use std::io;

/// The exit codes. Scripts rely on them; docs/CLI.md lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    SomeFailed = 3,
    NoVault = 10,
    Conflict = 11,
    WrongCredentials = 12,
    /// A stored record is not what we wrote: tampered, stale, unsupported or over a limit.
    NotAsWritten = 13,
    Exists = 14,
    Denied = 15,
    NotFound = 16,
    Unreachable = 17,
    Interrupted = 130,
}

impl Exit {
    fn from_sdk(code: u8) -> Self {
        match code {
            2 => Self::Usage,
            10 => Self::NoVault,
            11 => Self::Conflict,
            12 => Self::WrongCredentials,
            13 => Self::NotAsWritten,
            14 => Self::Exists,
            15 => Self::Denied,
            16 => Self::NotFound,
            17 => Self::Unreachable,
            130 => Self::Interrupted,
            _ => Self::Error,
        }
    }
}

/// Why a command, or one item of it, failed: what happened and what to do next.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// A stable name, for `--json`.
    pub(crate) code: Cow<'static, str>,
    /// The address it is about, as the user would type it.
    pub(crate) path: Option<String>,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// What the commands return.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            exit,
            code: Cow::Borrowed(code),
            path: None,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "invalid_input", message, hint)
    }

    /// What clap says of the arguments, in one line like every other failure.
    pub(crate) fn arguments(text: &str) -> Self {
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let (message, rest) = text.split_once("\n\nUsage: ").unwrap_or((text, ""));
        let lines = message.split("\n\n").map(|paragraph| {
            let words: Vec<_> = paragraph.split_whitespace().collect();
            words.join(" ")
        });
        let said = |line: &String| !line.is_empty() && !line.starts_with("For more information");
        let message: Vec<_> = lines.filter(said).collect();
        let hint = match rest.lines().next() {
            Some(usage) => format!("use it as `{usage}`; --help says more"),
            None => "--help says what there is".to_owned(),
        };
        Self::usage(message.join("; "), hint)
    }

    pub(crate) fn exists(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Exists, "already_exists", message, hint)
    }

    pub(crate) fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not_found", message, hint)
    }

    pub(crate) fn interrupted() -> Self {
        let hint = "run the same command again to go on where it stopped";
        Self::new(Exit::Interrupted, "cancelled", "interrupted", hint)
    }

    /// What the crypto core says of something the user gave.
    pub(crate) fn core(error: impl fmt::Display) -> Self {
        Self::usage(error.to_string(), "correct it and run the command again")
    }

    /// What is wrong with a file of the user's: a card or an identity.
    pub(crate) fn file(error: impl Into<kluis::Error>, what: &str) -> Self {
        let mut failure = Self::from(error.into());
        if &*failure.code == "tampered" {
            failure.message = format!("it is damaged or altered, or not {what}");
            "get it once more from whoever made it".clone_into(&mut failure.hint);
        }
        failure
    }

    /// Objects that a listing cannot name, if there are any: they are there, and
    /// whoever works on a whole folder must not believe that they were reached.
    pub(crate) fn nameless(count: u64) -> Option<Self> {
        let message = match count {
            0 => return None,
            1 => "1 object was left out: the store has lost its long name".to_owned(),
            n => format!("{n} objects were left out: the store has lost their long names"),
        };
        let hint = "`kluis check` says where they lie; by its name each can be read, moved and removed as ever";
        Some(Self::new(Exit::SomeFailed, "some_failed", message, hint))
    }

    /// The reader of our output went away, as `head` does: not an error.
    pub(crate) fn closed_pipe() -> Self {
        Self::new(Exit::Ok, "closed_pipe", "", "")
    }

    /// A failed operation on the local system. `doing` reads like "cannot write F".
    pub(crate) fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        let (exit, code, hint) = match error.kind() {
            io::ErrorKind::NotFound => (Exit::NotFound, "not_found", "check the spelling"),
            io::ErrorKind::PermissionDenied => {
                (Exit::Denied, "access_denied", "check owner and permissions")
            }
            io::ErrorKind::StorageFull => (Exit::Error, "io", "free some space and run it again"),
            _ => (Exit::Error, "io", "fix the cause and run it again"),
        };
        Self::new(
            exit,
            code,
            format!("{doing}: {}", without_errno(error)),
            hint,
        )
    }

    /// Writing to stdout failed.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::closed_pipe()
        } else {
            Self::io("cannot write to standard output", error)
        }
    }

    pub(crate) fn at(mut self, path: impl Into<String>) -> Self {
        self.path.get_or_insert(path.into());
        self
    }

    /// With this hint, where the arguments are what is wrong.
    pub(crate) fn or_invalid(mut self, hint: &str) -> Self {
        if self.code == "invalid_input" {
            hint.clone_into(&mut self.hint);
        }
        self
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.exit == Exit::Ok
    }
}

/// One line: where, what, and what to do next.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<kluis::Error> for Failure {
    fn from(error: kluis::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Some libraries repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Self {
            exit: Exit::from_sdk(error.exit_code()),
            code: Cow::Borrowed(error.code()),
            path: None,
            // Bodies of a provider's answers may span lines; ours is one.
            message: message.split_whitespace().collect::<Vec<_>>().join(" "),
            hint: error.hint().to_owned(),
        }
    }
}

fn without_errno(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// Counts what became of the items of one command and says how it ends.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// More than one item was asked for, so that a failure is one of several.
    pub(crate) many: bool,
    pub(crate) done: u64,
    pub(crate) bytes: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    /// What listings left out; the nameless are among the failed.
    pub(crate) nameless: u64,
    pub(crate) foreign: u64,
    worst: Option<Failure>,
}

impl Tally {
    pub(crate) fn new(many: bool) -> Self {
        Self {
            many,
            ..Self::default()
        }
    }

    /// Notes what a listing left out. What has no name was not reached and is a
    /// failure for each; the failure, to be shown, says so once.
    pub(crate) fn left_out(&mut self, unlisted: Unlisted, place: &str) -> Option<Failure> {
        self.foreign += unlisted.foreign;
        let failure = Failure::nameless(unlisted.nameless)?.at(place);
        self.nameless += unlisted.nameless;
        self.failed += unlisted.nameless - 1;
        self.fail(failure.clone());
        Some(failure)
    }

    /// Notes a failure; of several, the one that decides the code is kept.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        let outweighs = match &self.worst {
            None => true,
            Some(worst) => worst.exit != Exit::NotAsWritten && failure.exit == Exit::NotAsWritten,
        };
        if outweighs {
            self.worst = Some(failure);
        }
    }

    /// One item ends with its own code; of several, 13 wins over 3.
    pub(crate) fn end(self, verb: &str) -> Result<()> {
        let Some(worst) = self.worst else {
            return Ok(());
        };
        if !self.many {
            return Err(worst);
        }
        let (exit, code, hint) = if worst.exit == Exit::NotAsWritten {
            let hint =
                "the store does not hold what was written; restore what is named above from a copy";
            (Exit::NotAsWritten, worst.code.clone(), hint)
        } else {
            let hint = "the failures are named above; run the same command again for what is left";
            (Exit::SomeFailed, Cow::Borrowed("some_failed"), hint)
        };
        let total = self.done + self.skipped + self.failed;
        let message = format!("{} of {total} failed, {} {verb}", self.failed, self.done);
        Err(Failure {
            exit,
            code,
            path: None,
            message,
            hint: hint.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(exit: Exit) -> Failure {
        Failure::new(exit, "x", "m", "h")
    }

    #[test]
    fn one_item_ends_with_its_own_code_and_13_wins_over_3() {
        let end = |many, codes: &[Exit]| {
            let mut tally = Tally::new(many);
            codes.iter().for_each(|c| tally.fail(failure(*c)));
            tally.end("copied").map_err(|f| f.exit)
        };
        assert_eq!(end(false, &[]), Ok(()));
        assert_eq!(end(false, &[Exit::Exists]), Err(Exit::Exists));
        assert_eq!(end(true, &[Exit::Exists]), Err(Exit::SomeFailed));
        assert_eq!(
            end(true, &[Exit::Exists, Exit::NotAsWritten]),
            Err(Exit::NotAsWritten)
        );
        assert_eq!(
            end(true, &[Exit::NotAsWritten, Exit::Exists]),
            Err(Exit::NotAsWritten)
        );
    }

    #[test]
    fn a_mistake_in_the_arguments_is_one_line_with_a_hint() {
        let said = |arguments: &[&str]| {
            let error = <crate::args::Cli as clap::Parser>::try_parse_from(arguments);
            Failure::arguments(&error.unwrap_err().to_string()).to_string()
        };
        assert_eq!(
            said(&["kluis", "ls", "--nope"]),
            "unexpected argument '--nope' found; tip: to pass '--nope' as a value, use '-- --nope'; hint: use it as `kluis ls [OPTIONS] [PATH]`; --help says more"
        );
        assert!(
            said(&["kluis", "init", "--kdf", "cheap"])
                .ends_with("; hint: --help says what there is")
        );
    }

    #[test]
    fn the_last_line_says_what_and_what_next() {
        let failure = Failure::not_found("there is nothing here", "look with `kluis ls`").at(":a");
        assert_eq!(
            failure.to_string(),
            ":a: there is nothing here; hint: look with `kluis ls`"
        );
    }
}
