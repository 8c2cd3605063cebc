//! Pins of the ledger for programs that keep no state, what a device forgets, and
//! what the statement of access is made of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::memory::InMemory;
use kluis::{
    Address, Error, Granted, Identity, IdentitySuite, LedgerPin, MemoryState, Recipient, Result,
    Terms, Vault, VaultOptions,
};
use kluis_adversary::{HostileStore, Lie, Op};
use kluis_crypto::{Header, SlotKind};
use kluis_tests::{as_store, contents, options, phrase, read, words};
use std::sync::Arc;

struct Scene {
    store: HostileStore,
    vault: Vault,
    words: String,
}

async fn scene() -> Scene {
    let store = HostileStore::new(InMemory::new());
    let words = words();
    let vault = options().create(as_store(&store), phrase(&words)).await;
    Scene {
        vault: vault.unwrap(),
        store,
        words,
    }
}

impl Scene {
    async fn share(&self, folder: &str, suite: IdentitySuite) -> (Arc<Identity>, Granted) {
        let identity = Arc::new(Identity::make(suite, 1).unwrap());
        let recipient = Recipient::trusted_on_first_use(identity.card().clone());
        let recipient = recipient.allow_classical();
        let granted = self.vault.share(folder, &recipient, Terms::reading()).await;
        (identity, granted.unwrap())
    }

    async fn open(&self, options: VaultOptions) -> Result<Vault> {
        options
            .open(as_store(&self.store), phrase(&self.words))
            .await
    }
}

fn code<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn e05_e09_a_pin_holds_a_store_to_what_it_names() {
    let scene = scene().await;
    let (bob, to_bob) = scene.share("a", IdentitySuite::XWing).await;
    let (eve, to_eve) = scene.share("a", IdentitySuite::XWing).await;
    let mark = scene.store.mark();
    let revoked = scene.vault.revoke(&[to_bob.id]).await.unwrap();
    let pin = revoked.pin;
    assert_eq!(pin, scene.vault.pin().unwrap());
    assert_eq!(pin.vault(), scene.vault.id());
    assert_eq!(pin.to_string().parse::<LedgerPin>().unwrap(), pin);
    let open_as = |identity: Arc<Identity>, granted: Granted, pin: Option<LedgerPin>| {
        let options = pin.into_iter().fold(options(), VaultOptions::pin);
        let store = as_store(&scene.store);
        async move { options.open_as(store, &identity, &granted.invitation).await }
    };
    // An honest store, also when it knows more by now.
    assert_eq!(code(scene.open(options().pin(pin)).await), "ok");
    assert_eq!(
        code(open_as(eve.clone(), to_eve.clone(), Some(pin)).await),
        "ok"
    );
    for n in 0..70 {
        let (_, granted) = scene.share(&format!("x{n}"), IdentitySuite::X25519).await;
        drop(granted);
    }
    assert_eq!(code(scene.open(options().pin(pin)).await), "ok");
    assert_eq!(
        code(open_as(eve.clone(), to_eve.clone(), Some(pin)).await),
        "ok"
    );
    // The provider shows everybody the vault as it was before the revocation.
    let frozen = scene.store.add(Lie::Freeze(mark));
    assert_eq!(code(scene.open(options()).await), "ok", "without a pin");
    assert_eq!(code(open_as(bob.clone(), to_bob.clone(), None).await), "ok");
    assert_eq!(code(scene.open(options().pin(pin)).await), "stale");
    assert_eq!(code(open_as(eve, to_eve, Some(pin)).await), "stale");
    assert_eq!(code(open_as(bob, to_bob, Some(pin)).await), "stale");
    scene.store.remove(frozen);
    // Another entry stands in its place.
    let text = pin.to_string();
    let (before, hash) = text.rsplit_once('/').unwrap();
    let last = if hash.ends_with('0') { "1" } else { "0" };
    let other = format!("{before}/{}{last}", &hash[..hash.len() - 1]);
    let other: LedgerPin = other.parse().unwrap();
    assert_eq!(code(scene.open(options().pin(other)).await), "forked");
    let later = text.replace(&format!("/{}/", pin.sequence()), "/1000/");
    let later = options().pin(later.parse().unwrap());
    assert_eq!(code(scene.open(later).await), "stale");
}

