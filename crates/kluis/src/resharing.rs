//! Giving on what was given, and filing what others gave on (docs/FORMAT.md,
//! section 12).

use crate::access::{Access, path};
use crate::clock::now;
use crate::control::LEDGER;
use crate::sharing::{GRANT, Grant, Invitation, Kind, Prefixes};
use crate::vault::Vault;
use crate::{Address, Error, Result};
use bytes::Bytes;
use kluis_crypto::{
    Contact, Decision, Fingerprint, GiveOn, GrantFile, GrantId, IdentitySuite, OwnersCopy,
    Recipient, Terms, Trust,
};
use std::sync::Arc;

/// A grant that was just given on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GivenOn {
    /// Names the grant, for the owner too once he has filed it.
    pub id: GrantId,
    /// What its grantee needs beside the letter.
    pub invitation: Invitation,
    /// The grant's first letter, which lies in no store.
    pub letter: Bytes,
    /// What the owner gets of it, sealed to his card.
    pub copy: Bytes,
    /// What the grantee's own credentials for the store have to reach.
    pub prefixes: Prefixes,
}

impl GivenOn {
    /// The grant as a file, for its grantee, who opens it with
    /// [`VaultOptions::open_file`](crate::VaultOptions::open_file), and for the owner of
    /// the vault, who files it with [`Vault::file`]. It holds no key that others than
    /// these two could use.
    ///
    /// # Errors
    /// `InvalidInput` for an address of more than 4,096 bytes.
    pub fn file(&self, address: &Address) -> Result<GrantFile> {
        let file = self.invitation.file(address, &self.letter)?;
        file.with_copy(&self.copy)
            .map_err(|error| Error::core(error, GRANT))
    }
}

/// Access that somebody gave on, as the owner of the vault finds it before he files it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToFile {
    /// Names the grant.
    pub id: GrantId,
    /// The grant that it was given on from.
    pub above: Grant,
    /// Whom it is for: the name of a verified contact of the owner's, or else the one that
    /// the grantor gave him, and that the grantor did.
    pub to: String,
    /// Whose card it is sealed to.
    pub fingerprint: Fingerprint,
    /// How it was sealed.
    pub suite: IdentitySuite,
    /// Where it is; none for the whole vault.
    pub path: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// What was given on.
    pub terms: Terms,
    /// What the grantee's own credentials for the store have to reach.
    pub prefixes: Prefixes,
}

