//! The vault as an `ObjectStore`: what each call costs beside the bare store, and the traps
//! (T1 to T18) into which stores that encrypt have fallen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use kluis::{EncryptedStore, Error, Vault};
use kluis_adversary::{Fault, HostileStore, Lie, Op, Rule};
use kluis_tests::{
    CHUNK, as_store, hostile_vault, is_signed, open, options, pattern, phrase, stores, words,
};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, Error as StoreError, GetOptions, GetRange,
    GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, TagSet, UpdateVersion,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Counts = BTreeMap<Op, usize>;

const MIB: usize = 1 << 20;

fn path(text: &str) -> Path {
    Path::from(text)
}

/// A vault as a store, and the store that it lies in.
async fn scene() -> (HostileStore, Vault, Arc<EncryptedStore>) {
    let (below, vault) = hostile_vault().await;
    let store = vault.object_store();
    (below, vault, store)
}

async fn put(store: &dyn ObjectStore, at: &str, content: impl Into<PutPayload>) -> PutResult {
    store.put(&path(at), content.into()).await.unwrap()
}

async fn get(store: &dyn ObjectStore, at: &str) -> Bytes {
    store.get(&path(at)).await.unwrap().bytes().await.unwrap()
}

async fn parts(store: &dyn ObjectStore, at: &str, sizes: &[usize]) -> Vec<u8> {
    let content = pattern(sizes.iter().sum());
    let mut upload = store.put_multipart(&path(at)).await.unwrap();
    let mut from = 0;
    for size in sizes {
        let part = content[from..from + size].to_vec();
        upload.put_part(part.into()).await.unwrap();
        from += size;
    }
    upload.complete().await.unwrap();
    content
}

/// What a call costs.
async fn cost<T>(store: &HostileStore, call: impl Future<Output = T>) -> (T, Counts) {
    let mark = store.mark();
    let done = call.await;
    (done, store.journal().since(mark).counts())
}

/// What one after the other of the calls of a program costs on a store.
async fn costs(below: &HostileStore, store: &dyn ObjectStore) -> Vec<(&'static str, Counts)> {
    let mut all = Vec::new();
    macro_rules! costs {
        ($name:literal, $call:expr) => {{
            let (done, counts) = cost(below, $call).await;
            all.push(($name, counts));
            done
        }};
    }
    let (a, b, gone) = (path("t/a"), path("t/b"), path("t/gone"));
    let first = costs!("put", store.put(&a, pattern(5 * CHUNK).into())).unwrap();
    let update = PutMode::Update(first.into());
    let again = pattern(6 * CHUNK);
    costs!("update", store.put_opts(&a, again.into(), update.into())).unwrap();
    let create = || PutMode::Create.into();
    costs!("create", store.put_opts(&b, "b".into(), create())).unwrap();
    costs!("create again", store.put_opts(&b, "c".into(), create())).unwrap_err();
    costs!("get", async { store.get(&a).await?.bytes().await }).unwrap();
    costs!("head", store.head(&a)).unwrap();
    costs!("head of nothing", store.head(&gone)).unwrap_err();
    costs!("get of nothing", store.get(&gone))
        .map(drop)
        .unwrap_err();
    costs!("range", store.get_range(&a, 70_000..70_010)).unwrap();
    costs!("range near the start", store.get_range(&a, 7..9)).unwrap();
    let suffix = || GetOptions::new().with_range(Some(GetRange::Suffix(9)));
    costs!("suffix", async {
        store.get_opts(&a, suffix()).await?.bytes().await
    })
    .unwrap();
    let ranges = [0..10, 40_000..40_010, 80_000..80_005];
    costs!("ranges", store.get_ranges(&a, &ranges)).unwrap();
    let e_tag = store.head(&a).await.unwrap().e_tag;
    let modified = || GetOptions::new().with_if_none_match(e_tag.clone());
    costs!("not modified", store.get_opts(&a, modified()))
        .map(drop)
        .unwrap_err();
    let matches = || GetOptions::new().with_if_match(Some("another"));
    let modified = || modified().with_head(true);
    costs!("head, not modified", store.get_opts(&a, modified()))
        .map(drop)
        .unwrap_err();
    costs!("no match", store.get_opts(&a, matches()))
        .map(drop)
        .unwrap_err();
    costs!("list", store.list(None).try_collect::<Vec<_>>()).unwrap();
    let t = path("t");
    costs!("list with delimiter", store.list_with_delimiter(Some(&t))).unwrap();
    costs!(
        "upload in parts",
        parts(store, "t/parts", &[9 * MIB, 8 * MIB])
    );
    let both = stream::iter([Ok(a), Ok(b)]).boxed();
    costs!("delete", store.delete_stream(both).try_collect::<Vec<_>>()).unwrap();
    all
}

