//! `share`, `shares`, `revoke` and `accept`.

use super::contacts::{ask_words, check_count, compare, find, untrusted};
use super::identity::{exists, read_card, suite_name, write_public};
use crate::address::VaultPath;
use crate::args::{Accept, HandingOver, Revoke, ShareArgs, TakingBack};
use crate::exit::{Exit, Failure, Result};
use crate::json::{GiverMessage, GrantMessage, MemberMessage, PrefixesMessage, TermsMessage};
use crate::secrets::{Secret, read_public};
use crate::session::{Opened, Session, Target, as_member};
use crate::store::Store;
use crate::terminal::{Message, Output, confirm, rfc3339};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use futures_util::TryStreamExt;
use kluis::{
    Address, Contact, Giver, Grant, GrantFile, GrantId, Granted, GroupInfo, GroupMember,
    IdentitySuite, Invitation, Kind, LinkId, LinkInfo, Past, Prefixes, Receipt, Received,
    Recipient, Revoked, Terms, Trust, Vault, VaultId,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};
use url::Url;

/// What was shared, to who has the vault.
pub(super) fn given_path(grant: &Grant) -> String {
    let path = grant.path.as_deref().unwrap_or_default();
    format!(":{path}{}", mark(grant.kind))
}

/// What tells an object from a folder of its name.
pub(super) fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => " (object)",
        Kind::Version => " (version)",
        _ => "",
    }
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => "object",
        Kind::Version => "version",
        Kind::Group => "group",
        _ => "folder",
    }
}

pub(super) async fn share(session: &Session, args: ShareArgs) -> Result<()> {
    let path = VaultPath::parse(&args.path)?;
    let terms = terms(&args)?;
    if let Some(words) = &args.words {
        check_count(words)?;
    }
    let target = session.target(&path).await?;
    check_handing(&args.handing, target.address.url())?;
    let opened = session.open_for(&path).await?;
    if is_received(&opened) {
        return give_on(session, &args, &path, &opened, terms).await;
    }
    if args.words.is_some() {
        return Err(Failure::usage(
            "--words is for the file of a card, of what was shared with you",
            "add the contact, and give the words to `kluis contact verify`",
        ));
    }
    let Whom {
        name,
        words,
        suite,
        recipient,
    } = match group_of(&opened, &args.whom)? {
        Some(group) => group,
        None => contact_of(&opened, &args.whom, &args.handing).map_err(|failure| {
            if failure.exit != Exit::NotFound {
                return failure;
            }
            Failure::not_found(
                format!("no contact or group is called {}", args.whom),
                "see `kluis contact list` and `kluis group list`",
            )
        })?,
    };
    let kind = kind_of(session, &opened, &path, args.version).await?;
    let rights = describe(&terms);
    let granted = if path.is_root() {
        let line = format!(
            "this shares everything in {}, now and later, with {name}{words}: {rights}",
            target.label
        );
        session.terminal.before_asking(&line, args.yes);
        confirm(&format!("share the whole vault with {name}"), args.yes).await?;
        opened.vault.share_whole(&recipient, terms).await
    } else {
        let (vault, path) = (&opened.vault, &path.path);
        match kind {
            Kind::Object => vault.share_object(path, &recipient, terms).await,
            Kind::Version => vault.share_version(path, &recipient, terms).await,
            _ => vault.share(path, &recipient, terms).await,
        }
    };
    let granted = granted.map_err(|e| Failure::from(e).at(path.to_string()))?;
    hand_over(session, &opened, &granted, &args.handing)?;
    session.terminal.note(&format!(
        "shared {path}{} with {name}: {rights}; grant {}; hint: hand the invitation over on a way that the provider does not control",
        mark(kind),
        granted.id
    ));
    if opened.vault.group(&args.whom).is_ok() {
        session
            .terminal
            .note("the invitation is the same for all members, and is accepted after that of the place in the group");
    }
    if kind == Kind::Version {
        session.terminal.note(
            "this is one version: what is written in its place later is out of reach, but no revocation takes back the key of this one; it ends when the object is written again, and not in copies that the store or somebody kept",
        );
    }
    warn_classical(session, suite);
    let signed = opened.vault.is_signed().map_err(Failure::from)?;
    session.terminal.note(if signed {
        "this vault is signed: only who may write can sign what others read; that a reader does not delete rests on the store's credentials"
    } else if args.write {
        "this vault is not signed: whoever may read could also compute what a writer writes, so that only the store's credentials tell readers from writers"
    } else {
        "this vault is not signed: that a reader does not write rests on the store's credentials alone, so give ones that cannot write"
    });
    Ok(())
}

/// Somebody to share with.
pub(super) struct Whom {
    /// As it is said: a contact by name, a group as one.
    pub(super) name: String,
    /// Whose card it is, in brackets.
    pub(super) words: String,
    pub(super) suite: IdentitySuite,
    pub(super) recipient: Recipient,
}

/// A contact that may be shared with.
pub(super) fn contact_of(opened: &Opened, name: &str, handing: &HandingOver) -> Result<Whom> {
    let contact = find(opened, name)?;
    let name = contact.name();
    let recipient = match contact.trust() {
        Trust::Verified => contact
            .recipient()
            .map_err(|e| Failure::from(kluis::Error::from(e)))?,
        trust => {
            let why = match trust {
                Trust::Changed => "has other keys than those that you verified",
                _ => "is not verified",
            };
            return Err(untrusted(
                format!("{name} {why}; nothing was shared"),
                "compare the 12 words with them: `kluis contact verify NAME`",
            ));
        }
    };
    let suite = contact.card().suite();
    refuse_classical(name, suite, handing.allow_classical)?;
    Ok(Whom {
        name: name.to_owned(),
        words: format!(" ({})", contact.card().fingerprint()),
        suite,
        recipient: if handing.allow_classical {
            recipient.allow_classical()
        } else {
            recipient
        },
    })
}

