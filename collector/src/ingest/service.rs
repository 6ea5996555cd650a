//! The methods that require a certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use upkeep_model::HostId;
use upkeep_wire::v1;
use upkeep_wire::v1::delivery_server::Delivery;

use super::Services;
use super::listener::Peer;
use super::quota::LogQuota;
use super::session::{self, Session};
use crate::ca::{PeerIdentity, RenewalError, renew};
use crate::fleet::{Member, Standing};
use crate::state::{Action, By, Outcome};

/// So many answers may wait for a host that does not read them; then its stream waits.
const WAITING_ANSWERS: usize = 16;

/// A host that keeps trying in vain is in the audit log once in this time.
const REFUSAL_NOTE_MS: i64 = 3_600_000;

/// Serves streams and renewals.
#[derive(Clone)]
pub(super) struct DeliveryService {
    services: Services,
    stop: CancellationToken,
    sessions: TaskTracker,
    noted: Arc<Mutex<HashMap<HostId, i64>>>,
    quota: Arc<LogQuota<HostId>>,
}

impl DeliveryService {
    pub(super) fn new(services: Services, stop: CancellationToken) -> Self {
        Self {
            services,
            stop,
            sessions: TaskTracker::new(),
            noted: Arc::default(),
            quota: Arc::default(),
        }
    }

    /// Waits until every stream has ended.
    pub(super) async fn ended(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    /// The host that a request comes from, by the certificate of its connection.
    async fn authenticate<T>(
        &self,
        request: &Request<T>,
    ) -> Result<(PeerIdentity, Arc<Member>), Status> {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.ok_or_else(|| Status::internal("the connection is not known"))?;
        let Some(identity) = peer.identity.clone() else {
            return Err(Status::unauthenticated(
                "this method needs a client certificate; enroll the host first",
            ));
        };
        if let Standing::Unknown = self.services.fleet.standing(identity.host) {
            // It may have enrolled a moment ago.
            let (fleet, state) = (Arc::clone(&self.services.fleet), self.services.state.clone());
            self.services.disk_work.ask(move || fleet.refresh(&state)).await?;
        }
        let refusal = match self.services.fleet.standing(identity.host) {
            Standing::Good(member) => return Ok((identity, member)),
            Standing::Revoked => session::REVOKED,
            Standing::Unknown => "this collector knows no such host; enroll it again",
        };
        if self.quota.admits(identity.host, self.services.clock.now_ms()) {
            tracing::info!(host = %identity.host, address = %peer.address, refusal, "refused");
        }
        self.note_refusal(identity.host, peer, refusal).await?;
        Err(Status::permission_denied(refusal))
    }

    async fn note_refusal(
        &self,
        host: HostId,
        peer: &Peer,
        refusal: &'static str,
    ) -> Result<(), Status> {
        let at_ms = self.services.clock.now_ms();
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&host).is_some_and(|noted_ms| at_ms - noted_ms < REFUSAL_NOTE_MS) {
                return Ok(());
            }
            noted.insert(host, at_ms);
        }
        let state = self.services.state.clone();
        let by = By { actor: format!("host:{host}"), at_ms };
        let detail = format!("{refusal} (from {})", peer.address.ip());
        let record = move || {
            let subject = host.to_string();
            state.record_audit(&by, Action::HostConnect, &subject, Outcome::Refused, &detail)
        };
        self.services.disk_work.ask(record).await
    }
}

#[tonic::async_trait]
impl Delivery for DeliveryService {
    type StreamStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (identity, member) = self.authenticate(&request).await?;
        let (answers, stream) = mpsc::channel(WAITING_ANSWERS);
        let (services, quota) = (self.services.clone(), Arc::clone(&self.quota));
        let session = Session::new(services, identity, member, answers, quota, self.stop.clone());
        self.sessions.spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewReply>, Status> {
        let (identity, _) = self.authenticate(&request).await?;
        let Services { authority, state, clock, disk_work, .. } = self.services.clone();
        let certificate_request = request.into_inner().certificate_request;
        let renewed = disk_work.run(move || {
            renew(&authority, &state, identity.host, &certificate_request, clock.now_ms())
        });
        match renewed.await.map_err(|error| Status::internal(error.to_string()))? {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => Err(match &error {
                RenewalError::Request(_) => Status::invalid_argument(error.to_string()),
                RenewalError::State(_) => Status::unavailable(error.to_string()),
                RenewalError::Authority(_) => Status::internal(error.to_string()),
            }),
        }
    }
}
