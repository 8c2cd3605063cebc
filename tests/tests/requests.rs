//! What each call costs: requests, and round trips.
//!
//! Requests are counted from the journal of the store. A round trip is counted
//! with a gate: every call waits until no other call of the client comes
//! anymore, and then all that wait go on together. However parallel they are,
//! the number of times that the gate opens is the longest chain of requests of
//! which each needs the answer of the one before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use futures_util::{FutureExt, TryStreamExt};
use kluis::object_store::memory::InMemory;
use kluis::object_store::{GetRange, ObjectMeta, PutMode};
use kluis::{Check, PutOptions};
use kluis_adversary::{HostileStore, Lie, Op, Rule};
use kluis_tests::{
    CHUNK, SEALED, as_store, cheap, hostile_vault, open, options, other_password, password,
    pattern, read, vault,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Counts the requests of one call by kind.
async fn cost<T>(store: &HostileStore, call: impl Future<Output = T>) -> (T, BTreeMap<Op, usize>) {
    let mark = store.mark();
    let result = call.await;
    (result, store.journal().since(mark).counts())
}

/// Counts the round trips of one call.
async fn round_trips<T>(store: &HostileStore, call: impl Future<Output = T>) -> (T, usize) {
    let gate: Arc<Mutex<Arc<Notify>>> = Arc::default();
    let waiting = Arc::new(AtomicUsize::new(0));
    let rule = {
        let (gate, waiting) = (gate.clone(), waiting.clone());
        store.add(Rule::new(Lie::race(move || {
            let opens = gate.lock().unwrap().clone();
            waiting.fetch_add(1, Ordering::SeqCst);
            async move { opens.notified().await }
        })))
    };
    let mut call = std::pin::pin!(call);
    let mut trips = 0;
    let result = loop {
        // The call can only wait for the gate, or for work on other threads.
        let mut seen = waiting.load(Ordering::SeqCst);
        let done = loop {
            if let Some(result) = call.as_mut().now_or_never() {
                break Some(result);
            }
            let rested = idle().await;
            let now = waiting.load(Ordering::SeqCst);
            if rested && now == seen && now > 0 {
                break None;
            }
            seen = now;
        };
        match done {
            Some(result) => break result,
            None => {
                trips += 1;
                waiting.store(0, Ordering::SeqCst);
                let opens = std::mem::take(&mut *gate.lock().unwrap());
                opens.notify_waiters();
            }
        }
    };
    store.remove(rule);
    (result, trips)
}

/// Lets everything else run, work on blocking threads included, and says whether
/// nothing is left of it.
async fn idle() -> bool {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let metrics = tokio::runtime::Handle::current().metrics();
    if metrics.num_alive_tasks() == 0 {
        return true;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    false
}

fn only(counts: BTreeMap<Op, usize>, expected: &[(Op, usize)]) {
    assert_eq!(counts, expected.iter().copied().collect());
}

#[tokio::test]
async fn opening_takes_two_lists_two_copies_and_the_entries() {
    let (store, vault) = hostile_vault().await;
    let (opened, counts) = cost(&store, open(&store)).await;
    opened.unwrap();
    only(counts, &[(Op::Get, 3), (Op::List, 2)]);
    for _ in 0..3 {
        vault.change_password(password(), cheap()).await.unwrap();
    }
    let (opened, counts) = cost(&store, open(&store)).await;
    opened.unwrap();
    only(counts, &[(Op::Get, 6), (Op::List, 2)]);
}

/// Whoever asks a person for the password looks before, and makes no request twice.
#[tokio::test]
async fn finding_and_unlocking_is_opening() {
    let (store, _) = hostile_vault().await;
    let (_, opening) = cost(&store, open(&store)).await;
    let (found, finding) = cost(&store, options().find(as_store(&store))).await;
    let (vault, unlocking) = cost(&store, found.unwrap().unlock(password())).await;
    assert_eq!(finding, opening);
    only(unlocking, &[]);
    let vault = vault.unwrap();
    // What was found a while ago is looked at again before a write.
    let eager = options().staleness(std::time::Duration::from_secs(1));
    let found = eager.find(as_store(&store)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let slow = found.unlock(password()).await.unwrap();
    let (_, counts) = cost(&store, slow.put("a", "x")).await;
    only(counts, &[(Op::List, 1), (Op::Put, 1)]);
    assert_eq!(slow.id(), vault.id());
}

/// The issue allows three.
#[tokio::test]
async fn opening_takes_two_round_trips() {
    let (store, vault) = hostile_vault().await;
    let (opened, trips) = round_trips(&store, open(&store)).await;
    opened.unwrap();
    assert_eq!(trips, 2);
    for n in 0..70 {
        let next = if n % 2 == 0 {
            other_password()
        } else {
            password()
        };
        vault.change_password(next, cheap()).await.unwrap();
    }
    // Into the second window of the ledger.
    let (opened, trips) = round_trips(&store, open(&store)).await;
    opened.unwrap();
    assert_eq!(trips, 2);
}

/// A client that died between its claim and the copies costs others one round
/// trip for the chain, one for the repair, and the entry that it owed.
#[tokio::test]
async fn the_gate_counts_what_needs_an_answer_first() {
    let (store, vault) = hostile_vault().await;
    vault.put("a", "x").await.unwrap();
    let (_, trips) = round_trips(&store, async {
        futures_util::future::join(vault.get("a"), vault.get("a")).await
    })
    .await;
    assert_eq!(trips, 1, "both at once");
    let (_, trips) = round_trips(&store, async {
        vault.get("a").await.unwrap();
        vault.get("a").await.unwrap();
        vault.get("a").await.unwrap();
    })
    .await;
    assert_eq!(trips, 3, "one after the other");
}

#[tokio::test]
async fn small_objects_cost_one_request_each_way() {
    let (store, vault) = hostile_vault().await;
    for size in [0, 1, CHUNK, 100_000, (1 << 20) - 1] {
        let (put, counts) = cost(&store, vault.put("a/b/c", pattern(size))).await;
        put.unwrap();
        only(counts, &[(Op::Put, 1)]);
        let (got, counts) = cost(&store, read(&vault, "a/b/c")).await;
        assert!(got.unwrap() == pattern(size));
        only(counts, &[(Op::Get, 1)]);
        let (head, counts) = cost(&store, vault.head("a/b/c")).await;
        head.unwrap();
        only(counts, &[(Op::Get, 1)]);
        let (deleted, counts) = cost(&store, vault.delete("a/b/c")).await;
        deleted.unwrap();
        only(counts, &[(Op::Delete, 1)]);
    }
    let create = PutOptions {
        mode: PutMode::Create,
        ..Default::default()
    };
    let (put, counts) = cost(&store, vault.put_opts("new", "x", create.clone())).await;
    put.unwrap();
    only(counts, &[(Op::Put, 1)]);
    // One look at whether the object there is our own, from a try whose answer was lost.
    let (put, counts) = cost(&store, vault.put_opts("new", "x", create)).await;
    put.unwrap_err();
    only(counts, &[(Op::Put, 1), (Op::Get, 1)]);
    let (copied, counts) = cost(&store, vault.copy("new", "copy")).await;
    copied.unwrap();
    only(counts, &[(Op::Put, 1), (Op::Get, 1)]);
    let (renamed, counts) = cost(&store, vault.rename("new", "moved")).await;
    renamed.unwrap();
    only(counts, &[(Op::Put, 1), (Op::Get, 1), (Op::Delete, 1)]);
    let (renamed, counts) = cost(&store, vault.rename("moved", "moved")).await;
    renamed.unwrap();
    only(counts, &[(Op::Get, 1)]);
}

#[tokio::test]
async fn large_objects_cost_their_parts() {
    let (store, vault) = hostile_vault().await;
    let (put, counts) = cost(&store, vault.put("large", pattern(20 << 20))).await;
    put.unwrap();
    let parts = [(Op::PutMultipart, 1), (Op::PutPart, 3), (Op::Complete, 1)];
    only(counts, &parts);
    // Its end is authenticated before anything is given out.
    let (got, counts) = cost(&store, read(&vault, "large")).await;
    got.unwrap();
    only(counts, &[(Op::Get, 2)]);
    // Parts of one size but the last, and none under 5 MiB: S3 insists, and R2.
    let journal = store.journal();
    let parts: Vec<_> = journal
        .calls()
        .iter()
        .filter(|c| c.op == Op::PutPart)
        .collect();
    assert!(parts[..2].iter().all(|part| part.sent.len() == 8 << 20));
}

/// What bounds the memory of a writer whose store is slow.
#[tokio::test]
async fn three_parts_are_on_their_way_at_a_time() {
    let (store, vault) = hostile_vault().await;
    store.add(Rule::new(Lie::StallAfter(0)).on(Op::PutPart));
    let mut put = Box::pin(vault.put("large", pattern(70 << 20)));
    // Three come, and then none for as long as we care to look.
    let mut looks = 0;
    while looks < 100 {
        assert!((&mut put).now_or_never().is_none());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let parts = store.count(Op::PutPart);
        assert!(parts <= 3, "{parts} parts");
        looks += usize::from(parts == 3);
    }
}

#[tokio::test]
async fn ranges_cost_the_header_and_what_is_far_from_it() {
    let (store, _) = hostile_vault().await;
    let cold = options().header_cache(0);
    let vault = cold.open(as_store(&store), password()).await.unwrap();
    // By default a header is kept: all but the first read cost what they cost of a plain
    // object, also where the end had to be authenticated.
    let warm = open(&store).await.unwrap();
    let size = 3 << 20;
    vault.put("x", pattern(size)).await.unwrap();
    let size = size as u64;
    for (range, gets) in [
        (0..1, 1),
        (0..CHUNK as u64, 1),
        (40_000..65_536, 1),
        (0..65_536, 1),
        (100_000..100_001, 2),
        (1 << 20..(1 << 20) + 50_000, 2),
        (size - 1..size, 2),
        (0..2 << 20, 2),
    ] {
        let (got, counts) = cost(&store, vault.get_range("x", range.clone())).await;
        got.unwrap();
        assert_eq!(counts, [(Op::Get, gets)].into(), "{range:?}");
        let (got, counts) = cost(&store, warm.get_range("x", range.clone())).await;
        got.unwrap();
        assert_eq!(counts, [(Op::Get, 1)].into(), "{range:?}");
    }
    for (part, gets, again) in [
        (GetRange::Suffix(100), 2, 1),
        // A long range to the end: the last chunk first, once.
        (GetRange::Offset(1), 3, 2),
        (GetRange::Offset(1), 3, 1),
    ] {
        for (vault, gets) in [(&vault, gets), (&warm, again)] {
            let (got, counts) = cost(&store, async {
                vault.get_part("x", part.clone()).await?.bytes().await
            })
            .await;
            got.unwrap();
            only(counts, &[(Op::Get, gets)]);
        }
    }
    // The whole, whose end is known by now.
    for (vault, gets) in [(&vault, 2), (&warm, 1)] {
        let (got, counts) = cost(&store, read(vault, "x")).await;
        got.unwrap();
        only(counts, &[(Op::Get, gets)]);
    }
    // Two that lie near each other, and one far away: farther than a request is long.
    let far = 2 << 20;
    let ranges = [far..far + 10, 30..40, far + 400_000..far + 400_010];
    for (vault, gets) in [(&vault, 2), (&warm, 2)] {
        let (got, counts) = cost(&store, vault.get_ranges("x", &ranges)).await;
        got.unwrap();
        only(counts, &[(Op::Get, gets)]);
    }
    // Another object lies there: what is known of the old one costs a request.
    vault.put("x", pattern(3 << 20)).await.unwrap();
    let (got, counts) = cost(&store, warm.get_range("x", 1 << 20..(1 << 20) + 5)).await;
    got.unwrap();
    only(counts, &[(Op::Get, 3)]);
    let (got, counts) = cost(&store, warm.get_range("x", 1 << 20..(1 << 20) + 5)).await;
    got.unwrap();
    only(counts, &[(Op::Get, 1)]);
    // No more bytes than the chunks.
    let mark = store.mark();
    vault.get_range("x", 1 << 20..(1 << 20) + 1).await.unwrap();
    let received: u64 = store
        .journal()
        .since(mark)
        .calls()
        .iter()
        .map(|c| c.received)
        .sum();
    assert!(received <= 256 + 16_400, "{received} bytes");
    // What is no range needs no request.
    #[allow(clippy::reversed_empty_ranges, reason = "what has to be refused")]
    for range in [5..5, 7..3] {
        let (refused, counts) = cost(&store, vault.get_range("x", range)).await;
        refused.unwrap_err();
        only(counts, &[]);
    }
    let (none, counts) = cost(&store, vault.get_ranges("x", &[])).await;
    assert!(none.unwrap().is_empty());
    only(counts, &[]);
}

#[tokio::test]
async fn listing_costs_one_request_and_one_for_each_long_name() {
    let (store, vault) = hostile_vault().await;
    for n in 0..50 {
        vault.put(format!("d{}/e/{n}", n % 5), "x").await.unwrap();
    }
    let list = |prefix| vault.list(prefix).try_collect::<Vec<ObjectMeta>>();
    let (listed, counts) = cost(&store, list(None)).await;
    assert_eq!(listed.unwrap().len(), 50);
    only(counts, &[(Op::List, 1)]);
    let (listed, counts) = cost(&store, list(Some("d1"))).await;
    assert_eq!(listed.unwrap().len(), 10);
    only(counts, &[(Op::List, 1)]);
    let (listed, counts) = cost(&store, vault.list_with_delimiter(Some("d1/e"))).await;
    assert_eq!(listed.unwrap().objects.len(), 10);
    only(counts, &[(Op::ListWithDelimiter, 1)]);

    let long = "l".repeat(500);
    let (put, counts) = cost(&store, vault.put(format!("{long}/a"), "x")).await;
    put.unwrap();
    // The record of the long name before it, and again behind it: whoever deleted
    // the last object beside it meanwhile took the record along. One that is there is
    // read, for a damaged one would leave the object without a name.
    only(counts, &[(Op::Put, 3), (Op::Get, 1)]);
    for n in 0..9 {
        vault.put(format!("{long}/{n}"), "x").await.unwrap();
    }
    let (listed, counts) = cost(&store, list(None)).await;
    assert_eq!(listed.unwrap().len(), 60);
    only(counts, &[(Op::List, 1), (Op::Get, 1)]);
}

/// What the lists of a padded vault cost more is a head for each.
#[tokio::test]
async fn a_padded_vault_costs_a_head_for_each_object_that_is_listed() {
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .padded(true)
        .create(as_store(&store), password())
        .await
        .unwrap();
    for n in 0..7 {
        vault.put(n.to_string(), "some content").await.unwrap();
    }
    let (listed, counts) = cost(&store, vault.list(None).try_collect::<Vec<_>>()).await;
    assert_eq!(listed.unwrap().len(), 7);
    only(counts, &[(Op::List, 1), (Op::Get, 7)]);
}

/// A writer looks for new decisions of the owner once in 30 seconds, or as often
/// as it was told; a reader never, unless an object proves that there are some.
#[tokio::test]
async fn looking_for_decisions_costs_one_list() {
    let (store, _) = hostile_vault().await;
    let eager = options()
        .staleness(std::time::Duration::ZERO)
        .open(as_store(&store), password())
        .await
        .unwrap();
    for _ in 0..3 {
        let (put, counts) = cost(&store, eager.put("a", "x")).await;
        put.unwrap();
        only(counts, &[(Op::List, 1), (Op::Put, 1)]);
        let (got, counts) = cost(&store, read(&eager, "a")).await;
        got.unwrap();
        only(counts, &[(Op::Get, 1)]);
    }
}

#[tokio::test]
async fn changes_of_the_control_plane_cost_what_they_write() {
    let store = HostileStore::new(InMemory::new());
    let (vault, counts) = cost(&store, vault(&as_store(&store))).await;
    // Is it empty; six records; whose claim it is, and what lies in both copies.
    only(counts, &[(Op::List, 1), (Op::Put, 6), (Op::Get, 3)]);
    let mark = store.mark();
    vault
        .change_password(other_password(), cheap())
        .await
        .unwrap();
    let counts = store.journal().since(mark).counts();
    // Header and entry, each with its claim, and two copies.
    assert_eq!(counts[&Op::Put], 6, "{counts:?}");
    let reads: usize = counts
        .iter()
        .filter(|(op, _)| !op.writes())
        .map(|(_, n)| n)
        .sum();
    assert!(reads <= 16, "{counts:?}");
    let (slots, counts) = cost(&store, async { vault.slots() }).await;
    assert_eq!(slots.unwrap().len(), 1);
    only(counts, &[]);
}

#[tokio::test]
async fn a_quick_check_costs_a_list_and_two_small_reads_for_each() {
    let (store, vault) = hostile_vault().await;
    for n in 0..5 {
        vault.put(n.to_string(), pattern(200_000)).await.unwrap();
    }
    let mark = store.mark();
    let findings: Vec<_> = vault.check(None, Check::Quick).try_collect().await.unwrap();
    assert_eq!(findings.len(), 11);
    let journal = store.journal().since(mark);
    let objects = journal.only(|call| call.path.as_ref().starts_with("o/"));
    // Its header, and its last chunk, which authenticates the length.
    assert_eq!(objects.count(Op::Get), 10);
    let small = |call: &kluis_adversary::Call| call.received <= SEALED as u64;
    assert!(objects.calls().iter().all(small));
    assert_eq!(journal.count(Op::List), 1);
}