/// A group of this name, if there is one.
fn group_of(opened: &Opened, name: &str) -> Result<Option<Whom>> {
    match opened.vault.group(name) {
        Ok(recipient) => Ok(Some(Whom {
            name: format!("the group {name}"),
            words: String::new(),
            suite: recipient.card().suite(),
            recipient,
        })),
        Err(kluis::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is wrong with how a grant is to be handed over, before anything is asked.
pub(super) fn check_handing(handing: &HandingOver, url: &Url) -> Result<()> {
    if handing.policy.is_some() && url.scheme() != "s3" {
        let message = "a policy is made for a vault on s3:// only";
        return Err(Failure::usage(message, "leave out --policy"));
    }
    match &handing.out {
        Some(out) if out == Path::new("-") => Err(Failure::usage(
            "the grant is written to a file: stdout has the other half of the answer",
            "name a new file after --out; for one called -, ./-",
        )),
        Some(out) if out.symlink_metadata().is_ok() => Err(exists(out)),
        _ => Ok(()),
    }
}

/// Prints the invitation, and writes the file if one is wanted.
pub(super) fn hand_over(
    session: &Session,
    opened: &Opened,
    granted: &Granted,
    handing: &HandingOver,
) -> Result<()> {
    let invitation = granted.invitation.at(&opened.address);
    let made = Made {
        line: &invitation,
        invitation: &invitation,
        grant: granted.id,
        prefixes: &granted.prefixes,
    };
    made.print(session, opened, handing)?;
    if let Some(out) = &handing.out {
        // The invitation is printed by now, so that nothing is lost if this fails.
        let file = granted.file(&opened.address)?;
        write_public(out, &file.to_armor())?;
        session
            .terminal
            .note(&format!("the grant was written to {}", out.display()));
    }
    Ok(())
}

pub(super) fn warn_classical(session: &Session, suite: IdentitySuite) {
    if !suite.is_post_quantum() {
        session.terminal.warn(&format!(
            "the grant is sealed with {} alone: whoever records it may read it with a quantum computer later",
            suite_name(suite)
        ));
    }
}

/// Gives on what was shared with the one who has the vault open.
async fn give_on(
    session: &Session,
    args: &ShareArgs,
    path: &VaultPath,
    opened: &Opened,
    terms: Terms,
) -> Result<()> {
    let usage = |message: &str, hint: &'static str| Err(Failure::usage(message, hint));
    let Some(out) = &args.handing.out else {
        return usage(
            "what is given on lies in no store: it is a file",
            "give --out FILE, for whom it is for and for the owner of the vault",
        );
    };
    if path.is_root() {
        return usage(
            "the whole vault is not yours to share",
            "name what was shared with you: `kluis shares`",
        );
    }
    let file = Path::new(&args.whom);
    if args.whom == "-" {
        return usage(
            "the name of the card's file is what the person is called, and stdin has none",
            "give the file of their card, as NAME.card",
        );
    }
    if file
        .metadata()
        .is_err_and(|e| e.kind() == ErrorKind::NotFound)
    {
        return usage(
            "the address book is the owner's; what was shared with you is given on to a card",
            "give the file of their card, as `kluis identity export` wrote it for them",
        );
    }
    let card = read_card(file)?;
    let name = file.file_stem().map(OsStr::to_string_lossy);
    let name = name.unwrap_or_default().into_owned();
    let contact = Contact::new(&name, card).map_err(Failure::core)?;
    let words = contact.card().fingerprint();
    match &args.words {
        Some(given) => compare(&name, &words, given)?,
        None => {
            let hint = "give them with --words, in quotes, as their owner reads them out";
            compare(&name, &words, &ask_words(&name, hint).await?)?;
        }
    }
    let suite = contact.card().suite();
    refuse_classical(&name, suite, args.handing.allow_classical)?;
    let contact = contact.verified(&words).map_err(Failure::core)?;
    let mut recipient = contact.recipient().map_err(Failure::core)?;
    if args.handing.allow_classical {
        recipient = recipient.allow_classical();
    }
    let kind = kind_of(session, opened, path, args.version).await?;
    let rights = describe(&terms);
    let (vault, at) = (&opened.vault, &path.path);
    let given = match kind {
        Kind::Object => vault.give_object_on(at, &recipient, terms).await,
        Kind::Version => vault.give_version_on(at, &recipient, terms).await,
        _ => vault.give_on(at, &recipient, terms).await,
    };
    let given = given.map_err(|error| {
        let failure = Failure::from(error).at(path.to_string());
        within(failure, &opened.vault, path)
    })?;
    write_public(out, &given.file(&opened.address)?.to_armor())?;
    let made = Made {
        line: &given.id.to_string(),
        invitation: &given.invitation.at(&opened.address),
        grant: given.id,
        prefixes: &given.prefixes,
    };
    made.print(session, opened, &args.handing)?;
    session.terminal.note(&format!(
        "gave {path}{} on to {name} ({words}): {rights}; the grant was written to {}",
        mark(kind),
        out.display()
    ));
    warn_classical(session, suite);
    session.terminal.note("send the file to them, and to the owner of the vault: until he files it (`kluis accept FILE`) they can only read, and nothing of what is written once the vault has new keys");
    Ok(())
}

/// With what was given, where more was to be given on.
fn within(mut failure: Failure, vault: &Vault, path: &VaultPath) -> Failure {
    let name = path.path.split('/').next().unwrap_or_default();
    let received = vault.received().unwrap_or_default();
    let own = received.iter().find(|r| !r.ended && r.name == name);
    if let Some(own) = own
        && failure.message.ends_with("than was given")
    {
        failure.hint = format!(
            "what you have of :{name}: {}; stay within it, with --from, --until and --from-now as they stand there",
            describe(&own.terms)
        );
    }
    failure.or_invalid("give on what `kluis shares` lists, or an object in it")
}

/// Files what somebody gave on, in the owner's vault: never at the address in the file, which
/// whoever made it chose, and where an older state of the vault could lie.
async fn file_copy(session: &Session, file: &GrantFile, args: &Accept) -> Result<()> {
    let target = of_vault(session.default_target().await?, file.vault())?;
    let opened = session.open(&target).await?;
    let (vault, label) = (&opened.vault, &target.label);
    let failed = |e: kluis::Error| {
        let is_tampered = matches!(e, kluis::Error::Tampered { .. });
        let mut failure = Failure::from(e);
        if is_tampered {
            "it is not for the owner of this vault, or was changed on its way: ask for it again"
                .clone_into(&mut failure.hint);
        }
        failure
    };
    let found = vault.to_file(file).await;
    let found = found.map_err(|e| failed(e).or_invalid("see `kluis shares`"))?;
    let to = args.name.as_deref().unwrap_or(&found.to);
    let place = format!(
        ":{}{}",
        found.path.as_deref().unwrap_or_default(),
        mark(found.kind)
    );
    for line in [
        format!(
            "{} gave {place} of {label} on to {to} ({}): {}",
            found.above.to,
            found.fingerprint,
            describe(&found.terms)
        ),
        format!("below {}", given_text(&found.above)),
        "filed, it lasts until you take it back, or the one that it is below".to_owned(),
    ] {
        session.terminal.before_asking(&line, args.yes);
    }
    warn_classical(session, found.suite);
    confirm("file it", args.yes).await?;
    let grant = vault
        .file(file, args.name.as_deref())
        .await
        .map_err(|e| failed(e).or_invalid("give another name with --as"))?;
    let mut out = Output::new();
    if session.terminal.json() {
        out.message(&given_with(&grant, "filed", Some(&found.prefixes)))?;
    } else {
        out.line(&given_text(&grant))?;
    }
    out.finish()?;
    note_prefixes(session, &found.prefixes);
    session
        .terminal
        .note("filed; hint: see `kluis shares`; `kluis revoke` takes it back");
    Ok(())
}

/// The vault of an address, which has to be this one.
fn of_vault(mut target: Target, id: VaultId) -> Result<Target> {
    if target.address.id().is_some_and(|own| own != id) {
        return Err(Failure::new(
            Exit::Denied,
            "untrusted_identity",
            format!("this is of vault {id}, and {} is another one", target.label),
            "name the vault that it is of with --vault",
        ));
    }
    target.address = target.address.with_id(id);
    Ok(target)
}

/// Nothing is sealed to X25519 alone unless it was asked for.
pub(super) fn refuse_classical(name: &str, suite: IdentitySuite, allowed: bool) -> Result<()> {
    if suite.is_post_quantum() || allowed {
        return Ok(());
    }
    let message = format!(
        "the identity of {name} is {} alone: what is shared with it can be recorded today and read by a quantum computer later; nothing was shared",
        suite_name(suite)
    );
    let hint = "ask for an identity made without --classical, or give --allow-classical";
    Err(Failure::new(
        Exit::Denied,
        "classical_identity",
        message,
        hint,
    ))
}

/// What lies there: an object, a folder, or nothing yet, which will be a folder.
pub(super) async fn kind_of(
    session: &Session,
    opened: &Opened,
    path: &VaultPath,
    version: bool,
) -> Result<Kind> {
    let usage =
        |message: &str, hint: &'static str| Err(Failure::usage(message, hint).at(path.to_string()));
    if version && path.as_folder {
        return usage(
            "a version is of an object",
            "name an object, without a / behind it",
        );
    }
    let failed = |e: kluis::Error| Failure::from(e).at(path.to_string());
    let some = opened
        .vault
        .list(path.prefix())
        .try_next()
        .await
        .map_err(failed)?;
    let is_object = !path.as_folder
        && match opened.vault.head(&path.path).await {
            Ok(_) => true,
            Err(kluis::Error::NotFound { .. }) => false,
            Err(error) => return Err(failed(error)),
        };
    match (is_object, some.is_some()) {
        (true, _) if version => Ok(Kind::Version),
        (false, _) if version => {
            let error = kluis::Error::NotFound {
                path: path.to_string(),
            };
            Err(error.into())
        }
        (true, false) => Ok(Kind::Object),
        (true, true) => usage(
            "an object and a folder of this name are there",
            "put a / behind the folder's name; an object beside a folder of its name cannot be shared by the command",
        ),
        (false, is_there) => {
            if !is_there && !path.is_root() {
                session.terminal.warn(&format!(
                    "{path}: nothing is in this folder yet; what is written to it will be shared"
                ));
            }
            Ok(Kind::Folder)
        }
    }
}

fn terms(args: &ShareArgs) -> Result<Terms> {
    let mut terms = Terms::reading();
    terms.write = args.write;
    terms.reshare = args.reshare;
    if args.from_now {
        terms.past = Past::HeldBack;
    }
    terms.not_before = args.from.as_deref().map(|t| time(t, false)).transpose()?;
    terms.not_after = args.until.as_deref().map(|t| time(t, true)).transpose()?;
    if let (Some(from), Some(until)) = (terms.not_before, terms.not_after)
        && from >= until
    {
        let message = "the access would end before it begins";
        return Err(Failure::usage(message, "give a later --until"));
    }
    if terms.not_after.is_some_and(|until| until <= now()) {
        let message = "the access would be over already";
        return Err(Failure::usage(message, "give a later --until"));
    }
    terms.purpose.clone_from(&args.purpose);
    Ok(terms)
}

/// Microseconds since 1970 of RFC 3339, or of a day: its beginning or its end.
pub(super) fn time(text: &str, end: bool) -> Result<u64> {
    let wrong = || {
        Failure::usage(
            format!("{text} is not a time after 1970"),
            "write 2026-12-31, or 2026-12-31T18:00:00Z",
        )
    };
    let time = match text.parse::<NaiveDate>() {
        Ok(day) if end => {
            let next = day.succ_opt().ok_or_else(wrong)?.and_time(NaiveTime::MIN);
            next.and_utc() - chrono::TimeDelta::microseconds(1)
        }
        Ok(day) => day.and_time(NaiveTime::MIN).and_utc(),
        Err(_) => DateTime::parse_from_rfc3339(text)
            .map_err(|_| wrong())?
            .with_timezone(&Utc),
    };
    let micros = u64::try_from(time.timestamp_micros()).map_err(|_| wrong())?;
    Some(micros).filter(|micros| *micros > 0).ok_or_else(wrong)
}

pub(super) fn written(micros: u64) -> Option<String> {
    rfc3339(SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros))?)
}

/// In words: `read and write, nothing of the past, until …, for …`.
fn describe(terms: &Terms) -> String {
    let mut text = rights(terms).to_owned();
    if terms.past == Past::HeldBack {
        text.push_str(", nothing of the past");
    }
    if terms.reshare {
        text.push_str(", and may give it on");
    }
    let beyond = || "the end of the calendar".to_owned();
    if let Some(from) = terms.not_before {
        text.push_str(&format!(", from {}", written(from).unwrap_or_else(beyond)));
    }
    if let Some(until) = terms.not_after {
        text.push_str(&format!(
            ", until {}",
            written(until).unwrap_or_else(beyond)
        ));
    }
    if !terms.purpose.is_empty() {
        text.push_str(&format!(", for {:?}", terms.purpose));
    }
    text
}

pub(super) fn rights(terms: &Terms) -> &'static str {
    if terms.write {
        "read and write"
    } else {
        "read"
    }
}

