//! The vaults of one command: from a name to an address, from there to an open vault.

use crate::address::{self, VaultPath};
use crate::args::Common;
use crate::config::{self, Config, VaultConfig};
use crate::exit::{Exit, Failure, Result};
use crate::secrets::{GivenPassword, Secret};
use crate::store::Store;
use crate::terminal::Terminal;
use kluis::{Address, FileState, Vault, VaultOptions};
use rustix::fs::Mode;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, watch};
use url::Url;

/// A vault that an argument names; known to exist in the configuration, not yet opened.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// For questions and messages.
    pub(crate) label: String,
    pub(crate) config: Option<VaultConfig>,
}

/// An open vault and what it was opened with.
pub(crate) struct Opened {
    pub(crate) vault: Vault,
    pub(crate) store: Store,
    pub(crate) secret: Secret,
    pub(crate) address: Address,
    /// The names of folders that were accepted on this device and that are taken
    /// back, beside others that are not.
    pub(crate) ended: Vec<String>,
}

impl Opened {
    /// A folder that was taken back is denied, not absent.
    fn check(&self, path: &VaultPath) -> Result<()> {
        let name = path.path.split('/').next().unwrap_or_default();
        if !self.ended.iter().any(|ended| ended == name) {
            return Ok(());
        }
        let message = format!("no access to what was shared as {name:?}: it was taken back");
        let failure = Failure::new(Exit::Denied, "access_denied", message, MEMBER_HINT);
        Err(failure.at(path.to_string()))
    }
}

const MEMBER_HINT: &str = "ask whoever shared it for a new invitation, and accept that";

/// What goes wrong when a vault of somebody else is opened.
pub(crate) fn as_member(error: kluis::Error) -> Failure {
    let denied = matches!(error, kluis::Error::AccessDenied { .. });
    let mut failure = Failure::from(error);
    if denied {
        format!("{MEMBER_HINT}; or check the credentials of the store")
            .clone_into(&mut failure.hint);
    }
    failure
}

/// One run of the command.
pub(crate) struct Session {
    pub(crate) common: Common,
    pub(crate) terminal: Arc<Terminal>,
    /// For the rights of new local files.
    pub(crate) umask: Mode,
    cancel: watch::Receiver<bool>,
    config: OnceCell<Config>,
    given_password: GivenPassword,
    opened: Mutex<Vec<(Option<String>, Arc<Opened>)>>,
}

impl Session {
    pub(crate) fn new(
        common: Common,
        terminal: Arc<Terminal>,
        cancel: watch::Receiver<bool>,
        umask: Mode,
    ) -> Self {
        Self {
            common,
            terminal,
            umask,
            cancel,
            config: OnceCell::new(),
            given_password: OnceCell::new(),
            opened: Mutex::default(),
        }
    }

    /// Turns true when the user interrupts.
    pub(crate) fn cancel(&self) -> watch::Receiver<bool> {
        self.cancel.clone()
    }

    pub(crate) fn cache(&self) -> &GivenPassword {
        &self.given_password
    }

    async fn config(&self) -> Result<&Config> {
        self.config
            .get_or_try_init(|| async { Config::load() })
            .await
    }

    /// The vault that a path is in. Fails before any question or request.
    pub(crate) async fn target(&self, path: &VaultPath) -> Result<Target> {
        self.common.secrets.check()?;
        match &path.vault {
            Some(name) => self.named(name).await,
            None => self.default_target().await,
        }
    }

    /// The vault of `:`.
    pub(crate) async fn default_target(&self) -> Result<Target> {
        self.common.secrets.check()?;
        let environment = || std::env::var_os("KLUIS_VAULT").filter(|v| !v.is_empty());
        if let Some(given) = self.common.vault.clone().or_else(environment) {
            return self.given(&given).await;
        }
        match &self.config().await?.default {
            Some(default) => self.given(&OsString::from(default)).await,
            None => Err(Failure::usage(
                "no vault was named",
                "give --vault URL, or set KLUIS_VAULT, or `default` in ~/.config/kluis/config.toml",
            )),
        }
    }

