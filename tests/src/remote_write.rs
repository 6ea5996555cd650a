//! Prometheus' remote write, version 1: its messages and a sender of them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use prost::Message;
use reqwest::{Certificate, Client, StatusCode};
use snap::raw::{Decoder, Encoder};

/// How long a receiver may take for one request.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one request carries: `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// Series and their samples.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// What is known of metrics by their names.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// `prometheus.TimeSeries`, without exemplars and native histograms.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// The label set, sorted by names.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its samples, the oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// `__name__` for the metric's.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// What was measured.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// When, in milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// `prometheus.MetricMetadata`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricMetadata {
    /// 1 for a counter, 2 for a gauge, 3 for a histogram, 5 for a summary.
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    /// The metric.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// What it means.
    #[prost(string, tag = "4")]
    pub help: String,
    /// What it is measured in.
    #[prost(string, tag = "5")]
    pub unit: String,
}

impl TimeSeries {
    /// A series of labels in any order, and its samples: milliseconds and values.
    pub fn new(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let label = |(name, value): &(&str, &str)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        let mut labels: Vec<Label> = labels.iter().map(label).collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let sample =
            |(timestamp, value): &(i64, f64)| Sample { value: *value, timestamp: *timestamp };
        Self { labels, samples: samples.iter().map(sample).collect() }
    }
}

impl WriteRequest {
    /// A request of these series and nothing else.
    pub fn of(timeseries: Vec<TimeSeries>) -> Self {
        Self { timeseries, metadata: Vec::new() }
    }

    /// The request as it goes over the wire, packed by snappy.
    ///
    /// # Errors
    /// When it is longer than snappy takes.
    pub fn packed(&self) -> Result<Vec<u8>> {
        Encoder::new().compress_vec(&self.encode_to_vec()).context("packing by snappy")
    }

    /// A request as it came over the wire.
    ///
    /// # Errors
    /// When it is not snappy's, or not such a request.
    pub fn unpacked(body: &[u8]) -> Result<Self> {
        let plain = Decoder::new().decompress_vec(body).context("unpacking by snappy")?;
        Self::decode(plain.as_slice()).context("a write request")
    }
}

/// Sends to one receiver, over connections that it keeps.
#[derive(Clone, Debug)]
pub struct RemoteWriter {
    client: Client,
    url: String,
    token: Option<String>,
}

impl RemoteWriter {
    /// Sends to a URL, over plain HTTP or to a server with a publicly known root.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub fn new(url: &str) -> Result<Self> {
        Self::build(url, None, None)
    }

    /// Sends to a URL of a server with the given root (PEM) only, with a token.
    ///
    /// # Errors
    /// When the root is not a certificate.
    pub fn trusting(url: &str, root: &[u8], token: &str) -> Result<Self> {
        Self::build(url, Some(Certificate::from_pem(root)?), Some(token.to_owned()))
    }

    fn build(url: &str, root: Option<Certificate>, token: Option<String>) -> Result<Self> {
        // Without one the client cannot be built, although it may speak plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder().no_proxy().timeout(PATIENCE);
        if let Some(root) = root {
            client = client.tls_certs_only([root]);
        }
        Ok(Self { client: client.build()?, url: url.to_owned(), token })
    }

    /// Posts a body as it is, and gives the answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> Result<(StatusCode, String)> {
        let mut request = self
            .client
            .post(&self.url)
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// Sends a request that must be taken.
    ///
    /// # Errors
    /// When it is not.
    pub async fn send(&self, request: &WriteRequest) -> Result<()> {
        let (status, text) = self.post(request.packed()?).await?;
        if !status.is_success() {
            bail!("POST {}: {status}: {}", self.url, text.trim());
        }
        Ok(())
    }
}
