//! A test of something that somebody might try begins its name with the id of that.
//! `rows.txt` lists them; `KLUIS_BLESS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What somebody tries who is the store, a reader, or was one: each has to have a test.
const ROWS: &[(&str, &str)] = &[
    ("C11", "a client dies while credentials change"),
    ("C12", "a slot is added to the header, or taken out"),
    ("E05", "a device that knows nothing yet is shown the past"),
    ("E09", "of a revocation some are told and others not"),
    ("F01", "another key in the place of the recipient's"),
    ("F02", "the recipient's key changes behind its verification"),
    ("F03", "points with which everybody shares a secret"),
    ("F04", "a sealed key in another place, or to another person"),
    ("F05", "a grant in the name of somebody who did not give it"),
    ("F06", "a reader writes as the owner"),
    ("F07", "a reader adds an object"),
    (
        "F08",
        "a grantee hands a grant on as if it came from the grantor",
    ),
    ("F09", "reading is turned into writing"),
    ("F10", "the secret of a link where the store sees it"),
    ("F11", "a link is delivered after its time"),
    ("F12", "all that the revoked person had, on what came since"),
    ("F13", "a grant that was taken back is put back"),
    ("F14", "who has access is told from what is stored"),
    ("F15", "a revocation ends in the middle"),
    ("G01", "a ciphertext that two keys decrypt"),
    ("G02", "two readers are to see two contents"),
    ("G03", "a wrapped key out of another object"),
    ("G04", "two contexts with one encoding"),
    ("G05", "one answer tells of two passwords"),
    ("K01", "recorded today, decrypted with a quantum computer"),
    ("K02", "the classical half of a hybrid key alone"),
    ("K03", "keys and ciphertexts of ML-KEM that are none"),
    ("K04", "a classical recipient among others"),
    (
        "L01",
        "a folder that was shared falls back to the keys around it",
    ),
    ("L02", "a writer is kept in the past"),
    ("L03", "copies of the header of different ages"),
    ("L04", "one vault for another with the same password"),
    ("L06", "two devices decide at once"),
    ("L07", "objects planted under old epochs"),
    ("L08", "who was removed signs what replaces a card"),
    ("L09", "a forged chunk in a signed object"),
    ("L10", "clocks and versions that are far off"),
    ("L13", "two contents to those who were given one version"),
    ("L14", "an object without its empty last chunk"),
    ("L15", "one holder of a link replaces what the others get"),
    (
        "L18",
        "a slot that is planted to have a password tried on it",
    ),
    ("L22", "randomness that repeats"),
    ("L33", "the next numbers of the ledger are taken"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "py") {
            found.push(path);
        }
    }
}

/// The ids that a name begins with: `f06_f09_a_reader` is of F06 and F09.
fn ids(name: &str) -> impl Iterator<Item = String> {
    let is_id = |part: &&str| matches!(part.as_bytes(), [b'a'..=b'l', b'0'..=b'9', b'0'..=b'9']);
    name.split('_').take_while(is_id).map(str::to_uppercase)
}

#[test]
fn every_row_has_its_tests_and_they_are_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in ["crates", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let place = file.strip_prefix(root).unwrap().display();
        let mut attribute = "";
        for line in text.lines().map(str::trim) {
            let code = line.trim_start_matches("pub(crate) ");
            let code = code.trim_start_matches("async ");
            let function = code.strip_prefix("fn ").or(code.strip_prefix("def "));
            if let Some((name, _)) = function.and_then(|f| f.split_once('(')) {
                for id in ids(name) {
                    // Of Python each runner says what it runs.
                    let is_test = line.starts_with("def ") || attribute.contains("test");
                    assert!(is_test, "{place}: {name} is no test");
                    rows.entry(id)
                        .or_default()
                        .insert(format!("{place} {name}"));
                }
            }
            if line.starts_with(['#', '@', '}']) || line.is_empty() {
                attribute = line;
            }
        }
    }
    let mut table = String::new();
    for (id, what) in ROWS {
        let tests = rows.remove(*id).unwrap_or_default();
        assert!(!tests.is_empty(), "no test of {id}");
        table.push_str(&format!("{id} {what}\n"));
        for test in tests {
            table.push_str(&format!("    {test}\n"));
        }
    }
    assert!(rows.is_empty(), "not in the list above: {rows:?}");
    let path = root.join("tests/rows.txt");
    if std::env::var_os("KLUIS_BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == table, "tests/rows.txt is to be:\n{table}");
}
