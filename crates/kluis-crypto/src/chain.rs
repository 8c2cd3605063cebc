//! Access that is given on: chains of statements, from the one that the owner signed
//! down, and what the owner is sent of each (docs/FORMAT.md, section 12).

use crate::card::Card;
use crate::cbor::{Reader, Record, Writer};
use crate::contact::{Contact, Recipient};
use crate::credential::random_bytes;
use crate::grant::{self, GrantRecord, Keys, LetterName, MailboxSecret, Share, Statement, Terms};
use crate::grant_file::GrantFile;
use crate::header::Suite;
use crate::identity::Identity;
use crate::kdf::{Label, domain};
use crate::layout::HEADER_LENGTH;
use crate::ledger::State;
use crate::name::VaultPath;
use crate::object::Opener;
use crate::secret::secret_key;
use crate::tree::{Past, Scope, Tree};
use crate::{Error, GrantId, Position, RecordHash, Result, VaultId};
use std::fmt;

/// Most statements of a chain, that of the owner among them.
pub const MAX_CHAIN: usize = 4;

secret_key! {
    /// What everybody below a grant shares with the owner: by it they hear that the
    /// grant is filed, and how it ends.
    pub(crate) struct ChainKey;
}

impl ChainKey {
    /// `KDF(mailbox secret, "below", vault id)`
    pub(crate) fn of(mailbox: &MailboxSecret, vault: &VaultId) -> Self {
        Self::derive(mailbox.expose_secret(), Label::BELOW, &[vault.as_bytes()])
    }
}

/// A statement as its grantor signed it.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) statement: Statement,
    encoded: Vec<u8>,
    signature: [u8; 64],
    pub(crate) grantor: Card,
}

impl Signed {
    const MAX_LENGTH: usize = Statement::MAX_LENGTH;

    pub(crate) fn sign(grantor: &Identity, statement: Statement) -> Self {
        let encoded = statement.encode().to_vec();
        Self {
            signature: grantor.sign(domain::STATEMENT, &[&encoded]),
            grantor: grantor.card().clone(),
            statement,
            encoded,
        }
    }

    /// # Errors
    /// `Tampered` for what the grantor did not sign, or signed for another card.
    pub(crate) fn check(encoded: Vec<u8>, signature: [u8; 64], grantor: Card) -> Result<Self> {
        // Before anything else is looked at: what a later version says is signed.
        grantor.verify(domain::STATEMENT, &[&encoded], &signature)?;
        let statement = Statement::decode(&encoded)?;
        if statement.grantor != grantor.hash() {
            return Err(Error::Tampered);
        }
        Ok(Self {
            statement,
            encoded,
            signature,
            grantor,
        })
    }

    pub(crate) fn hash(&self) -> RecordHash {
        grant::statement_hash(&self.statement)
    }

    pub(crate) fn into_parts(self) -> (Vec<u8>, [u8; 64], Card) {
        (self.encoded, self.signature, self.grantor)
    }
}

/// A statement above one that was given on.
pub(crate) struct Above {
    pub(crate) signed: Signed,
    key: ChainKey,
}

impl Above {
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            signed: self.signed.clone(),
            key: self.key.duplicate(),
        }
    }
}

impl fmt::Debug for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Above")
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}

/// `[statement, signature, grantor's card, chain key]`
impl Record for Above {
    fn write(&self, to: &mut Writer) {
        to.array(4)
            .bytes(&self.signed.encoded)
            .bytes(&self.signed.signature)
            .bytes(self.signed.grantor.as_bytes())
            .bytes(self.key.expose_secret());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(4)?;
        let encoded = from.bytes(Signed::MAX_LENGTH)?.to_vec();
        let signature = *from.fixed()?;
        let grantor = Card::parse(from.bytes(Card::MAX_LENGTH)?)?;
        let key = from.fixed()?;
        Ok(Self {
            signed: Signed::check(encoded, signature, grantor)?,
            key: ChainKey::init_with(|out| *out = *key),
        })
    }
}

/// The statements above one, from the owner's down; none for a grant of the owner's.
#[derive(Debug, Default)]
pub(crate) struct Chain(Vec<Above>);

impl Record for Chain {
    fn write(&self, to: &mut Writer) {
        to.array(self.0.len());
        for above in &self.0 {
            above.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let count = from.array_up_to(MAX_CHAIN - 1)?;
        Ok(Self(
            (0..count)
                .map(|_| Above::read(from))
                .collect::<Result<_>>()?,
        ))
    }
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.0.iter().map(|above| &above.signed.statement)
    }

    /// Who gave what.
    pub(crate) fn givers(&self) -> impl Iterator<Item = (&Card, &Statement)> {
        let givers = self.0.iter().map(|above| &above.signed);
        givers.map(|signed| (&signed.grantor, &signed.statement))
    }

    /// The statement of the owner, unless that is the one below.
    pub(crate) fn owners(&self) -> Option<&Signed> {
        self.0.first().map(|above| &above.signed)
    }

    /// Whether this grant is above.
    pub(crate) fn has(&self, id: &GrantId) -> bool {
        self.statements().any(|statement| statement.id == *id)
    }

    /// What the chain key of a grant above opens.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.0.iter().map(|above| above.key.expose_secret())
    }

    /// The same chain with one more below.
    fn with(&self, signed: Signed, key: &ChainKey) -> Self {
        let key = key.duplicate();
        let above = self.0.iter().map(Above::duplicate);
        Self(above.chain([Above { signed, key }]).collect())
    }

    /// Whether each statement allows the one below it, down to the last one, and is the
    /// one that it names.
    ///
    /// # Errors
    /// `Tampered`; of a chain with too wide a link, `AccessDenied`.
    pub(crate) fn check(&self, last: &Statement) -> Result<()> {
        let mut above: Option<(&Statement, RecordHash)> = None;
        let all = self
            .0
            .iter()
            .map(|a| (&a.signed.statement, a.signed.hash()));
        for (statement, hash) in all.chain([(last, RecordHash::MIN)]) {
            if statement.above != above.map(|(_, hash)| hash) {
                return Err(Error::Tampered);
            }
            if let Some((above, _)) = above {
                statement.check_below(above)?;
            }
            above = Some((statement, hash));
        }
        Ok(())
    }
}