impl Vault {
    /// Gives somebody access to a folder that was shared with the one who has the vault
    /// open, or to a folder in it that its owner shared by itself, where the grant allows
    /// it ([`Terms::reshare`]): what was given or less. Makes no request beyond those that
    /// see what is in force, and writes nothing.
    ///
    /// # Errors
    /// `AccessDenied` where the grant does not allow it, or less than is asked for, where it
    /// is a group's, or was given on three times already; `InvalidInput` for a folder that
    /// has no keys of its own, and as [`share`](Self::share); `NotFound` outside of what
    /// was shared.
    ///
    /// # Security
    /// The recipient reads what the giver reads at once, from the [file](GivenOn::file)
    /// alone. It lasts beyond the epochs of today, lets write, and can be taken back by
    /// itself, once the owner has [filed](Self::file) it. Taking the giver's grant back
    /// ends it, filed or not. Until it is filed the recipient has the giver's word alone for
    /// the keys and, in a signed vault, for whose signatures count; for one version he
    /// always has.
    pub async fn give_on(
        &self,
        folder: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<GivenOn> {
        self.pass_on(Kind::Folder, folder, recipient, terms).await
    }

    /// As [`give_on`](Self::give_on), one object.
    ///
    /// # Errors
    /// As [`give_on`](Self::give_on).
    pub async fn give_object_on(
        &self,
        object: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<GivenOn> {
        self.pass_on(Kind::Object, object, recipient, terms).await
    }

    /// As [`give_on`](Self::give_on), one object as it is now, for reading.
    ///
    /// # Errors
    /// As [`give_on`](Self::give_on), and those of [`head`](Self::head).
    pub async fn give_version_on(
        &self,
        object: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<GivenOn> {
        self.pass_on(Kind::Version, object, recipient, terms).await
    }

    async fn pass_on(
        &self,
        kind: Kind,
        text: &str,
        recipient: &Recipient,
        terms: Terms,
    ) -> Result<GivenOn> {
        // Before any request.
        recipient
            .check_suite()
            .map_err(|error| Error::core(error, "the recipient"))?;
        let path = path(text)?;
        let header = match kind {
            Kind::Version => Some(self.header_of(text).await?),
            _ => None,
        };
        let control = self.refresh().await?;
        let Access::Member(member) = &control.access else {
            return Err(Error::invalid(
                "only what was shared with you is given on; share what is your own",
            ));
        };
        let (share, below) = member.find(&path)?;
        let not_found = || Error::NotFound {
            path: text.to_owned(),
        };
        let give = match (kind, below, header) {
            (kind, None, _) if kind == Kind::of(share.scope()) => GiveOn::All,
            (Kind::Folder, Some(below), _) => GiveOn::Folder(below),
            (Kind::Object, Some(below), _) => GiveOn::Object(below),
            (Kind::Version, Some(below), Some(header)) => GiveOn::Version(below, header),
            (Kind::Version, None, Some(header)) => {
                let own = share.tree().object().ok_or_else(not_found)?;
                GiveOn::Version(own.clone(), header)
            }
            _ => return Err(not_found()),
        };
        let may_write = terms.write;
        let given = share
            .give_on(&member.identity, give, recipient, terms, now())
            .map_err(|error| Error::core(error, text))?;
        let objects = given.stored().to_owned();
        Ok(GivenOn {
            id: given.id(),
            invitation: Invitation::made(
                self.id(),
                given.name(),
                member.identity.card().fingerprint(),
            ),
            letter: Bytes::copy_from_slice(given.letter()),
            copy: Bytes::copy_from_slice(given.copy()),
            prefixes: Prefixes::of(objects, kind == Kind::Folder, may_write),
        })
    }

    /// What a file says that somebody gave on, held against everything that the ledger
    /// says now.
    ///
    /// # Errors
    /// `NotFound` where the grant above is not in force, or the file holds nothing for an
    /// owner; `AccessDenied` for what that grant does not allow, to others than the
    /// owner, and where keys or time are over; `InvalidInput` where it is filed already;
    /// `Tampered` for what is not this vault's or owner's.
    pub async fn to_file(&self, file: &GrantFile) -> Result<ToFile> {
        Ok(self.examine(file).await?.0)
    }

    async fn examine(&self, file: &GrantFile) -> Result<(ToFile, OwnersCopy)> {
        let control = self.refresh().await?;
        let owner = control.owner()?;
        let secrets = &owner.secrets;
        let copy = OwnersCopy::open(secrets.identity(), &secrets.vault(), file);
        let copy = copy.map_err(of_file)?;
        let (above, scope) = owner.ledger.examine(&copy, now()).map_err(of_file)?;
        let above = Grant::of(above);
        let fingerprint = copy.card().fingerprint();
        // A card that nobody compared may have come under any name.
        let is_known = |contact: &&Contact| {
            contact.card().fingerprint() == fingerprint && contact.trust() == Trust::Verified
        };
        let to = match owner.ledger.contacts().find(is_known) {
            Some(contact) => contact.name().to_owned(),
            None => said_by(copy.to(), &above.to),
        };
        let (kind, terms) = (Kind::of(&scope), copy.terms().clone());
        let objects = copy.stored().to_owned();
        let found = ToFile {
            id: copy.id(),
            above,
            to,
            fingerprint,
            suite: copy.card().suite(),
            path: scope.path().map(|path| path.as_str().to_owned()),
            kind,
            prefixes: Prefixes::of(objects, kind == Kind::Folder, terms.write),
            terms,
        };
        Ok((found, copy))
    }

    /// Files what somebody gave on, under this name or the one that
    /// [`to_file`](Self::to_file) says: from then on it is a grant like any other, with
    /// keys of later epochs and, where it allows that, the right to write.
    ///
    /// # Errors
    /// As [`to_file`](Self::to_file); `InvalidInput` for what is no name; `Conflict`;
    /// those of the store.
    pub async fn file(&self, file: &GrantFile, name: Option<&str>) -> Result<Grant> {
        let (found, copy) = self.examine(file).await?;
        let to = name.unwrap_or(&found.to).to_owned();
        Contact::new(&to, copy.card().clone()).map_err(of_file)?;
        let decision = Decision::File {
            copy: Arc::new(copy),
            to,
        };
        let (control, _) = self.decide(decision).await?;
        let grant = control.owner()?.ledger.grant(&found.id);
        grant.map(Grant::of).ok_or_else(|| Error::tampered(LEDGER))
    }

    /// The grants that fall when these are taken back, because they were given on from
    /// them; in the order in which they were filed.
    ///
    /// # Errors
    /// `AccessDenied` to others than the owner.
    pub fn below(&self, grants: &[GrantId]) -> Result<Vec<Grant>> {
        let control = self.control()?;
        let ledger = &control.owner()?.ledger;
        let below = grants.iter().flat_map(|id| ledger.grants_below(id));
        let mut below: Vec<Grant> = below
            .filter(|grant| !grants.contains(&grant.id()))
            .map(Grant::of)
            .collect();
        below.sort_by_key(|grant| (grant.filed, grant.id));
        below.dedup();
        Ok(below)
    }
}

fn of_file(error: kluis_crypto::Error) -> Error {
    match error {
        kluis_crypto::Error::NotFound(path) => Error::NotFound {
            path: path.to_owned(),
        },
        other => Error::core(other, "what was given on"),
    }
}

/// A name that somebody else chose, and who did, in at most 255 bytes.
fn said_by(name: &str, giver: &str) -> String {
    let cut = |text: &str| {
        let mut end = text.len().min(100);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut shown = text.get(..end).unwrap_or_default().to_owned();
        if end < text.len() {
            // What is left out may be who says it.
            shown.push('…');
        }
        shown
    };
    format!("{} (says {})", cut(name), cut(giver))
}

#[cfg(test)]
mod tests {
    use super::said_by;

    #[test]
    fn who_said_a_name_stands_behind_it_however_long_both_are() {
        assert_eq!(said_by("carol", "bob"), "carol (says bob)");
        let long = "\u{20ac}".repeat(85);
        let said = said_by(&long, &long);
        assert!(said.len() <= 255, "{}", said.len());
        assert!(said.ends_with("\u{20ac}\u{2026})"), "{said}");
    }
}
