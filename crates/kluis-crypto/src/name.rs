//! Paths, and names as they are stored (docs/FORMAT.md, section 6): each segment
//! is encrypted by itself under keys of its folder, deterministically, so that
//! an object is found without an index and folders can be listed.

use crate::collection::NameKey;
use crate::kdf::{self, Label, domain};
use crate::secret::secret_key;
use crate::{Error, Result};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use data_encoding::{Encoding, Specification};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// Longest segment in bytes.
const MAX_SEGMENT: usize = 1_023;
/// Longest segment that is stored under its own encryption.
const MAX_SHORT: usize = 127;
const BLOCK: usize = 16;
const IV: usize = 16;
/// Where objects lie below the vault's prefix.
const OBJECTS: &str = "o";

/// base32hex of RFC 4648 in lower case without padding characters: some stores
/// fold case. Decoding refuses trailing bits that are not zero.
static BASE32HEX: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789abcdefghijklmnopqrstuv");
    match specification.encoding() {
        Ok(encoding) => encoding,
        Err(_) => unreachable!("32 distinct symbols are an encoding"),
    }
});

secret_key! {
    struct NameCipherKey;
}
secret_key! {
    struct SivKey;
}

/// A path inside a vault: UTF-8 segments joined by `/`, taken as they are typed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultPath(String);

impl VaultPath {
    /// Checks a path.
    ///
    /// # Errors
    /// `InvalidInput` for an empty path, an empty, `.` or `..` segment, a control
    /// character, or a segment of more than 1,023 bytes.
    pub fn parse(path: &str) -> Result<Self> {
        for segment in path.split('/') {
            if !is_segment(segment) {
                return Err(Error::invalid(if segment.len() > MAX_SEGMENT {
                    "a part of the path is longer than 1,023 bytes"
                } else if segment.is_empty() {
                    "the path is empty or has an empty part (leading, trailing or double `/`)"
                } else if segment == "." || segment == ".." {
                    "the path has a part `.` or `..`"
                } else {
                    "the path holds a control character"
                }));
            }
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Longer folders cannot hold an object: each segment takes more in the store
    /// than it has, which takes 1,024 bytes of path.
    pub(crate) const MAX_MOUNT: usize = 32_768;

    /// The folders that it lies in, from the top down.
    pub(crate) fn folders(&self) -> impl Iterator<Item = VaultPath> {
        let ends = self.0.match_indices('/').map(|(at, _)| at);
        ends.map(|end| Self(self.0[..end].to_owned()))
    }

    /// The rest of it below a folder, or below the top, unless it lies elsewhere.
    pub fn below(&self, folder: Option<&Self>) -> Option<Self> {
        let Some(folder) = folder else {
            return Some(self.clone());
        };
        let rest = self.0.strip_prefix(&folder.0)?.strip_prefix('/')?;
        Some(Self(rest.to_owned()))
    }

    /// The path of something below it.
    pub(crate) fn join(folder: Option<&Self>, below: &Self) -> Self {
        match folder {
            Some(folder) => Self(format!("{folder}/{below}")),
            None => below.clone(),
        }
    }

    /// Its last segment.
    pub fn name(&self) -> &str {
        self.split_last().1
    }

    /// Its last segment, as a path.
    pub(crate) fn own(&self) -> Self {
        Self(self.name().to_owned())
    }

    pub(crate) fn split_last(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, last) = match self.0.rsplit_once('/') {
            Some((folders, last)) => (Some(folders), last),
            None => (None, self.0.as_str()),
        };
        (folders.into_iter().flat_map(|f| f.split('/')), last)
    }
}

impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment.len() <= MAX_SEGMENT
        && segment != "."
        && segment != ".."
        && !segment.chars().any(|c| c == '/' || c.is_control())
}

/// A segment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSegment {
    /// The name in the store.
    pub name: String,
    /// For a long segment, the content of the small object that lies beside
    /// under `name` and a further `~`: its whole name, encrypted.
    pub long_name: Option<Vec<u8>>,
}

/// A path as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPath {
    /// The path in the store, below the vault's prefix.
    pub path: String,
    /// The objects beside long segments, from the top down: path and content.
    pub long_names: Vec<(String, Vec<u8>)>,
}

