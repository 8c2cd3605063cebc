//! What is in tests/vectors/identity.json.

use super::cases::{PASSWORD, edited};
use super::{File, check, hex};
use crate::card::tests::signed_by;
use crate::card::{Body, PublicKeys, grant_place};
use crate::cbor::{Record, Writer};
use crate::kdf::domain;
use crate::message;
use crate::primitives::{bad_points, hpke};
use crate::random::scripted;
use crate::testing::{SUITES, cheap};
use crate::*;
use serde_json::{Value, json};

const VAULT: VaultId = VaultId([4; 16]);
const NOW: u64 = 1_700_000_000_000_000;
/// Of a forger, who signs whatever he likes.
const FORGER: [u8; 32] = [7; 32];

#[test]
fn identity() {
    scripted::seeded("kluis vectors: identity", || {
        let defaults = json!({ "vault_id": hex(VAULT.as_bytes()), "place": hex(b"place") });
        let mut file = File::new("identity", defaults);
        let identities = SUITES.map(|suite| Identity::make(suite, NOW).unwrap());
        secrets(&mut file, &identities);
        cards(&mut file, &identities);
        forged_cards(&mut file, &identities);
        texts(&mut file, &identities[1]);
        exports(&mut file);
        grants(&mut file, &identities);
        files(&mut file, &identities);
        check(&file);
    });
}

fn body(suite: IdentitySuite, sealing: &[u8]) -> Body {
    Body {
        keys: PublicKeys {
            suite,
            signing: signature::public_key(&FORGER),
            sealing: sealing.to_vec(),
        },
        created: 1,
        replaces: None,
    }
}

fn secrets(file: &mut File, identities: &[Identity; 2]) {
    let [hybrid, classical] = identities;
    let case = |file: &mut File, name: &str, secrets: &[u8], expect: &str| {
        file.case(name, "secrets", json!({ "secrets": hex(secrets) }), expect);
    };
    let replaced = classical.replaced(NOW + 1).unwrap().to_secret_bytes();
    case(file, "X-Wing", &hybrid.to_secret_bytes(), "ok");
    case(file, "X25519", &classical.to_secret_bytes(), "ok");
    case(file, "one that replaces another", &replaced, "ok");
    let good = classical.to_secret_bytes();
    let mut forged = replaced.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    case(file, "secrets: a forged replacement", &forged, "tampered");
    case(file, "secrets: cut", &good[..good.len() - 1], "tampered");
    let longer = [&good[..], b"\0"].concat();
    case(file, "secrets: extended", &longer, "tampered");
    case(file, "secrets: nothing", b"", "tampered");
    for suite in [0, 3] {
        let mut other = good.to_vec();
        other[1] = suite;
        let name = format!("secrets: suite {suite}");
        case(file, &name, &other, "unsupported_format");
    }
}

fn cards(file: &mut File, [hybrid, classical]: &[Identity; 2]) {
    let replaced = classical.replaced(NOW + 1).unwrap();
    for (name, card) in [
        ("card of X-Wing", hybrid.card()),
        ("card of X25519", classical.card()),
        ("card that replaces another", replaced.card()),
    ] {
        let inputs = json!({ "card": hex(card.as_bytes()) });
        file.case(name, "card", inputs, "ok");
    }
    let mut fault = |case: &str, name: &str, edits: Value, expect: &str| {
        let name = format!("{case}: {name}");
        file.case(name, "card", json!({ "card": edited(case, edits) }), expect);
    };
    for case in ["card of X-Wing", "card of X25519"] {
        for (name, at, mask) in [
            ("flip in the magic", 0, "01"),
            ("flip in the suite", 5, "03"),
            ("an undefined suite that nobody signed", 5, "04"),
            ("flip in the signing key", 8, "01"),
            ("flip in the sealing key", 43, "01"),
            ("flip in the time", -70, "01"),
            ("flip in the signature", -64, "01"),
            ("flip at its end", -1, "01"),
        ] {
            let edits = json!([{ "xor": mask, "at": at }]);
            fault(case, name, edits, "tampered");
        }
        for (name, edits) in [
            ("nothing", json!([{ "cut": 0 }])),
            ("a magic alone", json!([{ "cut": 4 }])),
            ("cut", json!([{ "cut": -1 }])),
            ("extended", json!([{ "append": "00" }])),
        ] {
            fault(case, name, edits, "tampered");
        }
        let edits = json!([{ "put": "32", "at": 3 }]);
        fault(case, "version 2", edits, "unsupported_format");
    }
    let longer = json!([{ "append": { "pattern": 2_048 } }]);
    fault("card of X25519", "too long", longer, "limit_exceeded");
    // In front of the signatures: fingerprint, key and signature of the older one.
    for (name, at) in [
        ("flip in the older fingerprint", -64 - 66 - 34 - 1),
        ("flip in the older key", -64 - 66 - 1),
        ("flip in the older signature", -64 - 1),
    ] {
        let edits = json!([{ "xor": "01", "at": at }]);
        fault("card that replaces another", name, edits, "tampered");
    }
}