    /// A URL, a folder or a NAME.
    pub(crate) async fn given(&self, text: &OsStr) -> Result<Target> {
        match text.to_str() {
            Some(name) if address::is_name(name) => self.named(name).await,
            Some(url) => Self::target_at(url, None),
            None => {
                let message = format!("the vault address {} is not UTF-8", text.to_string_lossy());
                Err(Failure::usage(message, "rename the folder"))
            }
        }
    }

    async fn named(&self, name: &str) -> Result<Target> {
        match self.config().await?.vault.get(name) {
            Some(config) => {
                let mut target = Self::target_at(&config.url, Some(config.clone()))?;
                target.label = name.to_owned();
                Ok(target)
            }
            None => Err(Failure::usage(
                format!("no vault is called {name}"),
                format!(
                    "add [vault.{name}] with its url to ~/.config/kluis/config.toml; for a folder write ./{name}"
                ),
            )),
        }
    }

    fn target_at(url: &str, config: Option<VaultConfig>) -> Result<Target> {
        let address: Address = if url.contains("://") {
            url.parse().map_err(|error| {
                let mut failure = Failure::from(error);
                if url.contains('#') {
                    "behind # stands the vault's id or nothing; a link is read with `kluis get`, an invitation accepted with `kluis accept`"
                        .clone_into(&mut failure.hint);
                }
                failure
            })?
        } else {
            Self::folder_address(url)?
        };
        Self::at_address(&address, config)
    }

    /// The vault at an address.
    pub(crate) fn at_address(address: &Address, config: Option<VaultConfig>) -> Result<Target> {
        // One place has one address, or it would be pinned twice.
        let mut url = address.url().clone();
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(if path.is_empty() { "/" } else { &path });
        let address = Address::new(url, address.id())?;
        let label = address.to_string();
        let label = label.split('#').next().unwrap_or_default();
        let label = label.strip_prefix("file://").unwrap_or(label).to_owned();
        Ok(Target {
            address,
            label,
            config,
        })
    }

    /// A folder, with the id behind `#` if it ends in one.
    fn folder_address(text: &str) -> Result<Address> {
        let with_id = text
            .rsplit_once('#')
            .and_then(|(path, id)| Some((path, id.parse().ok()?)));
        let (path, id) = with_id.map_or((text, None), |(path, id)| (path, Some(id)));
        let absolute = config::absolute(Path::new(path))
            .map_err(|e| Failure::io(format!("cannot find the folder {path}"), &e))?;
        let url = Url::from_file_path(&absolute).map_err(|()| {
            Failure::usage(
                format!("{path} is not a folder's name"),
                "give another folder",
            )
        })?;
        Ok(Address::new(url, id)?)
    }

    /// Opens it: looks whether the right vault is there, asks for the password, runs
    /// Argon2id once.
    pub(crate) async fn open(&self, target: &Target) -> Result<Opened> {
        self.open_with(target, self.options(&target.address)?).await
    }

    async fn open_with(&self, target: &Target, options: VaultOptions) -> Result<Opened> {
        let store = Store::open(target.address.url(), false)?;
        let failed = |e| Failure::from(e).at(target.label.clone());
        let found = options.find(store.objects.clone()).await.map_err(failed)?;
        let secret = self
            .common
            .secrets
            .unlock(&target.label, target.config.as_ref(), self.cache())
            .await
            .map_err(|f| self.by_the_environment(f, Exit::WrongCredentials))?;
        let unlocked = found.unlock(secret.credential()?).await;
        let vault = unlocked.map_err(|error| match secret {
            Secret::Identity(_) => {
                let failure = self.not_accepted(error);
                failure.at(target.label.clone())
            }
            _ => failed(error),
        })?;
        let received = vault.received()?.into_iter();
        let ended = received.filter(|r| r.ended).map(|r| r.name).collect();
        Ok(Opened {
            vault,
            store,
            secret,
            address: target.address.clone(),
            ended,
        })
    }

