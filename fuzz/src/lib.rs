//! What is fuzzed: one function for each kind of bytes that come from a store
//! or a stranger. It must not panic, and what it accepts must be what was written.
//!
//! The functions are called by the targets in `targets/`, and with the inputs of
//! `corpus/` by the ordinary tests (`tests/tests/fuzz_corpus.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is what fuzzing looks for"
)]

use data_encoding::HEXLOWER;
use futures_util::TryStreamExt;
use kluis::object_store::memory::InMemory;
use kluis::object_store::path::Path;
use kluis::object_store::{ObjectStore, ObjectStoreExt};
use kluis::{Address, Invitation, Link, VaultOptions};
use kluis_crypto::{
    CHUNK_LENGTH, Card, Credential, DecodedSegment, DeviceKey, Entry, GrantFile, HEADER_LENGTH,
    Header, Identity, IdentityFile, KdfCeiling, Layout, Ledger, LinkFragment, Opener, OwnersCopy,
    Password, Pins, RecoveryKit, RecoveryPhrase, SEALED_CHUNK_LENGTH, SealedLink, Share,
    TAG_LENGTH, VaultId, VaultPath, VaultSecrets,
};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("address", address),
    ("card", card),
    ("entry", entry),
    ("grant", grant),
    ("header", header),
    ("identity", identity),
    ("kit", kit),
    ("link", link),
    ("name", name),
    ("object", object),
    ("pins", pins),
    ("sealed", sealed),
    ("vault", vault),
];

/// The objects of the sample vault. The content of each is a [`pattern`].
pub const OBJECTS: [(&str, usize); 4] = [
    ("empty", 0),
    ("folder/note", 100),
    ("folder/two chunks", CHUNK_LENGTH + 50),
    (LONG, 1),
];

/// A name so long that it is stored beside its object.
pub const LONG: &str = "a name that is longer than the names that stores allow, once it is \
    encrypted, so that a hash stands in its place and an object beside it holds the name";

/// Where the sample's pins were kept, and under which key.
pub const DEVICE: (&str, [u8; 32]) = ("file:///vault", [7; 32]);

/// The content of an object of the sample vault.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// A vault with a known recovery phrase, made by `examples/seeds.rs`.
struct Sample {
    phrase: String,
    /// What lies in the store.
    records: BTreeMap<String, Vec<u8>>,
    header: Header,
    secrets: VaultSecrets,
    ledger: Ledger,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let mut lines = include_str!("../vault.txt").lines();
    let phrase = lines.next().expect("a phrase").to_owned();
    let record = |line: &str| {
        let (path, hex) = line.split_once(' ').expect("a path and bytes");
        let bytes = HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal");
        (path.to_owned(), bytes)
    };
    let records: BTreeMap<_, _> = lines.map(record).collect();
    let header = Header::parse(&records["kluis.vault"]).expect("the header");
    let (secrets, _) = header
        .open(&credential(&phrase), KdfCeiling::default())
        .expect("the phrase opens it");
    let entries: Vec<_> = records
        .values()
        .filter_map(|record| Entry::parse(record, &header.vault(), header.authorities()).ok())
        .collect();
    let head = entries.iter().map(Entry::position).max();
    let ledger = Ledger::read(head.expect("an entry"), entries, &header, &secrets);
    Sample {
        phrase,
        records,
        ledger: ledger.expect("the ledger"),
        header,
        secrets,
    }
});

impl Sample {
    fn wrote(&self, record: &[u8]) -> bool {
        self.records.values().any(|known| known == record)
    }
}

fn credential(phrase: &str) -> Credential {
    RecoveryPhrase::parse(phrase).expect("a phrase").into()
}

/// A vault header.
pub fn header(data: &[u8]) {
    let Ok(header) = Header::parse(data) else {
        return;
    };
    assert_eq!(header.as_bytes(), data, "one encoding");
    if header.reopen(&SAMPLE.secrets).is_ok() {
        assert!(SAMPLE.wrote(data), "not a header of this vault");
    }
}

/// A ledger entry.
pub fn entry(data: &[u8]) {
    let header = &SAMPLE.header;
    if Entry::parse(data, &header.vault(), header.authorities()).is_ok() {
        assert!(SAMPLE.wrote(data), "not an entry of this vault");
    }
}

