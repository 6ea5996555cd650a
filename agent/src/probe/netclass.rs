//! What network devices are and how they stand: `/sys/class/net`.

use upkeep_model::{MetricKind, Observation};

use super::{Faults, Probe, ProbeError};
use crate::host::{EntryKind, Host, Tree};

const FOLDER: &str = "class/net";

/// The attribute that holds a device's flags.
const FLAGS: &str = "flags";

/// The bit of a device's flags that says that it was switched on.
const SWITCHED_ON: i64 = 1;

/// The states in which a device cannot carry packets, or does not say whether it can.
const STATES: [&str; 6] = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant"];

/// One attribute that is a number.
struct Attribute {
    file: &'static str,
    metric: &'static str,
    kind: MetricKind,
    help: &'static str,
}

const fn gauge(file: &'static str, metric: &'static str, help: &'static str) -> Attribute {
    Attribute { file, metric, kind: MetricKind::Gauge, help }
}

const fn counter(file: &'static str, metric: &'static str, help: &'static str) -> Attribute {
    Attribute { file, metric, kind: MetricKind::Counter, help }
}

const ATTRIBUTES: [Attribute; 16] = [
    gauge("addr_assign_type", "node_network_address_assign_type", "Where its address comes from."),
    gauge("carrier", "node_network_carrier", "1 if it has a carrier."),
    counter("carrier_changes", "node_network_carrier_changes_total", "Carriers come and gone."),
    counter("carrier_up_count", "node_network_carrier_up_changes_total", "Carriers come."),
    counter("carrier_down_count", "node_network_carrier_down_changes_total", "Carriers gone."),
    gauge("dev_id", "node_network_device_id", "Its number among those that share an address."),
    gauge("dormant", "node_network_dormant", "1 if it waits for something before it can be used."),
    gauge(FLAGS, "node_network_flags", "Its flags as a number."),
    gauge("ifindex", "node_network_iface_id", "Its number."),
    gauge("iflink", "node_network_iface_link", "The number of the device that carries it."),
    gauge("link_mode", "node_network_iface_link_mode", "Its link's mode."),
    gauge("mtu", "node_network_mtu_bytes", "The longest packet that it carries."),
    gauge("netdev_group", "node_network_net_dev_group", "The group it is in."),
    gauge("name_assign_type", "node_network_name_assign_type", "Where its name comes from."),
    gauge("tx_queue_len", "node_network_transmit_queue_length", "How many packets may wait."),
    gauge("type", "node_network_protocol_type", "What it speaks, as a number."),
];

/// How network devices are shown, as node_exporter's options.
#[derive(Clone, Copy, Debug)]
pub struct NetClassSettings {
    /// Which devices to leave out.
    pub leaves_out: fn(&str) -> bool,
    /// Leave out the speed where the device says that it knows none, instead of showing its -1.
    pub hides_unknown_speed: bool,
}

impl Default for NetClassSettings {
    fn default() -> Self {
        Self { leaves_out: |_| false, hides_unknown_speed: false }
    }
}

/// State and properties of every network device.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetClassProbe {
    settings: NetClassSettings,
}

impl NetClassProbe {
    /// A probe with settings of its own.
    pub fn new(settings: NetClassSettings) -> Self {
        Self { settings }
    }
}

impl Probe for NetClassProbe {
    fn name(&self) -> &'static str {
        "netclass"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            // Files in this folder are switches of drivers, such as `bonding_masters`.
            if entry.kind == EntryKind::File || (self.settings.leaves_out)(&entry.name) {
                continue;
            }
            let mut device = Device { name: &entry.name, host, faults: &mut faults };
            let flags = device.number(FLAGS);
            device.observe_state(flags, out);
            device.observe_numbers(flags, out);
            device.observe_speed(self.settings.hides_unknown_speed, out);
        }
        faults.into_result()
    }
}

struct Device<'probe> {
    name: &'probe str,
    host: &'probe Host,
    faults: &'probe mut Faults,
}

