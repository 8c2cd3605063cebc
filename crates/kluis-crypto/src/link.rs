//! Links: access for whoever has a URL (docs/FORMAT.md, section 13).
//!
//! The URL's fragment holds a secret. From it follow where the link's record lies
//! and what opens it; the record is signed by the vault's authority, whose hash the
//! fragment names, so that nobody who has the link can put another in its place.
//! The owner's ledger keeps a [`LinkRecord`] of each, to seal it again when keys
//! change and to withdraw it.

use crate::authority::{self, Authorities};
use crate::cbor::{Reader, Record, Writer};
use crate::credential::{KdfCeiling, KdfParams, Password, random_bytes, stretch};
use crate::grant::{LetterName, Terms};
use crate::header::{Suite, VaultSecrets, check_magic};
use crate::kdf::{Label, domain};
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::tree::{Past, Scope, Tree};
use crate::{Error, LinkId, Position, RecordHash, Result, VaultId};
use data_encoding::BASE64URL_NOPAD;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

secret_key! {
    /// What a link is: whoever has it reads.
    pub(crate) struct LinkSecret;
}
secret_key! {
    /// Seals the record of a link.
    pub(crate) struct LinkKey;
}

impl LinkSecret {
    /// `KDF(secret, "link-name", vault id)[..16]`
    pub(crate) fn name(&self, vault: &VaultId) -> LetterName {
        let label = Label::LINK_NAME;
        let name = LinkKey::derive(self.expose_secret(), label, &[vault.as_bytes()]);
        let mut out = [0; 16];
        out.copy_from_slice(&name.expose_secret()[..16]);
        LetterName(out)
    }

    /// `KDF(k, "link-key", vault id)`, k being the secret, or with a password
    /// `Extract(salt = Argon2id(password, …), ikm = secret)`.
    fn key(&self, vault: &VaultId, password: Option<(&Password, &Lock)>) -> Result<LinkKey> {
        let key = |k: &[u8; 32]| LinkKey::derive(k, Label::LINK_KEY, &[vault.as_bytes()]);
        Ok(match password {
            None => key(self.expose_secret()),
            Some((password, lock)) => {
                let stretched = stretch(password, &lock.salt, lock.params)?;
                key(stretched.extract(self.expose_secret()).expose_secret())
            }
        })
    }
}

/// What stands behind the `#` in the URL of a link: the secret, and the vault whose
/// authority has to have signed what it leads to.
///
/// It is never printed, logged or part of an error.
pub struct LinkFragment {
    pub(crate) vault: VaultId,
    pub(crate) secret: LinkSecret,
}

impl LinkFragment {
    const VERSION: u8 = 1;
    const LENGTH: usize = 1 + 32 + 16;

    /// The vault that it leads into.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// Where the link's record lies below the vault's prefix.
    pub fn path(&self) -> String {
        self.secret.name(&self.vault).path()
    }

    /// Another holder of the same link.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            vault: self.vault,
            secret: self.secret.duplicate(),
        }
    }

    /// The text behind the `#`.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        bytes[0] = Self::VERSION;
        bytes[1..33].copy_from_slice(self.secret.expose_secret());
        bytes[33..].copy_from_slice(self.vault.as_bytes());
        Zeroizing::new(BASE64URL_NOPAD.encode(&bytes[..]))
    }
}

impl FromStr for LinkFragment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let incomplete = || Error::invalid("this is not a whole link; copy all of it");
        // Nothing longer is decoded.
        let text = Some(text).filter(|text| text.len() <= 4 * Self::LENGTH);
        let bytes = text.and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        let bytes = Zeroizing::new(bytes.ok_or_else(incomplete)?);
        match bytes.first() {
            Some(&Self::VERSION) => {}
            // A shorter one, such as the id of an address, is none of a later version.
            Some(_) if bytes.len() >= Self::LENGTH => {
                return Err(Error::UnsupportedFormat("link"));
            }
            _ => return Err(incomplete()),
        }
        let bytes: &[u8; Self::LENGTH] = bytes[..].try_into().map_err(|_| incomplete())?;
        let mut vault = VaultId([0; 16]);
        vault.0.copy_from_slice(&bytes[33..]);
        Ok(Self {
            vault,
            secret: LinkSecret::init_with(|out| out.copy_from_slice(&bytes[1..33])),
        })
    }
}

impl fmt::Debug for LinkFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkFragment").finish_non_exhaustive()
    }
}

/// What a password is stretched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lock {
    params: KdfParams,
    salt: [u8; 32],
}

