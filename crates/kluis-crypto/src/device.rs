//! What a device remembers of a vault before it knows the root key
//! (docs/FORMAT.md, section 9, part one): pins that make an older or another
//! vault under a known address an error.

use crate::card::Fingerprint;
use crate::cbor::{Reader, Record, Writer};
use crate::grant::LetterName;
use crate::header::check_magic;
use crate::kdf::Label;
use crate::message::{self, Place};
use crate::secret::secret_key;
use crate::{Error, KdfParams, Position, RecordHash, Result, VaultId};

secret_key! {
    struct Secret;
}
secret_key! {
    struct PinsKey;
}

/// 32 random bytes of this device, in its keychain or a file that its user
/// alone can read. They open no vault: they keep pins from being read or
/// forged by whoever gets the files alone.
#[derive(Debug)]
pub struct DeviceKey(Secret);

impl DeviceKey {
    /// Length of a device key in bytes.
    pub const LENGTH: usize = 32;

    /// A fresh key.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn make() -> Result<Self> {
        Secret::make().map(Self)
    }

    /// The key as it was kept.
    ///
    /// # Errors
    /// `InvalidInput` unless it is exactly 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes
            .try_into()
            .map_err(|_| Error::invalid("a device key has exactly 32 bytes"))?;
        Ok(Self(Secret::init_with(|key| *key = *bytes)))
    }

    /// The bytes to keep.
    pub fn expose_bytes(&self) -> &[u8; Self::LENGTH] {
        self.0.expose_secret()
    }

    /// `KDF(device key, "pin-file", address)`: one file cannot stand for another.
    fn pins_key(&self, address: &str) -> Result<PinsKey> {
        if address.is_empty() || address.len() > Pins::MAX_ADDRESS {
            return Err(Error::invalid(
                "the address of a vault has 1 to 8,192 bytes",
            ));
        }
        Ok(PinsKey::derive(
            self.0.expose_secret(),
            Label::PIN_FILE,
            &[address.as_bytes()],
        ))
    }
}

/// What this device has seen of the vault at one address, and will not see undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// Which vault it is.
    pub vault: VaultId,
    /// The public key of the authority in force.
    pub authority: [u8; 32],
    /// The newest header.
    pub header: Position,
    /// The newest ledger entry.
    pub ledger: Position,
    /// The cheapest Argon2id of a slot that this device accepts, where there is one.
    pub kdf_floor: Option<KdfParams>,
    /// Ledger entries written here whose claim was not read back yet.
    pub unconfirmed: Vec<RecordHash>,
    /// Grants that were accepted here.
    pub accepted: Vec<Accepted>,
}

/// A grant that was accepted, and from whom it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The name that the shared folder has here.
    pub name: String,
    /// Where its first letter lies.
    pub letter: LetterName,
    /// The grantor.
    pub grantor: Fingerprint,
    /// The letter itself, where it came with a [`GrantFile`](crate::GrantFile) and the
    /// store does not have it; else empty.
    pub record: Vec<u8>,
    /// Where it came by a group: the first letter of the place in it.
    pub place: Option<LetterName>,
}

impl Pins {
    /// Longer pins are refused.
    pub const MAX_LENGTH: usize = 4 << 20;
    const MAGIC: [u8; 4] = *b"KLS1";
    const MAX_UNCONFIRMED: usize = 4_096;
    /// At most this many grants are accepted on one device for one address.
    pub const MAX_ACCEPTED: usize = 1_024;
    const MAX_ADDRESS: usize = 8_192;
    const KIND: &str = "pins";
    /// The vault is not known before the file is open.
    const NO_VAULT: VaultId = VaultId([0; 16]);