impl Statement {
    /// Whether the one above allows this one, and its grantee has signed it.
    ///
    /// # Errors
    /// `Tampered` where it does not belong below it, `AccessDenied` where it is wider.
    fn check_below(&self, above: &Self) -> Result<()> {
        // Whoever gives on has found the owner's filed.
        let follows = match above.above {
            None => self.before.sequence > above.before.sequence,
            Some(_) => self.before.sequence >= above.before.sequence,
        };
        let of_it = self.vault == above.vault
            && self.suite == above.suite
            && self.grantor == above.grantee
            && follows;
        if !of_it {
            return Err(Error::Tampered);
        }
        self.terms.check_below(&above.terms, &self.scope)?;
        let is_within = match (&above.scope, &self.scope) {
            (Scope::Folder(_), own) if self.stored != above.stored => {
                let below = self.stored.strip_prefix(&above.stored);
                // The whole vault lies in nothing.
                below.is_some_and(|below| below.starts_with('/')) && own.path().is_some()
            }
            _ if self.stored != above.stored => false,
            (Scope::Object(name), Scope::Version(own, _)) => name == own,
            (above, own) => above == own,
        };
        if is_within { Ok(()) } else { Err(elsewhere()) }
    }
}

impl Terms {
    /// Whether what these terms give can be given on under those.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(crate) fn check_below(&self, above: &Self, scope: &Scope) -> Result<()> {
        if !above.reshare {
            return Err(Error::AccessDenied(
                "it was not given to be given on; ask the owner of the vault to share it",
            ));
        }
        let is_past = match scope {
            // One write that can be read is of the past.
            Scope::Version(..) => self.past == Past::Shared && !self.write,
            _ => self.past == above.past,
        };
        let begins = above
            .not_before
            .is_none_or(|above| self.not_before >= Some(above));
        let ends = above
            .not_after
            .is_none_or(|above| self.not_after.is_some_and(|own| own <= above));
        let wider = if self.write && !above.write {
            "writing is more than was given"
        } else if !is_past {
            "it would have more of the past, or less, than was given"
        } else if !begins {
            "it would begin earlier than was given"
        } else if !ends {
            "it would end later than was given"
        } else {
            return Ok(());
        };
        Err(Error::AccessDenied(wider))
    }
}

/// It lies elsewhere than what was given, or around it.
fn elsewhere() -> Error {
    Error::AccessDenied("it would reach elsewhere than was given")
}

fn too_deep() -> Error {
    Error::AccessDenied(
        "it was given on as often as it can be; ask the owner of the vault to share it",
    )
}

/// What somebody gives on, with paths below what was given to him.
#[derive(Debug, Clone)]
pub enum GiveOn {
    /// All of it: the folder, the object or the version.
    All,
    /// A folder in it that the owner has shared by itself.
    Folder(VaultPath),
    /// One object in it.
    Object(VaultPath),
    /// One write of an object in it, or of the object that it is, by its header.
    Version(VaultPath, Box<[u8; HEADER_LENGTH]>),
}

/// What was given on: the first letter of it, and what its grantee and the owner get.
#[derive(Debug)]
pub struct GivenOn {
    id: GrantId,
    name: LetterName,
    letter: Vec<u8>,
    copy: Vec<u8>,
    stored: String,
}

impl GivenOn {
    /// Names the grant, for the owner too once he has filed it.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// The name of its first letter.
    pub fn name(&self) -> LetterName {
        self.name
    }

    /// The first letter.
    pub fn letter(&self) -> &[u8] {
        &self.letter
    }

    /// What the owner gets of it; see [`GrantFile::with_copy`].
    pub fn copy(&self) -> &[u8] {
        &self.copy
    }

    /// Where what was given on lies below the vault's prefix.
    pub fn stored(&self) -> &str {
        &self.stored
    }
}

impl Share {
    /// Gives on what this grant allows.
    ///
    /// # Errors
    /// `AccessDenied` where the grant does not allow it, is a group's, has ended, or would be
    /// given on too often; `InvalidInput` for terms that are none, for a folder that has no keys of
    /// its own, and for a card of X25519 alone; `Randomness`.
    ///
    /// # Security
    /// The recipient reads with these keys at once. That the access reaches further than
    /// the epochs of today, and that it is seen and taken back by the owner, takes that
    /// he files it: [`GivenOn::copy`].
    pub fn give_on(
        &self,
        identity: &Identity,
        what: GiveOn,
        recipient: &Recipient,
        terms: Terms,
        now: u64,
    ) -> Result<GivenOn> {
        terms.check()?;
        recipient.check_suite()?;
        self.terms().check_time(now)?;
        if !self.is_filed() || self.is_closed() {
            return Err(Error::AccessDenied("the access has ended"));
        }
        let (place, scope, tree) = self.narrowed(what)?;
        let mailbox = MailboxSecret::make()?;
        let (first, chain, below) = self.first();
        if first.statement.grantee != identity.card().hash() {
            return Err(Error::AccessDenied(
                "what a group was given is not given on, for nobody in it can sign for the group; ask the owner of the vault to share it",
            ));
        }
        let statement = Statement {
            id: GrantId(random_bytes()?),
            grantor: identity.card().hash(),
            grantee: recipient.card().hash(),
            scope,
            terms,
            tree: grant::tree_hash(&tree),
            before: self.head(),
            stored: tree.top().to_owned(),
            above: Some(first.hash()),
            ..first.statement.clone()
        };
        let chain = chain.with(first.clone(), below);
        if chain.0.len() >= MAX_CHAIN {
            return Err(too_deep());
        }
        chain.check(&statement)?;
        self.hand_on(
            identity,
            (statement, place, tree),
            recipient,
            (chain, &mailbox),
        )
    }

    /// What the recipient and the owner get of it.
    fn hand_on(
        &self,
        identity: &Identity,
        (statement, place, tree): (Statement, String, Tree),
        recipient: &Recipient,
        (chain, mailbox): (Chain, &MailboxSecret),
    ) -> Result<GivenOn> {
        let signed = Signed::sign(identity, statement);
        let name = LetterName::make()?;
        let (vault, id) = (signed.statement.vault, signed.statement.id);
        let copy = OwnersCopy {
            to: recipient.name(),
            card: recipient.card().clone(),
            mailbox: mailbox.duplicate(),
            place,
            signed,
        };
        let sealed = self
            .owner()
            .seal(&vault, &OwnersCopy::sealed_at(&name), &copy.encode())?;
        let stored = tree.top().to_owned();
        let (card, keys) = (recipient.card(), Keys::Inside(tree));
        let letter = grant::letter_below(card, copy.signed, mailbox, keys, chain, &name)?;
        Ok(GivenOn {
            id,
            name,
            letter,
            copy: sealed,
            stored,
        })
    }

