//! `access`: who can read or write a path, and who could.

use super::identity::suite_name;
use super::sharing::{given_path, kind_name, mark, rights, time, written};
use crate::address::VaultPath;
use crate::args::Access;
use crate::exit::{Failure, Result};
use crate::json::AccessMessage;
use crate::session::Session;
use crate::terminal::{Message, Output, rfc3339, sanitize};
use kluis::{AccessPeriod, GrantId, LinkPeriod, Past};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The columns of the table and of CSV, in this order.
const COLUMNS: [&str; 15] = [
    "to",
    "fingerprint",
    "kind",
    "path",
    "rights",
    "from",
    "until",
    "given",
    "given_by_entry",
    "ended",
    "ended_by_entry",
    "by",
    "suite",
    "purpose",
    "group",
];

pub(super) async fn access(session: &Session, args: Access) -> Result<()> {
    let path = match &args.path {
        Some(path) => VaultPath::parse(path)?,
        None => VaultPath::root(),
    };
    if args.csv && session.common.json {
        return Err(Failure::usage(
            "the statement is CSV or JSON, not both",
            "leave out --csv or --json",
        ));
    }
    let at = |text: &Option<String>, end| {
        let micros = text.as_deref().map(|text| time(text, end)).transpose()?;
        Ok::<_, Failure>(micros.map(|m| SystemTime::UNIX_EPOCH + Duration::from_micros(m)))
    };
    let (from, until) = (at(&args.from, false)?, at(&args.until, true)?);
    let now = SystemTime::now();
    let span = match (from, until) {
        (None, None) => (now, now),
        (from, until) => (from.unwrap_or(SystemTime::UNIX_EPOCH), until.unwrap_or(now)),
    };
    if span.0 > span.1 {
        let message = "the time asked about would end before it begins";
        return Err(Failure::usage(message, "give a later --until"));
    }
    let opened = session.open_for(&path).await?;
    let statement = opened.vault.access(path.prefix()).await?;
    let found: Vec<_> = statement.between(span.0, span.1).collect();
    let givers: Givers<'_> = statement
        .access
        .iter()
        .map(|period| (period.grant.id, &*period.grant.to))
        .collect();
    let links: Vec<_> = statement.links_between(span.0, span.1).collect();
    let mut out = Output::new();
    if session.terminal.json() {
        for period in &found {
            out.message(&Message::Access(Box::new(message(period, &givers))))?;
        }
        for period in &links {
            out.message(&Message::Access(Box::new(link_message(period))))?;
        }
        out.message(&Message::Statement {
            path: &path.path,
            from: rfc3339(span.0),
            until: rfc3339(span.1),
            ledger: statement.ledger,
            items: found.len() + links.len(),
        })?;
        return out.finish();
    }
    let grants = found.iter().map(|period| row(period, &givers));
    let rows: Vec<_> = grants
        .chain(links.iter().map(|period| link_row(period)))
        .collect();
    if args.csv {
        // RFC 4180: lines end in CR LF, the first names the columns.
        for row in [COLUMNS.map(str::to_owned)].iter().chain(&rows) {
            let fields: Vec<_> = row.iter().map(|field| csv(field)).collect();
            out.bytes(format!("{}\r\n", fields.join(",")).as_bytes())?;
        }
    } else if !rows.is_empty() {
        table(&mut out, &rows)?;
    }
    out.finish()?;
    let of = if path.is_root() {
        "anything in the vault".to_owned()
    } else {
        path.to_string()
    };
    let who = match (rows.len(), span.0 == span.1) {
        (0, true) => format!("nobody else than the owner has access to {of}"),
        (0, false) => format!("nobody else than the owner had access to {of} then"),
        (_, true) => format!("these have access to {of}, beside the owner"),
        (_, false) => format!("these had access to {of} then, beside the owner"),
    };
    session.terminal.note(&format!(
        "{who}, by what the ledger holds up to entry {}",
        statement.ledger
    ));
    Ok(())
}

fn kind(period: &AccessPeriod) -> &'static str {
    match period.grant.path {
        Some(_) => kind_name(period.grant.kind),
        None => "vault",
    }
}

/// Decided by the owner.
const BY: &str = "owner";

/// Who has a grant, to be found by what hangs below it.
type Givers<'a> = BTreeMap<GrantId, &'a str>;

fn by<'a>(period: &AccessPeriod, givers: &Givers<'a>) -> &'a str {
    let giver = period.grant.parent.and_then(|parent| givers.get(&parent));
    giver.copied().unwrap_or(BY)
}

