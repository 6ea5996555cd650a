//! The host's clock, its zone and what drives it.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, HostError, Tree};

const ZONE_FILE: &str = "etc/localtime";

const CLOCK_SOURCES: &str = "devices/system/clocksource";

/// The clock, as node_exporter's collector of the same name.
#[derive(Debug, Default)]
pub struct TimeProbe {
    /// The zone as of the file's last change, so that it is parsed once.
    zone: Mutex<Option<(SystemTime, TimeZone)>>,
}

impl Probe for TimeProbe {
    fn name(&self) -> &'static str {
        "time"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        #[expect(clippy::cast_precision_loss, reason = "exact until the year 287396")]
        let seconds = out.timestamp_ms as f64 / 1000.0;
        out.gauge("node_time_seconds", "The host's clock, in seconds since 1970.", &[], seconds);
        if let Some(zone) = faults.keep(self.zone(host)) {
            observe_zone(&zone, out);
        }
        if let Err(error) = observe_clock_sources(host, out) {
            faults.note(error);
        }
        faults.into_result()
    }
}

impl TimeProbe {
    /// The host's zone; without a file for it, that is UTC.
    fn zone(&self, host: &Host) -> Result<TimeZone, ProbeError> {
        let changed = match host.modified(Tree::Root, ZONE_FILE) {
            Err(error) if error.is_absent() => return Ok(TimeZone::UTC),
            answer => answer?,
        };
        let mut known = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, zone)) = known.as_ref()
            && *at == changed
        {
            return Ok(zone.clone());
        }
        let bytes = host.read_bytes(Tree::Root, ZONE_FILE)?;
        let zone = TimeZone::tzif(ZONE_FILE, &bytes).map_err(|error| ProbeError::Value {
            file: ZONE_FILE.to_owned(),
            line: 1,
            item: "time zone".to_owned(),
            fault: error.to_string(),
        })?;
        *known = Some((changed, zone.clone()));
        Ok(zone)
    }
}

fn observe_zone(zone: &TimeZone, out: &mut Observation) {
    let Ok(now) = Timestamp::from_millisecond(out.timestamp_ms) else { return };
    let offset = zone.to_offset_info(now);
    out.gauge(
        "node_time_zone_offset_seconds",
        "How far the host's zone is ahead of UTC.",
        &[("time_zone", offset.abbreviation())],
        f64::from(offset.offset().seconds()),
    );
}

fn observe_clock_sources(host: &Host, out: &mut Observation) -> Result<(), HostError> {
    for entry in host.list_if_present(Tree::Sys, CLOCK_SOURCES)? {
        let Some(device) = entry.name.strip_prefix("clocksource") else { continue };
        let attribute = |name: &str| {
            host.read_if_present(Tree::Sys, &format!("{CLOCK_SOURCES}/{}/{name}", entry.name))
        };
        if let Some(available) = attribute("available_clocksource")? {
            for source in available.split_ascii_whitespace() {
                out.gauge(
                    "node_time_clocksource_available_info",
                    "A source that could drive the clock.",
                    &[("device", device), ("clocksource", source)],
                    1.0,
                );
            }
        }
        if let Some(current) = attribute("current_clocksource")? {
            out.gauge(
                "node_time_clocksource_current_info",
                "The source that drives the clock.",
                &[("device", device), ("clocksource", current.trim())],
                1.0,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn the_clock_and_its_source_are_told() {
        let (_folder, host) = host_with(&[
            ("sys/devices/system/clocksource/clocksource0/available_clocksource", b"tsc hpet \n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", b"tsc\n"),
        ]);
        let mut out = Observation::at(1_500);
        TimeProbe::default().observe(&host, &mut out).unwrap();
        assert_eq!(
            page_of(&out),
            [
                "node_time_clocksource_available_info{clocksource=\"hpet\",device=\"0\"} 1",
                "node_time_clocksource_available_info{clocksource=\"tsc\",device=\"0\"} 1",
                "node_time_clocksource_current_info{clocksource=\"tsc\",device=\"0\"} 1",
                "node_time_seconds 1.5",
                "node_time_zone_offset_seconds{time_zone=\"UTC\"} 0",
            ]
        );
    }

    #[test]
    fn a_broken_zone_is_told_and_not_taken_for_utc() {
        let (_folder, host) = host_with(&[("etc/localtime", b"garbage")]);
        let mut out = Observation::at(0);
        let error = TimeProbe::default().observe(&host, &mut out).unwrap_err().to_string();
        assert!(error.starts_with("etc/localtime, line 1, time zone: "), "{error}");
        assert_eq!(page_of(&out), ["node_time_seconds 0"]);
    }
}
