//! A small mail server that insists on STARTTLS and keeps what it is given.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::until;

/// One mail as it was handed over.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body as they were sent.
    pub data: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
}

/// A mail server on loopback with a certificate of its own.
pub struct SmtpServer {
    address: String,
    folder: TempDir,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl SmtpServer {
    /// Starts the server; it ends with the test's runtime.
    ///
    /// # Errors
    /// When no port can be had or no certificate made.
    pub async fn start() -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), certified.cert.pem())?;
        let key =
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("localhost:{}", listener.local_addr()?.port());
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                // A client that hangs up early is its own trouble; the test looks at the mails.
                tokio::spawn(async move { serve(stream, acceptor, kept).await });
            }
        });
        Ok(Self { address, folder, mails })
    }

    /// `localhost:port`, as `smarthost` takes it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate to trust, PEM.
    pub fn ca_file(&self) -> PathBuf {
        Path::new(self.folder.path()).join("ca.pem")
    }

    /// Everything that was handed over so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a mail whose data contains the text.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn await_mail(&self, text: &str, within: Duration) -> Result<Mail> {
        until(&format!("a mail with {text:?}"), within, || {
            let found = self.mails().into_iter().find(|mail| mail.data.contains(text));
            async move { Ok(found) }
        })
        .await
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    mails: Arc<Mutex<Vec<Mail>>>,
) -> Result<()> {
    let mut plain = BufReader::new(stream);
    plain.write_all(b"220 test server\r\n").await?;
    if converse(&mut plain, false, &mails).await? == End::StartTls {
        let encrypted = acceptor.accept(plain.into_inner()).await?;
        converse(&mut BufReader::new(encrypted), true, &mails).await?;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum End {
    StartTls,
    Quit,
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    encrypted: bool,
    mails: &Mutex<Vec<Mail>>,
) -> Result<End> {
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(End::Quit);
        }
        let verb = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" if encrypted => "250 localhost",
            "EHLO" => "250-localhost\r\n250 STARTTLS",
            "STARTTLS" => {
                stream.write_all(b"220 go ahead\r\n").await?;
                return Ok(End::StartTls);
            }
            _ if !encrypted => "530 STARTTLS first",
            "MAIL" => {
                from = address(&line).context("MAIL without an address")?;
                "250 ok"
            }
            "RCPT" => {
                to.push(address(&line).context("RCPT without an address")?);
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let data = read_data(stream).await?;
                let mail =
                    Mail { from: from.clone(), to: std::mem::take(&mut to), data, encrypted };
                mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                "250 kept"
            }
            "QUIT" => return Ok(End::Quit),
            "RSET" | "NOOP" => "250 ok",
            _ => "502 not known",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn read_data<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
            return Ok(data);
        }
        data.push_str(&line);
    }
}

fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}
