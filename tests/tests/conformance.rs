//! The conformance suite of `object_store` itself, on every kind of store: what the bare
//! store passes, the encrypted one passes in the same run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis_tests::{azure, options, phrase, stores, words};
use object_store::ObjectStore;
use object_store::integration as suite;
use object_store::memory::InMemory;
use std::sync::Arc;

/// The version of the suite whose functions these are: another may have more.
const VERSION: &str = "name = \"object_store\"\nversion = \"0.14.2\"";

/// Every function of the suite that takes a store alone. `multipart`, `multipart_with_opts`
/// and `multipart_put_part_out_of_order` want a `MultipartStore`, which a vault is not
/// (docs/DECISIONS.md); `list_paginated` is a test of its own, and `response_extensions`
/// is of clients of HTTP.
const FUNCTIONS: [&str; 14] = [
    "put_get_delete_list",
    "put_get_attributes",
    "get_opts",
    "put_opts",
    "stream_get",
    "list_uses_directories_correctly",
    "list_with_delimiter",
    "list_with_offset_exclusivity",
    "get_nonexistent_object",
    "rename_and_copy",
    "copy_if_not_exists",
    "copy_rename_nonexistent_object",
    "multipart_race_condition",
    "multipart_out_of_order",
];

/// What the bare store fails, and what of it the encrypted one does.
fn failures(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        // versitygw compares fractions of a second that HTTP dates do not have, which no
        // client can mend. The other two are that S3 copies nothing on a condition unless
        // it is told how: encrypted, a copy is a write.
        "s3" => (
            &[
                "get_opts",
                "copy_if_not_exists",
                "copy_rename_nonexistent_object",
            ],
            &["get_opts"],
        ),
        _ => (&[], &[]),
    }
}

async fn run(function: &str, store: &Arc<dyn ObjectStore>, kind: &str) {
    match function {
        "put_get_delete_list" => suite::put_get_delete_list(store).await,
        "put_get_attributes" => suite::put_get_attributes(store).await,
        "get_opts" => suite::get_opts(store).await,
        // A folder has no `PutMode::Update`.
        "put_opts" => suite::put_opts(store, kind != "folder").await,
        "stream_get" => suite::stream_get(store).await,
        "list_uses_directories_correctly" => suite::list_uses_directories_correctly(store).await,
        "list_with_delimiter" => suite::list_with_delimiter(store).await,
        "list_with_offset_exclusivity" => suite::list_with_offset_exclusivity(store).await,
        "get_nonexistent_object" => {
            let missing = suite::get_nonexistent_object(store, None).await;
            let error = missing.expect_err("nothing is there");
            assert!(matches!(error, object_store::Error::NotFound { .. }));
            // The path is the one that was asked for.
            assert!(error.to_string().contains("this_file_should_not_exist"));
        }
        "rename_and_copy" => suite::rename_and_copy(store).await,
        "copy_if_not_exists" => suite::copy_if_not_exists(store).await,
        "copy_rename_nonexistent_object" => suite::copy_rename_nonexistent_object(store).await,
        // Upstream has it so: in Azure the first to complete is the one that counts.
        "multipart_race_condition" => {
            suite::multipart_race_condition(store, kind != "azure").await;
        }
        "multipart_out_of_order" => suite::multipart_out_of_order(store).await,
        other => panic!("no function {other}"),
    }
}

/// Runs a function on an empty store; whether it held.
async fn holds(function: &'static str, store: Arc<dyn ObjectStore>, kind: &'static str) -> bool {
    tokio::spawn(async move { run(function, &store, kind).await })
        .await
        .is_ok()
}

#[test]
fn the_list_is_that_of_the_suite() {
    let lock = include_str!("../../Cargo.lock");
    assert!(lock.contains(VERSION), "look at what is new in the suite");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bare_store_passes_passes_encrypted() {
    let kinds = stores().0.into_iter().map(|(kind, _)| kind);
    let kinds: Vec<_> = kinds.chain(azure().map(|_| "azure")).collect();
    for kind in kinds {
        let fresh = || {
            let (mut stores, folder) = stores();
            stores.extend(azure().map(|store| ("azure", store)));
            let store = stores.into_iter().find(|(name, _)| *name == kind);
            (store.unwrap().1, folder)
        };
        let mut bare = Vec::new();
        let mut encrypted = Vec::new();
        for function in FUNCTIONS {
            let (store, _folder) = fresh();
            if !holds(function, store, kind).await {
                bare.push(function);
            }
            let (store, _folder) = fresh();
            let vault = options().create(store, phrase(&words())).await.unwrap();
            if !holds(function, vault.object_store(), kind).await {
                encrypted.push(function);
            }
        }
        let (of_bare, of_encrypted) = failures(kind);
        assert_eq!(bare, of_bare, "{kind}, bare");
        assert_eq!(encrypted, of_encrypted, "{kind}, encrypted");
    }
}

/// The same below a folder, and of a padded and a signed vault.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_vault_passes() {
    for (padded, signed, at) in [
        (false, false, Some("a/folder")),
        (true, false, None),
        (false, true, None),
    ] {
        for function in FUNCTIONS {
            let vault = options()
                .padded(padded)
                .signed(signed)
                .create(Arc::new(InMemory::new()), phrase(&words()))
                .await
                .unwrap();
            let store: Arc<dyn ObjectStore> = match at {
                Some(folder) => vault.object_store_at(folder).unwrap(),
                None => vault.object_store(),
            };
            assert!(
                holds(function, store, "memory").await,
                "{function}: padded {padded}, signed {signed}, at {at:?}"
            );
        }
    }
}
