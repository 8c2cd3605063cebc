//! DataFusion, which is on `object_store` 0.13, on encrypted Parquet.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use kluis_adversary::{Lie, Op};
use kluis_ecosystem::tpch::{self, QUERIES, TABLES};
use kluis_ecosystem::{Cost, Place};

/// Stored bytes of a full chunk, and of what lies before the first.
const SEALED: u64 = kluis_tests::SEALED as u64;
const HEADER: u64 = kluis_tests::HEADER as u64;

#[tokio::test(flavor = "multi_thread")]
async fn queries_on_encrypted_tables_give_what_they_give_on_plain_ones() {
    let plain = tpch::plain_session().await.unwrap();
    for place in Place::all() {
        let store = place.encrypted().await;
        tpch::load(&store).await;
        let magic = place.below.journal().find(b"PAR1");
        assert!(
            magic.is_empty(),
            "{}: Parquet in clear: {magic:?}",
            place.name
        );

        let encrypted = tpch::session(&store).await.unwrap();
        for (number, sql) in QUERIES {
            let expected = tpch::rows(&plain, sql).await.unwrap();
            // Four lines are the frame and the names.
            assert!(expected.lines().count() > 4, "query {number} finds nothing");
            let rows = tpch::rows(&encrypted, sql).await.unwrap();
            assert_eq!(rows, expected, "query {number}, {}", place.name);
        }
    }
}

/// The tables in a store of their own, a session that has opened them, and what that cost.
struct Tables {
    place: Place,
    session: SessionContext,
    opening: Cost,
}

impl Tables {
    /// Plain ones and encrypted ones, on a folder and on S3.
    async fn all() -> Vec<[Self; 2]> {
        let mut all = Vec::new();
        for place in Place::all() {
            let plain = Self::of(place.again(), false).await;
            all.push([plain, Self::of(place, true).await]);
        }
        all
    }

    async fn of(place: Place, is_encrypted: bool) -> Self {
        let store = place.store(is_encrypted).await;
        tpch::load(&store).await;
        let (opening, session) = place.cost(tpch::session(&store)).await;
        Self {
            place,
            session: session.unwrap(),
            opening,
        }
    }

    async fn cost(&self, sql: &str) -> Cost {
        let (cost, rows) = self.place.cost(tpch::rows(&self.session, sql)).await;
        rows.unwrap();
        cost
    }
}

/// Bytes are read in whole chunks, at most two more than were asked for in each read, and with
/// the header of each table.
fn assert_bytes(what: &str, plain: Cost, encrypted: Cost) {
    let (ends, tags) = (2 * SEALED * encrypted.reads, plain.bytes / 1_000);
    let headers = HEADER * TABLES.len() as u64;
    let most = plain.bytes + ends + tags + headers;
    assert!(
        encrypted.bytes <= most,
        "{what}: {encrypted:?}, plain {plain:?}"
    );
}

/// What a query costs on plain tables, and what on encrypted ones: no request more.
async fn costs([plain, encrypted]: &[Tables; 2], sql: &str) -> (Cost, Cost) {
    let what = format!("{}: {sql}", encrypted.place.name);
    let (plain, encrypted) = (plain.cost(sql).await, encrypted.cost(sql).await);
    assert!(
        encrypted.requests() <= plain.requests(),
        "{what}: {encrypted:?}, plain {plain:?}"
    );
    assert_bytes(&what, plain, encrypted);
    (plain, encrypted)
}