impl Lock {
    /// `[[m, t, p], salt]`, or `[]` without a password.
    fn write(lock: Option<&Self>, to: &mut Writer) {
        match lock {
            None => {
                to.array(0);
            }
            Some(lock) => {
                to.array(2);
                KdfParams::write(Some(lock.params), to);
                to.bytes(&lock.salt);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Option<Self>> {
        match from.array_of_any(2)? {
            0 => Ok(None),
            2 => {
                let params = KdfParams::read(from)?.ok_or(Error::Tampered)?;
                let salt = *from.fixed()?;
                Ok(Some(Self { params, salt }))
            }
            _ => Err(Error::Tampered),
        }
    }
}

/// A link that is about to be made: its secret, and what locks it beside.
pub struct NewLink {
    id: LinkId,
    secret: LinkSecret,
    lock: Option<(Lock, LinkKey)>,
}

impl NewLink {
    /// Draws the secret. With a password it costs one Argon2id run.
    ///
    /// # Errors
    /// `InvalidInput` for an unusable password, `Randomness`, `LimitExceeded` where
    /// memory for Argon2id is short.
    pub fn make(vault: &VaultId, password: Option<&Password>, params: KdfParams) -> Result<Self> {
        let secret = LinkSecret::make()?;
        let lock = match password {
            None => None,
            Some(password) => {
                let salt = random_bytes()?;
                let lock = Lock { params, salt };
                let key = secret.key(vault, Some((password, &lock)))?;
                Some((lock, key))
            }
        };
        Ok(Self {
            id: LinkId(random_bytes()?),
            secret,
            lock,
        })
    }

    /// Names the link to its owner.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// What its URL ends in.
    pub fn fragment(&self, vault: VaultId) -> LinkFragment {
        LinkFragment {
            vault,
            secret: self.secret.duplicate(),
        }
    }

    pub(crate) fn record(
        &self,
        scope: Scope,
        terms: LinkTerms,
        (filed, time): (u64, u64),
    ) -> LinkRecord {
        let lock = self.lock.as_ref();
        LinkRecord {
            id: self.id,
            secret: self.secret.duplicate(),
            lock: lock.map(|(lock, key)| (*lock, key.duplicate())),
            scope,
            terms,
            filed,
            time,
        }
    }
}

impl fmt::Debug for NewLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewLink")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a link is for, how long, and how it is delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkTerms {
    /// Not after this time, in microseconds since 1970.
    pub not_after: Option<u64>,
    /// What it is for, for the statement of access.
    pub purpose: String,
    /// Whether the store itself delivers what it leads to, by URLs that it signed and
    /// that it stops to honour: whoever has the link needs no credentials.
    pub presigned: bool,
}

impl LinkTerms {
    pub(crate) fn check(&self) -> Result<()> {
        self.as_terms().check()
    }

    /// In the form that grants have.
    fn as_terms(&self) -> Terms {
        Terms {
            not_after: self.not_after,
            purpose: self.purpose.clone(),
            ..Terms::reading()
        }
    }
}

/// A link as the owner's ledger keeps it.
pub struct LinkRecord {
    pub(crate) id: LinkId,
    pub(crate) secret: LinkSecret,
    /// Of a link with a password, and the key that follows from it: the owner seals
    /// again without knowing the password.
    lock: Option<(Lock, LinkKey)>,
    pub(crate) scope: Scope,
    pub(crate) terms: LinkTerms,
    /// The sequence of the ledger entry that made it.
    pub(crate) filed: u64,
    /// When that was, by the clock of who wrote it.
    pub(crate) time: u64,
}

impl LinkRecord {
    pub(crate) fn duplicate(&self) -> Self {
        let lock = self.lock.as_ref();
        Self {
            secret: self.secret.duplicate(),
            lock: lock.map(|(lock, key)| (*lock, key.duplicate())),
            scope: self.scope.clone(),
            terms: self.terms.clone(),
            ..*self
        }
    }

    /// Names the link.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// What it leads to; not a version.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What it is for, how long, and how it is delivered.
    pub fn terms(&self) -> &LinkTerms {
        &self.terms
    }

    /// Whether it takes a password beside.
    pub fn has_password(&self) -> bool {
        self.lock.is_some()
    }

    /// The sequence of the ledger entry that made it.
    pub fn filed(&self) -> u64 {
        self.filed
    }

    /// When it was made, in microseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    fn key(&self, vault: &VaultId) -> Result<LinkKey> {
        match &self.lock {
            Some((_, key)) => Ok(key.duplicate()),
            None => self.secret.key(vault, None),
        }
    }

    /// The record to store: the keys of this tree, as of the ledger's entry `head`.
    pub(crate) fn seal(
        &self,
        secrets: &VaultSecrets,
        authorities: &Authorities,
        (suite, tree, head): (Suite, Tree, Position),
        objects: Vec<LinkObject>,
    ) -> Result<Vec<u8>> {
        let vault = secrets.vault();
        let content = Content {
            suite,
            id: self.id,
            scope: self.scope.own(),
            terms: self.terms.as_terms(),
            tree,
            head,
            objects,
        };
        let (key, name) = (self.key(&vault)?, self.secret.name(&vault));
        let place = SealedLink::place(&vault, &name);
        let body = Body {
            vault,
            authorities: authorities.list().to_vec(),
            name: name.0,
            lock: self.lock.as_ref().map(|(lock, _)| *lock),
            sealed: message::seal(key.expose_secret(), &place, &content.encode())?,
        };
        let mut record = SealedLink::MAGIC.to_vec();
        record.extend_from_slice(&body.encode());
        let signature = secrets.authority().sign(domain::LINK, &[&record]);
        record.extend_from_slice(&signature);
        if record.len() > SealedLink::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a link's record"));
        }
        Ok(record)
    }

    /// What the owner finds in a stored record of this link.
    pub(crate) fn open(&self, vault: VaultId, record: &[u8]) -> Result<OpenedLink> {
        let fragment = LinkFragment {
            vault,
            secret: self.secret.duplicate(),
        };
        SealedLink::parse(&fragment, record)?.open_with(self.key(&vault)?)
    }
}

