//! Each lie does what it says, and nothing is left of it once it is taken back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use kluis_adversary::{Fault, HostileStore, Lie, Op, Outcome, Rule, Target};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, Result, UpdateVersion,
};

const TEXT: &[u8] = b"0123456789";

/// A store with `a/x` and `b/y`, both of ten bytes.
async fn store() -> HostileStore {
    let store = HostileStore::with_seed(InMemory::new(), 7);
    store.put(&x(), TEXT.into()).await.unwrap();
    store
        .put(&y(), Bytes::from_static(b"ABCDEFGHIJ").into())
        .await
        .unwrap();
    store
}

fn x() -> Path {
    Path::from("a/x")
}

fn y() -> Path {
    Path::from("b/y")
}

async fn read(store: &HostileStore, path: &Path) -> Result<Bytes> {
    store.get(path).await?.bytes().await
}

async fn names(store: &HostileStore, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(Path::from);
    let entries: Vec<_> = store.list(prefix.as_ref()).try_collect().await.unwrap();
    entries
        .into_iter()
        .map(|entry| entry.location.into())
        .collect()
}

fn stalls<T>(waited: Result<T, tokio::time::error::Elapsed>) -> bool {
    waited.is_err()
}

async fn briefly<F: Future>(future: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_millis(20), future).await
}

/// Tells `lie` at `a/x`, expects these bytes there and nothing else anywhere,
/// and the truth again afterwards.
async fn serves(lie: Lie, expected: &[u8]) {
    let store = store().await;
    let before = store.contents().await.unwrap();
    let rule = store.add(lie.at("a/*"));

    assert_eq!(read(&store, &x()).await.unwrap(), expected);
    let ranges = store.get_ranges(&x(), &[2..4, 3..5]).await;
    if expected.len() >= 5 {
        assert_eq!(ranges.unwrap(), [&expected[2..4], &expected[3..5]]);
    }
    if expected.len() > 2 {
        let end = expected.len().min(9);
        assert_eq!(store.get_range(&x(), 2..9).await.unwrap(), expected[2..end]);
    } else {
        assert!(store.get_range(&x(), 2..9).await.is_err());
    }
    assert_eq!(store.head(&x()).await.unwrap().size, expected.len() as u64);
    assert_eq!(read(&store, &y()).await.unwrap(), b"ABCDEFGHIJ"[..]);

    assert!(store.remove(rule) >= 3);
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
    assert_eq!(store.contents().await.unwrap(), before);
}

// The object.

#[tokio::test]
async fn flip_bit() {
    serves(Lie::FlipBit(0), b"1123456789").await;
    serves(Lie::FlipBit(8 * 9 + 1), b"012345678;").await;
    serves(Lie::FlipBit(80), TEXT).await;
    serves(Lie::FlipBit(u64::MAX), TEXT).await;
}

#[tokio::test]
async fn flip_any_bit_is_one_bit_from_the_seed() {
    let read_three = async |seed| {
        let store = HostileStore::with_seed(InMemory::new(), seed);
        store.put(&x(), TEXT.into()).await.unwrap();
        store.add(Lie::FlipAnyBit);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let bytes = read(&store, &x()).await.unwrap();
            let flipped: u32 = bytes
                .iter()
                .zip(TEXT)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum();
            assert_eq!(flipped, 1);
            seen.push(bytes);
        }
        seen
    };
    let first = read_three(1).await;
    assert_eq!(first, read_three(1).await);
    assert_ne!(first, read_three(2).await);
    assert!(first[0] != first[1] || first[1] != first[2]);
}

#[tokio::test]
async fn flip_any_bit_leaves_an_empty_object() {
    let store = HostileStore::new(InMemory::new());
    store.put(&x(), Bytes::new().into()).await.unwrap();
    store.add(Lie::FlipAnyBit);
    assert!(read(&store, &x()).await.unwrap().is_empty());
}

