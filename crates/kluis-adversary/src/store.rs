//! The store itself: every method of the trait, by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use futures_util::future::{pending, ready};
use futures_util::lock::Mutex as AsyncMutex;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode,
    Result, UploadPart,
};

use crate::answer;
use crate::journal::{Call, History, Journal, Object, Op, Outcome, Version};
use crate::rule::{Fault, Lie, Rule, RuleId, STORE};

/// Wraps a store, records what is asked of it, and lies by rule.
///
/// Clones, and handles made by [`client`](Self::client), are the same store.
/// Methods of this type are the test's and the provider's side; the
/// application under test sees the [`ObjectStore`] trait only.
#[derive(Clone)]
pub struct HostileStore {
    shared: Arc<Shared>,
    client: Arc<str>,
}

struct Shared {
    inner: Arc<dyn ObjectStore>,
    seed: u64,
    state: Mutex<State>,
    /// Held from a write to its entry in the history, so that the history has
    /// the order of the commits.
    commit: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    history: History,
    rules: BTreeMap<RuleId, Rule>,
    next_rule: u64,
    crashes: HashMap<Arc<str>, Crash>,
}

/// Where a client's life ends; calls are counted from 0 at
/// [`HostileStore::crash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Call k and all later ones never reach the store.
    Before(u64),
    /// Call k is carried out, but its answer is lost; later calls never reach
    /// the store.
    After(u64),
}

struct Crash {
    cut: Cut,
    calls: u64,
    happened: bool,
}

impl HostileStore {
    /// Wraps a store, best an empty one: what was in it before is served, but
    /// has no history.
    pub fn new(inner: impl ObjectStore) -> Self {
        Self::with_seed(inner, 0)
    }

    /// As [`new`](Self::new), with a seed of its own for the lies that draw.
    pub fn with_seed(inner: impl ObjectStore, seed: u64) -> Self {
        let shared = Shared {
            inner: Arc::new(inner),
            seed,
            state: Mutex::default(),
            commit: AsyncMutex::new(()),
        };
        Self {
            shared: Arc::new(shared),
            client: Arc::from(""),
        }
    }

