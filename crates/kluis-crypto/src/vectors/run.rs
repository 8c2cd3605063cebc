//! Runs one case, as the second implementation does.

use super::{File, field, hex};
use crate::authority::Authorities;
use crate::cbor::Record;
use crate::cbor::tests::Any;
use crate::collection::{Collection, ContentKey, Epoch, NameKey};
use crate::credential::stretch;
use crate::kdf::Label;
use crate::kem::KemSeed;
use crate::layout::Layout;
use crate::ledger::OwnerKey;
use crate::message::{self, Place};
use crate::object::tests::get;
use crate::padding::padme;
use crate::testing::pattern;
use crate::*;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

type Fields = Vec<(String, Value)>;
type Outcome = std::result::Result<Fields, &'static str>;

fn class(error: Error) -> &'static str {
    match error {
        Error::Tampered => "tampered",
        Error::WrongCredentials => "wrong_credentials",
        Error::UnsupportedFormat(_) => "unsupported_format",
        Error::LimitExceeded(_) => "limit_exceeded",
        Error::InvalidInput(_) => "invalid_input",
        Error::Stale(_) => "stale",
        Error::Forked(_) => "forked",
        Error::Randomness => "randomness",
        Error::NotFound(_) => "not_found",
        Error::UntrustedIdentity => "untrusted_identity",
        Error::AccessDenied(_) => "access_denied",
    }
}

/// The inputs of a case.
pub(super) struct Case<'a> {
    file: &'a File,
    fields: &'a [(String, Value)],
}

impl Case<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        field(self.fields, name).or_else(|| field(&self.file.defaults, name))
    }

    fn raw(&self, name: &str) -> &Value {
        self.get(name).unwrap_or_else(|| panic!("no field {name}"))
    }

    fn number(&self, name: &str) -> u64 {
        self.raw(name).as_u64().unwrap()
    }

    fn text(&self, name: &str) -> &str {
        self.raw(name).as_str().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.resolve(self.raw(name), name)
    }

    fn fixed<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn vault(&self) -> VaultId {
        VaultId(self.fixed("vault_id"))
    }

    fn resolve(&self, value: &Value, name: &str) -> Vec<u8> {
        if let Some(hex) = value.as_str() {
            return HEXLOWER.decode(hex.as_bytes()).unwrap();
        }
        if let Some(length) = value.get("pattern") {
            return pattern(length.as_u64().unwrap() as usize);
        }
        let other = value["case"].as_str().unwrap();
        let found = |case: &&Vec<_>| field(case, "name") == Some(&json!(other));
        let fields = self.file.cases.iter().find(found);
        let name = value.get("field").map_or(name, |f| f.as_str().unwrap());
        let file = self.file;
        let case = Case {
            file,
            fields: fields.unwrap_or_else(|| panic!("no case {other}")),
        };
        let mut data = case.bytes(name);
        for edit in value
            .get("edits")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            data = self.edited(data, edit);
        }
        data
    }

    fn edited(&self, mut data: Vec<u8>, edit: &Value) -> Vec<u8> {
        let place = |name: &str| {
            let at = edit.get(name).map_or(0, |at| at.as_i64().unwrap());
            (if at < 0 { at + data.len() as i64 } else { at }) as usize
        };
        let at = place("at");
        if let Some(more) = edit.get("append") {
            data.extend(self.resolve(more, ""));
        } else if let Some(more) = edit.get("insert") {
            data.splice(at..at, self.resolve(more, ""));
        } else if edit.get("cut").is_some() {
            data.truncate(place("cut"));
        } else if let Some(count) = edit.get("remove") {
            data.drain(at..at + count.as_u64().unwrap() as usize);
        } else if let Some(count) = edit.get("swap") {
            let with = place("with");
            for i in 0..count.as_u64().unwrap() as usize {
                data.swap(at + i, with + i);
            }
        } else if let Some(mask) = edit.get("xor") {
            for (i, byte) in self.resolve(mask, "").into_iter().enumerate() {
                data[at + i] ^= byte;
            }
        } else {
            for (i, byte) in self.resolve(&edit["put"], "").into_iter().enumerate() {
                data[at + i] = byte;
            }
        }
        data
    }

    fn paths(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let files = self.get(name).and_then(Value::as_object);
        let files = files.into_iter().flatten();
        files
            .map(|(path, data)| (path.clone(), self.resolve(data, path)))
            .collect()
    }

    fn authorities(&self) -> Authorities {
        let list = self.raw("authorities").as_array().unwrap().iter();
        let list: Vec<_> = list
            .map(|a| {
                let key = self.resolve(&a[0], "");
                (key.try_into().unwrap(), a[1].as_u64().unwrap())
            })
            .collect();
        Authorities::unverified(&list)
    }

    fn owners(&self) -> VaultSecrets {
        let owners = self.raw("owner_keys").as_array().unwrap().iter();
        let owners = owners
            .map(|owner| {
                let owner = self.resolve(owner, "");
                OwnerKey::init_with(|key| key.copy_from_slice(&owner))
            })
            .collect();
        VaultSecrets::of_owners(self.vault(), owners)
    }
}

