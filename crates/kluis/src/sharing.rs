//! Giving others access, seeing who has it, and taking it back. Everything that is
//! decided here is one entry of the ledger (docs/FORMAT.md, sections 4 and 12).

use crate::access::{Access, Control, Member, path, taken_back};
use crate::backend::Backend;
use crate::clock::{from_micros, now};
use crate::control::{self, Chain, ChainNames, FetchedLedger, Found, LEDGER, Made};
use crate::link::LinkInfo;
use crate::vault::{Vault, VaultOptions};
use crate::{Address, Error, LedgerPin, Result};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kluis_crypto::{
    Accepted, Card, Contact, Decision, Entry, Fingerprint, GrantFile, GrantId, GrantRecord, Group,
    Identity, IdentitySuite, Ledger, LetterName, Position, Recipient, RecordHash, Scope, Share,
    Statement, Terms, Tree, VaultId, VaultPath, bundle_path,
};
use object_store::ObjectStore;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) const GRANT: &str = "the grant";

/// The longest bundle of letters.
pub(crate) const MAX_BUNDLE: usize = 64 << 20;

/// So many letters are read at once: each may be long, and is nobody's until it is opened.
const LETTERS_AT_ONCE: usize = 8;

/// What somebody needs to accept a grant, beside the store and their identity. It
/// holds no key, but pins the vault and the grantor: hand it over on a way that the
/// provider does not control.
///
/// As a text it stands behind an address: `URL#vault/letter/fingerprint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    vault: VaultId,
    letter: LetterName,
    grantor: Fingerprint,
}

impl Invitation {
    /// Where the grant's letter lies.
    pub fn letter(&self) -> LetterName {
        self.letter
    }

    /// The vault that it leads into.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// Whose grant it has to be.
    pub fn grantor(&self) -> Fingerprint {
        self.grantor
    }

    /// Splits what [`at`](Self::at) has put together.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn parse_at(text: &str) -> Result<(Address, Self)> {
        let (url, invitation) = text.split_once('#').ok_or_else(wrong_invitation)?;
        let invitation: Self = invitation.parse()?;
        let address: Address = url.parse()?;
        Ok((address.with_id(invitation.vault), invitation))
    }

    /// The invitation to a vault at this address, as one text.
    pub fn at(&self, address: &Address) -> String {
        format!("{}#{self}", address.url())
    }

    /// Splits what [`Granted::file`] has put together.
    ///
    /// # Errors
    /// `InvalidInput` where the address of the file is none.
    pub fn of_file(file: &GrantFile) -> Result<(Address, Self)> {
        let address: Address = file.address().parse()?;
        if address.id().is_some() || address.url().as_str() != file.address() {
            return Err(Error::invalid(
                "the address in the grant is not written as an address is; ask for the grant anew",
            ));
        }
        let invitation = Self {
            vault: file.vault(),
            letter: file.name(),
            grantor: file.grantor(),
        };
        Ok((address.with_id(invitation.vault), invitation))
    }

    pub(crate) fn made(vault: VaultId, letter: LetterName, grantor: Fingerprint) -> Self {
        Self {
            vault,
            letter,
            grantor,
        }
    }

    /// With the letter that lies at its name.
    pub(crate) fn file(&self, address: &Address, letter: &[u8]) -> Result<GrantFile> {
        let (vault, name, grantor) = (self.vault, self.letter, self.grantor);
        GrantFile::new(address.url().as_str(), vault, name, grantor, letter)
            .map_err(|error| Error::core(error, GRANT))
    }

    fn accepted(&self, name: &str) -> Accepted {
        Accepted {
            name: name.to_owned(),
            letter: self.letter,
            grantor: self.grantor,
            record: Vec::new(),
            place: None,
        }
    }
}

fn wrong_invitation() -> Error {
    Error::invalid(
        "an invitation is an address with #, the vault, the grant and the fingerprint of the grantor behind it; copy it whole",
    )
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.vault, self.letter)?;
        for byte in self.grantor.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Invitation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('/');
        let (Some(vault), Some(letter), Some(grantor), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong_invitation());
        };
        // The digits of a fingerprint are those of any id of its length.
        let grantor: GrantId = grantor.parse().map_err(|_| wrong_invitation())?;
        Ok(Self {
            vault: vault.parse().map_err(|_| wrong_invitation())?,
            letter: letter.parse().map_err(|_| wrong_invitation())?,
            grantor: Fingerprint::from_bytes(*grantor.as_bytes()),
        })
    }
}

/// A grant that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// Names the grant, to take it back.
    pub id: GrantId,
    /// What its grantee needs.
    pub invitation: Invitation,
    /// The grant's first letter, as it lies in the store; see [`file`](Self::file).
    pub letter: Bytes,
    /// The prefixes below the vault's that the grantee's own credentials for the
    /// store have to reach: to read, and, with the right to write, to write.
    pub prefixes: Prefixes,
}

impl Granted {
    /// The grant as a file: its invitation to a vault at this address, and its letter.
    /// It holds no key that others than the grantee could use, but pins the vault and
    /// the grantor as an invitation does. Written by [`GrantFile::to_armor`] and opened
    /// by [`VaultOptions::open_file`].
    ///
    /// # Errors
    /// `InvalidInput` for an address of more than 4,096 bytes.
    pub fn file(&self, address: &Address) -> Result<GrantFile> {
        self.invitation.file(address, &self.letter)
    }
}

/// What somebody's credentials for the store have to reach, below the vault's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefixes {
    /// To be read: objects and everything under these folders.
    pub read: Vec<String>,
    /// To be listed.
    pub list: Vec<String>,
    /// To be written and deleted.
    pub write: Vec<String>,
    /// Those of them that are one object or record, and no folder.
    pub single: Vec<String>,
}

impl Prefixes {
    /// Those of the records that everybody needs.
    fn of_records() -> Self {
        let owned = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect();
        Self {
            read: owned(&["kluis.vault", "k/header", "k/h", "k/l", "k/g"]),
            list: owned(&["k/h", "k/l"]),
            write: Vec::new(),
            single: owned(&["kluis.vault", "k/header"]),
        }
    }

    /// With what lies there.
    fn add(&mut self, objects: String, is_folder: bool, write: bool) {
        if is_folder {
            self.list.push(objects.clone());
        } else {
            self.single.push(objects.clone());
        }
        if write {
            self.write.push(objects.clone());
        }
        self.read.push(objects);
    }

    /// For what lies there alone.
    pub(crate) fn of(objects: String, is_folder: bool, write: bool) -> Self {
        let mut prefixes = Self::of_records();
        prefixes.add(objects, is_folder, write);
        prefixes
    }
}