/// A grant that was just made, by an owner or by who gave it on.
struct Made<'a> {
    /// What stdout gets of it, where that is no JSON.
    line: &'a str,
    invitation: &'a str,
    grant: GrantId,
    prefixes: &'a Prefixes,
}

impl Made<'_> {
    /// Prints it, and what its grantee's credentials have to reach.
    fn print(&self, session: &Session, opened: &Opened, handing: &HandingOver) -> Result<()> {
        let url = opened.address.url();
        let principal = handing.policy.as_deref();
        let policy = principal.map(|principal| policy(url, self.prefixes, principal));
        let mut out = Output::new();
        if session.terminal.json() {
            out.message(&Message::Invitation {
                invitation: self.invitation,
                grant: self.grant.to_string(),
                prefixes: PrefixesMessage::of(self.prefixes),
                policy: policy.as_ref(),
            })?;
            return out.finish();
        }
        out.line(self.line)?;
        if let Some(policy) = &policy {
            out.line(&serde_json::to_string_pretty(policy).unwrap_or_default())?;
        }
        out.finish()?;
        note_prefixes(session, self.prefixes);
        Ok(())
    }
}

fn note_prefixes(session: &Session, prefixes: &Prefixes) {
    let list = |what: &str, keys: &[String]| {
        session
            .terminal
            .note(&format!("{what}: {}", keys.join(", ")));
    };
    session
        .terminal
        .note("what their own credentials of the store have to reach, below the vault:");
    list("  read", &prefixes.read);
    list("  list", &prefixes.list);
    if !prefixes.write.is_empty() {
        list("  write and delete", &prefixes.write);
    }
}

