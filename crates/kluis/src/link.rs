//! Links: a URL that gives whoever has it a folder or an object to read
//! (docs/FORMAT.md, section 13).

use crate::access::{Access, Control, path};
use crate::backend::{Backend, stored};
use crate::clock::{from_micros, now};
use crate::control::{self, LINK};
use crate::device::blocking;
use crate::vault::{Vault, VaultOptions};
use crate::{Address, Error, Kind, Result, Revoked};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use kluis_crypto::{
    Decision, KdfCeiling, KdfParams, LinkFragment, LinkId, LinkObject, LinkRecord, LinkTerms,
    NewLink, OpenedLink, Password, Scope, SealedLink, Terms, VaultId,
};
use object_store::ObjectStore;
use object_store::path::Path;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;
use zeroize::Zeroizing;

/// Makes URLs by which whoever has one reads an object of a store without credentials
/// of his own, for a time that the store enforces.
///
/// [`object_store`] has such a thing for S3, GCS and Azure. This one is about paths
/// below the vault, and asks for nothing but reading.
pub trait Signer: fmt::Debug + Send + Sync {
    /// A URL that reads the object at this path with GET, and that the store stops to
    /// honour when the time is over.
    fn signed_get<'a>(
        &'a self,
        path: &'a Path,
        expires: Duration,
    ) -> BoxFuture<'a, object_store::Result<Url>>;

    /// The longest time that the store takes.
    fn longest(&self) -> Duration;
}

/// A URL whose fragment, which is sent to no server, holds the secret of a link.
/// Whoever has it reads what it leads to.
///
/// It has no `Display`, and its `Debug` shows nothing: [`expose`](Self::expose) is the
/// only way to its text, and every use of that is a decision to hand it out.
pub struct Link {
    /// Without the fragment.
    url: Url,
    fragment: LinkFragment,
}

impl Link {
    /// Longer texts are not looked at.
    const MAX_TEXT: usize = 16_384;

    /// The whole URL, for whoever is to read.
    pub fn expose(&self) -> Zeroizing<String> {
        let fragment = self.fragment.expose();
        // As long as it gets, so that no copy stays behind.
        let mut text = String::with_capacity(self.url.as_str().len() + 1 + fragment.len());
        text.push_str(self.url.as_str());
        text.push('#');
        text.push_str(&fragment);
        Zeroizing::new(text)
    }

    /// The vault that it leads into.
    pub fn vault(&self) -> VaultId {
        self.fragment.vault()
    }

    /// The store that it names, which is read with one's own credentials; none where
    /// the store delivers by URLs that it signed.
    pub fn address(&self) -> Option<Address> {
        Address::new(self.url.clone(), Some(self.vault())).ok()
    }

    /// What reads the link's record without credentials. As good as credentials itself:
    /// it is not to be shown or logged.
    pub fn signed_url(&self) -> Option<&Url> {
        Some(&self.url).filter(|url| is_signed(url))
    }

    /// Where the link's record lies below the vault.
    pub fn record(&self) -> String {
        self.fragment.path()
    }
}

