//! Signed vaults: who may read and not write makes nothing that others take for
//! written, with the store's help or by putting it there himself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use futures_util::TryStreamExt;
use kluis::object_store::GetRange;
use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path;
use kluis::{
    Card, Check, Contact, Error, Granted, Identity, IdentitySuite, LinkOptions, Recipient, Result,
    Terms, Vault, Verdict,
};
use kluis_adversary::{HostileStore, Lie, Op};
use kluis_tests::{CHUNK, as_store, cheap, pattern, phrase, plant, read, words};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Around every border of a signed object: chunk, unit, group.
const SIZES: [usize; 10] = [
    0,
    1,
    CHUNK,
    (1 << 20) - 1,
    1 << 20,
    (4 << 20) - 1,
    4 << 20,
    (4 << 20) + CHUNK + 1,
    (8 << 20) + 5,
    (9 << 20) + 3,
];

fn options(signed: bool) -> kluis::VaultOptions {
    kluis::VaultOptions::new()
        .kdf(cheap())
        .staleness(Duration::ZERO)
        .signed(signed)
}

struct Owner {
    store: HostileStore,
    vault: Vault,
    words: String,
}

async fn owner(signed: bool) -> Owner {
    let store = HostileStore::new(InMemory::new());
    let words = words();
    let vault = options(signed)
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
        let open = options(false).open(as_store(&self.store), phrase(&self.words));
        open.await.unwrap()
    }

    async fn open_as(&self, identity: &Arc<Identity>, granted: &Granted) -> Result<Vault> {
        let open = options(false);
        open.open_as(as_store(&self.store), identity, &granted.invitation)
            .await
    }

    /// Where the object lies that was written last.
    fn last_place(&self) -> Path {
        let journal = self.store.journal();
        let wrote = journal.only(|call| {
            matches!(call.op, Op::Put | Op::Complete) && call.path.as_ref().starts_with("o/")
        });
        wrote.calls().last().unwrap().path.clone()
    }

    async fn stored(&self, place: &Path) -> Vec<u8> {
        self.store.contents().await.unwrap()[place].to_vec()
    }
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap())
}

fn recipient(identity: &Identity) -> Recipient {
    let card = Card::parse(identity.card().as_bytes()).unwrap();
    let fingerprint = card.fingerprint();
    Recipient::verified(card, &fingerprint).unwrap()
}

fn writing() -> Terms {
    let mut terms = Terms::reading();
    terms.write = true;
    terms
}

fn assert_code<T>(result: Result<T>, code: &str, what: &str) {
    match result {
        Err(error) if error.code() == code => {}
        Err(error) => panic!("{what}: {error:?} instead of {code}"),
        Ok(_) => panic!("{what}: Ok instead of {code}"),
    }
}

#[tokio::test]
async fn every_size_comes_back_whole_and_in_parts_from_every_store() {
    let (stores, _folder) = kluis_tests::stores();
    for (name, store) in stores {
        let vault = options(true).create(store, phrase(&words())).await.unwrap();
        for size in SIZES {
            let content = pattern(size);
            vault.put("x", content.clone()).await.unwrap();
            for _ in 0..2 {
                assert!(read(&vault, "x").await.unwrap() == content, "{name} {size}");
            }
            let info = vault.head("x").await.unwrap();
            assert_eq!(info.meta.size, size as u64, "{name}");
            let listed: Vec<_> = vault.list(None).try_collect().await.unwrap();
            assert_eq!(
                listed[0].size, size as u64,
                "{name}: exact without a request"
            );
            let overhead = info.stored_size - size as u64;
            // 0.25 % for the signature beside the tags of unsigned vaults.
            let unsigned = 256 + 16 * (size / CHUNK + 1);
            assert!(
                overhead - unsigned as u64 <= size as u64 / 400 + 256,
                "{size}"
            );
            let (mid, end) = (size as u64 / 2, size as u64);
            for range in [
                0..1,
                mid..mid + 10,
                mid..end,
                0..end,
                end.saturating_sub(70_000)..end,
            ] {
                if range.start >= end || range.is_empty() {
                    continue;
                }
                let got = vault.get_range("x", range.clone()).await.unwrap();
                let expected = range.start as usize..range.end.min(end) as usize;
                assert!(got == content[expected], "{name} {size} {range:?}");
            }
            let end_of = vault.get_part("x", GetRange::Suffix(33)).await.unwrap();
            let from = size.saturating_sub(33);
            assert!(
                end_of.bytes().await.unwrap() == content[from..],
                "{name} {size}"
            );
        }
    }
}