/// An object, whole and in part. The first three bytes say where it is said to
/// lie and which chunks are read of it.
pub fn object(data: &[u8]) {
    let Some(([place, first, count], stored)) = data.split_first_chunk() else {
        return;
    };
    let (path, length) = OBJECTS[usize::from(*place) % OBJECTS.len()];
    let path = VaultPath::parse(path).expect("a path");
    let (vault, suite) = (SAMPLE.header.vault(), SAMPLE.header.suite());
    let Ok(layout) = Layout::of_stored(suite, stored.len() as u64) else {
        return;
    };
    let length_said = layout.plaintext_length();
    let (head, chunks) = stored.split_first_chunk::<HEADER_LENGTH>().expect("long");
    let Ok(opener) = Opener::new(head, &vault, suite, SAMPLE.ledger.tree(), &path) else {
        return;
    };
    opener.metadata(None).expect("an authentic header");

    let written = pattern(length);
    let whole = open(&opener, 0, chunks);
    if let Some(text) = &whole {
        assert_eq!(text.len() as u64, length_said);
        assert_eq!(opener.true_length(length_said, None), Ok(length as u64));
        assert_eq!(*text, written);
    }

    let all = chunks.len().div_ceil(SEALED_CHUNK_LENGTH);
    let first = usize::from(*first) % all;
    let behind = all.min(first + 1 + usize::from(*count));
    let offset = |chunk: usize| {
        let offset = layout.chunk(chunk as u64).start as usize - HEADER_LENGTH;
        offset.min(chunks.len())
    };
    if let Some(text) = open(&opener, first, &chunks[offset(first)..offset(behind)]) {
        let start = first * CHUNK_LENGTH;
        assert_eq!(text, written[start..start + text.len()]);
    } else {
        assert!(whole.is_none(), "a part of what can be read");
    }
}

fn open(opener: &Opener, first: usize, chunks: &[u8]) -> Option<Vec<u8>> {
    let tags = chunks.len().div_ceil(SEALED_CHUNK_LENGTH) * TAG_LENGTH;
    let mut text = vec![0; chunks.len().checked_sub(tags)?];
    opener.open(first as u64, chunks, &[], &mut text).ok()?;
    Some(text)
}

/// A name in the store, the object beside a long one, and a path of the user's.
pub fn name(data: &[u8]) {
    let names = SAMPLE.ledger.tree().names(None).unwrap();
    let (stored, beside) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let Ok(stored) = str::from_utf8(stored) else {
        return;
    };
    if let DecodedSegment::Name(name) = names.decrypt(stored) {
        assert_eq!(names.encrypt(&name).name, stored, "one encoding");
    }
    if let Ok(name) = names.decrypt_long(stored, beside) {
        let long = names.encrypt(&name);
        assert_eq!(long.name, stored, "one encoding");
        assert_eq!(long.long_name.as_deref(), Some(beside), "one encoding");
    }

    let Ok(path) = VaultPath::parse(stored) else {
        return;
    };
    assert_eq!(path.as_str(), stored);
    let Ok(place) = SAMPLE.ledger.tree().store_path(&path) else {
        return;
    };
    let mut names = names;
    let mut beside = place.long_names.iter();
    let segments = place.path.split('/').skip(1);
    assert_eq!(segments.clone().count(), path.segments().count());
    for (stored, segment) in segments.zip(path.segments()) {
        let decrypted = match names.decrypt(stored) {
            DecodedSegment::Name(name) => name,
            DecodedSegment::Long => {
                let (_, record) = beside.next().expect("the object beside it");
                names.decrypt_long(stored, record).expect("a long name")
            }
            _ => panic!("the name of {segment:?} is foreign"),
        };
        assert_eq!(decrypted, segment);
        names = names.child(segment);
    }
}

/// The address of a vault.
pub fn address(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(address) = text.parse::<Address>() else {
        return;
    };
    let shown = address.to_string();
    assert_eq!(shown.parse::<Address>().expect("an address"), address);
    assert!(!shown.chars().any(char::is_control), "on a screen");
}