/// But for what has to cost more, every call costs the requests that the bare store takes.
#[tokio::test]
async fn every_call_costs_what_the_bare_store_takes() {
    let bare = HostileStore::new(InMemory::new());
    let bare = costs(&bare, &bare).await;
    let (below, vault, store) = scene().await;
    drop(vault);
    let encrypted = costs(&below, &*store).await;
    for ((name, bare), (_, mut encrypted)) in bare.into_iter().zip(encrypted) {
        // The bare store has calls of these names where it sends what ours sends.
        let get = |counts: &Counts| {
            [Op::Get, Op::Head, Op::GetRanges]
                .iter()
                .filter_map(|op| counts.get(op))
                .sum::<usize>()
        };
        let expected = match name {
            // The header is still known from the whole read before: one and no more.
            // In a signed vault so are not the hashes of these chunks.
            "range near the start" if is_signed() => 2,
            "range" | "suffix" | "range near the start" | "ranges" => 1,
            // It looks whether what is there is its own (T18).
            "create again" => 1,
            _ => get(&bare),
        };
        assert_eq!(get(&encrypted), expected, "{name}");
        // 17 MB are parts of 8 MiB here.
        if name == "upload in parts" {
            assert_eq!(encrypted.remove(&Op::PutPart), Some(3));
        }
        for (op, count) in bare {
            let is_read = matches!(op, Op::Get | Op::Head | Op::GetRanges | Op::PutPart);
            assert!(
                is_read || encrypted.get(&op) == Some(&count),
                "{name}: {op:?}"
            );
        }
        let total: usize = encrypted.values().sum();
        assert!(total <= 5, "{name}: {encrypted:?}");
    }
    // The exceptions: the header before the first range of an object, the end before the
    // first whole read of a large one, a copy and a rename, which read and write. In a
    // signed vault the first range asks for the signature and the hashes too, and with it
    // knows the end.
    let (ranges, wholes) = match is_signed() {
        false => ([2, 1], [2, 1]),
        true => ([4, 1], [1, 1]),
    };
    let store = open(&below).await.unwrap().object_store();
    put(&*store, "x", pattern(3 * MIB)).await;
    let x = path("x");
    for gets in ranges {
        let (got, counts) = cost(&below, store.get_range(&x, MIB as u64..MIB as u64 + 9)).await;
        got.unwrap();
        assert_eq!(counts, [(Op::Get, gets)].into());
    }
    for gets in wholes {
        let (_, counts) = cost(&below, get(&*store, "x")).await;
        assert_eq!(counts, [(Op::Get, gets)].into());
    }
    put(&*store, "y", "y").await;
    let (copied, counts) = cost(&below, store.copy(&path("y"), &path("z"))).await;
    copied.unwrap();
    assert_eq!(counts, [(Op::Get, 1), (Op::Put, 1)].into());
    let (renamed, counts) = cost(&below, store.rename(&path("y"), &path("z"))).await;
    renamed.unwrap();
    assert_eq!(counts, [(Op::Get, 1), (Op::Put, 1), (Op::Delete, 1)].into());
    let listed = store.list_with_offset(None, &path("x")).try_collect();
    let (listed, counts) = cost(&below, listed).await;
    let listed: Vec<ObjectMeta> = listed.unwrap();
    assert_eq!(listed[0].location, path("z"));
    assert_eq!(counts, [(Op::List, 1)].into());
}

/// T1: sizes are those of the contents, everywhere, and listing them takes no more.
#[tokio::test]
async fn t1_sizes_are_those_of_the_contents() {
    let (below, _, store) = scene().await;
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK];
    for size in sizes {
        put(&*store, &format!("d/{size:05}"), pattern(size)).await;
    }
    let (listed, counts) = cost(&below, store.list(None).try_collect::<Vec<_>>()).await;
    assert_eq!(counts, [(Op::List, 1)].into());
    let (folder, counts) = cost(&below, store.list_with_delimiter(Some(&path("d")))).await;
    assert_eq!(counts, [(Op::ListWithDelimiter, 1)].into());
    for metas in [listed.unwrap(), folder.unwrap().objects] {
        assert_eq!(metas.len(), sizes.len());
        for meta in metas {
            let size: u64 = meta.location.filename().unwrap().parse().unwrap();
            assert_eq!(meta.size, size);
            assert_eq!(store.head(&meta.location).await.unwrap(), meta);
            let got = store.get(&meta.location).await.unwrap();
            assert_eq!(
                (got.meta.clone(), got.range.clone()),
                (meta.clone(), 0..size)
            );
            if size > 2 {
                let options = GetOptions::new().with_range(Some(1..2));
                let got = store.get_opts(&meta.location, options).await.unwrap();
                assert_eq!((got.meta.clone(), got.range), (meta, 1..2));
            }
        }
    }
}

/// T2, T9, T10: ranges past the end, suffixes and offsets, cold and warm, on every store.
#[tokio::test]
async fn t2_t9_ranges_are_those_of_object_store() {
    let (stores, _folder) = stores();
    for (kind, below) in stores {
        let vault = options().create(below, phrase(&words())).await.unwrap();
        let (store, bare) = (vault.object_store(), InMemory::new());
        for size in [1, 300, CHUNK, 5 * CHUNK + 3] {
            let (at, content) = (path(&format!("s/{size}")), pattern(size));
            bare.put(&at, content.clone().into()).await.unwrap();
            store.put(&at, content.into()).await.unwrap();
            let n = size as u64;
            let ranges = [
                GetRange::Bounded(0..1),
                GetRange::Bounded(n - 1..n + 70_000),
                GetRange::Bounded(0..u64::MAX / 2),
                GetRange::Bounded(n..n + 1),
                GetRange::Bounded(n + 9..n + 10),
                GetRange::Bounded(n / 2..n),
                GetRange::Offset(0),
                GetRange::Offset(n - 1),
                GetRange::Offset(n),
                GetRange::Offset(n + 1),
                GetRange::Suffix(1),
                GetRange::Suffix(n),
                GetRange::Suffix(n + 1),
            ];
            for range in ranges {
                let options = || GetOptions::new().with_range(Some(range.clone()));
                let expected = bare.get_opts(&at, options()).await;
                for round in ["cold", "warm"] {
                    let what = format!("{kind}, {size}: {range:?}, {round}");
                    match (&expected, store.get_opts(&at, options()).await) {
                        (Ok(expected), Ok(got)) => {
                            assert_eq!(got.range, expected.range, "{what}");
                            assert_eq!(got.meta.size, expected.meta.size, "{what}");
                            let (from, to) = (got.range.start as usize, got.range.end as usize);
                            let bytes = got.bytes().await.unwrap();
                            assert!(bytes == pattern(size)[from..to], "{what}");
                        }
                        (Err(_), Err(_)) => {}
                        (expected, got) => panic!("{what}: {expected:?}, {got:?}"),
                    }
                }
            }
        }
    }
}