/// F06, F09: Mallory may read, has the keys, and writes: by a client of his own that
/// forgot that he may not.
#[tokio::test]
async fn f06_f09_a_reader_writes_nothing_that_others_take() {
    let owner = owner(true).await;
    let (mallory, bob) = (identity(), identity());
    owner.vault.put("docs/real", "real").await.unwrap();
    let to_mallory = owner
        .vault
        .share("docs", &recipient(&mallory), Terms::reading())
        .await
        .unwrap();
    let to_bob = owner
        .vault
        .share("docs", &recipient(&bob), writing())
        .await
        .unwrap();
    let his = owner.open_as(&mallory, &to_mallory).await.unwrap();
    let bobs = owner.open_as(&bob, &to_bob).await.unwrap();
    assert_code(
        his.put("docs/x", "x").await,
        "access_denied",
        "a reader's put",
    );
    bobs.put("docs/plan", "by bob").await.unwrap();
    for vault in [&owner.vault, &his, &bobs, &owner.again().await] {
        assert_eq!(read(vault, "docs/plan").await.unwrap(), b"by bob");
        assert_eq!(read(vault, "docs/real").await.unwrap(), b"real");
    }
    // What he computes with all that he reads, put into the store: tests/tests of the core
    // have the forgeries; here what the store can do with real objects.
    let place = owner.last_place();
    let bytes = owner.stored(&place).await;
    owner.vault.put("docs/other", "another").await.unwrap();
    let other = owner.last_place();
    plant(&owner.store, other.as_ref(), &bytes).await;
    for vault in [&owner.vault, &his, &bobs] {
        assert_code(read(vault, "docs/other").await, "tampered", "moved");
        assert_code(vault.head("docs/other").await, "tampered", "moved: head");
    }
    let findings: Vec<_> = owner
        .vault
        .check(None, Check::Quick)
        .try_collect()
        .await
        .unwrap();
    let faults = findings
        .iter()
        .filter(|f| matches!(f.verdict, Verdict::Fault(_)))
        .count();
    assert_eq!(faults, 1);
}

/// F07: an object in a place where there was none.
#[tokio::test]
async fn f07_what_a_reader_plants_is_listed_as_planted_and_never_read() {
    let owner = owner(true).await;
    owner.vault.put("docs/a", pattern(40_000)).await.unwrap();
    let place = owner.last_place();
    let bytes = owner.stored(&place).await;
    // The tail of a stranger, and no tail.
    let mut forged = bytes.clone();
    let end = forged.len();
    forged[end - 96..end - 64].copy_from_slice(&[7; 32]);
    for forged in [forged, bytes[..end - 128].to_vec()] {
        plant(&owner.store, place.as_ref(), &forged).await;
        let vault = owner.again().await;
        assert_code(read(&vault, "docs/a").await, "tampered", "planted");
        assert_code(vault.head("docs/a").await, "tampered", "planted: head");
        let ranged = vault.get_range("docs/a", 0..10).await;
        assert_code(ranged, "tampered", "planted: a range");
        let out = vault.get("docs/a").await.map(drop);
        assert_code(out, "tampered", "nothing is given out");
    }
}

