//! A place in the ledger of a vault, to be handed from one program to another.

use crate::{Error, Result};
use kluis_crypto::{Position, VaultId};
use std::fmt;
use std::str::FromStr;

/// What somebody has seen of a vault's ledger, in one line: whoever opens the vault
/// with it is shown that entry and what came after it, or an error. It is for programs
/// that keep no [device state](crate::DeviceState), and for the first opening of those
/// that do: hand it over on a way that the provider does not control.
///
/// As a text it is the vault's id, the number of the entry and its hash:
/// `0123…/17/89ab…`. It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerPin {
    pub(crate) vault: VaultId,
    pub(crate) position: Position,
}

impl LedgerPin {
    /// The vault that it is of.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The number of the ledger entry.
    pub fn sequence(&self) -> u64 {
        self.position.sequence
    }
}

impl fmt::Display for LedgerPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { sequence, hash } = self.position;
        write!(f, "{}/{sequence}/{hash}", self.vault)
    }
}

impl FromStr for LedgerPin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                "a pin is a vault's id, the number of a ledger entry and its hash with / between them; copy it whole",
            )
        };
        let mut parts = text.split('/');
        let (Some(vault), Some(sequence), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let pin = Self {
            vault: vault.parse().map_err(|_| wrong())?,
            position: Position {
                sequence: sequence.parse().map_err(|_| wrong())?,
                hash: hash.parse().map_err(|_| wrong())?,
            },
        };
        // One way to write it.
        if pin.to_string() == text {
            Ok(pin)
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kluis_crypto::RecordHash;

    #[test]
    fn a_pin_has_one_text() {
        let pin = LedgerPin {
            vault: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            position: Position {
                sequence: 17,
                hash: RecordHash::of(b"x"),
            },
        };
        let text = pin.to_string();
        assert_eq!(text.parse::<LedgerPin>().unwrap(), pin);
        for wrong in [
            String::new(),
            text[1..].to_owned(),
            text[..text.len() - 1].to_owned(),
            format!("{text}/"),
            format!("{text}\n"),
            text.replace("/17/", "/017/"),
            text.replace("/17/", "/+17/"),
            text.replace("/17/", "/-1/"),
            text.replace("/17/", "/18446744073709551616/"),
            text.to_uppercase(),
        ] {
            let found = wrong.parse::<LedgerPin>();
            assert!(matches!(found, Err(Error::InvalidInput { .. })), "{wrong}");
        }
    }
}
