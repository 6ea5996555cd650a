//! Actions of the configuration that rules ask for: a command of the allow-list, or a webhook.
//!
//! Whoever looks after alerts puts [`Order`]s into a bounded [`Queue`]; [`run()`] takes them, judges each
//! by the action's limit and arguments, notes it in the audit log and beside the alert, and only then
//! begins. An order that cannot be noted is not carried out, and none is carried out twice: what a crash
//! interrupts is told as interrupted.

mod argument;
mod deed;
mod limit;
mod order;
mod run;
mod settings;
mod triage;

pub use argument::{Argument, ArgumentRefusal, ArgumentSyntaxError};
pub use limit::{Limit, LimitError};
pub use order::{Order, Orders, Queue, queue};
pub use run::{ActionError, run};
pub use settings::{Deed, Settings};
