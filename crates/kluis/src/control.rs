//! The control plane: vault headers and the ledger, two chains of small signed
//! records (docs/FORMAT.md, sections 2 to 4).
//!
//! A record is put under a name that holds its hash, which nothing overwrites,
//! and then claimed under its number with put-if-absent; who reads his own hash
//! back has won the number. A store that ignores the condition can make two
//! writers win; their records stay, and nothing is lost.

use crate::access::Owner;
use crate::backend::{Backend, stored};
use crate::clock::now;
use crate::{Error, Result};
use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use futures_util::{FutureExt, StreamExt, TryStreamExt, join, try_join};
use kluis_crypto::{
    Appended, Decision, Entry, GrantId, Header, Ledger, LetterName, LinkId, LinkObject, LinkRecord,
    OpenedLink, Position, RecordHash, SealedLink, VaultId, VaultSecrets,
};
use object_store::PutMode;
use std::collections::{BTreeMap, BTreeSet};

/// The first two copies of the header; the third lies in the chain.
pub(crate) const COPIES: [&str; 2] = ["kluis.vault", "k/header"];

/// What an error calls the header and the ledger.
pub(crate) const HEADER: &str = "the vault header";
pub(crate) const LEDGER: &str = "the ledger";
/// And a link, of which it names nothing more.
pub(crate) const LINK: &str = "the link";

/// One of the two chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    Headers,
    Ledger,
}

impl Chain {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Headers => "k/h",
            Self::Ledger => "k/l",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Headers => HEADER,
            Self::Ledger => LEDGER,
        }
    }

    fn max_length(self) -> usize {
        match self {
            Self::Headers => Header::MAX_LENGTH,
            Self::Ledger => Entry::MAX_LENGTH,
        }
    }

    pub(crate) fn record_path(self, position: Position) -> String {
        format!(
            "{}/{:016x}-{}",
            self.prefix(),
            position.sequence,
            position.hash
        )
    }

    pub(crate) fn claim_path(self, sequence: u64) -> String {
        format!("{}/{sequence:016x}", self.prefix())
    }
}

/// What a name below `k/h/` or `k/l/` says.
pub(crate) enum ChainName {
    Claim(u64),
    Record(Position),
}

impl ChainName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (sequence, hash) = match name.split_once('-') {
            Some((sequence, hash)) => (sequence, Some(hash)),
            None => (name, None),
        };
        let lower_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if sequence.len() != 16 || !sequence.chars().all(lower_hex) {
            return None;
        }
        let sequence = u64::from_str_radix(sequence, 16).ok()?;
        Some(match hash {
            Some(hash) => Self::Record(Position {
                sequence,
                hash: hash.parse().ok()?,
            }),
            None => Self::Claim(sequence),
        })
    }
}

/// The names of a chain, by the store's word.
#[derive(Debug, Default)]
pub(crate) struct ChainNames {
    pub(crate) claims: BTreeSet<u64>,
    pub(crate) records: BTreeSet<Position>,
}

impl ChainNames {
    /// A chain that is longer is not ours, or has to be read by a later version.
    const MAX: usize = 1 << 18;

    pub(crate) async fn list(store: &Backend, chain: Chain) -> Result<Self> {
        let mut names = Self::default();
        let mut listing = store.list(Some(chain.prefix()));
        let mut count = 0;
        while let Some(meta) = listing.try_next().await? {
            count += 1;
            if count > Self::MAX {
                return Err(Error::LimitExceeded {
                    what: format!("{} (records)", chain.what()),
                });
            }
            match meta.location.filename().and_then(ChainName::parse) {
                Some(ChainName::Claim(sequence)) => names.claims.insert(sequence),
                Some(ChainName::Record(position)) => names.records.insert(position),
                None => false,
            };
        }
        Ok(names)
    }

    /// Whether nothing is newer than this record.
    pub(crate) fn ends_with(&self, head: Position) -> bool {
        self.highest() == Some(head.sequence) && self.records_of(head.sequence).eq([head])
    }

    fn records_of(&self, sequence: u64) -> impl Iterator<Item = Position> {
        let first = Position {
            sequence,
            hash: RecordHash::MIN,
        };
        let last = Position {
            sequence,
            hash: RecordHash::MAX,
        };
        self.records.range(first..=last).copied()
    }

    /// Numbers that are claimed and have a record, from the highest down.
    fn claimed(&self) -> impl Iterator<Item = u64> {
        self.claims
            .iter()
            .rev()
            .copied()
            .filter(|sequence| self.records_of(*sequence).next().is_some())
    }

    /// The highest number that is seen in any name.
    fn highest(&self) -> Option<u64> {
        self.claims
            .last()
            .copied()
            .max(self.records.last().map(|position| position.sequence))
    }
}

