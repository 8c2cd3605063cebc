//! Operations that end in the middle: the client dies before or after any of its
//! requests, or its future is dropped at any of its waits. A fresh client then
//! finds the old state or the new one, nothing that was acknowledged is lost,
//! and the same can be done again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use futures_util::future::{BoxFuture, poll_fn};
use futures_util::{FutureExt, TryStreamExt, stream};
use kluis::object_store::ObjectMeta;
use kluis::object_store::memory::InMemory;
use kluis::{Identity, IdentitySuite, PutOptions, Recipient, RecoveryKit, Result, Vault};
use kluis_adversary::{Cut, HostileStore, Lie};
use kluis_tests::{
    as_store, cheap, contents, open_with, options, pattern, phrase, read, store_of, words,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

type Contents = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Old,
    New,
}

type Run = Arc<dyn Fn(HostileStore, Option<Vault>) -> BoxFuture<'static, Result<()>>>;
type Look = Arc<dyn Fn(HostileStore) -> BoxFuture<'static, State>>;

/// One operation, from a store with these contents.
struct Case {
    name: &'static str,
    before: Contents,
    /// The credential of the vault that runs it, where it needs one.
    by: Option<String>,
    run: Run,
    /// What a fresh client finds; panics where it is neither state.
    look: Look,
    /// Errors of a second run where the first took effect.
    again: &'static [&'static str],
    /// Calls of the store that it has at least.
    calls: u64,
}

const LONG: &str = "a folder whose name is so long that it is not stored under its own encryption, \
    but under a hash, with its whole name in an object beside it";

fn run<F: Future<Output = Result<()>> + Send + 'static>(
    f: impl Fn(HostileStore, Vault) -> F + 'static,
) -> Run {
    Arc::new(move |store, vault| f(store, vault.unwrap()).boxed())
}

fn look<F: Future<Output = State> + Send + 'static>(
    f: impl Fn(HostileStore) -> F + 'static,
) -> Look {
    Arc::new(move |store| f(store).boxed())
}

async fn listed(vault: &Vault) -> Vec<String> {
    let metas: Vec<ObjectMeta> = vault.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = metas.iter().map(|m| m.location.to_string()).collect();
    paths.sort();
    paths
}

/// Whether an object is there: listing, head and content say the same.
async fn is_there(vault: &Vault, path: &str) -> bool {
    let read = read(vault, path).await;
    let there = match &read {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code(), "not_found", "{path}");
            false
        }
    };
    assert_eq!(vault.head(path).await.is_ok(), there, "{path}");
    assert_eq!(
        listed(vault).await.contains(&path.to_owned()),
        there,
        "{path}"
    );
    there
}

/// Which of the two credentials opens; exactly one does, and finds the data.
async fn who_opens(store: &HostileStore, old: &str, new: &str) -> State {
    let mut opened = Vec::new();
    for (by, state) in [(old, State::Old), (new, State::New)] {
        match open_with(store, phrase(by)).await {
            Ok(vault) => {
                assert_eq!(read(&vault, "a").await.unwrap(), b"old");
                vault.put("probe", "x").await.unwrap();
                assert_eq!(read(&vault, "probe").await.unwrap(), b"x");
                vault.delete("probe").await.unwrap();
                opened.push(state);
            }
            Err(error) => assert_eq!(error.code(), "wrong_credentials", "{error:?}"),
        }
    }
    assert_eq!(opened.len(), 1, "{opened:?}");
    opened[0]
}

