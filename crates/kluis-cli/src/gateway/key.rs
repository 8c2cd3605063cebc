//! S3's names for things, and the store's.

use crate::address::check_path;
use data_encoding::HEXLOWER;
use kluis::object_store::path::Path;
use s3s::dto::ETag;
use s3s::{S3Result, s3_error};
use std::fmt::Write as _;

/// What a key of S3 is in a vault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    Object(Path),
    /// It ends in `/`: by the custom of some tools an empty object that stands for a folder. A
    /// vault has folders where something lies in them, and no others.
    Folder(String),
}

impl Key {
    pub(super) fn parse(key: &str) -> S3Result<Self> {
        let (name, folder) = match key.strip_suffix('/') {
            Some(name) => (name, true),
            None => (key, false),
        };
        if let Err(failure) = check_path(name) {
            return Err(s3_error!(
                InvalidArgument,
                "the key {}; a vault has no such names",
                failure.message
            ));
        }
        if folder {
            return Ok(Self::Folder(name.to_owned()));
        }
        let path = Path::parse(name)
            .map_err(|_| s3_error!(InvalidArgument, "a vault has no such names as this key"))?;
        Ok(Self::Object(path))
    }

    /// Of what only an object can have.
    pub(super) fn object(key: &str) -> S3Result<Path> {
        match Self::parse(key)? {
            Self::Object(path) => Ok(path),
            Self::Folder(_) => Err(s3_error!(
                InvalidArgument,
                "a key that ends in / stands for a folder, which has no content; use another key"
            )),
        }
    }
}

/// The e-tag of the store as clients of S3 see it.
///
/// They take 32 hexadecimal digits for the MD5 of the content, and the store's would be that of
/// the ciphertext: each gets an end that no MD5 has, and says how it was written.
pub(super) fn outward(e_tag: &str) -> ETag {
    let plain = |text: &str| {
        let of_tag = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        !text.is_empty() && text.bytes().all(of_tag)
    };
    let quoted = e_tag.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    ETag::Strong(match quoted {
        Some(inner) if plain(inner) => format!("{inner}-kq"),
        None if plain(e_tag) => format!("{e_tag}-kr"),
        _ => format!("{}-kx", HEXLOWER.encode(e_tag.as_bytes())),
    })
}

/// The store's e-tag again; none for what [`outward`] never made.
pub(super) fn inward(e_tag: &ETag) -> Option<String> {
    let text = e_tag.as_strong()?;
    if let Some(inner) = text.strip_suffix("-kq") {
        return Some(format!("\"{inner}\""));
    }
    if let Some(raw) = text.strip_suffix("-kr") {
        return Some(raw.to_owned());
    }
    let bytes = HEXLOWER.decode(text.strip_suffix("-kx")?.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

/// As `encoding-type=url` asks for it: what XML cannot hold becomes ASCII. A space is `%20`, which
/// every decoder reads alike.
pub(super) fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_path_as_it_stands() {
        for key in ["a", "a b/ü+%2F&=;", "x/y.z", "漢字/😀", "-"] {
            assert_eq!(Key::object(key).unwrap().as_ref(), key);
        }
        assert_eq!(Key::parse("a/b/").unwrap(), Key::Folder("a/b".to_owned()));
        for key in [
            "", "/", "/a", "a//b", "a//", "./a", "a/..", "a\nb", "a\u{85}",
        ] {
            assert!(Key::parse(key).is_err(), "{key:?}");
        }
        assert!(Key::object("a/").is_err());
    }

    #[test]
    fn e_tags_come_back_and_are_never_an_md5() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for store in [
            md5,
            &format!("\"{md5}\""),
            "0",
            "\"a-5\"",
            "W/\"x\"",
            "\"\"",
            "",
            "0x8DE-ü\"",
            "a-kq",
            "\"a-kr\"",
        ] {
            let shown = outward(store);
            assert_eq!(inward(&shown).as_deref(), Some(store));
            let hexadecimal = shown.value().bytes().all(|b| b.is_ascii_hexdigit());
            assert!(!hexadecimal && !shown.value().contains('"'), "{shown:?}");
        }
        let distinct = ["a", "\"a\"", "61", "\"61\"", "W/\"a\""].map(outward);
        for (i, one) in distinct.iter().enumerate() {
            assert!(!distinct[..i].contains(one));
        }
        for strange in [ETag::Strong(md5.into()), ETag::Weak("a-kr".into())] {
            assert_eq!(inward(&strange), None);
        }
    }

    #[test]
    fn what_is_url_encoded_is_ascii() {
        assert_eq!(
            url_encoded("a/b c+%ü\u{fffe}"),
            "a/b%20c%2B%25%C3%BC%EF%BF%BE"
        );
    }
}
