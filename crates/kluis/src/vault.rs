use crate::access::{Access, Control, Member};
use crate::backend::Backend;
use crate::cache::{Heads, Tails};
use crate::clock::{Versions, from_micros, now};
use crate::control::{self, Chain, ChainNames, FetchedLedger, Found, HEADER};
use crate::device::{self, Device, DeviceState, blocking};
use crate::{Address, Error, LedgerPin, Result, sharing};

use kluis_crypto::{
    Accepted, Credential, Entry, Header, KdfCeiling, KdfParams, Ledger, Pins, Position, Recipient,
    RecoveryKit, Slot, SlotId, SlotKind, Suite, VaultId, VaultSecrets, make_device_slot, make_slot,
};
use object_store::ObjectStore;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// How a vault is created or opened.
///
/// ```
/// # use kluis::{Password, VaultOptions, object_store::memory::InMemory};
/// # use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kluis::Result<()> {
/// let store = Arc::new(InMemory::new());
/// let vault = VaultOptions::new()
///     .padded(true)
///     .create(store.clone(), Password::new("correct horse battery staple"))
///     .await?;
/// let again = VaultOptions::new()
///     .id(vault.id())
///     .open(store, Password::new("correct horse battery staple"))
///     .await?;
/// assert_eq!(again.id(), vault.id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct VaultOptions {
    pub(crate) accepted: Vec<Accepted>,
    padded: bool,
    suite: Suite,
    kdf: KdfParams,
    ceiling: KdfCeiling,
    id: Option<VaultId>,
    pin: Option<LedgerPin>,
    pub(crate) device: Option<Device>,
    staleness: Staleness,
    header_cache: HeaderCache,
    pub(crate) ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct HeaderCache(usize);

impl Default for HeaderCache {
    fn default() -> Self {
        Self(1_024)
    }
}

#[derive(Debug, Clone, Copy)]
struct Staleness(Duration);

impl Default for Staleness {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

impl VaultOptions {
    /// Argon2id with 64 MiB and 3 passes, no padding, no device state, and a
    /// writer that looks for new decisions of the owner every 30 seconds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pads every object of a new vault, by at most 12 %, so that the store sees
    /// its length less exactly (Padmé). Listings then read the header of each
    /// object to tell its true size. Has no effect on opening.
    #[must_use]
    pub fn padded(mut self, padded: bool) -> Self {
        self.padded = padded;
        self
    }

    /// Makes a new vault in which every object is signed by who wrote it, and reads that
    /// find another writer than one of the owner's are `Tampered`: whoever may only read
    /// cannot write then, even together with the provider. Takes about 0.3 % of the store
    /// where it is 0.1 % else, and reading a large object one request more. Has no effect
    /// on opening; a vault stays what it was made.
    #[must_use]
    pub fn signed(mut self, signed: bool) -> Self {
        self.suite = if signed { Suite::V2 } else { Suite::V1 };
        self
    }

    /// What a guess at the first password of a new vault costs.
    #[must_use]
    pub fn kdf(mut self, params: KdfParams) -> Self {
        self.kdf = params;
        self
    }

    /// Refuses to open a vault whose header asks for more memory than this.
    #[must_use]
    pub fn kdf_ceiling(mut self, memory_kib: u32) -> Self {
        self.ceiling = KdfCeiling::memory_kib(memory_kib);
        self
    }

    /// Opens this vault only; any other is refused before the credential is touched.
    #[must_use]
    pub fn id(mut self, id: VaultId) -> Self {
        self.id = Some(id);
        self
    }

    /// Opens the vault of this pin only, and no state of it in which the entry of the
    /// pin does not stand in the ledger: `Stale` where the ledger ends before it, `Forked`
    /// where it holds another in its place.
    #[must_use]
    pub fn pin(mut self, pin: LedgerPin) -> Self {
        self.pin = Some(pin);
        self
    }

    /// Opens a vault of somebody else also where everything that was accepted of it is
    /// taken back, so that [`Vault::received`] tells what that was. Nothing of it can be
    /// read.
    #[must_use]
    pub fn with_ended(mut self) -> Self {
        self.ended = true;
        self
    }

    /// Remembers what this device has seen of the vault at an address, and
    /// refuses older states and other vaults there from then on. An id in the
    /// address counts as [`id`](Self::id).
    #[must_use]
    pub fn device_state(mut self, state: Arc<dyn DeviceState>, address: &Address) -> Self {
        self.device = Some(Device {
            state,
            address: address.url().to_string(),
        });
        self.id = self.id.or(address.id());
        self
    }