/// Reads a record that has to hash to its name.
async fn named_record(store: &Backend, chain: Chain, position: Position) -> Result<Option<Bytes>> {
    let record = match store
        .record(&chain.record_path(position), chain.max_length())
        .await
    {
        Err(Error::LimitExceeded { .. }) => return Ok(None),
        other => other?,
    };
    Ok(record
        .map(|r| r.bytes)
        .filter(|bytes| RecordHash::of(bytes) == position.hash))
}

async fn claimed_hash(store: &Backend, chain: Chain, sequence: u64) -> Result<Option<RecordHash>> {
    match store.record(&chain.claim_path(sequence), 32).await {
        Err(Error::LimitExceeded { .. }) => Ok(None),
        other => Ok(other?.and_then(|claim| RecordHash::from_bytes(&claim.bytes))),
    }
}

/// Whether a header that could not be read was signed by the vault's authority: a
/// later version wrote it, and it is neither passed over nor written over.
fn is_later(record: &[u8], expected: Option<VaultId>) -> bool {
    let unknown = matches!(
        Header::parse(record),
        Err(kluis_crypto::Error::UnsupportedFormat(_))
    );
    unknown && Header::signer(record).is_ok_and(|id| expected.is_none_or(|e| e == id))
}

/// As `is_later`, of an entry of the ledger: behind its magic only what is signed
/// can be unsupported.
fn is_later_entry(record: &[u8], header: &Header) -> bool {
    record.starts_with(&Entry::MAGIC)
        && matches!(
            Entry::parse(record, &header.vault(), header.authorities()),
            Err(kluis_crypto::Error::UnsupportedFormat(_))
        )
}

/// What lies in the place of a copy of the header.
enum Copy {
    None,
    Damaged(Error),
    Good(Box<Header>),
}

impl Copy {
    async fn read(store: &Backend, path: &str, expected: Option<VaultId>) -> Result<Self> {
        match store.record(path, Header::MAX_LENGTH).await {
            Ok(None) => Ok(Self::None),
            Ok(Some(record)) => match Header::parse(&record.bytes) {
                Ok(header) => Ok(Self::Good(Box::new(header))),
                Err(error) if is_later(&record.bytes, expected) => Err(Error::core(error, HEADER)),
                Err(error) => Ok(Self::Damaged(Error::core(error, HEADER))),
            },
            Err(error @ Error::LimitExceeded { .. }) => Ok(Self::Damaged(error)),
            Err(error) => Err(error),
        }
    }

    fn header(&self) -> Option<&Header> {
        match self {
            Self::Good(header) => Some(header),
            _ => None,
        }
    }
}

/// The state of the control plane before a credential was tried.
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) ledger_names: ChainNames,
    /// Copies that have to be written again.
    stale_copies: Vec<&'static str>,
}

impl Found {
    /// Finds the newest header: one round trip, and one more where the chain
    /// holds a newer header than the copies.
    ///
    /// # Errors
    /// `NoVault`; `UntrustedIdentity` where another vault than `expected` lies
    /// here, or two vaults; `Tampered` where no copy is good.
    pub(crate) async fn load(store: &Backend, expected: Option<VaultId>) -> Result<Self> {
        let (first, second, header_names, ledger_names) = join!(
            Copy::read(store, COPIES[0], expected),
            Copy::read(store, COPIES[1], expected),
            ChainNames::list(store, Chain::Headers),
            ChainNames::list(store, Chain::Ledger),
        );
        // What a store says to who has no access is plain of an object, not of a list.
        let copies = [first?, second?];
        let (header_names, ledger_names) = (header_names?, ledger_names?);

        let id = expected.or_else(|| copies.iter().find_map(|c| c.header().map(Header::vault)));
        for header in copies.iter().filter_map(Copy::header) {
            check_vault(header, id)?;
        }
        let newest_copy = copies
            .iter()
            .filter_map(Copy::header)
            .max_by_key(|h| h.position());
        let (chained, foreign) = Self::from_chain(store, &header_names, newest_copy, id).await?;
        let winner = match (chained, newest_copy) {
            // Of two with one number the claimed one.
            (Some(chained), Some(copy))
                if copy.position().sequence > chained.position().sequence =>
            {
                copy.clone()
            }
            (Some(chained), _) => chained,
            (None, Some(copy)) => copy.clone(),
            (None, None) => {
                return Err(match (id, foreign) {
                    (Some(expected), Some(found)) => Error::other_vault(expected, found),
                    _ => Self::nothing(copies, &header_names),
                });
            }
        };
        let stale_copies = COPIES
            .into_iter()
            .zip(&copies)
            .filter(|(_, copy)| {
                copy.header()
                    .is_none_or(|h| h.position() != winner.position())
            })
            .map(|(path, _)| path)
            .collect();
        Ok(Self {
            header: winner,
            ledger_names,
            stale_copies,
        })
    }