/// Signed all right, and not a card all the same.
fn forged_cards(file: &mut File, [hybrid, classical]: &[Identity; 2]) {
    let mut case = |name: &str, body: &[u8], expect: &str| {
        let card = hex(&signed_by(&FORGER, body));
        let name = format!("signed: {name}");
        file.case(name, "card", json!({ "card": card }), expect);
    };
    let suites = SUITES;
    let (good, point) = (
        &hybrid.card().keys().sealing,
        &classical.card().keys().sealing,
    );
    let encoded = |suite, sealing: &[u8]| body(suite, sealing).encode().to_vec();
    case("a card", &encoded(suites[1], point), "ok");
    let mut points = bad_points();
    points.sort();
    points.dedup();
    for (i, bad) in points.iter().enumerate() {
        let name = format!("a point that is refused, {i}");
        case(&name, &encoded(suites[1], bad), "tampered");
    }
    let zero = [&good[..1_184], &[0; 32]].concat();
    let second = [&good[..1_184], &[0xff; 32]].concat();
    let overflow = [&[0xff, good[1] | 0x0f], &good[2..]].concat();
    for (name, suite, bad) in [
        ("X-Wing with a point of small order", suites[0], &zero[..]),
        ("X-Wing with a second encoding", suites[0], &second),
        ("X-Wing above the modulus", suites[0], &overflow),
        ("X-Wing without its point", suites[0], &good[..1_184]),
        ("a point as X-Wing", suites[0], point),
        ("a point that is short", suites[1], &point[1..]),
        ("no sealing key", suites[1], &[]),
    ] {
        case(name, &encoded(suite, bad), "tampered");
    }
    let body_of = encoded(suites[1], point);
    for suite in [0, 3, 23] {
        let mut other = body_of.clone();
        other[1] = suite;
        case(&format!("suite {suite}"), &other, "unsupported_format");
    }
    for (name, bad) in [
        ("a byte behind it", [&body_of[..], b"\0"].concat()),
        ("six elements", [b"\x86", &body_of[1..], b"\0"].concat()),
        (
            "a longer encoding of the suite",
            [b"\x85\x18\x02", &body_of[2..]].concat(),
        ),
        (
            "a replacement of one element",
            [&body_of[..body_of.len() - 1], b"\x81\0"].concat(),
        ),
    ] {
        case(name, &bad, "tampered");
    }
    // What it replaces, signed by others than it names.
    let keys = body(suites[1], point).keys;
    let with = |replaces: Replacement| {
        let mut body = body(suites[1], point);
        body.replaces = Some(replaces);
        body.encode().to_vec()
    };
    let made = |old: &Identity, by: &Identity| {
        Replacement::make(
            old.card(),
            |domain, message| by.sign(domain, message),
            &keys,
        )
    };
    case("a replacement", &with(made(hybrid, hybrid)), "ok");
    case(
        "a replacement signed by another",
        &with(made(hybrid, classical)),
        "tampered",
    );
    let moved = classical.replaced(NOW).unwrap();
    case(
        "the replacement of another card",
        &with(moved.card().replaces().unwrap().clone()),
        "tampered",
    );

    // A key of small order, under which a signature of zeros verifies loosely.
    let mut weak = [&b"KLC1"[..], &body_of].concat();
    let at = 4 + 1 + 1 + 2;
    weak[at..at + 32].fill(0);
    weak[at] = 1;
    weak.push(1);
    weak.extend_from_slice(&[0; 63]);
    let card = json!({ "card": hex(&weak) });
    file.case("a signing key of small order", "card", card, "tampered");
}