#[tokio::test]
async fn garbage_has_the_length_and_comes_from_the_seed() {
    let one = store().await;
    let other = store().await;
    one.add(Lie::Garbage);
    other.add(Lie::Garbage);
    let bytes = read(&one, &x()).await.unwrap();
    assert_eq!(bytes.len(), TEXT.len());
    assert_ne!(bytes, TEXT);
    assert_eq!(bytes, read(&other, &x()).await.unwrap());
    assert_ne!(bytes, read(&one, &x()).await.unwrap());
}

#[tokio::test]
async fn two_rules_draw_differently() {
    let store = store().await;
    let rule = store.add(Lie::Garbage);
    let first = read(&store, &x()).await.unwrap();
    store.remove(rule);
    store.add(Lie::Garbage);
    assert_ne!(first, read(&store, &x()).await.unwrap());
}

#[tokio::test]
async fn set() {
    serves(Lie::Set(3, Bytes::from_static(b"xyz")), b"012xyz6789").await;
    serves(Lie::Set(9, Bytes::from_static(b"xyz")), b"012345678xyz").await;
    serves(Lie::Set(11, Bytes::from_static(b"z")), b"0123456789\0z").await;
}

#[tokio::test]
async fn truncate() {
    serves(Lie::Truncate(6), b"012345").await;
    serves(Lie::Truncate(0), b"").await;
    serves(Lie::Truncate(11), TEXT).await;
}

#[tokio::test]
async fn truncated_ranges_are_errors_and_never_panics() {
    let store = store().await;
    store.add(Lie::Truncate(3));
    assert!(store.get_ranges(&x(), &[0..2, 7..9]).await.is_err());
    assert_eq!(
        store.get_ranges(&x(), &[0..2, 2..9]).await.unwrap(),
        ["01", "2"]
    );
}

#[tokio::test]
async fn extend() {
    serves(Lie::Extend(Bytes::from_static(b"ab")), b"0123456789ab").await;
}

#[tokio::test]
async fn edit() {
    serves(Lie::edit(|bytes| bytes.reverse()), b"9876543210").await;
}

#[tokio::test]
async fn lies_add_up_in_their_order() {
    let store = store().await;
    store.add(Lie::Truncate(2));
    store.add(Lie::Extend(Bytes::from_static(b"z")));
    assert_eq!(read(&store, &x()).await.unwrap(), "01z");
}

#[tokio::test]
async fn swap_with() {
    serves(Lie::SwapWith(y()), b"ABCDEFGHIJ").await;

    let store = store().await;
    let e_tag = store.head(&y()).await.unwrap().e_tag;
    store.add(Lie::SwapWith(y()).at(x()));
    let meta = store.head(&x()).await.unwrap();
    assert_eq!((meta.location, meta.e_tag), (x(), e_tag));
    store.add(Lie::SwapWith(Path::from("nothing")).at(x()));
    assert!(matches!(read(&store, &x()).await, Err(Error::NotFound { path, .. }) if path == "a/x"));
}

#[tokio::test]
async fn version_serves_old_bytes_with_their_e_tag_and_attributes() {
    let store = store().await;
    let first = store.head(&x()).await.unwrap().e_tag;
    let attributes = Attributes::from_iter([(Attribute::ContentType, "text/new")]);
    store
        .put_opts(&x(), "new".into(), attributes.clone().into())
        .await
        .unwrap();
    store.delete(&x()).await.unwrap();
    store.put(&x(), "newest".into()).await.unwrap();

    let rule = store.add(Lie::Version(0).at(x()));
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
    assert_eq!(store.head(&x()).await.unwrap().e_tag, first);
    let stale = GetOptions::new().with_if_match(Some("\"none\""));
    assert!(matches!(
        store.get_opts(&x(), stale).await,
        Err(Error::Precondition { .. })
    ));
    store.remove(rule);

    let rule = store.add(Lie::Version(1).at(x()));
    let answer = store.get(&x()).await.unwrap();
    assert_eq!(answer.attributes, attributes);
    assert_eq!(answer.bytes().await.unwrap(), "new");
    store.remove(rule);

    let rule = store.add(Lie::Version(3));
    assert!(matches!(
        read(&store, &x()).await,
        Err(Error::NotFound { .. })
    ));
    store.remove(rule);
    assert_eq!(read(&store, &x()).await.unwrap(), "newest");
}

