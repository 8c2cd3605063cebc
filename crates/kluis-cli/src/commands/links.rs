//! `link` and `get`.

use super::copy::{Target, base};
use super::read::to_stdout;
use super::sharing::{Ending, kind_name, mark};
use crate::address::{VaultPath, refuse_url};
use crate::args::{Get, LinkVerb, TakingBack};
use crate::exit::{Exit, Failure, Result};
use crate::json::LinkMessage;
use crate::secrets::{self, Secret};
use crate::session::{Opened, Session};
use crate::store::{SignedStore, Store};
use crate::terminal::{Message, Output, confirm, rfc3339};
use crate::transfer::{From, InVault, Job, Transfer, Walk};
use futures_util::StreamExt;
use kluis::object_store::path::Path as StorePath;
use kluis::{Address, FoundLink, KdfParams, Kind, Link, LinkInfo, LinkOptions, Password};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// How long a store delivers what it signed, unless told: the most that S3 takes.
const SIGNED_FOR: Duration = Duration::from_secs(7 * 86_400);

pub(super) async fn link(session: &Session, verb: LinkVerb) -> Result<()> {
    match verb {
        LinkVerb::Create {
            path,
            password,
            link_password_file,
            expires,
            purpose,
            no_presign,
            yes,
        } => {
            let path = VaultPath::parse(&path)?;
            let expires = expires.as_deref().map(duration).transpose()?;
            session.target(&path).await?;
            let opened = session.open_for(&path).await?;
            let kind = super::sharing::kind_of(session, &opened, &path, false).await?;
            if path.is_root() {
                let line = "this gives everything in the vault, now and later, to whoever will have the URL";
                session.terminal.before_asking(line, yes);
                confirm("make a link to the whole vault", yes).await?;
            }
            let password = match link_password_file {
                Some(file) => Some(secrets::of_file(&file).await?),
                None if password => Some(secrets::of_link().await?),
                None => None,
            };
            let wanted = Wanted {
                path,
                kind,
                password,
                expires,
                purpose,
                no_presign,
            };
            create(session, &opened, wanted).await
        }
        LinkVerb::List => list(session).await,
        LinkVerb::Revoke { id, taking } => revoke(session, &id, &taking).await,
    }
}

struct Wanted {
    path: VaultPath,
    kind: Kind,
    password: Option<Zeroizing<String>>,
    expires: Option<Duration>,
    purpose: String,
    no_presign: bool,
}

async fn create(session: &Session, opened: &Opened, wanted: Wanted) -> Result<()> {
    let signer = opened.store.signer.clone().filter(|_| !wanted.no_presign);
    let mut options = match &signer {
        Some(signer) => {
            LinkOptions::presigned(Arc::clone(signer), wanted.expires.unwrap_or(SIGNED_FOR))
        }
        None => {
            let options = LinkOptions::at(&opened.address);
            match wanted.expires {
                Some(after) => options.expires(after),
                None => options,
            }
        }
    };
    options = options.purpose(wanted.purpose);
    if let Some(password) = &wanted.password {
        options = options.password(Password::new(password), KdfParams::default());
    }
    let path = &wanted.path;
    let made = match wanted.kind {
        Kind::Object => opened.vault.link_object(&path.path, options).await,
        _ => opened.vault.link(path.prefix(), options).await,
    };
    let made = made.map_err(|e| Failure::from(e).at(path.to_string()))?;
    let url = made.link.expose();
    let mut out = Output::new();
    let until = made.until.and_then(rfc3339);
    if session.terminal.json() {
        let links = opened.vault.links()?;
        for info in links.iter().filter(|info| info.id == made.id) {
            out.message(&Message::Link(Box::new(message(
                info,
                "made",
                Some(&url),
                Some(made.objects),
            ))))?;
        }
    } else {
        out.line(&url)?;
    }
    out.finish()?;
    let terminal = &session.terminal;
    terminal.note(&format!(
        "linked {path}{}; link {}; whoever has this URL{} can read, and hand it on; hint: give it on a way that only they read",
        mark(wanted.kind),
        made.id,
        if wanted.password.is_some() { " and its password" } else { "" },
    ));
    match (&signer, &until) {
        (Some(_), until) => terminal.note(&format!(
            "server-enforced: the store delivers {}, to whoever has the URL and without an account, until {}",
            match wanted.kind {
                // Its URL is of its place.
                Kind::Object => "what lies there".to_owned(),
                _ => format!(
                    "the {} that are there now",
                    crate::transfer::plural(made.objects as u64, "object")
                ),
            },
            until.as_deref().unwrap_or("-"),
        )),
        (None, until) => {
            terminal.note("the URL names the store: to read takes credentials of one's own that read there");
            if let Some(until) = until {
                terminal.note(&format!(
                    "until {until}, which clients keep to; the store enforces nothing"
                ));
            }
        }
    }
    terminal.note(&format!(
        "cryptography ends it, for what is written from then on, with `kluis link revoke {}`",
        made.id
    ));
    Ok(())
}

