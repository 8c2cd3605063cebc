//! The gateway's own side of HTTP: connections, and what s3s would let through.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::S3Service;
use s3s::{Body, HttpError, S3Result, StdError, s3_error};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// As many connections are served at once; more wait to be accepted.
const CONNECTIONS: usize = 512;
/// A client has so long for its greeting, and for the head of a request.
const GREETING: Duration = Duration::from_secs(30);
/// What is being done when the gateway is stopped may take so long to end.
const ENDING: Duration = Duration::from_secs(10);
/// The longest that S3 lets a URL that was signed be good.
const LONGEST_SIGNED: u64 = 7 * 24 * 3600;
/// The largest chunk of a signed body: it is held whole until its signature was checked.
const LARGEST_CHUNK: usize = 16 << 20;
/// What a chunk that nobody signed is cut into.
const SMALL_CHUNK: usize = 64 << 10;

/// Serves until `stop` turns true, and then lets what is being done end. Says whether some of
/// it was cut off.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: S3Service,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        // A client that went away again, or no more descriptors for now.
        let Ok((stream, place)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (tls, service, stop) = (tls.clone(), service.clone(), stop.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, service, stop).await,
                Some(tls) => {
                    let greeting = tokio::time::timeout(GREETING, tls.accept(stream));
                    if let Ok(Ok(stream)) = greeting.await {
                        converse(stream, service, stop).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    let ending = async { while connections.join_next().await.is_some() {} };
    let cut = tokio::time::timeout(ENDING, ending).await.is_err();
    connections.shutdown().await;
    cut
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await;
    let place = place.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn converse<S>(stream: S, service: S3Service, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = |request| answer(service.clone(), request);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::pin!(connection);
    // An error here is a client that went away.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn answer(
    service: S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let mut response = match screen(&request) {
        Ok(chunks) => {
            service
                .call(request.map(|body| body_of(body, chunks)))
                .await?
        }
        Err(error) => error
            .to_http_response()
            .map_err(|e| HttpError::new(Box::new(e)))?,
    };
    // It has no body, and says nothing of one.
    if response.status() == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().remove(CONTENT_TYPE);
    }
    Ok(response)
}

/// How the chunks of a body are to be kept small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    /// There are none.
    Whole,
    /// Each is signed: a large one is refused.
    Signed,
    /// None is signed: a large one is cut.
    Unsigned,
}

/// Refuses what s3s would accept and S3, or we, do not.
fn screen<B>(request: &Request<B>) -> S3Result<Chunks> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Decoded, as s3s does it: a name can be written in many ways.
    let raw = request.uri().query().unwrap_or_default();
    let pairs: Vec<_> = url::form_urlencoded::parse(raw.as_bytes()).collect();
    let query = |name: &str| Some(pairs.iter().find(|(key, _)| key == name)?.1.as_ref());
    // A form is read into memory before anybody has looked at its signature.
    let form = text("content-type").is_some_and(|v| v.trim_start().starts_with("multipart/"));
    if request.method() == Method::POST && form {
        return Err(s3_error!(
            NotImplemented,
            "uploads by an HTML form: not supported by kluis serve; use a presigned PUT"
        ));
    }
    let authorization = text(AUTHORIZATION.as_str());
    if authorization.is_some_and(|v| v.starts_with("AWS ")) || query("Signature").is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "Signature Version 2 is not supported; use AWS4-HMAC-SHA256: in boto3, the region auto or signature_version=\"s3v4\""
        ));
    }
    if let Some(expires) = query("X-Amz-Expires")
        && expires
            .parse::<u64>()
            .is_ok_and(|seconds| seconds > LONGEST_SIGNED)
    {
        return Err(s3_error!(
            AuthorizationQueryParametersError,
            "X-Amz-Expires must be less than a week (in seconds); that is, it must be less than 604800"
        ));
    }
    let signed = match query("X-Amz-Signature") {
        Some(_) => query("X-Amz-SignedHeaders"),
        None => authorization.and_then(signed_headers),
    };
    // Of who has signed nothing, nothing is signed.
    all_signed(headers, signed.unwrap_or_default())?;
    Ok(match text("x-amz-content-sha256") {
        Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER") => Chunks::Unsigned,
        Some(streaming) if streaming.starts_with("STREAMING-") => Chunks::Signed,
        _ => Chunks::Whole,
    })
}

