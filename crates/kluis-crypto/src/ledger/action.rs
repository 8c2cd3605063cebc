//! What an entry of the ledger decides (docs/FORMAT.md, section 4).

use crate::card::Card;
use crate::cbor::{Reader, Record, Writer};
use crate::collection::{Collection, ContentKey, NameKey};
use crate::contact::Contact;
use crate::grant::{self, GrantRecord, MailboxSecret};
use crate::group::Group;
use crate::link::LinkRecord;
use crate::signed::Writers;
use crate::tree::{self, Scope, Tree};
use crate::{CollectionId, Error, GrantId, LinkId, RecordHash, Result};
use std::collections::{BTreeMap, BTreeSet};

/// One decision.
pub(crate) enum Action {
    /// A collection with its first epoch: the vault's own, with its name key, or
    /// a folder that is mounted apart.
    Collection(Option<NameKey>, Collection),
    /// A new epoch; it closes the one before it.
    Epoch {
        collection: CollectionId,
        number: u32,
        key: ContentKey,
    },
    /// The whole state before the entry.
    Snapshot(Box<State>),
    /// Epochs below this one are refused.
    Floor {
        collection: CollectionId,
        floor: u32,
    },
    /// A contact is new, or another than before.
    Contact(Contact),
    /// A contact is forgotten.
    Forget(String),
    /// Somebody is given access.
    Grant(Box<GrantRecord>),
    /// It is taken back.
    Revoke(GrantId),
    /// Later letters find who has it by this, and by nothing that was known under an
    /// earlier root key.
    Letters {
        grant: GrantId,
        mailbox: MailboxSecret,
    },
    /// To members: the statement with this hash was filed by the entry.
    Filed(RecordHash),
    /// To members: the epoch of this collection is closed by the entry. Who still
    /// has access finds the keys that follow in this bundle.
    Closed {
        collection: CollectionId,
        bundle: Option<RecordHash>,
    },
    /// In a signed vault, who may write to a collection from its last epoch on, and who
    /// may no more.
    Writers {
        collection: CollectionId,
        added: BTreeSet<[u8; 32]>,
        removed: BTreeSet<[u8; 32]>,
    },
    /// A link is made.
    Link(Box<LinkRecord>),
    /// It is withdrawn.
    Withdraw(LinkId),
    /// How long writers of a collection go on behind the newest entry.
    Lease {
        collection: CollectionId,
        seconds: Option<u32>,
    },
    /// A group, with its first generation and no members. Later generations are epochs,
    /// and members have grants of it.
    Group(Box<Group>),
}

/// What the owner has decided so far.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) contacts: BTreeMap<String, Contact>,
    /// Those in force.
    pub(crate) grants: BTreeMap<GrantId, GrantRecord>,
    /// Those in force.
    pub(crate) links: BTreeMap<LinkId, LinkRecord>,
    pub(crate) groups: BTreeMap<CollectionId, Group>,
}

impl State {
    const MAX_CONTACTS: usize = 65_536;
    const MAX_GRANTS: usize = 65_536;
    const MAX_LINKS: usize = 65_536;
    pub(crate) const MAX_GROUPS: usize = 4_096;

