//! Which lies there are, and where and when they are told.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::path::Path;
use object_store::{Attributes, Error, ObjectMeta};

use crate::journal::{Call, Op};

/// One thing a dishonest or broken store can do.
///
/// A lie concerns only the kinds of call named in its group; other calls pass
/// by it untouched and use up none of its [`times`](Rule::times). With several
/// rules in force, those that say which object is served come first and the
/// last of them wins; all others add up in the order in which they were added.
///
/// # Lies about the object (`Get`, `Head`, `GetRanges`)
///
/// The store behaves in every respect, ranges and sizes included, as if it held
/// the altered object. E-tag, version and time stay those of the object served.
///
/// # Lies about the answer (`Get`, where it makes sense `GetRanges`, listings)
///
/// The object is right and what is said about it, or how it arrives, is not.
///
/// # Lies about listings
///
/// Here the rule's target is held against each entry, and the rule counts as
/// used when it changed the listing.
///
/// # Lies about writing
///
/// `Put`, `PutPart`, `Complete`, `Delete`, `Copy` and `Rename`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Lie {
    // The object.
    /// Flips one bit, counted from the least significant bit of the first byte.
    /// An object that is too short is served as it is.
    FlipBit(u64),
    /// Flips one bit of the whole object, drawn from the seed anew on each use.
    FlipAnyBit,
    /// Serves noise of the same length, drawn from the seed anew on each use.
    Garbage,
    /// Overwrites from an offset on. Grows the object, with zeros in a gap, if
    /// it is too short.
    Set(usize, Bytes),
    /// Keeps only the first bytes.
    Truncate(usize),
    /// Appends bytes.
    Extend(Bytes),
    /// Applies a function to the bytes: [`Lie::edit`].
    Edit(Change<Vec<u8>>),
    /// Serves the object of another path. A swap is two rules.
    SwapWith(Path),
    /// Serves the k-th object ever written at the path, from 0, also if it was
    /// removed since; not found if there were fewer. Listings stay current:
    /// [`Lie::Freeze`] covers them.
    Version(usize),
    /// Says that there is no such object. Listings still show it:
    /// [`Lie::HideFromList`].
    NotFound,
    /// Serves every path as it was before the call `mark`, in gets as in
    /// listings. Paths never written through this store are served as they are.
    Freeze(u64),
    /// Brings removed objects back, in gets as in listings.
    Resurrect,

    // The answer.
    /// Ends the body early, without an error, after this many bytes. Size and
    /// range still promise all of it.
    ShortBody(usize),
    /// Sends more bytes after the promised ones.
    LongBody(Bytes),
    /// Cuts the body into items of this many bytes (0 counts as 1).
    TinyItems(usize),
    /// Never ends: zeros after the body, made-up entries after a listing.
    Endless,
    /// Sends so many bytes of the body, or entries of a listing, then nothing
    /// more for ever. Calls of any kind that have no body are never answered,
    /// and do nothing.
    StallAfter(u64),
    /// Sends so many bytes of the body, or entries of a listing, then an error.
    ErrAfter(u64, Fault),
    /// Serves the right number of bytes from another offset.
    FromOffset(u64),
    /// Claims that the body is this range of the object. The body is the one
    /// asked for. Mind that object_store allocates what is claimed.
    ClaimRange(std::ops::Range<u64>),
    /// Changes the metadata in gets, heads, listings and in the results of
    /// puts (e-tag and version only): [`Lie::meta`].
    Meta(Change<ObjectMeta>),
    /// Changes the attributes of gets and heads: [`Lie::attributes`].
    Attributes(Change<Attributes>),

    // Listings.
    /// Leaves entries out, and folders that become empty.
    HideFromList,
    /// Adds an entry to each listing of a prefix that it lies under.
    GhostInList(ObjectMeta),
    /// Applies a function to the complete listing, the target being held
    /// against its prefix: [`Lie::list`].
    EditList(Change<Vec<ObjectMeta>>),

    // Writing.
    /// Says OK and does nothing.
    DropWrite,
    /// Writes so many bytes (`Put`, `PutPart`, `Complete`), then fails.
    TornPut(usize),
    /// Treats conditional puts, copies, renames and gets as if they had no
    /// condition.
    IgnoreConditional,

    // Calls of any kind.
    /// Fails and does nothing.
    FailBefore(Fault),
    /// Does what was asked, then fails.
    FailAfter(Fault),
    /// Awaits a function before the call is carried out, in which another
    /// client can act: [`Lie::race`].
    Race(Func<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>),
}

