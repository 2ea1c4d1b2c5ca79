//! Ports of all kinds of policies.

use serde_json::Value;

use super::{
    fields::{Fields, unknown_word},
    path::Path,
    refusals::{Refusals, Unreadable},
};
use crate::{connection::Protocol, matching::PortsBuilder};

/// What reads an element of a rule's list of ports.
pub(super) type ReadPort = fn(&Value, &Path<'_>, &mut PortsBuilder, &mut Refusals) -> Result<(), Unreadable>;

/// NetworkPolicy: `protocol`, `port` (a number or a name), `endPort`.
pub(super) fn network_policy_port(
    value: &Value,
    path: &Path<'_>,
    ports: &mut PortsBuilder,
    refusals: &mut Refusals,
) -> Result<(), Unreadable> {
    let fields = Fields::only_known(value, path, &["protocol", "port", "endPort"], refusals)?;
    let protocol = protocol(&fields, refusals)?;
    let end_path = path.key("endPort");
    match (fields.get("port"), fields.get("endPort")) {
        (None, None) => ports.add_all_of(protocol),
        (Some(Value::String(name)), None) => ports.add_name(Some(protocol), name),
        (Some(port), None) => {
            let port = number(port, &path.key("port"), refusals)?;
            ports.add_range(protocol, port, port);
        }
        (Some(Value::Number(first)), Some(last)) => {
            let first = number(&Value::Number(first.clone()), &path.key("port"), refusals)?;
            let last = number(last, &end_path, refusals)?;
            if last < first {
                return Err(refusals.refuse(&end_path, "must not be below port"));
            }
            ports.add_range(protocol, first, last);
        }
        (_, Some(_)) => return Err(refusals.refuse(&end_path, "needs a port that is a number")),
    }
    Ok(())
}

/// ClusterNetworkPolicy: `tcp`, `udp` or `sctp` with a `destinationPort`, or `destinationNamedPort`.
pub(super) fn cluster_protocol(
    value: &Value,
    path: &Path<'_>,
    ports: &mut PortsBuilder,
    refusals: &mut Refusals,
) -> Result<(), Unreadable> {
    let known = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let fields = Fields::only_known(value, path, &known, refusals)?;
    let (key, value) = fields.single(&known, refusals)?;
    let path = path.key(key);
    let protocol = match key {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => {
            ports.add_name(None, port_name(value, &path, refusals)?);
            return Ok(());
        }
    };
    let attributes = Fields::only_known(value, &path, &["destinationPort"], refusals)?;
    let Some(port) = attributes.get("destinationPort") else {
        ports.add_all_of(protocol);
        return Ok(());
    };
    let path = path.key("destinationPort");
    let known = ["number", "range"];
    let (key, value) = Fields::only_known(port, &path, &known, refusals)?.single(&known, refusals)?;
    let path = path.key(key);
    let (first, last) = match key {
        "number" => {
            let port = number(value, &path, refusals)?;
            (port, port)
        }
        _ => range(&Fields::only_known(value, &path, &["start", "end"], refusals)?, refusals)?,
    };
    ports.add_range(protocol, first, last);
    Ok(())
}

/// AdminNetworkPolicy: `portNumber`, `portRange` or `namedPort`.
pub(super) fn admin_port(
    value: &Value,
    path: &Path<'_>,
    ports: &mut PortsBuilder,
    refusals: &mut Refusals,
) -> Result<(), Unreadable> {
    let known = ["portNumber", "portRange", "namedPort"];
    let fields = Fields::only_known(value, path, &known, refusals)?;
    let (key, value) = fields.single(&known, refusals)?;
    let path = path.key(key);
    match key {
        "portNumber" => {
            let fields = Fields::only_known(value, &path, &["protocol", "port"], refusals)?;
            let port_path = path.key("port");
            let port = fields.get("port").ok_or_else(|| refusals.refuse(&port_path, "is required"))?;
            let port = number(port, &port_path, refusals)?;
            ports.add_range(protocol(&fields, refusals)?, port, port);
        }
        "portRange" => {
            let fields = Fields::only_known(value, &path, &["protocol", "start", "end"], refusals)?;
            let (first, last) = range(&fields, refusals)?;
            ports.add_range(protocol(&fields, refusals)?, first, last);
        }
        _ => ports.add_name(None, port_name(value, &path, refusals)?),
    }
    Ok(())
}

/// TCP where it is not given.
fn protocol(fields: &Fields<'_, '_>, refusals: &mut Refusals) -> Result<Protocol, Unreadable> {
    let Some(word) = fields.text("protocol", refusals)? else {
        return Ok(Protocol::Tcp);
    };
    let known = Protocol::ALL.map(Protocol::as_str);
    Protocol::parse(word).ok_or_else(|| unknown_word(refusals, &fields.path.key("protocol"), word, &known))
}

fn range(fields: &Fields<'_, '_>, refusals: &mut Refusals) -> Result<(u16, u16), Unreadable> {
    let mut bound = |key| {
        let path = fields.path.key(key);
        let value = fields.get(key).ok_or_else(|| refusals.refuse(&path, "is required"))?;
        number(value, &path, refusals)
    };
    let (first, last) = (bound("start")?, bound("end")?);
    if last < first {
        return Err(refusals.refuse(&fields.path.key("end"), "must not be below start"));
    }
    Ok((first, last))
}

fn number(value: &Value, path: &Path<'_>, refusals: &mut Refusals) -> Result<u16, Unreadable> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0);
    number.ok_or_else(|| refusals.refuse(path, "must be a port from 1 to 65535"))
}

fn port_name<'v>(value: &'v Value, path: &Path<'_>, refusals: &mut Refusals) -> Result<&'v str, Unreadable> {
    let name = value.as_str().filter(|name| !name.is_empty());
    name.ok_or_else(|| refusals.refuse(path, "must be the name of a port"))
}
