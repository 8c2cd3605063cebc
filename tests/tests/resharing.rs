//! Giving on what was given: who reads what with it before and after the owner has filed
//! it, and how everything below a grant falls with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::memory::InMemory;
use kluis::{
    Address, Contact, Error, GivenOn, GrantFile, Identity, IdentitySuite, Kind, MemoryState, Past,
    Recipient, Result, Terms, Vault, VaultOptions,
};
use kluis_adversary::{Cut, HostileStore};
use kluis_tests::{as_store, contents, options, phrase, read, words};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn identity() -> Arc<Identity> {
    Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap())
}

fn recipient(identity: &Identity, name: &str) -> Recipient {
    Recipient::trusted_on_first_use(identity.card().clone())
        .named(name)
        .unwrap()
}

fn terms(write: bool, reshare: bool) -> Terms {
    let mut terms = Terms::reading();
    (terms.write, terms.reshare) = (write, reshare);
    terms
}

fn address() -> Address {
    "s3://bucket/vault".parse().unwrap()
}

fn fresh() -> VaultOptions {
    options().staleness(Duration::ZERO)
}

fn assert_code<T>(result: Result<T>, code: &str, what: &str) {
    match result {
        Err(error) if error.code() == code => {}
        Err(error) => panic!("{what}: {error:?} instead of {code}"),
        Ok(_) => panic!("{what}: Ok instead of {code}"),
    }
}

struct Owner {
    store: HostileStore,
    vault: Vault,
    words: String,
}

impl Owner {
    async fn make() -> Self {
        let store = HostileStore::new(InMemory::new());
        let words = words();
        let made = fresh().create(as_store(&store), phrase(&words)).await;
        Self {
            vault: made.unwrap(),
            store,
            words,
        }
    }

    async fn again(&self) -> Vault {
        let opened = fresh().open(as_store(&self.store), phrase(&self.words));
        opened.await.unwrap()
    }

    /// Shares a folder with an identity, and opens it as that.
    async fn give(
        &self,
        folder: &str,
        to: &Arc<Identity>,
        terms: Terms,
    ) -> (Vault, kluis::GrantId) {
        let who = recipient(to, "bob");
        let granted = self.vault.share(folder, &who, terms).await.unwrap();
        let store = as_store(&self.store);
        let opened = fresh().open_as(store, to, &granted.invitation).await;
        (opened.unwrap(), granted.id)
    }

    async fn open(&self, identity: &Arc<Identity>, given: &GivenOn) -> Result<Vault> {
        let store = as_store(&self.store);
        fresh().open_file(store, identity, &file(given)).await
    }
}

async fn give_on(
    by: &Vault,
    path: &str,
    to: &Identity,
    name: &str,
    terms: Terms,
) -> Result<GivenOn> {
    by.give_on(path, &recipient(to, name), terms).await
}

async fn give_object_on(
    by: &Vault,
    path: &str,
    to: &Identity,
    name: &str,
    terms: Terms,
) -> Result<GivenOn> {
    by.give_object_on(path, &recipient(to, name), terms).await
}

async fn give_version_on(
    by: &Vault,
    path: &str,
    to: &Identity,
    name: &str,
    terms: Terms,
) -> Result<GivenOn> {
    by.give_version_on(path, &recipient(to, name), terms).await
}

/// As it comes out of the text that is mailed.
fn file(given: &GivenOn) -> GrantFile {
    let text = given.file(&address()).unwrap().to_armor();
    GrantFile::from_armor(&text).unwrap()
}