/// What a stored segment turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedSegment {
    /// The name of an object or folder.
    Name(String),
    /// A long name; the object beside it says which.
    Long,
    /// The object beside a long name.
    LongNameRecord,
    /// Not of this vault, or damaged.
    Foreign,
}

/// The names of one folder.
pub struct FolderNames {
    key: NameKey,
    siv: Hmac<Sha256>,
    cipher: NameCipherKey,
}

impl FolderNames {
    pub(crate) fn new(key: NameKey) -> Self {
        let siv = SivKey::derive(key.expose_secret(), Label::SIV, &[]);
        let cipher = NameCipherKey::derive(key.expose_secret(), Label::NAME, &[]);
        Self {
            siv: kdf::hmac(siv.expose_secret()),
            cipher,
            key,
        }
    }

    /// The names of a sub-folder.
    pub fn child(&self, segment: &str) -> Self {
        Self::new(NameKey::derive(
            self.key.expose_secret(),
            Label::DIR,
            &[segment.as_bytes()],
        ))
    }

    /// Encrypts one segment.
    pub fn encrypt(&self, segment: &str) -> StoredSegment {
        let sealed = self.seal(segment);
        if segment.len() <= MAX_SHORT {
            return StoredSegment {
                name: BASE32HEX.encode(&sealed),
                long_name: None,
            };
        }
        StoredSegment {
            name: long_name(&sealed),
            long_name: Some(sealed),
        }
    }

    /// `iv ‖ XChaCha20(iv ‖ 0⁸, padded)` with `iv = HMAC(padded)[..16]`.
    ///
    /// The IV is a PRF of the plaintext under a key of its own, so that two names
    /// share a keystream only if they are equal (SIV: Rogaway and Shrimpton,
    /// "A Provable-Security Treatment of the Key-Wrap Problem", 2006).
    pub(crate) fn seal(&self, segment: &str) -> Vec<u8> {
        let padded = (segment.len() / BLOCK + 1) * BLOCK;
        let mut sealed = Vec::with_capacity(IV + padded);
        sealed.extend_from_slice(&[0; IV]);
        sealed.extend_from_slice(segment.as_bytes());
        sealed.push(0x80);
        sealed.resize(IV + padded, 0);
        let iv = self.iv(&sealed[IV..]);
        sealed[..IV].copy_from_slice(&iv);
        self.keystream(&iv, &mut sealed[IV..]);
        sealed
    }

    fn iv(&self, padded: &[u8]) -> [u8; IV] {
        let tag = self
            .siv
            .clone()
            .chain_update(padded)
            .finalize()
            .into_bytes();
        let mut iv = [0; IV];
        iv.copy_from_slice(&tag[..IV]);
        iv
    }

    fn keystream(&self, iv: &[u8; IV], text: &mut [u8]) {
        let mut nonce = [0; 24];
        nonce[..IV].copy_from_slice(iv);
        XChaCha20::new(self.cipher.expose_secret().into(), (&nonce).into()).apply_keystream(text);
    }

    /// Decrypts one stored segment. Whatever is not the one encoding of an
    /// allowed name is foreign, never an error.
    pub fn decrypt(&self, stored: &str) -> DecodedSegment {
        if let Some(hash) = stored.strip_prefix('~') {
            let (hash, record) = match hash.strip_suffix('~') {
                Some(hash) => (hash, true),
                None => (hash, false),
            };
            return match BASE32HEX.decode(hash.as_bytes()) {
                Ok(hash) if hash.len() == 32 && record => DecodedSegment::LongNameRecord,
                Ok(hash) if hash.len() == 32 => DecodedSegment::Long,
                _ => DecodedSegment::Foreign,
            };
        }
        match BASE32HEX
            .decode(stored.as_bytes())
            .ok()
            .and_then(|sealed| self.open(sealed))
        {
            Some(segment) if segment.len() <= MAX_SHORT => DecodedSegment::Name(segment),
            _ => DecodedSegment::Foreign,
        }
    }

    /// The longest object beside a long name.
    pub const MAX_LONG_NAME: usize = IV + (MAX_SEGMENT / BLOCK + 1) * BLOCK;

