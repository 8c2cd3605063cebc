//! The recipes of the guide: what stands there is what is compiled and run here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../guide/datafusion.rs"]
mod datafusion;
#[path = "../guide/slatedb.rs"]
mod slatedb;
#[path = "../guide/tenants.rs"]
mod tenants;
#[path = "../guide/zarrs.rs"]
mod zarrs;

use bytes::Bytes;
use futures_util::TryStreamExt;
use kluis::{Card, Identity, IdentitySuite, Recipient, Vault};
use kluis_adversary::{Fault, Lie, Rule};
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const GUIDE: &str = include_str!("../../../docs/GUIDE.md");
const PLAIN: &str = include_str!("../guide/plain.rs");
const ENCRYPTED: &str = include_str!("../guide/encrypted.rs");
const RECIPES: [&str; 4] = [
    include_str!("../guide/datafusion.rs"),
    include_str!("../guide/slatedb.rs"),
    include_str!("../guide/zarrs.rs"),
    include_str!("../guide/tenants.rs"),
];

async fn vault() -> Vault {
    kluis_tests::vault(&(Arc::new(InMemory::new()) as _)).await
}

#[test]
fn the_guide_shows_the_code_that_runs_here() {
    for recipe in RECIPES {
        assert!(
            GUIDE.contains(&format!("```rust\n{recipe}```\n")),
            "not in the guide:\n{recipe}"
        );
    }
    assert_eq!(
        GUIDE.matches("```rust\n").count(),
        RECIPES.len(),
        "what nobody runs"
    );
}

/// What the guide has in its diff makes the one program of the other, and it is two lines.
#[test]
fn the_difference_between_the_programs_is_two_lines() {
    let diff = GUIDE.split("```diff\n").nth(1).unwrap();
    let diff = diff.split("```").next().unwrap();
    let side = |left_out: char| -> String {
        let lines = diff.lines().filter(|line| !line.starts_with(left_out));
        lines.map(|line| format!("{}\n", &line[1..])).collect()
    };
    let (before, after) = (side('+'), side('-'));
    assert_eq!(PLAIN.replacen(&before, &after, 1), ENCRYPTED);
    assert_ne!(PLAIN, ENCRYPTED);
    assert_eq!(diff.lines().filter(|line| line.starts_with('+')).count(), 2);
    assert_eq!(diff.lines().filter(|line| line.starts_with('-')).count(), 0);
}

/// The output of a program in a folder that has a folder `data`.
fn run(program: &str, folder: &Path) -> String {
    let output = Command::new(program)
        .current_dir(folder)
        .env("VAULT_PASSWORD", "correct horse battery staple")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a byte sequence stands in any file, or a name, below a folder.
fn holds(folder: &Path, what: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let named = path.file_name().unwrap().to_string_lossy().contains(what);
        named
            || if path.is_dir() {
                holds(&path, what)
            } else {
                let content = std::fs::read(&path).unwrap();
                content
                    .windows(what.len())
                    .any(|bytes| bytes == what.as_bytes())
            }
    })
}