/// L09: a chunk in the middle of a large object, cold and with the signature known.
#[tokio::test]
async fn l09_a_forged_chunk_releases_nothing() {
    let owner = owner(true).await;
    let content = pattern((5 << 20) + 7);
    owner.vault.put("big", content.clone()).await.unwrap();
    let place = owner.last_place();
    let stored = owner.stored(&place).await.len() as u64;
    let leaves = 256 + 256 * 16_400;
    let group = 256 * CHUNK;
    for (what, at, from) in [
        ("the first chunk", 256, 0),
        (
            "the last of the first group",
            256 + 255 * 16_400 + 3,
            group - CHUNK,
        ),
        ("a leaf of the first group", leaves + 32 * 9, 0),
        ("the second group", leaves + 8_192 + 5, group),
        ("a leaf of the second", stored - 96 - 64 - 5, group),
        ("the second of two groups", stored - 96 - 20, 0),
        ("the writer", stored - 80, 0),
        ("the signature", stored - 1, 0),
    ] {
        for warm in [false, true] {
            let vault = owner.again().await;
            let mut from = from;
            if warm {
                read(&vault, "big").await.unwrap();
                // Against the signature that is known, all the content is right.
                if at >= stored - 96 - 64 {
                    from = content.len();
                }
            }
            let rule = owner.store.add(Lie::FlipBit(8 * at).at(&place));
            let found: Result<usize> = async {
                let mut out = 0;
                let mut stream = vault.get("big").await?.into_stream();
                loop {
                    match stream.try_next().await {
                        Ok(Some(piece)) => {
                            assert!(piece == content[out..out + piece.len()]);
                            out += piece.len();
                        }
                        Ok(None) => return Ok(out),
                        Err(error) => {
                            // What came out was compared above; of the chunk that was
                            // forged, and of a group whose hashes were, nothing did.
                            assert!(out <= from, "{what} {warm}: {out}");
                            return Err(error);
                        }
                    }
                }
            }
            .await;
            assert_code(found, "tampered", &format!("{what}, warm: {warm}"));
            owner.store.remove(rule);
            assert!(read(&vault, "big").await.unwrap() == content, "{what}");
        }
    }
}

/// Cold, a range costs the header, the signature, and its chunks with their hashes; warm
/// the chunks, and the hashes of a group that is new.
#[tokio::test]
async fn requests_and_bytes_of_a_signed_object() {
    let owner = owner(true).await;
    owner.vault.put("big", pattern(9 << 20)).await.unwrap();
    owner.vault.put("small", pattern(10_000)).await.unwrap();
    let vault = owner.again().await;
    let cost = async |path: &str, range: std::ops::Range<u64>| {
        let mark = owner.store.mark();
        vault.get_range(path, range).await.unwrap();
        let journal = owner.store.journal().since(mark);
        let objects = journal.only(|call| call.path.as_ref().starts_with("o/"));
        let bytes: u64 = objects.calls().iter().map(|call| call.received).sum();
        (objects.count(Op::Get), bytes)
    };
    let range = 6 << 20..(6 << 20) + 50_000;
    let first = cost("big", range.clone()).await;
    assert_eq!(first.0, 4, "header, signature, chunks, hashes");
    let (gets, bytes) = cost("big", range).await;
    assert_eq!(gets, 1, "chunks");
    assert!(bytes <= 5 * 16_400, "{bytes}");
    // Another place in the same group.
    assert_eq!(cost("big", 7 << 20..(7 << 20) + 5).await.0, 1);
    // Near the end of its group the hashes come along.
    let near = (4 << 20) - 60_000..(4 << 20) - 50_000;
    assert_eq!(cost("big", near).await.0, 1);
    assert_eq!(cost("small", 0..10).await.0, 1);
    for (path, gets) in [("big", 2), ("small", 1)] {
        let cold = owner.again().await;
        let mark = owner.store.mark();
        read(&cold, path).await.unwrap();
        let journal = owner.store.journal().since(mark);
        let objects = journal.only(|call| call.path.as_ref().starts_with("o/"));
        assert_eq!(objects.count(Op::Get), gets, "{path}");
    }
}