    /// Decrypts a long name from the object beside it.
    ///
    /// # Errors
    /// `Tampered` unless it is the one encoding of a long name and `stored` is its hash.
    pub fn decrypt_long(&self, stored: &str, record: &[u8]) -> Result<String> {
        if record.len() > Self::MAX_LONG_NAME || long_name(record) != stored {
            return Err(Error::Tampered);
        }
        match self.open(record.to_vec()) {
            Some(segment) if segment.len() > MAX_SHORT => Ok(segment),
            _ => Err(Error::Tampered),
        }
    }

    fn open(&self, mut sealed: Vec<u8>) -> Option<String> {
        if sealed.len() < IV + BLOCK || !sealed.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut iv = [0; IV];
        iv.copy_from_slice(&sealed[..IV]);
        sealed.drain(..IV);
        self.keystream(&iv, &mut sealed);
        if !bool::from(self.iv(&sealed).ct_eq(&iv)) {
            return None;
        }
        // Canonical padding: one 0x80, then zeros, less than a block in all.
        let end = sealed.iter().rposition(|byte| *byte != 0)?;
        if sealed[end] != 0x80 || sealed.len() - end > BLOCK {
            return None;
        }
        sealed.truncate(end);
        let segment = String::from_utf8(sealed).ok()?;
        is_segment(&segment).then_some(segment)
    }
}

impl fmt::Debug for FolderNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderNames").finish_non_exhaustive()
    }
}

fn long_name(sealed: &[u8]) -> String {
    let hash = Sha256::new()
        .chain_update(domain::LONG_NAME)
        .chain_update(sealed)
        .finalize();
    format!("~{}", BASE32HEX.encode(&hash))
}