#[tokio::test]
async fn what_is_given_on_is_read_at_once_and_for_good_when_it_is_filed() {
    let owner = Owner::make().await;
    let (bob, carol) = (identity(), identity());
    owner.vault.put("photos/cat", "cat").await.unwrap();
    let (his, to_bob) = owner.give("photos", &bob, terms(true, true)).await;
    let before = contents(&owner.store).await;
    let given = give_on(&his, "photos", &carol, "carol", terms(true, false))
        .await
        .unwrap();
    assert_eq!(contents(&owner.store).await, before, "nothing is written");

    let hers = owner.open(&carol, &given).await.unwrap();
    assert_eq!(read(&hers, "photos/cat").await.unwrap(), b"cat");
    let received = hers.received().unwrap();
    let [received] = &received[..] else { panic!() };
    assert!(received.unfiled);
    assert_eq!(received.grantor, bob.card().fingerprint());
    let chain: Vec<_> = received.chain.iter().map(|g| (g.grantor, g.id)).collect();
    let owners = owner.vault.card().unwrap().fingerprint();
    assert_eq!(chain, [(owners, to_bob)]);
    assert!(received.chain[0].terms.write && received.chain[0].terms.reshare);
    assert_code(hers.put("photos/x", "x").await, "access_denied", "unfiled");

    let found = owner.vault.to_file(&file(&given)).await.unwrap();
    assert_eq!(found.to, "carol (says bob)");
    // A card that came under some name, and that nobody compared, is no better word.
    let contact = Contact::new("mother", carol.card().clone()).unwrap();
    owner.vault.save_contact(contact.clone()).await.unwrap();
    let said = owner.vault.to_file(&file(&given)).await.unwrap();
    assert_eq!(said.to, "carol (says bob)");
    let contact = contact.verified(&carol.card().fingerprint()).unwrap();
    owner.vault.save_contact(contact).await.unwrap();
    let said = owner.vault.to_file(&file(&given)).await.unwrap();
    assert_eq!(said.to, "mother");
    owner.vault.forget_contact("mother").await.unwrap();
    assert_eq!(found.fingerprint, carol.card().fingerprint());
    assert_eq!(
        (found.path.as_deref(), found.kind),
        (Some("photos"), Kind::Folder)
    );
    assert_eq!((found.above.id, &*found.above.to), (to_bob, "bob"));
    assert!(found.terms.write && !found.terms.reshare);
    assert_eq!(found.prefixes, given.prefixes);
    let filed = owner.vault.file(&file(&given), None).await.unwrap();
    assert_eq!((filed.id, filed.parent), (given.id, Some(to_bob)));
    assert_code(
        owner.vault.file(&file(&given), None).await,
        "invalid_input",
        "twice",
    );

    hers.put("photos/hers", "hers").await.unwrap();
    assert!(!hers.received().unwrap()[0].unfiled);
    // A new epoch: the owner reaches her himself now.
    let eve = identity();
    let (_, to_eve) = owner.give("photos", &eve, terms(false, false)).await;
    owner.vault.revoke(&[to_eve]).await.unwrap();
    owner.vault.put("photos/late", "late").await.unwrap();
    for vault in [&hers, &owner.open(&carol, &given).await.unwrap(), &his] {
        assert_eq!(read(vault, "photos/late").await.unwrap(), b"late");
        assert_eq!(read(vault, "photos/hers").await.unwrap(), b"hers");
    }
    hers.put("photos/later", "later").await.unwrap();
    // The chain stays to be seen, also behind the owner's own letter.
    assert_eq!(hers.received().unwrap()[0].chain.len(), 1);
    let statement = owner.again().await.access(Some("photos")).await.unwrap();
    let parents: Vec<_> = statement.access.iter().map(|p| p.grant.parent).collect();
    assert_eq!(parents, [None, Some(to_bob), None]);
}

#[tokio::test]
async fn what_nobody_filed_ends_with_its_epoch() {
    let owner = Owner::make().await;
    let (bob, carol, dave, eve) = (identity(), identity(), identity(), identity());
    owner.vault.put("photos/cat", "cat").await.unwrap();
    let (his, _) = owner.give("photos", &bob, terms(true, true)).await;
    let whole = give_on(&his, "photos", &carol, "carol", terms(false, false));
    let whole = whole.await.unwrap();
    let one = give_object_on(&his, "photos/cat", &dave, "dave", terms(true, false));
    let one = one.await.unwrap();
    let (hers, daves) = (
        owner.open(&carol, &whole).await.unwrap(),
        owner.open(&dave, &one).await.unwrap(),
    );
    assert_eq!(read(&daves, "cat").await.unwrap(), b"cat");
    assert_code(daves.put("cat", "x").await, "access_denied", "unfiled");
    let (_, to_eve) = owner.give("photos", &eve, terms(false, false)).await;
    owner.vault.revoke(&[to_eve]).await.unwrap();
    owner.vault.put("photos/cat", "new").await.unwrap();
    for (vault, path) in [(&hers, "photos/cat"), (&daves, "cat")] {
        assert_code(read(vault, path).await, "access_denied", path);
    }
    for (who, given) in [(&carol, &whole), (&dave, &one)] {
        match owner.open(who, given).await {
            Err(Error::AccessDenied { what }) => assert!(what.contains("filed"), "{what}"),
            other => panic!("{:?}", other.err()),
        }
        assert_code(
            owner.vault.to_file(&file(given)).await,
            "access_denied",
            "too late",
        );
        assert_code(
            owner.vault.file(&file(given), None).await,
            "access_denied",
            "too late",
        );
    }
    // Given on again it can be filed.
    assert_eq!(read(&his, "photos/cat").await.unwrap(), b"new");
    let again = give_object_on(&his, "photos/cat", &dave, "dave", terms(true, false));
    let again = again.await.unwrap();
    owner.vault.file(&file(&again), Some("dave")).await.unwrap();
    let daves = owner.open(&dave, &again).await.unwrap();
    daves.put("cat", "dave's").await.unwrap();
    assert_eq!(read(&his, "photos/cat").await.unwrap(), b"dave's");
}