#[tokio::test]
async fn a_writer_whose_right_was_taken_back_signs_nothing_more() {
    let owner = owner(true).await;
    let (bob, eve) = (identity(), identity());
    let shared = async |who: &Arc<Identity>, folder: &str, terms: Terms| {
        let recipient = recipient(who);
        owner.vault.share(folder, &recipient, terms).await.unwrap()
    };
    let to_bob = shared(&bob, "team", writing()).await;
    let to_eve = shared(&eve, "team", Terms::reading()).await;
    // A folder in it that was shared before and one that is later: he writes there too.
    shared(&eve, "team/inner", Terms::reading()).await;
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    his.put("team/a", "by bob").await.unwrap();
    his.put("team/inner/b", "by bob").await.unwrap();
    assert_eq!(read(&hers, "team/inner/b").await.unwrap(), b"by bob");
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    assert_code(his.put("team/c", "late").await, "access_denied", "revoked");
    owner.vault.put("team/c", "by the owner").await.unwrap();
    let again = owner.open_as(&eve, &to_eve).await.unwrap();
    for vault in [&owner.vault, &hers, &again, &owner.again().await] {
        for (path, content) in [
            ("team/a", &b"by bob"[..]),
            ("team/inner/b", b"by bob"),
            ("team/c", b"by the owner"),
        ] {
            assert_eq!(read(vault, path).await.unwrap(), content);
        }
    }
    // He comes back as a reader, and as a writer again.
    let to_bob = shared(&bob, "team", Terms::reading()).await;
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    assert_code(his.put("team/d", "d").await, "access_denied", "a reader");
    let to_bob = shared(&bob, "team/inner", writing()).await;
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    his.put("inner/e", "again").await.unwrap();
    assert_eq!(read(&hers, "team/inner/e").await.unwrap(), b"again");
}

