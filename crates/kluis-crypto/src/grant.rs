//! Grants: access to a folder, an object or one version of it that is given to
//! somebody (docs/FORMAT.md, section 12).
//!
//! The owner's ledger keeps a [`GrantRecord`] of each. Its grantee gets a letter
//! with a signed [`Statement`] and the keys: the first sealed to his card, those
//! that follow after a change of epochs in a [`Bundle`] that only he can find his
//! own in. What he makes of it is a [`Share`].

use crate::card::Card;
use crate::cbor::{Reader, Record, Writer};
use crate::chain::{Chain, ChainKey, Signed};
use crate::contact::Contact;
use crate::group::Generations;
use crate::header::{Suite, check_magic};
use crate::identity::Identity;
use crate::kdf::{Label, domain};
use crate::ledger::{Action, Entry};
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::tree::{Past, Scope, Tree};
use crate::{Error, GrantId, Position, RecordHash, Result, VaultId};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

secret_key! {
    /// What a grantee shares with the owner, so that later letters find him.
    pub(crate) struct MailboxSecret;
}
secret_key! {
    struct LetterKey;
}
secret_key! {
    /// Seals a tree that several letters of one bundle hand out.
    pub(crate) struct RingKey;
}

impl MailboxSecret {
    /// `KDF(mailbox secret, "letter-label", vault id, u64(sequence))[..16]`
    fn label(&self, vault: &VaultId, sequence: u64) -> [u8; 16] {
        let sequence = sequence.to_be_bytes();
        let label = LetterKey::derive(
            self.expose_secret(),
            Label::LETTER_LABEL,
            &[vault.as_bytes(), &sequence],
        );
        let mut out = [0; 16];
        out.copy_from_slice(&label.expose_secret()[..16]);
        out
    }

    /// `KDF(secret in the letter, "given-on", vault id, statement hash)`: of what was given
    /// on, whose secret is the giver's choice. One that he chose to be what others look for
    /// news by is not that any more.
    pub(crate) fn given_on(&self, vault: &VaultId, statement: RecordHash) -> Self {
        Self::derive(
            self.expose_secret(),
            Label::GIVEN_ON,
            &[vault.as_bytes(), statement.as_bytes()],
        )
    }

    /// `KDF(mailbox secret, "letter-key", vault id)`
    fn key(&self, vault: &VaultId) -> LetterKey {
        LetterKey::derive(self.expose_secret(), Label::LETTER_KEY, &[vault.as_bytes()])
    }
}

/// What a grantee may do, and when. Rights and dates bind honest clients; what ends
/// access for good is a new epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether the grantee may write. In a vault that is not signed whoever reads
    /// can compute what a writer writes; there it rests on the store's credentials.
    pub write: bool,
    /// Whether the grantee may give access on: what he has or less, at most
    /// [four](crate::MAX_CHAIN) statements deep.
    pub reshare: bool,
    /// Whether what was written before is reached.
    pub past: Past,
    /// Not before this time, in microseconds since 1970.
    pub not_before: Option<u64>,
    /// Not after this time.
    pub not_after: Option<u64>,
    /// What it is for, for the statement of access.
    pub purpose: String,
}

impl Terms {
    /// Longest purpose in bytes.
    pub const MAX_PURPOSE: usize = 1_024;
    const WRITE: u64 = 1;
    const RESHARE: u64 = 2;
    const PAST_HELD_BACK: u64 = 4;

    /// Reading, with the past, at any time.
    pub fn reading() -> Self {
        Self {
            write: false,
            reshare: false,
            past: Past::Shared,
            not_before: None,
            not_after: None,
            purpose: String::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.purpose.len() > Self::MAX_PURPOSE || self.purpose.chars().any(char::is_control) {
            return Err(Error::invalid(
                "a purpose has at most 1,024 bytes and no control characters",
            ));
        }
        match (self.not_before, self.not_after) {
            (Some(from), Some(until)) if from >= until => {
                Err(Error::invalid("the access would end before it begins"))
            }
            (Some(0), _) | (_, Some(0)) => Err(Error::invalid("a time lies after 1970")),
            _ => Ok(()),
        }
    }

    /// Whether access is given at this time.
    ///
    /// # Errors
    /// `AccessDenied` before it begins and after it ended.
    pub fn check_time(&self, now: u64) -> Result<()> {
        if self.not_before.is_some_and(|from| now < from) {
            return Err(Error::AccessDenied("the access has not begun yet"));
        }
        if self.not_after.is_some_and(|until| now > until) {
            return Err(Error::AccessDenied("the access has ended"));
        }
        Ok(())
    }
}

impl Record for Terms {
    fn write(&self, to: &mut Writer) {
        let mut bits = 0;
        for (set, bit) in [
            (self.write, Self::WRITE),
            (self.reshare, Self::RESHARE),
            (self.past == Past::HeldBack, Self::PAST_HELD_BACK),
        ] {
            bits |= if set { bit } else { 0 };
        }
        to.array(4)
            .uint(bits)
            .uint(self.not_before.unwrap_or(0))
            .uint(self.not_after.unwrap_or(0))
            .text(&self.purpose);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(4)?;
        let bits = from.uint()?;
        if bits > 7 {
            return Err(Error::UnsupportedFormat("right of a grant"));
        }
        let some = |time: u64| (time > 0).then_some(time);
        let terms = Self {
            write: bits & Self::WRITE != 0,
            reshare: bits & Self::RESHARE != 0,
            past: if bits & Self::PAST_HELD_BACK == 0 {
                Past::Shared
            } else {
                Past::HeldBack
            },
            not_before: some(from.uint()?),
            not_after: some(from.uint()?),
            purpose: from.text(Self::MAX_PURPOSE)?.to_owned(),
        };
        terms.check().map_err(|_| Error::Tampered)?;
        Ok(terms)
    }
}

/// A grant as the owner's ledger keeps it.
pub struct GrantRecord {
    pub(crate) id: GrantId,
    /// The name of who has it, as it was then.
    pub(crate) to: String,
    pub(crate) card: Card,
    pub(crate) scope: Scope,
    pub(crate) terms: Terms,
    pub(crate) mailbox: MailboxSecret,
    /// By what later letters find him, since the root key was changed.
    pub(crate) letters: Option<MailboxSecret>,
    /// The sequence of the ledger entry that filed it.
    pub(crate) filed: u64,
    /// When that was, by the clock of who wrote it.
    pub(crate) time: u64,
    pub(crate) statement: RecordHash,
    /// The grant that it was given on from.
    pub(crate) parent: Option<GrantId>,
}

impl GrantRecord {
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            to: self.to.clone(),
            card: self.card.clone(),
            scope: self.scope.clone(),
            terms: self.terms.clone(),
            mailbox: self.mailbox.duplicate(),
            letters: self.letters.as_ref().map(MailboxSecret::duplicate),
            ..*self
        }
    }

    /// By what letters find him now.
    pub(crate) fn letters(&self) -> &MailboxSecret {
        self.letters.as_ref().unwrap_or(&self.mailbox)
    }

    /// Names the grant.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// The name of who has it.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The card of who has it.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// What it is for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What was given.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The sequence of the ledger entry that filed it.
    pub fn filed(&self) -> u64 {
        self.filed
    }

    /// When it was given, in microseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The grant whose holder gave this one on; none for what the owner gave.
    pub fn parent(&self) -> Option<GrantId> {
        self.parent
    }
}

