//! Everything the user sees or is asked.
//!
//! The rules of the interface:
//!
//! - Data goes to stdout and nothing else does. Where the data is a file's
//!   content, `--json` lines go to stderr instead.
//! - Messages go to stderr, each line beginning with `kluis: `. The last one
//!   says what happened and, after `hint:`, what to do next.
//! - Questions go to the terminal itself, `/dev/tty`, never to a pipe; where
//!   there is no terminal the question is an error.
//! - Names from a vault were chosen by somebody else: before they reach a
//!   terminal or stderr, whatever could move the cursor or turn the reading
//!   order is escaped. JSON carries every name exactly.
//! - `-q` leaves errors, `-v` adds a line for each item. Nothing is coloured.
//! - A reader of our stdout who went away is no error.

use crate::address::without_secrets;
use crate::exit::{Failure, Result};
pub(crate) use crate::json::{GatewayMessage, Message, ObjectMessage, SummaryMessage, rfc3339};
use indicatif::{HumanBytes, ProgressBar};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Where messages go, and how many of them.
#[derive(Debug)]
pub(crate) struct Terminal {
    json: bool,
    quiet: bool,
    verbose: bool,
    /// stdout carries a file's content, so JSON lines go to stderr.
    content_on_stdout: AtomicBool,
    /// The progress bar, while there is one: lines are written around it.
    pub(crate) bar: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    pub(crate) fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let content_on_stdout = AtomicBool::new(false);
        Self {
            json,
            quiet,
            verbose,
            content_on_stdout,
            bar: Mutex::new(None),
        }
    }

    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    pub(crate) fn stdout_is_content(&self) {
        self.content_on_stdout.store(true, Ordering::Relaxed);
    }

    /// Something the user should know; `-q` hides it.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.line(text);
        }
    }

    /// Something the user must know, `-q` or not, `--json` or not.
    pub(crate) fn warn(&self, text: &str) {
        self.line(text);
    }

    /// What a question is about: who is asked sees it, `-q` or not.
    pub(crate) fn before_asking(&self, text: &str, answered: bool) {
        if answered {
            self.note(text);
        } else {
            self.line(text);
        }
    }

    /// What lies in the store and is not of the vault: no failure, and nothing
    /// that should stay unsaid.
    pub(crate) fn foreign(&self, count: u64, place: &str) {
        let what = match count {
            0 => return,
            1 => "1 entry is not of this vault and was left out".to_owned(),
            n => format!("{n} entries are not of this vault and were left out"),
        };
        self.warn(&format!("{place}: {what}; `kluis check -v` names them"));
    }

    /// One line for one item, under `-v`.
    pub(crate) fn detail(&self, text: impl FnOnce() -> String) {
        if self.verbose && !self.json {
            self.line(&text());
        }
    }

    /// One of several failures, or the last word.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        if self.json {
            // What was typed in the wrong place may be the secret of a link.
            let path = failure.path.as_deref().map(without_secrets);
            let message = Message::Error {
                code: &failure.code,
                exit_code: failure.exit as u8,
                path: path.as_deref(),
                message: &without_secrets(&failure.message),
                hint: &failure.hint,
            };
            // Nothing is left to tell a reader who went away.
            let _ = self.message(&message);
        }
        self.line(&without_secrets(&failure.to_string()));
    }

    pub(crate) fn line(&self, text: &str) {
        let line = format!("kluis: {}\n", sanitize(text));
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        };
        match bar.as_ref() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// A line of JSON, if it was asked for.
    pub(crate) fn message(&self, message: &Message<'_>) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        if self.content_on_stdout.load(Ordering::Relaxed) {
            let _ = io::stderr().lock().write_all(&line);
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&line)
            .and_then(|()| stdout.flush())
            .map_err(|e| Failure::stdout(&e))
    }

    /// The end of a command that worked on items: a line for people or JSON.
    pub(crate) fn summary(&self, text: &str, summary: SummaryMessage<'_>) -> Result<()> {
        self.note(text);
        self.message(&Message::Summary(summary))
    }
}

/// Lines of data on stdout, in large writes.
pub(crate) struct Output {
    out: io::BufWriter<io::StdoutLock<'static>>,
    to_terminal: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let to_terminal = io::stdout().is_terminal();
        Self {
            out: io::BufWriter::with_capacity(64 << 10, io::stdout().lock()),
            to_terminal,
        }
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        let text = if self.to_terminal {
            sanitize(text)
        } else {
            Cow::Borrowed(text)
        };
        self.out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|e| Failure::stdout(&e))
    }

    /// A JSON line among many others, without a flush for each.
    pub(crate) fn message(&mut self, message: &Message<'_>) -> Result<()> {
        serde_json::to_writer(&mut self.out, message)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|e| Failure::stdout(&e))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Failure::stdout(&e))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|e| Failure::stdout(&e))
    }
}

