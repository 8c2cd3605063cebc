//! A store that lies: whatever it does to the bytes it holds, a read ends in a
//! typed error or in what was written, gives nothing else out, and changes
//! nothing; and once the lie is over the same call succeeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path;
use kluis::object_store::{Attribute, Attributes, GetRange, ObjectMeta, PutMode};
use kluis::{Check, Error, Finding, Password, PutOptions, Result, Unlisted, Vault, Verdict};
use kluis_adversary::{Fault, HostileStore, Lie, Op, Rule, RuleId};
use kluis_tests::{
    CHUNK, HEADER, SEALED, as_store, cheap, contents, hostile_vault, is_cold, is_signed, open,
    open_with, options, pattern, phrase, plant, read, store_of, unplant, words,
};
use std::ops::Range;
use std::sync::Arc;

const CANARIES: [&str; 4] = [
    "CANARY-IN-CONTENT",
    "CANARY-IN-PASSWORD",
    "CANARY-IN-ATTRIBUTE",
    "CANARY-IN-NAME",
];

/// Content of this length with a canary at both ends.
fn canaries(length: usize) -> Vec<u8> {
    let canary = CANARIES[0].as_bytes();
    let mut content = pattern(length);
    if length >= canary.len() {
        content[..canary.len()].copy_from_slice(canary);
        content[length - canary.len()..].copy_from_slice(canary);
    }
    content
}

/// What a log or a bug report gets to see of an error.
fn assert_clean(error: &Error) {
    let mut text = format!("{error} {error:?} {} {}", error.code(), error.hint());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    for canary in &CANARIES[..3] {
        assert!(!text.contains(canary), "{text}");
    }
}

/// A vault in a store that lies, and one object of it.
struct Scene {
    store: HostileStore,
    vault: Vault,
    /// Where the object lies.
    place: Path,
    content: Vec<u8>,
}

impl Scene {
    async fn new(content: Vec<u8>) -> Self {
        Self::with(content, false, PutOptions::default()).await
    }

    async fn with(content: Vec<u8>, padded: bool, put: PutOptions) -> Self {
        let store = HostileStore::new(InMemory::new());
        let vault = options()
            .padded(padded)
            .create(as_store(&store), phrase(&words()))
            .await
            .unwrap();
        let mark = store.mark();
        let pieces: Vec<_> = content
            .chunks(100_000)
            .map(|p| Ok(p.to_vec().into()))
            .collect();
        vault
            .put_stream("a/x", stream::iter(pieces), put)
            .await
            .unwrap();
        let place = store.journal().since(mark).calls()[0].path.clone();
        Self {
            store,
            vault,
            place,
            content,
        }
    }

    /// From now on the store lies to somebody who knows the object's header (B05). In the
    /// part `cold` of the tests he never does.
    async fn tell(&self, lie: Lie) -> RuleId {
        if !self.content.is_empty() {
            self.ranged(0..1).await.unwrap();
        }
        self.store.add(lie.at(&self.place))
    }

    /// Streams until the end or an error: what came has to be a beginning.
    async fn streamed(&self) -> Result<()> {
        let mut stream = self.vault.get("a/x").await?.into_stream();
        let mut length = 0;
        loop {
            let piece = match stream.try_next().await? {
                Some(piece) => piece,
                None => break,
            };
            let end = length + piece.len();
            assert!(end <= self.content.len(), "more than was written");
            assert!(piece == self.content[length..end], "not what was written");
            length = end;
        }
        assert_eq!(length, self.content.len(), "a clean end before the end");
        Ok(())
    }

    /// A range is what was written, or an error.
    async fn ranged(&self, range: Range<u64>) -> Result<()> {
        let (start, end) = (range.start as usize, range.end as usize);
        let end = end.min(self.content.len());
        let got = self.vault.get_range("a/x", range.clone()).await?;
        assert!(got == self.content[start..end], "{range:?}");
        let got = self.vault.get_ranges("a/x", &[range.clone(), 0..1]).await?;
        assert!(got[0] == self.content[start..end] && got[1] == self.content[..1]);
        Ok(())
    }

    /// The oracle: reading whole has to fail with one of these, in every way.
    async fn refuses(&self, lie: Lie, codes: &[&str], what: &str) {
        let before = self.store.contents().await.unwrap();
        let mark = self.store.mark();
        let rule = self.tell(lie).await;
        let fails = |result: Result<()>| {
            let error = result.expect_err(what);
            assert!(codes.contains(&error.code()), "{what}: {error:?}");
            assert_clean(&error);
        };
        // Cold and warm (B05).
        for _ in 0..2 {
            fails(read(&self.vault, "a/x").await.map(drop));
        }
        assert!(self.store.uses(rule) > 0, "{what}: nobody was lied to");
        fails(self.streamed().await);
        fails(self.vault.copy("a/x", "b").await);
        fails(self.vault.rename("a/x", "b").await);
        // Parts of it may be as they were.
        let length = self.content.len() as u64;
        for range in [
            0..length.min(20),
            length.saturating_sub(7)..length,
            0..length,
        ] {
            if !range.is_empty()
                && let Err(error) = self.ranged(range).await
            {
                assert_clean(&error);
            }
        }
        match self.vault.head("a/x").await {
            Ok(info) => assert_eq!(info.meta.location.as_ref(), "a/x"),
            Err(error) => assert_clean(&error),
        }
        self.store.remove(rule);
        let journal = self.store.journal().since(mark);
        // A copy of many parts begins before it fails, and is taken back.
        let wrote = journal.only(|call| matches!(call.op, Op::Put | Op::Complete | Op::Delete));
        assert!(wrote.calls().is_empty(), "{what}:\n{wrote}");
        assert!(self.store.contents().await.unwrap() == before, "{what}");
        assert!(
            read(&self.vault, "a/x").await.unwrap() == self.content,
            "{what}: afterwards"
        );
    }

    /// Another object, for a lie to use.
    async fn neighbour(&self, path: &str, content: Vec<u8>) -> Path {
        let mark = self.store.mark();
        self.vault.put(path, content).await.unwrap();
        let journal = self.store.journal().since(mark);
        journal.calls().last().unwrap().path.clone()
    }

    async fn stored(&self) -> Vec<u8> {
        self.store.contents().await.unwrap()[&self.place].to_vec()
    }
}

fn serve(bytes: Vec<u8>) -> Lie {
    Lie::edit(move |body| body.clone_from(&bytes))
}

