//! The authority of a vault: the Ed25519 key (RFC 8032) that signs headers and
//! ledger entries, and whose hash is the vault's id.

use crate::cbor::{Reader, Writer};
use crate::kdf::domain;
use crate::secret::secret_key;
use crate::signature::{self, verify};
use crate::{Error, Result, VaultId};
use sha2::{Digest, Sha256};

secret_key! {
    /// Seed of the authority's signing key.
    pub(crate) struct AuthoritySeed;
}

impl AuthoritySeed {
    pub(crate) fn public_key(&self) -> [u8; 32] {
        signature::public_key(self.expose_secret())
    }

    /// Signs `domain ‖ message`.
    pub(crate) fn sign(&self, domain: &'static [u8], message: &[&[u8]]) -> [u8; 64] {
        signature::sign(self.expose_secret(), domain, message)
    }
}

/// `vault id = SHA-256("kluis/v1/vault" ‖ 0x00 ‖ public key)[..16]`
pub(crate) fn vault_id(first_key: &[u8; 32]) -> VaultId {
    let digest = Sha256::new()
        .chain_update(domain::VAULT)
        .chain_update(first_key)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    VaultId(id)
}

/// `[[key, from, signature], …]`, as headers and links hold it.
pub(crate) fn write_list(list: &[Authority], to: &mut Writer) {
    to.array(list.len());
    for authority in list {
        to.array(3).bytes(&authority.key).uint(authority.from);
        to.bytes(authority.signature.as_ref().map_or(&[][..], |s| &s[..]));
    }
}

pub(crate) fn read_list(from: &mut Reader<'_>) -> Result<Vec<Authority>> {
    let mut authorities = Vec::new();
    for _ in 0..from.array_up_to(Authorities::MAX)? {
        from.array(3)?;
        authorities.push(Authority {
            key: *from.fixed()?,
            from: from.uint()?,
            signature: from.fixed_or_empty()?.copied(),
        });
    }
    Ok(authorities)
}

/// One authority and how it came to be: the first is named by the vault id, each
/// further one is signed by the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) key: [u8; 32],
    /// The ledger sequence at which it takes over.
    pub(crate) from: u64,
    pub(crate) signature: Option<[u8; 64]>,
}

/// The authorities of a vault, the last in force. A parsed list is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities(Vec<Authority>);

impl Authorities {
    /// One for each root rotation, and the first.
    pub(crate) const MAX: usize = 257;

    pub(crate) fn first(key: [u8; 32]) -> Self {
        Self(vec![Authority {
            key,
            from: 0,
            signature: None,
        }])
    }

    /// Checks the chain of successions from the vault id on.
    pub(crate) fn verify(list: Vec<Authority>, vault: &VaultId) -> Result<Self> {
        let mut before: Option<&Authority> = None;
        for authority in &list {
            match (before, &authority.signature) {
                (None, None) if authority.from == 0 && vault_id(&authority.key) == *vault => {}
                (Some(last), Some(signature)) if authority.from > last.from => {
                    let message: [&[u8]; 3] = [
                        vault.as_bytes(),
                        &authority.key,
                        &authority.from.to_be_bytes(),
                    ];
                    verify(&last.key, domain::SUCCESSION, &message, signature)?;
                }
                _ => return Err(Error::Tampered),
            }
            before = Some(authority);
        }
        if list.is_empty() {
            Err(Error::Tampered)
        } else {
            Ok(Self(list))
        }
    }

    #[cfg(test)]
    pub(crate) fn unverified(list: &[([u8; 32], u64)]) -> Self {
        let list = list.iter().map(|(key, from)| Authority {
            key: *key,
            from: *from,
            signature: None,
        });
        Self(list.collect())
    }

    pub(crate) fn list(&self) -> &[Authority] {
        &self.0
    }

    /// The public key in force.
    pub fn current(&self) -> &[u8; 32] {
        // A verified list is not empty.
        self.0.last().map_or(&[0; 32], |authority| &authority.key)
    }
    /// The ledger sequence from which the key in force signs.
    pub(crate) fn current_from(&self) -> u64 {
        self.0.last().map_or(0, |authority| authority.from)
    }

    /// Whether a key is, or was, an authority of the vault.
    pub fn contains(&self, key: &[u8; 32]) -> bool {
        self.0.iter().any(|authority| authority.key == *key)
    }

    /// Checks a signature of the authority in force.
    pub(crate) fn verify_current(
        &self,
        domain: &'static [u8],
        message: &[&[u8]],
        signature: &[u8; 64],
    ) -> Result<()> {
        verify(self.current(), domain, message, signature)
    }

    /// Checks a signature of the authority that was in force at a ledger sequence.
    pub(crate) fn verify_at(
        &self,
        sequence: u64,
        domain: &'static [u8],
        message: &[&[u8]],
        signature: &[u8; 64],
    ) -> Result<()> {
        let then = self
            .0
            .iter()
            .rfind(|a| a.from <= sequence)
            .ok_or(Error::Tampered)?;
        verify(&then.key, domain, message, signature)
    }
}
