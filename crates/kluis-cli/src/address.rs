//! Where an argument points: a local path, a path in a vault, or `-`.

use crate::exit::{Failure, Result};
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
    fn commands_on_vaults_only_need_no_colon() {
        let parse = |text: &str| VaultPath::parse(OsStr::new(text)).unwrap();
        assert_eq!(parse("photos"), parse(":photos"));
        assert_eq!(parse("home:x").vault.as_deref(), Some("home"));
        assert_eq!(parse("a/b:c").path, "a/b:c");
        assert_eq!(parse("photos/").to_string(), ":photos/");
        assert_eq!(parse(":").to_string(), ":");
    }
}