/// A01, A02, B01, B02, D04: every bit of an object, with the class of its error.
#[tokio::test]
async fn every_flipped_bit_is_refused() {
    for (content, padded) in [
        (canaries(41), false),
        (canaries(300), true),
        (Vec::new(), false),
    ] {
        let scene = Scene::with(content, padded, PutOptions::default()).await;
        let length = scene.stored().await.len();
        let mut shapes = std::collections::BTreeSet::new();
        for bit in 0..length * 8 {
            let (byte, within) = (bit / 8, bit % 8);
            let expected = match byte {
                3 | 4 | 6 | 7 => "unsupported_format",
                5 if within > 0 => "unsupported_format",
                _ => "tampered",
            };
            let rule = scene.tell(Lie::FlipBit(bit as u64)).await;
            let mark = scene.store.mark();
            let error = read(&scene.vault, "a/x").await.expect_err("a flipped bit");
            assert_eq!(error.code(), expected, "bit {within} of byte {byte}");
            assert_clean(&error);
            if expected == "tampered" {
                shapes.insert(scene.store.journal().since(mark).to_string());
            }
            // Some flips are out of reach of a range, and of one whose header is known, and
            // the signature; none changes what it gives.
            if bit % 11 == 0 && !scene.content.is_empty() {
                let ranged = scene.ranged(0..9).await;
                // Hashes of one chunk and of one group, and the signature.
                let signature = if is_signed() { length - 160 } else { length };
                let is_known = !is_cold() && !(HEADER..signature).contains(&byte);
                assert!(ranged.is_err() || is_known, "bit {within} of byte {byte}");
            }
            assert!(scene.store.remove(rule) > 0);
        }
        // I06: the store learns nothing from which bit it was.
        assert!(shapes.len() <= 2, "{shapes:?}");
        assert_eq!(scene.store.count(Op::Put), 7, "no failed read writes");
        scene.streamed().await.unwrap();
    }
}

/// A04 to A07, A14: of every length but the right one.
#[tokio::test]
async fn l14_every_other_length_is_refused() {
    let scene = Scene::new(canaries(41)).await;
    let stored = scene.stored().await;
    for length in 0..stored.len() {
        let rule = scene.tell(Lie::Truncate(length)).await;
        let error = read(&scene.vault, "a/x").await.expect_err("cut short");
        assert_eq!(error.code(), "tampered", "{length}");
        for result in [
            scene.vault.head("a/x").await.map(drop),
            scene.ranged(0..9).await,
            scene.ranged(40..41).await,
        ] {
            match result {
                Err(error) => assert_eq!(error.code(), "tampered", "{length}"),
                // A header says nothing of the length.
                Ok(()) => assert!(length >= HEADER + 16, "{length}"),
            }
        }
        assert!(scene.store.remove(rule) > 0);
    }
    for more in [1, 15, 16, 17, SEALED - 57, SEALED - 56, SEALED, SEALED + 16] {
        let what = format!("{more} bytes more");
        let lie = Lie::Extend(Bytes::from(vec![0; more]));
        scene.refuses(lie, &["tampered"], &what).await;
    }
    let lie = Lie::Extend(stored.into());
    scene.refuses(lie, &["tampered"], "itself again").await;

    // At the borders of chunks, where what is left is a whole number of them.
    for chunks in [1, 2, 3, 64, 65] {
        let scene = Scene::new(canaries(chunks * CHUNK)).await;
        for kept in 0..=chunks {
            for more in [0, 15, 16] {
                let length = HEADER + kept * SEALED + more;
                if length < scene.stored().await.len() {
                    let what = format!("{kept} of {chunks} chunks and {more} bytes");
                    let lie = Lie::Truncate(length);
                    scene.refuses(lie, &["tampered"], &what).await;
                }
            }
            if kept > 2 {
                break;
            }
        }
        let cut = HEADER + chunks * SEALED;
        scene
            .refuses(Lie::Truncate(cut), &["tampered"], "its empty chunk")
            .await;
    }
}

fn chunk(index: usize) -> Range<usize> {
    HEADER + index * SEALED..HEADER + (index + 1) * SEALED
}

/// A03, A04, A08, A09, B09.
#[tokio::test]
async fn chunks_belong_to_their_place_in_one_write_of_one_object() {
    let content = canaries(4 * CHUNK + 17);
    let scene = Scene::new(content.clone()).await;
    let first = scene.stored().await;
    let other = scene.neighbour("a/y", content.clone()).await;
    let other = scene.store.contents().await.unwrap()[&other].to_vec();
    scene.vault.put("a/x", content.clone()).await.unwrap();
    let second = scene.stored().await;
    assert_eq!((first.len(), other.len()), (second.len(), second.len()));
    for i in 0..4 {
        for j in i + 1..4 {
            let mut swapped = second.clone();
            swapped[chunk(i)].copy_from_slice(&second[chunk(j)]);
            swapped[chunk(j)].copy_from_slice(&second[chunk(i)]);
            let what = format!("chunks {i} and {j} swapped");
            scene.refuses(serve(swapped), &["tampered"], &what).await;
        }
        let mut twice = second.clone();
        twice.splice(chunk(i).end..chunk(i).end, second[chunk(i)].to_vec());
        scene
            .refuses(serve(twice), &["tampered"], "a chunk twice")
            .await;
        let mut without = second.clone();
        without.drain(chunk(i));
        scene
            .refuses(serve(without), &["tampered"], "without a chunk")
            .await;
    }
    // Every mix of two writes of one object, and of two objects.
    for (theirs, what) in [
        (&first, "of the write before"),
        (&other, "of another object"),
    ] {
        for mix in 1..63_u32 {
            let mut mixed = second.clone();
            for part in 0..6 {
                if mix & 1 << part != 0 {
                    let range = match part {
                        5 => 0..HEADER,
                        4 => HEADER + 4 * SEALED..second.len(),
                        chunk_of => chunk(chunk_of),
                    };
                    mixed[range.clone()].copy_from_slice(&theirs[range]);
                }
            }
            let rule = scene.tell(serve(mixed)).await;
            let error = read(&scene.vault, "a/x").await.expect_err(what);
            assert_eq!(error.code(), "tampered", "{mix:b} {what}");
            scene.streamed().await.expect_err(what);
            scene.store.remove(rule);
        }
    }
    scene
        .refuses(serve(other), &["tampered"], "all of another object")
        .await;
    // What a fresh client cannot see: an old write, whole and authentic.
    let rule = scene.tell(serve(first)).await;
    assert!(read(&scene.vault, "a/x").await.unwrap() == content);
    scene.store.remove(rule);
}

