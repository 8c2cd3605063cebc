//! Grants that are kept on a device, and the names that they have there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::memory::InMemory;
use kluis::{
    Address, DeviceState, Error, FileState, Fingerprint, GrantFile, Granted, Identity,
    IdentitySuite, Invitation, MemoryState, Pins, PinsChange, Recipient, Terms, Vault,
    VaultOptions,
};
use kluis_adversary::{HostileStore, Lie, Op, Rule};
use kluis_tests::{as_store, contents, options, phrase, plant, read, unplant, words};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

struct Device {
    store: HostileStore,
    state: Arc<MemoryState>,
    identity: Arc<Identity>,
}

impl Device {
    fn options(&self) -> VaultOptions {
        options().device_state(self.state.clone(), &address())
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

fn address() -> Address {
    "s3://bucket/vault".parse().unwrap()
}

/// An owner with one folder that is shared with the device's identity.
async fn shared() -> (Vault, Device, Granted) {
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .create(as_store(&store), phrase(&words()))
        .await
        .unwrap();
    let identity = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let recipient = Recipient::trusted_on_first_use(identity.card().clone());
    vault.put("photos/x", "x").await.unwrap();
    let granted = vault.share("photos", &recipient, Terms::reading()).await;
    let device = Device {
        store,
        state: Arc::default(),
        identity,
    };
    (vault, device, granted.unwrap())
}

#[tokio::test]
async fn a_grant_as_a_file_is_its_invitation_and_the_letter_of_the_store() {
    let (vault, device, granted) = shared().await;
    let text = granted.file(&address()).unwrap().to_armor();
    let file = GrantFile::from_armor(&text).unwrap();
    let (there, invitation) = Invitation::of_file(&file).unwrap();
    assert_eq!(there, address().with_id(vault.id()));
    assert_eq!(invitation, granted.invitation);
    let path = invitation.letter().path();
    assert_eq!(contents(&device.store).await[&path], file.letter());
    // The store's is preferred: it is the newest word, and it is asked.
    let changed = {
        let mut letter = file.letter().to_vec();
        letter[100] ^= 1;
        letter
    };
    let url = file.address();
    let altered = GrantFile::new(url, file.vault(), file.name(), file.grantor(), &changed);
    let altered = altered.unwrap();
    let open = |file| {
        let store = as_store(&device.store);
        let (options, identity) = (device.options(), device.identity.clone());
        async move { options.open_file(store, &identity, &file).await }
    };
    assert!(open(altered.clone()).await.is_ok());
    let his = open(file.clone()).await.unwrap();
    his.accept(&invitation, None).await.unwrap();
    assert_eq!(device.names().await, ["photos"]);
    // What the store has is not kept on the device.
    let address = address().url().to_string();
    let kept = || kluis::DeviceState::load(&*device.state, &address).unwrap();
    assert!(kept().unwrap().accepted[0].record.is_empty());

    // Another letter, grantor, place or vault: nothing opens, on a device that knows none.
    unplant(&device.store, &path).await;
    let open = |file| {
        let (store, identity) = (as_store(&device.store), device.identity.clone());
        async move { options().open_file(store, &identity, &file).await }
    };
    assert_eq!(open(altered).await.unwrap_err().code(), "tampered");
    let other = Fingerprint::from_bytes([7; 16]);
    let forged = GrantFile::new(url, file.vault(), file.name(), other, file.letter());
    let error = open(forged.unwrap()).await.unwrap_err();
    assert_eq!(error.code(), "untrusted_identity");
    let name = "00".repeat(16).parse().unwrap();
    let moved = GrantFile::new(url, file.vault(), name, file.grantor(), file.letter());
    let error = open(moved.unwrap()).await.unwrap_err();
    assert_eq!(error.code(), "tampered");
    let vault_id = "00".repeat(16).parse().unwrap();
    let moved = GrantFile::new(url, vault_id, file.name(), file.grantor(), file.letter());
    let error = open(moved.unwrap()).await.unwrap_err();
    assert_eq!(error.code(), "untrusted_identity");
    for wrong in [
        "nothing",
        "s3://u:p@b/x",
        "s3://b/a/../b",
        "s3://b/x#1",
        "s3://b/x?q",
    ] {
        let file = GrantFile::new(wrong, vault.id(), file.name(), file.grantor(), b"x").unwrap();
        let found = Invitation::of_file(&file);
        assert!(matches!(found, Err(Error::InvalidInput { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn a_letter_that_the_store_has_not_is_kept_on_the_device() {
    let (vault, device, granted) = shared().await;
    let file = granted.file(&address()).unwrap();
    let path = granted.invitation.letter().path();
    let letter = contents(&device.store).await[&path].clone();
    unplant(&device.store, &path).await;
    let store = || as_store(&device.store);
    let by_invitation = device
        .options()
        .open_as(store(), &device.identity, &granted.invitation);
    assert_eq!(by_invitation.await.unwrap_err().code(), "not_found");
    let opened = device.options().open_file(store(), &device.identity, &file);
    let his = opened.await.unwrap();
    assert_eq!(read(&his, "photos/x").await.unwrap(), b"x");
    his.accept(&granted.invitation, Some("mine")).await.unwrap();
    // Opened with the identity alone, and by the invitation, under its name.
    assert_eq!(device.names().await, ["mine"]);
    let again = device.open_as(&granted).await;
    assert_eq!(read(&again, "mine/x").await.unwrap(), b"x");
    again
        .accept(&granted.invitation, Some("album"))
        .await
        .unwrap();
    assert_eq!(device.names().await, ["album"]);
    // Renamed where the store has it again, the device forgets it.
    plant(&device.store, &path, &letter).await;
    let again = device.open_as(&granted).await;
    again.accept(&granted.invitation, None).await.unwrap();
    unplant(&device.store, &path).await;
    let gone = device
        .options()
        .open(store(), device.identity.clone())
        .await;
    assert_eq!(gone.unwrap_err().code(), "not_found");
    // A file of one that was taken back opens nothing.
    vault.revoke(&[granted.id]).await.unwrap();
    let opened = device.options().open_file(store(), &device.identity, &file);
    assert_eq!(opened.await.unwrap_err().code(), "access_denied");
}

#[tokio::test]
async fn k04_the_sdk_seals_nothing_to_a_classical_card_unless_it_is_allowed() {
    let (vault, device, _) = shared().await;
    let old = Identity::make(IdentitySuite::X25519, 1).unwrap();
    let recipient = Recipient::trusted_on_first_use(old.card().clone());
    let mark = device.store.mark();
    for error in [
        vault
            .share("a", &recipient, Terms::reading())
            .await
            .unwrap_err(),
        vault
            .share_whole(&recipient, Terms::reading())
            .await
            .unwrap_err(),
        vault.add_device(&recipient).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
    }
    assert_eq!(device.store.journal().since(mark).calls().len(), 0);
    let allowed = recipient.allow_classical();
    let granted = vault.share("a", &allowed, Terms::reading()).await.unwrap();
    vault.add_device(&allowed).await.unwrap();
    // Flagged in the list and in the statement of access.
    let grants = vault.grants().unwrap();
    let flagged = |suite: IdentitySuite| !suite.is_post_quantum();
    let of_it = |grant: &&kluis::Grant| grant.id == granted.id;
    assert!(flagged(grants.iter().find(of_it).unwrap().suite));
    let statement = vault.access(Some("a")).await.unwrap();
    assert!(flagged(statement.access[0].grant.suite));
}

/// An owner with a folder of each of these names, all shared with one identity.
async fn shared_as(folders: &[String]) -> (HostileStore, Arc<Identity>, Vec<Granted>) {
    let store = HostileStore::new(InMemory::new());
    let vault = options()
        .create(as_store(&store), phrase(&words()))
        .await
        .unwrap();
    let identity = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let recipient = Recipient::trusted_on_first_use(identity.card().clone());
    let mut grants = Vec::new();
    for folder in folders {
        let granted = vault.share(folder, &recipient, Terms::reading()).await;
        grants.push(granted.unwrap());
    }
    (store, identity, grants)
}

/// Each has a state of its own over the same folder, as programs have.
#[tokio::test]
async fn what_several_programs_accept_at_once_is_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folders: Vec<_> = (0..12).map(|n| format!("f{n:02}")).collect();
    let (store, identity, grants) = shared_as(&folders).await;
    let program = || {
        let state = Arc::new(FileState::new(folder.path().join("state")));
        options().device_state(state, &address())
    };
    let opened = grants
        .iter()
        .map(|granted| program().open_as(as_store(&store), &identity, &granted.invitation));
    let opened = futures_util::future::try_join_all(opened).await.unwrap();
    let accepted = grants
        .iter()
        .zip(&opened)
        .map(|(granted, vault)| vault.accept(&granted.invitation, None));
    futures_util::future::try_join_all(accepted).await.unwrap();
    let vault = program().open(as_store(&store), identity.clone()).await;
    let received = vault.unwrap().received().unwrap();
    let names: Vec<_> = received.into_iter().map(|r| r.name).collect();
    assert_eq!(names, folders);
}

/// A state that another program adds a grant to, just before this one changes it.
#[derive(Debug, Default)]
struct Raced {
    state: MemoryState,
    rival: std::sync::Mutex<Option<Pins>>,
}

impl DeviceState for Raced {
    fn load(&self, address: &str) -> std::io::Result<Option<Pins>> {
        self.state.load(address)
    }

    fn save(&self, address: &str, pins: &Pins) -> std::io::Result<()> {
        self.state.save(address, pins)
    }

    fn update(&self, address: &str, change: &mut PinsChange<'_>) -> std::io::Result<()> {
        if let Some(rival) = self.rival.lock().unwrap().take() {
            self.save(address, &rival)?;
        }
        self.state.update(address, change)
    }
}

#[tokio::test]
async fn a_name_that_another_program_takes_meanwhile_is_taken() {
    let folders = ["a/photos", "b/photos"].map(str::to_owned);
    let (store, identity, grants) = shared_as(&folders).await;
    let state = Arc::new(Raced::default());
    let device = || options().device_state(state.clone(), &address());
    let open = |granted: &Granted| {
        let (device, invitation) = (device(), granted.invitation.clone());
        let (store, identity) = (as_store(&store), identity.clone());
        async move { device.open_as(store, &identity, &invitation).await }
    };
    let kept = || state.load(address().url().as_str()).unwrap().unwrap();
    open(&grants[0])
        .await
        .unwrap()
        .accept(&grants[0].invitation, None)
        .await
        .unwrap();
    let rival = kept();
    device().forget_accepted("photos").await.unwrap();
    let second = open(&grants[1]).await.unwrap();
    *state.rival.lock().unwrap() = Some(rival.clone());
    let clash = second.accept(&grants[1].invitation, None).await;
    assert_eq!(clash.unwrap_err().code(), "already_exists");
    assert_eq!(kept(), rival);
}

/// What somebody with twenty folders asks the store for when he looks again. The letters
/// are read anew, eight at once at the most; what an entry changes for all of them is in
/// one bundle, which is read once.
#[tokio::test]
async fn what_a_member_of_twenty_folders_asks_for_when_he_looks_again() {
    let store = HostileStore::new(InMemory::new());
    let eager = || options().staleness(Duration::ZERO);
    let create = eager().create(as_store(&store), phrase(&words()));
    let vault = create.await.unwrap();
    let [bob, carl] = [1, 2].map(|n| Arc::new(Identity::make(IdentitySuite::XWing, n).unwrap()));
    let to = |who: &Identity| Recipient::trusted_on_first_use(who.card().clone());
    let (to_bob, to_carl) = (to(&bob), to(&carl));
    let mut his = eager();
    let mut carls = Vec::new();
    let mut terms = Terms::reading();
    terms.write = true;
    for n in 0..20 {
        let folder = format!("f{n:02}");
        let granted = vault.share(&folder, &to_bob, terms.clone()).await.unwrap();
        his = his.also(&granted.invitation);
        let granted = vault.share(&folder, &to_carl, terms.clone()).await.unwrap();
        carls.push(granted.id);
    }
    let client = store.client("bob");
    let bobs = his.open(as_store(&client), bob).await.unwrap();
    let records = async |path: &str| {
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let counted = {
            let most = most.clone();
            Rule::new(Lie::race(move || {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    now.fetch_sub(1, SeqCst);
                }
            }))
        };
        let rule = store.add(counted.at("k/g/*").on(Op::Get).for_client("bob"));
        let mark = store.mark();
        bobs.put(path, "x").await.unwrap();
        store.remove(rule);
        let calls = store.journal().since(mark).by("bob");
        let of = |op, prefix: &str| {
            let calls = calls.only(|call| call.op == op && call.path.as_ref().starts_with(prefix));
            calls.calls().len()
        };
        let bundles = calls.only(|call| call.path.as_ref().len() == "k/g/".len() + 64);
        (
            [
                of(Op::Get, "k/g/"),
                of(Op::Get, "k/"),
                bundles.calls().len(),
            ],
            most.load(SeqCst),
        )
    };
    assert_eq!(records("f00/x").await, ([0, 0, 0], 0), "nothing is new");
    vault.new_group("team").await.unwrap();
    assert_eq!(records("f00/x").await, ([20, 63, 0], 8), "one entry");
    vault.revoke(&carls).await.unwrap();
    assert_eq!(records("f19/x").await, ([21, 65, 1], 8), "new keys for all");
    assert_eq!(records("f19/x").await, ([0, 0, 0], 0), "nothing is new");
}
