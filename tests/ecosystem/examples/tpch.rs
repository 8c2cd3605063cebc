//! How long TPC-H takes on encrypted tables, beside plain ones.
//!
//!     KLUIS_TEST_TPCH=DIR cargo run --release --example tpch [ROUNDS]
//!
//! Both are in folders, behind the same adapter. Each round runs each query on the one and the
//! other; the table has the medians and their ratio. The target is 1.25.

#![allow(clippy::unwrap_used, reason = "there is nobody to tell")]

use datafusion::prelude::SessionContext;
use kluis_ecosystem::tpch::{self, QUERIES};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() {
    let rounds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let rounds: usize = rounds.unwrap_or(5);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [plain, below] = folders.each_ref().map(|folder| -> Arc<dyn ObjectStore> {
        Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())
    });
    let encrypted: Arc<dyn ObjectStore> = kluis_tests::vault(&below).await.object_store();
    let mut sessions = Vec::new();
    for store in [plain, encrypted] {
        tpch::load(&store).await;
        sessions.push(tpch::session(&store).await.unwrap());
    }

    println!(
        "{:>6} {:>12} {:>12} {:>8}",
        "query", "plain ms", "encrypted ms", "ratio"
    );
    let mut sums = [0.0; 2];
    for (number, sql) in QUERIES {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (session, times) in sessions.iter().zip(&mut times) {
                times.push(time(session, sql).await);
            }
        }
        let [plain, encrypted] = times.map(median);
        print(&number.to_string(), [plain, encrypted]);
        sums = [sums[0] + plain, sums[1] + encrypted];
    }
    print("all", sums);
}

async fn time(session: &SessionContext, sql: &str) -> Duration {
    let start = Instant::now();
    tpch::rows(session, sql).await.unwrap();
    start.elapsed()
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

fn print(what: &str, [plain, encrypted]: [f64; 2]) {
    println!(
        "{what:>6} {plain:>12.1} {encrypted:>12.1} {:>8.2}",
        encrypted / plain
    );
}
