//! The recovery kit (docs/FORMAT.md, section 8): the newest header and the
//! ledger's entries as a text file, for the day on which the store lost them.

use crate::armor::Armor;
use crate::cbor::{Reader, Record, Writer};
use crate::header::check_magic;
use crate::{Entry, Error, Header, Result};
use std::fmt;
use std::str::FromStr;

/// What recreates the control records of a vault, and opens nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryKit {
    header: Header,
    entries: Vec<Vec<u8>>,
}

struct Body {
    header: Vec<u8>,
    entries: Vec<Vec<u8>>,
}

impl Record for Body {
    fn write(&self, to: &mut Writer) {
        to.array(2).bytes(&self.header).array(self.entries.len());
        for entry in &self.entries {
            to.bytes(entry);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(2)?;
        let header = from.bytes(Header::MAX_LENGTH)?.to_vec();
        let mut entries = Vec::new();
        // Each element takes at least a byte, so nothing is read beyond the kit.
        for _ in 0..from.array_up_to(RecoveryKit::MAX_LENGTH)? {
            entries.push(from.bytes(Entry::MAX_LENGTH)?.to_vec());
        }
        if entries.is_empty() {
            return Err(Error::Tampered);
        }
        Ok(Self { header, entries })
    }
}

impl RecoveryKit {
    /// Bytes of the longest kit, before they are written as text.
    pub const MAX_LENGTH: usize = 16 << 20;
    /// Longer texts are not looked at: a third more for base64, and room for
    /// the lines of people.
    pub const MAX_TEXT: usize = 32 << 20;
    const MAGIC: [u8; 4] = *b"KLK1";
    const ARMOR: Armor = Armor {
        label: "RECOVERY KIT",
        name: ("a", "recovery kit"),
        max: Self::MAX_LENGTH,
        over: "length of a recovery kit",
        max_text: Self::MAX_TEXT,
    };

    /// The kit of a vault: its newest header, and the entries of the ledger's
    /// chain from its window's start on, in ascending order.
    ///
    /// # Errors
    /// `LimitExceeded` above 16 MiB, `InvalidInput` without an entry.
    pub fn new(header: &Header, entries: &[Entry]) -> Result<Self> {
        if entries.is_empty() {
            return Err(Error::invalid("a recovery kit needs a ledger entry"));
        }
        let kit = Self {
            header: header.clone(),
            entries: entries.iter().map(|e| e.as_bytes().to_vec()).collect(),
        };
        if kit.to_bytes().len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded(Self::ARMOR.over));
        }
        Ok(kit)
    }

    /// Reads the text of a kit and checks its header as `Header::parse` does;
    /// the entries are checked by `Entry::parse`, one by one, so that a damaged
    /// one does not take the others with it.
    ///
    /// # Errors
    /// `InvalidInput` where the text holds no kit, or not exactly one;
    /// `UnsupportedFormat` of a later version; `LimitExceeded`; otherwise `Tampered`.
    pub fn parse(text: &str) -> Result<Self> {
        let kit = Self::ARMOR.read(text)?;
        let Body { header, entries } = Body::decode(check_magic(&kit, Self::MAGIC)?)?;
        Ok(Self {
            header: Header::parse(&header)?,
            entries,
        })
    }

    /// The header, its signature checked.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The entries as they are stored, not checked yet.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.iter().map(Vec::as_slice)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let body = Body {
            header: self.header.as_bytes().to_vec(),
            entries: self.entries.clone(),
        };
        let mut kit = Self::MAGIC.to_vec();
        kit.extend_from_slice(&body.encode());
        kit
    }
}

impl fmt::Display for RecoveryKit {
    /// The text to write into a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Recovery kit of the Kluis vault {}.",
            self.header.vault()
        )?;
        writeln!(
            f,
            "It restores the vault's header and ledger where the store lost them; keep it elsewhere."
        )?;
        writeln!(
            f,
            "It opens nothing by itself: it needs a password, keyfile or recovery phrase of the"
        )?;
        writeln!(f, "vault as they were when the kit was made.")?;
        writeln!(f)?;
        f.write_str(&Self::ARMOR.write(&self.to_bytes()))
    }
}