/// The list of an `Authorization`, where s3s reads it, and in its case: s3s passes over a name
/// that it does not find.
fn signed_headers(authorization: &str) -> Option<&str> {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256")?;
    let (_, rest) = rest
        .trim_start()
        .strip_prefix("Credential=")?
        .split_once(',')?;
    Some(
        rest.trim_start()
            .strip_prefix("SignedHeaders=")?
            .split_once(',')?
            .0,
    )
}

/// Whoever was handed a signed URL does what was signed, and nothing that a header makes of it: a
/// presigned PUT would else copy any object, by a header that names its source.
fn all_signed(headers: &HeaderMap, signed: &str) -> S3Result<()> {
    let is_signed = |name: &str| signed.split(';').any(|s| s == name);
    for (name, value) in headers {
        let name = name.as_str();
        // s3s leaves such a value out of what is signed.
        if name.starts_with("x-amz-") && std::str::from_utf8(value.as_bytes()).is_err() {
            return Err(s3_error!(InvalidRequest, "the header {name} is not UTF-8"));
        }
        // Of the content, or of the request's own signature: what they say is checked.
        let of_content = matches!(
            name,
            "x-amz-content-sha256"
                | "x-amz-date"
                | "x-amz-decoded-content-length"
                | "x-amz-trailer"
        ) || name.starts_with("x-amz-checksum-")
            || name.starts_with("x-amz-sdk-checksum-");
        if name.starts_with("x-amz-") && !of_content && !is_signed(name) {
            return Err(s3_error!(
                AccessDenied,
                "There were headers present in the request which were not signed: {name}"
            ));
        }
    }
    if !is_signed("host") {
        return Err(s3_error!(AccessDenied, "the host has to be signed"));
    }
    Ok(())
}

fn body_of(body: Incoming, chunks: Chunks) -> Body {
    if chunks == Chunks::Whole {
        return Body::from(body);
    }
    let data = BodyStream::new(body).filter_map(|frame| async {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(StdError::from(error))),
        }
    });
    let small = small_chunks(data, chunks == Chunks::Unsigned);
    Body::http_body_unsync(StreamBody::new(small.map(|data| data.map(Frame::data))))
}

/// s3s holds a chunk of a body whole, as long as its head says that it is. Here what is signed is
/// refused if it is long, and what is not is cut.
fn small_chunks(
    data: impl Stream<Item = Result<Bytes, StdError>> + Send + 'static,
    cut: bool,
) -> impl Stream<Item = Result<Bytes, StdError>> + Send + 'static {
    let chunker = Chunker {
        cut,
        state: Chunk::Head(BytesMut::new()),
    };
    let start = (Box::pin(data), chunker, false);
    stream::unfold(start, |(mut data, mut chunker, failed)| async move {
        if failed {
            return None;
        }
        let next = data.next().await?;
        let next = next.and_then(|bytes| chunker.pass(bytes));
        let failed = next.is_err();
        Some((next, (data, chunker, failed)))
    })
}

struct Chunker {
    cut: bool,
    state: Chunk,
}

enum Chunk {
    /// `SIZE[;EXTENSION]\r\n`, as far as it came.
    Head(BytesMut),
    /// So many bytes are left, and what ends the chunk.
    Data(usize),
    /// The `\r\n` behind the data, which ends a piece that we made.
    End(usize),
    /// Behind the last chunk.
    Trailer,
}

