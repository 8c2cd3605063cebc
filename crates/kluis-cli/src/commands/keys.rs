//! `init`, `passwd`, `key` and `recovery`: what opens a vault.

use crate::args::{Init, Kdf, KdfArgs, Key, NewSecrets, Passwd, Recovery};
use crate::config::read_text;
use crate::exit::{Exit, Failure, Result};
use crate::secrets::{Secret, create_private, read_or_make_keyfile};
use crate::session::{Opened, Session, Target, device_state};
use crate::store::Store;
use crate::terminal::{Message, Output, confirm, rfc3339};
use kluis::{
    Address, DeviceState, KdfParams, RecoveryKit, RecoveryPhrase, SlotInfo, SlotKind, Vault,
};
use std::io::{self, Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

pub(super) fn params(kdf: Kdf) -> KdfParams {
    match kdf {
        Kdf::Mobile => KdfParams::MOBILE,
        Kdf::Desktop => KdfParams::DESKTOP,
        Kdf::Paranoid => KdfParams::PARANOID,
    }
}

/// What was asked for, or what the slot in use has: a change never makes
/// guessing cheaper unasked.
fn cost(opened: &Opened, kdf: &KdfArgs) -> Result<KdfParams> {
    let slots = opened.vault.slots()?;
    let current = slots.iter().find(|s| s.current).and_then(|s| s.kdf);
    Ok(kdf.kdf.map(params).or(current).unwrap_or_default())
}

pub(super) async fn init(session: &Session, args: Init) -> Result<()> {
    session.common.secrets.check()?;
    let target = match &args.url {
        Some(_) if session.common.vault.is_some() => {
            return Err(Failure::usage(
                "two vaults were named",
                "give the URL or --vault",
            ));
        }
        Some(url) => session.given(url).await?,
        None => session.default_target().await?,
    };
    if target.address.id().is_some() {
        let hint = "leave out `#` and what follows it";
        return Err(Failure::usage("a new vault gets its own id", hint));
    }
    let failed = |f: Failure| f.at(target.label.clone());
    is_free(session, &target, args.forget)
        .await
        .map_err(failed)?;
    let secret = session.common.secrets.create(&target.label).await?;
    let store = Store::open(target.address.url(), true)?;
    let vault = session
        .options(&target.address)?
        .padded(args.padded)
        .signed(args.signed)
        .kdf(args.kdf.kdf.map(params).unwrap_or_default())
        .create(store.objects.clone(), secret.credential()?)
        .await
        .map_err(|e| match e {
            kluis::Error::AlreadyExists { .. } => Failure::exists(
                "something else lies there already; nothing was written",
                "choose an empty folder or prefix",
            ),
            e => Failure::from(e),
        })
        .map_err(failed)?;
    let address = target.address.with_id(vault.id());
    print_vault(session, &vault, &address)?;
    session.terminal.note(
        "the vault is ready; hint: keep this address, with its #id, and add a second way in: `kluis key add --new-recovery-phrase`",
    );
    Ok(())
}

/// Whether a vault can be made there, as far as can be told before a password is
/// thought of.
async fn is_free(session: &Session, target: &Target, forget: bool) -> Result<()> {
    let found = match Store::open(target.address.url(), false) {
        Ok(store) => {
            let options = session.options(&target.address)?;
            let found = options.find(store.objects).await;
            found.map(drop).map_err(Failure::from)
        }
        Err(failure) => Err(failure),
    };
    match found {
        Err(f) if f.exit == Exit::NoVault => {}
        // Damaged, or another one than this device has seen: a vault all the same.
        Err(f) if f.exit != Exit::NotAsWritten && f.code != "untrusted_identity" => return Err(f),
        _ => {
            let hint = "open it with its password, or choose another place for a new one";
            return Err(Failure::exists("a vault exists already here", hint));
        }
    }
    let Some(state) = device_state() else {
        return Ok(());
    };
    let failed = |e: io::Error| Failure::io("cannot use what this device remembers", &e);
    if forget {
        return state.forget(&target.address).map_err(failed);
    }
    match state.load(target.address.url().as_str()).map_err(failed)? {
        None => Ok(()),
        Some(pins) => {
            let message = format!(
                "this device has seen the vault {} here, and nothing of it is left",
                pins.vault
            );
            let hint =
                "if it was you who removed it, give --forget; if not, ask the provider where it is";
            Err(Failure::exists(message, hint))
        }
    }
}

fn print_vault(session: &Session, vault: &Vault, address: &Address) -> Result<()> {
    let mut out = Output::new();
    let (address, id) = (address.to_string(), vault.id().to_string());
    if session.terminal.json() {
        out.message(&Message::Vault {
            address: &address,
            id: &id,
        })?;
    } else {
        out.line(&address)?;
    }
    out.finish()
}

/// The new password, with its own keyfile or the one that is in use.
async fn new_secret(opened: &Opened, new: &NewSecrets) -> Result<Secret> {
    let keyfile = match (&new.new_keyfile, &opened.secret) {
        (Some(path), _) => Some(read_or_make_keyfile(path)?),
        (None, Secret::PasswordAndKeyfile(_, keyfile)) => Some(keyfile.clone()),
        (None, _) => None,
    };
    new.read(keyfile).await
}

pub(super) async fn passwd(session: &Session, args: Passwd) -> Result<()> {
    args.new.check()?;
    let opened = session.open_default().await?;
    let kdf = cost(&opened, &args.kdf)?;
    let secret = new_secret(&opened, &args.new).await?;
    if let Secret::RecoveryPhrase(_) = opened.secret {
        // The phrase stays; which of the passwords was forgotten only the user knows.
        opened.vault.add_slot(secret.credential()?, kdf).await?;
        session.terminal.note(
            "the new password was added; hint: remove the forgotten one with `kluis key list` and `kluis key remove`",
        );
        return Ok(());
    }
    opened
        .vault
        .change_password(secret.credential()?, kdf)
        .await?;
    session.terminal.note(
        "the password was changed; hint: old copies of the header still open with the old one, `kluis key rotate` makes them useless for what is newly written",
    );
    Ok(())
}

pub(super) async fn key(session: &Session, verb: Key) -> Result<()> {
    match verb {
        Key::List => list(session).await,
        Key::Add {
            new,
            new_recovery_phrase,
            kdf,
        } => add(session, &new, new_recovery_phrase, &kdf).await,
        Key::Remove { id, yes } => remove(session, &id, yes).await,
        Key::Rotate {
            new,
            new_recovery_phrase,
            kdf,
            yes,
        } => rotate(session, &new, new_recovery_phrase, &kdf, yes).await,
    }
}

async fn list(session: &Session) -> Result<()> {
    let opened = session.open_default().await?;
    let mut out = Output::new();
    for slot in opened.vault.slots()? {
        print_slot(session, &mut out, &slot)?;
    }
    out.finish()
}

pub(super) fn print_slot(session: &Session, out: &mut Output, slot: &SlotInfo) -> Result<()> {
    let created = rfc3339(slot.created);
    if session.terminal.json() {
        return out.message(&Message::Slot {
            id: slot.id.to_string(),
            kind: kind_name(slot.kind).to_owned(),
            created,
            kdf_memory_kib: slot.kdf.map(KdfParams::memory_kib),
            kdf_passes: slot.kdf.map(KdfParams::passes),
            current: slot.current,
        });
    }
    let cost = slot
        .kdf
        .map(|k| format!(", {} MiB, {} passes", k.memory_kib() >> 10, k.passes()));
    out.line(&format!(
        "{} {} {}{}{}",
        slot.id,
        created.as_deref().unwrap_or("-"),
        kind_name(slot.kind),
        cost.unwrap_or_default(),
        if slot.current { " (in use)" } else { "" },
    ))
}

fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Password => "password",
        SlotKind::PasswordAndKeyfile => "keyfile",
        SlotKind::RecoveryPhrase => "recovery-phrase",
        SlotKind::DeviceIdentity => "device",
        SlotKind::Keychain => "keychain",
        _ => "other",
    }
}

