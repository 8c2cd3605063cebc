//! Where passwords, keyfiles and recovery phrases come from.
//!
//! Never from an argument, which everybody on the machine can read, and never
//! from anything stored. A flag wins over the environment, the environment over
//! the configuration, and the question on the terminal comes last. Buffers are
//! wiped and large enough never to move.

use crate::args::{NewSecrets, Secrets};
use crate::config::VaultConfig;
use crate::exit::{Exit, Failure, Result};
use crate::terminal;
use kluis::{Credential, Identity, IdentityFile, KdfCeiling, Keyfile, Password, RecoveryPhrase};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What opens a vault, kept so that a credential can be made more than once.
pub(crate) enum Secret {
    Password(Zeroizing<String>),
    PasswordAndKeyfile(Zeroizing<String>, Zeroizing<Vec<u8>>),
    RecoveryPhrase(Zeroizing<String>),
    Identity(Arc<Identity>),
    /// A link, which opens by itself.
    Link,
}

impl Secret {
    pub(crate) fn credential(&self) -> Result<Credential> {
        let keyfile = |bytes: &[u8]| Keyfile::from_bytes(bytes).map_err(Failure::core);
        Ok(match self {
            Self::Password(p) => Credential::Password(Password::new(p)),
            Self::PasswordAndKeyfile(p, k) => {
                Credential::PasswordAndKeyfile(Password::new(p), keyfile(k)?)
            }
            Self::RecoveryPhrase(words) => {
                Credential::RecoveryPhrase(RecoveryPhrase::parse(words).map_err(Failure::core)?)
            }
            Self::Identity(identity) => Credential::Identity(Arc::clone(identity)),
            Self::Link => {
                let message = "a link opens what it leads to, and no vault";
                return Err(Failure::usage(message, "use what opens the vault"));
            }
        })
    }
}

/// The password of flag or environment, read once: a descriptor gives it only
/// once, and a command may ask a person.
pub(crate) type GivenPassword = tokio::sync::OnceCell<Zeroizing<String>>;

/// One place that a secret text can come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Command(String),
    Descriptor(u32),
    /// The value of `KLUIS_PASSWORD` itself.
    Environment,
}

impl Secrets {
    /// More than one source of one secret on the command line is a mistake.
    pub(crate) fn check(&self) -> Result<()> {
        let phrase =
            usize::from(self.recovery_phrase) + usize::from(self.recovery_phrase_file.is_some());
        let password = self.password_sources().len();
        if phrase + password > 1 {
            return Err(Failure::usage(
                "more than one source for what opens the vault",
                "give one of --password-file, --password-command, --password-fd, --recovery-phrase, --recovery-phrase-file",
            ));
        }
        if phrase > 0 && self.keyfile.is_some() {
            let message = "a recovery phrase opens a vault by itself, without a keyfile";
            return Err(Failure::usage(message, "leave out --keyfile"));
        }
        if self.identity.is_some() && (phrase > 0 || self.keyfile.is_some()) {
            let message = "an identity opens a vault by itself, with the password of its file";
            let hint = "leave out --identity, or what opens the vault in another way";
            return Err(Failure::usage(message, hint));
        }
        Ok(())
    }

    /// The identity of flag or environment; another way in on the command line wins
    /// over the environment.
    pub(crate) fn given_identity(&self) -> Option<PathBuf> {
        let environment = || {
            let otherwise = self.recovery_phrase
                || self.recovery_phrase_file.is_some()
                || self.keyfile.is_some();
            let file = variable("KLUIS_IDENTITY").map(PathBuf::from);
            file.filter(|_| !otherwise)
        };
        self.identity.clone().or_else(environment)
    }

    fn identity(&self, config: Option<&VaultConfig>) -> Option<PathBuf> {
        let otherwise =
            self.recovery_phrase || self.recovery_phrase_file.is_some() || self.keyfile.is_some();
        let configured = || config?.identity.clone().filter(|_| !otherwise);
        self.given_identity().or_else(configured)
    }

    fn password_sources(&self) -> Vec<Source> {
        let file = self.password_file.clone().map(Source::File);
        let command = self.password_command.clone().map(Source::Command);
        let descriptor = self.password_fd.map(Source::Descriptor);
        file.into_iter().chain(command).chain(descriptor).collect()
    }

