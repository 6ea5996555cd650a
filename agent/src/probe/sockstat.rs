//! Sockets in use: `/proc/net/sockstat` and `/proc/net/sockstat6`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILES: [&str; 2] = ["net/sockstat", "net/sockstat6"];

/// Sockets in use by protocol, as `node_sockstat_<protocol>_<state>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SockstatProbe;

impl Probe for SockstatProbe {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let page_bytes = host.page_bytes();
        let mut faults = Faults::default();
        let mut name = String::new();
        for file in FILES {
            let Some(text) = faults.keep(host.read_if_present(Tree::Proc, file)).flatten() else {
                continue;
            };
            parse(file, &text, &mut faults, |protocol, state, value| {
                name.clear();
                name.extend(["node_sockstat_", protocol, "_", state]);
                out.gauge(&name, "Sockets of a protocol in a state.", &[], value);
                if let Some(page_bytes) = page_bytes.filter(|_| state == "mem") {
                    name.push_str("_bytes");
                    let help = "Memory of a protocol's sockets.";
                    out.gauge(&name, help, &[], value * page_bytes);
                }
            });
        }
        faults.into_result()
    }
}

/// Reads lines such as `TCP: inuse 4 orphan 0`.
fn parse(file: &str, text: &str, faults: &mut Faults, mut take: impl FnMut(&str, &str, f64)) {
    for (at, line) in text.lines().enumerate() {
        let Some((protocol, rest)) = line.split_once(':') else {
            faults.value(file, at + 1, line.trim(), "no colon after the protocol");
            continue;
        };
        let mut words = rest.split_ascii_whitespace();
        while let Some(state) = words.next() {
            // Where a word is missing, a number stands in a name's place.
            if !state.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
                faults.value(file, at + 1, protocol, format!("{state:?} is not a state"));
                break;
            }
            if let Some(value) = faults.number(file, at + 1, state, words.next()) {
                take(protocol, state, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockstat_is_read() {
        let text = "sockets: used 229\nTCP: inuse 4 orphan x\nUDP inuse\nRAW: inuse\nFRAG: 3 4\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse("s", text, &mut faults, |protocol, state, value| {
            seen.push((format!("{protocol}_{state}"), value));
        });
        assert_eq!(seen, [("sockets_used".to_owned(), 229.0), ("TCP_inuse".to_owned(), 4.0)]);
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "s, line 2, orphan: \"x\" is not a number; \
             s, line 3, UDP inuse: no colon after the protocol; s, line 4, inuse: missing; \
             s, line 5, FRAG: \"3\" is not a state"
        );
    }
}