fn bytes_of(credential: &Value, name: &str) -> Vec<u8> {
    let hex = credential[name].as_str().unwrap();
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn password(bytes: &[u8]) -> Result<Password> {
    std::str::from_utf8(bytes)
        .map(Password::new)
        .map_err(|_| Error::invalid("not UTF-8"))
}

fn credential(value: &Value) -> Result<Credential> {
    let get = |name| bytes_of(value, name);
    Ok(match value["kind"].as_str().unwrap() {
        "password" => password(&get("password"))?.into(),
        "password_keyfile" => Credential::PasswordAndKeyfile(
            password(&get("password"))?,
            Keyfile::from_bytes(&get("keyfile"))?,
        ),
        "recovery_phrase" => RecoveryPhrase::parse(value["phrase"].as_str().unwrap())?.into(),
        "identity" => Arc::new(Identity::from_secret_bytes(&get("secrets"))?).into(),
        other => panic!("{other}"),
    })
}

fn out(fields: &[(&str, Value)]) -> Fields {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// Long outputs are told by their hash.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() <= 64 {
        hex(bytes)
    } else if bytes == pattern(bytes.len()) {
        json!({ "pattern": bytes.len() })
    } else {
        json!({ "sha256": hex(&Sha256::digest(bytes)), "length": bytes.len() })
    }
}

pub(super) fn run(file: &File, op: &str, fields: &[(String, Value)]) -> Outcome {
    let case = Case { file, fields };
    match (file.name, op) {
        ("kdf", "kdf") => kdf(&case),
        ("kdf", "argon2id") => argon2id(&case),
        ("kdf", "object_keys") => Ok(object_keys(&case)),
        ("kdf", "record") => record(&case),
        ("kdf", "cbor") => Any::decode(&case.bytes("cbor")).map(|_| Vec::new()),
        ("passwords", "normalize") => password(&case.bytes("password"))
            .and_then(|password| Ok(out(&[("output", hex(&password.normalized()?))]))),
        ("passwords", "phrase") => RecoveryPhrase::parse(case.text("phrase"))
            .map(|phrase| out(&[("output", hex(phrase.expose_secret()))])),
        ("passwords", "keyfile") => Keyfile::from_bytes(&case.bytes("keyfile")).map(|_| Vec::new()),
        ("slots", "open") => slot(&case),
        ("header", "read") => header(&case),
        ("header", "choose") => choose(&case),
        ("ledger", "entry") => entry(&case),
        ("ledger", "chain") => chain(&case),
        ("grants", "entry") => entry_position(&case),
        ("grants", "open") => share(&case).map(|share| share_fields(&share)),
        ("grants", "follow") => follow(&case).map(|share| share_fields(&share)),
        ("groups", "open") => in_group(&case).map(|share| share_fields(&share)),
        ("grants" | "signed", "object") => {
            follow(&case).and_then(|share| shared_object(&case, &share))
        }
        ("chains", "open") => in_group(&case).map(|share| chain_fields(&share)),
        ("chains", "object") => in_group(&case).and_then(|share| shared_object(&case, &share)),
        ("chains", "copy") => owners_copy(&case),
        ("groups", "object") => in_group(&case).and_then(|share| shared_object(&case, &share)),
        ("grants", "file") => GrantFile::from_armor(case.text("text")).map(|file| {
            out(&[
                ("address", json!(file.address())),
                ("vault_id", hex(file.vault().as_bytes())),
                ("letter_name", hex(&file.name().0)),
                ("grantor", hex(file.grantor().as_bytes())),
                ("letter", hex(file.letter())),
            ])
        }),
        ("names", "seal") => seal_names(&case),
        ("links", "open") => link(&case).map(|(link, _)| link_fields(&link)),
        ("links", "object") => linked_object(&case),
        ("names", "open") => return open_names(&case),
        ("objects", "open") => object(&case),
        ("padding", "padme") => Ok(out(&[("padded", json!(padme(case.number("length"))))])),
        ("lengths", _) => lengths(&case, op),
        ("kit", "read") => RecoveryKit::parse(case.text("kit")).map(|kit| {
            let entries: Vec<_> = kit.entries().map(hex).collect();
            out(&[
                ("header", hex(kit.header().as_bytes())),
                ("entries", json!(entries)),
            ])
        }),
        ("identity", "card") => Card::parse(&case.bytes("card")).map(|card| card_fields(&card)),
        ("identity", "armor") => {
            Card::from_armor(case.text("text")).map(|card| out(&[("card", hex(card.as_bytes()))]))
        }
        ("identity", "fingerprint") => case
            .text("words")
            .parse()
            .map(|found: Fingerprint| out(&[("fingerprint", hex(found.as_bytes()))])),
        ("identity", "secrets") => Identity::from_secret_bytes(&case.bytes("secrets"))
            .map(|identity| out(&[("card", hex(identity.card().as_bytes()))])),
        ("identity", "export") => export(&case),
        ("identity", "open") => grant(&case),
        ("identity", "file") => identity_file(&case),
        (file, op) => panic!("{file} {op}"),
    }
    .map_err(class)
}

