use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use uuid::Uuid;

use super::*;

const NOW: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 24 * 3_600_000;

fn authority(folder: &Path) -> Authority {
    let names = ["collector.example".to_owned(), "127.0.0.1".to_owned()];
    Authority::create(folder, &names, NOW).unwrap();
    Authority::open(folder, HOST_LIFETIME).unwrap()
}

fn request() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn host_certificate(authority: &Authority, host: HostId) -> IssuedCertificate {
    let request = HostRequest::from_der(&request()).unwrap();
    authority.certify(host, &request, NOW).unwrap()
}

fn anchors(certificate: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut anchors = RootCertStore::empty();
    anchors.add(certificate.clone()).unwrap();
    Arc::new(anchors)
}

fn at(ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(ms).unwrap()))
}

fn verify_as_host(
    anchor: &CertificateDer<'static>,
    chain: &[CertificateDer<'static>],
    at_ms: i64,
) -> Result<(), Error> {
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(anchors(anchor), provider)
        .build()
        .unwrap()
        .verify_client_cert(&chain[0], &chain[1..], at(at_ms))
        .map(|_| ())
}

fn verify_as_collector(
    root: &CertificateDer<'static>,
    chain: &[CertificateDer<'static>],
    name: &str,
    at_ms: i64,
) -> Result<(), Error> {
    let provider = Arc::new(ring::default_provider());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    WebPkiServerVerifier::builder_with_provider(anchors(root), provider)
        .build()
        .unwrap()
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], at(at_ms))
        .map(|_| ())
}

#[test]
fn a_host_is_who_its_certificate_says_for_as_long_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let host = HostId(Uuid::from_u128(77));
    let issued = host_certificate(&authority, host);

    for anchor in [authority.agents_certificate(), &authority.roots()[0]] {
        let check = |at_ms, good: bool| {
            let verified = verify_as_host(anchor, &issued.chain, at_ms);
            assert_eq!(verified.is_ok(), good, "{at_ms}: {verified:?}");
        };
        check(NOW, true);
        check(NOW - 3_500_000, true);
        check(NOW - 3_700_000, false);
        check(NOW + 7 * DAY_MS - 1_000, true);
        check(NOW + 7 * DAY_MS + 1_000, false);
    }
    let identity = identify(&issued.chain[0]).unwrap();
    assert_eq!((identity.host, &identity.serial), (host, &issued.serial));
    assert_eq!(identity.expires_at_ms, issued.expires_at_ms);
}

#[test]
fn usages_are_separate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let root = &authority.roots()[0];
    let host = host_certificate(&authority, HostId(Uuid::from_u128(77)));
    let server = authority.server_certificate(NOW).unwrap();

    assert_eq!(server.chain.last(), Some(root));
    assert!(verify_as_collector(root, &server.chain, "collector.example", NOW).is_ok());
    assert!(verify_as_collector(root, &server.chain, "127.0.0.1", NOW).is_ok());
    assert!(verify_as_collector(root, &server.chain, "elsewhere.example", NOW).is_err());
    let usage = |error: Result<(), Error>| {
        let error = error.unwrap_err();
        let Error::InvalidCertificate(error) = &error else { panic!("{error}") };
        matches!(
            error,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
        )
    };
    assert!(usage(verify_as_host(root, &server.chain, NOW)));
    assert!(usage(verify_as_collector(root, &host.chain, "evil.example", NOW)));
    assert_eq!(identify(&server.chain[0]), None);
}

#[test]
fn another_authority_certifies_nobody_here() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (authority(here.path()), authority(there.path()));
    let stranger = host_certificate(&there, HostId(Uuid::from_u128(77)));
    let refused = verify_as_host(here.agents_certificate(), &stranger.chain, NOW);
    assert_eq!(refused, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
}

#[test]
fn the_collector_renews_its_own_certificate_near_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let first = authority.server_certificate(NOW + 59 * DAY_MS).unwrap();
    assert!(!first.renewed);
    let later = NOW + 61 * DAY_MS;
    let second = authority.server_certificate(later).unwrap();
    assert!(second.renewed && second.expires_at_ms > first.expires_at_ms);
    let root = &authority.roots()[0];
    assert!(verify_as_collector(root, &second.chain, "collector.example", later).is_ok());
    let again = authority.server_certificate(later).unwrap();
    assert!(!again.renewed && again.chain == second.chain);
    ServerKey::new(again).unwrap();
}

#[test]
fn a_certificate_that_cannot_be_renewed_is_used_for_as_long_as_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let names = folder.path().join("ca").join(folder::SERVER_NAMES);
    let aside = names.with_extension("aside");
    std::fs::rename(&names, &aside).unwrap();
    let kept = authority.server_certificate(NOW + 61 * DAY_MS).unwrap();
    assert!(!kept.renewed);
    let error = authority.server_certificate(kept.expires_at_ms).err().unwrap();
    assert!(error.to_string().contains(folder::SERVER_NAMES), "{error}");
    std::fs::rename(&aside, &names).unwrap();
    assert!(authority.server_certificate(kept.expires_at_ms).unwrap().renewed);
}

#[test]
fn a_certificate_that_was_made_under_a_clock_far_ahead_is_replaced_when_it_is_set_right() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let ahead = authority.server_certificate(NOW + 365 * DAY_MS).unwrap();
    assert!(ahead.renewed);
    let right = authority.server_certificate(NOW).unwrap();
    assert!(right.renewed);
    let root = &authority.roots()[0];
    assert!(verify_as_collector(root, &right.chain, "collector.example", NOW).is_ok());
    assert!(!authority.server_certificate(NOW).unwrap().renewed);
}

#[test]
fn the_files_are_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Authority::open(folder.path(), HOST_LIFETIME).unwrap_err();
    assert!(matches!(missing, CaError::Missing(_)), "{missing}");
    let _ = authority(folder.path()).server_certificate(NOW + 80 * DAY_MS).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path().join("ca")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert_eq!(files, 8);
    let refused = Authority::create(folder.path(), &["x".to_owned()], NOW).unwrap_err();
    assert!(matches!(refused, CaError::Exists(_)), "{refused}");
}

#[test]
fn names_that_are_none_are_refused() {
    let check = |name: &str, good: bool| {
        let folder = tempfile::tempdir().unwrap();
        let made = Authority::create(folder.path(), &[name.to_owned()], NOW);
        assert_eq!(made.is_ok(), good, "{name}: {made:?}");
    };
    check("localhost", true);
    check("::1", true);
    check("collector.example", true);
    check("", false);
    check("two words", false);
    check("https://x", false);
    check("[::1]", false);
}

#[test]
fn what_is_no_request_is_refused() {
    let good = request();
    assert!(HostRequest::from_der(&good).is_ok());
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(HostRequest::from_der(&damaged), Err(RequestError::Invalid(_))));
    assert!(matches!(HostRequest::from_der(b""), Err(RequestError::Invalid(_))));
    assert!(matches!(HostRequest::from_der(&[0; 20_000]), Err(RequestError::TooLong(20_000))));
    let other_kind = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let params = CertificateParams::default();
    let der = params.serialize_request(&other_kind).unwrap().der().to_vec();
    assert!(matches!(HostRequest::from_der(&der), Err(RequestError::KeyKind)));
}