/// Escapes what could move the cursor, hide text or turn its direction.
pub(crate) fn sanitize(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c,
                '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

pub(crate) fn human_bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

// ---------------------------------------------------------------- questions

/// What the terminal was like before we turned its echo off, so that an
/// interrupt in the middle of a password leaves it usable.
static ECHO: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Turns the echo on again if a question was open.
pub(crate) fn restore_echo() {
    let mut saved = ECHO.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((tty, before)) = saved.take() {
        let _ = tcsetattr(&tty, OptionalActions::Now, &before);
        let _ = (&tty).write_all(b"\n");
    }
}

fn open_tty() -> Option<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()
}

/// Asks for a line that is not shown. `None` where nobody can be asked.
pub(crate) async fn ask_secret(question: &str) -> Option<Result<Zeroizing<String>>> {
    let tty = open_tty()?;
    let question = sanitize(question).into_owned();
    Some(off_runtime(move || read_secret(tty, &question)).await)
}

fn read_secret(mut tty: File, question: &str) -> Result<Zeroizing<String>> {
    let failed = |e: io::Error| Failure::io("cannot read from the terminal", &e);
    let before = tcgetattr(&tty).map_err(|e| failed(e.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent
        .local_modes
        .insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
    let kept = tty.try_clone().map_err(failed)?;
    *ECHO.lock().unwrap_or_else(PoisonError::into_inner) = Some((kept, before));
    let answer = (|| {
        tcsetattr(&tty, OptionalActions::Flush, &silent)?;
        tty.write_all(question.as_bytes())?;
        read_line(tty.try_clone()?)
    })();
    let saved = ECHO.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((_, before)) = saved {
        let _ = tcsetattr(&tty, OptionalActions::Now, &before);
    }
    answer.map_err(failed)
}

/// One line, into a buffer that never moves and so leaves no copy behind.
fn read_line(mut from: File) -> io::Result<Zeroizing<String>> {
    const LONGEST: usize = 4096; // What a terminal passes on as one line.
    let mut line = Zeroizing::new(vec![0; LONGEST]);
    let mut length = 0;
    loop {
        let n = io::Read::read(&mut from, &mut line[length..])?;
        if n == 0 && length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no answer"));
        }
        length += n;
        if n == 0 || length == LONGEST || line[..length].ends_with(b"\n") {
            break;
        }
    }
    let text = line[..length]
        .strip_suffix(b"\n")
        .unwrap_or(&line[..length]);
    let text = std::str::from_utf8(text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Says something beside a question.
pub(crate) fn tell_tty(text: &str) {
    if let Some(mut tty) = open_tty() {
        let _ = writeln!(tty, "{}", sanitize(text));
    }
}

/// Asks for a line that is shown as it is typed.
pub(crate) async fn ask_visible(question: &str) -> Option<Result<String>> {
    let mut tty = open_tty()?;
    let question = sanitize(question).into_owned();
    let ask = move || {
        let failed = |e: io::Error| Failure::io("cannot read from the terminal", &e);
        tty.write_all(question.as_bytes()).map_err(failed)?;
        let answer = read_line(tty).map_err(failed)?;
        Ok(answer.to_string())
    };
    Some(off_runtime(ask).await)
}

/// A yes or no. Without a terminal it is a usage error that names `--yes`.
pub(crate) async fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let Some(mut tty) = open_tty() else {
        let hint = "say it on a terminal, or give --yes";
        return Err(Failure::usage(
            format!("{question} needs a confirmation"),
            hint,
        ));
    };
    let question = format!("{} [y/N] ", sanitize(&format!("{question}?")));
    let answer = off_runtime(move || {
        let mut answer = String::new();
        tty.write_all(question.as_bytes())
            .and_then(|()| BufReader::new(tty).read_line(&mut answer))
            .map_err(|e| Failure::io("cannot read from the terminal", &e))?;
        Ok(answer)
    })
    .await?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::usage(
            "not confirmed; nothing was changed",
            "answer y to go ahead",
        )),
    }
}

/// A question may stay open for ever, so it gets a thread that nobody waits
/// for when the user interrupts.
async fn off_runtime<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || send.send(ask()));
    receive
        .await
        .unwrap_or_else(|_| Err(Failure::interrupted()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(sanitize("café 漢字 😀"), "café 漢字 😀");
        assert_eq!(sanitize("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(sanitize("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(
            sanitize("a\r\nb\u{9b}c\u{2066}"),
            "a\\u{d}\\u{a}b\\u{9b}c\\u{2066}"
        );
    }
}