fn kdf(case: &Case<'_>) -> Result<Fields> {
    let contexts = case.get("contexts").and_then(Value::as_array);
    let contexts: Vec<Vec<u8>> = contexts
        .into_iter()
        .flatten()
        .map(|context| case.resolve(context, ""))
        .collect();
    let contexts: Vec<&[u8]> = contexts.iter().map(Vec::as_slice).collect();
    let label = Label::find(case.text("label")).unwrap();
    let mut output = [0; 32];
    crate::kdf::derive(&case.fixed("key"), label, &contexts, &mut output);
    Ok(out(&[("output", hex(&output))]))
}

fn argon2id(case: &Case<'_>) -> Result<Fields> {
    let [m, t, p] = ["m", "t", "p"].map(|n| u32::try_from(case.number(n)).unwrap_or(u32::MAX));
    let params = KdfParams::from_stored(m, t, p)?;
    let password = Password::from_bytes(&case.bytes("password"));
    let kek = stretch(&password, &case.fixed("salt"), params)?;
    Ok(out(&[("output", hex(kek.expose_secret()))]))
}

fn object_keys(case: &Case<'_>) -> Fields {
    let path = case.raw("path").as_array().unwrap();
    let path: Vec<&str> = path.iter().map(|s| s.as_str().unwrap()).collect();
    let mut names = vec![NameKey::init_with(|key| *key = case.fixed("nk"))];
    let mut contents = vec![ContentKey::init_with(|key| *key = case.fixed("ck"))];
    let vault_path = VaultPath::parse(&path.join("/")).unwrap();
    let ik = contents[0].object_key(&vault_path);
    for folder in &path[..path.len() - 1] {
        let context: [&[u8]; 1] = [folder.as_bytes()];
        let name = names.last().unwrap().expose_secret();
        names.push(NameKey::derive(name, Label::DIR, &context));
        let content = contents.last().unwrap().expose_secret();
        contents.push(ContentKey::derive(content, Label::SUB, &context));
    }
    let mut mk = [0; 32];
    let salt: [u8; 24] = case.fixed("salt");
    crate::kdf::derive(ik.expose_secret(), Label::MESSAGE, &[&salt], &mut mk);
    let names: Vec<_> = names.iter().map(|k| hex(k.expose_secret())).collect();
    let contents: Vec<_> = contents.iter().map(|k| hex(k.expose_secret())).collect();
    out(&[
        ("name_keys", json!(names)),
        ("content_keys", json!(contents)),
        ("ik", hex(ik.expose_secret())),
        ("mk", hex(&mk)),
    ])
}

fn record(case: &Case<'_>) -> Result<Fields> {
    let place = Place {
        kind: case.text("kind").to_owned().leak(),
        vault: &case.vault(),
        place: &case.bytes("place"),
    };
    let plaintext = message::open(&case.fixed("key"), &place, &case.bytes("sealed"))?;
    Ok(out(&[("plaintext", long(&plaintext))]))
}

