//! The way to the collector: connects, delivers what the buffer holds, forgets what was committed,
//! and renews the certificate. While there is no connection, nothing is lost but time.

mod backoff;
mod ground;
mod lane;
mod renewal;
mod session;
mod shipment;

use std::error::Error;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{info, warn};
use upkeep_wire::v1::delivery_client::DeliveryClient;
use upkeep_wire::{MAX_MESSAGE_BYTES, v1};

use crate::buffer::{BufferError, SharedBuffer};
use crate::dial::DialError;
use crate::host::Host;
use crate::identity::{Credential, HostKey, IdentityError, IdentityFolder};
use crate::inventory::HeldPackages;

pub use backoff::Backoff;
pub use ground::{Connecting, Ground, Line};
use session::{Ended, Session};

/// How long the collector may take to answer a question that is not the stream itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The longest wait for a time of the wall clock before the clock is looked at again, since it may
/// be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// A stream counts as a connection once samples were acknowledged, or after so long without an end:
/// a collector may accept every stream and refuse whatever comes on it.
const TRIAL: Duration = Duration::from_secs(30);

/// Why the connection to the collector ended or did not come about.
#[derive(Debug, Error)]
pub enum UplinkError {
    /// No connection was made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The files of the identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The buffer cannot be read.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The collector said no, or the connection broke.
    #[error("{0}")]
    Status(String),
    /// The collector did not answer in time.
    #[error("the collector did not answer within {} s", ANSWER_PATIENCE.as_secs())]
    Silent,
    /// The collector did not keep to the protocol.
    #[error("the collector sent something unexpected: {0}")]
    Protocol(&'static str),
    /// The collector closed the stream.
    #[error("the collector ended the stream")]
    Closed,
    /// Records that the collector lost went from the buffer while the connection was being made. As the
    /// next one is made, the collector declares them.
    #[error(
        "what the collector lost went from the buffer meanwhile; the next connection declares it"
    )]
    Outrun,
    /// It failed, as it must with a certificate that is over by this host's clock.
    #[error(
        "this host's certificate has expired; if its clock is right, enroll it anew with \
         `upkeep-agent enroll --force` ({0})"
    )]
    Expired(Box<UplinkError>),
}

impl From<tonic::Status> for UplinkError {
    fn from(status: tonic::Status) -> Self {
        let mut text = status.message().to_owned();
        let mut source = status.source();
        while let Some(error) = source {
            let cause = error.to_string();
            // Layers that hand an error on often tell it in its own words.
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            source = error.source();
        }
        Self::Status(text)
    }
}

/// What the uplink needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The collector's address, `host:port`.
    pub address: String,
    /// The longest time between two attempts, unless the collector asks its hosts to spread over more.
    pub backoff_max: Duration,
    /// How often the host is observed; the collector measures silence by it.
    pub interval: Duration,
    /// The kernel's name of this boot.
    pub boot_id: String,
    /// The host whose clock tells the times.
    pub host: Host,
    /// The version of this agent.
    pub agent_version: String,
    /// The network and the threads.
    pub ground: Ground,
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first attempt is under way.
    Starting,
    /// Records are delivered.
    Up {
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
    },
    /// There is no connection.
    Down {
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
        /// Why, as of the last attempt.
        reason: String,
    },
}

/// Delivers until it is cancelled. `link` tells how the connection is, and `held` what the
/// collector had of the host's packages when it began.
pub async fn run(
    settings: Settings,
    folder: IdentityFolder,
    buffer: SharedBuffer,
    link: watch::Sender<Link>,
    held: watch::Sender<Option<HeldPackages>>,
    cancel: CancellationToken,
) {
    let uplink = Uplink { settings, folder, buffer, link, held };
    let backoff = Backoff::new(uplink.settings.backoff_max);
    // Whatever is sent and not acknowledged when this ends is sent again by the next connection.
    cancel.run_until_cancelled(uplink.keep_up(backoff)).await;
}

struct Uplink {
    settings: Settings,
    folder: IdentityFolder,
    buffer: SharedBuffer,
    link: watch::Sender<Link>,
    held: watch::Sender<Option<HeldPackages>>,
}

impl Uplink {
    async fn keep_up(&self, mut backoff: Backoff) {
        let mut received_ms = None;
        loop {
            match self.connect(&mut backoff, received_ms).await {
                Ok(Ended::Renewed) => {
                    received_ms = Some(now_ms());
                    continue;
                }
                Ok(Ended::NewEpoch | Ended::ClockSet | Ended::Stands | Ended::InTime) => continue,
                Err(error) => self.note_down(&error),
            }
            tokio::time::sleep(backoff.next(rand::random())).await;
        }
    }