/// T9: no suffix is asked of the store, which need not know them.
#[tokio::test]
async fn t9_suffixes_are_asked_for_as_ranges() {
    let (below, _, store) = scene().await;
    put(&*store, "x", pattern(2 * MIB)).await;
    for _ in 0..2 {
        let options = GetOptions::new().with_range(Some(GetRange::Suffix(100)));
        let got = store.get_opts(&path("x"), options).await.unwrap();
        assert_eq!(got.range, 2 * MIB as u64 - 100..2 * MIB as u64);
        assert!(got.bytes().await.unwrap() == pattern(2 * MIB)[2 * MIB - 100..]);
    }
    let all = below.journal();
    let ranges = all.calls().iter().flat_map(|call| &call.ranges);
    assert!(
        !ranges
            .clone()
            .any(|range| matches!(range, GetRange::Suffix(_)))
    );
    assert!(ranges.count() > 0);
}

/// T3: whatever parts a program gives, those that go to the store are as S3 wants them.
#[tokio::test]
async fn t3_parts_are_of_one_size_and_large_enough() {
    let (below, _, store) = scene().await;
    for (n, sizes) in [
        vec![5 * MIB, 5 * MIB, 5 * MIB, 1],
        vec![1; 100],
        vec![7 * MIB + 13, 3, 11 * MIB, 0, 6 * MIB],
        vec![20 * MIB],
        vec![5 * MIB; 5],
    ]
    .into_iter()
    .enumerate()
    {
        let mark = below.mark();
        let at = format!("p/{n}");
        let content = parts(&*store, &at, &sizes).await;
        assert!(get(&*store, &at).await == content, "{sizes:?}");
        let journal = below
            .journal()
            .since(mark)
            .only(|call| call.op == Op::PutPart);
        let sent: Vec<usize> = journal.calls().iter().map(|call| call.sent.len()).collect();
        if let Some((_last, others)) = sent.split_last() {
            assert!(others.iter().all(|size| *size >= 5 * MIB), "{sent:?}");
            assert!(others.windows(2).all(|pair| pair[0] == pair[1]), "{sent:?}");
        }
    }
}

/// T4: the order of the bytes is that of the calls, whatever is waited for first.
#[tokio::test]
async fn t4_parts_count_in_the_order_of_the_calls() {
    let (below, _, store) = scene().await;
    let content = pattern(12 * MIB);
    let mut upload = store.put_multipart(&path("x")).await.unwrap();
    let mut waiting: Vec<_> = content
        .chunks(MIB + 7)
        .map(|part| upload.put_part(part.to_vec().into()))
        .collect();
    waiting.reverse();
    for part in waiting {
        part.await.unwrap();
    }
    let done = upload.complete().await.unwrap();
    assert_eq!(done.e_tag, store.head(&path("x")).await.unwrap().e_tag);
    assert!(get(&*store, "x").await == content);
    // Parts that nobody waits for are there as well.
    let mut upload = store.put_multipart(&path("x")).await.unwrap();
    for part in content.chunks(3 * MIB) {
        drop(upload.put_part(part.to_vec().into()));
    }
    upload.complete().await.unwrap();
    assert!(get(&*store, "x").await == content);
    upload.complete().await.unwrap_err();
    upload.put_part("more".into()).await.unwrap_err();
    // None at all are an empty object.
    let mut upload = store.put_multipart(&path("none")).await.unwrap();
    upload.complete().await.unwrap();
    assert!(get(&*store, "none").await.is_empty());
    // One that is given up, or forgotten, leaves what was there, and nothing else.
    let stored = below.contents().await.unwrap();
    for is_aborted in [true, false] {
        let mut upload = store.put_multipart(&path("x")).await.unwrap();
        upload.put_part(pattern(10 * MIB).into()).await.unwrap();
        if is_aborted {
            upload.abort().await.unwrap();
            assert_eq!(below.count(Op::Abort), 1);
        } else {
            drop(upload);
            while below.count(Op::Abort) < 2 {
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(below.contents().await.unwrap() == stored);
    assert!(get(&*store, "x").await == content);
}

/// T4: an upload that fails says so to whoever waits, and is gone.
#[tokio::test]
async fn t4_an_upload_that_fails_says_so() {
    let (below, _, store) = scene().await;
    let fails = below.add(Rule::new(Lie::FailBefore(Fault::PermissionDenied)).on(Op::PutPart));
    let mut upload = store.put_multipart(&path("x")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..40 {
        if let Err(error) = upload.put_part(pattern(MIB).into()).await {
            seen.push(error);
        }
    }
    seen.push(upload.complete().await.unwrap_err());
    assert!(matches!(&seen[0], StoreError::PermissionDenied { path, .. } if path == "x"));
    below.remove(fails);
    store.head(&path("x")).await.unwrap_err();
    // Without a right to write there is not even an upload.
    let denied =
        below.add(Rule::new(Lie::FailBefore(Fault::PermissionDenied)).on(Op::PutMultipart));
    let options = Attributes::from_iter([(Attribute::ContentType, "x".repeat(400))]);
    let refused = store.put_multipart_opts(&path("x"), options.into()).await;
    assert!(matches!(refused, Err(StoreError::PermissionDenied { .. })));
    below.remove(denied);
}

/// T6: what may not replace is one request to the store, or nothing.
#[tokio::test]
async fn t6_nothing_large_replaces_by_accident() {
    let (below, _, store) = scene().await;
    let large = pattern(20 * MIB);
    let (done, counts) = cost(
        &below,
        store.put_opts(&path("x"), large.clone().into(), PutMode::Create.into()),
    )
    .await;
    done.unwrap();
    assert_eq!(counts, [(Op::Put, 1)].into());
    let again = store
        .put_opts(&path("x"), "other".into(), PutMode::Create.into())
        .await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { path, .. }) if path == "x"));
    let refused = store.copy_if_not_exists(&path("x"), &path("y")).await;
    assert!(
        matches!(refused, Err(StoreError::NotImplemented { .. })),
        "{refused:?}"
    );
    store.head(&path("y")).await.unwrap_err();
    put(&*store, "small", "small").await;
    store
        .copy_if_not_exists(&path("small"), &path("y"))
        .await
        .unwrap();
    let create = CopyOptions::new().with_mode(CopyMode::Create);
    let refused = store.copy_opts(&path("small"), &path("x"), create).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists { path, .. }) if path == "x"));
    let create = RenameOptions::new().with_target_mode(RenameTargetMode::Create);
    let refused = store.rename_opts(&path("small"), &path("y"), create).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists { path, .. }) if path == "y"));
    assert!(get(&*store, "x").await == large && get(&*store, "small").await == "small");
}

