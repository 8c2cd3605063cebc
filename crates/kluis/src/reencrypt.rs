//! What a revocation leaves behind, and how it is ended: objects under epochs that
//! are closed stay readable to whoever once held their keys, until they are written
//! again.

use crate::access::path;
use crate::clock::from_micros;
use crate::device::blocking;
use crate::list::claimed_size;
use crate::object;
use crate::vault::Vault;
use crate::{Error, ObjectInfo, PutOptions, Result};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use kluis_crypto::{Decision, LinkId, LinkRecord, Scope};
use object_store::path::Path;
use object_store::{ObjectMeta, PutMode, UpdateVersion};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// Objects that are looked at, or written again, at a time.
const AT_ONCE: usize = 8;

/// What people whose access was taken back can still read in a folder, at the most:
/// what was written before, by whoever had not heard of it, and not again since.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The folder or object; none for the whole vault.
    pub folder: Option<String>,
    /// The ledger sequence up to which it holds.
    pub ledger: u64,
    /// Objects under closed epochs.
    pub objects: u64,
    /// The bytes of their contents, by the store's word.
    pub bytes: u64,
    /// Objects that could not be looked at, because their name or their header cannot
    /// be read. They may be readable too.
    pub unknown: u64,
    /// Links in force that reach the folder, or something in it: whoever has one of
    /// them goes on reading, whose grant ever was taken back.
    pub links: Vec<LinkId>,
}

impl Receipt {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.objects == 0 && self.unknown == 0
    }
}

/// What one step of [`Vault::reencrypt`] did.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reencrypted {
    /// The object was written again.
    Written(ObjectMeta),
    /// It is under keys that are in force, or somebody has written or removed it
    /// meanwhile.
    Current(ObjectMeta),
    /// It was not written again, and the floor stays where it is.
    Failed(ObjectMeta, Error),
}