/// What was shared: how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A folder, or the whole vault, and what is in it later.
    Folder,
    /// One object, and what is written in its place later.
    Object,
    /// One write of an object, and no other.
    Version,
    /// A place in a group, and with it what the group is given.
    Group,
}

impl Kind {
    pub(crate) fn of(scope: &Scope) -> Self {
        match scope {
            Scope::Folder(_) => Self::Folder,
            Scope::Object(_) => Self::Object,
            Scope::Version(..) => Self::Version,
            Scope::Group(..) => Self::Group,
        }
    }
}

/// A grant in force, as the owner's ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Names the grant.
    pub id: GrantId,
    /// The name of who has it, as it was then.
    pub to: String,
    /// The group that it was given to. In a statement of access, and where it remains to a
    /// member whose other grants were taken back, `to` is that member; otherwise it is
    /// the group itself.
    pub group: Option<String>,
    /// Whose card it was sealed to.
    pub fingerprint: Fingerprint,
    /// Where it is; none for the whole vault. A place in a group is nowhere: it never is
    /// one of these, but a [`GroupMember`].
    pub path: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// How it was sealed.
    pub suite: IdentitySuite,
    /// What was given.
    pub terms: Terms,
    /// When it was given, by the owner's clock.
    pub given: SystemTime,
    /// The ledger sequence that filed it.
    pub filed: u64,
    /// The grant whose holder gave this one on; none for what the owner gave.
    pub parent: Option<GrantId>,
}

impl Grant {
    pub(crate) fn of(record: &GrantRecord) -> Self {
        Self {
            id: record.id(),
            to: record.to().to_owned(),
            group: None,
            fingerprint: record.card().fingerprint(),
            path: record.scope().path().map(|path| path.as_str().to_owned()),
            kind: Kind::of(record.scope()),
            suite: record.card().suite(),
            terms: record.terms().clone(),
            given: from_micros(record.time()),
            filed: record.filed(),
            parent: record.parent(),
        }
    }

    /// As the owner gave it, to somebody or to a group.
    fn given(ledger: &Ledger, record: &GrantRecord) -> Self {
        Self {
            group: ledger.grantee(record).map(|group| group.name().to_owned()),
            ..Self::of(record)
        }
    }

    /// A grant to a group, as one of its members has it.
    fn of_member(record: &GrantRecord, group: &str, member: &GrantRecord) -> Self {
        let later = |a: u64, b: u64| a.max(b);
        Self {
            to: member.to().to_owned(),
            group: Some(group.to_owned()),
            fingerprint: member.card().fingerprint(),
            suite: member.card().suite(),
            given: from_micros(later(record.time(), member.time())),
            filed: later(record.filed(), member.filed()),
            ..Self::of(record)
        }
    }
}

/// A group, as the owner's ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// What it is called.
    pub name: String,
    /// When it was made, by the owner's clock.
    pub created: SystemTime,
    /// In the order in which they came.
    pub members: Vec<GroupMember>,
}

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Names the membership, which is a grant: to take it back.
    pub id: GrantId,
    /// The member's name, as it was then.
    pub name: String,
    /// The member's card.
    pub fingerprint: Fingerprint,
    /// How what the members hold was sealed to him.
    pub suite: IdentitySuite,
    /// Since when, by the owner's clock.
    pub since: SystemTime,
}

/// Who could read or write something, as far as a ledger sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessStatement {
    /// The last ledger sequence that it takes into account.
    pub ledger: u64,
    /// In the order in which access was given.
    pub access: Vec<AccessPeriod>,
    /// Links, in the order in which they were made: whoever had the URL could read.
    pub links: Vec<LinkPeriod>,
}

impl AccessStatement {
    /// Whose keys were good at some time between these two, whatever dates were agreed: of
    /// people; links are in [`links_between`](Self::links_between).
    pub fn between(
        &self,
        from: SystemTime,
        until: SystemTime,
    ) -> impl Iterator<Item = &AccessPeriod> {
        let access = self.access.iter();
        access.filter(move |period| meet(period.held(), (from, until)))
    }

    /// The links whose keys were good at some time between these two.
    pub fn links_between(
        &self,
        from: SystemTime,
        until: SystemTime,
    ) -> impl Iterator<Item = &LinkPeriod> {
        let links = self.links.iter();
        links.filter(move |period| meet(period.held(), (from, until)))
    }
}

fn meet(
    (begin, end): (SystemTime, Option<SystemTime>),
    (from, until): (SystemTime, SystemTime),
) -> bool {
    begin <= until && end.is_none_or(|end| end >= from)
}

/// A link, and when it was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkPeriod {
    /// What was given.
    pub link: LinkInfo,
    /// When it was withdrawn, by the clock of who did.
    pub ended: Option<SystemTime>,
    /// The ledger sequence that withdrew it.
    pub ended_by: Option<u64>,
}

impl LinkPeriod {
    /// From when to when its keys were good.
    fn held(&self) -> (SystemTime, Option<SystemTime>) {
        (self.link.made, self.ended)
    }

    /// From when to when it was to give access.
    pub fn span(&self) -> (SystemTime, Option<SystemTime>) {
        let until = self.link.terms.not_after.map(from_micros);
        (self.link.made, self.ended.into_iter().chain(until).min())
    }
}

/// A grant, and when it was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessPeriod {
    /// What was given to whom.
    pub grant: Grant,
    /// When it was taken back, by the clock of who did.
    pub ended: Option<SystemTime>,
    /// The ledger sequence that took it back.
    pub ended_by: Option<u64>,
}

impl AccessPeriod {
    /// From when to when its keys were good: from the grant to the entry that takes it
    /// back, whatever the terms say.
    fn held(&self) -> (SystemTime, Option<SystemTime>) {
        (self.grant.given, self.ended)
    }

    /// From when to when there was to be access: the terms may begin later than the grant
    /// and end earlier than the entry that takes it back.
    pub fn span(&self) -> (SystemTime, Option<SystemTime>) {
        let terms = &self.grant.terms;
        let begin = terms.not_before.map(from_micros);
        let begin = begin.map_or(self.grant.given, |begin| begin.max(self.grant.given));
        let ends = self
            .ended
            .into_iter()
            .chain(terms.not_after.map(from_micros));
        (begin, ends.min())
    }
}

