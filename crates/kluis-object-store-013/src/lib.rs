//! Serves a store of `object_store` 0.14 to programs that are still on 0.13: DataFusion 55,
//! deltalake 1.1, Polars.
//!
//! The two traits have the same methods and the same meaning, but are different types to the
//! compiler. [`adapt`] passes every call through and translates what goes in and what comes out,
//! field by field. It asks nothing of its own, keeps nothing, and copies no content: one call is
//! one call.
//!
//! It takes any store. That of a vault, which is what it was written for, stays encrypted below it:
//!
//! ```
//! use kluis::object_store::memory::InMemory;
//! use kluis::{Password, Vault};
//! use object_store_013::{ObjectStore, ObjectStoreExt};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(InMemory::new());
//! let vault = Vault::create(store, Password::new("correct horse battery staple")).await?;
//! let store: Arc<dyn ObjectStore> = kluis_object_store_013::adapt(vault.object_store());
//! store.put(&"photos/cat.jpg".into(), "meow".into()).await?;
//! assert_eq!(store.get(&"photos/cat.jpg".into()).await?.bytes().await?, "meow");
//! # Ok(())
//! # }
//! ```
//!
//! # What 0.13 has no place for
//!
//! The extensions of *answers* (0.14 has them in the results of put, get and list) are left out.
//! Those of requests are passed on. An attribute that one of the two versions does not know is
//! [`NotSupported`](object_store_013::Error::NotSupported) in a request and left out of an answer.
//! The side traits (`Signer`, `MultipartStore`, `PaginatedListStore`) are not reachable through a
//! `dyn ObjectStore` of either version.

#![forbid(unsafe_code)]
#![doc(test(attr(deny(warnings))))]

mod translate;

use crate::translate::{to_13, to_14};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use object_store_013::path::Path;
use object_store_013::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The same store for programs on `object_store` 0.13.
///
/// What it answers is what `store` answers, errors included: their paths, their sources and their
/// kinds, so that `NotFound`, `AlreadyExists`, `Precondition` and `NotModified` mean what they
/// meant.
///
/// # Security
/// It adds no protection and takes none away.
pub fn adapt(store: Arc<dyn object_store::ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(Adapter(store))
}

struct Adapter(Arc<dyn object_store::ObjectStore>);

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Adapter").field(&self.0).finish()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Adapter {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (location, options) = (to_14::path(location)?, to_14::put_options(options)?);
        let put = self.0.put_opts(&location, to_14::payload(payload), options);
        put.await.map(to_13::put_result).map_err(to_13::error)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let location = to_14::path(location)?;
        let options = to_14::put_multipart_options(options)?;
        let upload = self.0.put_multipart_opts(&location, options).await;
        Ok(Box::new(Upload(upload.map_err(to_13::error)?)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (location, options) = (to_14::path(location)?, to_14::get_options(options));
        let got = self.0.get_opts(&location, options).await;
        to_13::get_result(got.map_err(to_13::error)?)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let location = to_14::path(location)?;
        let got = self.0.get_ranges(&location, ranges).await;
        got.map_err(to_13::error)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let locations = locations.map(|location| {
            let location = location.and_then(|location| to_14::path(&location));
            location.map_err(to_14::error)
        });
        let deleted = self.0.delete_stream(locations.boxed());
        deleted
            .map(|path| to_13::path(&path.map_err(to_13::error)?))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix.map(to_14::path).transpose() {
            Ok(prefix) => metas(self.0.list(prefix.as_ref())),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.map(to_14::path).transpose();
        match prefix.and_then(|prefix| Ok((prefix, to_14::path(offset)?))) {
            Ok((prefix, offset)) => metas(self.0.list_with_offset(prefix.as_ref(), &offset)),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.map(to_14::path).transpose()?;
        let listed = self.0.list_with_delimiter(prefix.as_ref()).await;
        to_13::list_result(listed.map_err(to_13::error)?)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (to_14::path(from)?, to_14::path(to)?);
        let copied = self.0.copy_opts(&from, &to, to_14::copy_options(options));
        copied.await.map_err(to_13::error)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (from, to) = (to_14::path(from)?, to_14::path(to)?);
        let renamed = self
            .0
            .rename_opts(&from, &to, to_14::rename_options(options));
        renamed.await.map_err(to_13::error)
    }
}

fn metas(
    listed: BoxStream<'static, object_store::Result<object_store::ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    listed
        .map(|meta| to_13::object_meta(meta.map_err(to_13::error)?))
        .boxed()
}

#[derive(Debug)]
struct Upload(Box<dyn object_store::MultipartUpload>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for Upload {
    /// The call below is made here and not in the future: the order of the calls is that of the
    /// bytes.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.0
            .put_part(to_14::payload(data))
            .map_err(to_13::error)
            .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.0
            .complete()
            .await
            .map(to_13::put_result)
            .map_err(to_13::error)
    }

    async fn abort(&mut self) -> Result<()> {
        self.0.abort().await.map_err(to_13::error)
    }
}
