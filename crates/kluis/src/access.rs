//! What an open vault reaches, as one consistent state: all of it for its owner,
//! the folders and objects that were shared with them for others.

use crate::backend::stored;
use crate::clock::now;
use crate::control::HEADER;
use crate::error::ONLY_THE_OWNER;
use crate::link::Linked;
use crate::{Error, Received, Result, Writer};
use kluis_crypto::{
    Accepted, Card, FolderNames, Header, Identity, Ledger, Position, Share, SlotId, StoredPath,
    Suite, Tree, Trust, VaultId, VaultPath, VaultSecrets,
};
use object_store::path::Path;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How it is said that nothing can be written at a path.
pub(crate) const OUTSIDE: &str = "which is outside of what was shared";

/// Everything that an open vault knows.
pub(crate) struct Control {
    pub(crate) access: Access,
}

pub(crate) enum Access {
    Owner(Box<Owner>),
    Member(Box<Member>),
    Link(Box<Linked>),
}

pub(crate) struct Owner {
    pub(crate) header: Header,
    pub(crate) secrets: VaultSecrets,
    pub(crate) ledger: Ledger,
    pub(crate) slot: SlotId,
}

/// Somebody with whom folders or objects were shared.
pub(crate) struct Member {
    pub(crate) header: Header,
    pub(crate) identity: Arc<Identity>,
    pub(crate) accepted: Vec<Accepted>,
    /// Those of them that are in force, by the names that they have here.
    pub(crate) shares: BTreeMap<String, Share>,
    /// Those that were taken back.
    pub(crate) ended: Vec<Received>,
    /// Memberships in groups, by their names here. They reach no folder.
    pub(crate) groups: BTreeMap<String, Share>,
    pub(crate) head: Position,
    /// When that entry was written.
    pub(crate) written: u64,
}

/// An object, or where one would be.
pub(crate) struct Located<'a> {
    pub(crate) tree: &'a Tree,
    /// Below the top of the tree.
    pub(crate) path: VaultPath,
}

impl Located<'_> {
    /// Where it lies in the store.
    pub(crate) fn stored(&self, text: &str) -> Result<Path> {
        Ok(stored(&self.store_path(text)?.path))
    }

    pub(crate) fn store_path(&self, text: &str) -> Result<StoredPath> {
        self.tree
            .store_path(&self.path)
            .map_err(|error| Error::core(error, text))
    }
}

/// A folder as the user of the vault sees it, and where it lies.
pub(crate) struct Folder {
    /// Empty for the whole vault.
    pub(crate) path: String,
    pub(crate) stored: String,
    pub(crate) names: FolderNames,
    pub(crate) padded: bool,
    pub(crate) suite: Suite,
}

impl Control {
    pub(crate) fn of_owner(
        header: Header,
        secrets: VaultSecrets,
        ledger: Ledger,
        slot: SlotId,
    ) -> Self {
        let owner = Owner {
            header,
            secrets,
            ledger,
            slot,
        };
        Self {
            access: Access::Owner(Box::new(owner)),
        }
    }

    pub(crate) fn of_link(linked: Linked) -> Self {
        Self {
            access: Access::Link(Box::new(linked)),
        }
    }

    /// # Errors
    /// `AccessDenied` to whoever has a link, and does not see it.
    pub(crate) fn header(&self) -> Result<&Header> {
        match &self.access {
            Access::Owner(owner) => Ok(&owner.header),
            Access::Member(member) => Ok(&member.header),
            Access::Link(_) => Err(only_reading()),
        }
    }

    pub(crate) fn vault(&self) -> VaultId {
        match &self.access {
            Access::Owner(owner) => owner.header.vault(),
            Access::Member(member) => member.header.vault(),
            Access::Link(linked) => linked.fragment.vault(),
        }
    }

    /// The kind of the vault's objects.
    pub(crate) fn suite(&self) -> Suite {
        match &self.access {
            Access::Owner(owner) => owner.header.suite(),
            Access::Member(member) => member.header.suite(),
            Access::Link(linked) => linked.opened.suite(),
        }
    }

