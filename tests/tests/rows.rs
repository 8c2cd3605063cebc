//! What `rows.txt` lists of sharing and no other file has: whatever the store and those
//! whose access has ended try with all that they hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path;
use kluis::{
    Address, Contact, Granted, Identity, IdentitySuite, LinkOptions, Recipient, Result, Terms,
    Trust, Vault, VaultOptions,
};
use kluis_adversary::{HostileStore, Lie, Op, Rule, Target};
use kluis_tests::{as_store, contents, options, phrase, read, words};
use std::sync::Arc;
use std::time::Duration;

/// In every content, so that nothing of it is found in an error.
const CANARY: &str = "canary-0f1e2d3c";

struct Scene {
    store: HostileStore,
    vault: Vault,
    words: String,
}

async fn scene() -> Scene {
    let store = HostileStore::new(InMemory::new());
    let words = words();
    let vault = eager().create(as_store(&store), phrase(&words)).await;
    Scene {
        vault: vault.unwrap(),
        store,
        words,
    }
}

/// Looks for new decisions before every write.
fn eager() -> VaultOptions {
    options().staleness(Duration::ZERO)
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap())
}

fn recipient(identity: &Identity, name: &str) -> Recipient {
    let recipient = Recipient::trusted_on_first_use(identity.card().clone());
    recipient.named(name).unwrap()
}

fn writing() -> Terms {
    let mut terms = Terms::reading();
    terms.write = true;
    terms
}

fn code<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(!told.contains(CANARY), "{told}");
            error.code()
        }
    }
}

impl Scene {
    async fn open(&self, options: VaultOptions) -> Result<Vault> {
        options
            .open(as_store(&self.store), phrase(&self.words))
            .await
    }

    /// As somebody who sees the store as this client of it does.
    async fn open_as(&self, client: &str, identity: &Arc<Identity>, to: &Granted) -> Result<Vault> {
        let store = as_store(&self.store.client(client));
        eager().open_as(store, identity, &to.invitation).await
    }

    /// Writes, and says where the object lies.
    async fn put(&self, vault: &Vault, path: &str) -> Path {
        let mark = self.store.mark();
        vault.put(path, format!("{CANARY} {path}")).await.unwrap();
        let journal = self.store.journal().since(mark);
        let puts = journal.only(|call| call.op == Op::Put && call.path.as_ref().starts_with("o/"));
        puts.calls().last().unwrap().path.clone()
    }

    /// The store shows this client all that is decided as it was at a mark.
    fn freeze(&self, client: &str, mark: u64) -> kluis_adversary::RuleId {
        let control = |path: &Path| !path.as_ref().starts_with("o/");
        let rule = Rule::new(Lie::Freeze(mark)).at(Target::when(control));
        self.store.add(rule.for_client(client))
    }

    /// The oracle: with the lie the call fails with this code, gives out nothing and
    /// writes nothing; without it, it succeeds.
    async fn refused<T>(
        &self,
        rule: Rule,
        expected: &str,
        what: &str,
        call: impl AsyncFn() -> Result<T>,
    ) {
        let before = contents(&self.store).await;
        let mark = self.store.mark();
        let rule = self.store.add(rule);
        let call_once = async || {
            let limit = Duration::from_secs(10);
            code(tokio::time::timeout(limit, call()).await.expect("in time"))
        };
        let found = call_once().await;
        let told = self.store.remove(rule);
        assert_eq!(found, if told > 0 { expected } else { "ok" }, "{what}");
        let journal = self.store.journal().since(mark);
        assert!(
            journal.calls().iter().all(|call| !call.op.writes()),
            "{what}: {journal}"
        );
        assert!(
            contents(&self.store).await == before,
            "{what}: what is stored"
        );
        assert_eq!(call_once().await, "ok", "{what}: afterwards");
    }
}

