//! Keeps customers in SlateDB.

use object_store::{ObjectStore, local::LocalFileSystem};
use slatedb::Db;
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix("data")?);
    let db = Db::open("customers", store).await?;
    db.put("ada", "Ada Lovelace").await?;
    db.flush().await?;
    println!("{:?}", db.get("ada").await?);
    Ok(db.close().await?)
}