/// A12, A13, B10, D01, D02: every kind of record in the place of every other.
#[tokio::test]
async fn a_record_is_worth_nothing_in_another_place() {
    let scene = Scene::new(canaries(41)).await;
    let long = "l".repeat(300);
    scene.neighbour("a/y", canaries(41)).await;
    scene.neighbour("b/x", canaries(41)).await;
    scene.neighbour("x", canaries(41)).await;
    scene.neighbour("a", canaries(41)).await;
    scene.neighbour(&long, canaries(41)).await;
    let (foreign, other) = hostile_vault().await;
    other.put("a/x", canaries(41)).await.unwrap();
    for (path, bytes) in contents(&foreign).await {
        plant(&scene.store, &format!("foreign/{path}"), &bytes).await;
    }
    let all = contents(&scene.store).await;
    assert!(all.len() > 18);
    for path in all.keys().filter(|path| **path != scene.place.to_string()) {
        let lie = Lie::SwapWith(Path::parse(path).unwrap());
        let codes = ["tampered", "unsupported_format"];
        scene.refuses(lie, &codes, path).await;
    }
    // And an object, or another record, in place of each of the vault's own.
    let own: Vec<&String> = all.keys().filter(|p| p.starts_with('k')).collect();
    let before = scene.store.contents().await.unwrap();
    for target in &own {
        for source in all.keys() {
            let lie = Lie::SwapWith(Path::parse(source).unwrap());
            let rule = scene.store.add(lie.at(target.as_str()));
            if let Err(error) = scene.vault.recovery_kit().await {
                let expected = [
                    "tampered",
                    "unsupported_format",
                    "stale",
                    "untrusted_identity",
                ];
                assert!(
                    expected.contains(&error.code()),
                    "{source} at {target}: {error:?}"
                );
            }
            scene.store.remove(rule);
        }
    }
    scene.vault.recovery_kit().await.unwrap();
    assert!(scene.store.contents().await.unwrap() == before);
    // Two objects of one folder changed places.
    let listed = |scene: &Scene| scene.vault.list(Some("a")).try_collect::<Vec<ObjectMeta>>();
    let places: Vec<String> = listed(&scene)
        .await
        .unwrap()
        .iter()
        .map(|m| m.location.to_string())
        .collect();
    assert_eq!(places.len(), 2);
}

/// A10, A11, I04, I05: the object is right and what arrives is not.
#[tokio::test]
async fn a_dishonest_answer_is_an_error_or_the_truth() {
    for length in [41, 3 * CHUNK + 17, (1 << 20) + 5] {
        let scene = Scene::new(canaries(length)).await;
        let stored = scene.stored().await.len();
        let full = length as u64;
        for n in [0, 1, 100, 255, 256, 257, stored - 1] {
            let what = format!("{n} bytes of {stored}");
            if n < stored {
                let short = Lie::ShortBody(n);
                scene.refuses(short, &["tampered"], &what).await;
            }
            let broken = Lie::ErrAfter(n as u64, Fault::Generic);
            scene.refuses(broken, &["store"], &what).await;
        }
        for more in [vec![0], vec![0; 16], vec![7; SEALED]] {
            let long = Lie::LongBody(more.into());
            scene.refuses(long, &["tampered"], "more bytes").await;
        }
        scene
            .refuses(Lie::Endless, &["tampered"], "an endless body")
            .await;
        let offset = Lie::FromOffset(1);
        scene
            .refuses(offset, &["tampered"], "from another offset")
            .await;
        for claim in [0..1, 1..stored as u64, 0..u64::MAX, 0..1 << 46, 5..5] {
            let what = format!("claims {claim:?}");
            let rule = scene.tell(Lie::ClaimRange(claim)).await;
            let read = read(&scene.vault, "a/x").await;
            match &read {
                Ok(content) => assert!(*content == scene.content, "{what}"),
                Err(error) => assert_eq!(error.code(), "tampered", "{what}"),
            }
            scene.store.remove(rule);
        }
        type Size = fn(u64) -> u64;
        let sizes: [(Size, &str); 9] = [
            (|_| 0, "0"),
            (|_| 255, "255"),
            (|n| n - 1, "one less"),
            (|n| n + 1, "one more"),
            (|n| n + 16_400, "a chunk more"),
            (|_| 1 << 40, "1 TiB"),
            (|_| 1 << 46, "2^46"),
            (|_| u64::MAX, "2^64 - 1"),
            (|_| u64::MAX / 2, "2^63"),
        ];
        for (size, what) in sizes {
            let lie = Lie::meta(move |meta| meta.size = size(meta.size));
            // A store that claims what it does not have fails when it is asked for it.
            let codes = ["tampered", "limit_exceeded", "store"];
            scene.refuses(lie, &codes, what).await;
        }
        // Truths in another form: as small as can be, and under other tags.
        let rule = scene.tell(Lie::TinyItems(1)).await;
        if length < 1 << 20 {
            assert!(read(&scene.vault, "a/x").await.unwrap() == scene.content);
        }
        scene.ranged(0..1).await.unwrap();
        scene.ranged(full - 3..full).await.unwrap();
        scene.store.remove(rule);
        for lie in [
            Lie::meta(|meta| meta.e_tag = None),
            Lie::meta(|meta| meta.e_tag = Some("another".into())),
            Lie::meta(|meta| meta.version = Some("another".into())),
            Lie::meta(|meta| meta.last_modified = Default::default()),
            Lie::meta(|meta| meta.location = Path::from("another")),
        ] {
            let what = format!("{lie:?}");
            let rule = scene.tell(lie).await;
            match scene.streamed().await {
                Ok(()) => {}
                Err(error) => assert_eq!(error.code(), "conflict", "{what}"),
            }
            let head = scene.vault.head("a/x").await.unwrap();
            assert_eq!(head.meta.location.as_ref(), "a/x", "{what}");
            assert_eq!(head.meta.size, full, "{what}");
            scene.store.remove(rule);
        }
    }
}

