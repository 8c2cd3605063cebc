//! What the store was asked, and what each path held over time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetRange, ObjectMeta, PutMode};

/// The kinds of request, one for each thing a provider can tell apart.
///
/// A multipart upload is several calls: its start, each part, and its end. A
/// stream of deletes is one call for each path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A whole object is written.
    Put,
    /// A multipart upload begins; nothing is visible yet.
    PutMultipart,
    /// One part of a multipart upload.
    PutPart,
    /// A multipart upload becomes visible.
    Complete,
    /// A multipart upload is given up.
    Abort,
    /// An object is read, whole or by one range.
    Get,
    /// Only the metadata of an object is read.
    Head,
    /// Several ranges are read in one call.
    GetRanges,
    /// An object is removed.
    Delete,
    /// All objects under a prefix are listed.
    List,
    /// Objects under a prefix and after an offset are listed.
    ListWithOffset,
    /// One level of a tree is listed.
    ListWithDelimiter,
    /// An object is copied by the store.
    Copy,
    /// An object is renamed by the store.
    Rename,
}

impl Op {
    /// Whether the call can change what is stored. Parts count: they are sent.
    pub fn writes(self) -> bool {
        use Op::*;
        matches!(
            self,
            Put | PutMultipart | PutPart | Complete | Abort | Delete | Copy | Rename
        )
    }

    /// Whether the call is one of the three listings.
    pub fn lists(self) -> bool {
        matches!(
            self,
            Self::List | Self::ListWithOffset | Self::ListWithDelimiter
        )
    }

    /// Whether the answer arrives in pieces, so that it can break off.
    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::ListWithOffset)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::PutMultipart => "put_multipart",
            Self::PutPart => "put_part",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::Get => "get",
            Self::Head => "head",
            Self::GetRanges => "get_ranges",
            Self::Delete => "delete",
            Self::List => "list",
            Self::ListWithOffset => "list_with_offset",
            Self::ListWithDelimiter => "list_with_delimiter",
            Self::Copy => "copy",
            Self::Rename => "rename",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a call ended, as the client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// No answer yet; for ever so if the client stopped waiting.
    Pending,
    /// Answered without an error. A body or a listing may still break off.
    Ok,
    /// Answered with an error.
    Failed,
}

