//! What is in tests/vectors/groups.json.

use super::grants::{bundle, given};
use super::{File, check, hex};
use crate::ledger::Decision;
use crate::object::tests::put_in;
use crate::random::scripted;
use crate::testing::{Vault, pattern, phrase};

use crate::*;
use serde_json::{Value, json};

#[test]
fn groups() {
    scripted::seeded("kluis vectors: groups", || {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let mut objects: Vec<Value> = Vec::new();
        let mut put = |vault: &Vault| {
            let ledger = vault.ledger();
            let writer = (&id, Suite::V1, &**vault.secrets.identity());
            let (version, metadata) = (1 + objects.len() as u64, Metadata::default());
            let content = pattern(100);
            let tree = ledger.tree();
            let (object, _) = put_in(writer, tree, "a/x", version, &metadata, &content, true);
            objects.push(hex(&object));
        };
        let team = |name: &str, suite| Decision::NewGroup {
            name: name.to_owned(),
            suite,
        };
        vault.decide(team("team", IdentitySuite::XWing)).unwrap();
        vault.decide(team("other", IdentitySuite::X25519)).unwrap();
        let join = |vault: &mut Vault, group: &str| {
            let identity = Identity::make(IdentitySuite::X25519, 1).unwrap();
            let card = identity.card().clone();
            let appended = vault.decide(Decision::Join {
                group: group.to_owned(),
                recipient: Recipient::trusted_on_first_use(card).allow_classical(),
            });
            let appended = appended.unwrap();
            (given(identity, &appended), appended.granted.unwrap().0)
        };
        let (anna, _) = join(&mut vault, "team");
        let (bert, his) = join(&mut vault, "team");
        let (carl, _) = join(&mut vault, "other");
        let share = |vault: &mut Vault, folder: &str| {
            let recipient = vault.ledger().group("team").unwrap().recipient().unwrap();
            let appended = vault.decide(Decision::Share {
                scope: Scope::Folder(Some(VaultPath::parse(folder).unwrap())),
                recipient,
                terms: Terms::reading(),
            });
            let nobody = Identity::make(IdentitySuite::X25519, 1).unwrap();
            given(nobody, &appended.unwrap())
        };
        let to_team = share(&mut vault, "a");
        put(&vault);
        let removed = vault.decide(Decision::Revoke(vec![his])).unwrap();
        put(&vault);
        let later = share(&mut vault, "d");
        let (dora, _) = join(&mut vault, "team");

        let authorities = vault.header().authorities().list();
        let authorities: Vec<_> = authorities
            .iter()
            .map(|a| json!([hex(&a.key), a.from]))
            .collect();
        let entries: Vec<Value> = vault.entries[3..]
            .iter()
            .map(|entry| hex(entry.as_bytes()))
            .collect();
        let defaults = json!({
            "vault_id": hex(id.as_bytes()),
            "authorities": authorities,
            "entries": entries,
            "bundles": [hex(&bundle(&removed))],
        });
        let mut file = File::new("groups", defaults);
        let people = [
            ("anna", &anna),
            ("bert", &bert),
            ("carl", &carl),
            ("dora", &dora),
        ];
        for (name, person) in people {
            let inputs = person.inputs();
            file.case(format!("membership of {name}"), "open", inputs, "ok");
        }
        let with = |person: &super::grants::Given, letter: &super::grants::Given, more: Value| {
            let mut inputs = person.inputs();
            let letter = letter.inputs();
            inputs["group_letter_name"] = letter["letter_name"].clone();
            inputs["group_letter"] = letter["letter"].clone();
            for (name, value) in super::fields(more) {
                inputs[name] = value;
            }
            inputs
        };
        for (name, person, expect) in [
            ("anna", &anna, "ok"),
            ("bert", &bert, "ok"),
            ("carl", &carl, "tampered"),
            ("dora", &dora, "ok"),
        ] {
            let inputs = with(person, &to_team, json!({}));
            file.case(format!("{name}: given before"), "open", inputs, expect);
        }
        for (name, person, expect) in [
            ("anna", &anna, "ok"),
            ("bert", &bert, "tampered"),
            ("dora", &dora, "ok"),
        ] {
            let inputs = with(person, &later, json!({}));
            file.case(format!("{name}: given after"), "open", inputs, expect);
        }
        for (name, person, object, expect) in [
            ("anna", &anna, 0, "ok"),
            ("anna", &anna, 1, "ok"),
            ("bert", &bert, 0, "ok"),
            ("bert", &bert, 1, "tampered"),
            ("dora", &dora, 0, "ok"),
            ("dora", &dora, 1, "ok"),
        ] {
            let more = json!({ "path": "x", "object": objects[object] });
            let inputs = with(person, &to_team, more);
            let name = format!("{name} reads object {object}");
            file.case(name, "object", inputs, expect);
        }
        let mut altered = with(&anna, &to_team, json!({}));
        let Value::String(letter) = &altered["group_letter"] else {
            panic!("a letter is a text");
        };
        let cut = letter[..letter.len() - 2].to_owned();
        altered["group_letter"] = json!(cut);
        file.case("a letter that was cut", "open", altered, "tampered");
        check(&file);
    });
}
