//! `query`: asks the collector's HTTP API for the value of a PromQL expression.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;
use upkeep_config::ConfigError;
use upkeep_model::Labels;

use crate::app::ADDRESSES_FILE;
use crate::ca::{Authority, CaError};
use crate::config::Config;

/// What to ask, and whom.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The PromQL expression.
    pub expression: String,
    /// The moment to evaluate at, as seconds since 1970 or RFC 3339; without it, now.
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    pub time: Option<String>,
    /// The first moment of a range.
    #[arg(long, requires_all = ["end", "step"])]
    pub start: Option<String>,
    /// The last moment of a range.
    #[arg(long, requires_all = ["start", "step"])]
    pub end: Option<String>,
    /// The time between two moments of a range, such as `30s` or `5m`.
    #[arg(long, requires_all = ["start", "end"])]
    pub step: Option<String>,
    /// The file that holds an API token with the scope read.
    #[arg(long, env = "UPKEEP_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
    /// The address of the API; without it, that of the collector on this machine.
    #[arg(long, env = "UPKEEP_URL")]
    pub url: Option<String>,
    /// The root certificates to trust; without it, those of the collector on this machine.
    #[arg(long, env = "UPKEEP_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Print the API's answer as it came.
    #[arg(long)]
    pub json: bool,
}

/// Why there is no value.
#[derive(Debug, Error)]
pub enum QueryCommandError {
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

/// Asks and prints: values to the standard output, warnings to the standard error.
///
/// # Errors
/// When there is no value.
pub(super) fn run(config_file: &Path, arguments: &Arguments) -> Result<(), QueryCommandError> {
    let target = Target::of(config_file, arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = runtime.block_on(ask(target, arguments))?;
    let response: Response = serde_json::from_str(&body)?;
    if let Response::Error { error } = response {
        return Err(QueryCommandError::Refused(error));
    }
    let printed = if arguments.json { format!("{body}\n") } else { render(&response) };
    io::stdout().write_all(printed.as_bytes())?;
    if let Response::Success { warnings, infos, .. } = response {
        for note in warnings.iter().chain(&infos) {
            writeln!(io::stderr(), "{note}")?;
        }
    }
    Ok(())
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
    fn of(config_file: &Path, arguments: &Arguments) -> Result<Self, QueryCommandError> {
        let given = arguments.ca_file.as_deref().map(certificates).transpose()?;
        match (&arguments.url, given) {
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
    fn on_this_machine(config_file: &Path) -> Result<Self, QueryCommandError> {
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

    fn client(self) -> Result<Client, QueryCommandError> {
        let failed = |error: &dyn std::error::Error| QueryCommandError::Client(error.to_string());
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

async fn ask(target: Target, arguments: &Arguments) -> Result<String, QueryCommandError> {
    let resource = if arguments.start.is_some() { "query_range" } else { "query" };
    let url = format!("{}/api/v1/{resource}", target.base.trim_end_matches('/'));
    let token = read(&arguments.token_file)?;
    let mut form = vec![("query", arguments.expression.as_str())];
    let optional = [
        ("time", &arguments.time),
        ("start", &arguments.start),
        ("end", &arguments.end),
        ("step", &arguments.step),
    ];
    form.extend(optional.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    let request = target.client()?.post(&url).bearer_auth(token.trim()).form(&form);
    let unreachable =
        |error| QueryCommandError::Unreachable { url: url.clone(), problem: with_causes(&error) };
    request.send().await.map_err(unreachable)?.text().await.map_err(unreachable)
}

/// Where the server says that it listens, if it runs.
fn running(config: &Config) -> Option<SocketAddr> {
    let text = fs::read(config.data_dir.join(ADDRESSES_FILE)).ok()?;
    let addresses: serde_json::Value = serde_json::from_slice(&text).ok()?;
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, QueryCommandError> {
    let wrong =
        |problem: String| QueryCommandError::Certificates { path: path.to_owned(), problem };
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it is empty".to_owned())) } else { Ok(found) }
}

fn read(path: &Path) -> Result<String, QueryCommandError> {
    fs::read_to_string(path)
        .map_err(|source| QueryCommandError::File { path: path.to_owned(), source })
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

/// Prometheus' answer, as far as it is printed.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Response {
    Success {
        data: Data,
        #[serde(default)]
        warnings: Vec<String>,
        #[serde(default)]
        infos: Vec<String>,
    },
    Error {
        error: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Value),
    String(Value),
    Vector(Vec<Point>),
    Matrix(Vec<Row>),
}

/// Seconds since 1970, and the value as text.
#[derive(Debug, Deserialize)]
struct Value(f64, String);

#[derive(Debug, Deserialize)]
struct Point {
    metric: BTreeMap<String, String>,
    value: Value,
}

#[derive(Debug, Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    values: Vec<Value>,
}

/// The answer for people: one line a value, series aligned.
fn render(response: &Response) -> String {
    let Response::Success { data, .. } = response else { return String::new() };
    match data {
        Data::Scalar(value) | Data::String(value) => format!("{}\n", value.1),
        Data::Vector(points) => {
            let series = |point: &Point| (name(&point.metric), point.value.1.clone());
            aligned(&points.iter().map(series).collect::<Vec<_>>())
        }
        Data::Matrix(rows) => {
            let mut text = String::new();
            for row in rows {
                text.push_str(&name(&row.metric));
                text.push('\n');
                for Value(seconds, value) in &row.values {
                    let _ = writeln!(text, "  {}  {value}", moment(*seconds));
                }
            }
            text
        }
    }
}

fn aligned(lines: &[(String, String)]) -> String {
    let width = lines.iter().map(|(series, _)| series.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (series, value) in lines {
        let _ = writeln!(text, "{series:<width$}  {value}");
    }
    text
}

fn name(metric: &BTreeMap<String, String>) -> String {
    Labels::new(metric.iter().map(|(name, value)| (name.as_str(), value.as_str()))).to_string()
}

/// A time in RFC 3339, or the number of seconds where the calendar ends.
fn moment(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, then the calendar ends"
    )]
    let at_ms = (seconds * 1000.0).round() as i64;
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_printed_for_people() {
        let check = |json: &str, expect: &str| {
            let response: Response = serde_json::from_str(json).unwrap();
            assert_eq!(render(&response), expect);
        };
        check(r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#, "2\n");
        check(r#"{"status":"success","data":{"resultType":"string","result":[4.5,"x"]}}"#, "x\n");
        check(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "");
        check(
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"__name__":"up","job":"a"},"value":[4,"1"]},
                {"metric":{},"value":[4,"+Inf"]}]},"warnings":["w"]}"#,
            "up{job=\"a\"}  1\n{}           +Inf\n",
        );
        check(
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{"__name__":"up"},"values":[[0,"1"],[1.5,"NaN"]]}]}}"#,
            "up\n  1970-01-01T00:00:00Z  1\n  1970-01-01T00:00:01.5Z  NaN\n",
        );
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

    #[test]
    fn a_range_needs_all_of_its_parts() {
        use clap::Parser;

        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            query: Arguments,
        }

        let check = |arguments: &[&str], accepted: bool| {
            let line = ["query", "--token-file", "t", "up"].iter().chain(arguments);
            assert_eq!(Line::try_parse_from(line).is_ok(), accepted, "{arguments:?}");
        };
        check(&[], true);
        check(&["--time", "4"], true);
        check(&["--start", "1", "--end", "2", "--step", "1"], true);
        check(&["--start", "1"], false);
        check(&["--start", "1", "--step", "1"], false);
        check(&["--start", "1", "--end", "2", "--step", "1", "--time", "4"], false);
    }
}
