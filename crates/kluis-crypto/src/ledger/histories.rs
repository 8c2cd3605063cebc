//! Random histories of an owner's decisions: what the owner holds, what those hold
//! who follow, and what is left to those whose access was taken, against a model
//! that knows nothing of trees.

use super::{Decision, Ledger};
use crate::collection::{Collection, Epoch};
use crate::contact::{Contact, Recipient};
use crate::grant::{Share, Terms};
use crate::testing::{Vault, phrase};
use crate::tree::{Past, Scope, Tree};
use crate::{
    CollectionId, Entry, Error, GrantId, Identity, IdentitySuite, Result, Suite, VaultPath,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const FOLDERS: [&str; 6] = ["", "a", "a/b", "a/b/c", "a/e", "d"];
const PATHS: [&str; 9] = [
    "x",
    "a/x",
    "a/b/x",
    "a/b/c/x",
    "a/b/c/d/x",
    "a/e/x",
    "a/ee/x",
    "d/x",
    "a/b/x/y",
];

fn folder(text: &str) -> Option<VaultPath> {
    (!text.is_empty()).then(|| path(text))
}

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

/// What is known of a collection: where and when it was mounted, its epochs with
/// the entries that opened them, and its floor.
struct Known {
    mount: &'static str,
    mounted: u64,
    epochs: Vec<(u32, u64)>,
    floor: u32,
}

impl Known {
    fn reaches(&self, path: &str) -> bool {
        self.mount.is_empty() || path.starts_with(&format!("{}/", self.mount))
    }
}

#[derive(Default)]
struct Model(BTreeMap<CollectionId, Known>);

impl Model {
    fn writer(&self, path: &str) -> (CollectionId, u32) {
        let reaching = self.0.iter().filter(|(_, c)| c.reaches(path));
        let (id, nearest) = reaching.max_by_key(|(_, c)| c.mount.len()).unwrap();
        (*id, nearest.epochs.last().unwrap().0)
    }

    fn closed_at(&self, id: &CollectionId, epoch: u32, path: &str) -> Option<u64> {
        let own = &self.0[id];
        let later = own.epochs.iter().filter(|(number, _)| *number > epoch);
        let inner = self.inner(own, path).map(|c| c.mounted);
        later.map(|(_, opened)| *opened).chain(inner).min()
    }

    fn is_refused(&self, id: &CollectionId, epoch: u32, path: &str) -> bool {
        let own = &self.0[id];
        epoch < own.floor || self.inner(own, path).any(|c| c.floor > 0)
    }

    fn inner<'a>(&'a self, own: &'a Known, path: &'a str) -> impl Iterator<Item = &'a Known> {
        let inside = |c: &&Known| c.reaches(path) && c.mount.len() > own.mount.len();
        self.0.values().filter(inside)
    }
}

struct Member {
    identity: Identity,
    /// A folder, or one object.
    at: &'static str,
    is_object: bool,
    grant: GrantId,
    filed: u64,
    past: Past,
    share: Share,
    revoked: bool,
}

impl Member {
    /// As a client does: each entry, and the bundle where one is awaited.
    fn follow(&mut self, entry: &Entry, records: &[(String, Vec<u8>)]) {
        if self.share.is_closed() {
            return;
        }
        self.share.follow(entry).unwrap();
        if let Some(hash) = self.share.awaited() {
            let path = crate::bundle_path(hash);
            let found = records.iter().find(|(p, _)| *p == path);
            let is_told = self.share.renew(&self.identity, &found.unwrap().1).unwrap();
            assert_eq!(is_told, !self.revoked);
        }
        assert_eq!(self.share.is_closed(), self.revoked);
        assert_eq!(self.share.head(), entry.position());
    }

    fn below(&self, of: &str) -> Option<VaultPath> {
        if self.is_object {
            return (of == self.at).then(|| path(of).own());
        }
        path(of).below(folder(self.at).as_ref())
    }
}

/// An object as it was written: its key, and what its header says.
struct Written {
    path: &'static str,
    collection: CollectionId,
    epoch: u32,
    stamp: u64,
    key: [u8; 32],
}

struct World {
    vault: Vault,
    people: Vec<Identity>,
    members: Vec<Member>,
    model: Model,
    written: Vec<Written>,
}

fn key_of(tree: &Tree, id: &CollectionId, epoch: &Epoch, at: &VaultPath) -> Option<[u8; 32]> {
    let held = tree.held(id, at)?;
    Some(*held.object_key(epoch)?.expose_secret())
}

