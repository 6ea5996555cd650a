//! Which addresses a webhook may be sent to.
//!
//! A routing file names hosts, and a host's name may come to mean an address inside the network
//! that the collector can reach and the world cannot. So a name is resolved, each address judged,
//! and the connection made to the judged address and no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why nothing is sent to an address, unless one of the allowed networks holds it.
pub(super) fn refusal(address: IpAddr, allowed: &[IpNet]) -> Option<&'static str> {
    let address = address.to_canonical();
    if allowed.iter().any(|network| network.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        (127, ..) => Some("a loopback address"),
        (0, ..) => Some("an unspecified address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (169, 254, _) => Some("a link-local address, where clouds serve their metadata"),
        (100, 64..=127, _) => Some("an address shared behind a carrier's translation"),
        (192, 0, 0 | 2) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => {
            Some("an address reserved for protocols, tests or documentation")
        }
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    match address.segments() {
        // Addresses of the old internet inside of those of the new one.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            refusal_v4(Ipv4Addr::new(a, b, c, d))
        }
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Some("a reserved address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] | [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] => Some("a reserved address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_world_and_allowed_ones_pass() {
        let check = |address: &str, is_refused: bool| {
            let refused = refusal(address.parse().unwrap(), &[]);
            assert_eq!(refused.is_some(), is_refused, "{address}: {refused:?}");
        };
        for refused in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "::7f00:1",
            "2001:db8::1",
        ] {
            check(refused, true);
        }
        for passed in [
            "1.1.1.1",
            "172.32.0.1",
            "172.15.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "9.9.9.9",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            check(passed, false);
        }
    }

    #[test]
    fn an_allowed_network_passes_and_no_other() {
        let allowed = ["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()];
        let check = |address: &str, passes: bool| {
            assert_eq!(refusal(address.parse().unwrap(), &allowed).is_none(), passes, "{address}");
        };
        check("10.1.200.3", true);
        check("::ffff:10.1.2.3", true);
        check("10.2.0.1", false);
        check("::1", true);
        check("127.0.0.1", false);
    }
}
