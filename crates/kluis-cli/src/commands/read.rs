//! `cat`, and `cp` to stdout.

use crate::address::VaultPath;
use crate::args::Cat;
use crate::exit::{Failure, Result};
use crate::session::{Opened, Session, nothing_at};
use futures_util::TryStreamExt;
use kluis::object_store::GetRange;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

pub(super) async fn cat(session: &Session, args: Cat) -> Result<()> {
    session.terminal.stdout_is_content();
    let path = VaultPath::parse(&args.path)?;
    let range = args.range.as_deref().map(parse_range).transpose()?;
    let opened = session.open_for(&path).await?;
    to_stdout(&opened, &path, range).await
}

/// Streams an object, or a part of it, to stdout: what arrives there is
/// authentic, and in bounded memory.
pub(super) async fn to_stdout(
    opened: &Opened,
    path: &VaultPath,
    range: Option<GetRange>,
) -> Result<()> {
    if path.as_folder {
        return Err(
            Failure::usage("it is a folder", "see what is in it with `kluis ls`")
                .at(path.to_string()),
        );
    }
    let vault = &opened.vault;
    // Nothing is read of an empty range, but its object has to be there and
    // reach up to it.
    let (mut empty, range) = match range {
        Some(GetRange::Suffix(0)) => (true, Some(GetRange::Suffix(1))),
        Some(GetRange::Bounded(range)) if range.is_empty() => {
            (true, Some(GetRange::Offset(range.start)))
        }
        other => (false, other),
    };
    let object = match range.clone() {
        None => vault.get(&path.path).await,
        Some(range) => vault.get_part(&path.path, range).await,
    };
    let object = match (object, range) {
        (Err(kluis::Error::InvalidInput { .. }), Some(GetRange::Bounded(range))) => {
            // It may begin exactly at the end, where there is nothing to read.
            empty = true;
            vault
                .get_part(&path.path, GetRange::Offset(range.start))
                .await
        }
        (object, _) => object,
    };
    let object = match object {
        Err(kluis::Error::NotFound { path: what }) if what == path.path => {
            return Err(nothing_at(path));
        }
        // Also another version than the one that was shared.
        other => other.map_err(|e| Failure::from(e).at(path.to_string()))?,
    };
    if empty {
        return Ok(());
    }
    // Not std's stdout, which looks for line ends in what is not text.
    let stdout = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|e| Failure::stdout(&e))?;
    let mut stdout = File::from(stdout);
    let mut chunks = object.into_stream();
    while let Some(chunk) = chunks
        .try_next()
        .await
        .map_err(|e| Failure::from(e).at(path.to_string()))?
    {
        stdout.write_all(&chunk).map_err(|e| Failure::stdout(&e))?;
    }
    Ok(())
}

/// `A..B` half-open, `A..`, `..B`, `-N` for the last N.
fn parse_range(text: &str) -> Result<GetRange> {
    let wrong = || {
        let hint = "write A..B (B is not included), A.., ..B, or -N for the last N bytes";
        Failure::usage(format!("--range {text} is not a range"), hint)
    };
    let number = |digits: &str| -> Result<u64> {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if plain {
            digits.parse().map_err(|_| wrong())
        } else {
            Err(wrong())
        }
    };
    if let Some(last) = text.strip_prefix('-') {
        return Ok(GetRange::Suffix(number(last)?));
    }
    match text.split_once("..").ok_or_else(wrong)? {
        ("", "") => Err(wrong()),
        ("", end) => Ok(GetRange::Bounded(0..number(end)?)),
        (start, "") => Ok(GetRange::Offset(number(start)?)),
        (start, end) => {
            let (start, end) = (number(start)?, number(end)?);
            if start <= end {
                Ok(GetRange::Bounded(start..end))
            } else {
                Err(wrong())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open() {
        let parse = |text| parse_range(text).ok();
        assert_eq!(parse("0..4"), Some(GetRange::Bounded(0..4)));
        assert_eq!(parse("4..4"), Some(GetRange::Bounded(4..4)));
        assert_eq!(parse("7.."), Some(GetRange::Offset(7)));
        assert_eq!(parse("..9"), Some(GetRange::Bounded(0..9)));
        assert_eq!(parse("-5"), Some(GetRange::Suffix(5)));
        for wrong in [
            "",
            "..",
            "5",
            "5..4",
            "a..b",
            "-",
            "--5",
            "+1..2",
            "1..=2",
            "1...2",
            "99999999999999999999..",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
