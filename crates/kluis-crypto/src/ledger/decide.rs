//! How the owner's decisions become an entry: one entry, and with it all that it
//! entails, so that it is made or not made.

use super::action::{Action, Actions, State};
use super::{Audience, Body, Closings, Entry, Ledger, SNAPSHOT_EVERY, notice_key, owner_part};
use super::{part_place, seal_part};
use crate::card::Card;
use crate::collection::{Collection, ContentKey};
use crate::contact::{Contact, Recipient};
use crate::credential::random_bytes;
use crate::grant::{self, Bundle, GrantRecord, Keys, LetterName, MailboxSecret, Statement, Terms};
use crate::group::Group;
use crate::header::{Header, Suite, VaultSecrets};
use crate::link::{LinkTerms, NewLink};
use crate::tree::{Past, Tree};
use crate::{CollectionId, Error, GrantId, IdentitySuite, LinkId, RecordHash, Result, VaultPath};
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
    /// Somebody gets access to a folder, or to the vault.
    Share {
        /// None for the whole vault.
        folder: Option<VaultPath>,
        /// Who.
        recipient: Recipient,
        /// What.
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
    /// Access is taken back: new epochs wherever it reached. What is taken back may also be
    /// what makes somebody a member of a group.
    Revoke(Vec<GrantId>),
    /// Epochs of these collections below the current ones are refused from now on:
    /// everything was written again.
    RaiseFloors(Vec<CollectionId>),
    /// Whoever will have a URL gets access to a folder, or to the vault. What lies in
    /// the store for the link is written once the entry is claimed.
    Link {
        /// None for the whole vault.
        folder: Option<VaultPath>,
        /// Its secret.
        link: Arc<NewLink>,
        /// What for, and how long.
        terms: LinkTerms,
    },
    /// Links are withdrawn: new epochs wherever they led.
    Withdraw(Vec<LinkId>),
}

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
    notices: BTreeMap<(CollectionId, u32), Vec<Action>>,
    records: Records,
    settled: BTreeSet<RecordHash>,
    /// Who is about to get the right to write to a collection.
    invited: Vec<(CollectionId, [u8; 32])>,
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
            invited: Vec::new(),
        };
        if sequence.is_multiple_of(SNAPSHOT_EVERY) {
            let state = Box::new(self.state.duplicate());
            draft.actions.push(Action::Snapshot(state));
            draft.settled.extend(self.orphans.keys());
        }
        let mut closing = draft.owed()?;
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
                draft.close(&closing)?;
                closing.clear();
                Some(draft.join(&group, &recipient)?)
            }
            Decision::Revoke(grants) => {
                closing.extend(draft.revoke(&grants)?);
                None
            }
            Decision::RaiseFloors(collections) => {
                for collection in collections {
                    draft.raise_floor(collection)?;
                }
                None
            }
            Decision::Link {
                folder,
                link,
                terms,
            } => {
                draft.mount(folder.as_ref(), &closing)?;
                draft.link(folder, &link, terms)?;
                None
            }
            Decision::Withdraw(links) => {
                closing.extend(draft.withdraw(&links)?);
                None
            }
            Decision::Share {
                folder,
                recipient,
                terms,
            } => {
                draft.mount(folder.as_ref(), &closing)?;
                let shared = draft.with_nested(folder.as_ref())?;
                if terms.write
                    && let Some(own) = draft.tree().mounted(folder.as_ref())
                {
                    let id = own.id;
                    draft.invited = draft
                        .signers(recipient.card())
                        .map(|key| (id, key))
                        .collect();
                }
                if terms.past == Past::HeldBack {
                    closing.extend(&shared);
                }
                draft.close(&closing)?;
                draft.settle_writers(&(&shared - &closing), &closing)?;
                closing.clear();
                Some(draft.share(folder, &recipient, terms)?)
            }
        };
        draft.close(&closing)?;
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
        }
        let (mut revoked, mut withdrawn) = (BTreeSet::new(), BTreeSet::new());
        for (hash, orphan) in &self.ledger.orphans {
            let Closings { collections, .. } = orphan;
            if !collections.is_empty() {
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
            closing.extend(self.with_nested(ended.folder.as_ref())?);
        }
        for ended in self.ledger.ended_links(self.now) {
            withdrawn.insert(ended.id);
            closing.extend(self.with_nested(ended.folder.as_ref())?);
        }
        for grant in revoked {
            // More may have come into its reach than the orphan knew of.
            closing.extend(self.reach(&grant)?);
            self.decide(Action::Revoke(grant))?;
        }
        for link in withdrawn {
            self.decide(Action::Withdraw(link))?;
        }
        Ok(closing)
    }

    /// Makes a collection of a folder, unless it is one.
    fn mount(
        &mut self,
        folder: Option<&VaultPath>,
        closing: &BTreeSet<CollectionId>,
    ) -> Result<()> {
        let Some(folder) = folder else {
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
        let collection = Collection::make(Some(folder.clone()), padded)?;
        let id = collection.id;
        self.decide(Action::Collection(None, collection))?;
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
                told.push(((outer.id, epoch.number), Action::Collection(None, inner)));
            }
        }
        for (audience, notice) in told {
            self.notices.entry(audience).or_default().push(notice);
        }
        Ok(())
    }

    fn has_members(&self, collection: CollectionId) -> bool {
        let mut grants = self.state.grants.values();
        grants.any(|grant| grant.collection == collection)
    }

    /// The collection of a folder, and those in it.
    fn with_nested(&self, folder: Option<&VaultPath>) -> Result<BTreeSet<CollectionId>> {
        let own = self.tree().mounted(folder).ok_or(Error::Tampered)?;
        let nested = self.tree().nested(own).map(Collection::id);
        Ok(nested.chain([own.id]).collect())
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
        let (id, name) = (group.id(), group.name().to_owned());
        let last = group.generations.current().ok_or(Error::Tampered)?.number;
        let keys = group.keys()?;
        let reached = self.reach_of_group(&id, |terms| terms.write)?;
        let what = (id, name, keys.hash(), Keys::Group(keys));
        let granted = self.give(recipient, None, Terms::reading(), what, last)?;
        // What the group may write, he may sign.
        self.settle_writers(&reached, &BTreeSet::new())?;
        Ok(granted)
    }

    /// Every collection that a group reads by grants like this.
    fn reach_of_group(
        &self,
        group: &CollectionId,
        by: impl Fn(&Terms) -> bool,
    ) -> Result<BTreeSet<CollectionId>> {
        let mut reached = BTreeSet::new();
        for grant in self.state.grants.values().filter(|grant| by(&grant.terms)) {
            if self.state.group_of(&grant.card).map(Group::id) == Some(*group) {
                reached.extend(self.with_nested(grant.folder.as_ref())?);
            }
        }
        Ok(reached)
    }

    /// What has to be closed when a grant ends: the collections that it reaches, or for
    /// a membership the group and the collections that it reads.
    fn reach(&self, id: &GrantId) -> Result<BTreeSet<CollectionId>> {
        if let Some((group, _)) = self.state.membership(id) {
            let id = group.id();
            let mut reached = self.reach_of_group(&id, |_| true)?;
            reached.insert(id);
            return Ok(reached);
        }
        let grant = self.state.grants.get(id).ok_or(Error::NotFound("grant"))?;
        self.with_nested(grant.folder.as_ref())
    }

    fn revoke(&mut self, grants: &[GrantId]) -> Result<BTreeSet<CollectionId>> {
        let is_in = |state: &State, id: &GrantId| {
            state.grants.contains_key(id) || state.membership(id).is_some()
        };
        // One whose time is over is taken back already.
        let over = |id: &&GrantId| !is_in(&self.state, id);
        if !grants
            .iter()
            .filter(over)
            .all(|id| is_in(&self.ledger.state, id))
        {
            return Err(Error::NotFound("grant"));
        }
        let ended: BTreeSet<GrantId> = grants.iter().filter(|id| !over(id)).copied().collect();
        let mut closing = BTreeSet::new();
        for id in &ended {
            closing.extend(self.reach(id)?);
            let Some((group, member)) = self.state.membership(id) else {
                let grant = self.state.grants.get(id).ok_or(Error::NotFound("grant"))?;
                self.has_no_other_road(&grant.card, &grant.collection, &ended)?;
                continue;
            };
            for grant in self.state.grants.values() {
                if self.state.group_of(&grant.card).map(Group::id) == Some(group.id()) {
                    self.has_no_other_road(&member.card, &grant.collection, &ended)?;
                }
            }
        }
        for id in ended {
            self.decide(Action::Revoke(id))?;
        }
        Ok(closing)
    }

    /// Refuses where somebody reads a collection still when these are taken back.
    fn has_no_other_road(
        &self,
        card: &Card,
        collection: &CollectionId,
        ended: &BTreeSet<GrantId>,
    ) -> Result<()> {
        let own = self.tree().get(collection).ok_or(Error::Tampered)?;
        let around = self.tree().around(own).map(Collection::id);
        let reaching: BTreeSet<CollectionId> = around.chain([own.id]).collect();
        let group = self.state.group_of(card).map(Group::id);
        for other in self.state.grants.values() {
            if ended.contains(&other.id) || !reaching.contains(&other.collection) {
                continue;
            }
            let to = self.state.group_of(&other.card);
            let is_own = match to {
                // A group has another card in each generation.
                Some(to) => Some(to.id()) == group,
                None => other.card.fingerprint() == card.fingerprint(),
            };
            if is_own {
                return Err(Error::invalid(
                    "the same person keeps access by another grant on this folder or one around it; revoke both together",
                ));
            }
            if let Some(to) = to
                && to.member(card).is_some_and(|m| !ended.contains(&m.id))
            {
                return Err(Error::invalid(format!(
                    "the same person keeps access by the group {:?}; take them out of it together with this",
                    to.name()
                )));
            }
        }
        Ok(())
    }

    fn link(&mut self, folder: Option<VaultPath>, link: &NewLink, terms: LinkTerms) -> Result<()> {
        terms.check()?;
        let own = self
            .tree()
            .mounted(folder.as_ref())
            .ok_or(Error::Tampered)?;
        let record = link.record(own.id, folder, terms, (self.sequence, self.now));
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
            closing.extend(self.with_nested(link.folder.clone().as_ref())?);
            self.decide(Action::Withdraw(*id))?;
        }
        Ok(closing)
    }

    fn raise_floor(&mut self, id: CollectionId) -> Result<()> {
        let collection = self.tree().get(&id).ok_or(Error::NotFound("collection"))?;
        let floor = collection.current().ok_or(Error::Tampered)?.number;
        let above = self.tree().around(collection).map(Collection::id);
        let audiences = above.chain([id]).collect();
        let action = Action::Floor {
            collection: id,
            floor,
        };
        self.tell(&audiences, &BTreeSet::new(), &action);
        self.decide(action)
    }

    /// Closes the epochs of these collections, and gives the next to all who still
    /// have access.
    fn close(&mut self, closing: &BTreeSet<CollectionId>) -> Result<()> {
        let mut closed = Vec::new();
        let members: BTreeSet<CollectionId> = {
            let of = |state: &State| -> Vec<_> {
                state
                    .grants
                    .values()
                    .chain(state.groups.values().flat_map(Group::members))
                    .map(|grant| grant.collection)
                    .collect()
            };
            let before = of(&self.ledger.state).into_iter();
            before.chain(of(&self.state)).collect()
        };
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
            self.tell(&around, closing, &epoch);
            self.decide(epoch)?;
        }
        self.settle_writers(closing, closing)?;
        let bundle = self.bundle(closing)?;
        for (collection, number, is_read) in closed {
            if is_read {
                let notices = self.notices.entry((collection, number)).or_default();
                notices.push(Action::Closed { collection, bundle });
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

    /// In a signed vault: whoever has the right to write to a collection, or to one
    /// around it, may sign from its last epoch on.
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
            let signers = |grant: &GrantRecord| {
                let of = grant.collection;
                self.signers(&grant.card).map(move |key| (of, key))
            };
            let wanted: BTreeSet<[u8; 32]> = given
                .flat_map(signers)
                .chain(self.invited.iter().copied())
                .filter(|(of, _)| audiences.contains(of))
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
            self.tell(&audiences, closing, &action);
            self.decide(action)?;
        }
        Ok(())
    }

    /// Tells it to who holds the epochs of these collections, but for those that close.
    fn tell(
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
                let notices = self.notices.entry((*id, epoch)).or_default();
                notices.push(copy(action));
            }
        }
    }

    /// Letters to all whose own collection got a new epoch.
    fn bundle(&mut self, closing: &BTreeSet<CollectionId>) -> Result<Option<RecordHash>> {
        let mut bundle = Bundle::new();
        let mut rings: BTreeMap<CollectionId, (usize, grant::RingKey, RecordHash)> =
            BTreeMap::new();
        let vault = self.secrets.vault();
        for grant in self.state.grants.values() {
            if !closing.contains(&grant.collection) {
                continue;
            }
            let (keys, tree) = match grant.terms.past {
                Past::HeldBack => {
                    let tree = self
                        .tree()
                        .below(grant.folder.as_ref(), Some(grant.filed))?;
                    let hash = grant::tree_hash(&tree);
                    (Keys::Inside(tree), hash)
                }
                Past::Shared => {
                    let (ring, key, hash) = match rings.entry(grant.collection) {
                        btree_map::Entry::Occupied(known) => known.into_mut(),
                        btree_map::Entry::Vacant(new) => {
                            let tree = self.tree().below(grant.folder.as_ref(), None)?;
                            let (ring, key) = bundle.add_ring(&vault, self.sequence, &tree)?;
                            new.insert((ring, key, grant::tree_hash(&tree)))
                        }
                    };
                    (Keys::Ring(*ring, key.duplicate()), *hash)
                }
            };
            let statement = self.statement(grant, folder_name(grant), tree);
            let found_by = match self.state.group_of(&grant.card) {
                Some(group) => group.mailbox(&vault, &grant.mailbox)?,
                None => grant.mailbox.duplicate(),
            };
            let mailbox = (&grant.mailbox, &found_by);
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
                let statement = self.statement(member, group.name(), keys.hash());
                let (mailbox, grantor) = (&member.mailbox, self.secrets.identity());
                let keys = Keys::Ring(ring, key.duplicate());
                let mailbox = (mailbox, mailbox);
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

    fn statement(&self, grant: &GrantRecord, name: &str, keys: RecordHash) -> Statement {
        Statement {
            vault: self.secrets.vault(),
            suite: self.ledger.suite,
            id: grant.id,
            grantor: self.secrets.identity().card().hash(),
            grantee: grant.card.hash(),
            name: name.to_owned(),
            terms: grant.terms.clone(),
            tree: keys,
            before: self.ledger.head,
        }
    }

    fn share(
        &mut self,
        folder: Option<VaultPath>,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<(GrantId, LetterName)> {
        terms.check()?;
        recipient.check_suite()?;
        let own = self
            .tree()
            .mounted(folder.as_ref())
            .ok_or(Error::Tampered)?;
        let (collection, epoch) = (own.id, own.current().ok_or(Error::Tampered)?.number);
        let since = (terms.past == Past::HeldBack).then_some(self.sequence);
        let tree = self.tree().below(folder.as_ref(), since)?;
        let name = folder.as_ref().map_or("", VaultPath::name).to_owned();
        let what = (
            collection,
            name,
            grant::tree_hash(&tree),
            Keys::Inside(tree),
        );
        // The card of a group may be of an earlier generation.
        match self.state.group_of(recipient.card()) {
            Some(group) => self.give(&group.recipient()?, folder, terms, what, epoch),
            None => self.give(recipient, folder, terms, what, epoch),
        }
    }

    /// Files a grant and writes its first letter. Who holds this epoch of what it gives
    /// is told.
    fn give(
        &mut self,
        recipient: &Recipient,
        folder: Option<VaultPath>,
        terms: Terms,
        (collection, name, hash, keys): (CollectionId, String, RecordHash, Keys),
        epoch: u32,
    ) -> Result<(GrantId, LetterName)> {
        let mut grant = GrantRecord {
            id: GrantId(random_bytes()?),
            to: recipient.name(),
            card: recipient.card().clone(),
            folder,
            collection,
            terms,
            mailbox: MailboxSecret::make()?,
            filed: self.sequence,
            time: self.now,
            statement: RecordHash::MIN,
        };
        let statement = self.statement(&grant, &name, hash);
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
        let filed = Action::Filed(grant.statement);
        let notices = self.notices.entry((collection, epoch)).or_default();
        notices.push(filed);
        let id = grant.id;
        self.decide(Action::Grant(Box::new(grant)))?;
        Ok((id, name))
    }

    fn finish(mut self, header: &Header) -> Result<(Entry, Records)> {
        let vault = self.secrets.vault();
        let actions = Actions(std::mem::take(&mut self.actions));
        let mut parts = vec![owner_part(self.secrets, self.sequence, &actions)?];
        for ((id, number), notices) in std::mem::take(&mut self.notices) {
            let collection = self.state.collection(&id).ok_or(Error::Tampered)?;
            let mut epochs = collection.epochs.iter();
            let epoch = epochs
                .find(|e| e.number == number && !e.orphan)
                .ok_or(Error::Tampered)?;
            let place = part_place(self.sequence, parts.len());
            let key = notice_key(epoch, &vault);
            let sealed = seal_part(&key, &vault, &place, &Actions(notices))?;
            parts.push((Audience::Members(id, number), sealed));
        }
        if parts.len() > Body::MAX_PARTS {
            return Err(Error::LimitExceeded(
                "shared folders that one entry is about",
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

/// The shared folder's own name.
fn folder_name(grant: &GrantRecord) -> &str {
    grant.folder().map_or("", VaultPath::name)
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
        Action::Filed(statement) => Action::Filed(*statement),
        Action::Closed { collection, bundle } => Action::Closed {
            collection: *collection,
            bundle: *bundle,
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
