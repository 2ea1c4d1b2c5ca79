//! The pod and the Service at one end of a connection, remembered while the connection is open: by its last record the pod
//! may be deleted and its address given to another.

use std::sync::Arc;

use super::{Endpoint, Service};

/// Bounded by the open connections, each of which is in the kernel's flow map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// None while the address is unknown.
    pub endpoint: Option<AddressOwner<Endpoint>>,
    /// None if no Service is reached at this address and port.
    pub service: Option<AddressOwner<Service>>,
}

/// The pod, node or Service that has an address, and since when.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressOwner<T> {
    pub owner: Arc<T>,
    /// When the address was first seen to belong to this owner: boot clock, nanoseconds. 0 if it had no owner before.
    pub since: u64,
}

impl<T> Clone for AddressOwner<T> {
    fn clone(&self) -> Self {
        Self { owner: self.owner.clone(), since: self.since }
    }
}

impl<T> AddressOwner<T> {
    /// An owner that has always had the address.
    pub fn always(owner: Arc<T>) -> Self {
        Self { owner, since: 0 }
    }
}

impl ConnectionEnd {
    /// Fills what was unknown and refreshes the labels. Another owner than the known one replaces it only if the address
    /// changed hands before the last packet: earlier packets were the former owner's.
    pub(in crate::layers::network) fn update(&mut self, current: Self, last_packet: u64) {
        update_owner(&mut self.endpoint, current.endpoint, last_packet, Endpoint::is_same);
        update_owner(&mut self.service, current.service, last_packet, Service::is_same);
    }
}

fn update_owner<T>(
    known: &mut Option<AddressOwner<T>>,
    current: Option<AddressOwner<T>>,
    last_packet: u64,
    is_same: fn(&T, &T) -> bool,
) {
    let Some(current) = current else { return };
    let replaces = |known: &AddressOwner<T>| is_same(&known.owner, &current.owner) || current.since <= last_packet;
    if known.as_ref().is_none_or(replaces) {
        *known = Some(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, identity: u32, since: u64) -> ConnectionEnd {
        let endpoint = Endpoint { uid: uid.into(), identity, pod: "db-0".into(), ..Endpoint::default() };
        ConnectionEnd { endpoint: Some(AddressOwner { owner: Arc::new(endpoint), since }), service: None }
    }

    fn identity(end: &ConnectionEnd) -> u32 {
        end.endpoint.as_ref().map_or(0, |endpoint| endpoint.owner.identity)
    }

    #[test]
    fn owner_of_the_last_packet_is_named_with_its_newest_labels() {
        let mut end = ConnectionEnd::default();
        for (current, last_packet, expected) in [
            (ConnectionEnd::default(), 5, 0),
            (pod("first", 300, 0), 6, 300),
            (pod("first", 301, 0), 7, 301),
            // The last packet came before the address changed hands.
            (pod("second", 400, 9), 8, 301),
            (ConnectionEnd::default(), 9, 301),
            // A pod of the same name, e.g. of a StatefulSet, is another pod.
            (pod("second", 400, 9), 10, 400),
        ] {
            end.update(current, last_packet);
            assert_eq!(identity(&end), expected, "{last_packet}");
        }
    }

    #[test]
    fn service_that_got_the_address_later_is_named_from_then_on() {
        let service = |name: &str, since| ConnectionEnd {
            endpoint: None,
            service: Some(AddressOwner {
                owner: Arc::new(Service { name: name.into(), namespace: "shop".into(), endpoint: Arc::default() }),
                since,
            }),
        };
        let mut end = ConnectionEnd::default();
        for (current, last_packet, expected) in
            [(service("cart", 0), 1, "cart"), (service("till", 5), 4, "cart"), (service("till", 5), 6, "till")]
        {
            end.update(current, last_packet);
            assert_eq!(end.service.as_ref().unwrap().owner.name, expected);
        }
    }
}