fn texts(file: &mut File, identity: &Identity) {
    let text = identity.card().to_armor();
    let mut case = |name: &str, text: String, expect: &str| {
        let name = format!("text: {name}");
        file.case(name, "armor", json!({ "text": text }), expect);
    };
    let (begin, end) = ("-----BEGIN KLUIS CARD-----", "-----END KLUIS CARD-----");
    case("a card", text.clone(), "ok");
    case("lines end in CR LF", text.replace('\n', "\r\n"), "ok");
    case("other lines around it", format!("Hi,\n\n{text}\nB."), "ok");
    case("nothing", String::new(), "invalid_input");
    case("no last line", text.replace(end, ""), "invalid_input");
    case("two cards", text.repeat(2), "invalid_input");
    let other = text.replace("KLUIS CARD", "KLUIS IDENTITY");
    case("of an identity file", other, "invalid_input");
    let damaged = format!("{begin}\nS0xD*Q==\n{end}\n");
    case("not base64", damaged, "invalid_input");
    let bits = format!("{begin}\nS0xDMf==\n{end}\n");
    case("bits behind the last byte", bits, "invalid_input");
    let short = format!("{begin}\nS0xDMQ==\n{end}\n");
    case("a magic alone", short, "tampered");
    let spaces = " ".repeat(Card::MAX_TEXT);
    case("too long", format!("{text}{spaces}"), "limit_exceeded");

    let words = identity.card().fingerprint().to_string();
    let mut case = |name: &str, words: String, expect: &str| {
        let name = format!("words: {name}");
        file.case(name, "fingerprint", json!({ "words": words }), expect);
    };
    case("of a card", words.clone(), "ok");
    let typed = words.to_uppercase().replace(' ', "  \n");
    case("in capitals and with other spaces", typed, "ok");
    let (first, last) = words.rsplit_once(' ').unwrap();
    case("one is missing", first.to_owned(), "invalid_input");
    case("one too many", format!("{words} {last}"), "invalid_input");
    case(
        "one is misspelt",
        format!("{first} x{last}"),
        "invalid_input",
    );
    case("a wrong checksum", "abandon ".repeat(12), "invalid_input");
    let phrase = format!("{}art", "abandon ".repeat(23));
    case("a recovery phrase", phrase, "invalid_input");
}

fn exports(file: &mut File) {
    for suite in SUITES {
        let seed = crate::kem::KemSeed::make().unwrap();
        let key = suite.public_key(&seed).unwrap();
        let (enc, _) = suite.encapsulate(&key, b"info").unwrap();
        let case = format!("export of suite {}", suite.number());
        let inputs = json!({
            "suite": suite.number(), "seed": hex(seed.expose_secret()),
            "enc": hex(&enc), "info": hex(b"info"),
        });
        file.case(case.as_str(), "export", inputs, "ok");
        let point = suite.encapsulated_length() - 32;
        for (name, edits, expect) in [
            ("another", json!([{ "xor": "01", "at": 0 }]), "ok"),
            ("cut", json!([{ "cut": -1 }]), "tampered"),
            ("extended", json!([{ "append": "00" }]), "tampered"),
            (
                "a point of small order",
                json!([{ "put": hex(&[0; 32]), "at": point }]),
                "tampered",
            ),
            (
                "a second encoding of its point",
                json!([{ "xor": "80", "at": -1 }]),
                "tampered",
            ),
        ] {
            let inputs = json!({
                "suite": suite.number(), "seed": hex(seed.expose_secret()),
                "enc": edited(&case, edits), "info": hex(b"info"),
            });
            file.case(format!("{case}: {name}"), "export", inputs, expect);
        }
    }
}

