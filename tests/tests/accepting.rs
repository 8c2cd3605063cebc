//! Grants that are kept on a device, and the names that they have there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::memory::InMemory;
use kluis::{
    Address, Granted, Identity, IdentitySuite, MemoryState, Recipient, Terms, Vault, VaultOptions,
};
use kluis_adversary::HostileStore;
use kluis_tests::{as_store, options, phrase, read, words};
use std::sync::Arc;

struct Device {
    store: HostileStore,
    state: Arc<MemoryState>,
    identity: Arc<Identity>,
}

impl Device {
    fn options(&self) -> VaultOptions {
        let address: Address = "s3://bucket/vault".parse().unwrap();
        options().device_state(self.state.clone(), &address)
    }

    async fn open_as(&self, granted: &Granted) -> Vault {
        let store = as_store(&self.store);
        let opened = self
            .options()
            .open_as(store, &self.identity, &granted.invitation);
        opened.await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let store = as_store(&self.store);
        let vault = self.options().open(store, self.identity.clone()).await;
        let received = vault.unwrap().received().unwrap();
        received.into_iter().map(|r| r.name).collect()
    }
}

#[tokio::test]
async fn a_grant_has_one_name_on_a_device_and_a_clash_asks_for_another() {
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .create(as_store(&store), phrase(&words()))
        .await
        .unwrap();
    let identity = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let recipient = Recipient::trusted_on_first_use(identity.card().clone());
    let mut grants = Vec::new();
    for folder in ["a/photos", "b/photos"] {
        vault.put(&format!("{folder}/x"), folder).await.unwrap();
        let granted = vault.share(folder, &recipient, Terms::reading()).await;
        grants.push(granted.unwrap());
    }
    let device = Device {
        store,
        state: Arc::default(),
        identity,
    };
    let first = device.open_as(&grants[0]).await;
    first.accept(&grants[0].invitation, None).await.unwrap();
    assert_eq!(device.names().await, ["photos"]);

    // The second has the same name. It opens all the same, to be looked at and named.
    let second = device.open_as(&grants[1]).await;
    assert_eq!(read(&second, "photos/x").await.unwrap(), b"a/photos");
    let of_it = |r: &kluis::Received| r.letter == grants[1].invitation.letter();
    let received = second.received().unwrap();
    let name = &received.iter().find(|r| of_it(r)).unwrap().name;
    assert_eq!(
        read(&second, &format!("{name}/x")).await.unwrap(),
        b"b/photos"
    );
    let clash = second.accept(&grants[1].invitation, None).await;
    assert_eq!(clash.unwrap_err().code(), "already_exists");
    for wrong in ["", "a/b", "..", "a\n"] {
        let named = second.accept(&grants[1].invitation, Some(wrong)).await;
        assert_eq!(named.unwrap_err().code(), "invalid_input", "{wrong:?}");
    }
    let named = second.accept(&grants[1].invitation, Some("others"));
    named.await.unwrap();
    assert_eq!(device.names().await, ["others", "photos"]);

    // Accepted again it keeps its name, or gets the one that is asked for, once.
    let again = device.open_as(&grants[1]).await;
    again.accept(&grants[1].invitation, None).await.unwrap();
    assert_eq!(device.names().await, ["others", "photos"]);
    let renamed = again.accept(&grants[1].invitation, Some("theirs"));
    renamed.await.unwrap();
    assert_eq!(device.names().await, ["photos", "theirs"]);
}
