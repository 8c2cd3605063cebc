//! What is in tests/vectors/grants.json.

use super::cases::with;
use super::{File, check, hex};
use crate::grant::{Forgery, forged};
use crate::ledger::{Appended, Decision};
use crate::object::tests::put_in;
use crate::random::scripted;
use crate::testing::{Vault, pattern, phrase};
use crate::*;
use serde_json::{Value, json};

/// A grant, as its grantee holds it.
pub(super) struct Given {
    pub(super) identity: Identity,
    pub(super) name: LetterName,
    pub(super) letter: Vec<u8>,
}

impl Given {
    pub(super) fn inputs(&self) -> Value {
        json!({
            "secrets": hex(&self.identity.to_secret_bytes()),
            "letter_name": hex(&self.name.0),
            "letter": hex(&self.letter),
        })
    }
}

fn share(suite: IdentitySuite, folder: &str, past: Past) -> (Identity, Decision) {
    let identity = Identity::make(suite, 1).unwrap();
    let recipient = Recipient::trusted_on_first_use(identity.card().clone()).allow_classical();
    let decision = Decision::Share {
        scope: Scope::Folder((!folder.is_empty()).then(|| VaultPath::parse(folder).unwrap())),
        recipient,
        terms: Terms {
            past,
            ..Terms::reading()
        },
    };
    (identity, decision)
}

pub(super) fn given(identity: Identity, appended: &Appended) -> Given {
    let (_, name) = appended.granted.unwrap();
    let found = appended.records.iter().find(|r| r.0 == name.path());
    let letter = found.unwrap().1.clone();
    Given {
        identity,
        name,
        letter,
    }
}

pub(super) fn bundle(appended: &Appended) -> Vec<u8> {
    let is_bundle = |r: &&(String, Vec<u8>)| r.1.starts_with(b"KLB1");
    appended.records.iter().find(is_bundle).unwrap().1.clone()
}