impl FromStr for RecoveryKit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credential, Ledger, RecoveryPhrase, Suite, VaultSecrets, make_slot};
    use data_encoding::BASE64;

    const BEGIN: &str = "-----BEGIN KLUIS RECOVERY KIT-----";
    const END: &str = "-----END KLUIS RECOVERY KIT-----";

    fn vault() -> (Header, Vec<Entry>) {
        let secrets = VaultSecrets::make(0).unwrap();
        let phrase = Credential::from(RecoveryPhrase::generate().unwrap());
        let first = Entry::first(&secrets, Suite::V1, false, 1).unwrap();
        let slot = make_slot(&secrets, &phrase, crate::KdfParams::default(), 1).unwrap();
        let header = Header::first(&secrets, Suite::V1, first.position(), slot, 1).unwrap();
        let ledger = Ledger::read(first.position(), [first.clone()], &header, &secrets).unwrap();
        let second = ledger.catch_up(&header, &secrets, 2).unwrap();
        (header, vec![first, second])
    }

    fn kit() -> RecoveryKit {
        let (header, entries) = vault();
        RecoveryKit::new(&header, &entries).unwrap()
    }

    fn armor(kit: &[u8]) -> String {
        let base64 = BASE64.encode(kit);
        format!("{}\n{base64}\n{}\n", BEGIN, END)
    }

    #[test]
    fn a_kit_survives_being_written_down() {
        let kit = kit();
        let text = kit.to_string();
        assert_eq!(RecoveryKit::parse(&text).as_ref(), Ok(&kit));
        assert_eq!(text.parse::<RecoveryKit>().as_ref(), Ok(&kit));
        assert!(text.contains(&kit.header().vault().to_string()));
        assert!(text.lines().all(|line| line.len() <= 90 && line.is_ascii()));
        assert_eq!(kit.entries().len(), 2);

        // What mail, editors and people do to a text.
        for changed in [
            text.replace('\n', "\r\n"),
            text.replace('\n', " \t\n"),
            text.replace('\n', "\n\n"),
            format!("> see below\n\u{fffd}\n{text}\n-- \nregards"),
            armor(&kit.to_bytes()),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(RecoveryKit::parse(&changed).as_ref(), Ok(&kit));
        }
    }

    #[test]
    fn what_is_no_kit_is_the_users_mistake() {
        let kit = kit();
        let text = kit.to_string();
        let bytes = kit.to_bytes();
        let base64 = BASE64.encode(&bytes);
        for bad in [
            String::new(),
            "hello".to_owned(),
            text.replace(BEGIN, ""),
            text.replace(END, ""),
            text.replace(END, BEGIN),
            format!("{text}{text}"),
            format!("{text}{}", END),
            format!("{}\n{}\n", END, BEGIN),
            text.replacen(
                &base64[..4],
                &format!("{} {}", &base64[..2], &base64[2..4]),
                1,
            ),
            text.replacen(&base64[..4], &base64[..3], 1),
            text.replacen(&base64[..4], "S\u{fc}xW", 1),
            // Bits behind the last byte are zero.
            format!("{}\nS0xLMf==\n{}", BEGIN, END),
        ] {
            let error = RecoveryKit::parse(&bad).unwrap_err();
            assert!(matches!(error, Error::InvalidInput(_)), "{bad} {error:?}");
        }
    }

    #[test]
    fn a_kit_of_other_bytes_is_refused() {
        let kit = kit();
        let bytes = kit.to_bytes();
        let parse = |bytes: &[u8]| RecoveryKit::parse(&armor(bytes));
        assert_eq!(parse(&bytes).as_ref(), Ok(&kit));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Err(Error::Tampered));
        }
        assert_eq!(parse(&[&bytes[..], b"x"].concat()), Err(Error::Tampered));
        let mut later = bytes.clone();
        later[3] = b'2';
        assert!(matches!(parse(&later), Err(Error::UnsupportedFormat(_))));

        // A flipped bit in the header is an error; one in an entry is found when
        // the entry is parsed, and the header is there all the same.
        let header = bytes.len() - kit.entries().map(|e| e.len() + 3).sum::<usize>();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            match parse(&changed) {
                Ok(found) => {
                    assert!(at >= header);
                    assert_eq!(found.header(), kit.header());
                    let header = kit.header();
                    let bad = found.entries().filter(|entry| {
                        Entry::parse(entry, &header.vault(), header.authorities()).is_err()
                    });
                    assert_eq!(bad.count(), 1, "byte {at}");
                }
                Err(error) => assert!(!matches!(error, Error::InvalidInput(_)), "byte {at}"),
            }
        }
    }

    #[test]
    fn kits_are_bounded() {
        let (header, entries) = vault();
        assert!(matches!(
            RecoveryKit::new(&header, &[]),
            Err(Error::InvalidInput(_))
        ));
        let many =
            vec![entries[0].clone(); RecoveryKit::MAX_LENGTH / entries[0].as_bytes().len() + 1];
        assert!(matches!(
            RecoveryKit::new(&header, &many),
            Err(Error::LimitExceeded(_))
        ));
        let long = vec![b'K'; RecoveryKit::MAX_LENGTH + 1];
        let long = armor(&long);
        assert!(matches!(
            RecoveryKit::parse(&long),
            Err(Error::LimitExceeded(_))
        ));
        assert!(matches!(
            RecoveryKit::parse(&"x".repeat(RecoveryKit::MAX_TEXT + 1)),
            Err(Error::LimitExceeded(_))
        ));
        // A list that claims to be long, without its elements.
        let mut claimed = b"KLK1\x82\x40".to_vec();
        claimed.extend([0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(RecoveryKit::parse(&armor(&claimed)).is_err());
    }
}
