use kluis_crypto::VaultId;
use std::io;

/// What is denied to whoever has not the whole vault.
pub(crate) const ONLY_THE_OWNER: &str = "what only the owner of the vault can do";

/// How that ends which is denied by what the owner decided, and not by the store.
const OF_THE_OWNER: [&str; 8] = [
    "than was given",
    "ask the owner of the vault to share it",
    "which was shared for reading",
    "the access has ended",
    "the access has not begun yet",
    "written before access was given",
    "it was taken back",
    "it waits for the owner of the vault to file it",
];

/// What went wrong, as what a caller can do about it.
///
/// [`code`](Self::code) is a stable name for programs, [`hint`](Self::hint) the
/// next step for a person. No error carries plaintext, keys or passwords; paths
/// are the caller's own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No object has this path.
    #[error("nothing at {path}")]
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// The target exists and was not to be replaced.
    #[error("{path} exists already")]
    AlreadyExists {
        /// The path that was to be written.
        path: String,
    },
    /// Another client changed the same thing meanwhile. Nothing of this call took effect, but
    /// for a write of more than a second whose keys were closed under it: that is done again.
    #[error("{what} was changed by someone else meanwhile")]
    Conflict {
        /// What was changed.
        what: String,
    },
    /// There is no vault at this address.
    #[error("there is no vault here")]
    NoVault,
    /// No key slot opens with this credential.
    #[error("wrong password, keyfile or recovery phrase")]
    WrongCredentials,
    /// Stored bytes are not what was written: altered, cut short, or of another
    /// place. Nothing unauthenticated was released.
    #[error("{what} was altered or damaged in the store after it was written")]
    Tampered {
        /// The object, or the record of the vault.
        what: String,
    },
    /// Authenticated evidence says that this exists, and the store does not have it.
    #[error("{what} is missing from the store")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// The store shows an older state than it, or this device, had already.
    #[error("the store shows an older state of {what}")]
    Stale {
        /// What is old.
        what: String,
    },
    /// The store shows two signed histories that exclude each other.
    #[error("the store shows two different histories of {what}")]
    Forked {
        /// What has two histories.
        what: String,
    },
    /// Written by a later version, or with an option that this one lacks.
    #[error("{what} is of a format that this version does not know")]
    UnsupportedFormat {
        /// What cannot be read.
        what: String,
    },
    /// The store claims more than Kluis accepts; nothing was allocated for it.
    #[error("{what} is over a limit")]
    LimitExceeded {
        /// What is over a limit.
        what: String,
    },
    /// Another vault, or another person, than the one that was expected, or one that
    /// nobody has verified.
    #[error("expected {expected} and found {found}")]
    UntrustedIdentity {
        /// The vault of the address or of this device's memory; whose card was
        /// verified.
        expected: String,
        /// What was found in its place.
        found: String,
    },
    /// The store's credentials, or this vault's state, do not allow it.
    #[error("no access to {what}")]
    AccessDenied {
        /// What was refused.
        what: String,
    },
    /// The caller's arguments cannot be used; no request was made.
    #[error("{what}")]
    InvalidInput {
        /// What is wrong with them.
        what: String,
    },
    /// This store cannot do it.
    #[error("this store cannot do it: {what}")]
    Unsupported {
        /// What it lacks.
        what: String,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// Reading or writing on this machine failed.
    #[error("local input or output failed")]
    Io {
        /// The operating system's error.
        #[from]
        source: io::Error,
    },
    /// The store could not be reached or failed.
    #[error("the store failed")]
    Store {
        /// The store's error.
        source: object_store::Error,
    },
}

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A stable name of the variant, in snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::AlreadyExists { .. } => "already_exists",
            Self::Conflict { .. } => "conflict",
            Self::NoVault => "no_vault",
            Self::WrongCredentials => "wrong_credentials",
            Self::Tampered { .. } => "tampered",
            Self::Missing { .. } => "missing",
            Self::Stale { .. } => "stale",
            Self::Forked { .. } => "forked",
            Self::UnsupportedFormat { .. } => "unsupported_format",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::UntrustedIdentity { .. } => "untrusted_identity",
            Self::AccessDenied { .. } => "access_denied",
            Self::InvalidInput { .. } => "invalid_input",
            Self::Unsupported { .. } => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Io { .. } => "io",
            Self::Store { .. } => "store",
        }
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unsupported { .. } | Self::Io { .. } => 1,
            Self::InvalidInput { .. } => 2,
            Self::NoVault => 10,
            Self::Conflict { .. } => 11,
            Self::WrongCredentials => 12,
            Self::Tampered { .. }
            | Self::Missing { .. }
            | Self::Stale { .. }
            | Self::Forked { .. }
            | Self::UnsupportedFormat { .. }
            | Self::LimitExceeded { .. } => 13,
            Self::AlreadyExists { .. } => 14,
            Self::UntrustedIdentity { .. } | Self::AccessDenied { .. } => 15,
            Self::NotFound { .. } => 16,
            Self::Store { .. } => 17,
            Self::Cancelled => 130,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotFound { path } if path.ends_with("is to be filed first") => {
                "file that one first, or have this one given on again"
            }
            Self::NotFound { .. } => "list the folder to see what is there",
            Self::AlreadyExists { .. } => "choose another name, or say that it may be replaced",
            Self::Conflict { .. } => {
                "open the vault again, look at the new state, and repeat the call"
            }
            Self::NoVault => "check the address; a new vault has to be created first",
            Self::WrongCredentials => {
                "try again; a vault with a keyfile needs both, and a recovery phrase is a credential of its own"
            }
            Self::Tampered { .. } => {
                "nothing of it was released; restore it from a backup or an older version that the store keeps, and ask the provider what happened"
            }
            Self::Missing { .. } => {
                "restore it from a backup, or from the recovery kit if it is a record of the vault"
            }
            Self::Stale { .. } => {
                "the provider may have restored a backup or hides newer writes; ask before you go on writing"
            }
            Self::Forked { .. } => {
                "compare with your other devices; the provider shows them different histories"
            }
            Self::UnsupportedFormat { .. } => "update Kluis",
            Self::LimitExceeded { .. } => {
                "if the vault is your own, raise the limit; else do not trust it"
            }
            Self::UntrustedIdentity { .. } => {
                "a vault: check the address, nothing was derived from the password; a person: compare the fingerprint with its owner, nothing was sealed"
            }
            Self::AccessDenied { what } if what == ONLY_THE_OWNER => {
                "only the vault's owner can do this; ask them"
            }
            Self::AccessDenied { what } if OF_THE_OWNER.iter().any(|w| what.ends_with(w)) => {
                "ask the vault's owner: they decide who has access, and until when"
            }
            Self::AccessDenied { what } if what.ends_with("before it was filed") => {
                "have it given on again by whoever gave it on"
            }
            Self::AccessDenied { .. } => {
                "check the store's credentials and permissions, or open the vault again"
            }
            Self::InvalidInput { .. } => "mend the arguments",
            Self::Unsupported { .. } => "use a store that can, or do without",
            Self::Cancelled => "run it again; what was finished is kept",
            Self::Io { source } if is_full(source) => "free some space, then repeat the call",
            Self::Io { .. } => "look at the cause; nothing half-written was left",
            Self::Store { .. } => {
                "check the network and the store's credentials, then repeat the call"
            }
        }
    }

    /// An error of the core about `what`.
    pub(crate) fn core(error: kluis_crypto::Error, what: impl Into<String>) -> Self {
        use kluis_crypto::Error as Core;
        let what = what.into();
        match error {
            Core::Tampered => Self::Tampered { what },
            Core::WrongCredentials => Self::WrongCredentials,
            Core::UnsupportedFormat(part) => Self::UnsupportedFormat {
                what: format!("{what} ({part})"),
            },
            Core::LimitExceeded(part) => Self::LimitExceeded {
                what: format!("{what} ({part})"),
            },
            Core::InvalidInput(message) => Self::InvalidInput {
                what: message.into_owned(),
            },
            Core::Stale(part) => Self::Stale {
                what: format!("{part}, against {what}"),
            },
            Core::Forked(part) => Self::Forked {
                what: part.to_owned(),
            },
            Core::UntrustedIdentity => Self::UntrustedIdentity {
                expected: "a card that was verified".to_owned(),
                found: what,
            },
            Core::AccessDenied(why) => Self::AccessDenied {
                what: format!("{what}: {why}"),
            },
            Core::NotFound(part) => Self::NotFound {
                path: format!("{part} {what}"),
            },
            other => Self::Io {
                source: io::Error::other(other),
            },
        }
    }

    pub(crate) fn other_vault(expected: VaultId, found: VaultId) -> Self {
        Self::UntrustedIdentity {
            expected: format!("vault {expected}"),
            found: format!("vault {found}"),
        }
    }

    /// An error of the store about `path`, which replaces whatever path the
    /// store's own error names: that is ciphertext, or a path on a disk.
    pub(crate) fn store(source: object_store::Error, path: impl Into<String>) -> Self {
        use object_store::Error as Below;
        let path = path.into();
        match source {
            Below::NotFound { .. } => Self::NotFound { path },
            Below::AlreadyExists { .. } => Self::AlreadyExists { path },
            Below::Precondition { .. } => Self::Conflict { what: path },
            Below::NotImplemented { operation, .. } => Self::Unsupported { what: operation },
            Below::NotSupported { source } => Self::Unsupported {
                what: source.to_string(),
            },
            Below::PermissionDenied { .. } | Below::Unauthenticated { .. } => {
                Self::AccessDenied { what: path }
            }
            source => match disk_fault(&source) {
                Some(source) if is_refused(&source) => Self::AccessDenied { what: path },
                Some(source) => Self::Io { source },
                None => Self::Store { source },
            },
        }
    }

    /// The same error about something that may not be named.
    pub(crate) fn renamed(self, name: &str) -> Self {
        let name = name.to_owned();
        match self {
            Self::NotFound { .. } => Self::NotFound { path: name },
            Self::AccessDenied { .. } => Self::AccessDenied { what: name },
            Self::Tampered { .. } => Self::Tampered { what: name },
            Self::LimitExceeded { .. } => Self::LimitExceeded { what: name },
            other => other,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidInput { what: what.into() }
    }

    pub(crate) fn tampered(what: impl Into<String>) -> Self {
        Self::Tampered { what: what.into() }
    }
}

