//! What the tests of several modules need.

use crate::ledger::{Appended, Decision};
use crate::{
    Credential, Entry, Header, IdentitySuite, KdfParams, Ledger, Password, RecordHash,
    RecoveryPhrase, Suite, VaultSecrets, bundle_path, make_slot,
};

/// The cheapest Argon2id that the limits allow.
pub(crate) fn cheap() -> KdfParams {
    KdfParams::new(19 << 10, 2).unwrap()
}

/// A credential that costs no Argon2 run.
pub(crate) fn phrase(byte: u8) -> Credential {
    RecoveryPhrase::init_with(|key| *key = [byte; 32]).into()
}

pub(crate) fn password(text: &str) -> Credential {
    Password::new(text).into()
}

pub(crate) const SUITES: [IdentitySuite; 2] = [IdentitySuite::XWing, IdentitySuite::X25519];

/// A vault as its owner holds it.
pub(crate) struct Vault {
    pub(crate) secrets: VaultSecrets,
    pub(crate) headers: Vec<Header>,
    pub(crate) entries: Vec<Entry>,
    /// What entries brought along, by its path.
    pub(crate) records: Vec<(String, Vec<u8>)>,
}

impl Vault {
    pub(crate) fn make(padded: bool, credential: &Credential) -> Self {
        Self::make_in(Suite::V1, padded, credential)
    }

    pub(crate) fn make_in(suite: Suite, padded: bool, credential: &Credential) -> Self {
        let secrets = VaultSecrets::make(0).unwrap();
        let entry = Entry::first(&secrets, suite, padded, 1_000).unwrap();
        let slot = make_slot(&secrets, credential, cheap(), 1_001).unwrap();
        let header = Header::first(&secrets, suite, entry.position(), slot, 1_002).unwrap();
        Self {
            secrets,
            headers: vec![header],
            entries: vec![entry],
            records: Vec::new(),
        }
    }

    pub(crate) fn header(&self) -> &Header {
        self.headers.last().unwrap()
    }

    pub(crate) fn head(&self) -> &Entry {
        self.entries.last().unwrap()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.read().unwrap()
    }

    /// Reads the window, as a client does.
    pub(crate) fn read(&self) -> crate::Result<Ledger> {
        let head = self.head().position();
        let start = Ledger::window_start(head.sequence) as usize;
        let entries = self.entries[start..].iter().cloned();
        Ledger::read(head, entries, self.header(), &self.secrets)
    }

    pub(crate) fn append(&mut self) {
        let now = 2_000 + self.entries.len() as u64;
        let next = self.ledger().catch_up(self.header(), &self.secrets, now);
        self.entries.push(next.unwrap());
    }

    /// Appends an entry that decides this, as the owner's client does.
    pub(crate) fn decide(&mut self, decision: Decision) -> crate::Result<Appended> {
        let now = 2_000 + self.entries.len() as u64;
        let ledger = self.ledger();
        let appended = ledger.next(self.header(), &self.secrets, now, decision)?;
        self.entries.push(appended.entry.clone());
        self.records.extend(appended.records.iter().cloned());
        Ok(appended)
    }

    /// The bundle with this hash, as the store has it.
    pub(crate) fn bundle(&self, hash: RecordHash) -> &[u8] {
        let at = bundle_path(hash);
        let mut records = self.records.iter();
        &records.find(|record| record.0 == at).unwrap().1
    }

    /// Another header with these slots, which the ledger does not name yet.
    pub(crate) fn change_slots(&mut self, credentials: &[Credential]) {
        let slots = credentials
            .iter()
            .map(|c| make_slot(&self.secrets, c, cheap(), 3_000).unwrap())
            .collect();
        let head = self.head().position();
        let next = self.header().next(&self.secrets, head, slots, 3_001);
        self.headers.push(next.unwrap());
    }

    /// A root rotation, of which the ledger does not know yet.
    pub(crate) fn rotate(&mut self, credentials: &[Credential]) {
        let secrets = self.secrets.rotated(0).unwrap();
        let slots = credentials
            .iter()
            .map(|c| make_slot(&secrets, c, cheap(), 3_000).unwrap())
            .collect();
        let head = self.head().position();
        let next = self
            .header()
            .rotated(&self.secrets, &secrets, head, slots, 3_001);
        self.headers.push(next.unwrap());
        self.secrets = secrets;
    }
}

/// Every string that differs from this one in one bit.
pub(crate) fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    (0..8 * bytes.len()).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        (bit / 8, changed)
    })
}

/// Byte i is (7·i + 3) mod 256.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (7 * i + 3) as u8).collect()
}