    /// The newest claimed header of the chain that the copies do not hold, and a
    /// vault whose header is claimed there and is not the expected one: whoever
    /// may write to the bucket can put it there, so that it stops nobody.
    async fn from_chain(
        store: &Backend,
        names: &ChainNames,
        copy: Option<&Header>,
        id: Option<VaultId>,
    ) -> Result<(Option<Header>, Option<VaultId>)> {
        let floor = copy.map(Header::position);
        let mut foreign = None;
        for sequence in names.claimed() {
            if floor.is_some_and(|floor| sequence < floor.sequence) {
                break;
            }
            let mut records: Vec<_> = names.records_of(sequence).collect();
            if floor.is_some_and(|floor| records == [floor]) {
                break;
            }
            if let Some(claimed) = claimed_hash(store, Chain::Headers, sequence).await? {
                records.retain(|record| record.hash == claimed);
                for position in records {
                    let Some(record) = named_record(store, Chain::Headers, position).await? else {
                        continue;
                    };
                    let header = match Header::parse(&record) {
                        Ok(header) => header,
                        Err(error) if is_later(&record, id) => {
                            return Err(Error::core(error, HEADER));
                        }
                        Err(_) => continue,
                    };
                    if id.is_some_and(|id| header.vault() != id) {
                        foreign = Some(header.vault());
                    } else if header.position() == position {
                        return Ok((Some(header), foreign));
                    }
                }
            }
        }
        Ok((None, foreign))
    }

    /// Where two good headers have one number, as a store that ignores conditions
    /// lets happen, the one that the ledger names came into force.
    ///
    /// # Errors
    /// `Stale` where it names a newer one, before a password is tried on the old:
    /// the right one would be called wrong.
    pub(crate) async fn settle(&mut self, store: &Backend, ledger: &FetchedLedger) -> Result<()> {
        let position = self.header.position();
        let Some(named) = ledger.newest_header().filter(|named| *named != position) else {
            return Ok(());
        };
        if named.sequence > position.sequence {
            return Err(Error::Stale {
                what: HEADER.to_owned(),
            });
        }
        if named.sequence < position.sequence {
            return Ok(());
        }
        if let Some(record) = named_record(store, Chain::Headers, named).await?
            && let Ok(header) = Header::parse(&record)
            && header.vault() == self.header.vault()
        {
            self.header = header;
            self.stale_copies = COPIES.to_vec();
        }
        Ok(())
    }

    fn nothing(copies: [Copy; 2], names: &ChainNames) -> Error {
        let mut damaged = copies.into_iter().filter_map(|copy| match copy {
            Copy::Damaged(error) => Some(error),
            _ => None,
        });
        match damaged.next() {
            Some(error) => error,
            // A creation that died before its claim leaves records only.
            None if names.claims.is_empty() => Error::NoVault,
            None => Error::tampered(HEADER),
        }
    }

    /// Writes copies again that are missing, damaged or older.
    pub(crate) async fn repair(&self, store: &Backend) {
        let writes = self
            .stale_copies
            .iter()
            .map(|path| write_copy(store, path, &self.header));
        futures_util::future::join_all(writes).await;
    }
}

fn check_vault(header: &Header, expected: Option<VaultId>) -> Result<()> {
    match expected {
        Some(expected) if expected != header.vault() => {
            Err(Error::other_vault(expected, header.vault()))
        }
        _ => Ok(()),
    }
}

/// Entries of the ledger that were fetched, before they can be read.
pub(crate) struct FetchedLedger {
    head: Position,
    entries: Vec<Entry>,
}

impl FetchedLedger {
    /// Fetches the entries since the last snapshot, in parallel.
    pub(crate) async fn load(store: &Backend, header: &Header, names: &ChainNames) -> Result<Self> {
        let named = header.ledger();
        let mut candidates: BTreeSet<u64> = names.claimed().collect();
        // What the signed header names counts as claimed.
        candidates.insert(named.sequence);
        let mut entries = BTreeMap::new();
        let mut fetched_from = u64::MAX;
        for sequence in candidates
            .into_iter()
            .rev()
            .take_while(|s| *s >= named.sequence)
        {
            let start = Ledger::window_start(sequence);
            if start < fetched_from {
                // Below the snapshot only numbers with a second record matter: orphans.
                let wanted = names.records.iter().copied().filter(|position| {
                    (start..fetched_from).contains(&position.sequence)
                        || (fetched_from == u64::MAX
                            && position.sequence < start
                            && names.records_of(position.sequence).nth(1).is_some())
                });
                Self::fetch(store, header, wanted, &mut entries).await?;
                fetched_from = start;
            }
            let records: Vec<_> = names.records_of(sequence).collect();
            let claimed = match records[..] {
                // A claim is written after its record, so one record is the claimed one.
                [only] => Some(only.hash),
                _ => claimed_hash(store, Chain::Ledger, sequence).await?,
            };
            let by_header = (sequence == named.sequence).then_some(named.hash);
            for hash in claimed.into_iter().chain(by_header) {
                let head = Position { sequence, hash };
                if entries.contains_key(&head) {
                    return Ok(Self {
                        head,
                        entries: entries.into_values().collect(),
                    });
                }
            }
        }
        // The header names an entry that the store does not show.
        Err(Error::Stale {
            what: format!("{LEDGER}, against {HEADER}"),
        })
    }