/// What the core says of something that the caller gave it: a card, the text of an
/// identity, a phrase.
impl From<kluis_crypto::Error> for Error {
    fn from(error: kluis_crypto::Error) -> Self {
        Self::core(error, "what was given")
    }
}

/// What the operating system said of a store that is a folder; without the path,
/// which its own error names.
fn disk_fault(error: &object_store::Error) -> Option<io::Error> {
    let object_store::Error::Generic {
        store: "LocalFileSystem",
        source,
    } = error
    else {
        return None;
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            });
        }
        cause = error.source();
    }
    None
}

fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_disk_is_no_unreachable_store() {
        let fault = |kind: io::ErrorKind| {
            let cause = object_store::Error::Generic {
                store: "LocalFileSystem",
                // As `LocalFileSystem` has it: inside an error of its own.
                source: Box::new(Error::from(io::Error::from(kind))),
            };
            Error::store(cause, "a")
        };
        for (kind, exit) in [
            (io::ErrorKind::PermissionDenied, 15),
            (io::ErrorKind::ReadOnlyFilesystem, 15),
            (io::ErrorKind::StorageFull, 1),
            (io::ErrorKind::IsADirectory, 1),
        ] {
            assert_eq!(fault(kind).exit_code(), exit, "{kind}");
        }
        let full = fault(io::ErrorKind::StorageFull);
        assert!(full.hint().contains("space"), "{}", full.hint());
        let network = object_store::Error::Generic {
            store: "S3",
            source: Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
        };
        assert_eq!(Error::store(network, "a").exit_code(), 17);
    }
}
