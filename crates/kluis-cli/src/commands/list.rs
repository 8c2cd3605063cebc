//! `ls` and `stat`.

use crate::address::{VaultPath, join};
use crate::args::{Ls, Stat};
use crate::exit::{Exit, Failure, Result};
use crate::json::WriterMessage;
use crate::session::{Session, nothing_at};
use crate::terminal::{Message, ObjectMessage, Output, SummaryMessage, rfc3339, sanitize};
use futures_util::TryStreamExt;
use kluis::object_store::{Attribute, ObjectMeta};
use kluis::{Unlisted, Vault, Writer};
use std::time::{Instant, SystemTime};

/// One line of a listing, small: there may be millions.
struct Line {
    /// Below the folder that is listed.
    name: String,
    /// None for a folder.
    object: Option<(u64, SystemTime)>,
}

impl Line {
    fn object(name: String, meta: &ObjectMeta) -> Self {
        Self {
            name,
            object: Some((meta.size, meta.last_modified.into())),
        }
    }
}

pub(super) async fn ls(session: &Session, args: Ls) -> Result<()> {
    let start = Instant::now();
    let path = match &args.path {
        Some(path) => VaultPath::parse(path)?,
        None => VaultPath::root(),
    };
    let opened = session.open_for(&path).await?;
    let mut folder = path.path.clone();
    let (mut lines, unlisted) = if args.recursive {
        below(&opened.vault, &path).await?
    } else {
        children(&opened.vault, &path).await?
    };
    let shown = path.to_string();
    session.terminal.foreign(unlisted.foreign, &shown);
    let nameless = Failure::nameless(unlisted.nameless).map(|f| f.at(shown));
    if lines.is_empty() && nameless.is_none() && !path.is_root() {
        // Nothing is below it: it may be an object, which lists itself.
        let info = match opened.vault.head(&path.path).await.map_err(Failure::from) {
            Ok(info) if !path.as_folder => info,
            Ok(_) => {
                return Err(Failure::not_found(
                    "it is an object, not a folder",
                    "leave out the `/`",
                )
                .at(path.to_string()));
            }
            Err(f) if f.exit == Exit::NotFound => return Err(nothing_at(&path)),
            Err(f) => return Err(f.at(path.to_string())),
        };
        folder = folder
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        let name = path.name().unwrap_or_default().to_owned();
        lines.push(Line::object(name, &info.meta));
    }
    lines.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));

    let mut out = Output::new();
    let mut summary = SummaryMessage {
        command: "ls",
        folders: Some(0),
        failed: unlisted.nameless,
        nameless: Some(unlisted.nameless),
        foreign: Some(unlisted.foreign),
        ..SummaryMessage::default()
    };
    for line in &lines {
        match (line.object, session.terminal.json()) {
            (Some((size, _)), _) => {
                summary.items += 1;
                summary.bytes = summary.bytes.saturating_add(size);
            }
            (None, _) => summary.folders = summary.folders.map(|n| n + 1),
        }
        if session.terminal.json() {
            let path = join(&folder, &line.name);
            out.message(&match line.object {
                None => Message::Folder { path: &path },
                Some((size, time)) => Message::Object(Box::new(ObjectMessage {
                    path: &path,
                    size,
                    last_modified: rfc3339(time),
                    ..ObjectMessage::default()
                })),
            })?;
            continue;
        }
        let name = match line.object {
            None => format!("{}/", line.name),
            Some(_) => line.name.clone(),
        };
        if args.long {
            out.line(&match line.object {
                None => format!("{:>14} {:>20} {name}", "-", "-"),
                Some((size, time)) => format!("{size:>14} {:>20} {name}", seconds(time)),
            })?;
        } else {
            out.line(&name)?;
        }
    }
    if session.terminal.json() {
        summary.seconds = start.elapsed().as_secs_f64();
        out.message(&Message::Summary(summary))?;
    }
    out.finish()?;
    nameless.map_or(Ok(()), Err)
}

/// To the second: stores know no better, and columns line up.
fn seconds(time: SystemTime) -> String {
    let text = rfc3339(time).unwrap_or_else(|| "?".to_owned());
    match text.find('.') {
        Some(dot) => format!("{}Z", &text[..dot]),
        None => text,
    }
}

