//! How the owner's decisions become an entry: one entry, and with it all that it
//! entails, so that it is made or not made.

use super::action::{Action, Actions, State};
use super::{Audience, Body, Closings, Entry, Ledger, SNAPSHOT_EVERY, holder_label, notice_key};
use super::{PartKey, owner_part, part_place, seal_part};
use crate::VaultPath;
use crate::card::Card;
use crate::cbor::Record;
use crate::chain::{ChainKey, OwnersCopy};
use crate::collection::{Collection, ContentKey};
use crate::contact::{Contact, Recipient};
use crate::credential::random_bytes;
use crate::grant::{self, Bundle, GrantRecord, Keys, LetterName, MailboxSecret, Statement, Terms};
use crate::group::Group;
use crate::header::{Header, Suite, VaultSecrets};
use crate::layout::HEADER_LENGTH;
use crate::link::{LinkTerms, NewLink};
use crate::object::Opener;
use crate::tree::{Past, Scope, Tree};
use crate::{CollectionId, Error, GrantId, IdentitySuite, LinkId, RecordHash, Result, VaultId};
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;

/// What the owner wants.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Decision {
    /// Nothing but what is owed: to name the header, to open the epochs of a new
    /// root key, to decide again what an entry outside the chain has closed, to end
    /// grants whose time is over.
    CatchUp,
    /// A contact is new, or another than before.
    Contact(Contact),
    /// A contact is forgotten; what was given to it stays.
    Forget(String),
    /// Somebody gets access to a folder, to the vault, or to one object.
    Share {
        /// To what; not a version.
        scope: Scope,
        /// Who.
        recipient: Recipient,
        /// What.
        terms: Terms,
    },
    /// Somebody gets to read one write of an object.
    ShareVersion {
        /// The object.
        path: VaultPath,
        /// The header of the write.
        header: Box<[u8; HEADER_LENGTH]>,
        /// Who.
        recipient: Recipient,
        /// What: to read, with the past.
        terms: Terms,
    },
    /// A new group, without members.
    NewGroup {
        /// What it is called.
        name: String,
        /// How things are sealed to it.
        suite: IdentitySuite,
    },
    /// Somebody becomes a member of a group, and reads whatever it reads.
    Join {
        /// The group's name.
        group: String,
        /// Who.
        recipient: Recipient,
    },
    /// Access that somebody gave on becomes a grant of the ledger's, below the one that
    /// allows it.
    File {
        /// What the owner got of it.
        copy: Arc<OwnersCopy>,
        /// The name of who has it.
        to: String,
    },
    /// Access is taken back: new epochs wherever it reached. What is taken back may also be
    /// what makes somebody a member of a group. Whoever it was given on to loses it too.
    Revoke(Vec<GrantId>),
    /// Epochs of these collections below these are refused from now on: nothing is left
    /// under them. See [`Tree::floors_to_raise`].
    RaiseFloors(Vec<(CollectionId, u32)>),
    /// Whoever will have a URL gets access to a folder, to the vault, or to one object.
    /// What lies in the store for the link is written once the entry is claimed.
    Link {
        /// To what: a folder, the vault or an object.
        scope: Scope,
        /// Its secret.
        link: Arc<NewLink>,
        /// What for, and how long.
        terms: LinkTerms,
    },
    /// Links are withdrawn: new epochs wherever they led.
    Withdraw(Vec<LinkId>),
    /// Writers of a shared folder, or of the whole vault, stop where the newest entry is
    /// older than this, or never.
    Lease {
        /// None for the whole vault.
        folder: Option<VaultPath>,
        /// From [`MIN_LEASE`] on.
        seconds: Option<u32>,
    },
}

/// Shortest lease in seconds: the owner's client renews it at half of it.
pub const MIN_LEASE: u32 = 60;

/// An entry, and what has to lie in the store before it is claimed.
#[derive(Debug)]
pub struct Appended {
    /// The entry.
    pub entry: Entry,
    /// Paths below the vault's prefix, and records.
    pub records: Vec<(String, Vec<u8>)>,
    /// The grant that was made, and where its first letter lies.
    pub granted: Option<(GrantId, LetterName)>,
}

/// Longest state in bytes that a decision adds to: each 64th entry holds all of it, and
/// could not be written if it were longer than an entry.
const MAX_STATE: usize = Entry::MAX_LENGTH / 4 * 3;

const NAME_OF_A_GROUP: &str = "a contact or a group has this name; choose another";

/// Paths below the vault's prefix, and what has to lie there.
type Records = Vec<(String, Vec<u8>)>;

/// An entry in the making.
struct Draft<'a> {
    ledger: &'a Ledger,
    secrets: &'a VaultSecrets,
    sequence: u64,
    now: u64,
    /// The state behind the entry.
    state: State,
    actions: Vec<Action>,
    notices: BTreeMap<To, Vec<Action>>,
    records: Records,
    settled: BTreeSet<RecordHash>,
    /// Whose mailboxes the entry changes.
    anew: BTreeSet<GrantId>,
    /// Who is about to get the right to write, and to what.
    invited: Vec<(Scope, [u8; 32])>,
    /// Objects that were shared by themselves and that the entry mounts a folder
    /// around, with the collection and epoch that their holders know.
    moved: BTreeMap<VaultPath, (CollectionId, u32)>,
}

/// Who is told something, by what they hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    /// An epoch of a collection, or a generation of a group.
    Members(CollectionId, u32),
    /// The key of this object.
    Object(CollectionId, u32, VaultPath),
    /// Its grantee alone, by his mailbox.
    Grantee(GrantId),
    /// Everybody below this grant, filed or not.
    Below(GrantId),
}

