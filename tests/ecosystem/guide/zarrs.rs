use kluis::{EncryptedStore, Vault};
use std::error::Error;
use std::sync::Arc;
use zarrs::array::{Array, ArrayBuilder, data_type};
use zarrs_object_store::AsyncObjectStore;

type Temperatures = Array<AsyncObjectStore<Arc<EncryptedStore>>>;

/// A day of temperatures on a grid, in chunks of an hour.
pub async fn create(vault: &Vault) -> Result<Temperatures, Box<dyn Error>> {
    let store = Arc::new(AsyncObjectStore::new(vault.object_store()));
    let (shape, chunk) = (vec![24, 180, 360], vec![1, 180, 360]);
    let array = ArrayBuilder::new(shape, chunk, data_type::float32(), f32::NAN)
        .build(store, "/temperatures")?;
    array.async_store_metadata().await?;
    Ok(array)
}

/// What was measured in an hour, north to south, west to east.
pub async fn measure(
    array: &Temperatures,
    hour: u64,
    grid: Vec<f32>,
) -> Result<(), Box<dyn Error>> {
    Ok(array.async_store_chunk(&[hour, 0, 0], grid).await?)
}

/// One place over the day.
pub async fn at(vault: &Vault, row: u64, column: u64) -> Result<Vec<f32>, Box<dyn Error>> {
    let store = Arc::new(AsyncObjectStore::new(vault.object_store()));
    let array = Array::async_open(store, "/temperatures").await?;
    let place = [0..24, row..row + 1, column..column + 1];
    Ok(array.async_retrieve_array_subset(&place).await?)
}
