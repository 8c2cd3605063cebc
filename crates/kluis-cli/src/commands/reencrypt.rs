//! `reencrypt`.

use crate::address::VaultPath;
use crate::args::Reencrypt;
use crate::exit::{Failure, Result, Tally};
use crate::progress::Progress;
use crate::session::{Opened, Session, nothing_at};
use crate::terminal::{SummaryMessage, human_bytes};
use crate::transfer::plural;
use futures_util::TryStreamExt;
use kluis::Reencrypted;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(super) async fn reencrypt(session: &Session, args: Reencrypt) -> Result<()> {
    let start = Instant::now();
    let path = match &args.path {
        Some(path) => VaultPath::parse(path)?,
        None => VaultPath::root(),
    };
    let opened = session.open_for(&path).await?;
    if args.dry_run {
        return receipt(session, &opened, &path, start).await;
    }
    let vault = path.vault.as_deref().unwrap_or_default();
    let progress = Arc::new(Progress::default());
    let ticker = session.terminal.show(&progress);
    let mut tally = Tally::new(true);
    let mut skipped = 0;
    let mut steps = opened.vault.reencrypt(path.prefix());
    while let Some(step) = steps.try_next().await? {
        let (meta, failed) = match step {
            Reencrypted::Written(meta) => {
                tally.done += 1;
                tally.bytes = tally.bytes.saturating_add(meta.size);
                (meta, None)
            }
            Reencrypted::Failed(meta, error) => (meta, Some(error)),
            // Under keys that are in force.
            Reencrypted::Current(meta) => {
                skipped += 1;
                (meta, None)
            }
            _ => continue,
        };
        progress.found(meta.size);
        progress.items_done.fetch_add(1, Ordering::Relaxed);
        progress.advance(meta.size);
        if let Some(error) = failed {
            let failure = Failure::from(error).at(format!("{vault}:{}", meta.location));
            session.terminal.failure(&failure);
            tally.fail(failure);
        }
    }
    drop(ticker);
    if tally.done + tally.failed + skipped == 0 && !path.is_root() {
        return Err(nothing_at(&path));
    }
    let left = opened.vault.receipt(path.prefix()).await?;
    let text = format!(
        "wrote {} again ({}); {}",
        plural(tally.done, "object"),
        human_bytes(tally.bytes),
        if left.is_empty() {
            "nothing is left that was taken back".to_owned()
        } else {
            format!(
                "{} still under old keys",
                plural(left.objects + left.unknown, "object")
            )
        },
    );
    let summary = SummaryMessage {
        command: "reencrypt",
        items: tally.done,
        bytes: tally.bytes,
        skipped,
        failed: tally.failed,
        seconds: start.elapsed().as_secs_f64(),
        ..SummaryMessage::default()
    };
    session.terminal.summary(&text, summary)?;
    tally.end("written again")
}

/// What is left of before, without writing anything.
async fn receipt(
    session: &Session,
    opened: &Opened,
    path: &VaultPath,
    start: Instant,
) -> Result<()> {
    let left = opened.vault.receipt(path.prefix()).await?;
    let mut text = format!(
        "{} ({}) in {path} can still be read with keys of before",
        plural(left.objects, "object"),
        human_bytes(left.bytes),
    );
    if left.unknown > 0 {
        let unknown = plural(left.unknown, "object");
        text.push_str(&format!(", and perhaps {unknown} that cannot be looked at"));
    }
    let summary = SummaryMessage {
        command: "reencrypt",
        items: left.objects,
        bytes: left.bytes,
        failed: left.unknown,
        dry_run: true,
        seconds: start.elapsed().as_secs_f64(),
        ..SummaryMessage::default()
    };
    session.terminal.summary(&text, summary)
}
