//! The pod and the Service at one end of a connection, remembered while the connection is open: by its last record the pod
//! may be deleted and its address given to another.

use std::sync::Arc;

use super::{Endpoint, Service};

/// Bounded by the open connections, each of which is in the kernel's flow map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// None while the address is unknown.
    pub endpoint: Option<Arc<Endpoint>>,
    /// None if the address is not a Service's.
    pub service: Option<Arc<Service>>,
}

impl ConnectionEnd {
    /// Fills what was unknown and refreshes the labels. A current owner with another name than the known one got the address
    /// later, and is ignored.
    pub(in crate::layers::network) fn update(&mut self, current: Self) {
        update_same(&mut self.endpoint, current.endpoint, |endpoint| (&endpoint.namespace, &endpoint.pod));
        update_same(&mut self.service, current.service, |service| (&service.namespace, &service.name));
    }
}

fn update_same<T>(known: &mut Option<Arc<T>>, current: Option<Arc<T>>, name: fn(&T) -> (&String, &String)) {
    if let Some(current) = current
        && known.as_ref().is_none_or(|known| name(known) == name(&current))
    {
        *known = Some(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, identity: u32) -> ConnectionEnd {
        let endpoint = Endpoint { identity, namespace: "shop".into(), pod: name.into(), ..Endpoint::default() };
        ConnectionEnd { endpoint: Some(Arc::new(endpoint)), service: None }
    }

    #[test]
    fn first_owner_of_the_address_stays_with_its_newest_labels() {
        let mut end = ConnectionEnd::default();
        for (now, expected) in [
            (ConnectionEnd::default(), ConnectionEnd::default()),
            (pod("job", 300), pod("job", 300)),
            (pod("job", 301), pod("job", 301)),
            (pod("other", 400), pod("job", 301)),
            (ConnectionEnd::default(), pod("job", 301)),
        ] {
            end.update(now);
            assert_eq!(end, expected);
        }
    }
}
