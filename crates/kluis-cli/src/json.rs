//! The lines of `--json`. docs/CLI.md documents every field; the golden tests
//! hold them.

use chrono::{DateTime, SecondsFormat, Utc};
use kluis::Prefixes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

/// One line of `--json`. docs/CLI.md documents every field.
#[derive(Debug, Serialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub(crate) enum Message<'a> {
    Vault {
        address: &'a str,
        id: &'a str,
    },
    Object(Box<ObjectMessage<'a>>),
    Folder {
        path: &'a str,
    },
    Slot {
        id: String,
        kind: String,
        created: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kdf_memory_kib: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kdf_passes: Option<u32>,
        current: bool,
    },
    RecoveryPhrase {
        words: &'a str,
    },
    RecoveryKit {
        kit: &'a str,
    },
    Foreign {
        store_path: &'a str,
        size: u64,
    },
    Identity {
        fingerprint: String,
        suite: &'a str,
        created: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        card: Option<String>,
    },
    Contact {
        #[serde(skip_serializing_if = "Option::is_none")]
        action: Option<&'a str>,
        name: &'a str,
        trust: &'a str,
        fingerprint: String,
        suite: &'a str,
    },
    Grant(Box<GrantMessage<'a>>),
    Group {
        name: &'a str,
        created: Option<String>,
        members: usize,
    },
    Member(MemberMessage<'a>),
    Link(Box<LinkMessage<'a>>),
    Invitation {
        invitation: &'a str,
        grant: String,
        prefixes: PrefixesMessage<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        policy: Option<&'a serde_json::Value>,
    },
    Access(Box<AccessMessage<'a>>),
    Statement {
        path: &'a str,
        from: Option<String>,
        until: Option<String>,
        ledger: u64,
        items: usize,
    },
    Pin {
        pin: &'a str,
    },
    Gateway(GatewayMessage<'a>),
    Lease {
        /// Empty for the whole vault.
        path: &'a str,
        seconds: u64,
        ends: Option<String>,
    },
    Receipt {
        path: &'a str,
        objects: u64,
        bytes: u64,
        unknown: u64,
        ledger: u64,
        remaining: Vec<String>,
        links: Vec<String>,
    },
    Progress {
        bytes_done: u64,
        bytes_total: Option<u64>,
        items_done: u64,
        items_total: Option<u64>,
        bytes_per_second: u64,
        seconds_remaining: Option<u64>,
    },
    Summary(SummaryMessage<'a>),
    Error {
        code: &'a str,
        exit_code: u8,
        path: Option<&'a str>,
        message: &'a str,
        hint: &'a str,
    },
}

/// What somebody may do with what, from either side.
#[derive(Debug, Serialize)]
pub(crate) struct GrantMessage<'a> {
    /// `given`, `received`, `ended`; what was done to it where something was.
    pub(crate) state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Empty for the whole vault.
    pub(crate) path: &'a str,
    /// `folder`, `object` or `version`; `group` for a place in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<&'a str>,
    /// The group that it was given to, or by which it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grantor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suite: Option<&'a str>,
    #[serde(flatten)]
    pub(crate) terms: Option<TermsMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) given: Option<String>,
    /// The grant that it was given on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// Of what was just filed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefixes: Option<PrefixesMessage<'a>>,
    /// Who gave it on, from the owner down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) chain: Vec<GiverMessage>,
    /// Given on, and not filed by the owner.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) unfiled: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct GiverMessage {
    pub(crate) grantor: String,
    pub(crate) id: String,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Somebody's place in a group.
#[derive(Debug, Serialize)]
pub(crate) struct MemberMessage<'a> {
    /// `given`; `revoked` where it was taken back.
    pub(crate) state: &'a str,
    pub(crate) id: String,
    pub(crate) group: &'a str,
    pub(crate) name: &'a str,
    pub(crate) fingerprint: String,
    pub(crate) suite: &'a str,
    pub(crate) since: Option<String>,
}

/// A link, without its URL but where it is made.
#[derive(Serialize)]
pub(crate) struct LinkMessage<'a> {
    /// `made`, `given`, `withdrawn`.
    pub(crate) state: &'a str,
    pub(crate) id: String,
    /// Empty for the whole vault.
    pub(crate) path: &'a str,
    /// `folder` or `object`.
    pub(crate) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    /// Whether the store delivers, by URLs that it signed.
    pub(crate) presigned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) objects: Option<usize>,
    pub(crate) password: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) purpose: &'a str,
    pub(crate) made: Option<String>,
}

/// The URL is a secret.
impl fmt::Debug for LinkMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkMessage")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct TermsMessage<'a> {
    pub(crate) write: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) reshare: bool,
    pub(crate) past: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) purpose: &'a str,
}