#[tokio::test]
async fn a_pin_is_of_one_vault() {
    let (one, two) = (scene().await, scene().await);
    let pin = one.vault.pin().unwrap();
    assert_eq!(
        code(two.open(options().pin(pin)).await),
        "untrusted_identity"
    );
    let mark = two.store.mark();
    let both = options().id(two.vault.id()).pin(pin);
    assert_eq!(code(two.open(both).await), "untrusted_identity");
    assert_eq!(two.store.journal().since(mark).calls().len(), 0);
    let create = options()
        .pin(pin)
        .create(Arc::new(InMemory::new()), phrase(&one.words));
    assert_eq!(code(create.await), "invalid_input");
    // An identity opens a vault that is known, and a pin makes it known.
    let device = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let card = Recipient::trusted_on_first_use(device.card().clone());
    one.vault.add_device(&card).await.unwrap();
    let open = options().open(as_store(&one.store), device.clone());
    assert_eq!(code(open.await), "invalid_input");
    let open = options().pin(pin).open(as_store(&one.store), device);
    assert_eq!(code(open.await), "ok");
}

#[tokio::test]
async fn what_else_the_revoked_person_has_is_named() {
    let scene = scene().await;
    let bob = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let to_bob = Recipient::trusted_on_first_use(bob.card().clone());
    let mut ids = Vec::new();
    for folder in ["a", "b", "b/c"] {
        let granted = scene.vault.share(folder, &to_bob, Terms::reading()).await;
        ids.push(granted.unwrap().id);
    }
    scene.share("a", IdentitySuite::XWing).await;
    let revoked = scene.vault.revoke(&ids[..1]).await.unwrap();
    let left: Vec<_> = revoked.remaining.iter().map(|g| g.id).collect();
    assert_eq!(left, ids[1..]);
    // By a device that had not heard of the grants yet.
    let other = scene.open(options()).await.unwrap();
    let (_, late) = scene.share("d", IdentitySuite::XWing).await;
    let revoked = other.revoke(&[late.id]).await.unwrap();
    assert_eq!(revoked.remaining, []);
    let revoked = other.revoke(&ids[1..]).await.unwrap();
    assert_eq!(revoked.remaining, []);
}

#[tokio::test]
async fn what_was_taken_back_is_shown_as_ended_and_can_be_forgotten() {
    let scene = scene().await;
    let (bob, first) = scene.share("a", IdentitySuite::XWing).await;
    let card = Recipient::trusted_on_first_use(bob.card().clone());
    let second = scene
        .vault
        .share("b", &card, Terms::reading())
        .await
        .unwrap();
    scene.vault.put("b/x", "x").await.unwrap();
    let state: Arc<MemoryState> = Arc::default();
    let address: Address = "s3://bucket/vault".parse().unwrap();
    let device = || options().device_state(state.clone(), &address);
    let store = || as_store(&scene.store);
    for granted in [&first, &second] {
        let his = device().open_as(store(), &bob, &granted.invitation).await;
        his.unwrap()
            .accept(&granted.invitation, None)
            .await
            .unwrap();
    }
    let states = |vault: &Vault| -> Vec<(String, bool)> {
        let received = vault.received().unwrap().into_iter();
        received.map(|r| (r.name, r.ended)).collect()
    };
    let (a, b) = ("a".to_owned(), "b".to_owned());
    scene.vault.revoke(&[first.id]).await.unwrap();
    let his = device().open(store(), bob.clone()).await.unwrap();
    assert_eq!(states(&his), [(a.clone(), true), (b.clone(), false)]);
    assert_eq!(code(read(&his, "a/x").await), "access_denied");
    assert_eq!(code(read(&his, "c/x").await), "not_found");
    assert_eq!(read(&his, "b/x").await.unwrap(), b"x");
    scene.vault.revoke(&[second.id]).await.unwrap();
    scene.vault.put("b/y", "y").await.unwrap();
    // It goes on to know what it knew, and nothing more.
    assert_eq!(read(&his, "b/x").await.unwrap(), b"x");
    assert!(read(&his, "b/y").await.is_err());
    assert_eq!(read(&his, "b/x").await.unwrap(), b"x");
    assert_eq!(
        code(device().open(store(), bob.clone()).await),
        "access_denied"
    );
    let his = device()
        .with_ended()
        .open(store(), bob.clone())
        .await
        .unwrap();
    assert_eq!(states(&his), [(a, true), (b.clone(), true)]);
    assert_eq!(code(read(&his, "b/x").await), "access_denied");
    assert_eq!(code(his.put("b/x", "x").await), "access_denied");
    // Forgetting is a matter of the device.
    let mark = scene.store.mark();
    device().forget_accepted("a").await.unwrap();
    assert_eq!(code(device().forget_accepted("a").await), "not_found");
    assert_eq!(code(options().forget_accepted("b").await), "invalid_input");
    assert_eq!(scene.store.journal().since(mark).calls().len(), 0);
    let his = device()
        .with_ended()
        .open(store(), bob.clone())
        .await
        .unwrap();
    assert_eq!(states(&his), [(b, true)]);
    device().forget_accepted("b").await.unwrap();
    let nothing = device().with_ended().open(store(), bob).await;
    assert_eq!(code(nothing), "access_denied", "nothing was accepted");
}

