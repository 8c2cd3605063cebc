//! `identity`: what others share with.

use crate::args::{IdentityVerb, Kdf, KdfArgs, NewSecrets};
use crate::exit::{Failure, Result};
use crate::secrets::{Secret, create_private, read_identity, read_public};
use crate::session::Session;
use crate::terminal::{Message, Output, confirm, rfc3339};
use kluis::{Card, Identity, IdentityFile, IdentitySuite, Password};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(super) async fn identity(session: &Session, verb: IdentityVerb) -> Result<()> {
    match verb {
        IdentityVerb::New {
            file,
            classical,
            kdf,
        } => new(session, &file, classical, &kdf).await,
        IdentityVerb::Import {
            source,
            file,
            new,
            kdf,
            yes,
        } => import(session, &source, &file, (&new, &kdf), yes).await,
        IdentityVerb::Show { file } => show(session, file.as_deref()).await,
        IdentityVerb::Export { file, out } => {
            export(session, file.as_deref(), out.as_deref()).await
        }
    }
}

async fn new(session: &Session, file: &Path, classical: bool, kdf: &KdfArgs) -> Result<()> {
    session.common.secrets.check()?;
    let shown = file.display().to_string();
    // Before a password is thought of.
    if file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let password = session.common.secrets.create_for_identity(file).await?;
    let suite = if classical {
        IdentitySuite::X25519
    } else {
        IdentitySuite::XWing
    };
    let params = super::keys::params(kdf.kdf.unwrap_or(Kdf::Mobile));
    let made = tokio::task::spawn_blocking(move || {
        let identity = Identity::make(suite, now())?;
        let sealed = IdentityFile::seal(&identity, &Password::new(&password), params)?;
        Ok::<_, kluis::Error>((identity.card().clone(), sealed.to_armor()))
    });
    let made = made.await.map_err(|_| Failure::interrupted())?;
    let (card, armor) = made.map_err(Failure::from)?;
    write_new(file, &armor, create_private)?;
    print(session, &card, Some(shown), false)?;
    if classical {
        session.terminal.warn(CLASSICAL);
    }
    session.terminal.note(
        "the identity is ready; hint: keep a copy of the file, nobody can make it again; give others the card of `kluis identity export`, and read these words to them",
    );
    Ok(())
}

/// An identity that was made elsewhere, under the password that it has or a new one.
async fn import(
    session: &Session,
    source: &Path,
    path: &Path,
    (new, kdf): (&NewSecrets, &KdfArgs),
    yes: bool,
) -> Result<()> {
    let secrets = &session.common.secrets;
    secrets.check()?;
    new.check()?;
    if new.new_keyfile.is_some() {
        let message = "an identity file is protected by a password alone";
        return Err(Failure::usage(message, "leave out --new-keyfile"));
    }
    if kdf.kdf.is_some() && !new.is_given() {
        let message = "another cost needs a new password of the file";
        return Err(Failure::usage(message, "give --new-password-file too"));
    }
    let file = read_identity(source)?;
    // Before a password is asked for.
    let exists = path.symlink_metadata().is_ok();
    if exists {
        let what = match read_identity(path) {
            Ok(known) => format!("the identity {}", known.card().fingerprint()),
            Err(_) => "what is in it".to_owned(),
        };
        let line = format!("{} exists: {what} would be lost with it", path.display());
        session.terminal.before_asking(&line, yes);
        confirm(&format!("replace {}", path.display()), yes).await?;
    }
    let card = file.card().clone();
    let armor = file.to_armor();
    let identity = secrets
        .unseal_identity(file, &source.display().to_string(), None, session.cache())
        .await?;
    let armor = if new.is_given() {
        let Secret::Password(password) = new.read(None).await? else {
            return Err(Failure::interrupted());
        };
        let params = super::keys::params(kdf.kdf.unwrap_or(Kdf::Mobile));
        let seal = move || IdentityFile::seal(&identity, &Password::new(&password), params);
        let sealed = tokio::task::spawn_blocking(seal).await;
        let sealed = sealed.map_err(|_| Failure::interrupted())?;
        sealed.map_err(Failure::core)?.to_armor()
    } else {
        armor
    };
    if exists {
        replace_private(path, &armor)?;
    } else {
        write_new(path, &armor, create_private)?;
    }
    print(session, &card, Some(path.display().to_string()), false)?;
    session.terminal.note(&format!(
        "the identity is in {}; hint: keep a copy of the file, nobody can make it again",
        path.display()
    ));
    Ok(())
}

