//! Where an argument points: a local path, a path in a vault, or `-`.

use crate::exit::{Failure, Result};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// An argument of `cp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Local(PathBuf),
    /// `-`: stdin or stdout.
    Stdio,
    Vault(VaultPath),
}

/// A path in a vault, as typed: no normalisation, no decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VaultPath {
    /// `NAME` of `NAME:path`; none for `:path`.
    pub(crate) vault: Option<String>,
    /// Without the trailing `/`; empty for the root.
    pub(crate) path: String,
    /// It ended in `/` or is the root.
    pub(crate) as_folder: bool,
}

impl Place {
    /// In a vault when it starts with `:` or `NAME:`; everything else is local.
    pub(crate) fn parse(argument: &OsStr) -> Result<Self> {
        if argument == "-" {
            return Ok(Self::Stdio);
        }
        if argument.is_empty() {
            return Err(Failure::usage(
                "an argument is empty",
                "a vault's root is `:`",
            ));
        }
        refuse_url(argument)?;
        match split_vault(argument.as_bytes()) {
            None => Ok(Self::Local(PathBuf::from(argument))),
            Some((vault, _)) => {
                let text = utf8(argument)?;
                let skip = vault.as_ref().map_or(0, String::len) + 1;
                Ok(Self::Vault(VaultPath::new(vault, &text[skip..])?))
            }
        }
    }
}

impl VaultPath {
    /// An argument of a command that takes only vault paths: `photos` is `:photos`.
    pub(crate) fn parse(argument: &OsStr) -> Result<Self> {
        // What a script's unset variable leaves behind is not everything.
        let hint = "only `:` means everything";
        if argument.is_empty() {
            return Err(Failure::usage("an argument is empty", hint));
        }
        if argument == "/" {
            return Err(Failure::usage("it is no path in a vault", hint).at("/"));
        }
        refuse_url(argument)?;
        match split_vault(argument.as_bytes()) {
            Some(_) => match Place::parse(argument)? {
                Place::Vault(path) => Ok(path),
                Place::Local(_) | Place::Stdio => Self::new(None, utf8(argument)?),
            },
            None => Self::new(None, utf8(argument)?),
        }
    }

    pub(crate) fn root() -> Self {
        Self {
            vault: None,
            path: String::new(),
            as_folder: true,
        }
    }

    fn new(vault: Option<String>, text: &str) -> Result<Self> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let as_folder = path.len() < text.len() || path.is_empty();
        let parsed = Self {
            vault,
            path: path.to_owned(),
            as_folder,
        };
        if !path.is_empty() {
            check_path(path).map_err(|f| f.at(parsed.to_string()))?;
        }
        Ok(parsed)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// The last segment; none for the root.
    pub(crate) fn name(&self) -> Option<&str> {
        self.path.rsplit('/').next().filter(|n| !n.is_empty())
    }

    /// As the prefix of a listing: the root has none.
    pub(crate) fn prefix(&self) -> Option<&str> {
        (!self.is_root()).then_some(self.path.as_str())
    }
}

/// As the user would type it.
impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.vault.as_deref().unwrap_or_default(),
            self.path
        )?;
        if self.as_folder && !self.is_root() {
            f.write_str("/")
        } else {
            Ok(())
        }
    }
}

/// A URL is no path, and may hold a secret: it is shown up to its query or fragment.
pub(crate) fn refuse_url(argument: &OsStr) -> Result<()> {
    let text = argument.to_string_lossy();
    let text = text.trim_start();
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(());
    };
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(of_scheme) {
        return Ok(());
    }
    let shown = match text.find(['?', '#']) {
        Some(end) => format!("{}…", &text[..=end]),
        None => text.to_owned(),
    };
    let hint = "a link is read with `kluis get`, an invitation accepted with `kluis accept`, and a vault named with --vault";
    Err(Failure::usage("this is a URL, and a path belongs here", hint).at(shown))
}

