//! Groups over random histories: who is in them reads what they were given, and who
//! was removed opens nothing that was written since with all that he ever had.

use super::action::{Action, Actions};
use super::{Appended, Decision, Ledger};
use crate::cbor::Record;
use crate::contact::{Contact, Recipient};
use crate::grant::{LetterName, Share, Terms};
use crate::testing::{Vault, phrase};
use crate::tree::Scope;
use crate::{Entry, Error, GrantId, Identity, IdentitySuite, RecordHash, Result, Suite, VaultPath};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const GROUPS: [&str; 2] = ["team", "board"];
const FOLDERS: [&str; 4] = ["a", "a/b", "a/b/c", "d"];

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    Person(usize),
    Group(usize),
}

/// An object: where it is, and its key.
struct Written {
    folder: &'static str,
    step: usize,
    key: [u8; 32],
}

#[derive(Default)]
struct Person {
    /// Every key that he ever had, with the folder of its object.
    keys: BTreeSet<(&'static str, [u8; 32])>,
    /// The last step at which he had access.
    reached: BTreeMap<&'static str, usize>,
}

struct World {
    vault: Vault,
    identities: Vec<Identity>,
    people: Vec<Person>,
    letters: Vec<(LetterName, Vec<u8>)>,
    records: BTreeMap<String, Vec<u8>>,
    grants: BTreeMap<GrantId, (&'static str, To)>,
    members: BTreeMap<GrantId, (usize, usize)>,
    /// The last step at which a group had access: who comes into it opens what it was
    /// given before, also what was taken back since.
    reached: BTreeMap<(usize, &'static str), usize>,
    written: Vec<Written>,
    step: usize,
}

fn recipient(identity: &Identity) -> Recipient {
    Recipient::trusted_on_first_use(identity.card().clone()).allow_classical()
}

impl World {
    fn new(suite: Suite) -> Self {
        let mut world = Self {
            vault: Vault::make_in(suite, false, &phrase(1)),
            identities: (0..3)
                .map(|n| Identity::make(IdentitySuite::X25519, n).unwrap())
                .collect(),
            people: (0..3).map(|_| Person::default()).collect(),
            letters: Vec::new(),
            records: BTreeMap::new(),
            grants: BTreeMap::new(),
            members: BTreeMap::new(),
            reached: BTreeMap::new(),
            written: Vec::new(),
            step: 0,
        };
        for name in GROUPS {
            let suite = IdentitySuite::X25519;
            let name = name.to_owned();
            world.decide(Decision::NewGroup { name, suite }).unwrap();
        }
        world
    }

    fn take(&mut self, appended: &Appended) -> Option<GrantId> {
        self.records.extend(appended.records.iter().cloned());
        let (id, name) = appended.granted?;
        self.letters
            .push((name, self.records[&name.path()].clone()));
        Some(id)
    }

    fn decide(&mut self, decision: Decision) -> Result<Option<GrantId>> {
        let appended = self.vault.decide(decision)?;
        Ok(self.take(&appended))
    }

    fn share(&mut self, folder: &'static str, to: To, write: bool) -> GrantId {
        let recipient = match to {
            To::Person(n) => recipient(&self.identities[n]),
            To::Group(n) => {
                let ledger = self.vault.ledger();
                ledger.group(GROUPS[n]).unwrap().recipient().unwrap()
            }
        };
        let decision = Decision::Share {
            scope: Scope::Folder((!folder.is_empty()).then(|| path(folder))),
            recipient,
            terms: Terms {
                write,
                ..Terms::reading()
            },
        };
        let id = self.decide(decision).unwrap().unwrap();
        self.grants.insert(id, (folder, to));
        id
    }

    fn join(&mut self, group: usize, person: usize) -> Option<GrantId> {
        let decision = Decision::Join {
            group: GROUPS[group].to_owned(),
            recipient: recipient(&self.identities[person]),
        };
        match self.decide(decision) {
            Ok(id) => {
                self.members.insert(id.unwrap(), (group, person));
                id
            }
            Err(error) => {
                assert!(matches!(error, Error::InvalidInput(_)));
                assert!(self.members.values().any(|m| *m == (group, person)));
                None
            }
        }
    }

    /// By what a person reads a folder: grants to himself, and to groups that he is in.
    fn reads(&self, person: usize, folder: &str) -> bool {
        self.has(person, folder, |_| true)
    }

    /// Whether one of these grants gives somebody a folder.
    fn has(&self, person: usize, folder: &str, by: impl Fn(&GrantId) -> bool) -> bool {
        self.grants.iter().any(|(id, (of, to))| {
            let reaches = of.is_empty() || folder == *of || folder.starts_with(&format!("{of}/"));
            reaches
                && by(id)
                && match to {
                    To::Person(n) => *n == person,
                    To::Group(n) => self.members.values().any(|m| *m == (*n, person)),
                }
        })
    }

    fn revoke(&mut self, id: GrantId) -> Result<()> {
        self.decide(Decision::Revoke(vec![id]))?;
        self.members.remove(&id);
        self.grants.remove(&id);
        Ok(())
    }

    fn step(&mut self, kind: u8, a: usize, b: usize) {
        let folder = FOLDERS[a % FOLDERS.len()];
        match kind {
            0 | 1 => drop(self.join(a % 2, b % 3)),
            2 => drop(self.share(folder, To::Group(b % 2), a.is_multiple_of(3))),
            3 => drop(self.share(folder, To::Person(b % 3), a.is_multiple_of(3))),
            4..=6 => {
                let members = self.members.keys().filter(|_| kind != 6);
                let all: Vec<GrantId> = members.chain(self.grants.keys()).copied().collect();
                let Some(id) = all.get(a % all.len().max(1)).copied() else {
                    return;
                };
                let lost: Vec<(usize, &str)> = match (self.members.get(&id), self.grants.get(&id)) {
                    (Some((group, person)), _) => {
                        let of_it = self.grants.values();
                        let of_it = of_it.filter(|(_, to)| *to == To::Group(*group));
                        of_it.map(|(folder, _)| (*person, *folder)).collect()
                    }
                    (_, Some((folder, To::Person(n)))) => vec![(*n, *folder)],
                    _ => Vec::new(),
                };
                match self.revoke(id) {
                    Ok(()) => {
                        let still = lost.iter().find(|(n, folder)| self.reads(*n, folder));
                        assert_eq!(still, None, "access that was taken back is gone");
                    }
                    Err(Error::InvalidInput(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            7 => {
                self.vault.rotate(&[phrase(1)]);
                self.decide(Decision::CatchUp).unwrap();
            }
            _ => {
                while self.vault.entries.len() % 64 != 63 {
                    self.decide(Decision::CatchUp).unwrap();
                }
            }
        }
    }

    fn follow(&self, identity: &Identity, mut share: Share) -> Option<Share> {
        let from = share.head().sequence as usize + 1;
        for entry in &self.vault.entries[from..] {
            if share.is_closed() {
                break;
            }
            share.follow(entry).ok()?;
            if let Some(hash) = share.awaited() {
                let bundle = &self.records[&crate::bundle_path(hash)];
                share.renew(identity, bundle).unwrap();
            }
        }
        Some(share)
    }

    /// All that a person can open of what lies in the store, as his client does, and
    /// without stopping where it would.
    fn open(&self, person: usize) -> Vec<Share> {
        let (vault, identity) = (self.vault.secrets.vault(), &self.identities[person]);
        let of_him = |(name, record): &(LetterName, Vec<u8>)| {
            Share::open(identity, &vault, name, record).ok()
        };
        let own: Vec<Share> = self.letters.iter().filter_map(of_him).collect();
        let own: Vec<Share> = own
            .into_iter()
            .filter_map(|s| self.follow(identity, s))
            .collect();
        let (memberships, mut shares): (Vec<Share>, Vec<Share>) =
            own.into_iter().partition(Share::is_membership);
        for membership in &memberships {
            for (name, record) in &self.letters {
                if let Ok(share) = Share::open_in_group(membership, &vault, name, record) {
                    assert!(share.is_through(membership));
                    shares.extend(self.follow(identity, share));
                }
            }
        }
        shares
    }

    fn check(&mut self) {
        self.step += 1;
        let ledger = self.vault.ledger();
        let mut writers = BTreeMap::new();
        for folder in FOLDERS {
            let at = path(&format!("{folder}/x"));
            let (held, epoch) = ledger.tree().writer(&at).unwrap();
            let key = *held.object_key(epoch).unwrap().expose_secret();
            self.written.push(Written {
                folder,
                step: self.step,
                key,
            });
            let signers = held.collection.writers.current();
            for (n, identity) in self.identities.iter().enumerate() {
                let signs = signers.contains(identity.card().signing_key());
                assert!(
                    !signs || self.reads(n, folder),
                    "{folder}: signs, and reads not"
                );
                let writing = |id: &GrantId| ledger.grant(id).unwrap().terms().write;
                assert!(
                    signs || signers.is_empty() || !self.has(n, folder, writing),
                    "{n} {folder}: may write, and does not sign"
                );
            }
            writers.insert(folder, signers);
        }
        for (of, to) in self.grants.values() {
            let inside = |f: &&&str| of.is_empty() || *f == of || f.starts_with(&format!("{of}/"));
            if let To::Group(group) = to {
                for folder in FOLDERS.iter().filter(inside) {
                    self.reached.insert((*group, folder), self.step);
                }
            }
        }
        for (group, person) in self.members.values() {
            for ((_, folder), step) in self.reached.iter().filter(|((g, _), _)| g == group) {
                let last = self.people[*person].reached.entry(folder).or_default();
                *last = (*last).max(*step);
            }
        }
        for n in 0..self.people.len() {
            let shares = self.open(n);
            for folder in FOLDERS {
                let readable = self.reads(n, folder);
                if readable {
                    self.people[n].reached.insert(folder, self.step);
                }
                let mut current = false;
                for share in &shares {
                    let top = (!share.name().is_empty()).then(|| {
                        let of = FOLDERS.iter().find(|f| path(f).name() == share.name());
                        path(of.unwrap())
                    });
                    let Some(below) = path(&format!("{folder}/x")).below(top.as_ref()) else {
                        continue;
                    };
                    if let Ok((held, epoch)) = share.tree().writer(&below) {
                        let key = *held.object_key(epoch).unwrap().expose_secret();
                        let is_current = |w: &Written| w.step == self.step && w.key == key;
                        if self.written.iter().any(is_current) {
                            current = true;
                            let known = held.collection.writers.current();
                            assert_eq!(known, writers[folder], "{n} {folder}: as the owner");
                        }
                    }
                    for collection in share.tree().collections() {
                        let held = share
                            .tree()
                            .held(&collection.id, &below)
                            .unwrap_or_else(|| {
                                share
                                    .tree()
                                    .held(&share.tree().mounted(None).unwrap().id, &below)
                                    .unwrap()
                            });
                        for epoch in &held.collection.epochs {
                            let key = *held.object_key(epoch).unwrap().expose_secret();
                            self.people[n].keys.insert((folder, key));
                        }
                    }
                }
                assert_eq!(current, readable, "{n} {folder}: reads what is written now");
                let last = self.people[n].reached.get(folder).copied().unwrap_or(0);
                for object in self.written.iter().filter(|w| w.folder == folder) {
                    let has = self.people[n].keys.contains(&(folder, object.key));
                    if object.step > last {
                        assert!(!has, "{n} {folder}: written after access had ended");
                    } else if readable {
                        assert!(has, "{n} {folder}: written before");
                    }
                }
            }
        }
    }
}

fn run(suite: Suite, steps: &[(u8, usize, usize)]) {
    let mut world = World::new(suite);
    for (kind, a, b) in steps {
        world.step(*kind, *a, *b);
        world.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn members_read_what_the_group_reads_and_nobody_longer(
        signed in any::<bool>(),
        steps in prop::collection::vec((0u8..9, 0usize..12, 0usize..6), 1..16),
    ) {
        run(if signed { Suite::V2 } else { Suite::V1 }, &steps);
    }
}

#[test]
fn a_group_over_snapshots_and_rotations() {
    for suite in [Suite::V1, Suite::V2] {
        run(
            suite,
            &[
                (0, 0, 0),
                (2, 0, 0),
                (8, 0, 0),
                (0, 0, 1),
                (2, 3, 0),
                (8, 0, 0),
                (4, 0, 0),
                (7, 0, 0),
                (0, 0, 2),
                (3, 1, 1),
                (4, 0, 0),
            ],
        );
    }
}

/// One grant serves all: a letter each for the remaining, and one for the group.
#[test]
fn removing_a_member_takes_one_entry_and_one_bundle() {
    let mut world = World::new(Suite::V1);
    let members: Vec<GrantId> = (0..3).map(|n| world.join(0, n).unwrap()).collect();
    world.share("a", To::Group(0), false);
    world.share("d", To::Group(0), false);
    world.check();
    let before = (world.vault.entries.len(), world.records.len());
    world.revoke(members[1]).unwrap();
    let after = (world.vault.entries.len(), world.records.len());
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    world.check();
    assert_eq!(world.open(0).len(), 2);
    let closed = world.open(1);
    assert!(closed.len() == 2 && closed.iter().all(Share::is_closed));
}

#[test]
fn the_other_road_is_named() {
    let mut world = World::new(Suite::V1);
    let member = world.join(0, 0).unwrap();
    let of_board = world.join(1, 0).unwrap();
    world.share("a", To::Group(0), false);
    let own = world.share("a/b", To::Person(0), false);
    let refused = |error: Result<()>, road: &str| match error {
        Err(Error::InvalidInput(text)) => assert!(text.contains(road), "{text}"),
        other => panic!("{other:?}"),
    };
    // Out of the folder inside, while the group reads the one around it.
    refused(world.revoke(own), "\"team\"");
    // The road of his own does not lead to all that the group reads.
    world.revoke(member).unwrap();
    world.check();
    let member = world.join(0, 0).unwrap();
    let around = world.share("", To::Person(0), false);
    refused(world.revoke(member), "another grant");
    world.share("a", To::Group(1), false);
    world.check();
    // Whichever of the roads is met first.
    refused(world.revoke(own), "keeps access");
    let both = [member, own, around];
    let error = world.decide(Decision::Revoke(both.to_vec())).map(drop);
    refused(error, "\"board\"");
    let all = [member, own, around, of_board];
    world.decide(Decision::Revoke(all.to_vec())).unwrap();
    for id in all {
        world.members.remove(&id);
        world.grants.remove(&id);
    }
    world.check();
}

#[test]
fn what_cannot_be_decided() {
    let mut world = World::new(Suite::V1);
    let group = |name: &str| Decision::NewGroup {
        name: name.to_owned(),
        suite: IdentitySuite::XWing,
    };
    let join = |group: &str, recipient: Recipient| Decision::Join {
        group: group.to_owned(),
        recipient,
    };
    let card = world.identities[0].card().clone();
    let contact = |name: &str| crate::Contact::new(name, card.clone()).unwrap();
    world.decide(Decision::Contact(contact("anna"))).unwrap();
    for name in ["team", "anna", "", "a/b", "a\nb", ".", &"x".repeat(256)] {
        let error = world.decide(group(name)).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{name:?}");
    }
    let error = world
        .decide(Decision::Contact(contact("team")))
        .unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)));
    let ledger = world.vault.ledger();
    let board = ledger.group("board").unwrap().recipient().unwrap();
    let error = world.decide(join("team", board)).unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)));
    let anna = recipient(&world.identities[0]);
    let error = world.decide(join("none", anna.clone())).unwrap_err();
    assert_eq!(error, Error::NotFound("group"));
    world.decide(join("team", anna.clone())).unwrap();
    let error = world.decide(join("team", anna)).unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)));
}