    /// What is given on: where it lies below what was given, what a statement says of it,
    /// and its keys.
    fn narrowed(&self, what: GiveOn) -> Result<(String, Scope, Tree)> {
        let tree = self.tree();
        let own = self.scope();
        let place = |path: &VaultPath| {
            if tree.object().is_some() {
                String::new()
            } else {
                path.as_str().to_owned()
            }
        };
        let (place, scope, part) = match what {
            GiveOn::All => (String::new(), own.clone(), tree.duplicate()),
            GiveOn::Folder(path) => {
                if tree.mounted(Some(&path)).is_none() {
                    return Err(Error::invalid(
                        "this folder has no keys of its own to give on: give on the whole folder that was shared, or an object, or ask the owner of the vault to share this one",
                    ));
                }
                let scope = Scope::Folder(Some(path));
                let part = tree.part_given_on(&scope)?;
                (place_of(&scope), scope.own(), part)
            }
            GiveOn::Object(path) => {
                let scope = Scope::Object(path.clone());
                let part = match tree.object() {
                    None => tree.part_given_on(&scope)?,
                    Some(name) if *name == path => tree.duplicate(),
                    Some(_) => return Err(Error::NotFound("object")),
                };
                (place(&path), scope.own(), part)
            }
            GiveOn::Version(path, header) => {
                let first = &self.first().0.statement;
                let write = Opener::new(&header, &first.vault, first.suite, tree, &path)?;
                let part = tree.of_version(&path, &write)?;
                let scope = Scope::Version(path.own(), *write.commitment());
                (place(&path), scope, part)
            }
        };
        let is_open = part
            .mounted(None)
            .is_some_and(|own| own.current().is_some());
        if is_open && part.is_of(&scope) {
            Ok((place, scope, part))
        } else {
            Err(Error::AccessDenied(
                "the key that is in force is not at hand",
            ))
        }
    }
}

fn place_of(scope: &Scope) -> String {
    scope.path().map_or("", VaultPath::as_str).to_owned()
}

/// What the owner gets of a grant that somebody gave on, sealed to the owner's card.
#[derive(Debug)]
pub struct OwnersCopy {
    signed: Signed,
    /// Whom it is for, as the grantor calls him.
    to: String,
    card: Card,
    mailbox: MailboxSecret,
    /// Below what the grantor has; empty for the same.
    place: String,
}

/// `[statement, signature, grantor's card, name, grantee's card, mailbox secret, place]`
impl Record for OwnersCopy {
    fn write(&self, to: &mut Writer) {
        to.array(7)
            .bytes(&self.signed.encoded)
            .bytes(&self.signed.signature)
            .bytes(self.signed.grantor.as_bytes())
            .text(&self.to)
            .bytes(self.card.as_bytes())
            .bytes(self.mailbox.expose_secret())
            .text(&self.place);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let encoded = from.bytes(Signed::MAX_LENGTH)?.to_vec();
        let signature = *from.fixed()?;
        let grantor = Card::parse(from.bytes(Card::MAX_LENGTH)?)?;
        let signed = Signed::check(encoded, signature, grantor)?;
        let to = from.text(Contact::MAX_NAME)?.to_owned();
        let card = Card::parse(from.bytes(Card::MAX_LENGTH)?)?;
        let mailbox = from.fixed()?;
        let mailbox = MailboxSecret::init_with(|out| *out = *mailbox);
        let place = from.text(VaultPath::MAX_MOUNT)?.to_owned();
        let named = Contact::new(&to, card.clone()).is_ok();
        if !named || signed.statement.grantee != card.hash() {
            return Err(Error::Tampered);
        }
        Ok(Self {
            signed,
            to,
            card,
            mailbox,
            place,
        })
    }
}

impl OwnersCopy {
    /// A longer record is not one.
    pub const MAX_LENGTH: usize = 65_536;

    /// The place that it is sealed for: that of the grant's first letter, and `copy`.
    fn sealed_at(name: &LetterName) -> [u8; 20] {
        let mut place = [0; 20];
        place[..16].copy_from_slice(&name.0);
        place[16..].copy_from_slice(b"copy");
        place
    }

    /// Opens what a file holds for the owner.
    ///
    /// # Errors
    /// `NotFound` where it holds nothing for an owner; `Tampered` for what was not sealed
    /// to this owner's card for this vault, or not signed by the grantor that it names.
    ///
    /// # Security
    /// Anybody can make one: what it says holds once the ledger has
    /// [allowed](crate::Ledger::examine) it.
    pub fn open(owner: &Identity, vault: &VaultId, file: &GrantFile) -> Result<Self> {
        if file.copy().is_empty() {
            return Err(Error::NotFound(
                "the owner's part of a grant that was given on",
            ));
        }
        if file.vault() != *vault {
            return Err(Error::Tampered);
        }
        let at = Self::sealed_at(&file.name());
        let copy = Self::decode(&owner.open(vault, &at, file.copy())?)?;
        let is_of_file = copy.signed.grantor.fingerprint() == file.grantor();
        if is_of_file && copy.signed.statement.vault == *vault {
            Ok(copy)
        } else {
            Err(Error::Tampered)
        }
    }

    /// Names the grant.
    pub fn id(&self) -> GrantId {
        self.signed.statement.id
    }

    /// Whom it is for.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// What the grantor calls him.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// What was given on.
    pub fn terms(&self) -> &Terms {
        &self.signed.statement.terms
    }

    /// Where what was given on lies below the vault's prefix.
    pub fn stored(&self) -> &str {
        &self.signed.statement.stored
    }

    /// The newest ledger entry that the grantor knew.
    pub(crate) fn before(&self) -> Position {
        self.signed.statement.before
    }

