//! What sharing costs, whatever the size of what is shared: counts decide, not times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use kluis::object_store::local::LocalFileSystem;
use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path;
use kluis::object_store::{ObjectStore, ObjectStoreExt};
use kluis::{
    Identity, IdentityFile, IdentitySuite, Invitation, KdfCeiling, Password, Recipient, Terms,
    VaultOptions,
};
use kluis_adversary::{HostileStore, Op};
use kluis_tests::{as_store, cheap, contents, options, phrase, words};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn recipient(name: &str) -> (Arc<Identity>, Recipient) {
    let identity = Arc::new(Identity::make(IdentitySuite::XWing, 1).unwrap());
    let recipient = Recipient::trusted_on_first_use(identity.card().clone());
    (identity, recipient.named(name).unwrap())
}

#[tokio::test]
async fn sharing_a_hundred_thousand_objects_makes_the_requests_of_sharing_one() {
    let mut costs = Vec::new();
    for objects in [1, 100_000] {
        let store = HostileStore::new(InMemory::new());
        let vault = options().create(as_store(&store), phrase(&words())).await;
        let vault = vault.unwrap();
        vault.put("a/x", "x").await.unwrap();
        // Beside it, as many as there are to be. What is in them plays no part.
        let all = contents(&store).await;
        let (path, bytes) = all.iter().find(|(path, _)| path.starts_with("o/")).unwrap();
        let folder = path.rsplit_once('/').unwrap().0;
        for n in 1..objects {
            let path = Path::parse(format!("{folder}/{n:026}")).unwrap();
            let bytes = bytes.clone();
            store.inner().put(&path, bytes.into()).await.unwrap();
        }
        let mark = store.mark();
        let (_, bob) = recipient("bob");
        let granted = vault.share("a", &bob, Terms::reading()).await.unwrap();
        assert_eq!(
            granted.prefixes.read.last().map(String::as_str),
            Some(folder)
        );
        let journal = store.journal().since(mark);
        for call in journal.calls() {
            let path = call.path.as_ref();
            assert!(path.starts_with('k'), "no object is touched: {call:?}");
        }
        costs.push(journal.counts());
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn revoking_one_of_many_writes_what_revoking_one_of_two_does() {
    let mut costs: Vec<BTreeMap<Op, usize>> = Vec::new();
    // A thousand, and the time they take, are in benches/sharing.rs.
    for members in [2, 200] {
        let store = HostileStore::new(InMemory::new());
        let vault = options().create(as_store(&store), phrase(&words())).await;
        let vault = vault.unwrap();
        let mut last = None;
        for n in 0..members {
            let (_, person) = recipient(&format!("person {n}"));
            let granted = vault.share("a", &person, Terms::reading()).await.unwrap();
            last = Some(granted.id);
        }
        let before = contents(&store).await;
        let mark = store.mark();
        vault.revoke(&[last.unwrap()]).await.unwrap();
        let journal = store.journal().since(mark);
        let new: Vec<String> = contents(&store)
            .await
            .into_keys()
            .filter(|path| !before.contains_key(path))
            .collect();
        let below = |prefix: &str| new.iter().filter(|path| path.starts_with(prefix)).count();
        assert_eq!(
            (below("k/g/"), below("k/l/"), new.len()),
            (1, 2, 3),
            "{new:?}"
        );
        let writes = journal.only(|call| call.op.writes());
        costs.push(writes.counts());
        assert_eq!(vault.grants().unwrap().len(), members - 1);
    }
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0], [(Op::Put, 3)].into());
}

const CHILD: &str = "KLUIS_TEST_WRITER";