fn slot(case: &Case<'_>) -> Result<Fields> {
    let slot = Slot::decode(&case.bytes("slot"))?;
    let vault = case.vault();
    let given = case.raw("credential");
    let kek = if given["kind"] == "keychain_secret" {
        if slot.kind() != SlotKind::Keychain {
            return Err(Error::WrongCredentials);
        }
        slot.keychain_kek(&bytes_of(given, "secret").try_into().unwrap(), &vault)
    } else {
        let credential = credential(given)?;
        // What applications call.
        slot.open(&credential, &vault, KdfCeiling::default())?;
        slot.kek(&credential, &vault)?
    };
    let root = slot.unwrap(&kek, &vault)?;
    Ok(out(&[
        ("kek", hex(kek.expose_secret())),
        ("root_key", hex(root.expose_secret())),
    ]))
}

fn header(case: &Case<'_>) -> Result<Fields> {
    let header = Header::parse(&case.bytes("header"))?;
    if case.get("vault_id").is_some() && case.vault() != header.vault() {
        return Err(Error::Tampered);
    }
    let (previous, time, _) = header.fields();
    let mut fields = out(&[
        ("hash", hex(header.position().hash.as_bytes())),
        ("suite", json!(header.suite().number())),
        ("sequence", json!(header.position().sequence)),
        (
            "previous",
            hex(previous.as_ref().map_or(&[], |h| &h.as_bytes()[..])),
        ),
        ("time", json!(time)),
        ("ledger_sequence", json!(header.ledger().sequence)),
        ("ledger_hash", hex(header.ledger().hash.as_bytes())),
        ("authority", hex(header.authorities().current())),
    ]);
    if let Some(given) = case.get("credential") {
        let (secrets, _) = header.open(&credential(given)?, KdfCeiling::default())?;
        let owners: Vec<_> = secrets
            .owners()
            .iter()
            .map(|k| hex(k.expose_secret()))
            .collect();
        fields.extend(out(&[
            ("root_key", hex(secrets.root().expose_secret())),
            ("authority_seed", hex(secrets.authority().expose_secret())),
            ("state_key", hex(secrets.state().expose_secret())),
            ("owner_keys", json!(owners)),
        ]));
    }
    Ok(fields)
}

fn card_fields(card: &Card) -> Fields {
    let keys = card.keys();
    let replaces = card.replaces().map_or(json!([]), |replaced| {
        json!([hex(replaced.fingerprint().as_bytes()), hex(replaced.key())])
    });
    out(&[
        ("suite", json!(card.suite().number())),
        ("signing_key", hex(&keys.signing)),
        ("sealing_key", long(&keys.sealing)),
        ("created", json!(card.created())),
        ("replaces", replaces),
        ("fingerprint", hex(card.fingerprint().as_bytes())),
        ("words", json!(card.fingerprint().to_string())),
        ("hash", hex(card.hash().as_bytes())),
    ])
}

fn export(case: &Case<'_>) -> Result<Fields> {
    let suite = IdentitySuite::from_number(case.number("suite"))?;
    let seed = KemSeed::init_with(|seed| *seed = case.fixed("seed"));
    let exported = suite.decapsulate(&seed, &case.bytes("enc"), &case.bytes("info"))?;
    Ok(out(&[
        ("sealing_key", long(&suite.public_key(&seed)?)),
        ("exported", hex(exported.expose_secret())),
    ]))
}

fn grant(case: &Case<'_>) -> Result<Fields> {
    let identity = Identity::from_secret_bytes(&case.bytes("secrets"))?;
    let plaintext = identity.open(&case.vault(), &case.bytes("place"), &case.bytes("sealed"))?;
    Ok(out(&[("plaintext", long(&plaintext))]))
}

fn identity_file(case: &Case<'_>) -> Result<Fields> {
    let file = IdentityFile::parse(case.text("text"))?;
    let mut fields = out(&[("card", hex(file.card().as_bytes()))]);
    if case.get("password").is_some() {
        let password = password(&case.bytes("password"))?;
        let identity = file.open(&password, KdfCeiling::default())?;
        fields.extend(out(&[("secrets", hex(&identity.to_secret_bytes()))]));
    }
    Ok(fields)
}

/// (sequence, hash) of every claim, the highest first.
fn claims(store: &BTreeMap<String, Vec<u8>>, folder: &str) -> Vec<Position> {
    let claims = store.iter().filter_map(|(path, data)| {
        let name = path.strip_prefix(folder)?.strip_prefix('/')?;
        let sequence = (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok())??;
        let hash = RecordHash::from_bytes(data)?;
        Some(Position { sequence, hash })
    });
    let mut claims: Vec<_> = claims.collect();
    claims.sort();
    claims.reverse();
    claims
}