    /// # Errors
    /// `AccessDenied` to somebody who has not the whole vault.
    pub(crate) fn owner(&self) -> Result<&Owner> {
        match &self.access {
            Access::Owner(owner) => Ok(owner),
            Access::Member(_) | Access::Link(_) => Err(Error::AccessDenied {
                what: ONLY_THE_OWNER.to_owned(),
            }),
        }
    }

    /// Who writes.
    ///
    /// # Errors
    /// `AccessDenied` to whoever has a link.
    pub(crate) fn identity(&self) -> Result<&Identity> {
        match &self.access {
            Access::Owner(owner) => Ok(owner.secrets.identity()),
            Access::Member(member) => Ok(&member.identity),
            Access::Link(_) => Err(only_reading()),
        }
    }

    /// # Errors
    /// `AccessDenied` where everything that was accepted is taken back, unless that is
    /// `allowed`.
    pub(crate) fn check_ended(&self, allowed: bool) -> Result<()> {
        match &self.access {
            Access::Member(member)
                if member.shares.is_empty() && member.groups.is_empty() && !allowed =>
            {
                let ended = member.ended.first();
                Err(ended.map_or_else(|| taken_back(""), has_ended))
            }
            _ => Ok(()),
        }
    }

    /// The newest entry of the ledger.
    pub(crate) fn head(&self) -> Position {
        match &self.access {
            Access::Owner(owner) => owner.ledger.head(),
            Access::Member(member) => member.head,
            Access::Link(linked) => linked.opened.head(),
        }
    }

    /// When the newest entry was written.
    pub(crate) fn written(&self) -> u64 {
        match &self.access {
            Access::Owner(owner) => owner.ledger.written(),
            Access::Member(member) => member.written,
            // Nobody writes by a link.
            Access::Link(_) => 0,
        }
    }

    /// Whose key it is that has signed an object, as far as is known here.
    pub(crate) fn writer(&self, key: &[u8; 32]) -> Writer {
        let known = |name: Option<&str>, card: &Card| Writer {
            key: *key,
            own: false,
            name: name.map(str::to_owned),
            fingerprint: Some(card.fingerprint()),
        };
        let own = |identity: &Identity| {
            let card = Some(identity.card()).filter(|card| card.signing_key() == key)?;
            Some(Writer {
                own: true,
                ..known(None, card)
            })
        };
        let found = match &self.access {
            Access::Owner(owner) => own(owner.secrets.identity()).or_else(|| {
                let contacts = owner.ledger.contacts();
                let contacts = contacts.filter(|contact| contact.card().signing_key() == key);
                // One that was verified, before others.
                let contact = contacts.min_by_key(|c| c.trust() != Trust::Verified);
                // Who was forgotten, or has another card now, may still have access.
                let mut grants = owner.ledger.grants();
                contact
                    .map(|contact| known(Some(contact.name()), contact.card()))
                    .or_else(|| {
                        let grant = grants.find(|grant| grant.card().signing_key() == key)?;
                        Some(known(Some(grant.to()), grant.card()))
                    })
            }),
            Access::Member(member) => own(&member.identity).or_else(|| {
                let mut grantors = member.shares.values().map(Share::grantor);
                let card = grantors.find(|card| card.signing_key() == key)?;
                Some(known(None, card))
            }),
            Access::Link(_) => None,
        };
        found.unwrap_or(Writer {
            key: *key,
            own: false,
            name: None,
            fingerprint: None,
        })
    }