#[tokio::test]
async fn reencrypt_signs_again_and_a_rotation_changes_the_owners_key() {
    let owner = owner(true).await;
    let bob = identity();
    let granted = owner
        .vault
        .share("team", &recipient(&bob), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    his.put("team/a", pattern(100_000)).await.unwrap();
    let before = owner.stored(&owner.last_place()).await;
    owner.vault.revoke(&[granted.id]).await.unwrap();
    let steps: Vec<_> = owner.vault.reencrypt(None).try_collect().await.unwrap();
    assert_eq!(steps.len(), 1);
    assert!(owner.vault.receipt(None).await.unwrap().is_empty());
    // What he signed is refused from now on, wherever the store keeps it.
    let place = owner.last_place();
    let again = owner.stored(&place).await;
    plant(&owner.store, place.as_ref(), &before).await;
    assert_code(
        read(&owner.vault, "team/a").await,
        "tampered",
        "below the floor",
    );
    plant(&owner.store, place.as_ref(), &again).await;
    assert_eq!(
        read(&owner.vault, "team/a").await.unwrap(),
        pattern(100_000)
    );

    let credential = (phrase(&owner.words), cheap());
    owner.vault.rotate_root(vec![credential]).await.unwrap();
    owner.vault.put("team/b", "rotated").await.unwrap();
    let vault = owner.again().await;
    assert!(vault.is_signed().unwrap());
    assert_eq!(read(&vault, "team/a").await.unwrap(), pattern(100_000));
    assert_eq!(read(&vault, "team/b").await.unwrap(), b"rotated");
}

/// Whose signature an object bears is told to who may know it, and by whatever name is
/// known there.
#[tokio::test]
async fn who_wrote_an_object_is_said() {
    let owner = owner(true).await;
    let (bob, eve) = (identity(), identity());
    let contact = Contact::new("bob", bob.card().clone()).unwrap();
    let to = Recipient::trusted_on_first_use(bob.card().clone())
        .named("bob at the start")
        .unwrap();
    let granted = owner.vault.share("team", &to, writing()).await.unwrap();
    let to_eve = owner
        .vault
        .share("team", &recipient(&eve), writing())
        .await
        .unwrap();
    let his = owner.open_as(&bob, &granted).await.unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    owner.vault.put("team/mine", "x").await.unwrap();
    his.put("team/his", "y").await.unwrap();
    let made = LinkOptions::at(&"s3://bucket/vault".parse().unwrap());
    let made = owner.vault.link(Some("team"), made).await.unwrap();
    let linked = Vault::open_link(as_store(&owner.store), &made.link, None)
        .await
        .unwrap();
    let own = owner.vault.card().unwrap();
    let writer = async |vault: &Vault, path: &str| {
        let writer = vault.head(path).await.unwrap().writer.unwrap();
        // Whole reads and ranges say the same.
        let read = vault.get(path).await.unwrap().info().writer.clone();
        assert_eq!(read.as_ref(), Some(&writer), "{path}");
        assert_eq!(
            writer.key,
            if path.ends_with("his") {
                *bob.card().signing_key()
            } else {
                *own.signing_key()
            }
        );
        (writer.own, writer.name, writer.fingerprint)
    };
    let of_owner = Some(own.fingerprint());
    let of_bob = Some(bob.card().fingerprint());
    assert_eq!(
        writer(&owner.vault, "team/mine").await,
        (true, None, of_owner)
    );
    let named = |name: &str| (false, Some(name.to_owned()), of_bob);
    assert_eq!(
        writer(&owner.vault, "team/his").await,
        named("bob at the start")
    );
    owner.vault.save_contact(contact).await.unwrap();
    assert_eq!(
        writer(&owner.vault, "team/his").await,
        named("bob"),
        "the address book"
    );
    assert_eq!(writer(&owner.again().await, "team/his").await, named("bob"));
    assert_eq!(writer(&his, "team/his").await, (true, None, of_bob));
    assert_eq!(
        writer(&his, "team/mine").await,
        (false, None, of_owner),
        "the grantor"
    );
    assert_eq!(
        writer(&hers, "team/his").await,
        (false, None, None),
        "a stranger to her"
    );
    assert_eq!(writer(&linked, "his").await, (false, None, None));
    assert_eq!(writer(&linked, "mine").await, (false, None, None));
    // Taken back and forgotten it is a key.
    owner.vault.forget_contact("bob").await.unwrap();
    assert_eq!(
        writer(&owner.vault, "team/his").await,
        named("bob at the start")
    );
    owner.vault.revoke(&[granted.id]).await.unwrap();
    assert_eq!(writer(&owner.vault, "team/his").await, (false, None, None));

    let unsigned = self::owner(false).await;
    unsigned.vault.put("a", "x").await.unwrap();
    assert_eq!(unsigned.vault.head("a").await.unwrap().writer, None);
}

/// Leases as the owner set them, seen by him and by those who keep to them.
#[tokio::test]
async fn leases_are_seen_by_who_keeps_to_them() {
    for signed in [true, false] {
        let owner = owner(signed).await;
        let (bob, eve) = (identity(), identity());
        let granted = owner
            .vault
            .share("a", &recipient(&bob), writing())
            .await
            .unwrap();
        owner.vault.put("c/x", "x").await.unwrap();
        let to_eve = owner
            .vault
            .share_object("c/x", &recipient(&eve), writing())
            .await
            .unwrap();
        let his = owner.open_as(&bob, &granted).await.unwrap();
        let hers = owner.open_as(&eve, &to_eve).await.unwrap();
        let seen = async |vault: &Vault| {
            vault
                .head(if vault.card().is_ok() { "c/x" } else { "none" })
                .await
                .ok();
            let leases = vault.leases().unwrap();
            let now = SystemTime::now();
            assert!(
                leases
                    .iter()
                    .all(|l| l.ends > now && l.ends <= now + l.length)
            );
            let leases = leases
                .into_iter()
                .map(|l| (l.path.unwrap_or_default(), l.length.as_secs()));
            leases.collect::<Vec<_>>()
        };
        let lease = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(seen(&owner.vault).await, []);
        assert_code(
            owner.vault.set_lease(Some("a"), lease(59)).await,
            "invalid_input",
            "short",
        );
        assert_code(
            owner.vault.set_lease(Some("c"), lease(60)).await,
            "invalid_input",
            "no share",
        );
        owner.vault.set_lease(Some("a"), lease(60)).await.unwrap();
        assert_eq!(seen(&owner.vault).await, [("a".to_owned(), 60)]);
        his.put("a/1", "x").await.unwrap();
        assert_eq!(seen(&his).await, [("a".to_owned(), 60)]);
        hers.put("x", "y").await.unwrap();
        assert_eq!(seen(&hers).await, []);
        owner.vault.set_lease(None, lease(90)).await.unwrap();
        let all = [(String::new(), 90), ("a".to_owned(), 90)];
        assert_eq!(seen(&owner.vault).await, all);
        hers.put("x", "z").await.unwrap();
        assert_eq!(seen(&hers).await, [("x".to_owned(), 90)]);
        owner.vault.set_lease(None, None).await.unwrap();
        assert_eq!(seen(&owner.again().await).await, []);
    }
}

/// An object of an unsigned kind in a signed vault, and the other way round.
#[tokio::test]
async fn the_suites_do_not_mix() {
    for signed in [true, false] {
        let owner = owner(signed).await;
        owner.vault.put("a", "x").await.unwrap();
        let place = owner.last_place();
        let mut bytes = owner.stored(&place).await;
        bytes[4] = if signed { 1 } else { 2 };
        for length in [bytes.len(), 273, 433] {
            bytes.resize(length, 0);
            plant(&owner.store, place.as_ref(), &bytes).await;
            assert_code(read(&owner.vault, "a").await, "tampered", "the other suite");
        }
        assert_eq!(owner.vault.is_signed().unwrap(), signed);
        assert!(matches!(
            owner.vault.get("absent").await,
            Err(Error::NotFound { .. })
        ));
    }
}

#[tokio::test]
async fn who_may_write_one_object_signs_it_and_its_readers_know_him() {
    let owner = owner(true).await;
    let [bob, eve, carl, dora] = [(); 4].map(|()| identity());
    owner.vault.put("a/b/x", "0").await.unwrap();
    owner.vault.put("a/b/y", "y").await.unwrap();
    let share = async |who: &Arc<Identity>, terms| {
        let to = recipient(who);
        let granted = owner.vault.share_object("a/b/x", &to, terms);
        granted.await.unwrap()
    };
    // A reader from before the writer, and one of the folder.
    let to_eve = share(&eve, Terms::reading()).await;
    let to_bob = share(&bob, writing()).await;
    let to_dora = owner
        .vault
        .share_version("a/b/y", &recipient(&dora), Terms::reading())
        .await
        .unwrap();
    let hers = owner.open_as(&eve, &to_eve).await.unwrap();
    let his = owner.open_as(&bob, &to_bob).await.unwrap();
    let one = owner.open_as(&dora, &to_dora).await.unwrap();
    assert_eq!(read(&one, "y").await.unwrap(), b"y");
    his.put("x", "by bob").await.unwrap();
    assert_eq!(read(&hers, "x").await.unwrap(), b"by bob");
    assert_code(hers.put("x", "x").await, "access_denied", "a reader");
    // Folders that are mounted around it know him too, and he them.
    for (folder, path) in [("a", "a/b/x"), ("a/b", "b/x")] {
        let to_carl = owner
            .vault
            .share(folder, &recipient(&carl), writing())
            .await
            .unwrap();
        let theirs = owner.open_as(&carl, &to_carl).await.unwrap();
        assert_eq!(read(&theirs, path).await.unwrap(), b"by bob");
        theirs.put(path, "by carl").await.unwrap();
        for vault in [&his, &hers] {
            assert_eq!(read(vault, "x").await.unwrap(), b"by carl", "{folder}");
        }
        his.put("x", "by bob").await.unwrap();
        for (vault, path) in [(&theirs, path), (&hers, "x"), (&owner.vault, "a/b/x")] {
            assert_eq!(read(vault, path).await.unwrap(), b"by bob", "{folder}");
        }
    }
    // Taken back: what he signed stays, and he signs no more.
    owner.vault.revoke(&[to_bob.id]).await.unwrap();
    assert_eq!(read(&hers, "x").await.unwrap(), b"by bob");
    assert_code(his.put("x", "late").await, "access_denied", "late");
    owner.vault.put("a/b/x", "after").await.unwrap();
    assert_eq!(read(&hers, "x").await.unwrap(), b"after");
    assert!(read(&his, "x").await.is_err());
    let again = owner.again().await;
    assert_eq!(read(&again, "a/b/x").await.unwrap(), b"after");
}
