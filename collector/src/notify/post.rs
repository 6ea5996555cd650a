//! A request with a body that somebody else made.

use reqwest::Url;

use super::NotifyError;
use super::http_client::{HttpClient, HttpSettings, Receipt};

/// Posts JSON to one address.
pub struct Post {
    client: HttpClient,
    url: Url,
}

impl Post {
    /// Requests to an address.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(url: Url, settings: HttpSettings) -> Result<Self, NotifyError> {
        Ok(Self { client: HttpClient::new(settings)?, url })
    }

    /// Posts.
    ///
    /// # Errors
    /// When the address may not be sent to or does not take it.
    pub async fn send(&self, body: Vec<u8>) -> Result<Receipt, NotifyError> {
        let answer = self.client.post(self.url.clone(), body, &[]).await?;
        self.client.receipt(answer)
    }
}
