//! A request that says nothing but that it came.

use super::http_client::{HttpClient, HttpSettings, parse_url};
use super::{NotifyError, Secret};

/// Asks an address, for the sake of having asked.
pub struct Ping(HttpClient);

impl Ping {
    /// Requests as they are set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: HttpSettings) -> Result<Self, NotifyError> {
        HttpClient::new(settings).map(Self)
    }

    /// Asks.
    ///
    /// # Errors
    /// When the address may not be asked, or does not answer with a success.
    pub async fn send(&self, url: &Secret) -> Result<(), NotifyError> {
        let url = parse_url(&url.read().await?)?;
        let answer = self.0.get(url).await?;
        self.0.judge(answer).map(drop)
    }
}