/// `90s`, `30m`, `12h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let wrong = || {
        Failure::usage(
            format!("{text} is not a time from now"),
            "write 30m, 12h or 7d",
        )
    };
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = digits.parse::<u64>().ok();
    let seconds = seconds.and_then(|count| count.checked_mul(unit));
    // A hundred years are a mistake, and none at all is one too.
    let seconds = seconds.filter(|s| (1..=100 * 366 * 86_400).contains(s));
    Ok(Duration::from_secs(seconds.ok_or_else(wrong)?))
}

fn message<'a>(
    info: &'a LinkInfo,
    state: &'a str,
    url: Option<&'a str>,
    objects: Option<usize>,
) -> LinkMessage<'a> {
    LinkMessage {
        state,
        id: info.id.to_string(),
        path: info.path.as_deref().unwrap_or_default(),
        kind: kind_name(info.kind),
        url,
        until: until(info),
        presigned: info.terms.presigned,
        objects,
        password: info.has_password,
        purpose: &info.terms.purpose,
        made: rfc3339(info.made),
    }
}

fn until(info: &LinkInfo) -> Option<String> {
    let until = Duration::from_micros(info.terms.not_after?);
    rfc3339(SystemTime::UNIX_EPOCH.checked_add(until)?)
}

/// One link in one line.
fn text(info: &LinkInfo) -> String {
    let mut line = format!(
        "{} {} :{}{}",
        info.id,
        rfc3339(info.made).as_deref().unwrap_or("-"),
        info.path.as_deref().unwrap_or_default(),
        mark(info.kind)
    );
    if let Some(until) = until(info) {
        line.push_str(&format!(", until {until}"));
    }
    if info.terms.presigned {
        line.push_str(", delivered by the store");
    }
    if info.has_password {
        line.push_str(", with a password");
    }
    if !info.terms.purpose.is_empty() {
        line.push_str(&format!(", for {:?}", info.terms.purpose));
    }
    line
}

async fn list(session: &Session) -> Result<()> {
    let opened = session.open_default().await?;
    let mut out = Output::new();
    for info in opened.vault.links()? {
        line(session, &mut out, &info, "given")?;
    }
    out.finish()
}

fn line(session: &Session, out: &mut Output, info: &LinkInfo, state: &str) -> Result<()> {
    if session.terminal.json() {
        return out.message(&Message::Link(Box::new(message(info, state, None, None))));
    }
    out.line(&text(info))
}