fn grants(file: &mut File, identities: &[Identity; 2]) {
    let names = ["sealed to X-Wing", "sealed to X25519"];
    for (name, identity) in names.into_iter().zip(identities) {
        let secrets = hex(&identity.to_secret_bytes());
        let sealed = identity.card().seal(&VAULT, b"place", b"content").unwrap();
        let inputs = json!({ "secrets": secrets, "sealed": hex(&sealed) });
        file.case(name, "open", inputs, "ok");
        let enc = identity.card().suite().encapsulated_length();
        for (what, at, mask) in [
            ("flip in what is encapsulated", 0, "01"),
            ("flip in its point", enc - 32, "01"),
            ("a second encoding of its point", enc - 1, "80"),
            ("flip in the salt", enc, "01"),
            ("flip in the commitment", enc + 24, "01"),
            ("flip in the content", enc + 56, "01"),
            ("flip in the tag", enc + 63, "01"),
        ] {
            let sealed = edited(name, json!([{ "xor": mask, "at": at }]));
            let inputs = json!({ "secrets": secrets, "sealed": sealed });
            file.case(format!("{name}: {what}"), "open", inputs, "tampered");
        }
        for (what, edits) in [
            ("nothing", json!([{ "cut": 0 }])),
            ("what is encapsulated alone", json!([{ "cut": enc }])),
            ("cut", json!([{ "cut": -1 }])),
            ("extended", json!([{ "append": "00" }])),
            (
                "a point of small order",
                json!([{ "put": hex(&[0; 32]), "at": enc - 32 }]),
            ),
        ] {
            let inputs = json!({ "secrets": secrets, "sealed": edited(name, edits) });
            file.case(format!("{name}: {what}"), "open", inputs, "tampered");
        }
        let stranger = Identity::make(identity.card().suite(), NOW).unwrap();
        let mut other_card = identity.to_secret_bytes();
        let at = other_card.len() - 2;
        other_card[at] ^= 1;
        for (what, inputs) in [
            (
                "another recipient",
                json!({ "secrets": hex(&stranger.to_secret_bytes()) }),
            ),
            ("another card", json!({ "secrets": hex(&other_card) })),
            (
                "another vault",
                json!({ "secrets": secrets, "vault_id": hex(&[5; 16]) }),
            ),
            (
                "another place",
                json!({ "secrets": secrets, "place": hex(b"plac") }),
            ),
        ] {
            let mut inputs = inputs;
            inputs["sealed"] = json!({ "case": name });
            file.case(format!("{name}: {what}"), "open", inputs, "tampered");
        }
    }

    // The X25519 half of an X-Wing key, in suite 2.
    let [hybrid, classical] = identities;
    let place = grant_place(&VAULT, b"place");
    let info = hybrid.card().info(domain::GRANT, &[VAULT.as_bytes()]);
    let half = &hybrid.card().keys().sealing[1_184..];
    let (enc, key) = IdentitySuite::X25519.encapsulate(half, &info).unwrap();
    let record = message::seal(key.expose_secret(), &place, b"content").unwrap();
    let sealed = [&enc[..], &record].concat();
    let inputs = json!({ "secrets": hex(&hybrid.to_secret_bytes()), "sealed": hex(&sealed) });
    file.case("sealed to the half of a key", "open", inputs, "tampered");

    // What everybody can seal: the shared secret of the point 0 is 0.
    let info = classical.card().info(domain::GRANT, &[VAULT.as_bytes()]);
    let shared = hpke::dhkem(&[0; 32], &[0; 32], &classical.card().keys().sealing);
    let key = hpke::exported(0x20, &shared, &info);
    let record = message::seal(&key, &place, b"content").unwrap();
    let sealed = [&[0; 32], &record[..]].concat();
    let inputs = json!({ "secrets": hex(&classical.to_secret_bytes()), "sealed": hex(&sealed) });
    file.case("sealed by everybody", "open", inputs, "tampered");
}