    async fn fetch(
        store: &Backend,
        header: &Header,
        wanted: impl Iterator<Item = Position>,
        entries: &mut BTreeMap<Position, Entry>,
    ) -> Result<()> {
        let fetch = |position| {
            let store = store.clone();
            async move {
                Ok((
                    position,
                    named_record(&store, Chain::Ledger, position).await?,
                ))
            }
            .boxed()
        };
        let fetches: Vec<BoxFuture<'static, Result<_>>> = wanted.map(fetch).collect();
        let mut fetches = futures_util::stream::iter(fetches).buffer_unordered(64);
        while let Some((position, record)) = fetches.try_next().await? {
            if let Some(record) = &record
                && is_later_entry(record, header)
            {
                return Err(Error::UnsupportedFormat {
                    what: LEDGER.to_owned(),
                });
            }
            // What is not valid counts as absent, and as tampering if the chain needs it.
            let entry =
                record.and_then(|r| Entry::parse(&r, &header.vault(), header.authorities()).ok());
            if let Some(entry) = entry.filter(|entry| entry.position() == position) {
                entries.insert(position, entry);
            }
        }
        Ok(())
    }

    /// Whether an entry that was seen is in the chain, also one before the last
    /// snapshot: then everything in between is read, once.
    ///
    /// # Errors
    /// `Stale` where the chain does not reach it, `Forked` where another entry
    /// stands in its place.
    pub(crate) async fn check_descent(
        &self,
        store: &Backend,
        header: &Header,
        names: &ChainNames,
        seen: Position,
    ) -> Result<()> {
        self.since(store, header, names, seen).await.map(drop)
    }

    /// The newest entry.
    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// When it was written.
    pub(crate) fn written(&self) -> u64 {
        let head = self.entries.iter().find(|e| e.position() == self.head);
        head.map_or(0, Entry::written)
    }

    /// The entries of the chain behind one that is known, in ascending order, for who
    /// cannot read snapshots.
    ///
    /// # Errors
    /// `Stale` where the chain does not reach it, `Forked` where another entry
    /// stands in its place.
    pub(crate) async fn since(
        &self,
        store: &Backend,
        header: &Header,
        names: &ChainNames,
        known: Position,
    ) -> Result<Vec<Entry>> {
        if self.head.sequence < known.sequence {
            return Err(Error::Stale {
                what: LEDGER.to_owned(),
            });
        }
        let (entries, reached) = self
            .back_to(store, header, names, known.sequence + 1)
            .await?;
        if reached == Some(known) {
            return Ok(entries);
        }
        Err(Error::Forked {
            what: LEDGER.to_owned(),
        })
    }

    /// The whole chain, from entry 0 on.
    pub(crate) async fn whole(
        &self,
        store: &Backend,
        header: &Header,
        names: &ChainNames,
    ) -> Result<Vec<Entry>> {
        Ok(self.back_to(store, header, names, 0).await?.0)
    }

    /// The entries of the chain from this number on, in ascending order, and the
    /// place of the one before them.
    async fn back_to(
        &self,
        store: &Backend,
        header: &Header,
        names: &ChainNames,
        first: u64,
    ) -> Result<(Vec<Entry>, Option<Position>)> {
        let mut chain: BTreeMap<Position, Entry> = self
            .entries
            .iter()
            .map(|entry| (entry.position(), entry.clone()))
            .collect();
        let below = first..Ledger::window_start(self.head.sequence);
        if !below.is_empty() {
            let between = names.records.iter().filter(|p| below.contains(&p.sequence));
            Self::fetch(store, header, between.copied(), &mut chain).await?;
        }
        let mut entries = Vec::new();
        let mut at = Some(self.head);
        while let Some(position) = at.filter(|at| at.sequence >= first) {
            let entry = chain
                .remove(&position)
                .ok_or_else(|| Error::tampered(LEDGER))?;
            // Entry 0 alone has none before it.
            at = entry.previous().map(|hash| Position {
                sequence: position.sequence - 1,
                hash,
            });
            entries.push(entry);
        }
        entries.reverse();
        Ok((entries, at))
    }

