//! What a scope shows of an event. An event of a pod in one of the scope's namespaces is shown; the processes that its
//! process descends from are, as far as they are in the scope as well: beyond are the container runtime and the host.

use std::borrow::Cow;

use trilobite_api::read_scope::ReadScope;

use crate::{identity::Located, layers::security::SecurityEvent};

/// The event as the scope shows it; none if its process is not in the scope.
pub(super) fn visible<'a>(event: &'a SecurityEvent, scope: &ReadScope) -> Option<Cow<'a, SecurityEvent>> {
    if scope.is_everything() {
        return Some(Cow::Borrowed(event));
    }
    if !is_in(&event.process, scope) {
        return None;
    }
    let is_parent_in = event.parent.as_ref().is_none_or(|parent| is_in(parent, scope));
    let ancestors_in = match is_parent_in {
        true => event.ancestors.iter().take_while(|ancestor| is_in(ancestor, scope)).count(),
        false => 0,
    };
    if is_parent_in && ancestors_in == event.ancestors.len() {
        return Some(Cow::Borrowed(event));
    }
    let mut event = event.clone();
    event.parent = event.parent.filter(|_| is_parent_in);
    event.ancestors.truncate(ancestors_in);
    Some(Cow::Owned(event))
}

/// A process of the host, and one whose pod is not known yet, is in no namespace.
fn is_in(located: &Located, scope: &ReadScope) -> bool {
    located.pod.as_ref().is_some_and(|place| !place.pod.name.is_empty() && scope.allows(&place.pod.namespace))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{identity::Pod, serve::tetragon::samples};

    /// A process of a pod in a namespace.
    fn in_namespace(namespace: &str, pod: &str) -> Located {
        let mut located = samples::exec().process;
        let place = Arc::make_mut(located.pod.as_mut().unwrap());
        place.pod = Arc::new(Pod { namespace: namespace.into(), name: pod.into(), ..Pod::default() });
        located
    }

    fn on_the_host() -> Located {
        samples::exec_on_the_host().process
    }

    fn event(process: Located, parent: Located, ancestors: Vec<Located>) -> SecurityEvent {
        SecurityEvent { process, parent: Some(parent), ancestors, ..samples::exec() }
    }

    fn shown(event: &SecurityEvent, scope: &str) -> Option<SecurityEvent> {
        visible(event, &ReadScope::parse(scope).unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn event_of_another_namespace_or_of_the_host_is_not_shown() {
        let shop = in_namespace("shop", "till");
        for process in [in_namespace("reef", "till"), on_the_host(), in_namespace("shop", "")] {
            assert_eq!(shown(&event(process.clone(), shop.clone(), vec![]), "shop"), None);
            assert!(shown(&event(process, shop.clone(), vec![]), "*").is_some());
        }
        let event = event(shop.clone(), shop, vec![]);
        assert_eq!(shown(&event, "reef,shop"), Some(event));
    }

    #[test]
    fn parent_outside_of_the_scope_is_left_out_with_all_before_it() {
        let (shop, reef) = (in_namespace("shop", "till"), in_namespace("reef", "coral"));
        for outside in [on_the_host(), reef] {
            let reduced = shown(&event(shop.clone(), outside.clone(), vec![shop.clone()]), "shop").unwrap();
            assert_eq!((reduced.parent, reduced.ancestors), (None, vec![]));
            let ancestors = vec![shop.clone(), outside.clone(), shop.clone()];
            let reduced = shown(&event(shop.clone(), shop.clone(), ancestors), "shop").unwrap();
            assert_eq!((reduced.parent, reduced.ancestors), (Some(shop.clone()), vec![shop.clone()]));
        }
    }
}
