use crate::{Error, Result};
use kluis_crypto::VaultId;
use std::fmt;
use std::str::FromStr;
use url::Url;

/// Where a vault lies, and which vault it has to be: `URL#id`.
///
/// The URL names a store and the vault's prefix in it (`s3://bucket/prefix`,
/// `gs://…`, `az://…`, `file:///folder`). The id in the fragment, 32 hexadecimal
/// digits, makes opening refuse every other vault before the password is
/// used; without it the first opening trusts what it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    id: Option<VaultId>,
}

impl Address {
    /// Of a store, and the vault in it if it is known.
    ///
    /// # Errors
    /// `InvalidInput` for a URL with a user, password, query or fragment: what
    /// stands in an address is written to files and screens.
    pub fn new(url: Url, id: Option<VaultId>) -> Result<Self> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid(
                "the address holds a user or password; give them in the provider's environment variables",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::invalid(
                "the address holds a query, or a fragment that is not a vault id",
            ));
        }
        // Written down, it has to lead to the same place: some that mix hosts
        // and drive letters do not.
        if Url::parse(url.as_str()).as_ref() != Ok(&url) {
            return Err(Error::invalid(
                "the address does not read back as itself; write it in another way",
            ));
        }
        Ok(Self { url, id })
    }

    /// The store and prefix, without the id.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The vault that has to be there.
    pub fn id(&self) -> Option<VaultId> {
        self.id
    }

    /// The same place with this vault in it.
    pub fn with_id(&self, id: VaultId) -> Self {
        Self {
            url: self.url.clone(),
            id: Some(id),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (url, id) = match text.split_once('#') {
            Some((url, id)) => {
                let id = id.parse().map_err(|_| {
                    Error::invalid(
                        "what stands behind # in an address is the vault's id, 32 digits 0-9 a-f",
                    )
                })?;
                (url, Some(id))
            }
            None => (text, None),
        };
        if text.len() > 4_096 || text.chars().any(char::is_control) {
            return Err(Error::invalid(
                "the address is too long or holds a control character",
            ));
        }
        let url = Url::parse(url)
            .map_err(|error| Error::invalid(format!("the address is not a URL: {error}")))?;
        Self::new(url, id)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{}#{id}", self.url),
            None => write!(f, "{}", self.url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "s3://bucket/some/prefix",
            "s3://bucket/prefix#00112233445566778899aabbccddeeff",
            "file:///home/me/vault#00112233445566778899aabbccddeeff",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "bucket/prefix",
            "s3://bucket#",
            "s3://bucket#00112233",
            "s3://bucket#00112233445566778899AABBCCDDEEFF",
            "s3://key:secret@bucket/x",
            "https://host/x?sig=1",
            "file:///a\nb",
            "file://host////c:/",
        ] {
            assert!(
                matches!(text.parse::<Address>(), Err(Error::InvalidInput { .. })),
                "{text:?}"
            );
        }
    }
}
