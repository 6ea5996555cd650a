//! Enrollment: a token becomes an identity.
//!
//! The key and the enrollment's id are on the disk before a connection is made. If the reply is
//! lost, the next attempt asks with the same pair, and the collector answers with the same
//! identity; so no host is ever enrolled twice by one token.

mod token;

use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tonic::Code;
use tracing::info;
use upkeep_model::HostId;
use upkeep_wire::v1::enrollment_client::EnrollmentClient;
use upkeep_wire::{Fingerprint, MAX_MESSAGE_BYTES, Token, v1};
use uuid::Uuid;

use crate::dial::{self, DialError};
use crate::identity::{Credential, HostKey, Identity, IdentityError, IdentityFolder, Pending};

pub use token::{TokenFileError, read_token, remove_token};

/// Why the host is not enrolled.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// It is already.
    #[error(
        "this host is enrolled already as {instance} ({host_id}) with {address}; use --force to enroll it anew"
    )]
    Already {
        /// Its name in the fleet.
        instance: String,
        /// Its id.
        host_id: HostId,
        /// The collector's address.
        address: String,
    },
    /// A file of the identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no trusted connection to the collector.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The collector does not take the token.
    #[error("the collector refused the token: {0}")]
    Refused(String),
    /// The collector could not answer.
    #[error("the collector could not enroll this host: {0}")]
    Failed(String),
    /// The collector's answer cannot be used.
    #[error("the collector's answer cannot be used: {0}")]
    Answer(String),
}

/// What an enrollment needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Enrollment<'e> {
    /// The token.
    pub token: &'e Token,
    /// What the host calls itself.
    pub hostname: &'e str,
    /// The version of this agent.
    pub agent_version: &'e str,
    /// Enroll although the host is enrolled already.
    pub force: bool,
    /// The wall clock in milliseconds since 1970.
    pub now_ms: i64,
}

/// Enrolls the host and stores its identity in `folder`.
///
/// # Errors
/// When it is refused, or something on the way fails; it can be tried again with the same token.
pub async fn enroll(
    folder: &IdentityFolder,
    enrollment: Enrollment<'_>,
) -> Result<Identity, EnrollError> {
    if !enrollment.force {
        refuse_if_enrolled(folder)?;
    }
    let pending = begin(folder, enrollment.token)?;
    let address = enrollment.token.address();
    let channel = dial::connect(address, dial::pinned(enrollment.token.pins())?).await?;
    let mut client = EnrollmentClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = v1::EnrollRequest {
        token_id: enrollment.token.id().to_owned(),
        token_secret: enrollment.token.secret().reveal().to_vec().into(),
        enrollment_id: pending.enrollment_id.as_bytes().to_vec().into(),
        certificate_request: pending.key.certificate_request()?.into(),
        hostname: enrollment.hostname.to_owned(),
        agent_version: enrollment.agent_version.to_owned(),
    };
    let reply = client.enroll(request).await.map_err(|status| refusal(&status))?.into_inner();
    let (host_id, credential, roots) = read_reply(&reply, pending.key, enrollment.token.pins())?;
    let identity = Identity {
        host_id,
        instance: reply.instance,
        address: address.to_owned(),
        enrolled_at_ms: enrollment.now_ms,
    };
    folder.finish(&identity, &credential, &roots)?;
    Ok(identity)
}

fn refuse_if_enrolled(folder: &IdentityFolder) -> Result<(), EnrollError> {
    match folder.identity() {
        Ok(Identity { instance, host_id, address, .. }) => {
            Err(EnrollError::Already { instance, host_id, address })
        }
        Err(IdentityError::NotEnrolled(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The enrollment that was begun with this token, or a new one.
fn begin(folder: &IdentityFolder, token: &Token) -> Result<Pending, EnrollError> {
    if let Some(pending) = folder.pending()?.filter(|pending| pending.token_id == token.id()) {
        info!("going on with the enrollment that was begun before");
        return Ok(pending);
    }
    let pending = Pending {
        token_id: token.id().to_owned(),
        enrollment_id: Uuid::from_bytes(rand::random()),
        key: HostKey::generate()?,
    };
    folder.begin(&pending)?;
    Ok(pending)
}

fn refusal(status: &tonic::Status) -> EnrollError {
    let message = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists => EnrollError::Refused(message),
        code => EnrollError::Failed(format!("{code}: {message}")),
    }
}

type Reply = (HostId, Credential, Vec<CertificateDer<'static>>);

fn read_reply(
    reply: &v1::EnrollReply,
    key: HostKey,
    pins: &[Fingerprint],
) -> Result<Reply, EnrollError> {
    let answer = |reason: String| EnrollError::Answer(reason);
    let host_id = HostId::try_from(reply).map_err(|error| answer(error.to_string()))?;
    let ders = |list: &[bytes::Bytes]| -> Vec<CertificateDer<'static>> {
        list.iter().map(|der| CertificateDer::from(der.to_vec())).collect()
    };
    let credential = Credential::new(key, ders(&reply.certificate_chain)).map_err(answer)?;
    let roots = ders(&reply.trusted_roots);
    if !roots.iter().any(|root| pins.contains(&Fingerprint::of(root))) {
        return Err(answer("its root certificates are not the token's".to_owned()));
    }
    Ok((host_id, credential, roots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_wire::TokenSecret;

    fn token(id: &str) -> Token {
        let pins = vec![Fingerprint([1; 32])];
        Token::new(id, TokenSecret::new([0; 32]), "localhost:1", pins).unwrap()
    }

    #[test]
    fn an_enrollment_that_was_begun_goes_on_with_the_same_key() {
        let state = tempfile::tempdir().unwrap();
        let folder = IdentityFolder::new(&state.path().join("agent"));
        let first = begin(&folder, &token("a")).unwrap();
        assert_eq!(begin(&folder, &token("a")).unwrap(), first);
        let other = begin(&folder, &token("b")).unwrap();
        assert!(other.enrollment_id != first.enrollment_id && other.key != first.key);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let reply = v1::EnrollReply {
            host_id: vec![7; 16].into(),
            certificate_chain: vec![certificate.der().to_vec().into()],
            trusted_roots: vec![certificate.der().to_vec().into()],
            ..v1::EnrollReply::default()
        };
        let key: HostKey = serde_json::from_value(pair.serialize_pem().into()).unwrap();
        let pins = [Fingerprint::of(certificate.der())];
        let check = |reply: &v1::EnrollReply, pins: &[Fingerprint], expect: Option<&str>| {
            let error = read_reply(reply, key.clone(), pins).err().map(|error| error.to_string());
            match (error, expect) {
                (None, None) => {}
                (Some(error), Some(expect)) => assert!(error.contains(expect), "{error}"),
                other => panic!("{other:?}"),
            }
        };
        check(&reply, &pins, None);
        check(&reply, &[Fingerprint([1; 32])], Some("not the token's"));
        let nobody = v1::EnrollReply { host_id: vec![7].into(), ..reply.clone() };
        check(&nobody, &pins, Some("host_id"));
        let empty = v1::EnrollReply { certificate_chain: Vec::new(), ..reply.clone() };
        check(&empty, &pins, Some("no certificate"));
    }
}