impl Lie {
    /// This lie, told at `target` only. Short for [`Rule::new`] and [`Rule::at`].
    pub fn at(self, target: impl Into<Target>) -> Rule {
        Rule::new(self).at(target)
    }

    /// A [`Lie::Edit`].
    pub fn edit(f: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::Edit(Func(Arc::new(f)))
    }

    /// A [`Lie::Meta`], for example `Lie::meta(|meta| meta.size = 1 << 40)`.
    pub fn meta(f: impl Fn(&mut ObjectMeta) + Send + Sync + 'static) -> Self {
        Self::Meta(Func(Arc::new(f)))
    }

    /// A [`Lie::Attributes`].
    pub fn attributes(f: impl Fn(&mut Attributes) + Send + Sync + 'static) -> Self {
        Self::Attributes(Func(Arc::new(f)))
    }

    /// A [`Lie::EditList`]: repeat, reorder, invent entries, outside the prefix too.
    pub fn list(f: impl Fn(&mut Vec<ObjectMeta>) + Send + Sync + 'static) -> Self {
        Self::EditList(Func(Arc::new(f)))
    }

    /// A [`Lie::Race`]. If the function calls this very store, limit the rule
    /// with [`Rule::times`] or to a client, or it will call itself.
    pub fn race<F>(f: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Race(Func(Arc::new(move || f().boxed())))
    }

    /// Whether this lie can be told in answer to `call` at all.
    pub(crate) fn concerns(&self, call: &Call) -> bool {
        use Op::*;
        let op = call.op;
        match self {
            Self::FlipBit(_) | Self::FlipAnyBit | Self::Garbage => matches!(op, Get | GetRanges),
            Self::ShortBody(_) | Self::LongBody(_) | Self::FromOffset(_) => {
                matches!(op, Get | GetRanges)
            }
            Self::Set(..)
            | Self::Truncate(_)
            | Self::Extend(_)
            | Self::Edit(_)
            | Self::SwapWith(_)
            | Self::Version(_)
            | Self::NotFound => matches!(op, Get | Head | GetRanges),
            Self::Freeze(_) | Self::Resurrect => matches!(op, Get | Head | GetRanges) || op.lists(),
            Self::TinyItems(_) => op == Get,
            Self::ClaimRange(_) | Self::Attributes(_) => matches!(op, Get | Head),
            Self::Endless => op.streams(),
            Self::ErrAfter(..) => matches!(op, Get | GetRanges) || op.lists(),
            Self::Meta(_) => matches!(op, Get | Head | Put | Complete) || op.lists(),
            Self::HideFromList | Self::GhostInList(_) | Self::EditList(_) => op.lists(),
            Self::DropWrite => matches!(op, Put | PutPart | Complete | Delete | Copy | Rename),
            Self::TornPut(_) => matches!(op, Put | PutPart | Complete),
            Self::IgnoreConditional => call.conditional,
            Self::StallAfter(_) | Self::FailBefore(_) | Self::FailAfter(_) | Self::Race(_) => true,
        }
    }

    /// Whether, in a listing, the target is held against each entry.
    pub(crate) fn by_entry(&self) -> bool {
        matches!(
            self,
            Self::Freeze(_)
                | Self::Resurrect
                | Self::Meta(_)
                | Self::HideFromList
                | Self::GhostInList(_)
        )
    }

    /// Whether it changes the object itself, so that the answer must be made up
    /// from the whole of it.
    pub(crate) fn alters_object(&self) -> bool {
        self.selects_object()
            || matches!(
                self,
                Self::FlipBit(_)
                    | Self::FlipAnyBit
                    | Self::Garbage
                    | Self::Set(..)
                    | Self::Truncate(_)
                    | Self::Extend(_)
                    | Self::Edit(_)
                    | Self::FromOffset(_)
            )
    }

    /// Whether it says which object is served.
    pub(crate) fn selects_object(&self) -> bool {
        matches!(
            self,
            Self::SwapWith(_)
                | Self::Version(_)
                | Self::NotFound
                | Self::Freeze(_)
                | Self::Resurrect
        )
    }
}

