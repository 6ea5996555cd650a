//! Paging and memory reclaim: `/proc/vmstat`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "vmstat";

/// Page faults, paging, swapping and kills for want of memory, as `node_vmstat_<field>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmstatProbe;

impl Probe for VmstatProbe {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        let mut name = String::new();
        parse(&text, &mut faults, |field, value| {
            name.clear();
            name.push_str("node_vmstat_");
            name.push_str(field);
            out.untyped(&name, "A counter of the kernel's virtual memory.", &[], value);
        });
        faults.into_result()
    }
}

fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(&str, f64)) {
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let Some(field) = words.next().filter(|field| is_shown(field)) else { continue };
        if let Some(value) = faults.number(FILE, at + 1, field, words.next()) {
            take(field, value);
        }
    }
}

/// Of the file's two hundred fields, those that tell of pressure: node_exporter's default choice.
fn is_shown(field: &str) -> bool {
    ["oom_kill", "pgpg", "pswp"].iter().any(|start| field.starts_with(start))
        || field.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_telling_fields_are_shown() {
        let check = |field: &str, expect: bool| assert_eq!(is_shown(field), expect, "{field}");
        check("oom_kill", true);
        check("pgpgin", true);
        check("pswpout", true);
        check("pgmajfault", true);
        check("pgfault", true);
        check("pgsteal_kswapd", false);
        check("nr_free_pages", false);
        check("thp_fault_alloc", false);
    }

    #[test]
    fn vmstat_is_read() {
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse("nr_free 1\npgfault 5\npswpin -\n", &mut faults, |field, value| {
            seen.push((field.to_owned(), value));
        });
        assert_eq!(seen, [("pgfault".to_owned(), 5.0)]);
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(said, "vmstat, line 3, pswpin: \"-\" is not a number");
    }
}