impl Device<'_> {
    fn observe_state(&mut self, flags: Option<i64>, out: &mut Observation) {
        let texts = ["address", "broadcast", "duplex", "operstate", "ifalias"]
            .map(|file| (file, self.text(file).unwrap_or_default()));
        let admin_state = match flags {
            None => "unknown",
            Some(flags) if flags & SWITCHED_ON != 0 => "up",
            Some(_) => "down",
        };
        let mut labels = vec![("device", self.name), ("adminstate", admin_state)];
        labels.extend(texts.iter().map(|(label, text)| (*label, text.as_str())));
        out.gauge("node_network_info", "What a network device is.", &labels, 1.0);
        let state = texts.iter().find(|(label, _)| *label == "operstate");
        let up = match state.map_or("", |(_, text)| text.as_str()) {
            "up" => 1.0,
            state if STATES.contains(&state) => 0.0,
            "" => return,
            other => {
                let folder = format!("{FOLDER}/{}", self.name);
                let fault = format!("{other:?} is not a device's state");
                return self.faults.value(&folder, 1, "operstate", fault);
            }
        };
        let help = "1 for a network device that can carry packets.";
        out.gauge("node_network_up", help, &[("device", self.name)], up);
    }

    fn observe_numbers(&mut self, flags: Option<i64>, out: &mut Observation) {
        for attribute in &ATTRIBUTES {
            let is_known = attribute.file == FLAGS;
            let value = if is_known { flags } else { self.number(attribute.file) };
            let Some(value) = value else { continue };
            #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
            let (labels, value) = ([("device", self.name)], value as f64);
            match attribute.kind {
                MetricKind::Counter => {
                    out.counter(attribute.metric, attribute.help, &labels, value);
                }
                _ => out.gauge(attribute.metric, attribute.help, &labels, value),
            }
        }
    }

    /// The speed; the kernel counts millions of bits.
    fn observe_speed(&mut self, hides_unknown: bool, out: &mut Observation) {
        let Some(megabits) = self.number("speed") else { return };
        if megabits < 0 && hides_unknown {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
        let bytes = megabits as f64 * 1_000_000.0 / 8.0;
        let help = "What a network device can carry in a second; below zero if it does not know.";
        out.gauge("node_network_speed_bytes", help, &[("device", self.name)], bytes);
    }

    /// An attribute's text. Drivers refuse attributes that have no meaning at the moment, and a
    /// sandbox may hide others: neither is a fault of the host.
    fn text(&mut self, attribute: &str) -> Option<String> {
        let path = format!("{FOLDER}/{}/{attribute}", self.name);
        match self.host.read_if_present(Tree::Sys, &path) {
            Ok(text) => text.map(|text| text.trim().to_owned()),
            Err(error) if error.is_denied() => None,
            Err(error) => {
                self.faults.note(error);
                None
            }
        }
    }

    fn number(&mut self, attribute: &str) -> Option<i64> {
        let text = self.text(attribute)?;
        let number = parse(&text);
        if number.is_none() {
            let fault = format!("{text:?} is not a number");
            self.faults.value(&format!("{FOLDER}/{}", self.name), 1, attribute, fault);
        }
        number
    }
}

/// A number in decimal or, after `0x`, in hexadecimal.
fn parse(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(parse(text), expect, "{text}");
        check("0x1303", Some(4867));
        check("-1", Some(-1));
        check("", None);
        check("0xzz", None);
    }

    #[test]
    fn a_device_is_told_as_far_as_it_says() {
        let (_folder, host) = host_with(&[
            ("sys/class/net/eth0/operstate", b"down\n"),
            ("sys/class/net/eth0/flags", b"0x1002\n"),
            ("sys/class/net/eth0/speed", b"-1\n"),
            ("sys/class/net/eth0/mtu", b"big\n"),
            ("sys/class/net/eth1/operstate", b"sideways\n"),
            ("sys/class/net/bonding_masters", b"bond0\n"),
        ]);
        let mut out = Observation::at(0);
        let error = NetClassProbe::default().observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            page_of(&out),
            [
                "node_network_flags{device=\"eth0\"} 4098",
                "node_network_info{address=\"\",adminstate=\"down\",broadcast=\"\",\
                 device=\"eth0\",duplex=\"\",ifalias=\"\",operstate=\"down\"} 1",
                "node_network_info{address=\"\",adminstate=\"unknown\",broadcast=\"\",\
                 device=\"eth1\",duplex=\"\",ifalias=\"\",operstate=\"sideways\"} 1",
                "node_network_speed_bytes{device=\"eth0\"} -125000",
                "node_network_up{device=\"eth0\"} 0",
            ]
        );
        assert_eq!(
            error,
            "class/net/eth0, line 1, mtu: \"big\" is not a number; \
             class/net/eth1, line 1, operstate: \"sideways\" is not a device's state"
        );
    }
}