/// What programs need to use the vault as S3.
#[derive(Serialize)]
pub(crate) struct GatewayMessage<'a> {
    pub(crate) url: &'a str,
    pub(crate) bucket: &'a str,
    /// Empty for the whole vault.
    pub(crate) path: &'a str,
    pub(crate) region: &'a str,
    pub(crate) access_key: &'a str,
    /// Where it was made, and not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_key: Option<&'a str>,
    pub(crate) read_only: bool,
}

/// The key is a secret.
impl fmt::Debug for GatewayMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayMessage")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Who could read or write something, and from when to when.
#[derive(Debug, Serialize)]
pub(crate) struct AccessMessage<'a> {
    pub(crate) id: String,
    pub(crate) to: &'a str,
    /// By which they had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) fingerprint: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) suite: &'a str,
    pub(crate) kind: &'a str,
    /// Empty for the whole vault.
    pub(crate) path: &'a str,
    pub(crate) write: bool,
    pub(crate) past: bool,
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    pub(crate) given: Option<String>,
    pub(crate) given_by_entry: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_by_entry: Option<u64>,
    pub(crate) by: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) purpose: &'a str,
}

/// What the grantee's own credentials have to reach, below the vault's prefix.
#[derive(Debug, Serialize)]
pub(crate) struct PrefixesMessage<'a> {
    pub(crate) read: &'a [String],
    pub(crate) list: &'a [String],
    pub(crate) write: &'a [String],
}

impl<'a> PrefixesMessage<'a> {
    pub(crate) fn of(prefixes: &'a Prefixes) -> Self {
        Self {
            read: &prefixes.read,
            list: &prefixes.list,
            write: &prefixes.write,
        }
    }
}

/// What is known about one object; what a command does not know is left out.
#[derive(Debug, Default, Serialize)]
#[serde(default)]
pub(crate) struct ObjectMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stored_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writer: Option<WriterMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attributes: Option<BTreeMap<String, String>>,
}

/// Whose signature an object bears.
#[derive(Debug, Serialize)]
pub(crate) struct WriterMessage<'a> {
    /// Of the identity by which the vault is open.
    pub(crate) own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    /// The 12 words, where the card is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    pub(crate) key: String,
}

/// How a command ended, when it ended well or partly well.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SummaryMessage<'a> {
    pub(crate) command: &'a str,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) folders: Option<u64>,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nameless: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) foreign: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) seconds: f64,
}

/// RFC 3339 in UTC; nothing for a time beyond the calendar, which only a
/// writer with the keys can store.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    let (seconds, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).ok()?, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).ok()?.checked_neg()?;
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds.checked_sub(1)?, 1_000_000_000 - nanos),
            }
        }
    };
    let time = DateTime::<Utc>::from_timestamp(seconds, nanos)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let at = |seconds: i64, nanos: u32| {
            let base = SystemTime::UNIX_EPOCH;
            let whole = Duration::from_secs(seconds.unsigned_abs());
            let time = if seconds < 0 {
                base - whole
            } else {
                base + whole
            };
            rfc3339(time + Duration::from_nanos(nanos.into()))
        };
        assert_eq!(at(0, 0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(
            at(1_700_000_000, 5_000_000).as_deref(),
            Some("2023-11-14T22:13:20.005Z")
        );
        assert_eq!(
            at(-1, 500_000_000).as_deref(),
            Some("1969-12-31T23:59:59.500Z")
        );
        assert_eq!(at(i64::MAX / 2, 0), None);
    }

    #[test]
    fn messages_are_one_object_a_line() {
        let message = Message::Object(Box::new(ObjectMessage {
            path: "a\n\u{202e}",
            size: 1,
            ..ObjectMessage::default()
        }));
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(
            json,
            "{\"message_type\":\"object\",\"path\":\"a\\n\u{202e}\",\"size\":1}"
        );
    }
}