/// What a range needs of an object is authentic; what it does not need may be
/// damaged, unless the answer depends on where the object ends.
#[tokio::test]
async fn ranges_of_a_damaged_object_are_right_or_refused() {
    let length = 5 * CHUNK + 17;
    let scene = Scene::new(canaries(length)).await;
    let last = (HEADER + 5 * SEALED) as u64 * 8;
    // The last chunk is damaged: a range before it does not need it.
    let rule = scene.tell(Lie::FlipBit(last)).await;
    scene.ranged(0..100).await.unwrap();
    scene.ranged(CHUNK as u64..2 * CHUNK as u64).await.unwrap();
    let end = length as u64;
    for range in [
        GetRange::Bounded(end - 1..end),
        GetRange::Bounded(0..end + 5),
        GetRange::Suffix(1),
        GetRange::Suffix(CHUNK as u64 * 2),
        GetRange::Offset(10),
        // That nothing is there depends on the end as well; in a signed vault on the
        // signature.
        GetRange::Offset(end),
        GetRange::Bounded(end + 7..end + 9),
    ] {
        if is_signed()
            && matches!(range, GetRange::Offset(at) | GetRange::Bounded(Range { start: at, .. }) if at >= end)
        {
            continue;
        }
        let got = async {
            scene
                .vault
                .get_part("a/x", range.clone())
                .await?
                .bytes()
                .await
        };
        let error = got.await.expect_err("depends on the end");
        assert_eq!(error.code(), "tampered", "{range:?}");
    }
    scene.store.remove(rule);
    // The store says that the object ends earlier, at a border that can be one.
    for kept in [HEADER + 16, HEADER + SEALED + 16, HEADER + 3 * SEALED + 20] {
        for lie in [
            Lie::Truncate(kept),
            Lie::meta(move |meta| meta.size = kept as u64),
        ] {
            let rule = scene.tell(lie).await;
            for range in [
                GetRange::Suffix(1),
                GetRange::Suffix(100_000),
                GetRange::Offset(0),
                GetRange::Bounded(0..end),
                GetRange::Bounded(end - 1..end),
            ] {
                let got = async {
                    scene
                        .vault
                        .get_part("a/x", range.clone())
                        .await?
                        .bytes()
                        .await
                };
                let error = got.await.expect_err("a false end");
                assert_eq!(error.code(), "tampered", "{kept}: {range:?}");
            }
            scene.store.remove(rule);
        }
    }
    // A11: bodies shorter than their ranges.
    for n in 0..40 {
        let rule = scene.tell(Lie::ShortBody(n * 8)).await;
        let ranges = [20..60, 70..80, 50_000..50_001];
        let got = scene.vault.get_ranges("a/x", &ranges).await;
        assert_eq!(got.expect_err("short").code(), "tampered", "{n}");
        scene.store.remove(rule);
    }
}

/// Whoever reads a large object as a stream is given nothing of one that ends
/// elsewhere than it did.
#[tokio::test]
async fn nothing_is_given_out_before_the_end_is_authentic() {
    for length in [1 << 20, (1 << 20) + 5, 3 << 20, (3 << 20) + 77] {
        let scene = Scene::new(canaries(length)).await;
        let stored = scene.stored().await.len();
        for lie in [
            Lie::FlipBit(stored as u64 * 8 - 1),
            Lie::Truncate(HEADER + 64 * SEALED),
            Lie::Truncate(HEADER + 63 * SEALED + 30),
            Lie::Extend(vec![0; 40].into()),
        ] {
            let what = format!("{lie:?} of {length}");
            // A signature that is known says where the end is; that what came behind it is
            // another shows at the end.
            let is_known = is_signed() && !is_cold() && matches!(lie, Lie::FlipBit(_));
            let rule = scene.tell(lie).await;
            if is_known {
                assert_eq!(scene.streamed().await.unwrap_err().code(), "tampered");
                scene.store.remove(rule);
                continue;
            }
            let got = scene.vault.get("a/x").await;
            let pieces = match got {
                Ok(object) => object
                    .into_stream()
                    .next()
                    .await
                    .map(|piece| piece.map(drop)),
                Err(error) => Some(Err(error)),
            };
            let error = pieces.expect(&what).expect_err(&what);
            assert_eq!(error.code(), "tampered", "{what}");
            assert!(scene.store.remove(rule) > 0);
            scene.streamed().await.unwrap();
        }
    }
}

/// An object that is replaced between two requests for it.
#[tokio::test]
async fn a_read_of_several_requests_is_of_one_write() {
    let (old, new) = (pattern(3 << 20), pattern((3 << 20) + 1)[1..].to_vec());
    for padded in [false, true] {
        for call in 0..5 {
            for k in 0..4 {
                let scene = Scene::with(old.clone(), padded, PutOptions::default()).await;
                let (vault, content) = (scene.vault.clone(), new.clone());
                let race = Lie::race(move || {
                    let (vault, content) = (vault.clone(), content.clone());
                    async move { vault.put("a/x", content).await.map(drop).unwrap() }
                });
                let rule = scene
                    .store
                    .add(race.at(&scene.place).on(Op::Get).skip(k).times(1));
                let vault = &scene.vault;
                let range = 2 << 20..(2 << 20) + 100;
                let slice =
                    |content: &[u8]| content[range.start as usize..range.end as usize].to_vec();
                let (got, options) = match call {
                    0 => (read(vault, "a/x").await, [old.clone(), new.clone()]),
                    1 => (
                        vault.get_range("a/x", range.clone()).await.map(Vec::from),
                        [slice(&old), slice(&new)],
                    ),
                    2 => (
                        vault
                            .get_ranges("a/x", &[0..50, range.clone()])
                            .await
                            .map(|got| got.concat()),
                        [
                            [&old[..50], &slice(&old)].concat(),
                            [&new[..50], &slice(&new)].concat(),
                        ],
                    ),
                    3 => (
                        async {
                            vault
                                .get_part("a/x", GetRange::Suffix(9))
                                .await?
                                .bytes()
                                .await
                        }
                        .await
                        .map(Vec::from),
                        [old[old.len() - 9..].to_vec(), new[new.len() - 9..].to_vec()],
                    ),
                    _ => (
                        vault
                            .head("a/x")
                            .await
                            .map(|info| info.meta.size.to_be_bytes().to_vec()),
                        [&old, &new].map(|content| (content.len() as u64).to_be_bytes().to_vec()),
                    ),
                };
                scene.store.remove(rule);
                let got = got.unwrap_or_else(|e| panic!("padded {padded}, {call}, {k}: {e:?}"));
                assert!(
                    options.contains(&got),
                    "padded {padded}, call {call}, request {k}"
                );
            }
        }
    }
}