/// A function inside a [`Lie`]. Made by constructors such as [`Lie::edit`].
pub struct Func<F: ?Sized>(pub(crate) Arc<F>);

impl<F: ?Sized> Clone for Func<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: ?Sized> fmt::Debug for Func<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Func").finish_non_exhaustive()
    }
}

/// A [`Func`] that changes a value in place.
pub type Change<T> = Func<dyn Fn(&mut T) + Send + Sync>;

/// The errors a store can answer with, one for each that `object_store` gives
/// a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The network or the server broke; what a client may retry.
    Generic,
    /// [`Error::NotFound`].
    NotFound,
    /// [`Error::AlreadyExists`].
    AlreadyExists,
    /// [`Error::Precondition`].
    Precondition,
    /// [`Error::NotModified`].
    NotModified,
    /// [`Error::NotSupported`].
    NotSupported,
    /// [`Error::NotImplemented`].
    NotImplemented,
    /// [`Error::PermissionDenied`].
    PermissionDenied,
    /// [`Error::Unauthenticated`].
    Unauthenticated,
}

impl Fault {
    /// The error, as if it were about `path`. Its source reads "the hostile
    /// store says so".
    pub fn error(self, path: &Path) -> Error {
        let path = path.to_string();
        let source = "the hostile store says so".into();
        match self {
            Self::Generic => Error::Generic {
                store: STORE,
                source,
            },
            Self::NotFound => Error::NotFound { path, source },
            Self::AlreadyExists => Error::AlreadyExists { path, source },
            Self::Precondition => Error::Precondition { path, source },
            Self::NotModified => Error::NotModified { path, source },
            Self::NotSupported => Error::NotSupported { source },
            Self::NotImplemented => Error::NotImplemented {
                operation: "this operation".into(),
                implementer: STORE.into(),
            },
            Self::PermissionDenied => Error::PermissionDenied { path, source },
            Self::Unauthenticated => Error::Unauthenticated { path, source },
        }
    }
}

/// The name under which errors of our own making are reported.
pub(crate) const STORE: &str = "HostileStore";

/// A lie, and the calls to which it is told.
///
/// Made from a lie alone it is told at every path, by every client, for ever.
///
/// ```
/// use kluis_adversary::{Fault, Lie, Op, Rule};
///
/// // The third and the fourth put of Bob's phone fail after they were carried out.
/// let rule = Rule::new(Lie::FailAfter(Fault::Generic))
///     .on(Op::Put)
///     .for_client("bob/phone")
///     .skip(2)
///     .times(2);
/// # let _ = rule;
/// ```
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) lie: Lie,
    target: Target,
    ops: Vec<Op>,
    client: Option<String>,
    skip: u64,
    times: Option<u64>,
    /// How often it was told.
    uses: u64,
}

impl Rule {
    /// A rule that tells `lie` at every opportunity.
    pub fn new(lie: Lie) -> Self {
        Self {
            lie,
            target: Target::Any,
            ops: Vec::new(),
            client: None,
            skip: 0,
            times: None,
            uses: 0,
        }
    }

    /// Only where the path matches: the path of the call, or either path of a
    /// copy or rename, or (with lies about listings) that of an entry.
    #[must_use]
    pub fn at(mut self, target: impl Into<Target>) -> Self {
        self.target = target.into();
        self
    }

    /// Only in calls of this kind; call it again to allow another kind.
    #[must_use]
    pub fn on(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// Only to this client.
    #[must_use]
    pub fn for_client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// Lets the next `n` calls that match pass first.
    #[must_use]
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Only for `n` calls, after which the rule rests.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    pub(crate) fn uses(&self) -> u64 {
        self.uses
    }

    /// Whether the rule may be told in answer to `call`, paths aside.
    pub(crate) fn concerns(&self, call: &Call) -> bool {
        self.lie.concerns(call)
            && (self.ops.is_empty() || self.ops.contains(&call.op))
            && self
                .client
                .as_deref()
                .is_none_or(|client| client == &*call.client)
    }

    /// Whether the rule's target holds for the path, or the source, of `call`.
    pub(crate) fn hits(&self, call: &Call) -> bool {
        self.matches(&call.path) || call.from.as_ref().is_some_and(|from| self.matches(from))
    }

    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.target.matches(path)
    }