    pub(crate) fn new(tree: Tree) -> Self {
        Self {
            tree,
            contacts: BTreeMap::new(),
            grants: BTreeMap::new(),
            links: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self {
            tree: self.tree.duplicate(),
            contacts: self.contacts.clone(),
            grants: self
                .grants
                .iter()
                .map(|(id, grant)| (*id, grant.duplicate()))
                .collect(),
            links: self
                .links
                .iter()
                .map(|(id, link)| (*id, link.duplicate()))
                .collect(),
            groups: self
                .groups
                .iter()
                .map(|(id, group)| (*id, group.duplicate()))
                .collect(),
        }
    }

    /// Goes on by a decision of the entry with this sequence.
    ///
    /// # Errors
    /// `Tampered` for what contradicts the state before.
    pub(crate) fn apply(&mut self, action: Action, sequence: u64) -> Result<()> {
        let found = match action {
            Action::Contact(contact) => {
                self.contacts.insert(contact.name.clone(), contact);
                true
            }
            Action::Forget(name) => self.contacts.remove(&name).is_some(),
            Action::Grant(grant) if grant.filed != sequence || !self.hangs(&grant) => false,
            Action::Grant(grant) => match &grant.scope {
                Scope::Group(id, name) => {
                    let group = self
                        .groups
                        .get_mut(id)
                        .filter(|group| group.name() == name.as_str());
                    group.is_some_and(|group| group.members.insert(grant.id, *grant).is_none())
                }
                Scope::Folder(folder) if self.tree.mounted(folder.as_ref()).is_none() => false,
                _ => self.grants.insert(grant.id, *grant).is_none(),
            },
            // Who hangs below somebody falls before him.
            Action::Revoke(id) if self.below(id).next().is_some() => false,
            Action::Link(link) => {
                let fits = match &link.scope {
                    Scope::Folder(folder) => self.tree.mounted(folder.as_ref()).is_some(),
                    Scope::Object(_) => true,
                    Scope::Version(..) | Scope::Group(..) => false,
                };
                let fits = fits && link.filed == sequence;
                fits && self.links.insert(link.id, *link).is_none()
            }
            Action::Withdraw(id) => self.links.remove(&id).is_some(),
            Action::Revoke(id) => {
                let mut groups = self.groups.values_mut();
                self.grants.remove(&id).is_some()
                    || groups.any(|group| group.members.remove(&id).is_some())
            }
            Action::Letters { grant, mailbox } => {
                let mut members = self
                    .groups
                    .values_mut()
                    .flat_map(|g| g.members.values_mut());
                let held = match self.grants.get_mut(&grant) {
                    Some(held) => Some(held),
                    None => members.find(|member| member.id == grant),
                };
                held.map(|held| held.letters = Some(mailbox)).is_some()
            }
            Action::Group(mut group) => {
                for generation in &mut group.generations.epochs {
                    generation.opened = sequence;
                }
                let id = group.id();
                let fits = group.is_new() && self.tree.get(&id).is_none();
                fits && self.groups.insert(id, *group).is_none()
            }
            Action::Epoch {
                collection,
                number,
                key,
            } if self.groups.contains_key(&collection) => {
                let group = self.groups.get_mut(&collection).ok_or(Error::Tampered)?;
                return group.generations.open(number, sequence, key);
            }
            action => return self.tree.apply(action, sequence),
        };
        if found { Ok(()) } else { Err(Error::Tampered) }
    }

    /// Whether the grant that this one was given on from is in force, and older.
    fn hangs(&self, grant: &GrantRecord) -> bool {
        grant.parent.is_none_or(|parent| {
            let above = self.grants.get(&parent);
            above.is_some_and(|above| above.filed < grant.filed && above.terms.reshare)
        })
    }

    /// The grants that were given on from this one.
    pub(crate) fn below(&self, id: GrantId) -> impl Iterator<Item = &GrantRecord> {
        self.grants
            .values()
            .filter(move |grant| grant.parent == Some(id))
    }

    /// A grant and those above it, upwards.
    pub(crate) fn chain_of(&self, id: &GrantId) -> impl Iterator<Item = &GrantRecord> {
        let parent = |grant: &&GrantRecord| self.grants.get(&grant.parent?);
        std::iter::successors(self.grants.get(id), parent)
    }

    /// Where what a grant is for lies in the store.
    pub(crate) fn stored(&self, scope: &Scope) -> Result<String> {
        match scope.path() {
            Some(path) => Ok(self.tree.store_path(path)?.path),
            None => Ok(self.tree.top().to_owned()),
        }
    }

    /// The collection whose epochs the keys of a grant are of; that of a version has
    /// none, for it ends with the version.
    pub(crate) fn collection_of(&self, scope: &Scope) -> Option<&Collection> {
        match scope {
            Scope::Folder(folder) => self.tree.mounted(folder.as_ref()),
            Scope::Object(path) => self.tree.nearest(path),
            Scope::Version(..) => None,
            Scope::Group(id, _) => self.groups.get(id).map(|group| &group.generations),
        }
    }

    /// # Errors
    /// `InvalidInput` where people would go on to reach all of what one of these grants, or
    /// places in a group, is for, by a road that it names.
    pub(crate) fn check_roads(
        &self,
        named: &BTreeSet<GrantId>,
        ended: &BTreeSet<GrantId>,
    ) -> Result<()> {
        for grant in named.iter().filter_map(|id| self.grant(id)) {
            self.has_no_other_road(&grant.card, &grant.scope, ended)?;
            if let Scope::Group(group, _) = &grant.scope {
                for given in self.given_to(group) {
                    self.has_no_other_road(&grant.card, &given.scope, ended)?;
                }
            }
        }
        Ok(())
    }

    fn has_no_other_road(
        &self,
        card: &Card,
        scope: &Scope,
        ended: &BTreeSet<GrantId>,
    ) -> Result<()> {
        let group = self.group_of(card).map(Group::id);
        let stay = |other: &&GrantRecord| !ended.contains(&other.id) && other.scope.reaches(scope);
        for other in self.grants.values().filter(stay) {
            let to = self.group_of(&other.card);
            let is_own = match to {
                // A group has another card in each generation.
                Some(to) => Some(to.id()) == group,
                None => other.card.fingerprint() == card.fingerprint(),
            };
            if is_own {
                return Err(Error::invalid(format!(
                    "the same person keeps access by another grant on the same or on a folder around it, {} of {}; revoke both together",
                    other.id,
                    other.scope.path().map_or_else(
                        || "the whole vault".to_owned(),
                        |path| format!("{:?}", path.as_str())
                    ),
                )));
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

    /// Whether the keys in it could have come from entries before this one.
    pub(crate) fn is_of_before(&self, sequence: u64) -> bool {
        let could_be = |c: &Collection| c.closed.is_none() && c.is_in_order(sequence);
        self.tree.mounted(None).is_some()
            && !self.tree.is_partial()
            && self.tree.object().is_none()
            && self.tree.collections().all(could_be)
            && self
                .grants
                .values()
                .all(|grant| grant.filed < sequence && self.hangs(grant))
            && self.links.values().all(|link| link.filed < sequence)
            && self.groups.values().all(|g| g.is_of_before(sequence))
            && self.groups.keys().all(|id| self.tree.get(id).is_none())
    }

    /// The group that this is a card of: in each generation it signs with the same key.
    pub(crate) fn group_of(&self, card: &Card) -> Option<&Group> {
        let is_its = |group: &&Group| group.signing_key() == *card.signing_key();
        self.groups.values().find(is_its)
    }

    /// A grant, or what makes somebody a member of a group.
    pub(crate) fn grant(&self, id: &GrantId) -> Option<&GrantRecord> {
        let mut groups = self.groups.values();
        let member = || groups.find_map(|group| group.members.get(id));
        self.grants.get(id).or_else(member)
    }

    /// What was given to a group.
    pub(crate) fn given_to(&self, group: &CollectionId) -> impl Iterator<Item = &GrantRecord> {
        let key = self.groups.get(group).map(Group::signing_key);
        let is_theirs = move |g: &&GrantRecord| Some(*g.card.signing_key()) == key;
        self.grants.values().filter(is_theirs)
    }

    /// A collection, or the generations of a group.
    pub(crate) fn collection(&self, id: &CollectionId) -> Option<&Collection> {
        let group = || self.groups.get(id).map(|group| &group.generations);
        self.tree.get(id).or_else(group)
    }
}

/// `[tree, [contact, …], [grant, …], [link, …], [group, …]]`, contacts in ascending order of
/// names, grants, links and groups of ids.
impl Record for State {
    fn write(&self, to: &mut Writer) {
        to.array(5);
        self.tree.write(to);
        to.array(self.contacts.len());
        for contact in self.contacts.values() {
            contact.write(to);
        }
        to.array(self.grants.len());
        for grant in self.grants.values() {
            grant.write(to);
        }
        to.array(self.links.len());
        for link in self.links.values() {
            link.write(to);
        }
        to.array(self.groups.len());
        for group in self.groups.values() {
            group.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(5)?;
        let mut state = Self::new(Tree::read(from)?);
        // Out of order, or one twice, is not what comes out when it is written again.
        for _ in 0..from.array_up_to(Self::MAX_CONTACTS)? {
            let contact = Contact::read(from)?;
            state.contacts.insert(contact.name.clone(), contact);
        }
        for _ in 0..from.array_up_to(Self::MAX_GRANTS)? {
            let grant = GrantRecord::read(from)?;
            state.grants.insert(grant.id, grant);
        }
        for _ in 0..from.array_up_to(Self::MAX_LINKS)? {
            let link = LinkRecord::read(from)?;
            state.links.insert(link.id, link);
        }
        for _ in 0..from.array_up_to(Self::MAX_GROUPS)? {
            let group = Group::read(from)?;
            state.groups.insert(group.id(), group);
        }
        Ok(state)
    }
}

/// The actions of one part.
pub(crate) struct Actions(pub(crate) Vec<Action>);

impl Actions {
    /// What an entry has room for is less.
    const MAX: usize = 1 << 18;
}

impl Record for Actions {
    fn write(&self, to: &mut Writer) {
        to.array(self.0.len());
        for action in &self.0 {
            match action {
                Action::Collection(names, collection) => {
                    to.array(6).uint(1).bytes(collection.id.as_bytes());
                    to.text(tree::mount_text(collection.mount.as_ref()));
                    tree::write_options(collection, to);
                    to.bytes(names.as_ref().map_or(&[], |key| key.expose_secret()));
                    let first = collection.epochs.first();
                    to.bytes(first.map_or(&[][..], |epoch| epoch.key.expose_secret()));
                }
                Action::Epoch {
                    collection,
                    number,
                    key,
                } => {
                    to.array(4).uint(2).bytes(collection.as_bytes());
                    to.uint((*number).into()).bytes(key.expose_secret());
                }
                Action::Snapshot(state) => {
                    to.array(2).uint(3);
                    state.write(to);
                }
                Action::Floor { collection, floor } => {
                    to.array(3).uint(4).bytes(collection.as_bytes());
                    to.uint((*floor).into());
                }
                Action::Contact(contact) => {
                    to.array(2).uint(5);
                    contact.write(to);
                }
                Action::Forget(name) => {
                    to.array(2).uint(6).text(name);
                }
                Action::Grant(grant) => {
                    to.array(2).uint(7);
                    grant.write(to);
                }
                Action::Revoke(id) => {
                    to.array(2).uint(8).bytes(id.as_bytes());
                }
                Action::Letters { grant, mailbox } => {
                    to.array(3).uint(19).bytes(grant.as_bytes());
                    to.bytes(mailbox.expose_secret());
                }
                Action::Filed(statement) => {
                    to.array(2).uint(9).bytes(statement.as_bytes());
                }
                Action::Closed { collection, bundle } => {
                    to.array(3).uint(10).bytes(collection.as_bytes());
                    to.bytes(bundle.as_ref().map_or(&[], |hash| hash.as_bytes()));
                }
                Action::Lease {
                    collection,
                    seconds,
                } => {
                    to.array(3).uint(18).bytes(collection.as_bytes());
                    to.uint(seconds.unwrap_or(0).into());
                }
                Action::Writers {
                    collection,
                    added,
                    removed,
                } => {
                    to.array(4).uint(11).bytes(collection.as_bytes());
                    for keys in [added, removed] {
                        to.array(keys.len());
                        for key in keys {
                            to.bytes(key);
                        }
                    }
                }
                Action::Link(link) => {
                    to.array(2).uint(12);
                    link.write(to);
                }
                Action::Withdraw(id) => {
                    to.array(2).uint(13).bytes(id.as_bytes());
                }
                Action::Group(group) => {
                    to.array(2).uint(14);
                    group.write(to);
                }
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let mut actions = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX)? {
            // An action of a later version may be longer than ours.
            let length = from.array_of_any(usize::MAX)?;
            actions.push(match (from.uint()?, length) {
                (1, 6) => {
                    let id = CollectionId(*from.fixed()?);
                    let mount = tree::read_mount(from)?;
                    let padded = tree::read_options(from)?;
                    let names = from.fixed_or_empty()?;
                    let names = names.map(|key| NameKey::init_with(|out| *out = *key));
                    let key = tree::read_content_key(from)?;
                    Action::Collection(names, Collection::with_key(id, mount, padded, 0, key))
                }
                (2, 4) => Action::Epoch {
                    collection: CollectionId(*from.fixed()?),
                    number: from.uint_u32()?,
                    key: tree::read_content_key(from)?,
                },
                (3, 2) => Action::Snapshot(Box::new(State::read(from)?)),
                (4, 3) => Action::Floor {
                    collection: CollectionId(*from.fixed()?),
                    floor: from.uint_u32()?,
                },
                (5, 2) => Action::Contact(Contact::read(from)?),
                (6, 2) => Action::Forget(from.text(Contact::MAX_NAME)?.to_owned()),
                (7, 2) => Action::Grant(Box::new(GrantRecord::read(from)?)),
                (8, 2) => Action::Revoke(GrantId(*from.fixed()?)),
                (9, 2) => Action::Filed(RecordHash(*from.fixed()?)),
                (10, 3) => Action::Closed {
                    collection: CollectionId(*from.fixed()?),
                    bundle: from.fixed_or_empty()?.copied().map(RecordHash),
                },
                (11, 4) => Action::Writers {
                    collection: CollectionId(*from.fixed()?),
                    added: read_keys(from)?,
                    removed: read_keys(from)?,
                },
                (12, 2) => Action::Link(Box::new(LinkRecord::read(from)?)),
                (13, 2) => Action::Withdraw(LinkId(*from.fixed()?)),
                (14, 2) => Action::Group(Box::new(Group::read(from)?)),
                (18, 3) => {
                    let collection = CollectionId(*from.fixed()?);
                    let seconds = from.uint_u32()?;
                    Action::Lease {
                        collection,
                        seconds: (seconds > 0).then_some(seconds),
                    }
                }
                (19, 3) => Action::Letters {
                    grant: GrantId(*from.fixed()?),
                    mailbox: grant::read_mailbox(from)?,
                },
                (1..=14 | 18..=19, _) => return Err(Error::Tampered),
                _ => return Err(Error::UnsupportedFormat("action in the ledger")),
            });
        }
        Ok(Self(actions))
    }
}

/// Signing keys in ascending order: another order is not what comes out when they are
/// written again.
fn read_keys(from: &mut Reader<'_>) -> Result<BTreeSet<[u8; 32]>> {
    let count = from.array_up_to(Writers::MAX)?;
    (0..count).map(|_| Ok(*from.fixed()?)).collect()
}
