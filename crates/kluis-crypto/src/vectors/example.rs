//! The worked example of docs/FORMAT.md, its last section.

use super::{bless, file};
use crate::collection::{ContentKey, NameKey};
use crate::kdf::{Label, derive};
use crate::random::scripted;
use crate::testing::cheap;
use crate::*;
use data_encoding::HEXLOWER;
use std::fmt::Write as _;

const TITLE: &str = "\n## Worked example\n";

/// Bytes under a name, 32 a line.
fn line(out: &mut String, name: &str, bytes: &[u8]) {
    let lines: Vec<_> = bytes.chunks(32).map(|l| HEXLOWER.encode(l)).collect();
    let indent = format!("\n{:18}", "");
    writeln!(out, "{name:<17} {}", lines.join(&indent)).unwrap();
}

fn kdf(key: &[u8; 32], label: Label, context: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    derive(key, label, context, &mut out);
    out
}

fn section() -> String {
    let mut out = String::from(TITLE);
    let mut block = |title: &str, lines: &dyn Fn(&mut String)| {
        write!(out, "\n{title}\n\n```\n").unwrap();
        lines(&mut out);
        out.push_str("```\n");
    };
    let secrets = VaultSecrets::make(0).unwrap();
    let entry = Entry::first(&secrets, Suite::V1, false, 1_700_000_000_000_000).unwrap();
    let password = Password::new("correct horse battery staple");
    let credential = Credential::from(password);
    let slot = make_slot(&secrets, &credential, cheap(), 1_700_000_000_000_001).unwrap();
    let time = 1_700_000_000_000_002;
    let header = Header::first(&secrets, Suite::V1, entry.position(), slot, time).unwrap();
    let slot = &header.slots()[0];
    let vault = secrets.vault();
    let root = secrets.root().expose_secret();
    let (salt, commitment, sealed) = slot.fields();
    block(
        "The secrets of a tiny vault, all of them random, and what follows from them:",
        &|out| {
            line(out, "authority seed", secrets.authority().expose_secret());
            line(out, "authority key", header.authorities().current());
            line(out, "vault id", vault.as_bytes());
            line(out, "VRK", root);
            line(out, "state key", secrets.state().expose_secret());
            line(out, "OK_0", secrets.owners()[0].expose_secret());
            line(
                out,
                "mac key",
                &kdf(root, Label::HEADER_MAC, &[vault.as_bytes()]),
            );
            line(
                out,
                "wrap key",
                &kdf(root, Label::WRAP, &[vault.as_bytes()]),
            );
            let owner = secrets.owners()[0].expose_secret();
            line(
                out,
                "owner part key",
                &kdf(owner, Label::OWNER_PART, &[vault.as_bytes()]),
            );
        },
    );
    block(
        "Its slot of kind 1, for the password `correct horse battery staple` with [19456, 2, 1]:",
        &|out| {
            line(out, "slot id", slot.id().as_bytes());
            line(out, "salt", salt);
            let kek = slot.kek(&credential, &vault).unwrap();
            line(out, "KEK", kek.expose_secret());
            let okm = slot.expand(&kek, &vault);
            line(out, "key", &okm[..32]);
            line(out, "commitment", commitment);
            line(out, "sealed key", sealed);
        },
    );
    block(
        "Ledger entry 0, its hash, and the plaintext of its part:",
        &|out| {
            line(out, "entry", entry.as_bytes());
            line(out, "hash", entry.position().hash.as_bytes());
            line(out, "actions", &entry.owner_parts(&secrets).unwrap()[0]);
        },
    );
    block("The header, and its hash:", &|out| {
        line(out, "header", header.as_bytes());
        line(out, "hash", header.position().hash.as_bytes());
    });

    let ledger = Ledger::read(entry.position(), [entry.clone()], &header, &secrets).unwrap();
    let collection = ledger.root();
    let nk = ledger.tree().name_key().expose_secret();
    let ck = collection.epochs[0].key.expose_secret();
    let path = VaultPath::parse("docs/hello.txt").unwrap();
    let d_1 = kdf(nk, Label::DIR, &[b"docs"]);
    let t_1 = kdf(ck, Label::SUB, &[b"docs"]);
    let stored = ledger.tree().store_path(&path).unwrap();
    block(
        "The path `docs/hello.txt`: the keys of its names, and where it lies.",
        &|out| {
            line(out, "collection id", collection.id().as_bytes());
            line(out, "D_0 = NK", nk);
            line(out, "D_1", &d_1);
            line(out, "D_0: siv", &kdf(nk, Label::SIV, &[]));
            line(out, "D_0: name", &kdf(nk, Label::NAME, &[]));
            line(out, "D_1: siv", &kdf(&d_1, Label::SIV, &[]));
            line(out, "D_1: name", &kdf(&d_1, Label::NAME, &[]));
            for (name, key, segment) in [("docs", nk, "docs"), ("hello.txt", &d_1, "hello.txt")] {
                let names = FolderNames::new(NameKey::init_with(|out| *out = *key));
                let sealed = names.seal(segment);
                line(out, &format!("sealed {name}"), &sealed);
            }
            let mut parts = stored.path.splitn(3, '/').skip(1);
            writeln!(out, "{:<17} o/{}/", "stored", parts.next().unwrap()).unwrap();
            writeln!(out, "{:18}{}", "", parts.next().unwrap()).unwrap();
        },
    );

    let metadata = Metadata {
        mtime: Some(Mtime {
            seconds: 1_700_000_000,
            nanoseconds: 500_000_000,
        }),
        ..Metadata::default()
    };
    let time = 1_700_000_000_000_003;
    let (place, writer) = ((&vault, Suite::V1), secrets.identity());
    let sealer = Sealer::new(
        place,
        ledger.tree(),
        &path,
        writer,
        time,
        &metadata,
        Some(5),
    )
    .unwrap();
    let object = crate::object::tests::seal_chunks(&sealer, "o", b"hello");
    block(
        "The object, with the content `hello`, version 1700000000000003 and modified half a second past 1700000000:",
        &|out| {
            line(out, "T_0 = CK_0", ck);
            line(out, "T_1", &t_1);
            let ik = ContentKey::init_with(|key| *key = *ck).object_key(&path);
            line(out, "IK", ik.expose_secret());
            let salt = &object[200..224];
            line(out, "salt", salt);
            let mk = kdf(ik.expose_secret(), Label::MESSAGE, &[salt]);
            line(out, "MK", &mk);
            let prefix = &object[..40];
            line(out, "metadata key", &kdf(&mk, Label::METADATA, &[prefix]));
            line(out, "object", &object);
        },
    );
    let (opened, _) = header.open(&credential, KdfCeiling::default()).unwrap();
    assert_eq!(opened.root().expose_secret(), root);
    out
}

#[test]
fn the_worked_example_stands_in_the_format() {
    let section = scripted::seeded("kluis worked example", section);
    let path = file("docs/FORMAT.md");
    let page = std::fs::read_to_string(&path).unwrap();
    if bless() {
        // It is the last section.
        let before = page.split(TITLE).next().unwrap();
        std::fs::write(&path, format!("{}\n{section}", before.trim_end())).unwrap();
    } else {
        assert!(
            page.ends_with(&section),
            "the worked example is not what the code produces; if it should change: KLUIS_BLESS=1 cargo test -p kluis-crypto vectors"
        );
    }
}
