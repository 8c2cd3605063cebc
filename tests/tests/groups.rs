//! Groups: one grant serves all who are in them, and nobody longer than he is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::memory::InMemory;
use kluis::{
    Address, Contact, Granted, Identity, IdentitySuite, Kind, MemoryState, Recipient, Result,
    Terms, Vault, VaultOptions,
};
use kluis_adversary::{HostileStore, Op};
use kluis_tests::{as_store, cheap, phrase, read, words};
use std::sync::Arc;
use std::time::Duration;

fn options() -> VaultOptions {
    VaultOptions::new().kdf(cheap()).staleness(Duration::ZERO)
}

fn writing() -> Terms {
    let mut terms = Terms::reading();
    terms.write = true;
    terms
}

struct Person {
    name: &'static str,
    identity: Arc<Identity>,
    state: Arc<MemoryState>,
    store: HostileStore,
}

impl Person {
    fn new(name: &'static str, store: &HostileStore) -> Self {
        Self {
            name,
            identity: Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap()),
            state: Arc::default(),
            store: store.clone(),
        }
    }

    fn recipient(&self) -> Recipient {
        let card = self.identity.card().clone();
        let recipient = Recipient::trusted_on_first_use(card);
        recipient.named(self.name).unwrap()
    }

    fn options(&self) -> VaultOptions {
        let address: Address = "s3://bucket/vault".parse().unwrap();
        options().device_state(self.state.clone(), &address)
    }

    async fn accept(&self, granted: &Granted) -> Result<()> {
        let store = as_store(&self.store);
        let opened = self
            .options()
            .open_as(store, &self.identity, &granted.invitation);
        opened.await?.accept(&granted.invitation, None).await
    }

    async fn open(&self) -> Result<Vault> {
        let store = as_store(&self.store);
        self.options().open(store, self.identity.clone()).await
    }
}

async fn owner(signed: bool) -> (HostileStore, Vault) {
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .signed(signed)
        .create(as_store(&store), phrase(&words()))
        .await
        .unwrap();
    vault.new_group("team").await.unwrap();
    (store, vault)
}

fn assert_code<T>(result: Result<T>, code: &str) {
    match result {
        Err(error) => assert_eq!(error.code(), code, "{error:?}"),
        Ok(_) => panic!("Ok instead of {code}"),
    }
}

