//! Without rules the store is honest, and what it records is what happened.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use bytes::Bytes;
use futures_util::TryStreamExt;
use kluis_adversary::{Cut, HostileStore, Lie, Op, Outcome, Place};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, Result, TagSet, integration,
};

fn store() -> HostileStore {
    HostileStore::new(InMemory::new())
}

#[tokio::test]
async fn passes_the_conformance_suite() {
    integration::put_get_delete_list(&store()).await;
    integration::put_get_attributes(&store()).await;
    integration::get_opts(&store()).await;
    integration::put_opts(&store(), true).await;
    integration::stream_get(&store()).await;
    integration::list_uses_directories_correctly(&store()).await;
    integration::list_with_delimiter(&store()).await;
    integration::list_with_offset_exclusivity(&store()).await;
    integration::rename_and_copy(&store()).await;
    integration::copy_if_not_exists(&store()).await;
    integration::copy_rename_nonexistent_object(&store()).await;
    integration::multipart_race_condition(&store(), true).await;
    integration::multipart_out_of_order(&store()).await;
}

/// The made-up answers are those of a real store: a rule that changes nothing
/// forces every read and listing through them.
#[tokio::test]
async fn passes_the_conformance_suite_with_made_up_answers() {
    let store = || {
        let store = store();
        store.add(Lie::edit(|_| ()));
        store.add(Lie::list(|_| ()));
        store.add(Lie::meta(|_| ()));
        store
    };
    integration::put_get_delete_list(&store()).await;
    integration::put_get_attributes(&store()).await;
    integration::get_opts(&store()).await;
    integration::stream_get(&store()).await;
    integration::list_uses_directories_correctly(&store()).await;
    integration::list_with_delimiter(&store()).await;
    integration::list_with_offset_exclusivity(&store()).await;
    integration::rename_and_copy(&store()).await;
    integration::copy_rename_nonexistent_object(&store()).await;
}

#[tokio::test]
async fn the_journal_has_every_call_in_a_stable_form() {
    let store = store();
    let (a, b) = (Path::from("a"), Path::from("dir/b"));
    store
        .put_opts(&a, "12345".into(), PutMode::Create.into())
        .await
        .unwrap();
    assert!(
        store
            .put_opts(&a, "1".into(), PutMode::Create.into())
            .await
            .is_err()
    );
    let mut upload = store.put_multipart(&b).await.unwrap();
    upload.put_part("123".into()).await.unwrap();
    upload.put_part("4567".into()).await.unwrap();
    upload.complete().await.unwrap();
    let mut upload = store.put_multipart(&b).await.unwrap();
    upload.abort().await.unwrap();
    store.get(&b).await.unwrap().bytes().await.unwrap();
    store.get(&b).await.unwrap();
    store.get_range(&b, 1..3).await.unwrap();
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(2)));
    store
        .get_opts(&b, suffix)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let unless = GetOptions::new().with_if_none_match(Some("\"0\""));
    store.get_opts(&b, unless).await.unwrap();
    store.get_ranges(&b, &[0..1, 5..7]).await.unwrap();
    store.head(&a).await.unwrap();
    store.list(None).try_collect::<Vec<_>>().await.unwrap();
    store
        .list_with_offset(None, &a)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    store
        .list_with_delimiter(Some(&"dir".into()))
        .await
        .unwrap();
    store.copy(&a, &"c".into()).await.unwrap();
    store
        .rename_if_not_exists(&"c".into(), &"d".into())
        .await
        .unwrap();
    store.delete(&a).await.unwrap();

    let expected = "\
put a create, 5 bytes sent
put a create, 1 bytes sent, failed
put_multipart dir/b
put_part dir/b, 3 bytes sent
put_part dir/b, 4 bytes sent
complete dir/b
put_multipart dir/b
abort dir/b
get dir/b, 7 bytes received
get dir/b, 0 bytes received
get dir/b [1..3], 2 bytes received
get dir/b [last 2], 2 bytes received
get dir/b conditional, 0 bytes received
get_ranges dir/b [0..1] [5..7], 3 bytes received
head a
list /, 2 entries
list_with_offset / after a, 1 entries
list_with_delimiter dir, 1 entries
copy a -> c
rename c -> d create
delete a
";
    assert_eq!(store.journal().to_string(), expected);
    assert_eq!(store.count(Op::Get), 5);
    assert_eq!(store.journal().counts()[&Op::PutPart], 2);
    assert_eq!(store.mark(), 21);
    assert_eq!(store.journal().since(20).calls().len(), 1);
    assert_eq!(
        store.journal().only(|call| call.op.writes()).calls().len(),
        11
    );
    assert_eq!(store.journal().calls()[4].upload, Some(2));
}

