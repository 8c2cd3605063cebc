//! The vault's own records: who may open it, who wins, what a device remembers,
//! and what a store that lies about them comes to.
//!
//! Most credentials here are recovery phrases: they are slots as passwords are,
//! and cost no Argon2 run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::ObjectStore;
use kluis::object_store::memory::InMemory;
use kluis::{
    Address, Credential, DeviceState, Error, FileState, KdfParams, Keyfile, MemoryState, Password,
    RecoveryKit, Result, SlotKind, Vault,
};
use kluis_adversary::{Cut, Fault, HostileStore, Lie, Op, Rule};
use kluis_tests::{
    as_store, cheap, contents, hostile_vault, open, open_with, options, other_password, password,
    phrase, plant, read, store_of, stores, unplant, words,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type Contents = BTreeMap<String, Vec<u8>>;

const COPIES: [&str; 2] = ["kluis.vault", "k/header"];

/// A vault in memory that a phrase opens.
async fn phrase_vault() -> (HostileStore, Vault, String) {
    let store = HostileStore::new(InMemory::new());
    let first = words();
    let vault = options()
        .create(as_store(&store), phrase(&first))
        .await
        .unwrap();
    (store, vault, first)
}

/// Opens and looks again before every write.
async fn eager(store: &HostileStore, by: &str) -> Result<Vault> {
    options()
        .staleness(Duration::ZERO)
        .open(as_store(store), phrase(by))
        .await
}

fn assert_code<T>(result: Result<T>, code: &str, what: &str) {
    match result {
        Err(error) if error.code() == code => {}
        Err(error) => panic!("{what}: {error:?} instead of {code}"),
        Ok(_) => panic!("{what}: Ok instead of {code}"),
    }
}

/// Which records differ, without a page of numbers.
fn assert_same(left: &Contents, right: &Contents, what: &str) {
    let mut paths: Vec<_> = left.keys().chain(right.keys()).collect();
    paths.retain(|path| left.get(*path) != right.get(*path));
    assert!(paths.is_empty(), "{what}: {paths:?}");
}

fn sequence_of(path: &str) -> u64 {
    let name = path.rsplit('/').next().unwrap();
    u64::from_str_radix(&name[..16], 16).unwrap()
}

/// The records of a chain below `k/h` or `k/l`, by number.
fn records<'a>(contents: &'a Contents, chain: &str) -> Vec<(&'a String, &'a Vec<u8>)> {
    let mut found: Vec<_> = contents
        .iter()
        .filter(|(path, _)| path.starts_with(chain) && path.contains('-'))
        .collect();
    found.sort_by_key(|(path, _)| sequence_of(path));
    found
}