/// T7: bytes that the provider copies are no copy.
#[tokio::test]
async fn t7_an_object_belongs_to_its_place() {
    let (below, _, store) = scene().await;
    put(&*store, "a", "one").await;
    put(&*store, "b", "two").await;
    let all = below.contents().await.unwrap();
    let objects: Vec<Path> = all
        .keys()
        .filter(|p| p.as_ref().starts_with("o/"))
        .cloned()
        .collect();
    let inner = below.inner();
    inner.copy(&objects[0], &objects[1]).await.unwrap();
    let mut failed = 0;
    for at in ["a", "b"] {
        match store.get(&path(at)).await {
            Ok(_) => {}
            Err(error) => {
                failed += 1;
                assert!(
                    matches!(Error::of(&error), Some(Error::Tampered { .. })),
                    "{error}"
                );
                assert!(matches!(error, StoreError::Generic { .. }));
            }
        }
    }
    assert_eq!(failed, 1);
}

/// T8: a range is of one version of the object, and a replaced one is read anew, once.
#[tokio::test]
async fn t8_ranges_are_of_one_version() {
    let (below, vault, _) = scene().await;
    let (old, new) = (vec![b'o'; 3 * MIB], vec![b'n'; 4 * MIB]);
    let range = MIB as u64..MIB as u64 + 10;
    for warm in [false, true] {
        let store = open(&below).await.unwrap().object_store();
        put(&*store, "x", old.clone()).await;
        if warm {
            store.get_range(&path("x"), range.clone()).await.unwrap();
        }
        // Replaced before the second request of the next read.
        let (writer, content) = (open(&below).await.unwrap(), new.clone());
        let done = Arc::new(Mutex::new(false));
        let race = Lie::race(move || {
            let (writer, content, done) = (writer.clone(), content.clone(), Arc::clone(&done));
            async move {
                let first = !std::mem::replace(&mut *done.lock().unwrap(), true);
                if first {
                    writer.put("x", content).await.unwrap();
                }
            }
        });
        let skip = u64::from(!warm);
        let rule = below.add(Rule::new(race).on(Op::Get).skip(skip));
        let got = store.get_range(&path("x"), range.clone()).await.unwrap();
        assert_eq!(got, "nnnnnnnnnn", "warm: {warm}");
        below.remove(rule);
        // Who named the version is told.
        let e_tag = store.head(&path("x")).await.unwrap().e_tag;
        let options = || {
            let options = GetOptions::new().with_if_match(e_tag.clone());
            options.with_range(Some(range.clone()))
        };
        store.get_opts(&path("x"), options()).await.unwrap();
        vault.put("x", old.clone()).await.unwrap();
        let refused = store.get_opts(&path("x"), options()).await;
        assert!(matches!(refused, Err(StoreError::Precondition { path, .. }) if path == "x"));
    }
}

/// T8: a store that overlooks the condition of a warm read changes nothing.
#[tokio::test]
async fn t8_a_store_without_conditions_is_read_all_the_same() {
    let (below, vault, store) = scene().await;
    let range = 70_000..70_010;
    put(&*store, "x", vec![b'o'; 100_000]).await;
    store.get_range(&path("x"), range.clone()).await.unwrap();
    let other = open(&below).await.unwrap();
    other.put("x", vec![b'n'; 100_000]).await.unwrap();
    below.add(Lie::IgnoreConditional);
    assert_eq!(
        store.get_range(&path("x"), range).await.unwrap(),
        "nnnnnnnnnn"
    );
    drop(vault);
}

/// What a store was asked, versions as Google has them, and deletions in batches as S3 has
/// them: one error for a batch that failed.
#[derive(Debug, Default)]
struct Versioned {
    inner: Arc<InMemory>,
    failing: Arc<AtomicUsize>,
    asked: Mutex<Vec<GetOptions>>,
    put: Mutex<Vec<PutOptions>>,
}

impl std::fmt::Display for Versioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Versioned")
    }
}

const GENERATION: &str = "generation 7";