#[test]
fn grants() {
    scripted::seeded("kluis vectors: grants", || {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let mut objects: Vec<(&'static str, Vec<u8>)> = Vec::new();
        type Objects = Vec<(&'static str, Vec<u8>)>;
        let put = |objects: &mut Objects, vault: &Vault, at: &'static str, ahead: u64| {
            let mut tree = vault.ledger().tree().duplicate();
            tree.set_head(tree.head() + ahead);
            let version = 1 + objects.len() as u64;
            let metadata = Metadata::default();
            let writer = (&id, Suite::V1, &**vault.secrets.identity());
            let (object, _) = put_in(writer, &tree, at, version, &metadata, &pattern(100), true);
            objects.push((at, object));
        };
        let mut members = Vec::new();
        let mut give = |vault: &mut Vault, suite, folder, past| {
            let (identity, decision) = share(suite, folder, past);
            let appended = vault.decide(decision).unwrap();
            members.push(given(identity, &appended));
            appended.granted.unwrap().0
        };
        use IdentitySuite::{X25519, XWing};
        vault.append();
        put(&mut objects, &vault, "photos/old", 0);
        put(&mut objects, &vault, "photos/2026/old", 0);
        // A grant that another entry came in the place of.
        let (stranger, decision) = share(X25519, "photos", Past::Shared);
        let lost = vault.ledger();
        let lost = lost
            .next(vault.header(), &vault.secrets, 9, decision)
            .unwrap();
        let lost = given(stranger, &lost);
        let anna = give(&mut vault, X25519, "photos", Past::Shared);
        put(&mut objects, &vault, "photos/first", 0);
        give(&mut vault, XWing, "photos/2026", Past::HeldBack);
        put(&mut objects, &vault, "photos/2026/first", 0);
        let carl = give(&mut vault, X25519, "photos", Past::Shared);
        give(&mut vault, X25519, "", Past::Shared);
        // By somebody who keeps the key, and knows what comes.
        put(&mut objects, &vault, "photos/forged", 1);
        let revoked = vault.decide(Decision::Revoke(vec![carl])).unwrap();
        put(&mut objects, &vault, "photos/second", 0);
        put(&mut objects, &vault, "photos/2026/second", 0);
        let photos = VaultPath::parse("photos").unwrap();
        let floors = vault.ledger().tree().floors_to_raise(Some(&photos));
        vault.decide(Decision::RaiseFloors(floors)).unwrap();
        put(&mut objects, &vault, "photos/third", 0);
        let ended = vault.decide(Decision::Revoke(vec![anna])).unwrap();
        put(&mut objects, &vault, "photos/fourth", 0);
        let bundles = [bundle(&revoked), bundle(&ended)];

        // One object, one version of it, and a folder that is mounted around both.
        put(&mut objects, &vault, "top/one", 0);
        let object = VaultPath::parse("top/one").unwrap();
        let mut hand = |vault: &mut Vault, identity: Identity, decision| {
            let appended = vault.decide(decision).unwrap();
            members.push(given(identity, &appended));
            appended
        };
        let [to_eric, to_fay] = [X25519; 2].map(|suite| Identity::make(suite, 1).unwrap());
        let recipient = Recipient::trusted_on_first_use(to_eric.card().clone()).allow_classical();
        let terms = Terms {
            write: true,
            ..Terms::reading()
        };
        let scope = Scope::Object(object.clone());
        let decision = Decision::Share {
            scope,
            recipient,
            terms,
        };
        let eric = hand(&mut vault, to_eric, decision).granted.unwrap().0;
        let header = objects.last().unwrap().1.first_chunk().unwrap();
        let decision = Decision::ShareVersion {
            path: object,
            header: Box::new(*header),
            recipient: Recipient::trusted_on_first_use(to_fay.card().clone()).allow_classical(),
            terms: Terms::reading(),
        };
        let fay = hand(&mut vault, to_fay, decision).granted.unwrap().0;
        put(&mut objects, &vault, "top/one", 0);
        let (gus, decision) = share(X25519, "top", Past::Shared);
        let mounted = hand(&mut vault, gus, decision);
        put(&mut objects, &vault, "top/one", 0);
        let taken = vault.decide(Decision::Revoke(vec![eric])).unwrap();
        put(&mut objects, &vault, "top/one", 0);
        vault.decide(Decision::Revoke(vec![fay])).unwrap();
        let later = json!([hex(&bundle(&mounted)), hex(&bundle(&taken))]);

        let authorities = vault.header().authorities().list();
        let authorities: Vec<_> = authorities
            .iter()
            .map(|a| json!([hex(&a.key), a.from]))
            .collect();
        let defaults = json!({ "vault_id": hex(id.as_bytes()), "authorities": authorities });
        let mut file = File::new("grants", defaults);
        for (i, entry) in vault.entries.iter().enumerate() {
            let inputs = json!({ "entry": hex(entry.as_bytes()) });
            file.case(format!("entry {i}"), "entry", inputs, "ok");
        }
        let names = ["anna", "bert", "carl", "dora", "eric", "fay", "gus"];
        for (name, member) in names.iter().zip(&members) {
            file.case(format!("letter to {name}"), "open", member.inputs(), "ok");
        }
        let letter = |name: &str, changes: Value| {
            let of = |field: &str| json!({ "case": format!("letter to {name}"), "field": field });
            let base = json!({
                "secrets": of("secrets"),
                "letter_name": of("letter_name"),
                "letter": of("letter"),
            });
            with(base, changes)
        };
        for name in ["anna", "bert"] {
            for (what, changes, expect) in [
                (
                    "another recipient",
                    json!({ "secrets": { "case": "letter to carl" } }),
                    "tampered",
                ),
                (
                    "another vault",
                    json!({ "vault_id": hex(&[1; 16]) }),
                    "tampered",
                ),
                (
                    "another name",
                    json!({ "letter_name": hex(&[1; 16]) }),
                    "tampered",
                ),
            ] {
                let inputs = letter(name, changes);
                file.case(format!("letter to {name}: {what}"), "open", inputs, expect);
            }
            for (what, edits, expect) in [
                (
                    "another magic",
                    json!([{ "xor": "01", "at": 0 }]),
                    "tampered",
                ),
                (
                    "version 2",
                    json!([{ "put": "32", "at": 3 }]),
                    "unsupported_format",
                ),
                (
                    "flip in what is encapsulated",
                    json!([{ "xor": "01", "at": 10 }]),
                    "tampered",
                ),
                (
                    "flip at the end",
                    json!([{ "xor": "01", "at": -1 }]),
                    "tampered",
                ),
                ("cut", json!([{ "cut": -1 }]), "tampered"),
                ("extended", json!([{ "append": "00" }]), "tampered"),
                ("nothing", json!([{ "cut": 0 }]), "tampered"),
            ] {
                let of = format!("letter to {name}");
                let inputs = letter(name, json!({ "letter": { "case": of, "edits": edits } }));
                file.case(format!("letter to {name}: {what}"), "open", inputs, expect);
            }
        }
        let owner: &Identity = vault.secrets.identity();
        for (what, signer, forgery, expect) in [
            ("signed again", owner, None, "ok"),
            ("from another grantor", &members[2].identity, None, "ok"),
            (
                "a wrong signature",
                owner,
                Some(Forgery::Signature),
                "tampered",
            ),
            (
                "another grantor's card",
                owner,
                Some(Forgery::Grantor),
                "tampered",
            ),
            (
                "stated for another grantee",
                owner,
                Some(Forgery::Grantee),
                "tampered",
            ),
            (
                "stated for another vault",
                owner,
                Some(Forgery::Vault),
                "tampered",
            ),
            (
                "another tree's hash",
                owner,
                Some(Forgery::Tree),
                "tampered",
            ),
            ("another tree", owner, Some(Forgery::NameKey), "tampered"),
            (
                "a tree without its top",
                owner,
                Some(Forgery::NoTop),
                "tampered",
            ),
            ("keys in a ring", owner, Some(Forgery::Ring), "tampered"),
            (
                "a suite of a later version",
                owner,
                Some(Forgery::Suite),
                "unsupported_format",
            ),
        ] {
            let anna = &members[0];
            let (name, record) = (&anna.name, &anna.letter);
            let forged = forged(&anna.identity, signer, &id, name, record, forgery).unwrap();
            let inputs = letter("anna", json!({ "letter": hex(&forged) }));
            file.case(format!("a letter: {what}"), "open", inputs, expect);
        }
        for (who, at, forgeries) in [
            ("eric", 4, &[Forgery::Name, Forgery::Kind][..]),
            (
                "fay",
                5,
                &[Forgery::Name, Forgery::Kind, Forgery::Commitment],
            ),
        ] {
            for forgery in forgeries {
                let to = &members[at];
                let (name, record) = (&to.name, &to.letter);
                let forged =
                    forged(&to.identity, owner, &id, name, record, Some(*forgery)).unwrap();
                let inputs = letter(who, json!({ "letter": hex(&forged) }));
                let case = format!("a letter to {who}: {forgery:?} of another");
                file.case(case, "open", inputs, "tampered");
            }
        }

        let entry = |i: &usize| json!({ "case": format!("entry {i}"), "field": "entry" });
        let chain = |entries: &[usize]| json!(entries.iter().map(entry).collect::<Vec<_>>());
        let all = json!([hex(&bundles[0]), hex(&bundles[1])]);
        for (what, name, entries, given, expect) in [
            (
                "a grant that is filed",
                "anna",
                chain(&[2]),
                json!([]),
                "ok",
            ),
            (
                "a folder in it is mounted apart",
                "anna",
                chain(&[2, 3]),
                json!([]),
                "ok",
            ),
            (
                "others are given access",
                "anna",
                chain(&[2, 3, 4, 5]),
                json!([]),
                "ok",
            ),
            (
                "an epoch is closed, before the bundle",
                "anna",
                chain(&[2, 3, 4, 5, 6]),
                json!([]),
                "ok",
            ),
            (
                "the keys that follow",
                "anna",
                chain(&[2, 3, 4, 5, 6]),
                all.clone(),
                "ok",
            ),
            (
                "floors",
                "anna",
                chain(&[2, 3, 4, 5, 6, 7]),
                all.clone(),
                "ok",
            ),
            (
                "her access ends",
                "anna",
                chain(&[2, 3, 4, 5, 6, 7, 8]),
                all.clone(),
                "ok",
            ),
            (
                "his goes on",
                "bert",
                chain(&[3, 4, 5, 6, 7, 8]),
                all.clone(),
                "ok",
            ),
            (
                "no letter in the bundle",
                "carl",
                chain(&[4, 5, 6]),
                all.clone(),
                "ok",
            ),
            (
                "the whole vault",
                "dora",
                chain(&[5, 6, 7, 8]),
                all.clone(),
                "ok",
            ),
            ("one object", "eric", chain(&[9]), json!([]), "ok"),
            (
                "a folder around one object is mounted",
                "eric",
                chain(&[9, 10, 11]),
                later.clone(),
                "ok",
            ),
            (
                "his object is taken back",
                "eric",
                chain(&[9, 10, 11, 12]),
                later.clone(),
                "ok",
            ),
            ("one version", "fay", chain(&[10]), json!([]), "ok"),
            (
                "her version is taken back",
                "fay",
                chain(&[10, 11, 12, 13]),
                json!([]),
                "ok",
            ),
            (
                "an entry is left out",
                "anna",
                chain(&[2, 4]),
                json!([]),
                "tampered",
            ),
            (
                "an entry twice",
                "anna",
                chain(&[2, 2]),
                json!([]),
                "tampered",
            ),
            (
                "not from the beginning",
                "anna",
                chain(&[3]),
                json!([]),
                "tampered",
            ),
            (
                "another bundle",
                "anna",
                chain(&[2, 3, 4, 5, 6]),
                json!([hex(&bundles[1])]),
                "tampered",
            ),
        ] {
            let inputs = letter(name, json!({ "entries": entries, "bundles": given }));
            file.case(format!("follow: {what}"), "follow", inputs, expect);
        }
        let mut altered = bundles[0].clone();
        *altered.last_mut().unwrap() ^= 1;
        let inputs = letter(
            "anna",
            json!({ "entries": chain(&[2, 3, 4, 5, 6]), "bundles": [hex(&altered)] }),
        );
        file.case(
            "follow: a bundle that was altered",
            "follow",
            inputs,
            "tampered",
        );
        let mut ring = bundles[0].clone();
        ring[100] ^= 1;
        let inputs = letter(
            "anna",
            json!({ "entries": chain(&[2, 3, 4, 5, 6]), "bundles": [hex(&ring)] }),
        );
        file.case(
            "follow: a ring that was altered",
            "follow",
            inputs,
            "tampered",
        );
        let inputs = with(
            lost.inputs(),
            json!({ "entries": chain(&[2]), "bundles": [] }),
        );
        file.case(
            "follow: a grant that is not filed",
            "follow",
            inputs,
            "access_denied",
        );
        let damaged = vault.entries[3].with_damaged_part(1, &vault.secrets);
        let inputs = letter(
            "anna",
            json!({ "entries": [entry(&2), hex(damaged.as_bytes())], "bundles": [] }),
        );
        file.case(
            "follow: a notice that was altered",
            "follow",
            inputs,
            "tampered",
        );
        let mut flipped = vault.entries[2].as_bytes().to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let inputs = letter("anna", json!({ "entries": [hex(&flipped)], "bundles": [] }));
        file.case(
            "follow: an entry that nobody signed",
            "follow",
            inputs,
            "tampered",
        );

        let mut at = 0;
        let mut found = |name: &str| {
            at += 1;
            // The name, and which write of it.
            let (name, nth) = name.split_once(' ').unwrap_or((name, "0"));
            let mut writes = objects.iter().filter(|(path, _)| *path == name);
            let object = writes.nth(nth.parse().unwrap()).unwrap();
            (at, hex(&object.1))
        };
        let five = [2, 3, 4, 5, 6];
        for (who, object, path, entries, expect) in [
            ("anna", "photos/old", "old", &five[..1], "ok"),
            ("anna", "photos/2026/old", "2026/old", &five[..2], "ok"),
            ("anna", "photos/first", "first", &five[..1], "ok"),
            ("anna", "photos/2026/first", "2026/first", &five[..2], "ok"),
            (
                "anna",
                "photos/2026/first",
                "2026/first",
                &five[..1],
                "stale",
            ),
            ("anna", "photos/second", "second", &five, "ok"),
            ("anna", "photos/2026/second", "2026/second", &five, "ok"),
            ("anna", "photos/old", "old", &five, "ok"),
            ("anna", "photos/second", "second", &five[..1], "stale"),
            ("anna", "photos/forged", "forged", &five, "tampered"),
            ("anna", "photos/old", "first", &five[..1], "tampered"),
            ("anna", "photos/old", "old", &[2, 3, 4, 5, 6, 7], "tampered"),
            ("anna", "photos/second", "second", &[2, 3, 4, 5, 6, 7], "ok"),
            (
                "anna",
                "photos/third",
                "third",
                &[2, 3, 4, 5, 6, 7, 8],
                "ok",
            ),
            (
                "anna",
                "photos/fourth",
                "fourth",
                &[2, 3, 4, 5, 6, 7, 8],
                "tampered",
            ),
            ("bert", "photos/2026/old", "old", &[3], "access_denied"),
            ("bert", "photos/2026/first", "first", &[3], "ok"),
            ("bert", "photos/2026/second", "second", &[3, 4, 5, 6], "ok"),
            ("carl", "photos/first", "first", &[4, 5, 6], "ok"),
            ("carl", "photos/second", "second", &[4, 5, 6], "tampered"),
            ("dora", "photos/old", "photos/old", &[5], "ok"),
            ("dora", "photos/second", "photos/second", &[5, 6], "ok"),
            (
                "dora",
                "photos/fourth",
                "photos/fourth",
                &[5, 6, 7, 8],
                "ok",
            ),
            ("eric", "top/one", "one", &[9], "ok"),
            ("eric", "top/one 1", "one", &[9], "stale"),
            ("eric", "top/one 1", "one", &[9, 10], "ok"),
            ("eric", "top/one 1", "one", &[9, 10, 11], "ok"),
            ("eric", "top/one 2", "one", &[9, 10], "stale"),
            ("eric", "top/one 2", "one", &[9, 10, 11], "ok"),
            ("eric", "top/one 3", "one", &[9, 10, 11, 12], "tampered"),
            ("eric", "photos/fourth", "one", &[9], "tampered"),
            ("eric", "top/one", "two", &[9], "tampered"),
            ("fay", "top/one", "one", &[10], "ok"),
            ("fay", "top/one 1", "one", &[10], "not_found"),
            ("fay", "top/one 1", "one", &[10, 11], "not_found"),
            ("gus", "top/one 3", "one", &[11, 12], "ok"),
        ] {
            let all = if ["eric", "fay"].contains(&who) {
                later.clone()
            } else if who == "gus" {
                json!([hex(&bundle(&taken))])
            } else {
                all.clone()
            };
            let (number, object_bytes) = found(object);
            let inputs = letter(
                who,
                json!({
                    "entries": chain(entries),
                    "bundles": all,
                    "path": path,
                    "object": object_bytes,
                }),
            );
            let name = format!("object {number}: {who} reads {object}");
            file.case(name, "object", inputs, expect);
        }
        texts(&mut file, &id, &members[0], owner);
        check(&file);
    });
}

fn texts(file: &mut File, vault: &VaultId, given: &Given, grantor: &Identity) {
    let fingerprint = grantor.card().fingerprint();
    let grant = |address| GrantFile::new(address, *vault, given.name, fingerprint, &given.letter);
    let text = grant("s3://bucket/vault").unwrap().to_armor();
    let mut case = |name: &str, text: String, expect: &str| {
        let name = format!("text: {name}");
        file.case(name, "file", json!({ "text": text }), expect);
    };
    case("a grant", text.clone(), "ok");
    let longest = format!("file:///{}", "é".repeat(2_044));
    case("a long address", grant(&longest).unwrap().to_armor(), "ok");
    case("in a mail", format!("Hi,\r\n\r\n{text}\r\nA."), "ok");
    case("two grants", text.repeat(2), "invalid_input");
    let card = text.replace("KLUIS GRANT", "KLUIS CARD");
    case("of a card", card, "invalid_input");
    let (begin, rest) = text.split_once('\n').unwrap();
    let (_, end) = rest.trim_end().rsplit_once('\n').unwrap();
    let mut armored = |name: &str, record: &[u8], expect: &str| {
        let base64 = data_encoding::BASE64.encode(record);
        case(name, format!("{begin}\n{base64}\n{end}\n"), expect);
    };
    let base64: String = rest.lines().filter(|line| *line != end).collect();
    let record = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
    armored("cut", &record[..record.len() - 1], "tampered");
    armored("extended", &[&record[..], b"\0"].concat(), "tampered");
    armored(
        "another magic",
        &[b"KLG1", &record[4..]].concat(),
        "tampered",
    );
    let later = [b"KLF2", &record[4..]].concat();
    armored("version 2", &later, "unsupported_format");
    // The address begins with its length, 17.
    let at = record.windows(5).position(|w| w == b"s3://").unwrap();
    let changed = |at: usize, to: u8| {
        let mut record = record.clone();
        record[at] = to;
        record
    };
    armored("no text", &changed(at - 1, 0x51), "tampered");
    armored("not UTF-8", &changed(at, 0xff), "tampered");
    armored("a control character", &changed(at, b'\t'), "tampered");
    let empty = [&record[..at - 1], &[0x60], &record[at + 17..]].concat();
    armored("no address", &empty, "tampered");
    let letter = at + 17 + 3 * 17;
    let empty = [&record[..letter], &[0x40]].concat();
    armored("no letter", &empty, "tampered");
}