#[tokio::test]
async fn f02_a_card_that_changed_is_nobody_until_it_is_verified_again() {
    let scene = scene().await;
    let (bob, mallory) = (identity(), identity());
    let contact = Contact::new("bob", bob.card().clone()).unwrap();
    let contact = contact.verified(&bob.card().fingerprint()).unwrap();
    scene.vault.save_contact(contact.clone()).await.unwrap();
    let to_bob = contact.recipient().unwrap();
    let granted = scene.vault.share("a", &to_bob, Terms::reading()).await;
    let granted = granted.unwrap();
    scene.put(&scene.vault, "a/x").await;
    // A stranger's card, and one that the old identity signed for.
    for new in [mallory, Arc::new(bob.replaced(2).unwrap())] {
        let known = scene.vault.contact("bob").unwrap();
        let changed = known.updated(new.card().clone());
        scene.vault.save_contact(changed).await.unwrap();
        let again = scene.open(eager()).await.unwrap();
        let before = contents(&scene.store).await;
        let mark = scene.store.mark();
        for vault in [&scene.vault, &again] {
            let contact = vault.contact("bob").unwrap();
            assert_eq!(contact.trust(), Trust::Changed);
            let refused = kluis_crypto::Error::UntrustedIdentity;
            assert_eq!(contact.recipient(), Err(refused.clone()));
            // By the words of the old card it is not verified, nor by coming again, nor
            // by the old card's coming back.
            let words = bob.card().fingerprint();
            assert_eq!(contact.verified(&words), Err(refused.clone()));
            for card in [new.card(), bob.card()] {
                let updated = contact.updated(card.clone());
                assert_eq!(updated.recipient(), Err(refused.clone()));
            }
        }
        assert_eq!(scene.store.journal().since(mark).calls().len(), 0);
        assert!(contents(&scene.store).await == before);
        // Who has the old one has what he was given, and who has the new one has not.
        let his = scene.open_as("", &bob, &granted).await.unwrap();
        assert!(read(&his, "a/x").await.is_ok());
        assert_eq!(code(scene.open_as("", &new, &granted).await), "tampered");
        // Verified by its own words, it can be shared with.
        let contact = scene.vault.contact("bob").unwrap();
        let verified = contact.verified(&new.card().fingerprint()).unwrap();
        scene.vault.save_contact(verified.clone()).await.unwrap();
        let to_new = verified.recipient().unwrap();
        let other = scene.vault.share("a", &to_new, Terms::reading()).await;
        let hers = scene.open_as("", &new, &other.unwrap()).await.unwrap();
        assert!(read(&hers, "a/x").await.is_ok());
        scene.vault.save_contact(contact_of(&bob)).await.unwrap();
    }
}

fn contact_of(identity: &Identity) -> Contact {
    let contact = Contact::new("bob", identity.card().clone()).unwrap();
    contact.verified(&identity.card().fingerprint()).unwrap()
}

/// Whose access was taken back has his old key still, and signs that another card
/// follows his.
#[tokio::test]
async fn l08_a_replacement_signed_by_who_was_removed_is_not_taken() {
    let scene = scene().await;
    let (bob, eve) = (identity(), identity());
    scene.vault.save_contact(contact_of(&bob)).await.unwrap();
    let share = |to: Recipient| {
        let vault = scene.vault.clone();
        async move { vault.share("a", &to, Terms::reading()).await.unwrap() }
    };
    let to_bob = share(contact_of(&bob).recipient().unwrap()).await;
    let to_eve = share(recipient(&eve, "eve")).await;
    let next = Arc::new(bob.replaced(2).unwrap());
    assert!(
        next.card().is_replacement_of(bob.card()),
        "it is his signature"
    );
    scene.vault.revoke(&[to_bob.id]).await.unwrap();
    let known = scene.vault.contact("bob").unwrap();
    let replaced = known.updated(next.card().clone());
    assert_eq!(replaced.trust(), Trust::Changed);
    assert!(replaced.recipient().is_err());
    // One that nobody had verified does not become it either.
    let unverified = Contact::new("bob", bob.card().clone()).unwrap();
    let replaced = unverified.updated(next.card().clone());
    assert_eq!(replaced.trust(), Trust::Unverified);
    assert!(replaced.recipient().is_err());
    // No new key goes to it, and no letter of before opens with it.
    scene.put(&scene.vault, "a/x").await;
    for to in [&to_bob, &to_eve] {
        assert_eq!(code(scene.open_as("", &next, to).await), "tampered");
    }
    let hers = scene.open_as("", &eve, &to_eve).await.unwrap();
    assert!(read(&hers, "a/x").await.is_ok());

    // A member of a group has its key to open, and not its key to sign.
    scene.vault.new_group("team").await.unwrap();
    for (person, name) in [(&bob, "bob"), (&eve, "eve")] {
        let to = recipient(person, name);
        scene.vault.add_to_group("team", &to).await.unwrap();
    }
    let with_him = scene.vault.group("team").unwrap();
    assert!(!next.card().is_replacement_of(with_him.card()));
    scene.vault.remove_from_group("team", "bob").await.unwrap();
    let without = scene.vault.group("team").unwrap();
    assert_eq!(with_him.card().signing_key(), without.card().signing_key());
    assert_ne!(with_him.card().hash(), without.card().hash());
    // What is shared with the card that he can open goes to the one of now.
    let granted = scene.vault.share("b", &with_him, Terms::reading()).await;
    let id = granted.unwrap().id;
    let grants = scene.vault.grants().unwrap();
    let grant = grants.iter().find(|grant| grant.id == id).unwrap();
    assert_eq!(grant.fingerprint, without.card().fingerprint());
}

