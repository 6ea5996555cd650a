//! HTTP requests of all channels: where they may go, how long they take, what an answer means.
//!
//! A client connects only to addresses that were judged, follows no redirects, reads a bounded part
//! of an answer, and keeps still for as long as it was asked to. No error of it shows a secret, even
//! if the answer repeats one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use jiff::fmt::rfc2822;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::text::one_line;
use super::{NotifyError, Secret, address};
use crate::outbound::{chain, client_config};

/// How long a request may take unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a receiver may ask not to be told. One that asks for more is told all the same: what it
/// answers must not keep people from hearing for good.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// How much of an answer is read, and how much of one that refuses is shown.
const ANSWER_BYTES: usize = 4096;
const DETAIL_CHARACTERS: usize = 300;

/// Shorter parts of addresses are words such as `api`, not secrets.
const SHORTEST_SECRET: usize = 6;

/// How a request proves who it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// The header `Authorization` with a scheme such as `Bearer`.
    Header {
        /// The scheme.
        scheme: String,
        /// What follows it.
        credentials: Secret,
    },
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// What can be set about the requests of any channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// How long a request may take.
    pub timeout: Duration,
    /// How to prove who we are.
    pub authorization: Option<Authorization>,
    /// A file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Networks that may be sent to though they are not of the world.
    pub allow_networks: Vec<IpNet>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            authorization: None,
            ca_file: None,
            allow_networks: Vec::new(),
        }
    }
}

/// Sends the requests of one channel.
pub(super) struct HttpClient {
    settings: HttpSettings,
    tls: ClientConfig,
    /// The client of the last request and the addresses that it is bound to.
    client: Mutex<Option<(Vec<SocketAddr>, Client)>>,
    /// Until when the other side asked for silence.
    silent_until: Mutex<Option<Instant>>,
}

/// What the other side said.
pub(super) struct Answer {
    destination: String,
    status: u16,
    /// The beginning of what it said.
    pub(super) text: String,
    /// For how long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// What must not be shown of the text.
    hidden: Vec<String>,
}

/// What was answered to a request that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The status.
    pub status: u16,
    /// The beginning of what was said, in one line and without secrets.
    pub said: String,
}

impl fmt::Display for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, said } = self;
        if said.is_empty() {
            write!(formatter, "{status}")
        } else {
            write!(formatter, "{status}: {said}")
        }
    }
}