fn files(file: &mut File, [hybrid, classical]: &[Identity; 2]) {
    let password = Password::new(PASSWORD);
    let right = hex(PASSWORD.as_bytes());
    let seal = |identity: &Identity| IdentityFile::seal(identity, &password, cheap()).unwrap();
    for (name, identity) in [("file of X-Wing", hybrid), ("file of X25519", classical)] {
        let inputs = json!({ "text": seal(identity).to_armor(), "password": right });
        file.case(name, "file", inputs, "ok");
    }
    let good = seal(classical);
    let text = good.to_armor();
    let bytes = [b"KLI1", &good.encode()[..]].concat();
    let mut case = |name: &str, text: &str, password: Option<&str>, expect: &str| {
        let mut inputs = json!({ "text": text });
        if let Some(password) = password {
            inputs["password"] = hex(password.as_bytes());
        }
        file.case(format!("file: {name}"), "file", inputs, expect);
    };
    case("without its password", &text, None, "ok");
    let crlf = format!("My identity\n{text}").replace('\n', "\r\n");
    case("as a text of people", &crlf, Some(PASSWORD), "ok");
    case("another password", &text, Some("x"), "wrong_credentials");
    case("no password", &text, Some(""), "invalid_input");
    case("nothing", "", None, "invalid_input");
    case("two files", &text.repeat(2), None, "invalid_input");
    let other = text.replace("KLUIS IDENTITY", "KLUIS CARD");
    case("of a card", &other, None, "invalid_input");

    let armor = |bytes: &[u8]| {
        let base64 = data_encoding::BASE64.encode(bytes);
        format!("-----BEGIN KLUIS IDENTITY-----\n{base64}\n-----END KLUIS IDENTITY-----\n")
    };
    let flipped = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        armor(&changed)
    };
    let card = classical.card().as_bytes().len();
    let costs = 4 + 1 + 2 + card;
    let salt = costs + 6 + 2;
    let sealed = salt + 32 + 2;
    for (name, at, expect) in [
        ("flip in the magic", 0, "tampered"),
        ("flip in the card", 4 + 1 + 2 + 8, "tampered"),
        ("flip in the salt", salt, "wrong_credentials"),
        ("flip in the costs", costs + 3, "wrong_credentials"),
        (
            "flip in the salt of the record",
            sealed,
            "wrong_credentials",
        ),
        ("flip in the commitment", sealed + 24, "wrong_credentials"),
        ("flip in the secrets", sealed + 56, "tampered"),
        ("flip in the tag", bytes.len() - 1, "tampered"),
    ] {
        case(name, &flipped(at), Some(PASSWORD), expect);
    }
    for (name, bad) in [
        ("cut", bytes[..bytes.len() - 1].to_vec()),
        ("extended", [&bytes[..], b"\0"].concat()),
        ("five elements", [b"KLI1\x85", &bytes[5..], b"\0"].concat()),
        (
            "no costs",
            [&bytes[..costs], b"\x80", &bytes[costs + 6..]].concat(),
        ),
    ] {
        case(name, &armor(&bad), Some(PASSWORD), "tampered");
    }
    let later = armor(&[b"KLI2", &bytes[4..]].concat());
    case("version 2", &later, Some(PASSWORD), "unsupported_format");
    let short = [
        &bytes[..sealed - 2],
        b"\x58\x47",
        &bytes[sealed..sealed + 71],
    ]
    .concat();
    case("short secrets", &armor(&short), Some(PASSWORD), "tampered");
    for (name, m, t, p) in [
        ("too little memory", 19_455u64, 2, 1),
        ("too much memory", 1 << 20 | 1, 2, 1),
        ("one pass", 19_456, 1, 1),
        ("two lanes", 19_456, 2, 2),
        ("2^64 - 1 KiB", u64::MAX, 2, 1),
    ] {
        let mut other = Writer::new();
        other.array(3).uint(m).uint(t).uint(p);
        let other = [&bytes[..costs], &other.finish(), &bytes[costs + 6..]].concat();
        case(name, &armor(&other), Some(PASSWORD), "limit_exceeded");
    }
    // Another card in front, and other secrets behind.
    let stranger = Identity::make(classical.card().suite(), NOW).unwrap();
    let swapped = [&bytes[..7], stranger.card().as_bytes(), &bytes[7 + card..]].concat();
    case(
        "another card",
        &armor(&swapped),
        Some(PASSWORD),
        "wrong_credentials",
    );
    let secrets = good.with_secrets(&password, &stranger.to_secret_bytes());
    case(
        "another's secrets",
        &secrets.to_armor(),
        Some(PASSWORD),
        "tampered",
    );
    let none = good.with_secrets(&password, b"");
    case("no secrets", &none.to_armor(), Some(PASSWORD), "tampered");
}