/// Exactly what a grantee needs. Nothing that is written is a record of the vault's.
fn policy(url: &Url, prefixes: &Prefixes, principal: &str) -> Value {
    let bucket = url.host_str().unwrap_or_default();
    let prefix = url.path().trim_matches('/');
    let below = |key: &String| match prefix {
        "" => key.clone(),
        prefix => format!("{prefix}/{key}"),
    };
    let object = |key: &String| {
        let all = if prefixes.single.contains(key) {
            ""
        } else {
            "/*"
        };
        format!("arn:aws:s3:::{bucket}/{}{all}", escaped(&below(key)))
    };
    let listed = prefixes.list.iter();
    let listed: Vec<_> = listed
        .map(|key| format!("{}/*", escaped(&below(key))))
        .collect();
    let mut statements = vec![
        json!({
            "Sid": "KluisRead",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": prefixes.read.iter().map(object).collect::<Vec<_>>(),
        }),
        json!({
            "Sid": "KluisList",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [format!("arn:aws:s3:::{bucket}")],
            "Condition": {"StringLike": {"s3:prefix": listed}},
        }),
    ];
    if !prefixes.write.is_empty() {
        statements.push(json!({
            "Sid": "KluisWrite",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": prefixes.write.iter().map(object).collect::<Vec<_>>(),
        }));
    }
    if !principal.is_empty() {
        for statement in &mut statements {
            statement["Principal"] = json!({"AWS": [principal]});
        }
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A policy takes these for patterns and variables.
fn escaped(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for c in key.chars() {
        match c {
            '*' | '?' | '$' => text.extend(["${", c.encode_utf8(&mut [0; 4]), "}"]),
            c => text.push(c),
        }
    }
    text
}

fn terms_message(terms: &Terms) -> TermsMessage<'_> {
    TermsMessage {
        write: terms.write,
        reshare: terms.reshare,
        past: terms.past == Past::Shared,
        from: terms.not_before.and_then(written),
        until: terms.not_after.and_then(written),
        purpose: &terms.purpose,
    }
}

fn given_message<'a>(grant: &'a Grant, state: &'a str) -> Message<'a> {
    given_with(grant, state, None)
}

/// With what the grantee's credentials have to reach.
fn given_with<'a>(grant: &'a Grant, state: &'a str, prefixes: Option<&'a Prefixes>) -> Message<'a> {
    Message::Grant(Box::new(GrantMessage {
        state,
        id: Some(grant.id.to_string()),
        path: grant.path.as_deref().unwrap_or_default(),
        kind: Some(kind_name(grant.kind)),
        to: Some(&grant.to),
        group: grant.group.as_deref(),
        grantor: None,
        fingerprint: Some(grant.fingerprint.to_string()),
        suite: Some(suite_name(grant.suite)),
        terms: Some(terms_message(&grant.terms)),
        given: rfc3339(grant.given),
        parent: grant.parent.map(|id| id.to_string()),
        prefixes: prefixes.map(PrefixesMessage::of),
        chain: Vec::new(),
        unfiled: false,
    }))
}

fn to_whom(grant: &Grant) -> String {
    match &grant.group {
        Some(group) if *group == grant.to => format!("the group {group}"),
        Some(group) => format!("{} in the group {group}", grant.to),
        None => grant.to.clone(),
    }
}

/// One grant in one line.
fn given_text(grant: &Grant) -> String {
    format!(
        "{} {} {} to {}: {}{}",
        grant.id,
        rfc3339(grant.given).as_deref().unwrap_or("-"),
        given_path(grant),
        to_whom(grant),
        describe(&grant.terms),
        match (grant.suite.is_post_quantum(), grant.parent) {
            (_, None) => classical(grant.suite).to_owned(),
            (true, Some(parent)) => format!(" (given on from {parent})"),
            (false, Some(parent)) => format!(" (classical, given on from {parent})"),
        },
    )
}

/// What is said behind whatever is sealed with X25519 alone.
fn classical(suite: IdentitySuite) -> &'static str {
    if suite.is_post_quantum() {
        ""
    } else {
        " (classical)"
    }
}