#[tokio::test]
async fn a_call_that_is_never_answered_stays_pending() {
    let store = store();
    store.add(Lie::StallAfter(0));
    drop(futures_util::poll!(Box::pin(
        store.put(&"a".into(), "x".into())
    )));
    assert_eq!(store.journal().calls()[0].outcome, Outcome::Pending);
}

#[tokio::test]
async fn clients_share_the_store_and_are_told_apart() {
    let store = store();
    let (alice, bob) = (store.client("alice"), store.client("bob"));
    alice.put(&"a".into(), "x".into()).await.unwrap();
    assert_eq!(
        bob.get(&"a".into()).await.unwrap().bytes().await.unwrap(),
        "x"
    );
    assert_eq!(store.journal().by("alice").count(Op::Put), 1);
    assert_eq!(store.journal().by("bob").calls().len(), 1);
}

#[tokio::test]
async fn the_history_keeps_every_version() {
    let store = store();
    let (a, b) = (Path::from("a"), Path::from("b"));
    let put = store.put(&a, "one".into()).await.unwrap();
    store.put(&a, "two".into()).await.unwrap();
    store.rename(&a, &b).await.unwrap();
    store.copy(&b, &a).await.unwrap();
    store.delete(&b).await.unwrap();
    let mut upload = store.put_multipart(&b).await.unwrap();
    let late = upload.put_part("first ".into());
    upload.put_part("second".into()).await.unwrap();
    late.await.unwrap();
    upload.complete().await.unwrap();

    let bytes = |path| {
        let versions = store.history(path).into_iter();
        versions.map(|v| (v.call, v.bytes)).collect::<Vec<_>>()
    };
    let some = |text: &'static str| Some(Bytes::from(text));
    assert_eq!(
        bytes(&a),
        [
            (0, some("one")),
            (1, some("two")),
            (2, None),
            (3, some("two"))
        ]
    );
    assert_eq!(
        bytes(&b),
        [(2, some("two")), (4, None), (8, some("first second"))]
    );
    assert_eq!(store.history(&a)[0].e_tag, put.e_tag);
    assert_eq!(store.paths(), [a.clone(), b.clone()]);
    let contents = store.contents().await.unwrap();
    assert_eq!(
        contents.into_iter().collect::<Vec<_>>(),
        [(a, Bytes::from("two")), (b, Bytes::from("first second"))]
    );
    assert_eq!(store.mark(), 9, "looking at it leaves no trace");
}

#[tokio::test]
async fn a_rename_to_itself_is_remembered_as_what_it_did() {
    let store = store();
    let a = Path::from("a");
    store.put(&a, "x".into()).await.unwrap();
    store.rename(&a, &a).await.unwrap();
    let stored = store.contents().await.unwrap();
    let versions = store.history(&a);
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1].bytes.as_ref(), stored.get(&a));
}