impl Ledger {
    /// The entry that follows: it decides something, and what is owed as well.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be decided as things are, `NotFound` where the
    /// grant or contact is not there, `Randomness`, `LimitExceeded`.
    pub fn next(
        &self,
        header: &Header,
        secrets: &VaultSecrets,
        now: u64,
        decision: Decision,
    ) -> Result<Appended> {
        let sequence = self.head.sequence + 1;
        if sequence > u32::MAX.into() {
            return Err(Error::LimitExceeded("entries of one ledger"));
        }
        let mut draft = Draft {
            ledger: self,
            secrets,
            sequence,
            now,
            state: self.state.duplicate(),
            actions: Vec::new(),
            notices: BTreeMap::new(),
            records: Vec::new(),
            settled: BTreeSet::new(),
            anew: BTreeSet::new(),
            invited: Vec::new(),
            moved: BTreeMap::new(),
        };
        if sequence.is_multiple_of(SNAPSHOT_EVERY) {
            let state = Box::new(self.state.duplicate());
            draft.actions.push(Action::Snapshot(state));
            draft.settled.extend(self.orphans.keys());
        }
        let mut closing = draft.owed()?;
        let takes_away = matches!(
            decision,
            Decision::CatchUp
                | Decision::Forget(_)
                | Decision::Revoke(_)
                | Decision::Withdraw(_)
                | Decision::RaiseFloors(_)
        );
        let granted = match decision {
            Decision::CatchUp => None,
            Decision::Contact(contact) => {
                if draft.group(&contact.name).is_some() {
                    return Err(Error::invalid(NAME_OF_A_GROUP));
                }
                draft.decide(Action::Contact(contact))?;
                None
            }
            Decision::Forget(name) => {
                if !draft.state.contacts.contains_key(&name) {
                    return Err(Error::NotFound("contact"));
                }
                draft.decide(Action::Forget(name))?;
                None
            }
            Decision::NewGroup { name, suite } => {
                draft.found(&name, suite)?;
                None
            }
            Decision::Join { group, recipient } => {
                recipient.check_suite()?;
                // What the group may write he may sign: before the letters, which tell of
                // it to those who are not told apart.
                let reached = draft.invite(&group, &recipient)?;
                draft.settle_writers(&(&reached - &closing), &closing)?;
                draft.close(&closing)?;
                closing.clear();
                Some(draft.join(&group, &recipient)?)
            }
            Decision::Revoke(grants) => {
                closing.extend(draft.revoke(&grants)?);
                None
            }
            Decision::File { copy, to } => {
                draft.file(&copy, to, &closing)?;
                None
            }
            Decision::RaiseFloors(floors) => {
                for (collection, floor) in floors {
                    draft.raise_floor(collection, floor)?;
                }
                None
            }
            Decision::Lease { folder, seconds } => {
                draft.lease(folder.as_ref(), seconds, &closing)?;
                None
            }
            Decision::Link { scope, link, terms } => {
                draft.mount(&scope, &mut closing)?;
                let linked = draft.reached(&scope)?;
                draft.settle_writers(&(&linked - &closing), &closing)?;
                draft.link(scope, &link, terms)?;
                None
            }
            Decision::Withdraw(links) => {
                closing.extend(draft.withdraw(&links)?);
                None
            }
            Decision::Share {
                scope,
                recipient,
                terms,
            } => {
                draft.mount(&scope, &mut closing)?;
                let shared = draft.reached(&scope)?;
                if terms.write {
                    let signers = draft.signers(recipient.card());
                    draft.invited = signers.map(|key| (scope.clone(), key)).collect();
                }
                if terms.past == Past::HeldBack {
                    closing.extend(&shared);
                }
                // Before the letters, which tell of it to those who are not told apart.
                draft.settle_writers(&(&shared - &closing), &closing)?;
                draft.close(&closing)?;
                closing.clear();
                let since = (terms.past == Past::HeldBack).then_some(draft.sequence);
                let tree = draft.tree().part(&scope, since)?;
                Some(draft.share(scope, tree, &recipient, terms)?)
            }
            Decision::ShareVersion {
                path,
                header,
                recipient,
                terms,
            } => {
                if terms.write || terms.past == Past::HeldBack {
                    return Err(Error::invalid(
                        "one version is shared for reading; it is of the past",
                    ));
                }
                let (vault, tree) = (secrets.vault(), draft.tree());
                let write = Opener::new(&header, &vault, self.suite, tree, &path)?;
                let tree = tree.of_version(&path, &write)?;
                let scope = Scope::Version(path, *write.commitment());
                Some(draft.share(scope, tree, &recipient, terms)?)
            }
        };
        draft.close(&closing)?;
        // What is left is for what takes something away.
        if !takes_away && draft.state.encode().len() > MAX_STATE {
            return Err(Error::LimitExceeded(
                "what one vault keeps of grants, contacts, groups and links",
            ));
        }
        let (entry, records) = draft.finish(header)?;
        Ok(Appended {
            entry,
            records,
            granted,
        })
    }
}