    /// How old a writer's knowledge of the owner's decisions may be before it
    /// looks again; zero looks before every write.
    #[must_use]
    pub fn staleness(mut self, bound: Duration) -> Self {
        self.staleness = Staleness(bound);
        self
    }

    /// How many headers of objects are kept, of those that were read last, 1,024 unless
    /// told: by one of them a range is read in one request in place of two. Each takes
    /// about 1 KiB, and holds the keys of its object until the vault is locked or dropped.
    /// With 0 each read asks for the header anew.
    ///
    /// # Security
    /// A header serves as long as the store says that its object has the e-tag that it
    /// had; what it leads to is authenticated like everything else. What the owner decides
    /// counts for it as soon as this vault knows.
    #[must_use]
    pub fn header_cache(mut self, headers: usize) -> Self {
        self.header_cache = HeaderCache(headers);
        self
    }

    /// Makes a new vault in an empty store, or an empty prefix of one (see
    /// [`object_store::prefix::PrefixStore`]). Costs one Argon2id run.
    ///
    /// # Errors
    /// `AlreadyExists` where something lies in the store already, or where this
    /// device knows a vault at the address; `InvalidInput` for an unusable password.
    pub async fn create(
        self,
        store: Arc<dyn ObjectStore>,
        credential: impl Into<Credential>,
    ) -> Result<Vault> {
        if let Some(device) = &self.device
            && device.load().await?.is_some()
        {
            return Err(Error::AlreadyExists {
                path: device.address.clone(),
            });
        }
        if self.pin.is_some() {
            return Err(Error::invalid(
                "a pin is of a vault that exists; leave it out to make a new one",
            ));
        }
        let credential = credential.into();
        let (padded, suite, kdf) = (self.padded, self.suite, self.kdf);
        let made = blocking(move || {
            let now = now();
            let secrets = VaultSecrets::make(now)?;
            let entry = Entry::first(&secrets, suite, padded, now)?;
            let slot = make_slot(&secrets, &credential, kdf, now)?;
            let slot_id = slot.id();
            let header = Header::first(&secrets, suite, entry.position(), slot, now)?;
            let ledger = Ledger::read(entry.position(), [entry.clone()], &header, &secrets)?;
            Ok((secrets, entry, header, ledger, slot_id))
        });
        let (secrets, entry, header, ledger, slot) = made
            .await?
            .map_err(|error| Error::core(error, "the new vault"))?;
        let store = Backend::new(store);
        control::create(&store, &header, &entry).await?;
        Vault::assemble(
            store,
            self,
            Control::of_owner(header, secrets, ledger, slot),
            Instant::now(),
        )
        .await
    }

    /// Opens a vault: by a credential of its owner, or by an identity with which
    /// folders were shared (see [`Vault::accept`]) or that is a device of the owner. An
    /// identity opens only a vault whose id is known.
    ///
    /// Costs one Argon2id run for each slot of the credential's
    /// kind that is tried, and two round trips if nothing has to be repaired.
    ///
    /// # Errors
    /// `NoVault`, `WrongCredentials`, `UntrustedIdentity` where another vault
    /// lies here, `Stale` or `Forked` against what this device has seen,
    /// `Tampered`.
    pub async fn open(
        self,
        store: Arc<dyn ObjectStore>,
        credential: impl Into<Credential>,
    ) -> Result<Vault> {
        self.find(store).await?.unlock(credential).await
    }

    /// Looks at what lies in a store, without a credential: where a person is asked
    /// for one, a wrong address is told before. Finding and unlocking a vault makes
    /// the requests of [`open`](Self::open).
    ///
    /// # Errors
    /// `NoVault`, `UntrustedIdentity` where another vault lies here, `Stale` or
    /// `Forked` against the header that this device has seen, `Tampered`.
    pub async fn find(self, store: Arc<dyn ObjectStore>) -> Result<FoundVault> {
        let store = Backend::new(store);
        match self.clone().find_once(store.clone()).await {
            // Another client may have written between two of our requests.
            Err(Error::Stale { .. }) => self.find_once(store).await,
            other => other,
        }
    }

    async fn find_once(self, store: Backend) -> Result<FoundVault> {
        let looked = Instant::now();
        let pins = match &self.device {
            Some(device) => device.load().await?,
            None => None,
        };
        let pinned = self.pin.map(|pin| pin.vault);
        let known = pins.as_ref().map(|pins| pins.vault);
        let expected = pinned.or(self.id).or(known);
        if let (Some(pinned), Some(id)) = (pinned, self.id.or(known))
            && pinned != id
        {
            return Err(Error::other_vault(pinned, id));
        }
        let mut found = Found::load(&store, expected).await?;
        let fetched = FetchedLedger::load(&store, &found.header, &found.ledger_names).await;
        if let Ok(ledger) = &fetched {
            found.settle(&store, ledger).await?;
        }
        if let Some(pins) = &pins {
            device::check_header(pins, &found.header)?;
        }
        Ok(FoundVault {
            store,
            options: self,
            pins,
            found,
            fetched,
            looked,
        })
    }

