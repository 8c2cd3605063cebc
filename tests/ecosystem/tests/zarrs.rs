//! zarrs: arrays in chunks, on encrypted stores.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use kluis_ecosystem::Place;
use object_store::ObjectStore;
use std::ops::Range;
use std::sync::Arc;
use zarrs::array::{Array, ArrayBuilder, ArraySubset, data_type};
use zarrs_object_store::AsyncObjectStore;

type Store = AsyncObjectStore<Arc<dyn ObjectStore>>;

/// Rows and columns of a shard, one object of a megabyte, and of a chunk in it.
const SHARD: u64 = 512;
const CHUNK: u64 = 64;
const COLUMNS: u64 = 2 * SHARD;

/// The value at a place.
fn at(row: u64, column: u64) -> u32 {
    (row * 1_000_003 + column * 7) as u32
}

fn block(rows: Range<u64>, columns: Range<u64>) -> Vec<u32> {
    rows.flat_map(|row| columns.clone().map(move |column| at(row, column)))
        .collect()
}

fn storage(store: Arc<dyn ObjectStore>) -> Arc<Store> {
    Arc::new(AsyncObjectStore::new(store))
}

async fn assert_holds(array: &Array<Store>, rows: Range<u64>, columns: Range<u64>) {
    let subset = ArraySubset::new_with_ranges(&[rows.clone(), columns.clone()]);
    let found: Vec<u32> = array.async_retrieve_array_subset(&subset).await.unwrap();
    assert!(
        found == block(rows.clone(), columns.clone()),
        "at {rows:?}, {columns:?}"
    );
}

/// An array of so many rows of shards.
async fn create(store: Arc<dyn ObjectStore>, shards: u64) -> Array<Store> {
    let shape = vec![shards * SHARD, COLUMNS];
    let array = ArrayBuilder::new(shape, vec![SHARD, SHARD], data_type::uint32(), 0u32)
        .subchunk_shape(vec![CHUNK, CHUNK])
        .build(storage(store), "/temperatures")
        .unwrap();
    array.async_store_metadata().await.unwrap();
    for row in 0..shards {
        store_row(&array, row).await;
    }
    array
}

async fn store_row(array: &Array<Store>, row: u64) {
    for column in 0..COLUMNS / SHARD {
        let (rows, columns) = (row * SHARD, column * SHARD);
        let shard = block(rows..rows + SHARD, columns..columns + SHARD);
        array
            .async_store_chunk(&[row, column], shard)
            .await
            .unwrap();
    }
}

/// Places on, before and across the borders of chunks and shards, and some in no order.
fn places(rows: u64) -> Vec<(u64, u64)> {
    let borders = [0, CHUNK - 3, CHUNK, SHARD - 3, SHARD, rows - 8];
    let mut all: Vec<_> = borders
        .iter()
        .flat_map(|row| [(*row, 0), (*row, SHARD - 3)])
        .collect();
    let mut seed = 1u64;
    for _ in 0..20 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        all.push(((seed >> 33) % (rows - 8), (seed >> 13) % (COLUMNS - 8)));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_written_extended_and_read_at_any_place() {
    for place in Place::all() {
        let store = place.encrypted().await;
        drop(create(Arc::clone(&store), 2).await);

        let again = storage(Arc::clone(&store));
        let mut array = Array::async_open(again, "/temperatures").await.unwrap();
        assert_holds(&array, 0..2 * SHARD, 0..COLUMNS).await;
        for (row, column) in places(2 * SHARD) {
            assert_holds(&array, row..row + 8, column..column + 8).await;
        }

        array.set_shape(vec![3 * SHARD, COLUMNS]).unwrap();
        array.async_store_metadata().await.unwrap();
        store_row(&array, 2).await;
        let array = Array::async_open(storage(store), "/temperatures")
            .await
            .unwrap();
        assert_eq!(array.shape(), [3 * SHARD, COLUMNS]);
        for (row, column) in places(3 * SHARD) {
            assert_holds(&array, row..row + 8, column..column + 8).await;
        }
        let seen = place.below.journal().find(b"temperatures");
        assert!(seen.is_empty(), "{}: in clear: {seen:?}", place.name);
    }
}

/// A write into the middle of what is there changes that and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_written_over() {
    let place = Place::folder();
    let array = create(place.encrypted().await, 1).await;
    let subset = ArraySubset::new_with_ranges(&[100..104, 510..514]);
    array
        .async_store_array_subset(&subset, vec![9u32; 16])
        .await
        .unwrap();
    let found: Vec<u32> = array.async_retrieve_array_subset(&subset).await.unwrap();
    assert_eq!(found, [9; 16]);
    assert_holds(&array, 0..100, 0..COLUMNS).await;
    assert_holds(&array, 104..SHARD, 0..COLUMNS).await;
    assert_holds(&array, 100..104, 0..510).await;
    assert_holds(&array, 100..104, 514..COLUMNS).await;
}

/// A value costs the index of its shard and its chunk, not the shard.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_costs_about_what_it_costs_in_a_plain_store() {
    for place in Place::all() {
        let mut costs = Vec::new();
        for is_encrypted in [false, true] {
            let place = place.again();
            let store = place.store(is_encrypted).await;
            let array = create(store, 1).await;
            let (cost, ()) = place.cost(assert_holds(&array, 70..71, 70..71)).await;
            costs.push(cost);
        }
        let [plain, encrypted] = costs[..] else {
            unreachable!()
        };
        let what = format!("{}: plain {plain:?}, encrypted {encrypted:?}", place.name);
        let sealed = kluis_tests::SEALED as u64;
        assert!(encrypted.requests() <= plain.requests(), "{what}");
        assert!(
            encrypted.bytes <= plain.bytes + 3 * sealed * encrypted.reads,
            "{what}"
        );
        assert!(encrypted.bytes < SHARD * SHARD * 4 / 4, "{what}");
    }
}