#[async_trait::async_trait]
impl ObjectStore for Versioned {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.put.lock().unwrap().push(options.clone());
        let mut done = self.inner.put_opts(location, payload, options).await?;
        done.version = Some(GENERATION.to_owned());
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.asked.lock().unwrap().push(options.clone());
        let options = options.with_version(None::<String>);
        let mut got = self.inner.get_opts(location, options).await?;
        got.meta.version = Some(GENERATION.to_owned());
        got.extensions.insert(7_u8);
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let (inner, failing) = (Arc::clone(&self.inner), Arc::clone(&self.failing));
        let batches = locations.chunks(3).then(move |batch| {
            let (inner, failing) = (Arc::clone(&inner), Arc::clone(&failing));
            async move {
                let left = failing.load(Ordering::SeqCst);
                if left > 0 {
                    failing.store(left - 1, Ordering::SeqCst);
                    return vec![Err(Fault::Generic.error(&Path::default()))];
                }
                let batch = stream::iter(batch).boxed();
                inner.delete_stream(batch).collect::<Vec<_>>().await
            }
        });
        batches.map(stream::iter).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// T11: e-tags, versions and extensions go through unchanged, both ways.
#[tokio::test]
async fn t11_what_names_a_version_goes_through() {
    let below = Arc::new(Versioned::default());
    let vault = options()
        .create(Arc::clone(&below) as _, phrase(&words()))
        .await
        .unwrap();
    let store = vault.object_store();
    let done = put(&*store, "x", pattern(200_000)).await;
    assert_eq!(done.version.as_deref(), Some(GENERATION));
    let head = store.head(&path("x")).await.unwrap();
    assert_eq!((&head.e_tag, &head.version), (&done.e_tag, &done.version));
    // Every write is a new version, also of the same content.
    let again = put(&*store, "x", pattern(200_000)).await;
    assert_ne!(again.e_tag, done.e_tag);
    let update = UpdateVersion {
        e_tag: again.e_tag.clone(),
        version: again.version.clone(),
    };
    let mut options = PutOptions::from(PutMode::Update(update.clone()));
    options.extensions.insert("a span");
    below.put.lock().unwrap().clear();
    store
        .put_opts(&path("x"), "new".into(), options.clone())
        .await
        .unwrap();
    let sent = below.put.lock().unwrap().pop().unwrap();
    assert_eq!(sent.mode, PutMode::Update(update));
    assert_eq!(sent.extensions.get(), Some(&"a span"));
    let late = store.put_opts(&path("x"), "late".into(), options).await;
    assert!(matches!(late, Err(StoreError::Precondition { path, .. }) if path == "x"));
    // Of a read too.
    put(&*store, "x", pattern(200_000)).await;
    for _ in 0..2 {
        below.asked.lock().unwrap().clear();
        let mut options = GetOptions::new()
            .with_version(Some("an older one"))
            .with_range(Some(150_000..150_001));
        options.extensions.insert("a span");
        let got = store.get_opts(&path("x"), options).await.unwrap();
        assert_eq!(got.extensions.get(), Some(&7_u8));
        for asked in below.asked.lock().unwrap().iter() {
            assert_eq!(asked.version.as_deref(), Some("an older one"));
            assert_eq!(asked.extensions.get(), Some(&"a span"));
        }
    }
    // Polling for what is new costs no more than that.
    let e_tag = store.head(&path("x")).await.unwrap().e_tag;
    let options = || GetOptions::new().with_if_none_match(e_tag.clone());
    for options in [
        options(),
        options().with_range(Some(1..2)),
        options().with_head(true),
    ] {
        let same = store.get_opts(&path("x"), options).await;
        let Err(StoreError::NotModified { path, .. }) = same else {
            panic!("{same:?}");
        };
        assert_eq!(path, "x");
    }
}

/// T12: an error names the path that was asked for, and nothing of the store's own.
#[tokio::test]
async fn t12_errors_name_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let below = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let vault = options()
        .create(Arc::new(below), phrase(&words()))
        .await
        .unwrap();
    let store = vault.object_store_at("top").unwrap();
    let (here, gone) = (path("dir/here"), path("dir/gone"));
    store.put(&here, "x".into()).await.unwrap();
    let missing = stream::iter([Ok(here.clone()), Ok(gone.clone())]).boxed();
    let deleted: Vec<_> = store.delete_stream(missing).collect().await;
    assert_eq!(deleted[0].as_ref().unwrap(), &here);
    store.put(&here, "x".into()).await.unwrap();
    let errors = [
        deleted.into_iter().nth(1).unwrap().unwrap_err(),
        store.head(&gone).await.unwrap_err(),
        store.get(&gone).await.unwrap_err(),
        store
            .get_ranges(&gone, &[Range { start: 0, end: 1 }])
            .await
            .unwrap_err(),
        store.copy(&gone, &here).await.unwrap_err(),
        store.rename(&gone, &here).await.unwrap_err(),
        store.copy_if_not_exists(&here, &here).await.unwrap_err(),
        store
            .put_opts(&here, "x".into(), PutMode::Create.into())
            .await
            .unwrap_err(),
    ];
    let disk = folder.path().to_str().unwrap();
    for (n, error) in errors.iter().enumerate() {
        let expected = if n < 6 { &gone } else { &here };
        match error {
            StoreError::NotFound { path, .. } if n < 6 => assert_eq!(path, expected.as_ref()),
            StoreError::AlreadyExists { path, .. } => assert_eq!(path, expected.as_ref()),
            other => panic!("{n}: {other:?}"),
        }
        let text = format!("{error} {error:?}");
        assert!(!text.contains(disk) && !text.contains("o/"), "{n}: {text}");
    }
    // What is no path of a vault.
    for bad in [Path::default(), path(&"x".repeat(9_000))] {
        store.put(&bad, "x".into()).await.unwrap_err();
        store.get(&bad).await.unwrap_err();
        store.put_multipart(&bad).await.map(drop).unwrap_err();
    }
}

