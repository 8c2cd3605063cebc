//! Alice shares a folder with Bob and Eve by their cards and with Carol by a link, sees
//! who has access, and takes Bob's and Carol's back.
//!
//! ```sh
//! cargo run --release --example sharing
//! ```
//!
//! All of it runs offline on a local folder. Everything that is printed with a `+` was
//! checked in that moment; the first thing that does not hold ends the program with an
//! error.
#![forbid(unsafe_code)]

use futures_util::TryStreamExt;
use kluis::object_store::local::LocalFileSystem;
use kluis::{
    Address, Card, Identity, IdentitySuite, Link, LinkOptions, Password, Recipient, Reencrypted,
    Terms, Vault, VaultOptions,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use url::Url;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(&folder)?);
    // Looks for new decisions before every write; the default is every 30 seconds.
    let options = || VaultOptions::new().staleness(Duration::ZERO);

    println!("Cards");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = u64::try_from(now.as_micros())?;
    let bob = Arc::new(Identity::make(IdentitySuite::XWing, now)?);
    let eve = Arc::new(Identity::make(IdentitySuite::XWing, now)?);
    // A card comes by mail; its twelve words over the telephone.
    let card = |identity: &Identity| Card::parse(identity.card().as_bytes());
    let to_bob = Recipient::verified(card(&bob)?, &bob.card().fingerprint())?.named("bob")?;
    let to_eve = Recipient::verified(card(&eve)?, &eve.card().fingerprint())?.named("eve")?;
    println!("  Bob is {}", bob.card().fingerprint());
    held(
        "a card with other words is nobody to share with",
        Recipient::verified(card(&eve)?, &bob.card().fingerprint()).is_err(),
    )?;

    println!("\nSharing");
    let password = Password::new("correct horse battery staple");
    let alice = options().create(store.clone(), password).await?;
    alice.put("photos/2025.jpg", "before").await?;
    alice.put("diary.txt", "nobody's business").await?;
    let mut writing = Terms::reading();
    writing.write = true;
    writing.purpose = "the album".to_owned();
    let bobs = alice.share("photos", &to_bob, writing).await?;
    let eves = alice.share("photos", &to_eve, Terms::reading()).await?;
    for grant in alice.grants()? {
        println!("  {} has {:?}", grant.to, grant.path.unwrap_or_default());
    }
    let his = options()
        .open_as(store.clone(), &bob, &bobs.invitation)
        .await?;
    let hers = options()
        .open_as(store.clone(), &eve, &eves.invitation)
        .await?;
    held(
        "Bob reads what was there",
        reads(&his, "photos/2025.jpg").await,
    )?;
    held("and nothing beside it", !reads(&his, "diary.txt").await)?;
    his.put("photos/bob.jpg", "by Bob").await?;
    held(
        "Eve reads what Bob writes",
        reads(&hers, "photos/bob.jpg").await,
    )?;
    held(
        "Eve may not write",
        hers.put("photos/eve.jpg", "").await.is_err(),
    )?;

    println!("\nBy a link");
    let url = Url::from_directory_path(&folder).map_err(|()| "no folder")?;
    let address = Address::new(url, Some(alice.id()))?;
    let options = LinkOptions::at(&address).purpose("a look");
    let made = alice.link(Some("photos"), options).await?;
    // What Carol gets is the text, a secret, and nothing else.
    let link: Link = made.link.expose().parse()?;
    let carols = Vault::open_link(store.clone(), &link, None).await?;
    held("Carol reads the folder", reads(&carols, "2025.jpg").await)?;
    held("and may not write", carols.put("x.jpg", "").await.is_err())?;

    println!("\nTaking it back");
    alice.revoke(&[bobs.id]).await?;
    alice.put("photos/2026.jpg", "after").await?;
    held(
        "what comes, Bob cannot read",
        !reads(&his, "photos/2026.jpg").await,
    )?;
    held("and Eve can", reads(&hers, "photos/2026.jpg").await)?;
    held("and so can Carol", reads(&carols, "2026.jpg").await)?;
    let receipt = alice.receipt(Some("photos")).await?;
    println!(
        "  Bob can still read {} objects of before, {} bytes",
        receipt.objects, receipt.bytes
    );
    held(
        "which is what he can read",
        receipt.objects == 2 && reads(&his, "photos/bob.jpg").await,
    )?;
    let steps: Vec<Reencrypted> = alice.reencrypt(Some("photos")).try_collect().await?;
    println!("  {} objects looked at, to write them again", steps.len());
    held(
        "now that is nothing",
        alice.receipt(Some("photos")).await?.is_empty(),
    )?;
    held("also for Bob", !reads(&his, "photos/bob.jpg").await)?;
    held(
        "and Eve has lost nothing",
        reads(&hers, "photos/2025.jpg").await,
    )?;

    alice.revoke_link(&made.id).await?;
    alice.put("photos/2027.jpg", "still later").await?;
    held(
        "Carol reads until her link is withdrawn",
        !reads(&carols, "2027.jpg").await
            && Vault::open_link(store.clone(), &link, None).await.is_err(),
    )?;

    println!("\nWho could read photos/2025.jpg");
    let statement = alice.access(Some("photos/2025.jpg")).await?;
    for period in &statement.access {
        let until = if period.ended.is_some() {
            "no longer"
        } else {
            "still"
        };
        println!(
            "  {}: {until}, for {:?}",
            period.grant.to, period.grant.terms.purpose
        );
    }
    held("and whoever had the link, who was asked for nothing", {
        let links: Vec<_> = statement.links.iter().map(|l| l.ended.is_some()).collect();
        links == [true]
    })?;
    held("two people, one of them no longer", {
        let ended = statement
            .access
            .iter()
            .filter(|period| period.ended.is_some());
        (statement.access.len(), ended.count()) == (2, 1)
    })?;

    println!("\nAll of it held.");
    Ok(())
}

async fn reads(vault: &Vault, path: &str) -> bool {
    match vault.get(path).await {
        Ok(object) => object.bytes().await.is_ok(),
        Err(_) => false,
    }
}

fn held(what: &str, holds: bool) -> Result {
    if holds {
        println!("+ {what}");
        Ok(())
    } else {
        Err(format!("this does not hold: {what}").into())
    }
}
