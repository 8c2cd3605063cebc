//! What is asked arrives below, and what is answered above: every field of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use kluis_object_store_013::adapt;
use object_store as v14;
use object_store_013 as v13;
use object_store_013::ObjectStore as _;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::fmt::{self, Debug, Display};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A value that only this test puts among extensions.
#[derive(Debug, Clone, PartialEq)]
struct Mark(u64);

/// Keeps what it was asked, and gives the answer that it was made with.
#[derive(Debug, Default)]
struct Below {
    asked: Arc<Mutex<Vec<String>>>,
    failures: Arc<Mutex<Vec<String>>>,
    answer: Answer,
}

#[derive(Debug, Clone, Default)]
struct Answer {
    put: Option<(Option<String>, Option<String>)>,
    metas: Vec<v14::ObjectMeta>,
    prefixes: Vec<v14::path::Path>,
    attributes: v14::Attributes,
    range: Range<u64>,
    pieces: Vec<Bytes>,
    fails: bool,
}

impl Below {
    fn note(&self, what: impl Debug, extensions: Option<&v14::Extensions>) {
        let mark = extensions.and_then(|extensions| extensions.get::<Mark>());
        self.asked
            .lock()
            .unwrap()
            .push(format!("{what:?} {mark:?}"));
    }

    fn put_result(&self) -> v14::Result<v14::PutResult> {
        let (e_tag, version) = self.answer.put.clone().unwrap_or_default();
        Ok(v14::PutResult {
            e_tag,
            version,
            extensions: extensions_14(9),
        })
    }
}

impl Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Below")
    }
}

#[async_trait]
impl v14::ObjectStore for Below {
    async fn put_opts(
        &self,
        location: &v14::path::Path,
        payload: v14::PutPayload,
        options: v14::PutOptions,
    ) -> v14::Result<v14::PutResult> {
        let pieces: Vec<Bytes> = payload.into_iter().collect();
        let v14::PutOptions {
            mode,
            tags,
            attributes,
            extensions,
        } = options;
        let attributes = sorted_14(&attributes);
        self.note(
            (location, pieces, mode, tags.encoded(), attributes),
            Some(&extensions),
        );
        self.put_result()
    }

    async fn put_multipart_opts(
        &self,
        location: &v14::path::Path,
        options: v14::PutMultipartOptions,
    ) -> v14::Result<Box<dyn v14::MultipartUpload>> {
        let v14::PutMultipartOptions {
            tags,
            attributes,
            extensions,
        } = options;
        self.note(
            (location, tags.encoded(), sorted_14(&attributes)),
            Some(&extensions),
        );
        Ok(Box::new(Upload(Arc::clone(&self.asked))))
    }

    async fn get_opts(
        &self,
        location: &v14::path::Path,
        options: v14::GetOptions,
    ) -> v14::Result<v14::GetResult> {
        self.note((location, &options), Some(&options.extensions));
        let pieces = self.answer.pieces.clone().into_iter().map(Ok);
        let end = self.answer.fails.then(|| Err(failure_14()));
        Ok(v14::GetResult {
            payload: v14::GetResultPayload::Stream(stream::iter(pieces.chain(end)).boxed()),
            meta: self.answer.metas[0].clone(),
            range: self.answer.range.clone(),
            attributes: self.answer.attributes.clone(),
            extensions: extensions_14(9),
        })
    }

    async fn get_ranges(
        &self,
        location: &v14::path::Path,
        ranges: &[Range<u64>],
    ) -> v14::Result<Vec<Bytes>> {
        self.note((location, ranges), None);
        Ok(self.answer.pieces.clone())
    }

