//! Hosts that are enrolled without a program of their own, so that thousands fit beside a collector.

use std::sync::Arc;

use anyhow::{Error, Result};
use rand::RngExt;
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use upkeep_agent::dial;
use upkeep_agent::identity::{Credential, HostKey};
use upkeep_wire::v1::enrollment_client::EnrollmentClient;
use upkeep_wire::{Token, v1};

use crate::Collector;

/// Enrollments that are under way at once.
const AT_ONCE: usize = 8;

/// What an enrolled host has.
pub struct Enrolled {
    address: String,
    credential: Credential,
    roots: Vec<CertificateDer<'static>>,
}

impl Enrolled {
    /// Enrolls hosts of these names with one token, as those of a golden image, in their order.
    ///
    /// # Errors
    /// When one of them is not enrolled.
    pub async fn all(collector: &Collector, names: &[String]) -> Result<Vec<Self>> {
        let uses = names.len().to_string();
        let create = ["token", "create", "--uses", &uses, "--address", collector.grpc()];
        let token: Token = collector.command(&create)?.success()?.trim().parse()?;
        let token = Arc::new(token);
        let mut enrolling = JoinSet::new();
        for worker in 0..AT_ONCE {
            let mine = names.iter().cloned().enumerate().skip(worker).step_by(AT_ONCE);
            let (token, mine) = (Arc::clone(&token), mine.collect::<Vec<_>>());
            enrolling.spawn(async move {
                let channel = dial::connect(token.address(), dial::pinned(token.pins())?).await?;
                let mut client = EnrollmentClient::new(channel);
                let mut enrolled = Vec::new();
                for (place, name) in mine {
                    enrolled.push((place, Self::new(&mut client, &token, name).await?));
                }
                Ok::<_, Error>(enrolled)
            });
        }
        let mut all = Vec::with_capacity(names.len());
        while let Some(enrolled) = enrolling.join_next().await {
            all.extend(enrolled??);
        }
        all.sort_by_key(|(place, _)| *place);
        Ok(all.into_iter().map(|(_, enrolled)| enrolled).collect())
    }

    async fn new(
        client: &mut EnrollmentClient<Channel>,
        token: &Token,
        hostname: String,
    ) -> Result<Self> {
        let key = HostKey::generate()?;
        let enrollment_id: [u8; 16] = rand::rng().random();
        let request = v1::EnrollRequest {
            token_id: token.id().to_owned(),
            token_secret: token.secret().reveal().to_vec().into(),
            enrollment_id: enrollment_id.to_vec().into(),
            certificate_request: key.certificate_request()?.into(),
            hostname,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let reply = client.enroll(request).await?.into_inner();
        let ders = |list: Vec<bytes::Bytes>| -> Vec<CertificateDer<'static>> {
            list.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect()
        };
        let credential = Credential::new(key, ders(reply.certificate_chain));
        Ok(Self {
            address: token.address().to_owned(),
            credential: credential.map_err(Error::msg)?,
            roots: ders(reply.trusted_roots),
        })
    }

    /// A connection that proves who the host is.
    ///
    /// # Errors
    /// When the collector is not there, or does not take it.
    pub async fn connect(&self) -> Result<Channel> {
        let tls = dial::mutual(&self.roots, self.credential.chain(), self.credential.tls_key()?)?;
        Ok(dial::connect(&self.address, tls).await?)
    }
}