    /// One connection, from its making to its end.
    async fn connect(
        &self,
        backoff: &mut Backoff,
        received_ms: Option<i64>,
    ) -> Result<Ended, UplinkError> {
        let credential = self.folder.credential()?;
        let connected = self.connect_as(&credential, backoff, received_ms).await;
        let (_, end_ms) = credential.validity_ms();
        // The collector says so only in the handshake, of which little arrives here.
        connected.map_err(|error| match error {
            error if end_ms <= now_ms() => UplinkError::Expired(Box::new(error)),
            error => error,
        })
    }

    async fn connect_as(
        &self,
        credential: &Credential,
        backoff: &mut Backoff,
        received_ms: Option<i64>,
    ) -> Result<Ended, UplinkError> {
        let Settings { ground, address, .. } = &self.settings;
        let channel = ground.connect(address, &self.folder, credential).await?;
        let mut session = Session::open(client(channel), &self.settings, &self.buffer).await?;
        backoff.spread_over(session.retry_after());
        self.held.send_replace(Some(session.held()));
        let mut trial = Some(Instant::now() + TRIAL);
        let mut due_ms = renewal::due_ms(credential.validity_ms(), received_ms, rand::random());
        loop {
            // Before anything is delivered, since what is delivered may be refused for days.
            if now_ms() >= due_ms {
                match self.renew(session.client()).await {
                    Ok(()) => return Ok(Ended::Renewed),
                    Err(error) => {
                        let (_, end_ms) = credential.validity_ms();
                        let wait = renewal::retry_after(end_ms, now_ms());
                        due_ms = now_ms().saturating_add(wait.as_millis() as i64);
                        warn!("the certificate cannot be renewed yet: {error}");
                    }
                }
            }
            let due = instant_of(due_ms);
            let ended = session.deliver(trial.map_or(due, |end| end.min(due))).await?;
            match ended {
                Ended::Renewed | Ended::NewEpoch | Ended::ClockSet => return Ok(ended),
                Ended::InTime if trial.is_none_or(|end| Instant::now() < end) => {}
                Ended::InTime | Ended::Stands => {
                    if trial.take().is_some() {
                        backoff.reset();
                        self.note_up();
                    }
                }
            }
        }
    }

    async fn renew(&self, mut client: DeliveryClient<Channel>) -> Result<(), UplinkError> {
        let key = HostKey::generate()?;
        let request = v1::RenewRequest { certificate_request: key.certificate_request()?.into() };
        let reply = tokio::time::timeout(ANSWER_PATIENCE, client.renew(request)).await;
        let reply = reply.map_err(|_| UplinkError::Silent)??.into_inner();
        let ders = |list: Vec<bytes::Bytes>| -> Vec<CertificateDer<'static>> {
            list.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect()
        };
        let roots = ders(reply.trusted_roots);
        let credential = Credential::new(key, ders(reply.certificate_chain))
            .map_err(|_| UplinkError::Protocol("a renewed certificate of another key"))?;
        if roots.is_empty() {
            return Err(UplinkError::Protocol("a renewal without roots to trust"));
        }
        let folder = self.folder.clone();
        self.settings.ground.blocking(move || folder.renew(&credential, &roots)).await?;
        info!("the certificate was renewed");
        Ok(())
    }

    fn note_up(&self) {
        if !matches!(*self.link.borrow(), Link::Up { .. }) {
            info!(address = self.settings.address, "connected to the collector");
        }
        self.link.send_replace(Link::Up { since_ms: now_ms() });
    }

    /// Each reason is logged once, however often it comes again.
    fn note_down(&self, error: &UplinkError) {
        let reason = error.to_string();
        let since_ms = match &*self.link.borrow() {
            Link::Down { reason: known, .. } if *known == reason => return,
            Link::Down { since_ms, .. } => *since_ms,
            Link::Starting | Link::Up { .. } => now_ms(),
        };
        warn!(address = self.settings.address, "no connection to the collector: {reason}");
        self.link.send_replace(Link::Down { since_ms, reason });
    }
}

fn client(channel: Channel) -> DeliveryClient<Channel> {
    DeliveryClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// The moment of a wall clock's time, or one before it; one that has passed is now.
fn instant_of(at_ms: i64) -> Instant {
    let wait = u64::try_from(at_ms.saturating_sub(now_ms())).unwrap_or_default();
    Instant::now() + Duration::from_millis(wait).min(LONGEST_SLEEP)
}

/// The wall clock in milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
