use kluis::Vault;
use kluis::object_store::{Error::AlreadyExists, ObjectStore, ObjectStoreExt, PutMode};
use slatedb::Db;
use slatedb::config::Settings;
use std::error::Error;

/// The database in the folder `customers` of the vault.
pub async fn open(vault: &Vault) -> Result<Db, Box<dyn Error>> {
    let store = vault.object_store();
    if !knows_put_if_absent(&store).await? {
        return Err("two writers could overwrite each other in this store".into());
    }
    let settings = Settings {
        object_store_max_retries: Some(10),
        ..Settings::default()
    };
    let db = Db::builder("customers", store).with_settings(settings);
    Ok(db.build().await?)
}

/// Whether the store refuses to put what is there already.
async fn knows_put_if_absent(store: &impl ObjectStore) -> Result<bool, Box<dyn Error>> {
    let probe = "put-if-absent".into();
    store.put(&probe, "".into()).await?;
    let again = store.put_opts(&probe, "".into(), PutMode::Create.into());
    match again.await {
        Err(AlreadyExists { .. }) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