    /// The same store for another client, so that it can be told other lies
    /// ([`Rule::for_client`]), crash alone, and be told apart in the journal.
    /// The first handle's client is `""`.
    #[must_use]
    pub fn client(&self, name: impl Into<Arc<str>>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            client: name.into(),
        }
    }

    /// The wrapped store. What is done to it is the provider's own doing: it is
    /// in no journal and no history.
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.shared.inner
    }

    /// Puts a rule in force. A bare [`Lie`] is told everywhere and for ever.
    pub fn add(&self, rule: impl Into<Rule>) -> RuleId {
        let mut state = self.state();
        let id = RuleId(state.next_rule);
        state.next_rule += 1;
        state.rules.insert(id, rule.into());
        id
    }

    /// Takes a rule back and says how often it was told.
    pub fn remove(&self, rule: RuleId) -> u64 {
        self.state()
            .rules
            .remove(&rule)
            .map_or(0, |rule| rule.uses())
    }

    /// Takes all rules back.
    pub fn remove_all(&self) {
        self.state().rules.clear();
    }

    /// How often a rule in force was told so far. Assert on it: a test whose
    /// lie was never told passes for no reason.
    pub fn uses(&self, rule: RuleId) -> u64 {
        self.state().rules.get(&rule).map_or(0, Rule::uses)
    }

    /// Ends the life of this handle's client at the given call, until
    /// [`recover`](Self::recover). Calls that never reach the store fail and are
    /// not in the journal. Other clients live on.
    ///
    /// To cut an operation at every point, raise k until the operation runs
    /// through with [`crashed`](Self::crashed) still false.
    pub fn crash(&self, cut: Cut) {
        let crash = Crash {
            cut,
            calls: 0,
            happened: false,
        };
        self.state().crashes.insert(Arc::clone(&self.client), crash);
    }

    /// Whether this handle's client came to its [`crash`](Self::crash).
    pub fn crashed(&self) -> bool {
        self.state()
            .crashes
            .get(&self.client)
            .is_some_and(|crash| crash.happened)
    }

    /// Lets this handle's client call again, crashed or not.
    pub fn recover(&self) {
        self.state().crashes.remove(&self.client);
    }

    /// All calls so far, of all clients.
    pub fn journal(&self) -> Journal {
        Journal {
            calls: self.state().calls.clone(),
        }
    }

    /// This moment, for [`Journal::since`] and [`Lie::Freeze`]: the `seq` that
    /// the next call will have.
    pub fn mark(&self) -> u64 {
        self.state().calls.len() as u64
    }

    /// How many calls of one kind there were, of all clients.
    pub fn count(&self, op: Op) -> usize {
        self.state()
            .calls
            .iter()
            .filter(|call| call.op == op)
            .count()
    }

    /// Every version of a path, oldest first, removals included.
    pub fn history(&self, path: &Path) -> Vec<Version> {
        self.state().history.versions(path).to_vec()
    }

    /// Every path ever written or removed, in order.
    pub fn paths(&self) -> Vec<Path> {
        self.state().history.paths().cloned().collect()
    }

    /// What is really stored now, without lies and without a trace in the
    /// journal: for comparing before and after.
    ///
    /// # Errors
    ///
    /// Those of the wrapped store.
    pub async fn contents(&self) -> Result<BTreeMap<Path, Bytes>> {
        let entries: Vec<_> = self.shared.inner.list(None).try_collect().await?;
        let mut contents = BTreeMap::new();
        for ObjectMeta { location, .. } in entries {
            let bytes = self.stored(&location).await?.bytes;
            contents.insert(location, bytes);
        }
        Ok(contents)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call into the journal and decides which lies it will meet.
    fn begin(&self, mut call: Call) -> Result<Ticket> {
        let mut state = self.state();
        let mut lost = false;
        if let Some(crash) = state.crashes.get_mut(&self.client) {
            let (reached, answered) = match crash.cut {
                Cut::Before(k) => (crash.calls < k, true),
                Cut::After(k) => (crash.calls <= k, crash.calls < k),
            };
            crash.happened |= !(reached && answered);
            crash.calls += 1;
            lost = !answered;
            if !reached {
                return Err(crashed());
            }
        }
        call.seq = state.calls.len() as u64;
        call.client = Arc::clone(&self.client);
        if call.op == Op::PutMultipart {
            call.upload = Some(call.seq);
        }
        let mut told = Vec::new();
        for (id, rule) in &mut state.rules {
            if !rule.concerns(&call) {
                continue;
            }
            // What is decided for each entry of a listing is counted there.
            let nth = match rule.lie.by_entry() && call.op.lists() {
                true => Some(0),
                false if rule.hits(&call) => rule.spend(),
                false => None,
            };
            if let Some(nth) = nth {
                told.push(Told {
                    id: *id,
                    rule: rule.clone(),
                    nth,
                });
            }
        }
        let ticket = Ticket {
            seq: call.seq,
            op: call.op,
            path: call.path.clone(),
            told,
            lost,
        };
        state.calls.push(call);
        Ok(ticket)
    }

    /// Carries a call out, with what goes wrong before and after it.
    async fn run<T>(&self, ticket: &Ticket, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = self.attempt(ticket, work).await;
        self.note(ticket.seq, |call| {
            call.outcome = if result.is_ok() {
                Outcome::Ok
            } else {
                Outcome::Failed
            };
        });
        result
    }

    async fn attempt<T>(
        &self,
        ticket: &Ticket,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        for lie in ticket.lies() {
            match lie {
                Lie::Race(f) => (f.0)().await,
                Lie::StallAfter(_) if !ticket.op.streams() => pending().await,
                Lie::FailBefore(fault) => return Err(fault.error(&ticket.path)),
                _ => {}
            }
        }
        let result = work.await;
        if ticket.lost {
            return Err(crashed());
        }
        let result = result?;
        for lie in ticket.lies() {
            if let Lie::FailAfter(fault) = lie {
                return Err(fault.error(&ticket.path));
            }
        }
        Ok(result)
    }

    fn note(&self, seq: u64, change: impl FnOnce(&mut Call)) {
        // A `seq` is the position of a call that is in memory.
        if let Some(call) = self.state().calls.get_mut(seq as usize) {
            change(call);
        }
    }

    /// What is really stored at `path`.
    async fn stored(&self, path: &Path) -> Result<Object> {
        let result = self.shared.inner.get(path).await?;
        let meta = result.meta.clone();
        let attributes = result.attributes.clone();
        Ok(Object {
            bytes: result.bytes().await?,
            meta,
            attributes,
        })
    }

    /// What the store pretends to hold at `path`.
    async fn pretended(&self, ticket: &Ticket, path: &Path) -> Result<Object> {
        let missing = || Fault::NotFound.error(path);
        let mut object = match ticket.lies().rfind(|lie| lie.selects_object()) {
            Some(Lie::NotFound) => return Err(missing()),
            Some(Lie::SwapWith(other)) => match self.stored(other).await {
                Err(Error::NotFound { .. }) => return Err(missing()),
                other => other?,
            },
            Some(Lie::Version(k)) => {
                let version = self.state().history.nth(path, *k);
                version.ok_or_else(missing)?
            }
            Some(Lie::Freeze(mark)) => {
                let then = self.state().history.before(path, *mark);
                match then {
                    Some(object) => object.ok_or_else(missing)?,
                    None => self.stored(path).await?,
                }
            }
            Some(Lie::Resurrect) => {
                let removed = self.state().history.removed(path);
                match removed {
                    Some(object) => object,
                    None => self.stored(path).await?,
                }
            }
            _ => self.stored(path).await?,
        };
        let mut bytes = Vec::from(object.bytes);
        for told in &ticket.told {
            let mut noise = answer::Noise::new(self.shared.seed, told.id.0, told.nth);
            answer::alter(&mut bytes, &told.rule.lie, &mut noise);
        }
        object.meta.location = path.clone();
        object.meta.size = bytes.len() as u64;
        object.bytes = bytes.into();
        Ok(object)
    }

    /// All three listings; they differ in how the honest answer is got.
    fn listing(
        &self,
        op: Op,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        let offset = offset.cloned();
        let root = prefix.clone().unwrap_or_default();
        let call = Call {
            offset: offset.clone(),
            ..Call::new(op, &root)
        };
        let ticket = match self.begin(call) {
            Ok(ticket) => ticket,
            Err(error) => return stream::once(ready(Err(error))).boxed(),
        };
        let store = self.clone();
        let entries = async move {
            let work = async {
                let honest = store.honest_listing(prefix.as_ref(), offset.as_ref());
                let entries = match ticket.changes_listing() {
                    false => honest,
                    true => {
                        let entries = honest.try_collect().await?;
                        let entries =
                            store.changed_listing(&ticket, entries, &root, offset.as_ref());
                        stream::iter(entries.into_iter().map(Ok)).boxed()
                    }
                };
                let lies: Vec<_> = ticket.lies().collect();
                Ok(answer::distort_listing(entries, &root, &lies))
            };
            let entries = store.run(&ticket, work).await?;
            let seq = ticket.seq;
            let count = move |_: &ObjectMeta| store.note(seq, |call| call.received += 1);
            Ok::<_, Error>(entries.inspect_ok(count))
        };
        stream::once(entries).try_flatten().boxed()
    }

    fn honest_listing(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match offset {
            Some(offset) => self.shared.inner.list_with_offset(prefix, offset),
            None => self.shared.inner.list(prefix),
        }
    }

    /// Applies the lies about entries, in order.
    fn changed_listing(
        &self,
        ticket: &Ticket,
        mut entries: Vec<ObjectMeta>,
        prefix: &Path,
        offset: Option<&Path>,
    ) -> Vec<ObjectMeta> {
        let listed = |path: &Path| {
            path != prefix && path.prefix_matches(prefix) && offset.is_none_or(|o| path > o)
        };
        for Told { id, rule, .. } in &ticket.told {
            let here = |path: &&Path| rule.matches(path) && listed(path);
            // Entries that leave and entries that come; `None` if nothing does.
            let change: Option<(BTreeSet<Path>, Vec<ObjectMeta>)> = match &rule.lie {
                Lie::Freeze(mark) => {
                    let history = &self.state().history;
                    let known: BTreeSet<_> = history.paths().filter(here).cloned().collect();
                    let then = known.iter().filter_map(|path| history.before(path, *mark)?);
                    let old = then.map(|object| object.meta).collect();
                    (!known.is_empty()).then_some((known, old))
                }
                Lie::Resurrect => {
                    let history = &self.state().history;
                    let removed = history.paths().filter(here);
                    let back = removed.filter_map(|path| history.removed(path));
                    let back: Vec<_> = back.map(|object| object.meta).collect();
                    let gone = back.iter().map(|meta| meta.location.clone()).collect();
                    (!back.is_empty()).then_some((gone, back))
                }
                Lie::HideFromList => {
                    let all = entries.iter().map(|entry| &entry.location);
                    let hidden: BTreeSet<_> =
                        all.filter(|path| rule.matches(path)).cloned().collect();
                    (!hidden.is_empty()).then_some((hidden, Vec::new()))
                }
                Lie::GhostInList(ghost) => {
                    let shown = here(&&ghost.location);
                    shown.then(|| (BTreeSet::new(), vec![ghost.clone()]))
                }
                Lie::Meta(f) => {
                    let met = entries.iter().filter(|entry| rule.matches(&entry.location));
                    let mut lied: Vec<_> = met.cloned().collect();
                    let gone = lied.iter().map(|entry| entry.location.clone()).collect();
                    lied.iter_mut().for_each(|entry| (f.0)(entry));
                    (!lied.is_empty()).then_some((gone, lied))
                }
                Lie::EditList(f) => {
                    (f.0)(&mut entries);
                    None
                }
                _ => None,
            };
            let Some((gone, come)) = change else { continue };
            // Not there any more if it was removed meanwhile.
            if self
                .state()
                .rules
                .get_mut(id)
                .and_then(Rule::spend)
                .is_none()
            {
                continue;
            }
            entries.retain(|entry| !gone.contains(&entry.location));
            entries.extend(come);
            entries.sort_by(|a, b| a.location.cmp(&b.location));
        }
        entries
    }

    /// Writes, and remembers what was written.
    async fn commit_put(
        &self,
        ticket: &Ticket,
        path: &Path,
        bytes: Bytes,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let _order = self.shared.commit.lock().await;
        let attributes = opts.attributes.clone();
        let result = self
            .shared
            .inner
            .put_opts(path, bytes.clone().into(), opts)
            .await?;
        self.remember(ticket, path, bytes, &result, attributes);
        Ok(result)
    }

    fn remember(
        &self,
        ticket: &Ticket,
        path: &Path,
        bytes: Bytes,
        result: &PutResult,
        attributes: Attributes,
    ) {
        let version = Version {
            call: ticket.seq,
            bytes: Some(bytes),
            e_tag: result.e_tag.clone(),
            version: result.version.clone(),
            attributes,
            last_modified: Utc::now(),
        };
        self.state().history.record(path, version);
    }

    /// Remembers what the store itself put at `path`.
    async fn remember_stored(&self, ticket: &Ticket, path: &Path) {
        let version = match self.stored(path).await {
            Ok(Object {
                bytes,
                meta,
                attributes,
            }) => Version {
                call: ticket.seq,
                bytes: Some(bytes),
                e_tag: meta.e_tag,
                version: meta.version,
                attributes,
                last_modified: meta.last_modified,
            },
            Err(_) => Version::removal(ticket.seq),
        };
        self.state().history.record(path, version);
    }

    fn remember_removal(&self, ticket: &Ticket, path: &Path) {
        self.state()
            .history
            .record(path, Version::removal(ticket.seq));
    }

    async fn delete_one(self, path: Path) -> Result<Path> {
        let ticket = self.begin(Call::new(Op::Delete, &path))?;
        let work = async {
            if ticket.drops_write() {
                return Ok(());
            }
            let _order = self.shared.commit.lock().await;
            self.shared.inner.delete(&path).await?;
            self.remember_removal(&ticket, &path);
            Ok(())
        };
        self.run(&ticket, work).await?;
        Ok(path)
    }
}

