//! Checking a whole vault: every record and object that the store shows.

use crate::access::Control;
use crate::control::{self, COPIES, Chain, ChainName, HEADER};
use crate::list::{Decoded, Names};
use crate::read::Found;
use crate::sharing::MAX_BUNDLE;
use crate::vault::Vault;
use crate::{Error, Result};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use kluis_crypto::{Header, LetterName, RecordHash, objects_prefix};
use object_store::ObjectMeta;
use object_store::path::Path;
use std::sync::Arc;

/// How thoroughly a vault is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Control records, and of each object its header and length: two small
    /// requests an object.
    Quick,
    /// Every byte.
    Full,
}

/// What was found in one place of the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The object's path in the vault, where it has one.
    pub path: Option<Path>,
    /// Its path in the store.
    pub store_path: Path,
    /// Bytes of content, or stored bytes of what is no object.
    pub size: u64,
    /// What it is.
    pub verdict: Verdict,
}

/// Whether something in the store is as it was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Authentic.
    Ok,
    /// Not of this vault.
    Foreign,
    /// Damaged, altered, or of a format that this version does not know.
    Fault(Error),
}

/// A listing, the names in it, and whose it is.
type Listed = (BoxStream<'static, Result<ObjectMeta>>, Names, Vault);

/// Where grants lie.
const GRANTS: &str = "k/g/";

/// Objects that are checked at a time.
const AT_ONCE: usize = 8;

impl Vault {
    /// Checks everything that the store shows below a folder, or in the vault, its
    /// own records included; and the object, where one has this path. Damage is a finding, not an error; an error ends the
    /// stream because the store could not be asked.
    ///
    /// # Security
    /// What the store does not show is not missed here, nor is an object that was
    /// replaced by an older one of the same path.
    pub fn check(&self, prefix: Option<&str>, how: Check) -> BoxStream<'static, Result<Finding>> {
        let vault = self.clone();
        let prefix = prefix.map(str::to_owned);
        let findings = async move {
            let control = vault.control()?;
            // The vault's own records lie beside what the folders hold.
            let whole = prefix.is_none() && control.owner().is_ok();
            let folders = control.folders(prefix.as_deref())?;
            let has_folder = !folders.is_empty();
            let metas = folders.into_iter().map({
                let vault = vault.clone();
                move |folder| {
                    let below = (!whole).then(|| folder.stored.clone());
                    let listing = vault.backend().list(below.as_deref());
                    let state = (listing, Names::of(folder), vault.clone());
                    futures_util::stream::try_unfold(state, Self::decoded)
                }
            });
            // Beside them the single objects that were shared.
            let mut objects = Vec::new();
            for (name, place) in control.objects().filter(|_| prefix.is_none()) {
                match vault.backend().head(&place, name).await {
                    Ok(meta) => objects.push(Ok((meta, Some(Decoded::Path(name.to_owned()))))),
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(text) = &prefix {
                let found = match control.locate(text).and_then(|at| at.stored(text)) {
                    Ok(place) => vault.backend().head(&place, text).await,
                    Err(error) => Err(error),
                };
                match found {
                    Ok(meta) => objects.push(Ok((meta, Some(Decoded::Path(text.clone()))))),
                    Err(Error::NotFound { .. }) => {}
                    // Of a folder that was shared, its own name is out of reach.
                    Err(Error::AccessDenied { .. }) if has_folder => {}
                    Err(error) => return Err(error),
                }
            }
            let objects = futures_util::stream::iter(objects);
            let places = objects.chain(futures_util::stream::iter(metas).flatten());
            let judge = move |(meta, decoded): (ObjectMeta, Option<Decoded>)| {
                let (vault, control) = (vault.clone(), Arc::clone(&control));
                async move {
                    match decoded {
                        Some(decoded) => vault.check_object(meta, decoded, how).await,
                        None => vault.check_control(meta, &control).await,
                    }
                }
                .boxed()
            };
            Ok::<_, Error>(places.map_ok(judge).try_buffer_unordered(AT_ONCE))
        };
        futures_util::stream::once(findings).try_flatten().boxed()
    }

    /// The next entry of a listing, and what its name says where it is an object's.
    async fn decoded(
        (mut metas, mut names, vault): Listed,
    ) -> Result<Option<((ObjectMeta, Option<Decoded>), Listed)>> {
        let Some(meta) = metas.try_next().await? else {
            return Ok(None);
        };
        let place = meta.location.as_ref();
        let decoded = match place.strip_prefix(objects_prefix()) {
            Some(rest) if rest.starts_with('/') => {
                Some(names.decode(vault.backend(), place).await?)
            }
            _ => None,
        };
        Ok(Some(((meta, decoded), (metas, names, vault))))
    }

    async fn check_object(
        &self,
        meta: ObjectMeta,
        decoded: Decoded,
        how: Check,
    ) -> Result<Finding> {
        let store_path = meta.location.clone();
        let other = |verdict| Finding {
            path: None,
            store_path: store_path.clone(),
            size: meta.size,
            verdict,
        };
        let text = match decoded {
            Decoded::Path(text) => text,
            // It decrypts where the name that needs it was found, or it does not.
            Decoded::LongNameRecord => return Ok(other(Verdict::Ok)),
            Decoded::Foreign => return Ok(other(Verdict::Foreign)),
            Decoded::Nameless => {
                let what = format!("the record of a long name beside {}", meta.location);
                return Ok(other(Verdict::Fault(Error::Missing { what })));
            }
        };
        let path = Path::parse(&text).ok();
        let checked = match how {
            Check::Quick => self.check_header(&text).await,
            Check::Full => self.check_content(&text).await,
        };
        let (size, verdict) = match checked {
            Ok(size) => (size, Verdict::Ok),
            // Deleted while we looked.
            Err(Error::NotFound { .. }) => (0, Verdict::Ok),
            Err(error @ (Error::Store { .. } | Error::AccessDenied { .. } | Error::Io { .. })) => {
                return Err(error);
            }
            Err(error) => (meta.size, Verdict::Fault(error)),
        };
        Ok(Finding {
            path,
            store_path,
            size,
            verdict,
        })
    }

    async fn check_header(&self, text: &str) -> Result<u64> {
        let found = Found::open(self, text, 0).await?;
        let length = found.content_length(self).await?;
        found.info(self, length)?;
        // The length is the store's word until the end was read.
        found.read_end(self).await?;
        Ok(length)
    }

    async fn check_content(&self, text: &str) -> Result<u64> {
        let object = self.get(text).await?;
        let length = object.range().end;
        object
            .into_stream()
            .try_for_each(|_| std::future::ready(Ok(())))
            .await?;
        Ok(length)
    }

    async fn check_control(&self, meta: ObjectMeta, control: &Control) -> Result<Finding> {
        let store_path = meta.location.clone();
        let text = store_path.as_ref();
        let foreign = || Finding {
            path: None,
            store_path: store_path.clone(),
            size: meta.size,
            verdict: Verdict::Foreign,
        };
        let chain = [Chain::Headers, Chain::Ledger]
            .into_iter()
            .find_map(|chain| {
                let name = text.strip_prefix(chain.prefix())?.strip_prefix('/')?;
                Some((chain, ChainName::parse(name)?))
            });
        let checked = match chain {
            Some((chain, ChainName::Record(position))) => {
                control::check_record(self.backend(), chain, position, control.header()?).await
            }
            Some((chain, ChainName::Claim(sequence))) => {
                control::check_claim(self.backend(), chain, sequence).await
            }
            None if COPIES.contains(&text) => self.check_copy(text, control).await,
            None if text.starts_with(GRANTS) => match self.check_grant(text).await? {
                Some(checked) => checked,
                None => return Ok(foreign()),
            },
            None => return Ok(foreign()),
        };
        let verdict = match checked {
            Ok(()) => Verdict::Ok,
            Err(error @ (Error::Store { .. } | Error::AccessDenied { .. } | Error::Io { .. })) => {
                return Err(error);
            }
            Err(error) => Verdict::Fault(error),
        };
        Ok(Finding {
            path: None,
            store_path,
            size: meta.size,
            verdict,
        })
    }

    /// A bundle hashes to its name; a first letter is for its grantee to check.
    async fn check_grant(&self, text: &str) -> Result<Option<Result<()>>> {
        let name = text.strip_prefix(GRANTS).unwrap_or_default();
        if name.parse::<LetterName>().is_ok() {
            return Ok(Some(Ok(())));
        }
        let Ok(hash) = name.parse::<RecordHash>() else {
            return Ok(None);
        };
        let good = match self.backend().record(text, MAX_BUNDLE).await {
            Err(Error::LimitExceeded { .. }) => false,
            // Gone since it was listed.
            other => other?.is_none_or(|record| RecordHash::of(&record.bytes) == hash),
        };
        Ok(Some(if good {
            Ok(())
        } else {
            Err(Error::tampered("the letters of a change of keys"))
        }))
    }

    async fn check_copy(&self, text: &str, control: &Control) -> Result<()> {
        let Some(record) = self.backend().record(text, Header::MAX_LENGTH).await? else {
            return Ok(());
        };
        let header = Header::parse(&record.bytes).map_err(|error| Error::core(error, HEADER))?;
        let (copy, known) = (header.position(), control.header()?.position());
        if header.vault() != self.id() || copy.sequence < known.sequence {
            return Err(Error::Stale {
                what: format!("a copy of {HEADER}"),
            });
        }
        if copy.sequence == known.sequence && copy != known {
            return Err(Error::Forked {
                what: HEADER.to_owned(),
            });
        }
        Ok(())
    }
}