/// One request, as the provider sees it.
///
/// Its `Display` form has no times, e-tags or addresses in it and is stable
/// between runs, so that it can stand in a golden file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// The position in the journal, from 0.
    pub seq: u64,
    /// The client that made it, see [`HostileStore::client`](crate::HostileStore::client).
    pub client: Arc<str>,
    /// What was asked.
    pub op: Op,
    /// The object asked for, the one written by a copy or rename, or the
    /// prefix of a listing (the empty path if it had none).
    pub path: Path,
    /// The source of a copy or rename.
    pub from: Option<Path>,
    /// The bytes sent: the body of a put or of a part.
    pub sent: Bytes,
    /// The attributes sent with a put.
    pub attributes: Attributes,
    /// The tags sent with a put, in their encoded form.
    pub tags: String,
    /// The range asked for by a get, or each of those of `GetRanges`.
    pub ranges: Vec<GetRange>,
    /// The condition of a write; that of a copy or rename is `Create` or
    /// `Overwrite`. `None` for all other calls.
    pub mode: Option<PutMode>,
    /// Whether the call had any condition, in a read those on e-tag and time.
    pub conditional: bool,
    /// For the calls of a multipart upload, the `seq` of the call that began it.
    pub upload: Option<u64>,
    /// The offset of `ListWithOffset`.
    pub offset: Option<Path>,
    /// What the client received so far: bytes of a body, entries of a listing.
    pub received: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    pub(crate) fn new(op: Op, path: &Path) -> Self {
        Self {
            seq: 0,
            client: Arc::from(""),
            op,
            path: path.clone(),
            from: None,
            sent: Bytes::new(),
            attributes: Attributes::new(),
            tags: String::new(),
            ranges: Vec::new(),
            mode: None,
            conditional: false,
            upload: None,
            offset: None,
            received: 0,
            outcome: Outcome::Pending,
        }
    }

    pub(crate) fn with_mode(mut self, mode: PutMode) -> Self {
        self.conditional = mode != PutMode::Overwrite;
        self.mode = Some(mode);
        self
    }

    /// The strings that travel beside the body, each with its place.
    fn strings(&self) -> impl Iterator<Item = (Place, &str)> {
        let attributes = self.attributes.iter().flat_map(|(key, value)| {
            let name = match key {
                Attribute::Metadata(name) => name.as_ref(),
                _ => "",
            };
            [(Place::Attribute, name), (Place::Attribute, value.as_ref())]
        });
        let paths = [Some(&self.path), self.from.as_ref(), self.offset.as_ref()];
        let paths = paths.into_iter().flatten();
        paths
            .map(|path| (Place::Path, path.as_ref()))
            .chain(attributes)
            .chain([(Place::Tags, self.tags.as_str())])
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        if let Some(from) = &self.from {
            write!(f, " {from} ->")?;
        }
        write!(
            f,
            " {}",
            if self.path.is_root() {
                "/"
            } else {
                self.path.as_ref()
            }
        )?;
        if let Some(offset) = &self.offset {
            write!(f, " after {offset}")?;
        }
        for range in &self.ranges {
            match range {
                GetRange::Bounded(Range { start, end }) => write!(f, " [{start}..{end}]")?,
                GetRange::Offset(start) => write!(f, " [{start}..]")?,
                GetRange::Suffix(n) => write!(f, " [last {n}]")?,
            }
        }
        match (&self.mode, self.conditional) {
            (Some(PutMode::Create), _) => write!(f, " create")?,
            (Some(PutMode::Update(_)), _) => write!(f, " update")?,
            (None, true) => write!(f, " conditional")?,
            _ => {}
        }
        if matches!(self.op, Op::Put | Op::PutPart) {
            write!(f, ", {} bytes sent", self.sent.len())?;
        }
        if self.op.lists() {
            write!(f, ", {} entries", self.received)?;
        }
        if matches!(self.op, Op::Get | Op::GetRanges) {
            write!(f, ", {} bytes received", self.received)?;
        }
        if self.outcome == Outcome::Failed {
            write!(f, ", failed")?;
        }
        Ok(())
    }
}

/// A copy of the calls up to the moment it was taken, in order.
///
/// Printed, it has one [`Call`] on each line.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    pub(crate) calls: Vec<Call>,
}

impl Journal {
    /// The calls, oldest first.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The calls from `mark` on, see [`HostileStore::mark`](crate::HostileStore::mark).
    pub fn since(&self, mark: u64) -> Self {
        self.only(|call| call.seq >= mark)
    }

    /// The calls of one client.
    pub fn by(&self, client: &str) -> Self {
        self.only(|call| &*call.client == client)
    }

    /// The calls for which `keep` holds.
    pub fn only(&self, mut keep: impl FnMut(&Call) -> bool) -> Self {
        let calls = self.calls.iter().filter(|call| keep(call)).cloned();
        Self {
            calls: calls.collect(),
        }
    }

    /// How many calls of one kind there are.
    pub fn count(&self, op: Op) -> usize {
        self.calls.iter().filter(|call| call.op == op).count()
    }

    /// How many calls there are of each kind that occurs.
    pub fn counts(&self) -> BTreeMap<Op, usize> {
        let mut counts = BTreeMap::new();
        for call in &self.calls {
            *counts.entry(call.op).or_default() += 1;
        }
        counts
    }

