//! From a vault's URL to its object store.
//!
//! Credentials come from the environment variables that each provider defines
//! for all its tools, never from us.

mod folder;
mod signed;

use crate::exit::{Exit, Failure, Result};
use folder::LocalFolder;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kluis::object_store::aws::AmazonS3Builder;
use kluis::object_store::azure::MicrosoftAzureBuilder;
use kluis::object_store::gcp::GoogleCloudStorageBuilder;
use kluis::object_store::path::Path;
use kluis::object_store::prefix::PrefixStore;
use kluis::object_store::signer::{Method, Signer};
use kluis::object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
pub(crate) use signed::SignedStore;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// A store and what the command must know of it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// The folder, if it is one.
    pub(crate) folder: Option<PathBuf>,
    /// Makes URLs by which others read, if it can.
    pub(crate) signer: Option<Arc<dyn kluis::Signer>>,
}

impl Store {
    /// Opens the store at a URL; `create` makes the folder, as only `init` does.
    pub(crate) fn open(url: &Url, create: bool) -> Result<Self> {
        if url.scheme() == "file" {
            let folder = url.to_file_path().map_err(|()| unknown(url))?;
            return Self::open_folder(folder, create);
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|_| unknown(url))?;
        let (objects, signer): (Arc<dyn ObjectStore>, Arc<dyn Signer>) = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let builder =
                    environment("AWS_").fold(AmazonS3Builder::new(), |b, (key, value)| {
                        match key.parse() {
                            Ok(key) => b.with_config(key, value),
                            Err(_) => b,
                        }
                    });
                let builder = builder.with_url(url.as_str()).with_retry(retries());
                both(builder.build().map_err(|e| misconfigured(url, &e))?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let service = std::env::var("SERVICE_ACCOUNT").ok();
                let service = service.map(|path| ("service_account".to_owned(), path));
                let builder = service.into_iter().chain(environment("GOOGLE_")).fold(
                    GoogleCloudStorageBuilder::new(),
                    |b, (key, value)| match key.parse() {
                        Ok(key) => b.with_config(key, value),
                        Err(_) => b,
                    },
                );
                let builder = builder.with_url(url.as_str()).with_retry(retries());
                both(builder.build().map_err(|e| misconfigured(url, &e))?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder =
                    environment("AZURE_").fold(MicrosoftAzureBuilder::new(), |b, (key, value)| {
                        match key.parse() {
                            Ok(key) => b.with_config(key, value),
                            Err(_) => b,
                        }
                    });
                let builder = builder.with_url(url.as_str()).with_retry(retries());
                both(builder.build().map_err(|e| misconfigured(url, &e))?)
            }
            _ => return Err(unknown(url)),
        };
        let objects: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
            objects
        } else {
            Arc::new(PrefixStore::new(objects, prefix.clone()))
        };
        Ok(Self {
            objects,
            folder: None,
            signer: Some(Arc::new(CloudSigner { signer, prefix })),
        })
    }

    fn open_folder(folder: PathBuf, create: bool) -> Result<Self> {
        if create && folder.exists() && !folder.is_dir() {
            let message = format!("{} exists and is not a folder", folder.display());
            return Err(Failure::exists(message, "choose another place"));
        }
        if create {
            std::fs::create_dir_all(&folder)
                .map_err(|e| Failure::io(format!("cannot make {}", folder.display()), &e))?;
        }
        match std::fs::metadata(&folder) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => {
                let message = format!("{} is not a folder", folder.display());
                return Err(no_vault(message));
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(no_vault(format!("there is no folder {}", folder.display())));
            }
            Err(e) => return Err(Failure::io(format!("cannot open {}", folder.display()), &e)),
        }
        let objects = LocalFolder::open(&folder)
            .map_err(|e| Failure::new(Exit::Error, "store", e.to_string(), "check the folder"))?;
        Ok(Self {
            objects: Arc::new(objects),
            folder: Some(folder),
            signer: None,
        })
    }

    /// Requests take long enough that many should be under way at once.
    pub(crate) fn is_remote(&self) -> bool {
        self.folder.is_none()
    }
}

/// One store as what it can do.
fn both(store: impl ObjectStore + Signer) -> (Arc<dyn ObjectStore>, Arc<dyn Signer>) {
    let store = Arc::new(store);
    (store.clone(), store)
}

/// Signs for paths below a vault's prefix.
#[derive(Debug)]
struct CloudSigner {
    signer: Arc<dyn Signer>,
    prefix: Path,
}

impl kluis::Signer for CloudSigner {
    fn signed_get<'a>(
        &'a self,
        path: &'a Path,
        expires: Duration,
    ) -> BoxFuture<'a, kluis::object_store::Result<Url>> {
        let path: Path = self.prefix.parts().chain(path.parts()).collect();
        async move { self.signer.signed_url(Method::GET, &path, expires).await }.boxed()
    }

    fn longest(&self) -> Duration {
        // S3 and Google take no more, and Azure's own keys are not asked for more.
        Duration::from_secs(7 * 86_400)
    }
}

/// The provider's variables, in the form of object_store's keys, after our
/// own defaults, so that a variable overrides them.
fn environment(prefix: &'static str) -> impl Iterator<Item = (String, String)> {
    // A transfer has no natural length; what must not happen is silence.
    let defaults = [
        ("timeout", "600 seconds"),
        ("connect_timeout", "10 seconds"),
    ];
    let defaults = defaults.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let given = std::env::vars_os().filter_map(move |(key, value)| {
        let (key, value) = (key.into_string().ok()?, value.into_string().ok()?);
        let wanted = key.starts_with(prefix) || (prefix == "AZURE_" && key == "MSI_ENDPOINT");
        wanted.then(|| (key.to_ascii_lowercase(), value))
    });
    defaults.into_iter().chain(given)
}

fn retries() -> RetryConfig {
    // About half a minute of trying: enough for a hiccup, short enough that
    // "the store cannot be reached" is said while somebody still waits.
    RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    }
}

fn no_vault(message: String) -> Failure {
    let hint = "check the address, or make a vault with `kluis init`";
    Failure::new(Exit::NoVault, "no_vault", message, hint)
}

fn unknown(url: &Url) -> Failure {
    let message = format!("{url} is not an address that kluis can open");
    Failure::usage(
        message,
        "use a folder, file://, s3://BUCKET/PREFIX, gs:// or az://",
    )
}

fn misconfigured(url: &Url, error: &dyn std::error::Error) -> Failure {
    let message = format!("cannot set up access to {url}: {error}");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Failure::usage(
        message,
        "set the provider's environment variables, see docs/CLI.md",
    )
}