/// Every key for an object that a tree holds, of any collection and epoch.
fn all_keys(tree: &Tree, at: &VaultPath) -> Vec<(CollectionId, u32, [u8; 32])> {
    let keys = tree.collections().flat_map(|c| {
        let of_epoch = move |e: &Epoch| Some((c.id, e.number, key_of(tree, &c.id, e, at)?));
        c.epochs.iter().filter_map(of_epoch)
    });
    keys.collect()
}

fn of_chain(collection: &Collection, number: u32) -> &Epoch {
    let mut epochs = collection.epochs.iter();
    let found = epochs.find(|e| e.number == number && !e.orphan);
    found.unwrap_or_else(|| panic!("no epoch {number}"))
}

impl World {
    fn new() -> Self {
        let vault = Vault::make(false, &phrase(1));
        let people = [IdentitySuite::X25519; 3].map(|suite| Identity::make(suite, 1).unwrap());
        let mut world = Self {
            vault,
            people: people.into(),
            members: Vec::new(),
            model: Model::default(),
            written: Vec::new(),
        };
        let root = world.vault.ledger().root().id;
        let known = Known {
            mount: "",
            mounted: 0,
            epochs: vec![(0, 0)],
            floor: 0,
        };
        world.model.0.insert(root, known);
        world
    }

    fn close(&mut self, at: &str, sequence: u64) {
        let inside = |c: &&mut Known| {
            at.is_empty() || c.mount == at || c.mount.starts_with(&format!("{at}/"))
        };
        for known in self.model.0.values_mut().filter(inside) {
            let (last, opened) = *known.epochs.last().unwrap();
            if opened < sequence {
                known.epochs.push((last + 1, sequence));
            }
        }
    }

    /// The one collection that an object lies in.
    fn close_around(&mut self, object: &str, sequence: u64) {
        let (own, _) = self.model.writer(object);
        let known = self.model.0.get_mut(&own).unwrap();
        let (last, opened) = *known.epochs.last().unwrap();
        if opened < sequence {
            known.epochs.push((last + 1, sequence));
        }
    }

    fn decide(&mut self, decision: Decision) -> Result<crate::ledger::Appended> {
        let appended = self.vault.decide(decision)?;
        for member in &mut self.members {
            member.follow(&appended.entry, &appended.records);
        }
        Ok(appended)
    }

    fn share(&mut self, at: &'static str, person: usize, past: Past) {
        self.share_scope(at, Scope::Folder(folder(at)), person, past);
    }

    fn share_scope(&mut self, at: &'static str, scope: Scope, person: usize, past: Past) {
        let sequence = self.vault.entries.len() as u64;
        let card = self.people[person].card().clone();
        let is_object = matches!(scope, Scope::Object(_));
        let decision = Decision::Share {
            scope,
            recipient: Recipient::trusted_on_first_use(card).allow_classical(),
            terms: Terms {
                past,
                ..Terms::reading()
            },
        };
        let appended = self.decide(decision).unwrap();
        let (grant, name) = appended.granted.unwrap();
        let (_, letter) = appended
            .records
            .iter()
            .find(|r| r.0 == name.path())
            .unwrap();
        let vault = self.vault.secrets.vault();
        let mut share = Share::open(&self.people[person], &vault, &name, letter).unwrap();
        share.follow(&appended.entry).unwrap();
        assert_eq!(share.id(), grant);
        let secrets = self.people[person].to_secret_bytes();
        self.members.push(Member {
            identity: Identity::from_secret_bytes(&secrets).unwrap(),
            at,
            is_object,
            grant,
            filed: sequence,
            past,
            share,
            revoked: false,
        });
        if is_object {
            if past == Past::HeldBack {
                self.close_around(at, sequence);
            }
            return;
        }
        let own = self
            .vault
            .ledger()
            .tree()
            .mounted(folder(at).as_ref())
            .unwrap()
            .id;
        self.model.0.entry(own).or_insert_with(|| Known {
            mount: at,
            mounted: sequence,
            epochs: vec![(1, sequence)],
            floor: 0,
        });
        if past == Past::HeldBack {
            self.close(at, sequence);
        }
    }