async fn add(session: &Session, new: &NewSecrets, phrase: bool, kdf: &KdfArgs) -> Result<()> {
    new.check()?;
    if phrase && (new.is_given() || new.new_keyfile.is_some()) {
        let message = "a recovery phrase opens a vault by itself, without password or keyfile";
        return Err(Failure::usage(message, "add them one after the other"));
    }
    let opened = session.open_default().await?;
    let kdf = cost(&opened, kdf)?;
    let secret = if phrase {
        let phrase = RecoveryPhrase::generate().map_err(Failure::core)?;
        Secret::RecoveryPhrase(phrase.expose_words())
    } else {
        new.read(
            new.new_keyfile
                .as_deref()
                .map(read_or_make_keyfile)
                .transpose()?,
        )
        .await?
    };
    let added = opened.vault.add_slot(secret.credential()?, kdf).await?;
    if let Secret::RecoveryPhrase(words) = &secret {
        print_phrase(session, words)?;
    }
    session
        .terminal
        .note(&format!("key slot {} was added", added.id));
    if !added.removed.is_empty() {
        session.terminal.warn(&format!(
            "{} without a keyfile removed; hint: old copies of the header still open without it until `kluis key rotate`",
            if added.removed.len() == 1 { "1 key slot".to_owned() } else { format!("{} key slots", added.removed.len()) }
        ));
    }
    Ok(())
}

fn print_phrase(session: &Session, words: &Zeroizing<String>) -> Result<()> {
    let mut out = Output::new();
    if session.terminal.json() {
        out.message(&Message::RecoveryPhrase { words })?;
    } else {
        out.line(words)?;
    }
    out.finish()?;
    session.terminal.note("these 24 words open the vault by themselves; hint: write them down on paper, they are not shown again");
    Ok(())
}