/// T13: names are encrypted, and yet in order, folder by folder; what is foreign stays.
#[tokio::test]
async fn t13_listings_are_those_of_the_names() {
    let (below, _, store) = scene().await;
    let names = [
        "b",
        "a/z",
        "a/b/c",
        "a/é x",
        "a/%41",
        "A",
        &format!("a/{}", "l".repeat(300)),
    ];
    for name in names {
        let at = Path::parse(name).unwrap();
        store.put(&at, name.to_owned().into()).await.unwrap();
    }
    let plain = Path::from("o/a plain object");
    below.inner().put(&plain, "plain".into()).await.unwrap();
    below
        .inner()
        .put(&Path::from("beside"), "plain".into())
        .await
        .unwrap();
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let mut found: Vec<&str> = listed.iter().map(|meta| meta.location.as_ref()).collect();
    found.sort_unstable();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let top = store.list_with_delimiter(None).await.unwrap();
    let top: Vec<&str> = top
        .objects
        .iter()
        .map(|meta| meta.location.as_ref())
        .collect();
    assert_eq!(top, ["A", "b"]);
    let a = store.list_with_delimiter(Some(&path("a"))).await.unwrap();
    assert_eq!(a.common_prefixes, [path("a/b")]);
    assert!(a.objects.is_sorted_by_key(|meta| meta.location.clone()));
    assert_eq!(a.objects.len(), 4);
    // Whole segments: nothing is named `a/l`.
    for prefix in ["a/l", "nothing", "b"] {
        let none: Vec<_> = store.list(Some(&path(prefix))).try_collect().await.unwrap();
        assert!(none.is_empty(), "{prefix}");
    }
    let offset = store.list_with_offset(None, &path("a/z")).try_collect();
    let offset: Vec<ObjectMeta> = offset.await.unwrap();
    let mut offset: Vec<_> = offset.iter().map(|meta| meta.location.as_ref()).collect();
    offset.sort_unstable();
    assert_eq!(offset, ["a/é x", "b"]);
    // Nothing that is plain is returned, and nothing of it is lost.
    store.get(&path("a plain object")).await.unwrap_err();
    let all = store.list(None).map_ok(|meta| meta.location).boxed();
    store
        .delete_stream(all)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert_eq!(store.list(None).count().await, 0);
    let left = below.contents().await.unwrap();
    assert!(left.contains_key(&plain) && left.contains_key(&Path::from("beside")));
    // Of long names nothing stays behind.
    assert_eq!(
        left.keys().filter(|p| p.as_ref().starts_with("o/")).count(),
        1
    );
}

