//! What went wrong, in the words of S3.

use kluis::object_store;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

/// What the store of a vault says. Where it is not Kluis that speaks its own text stays here: it
/// may hold names and places as the provider has them.
pub(super) fn of_store(error: object_store::Error) -> S3Error {
    use object_store::Error;
    let known = kluis::Error::of(&error);
    match &error {
        Error::NotFound { .. } => s3_error!(NoSuchKey, "nothing at this key"),
        Error::AlreadyExists { .. } => {
            s3_error!(PreconditionFailed, "something is there already")
        }
        Error::Precondition { .. } => {
            s3_error!(PreconditionFailed, "it is not the object of the condition")
        }
        Error::NotModified { .. } => S3Error::new(S3ErrorCode::NotModified),
        Error::NotImplemented {
            operation,
            implementer,
        } if implementer == "Kluis" => {
            s3_error!(
                NotImplemented,
                "the store of the vault cannot do it: {operation}"
            )
        }
        _ if known.is_some() => known.map_or_else(unavailable, of_kluis),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => s3_error!(
            AccessDenied,
            "the store of the vault does not allow it; check its credentials where kluis serve runs"
        ),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            s3_error!(NotImplemented, "the store of the vault cannot do it")
        }
        Error::InvalidPath { .. } => {
            s3_error!(InvalidArgument, "a vault has no such names as this key")
        }
        _ => unavailable(),
    }
}

/// Of a write; `kept` where headers are to be kept with it. What of them does not fit into the
/// sealed head of an object goes into the store's own metadata, which a folder has not.
pub(super) fn of_write(error: object_store::Error, kept: bool) -> S3Error {
    let cannot = matches!(
        error,
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }
    );
    let about_headers = cannot && kept && error.to_string().contains("attributes");
    if about_headers {
        return s3_error!(
            MetadataTooLarge,
            "the store of this vault holds only as much of headers and metadata as fits into an object's head, about 100 bytes; send less of it"
        );
    }
    of_store(error)
}

fn unavailable() -> S3Error {
    s3_error!(
        ServiceUnavailable,
        "the store of the vault failed or could not be reached; try again"
    )
}

fn of_kluis(error: &kluis::Error) -> S3Error {
    use kluis::Error;
    let code = match error {
        Error::NotFound { .. } => S3ErrorCode::NoSuchKey,
        Error::AlreadyExists { .. } => S3ErrorCode::PreconditionFailed,
        Error::Conflict { .. } => S3ErrorCode::OperationAborted,
        Error::AccessDenied { .. } | Error::UntrustedIdentity { .. } => S3ErrorCode::AccessDenied,
        Error::InvalidInput { .. } => S3ErrorCode::InvalidArgument,
        Error::Unsupported { .. } => S3ErrorCode::NotImplemented,
        Error::Cancelled => S3ErrorCode::ServiceUnavailable,
        Error::Store { .. } => return unavailable(),
        _ => S3ErrorCode::InternalError,
    };
    let message = format!("{error}; {}", error.hint());
    let mut error = S3Error::new(code);
    error.set_message(message);
    error
}

/// Refuses what would be a lie to accept.
pub(super) fn refuse(asked: bool, what: &'static str) -> S3Result<()> {
    if asked {
        return Err(s3_error!(
            NotImplemented,
            "{what}: not supported by kluis serve"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: kluis::Error) -> S3Error {
        of_store(object_store::Error::Generic {
            store: "kluis",
            source: Box::new(error),
        })
    }

    #[test]
    fn what_kluis_says_keeps_its_meaning_and_no_other_text_gets_out() {
        let what = || "a/b".to_owned();
        for (error, code) in [
            (kluis::Error::Tampered { what: what() }, "InternalError"),
            (kluis::Error::Stale { what: what() }, "InternalError"),
            (kluis::Error::NotFound { path: what() }, "NoSuchKey"),
            (kluis::Error::AccessDenied { what: what() }, "AccessDenied"),
            (
                kluis::Error::InvalidInput { what: what() },
                "InvalidArgument",
            ),
            (kluis::Error::Unsupported { what: what() }, "NotImplemented"),
            (
                kluis::Error::AlreadyExists { path: what() },
                "PreconditionFailed",
            ),
        ] {
            let shown = of(error);
            assert_eq!(shown.code().as_str(), code);
            assert!(shown.message().unwrap().contains("a/b"));
        }
        let stored = || object_store::Error::Generic {
            store: "S3",
            source: "https://bucket/o/f2mup7ivh7ec".into(),
        };
        let not_found = object_store::Error::NotFound {
            path: "o/f2mup7ivh7ec".to_owned(),
            source: "f2mup7ivh7ec".into(),
        };
        for error in [
            of_store(stored()),
            of_store(not_found),
            of(kluis::Error::Store { source: stored() }),
        ] {
            assert!(!error.message().unwrap().contains("f2mup"), "{error}");
        }
    }
}
