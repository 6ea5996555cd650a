//! Trust at first contact: the root certificate whose fingerprint the token carries.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use upkeep_wire::Fingerprint;

/// None of the certificates that the server showed is a pinned root.
#[derive(Debug, thiserror::Error)]
#[error("no certificate of the chain has a pinned fingerprint")]
pub(super) struct NoPinMatches;

/// Accepts a server that shows a pinned root in its chain, and whose certificate is valid with that
/// root as the only one: signatures, names and dates are checked as always.
#[derive(Debug)]
pub(super) struct PinnedRoot {
    pins: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl PinnedRoot {
    pub(super) fn new(
        pins: Vec<Fingerprint>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        if pins.is_empty() {
            return Err(Error::General("there is no fingerprint to trust".to_owned()));
        }
        Ok(Self { pins, provider })
    }

    fn root<'c>(&self, chain: &'c [CertificateDer<'c>]) -> Option<&'c CertificateDer<'c>> {
        chain.iter().find(|certificate| self.pins.contains(&Fingerprint::of(certificate)))
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = self.root(intermediates).ok_or_else(|| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NoPinMatches))))
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    type Root = CertifiedIssuer<'static, KeyPair>;

    fn root() -> Root {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(root: &Root, name: &str, last_year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        params.signed_by(&KeyPair::generate().unwrap(), root).unwrap().der().clone()
    }

    fn verify(pinned: &Root, chain: &[CertificateDer<'static>]) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pins = vec![Fingerprint([0; 32]), Fingerprint::of(pinned.der())];
        let (leaf, rest) = chain.split_first().unwrap();
        let name = ServerName::try_from("collector.example").unwrap();
        PinnedRoot::new(pins, provider)?
            .verify_server_cert(leaf, rest, &name, &[], UnixTime::now())
            .map(drop)
    }

    #[test]
    fn only_a_valid_certificate_of_the_pinned_root_passes() {
        let (pinned, other) = (root(), root());
        let (good_root, other_root) = (pinned.der().clone(), other.der().clone());
        let good = leaf(&pinned, "collector.example", 4000);
        assert_eq!(verify(&pinned, &[good.clone(), good_root.clone()]), Ok(()));
        assert_eq!(verify(&pinned, &[good.clone(), other_root.clone(), good_root.clone()]), Ok(()));

        let check = |what: &str, chain: &[CertificateDer<'static>]| {
            assert!(verify(&pinned, chain).is_err(), "{what}");
        };
        check("the root is not shown", std::slice::from_ref(&good));
        check("a root that is not pinned", &[leaf(&other, "collector.example", 4000), other_root]);
        let stranger = leaf(&other, "collector.example", 4000);
        check("the pinned root beside a stranger's leaf", &[stranger, good_root.clone()]);
        check("another name", &[leaf(&pinned, "evil.example", 4000), good_root.clone()]);
        check("expired", &[leaf(&pinned, "collector.example", 2021), good_root]);
    }

    #[test]
    fn a_missing_pin_is_told_apart() {
        let (pinned, other) = (root(), root());
        let chain = [leaf(&other, "collector.example", 4000), other.der().clone()];
        let error = verify(&pinned, &chain).unwrap_err();
        let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
            panic!("{error}");
        };
        assert!(other.0.is::<NoPinMatches>());
    }
}