#[tokio::test]
async fn not_found() {
    let store = store().await;
    let rule = store.add(Lie::NotFound.at(x()));
    assert!(matches!(
        read(&store, &x()).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        store.head(&x()).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        store.get_ranges(&x(), &[0..1, 1..2]).await,
        Err(Error::NotFound { .. })
    ));
    assert_eq!(read(&store, &y()).await.unwrap().len(), 10);
    assert_eq!(store.remove(rule), 3);
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
}

#[tokio::test]
async fn freeze_shows_gets_and_listings_as_they_were() {
    let store = store().await;
    let old = store.inner().head(&x()).await.unwrap();
    let mark = store.mark();
    store.put(&x(), "longer than before".into()).await.unwrap();
    store.put(&Path::from("a/new"), "new".into()).await.unwrap();
    store.delete(&y()).await.unwrap();
    store
        .inner()
        .put(&Path::from("c/unknown"), "z".into())
        .await
        .unwrap();

    let rule = store.add(Lie::Freeze(mark));
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
    assert_eq!(read(&store, &y()).await.unwrap(), "ABCDEFGHIJ");
    assert!(matches!(
        read(&store, &Path::from("a/new")).await,
        Err(Error::NotFound { .. })
    ));
    assert_eq!(read(&store, &Path::from("c/unknown")).await.unwrap(), "z");
    assert_eq!(names(&store, None).await, ["a/x", "b/y", "c/unknown"]);
    let entries: Vec<_> = store.list(Some(&"a".into())).try_collect().await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].size, &entries[0].e_tag), (10, &old.e_tag));
    let level = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(level.common_prefixes, ["a", "b", "c"].map(Path::from));
    store.remove(rule);
    assert_eq!(names(&store, None).await, ["a/new", "a/x", "c/unknown"]);

    let rule = store.add(Lie::Freeze(0).at("a/**"));
    assert_eq!(names(&store, None).await, ["c/unknown"]);
    assert!(read(&store, &x()).await.is_err());
    assert_eq!(store.remove(rule), 2);
}

#[tokio::test]
async fn resurrect() {
    let store = store().await;
    store.delete(&x()).await.unwrap();
    store
        .put(&y(), "replaced and not removed".into())
        .await
        .unwrap();
    assert!(read(&store, &x()).await.is_err());
    let rule = store.add(Lie::Resurrect);
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
    assert_eq!(
        read(&store, &y()).await.unwrap(),
        "replaced and not removed"
    );
    assert_eq!(names(&store, None).await, ["a/x", "b/y"]);
    assert_eq!(names(&store, Some("b")).await, ["b/y"]);
    store.remove(rule);
    assert_eq!(names(&store, None).await, ["b/y"]);
}

// The answer.

#[tokio::test]
async fn short_body_promises_more_than_it_gives() {
    let store = store().await;
    let rule = store.add(Lie::ShortBody(3).at(x()));
    let answer = store.get(&x()).await.unwrap();
    assert_eq!((answer.range.clone(), answer.meta.size), (0..10, 10));
    assert_eq!(answer.bytes().await.unwrap(), "012");
    assert_eq!(store.get_range(&x(), 5..10).await.unwrap(), "567");
    assert_eq!(
        store.get_ranges(&x(), &[0..2, 4..9]).await.unwrap(),
        ["01", "456"]
    );
    store.remove(rule);
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
}