    fn revoke(&mut self, which: usize) {
        let live: Vec<usize> = (0..self.members.len())
            .filter(|i| !self.members[*i].revoked)
            .collect();
        if live.is_empty() {
            return;
        }
        let member = live[which % live.len()];
        let (grant, at) = (self.members[member].grant, self.members[member].at);
        let is_object = self.members[member].is_object;
        self.members[member].revoked = true;
        let sequence = self.vault.entries.len() as u64;
        match self.decide(Decision::Revoke(vec![grant])) {
            Ok(_) if is_object => self.close_around(at, sequence),
            Ok(_) => self.close(at, sequence),
            // The same person has another way in.
            Err(Error::InvalidInput(_)) => self.members[member].revoked = false,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn raise_floors(&mut self, at: &str) {
        let ledger = self.vault.ledger();
        let raised = ledger.tree().floors_to_raise(folder(at).as_ref());
        if raised.is_empty() {
            return;
        }
        self.decide(Decision::RaiseFloors(raised.clone())).unwrap();
        for (id, floor) in raised {
            self.model.0.get_mut(&id).unwrap().floor = floor;
        }
    }

    fn step(&mut self, kind: u8, a: usize, b: usize) {
        let sequence = self.vault.entries.len() as u64;
        let at = FOLDERS[a % FOLDERS.len()];
        match kind {
            0..=3 => self.share(at, b % 3, Past::Shared),
            4 => self.share(at, b % 3, Past::HeldBack),
            5..=7 => self.revoke(a),
            8 => self.raise_floors(at),
            9 => {
                self.vault.rotate(&[phrase(1)]);
                self.decide(Decision::CatchUp).unwrap();
                self.close("", sequence);
            }
            10 => {
                let card = self.people[b % 3].card().clone();
                let contact = Contact::new("somebody", card).unwrap();
                self.decide(Decision::Contact(contact)).unwrap();
            }
            12..=14 => {
                let at = PATHS[a % PATHS.len()];
                let past = if kind == 14 {
                    Past::HeldBack
                } else {
                    Past::Shared
                };
                self.share_scope(at, Scope::Object(path(at)), b % 3, past);
            }
            // On to the next snapshot.
            _ => {
                while self.vault.entries.len() % 64 != 63 {
                    self.decide(Decision::CatchUp).unwrap();
                }
            }
        }
    }

    fn write(&mut self, ledger: &Ledger) {
        for text in PATHS {
            let at = path(text);
            let (held, epoch) = ledger.tree().writer(&at).unwrap();
            assert_eq!(
                (held.collection.id, epoch.number),
                self.model.writer(text),
                "{text}"
            );
            self.written.push(Written {
                path: text,
                collection: held.collection.id,
                epoch: epoch.number,
                stamp: ledger.tree().head(),
                key: *held.object_key(epoch).unwrap().expose_secret(),
            });
        }
    }

    fn check(&mut self) {
        let ledger = self.vault.ledger();
        let tree = ledger.tree();
        self.write(&ledger);
        for text in PATHS {
            for (id, known) in &self.model.0 {
                for (epoch, _) in known.epochs.iter().filter(|_| known.reaches(text)) {
                    let collection = tree.get(id).unwrap();
                    let of_chain = of_chain(collection, *epoch);
                    let closed = tree.closed_at(collection, of_chain, &path(text));
                    assert_eq!(closed, self.model.closed_at(id, *epoch, text), "{text}");
                    let refused = tree.is_below_floor(collection, of_chain, &path(text));
                    assert_eq!(refused, self.model.is_refused(id, *epoch, text), "{text}");
                }
            }
        }
        for member in &self.members {
            self.check_member(tree, member);
        }
    }

    fn check_member(&self, owner: &Tree, member: &Member) {
        let theirs = member.share.tree();
        for text in PATHS {
            let Some(below) = member.below(text) else {
                if member.is_object {
                    // Whatever it is called, no key for it is held.
                    for at in [path(text), path(text).own()] {
                        let is_it = at == path(member.at).own();
                        assert_eq!(all_keys(theirs, &at).is_empty(), !is_it, "{text}");
                        assert_eq!(theirs.store_path(&at).is_ok(), is_it, "{text}");
                        assert!(is_it || member.revoked || theirs.writer(&at).is_err());
                    }
                    let keys = all_keys(theirs, &path(member.at).own());
                    let others = self.written.iter().filter(|object| object.path == text);
                    for object in others {
                        let found = keys.iter().any(|(_, _, key)| *key == object.key);
                        assert!(!found, "{text} with the keys of {}", member.at);
                    }
                }
                continue;
            };
            let keys = all_keys(theirs, &below);
            // Whatever they hold is the owner's, and means the same there.
            let owners = all_keys(owner, &path(text));
            for key in &keys {
                assert!(owners.contains(key), "{text}: {:?}", member.at);
                let (id, epoch, _) = key;
                let [of_owner, of_member] =
                    [(owner, path(text)), (theirs, below.clone())].map(|(tree, at)| {
                        let collection = tree.get(id).unwrap();
                        let opened = of_chain(collection, *epoch);
                        let closed = tree.closed_at(collection, opened, &at);
                        // What was closed before it was opened seals nothing there:
                        // since when, only those know who hold the past.
                        let closed = closed.map(|closed| closed.max(opened.opened));
                        let is_refused = tree.is_below_floor(collection, opened, &at);
                        (is_refused, closed.filter(|_| !is_refused))
                    });
                if !member.revoked {
                    assert_eq!(of_owner, of_member, "{text}: {:?} {epoch}", member.at);
                }
            }
            if member.revoked {
                assert!(matches!(theirs.writer(&below), Err(Error::AccessDenied(_))));
            } else {
                let (held, epoch) = theirs.writer(&below).unwrap();
                let found = (held.collection.id, epoch.number);
                assert_eq!(found, self.model.writer(text), "{text}");
            }
            for object in self.written.iter().filter(|object| object.path == text) {
                let found = keys.iter().any(|(_, _, key)| *key == object.key);
                let is_later = object.stamp >= member.share.head().sequence;
                if member.revoked && is_later {
                    assert!(!found, "{text}: written after access had ended");
                } else if member.past == Past::HeldBack && object.stamp < member.filed {
                    assert!(!found, "{text}: written before access was given");
                } else if !member.revoked {
                    let at = path(text);
                    let collection = owner.get(&object.collection).unwrap();
                    let epoch = of_chain(collection, object.epoch);
                    let closed = owner.closed_at(collection, epoch, &at);
                    let is_good = !owner.is_below_floor(collection, epoch, &at)
                        && closed.is_none_or(|closed| closed > object.stamp);
                    assert!(found || !is_good, "{text}: not found by a member");
                }
            }
        }
    }
}

fn run(steps: &[(u8, usize, usize)]) {
    let mut world = World::new();
    world.check();
    for (kind, a, b) in steps {
        world.step(*kind, *a, *b);
        world.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn f12_f13_owner_and_members_agree_and_who_was_revoked_reads_nothing_new(
        steps in prop::collection::vec((0u8..15, 0usize..60, 0usize..3), 1..20),
    ) {
        run(&steps);
    }
}

#[test]
fn members_follow_across_snapshots() {
    // Shares and closings right at the entries 64 and 128, and on both sides.
    run(&[
        (0, 1, 0),
        (0, 2, 1),
        (11, 0, 0),
        (0, 3, 2),
        (5, 1, 0),
        (4, 2, 1),
        (11, 0, 0),
        (5, 0, 0),
        (8, 1, 0),
        (0, 1, 0),
        (9, 0, 0),
    ]);
}

#[test]
fn an_object_is_followed_through_mounts_around_it_and_revocations() {
    run(&[
        (12, 2, 0),
        (13, 2, 1),
        (14, 2, 2),
        // The folder that it lies in, one above, and one beside.
        (0, 2, 1),
        (0, 1, 2),
        (0, 4, 2),
        (5, 0, 0),
        (12, 3, 0),
        (12, 4, 2),
        (4, 3, 1),
        (8, 0, 0),
        (9, 0, 0),
        (11, 0, 0),
        (5, 1, 0),
        (5, 0, 0),
        (5, 0, 0),
    ]);
}

/// What was closed since somebody looked what is left was not looked for.
#[test]
fn l07_a_floor_is_of_the_epoch_that_was_looked_at() {
    let mut world = World::new();
    world.share("a", 0, Past::Shared);
    world.share("a", 1, Past::Shared);
    world.revoke(0);
    let floors = world
        .vault
        .ledger()
        .tree()
        .floors_to_raise(folder("a").as_ref());
    world.revoke(1);
    world.decide(Decision::RaiseFloors(floors.clone())).unwrap();
    let ledger = world.vault.ledger();
    let a = ledger.tree().mounted(folder("a").as_ref()).unwrap();
    assert_eq!(vec![(a.id(), a.floor)], floors);
    assert!(a.floor < a.current().unwrap().number);
    // And never goes down.
    let low = vec![(a.id(), 1)];
    world.decide(Decision::RaiseFloors(low)).unwrap();
    let ledger = world.vault.ledger();
    assert_eq!(ledger.tree().get(&floors[0].0).unwrap().floor, floors[0].1);
    let high = vec![(floors[0].0, 99)];
    let refused = world.decide(Decision::RaiseFloors(high));
    assert!(matches!(refused, Err(Error::InvalidInput(_))));
}

/// The lease: writers stop a time after the newest entry that they are shown, and
/// the owner's client adds one at half of it.
#[test]
fn l02_writers_go_on_as_long_as_the_lease_lasts() {
    let mut world = World::new();
    world.share("a", 0, Past::Shared);
    let lease = |of: &'static str, seconds| Decision::Lease {
        folder: folder(of),
        seconds,
    };
    let set = |world: &mut World, decision| {
        let ledger = world.vault.ledger();
        let now = 10_000_000;
        let next = ledger.next(world.vault.header(), &world.vault.secrets, now, decision)?;
        for member in &mut world.members {
            member.follow(&next.entry, &next.records);
        }
        world.vault.entries.push(next.entry.clone());
        Ok::<_, Error>(next.entry.written())
    };
    // Not of a folder that nobody else writes to, and not shorter than clocks differ.
    for refused in [
        lease("b", Some(600)),
        lease("a", Some(59)),
        lease("a", Some(0)),
    ] {
        let found = set(&mut world, refused);
        assert!(matches!(found, Err(Error::InvalidInput(_))), "{found:?}");
    }
    let newest = set(&mut world, lease("a", Some(600))).unwrap();
    let at = |seconds: u64| newest + seconds * 1_000_000;
    let may_write = |world: &World, seconds: u64| {
        let theirs = world.members[0].share.tree();
        let ledger = world.vault.ledger();
        let written = ledger.written();
        let check = |tree: &Tree, path: &VaultPath| tree.check_lease(path, written, at(seconds));
        let found = [
            check(theirs, &path("x")),
            check(ledger.tree(), &path("a/x")),
            check(ledger.tree(), &path("elsewhere")),
        ];
        assert_eq!(found[2], Ok(()), "no lease there");
        assert_eq!(found[0], found[1]);
        found[0].is_ok()
    };
    let owes = |world: &World, seconds: u64| {
        let (header, secrets) = (world.vault.header(), &world.vault.secrets);
        world.vault.ledger().is_behind(header, secrets, at(seconds))
    };
    assert!(may_write(&world, 0) && may_write(&world, 600) && !may_write(&world, 601));
    assert!(!owes(&world, 300) && owes(&world, 301));
    // A folder in it that is mounted later has it too, and who gets a letter.
    world.share("a/b", 1, Past::Shared);
    let inner = world.members[1].share.tree();
    assert!(inner.check_lease(&path("x"), newest, at(601)).is_err());
    let outer = world.members[0].share.tree();
    assert!(outer.check_lease(&path("b/x"), newest, at(601)).is_err());
    // Its end is told as well.
    set(&mut world, lease("a", None)).unwrap();
    assert!(may_write(&world, 100_000) && !owes(&world, 100_000));
    let inner = world.members[1].share.tree();
    assert_eq!(inner.check_lease(&path("x"), newest, at(601)), Ok(()));
}

/// The ledger with entries outside its chain.
fn with_orphans(vault: &Vault, orphans: &[&Entry]) -> Ledger {
    let head = vault.head().position();
    let start = Ledger::window_start(head.sequence) as usize;
    let chain = vault.entries[start..].iter();
    let entries = chain.chain(orphans.iter().copied()).cloned();
    Ledger::read(head, entries, vault.header(), &vault.secrets).unwrap()
}

#[test]
fn mounts_and_revocations_of_orphans() {
    let mut world = World::new();
    world.share("a", 0, Past::Shared);
    let vault = &world.vault;
    let next = |decision| {
        vault
            .ledger()
            .next(vault.header(), &vault.secrets, 9, decision)
    };
    let card = world.people[1].card().clone();
    let mounted = next(Decision::Share {
        scope: Scope::Folder(folder("d")),
        recipient: Recipient::trusted_on_first_use(card).allow_classical(),
        terms: Terms::reading(),
    });
    let mounted = mounted.unwrap().entry;
    let revoked = next(Decision::Revoke(vec![world.members[0].grant]));
    let revoked = revoked.unwrap().entry;
    // Another entry wins the number.
    world.decide(Decision::CatchUp).unwrap();

    let ledger = with_orphans(&world.vault, &[&mounted, &revoked]);
    let tree = ledger.tree();
    assert!(
        tree.mounted(folder("d").as_ref()).is_none(),
        "not of the chain"
    );
    assert_eq!(tree.collections().count(), 3, "and its key is held");
    let (held, _) = tree.writer(&path("d/x")).unwrap();
    assert_eq!(held.collection.mount, None);
    assert!(ledger.is_behind(world.vault.header(), &world.vault.secrets, 9));

    // What it took back is taken back again, and closed in the chain.
    let next = ledger.next(
        world.vault.header(),
        &world.vault.secrets,
        9,
        Decision::CatchUp,
    );
    let next = next.unwrap();
    world.members[0].revoked = true;
    world.members[0].follow(&next.entry, &next.records);
    world.vault.entries.push(next.entry);
    let ledger = with_orphans(&world.vault, &[&mounted, &revoked]);
    assert_eq!(ledger.grants().count(), 0);
    assert!(!ledger.is_behind(world.vault.header(), &world.vault.secrets, 9));
    let number = |ledger: &Ledger| {
        let a = ledger.tree().mounted(folder("a").as_ref());
        a.unwrap().current().unwrap().number
    };
    assert_eq!(number(&ledger), 2);

    // A snapshot keeps what an orphan mounted, for reading, and settles it.
    while world.vault.entries.len() < 64 {
        world.vault.append();
    }
    let ledger = with_orphans(&world.vault, &[&mounted, &revoked]);
    let next = ledger.next(
        world.vault.header(),
        &world.vault.secrets,
        9,
        Decision::CatchUp,
    );
    world.vault.entries.push(next.unwrap().entry);
    let ledger = world.vault.ledger();
    assert_eq!(ledger.tree().collections().count(), 3);
    assert!(ledger.tree().mounted(folder("d").as_ref()).is_none());
    assert_eq!(number(&ledger), 2);
}

/// Who dies before the claim of his entry leaves a mount that nobody else knows, and its
/// writers.
#[test]
fn mounts_of_orphans_in_a_signed_vault() {
    let mut vault = Vault::make_in(Suite::V2, false, &phrase(1));
    let card = Identity::make(IdentitySuite::XWing, 1)
        .unwrap()
        .card()
        .clone();
    let mut terms = Terms::reading();
    terms.write = true;
    let decision = Decision::Share {
        scope: Scope::Folder(folder("a")),
        recipient: Recipient::trusted_on_first_use(card),
        terms,
    };
    let ledger = vault.ledger();
    let lost = ledger.next(vault.header(), &vault.secrets, 9, decision);
    let lost = lost.unwrap().entry;
    vault.append();
    let ledger = with_orphans(&vault, &[&lost]);
    let orphan = ledger.tree().collections().find(|c| c.mount.is_some());
    let owner = *vault.secrets.identity().card().signing_key();
    assert!(orphan.unwrap().writers.may_write(&owner, 1));
    assert!(ledger.tree().mounted(folder("a").as_ref()).is_none());
}

/// The entry that gives somebody access may end another's as well, by which the epoch
/// before is closed.
#[test]
fn who_comes_with_the_entry_that_closes_an_epoch_stays() {
    let mut vault = Vault::make(false, &phrase(1));
    let people = [1, 2].map(|now| Identity::make(IdentitySuite::XWing, now).unwrap());
    let share = |n: usize, not_after| {
        let mut terms = Terms::reading();
        terms.not_after = not_after;
        Decision::Share {
            scope: Scope::Folder(folder("a")),
            recipient: Recipient::trusted_on_first_use(people[n].card().clone()),
            terms,
        }
    };
    vault.decide(share(0, Some(5_000))).unwrap();
    let ledger = vault.ledger();
    let next = ledger.next(vault.header(), &vault.secrets, 10_000, share(1, None));
    let next = next.unwrap();
    let (_, name) = next.granted.unwrap();
    let letter = next.records.iter().find(|(path, _)| *path == name.path());
    let id = vault.secrets.vault();
    let mut hers = Share::open(&people[1], &id, &name, &letter.unwrap().1).unwrap();
    hers.follow(&next.entry).unwrap();
    assert!(!hers.is_closed());
    assert_eq!(hers.awaited(), None);
    let number = |tree: &Tree, at: &str| tree.writer(&path(at)).unwrap().1.number;
    vault.entries.push(next.entry);
    assert_eq!(
        number(hers.tree(), "x"),
        number(vault.ledger().tree(), "a/x")
    );
}
