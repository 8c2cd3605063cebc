//! Objects on every kind of store: what is put comes back, whole and in parts,
//! under every name, and what cannot be done is refused and changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a list of ranges may have one"
)]

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use kluis::object_store::local::LocalFileSystem;
use kluis::object_store::path::Path;
use kluis::object_store::{
    Attribute, Attributes, GetRange, ObjectMeta, ObjectStore, PutMode, UpdateVersion,
};
use kluis::{Error, PutOptions, Result, Vault};
use kluis_adversary::{Cut, HostileStore};
use kluis_tests::{
    CHUNK, HEADER, as_store, contents, hostile_vault, options, password, pattern, read,
    stored_length, stores, vault,
};
use proptest::prelude::*;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Around every border: chunk, unit of work, and part of an upload.
const SIZES: [usize; 12] = [
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    3 * CHUNK + 17,
    64 << 10,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + CHUNK,
    (8 << 20) - HEADER,
    (9 << 20) + 5,
];

/// A stream of pieces of this many bytes, with an empty one now and then.
fn pieces(content: &[u8], size: usize) -> impl stream::Stream<Item = io::Result<Bytes>> + 'static {
    let pieces: Vec<Bytes> = content
        .chunks(size)
        .flat_map(|piece| [Bytes::new(), Bytes::copy_from_slice(piece)])
        .collect();
    stream::iter(pieces.into_iter().map(Ok))
}

/// A reader that gives out at most this many bytes at a time, and is interrupted.
struct Drips(io::Cursor<Vec<u8>>, usize, bool);

impl Read for Drips {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.2 = !self.2;
        if self.2 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = out.len().min(self.1);
        self.0.read(&mut out[..length])
    }
}

async fn paths(vault: &Vault, prefix: Option<&str>) -> Vec<String> {
    let listed: Vec<ObjectMeta> = vault.list(prefix).try_collect().await.unwrap();
    let mut paths: Vec<_> = listed.iter().map(|m| m.location.to_string()).collect();
    paths.sort();
    paths
}

fn with_attributes(value: &str) -> PutOptions {
    PutOptions {
        attributes: Attributes::from_iter([
            (Attribute::ContentType, "text/plain".to_owned()),
            (Attribute::Metadata("owner".into()), value.to_owned()),
        ]),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_comes_back() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = vault(&store).await;
        for size in SIZES {
            let content = pattern(size);
            let path = format!("folder/of {size}");
            match size % 3 {
                0 => vault.put(&path, content.clone()).await,
                1 => {
                    let pieces = pieces(&content, 50_000);
                    vault.put_stream(&path, pieces, Default::default()).await
                }
                _ => {
                    let reader = io::Cursor::new(content.clone());
                    vault.put_reader(&path, reader, Default::default()).await
                }
            }
            .unwrap();
            let object = vault.get(&path).await.unwrap();
            assert_eq!(object.info().meta.size, size as u64, "{name}");
            assert_eq!(object.range(), 0..size as u64, "{name}");
            let info = object.info().clone();
            assert!(object.bytes().await.unwrap() == content, "{name}, {size}");
            assert_eq!(vault.head(&path).await.unwrap(), info, "{name}, {size}");
            assert_eq!(info.meta.location.as_ref(), path, "{name}");
            assert_eq!(info.stored_size, stored_length(size), "{name}");
            let mut streamed = Vec::new();
            let mut stream = vault.get(&path).await.unwrap().into_stream();
            while let Some(piece) = stream.try_next().await.unwrap() {
                assert!(!piece.is_empty() && piece.len() <= 1 << 20, "{name}");
                streamed.extend_from_slice(&piece);
            }
            assert!(streamed == content, "{name}, {size}");
        }
        let listed: Vec<_> = vault.list(None).try_collect().await.unwrap();
        let mut sizes: Vec<_> = listed.iter().map(|m: &ObjectMeta| m.size).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, SIZES.map(|size| size as u64), "{name}");
    }
}