/// A recipient that was made before somebody left: what is shared goes to the group as
/// it is now.
#[test]
fn l08_a_card_of_an_earlier_generation_is_not_sealed_to() {
    let mut world = World::new(Suite::V1);
    let member = world.join(0, 0).unwrap();
    world.join(0, 1).unwrap();
    let ledger = world.vault.ledger();
    let old = ledger.group("team").unwrap().recipient().unwrap();
    world.revoke(member).unwrap();
    let decision = Decision::Share {
        scope: Scope::Folder(Some(path("a"))),
        recipient: old,
        terms: Terms::reading(),
    };
    let id = world.decide(decision).unwrap().unwrap();
    world.grants.insert(id, ("a", To::Group(0)));
    assert_eq!((world.open(0).len(), world.open(1).len()), (0, 1));
    world.check();
}

fn with_orphan(vault: &Vault, orphan: &Entry) -> Ledger {
    let head = vault.head().position();
    let start = Ledger::window_start(head.sequence) as usize;
    let entries = vault.entries[start..].iter().chain([orphan]).cloned();
    Ledger::read(head, entries, vault.header(), &vault.secrets).unwrap()
}

/// An entry that removed a member lost its number: it is done again, with what came
/// into the group's reach meanwhile, and a snapshot settles it.
#[test]
fn a_removal_outside_the_chain_is_done_again() {
    for at_a_snapshot in [false, true] {
        let mut world = World::new(Suite::V1);
        let member = world.join(0, 0).unwrap();
        world.join(0, 1).unwrap();
        world.share("a", To::Group(0), false);
        while at_a_snapshot && world.vault.entries.len() < 62 {
            world.decide(Decision::CatchUp).unwrap();
        }
        world.check();
        let lost = world.vault.ledger().next(
            world.vault.header(),
            &world.vault.secrets,
            9,
            Decision::Revoke(vec![member]),
        );
        let orphan = lost.unwrap().entry;
        world.share("d", To::Group(0), false);
        world.check();
        while at_a_snapshot && world.vault.entries.len() < 64 {
            world.decide(Decision::CatchUp).unwrap();
        }
        let ledger = with_orphan(&world.vault, &orphan);
        assert!(ledger.is_behind(world.vault.header(), &world.vault.secrets, 9));
        let (header, secrets) = (world.vault.header(), &world.vault.secrets);
        let again = ledger.next(header, secrets, 9, Decision::CatchUp).unwrap();
        world.vault.entries.push(again.entry.clone());
        world.take(&again);
        world.members.remove(&member);
        let ledger = with_orphan(&world.vault, &orphan);
        assert!(!ledger.is_behind(world.vault.header(), &world.vault.secrets, 9));
        assert_eq!(ledger.group("team").unwrap().members().count(), 1);
        world.check();
    }
}