impl fmt::Display for HostileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.shared.inner)
    }
}

impl fmt::Debug for HostileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(STORE)
            .field("inner", &self.shared.inner)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for HostileStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        let bytes = Bytes::from(payload);
        let call = Call {
            sent: bytes.clone(),
            attributes: opts.attributes.clone(),
            tags: opts.tags.encoded().to_owned(),
            ..Call::new(Op::Put, location).with_mode(opts.mode.clone())
        };
        let ticket = self.begin(call)?;
        let work = async {
            if ticket.drops_write() {
                return Ok(ticket.pretended_result());
            }
            if ticket.ignores_conditions() {
                opts.mode = PutMode::Overwrite;
            }
            let lies: Vec<_> = ticket.lies().collect();
            let (bytes, torn) = answer::tear(bytes, location, &lies);
            let size = bytes.len() as u64;
            let result = self.commit_put(&ticket, location, bytes, opts).await?;
            torn.map_or(Ok(()), Err)?;
            Ok(ticket.distorted_result(result, size))
        };
        self.run(&ticket, work).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let attributes = opts.attributes.clone();
        let call = Call {
            attributes: attributes.clone(),
            tags: opts.tags.encoded().to_owned(),
            ..Call::new(Op::PutMultipart, location)
        };
        let ticket = self.begin(call)?;
        let work = async { self.shared.inner.put_multipart_opts(location, opts).await };
        let inner = self.run(&ticket, work).await?;
        Ok(Box::new(HostileUpload {
            store: self.clone(),
            inner,
            path: location.clone(),
            id: ticket.seq,
            attributes,
            stored: Vec::new(),
        }))
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        let call = Call {
            ranges: options.range.iter().cloned().collect(),
            conditional: options.if_match.is_some()
                || options.if_none_match.is_some()
                || options.if_modified_since.is_some()
                || options.if_unmodified_since.is_some(),
            ..Call::new(op, location)
        };
        let ticket = self.begin(call)?;
        let work = async {
            if ticket.ignores_conditions() {
                options.if_match = None;
                options.if_none_match = None;
                options.if_modified_since = None;
                options.if_unmodified_since = None;
            }
            let lies: Vec<_> = ticket.lies().collect();
            let result = if ticket.alters_object() {
                let object = self.pretended(&ticket, location).await?;
                options.check_preconditions(&object.meta)?;
                answer::get_result(object, options.range.as_ref(), &lies)?
            } else {
                self.shared.inner.get_opts(location, options).await?
            };
            Ok(answer::distort(result, &lies))
        };
        let result = self.run(&ticket, work).await?;
        if op == Op::Head {
            return Ok(result);
        }
        let meta = result.meta.clone();
        let range = result.range.clone();
        let attributes = result.attributes.clone();
        let extensions = result.extensions.clone();
        let (store, seq) = (self.clone(), ticket.seq);
        let body = result.into_stream().inspect_ok(move |bytes| {
            store.note(seq, |call| call.received += bytes.len() as u64);
        });
        let payload = GetResultPayload::Stream(body.boxed());
        Ok(GetResult {
            payload,
            meta,
            range,
            attributes,
            extensions,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let wanted: Vec<_> = ranges.iter().cloned().map(GetRange::Bounded).collect();
        let call = Call {
            ranges: wanted.clone(),
            ..Call::new(Op::GetRanges, location)
        };
        let ticket = self.begin(call)?;
        let work = async {
            let lies: Vec<_> = ticket.lies().collect();
            let bodies: Vec<Bytes> = if ticket.alters_object() {
                let object = self.pretended(&ticket, location).await?;
                let body = |range| Ok(answer::slice(&object, Some(range), &lies)?.1);
                wanted.iter().map(body).collect::<Result<_>>()?
            } else {
                self.shared.inner.get_ranges(location, ranges).await?
            };
            let distort = |body| answer::distort_range(location, body, &lies);
            bodies.into_iter().map(distort).collect::<Result<Vec<_>>>()
        };
        let bodies = self.run(&ticket, work).await?;
        let received: usize = bodies.iter().map(Bytes::len).sum();
        self.note(ticket.seq, |call| call.received = received as u64);
        Ok(bodies)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |path| store.clone().delete_one(path))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(Op::List, prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(Op::ListWithOffset, prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = prefix.cloned().unwrap_or_default();
        let ticket = self.begin(Call::new(Op::ListWithDelimiter, &root))?;
        let work = async {
            for lie in ticket.lies() {
                if let Lie::ErrAfter(_, fault) = lie {
                    return Err(fault.error(&root));
                }
            }
            if !ticket.changes_listing() {
                return self.shared.inner.list_with_delimiter(prefix).await;
            }
            let entries = self.honest_listing(prefix, None).try_collect().await?;
            let entries = self.changed_listing(&ticket, entries, &root, None);
            Ok(answer::one_level(&root, entries))
        };
        let result = self.run(&ticket, work).await?;
        let received = result.objects.len() + result.common_prefixes.len();
        self.note(ticket.seq, |call| call.received = received as u64);
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, mut options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            CopyMode::Overwrite => PutMode::Overwrite,
            CopyMode::Create => PutMode::Create,
        };
        let call = Call::new(Op::Copy, to).with_mode(mode);
        let ticket = self.begin(Call {
            from: Some(from.clone()),
            ..call
        })?;
        let work = async {
            if ticket.drops_write() {
                return Ok(());
            }
            if ticket.ignores_conditions() {
                options.mode = CopyMode::Overwrite;
            }
            let _order = self.shared.commit.lock().await;
            self.shared.inner.copy_opts(from, to, options).await?;
            self.remember_stored(&ticket, to).await;
            Ok(())
        };
        self.run(&ticket, work).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, mut options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => PutMode::Overwrite,
            RenameTargetMode::Create => PutMode::Create,
        };
        let call = Call::new(Op::Rename, to).with_mode(mode);
        let ticket = self.begin(Call {
            from: Some(from.clone()),
            ..call
        })?;
        let work = async {
            if ticket.drops_write() {
                return Ok(());
            }
            if ticket.ignores_conditions() {
                options.target_mode = RenameTargetMode::Overwrite;
            }
            let _order = self.shared.commit.lock().await;
            self.shared.inner.rename_opts(from, to, options).await?;
            self.remember_stored(&ticket, to).await;
            if from != to {
                self.remember_removal(&ticket, from);
            }
            Ok(())
        };
        self.run(&ticket, work).await
    }
}

