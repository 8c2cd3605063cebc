//! Giving others access and taking it back: who reads what, with which keys,
//! whatever the store does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use futures_util::TryStreamExt;
use kluis::object_store::memory::InMemory;
use kluis::object_store::{Error as StoreError, ObjectStoreExt};
use kluis::{
    Address, Card, Check, Contact, DeviceState, Error, GrantId, Granted, Identity, IdentitySuite,
    Invitation, Kind, MemoryState, Past, Recipient, Result, Terms, Trust, Vault, Verdict,
};
use kluis_adversary::{Cut, HostileStore, Lie};
use kluis_tests::{as_store, contents, options, phrase, plant, read, words};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn identity() -> Arc<Identity> {
    Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap())
}

fn recipient(identity: &Identity, name: &str) -> Recipient {
    let card = Card::parse(identity.card().as_bytes()).unwrap();
    let fingerprint = card.fingerprint();
    Recipient::verified(card, &fingerprint)
        .unwrap()
        .named(name)
        .unwrap()
}

fn writing() -> Terms {
    let mut terms = Terms::reading();
    terms.write = true;
    terms
}

fn from_now() -> Terms {
    let mut terms = Terms::reading();
    terms.past = Past::HeldBack;
    terms
}

struct Owner {
    store: HostileStore,
    vault: Vault,
    words: String,
}

async fn owner() -> Owner {
    let store = HostileStore::new(InMemory::new());
    let words = words();
    let vault = options()
        .staleness(Duration::ZERO)
        .create(as_store(&store), phrase(&words))
        .await
        .unwrap();
    Owner {
        store,
        vault,
        words,
    }
}

impl Owner {
    async fn again(&self) -> Vault {
        options()
            .staleness(Duration::ZERO)
            .open(as_store(&self.store), phrase(&self.words))
            .await
            .unwrap()
    }

    async fn open_as(&self, identity: &Arc<Identity>, granted: &Granted) -> Result<Vault> {
        let open = options().staleness(Duration::ZERO);
        open.open_as(as_store(&self.store), identity, &granted.invitation)
            .await
    }
}

async fn names(vault: &Vault) -> BTreeSet<String> {
    let listing = vault.list(None).map_ok(|meta| meta.location.to_string());
    listing.try_collect().await.unwrap()
}

fn assert_code<T>(result: Result<T>, code: &str, what: &str) {
    match result {
        Err(error) if error.code() == code => {}
        Err(error) => panic!("{what}: {error:?} instead of {code}"),
        Ok(_) => panic!("{what}: Ok instead of {code}"),
    }
}

#[tokio::test]
async fn a_shared_folder_is_read_with_its_past_and_what_comes_and_nothing_else() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("photos/old.jpg", "old").await.unwrap();
    owner.vault.put("diary.txt", "private").await.unwrap();
    let granted = owner
        .vault
        .share("photos", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    owner.vault.put("photos/a/new.jpg", "new").await.unwrap();

    let his = owner.open_as(&bob, &granted).await.unwrap();
    assert_eq!(read(&his, "photos/old.jpg").await.unwrap(), b"old");
    assert_eq!(read(&his, "photos/a/new.jpg").await.unwrap(), b"new");
    let expected = ["photos/old.jpg", "photos/a/new.jpg"].map(str::to_owned);
    assert_eq!(names(&his).await, expected.into());
    let top = his.list_with_delimiter(None).await.unwrap();
    let folders: Vec<_> = top
        .common_prefixes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!((folders, top.objects.len()), (vec!["photos".to_owned()], 0));
    for outside in ["diary.txt", "photos", "photo/old.jpg", "other/x"] {
        assert_code(read(&his, outside).await, "not_found", outside);
    }
    assert_code(
        his.put("photos/x", "x").await,
        "access_denied",
        "a reader writes",
    );
    assert_code(
        his.delete("photos/old.jpg").await,
        "access_denied",
        "or deletes",
    );
    assert_code(his.grants(), "access_denied", "or decides");
    assert_code(his.slots(), "access_denied", "or looks at slots");
    // The owner's other device, and the folder as one of the vault.
    let again = owner.again().await;
    assert_eq!(read(&again, "photos/old.jpg").await.unwrap(), b"old");
    assert_eq!(read(&again, "photos/a/new.jpg").await.unwrap(), b"new");
    let grants = again.grants().unwrap();
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].id, granted.id);
    assert_eq!(
        (&*grants[0].to, grants[0].path.as_deref()),
        ("bob", Some("photos"))
    );
}