    /// Fails for every second one.
    fn delete_stream(
        &self,
        locations: BoxStream<'static, v14::Result<v14::path::Path>>,
    ) -> BoxStream<'static, v14::Result<v14::path::Path>> {
        let failures = Arc::clone(&self.failures);
        let answer = move |(n, location): (usize, v14::Result<v14::path::Path>)| {
            let location = location
                .inspect_err(|error| failures.lock().unwrap().push(format!("{error:?}")))?;
            if n % 2 == 0 {
                return Ok(location);
            }
            let (path, source) = (location.to_string(), "gone".into());
            Err(v14::Error::NotFound { path, source })
        };
        locations.enumerate().map(answer).boxed()
    }

    fn list(
        &self,
        prefix: Option<&v14::path::Path>,
    ) -> BoxStream<'static, v14::Result<v14::ObjectMeta>> {
        self.note(("list", prefix), None);
        let metas = self.answer.metas.clone().into_iter().map(Ok);
        let end = self.answer.fails.then(|| Err(failure_14()));
        stream::iter(metas.chain(end)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&v14::path::Path>,
        offset: &v14::path::Path,
    ) -> BoxStream<'static, v14::Result<v14::ObjectMeta>> {
        self.note(("list_with_offset", prefix, offset), None);
        stream::iter(self.answer.metas.clone().into_iter().map(Ok)).boxed()
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&v14::path::Path>,
    ) -> v14::Result<v14::ListResult> {
        self.note(("list_with_delimiter", prefix), None);
        Ok(v14::ListResult {
            common_prefixes: self.answer.prefixes.clone(),
            objects: self.answer.metas.clone(),
            extensions: extensions_14(9),
        })
    }

    async fn copy_opts(
        &self,
        from: &v14::path::Path,
        to: &v14::path::Path,
        options: v14::CopyOptions,
    ) -> v14::Result<()> {
        let v14::CopyOptions { mode, extensions } = options;
        self.note((from, to, mode), Some(&extensions));
        Ok(())
    }

    async fn rename_opts(
        &self,
        from: &v14::path::Path,
        to: &v14::path::Path,
        options: v14::RenameOptions,
    ) -> v14::Result<()> {
        let v14::RenameOptions {
            target_mode,
            extensions,
        } = options;
        self.note((from, to, target_mode), Some(&extensions));
        Ok(())
    }
}

