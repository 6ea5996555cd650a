//! Digests: what an operator wants to read now and then, instead of being alerted of it. The weekly one
//! names rules that are to be demoted and those that flap, the daily one what control charts, hosts and
//! security updates had to tell.
//!
//! A [`Digester`] makes them, for whoever wants to see one and for [`run`], which sends them when they
//! are due.

mod daily;
mod digester;
mod due;
mod report;
mod sender;
mod weekly;

pub use digester::{DigestError, Digester, Parts, Told};
pub use due::Schedule;
pub use report::{Entry, Kind, Report};
pub use sender::run;