async fn cases() -> Vec<Case> {
    let first = words();
    let store = HostileStore::new(InMemory::new());
    let made = options().create(as_store(&store), phrase(&first)).await;
    let vault = made.unwrap();
    vault.put("a", "old").await.unwrap();
    let before = contents(&store).await;
    let mut cases = Vec::new();
    let mut case = |name, before: &Contents, run, look, again, calls| {
        cases.push(Case {
            name,
            before: before.clone(),
            by: Some(first.clone()),
            run,
            look,
            again,
            calls,
        });
    };

    // Objects.
    let content_of = |path: &'static str, old: Option<Vec<u8>>, new: Vec<u8>| {
        let first = first.clone();
        look(move |store| {
            let (first, old, new) = (first.clone(), old.clone(), new.clone());
            async move {
                let vault = open_with(&store, phrase(&first)).await.unwrap();
                if !is_there(&vault, path).await {
                    assert!(old.is_none(), "{path} is lost");
                    return State::Old;
                }
                let found = read(&vault, path).await.unwrap();
                if Some(&found) == old.as_ref() {
                    return State::Old;
                }
                assert!(found == new, "{path} is neither");
                State::New
            }
        })
    };
    let old = || Some(b"old".to_vec());
    case(
        "put",
        &before,
        run(|_, vault| async move { vault.put("a", "new").await.map(drop) }),
        content_of("a", old(), b"new".to_vec()),
        &[],
        1,
    );
    let large = pattern((9 << 20) + 7);
    let content = large.clone();
    case(
        "put in parts",
        &before,
        run(move |_, vault| {
            let content = content.clone();
            async move { vault.put("a", content).await.map(drop) }
        }),
        content_of("a", old(), large.clone()),
        &[],
        4,
    );
    let content = large.clone();
    case(
        "put_stream in parts",
        &before,
        run(move |_, vault| {
            let content = content.clone();
            async move {
                let pieces: Vec<_> = content
                    .chunks(3 << 20)
                    .map(|p| Ok(p.to_vec().into()))
                    .collect();
                let stream = stream::iter(pieces);
                vault
                    .put_stream("a", stream, PutOptions::default())
                    .await
                    .map(drop)
            }
        }),
        content_of("a", old(), large),
        &[],
        4,
    );
    case(
        "put under a long name",
        &before,
        run(|_, vault| async move { vault.put(format!("{LONG}/x"), "new").await.map(drop) }),
        {
            let first = first.clone();
            look(move |store| {
                let first = first.clone();
                async move {
                    let vault = open_with(&store, phrase(&first)).await.unwrap();
                    match is_there(&vault, &format!("{LONG}/x")).await {
                        true => State::New,
                        false => State::Old,
                    }
                }
            })
        },
        &[],
        2,
    );
    case(
        "copy",
        &before,
        run(|_, vault| async move { vault.copy("a", "b").await }),
        content_of("b", None, b"old".to_vec()),
        &[],
        2,
    );
    case(
        "rename",
        &before,
        run(|_, vault| async move { vault.rename("a", "b").await }),
        {
            let first = first.clone();
            look(move |store| {
                let first = first.clone();
                async move {
                    let vault = open_with(&store, phrase(&first)).await.unwrap();
                    match (is_there(&vault, "a").await, is_there(&vault, "b").await) {
                        (false, true) => State::New,
                        // Interrupted, it leaves both.
                        (true, _) => State::Old,
                        (false, false) => panic!("lost"),
                    }
                }
            })
        },
        &["not_found"],
        3,
    );
    case(
        "delete",
        &before,
        run(|_, vault| async move { vault.delete("a").await }),
        {
            let first = first.clone();
            look(move |store| {
                let first = first.clone();
                async move {
                    let vault = open_with(&store, phrase(&first)).await.unwrap();
                    match is_there(&vault, "a").await {
                        true => State::Old,
                        false => State::New,
                    }
                }
            })
        },
        &[],
        1,
    );

    // Slots.
    let second = words();
    let either = || {
        let (first, second) = (first.clone(), second.clone());
        look(move |store| {
            let (first, second) = (first.clone(), second.clone());
            async move { who_opens(&store, &first, &second).await }
        })
    };
    let new = second.clone();
    case(
        "change_password",
        &before,
        run(move |_, vault| {
            let new = phrase(&new);
            async move { vault.change_password(new, cheap()).await }
        }),
        either(),
        &[],
        10,
    );
    let new = second.clone();
    case(
        "rotate_root",
        &before,
        run(move |_, vault| {
            let new = phrase(&new);
            async move { vault.rotate_root(vec![(new, cheap())]).await }
        }),
        either(),
        // The client has to open the vault again, as every other one.
        &["conflict"],
        10,
    );
    let slots = |count_new: usize| {
        let first = first.clone();
        look(move |store| {
            let first = first.clone();
            async move {
                let vault = open_with(&store, phrase(&first)).await.unwrap();
                assert_eq!(read(&vault, "a").await.unwrap(), b"old");
                match vault.slots().unwrap().len() {
                    1 if count_new == 1 => State::New,
                    1 => State::Old,
                    // Added again by who did not hear that it was.
                    _ if count_new == 1 => State::Old,
                    _ => State::New,
                }
            }
        })
    };
    let new = second.clone();
    case(
        "add_slot",
        &before,
        run(move |_, vault| {
            let new = phrase(&new);
            async move { vault.add_slot(new, cheap()).await.map(drop) }
        }),
        slots(2),
        &[],
        10,
    );
    let added = vault.add_slot(phrase(&second), cheap()).await.unwrap().id;
    let with_two = contents(&store).await;
    case(
        "remove_slot",
        &with_two,
        run(move |_, vault| async move { vault.remove_slot(added).await }),
        slots(1),
        &["not_found"],
        10,
    );

    // A device opens the vault exactly where it has a slot.
    let device = Arc::new(Identity::make(IdentitySuite::X25519, 1).unwrap());
    let card = Recipient::trusted_on_first_use(device.card().clone()).allow_classical();
    let id = vault.id();
    let devices = |with_new: bool| {
        let (first, device) = (first.clone(), Arc::clone(&device));
        look(move |store| {
            let (first, device) = (first.clone(), Arc::clone(&device));
            async move {
                let vault = open_with(&store, phrase(&first)).await.unwrap();
                assert_eq!(read(&vault, "a").await.unwrap(), b"old");
                let there = vault.slots().unwrap().len() > 1;
                let opened = options().id(id).open(as_store(&store), device).await;
                assert_eq!(opened.is_ok(), there);
                if there == with_new {
                    State::New
                } else {
                    State::Old
                }
            }
        })
    };
    let with_device = store_of(&before).await;
    let owner = open_with(&with_device, phrase(&first)).await.unwrap();
    let slot = owner.add_device(&card).await.unwrap();
    let with_device = contents(&with_device).await;
    case(
        "add_device",
        &before,
        run(move |_, vault| {
            let card = card.clone();
            async move { vault.add_device(&card).await.map(drop) }
        }),
        devices(true),
        &[],
        10,
    );
    case(
        "remove_slot of a device",
        &with_device,
        run(move |_, vault| async move { vault.remove_slot(slot).await }),
        devices(false),
        &["not_found"],
        10,
    );

    // A ledger that is behind and copies that are missing: what opening mends.
    vault
        .rotate_root(vec![(phrase(&second), cheap())])
        .await
        .unwrap();
    let rotated = contents(&store).await;
    let kit = vault.recovery_kit().await.unwrap().to_string();
    let mut behind = rotated.clone();
    let newest = behind
        .keys()
        .filter(|path| path.starts_with("k/l/"))
        .count()
        / 2
        - 1;
    behind.retain(|path, _| {
        !path.starts_with(&format!("k/l/{newest:016x}"))
            && path != "k/header"
            && path != "kluis.vault"
    });
    assert_eq!(behind.len() + 4, rotated.len());
    let opens_by_second = || {
        let second = second.clone();
        look(move |store| {
            let second = second.clone();
            async move {
                let vault = open_with(&store, phrase(&second)).await.unwrap();
                assert_eq!(read(&vault, "a").await.unwrap(), b"old");
                vault.put("b", "x").await.unwrap();
                assert_eq!(vault.head("b").await.unwrap().epoch, 1);
                // Opening it was part of looking at it.
                State::New
            }
        })
    };
    let by = second.clone();
    cases.push(Case {
        name: "open",
        before: behind,
        by: None,
        run: Arc::new(move |store, _| {
            let by = phrase(&by);
            async move { open_with(&store, by).await.map(drop) }.boxed()
        }),
        look: opens_by_second(),
        again: &[],
        calls: 12,
    });

    // What makes a vault, and what brings it back.
    let by = first.clone();
    let its = first.clone();
    cases.push(Case {
        name: "create",
        before: Contents::new(),
        by: None,
        run: Arc::new(move |store, _| {
            let by = phrase(&by);
            async move { options().create(as_store(&store), by).await.map(drop) }.boxed()
        }),
        look: look(move |store| {
            let its = its.clone();
            async move {
                match open_with(&store, phrase(&its)).await {
                    Ok(vault) => {
                        vault.put("a", "x").await.unwrap();
                        assert_eq!(read(&vault, "a").await.unwrap(), b"x");
                        State::New
                    }
                    Err(error) => {
                        assert_eq!(error.code(), "no_vault", "{error:?}");
                        State::Old
                    }
                }
            }
        }),
        again: &["already_exists"],
        calls: 8,
    });
    let lost: Contents = rotated
        .into_iter()
        .filter(|(path, _)| path.starts_with("o/"))
        .collect();
    let (by, its) = (second.clone(), second.clone());
    cases.push(Case {
        name: "restore",
        before: lost,
        by: None,
        run: Arc::new(move |store, _| {
            let by = phrase(&by);
            let kit = RecoveryKit::parse(&kit).unwrap();
            async move {
                options()
                    .restore(as_store(&store), &kit, by)
                    .await
                    .map(drop)
            }
            .boxed()
        }),
        look: look(move |store| {
            let its = its.clone();
            async move {
                match open_with(&store, phrase(&its)).await {
                    Ok(vault) => {
                        assert_eq!(read(&vault, "a").await.unwrap(), b"old");
                        State::New
                    }
                    Err(error) => {
                        assert!(
                            ["no_vault", "tampered"].contains(&error.code()),
                            "{error:?}"
                        );
                        State::Old
                    }
                }
            }
        }),
        again: &[],
        calls: 15,
    });
    cases
}

