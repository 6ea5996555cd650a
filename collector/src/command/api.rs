//! The collector's HTTP API, as commands ask it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use upkeep_config::ConfigError;

use crate::app::ADDRESSES_FILE;
use crate::ca::{Authority, CaError};
use crate::config::Config;

/// Whom to ask, and by which right.
#[derive(Debug, Args)]
pub struct Server {
    /// The file that holds an API token; to look it takes the scope read, to change something operate.
    #[arg(long, env = "UPKEEP_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
    /// The address of the API; without it, that of the collector on this machine.
    #[arg(long, env = "UPKEEP_URL")]
    pub url: Option<String>,
    /// The root certificates to trust; without it, those of the collector on this machine.
    #[arg(long, env = "UPKEEP_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Why the collector gives no answer.
#[derive(Debug, Error)]
pub enum ApiCommandError {
    /// The settings of the collector on this machine cannot be used.
    #[error("{0}\nto ask a collector elsewhere, give both --url and --ca-file")]
    Settings(#[from] ConfigError),
    /// The authority of the collector on this machine cannot be used.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds no certificates.
    #[error("{}: holds no certificate that could be trusted: {problem}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// The collector cannot be reached.
    #[error("{url}: {problem}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong, down to its cause.
        problem: String,
    },
    /// The collector refuses.
    #[error("{0}")]
    Refused(String),
    /// The collector's answer is none.
    #[error("the answer is not Prometheus' JSON: {0}")]
    Answer(#[from] serde_json::Error),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// The API of one collector.
pub(super) struct Api {
    base: String,
    client: Client,
    token: String,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    /// The API that the arguments name.
    pub(super) fn of(config_file: &Path, server: &Server) -> Result<Self, ApiCommandError> {
        let target = Target::of(config_file, server)?;
        let base = target.base.trim_end_matches('/').to_owned();
        let token = read(&server.token_file)?.trim().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { base, client: target.client()?, token, runtime })
    }

    /// Asks, and gives the answer whatever it says.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(StatusCode, String), ApiCommandError> {
        let url = format!("{}{path}", self.base);
        let request = complete(self.client.request(method, &url).bearer_auth(&self.token));
        let unreachable =
            |error| ApiCommandError::Unreachable { url: url.clone(), problem: with_causes(&error) };
        self.runtime.block_on(async {
            let response = request.send().await.map_err(unreachable)?;
            Ok((response.status(), response.text().await.map_err(unreachable)?))
        })
    }
}

impl Api {
    /// Asks for JSON.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, ApiCommandError> {
        let (status, body) = self.ask(method, path, complete)?;
        if status.is_success() {
            Ok(serde_json::from_str(&body)?)
        } else {
            Err(ApiCommandError::Refused(reason(status, &body)))
        }
    }

    /// Asks for something to be done.
    pub(super) fn done(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(), ApiCommandError> {
        let (status, body) = self.ask(method, path, complete)?;
        let is_done = status.is_success();
        if is_done { Ok(()) } else { Err(ApiCommandError::Refused(reason(status, &body))) }
    }
}

/// What a refusal says: an error object, or the bare string of Alertmanager's API.
fn reason(status: StatusCode, body: &str) -> String {
    let told = serde_json::from_str::<Value>(body).unwrap_or_default();
    let told = told.as_str().or_else(|| told.get("error")?.as_str());
    told.map_or_else(|| format!("the collector answers {status}"), str::to_owned)
}

/// Whom to ask, and whom to trust.
struct Target {
    base: String,
    roots: Vec<CertificateDer<'static>>,
    /// Where a name is, whatever the resolver says.
    pinned: Option<(String, SocketAddr)>,
}

impl Target {
    /// What the arguments say; what they leave open is taken from the collector on this machine.
    fn of(config_file: &Path, server: &Server) -> Result<Self, ApiCommandError> {
        let given = server.ca_file.as_deref().map(certificates).transpose()?;
        match (&server.url, given) {
            (Some(url), Some(roots)) => Ok(Self { base: url.clone(), roots, pinned: None }),
            (Some(url), None) if url.starts_with("http:") => {
                Ok(Self { base: url.clone(), roots: Vec::new(), pinned: None })
            }
            (url, given) => {
                let mut target = Self::on_this_machine(config_file)?;
                if let Some(url) = url {
                    target.base.clone_from(url);
                    target.pinned = None;
                }
                target.roots = given.unwrap_or(target.roots);
                Ok(target)
            }
        }
    }

    /// The collector's certificate is for its names, which need not lead to where it listens.
    fn on_this_machine(config_file: &Path) -> Result<Self, ApiCommandError> {
        let config = Config::load(config_file)?;
        let address = reachable(running(&config).unwrap_or(config.http.listen));
        if !config.http.tls {
            return Ok(Self { base: format!("http://{address}"), roots: Vec::new(), pinned: None });
        }
        let authority = Authority::open(&config.data_dir, config.certificates.host_lifetime.0)?;
        let names = authority.server_names()?;
        let roots = authority.roots().to_vec();
        let name = names.first().map_or("localhost", String::as_str);
        Ok(match name.parse::<IpAddr>() {
            Ok(ip) => {
                let base = format!("https://{}", SocketAddr::new(ip, address.port()));
                Self { base, roots, pinned: None }
            }
            Err(_) => {
                let base = format!("https://{name}:{}", address.port());
                Self { base, roots, pinned: Some((name.to_owned(), address)) }
            }
        })
    }

    fn client(self) -> Result<Client, ApiCommandError> {
        let failed = |error: &dyn std::error::Error| ApiCommandError::Client(error.to_string());
        let mut anchors = RootCertStore::empty();
        for root in self.roots {
            anchors.add(root).map_err(|error| failed(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_root_certificates(anchors)
            .with_no_client_auth();
        let mut builder = Client::builder().tls_backend_preconfigured(tls).no_proxy();
        if let Some((name, address)) = &self.pinned {
            builder = builder.resolve(name, *address);
        }
        builder.build().map_err(|error| failed(&error))
    }
}

/// Where the server says that it listens, if it runs.
fn running(config: &Config) -> Option<SocketAddr> {
    let text = fs::read(config.data_dir.join(ADDRESSES_FILE)).ok()?;
    let addresses: Value = serde_json::from_slice(&text).ok()?;
    addresses.get("http")?.as_str()?.parse().ok()
}

/// Where a server that listens on an address can be reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ApiCommandError> {
    let wrong = |problem: String| ApiCommandError::Certificates { path: path.to_owned(), problem };
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it is empty".to_owned())) } else { Ok(found) }
}

fn read(path: &Path) -> Result<String, ApiCommandError> {
    fs::read_to_string(path)
        .map_err(|source| ApiCommandError::File { path: path.to_owned(), source })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_in_either_form() {
        let check = |body: &str, expect: &str| {
            assert_eq!(reason(StatusCode::BAD_GATEWAY, body), expect, "{body}");
        };
        check(r#"{"status":"error","errorType":"forbidden","error":"no"}"#, "no");
        check("\"no\"", "no");
        check("<html>", "the collector answers 502 Bad Gateway");
        check("{}", "the collector answers 502 Bad Gateway");
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        let check = |listen: &str, expect: &str| {
            assert_eq!(reachable(listen.parse().unwrap()), expect.parse().unwrap());
        };
        check("0.0.0.0:9443", "127.0.0.1:9443");
        check("[::]:9443", "[::1]:9443");
        check("192.168.1.5:443", "192.168.1.5:443");
    }
}
