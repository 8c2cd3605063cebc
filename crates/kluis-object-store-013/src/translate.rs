//! From the types of one version to those of the other, field by field.
//!
//! Structs are taken apart without `..`, so that a field which a later release adds does not
//! compile until somebody has decided about it.

/// What goes both ways.
macro_rules! both_ways {
    ($from:ident, $from_name:literal, $to:ident) => {
        /// The same path.
        ///
        /// # Errors
        /// If it has an empty segment, which the versions do not spell alike.
        pub(crate) fn path(path: &$from::path::Path) -> object_store_013::Result<$to::path::Path> {
            let same = $to::path::Path::parse(path);
            match same {
                Ok(same) if same.as_ref() == path.as_ref() => Ok(same),
                _ => Err(object_store_013::path::Error::EmptySegment {
                    path: path.to_string(),
                }
                .into()),
            }
        }

        /// The same error, with its path and its source.
        pub(crate) fn error(error: $from::Error) -> $to::Error {
            use $from::Error as From;
            use $to::Error as To;
            match error {
                From::Generic { store, source } => To::Generic { store, source },
                From::NotFound { path, source } => To::NotFound { path, source },
                From::InvalidPath { source } => path_error(source),
                From::JoinError { source } => To::JoinError { source },
                From::NotSupported { source } => To::NotSupported { source },
                From::AlreadyExists { path, source } => To::AlreadyExists { path, source },
                From::Precondition { path, source } => To::Precondition { path, source },
                From::NotModified { path, source } => To::NotModified { path, source },
                From::NotImplemented {
                    operation,
                    implementer,
                } => To::NotImplemented {
                    operation,
                    implementer,
                },
                From::PermissionDenied { path, source } => To::PermissionDenied { path, source },
                From::Unauthenticated { path, source } => To::Unauthenticated { path, source },
                From::UnknownConfigurationKey { store, key } => {
                    To::UnknownConfigurationKey { store, key }
                }
                other => To::Generic {
                    store: $from_name,
                    source: other.into(),
                },
            }
        }

        fn path_error(error: $from::path::Error) -> $to::Error {
            use $from::path::Error as From;
            use $to::path::Error as To;
            let source = match error {
                From::EmptySegment { path } => To::EmptySegment { path },
                From::Canonicalize { path, source } => To::Canonicalize { path, source },
                From::InvalidPath { path } => To::InvalidPath { path },
                From::NonUnicode { path, source } => To::NonUnicode { path, source },
                From::PrefixMismatch { path, prefix } => To::PrefixMismatch { path, prefix },
                From::BadSegment { path, source } => match $to::path::Path::parse(&path) {
                    // Its source cannot be made, but it comes about.
                    Err(same @ To::BadSegment { .. }) => same,
                    _ => {
                        let source = From::BadSegment { path, source }.into();
                        return $to::Error::Generic {
                            store: $from_name,
                            source,
                        };
                    }
                },
                other => {
                    return $to::Error::Generic {
                        store: $from_name,
                        source: other.into(),
                    };
                }
            };
            $to::Error::InvalidPath { source }
        }

        /// The same kind of attribute, if the other version has it.
        fn attribute(attribute: &$from::Attribute) -> Option<$to::Attribute> {
            use $from::Attribute as From;
            use $to::Attribute as To;
            Some(match attribute {
                From::ContentDisposition => To::ContentDisposition,
                From::ContentEncoding => To::ContentEncoding,
                From::ContentLanguage => To::ContentLanguage,
                From::ContentType => To::ContentType,
                From::CacheControl => To::CacheControl,
                From::StorageClass => To::StorageClass,
                From::Metadata(key) => To::Metadata(key.clone()),
                _ => return None,
            })
        }
    };
}

/// What is asked.
pub(crate) mod to_14 {
    use object_store::{
        Attributes, CopyMode, CopyOptions, GetOptions, GetRange, PutMode, PutMultipartOptions,
        PutOptions, PutPayload, RenameOptions, RenameTargetMode, TagSet, UpdateVersion,
    };
    use object_store_013::{Error, Result};

    both_ways!(object_store_013, "object_store 0.13", object_store);

    /// The same pieces, not copied.
    pub(crate) fn payload(payload: object_store_013::PutPayload) -> PutPayload {
        payload.into_iter().collect()
    }

    pub(crate) fn put_options(options: object_store_013::PutOptions) -> Result<PutOptions> {
        let object_store_013::PutOptions {
            mode,
            tags,
            attributes,
            extensions,
        } = options;
        let mode = match mode {
            object_store_013::PutMode::Overwrite => PutMode::Overwrite,
            object_store_013::PutMode::Create => PutMode::Create,
            object_store_013::PutMode::Update(object_store_013::UpdateVersion {
                e_tag,
                version,
            }) => PutMode::Update(UpdateVersion { e_tag, version }),
        };
        let (tags, attributes) = (tag_set(&tags), self::attributes(&attributes)?);
        Ok(PutOptions {
            mode,
            tags,
            attributes,
            extensions,
        })
    }