    /// The grant that it hangs below, and what it is for, if it may be filed: everything
    /// is held against what the owner's own ledger says.
    pub(crate) fn examine(
        &self,
        state: &State,
        (suite, head): (Suite, Position),
        now: u64,
    ) -> Result<(GrantId, Scope)> {
        let own = &self.signed.statement;
        if state.grant(&own.id).is_some() {
            return Err(Error::invalid("this grant is filed already"));
        }
        let above = own.above.ok_or(Error::Tampered)?;
        let mut grants = state.grants.values();
        let above = grants.find(|grant| grant.statement == above).ok_or(Error::NotFound(
            "the place of the grant above it, which was taken back, has ended, or was itself given on and is to be filed first",
        ))?;
        let right = own.suite == suite
            && own.grantor == above.card.hash()
            && self.signed.grantor.hash() == own.grantor;
        if !right {
            return Err(Error::Tampered);
        }
        if own.before.sequence > head.sequence {
            return Err(Error::Stale("ledger"));
        }
        // What was given on may have been given on again before the owner knew of it.
        if above.parent.is_none() && own.before.sequence < above.filed {
            return Err(Error::Tampered);
        }
        if state.chain_of(&above.id).count() >= MAX_CHAIN {
            return Err(too_deep());
        }
        own.terms.check_below(&above.terms, &own.scope)?;
        let scope = self.scope_below(&above.scope)?;
        if state.stored(&scope)? != own.stored {
            return Err(elsewhere());
        }
        if own.terms.not_after.is_some_and(|end| end < now) {
            return Err(Error::AccessDenied("its time was over before it was filed"));
        }
        if let Scope::Version(..) = scope {
            return Ok((above.id, scope));
        }
        let collection = state.collection_of(&scope).ok_or_else(elsewhere)?;
        let current = collection.current().ok_or(Error::Tampered)?;
        if current.opened > own.before.sequence {
            return Err(Error::AccessDenied(
                "the vault got new keys before it was filed",
            ));
        }
        Ok((above.id, scope))
    }

    /// What it is for, with its path in the vault.
    fn scope_below(&self, above: &Scope) -> Result<Scope> {
        let stated = &self.signed.statement.scope;
        let whole = match (above, &*self.place) {
            (_, "") => above.path().cloned(),
            (Scope::Folder(folder), place) => {
                let place = VaultPath::parse(place).map_err(|_| Error::Tampered)?;
                Some(VaultPath::join(folder.as_ref(), &place))
            }
            _ => return Err(elsewhere()),
        };
        let scope = match (stated, whole) {
            (Scope::Folder(_), whole) => Scope::Folder(whole),
            (Scope::Object(_), Some(path)) => Scope::Object(path),
            (Scope::Version(_, commitment), Some(path)) => Scope::Version(path, *commitment),
            _ => return Err(elsewhere()),
        };
        let fits = match (above, &scope) {
            (Scope::Folder(_), Scope::Folder(_)) => true,
            // An object is not where a folder is, or the vault.
            (Scope::Folder(_), _) => !self.place.is_empty(),
            (Scope::Object(_), Scope::Object(_) | Scope::Version(..)) => true,
            (above, own) => above == own,
        };
        if fits && scope.own() == *stated {
            Ok(scope)
        } else {
            Err(elsewhere())
        }
    }

    pub(crate) fn record(
        &self,
        to: String,
        (parent, scope): (GrantId, Scope),
        (filed, time): (u64, u64),
    ) -> GrantRecord {
        GrantRecord {
            id: self.id(),
            to,
            card: self.card.clone(),
            scope,
            terms: self.terms().clone(),
            mailbox: self
                .mailbox
                .given_on(&self.signed.statement.vault, self.signed.hash()),
            letters: None,
            filed,
            time,
            statement: self.signed.hash(),
            parent: Some(parent),
        }
    }
}

#[cfg(test)]
impl Chain {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn swap(&mut self) {
        self.0.reverse();
    }
}