#[tokio::test]
async fn both_programs_do_the_same_and_one_hides_it() {
    let answers = [env!("CARGO_BIN_EXE_plain"), env!("CARGO_BIN_EXE_encrypted")].map(|program| {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        (program, folder, data)
    });
    let [plain, encrypted] = answers;
    let below = object_store::local::LocalFileSystem::new_with_prefix(&encrypted.2).unwrap();
    drop(kluis_tests::vault(&(Arc::new(below) as _)).await);

    assert_eq!(
        run(plain.0, plain.1.path()),
        run(encrypted.0, encrypted.1.path())
    );
    for (secret, place) in [("Ada Lovelace", "customers")] {
        assert!(holds(&plain.2, secret) && holds(&plain.2, place));
        assert!(!holds(&encrypted.2, secret) && !holds(&encrypted.2, place));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datafusion_writes_a_table_and_queries_it() {
    let rows = datafusion::sales(&vault().await).await.unwrap().join("\n");
    let cell = |name: &str, sum: u32| {
        let line = rows.lines().find(|line| line.contains(name)).unwrap();
        assert!(line.contains(&format!(" {sum} ")), "{rows}");
    };
    cell("tulips", 7);
    cell("clogs", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn slatedb_opens_in_a_vault() {
    let vault = vault().await;
    let db = slatedb::open(&vault).await.unwrap();
    db.put("ada", "Ada Lovelace").await.unwrap();
    db.close().await.unwrap();
    let db = slatedb::open(&vault).await.unwrap();
    assert_eq!(
        db.get("ada").await.unwrap().as_deref(),
        Some(&b"Ada Lovelace"[..])
    );
    db.close().await.unwrap();
}

/// It would lose what one of two writers was told is safe.
#[tokio::test(flavor = "multi_thread")]
async fn slatedb_is_not_opened_where_put_if_absent_is_ignored_or_missing() {
    let (below, vault) = kluis_tests::hostile_vault().await;
    for lie in [
        Lie::IgnoreConditional,
        Lie::FailBefore(Fault::NotImplemented),
    ] {
        let rule = below.add(Rule::new(lie).at("o/**"));
        assert!(slatedb::open(&vault).await.is_err());
        assert!(below.remove(rule) > 0);
    }
    slatedb::open(&vault).await.unwrap().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn zarrs_keeps_a_day_of_temperatures() {
    let vault = vault().await;
    let array = zarrs::create(&vault).await.unwrap();
    for hour in [3, 4] {
        let grid = (0..180 * 360)
            .map(|place| place as f32 + hour as f32 / 8.0)
            .collect();
        zarrs::measure(&array, hour, grid).await.unwrap();
    }
    let day = zarrs::at(&vault, 2, 5).await.unwrap();
    assert_eq!(day.len(), 24);
    assert_eq!(day[3..5], [725.375, 725.5]);
    assert!(day[5].is_nan());
}

async fn read(store: &dyn ObjectStore, path: &str) -> object_store::Result<Bytes> {
    store.get(&path.into()).await?.bytes().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_vault_of_its_own_shares_nothing_with_others() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for tenant in ["acme", "globex"] {
        let password = kluis::Password::new(&format!("the long password of {tenant}"));
        let vault = tenants::vault_of(Arc::clone(&bucket), tenant, password)
            .await
            .unwrap();
        let store = vault.object_store();
        store
            .put(&"a".into(), format!("of {tenant}").into())
            .await
            .unwrap();
        assert_eq!(read(&store, "a").await.unwrap(), format!("of {tenant}"));
    }
    let globex = Arc::new(PrefixStore::new(bucket, "tenants/globex"));
    let of_acme = kluis::Password::new("the long password of acme");
    assert!(Vault::open(globex, of_acme).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_folder_sees_that_folder() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let vault = kluis_tests::vault(&bucket).await;
    let whole = vault.object_store();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_micros()).unwrap();
    let mut stores = Vec::new();
    for tenant in ["acme", "globex"] {
        whole
            .put(
                &format!("{tenant}/a").into(),
                format!("for {tenant}").into(),
            )
            .await
            .unwrap();
        let identity = Arc::new(Identity::make(IdentitySuite::XWing, now).unwrap());
        let card = Card::parse(identity.card().as_bytes()).unwrap();
        let recipient = Recipient::verified(card, &identity.card().fingerprint()).unwrap();
        let invitation = tenants::invite(&vault, tenant, &recipient).await.unwrap();
        let bucket = Arc::clone(&bucket);
        stores.push(
            tenants::store_of(bucket, &identity, &invitation, tenant)
                .await
                .unwrap(),
        );
    }
    let [acme, globex] = &stores[..] else {
        unreachable!()
    };
    assert_eq!(read(acme, "a").await.unwrap(), "for acme");
    assert_eq!(read(globex, "a").await.unwrap(), "for globex");
    acme.put(&"b".into(), "by acme".into()).await.unwrap();
    assert_eq!(read(&whole, "acme/b").await.unwrap(), "by acme");
    assert!(read(globex, "b").await.is_err());
    let mut seen: Vec<_> = acme
        .list(None)
        .map_ok(|meta| meta.location)
        .try_collect()
        .await
        .unwrap();
    seen.sort();
    assert_eq!(seen, ["a".into(), "b".into()]);
    for outside in ["globex/a", "../globex/a"] {
        assert!(read(acme, outside).await.is_err(), "{outside}");
    }
}