async fn below(vault: &Vault, path: &VaultPath) -> Result<(Vec<Line>, Unlisted)> {
    let mut lines = Vec::new();
    let mut listing = vault.list(path.prefix());
    let skip = if path.is_root() {
        0
    } else {
        path.path.len() + 1
    };
    while let Some(meta) = listing.try_next().await? {
        let name = meta.location.as_ref().get(skip..).unwrap_or_default();
        lines.push(Line::object(name.to_owned(), &meta));
    }
    Ok((lines, listing.unlisted()))
}

async fn children(vault: &Vault, path: &VaultPath) -> Result<(Vec<Line>, Unlisted)> {
    let listing = vault.list_with_delimiter(path.prefix()).await?;
    let unlisted = listing.extensions.get().copied().unwrap_or_default();
    let last = |path: &kluis::object_store::path::Path| {
        path.as_ref()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let folders = listing.common_prefixes.iter().map(|p| Line {
        name: last(p),
        object: None,
    });
    let objects = listing
        .objects
        .iter()
        .map(|m| Line::object(last(&m.location), m));
    Ok((folders.chain(objects).collect(), unlisted))
}

pub(super) async fn stat(session: &Session, args: Stat) -> Result<()> {
    let path = VaultPath::parse(&args.path)?;
    let opened = session.open_for(&path).await?;
    if path.as_folder {
        return Err(Failure::usage(
            "a folder has no metadata",
            "see what is in it with `kluis ls`",
        )
        .at(path.to_string()));
    }
    let info = match opened.vault.head(&path.path).await.map_err(Failure::from) {
        Err(f) if f.exit == Exit::NotFound => return Err(nothing_at(&path)),
        other => other.map_err(|f| f.at(path.to_string()))?,
    };
    let attributes: Vec<(String, String)> = info
        .attributes
        .iter()
        .map(|(name, value)| (attribute_name(name), value.as_ref().to_owned()))
        .collect();
    let mut out = Output::new();
    if session.terminal.json() {
        out.message(&Message::Object(Box::new(ObjectMessage {
            path: &path.path,
            size: info.meta.size,
            last_modified: rfc3339(info.meta.last_modified.into()),
            mtime: info.mtime.and_then(rfc3339),
            expires: info.expires.and_then(rfc3339),
            version: rfc3339(info.version),
            epoch: Some(info.epoch),
            closed: Some(info.closed),
            stored_size: Some(info.stored_size),
            writer: info.writer.as_ref().map(|writer| WriterMessage {
                own: writer.own,
                name: writer.name.as_deref(),
                fingerprint: writer.fingerprint.map(|words| words.to_string()),
                key: hex(&writer.key),
            }),
            attributes: Some(attributes.into_iter().collect()),
            ..ObjectMessage::default()
        })))?;
        return out.finish();
    }
    let time = |time: Option<SystemTime>| time.and_then(rfc3339).unwrap_or_else(|| "-".to_owned());
    let mut line = |name: &str, value: String| out.line(&format!("{name:<14} {value}"));
    line("path", path.path.clone())?;
    line("size", info.meta.size.to_string())?;
    line("mtime", time(info.mtime))?;
    line("expires", time(info.expires))?;
    line("version", time(Some(info.version)))?;
    line(
        "epoch",
        format!(
            "{}{}",
            info.epoch,
            if info.closed { " (closed)" } else { "" }
        ),
    )?;
    if let Some(writer) = &info.writer {
        line("writer", shown(writer))?;
    }
    line("stored size", info.stored_size.to_string())?;
    line("last modified", time(Some(info.meta.last_modified.into())))?;
    for (name, value) in attributes {
        line(&name, value)?;
    }
    out.finish()
}

/// Who signed it, as far as is known: a name that others chose does not leave its place.
fn shown(writer: &Writer) -> String {
    let words = match &writer.fingerprint {
        Some(words) => words.to_string(),
        None => format!("the key {}", hex(&writer.key)),
    };
    match &writer.name {
        _ if writer.own => format!("yourself ({words})"),
        Some(name) => format!("{} ({words})", sanitize(name)),
        None => words,
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute_name(attribute: &Attribute) -> String {
    match attribute {
        Attribute::CacheControl => "cache-control".to_owned(),
        Attribute::ContentDisposition => "content-disposition".to_owned(),
        Attribute::ContentEncoding => "content-encoding".to_owned(),
        Attribute::ContentLanguage => "content-language".to_owned(),
        Attribute::ContentType => "content-type".to_owned(),
        Attribute::StorageClass => "storage-class".to_owned(),
        Attribute::Metadata(name) => format!("metadata-{name}"),
        other => format!("{other:?}"),
    }
}