fn received_line(session: &Session, out: &mut Output, received: &Received) -> Result<()> {
    let grantor = received.grantor.to_string();
    let over = received.terms.not_after.is_some_and(|until| until < now());
    if session.terminal.json() {
        return out.message(&Message::Grant(Box::new(GrantMessage {
            state: if received.ended || over {
                "ended"
            } else {
                "received"
            },
            id: Some(received.id.to_string()),
            path: &received.name,
            kind: Some(kind_name(received.kind)),
            to: None,
            group: received.group.as_deref(),
            grantor: Some(grantor),
            fingerprint: None,
            suite: None,
            terms: Some(terms_message(&received.terms)),
            given: None,
            parent: None,
            prefixes: None,
            chain: received.chain.iter().map(giver_message).collect(),
            unfiled: received.unfiled,
        })));
    }
    let end = match (received.ended, over) {
        (true, _) => "; was taken back",
        (false, true) => "; has ended",
        (false, false) => "",
    };
    if received.kind == Kind::Group {
        return out.line(&format!(
            "{} the group {} from {grantor}{end}",
            received.id, received.name
        ));
    }
    out.line(&format!(
        "{} :{}{} from {}{}: {}{}{end}",
        received.id,
        received.name,
        mark(received.kind),
        from_whom(received),
        match &received.group {
            Some(group) => format!(" by the group {group}"),
            None => String::new(),
        },
        describe(&received.terms),
        unfiled(received),
    ))
}

fn giver_message(giver: &Giver) -> GiverMessage {
    GiverMessage {
        grantor: giver.grantor.to_string(),
        id: giver.id.to_string(),
    }
}

/// The words of who gave it, and where it was given on, of everybody up to the owner.
fn from_whom(received: &Received) -> String {
    let mut text = received.grantor.to_string();
    for giver in received.chain.iter().rev() {
        text.push_str(&format!(", who has it from {}", giver.grantor));
    }
    if !received.chain.is_empty() {
        text.push_str(", the owner of the vault");
    }
    text
}

fn unfiled(received: &Received) -> &'static str {
    if received.unfiled {
        "; the owner has not filed it yet"
    } else {
        ""
    }
}

pub(super) async fn shares(session: &Session) -> Result<()> {
    let opened = session.open_with_ended().await?;
    let mut out = Output::new();
    if is_received(&opened) {
        for received in opened.vault.received()? {
            received_line(session, &mut out, &received)?;
        }
    } else {
        let (grants, groups) = (opened.vault.grants()?, opened.vault.groups()?);
        let held = grants.iter().map(Held::Grant);
        for held in held.chain(groups.iter().flat_map(places)) {
            held.line(session, &mut out, "given")?;
        }
    }
    out.finish()
}

/// Whether the vault is somebody else's: an identity may also be a device of ours.
fn is_received(opened: &Opened) -> bool {
    matches!(opened.secret, Secret::Identity(_)) && opened.vault.card().is_err()
}

pub(super) async fn revoke(session: &Session, args: Revoke) -> Result<()> {
    let opened = session.open_default().await?;
    let (grants, groups) = (opened.vault.grants()?, opened.vault.groups()?);
    let places = groups.iter().flat_map(places);
    let held: Vec<Held<'_>> = grants.iter().map(Held::Grant).chain(places).collect();
    let mut chosen: Vec<Held<'_>> = Vec::new();
    for id in &args.grants {
        let found = match by_prefix(&held, id) {
            Err(mut failure) if failure.exit == Exit::NotFound => {
                let links = opened.vault.links()?;
                if id.len() >= 4 && links.iter().any(|l| l.id.to_string().starts_with(&**id)) {
                    failure.hint = format!("it is a link: `kluis link revoke {id}`");
                }
                return Err(failure);
            }
            found => found?,
        };
        if !chosen.iter().any(|other| other.id() == found.id()) {
            chosen.push(found);
        }
    }
    take_back(session, &opened, &chosen, &grants, &args.taking).await
}

/// What can be taken back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held<'a> {
    Grant(&'a Grant),
    /// A place in a group.
    Place(&'a GroupInfo, &'a GroupMember),
}

pub(super) fn places(group: &GroupInfo) -> impl Iterator<Item = Held<'_>> {
    let members = group.members.iter();
    members.map(move |member| Held::Place(group, member))
}

impl<'a> Held<'a> {
    pub(super) fn id(&self) -> GrantId {
        match self {
            Self::Grant(grant) => grant.id,
            Self::Place(_, member) => member.id,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Grant(grant) => given_text(grant),
            Self::Place(group, member) => format!(
                "{} {} the group {} to {}{}",
                member.id,
                rfc3339(member.since).as_deref().unwrap_or("-"),
                group.name,
                member.name,
                classical(member.suite)
            ),
        }
    }

    pub(super) fn line(&self, session: &Session, out: &mut Output, state: &str) -> Result<()> {
        if session.terminal.json() {
            return out.message(&self.message(state));
        }
        out.line(&self.text())
    }

    fn question(&self) -> String {
        match self {
            Self::Grant(grant) => {
                format!("take {} back from {}", given_path(grant), to_whom(grant))
            }
            Self::Place(group, member) => {
                format!("take {} out of the group {}", member.name, group.name)
            }
        }
    }

    /// The grants by which something is reached with it.
    fn reaches(self, grants: &'a [Grant]) -> Vec<&'a Grant> {
        match self {
            Self::Grant(grant) => vec![grant],
            Self::Place(group, _) => {
                let given = grants.iter();
                given
                    .filter(|g| g.group.as_ref() == Some(&group.name))
                    .collect()
            }
        }
    }

    fn message<'m>(&self, state: &'m str) -> Message<'m>
    where
        'a: 'm,
    {
        match self {
            Self::Grant(grant) => given_message(grant, state),
            Self::Place(group, member) => Message::Member(MemberMessage {
                state,
                id: member.id.to_string(),
                group: &group.name,
                name: &member.name,
                fingerprint: member.fingerprint.to_string(),
                suite: suite_name(member.suite),
                since: rfc3339(member.since),
            }),
        }
    }
}

