//! What stands in each certificate.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use upkeep_model::HostId;

use super::identity::HOST_URI;
use super::{CaError, HostRequest, IssuedCertificate};

/// Certificates are good from an hour before they are made, for hosts whose clock is behind.
const BACK_DATED: Duration = Duration::from_hours(1);

/// Agents trust the root for as long as they live, so it outlives any host.
const ROOT_LIFETIME: Duration = Duration::from_hours(20 * 365 * 24);

/// Intermediates are replaced by `init` of a later time, not by the running server.
const INTERMEDIATE_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// The collector renews its own certificate, so it need not live long.
const SERVER_LIFETIME: Duration = Duration::from_hours(90 * 24);

/// When so much is left of the collector's certificate, it is renewed.
const SERVER_RENEWAL: Duration = Duration::from_hours(30 * 24);

/// A key that signs certificates of one usage.
pub(super) struct Intermediate {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

/// The texts of a new authority's files.
pub(super) struct MadeAuthority {
    pub(super) root: Pair,
    pub(super) agents: Pair,
    pub(super) servers: Pair,
    pub(super) server: IssuedServer,
}

/// A certificate and its key, both PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The collector's key and chain in one PEM text.
pub(super) struct IssuedServer {
    pub(super) pem: String,
}

/// Makes every key and certificate of a new authority.
pub(super) fn make_authority(names: &[String], now_ms: i64) -> Result<MadeAuthority, CaError> {
    // Authorities of one place are told apart in browsers and logs by this.
    let mark = data_encoding::HEXLOWER.encode(&rand::random::<[u8; 4]>());
    let what = "the root certificate";
    let key = generate(what)?;
    let mut params = authority_params(&format!("Upkeep root A {mark}"), None);
    set_validity(&mut params, now_ms, ROOT_LIFETIME);
    let certificate = params.self_signed(&key).map_err(|source| CaError::Make { what, source })?;
    let root = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    let issuer = Issuer::new(params, key);

    let agents = make_intermediate(&issuer, &format!("Upkeep agents {mark}"), now_ms)?;
    let servers = make_intermediate(&issuer, &format!("Upkeep servers {mark}"), now_ms)?;
    let server = make_server(&servers, names, now_ms)?;
    let pair =
        |made: Intermediate| Pair { certificate: made.pem, key: made.issuer.key().serialize_pem() };
    Ok(MadeAuthority { root, agents: pair(agents), servers: pair(servers), server })
}

/// Makes the collector's key and certificate.
pub(super) fn make_server(
    issuer: &Intermediate,
    names: &[String],
    now_ms: i64,
) -> Result<IssuedServer, CaError> {
    let what = "the collector's certificate";
    let key = generate(what)?;
    let mut params = leaf_params(ExtendedKeyUsagePurpose::ServerAuth);
    params.subject_alt_names =
        names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
    params.distinguished_name.push(DnType::CommonName, "Upkeep collector");
    set_validity(&mut params, now_ms, SERVER_LIFETIME);
    let certificate =
        params.signed_by(&key, &issuer.issuer).map_err(|source| CaError::Make { what, source })?;
    Ok(IssuedServer { pem: key.serialize_pem() + &certificate.pem() + &issuer.pem })
}

/// Makes a host's certificate. Nothing of the request but its public key goes into it.
pub(super) fn certify(
    issuer: &Intermediate,
    host: HostId,
    request: &HostRequest,
    lifetime: Duration,
    now_ms: i64,
) -> Result<IssuedCertificate, CaError> {
    let what = "a host's certificate";
    let failed = |source| CaError::Make { what, source };
    let mut params = leaf_params(ExtendedKeyUsagePurpose::ClientAuth);
    let uri = format!("{HOST_URI}{host}").try_into().map_err(failed)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.distinguished_name.push(DnType::CommonName, host.to_string());
    let serial = random_serial();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    set_validity(&mut params, now_ms, lifetime);
    let certificate = params.signed_by(request.public_key(), &issuer.issuer).map_err(failed)?;
    let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
    Ok(IssuedCertificate {
        chain: vec![certificate.der().clone(), issuer.certificate.clone()],
        serial: data_encoding::HEXLOWER.encode(&serial),
        expires_at_ms: now_ms.saturating_add(lifetime_ms),
    })
}

/// Whether the collector's certificate is to be renewed: near its end, and where it is not valid yet,
/// since the clock was ahead when it was made.
pub(super) fn is_due(begins_at_ms: i64, expires_at_ms: i64, now_ms: i64) -> bool {
    let margin = i64::try_from(SERVER_RENEWAL.as_millis()).unwrap_or(i64::MAX);
    begins_at_ms > now_ms || expires_at_ms.saturating_sub(now_ms) < margin
}

/// A name or address as a certificate has it.
pub(super) fn server_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    rustls::pki_types::DnsName::try_from(name)
        .ok()
        .and_then(|_| name.try_into().ok())
        .map(SanType::DnsName)
        .ok_or_else(|| CaError::Name(name.to_owned()))
}

fn make_intermediate(
    root: &Issuer<'_, KeyPair>,
    name: &str,
    now_ms: i64,
) -> Result<Intermediate, CaError> {
    let what = "an intermediate certificate";
    let key = generate(what)?;
    let mut params = authority_params(name, Some(0));
    set_validity(&mut params, now_ms, INTERMEDIATE_LIFETIME);
    let certificate =
        params.signed_by(&key, root).map_err(|source| CaError::Make { what, source })?;
    Ok(Intermediate {
        certificate: certificate.der().clone(),
        pem: certificate.pem(),
        issuer: Issuer::new(params, key),
    })
}

fn authority_params(name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(
        path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained),
    );
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
    params
}

fn leaf_params(usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
    params
}

fn set_validity(params: &mut CertificateParams, now_ms: i64, lifetime: Duration) {
    let now = Duration::from_secs(u64::try_from(now_ms / 1000).unwrap_or(0));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACK_DATED);
    params.not_after = epoch + now.saturating_add(lifetime);
}

fn generate(what: &'static str) -> Result<KeyPair, CaError> {
    KeyPair::generate().map_err(|source| CaError::Make { what, source })
}

/// 127 random bits, the first of them set: positive, and always 16 bytes long.
fn random_serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    serial
}