    /// Puts back what a recovery kit holds and the store lost of the vault's own
    /// records, and opens the vault with a credential of the kit. A header that
    /// is good and not older than the kit's is left alone.
    ///
    /// # Errors
    /// `WrongCredentials`, `Tampered` for a kit that was altered, `Stale` where
    /// the vault's root was rotated after the kit was made.
    pub async fn restore(
        self,
        store: Arc<dyn ObjectStore>,
        kit: &RecoveryKit,
        credential: impl Into<Credential>,
    ) -> Result<Vault> {
        let backend = Backend::new(Arc::clone(&store));
        let credential = Arc::new(credential.into());
        let header = kit.header().clone();
        let pins = match &self.device {
            Some(device) => device.load().await?,
            None => None,
        };
        let known = [self.id, pins.map(|pins| pins.vault)];
        if let Some(expected) = known.into_iter().flatten().find(|id| *id != header.vault()) {
            return Err(Error::other_vault(expected, header.vault()));
        }
        let what = "the recovery kit";
        // One damaged entry is no reason to lose the others; the ledger tells
        // whether it was needed.
        let parse = |entry| Entry::parse(entry, &header.vault(), header.authorities()).ok();
        let entries: Vec<Entry> = kit.entries().filter_map(parse).collect();
        let opened = {
            let (credential, header, ceiling) =
                (Arc::clone(&credential), header.clone(), self.ceiling);
            blocking(move || header.open(&credential, ceiling)).await?
        };
        let (secrets, _) = opened.map_err(|error| Error::core(error, what))?;
        control::restore(&backend, &header, &secrets, &entries).await?;
        self.find_once(backend).await?.unlock_once(credential).await
    }
}

/// A vault that was found in a store, and that no credential has opened yet.
pub struct FoundVault {
    store: Backend,
    options: VaultOptions,
    pins: Option<Pins>,
    found: Found,
    /// What is wrong with the ledger is told to who has the right credential.
    fetched: Result<FetchedLedger>,
    looked: Instant,
}

impl FoundVault {
    /// The vault's id.
    ///
    /// # Security
    /// Authentic where the options hold an id or a device state that knows the
    /// address; else it is whatever the store shows.
    pub fn id(&self) -> VaultId {
        self.found.header.vault()
    }

    /// What opens the vault, to know what to ask for. As authentic as the id.
    pub fn slot_kinds(&self) -> Vec<SlotKind> {
        self.found.header.slots().iter().map(Slot::kind).collect()
    }

    /// Opens the vault, as [`VaultOptions::open`] does.
    ///
    /// # Errors
    /// Those of [`VaultOptions::open`].
    pub async fn unlock(self, credential: impl Into<Credential>) -> Result<Vault> {
        let credential = Arc::new(credential.into());
        let (options, store) = (self.options.clone(), self.store.clone());
        match self.unlock_once(Arc::clone(&credential)).await {
            // Another client may have written since the vault was found.
            Err(Error::Stale { .. }) => {
                let found = options.find_once(store).await?;
                found.unlock_once(credential).await
            }
            other => other,
        }
    }