/// An address has no query, and what a store signs has one.
fn is_signed(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.query().is_some()
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim_ascii();
        if text.len() > Self::MAX_TEXT || text.chars().any(char::is_control) {
            return Err(Error::invalid(
                "the link is too long or holds a control character",
            ));
        }
        let (url, fragment) = text.split_once('#').ok_or_else(|| {
            Error::invalid(
                "this is not a link: it has no # with a secret behind it; copy all of it",
            )
        })?;
        let fragment: LinkFragment = fragment.parse().map_err(|e| Error::core(e, LINK))?;
        let url = Url::parse(url)
            .map_err(|error| Error::invalid(format!("the link is not a URL: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid("the link holds a user or password"));
        }
        if !is_signed(&url) {
            Address::new(url.clone(), None)?;
        }
        Ok(Self { url, fragment })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// How a link is made.
#[derive(Debug)]
pub struct LinkOptions {
    delivery: Delivery,
    password: Option<Password>,
    kdf: KdfParams,
    expires: Option<Duration>,
    purpose: String,
}

#[derive(Debug)]
enum Delivery {
    /// Whoever has the link reads the store with credentials of his own.
    Store(Address),
    Signed(Arc<dyn Signer>),
}

impl LinkOptions {
    fn new(delivery: Delivery, expires: Option<Duration>) -> Self {
        Self {
            delivery,
            password: None,
            kdf: KdfParams::default(),
            expires,
            purpose: String::new(),
        }
    }

    /// A link that names the store of the vault: whoever has it needs credentials that
    /// read there, and reads what is written later too.
    pub fn at(address: &Address) -> Self {
        Self::new(Delivery::Store(address.clone()), None)
    }

    /// A link by URLs that the store signed: whoever has it needs nothing else, and
    /// reads the objects that are there now, until the time is over.
    ///
    /// # Security
    /// That time is *server-enforced*: a store that keeps on delivering is not stopped
    /// by it. What ends a link cryptographically is [`Vault::revoke_link`], for what is
    /// written from then on.
    ///
    /// ```
    /// # use kluis::object_store::{self, path::Path, memory::InMemory};
    /// # use kluis::{LinkOptions, Password, Signer, Vault};
    /// # use std::{sync::Arc, time::Duration};
    /// /// A store that takes no notice of the time that it signs for.
    /// #[derive(Debug)]
    /// struct Forgetful;
    ///
    /// impl Signer for Forgetful {
    ///     fn signed_get<'a>(
    ///         &'a self,
    ///         path: &'a Path,
    ///         _expires: Duration,
    ///     ) -> futures_util::future::BoxFuture<'a, object_store::Result<url::Url>> {
    ///         let url = url::Url::parse(&format!("https://store.example/{path}?signed=yes"));
    ///         Box::pin(async move { Ok(url.unwrap()) })
    ///     }
    ///
    ///     fn longest(&self) -> Duration {
    ///         Duration::from_secs(60)
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> kluis::Result<()> {
    /// # let store = Arc::new(InMemory::new());
    /// # let password = Password::new("correct horse battery staple");
    /// let vault = Vault::create(store.clone(), password).await?;
    /// vault.put("photos/cat.jpg", "before").await?;
    /// let options = LinkOptions::presigned(Arc::new(Forgetful), Duration::from_secs(1));
    /// let made = vault.link(Some("photos"), options).await?;
    ///
    /// // Who opened it in time goes on reading if the store lets him …
    /// let hers = Vault::open_link(store.clone(), &made.link, None).await?;
    /// assert_eq!(&hers.get("cat.jpg").await?.bytes().await?[..], b"before");
    /// // … and the end that the store has no say in is to withdraw the link.
    /// vault.revoke_link(&made.id).await?;
    /// vault.put("photos/cat.jpg", "after").await?;
    /// assert!(hers.get("cat.jpg").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn presigned(signer: Arc<dyn Signer>, expires: Duration) -> Self {
        Self::new(Delivery::Signed(signer), Some(expires))
    }

    /// Takes this password beside the URL, stretched as that of a vault is.
    #[must_use]
    pub fn password(mut self, password: Password, params: KdfParams) -> Self {
        (self.password, self.kdf) = (Some(password), params);
        self
    }

    /// Ends after this time: honest readers keep to it, the owner's client withdraws the
    /// link when it is next open, and a store that signed URLs for it stops to honour
    /// them.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        self.expires = Some(after);
        self
    }

    /// What it is for, for the statement of access.
    #[must_use]
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = purpose.into();
        self
    }
}

/// A link that was just made.
#[derive(Debug)]
#[non_exhaustive]
pub struct MadeLink {
    /// Names the link, to withdraw it. No secret.
    pub id: LinkId,
    /// What to hand out.
    pub link: Link,
    /// When it ends, by the clock of this machine.
    pub until: Option<SystemTime>,
    /// How many objects the store delivers by URLs that it signed.
    pub objects: usize,
}

/// A link in force, as the owner's ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Names the link.
    pub id: LinkId,
    /// Where it leads; none for the whole vault.
    pub path: Option<String>,
    /// To what.
    pub kind: Kind,
    /// What it is for, how long, and how it is delivered.
    pub terms: LinkTerms,
    /// Whether it takes a password beside.
    pub has_password: bool,
    /// When it was made, by the owner's clock.
    pub made: SystemTime,
    /// The ledger sequence that filed it.
    pub filed: u64,
}