fn writes(store: &HostileStore, mark: u64) -> Vec<String> {
    let journal = store.journal().since(mark);
    let writes = journal.calls().iter().filter(|call| call.op.writes());
    writes.map(|call| call.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_every_kind_open_change_and_go() {
    let (stores, _folder) = stores();
    for (name, store) in stores {
        let vault = kluis_tests::vault(&store).await;
        vault.put("a", "x").await.unwrap();
        let open = |by: Credential| options().open(store.clone(), by);
        let words = words();
        let keyfile = Keyfile::generate().unwrap();
        let with_keyfile = || {
            let keyfile = Keyfile::from_bytes(keyfile.expose_bytes()).unwrap();
            Credential::PasswordAndKeyfile(password(), keyfile)
        };
        let again = options().create(store.clone(), password()).await;
        assert_code(again, "already_exists", name);

        vault
            .change_password(other_password(), cheap())
            .await
            .unwrap();
        let opened = open(other_password().into()).await.unwrap();
        assert_eq!(read(&opened, "a").await.unwrap(), b"x");
        assert_eq!(opened.id(), vault.id());
        assert_code(open(password().into()).await, "wrong_credentials", name);

        let added = vault.add_slot(phrase(&words), cheap()).await.unwrap();
        assert!(added.removed.is_empty());
        open(phrase(&words)).await.unwrap();
        open(other_password().into()).await.unwrap();

        // A keyfile beside a password that needs none would protect nothing.
        let slots = vault.slots().unwrap();
        assert_eq!(slots.len(), 2);
        assert!(slots[0].current && !slots[1].current);
        assert_eq!(
            (slots[0].kind, slots[1].kind),
            (SlotKind::Password, SlotKind::RecoveryPhrase)
        );
        assert_eq!((slots[0].kdf, slots[1].kdf), (Some(cheap()), None));
        let keyed = vault.add_slot(with_keyfile(), cheap()).await.unwrap();
        assert_eq!(keyed.removed, [slots[0].id]);
        assert_code(
            open(other_password().into()).await,
            "wrong_credentials",
            name,
        );
        assert_code(open(password().into()).await, "wrong_credentials", name);
        let other = Credential::PasswordAndKeyfile(password(), Keyfile::generate().unwrap());
        assert_code(open(other).await, "wrong_credentials", name);
        let opened = open(with_keyfile()).await.unwrap();
        assert_eq!(read(&opened, "a").await.unwrap(), b"x");

        vault.remove_slot(added.id).await.unwrap();
        assert_code(open(phrase(&words)).await, "wrong_credentials", name);
        assert_code(vault.remove_slot(added.id).await, "not_found", name);
        assert_code(vault.remove_slot(keyed.id).await, "invalid_input", name);
        assert_eq!(vault.slots().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn slots_have_limits() {
    let (_, vault) = hostile_vault().await;
    for n in 0..3 {
        let new = Password::new(format!("another password {n}"));
        vault.add_slot(new, cheap()).await.unwrap();
    }
    let fifth = vault.add_slot(other_password(), cheap()).await;
    assert_code(fifth, "invalid_input", "a fifth password");
    for _ in 0..28 {
        vault.add_slot(phrase(&words()), cheap()).await.unwrap();
    }
    let more = vault.add_slot(phrase(&words()), cheap()).await;
    assert_code(more, "invalid_input", "slot 33");
    let empty = vault.add_slot(Password::new(""), cheap()).await;
    assert_code(empty, "invalid_input", "an empty password");
    let none = vault.rotate_root(Vec::new()).await;
    assert_code(none, "invalid_input", "no way in");
    assert_eq!(vault.slots().unwrap().len(), 32);
}

/// And the budget of whoever opens: with a ceiling below every slot an
/// Argon2 run would be refused, so that who gets another answer made none.
#[tokio::test]
async fn l18_a_credential_runs_argon2_on_slots_of_its_kind_only() {
    let (store, vault) = hostile_vault().await;
    let nothing = || options().kdf_ceiling(1);
    let opened = nothing().open(as_store(&store), password()).await;
    assert_code(opened, "limit_exceeded", "a password");
    let keyed = Credential::PasswordAndKeyfile(password(), Keyfile::generate().unwrap());
    let opened = nothing().open(as_store(&store), keyed).await;
    assert_code(opened, "wrong_credentials", "a keyfile");
    let opened = nothing().open(as_store(&store), phrase(&words())).await;
    assert_code(opened, "wrong_credentials", "a phrase");
    let dear = KdfParams::new(32 << 10, 2).unwrap();
    vault.change_password(password(), dear).await.unwrap();
    let below = options().kdf_ceiling((32 << 10) - 1);
    let opened = below.open(as_store(&store), password()).await;
    assert_code(opened, "limit_exceeded", "above the ceiling");
    let enough = options().kdf_ceiling(32 << 10);
    enough.open(as_store(&store), password()).await.unwrap();
}

/// At every point of one client's change another client's whole change comes
/// between. Whoever was told Ok finds his slot; who was not changed nothing.
async fn race_of_two_changes(store: impl Fn() -> Option<HostileStore>, ignores: bool) {
    for k in 0.. {
        let Some(store) = store() else { return };
        let first = words();
        let made = options().create(as_store(&store), phrase(&first)).await;
        made.unwrap();
        if ignores {
            store.add(Lie::IgnoreConditional);
        }
        let (ada, bob) = (store.client("ada"), store.client("bob"));
        let (ada_words, bob_words) = (words(), words());
        let vault = open_with(&ada, phrase(&first)).await.unwrap();
        let other = open_with(&bob, phrase(&first)).await.unwrap();
        let outcome: Arc<std::sync::Mutex<Option<Result<()>>>> = Arc::default();
        let race = {
            let (outcome, bob_words) = (outcome.clone(), bob_words.clone());
            Lie::race(move || {
                let (other, outcome, bob_words) =
                    (other.clone(), outcome.clone(), bob_words.clone());
                async move {
                    let added = other.add_slot(phrase(&bob_words), cheap()).await;
                    *outcome.lock().unwrap() = Some(added.map(drop));
                }
            })
        };
        let rule = store.add(Rule::new(race).for_client("ada").skip(k).times(1));
        let added = vault.add_slot(phrase(&ada_words), cheap()).await.map(drop);
        if store.remove(rule) == 0 {
            assert!(k > 5, "a change of slots has more than {k} calls");
            return;
        }
        let bob_added = outcome.lock().unwrap().take().unwrap();
        let what = format!("before call {k}: {added:?}, {bob_added:?}");
        assert!(bob_added.is_ok() || ignores, "{what}");
        let fresh = open_with(&store, phrase(&first)).await.expect(&what);
        let mut expected = 1;
        for (result, words) in [(&added, &ada_words), (&bob_added, &bob_words)] {
            let opened = open_with(&store, phrase(words)).await;
            match result {
                Ok(()) => {
                    expected += 1;
                    opened.expect(&what);
                }
                Err(Error::Conflict { .. }) => assert_code(opened, "wrong_credentials", &what),
                // With conditions ignored a loser may hear of the fork instead.
                Err(Error::Forked { .. }) if ignores => {}
                Err(error) => panic!("{what}: {error:?}"),
            }
        }
        if !ignores {
            assert_eq!(fresh.slots().unwrap().len(), expected, "{what}");
        }
        // The loser goes on.
        let _ = vault
            .add_slot(phrase(&words()), cheap())
            .await
            .expect(&what);
        open_with(&store, phrase(&bob_words)).await.expect(&what);
    }
}

#[tokio::test]
async fn of_two_changes_in_memory_no_slot_is_lost() {
    race_of_two_changes(|| Some(HostileStore::new(InMemory::new())), false).await;
}

#[tokio::test]
async fn of_two_changes_in_a_folder_no_slot_is_lost() {
    let folders = std::sync::Mutex::new(Vec::new());
    let fresh = || {
        let folder = tempfile::tempdir().unwrap();
        let store = kluis::object_store::local::LocalFileSystem::new_with_prefix(folder.path());
        folders.lock().unwrap().push(folder);
        Some(HostileStore::new(store.unwrap()))
    };
    race_of_two_changes(fresh, false).await;
}

#[tokio::test]
async fn of_two_changes_on_s3_no_slot_is_lost() {
    race_of_two_changes(|| kluis_tests::s3().map(HostileStore::new), false).await;
}

#[tokio::test]
async fn of_two_changes_on_a_store_without_conditions_no_slot_is_lost() {
    race_of_two_changes(|| Some(HostileStore::new(InMemory::new())), true).await;
}

/// Two creations at once: one vault, and the other one hears of it.
#[tokio::test]
async fn of_two_creations_one_makes_the_vault() {
    for k in 0.. {
        let store = HostileStore::new(InMemory::new());
        let (ada, bob) = (store.client("ada"), store.client("bob"));
        let (ada_words, bob_words) = (words(), words());
        let outcome: Arc<std::sync::Mutex<Option<Result<Vault>>>> = Arc::default();
        let race = {
            let (outcome, bob_words) = (outcome.clone(), bob_words.clone());
            Lie::race(move || {
                let (bob, outcome, bob_words) = (bob.clone(), outcome.clone(), bob_words.clone());
                async move {
                    let made = options().create(as_store(&bob), phrase(&bob_words)).await;
                    *outcome.lock().unwrap() = Some(made);
                }
            })
        };
        let rule = store.add(Rule::new(race).for_client("ada").skip(k).times(1));
        let made = options().create(as_store(&ada), phrase(&ada_words)).await;
        if store.remove(rule) == 0 {
            assert!(k > 5, "a creation has more than {k} calls");
            return;
        }
        let other = outcome.lock().unwrap().take().unwrap();
        let what = format!("before call {k}: {made:?}, {other:?}");
        let (winner, winner_words, loser, loser_words) = match (&made, &other) {
            (Ok(vault), Err(error)) => (vault, &ada_words, error, &bob_words),
            (Err(error), Ok(vault)) => (vault, &bob_words, error, &ada_words),
            _ => panic!("{what}"),
        };
        assert_eq!(loser.code(), "already_exists", "{what}");
        let opened = open_with(&store, phrase(winner_words)).await.expect(&what);
        assert_eq!(opened.id(), winner.id(), "{what}");
        let opened = open_with(&store, phrase(loser_words)).await;
        assert_code(opened, "wrong_credentials", &what);
        winner.put("a", "x").await.unwrap();
        assert_eq!(
            read(&opened_again(&store, winner_words).await, "a")
                .await
                .unwrap(),
            b"x"
        );
    }
}

async fn opened_again(store: &HostileStore, words: &str) -> Vault {
    open_with(store, phrase(words)).await.unwrap()
}

#[tokio::test]
async fn a_vault_is_made_in_an_empty_place_only() {
    for (path, bytes) in [
        ("a", &b"somebody's"[..]),
        ("o/x", b"somebody's"),
        ("kluis.vault", b""),
        ("k/header", b"x"),
        ("k/h/0000000000000000", &[7; 32]),
        ("k/h/0000000000000001", &[7; 32]),
        ("k/l/0000000000000001", &[7; 32]),
        ("k/x", b""),
    ] {
        let store = HostileStore::new(InMemory::new());
        plant(&store, path, bytes).await;
        let made = options().create(as_store(&store), phrase(&words())).await;
        assert_code(made, "already_exists", path);
        assert!(writes(&store, 0).is_empty(), "{path}");
    }
    // What a creation leaves that died before its claim is no vault.
    let (other, _, _) = phrase_vault().await;
    let other = contents(&other).await;
    let leftovers: Contents = other
        .into_iter()
        .filter(|(path, _)| path.contains('-') || path.starts_with("k/l/"))
        .collect();
    assert_eq!(leftovers.len(), 3);
    let store = store_of(&leftovers).await;
    assert_code(open(&store).await, "no_vault", "leftovers");
    let words = words();
    let made = options().create(as_store(&store), phrase(&words)).await;
    let made = made.unwrap();
    made.put("a", "x").await.unwrap();
    let opened = open_with(&store, phrase(&words)).await.unwrap();
    assert_eq!(opened.id(), made.id());
    assert_eq!(read(&opened, "a").await.unwrap(), b"x");
    assert_code(
        open(&HostileStore::new(InMemory::new())).await,
        "no_vault",
        "nothing",
    );
}

/// A provider shows each of the three copies of the header as it was before
/// or after a change, or damaged, or not at all.
#[tokio::test]
async fn l03_no_mix_of_header_copies_opens_by_the_old_credential() {
    let (store, vault, old) = phrase_vault().await;
    vault.put("a", "x").await.unwrap();
    let before = contents(&store).await;
    let new = words();
    vault.change_password(phrase(&new), cheap()).await.unwrap();
    let after = contents(&store).await;
    assert_ne!(before[COPIES[0]], after[COPIES[0]]);

    // Of a copy: before, after, damaged, missing. Of the chain: before, after,
    // record without claim, claim without record.
    for first in 0..4 {
        for second in 0..4 {
            for chain in 0..4 {
                let what = format!("copies {first}, {second}; chain {chain}");
                let mut mixed = after.clone();
                for (path, state) in COPIES.into_iter().zip([first, second]) {
                    let bytes = mixed.get_mut(path).unwrap();
                    match state {
                        0 => bytes.clone_from(&before[path]),
                        1 => {}
                        2 => bytes[100] ^= 1,
                        _ => drop(mixed.remove(path)),
                    }
                }
                mixed.retain(|path, _| match chain {
                    _ if !path.starts_with("k/h/") || before.contains_key(path) => true,
                    0 => false,
                    1 => true,
                    2 => path.contains('-'),
                    _ => !path.contains('-'),
                });
                let shown = chain == 1 || first == 1 || second == 1;
                let by_old = store_of(&mixed).await;
                let opened = open_with(&by_old, phrase(&old)).await;
                let error = opened.map(drop).expect_err(&what);
                // The ledger names the newer header.
                let expected: &[&str] = match shown {
                    true => &["wrong_credentials"],
                    false => &["stale", "tampered"],
                };
                assert!(expected.contains(&error.code()), "{what}: {error:?}");
                let left = contents(&by_old).await;
                assert_same(&left, &mixed, &what);

                let by_new = store_of(&mixed).await;
                let opened = open_with(&by_new, phrase(&new)).await;
                if !shown {
                    let error = opened.map(drop).expect_err(&what);
                    assert!(expected.contains(&error.code()), "{what}: {error:?}");
                    assert_same(&contents(&by_new).await, &mixed, &what);
                    continue;
                }
                assert_eq!(read(&opened.expect(&what), "a").await.unwrap(), b"x");
                let repaired = contents(&by_new).await;
                for path in COPIES {
                    assert_eq!(repaired[path], after[path], "{what}: {path}");
                }
                let fresh = open_with(&by_new, phrase(&new)).await;
                assert_eq!(read(&fresh.expect(&what), "a").await.unwrap(), b"x");
            }
        }
    }
}

/// C08, E05: what a device has not seen it cannot miss.
#[tokio::test]
async fn without_a_pin_the_whole_of_an_old_state_opens() {
    let (store, vault, old) = phrase_vault().await;
    let before = store.mark();
    vault
        .change_password(phrase(&words()), cheap())
        .await
        .unwrap();
    let freeze = store.add(Lie::Freeze(before));
    open_with(&store, phrase(&old)).await.unwrap();
    assert!(store.remove(freeze) > 0);
    assert_code(
        open_with(&store, phrase(&old)).await,
        "wrong_credentials",
        "now",
    );
}

fn address() -> Address {
    "s3://bucket/prefix".parse().unwrap()
}

async fn check_pins(state: Arc<dyn DeviceState>) {
    let (store, vault, first) = phrase_vault().await;
    let pinned = |state: &Arc<dyn DeviceState>| options().device_state(state.clone(), &address());
    let by =
        |store: &HostileStore, words: &str| pinned(&state).open(as_store(store), phrase(words));
    by(&store, &first).await.unwrap();
    let at_first = contents(&store).await;
    let second = words();
    vault
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    by(&store, &second).await.unwrap();
    let at_second = contents(&store).await;

    // Header and ledger of before: by the old credential, and by the new.
    for words in [&first, &second] {
        let old = store_of(&at_first).await;
        assert_code(by(&old, words).await, "stale", "the old state");
        assert_same(&contents(&old).await, &at_first, "nothing is written");
    }
    // The ledger of before, with the header of now.
    let mut mixed = at_second.clone();
    mixed.retain(|path, _| !path.starts_with("k/l/") || at_first.contains_key(path));
    let shown = store_of(&mixed).await;
    let opened = by(&shown, &second).await;
    assert_code(opened, "stale", "the ledger of before");
    assert_same(&contents(&shown).await, &mixed, "nothing is written");

    // Another history from the first state on.
    let fork = store_of(&at_first).await;
    let other = open_with(&fork, phrase(&first)).await.unwrap();
    other
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    assert_code(by(&fork, &second).await, "forked", "another history");
    other.add_slot(phrase(&words()), cheap()).await.unwrap();
    let opened = by(&fork, &second).await;
    assert_code(opened, "forked", "another history that is longer");

    // Another vault at the address, and none.
    let (another, made, its) = phrase_vault().await;
    let opened = by(&another, &its).await;
    assert_code(opened, "untrusted_identity", "another vault");
    assert!(writes(&another, another.mark()).is_empty());
    assert_ne!(made.id(), vault.id());
    let empty = HostileStore::new(InMemory::new());
    assert_code(by(&empty, &second).await, "no_vault", "nothing there");
    let created = pinned(&state)
        .create(as_store(&empty), phrase(&words()))
        .await;
    assert_code(created, "already_exists", "a pinned address");
    assert!(contents(&empty).await.is_empty());

    // The state is as it was: the truth still opens, and pins move forward.
    let opened = by(&store, &second).await.unwrap();
    opened
        .change_password(phrase(&first), cheap())
        .await
        .unwrap();
    let old = store_of(&at_second).await;
    assert_code(by(&old, &second).await, "stale", "behind one's own change");
    by(&store, &first).await.unwrap();
    // Another address is another matter.
    let elsewhere: Address = "s3://bucket/elsewhere".parse().unwrap();
    let opened = options().device_state(state.clone(), &elsewhere);
    opened.open(as_store(&another), phrase(&its)).await.unwrap();
}

#[tokio::test]
async fn pins_in_memory_refuse_old_states_and_other_vaults() {
    check_pins(Arc::new(MemoryState::new())).await;
}

#[tokio::test]
async fn pins_in_files_refuse_old_states_and_other_vaults() {
    let folder = tempfile::tempdir().unwrap();
    check_pins(Arc::new(FileState::new(folder.path().join("state")))).await;
}

#[tokio::test]
async fn damaged_pins_are_an_error_and_removed_ones_trust_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (store, _, first) = phrase_vault().await;
    let open = || {
        let state = Arc::new(FileState::new(&path));
        options()
            .device_state(state, &address())
            .open(as_store(&store), phrase(&first))
    };
    open().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(
        files.len(),
        3,
        "a key, a lock and the pins of one address: {files:?}"
    );
    for file in &files {
        let text = std::fs::read(file).unwrap();
        let is_lock = file.extension().is_some_and(|e| e == "lock");
        assert_eq!(text.is_empty(), is_lock, "{file:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "others cannot read {file:?}");
        }
        // The lock holds nothing, and says nothing.
        if is_lock {
            std::fs::remove_file(file).unwrap();
            open().await.unwrap();
            continue;
        }
        for damaged in [
            text[..text.len() - 1].to_vec(),
            Vec::new(),
            text.iter().map(|b| b ^ 1).collect(),
        ] {
            std::fs::write(file, damaged).unwrap();
            assert_code(open().await, "io", "damaged");
        }
        std::fs::remove_file(file).unwrap();
        if file.extension().is_some_and(|e| e == "key") {
            assert_code(open().await, "io", "pins without their key");
        }
        std::fs::write(file, text).unwrap();
        open().await.unwrap();
    }
    std::fs::remove_dir_all(&path).unwrap();
    open().await.unwrap();
}

/// Without any device state: what an open client has seen it does not unsee.
#[tokio::test]
async fn an_open_client_is_not_shown_an_older_state() {
    let (store, vault, first) = phrase_vault().await;
    let before = store.mark();
    let at_first = contents(&store).await;
    let second = words();
    vault
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    let at_second = contents(&store).await;
    let eager = eager(&store, &second).await.unwrap();
    eager.put("a", "x").await.unwrap();
    let mark = store.mark();
    // All of it, the header alone, and the ledger alone.
    for what in ["**", "{header}", "k/l/**"] {
        let rules: Vec<_> = match what {
            "{header}" => ["kluis.vault", "k/header", "k/h/**"]
                .map(|path| store.add(Lie::Freeze(before).at(path)))
                .to_vec(),
            what => vec![store.add(Lie::Freeze(before).at(what))],
        };
        for client in [&vault, &eager] {
            let added = client.add_slot(phrase(&words()), cheap()).await;
            assert_code(added.map(drop), "stale", what);
            assert_code(client.recovery_kit().await, "stale", what);
        }
        if what != "{header}" {
            assert_code(eager.put("b", "y").await, "stale", what);
        }
        for rule in rules {
            store.remove(rule);
        }
    }
    assert!(writes(&store, mark).is_empty());

    // And not another history either.
    let fork = store_of(&at_first).await;
    let other = open_with(&fork, phrase(&first)).await.unwrap();
    other
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    for (path, bytes) in contents(&fork).await {
        plant(&store, &path, &bytes).await;
    }
    for path in at_second.keys() {
        if !contents(&fork).await.contains_key(path) {
            unplant(&store, path).await;
        }
    }
    let added = vault.add_slot(phrase(&words()), cheap()).await;
    assert_code(added.map(drop), "forked", "another history");
}

/// Every ordered pair of vaults with one password. The wrong password tells
/// that none was stretched: it would have been refused as that.
#[tokio::test]
async fn l04_another_vault_is_refused_before_the_password_is_touched() {
    let (first, a) = hostile_vault().await;
    let (second, b) = hostile_vault().await;
    let (ours, theirs) = (contents(&first).await, contents(&second).await);
    for (id, other, shown) in [(a.id(), b.id(), &theirs), (b.id(), a.id(), &ours)] {
        for password in [password(), Password::new("wrong")] {
            let store = store_of(shown).await;
            let opened = options().id(id).open(as_store(&store), password).await;
            match opened {
                Err(Error::UntrustedIdentity { expected, found }) => {
                    assert_eq!(expected, format!("vault {id}"));
                    assert_eq!(found, format!("vault {other}"));
                }
                other => panic!("{other:?}"),
            }
            assert!(writes(&store, 0).is_empty());
            let all = format!("s3://bucket#{id}").parse().unwrap();
            let state = options().device_state(Arc::new(MemoryState::new()), &all);
            let opened = state.open(as_store(&store), Password::new("wrong")).await;
            assert_code(opened, "untrusted_identity", "by the address");
        }
    }
    // One copy of another vault is enough, with an id and without.
    for path in COPIES {
        let mut mixed = ours.clone();
        mixed.insert(path.to_owned(), theirs[path].clone());
        for options in [options(), options().id(a.id()), options().id(b.id())] {
            let store = store_of(&mixed).await;
            let opened = options.open(as_store(&store), Password::new("wrong")).await;
            assert_code(opened, "untrusted_identity", path);
            assert!(writes(&store, 0).is_empty());
        }
    }
}

/// Whoever may write to the bucket takes the next numbers of both chains,
/// with claims, records and headers that are none of ours.
#[tokio::test]
async fn l33_squatted_numbers_stop_nobody() {
    let (foreign, stranger, _) = phrase_vault().await;
    for _ in 0..3 {
        stranger.add_slot(phrase(&words()), cheap()).await.unwrap();
    }
    let foreign = contents(&foreign).await;
    for kind in 0..6 {
        let what = format!("squatting {kind}");
        let (store, vault, mut current) = phrase_vault().await;
        vault.put("a", "x").await.unwrap();
        for chain in ["k/h", "k/l"] {
            for number in 1..101_u64 {
                let claim = format!("{chain}/{number:016x}");
                let hash = [number as u8; 32];
                let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                let record = format!("{claim}-{name}");
                match kind {
                    0 => plant(&store, &claim, &hash).await,
                    1 => plant(&store, &claim, b"").await,
                    2 => plant(&store, &claim, &[7; 10_000]).await,
                    // A record that does not hash to its name.
                    3 => {
                        plant(&store, &claim, &hash).await;
                        plant(&store, &record, b"garbage").await;
                    }
                    // Not even claimed.
                    4 => plant(&store, &record, &[9; 200]).await,
                    _ => {}
                }
            }
        }
        if kind == 5 {
            // Records of another vault, with its good signatures and claims.
            for (path, bytes) in &foreign {
                if path.starts_with("k/h/") || path.starts_with("k/l/") {
                    if !path.contains('-') && sequence_of(path) == 0 {
                        continue;
                    }
                    plant(&store, path, bytes).await;
                }
            }
        }
        let changer = open_with(&store, phrase(&current)).await.expect(&what);
        for _ in 0..3 {
            let next = words();
            changer
                .change_password(phrase(&next), cheap())
                .await
                .expect(&what);
            let opened = open_with(&store, phrase(&current)).await;
            assert_code(opened, "wrong_credentials", &what);
            current = next;
            let opened = eager(&store, &current).await.expect(&what);
            opened.put("a", "y").await.expect(&what);
            assert_eq!(read(&opened, "a").await.unwrap(), b"y");
        }
        let credentials = vec![(phrase(&current), cheap())];
        changer.rotate_root(credentials).await.expect(&what);
        changer.put("b", "z").await.expect(&what);
        let opened = open_with(&store, phrase(&current)).await.expect(&what);
        assert_eq!(read(&opened, "b").await.unwrap(), b"z");
        assert_eq!(opened.head("b").await.unwrap().epoch, 1, "{what}");
        // Every number that is ours is claimed by ours.
        let left = contents(&store).await;
        for chain in ["k/h", "k/l"] {
            for number in 0..5_u64 {
                let claim = &left[&format!("{chain}/{number:016x}")];
                let hash: String = claim.iter().map(|byte| format!("{byte:02x}")).collect();
                let record = left.get(&format!("{chain}/{number:016x}-{hash}"));
                let record = record.unwrap_or_else(|| panic!("{what}: {chain} {number}"));
                assert!(record.starts_with(b"KL") && record.len() > 200, "{what}");
            }
        }
    }
}

/// Snapshots stand at 64 and 128; epochs of every age are read across them.
#[tokio::test]
async fn a_ledger_of_many_entries_is_read_from_its_last_snapshot() {
    let (store, vault, mut current) = phrase_vault().await;
    let mut objects = Vec::new();
    let mut epoch = 0;
    for n in 1..=131_u32 {
        let next = words();
        if [5, 63, 64, 65, 100, 127, 128].contains(&n) {
            let credentials = vec![(phrase(&next), cheap())];
            vault.rotate_root(credentials).await.unwrap();
            epoch += 1;
            let path = format!("after {n}");
            vault.put(&path, path.clone()).await.unwrap();
            objects.push((path, epoch));
        } else {
            vault.change_password(phrase(&next), cheap()).await.unwrap();
        }
        if [5, 6, 63, 64, 65, 66, 127, 128, 129, 131].contains(&n) {
            assert_code(
                open_with(&store, phrase(&current)).await,
                "wrong_credentials",
                "the one before",
            );
            let opened = open_with(&store, phrase(&next)).await.unwrap();
            for (path, epoch) in &objects {
                assert_eq!(read(&opened, path).await.unwrap(), path.as_bytes());
                let info = opened.head(path).await.unwrap();
                assert_eq!(info.epoch, *epoch);
                assert_eq!(info.closed, *epoch != objects.last().unwrap().1);
            }
        }
        current = next;
    }
    let mark = store.mark();
    open_with(&store, phrase(&current)).await.unwrap();
    let entries = store
        .journal()
        .since(mark)
        .only(|call| call.path.as_ref().contains("k/l/"));
    assert_eq!(entries.count(Op::Get), 4, "128 to 131:\n{entries}");
    assert_eq!(records(&contents(&store).await, "k/l/").len(), 132);
}

/// The entries below the snapshot are not missed; one above it is.
#[tokio::test]
async fn every_entry_that_is_needed_is_missed() {
    let (store, vault, mut current) = phrase_vault().await;
    for _ in 0..66 {
        let next = words();
        vault.change_password(phrase(&next), cheap()).await.unwrap();
        current = next;
    }
    let all = contents(&store).await;
    let entries: Vec<String> = records(&all, "k/l/")
        .iter()
        .map(|(p, _)| (*p).clone())
        .collect();
    assert_eq!(entries.len(), 67);
    for number in [0, 1, 63] {
        let mut fewer = all.clone();
        fewer.remove(&entries[number]);
        open_with(&store_of(&fewer).await, phrase(&current))
            .await
            .unwrap();
    }
    for number in [64, 65] {
        for damage in [false, true] {
            let mut fewer = all.clone();
            if damage {
                fewer.get_mut(&entries[number]).unwrap()[50] ^= 1;
            } else {
                fewer.remove(&entries[number]);
            }
            let shown = store_of(&fewer).await;
            let opened = open_with(&shown, phrase(&current)).await;
            assert_code(opened, "tampered", &format!("entry {number}"));
            assert_same(&contents(&shown).await, &fewer, "nothing is written");
        }
    }
    // The head, which the newest header does not name: it was written after.
    // Without it the ledger is one that lacks an entry, which is appended.
    let mut fewer = all.clone();
    fewer.remove(&entries[66]);
    let shown = store_of(&fewer).await;
    open_with(&shown, phrase(&current)).await.unwrap();
    assert_eq!(records(&contents(&shown).await, "k/l/").len(), 67);
}

#[tokio::test]
async fn a_new_root_locks_out_old_headers_and_open_clients() {
    let (store, vault, first) = phrase_vault().await;
    vault.put("old", "written before").await.unwrap();
    let (eager, lazy) = (
        eager(&store, &first).await.unwrap(),
        open_with(&store, phrase(&first)).await.unwrap(),
    );
    let before = contents(&store).await;
    let second = words();
    let credentials = vec![(phrase(&second), cheap())];
    vault.rotate_root(credentials).await.unwrap();

    // Within its bound a writer may not know yet; what it writes is under the old
    // epoch, whose stamp is older than the decision.
    lazy.put("late", "by who did not know").await.unwrap();
    assert_eq!(read(&vault, "late").await.unwrap(), b"by who did not know");
    assert!(vault.head("late").await.unwrap().closed);
    assert_code(eager.put("x", "y").await, "conflict", "who looks");
    assert_code(eager.head("x").await, "not_found", "nothing was written");
    let slots = eager.add_slot(phrase(&words()), cheap()).await;
    assert_code(slots, "conflict", "who looks");
    assert_eq!(read(&eager, "old").await.unwrap(), b"written before");

    vault.put("new", "written after").await.unwrap();
    vault.put("old", "written again").await.unwrap();
    // An object proves that there is more than this client knows.
    for client in [&eager, &lazy] {
        for path in ["new", "old"] {
            assert_code(read(client, path).await, "conflict", "a new epoch");
        }
    }
    // With everything that the store had: by the old credential nothing of it opens.
    let mut mixed = contents(&store).await;
    assert_code(
        open_with(&store, phrase(&first)).await,
        "wrong_credentials",
        "now",
    );
    for (path, bytes) in &before {
        if path.starts_with('k') {
            mixed.insert(path.clone(), bytes.clone());
        }
    }
    mixed.retain(|path, _| before.contains_key(path) || !path.starts_with("k/h/"));
    let with_new_ledger = store_of(&mixed).await;
    // Nobody who knows the old header alone can tell the new entries, which another
    // authority signs, from a squatter's; he reads nothing of what is new, and
    // undoes nothing.
    match open_with(&with_new_ledger, phrase(&first)).await {
        Ok(opened) => {
            for path in ["new", "old"] {
                assert_code(read(&opened, path).await, "stale", "a new object");
            }
        }
        Err(error) => assert_eq!(error.code(), "stale", "{error:?}"),
    }
    let what = "the old header, the new ledger";
    assert_same(&contents(&with_new_ledger).await, &mixed, what);
    mixed.retain(|path, _| before.contains_key(path) || path.starts_with("o/"));
    let old_state = store_of(&mixed).await;
    let opened = open_with(&old_state, phrase(&first)).await.unwrap();
    for path in ["new", "old"] {
        assert_code(
            read(&opened, path).await,
            "stale",
            "the old state, the new object",
        );
    }
    assert_eq!(read(&opened, "late").await.unwrap(), b"by who did not know");

    let fresh = open_with(&store, phrase(&second)).await.unwrap();
    for (path, text) in [("new", &b"written after"[..]), ("old", b"written again")] {
        assert_eq!(read(&fresh, path).await.unwrap(), text);
        assert_eq!(fresh.head(path).await.unwrap().epoch, 1);
    }
}

/// Whoever opens between a new root and its epoch does not write under the old
/// one, also where the store keeps him from opening the new one.
#[tokio::test]
async fn nothing_is_written_under_an_epoch_that_the_new_root_has_to_close() {
    let (store, vault, first) = phrase_vault().await;
    vault.put("a", "x").await.unwrap();
    let second = words();
    // The header and its claim.
    let dying = store.client("dying");
    let rotator = open_with(&dying, phrase(&first)).await.unwrap();
    let mark = store.mark();
    let deny = Lie::FailBefore(Fault::PermissionDenied).at("k/l/**");
    let rule = store.add(deny.on(Op::Put));
    let credentials = vec![(phrase(&second), cheap())];
    rotator.rotate_root(credentials).await.unwrap_err();
    let opened = open_with(&store, phrase(&second)).await.unwrap();
    assert_eq!(read(&opened, "a").await.unwrap(), b"x", "reading goes on");
    assert!(store.uses(rule) > 1);
    assert_code(opened.put("b", "y").await, "access_denied", "the old epoch");
    let journal = store.journal().since(mark);
    let put = journal.only(|c| c.op == Op::Put && c.path.as_ref().starts_with("o/"));
    assert!(put.calls().is_empty(), "{put}");
    store.remove(rule);
    opened.put("b", "y").await.unwrap();
    assert_eq!(opened.head("b").await.unwrap().epoch, 1);
}

/// The store answers with an error though it did what it was asked: the change
/// stands, and the same client may try again, with another password too.
#[tokio::test]
async fn a_change_that_failed_late_is_replaced_by_the_next() {
    for fail in [
        "k/h/0000000000000001",
        "kluis.vault",
        "k/header",
        "k/l/0000000000000001",
    ] {
        let (store, vault, first) = phrase_vault().await;
        let (second, third) = (words(), words());
        let rule = Lie::FailAfter(Fault::Generic).at(fail).on(Op::Put).times(1);
        let rule = store.add(rule);
        let failed = vault.change_password(phrase(&second), cheap()).await;
        match fail {
            // The copies are written again by whoever opens next.
            "kluis.vault" | "k/header" => failed.expect(fail),
            _ => assert_code(failed, "store", fail),
        }
        assert_eq!(store.remove(rule), 1);
        vault
            .change_password(phrase(&third), cheap())
            .await
            .expect(fail);
        for old in [&first, &second] {
            assert_code(
                open_with(&store, phrase(old)).await,
                "wrong_credentials",
                fail,
            );
        }
        let opened = open_with(&store, phrase(&third)).await.expect(fail);
        assert_eq!(opened.slots().unwrap().len(), 1, "{fail}");
    }
}

/// Another client has replaced the credential that this one was opened with.
#[tokio::test]
async fn a_credential_that_is_gone_is_not_replaced_again() {
    let (store, vault, first) = phrase_vault().await;
    let other = open_with(&store, phrase(&first)).await.unwrap();
    let second = words();
    other
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    let late = vault.change_password(phrase(&words()), cheap()).await;
    assert_code(late, "conflict", "its slot is gone");
    open_with(&store, phrase(&second)).await.unwrap();
}

/// A call that runs keeps its keys to its end, and gives them to nobody.
#[tokio::test]
async fn a_vault_that_is_locked_during_a_change_stays_locked() {
    let (store, vault, first) = phrase_vault().await;
    let (handle, second) = (vault.clone(), words());
    let lock = Lie::race(move || {
        handle.lock();
        std::future::ready(())
    });
    let rule = store.add(lock.at("k/header").on(Op::Put).times(1));
    vault
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    assert_eq!(store.remove(rule), 1);
    assert_code(vault.slots(), "access_denied", "locked");
    assert_code(vault.put("a", "x").await, "access_denied", "locked");
    assert_code(
        open_with(&store, phrase(&first)).await,
        "wrong_credentials",
        "changed",
    );
    open_with(&store, phrase(&second)).await.unwrap();
}

#[tokio::test]
async fn a_recovery_kit_restores_whatever_is_lost() {
    let (store, vault, first) = phrase_vault().await;
    vault.put("a", "x").await.unwrap();
    vault
        .rotate_root(vec![(phrase(&first), cheap())])
        .await
        .unwrap();
    vault.put("b", "y").await.unwrap();
    vault.add_slot(phrase(&words()), cheap()).await.unwrap();
    let kit = vault.recovery_kit().await.unwrap().to_string();
    let kit = RecoveryKit::parse(&kit).unwrap();
    let all = contents(&store).await;
    let own: Vec<&String> = all.keys().filter(|path| path.starts_with('k')).collect();
    assert_eq!(own.len(), 14);
    let mut losses: Vec<Vec<&String>> = own.iter().map(|path| vec![*path]).collect();
    losses.push(own.clone());
    losses.push(
        own.iter()
            .filter(|p| p.starts_with("k/l/"))
            .copied()
            .collect(),
    );
    losses.push(
        own.iter()
            .filter(|p| !p.starts_with("k/l/"))
            .copied()
            .collect(),
    );
    losses.push(own.iter().filter(|p| p.contains('-')).copied().collect());
    losses.push(own.iter().filter(|p| !p.contains('-')).copied().collect());
    for lost in losses {
        for damage in [false, true] {
            let what = format!("{lost:?}, damaged: {damage}");
            let mut left = all.clone();
            for path in &lost {
                if damage {
                    left.get_mut(*path).unwrap()[20] ^= 1;
                } else {
                    left.remove(*path);
                }
            }
            let broken = store_of(&left).await;
            let wrong = options()
                .restore(as_store(&broken), &kit, phrase(&words()))
                .await;
            assert_code(wrong, "wrong_credentials", &what);
            assert_same(&contents(&broken).await, &left, &what);
            let restored = options()
                .restore(as_store(&broken), &kit, phrase(&first))
                .await
                .expect(&what);
            let fresh = open_with(&broken, phrase(&first)).await.expect(&what);
            for vault in [&restored, &fresh] {
                assert_eq!(vault.id(), kit.header().vault());
                assert_eq!(vault.slots().unwrap().len(), 2, "{what}");
                assert_eq!(read(vault, "a").await.unwrap(), b"x", "{what}");
                assert_eq!(read(vault, "b").await.unwrap(), b"y", "{what}");
            }
            fresh.put("c", "z").await.expect(&what);
            let next = words();
            fresh
                .change_password(phrase(&next), cheap())
                .await
                .expect(&what);
            open_with(&broken, phrase(&next)).await.expect(&what);
            // Nothing that was there was overwritten but what was damaged.
            let now = contents(&broken).await;
            for (path, bytes) in all.iter().filter(|(path, _)| path.contains('-')) {
                if !path.starts_with("k/h/") {
                    assert_eq!(now.get(path), Some(bytes), "{what}: {path}");
                }
            }
        }
    }
    // Where nothing is lost nothing is written.
    let mark = store.mark();
    let restored = options()
        .restore(as_store(&store), &kit, phrase(&first))
        .await;
    restored.unwrap();
    assert!(
        writes(&store, mark).is_empty(),
        "{:?}",
        writes(&store, mark)
    );
}

#[tokio::test]
async fn an_old_kit_does_not_bring_an_old_state_back() {
    let (store, vault, first) = phrase_vault().await;
    let kit = vault.recovery_kit().await.unwrap();
    let second = words();
    vault
        .change_password(phrase(&second), cheap())
        .await
        .unwrap();
    let before = contents(&store).await;
    let restored = options()
        .restore(as_store(&store), &kit, phrase(&first))
        .await;
    assert_code(restored, "wrong_credentials", "a newer header is there");
    assert_same(&contents(&store).await, &before, "nothing is written");

    // The header is lost, and the ledger says that there was a newer one.
    let mut lost = before.clone();
    lost.retain(|path, _| !path.starts_with("k/h") && path != COPIES[0]);
    let broken = store_of(&lost).await;
    let restored = options()
        .restore(as_store(&broken), &kit, phrase(&first))
        .await;
    match restored {
        Ok(vault) => assert_eq!(vault.slots().unwrap().len(), 1),
        Err(error) => assert_eq!(error.code(), "stale"),
    }

    vault
        .rotate_root(vec![(phrase(&second), cheap())])
        .await
        .unwrap();
    vault.put("new", "x").await.unwrap();
    let mut lost = contents(&store).await;
    lost.retain(|path, _| !path.starts_with("k/h") && path != COPIES[0]);
    let broken = store_of(&lost).await;
    let restored = options()
        .restore(as_store(&broken), &kit, phrase(&first))
        .await;
    assert_code(restored, "stale", "the root was rotated since");
    assert_same(&contents(&broken).await, &lost, "nothing is written");
}

#[tokio::test]
async fn a_kit_of_another_vault_or_for_a_pinned_other_one_writes_nothing() {
    let (_, ours, first) = phrase_vault().await;
    for _ in 0..3 {
        ours.add_slot(phrase(&words()), cheap()).await.unwrap();
    }
    let kit = ours.recovery_kit().await.unwrap();
    let (other, theirs, their_words) = phrase_vault().await;
    let before = contents(&other).await;
    let restored = options()
        .restore(as_store(&other), &kit, phrase(&first))
        .await;
    assert_code(restored, "untrusted_identity", "another vault lies there");
    assert_same(&contents(&other).await, &before, "nothing is written");

    let empty = HostileStore::new(InMemory::new());
    let by_id = options().id(theirs.id());
    let restored = by_id.restore(as_store(&empty), &kit, phrase(&first)).await;
    assert_code(restored, "untrusted_identity", "by id");
    let state: Arc<dyn DeviceState> = Arc::new(MemoryState::new());
    let pinned = || options().device_state(state.clone(), &address());
    pinned()
        .open(as_store(&other), phrase(&their_words))
        .await
        .unwrap();
    let restored = pinned()
        .restore(as_store(&empty), &kit, phrase(&first))
        .await;
    assert_code(restored, "untrusted_identity", "by pin");
    assert!(contents(&empty).await.is_empty());
}

/// A client that died between the record and the claim of an entry leaves an
/// orphan, which is no part of the chain that a kit holds.
#[tokio::test]
async fn a_kit_holds_the_chain_and_no_orphan() {
    for _ in 0..8 {
        let (store, vault, first) = phrase_vault().await;
        let dying = store.client("dying");
        let other = open_with(&dying, phrase(&first)).await.unwrap();
        let second = words();
        // The entry's record is put, its claim is not.
        let rule = store.add(
            Lie::FailBefore(Fault::Generic)
                .at("k/l/0000000000000001")
                .for_client("dying"),
        );
        let credentials = vec![(phrase(&second), cheap())];
        other.rotate_root(credentials).await.unwrap_err();
        assert!(store.remove(rule) > 0);
        let vault = {
            drop(vault);
            open_with(&store, phrase(&second)).await.unwrap()
        };
        vault.put("a", "x").await.unwrap();
        let all = contents(&store).await;
        assert_eq!(records(&all, "k/l/").len(), 3, "an orphan, and the chain");
        let kit = vault.recovery_kit().await.unwrap();
        assert_eq!(kit.entries().len(), 2);
        let lost: Contents = all
            .into_iter()
            .filter(|(path, _)| path.starts_with("o/"))
            .collect();
        let broken = store_of(&lost).await;
        let restored = options()
            .restore(as_store(&broken), &kit, phrase(&second))
            .await;
        assert_eq!(read(&restored.unwrap(), "a").await.unwrap(), b"x");
    }
}

/// With credentials of the store that only read a vault opens and is read.
#[tokio::test]
async fn a_vault_that_may_only_be_read_opens_also_behind_a_repair() {
    let (store, vault, first) = phrase_vault().await;
    vault.put("a", "x").await.unwrap();
    unplant(&store, COPIES[1]).await;
    let client = store.client("reader");
    for op in [Op::Put, Op::PutMultipart, Op::Delete, Op::Copy] {
        store.add(
            Rule::new(Lie::FailBefore(Fault::PermissionDenied))
                .on(op)
                .for_client("reader"),
        );
    }
    let opened = open_with(&client, phrase(&first)).await.unwrap();
    assert_eq!(read(&opened, "a").await.unwrap(), b"x");
    assert_code(opened.put("b", "y").await, "access_denied", "put");
    assert_code(opened.delete("a").await, "access_denied", "delete");
    let changed = opened.change_password(phrase(&words()), cheap()).await;
    assert_code(changed, "access_denied", "change_password");
    assert!(!contents(&store).await.contains_key(COPIES[1]));
    open_with(&store, phrase(&first)).await.unwrap();
    assert!(
        contents(&store).await.contains_key(COPIES[1]),
        "repaired by who may"
    );
}

/// A client that is cut off after the first request hears of the store, not of
/// the vault.
#[tokio::test]
async fn an_unreachable_store_is_said_to_be_that() {
    let (store, vault, first) = phrase_vault().await;
    vault.put("a", "x").await.unwrap();
    for k in 0..6 {
        let client = store.client("cut off");
        client.crash(Cut::Before(k));
        match open_with(&client, phrase(&first)).await {
            Err(error) => assert_code::<()>(Err(error), "store", &format!("call {k}")),
            Ok(_) => assert!(k >= 5),
        }
        client.recover();
    }
    let store: Arc<dyn ObjectStore> = as_store(&store);
    options().open(store, phrase(&first)).await.unwrap();
}

/// A person is asked for a password only where it is of use.
#[tokio::test]
async fn a_wrong_address_is_told_without_a_credential() {
    let (store, vault, first) = phrase_vault().await;
    let empty = HostileStore::new(InMemory::new());
    assert_code(options().find(as_store(&empty)).await, "no_vault", "empty");
    let (_, other, _) = phrase_vault().await;
    let elsewhere = options().id(other.id()).find(as_store(&store));
    assert_code(elsewhere.await, "untrusted_identity", "another vault");

    let found = options().find(as_store(&store)).await.unwrap();
    assert_eq!(found.id(), vault.id());
    assert_eq!(found.slot_kinds(), [SlotKind::RecoveryPhrase]);
    // Much can happen while somebody types.
    vault.add_slot(password(), cheap()).await.unwrap();
    vault.put("a", "x").await.unwrap();
    let slow = found.unlock(phrase(&first)).await.unwrap();
    assert_eq!(read(&slow, "a").await.unwrap(), b"x");
    slow.add_slot(phrase(&words()), cheap()).await.unwrap();
    assert_eq!(slow.slots().unwrap().len(), 3);

    let found = options().find(as_store(&store)).await.unwrap();
    let wrong = found.unlock(other_password()).await;
    assert_code(wrong, "wrong_credentials", "another password");
}

/// The newest entry does not come as it is, once or a few times: nobody who has seen
/// it is told of a fork by what another client then does, and once leaves no trace.
#[tokio::test]
async fn a_hiccup_in_the_newest_entry_is_no_fork() {
    for times in 1..=3 {
        for changes in [false, true] {
            let (store, vault, first) = phrase_vault().await;
            let state: Arc<dyn DeviceState> = Arc::new(MemoryState::new());
            let address: Address = "memory:///v".parse().unwrap();
            let pinned = async || {
                let options = options().device_state(Arc::clone(&state), &address);
                options.open(as_store(&store), phrase(&first)).await
            };
            vault.add_slot(phrase(&words()), cheap()).await.unwrap();
            pinned().await.unwrap();
            let before = contents(&store).await;
            let entries = before.keys().filter(|path| path.starts_with("k/l/"));
            let newest = entries.max().unwrap().as_str();
            // A change reads it when it looks, and again behind its header.
            let skip = u64::from(changes);
            store.add(Lie::Garbage.at(newest).on(Op::Get).skip(skip).times(times));
            if changes {
                // It may have to be repeated.
                let _ = vault.add_slot(phrase(&words()), cheap()).await;
            } else {
                open_with(&store, phrase(&first)).await.unwrap();
            }
            let what = format!("{times} times, {changes}");
            let after = contents(&store).await;
            for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with("k/l/")) {
                assert_eq!(after.get(path), Some(bytes), "{what}: {path}");
            }
            if times == 1 && !changes {
                assert_same(&before, &after, &what);
            }
            pinned().await.expect(&what);
        }
    }
}
