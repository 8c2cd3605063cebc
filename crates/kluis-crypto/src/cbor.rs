//! The deterministic subset of CBOR (RFC 8949, section 4.2.1) that control
//! records use: unsigned integers, byte strings, text strings and arrays.

use crate::{Error, Result};
use minicbor::{Decoder, Encoder};
use std::convert::Infallible;
use zeroize::{Zeroize, Zeroizing};

/// A record that has exactly one encoding.
pub(crate) trait Record: Sized {
    fn write(&self, to: &mut Writer);
    fn read(from: &mut Reader<'_>) -> Result<Self>;

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Decodes, encodes again, and refuses what differs: overlong integers,
    /// indefinite lengths and trailing bytes all end here.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let record = Self::read(&mut Reader(Decoder::new(bytes)))?;
        if *record.encode() == bytes {
            Ok(record)
        } else {
            Err(Error::Tampered)
        }
    }
}

/// Writes into memory that is wiped, also where it had to grow.
pub(crate) struct Writer(Encoder<Wiped>);

struct Wiped(Zeroizing<Vec<u8>>);

impl minicbor::encode::Write for Wiped {
    type Error = Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> std::result::Result<(), Infallible> {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut grown = Vec::with_capacity(needed.next_power_of_two().max(256));
            grown.extend_from_slice(&self.0);
            let mut old = std::mem::replace(&mut *self.0, grown);
            old.zeroize();
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

// Writing to memory cannot fail, so the encoder's results carry nothing.
impl Writer {
    pub(crate) fn new() -> Self {
        Self(Encoder::new(Wiped(Zeroizing::new(Vec::new()))))
    }

    pub(crate) fn array(&mut self, length: usize) -> &mut Self {
        let _ = self.0.array(length as u64);
        self
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        let _ = self.0.u64(value);
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let _ = self.0.bytes(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        let _ = self.0.str(value);
        self
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0.into_writer().0
    }
}

/// Reads with every length bounded by the caller before anything is allocated.
pub(crate) struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    fn array_length(&mut self) -> Result<u64> {
        self.0
            .array()
            .map_err(|_| Error::Tampered)?
            .ok_or(Error::Tampered)
    }

    /// The number of elements of a list of at most `max`.
    pub(crate) fn array_up_to(&mut self, max: usize) -> Result<usize> {
        match usize::try_from(self.array_length()?) {
            Ok(length) if length <= max => Ok(length),
            _ => Err(Error::LimitExceeded("elements of a stored record")),
        }
    }

    /// The number of elements of an array that has some of a few fixed forms,
    /// the longest of `max`. Another form is damage, not a matter of limits.
    pub(crate) fn array_of_any(&mut self, max: usize) -> Result<usize> {
        match usize::try_from(self.array_length()?) {
            Ok(length) if length <= max => Ok(length),
            _ => Err(Error::Tampered),
        }
    }

    /// An array of exactly `length` elements.
    pub(crate) fn array(&mut self, length: usize) -> Result<()> {
        if self.array_of_any(length)? == length {
            Ok(())
        } else {
            Err(Error::Tampered)
        }
    }

    pub(crate) fn uint(&mut self) -> Result<u64> {
        self.0.u64().map_err(|_| Error::Tampered)
    }

    pub(crate) fn uint_u32(&mut self) -> Result<u32> {
        u32::try_from(self.uint()?).map_err(|_| Error::Tampered)
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'a [u8]> {
        let bytes = self.0.bytes().map_err(|_| Error::Tampered)?;
        if bytes.len() <= max {
            Ok(bytes)
        } else {
            Err(Error::LimitExceeded("length of a stored field"))
        }
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        self.bytes(usize::MAX)?
            .try_into()
            .map_err(|_| Error::Tampered)
    }

    /// A fixed byte string, or an empty one where there is none.
    pub(crate) fn fixed_or_empty<const N: usize>(&mut self) -> Result<Option<&'a [u8; N]>> {
        let bytes = self.bytes(usize::MAX)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        bytes.try_into().map(Some).map_err(|_| Error::Tampered)
    }

    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str> {
        let text = self.0.str().map_err(|_| Error::Tampered)?;
        if text.len() <= max {
            Ok(text)
        } else {
            Err(Error::LimitExceeded("length of a stored field"))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use minicbor::data::Type;

    /// Any record of the subset.
    pub(crate) enum Any {
        Uint(u64),
        Bytes(Vec<u8>),
        Text(String),
        Array(Vec<Any>),
    }

    impl Any {
        fn read_at(from: &mut Reader<'_>, depth: usize) -> Result<Self> {
            match from.0.datatype().map_err(|_| Error::Tampered)? {
                Type::U8 | Type::U16 | Type::U32 | Type::U64 => from.uint().map(Self::Uint),
                Type::Bytes => Ok(Self::Bytes(from.bytes(usize::MAX)?.to_vec())),
                Type::String => Ok(Self::Text(from.text(usize::MAX)?.to_owned())),
                Type::Array if depth < 16 => {
                    let mut items = Vec::new();
                    for _ in 0..from.array_of_any(usize::MAX)? {
                        items.push(Self::read_at(from, depth + 1)?);
                    }
                    Ok(Self::Array(items))
                }
                _ => Err(Error::Tampered),
            }
        }
    }

    impl Record for Any {
        fn write(&self, to: &mut Writer) {
            match self {
                Self::Uint(value) => {
                    to.uint(*value);
                }
                Self::Bytes(bytes) => {
                    to.bytes(bytes);
                }
                Self::Text(text) => {
                    to.text(text);
                }
                Self::Array(items) => {
                    to.array(items.len());
                    items.iter().for_each(|item| item.write(to));
                }
            }
        }

        fn read(from: &mut Reader<'_>) -> Result<Self> {
            Self::read_at(from, 0)
        }
    }

    struct Pair(u64, Vec<u8>);

    impl Record for Pair {
        fn write(&self, to: &mut Writer) {
            to.array(2).uint(self.0).bytes(&self.1);
        }
        fn read(from: &mut Reader<'_>) -> Result<Self> {
            from.array(2)?;
            Ok(Self(from.uint()?, from.bytes(4)?.to_vec()))
        }
    }

    #[test]
    fn one_encoding() {
        let pair = Pair(23, vec![1, 2]);
        assert_eq!(**pair.encode(), [0x82, 0x17, 0x42, 1, 2]);
        assert!(Pair::decode(&[0x82, 0x17, 0x42, 1, 2]).is_ok());
        for bad in [
            &[0x82, 0x18, 0x17, 0x42, 1, 2][..],   // overlong integer
            &[0x9f, 0x17, 0x42, 1, 2, 0xff],       // indefinite array
            &[0x82, 0x17, 0x5f, 0x42, 1, 2, 0xff], // indefinite bytes
            &[0x82, 0x17, 0x42, 1, 2, 0],          // trailing byte
            &[0x83, 0x17, 0x42, 1, 2, 0],          // extra element
            &[0x82, 0x17, 0x42, 1],                // cut short
            &[0x82, 0x17, 0x62, b'a', b'b'],       // text for bytes
            &[],
        ] {
            assert!(Pair::decode(bad).is_err(), "{bad:02x?}");
        }
        assert_eq!(
            Pair::decode(&[0x82, 0x17, 0x45, 1, 2, 3, 4, 5]).err(),
            Some(Error::LimitExceeded("length of a stored field"))
        );
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let huge = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let mut reader = Reader(Decoder::new(&huge));
        assert!(matches!(
            reader.array_up_to(32),
            Err(Error::LimitExceeded(_))
        ));
    }
}
