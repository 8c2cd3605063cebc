//! What is in tests/vectors/links.json.

use super::cases::with;
use super::{File, check, hex};
use crate::ledger::Decision;
use crate::link::{Forgery, forged};
use crate::object::tests::put_in;
use crate::random::scripted;
use crate::testing::{Vault, cheap, pattern, phrase};
use crate::*;
use serde_json::json;
use std::sync::Arc;

#[test]
fn links() {
    scripted::seeded("kluis vectors: links", || {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let put = |vault: &Vault, at: &str, ahead: u64| {
            let mut tree = vault.ledger().tree().duplicate();
            tree.set_head(tree.head() + ahead);
            let (metadata, content) = (Metadata::default(), pattern(100));
            let from = (&id, Suite::V1, &**vault.secrets.identity());
            put_in(from, &tree, at, 7, &metadata, &content, true).0
        };
        let password = Password::new("open s\u{e9}same");
        let folder = |path: Option<&str>| Scope::Folder(path.map(|p| VaultPath::parse(p).unwrap()));
        let make = |vault: &mut Vault, scope: Scope, password: Option<&Password>| {
            let link = NewLink::make(&id, password, cheap()).unwrap();
            let (link_id, fragment) = (link.id(), link.fragment(id));
            vault
                .decide(Decision::Link {
                    scope,
                    link: Arc::new(link),
                    terms: LinkTerms {
                        not_after: password.map(|_| 2_000_000_000_000_000),
                        purpose: "vectors".to_owned(),
                        presigned: password.is_some(),
                    },
                })
                .unwrap();
            (link_id, fragment)
        };
        let sealed = |vault: &Vault, link: &LinkId, objects: Vec<LinkObject>| {
            let ledger = vault.ledger();
            let link = ledger.link(link).unwrap();
            let record = ledger.seal_link(link, vault.header(), &vault.secrets, objects);
            record.unwrap()
        };
        vault.append();
        let old = put(&vault, "photos/old", 0);
        let beside = put(&vault, "photos/beside", 0);
        let (a, to_a) = make(&mut vault, folder(Some("photos")), None);
        let (b, to_b) = make(&mut vault, folder(Some("photos")), Some(&password));
        let (whole, to_whole) = make(&mut vault, folder(None), None);
        let one = Scope::Object(VaultPath::parse("photos/old").unwrap());
        let (one, to_one) = make(&mut vault, one, None);
        let later = put(&vault, "photos/later", 9);
        let object = |path: &str| LinkObject {
            path: path.to_owned(),
            size: 372,
            url: format!("https://store.example/{path}?signature=x"),
        };
        let first = sealed(&vault, &a, Vec::new());
        let locked = sealed(&vault, &b, vec![object("o/00"), object("o/01")]);
        let of_whole = sealed(&vault, &whole, Vec::new());
        let of_one = sealed(&vault, &one, vec![object("o/00")]);
        vault.rotate(&[phrase(1)]);
        vault.append();
        let second = sealed(&vault, &a, Vec::new());
        let locked_again = sealed(&vault, &b, Vec::new());
        let newest = put(&vault, "photos/new", 0);

        let mut file = File::new("links", json!({}));
        let text = |fragment: &LinkFragment| json!(&**fragment.expose());
        for (name, fragment, record) in [
            ("to a folder", &to_a, &first),
            ("after a root rotation", &to_a, &second),
            ("to a whole vault", &to_whole, &of_whole),
            ("to an object", &to_one, &of_one),
        ] {
            let inputs = json!({ "fragment": text(fragment), "record": hex(record) });
            file.case(name, "open", inputs, "ok");
        }
        let of = |case: &str| {
            let field = |field: &str| json!({ "case": case, "field": field });
            let fragment = match case {
                "locked" => &to_b,
                "to an object" => &to_one,
                _ => &to_a,
            };
            json!({ "fragment": text(fragment), "record": field("record") })
        };
        let right = json!({
            "fragment": text(&to_b),
            "record": hex(&locked),
            "password": hex("open se\u{301}same".as_bytes()),
        });
        file.case("locked", "open", right, "ok");
        for (what, changes, expect) in [
            ("no password", json!({}), "wrong_credentials"),
            (
                "another password",
                json!({ "password": hex(b"open sesame") }),
                "wrong_credentials",
            ),
            (
                "an empty password",
                json!({ "password": "" }),
                "invalid_input",
            ),
            (
                "another link's fragment",
                json!({ "fragment": text(&to_a), "password": hex(b"x") }),
                "tampered",
            ),
        ] {
            let inputs = with(of("locked"), changes);
            file.case(format!("locked: {what}"), "open", inputs, expect);
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
                "flip in the vault id",
                json!([{ "xor": "01", "at": 10 }]),
                "tampered",
            ),
            (
                "flip in the authority",
                json!([{ "xor": "01", "at": 40 }]),
                "tampered",
            ),
            (
                "flip at the end",
                json!([{ "xor": "01", "at": -1 }]),
                "tampered",
            ),
            (
                "flip in what is sealed",
                json!([{ "xor": "01", "at": -70 }]),
                "tampered",
            ),
            ("cut", json!([{ "cut": -1 }]), "tampered"),
            ("extended", json!([{ "append": "00" }]), "tampered"),
            ("nothing", json!([{ "cut": 0 }]), "tampered"),
        ] {
            let changes = json!({ "record": { "case": "to a folder", "edits": edits } });
            let inputs = with(of("to a folder"), changes);
            file.case(format!("to a folder: {what}"), "open", inputs, expect);
        }
        let ledger = vault.ledger();
        for (what, link, fragment, record, forgery, expect) in [
            ("signed again", a, &to_a, &second, None, "ok"),
            (
                "another authority",
                a,
                &to_a,
                &second,
                Some(Forgery::Authority),
                "tampered",
            ),
            (
                "another signer",
                a,
                &to_a,
                &second,
                Some(Forgery::Signer),
                "tampered",
            ),
            (
                "another name",
                a,
                &to_a,
                &second,
                Some(Forgery::Name),
                "tampered",
            ),
            (
                "another place",
                a,
                &to_a,
                &second,
                Some(Forgery::Place),
                "tampered",
            ),
            (
                "a right to write",
                a,
                &to_a,
                &second,
                Some(Forgery::Rights),
                "tampered",
            ),
            (
                "the past held back",
                a,
                &to_a,
                &second,
                Some(Forgery::HeldBack),
                "tampered",
            ),
            (
                "no top",
                a,
                &to_a,
                &second,
                Some(Forgery::NoTop),
                "tampered",
            ),
            (
                "another kind",
                a,
                &to_a,
                &second,
                Some(Forgery::Kind),
                "tampered",
            ),
            (
                "an object as a folder",
                one,
                &to_one,
                &of_one,
                Some(Forgery::Kind),
                "tampered",
            ),
            (
                "a path for a name",
                a,
                &to_a,
                &second,
                Some(Forgery::Path),
                "tampered",
            ),
            (
                "two of one path",
                a,
                &to_a,
                &second,
                Some(Forgery::TwoPaths),
                "tampered",
            ),
            (
                "an unknown suite",
                a,
                &to_a,
                &second,
                Some(Forgery::Suite),
                "unsupported_format",
            ),
            (
                "costs below the floor",
                b,
                &to_b,
                &locked_again,
                Some(Forgery::Costs),
                "limit_exceeded",
            ),
        ] {
            let link = ledger.link(&link).unwrap();
            let forged = forged(link, &vault.secrets, record, forgery);
            let inputs = json!({ "fragment": text(fragment), "record": hex(&forged) });
            file.case(what, "open", inputs, expect);
        }
        let whole = to_a.expose();
        for (what, fragment, expect) in [
            ("empty", String::new(), "invalid_input"),
            ("short", whole[1..].to_owned(), "invalid_input"),
            ("padded", format!("{}=", &**whole), "invalid_input"),
            ("long", format!("{}AAAA", &**whole), "invalid_input"),
            (
                "trailing bits",
                format!("{}h", &whole[..65]),
                "invalid_input",
            ),
            (
                "version 2",
                format!("Ag{}", &whole[2..]),
                "unsupported_format",
            ),
            ("the id of an address", "f".repeat(32), "invalid_input"),
        ] {
            let inputs = with(of("to a folder"), json!({ "fragment": fragment }));
            file.case(format!("fragment: {what}"), "open", inputs, expect);
        }
        for (what, of_record, path, object, expect) in [
            ("of before", "to a folder", "old", &old, "ok"),
            ("with a later stamp", "to a folder", "later", &later, "ok"),
            ("under a later key", "to a folder", "new", &newest, "stale"),
            (
                "by the newer record",
                "after a root rotation",
                "new",
                &newest,
                "ok",
            ),
            ("of another path", "to a folder", "new", &old, "tampered"),
            ("by its own name", "to an object", "old", &old, "ok"),
            (
                "under its path",
                "to an object",
                "photos/old",
                &old,
                "tampered",
            ),
            (
                "of the folder",
                "to an object",
                "beside",
                &beside,
                "tampered",
            ),
            (
                "another in its place",
                "to an object",
                "old",
                &beside,
                "tampered",
            ),
        ] {
            let inputs = with(
                of(of_record),
                json!({ "path": path, "object": hex(object) }),
            );
            file.case(format!("object: {what}"), "object", inputs, expect);
        }
        check(&file);
    });
}
