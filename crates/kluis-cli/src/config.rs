//! The configuration file: TOML under XDG, no secrets in it.
//!
//! ```toml
//! default = "photos"
//!
//! [vault.photos]
//! url = "s3://bucket/photos#0123456789abcdef0123456789abcdef"
//! password_command = "pass show kluis/photos"
//! ```

use crate::exit::{Failure, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// What nobody writes by hand is no configuration.
const LARGEST: usize = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) vault: BTreeMap<String, VaultConfig>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VaultConfig {
    pub(crate) url: String,
    pub(crate) password_command: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) keyfile: Option<PathBuf>,
    pub(crate) identity: Option<PathBuf>,
}

impl Config {
    /// Reads the file of the user; none is an empty one.
    pub(crate) fn load() -> Result<Self> {
        let Some(path) = xdg_dir("XDG_CONFIG_HOME", ".config").map(|d| d.join("config.toml"))
        else {
            return Ok(Self::default());
        };
        match File::open(&path).and_then(|file| read_text(file, LARGEST)) {
            Ok(Some(text)) => Self::parse(&text).map_err(|f| f.at(path.display().to_string())),
            Ok(None) => {
                let hint = "correct the configuration file";
                let failure = Failure::usage("it is not UTF-8, or over 1 MiB", hint);
                Err(failure.at(path.display().to_string()))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Failure::io(format!("cannot read {}", path.display()), &e)),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut config: Self = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .map_or(1, |s| 1 + text[..s.start].matches('\n').count());
            let message = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
            Failure::usage(
                format!("line {line}: {message}"),
                "correct the configuration file",
            )
        })?;
        for (name, vault) in &mut config.vault {
            if !crate::address::is_name(name) {
                let message = format!("[vault.{name}] is not a vault name");
                return Err(Failure::usage(
                    message,
                    "use letters, digits, - and _, at least two",
                ));
            }
            let files = [
                &mut vault.password_file,
                &mut vault.keyfile,
                &mut vault.identity,
            ];
            for path in files.into_iter().flatten() {
                *path = from_home(path);
            }
            if vault.url.starts_with("~/") {
                vault.url = from_home(Path::new(&vault.url))
                    .to_string_lossy()
                    .into_owned();
            }
            let relative = |p: &Option<PathBuf>| p.as_ref().is_some_and(|p| p.is_relative());
            let local = !vault.url.contains("://");
            if relative(&vault.password_file)
                || relative(&vault.keyfile)
                || relative(&vault.identity)
                || (local && !vault.url.starts_with('/'))
            {
                let message = format!("[vault.{name}] has a relative path");
                return Err(Failure::usage(message, "begin it with / or ~/"));
            }
        }
        Ok(config)
    }
}

/// A text of at most `max` bytes; nothing for what is longer or not UTF-8.
pub(crate) fn read_text(from: impl Read, max: usize) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes)
        .filter(|bytes| bytes.len() <= max)
        .and_then(|bytes| String::from_utf8(bytes).ok()))
}

/// From the root, without `.` and `..`, so that one folder has one address: `~/` is the
/// home as in the configuration, and `..` leads where it does for the system.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(from_home(path))?.components() {
        if part != Component::ParentDir {
            whole.push(part);
            continue;
        }
        if whole.is_symlink() {
            whole = whole.canonicalize()?;
        }
        whole.pop();
    }
    Ok(whole)
}

fn from_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// `$VARIABLE/kluis`, or `~/FALLBACK/kluis`. The specification has relative
/// values ignored.
pub(crate) fn xdg_dir(variable: &str, fallback: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let base = given.or_else(|| {
        let home = std::env::home_dir().filter(|h| h.is_absolute())?;
        Some(home.join(fallback))
    })?;
    Some(base.join("kluis"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_folder_has_one_address() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        let is = |path: &str, expected: &str| {
            assert_eq!(
                absolute(&root.join(path)).unwrap(),
                root.join(expected),
                "{path}"
            );
        };
        is("a/../v", "v");
        is("./a/./b/../../new/../v", "v");
        is("link/../v", "a/v");
        is("link/v", "link/v");
        assert_eq!(absolute(Path::new("/../..")).unwrap(), Path::new("/"));
        assert_eq!(
            absolute(Path::new("~/v")).unwrap(),
            std::env::home_dir().unwrap().join("v")
        );
    }

    #[test]
    fn a_config_is_read_and_a_wrong_one_is_named() {
        let config = Config::parse("default = \"ab\"\n[vault.ab]\nurl = \"s3://b/p\"\n").unwrap();
        assert_eq!(config.default.as_deref(), Some("ab"));
        assert_eq!(config.vault["ab"].url, "s3://b/p");
        for wrong in [
            "default = 1",
            "[vault.ab]\nurl = \"./x\"",
            "[vault.ab]\nurl = \"/x\"\nkeyfile = \"k\"",
            "[vault.ab]\nurl = \"/x\"\nidentity = \"i\"",
            "[vault.ab]\nurl = \"/x\"\npassword = \"hunter2\"",
            "[vault.a]\nurl = \"/x\"",
            "[vault.ab]",
        ] {
            let failure = Config::parse(wrong).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{wrong}");
            assert!(!failure.to_string().contains("hunter2"));
        }
        assert!(
            Config::parse("[vault.ab]\nurl=1")
                .unwrap_err()
                .message
                .starts_with("line 2")
        );
    }
}
