//! How memory is used: `/proc/meminfo`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "meminfo";

/// Every field of the kernel's memory statistics, as `node_memory_<field>`, in bytes where the
/// kernel gives a size.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryProbe;

impl Probe for MemoryProbe {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        let mut name = String::new();
        let mut help = String::new();
        parse(&text, &mut faults, |field, unit, value| {
            name.clear();
            name.push_str("node_memory_");
            push_field(&mut name, field);
            name.push_str(if unit == Unit::Bytes { "_bytes" } else { "" });
            help.clear();
            help.push_str("Memory as the kernel counts it: ");
            help.push_str(field);
            help.push('.');
            out.gauge(&name, &help, &[], value);
        });
        faults.into_result()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Count,
}

/// Reads lines such as `MemFree:  12 kB` and `HugePages_Total:  0`.
fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(&str, Unit, f64)) {
    if text.trim().is_empty() {
        faults.value(FILE, 1, "MemTotal", "missing");
    }
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some((field, rest)) = line.split_once(':') else {
            faults.value(FILE, at + 1, line.trim(), "no colon after the name");
            continue;
        };
        let mut words = rest.split_ascii_whitespace();
        let Some(number) = faults.number(FILE, at + 1, field, words.next()) else { continue };
        match words.next() {
            None => take(field, Unit::Count, number),
            Some("kB") => take(field, Unit::Bytes, number * 1024.0),
            Some(unit) => faults.value(FILE, at + 1, field, format!("unknown unit {unit:?}")),
        }
    }
}

/// Appends a field's name with parentheses turned into underscores: `Active(anon)` is
/// `Active_anon`.
pub(super) fn push_field(name: &mut String, field: &str) {
    for part in field.split(['(', ')']).filter(|part| !part.is_empty()) {
        if !name.ends_with('_') {
            name.push('_');
        }
        name.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal: 16 kB\nActive(anon): 2 kB\nHugePages_Total: 3\nBad 5\nOdd: 1 MB\n\nNo: x kB\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |field, unit, value| seen.push((field.to_owned(), unit, value)));
        let expect = [
            ("MemTotal", Unit::Bytes, 16384.0),
            ("Active(anon)", Unit::Bytes, 2048.0),
            ("HugePages_Total", Unit::Count, 3.0),
        ];
        assert_eq!(seen, expect.map(|(field, unit, value)| (field.to_owned(), unit, value)));
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "meminfo, line 4, Bad 5: no colon after the name; \
             meminfo, line 5, Odd: unknown unit \"MB\"; \
             meminfo, line 7, No: \"x\" is not a number"
        );
    }

    #[test]
    fn field_names_are_metric_names() {
        let check = |field: &str, expect: &str| {
            let mut name = "node_memory_".to_owned();
            push_field(&mut name, field);
            assert_eq!(name, expect);
        };
        check("MemFree", "node_memory_MemFree");
        check("Inactive(file)", "node_memory_Inactive_file");
    }
}