impl LinkInfo {
    pub(crate) fn of(record: &LinkRecord) -> Self {
        Self {
            id: record.id(),
            path: record.scope().path().map(|path| path.as_str().to_owned()),
            kind: Kind::of(record.scope()),
            terms: record.terms().clone(),
            has_password: record.has_password(),
            made: from_micros(record.time()),
            filed: record.filed(),
        }
    }
}

/// A link in the hands of whoever opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenLink {
    /// Names the link, for its owner too.
    pub id: LinkId,
    /// The own name of the folder, whose content lies at the top of the vault as it is
    /// open here, or of the object, which lies there; empty for a whole vault.
    pub name: String,
    /// What it leads to.
    pub kind: Kind,
    /// What it is for, and how long.
    pub terms: Terms,
    /// The objects that the store delivers by URLs that it signed. They are as good as
    /// credentials.
    pub objects: Vec<LinkObject>,
}

/// What somebody reaches by a link.
pub(crate) struct Linked {
    pub(crate) fragment: LinkFragment,
    pub(crate) opened: OpenedLink,
}

impl Linked {
    /// The same by the record that the store has now.
    pub(crate) async fn again(&self, store: &Backend) -> Result<Self> {
        let sealed = sealed(store, &self.fragment).await?;
        let opened = sealed.open_again(&self.opened);
        Ok(Self {
            fragment: self.fragment.duplicate(),
            opened: opened.map_err(|error| Error::core(error, LINK))?,
        })
    }

    pub(crate) fn check_time(&self) -> Result<()> {
        let terms = self.opened.terms();
        terms.check_time(now()).map_err(|e| Error::core(e, LINK))
    }
}

async fn sealed(store: &Backend, fragment: &LinkFragment) -> Result<SealedLink> {
    let record = match store.record(&fragment.path(), SealedLink::MAX_LENGTH).await {
        // Its path follows from the secret, and leads to the record alone.
        Err(error) => return Err(error.renamed(LINK)),
        Ok(record) => record.ok_or_else(|| Error::AccessDenied {
            what: "what the link led to: it was withdrawn, or has ended".to_owned(),
        })?,
    };
    SealedLink::parse(fragment, &record.bytes).map_err(|error| Error::core(error, LINK))
}

/// A link whose record was found and that is still to be opened.
#[derive(Debug)]
pub struct FoundLink {
    store: Backend,
    fragment: LinkFragment,
    sealed: SealedLink,
}

impl FoundLink {
    /// Reads the link's record from a store, and nothing else. For a link with a
    /// [`signed_url`](Link::signed_url) that is whatever answers with it at its path.
    ///
    /// # Errors
    /// `AccessDenied` where there is none: withdrawn, or ended; `Tampered` for what the
    /// vault's authority did not sign for this link; those of the store.
    pub async fn find(store: Arc<dyn ObjectStore>, link: &Link) -> Result<Self> {
        let store = Backend::new(store);
        let fragment = link.fragment.duplicate();
        Ok(Self {
            sealed: sealed(&store, &fragment).await?,
            store,
            fragment,
        })
    }

    /// Whether it takes a password beside.
    pub fn has_password(&self) -> bool {
        self.sealed.has_password()
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`Vault::open_link`].
    pub async fn open(self, password: Option<Password>) -> Result<Vault> {
        let Self {
            store,
            fragment,
            sealed,
        } = self;
        let opened =
            blocking(move || sealed.open(password.as_ref(), KdfCeiling::default())).await?;
        let opened = opened.map_err(|error| Error::core(error, LINK))?;
        let linked = Linked { fragment, opened };
        linked.check_time()?;
        Vault::of_link(store, VaultOptions::new(), linked).await
    }
}

impl Vault {
    /// Makes a link to a folder, or to the whole vault: whoever has its URL reads what
    /// is there, and what is written later. No object is read or written.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is none, for a time that the store does not sign
    /// for, and where a folder has more than [`LinkObject::MAX`] objects to be signed;
    /// `Conflict`; those of the store.
    ///
    /// # Security
    /// Everything that the store kept of the folder's past is readable too. Nobody is
    /// named by a link, and whoever has it can hand it on. What ends it is
    /// [`revoke_link`](Self::revoke_link).
    pub async fn link(&self, folder: Option<&str>, options: LinkOptions) -> Result<MadeLink> {
        let folder = folder.map(path).transpose()?;
        self.link_to(Scope::Folder(folder), options).await
    }