    fn place(address: &str) -> Place<'_> {
        Place {
            kind: Self::KIND,
            vault: &Self::NO_VAULT,
            place: address.as_bytes(),
        }
    }

    /// Seals the pins of the vault at this address (the one of docs/FORMAT.md,
    /// section 10, without an id).
    ///
    /// # Errors
    /// `InvalidInput` for an address that is empty or over 8,192 bytes,
    /// `LimitExceeded` with more than 4,096 unconfirmed entries, 1,024 accepted grants
    /// or 4 MiB, `Randomness`.
    pub fn seal(&self, key: &DeviceKey, address: &str) -> Result<Vec<u8>> {
        if self.unconfirmed.len() > Self::MAX_UNCONFIRMED {
            return Err(Error::LimitExceeded("unconfirmed entries of a device"));
        }
        if self.accepted.len() > Self::MAX_ACCEPTED {
            return Err(Error::LimitExceeded("accepted grants of a device"));
        }
        let key = key.pins_key(address)?;
        let mut record = Self::MAGIC.to_vec();
        record.extend(message::seal(
            key.expose_secret(),
            &Self::place(address),
            &self.encode(),
        )?);
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a device's pins"));
        }
        Ok(record)
    }

    /// Opens pins that this device sealed for this address.
    ///
    /// # Errors
    /// `Tampered` for another device's, another address's or a damaged file;
    /// `UnsupportedFormat` of a later version; `LimitExceeded`; `InvalidInput`
    /// for an address that is empty or over 8,192 bytes.
    pub fn open(record: &[u8], key: &DeviceKey, address: &str) -> Result<Self> {
        if record.len() > Self::MAX_LENGTH {
            return Err(Error::LimitExceeded("length of a device's pins"));
        }
        let sealed = check_magic(record, Self::MAGIC)?;
        let key = key.pins_key(address)?;
        Self::decode(&message::open(
            key.expose_secret(),
            &Self::place(address),
            sealed,
        )?)
    }
}

fn write_position(position: &Position, to: &mut Writer) {
    to.array(2)
        .uint(position.sequence)
        .bytes(position.hash.as_bytes());
}

fn read_position(from: &mut Reader<'_>) -> Result<Position> {
    from.array(2)?;
    Ok(Position {
        sequence: from.uint()?,
        hash: RecordHash(*from.fixed()?),
    })
}