    /// The header that the newest entry names.
    fn newest_header(&self) -> Option<Position> {
        let newest = |entry: &&Entry| entry.position() == self.head;
        self.entries.iter().find(newest)?.header()
    }

    pub(crate) fn read(self, header: &Header, secrets: &VaultSecrets) -> Result<Ledger> {
        Ledger::read(self.head, self.entries, header, secrets)
            .map_err(|error| Error::core(error, LEDGER))
    }

    /// The entries of the chain since the last snapshot in ascending order, for a
    /// recovery kit: without orphans, which claim nothing.
    pub(crate) fn into_chain(self, header: &Header, secrets: &VaultSecrets) -> Result<Vec<Entry>> {
        let start = Ledger::window_start(self.head.sequence);
        let mut entries = self.entries.clone();
        let ledger = self.read(header, secrets)?;
        entries.retain(|entry| {
            let position = entry.position();
            (start..=ledger.head().sequence).contains(&position.sequence)
                && !ledger.contradicts(position)
        });
        Ok(entries)
    }
}

/// Reads the ledger anew.
pub(crate) async fn read_ledger(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
) -> Result<Ledger> {
    let names = ChainNames::list(store, Chain::Ledger).await?;
    FetchedLedger::load(store, header, &names)
        .await?
        .read(header, secrets)
}

/// Whether a claim was won.
#[derive(PartialEq, Eq)]
enum Claim {
    Ours,
    Theirs,
}

