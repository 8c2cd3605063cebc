//! Making up answers: the altered object, the dishonest body, the listing.
//!
//! Nothing in here talks to a store.

use std::collections::BTreeSet;
use std::ops::Range;
use std::task::Poll;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::future::{poll_fn, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{Error, GetRange, GetResult, GetResultPayload, ListResult, ObjectMeta, Result};

use crate::journal::Object;
use crate::rule::{Fault, Lie, STORE};

/// Applies one lie about the bytes of the object.
pub(crate) fn alter(bytes: &mut Vec<u8>, lie: &Lie, noise: &mut Noise) {
    match lie {
        Lie::FlipBit(bit) => flip(bytes, *bit),
        Lie::FlipAnyBit if !bytes.is_empty() => {
            let bit = noise.next() % (bytes.len() as u64 * 8);
            flip(bytes, bit);
        }
        Lie::Garbage => bytes.fill_with(|| noise.byte()),
        Lie::Set(at, new) => {
            let end = at.saturating_add(new.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(new);
        }
        Lie::Truncate(length) => bytes.truncate(*length),
        Lie::Extend(more) => bytes.extend_from_slice(more),
        Lie::Edit(f) => (f.0)(bytes),
        _ => {}
    }
}

fn flip(bytes: &mut [u8], bit: u64) {
    let byte = usize::try_from(bit / 8)
        .ok()
        .and_then(|at| bytes.get_mut(at));
    if let Some(byte) = byte {
        *byte ^= 1 << (bit % 8);
    }
}

/// The bytes of one range, as a store that holds `object` answers.
pub(crate) fn slice(
    object: &Object,
    range: Option<&GetRange>,
    lies: &[&Lie],
) -> Result<(Range<u64>, Bytes)> {
    let length = object.bytes.len() as u64;
    let promised = match range {
        None => 0..length,
        Some(range) => range.as_range(length).map_err(|source| Error::Generic {
            store: STORE,
            source: Box::new(source),
        })?,
    };
    let offset = lies.iter().rev().find_map(|lie| match lie {
        Lie::FromOffset(offset) => Some(*offset),
        _ => None,
    });
    let start = offset.unwrap_or(promised.start).min(length);
    let end = start
        .saturating_add(promised.end - promised.start)
        .min(length);
    // Both are at most the length of a slice in memory.
    Ok((promised, object.bytes.slice(start as usize..end as usize)))
}

/// The answer to a get from a store that holds `object`.
pub(crate) fn get_result(
    object: Object,
    range: Option<&GetRange>,
    lies: &[&Lie],
) -> Result<GetResult> {
    let (range, body) = slice(&object, range, lies)?;
    Ok(GetResult {
        payload: GetResultPayload::Stream(stream::once(ready(Ok(body))).boxed()),
        meta: object.meta,
        range,
        attributes: object.attributes,
        extensions: Default::default(),
    })
}

/// Applies the lies about an answer to it.
pub(crate) fn distort(result: GetResult, lies: &[&Lie]) -> GetResult {
    let mut meta = result.meta.clone();
    let mut range = result.range.clone();
    let mut attributes = result.attributes.clone();
    let extensions = result.extensions.clone();
    let path = meta.location.clone();
    let mut body = result.into_stream();
    for lie in lies {
        match lie {
            Lie::Meta(f) => (f.0)(&mut meta),
            Lie::Attributes(f) => (f.0)(&mut attributes),
            Lie::ClaimRange(claim) => range = claim.clone(),
            Lie::ShortBody(length) => body = first(*length as u64, body),
            Lie::LongBody(more) => body = body.chain(stream::once(ready(Ok(more.clone())))).boxed(),
            Lie::TinyItems(size) => body = items_of((*size).max(1), body),
            Lie::Endless => body = body.chain(endless(|_| Bytes::from_static(&ZEROS))).boxed(),
            Lie::StallAfter(n) => body = first(*n, body).chain(stream::pending()).boxed(),
            Lie::ErrAfter(n, fault) => {
                let error = fault.error(&path);
                body = first(*n, body)
                    .chain(stream::once(ready(Err(error))))
                    .boxed();
            }
            _ => {}
        }
    }
    let payload = GetResultPayload::Stream(body);
    GetResult {
        payload,
        meta,
        range,
        attributes,
        extensions,
    }
}

/// An item of an endless body: as large as those of a fast network.
static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Applies the lies about an answer to one of the buffers of `get_ranges`.
pub(crate) fn distort_range(path: &Path, mut body: Bytes, lies: &[&Lie]) -> Result<Bytes> {
    for lie in lies {
        match lie {
            Lie::ShortBody(length) => body.truncate(*length),
            Lie::LongBody(more) => body = [body, more.clone()].concat().into(),
            Lie::ErrAfter(_, fault) => return Err(fault.error(path)),
            _ => {}
        }
    }
    Ok(body)
}

/// The first `n` bytes of a body, in the items in which they come.
fn first(n: u64, body: BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, Result<Bytes>> {
    let cut = body.scan(n, |left, item| {
        ready(match item {
            Ok(_) if *left == 0 => None,
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error)),
        })
    });
    cut.boxed()
}

fn items_of(
    size: usize,
    body: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    let items = body.flat_map(move |item| match item {
        Ok(bytes) => {
            let starts = (0..bytes.len()).step_by(size);
            let items = starts.map(move |at| {
                let end = at.saturating_add(size).min(bytes.len());
                Ok(bytes.slice(at..end))
            });
            stream::iter(items).left_stream()
        }
        Err(error) => stream::once(ready(Err(error))).right_stream(),
    });
    items.boxed()
}

/// An endless stream that lets others run before each item: a client that reads
/// on for ever can be stopped by a timeout.
fn endless<T: Send + 'static>(
    item: impl Fn(u64) -> T + Send + Sync + 'static,
) -> impl stream::Stream<Item = Result<T>> + Send + 'static {
    stream::unfold((0, item), |(n, item)| async move {
        let mut yielded = false;
        poll_fn(|context| match std::mem::replace(&mut yielded, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        Some((Ok(item(n)), (n + 1, item)))
    })
}

/// Applies the lies about how a listing ends.
pub(crate) fn distort_listing(
    mut entries: BoxStream<'static, Result<ObjectMeta>>,
    prefix: &Path,
    lies: &[&Lie],
) -> BoxStream<'static, Result<ObjectMeta>> {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    for lie in lies {
        match lie {
            Lie::StallAfter(n) => {
                entries = entries.take(count(*n)).chain(stream::pending()).boxed()
            }
            Lie::ErrAfter(n, fault) => {
                let error = stream::once(ready(Err(fault.error(prefix))));
                entries = entries.take(count(*n)).chain(error).boxed();
            }
            Lie::Endless => {
                let prefix = prefix.clone();
                entries = entries.chain(endless(move |n| ghost(&prefix, n))).boxed();
            }
            _ => {}
        }
    }
    entries
}

