//! Network devices that are bundles of others: `/sys/class/net/*/bonding`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/net";

/// How the folder of a member is called within its bundle's; the second one is of old kernels.
const MEMBER_FOLDERS: [&str; 2] = ["lower_", "slave_"];

/// How many members each bundle has, and how many of them have a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct BondingProbe;

impl Probe for BondingProbe {
    fn name(&self) -> &'static str {
        "bonding"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let path = format!("{FOLDER}/bonding_masters");
        let Some(bundles) = host.read_if_present(Tree::Sys, &path)? else { return Ok(()) };
        let mut faults = Faults::default();
        for bundle in bundles.split_ascii_whitespace() {
            faults.check(observe_bundle(bundle, host, out));
        }
        faults.into_result()
    }
}

fn observe_bundle(bundle: &str, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    let members = host.read(Tree::Sys, &format!("{FOLDER}/{bundle}/bonding/slaves"))?;
    let (mut all, mut active) = (0_u32, 0_u32);
    for member in members.split_ascii_whitespace() {
        all += 1;
        active += u32::from(has_link(bundle, member, host, &mut faults) == Some(true));
    }
    let labels = [("master", bundle)];
    out.gauge("node_bonding_slaves", "Members of a bundle.", &labels, f64::from(all));
    // Where one member's link is not known, the number of those that have one is not, either.
    if faults.is_empty() {
        let help = "Members of a bundle that have a link.";
        out.gauge("node_bonding_active", help, &labels, f64::from(active));
    }
    faults.into_result()
}

/// Whether a member has a link; `None` if that cannot be read. One that has left the bundle meanwhile
/// has none.
fn has_link(bundle: &str, member: &str, host: &Host, faults: &mut Faults) -> Option<bool> {
    for prefix in MEMBER_FOLDERS {
        let path = format!("{FOLDER}/{bundle}/{prefix}{member}/bonding_slave/mii_status");
        let Some(state) = faults.keep(host.read_if_present(Tree::Sys, &path))? else { continue };
        return match state.trim() {
            "up" => Some(true),
            "down" | "going down" | "going back" => Some(false),
            other => {
                faults.value(&path, 1, "mii_status", format!("{other:?} is not a link's state"));
                None
            }
        };
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn members_with_a_link_are_counted() {
        let (_folder, host) = host_with(&[
            ("sys/class/net/bonding_masters", b"bond0 gone bond1 odd\n"),
            ("sys/class/net/odd/bonding/slaves", b"eth3 eth4\n"),
            ("sys/class/net/odd/lower_eth3/bonding_slave/mii_status", b"up\n"),
            ("sys/class/net/odd/lower_eth4/bonding_slave/mii_status", b"u\n"),
            ("sys/class/net/bond0/bonding/slaves", b"eth0 eth1 eth2\n"),
            ("sys/class/net/bond0/lower_eth0/bonding_slave/mii_status", b"up\n"),
            ("sys/class/net/bond0/lower_eth1/bonding_slave/mii_status", b"down\n"),
            ("sys/class/net/bond1/bonding/slaves", b"old0\n"),
            ("sys/class/net/bond1/slave_old0/bonding_slave/mii_status", b"up\n"),
        ]);
        let mut out = Observation::at(0);
        let error = BondingProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            page_of(&out),
            [
                "node_bonding_active{master=\"bond0\"} 1",
                "node_bonding_active{master=\"bond1\"} 1",
                "node_bonding_slaves{master=\"bond0\"} 3",
                "node_bonding_slaves{master=\"bond1\"} 1",
                "node_bonding_slaves{master=\"odd\"} 2",
            ]
        );
        assert!(error.contains("class/net/gone/bonding/slaves: "), "{error}");
        assert!(
            error.contains("eth4/bonding_slave/mii_status, line 1, mii_status: \"u\""),
            "{error}"
        );
    }

    #[test]
    fn a_host_without_bundles_says_nothing() {
        let (_folder, host) = host_with(&[]);
        let mut out = Observation::at(0);
        BondingProbe.observe(&host, &mut out).unwrap();
        assert_eq!(page_of(&out), [""; 0]);
    }
}
