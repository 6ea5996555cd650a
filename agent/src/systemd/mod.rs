//! What systemd says about its units, over the system's message bus.
//!
//! Every question may be asked by any user. A host that systemd does not run is told apart by the
//! folder that it makes at its start, as its own programs do.

use crate::host::bus::{Arguments, BusError, Call, Reply, Variant};
use crate::host::{Host, HostError, Tree};

/// The folder by which a host is known to be run by systemd, relative to the root.
const MARK: &str = "run/systemd/system";

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// One unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name with the ending that tells its type.
    pub name: String,
    /// Whether its definition could be loaded: `loaded`, `not-found`, `masked`.
    pub load_state: String,
    /// How it is: `active`, `inactive`, `failed` and others.
    pub active_state: String,
    /// The object that it is on the bus.
    pub path: String,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

/// A property of an object of systemd's.
#[derive(Clone, Copy, Debug)]
pub struct Property<'property> {
    /// The object.
    pub path: &'property str,
    /// The interface, its last part: `Manager`, `Unit`, `Service`.
    pub interface: &'property str,
    /// The property's name.
    pub name: &'property str,
}

impl<'property> Property<'property> {
    /// A property of systemd itself.
    pub fn of_manager(name: &'property str) -> Self {
        Self { path: MANAGER_PATH, interface: "Manager", name }
    }
}

/// Whether systemd runs the host.
pub fn runs(host: &Host) -> bool {
    host.exists(Tree::Root, MARK)
}

/// Every unit that systemd has in memory.
///
/// # Errors
/// When systemd does not answer.
pub fn units(host: &Host) -> Result<Vec<Unit>, HostError> {
    list(host, "ListUnits", Arguments::Texts(&[]))
}

/// The units that failed.
///
/// # Errors
/// When systemd does not answer.
pub fn failed_units(host: &Host) -> Result<Vec<Unit>, HostError> {
    list(host, "ListUnitsFiltered", Arguments::List(&["failed"]))
}

/// The values of properties, in the same order; `None` for one that this version of systemd does
/// not have, or whose unit is gone.
///
/// # Errors
/// When systemd does not answer.
pub fn properties(host: &Host, wanted: &[Property<'_>]) -> Result<Vec<Option<Value>>, HostError> {
    let names: Vec<[String; 2]> = wanted
        .iter()
        .map(|property| [format!("{DESTINATION}.{}", property.interface), property.name.to_owned()])
        .collect();
    let texts: Vec<[&str; 2]> = names.iter().map(|[one, two]| [one.as_str(), two]).collect();
    let calls: Vec<Call<'_>> = wanted
        .iter()
        .zip(&texts)
        .map(|(property, texts)| Call {
            destination: DESTINATION,
            path: property.path,
            interface: PROPERTIES,
            member: "Get",
            arguments: Arguments::Texts(texts),
        })
        .collect();
    let replies = host.call_bus(&calls)?;
    Ok(replies.iter().map(|reply| reply.as_ref().ok().and_then(value)).collect())
}

/// The number that a value is.
pub fn number(value: Option<Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => Some(number),
        Value::Text(_) => None,
    }
}

/// The text that a value is.
pub fn text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::Text(text) => Some(text),
        Value::Number(_) => None,
    }
}

fn value(reply: &Reply) -> Option<Value> {
    match reply.values().variant().ok()? {
        Variant::Text(text) => Some(Value::Text(text.to_owned())),
        Variant::Number(number) => Some(Value::Number(number.into())),
        Variant::LongNumber(number) => Some(Value::Number(number)),
    }
}

fn list(host: &Host, member: &str, arguments: Arguments<'_>) -> Result<Vec<Unit>, HostError> {
    let call = Call {
        destination: DESTINATION,
        path: MANAGER_PATH,
        interface: MANAGER,
        member,
        arguments,
    };
    let mut units = Vec::new();
    for reply in host.call_bus(&[call])? {
        let refused = |refusal| BusError::Refused { member: member.to_owned(), refusal };
        units.append(&mut parse_units(&reply.map_err(refused)?)?);
    }
    Ok(units)
}

/// Reads a list of structures of ten values: name, description, how it was loaded, two words for
/// how it is, the unit that it follows, its object, and the number, type and object of its job.
fn parse_units(reply: &Reply) -> Result<Vec<Unit>, BusError> {
    let mut units = Vec::new();
    reply.values().list(8, |entry| {
        entry.align(8)?;
        let name = entry.text()?.to_owned();
        let _description = entry.text()?;
        let load_state = entry.text()?.to_owned();
        let active_state = entry.text()?.to_owned();
        let (_detail, _followed) = (entry.text()?, entry.text()?);
        let path = entry.text()?.to_owned();
        let (_job, _job_type, _job_path) = (entry.number()?, entry.text()?, entry.text()?);
        units.push(Unit { name, load_state, active_state, path });
        Ok(())
    })?;
    Ok(units)
}