fn row(period: &AccessPeriod, givers: &Givers<'_>) -> [String; 15] {
    let grant = &period.grant;
    let at = |time: Option<SystemTime>| time.and_then(rfc3339).unwrap_or_default();
    let mut may = rights(&grant.terms).to_owned();
    if grant.terms.past == Past::HeldBack {
        may.push_str(", nothing of the past");
    }
    if grant.terms.reshare {
        may.push_str(", may give it on");
    }
    [
        grant.to.clone(),
        grant.fingerprint.to_string(),
        kind(period).to_owned(),
        given_path(grant),
        may,
        at(Some(period.span().0)),
        grant.terms.not_after.and_then(written).unwrap_or_default(),
        at(Some(grant.given)),
        grant.filed.to_string(),
        at(period.ended),
        period.ended_by.map_or_else(String::new, |n| n.to_string()),
        by(period, givers).to_owned(),
        suite_name(grant.suite).to_owned(),
        grant.terms.purpose.clone(),
        grant.group.clone().unwrap_or_default(),
    ]
}

/// Whom a link is for is not known: whoever has it.
const ANYBODY: &str = "whoever has the link";

fn link_row(period: &LinkPeriod) -> [String; 15] {
    let link = &period.link;
    let at = |time: Option<SystemTime>| time.and_then(rfc3339).unwrap_or_default();
    [
        ANYBODY.to_owned(),
        String::new(),
        "link".to_owned(),
        format!(
            ":{}{}",
            link.path.as_deref().unwrap_or_default(),
            mark(link.kind)
        ),
        "read".to_owned(),
        at(Some(period.span().0)),
        link.terms.not_after.and_then(written).unwrap_or_default(),
        at(Some(link.made)),
        link.filed.to_string(),
        at(period.ended),
        period.ended_by.map_or_else(String::new, |n| n.to_string()),
        BY.to_owned(),
        String::new(),
        link.terms.purpose.clone(),
        String::new(),
    ]
}

fn link_message(period: &LinkPeriod) -> AccessMessage<'_> {
    let link = &period.link;
    AccessMessage {
        id: link.id.to_string(),
        to: ANYBODY,
        group: None,
        fingerprint: String::new(),
        suite: "",
        kind: "link",
        path: link.path.as_deref().unwrap_or_default(),
        write: false,
        past: true,
        from: rfc3339(period.span().0),
        until: link.terms.not_after.and_then(written),
        given: rfc3339(link.made),
        given_by_entry: link.filed,
        ended: period.ended.and_then(rfc3339),
        ended_by_entry: period.ended_by,
        by: BY,
        purpose: &link.terms.purpose,
    }
}

fn message<'a>(period: &'a AccessPeriod, givers: &Givers<'a>) -> AccessMessage<'a> {
    let grant = &period.grant;
    AccessMessage {
        id: grant.id.to_string(),
        to: &grant.to,
        group: grant.group.as_deref(),
        fingerprint: grant.fingerprint.to_string(),
        suite: suite_name(grant.suite),
        kind: kind(period),
        path: grant.path.as_deref().unwrap_or_default(),
        write: grant.terms.write,
        past: grant.terms.past == Past::Shared,
        from: rfc3339(period.span().0),
        until: grant.terms.not_after.and_then(written),
        given: rfc3339(grant.given),
        given_by_entry: grant.filed,
        ended: period.ended.and_then(rfc3339),
        ended_by_entry: period.ended_by,
        by: by(period, givers),
        purpose: &grant.terms.purpose,
    }
}

/// In columns as wide as what is in them; what is empty everywhere is left out.
fn table(out: &mut Output, rows: &[[String; 15]]) -> Result<()> {
    // A name cannot leave its cell.
    let shown = |text: &str| sanitize(text).into_owned();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| shown(&row[column]).chars().count());
        cells.max().filter(|width| *width > 0)
    };
    let columns: Vec<_> = (0..COLUMNS.len())
        .filter_map(|column| Some((column, width(column)?.max(COLUMNS[column].len()))))
        .collect();
    let mut line = |cells: &[String; 15]| {
        let cells = columns.iter().map(|(column, width)| {
            let cell = shown(&cells[*column]);
            let cell = if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            };
            format!("{cell:<width$}")
        });
        out.line(cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    line(&COLUMNS.map(|name| name.replace('_', " ")))?;
    rows.iter().try_for_each(line)
}

/// One field. What a spreadsheet would take for a formula begins with `'`, by which it
/// knows a text: names and purposes were chosen by somebody else.
fn csv(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if formula {
        format!("'{field}")
    } else {
        field.to_owned()
    };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_text_and_never_a_formula() {
        for (field, written) in [
            ("", ""),
            ("bob", "bob"),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(1,2)", "\"'@SUM(1,2)\""),
            ("=\"x\"", "\"'=\"\"x\"\"\""),
            ("'=1", "'=1"),
            ("a=1", "a=1"),
        ] {
            assert_eq!(csv(field), written, "{field}");
        }
    }
}
