//! Open files of the whole host: `/proc/sys/fs/file-nr`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "sys/fs/file-nr";

/// How many files are open, and how many may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileFdProbe;

impl Probe for FileFdProbe {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        let (allocated, maximum) = parse(&text, &mut faults);
        if let Some(value) = allocated {
            out.gauge("node_filefd_allocated", "Open files of the whole host.", &[], value);
        }
        if let Some(value) = maximum {
            out.gauge("node_filefd_maximum", "How many files may be open at once.", &[], value);
        }
        faults.into_result()
    }
}

/// The first and the third of the file's numbers; the second has been zero since Linux 2.6.
fn parse(text: &str, faults: &mut Faults) -> (Option<f64>, Option<f64>) {
    let mut words = text.split_ascii_whitespace();
    let allocated = faults.number(FILE, 1, "allocated", words.next());
    let maximum = faults.number(FILE, 1, "maximum", words.nth(1));
    (allocated, maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_nr_is_read() {
        let check = |text: &str, expect: (Option<f64>, Option<f64>), faulty: bool| {
            let mut faults = Faults::default();
            assert_eq!(parse(text, &mut faults), expect, "{text:?}");
            assert_eq!(faults.into_result().is_err(), faulty, "{text:?}");
        };
        check("1024\t0\t1631329\n", (Some(1024.0), Some(1_631_329.0)), false);
        check("1024\t0", (Some(1024.0), None), true);
        check("", (None, None), true);
    }
}