impl fmt::Debug for LinkRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkRecord")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// `[id, secret, lock, scope, [not after, purpose, options], filed, time]`, the lock being `[]` or `[[m, t, p], salt, key]`.
impl Record for LinkRecord {
    fn write(&self, to: &mut Writer) {
        to.array(7)
            .bytes(self.id.as_bytes())
            .bytes(self.secret.expose_secret());
        match &self.lock {
            None => {
                to.array(0);
            }
            Some((lock, key)) => {
                to.array(3);
                KdfParams::write(Some(lock.params), to);
                to.bytes(&lock.salt).bytes(key.expose_secret());
            }
        }
        self.scope.write(to);
        to.array(3)
            .uint(self.terms.not_after.unwrap_or(0))
            .text(&self.terms.purpose)
            .uint(self.terms.presigned.into());
        to.uint(self.filed).uint(self.time);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let id = LinkId(*from.fixed()?);
        let secret = from.fixed()?;
        let secret = LinkSecret::init_with(|out| *out = *secret);
        let lock = match from.array_of_any(3)? {
            0 => None,
            3 => {
                let params = KdfParams::read(from)?.ok_or(Error::Tampered)?;
                let salt = *from.fixed()?;
                let key = from.fixed()?;
                let key = LinkKey::init_with(|out| *out = *key);
                Some((Lock { params, salt }, key))
            }
            _ => return Err(Error::Tampered),
        };
        let scope = read_scope(from)?;
        from.array(3)?;
        let not_after = from.uint()?;
        let terms = LinkTerms {
            not_after: (not_after > 0).then_some(not_after),
            purpose: from.text(Terms::MAX_PURPOSE)?.to_owned(),
            presigned: match from.uint()? {
                0 => false,
                1 => true,
                _ => return Err(Error::UnsupportedFormat("option of a link")),
            },
        };
        terms.check().map_err(|_| Error::Tampered)?;
        Ok(Self {
            id,
            secret,
            lock,
            scope,
            terms,
            filed: from.uint()?,
            time: from.uint()?,
        })
    }
}

/// A folder's or an object's: the ledger does not hold the key of one write, so that no
/// record of a link to it could be sealed again.
fn read_scope(from: &mut Reader<'_>) -> Result<Scope> {
    match Scope::read(from)? {
        scope @ (Scope::Folder(_) | Scope::Object(_)) => Ok(scope),
        Scope::Version(..) | Scope::Group(..) => Err(Error::Tampered),
    }
}

/// An object that the store hands out by a URL that it signed.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkObject {
    /// Where it lies below the vault's prefix.
    pub path: String,
    /// Its stored length, by the store's word when the link was made.
    pub size: u64,
    /// What reads it.
    pub url: String,
}

impl LinkObject {
    /// Objects that one link hands out by URLs, at most.
    pub const MAX: usize = 10_000;
    /// Longest path in bytes.
    pub const MAX_PATH: usize = 1_024;
    /// Longest URL in bytes.
    pub const MAX_URL: usize = 4_096;
}

/// A URL that the store signed is as good as credentials.
impl fmt::Debug for LinkObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkObject").finish_non_exhaustive()
    }
}

/// The record of a link, its signature checked; its content not opened yet.
#[derive(Debug)]
pub struct SealedLink {
    fragment: LinkFragment,
    lock: Option<Lock>,
    sealed: Vec<u8>,
}

impl SealedLink {
    /// A longer record is not a link's.
    pub const MAX_LENGTH: usize = 32 << 20;
    const MAGIC: [u8; 4] = *b"KLL1";

    fn place<'a>(vault: &'a VaultId, name: &'a LetterName) -> Place<'a> {
        Place {
            kind: "link",
            vault,
            place: &name.0,
        }
    }

    /// Checks that this is the record that the vault's authority signed for the link.
    /// The cost of its password is within the limits of the format.
    ///
    /// # Errors
    /// `UnsupportedFormat` of a later version, `LimitExceeded`, otherwise `Tampered`.
    ///
    /// # Security
    /// Whoever held the authority before a root rotation could still sign: as with a
    /// header, a reader that remembers nothing can be shown the vault of then.
    pub fn parse(fragment: &LinkFragment, record: &[u8]) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a link's record"));
        }
        let body = check_magic(record, Self::MAGIC)?;
        let (signed, signature) = record.split_last_chunk::<64>().ok_or(Error::Tampered)?;
        let (body, _) = body.split_last_chunk::<64>().ok_or(Error::Tampered)?;
        let mut start = Reader::new(body);
        start.array_up_to(64)?;
        if start.fixed()? != fragment.vault.as_bytes() {
            return Err(Error::Tampered);
        }
        // Before anything else is looked at: what a later version wrote is signed.
        let authorities = Authorities::verify(authority::read_list(&mut start)?, &fragment.vault)?;
        authorities.verify_current(domain::LINK, &[signed], signature)?;
        let body = Body::decode(body)?;
        if body.name != fragment.secret.name(&fragment.vault).0 {
            return Err(Error::Tampered);
        }
        Ok(Self {
            fragment: fragment.duplicate(),
            lock: body.lock,
            sealed: body.sealed,
        })
    }

    /// Whether it takes a password beside.
    pub fn has_password(&self) -> bool {
        self.lock.is_some()
    }

    /// Opens it. With a password that costs one Argon2id run, within the ceiling of
    /// the caller; one that is given for a link without is not looked at.
    ///
    /// # Errors
    /// `WrongCredentials` for another password than its own, or none;
    /// `InvalidInput` for an unusable one; `LimitExceeded`; otherwise `Tampered`.
    pub fn open(&self, password: Option<&Password>, ceiling: KdfCeiling) -> Result<OpenedLink> {
        let vault = &self.fragment.vault;
        let Some(lock) = &self.lock else {
            return self.open_with(self.fragment.secret.key(vault, None)?);
        };
        let password = password.ok_or(Error::WrongCredentials)?;
        ceiling.check(lock.params)?;
        let key = self.fragment.secret.key(vault, Some((password, lock)))?;
        let name = self.fragment.secret.name(vault);
        if !message::commits(
            key.expose_secret(),
            &Self::place(vault, &name),
            &self.sealed,
        ) {
            return Err(Error::WrongCredentials);
        }
        self.open_with(key)
    }

    /// Opens a newer record of a link that was opened before.
    ///
    /// # Errors
    /// `Stale` for an older one; otherwise `Tampered`.
    pub fn open_again(&self, before: &OpenedLink) -> Result<OpenedLink> {
        let opened = self.open_with(before.key.duplicate())?;
        if opened.content.head.sequence < before.content.head.sequence {
            return Err(Error::Stale("link"));
        }
        Ok(opened)
    }

    fn open_with(&self, key: LinkKey) -> Result<OpenedLink> {
        let vault = &self.fragment.vault;
        let name = self.fragment.secret.name(vault);
        let x = message::open(
            key.expose_secret(),
            &Self::place(vault, &name),
            &self.sealed,
        )?;
        let mut content = Content::decode(&x)?;
        if content.tree.mounted(None).is_none() {
            return Err(Error::Tampered);
        }
        content.tree.set_head(content.head.sequence);
        content.tree.set_unfollowed();
        Ok(OpenedLink { key, content })
    }
}