fn ghost(prefix: &Path, n: u64) -> ObjectMeta {
    ObjectMeta {
        location: prefix.clone().join(format!("ghost-{n:012}")),
        last_modified: DateTime::UNIX_EPOCH,
        size: 0,
        e_tag: None,
        version: None,
    }
}

/// Folds a full listing into one level of the tree, as a store does.
pub(crate) fn one_level(prefix: &Path, entries: Vec<ObjectMeta>) -> ListResult {
    let mut folders = BTreeSet::new();
    let mut objects = Vec::new();
    for entry in entries {
        let below: Option<Vec<_>> = entry.location.prefix_match(prefix).map(Iterator::collect);
        match below.as_deref() {
            Some([folder, _, ..]) => {
                folders.insert(prefix.clone().join(folder.clone()));
            }
            // Not below the prefix at all: an edited listing may hold such.
            _ => objects.push(entry),
        }
    }
    ListResult {
        common_prefixes: folders.into_iter().collect(),
        objects,
        extensions: Default::default(),
    }
}

/// The part of `bytes` that a torn write leaves, and the error it then gives.
pub(crate) fn tear(bytes: Bytes, path: &Path, lies: &[&Lie]) -> (Bytes, Option<Error>) {
    let torn = lies.iter().find_map(|lie| match lie {
        Lie::TornPut(length) => Some(*length),
        _ => None,
    });
    match torn {
        Some(length) => (
            bytes.slice(..length.min(bytes.len())),
            Some(Fault::Generic.error(path)),
        ),
        None => (bytes, None),
    }
}

/// Reproducible noise: SplitMix64.
pub(crate) struct Noise(u64);

impl Noise {
    /// One sequence for each use of each rule, whatever happens in between.
    pub(crate) fn new(seed: u64, rule: u64, nth: u64) -> Self {
        let mut noise = Self(seed);
        noise.0 = noise.next() ^ rule;
        noise.0 = noise.next() ^ nth;
        noise
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
