//! Counters of network protocols: `/proc/net/netstat`, `/proc/net/snmp` and `/proc/net/snmp6`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

/// Files with a line of names and a line of values for each protocol.
const PAIRED: [&str; 2] = ["net/netstat", "net/snmp"];

/// The file with a name and a value a line.
const LISTED: &str = "net/snmp6";

/// Of hundreds of counters, node_exporter's default choice. Counters of errors in packets received
/// are shown for every protocol.
const SHOWN: [(&str, &[&str]); 9] = [
    ("Ip", &["Forwarding"]),
    ("Ip6", &["InOctets", "OutOctets"]),
    ("IpExt", &["InOctets", "OutOctets"]),
    ("Icmp", &["InMsgs", "OutMsgs"]),
    ("Icmp6", &["InMsgs", "OutMsgs"]),
    ("TcpExt", &["TCPSynRetrans", "TCPTimeouts", "TCPOFOQueue", "TCPRcvQDrop"]),
    (
        "Tcp",
        &[
            "ActiveOpens",
            "InSegs",
            "OutSegs",
            "OutRsts",
            "PassiveOpens",
            "RetransSegs",
            "CurrEstab",
        ],
    ),
    ("Udp", &UDP),
    ("Udp6", &UDP),
];

const UDP: [&str; 5] = ["InDatagrams", "OutDatagrams", "NoPorts", "RcvbufErrors", "SndbufErrors"];

/// Counters of protocols, as `node_netstat_<protocol>_<counter>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetstatProbe;

impl Probe for NetstatProbe {
    fn name(&self) -> &'static str {
        "netstat"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let mut metric = String::new();
        let mut take = |protocol: &str, name: &str, value: f64| {
            metric.clear();
            metric.extend(["node_netstat_", protocol, "_", name]);
            out.untyped(&metric, "A counter of a network protocol.", &[], value);
        };
        for file in PAIRED {
            let read = host.read_if_present(Tree::Proc, file);
            if let Some(text) = faults.keep(read).flatten() {
                parse_paired(file, &text, &mut faults, &mut take);
            }
        }
        let read = host.read_if_present(Tree::Proc, LISTED);
        if let Some(text) = faults.keep(read).flatten() {
            parse_listed(&text, &mut faults, &mut take);
        }
        faults.into_result()
    }
}

fn parse_paired(
    file: &str,
    text: &str,
    faults: &mut Faults,
    take: &mut impl FnMut(&str, &str, f64),
) {
    let mut lines = text.lines().enumerate();
    while let Some((at, names)) = lines.next() {
        let Some((at, values)) = lines.next() else {
            faults.value(file, at + 1, names.trim(), "no line of values");
            continue;
        };
        let (mut names, mut values) =
            (names.split_ascii_whitespace(), values.split_ascii_whitespace());
        let counts = [names.clone().count(), values.clone().count()];
        let Some(protocol) = names.next().filter(|name| values.next() == Some(name)) else {
            faults.value(file, at + 1, "protocol", "not that of the line above");
            continue;
        };
        let protocol = protocol.trim_end_matches(':');
        // With one too few or too many, it is not known which number is which.
        if let [names, values] = counts
            && names != values
        {
            let fault = format!("{} values for {} names", values - 1, names - 1);
            faults.value(file, at + 1, protocol, fault);
            continue;
        }
        for name in names {
            let value = values.next();
            if !is_shown(protocol, name) {
                continue;
            }
            if let Some(value) = faults.number(file, at + 1, name, value) {
                take(protocol, name, value);
            }
        }
    }
}

/// Reads lines such as `Ip6InOctets 12`; the protocol ends with the first six.
fn parse_listed(text: &str, faults: &mut Faults, take: &mut impl FnMut(&str, &str, f64)) {
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let Some(key) = words.next() else { continue };
        let Some((protocol, name)) = key
            .find('6')
            .and_then(|six| key.split_at_checked(six + 1))
            .filter(|(protocol, name)| is_shown(protocol, name))
        else {
            continue;
        };
        if let Some(value) = faults.number(LISTED, at + 1, key, words.next()) {
            take(protocol, name, value);
        }
    }
}

fn is_shown(protocol: &str, name: &str) -> bool {
    if ["InErrors", "InErrs"].contains(&name) {
        return true;
    }
    if protocol == "TcpExt" && (name.starts_with("Listen") || name.starts_with("Syncookies")) {
        return true;
    }
    SHOWN.iter().any(|(shown, names)| *shown == protocol && names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_chosen() {
        let text = "TcpExt: SyncookiesSent Odd ListenDrops TCPTimeouts\nTcpExt: 1 2 x 4\n\
            Ip: Forwarding DefaultTTL\nIp: 1 64\nUdp: InErrors\nTcp: 1\n\
            UdpLite: InErrors NoPorts\nUdpLite: 1\nTcp: InErrs\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        let mut take =
            |protocol: &str, name: &str, value| seen.push((format!("{protocol}_{name}"), value));
        parse_paired("net/snmp", text, &mut faults, &mut take);
        parse_listed("Ip6InOctets 7\nUdp6InErrors 8\nIp6InPkts 9\nodd\n", &mut faults, &mut take);
        let expect = [
            ("TcpExt_SyncookiesSent", 1.0),
            ("TcpExt_TCPTimeouts", 4.0),
            ("Ip_Forwarding", 1.0),
            ("Ip6_InOctets", 7.0),
            ("Udp6_InErrors", 8.0),
        ];
        assert_eq!(seen, expect.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "net/snmp, line 2, ListenDrops: \"x\" is not a number; \
             net/snmp, line 6, protocol: not that of the line above; \
             net/snmp, line 8, UdpLite: 1 values for 2 names; \
             net/snmp, line 9, Tcp: InErrs: no line of values"
        );
    }
}