/// DataFusion asks for the size of a table first, which brings its header.
#[tokio::test(flavor = "multi_thread")]
async fn opening_tables_costs_no_request_more() {
    for [plain, encrypted] in Tables::all().await {
        let (name, plain, encrypted) = (plain.place.name, plain.opening, encrypted.opening);
        assert!(
            encrypted.requests() <= plain.requests(),
            "{name}: {encrypted:?}, plain {plain:?}"
        );
        assert_bytes(name, plain, encrypted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_one_column_reads_that_column() {
    let whole = std::fs::metadata(tpch::folder().join("lineitem.parquet")).unwrap();
    for tables in Tables::all().await {
        let (_, cost) = costs(&tables, "SELECT sum(l_quantity) FROM lineitem").await;
        assert!(cost.bytes < whole.len() / 4, "{cost:?} of {whole:?}");
    }
}

/// The orders are sorted by their keys, so that the statistics in the footer say where to look.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_few_rows_reads_the_groups_that_have_them() {
    let all = "SELECT sum(l_extendedprice), min(l_comment) FROM lineitem";
    let few = format!("{all} WHERE l_orderkey < 1000");
    for tables in Tables::all().await {
        let ((_, all), (_, few)) = (costs(&tables, all).await, costs(&tables, &few).await);
        assert!(few.bytes < all.bytes / 4, "{few:?} of {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_costs_a_request_more_than_on_plain_tables() {
    for tables in Tables::all().await {
        for (_, sql) in QUERIES {
            let (plain, encrypted) = costs(&tables, sql).await;
            assert!(
                plain.reads > 0 && encrypted.reads > 0,
                "{sql}: {plain:?}, {encrypted:?}"
            );
        }
    }
}

/// DataFusion writes as well: multipart, through the adapter.
#[tokio::test(flavor = "multi_thread")]
async fn what_datafusion_writes_it_reads_back() {
    for place in Place::all() {
        let store = place.encrypted().await;
        tpch::load(&store).await;
        let session = tpch::session(&store).await.unwrap();
        let mark = place.below.mark();
        let sql = "COPY (SELECT * FROM lineitem) TO 'data://store/copy/lineitem.parquet'";
        tpch::rows(&session, sql).await.unwrap();
        let parts = place.below.journal().since(mark).count(Op::PutPart);
        assert!(parts > 1, "{}: written in {parts} parts", place.name);

        let again = tpch::empty_session(&store);
        let options = Default::default();
        again
            .register_parquet("lineitem", "data://store/copy/", options)
            .await
            .unwrap();
        for (number, sql) in QUERIES.iter().filter(|(number, _)| [1, 6].contains(number)) {
            let expected = tpch::rows(&session, sql).await.unwrap();
            assert_eq!(
                tpch::rows(&again, sql).await.unwrap(),
                expected,
                "query {number}"
            );
        }
    }
}

/// One table served in place of another with the same columns: other rows from a plain store, and
/// none from an encrypted one.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_place_of_another_is_an_error() {
    for is_encrypted in [false, true] {
        let place = Place::folder();
        let store = place.store(is_encrypted).await;
        let mut stored = Vec::new();
        tpch::load(&store).await;
        for keys in [1_000, 1_000_000] {
            let mark = place.below.mark();
            let session = tpch::session(&store).await.unwrap();
            let copy = format!(
                "COPY (SELECT * FROM lineitem WHERE l_orderkey < {keys})
                 TO 'data://store/{keys}/lineitem.parquet'"
            );
            tpch::rows(&session, &copy).await.unwrap();
            let written = place.below.journal().since(mark);
            let written = written.only(|call| matches!(call.op, Op::PutMultipart | Op::Put));
            stored.push(written.calls()[0].path.clone());
        }
        let count = async || {
            let session = tpch::empty_session(&store);
            let options = ParquetReadOptions::default();
            let at = "data://store/1000000/lineitem.parquet";
            session.register_parquet("lineitem", at, options).await?;
            tpch::rows(&session, "SELECT sum(l_quantity) FROM lineitem").await
        };
        let right = count().await.unwrap();
        let swap = Lie::SwapWith(stored[0].clone()).at(&stored[1]);
        place.below.add(swap);
        match count().await {
            Ok(wrong) => assert!(!is_encrypted && wrong != right, "{wrong}"),
            Err(error) => assert!(is_encrypted, "{error}"),
        }
    }
}