/// Looks as a fresh client, and does it again: with the handle that was cut off,
/// and with a fresh one.
async fn check(
    case: &Case,
    store: &HostileStore,
    vault: Option<Vault>,
    done: Result<()>,
    what: &str,
) {
    let shown = (case.look)(store.clone()).await;
    if done.is_ok() {
        assert_eq!(shown, State::New, "{what}: acknowledged, and lost");
    }
    if case.name == "add_slot" && shown == State::New && done.is_err() {
        // Nobody can tell that it is the same; again would be a second slot.
        return;
    }
    let again = (case.run)(store.clone(), vault).await;
    match &again {
        Ok(()) => {}
        Err(error) => assert!(
            shown == State::New && case.again.contains(&error.code()),
            "{what}: again, {error:?}"
        ),
    }
    assert_eq!(
        (case.look)(store.clone()).await,
        State::New,
        "{what}: again"
    );
}

async fn opened(case: &Case, store: &HostileStore) -> Option<Vault> {
    match &case.by {
        Some(words) => Some(open_with(store, phrase(words)).await.unwrap()),
        None => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_a_client_may_die_at_any_request() {
    for case in cases().await {
        let mut states = Vec::new();
        for after in [false, true] {
            for k in 0.. {
                let store = store_of(&case.before).await;
                let dying = store.client("dying");
                let vault = opened(&case, &dying).await;
                dying.crash(if after { Cut::After(k) } else { Cut::Before(k) });
                let done = (case.run)(dying.clone(), vault.clone()).await;
                let crashed = dying.crashed();
                dying.recover();
                let what = format!("{}, cut {k}, after: {after}, {done:?}", case.name);
                if !crashed {
                    done.expect(&what);
                    assert!(k >= case.calls, "{what}: fewer calls than it has to make");
                    break;
                }
                let copy = store_of(&contents(&store).await).await;
                states.push((case.look)(copy).await);
                check(&case, &store, vault, done, &what).await;
            }
        }
        // What opening mends is mended when it is looked at.
        assert!(
            states.contains(&State::New) || case.calls == 1,
            "{}",
            case.name
        );
        assert!(
            states.contains(&State::Old) || case.name == "open",
            "{}",
            case.name
        );
    }
}

/// I11. Every call of the store waits once, so that there is a wait before each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_may_be_dropped_at_any_wait() {
    for case in cases().await {
        for k in 1.. {
            let store = store_of(&case.before).await;
            let vault = opened(&case, &store).await;
            let rule = store.add(Lie::race(tokio::task::yield_now));
            let mut call = (case.run)(store.clone(), vault.clone());
            let mut polls = 0;
            let done = poll_fn(|context| {
                if polls == k {
                    return Poll::Ready(None);
                }
                polls += 1;
                call.as_mut().poll(context).map(Some)
            })
            .await;
            drop(call);
            store.remove(rule);
            let what = format!("{}, dropped after {k} polls", case.name);
            match done {
                Some(done) => {
                    done.expect(&what);
                    // Some calls go together, and wait together.
                    assert!(2 * k as u64 > case.calls, "{what}: too few waits");
                    break;
                }
                None => {
                    let unknown = Err(kluis::Error::Cancelled);
                    check(&case, &store, vault, unknown, &what).await;
                }
            }
        }
    }
}

/// A dropped read changes nothing, and the next one reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_may_be_dropped_at_any_wait() {
    let store = HostileStore::new(InMemory::new());
    let made = options().create(as_store(&store), phrase(&words())).await;
    let vault = made.unwrap();
    let content = pattern((3 << 20) + 5);
    vault.put("a", content.clone()).await.unwrap();
    store.add(Lie::race(tokio::task::yield_now));
    store.add(Lie::TinyItems(100_000));
    let before = contents(&store).await;
    for k in 1.. {
        let mut call = read(&vault, "a").boxed();
        let mut polls = 0;
        let done = poll_fn(|context| {
            if polls == k {
                return Poll::Ready(None);
            }
            polls += 1;
            call.as_mut().poll(context).map(Some)
        })
        .await;
        drop(call);
        if let Some(done) = done {
            assert!(done.unwrap() == content);
            break;
        }
        if k % 5 == 0 {
            assert!(
                read(&vault, "a").await.unwrap() == content,
                "after {k} polls"
            );
        }
    }
    assert!(contents(&store).await == before);
}

/// Lets everything else run until it holds, or fails the test.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "{what}");
}

/// The parts of an upload that was given up are taken back.
#[tokio::test]
async fn an_upload_that_was_dropped_is_aborted() {
    let store = HostileStore::new(InMemory::new());
    let made = options().create(as_store(&store), phrase(&words())).await;
    let vault = made.unwrap();
    let stall = store.add(
        Lie::StallAfter(0)
            .at("o/**")
            .on(kluis_adversary::Op::Complete),
    );
    let mut call = Box::pin(vault.put("a", pattern(9 << 20)));
    until("the upload comes to its end", async || {
        let _ = futures_util::poll!(&mut call);
        store.uses(stall) > 0
    })
    .await;
    drop(call);
    store.remove(stall);
    until("the upload is aborted", async || {
        store.count(kluis_adversary::Op::Abort) > 0
    })
    .await;
    assert!(listed(&vault).await.is_empty());
}