#[tokio::test]
async fn a_writers_objects_are_read_by_all() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    let to_bob = owner
        .vault
        .share("team", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let to_eve = owner
        .vault
        .share("team", &recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    his.put("team/plan.txt", "by bob").await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    for vault in [&owner.vault, &his, &hers] {
        assert_eq!(read(vault, "team/plan.txt").await.unwrap(), b"by bob");
    }
    his.rename("team/plan.txt", "team/done.txt").await.unwrap();
    assert_eq!(names(&hers).await, ["team/done.txt".to_owned()].into());
}

#[tokio::test]
async fn what_is_shared_from_now_on_hands_out_no_past() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    owner.vault.put("log/1", "one").await.unwrap();
    let to_bob = owner
        .vault
        .share("log", &recipient(&bob, "bob"), from_now())
        .await
        .unwrap();
    owner.vault.put("log/2", "two").await.unwrap();
    // Also of a folder that has keys of its own already.
    let to_eve = owner
        .vault
        .share("log", &recipient(&eve, "eve"), from_now())
        .await
        .unwrap();
    owner.vault.put("log/3", "three").await.unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    for (vault, denied) in [(&his, &["log/1"][..]), (&hers, &["log/1", "log/2"])] {
        for path in ["log/1", "log/2", "log/3"] {
            let found = read(vault, path).await;
            if denied.contains(&path) {
                assert_code(found, "access_denied", path);
            } else {
                found.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn f12_nothing_written_after_a_revocation_is_opened_by_who_was_revoked() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    owner.vault.put("docs/a", "before").await.unwrap();
    let to_bob = owner
        .vault
        .share("docs", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let to_eve = owner
        .vault
        .share("docs", &recipient(&eve, "eve"), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    his.put("docs/his", "by bob").await.unwrap();
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    owner.vault.put("docs/b", "after").await.unwrap();
    hers.put("docs/hers", "by eve").await.unwrap();
    owner.vault.put("docs/a", "again").await.unwrap();

    // The handle that he has open, with every key that he ever had.
    for path in ["docs/b", "docs/hers", "docs/a"] {
        let found = read(&his, path).await;
        assert!(found.is_err(), "{path}: {found:?}");
    }
    assert_code(
        his.put("docs/x", "x").await,
        "access_denied",
        "a late write",
    );
    assert_code(
        owner.open_as(&bob, &to_bob).await,
        "access_denied",
        "opened again",
    );
    // Those who remain read everything, from their first letter on.
    let again = owner.open_as(&eve, &to_eve).await.unwrap();
    for vault in [&owner.vault, &hers, &again] {
        assert_eq!(read(vault, "docs/a").await.unwrap(), b"again");
        assert_eq!(read(vault, "docs/b").await.unwrap(), b"after");
        assert_eq!(read(vault, "docs/hers").await.unwrap(), b"by eve");
        assert_eq!(read(vault, "docs/his").await.unwrap(), b"by bob");
    }
    assert_eq!(owner.vault.grants().unwrap().len(), 1);
}

#[tokio::test]
async fn nested_folders_are_reached_from_without_and_revoked_from_there() {
    let owner = owner().await;
    let (bob, eve, mallory) = (identity(), identity(), identity());
    owner.vault.put("p/q/0", "0").await.unwrap();
    let inner = owner
        .vault
        .share("p/q", &recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    owner.vault.put("p/q/1", "1").await.unwrap();
    let outer = owner
        .vault
        .share("p", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let outer_too = owner
        .vault
        .share("p", &recipient(&mallory, "mallory"), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &outer).await.unwrap();
    let hers = owner.open_as(&eve, &inner).await.unwrap();
    let late = owner.open_as(&mallory, &outer_too).await.unwrap();
    owner.vault.put("p/q/2", "2").await.unwrap();
    his.put("p/q/3", "3").await.unwrap();
    // A folder that is mounted while the outer one is shared.
    let third = owner
        .vault
        .share("p/r", &recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    his.put("p/r/4", "4").await.unwrap();
    let hers_too = owner.open_as(&eve, &third).await.unwrap();
    assert_eq!(read(&hers_too, "r/4").await.unwrap(), b"4");
    for n in ["0", "1", "2", "3"] {
        let path = format!("p/q/{n}");
        for vault in [&owner.vault, &his, &late] {
            assert_eq!(read(vault, &path).await.unwrap(), n.as_bytes(), "{path}");
        }
        let path = format!("q/{n}");
        assert_eq!(read(&hers, &path).await.unwrap(), n.as_bytes(), "{path}");
    }
    // Revoking from the outer one closes the inner ones too.
    owner.vault.revoke(&[outer_too.id]).await.unwrap();
    owner.vault.put("p/q/5", "5").await.unwrap();
    his.put("p/r/6", "6").await.unwrap();
    for path in ["p/q/5", "p/r/6"] {
        assert!(read(&late, path).await.is_err(), "{path}");
        assert_eq!(read(&his, path).await.unwrap().len(), 1);
    }
    assert_eq!(read(&hers, "q/5").await.unwrap(), b"5");
    // And from the inner one closes that alone; who is outside goes on.
    owner.vault.revoke(&[inner.id]).await.unwrap();
    his.put("p/q/7", "7").await.unwrap();
    owner.vault.put("p/q/8", "8").await.unwrap();
    assert!(read(&hers, "q/7").await.is_err());
    for path in ["p/q/7", "p/q/8"] {
        assert!(read(&his, path).await.is_ok());
        assert!(read(&owner.again().await, path).await.is_ok());
    }
}

#[tokio::test]
async fn a_whole_vault_is_shared_like_a_folder() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("a/b", "b").await.unwrap();
    owner
        .vault
        .share("a", &recipient(&identity(), "eve"), Terms::reading())
        .await
        .unwrap();
    owner.vault.put("a/c", "c").await.unwrap();
    let granted = owner
        .vault
        .share_whole(&recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    owner.vault.put("a/d", "d").await.unwrap();
    his.put("vault/top", "t").await.unwrap();
    for path in ["vault/a/b", "vault/a/c", "vault/a/d", "vault/top"] {
        assert_eq!(read(&his, path).await.unwrap().len(), 1, "{path}");
    }
    owner.vault.revoke(&[granted.id]).await.unwrap();
    owner.vault.put("top", "T").await.unwrap();
    assert!(read(&his, "vault/top").await.is_err());
}

#[tokio::test]
async fn access_ends_when_its_time_is_over() {
    let owner = owner().await;
    let bob = identity();
    let mut terms = Terms::reading();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros() as u64;
    terms.not_after = Some(now - 1);
    let granted = owner
        .vault
        .share("a", &recipient(&bob, "bob"), terms.clone())
        .await
        .unwrap();
    // The owner's client closes the epoch when it next writes.
    assert_eq!(owner.vault.grants().unwrap().len(), 1);
    owner.vault.put("a/x", "x").await.unwrap();
    assert_eq!(owner.vault.grants().unwrap().len(), 0);
    assert_code(
        owner.open_as(&bob, &granted).await,
        "access_denied",
        "ended",
    );
    (terms.not_before, terms.not_after) = (Some(now + 3_600_000_000), None);
    let granted = owner
        .vault
        .share("b", &recipient(&bob, "bob"), terms)
        .await
        .unwrap();
    owner.vault.put("b/x", "x").await.unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    assert_code(read(&his, "b/x").await, "access_denied", "not begun");
}

#[tokio::test]
async fn a_root_rotation_takes_nothing_from_those_who_share() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("a/1", "1").await.unwrap();
    let granted = owner
        .vault
        .share("a", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    let fresh = words();
    let by = vec![(phrase(&fresh), kluis_tests::cheap())];
    owner.vault.rotate_root(by).await.unwrap();
    owner.vault.put("a/2", "2").await.unwrap();
    his.put("a/3", "3").await.unwrap();
    let again = owner.open_as(&bob, &granted).await.unwrap();
    for path in ["a/1", "a/2", "a/3"] {
        for vault in [&owner.vault, &his, &again] {
            assert!(read(vault, path).await.is_ok(), "{path}");
        }
    }
}

#[tokio::test]
async fn f01_f02_only_who_was_verified_can_be_shared_with() {
    let owner = owner().await;
    let (bob, mallory) = (identity(), identity());
    let wrong = mallory.card().fingerprint();
    assert!(Recipient::verified(bob.card().clone(), &wrong).is_err());

    let contact = Contact::new("bob", bob.card().clone()).unwrap();
    owner.vault.save_contact(contact).await.unwrap();
    let contact = owner.vault.contact("bob").unwrap();
    assert_eq!(contact.trust(), Trust::Unverified);
    assert!(contact.recipient().is_err());
    assert!(contact.verified(&wrong).is_err());
    let contact = contact.verified(&bob.card().fingerprint()).unwrap();
    owner.vault.save_contact(contact.clone()).await.unwrap();
    let known = owner.again().await.contact("bob").unwrap();
    owner
        .vault
        .share("a", &known.recipient().unwrap(), Terms::reading())
        .await
        .unwrap();
    // Another card, also one that the old identity signed for.
    for card in [
        mallory.card().clone(),
        bob.replaced(2).unwrap().card().clone(),
    ] {
        let changed = known.updated(card);
        assert_eq!(changed.trust(), Trust::Changed);
        assert!(changed.recipient().is_err());
        let again = changed.verified(&changed.card().fingerprint()).unwrap();
        assert!(again.recipient().is_ok());
    }
    assert_eq!(known.updated(bob.card().clone()).trust(), Trust::Verified);
    owner.vault.forget_contact("bob").await.unwrap();
    assert_code(owner.vault.contact("bob"), "not_found", "forgotten");
}

#[tokio::test]
async fn f04_f05_f08_a_grant_is_for_one_person_in_one_vault_by_one_grantor() {
    let owner = owner().await;
    let (bob, mallory) = (identity(), identity());
    let granted = owner
        .vault
        .share("a", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    assert_code(
        owner.open_as(&mallory, &granted).await,
        "tampered",
        "another person",
    );

    // Another owner's vault, with the same letter in it.
    let other = self::owner().await;
    let to_bob = other
        .vault
        .share("a", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let path = |granted: &Granted| {
        let text = granted.invitation.to_string();
        format!("k/g/{}", text.split('/').nth(1).unwrap())
    };
    let letter = contents(&owner.store).await[&path(&granted)].clone();
    plant(&other.store, &path(&to_bob), &letter).await;
    assert_code(
        other.open_as(&bob, &to_bob).await,
        "tampered",
        "another vault",
    );
    plant(&owner.store, &path(&to_bob), &letter).await;
    let mut moved = granted.clone();
    let text = granted.invitation.to_string();
    let there = to_bob.invitation.to_string();
    let (there, here) = (
        there.split('/').nth(1).unwrap(),
        text.split('/').nth(1).unwrap(),
    );
    moved.invitation = text.replace(here, there).parse().unwrap();
    assert_code(
        owner.open_as(&bob, &moved).await,
        "tampered",
        "another place",
    );

    // The grantor of the invitation is the one that signed.
    let mut forged = granted.clone();
    let digits = |card: &Card| -> String {
        let bytes = *card.fingerprint().as_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let (old, new) = (digits(&owner.vault.card().unwrap()), digits(mallory.card()));
    forged.invitation = text.replace(&old, &new).parse().unwrap();
    assert_code(
        owner.open_as(&bob, &forged).await,
        "untrusted_identity",
        "another grantor",
    );
    assert!(owner.open_as(&bob, &granted).await.is_ok());
}

#[tokio::test]
async fn f13_a_grant_that_was_taken_back_stays_taken_back() {
    let owner = owner().await;
    let bob = identity();
    let granted = owner
        .vault
        .share("a", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let before = contents(&owner.store).await;
    owner.vault.revoke(&[granted.id]).await.unwrap();
    owner.vault.put("a/x", "x").await.unwrap();
    let frozen = HostileStore::new(InMemory::new());
    for (path, bytes) in &before {
        plant(&frozen, path, bytes).await;
    }
    // The provider shows Bob the vault as it was: he gets in, and what an
    // up-to-date client wrote tells him that he is behind.
    let his = options()
        .open_as(as_store(&frozen), &bob, &granted.invitation)
        .await
        .unwrap();
    for (path, bytes) in contents(&owner.store).await {
        if path.starts_with("o/") {
            plant(&frozen, &path, &bytes).await;
        }
    }
    assert_code(read(&his, "a/x").await, "stale", "an object of later");
    // The owner never goes back to the epoch of before.
    let opened = owner.again().await;
    assert!(opened.head("a/x").await.unwrap().epoch > 1);
}

#[tokio::test]
async fn who_keeps_access_by_another_road_is_named() {
    let owner = owner().await;
    let bob = identity();
    let inner = owner
        .vault
        .share("a/b", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let outer = owner
        .vault
        .share("a", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let beside = owner
        .vault
        .share_object("a/b/x", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let check = |grants: &[GrantId]| owner.vault.check_revoke(grants);
    for (grants, road) in [
        (vec![inner.id], Some(outer.id)),
        (vec![beside.id, inner.id], Some(outer.id)),
        (vec![beside.id, outer.id], Some(inner.id)),
        (vec![outer.id], None),
        (vec![outer.id, inner.id, beside.id], None),
    ] {
        let said = check(&grants).err().map(|error| error.to_string());
        match road {
            None => assert_eq!(said, None, "{grants:?}"),
            Some(road) => assert!(said.unwrap().contains(&road.to_string()), "{grants:?}"),
        }
    }
    let refused = owner.vault.revoke(&[inner.id]).await;
    let said = refused.as_ref().unwrap_err().to_string();
    assert!(said.contains(&outer.id.to_string()), "{said}");
    assert_code(refused, "invalid_input", "another road");
    assert_code(
        owner
            .vault
            .revoke(&[])
            .await
            .and_then(|_| owner.vault.contact("x")),
        "not_found",
        "",
    );
    owner.vault.revoke(&[inner.id, outer.id]).await.unwrap();
    assert_code(owner.vault.revoke(&[outer.id]).await, "not_found", "twice");
}

/// Who was given a folder and another one in it has two names for what lies there. As an
/// `ObjectStore` his vault shows and renames what is his, and nothing else.
#[tokio::test]
async fn two_names_of_one_object_are_one_object() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("docs/sub/x", "x").await.unwrap();
    let share = async |folder: &str| {
        let to = recipient(&bob, "bob");
        owner.vault.share(folder, &to, writing()).await.unwrap()
    };
    let (outer, inner) = (share("docs").await, share("docs/sub").await);
    let open = options().staleness(Duration::ZERO).also(&inner.invitation);
    let his = open
        .open_as(as_store(&owner.store), &bob, &outer.invitation)
        .await
        .unwrap();
    assert_eq!(
        names(&his).await,
        ["docs/sub/x", "sub/x"].map(str::to_owned).into()
    );
    his.rename("docs/sub/x", "sub/x").await.unwrap();
    assert_eq!(read(&his, "docs/sub/x").await.unwrap(), b"x");
    let store = his.object_store();
    let (from, to) = ("docs/sub/x".into(), "sub/x".into());
    store.rename(&from, &to).await.unwrap();
    let refused = store.rename_if_not_exists(&from, &to).await;
    assert!(
        matches!(refused, Err(StoreError::AlreadyExists { .. })),
        "{refused:?}"
    );
    assert_eq!(read(&his, "sub/x").await.unwrap(), b"x");
    // It is the target that is not his.
    let refused = store.rename(&from, &"elsewhere/x".into()).await;
    let Err(StoreError::NotFound { path, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(path, "elsewhere/x");
}

#[tokio::test]
async fn sharing_costs_the_same_whatever_the_folder_holds() {
    let mut costs = Vec::new();
    for objects in [0, 300] {
        let owner = owner().await;
        for n in 0..objects {
            let path = format!("a/{n}");
            owner.vault.put(&path, "x").await.unwrap();
        }
        let before = owner.store.journal().calls().len();
        owner
            .vault
            .share("a", &recipient(&identity(), "bob"), Terms::reading())
            .await
            .unwrap();
        costs.push(owner.store.journal().calls().len() - before);
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn many_shares_and_a_snapshot_between() {
    let owner = owner().await;
    let people: Vec<_> = (0..5).map(|_| identity()).collect();
    let mut grants = Vec::new();
    owner.vault.put("f/0", "0").await.unwrap();
    for round in 0..15 {
        for (n, person) in people.iter().enumerate() {
            let folder = if n == 0 {
                "f".to_owned()
            } else {
                format!("f/{n}")
            };
            let granted = owner
                .vault
                .share(&folder, &recipient(person, &format!("p{n}")), writing())
                .await
                .unwrap();
            grants.push((n, granted));
        }
        let path = format!("f/1/{round}");
        owner.vault.put(&path, "x").await.unwrap();
    }
    let again = owner.again().await;
    assert_eq!(again.grants().unwrap().len(), grants.len());
    for round in 0..15 {
        assert!(read(&again, &format!("f/1/{round}")).await.is_ok());
        let (_, first) = &grants[0];
        let his = owner.open_as(&people[0], first).await.unwrap();
        assert!(read(&his, &format!("f/1/{round}")).await.is_ok());
    }
    assert!(matches!(
        read(&again, "f/none").await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn l07_what_was_revoked_is_named_and_written_again_and_then_refused() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    let vault = &owner.vault;
    let big = vec![7; 9 << 20];
    vault.put("docs/before", "0").await.unwrap();
    vault.put("docs/inner/x", "x").await.unwrap();
    let to_bob = vault
        .share("docs", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let to_eve = vault
        .share("docs/inner", &recipient(&eve, "eve"), writing())
        .await
        .unwrap();
    vault.put("docs/big", big.clone()).await.unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    his.put("docs/his", "by bob").await.unwrap();
    let before = contents(&owner.store).await;

    vault.revoke(&[to_bob.id]).await.unwrap();
    vault.put("docs/after", "new").await.unwrap();
    let receipt = vault.receipt(Some("docs")).await.unwrap();
    assert_eq!((receipt.objects, receipt.unknown), (4, 0));
    assert_eq!(receipt.bytes, 1 + 1 + 6 + big.len() as u64);
    let named: BTreeSet<String> = vault
        .outdated(Some("docs"))
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    let expected = ["docs/before", "docs/inner/x", "docs/big", "docs/his"];
    assert_eq!(named, expected.map(str::to_owned).into());
    // It is what he can read, and what he cannot is not in it.
    for path in names(vault).await {
        let opened = read(&his, &path).await.is_ok();
        assert_eq!(opened, named.contains(&path), "{path}");
    }

    let steps: Vec<_> = vault.reencrypt(Some("docs")).try_collect().await.unwrap();
    let written = steps
        .iter()
        .filter(|step| matches!(step, kluis::Reencrypted::Written(_)));
    assert_eq!((written.count(), steps.len()), (4, 5));
    assert!(vault.receipt(Some("docs")).await.unwrap().is_empty());
    for path in names(vault).await {
        assert!(read(&his, &path).await.is_err(), "{path}");
    }
    assert_eq!(read(vault, "docs/big").await.unwrap(), big);
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    assert_eq!(read(&hers, "inner/x").await.unwrap(), b"x");
    // L07: nothing of before comes back, whoever puts it there.
    for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with("o/")) {
        plant(&owner.store, path, bytes).await;
    }
    for path in ["docs/before", "docs/inner/x", "docs/big", "docs/his"] {
        assert_code(read(vault, path).await, "tampered", path);
    }
    assert_code(read(&hers, "inner/x").await, "tampered", "to members too");
    // Nothing to do is nothing done.
    let count = contents(&owner.store).await.len();
    let again = owner.again().await;
    drop(again.receipt(None).await.unwrap());
    assert_eq!(contents(&owner.store).await.len(), count);
}

#[tokio::test]
async fn who_could_read_is_told_from_the_ledger_alone() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    let vault = &owner.vault;
    let mut terms = writing();
    terms.purpose = "the audit".to_owned();
    let inner = vault
        .share("a/b", &recipient(&bob, "bob"), terms.clone())
        .await
        .unwrap();
    let whole = vault
        .share_whole(&recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    vault.revoke(&[inner.id]).await.unwrap();
    // Across snapshots, which hold what is in force only.
    for n in 0..130 {
        let contact = Contact::new(&format!("c{}", n % 3), bob.card().clone()).unwrap();
        vault.save_contact(contact).await.unwrap();
    }
    let statement = owner.again().await.access(Some("a/b/c")).await.unwrap();
    let found: Vec<_> = statement
        .access
        .iter()
        .map(|p| (p.grant.id, p.ended.is_some()))
        .collect();
    assert_eq!(found, [(inner.id, true), (whole.id, false)]);
    assert_eq!(statement.access[0].grant.terms, terms);
    assert!(statement.ledger > 130);
    let (begin, end) = statement.access[0].span();
    assert_eq!(statement.between(begin, begin).count(), 1);
    let later = end.unwrap() + Duration::from_micros(1);
    assert_eq!(
        statement.between(later, later).next().unwrap().grant.id,
        whole.id
    );
    // A folder around it has a part that was shared.
    for (path, count) in [("a", 2), ("a/c", 1), ("b", 1)] {
        let statement = vault.access(Some(path)).await.unwrap();
        assert_eq!(statement.access.len(), count, "{path}");
    }
    assert_eq!(vault.access(None).await.unwrap().access.len(), 2);
    // Dates bind honest clients: keys are good from the grant to the entry that ends it.
    let hour = Duration::from_secs(3_600);
    let now = std::time::SystemTime::now();
    let at = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
        Some(since.as_micros() as u64)
    };
    let mut dated = Terms::reading();
    (dated.not_before, dated.not_after) = (at(now + hour), at(now + 2 * hour));
    let dated = vault.share("dated", &recipient(&bob, "bob"), dated).await;
    let dated = dated.unwrap().id;
    let statement = vault.access(Some("dated")).await.unwrap();
    let moment = std::time::SystemTime::now();
    for time in [moment, now + hour, now + 3 * hour] {
        let mut found = statement.between(time, time);
        assert!(found.any(|period| period.grant.id == dated), "{time:?}");
    }
}

#[tokio::test]
async fn a_device_opens_the_vault_with_its_identity() {
    let owner = owner().await;
    let (phone, other) = (identity(), identity());
    owner.vault.put("a", "a").await.unwrap();
    let slot = owner
        .vault
        .add_device(&recipient(&phone, "phone"))
        .await
        .unwrap();
    let open = |identity: &Arc<Identity>| {
        let (store, identity) = (as_store(&owner.store), Arc::clone(identity));
        let id = owner.vault.id();
        async move { options().id(id).open(store, identity).await }
    };
    // Whoever knows the card could have made another vault.
    let blind = options().open(as_store(&owner.store), Arc::clone(&phone));
    assert_code(blind.await, "invalid_input", "a vault that is not known");
    let opened = open(&phone).await.unwrap();
    assert_eq!(read(&opened, "a").await.unwrap(), b"a");
    opened.put("b", "b").await.unwrap();
    assert_eq!(opened.slots().unwrap().len(), 2);
    assert_code(open(&other).await, "access_denied", "another identity");
    owner.vault.remove_slot(slot).await.unwrap();
    assert_code(open(&phone).await, "access_denied", "removed");
    let by = vec![(phrase(&words()), kluis_tests::cheap())];
    owner.vault.rotate_root(by).await.unwrap();
    owner.vault.put("c", "c").await.unwrap();
    assert!(read(&opened, "c").await.is_err(), "a lost device");
}

#[tokio::test]
async fn f15_a_revocation_that_dies_anywhere_is_made_or_not_made() {
    let mut revoked = BTreeSet::new();
    for (after, k) in (0..40).flat_map(|k| [(false, k), (true, k)]) {
        let owner = owner().await;
        let (bob, eve) = (identity(), identity());
        owner.vault.put("a/1", "1").await.unwrap();
        let to_bob = owner
            .vault
            .share("a", &recipient(&bob, "bob"), Terms::reading())
            .await
            .unwrap();
        let to_eve = owner
            .vault
            .share("a", &recipient(&eve, "eve"), Terms::reading())
            .await
            .unwrap();
        let his = owner.open_as(&bob, &to_bob).await.unwrap();
        let dying = owner.store.client("dying");
        let device = options()
            .staleness(Duration::ZERO)
            .open(as_store(&dying), phrase(&owner.words))
            .await
            .unwrap();
        dying.crash(if after { Cut::After(k) } else { Cut::Before(k) });
        let done = device.revoke(&[to_bob.id]).await;
        let crashed = dying.crashed();
        drop(device);

        let what = format!("{k} {after}");
        let next = owner.again().await;
        let holds = next
            .grants()
            .unwrap()
            .iter()
            .any(|grant| grant.id == to_bob.id);
        assert!(done.is_err() || !holds, "{what}: acknowledged and not made");
        revoked.insert(!holds);
        next.put("a/2", "2").await.unwrap();
        let hers = owner.open_as(&eve, &to_eve).await.unwrap();
        for path in ["a/1", "a/2"] {
            assert!(read(&hers, path).await.is_ok(), "{what}: {path}");
            assert!(read(&next, path).await.is_ok(), "{what}: {path}");
        }
        assert_eq!(read(&his, "a/2").await.is_ok(), holds, "{what}");
        // Asked for again it is made.
        if holds {
            next.revoke(&[to_bob.id]).await.unwrap();
            next.put("a/3", "3").await.unwrap();
            assert!(read(&his, "a/3").await.is_err(), "{what}");
        }
        if !crashed {
            assert!(done.is_ok(), "{what}");
            assert_eq!(revoked.len(), 2, "some died before and some after");
            return;
        }
    }
    panic!("a revocation of more than 40 calls");
}

#[tokio::test]
async fn l06_two_devices_share_and_revoke_at_once() {
    for ignores in [false, true] {
        let owner = owner().await;
        if ignores {
            owner.store.add(Lie::IgnoreConditional);
        }
        let people: Vec<_> = (0..3).map(|_| identity()).collect();
        let first = owner
            .vault
            .share("a", &recipient(&people[0], "p0"), writing())
            .await
            .unwrap();
        let other = owner.again().await;
        let to = [1, 2].map(|n| recipient(&people[n], &format!("p{n}")));
        let revoked = [first.id];
        let (one, two, three) = tokio::join!(
            owner.vault.share("b", &to[0], writing()),
            other.share("b", &to[1], writing()),
            other.revoke(&revoked),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        three.unwrap();
        let next = owner.again().await;
        next.put("b/x", "x").await.unwrap();
        next.put("a/x", "x").await.unwrap();
        let held: BTreeSet<_> = next.grants().unwrap().iter().map(|g| g.id).collect();
        assert!(!held.contains(&first.id) || ignores, "revoked: {ignores}");
        for (granted, person) in [(&one, &people[1]), (&two, &people[2])] {
            let opened = owner.open_as(person, granted).await;
            if !ignores {
                assert!(held.contains(&granted.id));
            }
            // On a store that ignores conditions the loser's is not of the chain.
            match opened {
                Ok(vault) => assert!(read(&vault, "b/x").await.is_ok()),
                Err(error) => assert!(ignores && !held.contains(&granted.id), "{error:?}"),
            }
        }
        let opened = owner.open_as(&people[0], &first).await;
        let reads = match opened {
            Ok(vault) => read(&vault, "a/x").await.is_ok(),
            Err(_) => false,
        };
        assert!(!reads, "what was revoked is revoked, {ignores}");
    }
}

#[tokio::test]
async fn l33_squatted_numbers_stop_no_revocation() {
    let owner = owner().await;
    let bob = identity();
    let granted = owner
        .vault
        .share("a", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    // Bob can write to the bucket, also where he should not be let.
    for n in 2..102_u64 {
        plant(&owner.store, &format!("k/l/{n:016x}"), &[n as u8; 32]).await;
    }
    owner.vault.revoke(&[granted.id]).await.unwrap();
    owner.vault.put("a/x", "x").await.unwrap();
    assert!(read(&his, "a/x").await.is_err());
    assert!(read(&owner.again().await, "a/x").await.is_ok());
}

#[tokio::test]
async fn g_every_changed_byte_of_a_letter_and_of_a_bundle_is_refused() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    let to_bob = owner
        .vault
        .share("a", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let to_eve = owner
        .vault
        .share("a", &recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    owner.vault.put("a/x", "x").await.unwrap();
    assert!(owner.open_as(&eve, &to_eve).await.is_ok());
    let all = contents(&owner.store).await;
    let records: Vec<_> = all
        .iter()
        .filter(|(path, _)| path.starts_with("k/g/"))
        .collect();
    assert_eq!(records.len(), 3);
    for (path, bytes) in records {
        let text = to_bob.invitation.to_string();
        // Nobody needs the letter of who has no access.
        if path.ends_with(text.split('/').nth(1).unwrap()) {
            continue;
        }
        for at in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            plant(&owner.store, path, &changed).await;
            let error = owner.open_as(&eve, &to_eve).await.unwrap_err();
            let code = error.code();
            assert!(
                ["tampered", "unsupported_format"].contains(&code),
                "{path} {at}: {code}"
            );
        }
        plant(&owner.store, path, &bytes[..bytes.len() / 2]).await;
        assert_code(owner.open_as(&eve, &to_eve).await, "tampered", path);
        plant(&owner.store, path, bytes).await;
    }
    assert!(owner.open_as(&eve, &to_eve).await.is_ok());
}

/// Nothing that was written shows the same bytes twice: F14.
#[tokio::test]
async fn f14_two_grants_to_one_person_have_nothing_in_common() {
    let owner = owner().await;
    let bob = identity();
    for folder in ["a", "b"] {
        owner
            .vault
            .share(folder, &recipient(&bob, "bob"), Terms::reading())
            .await
            .unwrap();
    }
    let all = contents(&owner.store).await;
    let letters: Vec<_> = all
        .iter()
        .filter(|(path, _)| path.starts_with("k/g/"))
        .map(|(_, bytes)| bytes)
        .collect();
    let windows: BTreeSet<_> = letters[0].windows(8).collect();
    assert!(
        letters[1]
            .windows(8)
            .all(|window| !windows.contains(window))
    );
}

#[tokio::test]
async fn what_was_accepted_is_kept_on_the_device_under_a_name() {
    let owner = owner().await;
    let bob = identity();
    let first = owner
        .vault
        .share("a/photos", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let second = owner
        .vault
        .share("b/photos", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    owner.vault.put("a/photos/1", "1").await.unwrap();
    owner.vault.put("b/photos/2", "2").await.unwrap();
    let address: Address = "s3://bucket/vault".parse().unwrap();
    let state: Arc<dyn DeviceState> = Arc::new(MemoryState::new());
    let device = || options().device_state(Arc::clone(&state), &address);
    let text = first.invitation.at(&address);
    let (there, invitation) = Invitation::parse_at(&text).unwrap();
    assert_eq!(there, address.with_id(owner.vault.id()));
    assert_eq!(invitation, first.invitation);

    let nothing = device().id(owner.vault.id());
    let nothing = nothing.open(as_store(&owner.store), Arc::clone(&bob));
    assert_code(nothing.await, "access_denied", "nothing was accepted");
    let his = device()
        .open_as(as_store(&owner.store), &bob, &invitation)
        .await
        .unwrap();
    his.accept(&invitation, None).await.unwrap();
    let his = device()
        .open_as(as_store(&owner.store), &bob, &second.invitation)
        .await
        .unwrap();
    assert_code(
        his.accept(&second.invitation, None).await,
        "already_exists",
        "a clash",
    );
    for bad in ["", "..", "x/y"] {
        let found = his.accept(&second.invitation, Some(bad)).await;
        assert_code(found, "invalid_input", bad);
    }
    his.accept(&second.invitation, Some("other")).await.unwrap();
    let again = device()
        .open(as_store(&owner.store), Arc::clone(&bob))
        .await
        .unwrap();
    assert_eq!(
        names(&again).await,
        ["photos/1", "other/2"].map(str::to_owned).into()
    );
    let received: Vec<_> = again
        .received()
        .unwrap()
        .into_iter()
        .map(|r| r.name)
        .collect();
    assert_eq!(received, ["other", "photos"]);
    // One that is taken back leaves the other.
    owner.vault.revoke(&[first.id]).await.unwrap();
    let again = device()
        .open(as_store(&owner.store), Arc::clone(&bob))
        .await
        .unwrap();
    assert_eq!(names(&again).await, ["other/2".to_owned()].into());
    // A check of the owner's knows letters and bundles.
    let findings: Vec<_> = owner
        .vault
        .check(None, Check::Full)
        .try_collect()
        .await
        .unwrap();
    let good = findings.iter().filter(|f| matches!(f.verdict, Verdict::Ok));
    assert_eq!(good.count(), findings.len());
}

#[tokio::test]
async fn one_object_is_read_written_and_taken_back() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    owner.vault.put("photos/cat.jpg", "cat").await.unwrap();
    owner.vault.put("photos/dog.jpg", "dog").await.unwrap();
    let to_bob = owner
        .vault
        .share_object("photos/cat.jpg", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let to_eve = owner
        .vault
        .share_object("photos/cat.jpg", &recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    // Nothing but the object itself is asked of the store's credentials.
    let prefixes = &to_bob.prefixes;
    let object = prefixes.read.last().unwrap();
    assert!(
        prefixes.single.contains(object) && object.starts_with("o/"),
        "{object}"
    );
    assert_eq!(prefixes.write, std::slice::from_ref(object));
    assert_eq!(prefixes.list, ["k/h", "k/l"]);
    assert!(to_eve.prefixes.write.is_empty());

    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    assert_eq!(his.received().unwrap()[0].kind, Kind::Object);
    assert_eq!(read(&his, "cat.jpg").await.unwrap(), b"cat");
    assert_eq!(his.head("cat.jpg").await.unwrap().meta.size, 3);
    assert_eq!(&his.get_range("cat.jpg", 1..3).await.unwrap()[..], b"at");
    assert_eq!(names(&his).await, ["cat.jpg".to_owned()].into());
    let top = his.list_with_delimiter(None).await.unwrap();
    assert!(top.common_prefixes.is_empty());
    assert_eq!(top.objects[0].location.as_ref(), "cat.jpg");
    let findings: Vec<_> = his.check(None, Check::Full).try_collect().await.unwrap();
    assert_eq!(findings.len(), 1);
    assert!(matches!(findings[0].verdict, Verdict::Ok));
    for outside in ["photos/cat.jpg", "dog.jpg", "photos", "cat.jpg/x", "cat"] {
        assert_code(read(&his, outside).await, "not_found", outside);
        let put = his.put(outside, "x").await;
        assert_code(put, "not_found", outside);
    }
    his.put("cat.jpg", "by bob").await.unwrap();
    assert_code(hers.put("cat.jpg", "x").await, "access_denied", "a reader");
    for (vault, path) in [(&owner.vault, "photos/cat.jpg"), (&hers, "cat.jpg")] {
        assert_eq!(read(vault, path).await.unwrap(), b"by bob", "{path}");
    }
    let kinds: Vec<_> = owner.vault.grants().unwrap();
    assert!(kinds.iter().all(|grant| grant.kind == Kind::Object));
    let who = |path: &'static str| {
        let vault = owner.vault.clone();
        async move { vault.access(Some(path)).await.unwrap().access.len() }
    };
    assert_eq!(
        (who("photos/cat.jpg").await, who("photos/dog.jpg").await),
        (2, 0)
    );

    // F12: with every key that he ever had.
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    owner.vault.put("photos/cat.jpg", "after").await.unwrap();
    owner.vault.put("photos/dog.jpg", "other").await.unwrap();
    assert!(read(&his, "cat.jpg").await.is_err());
    assert_code(his.put("cat.jpg", "x").await, "access_denied", "late");
    assert_code(owner.open_as(&bob, &to_bob).await, "access_denied", "again");
    assert_eq!(read(&hers, "cat.jpg").await.unwrap(), b"after");
    let again = owner.open_as(&eve, &to_eve).await.unwrap();
    assert_eq!(read(&again, "cat.jpg").await.unwrap(), b"after");
    for path in ["photos/cat.jpg", "photos/dog.jpg"] {
        assert!(read(&owner.again().await, path).await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn one_object_from_now_on_hands_out_no_past() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("a/log", "one").await.unwrap();
    let granted = owner
        .vault
        .share_object("a/log", &recipient(&bob, "bob"), from_now())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    assert_code(read(&his, "log").await, "access_denied", "the past");
    owner.vault.put("a/log", "two").await.unwrap();
    assert_eq!(read(&his, "log").await.unwrap(), b"two");
}

#[tokio::test]
async fn one_object_is_followed_where_a_folder_around_it_is_shared_later() {
    let owner = owner().await;
    let (bob, eve, carl) = (identity(), identity(), identity());
    owner.vault.put("a/b/x", "0").await.unwrap();
    let to_bob = owner
        .vault
        .share_object("a/b/x", &recipient(&bob, "bob"), writing())
        .await
        .unwrap();
    let now = owner
        .vault
        .share_object("a/b/x", &recipient(&carl, "carl"), from_now())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    owner.vault.put("a/b/x", "1").await.unwrap();
    // Mounted around it, then further in.
    for folder in ["a", "a/b"] {
        let to_eve = owner
            .vault
            .share(folder, &recipient(&eve, "eve"), writing())
            .await
            .unwrap();
        let hers = owner.open_as(&eve, &to_eve).await.unwrap();
        let hers_is = format!("{}x", if folder == "a" { "a/b/" } else { "b/" });
        assert_eq!(read(&his, "x").await.unwrap().len(), 1, "{folder}");
        // Under the keys that are in force now, on both sides.
        his.put("x", "by bob").await.unwrap();
        assert_eq!(read(&hers, &hers_is).await.unwrap(), b"by bob");
        hers.put(&hers_is, "e").await.unwrap();
        for vault in [&his, &owner.open_as(&bob, &to_bob).await.unwrap()] {
            assert_eq!(read(vault, "x").await.unwrap(), b"e", "{folder}");
        }
        let later = owner.open_as(&carl, &now).await.unwrap();
        assert_eq!(read(&later, "x").await.unwrap(), b"e", "{folder}");
        // Who had the folder is out, and the object goes on.
        owner.vault.revoke(&[to_eve.id]).await.unwrap();
        his.put("x", "2").await.unwrap();
        assert!(read(&hers, &hers_is).await.is_err(), "{folder}");
        assert_eq!(read(&owner.vault, "a/b/x").await.unwrap(), b"2");
    }
    owner.vault.revoke(&[to_bob.id, now.id]).await.unwrap();
    owner.vault.put("a/b/x", "3").await.unwrap();
    assert!(read(&his, "x").await.is_err());
}

#[tokio::test]
async fn a_grant_is_of_a_place_and_not_of_what_was_moved_from_it() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("a/x", "x").await.unwrap();
    let granted = owner
        .vault
        .share_object("a/x", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    owner.vault.rename("a/x", "a/y").await.unwrap();
    assert_code(read(&his, "x").await, "not_found", "moved");
    assert!(names(&his).await.is_empty());
    owner.vault.put("a/x", "another").await.unwrap();
    assert_eq!(read(&his, "x").await.unwrap(), b"another");
}

#[tokio::test]
async fn l13_g02_one_version_is_that_write_and_no_other() {
    let owner = owner().await;
    let (bob, eve) = (identity(), identity());
    owner.vault.put("a/doc", "first").await.unwrap();
    let wanted = recipient(&bob, "bob");
    assert_code(
        owner.vault.share_version("a/doc", &wanted, writing()).await,
        "invalid_input",
        "writing",
    );
    assert_code(
        owner
            .vault
            .share_version("a/doc", &wanted, from_now())
            .await,
        "invalid_input",
        "no past",
    );
    assert_code(
        owner
            .vault
            .share_version("a/nothing", &wanted, Terms::reading())
            .await,
        "not_found",
        "nothing there",
    );
    let to_bob = owner
        .vault
        .share_version("a/doc", &wanted, Terms::reading())
        .await
        .unwrap();
    let to_eve = owner
        .vault
        .share_version("a/doc", &recipient(&eve, "eve"), Terms::reading())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    for vault in [&his, &hers] {
        assert_eq!(read(vault, "doc").await.unwrap(), b"first");
        assert_eq!(names(vault).await, ["doc".to_owned()].into());
        assert_code(vault.put("doc", "x").await, "access_denied", "a write");
    }
    assert_eq!(his.received().unwrap()[0].kind, Kind::Version);
    // The next write of the same place is another one, and says so.
    let before = contents(&owner.store).await;
    owner.vault.put("a/doc", "second").await.unwrap();
    for vault in [&his, &owner.open_as(&bob, &to_bob).await.unwrap()] {
        let error = read(vault, "doc").await.unwrap_err();
        assert_eq!(error.code(), "not_found");
        assert!(
            error.to_string().contains("another one lies there"),
            "{error}"
        );
        assert!(names(vault).await.is_empty());
    }
    // The first one, which the store kept, is read by its holders for ever; what is
    // changed in it is nothing to either.
    let place = to_bob.prefixes.read.last().unwrap();
    let (_, first) = before.iter().find(|(path, _)| *path == place).unwrap();
    for at in [300, 230, 30, first.len() - 1] {
        let mut changed = first.to_vec();
        let at = at.min(changed.len() - 1);
        changed[at] ^= 1;
        plant(&owner.store, place, &changed).await;
        for vault in [&his, &hers] {
            assert!(read(vault, "doc").await.is_err(), "{at}");
        }
    }
    plant(&owner.store, place, first).await;
    for vault in [&his, &hers] {
        assert_eq!(read(vault, "doc").await.unwrap(), b"first");
    }
    // Taken back, the holder's client stops, and no epoch was closed for it.
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    assert_code(owner.open_as(&bob, &to_bob).await, "access_denied", "again");
    assert_eq!(read(&hers, "doc").await.unwrap(), b"first");
    assert!(owner.vault.receipt(Some("a")).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_shared_of_one_object_is_written_again_by_itself() {
    let owner = owner().await;
    let bob = identity();
    owner.vault.put("a/x", "x").await.unwrap();
    owner.vault.put("a/y", "y").await.unwrap();
    let granted = owner
        .vault
        .share_object("a/x", &recipient(&bob, "bob"), Terms::reading())
        .await
        .unwrap();
    owner.vault.revoke(&[granted.id]).await.unwrap();
    let left = owner.vault.receipt(Some("a/x")).await.unwrap();
    assert_eq!((left.objects, left.bytes), (1, 1));
    let steps: Vec<_> = owner
        .vault
        .reencrypt(Some("a/x"))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(steps.len(), 1);
    assert!(owner.vault.receipt(Some("a/x")).await.unwrap().is_empty());
    assert_eq!(owner.vault.receipt(Some("a")).await.unwrap().objects, 1);
    assert_eq!(read(&owner.vault, "a/x").await.unwrap(), b"x");
}

#[tokio::test]
async fn who_keeps_an_object_by_a_folder_around_it_is_told_of_the_road() {
    let owner = owner().await;
    let bob = identity();
    let to = recipient(&bob, "bob");
    let object = owner
        .vault
        .share_object("a/x", &to, Terms::reading())
        .await
        .unwrap();
    let folder = owner.vault.share("a", &to, Terms::reading()).await.unwrap();
    let beside = owner.vault.share("b", &to, Terms::reading()).await.unwrap();
    assert_code(
        owner.vault.revoke(&[object.id]).await,
        "invalid_input",
        "road",
    );
    owner.vault.revoke(&[beside.id]).await.unwrap();
    owner.vault.revoke(&[object.id, folder.id]).await.unwrap();
}

/// A write that takes long ends under keys that were closed meanwhile: it is not
/// acknowledged, and done again it is under those in force.
#[tokio::test]
async fn a_long_write_that_a_revocation_overtakes_is_not_acknowledged() {
    use futures_util::{StreamExt, stream};
    let owner = owner().await;
    let bob = recipient(&identity(), "bob");
    let other = owner.again().await;
    let to_bob = other.share("a", &bob, Terms::reading());
    let to_bob = to_bob.await.unwrap();
    let piece = |text: &'static str| Ok::<_, std::io::Error>(text.into());
    let rest = async move {
        other.revoke(&[to_bob.id]).await.unwrap();
        let pause = || std::thread::sleep(Duration::from_millis(1_100));
        tokio::task::spawn_blocking(pause).await.unwrap();
        piece("two")
    };
    let content = stream::once(async move { piece("one") }).chain(stream::once(rest));
    let written = owner.vault.put_stream("a/x", content, Default::default());
    assert_code(written.await, "conflict", "overtaken");
    owner.vault.put("a/x", "again").await.unwrap();
    assert!(!owner.vault.head("a/x").await.unwrap().closed);
}

/// Before the old keys are refused, whoever has not heard of the new ones hears of them.
#[tokio::test]
async fn a_floor_waits_for_writers_that_have_not_heard_of_the_new_keys() {
    const BOUND: Duration = Duration::from_millis(700);
    let owner = owner().await;
    let bob = recipient(&identity(), "bob");
    owner.vault.put("a/x", "x").await.unwrap();
    let to_bob = owner.vault.share("a", &bob, Terms::reading());
    let to_bob = to_bob.await.unwrap();
    let slow = options().staleness(BOUND);
    let slow = slow
        .open(as_store(&owner.store), phrase(&owner.words))
        .await;
    let slow = slow.unwrap();
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    let revoked = std::time::Instant::now();
    let steps = slow.reencrypt(Some("a")).try_collect::<Vec<_>>().await;
    assert_eq!(steps.unwrap().len(), 1);
    assert!(revoked.elapsed() >= BOUND - Duration::from_millis(50));
}
