//! What a user opens a vault with, and how it is stretched into a key.

use crate::cbor::{Reader, Writer};
use crate::secret::secret_key;
use crate::{Error, Identity, Result, random};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

/// A person's password. It is stretched with Argon2id before it is used; a
/// random secret is another type.
///
/// Text is put into Unicode normalization form C, every Unicode space becomes
/// an ordinary one, and nothing is trimmed or cut, so that one password typed
/// on two systems is one password.
pub struct Password(Zeroizing<Vec<u8>>, PasswordKind);

enum PasswordKind {
    Text,
    Raw,
}

impl Password {
    /// A password of text. It is checked when it is used: an empty one and one
    /// with control characters are `InvalidInput` then.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(
            Zeroizing::new(text.as_ref().as_bytes().to_vec()),
            PasswordKind::Text,
        )
    }

    /// A password of bytes that are taken exactly as they are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()), PasswordKind::Raw)
    }

    /// The bytes that go into Argon2id.
    ///
    /// # Errors
    /// `InvalidInput` for an empty password or one with a control character.
    pub(crate) fn normalized(&self) -> Result<Zeroizing<Vec<u8>>> {
        if self.0.is_empty() {
            return Err(Error::invalid("the password is empty"));
        }
        match self.1 {
            PasswordKind::Raw => Ok(Zeroizing::new(self.0.to_vec())),
            PasswordKind::Text => {
                let text = std::str::from_utf8(&self.0)
                    .map_err(|_| Error::invalid("the password is not UTF-8"))?;
                // NFC grows text at most threefold (Unicode Standard Annex #15,
                // section 9), so the buffer never moves and leaves no copy.
                let mut out = Zeroizing::new(Vec::with_capacity(3 * text.len() + 4));
                for c in text.nfc() {
                    if c.is_control() {
                        return Err(Error::invalid(
                            "the password holds a control character; was more than one line given?",
                        ));
                    }
                    let c = if is_space(c) { ' ' } else { c };
                    let mut utf8 = Zeroizing::new([0; 4]);
                    out.extend_from_slice(c.encode_utf8(&mut utf8[..]).as_bytes());
                }
                Ok(out)
            }
        }
    }
}

/// General category Zs of the Unicode Character Database.
fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}

secret_key! {
    /// 32 random bytes in a file of the user's, a second factor beside the password.
    pub struct Keyfile;
}

impl Keyfile {
    /// Length of a keyfile in bytes.
    pub const LENGTH: usize = 32;

    /// A fresh keyfile.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn generate() -> Result<Self> {
        Self::make()
    }

    /// The content of a keyfile.
    ///
    /// # Errors
    /// `InvalidInput` unless it is exactly 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; 32] = bytes
            .try_into()
            .map_err(|_| Error::invalid("a keyfile has exactly 32 bytes"))?;
        Ok(Self::init_with(|key| *key = *bytes))
    }

    /// The bytes to write into the file.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        self.expose_secret()
    }
}

secret_key! {
    /// 256 random bits, shown as 24 words (BIP-39, English), that open a vault by
    /// themselves. Not stretched: there is nothing to guess.
    pub struct RecoveryPhrase;
}

impl RecoveryPhrase {
    /// A fresh phrase.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn generate() -> Result<Self> {
        Self::make()
    }

    /// Reads 24 words; case and spacing do not matter.
    ///
    /// # Errors
    /// `InvalidInput` unless they are 24 words of the list with the right checksum.
    pub fn parse(words: &str) -> Result<Self> {
        let mut normal = Zeroizing::new(String::with_capacity(words.len() + 1));
        for word in words.split_whitespace() {
            if !normal.is_empty() {
                normal.push(' ');
            }
            for c in word.chars() {
                normal.push(c.to_ascii_lowercase());
            }
        }
        let mnemonic = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &normal)
            .map_err(|_| {
                Error::invalid(
                    "this is not a recovery phrase: a word is misspelt, missing or out of order",
                )
            })?;
        let (mut entropy, length) = mnemonic.to_entropy_array();
        let phrase = Self::init_with(|key| key.copy_from_slice(&entropy[..32]));
        entropy.zeroize();
        if length == 32 {
            Ok(phrase)
        } else {
            Err(Error::invalid("a recovery phrase has 24 words"))
        }
    }

    /// The 24 words, to be written down.
    pub fn expose_words(&self) -> Zeroizing<String> {
        let mut words = Zeroizing::new(String::with_capacity(24 * 9));
        // 32 bytes are a length that BIP-39 knows.
        if let Ok(mnemonic) = bip39::Mnemonic::from_entropy(self.expose_secret()) {
            for word in mnemonic.words() {
                if !words.is_empty() {
                    words.push(' ');
                }
                words.push_str(word);
            }
        }
        words
    }
}