async fn revoke(session: &Session, id: &str, taking: &TakingBack) -> Result<()> {
    let opened = session.open_default().await?;
    let links = opened.vault.links()?;
    let mut matching = links.iter().filter(|l| l.id.to_string().starts_with(id));
    let info = match (matching.next(), matching.next()) {
        (Some(info), None) if id.len() >= 4 => info,
        (Some(_), _) => {
            return Err(Failure::usage(
                format!("{id} is not enough to name one link"),
                "give more of the id that `kluis link list` prints",
            ));
        }
        (None, _) => {
            let groups = opened.vault.groups()?;
            let places = groups.iter().flat_map(|g| &g.members).map(|m| m.id);
            let grants = opened.vault.grants()?;
            let mut grants = grants.iter().map(|g| g.id).chain(places);
            let is_grant = id.len() >= 4 && grants.any(|g| g.to_string().starts_with(id));
            return Err(Failure::not_found(
                format!("no link in force begins with {id}"),
                match is_grant {
                    true => format!("it is a grant: `kluis revoke {id}`"),
                    false => "see `kluis link list`".to_owned(),
                },
            ));
        }
    };
    let what = format!("withdraws {}", text(info));
    session.terminal.before_asking(&what, taking.yes);
    let ending = Ending {
        places: vec![(info.path.as_deref(), info.kind)],
        taking,
    };
    ending.announce(
        session,
        &opened,
        opened.vault.grants()?.iter(),
        Some(info.id),
    )?;
    let path = info.path.as_deref().unwrap_or_default();
    confirm(&format!("withdraw the link to :{path}"), taking.yes).await?;
    let revoked = opened.vault.revoke_link(&info.id).await?;
    if session.terminal.json() {
        let mut out = Output::new();
        line(session, &mut out, info, "withdrawn")?;
        out.finish()?;
    }
    let mut notes = vec![
        "withdrawn: what is written from now on, by clients that know of it, is out of reach; what was written before stays readable to whoever has opened the link and gets at the bytes, until it is written again; hint: give the pin above to programs that keep no state",
    ];
    if info.terms.presigned {
        notes.push(
            "the store goes on to deliver what it signed, until that time is over; what is written again, it delivers sealed with keys that the link does not give",
        );
    }
    ending.done(session, &opened, &revoked, &notes).await
}

pub(super) async fn get(session: &Session, args: Get) -> Result<()> {
    let to_pipe = args.destination.as_deref() == Some(OsStr::new("-"));
    if to_pipe {
        session.terminal.stdout_is_content();
    }
    let link = read_link(&args.url)?;
    let (store, address, signed) = open_store(&link)?;
    let found = FoundLink::find(store.objects.clone(), &link).await;
    let found = found.map_err(as_reader)?;
    let password = match found.has_password() {
        true => Some(
            session
                .common
                .secrets
                .link_password(session.cache())
                .await?,
        ),
        false => None,
    };
    let password = password.as_ref().map(Password::new);
    let vault = found.open(password).await.map_err(as_reader)?;
    let link = vault.opened_link()?;
    let link = link.ok_or_else(|| Failure::usage("this is no link", "copy all of it"))?;
    if let Some(signed) = signed {
        signed.add(&link.objects).map_err(|error| {
            let hint = "do not use it; ask whoever gave it to you";
            Failure::new(Exit::NotAsWritten, "tampered", error.to_string(), hint)
        })?;
    }
    let name = match &*link.name {
        "" => "vault",
        name => name,
    };
    let is_object = link.kind == Kind::Object;
    if to_pipe && !is_object {
        let hint = "name a folder for it to go to";
        return Err(Failure::usage(
            "it leads to a folder, and `-` takes one object",
            hint,
        ));
    }
    // In somebody's home a hidden folder or file is where programs look for what they
    // obey, and whoever made the link chose its name.
    let keeps_name = match &args.destination {
        None => true,
        Some(to) => is_object && Target::is_folder(Path::new(to)),
    };
    if keeps_name && name.starts_with('.') {
        let what = if is_object { "file" } else { "folder" };
        return Err(Failure::usage(
            format!("the link's own name, {name:?}, is that of a hidden {what}"),
            "say where it goes: kluis get URL DESTINATION",
        ));
    }
    let dry_run = args.transfer.dry_run;
    let listing = vault.list(None).peekable();
    let opened = Arc::new(Opened {
        vault,
        store,
        secret: Secret::Link,
        address,
        ended: Vec::new(),
    });
    if to_pipe {
        let path = VaultPath {
            vault: None,
            path: name.to_owned(),
            as_folder: false,
        };
        return match dry_run {
            true => Ok(()),
            false => to_stdout(&opened, &path, None).await,
        };
    }
    if let Some(destination) = &args.destination {
        refuse_url(destination)?;
    }
    let target = args.destination.map(PathBuf::from);
    let place = match (&target, is_object) {
        (Some(target), true) if Target::is_folder(target) => target.join(name),
        (Some(target), _) => target.clone(),
        (None, _) => PathBuf::from(name),
    };
    let (to, below, walk) = match (is_object, target) {
        (true, target) => {
            let target = target.unwrap_or_else(|| PathBuf::from("./"));
            let into = Target::is_folder(&target).then_some(name);
            (Target::of_file(&target, into)?, name, Walk::Itself)
        }
        (false, target) => {
            let folder = target.unwrap_or_else(|| Path::new(".").join(name));
            let walk = Walk::Listing(Mutex::new(Some(listing)));
            (Target::of_folder(folder), "", walk)
        }
    };
    let from = InVault {
        opened,
        name: String::new(),
        path: below.to_owned(),
    };
    let jobs = vec![Job {
        from: From::Vault(Arc::new(from)),
        to: to.open(dry_run)?,
        walk,
    }];
    let options = crate::transfer::Options {
        verb: "get",
        done: "copied",
        ..base(session, &args.transfer, &jobs)
    };
    Transfer::new(options, jobs, session.terminal.clone(), session.cancel())
        .run()
        .await?;
    if !dry_run {
        let there = if is_object { "it is" } else { "they are in" };
        session
            .terminal
            .note(&format!("{there} {}", place.display()));
    }
    Ok(())
}

