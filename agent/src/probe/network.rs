//! Traffic of network devices: `/proc/net/dev`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "net/dev";

/// The numbers after a device's name: metric and help.
const COLUMNS: [(&str, &str); 16] = [
    ("node_network_receive_bytes_total", "Bytes received."),
    ("node_network_receive_packets_total", "Packets received."),
    ("node_network_receive_errs_total", "Packets received with errors."),
    ("node_network_receive_drop_total", "Packets received that were dropped."),
    ("node_network_receive_fifo_total", "Packets received that overran a buffer."),
    ("node_network_receive_frame_total", "Packets received with a broken frame."),
    ("node_network_receive_compressed_total", "Compressed packets received."),
    ("node_network_receive_multicast_total", "Packets received that were for many."),
    ("node_network_transmit_bytes_total", "Bytes sent."),
    ("node_network_transmit_packets_total", "Packets sent."),
    ("node_network_transmit_errs_total", "Packets that could not be sent for errors."),
    ("node_network_transmit_drop_total", "Packets to be sent that were dropped."),
    ("node_network_transmit_fifo_total", "Packets to be sent that overran a buffer."),
    ("node_network_transmit_colls_total", "Collisions while sending."),
    ("node_network_transmit_carrier_total", "Losses of the carrier while sending."),
    ("node_network_transmit_compressed_total", "Compressed packets sent."),
];

/// Traffic and errors of every network device.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkProbe;

impl Probe for NetworkProbe {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let Some(text) = host.read_if_present(Tree::Proc, FILE)? else { return Ok(()) };
        let mut faults = Faults::default();
        let mut devices = Vec::new();
        parse(&text, &mut faults, |device, (metric, help), value| {
            out.counter(metric, help, &[("device", device)], value);
            if devices.last() != Some(&device) {
                devices.push(device);
            }
        });
        for device in devices {
            observe_unhandled(device, host, &mut faults, out);
        }
        faults.into_result()
    }
}

/// Reads lines such as `eth0: 1 2 …` below the two lines of headings.
fn parse<'text>(
    text: &'text str,
    faults: &mut Faults,
    mut take: impl FnMut(&'text str, (&'static str, &'static str), f64),
) {
    for (at, line) in text.lines().enumerate().skip(2) {
        let Some((device, rest)) = line.rsplit_once(':') else {
            faults.value(FILE, at + 1, line.trim(), "no colon after the device");
            continue;
        };
        let device = device.trim();
        let count = rest.split_ascii_whitespace().count();
        // With one too few or too many, it is not known which number is which.
        if count != COLUMNS.len() {
            let fault = format!("{count} numbers instead of {}", COLUMNS.len());
            faults.value(FILE, at + 1, device, fault);
            continue;
        }
        for (column, word) in COLUMNS.into_iter().zip(rest.split_ascii_whitespace()) {
            match word.parse().ok().filter(|value: &f64| value.is_finite()) {
                Some(value) => take(device, column, value),
                None => {
                    let item = format!("{device} {}", column.0);
                    faults.number(FILE, at + 1, &item, Some(word));
                }
            }
        }
    }
}

/// Packets that nobody wanted; the kernel does not show them in the file.
fn observe_unhandled(device: &str, host: &Host, faults: &mut Faults, out: &mut Observation) {
    let path = format!("class/net/{device}/statistics/rx_nohandler");
    let Some(text) = faults.keep(host.read_if_present(Tree::Sys, &path)).flatten() else { return };
    if let Some(value) = faults.number(&path, 1, device, Some(text.trim())) {
        out.counter(
            "node_network_receive_nohandler_total",
            "Packets received that nothing handles.",
            &[("device", device)],
            value,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_dev_is_read() {
        let text = "Inter-|   Receive\n face |bytes\n\
            eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 nan 15 x\n  lo:17\nbroken\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |device, (metric, _), value| seen.push((device, metric, value)));
        assert_eq!(seen.len(), 14);
        assert_eq!(seen[0], ("eth0:1", "node_network_receive_bytes_total", 1.0));
        assert_eq!(seen[13], ("eth0:1", "node_network_transmit_carrier_total", 15.0));
        let said = faults.into_result().unwrap_err().to_string();
        let expect = "net/dev, line 3, eth0:1 node_network_transmit_colls_total: \"nan\" is not a number; \
            net/dev, line 3, eth0:1 node_network_transmit_compressed_total: \"x\" is not a number; \
            net/dev, line 4, lo: 1 numbers instead of 16; \
            net/dev, line 5, broken: no colon after the device";
        assert_eq!(said, expect);
    }
}