/// Says what is taken back and for whom else that changes something, asks, does it, and
/// says what is left.
pub(super) async fn take_back(
    session: &Session,
    opened: &Opened,
    chosen: &[Held<'_>],
    grants: &[Grant],
    taking: &TakingBack,
) -> Result<()> {
    let ids: Vec<_> = chosen.iter().map(Held::id).collect();
    opened.vault.check_revoke(&ids)?;
    for held in chosen {
        let line = format!("takes back {}", held.text());
        session.terminal.before_asking(&line, taking.yes);
    }
    let below = opened.vault.below(&ids)?;
    for grant in &below {
        let line = format!(
            "and with it, because it was given on: {}",
            given_text(grant)
        );
        session.terminal.before_asking(&line, taking.yes);
    }
    let gone: Vec<_> = below.iter().map(|g| g.id).chain(ids.clone()).collect();
    let reached = chosen.iter().flat_map(|held| held.reaches(grants));
    let ending = Ending {
        places: reached
            .chain(&below)
            .map(|g| (g.path.as_deref(), g.kind))
            .collect(),
        taking,
    };
    let stay = grants.iter().filter(|grant| !gone.contains(&grant.id));
    ending.announce(session, opened, stay, None)?;
    let question = match chosen {
        [one] if below.is_empty() => one.question(),
        all => format!("take {} grants back", all.len() + below.len()),
    };
    confirm(&question, taking.yes).await?;
    let revoked = opened.vault.revoke(&ids).await?;
    if session.terminal.json() {
        let mut out = Output::new();
        for held in chosen {
            out.message(&held.message("revoked"))?;
        }
        for grant in &below {
            out.message(&given_message(grant, "revoked"))?;
        }
        out.finish()?;
    }
    let are_versions = |held: &Held<'_>| matches!(held, Held::Grant(g) if g.kind == Kind::Version);
    let note = if chosen.iter().all(are_versions) {
        "taken back: the holder's client is told; who has kept the key reads this version until the object is written again, in every copy of it; hint: end their credentials of the store too"
    } else {
        "taken back: what is written from now on, by clients that know of it, is out of reach; what was written before stays readable to whoever has kept the keys and gets at the bytes, until it is written again; hint: end their credentials of the store too, and give the pin above to programs that keep no state"
    };
    ending.done(session, opened, &revoked, &[note]).await
}

/// Where something is, and how much of it; nowhere for the whole vault.
type Place<'a> = (Option<&'a str>, Kind);

/// Access that is taken back, from people or from whoever has a link: who is told what,
/// before and after.
pub(super) struct Ending<'a> {
    pub(super) places: Vec<Place<'a>>,
    pub(super) taking: &'a TakingBack,
}

impl Ending<'_> {
    /// Where new keys follow: not where one version is taken back.
    fn closing(&self) -> Vec<Place<'_>> {
        let places = self.places.iter().copied();
        places.filter(|(_, kind)| *kind != Kind::Version).collect()
    }

    /// What it changes, who gets the new keys, and who goes on to read by a link other than
    /// the one that is `withdrawn`.
    pub(super) fn announce<'a>(
        &self,
        session: &Session,
        opened: &Opened,
        stay: impl Iterator<Item = &'a Grant>,
        withdrawn: Option<LinkId>,
    ) -> Result<()> {
        let closing = self.closing();
        if !closing.is_empty() {
            let line = reach(&closing, stay);
            session.terminal.before_asking(&line, self.taking.yes);
        }
        let links = self.links(opened)?;
        for link in links.iter().filter(|link| Some(link.id) != withdrawn) {
            session
                .terminal
                .before_asking(&still_reads(link), self.taking.yes);
        }
        Ok(())
    }

    /// Links in force to what is taken back, around it, or to something in it.
    fn links(&self, opened: &Opened) -> Result<Vec<LinkInfo>> {
        let mut links = opened.vault.links()?;
        links.retain(|link| {
            let own = (link.path.as_deref(), link.kind);
            let mut places = self.places.iter();
            places.any(|place| meets(*place, own))
        });
        Ok(links)
    }

    /// The pin, what it comes to, by which roads the same people and others go on, and what
    /// can still be read of each folder.
    pub(super) async fn done(
        &self,
        session: &Session,
        opened: &Opened,
        revoked: &Revoked,
        notes: &[&str],
    ) -> Result<()> {
        let terminal = &session.terminal;
        // The pin first: it is there whatever becomes of the counting.
        let mut out = Output::new();
        let pin = revoked.pin.to_string();
        if terminal.json() {
            out.message(&Message::Pin { pin: &pin })?;
        } else {
            out.line(&pin)?;
        }
        out.finish()?;
        for note in notes {
            terminal.note(note);
        }
        for grant in &revoked.remaining {
            terminal.warn(&format!("{} keeps {}", grant.to, given_text(grant)));
        }
        for link in self.links(opened)? {
            terminal.warn(&still_reads(&link));
        }
        if self.taking.no_receipt {
            return Ok(());
        }
        for folder in outermost(&self.closing()) {
            let receipt = opened.vault.receipt(folder).await?;
            print_receipt(session, &receipt, &revoked.remaining)?;
        }
        Ok(())
    }
}

fn still_reads(link: &LinkInfo) -> String {
    let path = link.path.as_deref().unwrap_or_default();
    let until = link.terms.not_after.and_then(written);
    format!(
        "whoever has link {} still reads :{path}{}{}",
        link.id,
        mark(link.kind),
        until.map_or_else(String::new, |until| format!(", until {until}")),
    )
}

/// Whether there is something that lies in both.
fn meets(one: Place<'_>, other: Place<'_>) -> bool {
    let holds = |(path, kind): Place<'_>, (inner, _): Place<'_>| {
        path == inner || kind == Kind::Folder && contains(path, inner)
    };
    holds(one, other) || holds(other, one)
}

/// The folders of these places that lie in none of the others; none is everything.
fn outermost<'a>(places: &[Place<'a>]) -> BTreeSet<Option<&'a str>> {
    let folders: BTreeSet<_> = places.iter().map(|(path, _)| *path).collect();
    let is_inner = |folder: &Option<&str>| {
        let mut others = folders.iter().filter(|other| *other != folder);
        others.any(|other| contains(*other, *folder))
    };
    folders.iter().copied().filter(|f| !is_inner(f)).collect()
}