/// Letters, bundles and records of links are keys that lie in objects of their own.
#[tokio::test]
async fn g03_no_wrapped_key_is_read_from_another_place() {
    let scene = scene().await;
    let people = [identity(), identity(), identity()];
    let mut granted = Vec::new();
    for (n, person) in people.iter().enumerate() {
        let to = recipient(person, &format!("p{n}"));
        granted.push(scene.vault.share("a", &to, Terms::reading()).await.unwrap());
    }
    // To the same person, so that nothing but the place tells the letters apart.
    let to = recipient(&people[0], "p0");
    let beside = scene.vault.share("b", &to, Terms::reading()).await;
    assert!(beside.is_ok());
    scene.put(&scene.vault, "a/x").await;
    let address: Address = "s3://bucket/vault".parse().unwrap();
    let mut links = Vec::new();
    for _ in 0..2 {
        let made = scene.vault.link(Some("a"), LinkOptions::at(&address)).await;
        links.push(made.unwrap().link);
    }
    // From now on those who remain need a bundle beside their letters.
    scene.vault.revoke(&[granted[2].id]).await.unwrap();
    let records: Vec<Path> = contents(&scene.store)
        .await
        .into_keys()
        .filter(|path| path.starts_with("k/g/"))
        .map(|path| Path::parse(path).unwrap())
        .collect();
    assert_eq!(records.len(), 4 + 2 + 1, "letters, links, and a bundle");
    let mut told = 0;
    for of in &records {
        for other in records.iter().filter(|other| *other != of) {
            let swap = || Lie::SwapWith(other.clone()).at(of);
            let what = format!("{other} for {of}");
            for n in 0..2 {
                let opened = async || {
                    let his = scene.open_as("", &people[n], &granted[n]).await?;
                    read(&his, "a/x").await
                };
                scene.refused(swap(), "tampered", &what, opened).await;
                let followed = async || {
                    let store = as_store(&scene.store);
                    let hers = Vault::open_link(store, &links[n], None).await?;
                    read(&hers, "x").await
                };
                scene.refused(swap(), "tampered", &what, followed).await;
            }
            told += 1;
        }
    }
    assert_eq!(told, 7 * 6);
}