#[tokio::test]
async fn a_body_in_many_items_is_cut_at_the_same_byte() {
    let store = store().await;
    store.add(Lie::TinyItems(2));
    for (n, expected) in [(0, ""), (3, "012"), (4, "0123"), (99, "0123456789")] {
        let rule = store.add(Lie::ShortBody(n));
        assert_eq!(read(&store, &x()).await.unwrap(), expected);
        store.remove(rule);
    }
}

#[tokio::test]
async fn long_body_gives_more_than_it_promises() {
    let store = store().await;
    store.add(Lie::LongBody(Bytes::from_static(b"zz")).at(x()));
    let answer = store.get(&x()).await.unwrap();
    assert_eq!((answer.range.clone(), answer.meta.size), (0..10, 10));
    assert_eq!(answer.bytes().await.unwrap(), "0123456789zz");
    assert_eq!(
        store
            .get_ranges(&x(), std::slice::from_ref(&(1..3)))
            .await
            .unwrap(),
        ["12zz"]
    );
}

#[tokio::test]
async fn tiny_items() {
    let store = store().await;
    for (size, expected) in [(0, 10), (1, 10), (3, 4), (10, 1), (usize::MAX, 1)] {
        let rule = store.add(Lie::TinyItems(size));
        let body = store.get(&x()).await.unwrap().into_stream();
        let items: Vec<_> = body.try_collect().await.unwrap();
        assert_eq!(items.len(), expected);
        assert!(items.iter().all(|item| !item.is_empty()));
        assert_eq!(items.concat(), TEXT);
        store.remove(rule);
    }
}

#[tokio::test]
async fn an_endless_body_can_be_left_and_timed_out() {
    let store = store().await;
    store.add(Lie::Endless);
    let body = store.get(&x()).await.unwrap().into_stream();
    let items: Vec<_> = body.take(40).try_collect().await.unwrap();
    let bytes = items.concat();
    assert!(bytes.starts_with(TEXT) && bytes.len() > 100_000);

    let body = store.get(&x()).await.unwrap().into_stream();
    assert!(stalls(briefly(body.for_each(async |_| ())).await));
}

#[tokio::test]
async fn an_endless_listing_has_all_entries_and_then_others() {
    let store = store().await;
    store.add(Lie::Endless);
    let entries: Vec<_> = store.list(None).take(1000).try_collect().await.unwrap();
    assert_eq!(entries[1].location, y());
    let distinct: std::collections::BTreeSet<_> = entries.iter().map(|e| &e.location).collect();
    assert_eq!(distinct.len(), 1000);
}

#[tokio::test]
async fn stall_after() {
    let store = store().await;
    let rule = store.add(Lie::StallAfter(4));
    let mut body = store.get(&x()).await.unwrap().into_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "0123");
    assert!(stalls(briefly(body.next()).await));
    let mut entries = store.list(None);
    assert!(entries.next().await.is_some() && entries.next().await.is_some());
    assert!(stalls(briefly(entries.next()).await));
    assert!(stalls(briefly(store.head(&x())).await));
    assert!(stalls(briefly(store.put(&x(), "never".into())).await));
    let last = store.journal().calls().last().cloned().unwrap();
    assert_eq!((last.op, last.outcome), (Op::Put, Outcome::Pending));
    store.remove(rule);
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
}

#[tokio::test]
async fn err_after() {
    let store = store().await;
    let rule = store.add(Lie::ErrAfter(4, Fault::Generic));
    let mut body = store.get(&x()).await.unwrap().into_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "0123");
    assert!(matches!(
        body.next().await,
        Some(Err(Error::Generic { .. }))
    ));
    assert!(body.next().await.is_none());
    assert!(store.get_ranges(&x(), &[0..1, 5..6]).await.is_err());
    store.remove(rule);

    let rule = store.add(Lie::ErrAfter(1, Fault::PermissionDenied));
    let entries: Vec<_> = store.list(None).collect().await;
    assert!(matches!(
        &entries[..],
        [Ok(_), Err(Error::PermissionDenied { .. })]
    ));
    assert!(store.list_with_delimiter(None).await.is_err());
    store.remove(rule);
    assert_eq!(names(&store, None).await.len(), 2);
}

