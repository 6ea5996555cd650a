//! The serial numbers of the machine, which only root may read: they identify it for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::{Host, Tree};

/// The files that are closed to others.
const FIELDS: [&str; 4] = ["board_serial", "chassis_serial", "product_serial", "product_uuid"];

/// What the firmware says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmiAnswer {
    /// The values by the names of their files in `/sys/class/dmi/id`, trimmed. What the firmware
    /// does not have is left out.
    pub fields: BTreeMap<String, String>,
    /// What could not be read.
    pub faults: Vec<String>,
}

/// Reads what is there.
pub(super) fn read(host: &Host) -> DmiAnswer {
    let mut answer = DmiAnswer::default();
    for field in FIELDS {
        match host.read_if_present(Tree::Sys, &format!("class/dmi/id/{field}")) {
            Ok(None) => {}
            Ok(Some(text)) => {
                answer.fields.insert(field.to_owned(), text.trim().to_owned());
            }
            Err(error) => answer.faults.push(error.to_string()),
        }
    }
    answer
}