/// The link of an argument, or, with `-`, of stdin, which nobody else on the machine
/// can see.
fn read_link(argument: &OsStr) -> Result<Link> {
    const LONGEST: u64 = 64 << 10;
    let text = if argument == "-" {
        let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize));
        let stdin = std::io::stdin().lock();
        stdin
            .take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|e| Failure::io("cannot read the link on stdin", &e))?;
        text
    } else {
        let text = argument.to_str().ok_or_else(|| {
            Failure::usage("this is not a link", "copy all of it, from its beginning")
        })?;
        Zeroizing::new(text.to_owned())
    };
    text.parse().map_err(|error| {
        let mut failure = Failure::from(error);
        if failure.exit == Exit::Usage {
            "copy all of it, in quotes: a shell takes & and # for its own"
                .clone_into(&mut failure.hint);
        }
        failure
    })
}

fn open_store(link: &Link) -> Result<(Store, Address, Option<Arc<SignedStore>>)> {
    if let Some(address) = link.address() {
        return Ok((Store::open(address.url(), false)?, address, None));
    }
    let wrong = || Failure::usage("this is not a link", "copy all of it");
    let url = link.signed_url().ok_or_else(wrong)?;
    let path = StorePath::parse(link.record()).map_err(|_| wrong())?;
    let signed = SignedStore::new(url.clone(), path).map_err(|error| {
        let hint = "check the network's settings";
        Failure::new(Exit::Error, "store", error.to_string(), hint)
    })?;
    let signed = Arc::new(signed);
    let mut bare = url.clone();
    bare.set_query(None);
    let store = Store {
        objects: signed.clone(),
        folder: None,
        signer: None,
    };
    Ok((store, Address::new(bare, Some(link.vault()))?, Some(signed)))
}

/// What goes wrong for somebody who has nothing but the link.
fn as_reader(error: kluis::Error) -> Failure {
    let mut failure = Failure::from(error);
    let hint = match &*failure.code {
        "access_denied" => {
            "ask whoever gave it to you for a new link; one that names a store takes credentials that read there"
        }
        "wrong_credentials" => {
            failure.message = "wrong password of the link".to_owned();
            "ask whoever gave it to you; it is not the password of a vault"
        }
        "tampered" => "nothing of it was released; ask whoever gave it to you",
        _ => return failure,
    };
    hint.clone_into(&mut failure.hint);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_now() {
        for (text, seconds) in [("1s", 1), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds));
        }
        for wrong in [
            "",
            "s",
            "7",
            "0s",
            "-1d",
            "+1d",
            "1.5h",
            "7 d",
            "d7",
            "1w",
            "1é",
            "99999999999999999999s",
            "18446744073709551615d",
            "40000d",
        ] {
            assert_eq!(duration(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