/// T14: attributes are sealed, also where the store has none; tags are not sent.
#[tokio::test]
async fn t14_attributes_are_sealed() {
    let secret = Attributes::from_iter([
        (Attribute::ContentType, "text/x-secret"),
        (Attribute::Metadata("slatedbputid".into()), "01J-secret"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let (below, vault, _) = scene().await;
    let in_folder = options()
        .create(Arc::new(local), phrase(&words()))
        .await
        .unwrap();
    for vault in [vault, in_folder] {
        let store = vault.object_store();
        let mut options = PutOptions::from(secret.clone());
        let mut tags = TagSet::default();
        tags.push("secret", "secret");
        options.tags = tags;
        store
            .put_opts(&path("x"), "x".into(), options)
            .await
            .unwrap();
        let mut upload = store
            .put_multipart_opts(&path("y"), secret.clone().into())
            .await
            .unwrap();
        upload.complete().await.unwrap();
        for at in ["x", "y"] {
            assert_eq!(store.get(&path(at)).await.unwrap().attributes, secret);
            let head = GetOptions::new().with_head(true);
            let head = store.get_opts(&path(at), head).await.unwrap();
            assert_eq!(head.attributes, secret);
        }
        store.copy(&path("x"), &path("z")).await.unwrap();
        assert_eq!(store.get(&path("z")).await.unwrap().attributes, secret);
    }
    assert!(below.journal().find(b"secret").is_empty());
    // But for what the store is to do with it.
    let store = open(&below).await.unwrap().object_store();
    let class = Attributes::from_iter([(Attribute::StorageClass, "COLD")]);
    let mark = below.mark();
    store
        .put_opts(&path("cold"), "x".into(), class.clone().into())
        .await
        .unwrap();
    let sent = below.journal().since(mark).calls()[0].attributes.clone();
    assert_eq!(sent, class);
    assert!(
        store
            .get(&path("cold"))
            .await
            .unwrap()
            .attributes
            .is_empty()
    );
}

/// T15: what a folder hands out as a file is a stream of the content.
#[tokio::test]
async fn t15_no_file_is_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let below = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let vault = options()
        .create(Arc::new(below), phrase(&words()))
        .await
        .unwrap();
    let store = vault.object_store();
    for size in [0, 10, 3 * MIB] {
        put(&*store, "x", pattern(size)).await;
        let got = store.get(&path("x")).await.unwrap();
        assert!(matches!(got.payload, GetResultPayload::Stream(_)));
        assert!(got.bytes().await.unwrap() == pattern(size));
    }
}

/// T16: a store that cannot update says so, and none overwrites in silence.
#[tokio::test]
async fn t16_what_a_store_cannot_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let below = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let vault = options()
        .create(Arc::new(below), phrase(&words()))
        .await
        .unwrap();
    let store = vault.object_store();
    let done = put(&*store, "x", "x").await;
    let update = PutMode::Update(done.into());
    let refused = store.put_opts(&path("x"), "y".into(), update.into()).await;
    assert!(
        matches!(refused, Err(StoreError::NotImplemented { .. })),
        "{refused:?}"
    );
    assert_eq!(get(&*store, "x").await, "x");
}

/// T17: deletions come back in their order, each with its own result.
#[tokio::test]
async fn t17_deletions_keep_their_order() {
    let (below, vault, store) = scene().await;
    for n in 0..300 {
        put(&*store, &format!("d/{n}"), "x").await;
    }
    let denied = below.add(
        Rule::new(Lie::FailBefore(Fault::PermissionDenied))
            .on(Op::Delete)
            .skip(3)
            .times(1),
    );
    let asked: Vec<Path> = (0..300).map(|n| path(&format!("d/{n}"))).collect();
    let mut input: Vec<object_store::Result<Path>> = asked.iter().cloned().map(Ok).collect();
    input.insert(2, Ok(Path::default()));
    input.insert(
        7,
        Err(StoreError::NotSupported {
            source: "an error of the caller".into(),
        }),
    );
    let deleted = store.delete_stream(stream::iter(input).boxed());
    // The stream outlives the store that it is of.
    drop((store, vault));
    let mut results: Vec<_> = deleted.collect().await;
    assert_eq!(results.len(), 302);
    assert!(matches!(
        results.remove(7),
        Err(StoreError::NotSupported { .. })
    ));
    assert!(results.remove(2).is_err());
    let failed = results.iter().filter(|r| r.is_err()).count();
    assert_eq!(failed, 1);
    for (asked, result) in asked.iter().zip(results) {
        match result {
            Ok(path) => assert_eq!(path, *asked),
            Err(StoreError::PermissionDenied { path, .. }) => assert_eq!(path, asked.as_ref()),
            Err(other) => panic!("{other:?}"),
        }
    }
    below.remove(denied);
}

/// T17: one error stands for a whole batch, and no answer is taken for another's.
#[tokio::test]
async fn t17_a_batch_that_fails_is_nobody_elses() {
    let below = Arc::new(Versioned::default());
    let vault = options()
        .create(Arc::clone(&below) as _, phrase(&words()))
        .await
        .unwrap();
    let store = vault.object_store();
    let mut asked: Vec<Path> = (0..8).map(|n| path(&format!("d/{n}"))).collect();
    asked[1] = path(&format!("d/{}", "l".repeat(300)));
    for at in &asked {
        store.put(at, "x".into()).await.unwrap();
    }
    below.failing.store(1, Ordering::SeqCst);
    let input = asked.clone().into_iter().map(Ok);
    let results: Vec<_> = store
        .delete_stream(stream::iter(input).boxed())
        .collect()
        .await;
    let are_gone: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(
        are_gone,
        [false, false, false, true, true, true, true, true]
    );
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let mut left: Vec<Path> = listed.into_iter().map(|meta| meta.location).collect();
    left.sort_unstable();
    let mut expected = asked[..3].to_vec();
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// T18: a write that was carried out and reported failed is not done twice.
#[tokio::test]
async fn t18_a_create_that_meets_itself_has_succeeded() {
    let (below, _, store) = scene().await;
    below.add(
        Rule::new(Lie::FailAfter(Fault::AlreadyExists))
            .on(Op::Put)
            .times(1),
    );
    let created = store
        .put_opts(&path("x"), "x".into(), PutMode::Create.into())
        .await;
    assert_eq!(
        created.unwrap().e_tag,
        store.head(&path("x")).await.unwrap().e_tag
    );
    assert_eq!(get(&*store, "x").await, "x");
}

/// What is known of an object that grows, or is gone, does not stand in the place of what
/// is there, also where nothing of it would be read.
#[tokio::test]
async fn an_empty_rest_is_asked_for() {
    let (below, vault, store) = scene().await;
    let other = open(&below).await.unwrap();
    for content in ["", "one line"] {
        other.put("log", content).await.unwrap();
        let end = content.len() as u64;
        let rest = async || {
            let part = vault.get_part("log", GetRange::Offset(end)).await?;
            part.bytes().await
        };
        for _ in 0..2 {
            assert_eq!(rest().await.unwrap(), "");
        }
        other
            .put("log", format!("{content}, and more"))
            .await
            .unwrap();
        assert_eq!(rest().await.unwrap(), ", and more");
        other.put("log", "").await.unwrap();
        let suffix = || GetOptions::new().with_range(Some(GetRange::Suffix(1_024)));
        store.get_opts(&path("log"), suffix()).await.unwrap();
        let e_tag = store.head(&path("log")).await.unwrap().e_tag;
        let same = suffix().with_if_none_match(e_tag);
        let same = store.get_opts(&path("log"), same).await;
        assert!(
            matches!(same, Err(StoreError::NotModified { .. })),
            "{same:?}"
        );
        other.delete("log").await.unwrap();
        let gone = store.get_opts(&path("log"), suffix()).await;
        assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    }
}

/// An upload whose end nobody waited for has ended all the same, and `abort` says so.
#[tokio::test]
async fn an_upload_that_is_completed_is_not_aborted() {
    let (_, _, store) = scene().await;
    let mut upload = store.put_multipart(&path("x")).await.unwrap();
    upload.put_part("content".into()).await.unwrap();
    drop(upload.complete());
    let mut complete = upload.complete();
    let _ = futures_util::poll!(&mut complete);
    drop(complete);
    upload.abort().await.unwrap_err();
    assert_eq!(get(&*store, "x").await, "content");
}

/// A locked vault is one for its stores as well, and what was cached is of no use.
#[tokio::test]
async fn a_locked_vault_has_no_store() {
    let (_, vault, store) = scene().await;
    put(&*store, "x", pattern(100_000)).await;
    store.get_range(&path("x"), 70_000..70_001).await.unwrap();
    vault.lock();
    let refused = store.get_range(&path("x"), 70_000..70_001).await;
    assert!(
        matches!(refused, Err(StoreError::PermissionDenied { .. })),
        "{refused:?}"
    );
}

/// Nothing outside of its folder is reached through a store.
#[tokio::test]
async fn a_store_of_a_folder_reaches_nothing_else() {
    let (_, vault, whole) = scene().await;
    let store = vault.object_store_at("team/a").unwrap();
    put(&*whole, "team/b", "theirs").await;
    put(&*whole, "team/ab/c", "theirs").await;
    put(&*store, "x/y", "ours").await;
    assert_eq!(get(&*whole, "team/a/x/y").await, "ours");
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].location, path("x/y"));
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(
        (top.objects.len(), top.common_prefixes),
        (0, vec![path("x")])
    );
    store.get(&path("../b")).await.unwrap_err();
    store.get(&path("b")).await.unwrap_err();
    vault.object_store_at("../x").unwrap_err();
    vault.object_store_at("").unwrap_err();
}