#[cfg(test)]
impl OwnersCopy {
    pub(crate) fn place_below(&self) -> &str {
        &self.place
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ledger::{Appended, Decision};
    use crate::object::tests::put_in;
    use crate::testing::{Vault, flips, phrase};
    use crate::{IdentitySuite, Ledger, Metadata};
    use proptest::prelude::*;

    const NOW: u64 = 5_000;

    fn path(text: &str) -> VaultPath {
        VaultPath::parse(text).unwrap()
    }

    fn person() -> Identity {
        Identity::make(IdentitySuite::X25519, 1).unwrap()
    }

    fn to(identity: &Identity) -> Recipient {
        let recipient = Recipient::trusted_on_first_use(identity.card().clone());
        recipient.allow_classical().named("somebody").unwrap()
    }

    fn terms(write: bool, reshare: bool) -> Terms {
        Terms {
            write,
            reshare,
            not_before: Some(100),
            not_after: Some(1 << 40),
            ..Terms::reading()
        }
    }

    fn give(vault: &mut Vault, who: &Identity, scope: Scope, terms: Terms) -> (Share, GrantId) {
        let appended = vault.decide(Decision::Share {
            scope,
            recipient: to(who),
            terms,
        });
        let Appended {
            records, granted, ..
        } = appended.unwrap();
        let (id, name) = granted.unwrap();
        let letter = records.into_iter().find(|r| r.0 == name.path()).unwrap().1;
        let mut share = Share::open(who, &vault.secrets.vault(), &name, &letter).unwrap();
        follow(&mut share, who, vault).unwrap();
        (share, id)
    }

    /// To the end of the ledger, with the letters on the way.
    fn follow(share: &mut Share, who: &Identity, vault: &Vault) -> Result<()> {
        let head = share.head().sequence;
        let later = vault.entries.iter();
        for entry in later.filter(|e| e.position().sequence > head) {
            share.follow(entry)?;
            if let Some(hash) = share.awaited() {
                share.renew(who, vault.bundle(hash))?;
            }
        }
        Ok(())
    }

    fn open(given: &GivenOn, who: &Identity, vault: &Vault) -> Result<Share> {
        let mut share = Share::open(who, &vault.secrets.vault(), &given.name(), given.letter())?;
        follow(&mut share, who, vault)?;
        Ok(share)
    }

    fn copy(given: &GivenOn, vault: &Vault, giver: &Identity) -> Result<OwnersCopy> {
        let (id, giver) = (vault.secrets.vault(), giver.card().fingerprint());
        let file = GrantFile::new("memory:", id, given.name(), giver, given.letter());
        OwnersCopy::open(
            vault.secrets.identity(),
            &id,
            &file.unwrap().with_copy(given.copy()).unwrap(),
        )
    }

    fn file(given: &GivenOn, vault: &mut Vault, giver: &Identity) -> Result<Appended> {
        let copy = copy(given, vault, giver)?;
        let to = copy.to().to_owned();
        vault.decide(Decision::File {
            copy: copy.into(),
            to,
        })
    }

    /// What somebody could send with all the keys that he has: what his client would
    /// make, with one thing in it changed and signed again.
    pub(crate) fn forged(
        by: &Share,
        identity: &Identity,
        what: GiveOn,
        for_whom: &Recipient,
        change: impl FnOnce(&mut Statement, &mut String, &mut Chain),
    ) -> GivenOn {
        let (mut place, scope, tree) = by.narrowed(what).unwrap();
        let (first, chain, own) = by.first();
        let mut chain = chain.with(first.clone(), own);
        let mut statement = Statement {
            id: GrantId(random_bytes().unwrap()),
            grantor: identity.card().hash(),
            grantee: for_whom.card().hash(),
            scope,
            terms: Terms {
                reshare: false,
                ..by.terms().clone()
            },
            tree: grant::tree_hash(&tree),
            before: by.head(),
            stored: tree.top().to_owned(),
            above: Some(first.hash()),
            ..first.statement.clone()
        };
        change(&mut statement, &mut place, &mut chain);
        let mailbox = MailboxSecret::make().unwrap();
        let made = (statement, place, tree);
        by.hand_on(identity, made, for_whom, (chain, &mailbox))
            .unwrap()
    }

    struct Scene {
        vault: Vault,
        bob: Identity,
        carol: Identity,
        his: Share,
        /// Another folder of his, that may not be given on.
        other: Share,
    }

    fn scene() -> Scene {
        let mut vault = Vault::make(false, &phrase(1));
        let (bob, carol) = (person(), person());
        let folder = |text| Scope::Folder(Some(path(text)));
        let (other, _) = give(&mut vault, &bob, folder("secret"), terms(true, false));
        let (mut his, _) = give(&mut vault, &bob, folder("a"), terms(false, true));
        follow(&mut his, &bob, &vault).unwrap();
        Scene {
            vault,
            bob,
            carol,
            his,
            other,
        }
    }

    pub(crate) type Change = fn(&mut Statement, &mut String, &mut Chain);

    #[test]
    fn whatever_is_wider_is_refused_to_the_grantee_and_to_the_owner() {
        let mut scene = scene();
        let forge = |scene: &Scene, change: Change| {
            let to = to(&scene.carol);
            forged(&scene.his, &scene.bob, GiveOn::All, &to, change)
        };
        let wider: [(&str, Change); 8] = [
            ("write", |s, _, _| s.terms.write = true),
            ("past", |s, _, _| s.terms.past = Past::HeldBack),
            ("no beginning", |s, _, _| s.terms.not_before = None),
            ("earlier", |s, _, _| s.terms.not_before = Some(99)),
            ("no end", |s, _, _| s.terms.not_after = None),
            ("later", |s, _, _| s.terms.not_after = Some((1 << 40) + 1)),
            ("another folder", |s, _, _| s.stored.push('x')),
            ("around it", |s, _, _| s.stored = objects_top()),
        ];
        for (what, change) in wider {
            let given = forge(&scene, change);
            let opened = open(&given, &scene.carol, &scene.vault).err();
            let refused = |e: &Error| matches!(e, Error::AccessDenied(_) | Error::Tampered);
            assert!(opened.as_ref().is_some_and(refused), "{what}: {opened:?}");
            let ledger = scene.vault.ledger();
            let copy = copy(&given, &scene.vault, &scene.bob).unwrap();
            let found = ledger.examine(&copy, NOW).err();
            assert!(found.as_ref().is_some_and(refused), "{what}: {found:?}");
            let filed = file(&given, &mut scene.vault, &scene.bob).err();
            assert_eq!(filed, found, "{what}");
        }
        // Nothing of that was changed: it is what his own client makes.
        let good = forge(&scene, |_, _, _| {});
        let hers = open(&good, &scene.carol, &scene.vault).unwrap();
        assert!(hers.is_unfiled() && !hers.is_closed());
        file(&good, &mut scene.vault, &scene.bob).unwrap();
        let hers = open(&good, &scene.carol, &scene.vault).unwrap();
        assert!(!hers.is_unfiled());
    }

    fn objects_top() -> String {
        crate::objects_prefix().to_owned()
    }

    /// What was given without leave to give it on, under the leave of another grant.
    #[test]
    fn leave_for_one_folder_is_none_for_another() {
        let mut scene = scene();
        let (vault, to) = (&scene.vault, to(&scene.carol));
        let given = forged(&scene.other, &scene.bob, GiveOn::All, &to, |_, _, _| {});
        assert!(matches!(
            open(&given, &scene.carol, vault),
            Err(Error::AccessDenied(_))
        ));
        // Named below the one with leave, with the keys of the other.
        let (first, ..) = scene.his.first();
        let (hash, signed) = (first.hash(), first.clone());
        let (_, _, own) = scene.his.first();
        let (key, before) = (own.duplicate(), scene.his.head());
        let given = forged(&scene.other, &scene.bob, GiveOn::All, &to, |s, _, chain| {
            s.above = Some(hash);
            s.before = before;
            s.terms.write = false;
            *chain = Chain::default().with(signed, &key);
        });
        let refused = open(&given, &scene.carol, vault).err();
        assert!(
            matches!(refused, Some(Error::AccessDenied(_))),
            "{refused:?}"
        );
        let refused = file(&given, &mut scene.vault, &scene.bob).err();
        assert!(
            matches!(refused, Some(Error::AccessDenied(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn a_statement_below_another_is_of_its_vault_suite_grantee_and_time() {
        let mut scene = scene();
        let wrong: [(&str, Change); 9] = [
            ("vault", |s, _, _| s.vault = VaultId([9; 16])),
            ("suite", |s, _, _| s.suite = Suite::V2),
            ("grantor", |s, _, _| s.grantor = RecordHash([9; 32])),
            ("keys", |s, _, _| s.tree = RecordHash([9; 32])),
            ("the one above", |s, _, _| {
                s.above = Some(RecordHash([9; 32]))
            }),
            ("none above", |s, _, _| s.above = None),
            ("before it was filed", |s, _, _| s.before.sequence = 0),
            ("another ledger", |s, _, _| {
                s.before.hash = RecordHash([9; 32])
            }),
            ("kind", |s, _, _| s.scope = Scope::Object(path("a"))),
        ];
        for (what, change) in wrong {
            let to = to(&scene.carol);
            let given = forged(&scene.his, &scene.bob, GiveOn::All, &to, change);
            let refused = open(&given, &scene.carol, &scene.vault).err();
            let expected = match what {
                "kind" => matches!(refused, Some(Error::AccessDenied(_))),
                _ => refused == Some(Error::Tampered),
            };
            assert!(expected, "{what}: {refused:?}");
            // The owner holds no keys against it: hers are hers.
            if what != "keys" {
                let refused = file(&given, &mut scene.vault, &scene.bob).err();
                assert!(
                    matches!(
                        refused,
                        Some(Error::Tampered | Error::NotFound(_) | Error::AccessDenied(_))
                    ),
                    "{what}: {refused:?}"
                );
            }
        }
        // Where it lies is told to the owner alone, and he looks.
        for place in ["b", "../x", "a"] {
            let to = to(&scene.carol);
            let given = forged(&scene.his, &scene.bob, GiveOn::All, &to, |_, p, _| {
                place.clone_into(p);
            });
            assert!(
                file(&given, &mut scene.vault, &scene.bob).is_err(),
                "{place}"
            );
        }
    }

    #[test]
    fn a_chain_is_whole_and_in_its_order() {
        let mut vault = Vault::make(false, &phrase(1));
        let people: Vec<Identity> = (0..5).map(|_| person()).collect();
        let folder = Scope::Folder(Some(path("a")));
        let (first, _) = give(&mut vault, &people[0], folder, terms(false, true));
        let mut shares = vec![first];
        for n in 1..4 {
            let by = &shares[n - 1];
            let terms = terms(false, true);
            let given = by.give_on(&people[n - 1], GiveOn::All, &to(&people[n]), terms, NOW);
            shares.push(open(&given.unwrap(), &people[n], &vault).unwrap());
        }
        assert_eq!(shares[3].chain().count(), 3);
        let last = &shares[2];
        type Cut = fn(&mut Vec<Above>);
        let changes: [(&str, Cut); 7] = [
            ("swapped", |c| c.swap(0, 1)),
            ("swapped below", |c| c.swap(1, 2)),
            ("the owner's dropped", |c| drop(c.remove(0))),
            ("one dropped", |c| drop(c.remove(1))),
            ("the last dropped", |c| drop(c.pop())),
            ("doubled", |c| c[2] = c[1].duplicate()),
            ("none", |c| c.clear()),
        ];
        for (what, change) in changes {
            let forge = |_: &mut Statement, _: &mut String, chain: &mut Chain| change(&mut chain.0);
            let given = forged(last, &people[2], GiveOn::All, &to(&people[3]), forge);
            let refused = open(&given, &people[3], &vault).err();
            assert_eq!(refused, Some(Error::Tampered), "{what}");
        }
        let same = forged(last, &people[2], GiveOn::All, &to(&people[3]), |_, _, _| {});
        assert!(open(&same, &people[3], &vault).is_ok());
        // Made for another, it is not opened, and signed by another it is not his.
        let to_other = forged(last, &people[2], GiveOn::All, &to(&people[3]), |s, _, _| {
            s.grantee = RecordHash([1; 32]);
        });
        assert_eq!(
            open(&to_other, &people[3], &vault).err(),
            Some(Error::Tampered)
        );
        let by_other = forged(last, &people[4], GiveOn::All, &to(&people[3]), |_, _, _| {});
        assert_eq!(
            open(&by_other, &people[3], &vault).err(),
            Some(Error::Tampered)
        );
        // A chain of another vault's owner: nothing files it here.
        let mut elsewhere = Vault::make(false, &phrase(2));
        let scope = Scope::Folder(Some(path("a")));
        let (theirs, _) = give(&mut elsewhere, &people[0], scope, terms(false, true));
        let given = theirs.give_on(
            &people[0],
            GiveOn::All,
            &to(&people[1]),
            terms(false, false),
            NOW,
        );
        let given = given.unwrap();
        assert_eq!(
            open(&given, &people[1], &vault).err(),
            Some(Error::Tampered)
        );
        assert!(open(&given, &people[1], &elsewhere).is_ok());

        // A fifth statement, by whoever leaves out to count: no chain is that long.
        let fifth = shares[3].give_on(
            &people[3],
            GiveOn::All,
            &to(&people[4]),
            terms(false, false),
            NOW,
        );
        assert!(matches!(fifth, Err(Error::AccessDenied(_))));
        let fifth = forged(
            &shares[3],
            &people[3],
            GiveOn::All,
            &to(&people[4]),
            |_, _, _| {},
        );
        assert!(open(&fifth, &people[4], &vault).is_err());
    }

    /// Each refusal of a fifth statement by the owner, who counts in his ledger.
    #[test]
    fn the_owner_counts_too() {
        let mut vault = Vault::make(false, &phrase(1));
        let people: Vec<Identity> = (0..5).map(|_| person()).collect();
        let folder = Scope::Folder(Some(path("a")));
        let (mut by, _) = give(&mut vault, &people[0], folder, terms(false, true));
        for n in 1..5 {
            let given = forged(
                &by,
                &people[n - 1],
                GiveOn::All,
                &to(&people[n]),
                |s, _, chain| {
                    s.terms.reshare = true;
                    // As long as it is not looked at, it is a short one.
                    if n == 4 {
                        chain.0.remove(0);
                    }
                },
            );
            let filed = file(&given, &mut vault, &people[n - 1]);
            if n == 4 {
                assert!(matches!(filed, Err(Error::AccessDenied(_))), "{filed:?}");
                return;
            }
            filed.unwrap();
            by = open(&given, &people[n], &vault).unwrap();
        }
    }

    /// What ends a grant is heard below it, filed or not, also by who holds one version.
    #[test]
    fn everybody_below_hears_how_a_grant_ends() {
        for filed in [false, true] {
            let mut vault = Vault::make(false, &phrase(1));
            let (bob, carol, dave) = (person(), person(), person());
            let scope = Scope::Object(path("a/x"));
            let (his, to_bob) = give(&mut vault, &bob, scope, terms(true, true));
            let given = his.give_on(&bob, GiveOn::All, &to(&carol), terms(false, true), NOW);
            let given = given.unwrap();
            if filed {
                file(&given, &mut vault, &bob).unwrap();
            }
            let hers = open(&given, &carol, &vault).unwrap();
            let next = hers.give_on(&carol, GiveOn::All, &to(&dave), terms(false, false), NOW);
            let next = next.unwrap();
            let mut shares = [hers, open(&next, &dave, &vault).unwrap()];
            vault.decide(Decision::Revoke(vec![to_bob])).unwrap();
            assert!(vault.ledger().grants().next().is_none(), "all in one entry");
            for (share, who) in shares.iter_mut().zip([&carol, &dave]) {
                follow(share, who, &vault).unwrap();
                assert!(share.is_closed());
            }
            // With the leave of a grant that is gone, and opened from the beginning.
            for (given, who) in [(&given, &carol), (&next, &dave)] {
                assert!(open(given, who, &vault).unwrap().is_closed());
            }
            let late = file(&given, &mut vault, &bob).err();
            assert!(matches!(late, Some(Error::NotFound(_))), "{late:?}");
        }
    }

    /// What ends it is that the grant above is taken back, which closes no epoch of its own.
    #[test]
    fn a_version_outlasts_epochs_and_not_the_grant_above() {
        for filed in [false, true] {
            let mut vault = Vault::make(false, &phrase(1));
            let (bob, fred, eve) = (person(), person(), person());
            let folder = || Scope::Folder(Some(path("a")));
            let (his, to_bob) = give(&mut vault, &bob, folder(), terms(false, true));
            let (id, ledger) = (vault.secrets.vault(), vault.ledger());
            let writer = (&id, Suite::V1, &**vault.secrets.identity());
            let (tree, metadata) = (ledger.tree(), Metadata::default());
            let (object, _) = put_in(writer, tree, "a/x", 1, &metadata, b"x", true);
            let header = Box::new(*object.first_chunk().unwrap());
            let version = GiveOn::Version(path("x"), header);
            let given = his.give_on(&bob, version, &to(&fred), terms(false, false), NOW);
            let given = given.unwrap();
            if filed {
                file(&given, &mut vault, &bob).unwrap();
            }
            let (_, to_eve) = give(&mut vault, &eve, folder(), terms(false, false));
            vault.decide(Decision::Revoke(vec![to_eve])).unwrap();
            assert!(!open(&given, &fred, &vault).unwrap().is_closed());
            vault.decide(Decision::Revoke(vec![to_bob])).unwrap();
            assert!(open(&given, &fred, &vault).unwrap().is_closed());
        }
    }

    /// An entry outside the chain has taken Bob's back while the chain filed Carol's:
    /// whoever appends next ends both.
    #[test]
    fn who_was_filed_beside_an_orphan_that_ends_the_one_above_falls_too() {
        let mut scene = scene();
        let to_carol = to(&scene.carol);
        let given = scene
            .his
            .give_on(&scene.bob, GiveOn::All, &to_carol, terms(false, false), NOW);
        let given = given.unwrap();
        let ledger = scene.vault.ledger();
        let revoke = Decision::Revoke(vec![scene.his.id()]);
        let (header, secrets) = (scene.vault.header(), &scene.vault.secrets);
        let orphan = ledger.next(header, secrets, NOW, revoke).unwrap().entry;
        file(&given, &mut scene.vault, &scene.bob).unwrap();
        let head = scene.vault.head().position();
        let entries = scene.vault.entries.iter().cloned().chain([orphan]);
        let (header, secrets) = (scene.vault.header(), &scene.vault.secrets);
        let ledger = Ledger::read(head, entries, header, secrets).unwrap();
        assert_eq!(ledger.grants().count(), 3);
        let next = ledger
            .next(header, secrets, NOW, Decision::CatchUp)
            .unwrap();
        scene.vault.entries.push(next.entry);
        let left: Vec<_> = scene.vault.ledger().grants().map(GrantRecord::id).collect();
        assert_eq!(left, [scene.other.id()]);
        let hers = open(&given, &scene.carol, &scene.vault).unwrap();
        assert!(hers.is_closed());
    }

    #[test]
    fn a_copy_is_for_one_owner_and_is_filed_once() {
        let mut scene = scene();
        let to_carol = to(&scene.carol);
        let all = || GiveOn::All;
        let his = &scene.his;
        let given = his.give_on(&scene.bob, all(), &to_carol, terms(false, false), NOW);
        let given = given.unwrap();
        let good = copy(&given, &scene.vault, &scene.bob).unwrap();
        let encoded = good.encode();
        assert_eq!(OwnersCopy::decode(&encoded).unwrap().encode(), encoded);
        for (at, changed) in flips(&given.copy) {
            let changed = GivenOn {
                copy: changed,
                letter: given.letter.clone(),
                stored: String::new(),
                ..given
            };
            let refused = copy(&changed, &scene.vault, &scene.bob).err();
            assert_eq!(refused, Some(Error::Tampered), "byte {at}");
        }
        assert_eq!(
            copy(&given, &scene.vault, &scene.carol).err(),
            Some(Error::Tampered),
            "in another's name"
        );
        // His own mailbox for her: it is not his any more, and both find their letters.
        let (first, chain, own) = his.first();
        let ledger = scene.vault.ledger();
        let mailbox = ledger.grant(&his.id()).unwrap().mailbox.duplicate();
        let statement = Statement {
            id: GrantId([7; 16]),
            ..good.signed.statement.clone()
        };
        let made = (statement, String::new(), his.tree().duplicate());
        let chain = chain.with(first.clone(), own);
        let same = his
            .hand_on(&scene.bob, made, &to_carol, (chain, &mailbox))
            .unwrap();
        file(&same, &mut scene.vault, &scene.bob).unwrap();
        assert!(
            !open(&same, &scene.carol, &scene.vault)
                .unwrap()
                .is_unfiled()
        );
        file(&given, &mut scene.vault, &scene.bob).unwrap();
        let twice = file(&given, &mut scene.vault, &scene.bob).err();
        assert!(matches!(twice, Some(Error::InvalidInput(_))), "{twice:?}");
    }

    #[test]
    fn what_a_group_has_is_not_given_on_and_nothing_to_a_group() {
        let mut scene = scene();
        let made = Decision::NewGroup {
            name: "team".to_owned(),
            suite: IdentitySuite::X25519,
        };
        scene.vault.decide(made).unwrap();
        let ledger = scene.vault.ledger();
        let team = ledger
            .groups()
            .into_iter()
            .next()
            .unwrap()
            .recipient()
            .unwrap();
        let shared = scene.vault.decide(Decision::Share {
            scope: Scope::Folder(Some(path("a"))),
            recipient: team.clone().allow_classical(),
            terms: terms(false, true),
        });
        assert!(matches!(shared, Err(Error::InvalidInput(_))), "{shared:?}");
        let team = team.allow_classical();
        let given = scene
            .his
            .give_on(&scene.bob, GiveOn::All, &team, terms(false, false), NOW);
        let filed = file(&given.unwrap(), &mut scene.vault, &scene.bob);
        assert!(matches!(filed, Err(Error::InvalidInput(_))), "{filed:?}");
    }

    /// In a signed vault Bob may read and not write. What he says of keys and of whose
    /// signatures count is his word until the owner has filed it, and no longer.
    #[test]
    fn what_is_filed_rests_on_the_owners_keys_and_writers() {
        let mut vault = Vault::make_in(Suite::V2, false, &phrase(1));
        let (bob, carol) = (person(), person());
        let folder = Scope::Folder(Some(path("a")));
        let (his, _) = give(&mut vault, &bob, folder, terms(false, true));
        type Lie = fn(&mut Tree, &Identity);
        let lies: [(&str, Lie); 3] = [
            ("a writer", |tree, bob| {
                let own = tree.mounted(None).unwrap().id();
                let own = tree.get_mut(&own).unwrap();
                let epoch = own.last().unwrap().number;
                let writers = std::sync::Arc::make_mut(&mut own.writers);
                writers.add(*bob.card().signing_key(), epoch).unwrap();
            }),
            ("the key of an older epoch", |tree, _| {
                let own = tree.mounted(None).unwrap().id();
                let others = tree.collections().map(|c| c.id());
                let taken = others.filter(|id| *id != own).collect::<Vec<_>>();
                let taken = tree.get_mut(&taken[0]).unwrap();
                taken.epochs[0].key = crate::collection::ContentKey::make().unwrap();
            }),
            ("the key of today", |tree, _| {
                let own = tree.mounted(None).unwrap().id();
                let own = tree.get_mut(&own).unwrap();
                own.epochs[0].key = crate::collection::ContentKey::make().unwrap();
            }),
        ];
        let card = to(&carol);
        for (what, lie) in lies {
            let (place, scope, mut tree) = his.narrowed(GiveOn::All).unwrap();
            lie(&mut tree, &bob);
            let honest = his.give_on(&bob, GiveOn::All, &card, terms(false, false), NOW);
            let honest = copy(&honest.unwrap(), &vault, &bob).unwrap();
            let statement = Statement {
                id: GrantId(random_bytes().unwrap()),
                tree: grant::tree_hash(&tree),
                scope,
                ..honest.signed.statement
            };
            let (first, chain, own) = his.first();
            let chain = chain.with(first.clone(), own);
            let mailbox = MailboxSecret::make().unwrap();
            let made = (statement, place, tree);
            let given = his.hand_on(&bob, made, &card, (chain, &mailbox)).unwrap();
            file(&given, &mut vault, &bob).unwrap();
            let hers = open(&given, &carol, &vault).unwrap();
            assert!(!hers.is_unfiled() && !hers.is_closed());
            let ledger = vault.ledger();
            let owners = ledger.tree().part(&Scope::Folder(Some(path("a"))), None);
            let owners = grant::tree_hash(&owners.unwrap());
            assert_eq!(grant::tree_hash(hers.tree()), owners, "{what}");
        }
    }

    /// Bob chooses the mailbox of whom he gives on to. By none does what the ledger says
    /// there come to others, who would take it for tampering.
    #[test]
    fn no_mailbox_that_a_giver_chooses_is_that_of_others() {
        let mut vault = Vault::make(false, &phrase(1));
        let (bob, carol, eve) = (person(), person(), person());
        let object = || Scope::Object(path("a/x"));
        let (mut hers, _) = give(&mut vault, &eve, object(), terms(false, false));
        let (his, _) = give(&mut vault, &bob, object(), terms(false, true));
        follow(&mut hers, &eve, &vault).unwrap();
        let (id, ledger) = (vault.secrets.vault(), vault.ledger());
        let writer = (&id, Suite::V1, &**vault.secrets.identity());
        let (tree, metadata) = (ledger.tree(), Metadata::default());
        let (sealed, _) = put_in(writer, tree, "a/x", 1, &metadata, b"x", true);
        let header = Box::new(*sealed.first_chunk().unwrap());
        let version = GiveOn::Version(path("x"), header);
        let (place, scope, tree) = his.narrowed(version).unwrap();
        let (first, chain, own) = his.first();
        let chain = chain.with(first.clone(), own);
        let card = to(&carol);
        let statement = Statement {
            id: GrantId([7; 16]),
            grantor: bob.card().hash(),
            grantee: carol.card().hash(),
            scope,
            terms: terms(false, false),
            tree: grant::tree_hash(&tree),
            before: his.head(),
            above: Some(first.hash()),
            ..first.statement.clone()
        };
        // What Eve looks for news by.
        let (held, epoch) = his.tree().writer(&path("x")).unwrap();
        let key = held.object_key(epoch).unwrap();
        let mailbox = MailboxSecret::init_with(|out| *out = *key.expose_secret());
        let made = (statement, place, tree);
        let given = his.hand_on(&bob, made, &card, (chain, &mailbox)).unwrap();
        file(&given, &mut vault, &bob).unwrap();
        assert!(!open(&given, &carol, &vault).unwrap().is_closed());
        vault.decide(Decision::Revoke(vec![given.id()])).unwrap();
        assert_eq!(follow(&mut hers, &eve, &vault), Ok(()));
        assert!(!hers.is_closed());
        assert!(open(&given, &carol, &vault).unwrap().is_closed());
    }

    /// Anybody can make a letter, with any numbers in it.
    #[test]
    fn no_number_in_a_letter_runs_over() {
        let scene = scene();
        let (place, scope, mut tree) = scene.his.narrowed(GiveOn::All).unwrap();
        let own = tree.mounted(None).unwrap().id();
        let epochs = &mut tree.get_mut(&own).unwrap().epochs;
        for orphan in [true, false] {
            epochs.push(crate::collection::Epoch {
                number: u32::MAX,
                opened: u64::MAX - u64::from(!orphan),
                orphan,
                key: crate::collection::ContentKey::make().unwrap(),
            });
        }
        let entry = &scene.vault.entries[1];
        let statement = Statement {
            grantor: scene.bob.card().hash(),
            grantee: scene.carol.card().hash(),
            scope,
            tree: grant::tree_hash(&tree),
            before: Position {
                sequence: u64::MAX,
                hash: entry.previous().unwrap(),
            },
            ..scene.his.first().0.statement.clone()
        };
        assert_eq!(place, "");
        let (name, mailbox) = (LetterName::make().unwrap(), MailboxSecret::make().unwrap());
        let (card, keys) = (scene.carol.card(), Keys::Inside(tree));
        let letter = grant::first_letter(&scene.bob, card, &statement, &mailbox, keys, &name);
        let id = scene.vault.secrets.vault();
        let mut hers = Share::open(&scene.carol, &id, &name, &letter.unwrap()).unwrap();
        assert_eq!(hers.follow(entry), Err(Error::Tampered));
        let tree = hers.tree();
        let own = tree.get(&own).unwrap();
        for epoch in &own.epochs {
            let closed = tree.closed_at(own, epoch, &path("x"));
            assert!(closed.is_none_or(|closed| closed > 0));
            tree.is_below_floor(own, epoch, &path("x"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(OwnersCopy::decode(&bytes).is_err());
            prop_assert!(Chain::decode(&bytes).is_err() || bytes == [0x80]);
        }
    }
}
