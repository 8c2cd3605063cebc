//! The content of a request: as long as was said, with the checksums that were said.

use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use futures_util::StreamExt;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};
use std::time::Duration;

/// What is kept is kept in pieces of this size, whatever pieces arrive in.
const PIECE: usize = 1 << 20;
/// A client that sends nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client says of the content it sends.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) length: Option<i64>,
    pub(super) md5: Option<String>,
    pub(super) checksum: Checksum,
}

/// The content of a request while it is read.
pub(super) struct Content {
    stream: Option<StreamingBlob>,
    length: u64,
    left: u64,
    /// What was received and not yet given out.
    waiting: Bytes,
    hasher: ChecksumHasher,
    md5: Option<Md5>,
    /// Of a part of an upload, to know it again.
    digest: Option<Sha256>,
    claimed: Checksum,
    claimed_md5: Option<String>,
    trailing: Option<TrailingHeaders>,
}

/// What was read whole, and is what was sent.
pub(super) struct Verified {
    pub(super) checksum: Checksum,
    pub(super) digest: Option<[u8; 32]>,
}

impl Content {
    pub(super) fn new<T>(
        request: &S3Request<T>,
        stream: Option<StreamingBlob>,
        claims: Claims,
    ) -> S3Result<Self> {
        // Of a body in chunks this is its own length, that of the header is with the chunks.
        let decoded = request.headers.get("x-amz-decoded-content-length");
        let decoded = decoded.and_then(|v| v.to_str().ok()?.parse::<i64>().ok());
        let length = decoded
            .or(claims.length)
            .and_then(|length| u64::try_from(length).ok())
            .ok_or_else(|| s3_error!(MissingContentLength, "say how long the content is"))?;
        let mut hasher = ChecksumHasher::default();
        for (name, claimed) in named(&claims.checksum) {
            if claimed.is_some() {
                compute(&mut hasher, name);
            }
        }
        // What stands behind the content is named before it.
        for names in request.headers.get_all("x-amz-trailer") {
            let names = names.to_str().unwrap_or_default().to_ascii_lowercase();
            for name in names.split(',') {
                if let Some(name) = name.trim().strip_prefix("x-amz-checksum-") {
                    compute(&mut hasher, name);
                }
            }
        }
        Ok(Self {
            stream,
            length,
            left: length,
            waiting: Bytes::new(),
            hasher,
            md5: claims.md5.is_some().then(Md5::new),
            digest: None,
            claimed: claims.checksum,
            claimed_md5: claims.md5,
            trailing: request.trailing_headers.clone(),
        })
    }

    /// With a SHA-256 of it at the end.
    pub(super) fn with_digest(mut self) -> Self {
        self.digest = Some(Sha256::new());
        self
    }

    /// As it was said; [`finish`](Self::finish) insists on it.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// At most `most` bytes more, in pieces; none at the end.
    pub(super) async fn next(&mut self, most: usize) -> S3Result<Vec<Bytes>> {
        let mut pieces = Vec::new();
        let mut piece = BytesMut::new();
        let mut room = most;
        while room > 0 {
            if self.waiting.is_empty() {
                match self.receive().await? {
                    Some(bytes) => self.waiting = bytes,
                    None => break,
                }
                continue;
            }
            if piece.capacity() == 0 {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let whole = left.saturating_add(self.waiting.len());
                piece.reserve(PIECE.min(room).min(whole));
            }
            let fits = (piece.capacity() - piece.len()).min(room);
            let taken = self.waiting.split_to(fits.min(self.waiting.len()));
            piece.extend_from_slice(&taken);
            room -= taken.len();
            if piece.len() == piece.capacity() {
                pieces.push(std::mem::take(&mut piece).freeze());
            }
        }
        if !piece.is_empty() {
            pieces.push(piece.freeze());
        }
        Ok(pieces)
    }