/// A folder mounted around an object that was given on moves it to keys that its holder
/// was not told of: no sign of tampering.
#[tokio::test]
async fn an_unfiled_object_in_a_folder_that_is_shared_later_raises_no_alarm() {
    let owner = Owner::make().await;
    let (bob, dave, eve) = (identity(), identity(), identity());
    owner.vault.put("a/b/x", "0").await.unwrap();
    let (his, _) = owner.give("a", &bob, terms(true, true)).await;
    let one = give_object_on(&his, "a/b/x", &dave, "dave", terms(false, false));
    let one = one.await.unwrap();
    let daves = owner.open(&dave, &one).await.unwrap();
    assert_eq!(read(&daves, "x").await.unwrap(), b"0");
    owner.give("a/b", &eve, terms(false, false)).await;
    assert_eq!(read(&daves, "x").await.unwrap(), b"0");
    owner.vault.put("a/b/x", "1").await.unwrap();
    assert_code(read(&daves, "x").await, "access_denied", "keys of later");
    assert_code(
        owner.vault.file(&file(&one), None).await,
        "access_denied",
        "old keys",
    );
}

/// Each gives on to the next; four statements are all.
#[tokio::test]
async fn a_chain_has_at_most_four_statements_and_falls_from_where_it_is_cut() {
    for filed in [true, false] {
        let owner = Owner::make().await;
        owner.vault.put("p/x", "x").await.unwrap();
        let people: Vec<_> = (0..5).map(|_| identity()).collect();
        let (first, id) = owner.give("p", &people[0], terms(true, true)).await;
        let (mut vaults, mut ids, mut given) = (vec![first], vec![id], Vec::new());
        for n in 1..4 {
            let to = recipient(&people[n], &format!("p{n}"));
            let next = vaults[n - 1]
                .give_on("p", &to, terms(true, true))
                .await
                .unwrap();
            if filed {
                owner.vault.file(&file(&next), None).await.unwrap();
            } else if n > 1 {
                let early = owner.vault.file(&file(&next), None).await;
                assert_code(early, "not_found", "the one above is not filed");
            }
            let vault = owner.open(&people[n], &next).await.unwrap();
            assert_eq!(read(&vault, "p/x").await.unwrap(), b"x", "{n}");
            assert_eq!(vault.received().unwrap()[0].chain.len(), n);
            vaults.push(vault);
            ids.push(next.id);
            given.push(next);
        }
        let fifth = give_on(&vaults[3], "p", &people[4], "p4", terms(false, false));
        assert_code(fifth.await, "access_denied", "a fifth");

        if filed {
            let below: Vec<_> = owner.vault.below(&[ids[0]]).unwrap();
            assert_eq!(below.iter().map(|g| g.id).collect::<Vec<_>>(), ids[1..]);
            // The last alone, and the others stay; then from the second on.
            owner.vault.revoke(&[ids[3]]).await.unwrap();
            owner.vault.put("p/y", "y").await.unwrap();
            assert!(read(&vaults[3], "p/y").await.is_err());
            for vault in &vaults[..3] {
                assert_eq!(read(vault, "p/y").await.unwrap(), b"y");
            }
            let entries = owner.vault.access(None).await.unwrap().ledger;
            let revoked = owner.vault.revoke(&[ids[1]]).await.unwrap();
            let taken: Vec<_> = revoked.taken.iter().map(|g| g.id).collect();
            assert_eq!(taken, ids[1..3]);
            let statement = owner.vault.access(None).await.unwrap();
            assert_eq!(statement.ledger, entries + 1, "one entry for all of it");
            for period in &statement.access[1..3] {
                assert_eq!(period.ended_by, Some(entries + 1));
            }
        } else {
            owner.vault.revoke(&[ids[0]]).await.unwrap();
        }
        owner.vault.put("p/z", "z").await.unwrap();
        let out = if filed { 1 } else { 0 };
        // F12, with every key that they ever had.
        for vault in &vaults[out..] {
            assert_code(read(vault, "p/z").await, "access_denied", "p/z");
            assert_code(vault.put("p/w", "w").await, "access_denied", "a late write");
        }
        for (who, given) in people[1..].iter().zip(&given) {
            assert_code(owner.open(who, given).await, "access_denied", "again");
            assert!(owner.vault.file(&file(given), None).await.is_err());
        }
        if filed {
            assert_eq!(read(&vaults[0], "p/z").await.unwrap(), b"z");
        }
        assert_eq!(read(&owner.again().await, "p/z").await.unwrap(), b"z");
    }
}

