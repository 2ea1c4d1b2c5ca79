//! Who an end of a connection is, kept for as long as the connection is: a pod that is gone, and whose address another may
//! have by now, is still who has sent what is told at the end.

use std::sync::Arc;

use super::end::{End, Service};

/// One end: a pod, a node or the host, and the Service that its address is. It holds no more than the connections that are
/// open need, each of which is in the kernel's flow map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// None while nobody is known to have the address.
    pub end: Option<Arc<End>>,
    /// None where the address is no Service's.
    pub service: Option<Arc<Service>>,
}

impl Party {
    /// Takes in who has the address now: that fills what was not known, and gives the labels as they are now. Another name
    /// than the one that is known is of one who came later.
    pub(super) fn hear(&mut self, now: Self) {
        take(&mut self.end, now.end, |end| (&end.namespace, &end.pod));
        take(&mut self.service, now.service, |service| (&service.namespace, &service.name));
    }
}

fn take<T>(known: &mut Option<Arc<T>>, now: Option<Arc<T>>, name: fn(&T) -> (&String, &String)) {
    if let Some(now) = now
        && known.as_ref().is_none_or(|known| name(known) == name(&now))
    {
        *known = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, identity: u32) -> Party {
        let end = End { identity, namespace: "shop".into(), pod: name.into(), ..End::default() };
        Party { end: Some(Arc::new(end)), service: None }
    }

    #[test]
    fn who_was_known_stays_with_the_labels_of_now_when_another_has_the_address_and_when_nobody_has() {
        let mut party = Party::default();
        for (now, wanted) in [
            (Party::default(), Party::default()),
            (pod("job", 300), pod("job", 300)),
            (pod("job", 301), pod("job", 301)),
            (pod("other", 400), pod("job", 301)),
            (Party::default(), pod("job", 301)),
        ] {
            party.hear(now);
            assert_eq!(party, wanted);
        }
    }
}