/// A multipart upload. Parts go to the wrapped store as they come, so that a
/// crash leaves there what it would leave.
struct HostileUpload {
    store: HostileStore,
    inner: Box<dyn MultipartUpload>,
    path: Path,
    /// The `seq` of the call that began it.
    id: u64,
    attributes: Attributes,
    /// The parts that the wrapped store was given.
    stored: Vec<Bytes>,
}

impl HostileUpload {
    fn begin(&self, op: Op, sent: Bytes) -> Result<Ticket> {
        let call = Call {
            sent,
            upload: Some(self.id),
            ..Call::new(op, &self.path)
        };
        self.store.begin(call)
    }
}

impl fmt::Debug for HostileUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostileUpload")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for HostileUpload {
    /// Decides at once, as the order of these calls is the order of the parts.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = Bytes::from(data);
        let ticket = match self.begin(Op::PutPart, bytes.clone()) {
            Ok(ticket) => ticket,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let lies: Vec<_> = ticket.lies().collect();
        let (bytes, torn) = answer::tear(bytes, &self.path, &lies);
        let upload: UploadPart = if ticket.reaches_store() {
            self.stored.push(bytes.clone());
            self.inner.put_part(bytes.into())
        } else {
            Box::pin(ready(Ok(())))
        };
        let store = self.store.clone();
        Box::pin(async move {
            let work = async {
                upload.await?;
                torn.map_or(Ok(()), Err)
            };
            store.run(&ticket, work).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let ticket = self.begin(Op::Complete, Bytes::new())?;
        let Self {
            store,
            inner,
            path,
            attributes,
            stored,
            ..
        } = self;
        let work = async {
            if ticket.drops_write() {
                inner.abort().await?;
                return Ok(ticket.pretended_result());
            }
            let lies: Vec<_> = ticket.lies().collect();
            let (bytes, torn) = answer::tear(stored.concat().into(), path, &lies);
            if let Some(error) = torn {
                inner.abort().await?;
                let opts = PutOptions::from(attributes.clone());
                store.commit_put(&ticket, path, bytes, opts).await?;
                return Err(error);
            }
            let size = bytes.len() as u64;
            let _order = store.shared.commit.lock().await;
            let result = inner.complete().await?;
            store.remember(&ticket, path, bytes, &result, attributes.clone());
            Ok(ticket.distorted_result(result, size))
        };
        store.run(&ticket, work).await
    }

    async fn abort(&mut self) -> Result<()> {
        let ticket = self.begin(Op::Abort, Bytes::new())?;
        self.store.run(&ticket, self.inner.abort()).await
    }
}

/// A call that is under way, and the lies it meets.
struct Ticket {
    seq: u64,
    op: Op,
    path: Path,
    told: Vec<Told>,
    /// The client crashes before it hears the answer.
    lost: bool,
}

struct Told {
    id: RuleId,
    rule: Rule,
    /// Which use of the rule this is.
    nth: u64,
}

impl Ticket {
    fn lies(&self) -> impl DoubleEndedIterator<Item = &Lie> {
        self.told.iter().map(|told| &told.rule.lie)
    }

    fn drops_write(&self) -> bool {
        self.lies().any(|lie| matches!(lie, Lie::DropWrite))
    }

    fn ignores_conditions(&self) -> bool {
        self.lies().any(|lie| matches!(lie, Lie::IgnoreConditional))
    }

    fn alters_object(&self) -> bool {
        self.lies().any(Lie::alters_object)
    }

    fn changes_listing(&self) -> bool {
        self.lies()
            .any(|lie| lie.by_entry() || matches!(lie, Lie::EditList(_)))
    }

    fn reaches_store(&self) -> bool {
        !self.lies().any(|lie| {
            matches!(
                lie,
                Lie::DropWrite | Lie::FailBefore(_) | Lie::StallAfter(_)
            )
        })
    }

    /// What a store answers to a write that it drops.
    fn pretended_result(&self) -> PutResult {
        PutResult {
            e_tag: Some(format!("\"dropped-{}\"", self.seq)),
            version: None,
            extensions: Default::default(),
        }
    }

    fn distorted_result(&self, mut result: PutResult, size: u64) -> PutResult {
        let mut meta = ObjectMeta {
            location: self.path.clone(),
            last_modified: Utc::now(),
            size,
            e_tag: result.e_tag,
            version: result.version,
        };
        for lie in self.lies() {
            if let Lie::Meta(f) = lie {
                (f.0)(&mut meta);
            }
        }
        result.e_tag = meta.e_tag;
        result.version = meta.version;
        result
    }
}

fn crashed() -> Error {
    Error::Generic {
        store: STORE,
        source: "the client has crashed".into(),
    }
}
