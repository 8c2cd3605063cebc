//! The conformance suite of object_store 0.13 on stores of 0.14 behind the adapter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use kluis::{KdfParams, Password, VaultOptions};
use kluis_object_store_013::adapt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store_013::{Error, integration};
use std::sync::Arc;
use tempfile::TempDir;

/// A test for each function of the suite, each on a store of its own.
macro_rules! suite {
    ($($name:ident $(($argument:expr))?,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (store, _folder) = store().await;
                integration::$name(&*adapt(store) $(, $argument)?).await;
            }
        )*

        #[tokio::test]
        async fn get_nonexistent_object() {
            let (store, _folder) = store().await;
            let error = integration::get_nonexistent_object(&*adapt(store), None).await;
            assert!(matches!(error, Err(Error::NotFound { .. })), "{error:?}");
        }
    };
}

/// The suite but for what needs traits that `dyn ObjectStore` does not reach. `$updates` is whether
/// the store below has conditional updates.
macro_rules! passes_with_updates {
    ($updates:expr) => {
        suite! {
            put_get_delete_list,
            put_get_attributes,
            get_opts,
            put_opts($updates),
            stream_get,
            list_uses_directories_correctly,
            list_with_delimiter,
            list_with_offset_exclusivity,
            rename_and_copy,
            copy_if_not_exists,
            copy_rename_nonexistent_object,
            multipart_race_condition(true),
            multipart_out_of_order,
        }
    };
}

mod memory {
    use super::*;

    async fn store() -> (Arc<dyn ObjectStore>, Option<TempDir>) {
        (Arc::new(InMemory::new()), None)
    }

    passes_with_updates!(true);
}

mod folder {
    use super::*;

    async fn store() -> (Arc<dyn ObjectStore>, Option<TempDir>) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        (Arc::new(store), Some(folder))
    }

    passes_with_updates!(false);
}

mod vault {
    use super::*;

    async fn store() -> (Arc<dyn ObjectStore>, Option<TempDir>) {
        let cheap = KdfParams::new(19 << 10, 2).unwrap();
        let password = Password::new("correct horse battery staple");
        let vault = VaultOptions::new().kdf(cheap);
        let vault = vault.create(Arc::new(InMemory::new()), password).await;
        (vault.unwrap().object_store(), None)
    }

    passes_with_updates!(true);
}
