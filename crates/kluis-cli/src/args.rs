//! The command line: one definition for parsing, help, completions and man pages.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Encrypts files before they are uploaded to any object store, and gets them back.
///
/// An argument in a vault starts with `:` (the vault of --vault, KLUIS_VAULT or
/// the configuration) or with `NAME:` (one from the configuration); everything
/// else is a local path. Commands that take only vault paths need no colon.
#[derive(Debug, Parser)]
#[command(
    name = "kluis",
    version,
    max_term_width = 100,
    color = clap::ColorChoice::Never,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ok, 1 error, 2 usage, 3 some items failed, 10 no vault there, \
        11 changed meanwhile, 12 wrong credentials, 13 a stored record is not what was written, \
        14 already exists, 15 access denied, 16 not found, 17 store unreachable, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The vault of `:paths`: a folder, a URL (s3://, gs://, az://, file://), or a NAME of the
    /// configuration; otherwise KLUIS_VAULT, otherwise `default` of the configuration
    #[arg(long, global = true, value_name = "URL|NAME", help_heading = "Vault")]
    pub(crate) vault: Option<OsString>,
    #[command(flatten)]
    pub(crate) secrets: Secrets,
    /// Open no state of the vault that does not hold this ledger entry, as `kluis revoke` prints
    /// it; for programs that keep no state. Otherwise KLUIS_PIN
    #[arg(long, global = true, value_name = "LINE", help_heading = "Vault")]
    pub(crate) pin: Option<String>,
    /// Only errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Output"
    )]
    pub(crate) quiet: bool,
    /// A line for each item
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// One JSON object a line, see docs/CLI.md
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

/// What opens a vault. Never the secret itself: arguments are public.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Secrets {
    /// Read the password from FILE; one trailing newline is not part of it
    #[arg(long, global = true, value_name = "FILE", help_heading = "Vault")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from the output of `sh -c COMMAND`
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Vault")]
    pub(crate) password_command: Option<String>,
    /// Read the password from an open file descriptor
    #[arg(long, global = true, value_name = "N", help_heading = "Vault")]
    pub(crate) password_fd: Option<u32>,
    /// The keyfile that is needed beside the password; `init` makes it if it does not exist
    #[arg(long, global = true, value_name = "FILE", help_heading = "Vault")]
    pub(crate) keyfile: Option<PathBuf>,
    /// Open with the identity in FILE instead of a password; the password is then that of the
    /// file. Otherwise KLUIS_IDENTITY
    #[arg(long, global = true, value_name = "FILE", help_heading = "Vault")]
    pub(crate) identity: Option<PathBuf>,
    /// Open with the recovery phrase, asked for on the terminal
    #[arg(long, global = true, help_heading = "Vault")]
    pub(crate) recovery_phrase: bool,
    /// Open with the recovery phrase in FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = "Vault")]
    pub(crate) recovery_phrase_file: Option<PathBuf>,
}

/// The secrets of a change; without them the terminal asks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NewSecrets {
    /// Read the new password from FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Read the new password from the output of `sh -c COMMAND`
    #[arg(long, value_name = "COMMAND")]
    pub(crate) new_password_command: Option<String>,
    /// Read the new password from an open file descriptor
    #[arg(long, value_name = "N")]
    pub(crate) new_password_fd: Option<u32>,
    /// The keyfile of the new password; made if it does not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) new_keyfile: Option<PathBuf>,
}

/// How much work a guess of the password costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kdf {
    /// 64 MiB, 3 passes
    Mobile,
    /// 256 MiB, 3 passes
    Desktop,
    /// 1 GiB, 4 passes
    Paranoid,
}