/// A grant in the hands of its grantee.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The folder or object that it is in the vault as it is open here; for a membership
    /// in a group, what the group is called here.
    pub name: String,
    /// What its owner calls it: the last name of its path. Empty for the whole vault.
    pub own_name: String,
    /// What it is.
    pub kind: Kind,
    /// The group by which it comes, as it is called here.
    pub group: Option<String>,
    /// Names the grant, for its owner too.
    pub id: GrantId,
    /// Where its first letter lies, as its invitation has it.
    pub letter: LetterName,
    /// Who gave it.
    pub grantor: Fingerprint,
    /// What was given.
    pub terms: Terms,
    /// Whether it was taken back.
    pub ended: bool,
    /// The grants above it, from the owner's down, where somebody gave it on.
    pub chain: Vec<Giver>,
    /// Whether it was given on and waits for the owner to file it: it is for reading
    /// until then, rests on the word of who gave it on, and ends with the epoch in which
    /// it was given on.
    pub unfiled: bool,
}

/// A grant above one that was given on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Giver {
    /// Who gave it: of the first the owner of the vault.
    pub grantor: Fingerprint,
    /// Names the grant.
    pub id: GrantId,
    /// The own name of what was given; empty for the whole vault.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What was given.
    pub terms: Terms,
}

impl Giver {
    fn of((card, statement): (&Card, &Statement)) -> Self {
        Self {
            grantor: card.fingerprint(),
            id: statement.id(),
            name: statement.scope().name().to_owned(),
            kind: Kind::of(statement.scope()),
            terms: statement.terms().clone(),
        }
    }
}

impl Received {
    fn of(accepted: &Accepted, share: &Share, ended: bool) -> Self {
        Self {
            name: accepted.name.clone(),
            own_name: share.name().to_owned(),
            kind: Kind::of(share.scope()),
            group: None,
            id: share.id(),
            letter: accepted.letter,
            grantor: accepted.grantor,
            terms: share.terms().clone(),
            ended,
            chain: share.chain().map(Giver::of).collect(),
            unfiled: share.is_unfiled(),
        }
    }
}

/// How long writers go on without a newer entry of the ledger: see
/// [`Vault::set_lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The folder, or one object that was shared; none for the whole vault.
    pub path: Option<String>,
    /// How long.
    pub length: Duration,
    /// Until when they go on by the entry that is the newest here.
    pub ends: SystemTime,
}

/// What taking access back came to, beside the [receipt](Vault::receipt).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoked {
    /// The ledger with it: whoever opens the vault with this pin knows that it was
    /// taken back, also if they keep no device state.
    pub pin: LedgerPin,
    /// What was taken back: the grants that were named, and those below them.
    pub taken: Vec<Grant>,
    /// What the same people still have access to, by other grants.
    pub remaining: Vec<Grant>,
}

impl Vault {
    /// The card by which the vault's owner gives access: whom others expect.
    ///
    /// # Errors
    /// `AccessDenied` to others than the owner.
    pub fn card(&self) -> Result<Card> {
        Ok(self.control()?.owner()?.secrets.identity().card().clone())
    }

    /// The address book, in the order of names.
    ///
    /// # Errors
    /// As [`card`](Self::card).
    pub fn contacts(&self) -> Result<Vec<Contact>> {
        Ok(self
            .control()?
            .owner()?
            .ledger
            .contacts()
            .cloned()
            .collect())
    }

    /// One of the address book.
    ///
    /// # Errors
    /// `NotFound`; otherwise as [`card`](Self::card).
    pub fn contact(&self, name: &str) -> Result<Contact> {
        let control = self.control()?;
        let found = control.owner()?.ledger.contact(name).cloned();
        found.ok_or_else(|| Error::NotFound {
            path: format!("contact {name}"),
        })
    }

    /// Puts a contact into the address book, in place of one of the same name.
    ///
    /// # Errors
    /// `Conflict`; those of the store.
    pub async fn save_contact(&self, contact: Contact) -> Result<()> {
        self.decide(Decision::Contact(contact)).await.map(drop)
    }

    /// Forgets a contact. What was given to it stays given.
    ///
    /// # Errors
    /// `NotFound`; otherwise as [`save_contact`](Self::save_contact).
    pub async fn forget_contact(&self, name: &str) -> Result<()> {
        self.decide(Decision::Forget(name.to_owned()))
            .await
            .map(drop)
    }