/// Streams and readers in pieces of every size, with a hint that is right, wrong
/// or missing: a hint is never more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_hint_changes_nothing_but_speed() {
    let (_, vault) = hostile_vault().await;
    let sizes = [
        0,
        5,
        CHUNK,
        2 * CHUNK,
        2 * CHUNK + 1,
        64 * CHUNK,
        65 * CHUNK,
    ];
    for size in sizes {
        let content = pattern(size);
        for hint in [
            None,
            Some(0),
            Some(1),
            Some(CHUNK as u64),
            Some(size as u64),
            Some(size as u64 + 1),
            Some(u64::MAX),
        ] {
            let options = PutOptions {
                size_hint: hint,
                ..Default::default()
            };
            for piece in [999, CHUNK, 40_000] {
                let what = format!("{size} bytes by {piece}, announced {hint:?}");
                let stream = pieces(&content, piece);
                vault
                    .put_stream("s", stream, options.clone())
                    .await
                    .expect(&what);
                assert!(read(&vault, "s").await.expect(&what) == content, "{what}");
                let reader = Drips(io::Cursor::new(content.clone()), piece, false);
                vault
                    .put_reader("r", reader, options.clone())
                    .await
                    .expect(&what);
                assert!(read(&vault, "r").await.expect(&what) == content, "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_leaves_nothing() {
    let (store, vault) = hostile_vault().await;
    vault.put("kept", "before").await.unwrap();
    for before in [0, 1, CHUNK, 9 << 20] {
        let broken = || io::Error::other("the disk is gone");
        let content = pieces(&pattern(before), 100_000).chain(stream::iter([Err(broken())]));
        let error = vault
            .put_stream("kept", content, Default::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        struct Broken(io::Cursor<Vec<u8>>);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                match self.0.read(out)? {
                    0 => Err(io::Error::other("the disk is gone")),
                    read => Ok(read),
                }
            }
        }
        let content = Broken(io::Cursor::new(pattern(before)));
        let error = vault
            .put_reader("kept", content, Default::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_eq!(read(&vault, "kept").await.unwrap(), b"before");
    }
    assert_eq!(paths(&vault, None).await, ["kept"]);
    assert_eq!(
        contents(&store).await.len(),
        7,
        "a vault's own records and one object"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditional_writes_are_decided_by_the_store_or_refused() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = vault(&store).await;
        let mode = |mode: PutMode| PutOptions {
            mode,
            ..Default::default()
        };
        let first = vault
            .put_opts("a", "first", mode(PutMode::Create))
            .await
            .unwrap();
        let taken = vault.put_opts("a", "second", mode(PutMode::Create)).await;
        assert!(
            matches!(&taken, Err(Error::AlreadyExists { path }) if path == "a"),
            "{name}: {taken:?}"
        );
        assert_eq!(read(&vault, "a").await.unwrap(), b"first", "{name}");

        let version = UpdateVersion {
            e_tag: first.e_tag.clone(),
            version: first.version.clone(),
        };
        let update = vault
            .put_opts("a", "second", mode(PutMode::Update(version.clone())))
            .await;
        if name == "folder" {
            assert!(matches!(update, Err(Error::Unsupported { .. })), "{name}");
            assert_eq!(read(&vault, "a").await.unwrap(), b"first", "{name}");
        } else {
            update.unwrap();
            let stale = vault
                .put_opts("a", "third", mode(PutMode::Update(version)))
                .await;
            assert!(
                matches!(&stale, Err(Error::Conflict { what }) if what == "a"),
                "{name}: {stale:?}"
            );
            assert_eq!(read(&vault, "a").await.unwrap(), b"second", "{name}");
        }

        // Streams too, in one request; a larger one is refused, not overwritten.
        for size in [10, 5 << 20] {
            let stream = pieces(&pattern(size), 1 << 20);
            let path = format!("s{size}");
            vault
                .put_stream(&path, stream, mode(PutMode::Create))
                .await
                .unwrap();
            assert!(
                read(&vault, &path).await.unwrap() == pattern(size),
                "{name}"
            );
            let again = vault
                .put_reader(&path, io::Cursor::new(b"x"), mode(PutMode::Create))
                .await;
            assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{name}");
        }
        let large = pieces(&pattern(kluis::MAX_CONDITIONAL_STREAM + 1), 1 << 20);
        let refused = vault
            .put_stream("large", large, mode(PutMode::Create))
            .await;
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{name}");
        assert!(
            matches!(vault.head("large").await, Err(Error::NotFound { .. })),
            "{name}"
        );
        let whole = pattern(kluis::MAX_CONDITIONAL_STREAM + 1);
        vault
            .put_opts("large", whole.clone(), mode(PutMode::Create))
            .await
            .unwrap();
        assert!(read(&vault, "large").await.unwrap() == whole, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_every_form_on_every_store() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        for padded in [false, true] {
            let store = kluis::object_store::prefix::PrefixStore::new(
                store.clone(),
                format!("padded-{padded}"),
            );
            let vault = options()
                .padded(padded)
                .create(Arc::new(store), password())
                .await
                .unwrap();
            for size in [0, 1, CHUNK, 3 * CHUNK + 17, (1 << 20) + 3 * CHUNK] {
                let content = pattern(size);
                let stream = pieces(&content, 70_000);
                vault
                    .put_stream("x", stream, Default::default())
                    .await
                    .unwrap();
                check_ranges(&vault, &content, name).await;
            }
        }
    }
}

async fn check_ranges(vault: &Vault, content: &[u8], name: &str) {
    let size = content.len() as u64;
    let part = |range: Range<u64>| &content[range.start as usize..range.end.min(size) as usize];
    let far = size.saturating_sub(20_000);
    let all = [
        0..1,
        0..size,
        0..size + 9,
        size / 2..size / 2 + 100,
        size.saturating_sub(3)..size + 10,
        far..size,
        0..70_000,
        16_383..16_385,
        16_384..32_768,
        size.saturating_sub(1)..u64::MAX,
    ];
    let inside: Vec<_> = all
        .into_iter()
        .filter(|r| r.start < size && r.start < r.end)
        .collect();
    for range in inside.clone() {
        let got = vault.get_range("x", range.clone()).await.unwrap();
        assert!(got == part(range.clone()), "{name}: {range:?} of {size}");
    }
    // Unsorted, overlapping, near and far.
    let got = vault.get_ranges("x", &inside).await.unwrap();
    assert_eq!(got.len(), inside.len());
    for (got, range) in got.iter().zip(&inside) {
        assert!(got == part(range.clone()), "{name}: {range:?} of {size}");
    }
    assert!(vault.get_ranges("x", &[]).await.unwrap().is_empty());
    for (range, expected) in [
        (GetRange::Offset(0), 0..size),
        (GetRange::Offset(size), size..size),
        (GetRange::Offset(size / 3), size / 3..size),
        (GetRange::Suffix(5), size.saturating_sub(5)..size),
        (GetRange::Suffix(size), 0..size),
        (GetRange::Suffix(u64::MAX), 0..size),
        (GetRange::Suffix(0), size..size),
    ] {
        let object = vault.get_part("x", range.clone()).await.unwrap();
        assert_eq!(object.range(), expected, "{name}: {range:?} of {size}");
        assert_eq!(object.info().meta.size, size, "{name}");
        let got = object.bytes().await.unwrap();
        assert!(got == part(expected), "{name}: {range:?} of {size}");
    }
    #[allow(clippy::reversed_empty_ranges, reason = "what has to be refused")]
    for range in [
        GetRange::Bounded(size..size + 1),
        GetRange::Bounded(0..0),
        GetRange::Bounded(7..3),
        GetRange::Offset(size + 1),
        GetRange::Bounded(u64::MAX - 1..u64::MAX),
    ] {
        let refused = vault.get_part("x", range.clone()).await;
        assert!(
            matches!(refused, Err(Error::InvalidInput { .. })),
            "{name}: {range:?} of {size}: {refused:?}"
        );
        if let GetRange::Bounded(range) = range {
            let refused = vault.get_ranges("x", &[0..1, range]).await;
            assert!(matches!(refused, Err(Error::InvalidInput { .. })), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_and_times_are_kept_sealed() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = vault(&store).await;
        let times = PutOptions {
            mtime: Some(UNIX_EPOCH - Duration::new(86_400, 250)),
            expires: Some(UNIX_EPOCH + Duration::from_micros(4_000_000_000_000_001)),
            ..with_attributes("ada")
        };
        vault.put_opts("inside", "x", times.clone()).await.unwrap();
        for info in [
            vault.head("inside").await.unwrap(),
            vault.get("inside").await.unwrap().info().clone(),
            vault
                .get_part("inside", GetRange::Offset(0))
                .await
                .unwrap()
                .info()
                .clone(),
        ] {
            assert_eq!(info.attributes, times.attributes, "{name}");
            assert_eq!(info.mtime, times.mtime, "{name}");
            assert_eq!(info.expires, times.expires, "{name}");
            assert_eq!((info.epoch, info.closed), (0, false), "{name}");
        }
        vault.put("none", "x").await.unwrap();
        let none = vault.head("none").await.unwrap();
        assert!(none.attributes.is_empty() && none.mtime.is_none() && none.expires.is_none());

        // Too long for the object: in the store's metadata, which a folder lacks.
        let long = with_attributes(&"long ".repeat(50));
        for size in [3, 9 << 20] {
            let written = vault.put_opts("outside", pattern(size), long.clone()).await;
            if name == "folder" {
                assert!(matches!(written, Err(Error::Unsupported { .. })), "{name}");
                let missing = vault.head("outside").await;
                assert!(matches!(missing, Err(Error::NotFound { .. })), "{name}");
                continue;
            }
            written.unwrap();
            let info = vault.head("outside").await.unwrap();
            assert_eq!(info.attributes, long.attributes, "{name}");
            let object = vault.get("outside").await.unwrap();
            assert_eq!(object.info().attributes, long.attributes, "{name}");
            assert!(object.bytes().await.unwrap() == pattern(size), "{name}");
            vault.copy("outside", "copied").await.unwrap();
            let copied = vault.head("copied").await.unwrap();
            assert_eq!(copied.attributes, long.attributes, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_copy_and_rename() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = vault(&store).await;
        let options = PutOptions {
            mtime: Some(UNIX_EPOCH + Duration::from_secs(1_234)),
            expires: Some(UNIX_EPOCH + Duration::from_secs(5_678)),
            ..with_attributes("ada")
        };
        let large = pattern((9 << 20) + 1);
        vault
            .put_opts("d/small", "content", options.clone())
            .await
            .unwrap();
        vault
            .put_opts("d/large", large.clone(), options.clone())
            .await
            .unwrap();
        for (from, content) in [("d/small", b"content".to_vec()), ("d/large", large)] {
            vault.put("copy", "was here before").await.unwrap();
            vault.copy(from, "copy").await.unwrap();
            vault.rename("copy", "e/moved").await.unwrap();
            let gone = vault.get("copy").await.map(drop);
            assert!(matches!(gone, Err(Error::NotFound { .. })), "{name}");
            for path in [from, "e/moved"] {
                let object = vault.get(path).await.unwrap();
                assert_eq!(object.info().mtime, options.mtime, "{name}");
                assert_eq!(object.info().expires, options.expires, "{name}");
                assert_eq!(object.info().attributes, options.attributes, "{name}");
                assert!(object.bytes().await.unwrap() == content, "{name}");
            }
            vault.copy(from, from).await.unwrap();
            vault.rename(from, from).await.unwrap();
            assert!(read(&vault, from).await.unwrap() == content, "{name}");
        }
        for missing in [
            vault.copy("nothing", "d/small").await,
            vault.rename("nothing", "d/small").await,
            vault.rename("nothing", "nothing").await,
            vault.get("nothing").await.map(drop),
            vault.head("nothing").await.map(drop),
            vault.get_range("nothing", 0..1).await.map(drop),
            vault.get_ranges("nothing", &[0..1]).await.map(drop),
        ] {
            assert!(
                matches!(&missing, Err(Error::NotFound { path }) if path == "nothing"),
                "{name}: {missing:?}"
            );
        }
        assert_eq!(read(&vault, "d/small").await.unwrap(), b"content");

        let gone = ["d/small", "d/large"].map(|path| Ok(Path::from(path)));
        let deleted: Vec<_> = vault
            .delete_stream(stream::iter(gone).boxed())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(deleted, ["d/small", "d/large"].map(Path::from), "{name}");
        vault.delete("e/moved").await.unwrap();
        assert!(paths(&vault, None).await.is_empty(), "{name}");
        // Only a folder tells.
        let again = vault.delete("e/moved").await;
        if name == "folder" {
            assert!(matches!(again, Err(Error::NotFound { .. })), "{name}");
        } else {
            again.unwrap();
        }
    }
}

/// A vault in a local folder, which tells a missing object, and can crash.
async fn folder_vault(folder: &tempfile::TempDir) -> (HostileStore, Vault) {
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store = HostileStore::new(store);
    let vault = vault(&as_store(&store)).await;
    (store, vault)
}

/// Everything is done by the first poll: one straight run of system calls.
#[test]
fn a_vault_in_a_folder_needs_no_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let work = async {
        let (_, vault) = folder_vault(&folder).await;
        for size in SIZES {
            let content = pattern(size);
            let stream = pieces(&content, 100_000);
            vault.put("small", content.clone()).await?;
            vault
                .put_stream("large", stream, PutOptions::default())
                .await?;
            vault
                .put_reader(
                    "read",
                    io::Cursor::new(content.clone()),
                    PutOptions::default(),
                )
                .await?;
            for path in ["small", "large", "read"] {
                assert!(read(&vault, path).await? == content, "{size} in {path}");
            }
            vault.rename("large", "small").await?;
            assert_eq!(paths(&vault, None).await, ["read", "small"]);
        }
        Ok::<_, Error>(())
    };
    work.now_or_never().unwrap().unwrap();
}

/// One that fails does not take the others with it.
#[tokio::test]
async fn a_stream_of_deletes_goes_on_behind_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_, vault) = folder_vault(&folder).await;
    for path in ["a", "b", "c"] {
        vault.put(path, "x").await.unwrap();
    }
    let paths = stream::iter(["a", "nothing", "c"].map(|path| Ok(Path::from(path)))).boxed();
    let results: Vec<Result<Path>> = vault.delete_stream(paths).collect().await;
    assert_eq!(*results[0].as_ref().unwrap(), Path::from("a"));
    assert!(matches!(results[1], Err(Error::NotFound { .. })));
    assert_eq!(*results[2].as_ref().unwrap(), Path::from("c"));
    assert_eq!(self::paths(&vault, None).await, ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_padded_vault_hides_sizes_and_tells_true_ones() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = options()
            .padded(true)
            .create(store.clone(), password())
            .await
            .unwrap();
        let sizes = [
            0,
            1,
            2,
            1_000,
            1_023,
            CHUNK,
            100_000,
            100_001,
            1 << 20,
            9 << 20,
        ];
        for size in sizes {
            let content = pattern(size);
            vault
                .put(format!("known/{size}"), content.clone())
                .await
                .unwrap();
            let stream = pieces(&content, 33_333);
            let path = format!("unknown/{size}");
            vault
                .put_stream(&path, stream, Default::default())
                .await
                .unwrap();
            for path in [format!("known/{size}"), format!("unknown/{size}")] {
                let object = vault.get(&path).await.unwrap();
                assert_eq!(object.info().meta.size, size as u64, "{name} {path}");
                assert!(object.bytes().await.unwrap() == content, "{name} {path}");
                let info = vault.head(&path).await.unwrap();
                assert_eq!(info.meta.size, size as u64, "{name} {path}");
                let most = stored_length((size as f64 * 1.12) as usize + 16);
                assert!(info.stored_size <= most, "{name} {path}");
            }
        }
        let stored = async |size: usize| {
            let path = format!("known/{size}");
            vault.head(path).await.unwrap().stored_size
        };
        assert_eq!(stored(100_000).await, stored(100_001).await, "{name}");
        let mut listed: Vec<u64> = vault
            .list(Some("unknown"))
            .map_ok(|meta: ObjectMeta| meta.size)
            .try_collect()
            .await
            .unwrap();
        listed.sort_unstable();
        assert_eq!(listed, sizes.map(|size| size as u64), "{name}");
        let one_level = vault.list_with_delimiter(Some("known")).await.unwrap();
        let mut listed: Vec<u64> = one_level.objects.iter().map(|m| m.size).collect();
        listed.sort_unstable();
        assert_eq!(listed, sizes.map(|size| size as u64), "{name}");

        // What was announced is in the header before the content is seen.
        for (announced, size) in [(10, 11), (10, 9), (0, 9 << 20), (9 << 20, 10)] {
            let options = PutOptions {
                size_hint: Some(announced),
                ..Default::default()
            };
            let stream = pieces(&pattern(size), 1 << 20);
            let refused = vault.put_stream("wrong", stream, options).await;
            assert!(matches!(refused, Err(Error::InvalidInput { .. })), "{name}");
            let nothing = vault.head("wrong").await;
            assert!(matches!(nothing, Err(Error::NotFound { .. })), "{name}");
        }
    }
}

/// A byte of UTF-8 more than what is stored under its own encryption, and others.
fn long_names() -> Vec<String> {
    vec![
        "x".repeat(127),
        "x".repeat(128),
        "ü".repeat(64),
        "long ".repeat(40).trim().to_owned(),
        "y".repeat(1_023),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_every_kind_are_listed_as_they_were_given() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = vault(&store).await;
        let mut expected: Vec<String> = [
            "plain",
            "with space",
            " leading and trailing ",
            "trailing.",
            "CON",
            "a:b*c?d\"e<f>g|h",
            "back\\slash",
            "%2e%2e",
            "%2f",
            "~tilde~",
            "-dash",
            "#fragment",
            "emoji 🦀",
            "nfc é",
            "nfd e\u{301}",
            "rtl \u{202e}txt",
            "\u{feff}bom",
            "UPPER",
            "upper",
            "...",
            "k",
            "kluis.vault",
        ]
        .map(str::to_owned)
        .to_vec();
        expected.extend(long_names());
        expected.extend(expected.clone().iter().map(|n| format!("in/{n}/deep")));
        expected.push(format!("{}/{}", "f".repeat(200), "g".repeat(300)));
        for path in &expected {
            vault.put(path, path.clone()).await.unwrap();
        }
        expected.sort();
        assert_eq!(paths(&vault, None).await, expected, "{name}");
        for path in &expected {
            assert_eq!(read(&vault, path).await.unwrap(), path.as_bytes(), "{name}");
        }
        // A folder, whatever it is called.
        for folder in ["%2f".to_owned(), "y".repeat(1_023), "~tilde~".to_owned()] {
            let folder = format!("in/{folder}");
            let below = [format!("{folder}/deep")];
            assert_eq!(paths(&vault, Some(&folder)).await, below, "{name}");
            let one = vault.list_with_delimiter(Some(&folder)).await.unwrap();
            assert_eq!(one.objects.len(), 1, "{name}");
            assert_eq!(one.objects[0].location.as_ref(), below[0], "{name}");
        }
        let top = vault.list_with_delimiter(None).await.unwrap();
        let folders: Vec<_> = top.common_prefixes.iter().map(Path::to_string).collect();
        assert_eq!(folders, ["f".repeat(200), "in".to_owned()], "{name}");
        let objects: Vec<_> = top.objects.iter().map(|m| m.location.to_string()).collect();
        let mut files: Vec<_> = expected
            .iter()
            .filter(|p| !p.contains('/'))
            .cloned()
            .collect();
        files.sort_by_key(|path| Path::parse(path).unwrap());
        assert_eq!(objects, files, "{name}");
        let inside = vault.list_with_delimiter(Some("in")).await.unwrap();
        assert_eq!(inside.common_prefixes.len(), files.len(), "{name}");
        assert!(inside.objects.is_empty(), "{name}");
        // A folder's name as a beginning is not the folder.
        assert!(paths(&vault, Some("i")).await.is_empty(), "{name}");
        assert!(paths(&vault, Some("in/up")).await.is_empty(), "{name}");

        for path in &expected {
            vault.delete(path).await.unwrap();
        }
        assert!(paths(&vault, None).await.is_empty(), "{name}");
        let left: Vec<ObjectMeta> = store
            .list(Some(&Path::from("o")))
            .try_collect()
            .await
            .unwrap();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}

/// docs/FORMAT.md, section 6: `~` and base32hex, and another `~` for the record.
#[tokio::test]
async fn long_names_lie_in_the_store_as_the_format_says() {
    let (store, vault) = hostile_vault().await;
    vault.put("l".repeat(128), "x").await.unwrap();
    let stored: Vec<String> = contents(&store).await.into_keys().collect();
    let long: Vec<_> = stored
        .iter()
        .filter_map(|p| p.strip_prefix("o/~"))
        .collect();
    assert_eq!(long.len(), 2, "{stored:?}");
    assert_eq!(long[1], format!("{}~", long[0]));
    assert_eq!(long[0].len(), 52);
}

/// The record of a long folder goes with the last object below it, and not
/// before the object of the same name.
#[tokio::test]
async fn the_record_of_a_long_name_stays_as_long_as_it_is_needed() {
    let (store, vault) = hostile_vault().await;
    let long = "l".repeat(200);
    let records = async || {
        let stored = contents(&store).await;
        stored.keys().filter(|path| path.ends_with('~')).count()
    };
    // A store of objects has no folders: one name can be both.
    vault.put(&long, "object").await.unwrap();
    vault.put(format!("{long}/a"), "a").await.unwrap();
    vault.put(format!("{long}/b"), "b").await.unwrap();
    assert_eq!(records().await, 1);
    vault.delete(format!("{long}/a")).await.unwrap();
    assert_eq!(records().await, 1);
    vault.delete(format!("{long}/b")).await.unwrap();
    assert_eq!(paths(&vault, None).await, std::slice::from_ref(&long));
    vault.delete(&long).await.unwrap();
    assert_eq!(records().await, 0);

    vault.put(format!("{long}/a"), "a").await.unwrap();
    vault.put(&long, "object").await.unwrap();
    vault.delete(&long).await.unwrap();
    assert_eq!(paths(&vault, None).await, [format!("{long}/a")]);
    vault.rename(format!("{long}/a"), "short").await.unwrap();
    assert_eq!(records().await, 0);
}

/// A client that died between an object and its record: deleting again cleans up.
#[tokio::test]
async fn deleting_again_removes_the_record_that_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let (store, vault) = folder_vault(&folder).await;
    let long = "l".repeat(200);
    vault.put(&long, "x").await.unwrap();
    store.crash(Cut::After(0));
    assert!(vault.delete(&long).await.is_err());
    store.recover();
    let again = vault.delete(&long).await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
    let left = contents(&store).await;
    assert!(left.keys().all(|path| !path.starts_with("o/")), "{left:?}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_any_request() {
    let (store, vault) = hostile_vault().await;
    let mark = store.mark();
    let deep = vec!["d"; 40].join("/");
    for path in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a\0",
        "a\nb",
        "a\u{85}b",
        &"x".repeat(1_024),
        // Each segment takes 53 characters in the store.
        &deep,
    ] {
        let refused: [Result<()>; 11] = [
            vault.put(path, "x").await.map(drop),
            vault.get(path).await.map(drop),
            vault.get_range(path, 0..1).await.map(drop),
            vault.get_ranges(path, &[0..1]).await.map(drop),
            vault.head(path).await.map(drop),
            vault.delete(path).await,
            vault.copy("a", path).await,
            vault.rename(path, "a").await,
            vault
                .list(Some(path))
                .try_collect::<Vec<_>>()
                .await
                .map(drop),
            vault.list_with_delimiter(Some(path)).await.map(drop),
            vault
                .put_stream(path, pieces(b"x", 1), Default::default())
                .await
                .map(drop),
        ];
        for (call, result) in refused.iter().enumerate() {
            assert!(
                matches!(result, Err(Error::InvalidInput { .. })),
                "{path:?}, call {call}: {result:?}"
            );
        }
    }
    let attributes = |list: &[(Attribute, &str)]| PutOptions {
        attributes: list
            .iter()
            .map(|(a, v)| (a.clone(), (*v).to_owned()))
            .collect(),
        ..Default::default()
    };
    let mut many = PutOptions::default();
    for n in 0..65 {
        let name = Attribute::Metadata(n.to_string().into());
        many.attributes.insert(name, "x".into());
    }
    for options in [
        attributes(&[(Attribute::Metadata("long".into()), &"v".repeat(1_500))]),
        attributes(&[(Attribute::Metadata("".into()), "v")]),
        many,
    ] {
        let refused = vault.put_opts("a", "x", options).await;
        assert!(
            matches!(refused, Err(Error::InvalidInput { .. })),
            "{refused:?}"
        );
    }
    let none = store.journal().since(mark);
    assert!(none.calls().is_empty(), "{none}");
}

#[tokio::test]
async fn a_locked_vault_does_nothing() {
    let (store, vault) = hostile_vault().await;
    vault.put("a", "x").await.unwrap();
    let clone = vault.clone();
    let begun = vault.get("a").await.unwrap();
    vault.lock();
    assert_eq!(begun.bytes().await.unwrap(), "x", "what runs goes on");
    let mark = store.mark();
    let kdf = kluis_tests::cheap();
    let refused: Vec<Result<()>> = vec![
        clone.put("a", "y").await.map(drop),
        clone.get("a").await.map(drop),
        clone.get_range("a", 0..1).await.map(drop),
        clone.get_ranges("a", &[0..1]).await.map(drop),
        clone.head("a").await.map(drop),
        clone.delete("a").await,
        clone.copy("a", "b").await,
        clone.rename("a", "b").await,
        clone.list(None).try_collect::<Vec<_>>().await.map(drop),
        clone.list_with_delimiter(None).await.map(drop),
        clone.slots().map(drop),
        clone.change_password(password(), kdf).await,
        clone.add_slot(password(), kdf).await.map(drop),
        clone.rotate_root(vec![(password().into(), kdf)]).await,
        clone.recovery_kit().await.map(drop),
        clone
            .check(None, kluis::Check::Quick)
            .try_collect::<Vec<_>>()
            .await
            .map(drop),
    ];
    for (call, result) in refused.iter().enumerate() {
        assert!(
            matches!(result, Err(Error::AccessDenied { .. })),
            "call {call}: {result:?}"
        );
    }
    assert!(store.journal().since(mark).calls().is_empty());
}

/// Two writes of one content share nothing, and a copy is a write.
#[tokio::test]
async fn equal_contents_are_stored_as_different_bytes() {
    let (store, vault) = hostile_vault().await;
    let content = pattern(CHUNK);
    vault.put("a", content.clone()).await.unwrap();
    vault.put("b", content.clone()).await.unwrap();
    vault.put("a", content.clone()).await.unwrap();
    vault.copy("a", "c").await.unwrap();
    let journal = store.journal();
    let bodies: Vec<&[u8]> = journal
        .calls()
        .iter()
        .filter(|call| call.sent.len() > CHUNK)
        // Before it stands what the store may see, behind it in a signed vault who wrote.
        .map(|call| &call.sent[40..HEADER + CHUNK + 32])
        .collect();
    assert_eq!(bodies.len(), 4);
    let mut windows = std::collections::HashSet::new();
    for body in bodies {
        for window in body.windows(16).step_by(16) {
            assert!(windows.insert(window), "16 bytes appear twice");
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

/// One vault of each kind for all cases.
fn two_vaults() -> &'static [Vault; 2] {
    static VAULTS: std::sync::OnceLock<[Vault; 2]> = std::sync::OnceLock::new();
    VAULTS.get_or_init(|| {
        block_on(async {
            let make = async |padded| {
                let store: Arc<dyn ObjectStore> =
                    Arc::new(kluis::object_store::memory::InMemory::new());
                options()
                    .padded(padded)
                    .create(store, password())
                    .await
                    .unwrap()
            };
            [make(false).await, make(true).await]
        })
    })
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        0..200usize,
        (0..8usize, 0..5usize).prop_map(|(chunks, more)| (chunks * CHUNK + more).saturating_sub(2)),
        0..200_000usize,
        (0..3usize).prop_map(|more| (1 << 20) + more - 1),
    ];
    (length, any::<u8>()).prop_map(|(length, salt)| {
        let mut content = pattern(length);
        content.iter_mut().for_each(|byte| *byte ^= salt);
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_content_comes_back_and_any_range_is_its_slice(
        content in any_content(),
        padded in 0..2usize,
        known in any::<bool>(),
        piece in 1..100_000usize,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let vault = two_vaults()[padded].clone();
        let got = block_on(async {
            let options = PutOptions {
                size_hint: known.then_some(content.len() as u64),
                ..Default::default()
            };
            // Not one tiny piece after the other.
            let piece = piece.max(content.len() / 100);
            vault.put_stream("p", pieces(&content, piece), options).await?;
            let whole = read(&vault, "p").await?;
            let ranges: Vec<Range<u64>> = cuts
                .iter()
                .map(|(a, b)| {
                    let (a, b) = (a.index(content.len() + 1) as u64, b.index(content.len() + 1) as u64);
                    a.min(b)..a.max(b) + 1
                })
                .filter(|range| range.start < content.len() as u64)
                .collect();
            let parts = vault.get_ranges("p", &ranges).await?;
            let mut again = Vec::new();
            for range in &ranges {
                again.push(vault.get_range("p", range.clone()).await?);
            }
            Ok::<_, Error>((whole, ranges, parts, again))
        });
        let (whole, ranges, parts, again) = got.unwrap();
        prop_assert!(whole == content);
        prop_assert!(parts == again);
        for (range, part) in ranges.iter().zip(parts) {
            let end = (range.end as usize).min(content.len());
            prop_assert!(part == content[range.start as usize..end]);
        }
    }

    #[test]
    fn any_path_is_a_place_of_its_own(
        names in prop::collection::btree_set("[^/\\p{Cc}]{1,80}(/[^/\\p{Cc}]{1,150})?", 1..6),
    ) {
        let names: Vec<String> = names
            .into_iter()
            .filter(|name| name.split('/').all(|part| part != "." && part != ".." && part.len() <= 1_023))
            .collect();
        let vault = &two_vaults()[0];
        block_on(async {
            for name in &names {
                vault.put(format!("n/{name}"), name.clone()).await.unwrap();
            }
            let mut expected: Vec<_> = names.iter().map(|name| format!("n/{name}")).collect();
            expected.sort();
            assert_eq!(paths(vault, Some("n")).await, expected);
            for name in &names {
                assert_eq!(read(vault, &format!("n/{name}")).await.unwrap(), name.as_bytes());
                vault.delete(format!("n/{name}")).await.unwrap();
            }
        });
    }
}
