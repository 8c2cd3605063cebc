//! `group`: who is in the vault's groups.

use super::sharing::{
    Held, Whom, by_prefix, check_handing, contact_of, hand_over, places, take_back, warn_classical,
};
use crate::args::{GroupVerb, HandingOver, TakingBack};
use crate::exit::{Failure, Result};
use crate::session::Session;
use crate::terminal::{Message, Output, rfc3339};
use crate::transfer::plural;
use kluis::GroupInfo;

pub(super) async fn group(session: &Session, verb: GroupVerb) -> Result<()> {
    match verb {
        GroupVerb::New { name } => new(session, &name).await,
        GroupVerb::Add {
            group,
            contact,
            handing,
        } => add(session, &group, &contact, &handing).await,
        GroupVerb::Remove {
            group,
            member,
            taking,
        } => remove(session, &group, &member, &taking).await,
        GroupVerb::List => list(session).await,
    }
}

async fn new(session: &Session, name: &str) -> Result<()> {
    let opened = session.open_default().await?;
    let made = opened.vault.new_group(name).await;
    made.map_err(|e| {
        let hint = "choose another name; see `kluis group list` and `kluis contact list`";
        Failure::from(e).or_invalid(hint)
    })?;
    session.terminal.note(&format!(
        "the group {name} is made; hint: `kluis group add` takes contacts into it, `kluis share` gives it access"
    ));
    Ok(())
}

async fn add(session: &Session, group: &str, contact: &str, handing: &HandingOver) -> Result<()> {
    let target = session.default_target().await?;
    check_handing(handing, target.address.url())?;
    let opened = session.open_default().await?;
    let group = named(opened.vault.groups()?, group)?;
    let Whom {
        name,
        suite,
        recipient,
        ..
    } = contact_of(&opened, contact, handing)?;
    let granted = opened.vault.add_to_group(&group.name, &recipient).await;
    let granted = granted.map_err(|e| Failure::from(e).or_invalid("see `kluis group list`"))?;
    hand_over(session, &opened, &granted, handing)?;
    session.terminal.note(&format!(
        "{name} is in the group {}, and reaches what it was ever given; grant {}; hint: hand the invitation over on a way that the provider does not control, and then those of what the group was given",
        group.name, granted.id
    ));
    warn_classical(session, suite);
    Ok(())
}

async fn remove(session: &Session, group: &str, member: &str, taking: &TakingBack) -> Result<()> {
    let opened = session.open_default().await?;
    let (grants, group) = (
        opened.vault.grants()?,
        named(opened.vault.groups()?, group)?,
    );
    let places: Vec<Held<'_>> = places(&group).collect();
    let mut of_name = group.members.iter().filter(|m| m.name == member);
    let found = match (of_name.next(), of_name.next()) {
        (Some(one), None) => Held::Place(&group, one),
        (None, _) => by_prefix(&places, member).map_err(|_| {
            Failure::not_found(
                format!("nobody in the group {} is called {member}", group.name),
                "see `kluis group list`",
            )
        })?,
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                format!(
                    "several members of the group {} are called {member}",
                    group.name
                ),
                "give the id that `kluis group list` prints",
            ));
        }
    };
    take_back(session, &opened, &[found], &grants, taking).await
}

fn named(groups: Vec<GroupInfo>, name: &str) -> Result<GroupInfo> {
    let mut groups = groups.into_iter();
    groups.find(|group| group.name == name).ok_or_else(|| {
        Failure::not_found(
            format!("no group is called {name}"),
            "see `kluis group list`, or make one: `kluis group new NAME`",
        )
    })
}

async fn list(session: &Session) -> Result<()> {
    let opened = session.open_default().await?;
    let mut out = Output::new();
    for group in &opened.vault.groups()? {
        if session.terminal.json() {
            out.message(&Message::Group {
                name: &group.name,
                created: rfc3339(group.created),
                members: group.members.len(),
            })?;
        } else {
            let count = u64::try_from(group.members.len()).unwrap_or(u64::MAX);
            out.line(&format!("{}: {}", group.name, plural(count, "member")))?;
        }
        for place in places(group) {
            place.line(session, &mut out, "given")?;
        }
    }
    out.finish()
}
