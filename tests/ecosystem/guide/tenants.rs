use kluis::object_store::ObjectStore;
use kluis::object_store::prefix::PrefixStore;
use kluis::{EncryptedStore, Identity, Invitation, Password, Recipient, Result, Terms, Vault};
use std::sync::Arc;

/// A vault for each tenant: a place, a password and a ledger of its own.
pub async fn vault_of(
    store: Arc<dyn ObjectStore>,
    tenant: &str,
    password: Password,
) -> Result<Vault> {
    let place = PrefixStore::new(store, format!("tenants/{tenant}"));
    Vault::create(Arc::new(place), password).await
}

/// Or one vault, with a folder for each tenant that its owner reads too.
pub async fn invite(vault: &Vault, folder: &str, tenant: &Recipient) -> Result<Invitation> {
    let mut terms = Terms::reading();
    terms.write = true;
    let granted = vault.share(folder, tenant, terms).await?;
    Ok(granted.invitation)
}

/// What the tenant's program is given then: his folder, and nothing outside of it.
pub async fn store_of(
    store: Arc<dyn ObjectStore>,
    tenant: &Arc<Identity>,
    invitation: &Invitation,
    folder: &str,
) -> Result<Arc<EncryptedStore>> {
    let vault = Vault::open_as(store, tenant, invitation).await?;
    vault.object_store_at(folder)
}
