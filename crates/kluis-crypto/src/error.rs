use std::borrow::Cow;

/// Why the core refused. Variants are reactions; see each for what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Stored bytes are not what a holder of the keys wrote. There is one error
    /// for every failed decryption, whatever failed, and nothing of the bytes
    /// was released.
    #[error("the stored bytes are not what was written: altered, truncated, or of another place")]
    Tampered,
    /// No slot opens with the credential given. A damaged slot looks the same
    /// as a wrong password, on purpose.
    #[error("wrong password, keyfile, recovery phrase or identity")]
    WrongCredentials,
    /// The bytes name a format, suite, flag or kind that this version does not know.
    #[error("unsupported format: {0}")]
    UnsupportedFormat(&'static str),
    /// A stored value, or a machine's memory, is over a limit; nothing was allocated for it.
    #[error("over a limit: {0}")]
    LimitExceeded(&'static str),
    /// What the caller names is not there.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The caller gave something that cannot be used.
    #[error("{0}")]
    InvalidInput(Cow<'static, str>),
    /// The store shows a control record older than one that newer records name.
    #[error("the store shows an older state than one it already held: {0}")]
    Stale(&'static str),
    /// A card or signature is not that of who is meant; nothing was sealed to it.
    #[error("not the identity that was verified; compare its fingerprint with its owner")]
    UntrustedIdentity,
    /// The keys at hand do not reach this: it was not given, or was taken back.
    #[error("no access: {0}")]
    AccessDenied(&'static str),
    /// Two different signed records claim the same place.
    #[error("two different signed records claim the same place: {0}")]
    Forked(&'static str),
    /// The operating system gave no randomness; nothing was written.
    #[error("the operating system gave no randomness")]
    Randomness,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidInput(message.into())
    }
}

/// What the core returns.
pub type Result<T> = std::result::Result<T, Error>;