impl fmt::Debug for GrantRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantRecord")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Record for GrantRecord {
    fn write(&self, to: &mut Writer) {
        to.array(11)
            .bytes(self.id.as_bytes())
            .text(&self.to)
            .bytes(self.card.as_bytes());
        self.scope.write(to);
        self.terms.write(to);
        to.bytes(self.mailbox.expose_secret())
            .uint(self.filed)
            .uint(self.time)
            .bytes(self.statement.as_bytes())
            .bytes(self.parent.as_ref().map_or(&[], |id| id.as_bytes()))
            .bytes(self.letters.as_ref().map_or(&[], |s| s.expose_secret()));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(11)?;
        Ok(Self {
            id: GrantId(*from.fixed()?),
            to: from.text(Contact::MAX_NAME)?.to_owned(),
            card: Card::known(from.bytes(Card::MAX_LENGTH)?)?,
            scope: Scope::read(from)?,
            terms: Terms::read(from)?,
            mailbox: read_mailbox(from)?,
            filed: from.uint()?,
            time: from.uint()?,
            statement: RecordHash(*from.fixed()?),
            parent: from.fixed_or_empty()?.copied().map(GrantId),
            letters: from.fixed_or_empty()?.map(mailbox),
        })
    }
}

pub(crate) fn read_mailbox(from: &mut Reader<'_>) -> Result<MailboxSecret> {
    from.fixed().map(mailbox)
}

fn mailbox(secret: &[u8; 32]) -> MailboxSecret {
    MailboxSecret::init_with(|out| *out = *secret)
}

/// What a grantor says and signs: who gave whom access to what, in which vault and
/// under which terms. It can be shown to others and gives no access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub(crate) vault: VaultId,
    pub(crate) suite: Suite,
    pub(crate) id: GrantId,
    pub(crate) grantor: RecordHash,
    pub(crate) grantee: RecordHash,
    /// What was shared, with its own name for its path.
    pub(crate) scope: Scope,
    pub(crate) terms: Terms,
    /// Hash of the keys that go with it.
    pub(crate) tree: RecordHash,
    /// The ledger entry before the one that files it; of what somebody gave on, the
    /// newest that he knew.
    pub(crate) before: Position,
    /// Where what was shared lies in the store.
    pub(crate) stored: String,
    /// The statement by whose leave it was given on.
    pub(crate) above: Option<RecordHash>,
}

impl Statement {
    pub(crate) const MAX_LENGTH: usize = 8_192;

    /// Names the grant.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// What was shared, with its own name for its path.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What was given.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }
}

impl Record for Statement {
    fn write(&self, to: &mut Writer) {
        to.array(11)
            .bytes(self.vault.as_bytes())
            .uint(self.suite.number().into())
            .bytes(self.id.as_bytes())
            .bytes(self.grantor.as_bytes())
            .bytes(self.grantee.as_bytes());
        self.scope.write(to);
        self.terms.write(to);
        to.bytes(self.tree.as_bytes());
        to.array(2)
            .uint(self.before.sequence)
            .bytes(self.before.hash.as_bytes());
        to.text(&self.stored);
        to.bytes(self.above.as_ref().map_or(&[], |hash| hash.as_bytes()));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(11)?;
        let vault = VaultId(*from.fixed()?);
        let suite = Suite::from_number(from.uint()?)?;
        let id = GrantId(*from.fixed()?);
        let (grantor, grantee) = (RecordHash(*from.fixed()?), RecordHash(*from.fixed()?));
        let scope = Scope::read(from)?;
        if scope.own() != scope {
            return Err(Error::Tampered);
        }
        let terms = Terms::read(from)?;
        let tree = RecordHash(*from.fixed()?);
        from.array(2)?;
        Ok(Self {
            vault,
            suite,
            id,
            grantor,
            grantee,
            scope,
            terms,
            tree,
            before: Position {
                sequence: from.uint()?,
                hash: RecordHash(*from.fixed()?),
            },
            stored: from.text(Tree::MAX_STORED)?.to_owned(),
            above: from.fixed_or_empty()?.copied().map(RecordHash),
        })
    }
}

/// Where the keys of a letter are.
pub(crate) enum Keys {
    Inside(Tree),
    /// In a ring of the bundle, under this key.
    Ring(usize, RingKey),
    /// Those of a group.
    Group(Generations),
}

/// What the keys of a letter are of.
enum Given {
    Tree(Tree),
    Group(Generations),
}

impl Given {
    fn hash(&self) -> RecordHash {
        match self {
            Self::Tree(tree) => tree_hash(tree),
            Self::Group(generations) => generations.hash(),
        }
    }
}

/// How a grantee comes to a grant.
#[derive(Debug)]
enum Road {
    /// It was given to himself.
    Own,
    /// It was given to a group that he is in.
    Through(Generations),
    /// It makes him a member of a group, and reaches no folder.
    Membership(Generations),
}

/// What a grantee opens: `[statement, signature, grantor's card, mailbox secret,
/// keys, chain]`, the keys being `[0, tree]`, `[1, ring, key]` or `[2, generations of a
/// group]`.
struct Letter {
    statement: Vec<u8>,
    signature: [u8; 64],
    grantor: Card,
    mailbox: MailboxSecret,
    keys: Keys,
    /// Empty where the owner is the grantor.
    chain: Chain,
}

impl Record for Letter {
    fn write(&self, to: &mut Writer) {
        to.array(6)
            .bytes(&self.statement)
            .bytes(&self.signature)
            .bytes(self.grantor.as_bytes())
            .bytes(self.mailbox.expose_secret());
        match &self.keys {
            Keys::Inside(tree) => {
                to.array(2).uint(0);
                tree.write(to);
            }
            Keys::Ring(ring, key) => {
                to.array(3)
                    .uint(1)
                    .uint(*ring as u64)
                    .bytes(key.expose_secret());
            }
            Keys::Group(generations) => {
                to.array(2).uint(2);
                generations.write(to);
            }
        }
        self.chain.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(6)?;
        let statement = from.bytes(Statement::MAX_LENGTH)?.to_vec();
        let signature = *from.fixed()?;
        let grantor = Card::parse(from.bytes(Card::MAX_LENGTH)?)?;
        let mailbox = read_mailbox(from)?;
        let length = from.array_of_any(3)?;
        let keys = match (from.uint()?, length) {
            (0, 2) => Keys::Inside(Tree::read(from)?),
            (1, 3) => {
                let ring = usize::try_from(from.uint()?).map_err(|_| Error::Tampered)?;
                let key = from.fixed()?;
                Keys::Ring(ring, RingKey::init_with(|out| *out = *key))
            }
            (2, 2) => Keys::Group(Generations::read(from)?),
            _ => return Err(Error::Tampered),
        };
        Ok(Self {
            statement,
            signature,
            grantor,
            mailbox,
            keys,
            chain: Chain::read(from)?,
        })
    }
}

