//! Signatures: Ed25519 (RFC 8032) over `domain ‖ message`, verified strictly. No
//! domain is a prefix of another, so that a signature has one meaning.

use crate::{Error, Result};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

pub(crate) fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// Signs `domain ‖ message`. Deterministic, as RFC 8032 has it.
pub(crate) fn sign(seed: &[u8; 32], domain: &'static [u8], message: &[&[u8]]) -> [u8; 64] {
    SigningKey::from_bytes(seed)
        .sign(&joined(domain, message))
        .to_bytes()
}

/// # Errors
/// `Tampered`, also for a key that is none or of small order.
pub(crate) fn verify(
    key: &[u8; 32],
    domain: &'static [u8],
    message: &[&[u8]],
    signature: &[u8; 64],
) -> Result<()> {
    VerifyingKey::from_bytes(key)
        .and_then(|key| {
            key.verify_strict(&joined(domain, message), &Signature::from_bytes(signature))
        })
        .map_err(|_| Error::Tampered)
}

/// Whether a stranger's public key is the one encoding of a point that is not of
/// small order.
pub(crate) fn is_sound(key: &[u8; 32]) -> bool {
    let mut y = *key;
    y[31] &= 0x7f;
    is_canonical(&y) && VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak())
}

/// Whether these little-endian bytes are below 2^255 − 19: one encoding for each
/// element of the field of Curve25519 and Ed25519.
pub(crate) fn is_canonical(element: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = element;
    *last < 0x7f || *last == 0x7f && (*first < 0xed || middle.iter().any(|byte| *byte != 0xff))
}

fn joined(domain: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut all = domain.to_vec();
    for part in message {
        all.extend_from_slice(part);
    }
    all
}