/// `[vault id, authorities, name, lock, sealed]`
struct Body {
    vault: VaultId,
    authorities: Vec<authority::Authority>,
    name: [u8; 16],
    lock: Option<Lock>,
    sealed: Vec<u8>,
}

impl Record for Body {
    fn write(&self, to: &mut Writer) {
        to.array(5).bytes(self.vault.as_bytes());
        authority::write_list(&self.authorities, to);
        to.bytes(&self.name);
        Lock::write(self.lock.as_ref(), to);
        to.bytes(&self.sealed);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(5)?;
        Ok(Self {
            vault: VaultId(*from.fixed()?),
            authorities: authority::read_list(from)?,
            name: *from.fixed()?,
            lock: Lock::read(from)?,
            sealed: from.bytes(SealedLink::MAX_LENGTH)?.to_vec(),
        })
    }
}

/// `[suite, link id, scope, terms, tree, [sequence, hash], [[path, size, url], …]]`,
/// objects in ascending order of their paths.
#[derive(Debug)]
struct Content {
    suite: Suite,
    id: LinkId,
    /// With its own name for its path.
    scope: Scope,
    terms: Terms,
    tree: Tree,
    head: Position,
    objects: Vec<LinkObject>,
}

impl Record for Content {
    fn write(&self, to: &mut Writer) {
        to.array(7)
            .uint(self.suite.number().into())
            .bytes(self.id.as_bytes());
        self.scope.write(to);
        self.terms.write(to);
        self.tree.write(to);
        to.array(2)
            .uint(self.head.sequence)
            .bytes(self.head.hash.as_bytes());
        to.array(self.objects.len());
        for object in &self.objects {
            to.array(3)
                .text(&object.path)
                .uint(object.size)
                .text(&object.url);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let suite = Suite::from_number(from.uint()?)?;
        let id = LinkId(*from.fixed()?);
        let scope = read_scope(from)?;
        if scope.own() != scope {
            return Err(Error::Tampered);
        }
        let terms = Terms::read(from)?;
        if terms.write || terms.reshare || terms.past != Past::Shared || terms.not_before.is_some()
        {
            return Err(Error::Tampered);
        }
        let tree = Tree::read(from)?;
        if !tree.is_of(&scope) {
            return Err(Error::Tampered);
        }
        from.array(2)?;
        let head = Position {
            sequence: from.uint()?,
            hash: RecordHash(*from.fixed()?),
        };
        let mut objects: Vec<LinkObject> = Vec::new();
        for _ in 0..from.array_up_to(LinkObject::MAX)? {
            from.array(3)?;
            let object = LinkObject {
                path: from.text(LinkObject::MAX_PATH)?.to_owned(),
                size: from.uint()?,
                url: from.text(LinkObject::MAX_URL)?.to_owned(),
            };
            if objects.last().is_some_and(|last| last.path >= object.path) {
                return Err(Error::Tampered);
            }
            objects.push(object);
        }
        Ok(Self {
            suite,
            id,
            scope,
            terms,
            tree,
            head,
            objects,
        })
    }
}

/// A link in the hands of whoever has its URL.
pub struct OpenedLink {
    key: LinkKey,
    content: Content,
}

impl OpenedLink {
    /// Names the link to its owner.
    pub fn id(&self) -> LinkId {
        self.content.id
    }

    /// The own name of what it leads to; empty for a whole vault.
    pub fn name(&self) -> &str {
        self.content.scope.name()
    }

    /// What it leads to, with its own name for its path.
    pub fn scope(&self) -> &Scope {
        &self.content.scope
    }

    /// What it is for, and how long.
    pub fn terms(&self) -> &Terms {
        &self.content.terms
    }

    /// The suite of the vault's objects.
    pub fn suite(&self) -> Suite {
        self.content.suite
    }

    /// Its keys.
    pub fn tree(&self) -> &Tree {
        &self.content.tree
    }

    /// The ledger entry up to which its keys go.
    pub fn head(&self) -> Position {
        self.content.head
    }