impl Chunker {
    fn pass(&mut self, mut bytes: Bytes) -> Result<Bytes, StdError> {
        let mut out = BytesMut::with_capacity(bytes.len() + 64);
        while !bytes.is_empty() {
            match &mut self.state {
                Chunk::Head(head) => {
                    let end = bytes.iter().position(|b| *b == b'\n');
                    let line = bytes.split_to(end.map_or(bytes.len(), |end| end + 1));
                    head.extend_from_slice(&line);
                    if head.len() > 1024 {
                        return Err("the head of a chunk is too long".into());
                    }
                    if end.is_none() {
                        continue;
                    }
                    let size = size_of(head).ok_or("the head of a chunk is none")?;
                    if !self.cut {
                        if size > LARGEST_CHUNK {
                            return Err("a signed chunk is too large".into());
                        }
                        out.extend_from_slice(head);
                    } else if size == 0 {
                        out.extend_from_slice(b"0\r\n");
                    }
                    self.state = match size {
                        0 => Chunk::Trailer,
                        size => Chunk::Data(size),
                    };
                }
                Chunk::Data(left) => {
                    let most = if self.cut { SMALL_CHUNK } else { usize::MAX };
                    let piece = bytes.split_to(bytes.len().min(*left).min(most));
                    *left -= piece.len();
                    if self.cut {
                        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        out.extend_from_slice(&piece);
                        out.extend_from_slice(b"\r\n");
                    } else {
                        out.extend_from_slice(&piece);
                    }
                    if *left == 0 {
                        self.state = Chunk::End(2);
                    }
                }
                Chunk::End(left) => {
                    let end = bytes.split_to(bytes.len().min(*left));
                    *left -= end.len();
                    if !self.cut {
                        out.extend_from_slice(&end);
                    }
                    if end.iter().any(|b| !matches!(b, b'\r' | b'\n')) {
                        return Err("a chunk is longer than its head says".into());
                    }
                    if *left == 0 {
                        self.state = Chunk::Head(BytesMut::new());
                    }
                }
                Chunk::Trailer => out.extend_from_slice(&std::mem::take(&mut bytes)),
            }
        }
        Ok(out.freeze())
    }
}

