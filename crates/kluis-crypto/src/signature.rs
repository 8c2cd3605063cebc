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

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn key(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn one_encoding_of_each_element() {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        for (low, sound) in [(0xec, true), (0xed, false), (0xee, false), (0xff, false)] {
            p[0] = low;
            assert_eq!(is_canonical(&p), sound, "{low}");
        }
        for at in 1..31 {
            let mut below = p;
            below[at] = 0xfe;
            assert!(is_canonical(&below));
        }
        let mut high = [0; 32];
        assert!(is_canonical(&high));
        for top in [0x80, 0xff] {
            high[31] = top;
            assert!(!is_canonical(&high));
        }
    }

    /// Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (SSR 2020), table 1:
    /// the points of small order and their second encodings.
    #[test]
    fn points_of_small_order_are_no_keys() {
        for weak in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            assert!(!is_sound(&key(weak)), "{weak}");
        }
        // A second encoding of y = 3, and a y that is of no point.
        let mut second = [0xff; 32];
        (second[0], second[31]) = (0xf0, 0x7f);
        assert!(!is_sound(&second));
        let mut none = [0; 32];
        none[0] = 2;
        assert!(!is_sound(&none));
        assert!(is_sound(&public_key(&[7; 32])));
    }

    #[test]
    fn a_signature_is_of_one_domain() {
        let key = public_key(&[7; 32]);
        let signature = sign(&[7; 32], b"kluis/v1/card\0", &[b"a", b"b"]);
        assert_eq!(
            verify(&key, b"kluis/v1/card\0", &[b"ab"], &signature),
            Ok(())
        );
        for (domain, message) in [
            (&b"kluis/v1/header\0"[..], b"ab"),
            (b"kluis/v1/card\0", b"ac"),
        ] {
            let found = verify(&key, domain, &[message], &signature);
            assert_eq!(found, Err(Error::Tampered));
        }
    }
}
