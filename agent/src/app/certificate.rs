//! For how long the agent's own certificate is good, told beside the host's series.

use upkeep_model::Observation;

use crate::host::Host;
use crate::identity::IdentityFolder;
use crate::probe::{Probe, ProbeError};

/// Reads the certificate at each tick, so that what is told is what the next connection shows: a
/// renewal, or an enrollment by hand, is seen at once.
pub(super) struct CertificateProbe(pub(super) IdentityFolder);

impl Probe for CertificateProbe {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn observe(&self, _: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let credential =
            self.0.credential().map_err(|error| ProbeError::System(error.to_string()))?;
        let (not_before_ms, not_after_ms) = credential.validity_ms();
        let help = "When the agent's certificate began to be valid, in seconds since 1970.";
        let name = "upkeep_agent_certificate_not_before_timestamp_seconds";
        out.gauge(name, help, &[], not_before_ms as f64 / 1000.0);
        let help = "When the agent's certificate ceases to be valid, in seconds since 1970.";
        let name = "upkeep_agent_certificate_not_after_timestamp_seconds";
        out.gauge(name, help, &[], not_after_ms as f64 / 1000.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::host::HostPaths;

    #[test]
    fn the_validity_of_what_lies_in_the_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let probe = CertificateProbe(IdentityFolder::new(folder.path()));
        let observe = || {
            let mut out = Observation::at(0);
            let told = probe.observe(&Host::new(HostPaths::default()), &mut out);
            let values: Vec<_> = out
                .iter()
                .map(|(series, value)| (series.labels.metric_name().unwrap().to_owned(), value))
                .collect();
            told.map(|()| values).map_err(|error| error.to_string())
        };
        assert!(observe().unwrap_err().contains("credential.pem"));

        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2027, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 8);
        let certificate = params.self_signed(&key).unwrap().pem();
        let text = key.serialize_pem() + &certificate;
        fs::write(folder.path().join("credential.pem"), text).unwrap();
        let name = |end: &str| format!("upkeep_agent_certificate_{end}_timestamp_seconds");
        let expect = [(name("not_before"), 1_798_761_600.0), (name("not_after"), 1_799_366_400.0)];
        assert_eq!(observe().unwrap(), expect);
    }
}