    async fn unlock_once(self, credential: Arc<Credential>) -> Result<Vault> {
        // Whoever knows the card of an identity can make a vault that it opens.
        let options = &self.options;
        let is_known = options.id.is_some() || options.pin.is_some() || self.pins.is_some();
        if matches!(*credential, Credential::Identity(_)) && !is_known {
            return Err(Error::invalid(
                "an identity opens only a vault that is known: give the address with its #id",
            ));
        }
        // What the ledger has to hold.
        let pins = self.pins.as_ref();
        let seen: Vec<Position> = pins
            .map(|pins| pins.ledger)
            .into_iter()
            .chain(options.pin.map(|pin| pin.position))
            .collect();
        let (store, found) = (self.store, self.found);
        let (ceiling, header) = (self.options.ceiling, found.header.clone());
        let tried = Arc::clone(&credential);
        let opened = blocking(move || header.open(&tried, ceiling)).await?;
        let (secrets, slot) = match (opened, &*credential) {
            (Ok(opened), _) => opened,
            // Not a device of the owner; a person with whom something was shared.
            (Err(kluis_crypto::Error::WrongCredentials), Credential::Identity(identity)) => {
                let fetched = self.fetched?;
                let kept = self.pins.iter().flat_map(|pins| pins.accepted.clone());
                let accepted = kept.chain(self.options.accepted.clone()).collect();
                let member = (Arc::clone(identity), accepted);
                let control = sharing::open(&store, found, fetched, &seen, member).await?;
                control.check_ended(self.options.ended)?;
                return Vault::assemble(store, self.options, control, self.looked).await;
            }
            (Err(error), _) => return Err(Error::core(error, HEADER)),
        };
        let fetched = self.fetched?;
        for seen in seen {
            fetched
                .check_descent(&store, &found.header, &found.ledger_names, seen)
                .await?;
        }
        let ledger = fetched.read(&found.header, &secrets)?;
        found.repair(&store).await;
        let ledger = control::catch_up_if_allowed(&store, &found.header, &secrets, ledger).await?;
        let control = Control::of_owner(found.header, secrets, ledger, slot);
        Vault::assemble(store, self.options, control, self.looked).await
    }
}

impl std::fmt::Debug for FoundVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundVault")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// An open vault. Clones are the same vault.
///
/// Paths are UTF-8 segments joined by `/`, taken exactly as they are given; what
/// is not a path is [`Error::InvalidInput`] before any request. Every method that
/// is a future can be dropped at any moment: what was acknowledged stays, and
/// nothing half-written becomes visible. They have to run on a tokio runtime.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Backend,
    options: VaultOptions,
    id: VaultId,
    control: RwLock<Option<Arc<Control>>>,
    /// When the ledger was last looked at; not since a change whose end is unknown.
    checked: Mutex<Option<Instant>>,
    refreshing: tokio::sync::Mutex<()>,
    /// One change of slots at a time.
    changing: tokio::sync::Mutex<()>,
    attempted: Mutex<Option<SlotId>>,
    versions: Versions,
    tails: Tails,
    heads: Heads,
}

impl Vault {
    /// Makes a new vault with the default options.
    ///
    /// # Errors
    /// See [`VaultOptions::create`].
    pub async fn create(
        store: Arc<dyn ObjectStore>,
        credential: impl Into<Credential>,
    ) -> Result<Self> {
        VaultOptions::new().create(store, credential).await
    }