    async fn receive(&mut self) -> S3Result<Option<Bytes>> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let next = tokio::time::timeout(PATIENCE, stream.next());
        let next = next
            .await
            .map_err(|_| s3_error!(RequestTimeout, "nothing more of the content came"))?;
        let Some(bytes) = next else {
            self.stream = None;
            return Ok(None);
        };
        let bytes = bytes.map_err(|error| refused(&error.to_string()))?;
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| s3_error!(IncompleteBody, "more content came than was said"))?;
        self.hasher.update(&bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(&bytes);
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// Reads to the end and compares. Nothing may be committed before.
    pub(super) async fn finish(mut self) -> S3Result<Verified> {
        if !self.waiting.is_empty() {
            return Err(s3_error!(IncompleteBody, "more content came than was said"));
        }
        while let Some(bytes) = self.receive().await? {
            if !bytes.is_empty() {
                return Err(s3_error!(IncompleteBody, "more content came than was said"));
            }
        }
        if self.left > 0 {
            return Err(s3_error!(IncompleteBody, "less content came than was said"));
        }
        if let (Some(md5), Some(claimed)) = (self.md5, &self.claimed_md5)
            && BASE64.encode(md5.finalize().as_ref()) != *claimed
        {
            return Err(s3_error!(BadDigest, "the content has another MD5"));
        }
        let trailing = self.trailing.and_then(|trailing| trailing.take());
        let computed = self.hasher.finalize();
        let claims = named(&self.claimed);
        for ((name, computed), (_, claimed)) in named(&computed).into_iter().zip(claims) {
            let header = format!("x-amz-checksum-{name}");
            let trailer = trailing.as_ref().and_then(|t| t.get(header.as_str()));
            let claimed = match (claimed, trailer) {
                (Some(claimed), _) => claimed.as_bytes(),
                (None, Some(trailer)) => trailer.as_bytes(),
                // It was announced, and did not come.
                (None, None) if computed.is_some() => b"",
                (None, None) => continue,
            };
            if computed.map(str::as_bytes) != Some(claimed) {
                return Err(s3_error!(BadDigest, "the content has another {name}"));
            }
        }
        Ok(Verified {
            checksum: computed,
            digest: self.digest.map(Sha256::finalize),
        })
    }
}

/// Has a checksum computed; what nobody knows is none.
pub(super) fn compute(hasher: &mut ChecksumHasher, name: &str) {
    match name {
        "crc32" => hasher.crc32 = Some(Crc32::new()),
        "crc32c" => hasher.crc32c = Some(Crc32c::new()),
        "crc64nvme" => hasher.crc64nvme = Some(Crc64Nvme::new()),
        "sha1" => hasher.sha1 = Some(Sha1::new()),
        "sha256" => hasher.sha256 = Some(Sha256::new()),
        _ => {}
    }
}

/// Why s3s gave up on a body, which it says as text alone.
fn refused(text: &str) -> s3s::S3Error {
    if text.contains("Sha256Mismatch") {
        s3_error!(BadDigest, "the content has another SHA-256 than was signed")
    } else if text.contains("SignatureMismatch") {
        s3_error!(
            SignatureDoesNotMatch,
            "a piece of the content is not as it was signed"
        )
    } else {
        s3_error!(IncompleteBody, "the content did not come whole")
    }
}

