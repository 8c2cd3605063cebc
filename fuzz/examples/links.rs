//! Makes the sample links and the first inputs of `link` anew:
//!
//! ```sh
//! cargo run --manifest-path fuzz/Cargo.toml --example links
//! ```

use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path as StorePath;
use kluis::object_store::{self, ObjectStoreExt};
use kluis::{LinkOptions, RecoveryPhrase, Signer, Vault};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A store that signs whatever it is asked to.
#[derive(Debug)]
struct Willing;

impl Signer for Willing {
    fn signed_get<'a>(
        &'a self,
        path: &'a StorePath,
        _: Duration,
    ) -> BoxFuture<'a, object_store::Result<url::Url>> {
        let url = format!("https://store.example/{path}?signature=x");
        Box::pin(async move { Ok(url::Url::parse(&url).expect("a URL")) })
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(7 * 86_400)
    }
}

fn main() -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(run())
}

async fn run() -> Result {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seed = |name: &str, parts: &[&[u8]]| {
        let corpus = folder.join("corpus/link");
        fs::create_dir_all(&corpus)?;
        fs::write(corpus.join(name), parts.concat())
    };
    let store = Arc::new(InMemory::new());
    let vault = Vault::create(store.clone(), RecoveryPhrase::generate()?).await?;
    vault.put("folder/note", "x").await?;
    let at = LinkOptions::at(&"s3://bucket/some/prefix".parse()?);
    let signed = LinkOptions::presigned(Arc::new(Willing), Duration::from_secs(86_400));
    let made = [
        vault.link(Some("folder"), at).await?,
        vault.link_object("folder/note", signed).await?,
    ];
    let mut text = String::new();
    for (number, made) in made.iter().enumerate() {
        let record = store.get(&StorePath::parse(made.link.record())?).await?;
        let record = record.bytes().await?;
        let url = made.link.expose();
        text += &format!("{} {}\n", &*url, HEXLOWER.encode(&record));
        seed(&format!("url-{number}"), &[url.as_bytes()])?;
        seed(&format!("record-{number}"), &[&[number as u8], &record])?;
        let fragment = url.split_once('#').ok_or("a fragment")?.1;
        let local = format!("file:///home/me/vault#{fragment}");
        seed(&format!("local-{number}"), &[local.as_bytes()])?;
    }
    Ok(fs::write(folder.join("link.txt"), text)?)
}
