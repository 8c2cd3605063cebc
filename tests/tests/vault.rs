//! Every operation of a vault on every kind of store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use futures_util::TryStreamExt;
use kluis::{Error, Vault};
use kluis_tests::{options, password, pattern, stores, vault};

const CHUNK: usize = 16_384;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_comes_back() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = vault(&store).await;
        for size in [
            0,
            1,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            3 * CHUNK + 17,
            (1 << 20) - 1,
            1 << 20,
            (1 << 20) + 1,
            9 << 20,
        ] {
            let content = pattern(size);
            let path = format!("folder/of {size}");
            vault.put(&path, content.clone()).await.unwrap();
            let object = vault.get(&path).await.unwrap();
            assert_eq!(object.info().meta.size, size as u64, "{name}");
            assert!(
                object.bytes().await.unwrap() == content,
                "{name}, {size} bytes"
            );
            for (from, to) in [
                (0, 1),
                (size / 2, size / 2 + 100),
                (size.saturating_sub(3), size + 10),
            ] {
                if from < size {
                    let got = vault
                        .get_range(&path, from as u64..to as u64)
                        .await
                        .unwrap();
                    assert!(
                        got == content[from..to.min(size)],
                        "{name}, {from}..{to} of {size}"
                    );
                }
            }
        }
        let listed: Vec<_> = vault.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), 10, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_opens_again_and_not_with_another_password() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let first = vault(&store).await;
        first.put("a", "b").await.unwrap();
        let again = options()
            .id(first.id())
            .open(store.clone(), password())
            .await
            .unwrap();
        assert_eq!(
            again.get("a").await.unwrap().bytes().await.unwrap(),
            "b",
            "{name}"
        );
        let wrong = Vault::open(store.clone(), kluis::Password::new("wrong")).await;
        assert!(matches!(wrong, Err(Error::WrongCredentials)), "{name}");
        assert!(
            matches!(
                options().create(store, password()).await,
                Err(Error::AlreadyExists { .. })
            ),
            "{name}"
        );
    }
}