/// Notes what is done with it. A part is noted when it is given, before anybody awaits it.
#[derive(Debug)]
struct Upload(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl v14::MultipartUpload for Upload {
    fn put_part(&mut self, data: v14::PutPayload) -> v14::UploadPart {
        self.0
            .lock()
            .unwrap()
            .push(format!("part {:?}", Bytes::from(data)));
        async { Err(failure_14()) }.boxed()
    }

    async fn complete(&mut self) -> v14::Result<v14::PutResult> {
        self.0.lock().unwrap().push("complete".into());
        let (e_tag, version) = (Some("\"e\"".into()), Some("v".into()));
        Ok(v14::PutResult {
            e_tag,
            version,
            extensions: extensions_14(9),
        })
    }

    async fn abort(&mut self) -> v14::Result<()> {
        self.0.lock().unwrap().push("abort".into());
        Err(failure_14())
    }
}

fn failure_14() -> v14::Error {
    let (path, source) = ("some/path".into(), "denied".into());
    v14::Error::PermissionDenied { path, source }
}

fn extensions_14(mark: u64) -> v14::Extensions {
    let mut extensions = v14::Extensions::new();
    extensions.insert(Mark(mark));
    extensions
}

fn extensions_13(mark: u64) -> v13::Extensions {
    let mut extensions = v13::Extensions::new();
    extensions.insert(Mark(mark));
    extensions
}

/// A map has no order.
fn sorted_14(attributes: &v14::Attributes) -> Vec<String> {
    let mut all: Vec<_> = attributes.iter().map(|pair| format!("{pair:?}")).collect();
    all.sort();
    all
}

fn sorted_13(attributes: &v13::Attributes) -> Vec<String> {
    let mut all: Vec<_> = attributes.iter().map(|pair| format!("{pair:?}")).collect();
    all.sort();
    all
}

/// Every kind of attribute, by number, in both versions.
fn kinds(n: usize) -> (v13::Attribute, v14::Attribute) {
    use {v13::Attribute as A, v14::Attribute as B};
    match n {
        0 => (A::ContentDisposition, B::ContentDisposition),
        1 => (A::ContentEncoding, B::ContentEncoding),
        2 => (A::ContentLanguage, B::ContentLanguage),
        3 => (A::ContentType, B::ContentType),
        4 => (A::CacheControl, B::CacheControl),
        5 => (A::StorageClass, B::StorageClass),
        n => {
            let key = format!("key {n}");
            (A::Metadata(key.clone().into()), B::Metadata(key.into()))
        }
    }
}

fn attributes() -> impl Strategy<Value = (v13::Attributes, v14::Attributes)> {
    btree_map(0..9usize, ".{0,9}", 0..9).prop_map(|all| {
        let pairs = all.into_iter().map(|(n, value)| {
            let (a, b) = kinds(n);
            ((a, value.clone()), (b, value))
        });
        let (a, b): (Vec<_>, Vec<_>) = pairs.unzip();
        (a.into_iter().collect(), b.into_iter().collect())
    })
}

fn tags() -> impl Strategy<Value = v13::TagSet> {
    vec((".{0,9}", ".{0,9}"), 0..4).prop_map(|pairs| {
        let mut tags = v13::TagSet::default();
        for (key, value) in pairs {
            tags.push(&key, &value);
        }
        tags
    })
}

/// A path as applications make them: any text, encoded where it must be.
fn path() -> impl Strategy<Value = String> {
    vec(".{1,9}", 1..4).prop_map(|segments| v13::path::Path::from_iter(segments).to_string())
}

fn string() -> impl Strategy<Value = Option<String>> {
    option::of(".{0,9}")
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0..4_000_000_000i64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn meta() -> impl Strategy<Value = v14::ObjectMeta> {
    (path(), time(), any::<u64>(), string(), string()).prop_map(
        |(location, last_modified, size, e_tag, version)| v14::ObjectMeta {
            location: v14::path::Path::parse(location).unwrap(),
            last_modified,
            size,
            e_tag,
            version,
        },
    )
}

fn pieces() -> impl Strategy<Value = Vec<Bytes>> {
    vec(vec(any::<u8>(), 0..9).prop_map(Bytes::from), 0..4)
}

fn range() -> impl Strategy<Value = v13::GetRange> {
    prop_oneof![
        any::<Range<u64>>().prop_map(v13::GetRange::Bounded),
        any::<u64>().prop_map(v13::GetRange::Offset),
        any::<u64>().prop_map(v13::GetRange::Suffix),
    ]
}

fn put_mode() -> impl Strategy<Value = v13::PutMode> {
    prop_oneof![
        Just(v13::PutMode::Overwrite),
        Just(v13::PutMode::Create),
        (string(), string())
            .prop_map(|(e_tag, version)| v13::UpdateVersion { e_tag, version })
            .prop_map(v13::PutMode::Update),
    ]
}

fn get_options() -> impl Strategy<Value = v13::GetOptions> {
    let times = (option::of(time()), option::of(time()));
    let rest = (option::of(range()), string(), any::<bool>(), any::<u64>());
    (string(), string(), times, rest).prop_map(|(if_match, if_none_match, times, rest)| {
        v13::GetOptions {
            if_match,
            if_none_match,
            if_modified_since: times.0,
            if_unmodified_since: times.1,
            range: rest.0,
            version: rest.1,
            head: rest.2,
            extensions: extensions_13(rest.3),
        }
    })
}

/// What one call on the adapter asked of a store below that answers so.
fn ask<T>(
    answer: Answer,
    call: impl AsyncFnOnce(Arc<dyn v13::ObjectStore>) -> T,
) -> (Vec<String>, T) {
    let below = Arc::new(Below {
        answer,
        ..Below::default()
    });
    let store = adapt(Arc::<Below>::clone(&below));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let answer = runtime.block_on(call(store));
    let asked = std::mem::take(&mut *below.asked.lock().unwrap());
    (asked, answer)
}

fn mark_of(extensions: &v13::Extensions) -> Option<Mark> {
    extensions.get::<Mark>().cloned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_put_arrives_whole_and_its_result_returns(
        location in path(),
        pieces in pieces(),
        (mode, tags, mark) in (put_mode(), tags(), any::<u64>()),
        (above, below) in attributes(),
        put in (string(), string()),
    ) {
        let location = v13::path::Path::parse(location).unwrap();
        let options = v13::PutOptions {
            mode: mode.clone(),
            tags: tags.clone(),
            attributes: above,
            extensions: extensions_13(mark),
        };
        let payload: v13::PutPayload = pieces.iter().cloned().collect();
        let answer = Answer { put: Some(put.clone()), ..Answer::default() };
        let (asked, result) = ask(answer, async |store| {
            store.put_opts(&location, payload, options).await.unwrap()
        });
        let expected = (&location, pieces, mode, tags.encoded(), sorted_14(&below));
        prop_assert_eq!(asked, [format!("{expected:?} {:?}", Some(Mark(mark)))]);
        prop_assert_eq!((result.e_tag, result.version), put);
    }

    #[test]
    fn an_upload_is_passed_on_call_by_call(
        location in path(),
        (tags, mark) in (tags(), any::<u64>()),
        (above, below) in attributes(),
    ) {
        let location = v13::path::Path::parse(location).unwrap();
        let options = v13::PutMultipartOptions {
            tags: tags.clone(),
            attributes: above,
            extensions: extensions_13(mark),
        };
        let failure = format!("{:?}", failure_14());
        let (asked, put) = ask(Answer::default(), async |store| {
            let mut upload = store.put_multipart_opts(&location, options).await.unwrap();
            let late = upload.put_part("late".into());
            let early = upload.put_part("early".into()).await;
            assert_eq!(format!("{:?}", early.unwrap_err()), failure);
            assert_eq!(format!("{:?}", late.await.unwrap_err()), failure);
            let put = upload.complete().await.unwrap();
            assert_eq!(format!("{:?}", upload.abort().await.unwrap_err()), failure);
            put
        });
        let begun = (&location, tags.encoded(), sorted_14(&below));
        let begun = format!("{begun:?} {:?}", Some(Mark(mark)));
        let parts = [r#"part b"late""#, r#"part b"early""#].map(str::to_owned);
        prop_assert_eq!(&asked[0], &begun);
        prop_assert_eq!(&asked[1..3], &parts);
        prop_assert_eq!(&asked[3..], &["complete", "abort"]);
        prop_assert_eq!((put.e_tag.as_deref(), put.version.as_deref()), (Some("\"e\""), Some("v")));
    }

    #[test]
    fn a_get_arrives_whole_and_its_answer_returns(
        location in path(),
        options in get_options(),
        (meta, range, pieces, fails) in (meta(), any::<Range<u64>>(), pieces(), any::<bool>()),
        (above, below) in attributes(),
    ) {
        let location = v13::path::Path::parse(location).unwrap();
        let answer = Answer {
            metas: vec![meta.clone()],
            attributes: below,
            range: range.clone(),
            pieces: pieces.clone(),
            fails,
            ..Answer::default()
        };
        let expected = format!("{:?} {:?}", (&location, &options), mark_of(&options.extensions));
        let (asked, (got, body, end)) = ask(answer, async |store| {
            let got = store.get_opts(&location, options).await.unwrap();
            let facts = (format!("{:?}", got.meta), got.range.clone(), got.attributes.clone());
            let mut stream = got.into_stream();
            let (mut body, mut end) = (Vec::new(), None);
            while let Some(item) = stream.next().await {
                match item {
                    Ok(piece) => body.push(piece),
                    Err(error) => end = Some(error),
                }
            }
            (facts, body, end)
        });
        prop_assert_eq!(asked, [expected]);
        prop_assert_eq!(&got.0, &format!("{meta:?}"));
        prop_assert_eq!(got.1, range);
        prop_assert_eq!(sorted_13(&got.2), sorted_13(&above));
        prop_assert_eq!(body, pieces);
        prop_assert_eq!(end.map(|error| format!("{error:?}")),
            fails.then(|| format!("{:?}", failure_14())));
    }

    #[test]
    fn listings_arrive_and_return_in_order(
        prefix in option::of(path()),
        offset in path(),
        metas in vec(meta(), 0..5),
        prefixes in vec(path(), 0..5),
        fails in any::<bool>(),
    ) {
        let parse = |path: String| v13::path::Path::parse(path).unwrap();
        let (prefix, offset) = (prefix.map(parse), parse(offset));
        let prefixes: Vec<_> = prefixes.into_iter().map(parse).collect();
        let below = prefixes.iter().map(|path| v14::path::Path::parse(path).unwrap()).collect();
        let answer = Answer { metas: metas.clone(), prefixes: below, fails, ..Answer::default() };
        let (asked, (all, after, level)) = ask(answer, async |store| {
            let all: Vec<_> = store.list(prefix.as_ref()).collect().await;
            let after = store.list_with_offset(prefix.as_ref(), &offset);
            let after: Vec<_> = after.try_collect().await.unwrap();
            (all, after, store.list_with_delimiter(prefix.as_ref()).await.unwrap())
        });
        let prefix = prefix.as_ref();
        prop_assert_eq!(asked, [
            format!("{:?} None", ("list", prefix)),
            format!("{:?} None", ("list_with_offset", prefix, &offset)),
            format!("{:?} None", ("list_with_delimiter", prefix)),
        ]);
        let debug = |metas: &[v14::ObjectMeta]| format!("{metas:?}");
        let mut expected: Vec<v14::Result<_>> = metas.iter().cloned().map(Ok).collect();
        expected.extend(fails.then(|| Err(failure_14())));
        prop_assert_eq!(format!("{all:?}"), format!("{expected:?}"));
        prop_assert_eq!(format!("{after:?}"), debug(&metas));
        prop_assert_eq!(format!("{:?}", level.objects), debug(&metas));
        prop_assert_eq!(level.common_prefixes, prefixes);
    }

    #[test]
    fn ranges_copies_and_renames_arrive(
        (from, to, mark) in (path(), path(), any::<u64>()),
        (create, ranges, pieces) in (any::<bool>(), vec(any::<Range<u64>>(), 0..4), pieces()),
    ) {
        let [from, to] = [from, to].map(|path| v13::path::Path::parse(path).unwrap());
        let copy = if create { v13::CopyMode::Create } else { v13::CopyMode::Overwrite };
        let rename = if create {
            v13::RenameTargetMode::Create
        } else {
            v13::RenameTargetMode::Overwrite
        };
        let answer = Answer { pieces: pieces.clone(), ..Answer::default() };
        let (asked, got) = ask(answer, async |store| {
            let got = store.get_ranges(&from, &ranges).await.unwrap();
            let options = v13::CopyOptions { mode: copy, extensions: extensions_13(mark) };
            store.copy_opts(&from, &to, options).await.unwrap();
            let options =
                v13::RenameOptions { target_mode: rename, extensions: extensions_13(mark) };
            store.rename_opts(&from, &to, options).await.unwrap();
            got
        });
        prop_assert_eq!(got, pieces);
        let mark = Some(Mark(mark));
        prop_assert_eq!(asked, [
            format!("{:?} None", (&from, &ranges[..])),
            format!("{:?} {mark:?}", (&from, &to, copy)),
            format!("{:?} {mark:?}", (&from, &to, rename)),
        ]);
    }

    #[test]
    fn deletes_are_answered_one_by_one_in_order(paths in vec(option::of(path()), 0..9)) {
        let asked = paths.iter().map(|path| match path {
            Some(path) => Ok(v13::path::Path::parse(path).unwrap()),
            None => Err(v13::Error::NotImplemented {
                operation: "naming it".into(),
                implementer: "the caller".into(),
            }),
        });
        let asked = stream::iter(asked.collect::<Vec<_>>()).boxed();
        let (_, answers) = ask(Answer::default(), async |store| {
            store.delete_stream(asked).collect::<Vec<_>>().await
        });
        prop_assert_eq!(answers.len(), paths.len());
        for (n, (path, answer)) in paths.iter().zip(answers).enumerate() {
            match (path, answer) {
                (Some(path), Ok(same)) if n % 2 == 0 => prop_assert_eq!(path, same.as_ref()),
                (Some(path), Err(v13::Error::NotFound { path: same, .. })) if n % 2 == 1 => {
                    prop_assert_eq!(path, &same);
                }
                (None, Err(v13::Error::NotImplemented { operation, implementer })) => {
                    prop_assert_eq!(operation, "naming it");
                    prop_assert_eq!(implementer, "the caller");
                }
                (path, answer) => prop_assert!(false, "{path:?}: {answer:?}"),
            }
        }
    }
}

#[tokio::test]
async fn errors_keep_their_kind_their_path_and_their_source_both_ways() {
    use std::str::from_utf8;
    use v13::path::{Error as PathError, Path};
    let (path, source) = (|| "a/b".to_owned(), || "why".into());
    let task = tokio::spawn(std::future::pending::<()>());
    task.abort();
    let bad_path = [
        PathError::EmptySegment { path: path() },
        Path::parse("a/../b").unwrap_err(),
        PathError::Canonicalize {
            path: path().into(),
            source: std::io::Error::other("io"),
        },
        PathError::InvalidPath {
            path: path().into(),
        },
        PathError::NonUnicode {
            path: path(),
            source: from_utf8(vec![255].as_slice()).unwrap_err(),
        },
        PathError::PrefixMismatch {
            path: path(),
            prefix: "c".into(),
        },
    ];
    let mut errors = vec![
        v13::Error::Generic {
            store: "S",
            source: source(),
        },
        v13::Error::NotFound {
            path: path(),
            source: source(),
        },
        v13::Error::JoinError {
            source: task.await.unwrap_err(),
        },
        v13::Error::NotSupported { source: source() },
        v13::Error::AlreadyExists {
            path: path(),
            source: source(),
        },
        v13::Error::Precondition {
            path: path(),
            source: source(),
        },
        v13::Error::NotModified {
            path: path(),
            source: source(),
        },
        v13::Error::NotImplemented {
            operation: "o".into(),
            implementer: "i".into(),
        },
        v13::Error::PermissionDenied {
            path: path(),
            source: source(),
        },
        v13::Error::Unauthenticated {
            path: path(),
            source: source(),
        },
        v13::Error::UnknownConfigurationKey {
            store: "S",
            key: "k".into(),
        },
    ];
    errors.extend(bad_path.map(|source| v13::Error::InvalidPath { source }));
    let expected: Vec<_> = errors.iter().map(|error| format!("{error:?}")).collect();

    let below = Arc::new(Below::default());
    let asked = stream::iter(errors.into_iter().map(Err)).boxed();
    let answers = adapt(Arc::<Below>::clone(&below)).delete_stream(asked);
    let answers: Vec<_> = answers
        .map(|answer| format!("{:?}", answer.unwrap_err()))
        .collect()
        .await;
    assert_eq!(*below.failures.lock().unwrap(), expected, "on the way down");
    assert_eq!(answers, expected, "on the way up");
}

#[tokio::test]
async fn a_local_file_stays_a_file() {
    use v13::{GetRange, ObjectStoreExt};
    let folder = tempfile::tempdir().unwrap();
    let local = v14::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store = adapt(Arc::new(local));
    let path = v13::path::Path::from("a");
    store.put(&path, "0123456789".into()).await.unwrap();
    let range = Some(GetRange::Suffix(4));
    let got = async || {
        let options = v13::GetOptions::new().with_range(range.clone());
        store.get_opts(&path, options).await.unwrap()
    };
    let whole = store.get(&path).await.unwrap();
    assert!(
        matches!(whole.payload, v13::GetResultPayload::File(..)),
        "{whole:?}"
    );
    assert_eq!(whole.bytes().await.unwrap(), "0123456789");
    assert_eq!(got().await.bytes().await.unwrap(), "6789");
    let pieces: Vec<Bytes> = got().await.into_stream().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"6789");
}

/// 0.13 lets a path end in an empty segment, which 0.14 would take for another object's.
#[tokio::test]
async fn a_path_that_would_become_another_one_is_refused() {
    use v13::ObjectStoreExt;
    use v13::path::Path;
    let store = adapt(Arc::new(v14::memory::InMemory::new()));
    let (a, odd) = (Path::from("a"), Path::from("a").join(""));
    store.put(&a, "x".into()).await.unwrap();
    let refused = |result: v13::Result<()>| {
        assert!(
            matches!(result, Err(v13::Error::InvalidPath { .. })),
            "{result:?}"
        );
    };
    refused(store.get(&odd).await.map(drop));
    refused(store.put(&odd, "y".into()).await.map(drop));
    refused(store.delete(&odd).await);
    refused(store.copy(&a, &odd).await);
    refused(store.rename(&odd, &a).await);
    refused(
        store
            .list(Some(&odd))
            .try_collect::<Vec<_>>()
            .await
            .map(drop),
    );
    refused(store.list_with_delimiter(Some(&odd)).await.map(drop));
    assert_eq!(store.get(&a).await.unwrap().bytes().await.unwrap(), "x");
}

#[test]
fn it_shows_itself_as_the_store_below() {
    let store = adapt(Arc::new(v14::memory::InMemory::new()));
    assert_eq!(store.to_string(), v14::memory::InMemory::new().to_string());
}
