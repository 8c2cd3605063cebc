//! The tables and the queries of TPC-H.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// The tables.
pub const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];

/// The queries by their number, with the parameters that TPC-H validates with.
pub const QUERIES: [(u32, &str); 8] = [
    (1, include_str!("queries/q01.sql")),
    (3, include_str!("queries/q03.sql")),
    (6, include_str!("queries/q06.sql")),
    (10, include_str!("queries/q10.sql")),
    (12, include_str!("queries/q12.sql")),
    (14, include_str!("queries/q14.sql")),
    (18, include_str!("queries/q18.sql")),
    (19, include_str!("queries/q19.sql")),
];

/// Where `table.parquet` of each table lies.
///
/// # Panics
/// If `KLUIS_TEST_TPCH` does not say so.
pub fn folder() -> PathBuf {
    std::env::var_os("KLUIS_TEST_TPCH")
        .expect(
            "KLUIS_TEST_TPCH is not set; make the tables with \
             `tpchgen-cli parquet -s 0.1 --output-dir DIR` and set it to DIR",
        )
        .into()
}

/// Puts the tables into a store, under `tpch/`. Returns how many bytes they have.
///
/// # Panics
/// If the store does not take them, or they are not there.
pub async fn load(store: &dyn ObjectStore) -> u64 {
    let mut sum = 0;
    for table in TABLES {
        let name = format!("{table}.parquet");
        let content = fs::read(folder().join(&name)).expect("a table");
        sum += content.len() as u64;
        let path = Path::from_iter(["tpch", &name]);
        store.put(&path, content.into()).await.expect("a put");
    }
    sum
}

/// A session that sees the tables of a store of `object_store` 0.14.
///
/// # Errors
/// Those of DataFusion.
pub async fn session(store: &Arc<dyn ObjectStore>) -> Result<SessionContext> {
    let session = empty_session(store);
    register(&session, "data://store/tpch").await?;
    Ok(session)
}

/// A session for which such a store is `data://store/`.
///
/// # Panics
/// Never: that is a URL.
pub fn empty_session(store: &Arc<dyn ObjectStore>) -> SessionContext {
    let session = new_session();
    let url = Url::parse("data://store").expect("a URL");
    let store = kluis_object_store_013::adapt(Arc::clone(store));
    session.register_object_store(&url, store);
    session
}

/// A session that sees the tables in their folder, by nothing but DataFusion's own means.
///
/// # Errors
/// Those of DataFusion.
///
/// # Panics
/// If there is no folder.
pub async fn plain_session() -> Result<SessionContext> {
    let session = new_session();
    register(&session, folder().to_str().expect("a UTF-8 path")).await?;
    Ok(session)
}

/// Two partitions, so that the requests do not depend on the machine.
fn new_session() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2))
}

async fn register(session: &SessionContext, folder: &str) -> Result<()> {
    for table in TABLES {
        let at = format!("{folder}/{table}.parquet");
        let options = ParquetReadOptions::default();
        session.register_parquet(table, at, options).await?;
    }
    Ok(())
}

/// The rows of a query, as a table in text.
///
/// # Errors
/// Those of DataFusion.
pub async fn rows(session: &SessionContext, sql: &str) -> Result<String> {
    let batches = session.sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}