/// What opens a vault. Its kind selects the slots that are tried: a password
/// given with a keyfile is never tried on a slot that wants a password alone,
/// or a slot planted by the store would make the client a guessing oracle.
#[derive(Debug)]
#[non_exhaustive]
pub enum Credential {
    /// A password alone.
    Password(Password),
    /// A password and a keyfile; both are needed.
    PasswordAndKeyfile(Password, Keyfile),
    /// The 24 words.
    RecoveryPhrase(RecoveryPhrase),
    /// The identity of this device.
    Identity(Arc<Identity>),
}

impl From<Password> for Credential {
    fn from(password: Password) -> Self {
        Self::Password(password)
    }
}

impl From<Arc<Identity>> for Credential {
    fn from(identity: Arc<Identity>) -> Self {
        Self::Identity(identity)
    }
}

impl From<RecoveryPhrase> for Credential {
    fn from(phrase: RecoveryPhrase) -> Self {
        Self::RecoveryPhrase(phrase)
    }
}

/// The cost of Argon2id v1.3 with one lane (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    memory_kib: u32,
    passes: u32,
}

impl KdfParams {
    /// 64 MiB, 3 passes: RFC 9106's second recommended option but for one lane,
    /// and what a phone can still do. The default.
    pub const MOBILE: Self = Self {
        memory_kib: 64 << 10,
        passes: 3,
    };
    /// 256 MiB, 3 passes.
    pub const DESKTOP: Self = Self {
        memory_kib: 256 << 10,
        passes: 3,
    };
    /// 1 GiB, 4 passes.
    pub const PARANOID: Self = Self {
        memory_kib: 1 << 20,
        passes: 4,
    };

    const FLOOR_KIB: u32 = 19 << 10;
    const CEILING_KIB: u32 = 1 << 20;
    const MAX_WORK_KIB: u64 = 4 << 20;

    /// Chosen by the caller.
    ///
    /// # Errors
    /// `InvalidInput` outside 19 MiB ≤ memory ≤ 1 GiB, 2 ≤ passes ≤ 10, or
    /// memory · passes > 4 GiB.
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self> {
        Self::from_stored(memory_kib, passes, 1)
            .map_err(|_| Error::invalid("Argon2id takes 19 MiB to 1 GiB of memory, 2 to 10 passes, and at most 4 GiB in all passes"))
    }

    /// From a stored header: hostile until bounded, before anything is allocated.
    pub(crate) fn from_stored(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        let work = u64::from(memory_kib) * u64::from(passes);
        if !(Self::FLOOR_KIB..=Self::CEILING_KIB).contains(&memory_kib)
            || !(2..=10).contains(&passes)
            || lanes != 1
            || work > Self::MAX_WORK_KIB
        {
            return Err(Error::LimitExceeded(
                "cost of Argon2id in the stored header",
            ));
        }
        Ok(Self { memory_kib, passes })
    }

    /// `[m, t, p]`, or `[]` where nothing is stretched.
    pub(crate) fn write(params: Option<Self>, to: &mut Writer) {
        match params {
            Some(params) => to
                .array(3)
                .uint(params.memory_kib.into())
                .uint(params.passes.into())
                .uint(1),
            None => to.array(0),
        };
    }

    /// Bounded before anything is allocated: a cost that no number of 32 bits
    /// holds is over the limit like any other.
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Option<Self>> {
        match from.array_of_any(3)? {
            0 => Ok(None),
            3 => {
                let [memory_kib, passes, lanes] = [from.uint()?, from.uint()?, from.uint()?]
                    .map(|cost| u32::try_from(cost).unwrap_or(u32::MAX));
                Self::from_stored(memory_kib, passes, lanes).map(Some)
            }
            _ => Err(Error::Tampered),
        }
    }

    /// Memory in KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    pub fn passes(self) -> u32 {
        self.passes
    }
}

impl Default for KdfParams {
    fn default() -> Self {
        Self::MOBILE
    }
}

/// The largest memory that a reader spends on a stored header, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCeiling(u32);

impl KdfCeiling {
    /// Refuses headers that ask for more than this.
    pub fn memory_kib(memory_kib: u32) -> Self {
        Self(memory_kib)
    }

    pub(crate) fn check(self, params: KdfParams) -> Result<()> {
        if params.memory_kib > self.0 {
            return Err(Error::LimitExceeded(
                "memory for Argon2id that the caller allows",
            ));
        }
        Ok(())
    }
}

impl Default for KdfCeiling {
    fn default() -> Self {
        Self(KdfParams::CEILING_KIB)
    }
}

secret_key! {
    /// Key encryption key of one slot.
    pub(crate) struct Kek;
}

