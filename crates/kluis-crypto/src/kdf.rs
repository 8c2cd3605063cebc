//! Key derivation: every key of Kluis is `KDF(parent, label, context…)`
//! (docs/FORMAT.md, section 1), HKDF-Expand of RFC 5869 with SHA-256.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A label of the table in docs/FORMAT.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(&'static str);

macro_rules! labels {
    ($($(#[$attribute:meta])* $name:ident = $text:literal),* $(,)?) => {
        impl Label {
            $($(#[$attribute])* pub(crate) const $name: Self = Self($text);)*
            #[cfg(test)]
            pub(crate) fn find(text: &str) -> Option<Self> {
                Self::ALL.iter().find(|label| **label == text).map(|label| Self(label))
            }
            #[cfg(test)]
            pub(crate) const ALL: &[&str] = &[$($text),*];
        }
    };
}

labels! {
    DIR = "dir",
    SIV = "siv",
    NAME = "name",
    SUB = "sub",
    OBJECT = "obj",
    MESSAGE = "msg",
    SALT = "salt",
    METADATA = "meta",
    ATTRIBUTES = "attr",
    HEADER_MAC = "mac",
    WRAP = "wrap",
    OWNER_PART = "owner",
    PHRASE = "phrase",
    #[allow(dead_code, reason = "no credential opens a keychain slot yet")]
    CHAIN_SECRET = "chain-secret",
    NOTICE = "notice",
    HOLDER = "holder",
    LETTER_LABEL = "letter-label",
    LETTER_KEY = "letter-key",
    BELOW = "below",
    GIVEN_ON = "given-on",
    LINK_NAME = "link-name",
    LINK_KEY = "link-key",
    GROUP_MAILBOX = "group-mailbox",
    PIN_FILE = "pin-file",
    #[allow(dead_code, reason = "the second part of device state has no content yet")]
    DEVICE_OBJECTS = "device-objects",
}

/// Strings that begin with `kluis/v1/` and are not labels: what is signed,
/// hashed or used as a context elsewhere.
pub(crate) mod domain {
    pub(crate) const VAULT: &[u8] = b"kluis/v1/vault\0";
    pub(crate) const HEADER: &[u8] = b"kluis/v1/header\0";
    pub(crate) const LEDGER: &[u8] = b"kluis/v1/ledger\0";
    pub(crate) const SUCCESSION: &[u8] = b"kluis/v1/succession\0";
    pub(crate) const SLOT: &[u8] = b"kluis/v1/slot\0";
    pub(crate) const RECORD: &[u8] = b"kluis/v1/record\0";
    pub(crate) const OBJECT: &[u8] = b"kluis/v1/object\0";
    pub(crate) const OBJECT_SIGNATURE: &[u8] = b"kluis/v1/object-sig\0";
    pub(crate) const LONG_NAME: &[u8] = b"kluis/v1/long-name\0";
    pub(crate) const CARD: &[u8] = b"kluis/v1/card\0";
    pub(crate) const FINGERPRINT: &[u8] = b"kluis/v1/fingerprint\0";
    pub(crate) const REPLACEMENT: &[u8] = b"kluis/v1/replacement\0";
    pub(crate) const GRANT: &[u8] = b"kluis/v1/grant\0";
    pub(crate) const STATEMENT: &[u8] = b"kluis/v1/statement\0";
    pub(crate) const LINK: &[u8] = b"kluis/v1/link\0";
    pub(crate) const DEVICE: &[u8] = b"kluis/v1/device\0";
    #[cfg(test)]
    pub(crate) const ALL: &[&[u8]] = &[
        STATEMENT,
        VAULT,
        HEADER,
        LEDGER,
        SUCCESSION,
        SLOT,
        RECORD,
        OBJECT,
        OBJECT_SIGNATURE,
        LONG_NAME,
        CARD,
        FINGERPRINT,
        REPLACEMENT,
        GRANT,
        LINK,
        DEVICE,
    ];
}

/// `KDF(k, label, c1, c2, …) = HKDF-Expand(k, "kluis/v1/" ‖ label ‖ 0x00 ‖ lp(c1) ‖ lp(c2) ‖ …, 32)`
pub(crate) fn derive(key: &[u8; 32], label: Label, context: &[&[u8]], out: &mut [u8; 32]) {
    const MAX_PARTS: usize = 3 + 2 * 4;
    let mut lengths = [[0u8; 4]; 4];
    let mut info: [&[u8]; MAX_PARTS] = [&[]; MAX_PARTS];
    info[0] = b"kluis/v1/";
    info[1] = label.0.as_bytes();
    info[2] = &[0];
    debug_assert!(context.len() <= lengths.len());
    for (length, part) in lengths.iter_mut().zip(context) {
        *length = length_prefix(part);
    }
    for (i, (length, part)) in lengths.iter().zip(context).enumerate() {
        info[3 + 2 * i] = length;
        info[4 + 2 * i] = part;
    }
    expand(key, &info[..3 + 2 * context.len()], out);
}

/// HKDF-Expand (RFC 5869, section 2.3) of a 32-byte key, at most 255 · 32 bytes.
pub(crate) fn expand(key: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    // A 32-byte key is long enough for SHA-256 and every output is a constant
    // below the limit of 8,160 bytes, so neither step can fail; were one to,
    // the output would have to be unusable rather than zero.
    let done = Hkdf::<Sha256>::from_prk(key)
        .map_err(drop)
        .and_then(|hkdf| hkdf.expand_multi_info(info, out).map_err(drop));
    assert!(done.is_ok(), "HKDF-Expand of a fixed length");
}

/// HMAC-SHA-256 (RFC 2104) that is ready for a message.
pub(crate) fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    // RFC 2104, section 2: a key shorter than a block is filled up with zeros.
    let mut block = Zeroizing::new([0u8; 64]);
    block[..32].copy_from_slice(key);
    Hmac::new((&*block).into())
}

/// The 4-byte big-endian length before every context, which makes the encoding injective.
pub(crate) fn length_prefix(part: &[u8]) -> [u8; 4] {
    // Contexts are bounded far below 4 GiB before they come here.
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_is_a_prefix_of_another() {
        for (i, a) in Label::ALL.iter().enumerate() {
            for (j, b) in Label::ALL.iter().enumerate() {
                assert!(i == j || !b.starts_with(a), "{a} is a prefix of {b}");
            }
        }
    }

    #[test]
    fn domains_end_in_zero_and_are_no_labels() {
        for domain in domain::ALL {
            let name = std::str::from_utf8(domain)
                .unwrap()
                .strip_prefix("kluis/v1/")
                .unwrap();
            let name = name.strip_suffix('\0').unwrap();
            assert!(
                !name.contains('\0') && !Label::ALL.contains(&name),
                "{name}"
            );
        }
    }

    #[test]
    fn every_label_and_domain_stands_in_the_format() {
        let format = include_str!("../../../docs/FORMAT.md");
        for label in Label::ALL {
            assert!(format.contains(&format!("| `{label}` |")), "{label}");
        }
        for domain in domain::ALL {
            let name = std::str::from_utf8(&domain[9..domain.len() - 1]).unwrap();
            assert!(format.contains(&format!("`{name}`")), "{name}");
        }
    }

    fn key_of(label: Label, context: &[&[u8]]) -> [u8; 32] {
        let mut key = [0; 32];
        derive(&[7; 32], label, context, &mut key);
        key
    }

    /// Every list of up to four texts that could be taken for lengths and borders: more
    /// than 10^8 pairs.
    #[test]
    fn g04_no_two_contexts_give_one_key() {
        let texts: [&[u8]; 9] = [
            b"",
            b"\0",
            b"\0\0\0\0",
            b"\0\0\0\x01",
            b"a",
            b"ab",
            b"b",
            b"\0\0\0\x01a",
            b"a\0\0\0\x01b",
        ];
        let mut lists: Vec<Vec<&[u8]>> = vec![Vec::new()];
        for longest in 0..4 {
            let longer = lists.iter().filter(|list| list.len() == longest);
            let longer = longer.flat_map(|list| texts.map(|text| [&list[..], &[text]].concat()));
            lists.extend(longer.collect::<Vec<_>>());
        }
        let mut keys = std::collections::HashSet::new();
        for label in [Label::DIR, Label::SUB, Label::SALT] {
            for list in &lists {
                assert!(keys.insert(key_of(label, list)), "{list:?}");
            }
        }
        assert_eq!(keys.len(), 3 * (1 + 9 + 81 + 729 + 6_561));
    }

    /// The same of what places a record, and of one text cut in two ways.
    #[test]
    fn g04_no_two_places_have_one_context() {
        use crate::VaultId;
        use crate::message::Place;
        // A kind and a place that would be other ones, were it not for their lengths.
        let kind = "\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x18";
        let place = [&b"\0\0\0\x10"[..], &[0; 16], &[0; 4]].concat();
        let kinds = ["", "a", "ab", kind];
        let vaults = [[0; 16], [1; 16]].map(VaultId);
        let places: [&[u8]; 6] = [b"", b"a", b"b", b"\0", b"\0\0\0\x01a", &place];
        let mut contexts = std::collections::HashSet::new();
        for kind in kinds {
            for vault in &vaults {
                for place in places {
                    let place = Place { kind, vault, place };
                    let context = place.with_context(|parts| parts.concat());
                    assert!(context.starts_with(domain::RECORD));
                    assert!(contexts.insert(context));
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn g04_a_text_that_is_cut_elsewhere_gives_another_key(
            text: [u8; 12],
            low in proptest::collection::vec(0usize..13, 0..4),
            high in proptest::collection::vec(0usize..13, 0..4),
        ) {
            let cut = |mut at: Vec<usize>| {
                at.sort_unstable();
                let starts = std::iter::once(0).chain(at.clone());
                let parts = starts.zip(at.iter().copied().chain([12]));
                parts.map(|(from, to)| text[from..to].to_vec()).collect::<Vec<_>>()
            };
            let (one, two) = (cut(low), cut(high));
            let key = |parts: &[Vec<u8>]| {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                key_of(Label::DIR, &parts)
            };
            proptest::prop_assert_eq!(one == two, key(&one) == key(&two));
        }
    }
}