#[derive(Debug, Args)]
pub(crate) struct KdfArgs {
    /// Cost of guessing the password: opening takes this much memory too [default: as the key slot
    /// in use, mobile for a new vault]
    #[arg(long, value_enum)]
    pub(crate) kdf: Option<Kdf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a new vault and print its address
    Init(Init),
    /// Copy files and folders into a vault, out of it, inside it, or between vaults
    Cp(Cp),
    /// List a folder
    Ls(Ls),
    /// Write an object to stdout
    Cat(Cat),
    /// Show what is known about an object
    Stat(Stat),
    /// Move or rename objects and folders
    Mv(Mv),
    /// Remove objects and folders
    Rm(Rm),
    /// Read and authenticate everything
    Check(Check),
    /// Change the password
    ///
    /// Replaces the key slot the vault was opened with. An old copy of the vault's header still
    /// opens with the old password; `kluis key rotate` ends that for what is written from then on.
    Passwd(Passwd),
    /// Manage what opens the vault: passwords, keyfiles, recovery phrases
    #[command(subcommand)]
    Key(Key),
    /// Manage the devices that open the vault with an identity of their own
    #[command(subcommand)]
    Device(Device),
    /// Export or restore the vault's header, whose loss would lose everything
    #[command(subcommand)]
    Recovery(Recovery),
    /// Make and show identities: what others share with
    #[command(subcommand)]
    Identity(IdentityVerb),
    /// Manage the vault's address book: whose card is whose
    #[command(subcommand)]
    Contact(ContactVerb),
    /// Manage groups: one share with a group serves all who are in it
    #[command(subcommand)]
    Group(GroupVerb),
    /// Give a contact or group access to a folder, now and for what is written to it later
    ///
    /// Prints the invitation that they need beside an identity and credentials of the
    /// store. It holds no key, but says whose grant it is: hand it over on a way that the provider
    /// does not control.
    Share(ShareArgs),
    /// List what was shared: with whom, or with whom it was shared from
    Shares,
    /// Say who can read or write a path, or who could between two dates
    ///
    /// From the ledger alone: no object is looked at.
    Access(Access),
    /// Take access back
    ///
    /// What is written from then on, by clients that know of it, is out of reach. What was written
    /// before stays readable to whoever has the keys and gets at the bytes, until it is written
    /// again: the receipt counts it. Prints a pin, for --pin of programs that keep no state.
    Revoke(Revoke),
    /// Show or set for how long writers go on without news of the owner
    ///
    /// A store that hides the newest decisions keeps writers in the past. With a lease they stop
    /// where the newest entry of the ledger that they see is older than TIME. The owner's client
    /// renews it, at half of the time, when it writes or is opened.
    Lease(Lease),
    /// Write again what can still be read with keys of before
    ///
    /// Everything under keys that a revocation, a rotation or a first sharing has closed is read
    /// and written again under those in force. When nothing is left, the old keys are refused from
    /// then on. Interrupted, it goes on where it stopped. What the store kept of older versions it
    /// does not reach.
    Reencrypt(Reencrypt),
    /// Accept what somebody shared, with --identity; or file what somebody gave on of yours
    ///
    /// Who was allowed to give on what you shared sends you the FILE that he made. You see who
    /// gave what to whom before it is filed. From then on it is a grant of yours: it outlasts new
    /// keys, and `kluis revoke` takes it back.
    Accept(Accept),
    /// Give access to whoever has a URL: make, list and withdraw links
    #[command(subcommand)]
    Link(LinkVerb),
    /// Copy what a link leads to
    ///
    /// Takes neither a vault nor an account: the link is all. It is a secret, and arguments of a
    /// command can be seen by others on the machine: `-` reads it from stdin.
    Get(Get),
    /// Serve the vault as S3 on this machine, for programs that know nothing of Kluis
    ///
    /// Prints one line: the URL, the bucket, the access key, and the secret where it was made and
    /// not given. Whoever has them reads and writes the vault as long as this runs; Ctrl-C or
    /// SIGTERM ends it in good order.
    Serve(Serve),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print a manual page
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where: a folder, s3://BUCKET/PREFIX, gs://, az://, or a NAME of the configuration
    /// [default: the vault of --vault]
    #[arg(value_name = "URL")]
    pub(crate) url: Option<OsString>,
    /// Hide the exact sizes of objects, for at most 12 % more space
    #[arg(long)]
    pub(crate) padded: bool,
    /// Sign every object, so that whoever may only read cannot write, not even together with
    /// the provider; for 0.2 % more space. This cannot be chosen later
    #[arg(long)]
    pub(crate) signed: bool,
    /// Forget the vault that this device has seen here and that was removed
    #[arg(long)]
    pub(crate) forget: bool,
    #[command(flatten)]
    pub(crate) kdf: KdfArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Files, folders (with -r), objects, or `-` for stdin
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,
    /// The new name; or a folder, if it ends in `/`, is a vault's root or an existing local
    /// folder; or `-` for stdout
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: OsString,
    /// Copy folders: DIR/x becomes DESTINATION/x
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Compare existing targets by content, not by size and modification time
    #[arg(long)]
    pub(crate) checksum: bool,
    /// Leave out what matches, at any depth; with a `/` it matches the path below the source.
    /// May be given more than once
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Follow symbolic links
    #[arg(short = 'L', long)]
    pub(crate) dereference: bool,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

/// What `cp` and `mv` have in common.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Replace existing targets that differ
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How many files at once [default: 16 on network stores, twice the cores on folders]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) transfers: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// A folder or an object [default: the root]
    pub(crate) path: Option<OsString>,
    /// With size and the store's time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// All objects below, not only the folder's children
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The object
    pub(crate) path: OsString,
    /// Only these bytes: A..B (B not included), A.., ..B, or -N for the last N
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The object
    pub(crate) path: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct Mv {
    /// Objects and folders
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,
    /// As for `cp`
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: OsString,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Objects and, with -r, folders
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
    /// Remove folders with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Do not ask before the whole vault is emptied
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A folder or an object [default: the whole vault]
    pub(crate) path: Option<OsString>,
    /// Only headers and lengths
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Passwd {
    #[command(flatten)]
    pub(crate) new: NewSecrets,
    #[command(flatten)]
    pub(crate) kdf: KdfArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List the key slots
    List,
    /// Add a password, with --new-keyfile a password and keyfile, or a recovery phrase
    ///
    /// Adding a keyfile removes the key slots of a password alone, or they would stay the easier
    /// way in.
    Add {
        #[command(flatten)]
        new: NewSecrets,
        /// Make a recovery phrase, 24 words that open the vault by themselves, and print it
        #[arg(long)]
        new_recovery_phrase: bool,
        #[command(flatten)]
        kdf: KdfArgs,
    },
    /// Remove a key slot
    Remove {
        /// Its id, or enough of its beginning
        id: String,
        /// Do not ask before the slot in use is removed
        #[arg(long)]
        yes: bool,
    },
    /// Make a new root key
    ///
    /// From then on old copies of the header, and whoever once held the root key, cannot read what
    /// is newly written. What the vault is opened with stays (with --new-password-file changed);
    /// all other key slots end.
    Rotate {
        #[command(flatten)]
        new: NewSecrets,
        /// Make a recovery phrase as well and print it
        #[arg(long)]
        new_recovery_phrase: bool,
        #[command(flatten)]
        kdf: KdfArgs,
        /// Do not ask before other key slots end
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Let a device open the vault with its identity, in place of a password
    Enrol {
        /// The card of its identity, as a file or `-`, or a contact
        #[arg(value_name = "CARD|CONTACT")]
        device: String,
        /// Also if its identity is of X25519 alone, although the key slot can be recorded today and
        /// opened by a quantum computer later
        #[arg(long)]
        allow_classical: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List the key slots of devices
    List,
    /// Remove the key slot of a device
    ///
    /// One that was lost has held the root key: only `kluis key rotate` locks it out, with a new
    /// root key, signing key, identity and epochs.
    Remove {
        /// Its id, or enough of its beginning
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recovery {
    /// Write the recovery kit: the vault's header as text. It still needs the password
    Export {
        /// A new file, or `-` for stdout
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Put a lost header back from a recovery kit
    Restore {
        /// The kit, or `-` for stdin
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityVerb {
    /// Make an identity, in a new file under a password
    New {
        /// The new file
        file: PathBuf,
        /// X25519 alone, for peers that cannot do better: what is shared with it can be recorded
        /// today and read by a quantum computer later
        #[arg(long)]
        classical: bool,
        #[command(flatten)]
        kdf: KdfArgs,
    },
    /// Keep an identity that was made elsewhere, in a new file
    ///
    /// Its password is asked for and has to be the right one; --new-password-file and its like put
    /// the new file under another.
    Import {
        /// What `identity new` wrote, or `-` for stdin
        source: PathBuf,
        /// The new file
        file: PathBuf,
        #[command(flatten)]
        new: NewSecrets,
        #[command(flatten)]
        kdf: KdfArgs,
        /// Do not ask before an existing file is replaced
        #[arg(long)]
        yes: bool,
    },
    /// Show the fingerprint: 12 words, and on a terminal a QR code of them
    Show {
        /// An identity file or a card [default: that of --identity, else the vault's own card]
        file: Option<PathBuf>,
    },
    /// Print the card, which others need to share with this identity. It is public
    Export {
        /// An identity file or a card [default: that of --identity, else the vault's own card]
        file: Option<PathBuf>,
        /// Write it into a new file instead
        #[arg(long, value_name = "CARD")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContactVerb {
    /// Add somebody's card, or the one that a contact has now
    Add {
        /// What to call them
        name: String,
        /// The card that `kluis identity export` wrote, or `-` for stdin
        card: PathBuf,
    },
    /// List the contacts, and whether anybody has verified them
    List,
    /// Compare a contact's fingerprint with the 12 words that they read out
    Verify {
        /// The contact
        name: String,
        /// The 12 words; asked for on the terminal if they are left out
        words: Vec<String>,
        /// Trust the card as it came, without comparing
        #[arg(long, conflicts_with = "words")]
        trust: bool,
        /// Do not ask before --trust
        #[arg(long)]
        yes: bool,
    },
    /// Forget a contact. What was shared with them stays shared
    Remove {
        /// The contact
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupVerb {
    /// Make a group, without members
    New {
        /// What to call it: no contact's name
        name: String,
    },
    /// Take a contact into a group: they get what it was given, with its past
    ///
    /// Prints the invitation that the contact accepts first, before those of what the group was
    /// given.
    Add {
        /// The group
        group: String,
        /// Whom, by their name among the contacts
        contact: String,
        #[command(flatten)]
        handing: HandingOver,
    },
    /// Take somebody out of a group: what is written from then on is out of their reach
    Remove {
        /// The group
        group: String,
        /// Whom, by the name they have in it, or the id of `kluis group list`
        member: String,
        #[command(flatten)]
        taking: TakingBack,
    },
    /// List the groups and who is in them
    List,
}

/// How a grant reaches whom it is for.
#[derive(Debug, Args)]
pub(crate) struct HandingOver {
    /// Print an S3 policy for their own credentials too: of an identity, or, with
    /// PRINCIPAL, of the bucket
    #[arg(long, value_name = "PRINCIPAL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) policy: Option<String>,
    /// Write the grant into a new file too: the invitation, and what else lies in the store
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Share with an identity of X25519 alone, although it can be recorded today and read by a
    /// quantum computer later
    #[arg(long)]
    pub(crate) allow_classical: bool,
}

/// What is asked and counted where access is taken back.
#[derive(Debug, Args)]
pub(crate) struct TakingBack {
    /// Do not count what can still be read, for folders of very many objects: the header of each
    /// is read for it. `kluis reencrypt --dry-run` counts it later
    #[arg(long)]
    pub(crate) no_receipt: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// An object, or a folder, which ends in `/` where both are there; `:` is the whole vault
    pub(crate) path: OsString,
    /// Whom, by their name among the contacts, or a group; for what was shared with you, the
    /// file of their card
    #[arg(value_name = "CONTACT|GROUP|CARD")]
    pub(crate) whom: String,
    /// Writing and deleting too
    #[arg(long)]
    pub(crate) write: bool,
    /// Not before TIME: a date, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Not after TIME: a date, whose whole day counts in UTC, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// What it is for, for the list of shares
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) purpose: String,
    /// Nothing of what was written before
    #[arg(long)]
    pub(crate) from_now: bool,
    /// They may give on what they get, or less, to others whom you see in `kluis access`
    #[arg(long)]
    pub(crate) reshare: bool,
    /// The 12 words of their card, as they read them out, where its file is given
    #[arg(long, value_name = "WORDS")]
    pub(crate) words: Option<String>,
    /// The object as it is now, and nothing that is written in its place later
    #[arg(long, conflicts_with_all = ["write", "from_now"])]
    pub(crate) version: bool,
    #[command(flatten)]
    pub(crate) handing: HandingOver,
    /// Do not ask before the whole vault is shared
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Access {
    /// A folder or an object [default: anything in the vault]
    pub(crate) path: Option<OsString>,
    /// Who could from TIME on, a date or RFC 3339 [default: from the beginning, with --until]
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Who could up to TIME [default: until now, with --from]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// As CSV, for a spreadsheet
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The grants, or the places in groups, by their ids or enough of their beginnings
    #[arg(required = true, value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    #[command(flatten)]
    pub(crate) taking: TakingBack,
}

#[derive(Debug, Args)]
pub(crate) struct Lease {
    /// A folder that was shared; `:` is the whole vault [default: all leases are shown]
    pub(crate) path: Option<OsString>,
    /// How long, at least a minute: 30m, 12h, 7d; `off` ends it [default: it is shown]
    #[arg(value_name = "TIME|off")]
    pub(crate) time: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Reencrypt {
    /// A folder [default: the whole vault]
    pub(crate) path: Option<OsString>,
    /// Only count what is left, which is what those whose access was taken back can still read
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// What `kluis share` printed, or the FILE that `share --out` wrote; `-` for stdin
    #[arg(value_name = "INVITATION|FILE", required_unless_present = "forget")]
    pub(crate) offer: Option<OsString>,
    /// Forget what was accepted from the vault under NAME instead, on this device alone
    #[arg(long, value_name = "NAME", conflicts_with_all = ["offer", "name"])]
    pub(crate) forget: Option<String>,
    /// The name that the folder or object gets here [default: its own]; or that of who has what
    /// you file
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LinkVerb {
    /// Make a link to a folder or an object and print its URL, a secret: whoever has it can read
    ///
    /// On S3, Google and Azure the store delivers the object, or what is in the folder now, to whoever has the
    /// URL and without an account, until the time is over; it is the store that enforces that. On
    /// others, and with --no-presign, the URL names the store, and to read takes credentials.
    /// Cryptography ends a link with `kluis link revoke`, for what is written from then on.
    Create {
        /// An object, or a folder, which ends in `/` where both are there; `:` is the whole vault
        path: OsString,
        /// Take a password beside the URL, asked for on the terminal
        #[arg(long, conflicts_with = "link_password_file")]
        password: bool,
        /// Take the password in FILE beside the URL
        #[arg(long, value_name = "FILE")]
        link_password_file: Option<PathBuf>,
        /// When it ends, from now: 30m, 12h, 7d [default: 7d where the store delivers, which is the
        /// most that it does; never where it does not]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// What it is for, for the list of links
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        purpose: String,
        /// Name the store in the URL: whoever has it needs credentials that read there, and reads
        /// what is written later too
        #[arg(long)]
        no_presign: bool,
        /// Do not ask before the whole vault is linked to
        #[arg(long)]
        yes: bool,
    },
    /// List the links in force. Their URLs are not shown again
    List,
    /// Withdraw a link: what is written from then on is out of its reach
    ///
    /// What was written before stays readable to whoever has opened it and gets at the bytes, until
    /// it is written again: the receipt counts it. Prints a pin, as `kluis revoke` does.
    Revoke {
        /// Its id, or enough of its beginning
        id: String,
        #[command(flatten)]
        taking: TakingBack,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What `kluis link create` printed, in quotes; or `-`, to read it from stdin
    pub(crate) url: OsString,
    /// Where to. A folder for a folder: what is in the link's becomes DESTINATION/…; for an
    /// object as for `cp`, or `-` for stdout [default: the link's own name, here]
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: Option<OsString>,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The folder that becomes the bucket [default: the whole vault]
    pub(crate) path: Option<OsString>,
    /// Where to listen; port 0 takes one that is free. What is not of this machine alone wants
    /// --tls-cert
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9000")]
    pub(crate) listen: String,
    /// What the bucket is called
    #[arg(long, value_name = "NAME", default_value = "vault")]
    pub(crate) bucket: String,
    /// The access key [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) access_key: Option<String>,
    /// Read the secret of the access key from FILE; otherwise KLUIS_SERVE_SECRET, otherwise a new
    /// one is made
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Speak TLS, with the certificates in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// And the private key in this one
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Refuse everything that changes something
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Memory for parts of uploads that come before their turn, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4095))]
    pub(crate) buffer: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command, as in `kluis man key add`; kluis itself without one
    pub(crate) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_option_takes_a_secret() {
        fn walk(command: &clap::Command) {
            for arg in command
                .get_arguments()
                .filter(|a| a.get_action().takes_values())
            {
                let name = arg.get_id().as_str();
                let secret = ["password", "phrase", "secret"]
                    .iter()
                    .any(|s| name.contains(s));
                let points = ["_file", "_command", "_fd"]
                    .iter()
                    .any(|end| name.ends_with(end));
                assert!(!secret || points, "--{name}");
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