    /// Counts one opportunity and says whether the lie is told: which use it is.
    pub(crate) fn spend(&mut self) -> Option<u64> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.times.is_some_and(|times| self.uses >= times) {
            return None;
        }
        self.uses += 1;
        Some(self.uses - 1)
    }
}

impl From<Lie> for Rule {
    fn from(lie: Lie) -> Self {
        Self::new(lie)
    }
}

/// Names a rule that is in force, to remove it or to ask how often it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) u64);

/// The paths at which a rule holds.
///
/// A string is a glob and a [`Path`] is that path exactly, so that
/// `Lie::NotFound.at("a/*")` and `Lie::NotFound.at(path)` do what they say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Target {
    /// Every path.
    Any,
    /// This path only, whatever characters it has.
    Exact(Path),
    /// `?` is one character and `*` any number of them, neither of them a `/`;
    /// `**` is any number of characters of any kind.
    Glob(String),
    /// The paths for which a function holds: [`Target::when`].
    When(Func<dyn Fn(&Path) -> bool + Send + Sync>),
}

impl Target {
    /// The paths for which `f` holds. It is asked in the middle of a call, so it
    /// must not use the store itself.
    pub fn when(f: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        Self::When(Func(Arc::new(f)))
    }

    /// Whether `path` is among them.
    pub fn matches(&self, path: &Path) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == path,
            Self::Glob(glob) => glob_matches(glob.as_bytes(), path.as_ref().as_bytes()),
            Self::When(f) => (f.0)(path),
        }
    }
}

impl From<&str> for Target {
    fn from(glob: &str) -> Self {
        Self::Glob(glob.to_owned())
    }
}

impl From<String> for Target {
    fn from(glob: String) -> Self {
        Self::Glob(glob)
    }
}

impl From<Path> for Target {
    fn from(path: Path) -> Self {
        Self::Exact(path)
    }
}

impl From<&Path> for Target {
    fn from(path: &Path) -> Self {
        Self::Exact(path.clone())
    }
}

/// Tries each length for a star: globs in tests are short.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    match glob {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|taken| glob_matches(rest, &text[taken..])),
        [b'*', rest @ ..] => {
            let segment = text
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(text.len());
            (0..=segment).any(|taken| glob_matches(rest, &text[taken..]))
        }
        [b'?', rest @ ..] => {
            // One character may be several bytes of UTF-8.
            let continued = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
            match text {
                [first, tail @ ..] if *first != b'/' => {
                    let more = tail.iter().take_while(continued).count();
                    glob_matches(rest, &tail[more..])
                }
                _ => false,
            }
        }
        [byte, rest @ ..] => text.first() == Some(byte) && glob_matches(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stop_at_a_slash_unless_doubled() {
        let matches = |glob: &str, path: &str| Target::from(glob).matches(&Path::from(path));
        assert!(matches("a/b", "a/b"));
        assert!(!matches("a/b", "a/bc"));
        assert!(matches("a/*", "a/b"));
        assert!(!matches("a/*", "a/b/c"));
        assert!(matches("a/**", "a/b/c"));
        assert!(!matches("a/**", "ab/c"));
        assert!(matches("**", ""));
        assert!(matches("**/x", "a/b/x"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "a/c"));
        assert!(matches("*.k", "v1.k"));
        assert!(matches("v*-*", "v1-2"));
        assert!(!matches("", "a"));
    }

    #[test]
    fn question_mark_is_one_character_and_not_one_byte() {
        let path = Path::parse("aéc").ok();
        assert!(path.is_some_and(|path| Target::from("a?c").matches(&path)));
    }

    #[test]
    fn exact_paths_are_no_globs() {
        let star = Path::from_iter(["a", "*"]);
        assert!(Target::from(&star).matches(&star));
        assert!(!Target::from(&star).matches(&Path::from("a/b")));
    }

    #[test]
    fn skip_comes_before_times() {
        let mut rule = Rule::new(Lie::DropWrite).skip(1).times(2);
        let told: Vec<_> = (0..5).map(|_| rule.spend()).collect();
        assert_eq!(told, [None, Some(0), Some(1), None, None]);
        assert_eq!(rule.uses(), 2);
    }
}
