//! `contact`: the vault's address book.

use super::identity::{read_card, suite_name};
use crate::args::ContactVerb;
use crate::exit::{Exit, Failure, Result};
use crate::session::{Opened, Session};
use crate::terminal::{Message, Output, ask_visible, confirm};
use crate::transfer::plural;
use kluis::{Contact, Fingerprint, Trust};
use std::path::Path;

pub(super) async fn contact(session: &Session, verb: ContactVerb) -> Result<()> {
    match verb {
        ContactVerb::Add { name, card } => add(session, &name, &card).await,
        ContactVerb::List => list(session).await,
        ContactVerb::Verify {
            name,
            words,
            trust,
            yes,
        } => verify(session, &name, &words, trust, yes).await,
        ContactVerb::Remove { name } => remove(session, &name).await,
    }
}

pub(super) fn trust_name(trust: Trust) -> &'static str {
    match trust {
        Trust::Verified => "verified",
        Trust::Changed => "changed",
        _ => "unverified",
    }
}

/// The contact of a name.
pub(super) fn find(opened: &Opened, name: &str) -> Result<Contact> {
    match opened.vault.contact(name) {
        Err(kluis::Error::NotFound { .. }) => Err(Failure::not_found(
            format!("no contact is called {name}"),
            "see `kluis contact list`, or add one: `kluis contact add NAME CARD`",
        )),
        other => Ok(other?),
    }
}

async fn add(session: &Session, name: &str, path: &Path) -> Result<()> {
    let card = read_card(path)?;
    let new = Contact::new(name, card.clone()).map_err(Failure::core)?;
    let opened = session.open_default().await?;
    let known = match opened.vault.contact(name) {
        Ok(known) => Some(known),
        Err(kluis::Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let contact = known.as_ref().map_or(new, |known| known.updated(card));
    let before = known.as_ref().map(Contact::card);
    let other_keys = before.is_some_and(|b| b.fingerprint() != contact.card().fingerprint());
    let same = before.is_some_and(|b| b.as_bytes() == contact.card().as_bytes());
    if !same {
        let saved = opened.vault.save_contact(contact.clone()).await;
        saved.map_err(|e| {
            let hint = "choose another name; see `kluis contact list` and `kluis group list`";
            Failure::from(e).or_invalid(hint)
        })?;
    }
    let action = match (same, other_keys, before) {
        (true, _, _) => "kept",
        (_, true, _) => "changed",
        (_, _, Some(_)) => "renewed",
        (_, _, None) => "added",
    };
    print(session, &contact, Some(action))?;
    if other_keys {
        let signed = before.is_some_and(|before| contact.card().is_replacement_of(before));
        session.terminal.warn(&format!(
            "WARNING: {name} has other keys than before{}; nothing is shared with them until you compare the words again: `kluis contact verify`",
            if signed {
                ", which the old ones signed, as whoever stole those could"
            } else {
                ", and nothing says that they are theirs"
            },
        ));
    } else if contact.trust() == Trust::Verified {
        session
            .terminal
            .note("the contact stays verified: the keys are the same");
    } else {
        session.terminal.note(
            "not verified yet; hint: have them read their 12 words to you, and give those to `kluis contact verify`",
        );
    }
    Ok(())
}

fn print(session: &Session, contact: &Contact, action: Option<&str>) -> Result<()> {
    let mut out = Output::new();
    line(session, &mut out, contact, action)?;
    out.finish()
}

fn line(
    session: &Session,
    out: &mut Output,
    contact: &Contact,
    action: Option<&str>,
) -> Result<()> {
    let (name, trust) = (contact.name(), trust_name(contact.trust()));
    let fingerprint = contact.card().fingerprint().to_string();
    let suite = contact.card().suite();
    if session.terminal.json() {
        return out.message(&Message::Contact {
            action,
            name,
            trust,
            fingerprint,
            suite: suite_name(suite),
        });
    }
    let flag = if suite.is_post_quantum() {
        ""
    } else {
        " (classical)"
    };
    out.line(&format!("{trust:<10} {name}: {fingerprint}{flag}"))
}

async fn list(session: &Session) -> Result<()> {
    let opened = session.open_default().await?;
    let mut out = Output::new();
    for contact in opened.vault.contacts()? {
        line(session, &mut out, &contact, None)?;
    }
    out.finish()
}

async fn verify(
    session: &Session,
    name: &str,
    words: &[String],
    trust: bool,
    yes: bool,
) -> Result<()> {
    // Given once as an argument or once for each word.
    let given = words.join(" ");
    if !words.is_empty() {
        check_count(&given)?;
    }
    let opened = session.open_default().await?;
    let contact = find(&opened, name)?;
    let own = contact.card().fingerprint();
    if trust {
        if contact.trust() == Trust::Changed {
            let message = format!("the card of {name} has changed: this is no first use");
            let hint = "compare the 12 words: `kluis contact verify NAME`";
            return Err(untrusted(message, hint));
        }
        session.terminal.warn(&format!(
            "trust on first use: nobody compares anything; if somebody put another card in the place of {name}'s on its way to you, they read what you share with {name}"
        ));
        confirm(&format!("trust the card of {name} as it came"), yes).await?;
    } else {
        let given = if words.is_empty() {
            let hint = "give them as arguments, as their owner reads them out";
            ask_words(name, hint).await?
        } else {
            given
        };
        compare(name, &own, &given)?;
    }
    let contact = contact.verified(&own).map_err(Failure::core)?;
    opened.vault.save_contact(contact.clone()).await?;
    print(session, &contact, Some("verified"))?;
    session.terminal.note(&format!("{name} is verified"));
    Ok(())
}

pub(super) async fn ask_words(name: &str, otherwise: &'static str) -> Result<String> {
    let question = format!("The 12 words that {name} reads to you: ");
    let Some(answer) = ask_visible(&question).await else {
        return Err(Failure::usage(
            "there are 12 words to compare, and no terminal to ask for them on",
            otherwise,
        ));
    };
    let answer = answer?;
    check_count(&answer)?;
    Ok(answer)
}

pub(super) fn check_count(words: &str) -> Result<()> {
    match words.split_whitespace().count() {
        12 => Ok(()),
        n => Err(Failure::usage(
            format!("a fingerprint has 12 words, and these are {n}"),
            "give all of them, in their order",
        )),
    }
}

pub(super) fn compare(name: &str, own: &Fingerprint, given: &str) -> Result<()> {
    if given
        .parse::<Fingerprint>()
        .is_ok_and(|given| given == *own)
    {
        return Ok(());
    }
    Err(untrusted(
        format!(
            "these are not the words of the card that you have of {name}; nothing was verified"
        ),
        "have them read once more; if the words still differ, the card is not theirs",
    ))
}

pub(super) fn untrusted(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(Exit::Denied, "untrusted_identity", message, hint)
}

async fn remove(session: &Session, name: &str) -> Result<()> {
    let opened = session.open_default().await?;
    let contact = find(&opened, name)?;
    opened.vault.forget_contact(name).await?;
    let fingerprint = contact.card().fingerprint();
    let grants = opened.vault.grants()?;
    let stay = grants
        .iter()
        .filter(|g| g.fingerprint == fingerprint)
        .count();
    session.terminal.note(&format!("{name} was removed"));
    if stay > 0 {
        session.terminal.warn(&format!(
            "what was shared with {name} stays shared ({}); hint: `kluis shares` and `kluis revoke`",
            plural(u64::try_from(stay).unwrap_or(u64::MAX), "grant")
        ));
    }
    Ok(())
}
