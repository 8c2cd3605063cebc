//! The address book: whose card is whose, and whether anybody has checked it.

use crate::card::{Card, Fingerprint};
use crate::cbor::{Reader, Record, Writer};
use crate::{Error, Result};

/// How sure the owner is of a contact's card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Nobody has compared its fingerprint yet.
    Unverified,
    /// Its fingerprint was compared, or it was trusted on first use.
    Verified,
    /// The contact has another card than the one that was verified.
    Changed,
}

impl Trust {
    fn number(self) -> u64 {
        match self {
            Self::Unverified => 0,
            Self::Verified => 1,
            Self::Changed => 2,
        }
    }

    fn from_number(number: u64) -> Result<Self> {
        Ok(match number {
            0 => Self::Unverified,
            1 => Self::Verified,
            2 => Self::Changed,
            _ => return Err(Error::UnsupportedFormat("trust in a contact")),
        })
    }
}

/// A name in the address book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub(crate) name: String,
    pub(crate) card: Card,
    pub(crate) trust: Trust,
}

impl Contact {
    pub(crate) const MAX_NAME: usize = 255;

    /// A card that nobody has verified yet.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty, longer than 255 bytes, or holds a
    /// control character.
    pub fn new(name: &str, card: Card) -> Result<Self> {
        check_name(name)?;
        Ok(Self {
            name: name.to_owned(),
            card,
            trust: Trust::Unverified,
        })
    }

    /// The contact with the card that it has now. A card with other keys than those
    /// of before has to be verified, whoever signed it.
    #[must_use]
    pub fn updated(&self, card: Card) -> Self {
        let trust = match self.trust {
            trust if card.fingerprint() == self.card.fingerprint() => trust,
            Trust::Unverified => Trust::Unverified,
            Trust::Verified | Trust::Changed => Trust::Changed,
        };
        Self {
            name: self.name.clone(),
            card,
            trust,
        }
    }

    /// The contact, verified.
    ///
    /// # Errors
    /// `UntrustedIdentity` for the fingerprint of another card.
    pub fn verified(&self, fingerprint: &Fingerprint) -> Result<Self> {
        Recipient::verified(self.card.clone(), fingerprint)?;
        Ok(Self {
            trust: Trust::Verified,
            ..self.clone()
        })
    }

    /// The contact as somebody that can be shared with.
    ///
    /// # Errors
    /// `UntrustedIdentity` unless it is verified.
    pub fn recipient(&self) -> Result<Recipient> {
        match self.trust {
            Trust::Verified => Ok(Recipient {
                name: Some(self.name.clone()),
                ..Recipient::trusted_on_first_use(self.card.clone())
            }),
            Trust::Unverified | Trust::Changed => Err(Error::UntrustedIdentity),
        }
    }

    /// Its name in the address book.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// How sure the owner is of it.
    pub fn trust(&self) -> Trust {
        self.trust
    }
}

fn check_name(name: &str) -> Result<()> {
    let bad = name.is_empty() || name.len() > Contact::MAX_NAME;
    if bad || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "a name has 1 to 255 bytes and no control characters",
        ));
    }
    Ok(())
}

impl Record for Contact {
    fn write(&self, to: &mut Writer) {
        to.array(3)
            .text(&self.name)
            .bytes(self.card.as_bytes())
            .uint(self.trust.number());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.array(3)?;
        let name = from.text(Self::MAX_NAME)?;
        check_name(name).map_err(|_| Error::Tampered)?;
        Ok(Self {
            name: name.to_owned(),
            card: Card::known(from.bytes(Card::MAX_LENGTH)?)?,
            trust: Trust::from_number(from.uint()?)?,
        })
    }
}

/// Somebody that can be shared with: a card whose owner is known to be the one who
/// is meant. There is no other way to one than to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    name: Option<String>,
    card: Card,
    classical: bool,
}

impl Recipient {
    /// The card with the fingerprint that its owner showed, read out over a channel
    /// that the provider does not control.
    ///
    /// # Errors
    /// `UntrustedIdentity` where the card has another.
    pub fn verified(card: Card, fingerprint: &Fingerprint) -> Result<Self> {
        if card.fingerprint() == *fingerprint {
            Ok(Self::trusted_on_first_use(card))
        } else {
            Err(Error::UntrustedIdentity)
        }
    }

    /// The card as it came. Whoever could replace it on its way reads what is shared.
    pub fn trusted_on_first_use(card: Card) -> Self {
        Self {
            name: None,
            card,
            classical: false,
        }
    }

    /// The same, also if its card is of X25519 alone.
    ///
    /// # Security
    /// Whoever records what is sealed to such a card today can read it with a quantum
    /// computer later. Nothing is sealed to one without this.
    #[must_use]
    pub fn allow_classical(self) -> Self {
        Self {
            classical: true,
            ..self
        }
    }

    /// Whether something may be sealed to the card.
    ///
    /// # Errors
    /// `InvalidInput` for a card of X25519 alone, unless it is
    /// [allowed](Self::allow_classical).
    pub fn check_suite(&self) -> Result<()> {
        if self.classical || self.card.suite().is_post_quantum() {
            return Ok(());
        }
        Err(Error::invalid(
            "the card is of X25519 alone: what is sealed to it can be recorded today and read by a quantum computer later; allow it, or ask for another card",
        ))
    }

    /// A group of the owner's own.
    pub(crate) fn of_group(name: &str, card: Card) -> Self {
        Self {
            name: Some(name.to_owned()),
            // Whoever made it chose its suite.
            ..Self::trusted_on_first_use(card).allow_classical()
        }
    }

    /// The same, under a name for lists and statements.
    ///
    /// # Errors
    /// `InvalidInput` as for [`Contact::new`].
    pub fn named(self, name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self {
            name: Some(name.to_owned()),
            ..self
        })
    }

    /// Its name: that of the address book, or the fingerprint.
    pub fn name(&self) -> String {
        let words = || self.card.fingerprint().to_string();
        self.name.clone().unwrap_or_else(words)
    }

    /// Its card.
    pub fn card(&self) -> &Card {
        &self.card
    }
}