impl Record for Pins {
    fn write(&self, to: &mut Writer) {
        to.array(7)
            .bytes(self.vault.as_bytes())
            .bytes(&self.authority);
        write_position(&self.header, to);
        write_position(&self.ledger, to);
        KdfParams::write(self.kdf_floor, to);
        to.array(self.unconfirmed.len());
        for hash in &self.unconfirmed {
            to.bytes(hash.as_bytes());
        }
        to.array(self.accepted.len());
        for accepted in &self.accepted {
            to.array(5)
                .text(&accepted.name)
                .bytes(&accepted.letter.0)
                .bytes(accepted.grantor.as_bytes())
                .bytes(&accepted.record)
                .bytes(accepted.place.as_ref().map_or(&[], |place| &place.0));
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(7)?;
        let vault = VaultId(*from.fixed()?);
        let authority = *from.fixed()?;
        let header = read_position(from)?;
        let ledger = read_position(from)?;
        let kdf_floor = KdfParams::read(from)?;
        let mut unconfirmed = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX_UNCONFIRMED)? {
            unconfirmed.push(RecordHash(*from.fixed()?));
        }
        let mut accepted = Vec::new();
        for _ in 0..from.array_up_to(Self::MAX_ACCEPTED)? {
            from.array(5)?;
            accepted.push(Accepted {
                name: from.text(1_023)?.to_owned(),
                letter: LetterName(*from.fixed()?),
                grantor: Fingerprint::from_bytes(*from.fixed()?),
                record: from.bytes(Self::MAX_LENGTH)?.to_vec(),
                place: from.fixed_or_empty()?.copied().map(LetterName),
            });
        }
        Ok(Self {
            vault,
            authority,
            header,
            ledger,
            kdf_floor,
            unconfirmed,
            accepted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::tests::OPENED;

    const ADDRESS: &str = "s3://bucket/vault";

    fn pins() -> Pins {
        let position = |sequence| Position {
            sequence,
            hash: RecordHash::of(&[sequence as u8]),
        };
        Pins {
            vault: VaultId([1; 16]),
            authority: [2; 32],
            header: position(3),
            ledger: position(70),
            kdf_floor: Some(KdfParams::MOBILE),
            unconfirmed: vec![RecordHash::of(b"a"), RecordHash::of(b"b")],
            accepted: Vec::new(),
        }
    }

    fn key() -> DeviceKey {
        DeviceKey::from_bytes(&[7; 32]).unwrap()
    }

    #[test]
    fn pins_come_back() {
        let without = Pins {
            kdf_floor: None,
            unconfirmed: Vec::new(),
            ..pins()
        };
        let accepted = |place| Accepted {
            name: "photos".to_owned(),
            letter: LetterName([3; 16]),
            grantor: Fingerprint::from_bytes([4; 16]),
            record: b"KLG1".to_vec(),
            place,
        };
        let with = Pins {
            accepted: vec![accepted(None), accepted(Some(LetterName([5; 16])))],
            ..pins()
        };
        for pins in [pins(), without, with] {
            let sealed = pins.seal(&key(), ADDRESS).unwrap();
            assert_eq!(Pins::open(&sealed, &key(), ADDRESS), Ok(pins));
        }
    }

    #[test]
    fn pins_hold_for_one_device_and_one_address() {
        let sealed = pins().seal(&key(), ADDRESS).unwrap();
        let other = DeviceKey::make().unwrap();
        assert_eq!(Pins::open(&sealed, &other, ADDRESS), Err(Error::Tampered));
        for address in ["s3://bucket/vault/", "s3://bucket/vaul", "x"] {
            assert_eq!(Pins::open(&sealed, &key(), address), Err(Error::Tampered));
        }
        for address in ["", &"x".repeat(8_193)] {
            assert!(matches!(
                Pins::open(&sealed, &key(), address),
                Err(Error::InvalidInput(_))
            ));
            assert!(matches!(
                pins().seal(&key(), address),
                Err(Error::InvalidInput(_))
            ));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let sealed = pins().seal(&key(), ADDRESS).unwrap();
        for bit in 0..8 * sealed.len() {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            OPENED.set(0);
            let error = Pins::open(&changed, &key(), ADDRESS).unwrap_err();
            if bit / 8 == 3 {
                assert!(matches!(error, Error::UnsupportedFormat(_)));
            } else {
                assert_eq!(error, Error::Tampered, "bit {bit}");
            }
            assert_eq!(OPENED.get(), u64::from(bit / 8 >= 4 + 24 + 32));
        }
        for length in 0..sealed.len() {
            assert_eq!(
                Pins::open(&sealed[..length], &key(), ADDRESS),
                Err(Error::Tampered)
            );
        }
        assert_eq!(
            Pins::open(&[&sealed[..], b"x"].concat(), &key(), ADDRESS),
            Err(Error::Tampered)
        );
    }

    #[test]
    fn pins_are_bounded() {
        let huge = vec![b'K'; Pins::MAX_LENGTH + 1];
        assert!(matches!(
            Pins::open(&huge, &key(), ADDRESS),
            Err(Error::LimitExceeded(_))
        ));
        let mut many = pins();
        many.unconfirmed = vec![RecordHash([0; 32]); 4_096];
        let sealed = many.seal(&key(), ADDRESS).unwrap();
        assert!(sealed.len() <= Pins::MAX_LENGTH);
        assert_eq!(Pins::open(&sealed, &key(), ADDRESS), Ok(many.clone()));
        many.unconfirmed.push(RecordHash([0; 32]));
        assert!(matches!(
            many.seal(&key(), ADDRESS),
            Err(Error::LimitExceeded(_))
        ));
    }

    /// Whoever holds the device key can seal anything: what he seals still has
    /// to be one of the records that this page describes.
    #[test]
    fn sealed_nonsense_is_refused() {
        let seal = |plain: &[u8]| {
            let key = key().pins_key(ADDRESS).unwrap();
            let sealed = message::seal(key.expose_secret(), &Pins::place(ADDRESS), plain).unwrap();
            [b"KLS1", &sealed[..]].concat()
        };
        let plain = pins().encode();
        assert_eq!(Pins::open(&seal(&plain), &key(), ADDRESS), Ok(pins()));
        for length in 0..plain.len() {
            assert!(Pins::open(&seal(&plain[..length]), &key(), ADDRESS).is_err());
        }
        assert!(Pins::open(&seal(&[&plain[..], b"\0"].concat()), &key(), ADDRESS).is_err());
        // A floor below the limits: [65536, 3, 1] becomes [1, 3, 1].
        let floor = plain
            .windows(5)
            .position(|w| w == [0x1a, 0, 1, 0, 0])
            .unwrap();
        let low = [&plain[..floor], &[1], &plain[floor + 5..]].concat();
        assert!(matches!(
            Pins::open(&seal(&low), &key(), ADDRESS),
            Err(Error::LimitExceeded(_))
        ));
    }

    #[test]
    fn a_device_key_has_32_bytes_and_prints_nothing() {
        assert!(DeviceKey::from_bytes(&[0; 31]).is_err());
        assert!(DeviceKey::from_bytes(&[0; 33]).is_err());
        let made = DeviceKey::make().unwrap();
        let again = DeviceKey::from_bytes(made.expose_bytes()).unwrap();
        assert_eq!(made.expose_bytes(), again.expose_bytes());
        assert_eq!(format!("{made:?}"), "DeviceKey(Secret { .. })");
    }
}