impl Vault {
    /// The objects in a folder, or in the vault, or the one of this path, that are under closed epochs. Reads
    /// the header of each.
    ///
    /// # Errors
    /// As [`list`](Self::list). An object whose header cannot be read is in the list.
    ///
    /// # Security
    /// What the store does not list is not missed, nor what it kept of the past.
    pub fn outdated(&self, folder: Option<&str>) -> BoxStream<'static, Result<ObjectMeta>> {
        let outdated = self.looked_at(folder).try_filter_map(async |(meta, info)| {
            Ok(match info {
                Ok(info) if !info.closed => None,
                Err(Error::NotFound { .. }) => None,
                _ => Some(meta),
            })
        });
        outdated.boxed()
    }

    /// Every object with what its header says.
    fn looked_at(
        &self,
        folder: Option<&str>,
    ) -> BoxStream<'static, Result<(ObjectMeta, Result<ObjectInfo>)>> {
        let vault = self.clone();
        let look = move |meta: ObjectMeta| {
            let vault = vault.clone();
            async move {
                match vault.head(meta.location.as_ref()).await {
                    Err(error @ (Error::Store { .. } | Error::AccessDenied { .. })) => Err(error),
                    info => Ok((meta, info)),
                }
            }
            .boxed()
        };
        self.itself(folder)
            .chain(self.list(folder))
            .map_ok(look)
            .try_buffer_unordered(AT_ONCE)
            .boxed()
    }

    /// The object of this path: what is asked about may be one, or a folder.
    fn itself(&self, path: Option<&str>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (vault, path) = (self.clone(), path.map(str::to_owned));
        let found = async move {
            let Some(text) = path else {
                return Ok(None);
            };
            let control = vault.control()?;
            let place = match control.locate(&text) {
                Ok(located) => located.stored(&text)?,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let location = Path::parse(&text).map_err(|error| Error::invalid(error.to_string()))?;
            match vault.backend().head(&place, &text).await {
                Ok(meta) => Ok(Some(ObjectMeta {
                    location,
                    size: claimed_size(control.suite(), meta.size),
                    ..meta
                })),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        futures_util::stream::once(found)
            .try_filter_map(async |meta| Ok(meta))
            .boxed()
    }

    /// Counts what those whose access was taken back can still read in a folder, of one
    /// object, or in the vault. Empty after a [`reencrypt`](Self::reencrypt) that failed nowhere.
    ///
    /// # Errors
    /// As [`outdated`](Self::outdated).
    pub async fn receipt(&self, folder: Option<&str>) -> Result<Receipt> {
        let control = self.refresh().await?;
        let ledger = control.head().sequence;
        let at = folder.map(path).transpose()?;
        let meets = |link: &&LinkRecord| match (link.scope().path(), &at) {
            (None, _) | (_, None) => true,
            (Some(to), Some(at)) => {
                let is_folder = matches!(link.scope(), Scope::Folder(_));
                to == at
                    || to.below(Some(at)).is_some()
                    || is_folder && at.below(Some(to)).is_some()
            }
        };
        // Others than the owner are not told of links.
        let links = control.owner().map_or_else(
            |_| Vec::new(),
            |owner| {
                owner
                    .ledger
                    .links()
                    .filter(meets)
                    .map(LinkRecord::id)
                    .collect()
            },
        );
        let mut listing = self.list(folder);
        let mut receipt = Receipt {
            folder: folder.map(str::to_owned),
            ledger,
            objects: 0,
            bytes: 0,
            unknown: 0,
            links,
        };
        let heads = self.itself(folder).chain(listing.by_ref()).map_ok(|meta| {
            let vault = self.clone();
            async move { Ok((vault.head(meta.location.as_ref()).await, meta)) }.boxed()
        });
        let mut heads = heads.try_buffer_unordered(AT_ONCE);
        while let Some((info, meta)) = heads.try_next().await? {
            match info {
                Ok(info) if info.closed => {
                    receipt.objects += 1;
                    receipt.bytes += meta.size;
                }
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error @ (Error::Store { .. } | Error::AccessDenied { .. })) => {
                    return Err(error);
                }
                Err(_) => receipt.unknown += 1,
            }
        }
        drop(heads);
        receipt.unknown += listing.unlisted().nameless;
        Ok(receipt)
    }

    /// Writes everything in a folder, or in the vault, or one object, again that is under a closed
    /// epoch, at the speed of a copy and in bounded memory. When nothing is left, and
    /// nothing failed, epochs below the current ones are refused from then on, so that
    /// who once held their keys cannot plant under them. Before that it waits until the
    /// newest decision is as old as [`staleness`](crate::VaultOptions::staleness), so that
    /// what is written by somebody who has not heard of it is found, and not refused:
    /// writers that keep to a longer bound than this vault's may lose such an object.
    ///
    /// Dropped or failed, it goes on where it stopped when it is called again. Content,
    /// attributes and times stay; what somebody else writes meanwhile wins where the
    /// store has conditional writes, which local folders and objects above
    /// [`MAX_CONDITIONAL_STREAM`](crate::MAX_CONDITIONAL_STREAM) do not: there the
    /// object is looked at again before it is replaced.
    ///
    /// What this is not: what the store kept of older versions, and what people
    /// downloaded, it does not reach.
    ///
    /// # Errors
    /// Those of the store and of listing. What goes wrong with one object is an item of
    /// the stream.
    pub fn reencrypt(&self, folder: Option<&str>) -> BoxStream<'static, Result<Reencrypted>> {
        let (vault, folder) = (self.clone(), folder.map(str::to_owned));
        let steps = async move {
            // Under the newest epochs, and as the owner alone can.
            vault.refresh().await?.owner()?;
            let again = vault.clone();
            let step = move |meta: ObjectMeta| {
                let vault = again.clone();
                async move {
                    match vault.write_again(&meta).await {
                        Ok(true) => Ok(Reencrypted::Written(meta)),
                        Ok(false) => Ok(Reencrypted::Current(meta)),
                        Err(error @ Error::Store { .. }) => Err(error),
                        Err(error) => Ok(Reencrypted::Failed(meta, error)),
                    }
                }
                .boxed()
            };
            let steps = vault
                .itself(folder.as_deref())
                .chain(vault.list(folder.as_deref()))
                .map_ok(step)
                .try_buffer_unordered(AT_ONCE);
            let end = futures_util::stream::once(async move {
                vault.raise_floors(folder.as_deref()).await?;
                Ok(None)
            });
            Ok::<_, Error>(steps.map_ok(Some).chain(end))
        };
        futures_util::stream::once(steps)
            .try_flatten()
            .try_filter_map(async |step| Ok(step))
            .boxed()
    }

    /// Whether the object had to be written again.
    async fn write_again(&self, meta: &ObjectMeta) -> Result<bool> {
        let text = meta.location.as_ref();
        let head = match self.head(text).await {
            Err(Error::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        if !head.closed {
            return Ok(false);
        }
        let object = self.get(text).await?;
        if !object.info().closed {
            return Ok(false);
        }
        let info = object.info().clone();
        let version = UpdateVersion {
            e_tag: info.meta.e_tag.clone(),
            version: info.meta.version.clone(),
        };
        let options = PutOptions {
            mode: PutMode::Update(version),
            ..object::options_of(&info)
        };
        let small = info.meta.size <= crate::MAX_CONDITIONAL_STREAM as u64;
        let written = if small && info.meta.e_tag.is_some() {
            self.put_opts(text, object.bytes().await?, options).await
        } else {
            Err(Error::Unsupported {
                what: String::new(),
            })
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody was faster, under the epoch of now.
            Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => Ok(false),
            Err(Error::Unsupported { .. }) => self.replace_unconditionally(text, &info).await,
            Err(error) => Err(error),
        }
    }

    async fn replace_unconditionally(&self, text: &str, info: &ObjectInfo) -> Result<bool> {
        let object = self.get(text).await?;
        let unchanged =
            |now: &ObjectInfo| (now.version, now.epoch) == (info.version, info.epoch) && now.closed;
        if !unchanged(object.info()) {
            return Ok(false);
        }
        let options = object::options_of(object.info());
        let stream = object.into_stream();
        // The last thing before the store's own commit is another look.
        let (vault, path, known) = (self.clone(), text.to_owned(), info.clone());
        let look = futures_util::stream::once(async move {
            let now = vault.head(&path).await?;
            if (now.version, now.epoch) == (known.version, known.epoch) {
                Ok(bytes::Bytes::new())
            } else {
                Err(Error::Conflict { what: path })
            }
        });
        let stream = stream.chain(look).map_err(io::Error::other);
        match self.put_stream(text, stream, options).await {
            Ok(_) => Ok(true),
            Err(error) => match crate::write::from_inside(error) {
                Error::Conflict { .. } | Error::NotFound { .. } => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Waits as long as a writer may go on who has not seen the newest entry: what he
    /// writes is to be found by the look, and not refused after it.
    async fn until_writers_know(&self) -> Result<()> {
        const STEP: Duration = Duration::from_millis(100);
        let known = from_micros(self.control()?.owner()?.ledger.written());
        let age = SystemTime::now().duration_since(known).unwrap_or_default();
        let (begun, wait) = (Instant::now(), self.staleness().saturating_sub(age));
        // Without a timer, which the runtime need not have; in steps, so that who drops
        // this does not leave a thread behind for long.
        while let Some(left) = wait.checked_sub(begun.elapsed()).filter(|l| !l.is_zero()) {
            let step = left.min(STEP);
            blocking(move || std::thread::sleep(step)).await?;
        }
        Ok(())
    }

    /// Refuses what is below the current epochs of a folder's collections, if nothing
    /// is left under them.
    async fn raise_floors(&self, folder: Option<&str>) -> Result<()> {
        let folder = folder.map(path).transpose()?;
        // Those of before the look: what is closed meanwhile was not looked for.
        let floors = {
            let control = self.refresh().await?;
            let tree = control.owner()?.ledger.tree();
            tree.floors_to_raise(folder.as_ref())
        };
        if floors.is_empty() {
            return Ok(());
        }
        self.until_writers_know().await?;
        let text = folder.as_ref().map(kluis_crypto::VaultPath::as_str);
        if !self.receipt(text).await?.is_empty() {
            return Ok(());
        }
        self.decide(Decision::RaiseFloors(floors)).await.map(drop)
    }
}
