//! What is in tests/vectors/signed.json.

use super::grants::{bundle, given};
use super::{File, check, hex};
use crate::ledger::Decision;
use crate::object::tests::put_in;
use crate::random::scripted;
use crate::testing::{Vault, pattern, phrase};
use crate::*;
use serde_json::{Value, json};

#[test]
fn signed() {
    scripted::seeded("kluis vectors: signed", || {
        let mut vault = Vault::make_in(Suite::V2, false, &phrase(1));
        let id = vault.secrets.vault();
        let give = |vault: &mut Vault, folder: &str, write: bool| {
            let identity = Identity::make(IdentitySuite::X25519, 1).unwrap();
            let mut terms = Terms::reading();
            terms.write = write;
            let decision = Decision::Share {
                scope: Scope::Folder(Some(VaultPath::parse(folder).unwrap())),
                recipient: Recipient::trusted_on_first_use(identity.card().clone())
                    .allow_classical(),
                terms,
            };
            let appended = vault.decide(decision).unwrap();
            let grant = appended.granted.unwrap().0;
            (given(identity, &appended), grant)
        };
        vault.append();
        let (reader, _) = give(&mut vault, "team", false);
        let (writer, grant) = give(&mut vault, "team", true);
        let put = |vault: &Vault, identity: &Identity, at: &str, size: usize| {
            let ledger = vault.ledger();
            let from = (&id, Suite::V2, identity);
            let (metadata, content) = (Metadata::default(), pattern(size));
            put_in(from, ledger.tree(), at, 7, &metadata, &content, true).0
        };
        let owner: &Identity = vault.secrets.identity();
        let mut objects = vec![
            ("by the owner", put(&vault, owner, "team/a", 5)),
            ("by a writer", put(&vault, &writer.identity, "team/a", 0)),
            (
                "two chunks",
                put(&vault, &writer.identity, "team/a", CHUNK_LENGTH + 3),
            ),
        ];
        // What the reader would write who listed himself.
        let mut his = vault.ledger();
        let key = *reader.identity.card().signing_key();
        his.list_writer("team", key);
        let from = (&id, Suite::V2, &reader.identity);
        let (metadata, content) = (Metadata::default(), pattern(5));
        let forged = put_in(from, his.tree(), "team/a", 8, &metadata, &content, true).0;
        let closing = vault.decide(Decision::Revoke(vec![grant])).unwrap();
        let owner: &Identity = vault.secrets.identity();
        objects.push((
            "after the writer was removed",
            put(&vault, owner, "team/a", 5),
        ));
        let mut his = vault.ledger();
        his.list_writer("team", *writer.identity.card().signing_key());
        let from = (&id, Suite::V2, &writer.identity);
        let late = put_in(from, his.tree(), "team/a", 9, &metadata, &content, true).0;

        let authorities = vault.header().authorities().list();
        let authorities: Vec<_> = authorities
            .iter()
            .map(|a| json!([hex(&a.key), a.from]))
            .collect();
        let entries: Vec<Value> = vault.entries[2..]
            .iter()
            .map(|entry| hex(entry.as_bytes()))
            .collect();
        let mut defaults = reader.inputs();
        let more = json!({
            "vault_id": hex(id.as_bytes()),
            "authorities": authorities,
            "entries": entries,
            "bundles": [hex(&bundle(&closing))],
            "path": "a",
        });
        for (name, value) in super::fields(more) {
            defaults[name] = value;
        }
        let mut file = File::new("signed", defaults);
        for (name, object) in &objects {
            file.case(*name, "object", json!({ "object": hex(object) }), "ok");
        }
        for (name, object) in [("a reader", forged), ("one who may no more", late)] {
            let inputs = json!({ "object": hex(&object) });
            file.case(format!("by {name}"), "object", inputs, "tampered");
        }
        let inputs = json!({ "object": hex(&objects[0].1), "path": "b" });
        file.case("in another place", "object", inputs, "tampered");
        for (what, edits) in [
            ("flip in the metadata", json!([{ "xor": "01", "at": 60 }])),
            (
                "flip in the first chunk",
                json!([{ "xor": "01", "at": 256 }]),
            ),
            (
                "flip in a tag",
                json!([{ "xor": "01", "at": 256 + 16_399 }]),
            ),
            (
                "flip in the second chunk",
                json!([{ "xor": "01", "at": 256 + 16_400 }]),
            ),
            (
                "flip in the first leaf",
                json!([{ "xor": "01", "at": -192 }]),
            ),
            (
                "flip in the second leaf",
                json!([{ "xor": "01", "at": -129 }]),
            ),
            ("flip in the group", json!([{ "xor": "01", "at": -128 }])),
            ("flip in the writer", json!([{ "xor": "01", "at": -96 }])),
            ("flip in the signature", json!([{ "xor": "01", "at": -1 }])),
            ("cut by one", json!([{ "cut": -1 }])),
            ("cut by the tail", json!([{ "cut": -128 }])),
            ("extended", json!([{ "append": "00" }])),
            ("said to be of suite 1", json!([{ "put": "01", "at": 4 }])),
        ] {
            let of = json!({ "case": "two chunks", "edits": edits });
            file.case(what, "object", json!({ "object": of }), "tampered");
        }
        check(&file);
    });
}
