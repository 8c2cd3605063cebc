//! A grant as a file (docs/FORMAT.md, section 12): its invitation and its first letter
//! in one text, for who is reached by mail sooner than by the store.

use crate::armor::Armor;
use crate::card::Fingerprint;
use crate::cbor::{Reader, Record, Writer};
use crate::chain::OwnersCopy;
use crate::grant::{LetterName, Share};
use crate::header::check_magic;
use crate::{Error, Result, VaultId};

/// Where a vault lies, whose grant it has to be, and the grant's first letter.
///
/// It is of use to the grantee alone, and nothing in it is a key. Like an invitation
/// it pins vault and grantor: hand it over on a way that the provider does not control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFile {
    address: String,
    vault: VaultId,
    name: LetterName,
    grantor: Fingerprint,
    letter: Vec<u8>,
    copy: Vec<u8>,
}

impl GrantFile {
    /// Longer texts are not looked at.
    pub const MAX_TEXT: usize = 24 << 20;
    /// Longest address in bytes.
    pub const MAX_ADDRESS: usize = 4_096;
    const MAX_LENGTH: usize =
        Share::MAX_LENGTH + OwnersCopy::MAX_LENGTH + (Self::MAX_ADDRESS + 128);
    const MAGIC: [u8; 4] = *b"KLF1";
    const ARMOR: Armor = Armor {
        label: "GRANT",
        name: ("a", "grant"),
        max: Self::MAX_LENGTH,
        over: "length of a grant",
        max_text: Self::MAX_TEXT,
    };

    /// A grant of the vault at an address, the one of docs/FORMAT.md, section 10,
    /// without an id.
    ///
    /// # Errors
    /// `InvalidInput` for an address that is empty, over 4,096 bytes or holds a control
    /// character, and for an empty letter; `LimitExceeded` for one that is too long.
    pub fn new(
        address: &str,
        vault: VaultId,
        name: LetterName,
        grantor: Fingerprint,
        letter: &[u8],
    ) -> Result<Self> {
        let file = Self {
            address: address.to_owned(),
            vault,
            name,
            grantor,
            letter: letter.to_vec(),
            copy: Vec::new(),
        };
        if file.letter.len() > Share::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a grant"));
        }
        if file.is_sound() {
            Ok(file)
        } else {
            Err(Error::invalid(
                "a grant as a file has an address of 1 to 4,096 bytes without control characters, and a letter",
            ))
        }
    }

    /// The same with what the owner gets of a grant that somebody gave on, so that one
    /// file serves its grantee and the owner.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub fn with_copy(self, copy: &[u8]) -> Result<Self> {
        if copy.len() > OwnersCopy::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a grant"));
        }
        Ok(Self {
            copy: copy.to_vec(),
            ..self
        })
    }

    /// What the owner gets of it: see [`OwnersCopy::open`]. Empty for what he gave
    /// himself.
    pub fn copy(&self) -> &[u8] {
        &self.copy
    }

    fn is_sound(&self) -> bool {
        let address = &self.address;
        let lengths = (1..=Self::MAX_ADDRESS).contains(&address.len()) && !self.letter.is_empty();
        lengths && !address.chars().any(char::is_control)
    }

    /// Where the vault is said to lie: a URL, if who made the file was honest.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The vault that it leads into.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The name of the letter, which is its place.
    pub fn name(&self) -> LetterName {
        self.name
    }

    /// Whose grant it has to be.
    pub fn grantor(&self) -> Fingerprint {
        self.grantor
    }

    /// The letter, as it lies in the store too if the vault's owner gave the grant;
    /// see [`Share::open`].
    pub fn letter(&self) -> &[u8] {
        &self.letter
    }

    /// The grant as text.
    pub fn to_armor(&self) -> String {
        let mut record = Self::MAGIC.to_vec();
        record.extend_from_slice(&self.encode());
        Self::ARMOR.write(&record)
    }

    /// Reads what [`to_armor`](Self::to_armor) wrote. What somebody wrote before and
    /// behind it is passed over.
    ///
    /// # Errors
    /// `InvalidInput` where the text does not hold exactly one grant; `LimitExceeded`;
    /// `UnsupportedFormat` of a later version; `Tampered`.
    ///
    /// # Security
    /// Nothing in it is authentic before its letter was opened.
    pub fn from_armor(text: &str) -> Result<Self> {
        let record = Self::ARMOR.read(text)?;
        Self::decode(check_magic(&record, Self::MAGIC)?)
    }
}

