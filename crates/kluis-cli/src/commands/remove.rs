//! `rm`.

use crate::address::VaultPath;
use crate::args::Rm;
use crate::exit::{Exit, Failure, Result, Tally};
use crate::session::{Opened, Session, nothing_at};
use crate::terminal::{Message, ObjectMessage, SummaryMessage, confirm};
use crate::transfer::plural;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::time::Instant;

/// Names held at once while a folder is emptied: a few requests' worth.
const BATCH: usize = 10_000;

pub(super) async fn rm(session: &Session, args: Rm) -> Result<()> {
    let start = Instant::now();
    let paths = args
        .paths
        .iter()
        .map(|p| VaultPath::parse(p))
        .collect::<Result<Vec<_>>>()?;
    for path in &paths {
        session.target(path).await?;
        if path.as_folder && !args.recursive {
            return Err(
                Failure::usage("it is a folder", "give -r to remove folders").at(path.to_string()),
            );
        }
    }
    for path in paths.iter().filter(|p| p.is_root()) {
        let label = session.target(path).await?.label;
        confirm(
            &format!("remove everything in {label}"),
            args.yes || args.dry_run,
        )
        .await?;
    }
    let mut tally = Tally::new(args.recursive || paths.len() > 1);
    let mut opened = Vec::new();
    for path in &paths {
        if !opened.iter().any(|(vault, _)| *vault == path.vault) {
            opened.push((path.vault.clone(), session.open_for(path).await?));
        }
    }
    for path in &paths {
        let Some((_, vault)) = opened.iter().find(|(vault, _)| *vault == path.vault) else {
            continue;
        };
        let mut removal = Removal {
            session,
            opened: vault,
            path,
            tally: &mut tally,
            dry_run: args.dry_run,
        };
        let result = if args.recursive {
            removal.folder().await
        } else {
            removal.object().await
        };
        if let Err(failure) = result {
            let failure = failure.at(path.to_string());
            // With -r on one path, nothing there is that path's own failure.
            if paths.len() == 1 && tally.done + tally.failed == 0 {
                return Err(failure);
            }
            session.terminal.failure(&failure);
            tally.fail(failure);
        }
    }
    if tally.failed == 0 || tally.many {
        let would = if args.dry_run { "would have been " } else { "" };
        let failed = if tally.failed > 0 {
            format!(", {} failed", tally.failed)
        } else {
            String::new()
        };
        let text = format!("{would}removed {}{failed}", plural(tally.done, "object"));
        let summary = SummaryMessage {
            command: "rm",
            items: tally.done,
            bytes: tally.bytes,
            failed: tally.failed,
            nameless: Some(tally.nameless),
            foreign: Some(tally.foreign),
            dry_run: args.dry_run,
            seconds: start.elapsed().as_secs_f64(),
            ..SummaryMessage::default()
        };
        session.terminal.summary(&text, summary)?;
    }
    tally.end("removed")
}

struct Removal<'a> {
    session: &'a Session,
    opened: &'a Opened,
    path: &'a VaultPath,
    tally: &'a mut Tally,
    dry_run: bool,
}

impl Removal<'_> {
    async fn object(&mut self) -> Result<()> {
        let vault = &self.opened.vault;
        // Not every store says that there was nothing to delete, so look. What
        // is there but damaged can be removed all the same.
        let size = match vault.head(&self.path.path).await.map_err(Failure::from) {
            Ok(info) => info.meta.size,
            Err(f) if f.exit == Exit::NotAsWritten => 0,
            Err(f) if f.exit == Exit::NotFound => {
                let mut below = vault.list(self.path.prefix());
                let found = below.next().await.is_some() || below.unlisted().nameless > 0;
                return Err(if found {
                    Failure::usage("it is a folder", "give -r to remove folders")
                } else {
                    nothing_at(self.path)
                });
            }
            Err(f) => return Err(f),
        };
        if !self.dry_run {
            vault.delete(&self.path.path).await?;
        }
        self.removed(&self.path.path.clone(), size);
        Ok(())
    }

    /// Everything below, and an object of the same name beside the folder.
    async fn folder(&mut self) -> Result<()> {
        let vault = &self.opened.vault;
        let before = self.tally.done + self.tally.failed;
        let mut listing = vault.list(self.path.prefix());
        loop {
            let batch: Vec<_> = listing.by_ref().take(BATCH).try_collect().await?;
            if batch.is_empty() {
                break;
            }
            if self.dry_run {
                for meta in &batch {
                    self.removed(meta.location.as_ref(), meta.size);
                }
                continue;
            }
            let sizes: std::collections::HashMap<_, _> =
                batch.iter().map(|m| (m.location.clone(), m.size)).collect();
            let locations = stream::iter(batch.into_iter().map(|m| Ok(m.location))).boxed();
            let mut removed = vault.delete_stream(locations);
            while let Some(result) = removed.next().await {
                match result.map_err(Failure::from) {
                    Ok(path) => self.removed(path.as_ref(), sizes.get(&path).copied().unwrap_or(0)),
                    // Somebody else removed it: then it is removed.
                    Err(f) if f.exit == Exit::NotFound => {}
                    Err(f) => {
                        let failure = f.at(self.path.to_string());
                        self.session.terminal.failure(&failure);
                        self.tally.fail(failure);
                    }
                }
            }
        }
        let (unlisted, place) = (listing.unlisted(), self.path.to_string());
        self.session.terminal.foreign(unlisted.foreign, &place);
        if let Some(failure) = self.tally.left_out(unlisted, &place) {
            self.session.terminal.failure(&failure);
        }
        let beside = if self.path.is_root() || self.path.as_folder {
            Ok(())
        } else {
            self.object().await
        };
        match beside {
            Err(f) if f.exit == Exit::NotFound && self.tally.done + self.tally.failed > before => {
                Ok(())
            }
            // A folder that the dry run has left in place, or what has no name in it.
            Err(f) if f.exit == Exit::Usage && (self.dry_run || unlisted.nameless > 0) => Ok(()),
            Ok(()) if self.tally.done + self.tally.failed == before && !self.path.is_root() => {
                Err(nothing_at(self.path))
            }
            other => other,
        }
    }

    fn removed(&mut self, path: &str, size: u64) {
        self.tally.done += 1;
        self.tally.bytes = self.tally.bytes.saturating_add(size);
        let terminal = &self.session.terminal;
        let vault = self.path.vault.as_deref().unwrap_or_default();
        if terminal.json() {
            let _ = terminal.message(&Message::Object(Box::new(ObjectMessage {
                action: Some("removed"),
                path: &format!("{vault}:{path}"),
                size,
                ..ObjectMessage::default()
            })));
        } else if self.dry_run {
            terminal.note(&format!("{vault}:{path} would be removed"));
        } else {
            terminal.detail(|| format!("{vault}:{path}: removed"));
        }
    }
}
