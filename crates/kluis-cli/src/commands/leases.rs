//! `lease`.

use super::links::duration;
use super::sharing::contains;
use crate::address::VaultPath;
use crate::args;
use crate::exit::{Failure, Result};
use crate::session::Session;
use crate::terminal::{Message, Output, rfc3339};
use std::time::Duration;

pub(super) async fn lease(session: &Session, args: args::Lease) -> Result<()> {
    let path = match &args.path {
        Some(path) => VaultPath::parse(path)?,
        None => VaultPath::root(),
    };
    let wanted = match args.time.as_deref() {
        None => return show(session, &path).await,
        Some("off") => None,
        Some(time) => Some(duration(time)?),
    };
    let opened = session.open_for(&path).await?;
    let set = opened.vault.set_lease(path.prefix(), wanted).await;
    set.map_err(|e| Failure::from(e).at(path.to_string()))?;
    let terminal = &session.terminal;
    terminal.note(&match wanted {
        Some(length) => format!(
            "writers of {path} and what is in it stop where the newest entry of the ledger that they see is older than {}; your next command that writes or opens the vault renews it, at half of that",
            text(length)
        ),
        None => format!("writers of {path} and what is in it go on, however old the newest entry is that they see"),
    });
    Ok(())
}

/// Those of a folder, of what is in it, and of what it is in.
async fn show(session: &Session, path: &VaultPath) -> Result<()> {
    let opened = session.open_for(path).await?;
    let mut shown = opened.vault.leases()?;
    shown.retain(|lease| {
        let (lease, asked) = (lease.path.as_deref(), path.prefix());
        contains(lease, asked) || contains(asked, lease)
    });
    let mut out = Output::new();
    for lease in &shown {
        let path = lease.path.as_deref().unwrap_or_default();
        let ends = rfc3339(lease.ends);
        if session.terminal.json() {
            out.message(&Message::Lease {
                path,
                seconds: lease.length.as_secs(),
                ends,
            })?;
        } else {
            out.line(&format!(
                ":{path}: {}; writers go on until {}, or until it is renewed",
                text(lease.length),
                ends.as_deref().unwrap_or("the end of the calendar"),
            ))?;
        }
    }
    out.finish()?;
    if shown.is_empty() {
        session
            .terminal
            .note(&format!("there is no lease of {path}"));
    }
    Ok(())
}

/// As it is typed.
fn text(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or(&(1, 's'));
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_it_is_typed() {
        for time in ["61s", "90s", "1m", "90m", "1h", "25h", "1d", "7d"] {
            assert_eq!(text(duration(time).unwrap()), time);
        }
    }
}