impl Draft<'_> {
    fn decide(&mut self, action: Action) -> Result<()> {
        self.state.apply(copy(&action), self.sequence)?;
        self.actions.push(action);
        Ok(())
    }

    fn tree(&self) -> &Tree {
        &self.state.tree
    }

    /// What has to be closed by whoever appends next.
    fn owed(&mut self) -> Result<BTreeSet<CollectionId>> {
        let mut closing = BTreeSet::new();
        if self.ledger.generation < self.secrets.owners().len() as u64 - 1 {
            closing.extend(self.tree().written().map(Collection::id));
            closing.extend(self.state.groups.keys());
            self.change_mailboxes()?;
        }
        let (mut revoked, mut withdrawn) = (BTreeSet::new(), BTreeSet::new());
        for (hash, orphan) in &self.ledger.orphans {
            let Closings { collections, .. } = orphan;
            if orphan.are_owed() {
                self.settled.insert(*hash);
                let state = &self.ledger.state;
                let is_written = |id: &&CollectionId| {
                    state.groups.contains_key(id) || state.tree.written().any(|c| c.id == **id)
                };
                closing.extend(collections.iter().filter(is_written));
                revoked.extend(&orphan.revoked);
                withdrawn.extend(&orphan.withdrawn);
            }
        }
        for ended in self.ledger.ended_grants(self.now) {
            revoked.insert(ended.id);
            closing.extend(self.reached(&ended.scope)?);
        }
        for ended in self.ledger.ended_links(self.now) {
            withdrawn.insert(ended.id);
            closing.extend(self.reached(&ended.scope)?);
        }
        // Who hung below one of them fell with it.
        let falls = |grant: GrantId| self.ledger.grants_below(&grant).into_iter().map(|g| g.id);
        let fallen: BTreeSet<GrantId> = revoked.iter().copied().flat_map(falls).collect();
        // More may have come into their reach than an orphan knew of.
        for grant in &revoked - &fallen {
            let scope = self.state.grant(&grant).map(|g| g.scope.clone());
            closing.extend(self.reached(&scope.ok_or(Error::Tampered)?)?);
            self.take_back(grant)?;
        }
        for link in withdrawn {
            let scope = self.state.links.get(&link).map(|l| l.scope.clone());
            closing.extend(self.reached(&scope.ok_or(Error::Tampered)?)?);
            self.decide(Action::Withdraw(link))?;
        }
        Ok(closing)
    }

    /// Whoever had the root key before has the mailboxes, and would open all later letters.
    /// A group's are others with each generation, and versions get no letters.
    fn change_mailboxes(&mut self) -> Result<()> {
        let grants = self.state.grants.values().filter(|grant| {
            let is_version = matches!(grant.scope, Scope::Version(..));
            !is_version && self.state.group_of(&grant.card).is_none()
        });
        let members = self.state.groups.values().flat_map(Group::members);
        let all: Vec<GrantId> = grants.chain(members).map(|grant| grant.id).collect();
        for grant in all {
            let mailbox = MailboxSecret::make()?;
            self.decide(Action::Letters { grant, mailbox })?;
            self.anew.insert(grant);
        }
        Ok(())
    }

    /// By what a letter finds somebody, and for whose card it is where the entry changes that.
    fn found_by<'a>(&'a self, grant: &'a GrantRecord) -> (&'a MailboxSecret, Option<&'a Card>) {
        let before = self.ledger.state.grant(&grant.id);
        match before.filter(|_| self.anew.contains(&grant.id)) {
            Some(before) => (before.letters(), Some(&grant.card)),
            None => (grant.letters(), None),
        }
    }

    /// Takes back a grant, and before it those that were given on from it.
    fn take_back(&mut self, id: GrantId) -> Result<()> {
        let below: Vec<GrantId> = self.state.below(id).map(|below| below.id).collect();
        for below in below {
            self.take_back(below)?;
        }
        let grant = self.state.grant(&id).ok_or(Error::NotFound("grant"))?;
        if grant.terms.reshare {
            self.tell(To::Below(id), Action::Revoke(id));
        }
        let grant = self.state.grant(&id).ok_or(Error::NotFound("grant"))?;
        // No epoch that is closed tells who holds a version.
        if let Scope::Version(..) = grant.scope {
            self.tell(To::Grantee(id), Action::Revoke(id));
        }
        self.decide(Action::Revoke(id))
    }

    fn tell(&mut self, whom: To, what: Action) {
        self.notices.entry(whom).or_default().push(what);
    }

    /// Makes a collection of a folder, unless it is one.
    fn mount(&mut self, scope: &Scope, closing: &mut BTreeSet<CollectionId>) -> Result<()> {
        let Scope::Folder(Some(folder)) = scope else {
            return Ok(());
        };
        if self.tree().mounted(Some(folder)).is_some() {
            return Ok(());
        }
        // Where its objects lie has to be possible.
        self.tree().store_path(folder)?;
        let padded = self
            .tree()
            .is_padded(&VaultPath::join(Some(folder), folder))?;
        let inherited = self.tree().written_at(folder).and_then(|outer| outer.lease);
        let collection = Collection::make(Some(folder.clone()), padded)?;
        let id = collection.id;
        self.decide(Action::Collection(None, collection))?;
        for grant in self.ledger.state.grants.values() {
            if let Scope::Object(path) = &grant.scope
                && self.tree().nearest(path).map(Collection::id) == Some(id)
                && let Some(before) = self.ledger.state.tree.nearest(path)
                && let Some(epoch) = before.current()
            {
                self.moved.insert(path.clone(), (before.id, epoch.number));
                // Who signed there has nothing to sign any more where it was.
                if grant.terms.write && self.ledger.suite == Suite::V2 {
                    closing.insert(before.id);
                }
            }
        }
        // Members of what is around it go on to read and write there.
        let inner = self.tree().get(&id).ok_or(Error::Tampered)?;
        let mut told = Vec::new();
        for outer in self.tree().around(inner) {
            let mut inner = inner.duplicate();
            inner.mount = folder.below(outer.mount.as_ref());
            // An epoch that this entry closes is held by somebody who is to learn no
            // more; who remains finds the mount in a letter.
            if let Some(epoch) = outer.current()
                && !closing.contains(&outer.id)
                && self.has_members(outer.id)
            {
                let whom = To::Members(outer.id, epoch.number);
                told.push((whom, Action::Collection(None, inner)));
            }
        }
        for (audience, notice) in told {
            self.tell(audience, notice);
        }
        self.lease_of(id, inherited, closing)
    }

    fn has_members(&self, collection: CollectionId) -> bool {
        members(&self.state).any(|id| id == collection)
    }

    /// The collections that a grant reaches, and that are closed to end it.
    fn reached(&self, scope: &Scope) -> Result<BTreeSet<CollectionId>> {
        let own = self.state.collection_of(scope);
        match (scope, own) {
            (Scope::Version(..), _) => Ok(BTreeSet::new()),
            (_, None) => Err(Error::Tampered),
            (Scope::Object(_), Some(own)) => Ok([own.id].into()),
            (Scope::Group(id, _), Some(_)) => {
                let mut reached = self.reached_by_group(id, |_| true)?;
                reached.insert(*id);
                Ok(reached)
            }
            (Scope::Folder(_), Some(own)) => {
                let nested = self.tree().nested(own).map(Collection::id);
                Ok(nested.chain([own.id]).collect())
            }
        }
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.state
            .groups
            .values()
            .find(|group| group.name() == name)
    }

    /// Makes a group.
    fn found(&mut self, name: &str, suite: IdentitySuite) -> Result<()> {
        if self.group(name).is_some() || self.state.contacts.contains_key(name) {
            return Err(Error::invalid(NAME_OF_A_GROUP));
        }
        if self.state.groups.len() >= State::MAX_GROUPS {
            return Err(Error::LimitExceeded("groups of one vault"));
        }
        let group = Group::make(name, suite, self.now)?;
        self.decide(Action::Group(Box::new(group)))
    }

    /// Makes somebody a member of a group: he gets every generation, for he may read
    /// what was given to it before.
    fn join(&mut self, group: &str, recipient: &Recipient) -> Result<(GrantId, LetterName)> {
        let group = self.group(group).ok_or(Error::NotFound("group"))?;
        if self.state.group_of(recipient.card()).is_some() {
            return Err(Error::invalid("a group is no member of a group"));
        }
        if group.member(recipient.card()).is_some() {
            return Err(Error::invalid("they are a member of the group already"));
        }
        let scope = group.scope();
        let keys = group.keys()?;
        let hash = keys.hash();
        let terms = Terms::reading();
        self.give(scope, (Keys::Group(keys), hash), recipient, terms)
    }

    /// Somebody is about to get the right to write what a group may write: the
    /// collections in which that is.
    fn invite(&mut self, group: &str, recipient: &Recipient) -> Result<BTreeSet<CollectionId>> {
        let group = self.group(group).ok_or(Error::NotFound("group"))?.id();
        let key = *recipient.card().signing_key();
        let given = self.state.given_to(&group).filter(|g| g.terms.write);
        let invited = given.map(|grant| (grant.scope.clone(), key)).collect();
        self.invited = invited;
        self.reached_by_group(&group, |terms| terms.write)
    }

    /// Every collection that a group reaches by grants with terms like this.
    fn reached_by_group(
        &self,
        group: &CollectionId,
        by: impl Fn(&Terms) -> bool,
    ) -> Result<BTreeSet<CollectionId>> {
        let mut reached = BTreeSet::new();
        for grant in self.state.given_to(group).filter(|grant| by(&grant.terms)) {
            reached.extend(self.reached(&grant.scope)?);
        }
        Ok(reached)
    }

    fn revoke(&mut self, grants: &[GrantId]) -> Result<BTreeSet<CollectionId>> {
        // One whose time is over is taken back already.
        let over = |id: &&GrantId| self.state.grant(id).is_none();
        let was = |id: &GrantId| self.ledger.state.grant(id).is_some();
        if !grants.iter().filter(over).all(was) {
            return Err(Error::NotFound("grant"));
        }
        let ended: BTreeSet<GrantId> = grants.iter().filter(|id| !over(id)).copied().collect();
        let falls = |id: &GrantId| self.ledger.grants_below(id).into_iter().map(|g| g.id);
        let fallen: BTreeSet<GrantId> = ended.iter().flat_map(falls).collect();
        let gone = &ended | &fallen;
        let mut closing = BTreeSet::new();
        for id in &ended {
            let grant = self.state.grant(id).ok_or(Error::NotFound("grant"))?;
            closing.extend(self.reached(&grant.scope)?);
        }
        self.state.check_roads(&ended, &gone)?;
        for id in &ended - &fallen {
            self.take_back(id)?;
        }
        Ok(closing)
    }

    /// Files what somebody gave on.
    fn file(
        &mut self,
        copy: &OwnersCopy,
        to: String,
        closing: &BTreeSet<CollectionId>,
    ) -> Result<()> {
        let (above, scope) = {
            let (suite, head) = (self.ledger.suite, self.ledger.head);
            // Behind what this entry takes back.
            copy.examine(&self.state, (suite, head), self.now)?
        };
        if self.ledger.contradicts(copy.before()) {
            return Err(Error::Tampered);
        }
        if self.state.group_of(copy.card()).is_some() {
            return Err(Error::invalid(
                "nothing is given on to a group; share with it yourself",
            ));
        }
        let reached = self.reached(&scope)?;
        if !reached.is_disjoint(closing) {
            return Err(Error::AccessDenied(
                "keys that were given on are replaced by this very entry; have it given on again",
            ));
        }
        let grant = copy.record(to, (above, scope), (self.sequence, self.now));
        let (id, whom) = (grant.id, To::Grantee(grant.id));
        self.tell(whom.clone(), Action::Filed(grant.statement));
        self.decide(Action::Grant(Box::new(grant)))?;
        self.settle_writers(&reached, closing)?;
        if let Some((collection, bundle)) = self.own_letter(id)? {
            let bundle = Some(bundle);
            self.tell(whom, Action::Closed { collection, bundle });
        }
        Ok(())
    }

    /// A letter of the owner's to somebody who has keys by another's word alone. Of one
    /// version the owner knows no key.
    fn own_letter(&mut self, id: GrantId) -> Result<Option<(CollectionId, RecordHash)>> {
        let grant = self.state.grants.get(&id).ok_or(Error::Tampered)?;
        let Some(own) = self.state.collection_of(&grant.scope).map(Collection::id) else {
            return Ok(None);
        };
        let tree = self.part_for(grant)?;
        let statement = self.statement(grant, grant::tree_hash(&tree))?;
        let mailbox = (grant.letters(), grant.letters(), None);
        let (grantor, keys) = (self.secrets.identity(), Keys::Inside(tree));
        let mut bundle = Bundle::new();
        bundle.add_letter(self.sequence, grantor, &statement, mailbox, keys)?;
        let (hash, record) = bundle.finish()?;
        self.records.push((grant::bundle_path(hash), record));
        Ok(Some((own, hash)))
    }

    /// The keys of what a grant gives now.
    fn part_for(&self, grant: &GrantRecord) -> Result<Tree> {
        let since = match grant.terms.past {
            Past::HeldBack => self.state.chain_of(&grant.id).last().map(|top| top.filed),
            Past::Shared => None,
        };
        self.tree().part(&grant.scope, since)
    }

    fn link(&mut self, scope: Scope, link: &NewLink, terms: LinkTerms) -> Result<()> {
        terms.check()?;
        if let Scope::Version(..) | Scope::Group(..) = scope {
            return Err(Error::invalid("a link leads to a folder or an object"));
        }
        if let Some(path) = scope.path() {
            // Where it lies has to be possible.
            self.tree().store_path(path)?;
        }
        let record = link.record(scope, terms, (self.sequence, self.now));
        self.decide(Action::Link(Box::new(record)))
    }

    fn withdraw(&mut self, links: &[LinkId]) -> Result<BTreeSet<CollectionId>> {
        let mut closing = BTreeSet::new();
        for id in links {
            let Some(link) = self.state.links.get(id) else {
                // One whose time is over is withdrawn already.
                if self.ledger.state.links.contains_key(id) {
                    continue;
                }
                return Err(Error::NotFound("link"));
            };
            closing.extend(self.reached(&link.scope)?);
            self.decide(Action::Withdraw(*id))?;
        }
        Ok(closing)
    }

    /// A lease of a folder is that of what is mounted in it.
    fn lease(
        &mut self,
        folder: Option<&VaultPath>,
        seconds: Option<u32>,
        closing: &BTreeSet<CollectionId>,
    ) -> Result<()> {
        if seconds.is_some_and(|seconds| seconds < MIN_LEASE) {
            return Err(Error::invalid("a lease takes at least 60 seconds"));
        }
        if self.tree().mounted(folder).is_none() {
            return Err(Error::invalid(
                "only a folder that was shared has writers of its own; share it first",
            ));
        }
        for collection in self.reached(&Scope::Folder(folder.cloned()))? {
            self.lease_of(collection, seconds, closing)?;
        }
        Ok(())
    }

    fn lease_of(
        &mut self,
        id: CollectionId,
        seconds: Option<u32>,
        closing: &BTreeSet<CollectionId>,
    ) -> Result<()> {
        let collection = self.tree().get(&id).ok_or(Error::Tampered)?;
        if collection.lease == seconds {
            return Ok(());
        }
        let above = self.tree().around(collection).map(Collection::id);
        let audiences = above.chain([id]).collect();
        let action = Action::Lease {
            collection: id,
            seconds,
        };
        self.tell_readers(&audiences, closing, &action);
        if !closing.contains(&id) {
            self.tell_objects(id, &action);
        }
        self.decide(action)
    }

    /// Up to the epoch that was looked at, whatever was opened since.
    fn raise_floor(&mut self, id: CollectionId, floor: u32) -> Result<()> {
        let collection = self.tree().get(&id).ok_or(Error::NotFound("collection"))?;
        let current = collection.current().ok_or(Error::Tampered)?.number;
        if floor > current {
            return Err(Error::invalid("a floor is not above the current epoch"));
        }
        if floor <= collection.floor {
            return Ok(());
        }
        let above = self.tree().around(collection).map(Collection::id);
        let audiences = above.chain([id]).collect();
        let action = Action::Floor {
            collection: id,
            floor,
        };
        self.tell_readers(&audiences, &BTreeSet::new(), &action);
        self.tell_objects(id, &action);
        self.decide(action)
    }

    /// Closes the epochs of these collections, and gives the next to all who still
    /// have access.
    fn close(&mut self, closing: &BTreeSet<CollectionId>) -> Result<()> {
        let mut closed = Vec::new();
        let before = members(&self.ledger.state);
        let members: BTreeSet<CollectionId> = before.chain(members(&self.state)).collect();
        for id in closing {
            let collection = self.state.collection(id).ok_or(Error::Tampered)?;
            let last = collection.current().ok_or(Error::Tampered)?;
            // One that this entry mounts begins with a key that nobody has.
            if last.opened == self.sequence {
                continue;
            }
            let number = last.number;
            let next = number
                .checked_add(1)
                .ok_or(Error::LimitExceeded("epochs of one collection"))?;
            let around: BTreeSet<_> = self.tree().around(collection).map(Collection::id).collect();
            let is_read = members.contains(id) || around.iter().any(|id| members.contains(id));
            closed.push((*id, number, is_read));
            let epoch = Action::Epoch {
                collection: *id,
                number: next,
                key: ContentKey::make()?,
            };
            // Who reads it through a collection around it that stays as it is.
            self.tell_readers(&around, closing, &epoch);
            self.decide(epoch)?;
        }
        self.settle_writers(closing, closing)?;
        let moved = std::mem::take(&mut self.moved);
        let bundle = self.bundle(closing, &moved)?;
        // Also those whose access the entry ends.
        let mut told: BTreeSet<To> = BTreeSet::new();
        let ended: BTreeSet<CollectionId> = closed.iter().map(|(id, ..)| *id).collect();
        let mut below = Vec::new();
        for (collection, number, is_read) in closed {
            if is_read {
                told.insert(To::Members(collection, number));
            }
            let objects = objects_in(&self.ledger.state, collection).into_iter();
            told.extend(objects.map(|path| To::Object(collection, number, path)));
        }
        let moved = moved.into_iter();
        told.extend(moved.map(|(path, (collection, number))| To::Object(collection, number, path)));
        for grant in self.ledger.state.grants.values() {
            let reached = grant.terms.reshare.then(|| self.reached(&grant.scope));
            for collection in reached.transpose()?.unwrap_or_default() {
                if ended.contains(&collection) {
                    let notice = Action::Closed { collection, bundle };
                    below.push((To::Below(grant.id), notice));
                }
            }
        }
        for (whom, notice) in below {
            self.tell(whom, notice);
        }
        for whom in told {
            if let To::Members(collection, _) | To::Object(collection, ..) = whom {
                self.tell(whom, Action::Closed { collection, bundle });
            }
        }
        Ok(())
    }

    /// Who signs objects when something is given to this card: its holder, or the
    /// members of the group that it is of.
    fn signers(&self, card: &Card) -> impl Iterator<Item = [u8; 32]> + use<> {
        let keys: Vec<[u8; 32]> = match self.state.group_of(card) {
            Some(group) => group.members().map(|m| *m.card.signing_key()).collect(),
            None => vec![*card.signing_key()],
        };
        keys.into_iter()
    }

    /// In a signed vault: whoever has the right to write to a collection, to one around
    /// it, or to an object in it, may sign from its last epoch on.
    fn settle_writers(
        &mut self,
        collections: &BTreeSet<CollectionId>,
        closing: &BTreeSet<CollectionId>,
    ) -> Result<()> {
        if self.ledger.suite != Suite::V2 {
            return Ok(());
        }
        for id in collections {
            // A group writes nothing itself.
            let Some(collection) = self.tree().get(id) else {
                continue;
            };
            let above = self.tree().around(collection).map(Collection::id);
            let audiences: BTreeSet<CollectionId> = above.chain([*id]).collect();
            let given = self.state.grants.values().filter(|grant| grant.terms.write);
            let given = given.flat_map(|grant| {
                let signers = self.signers(&grant.card);
                signers.map(move |key| (&grant.scope, key))
            });
            let invited = self.invited.iter().map(|(scope, key)| (scope, *key));
            let writes_here = |scope: &Scope| {
                let own = self.state.collection_of(scope).map(Collection::id);
                match scope {
                    Scope::Folder(_) => own.is_some_and(|own| audiences.contains(&own)),
                    Scope::Object(_) => own == Some(*id),
                    Scope::Version(..) | Scope::Group(..) => false,
                }
            };
            let wanted: BTreeSet<[u8; 32]> = given
                .chain(invited)
                .filter(|(scope, _)| writes_here(scope))
                .map(|(_, key)| key)
                .chain([*self.secrets.identity().card().signing_key()])
                .collect();
            let now = collection.writers.current();
            // What somebody signed in this epoch stays good.
            let begins = collection.last().is_some_and(|e| e.opened == self.sequence);
            let removed = if begins {
                &now - &wanted
            } else {
                BTreeSet::new()
            };
            let action = Action::Writers {
                collection: *id,
                added: &wanted - &now,
                removed,
            };
            if matches!(&action, Action::Writers { added, removed, .. } if added.is_empty() && removed.is_empty())
            {
                continue;
            }
            self.tell_readers(&audiences, closing, &action);
            if !closing.contains(id) {
                self.tell_objects(*id, &action);
            }
            self.decide(action)?;
        }
        Ok(())
    }

    /// Tells it to who holds the epochs of these collections, but for those that close.
    fn tell_readers(
        &mut self,
        audiences: &BTreeSet<CollectionId>,
        closing: &BTreeSet<CollectionId>,
        action: &Action,
    ) {
        for id in audiences {
            let current = self.state.tree.get(id).and_then(Collection::current);
            if let Some(epoch) = current.map(|epoch| epoch.number)
                && !closing.contains(id)
                && self.has_members(*id)
            {
                self.tell(To::Members(*id, epoch), copy(action));
            }
        }
    }

    /// Tells it to who has single objects in a collection, but for those that will find
    /// it in a letter.
    fn tell_objects(&mut self, id: CollectionId, action: &Action) {
        let current = self.tree().get(&id).and_then(Collection::current);
        let Some(epoch) = current.map(|epoch| epoch.number) else {
            return;
        };
        for path in objects_in(&self.state, id) {
            if !self.moved.contains_key(&path) {
                self.tell(To::Object(id, epoch, path), copy(action));
            }
        }
    }

    /// Letters to all whose own collection got a new epoch, or is another than before.
    fn bundle(
        &mut self,
        closing: &BTreeSet<CollectionId>,
        moved: &BTreeMap<VaultPath, (CollectionId, u32)>,
    ) -> Result<Option<RecordHash>> {
        let mut bundle = Bundle::new();
        let mut rings: BTreeMap<&Scope, (usize, grant::RingKey, RecordHash)> = BTreeMap::new();
        let vault = self.secrets.vault();
        for grant in self.state.grants.values() {
            let is_moved = matches!(&grant.scope, Scope::Object(path) if moved.contains_key(path));
            let own = self.state.collection_of(&grant.scope);
            if !is_moved && !own.is_some_and(|own| closing.contains(&own.id)) {
                continue;
            }
            let (keys, tree) = match grant.terms.past {
                Past::HeldBack => {
                    let tree = self.part_for(grant)?;
                    let hash = grant::tree_hash(&tree);
                    (Keys::Inside(tree), hash)
                }
                Past::Shared => {
                    let (ring, key, hash) = match rings.entry(&grant.scope) {
                        btree_map::Entry::Occupied(known) => known.into_mut(),
                        btree_map::Entry::Vacant(new) => {
                            let tree = self.part_for(grant)?;
                            let (ring, key) = bundle.add_ring(&vault, self.sequence, &tree)?;
                            new.insert((ring, key, grant::tree_hash(&tree)))
                        }
                    };
                    (Keys::Ring(*ring, key.duplicate()), *hash)
                }
            };
            let statement = self.statement(grant, tree)?;
            let of_group = self.state.group_of(&grant.card);
            let of_group = of_group.map(|group| group.mailbox(&vault, &grant.mailbox));
            let of_group = of_group.transpose()?;
            let (found_by, card) = match &of_group {
                Some(found_by) => (found_by, None),
                None => self.found_by(grant),
            };
            let mailbox = (grant.letters(), found_by, card);
            let grantor = self.secrets.identity();
            bundle.add_letter(self.sequence, grantor, &statement, mailbox, keys)?;
        }
        for group in self.state.groups.values() {
            if !closing.contains(&group.id()) || group.members.is_empty() {
                continue;
            }
            let keys = group.keys()?;
            let (ring, key) = bundle.add_ring(&vault, self.sequence, &keys)?;
            for member in group.members() {
                let statement = self.statement(member, keys.hash())?;
                let (found_by, card) = self.found_by(member);
                let (mailbox, grantor) =
                    ((member.letters(), found_by, card), self.secrets.identity());
                let keys = Keys::Ring(ring, key.duplicate());
                bundle.add_letter(self.sequence, grantor, &statement, mailbox, keys)?;
            }
        }
        if bundle.is_empty() {
            return Ok(None);
        }
        let (hash, record) = bundle.finish()?;
        self.records.push((grant::bundle_path(hash), record));
        Ok(Some(hash))
    }

    fn statement(&self, grant: &GrantRecord, keys: RecordHash) -> Result<Statement> {
        Ok(Statement {
            vault: self.secrets.vault(),
            suite: self.ledger.suite,
            id: grant.id,
            grantor: self.secrets.identity().card().hash(),
            grantee: grant.card.hash(),
            scope: grant.scope.own(),
            terms: grant.terms.clone(),
            tree: keys,
            before: self.ledger.head,
            stored: self.state.stored(&grant.scope)?,
            above: None,
        })
    }

    fn share(
        &mut self,
        scope: Scope,
        tree: Tree,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<(GrantId, LetterName)> {
        terms.check()?;
        recipient.check_suite()?;
        // The card of a group may be of an earlier generation.
        let group = self.state.group_of(recipient.card());
        if terms.reshare && group.is_some() {
            return Err(Error::invalid(
                "what a group has cannot be given on: nobody in it could sign for the group; share with a person",
            ));
        }
        let recipient = group.map_or(Ok(recipient.clone()), Group::recipient)?;
        let hash = grant::tree_hash(&tree);
        self.give(scope, (Keys::Inside(tree), hash), &recipient, terms)
    }

    /// Files a grant and writes its first letter, with these keys and their hash. Who
    /// holds the epoch of what it gives is told.
    fn give(
        &mut self,
        scope: Scope,
        (keys, hash): (Keys, RecordHash),
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<(GrantId, LetterName)> {
        let mut grant = GrantRecord {
            id: GrantId(random_bytes()?),
            to: recipient.name(),
            card: recipient.card().clone(),
            scope,
            terms,
            mailbox: MailboxSecret::make()?,
            letters: None,
            filed: self.sequence,
            time: self.now,
            statement: RecordHash::MIN,
            parent: None,
        };
        let statement = self.statement(&grant, hash)?;
        grant.statement = grant::statement_hash(&statement);
        let name = LetterName::make()?;
        let letter = grant::first_letter(
            self.secrets.identity(),
            recipient.card(),
            &statement,
            &grant.mailbox,
            keys,
            &name,
        )?;
        self.records.push((name.path(), letter));
        let whom = self.holders(&grant)?;
        self.tell(whom, Action::Filed(grant.statement));
        let id = grant.id;
        if grant.terms.reshare {
            self.tell(To::Below(id), Action::Filed(grant.statement));
        }
        self.decide(Action::Grant(Box::new(grant)))?;
        Ok((id, name))
    }

    /// Who holds what a grant gives now.
    fn holders(&self, grant: &GrantRecord) -> Result<To> {
        let own = self.state.collection_of(&grant.scope);
        let own = own.and_then(|own| Some((own.id, own.current()?.number)));
        match (&grant.scope, own) {
            (Scope::Version(..), _) => Ok(To::Grantee(grant.id)),
            (Scope::Folder(_) | Scope::Group(..), Some((id, number))) => {
                Ok(To::Members(id, number))
            }
            (Scope::Object(path), Some((id, number))) => Ok(To::Object(id, number, path.clone())),
            (_, None) => Err(Error::Tampered),
        }
    }

    fn audience(&self, whom: &To, vault: &VaultId) -> Result<(Audience, PartKey)> {
        let epoch = |id: &CollectionId, number: u32| {
            let mut epochs = self.state.collection(id)?.epochs.iter();
            epochs.find(|e| e.number == number && !e.orphan)
        };
        let of_holder = |held: &[u8; 32]| {
            let label = holder_label(held, vault);
            (Audience::Holders(label), notice_key(held, vault))
        };
        let found = match whom {
            To::Members(id, number) => epoch(id, *number).map(|epoch| {
                let key = notice_key(epoch.key.expose_secret(), vault);
                (Audience::Members(*id, *number), key)
            }),
            To::Object(id, number, path) => {
                let held = self.tree().held(id, path).zip(epoch(id, *number));
                let key = held.and_then(|(held, epoch)| held.object_key(epoch));
                key.map(|key| of_holder(key.expose_secret()))
            }
            To::Grantee(id) | To::Below(id) => {
                let grants = [&self.state, &self.ledger.state].map(|state| state.grants.get(id));
                let grant = grants.into_iter().flatten().next();
                grant.map(|grant| match whom {
                    To::Below(_) => of_holder(ChainKey::of(&grant.mailbox, vault).expose_secret()),
                    _ => of_holder(grant.mailbox.expose_secret()),
                })
            }
        };
        found.ok_or(Error::Tampered)
    }

    fn finish(mut self, header: &Header) -> Result<(Entry, Records)> {
        let vault = self.secrets.vault();
        let actions = Actions(std::mem::take(&mut self.actions));
        let mut parts = vec![owner_part(self.secrets, self.sequence, &actions)?];
        for (whom, notices) in std::mem::take(&mut self.notices) {
            let place = part_place(self.sequence, parts.len());
            let (audience, key) = self.audience(&whom, &vault)?;
            let sealed = seal_part(&key, &vault, &place, &Actions(notices))?;
            parts.push((audience, sealed));
        }
        if parts.len() > Body::MAX_PARTS {
            return Err(Error::LimitExceeded(
                "shared folders and objects that one entry is about",
            ));
        }
        let body = Body {
            vault,
            sequence: self.sequence,
            written: self.now,
            previous: Some(self.ledger.head.hash),
            header: Some(header.position()),
            settled: self.settled.into_iter().collect(),
            parts,
        };
        Ok((Entry::write(body, self.secrets)?, self.records))
    }
}

/// The collections of folders that were shared, and the groups that have members.
fn members(state: &State) -> impl Iterator<Item = CollectionId> {
    let folders = state
        .grants
        .values()
        .filter_map(|grant| match &grant.scope {
            Scope::Folder(folder) => state.tree.mounted(folder.as_ref()),
            Scope::Object(_) | Scope::Version(..) | Scope::Group(..) => None,
        });
    let groups = state.groups.values().filter(|g| !g.members.is_empty());
    folders.map(Collection::id).chain(groups.map(Group::id))
}

fn objects_in(state: &State, collection: CollectionId) -> BTreeSet<VaultPath> {
    let objects = state
        .grants
        .values()
        .filter_map(|grant| match &grant.scope {
            Scope::Object(path) => Some(path),
            _ => None,
        });
    let of_it =
        |path: &&VaultPath| state.tree.nearest(path).map(Collection::id) == Some(collection);
    objects.filter(of_it).cloned().collect()
}

/// One action for the entry, the other for the state behind it.
fn copy(action: &Action) -> Action {
    match action {
        Action::Collection(names, collection) => Action::Collection(
            names.as_ref().map(crate::collection::NameKey::duplicate),
            collection.duplicate(),
        ),
        Action::Epoch {
            collection,
            number,
            key,
        } => Action::Epoch {
            collection: *collection,
            number: *number,
            key: key.duplicate(),
        },
        Action::Snapshot(state) => Action::Snapshot(Box::new(state.duplicate())),
        Action::Floor { collection, floor } => Action::Floor {
            collection: *collection,
            floor: *floor,
        },
        Action::Contact(contact) => Action::Contact(contact.clone()),
        Action::Forget(name) => Action::Forget(name.clone()),
        Action::Grant(grant) => Action::Grant(Box::new(grant.duplicate())),
        Action::Revoke(id) => Action::Revoke(*id),
        Action::Letters { grant, mailbox } => Action::Letters {
            grant: *grant,
            mailbox: mailbox.duplicate(),
        },
        Action::Filed(statement) => Action::Filed(*statement),
        Action::Closed { collection, bundle } => Action::Closed {
            collection: *collection,
            bundle: *bundle,
        },
        Action::Lease {
            collection,
            seconds,
        } => Action::Lease {
            collection: *collection,
            seconds: *seconds,
        },
        Action::Writers {
            collection,
            added,
            removed,
        } => Action::Writers {
            collection: *collection,
            added: added.clone(),
            removed: removed.clone(),
        },
        Action::Link(link) => Action::Link(Box::new(link.duplicate())),
        Action::Withdraw(id) => Action::Withdraw(*id),
        Action::Group(group) => Action::Group(Box::new(group.duplicate())),
    }
}
