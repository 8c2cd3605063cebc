//! The test vectors in `tests/vectors/` (their shape stands in its README.md),
//! made here and checked against what is committed. `KLUIS_BLESS=1 cargo test -p
//! kluis-crypto vectors` writes them again.
//!
//! Every case is run when it is made: one that should work gets the outputs that
//! came out, and the second implementation compares them with its own; one that
//! should fail has to fail with the class that is stated here.

mod cases;
mod chains;
mod example;
mod grants;
mod groups;
mod identity;
mod links;
mod run;
mod signed;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// One file of vectors, its fields in the order in which they are written.
struct File {
    name: &'static str,
    defaults: Vec<(String, Value)>,
    cases: Vec<Vec<(String, Value)>>,
}

fn fields(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => map.into_iter().collect(),
        other => panic!("not an object: {other}"),
    }
}

fn field<'a>(fields: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    fields.iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

impl File {
    fn new(name: &'static str, defaults: Value) -> Self {
        Self {
            name,
            defaults: fields(defaults),
            cases: Vec::new(),
        }
    }

    /// Adds a case, and runs it.
    fn case(&mut self, name: impl Into<String>, op: &str, inputs: Value, expect: &str) {
        let name = name.into();
        let found = |case: &Vec<_>| field(case, "name") == Some(&json!(name));
        assert!(!self.cases.iter().any(found), "{}: {name} twice", self.name);
        let mut case = vec![
            ("name".to_owned(), json!(name)),
            ("op".to_owned(), json!(op)),
        ];
        case.extend(fields(inputs));
        let outputs = run::run(self, op, &case);
        case.push(("expect".to_owned(), json!(expect)));
        match outputs {
            Ok(outputs) => {
                assert_eq!(expect, "ok", "{}: {name} is accepted", self.name);
                case.extend(outputs);
            }
            Err(class) => assert_eq!(class, expect, "{}: {name}", self.name),
        }
        self.cases.push(case);
    }

    fn text(&self) -> String {
        let mut out = format!("{{\n\"file\": {},\n", json!(self.name));
        if !self.defaults.is_empty() {
            let defaults: Map<_, _> = self.defaults.iter().cloned().collect();
            writeln!(out, "\"defaults\": {},", Value::from(defaults)).unwrap();
        }
        out.push_str("\"cases\": [\n");
        for (i, case) in self.cases.iter().enumerate() {
            out.push_str(if i > 0 { ",\n{\n" } else { "{\n" });
            let lines: Vec<_> = case
                .iter()
                .map(|(name, value)| format!("  {}: {value}", json!(name)))
                .collect();
            out.push_str(&lines.join(",\n"));
            out.push_str("\n}");
        }
        out.push_str("\n]\n}\n");
        out
    }
}

fn hex(bytes: &[u8]) -> Value {
    json!(HEXLOWER.encode(bytes))
}

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn bless() -> bool {
    std::env::var_os("KLUIS_BLESS").is_some()
}

fn check(file_of_vectors: &File) {
    let path = file(&format!("tests/vectors/{}.json", file_of_vectors.name));
    let text = file_of_vectors.text();
    serde_json::from_str::<Value>(&text).unwrap();
    if bless() {
        std::fs::write(&path, text).unwrap();
    } else {
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(
            committed == text,
            "{} is not what the code produces; if it should change: KLUIS_BLESS=1 cargo test -p kluis-crypto vectors",
            path.display()
        );
    }
}