    /// Every call in which the client gave `needle` away.
    ///
    /// Looks at all that was ever sent, also by writes that failed, were
    /// dropped or were overwritten since: bodies (the parts of one upload as one
    /// body, so that a border hides nothing), paths of reads as well as writes,
    /// attributes, tags. An empty needle is found nowhere.
    pub fn find(&self, needle: &[u8]) -> Vec<Sighting> {
        let mut seen = Vec::new();
        let mut uploads: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for call in &self.calls {
            for (place, text) in call.strings() {
                if contains(text.as_bytes(), needle) {
                    seen.push(Sighting {
                        call: call.seq,
                        place,
                    });
                }
            }
            match call.upload {
                Some(upload) => uploads
                    .entry(upload)
                    .or_default()
                    .extend_from_slice(&call.sent),
                None if contains(&call.sent, needle) => {
                    seen.push(Sighting {
                        call: call.seq,
                        place: Place::Body,
                    });
                }
                None => {}
            }
        }
        for (call, body) in uploads {
            if contains(&body, needle) {
                seen.push(Sighting {
                    call,
                    place: Place::Body,
                });
            }
        }
        seen.sort_unstable();
        seen.dedup();
        seen
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.calls.iter().try_for_each(|call| writeln!(f, "{call}"))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else {
        return false;
    };
    let mut haystack = haystack;
    while let Some(at) = haystack.iter().position(|byte| byte == first) {
        haystack = &haystack[at + 1..];
        if haystack.starts_with(rest) {
            return true;
        }
    }
    false
}

/// Where a needle was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Sighting {
    /// The `seq` of the call; for a multipart upload, of the call that began it.
    pub call: u64,
    /// The part of the call.
    pub place: Place,
}

/// The parts of a call that carry bytes of the client's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// A path or prefix.
    Path,
    /// The body of an object.
    Body,
    /// The name or value of an attribute.
    Attribute,
    /// The tags.
    Tags,
}

/// What one path held from one write to the next.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Version {
    /// The `seq` of the call that made it.
    pub call: u64,
    /// The bytes, or `None` if the call removed the object.
    pub bytes: Option<Bytes>,
    /// The e-tag that the wrapped store gave it, if any.
    pub e_tag: Option<String>,
    /// The version that the wrapped store gave it, if any.
    pub version: Option<String>,
    /// The attributes it was written with.
    pub attributes: Attributes,
    /// When it was written.
    pub last_modified: DateTime<Utc>,
}

impl Version {
    pub(crate) fn removal(call: u64) -> Self {
        Self {
            call,
            bytes: None,
            e_tag: None,
            version: None,
            attributes: Attributes::new(),
            last_modified: Utc::now(),
        }
    }
}

/// An object as the store may show it: one that is stored, or one it made up.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
}

/// All versions of all paths, in the order of their commits.
#[derive(Debug, Default)]
pub(crate) struct History {
    paths: BTreeMap<Path, Vec<Version>>,
}

impl History {
    pub(crate) fn record(&mut self, path: &Path, version: Version) {
        self.paths.entry(path.clone()).or_default().push(version);
    }

    pub(crate) fn versions(&self, path: &Path) -> &[Version] {
        self.paths.get(path).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.keys()
    }

    /// The `k`-th version of an object, removals not counted.
    pub(crate) fn nth(&self, path: &Path, k: usize) -> Option<Object> {
        let mut kept = self.versions(path).iter().filter_map(|v| object(path, v));
        kept.nth(k)
    }

    /// What `path` held before the call `mark`: outer `None` if nothing is
    /// known of it at all, inner `None` if there was no object.
    pub(crate) fn before(&self, path: &Path, mark: u64) -> Option<Option<Object>> {
        let versions = self.paths.get(path)?;
        let then = versions.iter().rfind(|version| version.call < mark);
        Some(then.and_then(|version| object(path, version)))
    }

    /// The last bytes of an object that was removed since.
    pub(crate) fn removed(&self, path: &Path) -> Option<Object> {
        let (last, earlier) = self.versions(path).split_last()?;
        match last.bytes {
            Some(_) => None,
            None => earlier
                .iter()
                .rev()
                .find_map(|version| object(path, version)),
        }
    }
}

fn object(path: &Path, version: &Version) -> Option<Object> {
    let bytes = version.bytes.clone()?;
    Some(Object {
        meta: ObjectMeta {
            location: path.clone(),
            last_modified: version.last_modified,
            size: bytes.len() as u64,
            e_tag: version.e_tag.clone(),
            version: version.version.clone(),
        },
        attributes: version.attributes.clone(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_finds_repeated_beginnings() {
        assert!(contains(b"aaab", b"aab"));
        assert!(contains(b"x", b"x"));
        assert!(!contains(b"aa", b"aab"));
        assert!(!contains(b"", b"a"));
        assert!(!contains(b"abc", b""));
    }
}
