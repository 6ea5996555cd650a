//! Telling people: one file and one [`Channel`] variant for each way.

mod alert;

pub use alert::{ACTION, ALERT_NAME, Alert, Annotations, Fingerprint, OUTCOME};