    /// Makes a link to one object: whoever has its URL reads what it is, and what is
    /// written in its place later, and nothing else. The object stays where it is, under the
    /// keys of its folder, and withdrawing the link closes the epoch of what it lies in.
    ///
    /// # Errors
    /// As [`link`](Self::link); `NotFound` where a URL is to be signed for what is not there.
    ///
    /// # Security
    /// As [`link`](Self::link). It leads to this place in the vault: an object that is
    /// moved is another one.
    pub async fn link_object(&self, object: &str, options: LinkOptions) -> Result<MadeLink> {
        let scope = Scope::Object(path(object)?);
        self.link_to(scope, options).await
    }

    async fn link_to(&self, scope: Scope, options: LinkOptions) -> Result<MadeLink> {
        let until = options.expires.map(|after| {
            let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            now().saturating_add(after)
        });
        let objects = match (&options.delivery, options.expires) {
            (Delivery::Signed(signer), Some(expires)) => {
                if expires.is_zero() || expires > signer.longest() {
                    let days = signer.longest().as_secs() / 86_400;
                    return Err(Error::invalid(format!(
                        "the store signs URLs for more than no time and at most {days} days"
                    )));
                }
                let stored = {
                    let control = self.control()?;
                    let tree = control.owner()?.ledger.tree();
                    let stored = scope.path().map(|path| tree.store_path(path));
                    match stored.transpose().map_err(|e| Error::core(e, LINK))? {
                        Some(stored) => stored.path,
                        None => tree.top().to_owned(),
                    }
                };
                match &scope {
                    Scope::Folder(_) => self.sign_all(&**signer, &stored, expires).await?,
                    scope => vec![self.sign_one(&**signer, scope, &stored, expires).await?],
                }
            }
            _ => Vec::new(),
        };
        let (vault, password, kdf) = (self.id(), options.password, options.kdf);
        let made = blocking(move || NewLink::make(&vault, password.as_ref(), kdf)).await?;
        let made = Arc::new(made.map_err(|error| Error::core(error, LINK))?);
        let fragment = made.fragment(vault);
        let url = match (&options.delivery, options.expires) {
            (Delivery::Signed(signer), Some(expires)) => {
                sign(&**signer, &stored(&fragment.path()), expires).await?
            }
            (Delivery::Signed(_), None) => return Err(Error::invalid("no time to sign for")),
            (Delivery::Store(address), _) => address.url().clone(),
        };
        // The full name of a long one lies beside it and is none.
        let count = objects.iter().filter(|o| !o.path.ends_with('~')).count();
        let id = made.id();
        let terms = LinkTerms {
            not_after: until,
            purpose: options.purpose,
            presigned: matches!(options.delivery, Delivery::Signed(_)),
        };
        let decision = Decision::Link {
            scope,
            link: made,
            terms,
        };
        let (control, _) = self.decide(decision).await?;
        control::seal_link(self.backend(), control.owner()?, &id, objects).await?;
        Ok(MadeLink {
            id,
            link: Link { url, fragment },
            until: until.map(from_micros),
            objects: count,
        })
    }

    /// A URL for the object that is stored here.
    async fn sign_one(
        &self,
        signer: &dyn Signer,
        scope: &Scope,
        at: &str,
        expires: Duration,
    ) -> Result<LinkObject> {
        let text = scope.path().map_or("", |path| path.as_str());
        let meta = self.backend().head(&stored(at), text).await?;
        Ok(LinkObject {
            url: sign(signer, &stored(at), expires).await?.into(),
            path: at.to_owned(),
            size: meta.size,
        })
    }