#[tokio::test]
async fn the_statement_of_access_asks_the_ledger_and_nothing_else() {
    let scene = scene().await;
    for n in 0..5 {
        scene.vault.put(&format!("a/{n}"), "x").await.unwrap();
        scene.share(&format!("a/f{n}"), IdentitySuite::XWing).await;
    }
    let mark = scene.store.mark();
    let statement = scene.vault.access(Some("a/f1/x")).await.unwrap();
    assert_eq!(statement.access.len(), 1);
    let asked = scene.store.journal().since(mark);
    assert!(!asked.calls().is_empty());
    for call in asked.calls() {
        let path = call.path.as_ref();
        let control = ["k/h", "k/l", "k/header", "kluis.vault"];
        assert!(control.iter().any(|c| path.starts_with(c)), "{call:?}");
        assert!(!call.op.writes(), "{call:?}");
    }
}

/// K01: what is sealed to an identity is sealed to ML-KEM-768 and X25519 together. A
/// wrap of X25519 alone would be shorter by the ciphertext of the other: 1,088 bytes.
#[tokio::test]
async fn k01_no_control_record_holds_a_classical_wrap_alone() {
    const ENCAPSULATED: usize = 1_120;
    const CLASSICAL: usize = 32;
    let mut of_suite = Vec::new();
    for suite in [IdentitySuite::XWing, IdentitySuite::X25519] {
        let scene = scene().await;
        let (identity, granted) = scene.share("folder", suite).await;
        let device = Recipient::trusted_on_first_use(identity.card().clone());
        scene
            .vault
            .add_device(&device.allow_classical())
            .await
            .unwrap();
        let (_, other) = scene.share("folder", suite).await;
        scene.vault.revoke(&[other.id]).await.unwrap();
        let all = contents(&scene.store).await;
        let letter = all[&granted.invitation.letter().path()].len();
        let headers: Vec<_> = all.values().filter_map(|r| Header::parse(r).ok()).collect();
        let newest = headers.iter().max_by_key(|h| h.position()).unwrap();
        let slots = newest.slots().iter();
        let devices = slots.filter(|slot| slot.kind() == SlotKind::DeviceIdentity);
        assert_eq!(devices.count(), 1);
        let letters = all.keys().filter(|path| path.starts_with("k/g/")).count();
        assert_eq!(letters, 3, "two letters and a bundle");
        of_suite.push((letter, newest.as_bytes().len()));
        if suite == IdentitySuite::XWing {
            assert!(letter > ENCAPSULATED + 4);
            // And nobody has another suite than the one that was asked for.
            let statement = scene.vault.access(None).await.unwrap();
            assert!(
                statement
                    .access
                    .iter()
                    .all(|p| p.grant.suite.is_post_quantum())
            );
        }
    }
    let [(letter, header), (classical_letter, classical_header)] = of_suite[..] else {
        panic!("two suites");
    };
    assert_eq!(letter - classical_letter, ENCAPSULATED - CLASSICAL);
    assert!(header - classical_header >= ENCAPSULATED - CLASSICAL);
}