/// A recovery kit.
pub fn kit(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(kit) = RecoveryKit::parse(text) else {
        return;
    };
    assert_eq!(RecoveryKit::parse(&kit.to_string()), Ok(kit.clone()));
    kit.entries().for_each(entry);
    header(kit.header().as_bytes());
}

/// The pins of a device.
pub fn pins(data: &[u8]) {
    let (address, key) = DEVICE;
    let key = DeviceKey::from_bytes(&key).expect("a key");
    if let Ok(pins) = Pins::open(data, &key, address) {
        assert_eq!(pins.vault, SAMPLE.header.vault());
    }
}

/// Any bytes in the place of any record: the first byte says which. Nothing but
/// what was written is read, and nothing that was written is lost.
pub fn vault(data: &[u8]) {
    if let Some((which, record)) = data.split_first() {
        let which = usize::from(*which) % SAMPLE.records.len();
        let replaced = SAMPLE.records.keys().nth(which).expect("a record");
        read_vault(replaced, record);
    }
}

/// The sample as it was written, without which the other inputs lead nowhere.
///
/// # Panics
/// Unless every object of it is read, and every link.
pub fn sample() {
    assert_eq!(read_vault("", &[]), OBJECTS.len());
    for (fragment, record) in LINKS.iter() {
        assert!(SealedLink::parse(fragment, record).is_ok(), "a link");
    }
}

/// Reads the sample vault with one record replaced, and says how many objects
/// were read.
fn read_vault(replaced: &str, bytes: &[u8]) -> usize {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.build().expect("a runtime")
    });
    RUNTIME.block_on(async {
        let store = Arc::new(InMemory::new());
        for (path, record) in &SAMPLE.records {
            let record = if path == replaced { bytes } else { record };
            let path = Path::parse(path).expect("a path");
            let put = store.put(&path, record.to_vec().into()).await;
            put.expect("memory");
        }
        let read = read_objects(store.clone()).await;
        let after: Vec<_> = store.list(None).try_collect().await.expect("memory");
        assert!(after.len() >= SAMPLE.records.len(), "a record is gone");
        for (path, record) in &SAMPLE.records {
            let stored = store.get(&Path::parse(path).expect("a path")).await;
            let stored = stored.expect("memory").bytes().await.expect("memory");
            // It stays what the provider made of it, or is mended.
            let kept = stored == record || path == replaced && stored == bytes;
            // A claim that no entry stands behind counts as absent.
            let absent = path.starts_with("k/l/") && replaced.starts_with(path);
            assert!(kept || absent, "{path} was overwritten");
        }
        read
    })
}

async fn read_objects(store: Arc<dyn ObjectStore>) -> usize {
    let options = VaultOptions::new().id(SAMPLE.header.vault());
    let Ok(vault) = options.open(store, credential(&SAMPLE.phrase)).await else {
        return 0;
    };
    let mut read = 0;
    for (path, length) in OBJECTS {
        if let Ok(object) = vault.get(path).await
            && let Ok(content) = object.bytes().await
        {
            assert_eq!(content, pattern(length), "{path}");
            read += 1;
        }
    }
    let listed: Result<Vec<_>, _> = vault.list(None).try_collect().await;
    for object in listed.unwrap_or_default() {
        let mut paths = OBJECTS.iter().map(|(path, _)| *path);
        assert!(
            paths.any(|path| path == object.location.as_ref()),
            "{}",
            object.location
        );
    }
    read
}

/// The password of the sample identity, and where the sample was sealed to it.
pub const IDENTITY_PASSWORD: &str = "a password";
pub const SEALED_PLACE: &[u8] = b"place";

/// The vault for which it was sealed.
pub fn sealed_vault() -> VaultId {
    "00".repeat(16).parse().expect("an id")
}

/// Made by `examples/identities.rs`.
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let file = IdentityFile::parse(include_str!("../identity.txt")).expect("a file");
    let opened = file.open(&Password::new(IDENTITY_PASSWORD), KdfCeiling::default());
    opened.expect("the password opens it")
});

/// A card, to which something can be sealed if it is one.
pub fn card(data: &[u8]) {
    let Ok(card) = Card::parse(data) else {
        return;
    };
    assert_eq!(card.as_bytes(), data, "one encoding");
    assert_eq!(Card::from_armor(&card.to_armor()), Ok(card.clone()));
    let words = card.fingerprint().to_string();
    assert_eq!(words.parse(), Ok(card.fingerprint()));
    card.seal(&sealed_vault(), SEALED_PLACE, b"x")
        .expect("its keys are sound");
}