fn stored<'a>(
    store: &'a BTreeMap<String, Vec<u8>>,
    folder: &str,
    at: &Position,
) -> Option<&'a [u8]> {
    let data = store.get(&format!("{folder}/{:016x}-{}", at.sequence, at.hash))?;
    (RecordHash::of(data) == at.hash).then_some(data)
}

/// docs/FORMAT.md, section 3, Reading: what the crate `kluis` does with a store.
fn choose(case: &Case<'_>) -> Result<Fields> {
    let store = case.paths("store");
    let claims = claims(&store, "k/h");
    let mut found = Vec::new();
    let mut failure = None;
    for copy in ["kluis.vault", "k/header"] {
        match store.get(copy).map(|data| Header::parse(data)) {
            Some(Ok(header)) => found.push(header),
            Some(Err(error)) => failure = failure.or(Some(error)),
            None => {}
        }
    }
    let claimed = claims.iter().find_map(|claim| {
        let header = Header::parse(stored(&store, "k/h", claim)?).ok()?;
        (header.position() == *claim).then_some(header)
    });
    found.extend(claimed);
    if found.iter().any(|header| header.vault() != case.vault()) {
        return Err(Error::Tampered);
    }
    let chosen = found
        .iter()
        .max_by_key(|h| (h.position().sequence, claims.contains(&h.position())))
        .ok_or(failure.unwrap_or(Error::Tampered))?;
    Ok(out(&[("hash", hex(chosen.position().hash.as_bytes()))]))
}

fn entry(case: &Case<'_>) -> Result<Fields> {
    let entry = Entry::parse(&case.bytes("entry"), &case.vault(), &case.authorities())?;
    let secrets = case.owners();
    entry.actions(&secrets)?;
    let parts: Vec<_> = entry
        .owner_parts(&secrets)?
        .iter()
        .map(|p| hex(p))
        .collect();
    let (time, previous, header, settled) = entry.fields();
    let settled: Vec<_> = settled.iter().map(|hash| hex(hash.as_bytes())).collect();
    Ok(out(&[
        ("hash", hex(entry.position().hash.as_bytes())),
        ("sequence", json!(entry.position().sequence)),
        ("time", json!(time)),
        (
            "previous",
            hex(previous.as_ref().map_or(&[], |h| &h.as_bytes()[..])),
        ),
        (
            "header",
            header.map_or(json!([]), |at| {
                json!([at.sequence, hex(at.hash.as_bytes())])
            }),
        ),
        ("settled", json!(settled)),
        ("actions", json!(parts)),
    ]))
}

/// docs/FORMAT.md, section 4, Reading: what the crate `kluis` does with a store.
fn chain(case: &Case<'_>) -> Result<Fields> {
    let store = case.paths("store");
    let (vault, authorities) = (case.vault(), case.authorities());
    let at = case.raw("at");
    let position = |kind: &str| Position {
        sequence: at[format!("{kind}_sequence")].as_u64().unwrap(),
        hash: RecordHash::from_bytes(&case.resolve(&at[format!("{kind}_hash")], "")).unwrap(),
    };
    let (header, named) = (position("header"), position("ledger"));
    let mut heads = claims(&store, "k/l");
    heads.push(named);
    heads.sort();
    let load = |at: &Position| {
        let entry = Entry::parse(stored(&store, "k/l", at)?, &vault, &authorities).ok()?;
        (entry.position() == *at).then_some(entry)
    };
    let head = heads.iter().rev().find(|head| load(head).is_some());
    // The entry that the header names is gone, and so is everything behind it.
    let head = *head
        .filter(|head| **head >= named)
        .ok_or(Error::Stale("ledger"))?;
    let entries = store.iter().filter_map(|(path, data)| {
        let name = path.strip_prefix("k/l/")?;
        let sequence = u64::from_str_radix(name.get(..16)?, 16).ok()?;
        let hash = name.get(17..)?.parse().ok()?;
        let found = load(&Position { sequence, hash })?;
        (found.as_bytes() == data).then_some(found)
    });
    let entries: Vec<_> = entries.collect();
    let ledger = Ledger::assemble(
        head,
        entries,
        header,
        named,
        authorities.current_from(),
        Suite::V1,
        &case.owners(),
    )?;
    let tree = ledger.tree();
    let contacts: Vec<_> = ledger
        .contacts()
        .map(|c| {
            json!([
                c.name(),
                hex(c.card().fingerprint().as_bytes()),
                c.trust() as u8
            ])
        })
        .collect();
    let grants: Vec<_> = ledger
        .grants()
        .map(|grant| {
            json!([
                hex(grant.id.as_bytes()),
                grant.to,
                scope(&grant.scope),
                grant.filed,
                hex(grant.statement.as_bytes()),
            ])
        })
        .collect();
    Ok(out(&[
        ("sequence", json!(ledger.head().sequence)),
        ("hash", hex(ledger.head().hash.as_bytes())),
        ("collections", collections(tree)),
        ("contacts", json!(contacts)),
        ("grants", json!(grants)),
    ]))
}