/// A letter opens by itself: what failed has given nobody any keys.
#[tokio::test]
async fn what_nobody_filed_is_in_no_letter() {
    use kluis_adversary::{Fault, Rule};
    for to_group in [false, true] {
        let mut failed = 0;
        for k in 0.. {
            let scene = scene().await;
            scene.vault.put("a/1", "1").await.unwrap();
            scene.vault.new_group("team").await.unwrap();
            let identity = Identity::make(IdentitySuite::XWing, 1).unwrap();
            let bob = Recipient::trusted_on_first_use(identity.card().clone());
            let lie = Lie::FailBefore(Fault::Generic);
            let rule = scene.store.add(Rule::new(lie).on(Op::Put).skip(k).times(1));
            let done = match to_group {
                true => scene.vault.add_to_group("team", &bob).await,
                false => scene.vault.share("a", &bob, Terms::reading()).await,
            };
            let used = scene.store.uses(rule) > 0;
            scene.store.remove(rule);
            let next = scene.open(options()).await.unwrap();
            let members = next.groups().unwrap()[0].members.len();
            let filed = members + next.grants().unwrap().len() > 0;
            let is_letter = |path: &&kluis::object_store::path::Path| {
                let name = path.as_ref().strip_prefix("k/g/");
                name.is_some_and(|name| name.len() == 32)
            };
            let letters = scene.store.paths().iter().filter(is_letter).count();
            assert!(filed || letters == 0, "put {k}: a letter of nothing");
            assert!(done.is_err() || (filed && letters == 1), "put {k}");
            failed += usize::from(done.is_err());
            if !used {
                break;
            }
        }
        assert!(failed >= 3, "an entry, a claim and a letter");
    }
}

/// F15, with a client that lives on: each put of a revocation fails, before the store
/// took it or behind it, and then the same client writes.
#[tokio::test]
async fn f15_each_failed_put_of_a_revocation_leaves_the_old_state_or_the_new() {
    use kluis_adversary::{Fault, Rule};
    let mut states = std::collections::BTreeSet::new();
    for after in [false, true] {
        let mut failed = 0;
        for k in 0.. {
            let scene = scene().await;
            scene.vault.put("a/1", "1").await.unwrap();
            let (bob, to_bob) = scene.share("a", IdentitySuite::XWing).await;
            let (eve, to_eve) = scene.share("a", IdentitySuite::XWing).await;
            let open_as = |identity: Arc<Identity>, granted: Granted| {
                let store = as_store(&scene.store);
                async move {
                    options()
                        .open_as(store, &identity, &granted.invitation)
                        .await
                }
            };
            let his = open_as(bob.clone(), to_bob.clone()).await.unwrap();
            let lie = if after {
                Lie::FailAfter(Fault::Generic)
            } else {
                Lie::FailBefore(Fault::Generic)
            };
            let rule = scene.store.add(Rule::new(lie).on(Op::Put).skip(k).times(1));
            let done = scene.vault.revoke(&[to_bob.id]).await;
            let used = scene.store.uses(rule) > 0;
            scene.store.remove(rule);
            let what = format!("put {k}, after {after}");
            scene.vault.put("a/2", "2").await.unwrap();
            let next = scene.open(options()).await.unwrap();
            let made = next.grants().unwrap().iter().all(|g| g.id != to_bob.id);
            assert!(made || done.is_err(), "{what}: acknowledged and not made");
            states.insert(made);
            assert!(!next.head("a/2").await.unwrap().closed, "{what}");
            assert_eq!(read(&his, "a/2").await.is_err(), made, "{what}");
            let hers = open_as(eve.clone(), to_eve).await.unwrap();
            for vault in [&scene.vault, &next, &hers] {
                for path in ["a/1", "a/2"] {
                    assert!(read(vault, path).await.is_ok(), "{what}: {path}");
                }
            }
            // Asked for again it is made, or was.
            match scene.vault.revoke(&[to_bob.id]).await {
                Ok(_) => assert!(!made, "{what}: twice"),
                Err(Error::NotFound { .. }) => assert!(made, "{what}"),
                Err(error) => panic!("{what}: {error}"),
            }
            scene.vault.put("a/3", "3").await.unwrap();
            assert!(read(&his, "a/3").await.is_err(), "{what}");
            assert!(!next.head("a/3").await.unwrap().closed, "{what}");
            if !used {
                assert!(done.is_ok(), "{what}");
                break;
            }
            failed += 1;
        }
        assert!(failed >= 3, "a bundle, an entry and a claim");
    }
    assert_eq!(states.len(), 2, "some failed before and some behind it");
}