#[tokio::test]
async fn from_offset_keeps_the_promised_range() {
    let store = store().await;
    store.add(Lie::FromOffset(5).at(x()));
    let options = GetOptions::new().with_range(Some(1..4));
    let answer = store.get_opts(&x(), options).await.unwrap();
    assert_eq!(answer.range, 1..4);
    assert_eq!(answer.bytes().await.unwrap(), "567");
    assert_eq!(
        store.get_ranges(&x(), &[0..2, 8..10]).await.unwrap(),
        ["56", "56"]
    );
    assert_eq!(read(&store, &x()).await.unwrap(), "56789");
}

#[tokio::test]
async fn claim_range() {
    let store = store().await;
    store.add(Lie::ClaimRange(3..u64::MAX).at(x()));
    let answer = store.get(&x()).await.unwrap();
    assert_eq!((answer.range.clone(), answer.meta.size), (3..u64::MAX, 10));
    let items: Vec<_> = answer.into_stream().try_collect().await.unwrap();
    assert_eq!(items.concat(), TEXT);
}

#[tokio::test]
async fn meta_is_changed_wherever_it_is_shown() {
    let store = store().await;
    let rule = store.add(
        Lie::meta(|meta| {
            meta.size = 1 << 40;
            meta.e_tag = Some("lie".into());
        })
        .at(x()),
    );
    let lied = |meta: &ObjectMeta| (meta.size, meta.e_tag.as_deref()) == (1 << 40, Some("lie"));
    assert!(lied(&store.get(&x()).await.unwrap().meta));
    assert!(lied(&store.head(&x()).await.unwrap()));
    let entries: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert!(lied(&entries[0]) && !lied(&entries[1]));
    let level = store.list_with_delimiter(Some(&"a".into())).await.unwrap();
    assert!(lied(&level.objects[0]));
    let result = store.put(&x(), TEXT.into()).await.unwrap();
    assert_eq!(result.e_tag.as_deref(), Some("lie"));
    assert_eq!(store.remove(rule), 5);
    assert!(!lied(&store.head(&x()).await.unwrap()));
}

#[tokio::test]
async fn attributes() {
    let store = store().await;
    store.add(Lie::attributes(|attributes| {
        attributes.insert(Attribute::ContentType, "text/lie".into());
    }));
    let answer = store.get(&x()).await.unwrap();
    assert_eq!(
        answer.attributes.get(&Attribute::ContentType),
        Some(&"text/lie".into())
    );
}

// Listings.

#[tokio::test]
async fn hide_from_list_hides_in_all_three_and_empties_folders() {
    let store = store().await;
    let rule = store.add(Lie::HideFromList.at("a/*"));
    assert_eq!(names(&store, None).await, ["b/y"]);
    let after = store.list_with_offset(None, &Path::from("a")).count().await;
    assert_eq!(after, 1);
    let level = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(level.common_prefixes, [Path::from("b")]);
    assert_eq!(names(&store, Some("b")).await, ["b/y"]);
    assert_eq!(store.uses(rule), 3, "the listing of b had nothing to hide");
    assert_eq!(read(&store, &x()).await.unwrap(), TEXT);
    store.remove(rule);
    assert_eq!(names(&store, None).await, ["a/x", "b/y"]);
}

#[tokio::test]
async fn ghost_in_list() {
    let store = store().await;
    let mut ghost = store.head(&x()).await.unwrap();
    ghost.location = Path::from("a/ghost");
    let rule = store.add(Lie::GhostInList(ghost));
    assert!(
        names(&store, Some("a/ghost")).await.is_empty(),
        "a prefix is no object under it"
    );
    assert_eq!(names(&store, None).await, ["a/ghost", "a/x", "b/y"]);
    assert_eq!(names(&store, Some("a")).await, ["a/ghost", "a/x"]);
    assert_eq!(names(&store, Some("b")).await, ["b/y"]);
    let after: Vec<_> = store
        .list_with_offset(None, &x())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(after.len(), 1);
    let level = store.list_with_delimiter(Some(&"a".into())).await.unwrap();
    assert_eq!(level.objects.len(), 2);
    assert_eq!(store.remove(rule), 3);
}