    /// The objects that the store hands out by URLs; none where the link names the store.
    pub fn objects(&self) -> &[LinkObject] {
        &self.content.objects
    }
}

impl fmt::Debug for OpenedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedLink")
            .field("id", &self.content.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
use crate::VaultPath;

/// What somebody could put in the place of a link's record who has the link, and more.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// With a valid list of another authority, which is not that of the vault.
    Authority,
    /// Signed by a holder of the link.
    Signer,
    Name,
    Place,
    Rights,
    HeldBack,
    NoTop,
    /// One object's keys under the name of a folder, and the other way.
    Kind,
    /// With the path of what it leads to.
    Path,
    TwoPaths,
    Suite,
    Costs,
}

/// The record of a link with one thing in it changed, sealed and signed again.
#[cfg(test)]
pub(crate) fn forged(
    link: &LinkRecord,
    secrets: &VaultSecrets,
    record: &[u8],
    forgery: Option<Forgery>,
) -> Vec<u8> {
    let vault = secrets.vault();
    let opened = link.open(vault, record).unwrap();
    let Content { mut tree, .. } = opened.content;
    let mut content = Content {
        tree: tree.duplicate(),
        ..opened.content
    };
    let inner = check_magic(record, SealedLink::MAGIC).unwrap();
    let mut body = Body::decode(&inner[..inner.len() - 64]).unwrap();
    let mut signer = secrets;
    let thief = VaultSecrets::make(0).unwrap();
    match forgery {
        Some(Forgery::Authority) => {
            signer = &thief;
            let key = thief.authority().public_key();
            body.authorities = Authorities::first(key).list().to_vec();
        }
        Some(Forgery::Signer) => signer = &thief,
        Some(Forgery::Name) => body.name[0] ^= 1,
        Some(Forgery::Rights) => content.terms.write = true,
        Some(Forgery::HeldBack) => content.terms.past = Past::HeldBack,
        Some(Forgery::NoTop) => {
            tree = Tree::new(tree.top().to_owned(), tree.name_key().duplicate());
            content.tree = tree;
        }
        Some(Forgery::Kind) => {
            content.scope = match content.scope {
                Scope::Folder(Some(name)) => Scope::Object(name),
                scope => Scope::Folder(scope.path().cloned()),
            };
        }
        Some(Forgery::Path) => {
            let path = VaultPath::parse(&format!("x/{}", content.scope.name())).unwrap();
            content.scope = Scope::Folder(Some(path));
        }
        Some(Forgery::TwoPaths) => {
            let object = LinkObject {
                path: "o/0".to_owned(),
                size: 1,
                url: "https://store.example/o/0?x".to_owned(),
            };
            content.objects = vec![object.clone(), object];
        }
        _ => {}
    }
    let mut name = link.secret.name(&vault);
    if forgery == Some(Forgery::Place) {
        name.0[0] ^= 1;
    }
    let mut x = content.encode();
    if forgery == Some(Forgery::Suite) {
        x[1] = 9;
    }
    let key = link.key(&vault).unwrap();
    let place = SealedLink::place(&vault, &name);
    body.sealed = message::seal(key.expose_secret(), &place, &x).unwrap();
    let mut encoded = body.encode().to_vec();
    if forgery == Some(Forgery::Costs) {
        // The memory in front of the passes, in the lock.
        let lock = [0x83, 0x19, 0x4c, 0x00, 0x02, 0x01];
        let at = encoded.windows(lock.len()).position(|w| w == lock).unwrap();
        encoded[at + 2] = 0x4b;
    }
    let mut forged = SealedLink::MAGIC.to_vec();
    forged.extend_from_slice(&encoded);
    let signature = signer.authority().sign(domain::LINK, &[&forged]);
    forged.extend_from_slice(&signature);
    forged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::tests::STRETCHED;
    use crate::ledger::{Appended, Decision};
    use crate::object::tests::put;
    use crate::testing::{Vault, cheap, flips, phrase};
    use crate::{Metadata, Opener};
    use proptest::prelude::*;
    use std::sync::Arc;

    const PASSWORD: &str = "open sesame";

    fn password() -> Password {
        Password::new(PASSWORD)
    }

    fn folder(path: &str) -> Scope {
        Scope::Folder((!path.is_empty()).then(|| VaultPath::parse(path).unwrap()))
    }

    fn object(path: &str) -> Scope {
        Scope::Object(VaultPath::parse(path).unwrap())
    }

    fn make(vault: &mut Vault, path: &str, password: Option<&Password>) -> LinkId {
        make_to(vault, folder(path), password)
    }

    fn make_to(vault: &mut Vault, scope: Scope, password: Option<&Password>) -> LinkId {
        let link = NewLink::make(&vault.secrets.vault(), password, cheap()).unwrap();
        let id = link.id();
        vault
            .decide(Decision::Link {
                scope,
                link: Arc::new(link),
                terms: LinkTerms::default(),
            })
            .unwrap();
        id
    }

    fn record(vault: &Vault, id: &LinkId) -> (LinkFragment, Vec<u8>) {
        let ledger = vault.ledger();
        let link = ledger.link(id).unwrap();
        let sealed = ledger.seal_link(link, vault.header(), &vault.secrets, Vec::new());
        let fragment = LinkFragment {
            vault: vault.secrets.vault(),
            secret: link.secret.duplicate(),
        };
        (fragment, sealed.unwrap())
    }

    fn open(fragment: &LinkFragment, record: &[u8]) -> Result<OpenedLink> {
        SealedLink::parse(fragment, record)?.open(None, KdfCeiling::default())
    }

    /// L15: whoever has the link computes its key, and does not sign.
    #[test]
    fn l15_every_change_of_a_record_is_refused() {
        let mut vault = Vault::make(false, &phrase(1));
        let (a, b) = (make(&mut vault, "a", None), make(&mut vault, "b", None));
        let other = Vault::make(false, &phrase(1));
        let (fragment, right) = record(&vault, &a);
        assert!(open(&fragment, &right).is_ok());
        let refused =
            |error: &Error| matches!(error, Error::Tampered | Error::UnsupportedFormat(_));
        for (at, changed) in flips(&right) {
            assert!(
                refused(&open(&fragment, &changed).unwrap_err()),
                "byte {at}"
            );
        }
        for length in 0..right.len() {
            let cut = &right[..length];
            assert_eq!(
                open(&fragment, cut).unwrap_err(),
                Error::Tampered,
                "{length}"
            );
        }
        let longer = [&right[..], b"\0"].concat();
        assert_eq!(open(&fragment, &longer).unwrap_err(), Error::Tampered);
        let (of_b, second) = record(&vault, &b);
        assert_eq!(open(&fragment, &second).unwrap_err(), Error::Tampered);
        assert_eq!(open(&of_b, &right).unwrap_err(), Error::Tampered);
        let elsewhere = LinkFragment {
            vault: other.secrets.vault(),
            ..fragment.duplicate()
        };
        assert_eq!(open(&elsewhere, &right).unwrap_err(), Error::Tampered);
        let long = vec![b'K'; SealedLink::MAX_LENGTH + 1];
        let error = open(&fragment, &long).unwrap_err();
        assert!(matches!(error, Error::LimitExceeded(_)));
    }

    #[test]
    fn a_record_that_nobody_writes_is_refused() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = make(&mut vault, "a", None);
        let locked = make(&mut vault, "a", Some(&password()));
        let (fragment, right) = record(&vault, &id);
        let ledger = vault.ledger();
        let link = ledger.link(&id).unwrap();
        let forge = |forgery| forged(link, &vault.secrets, &right, forgery);
        assert!(open(&fragment, &forge(None)).is_ok());
        for forgery in [
            Forgery::Authority,
            Forgery::Signer,
            Forgery::Name,
            Forgery::Place,
            Forgery::Rights,
            Forgery::HeldBack,
            Forgery::NoTop,
            Forgery::Kind,
            Forgery::Path,
            Forgery::TwoPaths,
        ] {
            let error = open(&fragment, &forge(Some(forgery))).unwrap_err();
            assert_eq!(error, Error::Tampered, "{forgery:?}");
        }
        let error = open(&fragment, &forge(Some(Forgery::Suite))).unwrap_err();
        assert_eq!(error, Error::UnsupportedFormat("suite"));
        // Below the limit, before anything is stretched.
        let (fragment, right) = record(&vault, &locked);
        let link = ledger.link(&locked).unwrap();
        let cheap = forged(link, &vault.secrets, &right, Some(Forgery::Costs));
        let before = STRETCHED.with(std::cell::Cell::get);
        let found = SealedLink::parse(&fragment, &cheap);
        assert!(matches!(found, Err(Error::LimitExceeded(_))));
        assert_eq!(STRETCHED.with(std::cell::Cell::get), before);
    }

