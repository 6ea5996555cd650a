//! Samples on disk: durable before they are confirmed, indexed by their labels.

mod error;
mod options;
mod store;

pub use error::StoreError;
pub use options::Options;
pub use store::{Append, Done, Store};