#[tokio::test]
async fn one_grant_serves_all_members_and_who_is_removed_reads_nothing_new() {
    for signed in [false, true] {
        let (store, vault) = owner(signed).await;
        let [anna, bob, carl] = ["anna", "bob", "carl"].map(|name| Person::new(name, &store));
        vault.put("photos/old", "old").await.unwrap();
        let in_team = [
            vault.add_to_group("team", &anna.recipient()).await.unwrap(),
            vault.add_to_group("team", &bob.recipient()).await.unwrap(),
        ];
        let team = vault.group("team").unwrap();
        let photos = vault.share("photos", &team, writing()).await.unwrap();
        // The same invitation for all; it opens with what makes them members.
        assert_code(anna.accept(&photos).await, "tampered");
        for (person, membership) in [(&anna, &in_team[0]), (&bob, &in_team[1])] {
            person.accept(membership).await.unwrap();
            person.accept(&photos).await.unwrap();
            let theirs = person.open().await.unwrap();
            assert_eq!(read(&theirs, "photos/old").await.unwrap(), b"old");
            let at = format!("photos/of-{}", person.name);
            theirs.put(&at, person.name).await.unwrap();
            assert_eq!(read(&vault, &at).await.unwrap(), person.name.as_bytes());
            let received = theirs.received().unwrap();
            let seen: Vec<_> = received
                .iter()
                .map(|r| (&*r.name, r.kind, r.group.as_deref()))
                .collect();
            let expected = [
                ("photos", Kind::Folder, Some("team")),
                ("team", Kind::Group, None),
            ];
            assert_eq!(seen, expected);
            assert_code(theirs.get("team/x").await, "not_found");
        }
        // Who comes later reads what was given before, and what was written.
        let his = vault.add_to_group("team", &carl.recipient()).await.unwrap();
        carl.accept(&his).await.unwrap();
        carl.accept(&photos).await.unwrap();
        let carls = carl.open().await.unwrap();
        assert_eq!(read(&carls, "photos/of-bob").await.unwrap(), b"bob");
        carls.put("photos/of-carl", "carl").await.unwrap();

        let bobs = bob.open().await.unwrap();
        vault.remove_from_group("team", "bob").await.unwrap();
        vault.put("photos/new", "new").await.unwrap();
        assert_code(bobs.get("photos/new").await, "access_denied");
        assert_code(bobs.put("photos/forged", "x").await, "access_denied");
        assert_code(bob.open().await, "access_denied");
        // The others go on, also those who had it open.
        for person in [&anna, &carl] {
            let theirs = person.open().await.unwrap();
            assert_eq!(read(&theirs, "photos/new").await.unwrap(), b"new");
            theirs.put("photos/after", person.name).await.unwrap();
        }
        assert_eq!(read(&carls, "photos/new").await.unwrap(), b"new");
        assert_eq!(read(&vault, "photos/after").await.unwrap(), b"carl");
        // What comes later is not for him either, and he may come back.
        let docs = vault.share("docs", &team, Terms::reading()).await.unwrap();
        vault.put("docs/x", "docs").await.unwrap();
        anna.accept(&docs).await.unwrap();
        let hers = anna.open().await.unwrap();
        assert_eq!(read(&hers, "docs/x").await.unwrap(), b"docs");
        assert_code(bob.accept(&docs).await, "tampered");
        let again = vault.add_to_group("team", &bob.recipient()).await.unwrap();
        let opened = options()
            .also(&again.invitation)
            .also(&docs.invitation)
            .open(as_store(&store), bob.identity.clone())
            .await
            .unwrap();
        assert_eq!(read(&opened, "docs/x").await.unwrap(), b"docs");
        assert_code(opened.put("docs/x", "his").await, "access_denied");
    }
}

#[tokio::test]
async fn a_removal_is_one_entry_and_one_bundle_however_many_folders_and_members() {
    let (store, vault) = owner(false).await;
    for name in ["anna", "bob", "carl", "dora"] {
        let person = Person::new(name, &store);
        vault
            .add_to_group("team", &person.recipient())
            .await
            .unwrap();
    }
    let team = vault.group("team").unwrap();
    for folder in ["a", "a/b", "c"] {
        vault.share(folder, &team, Terms::reading()).await.unwrap();
    }
    let before = store.contents().await.unwrap();
    let from = store.journal().calls().len();
    vault.remove_from_group("team", "bob").await.unwrap();
    let after = store.contents().await.unwrap();
    let new: Vec<_> = after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .collect();
    let of = |prefix: &str| {
        new.iter()
            .filter(|path| path.as_ref().starts_with(prefix))
            .count()
    };
    assert_eq!((of("k/g/"), of("k/l/"), of("o/")), (1, 2, 0), "{new:?}");
    let journal = store.journal();
    let puts = &journal.calls()[from..];
    assert_eq!(puts.iter().filter(|call| call.op == Op::Put).count(), 3);
}