/// A folder that is no longer shared, emptied, moved away or made anew goes on with keys
/// of its own, and no record that the store hides makes an owner's client that has the
/// pin of the withdrawal write with those of above, which the one who had it keeps.
#[tokio::test]
async fn l01_below_a_mount_nobody_goes_back_to_the_keys_of_above() {
    let scene = scene().await;
    let vault = &scene.vault;
    scene.put(vault, "photos/old").await;
    let address: Address = "s3://bucket/vault".parse().unwrap();
    let made = vault.link(Some("photos"), LinkOptions::at(&address)).await;
    let made = made.unwrap();
    // By a link, which asks for nothing but that a key fits; the store keeps it for him.
    let his = as_store(&scene.store.client("his"));
    let his = Vault::open_link(his, &made.link, None).await.unwrap();
    scene.freeze("his", scene.store.mark());
    vault.revoke_link(&made.id).await.unwrap();
    let pin = vault.pin().unwrap();
    assert_eq!(code(read(&his, "old").await), "ok", "under keys of above");

    let is_new = async |what: &str| {
        assert!(read(vault, "photos/old").await.is_ok(), "{what}");
        assert!(!vault.head("photos/old").await.unwrap().closed, "{what}");
        assert_ne!(code(read(&his, "old").await), "ok", "{what}");
    };
    // Emptied, moved away, made anew, by who knows it and by who just opened it.
    vault.rename("photos/old", "moved/old").await.unwrap();
    vault.rename("moved/old", "photos/old").await.unwrap();
    is_new("moved back").await;
    for client in [vault, &scene.open(eager()).await.unwrap()] {
        client.delete("photos/old").await.unwrap();
        scene.put(client, "photos/old").await;
        is_new("made anew").await;
    }
    // Each record of the control plane gone, alone and from the listing too.
    let records: Vec<String> = contents(&scene.store)
        .await
        .into_keys()
        .filter(|path| !path.starts_with("o/"))
        .collect();
    let (mut refused, mut wrote) = (0, 0);
    for record in records {
        for hides in [false, true] {
            let device = scene.store.client("device");
            let gone = || Path::parse(&record).unwrap();
            let mut rules = vec![
                scene
                    .store
                    .add(Lie::NotFound.at(gone()).for_client("device")),
            ];
            if hides {
                let hide = Lie::HideFromList.at(gone()).for_client("device");
                rules.push(scene.store.add(hide));
            }
            let opened = eager()
                .pin(pin)
                .open(as_store(&device), phrase(&scene.words));
            match opened.await {
                Ok(client) => {
                    if client.put("photos/old", "after").await.is_ok() {
                        is_new(&format!("{record} {hides}")).await;
                        wrote += 1;
                    }
                }
                Err(_) => refused += 1,
            }
            for rule in rules {
                scene.store.remove(rule);
            }
        }
    }
    assert!(refused > 5 && wrote > 5, "{refused} {wrote}");
}

/// A writer whom the store keeps in the past learns of it from the first object of
/// somebody who is not, and that object is all that is refused to him.
#[tokio::test]
async fn l02_a_frozen_writer_learns_of_it_from_one_fresh_object() {
    let scene = scene().await;
    let (bob, eve) = (identity(), identity());
    let vault = &scene.vault;
    let to_bob = vault
        .share("a", &recipient(&bob, "bob"), Terms::reading())
        .await;
    let to_eve = vault.share("a", &recipient(&eve, "eve"), writing()).await;
    let (to_bob, to_eve) = (to_bob.unwrap(), to_eve.unwrap());
    scene.put(vault, "a/old").await;
    let hers = scene.open_as("eve", &eve, &to_eve).await.unwrap();
    let frozen = scene.freeze("eve", scene.store.mark());
    vault.revoke(&[to_bob.id]).await.unwrap();
    scene.put(vault, "a/fresh").await;
    for path in ["a/fresh", "a/old", "a/fresh"] {
        let expected = if path == "a/old" { "ok" } else { "stale" };
        assert_eq!(code(read(&hers, path).await), expected, "{path}");
        assert_eq!(code(hers.head(path).await), expected, "{path}: head");
    }
    // What she writes is under the epoch that she knows, and the receipt counts it.
    scene.put(&hers, "a/slipped").await;
    assert!(vault.head("a/slipped").await.unwrap().closed);
    let receipt = vault.receipt(Some("a")).await.unwrap();
    assert_eq!((receipt.objects, receipt.unknown), (2, 0));
    // As soon as she is shown the entry she writes under the new one.
    scene.store.remove(frozen);
    assert!(read(&hers, "a/fresh").await.is_ok());
    scene.put(&hers, "a/later").await;
    assert!(!vault.head("a/later").await.unwrap().closed);
    assert!(read(vault, "a/later").await.is_ok());
}