pub(crate) fn tree_hash(tree: &Tree) -> RecordHash {
    RecordHash::of(&tree.encode())
}

pub(crate) fn statement_hash(statement: &Statement) -> RecordHash {
    let hash = Sha256::new()
        .chain_update(domain::STATEMENT)
        .chain_update(&*statement.encode());
    RecordHash(hash.finalize().into())
}

fn letter(signed: Signed, mailbox: &MailboxSecret, keys: Keys, chain: Chain) -> Letter {
    let (statement, signature, grantor) = signed.into_parts();
    Letter {
        statement,
        signature,
        grantor,
        mailbox: mailbox.duplicate(),
        keys,
        chain,
    }
}

/// The name of a first letter in the store, random: `k/g/<32 hexadecimal digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterName(pub(crate) [u8; 16]);

impl LetterName {
    pub(crate) fn make() -> Result<Self> {
        Ok(Self(crate::credential::random_bytes()?))
    }

    /// Where it lies below the vault's prefix.
    pub fn path(&self) -> String {
        format!("{GRANTS}/{self}")
    }
}

impl fmt::Display for LetterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for LetterName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(Error::invalid(
                "the name of a grant has 32 digits 0-9 a-f; copy the invitation whole",
            ))
    }
}

/// Where grants lie below the vault's prefix.
pub(crate) const GRANTS: &str = "k/g";

/// The first letter of a grant, sealed to the card of its grantee.
pub(crate) fn first_letter(
    grantor: &Identity,
    grantee: &Card,
    statement: &Statement,
    mailbox: &MailboxSecret,
    keys: Keys,
    name: &LetterName,
) -> Result<Vec<u8>> {
    let signed = Signed::sign(grantor, statement.clone());
    letter_below(grantee, signed, mailbox, keys, Chain::default(), name)
}

/// The same, below a chain.
pub(crate) fn letter_below(
    grantee: &Card,
    signed: Signed,
    mailbox: &MailboxSecret,
    keys: Keys,
    chain: Chain,
    name: &LetterName,
) -> Result<Vec<u8>> {
    let vault = signed.statement.vault;
    let letter = letter(signed, mailbox, keys, chain);
    let mut record = Share::MAGIC.to_vec();
    record.extend(grantee.seal(&vault, &name.0, &letter.encode())?);
    if record.len() > Share::MAX_LENGTH {
        return Err(Error::LimitExceeded("length of a grant"));
    }
    Ok(record)
}

/// Letters to all who still have access after a change of epochs, in one record
/// that the ledger names by its hash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    rings: Vec<Vec<u8>>,
    letters: BTreeMap<[u8; 16], Vec<u8>>,
}

impl Bundle {
    pub(crate) const MAX_LENGTH: usize = 64 << 20;
    const MAGIC: [u8; 4] = *b"KLB1";
    const MAX_RINGS: usize = 65_536;
    const MAX_LETTERS: usize = 65_536;

    pub(crate) fn new() -> Self {
        Self {
            rings: Vec::new(),
            letters: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    fn place<'a>(kind: &'static str, vault: &'a VaultId, place: &'a [u8; 8]) -> Place<'a> {
        Place { kind, vault, place }
    }

    /// Adds keys that several letters hand out: a tree, or what a group's members hold.
    pub(crate) fn add_ring(
        &mut self,
        vault: &VaultId,
        sequence: u64,
        keys: &impl Record,
    ) -> Result<(usize, RingKey)> {
        let key = RingKey::make()?;
        let place = sequence.to_be_bytes();
        let sealed = message::seal(
            key.expose_secret(),
            &Self::place("ring", vault, &place),
            &keys.encode(),
        )?;
        self.rings.push(sealed);
        Ok((self.rings.len() - 1, key))
    }

    /// Adds a letter, to be found by `found_by`, and opened with that, or by the holder of
    /// `card` alone.
    pub(crate) fn add_letter(
        &mut self,
        sequence: u64,
        grantor: &Identity,
        statement: &Statement,
        (mailbox, found_by, card): (&MailboxSecret, &MailboxSecret, Option<&Card>),
        keys: Keys,
    ) -> Result<()> {
        let vault = &statement.vault;
        let signed = Signed::sign(grantor, statement.clone());
        let letter = letter(signed, mailbox, keys, Chain::default()).encode();
        let label = found_by.label(vault, sequence);
        let sealed = match card {
            Some(card) => card.seal(vault, &Self::place_to_card(&label, sequence), &letter)?,
            None => {
                let place = sequence.to_be_bytes();
                let place = Self::place("letter", vault, &place);
                message::seal(found_by.key(vault).expose_secret(), &place, &letter)?
            }
        };
        self.letters.insert(label, sealed);
        Ok(())
    }

    /// The place of a letter that is sealed to a card: `label ‖ u64(sequence)`.
    fn place_to_card(label: &[u8; 16], sequence: u64) -> [u8; 24] {
        let mut place = [0; 24];
        place[..16].copy_from_slice(label);
        place[16..].copy_from_slice(&sequence.to_be_bytes());
        place
    }

    /// The record, and its hash.
    pub(crate) fn finish(&self) -> Result<(RecordHash, Vec<u8>)> {
        let mut record = Self::MAGIC.to_vec();
        record.extend_from_slice(&self.encode());
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a bundle of grants"));
        }
        Ok((RecordHash::of(&record), record))
    }

    fn parse(record: &[u8]) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a bundle of grants"));
        }
        Self::decode(check_magic(record, Self::MAGIC)?)
    }

    fn ring<T: Record>(
        &self,
        vault: &VaultId,
        sequence: u64,
        ring: usize,
        key: &RingKey,
    ) -> Result<T> {
        let sealed = self.rings.get(ring).ok_or(Error::Tampered)?;
        let place = sequence.to_be_bytes();
        let place = Self::place("ring", vault, &place);
        T::decode(&message::open(key.expose_secret(), &place, sealed)?)
    }
}

