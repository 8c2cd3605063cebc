//! SlateDB, whose whole safety is put-if-absent, on encrypted stores.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use kluis_adversary::{Fault, Lie, Op, Rule};
use kluis_ecosystem::Place;
use object_store::ObjectStore;
use slatedb::config::Settings;
use slatedb::{CloseReason, Db, Error, ErrorKind};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// How many pairs a test writes.
const PAIRS: u32 = 500;

fn key(n: u32) -> String {
    format!("customer/{n:06}")
}

fn value(n: u32, round: u32) -> String {
    format!("{round}: the secret of customer {n}, ").repeat(8)
}

/// SlateDB tries again for ever unless told otherwise, and a test has to end.
fn settings() -> Settings {
    Settings {
        object_store_max_retries: Some(2),
        ..Settings::default()
    }
}

async fn open(store: &Arc<dyn ObjectStore>) -> Result<Db, Error> {
    let builder = Db::builder("db", Arc::clone(store));
    builder.with_settings(settings()).build().await
}

async fn write(db: &Db, round: u32) -> Result<(), Error> {
    for n in 0..PAIRS {
        db.put(key(n), value(n, round)).await?;
    }
    db.flush().await
}

/// All pairs are there, by key and in a scan, as of this round.
async fn assert_holds(db: &Db, round: u32) {
    for n in (0..PAIRS).step_by(7) {
        let found = db.get(key(n)).await.unwrap();
        assert_eq!(found.as_deref(), Some(value(n, round).as_bytes()));
    }
    let mut scan = db.scan(key(0)..key(PAIRS)).await.unwrap();
    for n in 0..PAIRS {
        let pair = scan.next().await.unwrap().unwrap();
        assert_eq!(
            (&pair.key[..], &pair.value[..]),
            (key(n).as_bytes(), value(n, round).as_bytes())
        );
    }
    assert!(scan.next().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_reopening() {
    for place in Place::all() {
        let store = place.encrypted().await;
        let db = open(&store).await.unwrap();
        write(&db, 1).await.unwrap();
        assert_holds(&db, 1).await;
        db.close().await.unwrap();

        let db = open(&store).await.unwrap();
        assert_holds(&db, 1).await;
        write(&db, 2).await.unwrap();
        db.delete(key(3)).await.unwrap();
        db.close().await.unwrap();

        let db = open(&store).await.unwrap();
        assert_eq!(db.get(key(3)).await.unwrap(), None);
        db.put(key(3), value(3, 2)).await.unwrap();
        assert_holds(&db, 2).await;
        db.close().await.unwrap();

        let seen = place.below.journal().find(b"customer");
        assert!(seen.is_empty(), "{}: in clear: {seen:?}", place.name);
    }
}

/// The process ends, as it were: its tasks stop wherever they are, and nobody closes anything.
#[test]
fn after_a_crash_what_was_flushed_is_there() {
    let surviving = Runtime::new().unwrap();
    for place in Place::all() {
        let store = surviving.block_on(place.encrypted());
        let doomed = Runtime::new().unwrap();
        let db = doomed.block_on(async {
            let db = open(&store).await.unwrap();
            write(&db, 1).await.unwrap();
            for n in 0..PAIRS {
                db.put(key(n), value(n, 2)).await.unwrap();
            }
            db
        });
        doomed.shutdown_background();
        drop(db);

        surviving.block_on(async {
            let db = open(&store).await.unwrap();
            for n in 0..PAIRS {
                let found = db.get(key(n)).await.unwrap().unwrap();
                let known = [1, 2]
                    .iter()
                    .any(|round| value(n, *round).as_bytes() == found);
                assert!(
                    known,
                    "{}: neither the old value nor the new one",
                    place.name
                );
            }
            write(&db, 3).await.unwrap();
            assert_holds(&db, 3).await;
            db.close().await.unwrap();
        });
    }
}

fn fenced(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed(CloseReason::Fenced)
}

/// Of two writers the second wins, and the first finds out before it says that anything is safe.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_fences_the_first() {
    for place in Place::all() {
        let store = place.encrypted().await;
        let first = open(&store).await.unwrap();
        write(&first, 1).await.unwrap();
        let second = open(&store).await.unwrap();
        let error = write(&first, 2).await.unwrap_err();
        assert!(fenced(&error), "{}: {error:?}", place.name);
        assert_holds(&second, 1).await;
        write(&second, 3).await.unwrap();
        assert_holds(&second, 3).await;
        second.close().await.unwrap();
    }
}

/// A store without put-if-absent cannot serve it, and says so before anything is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_put_if_absent_is_refused() {
    for fault in [
        Fault::NotImplemented,
        Fault::NotSupported,
        Fault::PermissionDenied,
    ] {
        let place = Place::folder();
        let store = place.encrypted().await;
        let rule = place
            .below
            .add(Rule::new(Lie::FailBefore(fault)).on(Op::Put).at("o/**"));
        assert!(open(&store).await.is_err(), "{fault:?}");
        assert!(place.below.uses(rule) > 0, "nobody was told {fault:?}");
    }
}

/// What was altered in the store is an error, and never a value.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_alters_is_never_given_out() {
    let place = Place::folder();
    let store = place.encrypted().await;
    let db = open(&store).await.unwrap();
    write(&db, 1).await.unwrap();
    db.close().await.unwrap();

    let rule = place.below.add(Rule::new(Lie::FlipAnyBit).at("o/**"));
    let read = async || {
        let db = open(&store).await?;
        let mut scan = db.scan(..).await?;
        while scan.next().await?.is_some() {}
        db.close().await
    };
    let error = read().await.unwrap_err();
    assert!(place.below.remove(rule) > 0, "{error:?}");
    let db = open(&store).await.unwrap();
    assert_holds(&db, 1).await;
    db.close().await.unwrap();
}