/// In place of an existing file, whole or not at all.
fn replace_private(path: &Path, text: &str) -> Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".new-{}", std::process::id()));
    let staged = Path::new(&staged);
    write_new(staged, text, create_private)?;
    std::fs::rename(staged, path).map_err(|e| {
        let _ = std::fs::remove_file(staged);
        Failure::io(format!("cannot write {}", path.display()), &e)
    })
}

const CLASSICAL: &str = "X25519 alone: what is shared with this identity can be recorded today and read by a quantum computer later; whoever shares with it has to give --allow-classical";

async fn show(session: &Session, file: Option<&Path>) -> Result<()> {
    let card = card(session, file).await?;
    print(session, &card, None, false)
}

async fn export(session: &Session, file: Option<&Path>, out: Option<&Path>) -> Result<()> {
    let card = card(session, file).await?;
    let Some(path) = out.filter(|out| *out != Path::new("-")) else {
        return print(session, &card, None, true);
    };
    write_public(path, &card.to_armor())?;
    session.terminal.note(&format!(
        "the card was written to {}; hint: read the words of `kluis identity show` to whoever gets it",
        path.display()
    ));
    Ok(())
}

/// The card of a file, of the identity in use, or of the vault.
async fn card(session: &Session, file: Option<&Path>) -> Result<Card> {
    let secrets = &session.common.secrets;
    secrets.check()?;
    if let Some(file) = file {
        return read_either(file);
    }
    if let Some(file) = secrets.given_identity() {
        return Ok(read_identity(&file)?.card().clone());
    }
    let opened = session.open_default().await?;
    match &opened.secret {
        crate::secrets::Secret::Identity(identity) => Ok(identity.card().clone()),
        _ => Ok(opened.vault.card()?),
    }
}

/// The public half of an identity file, or a card.
fn read_either(path: &Path) -> Result<Card> {
    let what = "an identity file or a card";
    let text = read_public(path, IdentityFile::MAX_TEXT.max(Card::MAX_TEXT), what)?;
    let card = match Card::from_armor(&text) {
        Ok(card) => Ok(card),
        Err(no_card) => match IdentityFile::parse(&text) {
            Ok(file) => Ok(file.card().clone()),
            // What is wrong with it as what it says to be.
            Err(error) if text.contains("IDENTITY") => Err(error),
            Err(_) => Err(no_card),
        },
    };
    card.map_err(|e| Failure::file(e, what).at(path.display().to_string()))
}

/// The card of somebody else.
pub(super) fn read_card(path: &Path) -> Result<Card> {
    let text = read_public(path, Card::MAX_TEXT, "a card")?;
    Card::from_armor(&text).map_err(|e| Failure::file(e, "a card").at(path.display().to_string()))
}

pub(super) fn suite_name(suite: IdentitySuite) -> &'static str {
    match suite {
        IdentitySuite::XWing => "x-wing",
        IdentitySuite::X25519 => "x25519",
        _ => "other",
    }
}

fn print(session: &Session, card: &Card, file: Option<String>, armor: bool) -> Result<()> {
    let words = card.fingerprint().to_string();
    let mut out = Output::new();
    if session.terminal.json() {
        let created = SystemTime::UNIX_EPOCH + Duration::from_micros(card.created());
        out.message(&Message::Identity {
            fingerprint: words,
            suite: suite_name(card.suite()),
            created: rfc3339(created),
            file,
            card: armor.then(|| card.to_armor()),
        })?;
    } else if armor {
        out.bytes(card.to_armor().as_bytes())?;
    } else {
        out.line(&words)?;
        if io::stdout().is_terminal() {
            for line in qr(&words).lines() {
                out.line(line)?;
            }
        }
    }
    out.finish()
}

/// Light on dark, as terminals are; readers take either.
fn qr(text: &str) -> String {
    match QrCode::new(text) {
        Ok(code) => code
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build(),
        // 12 words are far from the most that fits.
        Err(_) => String::new(),
    }
}

pub(super) fn exists(path: &Path) -> Failure {
    Failure::exists("the file exists already", "choose another name").at(path.display().to_string())
}

/// A new file of what is no secret.
pub(super) fn write_public(path: &Path, text: &str) -> Result<()> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    write_new(path, text, create)
}

/// A new file, whole or not at all; an existing one is an error.
fn write_new(
    path: &Path,
    text: &str,
    create: impl FnOnce(&Path) -> io::Result<std::fs::File>,
) -> Result<()> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::io(format!("cannot write {}", path.display()), &e),
    };
    let mut file = create(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes());
    if let Err(e) = written.and_then(|()| file.sync_all()) {
        let _ = std::fs::remove_file(path);
        return Err(failed(e));
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    u64::try_from(micros).unwrap_or(u64::MAX)
}