/// `[[ring, …], [[label, letter], …]]`, letters in ascending order of labels.
impl Record for Bundle {
    fn write(&self, to: &mut Writer) {
        to.array(2).array(self.rings.len());
        for ring in &self.rings {
            to.bytes(ring);
        }
        to.array(self.letters.len());
        for (label, letter) in &self.letters {
            to.array(2).bytes(label).bytes(letter);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(2)?;
        let mut bundle = Self::new();
        for _ in 0..from.array_up_to(Self::MAX_RINGS)? {
            bundle.rings.push(from.bytes(Self::MAX_LENGTH)?.to_vec());
        }
        for _ in 0..from.array_up_to(Self::MAX_LETTERS)? {
            from.array(2)?;
            let label = *from.fixed()?;
            let letter = from.bytes(Share::MAX_LENGTH)?.to_vec();
            bundle.letters.insert(label, letter);
        }
        Ok(bundle)
    }
}

/// Where a bundle with this hash lies below the vault's prefix.
pub fn bundle_path(hash: RecordHash) -> String {
    format!("{GRANTS}/{hash}")
}

/// A grant in the hands of its grantee: what was shared, and the keys that came
/// with it or were found since. It may also be what makes him a member of a group:
/// see [`is_membership`](Self::is_membership).
#[derive(Debug)]
pub struct Share {
    road: Road,
    statement: Statement,
    grantor: Card,
    mailbox: MailboxSecret,
    /// What follows from the first mailbox, which another letter may replace.
    below: ChainKey,
    tree: Tree,
    /// The statement of the first letter, which is the one that is filed.
    first: Signed,
    /// The statements above it, where it was given on.
    chain: Chain,
    /// The ledger entry up to which it was followed.
    head: Position,
    /// Whether the ledger holds it; of what was given on, the grant at the top.
    filed: bool,
    /// Whether the ledger holds it, also where it was given on.
    known: bool,
    /// Whether a grant above was taken back.
    fallen: bool,
    /// A bundle that may hold the keys that follow, and the entry that names it.
    awaited: Option<(u64, RecordHash)>,
}

impl Share {
    /// A longer record is not a letter.
    pub const MAX_LENGTH: usize = 16 << 20;
    const MAGIC: [u8; 4] = *b"KLG1";

    /// Opens the first letter of a grant.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version; `LimitExceeded`; `Tampered` for what
    /// was not sealed to this identity in this vault and place, or not signed by the
    /// grantor that it names.
    ///
    /// # Security
    /// Who the grantor is has to be checked by the caller: [`grantor`](Self::grantor).
    /// Nothing is reached with it before [`follow`](Self::follow) has found it filed
    /// in the ledger.
    pub fn open(
        identity: &Identity,
        vault: &VaultId,
        name: &LetterName,
        record: &[u8],
    ) -> Result<Self> {
        let sealed = Self::sealed(record)?;
        let letter = Letter::decode(&identity.open(vault, &name.0, sealed)?)?;
        let signed = Self::check(&letter, vault, &identity.card().hash())?;
        let given = match letter.keys {
            Keys::Inside(tree) => Given::Tree(tree),
            Keys::Group(generations) => Given::Group(generations),
            Keys::Ring(..) => return Err(Error::Tampered),
        };
        Self::assemble(signed, letter.chain, letter.mailbox, given)
    }

    /// Opens the first letter of a grant to a group, by a membership in it that was
    /// followed as far as the grant will be.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Security
    /// As for [`open`](Self::open).
    pub fn open_in_group(
        membership: &Share,
        vault: &VaultId,
        name: &LetterName,
        record: &[u8],
    ) -> Result<Self> {
        let sealed = Self::sealed(record)?;
        let Road::Membership(generations) = &membership.road else {
            return Err(Error::Tampered);
        };
        let (letter, card) = generations.open(vault, &name.0, sealed)?;
        let letter = Letter::decode(&letter)?;
        let signed = Self::check(&letter, vault, &card)?;
        // A group is in no group, and nothing is given on to one.
        let (Keys::Inside(tree), true) = (letter.keys, letter.chain.is_empty()) else {
            return Err(Error::Tampered);
        };
        let given = Given::Tree(tree);
        let share = Self::assemble(signed, letter.chain, letter.mailbox, given)?;
        Ok(Self {
            road: Road::Through(generations.duplicate()),
            ..share
        })
    }