/// B11, B12: what lies outside the object is bound to it.
#[tokio::test]
async fn attributes_outside_an_object_are_refused_when_they_are_not_its_own() {
    let long = |text: &str| PutOptions {
        attributes: Attributes::from_iter([
            (Attribute::ContentType, "text/plain".to_owned()),
            (
                Attribute::Metadata("note".into()),
                format!("{} {text}", CANARIES[2]).repeat(20),
            ),
        ]),
        ..Default::default()
    };
    let scene = Scene::with(canaries(41), false, long("mine")).await;
    scene
        .vault
        .put_opts("a/y", "x", long("another's"))
        .await
        .unwrap();
    let journal = scene.store.journal();
    let others = journal.calls().last().unwrap().attributes.clone();
    assert_eq!(others.len(), 1);
    let key = Attribute::Metadata("kluis".into());
    let edits: Vec<(Lie, &str)> = vec![
        (Lie::attributes(|a| *a = Attributes::new()), "removed"),
        (
            Lie::attributes(move |a| *a = others.clone()),
            "another object's",
        ),
        (edit_attribute(&key, |_| String::new()), "empty"),
        (edit_attribute(&key, |v| v[1..].to_owned()), "cut"),
        (edit_attribute(&key, |v| format!("{v}=")), "padding"),
        (edit_attribute(&key, |v| v.repeat(50)), "much longer"),
        (edit_attribute(&key, |v| v.to_uppercase()), "upper case"),
        (edit_attribute(&key, |_| "\u{0}ü".to_owned()), "no base64"),
    ];
    for (lie, what) in edits {
        scene
            .refuses(lie, &["tampered", "limit_exceeded"], what)
            .await;
        let rule = scene
            .store
            .add(Lie::attributes(|a| *a = Attributes::new()).at(&scene.place));
        let head = scene.vault.head("a/x").await;
        assert_eq!(head.unwrap_err().code(), "tampered");
        scene.store.remove(rule);
    }
    // What the store adds of its own is not shown.
    let rule = scene
        .tell(Lie::attributes(|attributes| {
            attributes.insert(Attribute::ContentEncoding, "evil".into());
            attributes.insert(Attribute::Metadata("evil".into()), "evil".into());
        }))
        .await;
    let info = scene.vault.head("a/x").await.unwrap();
    assert_eq!(info.attributes, long("mine").attributes);
    scene.store.remove(rule);
}

fn edit_attribute(key: &Attribute, edit: fn(&str) -> String) -> Lie {
    let key = key.clone();
    Lie::attributes(move |attributes| {
        let new = edit(attributes.get(&key).unwrap());
        attributes.insert(key.clone(), new.into());
    })
}

/// C06, I09: one bit in each byte of each control record. Damage to one copy is
/// mended, damage to all of them is an error and writes nothing.
#[tokio::test]
async fn every_damaged_control_record_is_mended_or_refused() {
    let first = words();
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .create(as_store(&store), phrase(&first))
        .await
        .unwrap();
    vault.put("a", canaries(41)).await.unwrap();
    let second = words();
    vault
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    let before = contents(&store).await;
    let own: Vec<&String> = before.keys().filter(|path| path.starts_with('k')).collect();
    assert_eq!(own.len(), 10);
    let check = async |result: Result<Vault>, what: &str| match result {
        Ok(vault) => assert_eq!(read(&vault, "a").await.unwrap(), canaries(41), "{what}"),
        Err(error) => {
            let expected = ["tampered", "unsupported_format", "stale", "limit_exceeded"];
            assert!(expected.contains(&error.code()), "{what}: {error:?}");
            assert_clean(&error);
        }
    };
    for path in &own {
        let length = before[*path].len();
        for byte in 0..length {
            let what = format!("{path}, byte {byte}");
            let rule = store.add(Lie::FlipBit((byte * 8 + byte % 8) as u64).at(path.as_str()));
            let opened = open_with(&store, phrase(&second)).await;
            assert!(
                path.starts_with("k/l/") || opened.is_ok(),
                "{what}: {opened:?}"
            );
            check(opened, &what).await;
            store.remove(rule);
        }
        for lie in [
            Lie::Truncate(0),
            Lie::Truncate(length - 1),
            Lie::Extend(vec![0].into()),
            Lie::Extend(vec![0; 2 << 20].into()),
            Lie::Garbage,
            Lie::ShortBody(10),
            Lie::LongBody(vec![1].into()),
            Lie::Endless,
            Lie::NotFound,
            Lie::meta(|meta| meta.size = u64::MAX),
        ] {
            let what = format!("{path}, {lie:?}");
            let rule = store.add(lie.at(path.as_str()));
            check(open_with(&store, phrase(&second)).await, &what).await;
            store.remove(rule);
        }
        let rule = store.add(Lie::TinyItems(1).at(path.as_str()));
        open_with(&store, phrase(&second)).await.unwrap();
        store.remove(rule);
    }
    // What was mended is what was there, and nothing was lost. Only the claim of
    // an entry that nobody could read is given to the one that was written again.
    let after = contents(&store).await;
    for (path, bytes) in &before {
        let given = path.starts_with("k/l/") && !path.contains('-');
        assert!(given || after[path] == *bytes, "{path}");
    }
    let before = after;

    // All copies at once: the error is the same for every byte, and nothing is
    // asked or written behind it.
    let newest = own
        .iter()
        .rfind(|path| path.starts_with("k/h/") && path.contains('-'));
    let copies = [
        "kluis.vault".to_owned(),
        "k/header".to_owned(),
        (*newest.unwrap()).clone(),
    ];
    let mut shapes = std::collections::BTreeSet::new();
    let mark = store.mark();
    for byte in 0..before["kluis.vault"].len() {
        let rules = copies.clone().map(|path| {
            let lie = Lie::FlipBit((byte * 8 + byte % 8) as u64);
            store.add(lie.at(path))
        });
        let from = store.mark();
        let opened = open_with(&store, phrase(&second)).await;
        let error = opened.expect_err("no good copy of the newest header");
        assert!(
            error.code() == "stale",
            "byte {byte}: {error:?}: the header before is good, and the ledger names this one"
        );
        shapes.insert(store.journal().since(from).calls().len());
        for rule in rules {
            store.remove(rule);
        }
    }
    assert!(shapes.len() <= 2, "{shapes:?}");
    let wrote = store.journal().since(mark).only(|call| call.op.writes());
    assert!(wrote.calls().is_empty(), "{wrote}");
    open_with(&store, phrase(&second)).await.unwrap();
}