/// Kind, path, and commitment of a version.
fn scope(scope: &Scope) -> Value {
    let path = crate::tree::mount_text(scope.path());
    match scope {
        Scope::Folder(_) => json!([0, path]),
        Scope::Object(_) => json!([1, path]),
        Scope::Version(_, commitment) => json!([2, path, hex(commitment)]),
        Scope::Group(id, name) => json!([3, hex(id.as_bytes()), name.as_str()]),
    }
}

fn collections(tree: &Tree) -> Value {
    let of_one = |c: &Collection| {
        let epochs: Vec<_> = c
            .epochs
            .iter()
            .map(|e| {
                let key = hex(e.key.expose_secret());
                json!([e.number, e.opened, u8::from(e.orphan), key])
            })
            .collect();
        // Those that are mounted have the names of their folders.
        let is_top = c.mount.is_none() && c.closed.is_none();
        let names = if is_top && tree.object().is_none() {
            &tree.name_key().expose_secret()[..]
        } else {
            &[]
        };
        json!({
            "id": hex(c.id.as_bytes()),
            "mount": crate::tree::mount_text(c.mount.as_ref()),
            "options": u8::from(c.padded),
            "nk": hex(names),
            "floor": c.floor,
            "epochs": epochs,
        })
    };
    tree.collections().map(of_one).collect()
}

fn entry_position(case: &Case<'_>) -> Result<Fields> {
    let entry = Entry::parse(&case.bytes("entry"), &case.vault(), &case.authorities())?;
    Ok(out(&[
        ("hash", hex(entry.position().hash.as_bytes())),
        ("sequence", json!(entry.position().sequence)),
    ]))
}

fn identity(case: &Case<'_>) -> Result<Identity> {
    Identity::from_secret_bytes(&case.bytes("secrets"))
}

fn share(case: &Case<'_>) -> Result<Share> {
    let identity = identity(case)?;
    let name = LetterName(case.fixed("letter_name"));
    Share::open(&identity, &case.vault(), &name, &case.bytes("letter"))
}

fn share_fields(share: &Share) -> Fields {
    let tree = share.tree();
    out(&[
        ("id", hex(share.id().as_bytes())),
        ("scope", scope(share.scope())),
        ("grantor", hex(share.grantor().fingerprint().as_bytes())),
        ("sequence", json!(share.head().sequence)),
        ("head", hex(share.head().hash.as_bytes())),
        ("ended", json!(share.is_closed())),
        ("top", json!(tree.top())),
        ("collections", collections(tree)),
    ])
}

/// Also by whom it was given on.
fn chain_fields(share: &Share) -> Fields {
    let mut fields = share_fields(share);
    let givers = share.chain().map(|(card, statement)| {
        let (giver, id) = (card.fingerprint(), statement.id());
        json!([hex(giver.as_bytes()), hex(id.as_bytes())])
    });
    fields.push(("chain".to_owned(), json!(givers.collect::<Vec<_>>())));
    fields.push(("unfiled".to_owned(), json!(share.is_unfiled())));
    fields
}

fn owners_copy(case: &Case<'_>) -> Result<Fields> {
    let owner = Identity::from_secret_bytes(&case.bytes("secrets"))?;
    let file = GrantFile::from_armor(case.text("text"))?;
    let copy = OwnersCopy::open(&owner, &case.vault(), &file)?;
    Ok(out(&[
        ("id", hex(copy.id().as_bytes())),
        ("to", json!(copy.to())),
        ("fingerprint", hex(copy.card().fingerprint().as_bytes())),
        ("place", json!(copy.place_below())),
    ]))
}

/// docs/FORMAT.md, section 12: each entry in turn, and the next bundle where one is
/// awaited.
fn follow(case: &Case<'_>) -> Result<Share> {
    let mut share = share(case)?;
    let list = |name: &str| -> Vec<Vec<u8>> {
        let given = case.get(name).and_then(Value::as_array);
        let given = given.into_iter().flatten();
        given.map(|value| case.resolve(value, "")).collect()
    };
    let mut bundles = list("bundles").into_iter();
    for entry in list("entries") {
        share.follow(&Entry::parse(&entry, &case.vault(), &case.authorities())?)?;
        if share.awaited().is_some()
            && let Some(bundle) = bundles.next()
        {
            share.renew(&identity(case)?, &bundle)?;
        }
    }
    Ok(share)
}

