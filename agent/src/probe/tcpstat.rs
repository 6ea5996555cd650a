//! TCP connections by their state: `/proc/net/tcp` and `/proc/net/tcp6`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError, sockets};
use crate::host::{Host, Tree};

const FILES: [&str; 2] = ["net/tcp", "net/tcp6"];

/// The states in the order of the kernel's numbers, from 1.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

const METRIC: (&str, &str) = (
    "node_tcp_connection_states",
    "TCP connections in a state, and the bytes that wait in all of them.",
);

/// Connections by state. The kernel goes through all of them to tell, which takes a while where
/// there are many.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpstatProbe;

impl Probe for TcpstatProbe {
    fn name(&self) -> &'static str {
        "tcpstat"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let mut connections = Connections::default();
        for file in FILES {
            let read = host.read_if_present(Tree::Proc, file);
            if let Some(text) = faults.keep(read).flatten() {
                sockets::parse(file, &text, &mut faults, |socket| connections.add(socket));
            }
        }
        // What cannot be read may be in any state, so that none of the sums is known.
        if faults.is_empty() {
            connections.observe(out);
        }
        faults.into_result()
    }
}

#[derive(Default)]
struct Connections {
    counts: [u64; STATES.len()],
    unknown: u64,
    all: u64,
    sends: u64,
    received: u64,
}

impl Connections {
    fn add(&mut self, socket: sockets::Socket) {
        let place = usize::from(socket.state).checked_sub(1);
        match place.and_then(|place| self.counts.get_mut(place)) {
            Some(count) => *count += 1,
            None => self.unknown += 1,
        }
        self.all += 1;
        self.sends += u64::from(socket.sends);
        self.received += u64::from(socket.received);
    }

    /// Adds the states in which there are connections, as node_exporter does.
    fn observe(&self, out: &mut Observation) {
        let (metric, help) = METRIC;
        let mut gauge = |state, value: u64| {
            out.gauge(metric, help, &[("state", state)], value as f64);
        };
        for (state, count) in STATES.into_iter().zip(self.counts).filter(|(_, count)| *count > 0) {
            gauge(state, count);
        }
        if self.unknown > 0 {
            gauge("unknown", self.unknown);
        }
        if self.all > 0 {
            gauge("tx_queued_bytes", self.sends);
            gauge("rx_queued_bytes", self.received);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn connections_of_both_protocols_are_added_up() {
        let (folder, host) = host_with(&[
            ("proc/net/tcp", b"heading\n0: a b 0A 0:1\n1: a b 01 10:2\n2: a b 01 0:0\n"),
            ("proc/net/tcp6", b"heading\n0: a b 0A 0:0\n1: a b 0C 0:0\n"),
        ]);
        let mut out = Observation::at(0);
        TcpstatProbe.observe(&host, &mut out).unwrap();
        assert_eq!(
            page_of(&out),
            [
                "node_tcp_connection_states{state=\"established\"} 2",
                "node_tcp_connection_states{state=\"listen\"} 2",
                "node_tcp_connection_states{state=\"rx_queued_bytes\"} 3",
                "node_tcp_connection_states{state=\"tx_queued_bytes\"} 16",
                "node_tcp_connection_states{state=\"unknown\"} 1",
            ]
        );
        let spoilt = "heading\n0: a b 0A 0:0\n1: a b x\n";
        std::fs::write(folder.path().join("proc/net/tcp6"), spoilt).unwrap();
        let mut out = Observation::at(0);
        let error = TcpstatProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert!(error.starts_with("net/tcp6, line 3, socket"), "{error}");
        assert!(page_of(&out).is_empty());
    }

    #[test]
    fn without_connections_nothing_is_said() {
        let (_folder, host) = host_with(&[("proc/net/tcp", b"heading\n")]);
        let mut out = Observation::at(0);
        TcpstatProbe.observe(&host, &mut out).unwrap();
        assert!(page_of(&out).is_empty());
    }
}