    fn sealed(record: &[u8]) -> Result<&[u8]> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a grant"));
        }
        check_magic(record, Self::MAGIC)
    }

    fn check(letter: &Letter, vault: &VaultId, grantee: &RecordHash) -> Result<Signed> {
        let grantor = letter.grantor.clone();
        let signed = Signed::check(letter.statement.clone(), letter.signature, grantor)?;
        let statement = &signed.statement;
        if statement.vault == *vault && statement.grantee == *grantee {
            Ok(signed)
        } else {
            Err(Error::Tampered)
        }
    }

    fn assemble(first: Signed, chain: Chain, mailbox: MailboxSecret, given: Given) -> Result<Self> {
        chain.check(&first.statement)?;
        let (road, mut tree) = Self::stated(&first.statement, given)?;
        tree.set_unfiled(!chain.is_empty());
        let mailbox = if chain.is_empty() {
            mailbox
        } else {
            mailbox.given_on(&first.statement.vault, first.hash())
        };
        // From before all that the statements say was filed.
        let top = chain.owners().unwrap_or(&first);
        Ok(Self {
            road,
            head: top.statement.before,
            statement: first.statement.clone(),
            grantor: first.grantor.clone(),
            below: ChainKey::of(&mailbox, &first.statement.vault),
            mailbox,
            tree,
            first,
            chain,
            filed: false,
            known: false,
            fallen: false,
            awaited: None,
        })
    }

    /// The keys, if they are those that a statement speaks of.
    fn stated(statement: &Statement, given: Given) -> Result<(Road, Tree)> {
        let hash = given.hash();
        let (road, is_of, mut tree) = match given {
            Given::Tree(tree) => (Road::Own, tree.is_of(&statement.scope), tree),
            Given::Group(generations) => {
                let tree = generations.tree()?;
                let is_of = generations.is_of(&statement.scope);
                (Road::Membership(generations), is_of, tree)
            }
        };
        let is_stated = hash == statement.tree && is_of && tree.top() == statement.stored;
        if !is_stated || tree.mounted(None).is_none() {
            return Err(Error::Tampered);
        }
        tree.set_head(statement.before.sequence);
        Ok((road, tree))
    }

    /// Goes on by the next entry of the ledger.
    ///
    /// # Errors
    /// `Tampered` for an entry that does not follow, and for parts that are not what
    /// the owner sealed; `AccessDenied` where the next entry does not file the grant.
    pub fn follow(&mut self, entry: &Entry) -> Result<()> {
        let position = entry.position();
        let next = self.head.sequence.checked_add(1);
        if entry.previous() != Some(self.head.hash) || next != Some(position.sequence) {
            return Err(Error::Tampered);
        }
        self.hear(entry)?;
        let first = self.first.statement.before;
        if position.sequence <= first.sequence {
            // The keys are of later; until then only what was given on counts.
            if !self.filed {
                return Err(not_filed());
            }
            if position.sequence == first.sequence && position != first {
                return Err(Error::Tampered);
            }
            self.head = position;
            return Ok(());
        }
        if self.hear_filed(entry)? {
            self.head = position;
            return Ok(());
        }
        let expected = self.first.hash();
        let mut opened = Vec::new();
        for action in entry.notices(&self.tree, &self.mailbox)? {
            match action {
                Action::Filed(statement) => self.known |= statement == expected,
                Action::Closed { collection, bundle } => {
                    let closed = self.tree.get_mut(&collection).ok_or(Error::Tampered)?;
                    closed.closed = Some(position.sequence);
                    if let Some(bundle) = bundle {
                        self.awaited = Some((position.sequence, bundle));
                    }
                }
                Action::Revoke(grant) if grant == self.statement.id => {
                    self.tree.close(position.sequence);
                }
                Action::Revoke(_) => return Err(Error::Tampered),
                other => opened.push(other),
            }
        }
        self.filed |= self.known && self.chain.is_empty();
        if !self.filed {
            return Err(not_filed());
        }
        for action in opened {
            self.tree.apply(action, position.sequence)?;
        }
        self.tree.set_unfiled(self.is_unfiled());
        self.head = position;
        self.tree.set_head(position.sequence);
        Ok(())
    }

    /// Takes in what an entry says to everybody below the grants above this one.
    fn hear(&mut self, entry: &Entry) -> Result<()> {
        let Some(owners) = self.chain.owners().map(Signed::hash) else {
            return Ok(());
        };
        let position = entry.position();
        for action in entry.notices_below(&self.statement.vault, self.chain.keys())? {
            match action {
                Action::Filed(statement) => self.filed |= statement == owners,
                Action::Revoke(grant) if self.chain.has(&grant) => {
                    self.fallen = true;
                    self.tree.close(position.sequence);
                }
                Action::Closed { collection, bundle }
                    if position.sequence > self.first.statement.before.sequence =>
                {
                    // A version ends with no epoch.
                    let is_written = self.tree.version().is_none()
                        && self.tree.written().any(|c| c.id == collection);
                    if let Some(closed) = self.tree.get_mut(&collection)
                        && is_written
                    {
                        closed.closed = Some(position.sequence);
                        if let Some(bundle) = bundle {
                            self.awaited = Some((position.sequence, bundle));
                        }
                    }
                }
                // Of before the keys were given on.
                Action::Closed { .. } => {}
                _ => return Err(Error::Tampered),
            }
        }
        Ok(())
    }

    /// Takes in that an entry files what was given on, and where the owner's own letter is,
    /// which is of behind that entry: from then on nothing rests on the keys and writers
    /// that the giver named. A version is told of as one that the owner gave.
    fn hear_filed(&mut self, entry: &Entry) -> Result<bool> {
        if self.chain.is_empty() || self.known || self.tree.version().is_some() {
            return Ok(false);
        }
        let own = std::iter::once(self.mailbox.expose_secret());
        for action in entry.notices_below(&self.statement.vault, own)? {
            match action {
                Action::Filed(statement) if statement == self.first.hash() => self.known = true,
                Action::Closed {
                    bundle: Some(bundle),
                    ..
                } => {
                    let sequence = entry.position().sequence;
                    self.tree.close(sequence);
                    self.awaited = Some((sequence, bundle));
                }
                _ => return Err(Error::Tampered),
            }
        }
        Ok(self.known)
    }

    /// The hash of a bundle that may hold the keys that follow those that were
    /// closed; see [`bundle_path`].
    pub fn awaited(&self) -> Option<RecordHash> {
        let is_closed = self.tree.written().any(|c| c.current().is_none());
        self.awaited.filter(|_| is_closed).map(|(_, hash)| hash)
    }

    /// Whether access has ended: the epoch of what was shared was closed, and no key
    /// followed.
    pub fn is_closed(&self) -> bool {
        let top = self.tree.mounted(None);
        self.fallen || top.is_none_or(|top| top.current().is_none())
    }

    /// Takes the keys that follow from a bundle, and says whether there are any:
    /// there are none for whom access was taken from.
    ///
    /// # Errors
    /// `Tampered` for another bundle than the one that is awaited.
    pub fn renew(&mut self, identity: &Identity, bundle: &[u8]) -> Result<bool> {
        let (sequence, hash) = self.awaited.ok_or(Error::Tampered)?;
        // The entry that names it is signed by the vault's authority, so that a
        // grantor with another card than before is the owner's word too.
        if RecordHash::of(bundle) != hash {
            return Err(Error::Tampered);
        }
        let bundle = Bundle::parse(bundle)?;
        let vault = self.statement.vault;
        let found_by = match &self.road {
            Road::Through(generations) => generations.mailbox(&vault, &self.mailbox, sequence)?,
            Road::Own | Road::Membership(_) => self.mailbox.duplicate(),
        };
        let label = found_by.label(&vault, sequence);
        let Some(sealed) = bundle.letters.get(&label) else {
            self.awaited = None;
            return Ok(false);
        };
        let place = sequence.to_be_bytes();
        let place = Bundle::place("letter", &vault, &place);
        let letter = match message::open(found_by.key(&vault).expose_secret(), &place, sealed) {
            // Behind a change of the root key it is for the card, whoever knows the mailbox.
            Err(Error::Tampered) => {
                identity.open(&vault, &Bundle::place_to_card(&label, sequence), sealed)?
            }
            opened => opened?,
        };
        let letter = Letter::decode(&letter)?;
        let statement = Self::check(&letter, &vault, &self.statement.grantee)?.statement;
        let is_new = statement.id == self.statement.id
            && statement.before.sequence + 1 == sequence
            && statement.above.is_none()
            && letter.chain.is_empty();
        if !is_new {
            return Err(Error::Tampered);
        }
        let given = match (letter.keys, &self.road) {
            (Keys::Inside(tree), Road::Own | Road::Through(_)) => Given::Tree(tree),
            (Keys::Group(generations), Road::Membership(_)) => Given::Group(generations),
            (Keys::Ring(ring, key), Road::Own | Road::Through(_)) => {
                Given::Tree(bundle.ring(&vault, sequence, ring, &key)?)
            }
            (Keys::Ring(ring, key), Road::Membership(_)) => {
                Given::Group(bundle.ring(&vault, sequence, ring, &key)?)
            }
            _ => return Err(Error::Tampered),
        };
        let (road, tree) = Self::stated(&statement, given)?;
        if let Road::Membership(_) = road {
            self.road = road;
        }
        self.tree = tree;
        self.statement = statement;
        self.grantor = letter.grantor;
        self.mailbox = letter.mailbox;
        self.known = true;
        self.awaited = None;
        self.tree.set_head(self.head.sequence);
        Ok(true)
    }

    /// Whose grant it is: to be compared with who is expected.
    pub fn grantor(&self) -> &Card {
        &self.grantor
    }

    /// Whether it makes its grantee a member of a group, and reaches no folder: its
    /// tree holds nothing to read or write.
    pub fn is_membership(&self) -> bool {
        matches!(self.road, Road::Membership(_))
    }

    /// Whether it was given to the group that this is a membership in.
    pub fn is_through(&self, membership: &Share) -> bool {
        match (&self.road, &membership.road) {
            (Road::Through(ours), Road::Membership(group)) => ours.group == group.group,
            _ => false,
        }
    }

    /// The own name of what was shared, or the group's; empty for a whole vault.
    pub fn name(&self) -> &str {
        self.statement.scope.name()
    }

    /// What was shared, with its own name for its path.
    pub fn scope(&self) -> &Scope {
        &self.statement.scope
    }

    /// Names the grant, for its owner too.
    pub fn id(&self) -> GrantId {
        self.statement.id
    }

    /// What was given.
    pub fn terms(&self) -> &Terms {
        &self.statement.terms
    }

    /// The grants above this one, from the owner's down, where it was given on: who
    /// gave, and what.
    pub fn chain(&self) -> impl Iterator<Item = (&Card, &Statement)> {
        self.chain.givers()
    }

    /// Whether somebody gave it on and the owner has not filed it: the keys are those of
    /// the epoch in which it was given on, and nothing is written.
    pub fn is_unfiled(&self) -> bool {
        !self.chain.is_empty() && !self.known
    }

    /// The card of the vault's owner, by his newest word.
    pub fn owner(&self) -> &Card {
        match self.chain.owners() {
            Some(owners) if self.statement.above.is_some() => &owners.grantor,
            _ => &self.grantor,
        }
    }

    pub(crate) fn first(&self) -> (&Signed, &Chain, &ChainKey) {
        (&self.first, &self.chain, &self.below)
    }

    pub(crate) fn is_filed(&self) -> bool {
        self.filed
    }

    /// The suite of the vault's objects.
    pub fn suite(&self) -> Suite {
        self.statement.suite
    }

    /// Its keys.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The ledger entry up to which it was followed.
    pub fn head(&self) -> Position {
        self.head
    }
}