#[tokio::test]
async fn find_looks_everywhere() {
    let store = store();
    let found =
        async |act: &dyn Fn(HostileStore) -> futures_util::future::BoxFuture<'static, ()>| {
            let mark = store.mark();
            act(store.clone()).await;
            let found = store.journal().since(mark).find(b"canary");
            let places: Vec<_> = found.iter().map(|at| (at.call - mark, at.place)).collect();
            places
        };
    let put = |path: &'static str, options: PutOptions| {
        move |store: HostileStore| -> futures_util::future::BoxFuture<'static, ()> {
            let options = options.clone();
            Box::pin(async move {
                store
                    .put_opts(&path.into(), "a canary!".into(), options)
                    .await
                    .unwrap();
            })
        }
    };
    assert_eq!(
        found(&put("a", PutOptions::default())).await,
        [(0, Place::Body)]
    );
    let places = found(&put("canary", PutOptions::default())).await;
    assert_eq!(places, [(0, Place::Path), (0, Place::Body)]);
    let key = Attribute::Metadata("canary".into());
    for attribute in [(key, "x"), (Attribute::ContentType, "canary")] {
        let options = PutOptions::from(Attributes::from_iter([attribute]));
        assert_eq!(
            found(&put("a", options)).await,
            [(0, Place::Body), (0, Place::Attribute)]
        );
    }
    let mut tags = TagSet::default();
    tags.push("k", "canary");
    let options = PutOptions::from(tags);
    assert_eq!(
        found(&put("a", options)).await,
        [(0, Place::Body), (0, Place::Tags)]
    );

    let split = |store: HostileStore| -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(async move {
            let options = PutMultipartOptions::default();
            let mut upload = store
                .put_multipart_opts(&"a".into(), options)
                .await
                .unwrap();
            upload.put_part("can".into()).await.unwrap();
            store.put(&"b".into(), "between".into()).await.unwrap();
            upload.put_part("ary".into()).await.unwrap();
            upload.abort().await.unwrap();
        })
    };
    assert_eq!(found(&split).await, [(0, Place::Body)]);

    let reads = |store: HostileStore| -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(async move {
            store.get(&"x/canary".into()).await.unwrap_err();
            store
                .list(Some(&"canary".into()))
                .try_collect::<Vec<_>>()
                .await
                .unwrap();
            let list = store.list_with_offset(None, &"canary".into());
            list.try_collect::<Vec<_>>().await.unwrap();
            store.copy(&"canary".into(), &"b".into()).await.unwrap();
        })
    };
    let paths: Vec<_> = (0..4).map(|call| (call, Place::Path)).collect();
    assert_eq!(found(&reads).await, paths);
    assert!(store.journal().find(b"").is_empty());
    assert!(store.journal().find(b"no such thing").is_empty());
}

/// Two calls and an upload of four: six calls.
async fn operation(store: &HostileStore) -> Result<()> {
    store.put(&"intent".into(), "begun".into()).await?;
    let mut upload = store.put_multipart(&"data".into()).await?;
    upload.put_part("1".into()).await?;
    upload.put_part("2".into()).await?;
    upload.complete().await?;
    store.delete(&"intent".into()).await
}

#[tokio::test]
async fn crash_cuts_before_every_call() {
    let mut states = Vec::new();
    for k in 0.. {
        let store = store();
        let client = store.client("doomed");
        client.crash(Cut::Before(k));
        let result = operation(&client).await;
        assert_eq!(result.is_err(), client.crashed());
        if !client.crashed() {
            break;
        }
        assert_eq!(store.mark(), k, "call k and later ones never came");
        assert!(client.get(&"intent".into()).await.is_err());
        states.push(
            store
                .contents()
                .await
                .unwrap()
                .into_keys()
                .collect::<Vec<_>>(),
        );
        client.recover();
        operation(&client).await.unwrap();
    }
    let [intent, data] = ["intent", "data"].map(Path::from);
    assert_eq!(
        states,
        [
            vec![],
            vec![intent.clone()],
            vec![intent.clone()],
            vec![intent.clone()],
            vec![intent.clone()],
            vec![data, intent],
        ]
    );
}

#[tokio::test]
async fn crash_cuts_after_every_call() {
    let mut kept = Vec::new();
    for k in 0.. {
        let store = store();
        let client = store.client("doomed");
        client.crash(Cut::After(k));
        let result = operation(&client).await;
        assert_eq!(result.is_err(), client.crashed());
        if !client.crashed() {
            break;
        }
        assert_eq!(store.mark(), k + 1);
        assert!(client.list(None).try_collect::<Vec<_>>().await.is_err());
        assert_eq!(store.mark(), k + 1);
        kept.push(store.contents().await.unwrap().len());
    }
    assert_eq!(kept, [1, 1, 1, 1, 2, 1]);
}

#[tokio::test]
async fn a_crash_is_one_client_s_own() {
    let store = store();
    let (alice, bob) = (store.client("alice"), store.client("bob"));
    alice.crash(Cut::Before(0));
    assert!(alice.head(&"a".into()).await.is_err());
    bob.put(&"a".into(), "x".into()).await.unwrap();
    assert!(!bob.crashed() && !store.crashed());
    assert!(store.client("alice").crashed());
}

#[tokio::test]
async fn a_crash_loses_the_answers_of_reads_too() {
    let store = store();
    store.put(&"a".into(), "x".into()).await.unwrap();
    store.crash(Cut::After(1));
    assert!(store.get(&"a".into()).await.is_ok());
    assert!(store.get_ranges(&"a".into(), &[0..1, 0..1]).await.is_err());
    assert!(store.get(&"a".into()).await.is_err());
    assert_eq!(store.mark(), 3);
}

#[test]
fn handles_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    shareable::<HostileStore>();
}