/// Somebody is given a folder, or taken into a group, by the very entry that closes its
/// epoch for another reason: the letter has the keys that follow.
#[test]
fn who_comes_with_the_entry_that_closes_an_epoch_goes_on() {
    for suite in [Suite::V1, Suite::V2] {
        let mut world = World::new(suite);
        world.share("a", To::Person(0), false);
        world.share("a", To::Group(0), true);
        world.join(0, 1).unwrap();
        world.vault.rotate(&[phrase(1)]);
        world.share("a", To::Person(2), false);
        world.check();
        world.vault.rotate(&[phrase(1)]);
        world.join(0, 2).unwrap();
        world.check();
    }
}

/// An object moves out of a collection by the mount of a folder around it: whoever may
/// write it signs nothing any more where it was.
#[test]
fn who_writes_one_object_signs_where_it_is() {
    let mut world = World::new(Suite::V2);
    world.share("a", To::Person(0), false);
    let decision = Decision::Share {
        scope: Scope::Object(path("a/b/x")),
        recipient: recipient(&world.identities[1]),
        terms: Terms {
            write: true,
            ..Terms::reading()
        },
    };
    let his = world.decide(decision).unwrap().unwrap();
    let signs = |world: &World, folder: &str| {
        let ledger = world.vault.ledger();
        let own = ledger.tree().mounted(Some(&path(folder))).unwrap();
        let key = world.identities[1].card().signing_key();
        own.writers.current().contains(key)
    };
    assert!(signs(&world, "a"));
    world.share("a/b", To::Person(2), false);
    assert_eq!((signs(&world, "a"), signs(&world, "a/b")), (false, true));
    world.decide(Decision::Revoke(vec![his])).unwrap();
    assert_eq!((signs(&world, "a"), signs(&world, "a/b")), (false, false));
}

