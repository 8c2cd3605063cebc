//! `device`: who opens the vault with an identity, in place of a password.

use super::contacts::{find, untrusted};
use super::identity::{read_card, suite_name};
use super::keys::{print_slot, slot_by_prefix};
use super::sharing::refuse_classical;
use crate::args::Device;
use crate::exit::{Failure, Result};
use crate::session::{Opened, Session};
use crate::terminal::{Output, confirm};
use kluis::{Recipient, SlotInfo, SlotKind};
use std::path::Path;

pub(super) async fn device(session: &Session, verb: Device) -> Result<()> {
    match verb {
        Device::Enrol {
            device,
            allow_classical,
            yes,
        } => enrol(session, &device, allow_classical, yes).await,
        Device::List => list(session).await,
        Device::Remove { id, yes } => remove(session, &id, yes).await,
    }
}

/// A device as the command line names it: a contact, or the file of a card.
fn recipient(opened: &Opened, name: &str) -> Result<Recipient> {
    let is_file = name == "-" || name.contains('/');
    if !is_file {
        match find(opened, name) {
            Ok(contact) => {
                let recipient = contact.recipient().map_err(|_| {
                    untrusted(
                        format!("{name} is not verified; nothing was changed"),
                        "compare the 12 words with them: `kluis contact verify NAME`",
                    )
                })?;
                return Ok(recipient);
            }
            Err(failure) if Path::new(name).exists() => drop(failure),
            Err(mut failure) => {
                "give the file of a card, or see `kluis contact list`"
                    .clone_into(&mut failure.hint);
                return Err(failure);
            }
        }
    }
    let card = read_card(Path::new(name))?;
    Ok(Recipient::trusted_on_first_use(card))
}

async fn enrol(session: &Session, name: &str, allow_classical: bool, yes: bool) -> Result<()> {
    let opened = session.open_default().await?;
    opened.vault.slots()?;
    let recipient = recipient(&opened, name)?;
    refuse_classical(name, recipient.card().suite(), allow_classical)?;
    let recipient = if allow_classical {
        recipient.allow_classical()
    } else {
        recipient
    };
    let words = recipient.card().fingerprint();
    for line in [
        format!(
            "this lets whoever has the identity of {name} open the vault in place of you: read, write, share and revoke everything"
        ),
        format!("its words are {words}"),
        "compare them with those of `kluis identity show` on the device".to_owned(),
    ] {
        session.terminal.before_asking(&line, yes);
    }
    confirm(&format!("enrol {name}"), yes).await?;
    let id = opened.vault.add_device(&recipient).await?;
    let mut out = Output::new();
    let slots = opened.vault.slots()?;
    if session.terminal.json() {
        for slot in slots.iter().filter(|slot| slot.id == id) {
            print_slot(session, &mut out, slot)?;
        }
    } else {
        out.line(&id.to_string())?;
    }
    out.finish()?;
    session.terminal.note(&format!(
        "the device is enrolled; hint: note {id} beside its name, for the vault does not show which device is which; on the device: `kluis --vault {}#{} --identity FILE ls`",
        opened.address.url(),
        opened.vault.id(),
    ));
    if !recipient.card().suite().is_post_quantum() {
        session.terminal.warn(&format!(
            "the key slot is sealed with {} alone: whoever records it may open the vault with a quantum computer later",
            suite_name(recipient.card().suite())
        ));
    }
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let opened = session.open_default().await?;
    let mut out = Output::new();
    for slot in devices(&opened)? {
        print_slot(session, &mut out, &slot)?;
    }
    out.finish()
}

fn devices(opened: &Opened) -> Result<Vec<SlotInfo>> {
    let mut slots = opened.vault.slots()?;
    slots.retain(|slot| slot.kind == SlotKind::DeviceIdentity);
    Ok(slots)
}

async fn remove(session: &Session, id: &str, yes: bool) -> Result<()> {
    let opened = session.open_default().await?;
    let devices = devices(&opened)?;
    let found = slot_by_prefix(&devices, id, "device", "kluis device list")?;
    let all = opened.vault.slots()?.len() - 1;
    let line = format!(
        "removes the key slot of device {}{}; the other {} stay as they are",
        found.id,
        if found.current {
            ", which is the one in use"
        } else {
            ""
        },
        if all == 1 {
            "one".to_owned()
        } else {
            all.to_string()
        },
    );
    session.terminal.before_asking(&line, yes);
    session.terminal.before_asking(KNOWS, yes);
    confirm(&format!("remove device {}", found.id), yes).await?;
    opened.vault.remove_slot(found.id).await.map_err(|error| {
        let mut failure = Failure::from(error);
        if &*failure.code == "conflict" {
            "run it again".clone_into(&mut failure.hint);
        }
        failure
    })?;
    session.terminal.warn(LOST);
    Ok(())
}

const KNOWS: &str = "this alone is housekeeping: the device has held the root key, and an old copy of the vault's header still opens with its identity; one that was enrolled twice has another slot, which `kluis device list` does not tell apart";
const LOST: &str = "the device is removed, and still knows what it knew; hint: if it was lost or is not yours any more, run `kluis key rotate` now (a new root key, signing key, identity and epochs; every other key slot ends, so enrol the other devices again), then `kluis reencrypt`, and end its credentials of the store";
