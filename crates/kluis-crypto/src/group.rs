//! Groups: an identity whose members open what is sealed to it (docs/FORMAT.md,
//! section 14).
//!
//! The owner's ledger keeps the whole of it. A member holds the seeds of its sealing
//! key, one for each generation, and never the key that it signs with.

use crate::card::{Card, IdentitySuite};
use crate::cbor::{Reader, Record, Writer};
use crate::collection::{Collection, ContentKey, Epoch, NameKey};
use crate::contact::{Contact, Recipient};
use crate::grant::{GrantRecord, MailboxSecret};
use crate::identity::{Identity, SigningSeed, open_sealed};
use crate::kdf::Label;
use crate::kem::KemSeed;
use crate::name::{VaultPath, objects_prefix};
use crate::tree::{self, Scope, Tree};
use crate::{CollectionId, Error, GrantId, RecordHash, Result, VaultId, signature};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// A group as the owner's ledger keeps it.
///
/// Its generations are epochs of a collection that holds no objects: the content key of
/// each is the seed of the sealing key that the group has then, so that a member
/// follows them as any grantee follows the epochs of a folder.
pub struct Group {
    name: VaultPath,
    suite: IdentitySuite,
    created: u64,
    signing: SigningSeed,
    /// Follows from its seed.
    signing_key: [u8; 32],
    pub(crate) generations: Collection,
    /// The grants by which its members have their seeds.
    pub(crate) members: BTreeMap<GrantId, GrantRecord>,
}

impl Group {
    const MAX_MEMBERS: usize = 65_536;

    pub(crate) fn make(name: &str, suite: IdentitySuite, now: u64) -> Result<Self> {
        // Members are told it as they are told the name of a folder.
        let path = VaultPath::parse(name).ok();
        let path = path.filter(|path| path.segments().count() == 1 && fits(path));
        let name = path.ok_or(Error::invalid(
            "the name of a group has 1 to 255 bytes, no `/` and no control characters",
        ))?;
        let signing = SigningSeed::make()?;
        Ok(Self {
            name,
            suite,
            created: now,
            signing_key: signature::public_key(signing.expose_secret()),
            signing,
            generations: Collection::make(None, false)?,
            members: BTreeMap::new(),
        })
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self {
            name: self.name.clone(),
            signing: self.signing.duplicate(),
            generations: self.generations.duplicate(),
            members: self
                .members
                .iter()
                .map(|(id, member)| (*id, member.duplicate()))
                .collect(),
            ..*self
        }
    }