/// Puts a record and claims its number. `is_good` tells whether the record behind
/// a claim that stands there is one; a claim that has none counts as absent and
/// is overwritten, or whoever may write to the bucket could squat the number.
async fn append_record(
    store: &Backend,
    chain: Chain,
    position: Position,
    record: &[u8],
    is_good: impl Fn(Option<&[u8]>) -> bool,
) -> Result<Claim> {
    let path = chain.record_path(position);
    match store
        .put_record(&path, Bytes::copy_from_slice(record), PutMode::Overwrite)
        .await
    {
        Ok(_) | Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    let claim_path = chain.claim_path(position.sequence);
    let claim = || Bytes::copy_from_slice(position.hash.as_bytes());
    match store
        .put_record(&claim_path, claim(), PutMode::Create)
        .await
    {
        // A retried request may find its own claim.
        Ok(_) | Err(Error::AlreadyExists { .. } | Error::Conflict { .. }) => {}
        // No put-if-absent here: last writer wins, and the loser sees it below.
        Err(Error::Unsupported { .. }) => {
            if store.record(&claim_path, 32).await?.is_none() {
                store
                    .put_record(&claim_path, claim(), PutMode::Overwrite)
                    .await?;
            }
        }
        Err(error) => return Err(error),
    }
    let claimed = claimed_hash(store, chain, position.sequence).await?;
    if claimed == Some(position.hash) {
        return Ok(Claim::Ours);
    }
    // What did not come as it is may do so the next time; what is overwritten here
    // is a fork to whoever has read it.
    for _ in 0..2 {
        let theirs = match claimed {
            Some(hash) => named_record(store, chain, Position { hash, ..position }).await?,
            None => None,
        };
        if is_good(theirs.as_deref()) {
            return Ok(Claim::Theirs);
        }
    }
    let update = match store.record(&claim_path, Header::MAX_LENGTH).await {
        Ok(Some(record)) => record.update_mode(),
        Ok(None) | Err(Error::LimitExceeded { .. }) => PutMode::Overwrite,
        Err(error) => return Err(error),
    };
    match store.put_record(&claim_path, claim(), update).await {
        Ok(_) => {}
        Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => return Ok(Claim::Theirs),
        Err(Error::Unsupported { .. }) => {
            store
                .put_record(&claim_path, claim(), PutMode::Overwrite)
                .await?;
        }
        Err(error) => return Err(error),
    }
    match claimed_hash(store, chain, position.sequence).await? {
        Some(hash) if hash == position.hash => Ok(Claim::Ours),
        _ => Ok(Claim::Theirs),
    }
}

/// Whether a record is a header of the vault of this one, with its number.
fn is_header_beside(next: &Header) -> impl Fn(Option<&[u8]>) -> bool {
    let (vault, sequence) = (next.vault(), next.position().sequence);
    move |record| {
        record.is_some_and(|record| {
            is_later(record, Some(vault))
                || Header::parse(record).is_ok_and(|found| {
                    found.vault() == vault && found.position().sequence == sequence
                })
        })
    }
}

/// Writes a header after the newest one: of two clients that try, one gets `Conflict`.
pub(crate) async fn write_header(store: &Backend, next: &Header) -> Result<()> {
    match append_record(
        store,
        Chain::Headers,
        next.position(),
        next.as_bytes(),
        is_header_beside(next),
    )
    .await?
    {
        Claim::Ours => {}
        Claim::Theirs => {
            return Err(Error::Conflict {
                what: HEADER.to_owned(),
            });
        }
    }
    write_copies(store, next).await;
    Ok(())
}

async fn write_copies(store: &Backend, header: &Header) {
    futures_util::join!(
        write_copy(store, COPIES[0], header),
        write_copy(store, COPIES[1], header),
    );
}

/// Writes a copy of a header that is in force, unless one lies there that is as
/// new: another client may be further. What fails here fails for no one, for the
/// header is in the chain, and whoever opens next writes the copy.
async fn write_copy(store: &Backend, path: &str, header: &Header) {
    let bytes = || Bytes::copy_from_slice(header.as_bytes());
    let written = async {
        let mode = match store.record(path, Header::MAX_LENGTH).await {
            Ok(None) => PutMode::Create,
            Ok(Some(record)) => {
                let found = Header::parse(&record.bytes).ok();
                let found = found.filter(|found| found.vault() == header.vault());
                if found.is_some_and(|found| {
                    found.position().sequence > header.position().sequence
                        || found.position() == header.position()
                }) {
                    return Ok(());
                }
                record.update_mode()
            }
            Err(Error::LimitExceeded { .. }) => PutMode::Overwrite,
            Err(error) => return Err(error),
        };
        match store.put_record(path, bytes(), mode).await {
            Err(Error::Unsupported { .. }) => {
                store.put_record(path, bytes(), PutMode::Overwrite).await?;
            }
            // Somebody was faster.
            Err(Error::AlreadyExists { .. } | Error::Conflict { .. }) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    };
    if let Err(error) = written.await {
        tracing::warn!(
            path,
            code = error.code(),
            "a copy of the vault header could not be written"
        );
    }
}

/// Appends the entry that is owed, and gives the ledger back as it is then.
pub(crate) async fn catch_up(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    mut ledger: Ledger,
) -> Result<Ledger> {
    for _ in 0..TRIES {
        if !ledger.is_behind(header, secrets, now()) {
            finish_links_if_possible(store, header, secrets, &ledger).await;
            return Ok(ledger);
        }
        append(store, header, secrets, &ledger, Decision::CatchUp).await?;
        // Whoever won, the chain is what the store shows now; who lost builds
        // the entry again behind the winner.
        ledger = read_ledger(store, header, secrets).await?;
    }
    Err(conflict())
}

/// Appends an entry with a decision of the owner, behind whatever others append
/// meanwhile, and gives the ledger back as it is then.
pub(crate) async fn decide(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    mut ledger: Ledger,
    decision: &Decision,
) -> Result<(Ledger, Option<Made>)> {
    for _ in 0..TRIES {
        let (claim, granted) = append(store, header, secrets, &ledger, decision.clone()).await?;
        ledger = read_ledger(store, header, secrets).await?;
        if claim == Claim::Ours {
            // Not before: a letter opens by itself, and what nobody filed nobody takes back.
            if let Some(Made { name, letter, .. }) = &granted {
                let path = name.path();
                let mode = PutMode::Overwrite;
                store.put_record(&path, letter.clone(), mode).await?;
            }
            return Ok((ledger, granted));
        }
    }
    Err(conflict())
}

/// A grant that was made, and its first letter, which is for the store when the entry
/// is claimed.
pub(crate) struct Made {
    pub(crate) id: GrantId,
    pub(crate) name: LetterName,
    pub(crate) letter: Bytes,
}

/// Writers that lose a number this often have met a store that does not work.
const TRIES: usize = 16;

fn conflict() -> Error {
    Error::Conflict {
        what: LEDGER.to_owned(),
    }
}

async fn append(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    ledger: &Ledger,
    decision: Decision,
) -> Result<(Claim, Option<Made>)> {
    // What the entry before this one owes is not owed any more behind this one.
    finish_links(store, header, secrets, ledger).await?;
    let Appended {
        entry,
        records,
        granted,
    } = ledger
        .next(header, secrets, now(), decision)
        .map_err(|error| Error::core(error, LEDGER))?;
    let mut made = granted.map(|(id, name)| Made {
        id,
        name,
        letter: Bytes::new(),
    });
    // What an entry names is there before the entry is.
    for (path, record) in records {
        let record = Bytes::from(record);
        match made.as_mut().filter(|made| made.name.path() == path) {
            Some(made) => made.letter = record,
            None => {
                store.put_record(&path, record, PutMode::Overwrite).await?;
            }
        }
    }
    let position = entry.position();
    let is_good = |record: Option<&[u8]>| {
        let parse = |r| Entry::parse(r, &header.vault(), header.authorities());
        record.is_some_and(|record| {
            is_later_entry(record, header)
                || parse(record).is_ok_and(|found| found.position().sequence == position.sequence)
        })
    };
    let claim = append_record(store, Chain::Ledger, position, entry.as_bytes(), is_good).await?;
    Ok((claim, made))
}

/// Writes what the newest entry owes to links: records with the keys of now, where
/// those that lie there are older, and none where a link was withdrawn. Nobody needs
/// to know whether it was done: until the next entry, which is not appended before,
/// whoever opens the vault looks.
async fn finish_links(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    ledger: &Ledger,
) -> Result<()> {
    let sealed = ledger
        .links_to_seal()
        .map(|link| write_link(store, header, secrets, ledger, link, None));
    try_join_all(sealed).await?;
    for path in ledger.links_to_remove() {
        match store.delete(&stored(&path), LINK).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As `finish_links`, behind what is decided: what fails here fails for no one, for
/// whoever opens or decides next does it.
pub(crate) async fn finish_links_if_possible(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    ledger: &Ledger,
) {
    if let Err(error) = finish_links(store, header, secrets, ledger).await {
        tracing::warn!(
            code = error.code(),
            "the record of a link could not be written"
        );
    }
}

/// Writes the record of a link that was just made, with what the store delivers.
pub(crate) async fn seal_link(
    store: &Backend,
    owner: &Owner,
    id: &LinkId,
    objects: Vec<LinkObject>,
) -> Result<()> {
    let Owner {
        header,
        secrets,
        ledger,
        ..
    } = owner;
    // Withdrawn meanwhile by another client.
    let link = ledger.link(id).ok_or_else(conflict)?;
    for _ in 0..TRIES {
        let objects = Some(objects.clone());
        if write_link(store, header, secrets, ledger, link, objects).await? {
            return Ok(());
        }
    }
    Err(conflict())
}

/// Only forwards: a record that is as new, or newer, stays, unless it is to have other
/// objects. Not done where somebody else wrote it meanwhile, who knew as much.
async fn write_link(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    ledger: &Ledger,
    link: &LinkRecord,
    objects: Option<Vec<LinkObject>>,
) -> Result<bool> {
    let path = Ledger::link_path(link, secrets);
    let named = |error: Error| error.renamed(LINK);
    let (mode, found) = match store.record(&path, SealedLink::MAX_LENGTH).await {
        Ok(None) => (PutMode::Create, None),
        // What is none of ours is written over.
        Ok(Some(record)) => (
            record.update_mode(),
            Ledger::open_link(link, secrets, &record.bytes).ok(),
        ),
        Err(Error::LimitExceeded { .. }) => (PutMode::Overwrite, None),
        Err(error) => return Err(named(error)),
    };
    let is_new = |found: &OpenedLink| found.head().sequence >= ledger.head().sequence;
    if objects.is_none() && found.as_ref().is_some_and(is_new) {
        return Ok(true);
    }
    // The store goes on to honour what it signed.
    let objects = objects.or_else(|| found.map(|found| found.objects().to_vec()));
    let record = ledger
        .seal_link(link, header, secrets, objects.unwrap_or_default())
        .map_err(|error| Error::core(error, LINK))?;
    let record = Bytes::from(record);
    match store.put_record(&path, record.clone(), mode).await {
        Err(Error::Unsupported { .. }) => {
            let put = store.put_record(&path, record, PutMode::Overwrite).await;
            put.map(|_| true).map_err(named)
        }
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. } | Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(named(error)),
    }
}

/// As `catch_up`, for whoever opens: with credentials of the store that only
/// read, somebody else will have to append.
pub(crate) async fn catch_up_if_allowed(
    store: &Backend,
    header: &Header,
    secrets: &VaultSecrets,
    ledger: Ledger,
) -> Result<Ledger> {
    if !ledger.is_behind(header, secrets, now()) {
        finish_links_if_possible(store, header, secrets, &ledger).await;
        return Ok(ledger);
    }
    // Its newest entry may only not have come as it is.
    let ledger = read_ledger(store, header, secrets).await?;
    match catch_up(store, header, secrets, ledger).await {
        Err(Error::AccessDenied { .. }) => read_ledger(store, header, secrets).await,
        other => other,
    }
}

/// Writes the first records of a vault. The claim of the first header decides
/// who owns the prefix; what a creation leaves that died before is no vault.
pub(crate) async fn create(store: &Backend, header: &Header, entry: &Entry) -> Result<()> {
    let taken_error = || Error::AlreadyExists {
        path: "the vault's folder".to_owned(),
    };
    let mut listing = store.list(None);
    while let Some(meta) = listing.try_next().await? {
        let leftover = [Chain::Headers, Chain::Ledger].into_iter().any(|chain| {
            let name = meta
                .location
                .as_ref()
                .strip_prefix(chain.prefix())
                .and_then(|n| n.strip_prefix('/'));
            match name.and_then(ChainName::parse) {
                Some(ChainName::Record(position)) => position.sequence == 0,
                Some(ChainName::Claim(sequence)) => sequence == 0 && chain == Chain::Ledger,
                None => false,
            }
        });
        if !leftover {
            return Err(taken_error());
        }
    }
    drop(listing);
    let position = entry.position();
    let path = Chain::Ledger.record_path(position);
    store
        .put_record(
            &path,
            Bytes::copy_from_slice(entry.as_bytes()),
            PutMode::Overwrite,
        )
        .await?;
    // Whatever else is claimed there is somebody's.
    match append_record(
        store,
        Chain::Headers,
        header.position(),
        header.as_bytes(),
        |_| true,
    )
    .await?
    {
        Claim::Ours => {}
        Claim::Theirs => return Err(taken_error()),
    }
    let claim = Bytes::copy_from_slice(position.hash.as_bytes());
    store
        .put_record(&Chain::Ledger.claim_path(0), claim, PutMode::Overwrite)
        .await?;
    write_copies(store, header).await;
    Ok(())
}

/// Puts back what a recovery kit holds and the store lost. The header is written
/// again only where none of at least the kit's number is left.
pub(crate) async fn restore(
    store: &Backend,
    kit_header: &Header,
    secrets: &VaultSecrets,
    entries: &[Entry],
) -> Result<()> {
    // Another vault is noticed before anything is written.
    let found = match Found::load(store, Some(kit_header.vault())).await {
        Ok(found) => Some(found),
        Err(Error::NoVault | Error::Tampered { .. } | Error::LimitExceeded { .. }) => None,
        Err(error) => return Err(error),
    };
    for entry in entries {
        let position = entry.position();
        if named_record(store, Chain::Ledger, position)
            .await?
            .is_none()
        {
            let path = Chain::Ledger.record_path(position);
            store
                .put_record(
                    &path,
                    Bytes::copy_from_slice(entry.as_bytes()),
                    PutMode::Overwrite,
                )
                .await?;
        }
        if claimed_hash(store, Chain::Ledger, position.sequence)
            .await?
            .is_none()
        {
            let claim = Bytes::copy_from_slice(position.hash.as_bytes());
            let path = Chain::Ledger.claim_path(position.sequence);
            store.put_record(&path, claim, PutMode::Overwrite).await?;
        }
    }
    if let Some(found) = found
        && found.header.position().sequence >= kit_header.position().sequence
    {
        found.repair(store).await;
        return Ok(());
    }
    let (names, ledger) = try_join!(
        ChainNames::list(store, Chain::Headers),
        read_ledger(store, kit_header, secrets),
    )?;
    let last = Position {
        sequence: names
            .highest()
            .unwrap_or(0)
            .max(kit_header.position().sequence),
        hash: kit_header.position().hash,
    };
    let slots = kit_header.slots().to_vec();
    let next = kit_header
        .following(last, secrets, ledger.head(), slots, now())
        .map_err(|error| Error::core(error, HEADER))?;
    match append_record(
        store,
        Chain::Headers,
        next.position(),
        next.as_bytes(),
        is_header_beside(&next),
    )
    .await?
    {
        Claim::Ours => {
            write_copies(store, &next).await;
            Ok(())
        }
        Claim::Theirs => Err(Error::Conflict {
            what: HEADER.to_owned(),
        }),
    }
}

/// Whether the record under a name of the chain is what its writer wrote, for `check`.
pub(crate) async fn check_record(
    store: &Backend,
    chain: Chain,
    position: Position,
    header: &Header,
) -> Result<()> {
    let record = named_record(store, chain, position)
        .await?
        .ok_or_else(|| Error::tampered(chain.what()))?;
    let parsed = match chain {
        Chain::Headers => Header::parse(&record).map(|h| h.vault() == header.vault()),
        Chain::Ledger => Entry::parse(&record, &header.vault(), header.authorities()).map(|_| true),
    };
    match parsed {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::tampered(chain.what())),
        Err(error) => Err(Error::core(error, chain.what())),
    }
}

/// Whether a claim names a record that is there; what is in it is a finding of its
/// own.
pub(crate) async fn check_claim(store: &Backend, chain: Chain, sequence: u64) -> Result<()> {
    let Some(hash) = claimed_hash(store, chain, sequence).await? else {
        return Err(Error::tampered(chain.what()));
    };
    let path = chain.record_path(Position { sequence, hash });
    match store.head(&stored(&path), chain.what()).await {
        Err(Error::NotFound { .. }) => Err(Error::Missing {
            what: format!("a record of {}", chain.what()),
        }),
        other => other.map(drop),
    }
}