#[tokio::test]
async fn edit_list() {
    let store = store().await;
    store.add(Lie::list(|entries| {
        entries.reverse();
        entries.push(entries[0].clone());
    }));
    assert_eq!(names(&store, None).await, ["b/y", "a/x", "b/y"]);
}

// Writing.

#[tokio::test]
async fn drop_write_says_ok_and_does_nothing() {
    let store = store().await;
    let before = store.contents().await.unwrap();
    let rule = store.add(Lie::DropWrite);
    store.put(&x(), "lost secret".into()).await.unwrap();
    store.delete(&y()).await.unwrap();
    store.copy(&x(), &Path::from("c")).await.unwrap();
    store.rename(&x(), &Path::from("d")).await.unwrap();
    let mut upload = store.put_multipart(&Path::from("e")).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.remove(rule), 6);
    assert_eq!(store.contents().await.unwrap(), before);
    assert_eq!(store.history(&x()).len(), 1);
    assert_eq!(
        store.journal().find(b"secret").len(),
        1,
        "it was sent all the same"
    );
}

#[tokio::test]
async fn a_single_part_can_be_dropped() {
    let store = store().await;
    store.add(Rule::new(Lie::DropWrite).on(Op::PutPart).skip(1).times(1));
    let mut upload = store.put_multipart(&x()).await.unwrap();
    for part in ["one", "two", "three"] {
        upload.put_part(part.into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    assert_eq!(read(&store, &x()).await.unwrap(), "onethree");
    assert_eq!(
        store.history(&x())[1].bytes.as_deref(),
        Some(&b"onethree"[..])
    );
}

#[tokio::test]
async fn torn_put() {
    let store = store().await;
    store.add(Rule::new(Lie::TornPut(2)).times(1));
    assert!(store.put(&x(), "torn".into()).await.is_err());
    assert_eq!(read(&store, &x()).await.unwrap(), "to");
    assert_eq!(store.history(&x())[1].bytes.as_deref(), Some(&b"to"[..]));

    let torn = store.add(Rule::new(Lie::TornPut(4)).on(Op::Complete));
    let mut upload = store.put_multipart(&x()).await.unwrap();
    upload.put_part("one".into()).await.unwrap();
    upload.put_part("two".into()).await.unwrap();
    assert!(upload.complete().await.is_err());
    assert_eq!(read(&store, &x()).await.unwrap(), "onet");
    assert_eq!(store.remove(torn), 1);
}

#[tokio::test]
async fn ignore_conditional() {
    let store = store().await;
    let create = || PutOptions::from(PutMode::Create);
    let never = UpdateVersion {
        e_tag: Some("\"99\"".into()),
        version: None,
    };
    let update = || PutOptions::from(PutMode::Update(never.clone()));
    let unmatched = || GetOptions::new().with_if_match(Some("\"99\""));
    assert!(store.put_opts(&x(), "1".into(), create()).await.is_err());

    let rule = store.add(Lie::IgnoreConditional);
    store.put_opts(&x(), "2".into(), create()).await.unwrap();
    store.put_opts(&x(), "3".into(), update()).await.unwrap();
    assert_eq!(
        store
            .get_opts(&x(), unmatched())
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        "3"
    );
    store.copy_if_not_exists(&x(), &y()).await.unwrap();
    assert_eq!(read(&store, &y()).await.unwrap(), "3");
    store.rename_if_not_exists(&x(), &y()).await.unwrap();
    store.put(&x(), "4".into()).await.unwrap();
    assert_eq!(
        store.remove(rule),
        5,
        "an unconditional put is none of its business"
    );

    assert!(store.put_opts(&x(), "5".into(), create()).await.is_err());
    assert!(store.put_opts(&x(), "6".into(), update()).await.is_err());
    assert!(store.get_opts(&x(), unmatched()).await.is_err());
}

// Calls of any kind.

#[tokio::test]
async fn fail_before_does_nothing() {
    let store = store().await;
    let before = store.contents().await.unwrap();
    let rule = store.add(Lie::FailBefore(Fault::Generic));
    assert!(store.put(&x(), "lost".into()).await.is_err());
    assert!(store.delete(&x()).await.is_err());
    assert!(store.copy(&x(), &y()).await.is_err());
    assert!(store.rename(&x(), &y()).await.is_err());
    assert!(store.put_multipart(&x()).await.is_err());
    assert!(store.get(&x()).await.is_err());
    assert!(store.get_ranges(&x(), &[0..1, 2..3]).await.is_err());
    assert!(store.list(None).try_collect::<Vec<_>>().await.is_err());
    assert!(store.list_with_delimiter(None).await.is_err());
    assert_eq!(store.remove(rule), 9);
    assert_eq!(store.contents().await.unwrap(), before);
    assert!(
        store
            .journal()
            .since(2)
            .calls()
            .iter()
            .all(|c| c.outcome == Outcome::Failed)
    );
}

#[tokio::test]
async fn fail_after_has_done_everything() {
    let store = store().await;
    let rule = store.add(Lie::FailAfter(Fault::Precondition).at(x()));
    let put = store.put(&x(), "kept".into()).await;
    assert!(matches!(put, Err(Error::Precondition { .. })));
    store.remove(rule);
    assert_eq!(read(&store, &x()).await.unwrap(), "kept");
    assert_eq!(store.history(&x()).len(), 2);

    let rule = store.add(
        Rule::new(Lie::FailAfter(Fault::Generic))
            .on(Op::Complete)
            .on(Op::Delete),
    );
    let mut upload = store.put_multipart(&x()).await.unwrap();
    upload.put_part("whole".into()).await.unwrap();
    assert!(upload.complete().await.is_err());
    assert_eq!(read(&store, &x()).await.unwrap(), "whole");
    assert!(store.delete(&x()).await.is_err());
    assert_eq!(store.remove(rule), 2);
    assert!(read(&store, &x()).await.is_err());
}

#[tokio::test]
async fn every_fault_is_its_error() {
    type Is = fn(&Error) -> bool;
    let table: [(Fault, Is); 9] = [
        (Fault::Generic, |e| matches!(e, Error::Generic { .. })),
        (Fault::NotFound, |e| matches!(e, Error::NotFound { .. })),
        (Fault::AlreadyExists, |e| {
            matches!(e, Error::AlreadyExists { .. })
        }),
        (Fault::Precondition, |e| {
            matches!(e, Error::Precondition { .. })
        }),
        (Fault::NotModified, |e| {
            matches!(e, Error::NotModified { .. })
        }),
        (Fault::NotSupported, |e| {
            matches!(e, Error::NotSupported { .. })
        }),
        (Fault::NotImplemented, |e| {
            matches!(e, Error::NotImplemented { .. })
        }),
        (Fault::PermissionDenied, |e| {
            matches!(e, Error::PermissionDenied { .. })
        }),
        (Fault::Unauthenticated, |e| {
            matches!(e, Error::Unauthenticated { .. })
        }),
    ];
    let store = store().await;
    for (fault, is) in table {
        let rule = store.add(Lie::FailBefore(fault));
        assert!(is(&store.get(&x()).await.unwrap_err()), "{fault:?}");
        store.remove(rule);
    }
}

#[tokio::test]
async fn race_lets_another_client_write_between_read_and_write() {
    let store = store().await;
    let bob = store.client("bob");
    let race = Lie::race(move || {
        let bob = bob.clone();
        async move {
            bob.put(&x(), "bob was here".into()).await.unwrap();
        }
    });
    let seen = UpdateVersion {
        e_tag: store.head(&x()).await.unwrap().e_tag,
        version: None,
    };
    store.add(Rule::new(race).on(Op::Put).at(x()).times(1));
    let mode = PutMode::Update(seen);
    let update = store.put_opts(&x(), "alice".into(), mode.into()).await;
    assert!(matches!(update, Err(Error::Precondition { .. })));
    assert_eq!(read(&store, &x()).await.unwrap(), "bob was here");
}

// Where and when.

#[tokio::test]
async fn targets_ops_clients_and_times_limit_a_rule() {
    let store = store().await;
    let bob = store.client("bob");
    let rule = store.add(
        Rule::new(Lie::NotFound)
            .at(Target::when(|path| path.as_ref().ends_with('x')))
            .on(Op::Get)
            .for_client("bob")
            .skip(1)
            .times(2),
    );
    assert!(read(&store, &x()).await.is_ok(), "another client");
    assert!(read(&bob, &y()).await.is_ok(), "another path");
    assert!(bob.head(&x()).await.is_ok(), "another kind of call");
    let told: Vec<_> = futures_util::stream::iter(0..5)
        .then(|_| async { read(&bob, &x()).await.is_err() })
        .collect()
        .await;
    assert_eq!(told, [false, true, true, false, false]);
    assert_eq!(store.uses(rule), 2);
}

#[tokio::test]
async fn times_counts_only_listings_that_were_changed() {
    let store = store().await;
    store.add(Lie::HideFromList.at(x()).times(1));
    assert_eq!(names(&store, Some("b")).await, ["b/y"]);
    assert_eq!(names(&store, None).await, ["b/y"]);
    assert_eq!(names(&store, None).await, ["a/x", "b/y"]);
}

#[tokio::test]
async fn a_copy_is_met_at_either_path() {
    let store = store().await;
    let rule = store.add(Lie::FailBefore(Fault::Generic).at(x()));
    assert!(store.copy(&x(), &Path::from("c")).await.is_err());
    assert!(store.copy(&y(), &x()).await.is_err());
    assert!(store.copy(&y(), &Path::from("c")).await.is_ok());
    assert_eq!(store.uses(rule), 2);
}

#[tokio::test]
async fn split_view_is_a_rule_for_one_client() {
    let store = store().await;
    store.put(&x(), "news".into()).await.unwrap();
    let (alice, bob) = (store.client("alice"), store.client("bob"));
    store.add(Lie::Version(0).at(x()).for_client("bob"));
    assert_eq!(read(&alice, &x()).await.unwrap(), "news");
    assert_eq!(read(&bob, &x()).await.unwrap(), TEXT);
}

#[tokio::test]
async fn remove_all_leaves_an_honest_store() {
    let store = store().await;
    store.add(Lie::NotFound);
    store.add(Lie::DropWrite);
    store.remove_all();
    store.put(&x(), "true".into()).await.unwrap();
    assert_eq!(read(&store, &x()).await.unwrap(), "true");
}

#[tokio::test]
async fn suffix_and_offset_ranges_are_those_of_the_altered_object() {
    let store = store().await;
    store.add(Lie::Extend(Bytes::from_static(b"ab")));
    let ask = async |range: GetRange| {
        let answer = store
            .get_opts(&x(), GetOptions::new().with_range(Some(range)))
            .await;
        let answer = answer.unwrap();
        (answer.range.clone(), answer.bytes().await.unwrap())
    };
    assert_eq!(ask(GetRange::Suffix(3)).await, (9..12, Bytes::from("9ab")));
    assert_eq!(ask(GetRange::Offset(10)).await, (10..12, Bytes::from("ab")));
}

#[tokio::test]
async fn any_store_can_be_wrapped() {
    let dynamic: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store = HostileStore::new(dynamic);
    assert_eq!(store.to_string(), "HostileStore(InMemory)");
}