async fn remove(session: &Session, id: &str, yes: bool) -> Result<()> {
    let opened = session.open_default().await?;
    let slots = opened.vault.slots()?;
    let found = slot_by_prefix(&slots, id, "key slot", "kluis key list")?;
    if found.current {
        confirm("remove the key slot that you have just used", yes).await?;
    }
    opened.vault.remove_slot(found.id).await?;
    session
        .terminal
        .note(&format!("key slot {} was removed", found.id));
    Ok(())
}

/// The one of these slots whose id begins so.
pub(super) fn slot_by_prefix<'a>(
    slots: &'a [SlotInfo],
    id: &str,
    what: &str,
    listed: &str,
) -> Result<&'a SlotInfo> {
    let mut matching = slots.iter().filter(|s| s.id.to_string().starts_with(id));
    match (matching.next(), matching.next()) {
        (Some(slot), None) if id.len() >= 4 => Ok(slot),
        (Some(_), _) => Err(Failure::usage(
            format!("{id} is not enough to name one {what}"),
            format!("give more of the id that `{listed}` prints"),
        )),
        (None, _) => Err(Failure::not_found(
            format!("no {what} begins with {id}"),
            format!("see `{listed}`"),
        )),
    }
}

async fn rotate(
    session: &Session,
    new: &NewSecrets,
    with_phrase: bool,
    kdf: &KdfArgs,
    yes: bool,
) -> Result<()> {
    new.check()?;
    let opened = session.open_default().await?;
    let kdf = cost(&opened, kdf)?;
    let others = opened.vault.slots()?.iter().filter(|s| !s.current).count();
    if others > 0 {
        let slots = if others == 1 {
            "the other key slot".to_owned()
        } else {
            format!("{others} other key slots")
        };
        confirm(&format!("make a new root key and end {slots}"), yes).await?;
    }
    let changed;
    let secret = if new.is_given() || new.new_keyfile.is_some() {
        changed = new_secret(&opened, new).await?;
        &changed
    } else {
        &opened.secret
    };
    let mut keep = vec![(secret.credential()?, kdf)];
    let phrase = if with_phrase {
        let words = RecoveryPhrase::generate()
            .map_err(Failure::core)?
            .expose_words();
        let words = Secret::RecoveryPhrase(words);
        keep.push((words.credential()?, kdf));
        Some(words)
    } else {
        None
    };
    opened.vault.rotate_root(keep).await?;
    if let Some(Secret::RecoveryPhrase(words)) = &phrase {
        print_phrase(session, words)?;
    }
    session.terminal.note("the vault has a new root key; hint: export a new recovery kit, the old one opens only the past");
    Ok(())
}

pub(super) async fn recovery(session: &Session, verb: Recovery) -> Result<()> {
    match verb {
        Recovery::Export { file } => export(session, &file).await,
        Recovery::Restore { file } => restore(session, &file).await,
    }
}

async fn export(session: &Session, file: &Path) -> Result<()> {
    let opened = session.open_default().await?;
    let kit = opened.vault.recovery_kit().await?.to_string();
    if file.as_os_str() == "-" {
        let mut out = Output::new();
        if session.terminal.json() {
            out.message(&Message::RecoveryKit { kit: &kit })?;
        } else {
            out.bytes(kit.as_bytes())?;
        }
        out.finish()?;
    } else {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::exists("the file exists already", "choose another name")
                    .at(file.display().to_string())
            }
            _ => Failure::io(format!("cannot write {}", file.display()), &e),
        };
        let mut out = create_private(file).map_err(failed)?;
        if let Err(e) = out.write_all(kit.as_bytes()).and_then(|()| out.sync_all()) {
            let _ = std::fs::remove_file(file);
            return Err(failed(e));
        }
    }
    session.terminal.note("keep the kit away from the store; hint: it still needs the password, and is out of date after the next change of keys");
    Ok(())
}

async fn restore(session: &Session, file: &Path) -> Result<()> {
    let target: Target = session.default_target().await?;
    let failed = |e: io::Error| Failure::io(format!("cannot read {}", file.display()), &e);
    let source: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let text = read_text(source, RecoveryKit::MAX_TEXT)
        .map_err(failed)?
        .ok_or_else(|| {
            let hint = "give the file that `kluis recovery export` wrote";
            Failure::usage("it is no recovery kit", hint).at(file.display().to_string())
        })?;
    let kit: RecoveryKit = text
        .parse()
        .map_err(|e| Failure::core(e).at(file.display().to_string()))?;
    let store = Store::open(target.address.url(), false)?;
    let secret = session
        .common
        .secrets
        .unlock(&target.label, target.config.as_ref(), session.cache())
        .await?;
    let options = session.options(&target.address)?;
    let vault = options
        .restore(store.objects.clone(), &kit, secret.credential()?)
        .await
        .map_err(|e| Failure::from(e).at(target.label.clone()))?;
    let address = target.address.with_id(vault.id());
    print_vault(session, &vault, &address)?;
    session
        .terminal
        .note("the header is back; hint: run `kluis check` now");
    Ok(())
}
