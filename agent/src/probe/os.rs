//! The distribution: os-release.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use upkeep_model::Observation;

use super::{Probe, ProbeError};
use crate::host::{Host, OsRelease};

/// The labels of `node_os_info`, and the keys they are read from.
const LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

/// The distribution's name, version and end of support.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsProbe;

impl Probe for OsProbe {
    fn name(&self) -> &'static str {
        "os"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let Some(release) = host.os_release()? else { return Ok(()) };
        let labels = LABELS.map(|(label, key)| (label, release.get(key)));
        out.gauge("node_os_info", "The distribution in its own words.", &labels, 1.0);
        if let Some(version) = major_minor(release.get("VERSION_ID")) {
            let labels = [
                ("id", release.get("ID")),
                ("id_like", release.get("ID_LIKE")),
                ("name", release.get("NAME")),
            ];
            let help = "The first two parts of the distribution's version.";
            out.gauge("node_os_version", help, &labels, version);
        }
        observe_support_end(&release, out)
    }
}

/// `22.04.3` is 22.04. A version of zero counts as none.
fn major_minor(version: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = digits(version);
    let rest = version.get(major..)?.strip_prefix('.');
    let length = rest.map_or(major, |rest| major + 1 + digits(rest));
    version.get(..length)?.parse().ok().filter(|number| *number > 0.0)
}

fn observe_support_end(release: &OsRelease, out: &mut Observation) -> Result<(), ProbeError> {
    let text = release.get("SUPPORT_END");
    if text.is_empty() {
        return Ok(());
    }
    let end =
        text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC)).map_err(|error| {
            ProbeError::Value {
                file: release.file().to_owned(),
                line: release.line("SUPPORT_END"),
                item: "SUPPORT_END".to_owned(),
                fault: error.to_string(),
            }
        })?;
    #[expect(clippy::cast_precision_loss, reason = "a date of this millennium is exact")]
    let seconds = end.timestamp().as_second() as f64;
    let help = "When the distribution's support ends, in seconds since 1970.";
    out.gauge("node_os_support_end_timestamp_seconds", help, &[], seconds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn versions_are_numbers_where_they_can_be() {
        let check =
            |text: &str, expect: Option<f64>| assert_eq!(major_minor(text), expect, "{text}");
        check("12", Some(12.0));
        check("22.04.3", Some(22.04));
        check("9.", Some(9.0));
        check("", None);
        check("rolling", None);
        check("0", None);
    }

    #[test]
    fn the_distribution_is_told() {
        let text =
            b"NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\nSUPPORT_END=2028-06-30\n";
        let (_folder, host) = host_with(&[("etc/os-release", text)]);
        let mut out = Observation::at(0);
        OsProbe.observe(&host, &mut out).unwrap();
        assert_eq!(
            page_of(&out),
            [
                "node_os_info{build_id=\"\",id=\"debian\",id_like=\"\",image_id=\"\",image_version=\"\",\
                 name=\"Debian GNU/Linux\",pretty_name=\"\",variant=\"\",variant_id=\"\",\
                 version=\"\",version_codename=\"\",version_id=\"12\"} 1",
                "node_os_support_end_timestamp_seconds 1.845936e+09",
                "node_os_version{id=\"debian\",id_like=\"\",name=\"Debian GNU/Linux\"} 12",
            ]
        );
    }

    #[test]
    fn a_date_that_is_none_is_told() {
        let (_folder, host) = host_with(&[("etc/os-release", b"ID=x\nSUPPORT_END=soon\n")]);
        let error = OsProbe.observe(&host, &mut Observation::at(0)).unwrap_err().to_string();
        assert!(error.starts_with("etc/os-release, line 2, SUPPORT_END: "), "{error}");
    }
}