    /// Where an object is that will be written by who may still go on.
    ///
    /// # Errors
    /// `AccessDenied` also where the lease is over; otherwise as `locate_to_write`.
    pub(crate) fn locate_leased(&self, text: &str) -> Result<Located<'_>> {
        let located = self.locate_now(text)?;
        located
            .tree
            .check_lease(&located.path, self.written(), now())
            .map_err(|error| Error::core(error, text))?;
        Ok(located)
    }

    /// Whether an entry is owed that the owner's client has to append.
    pub(crate) fn is_behind(&self) -> bool {
        match &self.access {
            Access::Owner(owner) => owner.ledger.is_behind(&owner.header, &owner.secrets, now()),
            Access::Member(_) | Access::Link(_) => false,
        }
    }

    /// Of two states of one vault, one has seen at least as much of both chains.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        let header = |c: &Self| c.header().map_or(0, |header| header.position().sequence);
        let seen = |c: &Self| (header(c), c.head().sequence);
        seen(self) > seen(other)
    }

    /// Where an object is.
    ///
    /// # Errors
    /// `InvalidInput` for what is no path; `NotFound` outside of what was shared;
    /// `AccessDenied` before and after the time that it was shared for.
    pub(crate) fn locate(&self, text: &str) -> Result<Located<'_>> {
        let path = path(text)?;
        match &self.access {
            Access::Owner(owner) => Ok(Located {
                tree: owner.ledger.tree(),
                path,
            }),
            Access::Member(member) => {
                let (share, below) = member.find(&path)?;
                let tree = share.tree();
                // The name of a share is a folder's or an object's, not both.
                let path = match (tree.object(), below) {
                    (Some(name), None) => Some(name.clone()),
                    (None, Some(below)) => Some(below),
                    _ => None,
                };
                let path = path.ok_or_else(|| Error::NotFound {
                    path: text.to_owned(),
                })?;
                Ok(Located { tree, path })
            }
            Access::Link(linked) => {
                linked.check_time()?;
                Ok(Located {
                    tree: linked.opened.tree(),
                    path,
                })
            }
        }
    }

    /// Where an object is that will be written or deleted.
    ///
    /// # Errors
    /// `AccessDenied` where it was shared for reading; otherwise as `locate`.
    pub(crate) fn locate_to_write(&self, text: &str) -> Result<Located<'_>> {
        self.locate_for_writing(text, false)
    }

    /// As `locate_to_write`, and `AccessDenied` too where what was given on waits to be
    /// filed.
    pub(crate) fn locate_now(&self, text: &str) -> Result<Located<'_>> {
        self.locate_for_writing(text, true)
    }

    fn locate_for_writing(&self, text: &str, now: bool) -> Result<Located<'_>> {
        let may_write = match &self.access {
            Access::Owner(_) => true,
            Access::Member(member) => {
                let (share, _) = member.find(&path(text)?).map_err(|error| match error {
                    Error::NotFound { path } => Error::NotFound {
                        path: format!("{path}, {OUTSIDE}"),
                    },
                    error => error,
                })?;
                if now && share.terms().write && share.is_unfiled() {
                    return Err(Error::AccessDenied {
                        what: format!(
                            "writing to {text} yet, which was given on: it waits for the owner of the vault to file it"
                        ),
                    });
                }
                share.terms().write
            }
            Access::Link(_) => false,
        };
        if !may_write {
            return Err(Error::AccessDenied {
                what: format!("{text}, which was shared for reading"),
            });
        }
        self.locate(text)
    }

    /// The folders that a prefix stands for: one, or for a whole vault of which
    /// parts were shared, each of them.
    pub(crate) fn folders(&self, prefix: Option<&str>) -> Result<Vec<Folder>> {
        let at = |tree: &Tree, below: Option<&VaultPath>, path: &str| {
            let stored = match below {
                Some(_) if tree.object().is_some() => return Ok(None),
                Some(below) => {
                    tree.store_path(below)
                        .map_err(|error| Error::core(error, path))?
                        .path
                }
                None => tree.top().to_owned(),
            };
            // One object is no folder.
            Ok(tree.names(below).map(|names| Folder {
                path: path.to_owned(),
                stored,
                names,
                padded: tree.has_padding(),
                suite: self.suite(),
            }))
        };
        let prefix = prefix.map(path).transpose()?;
        let text = prefix.as_ref().map_or("", VaultPath::as_str);
        match (&self.access, &prefix) {
            (Access::Owner(owner), below) => {
                let folder = at(owner.ledger.tree(), below.as_ref(), text)?;
                Ok(folder.into_iter().collect())
            }
            (Access::Link(linked), below) => {
                linked.check_time()?;
                let folder = at(linked.opened.tree(), below.as_ref(), text)?;
                Ok(folder.into_iter().collect())
            }
            (Access::Member(member), None) => {
                let shares = member.shares.iter();
                shares
                    .filter_map(|(name, share)| at(share.tree(), None, name).transpose())
                    .collect()
            }
            (Access::Member(member), Some(path)) => {
                let (share, below) = member.find(path)?;
                let folder = at(share.tree(), below.as_ref(), text)?;
                Ok(folder.into_iter().collect())
            }
        }
    }

    /// The single objects that are shared now, at the top of the vault: name and place.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&str, Path)> {
        let (shares, linked) = match &self.access {
            Access::Owner(_) => (None, None),
            Access::Member(member) => (Some(&member.shares), None),
            Access::Link(linked) => (None, Some(linked)),
        };
        let shares = shares.into_iter().flatten();
        let shares = shares.map(|(name, share)| (Some(name.as_str()), share.terms(), share.tree()));
        let linked = linked.into_iter();
        let linked = linked.map(|linked| (None, linked.opened.terms(), linked.opened.tree()));
        let now = now();
        shares.chain(linked).filter_map(move |(name, terms, tree)| {
            let own = tree.object()?.as_str();
            terms.check_time(now).ok()?;
            Some((name.unwrap_or(own), stored(tree.top())))
        })
    }
}

