//! `serve`.

use crate::address::VaultPath;
use crate::args::Serve;
use crate::exit::{Failure, Result};
use crate::gateway::{self, Settings};
use crate::secrets;
use crate::session::{Opened, Session};
use crate::terminal::{GatewayMessage, Message, Output};
use kluis::object_store::ObjectStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Any is accepted in a signature, and programs want to be told one. For those of AWS that are
/// older than Version 4, boto3 signs URLs with Version 2.
const REGION: &str = "auto";

pub(super) async fn serve(session: &Session, args: Serve) -> Result<()> {
    let path = match &args.path {
        Some(path) => VaultPath::parse(path)?,
        None => VaultPath::root(),
    };
    if !gateway::is_bucket_name(&args.bucket) {
        let hint = "3 to 63 small letters, digits, dots and hyphens";
        return Err(Failure::usage(
            format!("{:?} is no name of a bucket", args.bucket),
            hint,
        ));
    }
    let address = address(&args)?;
    let (access_key, secret) = keys(&args).await?;
    let tls = tls(&args)?;
    let failed = |e| Failure::io(format!("cannot listen on {address}"), &e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let mut stop = session.cancel();
    let opened = tokio::select! {
        opened = session.open_for(&path) => opened?,
        _ = stop.wait_for(|stop| *stop) => return Err(Failure::interrupted()),
    };
    let store = store_of(&opened, &path)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    announce(session, &args, &path, &url, &access_key, &secret)?;

    let terminal = session.terminal.clone();
    let settings = Settings {
        bucket: args.bucket,
        access_key,
        secret: secret.text().into(),
        read_only: args.read_only,
        memory: args.buffer as usize * (1 << 20),
        report: Arc::new(move |text| terminal.warn(text)),
    };
    gateway::serve(store, settings, listener, tls, session.cancel()).await;
    session.terminal.note("stopped");
    Ok(())
}

fn store_of(opened: &Opened, path: &VaultPath) -> Result<Arc<dyn ObjectStore>> {
    if path.is_root() {
        return Ok(opened.vault.object_store());
    }
    Ok(opened.vault.object_store_at(&path.path)?)
}

/// What a person and a script read: one line on stdout.
fn announce(
    session: &Session,
    args: &Serve,
    path: &VaultPath,
    url: &str,
    access_key: &str,
    secret: &SecretKey,
) -> Result<()> {
    let shown = secret.to_show();
    if session.terminal.json() {
        session.terminal.message(&Message::Gateway(GatewayMessage {
            url,
            bucket: &args.bucket,
            path: &path.path,
            region: REGION,
            access_key,
            secret_key: shown,
            read_only: args.read_only,
        }))?;
    } else {
        let mut line = format!("{url} {} {access_key}", args.bucket);
        if let Some(secret) = shown {
            line.push(' ');
            line.push_str(secret);
        }
        let mut output = Output::new();
        output.line(&line)?;
        output.finish()?;
    }
    let secret = if shown.is_some() { ", secret" } else { "" };
    session.terminal.note(&format!(
        "serving {path} as the bucket {}; the line is URL, bucket, access key{secret}; Ctrl-C stops it",
        args.bucket
    ));
    Ok(())
}

/// The secret of the access key.
enum SecretKey {
    Given(Zeroizing<String>),
    Made(Zeroizing<String>),
}

impl SecretKey {
    fn text(&self) -> &str {
        match self {
            Self::Given(text) | Self::Made(text) => text,
        }
    }

    /// Whoever gave it knows it.
    fn to_show(&self) -> Option<&str> {
        match self {
            Self::Given(_) => None,
            Self::Made(text) => Some(text),
        }
    }
}

async fn keys(args: &Serve) -> Result<(String, SecretKey)> {
    let access_key = match &args.access_key {
        None => format!("KLUIS{}", random::<10>()?.to_ascii_uppercase()),
        Some(given) => {
            let of_key = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if given.len() < 3 || given.len() > 128 || !given.bytes().all(of_key) {
                return Err(Failure::usage(
                    format!("{given:?} is no access key"),
                    "3 to 128 letters, digits, dots, hyphens and underscores",
                ));
            }
            given.clone()
        }
    };
    let given = secrets::of_gateway(args.secret_file.as_deref()).await?;
    let secret = match given {
        Some(given) => SecretKey::Given(given),
        None => SecretKey::Made(random::<20>()?),
    };
    Ok((access_key, secret))
}

/// So many random bytes, in hexadecimal.
fn random<const N: usize>() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; N]);
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(bytes.as_mut_slice()).map_err(|_| {
        let error = std::io::Error::other("the system gives none");
        Failure::io("cannot draw random numbers", &error)
    })?;
    Ok(Zeroizing::new(
        data_encoding::HEXLOWER.encode(bytes.as_slice()),
    ))
}

/// Where to listen: what others could reach takes TLS.
fn address(args: &Serve) -> Result<SocketAddr> {
    let port = args
        .listen
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok());
    let local = port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let parsed = local.or_else(|| args.listen.parse().ok()).ok_or_else(|| {
        Failure::usage(
            format!("{:?} is no address to listen on", args.listen),
            "an IP address and a port, as 127.0.0.1:9000 or [::1]:9000",
        )
    })?;
    if !parsed.ip().to_canonical().is_loopback() && args.tls_cert.is_none() {
        return Err(Failure::usage(
            format!("others could listen in on {}", args.listen),
            "listen on 127.0.0.1, or speak TLS with --tls-cert and --tls-key",
        ));
    }
    Ok(parsed)
}

fn tls(args: &Serve) -> Result<Option<TlsAcceptor>> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Ok(None);
    };
    let unreadable = |file: &Path, what: &str| {
        Failure::usage(
            format!("there is no {what} in it that can be read"),
            "give a PEM file",
        )
        .at(file.display().to_string())
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|_| unreadable(cert, "certificate"))?;
    if chain.is_empty() {
        return Err(unreadable(cert, "certificate"));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|_| unreadable(key, "private key"))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key_der);
    let mut config = config.map_err(|error| {
        let message = format!("certificate and key do not serve: {error}");
        Failure::usage(message, "give the key of the first certificate in the file")
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