/// A listing is the store's word, and taken as no more than that.
#[tokio::test]
async fn a_dishonest_listing_shows_nothing_that_does_not_decrypt() {
    let scene = Scene::new(canaries(41)).await;
    scene.neighbour("a/y", canaries(41)).await;
    let paths = async || -> Result<Vec<String>> {
        let listed: Vec<ObjectMeta> = scene.vault.list(None).try_collect().await?;
        let mut paths: Vec<_> = listed.iter().map(|m| m.location.to_string()).collect();
        paths.sort();
        Ok(paths)
    };
    let (folder, name) = scene.place.as_ref().rsplit_once('/').unwrap();
    let ghost = |path: String| ObjectMeta {
        location: Path::parse(&path).unwrap(),
        last_modified: Default::default(),
        size: 1_000,
        e_tag: None,
        version: None,
    };
    let upper = name.to_uppercase();
    for path in [
        format!("{folder}/{}", "v".repeat(52)),
        format!("{folder}/{}", &name[1..]),
        format!("{folder}/{upper}"),
        format!("{folder}/{name}0"),
        format!("{folder}/{name}/{name}"),
        format!("o/{name}"),
        format!("{folder}/~{}", "0".repeat(52)),
        format!("{folder}/~{}~", "0".repeat(52)),
        format!("{folder}/plain name"),
        "o".to_owned(),
        "elsewhere/x".to_owned(),
        "k/x".to_owned(),
    ] {
        let added = ghost(path.clone());
        let rule = scene
            .store
            .add(Lie::list(move |entries| entries.push(added.clone())));
        assert_eq!(paths().await.unwrap(), ["a/x", "a/y"], "{path}");
        let level = scene.vault.list_with_delimiter(Some("a")).await.unwrap();
        assert_eq!(level.objects.len(), 2, "{path}");
        scene.store.remove(rule);
    }
    // Unsorted, and twice.
    let rule = scene.store.add(Lie::list(|entries| {
        let again = entries.clone();
        entries.extend(again);
        entries.reverse();
    }));
    assert_eq!(paths().await.unwrap(), ["a/x", "a/x", "a/y", "a/y"]);
    scene.store.remove(rule);
    let rule = scene.tell(Lie::HideFromList).await;
    assert_eq!(paths().await.unwrap(), ["a/y"]);
    assert_eq!(read(&scene.vault, "a/x").await.unwrap(), canaries(41));
    scene.store.remove(rule);
    let rule = scene
        .store
        .add(Rule::new(Lie::ErrAfter(1, Fault::Generic)).on(Op::List));
    assert_eq!(paths().await.unwrap_err().code(), "store");
    scene.store.remove(rule);
    // Sizes are the store's word; what has one that can be none is listed, so that
    // whoever reads it is told.
    let rule = scene.tell(Lie::meta(|meta| meta.size = u64::MAX)).await;
    assert_eq!(paths().await.unwrap(), ["a/x", "a/y"]);
    read(&scene.vault, "a/x").await.unwrap_err();
    scene.store.remove(rule);
    // A chain that never ends is none.
    let endless = scene.store.add(Lie::Endless.at("k/l"));
    assert_eq!(
        open(&scene.store).await.unwrap_err().code(),
        "limit_exceeded"
    );
    scene.store.remove(endless);
}

/// E06, E07, E11, I12: writes that fail, half succeed, or only seem to.
#[tokio::test]
async fn a_write_that_failed_is_an_error_and_can_be_repeated() {
    for length in [41, (9 << 20) + 5] {
        let scene = Scene::new(b"before".to_vec()).await;
        let content = canaries(length);
        let put = || scene.vault.put("a/x", content.clone());
        let lies = [
            (Lie::FailBefore(Fault::Generic), "store"),
            (Lie::FailAfter(Fault::Generic), "store"),
            (Lie::FailBefore(Fault::PermissionDenied), "access_denied"),
            (Lie::FailBefore(Fault::NotFound), "not_found"),
            (Lie::FailBefore(Fault::Precondition), "conflict"),
            (Lie::FailBefore(Fault::NotImplemented), "unsupported"),
            (Lie::FailBefore(Fault::NotSupported), "unsupported"),
            (Lie::TornPut(300), "store"),
            (Lie::TornPut(0), "store"),
        ];
        for (lie, code) in lies {
            for op in [Op::Put, Op::PutMultipart, Op::PutPart, Op::Complete] {
                if (op == Op::Put) == (length > 100) {
                    continue;
                }
                let what = format!("{lie:?} of {op}, {length} bytes");
                let rule = scene.store.add(lie.clone().at(&scene.place).on(op));
                let mark = scene.store.mark();
                let failed = put().await;
                if scene.store.remove(rule) == 0 {
                    failed.unwrap();
                    continue;
                }
                let error = failed.expect_err(&what);
                assert_eq!(error.code(), code, "{what}");
                assert_clean(&error);
                let tries = scene.store.journal().since(mark).count(op);
                assert!(tries <= 3, "{what}: {tries} tries");
                // The old, the new, or a torn one that is refused.
                match read(&scene.vault, "a/x").await {
                    Ok(found) => assert!(found == b"before" || found == content, "{what}"),
                    Err(error) => assert_eq!(error.code(), "tampered", "{what}"),
                }
                put().await.unwrap();
                assert!(
                    read(&scene.vault, "a/x").await.unwrap() == content,
                    "{what}"
                );
                scene.vault.put("a/x", "before").await.unwrap();
            }
        }
        // Said to be done and not: nobody told this client, and it does not guess.
        let rule = scene.store.add(Rule::new(Lie::DropWrite));
        put().await.unwrap();
        scene.store.remove(rule);
        assert_eq!(read(&scene.vault, "a/x").await.unwrap(), b"before");
    }
}

/// A condition may fail against one's own write, whose answer was lost.
#[tokio::test]
async fn a_create_that_meets_its_own_write_has_succeeded() {
    let (store, vault) = hostile_vault().await;
    let create = || PutOptions {
        mode: PutMode::Create,
        ..Default::default()
    };
    let rule = store.add(Lie::FailAfter(Fault::AlreadyExists).at("o/**").on(Op::Put));
    vault.put_opts("a", "mine", create()).await.unwrap();
    assert_eq!(store.remove(rule), 1);
    assert_eq!(read(&vault, "a").await.unwrap(), b"mine");
    let other = open(&store).await.unwrap();
    for client in [&vault, &other] {
        let refused = client.put_opts("a", "mine", create()).await;
        assert_eq!(refused.unwrap_err().code(), "already_exists");
    }
}