/// docs/FORMAT.md, section 14: a membership to the end of the ledger, and by it what was
/// given to the group.
fn in_group(case: &Case<'_>) -> Result<Share> {
    let membership = to_the_end(case, share(case)?)?;
    if case.get("group_letter").is_none() {
        return Ok(membership);
    }
    let name = LetterName(case.fixed("group_letter_name"));
    let (vault, letter) = (case.vault(), case.bytes("group_letter"));
    let share = Share::open_in_group(&membership, &vault, &name, &letter)?;
    to_the_end(case, share)
}

fn to_the_end(case: &Case<'_>, mut share: Share) -> Result<Share> {
    let list = |name: &str| -> Vec<Vec<u8>> {
        let given = case.get(name).and_then(Value::as_array);
        let given = given.into_iter().flatten();
        given.map(|value| case.resolve(value, "")).collect()
    };
    for entry in list("entries") {
        let entry = Entry::parse(&entry, &case.vault(), &case.authorities())?;
        if entry.position().sequence <= share.head().sequence {
            continue;
        }
        share.follow(&entry)?;
        let awaited = share.awaited();
        let mut bundles = list("bundles").into_iter();
        if let Some(bundle) = bundles.find(|b| awaited == Some(RecordHash::of(b)))
            && !share.renew(&identity(case)?, &bundle)?
        {
            break;
        }
    }
    Ok(share)
}

fn shared_object(case: &Case<'_>, share: &Share) -> Result<Fields> {
    let (path, object) = (VaultPath::parse(case.text("path"))?, case.bytes("object"));
    let header = object.first_chunk().ok_or(Error::Tampered)?;
    let opener = Opener::new(header, &case.vault(), share.suite(), share.tree(), &path)?;
    let stored = share.tree().store_path(&path)?.path;
    Ok(out(&[
        ("stored", json!(stored)),
        ("epoch", json!(opener.epoch())),
        (
            "plaintext",
            long(&get(&opener, share.suite(), &stored, &object)?),
        ),
    ]))
}

/// docs/FORMAT.md, section 13.
fn link(case: &Case<'_>) -> Result<(OpenedLink, VaultId)> {
    let fragment: LinkFragment = case.text("fragment").parse()?;
    let sealed = SealedLink::parse(&fragment, &case.bytes("record"))?;
    let password = case.get("password").map(|_| case.bytes("password"));
    let password = password.map(|p| Password::new(std::str::from_utf8(&p).unwrap()));
    let opened = sealed.open(password.as_ref(), KdfCeiling::default())?;
    Ok((opened, fragment.vault()))
}

fn link_fields(opened: &OpenedLink) -> Fields {
    let objects = opened.objects().iter();
    let objects: Vec<_> = objects.map(|o| json!([o.path, o.size, o.url])).collect();
    out(&[
        ("id", hex(opened.id().as_bytes())),
        ("kind", json!(u8::from(opened.tree().object().is_some()))),
        ("own_name", json!(opened.name())),
        ("until", json!(opened.terms().not_after.unwrap_or(0))),
        ("purpose", json!(opened.terms().purpose)),
        ("sequence", json!(opened.head().sequence)),
        ("head", hex(opened.head().hash.as_bytes())),
        ("top", json!(opened.tree().top())),
        ("collections", collections(opened.tree())),
        ("objects", json!(objects)),
    ])
}

fn linked_object(case: &Case<'_>) -> Result<Fields> {
    let (link, vault) = link(case)?;
    let (path, object) = (VaultPath::parse(case.text("path"))?, case.bytes("object"));
    let header = object.first_chunk().ok_or(Error::Tampered)?;
    let opener = Opener::new(header, &vault, link.suite(), link.tree(), &path)?;
    let stored = link.tree().store_path(&path)?.path;
    let plaintext = long(&get(&opener, link.suite(), &stored, &object)?);
    Ok(out(&[
        ("stored", json!(stored)),
        ("epoch", json!(opener.epoch())),
        ("plaintext", plaintext),
    ]))
}

fn tree(case: &Case<'_>) -> Tree {
    Tree::of_vault(NameKey::init_with(|key| *key = case.fixed("nk")))
}