/// Whether a folder is another, or lies in it.
pub(super) fn contains(outer: Option<&str>, inner: Option<&str>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// What taking these back changes, and for whom else.
fn reach<'a>(closing: &[Place<'_>], stay: impl Iterator<Item = &'a Grant>) -> String {
    let folders = outermost(closing);
    let name = |path: &Option<&str>| format!(":{}", path.unwrap_or_default());
    let names: Vec<_> = folders.iter().map(name).collect();
    if closing.iter().all(|(_, kind)| *kind == Kind::Object) {
        return format!(
            "what {} lies in gets new keys, for all who remain",
            names.join(", ")
        );
    }
    let stay: BTreeSet<String> = stay
        .filter(|grant| {
            let own = grant.path.as_deref();
            let mut folders = folders.iter();
            folders.any(|f| contains(*f, own) || contains(own, *f))
        })
        .map(to_whom)
        .collect();
    let stay: Vec<_> = stay.into_iter().collect();
    format!(
        "{} and everything in it gets new keys, {}",
        names.join(", "),
        match &stay[..] {
            [] => "which go to nobody else".to_owned(),
            stay => format!("which go to {}", stay.join(", ")),
        }
    )
}

fn print_receipt(session: &Session, receipt: &Receipt, remaining: &[Grant]) -> Result<()> {
    let path = receipt.folder.as_deref().unwrap_or_default();
    if session.terminal.json() {
        let remaining = remaining.iter().map(|g| g.id.to_string());
        return session.terminal.message(&Message::Receipt {
            path,
            objects: receipt.objects,
            bytes: receipt.bytes,
            unknown: receipt.unknown,
            ledger: receipt.ledger,
            remaining: remaining.collect(),
            links: receipt.links.iter().map(ToString::to_string).collect(),
        });
    }
    let folder = format!(":{path}");
    let what = if receipt.is_empty() {
        "nothing".to_owned()
    } else {
        let counted = crate::transfer::plural(receipt.objects, "object");
        let bytes = crate::terminal::human_bytes(receipt.bytes);
        let unknown = match receipt.unknown {
            0 => String::new(),
            n => format!(
                ", and perhaps {} that cannot be looked at",
                crate::transfer::plural(n, "object")
            ),
        };
        format!("{counted} ({bytes}){unknown}")
    };
    let hint = if receipt.is_empty() {
        String::new()
    } else {
        format!("; hint: `kluis reencrypt {folder}` writes it again, and then it is nothing")
    };
    session.terminal.note(&format!(
        "what can still be read of {folder} with what was taken back, at the most: {what}, as of entry {} of the ledger, and what the store kept of the past{hint}",
        receipt.ledger
    ));
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

pub(super) fn by_prefix<'a>(held: &[Held<'a>], id: &str) -> Result<Held<'a>> {
    let mut matching = held.iter().filter(|h| h.id().to_string().starts_with(id));
    match (matching.next(), matching.next()) {
        (Some(found), None) if id.len() >= 4 => Ok(*found),
        (Some(_), _) => Err(Failure::usage(
            format!("{id} is not enough to name one grant"),
            "give more of the id that `kluis shares` prints",
        )),
        (None, _) => Err(Failure::not_found(
            format!("no grant in force begins with {id}"),
            "see `kluis shares`",
        )),
    }
}

pub(super) async fn accept(session: &Session, args: Accept) -> Result<()> {
    let secrets = &session.common.secrets;
    secrets.check()?;
    if let Some(name) = &args.forget {
        return forget(session, name).await;
    }
    let argument = args.offer.as_deref().unwrap_or_default();
    let (address, invitation, grant) = offer(argument)?;
    // The same store may have another address here.
    let target = match &session.common.vault {
        Some(given) => session.given(given).await?,
        None => Session::at_address(&address, None)?,
    };
    let target = of_vault(target, invitation.vault())?;
    let configured = || target.config.as_ref()?.identity.clone();
    let copy = grant.as_ref().filter(|file| !file.copy().is_empty());
    let Some(file) = secrets.given_identity().or_else(configured) else {
        if let Some(copy) = copy {
            return file_copy(session, copy, &args).await;
        }
        return Err(Failure::usage(
            "what is shared is accepted with an identity",
            "give --identity FILE, or set KLUIS_IDENTITY; `kluis identity new` makes one",
        ));
    };
    let identity = open_identity(session, &file, &target).await?;
    let store = Store::open(target.address.url(), false)?;
    let options = session.options(&target.address)?;
    let objects = store.objects.clone();
    let vault = match &grant {
        Some(file) => options.open_file(objects, &identity, file).await,
        None => options.open_as(objects, &identity, &invitation).await,
    };
    let vault = vault
        .map_err(|error| not_opened(session, error, copy.is_some()).at(target.label.clone()))?;
    let received = vault.received()?;
    let of_it = |r: &&Received| r.letter == invitation.letter();
    if received.iter().find(of_it).is_some_and(|r| r.ended) {
        let denied = kluis::Error::AccessDenied {
            what: "what was offered: it was taken back".to_owned(),
        };
        return Err(as_member(denied).at(target.label.clone()));
    }
    let Some(received) = received.iter().find(of_it) else {
        if let Some(copy) = copy {
            return file_copy(session, copy, &args).await;
        }
        let message = "the vault is your own; there is nothing to accept";
        return Err(Failure::usage(
            message,
            "give the invitation to whom it is for",
        ));
    };
    show_offer(session, &target.label, received, args.yes);
    let name = args.name.as_deref();
    let taken = |error| match error {
        kluis::Error::AlreadyExists { path } => Failure::exists(
            format!("a share named {path} was accepted from this vault already"),
            format!(
                "give this one another name with --as NAME, or forget the other: `kluis accept --vault {} --forget {}`",
                quoted(target.address.url().as_str()),
                quoted(&path)
            ),
        ),
        other => other.into(),
    };
    if let Some(over) = vault.check_accept(&invitation, name).await.map_err(taken)? {
        let line = format!("it takes the place of grant {over}, which is not in force any more");
        session.terminal.before_asking(&line, args.yes);
    }
    confirm("accept it", args.yes).await?;
    vault.accept(&invitation, name).await.map_err(taken)?;
    let again = session.options(&target.address)?;
    let vault = again
        .open(store.objects, identity)
        .await
        .map_err(|e| as_member(e).at(target.label.clone()))?;
    let received = vault.received()?;
    let mut out = Output::new();
    for received in received.iter().filter(|r| r.letter == invitation.letter()) {
        if session.terminal.json() {
            received_line(session, &mut out, received)?;
        } else if received.kind == Kind::Group {
            session.terminal.note(&format!(
                "you are in the group {}; hint: accept what it was given, by the invitations that are the same for all its members",
                received.name
            ));
            return out.finish();
        } else {
            out.line(&format!(":{}", received.name))?;
        }
    }
    out.finish()?;
    session.terminal.note(&format!(
        "accepted; hint: `kluis ls --vault {} --identity {}`",
        target.address.url(),
        file.display()
    ));
    Ok(())
}

