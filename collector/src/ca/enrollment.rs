//! Enrollment: a token and a proof of a key are exchanged for an identity.
//!
//! Nothing about who the host becomes is taken from the request. Its host name is a label, its
//! certificate request gives a public key and no more.

use std::sync::Arc;

use thiserror::Error;
use tonic::{Request, Response, Status};
use upkeep_model::HostId;
use upkeep_wire::v1;
use upkeep_wire::v1::enrollment_server::Enrollment;
use uuid::Uuid;

use super::{Authority, CaError, HostRequest, IssuedCertificate, RequestError};
use crate::clock::Clock;
use crate::state::{
    Action, By, CertificateRecord, EnrollmentAttempt, EnrollmentRefusal, Outcome, SecretHash,
    State, StateError,
};

/// The longest token id and version text that is looked at.
const MAX_TEXT_BYTES: usize = 255;

/// The longest host name that DNS knows.
const MAX_HOSTNAME_CHARS: usize = 253;

/// The length of a token's secret.
const SECRET_BYTES: usize = 32;

/// The length of the id by which an agent recognizes its own request.
const ENROLLMENT_ID_BYTES: usize = 16;

/// What goes wrong as a host asks for an identity.
#[derive(Debug, Error)]
enum EnrollmentError {
    #[error("field {0} is missing or has a wrong length")]
    Field(&'static str),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}")]
    Refused(EnrollmentRefusal),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Authority(#[from] CaError),
}

/// Why a host gets no new certificate.
#[derive(Debug, Error)]
pub enum RenewalError {
    /// Its request is none.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The certificate cannot be made.
    #[error(transparent)]
    Authority(#[from] CaError),
}

/// Serves the methods for hosts that have no certificate yet.
#[derive(Clone, Debug)]
pub struct EnrollmentService {
    authority: Arc<Authority>,
    state: State,
    clock: Clock,
}

impl EnrollmentService {
    /// A service on an authority and the state.
    pub fn new(authority: Arc<Authority>, state: State, clock: Clock) -> Self {
        Self { authority, state, clock }
    }

    fn enroll_now(&self, request: &v1::EnrollRequest) -> Result<v1::EnrollReply, EnrollmentError> {
        let now_ms = self.clock.now_ms();
        let (attempt, host_request) = match read(request) {
            Ok(read) => read,
            Err(error) => {
                self.note_malformed(request, &error, now_ms)?;
                return Err(error);
            }
        };
        let (host, instance) =
            self.state.enroll(&attempt, now_ms)?.map_err(EnrollmentError::Refused)?;
        let issued = issue(&self.authority, &self.state, host, &host_request, now_ms)?;
        tracing::info!(%host, instance, token = attempt.token_id, "a host was enrolled");
        Ok(v1::EnrollReply {
            host_id: host.0.as_bytes().to_vec().into(),
            instance,
            certificate_chain: issued.chain.iter().map(|one| one.to_vec().into()).collect(),
            trusted_roots: roots(&self.authority),
            collector_time_ms: now_ms,
        })
    }

    fn note_malformed(
        &self,
        request: &v1::EnrollRequest,
        error: &EnrollmentError,
        now_ms: i64,
    ) -> Result<(), StateError> {
        let token: String = request.token_id.chars().take(MAX_TEXT_BYTES).collect();
        let by = By { actor: format!("enrollment:{token}"), at_ms: now_ms };
        let (subject, detail) = (host_label(&request.hostname), error.to_string());
        self.state.record_audit(&by, Action::HostEnroll, &subject, Outcome::Refused, &detail)
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollReply>, Status> {
        let service = self.clone();
        let request = request.into_inner();
        let done = tokio::task::spawn_blocking(move || service.enroll_now(&request));
        match done.await.map_err(|error| Status::internal(error.to_string()))? {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => {
                tracing::warn!(%error, "an enrollment was refused");
                Err(status(&error))
            }
        }
    }
}

/// A new certificate for a host that proved who it is.
///
/// # Errors
/// When the request is none, or the certificate cannot be made or noted.
pub fn renew(
    authority: &Authority,
    state: &State,
    host: HostId,
    certificate_request: &[u8],
    now_ms: i64,
) -> Result<v1::RenewReply, RenewalError> {
    let request = HostRequest::from_der(certificate_request)?;
    let certificate = authority.certify(host, &request, now_ms)?;
    note_certificate(state, host, &certificate)?;
    let by = By { actor: format!("host:{host}"), at_ms: now_ms };
    let serial = &certificate.serial;
    state.record_audit(&by, Action::HostRenew, &host.to_string(), Outcome::Done, serial)?;
    Ok(v1::RenewReply {
        certificate_chain: certificate.chain.iter().map(|one| one.to_vec().into()).collect(),
        trusted_roots: roots(authority),
    })
}

fn issue(
    authority: &Authority,
    state: &State,
    host: HostId,
    request: &HostRequest,
    now_ms: i64,
) -> Result<IssuedCertificate, EnrollmentError> {
    let certificate = authority.certify(host, request, now_ms)?;
    note_certificate(state, host, &certificate)?;
    Ok(certificate)
}

fn note_certificate(
    state: &State,
    host: HostId,
    certificate: &IssuedCertificate,
) -> Result<(), StateError> {
    let record = CertificateRecord {
        serial: certificate.serial.clone(),
        expires_at_ms: certificate.expires_at_ms,
    };
    state.record_certificate(host, &record)
}

/// Reads a request; what is not as it must be is named.
fn read(request: &v1::EnrollRequest) -> Result<(EnrollmentAttempt, HostRequest), EnrollmentError> {
    let within = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT_BYTES;
    if !within(&request.token_id) {
        return Err(EnrollmentError::Field("token_id"));
    }
    if request.token_secret.len() != SECRET_BYTES {
        return Err(EnrollmentError::Field("token_secret"));
    }
    if request.enrollment_id.len() != ENROLLMENT_ID_BYTES {
        return Err(EnrollmentError::Field("enrollment_id"));
    }
    if !within(&request.agent_version) {
        return Err(EnrollmentError::Field("agent_version"));
    }
    let host_request = HostRequest::from_der(&request.certificate_request)?;
    let attempt = EnrollmentAttempt {
        token_id: request.token_id.clone(),
        secret_hash: SecretHash::of(&request.token_secret),
        enrollment_id: data_encoding::HEXLOWER.encode(&request.enrollment_id),
        key_hash: host_request.key_hash(),
        hostname: host_label(&request.hostname),
        agent_version: request.agent_version.clone(),
        fresh: HostId(Uuid::new_v4()),
    };
    Ok((attempt, host_request))
}

/// A host name as a label. What no host name contains is replaced, so that nobody can take a name
/// such as the collector itself makes, or one that is unreadable in a log.
fn host_label(hostname: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    let label: String = hostname
        .trim()
        .chars()
        .take(MAX_HOSTNAME_CHARS)
        .map(|char| if allowed(char) { char } else { '-' })
        .collect();
    if label.is_empty() { "unnamed".to_owned() } else { label }
}

fn roots(authority: &Authority) -> Vec<bytes::Bytes> {
    authority.roots().iter().map(|root| root.to_vec().into()).collect()
}

fn status(error: &EnrollmentError) -> Status {
    let text = error.to_string();
    match error {
        EnrollmentError::Field(_) | EnrollmentError::Request(_) => Status::invalid_argument(text),
        EnrollmentError::Refused(EnrollmentRefusal::Unknown | EnrollmentRefusal::Forged) => {
            Status::unauthenticated(text)
        }
        EnrollmentError::Refused(_) => Status::permission_denied(text),
        EnrollmentError::State(_) => Status::unavailable(text),
        EnrollmentError::Authority(_) => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_labels() {
        let check = |hostname: &str, expect: &str| assert_eq!(host_label(hostname), expect);
        check("web1.example.com", "web1.example.com");
        check(" web1\n", "web1");
        check("", "unnamed");
        check("web1~1234", "web1-1234");
        check("a\u{1b}[31mb", "a--31mb");
        assert_eq!(host_label(&"x".repeat(5000)).len(), MAX_HOSTNAME_CHARS);
    }
}