    /// Gives somebody access to a folder, now and for what is written to it later. No
    /// object is read or written: the folder gets keys of its own for what comes, and
    /// can be revoked by itself from then on.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is none, and for a card of X25519 alone that is
    /// not [allowed](Recipient::allow_classical); `Conflict`, those of the store.
    ///
    /// # Security
    /// Everything that the store kept of the folder's past is readable too, unless
    /// the terms hold it back. Whoever may read knows the keys that writing takes: that a
    /// reader does not write rests on the store's credentials, and in a signed vault on
    /// signatures.
    ///
    /// A card is nobody to share with until it was verified, or trusted in so many words:
    ///
    /// ```
    /// # use kluis::{Contact, Result, Terms, Vault};
    /// # let _ = async |vault: Vault, bob: Contact| -> Result<()> {
    /// vault.share("photos", &bob.recipient()?, Terms::reading()).await?;
    /// # Ok(())
    /// # };
    /// ```
    /// ```compile_fail,E0308
    /// # use kluis::{Contact, Result, Terms, Vault};
    /// # let _ = async |vault: Vault, bob: Contact| -> Result<()> {
    /// vault.share("photos", &bob, Terms::reading()).await?;
    /// # Ok(())
    /// # };
    /// ```
    /// ```compile_fail,E0308
    /// # use kluis::{Contact, Result, Terms, Vault};
    /// # let _ = async |vault: Vault, bob: Contact| -> Result<()> {
    /// vault.share("photos", bob.card(), Terms::reading()).await?;
    /// # Ok(())
    /// # };
    /// ```
    pub async fn share(
        &self,
        folder: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<Granted> {
        let scope = Scope::Folder(Some(path(folder)?));
        self.share_with(scope, recipient, terms).await
    }

    /// Gives somebody access to one object: to what it is and to what is written in its
    /// place later, and with the right to write, to writing it. No object is read or
    /// written, and the object stays where it is, under the keys of its folder;
    /// taking the access back closes the epoch of what it lies in.
    ///
    /// # Errors
    /// As [`share`](Self::share).
    ///
    /// # Security
    /// As [`share`](Self::share). The access is to this place in the vault: an object
    /// that is moved is another one. What is written under the keys of this object
    /// alone, all who have its folder read.
    pub async fn share_object(
        &self,
        object: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<Granted> {
        let scope = Scope::Object(path(object)?);
        self.share_with(scope, recipient, terms).await
    }

    /// Gives somebody one object as it is now: this write of it and no other. Once it is
    /// overwritten, what was shared is not found any more.
    ///
    /// # Errors
    /// `InvalidInput` for terms that let write or hold back the past; otherwise those of
    /// [`head`](Self::head) and [`share`](Self::share).
    ///
    /// # Security
    /// It cannot be taken back with a new epoch: whoever has the key of this write reads
    /// it until the object was written again, and in every copy of it that the store
    /// kept. The key opens nothing else. The signed statement names the commitment of the
    /// write, so that one stored object cannot be two contents to two people.
    pub async fn share_version(
        &self,
        object: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<Granted> {
        recipient
            .check_suite()
            .map_err(|error| Error::core(error, "the recipient"))?;
        let decision = Decision::ShareVersion {
            path: path(object)?,
            header: self.header_of(object).await?,
            recipient: recipient.clone(),
            terms,
        };
        self.give(decision).await
    }

    /// Gives somebody access to everything in the vault; not to its key slots, its
    /// address book, or the right to decide.
    ///
    /// # Errors
    /// As [`share`](Self::share).
    pub async fn share_whole(&self, recipient: &Recipient, terms: Terms) -> Result<Granted> {
        self.share_with(Scope::Folder(None), recipient, terms).await
    }

    /// Makes a group: one grant to it serves all who are in it. `share` with its
    /// [`group`](Self::group) gives it access.
    ///
    /// # Errors
    /// `InvalidInput` for a name that a contact or another group has, or that is none;
    /// otherwise as [`save_contact`](Self::save_contact).
    pub async fn new_group(&self, name: &str) -> Result<()> {
        let decision = Decision::NewGroup {
            name: name.to_owned(),
            suite: IdentitySuite::default(),
        };
        self.decide(decision).await.map(drop)
    }

    /// The groups, in the order of their names.
    ///
    /// # Errors
    /// As [`card`](Self::card).
    pub fn groups(&self) -> Result<Vec<GroupInfo>> {
        let control = self.control()?;
        let groups = control.owner()?.ledger.groups();
        Ok(groups.into_iter().map(group_info).collect())
    }

    /// A group as somebody that can be shared with. It is the owner's own, so that nobody
    /// has to verify it.
    ///
    /// # Errors
    /// `NotFound`; otherwise as [`card`](Self::card).
    pub fn group(&self, name: &str) -> Result<Recipient> {
        let control = self.control()?;
        let group = control.owner()?.ledger.group(name);
        let group = group.ok_or_else(|| no_group(name))?;
        group
            .recipient()
            .map_err(|error| Error::core(error, LEDGER))
    }

    /// Takes somebody into a group: from now on they read, and write, whatever the group
    /// does, with its past. They accept the invitation first, and then those of what the
    /// group was given, which are the same for all its members.
    ///
    /// # Security
    /// With it come the group's keys of before: they open what it was given earlier, also
    /// what was taken back from it since, as far as it was written by then.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for who is in it already, or is a group; otherwise as
    /// [`save_contact`](Self::save_contact).
    pub async fn add_to_group(&self, group: &str, recipient: &Recipient) -> Result<Granted> {
        let decision = Decision::Join {
            group: group.to_owned(),
            recipient: recipient.clone(),
        };
        self.give(decision).await
    }

    /// Takes somebody, by the name that he has in it, out of a group: in one entry the
    /// group gets new keys, and so does every folder that it reads, and all who remain
    /// are told. Nothing that is written from then on, by whoever knows of it, is readable
    /// with what he had. To take back another grant of his with it, give
    /// [`revoke`](Self::revoke) the ids of both.
    ///
    /// What this is not: what was written before stays readable to him until it is
    /// written again.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` where he keeps access to a folder of the group by
    /// another road; otherwise as [`revoke`](Self::revoke).
    pub async fn remove_from_group(&self, group: &str, member: &str) -> Result<Revoked> {
        let id = {
            let control = self.refresh().await?;
            let known = control.owner()?.ledger.group(group);
            let known = known.ok_or_else(|| no_group(group))?;
            let mut members = known.members().filter(|m| m.to() == member);
            match (members.next(), members.next()) {
                (Some(one), None) => one.id(),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(
                        "several members have this name; take one back by the id of the membership",
                    ));
                }
                (None, _) => {
                    return Err(Error::NotFound {
                        path: format!("member {member} of group {group}"),
                    });
                }
            }
        };
        self.revoke(&[id]).await
    }

    async fn share_with(
        &self,
        scope: Scope,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<Granted> {
        // Before any request.
        recipient
            .check_suite()
            .map_err(|error| Error::core(error, "the recipient"))?;
        let decision = Decision::Share {
            scope,
            recipient: recipient.clone(),
            terms,
        };
        self.give(decision).await
    }

    /// Decides to give access.
    async fn give(&self, decision: Decision) -> Result<Granted> {
        let (control, granted) = self.decide(decision).await?;
        let owner = control.owner()?;
        let Made { id, name, letter } = granted.ok_or_else(|| Error::tampered(LEDGER))?;
        let invitation = Invitation {
            vault: self.id(),
            letter: name,
            grantor: owner.secrets.identity().card().fingerprint(),
        };
        let record = owner.ledger.grant(&id);
        let record = record.ok_or_else(|| Error::tampered(LEDGER))?;
        Ok(Granted {
            id,
            invitation,
            letter,
            prefixes: prefixes(&owner.ledger, record)?,
        })
    }

    /// Bounds how long a store can keep writers in the past: from now on whoever writes to
    /// a shared folder, or to anything in the vault, stops where the newest entry of the
    /// ledger is older than this by their clock, and goes on when the owner's client, which
    /// adds an entry at half of the time when it writes or is opened, has renewed it. `None`
    /// ends that.
    ///
    /// # Errors
    /// `InvalidInput` for a folder that was never shared and for less than a minute;
    /// otherwise as [`share`](Self::share).
    pub async fn set_lease(&self, folder: Option<&str>, lease: Option<Duration>) -> Result<()> {
        let folder = folder.map(path).transpose()?;
        let seconds = lease.map(|lease| u32::try_from(lease.as_secs()).unwrap_or(u32::MAX));
        self.decide(Decision::Lease { folder, seconds })
            .await
            .map(drop)
    }

    /// The leases that writers keep to: the owner sees all of them, others those of what was
    /// shared with them.
    ///
    /// # Errors
    /// `AccessDenied` if the vault is locked.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let control = self.control()?;
        let written = from_micros(control.written());
        let of = |top: Option<&str>, tree: &Tree| -> Vec<Lease> {
            let leases = tree.leases().map(|(mount, seconds)| {
                let length = Duration::from_secs(seconds.into());
                let mount = mount.map(VaultPath::as_str);
                let path: Vec<_> = top.into_iter().chain(mount).collect();
                Lease {
                    path: Some(path.join("/")).filter(|path| !path.is_empty()),
                    length,
                    ends: written.checked_add(length).unwrap_or(written),
                }
            });
            leases.collect()
        };
        Ok(match &control.access {
            Access::Owner(owner) => of(None, owner.ledger.tree()),
            Access::Member(member) => {
                let shares = member.shares.iter();
                shares
                    .flat_map(|(name, share)| of(Some(name), share.tree()))
                    .collect()
            }
            // Nobody writes by a link.
            Access::Link(_) => Vec::new(),
        })
    }

    /// The grants in force, in the order in which they were given.
    ///
    /// # Errors
    /// As [`card`](Self::card).
    pub fn grants(&self) -> Result<Vec<Grant>> {
        let control = self.control()?;
        let ledger = &control.owner()?.ledger;
        let grants = ledger.grants().map(|record| Grant::given(ledger, record));
        let mut grants: Vec<Grant> = grants.collect();
        grants.sort_by_key(|grant| (grant.filed, grant.id));
        Ok(grants)
    }

    /// The grants by which somebody else than the owner has this vault open, and those
    /// of them that were taken back.
    ///
    /// # Errors
    /// `AccessDenied` if the vault is locked.
    pub fn received(&self) -> Result<Vec<Received>> {
        let control = self.control()?;
        let Access::Member(member) = &control.access else {
            return Ok(Vec::new());
        };
        let received = |accepted: &Accepted| {
            let share = member.share(&accepted.name)?;
            let mut groups = member.groups.iter();
            let group = groups.find(|(_, membership)| share.is_through(membership));
            Some(Received {
                group: group.map(|(name, _)| name.clone()),
                ..Received::of(accepted, share, false)
            })
        };
        let mut all: Vec<_> = member.accepted.iter().filter_map(received).collect();
        all.extend(member.ended.iter().cloned());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Who else than the owner could read or write a path or something below it, or
    /// anything in the vault, from when to when, by which grant or link and for what; a grant to a group once for each
    /// of its members, as long as he was in it: everything that the ledger
    /// holds, up to the sequence that is given along. Reads the whole ledger, and
    /// nothing else.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is none; otherwise those of reading the ledger.
    ///
    /// # Security
    /// Whose access has ended may still read what he could then: see
    /// [`receipt`](Self::receipt). Who came into a group after a grant to it had ended is
    /// not named for it, and holds keys of the group that open its letter: with the
    /// bytes, he reads what was written while that grant was in force.
    pub async fn access(&self, to: Option<&str>) -> Result<AccessStatement> {
        let to = to.map(path).transpose()?;
        let control = self.refresh().await?;
        let (store, header) = (self.backend(), control.header()?);
        let names = ChainNames::list(store, Chain::Ledger).await?;
        let fetched = FetchedLedger::load(store, header, &names).await?;
        let chain = fetched.whole(store, header, &names).await?;
        let history = Ledger::history(&chain, &control.owner()?.secrets)
            .map_err(|error| Error::core(error, LEDGER))?;
        // What lies in a folder is a part of it.
        let reaches = |scope: &Scope| match (scope, &to) {
            // What it reaches stands there by itself.
            (Scope::Group(..), _) => false,
            (_, None) | (Scope::Folder(None), _) => true,
            (Scope::Folder(Some(folder)), Some(to)) if to.below(Some(folder)).is_some() => true,
            (scope, Some(to)) => scope
                .path()
                .is_some_and(|path| path == to || path.below(Some(to)).is_some()),
        };
        let links = history
            .links
            .iter()
            .filter(|period| reaches(period.link.scope()))
            .map(|period| LinkPeriod {
                link: LinkInfo::of(&period.link),
                ended: period.ended.map(|(_, time)| from_micros(time)),
                ended_by: period.ended.map(|(sequence, _)| sequence),
            });
        let access = history
            .grants
            .iter()
            .filter(|period| reaches(period.grant.scope()))
            .map(|period| AccessPeriod {
                grant: match &period.through {
                    Some((group, member)) => Grant::of_member(&period.grant, group, member),
                    None => Grant::of(&period.grant),
                },
                ended: period.ended.map(|(_, time)| from_micros(time)),
                ended_by: period.ended.map(|(sequence, _)| sequence),
            });
        Ok(AccessStatement {
            ledger: fetched.head().sequence,
            access: access.collect(),
            links: links.collect(),
        })
    }

    /// Whether these grants, and memberships in groups, can be [taken back](Self::revoke)
    /// without others. Who has a [link](Self::links) is not known, and is no reason.
    ///
    /// # Errors
    /// `InvalidInput` where the same people keep access by another grant, or by a group, which
    /// it names; otherwise as [`card`](Self::card).
    pub fn check_revoke(&self, grants: &[GrantId]) -> Result<()> {
        let control = self.control()?;
        let checked = control.owner()?.ledger.check_revoke(grants);
        checked.map_err(|error| Error::core(error, LEDGER))
    }

    /// Takes grants back, and memberships in groups: all in one entry, which opens new
    /// epochs for the folders that they reached, gives the new keys to all who remain, and is either made
    /// or not. Nothing that is written from then on, by whoever knows of it, is
    /// readable with what was taken back.
    ///
    /// What this is not: what was written before stays readable to whoever has the
    /// keys and gets at the bytes, until it is written again. A grant of one version
    /// closes nothing: its holder's client is told, and its key is worth nothing once
    /// the object is written again.
    ///
    /// Whoever hangs below a grant by having been given on from it falls with it, in the
    /// same entry: see [`below`](Self::below).
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` where the same person keeps access by another grant
    /// on the same or on a folder around it, or by a group, which it names; `Conflict`; those
    /// of the store.
    pub async fn revoke(&self, grants: &[GrantId]) -> Result<Revoked> {
        let held = |control: &Control| {
            let ledger = &control.owner()?.ledger;
            let members = ledger.groups().into_iter().flat_map(Group::members);
            let held = ledger.grants().chain(members);
            let held = held.map(|grant| (grant.id(), Grant::given(ledger, grant)));
            Ok::<_, Error>(held.collect::<BTreeMap<_, _>>())
        };
        let mut known = self.control()?;
        let mut before = held(&known)?;
        if !grants.iter().all(|id| before.contains_key(id)) {
            known = self.refresh().await?;
            before = held(&known)?;
        }
        let (control, _) = self.decide(Decision::Revoke(grants.to_vec())).await?;
        let head = known.head().sequence;
        if control.head().sequence > head + 1 {
            // Another device decided meanwhile: whom it filed below these falls too.
            for period in self.access(None).await?.access {
                let is_new = period.ended_by.is_some_and(|by| by > head);
                if is_new && period.grant.parent.is_some() {
                    before.entry(period.grant.id).or_insert(period.grant);
                }
            }
        }
        let named = |grant: &Grant| {
            let mut chain = std::iter::successors(Some(grant), |g| before.get(&g.parent?));
            chain.any(|above| grants.contains(&above.id))
        };
        let mut taken: Vec<Grant> = before.values().filter(|g| named(g)).cloned().collect();
        let ledger = &control.owner()?.ledger;
        // The card of a group changes with its members, its name does not.
        let had = |group: Option<&str>, card: &Card| {
            taken.iter().any(|gone| match group {
                Some(_) => gone.group.as_deref() == group,
                None => gone.group.is_none() && gone.fingerprint == card.fingerprint(),
            })
        };
        let of_theirs = |record: &GrantRecord| match ledger.grantee(record) {
            Some(group) if !had(Some(group.name()), record.card()) => group
                .members()
                .filter(|member| had(None, member.card()))
                .map(|member| Grant::of_member(record, group.name(), member))
                .collect(),
            None if !had(None, record.card()) => Vec::new(),
            _ => vec![Grant::given(ledger, record)],
        };
        let mut remaining: Vec<Grant> = ledger.grants().flat_map(of_theirs).collect();
        remaining.sort_by_key(|grant| (grant.filed, grant.id));
        taken.sort_by_key(|grant| (grant.filed, grant.id));
        Ok(Revoked {
            pin: self.pin_of(&control),
            taken,
            remaining,
        })
    }

    /// Appends an entry with a decision.
    pub(crate) async fn decide(&self, decision: Decision) -> Result<(Arc<Control>, Option<Made>)> {
        let _one = self.changing().await;
        let control = self.refresh().await?;
        let owner = control.owner()?;
        let (store, header) = (self.backend(), control.header()?.clone());
        let secrets = owner.reopened()?;
        let ledger = control::read_ledger(store, &header, &secrets).await?;
        let doubt = self.in_doubt();
        let (ledger, granted) =
            control::decide(store, &header, &secrets, ledger, &decision).await?;
        // Whoever makes a link seals it himself.
        if !matches!(decision, Decision::Link { .. }) {
            control::finish_links_if_possible(store, &header, &secrets, &ledger).await;
        }
        let control = Control::of_owner(header, secrets, ledger, owner.slot);
        let control = self.replace(control).await?;
        doubt.end();
        Ok((control, granted))
    }

    /// Opens the folders that a grant gives, of a vault of somebody else.
    ///
    /// # Errors
    /// See [`VaultOptions::open_as`].
    pub async fn open_as(
        store: Arc<dyn ObjectStore>,
        identity: &Arc<Identity>,
        invitation: &Invitation,
    ) -> Result<Self> {
        VaultOptions::new()
            .open_as(store, identity, invitation)
            .await
    }

    /// Keeps a grant on this device, so that the vault opens with the identity alone
    /// from now on, and the folder has this name here; without one its own.
    ///
    /// # Errors
    /// `AlreadyExists` where a folder of another grant has the name, unless that one was
    /// taken back or has ended; `InvalidInput` for what is no name of a folder, or
    /// without device state.
    pub async fn accept(&self, invitation: &Invitation, name: Option<&str>) -> Result<()> {
        let (accepted, instead) = self.accepting(invitation, name).await?;
        let device = self.device().ok_or_else(no_state)?;
        device
            .accept(accepted, name.map(str::to_owned), instead)
            .await
    }

    /// Whether [`accept`](Self::accept) would keep the grant under this name: before
    /// anybody is asked. Gives what was accepted under it, is not in force any more, and
    /// would be forgotten for it.
    ///
    /// # Errors
    /// As `accept`.
    pub async fn check_accept(
        &self,
        invitation: &Invitation,
        name: Option<&str>,
    ) -> Result<Option<GrantId>> {
        let (_, instead) = self.accepting(invitation, name).await?;
        Ok(instead.map(|instead| instead.id))
    }

    async fn accepting(
        &self,
        invitation: &Invitation,
        name: Option<&str>,
    ) -> Result<(Accepted, Option<Instead>)> {
        let control = self.control()?;
        let Access::Member(member) = &control.access else {
            return Err(Error::invalid(
                "the vault is your own; there is nothing to accept",
            ));
        };
        let of_it = |accepted: &&Accepted| accepted.letter == invitation.letter;
        let here = member.accepted.iter().find(of_it);
        let share = here.and_then(|here| member.share(&here.name));
        let share = share.ok_or_else(wrong_invitation)?;
        let own = own_name(share);
        if path(name.unwrap_or(&own))?.segments().count() != 1 {
            return Err(Error::invalid("the name of what was shared has no `/`"));
        }
        let known = self.device().ok_or_else(no_state)?.load().await?;
        let kept = || known.iter().flat_map(|pins| &pins.accepted);
        let wanted = name.or_else(|| Some(&*kept().find(of_it)?.name));
        let wanted = wanted.unwrap_or(&own);
        let other = kept().find(|other| other.name == wanted && !of_it(other));
        let instead = match other.map(|other| member.over(other, invitation.letter)) {
            Some(None) => {
                return Err(Error::AlreadyExists {
                    path: wanted.to_owned(),
                });
            }
            other => other.flatten(),
        };
        let accepted = Accepted {
            name: own,
            ..here.cloned().ok_or_else(wrong_invitation)?
        };
        Ok((accepted, instead))
    }
}

/// What was accepted and is not in force any more, and gives up its name.
pub(crate) struct Instead {
    pub(crate) id: GrantId,
    pub(crate) letter: LetterName,
    /// What came by it, as a place in a group, and comes by the new one now.
    pub(crate) comes_anew: Vec<LetterName>,
}

impl Member {
    /// What was accepted so, if it is not in force any more, where this letter is
    /// accepted in its place.
    fn over(&self, accepted: &Accepted, by: LetterName) -> Option<Instead> {
        let ended = self.ended.iter().find(|r| r.letter == accepted.letter);
        let id = ended.map(|ended| ended.id).or_else(|| {
            let of_it = |known: &&Accepted| known.letter == accepted.letter;
            let share = self.share(&self.accepted.iter().find(of_it)?.name)?;
            let until = share.terms().not_after?;
            (until < now()).then(|| share.id())
        })?;
        let anew = self.accepted.iter().filter(|a| a.place == Some(by));
        Some(Instead {
            id,
            letter: accepted.letter,
            comes_anew: anew.map(|a| a.letter).collect(),
        })
    }
}

fn no_state() -> Error {
    Error::invalid("this device keeps no state to accept a grant in")
}

/// What a grantee's credentials have to reach; those of a member, what his group does.
fn prefixes(ledger: &Ledger, grant: &GrantRecord) -> Result<Prefixes> {
    let mut prefixes = Prefixes::of_records();
    let tree = ledger.tree();
    for grant in ledger.reach_of(grant) {
        let objects = match grant.scope().path() {
            None => tree.top().to_owned(),
            Some(path) => {
                let stored = tree.store_path(path);
                stored
                    .map_err(|error| Error::core(error, path.as_str()))?
                    .path
            }
        };
        let is_folder = Kind::of(grant.scope()) == Kind::Folder;
        prefixes.add(objects, is_folder, grant.terms().write);
    }
    for all in [
        &mut prefixes.read,
        &mut prefixes.list,
        &mut prefixes.write,
        &mut prefixes.single,
    ] {
        let mut known = BTreeSet::new();
        all.retain(|prefix| known.insert(prefix.clone()));
    }
    Ok(prefixes)
}

fn no_group(name: &str) -> Error {
    Error::NotFound {
        path: format!("group {name}"),
    }
}

fn group_info(group: &Group) -> GroupInfo {
    let mut members: Vec<&GrantRecord> = group.members().collect();
    members.sort_by_key(|member| (member.filed(), member.id()));
    let member = |record: &GrantRecord| GroupMember {
        id: record.id(),
        name: record.to().to_owned(),
        fingerprint: record.card().fingerprint(),
        suite: record.card().suite(),
        since: from_micros(record.time()),
    };
    GroupInfo {
        name: group.name().to_owned(),
        created: from_micros(group.created()),
        members: members.into_iter().map(member).collect(),
    }
}

impl VaultOptions {
    /// Opens the folders that a grant gives, beside those that were accepted on this
    /// device. Each lies at the top of the vault, under its own last name.
    ///
    /// # Errors
    /// `UntrustedIdentity` where another vault lies there or another grantor signed;
    /// `Tampered` also for what was given to a group while no place in it was accepted or
    /// is given [along](Self::also); `AccessDenied` where the grant was taken back, never filed, or is not in its
    /// time; `NotFound` where the store does not have it; otherwise as
    /// [`open`](Self::open).
    pub async fn open_as(
        mut self,
        store: Arc<dyn ObjectStore>,
        identity: &Arc<Identity>,
        invitation: &Invitation,
    ) -> Result<Vault> {
        self = self.also(invitation);
        self.open(store, Arc::clone(identity)).await
    }

    /// Opens what this invitation gives as well, for programs that keep no state: the
    /// membership in a group beside what the group was given.
    #[must_use]
    pub fn also(mut self, invitation: &Invitation) -> Self {
        self = self.id(invitation.vault);
        self.accepted.push(invitation.accepted(""));
        self
    }

    /// Forgets a grant that was accepted on this device, under the name that it has here,
    /// and with a place in a group what was accepted by it: their names. Makes no request;
    /// accepted again it is there again.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` without device state.
    pub async fn forget_accepted(&self, name: &str) -> Result<Vec<String>> {
        let device = self
            .device
            .as_ref()
            .ok_or_else(|| Error::invalid("this device keeps no state to forget a grant in"))?;
        device.forget(name).await
    }

    /// As [`open_as`](Self::open_as), with a grant as a file. The letter that lies in the
    /// store is preferred; where it does not have it that of the file is taken, and
    /// [`Vault::accept`] keeps it on the device. Where the vault lies is for the caller
    /// to know, or for [`Invitation::of_file`] to say.
    ///
    /// # Errors
    /// As [`open_as`](Self::open_as); `Tampered` also for a letter that is none.
    pub async fn open_file(
        mut self,
        store: Arc<dyn ObjectStore>,
        identity: &Arc<Identity>,
        file: &GrantFile,
    ) -> Result<Vault> {
        let (_, invitation) = Invitation::of_file(file)?;
        self = self.id(invitation.vault);
        self.accepted.push(Accepted {
            record: file.letter().to_vec(),
            ..invitation.accepted("")
        });
        self.open(store, Arc::clone(identity)).await
    }
}

/// Opens what was shared with an identity.
pub(crate) async fn open(
    store: &Backend,
    found: Found,
    fetched: FetchedLedger,
    seen: &[Position],
    (identity, accepted): (Arc<Identity>, Vec<Accepted>),
) -> Result<Control> {
    if accepted.is_empty() {
        return Err(Error::AccessDenied {
            what: "this vault: the identity is no device of it, and no grant was accepted here"
                .to_owned(),
        });
    }
    let accepted = each_once(accepted);
    let vault = found.header.vault();
    for seen in seen {
        fetched
            .check_descent(store, &found.header, &found.ledger_names, *seen)
            .await?;
    }
    let letters = accepted.into_iter().map(|accepted| letter(store, accepted));
    let core = |error| Error::core(error, GRANT);
    let mut bundles = Bundles::default();
    let mut own = Vec::new();
    let mut to_groups = Vec::new();
    let letters = stream::iter(letters).buffered(LETTERS_AT_ONCE);
    let letters: Vec<_> = letters.try_collect().await?;
    for (accepted, record) in letters {
        match Share::open(&identity, &vault, &accepted.letter, &record) {
            Ok(share) => own.push((trusted(&share, accepted)?, share)),
            // Or sealed to a group that he is in.
            Err(kluis_crypto::Error::Tampered) => to_groups.push((accepted, record)),
            Err(error) => return Err(core(error)),
        }
    }
    let oldest = |all: &[(Accepted, Share)]| all.iter().map(|(_, share)| share.head()).min();
    let since = |known| fetched.since(store, &found.header, &found.ledger_names, known);
    let reached = oldest(&own).ok_or_else(|| Error::tampered(GRANT))?;
    let mut entries = since(reached).await?;

    // Memberships first: with them opens what was given to groups. One that has ended
    // opens what was given before, and so shows that it has ended too.
    let mut known = Vec::new();
    let (memberships, mut own): (Vec<_>, Vec<_>) = own
        .into_iter()
        .partition(|(_, share)| share.is_membership());
    for (accepted, mut share) in memberships {
        let is_over = ends(follow(store, &mut bundles, &identity, &mut share, &entries).await)?;
        known.push((accepted, share, is_over));
    }
    known.sort_by_key(|(_, _, is_over)| *is_over);
    let mut ended = Vec::new();
    for (accepted, record) in to_groups {
        let mut opened = Err(kluis_crypto::Error::Tampered);
        let (mut has_ended, mut place) = (false, None);
        for (by, membership, is_over) in &known {
            if matches!(opened, Err(kluis_crypto::Error::Tampered)) {
                opened = Share::open_in_group(membership, &vault, &accepted.letter, &record);
                (has_ended, place) = (*is_over, Some(by.letter));
            }
        }
        let share = opened.map_err(core)?;
        let accepted = Accepted {
            place,
            ..trusted(&share, accepted)?
        };
        // What comes by a place in a group ends with it, also where no key was changed.
        if has_ended {
            ended.push((accepted, share, true));
        } else {
            own.push((accepted, share));
        }
    }
    if let Some(older) = oldest(&own).filter(|older| *older < reached) {
        entries = since(older).await?;
    }
    for (accepted, mut share) in own {
        let is_over = ends(follow(store, &mut bundles, &identity, &mut share, &entries).await)?;
        known.push((accepted, share, is_over));
    }
    known.append(&mut ended);
    // What was kept has its name already.
    known.sort_by_key(|(accepted, ..)| accepted.name.is_empty());

    let mut member = Member {
        header: found.header,
        identity,
        accepted: Vec::new(),
        shares: BTreeMap::new(),
        groups: BTreeMap::new(),
        ended: Vec::new(),
        head: fetched.head(),
        written: fetched.written(),
    };
    for (accepted, share, is_over) in known {
        let name = match &*accepted.name {
            "" => own_name(&share),
            name => name.to_owned(),
        };
        // Two of one name: the one that was not kept yet waits for another.
        let name = if accepted.name.is_empty() && member.share(&name).is_some() {
            accepted.letter.to_string()
        } else {
            name
        };
        let accepted = Accepted { name, ..accepted };
        if is_over {
            member.ended.push(Received::of(&accepted, &share, true));
            continue;
        }
        if member.share(&accepted.name).is_some() {
            return Err(Error::AlreadyExists {
                path: accepted.name,
            });
        }
        let all = if share.is_membership() {
            &mut member.groups
        } else {
            &mut member.shares
        };
        all.insert(accepted.name.clone(), share);
        member.accepted.push(accepted);
    }
    Ok(Control {
        access: Access::Member(Box::new(member)),
    })
}

/// Whether what was followed has ended: one that was taken back says nothing of others.
fn ends(followed: Result<()>) -> Result<bool> {
    match followed {
        Ok(()) => Ok(false),
        Err(Error::AccessDenied { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The name that a shared folder has unless another is chosen.
fn own_name(share: &Share) -> String {
    match share.name() {
        "" => "vault".to_owned(),
        name => name.to_owned(),
    }
}

/// A grant that was kept and is given again is one, under the name that it has here;
/// what is known of it adds up.
fn each_once(accepted: Vec<Accepted>) -> Vec<Accepted> {
    let mut once: Vec<Accepted> = Vec::new();
    for new in accepted {
        // Said to be of somebody else, it is looked at by itself, and refused.
        let same =
            |known: &&mut Accepted| (known.letter, known.grantor) == (new.letter, new.grantor);
        match once.iter_mut().find(same) {
            Some(known) if known.record.is_empty() => known.record = new.record,
            Some(_) => {}
            None => once.push(new),
        }
    }
    once
}

/// The first letter of a grant. What the store has is not kept here.
async fn letter(store: &Backend, mut accepted: Accepted) -> Result<(Accepted, Vec<u8>)> {
    let path = accepted.letter.path();
    match store.record(&path, Share::MAX_LENGTH).await {
        Ok(Some(record)) => {
            accepted.record.clear();
            Ok((accepted, record.bytes.to_vec()))
        }
        // Some stores call what is absent forbidden.
        Ok(None) | Err(Error::AccessDenied { .. }) if !accepted.record.is_empty() => {
            let record = accepted.record.clone();
            Ok((accepted, record))
        }
        Ok(None) => Err(Error::NotFound {
            path: GRANT.to_owned(),
        }),
        Err(error) => Err(error),
    }
}

/// A grant from who it has to be.
fn trusted(share: &Share, accepted: Accepted) -> Result<Accepted> {
    let found = share.grantor().fingerprint();
    if found == accepted.grantor {
        return Ok(accepted);
    }
    Err(Error::UntrustedIdentity {
        expected: accepted.grantor.to_string(),
        found: found.to_string(),
    })
}

/// The bundles that were fetched in one opening, as many as one may be long: several
/// shares look into the same ones, each in the order of the ledger.
#[derive(Default)]
struct Bundles(Vec<(RecordHash, Bytes)>);

impl Bundles {
    /// As the store has it: the share checks it.
    async fn get(&mut self, store: &Backend, hash: RecordHash) -> Result<Bytes> {
        if let Some((_, bundle)) = self.0.iter().find(|(known, _)| *known == hash) {
            return Ok(bundle.clone());
        }
        let fetched = store.record(&bundle_path(hash), MAX_BUNDLE).await?;
        let bundle = fetched.ok_or_else(|| Error::Missing {
            what: "the letters of a change of keys".to_owned(),
        })?;
        let held = self.0.iter().map(|(_, bundle)| bundle.len());
        if held.sum::<usize>() + bundle.bytes.len() > MAX_BUNDLE {
            self.0.clear();
        }
        self.0.push((hash, bundle.bytes.clone()));
        Ok(bundle.bytes)
    }
}

/// Follows a share to the end of the ledger.
async fn follow(
    store: &Backend,
    bundles: &mut Bundles,
    identity: &Identity,
    share: &mut Share,
    entries: &[Entry],
) -> Result<()> {
    let core = |error| Error::core(error, GRANT);
    let head = share.head();
    for entry in entries {
        if entry.position().sequence <= head.sequence {
            continue;
        }
        share.follow(entry).map_err(core)?;
        let Some(hash) = share.awaited() else {
            continue;
        };
        let bundle = bundles.get(store, hash).await?;
        if !share.renew(identity, &bundle).map_err(core)? {
            return Err(taken_back(share.name()));
        }
    }
    if share.is_closed() {
        return Err(taken_back(share.name()));
    }
    Ok(())
}