#[tokio::test]
async fn names_of_groups_and_roads_that_stay() {
    let (store, vault) = owner(false).await;
    let anna = Person::new("anna", &store);
    let card = anna.identity.card().clone();
    let contact = Contact::new("anna", card.clone()).unwrap();
    vault.save_contact(contact).await.unwrap();
    for name in ["anna", "team", "", "a/b"] {
        assert_code(vault.new_group(name).await, "invalid_input");
    }
    let contact = Contact::new("team", card).unwrap();
    assert_code(vault.save_contact(contact).await, "invalid_input");
    assert_code(vault.group("none").map(drop), "not_found");
    assert_code(vault.remove_from_group("none", "anna").await, "not_found");
    assert_code(vault.remove_from_group("team", "anna").await, "not_found");
    let join = vault.add_to_group("none", &anna.recipient()).await;
    assert_code(join, "not_found");

    let member = vault.add_to_group("team", &anna.recipient()).await.unwrap();
    let team = vault.group("team").unwrap();
    vault.share("a", &team, Terms::reading()).await.unwrap();
    let own = vault.share("a", &anna.recipient(), Terms::reading()).await;
    let own = own.unwrap();
    assert_code(
        vault.remove_from_group("team", "anna").await,
        "invalid_input",
    );
    let error = vault.revoke(&[own.id]).await.unwrap_err();
    assert!(error.to_string().contains("\"team\""), "{error}");
    vault.revoke(&[own.id, member.id]).await.unwrap();
    assert!(vault.groups().unwrap()[0].members.is_empty());
    let grants = vault.grants().unwrap();
    let to: Vec<_> = grants
        .iter()
        .map(|g| (&*g.to, g.group.as_deref()))
        .collect();
    assert_eq!(to, [("team", Some("team"))]);
}

#[tokio::test]
async fn the_statement_of_access_says_who_by_which_group_and_when() {
    let (store, vault) = owner(true).await;
    let [anna, bob] = ["anna", "bob"].map(|name| Person::new(name, &store));
    vault.add_to_group("team", &anna.recipient()).await.unwrap();
    let team = vault.group("team").unwrap();
    let grant = vault.share("a", &team, writing()).await.unwrap();
    vault.add_to_group("team", &bob.recipient()).await.unwrap();
    vault.remove_from_group("team", "anna").await.unwrap();
    let statement = vault.access(Some("a/x")).await.unwrap();
    let found: Vec<_> = statement
        .access
        .iter()
        .map(|p| (&*p.grant.to, p.grant.group.as_deref(), p.ended_by.is_some()))
        .collect();
    let expected = [("anna", Some("team"), true), ("bob", Some("team"), false)];
    assert_eq!(found, expected);
    let all = &statement.access;
    assert!(
        all.iter()
            .all(|p| p.grant.id == grant.id && p.grant.terms.write)
    );
    assert!(all[0].grant.filed < all[1].grant.filed);
    assert!(vault.access(Some("b")).await.unwrap().access.is_empty());
}