/// The size in the head of a chunk.
fn size_of(head: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(head).ok()?;
    let text = text.strip_suffix("\r\n")?;
    let digits = text.split(';').next().unwrap_or_default();
    let hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    usize::from_str_radix(digits, 16)
        .ok()
        .filter(|_| hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=a/20261122/us-east-1/s3/aws4_request, \
        SignedHeaders=host;x-amz-date;x-amz-meta-a, Signature=0";

    #[test]
    fn what_was_not_signed_does_nothing() {
        fn code(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<String> {
            let refused = screen(&request(method, uri, headers)).err()?;
            Some(refused.code().as_str().to_owned())
        }
        let signed = ("authorization", SIGNED);
        assert_eq!(code("PUT", "/b/k", &[signed, ("x-amz-meta-a", "1")]), None);
        assert_eq!(
            code("PUT", "/b/k", &[signed, ("x-amz-checksum-crc32", "1")]),
            None
        );
        let denied = Some("AccessDenied".to_owned());
        for name in ["x-amz-copy-source", "x-amz-meta-b", "x-amz-acl"] {
            assert_eq!(code("PUT", "/b/k", &[signed, (name, "1")]), denied);
            let url = "/b/k?X-Amz-SignedHeaders=host%3Bx-amz-meta-a&X-Amz-Expires=604800&X-Amz-Signature=0";
            assert_eq!(code("PUT", url, &[]), None);
            assert_eq!(code("PUT", url, &[(name, "1")]), denied);
            // However it is spelt, it is read as s3s reads it.
            let spelt = url.replace("SignedHeaders", "Signed%48eaders");
            assert_eq!(code("PUT", &spelt, &[(name, "1")]), denied);
            // In another case, or in front of where s3s looks, it is not what was signed.
            let upper = format!(
                "{}, Signature=0",
                SIGNED.replace(", Signature=0", &format!(";{}", name.to_ascii_uppercase()))
            );
            assert_eq!(
                code("PUT", "/b/k", &[("authorization", &upper), (name, "1")]),
                denied
            );
            let before = format!("SignedHeaders=host;{name} {SIGNED}");
            assert_eq!(
                code("PUT", "/b/k", &[("authorization", &before), (name, "1")]),
                denied
            );
        }
        let url = "/b/k?X-Amz-SignedHeaders=x-amz-date&X-Amz-Signature=0";
        assert_eq!(code("GET", url, &[]), denied);
        for week in ["X-Amz-Expires=604801", "X-Amz-Expire%73=604801"] {
            let url = format!("/b/k?X-Amz-SignedHeaders=host&X-Amz-Signature=0&{week}");
            assert_ne!(code("GET", &url, &[]), denied);
            assert!(code("GET", &url, &[]).is_some());
        }
        for old in ["Signature=b", "Signatur%65=b"] {
            let url = format!("/b/k?AWSAccessKeyId=a&{old}&Expires=1");
            assert_eq!(code("GET", &url, &[]).as_deref(), Some("InvalidRequest"));
        }
        assert!(code("GET", "/b/k", &[("authorization", "AWS a:b")]).is_some());
        let form = ("content-type", "multipart/form-data; boundary=x");
        assert!(code("POST", "/b", &[form]).is_some());
    }

    fn passed(cut: bool, body: &[u8], pieces: usize) -> Result<Vec<u8>, StdError> {
        let mut chunker = Chunker {
            cut,
            state: Chunk::Head(BytesMut::new()),
        };
        let mut out = Vec::new();
        for piece in body.chunks(pieces) {
            out.extend_from_slice(&chunker.pass(Bytes::copy_from_slice(piece))?);
        }
        Ok(out)
    }

    /// The data of a body in chunks, the largest of them, and what follows on it.
    fn read(mut body: &[u8]) -> (Vec<u8>, usize, Vec<u8>) {
        let (mut data, mut largest) = (Vec::new(), 0);
        loop {
            let end = body.iter().position(|b| *b == b'\n').unwrap() + 1;
            let size = size_of(&body[..end]).unwrap();
            body = &body[end..];
            if size == 0 {
                return (data, largest, body.to_vec());
            }
            largest = largest.max(size);
            data.extend_from_slice(&body[..size]);
            assert_eq!(&body[size..size + 2], b"\r\n");
            body = &body[size + 2..];
        }
    }

    #[test]
    fn a_long_chunk_is_cut_or_refused() {
        let data: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let trailer = b"x-amz-checksum-crc32: AAAAAA==\r\n\r\n";
        let mut body = format!("{:x}\r\n", data.len()).into_bytes();
        body.extend_from_slice(&data);
        body.extend_from_slice(b"\r\n3;chunk-signature=x\r\nabc\r\n0\r\n");
        body.extend_from_slice(trailer);
        for pieces in [1, 7, 4096, body.len()] {
            let (out, largest, rest) = read(&passed(true, &body, pieces).unwrap());
            assert_eq!(out, [&data[..], b"abc"].concat());
            assert!(largest <= SMALL_CHUNK);
            assert_eq!(rest, trailer);
            assert_eq!(passed(false, &body, pieces).unwrap(), body);
        }
        let long = format!("{:x};chunk-signature=x\r\n", LARGEST_CHUNK + 1);
        assert!(passed(false, long.as_bytes(), 5).is_err());
        for bad in [
            "g\r\n",
            "\r\n",
            "+1\r\na\r\n",
            "1\nab",
            "1\r\nabc",
            "ffffffffffffffffff\r\n",
        ] {
            assert!(passed(true, bad.as_bytes(), 100).is_err(), "{bad:?}");
        }
        assert!(passed(true, &[b'0'; 2000], 100).is_err());
    }
}