/// The five, by their names in headers.
pub(super) fn named(checksum: &Checksum) -> [(&'static str, Option<&str>); 5] {
    [
        ("crc32", checksum.checksum_crc32.as_deref()),
        ("crc32c", checksum.checksum_crc32c.as_deref()),
        ("crc64nvme", checksum.checksum_crc64nvme.as_deref()),
        ("sha1", checksum.checksum_sha1.as_deref()),
        ("sha256", checksum.checksum_sha256.as_deref()),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::{HeaderMap, Method, Uri};
    use s3s::{Body, StdError};

    /// What a client sends, in pieces of a kilobyte.
    pub(in crate::gateway) fn sent(
        bytes: &[u8],
        claims: Claims,
        headers: &[(&'static str, &str)],
    ) -> S3Result<Content> {
        let pieces: Vec<_> = bytes.chunks(1024).map(Bytes::copy_from_slice).collect();
        let frames = stream::iter(
            pieces
                .into_iter()
                .map(|p| Ok::<_, StdError>(Frame::data(p))),
        );
        let body = Body::http_body_unsync(StreamBody::new(frames));
        let headers = headers.iter().map(|(name, value)| {
            let name = hyper::header::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        let request = S3Request {
            input: (),
            method: Method::PUT,
            uri: Uri::from_static("/"),
            headers: HeaderMap::from_iter(headers),
            extensions: Default::default(),
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        };
        Content::new(&request, Some(StreamingBlob::from(body)), claims)
    }

    pub(in crate::gateway) fn of_length(bytes: &[u8]) -> Claims {
        Claims {
            length: i64::try_from(bytes.len()).ok(),
            ..Claims::default()
        }
    }

    #[tokio::test]
    async fn content_comes_in_pieces_as_it_was_sent() {
        for size in [0, 1, 1024, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            for most in [7, 4096, PIECE, usize::MAX] {
                if size > PIECE && most == 7 {
                    continue;
                }
                let mut content = sent(&bytes, of_length(&bytes), &[]).unwrap();
                let mut got = Vec::new();
                loop {
                    let pieces = content.next(most).await.unwrap();
                    let length: usize = pieces.iter().map(Bytes::len).sum();
                    assert!(length <= most && pieces.iter().all(|p| p.len() <= PIECE));
                    assert!(length == most || got.len() + length == size);
                    if pieces.is_empty() {
                        break;
                    }
                    got.extend(pieces.concat());
                }
                assert!(got == bytes, "{size} {most}");
                content.finish().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_came_is_what_was_said() {
        let read = async |bytes: &[u8], claims: Claims, headers: &[(&'static str, &str)]| {
            let mut content = sent(bytes, claims, headers)?;
            while !content.next(usize::MAX).await?.is_empty() {}
            content.finish().await
        };
        let code =
            |result: S3Result<Verified>| result.err().map(|error| error.code().as_str().to_owned());
        let with = |crc32: &str| Claims {
            checksum: Checksum {
                checksum_crc32: Some(crc32.to_owned()),
                ..Checksum::default()
            },
            ..of_length(b"abc")
        };
        let good = read(b"abc", with("NSRBwg=="), &[]).await.unwrap();
        assert_eq!(good.checksum.checksum_crc32.as_deref(), Some("NSRBwg=="));
        assert_eq!(good.checksum.checksum_sha256, None);
        let bad = Some("BadDigest".to_owned());
        assert_eq!(code(read(b"abc", with("AAAAAA=="), &[]).await), bad);
        let md5 = |md5: &str| Claims {
            md5: Some(md5.to_owned()),
            ..of_length(b"abc")
        };
        assert_eq!(
            code(read(b"abc", md5("kAFQmDzST7DWlj99KOF/cg=="), &[]).await),
            None
        );
        assert_eq!(
            code(read(b"abd", md5("kAFQmDzST7DWlj99KOF/cg=="), &[]).await),
            bad
        );
        // It was announced, and did not come.
        let announced = [("x-amz-trailer", "x-amz-checksum-crc32")];
        assert_eq!(code(read(b"abc", of_length(b"abc"), &announced).await), bad);
        let short = Some("IncompleteBody".to_owned());
        assert_eq!(code(read(b"ab", of_length(b"abc"), &[]).await), short);
        assert_eq!(code(read(b"abcd", of_length(b"abc"), &[]).await), short);
        let decoded = [("x-amz-decoded-content-length", "3")];
        assert_eq!(code(read(b"abc", of_length(b"ab"), &decoded).await), None);
        for length in [None, Some(-1)] {
            let claims = Claims {
                length,
                ..Claims::default()
            };
            let missing = Some("MissingContentLength".to_owned());
            assert_eq!(code(read(b"", claims, &[]).await), missing);
        }
    }
}
