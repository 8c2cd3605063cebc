//! What is in tests/vectors/chains.json.

use super::grants::{bundle, given};
use super::{File, check, hex};
use crate::chain::tests::forged;
use crate::ledger::{Appended, Decision};
use crate::object::tests::put_in;
use crate::random::scripted;
use crate::testing::{Vault, flips, pattern, phrase};
use crate::*;
use serde_json::{Value, json};

#[test]
fn chains() {
    scripted::seeded("kluis vectors: chains", || {
        let mut vault = Vault::make(false, &phrase(1));
        let id = vault.secrets.vault();
        let mut objects: Vec<Value> = Vec::new();
        let mut put = |vault: &Vault| {
            let ledger = vault.ledger();
            let writer = (&id, Suite::V1, &**vault.secrets.identity());
            let (version, metadata) = (1 + objects.len() as u64, Metadata::default());
            let (tree, content) = (ledger.tree(), pattern(100));
            let (object, _) = put_in(writer, tree, "a/b/x", version, &metadata, &content, true);
            objects.push(hex(&object));
        };
        let person = || Identity::make(IdentitySuite::X25519, 1).unwrap();
        let [bob, carol, dave, eve] = [person(), person(), person(), person()];
        let to = |who: &Identity| {
            let recipient = Recipient::trusted_on_first_use(who.card().clone());
            recipient.allow_classical().named("somebody").unwrap()
        };
        let terms = |write, reshare| Terms {
            write,
            reshare,
            not_after: Some(1 << 40),
            ..Terms::reading()
        };
        let path = |text| VaultPath::parse(text).unwrap();
        let share = |terms: Terms, who: &Identity| Decision::Share {
            scope: Scope::Folder(Some(path("a"))),
            recipient: to(who),
            terms,
        };
        let appended = vault.decide(share(terms(true, true), &bob)).unwrap();
        let to_bob = appended.granted.unwrap().0;
        let his = given(bob, &appended);
        let other = vault.decide(share(Terms::reading(), &eve)).unwrap();
        let to_eve = other.granted.unwrap().0;
        let hers = given(eve, &other);
        let open = |who: &Identity, name: &LetterName, letter: &[u8], vault: &Vault| {
            let mut share = Share::open(who, &id, name, letter).unwrap();
            let from = share.head().sequence;
            let mut later = vault.entries.iter();
            later
                .by_ref()
                .filter(|e| e.position().sequence > from)
                .for_each(|entry| share.follow(entry).unwrap());
            share
        };
        put(&vault);
        let bobs = open(&his.identity, &his.name, &his.letter, &vault);
        let to_carol = bobs.give_on(
            &his.identity,
            GiveOn::All,
            &to(&carol),
            terms(true, true),
            5,
        );
        let to_carol = to_carol.unwrap();
        let carols = open(&carol, &to_carol.name(), to_carol.letter(), &vault);
        let what = GiveOn::Object(path("b/x"));
        let to_dave = carols.give_on(&carol, what, &to(&dave), terms(false, false), 5);
        let to_dave = to_dave.unwrap();
        let address = "s3://bucket/vault";
        let file = |given: &GivenOn, by: &Identity| {
            let by = by.card().fingerprint();
            let file = GrantFile::new(address, id, given.name(), by, given.letter());
            file.unwrap().with_copy(given.copy()).unwrap()
        };
        let first = file(&to_carol, &his.identity);
        let copy = OwnersCopy::open(vault.secrets.identity(), &id, &first).unwrap();
        let filed = Decision::File {
            copy: copy.into(),
            to: "carol".to_owned(),
        };
        let filed = vault.decide(filed).unwrap();
        let revoked = vault.decide(Decision::Revoke(vec![to_eve])).unwrap();
        put(&vault);
        let fallen = vault.decide(Decision::Revoke(vec![to_bob])).unwrap();
        put(&vault);

        let authorities = vault.header().authorities().list();
        let authorities: Vec<_> = authorities
            .iter()
            .map(|a| json!([hex(&a.key), a.from]))
            .collect();
        // Who waits to be filed awaits none of what is for others.
        let bundles = |all: &[&Appended]| -> Vec<Value> {
            let has_one = |a: &&&Appended| a.records.iter().any(|r| r.1.starts_with(b"KLB1"));
            all.iter()
                .filter(has_one)
                .map(|a| hex(&bundle(a)))
                .collect()
        };
        let unfiled = bundles(&[&revoked, &fallen]);
        let bundles = bundles(&[&filed, &revoked, &fallen]);
        let defaults = json!({
            "vault_id": hex(id.as_bytes()),
            "authorities": authorities,
            "bundles": bundles,
        });
        let mut vectors = File::new("chains", defaults);
        let until = |last: usize| {
            let entries = vault.entries[1..=last].iter();
            json!(entries.map(|e| hex(e.as_bytes())).collect::<Vec<_>>())
        };
        let letter = |who: &Identity, given: &GivenOn, last: usize| {
            let mut inputs = json!({
                "secrets": hex(&who.to_secret_bytes()),
                "letter_name": hex(&given.name().0),
                "letter": hex(given.letter()),
                "entries": until(last),
            });
            if given.id() != to_carol.id() {
                inputs["bundles"] = json!(unfiled);
            }
            inputs
        };
        for (what, who, given, last) in [
            ("carol, before it is filed", &carol, &to_carol, 2),
            ("carol, when it is filed", &carol, &to_carol, 3),
            (
                "carol, with the keys of the next epoch",
                &carol,
                &to_carol,
                4,
            ),
            (
                "carol, when the one above is taken back",
                &carol,
                &to_carol,
                5,
            ),
            ("dave, two below the owner", &dave, &to_dave, 3),
            ("dave, unfiled when an epoch is closed", &dave, &to_dave, 4),
        ] {
            vectors.case(what, "open", letter(who, given, last), "ok");
        }
        for (who, given, last, object, at, expect) in [
            (&carol, &to_carol, 2, 0, "b/x", "ok"),
            (&carol, &to_carol, 4, 1, "b/x", "ok"),
            (&carol, &to_carol, 5, 2, "b/x", "tampered"),
            (&dave, &to_dave, 3, 0, "x", "ok"),
            (&dave, &to_dave, 4, 1, "x", "access_denied"),
        ] {
            let mut inputs = letter(who, given, last);
            inputs["path"] = json!(at);
            inputs["object"] = objects[object].clone();
            let name = if at == "x" { "dave" } else { "carol" };
            let name = format!("{name} reads object {object} up to entry {last}");
            vectors.case(name, "object", inputs, expect);
        }
        // By whoever has all of Bob's keys, or Carol's.
        let all = |change: crate::chain::tests::Change| {
            let given = forged(&bobs, &his.identity, GiveOn::All, &to(&carol), change);
            letter(&carol, &given, 3)
        };
        for (what, change, expect) in [
            (
                "as it is made",
                (|_, _, _| {}) as crate::chain::tests::Change,
                "ok",
            ),
            (
                "no end",
                |s, _, _| s.terms.not_after = None,
                "access_denied",
            ),
            (
                "a later end",
                |s, _, _| s.terms.not_after = Some((1 << 40) + 1),
                "access_denied",
            ),
            (
                "the past held back",
                |s, _, _| s.terms.past = Past::HeldBack,
                "access_denied",
            ),
            (
                "below another statement",
                |s, _, _| s.above = Some(RecordHash([1; 32])),
                "tampered",
            ),
            ("below none", |s, _, _| s.above = None, "tampered"),
            (
                "for another",
                |s, _, _| s.grantee = RecordHash([1; 32]),
                "tampered",
            ),
            (
                "of another vault",
                |s, _, _| s.vault = VaultId([1; 16]),
                "tampered",
            ),
            (
                "from before the one above was filed",
                |s, _, _| s.before.sequence = 0,
                "tampered",
            ),
            (
                "of another ledger",
                |s, _, _| s.before.hash = RecordHash([1; 32]),
                "tampered",
            ),
            (
                "at another place",
                |s, _, _| s.stored.push('0'),
                "access_denied",
            ),
            ("without the chain", |_, _, c| c.clear(), "tampered"),
        ] {
            vectors.case(
                format!("a letter of bob's: {what}"),
                "open",
                all(change),
                expect,
            );
        }
        let stranger = forged(&carols, &carol, GiveOn::All, &to(&dave), |_, _, _| {});
        let mut inputs = letter(&dave, &stranger, 3);
        vectors.case(
            "a letter of carol's: as it is made",
            "open",
            inputs.clone(),
            "ok",
        );
        let late = vault.entries[2..=3].iter().map(|e| hex(e.as_bytes()));
        inputs["entries"] = json!(late.collect::<Vec<_>>());
        let name = "a letter of carol's: without the entry that files the one at the top";
        vectors.case(name, "open", inputs, "tampered");
        let swapped = forged(&carols, &carol, GiveOn::All, &to(&dave), |_, _, c| c.swap());
        let inputs = letter(&dave, &swapped, 3);
        vectors.case(
            "a letter of carol's: the chain swapped",
            "open",
            inputs,
            "tampered",
        );
        let leave = Share::open(&hers.identity, &id, &hers.name, &hers.letter).unwrap();
        let leave = forged(
            &leave,
            &hers.identity,
            GiveOn::All,
            &to(&dave),
            |s, _, _| {
                s.before.sequence += 1;
            },
        );
        let name = "a letter of eve's, who may not give on";
        vectors.case(name, "open", letter(&dave, &leave, 3), "access_denied");

        let owner = hex(&vault.secrets.identity().to_secret_bytes());
        let part = |file: &GrantFile| json!({ "secrets": owner, "text": file.to_armor() });
        vectors.case("what the owner gets", "copy", part(&first), "ok");
        let second = file(&to_dave, &carol);
        vectors.case(
            "what the owner gets of an object",
            "copy",
            part(&second),
            "ok",
        );
        let mixed = second.clone().with_copy(first.copy()).unwrap();
        vectors.case(
            "the owner's part of another",
            "copy",
            part(&mixed),
            "tampered",
        );
        let wrong = file(&to_dave, &his.identity);
        vectors.case("in another's name", "copy", part(&wrong), "tampered");
        for at in [0, 40, first.copy().len() - 1] {
            let (_, flipped) = flips(first.copy()).nth(8 * at).unwrap();
            let flipped = first.clone().with_copy(&flipped).unwrap();
            vectors.case(format!("flip at {at}"), "copy", part(&flipped), "tampered");
        }
        let mut inputs = part(&first);
        inputs["secrets"] = hex(&carol.to_secret_bytes());
        vectors.case("opened by another", "copy", inputs, "tampered");

        // Behind a change of the root key letters are sealed to cards, and to new mailboxes.
        let mut vault = Vault::make(false, &phrase(2));
        let mut changes = vec![vault.decide(share(terms(true, true), &dave)).unwrap()];
        for n in 0..2 {
            vault.rotate(&[phrase(3 + n)]);
            changes.push(vault.decide(Decision::CatchUp).unwrap());
        }
        let bundles: Vec<Value> = changes[1..].iter().map(|a| hex(&bundle(a))).collect();
        let daves = given(dave, &changes[0]);
        for (what, last, secrets, expect) in [
            ("of one root key", 1, &daves.identity, "ok"),
            ("of two root keys", 2, &daves.identity, "ok"),
            ("of three root keys", 3, &daves.identity, "ok"),
            ("of two root keys, by another", 2, &carol, "tampered"),
        ] {
            let entries = vault.entries[1..=last].iter();
            let entries: Vec<_> = entries.map(|e| hex(e.as_bytes())).collect();
            let authorities = vault.header().authorities().list();
            let authorities = authorities.iter().map(|a| json!([hex(&a.key), a.from]));
            let inputs = json!({
                "vault_id": hex(vault.secrets.vault().as_bytes()),
                "authorities": authorities.collect::<Vec<_>>(),
                "secrets": hex(&secrets.to_secret_bytes()),
                "letter_name": hex(&daves.name.0),
                "letter": hex(&daves.letter),
                "entries": entries,
                "bundles": bundles,
            });
            vectors.case(format!("the ledger {what}"), "open", inputs, expect);
        }
        check(&vectors);
    });
}
