//! A test of a row of the threat table begins its name with the row's id. `rows.txt` is
//! the table of them; `KLUIS_BLESS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The groups that are covered, with the numbers that they have.
const GROUPS: [(char, &[u32]); 4] = [
    ('F', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    ('G', &[1, 2, 3, 4, 5]),
    ('K', &[1, 2, 3, 4]),
    ('L', &[1, 2, 3, 4, 6, 7, 8, 9, 10, 13, 14, 15, 18, 22, 33]),
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
    for (group, numbers) in GROUPS {
        for number in numbers {
            let id = format!("{group}{number:02}");
            assert!(rows.contains_key(&id), "no test of {id}");
        }
    }
    let lines = rows
        .iter()
        .flat_map(|(id, tests)| tests.iter().map(move |test| format!("{id} {test}\n")));
    let table: String = lines.collect();
    let path = root.join("tests/rows.txt");
    if std::env::var_os("KLUIS_BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == table, "tests/rows.txt is another table:\n{table}");
}