    #[test]
    fn a_password_is_committed_to() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = make(&mut vault, "", Some(&password()));
        let (fragment, right) = record(&vault, &id);
        let sealed = SealedLink::parse(&fragment, &right).unwrap();
        assert!(sealed.has_password());
        let open = |password: Option<&str>, ceiling| {
            sealed.open(password.map(Password::new).as_ref(), ceiling)
        };
        let default = KdfCeiling::default();
        assert!(open(Some(PASSWORD), default).is_ok());
        for wrong in [None, Some("open Sesame")] {
            let error = open(wrong, default).unwrap_err();
            assert_eq!(error, Error::WrongCredentials, "{wrong:?}");
        }
        let error = open(Some(PASSWORD), KdfCeiling::memory_kib(1)).unwrap_err();
        assert!(matches!(error, Error::LimitExceeded(_)));
        // It takes the secret too.
        let other = NewLink::make(&vault.secrets.vault(), None, cheap()).unwrap();
        let other = other.fragment(vault.secrets.vault());
        assert_eq!(
            SealedLink::parse(&other, &right).unwrap_err(),
            Error::Tampered
        );
        // In the ledger lies what seals it again, and not the password.
        let opened = open(Some(PASSWORD), default).unwrap();
        let (_, again) = record(&vault, &id);
        let again = SealedLink::parse(&fragment, &again).unwrap();
        assert!(again.open_again(&opened).is_ok());
    }

    #[test]
    fn a_record_does_not_go_back_for_who_has_opened_a_newer_one() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = make(&mut vault, "a", None);
        let (fragment, old) = record(&vault, &id);
        vault.append();
        let (_, new) = record(&vault, &id);
        let [old, new] = [old, new].map(|r| SealedLink::parse(&fragment, &r).unwrap());
        let opened = new.open(None, KdfCeiling::default()).unwrap();
        assert!(new.open_again(&opened).is_ok());
        assert_eq!(old.open_again(&opened).unwrap_err(), Error::Stale("link"));
    }

    /// A rotated authority signs, and the chain of them leads to it.
    #[test]
    fn a_record_after_a_root_rotation_is_that_of_the_same_vault() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = make(&mut vault, "a", None);
        for _ in 0..2 {
            vault.rotate(&[phrase(1)]);
            vault.append();
        }
        let (fragment, right) = record(&vault, &id);
        assert!(open(&fragment, &right).is_ok());
        for (_, changed) in flips(&right[..400]) {
            let changed = [&changed[..], &right[400..]].concat();
            assert!(open(&fragment, &changed).is_err());
        }
    }

    /// What an entry owes to which link.
    #[test]
    fn what_is_owed_is_what_changes_the_keys_of_a_link() {
        let mut vault = Vault::make(false, &phrase(1));
        let owed = |vault: &Vault| -> (Vec<LinkId>, usize) {
            let ledger = vault.ledger();
            let seal = ledger.links_to_seal().map(LinkRecord::id).collect();
            (seal, ledger.links_to_remove().count())
        };
        let set = |mut ids: Vec<LinkId>| {
            ids.sort();
            ids
        };
        let outer = make(&mut vault, "a", None);
        assert_eq!(owed(&vault), (vec![outer], 0), "made");
        let inner = make(&mut vault, "a/b", None);
        assert_eq!(owed(&vault), (set(vec![outer, inner]), 0), "mounted inside");
        let whole = make(&mut vault, "", None);
        let apart = make(&mut vault, "c", None);
        assert_eq!(owed(&vault), (set(vec![whole, apart]), 0), "not of another");
        vault.append();
        assert_eq!(owed(&vault), (vec![], 0), "nothing is decided");
        let last = make(&mut vault, "a/b", None);
        let path = vault
            .ledger()
            .link(&last)
            .unwrap()
            .secret
            .name(&vault.secrets.vault());
        vault.decide(Decision::Withdraw(vec![last])).unwrap();
        let ledger = vault.ledger();
        assert_eq!(
            owed(&vault),
            (set(vec![outer, inner, whole]), 1),
            "withdrawn"
        );
        assert_eq!(ledger.links_to_remove().next(), Some(path.path()));
        // A floor around changes what was taken over, a new epoch around does not.
        let a = VaultPath::parse("a").unwrap();
        let around = ledger.tree().mounted(Some(&a)).unwrap();
        let floors = vec![(around.id(), around.current().unwrap().number)];
        vault.decide(Decision::RaiseFloors(floors)).unwrap();
        assert_eq!(owed(&vault), (set(vec![outer, inner, whole]), 0), "a floor");
        vault.rotate(&[phrase(1)]);
        vault.append();
        assert_eq!(
            owed(&vault),
            (set(vec![outer, inner, whole, apart]), 0),
            "all"
        );
        // It is exactly where the keys differ: across a snapshot, too.
        while vault.entries.len() < 64 {
            vault.append();
        }
        vault.decide(Decision::Withdraw(vec![apart])).unwrap();
        assert_eq!(owed(&vault), (vec![whole], 1), "right in a snapshot");
        assert_eq!(vault.ledger().links().count(), 3);
        let again = vault.decide(Decision::Withdraw(vec![apart]));
        assert_eq!(again.unwrap_err(), Error::NotFound("link"));
    }

    /// A link to an object is sealed again where the collection that it lies in changes, or
    /// becomes another, and opens the object alone.
    #[test]
    fn a_link_to_an_object_follows_the_keys_of_what_it_lies_in() {
        let mut vault = Vault::make(false, &phrase(1));
        let owed = |vault: &Vault| -> Vec<LinkId> {
            let ledger = vault.ledger();
            ledger.links_to_seal().map(LinkRecord::id).collect()
        };
        let id = vault.secrets.vault();
        let x = make_to(&mut vault, object("a/b/x"), None);
        assert_eq!(owed(&vault), [x], "made");
        assert_eq!(
            vault.ledger().tree().written().count(),
            1,
            "nothing is mounted"
        );
        let opened = |vault: &Vault| {
            let (fragment, record) = record(vault, &x);
            open(&fragment, &record).unwrap()
        };
        let reads = |vault: &Vault, opened: &OpenedLink| {
            let (stored, _) = put(vault, "a/b/x", 7, &Metadata::default(), b"x", true);
            let header = stored.first_chunk().unwrap();
            let at = |path: &str| {
                let path = VaultPath::parse(path).unwrap();
                Opener::new(header, &id, Suite::V1, opened.tree(), &path)
            };
            assert!(at("a/b/x").is_err() && at("y").is_err());
            at("x").is_ok()
        };
        let first = opened(&vault);
        assert_eq!(first.scope(), &object("x"));
        assert!(reads(&vault, &first));
        assert!(first.tree().names(None).is_none());
        // Beside it, and inside of what it lies in.
        let mut others = vec![
            make(&mut vault, "c", None),
            make(&mut vault, "a/b/x/d", None),
        ];
        for other in &others {
            assert!(!owed(&vault).contains(&x));
            vault.decide(Decision::Withdraw(vec![*other])).unwrap();
            assert!(!owed(&vault).contains(&x), "of another");
        }
        assert!(reads(&vault, &first));
        // Mounts on the way, the nearest last, and one further up, which is too late.
        for (folder, concerned) in [("a/b", true), ("a", false)] {
            others.push(make(&mut vault, folder, None));
            assert_eq!(owed(&vault).contains(&x), concerned, "{folder}");
        }
        assert!(!reads(&vault, &first), "under the key of the mount");
        assert!(reads(&vault, &opened(&vault)));
        let [.., inner, outer] = others[..] else {
            panic!()
        };
        // A mount around gets new epochs, and so does all in it.
        vault.decide(Decision::Withdraw(vec![outer])).unwrap();
        assert!(owed(&vault).contains(&x));
        vault.decide(Decision::Withdraw(vec![inner])).unwrap();
        assert!(owed(&vault).contains(&x));
        let before = opened(&vault);
        assert!(reads(&vault, &before));
        let a = VaultPath::parse("a").unwrap();
        let floors = vault.ledger().tree().floors_to_raise(Some(&a));
        vault.decide(Decision::RaiseFloors(floors)).unwrap();
        assert!(owed(&vault).contains(&x), "a floor around");
        // Withdrawn, it closes the nearest around it, and nothing else.
        let epoch = |vault: &Vault, at: &str| {
            let folder = (!at.is_empty()).then(|| VaultPath::parse(at).unwrap());
            let ledger = vault.ledger();
            let mounted = ledger.tree().mounted(folder.as_ref()).unwrap();
            mounted.current().unwrap().number
        };
        let epochs = |vault: &Vault| ["", "a", "a/b"].map(|at| epoch(vault, at));
        let [root, a, b] = epochs(&vault);
        vault.decide(Decision::Withdraw(vec![x])).unwrap();
        assert_eq!(epochs(&vault), [root, a, b + 1]);
        assert!(!reads(&vault, &before));
        let version = Scope::Version(VaultPath::parse("a").unwrap(), [1; 32]);
        let link = NewLink::make(&id, None, cheap()).unwrap();
        let refused = vault.decide(Decision::Link {
            scope: version,
            link: Arc::new(link),
            terms: LinkTerms::default(),
        });
        assert!(matches!(refused, Err(Error::InvalidInput(_))));
    }

    /// An entry that lost its number: what it made is nothing, what it withdrew is
    /// withdrawn.
    #[test]
    fn links_of_orphans() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = make(&mut vault, "a", None);
        let next = |vault: &Vault, decision| -> Appended {
            let ledger = vault.ledger();
            let next = ledger.next(vault.header(), &vault.secrets, 9, decision);
            next.unwrap()
        };
        let lost = NewLink::make(&vault.secrets.vault(), None, cheap()).unwrap();
        let made = next(
            &vault,
            Decision::Link {
                scope: Scope::Folder(None),
                link: Arc::new(lost),
                terms: LinkTerms::default(),
            },
        );
        let gone = next(&vault, Decision::Withdraw(vec![id]));
        vault.append();
        let read = |vault: &Vault| {
            let all = vault
                .entries
                .iter()
                .chain([&made.entry, &gone.entry])
                .cloned();
            let head = vault.head().position();
            crate::Ledger::read(head, all, vault.header(), &vault.secrets).unwrap()
        };
        let ledger = read(&vault);
        assert_eq!(ledger.links().map(LinkRecord::id).collect::<Vec<_>>(), [id]);
        assert!(ledger.is_behind(vault.header(), &vault.secrets, 9));
        let next = ledger.next(vault.header(), &vault.secrets, 9, Decision::CatchUp);
        vault.entries.push(next.unwrap().entry);
        let ledger = read(&vault);
        assert_eq!(
            (ledger.links().count(), ledger.links_to_remove().count()),
            (0, 1)
        );
        assert!(!ledger.is_behind(vault.header(), &vault.secrets, 9));
    }

    #[test]
    fn a_link_whose_time_is_over_is_withdrawn_by_whoever_comes() {
        let mut vault = Vault::make(false, &phrase(1));
        let link = NewLink::make(&vault.secrets.vault(), None, cheap()).unwrap();
        vault
            .decide(Decision::Link {
                scope: Scope::Folder(None),
                link: Arc::new(link),
                terms: LinkTerms {
                    not_after: Some(2_500),
                    ..LinkTerms::default()
                },
            })
            .unwrap();
        let ledger = vault.ledger();
        let behind = |now| ledger.is_behind(vault.header(), &vault.secrets, now);
        assert!(!behind(2_500) && behind(2_501));
        let next = ledger.next(vault.header(), &vault.secrets, 2_501, Decision::CatchUp);
        vault.entries.push(next.unwrap().entry);
        let ledger = vault.ledger();
        assert_eq!(
            (ledger.links().count(), ledger.links_to_remove().count()),
            (0, 1)
        );
        assert_eq!(ledger.root().current().unwrap().number, 1);
        let periods = crate::Ledger::history(&vault.entries, &vault.secrets).unwrap();
        assert_eq!(periods.links[0].ended, Some((2, 2_501)));
    }

    #[test]
    fn nothing_of_a_link_is_printed() {
        let mut vault = Vault::make(false, &phrase(1));
        let id = make(&mut vault, "a", Some(&password()));
        let (fragment, right) = record(&vault, &id);
        let sealed = SealedLink::parse(&fragment, &right).unwrap();
        let opened = sealed
            .open(Some(&password()), KdfCeiling::default())
            .unwrap();
        let link = NewLink::make(&vault.secrets.vault(), None, cheap()).unwrap();
        let ledger = vault.ledger();
        let record = ledger.link(&id).unwrap();
        let printed = format!("{fragment:?} {opened:?} {link:?} {record:?} {ledger:?}");
        let text = fragment.expose();
        assert!(!printed.contains(&text[..43]) && !printed.contains(PASSWORD));
        let hidden = format!("{sealed:?}");
        assert!(!hidden.contains(&text[..43]));
    }

    fn terms() -> impl Strategy<Value = LinkTerms> {
        let fields = (any::<bool>(), 1u64.., "[^\\pC]{0,40}", any::<bool>());
        fields.prop_map(|(ends, end, purpose, presigned)| LinkTerms {
            not_after: ends.then_some(end),
            purpose,
            presigned,
        })
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(
            terms in terms(),
            bytes in any::<[[u8; 32]; 3]>(),
            locked in any::<bool>(),
            single in any::<bool>(),
            filed in any::<u64>(),
        ) {
            let params = cheap();
            let lock = Lock { params, salt: bytes[0] };
            let link = LinkRecord {
                id: LinkId([bytes[1][0]; 16]),
                secret: LinkSecret::init_with(|out| *out = bytes[1]),
                lock: locked.then(|| (lock, LinkKey::init_with(|out| *out = bytes[2]))),
                scope: if single { object("a/b") } else { folder(["", "a/b"][usize::from(locked)]) },
                terms,
                filed,
                time: filed ^ 1,
            };
            let encoded = link.encode();
            prop_assert_eq!(&*LinkRecord::decode(&encoded).unwrap().encode(), &*encoded);
            let fragment = LinkFragment { vault: VaultId([7; 16]), secret: link.secret };
            let again: LinkFragment = fragment.expose().parse().unwrap();
            prop_assert_eq!(again.expose(), fragment.expose());
            prop_assert_eq!(again.path(), fragment.path());
        }

        #[test]
        fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let vault = VaultId([7; 16]);
            let fragment = LinkFragment { vault, secret: LinkSecret::init_with(|_| {}) };
            prop_assert!(SealedLink::parse(&fragment, &bytes).is_err());
            prop_assert!(SealedLink::parse(&fragment, &[b"KLL1", &bytes[..]].concat()).is_err());
            prop_assert!(Body::decode(&bytes).is_err());
            prop_assert!(Content::decode(&bytes).is_err());
            prop_assert!(LinkRecord::decode(&bytes).is_err());
        }

        #[test]
        fn any_text_is_a_link_or_an_error(text in "[A-Za-z0-9_-]{0,80}") {
            if let Ok(fragment) = text.parse::<LinkFragment>() {
                prop_assert_eq!(&**fragment.expose(), &*text);
            }
        }
    }
}