/// Another process: a member who writes what it is told to, line by line.
#[tokio::test]
async fn writer() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let [folder, identity, invitation, staleness] = &told.split('\n').collect::<Vec<_>>()[..]
    else {
        panic!("{told:?}");
    };
    let file = IdentityFile::parse(&std::fs::read_to_string(identity).unwrap()).unwrap();
    let identity = file.open(&Password::new("x"), KdfCeiling::default());
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap());
    let vault = VaultOptions::new()
        .staleness(Duration::from_millis(staleness.parse().unwrap()))
        .open_as(
            store,
            &Arc::new(identity.unwrap()),
            &invitation.parse::<Invitation>().unwrap(),
        )
        .await
        .unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    for line in std::io::stdin().lock().lines() {
        let name = line.unwrap();
        vault.put(&name, "x").await.unwrap();
        writeln!(out, "\nwritten {name}").unwrap();
    }
}

struct Writer {
    child: std::process::Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(told: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(CHILD, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut writer = Self { child, answers };
        writer.expect("ready");
        writer
    }

    fn expect(&mut self, answer: &str) {
        let found = self.answers.any(|line| line.unwrap() == answer);
        assert!(found, "the other process ended before it said {answer:?}");
    }

    fn write(&mut self, name: &str) {
        let mut stdin = self.child.stdin.as_ref().unwrap();
        writeln!(stdin, "{name}").unwrap();
        self.expect(&format!("written {name}"));
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// A writer in another process learns of a new epoch within its staleness bound, and
/// what it writes before that is what the receipt counts.
#[tokio::test]
async fn another_process_learns_of_a_new_epoch_within_the_staleness_bound() {
    const HOUR: u64 = 3_600_000;
    for staleness in [0, 1_000, HOUR] {
        let folder = tempfile::tempdir().unwrap();
        let vault_folder = folder.path().join("vault");
        std::fs::create_dir(&vault_folder).unwrap();
        let store: Arc<dyn ObjectStore> =
            Arc::new(LocalFileSystem::new_with_prefix(&vault_folder).unwrap());
        let vault = options().create(Arc::clone(&store), phrase(&words()));
        let vault = vault.await.unwrap();
        let (_, bob) = recipient("bob");
        let to_bob = vault.share("a", &bob, Terms::reading()).await.unwrap();
        let (eve, card) = recipient("eve");
        let mut terms = Terms::reading();
        terms.write = true;
        let to_eve = vault.share("a", &card, terms).await.unwrap();
        let identity = folder.path().join("eve");
        let sealed = IdentityFile::seal(&eve, &Password::new("x"), cheap()).unwrap();
        std::fs::write(&identity, sealed.to_armor()).unwrap();
        let mut writer = Writer::start(&format!(
            "{}\n{}\n{}\n{staleness}",
            vault_folder.display(),
            identity.display(),
            to_eve.invitation
        ));
        writer.write("a/before");
        vault.revoke(&[to_bob.id]).await.unwrap();
        let revoked = Instant::now();
        let mut written = BTreeMap::new();
        let until = Duration::from_millis(if staleness == 1_000 { 1_500 } else { 300 });
        while revoked.elapsed() < until {
            let name = format!("a/{}", written.len());
            let begun = revoked.elapsed();
            writer.write(&name);
            written.insert(name, begun);
        }
        writer.end();

        let mut slipped = 0;
        for (name, begun) in &written {
            let closed = vault.head(name).await.unwrap().closed;
            slipped += u64::from(closed);
            let late = *begun >= Duration::from_millis(staleness);
            assert!(!closed || !late, "{name} was begun {begun:?} after it");
        }
        // Each receipt is what the next `reencrypt` will write again, and then nothing.
        let receipt = vault.receipt(Some("a")).await.unwrap();
        assert_eq!((receipt.objects, receipt.unknown), (1 + slipped, 0));
        match staleness {
            0 => assert_eq!(slipped, 0),
            HOUR => assert_eq!(slipped, written.len() as u64, "it had not looked"),
            _ => assert!(slipped < written.len() as u64, "it never looked"),
        }
        use futures_util::TryStreamExt;
        let steps: Vec<_> = vault.reencrypt(Some("a")).try_collect().await.unwrap();
        let again = steps
            .iter()
            .filter(|s| matches!(s, kluis::Reencrypted::Written(_)));
        assert_eq!(again.count() as u64, 1 + slipped);
        assert!(vault.receipt(Some("a")).await.unwrap().is_empty());
    }
}
