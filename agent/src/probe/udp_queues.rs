//! What waits in UDP sockets: `/proc/net/udp` and `/proc/net/udp6`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError, sockets};
use crate::host::{Host, Tree};

/// The files, and the protocols they stand for.
const FILES: [(&str, &str); 2] = [("net/udp", "v4"), ("net/udp6", "v6")];

/// Bytes that wait in UDP sockets, as `node_udp_queues`.
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpQueuesProbe;

impl Probe for UdpQueuesProbe {
    fn name(&self) -> &'static str {
        "udp_queues"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for (file, protocol) in FILES {
            let read = host.read_if_present(Tree::Proc, file);
            let Some(text) = faults.keep(read).flatten() else { continue };
            let (mut sends, mut received) = (0, 0);
            let mut of_file = Faults::default();
            sockets::parse(file, &text, &mut of_file, |socket| {
                sends += u64::from(socket.sends);
                received += u64::from(socket.received);
            });
            if !of_file.is_empty() {
                faults.append(of_file);
                continue;
            }
            for (queue, bytes) in [("tx", sends), ("rx", received)] {
                let labels = [("ip", protocol), ("queue", queue)];
                out.gauge(
                    "node_udp_queues",
                    "Bytes that wait in UDP sockets.",
                    &labels,
                    bytes as f64,
                );
            }
        }
        faults.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn queues_are_added_up_by_protocol() {
        let (_folder, host) = host_with(&[
            ("proc/net/udp", b"heading\n0: a b 07 15:1\n1: a b 07 1:f\n"),
            ("proc/net/udp6", b"heading\n0: a b 07 broken\n"),
        ]);
        let mut out = Observation::at(0);
        let error = UdpQueuesProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert!(error.starts_with("net/udp6, line 2, socket"), "{error}");
        assert_eq!(
            page_of(&out),
            [
                "node_udp_queues{ip=\"v4\",queue=\"rx\"} 16",
                "node_udp_queues{ip=\"v4\",queue=\"tx\"} 22",
            ]
        );
    }
}