fn not_filed() -> Error {
    Error::AccessDenied("the owner's ledger does not hold this grant")
}

#[cfg(test)]
use crate::VaultPath;

/// What somebody could send who holds a letter and another identity.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Forgery {
    Signature,
    Grantor,
    Grantee,
    Vault,
    Tree,
    NameKey,
    Suite,
    NoTop,
    Ring,
    Name,
    Kind,
    Commitment,
}

/// A first letter with one thing in it changed, signed by `signer` with his card in it.
#[cfg(test)]
pub(crate) fn forged(
    identity: &Identity,
    signer: &Identity,
    vault: &VaultId,
    name: &LetterName,
    record: &[u8],
    forgery: Option<Forgery>,
) -> Result<Vec<u8>> {
    let sealed = check_magic(record, Share::MAGIC)?;
    let letter = Letter::decode(&identity.open(vault, &name.0, sealed)?)?;
    let mut statement = Statement::decode(&letter.statement)?;
    statement.grantor = signer.card().hash();
    let Keys::Inside(mut tree) = letter.keys else {
        return Err(Error::Tampered);
    };
    match forgery {
        Some(Forgery::Grantor) => statement.grantor = RecordHash([1; 32]),
        Some(Forgery::Grantee) => statement.grantee = RecordHash([1; 32]),
        Some(Forgery::Vault) => statement.vault = VaultId([1; 16]),
        Some(Forgery::Tree) => statement.tree = RecordHash([1; 32]),
        Some(Forgery::Name) => {
            let name = VaultPath::parse("other").unwrap();
            statement.scope = match statement.scope {
                Scope::Folder(_) => Scope::Folder(Some(name)),
                Scope::Object(_) => Scope::Object(name),
                Scope::Version(_, commitment) => Scope::Version(name, commitment),
                Scope::Group(id, _) => Scope::Group(id, name),
            };
        }
        Some(Forgery::Kind) => {
            statement.scope = match statement.scope {
                Scope::Version(name, _) | Scope::Folder(Some(name)) => Scope::Object(name),
                Scope::Object(name) => Scope::Folder(Some(name)),
                Scope::Folder(None) | Scope::Group(..) => return Err(Error::Tampered),
            };
        }
        Some(Forgery::Commitment) => {
            let Scope::Version(_, commitment) = &mut statement.scope else {
                return Err(Error::Tampered);
            };
            commitment[0] ^= 1;
        }
        Some(Forgery::NameKey) => {
            let names = crate::collection::NameKey::init_with(|key| *key = [1; 32]);
            tree = Tree::new(tree.top().to_owned(), names);
        }
        Some(Forgery::NoTop) => {
            tree = Tree::new(tree.top().to_owned(), tree.name_key().duplicate());
            statement.tree = tree_hash(&tree);
        }
        _ => {}
    }
    let mut encoded = statement.encode().to_vec();
    if matches!(forgery, Some(Forgery::Suite)) {
        // Behind the vault id.
        encoded[18] = 9;
    }
    let mut signature = signer.sign(domain::STATEMENT, &[&encoded]);
    if matches!(forgery, Some(Forgery::Signature)) {
        signature[0] ^= 1;
    }
    let letter = Letter {
        statement: encoded,
        signature,
        grantor: signer.card().clone(),
        mailbox: letter.mailbox,
        keys: match forgery {
            Some(Forgery::Ring) => Keys::Ring(0, RingKey::make()?),
            _ => Keys::Inside(tree),
        },
        chain: letter.chain,
    };
    let sealed = identity.card().seal(vault, &name.0, &letter.encode())?;
    Ok([&Share::MAGIC[..], &sealed].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::Recipient;
    use crate::ledger::{Appended, Decision};
    use crate::testing::{Vault, flips, phrase};
    use crate::{IdentitySuite, Trust};
    use proptest::prelude::*;

    /// The entry that ends one person's access mounts a folder inside as well: its
    /// key is not for the epoch that he holds.
    #[test]
    fn who_is_ended_by_an_entry_learns_nothing_of_what_it_mounts() {
        let mut vault = Vault::make(false, &phrase(1));
        let people: Vec<Identity> = (0..3)
            .map(|n| Identity::make(IdentitySuite::X25519, n).unwrap())
            .collect();
        let mut share = |n: usize, folder: &str, not_after| {
            let mut terms = Terms::reading();
            terms.not_after = not_after;
            let decision = Decision::Share {
                scope: Scope::Folder(Some(VaultPath::parse(folder).unwrap())),
                recipient: Recipient::trusted_on_first_use(people[n].card().clone())
                    .allow_classical(),
                terms,
            };
            vault.decide(decision).unwrap()
        };
        let opened = |appended: &Appended, n: usize, id: &VaultId| {
            let (_, name) = appended.granted.unwrap();
            let letter = appended.records.iter().find(|r| r.0 == name.path());
            Share::open(&people[n], id, &name, &letter.unwrap().1).unwrap()
        };
        let to_carol = share(0, "a", None);
        let to_bob = share(1, "a", Some(1));
        let last = share(2, "a/b", None);
        let id = vault.secrets.vault();
        let (mut carol, mut bob) = (opened(&to_carol, 0, &id), opened(&to_bob, 1, &id));
        carol.follow(&to_carol.entry).unwrap();
        carol.follow(&to_bob.entry).unwrap();
        bob.follow(&to_bob.entry).unwrap();
        let told = last.entry.notices(bob.tree(), &bob.mailbox).unwrap();
        assert!(matches!(told[..], [Action::Closed { .. }]));
        carol.follow(&last.entry).unwrap();
        let bundle = bundle_path(carol.awaited().unwrap());
        let bundle = &last.records.iter().find(|r| r.0 == bundle).unwrap().1;
        assert!(carol.renew(&people[0], bundle).unwrap());
        let inner = VaultPath::parse("b").unwrap();
        assert!(carol.tree().mounted(Some(&inner)).is_some());
        bob.follow(&last.entry).unwrap();
        assert!(!bob.renew(&people[1], bundle).unwrap());
        assert!(bob.tree().mounted(Some(&inner)).is_none());
    }

    /// A thief of the root key has the ledger as it was, with every mailbox in it, and the
    /// provider gives him the rest. After a rotation that is of no use to him.
    #[test]
    fn letters_of_a_new_root_open_with_nothing_of_the_old_one() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let anna = Identity::make(IdentitySuite::X25519, 1).unwrap();
        let bert = Identity::make(IdentitySuite::X25519, 1).unwrap();
        let (_, name, letter) = give(&mut vault, &anna);
        let team = Decision::NewGroup {
            name: "team".to_owned(),
            suite: IdentitySuite::X25519,
        };
        vault.decide(team).unwrap();
        let recipient = Recipient::trusted_on_first_use(bert.card().clone()).allow_classical();
        let joined = Decision::Join {
            group: "team".to_owned(),
            recipient,
        };
        let place = vault.decide(joined).unwrap().granted.unwrap().1;
        let to_team = Decision::Share {
            scope: Scope::Folder(Some(VaultPath::parse("a").unwrap())),
            recipient: vault.ledger().group("team").unwrap().recipient().unwrap(),
            terms: Terms::reading(),
        };
        vault.decide(to_team).unwrap();
        let stolen = vault.ledger();
        let groups = stolen.groups().into_iter();
        let members = groups.clone().flat_map(|group| group.members());
        let mut mailboxes: Vec<_> = stolen.grants().chain(members).collect();
        mailboxes.sort_by_key(|grant| grant.filed);
        assert_eq!(mailboxes.len(), 3);
        let mut mailboxes: Vec<_> = mailboxes.iter().map(|g| g.mailbox.duplicate()).collect();
        for group in groups {
            let more: Vec<_> = mailboxes.iter().map(|m| group.mailbox(&id, m)).collect();
            mailboxes.extend(more.into_iter().map(Result::unwrap));
        }

        // And after it, when the keys change once more.
        for _ in 0..2 {
            vault.rotate(&[phrase(1)]);
            vault.decide(Decision::CatchUp).unwrap();
        }
        let (eves, ..) = give(
            &mut vault,
            &Identity::make(IdentitySuite::X25519, 1).unwrap(),
        );
        let revoked = Decision::Revoke(vec![eves.granted.unwrap().0]);
        vault.decide(revoked).unwrap();
        let mut looked_at = 0;
        for entry in &vault.entries {
            let sequence = entry.position().sequence;
            for (_, record) in &vault.records {
                let Ok(bundle) = Bundle::parse(record) else {
                    continue;
                };
                for sealed in bundle.letters.values() {
                    let place = sequence.to_be_bytes();
                    let place = Bundle::place("letter", &id, &place);
                    for mailbox in &mailboxes {
                        let key = mailbox.key(&id);
                        assert!(message::open(key.expose_secret(), &place, sealed).is_err());
                        looked_at += 1;
                    }
                }
            }
        }
        assert!(looked_at > 0);

        let berts = vault.records.iter().find(|r| r.0 == place.path());
        let berts = berts.unwrap().1.clone();
        for (who, name, letter) in [(&anna, name, &letter), (&bert, place, &berts)] {
            let mut share = Share::open(who, &id, &name, letter).unwrap();
            let before = share.head().sequence;
            for entry in vault.entries.iter().skip(before as usize + 1) {
                share.follow(entry).unwrap();
                if let Some(hash) = share.awaited() {
                    assert!(share.renew(who, vault.bundle(hash)).unwrap());
                }
            }
            assert!(!share.is_closed());
        }
    }

    fn give(vault: &mut Vault, identity: &Identity) -> (Appended, LetterName, Vec<u8>) {
        let appended = vault.decide(Decision::Share {
            scope: Scope::Folder(Some(VaultPath::parse("a").unwrap())),
            recipient: Recipient::trusted_on_first_use(identity.card().clone()).allow_classical(),
            terms: Terms::reading(),
        });
        let appended = appended.unwrap();
        let (_, name) = appended.granted.unwrap();
        let found = appended.records.iter().find(|r| r.0 == name.path());
        let letter = found.unwrap().1.clone();
        (appended, name, letter)
    }

    #[test]
    fn every_flipped_bit_of_a_letter_and_a_bundle_is_refused() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let [anna, bert] = [IdentitySuite::X25519; 2].map(|s| Identity::make(s, 1).unwrap());
        let (first, name, letter) = give(&mut vault, &anna);
        let (second, ..) = give(&mut vault, &bert);
        let open = |record: &[u8]| Share::open(&anna, &id, &name, record);
        let refused =
            |error: &Error| matches!(error, Error::Tampered | Error::UnsupportedFormat(_));
        for (at, changed) in flips(&letter) {
            assert!(refused(&open(&changed).unwrap_err()), "byte {at}");
        }
        for length in 0..letter.len() {
            assert!(refused(&open(&letter[..length]).unwrap_err()), "{length}");
        }
        let mut share = open(&letter).unwrap();
        share.follow(&first.entry).unwrap();
        share.follow(&second.entry).unwrap();
        let revoked = Decision::Revoke(vec![second.granted.unwrap().0]);
        let revoked = vault.decide(revoked).unwrap();
        assert!(
            share.renew(&anna, &revoked.records[0].1).is_err(),
            "nothing is awaited"
        );
        share.follow(&revoked.entry).unwrap();
        let bundle = &revoked.records[0].1;
        for (at, changed) in flips(bundle) {
            assert_eq!(
                share.renew(&anna, &changed),
                Err(Error::Tampered),
                "byte {at}"
            );
            // Without the ledger's word for it, too, nothing panics.
            let _ = Bundle::parse(&changed);
        }
        for length in 0..bundle.len() {
            let cut = &bundle[..length];
            assert_eq!(share.renew(&anna, cut), Err(Error::Tampered), "{length}");
            assert!(Bundle::parse(cut).is_err(), "{length}");
        }
        assert_eq!(share.renew(&anna, bundle), Ok(true));
        assert!(!share.is_closed());
    }

    /// The owner's devices have clocks that are an hour fast or slow, or stopped, or know
    /// no bounds: entries stand in their order all the same, for him and for others.
    #[test]
    fn l10_no_clock_of_the_owners_decides_what_holds() {
        const HOUR: u64 = 3_600_000_000;
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let anna = Identity::make(IdentitySuite::X25519, 1).unwrap();
        let (first, name, letter) = give(&mut vault, &anna);
        let mut share = Share::open(&anna, &id, &name, &letter).unwrap();
        share.follow(&first.entry).unwrap();
        let now = 10 * HOUR;
        for time in [now, now - HOUR, now + HOUR, 0, u64::MAX, now] {
            for decision in [
                Decision::Share {
                    scope: Scope::Folder(Some(VaultPath::parse("a").unwrap())),
                    recipient: Recipient::trusted_on_first_use(anna.card().clone())
                        .allow_classical(),
                    terms: Terms::reading(),
                },
                Decision::Lease {
                    folder: Some(VaultPath::parse("a").unwrap()),
                    seconds: Some(600),
                },
            ] {
                let ledger = vault.ledger();
                let held = ledger.grants().count();
                let next = ledger.next(vault.header(), &vault.secrets, time, decision);
                let next = next.unwrap();
                assert_eq!(next.entry.written(), time);
                vault.entries.push(next.entry.clone());
                share.follow(&next.entry).unwrap();
                assert!(!share.is_closed());
                let ledger = vault.ledger();
                let more = usize::from(next.granted.is_some());
                assert_eq!(ledger.grants().count(), held + more, "{time}");
            }
            // A lease is by the writer's clock against the owner's: an hour between them
            // ends it early or late by that hour, and no sum runs over.
            let path = VaultPath::parse("x").unwrap();
            let goes_on = |now: u64| share.tree().check_lease(&path, time, now).is_ok();
            assert!(goes_on(time) && goes_on(time.saturating_sub(HOUR)) && goes_on(0));
            assert_eq!(goes_on(time.saturating_add(HOUR)), time == u64::MAX);
        }
    }

    /// Mallory knows the owner's card and those of all others, and has a grant of his
    /// own, which he hands on or takes apart.
    #[test]
    fn f05_f08_a_letter_is_of_the_one_who_signed_it_to_the_one_it_names() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        for suite in crate::testing::SUITES {
            let [bob, mallory] = [suite; 2].map(|s| Identity::make(s, 1).unwrap());
            let (filed, name, record) = give(&mut vault, &mallory);
            let refused = |record: &[u8], name: &LetterName| {
                let found = Share::open(&bob, &id, name, record);
                assert!(matches!(found, Err(Error::Tampered)));
            };
            refused(&record, &name);
            let sealed = check_magic(&record, Share::MAGIC).unwrap();
            let plain = mallory.open(&id, &name.0, sealed).unwrap();
            let to_bob = |letter: &Letter| {
                let sealed = bob.card().seal(&id, &name.0, &letter.encode()).unwrap();
                [&Share::MAGIC[..], &sealed].concat()
            };
            // What the owner gave to him, sealed again to Bob.
            refused(&to_bob(&Letter::decode(&plain).unwrap()), &name);
            // With Bob's name in it, under the owner's signature, and under his own with
            // the owner's card.
            let mut statement = Statement::decode(&Letter::decode(&plain).unwrap().statement);
            let statement = statement.as_mut().unwrap();
            statement.grantee = bob.card().hash();
            for signs in [None, Some(&mallory)] {
                let mut letter = Letter::decode(&plain).unwrap();
                letter.statement = statement.encode().to_vec();
                if let Some(signs) = signs {
                    letter.signature = signs.sign(domain::STATEMENT, &[&letter.statement]);
                }
                refused(&to_bob(&letter), &name);
            }
            // Under his own name it says whose it is, and the ledger does not hold it.
            let mut letter = Letter::decode(&plain).unwrap();
            statement.grantor = mallory.card().hash();
            letter.statement = statement.encode().to_vec();
            letter.signature = mallory.sign(domain::STATEMENT, &[&letter.statement]);
            letter.grantor = mallory.card().clone();
            let mut his = Share::open(&bob, &id, &name, &to_bob(&letter)).unwrap();
            assert_eq!(his.grantor(), mallory.card());
            let found = his.follow(&filed.entry);
            assert!(matches!(found, Err(Error::AccessDenied(_))));
            assert!(Share::open(&mallory, &id, &name, &record).is_ok());
        }
    }

    fn terms() -> impl Strategy<Value = Terms> {
        let times = (any::<bool>(), 1u64..1 << 40, any::<bool>(), 1u64..1 << 40);
        (any::<[bool; 3]>(), times, "[^\\pC]{0,40}").prop_map(|(bits, times, purpose)| {
            let (has_from, from, has_until, long) = times;
            Terms {
                write: bits[0],
                reshare: bits[1],
                past: if bits[2] {
                    Past::HeldBack
                } else {
                    Past::Shared
                },
                not_before: has_from.then_some(from),
                not_after: has_until.then_some(from + long),
                purpose,
            }
        })
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(
            terms in terms(),
            ids in any::<[[u8; 16]; 2]>(),
            hashes in any::<[[u8; 32]; 4]>(),
            sequence in any::<u64>(),
            letters in prop::collection::btree_map(any::<[u8; 16]>(), any::<Vec<u8>>(), 0..5),
            rings in prop::collection::vec(any::<Vec<u8>>(), 0..3),
        ) {
            prop_assert_eq!(Terms::decode(&terms.encode()), Ok(terms.clone()));
            let statement = Statement {
                vault: VaultId(ids[0]),
                suite: Suite::V1,
                id: GrantId(ids[1]),
                grantor: RecordHash(hashes[0]),
                grantee: RecordHash(hashes[1]),
                scope: Scope::Version(VaultPath::parse("name").unwrap(), hashes[2]),
                terms,
                tree: RecordHash(hashes[2]),
                before: Position { sequence, hash: RecordHash(hashes[3]) },
                stored: "o/name".to_owned(),
                above: (sequence % 2 == 0).then_some(RecordHash(hashes[1])),
            };
            prop_assert_eq!(Statement::decode(&statement.encode()), Ok(statement));
            let bundle = Bundle { rings, letters };
            let (_, record) = bundle.finish().unwrap();
            prop_assert_eq!(Bundle::parse(&record), Ok(bundle));
        }

        #[test]
        fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Bundle::parse(&bytes).is_err());
            prop_assert!(Letter::decode(&bytes).is_err());
            prop_assert!(Tree::decode(&bytes).is_err());
            prop_assert!(GrantRecord::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_contact_comes_back_as_it_was() {
        let card = Identity::make(IdentitySuite::X25519, 1)
            .unwrap()
            .card()
            .clone();
        for trust in [Trust::Unverified, Trust::Verified, Trust::Changed] {
            let contact = Contact {
                trust,
                ..Contact::new("ä", card.clone()).unwrap()
            };
            assert_eq!(Contact::decode(&contact.encode()), Ok(contact));
        }
    }
}