impl Record for GrantFile {
    fn write(&self, to: &mut Writer) {
        to.array(6)
            .text(&self.address)
            .bytes(self.vault.as_bytes())
            .bytes(&self.name.0)
            .bytes(self.grantor.as_bytes())
            .bytes(&self.letter)
            .bytes(&self.copy);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(6)?;
        let file = Self {
            address: from.text(Self::MAX_ADDRESS)?.to_owned(),
            vault: VaultId(*from.fixed()?),
            name: LetterName(*from.fixed()?),
            grantor: Fingerprint::from_bytes(*from.fixed()?),
            letter: from.bytes(Share::MAX_LENGTH)?.to_vec(),
            copy: from.bytes(OwnersCopy::MAX_LENGTH)?.to_vec(),
        };
        if file.is_sound() {
            Ok(file)
        } else {
            Err(Error::Tampered)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(address: &str, letter: &[u8]) -> Result<GrantFile> {
        let (vault, name) = (VaultId([1; 16]), LetterName([2; 16]));
        GrantFile::new(
            address,
            vault,
            name,
            Fingerprint::from_bytes([3; 16]),
            letter,
        )
    }

    proptest! {
        #[test]
        fn a_grant_comes_back_from_its_text(
            address in "[a-z0-9/:é ]{1,60}",
            letter in prop::collection::vec(any::<u8>(), 1..400),
            around in "[a-z\n ]{0,40}",
        ) {
            let file = file(&address, &letter).unwrap();
            let text = file.to_armor();
            prop_assert_eq!(GrantFile::from_armor(&text), Ok(file.clone()));
            let mailed = format!("{around}\n{}\n{around}", text.replace('\n', "\r\n"));
            prop_assert_eq!(GrantFile::from_armor(&mailed), Ok(file));
        }

        /// A stranger's record is refused, or is the one encoding of what it says.
        #[test]
        fn a_record_of_a_stranger_has_one_encoding(
            length in 0..80_usize,
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let file = file("s3://b/p", &vec![7; length + 1]).unwrap();
            let mut record = GrantFile::MAGIC.to_vec();
            record.extend_from_slice(&file.encode());
            let at = at.index(record.len());
            let changed = record[at] != to;
            record[at] = to;
            let text = GrantFile::ARMOR.write(&record);
            if let Ok(found) = GrantFile::from_armor(&text) {
                prop_assert_eq!(found.to_armor(), text);
                prop_assert_eq!(found != file, changed);
            }
            let cut = cut.index(record.len());
            let text = GrantFile::ARMOR.write(&record[..cut]);
            prop_assert!(GrantFile::from_armor(&text).is_err());
        }
    }

    #[test]
    fn what_is_no_grant_is_told() {
        for (address, letter) in [("", &b"x"[..]), ("a\nb", b"x"), ("s3://b/p", b"")] {
            assert!(matches!(file(address, letter), Err(Error::InvalidInput(_))));
        }
        assert!(file(&"a".repeat(4_096), b"x").is_ok());
        assert!(file(&"a".repeat(4_097), b"x").is_err());
        let long = vec![0; Share::MAX_LENGTH + 1];
        assert!(matches!(file("a", &long), Err(Error::LimitExceeded(_))));
        let longest = file(&"a".repeat(4_096), &long[1..]).unwrap();
        assert_eq!(GrantFile::from_armor(&longest.to_armor()), Ok(longest));

        let good = file("s3://b/p", b"letter").unwrap();
        let text = good.to_armor();
        for wrong in ["", "nothing", &text.repeat(2), &text[..text.len() - 4]] {
            let read = GrantFile::from_armor(wrong);
            assert!(matches!(read, Err(Error::InvalidInput(_))), "{wrong}");
        }
        let unsound = GrantFile {
            address: "a\u{7f}".to_owned(),
            ..good.clone()
        };
        assert_eq!(
            GrantFile::from_armor(&unsound.to_armor()),
            Err(Error::Tampered)
        );
        let mut later = b"KLF2".to_vec();
        later.extend_from_slice(&good.encode());
        let later = GrantFile::from_armor(&GrantFile::ARMOR.write(&later));
        assert!(
            matches!(later, Err(Error::UnsupportedFormat(_))),
            "{later:?}"
        );
        let much = " ".repeat(GrantFile::MAX_TEXT + 1);
        assert!(matches!(
            GrantFile::from_armor(&much),
            Err(Error::LimitExceeded(_))
        ));
    }
}