/// Reads that fail are not tried again and again.
#[tokio::test]
async fn a_failed_read_asks_the_store_no_more_than_twice() {
    let scene = Scene::new(canaries((2 << 20) + 5)).await;
    for (fault, code) in [
        (Fault::Generic, "store"),
        (Fault::NotFound, "not_found"),
        (Fault::PermissionDenied, "access_denied"),
        (Fault::Unauthenticated, "access_denied"),
        (Fault::Precondition, "conflict"),
    ] {
        let rule = scene.tell(Lie::FailBefore(fault)).await;
        for call in 0..4 {
            let mark = scene.store.mark();
            let failed = match call {
                0 => read(&scene.vault, "a/x").await.map(drop),
                1 => scene.vault.head("a/x").await.map(drop),
                2 => scene.vault.get_range("a/x", 0..10).await.map(drop),
                _ => scene.vault.delete("a/x").await,
            };
            assert_eq!(failed.unwrap_err().code(), code);
            let asked = scene.store.journal().since(mark).calls().len();
            // The first of three was by a header that was known before.
            let most = if call == 2 && !is_cold() { 3 } else { 2 };
            assert!(asked <= most, "{fault:?}, call {call}: {asked}");
        }
        scene.store.remove(rule);
    }
    scene.streamed().await.unwrap();
}

/// B04, H05: everything that was ever sent, of every operation.
#[tokio::test]
async fn nothing_that_is_secret_ever_reaches_the_store() {
    let store = HostileStore::new(InMemory::new());
    let password = || Password::new(CANARIES[1]);
    let name = CANARIES[3];
    for padded in [false, true] {
        let prefix = format!("padded-{padded}");
        let inner = kluis::object_store::prefix::PrefixStore::new(store.clone(), prefix);
        let inner: Arc<dyn kluis::object_store::ObjectStore> = Arc::new(inner);
        let vault = options()
            .padded(padded)
            .create(inner.clone(), password())
            .await
            .unwrap();
        let with = |times: usize| PutOptions {
            attributes: Attributes::from_iter([(
                Attribute::Metadata(CANARIES[2].into()),
                CANARIES[2].repeat(times),
            )]),
            ..Default::default()
        };
        let long = name.repeat(20);
        for (path, length, times) in [
            (name.to_owned(), 100, 1),
            (format!("{name}/{name}"), 100, 30),
            (format!("{long}/{name}/{long}"), 5 * CHUNK, 1),
            (format!("large/{name}"), 20 << 20, 30),
        ] {
            vault
                .put_opts(&path, canaries(length), with(times))
                .await
                .unwrap();
            let pieces = canaries(length)
                .chunks(77_777)
                .map(|p| Ok(p.to_vec().into()))
                .collect::<Vec<_>>();
            vault
                .put_stream(&path, stream::iter(pieces), with(times))
                .await
                .unwrap();
            vault.get_range(&path, 5..9).await.unwrap();
            vault.head(&path).await.unwrap();
            vault.copy(&path, format!("copy of {path}")).await.unwrap();
            vault
                .rename(format!("copy of {path}"), format!("moved {path}"))
                .await
                .unwrap();
            let _ = vault.get(format!("not {path}")).await;
            vault.delete(&path).await.unwrap();
        }
        vault
            .list(Some(name))
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        let _ = vault.list_with_delimiter(Some(name)).await;
        vault.change_password(password(), cheap()).await.unwrap();
        vault.add_slot(phrase(&words()), cheap()).await.unwrap();
        let kit = vault.recovery_kit().await.unwrap();
        vault
            .rotate_root(vec![(password().into(), cheap())])
            .await
            .unwrap();
        vault
            .check(None, Check::Full)
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        options().open(inner.clone(), password()).await.unwrap();
        let _ = options().open(inner.clone(), Password::new(name)).await;
        let _ = options().restore(inner, &kit, password()).await;
        let text = format!("{vault:?} {kit:?} {kit} {:?}", vault.slots().unwrap());
        for canary in CANARIES {
            assert!(!text.contains(canary));
        }
    }
    let journal = store.journal();
    assert!(journal.calls().len() > 100);
    for canary in CANARIES {
        let seen = journal.find(canary.as_bytes());
        assert!(seen.is_empty(), "{canary}: {seen:?}");
        let seen = journal.find(&canary.as_bytes()[4..12]);
        assert!(seen.is_empty(), "a part of {canary}: {seen:?}");
    }
    let zeros = journal.find(&[0; 24]);
    assert!(zeros.is_empty(), "{zeros:?}");
}

async fn findings(vault: &Vault, how: Check) -> Vec<Finding> {
    let mut found: Vec<Finding> = vault.check(None, how).try_collect().await.unwrap();
    found.sort_by(|a, b| a.store_path.cmp(&b.store_path));
    found
}