/// `Argon2id(password, salt, m, t, p = 1)`, 32 bytes.
pub(crate) fn stretch(password: &Password, salt: &[u8; 32], params: KdfParams) -> Result<Kek> {
    #[cfg(test)]
    tests::STRETCHED.with(|n| n.set(n.get() + 1));
    let password = password.normalized()?;
    let out_of_memory = || Error::LimitExceeded("memory for Argon2id that this machine has free");
    let costs = Params::new(params.memory_kib, params.passes, 1, Some(32))
        .map_err(|_| Error::LimitExceeded("cost of Argon2id"))?;
    // The crate's own buffer is neither wiped nor allowed to fail.
    let mut memory = WorkMemory(Vec::new());
    memory
        .0
        .try_reserve_exact(costs.block_count())
        .map_err(|_| out_of_memory())?;
    memory.0.resize(costs.block_count(), Block::new());
    let mut kek = Kek::init_with(|_| {});
    Argon2::new(Algorithm::Argon2id, Version::V0x13, costs)
        .hash_password_into_with_memory(&password, salt, kek.expose_mut(), &mut memory.0[..])
        .map_err(|_| Error::invalid("the password is too long for Argon2id"))?;
    Ok(kek)
}

impl Kek {
    /// RFC 5869, section 2.2: `Extract(salt = self, ikm = secret)`.
    pub(crate) fn extract(&self, secret: &[u8; 32]) -> Self {
        let (prk, _) = Hkdf::<Sha256>::extract(Some(self.expose_secret()), secret);
        let prk = Zeroizing::new(<[u8; 32]>::from(prk));
        Self::init_with(|out| *out = *prk)
    }

    fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0[..]
    }
}

/// What Argon2id leaves in memory would help to guess the password.
struct WorkMemory(Vec<Block>);

impl Drop for WorkMemory {
    fn drop(&mut self) {
        for block in &mut self.0 {
            block.zeroize();
        }
    }
}

/// 32 random bytes that are not secret: ids and salts.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// Counts runs of Argon2id.
        pub(crate) static STRETCHED: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn passwords_are_normalized_but_never_cut() {
        let same = [
            ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
            ("a\u{a0}b", "a b"),
            ("a\u{2003}b\u{3000}", "a b "),
        ];
        for (a, b) in same {
            assert_eq!(
                *Password::new(a).normalized().unwrap(),
                *Password::new(b).normalized().unwrap()
            );
        }
        assert_eq!(**Password::new(" a ").normalized().unwrap(), *b" a ");
        let long = "x".repeat(100_000);
        assert_eq!(Password::new(&long).normalized().unwrap().len(), 100_000);
        for bad in ["", "a\n", "a\tb", "\0", "a\u{85}"] {
            assert!(
                matches!(Password::new(bad).normalized(), Err(Error::InvalidInput(_))),
                "{bad:?}"
            );
        }
        assert_eq!(
            **Password::from_bytes(b"a\n\0").normalized().unwrap(),
            *b"a\n\0"
        );
    }

    #[test]
    fn zs_is_what_unicode_says() {
        // Rust's White_Space is Zs and the line separators and some controls.
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let others = matches!(c, '\u{9}'..='\u{d}' | '\u{85}' | '\u{2028}' | '\u{2029}');
            assert_eq!(is_space(c), c.is_whitespace() && !others, "{c:?}");
        }
    }

    #[test]
    fn costs_are_bounded_on_both_sides() {
        for (m, t, p) in [
            (KdfParams::FLOOR_KIB - 1, 3, 1),
            (KdfParams::CEILING_KIB + 1, 2, 1),
            (64 << 10, 1, 1),
            (64 << 10, 11, 1),
            (64 << 10, 3, 0),
            (64 << 10, 3, 2),
            (1 << 20, 5, 1),
            (u32::MAX, u32::MAX, 1),
        ] {
            assert!(
                matches!(
                    KdfParams::from_stored(m, t, p),
                    Err(Error::LimitExceeded(_))
                ),
                "{m} {t} {p}"
            );
        }
        for p in [KdfParams::MOBILE, KdfParams::DESKTOP, KdfParams::PARANOID] {
            assert_eq!(KdfParams::new(p.memory_kib, p.passes), Ok(p));
        }
    }

    #[test]
    fn a_phrase_survives_being_written_down() {
        let phrase = RecoveryPhrase::generate().unwrap();
        let words = phrase.expose_words();
        assert_eq!(words.split(' ').count(), 24);
        let typed = words.to_uppercase().replace(' ', "  \n");
        assert_eq!(
            RecoveryPhrase::parse(&typed).unwrap().expose_secret(),
            phrase.expose_secret()
        );
        let wrong = words.rsplit_once(' ').unwrap().0;
        assert!(RecoveryPhrase::parse(wrong).is_err());
        assert!(RecoveryPhrase::parse(&"abandon ".repeat(12)).is_err());
        assert!(
            RecoveryPhrase::parse(&format!("{}about", "abandon ".repeat(11))).is_err(),
            "12 words"
        );
    }

    #[test]
    fn secrets_print_nothing() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password { .. }");
        assert_eq!(
            format!("{:?}", Keyfile::from_bytes(&[7; 32]).unwrap()),
            "Keyfile { .. }"
        );
        let both = Credential::PasswordAndKeyfile(
            Password::new("x"),
            Keyfile::from_bytes(&[7; 32]).unwrap(),
        );
        assert_eq!(
            format!("{both:?}"),
            "PasswordAndKeyfile(Password { .. }, Keyfile { .. })"
        );
    }
}
