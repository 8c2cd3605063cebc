//! Links: who has the URL reads, nobody else, and not for longer than the owner lets
//! him, whatever the store does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path;
use kluis::{
    Address, Card, Contact, Error, FoundLink, Identity, IdentitySuite, Kind, Link, LinkOptions,
    MadeLink, Password, Recipient, Reencrypted, Result, Signer, Terms, Vault,
};
use kluis_adversary::{Cut, HostileStore, Lie};
use kluis_tests::{as_store, cheap, contents, options, phrase, plant, read, unplant, words};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

const DAY: Duration = Duration::from_secs(86_400);

/// A store that signs whatever it is asked to.
#[derive(Debug)]
struct Willing;

impl Signer for Willing {
    fn signed_get<'a>(
        &'a self,
        path: &'a Path,
        expires: Duration,
    ) -> BoxFuture<'a, kluis::object_store::Result<Url>> {
        let seconds = expires.as_secs();
        let url = format!("https://store.example/bucket/{path}?expires={seconds}&signature=x");
        Box::pin(async move { Ok(Url::parse(&url).unwrap()) })
    }

    fn longest(&self) -> Duration {
        7 * DAY
    }
}

/// Signs what no link can hold.
#[derive(Debug)]
struct Wordy;

impl Signer for Wordy {
    fn signed_get<'a>(
        &'a self,
        path: &'a Path,
        _: Duration,
    ) -> BoxFuture<'a, kluis::object_store::Result<Url>> {
        let token = "t".repeat(4_096);
        let url = format!("https://store.example/bucket/{path}?signature={token}");
        Box::pin(async move { Ok(Url::parse(&url).unwrap()) })
    }

    fn longest(&self) -> Duration {
        DAY
    }
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

fn address() -> Address {
    "s3://bucket/vault".parse().unwrap()
}

impl Owner {
    async fn again(&self) -> Vault {
        self.open(&self.store).await.unwrap()
    }

    async fn open(&self, store: &HostileStore) -> Result<Vault> {
        options()
            .staleness(Duration::ZERO)
            .open(as_store(store), phrase(&self.words))
            .await
    }

    async fn link(&self, folder: &str) -> MadeLink {
        let folder = (!folder.is_empty()).then_some(folder);
        let options = LinkOptions::at(&address());
        self.vault.link(folder, options).await.unwrap()
    }

    async fn link_object(&self, object: &str) -> MadeLink {
        let options = LinkOptions::at(&address());
        self.vault.link_object(object, options).await.unwrap()
    }

    /// As somebody does who has got its text.
    async fn follow(&self, made: &MadeLink) -> Result<Vault> {
        self.follow_with(made, None).await
    }

