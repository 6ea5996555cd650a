//! Where our samples are sent to: how it is set, and one request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;
use thiserror::Error;
use upkeep_model::{METRIC_NAME, is_label_name};

use crate::outbound::{beginning, chain, client_config};

/// How long a request may take, and its connection.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// No target is obeyed that asks for a longer pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// One target as the configuration has it.
#[derive(Clone, Debug, Deserialize)]
pub struct TargetSettings {
    /// By which it is told from others, in metrics, the log and the state.
    pub name: String,
    /// Where to send.
    pub url: String,
    /// The file of the bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// A file of certificates that are trusted beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Names of metrics, or regular expressions for whole names; without any, all are sent.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Labels for all series that do not have them.
    #[serde(default)]
    pub external_labels: BTreeMap<String, String>,
}

/// What is wrong with the settings of a target.
#[derive(Debug, Error)]
#[error("remote_write {name:?}: {reason}")]
pub struct TargetFault {
    name: String,
    reason: String,
}

/// A target that can be sent to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) external_labels: BTreeMap<String, String>,
    keep: Option<Regex>,
    url: Url,
    token_file: Option<PathBuf>,
    client: Client,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was taken.
    Taken,
    /// It never will be: why.
    Refused(String),
    /// It may be later: why not now, and when the target wants to be asked again.
    Later(String, Option<Duration>),
}

impl TargetSettings {
    /// Whether everything fits together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), TargetFault> {
        self.build().map(drop)
    }

    fn parse(&self) -> Result<(Url, Option<Regex>), TargetFault> {
        let fault = |reason: String| TargetFault { name: self.name.clone(), reason };
        if self.name.is_empty() {
            return Err(fault("the name must not be empty".to_owned()));
        }
        let url = Url::parse(&self.url).map_err(|error| fault(format!("url: {error}")))?;
        match url.scheme() {
            "https" if url.has_host() => {}
            "http" if is_loopback(&url) => {}
            _ => {
                let reason = "url must begin with https://, or with http:// and be on this machine";
                return Err(fault(reason.to_owned()));
            }
        }
        for (name, value) in &self.external_labels {
            if !is_label_name(name) || name == METRIC_NAME || value.is_empty() {
                return Err(fault(format!("external_labels: {name:?} = {value:?} is no label")));
            }
        }
        let keep = match self.keep.as_slice() {
            [] => None,
            names => {
                let any = names.iter().map(|name| format!("(?:{name})")).collect::<Vec<_>>();
                let whole = Regex::new(&format!("^(?:{})$", any.join("|")));
                Some(whole.map_err(|error| fault(format!("keep: {error}")))?)
            }
        };
        Ok((url, keep))
    }

    pub(super) fn build(&self) -> Result<Target, TargetFault> {
        let fault = |reason: String| TargetFault { name: self.name.clone(), reason };
        let (url, keep) = self.parse()?;
        let tls =
            client_config(self.ca_file.as_deref()).map_err(|error| fault(error.to_string()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("upkeep-collector/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| fault(error.to_string()))?;
        let (name, external_labels) = (self.name.clone(), self.external_labels.clone());
        Ok(Target { name, external_labels, keep, url, token_file: self.token_file.clone(), client })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    bare == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

impl Target {
    /// Whether a metric is sent.
    pub(super) fn keeps(&self, metric: &str) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.is_match(metric))
    }

    /// Sends a packed message.
    pub(super) async fn send(&self, body: Vec<u8>) -> Answer {
        let later = |why: String| Answer::Later(why, None);
        let version = HeaderName::from_static("x-prometheus-remote-write-version");
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .header(CONTENT_ENCODING, HeaderValue::from_static("snappy"))
            .header(version, HeaderValue::from_static("0.1.0"))
            .body(body);
        if let Some(path) = &self.token_file {
            match authorization(path).await {
                Ok(value) => request = request.header(AUTHORIZATION, value),
                Err(why) => return later(why),
            }
        }
        match request.send().await {
            Err(error) => later(chain(&error.without_url())),
            Ok(response) => {
                let (status, after) = (response.status(), retry_after(response.headers()));
                if status.is_success() {
                    return Answer::Taken;
                }
                judge(status, after, beginning(response).await)
            }
        }
    }
}

/// What an answer other than success says. Only what a sender cannot change by waiting is final; a
/// token that is not accepted, say, may be corrected in its file.
fn judge(status: StatusCode, after: Option<Duration>, detail: String) -> Answer {
    let why = format!("the answer was {status}{detail}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND => Answer::Later(why, after),
        status if status.is_client_error() => Answer::Refused(why),
        _ => Answer::Later(why, after),
    }
}

async fn authorization(path: &Path) -> Result<HeaderValue, String> {
    let shown = path.display();
    let read = tokio::fs::read_to_string(path).await;
    let token = read.map_err(|error| format!("{shown}: {error}"))?;
    let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| format!("{shown}: holds no header value"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Seconds, or a date as HTTP writes it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let pause = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let seconds = at.duration_since(Timestamp::now()).as_secs();
            Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> TargetSettings {
        TargetSettings {
            name: "x".to_owned(),
            url: url.to_owned(),
            token_file: None,
            ca_file: None,
            keep: Vec::new(),
            external_labels: BTreeMap::new(),
        }
    }

    #[test]
    fn a_target_is_far_by_tls_or_on_this_machine() {
        let check = |url: &str, expect: bool| {
            assert_eq!(settings(url).check().is_ok(), expect, "{url}");
        };
        check("https://mimir.example.org/api/v1/push", true);
        check("http://127.0.0.1:9090/api/v1/write", true);
        check("http://localhost:9090/api/v1/write", true);
        check("http://[::1]:9090/", true);
        check("http://192.168.1.5/api/v1/write", false);
        check("http://localhost.example.org/", false);
        check("ftp://127.0.0.1/", false);
        check("mimir", false);
    }

    #[test]
    fn only_kept_names_pass() {
        let keeps = |keep: &[&str], metric: &str| {
            let keep = keep.iter().map(|name| (*name).to_owned()).collect();
            let settings = TargetSettings { keep, ..settings("http://127.0.0.1/") };
            settings.build().unwrap().keeps(metric)
        };
        assert!(keeps(&[], "up") && keeps(&["up"], "up") && keeps(&["x", "node_.*"], "node_load1"));
        assert!(!keeps(&["up"], "up1") && !keeps(&["up"], "xup") && !keeps(&["a|b"], "ab"));
        let broken = TargetSettings { keep: vec!["(".to_owned()], ..settings("http://127.0.0.1/") };
        assert!(broken.check().unwrap_err().to_string().contains("keep"));
    }

    #[test]
    fn what_waiting_cannot_change_is_refused_and_all_else_is_tried_again() {
        let check = |status: u16, refused: bool| {
            let answer = judge(StatusCode::from_u16(status).unwrap(), None, String::new());
            assert_eq!(matches!(answer, Answer::Refused(_)), refused, "{status}");
        };
        for status in [400, 409, 413, 415, 422] {
            check(status, true);
        }
        for status in [301, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            check(status, false);
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_bounded() {
        let check = |text: &str, expect: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers), expect.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check("86400", Some(300));
        check("Fri, 31 Dec 1999 23:59:59 GMT", Some(0));
        check("Fri, 31 Dec 2199 23:59:59 GMT", None);
        check("Tue, 31 Dec 2199 23:59:59 GMT", Some(300));
        check("soon", None);
    }
}