/// Two devices open the vault after a grant has run out: what one has done, the other
/// does not owe.
#[test]
fn devices_that_catch_up_together_rotate_once() {
    for to_group in [false, true] {
        let mut world = World::new(Suite::V1);
        let card = match to_group {
            true => world.vault.ledger().group("team").unwrap().recipient(),
            false => Ok(recipient(&world.identities[0])),
        };
        let decision = Decision::Share {
            scope: Scope::Folder(Some(path("a"))),
            recipient: card.unwrap(),
            terms: Terms {
                not_after: Some(5),
                ..Terms::reading()
            },
        };
        world.decide(decision).unwrap();
        let ledger = world.vault.ledger();
        let (header, secrets) = (world.vault.header(), &world.vault.secrets);
        assert!(ledger.is_behind(header, secrets, 9));
        let [won, lost] = [0; 2].map(|_| ledger.next(header, secrets, 9, Decision::CatchUp));
        world.vault.entries.push(won.unwrap().entry);
        let ledger = with_orphan(&world.vault, &lost.unwrap().entry);
        let (header, secrets) = (world.vault.header(), &world.vault.secrets);
        assert!(!ledger.is_behind(header, secrets, 9));
        assert_eq!(ledger.grants().count(), 0);
    }
}

/// Whatever takes something away goes on where nothing more can be added.
#[test]
fn what_a_vault_keeps_fits_into_a_snapshot() {
    let vault = Vault::make(false, &phrase(1));
    let card = Identity::make(IdentitySuite::XWing, 1).unwrap();
    let contact = |n: usize| Contact::new(&format!("contact {n}"), card.card().clone()).unwrap();
    let mut ledger = vault.ledger();
    let (header, secrets) = (vault.header(), &vault.secrets);
    for n in 0..2_400 {
        ledger.state.contacts.insert(contact(n).name, contact(n));
    }
    ledger.head.sequence = 63;
    let more = ledger.next(header, secrets, 9, Decision::Contact(contact(9_999)));
    assert!(matches!(more, Err(Error::LimitExceeded(_))));
    let less = Decision::Forget("contact 7".to_owned());
    let entry = ledger.next(header, secrets, 9, less).unwrap().entry;
    let Action::Snapshot(state) = &entry.actions(secrets).unwrap()[0] else {
        panic!("each 64th entry begins with a snapshot");
    };
    assert_eq!(state.contacts.len(), 2_400);
    // And so does one entry about very many folders.
    let many = Actions((0..10_000).map(|n| Action::Forget(n.to_string())).collect());
    assert_eq!(Actions::decode(&many.encode()).unwrap().0.len(), 10_000);
}