impl Owner {
    /// The same keys for a call that outlives this state.
    ///
    /// # Errors
    /// `Conflict` where the header has another root key.
    pub(crate) fn reopened(&self) -> Result<VaultSecrets> {
        self.header
            .reopen(&self.secrets)
            .map_err(|error| Error::core(error, HEADER))
    }
}

impl Member {
    /// What was accepted under this name.
    pub(crate) fn share(&self, name: &str) -> Option<&Share> {
        self.shares.get(name).or_else(|| self.groups.get(name))
    }

    /// The share that a path leads into, and the rest of the path.
    pub(crate) fn find(&self, path: &VaultPath) -> Result<(&Share, Option<VaultPath>)> {
        let (name, below) = match path.as_str().split_once('/') {
            Some((name, below)) => (name, Some(self::path(below)?)),
            None => (path.as_str(), None),
        };
        let share = self.shares.get(name).ok_or_else(|| {
            if let Some(ended) = self.ended.iter().find(|ended| ended.name == name) {
                return has_ended(ended);
            }
            Error::NotFound {
                path: path.as_str().to_owned(),
            }
        })?;
        share
            .terms()
            .check_time(now())
            .map_err(|error| Error::core(error, path.as_str()))?;
        Ok((share, below))
    }
}

/// Why there is nothing more of a share to be had.
fn has_ended(ended: &Received) -> Error {
    if ended.unfiled {
        return Error::AccessDenied {
            what: format!(
                "what was given on as {:?}: it was taken back, or new keys came before the owner of the vault had filed it; have it given on again",
                ended.name
            ),
        };
    }
    taken_back(&ended.name)
}

/// What was shared under this name is not any more.
pub(crate) fn taken_back(name: &str) -> Error {
    Error::AccessDenied {
        what: format!("what was shared as {name:?}: it was taken back"),
    }
}

fn only_reading() -> Error {
    Error::AccessDenied {
        what: "more than a link gives: what it leads to, for reading".to_owned(),
    }
}

pub(crate) fn path(text: &str) -> Result<VaultPath> {
    VaultPath::parse(text).map_err(|error| Error::core(error, text))
}