    /// Opens a vault with the default options.
    ///
    /// # Errors
    /// See [`VaultOptions::open`].
    ///
    /// # Security
    /// Without an id or device state the store chooses which vault, and which
    /// state of it, is opened; see [`VaultOptions::id`].
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        credential: impl Into<Credential>,
    ) -> Result<Self> {
        VaultOptions::new().open(store, credential).await
    }

    /// A vault whose state is as the store showed it when it was `looked` at.
    pub(crate) async fn assemble(
        store: Backend,
        options: VaultOptions,
        control: Control,
        looked: Instant,
    ) -> Result<Self> {
        if let Some(device) = &options.device {
            device.save(control.header()?, control.head()).await?;
        }
        let heads = Heads::new(options.header_cache.0);
        Ok(Self(Arc::new(Inner {
            store,
            options,
            id: control.vault(),
            control: RwLock::new(Some(Arc::new(control))),
            checked: Mutex::new(Some(looked)),
            refreshing: tokio::sync::Mutex::new(()),
            changing: tokio::sync::Mutex::new(()),
            attempted: Mutex::new(None),
            versions: Versions::default(),
            tails: Tails::default(),
            heads,
        })))
    }

    /// The vault's id, to be pinned: see [`Address`].
    pub fn id(&self) -> VaultId {
        self.0.id
    }

    /// The newest entry of the ledger that this vault knows of, in one line, for
    /// programs that keep no device state: see [`VaultOptions::pin`].
    ///
    /// # Errors
    /// `AccessDenied` if the vault is locked.
    pub fn pin(&self) -> Result<LedgerPin> {
        Ok(self.pin_of(&*self.control()?))
    }

    pub(crate) fn pin_of(&self, control: &Control) -> LedgerPin {
        LedgerPin {
            vault: self.0.id,
            position: control.head(),
        }
    }

    /// Forgets every key, in this handle and its clones; calls that run keep
    /// theirs to their end. Afterwards every call is `AccessDenied`.
    pub fn lock(&self) {
        *self
            .0
            .control
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.0.heads.clear();
    }

    /// One change of what the owner decides at a time.
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.changing.lock().await
    }

    pub(crate) fn device(&self) -> Option<&Device> {
        self.0.options.device.as_ref()
    }

    /// A change begins, whose end is in doubt until it is told.
    pub(crate) fn in_doubt(&self) -> Doubt<'_> {
        Doubt(Some(self))
    }

    /// Whether every object is signed by its writer; see [`VaultOptions::signed`].
    ///
    /// # Errors
    /// `AccessDenied` if the vault is locked.
    pub fn is_signed(&self) -> Result<bool> {
        Ok(self.control()?.suite() == Suite::V2)
    }

    pub(crate) fn heads(&self) -> &Heads {
        &self.0.heads
    }

    pub(crate) fn tails(&self) -> &Tails {
        &self.0.tails
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.store
    }

    pub(crate) fn next_version(&self) -> u64 {
        self.0.versions.next()
    }

    pub(crate) fn control(&self) -> Result<Arc<Control>> {
        let control = self
            .0
            .control
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        control.clone().ok_or_else(|| Error::AccessDenied {
            what: "a locked vault".to_owned(),
        })
    }

    /// Holds a newer state. Calls that began before another one ended come with an
    /// older one, which is given up for the one that is held.
    pub(crate) async fn replace(&self, control: Control) -> Result<Arc<Control>> {
        if let Some(device) = &self.0.options.device {
            device.save(control.header()?, control.head()).await?;
        }
        let control = Arc::new(control);
        let mut held = self
            .0
            .control
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match &*held {
            // Locked meanwhile stays locked.
            None => return Ok(control),
            Some(newer) if newer.is_newer_than(&control) => return Ok(Arc::clone(newer)),
            Some(_) => *held = Some(Arc::clone(&control)),
        }
        drop(held);
        *self
            .0
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(control)
    }

    /// What a writer has to know: not older than the staleness bound.
    pub(crate) async fn fresh_control(&self) -> Result<Arc<Control>> {
        let control = self.control()?;
        if self.is_fresh() && !control.is_behind() {
            return Ok(control);
        }
        // Of many writers one looks.
        let _one = self.0.refreshing.lock().await;
        let control = self.control()?;
        if self.is_fresh() && !control.is_behind() {
            return Ok(control);
        }
        // After a change of ours whose end is unknown the ledger does not tell: the
        // header may be claimed and its entry missing.
        if !self.is_in_doubt() {
            let names = ChainNames::list(&self.0.store, Chain::Ledger).await?;
            if names.ends_with(control.head()) && !control.is_behind() {
                self.looked();
                return Ok(control);
            }
        }
        let control = self.refresh().await?;
        if !control.is_behind() {
            return Ok(control);
        }
        // Nothing is written under an epoch that the new root has to close, also
        // where the entry could not be appended on opening.
        let store = &self.0.store;
        let (header, owner) = (control.header()?.clone(), control.owner()?);
        let secrets = owner.reopened()?;
        let ledger = control::read_ledger(store, &header, &secrets).await?;
        let ledger = control::catch_up(store, &header, &secrets, ledger).await?;
        self.replace(Control::of_owner(header, secrets, ledger, owner.slot))
            .await
    }

    /// The next write looks before it goes on.
    fn doubt(&self) {
        *self
            .0
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_in_doubt(&self) -> bool {
        let checked = self.0.checked.lock();
        checked.unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// How old what a writer knows may be.
    pub(crate) fn staleness(&self) -> Duration {
        self.0.options.staleness.0
    }

    fn is_fresh(&self) -> bool {
        let checked = *self
            .0
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        checked.is_some_and(|checked| checked.elapsed() < self.0.options.staleness.0)
    }

    /// The held state was found to be the newest, unless there is a doubt, which
    /// only a newer state ends.
    fn looked(&self) {
        let mut checked = self
            .0
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if checked.is_some() {
            *checked = Some(Instant::now());
        }
    }

    /// Reads header and ledger again. Never goes back.
    ///
    /// # Errors
    /// `Conflict` where the root key was rotated: the vault has to be opened again.
    pub(crate) async fn refresh(&self) -> Result<Arc<Control>> {
        let control = self.control()?;
        match &control.access {
            Access::Owner(owner) => {
                let known = (owner.header.position(), control.head());
                self.refresh_from(known, &owner.secrets, owner.slot).await
            }
            Access::Link(linked) => {
                let linked = linked.again(&self.0.store).await?;
                self.replace(Control::of_link(linked)).await
            }
            Access::Member(member) => {
                let known = (member.header.position(), control.head());
                let refreshed = match self.refreshed_member(known, member).await {
                    // Another client may have written between two of our requests.
                    Err(Error::Stale { .. }) => self.refreshed_member(known, member).await?,
                    other => other?,
                };
                self.replace(refreshed).await
            }
        }
    }

    async fn refreshed_member(
        &self,
        known: (Position, Position),
        member: &Member,
    ) -> Result<Control> {
        let (found, fetched) = self.looked_up(known).await?;
        let again = (Arc::clone(&member.identity), member.accepted.clone());
        let mut control = sharing::open(&self.0.store, found, fetched, &[], again).await?;
        // What was known stays known: it reads what was written with it.
        control.check_ended(false)?;
        if let Access::Member(again) = &mut control.access {
            again.ended.extend(member.ended.iter().cloned());
        }
        Ok(control)
    }

    async fn refresh_from(
        &self,
        known: (Position, Position),
        secrets: &VaultSecrets,
        slot: SlotId,
    ) -> Result<Arc<Control>> {
        let (header, secrets, ledger) = match self.refreshed(known, secrets).await {
            // Another client may have written between two of our requests.
            Err(Error::Stale { .. }) => self.refreshed(known, secrets).await?,
            other => other?,
        };
        let mut slot = slot;
        let has = |id| header.slots().iter().any(|slot| slot.id() == id);
        if !has(slot)
            && let Some(attempted) = *self.attempted()
            && has(attempted)
        {
            // A change of ours whose answer was lost.
            slot = attempted;
        }
        self.replace(Control::of_owner(header, secrets, ledger, slot))
            .await
    }

    async fn refreshed(
        &self,
        known: (Position, Position),
        secrets: &VaultSecrets,
    ) -> Result<(Header, VaultSecrets, Ledger)> {
        let (found, fetched) = self.looked_up(known).await?;
        let rotated = |_| Error::Conflict {
            what: "the vault's root key".to_owned(),
        };
        let secrets = found.header.reopen(secrets).map_err(rotated)?;
        let read = fetched.read(&found.header, &secrets)?;
        Ok((found.header, secrets, read))
    }

    /// Header and ledger as the store shows them, neither older than what is known.
    async fn looked_up(
        &self,
        (header, ledger): (Position, Position),
    ) -> Result<(Found, FetchedLedger)> {
        let mut found = Found::load(&self.0.store, Some(self.0.id)).await?;
        let fetched =
            FetchedLedger::load(&self.0.store, &found.header, &found.ledger_names).await?;
        found.settle(&self.0.store, &fetched).await?;
        let seen = found.header.position();
        if seen.sequence < header.sequence {
            return Err(Error::Stale {
                what: HEADER.to_owned(),
            });
        }
        if seen.sequence == header.sequence && seen != header {
            return Err(Error::Forked {
                what: HEADER.to_owned(),
            });
        }
        fetched
            .check_descent(&self.0.store, &found.header, &found.ledger_names, ledger)
            .await?;
        Ok((found, fetched))
    }

    /// The slot that our last change makes the current one.
    fn attempted(&self) -> std::sync::MutexGuard<'_, Option<SlotId>> {
        self.0
            .attempted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The key slots.
    ///
    /// # Errors
    /// `AccessDenied` if the vault is locked.
    pub fn slots(&self) -> Result<Vec<SlotInfo>> {
        let control = self.control()?;
        let current = control.owner()?.slot;
        let info = |slot: &Slot| SlotInfo {
            id: slot.id(),
            kind: slot.kind(),
            created: from_micros(slot.created()),
            kdf: slot.kdf_params(),
            current: slot.id() == current,
        };
        Ok(control.header()?.slots().iter().map(info).collect())
    }

    /// Adds a credential. One with a keyfile replaces all that are a password
    /// alone, or they would stay the easier way in.
    ///
    /// What this is not: a header from before, which the store may have kept,
    /// still opens with the credentials of then, until [`rotate_root`](Self::rotate_root).
    ///
    /// # Errors
    /// `Conflict` where another client changed the slots; `InvalidInput` for an
    /// unusable password or too many slots.
    pub async fn add_slot(
        &self,
        credential: impl Into<Credential>,
        kdf: KdfParams,
    ) -> Result<AddedSlot> {
        let credential = credential.into();
        let _one = self.0.changing.lock().await;
        let control = self.refresh().await?;
        let new = self.make_slot(&control, credential, kdf).await?;
        let weaker = |slot: &&Slot| {
            new.kind() == SlotKind::PasswordAndKeyfile && slot.kind() == SlotKind::Password
        };
        let removed: Vec<SlotId> = control
            .header()?
            .slots()
            .iter()
            .filter(weaker)
            .map(Slot::id)
            .collect();
        let mut slots: Vec<Slot> = control
            .header()?
            .slots()
            .iter()
            .filter(|slot| !weaker(slot))
            .cloned()
            .collect();
        let id = new.id();
        slots.push(new);
        let opened_by = control.owner()?.slot;
        let current = if removed.contains(&opened_by) {
            id
        } else {
            opened_by
        };
        self.change_slots(&control, slots, current).await?;
        Ok(AddedSlot { id, removed })
    }

    /// Lets a device open the vault with its identity, in place of a password. Its
    /// card is all that is needed, and the header does not show whose it is.
    ///
    /// What removing it later is not: a device that was lost has held the root key.
    /// [`remove_slot`](Self::remove_slot) stops it from opening what comes by its own
    /// slot; only [`rotate_root`](Self::rotate_root) takes away what it knew.
    ///
    /// # Errors
    /// As [`add_slot`](Self::add_slot); `InvalidInput` also for a card of X25519 alone
    /// that is not [allowed](Recipient::allow_classical).
    pub async fn add_device(&self, device: &Recipient) -> Result<SlotId> {
        // Before any request.
        device
            .check_suite()
            .map_err(|error| Error::core(error, "the device"))?;
        let _one = self.0.changing.lock().await;
        let control = self.refresh().await?;
        let made = {
            let (control, card) = (Arc::clone(&control), device.card().clone());
            blocking(move || {
                let secrets = &control.owner()?.secrets;
                make_device_slot(secrets, &card, now()).map_err(|error| Error::core(error, HEADER))
            })
        };
        let slot = made.await??;
        let id = slot.id();
        let mut slots = control.header()?.slots().to_vec();
        slots.push(slot);
        let current = control.owner()?.slot;
        self.change_slots(&control, slots, current).await?;
        Ok(id)
    }

    /// Removes a key slot. Housekeeping: whoever has a header from before and its
    /// credential can still open what the root key of then protects.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the last slot; `Conflict`.
    pub async fn remove_slot(&self, id: SlotId) -> Result<()> {
        let _one = self.0.changing.lock().await;
        let control = self.refresh().await?;
        let slots: Vec<Slot> = control
            .header()?
            .slots()
            .iter()
            .filter(|s| s.id() != id)
            .cloned()
            .collect();
        if slots.len() == control.header()?.slots().len() {
            return Err(Error::NotFound {
                path: format!("key slot {id}"),
            });
        }
        if slots
            .iter()
            .all(|slot| slot.kind() == SlotKind::DeviceIdentity)
        {
            return Err(Error::invalid(
                "this is the last way to open the vault; add another key before removing it",
            ));
        }
        let current = control.owner()?.slot;
        self.change_slots(&control, slots, current).await
    }

    /// Replaces the credential that this vault was opened with. Rewrites one
    /// small record and no data.
    ///
    /// What this is not: a header from before still opens with the old password,
    /// until [`rotate_root`](Self::rotate_root).
    ///
    /// # Errors
    /// As [`add_slot`](Self::add_slot); `Conflict` also where another client has
    /// replaced that credential already.
    pub async fn change_password(&self, new: impl Into<Credential>, kdf: KdfParams) -> Result<()> {
        let new = new.into();
        let _one = self.0.changing.lock().await;
        let control = self.refresh().await?;
        let opened_by = control.owner()?.slot;
        if control
            .header()?
            .slots()
            .iter()
            .all(|s| s.id() != opened_by)
        {
            return Err(Error::Conflict {
                what: "the key that this vault was opened with".to_owned(),
            });
        }
        let slot = self.make_slot(&control, new, kdf).await?;
        let keyfile = slot.kind() == SlotKind::PasswordAndKeyfile;
        let stays =
            |old: &&Slot| old.id() != opened_by && !(keyfile && old.kind() == SlotKind::Password);
        let mut slots: Vec<Slot> = control
            .header()?
            .slots()
            .iter()
            .filter(stays)
            .cloned()
            .collect();
        let id = slot.id();
        slots.push(slot);
        self.change_slots(&control, slots, id).await
    }

    /// Makes a new root key, opened by these credentials and no others, a new
    /// signing key and a new epoch: whoever once held the old root key, or an old
    /// header and its password, can neither read what is written from now on nor
    /// decide anything. What was written before they can read until it is written
    /// again. Links lead them to what is written later too, as whoever has the URL:
    /// [withdraw](Self::revoke_link) those that are in force.
    ///
    /// Other clients that have the vault open have to open it again. A client that
    /// pins nothing can still be led into the vault as it was before, by the
    /// provider together with such a person: give it the address anew, and its
    /// device a state.
    ///
    /// # Errors
    /// `InvalidInput` without a credential; otherwise as [`add_slot`](Self::add_slot).
    pub async fn rotate_root(&self, credentials: Vec<(Credential, KdfParams)>) -> Result<()> {
        let _one = self.0.changing.lock().await;
        // Behind a rotation that died the ledger has to be complete first.
        self.doubt();
        let control = self.fresh_control().await?;
        let made = {
            let control = Arc::clone(&control);
            blocking(move || {
                let now = now();
                let core = |error| Error::core(error, HEADER);
                let owner = control.owner()?;
                let secrets = owner.secrets.rotated(now).map_err(core)?;
                let slots = credentials
                    .iter()
                    .map(|(credential, kdf)| make_slot(&secrets, credential, *kdf, now))
                    .collect::<kluis_crypto::Result<Vec<_>>>()
                    .map_err(core)?;
                let (before, head) = (&owner.secrets, control.head());
                let header = control
                    .header()?
                    .rotated(before, &secrets, head, slots, now);
                Ok::<_, Error>((secrets, header.map_err(core)?))
            })
        };
        let (secrets, header) = made.await??;
        let opened_by = control.owner()?.slot;
        let slot = header.slots().first().map_or(opened_by, Slot::id);
        self.commit(&control, header, secrets, slot).await
    }

    /// A text that puts the vault's own records back if the store loses them. It
    /// needs a credential of the vault as it is now, and gives no access by itself.
    ///
    /// # Errors
    /// Those of reading the ledger.
    pub async fn recovery_kit(&self) -> Result<RecoveryKit> {
        let control = self.refresh().await?;
        let names = ChainNames::list(&self.0.store, Chain::Ledger).await?;
        let entries = FetchedLedger::load(&self.0.store, control.header()?, &names)
            .await?
            .into_chain(control.header()?, &control.owner()?.secrets)?;
        RecoveryKit::new(control.header()?, &entries)
            .map_err(|error| Error::core(error, "the recovery kit"))
    }

    async fn make_slot(
        &self,
        control: &Arc<Control>,
        credential: Credential,
        kdf: KdfParams,
    ) -> Result<Slot> {
        let control = Arc::clone(control);
        let made = move || {
            let secrets = &control.owner()?.secrets;
            make_slot(secrets, &credential, kdf, now()).map_err(|error| Error::core(error, HEADER))
        };
        blocking(made).await?
    }

    async fn change_slots(
        &self,
        control: &Control,
        slots: Vec<Slot>,
        current: SlotId,
    ) -> Result<()> {
        let core = |error| Error::core(error, HEADER);
        let owner = control.owner()?;
        let header = control
            .header()?
            .next(&owner.secrets, control.head(), slots, now())
            .map_err(core)?;
        let secrets = header.reopen(&owner.secrets).map_err(core)?;
        self.commit(control, header, secrets, current).await
    }

    /// Writes a header, then the ledger entry that names it.
    async fn commit(
        &self,
        before: &Control,
        header: Header,
        secrets: VaultSecrets,
        slot: SlotId,
    ) -> Result<()> {
        let store = &self.0.store;
        *self.attempted() = Some(slot);
        // Also where this call is dropped, or a look that began before it ends.
        let doubt = self.in_doubt();
        control::write_header(store, &header).await?;
        // From here on the change is made; whoever opens next appends the entry
        // if we do not come to it.
        let known = (header.position(), before.head());
        let ledger = match control::read_ledger(store, &header, &secrets).await {
            Ok(ledger) => control::catch_up(store, &header, &secrets, ledger).await,
            Err(error) => Err(error),
        };
        match ledger {
            Ok(ledger) => {
                self.replace(Control::of_owner(header, secrets, ledger, slot))
                    .await?;
            }
            // Another client's change stands on ours already.
            Err(Error::Stale { .. }) => {
                self.refresh_from(known, &secrets, slot).await?;
            }
            Err(error) => return Err(error),
        }
        doubt.end();
        Ok(())
    }
}

/// Leaves a doubt behind unless the change came to its end.
pub(crate) struct Doubt<'a>(Option<&'a Vault>);

impl Doubt<'_> {
    pub(crate) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(vault) = self.0 {
            vault.doubt();
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

/// One way to open the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotInfo {
    /// Names the slot.
    pub id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// When it was made, by the clock of who made it.
    pub created: SystemTime,
    /// What a guess costs, where it has a password.
    pub kdf: Option<KdfParams>,
    /// Whether this vault was opened by it.
    pub current: bool,
}

/// What adding a slot did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddedSlot {
    /// The new slot.
    pub id: SlotId,
    /// Weaker slots that it replaced.
    pub removed: Vec<SlotId>,
}