/// Why an offer does not open, which the owner may have to file.
fn not_opened(session: &Session, error: kluis::Error, may_be_filed: bool) -> Failure {
    let is_grant = match &error {
        kluis::Error::Tampered { what } | kluis::Error::NotFound { path: what } => {
            what == "the grant"
        }
        _ => false,
    };
    let mut failure = as_member(error);
    match failure.exit {
        Exit::NotAsWritten if is_grant => {
            failure.message = "this grant does not open with this identity: it is for somebody else, for a group in which you have not accepted your place, or it was altered".to_owned();
            failure.hint = "compare `kluis identity show` with whom it is for, accept the place in the group first, or ask for the grant anew".to_owned();
        }
        Exit::NotFound if is_grant => {
            failure.message = "the store has no such grant".to_owned();
            failure.hint = "ask who sent it for a new one; what somebody gave on is accepted from the file that they made, not from an invitation".to_owned();
        }
        _ => return failure,
    }
    if may_be_filed {
        failure
            .hint
            .push_str("; the owner of the vault files it without an identity");
        return session.by_the_environment(failure, Exit::NotAsWritten);
    }
    failure
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | ':' | '-' | '_' | '%');
    match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// On this device alone, and without a request or a password.
async fn forget(session: &Session, name: &str) -> Result<()> {
    let target = session.default_target().await?;
    let options = session.options(&target.address)?;
    let forgotten = options
        .forget_accepted(name)
        .await
        .map_err(|error| match error {
            kluis::Error::NotFound { .. } => Failure::not_found(
                format!("nothing was accepted from {} as {name}", target.label),
                "see `kluis shares`",
            ),
            other => other.into(),
        })?;
    for name in forgotten {
        session.terminal.note(&format!(
            "{name} is forgotten on this device; hint: accept it again with its invitation"
        ));
    }
    Ok(())
}

/// An invitation, or the file of a grant, which holds one.
fn offer(argument: &OsStr) -> Result<(Address, Invitation, Option<GrantFile>)> {
    let path = Path::new(argument);
    let invited = |text: &str| {
        let (address, invitation) = Invitation::parse_at(text.trim()).map_err(|error| {
            let hint = "copy the whole line that `kluis share` printed, in quotes; a link is read with `kluis get`";
            Failure::from(error).or_invalid(hint)
        })?;
        Ok((address, invitation, None))
    };
    if let Some(text) = argument.to_str().filter(|text| text.contains("://")) {
        return invited(text);
    }
    let shown = || path.display().to_string();
    if argument != "-"
        && path
            .metadata()
            .is_err_and(|e| e.kind() == ErrorKind::NotFound)
    {
        let message = "it is neither an invitation nor a file";
        let hint = "give what `kluis share` printed, or the file that `kluis share --out` wrote";
        return Err(Failure::usage(message, hint).at(shown()));
    }
    let text = read_public(path, GrantFile::MAX_TEXT, "a grant")?;
    if text.contains("://") {
        return invited(&text);
    }
    let file = GrantFile::from_armor(&text);
    let file = file.map_err(|e| Failure::file(e, "a grant").at(shown()))?;
    let (address, invitation) = Invitation::of_file(&file)?;
    Ok((address, invitation, Some(file)))
}

async fn open_identity(
    session: &Session,
    file: &Path,
    target: &Target,
) -> Result<std::sync::Arc<kluis::Identity>> {
    let secrets = &session.common.secrets;
    secrets
        .open_identity(file, target.config.as_ref(), session.cache())
        .await
}

/// What is offered, and by whom: what the person who accepts has to know.
fn show_offer(session: &Session, label: &str, received: &Received, yes: bool) {
    let terms = describe(&received.terms) + unfiled(received);
    for line in [
        match received.kind {
            Kind::Group => format!("{label} offers a place in the group {}", received.own_name),
            Kind::Folder if received.own_name.is_empty() => {
                format!("{label} offers everything in the vault: {terms}")
            }
            kind => format!(
                "{label} offers the {} {:?}: {terms}",
                kind_name(kind),
                received.own_name
            ),
        },
        format!("from {}", from_whom(received)),
        if received.chain.is_empty() {
            "these are the words that its owner sees in `kluis identity show`: compare them"
        } else {
            "these are the words that each of them sees in `kluis identity show`: compare them"
        }
        .to_owned(),
    ] {
        session.terminal.before_asking(&line, yes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_and_ends_in_utc() {
        assert_eq!(time("1970-01-02", false).unwrap(), 86_400_000_000);
        assert_eq!(time("1970-01-01", true).unwrap(), 86_399_999_999);
        assert_eq!(time("1970-01-01T01:00:01+01:00", true).unwrap(), 1_000_000);
        for wrong in [
            "",
            "tomorrow",
            "1970-01-01",
            "1969-12-31T23:59:59Z",
            "2026-13-01",
            "1700000000",
        ] {
            assert_eq!(time(wrong, false).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_hint_works_as_it_is_written() {
        assert_eq!(quoted("s3://b/my-photos_2.x"), "s3://b/my-photos_2.x");
        assert_eq!(quoted("my photos"), "'my photos'");
        assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_key_is_no_pattern() {
        assert_eq!(escaped("a/b"), "a/b");
        assert_eq!(escaped("*?$"), "${*}${?}${$}");
    }
}