fn seal_names(case: &Case<'_>) -> Result<Fields> {
    let path = VaultPath::parse(case.text("path"))?;
    let stored = tree(case).store_path(&path)?;
    let below = |path: &str| path.strip_prefix("o/").unwrap().to_owned();
    let long: Map<String, Value> = stored
        .long_names
        .iter()
        .map(|(path, record)| (below(path), hex(record)))
        .collect();
    Ok(out(&[
        ("stored", json!(below(&stored.path))),
        ("long", Value::from(long)),
    ]))
}

fn open_names(case: &Case<'_>) -> Outcome {
    let long = case.paths("long");
    let mut names = tree(case).names(None).unwrap();
    let (mut path, mut here) = (Vec::new(), String::new());
    for stored in case.text("stored").split('/') {
        here.push_str(stored);
        let segment = match names.decrypt(stored) {
            DecodedSegment::Name(segment) => segment,
            DecodedSegment::Long => long
                .get(&format!("{here}~"))
                .and_then(|record| names.decrypt_long(stored, record).ok())
                .ok_or("foreign")?,
            DecodedSegment::LongNameRecord | DecodedSegment::Foreign => return Err("foreign"),
        };
        here.push('/');
        names = names.child(&segment);
        path.push(segment);
    }
    Ok(out(&[("path", json!(path.join("/")))]))
}

fn object(case: &Case<'_>) -> Result<Fields> {
    let keys = case.raw("epochs").as_array().unwrap().iter();
    let epochs = keys.map(|epoch| Epoch {
        number: epoch[0].as_u64().unwrap() as u32,
        opened: epoch[1].as_u64().unwrap(),
        orphan: epoch[2].as_u64().unwrap() == 1,
        key: ContentKey::init_with(|key| key.copy_from_slice(&case.resolve(&epoch[3], ""))),
    });
    let collection = Collection {
        id: CollectionId(case.fixed("collection")),
        mount: None,
        padded: false,
        closed: None,
        floor: case.get("floor").map_or(0, |floor| floor.as_u64().unwrap()) as u32,
        epochs: epochs.collect(),
        writers: Arc::default(),
        lease: None,
    };
    let ledger = Ledger::of_one(collection, case.number("ledger_sequence"));
    let path = VaultPath::parse(case.text("path"))?;
    let suite = Suite::from_number(case.number("suite"))?;
    let object = case.bytes("object");
    let header = object.first_chunk().ok_or(Error::Tampered)?;
    let opener = Opener::new(header, &case.vault(), suite, ledger.tree(), &path)?;
    let stored = ledger.tree().store_path(&path)?.path;
    let mut content = get(&opener, suite, &stored, &object)?;
    let length = content.len();
    if let Some(range) = case.get("range") {
        let [from, to] = [0, 1].map(|i| (range[i].as_u64().unwrap() as usize).min(length));
        content = content[from..to].to_vec();
    }
    let outside = case
        .get("attributes_outside")
        .map(|_| case.bytes("attributes_outside"));
    let metadata = opener.metadata(outside.as_deref())?;
    let attributes: Vec<_> = metadata
        .attributes
        .iter()
        .map(|(n, v)| json!([n, v]))
        .collect();
    let stamp = u32::from_be_bytes(header[12..16].try_into().unwrap());
    Ok(out(&[
        ("version", json!(opener.version())),
        ("stamp", json!(stamp)),
        ("epoch", json!(opener.epoch())),
        ("length", json!(length)),
        (
            "padded_length",
            json!(Layout::of_stored(suite, object.len() as u64)?.plaintext_length()),
        ),
        (
            "mtime",
            metadata
                .mtime
                .map_or(Value::Null, |m| json!([m.seconds, m.nanoseconds])),
        ),
        ("expiry", json!(metadata.expires)),
        ("attributes", json!(attributes)),
        ("plaintext", long(&content)),
    ]))
}

fn lengths(case: &Case<'_>, op: &str) -> Result<Fields> {
    let suite = case.number("suite");
    let suite = Suite::from_number(suite)?;
    let (name, value) = match op {
        "stored" => {
            let layout = Layout::of_plaintext(suite, case.number("plaintext"))?;
            ("stored", layout.stored_length())
        }
        "plaintext" => {
            let layout = Layout::of_stored(suite, case.number("stored"))?;
            ("plaintext", layout.plaintext_length())
        }
        _ => {
            let layout = Layout::of_plaintext(suite, 0)?;
            ("start", layout.chunk(case.number("chunk")).start)
        }
    };
    Ok(out(&[(name, json!(value))]))
}