    /// URLs for everything below a stored folder.
    async fn sign_all(
        &self,
        signer: &dyn Signer,
        folder: &str,
        expires: Duration,
    ) -> Result<Vec<LinkObject>> {
        let mut listing = self.backend().list(Some(folder));
        let (mut objects, mut length) = (Vec::new(), 0);
        while let Some(meta) = listing.try_next().await? {
            // No object of a vault has a path like this.
            if meta.location.as_ref().len() > LinkObject::MAX_PATH {
                continue;
            }
            let url = String::from(sign(signer, &meta.location, expires).await?);
            // What else stands in the record of a link takes less than the rest.
            length += url.len() + meta.location.as_ref().len() + 32;
            if objects.len() == LinkObject::MAX || length > SealedLink::MAX_LENGTH / 4 * 3 {
                return Err(Error::invalid(format!(
                    "there are more objects to be signed than one link holds, which are {} at most; link to a smaller folder, or name the store in the link",
                    LinkObject::MAX
                )));
            }
            objects.push(LinkObject {
                url,
                path: meta.location.into(),
                size: meta.size,
            });
        }
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        objects.dedup_by(|a, b| a.path == b.path);
        Ok(objects)
    }

    /// The links in force, in the order in which they were made.
    ///
    /// # Errors
    /// `AccessDenied` to others than the owner.
    pub fn links(&self) -> Result<Vec<LinkInfo>> {
        let control = self.control()?;
        let links = control.owner()?.ledger.links();
        let mut links: Vec<LinkInfo> = links.map(LinkInfo::of).collect();
        links.sort_by_key(|link| (link.filed, link.id));
        Ok(links)
    }

    /// Withdraws a link: its record is removed, and the folder, or what the object lies in,
    /// gets new keys, which go to all others who have access. Nothing that is written from then on, by whoever knows
    /// of it, is readable with the link.
    ///
    /// What this is not: what was written before stays readable to whoever has opened
    /// the link and gets at the bytes, until it is written again; see
    /// [`reencrypt`](Self::reencrypt).
    ///
    /// # Errors
    /// `NotFound`; `Conflict`; those of the store.
    pub async fn revoke_link(&self, id: &LinkId) -> Result<Revoked> {
        let (control, _) = self.decide(Decision::Withdraw(vec![*id])).await?;
        Ok(Revoked {
            taken: Vec::new(),
            pin: self.pin_of(&control),
            // Whoever had it is nobody by name.
            remaining: Vec::new(),
        })
    }

    /// Opens what a link leads to: its folder's content, or its object under its own name,
    /// at the top of a vault that is read alone.
    ///
    /// The ledger is not read: what the owner has decided since is known as far as the
    /// link's record tells, which he writes again with every change of keys.
    ///
    /// # Errors
    /// `AccessDenied` where the link was withdrawn or has ended; `WrongCredentials` for
    /// another password than its own, or none; `Tampered`; those of the store.
    ///
    /// # Security
    /// That the vault's owner made it, whose id the link holds, is checked; who he is
    /// and that it is the newest state is not.
    pub async fn open_link(
        store: Arc<dyn ObjectStore>,
        link: &Link,
        password: Option<Password>,
    ) -> Result<Self> {
        FoundLink::find(store, link).await?.open(password).await
    }

    /// The link by which this vault was opened; none where it was opened otherwise.
    ///
    /// # Errors
    /// `AccessDenied` if the vault is locked.
    pub fn opened_link(&self) -> Result<Option<OpenLink>> {
        let control = self.control()?;
        let Access::Link(linked) = &control.access else {
            return Ok(None);
        };
        let opened = &linked.opened;
        Ok(Some(OpenLink {
            id: opened.id(),
            name: opened.name().to_owned(),
            kind: Kind::of(opened.scope()),
            terms: opened.terms().clone(),
            objects: opened.objects().to_vec(),
        }))
    }

    async fn of_link(store: Backend, options: VaultOptions, linked: Linked) -> Result<Self> {
        let control = Control::of_link(linked);
        Self::assemble(store, options, control, std::time::Instant::now()).await
    }
}

async fn sign(signer: &dyn Signer, path: &Path, expires: Duration) -> Result<Url> {
    let signed = signer.signed_get(path, expires).await;
    let url = signed.map_err(|error| Error::store(error, "a URL that the store signs"))?;
    let is_short = url.as_str().len() <= LinkObject::MAX_URL;
    if is_signed(&url) && url.fragment().is_none() && is_short {
        return Ok(url);
    }
    Err(Error::Unsupported {
        what: "its signed URLs are no http URLs with a signature, of at most 4,096 bytes"
            .to_owned(),
    })
}
