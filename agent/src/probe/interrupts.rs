//! Interrupts by processor and source: `/proc/interrupts`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "interrupts";

/// Interrupts serviced, as `node_interrupts_total`. A large machine has tens of thousands of these
/// series: a line for each queue of each device, a column for each processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterruptsProbe;

impl Probe for InterruptsProbe {
    fn name(&self) -> &'static str {
        "interrupts"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        parse(&text, &mut faults, |cpu, interrupt, value| {
            let labels = [
                ("cpu", cpu),
                ("devices", interrupt.devices),
                ("info", interrupt.info),
                ("type", interrupt.kind),
            ];
            let help = "Interrupts serviced since boot, by processor.";
            out.counter("node_interrupts_total", help, &labels, value);
        });
        faults.into_result()
    }
}

/// One source of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interrupt<'text> {
    /// Its number, or the name of one that no device raises.
    kind: &'text str,
    /// The controller, or what an interrupt with a name is for.
    info: &'text str,
    /// The devices that raise it.
    devices: &'text str,
}

/// The numbers of the processors that a table's heading names: `CPU0 CPU2` is `0` and `2`.
pub(super) fn processors(heading: &str) -> Vec<&str> {
    heading.split_ascii_whitespace().filter_map(|word| word.strip_prefix("CPU")).collect()
}

/// Reads lines such as `  8:  1  0  IR-IO-APIC-edge  rtc0` below a heading of processors. Lines
/// with fewer columns count errors of the whole machine and are passed over.
fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(&str, Interrupt<'_>, f64)) {
    let mut lines = text.lines().enumerate();
    let cpus = lines.next().map_or_else(Vec::new, |(_, heading)| processors(heading));
    if cpus.is_empty() {
        faults.value(FILE, 1, "heading", "no processor");
        return;
    }
    let mut description = String::new();
    for (at, line) in lines {
        let Some((kind, rest)) = line.split_once(':') else {
            faults.value(FILE, at + 1, line.trim(), "no colon after the name");
            continue;
        };
        let kind = kind.trim();
        let mut words = rest.split_ascii_whitespace().skip(cpus.len());
        let Some(first) = words.next() else {
            // Errors are counted for all processors together, and have no description.
            if kind.bytes().all(|byte| byte.is_ascii_digit()) {
                faults.value(FILE, at + 1, kind, "incomplete");
            }
            continue;
        };
        join(&mut description, first, words);
        let (info, devices) = if kind.bytes().all(|byte| byte.is_ascii_digit()) {
            description.split_once(' ').unwrap_or((&description, ""))
        } else {
            (description.as_str(), "")
        };
        let interrupt = Interrupt { kind, info, devices };
        for (cpu, count) in cpus.iter().zip(rest.split_ascii_whitespace()) {
            if let Some(value) = faults.number(FILE, at + 1, kind, Some(count)) {
                take(cpu, interrupt, value);
            }
        }
    }
}

/// Words with one blank between them, however many there were.
fn join<'text>(joined: &mut String, first: &str, rest: impl Iterator<Item = &'text str>) {
    joined.clear();
    joined.push_str(first);
    for word in rest {
        joined.push(' ');
        joined.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str, &str, &str, f64)], fault: &str) {
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |cpu, interrupt, value| {
            let Interrupt { kind, info, devices } = interrupt;
            seen.push([cpu, kind, info, devices].map(str::to_owned));
            seen.last_mut().unwrap()[0].push_str(&format!(" {value}"));
        });
        let expect: Vec<[String; 4]> = expect
            .iter()
            .map(|(cpu, kind, info, devices, value)| {
                [format!("{cpu} {value}"), (*kind).into(), (*info).into(), (*devices).into()]
            })
            .collect();
        assert_eq!(seen, expect);
        let said = faults.into_result().map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(said, fault);
    }

    #[test]
    fn numbers_have_devices_and_names_a_description() {
        check(
            "       CPU0  CPU2\n 16:  3   4  IO-APIC-fasteoi   ehci_hcd:usb1,  mmc0\n\
             LOC:  5   6   Local timer interrupts\nERR:  7\n",
            &[
                ("0", "16", "IO-APIC-fasteoi", "ehci_hcd:usb1, mmc0", 3.0),
                ("2", "16", "IO-APIC-fasteoi", "ehci_hcd:usb1, mmc0", 4.0),
                ("0", "LOC", "Local timer interrupts", "", 5.0),
                ("2", "LOC", "Local timer interrupts", "", 6.0),
            ],
            "",
        );
    }

    #[test]
    fn a_name_may_touch_its_first_number_as_on_arm() {
        check(
            "  CPU0\n 10:3287008667 GICv3 27 Level arch_timer\n",
            &[("0", "10", "GICv3", "27 Level arch_timer", 3_287_008_667.0)],
            "",
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        check("garbage\n", &[], "interrupts, line 1, heading: no processor");
        check("", &[], "interrupts, line 1, heading: no processor");
        check(
            "CPU0 CPU1\n 1: x 2 chip dev\nno colon\n:\n7: 1\n",
            &[("1", "1", "chip", "dev", 2.0)],
            "interrupts, line 2, 1: \"x\" is not a number; \
             interrupts, line 3, no colon: no colon after the name; interrupts, line 4, : incomplete; \
             interrupts, line 5, 7: incomplete",
        );
    }
}