    pub(crate) fn id(&self) -> CollectionId {
        self.generations.id
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What a grant is for that makes somebody a member.
    pub(crate) fn scope(&self) -> Scope {
        Scope::Group(self.id(), self.name.clone())
    }

    /// When it was made, in microseconds since 1970.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Its members, and the grants by which they are.
    pub fn members(&self) -> impl Iterator<Item = &GrantRecord> {
        self.members.values()
    }

    /// The member with this card.
    pub(crate) fn member(&self, card: &Card) -> Option<&GrantRecord> {
        let is_it = |m: &&GrantRecord| m.card.fingerprint() == card.fingerprint();
        self.members.values().find(is_it)
    }

    /// The group as somebody that can be shared with: it is the owner's own.
    ///
    /// # Errors
    /// `Tampered` for a group without a generation, which is never read.
    pub fn recipient(&self) -> Result<Recipient> {
        Ok(Recipient::of_group(self.name(), self.card()?))
    }

    /// The card that it has now.
    pub(crate) fn card(&self) -> Result<Card> {
        let now = self.generations.current().ok_or(Error::Tampered)?;
        Ok(self.identity(now)?.card().clone())
    }

    /// It is the same in each generation.
    pub(crate) fn signing_key(&self) -> [u8; 32] {
        self.signing_key
    }

    fn identity(&self, generation: &Epoch) -> Result<Identity> {
        let signing = self.signing.duplicate();
        Identity::of_seeds(self.suite, signing, seed(&generation.key), self.created)
    }

    /// Where letters to it are found now.
    pub(crate) fn mailbox(&self, vault: &VaultId, base: &MailboxSecret) -> Result<MailboxSecret> {
        let now = self.generations.current().ok_or(Error::Tampered)?;
        Ok(mailbox(now.key.expose_secret(), vault, base))
    }

    /// What a member gets.
    pub(crate) fn keys(&self) -> Result<Generations> {
        let chain = self.generations.epochs.iter().filter(|e| !e.orphan);
        let all = chain.map(|generation| {
            Ok(Generation {
                number: generation.number,
                opened: generation.opened,
                seed: seed(&generation.key),
                card: self.identity(generation)?.card().hash(),
            })
        });
        Ok(Generations {
            group: self.id(),
            suite: self.suite,
            all: all.collect::<Result<_>>()?,
        })
    }

    /// Whether it could come from entries before this one.
    pub(crate) fn is_of_before(&self, sequence: u64) -> bool {
        self.generations.is_in_order(sequence) && self.members.values().all(|m| m.filed < sequence)
    }

    /// Whether it is as a group begins.
    pub(crate) fn is_new(&self) -> bool {
        self.members.is_empty() && self.generations.epochs.len() == 1
    }
}

fn fits(name: &VaultPath) -> bool {
    name.as_str().len() <= Contact::MAX_NAME
}

fn seed(key: &ContentKey) -> KemSeed {
    KemSeed::init_with(|out| *out = *key.expose_secret())
}

/// `KDF(seed, "group-mailbox", vault id, mailbox secret of the grant)`: with the
/// generation it changes too, and who was removed finds nothing more.
fn mailbox(seed: &[u8; 32], vault: &VaultId, base: &MailboxSecret) -> MailboxSecret {
    let context = [&vault.as_bytes()[..], &base.expose_secret()[..]];
    MailboxSecret::derive(seed, Label::GROUP_MAILBOX, &context)
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

/// `[name, suite, created, signing seed, collection, [grant, …]]`, members in ascending
/// order of ids.
impl Record for Group {
    fn write(&self, to: &mut Writer) {
        to.array(6)
            .text(self.name())
            .uint(self.suite.number().into())
            .uint(self.created)
            .bytes(self.signing.expose_secret());
        tree::write_collection(&self.generations, to);
        to.array(self.members.len());
        for member in self.members.values() {
            member.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(6)?;
        let name = tree::read_name(from)?;
        let suite = IdentitySuite::from_number(from.uint()?)?;
        let created = from.uint()?;
        let signing = from.fixed()?;
        let signing = SigningSeed::init_with(|out| *out = *signing);
        let generations = tree::read_collection(from)?;
        let plain = generations.mount.is_none()
            && !generations.padded
            && generations.floor == 0
            && generations.lease.is_none()
            && generations.current().is_some_and(|now| !now.orphan)
            && generations.epochs.iter().all(|e| !e.orphan)
            && generations.writers.0.is_empty();
        let mut members = BTreeMap::new();
        // Out of order, or one twice, is not what comes out when it is written again.
        for _ in 0..from.array_up_to(Self::MAX_MEMBERS)? {
            let member = GrantRecord::read(from)?;
            members.insert(member.id, member);
        }
        let scope = Scope::Group(generations.id, name.clone());
        if !plain || !fits(&name) || members.values().any(|member| member.scope != scope) {
            return Err(Error::Tampered);
        }
        Ok(Self {
            name,
            suite,
            created,
            signing_key: signature::public_key(signing.expose_secret()),
            signing,
            generations,
            members,
        })
    }
}

/// What a member holds of one generation: what was sealed to its card, the seed opens.
struct Generation {
    number: u32,
    opened: u64,
    seed: KemSeed,
    card: RecordHash,
}

/// What a member holds of a group.
pub(crate) struct Generations {
    pub(crate) group: CollectionId,
    suite: IdentitySuite,
    all: Vec<Generation>,
}

impl Generations {
    pub(crate) fn duplicate(&self) -> Self {
        let all = self.all.iter().map(|generation| Generation {
            seed: generation.seed.duplicate(),
            ..*generation
        });
        Self {
            all: all.collect(),
            ..*self
        }
    }

    pub(crate) fn hash(&self) -> RecordHash {
        RecordHash::of(&self.encode())
    }

    /// Whether this is what they are a grant for.
    pub(crate) fn is_of(&self, scope: &Scope) -> bool {
        matches!(scope, Scope::Group(id, _) if *id == self.group)
    }

    /// As the collection whose epochs they are.
    pub(crate) fn tree(&self) -> Result<Tree> {
        let none = NameKey::init_with(|_| {});
        let mut tree = Tree::new(objects_prefix().to_owned(), none);
        let epochs = self.all.iter().map(|generation| Epoch {
            number: generation.number,
            opened: generation.opened,
            orphan: false,
            key: ContentKey::init_with(|out| *out = *generation.seed.expose_secret()),
        });
        let any = ContentKey::init_with(|_| {});
        tree.insert(Collection {
            epochs: epochs.collect(),
            ..Collection::with_key(self.group, None, false, 0, any)
        })?;
        Ok(tree)
    }

    /// Opens what was sealed to the group, under the card of any generation, which
    /// comes along.
    pub(crate) fn open(
        &self,
        vault: &VaultId,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, RecordHash)> {
        for Generation { seed, card, .. } in self.all.iter().rev() {
            if let Ok(opened) = open_sealed((self.suite, card, seed), vault, place, sealed) {
                return Ok((opened, *card));
            }
        }
        Err(Error::Tampered)
    }

    /// Where letters to the group are found that the entry with this sequence announces.
    pub(crate) fn mailbox(
        &self,
        vault: &VaultId,
        base: &MailboxSecret,
        sequence: u64,
    ) -> Result<MailboxSecret> {
        let then = self.all.iter().rfind(|g| g.opened <= sequence);
        let then = then.ok_or(Error::Tampered)?;
        Ok(mailbox(then.seed.expose_secret(), vault, base))
    }
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generations").finish_non_exhaustive()
    }
}

/// `[group id, suite, [[generation, opened, seed, H(card)], …]]`, in ascending order.
impl Record for Generations {
    fn write(&self, to: &mut Writer) {
        to.array(3)
            .bytes(self.group.as_bytes())
            .uint(self.suite.number().into())
            .array(self.all.len());
        for generation in &self.all {
            to.array(4)
                .uint(generation.number.into())
                .uint(generation.opened)
                .bytes(generation.seed.expose_secret())
                .bytes(generation.card.as_bytes());
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(3)?;
        let group = CollectionId(*from.fixed()?);
        let suite = IdentitySuite::from_number(from.uint()?)?;
        let mut all: Vec<Generation> = Vec::new();
        for _ in 0..from.array_up_to(Tree::MAX_EPOCHS)? {
            from.array(4)?;
            let (number, opened) = (from.uint_u32()?, from.uint()?);
            let seed = from.fixed()?;
            let next = Generation {
                number,
                opened,
                seed: KemSeed::init_with(|out| *out = *seed),
                card: RecordHash(*from.fixed()?),
            };
            let follows = |last: &Generation| last.number < number && last.opened <= opened;
            if !all.last().is_none_or(follows) {
                return Err(Error::Tampered);
            }
            all.push(next);
        }
        if all.is_empty() {
            return Err(Error::Tampered);
        }
        Ok(Self { group, suite, all })
    }
}
