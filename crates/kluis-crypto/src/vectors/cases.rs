//! What is in the vectors.

use super::{File, check, hex};
use crate::cbor::Record;
use crate::header::RootKey;
use crate::header::tests::with_slots;
use crate::kdf::Label;
use crate::ledger::{Action, Actions, Appended, Decision};
use crate::message::{self, Place};
use crate::object::tests::{put, seal_with_frame};
use crate::random::scripted;
use crate::testing::{Vault, cheap, pattern, phrase};
use crate::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Both objects in one; fields of the second win.
pub(super) fn with(mut base: Value, more: Value) -> Value {
    let (Some(fields), Value::Object(more)) = (base.as_object_mut(), more) else {
        panic!("not objects");
    };
    fields.extend(more);
    base
}

/// A field of another case, changed.
pub(super) fn edited(case: &str, edits: Value) -> Value {
    json!({ "case": case, "edits": edits })
}

pub(super) fn find(bytes: &[u8], part: &[u8]) -> usize {
    let mut found = bytes
        .windows(part.len())
        .enumerate()
        .filter(|(_, w)| *w == part);
    let at = found.next().expect("there").0;
    assert!(found.next().is_none(), "once");
    at
}

pub(super) const PASSWORD: &str = "correct horse battery staple";

pub(super) fn password_credential(text: &str) -> Value {
    json!({ "kind": "password", "password": hex(text.as_bytes()) })
}

fn phrase_credential(byte: u8) -> Value {
    match phrase(byte) {
        Credential::RecoveryPhrase(phrase) => {
            json!({ "kind": "recovery_phrase", "phrase": phrase.expose_words().as_str() })
        }
        _ => unreachable!(),
    }
}

#[test]
fn kdf() {
    scripted::seeded("kluis vectors: kdf", || {
        let mut file = File::new("kdf", json!({}));
        let key = hex(&pattern(32));
        for label in Label::ALL {
            for (which, contexts) in [
                ("no context", vec![]),
                ("two contexts", vec![hex(b"ab"), hex(b"c")]),
                (
                    "the same bytes, divided otherwise",
                    vec![hex(b"a"), hex(b"bc")],
                ),
                ("an empty context", vec![hex(b""), hex(&pattern(100))]),
            ] {
                let inputs = json!({ "key": key, "label": label, "contexts": contexts });
                file.case(format!("{label}: {which}"), "kdf", inputs, "ok");
            }
        }

        let argon2id = |m: u64, t: u64, p: u64| json!({ "password": hex(b"password"), "salt": hex(&pattern(32)), "m": m, "t": t, "p": p });
        file.case("cheapest", "argon2id", argon2id(19_456, 2, 1), "ok");
        file.case("three passes", "argon2id", argon2id(20_000, 3, 1), "ok");
        for (name, m, t, p) in [
            ("too little memory", 19_455, 2, 1),
            ("no memory", 0, 2, 1),
            ("too much memory", 1_048_577, 2, 1),
            ("one pass", 19_456, 1, 1),
            ("eleven passes", 19_456, 11, 1),
            ("no lane", 19_456, 2, 0),
            ("two lanes", 19_456, 2, 2),
            ("too much work", 1_048_576, 5, 1),
            ("memory above 32 bits", (1 << 32) + 19_456, 2, 1),
            ("passes above 32 bits", 19_456, (1 << 32) + 2, 1),
            ("everything", u64::MAX, u64::MAX, u64::MAX),
        ] {
            file.case(name, "argon2id", argon2id(m, t, p), "limit_exceeded");
        }

        for (name, path) in [
            ("an object at the top", vec!["a"]),
            (
                "an object in folders",
                vec!["photos", "2026", "août", "cat.jpg"],
            ),
            (
                "segments that only look like a path",
                vec!["a b", "...", "%2e%2e"],
            ),
        ] {
            let inputs = json!({
                "nk": hex(&[1; 32]), "ck": hex(&[2; 32]), "path": path, "salt": hex(&pattern(24)),
            });
            file.case(name, "object_keys", inputs, "ok");
        }

        let vault = VaultId([4; 16]);
        let place = Place {
            kind: "test",
            vault: &vault,
            place: b"here",
        };
        let key = [9; 32];
        let common = json!({
            "key": hex(&key), "kind": "test", "vault_id": hex(vault.as_bytes()), "place": hex(b"here"),
        });
        for size in [0, 1, 16_383, 16_384, 16_385] {
            let sealed = message::seal(&key, &place, &pattern(size)).unwrap();
            let inputs = with(common.clone(), json!({ "sealed": hex(&sealed) }));
            file.case(format!("record of {size} bytes"), "record", inputs, "ok");
        }
        let small = "record of 1 bytes";
        let large = "record of 16385 bytes";
        let chunk = 56 + 16_400;
        for (name, case, edits) in [
            ("flip in the salt", small, json!([{ "xor": "01", "at": 0 }])),
            (
                "flip at the end of the salt",
                small,
                json!([{ "xor": "80", "at": 23 }]),
            ),
            (
                "flip in the commitment",
                small,
                json!([{ "xor": "01", "at": 24 }]),
            ),
            (
                "flip at the end of the commitment",
                small,
                json!([{ "xor": "80", "at": 55 }]),
            ),
            (
                "flip in the only chunk",
                small,
                json!([{ "xor": "01", "at": 56 }]),
            ),
            ("flip in its tag", small, json!([{ "xor": "01", "at": 57 }])),
            (
                "flip at the end of its tag",
                small,
                json!([{ "xor": "80", "at": -1 }]),
            ),
            ("flip in chunk 0", large, json!([{ "xor": "01", "at": 56 }])),
            (
                "flip in the tag of chunk 0",
                large,
                json!([{ "xor": "01", "at": chunk - 1 }]),
            ),
            (
                "flip in chunk 1",
                large,
                json!([{ "xor": "01", "at": chunk }]),
            ),
            (
                "flip in the tag of chunk 1",
                large,
                json!([{ "xor": "01", "at": -1 }]),
            ),
            ("nothing", small, json!([{ "cut": 0 }])),
            ("a salt alone", small, json!([{ "cut": 24 }])),
            (
                "a commitment without a chunk",
                small,
                json!([{ "cut": 56 }]),
            ),
            ("a tag short of one byte", small, json!([{ "cut": 71 }])),
            ("short of one byte", small, json!([{ "cut": -1 }])),
            ("extended", small, json!([{ "append": "00" }])),
            (
                "extended by a tag",
                small,
                json!([{ "append": "00000000000000000000000000000000" }]),
            ),
            (
                "extended by itself",
                small,
                json!([{ "append": { "case": small, "field": "sealed" } }]),
            ),
            ("cut behind chunk 0", large, json!([{ "cut": chunk }])),
            (
                "without chunk 0",
                large,
                json!([{ "remove": 16_400, "at": 56 }]),
            ),
            (
                "the last chunk first",
                large,
                json!([
                    { "remove": 16_400, "at": 56 },
                    { "append": { "case": large, "field": "sealed", "edits": [{ "cut": chunk }, { "remove": 56, "at": 0 }] } },
                ]),
            ),
        ] {
            let inputs = with(common.clone(), json!({ "sealed": edited(case, edits) }));
            file.case(name, "record", inputs, "tampered");
        }
        let three = message::seal(&key, &place, &pattern(2 * 16_384)).unwrap();
        let inputs = with(common.clone(), json!({ "sealed": hex(&three) }));
        file.case("record of two whole chunks", "record", inputs, "ok");
        let swapped = edited(
            "record of two whole chunks",
            json!([{ "swap": 16_400, "at": 56, "with": chunk }]),
        );
        let inputs = with(common.clone(), json!({ "sealed": swapped }));
        file.case("chunks swapped", "record", inputs, "tampered");
        for (name, change) in [
            ("another kind", json!({ "kind": "tesT" })),
            ("another vault", json!({ "vault_id": hex(&[5; 16]) })),
            ("another place", json!({ "place": hex(b"there") })),
            ("another key", json!({ "key": hex(&[8; 32]) })),
        ] {
            let sealed = json!({ "sealed": { "case": small } });
            file.case(
                name,
                "record",
                with(with(common.clone(), sealed), change),
                "tampered",
            );
        }

        for (name, cbor) in [
            ("0", "00"),
            ("23", "17"),
            ("24", "1818"),
            ("256", "190100"),
            ("65536", "1a00010000"),
            ("2^32", "1b0000000100000000"),
            ("2^64 - 1", "1bffffffffffffffff"),
            ("no bytes", "40"),
            ("bytes", "43010203"),
            ("text", "62c3bc"),
            ("no text", "60"),
            ("an empty array", "80"),
            ("arrays in an array", "82008141ff"),
        ] {
            file.case(
                format!("cbor: {name}"),
                "cbor",
                json!({ "cbor": cbor }),
                "ok",
            );
        }
        for (name, cbor) in [
            ("nothing", ""),
            ("23 in two bytes", "1817"),
            ("255 in three bytes", "1900ff"),
            ("65535 in five bytes", "1a0000ffff"),
            ("2^32 - 1 in nine bytes", "1b00000000ffffffff"),
            ("a longer length of bytes", "580101"),
            ("a longer length of text", "780161"),
            ("a longer length of an array", "980100"),
            ("bytes of indefinite length", "5f4101ff"),
            ("text of indefinite length", "7f6161ff"),
            ("an array of indefinite length", "9f00ff"),
            ("a map", "a10001"),
            ("a tag", "c000"),
            ("a negative integer", "20"),
            ("false", "f4"),
            ("null", "f6"),
            ("a half float", "f93c00"),
            ("a float", "fa3f800000"),
            ("a break", "ff"),
            ("a reserved length", "1c"),
            ("invalid UTF-8", "61ff"),
            ("a surrogate", "63eda080"),
            ("a byte behind it", "0000"),
            ("bytes cut short", "4201"),
            ("an integer cut short", "1901"),
            ("an array cut short", "8200"),
            ("a length beyond everything", "5bffffffffffffffff"),
            ("an array beyond everything", "9bffffffffffffffff"),
        ] {
            file.case(
                format!("cbor: {name}"),
                "cbor",
                json!({ "cbor": cbor }),
                "tampered",
            );
        }
        check(&file);
    });
}