    /// The flag or the environment; what `init` and an opening have in common.
    fn given_password(&self) -> Option<Source> {
        let environment = || {
            let file = variable("KLUIS_PASSWORD_FILE").map(|v| Source::File(v.into()));
            let command = || {
                variable("KLUIS_PASSWORD_COMMAND")?
                    .into_string()
                    .ok()
                    .map(Source::Command)
            };
            let value = || variable("KLUIS_PASSWORD").map(|_| Source::Environment);
            file.or_else(command).or_else(value)
        };
        self.password_sources().pop().or_else(environment)
    }

    /// What opens the vault called `label`.
    pub(crate) async fn unlock(
        &self,
        label: &str,
        config: Option<&VaultConfig>,
        given: &GivenPassword,
    ) -> Result<Secret> {
        if let Some(path) = self.identity(config) {
            let identity = self.open_identity(&path, config, given).await?;
            return Ok(Secret::Identity(identity));
        }
        if let Some(path) = &self.recovery_phrase_file {
            return Ok(Secret::RecoveryPhrase(
                read_text(&Source::File(path.clone())).await?,
            ));
        }
        if self.recovery_phrase {
            let words = ask(&format!("Recovery phrase for {label} (24 words): ")).await?;
            return Ok(Secret::RecoveryPhrase(words));
        }
        let keyfile = self
            .keyfile
            .as_deref()
            .or_else(|| config?.keyfile.as_deref());
        let keyfile = keyfile.map(read_keyfile).transpose()?;
        let question = format!("Password for {label}: ");
        let password = self.password(&question, config, given).await?;
        Ok(with_keyfile(password, keyfile))
    }

    /// The password of a link: of flag, environment or terminal.
    pub(crate) async fn link_password(&self, given: &GivenPassword) -> Result<Zeroizing<String>> {
        self.check()?;
        self.password("Password of the link: ", None, given).await
    }

    /// The identity in a file, under the password of flag, environment,
    /// configuration or terminal.
    pub(crate) async fn open_identity(
        &self,
        path: &Path,
        config: Option<&VaultConfig>,
        given: &GivenPassword,
    ) -> Result<Arc<Identity>> {
        let file = read_identity(path)?;
        let shown = path.display().to_string();
        self.unseal_identity(file, &shown, config, given).await
    }

    /// As `open_identity`, of a file that was read.
    pub(crate) async fn unseal_identity(
        &self,
        file: IdentityFile,
        shown: &str,
        config: Option<&VaultConfig>,
        given: &GivenPassword,
    ) -> Result<Arc<Identity>> {
        let question = format!("Password of the identity file {shown}: ");
        let password = self.password(&question, config, given).await?;
        let open = move || file.open(&Password::new(&password), KdfCeiling::default());
        let opened = tokio::task::spawn_blocking(open).await;
        match opened.map_err(|_| Failure::interrupted())? {
            Ok(identity) => Ok(Arc::new(identity)),
            Err(error) => {
                let mut failure = Failure::file(error, "an identity file").at(shown);
                if failure.exit == Exit::WrongCredentials {
                    failure.message = "wrong password of the identity file".to_owned();
                    "try again; it is not the password of the vault".clone_into(&mut failure.hint);
                }
                Err(failure)
            }
        }
    }

    async fn password(
        &self,
        question: &str,
        config: Option<&VaultConfig>,
        given: &GivenPassword,
    ) -> Result<Zeroizing<String>> {
        let configured = || {
            let config = config?;
            let file = config.password_file.clone().map(Source::File);
            file.or_else(|| config.password_command.clone().map(Source::Command))
        };
        match (self.given_password(), configured()) {
            (Some(source), _) => Ok(given.get_or_try_init(|| read_text(&source)).await?.clone()),
            (None, Some(source)) => read_text(&source).await,
            (None, None) => ask(question).await,
        }
    }

    /// The password of an identity file that is being made: asked twice.
    pub(crate) async fn create_for_identity(&self, file: &Path) -> Result<Zeroizing<String>> {
        let others = [
            (self.recovery_phrase, "--recovery-phrase"),
            (
                self.recovery_phrase_file.is_some(),
                "--recovery-phrase-file",
            ),
            (self.keyfile.is_some(), "--keyfile"),
            (self.identity.is_some(), "--identity"),
        ];
        if let Some((_, flag)) = others.iter().find(|(given, _)| *given) {
            let message = "a new identity file is protected by a password alone";
            return Err(Failure::usage(message, format!("leave out {flag}")));
        }
        let question = format!("Password of the new identity file {}: ", file.display());
        self.new_password(&question).await
    }