    pub(crate) fn put_multipart_options(
        options: object_store_013::PutMultipartOptions,
    ) -> Result<PutMultipartOptions> {
        let object_store_013::PutMultipartOptions {
            tags,
            attributes,
            extensions,
        } = options;
        let (tags, attributes) = (tag_set(&tags), self::attributes(&attributes)?);
        Ok(PutMultipartOptions {
            tags,
            attributes,
            extensions,
        })
    }

    pub(crate) fn get_options(options: object_store_013::GetOptions) -> GetOptions {
        let object_store_013::GetOptions {
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
            range,
            version,
            head,
            extensions,
        } = options;
        let range = range.map(|range| match range {
            object_store_013::GetRange::Bounded(range) => GetRange::Bounded(range),
            object_store_013::GetRange::Offset(start) => GetRange::Offset(start),
            object_store_013::GetRange::Suffix(length) => GetRange::Suffix(length),
        });
        GetOptions {
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
            range,
            version,
            head,
            extensions,
        }
    }

    pub(crate) fn copy_options(options: object_store_013::CopyOptions) -> CopyOptions {
        let object_store_013::CopyOptions { mode, extensions } = options;
        let mode = match mode {
            object_store_013::CopyMode::Overwrite => CopyMode::Overwrite,
            object_store_013::CopyMode::Create => CopyMode::Create,
        };
        CopyOptions { mode, extensions }
    }

    pub(crate) fn rename_options(options: object_store_013::RenameOptions) -> RenameOptions {
        let object_store_013::RenameOptions {
            target_mode,
            extensions,
        } = options;
        let target_mode = match target_mode {
            object_store_013::RenameTargetMode::Overwrite => RenameTargetMode::Overwrite,
            object_store_013::RenameTargetMode::Create => RenameTargetMode::Create,
        };
        RenameOptions {
            target_mode,
            extensions,
        }
    }

    /// A set gives its tags out in their encoded form only.
    fn tag_set(tags: &object_store_013::TagSet) -> TagSet {
        let mut set = TagSet::default();
        for (key, value) in url::form_urlencoded::parse(tags.encoded().as_bytes()) {
            set.push(&key, &value);
        }
        set
    }

    fn attributes(attributes: &object_store_013::Attributes) -> Result<Attributes> {
        let mut all = Attributes::with_capacity(attributes.len());
        for (key, value) in attributes {
            let Some(same) = attribute(key) else {
                let source = format!("object_store 0.14 has no attribute {key:?}").into();
                return Err(Error::NotSupported { source });
            };
            all.insert(same, value.to_string().into());
        }
        Ok(all)
    }
}

/// What is answered.
pub(crate) mod to_13 {
    use futures_util::StreamExt;
    use object_store_013::{
        Attributes, GetResult, GetResultPayload, ListResult, ObjectMeta, PutResult, Result,
    };

    both_ways!(object_store, "object_store 0.14", object_store_013);

    pub(crate) fn put_result(result: object_store::PutResult) -> PutResult {
        let object_store::PutResult {
            e_tag,
            version,
            extensions: _,
        } = result;
        PutResult { e_tag, version }
    }

    pub(crate) fn get_result(result: object_store::GetResult) -> Result<GetResult> {
        let object_store::GetResult {
            payload,
            meta,
            range,
            attributes,
            extensions: _,
        } = result;
        let payload = match payload {
            #[cfg(not(target_arch = "wasm32"))]
            object_store::GetResultPayload::File(file, path) => GetResultPayload::File(file, path),
            object_store::GetResultPayload::Stream(stream) => {
                GetResultPayload::Stream(stream.map(|item| item.map_err(error)).boxed())
            }
        };
        let (meta, attributes) = (object_meta(meta)?, self::attributes(&attributes));
        Ok(GetResult {
            payload,
            meta,
            range,
            attributes,
        })
    }

    pub(crate) fn object_meta(meta: object_store::ObjectMeta) -> Result<ObjectMeta> {
        let object_store::ObjectMeta {
            location,
            last_modified,
            size,
            e_tag,
            version,
        } = meta;
        let location = path(&location)?;
        Ok(ObjectMeta {
            location,
            last_modified,
            size,
            e_tag,
            version,
        })
    }

    pub(crate) fn list_result(result: object_store::ListResult) -> Result<ListResult> {
        let object_store::ListResult {
            common_prefixes,
            objects,
            extensions: _,
        } = result;
        let common_prefixes = common_prefixes.iter().map(path).collect::<Result<_>>()?;
        let objects = objects
            .into_iter()
            .map(object_meta)
            .collect::<Result<_>>()?;
        Ok(ListResult {
            common_prefixes,
            objects,
        })
    }

    fn attributes(attributes: &object_store::Attributes) -> Attributes {
        let known = attributes.iter();
        let known = known.filter_map(|(key, value)| Some((attribute(key)?, value.to_string())));
        known.collect()
    }
}