/// What `check` says of a healthy vault, and of one with a fault of each kind.
#[tokio::test]
async fn a_check_finds_each_fault_in_its_place() {
    let (store, vault) = hostile_vault().await;
    let long = "l".repeat(200);
    let paths = [
        "a".to_owned(),
        "d/b".to_owned(),
        long.clone(),
        format!("{long}-folder/c"),
    ];
    for path in &paths {
        vault.put(path, canaries(2 * CHUNK)).await.unwrap();
    }
    vault
        .change_password(kluis_tests::password(), cheap())
        .await
        .unwrap();
    for how in [Check::Quick, Check::Full] {
        let found = findings(&vault, how).await;
        assert_eq!(found.len(), 10 + 4 + 2);
        for finding in &found {
            assert!(matches!(finding.verdict, Verdict::Ok), "{finding:?}");
        }
        let mut named: Vec<_> = found
            .iter()
            .filter_map(|f| f.path.as_ref())
            .map(Path::to_string)
            .collect();
        named.sort();
        let mut expected = paths.to_vec();
        expected.sort();
        assert_eq!(named, expected);
        let below: Vec<Finding> = vault.check(Some("d"), how).try_collect().await.unwrap();
        assert_eq!(below.len(), 1);
        assert_eq!(below[0].size, 2 * CHUNK as u64);
    }
    let all = contents(&store).await;
    let place = |ends: fn(&str) -> bool| all.keys().find(|path| ends(path)).unwrap().clone();
    let object = all
        .iter()
        .find(|(p, b)| p.starts_with("o/") && b.len() > CHUNK)
        .unwrap()
        .0
        .clone();
    let record = place(|path| path.ends_with('~'));
    let entry = place(|path| path.starts_with("k/l/") && path.contains('-'));
    let header = place(|path| path.starts_with("k/h/") && path.contains('-'));
    let claim = place(|path| path.starts_with("k/h/") && !path.contains('-'));
    let copy = "k/header".to_owned();
    let old_header = all[&header].clone();
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    type Edit = Box<dyn Fn(&mut Vec<u8>)>;
    let faults: Vec<(&String, Edit, &str, bool)> = vec![
        (&object, Box::new(flip(100)), "tampered", true),
        (&object, Box::new(flip(HEADER + 10)), "tampered", false),
        (&object, Box::new(|b| b.truncate(200)), "tampered", true),
        (
            &object,
            Box::new(|b| b.truncate(HEADER + SEALED + 20)),
            "tampered",
            true,
        ),
        (&record, Box::new(flip(20)), "missing", true),
        (&entry, Box::new(flip(50)), "tampered", true),
        (&header, Box::new(flip(50)), "tampered", true),
        (&claim, Box::new(|b| b.truncate(31)), "tampered", true),
        (&copy, Box::new(flip(50)), "tampered", true),
        (
            &copy,
            Box::new(move |b| b.clone_from(&old_header)),
            "stale",
            true,
        ),
    ];
    for (path, edit, code, quick) in faults {
        let mut damaged = all.clone();
        edit(damaged.get_mut(path).unwrap());
        plant(&store, path, &damaged[path]).await;
        for how in [Check::Quick, Check::Full] {
            let found = findings(&vault, how).await;
            let faults: Vec<&Finding> = found
                .iter()
                .filter(|f| !matches!(f.verdict, Verdict::Ok))
                .collect();
            if how == Check::Quick && !quick {
                assert!(faults.is_empty(), "{path}: {faults:?}");
                continue;
            }
            // A claim may miss the record that is damaged.
            let claim = path.split_once('-').map_or("", |(claim, _)| claim);
            let faults: Vec<_> = faults
                .into_iter()
                .filter(|f| f.store_path.as_ref() != claim)
                .collect();
            assert_eq!(faults.len(), 1, "{path}, {code}: {faults:?}");
            assert_eq!(
                faults[0].store_path.as_ref() == path,
                code != "missing",
                "{path}"
            );
            match &faults[0].verdict {
                Verdict::Fault(error) => assert_eq!(error.code(), code, "{path}: {error:?}"),
                other => panic!("{path}: {other:?}"),
            }
        }
        plant(&store, path, &all[path]).await;
    }
    for path in ["o/stranger", "elsewhere", "k/x", "o", "k/h/12"] {
        plant(&store, path, b"not ours").await;
        let found = findings(&vault, Check::Full).await;
        let strange = found
            .iter()
            .find(|f| f.store_path.as_ref() == path)
            .unwrap();
        assert!(matches!(strange.verdict, Verdict::Foreign), "{strange:?}");
        unplant(&store, path).await;
    }
    unplant(&store, &record).await;
    let found = findings(&vault, Check::Quick).await;
    let missing = found
        .iter()
        .filter(|f| matches!(&f.verdict, Verdict::Fault(e) if e.code() == "missing"));
    assert_eq!(missing.count(), 1);
}

/// The same objects in another vault's place, and another vault's in theirs.
#[tokio::test]
async fn the_objects_of_another_vault_are_foreign() {
    let (store, vault) = hostile_vault().await;
    vault.put("a", canaries(41)).await.unwrap();
    let (other_store, other) = hostile_vault().await;
    other.put("a", canaries(41)).await.unwrap();
    let theirs = contents(&other_store).await;
    let mut mixed = contents(&store).await;
    for (path, bytes) in theirs.iter().filter(|(path, _)| path.starts_with("o/")) {
        mixed.insert(path.clone(), bytes.clone());
    }
    let mixed = store_of(&mixed).await;
    let opened = open(&mixed).await.unwrap();
    let listed: Vec<ObjectMeta> = opened.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    let foreign = findings(&opened, Check::Full).await;
    let foreign = foreign
        .iter()
        .filter(|f| matches!(f.verdict, Verdict::Foreign));
    assert_eq!(foreign.count(), 1);
}

/// The object beside a long name is junk: the object is not listed, and writing it
/// again mends that.
#[tokio::test]
async fn a_damaged_record_of_a_long_name_is_mended_by_the_next_write() {
    use kluis::object_store::{ObjectStoreExt, memory::InMemory};
    let store: std::sync::Arc<dyn kluis::object_store::ObjectStore> =
        std::sync::Arc::new(InMemory::new());
    let vault = kluis_tests::vault(&store).await;
    let name = "n".repeat(200);
    vault.put(&name, "x").await.unwrap();
    let stored: Vec<_> = store.list(None).try_collect().await.unwrap();
    let record = stored.iter().find(|o| o.location.as_ref().ends_with('~'));
    let record = &record.unwrap().location;
    store.put(record, "junk".into()).await.unwrap();
    let listed = async || {
        vault
            .list(None)
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .len()
    };
    assert_eq!(listed().await, 0);
    vault.put(&name, "y").await.unwrap();
    assert_eq!(listed().await, 1);
}

/// What a listing leaves out it counts: an object must not be missing from a copy of
/// a folder, or be left behind by its removal, without a word.
#[tokio::test]
async fn a_listing_counts_what_it_cannot_name() {
    let (store, vault) = hostile_vault().await;
    let (name, folder) = ("n".repeat(200), "d".repeat(200));
    for path in [
        "short",
        "f/short",
        &format!("f/{name}"),
        &format!("f/{folder}/a"),
        &format!("f/{folder}/{name}"),
    ] {
        vault.put(path, "x").await.unwrap();
    }
    let unlisted = async |prefix| {
        let mut listing = vault.list(prefix);
        let mut listed = 0;
        while listing.try_next().await.unwrap().is_some() {
            listed += 1;
        }
        let Unlisted {
            nameless, foreign, ..
        } = listing.unlisted();
        (listed, nameless, foreign)
    };
    let children = async |prefix| {
        let listed = vault.list_with_delimiter(prefix).await.unwrap();
        let unlisted = *listed.extensions.get::<Unlisted>().unwrap();
        let shown = listed.objects.len() + listed.common_prefixes.len();
        (shown, unlisted.nameless, unlisted.foreign)
    };
    assert_eq!(unlisted(None).await, (5, 0, 0));
    assert_eq!(children(Some("f")).await, (3, 0, 0));

    plant(&store, "o/not of this vault", b"junk").await;
    let stored = contents(&store).await;
    let records = stored.keys().filter(|path| path.ends_with('~'));
    let mut records: Vec<_> = records.cloned().collect();
    records.sort_by_key(String::len);
    // Of the file and the folder in `f`: one is gone, one is damaged.
    unplant(&store, &records[0]).await;
    plant(&store, &records[1], b"junk").await;
    assert_eq!(unlisted(None).await, (2, 3, 1));
    assert_eq!(unlisted(Some("f")).await, (1, 3, 0));
    assert_eq!(children(None).await, (2, 0, 1));
    assert_eq!(children(Some("f")).await, (1, 2, 0));
    // It is as it was to whoever knows the name.
    assert_eq!(read(&vault, &format!("f/{name}")).await.unwrap(), b"x");
}