/// The prefix of everything that objects lie under.
pub fn objects_prefix() -> &'static str {
    OBJECTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;
    use proptest::prelude::*;

    fn folder() -> FolderNames {
        FolderNames::new(NameKey::init_with(|key| *key = [7; 32]))
    }

    proptest! {
        #[test]
        fn names_round_trip(segment in "[^/\\pC]{1,300}") {
            prop_assume!(is_segment(&segment));
            let names = folder();
            let stored = names.encrypt(&segment);
            prop_assert!(stored.name.len() <= 231);
            match stored.long_name {
                None => prop_assert_eq!(names.decrypt(&stored.name), DecodedSegment::Name(segment)),
                Some(record) => {
                    prop_assert!(segment.len() > MAX_SHORT);
                    prop_assert_eq!(names.decrypt(&stored.name), DecodedSegment::Long);
                    prop_assert_eq!(names.decrypt(&format!("{}~", stored.name)), DecodedSegment::LongNameRecord);
                    prop_assert_eq!(names.decrypt_long(&stored.name, &record), Ok(segment));
                }
            }
        }

        #[test]
        fn any_text_is_foreign(stored in "\\PC{0,80}") {
            prop_assert!(!matches!(folder().decrypt(&stored), DecodedSegment::Name(_)));
        }
    }

    #[test]
    fn every_changed_character_is_foreign() {
        let names = folder();
        for segment in ["a", "cat.jpg", &"x".repeat(127)] {
            let stored = names.encrypt(segment).name;
            for i in 0..stored.len() {
                for c in "0123456789abcdefghijklmnopqrstuvwxyzA~=".chars() {
                    let mut changed = stored.clone();
                    changed.replace_range(i..=i, &c.to_string());
                    if changed != stored {
                        assert_eq!(names.decrypt(&changed), DecodedSegment::Foreign);
                    }
                }
                assert_eq!(names.decrypt(&stored[..i]), DecodedSegment::Foreign);
            }
            assert_eq!(
                names.decrypt(&stored.to_uppercase()),
                DecodedSegment::Foreign
            );
        }
    }

    #[test]
    fn names_that_are_not_allowed_never_come_out() {
        // Someone who holds the folder's key can encrypt anything.
        let names = folder();
        for segment in [".", "..", "a/b", "a\0b", "a\nb", "\u{85}", "/etc/passwd"] {
            assert_eq!(
                names.decrypt(&names.encrypt(segment).name),
                DecodedSegment::Foreign,
                "{segment:?}"
            );
        }
    }

    /// One name has one encoding, also for someone who holds the folder's key.
    #[test]
    fn other_paddings_of_a_name_are_foreign() {
        let names = folder();
        let stored = |padded: &[u8]| {
            let iv = names.iv(padded);
            let mut sealed = [&iv, padded].concat();
            names.keystream(&iv, &mut sealed[IV..]);
            sealed
        };
        let block = |start: &[u8]| {
            let mut block = start.to_vec();
            block.resize(start.len().next_multiple_of(BLOCK), 0);
            block
        };
        let good = stored(&block(b"a\x80"));
        assert_eq!(BASE32HEX.encode(&good), names.encrypt("a").name);
        for padded in [
            [block(b"a\x80"), vec![0; BLOCK]].concat(),
            block(b"a"),
            block(b"a\x81"),
            block(b"\x80"),
            vec![0; BLOCK],
            block(b"\xff\x80"),
            block(&[&[b'n'; 128][..], b"\x80"].concat()),
            Vec::new(),
        ] {
            let stored = BASE32HEX.encode(&stored(&padded));
            assert_eq!(
                names.decrypt(&stored),
                DecodedSegment::Foreign,
                "{padded:02x?}"
            );
        }
        // Beside a long name: a short one, one too long, and another padding.
        let long = [&[b'n'; 128][..], b"\x80"].concat();
        for (padded, is_name) in [
            (block(&long), true),
            (block(b"a\x80"), false),
            ([block(&long), vec![0; BLOCK]].concat(), false),
            (block(&[&[b'n'; 1_024][..], b"\x80"].concat()), false),
            (block(&[&[b'n'; 2_000][..], b"\x80"].concat()), false),
        ] {
            let record = stored(&padded);
            let found = names.decrypt_long(&long_name(&record), &record);
            assert_eq!(found.is_ok(), is_name, "{}", padded.len());
            assert_eq!(
                names.decrypt_long(&long_name(b"other"), &record),
                Err(Error::Tampered)
            );
        }
    }

    #[test]
    fn one_name_in_two_folders_looks_different() {
        let root = folder();
        assert_ne!(root.child("a").encrypt("x"), root.child("b").encrypt("x"));
        assert_eq!(root.child("a").encrypt("x"), root.child("a").encrypt("x"));
    }

    #[test]
    fn stored_paths_are_bounded() {
        let tree = Tree::of_vault(NameKey::init_with(|key| *key = [7; 32]));
        // 52 characters a folder; the last segment is long and takes 53, and the
        // object beside it one more.
        let path = |folders: usize, last: &str| {
            let path = format!("{}{last}", "f/".repeat(folders));
            VaultPath::parse(&path).unwrap()
        };
        let long = "n".repeat(128);
        let stored = tree.store_path(&path(18, &long)).unwrap();
        assert_eq!(stored.path.len(), 1 + 18 * 53 + 54);
        assert_eq!(stored.long_names[0].0.len(), stored.path.len() + 1);
        let found = tree.store_path(&path(19, &long));
        assert!(matches!(found, Err(Error::InvalidInput(_))));
        // 1,024 characters, and 1,025 beside them.
        let exact = |last: &str| {
            let wide = [127, 50, 20].map(|n| "w".repeat(n)).join("/");
            VaultPath::parse(&format!("{wide}/{}{last}", "f/".repeat(10))).unwrap()
        };
        let stored = tree.store_path(&exact("last")).unwrap();
        assert_eq!(stored.path.len() - 52 + 53, 1_024);
        let found = tree.store_path(&exact(&long));
        assert!(matches!(found, Err(Error::InvalidInput(_))));
    }

    #[test]
    fn paths_that_are_not_paths() {
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "a/..", "a/./b", "a\nb", "\u{9f}",
        ] {
            assert!(VaultPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(VaultPath::parse(&"x".repeat(1_024)).is_err());
        for good in [
            "a",
            "a/b",
            "...",
            " ",
            "%2e%2e",
            "a\\b",
            "\u{202e}",
            "ü/e\u{301}",
        ] {
            assert_eq!(VaultPath::parse(good).unwrap().as_str(), good);
        }
    }
}
