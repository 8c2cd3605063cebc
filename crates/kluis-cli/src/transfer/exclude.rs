//! `--exclude`.

use crate::exit::{Failure, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The patterns of `--exclude`.
#[derive(Debug, Default)]
pub(crate) struct Exclude {
    names: GlobSet,
    paths: GlobSet,
}

impl Exclude {
    pub(crate) fn new(patterns: &[String]) -> Result<Self> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let trimmed = pattern.trim_end_matches('/');
            let glob = GlobBuilder::new(trimmed.trim_start_matches('/'))
                .literal_separator(true)
                .build()
                .map_err(|e| {
                    let hint =
                        "`*` is anything in one name, `**` across folders, `[ab]` one of these";
                    Failure::usage(format!("--exclude {pattern}: {}", e.kind()), hint)
                })?;
            if trimmed.contains('/') {
                paths.add(glob)
            } else {
                names.add(glob)
            };
        }
        let built = |set: GlobSetBuilder| {
            set.build()
                .map_err(|e| Failure::usage(format!("--exclude: {e}"), "use fewer patterns"))
        };
        Ok(Self {
            names: built(names)?,
            paths: built(paths)?,
        })
    }

    /// This path itself, not what is above it.
    pub(super) fn matches(&self, relative: &str) -> bool {
        let name = relative.rsplit('/').next().unwrap_or(relative);
        self.names.is_match(name) || self.paths.is_match(relative)
    }

    /// This path or a folder above it.
    pub(super) fn covers(&self, relative: &str) -> bool {
        if self.names.is_empty() && self.paths.is_empty() {
            return false;
        }
        let folders = relative.match_indices('/').map(|(end, _)| &relative[..end]);
        folders.chain([relative]).any(|path| self.matches(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_pattern_without_slash_matches_at_any_depth() {
        let exclude = |patterns: &[&str]| {
            Exclude::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).unwrap()
        };
        let set = exclude(&["*.tmp", "node_modules/", "/build/out", "a/**/z"]);
        for out in [
            "x.tmp",
            "a/b/x.tmp",
            "node_modules/x/y",
            "p/node_modules/x",
            "build/out",
            "build/out/x",
            "a/b/c/z",
        ] {
            assert!(set.covers(out), "{out}");
        }
        for kept in [
            "x.tmpl",
            "build",
            "build/other",
            "p/build/out",
            "node_modules2/x",
            "a",
        ] {
            assert!(!set.covers(kept), "{kept}");
        }
        assert!(!exclude(&[]).covers("x"));
        assert_eq!(
            Exclude::new(&["[".to_owned()]).unwrap_err().exit,
            Exit::Usage
        );
    }
}
