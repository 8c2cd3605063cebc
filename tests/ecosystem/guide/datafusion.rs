use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use kluis::Vault;

/// A session for which the vault is `vault://mine/`.
pub async fn session(vault: &Vault) -> Result<SessionContext> {
    let session = SessionContext::new();
    let store = kluis_object_store_013::adapt(vault.object_store());
    let url = ObjectStoreUrl::parse("vault://mine")?;
    session.register_object_store(url.as_ref(), store);
    Ok(session)
}

/// Writes a table into the folder `sales`, and asks it something.
pub async fn sales(vault: &Vault) -> Result<Vec<String>> {
    let session = session(vault).await?;
    let write = "COPY (VALUES ('tulips', 3), ('clogs', 5), ('tulips', 4))
                 TO 'vault://mine/sales/monday.parquet'";
    session.sql(write).await?.collect().await?;

    let options = ParquetReadOptions::default();
    session
        .register_parquet("sales", "vault://mine/sales/", options)
        .await?;
    let read = "SELECT column1, sum(column2) FROM sales GROUP BY column1 ORDER BY column1";
    let rows = session.sql(read).await?.to_string().await?;
    Ok(rows.lines().map(str::to_owned).collect())
}
