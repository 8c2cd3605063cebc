//! The inputs that fuzzing starts from, and those that once crashed something,
//! through the same functions as fuzzing calls, without its tools.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[allow(unreachable_pub, reason = "a library of its own where it fuzzes")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpora() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let folders: BTreeSet<_> = entries(&corpora).map(|entry| entry.file_name()).collect();
    let names: BTreeSet<_> = targets::TARGETS
        .iter()
        .map(|(name, _)| (*name).into())
        .collect();
    assert_eq!(folders, names, "each target has a corpus");

    for (name, run) in targets::TARGETS {
        let mut inputs = 0;
        for input in entries(&corpora.join(name)) {
            // Seen if the test fails.
            println!("{}", input.path().display());
            run(&fs::read(input.path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no input");
    }
}

#[test]
fn the_sample_is_read() {
    targets::sample();
}