/// Pages of a store in memory, by offsets of its sorted paths.
#[derive(Debug)]
struct Pages(Arc<dyn ObjectStore>);

#[async_trait::async_trait]
impl PaginatedListStore for Pages {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> object_store::Result<PaginatedListResult> {
        let prefix = prefix.unwrap_or_default();
        let folder = Path::parse(prefix.trim_end_matches('/'))?;
        let list = match options.delimiter {
            Some(_) => self.0.list_with_delimiter(Some(&folder)).await?,
            None => {
                let mut objects: Vec<ObjectMeta> = self.0.list(Some(&folder)).try_collect().await?;
                objects.sort_by(|a, b| a.location.cmp(&b.location));
                ListResult {
                    common_prefixes: Vec::new(),
                    objects,
                    extensions: Default::default(),
                }
            }
        };
        let from: usize = options.page_token.map_or(0, |token| token.parse().unwrap());
        let to = list
            .objects
            .len()
            .min(from + options.max_keys.unwrap_or(1_000));
        let more = to < list.objects.len();
        Ok(PaginatedListResult {
            result: ListResult {
                objects: list.objects[from..to].to_vec(),
                ..list
            },
            page_token: more.then(|| to.to_string()),
        })
    }
}

/// Pages are those of the store below: the suite of `object_store` for them holds.
#[tokio::test]
async fn pages_are_those_of_the_store() {
    let (below, _, store) = scene().await;
    let pages = store.paginated(Arc::new(Pages(as_store(&below))));
    object_store::integration::list_paginated(&*store, &pages).await;
    let offset = PaginatedListOptions {
        offset: Some("fob".to_owned()),
        ..Default::default()
    };
    let refused = pages.list_paginated(None, offset).await;
    assert!(matches!(refused, Err(StoreError::NotImplemented { .. })));
}

/// A store that lies gets a typed error out of the vault, through the trait as well, with
/// a header that is known and without, and whole answers only.
#[tokio::test]
async fn lies_are_typed_errors() {
    let content = pattern(3 * MIB);
    for warm in [false, true] {
        for (name, lie) in [
            ("flip", Lie::FlipBit(8 * 1_100_000)),
            ("truncate", Lie::Truncate(1_000_000)),
            ("extend", Lie::Extend(vec![7; 999].into())),
            ("short", Lie::ShortBody(5)),
            ("long", Lie::LongBody(vec![1; 99].into())),
            ("endless", Lie::Endless),
            ("from elsewhere", Lie::FromOffset(16)),
            ("size", Lie::meta(|meta| meta.size = 1 << 46)),
            ("no size", Lie::meta(|meta| meta.size = 0)),
            ("range", Lie::ClaimRange(0..1 << 46)),
        ] {
            let (below, vault, store) = scene().await;
            put(&*store, "x", content.clone()).await;
            if warm {
                assert!(get(&*store, "x").await == content);
                store
                    .get_range(&path("x"), 1_100_000..1_100_009)
                    .await
                    .unwrap();
            }
            let rule = below.add(Rule::new(lie).on(Op::Get));
            let whole = async { store.get(&path("x")).await?.bytes().await };
            let error = whole.await.expect_err(name);
            let typed = Error::of(&error).unwrap_or_else(|| panic!("{name}: {error:?}"));
            let codes = ["tampered", "limit_exceeded", "store"];
            assert!(
                codes.contains(&typed.code()),
                "{name}, warm {warm}: {typed:?}"
            );
            let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(20_000)));
            let ranges = [
                store.get_range(&path("x"), 1_100_000..1_100_009).await,
                async { store.get_opts(&path("x"), suffix).await?.bytes().await }.await,
            ];
            for (got, expected) in ranges.into_iter().zip([1_100_000, 3 * MIB - 20_000]) {
                match got {
                    Ok(got) => assert!(content[expected..].starts_with(&got), "{name}"),
                    Err(error) => assert!(Error::of(&error).is_some(), "{name}: {error:?}"),
                }
            }
            below.remove(rule);
            assert!(get(&*store, "x").await == content, "{name}: afterwards");
            let range = store.get_range(&path("x"), 1_100_000..1_100_009).await;
            assert!(range.unwrap() == content[1_100_000..1_100_009], "{name}");
            drop(vault);
        }
    }
    // Lists that claim what is not, or never end, are the list's, with typed errors.
    let (below, _, store) = scene().await;
    put(&*store, "d/x", "x").await;
    let rule = below.add(Lie::list(|list| {
        list.iter_mut().for_each(|meta| meta.size = 3)
    }));
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed[0].size, 0, "no object has that length");
    below.remove(rule);
    // A write that was dropped is not there, and reading it says so.
    let rule = below.add(Rule::new(Lie::DropWrite).on(Op::Put));
    put(&*store, "dropped", "x").await;
    assert!(below.remove(rule) > 0);
    let missing = store.get(&path("dropped")).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    assert!(!is_signed() || below.count(Op::Put) > 0);
}