    async fn new_password(&self, question: &str) -> Result<Zeroizing<String>> {
        match self.given_password() {
            Some(source) => read_text(&source).await,
            None => ask_twice(question).await,
        }
    }

    /// The password of a vault that is being made: asked twice. A keyfile
    /// that does not exist is made too.
    pub(crate) async fn create(&self, label: &str) -> Result<Secret> {
        if self.recovery_phrase || self.recovery_phrase_file.is_some() {
            let message = "a new vault begins with a password";
            return Err(Failure::usage(
                message,
                "add a phrase later: `kluis key add --new-recovery-phrase`",
            ));
        }
        if self.identity.is_some() {
            let message = "a new vault begins with a password";
            return Err(Failure::usage(message, "leave out --identity"));
        }
        let question = format!("Password for the new vault {label}: ");
        let password = self.new_password(&question).await?;
        let keyfile = self
            .keyfile
            .as_deref()
            .map(read_or_make_keyfile)
            .transpose()?;
        Ok(with_keyfile(password, keyfile))
    }
}

impl NewSecrets {
    pub(crate) fn check(&self) -> Result<()> {
        if self.sources().len() > 1 {
            return Err(Failure::usage(
                "more than one source for the new password",
                "give one of --new-password-file, --new-password-command, --new-password-fd",
            ));
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        let file = self.new_password_file.clone().map(Source::File);
        let command = self.new_password_command.clone().map(Source::Command);
        let descriptor = self.new_password_fd.map(Source::Descriptor);
        file.into_iter().chain(command).chain(descriptor).collect()
    }

    pub(crate) fn is_given(&self) -> bool {
        !self.sources().is_empty()
    }

    /// The new password, with the keyfile that stays or comes with it.
    pub(crate) async fn read(&self, keyfile: Option<Zeroizing<Vec<u8>>>) -> Result<Secret> {
        let password = match self.sources().pop() {
            Some(source) => read_text(&source).await?,
            None => ask_twice("New password: ").await?,
        };
        Ok(with_keyfile(password, keyfile))
    }
}

/// A secret text in a file.
pub(crate) async fn of_file(path: &Path) -> Result<Zeroizing<String>> {
    read_text(&Source::File(path.to_owned())).await
}

/// The secret key of `serve`, of flag or environment; none where one is to be made.
pub(crate) async fn of_gateway(file: Option<&Path>) -> Result<Option<Zeroizing<String>>> {
    let given = match (file, variable("KLUIS_SERVE_SECRET")) {
        (Some(file), _) => of_file(file).await?,
        (None, Some(value)) => Zeroizing::new(value.into_string().unwrap_or_default()),
        (None, None) => return Ok(None),
    };
    let printable = given.bytes().all(|b| b.is_ascii_graphic());
    if given.len() < 16 || given.len() > 128 || !printable {
        return Err(Failure::usage(
            "the secret of the access key has 16 to 128 printable ASCII characters, without spaces",
            "give such a one, or leave out --secret-file and KLUIS_SERVE_SECRET: then one is made",
        ));
    }
    Ok(Some(given))
}

/// The password of a link that is being made.
pub(crate) async fn of_link() -> Result<Zeroizing<String>> {
    let asked = ask_twice("Password of the link: ").await;
    asked.map_err(|failure| match failure.exit {
        Exit::Usage => Failure::usage(failure.message, "give --link-password-file"),
        _ => failure,
    })
}

fn with_keyfile(password: Zeroizing<String>, keyfile: Option<Zeroizing<Vec<u8>>>) -> Secret {
    match keyfile {
        Some(keyfile) => Secret::PasswordAndKeyfile(password, keyfile),
        None => Secret::Password(password),
    }
}

/// Set and not empty: a script's unset variable is no password.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|v| !v.is_empty())
}