/// Without what stands behind the `#` of URLs, which may be the secret of a link; the id
/// of a vault is none.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut safe = String::new();
    let mut rest = text;
    // A path that was taken apart has lost one of the two slashes.
    while let Some(start) = rest.find(":/") {
        let word = rest[start..].find(char::is_whitespace);
        let end = word.map_or(rest.len(), |length| start + length);
        if let Some(hash) = rest[start..end].find('#').map(|at| start + at + 1) {
            let fragment = &rest[hash..end];
            let bare = fragment.trim_end_matches([':', ';', ',', '.', '\'', '"', '`', ')']);
            let is_id = bare.len() == 32 && bare.bytes().all(|b| b.is_ascii_hexdigit());
            safe.push_str(&rest[..hash]);
            safe.push_str(if is_id || bare.is_empty() {
                bare
            } else {
                "…"
            });
            safe.push_str(&fragment[bare.len()..]);
        } else {
            safe.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    if safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// `folder/name`, where the folder may be the root.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// Whether a vault can hold this path.
pub(crate) fn check_path(path: &str) -> Result<()> {
    for segment in path.split('/') {
        let wrong = match segment {
            "" => "has an empty segment",
            "." | ".." => "has a `.` or `..` segment, which a vault does not have",
            s if s.chars().any(char::is_control) => "has a control character in its name",
            _ => continue,
        };
        return Err(Failure::usage(wrong, "choose another name"));
    }
    Ok(())
}

/// The NAME before the first `:`, if that comes before any `/`.
fn split_vault(argument: &[u8]) -> Option<(Option<String>, &[u8])> {
    let end = argument.iter().position(|b| matches!(b, b':' | b'/'))?;
    if argument[end] != b':' {
        return None;
    }
    let rest = &argument[end + 1..];
    match std::str::from_utf8(&argument[..end]) {
        Ok("") => Some((None, rest)),
        Ok(name) if is_name(name) => Some((Some(name.to_owned()), rest)),
        _ => None,
    }
}

/// `[A-Za-z0-9][A-Za-z0-9_-]+`.
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 2
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn utf8(argument: &OsStr) -> Result<&str> {
    argument.to_str().ok_or_else(|| {
        let message = format!("{}: vault paths are UTF-8", argument.to_string_lossy());
        Failure::usage(message, "rename it, or correct the terminal's encoding")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::parse(OsStr::new(text)).unwrap()
    }

    fn in_vault(vault: Option<&str>, path: &str, as_folder: bool) -> Place {
        Place::Vault(VaultPath {
            vault: vault.map(str::to_owned),
            path: path.to_owned(),
            as_folder,
        })
    }

    #[test]
    fn a_colon_before_any_slash_means_a_vault() {
        assert_eq!(place(":"), in_vault(None, "", true));
        assert_eq!(place(":a/b"), in_vault(None, "a/b", false));
        assert_eq!(place(":a/b/"), in_vault(None, "a/b", true));
        assert_eq!(place("home:"), in_vault(Some("home"), "", true));
        assert_eq!(
            place("my-home_2:x:y"),
            in_vault(Some("my-home_2"), "x:y", false)
        );
        assert_eq!(place(":%2e%2E/ü"), in_vault(None, "%2e%2E/ü", false));
        for local in [
            "a",
            "./a:b",
            "a/b:c",
            "C:x",
            "-a:x",
            "my.home:x",
            "/:",
            "é:x",
            "_a:x",
        ] {
            assert_eq!(place(local), Place::Local(local.into()), "{local}");
        }
        assert_eq!(place("-"), Place::Stdio);
        assert_eq!(place("./-"), Place::Local("./-".into()));
    }

    #[test]
    fn paths_that_a_vault_cannot_hold_are_refused() {
        for bad in [
            ":a//b", ":../a", ":a/./b", ":a/..", ":/a", ":a\nb", ":a\u{7f}", ":a\u{85}", "ab://x",
        ] {
            assert!(Place::parse(OsStr::new(bad)).is_err(), "{bad:?}");
        }
        assert!(Place::parse(OsStr::from_bytes(b":a\xff")).is_err());
        assert!(Place::parse(OsStr::from_bytes(b"a\xff")).is_ok());
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for (text, shown) in [
            ("https://h/x#SECRET: wrong", "https://h/x#…: wrong"),
            (
                "tip '--https://h/?a=b#SE-_CRET' and",
                "tip '--https://h/?a=b#…' and",
            ),
            (":https:/h/x#SECRET/a", ":https:/h/x#…"),
            (
                "two s3://b#x and file:///c#y",
                "two s3://b#… and file:///c#…",
            ),
            (
                "s3://b#00112233445566778899aabbccddeeff; hint",
                "s3://b#00112233445566778899aabbccddeeff; hint",
            ),
            ("s3://b/x y#1", "s3://b/x y#1"),
            ("a#b: c", "a#b: c"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
        for url in [
            "https://h/x?sig=SECRET#SECRET",
            " s3://b/p#SECRET",
            "file:///x#SECRET",
        ] {
            let parsed = [
                VaultPath::parse(OsStr::new(url)).unwrap_err(),
                Place::parse(OsStr::new(url)).unwrap_err(),
            ];
            for failure in parsed {
                assert_eq!(failure.exit, crate::exit::Exit::Usage);
                assert!(!failure.to_string().contains("SECRET"), "{failure}");
                assert!(failure.hint.contains("kluis get"));
            }
        }
        assert_eq!(place("./a://b"), Place::Local("./a://b".into()));
    }

    #[test]
    fn only_a_colon_means_everything() {
        for text in ["", "/", "//"] {
            let failure = VaultPath::parse(OsStr::new(text)).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage, "{text:?}");
        }
        assert!(VaultPath::parse(OsStr::new(":")).unwrap().is_root());
    }

    #[test]
    fn commands_on_vaults_only_need_no_colon() {
        let parse = |text: &str| VaultPath::parse(OsStr::new(text)).unwrap();
        assert_eq!(parse("photos"), parse(":photos"));
        assert_eq!(parse("home:x").vault.as_deref(), Some("home"));
        assert_eq!(parse("a/b:c").path, "a/b:c");
        assert_eq!(parse("photos/").to_string(), ":photos/");
        assert_eq!(parse(":").to_string(), ":");
    }
}