impl HttpClient {
    /// A client as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub(super) fn new(settings: HttpSettings) -> Result<Self, NotifyError> {
        let tls = client_config(settings.ca_file.as_deref())
            .map_err(|error| NotifyError::Configuration(error.to_string()))?;
        Ok(Self { settings, tls, client: Mutex::new(None), silent_until: Mutex::new(None) })
    }

    /// Posts JSON. `secrets` are what else than the address must not be shown, should the answer
    /// repeat it.
    ///
    /// # Errors
    /// When the address may not be sent to, nobody answers, or silence was asked for.
    pub(super) async fn post(
        &self,
        url: Url,
        body: Vec<u8>,
        secrets: &[&str],
    ) -> Result<Answer, NotifyError> {
        let typed = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(url, Method::POST, Some((typed, body)), secrets).await
    }

    /// Asks an address for whatever it says.
    ///
    /// # Errors
    /// When the address may not be asked, nobody answers, or silence was asked for.
    pub(super) async fn get(&self, url: Url) -> Result<Answer, NotifyError> {
        self.send(url, Method::GET, None, &[]).await
    }

    async fn send(
        &self,
        url: Url,
        method: Method,
        body: Option<((HeaderName, HeaderValue), Vec<u8>)>,
        secrets: &[&str],
    ) -> Result<Answer, NotifyError> {
        let destination = destination(&url);
        self.keep_silence(&destination)?;
        let mut hidden: Vec<String> = secrets.iter().map(|&secret| secret.to_owned()).collect();
        hidden.extend(secrets_of(&url));
        let addresses = self.addresses(&url, &destination).await?;
        let client = self.client(&url, addresses)?;
        let mut request = client.request(method, url).timeout(self.settings.timeout);
        if let Some(((name, value), body)) = body {
            request = request.header(name, value).body(body);
        }
        let request = self.authorize(request, &mut hidden).await?;
        let unreachable = |error: reqwest::Error| NotifyError::Unreachable {
            destination: destination.clone(),
            reason: chain(&error.without_url()),
        };
        let response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        let retry_after = retry_after(headers);
        let text = beginning(response).await;
        hidden.retain(|secret| !secret.is_empty());
        Ok(Answer { destination, status, text, retry_after, hidden })
    }

    /// What an answer means: its text if it is a success.
    ///
    /// # Errors
    /// When it is none; if it asks to be left alone for a while, it is.
    pub(super) fn judge(&self, answer: Answer) -> Result<String, NotifyError> {
        if answer.is_success() {
            return Ok(answer.text);
        }
        if let Some(wait) = answer.retry_after
            && matches!(answer.status, 429 | 500..)
        {
            *lock(&self.silent_until) = Instant::now().checked_add(wait.min(LONGEST_WAIT));
        }
        Err(NotifyError::Answer {
            detail: detail(&answer.text, &answer.hidden),
            destination: answer.destination,
            status: answer.status,
        })
    }

    /// What an answer means, as it can be shown.
    ///
    /// # Errors
    /// As those of [`Self::judge`].
    pub(super) fn receipt(&self, answer: Answer) -> Result<Receipt, NotifyError> {
        let said = shown(&answer.text, &answer.hidden);
        let status = answer.status;
        self.judge(answer).map(|_| Receipt { status, said })
    }

    fn keep_silence(&self, destination: &str) -> Result<(), NotifyError> {
        let left = lock(&self.silent_until)
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(());
        }
        Err(NotifyError::Silence {
            destination: destination.to_owned(),
            seconds: left.as_secs().saturating_add(1),
        })
    }

    async fn authorize(
        &self,
        request: RequestBuilder,
        hidden: &mut Vec<String>,
    ) -> Result<RequestBuilder, NotifyError> {
        Ok(match &self.settings.authorization {
            None => request,
            Some(Authorization::Basic { username, password }) => {
                let password = password.read().await?;
                hidden.push(password.clone());
                request.basic_auth(username, Some(password))
            }
            Some(Authorization::Header { scheme, credentials }) => {
                let credentials = credentials.read().await?;
                let value = format!("{scheme} {credentials}");
                let mut value = HeaderValue::from_str(&value).map_err(|_| {
                    NotifyError::Configuration("the credentials are no header value".to_owned())
                })?;
                value.set_sensitive(true);
                hidden.push(credentials);
                request.header(AUTHORIZATION, value)
            }
        })
    }

    /// The addresses of the host that may be sent to.
    async fn addresses(
        &self,
        url: &Url,
        destination: &str,
    ) -> Result<Vec<SocketAddr>, NotifyError> {
        let unreachable = |reason: String| NotifyError::Unreachable {
            destination: destination.to_owned(),
            reason,
        };
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or(0);
        let found: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((bare, port)))
                .await
                .map_err(|_| unreachable("its name was not resolved in time".to_owned()))?
                .map_err(|error| unreachable(error.to_string()))?
                .collect(),
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for found in found {
            match address::refusal(found.ip(), &self.settings.allow_networks) {
                None => allowed.push(found),
                Some(reason) => refused = Some((found.ip(), reason)),
            }
        }
        allowed.sort();
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some((address, reason))) => {
                Err(NotifyError::Forbidden { destination: destination.to_owned(), address, reason })
            }
            (true, None) => Err(unreachable("its name has no address".to_owned())),
        }
    }

    /// A client that connects to the given addresses and no others; the last one if they are the
    /// same, since it may still have a connection.
    fn client(&self, url: &Url, addresses: Vec<SocketAddr>) -> Result<Client, NotifyError> {
        let mut last = lock(&self.client);
        if let Some((bound, client)) = &*last
            && *bound == addresses
        {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("upkeep-collector/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NotifyError::Configuration(chain(&error)))?;
        *last = Some((addresses, client.clone()));
        Ok(client)
    }
}

impl Answer {
    /// Whether its status says that all is well.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The same answer under another status: services that say 200 to everything name the true one
    /// in the text.
    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

/// Reads an address that a message may be sent to.
///
/// # Errors
/// When it is none, or of another protocol than HTTP.
pub fn parse_url(text: &str) -> Result<Url, NotifyError> {
    // The text is not repeated: it may carry a secret.
    let fault = |what: &str| NotifyError::Configuration(format!("the URL {what}"));
    let url = Url::parse(text).map_err(|error| fault(&format!("cannot be read: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(fault("must begin with http:// or https:// and name a host")),
    }
}

/// Scheme, host and port: the rest may carry secrets.
fn destination(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// Whatever of an address may be a secret: user, password, and the parts of path and query.
fn secrets_of(url: &Url) -> Vec<String> {
    let mut secrets = vec![url.path().to_owned(), url.query().unwrap_or_default().to_owned()];
    secrets.extend(url.path().split('/').map(str::to_owned));
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    secrets.push(url.password().unwrap_or_default().to_owned());
    secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
    secrets
}

/// An answer in one line without secrets, after a colon; nothing if it says nothing.
fn detail(text: &str, hidden: &[String]) -> String {
    let line = shown(text, hidden);
    if line.is_empty() { line } else { format!(": {line}") }
}

/// An answer in one line without secrets.
fn shown(text: &str, hidden: &[String]) -> String {
    let shown =
        hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[hidden]"));
    one_line(&shown, DETAIL_CHARACTERS).trim().to_owned()
}

/// For how long an answer asks to be left alone: seconds, or a moment by the other side's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| rfc2822::parse(text).ok().map(|at| at.timestamp());
    let now = moment(headers.get(DATE)?.to_str().ok()?)?;
    Duration::try_from(moment(text)?.duration_since(now)).ok()
}

async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(ANSWER_BYTES);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