#[test]
fn passwords() {
    let mut file = File::new("passwords", json!({}));
    for (name, password) in [
        ("plain", PASSWORD),
        ("composed", "\u{e9}t\u{e9}"),
        ("decomposed", "e\u{301}te\u{301}"),
        ("hangul", "\u{1112}\u{1161}\u{11ab}"),
        ("two marks out of order", "a\u{315}\u{300}"),
        ("compatibility characters stay", "\u{fb01}\u{2460}"),
        (
            "every space",
            " \u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{202f}\u{205f}\u{3000}",
        ),
        ("spaces around", "  a  "),
        (
            "separators and joiners that are no spaces",
            "a\u{2028}b\u{2029}c\u{200b}d\u{200d}e",
        ),
        ("an emoji", "\u{1f511}\u{fe0f}"),
        ("one space", " "),
    ] {
        let inputs = json!({ "password": hex(password.as_bytes()) });
        file.case(name, "normalize", inputs, "ok");
    }
    let long = json!({ "password": { "case": "plain", "edits": vec![json!({ "append": { "case": "plain", "field": "password" } }); 100] } });
    file.case("long", "normalize", long, "ok");
    for (name, password) in [
        ("empty", &b""[..]),
        ("a newline", b"a\n"),
        ("a tab", b"a\tb"),
        ("a zero", b"\0"),
        ("delete", b"a\x7f"),
        ("a control character of Latin-1", b"a\xc2\x85"),
        ("not UTF-8", b"a\xff"),
        ("an overlong encoding", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
    ] {
        file.case(
            name,
            "normalize",
            json!({ "password": hex(password) }),
            "invalid_input",
        );
    }

    // BIP-39's own vectors with 256 bits (bitcoin/bips, bip-0039, by its link to
    // trezor/python-mnemonic, vectors.json; MIT).
    for (name, words) in TREZOR {
        file.case(*name, "phrase", json!({ "phrase": words }), "ok");
    }
    let spaced = TREZOR[1].1.replace(' ', "  ");
    file.case("more spaces", "phrase", json!({ "phrase": spaced }), "ok");
    for (name, words) in [
        ("no words", String::new()),
        ("12 words", format!("{}about", "abandon ".repeat(11))),
        ("23 words", "abandon ".repeat(23).trim_end().to_owned()),
        ("25 words", format!("{}art art", "abandon ".repeat(23))),
        (
            "a wrong checksum",
            "abandon ".repeat(24).trim_end().to_owned(),
        ),
        (
            "a word that is not in the list",
            format!("{}arts", "abandon ".repeat(23)),
        ),
        (
            "words in another order",
            format!("art {}", "abandon ".repeat(23))
                .trim_end()
                .to_owned(),
        ),
    ] {
        file.case(name, "phrase", json!({ "phrase": words }), "invalid_input");
    }

    file.case(
        "32 bytes",
        "keyfile",
        json!({ "keyfile": hex(&pattern(32)) }),
        "ok",
    );
    for size in [0, 31, 33, 64] {
        let inputs = json!({ "keyfile": hex(&pattern(size)) });
        file.case(format!("{size} bytes"), "keyfile", inputs, "invalid_input");
    }
    check(&file);
}

const TREZOR: &[(&str, &str)] = &[
    (
        "zeros",
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
    ),
    (
        "sevens and fs",
        "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title",
    ),
    (
        "eights and zeros",
        "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
    ),
    (
        "ones",
        "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
    ),
    (
        "random",
        "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length",
    ),
];

#[test]
fn slots() {
    scripted::seeded("kluis vectors: slots", || {
        let vault = VaultId([4; 16]);
        let mut file = File::new("slots", json!({ "vault_id": hex(vault.as_bytes()) }));
        let root = RootKey::make().unwrap();
        let make = |credential: &Credential| {
            let slot = Slot::make(credential, cheap(), &vault, &root, 1_700_000_000_000_000);
            slot.unwrap().encode().to_vec()
        };
        let both = |text: &str| {
            let keyfile = Keyfile::from_bytes(&pattern(32)).unwrap();
            Credential::PasswordAndKeyfile(Password::new(text), keyfile)
        };
        let both_credential = |text: &str, keyfile: &[u8]| json!({ "kind": "password_keyfile", "password": hex(text.as_bytes()), "keyfile": hex(keyfile) });
        let keychain = |byte: u8| json!({ "kind": "keychain_secret", "secret": hex(&[byte; 32]) });
        let slot = |bytes: &[u8], credential: Value| json!({ "slot": hex(bytes), "credential": credential });

        let password_slot = make(&Password::new(PASSWORD).into());
        let phrase_slot = make(&phrase(1));
        let keychain_slot = Slot::keychain(&[7; 32], &vault, &root).unwrap().encode();
        for (name, bytes, credential) in [
            (
                "password",
                &password_slot[..],
                password_credential(PASSWORD),
            ),
            (
                "password that is normalized",
                &make(&Password::new("e\u{301}t\u{e9} \u{2003}x").into()),
                password_credential("\u{e9}te\u{301}\u{a0} x"),
            ),
            (
                "password and keyfile",
                &make(&both(PASSWORD)),
                both_credential(PASSWORD, &pattern(32)),
            ),
            ("recovery phrase", &phrase_slot, phrase_credential(1)),
            ("keychain", &keychain_slot, keychain(7)),
        ] {
            file.case(name, "open", slot(bytes, credential), "ok");
        }
        let refer = |case: &str, credential: Value| json!({ "slot": { "case": case }, "credential": credential });
        for (name, case, credential) in [
            (
                "another password",
                "password",
                password_credential("correct horse battery stapl"),
            ),
            (
                "another keyfile",
                "password and keyfile",
                both_credential(PASSWORD, &[0; 32]),
            ),
            (
                "another password beside the keyfile",
                "password and keyfile",
                both_credential("x", &pattern(32)),
            ),
            ("another phrase", "recovery phrase", phrase_credential(2)),
            ("another keychain secret", "keychain", keychain(8)),
            (
                "a password for a slot with a keyfile",
                "password and keyfile",
                password_credential(PASSWORD),
            ),
            (
                "a keyfile too many",
                "password",
                both_credential(PASSWORD, &pattern(32)),
            ),
            ("a phrase for a password", "password", phrase_credential(1)),
            (
                "a password for a phrase",
                "recovery phrase",
                password_credential(PASSWORD),
            ),
            (
                "a keychain secret for a phrase",
                "recovery phrase",
                keychain(1),
            ),
        ] {
            file.case(name, "open", refer(case, credential), "wrong_credentials");
        }
        let other = with(
            refer("recovery phrase", phrase_credential(1)),
            json!({ "vault_id": hex(&[5; 16]) }),
        );
        file.case("another vault", "open", other, "wrong_credentials");

        let parsed = Slot::decode(&phrase_slot).unwrap();
        let (salt, commitment, sealed) = parsed.fields();
        let (salt, commitment, sealed) = (
            find(&phrase_slot, salt),
            find(&phrase_slot, commitment),
            find(&phrase_slot, sealed),
        );
        let change = |edits: Value| json!({ "slot": edited("recovery phrase", edits), "credential": phrase_credential(1) });
        for (name, at) in [
            ("flip in the id", 2),
            ("flip in the salt", salt),
            ("flip at the end of the salt", salt + 31),
            ("flip in the commitment", commitment),
            ("flip at the end of the commitment", commitment + 31),
        ] {
            file.case(
                name,
                "open",
                change(json!([{ "xor": "01", "at": at }])),
                "wrong_credentials",
            );
        }
        file.case(
            "flip in the time",
            "open",
            change(json!([{ "xor": "01", "at": 27 }])),
            "ok",
        );
        for (name, at) in [
            ("flip in the sealed key", sealed),
            ("flip at its end", sealed + 31),
            ("flip in its tag", sealed + 32),
            ("flip at the end of its tag", sealed + 47),
        ] {
            file.case(
                name,
                "open",
                change(json!([{ "xor": "01", "at": at }])),
                "tampered",
            );
        }
        for (name, edits) in [
            ("cut", json!([{ "cut": -1 }])),
            ("a byte behind it", json!([{ "append": "00" }])),
            (
                "eight elements",
                json!([{ "put": "88", "at": 0 }, { "append": "00" }]),
            ),
            (
                "costs for a phrase",
                json!([{ "remove": 1, "at": 28 }, { "insert": "83194c000201", "at": 28 }]),
            ),
            (
                "a longer encoding of the kind",
                json!([{ "insert": "18", "at": 18 }]),
            ),
        ] {
            file.case(name, "open", change(edits), "tampered");
        }
        for (name, kind) in [("kind 0", "00"), ("kind 6", "06"), ("kind 23", "17")] {
            let edits = json!([{ "put": kind, "at": 18 }]);
            file.case(name, "open", change(edits), "unsupported_format");
        }
        let edits = json!([{ "put": "05", "at": 18 }]);
        file.case(
            "a phrase's slot as a keychain's",
            "open",
            json!({ "slot": edited("recovery phrase", edits), "credential": keychain(1) }),
            "wrong_credentials",
        );

        let costs = find(&password_slot, &[0x83, 0x19, 0x4c, 0, 2, 1]);
        let change = |edits: Value| json!({ "slot": edited("password", edits), "credential": password_credential(PASSWORD) });
        for (name, edits) in [
            (
                "19 MiB less 1 KiB",
                json!([{ "put": "194bff", "at": costs + 1 }]),
            ),
            ("one pass", json!([{ "put": "01", "at": costs + 4 }])),
            ("eleven passes", json!([{ "put": "0b", "at": costs + 4 }])),
            ("two lanes", json!([{ "put": "02", "at": costs + 5 }])),
            ("no lane", json!([{ "put": "00", "at": costs + 5 }])),
            (
                "1 GiB and 1 KiB",
                json!([{ "remove": 3, "at": costs + 1 }, { "insert": "1a00100001", "at": costs + 1 }]),
            ),
            (
                "4 TiB",
                json!([{ "remove": 3, "at": costs + 1 }, { "insert": "1affffffff", "at": costs + 1 }]),
            ),
            (
                "2^64 - 1 KiB",
                json!([{ "remove": 3, "at": costs + 1 }, { "insert": "1bffffffffffffffff", "at": costs + 1 }]),
            ),
        ] {
            file.case(name, "open", change(edits), "limit_exceeded");
        }
        file.case(
            "other costs",
            "open",
            change(json!([{ "put": "194c01", "at": costs + 1 }])),
            "wrong_credentials",
        );
        for (name, edits) in [
            (
                "two costs",
                json!([{ "put": "82", "at": costs }, { "remove": 1, "at": costs + 5 }]),
            ),
            (
                "four costs",
                json!([{ "put": "84", "at": costs }, { "insert": "01", "at": costs + 6 }]),
            ),
            (
                "no costs",
                json!([{ "put": "80", "at": costs }, { "remove": 5, "at": costs + 1 }]),
            ),
        ] {
            file.case(name, "open", change(edits), "tampered");
        }
        devices(&mut file, &vault, &root);
        check(&file);
    });
}

fn devices(file: &mut File, vault: &VaultId, root: &RootKey) {
    let suites = [IdentitySuite::XWing, IdentitySuite::X25519];
    let identities = suites.map(|suite| Identity::make(suite, 1).unwrap());
    let credential = |identity: &Identity| json!({ "kind": "identity", "secrets": hex(&identity.to_secret_bytes()) });
    let names = ["a device", "a device with X25519 alone"];
    let mut others = Vec::new();
    for ((name, identity), length) in names.into_iter().zip(&identities).zip([1_168, 80]) {
        let slot = Slot::for_device(identity.card(), vault, root, 1_700_000_000_000_000);
        let slot = slot.unwrap().encode();
        let inputs = json!({ "slot": hex(&slot), "credential": credential(identity) });
        file.case(name, "open", inputs, "ok");
        // At the end of the record.
        let sealed = slot.len() - length;
        let enc = length as i64 - 48;
        let commitment = sealed as i64 - if length > 255 { 3 } else { 2 } - 32;
        let change = |edits: Value| json!({ "slot": edited(name, edits), "credential": credential(identity) });
        for (what, at) in [
            ("flip in the id", 2),
            ("flip in the salt", commitment - 3),
            ("flip in the commitment", commitment),
            ("flip in what is encapsulated", sealed as i64),
            ("flip in its point", sealed as i64 + enc - 32),
            ("a second encoding of its point", sealed as i64 + enc - 1),
        ] {
            let mask = if what.starts_with("a second") {
                "80"
            } else {
                "01"
            };
            let edits = json!([{ "xor": mask, "at": at }]);
            file.case(
                format!("{name}: {what}"),
                "open",
                change(edits),
                "wrong_credentials",
            );
        }
        let zero = json!([{ "put": hex(&[0; 32]), "at": sealed as i64 + enc - 32 }]);
        let what = format!("{name}: a point of small order");
        file.case(what, "open", change(zero), "wrong_credentials");
        for (what, at) in [("flip in the sealed key", -48), ("flip in its tag", -1)] {
            let edits = json!([{ "xor": "01", "at": at }]);
            file.case(format!("{name}: {what}"), "open", change(edits), "tampered");
        }
        for (what, suite) in [("suite 0", "00"), ("suite 3", "03")] {
            let edits = json!([{ "put": suite, "at": 29 }]);
            file.case(
                format!("{name}: {what}"),
                "open",
                change(edits),
                "unsupported_format",
            );
        }
        let edits = json!([{ "remove": 1, "at": 29 }, { "put": "80", "at": 28 }]);
        file.case(
            format!("{name}: no suite"),
            "open",
            change(edits),
            "tampered",
        );
        let edits = json!([{ "xor": "03", "at": 29 }]);
        file.case(
            format!("{name}: the other suite"),
            "open",
            change(edits),
            "tampered",
        );
        others.push((name, Identity::make(identity.card().suite(), 1).unwrap()));
    }
    others.push((names[1], Identity::make(suites[0], 1).unwrap()));
    others.push((names[0], Identity::make(suites[1], 1).unwrap()));
    for (i, (case, other)) in others.iter().enumerate() {
        let inputs = json!({ "slot": { "case": case }, "credential": credential(other) });
        let name = format!("{case}: another identity, {i}");
        file.case(name, "open", inputs, "wrong_credentials");
    }
    // The card of another day is another card.
    let mut secrets = identities[0].to_secret_bytes();
    let created = secrets.len() - 2;
    secrets[created] = 2;
    for (name, case, credential) in [
        (
            "a device: the same keys, another card",
            names[0],
            json!({ "kind": "identity", "secrets": hex(&secrets) }),
        ),
        (
            "a device: a password",
            names[0],
            password_credential(PASSWORD),
        ),
        (
            "a device for a phrase",
            "recovery phrase",
            credential(&identities[0]),
        ),
    ] {
        let inputs = json!({ "slot": { "case": case }, "credential": credential });
        file.case(name, "open", inputs, "wrong_credentials");
    }
    let inputs = json!({
        "slot": { "case": names[0] },
        "credential": credential(&identities[0]),
        "vault_id": hex(&[5; 16]),
    });
    file.case(
        "a device: another vault",
        "open",
        inputs,
        "wrong_credentials",
    );
}

fn sequence_name(sequence: u64) -> String {
    format!("{sequence:016x}")
}

#[test]
fn header() {
    scripted::seeded("kluis vectors: header", || {
        let password: Credential = Password::new(PASSWORD).into();
        let mut vault = Vault::make(false, &password);
        let id = vault.secrets.vault();
        vault.append();
        vault.change_slots(&[phrase(1), Password::new(PASSWORD).into()]);
        vault.append();
        vault.rotate(&[phrase(2)]);
        let stranger = Vault::make(false, &phrase(1));

        let mut file = File::new("header", json!({ "vault_id": hex(id.as_bytes()) }));
        let names = ["first", "next", "rotated"];
        let credentials = [
            password_credential(PASSWORD),
            phrase_credential(1),
            phrase_credential(2),
        ];
        for ((name, header), credential) in names.into_iter().zip(&vault.headers).zip(&credentials)
        {
            let inputs = json!({ "header": hex(header.as_bytes()), "credential": credential });
            file.case(name, "read", inputs, "ok");
        }
        let second =
            json!({ "header": { "case": "next" }, "credential": password_credential(PASSWORD) });
        file.case("next, by its second slot", "read", second, "ok");
        file.case(
            "without a credential",
            "read",
            json!({ "header": { "case": "first" } }),
            "ok",
        );
        let stranger_header = json!({ "header": hex(stranger.header().as_bytes()) });
        file.case(
            "a vault that was not asked for",
            "read",
            stranger_header.clone(),
            "tampered",
        );
        let known = json!({ "vault_id": hex(stranger.secrets.vault().as_bytes()) });
        file.case(
            "the same, asked for",
            "read",
            with(stranger_header, known),
            "ok",
        );
        for (name, case, credential) in [
            ("another password", "first", password_credential("x")),
            ("another phrase", "next", phrase_credential(9)),
            (
                "a phrase where there is none",
                "first",
                phrase_credential(1),
            ),
            ("an old password", "rotated", password_credential(PASSWORD)),
            ("an old phrase", "rotated", phrase_credential(1)),
        ] {
            let inputs = json!({ "header": { "case": case }, "credential": credential });
            file.case(name, "read", inputs, "wrong_credentials");
        }

        let record = vault.headers[0].as_bytes();
        let body = |edits: Value| json!({ "header": edited("first", edits) });
        let (_, _, wrapped) = vault.headers[0].fields();
        let profile = find(record, wrapped) - 4;
        assert_eq!(record[profile..profile + 3], [1, 0x80, 0x58]);
        let slot = &vault.headers[0].slots()[0];
        let (salt, commitment, sealed) = slot.fields();
        let key = find(record, vault.headers[0].authorities().current());
        let end = record.len() as i64;
        for (name, at) in [
            ("flip in the vault id", find(record, id.as_bytes()) as i64),
            ("flip in the authority", key as i64),
            (
                "flip in the ledger hash",
                find(record, vault.headers[0].ledger().hash.as_bytes()) as i64,
            ),
            ("flip in the wrapped secrets", find(record, wrapped) as i64),
            (
                "flip in a slot's id",
                find(record, slot.id().as_bytes()) as i64,
            ),
            ("flip in a slot's salt", find(record, salt) as i64),
            (
                "flip in a slot's commitment",
                find(record, commitment) as i64,
            ),
            ("flip in a slot's sealed key", find(record, sealed) as i64),
            ("flip in the MAC", end - 96),
            ("flip at the end of the MAC", end - 65),
            ("flip in the signature", end - 64),
            ("flip at the end of the signature", end - 1),
            ("another magic", 0),
        ] {
            file.case(
                name,
                "read",
                body(json!([{ "xor": "01", "at": at }])),
                "tampered",
            );
        }
        for (name, edits) in [
            ("nothing", json!([{ "cut": 0 }])),
            ("three bytes", json!([{ "cut": 3 }])),
            ("a magic", json!([{ "cut": 4 }])),
            ("less than MAC and signature", json!([{ "cut": 99 }])),
            ("cut", json!([{ "cut": -1 }])),
            ("without its signature", json!([{ "cut": -64 }])),
            ("extended", json!([{ "append": "00" }])),
            (
                "a byte between body and MAC",
                json!([{ "insert": "00", "at": -96 }]),
            ),
            ("thirteen elements", json!([{ "put": "8d", "at": 4 }])),
            ("eleven elements", json!([{ "put": "8b", "at": 4 }])),
            ("a longer encoding", json!([{ "insert": "18", "at": 5 }])),
            (
                "signature and MAC of another header",
                json!([
                    { "cut": -96 },
                    { "append": { "case": "next", "field": "header", "edits": [{ "remove": vault.headers[1].as_bytes().len() - 96, "at": 0 }] } },
                ]),
            ),
        ] {
            file.case(name, "read", body(edits), "tampered");
        }
        for (name, edits) in [
            ("version 2", json!([{ "put": "32", "at": 3 }])),
            ("version 0", json!([{ "put": "30", "at": 3 }])),
        ] {
            file.case(name, "read", body(edits), "unsupported_format");
        }
        // Whatever a later version may have written, the authority has signed.
        for (name, edits) in [
            ("suite 0", json!([{ "put": "00", "at": 5 }])),
            ("suite 3", json!([{ "put": "03", "at": 5 }])),
            ("name profile 2", json!([{ "put": "02", "at": profile }])),
            (
                "a policy",
                json!([{ "put": "81", "at": profile + 1 }, { "insert": "820101", "at": profile + 2 }]),
            ),
        ] {
            file.case(name, "read", body(edits), "tampered");
        }
        let costs = find(record, &[0x83, 0x19, 0x4c, 0, 2, 1]);
        for (name, edits) in [
            (
                "Argon2id below its floor",
                json!([{ "put": "194bff", "at": costs + 1 }]),
            ),
            (
                "Argon2id with one pass",
                json!([{ "put": "01", "at": costs + 4 }]),
            ),
            (
                "Argon2id above its ceiling",
                json!([{ "remove": 3, "at": costs + 1 }, { "insert": "1affffffff", "at": costs + 1 }]),
            ),
        ] {
            file.case(name, "read", body(edits), "tampered");
        }
        let long = json!([{ "append": { "pattern": 65_536 } }]);
        file.case("too long", "read", body(long), "limit_exceeded");
        // Good signatures of another key: over our header, and under our id.
        let forged = |edits: Value| json!({ "header": edits });
        let theirs = hex(stranger.header().authorities().current());
        file.case(
            "another authority",
            "read",
            forged(edited("first", json!([{ "put": theirs, "at": key }]))),
            "tampered",
        );

        // What lies in the store, and which header wins.
        let position: Vec<_> = vault.headers.iter().map(Header::position).collect();
        let header = |i: usize| json!({ "case": names[i], "field": "header" });
        let damaged = |i: usize| json!({ "case": names[i], "field": "header", "edits": [{ "xor": "01", "at": 40 }] });
        let claim = |store: &mut BTreeMap<String, Value>, i: usize, data: Value| {
            let name = format!("k/h/{}", sequence_name(position[i].sequence));
            store.insert(format!("{name}-{}", position[i].hash), data);
            store.insert(name, hex(position[i].hash.as_bytes()));
        };
        let store = |copies: [Option<Value>; 2], claimed: &[(usize, Value)]| {
            let mut store = BTreeMap::new();
            for (name, copy) in ["kluis.vault", "k/header"].into_iter().zip(copies) {
                if let Some(copy) = copy {
                    store.insert(name.to_owned(), copy);
                }
            }
            for (i, data) in claimed {
                claim(&mut store, *i, data.clone());
            }
            json!({ "store": store })
        };
        for (name, copies, claimed) in [
            (
                "three equal copies",
                [Some(header(2)), Some(header(2))],
                vec![(2, header(2)), (1, header(1)), (0, header(0))],
            ),
            (
                "copies that are older",
                [Some(header(0)), Some(header(1))],
                vec![(2, header(2)), (1, header(1))],
            ),
            (
                "one copy that is newer",
                [Some(header(0)), Some(header(1))],
                vec![(0, header(0))],
            ),
            (
                "no copies",
                [None, None],
                vec![(0, header(0)), (1, header(1))],
            ),
            ("one copy alone", [Some(header(1)), None], vec![]),
            (
                "damaged copies",
                [Some(damaged(2)), Some(damaged(2))],
                vec![(2, header(2))],
            ),
            (
                "a damaged record",
                [Some(header(1)), Some(header(1))],
                vec![(2, damaged(2)), (1, header(1))],
            ),
            (
                "a damaged record and no copies",
                [None, None],
                vec![(2, damaged(2)), (1, header(1))],
            ),
        ] {
            file.case(name, "choose", store(copies, &claimed), "ok");
        }
        let foreign = json!({ "case": "a vault that was not asked for", "field": "header" });
        for (name, copies, claimed) in [
            (
                "another vault's copy",
                [Some(header(2)), Some(foreign)],
                vec![],
            ),
            (
                "everything damaged",
                [Some(damaged(2)), Some(damaged(1))],
                vec![(2, damaged(2))],
            ),
        ] {
            file.case(name, "choose", store(copies, &claimed), "tampered");
        }

        // A signed header in which every slot is a device's, and one with others.
        let card = Identity::make(IdentitySuite::X25519, 1).unwrap();
        let device = make_device_slot(&stranger.secrets, card.card(), 1).unwrap();
        let slots = stranger.header().slots();
        let known = json!({ "vault_id": hex(stranger.secrets.vault().as_bytes()) });
        let credential = json!({ "kind": "identity", "secrets": hex(&card.to_secret_bytes()) });
        for (name, slots, expect) in [
            (
                "a device beside others",
                [slots, std::slice::from_ref(&device)].concat(),
                "ok",
            ),
            ("devices alone", vec![device], "tampered"),
        ] {
            let header = with_slots(&stranger, slots);
            let inputs = json!({ "header": hex(&header), "credential": credential });
            file.case(name, "read", with(inputs, known.clone()), expect);
        }
        check(&file);
    });
}

#[test]
fn ledger() {
    scripted::seeded("kluis vectors: ledger", || {
        let mut vault = Vault::make(true, &phrase(1));
        let id = vault.secrets.vault();
        vault.append();
        vault.rotate(&[phrase(1)]);
        vault.append();
        // Someone else had opened the next epoch and lost the number.
        let ledger = vault.ledger();
        let lost = vault.secrets.rotated(0).unwrap();
        vault.append();
        vault.rotate(&[phrase(1)]);
        while vault.entries.len() < 67 {
            vault.append();
        }
        drop((ledger, lost));
        let stranger = Vault::make(false, &phrase(1));

        let owners: Vec<_> = vault
            .secrets
            .owners()
            .iter()
            .map(|k| hex(k.expose_secret()))
            .collect();
        let authority = *vault.header().authorities().current();
        let authorities = vault.header().authorities().list();
        let authorities: Vec<_> = authorities
            .iter()
            .map(|a| json!([hex(&a.key), a.from]))
            .collect();
        let mut file = File::new(
            "ledger",
            json!({
                "vault_id": hex(id.as_bytes()),
                "authorities": authorities,
                "owner_keys": owners,
            }),
        );
        let shown = [0, 1, 2, 4, 63, 64, 65, 66];
        let name = |i: usize| format!("entry {i}");
        for i in shown {
            let inputs = json!({ "entry": hex(vault.entries[i].as_bytes()) });
            file.case(name(i), "entry", inputs, "ok");
        }
        let other = Vault::make(false, &phrase(1));
        let two = json!([
            [hex(other.header().authorities().current()), 0],
            [hex(&authority), 64]
        ]);
        let entry = |i: usize| json!({ "case": name(i), "field": "entry" });
        file.case(
            "an authority that took over",
            "entry",
            json!({ "entry": entry(64), "authorities": two }),
            "ok",
        );
        file.case(
            "an authority before its time",
            "entry",
            json!({ "entry": entry(63), "authorities": two }),
            "tampered",
        );
        file.case(
            "an owner key that is not held",
            "entry",
            json!({ "entry": entry(64), "owner_keys": owners[..2] }),
            "stale",
        );
        file.case(
            "another owner key",
            "entry",
            json!({ "entry": entry(0), "owner_keys": [hex(&[1; 32])] }),
            "tampered",
        );
        file.case(
            "another vault id",
            "entry",
            json!({ "entry": entry(0), "vault_id": hex(&[1; 16]) }),
            "tampered",
        );
        file.case(
            "another vault's entry",
            "entry",
            json!({ "entry": hex(stranger.entries[0].as_bytes()) }),
            "tampered",
        );

        let record = vault.entries[1].as_bytes();
        let change = |edits: Value| json!({ "entry": edited("entry 1", edits) });
        let hash = find(record, vault.entries[0].position().hash.as_bytes());
        let named = find(record, vault.headers[0].position().hash.as_bytes());
        let end = record.len() as i64;
        for (name, at) in [
            ("another magic", 0),
            ("flip in the vault id", find(record, id.as_bytes()) as i64),
            ("flip in the hash before", hash as i64),
            ("flip in the header's hash", named as i64),
            ("flip in a part", end - 80),
            ("flip in the signature", end - 64),
            ("flip at the end of the signature", end - 1),
        ] {
            file.case(
                name,
                "entry",
                change(json!([{ "xor": "01", "at": at }])),
                "tampered",
            );
        }
        for (name, edits) in [
            ("nothing", json!([{ "cut": 0 }])),
            ("a magic", json!([{ "cut": 4 }])),
            ("cut", json!([{ "cut": -1 }])),
            ("extended", json!([{ "append": "00" }])),
            (
                "a byte between body and signature",
                json!([{ "insert": "00", "at": -64 }]),
            ),
            ("eight elements", json!([{ "put": "88", "at": 4 }])),
        ] {
            file.case(name, "entry", change(edits), "tampered");
        }
        file.case(
            "version 2",
            "entry",
            change(json!([{ "put": "32", "at": 3 }])),
            "unsupported_format",
        );
        file.case(
            "too long",
            "entry",
            change(json!([{ "append": { "pattern": 4_194_304 } }])),
            "limit_exceeded",
        );

        // What lies in the store.
        let position = |i: usize| vault.entries[i].position();
        let lay = |store: &mut BTreeMap<String, Value>, i: usize, data: Value| {
            let name = format!("k/l/{}", sequence_name(i as u64));
            store.insert(format!("{name}-{}", position(i).hash), data);
            store.insert(name, hex(position(i).hash.as_bytes()));
        };
        let store = |range: &[usize]| {
            let mut store = BTreeMap::new();
            range.iter().for_each(|i| lay(&mut store, *i, entry(*i)));
            store
        };
        let at = |header: &Header, ledger: usize| {
            json!({
                "header_sequence": header.position().sequence,
                "header_hash": hex(header.position().hash.as_bytes()),
                "ledger_sequence": ledger,
                "ledger_hash": hex(position(ledger).hash.as_bytes()),
            })
        };
        let newest = vault.header();
        let mut chain = |name: &str, store: BTreeMap<String, Value>, at: Value, expect: &str| {
            file.case(name, "chain", json!({ "store": store, "at": at }), expect);
        };
        let first = &vault.headers[0];
        chain("entry 0 alone", store(&[0]), at(first, 0), "ok");
        chain("two entries", store(&[0, 1]), at(first, 0), "ok");
        chain(
            "a rotation",
            store(&[0, 1, 2]),
            at(&vault.headers[1], 1),
            "ok",
        );
        chain(
            "from the last snapshot",
            store(&[64, 65, 66]),
            at(newest, 3),
            "ok",
        );
        chain("at the last snapshot", store(&[64]), at(newest, 64), "ok");
        chain(
            "older entries beside it",
            store(&[0, 1, 2, 63, 64, 65]),
            at(newest, 65),
            "ok",
        );
        let mut unclaimed = store(&[64, 65]);
        lay(&mut unclaimed, 66, entry(66));
        unclaimed.remove(&format!("k/l/{}", sequence_name(66)));
        chain(
            "the entry that the header names counts as claimed",
            unclaimed,
            at(newest, 66),
            "ok",
        );
        let mut damaged = store(&[64, 65]);
        lay(
            &mut damaged,
            66,
            edited("entry 66", json!([{ "xor": "01", "at": 60 }])),
        );
        let mut damaged_entry = damaged.clone();
        for data in damaged_entry.values_mut() {
            if let Some(fields) = data.as_object_mut() {
                fields.insert("field".into(), json!("entry"));
            }
        }
        chain(
            "a claim of a damaged entry",
            damaged_entry,
            at(newest, 65),
            "ok",
        );
        let mut gone = store(&[64, 66]);
        gone.remove("k/l/0");
        chain("an entry is missing", gone, at(newest, 64), "tampered");
        let mut swapped = store(&[64, 65, 66]);
        let name_65 = format!("k/l/{}-{}", sequence_name(65), position(65).hash);
        swapped.insert(name_65, entry(64));
        chain(
            "an entry in place of another",
            swapped,
            at(newest, 64),
            "tampered",
        );
        chain(
            "a ledger that was rolled back",
            store(&[64, 65]),
            at(newest, 66),
            "stale",
        );
        chain(
            "a header that was rolled back",
            store(&[0, 1, 2]),
            at(first, 0),
            "stale",
        );
        shared(&mut file);
        check(&file);
    });
}

/// Folders that are mounted, and what else the owner decides about them.
fn shared(file: &mut File) {
    let mut vault = Vault::make(true, &phrase(1));
    let id = vault.secrets.vault();
    let path = |text: &str| VaultPath::parse(text).unwrap();
    let identity = Identity::make(IdentitySuite::X25519, 1).unwrap();
    let anna = Contact::new("anna", identity.card().clone()).unwrap();
    let checked = anna.verified(&identity.card().fingerprint()).unwrap();
    let share = |folder: Option<VaultPath>, past| Decision::Share {
        scope: Scope::Folder(folder),
        recipient: checked.recipient().unwrap().allow_classical(),
        terms: Terms {
            past,
            ..Terms::reading()
        },
    };
    let grant = |appended: Appended| appended.granted.unwrap().0;
    let other = Contact::new("é", identity.card().clone()).unwrap();
    vault.decide(Decision::Contact(anna.clone())).unwrap();
    vault.decide(Decision::Contact(other)).unwrap();
    vault.decide(Decision::Contact(checked.clone())).unwrap();
    let first = vault
        .decide(share(Some(path("photos")), Past::Shared))
        .unwrap();
    let second = vault
        .decide(share(Some(path("photos/2026")), Past::HeldBack))
        .unwrap();
    let whole = grant(vault.decide(share(None, Past::Shared)).unwrap());
    let all = vec![grant(first), grant(second), whole];
    vault.decide(Decision::Revoke(all)).unwrap();
    vault
        .decide(share(Some(path("photos")), Past::HeldBack))
        .unwrap();
    let floors = vault.ledger().tree().floors_to_raise(Some(&path("photos")));
    vault.decide(Decision::RaiseFloors(floors)).unwrap();
    vault.decide(Decision::Forget("é".to_owned())).unwrap();
    let before = vault.entries.len();
    while vault.entries.len() < 65 {
        vault.append();
    }

    let authorities = vault.header().authorities().list();
    let authorities: Vec<_> = authorities
        .iter()
        .map(|a| json!([hex(&a.key), a.from]))
        .collect();
    let owner = hex(vault.secrets.owners()[0].expose_secret());
    let context = json!({
        "vault_id": hex(id.as_bytes()),
        "authorities": authorities,
        "owner_keys": [owner],
    });
    let name = |i: usize| format!("shared: entry {i}");
    for i in (0..before).chain([64]) {
        let inputs = json!({ "entry": hex(vault.entries[i].as_bytes()) });
        file.case(name(i), "entry", with(context.clone(), inputs), "ok");
    }
    let at = |i: usize| {
        let (header, ledger) = (vault.header().position(), vault.entries[i].position());
        json!({
            "header_sequence": header.sequence,
            "header_hash": hex(header.hash.as_bytes()),
            "ledger_sequence": ledger.sequence,
            "ledger_hash": hex(ledger.hash.as_bytes()),
        })
    };
    let lay = |store: &mut BTreeMap<String, Value>, at: Position, data: Value| {
        let name = format!("k/l/{}", sequence_name(at.sequence));
        store.insert(format!("{name}-{}", at.hash), data);
        store.insert(name, hex(at.hash.as_bytes()));
    };
    let store = |range: &mut dyn Iterator<Item = usize>| {
        let mut store = BTreeMap::new();
        for i in range {
            let entry = json!({ "case": name(i), "field": "entry" });
            lay(&mut store, vault.entries[i].position(), entry);
        }
        store
    };
    for i in 1..before {
        let inputs = json!({ "store": store(&mut (0..=i)), "at": at(0) });
        let case = format!("shared: up to entry {i}");
        file.case(case, "chain", with(context.clone(), inputs), "ok");
    }
    let inputs = json!({ "store": store(&mut (64..65)), "at": at(64) });
    let case = "shared: from the snapshot";
    file.case(case, "chain", with(context.clone(), inputs), "ok");

    let last = &vault.entries[before - 1];
    let ledger = vault.ledger();
    let photos = ledger.tree().mounted(Some(&path("photos"))).unwrap();
    let granted = ledger.grants().next().unwrap();
    let mount = |folder: Option<&str>| {
        let folder = folder.map(path);
        Action::Collection(None, Collection::make(folder, false).unwrap())
    };
    let floor = |collection, floor| Action::Floor { collection, floor };
    let mut again = granted.duplicate();
    again.id = GrantId([1; 16]);
    let mut elsewhere = again.duplicate();
    (elsewhere.filed, elsewhere.scope) = (before as u64, Scope::Folder(Some(path("other"))));
    let mut of_one = again.duplicate();
    (of_one.filed, of_one.scope) = (before as u64, Scope::Object(path("other")));
    let mut of_version = again.duplicate();
    of_version.filed = before as u64;
    of_version.scope = Scope::Version(path("photos/2026/a"), [7; 32]);
    let mut twice = granted.duplicate();
    twice.filed = before as u64;
    let letters = |grant| Action::Letters {
        grant,
        mailbox: crate::grant::MailboxSecret::init_with(|out| *out = [1; 32]),
    };
    let (newer, of_none) = (letters(twice.id), letters(GrantId([9; 16])));
    for (what, action, expect) in [
        ("a mount", mount(Some("other")), "ok"),
        (
            "a mount in a place that has one",
            mount(Some("photos")),
            "tampered",
        ),
        ("a mount at the top", mount(None), "tampered"),
        ("a floor once more", floor(photos.id(), photos.floor), "ok"),
        (
            "a floor that sinks",
            floor(photos.id(), photos.floor - 1),
            "tampered",
        ),
        (
            "a floor above the last epoch",
            floor(photos.id(), photos.floor + 1),
            "tampered",
        ),
        (
            "a floor of nothing",
            floor(CollectionId([1; 16]), 0),
            "tampered",
        ),
        (
            "nobody is forgotten",
            Action::Forget("bert".to_owned()),
            "tampered",
        ),
        (
            "nothing is taken back",
            Action::Revoke(GrantId([1; 16])),
            "tampered",
        ),
        (
            "a grant of another entry",
            Action::Grant(Box::new(again)),
            "tampered",
        ),
        (
            "a grant of another folder",
            Action::Grant(Box::new(elsewhere)),
            "tampered",
        ),
        (
            "a grant of one object",
            Action::Grant(Box::new(of_one)),
            "ok",
        ),
        (
            "a grant of one version",
            Action::Grant(Box::new(of_version)),
            "ok",
        ),
        ("a grant twice", Action::Grant(Box::new(twice)), "tampered"),
        ("a newer mailbox", newer, "ok"),
        ("a newer mailbox of no grant", of_none, "tampered"),
        (
            "what is for holders",
            Action::Filed(RecordHash([1; 32])),
            "tampered",
        ),
    ] {
        let next = last.followed_by(&Actions(vec![action]).encode(), &vault.secrets);
        let mut store = store(&mut (0..before));
        lay(&mut store, next.position(), hex(next.as_bytes()));
        let inputs = json!({ "store": store, "at": at(0) });
        let case = format!("shared: {what}");
        file.case(case, "chain", with(context.clone(), inputs), expect);
    }
}

#[test]
fn names() {
    scripted::seeded("kluis vectors: names", || {
        let mut file = File::new("names", json!({ "nk": hex(&pattern(32)) }));
        let long = "n".repeat(128);
        let longest = "ü".repeat(511) + "x";
        let cases = [
            ("one letter", "a".to_owned()),
            ("15 bytes", "fifteen letters".to_owned()),
            ("16 bytes", "sixteen letters!".to_owned()),
            ("127 bytes", "n".repeat(127)),
            ("128 bytes", long.clone()),
            ("1023 bytes", longest),
            ("folders", "photos/2026/cat.jpg".to_owned()),
            ("one name in two folders", "a/a/a".to_owned()),
            ("composed", "\u{e9}".to_owned()),
            ("decomposed", "e\u{301}".to_owned()),
            (
                "awkward",
                " /.../%2e%2e/a\\b/~/\u{202e}\u{1f512}/-rf".to_owned(),
            ),
            ("a long folder", format!("{long}/x")),
            ("two long segments", format!("{long}/{}", "m".repeat(200))),
        ];
        for (name, path) in &cases {
            file.case(*name, "seal", json!({ "path": path }), "ok");
        }
        for (name, path) in [
            ("nothing", ""),
            ("a slash", "/"),
            ("a leading slash", "/a"),
            ("a trailing slash", "a/"),
            ("an empty segment", "a//b"),
            ("a dot", "a/./b"),
            ("two dots", ".."),
            ("a zero", "a\0"),
            ("a newline", "a\nb"),
            ("a control character of Latin-1", "a\u{9f}"),
        ] {
            file.case(name, "seal", json!({ "path": path }), "invalid_input");
        }
        let over = json!({ "path": "x".repeat(1_024) });
        file.case("1024 bytes", "seal", over, "invalid_input");

        let tree = crate::tree::Tree::of_vault(crate::collection::NameKey::init_with(|key| {
            key.copy_from_slice(&pattern(32));
        }));
        let seal = |path: &str| {
            let stored = tree.store_path(&VaultPath::parse(path).unwrap()).unwrap();
            let long: BTreeMap<String, Value> = stored
                .long_names
                .iter()
                .map(|(path, data)| (path[2..].to_owned(), hex(data)))
                .collect();
            (stored.path[2..].to_owned(), long)
        };
        for (name, path) in &cases {
            let (stored, long) = seal(path);
            file.case(
                format!("{name}, opened"),
                "open",
                json!({ "stored": stored, "long": long }),
                "ok",
            );
        }
        let (stored, _) = seal("photos/cat.jpg");
        let (photos, cat) = stored.split_once('/').unwrap();
        let (name, record) = {
            let (name, long) = seal(&long);
            let record = long.values().next().unwrap().as_str().unwrap().to_owned();
            (name, record)
        };
        let flipped = |text: &str, at: usize| {
            let mut text = text.as_bytes().to_vec();
            text[at] = if text[at] == b'0' { b'1' } else { b'0' };
            String::from_utf8(text).unwrap()
        };
        let beside = |record: Value| json!({ format!("{name}~"): record });
        for (what, stored, long) in [
            (
                "the first character changed",
                format!("{photos}/{}", flipped(cat, 0)),
                json!({}),
            ),
            (
                "a character changed",
                format!("{photos}/{}", flipped(cat, 40)),
                json!({}),
            ),
            (
                "the folder changed",
                format!("{}/{cat}", flipped(photos, 5)),
                json!({}),
            ),
            (
                "in upper case",
                format!("{photos}/{}", cat.to_uppercase()),
                json!({}),
            ),
            (
                "cut",
                format!("{photos}/{}", &cat[..cat.len() - 1]),
                json!({}),
            ),
            ("extended", format!("{photos}/{cat}0"), json!({})),
            (
                "trailing bits",
                format!("{photos}/{}1", &cat[..cat.len() - 1]),
                json!({}),
            ),
            (
                "padding characters",
                format!("{photos}/{cat}===="),
                json!({}),
            ),
            ("in another folder", cat.to_owned(), json!({})),
            ("not a name of ours", "readme.txt".to_owned(), json!({})),
            (
                "a long name without the object beside it",
                name.clone(),
                json!({}),
            ),
            (
                "the object beside a long name",
                format!("{name}~"),
                beside(json!(record)),
            ),
            (
                "another object beside a long name",
                name.clone(),
                beside(json!(flipped(&record, 60))),
            ),
            (
                "a short object beside a long name",
                name.clone(),
                beside(json!(&record[..64])),
            ),
            (
                "a long name changed",
                flipped(&name, 9),
                beside(json!(record)),
            ),
        ] {
            file.case(
                what,
                "open",
                json!({ "stored": stored, "long": long }),
                "foreign",
            );
        }
        check(&file);
    });
}

/// Vault, collection and keys of an object's case.
fn place(vault: &Vault) -> Value {
    let ledger = vault.ledger();
    let epochs: Vec<_> = ledger
        .root()
        .epochs
        .iter()
        .map(|e| {
            json!([
                e.number,
                e.opened,
                u8::from(e.orphan),
                hex(e.key.expose_secret())
            ])
        })
        .collect();
    json!({
        "vault_id": hex(vault.secrets.vault().as_bytes()),
        "ledger_sequence": ledger.head().sequence,
        "collection": hex(ledger.root().id().as_bytes()),
        "epochs": epochs,
    })
}

#[test]
fn objects() {
    scripted::seeded("kluis vectors: objects", || {
        let plain = Vault::make(false, &phrase(1));
        let padded = Vault::make(true, &phrase(1));
        let path = "docs/report.txt";
        let defaults = with(place(&plain), json!({ "suite": 1, "path": path }));
        let mut file = File::new("objects", defaults);
        let version = 1_700_000_000_000_000;
        let none = Metadata::default();

        for size in [0, 1, 16_383, 16_384, 16_385, 50_000] {
            let (object, _) = put(&plain, path, version, &none, &pattern(size), true);
            let name = if size == 0 {
                "empty object".to_owned()
            } else {
                format!("{size} bytes")
            };
            file.case(name, "open", json!({ "object": hex(&object) }), "ok");
        }
        for (size, known) in [
            (0, true),
            (1, true),
            (9, true),
            (16_385, true),
            (0, false),
            (1, false),
            (9, false),
            (16_385, false),
        ] {
            let (object, _) = put(&padded, path, version, &none, &pattern(size), known);
            let how = if known { "known" } else { "a stream" };
            let inputs = with(place(&padded), json!({ "object": hex(&object) }));
            file.case(format!("padded, {how}, {size} bytes"), "open", inputs, "ok");
        }
        for (name, case, range) in [
            ("a range in a chunk", "50000 bytes", [100, 200]),
            ("a range across chunks", "50000 bytes", [16_000, 33_000]),
            ("a range up to a border", "50000 bytes", [16_000, 16_384]),
            ("a range from a border", "50000 bytes", [32_768, 32_769]),
            ("the last byte", "50000 bytes", [49_999, 50_000]),
            ("an empty range", "50000 bytes", [17, 17]),
            ("everything", "50000 bytes", [0, 50_000]),
        ] {
            let inputs = json!({ "object": { "case": case }, "range": range });
            file.case(name, "open", inputs, "ok");
        }
        let inputs = with(
            place(&padded),
            json!({ "object": { "case": "padded, a stream, 16385 bytes" }, "range": [16_000, 16_385] }),
        );
        file.case("a range of a padded object", "open", inputs, "ok");

        let mtime = |seconds, nanoseconds| {
            Some(Mtime {
                seconds,
                nanoseconds,
            })
        };
        let attributes = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect()
        };
        // 80 and 81 bytes of CBOR.
        let edge = |size| {
            attributes(&[
                ("content-type", "text/plain"),
                ("meta:note", &"n".repeat(size)),
            ])
        };
        let cases = [
            (
                "mtime",
                Metadata {
                    mtime: mtime(1_700_000_000, 123_456_789),
                    ..Metadata::default()
                },
            ),
            (
                "mtime before 1970",
                Metadata {
                    mtime: mtime(-1, 999_999_999),
                    ..Metadata::default()
                },
            ),
            (
                "the first mtime",
                Metadata {
                    mtime: mtime(i64::MIN, 0),
                    ..Metadata::default()
                },
            ),
            (
                "mtime at 1970",
                Metadata {
                    mtime: mtime(0, 0),
                    ..Metadata::default()
                },
            ),
            (
                "expiry",
                Metadata {
                    expires: Some(1_800_000_000_000_000),
                    ..Metadata::default()
                },
            ),
            (
                "attributes",
                Metadata {
                    attributes: attributes(&[
                        ("content-type", "text/plain"),
                        ("meta:a", ""),
                        ("meta:\u{e9}", "\u{1f512}"),
                    ]),
                    ..Metadata::default()
                },
            ),
            (
                "attributes of 80 bytes",
                Metadata {
                    attributes: edge(43),
                    ..Metadata::default()
                },
            ),
            (
                "attributes outside",
                Metadata {
                    attributes: edge(44),
                    mtime: mtime(1, 2),
                    ..Metadata::default()
                },
            ),
        ];
        for (name, metadata) in cases {
            let (object, outside) = put(&plain, path, version, &metadata, b"x", true);
            assert_eq!(outside.is_some(), name == "attributes outside");
            let mut inputs = json!({ "object": hex(&object) });
            if let Some(outside) = outside {
                inputs = with(inputs, json!({ "attributes_outside": hex(&outside) }));
            }
            file.case(name, "open", inputs, "ok");
        }
        let outside = |sealed: Option<Value>| {
            let object = json!({ "object": { "case": "attributes outside" } });
            match sealed {
                Some(sealed) => with(object, json!({ "attributes_outside": sealed })),
                None => object,
            }
        };
        file.case(
            "attributes outside are missing",
            "open",
            outside(None),
            "tampered",
        );
        for (name, edits) in [
            (
                "attributes outside changed in the salt",
                json!([{ "xor": "01", "at": 0 }]),
            ),
            (
                "attributes outside changed in the commitment",
                json!([{ "xor": "01", "at": 24 }]),
            ),
            (
                "attributes outside changed",
                json!([{ "xor": "01", "at": 56 }]),
            ),
            ("attributes outside cut", json!([{ "cut": -1 }])),
            ("attributes outside extended", json!([{ "append": "00" }])),
        ] {
            file.case(
                name,
                "open",
                outside(Some(edited("attributes outside", edits))),
                "tampered",
            );
        }
        let unwanted = json!({ "object": { "case": "1 bytes" }, "attributes_outside": { "case": "attributes outside" } });
        file.case(
            "attributes outside that nobody announced",
            "open",
            unwanted,
            "ok",
        );

        // One fault each.
        let small = "1 bytes";
        let large = "50000 bytes";
        let change = |case: &str, edits: Value| json!({ "object": edited(case, edits) });
        for (name, at) in [
            ("flip in the magic", 0),
            ("flip in the flag for padding", 5),
            ("flip in the epoch", 11),
            ("flip in the version", 16),
            ("flip at the end of the version", 23),
            ("flip in the collection", 24),
            ("flip at the end of the collection", 39),
            ("flip in the frame", 40),
            ("flip at the end of the frame", 183),
            ("flip in the frame's tag", 184),
            ("flip at the end of the frame's tag", 199),
            ("flip in the salt", 200),
            ("flip at the end of the salt", 223),
            ("flip in the commitment", 224),
            ("flip at the end of the commitment", 255),
            ("flip in the only chunk", 256),
            ("flip in its tag", 257),
            ("flip at the end of its tag", 272),
        ] {
            file.case(
                name,
                "open",
                change(small, json!([{ "xor": "01", "at": at }])),
                "tampered",
            );
        }
        file.case(
            "flip in the stamp",
            "open",
            change(small, json!([{ "xor": "01", "at": 15 }])),
            "tampered",
        );
        for i in 0..4i64 {
            let start = 256 + 16_400 * i;
            let length = if i < 3 { 16_384 } else { 50_000 - 3 * 16_384 };
            for (what, at) in [
                ("first byte", start),
                ("last byte", start + length - 1),
                ("tag", start + length),
            ] {
                let edits = json!([{ "xor": "80", "at": at }]);
                file.case(
                    format!("flip in the {what} of chunk {i}"),
                    "open",
                    change(large, edits),
                    "tampered",
                );
            }
        }
        let border = 256 + 16_400;
        for (name, edits) in [
            ("nothing", json!([{ "cut": 0 }])),
            ("a magic alone", json!([{ "cut": 4 }])),
            ("a header short of one byte", json!([{ "cut": 255 }])),
            ("a header alone", json!([{ "cut": 256 }])),
            ("a tag short of one byte", json!([{ "cut": 271 }])),
            ("the shortest valid length", json!([{ "cut": 272 }])),
            ("cut before a border", json!([{ "cut": border - 1 }])),
            ("cut at a border", json!([{ "cut": border }])),
            ("cut behind a border", json!([{ "cut": border + 1 }])),
            ("cut a tag behind a border", json!([{ "cut": border + 16 }])),
            (
                "cut at the last border",
                json!([{ "cut": 256 + 3 * 16_400 }]),
            ),
            ("cut by one byte", json!([{ "cut": -1 }])),
            ("extended by one byte", json!([{ "append": "00" }])),
            (
                "extended by a chunk",
                json!([{ "append": { "pattern": 16_400 } }]),
            ),
            (
                "chunks 0 and 1 swapped",
                json!([{ "swap": 16_400, "at": 256, "with": border }]),
            ),
            (
                "chunks 0 and 2 swapped",
                json!([{ "swap": 16_400, "at": 256, "with": 256 + 2 * 16_400 }]),
            ),
            (
                "chunk 1 dropped",
                json!([{ "remove": 16_400, "at": border }]),
            ),
            (
                "chunk 0 twice",
                json!([{ "insert": { "case": large, "field": "object", "edits": [{ "cut": border }, { "remove": 256, "at": 0 }] }, "at": border }]),
            ),
            (
                "the header of another object",
                json!([{ "put": { "case": "16385 bytes", "field": "object", "edits": [{ "cut": 256 }] }, "at": 0 }]),
            ),
            (
                "extended by itself",
                json!([{ "append": { "case": large, "field": "object" } }]),
            ),
        ] {
            file.case(name, "open", change(large, edits), "tampered");
        }
        for (name, at, byte, expect) in [
            ("version 2", 3, "32", "unsupported_format"),
            ("suite 0", 4, "00", "unsupported_format"),
            ("suite 3", 4, "03", "unsupported_format"),
            ("suite 255", 4, "ff", "unsupported_format"),
            ("suite 2 in a vault of suite 1", 4, "02", "tampered"),
            ("an unknown flag", 5, "02", "unsupported_format"),
            ("another unknown flag", 5, "80", "unsupported_format"),
            ("byte 6", 6, "01", "unsupported_format"),
            ("byte 7", 7, "01", "unsupported_format"),
        ] {
            file.case(
                name,
                "open",
                change(small, json!([{ "put": byte, "at": at }])),
                expect,
            );
        }
        let refer = |change: Value| with(json!({ "object": { "case": small } }), change);
        for (name, change) in [
            ("another name", json!({ "path": "docs/report.tx" })),
            ("another folder", json!({ "path": "doc/report.txt" })),
            ("at the top", json!({ "path": "report.txt" })),
            ("deeper", json!({ "path": "docs/report.txt/x" })),
            ("another vault", json!({ "vault_id": hex(&[1; 16]) })),
            ("another collection", json!({ "collection": hex(&[1; 16]) })),
            (
                "another key",
                json!({ "epochs": [[0, 0, 0, hex(&[1; 32])]] }),
            ),
            (
                "another epoch",
                json!({ "epochs": [[1, 0, 0, place(&plain)["epochs"][0][3]]] }),
            ),
            (
                "below the floor",
                json!({ "epochs": [place(&plain)["epochs"][0], [1, 1, 0, hex(&[1; 32])]], "floor": 1 }),
            ),
        ] {
            file.case(name, "open", refer(change), "tampered");
        }
        let own = place(&plain)["epochs"][0].clone();
        let orphan = json!([0, 3, 1, hex(&[1; 32])]);
        file.case(
            "one of two keys of its epoch",
            "open",
            refer(json!({ "epochs": [orphan, own] })),
            "ok",
        );

        // Epochs: entry 2 closes epoch 0.
        let mut rotated = Vault::make(false, &phrase(1));
        rotated.append();
        let (before, _) = put(&rotated, path, version, &none, b"before", true);
        let old = place(&rotated)["epochs"][0].clone();
        rotated.rotate(&[phrase(1)]);
        rotated.append();
        rotated.append();
        let now = place(&rotated);
        let (after, _) = put(&rotated, path, version, &none, b"after", true);
        file.case(
            "under a closed epoch",
            "open",
            with(now.clone(), json!({ "object": hex(&before) })),
            "ok",
        );
        file.case(
            "under a new epoch",
            "open",
            with(now.clone(), json!({ "object": hex(&after) })),
            "ok",
        );
        let later = json!({ "object": { "case": "under a new epoch" }, "ledger_sequence": 2 });
        file.case(
            "a stamp above the ledger",
            "open",
            with(now.clone(), later),
            "stale",
        );
        let opened = now["epochs"][1].clone();
        let closed = |at: u64| {
            let mut next = opened.clone();
            next[1] = json!(at);
            let epochs = json!([old, next]);
            with(
                now.clone(),
                json!({ "object": { "case": "under a closed epoch" }, "epochs": epochs }),
            )
        };
        file.case(
            "a stamp just below the closing entry",
            "open",
            closed(2),
            "ok",
        );
        file.case(
            "a stamp at the closing entry",
            "open",
            closed(1),
            "tampered",
        );
        file.case(
            "a stamp above the closing entry",
            "open",
            closed(0),
            "tampered",
        );
        let orphan = json!([1, 0, 1, hex(&[1; 32])]);
        let epochs = with(
            now.clone(),
            json!({ "object": { "case": "under a closed epoch" }, "epochs": [old, orphan, opened] }),
        );
        file.case("an orphan closes nothing", "open", epochs, "ok");

        // Frames and padding by a writer who holds the key and not the rules.
        let frame = |bytes: &[(usize, &[u8])]| {
            let mut frame = [0; 144];
            frame[0] = 1;
            for (at, part) in bytes {
                frame[*at..at + part.len()].copy_from_slice(part);
            }
            frame
        };
        let mut rule =
            |name: &str, vault: &Vault, bytes: &[(usize, &[u8])], text: &[u8], expect: &str| {
                let object = seal_with_frame(vault, path, &frame(bytes), text);
                file.case(
                    name,
                    "open",
                    with(place(vault), json!({ "object": hex(&object) })),
                    expect,
                );
            };
        for (name, bytes) in [
            ("frame 0", &[(0, &[0u8][..])][..]),
            ("frame 2", &[(0, &[2])]),
            ("frame: flag 32", &[(1, &[32])]),
            ("frame: flag 128", &[(1, &[128])]),
        ] {
            rule(name, &plain, bytes, b"x", "unsupported_format");
        }
        let list = [0x82, 0x66, b'm', b'e', b't', b'a', b':', b'a', 0x61, b'b'];
        rule(
            "frame: a good one",
            &plain,
            &[(3, &[10]), (64, &list)],
            b"x",
            "ok",
        );
        rule("frame: flags of zeros", &plain, &[(1, &[3])], b"x", "ok");
        for (name, bytes) in [
            ("frame: nanoseconds without a flag", &[(7, &[1u8][..])][..]),
            ("frame: seconds without a flag", &[(15, &[1])]),
            ("frame: expiry without a flag", &[(23, &[1])]),
            ("frame: length without a flag", &[(31, &[1])]),
            ("frame: hash without a flag", &[(32, &[1])]),
            ("frame: attributes without a length", &[(64, &list)]),
            (
                "frame: a byte behind the attributes",
                &[(3, &[10]), (64, &list), (74, &[1])],
            ),
            ("frame: the last byte", &[(143, &[1])]),
            (
                "frame: a billion nanoseconds",
                &[(1, &[1]), (4, &1_000_000_000u32.to_be_bytes())],
            ),
            ("frame: attributes cut", &[(3, &[9]), (64, &list)]),
            ("frame: attributes too long", &[(3, &[11]), (64, &list)]),
            (
                "frame: attributes longer than their place",
                &[(3, &[81]), (64, &list)],
            ),
            (
                "frame: attributes longer than the frame",
                &[(2, &[255, 255]), (64, &list)],
            ),
            (
                "frame: no attributes in a list",
                &[(3, &[1]), (64, &[0x80])],
            ),
            (
                "frame: a name without a value",
                &[(3, &[2]), (64, &[0x81, 0x60])],
            ),
            (
                "frame: an unknown attribute",
                &[(3, &[4]), (64, &[0x82, 0x61, b'a', 0x60])],
            ),
            (
                "frame: an attribute without a name",
                &[(3, &[8]), (64, b"\x82\x65meta:\x60")],
            ),
            (
                "frame: attributes out of order",
                &[(3, &[17]), (64, b"\x84\x66meta:b\x60\x66meta:a\x60")],
            ),
            (
                "frame: an attribute twice",
                &[(3, &[17]), (64, b"\x84\x66meta:a\x60\x66meta:a\x60")],
            ),
            (
                "frame: a value that is no text",
                &[(3, &[9]), (64, b"\x82\x66meta:a\x40")],
            ),
            (
                "frame: attributes in both places",
                &[(1, &[16]), (3, &[10]), (64, &list)],
            ),
            (
                "frame: a length in an object that is not padded",
                &[(1, &[4]), (31, &[1])],
            ),
            (
                "frame: a length at the end of one that is not padded",
                &[(1, &[8])],
            ),
            ("frame: both lengths", &[(1, &[12])]),
        ] {
            rule(name, &plain, bytes, b"x", "tampered");
        }
        let known = |length: u8| [(1, vec![4]), (31, vec![length])];
        let end = [(1usize, &[8u8][..])];
        fn parts(of: &[(usize, Vec<u8>)]) -> Vec<(usize, &[u8])> {
            of.iter().map(|(at, part)| (*at, &part[..])).collect()
        }
        for (name, length, text, expect) in [
            (
                "padding: nine in ten",
                9,
                &[5, 5, 5, 5, 5, 5, 5, 5, 5, 0][..],
                "ok",
            ),
            ("padding: filler that is not zero", 9, &[5; 10], "tampered"),
            ("padding: too little", 9, &[5; 9], "tampered"),
            ("padding: too much", 8, &[0; 10], "tampered"),
            ("padding: a length beyond the end", 11, &[0; 10], "tampered"),
        ] {
            rule(name, &padded, &parts(&known(length)), text, expect);
        }
        rule("padding: no length", &padded, &[], &[], "tampered");
        rule(
            "padding: both lengths",
            &padded,
            &[(1, &[12])],
            &[0; 8],
            "tampered",
        );
        for (name, text, expect) in [
            (
                "padding: a stream of one byte",
                &[5, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
                "ok",
            ),
            (
                "padding: a stream with filler that is not zero",
                &[5, 5, 0, 0, 0, 0, 0, 0, 0, 1],
                "tampered",
            ),
            (
                "padding: a stream with too much",
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "tampered",
            ),
            (
                "padding: a stream with a length beyond its end",
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
                "tampered",
            ),
            (
                "padding: a stream with the longest length",
                &[0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
                "tampered",
            ),
            (
                "padding: a stream without room for its length",
                &[0; 7],
                "tampered",
            ),
            ("padding: a stream of nothing", &[], "tampered"),
        ] {
            rule(name, &padded, &end, text, expect);
        }
        check(&file);
    });
}

#[test]
fn padding() {
    let mut file = File::new("padding", json!({}));
    let mut lengths: Vec<u64> = (0..=40).collect();
    lengths.extend([
        99, 100, 127, 128, 129, 1_000, 16_384, 16_385, 65_537, 1_000_000, 1_000_001,
    ]);
    lengths.extend((20..52).flat_map(|e| [(1u64 << e) - 1, (1 << e) + 1]));
    lengths.dedup();
    for length in lengths {
        file.case(
            format!("{length}"),
            "padme",
            json!({ "length": length }),
            "ok",
        );
    }
    check(&file);
}

#[test]
fn lengths() {
    let mut file = File::new("lengths", json!({}));
    for (suite, chunks) in [(1, 1u64 << 38), (2, 1 << 29)] {
        let most = chunks * 16_384 - 1;
        let case = |what: &str, n: u64| format!("suite {suite}: {what} {n}");
        for n in [
            0,
            1,
            16_383,
            16_384,
            16_385,
            32_768,
            256 * 16_384 - 1,
            256 * 16_384,
            256 * 16_384 + 1,
            257 * 16_384,
            512 * 16_384,
            1 << 40,
            most,
        ] {
            file.case(
                case("plaintext", n),
                "stored",
                json!({ "suite": suite, "plaintext": n }),
                "ok",
            );
        }
        for n in [0, 1, 255, 256, 257, 511, 512, 1 << 20, (1 << 38) - 1] {
            file.case(
                case("chunk", n),
                "chunk",
                json!({ "suite": suite, "chunk": n }),
                "ok",
            );
        }
        let (valid, invalid) = if suite == 1 {
            (
                vec![
                    272,
                    273,
                    272 + 16_383,
                    256 + 16_400 + 16,
                    256 + 2 * 16_400 + 16,
                ],
                vec![
                    0,
                    1,
                    255,
                    256,
                    257,
                    271,
                    256 + 16_400,
                    256 + 16_400 + 15,
                    256 + 2 * 16_400,
                ],
            )
        } else {
            (
                vec![
                    432,
                    433,
                    432 + 16_383,
                    432 + 16_432,
                    432 + 255 * 16_432,
                    432 + 255 * 16_432 + 16_383,
                    432 + 4_206_624,
                ],
                vec![
                    0,
                    256,
                    431,
                    432 + 16_384,
                    432 + 16_431,
                    432 + 255 * 16_432 + 16_384,
                    432 + 4_206_623,
                ],
            )
        };
        for n in valid {
            file.case(
                case("stored", n),
                "plaintext",
                json!({ "suite": suite, "stored": n }),
                "ok",
            );
        }
        for n in invalid {
            file.case(
                case("stored", n),
                "plaintext",
                json!({ "suite": suite, "stored": n }),
                "tampered",
            );
        }
    }
    check(&file);
}

#[test]
fn kit() {
    scripted::seeded("kluis vectors: kit", || {
        let mut vault = Vault::make(false, &phrase(1));
        vault.append();
        vault.append();
        let kit = RecoveryKit::new(vault.header(), &vault.entries).unwrap();
        let text = kit.to_string();
        let mut file = File::new("kit", json!({}));
        let mut case = |name: &str, kit: String, expect: &str| {
            file.case(name, "read", json!({ "kit": kit }), expect);
        };
        let begin = "-----BEGIN KLUIS RECOVERY KIT-----";
        let end = "-----END KLUIS RECOVERY KIT-----";
        let (_, rest) = text.split_once(begin).unwrap();
        let base64: String = rest.split_once(end).unwrap().0.split_whitespace().collect();
        let armor = |kit: &[u8]| format!("{begin}\n{}\n{end}\n", data_encoding::BASE64.encode(kit));
        let bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
        case("a kit", text.clone(), "ok");
        case("lines end in CR LF", text.replace('\n', "\r\n"), "ok");
        case(
            "white space at the ends of lines",
            text.replace('\n', " \t\n"),
            "ok",
        );
        case("the armor alone, on one line", armor(&bytes), "ok");
        case("no line behind it", text.trim_end().to_owned(), "ok");
        case(
            "other lines around it",
            format!("Hi,\n\n{text}\n-- \nA."),
            "ok",
        );
        for (name, bad) in [
            ("nothing", String::new()),
            ("no first line", text.replace(begin, "")),
            ("no last line", text.replace(end, "")),
            ("two kits", format!("{text}{text}")),
            ("the last line first", format!("{end}\n{base64}\n{begin}\n")),
            (
                "a character that is not base64",
                text.replacen(&base64[..8], "S0xLM*KC", 1),
            ),
            (
                "a character missing",
                text.replacen(&base64[..8], &base64[..7], 1),
            ),
            (
                "bits behind the last byte",
                format!("{begin}\nS0xLMf==\n{end}\n"),
            ),
            ("no padding", format!("{begin}\nS0xLMQ\n{end}\n")),
        ] {
            case(name, bad, "invalid_input");
        }
        for (name, bad) in [
            ("an empty kit", vec![]),
            ("a magic alone", bytes[..4].to_vec()),
            ("another magic", [b"KLV1", &bytes[4..]].concat()),
            ("cut", bytes[..bytes.len() - 1].to_vec()),
            ("extended", [&bytes[..], b"\0"].concat()),
            ("three elements", [b"KLK1\x83", &bytes[5..], b"\0"].concat()),
            (
                "no entries",
                [&bytes[..7 + vault.header().as_bytes().len() + 1], b"\x80"].concat(),
            ),
        ] {
            case(name, armor(&bad), "tampered");
        }
        case(
            "version 2",
            armor(&[b"KLK2", &bytes[4..]].concat()),
            "unsupported_format",
        );
        check(&file);
    });
}
