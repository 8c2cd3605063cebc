//! Text armor (docs/FORMAT.md, section 8): base64 between two lines, for what
//! people send, print and keep.

use crate::{Error, Result};
use data_encoding::BASE64;

/// One kind of armored record.
pub(crate) struct Armor {
    /// What stands in the first and the last line.
    pub(crate) label: &'static str,
    /// What an error calls it, with its article.
    pub(crate) name: (&'static str, &'static str),
    /// Bytes of the longest record, and the error beyond.
    pub(crate) max: usize,
    pub(crate) over: &'static str,
    /// Longer texts are not looked at.
    pub(crate) max_text: usize,
}

impl Armor {
    /// 48 bytes are a line of 64 characters.
    const LINE: usize = 48;

    pub(crate) fn begin(&self) -> String {
        format!("-----BEGIN KLUIS {}-----", self.label)
    }

    pub(crate) fn end(&self) -> String {
        format!("-----END KLUIS {}-----", self.label)
    }

    pub(crate) fn write(&self, record: &[u8]) -> String {
        let mut text = self.begin();
        for line in record.chunks(Self::LINE) {
            text.push('\n');
            text.push_str(&BASE64.encode(line));
        }
        text.push('\n');
        text.push_str(&self.end());
        text.push('\n');
        text
    }

    /// The bytes between the two lines.
    ///
    /// # Errors
    /// `InvalidInput` where the text does not hold exactly one record;
    /// `LimitExceeded`.
    pub(crate) fn read(&self, text: &str) -> Result<Vec<u8>> {
        if text.len() > self.max_text {
            return Err(Error::LimitExceeded(self.over));
        }
        let (article, name) = self.name;
        let none = || {
            Error::invalid(format!(
                "this is not {article} {name}: its first or last line is missing"
            ))
        };
        let (begin, end) = (self.begin(), self.end());
        let mut base64: Option<String> = None;
        let mut ended = false;
        // White space at the ends of lines comes from mail and from other systems.
        for line in text.split('\n').map(str::trim_end) {
            match &mut base64 {
                None if line == begin => base64 = Some(String::new()),
                Some(_) if line == begin => {
                    return Err(Error::invalid(format!(
                        "there is more than one {name} here"
                    )));
                }
                Some(_) if line == end && !ended => ended = true,
                _ if line == end => return Err(none()),
                Some(base64) if !ended => base64.push_str(line),
                _ => {}
            }
        }
        let Some(base64) = base64.filter(|_| ended) else {
            return Err(none());
        };
        let record = BASE64.decode(base64.as_bytes()).map_err(|_| {
            Error::invalid(format!(
                "the {name} is damaged: a character is wrong or missing"
            ))
        })?;
        if record.len() > self.max {
            return Err(Error::LimitExceeded(self.over));
        }
        Ok(record)
    }
}