async fn ask(question: &str) -> Result<Zeroizing<String>> {
    match terminal::ask_secret(question).await {
        Some(answer) => answer,
        None => Err(Failure::usage(
            "a password is needed and there is no terminal to ask on",
            "set KLUIS_PASSWORD_FILE or KLUIS_PASSWORD_COMMAND, or give --password-file",
        )),
    }
}

/// For a password that will be needed again in ten years.
async fn ask_twice(question: &str) -> Result<Zeroizing<String>> {
    loop {
        let password = ask(question).await?;
        if password.is_empty() {
            terminal::tell_tty("An empty password protects nothing.");
            continue;
        }
        terminal::tell_tty(&strength(&password));
        if *ask("The same again: ").await? == *password {
            return Ok(password);
        }
        terminal::tell_tty("They differ. Once more:");
    }
}

/// zxcvbn's estimate for a password behind a slow hash, which ours is.
fn strength(password: &str) -> String {
    // The estimate of a longer one is slow and would not say anything else.
    let end = password
        .char_indices()
        .nth(100)
        .map_or(password.len(), |(i, _)| i);
    let estimate = zxcvbn::zxcvbn(&password[..end], &["kluis"]);
    let word = match u8::from(estimate.score()) {
        0 | 1 => "weak",
        2 => "so-so",
        3 => "good",
        _ => "strong",
    };
    let time = estimate.crack_times().offline_slow_hashing_1e4_per_second();
    let mut text =
        format!("Strength: {word}; a thief of the store would guess it in about {time}.");
    if let Some(feedback) = estimate.feedback() {
        for advice in feedback.suggestions() {
            text.push_str(&format!(" {advice}"));
        }
    }
    text
}

/// The longest text we take for a password.
const LONGEST: usize = 64 << 10;

async fn read_text(source: &Source) -> Result<Zeroizing<String>> {
    let source = source.clone();
    let read = tokio::task::spawn_blocking(move || read_source(&source));
    read.await.unwrap_or_else(|_| Err(Failure::interrupted()))
}

fn read_source(source: &Source) -> Result<Zeroizing<String>> {
    let (bytes, what) = match source {
        Source::File(path) => {
            let what = path.display().to_string();
            let failed =
                |e: io::Error| Failure::io(format!("cannot read the secret in {what}"), &e);
            (
                read_bounded(File::open(path).map_err(failed)?).map_err(failed)?,
                what,
            )
        }
        Source::Descriptor(0) => {
            let failed = |e: io::Error| Failure::io("cannot read the password on stdin", &e);
            (
                read_bounded(io::stdin().lock()).map_err(failed)?,
                "descriptor 0".to_owned(),
            )
        }
        Source::Descriptor(n) => {
            // The only safe way to take over a descriptor by its number.
            let what = format!("descriptor {n}");
            let failed =
                |e: io::Error| Failure::io(format!("cannot read the password on {what}"), &e);
            let file = File::open(format!("/dev/fd/{n}")).map_err(failed)?;
            (read_bounded(file).map_err(failed)?, what)
        }
        Source::Command(command) => (run(command)?, "the password command's output".to_owned()),
        Source::Environment => {
            let value = variable("KLUIS_PASSWORD").unwrap_or_default();
            let text = value
                .into_string()
                .map_err(|_| not_utf8("KLUIS_PASSWORD"))?;
            return Ok(Zeroizing::new(text));
        }
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| not_utf8(&what))?;
    Ok(Zeroizing::new(without_newline(text).to_owned()))
}

fn not_utf8(what: &str) -> Failure {
    Failure::usage(
        format!("{what} is not UTF-8"),
        "keep bytes that are not text in a --keyfile",
    )
}

/// Exactly one newline at the end is not part of the secret.
fn without_newline(text: &str) -> &str {
    let text_without = text.strip_suffix('\n').unwrap_or(text);
    if text_without.len() < text.len() {
        text_without.strip_suffix('\r').unwrap_or(text_without)
    } else {
        text
    }
}

fn read_bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    from.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::other("it is longer than any password"));
    }
    Ok(bytes)
}