    async fn follow_with(&self, made: &MadeLink, password: Option<&str>) -> Result<Vault> {
        let link: Link = made.link.expose().parse()?;
        let password = password.map(Password::new);
        Vault::open_link(as_store(&self.store), &link, password).await
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
async fn who_has_the_link_reads_the_folder_and_nothing_else() {
    let owner = owner().await;
    let long = format!("deep/{}", "n".repeat(200));
    owner.vault.put("photos/old.jpg", "old").await.unwrap();
    owner
        .vault
        .put(format!("photos/{long}"), "long")
        .await
        .unwrap();
    owner.vault.put("diary.txt", "private").await.unwrap();
    let made = owner.link("photos").await;
    owner.vault.put("photos/a/new.jpg", "new").await.unwrap();

    let mark = owner.store.mark();
    let hers = owner.follow(&made).await.unwrap();
    let opened = owner.store.journal().since(mark);
    assert_eq!(opened.calls().len(), 1, "one request: {opened}");
    for (path, content) in [("old.jpg", "old"), ("a/new.jpg", "new"), (&*long, "long")] {
        assert_eq!(read(&hers, path).await.unwrap(), content.as_bytes());
    }
    let expected = ["old.jpg", "a/new.jpg", &*long].map(str::to_owned);
    assert_eq!(names(&hers).await, expected.into());
    let info = hers.opened_link().unwrap().unwrap();
    assert_eq!((info.id, &*info.name), (made.id, "photos"));
    assert_eq!(hers.id(), owner.vault.id());
    for outside in ["diary.txt", "photos/old.jpg", "photos"] {
        assert_code(read(&hers, outside).await, "not_found", outside);
    }

    let to = {
        let bob = Identity::make(IdentitySuite::XWing, 1).unwrap();
        let card = Card::parse(bob.card().as_bytes()).unwrap();
        Recipient::trusted_on_first_use(card)
    };
    let denied = "access_denied";
    assert_code(hers.put("x", "x").await, denied, "writes");
    assert_code(hers.delete("old.jpg").await, denied, "deletes");
    assert_code(hers.rename("old.jpg", "b").await, denied, "moves");
    assert_code(
        hers.share("a", &to, Terms::reading()).await,
        denied,
        "shares",
    );
    assert_code(
        hers.link(None, LinkOptions::at(&address())).await,
        denied,
        "links",
    );
    assert_code(hers.revoke_link(&made.id).await, denied, "withdraws");
    assert_code(hers.links(), denied, "sees links");
    assert_code(hers.slots(), denied, "sees slots");
    assert_code(hers.access(None).await, denied, "sees who has access");
    assert_code(hers.recovery_kit().await.map(drop), denied, "takes a kit");
    let steps: Result<Vec<Reencrypted>> = hers.reencrypt(None).try_collect().await;
    assert_code(steps, denied, "writes again");
    let written = owner.store.journal().since(mark);
    assert!(
        written.calls().iter().all(|call| !call.op.writes()),
        "{written}"
    );
}

#[tokio::test]
async fn a_whole_vault_is_linked_to_like_a_folder() {
    let owner = owner().await;
    owner.vault.put("a/b", "x").await.unwrap();
    let inner = owner.link("a").await;
    let made = owner.link("").await;
    owner.vault.put("a/c", "y").await.unwrap();
    let hers = owner.follow(&made).await.unwrap();
    assert_eq!(read(&hers, "a/b").await.unwrap(), b"x");
    assert_eq!(read(&hers, "a/c").await.unwrap(), b"y");
    assert_eq!(hers.opened_link().unwrap().unwrap().name, "");
    let links = owner.again().await.links().unwrap();
    let found: Vec<_> = links.iter().map(|l| (l.id, l.path.as_deref())).collect();
    assert_eq!(found, [(inner.id, Some("a")), (made.id, None)]);
}

#[tokio::test]
async fn a_password_is_needed_beside_and_told_apart_from_damage() {
    let owner = owner().await;
    owner.vault.put("a/x", "x").await.unwrap();
    let options = LinkOptions::at(&address()).password(Password::new("open sesame"), cheap());
    let made = owner.vault.link(Some("a"), options).await.unwrap();
    assert!(owner.vault.links().unwrap()[0].has_password);
    let link: Link = made.link.expose().parse().unwrap();
    let found = FoundLink::find(as_store(&owner.store), &link)
        .await
        .unwrap();
    assert!(found.has_password());
    assert_code(owner.follow(&made).await, "wrong_credentials", "none");
    for (password, code) in [("open sesam", "wrong_credentials"), ("", "invalid_input")] {
        assert_code(
            owner.follow_with(&made, Some(password)).await,
            code,
            password,
        );
    }
    // The owner seals it anew without knowing the password.
    let other = owner.link("a").await;
    owner.vault.revoke_link(&other.id).await.unwrap();
    owner.vault.put("a/y", "y").await.unwrap();
    let hers = owner.follow_with(&made, Some("open sesame")).await.unwrap();
    assert_eq!(read(&hers, "y").await.unwrap(), b"y");
}

/// F12, of links.
#[tokio::test]
async fn f12_nothing_written_after_a_link_was_withdrawn_is_opened_with_it() {
    let owner = owner().await;
    owner.vault.put("docs/a", "before").await.unwrap();
    let (made, stays) = (owner.link("docs").await, owner.link("docs").await);
    let hers = owner.follow(&made).await.unwrap();
    let record = made.link.record();
    let all = contents(&owner.store).await;
    let before = all[&record].clone();
    let revoked = owner.vault.revoke_link(&made.id).await.unwrap();
    assert!(revoked.remaining.is_empty());
    // Its pin is of the entry that withdrew it: a program without state is not shown less.
    let old = HostileStore::new(InMemory::new());
    for (path, bytes) in &all {
        plant(&old, path, bytes).await;
    }
    for (store, opens) in [(&old, false), (&owner.store, true)] {
        let pinned = options().pin(revoked.pin);
        let opened = pinned.open(as_store(store), phrase(&owner.words)).await;
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        if !opens {
            assert_code(opened, "stale", "by its pin");
        }
    }
    owner.vault.put("docs/b", "after").await.unwrap();
    owner.vault.put("docs/a", "again").await.unwrap();

    for path in ["a", "b"] {
        let found = read(&hers, path).await;
        assert_code(found, "access_denied", &format!("{path}: the open handle"));
    }
    assert!(
        !contents(&owner.store).await.contains_key(&record),
        "removed"
    );
    assert_code(owner.follow(&made).await, "access_denied", "opened again");
    // A store that puts it back: nothing of what was written since.
    plant(&owner.store, &record, &before).await;
    let again = owner.follow(&made).await.unwrap();
    for path in ["a", "b"] {
        assert_code(read(&again, path).await, "stale", path);
    }
    let receipt = owner.vault.receipt(Some("docs")).await.unwrap();
    assert!(
        receipt.is_empty() && receipt.links == [stays.id],
        "{receipt:?}"
    );
    let theirs = owner.follow(&stays).await.unwrap();
    assert_eq!(read(&theirs, "a").await.unwrap(), b"again");
    assert_eq!(read(&theirs, "b").await.unwrap(), b"after");
    assert_code(
        owner.vault.revoke_link(&made.id).await,
        "not_found",
        "twice",
    );
    let statement = owner.vault.access(Some("docs/b")).await.unwrap();
    let ended: Vec<_> = statement.links.iter().map(|l| l.ended.is_some()).collect();
    assert_eq!((statement.access.len(), &*ended), (0, &[true, false][..]));
    let between = |from, until| -> Vec<_> {
        let links = statement.links_between(from, until);
        links.map(|period| period.link.id).collect()
    };
    let now = std::time::SystemTime::now();
    assert_eq!(between(now, now), [stays.id]);
    assert_eq!(between(std::time::UNIX_EPOCH, now), [made.id, stays.id]);
}

#[tokio::test]
async fn who_has_a_link_to_an_object_reads_it_and_nothing_beside_it() {
    let owner = owner().await;
    let long = format!("photos/{}.jpg", "n".repeat(200));
    for path in ["photos/cat.jpg", "photos/dog.jpg", &*long] {
        owner.vault.put(path, path.to_owned()).await.unwrap();
    }
    // As a grant of an object it mounts nothing and writes no object.
    let before = contents(&owner.store).await;
    let (made, of_long) = (
        owner.link_object("photos/cat.jpg").await,
        owner.link_object(&long).await,
    );
    let after = contents(&owner.store).await;
    assert!(before.iter().all(|(path, bytes)| after[path] == *bytes));
    assert!(
        after
            .keys()
            .all(|path| before.contains_key(path) || !path.starts_with("o/"))
    );
    let hers = owner.follow(&made).await.unwrap();
    let info = hers.opened_link().unwrap().unwrap();
    assert_eq!((info.kind, &*info.name), (Kind::Object, "cat.jpg"));
    assert_eq!(read(&hers, "cat.jpg").await.unwrap(), b"photos/cat.jpg");
    assert_eq!(names(&hers).await, ["cat.jpg".to_owned()].into());
    let listed = hers.list_with_delimiter(None).await.unwrap();
    assert_eq!((listed.objects.len(), listed.common_prefixes.len()), (1, 0));
    for outside in ["dog.jpg", "photos/cat.jpg", "photos", "cat.jpg/x", &*long] {
        assert_code(read(&hers, outside).await, "not_found", outside);
    }
    assert_code(hers.put("cat.jpg", "x").await, "access_denied", "writes");
    assert_code(hers.delete("cat.jpg").await, "access_denied", "deletes");
    let theirs = owner.follow(&of_long).await.unwrap();
    let name = long.strip_prefix("photos/").unwrap();
    assert_eq!(read(&theirs, name).await.unwrap(), long.as_bytes());
    assert_eq!(names(&theirs).await, [name.to_owned()].into());

    // What is written in its place is read too, until the link is withdrawn.
    owner.vault.put("photos/cat.jpg", "new").await.unwrap();
    assert_eq!(read(&hers, "cat.jpg").await.unwrap(), b"new");
    let links = owner.again().await.links().unwrap();
    let found: Vec<_> = links.iter().map(|l| (l.path.as_deref(), l.kind)).collect();
    let expected = [
        (Some("photos/cat.jpg"), Kind::Object),
        (Some(&*long), Kind::Object),
    ];
    assert_eq!(found, expected);
    for (path, count) in [("photos/cat.jpg", 1), ("photos/dog.jpg", 0), ("photos", 2)] {
        let statement = owner.vault.access(Some(path)).await.unwrap();
        assert_eq!(statement.links.len(), count, "{path}");
    }
    for (path, count) in [("photos/cat.jpg", 1), ("photos/dog.jpg", 0), ("photos", 2)] {
        let receipt = owner.vault.receipt(Some(path)).await.unwrap();
        assert_eq!(receipt.links.len(), count, "{path}");
    }
    let nothing = owner.link_object("photos/none").await;
    let empty = owner.follow(&nothing).await.unwrap();
    assert_code(read(&empty, "none").await, "not_found", "nothing is there");
    assert!(names(&empty).await.is_empty());
    for wrong in ["", "/", "..", "a//b"] {
        let made = owner.vault.link_object(wrong, LinkOptions::at(&address()));
        assert_code(made.await.map(drop), "invalid_input", wrong);
    }
}

/// F12, of links to an object.
#[tokio::test]
async fn f12_nothing_written_after_a_link_to_an_object_was_withdrawn_is_opened_with_it() {
    let owner = owner().await;
    for path in ["docs/a", "docs/b", "top"] {
        owner.vault.put(path, "before").await.unwrap();
    }
    let (made, stays) = (owner.link_object("docs/a").await, owner.link("docs").await);
    let (of_top, inner) = (
        owner.link_object("top").await,
        owner.link_object("docs/b").await,
    );
    let hers = owner.follow(&made).await.unwrap();
    let record = made.link.record();
    let before = contents(&owner.store).await[&record].clone();
    let epoch = async |path: &str| owner.vault.head(path).await.unwrap();
    owner.vault.revoke_link(&made.id).await.unwrap();
    assert!(epoch("docs/a").await.closed && epoch("docs/b").await.closed);
    assert!(!epoch("top").await.closed, "not what the folder lies in");
    owner.vault.put("docs/a", "again").await.unwrap();
    owner.vault.put("docs/b", "again").await.unwrap();

    assert!(read(&hers, "a").await.is_err(), "the open handle");
    assert!(!contents(&owner.store).await.contains_key(&record));
    assert_code(owner.follow(&made).await, "access_denied", "opened again");
    plant(&owner.store, &record, &before).await;
    let again = owner.follow(&made).await.unwrap();
    assert_code(read(&again, "a").await, "stale", "put back");
    for (made, path, content) in [
        (&stays, "a", "again"),
        (&stays, "b", "again"),
        (&inner, "b", "again"),
        (&of_top, "top", "before"),
    ] {
        let theirs = owner.follow(made).await.unwrap();
        assert_eq!(
            read(&theirs, path).await.unwrap(),
            content.as_bytes(),
            "{path}"
        );
    }
    let receipt = owner.vault.receipt(Some("docs/a")).await.unwrap();
    assert!(
        receipt.is_empty() && receipt.links == [stays.id],
        "{receipt:?}"
    );
    let statement = owner.vault.access(Some("docs/a")).await.unwrap();
    let ended: Vec<_> = statement.links.iter().map(|l| l.ended.is_some()).collect();
    assert_eq!(ended, [true, false]);
}

/// What changes the keys of an object reaches whoever has a link to it: a folder around it
/// that is mounted, a grant that ends, another root key, `reencrypt`.
#[tokio::test]
async fn every_change_of_keys_reaches_those_who_have_a_link_to_an_object() {
    let owner = owner().await;
    owner.vault.put("a/b/x", "0").await.unwrap();
    let made = owner.link_object("a/b/x").await;
    let password = LinkOptions::at(&address()).password(Password::new("sesame"), cheap());
    let locked = owner.vault.link_object("a/b/x", password).await.unwrap();
    let signed = LinkOptions::presigned(Arc::new(Willing), DAY);
    let signed = owner.vault.link_object("a/b/x", signed).await.unwrap();
    assert_eq!(signed.objects, 1);
    let urls = |vault: &Vault| vault.opened_link().unwrap().unwrap().objects;
    let hers = owner.follow(&made).await.unwrap();
    let before = urls(&owner.follow(&signed).await.unwrap());
    assert_eq!(before.len(), 1);
    let stored = contents(&owner.store).await;
    assert_eq!(before[0].size, stored[&before[0].path].len() as u64);
    assert_code(
        owner.follow(&locked).await,
        "wrong_credentials",
        "no password",
    );

    let bob = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let card = Card::parse(bob.card().as_bytes()).unwrap();
    let to = Recipient::trusted_on_first_use(card);
    let mut granted = None;
    for step in 0..6 {
        match step {
            0 => granted = Some(owner.vault.share("a", &to, Terms::reading()).await.unwrap()),
            1 => drop(
                owner
                    .vault
                    .revoke(&[granted.as_ref().unwrap().id])
                    .await
                    .unwrap(),
            ),
            2 => {
                granted = Some(
                    owner
                        .vault
                        .share_object("a/b/x", &to, Terms::reading())
                        .await
                        .unwrap(),
                )
            }
            3 => drop(
                owner
                    .vault
                    .revoke(&[granted.as_ref().unwrap().id])
                    .await
                    .unwrap(),
            ),
            4 => {
                let key = (phrase(&owner.words), cheap());
                owner.vault.rotate_root(vec![key]).await.unwrap();
            }
            _ => {
                let steps = owner.vault.reencrypt(None).try_collect::<Vec<_>>().await;
                assert!(!steps.unwrap().is_empty());
            }
        }
        // First as it is, then as it is written under the keys of now.
        for content in [None, Some(step.to_string())] {
            if let Some(content) = &content {
                owner.vault.put("a/b/x", content.clone()).await.unwrap();
            }
            let again = owner.follow(&made).await.unwrap();
            let beside = owner.follow_with(&locked, Some("sesame")).await.unwrap();
            let delivered = owner.follow(&signed).await.unwrap();
            for (n, vault) in [&hers, &again, &beside, &delivered].into_iter().enumerate() {
                let found = read(vault, "x").await;
                assert!(found.is_ok(), "{step} {n} {content:?}: {found:?}");
            }
            assert_eq!(urls(&delivered), before, "{step}");
        }
    }
}

#[tokio::test]
async fn a_link_to_an_object_ends_when_its_time_is_over() {
    let owner = owner().await;
    owner.vault.put("a/x", "x").await.unwrap();
    let options = LinkOptions::at(&address()).expires(Duration::from_secs(1));
    let made = owner.vault.link_object("a/x", options).await.unwrap();
    let hers = owner.follow(&made).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_code(owner.follow(&made).await, "access_denied", "over");
    // The machine may have been busy for a second.
    if let Ok(hers) = hers {
        assert_code(read(&hers, "x").await, "access_denied", "the open handle");
        let listed: Result<Vec<_>> = hers.list(None).try_collect().await;
        assert_code(listed, "access_denied", "its listing");
    }
    assert!(!owner.vault.head("a/x").await.unwrap().closed);
    owner.vault.put("b", "y").await.unwrap();
    assert!(owner.vault.links().unwrap().is_empty());
    assert!(
        owner.vault.head("a/x").await.unwrap().closed,
        "under keys of before"
    );
}

/// An open handle goes on with the record that the owner wrote since.
#[tokio::test]
async fn every_change_of_keys_reaches_those_who_have_a_link() {
    let owner = owner().await;
    owner.vault.put("a/old", "old").await.unwrap();
    let (made, inner) = (owner.link("a").await, owner.link("a/b").await);
    let signed = LinkOptions::presigned(Arc::new(Willing), DAY);
    let signed = owner.vault.link(Some("a"), signed).await.unwrap();
    let urls = |vault: &Vault| vault.opened_link().unwrap().unwrap().objects;
    let hers = owner.follow(&made).await.unwrap();
    let before = urls(&owner.follow(&signed).await.unwrap());
    assert_eq!(before.len(), 1);

    // By a grant that is taken back, by a link inside, and by another root key.
    let bob = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let card = Card::parse(bob.card().as_bytes()).unwrap();
    let to = Recipient::trusted_on_first_use(card);
    let granted = owner.vault.share("a", &to, Terms::reading()).await.unwrap();
    for step in 0..4 {
        match step {
            0 => drop(owner.vault.revoke(&[granted.id]).await.unwrap()),
            1 => drop(owner.vault.revoke_link(&inner.id).await.unwrap()),
            2 => {
                let key = (phrase(&owner.words), cheap());
                owner.vault.rotate_root(vec![key]).await.unwrap();
            }
            _ => {
                let steps: Vec<_> = owner
                    .vault
                    .reencrypt(Some("a"))
                    .try_collect()
                    .await
                    .unwrap();
                assert!(!steps.is_empty());
            }
        }
        let path = format!("a/{step}");
        owner.vault.put(&path, "new").await.unwrap();
        owner.vault.put(format!("a/b/{step}"), "new").await.unwrap();
        let again = owner.follow(&made).await.unwrap();
        for vault in [&hers, &again] {
            for path in [format!("{step}"), format!("b/{step}"), "old".to_owned()] {
                let found = read(vault, &path).await;
                assert!(found.is_ok(), "{step} {path}: {found:?}");
            }
        }
        // What the store signed stays, though nobody signs anew.
        assert_eq!(
            urls(&owner.follow(&signed).await.unwrap()),
            before,
            "{step}"
        );
    }
}

/// In a signed vault the record says who may write, too.
#[tokio::test]
async fn whoever_has_a_link_into_a_signed_vault_checks_who_wrote() {
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .signed(true)
        .staleness(Duration::ZERO)
        .create(as_store(&store), phrase(&words()))
        .await
        .unwrap();
    vault.put("a/mine", "x").await.unwrap();
    let made = vault
        .link(Some("a"), LinkOptions::at(&address()))
        .await
        .unwrap();
    let link: Link = made.link.expose().parse().unwrap();
    let hers = Vault::open_link(as_store(&store), &link, None)
        .await
        .unwrap();
    let bob = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let to = Card::parse(bob.card().as_bytes()).unwrap();
    let to = Recipient::trusted_on_first_use(to);
    let mut terms = Terms::reading();
    terms.write = true;
    let granted = vault.share("a", &to, terms).await.unwrap();
    let his = options().staleness(Duration::ZERO);
    let his = his
        .open_as(as_store(&store), &bob, &granted.invitation)
        .await
        .unwrap();
    his.put("a/his", "y").await.unwrap();
    // An open handle learns of writers who came later.
    assert_eq!(read(&hers, "his").await.unwrap(), b"y");
    assert_eq!(read(&hers, "mine").await.unwrap(), b"x");
    assert_code(hers.put("x", "x").await, "access_denied", "a reader");
    let one = vault
        .link_object("a/his", LinkOptions::at(&address()))
        .await
        .unwrap();
    let link: Link = one.link.expose().parse().unwrap();
    let one = Vault::open_link(as_store(&store), &link, None).await;
    let one = one.unwrap();
    assert_eq!(read(&one, "his").await.unwrap(), b"y");
    vault.revoke(&[granted.id]).await.unwrap();
    vault.put("a/new", "z").await.unwrap();
    assert_eq!(read(&hers, "new").await.unwrap(), b"z");
    assert_eq!(read(&hers, "his").await.unwrap(), b"y");
    // Bob's place in it is another's who comes later.
    vault.put("a/his", "mine").await.unwrap();
    assert_eq!(read(&one, "his").await.unwrap(), b"mine");
    let carol = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let to = Card::parse(carol.card().as_bytes()).unwrap();
    let to = Recipient::trusted_on_first_use(to);
    let mut terms = Terms::reading();
    terms.write = true;
    let granted = vault.share_object("a/his", &to, terms).await.unwrap();
    let theirs = options().staleness(Duration::ZERO);
    let theirs = theirs
        .open_as(as_store(&store), &carol, &granted.invitation)
        .await
        .unwrap();
    theirs.put("his", "carol's").await.unwrap();
    assert_eq!(read(&one, "his").await.unwrap(), b"carol's");
}

/// Whoever opens the vault next seals the links that a crash left behind, and never a
/// newer one with older keys.
#[tokio::test]
async fn a_change_of_keys_that_dies_anywhere_leaves_no_link_behind() {
    let mut late = 0;
    for (after, k) in (0..60).flat_map(|k| [(false, k), (true, k)]) {
        let owner = owner().await;
        owner.vault.put("a/1", "1").await.unwrap();
        let (gone, stays, one) = (
            owner.link("a").await,
            owner.link("a").await,
            owner.link_object("a/1").await,
        );
        let record = stays.link.record();
        let before = contents(&owner.store).await[&record].clone();
        let dying = owner.store.client("dying");
        let device = owner.open(&dying).await.unwrap();
        dying.crash(if after { Cut::After(k) } else { Cut::Before(k) });
        let done = device.revoke_link(&gone.id).await;
        let crashed = dying.crashed();
        drop(device);

        let what = format!("{k} {after}");
        let was_sealed = contents(&owner.store).await[&record] != before;
        let next = owner.again().await;
        let holds = next.links().unwrap().iter().any(|link| link.id == gone.id);
        assert!(done.is_err() || !holds, "{what}: acknowledged and not made");
        late += usize::from(!holds && !was_sealed);
        next.put("a/2", "2").await.unwrap();
        let theirs = owner.follow(&stays).await.unwrap();
        for path in ["1", "2"] {
            assert!(read(&theirs, path).await.is_ok(), "{what}: {path}");
        }
        next.put("a/1", "3").await.unwrap();
        let theirs = owner.follow(&one).await.unwrap();
        assert_eq!(read(&theirs, "1").await.unwrap(), b"3", "{what}");
        assert_eq!(owner.follow(&gone).await.is_ok(), holds, "{what}");
        // What is new stays as it is, whoever opens.
        let now = contents(&owner.store).await;
        owner.again().await;
        assert_eq!(contents(&owner.store).await, now, "{what}");
        if !crashed {
            assert!(done.is_ok() && late > 0, "{what}: {late}");
            return;
        }
    }
    panic!("more than 60 calls");
}

/// As above, of a link to an object that is withdrawn.
#[tokio::test]
async fn a_link_to_an_object_that_dies_while_it_is_withdrawn_is_withdrawn_or_not() {
    for (after, k) in (0..60).flat_map(|k| [(false, k), (true, k)]) {
        let owner = owner().await;
        owner.vault.put("a/1", "1").await.unwrap();
        let (gone, stays) = (
            owner.link_object("a/1").await,
            owner.link_object("a/1").await,
        );
        let dying = owner.store.client("dying");
        let device = owner.open(&dying).await.unwrap();
        dying.crash(if after { Cut::After(k) } else { Cut::Before(k) });
        let done = device.revoke_link(&gone.id).await;
        let crashed = dying.crashed();
        drop(device);
        let what = format!("{k} {after}");
        let before = owner.follow(&gone).await.ok();
        let next = owner.again().await;
        let holds = next.links().unwrap().iter().any(|link| link.id == gone.id);
        assert!(done.is_err() || !holds, "{what}: acknowledged and not made");
        next.put("a/1", "2").await.unwrap();
        let theirs = owner.follow(&stays).await.unwrap();
        assert_eq!(read(&theirs, "1").await.unwrap(), b"2", "{what}");
        assert_eq!(owner.follow(&gone).await.is_ok(), holds, "{what}");
        if let Some(before) = before {
            assert_eq!(
                read(&before, "1").await.is_ok(),
                holds,
                "{what}: the open handle"
            );
        }
        if !crashed {
            assert!(done.is_ok() && k > 0, "{what}");
            return;
        }
    }
    panic!("more than 60 calls");
}

/// As above, of a link that is being made.
#[tokio::test]
async fn a_link_that_dies_anywhere_is_made_or_not_made() {
    for single in [false, true] {
        dies_while_it_is_made(single).await;
    }
}

async fn dies_while_it_is_made(single: bool) {
    for (after, k) in (0..60).flat_map(|k| [(false, k), (true, k)]) {
        let owner = owner().await;
        owner.vault.put("a/1", "1").await.unwrap();
        let dying = owner.store.client("dying");
        let device = owner.open(&dying).await.unwrap();
        dying.crash(if after { Cut::After(k) } else { Cut::Before(k) });
        let options = LinkOptions::at(&address());
        let done = match single {
            false => device.link(Some("a"), options).await,
            true => device.link_object("a/1", options).await,
        };
        let crashed = dying.crashed();
        drop(device);
        let what = format!("{single} {k} {after}");
        let next = owner.again().await;
        next.put("a/1", "1").await.unwrap();
        next.put("a/2", "2").await.unwrap();
        match done {
            Ok(made) => {
                let hers = owner.follow(&made).await.unwrap();
                let path = if single { "1" } else { "2" };
                assert!(read(&hers, path).await.is_ok(), "{what}");
            }
            // Somebody may have its URL, or nobody: it can be withdrawn.
            Err(_) => {
                for link in next.links().unwrap() {
                    next.revoke_link(&link.id).await.unwrap();
                }
            }
        }
        assert!(read(&next, "a/1").await.is_ok() && read(&next, "a/2").await.is_ok());
        if !crashed {
            return;
        }
    }
    panic!("more than 60 calls");
}

/// L15: the record is signed by the vault's authority, not by who can compute its key.
#[tokio::test]
async fn l15_a_second_holder_of_the_link_replaces_nothing() {
    let (owner, other) = (owner().await, self::owner().await);
    owner.vault.put("a/x", "x").await.unwrap();
    let (made, second) = (owner.link("a").await, owner.link("b").await);
    let record = made.link.record();
    let all = contents(&owner.store).await;
    let right = all[&record].clone();
    // Every byte, the record of another link, one of another vault, and anything else.
    let mut wrong: Vec<Vec<u8>> = vec![all[&second.link.record()].clone(), Vec::new()];
    let foreign = other.link("a").await;
    wrong.push(contents(&other.store).await[&foreign.link.record()].clone());
    wrong.extend(
        all.iter()
            .filter(|(p, _)| **p != record)
            .map(|(_, b)| b.clone()),
    );
    wrong.extend((0..right.len()).map(|at| {
        let mut changed = right.clone();
        changed[at] ^= 1 << (at % 8);
        changed
    }));
    wrong.extend([1, 64, 65].map(|cut| right[..right.len() - cut].to_vec()));
    wrong.push([&right[..], b"\0"].concat());
    for (n, changed) in wrong.iter().enumerate() {
        plant(&owner.store, &record, changed).await;
        let error = owner.follow(&made).await.unwrap_err();
        let refused = ["tampered", "unsupported_format", "limit_exceeded"];
        assert!(refused.contains(&error.code()), "{n}: {error:?}");
    }
    plant(&owner.store, &record, &vec![b'K'; (32 << 20) + 1]).await;
    assert_code(owner.follow(&made).await, "limit_exceeded", "too long");
    unplant(&owner.store, &record).await;
    assert_code(owner.follow(&made).await, "access_denied", "none");
    // The next change of keys mends what lies there.
    plant(&owner.store, &record, &wrong[0]).await;
    let third = owner.link("a").await;
    owner.vault.revoke_link(&third.id).await.unwrap();
    let hers = owner.follow(&made).await.unwrap();
    assert_eq!(read(&hers, "x").await.unwrap(), b"x");
}

#[tokio::test]
async fn f11_a_link_ends_when_its_time_is_over() {
    let owner = owner().await;
    owner.vault.put("a/x", "x").await.unwrap();
    let second = Duration::from_secs(1);
    let made = owner
        .vault
        .link(
            Some("a"),
            LinkOptions::at(&address())
                .expires(second)
                .purpose("a look"),
        )
        .await
        .unwrap();
    assert_eq!(owner.vault.links().unwrap()[0].terms.purpose, "a look");
    let record = contents(&owner.store).await[&made.link.record()].clone();
    let hers = match owner.follow(&made).await {
        Ok(hers) => Some(hers),
        // The machine was busy for a second.
        Err(error) => {
            assert_eq!(error.code(), "access_denied");
            None
        }
    };
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_code(owner.follow(&made).await, "access_denied", "over");
    if let Some(hers) = hers {
        assert_code(read(&hers, "x").await, "access_denied", "the open handle");
    }
    // The owner's next write ends it for good: it is under new keys.
    let mark = contents(&owner.store).await.len();
    owner.vault.put("a/y", "y").await.unwrap();
    assert!(owner.vault.links().unwrap().is_empty());
    assert!(
        !contents(&owner.store)
            .await
            .contains_key(&made.link.record())
    );
    assert!(contents(&owner.store).await.len() > mark);
    plant(&owner.store, &made.link.record(), &record).await;
    assert_code(owner.follow(&made).await, "access_denied", "put back");
}

#[tokio::test]
async fn what_a_store_signs_is_bounded_and_in_the_record_alone() {
    let owner = owner().await;
    for n in 0..3 {
        owner.vault.put(format!("a/{n}"), "x").await.unwrap();
    }
    owner.vault.put("b", "x").await.unwrap();
    let signed = |expires| LinkOptions::presigned(Arc::new(Willing), expires);
    for wrong in [Duration::ZERO, 8 * DAY] {
        let mark = owner.store.mark();
        let made = owner.vault.link(Some("a"), signed(wrong)).await;
        assert_code(made.map(drop), "invalid_input", "time");
        let journal = owner.store.journal().since(mark);
        assert!(
            journal.calls().iter().all(|call| !call.op.writes()),
            "{journal}"
        );
    }
    let made = owner.vault.link_object("none", signed(DAY)).await;
    assert_code(made.map(drop), "not_found", "nothing to be signed");
    assert!(owner.vault.links().unwrap().is_empty());
    let made = owner.vault.link(Some("a"), signed(DAY)).await.unwrap();
    assert_eq!(made.objects, 3);
    let text = made.link.expose();
    assert!(
        text.starts_with("https://store.example/bucket/k/g/"),
        "{}",
        &**text
    );
    let link: Link = text.parse().unwrap();
    assert!(link.address().is_none());
    assert_eq!(
        link.signed_url().unwrap().query(),
        Some("expires=86400&signature=x")
    );
    let hers = Vault::open_link(as_store(&owner.store), &link, None)
        .await
        .unwrap();
    let objects = hers.opened_link().unwrap().unwrap().objects;
    let stored: Vec<_> = contents(&owner.store).await.into_iter().collect();
    assert_eq!(objects.len(), 3);
    for object in &objects {
        let (_, bytes) = stored
            .iter()
            .find(|(path, _)| *path == object.path)
            .unwrap();
        assert_eq!(object.size, bytes.len() as u64);
        assert!(object.url.contains(&object.path));
    }
    assert!(owner.store.journal().find(b"signature=x").is_empty());
    // A folder with too many is refused before anything is written.
    for n in 0..=kluis::LinkObject::MAX {
        plant(
            &owner.store,
            &format!("{}/{n:05}", folder(&objects[0].path)),
            b"",
        )
        .await;
    }
    let mark = owner.store.mark();
    let made = owner.vault.link(Some("a"), signed(DAY)).await;
    assert_code(made.map(drop), "invalid_input", "too many");
    let journal = owner.store.journal().since(mark);
    assert!(
        journal.calls().iter().all(|call| !call.op.writes()),
        "{journal}"
    );
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

#[tokio::test]
async fn links_that_are_none_are_refused() {
    let owner = owner().await;
    let text = owner.link("a").await.link.expose().to_string();
    let (url, fragment) = text.split_once('#').unwrap();
    for wrong in [
        String::new(),
        url.to_owned(),
        format!("{url}#"),
        format!("{url}#{}", &fragment[1..]),
        format!("{url}#{}", &fragment[..fragment.len() - 1]),
        format!("{url}#{fragment}A"),
        format!("{url}#{fragment}="),
        format!("{url}#{}", "A".repeat(1_000_000)),
        format!("bucket#{fragment}"),
        format!("s3://user:pass@bucket/vault#{fragment}"),
        format!("https://user:pass@host/x?y#{fragment}"),
        format!("s3://bucket/vault?x#{fragment}"),
        format!("{url}#{fragment}\u{7}"),
    ] {
        let error = wrong.parse::<Link>().unwrap_err();
        assert_eq!(error.code(), "invalid_input", "{wrong:.200}: {error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&fragment[..20]), "{shown}");
    }
    let later = format!("{url}#B{}", &fragment[1..]);
    assert_code(later.parse::<Link>(), "unsupported_format", "version");
    assert_eq!(
        *format!(" {text}\n").parse::<Link>().unwrap().expose(),
        text
    );
}

/// F10: neither the secret nor anything that follows from it but the name is in what is
/// sent, in an error, in a log, or in what is printed for debugging.
#[tokio::test]
async fn f10_a_link_is_in_no_request_no_error_and_no_log() {
    let log = Log::install();
    let owner = owner().await;
    owner.vault.put("photos/cat.jpg", "meow").await.unwrap();
    let password = "the password of a link";
    let options = LinkOptions::presigned(Arc::new(Willing), DAY)
        .password(Password::new(password), cheap())
        .purpose("for carol");
    let asked = format!("{options:?}");
    let locked = owner.vault.link(Some("photos"), options).await.unwrap();
    let open = owner.link("photos").await;
    let mut said = vec![asked];
    for made in [&locked, &open] {
        let link: Link = made.link.expose().parse().unwrap();
        said.push(format!("{made:?} {link:?}"));
        let store = as_store(&owner.store);
        let found = FoundLink::find(store.clone(), &link).await.unwrap();
        said.push(format!("{found:?}"));
        let hers = owner.follow_with(made, Some(password)).await.unwrap();
        let opened = hers.opened_link().unwrap().unwrap();
        said.push(format!("{hers:?} {opened:?}"));
        read(&hers, "cat.jpg").await.unwrap();
        let mut errors: Vec<Error> = vec![
            read(&hers, "none").await.unwrap_err(),
            hers.put("a", "a").await.unwrap_err(),
        ];
        errors.extend(owner.follow_with(made, Some("wrong")).await.err());
        for lie in [
            Lie::FlipBit(999),
            Lie::NotFound,
            Lie::Truncate(50),
            Lie::FailBefore(kluis_adversary::Fault::Generic),
            Lie::FailBefore(kluis_adversary::Fault::PermissionDenied),
        ] {
            let rule = owner.store.add(lie.at(Path::parse(link.record()).unwrap()));
            errors.push(
                Vault::open_link(store.clone(), &link, None)
                    .await
                    .unwrap_err(),
            );
            owner.store.remove(rule);
        }
        said.extend(errors.iter().map(|error| {
            let mut text = format!("{error} {error:?} {}", error.hint());
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text.push_str(&format!(" {error} {error:?}"));
                cause = error.source();
            }
            text
        }));
    }
    // What is owed to the newest link is done before something else is decided.
    let bob = Identity::make(IdentitySuite::X25519, 1).unwrap();
    let contact = Contact::new("bob", bob.card().clone()).unwrap();
    owner.vault.save_contact(contact).await.unwrap();
    said.push(format!("{:?}", owner.vault.links().unwrap()));
    said.push(format!("{:?}", owner.vault.access(None).await.unwrap()));
    owner.store.add(
        Lie::FailBefore(kluis_adversary::Fault::Generic)
            .at(Path::parse(open.link.record()).unwrap()),
    );
    owner.vault.revoke_link(&locked.id).await.unwrap();
    owner.store.remove_all();
    owner.again().await;
    let logged = log.taken();
    assert!(
        logged.contains("could not be written"),
        "something is logged: {logged}"
    );
    said.push(logged);

    let (journal, all) = (owner.store.journal(), contents(&owner.store).await);
    for made in [&locked, &open] {
        let text = made.link.expose();
        let fragment = text.split_once('#').unwrap().1;
        let bytes = data_encoding::BASE64URL_NOPAD
            .decode(fragment.as_bytes())
            .unwrap();
        let secret = &bytes[1..33];
        let canaries = [
            secret.to_vec(),
            fragment.as_bytes()[..43].to_vec(),
            data_encoding::HEXLOWER.encode(secret).into_bytes(),
            data_encoding::BASE64.encode(secret).into_bytes(),
            b"signature=x".to_vec(),
            password.as_bytes().to_vec(),
        ];
        for canary in &canaries {
            assert!(journal.find(canary).is_empty());
            for bytes in all.values() {
                assert!(!bytes.windows(canary.len()).any(|found| found == canary));
            }
            for said in &said {
                let said = said.as_bytes();
                assert!(!said.windows(canary.len()).any(|found| found == canary));
            }
        }
    }
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<String>>);

impl Log {
    fn install() -> Self {
        let log = Self::default();
        tracing::subscriber::set_global_default(log.clone()).unwrap();
        log
    }

    fn taken(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let line = format!("{}={value:?}\n", field.name());
        self.0.lock().unwrap().push_str(&line);
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// What no reader would take is refused before anything is decided.
#[tokio::test]
async fn a_link_that_nobody_could_open_is_not_made() {
    let owner = owner().await;
    owner.vault.put("photos/cat.jpg", "cat").await.unwrap();
    let before = owner.store.paths();
    let options = LinkOptions::presigned(Arc::new(Wordy), DAY);
    let made = owner.vault.link(Some("photos"), options).await;
    assert_eq!(made.map(drop).unwrap_err().code(), "unsupported");
    assert_eq!(owner.store.paths(), before);
    assert!(owner.vault.links().unwrap().is_empty());
}