/// An identity file, and the texts of a card and of a grant.
pub fn identity(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(found) = Card::from_armor(text) {
        card(found.as_bytes());
    }
    if let Ok(file) = IdentityFile::parse(text) {
        assert_eq!(IdentityFile::parse(&file.to_armor()), Ok(file.clone()));
        card(file.card().as_bytes());
    }
    if let Ok(file) = GrantFile::from_armor(text) {
        assert_eq!(GrantFile::from_armor(&file.to_armor()), Ok(file.clone()));
        assert!(!file.address().chars().any(char::is_control), "on a screen");
        // Whose letter it is has to be found out by opening it.
        let opened = Share::open(&IDENTITY, &file.vault(), &file.name(), file.letter());
        assert!(opened.is_err(), "not a letter to the sample");
        let _ = Invitation::of_file(&file);
    }
}

/// What is said to be sealed to the sample identity.
pub fn sealed(data: &[u8]) {
    if let Ok(opened) = IDENTITY.open(&sealed_vault(), SEALED_PLACE, data) {
        assert_eq!(*opened, pattern(opened.len()), "not what was sealed");
    }
}

/// What a stranger seals to the sample identity as the first letter of a grant: a
/// card, a signed statement and a tree. None of them knows the sample's vault.
pub fn grant(data: &[u8]) {
    let name = "00".repeat(16).parse().expect("a name");
    let place = [0; 16];
    let sealed = IDENTITY.card().seal(&sealed_vault(), &place, data);
    let letter = [&b"KLG1"[..], &sealed.expect("its keys are sound")].concat();
    let found = Share::open(&IDENTITY, &sealed_vault(), &name, &letter);
    assert!(found.is_err(), "not a letter for this vault");
    // And as it lies in the store.
    assert!(Share::open(&IDENTITY, &sealed_vault(), &name, data).is_err());
    // And as what an owner gets of a grant that was given on.
    let place = [&place[..], b"copy"].concat();
    let sealed = IDENTITY.card().seal(&sealed_vault(), &place, data);
    let grantor = IDENTITY.card().fingerprint();
    let file = GrantFile::new("memory:", sealed_vault(), name, grantor, b"letter");
    if let Ok(file) = file
        .expect("sound")
        .with_copy(&sealed.expect("its keys are sound"))
    {
        assert!(OwnersCopy::open(&IDENTITY, &sealed_vault(), &file).is_err());
    }
}

/// Links to a folder and to an object, by URLs that the store signed, and their records.
/// Made by `examples/links.rs`.
static LINKS: LazyLock<Vec<(LinkFragment, Vec<u8>)>> = LazyLock::new(|| {
    let links = include_str!("../link.txt").lines().map(|line| {
        let (url, record) = line.split_once(' ').expect("a URL and a record");
        let (_, fragment) = url.split_once('#').expect("a fragment");
        let record = HEXLOWER.decode(record.as_bytes()).expect("hexadecimal");
        (fragment.parse().expect("a fragment"), record)
    });
    links.collect()
});

/// The URL of a link from a stranger; and, behind a byte that says for which of the sample's
/// links, what lies in the place of its record.
pub fn link(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(link) = text.parse::<Link>()
    {
        let whole = link.expose();
        let again: Link = whole.parse().expect("a link");
        assert_eq!(again.expose(), whole, "one text");
        assert_ne!(link.address().is_some(), link.signed_url().is_some());
        let (_, fragment) = whole.split_once('#').expect("a fragment");
        assert!(!format!("{link:?}").contains(fragment), "not printed");
    }
    let Some((which, record)) = data.split_first() else {
        return;
    };
    let (fragment, right) = &LINKS[usize::from(*which) % LINKS.len()];
    if let Ok(sealed) = SealedLink::parse(fragment, record) {
        assert_eq!(record, right, "the vault's authority did not sign it");
        let opened = sealed.open(None, KdfCeiling::default()).expect("its own");
        let urls = opened.tree().object().map_or(0, |_| 1);
        assert_eq!(opened.objects().len(), urls);
    }
}
