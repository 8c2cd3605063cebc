//! `check`.

use crate::address::VaultPath;
use crate::args::Check;
use crate::exit::{Failure, Result, Tally};
use crate::progress::Progress;
use crate::session::{Session, nothing_at};
use crate::terminal::{Message, SummaryMessage, human_bytes};
use crate::transfer::plural;
use futures_util::TryStreamExt;
use kluis::Verdict;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(super) async fn check(session: &Session, args: Check) -> Result<()> {
    let start = Instant::now();
    let path = match &args.path {
        Some(path) => VaultPath::parse(path)?,
        None => VaultPath::root(),
    };
    let opened = session.open_for(&path).await?;
    let vault = path.vault.as_deref().unwrap_or_default();
    let depth = if args.quick {
        kluis::Check::Quick
    } else {
        kluis::Check::Full
    };
    let progress = Arc::new(Progress::default());
    let ticker = session.terminal.show(&progress);
    let mut tally = Tally::new(true);
    let mut foreign = 0;
    let mut findings = opened.vault.check(path.prefix(), depth);
    while let Some(finding) = findings.try_next().await? {
        progress.found(finding.size);
        progress.items_done.fetch_add(1, Ordering::Relaxed);
        progress.advance(finding.size);
        let shown = match &finding.path {
            Some(path) => format!("{vault}:{path}"),
            None => finding.store_path.to_string(),
        };
        match finding.verdict {
            Verdict::Ok => {
                tally.done += 1;
                tally.bytes = tally.bytes.saturating_add(finding.size);
                session.terminal.detail(|| format!("{shown}: ok"));
            }
            Verdict::Fault(error) => {
                let failure = Failure::from(error).at(shown);
                session.terminal.failure(&failure);
                tally.fail(failure);
            }
            // And whatever a later SDK tells apart that is no fault.
            _ => {
                foreign += 1;
                let message = Message::Foreign {
                    store_path: finding.store_path.as_ref(),
                    size: finding.size,
                };
                session.terminal.message(&message)?;
                session
                    .terminal
                    .detail(|| format!("{shown}: not of this vault"));
            }
        }
    }
    drop(ticker);
    if tally.done + tally.failed + foreign == 0 && !path.is_root() {
        return Err(nothing_at(&path));
    }
    let read = if args.quick {
        "headers and lengths of "
    } else {
        ""
    };
    let mut text = format!(
        "checked {read}{} ({}), {}",
        plural(tally.done + tally.failed, "record"),
        human_bytes(tally.bytes),
        if tally.failed == 0 {
            "all good".to_owned()
        } else {
            plural(tally.failed, "fault")
        },
    );
    if foreign > 0 {
        text.push_str(&format!(", {foreign} not of this vault"));
    }
    let summary = SummaryMessage {
        command: "check",
        items: tally.done,
        bytes: tally.bytes,
        failed: tally.failed,
        foreign: Some(foreign),
        seconds: start.elapsed().as_secs_f64(),
        ..SummaryMessage::default()
    };
    session.terminal.summary(&text, summary)?;
    tally.end("good")
}