/// A removal that died at any of its requests is made or not made, and whoever opens next
/// goes on.
#[tokio::test]
async fn a_removal_that_dies_anywhere_is_made_or_not_made() {
    use kluis_adversary::Cut;
    let mut made = [0, 0];
    for request in 0.. {
        let store = HostileStore::new(InMemory::new());
        let secret = words();
        let create = options().create(as_store(&store), phrase(&secret));
        let vault = create.await.unwrap();
        vault.new_group("team").await.unwrap();
        let [anna, bob] = ["anna", "bob"].map(|name| Person::new(name, &store));
        let mut invitations = Vec::new();
        for person in [&anna, &bob] {
            let granted = vault.add_to_group("team", &person.recipient()).await;
            invitations.push(granted.unwrap());
        }
        let team = vault.group("team").unwrap();
        let shared = vault.share("a", &team, Terms::reading()).await.unwrap();
        for (person, membership) in [&anna, &bob].into_iter().zip(&invitations) {
            person.accept(membership).await.unwrap();
            person.accept(&shared).await.unwrap();
        }
        store.crash(Cut::Before(request));
        let removed = vault.remove_from_group("team", "bob").await;
        store.recover();
        let again = options().open(as_store(&store), phrase(&secret));
        let again = again.await.unwrap();
        again.put("a/x", "new").await.unwrap();
        let is_out = again.groups().unwrap()[0].members.len() == 1;
        made[usize::from(is_out)] += 1;
        assert!(is_out || removed.is_err(), "{request}");
        let hers = anna.open().await.unwrap();
        assert_eq!(read(&hers, "a/x").await.unwrap(), b"new");
        let his = match bob.open().await {
            Ok(his) => read(&his, "a/x").await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(his, !is_out, "{request}");
        if removed.is_ok() {
            break;
        }
    }
    assert!(made[0] > 2 && made[1] > 0, "{made:?}");
}

/// The names under which somebody has what he was given, and whether it has ended.
fn received(vault: &Vault) -> Vec<(String, bool)> {
    let received = vault.received().unwrap().into_iter();
    received.map(|r| (r.name, r.ended)).collect()
}

/// Whoever leaves a group keeps what is his own, and what the group was given ends with his
/// place in it: also one version, for which no key is changed.
#[tokio::test]
async fn what_was_given_to_a_group_ends_with_the_place_in_it_and_nothing_else() {
    for kept in [false, true] {
        let (store, vault) = owner(false).await;
        let bob = Person::new("bob", &store);
        for path in ["photos/x", "docs/x", "one"] {
            vault.put(path, path).await.unwrap();
        }
        let place = vault.add_to_group("team", &bob.recipient()).await.unwrap();
        let team = vault.group("team").unwrap();
        let reading = Terms::reading;
        let grants = [
            vault.share("photos", &team, reading()).await.unwrap(),
            vault.share_version("one", &team, reading()).await.unwrap(),
            vault
                .share("docs", &bob.recipient(), writing())
                .await
                .unwrap(),
        ];
        let bobs = if kept {
            for granted in [&place].into_iter().chain(&grants) {
                bob.accept(granted).await.unwrap();
            }
            bob.open().await.unwrap()
        } else {
            let all = grants.iter().fold(options(), |options, granted| {
                options.also(&granted.invitation)
            });
            let opened = all.open_as(as_store(&store), &bob.identity, &place.invitation);
            opened.await.unwrap()
        };
        assert_eq!(read(&bobs, "one").await.unwrap(), b"one");
        vault.remove_from_group("team", "bob").await.unwrap();
        // Each of these looks at the vault anew.
        for name in ["a", "b", "c"] {
            vault.new_group(name).await.unwrap();
            bobs.put("docs/x", name).await.unwrap();
            assert_code(read(&bobs, "one").await, "access_denied");
        }
        let again = if kept {
            bob.open().await.unwrap()
        } else {
            bobs.clone()
        };
        let expected = [
            ("docs", false),
            ("one", true),
            ("photos", true),
            ("team", true),
        ];
        let expected: Vec<_> = expected
            .map(|(name, ended)| (name.to_owned(), ended))
            .into();
        assert_eq!(received(&again), expected);
        assert_eq!(read(&again, "docs/x").await.unwrap(), b"c");
        for path in ["photos/x", "one"] {
            assert_code(read(&again, path).await, "access_denied");
        }
    }
}

/// A folder that was accepted keeps its name against a group of the same name.
#[tokio::test]
async fn a_group_with_the_name_of_an_accepted_folder_is_accepted_under_another() {
    let (store, vault) = owner(false).await;
    let bob = Person::new("bob", &store);
    vault.put("team/x", "x").await.unwrap();
    let recipient = bob.recipient();
    let folder = vault.share("team", &recipient, Terms::reading());
    bob.accept(&folder.await.unwrap()).await.unwrap();
    let place = vault.add_to_group("team", &recipient).await.unwrap();
    assert_code(bob.accept(&place).await, "already_exists");
    let opened = bob
        .options()
        .open_as(as_store(&store), &bob.identity, &place.invitation)
        .await
        .unwrap();
    opened
        .accept(&place.invitation, Some("crew"))
        .await
        .unwrap();
    let bobs = bob.open().await.unwrap();
    let expected = ["crew", "team"].map(|name| (name.to_owned(), false));
    assert_eq!(received(&bobs), expected);
    assert_eq!(read(&bobs, "team/x").await.unwrap(), b"x");
}

#[tokio::test]
async fn what_a_group_keeps_is_named_once_when_a_grant_to_it_is_taken_back() {
    let (store, vault) = owner(false).await;
    let [anna, bob] = ["anna", "bob"].map(|name| Person::new(name, &store));
    vault.add_to_group("team", &anna.recipient()).await.unwrap();
    let team = vault.group("team").unwrap();
    let a = vault.share("a", &team, Terms::reading()).await.unwrap();
    // Another member, and with his going another card of the group.
    let his = vault.add_to_group("team", &bob.recipient()).await.unwrap();
    let remaining = vault.revoke(&[his.id]).await.unwrap().remaining;
    assert!(remaining.is_empty(), "{remaining:?}");
    vault.add_to_group("team", &bob.recipient()).await.unwrap();
    let team = vault.group("team").unwrap();
    let b = vault.share("b", &team, Terms::reading()).await.unwrap();
    let own = vault.share("c", &anna.recipient(), Terms::reading()).await;
    let seen = |remaining: Vec<kluis::Grant>| -> Vec<_> {
        let seen = remaining.into_iter().map(|g| (g.id, g.to, g.group));
        seen.collect()
    };
    let of = |to: &str| (a.id, to.to_owned(), Some("team".to_owned()));
    let revoked = vault.revoke(&[b.id]).await.unwrap();
    assert_eq!(seen(revoked.remaining), [of("team")]);
    // To a member it remains as hers.
    let revoked = vault.revoke(&[own.unwrap().id]).await.unwrap();
    assert_eq!(seen(revoked.remaining), [of("anna")]);
}

/// A client that was open when somebody joined takes him out all the same.
#[tokio::test]
async fn who_is_taken_out_is_looked_up_in_the_newest_state() {
    let store = HostileStore::new(InMemory::new());
    let secret = words();
    let create = options().create(as_store(&store), phrase(&secret));
    let first = create.await.unwrap();
    first.new_group("team").await.unwrap();
    let second = options().open(as_store(&store), phrase(&secret));
    let second = second.await.unwrap();
    let anna = Person::new("anna", &store);
    let recipient = anna.recipient();
    let old = first.add_to_group("team", &recipient).await.unwrap();
    second.remove_from_group("team", "anna").await.unwrap();
    // Who left and came back has another membership.
    let new = second.add_to_group("team", &recipient).await.unwrap();
    assert_ne!(old.id, new.id);
    first.remove_from_group("team", "anna").await.unwrap();
    assert!(first.groups().unwrap()[0].members.is_empty());
}

#[tokio::test]
async fn forgetting_a_place_in_a_group_forgets_what_came_by_it_and_the_rest_opens() {
    let (store, vault) = owner(false).await;
    let bob = Person::new("bob", &store);
    for path in ["photos/x", "docs/x"] {
        vault.put(path, path).await.unwrap();
    }
    let recipient = bob.recipient();
    let place = vault.add_to_group("team", &recipient).await.unwrap();
    let team = vault.group("team").unwrap();
    let photos = vault.share("photos", &team, Terms::reading());
    let docs = vault.share("docs", &recipient, Terms::reading());
    let all = [place, photos.await.unwrap(), docs.await.unwrap()];
    for granted in &all {
        bob.accept(granted).await.unwrap();
    }
    let forgotten = bob.options().forget_accepted("team").await.unwrap();
    assert_eq!(forgotten, ["team", "photos"]);
    let bobs = bob.open().await.unwrap();
    assert_eq!(received(&bobs), [("docs".to_owned(), false)]);
    assert_eq!(read(&bobs, "docs/x").await.unwrap(), b"docs/x");
    assert_code(read(&bobs, "photos/x").await, "not_found");
    // With the place it is there again, and can be forgotten without it.
    for granted in &all {
        bob.accept(granted).await.unwrap();
    }
    assert_eq!(received(&bob.open().await.unwrap()).len(), 3);
    let forgotten = bob.options().forget_accepted("photos").await.unwrap();
    assert_eq!(forgotten, ["photos"]);
    let names = ["docs", "team"].map(|name| (name.to_owned(), false));
    assert_eq!(received(&bob.open().await.unwrap()), names);
}