#[tokio::test]
async fn nothing_wider_is_given_on() {
    let owner = Owner::make().await;
    let (bob, carol) = (identity(), identity());
    owner.vault.put("p/a/x", "x").await.unwrap();
    let mut given = terms(false, true);
    (given.not_before, given.not_after) = (Some(10), Some(u64::MAX / 2));
    let (his, _) = owner.give("p", &bob, given.clone()).await;
    let to = recipient(&carol, "carol");
    let within = {
        let mut terms = given.clone();
        terms.reshare = false;
        terms
    };
    assert!(his.give_on("p", &to, within.clone()).await.is_ok());
    type Widen = fn(&mut Terms);
    let wider: [(&str, Widen); 7] = [
        ("write", |t| t.write = true),
        ("past", |t| t.past = Past::HeldBack),
        ("no beginning", |t| t.not_before = None),
        ("an earlier beginning", |t| t.not_before = Some(9)),
        ("no end", |t| t.not_after = None),
        ("a later end", |t| t.not_after = Some(u64::MAX / 2 + 1)),
        ("both", |t| (t.not_before, t.not_after) = (None, None)),
    ];
    for (what, widen) in wider {
        let mut terms = within.clone();
        widen(&mut terms);
        let refused = his.give_on("p", &to, terms).await;
        let hint = refused.as_ref().err().map(Error::hint);
        assert!(
            hint.is_some_and(|h| h.contains("owner")),
            "{what}: {hint:?}"
        );
        assert_code(refused, "access_denied", what);
    }
    // A folder without keys of its own, and what is not there.
    let folder = his.give_on("p/a", &to, within.clone()).await;
    match folder {
        Err(Error::InvalidInput { what }) => assert!(what.contains("ask the owner"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert_code(
        his.give_on("q", &to, within.clone()).await,
        "not_found",
        "outside",
    );
    assert_code(
        his.give_object_on("p", &to, within.clone()).await,
        "not_found",
        "kind",
    );
    // One that may not be given on, and what is one's own.
    let (hers, _) = owner.give("p", &carol, terms(true, false)).await;
    let to_bob = recipient(&bob, "bob");
    let denied = hers.give_on("p", &to_bob, terms(false, false)).await;
    assert_code(denied, "access_denied", "not to be given on");
    let own = owner.vault.give_on("p", &to, within).await;
    assert_code(own, "invalid_input", "one's own");
}

/// It is refused as that, and is no sign of tampering.
#[tokio::test]
async fn what_a_group_was_given_is_not_given_on() {
    let owner = Owner::make().await;
    let (bob, carol) = (identity(), identity());
    owner.vault.put("p/x", "x").await.unwrap();
    owner.vault.new_group("team").await.unwrap();
    let who = recipient(&bob, "bob");
    let place = owner.vault.add_to_group("team", &who).await;
    let place = place.unwrap().invitation;
    let team = owner.vault.group("team").unwrap();
    let given = owner.vault.share("p", &team, terms(true, false));
    let options = fresh().also(&given.await.unwrap().invitation);
    let his = options.open_as(as_store(&owner.store), &bob, &place);
    let his = his.await.unwrap();
    let reading = || terms(false, false);
    for refused in [
        give_on(&his, "p", &carol, "carol", reading()).await,
        give_object_on(&his, "p/x", &carol, "carol", reading()).await,
        give_version_on(&his, "p/x", &carol, "carol", reading()).await,
    ] {
        match refused {
            Err(Error::AccessDenied { what }) => assert!(what.contains("group"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Objects, versions and folders in it that have keys of their own.
#[tokio::test]
async fn parts_of_what_was_given_are_given_on() {
    let owner = Owner::make().await;
    let (bob, eve) = (identity(), identity());
    owner.vault.put("p/a/x", "x").await.unwrap();
    owner.vault.put("p/a/in/y", "y").await.unwrap();
    owner.give("p/a/in", &eve, terms(false, false)).await;
    owner.vault.put("p/a/in/z", "z").await.unwrap();
    let (his, to_bob) = owner.give("p/a", &bob, terms(true, true)).await;
    let reading = terms(false, false);

    let carol = identity();
    let inner = give_on(&his, "a/in", &carol, "carol", terms(true, true));
    let inner = inner.await.unwrap();
    let hers = owner.open(&carol, &inner).await.unwrap();
    assert_eq!(read(&hers, "in/y").await.unwrap(), b"y");
    assert_eq!(read(&hers, "in/z").await.unwrap(), b"z");
    let found = owner.vault.file(&file(&inner), None).await.unwrap();
    assert_eq!(found.path.as_deref(), Some("p/a/in"));
    hers.put("in/hers", "hers").await.unwrap();
    assert_eq!(read(&his, "a/in/hers").await.unwrap(), b"hers");

    let dave = identity();
    let one = give_object_on(&his, "a/x", &dave, "dave", terms(true, true));
    let one = one.await.unwrap();
    let found = owner.vault.file(&file(&one), None).await.unwrap();
    assert_eq!(
        (found.path.as_deref(), found.kind),
        (Some("p/a/x"), Kind::Object)
    );
    let daves = owner.open(&dave, &one).await.unwrap();
    daves.put("x", "dave's").await.unwrap();
    assert_eq!(read(&his, "a/x").await.unwrap(), b"dave's");

    // Of his object one version, of that the same once more.
    let (fred, gina) = (identity(), identity());
    let version = give_version_on(&daves, "x", &fred, "fred", terms(false, true));
    let version = version.await.unwrap();
    let freds = owner.open(&fred, &version).await.unwrap();
    assert_eq!(read(&freds, "x").await.unwrap(), b"dave's");
    let found = owner.vault.file(&file(&version), None).await.unwrap();
    assert_eq!(
        (found.path.as_deref(), found.kind),
        (Some("p/a/x"), Kind::Version)
    );
    let freds = owner.open(&fred, &version).await.unwrap();
    let same = give_version_on(&freds, "x", &gina, "gina", reading.clone());
    let same = same.await.unwrap();
    let ginas = owner.open(&gina, &same).await.unwrap();
    assert_eq!(read(&ginas, "x").await.unwrap(), b"dave's");
    assert_eq!(ginas.received().unwrap()[0].chain.len(), 3);

    // The one at the top: nobody below has anything any more, filed or not.
    owner.vault.revoke(&[to_bob]).await.unwrap();
    let left: Vec<_> = owner.vault.grants().unwrap();
    assert_eq!(left.len(), 1, "eve's: {left:?}");
    owner.vault.put("p/a/x", "new").await.unwrap();
    owner.vault.put("p/a/in/y", "new").await.unwrap();
    for (vault, path) in [(&his, "a/x"), (&hers, "in/y"), (&daves, "x")] {
        assert_code(read(vault, path).await, "access_denied", path);
    }
    for (who, given) in [
        (&carol, &inner),
        (&dave, &one),
        (&fred, &version),
        (&gina, &same),
    ] {
        assert_code(owner.open(who, given).await, "access_denied", "again");
        assert_code(
            owner.vault.file(&file(given), None).await,
            "not_found",
            "cut",
        );
    }
}

#[tokio::test]
async fn the_past_that_was_held_back_stays_so_below_and_what_came_since_is_kept() {
    let owner = Owner::make().await;
    let (bob, carol, eve) = (identity(), identity(), identity());
    owner.vault.put("p/old", "old").await.unwrap();
    let mut from_now = terms(false, true);
    from_now.past = Past::HeldBack;
    let (his, _) = owner.give("p", &bob, from_now.clone()).await;
    owner.vault.put("p/new", "new").await.unwrap();
    let given = give_on(&his, "p", &carol, "carol", from_now.clone());
    let given = given.await.unwrap();
    owner.vault.file(&file(&given), None).await.unwrap();
    let hers = owner.open(&carol, &given).await.unwrap();
    let (_, to_eve) = owner.give("p", &eve, terms(false, false)).await;
    owner.vault.revoke(&[to_eve]).await.unwrap();
    owner.vault.put("p/newer", "newer").await.unwrap();
    for vault in [&hers, &owner.open(&carol, &given).await.unwrap()] {
        assert_code(read(vault, "p/old").await, "access_denied", "the past");
        assert_eq!(read(vault, "p/new").await.unwrap(), b"new");
        assert_eq!(read(vault, "p/newer").await.unwrap(), b"newer");
    }
    let all = give_on(&his, "p", &eve, "eve", terms(false, false));
    assert_code(all.await, "access_denied", "more of the past");
}

#[tokio::test]
async fn a_grant_that_ends_by_its_time_ends_what_hangs_below() {
    let owner = Owner::make().await;
    let (bob, carol) = (identity(), identity());
    owner.vault.put("p/x", "x").await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let end = now.unwrap().as_micros() as u64 + 1_500_000;
    let until = |reshare| {
        let mut terms = terms(false, reshare);
        terms.not_after = Some(end);
        terms
    };
    let (his, _) = owner.give("p", &bob, until(true)).await;
    let given = give_on(&his, "p", &carol, "carol", until(false));
    let given = given.await.unwrap();
    owner.vault.file(&file(&given), None).await.unwrap();
    let hers = owner.open(&carol, &given).await.unwrap();
    assert_eq!(read(&hers, "p/x").await.unwrap(), b"x");
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let again = owner.again().await;
    assert_eq!(again.grants().unwrap(), []);
    again.put("p/y", "y").await.unwrap();
    assert_code(read(&hers, "p/y").await, "access_denied", "over");
    assert_code(
        give_on(&his, "p", &carol, "c", until(false)).await,
        "access_denied",
        "over",
    );
}

/// Whatever request is the last, the grant is filed or is not, and her client and the
/// owner's go on; and filing against taking back ends with her out.
#[tokio::test]
async fn filing_survives_a_crash_at_every_request_and_a_race_with_taking_back() {
    let mut held = BTreeSet::new();
    for (after, k) in (0..40).flat_map(|k| [(false, k), (true, k)]) {
        let owner = Owner::make().await;
        let (bob, carol) = (identity(), identity());
        owner.vault.put("p/x", "x").await.unwrap();
        let (his, to_bob) = owner.give("p", &bob, terms(true, true)).await;
        let given = give_on(&his, "p", &carol, "carol", terms(true, false));
        let given = given.await.unwrap();
        let dying = owner.store.client("dying");
        let device = fresh().open(as_store(&dying), phrase(&owner.words));
        let device = device.await.unwrap();
        dying.crash(if after { Cut::After(k) } else { Cut::Before(k) });
        let done = device.file(&file(&given), None).await;
        let crashed = dying.crashed();
        drop(device);

        let what = format!("{k} {after}");
        let again = owner.again().await;
        let is_filed = again.grants().unwrap().iter().any(|g| g.id == given.id);
        assert!(
            done.is_err() || is_filed,
            "{what}: acknowledged and not filed"
        );
        held.insert(is_filed);
        let hers = owner.open(&carol, &given).await.unwrap();
        assert_eq!(read(&hers, "p/x").await.unwrap(), b"x", "{what}");
        let more = again.file(&file(&given), None).await;
        if is_filed {
            assert_code(more, "invalid_input", "twice");
        } else {
            more.unwrap();
        }
        hers.put("p/hers", "hers").await.unwrap();
        again.revoke(&[to_bob]).await.unwrap();
        again.put("p/x", "new").await.unwrap();
        assert_code(read(&hers, "p/x").await, "access_denied", "fallen");
        if !crashed {
            assert!(done.is_ok(), "{what}");
            assert_eq!(held.len(), 2, "some died before and some after");
            break;
        }
        assert!(k < 39, "a filing of more than 40 calls");
    }

    // Two devices of the owner at once.
    let owner = Owner::make().await;
    let (bob, carol) = (identity(), identity());
    owner.vault.put("p/x", "x").await.unwrap();
    let (his, to_bob) = owner.give("p", &bob, terms(true, true)).await;
    let given = give_on(&his, "p", &carol, "carol", terms(true, false));
    let given = given.await.unwrap();
    let other = owner.again().await;
    let file = file(&given);
    let ids = [to_bob];
    let (filed, revoked) = tokio::join!(owner.vault.file(&file, None), other.revoke(&ids));
    revoked.unwrap();
    if let Err(error) = filed {
        assert!(
            ["not_found", "access_denied"].contains(&error.code()),
            "{error:?}"
        );
    }
    let again = owner.again().await;
    assert_eq!(again.grants().unwrap(), []);
    again.put("p/x", "new").await.unwrap();
    match owner.open(&carol, &given).await {
        Err(error) => assert_eq!(error.code(), "access_denied", "{error:?}"),
        Ok(hers) => assert!(read(&hers, "p/x").await.is_err()),
    }
}

/// One device files while another, which has not looked since, takes back the one above.
#[tokio::test]
async fn what_was_taken_names_who_was_filed_meanwhile() {
    let owner = Owner::make().await;
    let (bob, carol) = (identity(), identity());
    owner.vault.put("p/x", "x").await.unwrap();
    let (his, to_bob) = owner.give("p", &bob, terms(true, true)).await;
    // By another road, which is to be named as what remains.
    let (_, kept) = owner.give("p/in", &carol, terms(false, false)).await;
    let given = give_on(&his, "p", &carol, "carol", terms(true, false));
    let given = given.await.unwrap();
    let other = owner.again().await;
    owner.vault.file(&file(&given), None).await.unwrap();
    let revoked = other.revoke(&[to_bob]).await.unwrap();
    let taken: Vec<_> = revoked.taken.iter().map(|g| g.id).collect();
    assert_eq!(taken, [to_bob, given.id]);
    let remaining: Vec<_> = revoked.remaining.iter().map(|g| g.id).collect();
    assert_eq!(remaining, [kept]);
}

#[tokio::test]
async fn a_file_serves_its_grantee_and_the_owner_and_nobody_else() {
    let owner = Owner::make().await;
    let (bob, carol, eve) = (identity(), identity(), identity());
    owner.vault.put("p/x", "x").await.unwrap();
    let (his, _) = owner.give("p", &bob, terms(false, true)).await;
    let given = give_on(&his, "p", &carol, "carol", terms(false, false));
    let given = given.await.unwrap();
    assert_code(owner.open(&eve, &given).await, "tampered", "another's");
    assert_code(owner.open(&bob, &given).await, "tampered", "the giver's");
    assert_code(
        his.to_file(&file(&given)).await,
        "access_denied",
        "no owner",
    );
    let other = Owner::make().await;
    assert_code(
        other.vault.to_file(&file(&given)).await,
        "tampered",
        "another vault",
    );
    // Every part of it is authentic: what another file holds does not go with it.
    let again = give_on(&his, "p", &carol, "carol", terms(false, false));
    let again = file(&again.await.unwrap());
    let good = file(&given);
    let mixed = |letter: &[u8], copy: &[u8]| {
        let (url, vault) = (good.address(), good.vault());
        let file = GrantFile::new(url, vault, good.name(), good.grantor(), letter).unwrap();
        file.with_copy(copy).unwrap()
    };
    let swapped = mixed(good.letter(), again.copy());
    assert_code(
        owner.vault.file(&swapped, None).await,
        "tampered",
        "another copy",
    );
    let store = || as_store(&owner.store);
    let swapped = mixed(again.letter(), good.copy());
    let opened = fresh().open_file(store(), &carol, &swapped).await;
    assert_code(opened, "tampered", "another letter");
    let none = mixed(good.letter(), &[]);
    assert_code(owner.vault.to_file(&none).await, "not_found", "no copy");
    assert!(fresh().open_file(store(), &carol, &none).await.is_ok());
    let mut flipped = good.copy().to_vec();
    flipped[40] ^= 1;
    let flipped = mixed(good.letter(), &flipped);
    assert_code(
        owner.vault.to_file(&flipped).await,
        "tampered",
        "a flipped bit",
    );

    // Kept on her device, where it is opened from, for it lies in no store.
    let state: Arc<MemoryState> = Arc::default();
    let device = || fresh().device_state(state.clone(), &address());
    let hers = device().open_file(store(), &carol, &good).await.unwrap();
    hers.accept(&given.invitation, Some("bob's")).await.unwrap();
    let hers = device().open(store(), carol.clone()).await.unwrap();
    assert_eq!(read(&hers, "bob's/x").await.unwrap(), b"x");
    assert_eq!(hers.received().unwrap()[0].chain.len(), 1);
}