/// The command is the user's own, from a flag, the environment or the
/// configuration; nothing stored ever gets here.
fn run(command: &str) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |why: String| {
        let hint = "run the password command by itself to see why";
        Failure::new(
            Exit::Error,
            "password_command",
            format!("the password command {why}"),
            hint,
        )
    };
    let mut child = Command::new("sh")
        .args(["-c", command])
        // stdin may be the data that is being copied.
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .env_remove("KLUIS_PASSWORD")
        .spawn()
        .map_err(|e| failed(format!("did not start: {e}")))?;
    let bytes = match child.stdout.take() {
        Some(out) => read_bounded(out).map_err(|e| failed(format!("gave no password: {e}"))),
        None => Err(failed("has no output".to_owned())),
    };
    let status = child.wait().map_err(|e| failed(format!("was lost: {e}")))?;
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    bytes
}

/// The identity file at a path; no password is needed to know whose it is.
pub(crate) fn read_identity(path: &Path) -> Result<IdentityFile> {
    let shown = path.display().to_string();
    let text = read_public(path, IdentityFile::MAX_TEXT, "an identity file")?;
    IdentityFile::parse(&text).map_err(|e| Failure::file(e, "an identity file").at(shown))
}

/// A file of a text that is no secret by itself, or `-` for stdin.
pub(crate) fn read_public(path: &Path, longest: usize, what: &str) -> Result<String> {
    let shown = path.display().to_string();
    let failed = |e: io::Error| Failure::io(format!("cannot read {shown}"), &e);
    let text = if path.as_os_str() == "-" {
        crate::config::read_text(io::stdin(), longest)
    } else {
        File::open(path).and_then(|file| crate::config::read_text(file, longest))
    };
    text.map_err(failed)?.ok_or_else(|| {
        let hint = "give the file that `kluis identity` wrote";
        Failure::usage(format!("it is not {what}"), hint).at(shown.clone())
    })
}

pub(crate) fn read_keyfile(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed =
        |e: io::Error| Failure::io(format!("cannot read the keyfile {}", path.display()), &e);
    let bytes = read_bounded(File::open(path).map_err(failed)?).map_err(failed)?;
    if bytes.len() != Keyfile::LENGTH {
        let message = format!(
            "{} is not a keyfile: it has not {} bytes",
            path.display(),
            Keyfile::LENGTH
        );
        return Err(Failure::usage(
            message,
            "give the file that `kluis` made as a keyfile",
        ));
    }
    Ok(bytes)
}

/// An existing keyfile is used as it is, never overwritten.
pub(crate) fn read_or_make_keyfile(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed =
        |e: io::Error| Failure::io(format!("cannot make the keyfile {}", path.display()), &e);
    let mut file = match create_private(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return read_keyfile(path),
        other => other.map_err(failed)?,
    };
    let keyfile = Keyfile::generate().map_err(Failure::core)?;
    let written = file
        .write_all(keyfile.expose_bytes())
        .and_then(|()| file.sync_all());
    if let Err(e) = written {
        let _ = std::fs::remove_file(path);
        return Err(failed(e));
    }
    Ok(Zeroizing::new(keyfile.expose_bytes().to_vec()))
}

/// A new file for a secret, for its owner alone; an existing one is an error.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_newline_is_stripped() {
        for (given, password) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r\n", "a"),
            (" a \n", " a "),
            ("\n", ""),
            ("a\r", "a\r"),
        ] {
            assert_eq!(without_newline(given), password);
        }
    }

    #[test]
    fn a_secret_of_unlikely_length_is_refused() {
        assert!(read_bounded(io::repeat(b'a')).is_err());
        assert_eq!(read_bounded(&b"abc"[..]).unwrap().as_slice(), b"abc");
    }

    #[test]
    fn a_command_gives_the_password_and_its_failure_is_ours() {
        let source = Source::Command("printf 'pass word\\n'".into());
        assert_eq!(read_source(&source).unwrap().as_str(), "pass word");
        let failure = read_source(&Source::Command("echo hunter2; exit 3".into())).unwrap_err();
        assert_eq!(failure.exit, Exit::Error);
        assert!(!failure.to_string().contains("hunter2"));
    }

    #[test]
    fn a_keyfile_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = read_or_make_keyfile(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            read_or_make_keyfile(&path).unwrap().as_slice(),
            first.as_slice()
        );
        std::fs::write(&path, b"not a keyfile").unwrap();
        assert_eq!(read_or_make_keyfile(&path).err().unwrap().exit, Exit::Usage);
        assert_eq!(std::fs::read(&path).unwrap(), b"not a keyfile");
    }
}