    /// What goes wrong where an identity opens nothing: in that of a variable the user may
    /// not have thought of it.
    fn not_accepted(&self, error: kluis::Error) -> Failure {
        let accept = "accept what was shared with you: `kluis accept INVITATION`";
        let mut failure = match &error {
            kluis::Error::InvalidInput { what } if what.starts_with("an identity opens only") => {
                let mut failure = Failure::from(error);
                failure.hint = format!("or {accept}");
                failure
            }
            kluis::Error::AccessDenied { what } if what.contains("no grant was accepted") => {
                as_member(error)
            }
            _ => return as_member(error),
        };
        if failure.exit == Exit::Denied {
            failure.hint = accept.to_owned();
        }
        let exit = failure.exit;
        self.by_the_environment(failure, exit)
    }

    /// Names the variable, where it is why an identity is used and what fails.
    pub(crate) fn by_the_environment(&self, mut failure: Failure, exit: Exit) -> Failure {
        let secrets = &self.common.secrets;
        if failure.exit == exit && secrets.identity.is_none() && secrets.given_identity().is_some()
        {
            failure.hint.push_str(
                "; or KLUIS_IDENTITY is set by mistake: unset it to open with the password",
            );
        }
        failure
    }

    /// The vault of a command that works on a whole vault.
    pub(crate) async fn open_default(&self) -> Result<Opened> {
        let target = self.default_target().await?;
        self.open(&target).await
    }

    /// As `open_default`, also where everything that was accepted is taken back.
    pub(crate) async fn open_with_ended(&self) -> Result<Opened> {
        let target = self.default_target().await?;
        let options = self.options(&target.address)?;
        self.open_with(&target, options.with_ended()).await
    }

    /// The vault that a path is in.
    pub(crate) async fn open_for(&self, path: &VaultPath) -> Result<Opened> {
        let target = self.target(path).await?;
        let opened = self.open(&target).await?;
        opened.check(path)?;
        Ok(opened)
    }

    /// As `open_for`, but each vault of a command is opened once.
    pub(crate) async fn open_shared(&self, path: &VaultPath) -> Result<Arc<Opened>> {
        let known = |opened: &[(Option<String>, Arc<Opened>)]| {
            opened
                .iter()
                .find(|(name, _)| *name == path.vault)
                .map(|(_, opened)| opened.clone())
        };
        if let Some(opened) = known(&self.opened.lock().unwrap_or_else(PoisonError::into_inner)) {
            opened.check(path)?;
            return Ok(opened);
        }
        let opened = Arc::new(self.open_for(path).await?);
        let mut all = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((path.vault.clone(), opened.clone()));
        Ok(opened)
    }

    /// With the id of the address, the pins of this device, and that of flag or
    /// environment.
    pub(crate) fn options(&self, address: &Address) -> Result<VaultOptions> {
        let mut options = VaultOptions::new();
        if let Some(id) = address.id() {
            options = options.id(id);
        }
        let environment = || std::env::var("KLUIS_PIN").ok().filter(|v| !v.is_empty());
        if let Some(pin) = self.common.pin.clone().or_else(environment) {
            options = options.pin(pin.parse()?);
        }
        Ok(match device_state() {
            Some(state) => options.device_state(Arc::new(state), address),
            None => {
                self.terminal.warn(
                    "neither XDG_STATE_HOME nor HOME is set; a store that goes back to an older state is not noticed",
                );
                options
            }
        })
    }
}

/// What this device has seen of vaults.
pub(crate) fn device_state() -> Option<FileState> {
    config::xdg_dir("XDG_STATE_HOME", ".local/state").map(FileState::new)
}

/// What a wish for one object means when nothing is there.
pub(crate) fn nothing_at(path: &VaultPath) -> Failure {
    let folder = path.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let vault = path.vault.as_deref().unwrap_or_default();
    let hint = format!("see what is there with `kluis ls {vault}:{folder}`");
    Failure::new(
        Exit::NotFound,
        "not_found",
        "there is nothing at this path",
        hint,
    )
    .at(path.to_string())
}