#[test]
fn the_statement_of_access_names_people_and_their_time_in_the_group() {
    let mut world = World::new(Suite::V1);
    let anna = world.join(0, 0).unwrap();
    let to_group = world.share("a", To::Group(0), false);
    world.join(0, 1).unwrap();
    world.revoke(anna).unwrap();
    world.revoke(to_group).unwrap();
    // After the grant had ended, and so not in it.
    world.join(0, 2).unwrap();
    let history = Ledger::history(&world.vault.entries, &world.vault.secrets).unwrap();
    let found: Vec<_> = history
        .grants
        .iter()
        .map(|p| {
            let (group, member) = p.through.as_ref().unwrap();
            let who = member.card().fingerprint();
            let who = world
                .identities
                .iter()
                .position(|i| i.card().fingerprint() == who);
            (
                group.as_str(),
                who.unwrap(),
                p.grant.filed().max(member.filed()),
                p.ended.unwrap().0,
            )
        })
        .collect();
    assert_eq!(found, [("team", 0, 4, 6), ("team", 1, 5, 7)]);
    assert!(history.grants.iter().all(|p| p.grant.id() == to_group));
}

#[test]
fn groups_come_back_as_they_were_and_others_are_refused() {
    use crate::group::{Generations, Group};
    let mut world = World::new(Suite::V1);
    let first = world.join(0, 0).unwrap();
    world.join(0, 1).unwrap();
    world.revoke(first).unwrap();
    let ledger = world.vault.ledger();
    let group = ledger.group("team").unwrap();
    let keys = group.keys().unwrap();
    assert_eq!(
        &*Group::decode(&group.encode()).unwrap().encode(),
        &**group.encode()
    );
    let again = Generations::decode(&keys.encode()).unwrap();
    assert_eq!(again.hash(), keys.hash());
    for flip in crate::testing::flips(&keys.encode()) {
        // Whatever decodes is another record: the statement has its hash.
        if let Ok(other) = Generations::decode(&flip.1) {
            assert_ne!(other.hash(), keys.hash(), "byte {}", flip.0);
        }
    }
    for length in 0..group.encode().len() {
        assert!(
            Group::decode(&group.encode()[..length]).is_err(),
            "{length}"
        );
    }
    assert_ne!(keys.hash(), RecordHash::MIN);
}
